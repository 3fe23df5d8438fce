/* eddy.hpp - eddy.h for C++20: coroutines, owners that free, and exceptions. Headers only; link libeddy.
 *
 *     eddy::task<> hello(eddy_loop *loop)
 *     {
 *         auto [reader, writer] = co_await eddy::open_connection(loop, "example.com", 7);
 *         writer.write("hello\n");
 *         while (auto line = co_await reader.readline()) std::cout << *line;
 *     }
 *
 *     int main() { eddy::loop loop; loop.run(hello(loop)); }
 *
 * The words are those of eddy.h, and so are the rules at its top. What is more:
 *
 *  1. What starts something returns an awaitable, which begins when it is awaited. Whatever suspends is
 *     resumed from within the loop's run.
 *  2. Who destroys, cancels: an awaitable, or a task, that is destroyed while it waits cancels what it waits
 *     for, and nobody is resumed. A read that was cancelled has lost nothing, and its reader can be read from
 *     again from the loop's next round (after co_await eddy::sleep(loop, 0ms), if need be).
 *  3. loop, reader, writer, server and tls own what they are named after, and free it: only moved, never
 *     copied. One that was moved from is empty: whatever is asked of it is refused with EDDY_ESTALE, as of a
 *     handle that was freed. handle() is what it owns, for whatever of eddy.h is not wrapped here, such as
 *     eddy_writer_transport(writer.handle()); reader::adopt() and writer::adopt() own what C has made.
 *  4. What eddy.h tells by a negative code or by an error is an eddy::error, thrown. Exceptions never pass
 *     through C: one that leaves a task is thrown where the task is awaited, or else told to the loop's
 *     exception handler.
 *  5. A read gives bytes of your own, std::string. Reads of std::string_view, as in
 *     readline<std::string_view>(), copy nothing: their bytes are lent, until the coroutine suspends next.
 *  6. Everything is of one thread, the loop's, also destruction; only call_soon_threadsafe(), and settings of
 *     TLS, are for all of them. Whatever takes an eddy_loop * takes an eddy::loop, which must outlive its
 *     tasks, or end them by its own end.
 *
 * gcc 12 has two bugs. What is made within a co_await expression, from braces or as a lambda, is destroyed
 * twice, if it has a destructor. Such as a lambda that captures a string, for start_server(): give it a name
 * first, and std::move() it. And a coroutine that declares no variable, but has a co_await in a condition, as
 * in `if (!co_await reader.readline()) ...`, does nothing at all: give its result a name. */
#ifndef EDDY_HPP
#define EDDY_HPP

#include <eddy.h>

#include <array>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace eddy {

using std::chrono::milliseconds;

/* ---- errors -------------------------------------------------------------------------------------------- */

/* What went wrong: an eddy_error that can be kept, or what a call was refused with. */
class error : public std::exception {
public:
    /* A refusal, in eddy_strerror()'s words. */
    explicit error(int code) : error(code, eddy_strerror(code)) {}
    error(int code, std::string message) : all_(std::make_shared<all>(all{ code, 0, 0, 0, std::move(message), {} })) {}

    /* A copy of what is lent. */
    explicit error(const eddy_error *lent)
    {
        std::size_t len = 0;
        const char *partial = eddy_error_partial(lent, &len);
        all_ = std::make_shared<all>(all{ eddy_error_code(lent), eddy_error_errno(lent), eddy_error_expected(lent),
                                          eddy_error_consumed(lent), eddy_error_message(lent),
                                          std::string(partial == nullptr ? "" : partial, len) });
    }

    /* EDDY_E..., or a positive one of yours. */
    int code() const noexcept { return all_->code; }

    /* eddy_error_errno(): the system's reason; 0: none. ("errno" is a macro.) */
    int sys_errno() const noexcept { return all_->sys_errno; }

    /* In words, and with what it was about. */
    const char *what() const noexcept override { return all_->message.c_str(); }

    /* EDDY_EINCOMPLETE: how many bytes were asked for, and those that had come. */
    std::size_t expected() const noexcept { return all_->expected; }
    std::string_view partial() const noexcept { return all_->partial; }

    /* EDDY_ELIMIT: how far the search for the end of the line got. */
    std::size_t consumed() const noexcept { return all_->consumed; }

private:
    struct all {
        int code, sys_errno;
        std::size_t expected, consumed;
        std::string message, partial;
    };
    std::shared_ptr<const all> all_; /* copying an exception may not throw */
};

namespace detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void refuse(int code)
{
    throw error(code);
}

/* A code, unless it is a refusal. */
template <class Code>
Code check(Code code)
{
    if (code < 0) [[unlikely]] refuse(static_cast<int>(code));
    return code;
}

/* For calls that have no code to tell by that they were refused: a call that has one is asked first, for
 * nothing. */
inline eddy_loop *good(eddy_loop *loop)
{
    const eddy_op op = eddy_loop_call_soon(loop, nullptr, nullptr);
    if (op != EDDY_EINVAL) [[unlikely]] refuse(static_cast<int>(op));
    return loop;
}
template <class Handle>
Handle *good(eddy_loop *loop, Handle *handle)
{
    if (handle == nullptr) [[unlikely]] refuse(EDDY_ESTALE);
    good(loop);
    return handle;
}

/* Within a catch: tells the loop's exception handler. What was cancelled is no news. */
[[gnu::cold, gnu::noinline]] inline void tell(eddy_loop *loop, const char *what) noexcept
{
    const auto say = [=](int code, const char *why) noexcept {
        try {
            const std::string message = std::string(what) + ": " + why;
            if (eddy_loop_call_exception_handler(loop, message.c_str(), code) != EDDY_EINVAL) return;
        } catch (...) {
        }
        eddy_loop_call_exception_handler(loop, what, code); /* no memory for more, or no UTF-8 */
    };
    try {
        throw;
    } catch (const error &caught) {
        if (caught.code() != EDDY_ECANCELED) say(caught.code(), caught.what());
    } catch (const std::exception &caught) {
        say(0, caught.what());
    } catch (...) {
        say(0, "of no known type");
    }
}

inline std::uint64_t count(milliseconds time) noexcept
{
    if (time == milliseconds::max()) return EDDY_NEVER;
    return time.count() > 0 ? static_cast<std::uint64_t>(time.count()) : 0;
}

} // namespace detail

/* ---- tasks --------------------------------------------------------------------------------------------- */

template <class T>
class task;

namespace detail {

struct promise_base {
    std::coroutine_handle<> continuation = std::noop_coroutine();
    bool started = false;

    struct ending {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept
        {
            return ended.promise().continuation;
        }
        void await_resume() const noexcept {}
    };

    std::suspend_always initial_suspend() const noexcept { return {}; }
    ending final_suspend() const noexcept { return {}; }
};

template <class T>
struct promise : promise_base {
    using value = std::conditional_t<std::is_reference_v<T>, std::reference_wrapper<std::remove_reference_t<T>>, T>;
    std::variant<std::monostate, value, std::exception_ptr> outcome;

    task<T> get_return_object() noexcept;
    template <class V = T>
    void return_value(V &&given)
    {
        outcome.template emplace<1>(std::forward<V>(given));
    }
    void unhandled_exception() noexcept { outcome.template emplace<2>(std::current_exception()); }
    T result()
    {
        if (outcome.index() == 2) std::rethrow_exception(std::get<2>(outcome));
        return std::move(std::get<1>(outcome));
    }
};

template <>
struct promise<void> : promise_base {
    std::exception_ptr thrown;

    task<void> get_return_object() noexcept;
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { thrown = std::current_exception(); }
    void result() const
    {
        if (thrown) std::rethrow_exception(thrown);
    }
};

} // namespace detail

/* A coroutine that gives a T, or throws. It begins when it is awaited, or by start(). Destroyed, it is
 * cancelled, wherever it waits: what lives in it is destroyed, as at the end of its scope. */
template <class T = void>
class [[nodiscard]] task {
public:
    using promise_type = detail::promise<T>;
    using handle_type = std::coroutine_handle<promise_type>;

    task() noexcept = default;
    explicit task(handle_type handle) noexcept : handle_(handle) {}
    task(task &&other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    task &operator=(task &&other) noexcept
    {
        task old = std::move(*this);
        handle_ = std::exchange(other.handle_, {});
        return *this;
    }
    ~task()
    {
        if (handle_) handle_.destroy();
    }

    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }
    bool done() const noexcept { return handle_ && handle_.done(); }

    /* Begins it now, up to where it waits first: so that several go on at a time, each to be awaited
     * later. */
    void start()
    {
        if (!handle()->started) begin(std::noop_coroutine()).resume();
    }

    /* What a task that is done gave, or threw. EDDY_ESTATE: it is not done. */
    T result()
    {
        auto *promise = handle();
        if (!handle_.done()) detail::refuse(EDDY_ESTATE);
        return promise->result();
    }

    /* co_await std::move(task): its result. It is destroyed after that. */
    auto operator co_await() && noexcept
    {
        struct awaiter {
            task own;
            bool await_ready() const { return own.handle() != nullptr && own.handle_.done(); }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) { return own.begin(waiter); }
            T await_resume() { return own.handle_.promise().result(); }
        };
        return awaiter{ std::move(*this) };
    }

    /* For who awaits it: whom to resume now, and it resumes `waiter` when it is done. */
    std::coroutine_handle<> begin(std::coroutine_handle<> waiter)
    {
        auto *promise = handle();
        promise->continuation = waiter;
        if (std::exchange(promise->started, true)) return std::noop_coroutine();
        return handle_;
    }

private:
    promise_type *handle() const
    {
        if (!handle_) detail::refuse(EDDY_ESTALE);
        return &handle_.promise();
    }
    handle_type handle_;
};

namespace detail {

template <class T>
task<T> promise<T>::get_return_object() noexcept
{
    return task<T>(std::coroutine_handle<promise>::from_promise(*this));
}
inline task<void> promise<void>::get_return_object() noexcept
{
    return task<void>(std::coroutine_handle<promise>::from_promise(*this));
}

/* A coroutine that belongs to itself. It catches what it throws. */
struct detached {
    struct promise_type {
        detached get_return_object() noexcept
        {
            return { std::coroutine_handle<promise_type>::from_promise(*this) };
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    };
    std::coroutine_handle<> handle;
};

/* ---- operations: what can be awaited of C -------------------------------------------------------------- */

class operation;

/* The argument of an operation's callback. It lives until the callback has run, as C's promise is; the
 * coroutine that waits may be gone before, and then nobody is. */
struct ticket {
    operation *waiting = nullptr;
    ticket *next = nullptr;
};

/* Tickets that are not in use, of this thread: an operation allocates nothing. */
constinit inline thread_local ticket *tickets = nullptr;
constinit inline thread_local bool tickets_over = false;

struct tickets_end {
    ~tickets_end()
    {
        tickets_over = true;
        while (tickets != nullptr) delete std::exchange(tickets, tickets->next);
    }
};

[[gnu::cold, gnu::noinline]] inline ticket *new_ticket()
{
    static thread_local tickets_end end;
    static_cast<void>(end);
    return new ticket;
}

inline ticket *take_ticket()
{
    if (tickets == nullptr) [[unlikely]] return new_ticket();
    return std::exchange(tickets, tickets->next);
}

inline void give_back(ticket *given) noexcept
{
    if (tickets_over) [[unlikely]] {
        delete given;
        return;
    }
    given->next = tickets;
    tickets = given;
}

/* Begins when awaited; awaited again, it begins again. It can be moved while it does not wait. */
class operation {
public:
    operation(operation &&other) noexcept : loop_(other.loop_) {}
    operation &operator=(operation &&) = delete;

    /* While it waits, from elsewhere: who waits gets EDDY_ECANCELED, in the next round. False: it does not
     * wait, or it is decided already. */
    bool cancel() noexcept { return ticket_ != nullptr && eddy_loop_cancel(loop_, receipt_) == 0; }

    bool await_ready() const noexcept { return false; }

protected:
    explicit operation(eddy_loop *loop) noexcept : loop_(loop) {}

    ~operation()
    {
        if (ticket_ != nullptr) [[unlikely]] abandon();
    }

    /* False: refused; await_resume() is to say so. */
    template <class Start>
    bool begin(std::coroutine_handle<> waiter, ticket *mine, const Start &start) noexcept
    {
        waiter_ = waiter;
        failure_ = nullptr;
        mine->waiting = this;
        receipt_ = start(mine);
        if (receipt_ < 0) [[unlikely]] return false;
        ticket_ = mine;
        return true;
    }
    template <class Start>
    bool begin(std::coroutine_handle<> waiter, const Start &start)
    {
        idle();
        ticket *mine = take_ticket();
        const bool begun = begin(waiter, mine, start);
        if (!begun) [[unlikely]] give_back(mine);
        return begun;
    }

    void idle() const
    {
        if (ticket_ != nullptr) [[unlikely]] refuse(EDDY_EBUSY);
    }

    /* In its callback: who waits, if anybody still does. */
    template <class Operation>
    static Operation *ended(ticket *mine) noexcept
    {
        operation *self = mine->waiting;
        if (self != nullptr) self->ticket_ = nullptr;
        return static_cast<Operation *>(self);
    }
    template <class Operation>
    static Operation *ended(void *arg) noexcept
    {
        ticket *mine = static_cast<ticket *>(arg);
        Operation *self = ended<Operation>(mine);
        give_back(mine);
        return self;
    }

    void resume(const eddy_error *failure) noexcept
    {
        failure_ = failure;
        waiter_.resume(); /* and this may be gone */
    }

    /* In await_resume(), where the error is still lent. */
    void check_outcome() const
    {
        if (receipt_ < 0 || failure_ != nullptr) [[unlikely]] fail();
    }

    eddy_loop *loop() const noexcept { return loop_; }

private:
    [[gnu::cold, gnu::noinline]] void abandon() noexcept
    {
        ticket_->waiting = nullptr;
        eddy_loop_cancel(loop_, receipt_);
    }
    [[noreturn, gnu::cold, gnu::noinline]] void fail() const
    {
        if (receipt_ < 0) throw error(static_cast<int>(receipt_));
        throw error(failure_);
    }

    eddy_loop *loop_;
    ticket *ticket_ = nullptr; /* while it waits */
    std::coroutine_handle<> waiter_;
    eddy_op receipt_ = 0;
    const eddy_error *failure_ = nullptr;
};

/* Gives nothing; also the callback of what does. */
class plain_operation : public operation {
public:
    using operation::operation;
    void await_resume() const { check_outcome(); }

    template <class Subject>
    static void done(Subject *, const eddy_error *failure, void *arg) noexcept
    {
        if (auto *self = ended<plain_operation>(arg)) self->resume(failure);
    }
};

/* Start: eddy_op(void *arg), which begins it with the callback of its kind. */
template <class Kind, class Start>
class [[nodiscard]] awaitable : public Kind {
public:
    awaitable(eddy_loop *loop, Start start) : Kind(loop), start_(std::move(start)) {}
    bool await_suspend(std::coroutine_handle<> waiter) { return this->begin(waiter, start_); }

private:
    Start start_;
};

template <class Kind, class Start>
auto await(eddy_loop *loop, Start start)
{
    return awaitable<Kind, Start>(loop, std::move(start));
}

inline auto soon(eddy_loop *loop)
{
    return await<plain_operation>(
        loop, [loop](void *arg) { return eddy_loop_call_soon(loop, plain_operation::done, arg); });
}

/* ---- functions that are called ------------------------------------------------------------------------- */

template <class F>
void call(eddy_loop *loop, const eddy_error *failure, void *arg) noexcept
{
    const std::unique_ptr<F> f(static_cast<F *>(arg));
    if (failure != nullptr) return;
    try {
        (*f)();
    } catch (...) {
        tell(loop, "Unhandled exception in a callback");
    }
}

/* Start: eddy_op or int(eddy_loop_cb, void *arg). */
template <class F, class Start>
auto call_by(F f, const Start &start)
{
    static_assert(std::is_void_v<std::invoke_result_t<F &>>, "a task would never begin: spawn() it");
    auto kept = std::make_unique<F>(std::move(f));
    const auto code = check(start(call<F>, kept.get()));
    static_cast<void>(kept.release());
    return code;
}

/* The same for an eddy_fn. */
template <class F>
struct kept {
    eddy_loop *loop;
    F f;
};

template <class F>
auto keep(eddy_loop *loop, F f)
{
    static_assert(std::is_void_v<std::invoke_result_t<F &>>, "a task would never begin: spawn() it");
    return std::make_unique<kept<F>>(kept<F>{ loop, std::move(f) });
}

template <class F>
void release(void *arg) noexcept
{
    const std::unique_ptr<kept<F>> called(static_cast<kept<F> *>(arg));
    try {
        called->f();
    } catch (...) {
        tell(called->loop, "Unhandled exception in a callback");
    }
}

template <class T>
detached run_detached(eddy_loop *loop, task<T> job, const char *what)
{
    try {
        co_await std::move(job);
    } catch (...) {
        tell(loop, what);
    }
}

inline void begin_detached(eddy_loop *, const eddy_error *failure, void *arg) noexcept
{
    const auto job = std::coroutine_handle<>::from_address(arg);
    if (failure == nullptr) job.resume();
    else job.destroy();
}

} // namespace detail

/* ---- loop ---------------------------------------------------------------------------------------------- */

class loop {
public:
    /* eddy_loop_new(). EDDY_EFULL: no memory, no descriptor, or 255 of them already. */
    loop() : handle_(eddy_loop_new())
    {
        if (handle_ == nullptr) detail::refuse(EDDY_EFULL);
    }
    loop(loop &&other) noexcept
        : handle_(std::exchange(other.handle_, nullptr)), handlers_(std::move(other.handlers_))
    {
    }
    loop &operator=(loop &&other) noexcept
    {
        const loop old = std::move(*this);
        handle_ = std::exchange(other.handle_, nullptr);
        handlers_ = std::move(other.handlers_);
        return *this;
    }

    /* eddy_loop_free(): who waits for something of it is resumed, with EDDY_ECANCELED. */
    ~loop()
    {
        if (handlers_ && handle_ != nullptr) part_with_handlers();
        eddy_loop_free(handle_);
    }

    operator eddy_loop *() const noexcept { return handle_; }
    eddy_loop *handle() const noexcept { return handle_; }

    /* Until nothing is left to wait for, or stop(). */
    void run() { detail::check(eddy_loop_run(handle_)); }

    /* Until the task is done: what it gave, or threw. EDDY_ESTATE: stop() was first, or there was nothing
     * left to wait for that could go on with it. asyncio: run_until_complete(). */
    template <class T>
    T run(task<T> job)
    {
        if (!job) detail::refuse(EDDY_ESTALE);
        auto all = to_the_end(handle_, job);
        all.start();
        run();
        if (!job.done())
            throw error(EDDY_ESTATE, "the loop stopped, or nothing was left to wait for, before the task was done");
        return job.result();
    }

    /* Until stop(). */
    void run_forever() { detail::check(eddy_loop_run_forever(handle_)); }

    /* One round, which waits no longer than this. True: there is more to wait for. */
    bool run_once(milliseconds timeout)
    {
        const std::uint64_t ms = detail::count(timeout);
        const int bound = ms <= INT32_MAX ? static_cast<int>(ms) : -1;
        return detail::check(eddy_loop_run_once(handle_, bound)) > 0;
    }

    void stop() { detail::check(eddy_loop_stop(handle_)); }
    bool is_running() const { return eddy_loop_is_running(detail::good(handle_)); }

    /* Let go of this thread, and belong to the thread that calls this: while nothing runs, and with all that
     * waits. */
    void detach() { detail::check(eddy_loop_detach(handle_)); }
    void attach() { detail::check(eddy_loop_attach(handle_)); }

    /* f() in the next round; at some time, or never: milliseconds::max(). What it throws is told to the
     * exception handler. The receipt is for cancel(): then f is destroyed, and not called. */
    template <std::invocable F>
    eddy_op call_soon(F f)
    {
        return detail::call_by(std::move(f), [this](eddy_loop_cb cb, void *arg) {
            return eddy_loop_call_soon(handle_, cb, arg);
        });
    }
    template <std::invocable F>
    eddy_op call_later(milliseconds delay, F f)
    {
        return detail::call_by(std::move(f), [&](eddy_loop_cb cb, void *arg) {
            return eddy_loop_call_later(handle_, detail::count(delay), cb, arg);
        });
    }

    /* From any thread, which f is moved away from: it is called, and destroyed, on the loop's. */
    template <std::invocable F>
    void call_soon_threadsafe(F f)
    {
        detail::call_by(std::move(f), [this](eddy_loop_cb cb, void *arg) {
            return eddy_loop_call_soon_threadsafe(handle_, cb, arg);
        });
    }

    /* False: it has been called, or cancelled, already. */
    bool cancel(eddy_op op)
    {
        const int code = eddy_loop_cancel(handle_, op);
        return code == EDDY_ESTALE ? false : detail::check(code) == 0;
    }

    /* f() from the loop when the process has got this signal; it replaces the one that was there. What it
     * throws is told to the exception handler. */
    template <std::invocable F>
    void add_signal_handler(int signum, F f)
    {
        static_assert(std::is_void_v<std::invoke_result_t<F &>>, "a task would never begin: spawn() it");
        auto kept = detail::keep(handle_, signal_handler(std::move(f)));
        auto &place = handlers().signals[signum];
        detail::check(eddy_loop_add_signal_handler(handle_, signum, signaled, kept.get()));
        place = std::move(kept);
    }

    /* EDDY_ESTATE: there is none. */
    void remove_signal_handler(int signum)
    {
        detail::check(eddy_loop_remove_signal_handler(handle_, signum));
        handlers().signals.erase(signum);
    }

    /* Who is told of what nobody waits for; the error is NULL if there is none. Empty: the default one, which
     * prints a line on standard error, as is done with what this one throws. */
    using exception_handler = std::function<void(const char *message, const error *cause)>;
    void set_exception_handler(exception_handler handler)
    {
        auto kept = handler ? std::make_unique<exception_handler>(std::move(handler)) : nullptr;
        auto &place = handlers().exception;
        detail::check(eddy_loop_set_exception_handler(handle_, kept ? told : nullptr, kept.get()));
        place = std::move(kept);
    }
    void call_exception_handler(const std::string &message, int code = 0)
    {
        detail::check(eddy_loop_call_exception_handler(handle_, message.c_str(), code));
    }

    /* Since the loop was made. */
    milliseconds time() const { return milliseconds(eddy_loop_time(detail::good(handle_))); }

    /* For tests: time stands still while the loop has something to do, and when it is idle jumps to the next
     * timer. EDDY_ESTATE: something has been timed on it already. */
    void set_clock(bool virtual_clock) { detail::check(eddy_loop_set_clock(handle_, virtual_clock)); }

    /* For another loop to watch, and how many milliseconds it may sleep; -1: no bound. */
    int fd() const { return eddy_loop_fd(detail::good(handle_)); }
    int timeout() const { return eddy_loop_timeout(detail::good(handle_)); }

    /* Before it sleeps, look for events this long. */
    void set_busy_poll(std::chrono::microseconds time)
    {
        detail::check(eddy_loop_set_busy_poll(handle_, static_cast<std::uint64_t>(time.count())));
    }

    /* What it has done since it was made. */
    eddy_stats stats() const
    {
        eddy_stats all{};
        all.size = sizeof all;
        detail::check(eddy_loop_stats(handle_, &all));
        return all;
    }

    /* Tells the exception handler of callbacks that take so long, and, when the loop is freed, of what is
     * still waiting or open. 0: off. */
    void set_debug(milliseconds slow_callback)
    {
        detail::check(eddy_loop_set_debug(handle_, detail::count(slow_callback)));
    }

private:
    using signal_handler = std::function<void()>;

    /* What C calls any number of times. */
    struct standing {
        std::unique_ptr<exception_handler> exception;
        std::map<int, std::unique_ptr<detail::kept<signal_handler>>> signals;
    };

    standing &handlers()
    {
        if (!handlers_) handlers_ = std::make_unique<standing>();
        return *handlers_;
    }

    /* Freed within its run the loop ends after that, and goes on without them; on another thread it does not
     * end, and keeps them. */
    void part_with_handlers() noexcept
    {
        const eddy_op op = eddy_loop_call_soon(handle_, nullptr, nullptr);
        if (op == EDDY_ETHREAD) static_cast<void>(handlers_.release());
        if (op != EDDY_EINVAL || !eddy_loop_is_running(handle_)) return;
        eddy_loop_set_exception_handler(handle_, nullptr, nullptr);
        for (const auto &[signum, kept] : handlers_->signals) eddy_loop_remove_signal_handler(handle_, signum);
    }

    template <class T>
    static task<> to_the_end(eddy_loop *loop, task<T> &job)
    {
        struct end {
            task<T> &job;
            bool await_ready() const noexcept { return job.done(); }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) { return job.begin(waiter); }
            void await_resume() const noexcept {}
        };
        co_await detail::soon(loop);
        co_await end{ job };
        eddy_loop_stop(loop);
    }

    static void told(eddy_loop *, const char *message, const eddy_error *lent, void *arg) noexcept
    {
        try {
            const exception_handler handler = *static_cast<exception_handler *>(arg); /* it may set another */
            if (lent == nullptr) return handler(message, nullptr);
            const error cause(lent);
            handler(message, &cause);
        } catch (...) {
            std::fprintf(stderr, "an exception in the exception handler, which was told: %s\n", message);
        }
    }

    static void signaled(void *arg) noexcept
    {
        const auto *kept = static_cast<detail::kept<signal_handler> *>(arg);
        eddy_loop *const loop = kept->loop;
        try {
            const signal_handler f = kept->f; /* it may set another */
            f();
        } catch (...) {
            detail::tell(loop, "Unhandled exception in a signal handler");
        }
    }

    eddy_loop *handle_;
    std::unique_ptr<standing> handlers_;
};

/* Begins the task in the loop's next round, and lets go of it: it lives until it is done, or the loop is
 * freed. What it throws is told to the loop's exception handler, but for EDDY_ECANCELED. asyncio:
 * create_task(). */
template <class T>
void spawn(eddy_loop *loop, task<T> job)
{
    if (!job) detail::refuse(EDDY_ESTALE);
    const auto handle = detail::run_detached(loop, std::move(job), "Unhandled exception in a task").handle;
    const eddy_op op = eddy_loop_call_soon(loop, detail::begin_detached, handle.address());
    if (op < 0) handle.destroy();
    detail::check(op);
}

/* ---- time ---------------------------------------------------------------------------------------------- */

/* co_await sleep(loop, 100ms): never shorter. 0: the next round that a timer is looked at in. max(): until it
 * is cancelled. */
inline auto sleep(eddy_loop *loop, milliseconds time)
{
    return detail::await<detail::plain_operation>(loop, [loop, ms = detail::count(time)](void *arg) {
        return eddy_loop_call_later(loop, ms, detail::plain_operation::done, arg);
    });
}

namespace detail {

template <class A>
decltype(auto) awaiter_of(A &&a)
{
    if constexpr (requires { std::forward<A>(a).operator co_await(); }) return std::forward<A>(a).operator co_await();
    else if constexpr (requires { operator co_await(std::forward<A>(a)); })
        return operator co_await(std::forward<A>(a));
    else return std::forward<A>(a);
}
template <class A>
using result_of = decltype(awaiter_of(std::declval<A>()).await_resume());

template <class T>
task<T> as_task(task<T> job)
{
    return job;
}
template <class A>
task<result_of<A>> as_task(A job)
{
    co_return co_await std::move(job);
}

/* Two tasks, the job and its clock, each of which resumes who waits; the one that does ends the other. */
template <class T>
class [[nodiscard]] timed {
public:
    timed(eddy_loop *loop, milliseconds time, task<T> job) : loop_(loop), time_(time), job_(std::move(job)) {}

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter)
    {
        if (job_.done()) return waiter;
        clock_ = expire(loop_, time_, job_);
        clock_.start();
        if (clock_.done()) return waiter; /* refused */
        clock_.begin(waiter);
        return job_.begin(waiter);
    }
    T await_resume()
    {
        task<> clock = std::move(clock_);
        if (job_.done()) return job_.result();
        clock.result(); /* throws why it was refused */
        throw error(EDDY_ETIMEDOUT);
    }

private:
    static task<> expire(eddy_loop *loop, milliseconds time, task<T> &job)
    {
        co_await sleep(loop, time);
        job = {};
        co_await soon(loop); /* after the callbacks of what that cancelled: then its reader can be read from again */
    }

    eddy_loop *loop_;
    milliseconds time_;
    task<T> job_;
    task<> clock_;
};

} // namespace detail

/* The result of what is awaited, a task or anything else; EDDY_ETIMEDOUT if that takes longer: then it is
 * destroyed, and so cancelled, before that is thrown. Bytes that were not read by then are still there to be
 * read. For every read of a reader, reader::set_timeout() is cheaper. asyncio: wait_for(). */
template <class Awaitable>
auto with_timeout(eddy_loop *loop, milliseconds time, Awaitable awaitable)
{
    using result = detail::result_of<Awaitable>;
    return detail::timed<result>(loop, time, detail::as_task(std::move(awaitable)));
}

/* ---- reader -------------------------------------------------------------------------------------------- */

namespace detail {

class read_operation : public operation {
public:
    using operation::operation;
    static void done(eddy_reader *, const char *bytes, std::size_t len, const eddy_error *failure, void *arg) noexcept
    {
        auto *self = ended<read_operation>(arg);
        if (self == nullptr) return;
        self->lent_ = { bytes, len };
        self->resume(failure);
    }

protected:
    std::string_view lent_;
};

/* How many bytes; 0 at the end of the stream. */
class read_count : public read_operation {
public:
    using read_operation::read_operation;
    std::size_t await_resume() const
    {
        check_outcome();
        return lent_.size();
    }
};

/* Bytes; or std::optional of them: none at the end of the stream. */
template <class Result>
class read_as : public read_operation {
public:
    using read_operation::read_operation;
    Result await_resume() const
    {
        check_outcome();
        if constexpr (requires { typename Result::value_type; Result(std::nullopt); }) {
            if (lent_.empty()) return std::nullopt;
            return typename Result::value_type(lent_.data(), lent_.size());
        } else {
            return Result(lent_.data(), lent_.size());
        }
    }
};

} // namespace detail

/* Bytes is std::string, or std::string_view for what is lent, or whatever else is made of a pointer and a
 * length. */
class reader {
public:
    reader() noexcept = default;

    /* Without a connection, to be fed by hand. */
    explicit reader(eddy_loop *loop, std::size_t limit) : loop_(loop), handle_(eddy_reader_new(loop, limit))
    {
        if (handle_ == nullptr) throw error(EDDY_EINVAL, "no reader: see what the exception handler is told");
    }

    /* The owner of one that C has made. */
    static reader adopt(eddy_loop *loop, eddy_reader *handle) noexcept
    {
        reader made;
        made.loop_ = loop;
        made.handle_ = handle;
        return made;
    }

    reader(reader &&other) noexcept : loop_(other.loop_), handle_(std::exchange(other.handle_, nullptr)) {}
    reader &operator=(reader &&other) noexcept
    {
        const reader old = std::move(*this);
        loop_ = other.loop_;
        handle_ = std::exchange(other.handle_, nullptr);
        return *this;
    }

    /* eddy_reader_free(): what comes for it from now on goes nowhere; its writer goes on. */
    ~reader() { eddy_reader_free(handle_); }

    eddy_reader *handle() const noexcept { return handle_; }
    eddy_reader *release() noexcept { return std::exchange(handle_, nullptr); }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    /* std::optional<Bytes>: what is there, at least 1 byte and at most n, or everything; none: the end of the
     * stream. */
    template <class Bytes = std::string>
    auto read(std::size_t n = EDDY_UNTIL_EOF)
    {
        return ask<std::optional<Bytes>>([r = handle_, n](void *arg) { return eddy_reader_read(r, n, done, arg); });
    }

    /* std::optional<Bytes>: a line with its newline, without one at the end of the stream; then none. Longer
     * than the limit: EDDY_ELIMIT, once, and all of that line is skipped. */
    template <class Bytes = std::string>
    auto readline()
    {
        return ask<std::optional<Bytes>>([r = handle_](void *arg) { return eddy_reader_readline(r, done, arg); });
    }

    /* Bytes: exactly n; EDDY_EINCOMPLETE. */
    template <class Bytes = std::string>
    auto readexactly(std::size_t n)
    {
        return ask<Bytes>([r = handle_, n](void *arg) { return eddy_reader_readexactly(r, n, done, arg); });
    }

    /* Bytes, with the separator; EDDY_EINCOMPLETE. Further off than the limit: EDDY_ELIMIT, and everything
     * stays. */
    template <class Bytes = std::string>
    auto readuntil(std::string_view separator)
    {
        return ask<Bytes>([r = handle_, separator = std::string(separator)](void *arg) {
            return eddy_reader_readuntil(r, separator.data(), separator.size(), done, arg);
        });
    }

    /* The match that ends first. */
    template <class Bytes = std::string>
    auto readuntil_any(std::span<const std::string_view> separators)
    {
        std::vector<std::string> kept(separators.begin(), separators.end());
        return ask<Bytes>([r = handle_, all = std::move(kept)](void *arg) {
            std::vector<eddy_bytes> lent;
            for (const std::string &one : all) lent.push_back({ one.data(), one.size() });
            return eddy_reader_readuntil_any(r, lent.data(), lent.size(), done, arg);
        });
    }

    /* readuntil_any(",", ";"). (gcc 12 knows no lists in braces within a co_await.) */
    template <class Bytes = std::string, std::convertible_to<std::string_view>... Separators>
    auto readuntil_any(const Separators &...separators)
    {
        const std::string_view all[] = { separators... };
        return readuntil_any<Bytes>(std::span<const std::string_view>(all));
    }

    /* Bytes: all, to the end; EDDY_ELIMIT past max, and everything stays. */
    template <class Bytes = std::string>
    auto readall(std::size_t max = EDDY_UNTIL_EOF)
    {
        return ask<Bytes>([r = handle_, max](void *arg) { return eddy_reader_readall(r, max, done, arg); });
    }

    /* Bytes: n, which stay for the next read; EDDY_EINCOMPLETE, and what there is stays too. */
    template <class Bytes = std::string>
    auto peek(std::size_t n)
    {
        return ask<Bytes>([r = handle_, n](void *arg) { return eddy_reader_peek(r, n, done, arg); });
    }

    /* std::size_t: read() into memory of yours, without a copy where that can be; 0: the end of the stream.
     * The memory is to be left alone while this waits. */
    auto read_into(std::span<std::byte> memory)
    {
        return detail::await<detail::read_count>(loop_, [r = handle_, memory](void *arg) {
            return eddy_reader_read_into(r, memory.data(), memory.size(), done, arg);
        });
    }

    /* The stream has ended, and nothing is left of it. */
    bool at_eof() const { return eddy_reader_at_eof(good()); }

    /* A look at what has come and is not asked for; lent until the next call. */
    std::string_view buffered() const
    {
        const char *bytes = nullptr;
        const std::size_t len = eddy_reader_buffered(good(), &bytes);
        return { bytes, len };
    }

    /* Of each read from now on: EDDY_ETIMEDOUT, and nothing is lost. 0 or max(): none, the default. */
    void set_timeout(milliseconds time) { detail::check(eddy_reader_set_timeout(handle_, detail::count(time))); }

    /* Feeding by hand, as a protocol does. EDDY_ESTATE after feed_eof(). */
    void feed_data(std::string_view bytes)
    {
        detail::check(eddy_reader_feed_data(handle_, bytes.data(), bytes.size()));
    }
    void feed_eof() { detail::check(eddy_reader_feed_eof(handle_)); }

    /* Any code but 0. */
    void set_exception(int code, const std::string &message)
    {
        detail::check(eddy_reader_set_exception(handle_, code, message.c_str()));
    }

    /* What set_exception(), or the connection, left. */
    std::optional<error> exception() const
    {
        const eddy_error *lent = eddy_reader_exception(good());
        return lent == nullptr ? std::nullopt : std::optional<error>(error(lent));
    }

private:
    static constexpr eddy_read_cb done = detail::read_operation::done;

    /* As detail::good(); but a reader may be freed with its writer, too. */
    eddy_reader *good() const
    {
        const eddy_op op = eddy_reader_readuntil(handle_, "", 0, done, nullptr);
        if (op != EDDY_EINVAL) [[unlikely]] detail::refuse(static_cast<int>(op));
        return handle_;
    }

    template <class Result, class Start>
    auto ask(Start start)
    {
        return detail::await<detail::read_as<Result>>(loop_, std::move(start));
    }

    eddy_loop *loop_ = nullptr;
    eddy_reader *handle_ = nullptr;
};

/* ---- options ------------------------------------------------------------------------------------------- */

/* eddy_options, to be written in braces: { .limit = 1024, .timeout = 5s }. 0 is the default, max() is
 * EDDY_NEVER. Text, and settings of TLS, must stay until the operation has begun. (Nothing here may have a
 * destructor: gcc 12 runs it once too often for braces within a co_await.) */
struct options {
    std::size_t limit = 0;
    std::size_t max_write_buffer = 0;
    milliseconds timeout{};
    milliseconds happy_eyeballs{};
    const char *local_host = nullptr;
    std::uint16_t local_port = 0;
    int family = 0;
    eddy_tls *tls = nullptr;
    const char *server_hostname = nullptr;
    milliseconds tls_shutdown{};
    bool tls_takes_buffered = false;
    std::size_t max_clients = 0;
    int backlog = 0;
    bool reuse_port = false;
    bool no_reuse_address = false;
    bool keep_socket_file = false;
    bool keep_alive = false;
    bool delay = false;

    /* As C takes them. What is wrong with the settings of TLS, where C's word is EDDY_EINVAL, is thrown. */
    eddy_options c() const
    {
        if (const eddy_error *wrong = tls == nullptr ? nullptr : eddy_tls_error(tls)) throw error(wrong);
        eddy_options all{};
        all.size = sizeof all;
        all.limit = limit;
        all.max_write_buffer = max_write_buffer;
        all.timeout_ms = detail::count(timeout);
        all.happy_eyeballs_ms = detail::count(happy_eyeballs);
        all.local_host = local_host;
        all.local_port = local_port;
        all.family = family;
        all.tls = tls;
        all.server_hostname = server_hostname;
        all.tls_shutdown_ms = detail::count(tls_shutdown);
        all.tls_takes_buffered = tls_takes_buffered;
        all.max_clients = max_clients;
        all.backlog = backlog;
        all.reuse_port = reuse_port;
        all.no_reuse_address = no_reuse_address;
        all.keep_socket_file = keep_socket_file;
        all.keep_alive = keep_alive;
        all.delay = delay;
        return all;
    }
};

/* ---- tls: settings shared by any number of connections, on any thread ---------------------------------- */

/* For { .tls = ... }. A mistake is thrown where it is made, and again by whatever uses the settings; so is
 * what they lack, such as a server's certificate. */
class tls {
public:
    /* A client's: trusts whom the system trusts, verifies the server's certificate and name. */
    static tls client() noexcept { return tls(eddy_tls_client_new()); }

    /* A server's: its certificate, with those that lead to its authority behind it, and the key; or to be
     * given these later. */
    static tls server() noexcept { return tls(eddy_tls_server_new(nullptr, nullptr)); }
    static tls server(const std::string &certificates_pem, const std::string &key_pem)
    {
        tls made = server();
        made.add_certificate(certificates_pem, key_pem);
        return made;
    }

    tls(tls &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    tls &operator=(tls &&other) noexcept
    {
        const tls old = std::move(*this);
        handle_ = std::exchange(other.handle_, nullptr);
        return *this;
    }

    /* eddy_tls_free(): connections and servers that use them go on as they are. */
    ~tls() { eddy_tls_free(handle_); }

    /* Empty ones are refused: nothing may go out in clear because of them. */
    operator eddy_tls *() const
    {
        if (handle_ == nullptr) detail::refuse(EDDY_ESTALE);
        return handle_;
    }
    eddy_tls *handle() const noexcept { return handle_; }

    /* One more, of a server, for another name; the one that a client shows when it is asked. */
    void add_certificate(const std::string &certificates_pem, const std::string &key_pem)
    {
        changed(eddy_tls_add_certificate(handle_, certificates_pem.c_str(), key_pem.c_str()));
    }

    /* The same from files; or the key is in the first. */
    void load_certificate(const std::string &certificates_path, const std::string &key_path)
    {
        changed(eddy_tls_load_certificate(handle_, certificates_path.c_str(), key_path.c_str()));
    }
    void load_certificate(const std::string &path)
    {
        changed(eddy_tls_load_certificate(handle_, path.c_str(), nullptr));
    }

    /* Trust these authorities, and no longer the system's; of a server: for its clients' certificates. */
    void trust(const std::string &certificates_pem) { changed(eddy_tls_trust(handle_, certificates_pem.c_str())); }
    void load_trust(const std::string &path) { changed(eddy_tls_load_trust(handle_, path.c_str())); }

    /* A server asks its clients for certificates. */
    void verify_clients(bool required = true) { changed(eddy_tls_verify_clients(handle_, required)); }

    /* "h2,http/1.1": the best first. */
    void set_alpn(const std::string &protocols) { changed(eddy_tls_set_alpn(handle_, protocols.c_str())); }

    /* "TLSv1.2", the default, or "TLSv1.3". */
    void set_minimum_version(const std::string &version)
    {
        changed(eddy_tls_set_minimum_version(handle_, version.c_str()));
    }
    void set_resumption(bool on) { changed(eddy_tls_set_resumption(handle_, on)); }

    /* FOR TESTS ONLY. A client believes ANY certificate, for any name. */
    void dangerously_skip_verification() { changed(eddy_tls_dangerously_skip_verification(handle_)); }

private:
    explicit tls(eddy_tls *handle) noexcept : handle_(handle) {}

    void changed(int code) const
    {
        if (code == 0) return;
        const eddy_error *wrong = code == EDDY_ESTALE ? nullptr : eddy_tls_error(handle_);
        throw wrong == nullptr ? error(code) : error(wrong);
    }

    eddy_tls *handle_;
};

/* ---- writer -------------------------------------------------------------------------------------------- */

class writer {
public:
    writer() noexcept = default;

    /* The owner of one that C has made. */
    static writer adopt(eddy_loop *loop, eddy_writer *handle) noexcept
    {
        writer made;
        made.loop_ = loop;
        made.handle_ = handle;
        return made;
    }

    writer(writer &&other) noexcept : loop_(other.loop_), handle_(std::exchange(other.handle_, nullptr)) {}
    writer &operator=(writer &&other) noexcept
    {
        const writer old = std::move(*this);
        loop_ = other.loop_;
        handle_ = std::exchange(other.handle_, nullptr);
        return *this;
    }

    /* eddy_writer_free(): closes the connection, after what is gathered has gone out, and frees its
     * reader. */
    ~writer() { eddy_writer_free(handle_); }

    eddy_writer *handle() const noexcept { return handle_; }
    eddy_writer *release() noexcept { return std::exchange(handle_, nullptr); }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    /* Never waits, and never fails for the network's sake. True: taken, but time to drain. EDDY_ESTATE after
     * close() and after write_eof(). */
    bool write(std::string_view bytes)
    {
        return detail::check(eddy_writer_write(handle_, bytes.data(), bytes.size())) > 0;
    }
    bool write(std::span<const std::byte> bytes)
    {
        return detail::check(eddy_writer_write(handle_, bytes.data(), bytes.size())) > 0;
    }

    /* All of them as one write; refused, none. */
    bool writelines(std::span<const std::string_view> lines)
    {
        std::vector<eddy_bytes> all;
        all.reserve(lines.size());
        for (const std::string_view line : lines) all.push_back({ line.data(), line.size() });
        return detail::check(eddy_writer_writelines(handle_, all.data(), all.size())) > 0;
    }
    bool writelines(std::initializer_list<std::string_view> lines)
    {
        return writelines(std::span(lines.begin(), lines.size()));
    }

    /* As write(), without a copy: the bytes are to stay as they are until released() is called, or destroyed
     * because this throws. It may own them. */
    template <std::invocable F = void (*)()>
    bool write_static(std::string_view bytes, F released = [] {})
    {
        auto kept = detail::keep(loop_, std::move(released));
        const auto call = detail::release<F>;
        const int full =
            detail::check(eddy_writer_write_static(handle_, bytes.data(), bytes.size(), call, kept.get()));
        static_cast<void>(kept.release());
        return full > 0;
    }

    /* Sends what is gathered now, as far as the socket takes it: in a long turn, say. */
    void flush() { detail::check(eddy_writer_flush(handle_)); }

    /* Until there is room again; at once, that is next, where there is. EDDY_ELOST when the connection is
     * gone, or goes. */
    auto drain()
    {
        return ask([w = handle_](void *arg) { return eddy_writer_drain(w, detail::plain_operation::done, arg); });
    }

    /* Ends this side of the stream once what is gathered has gone out; reading goes on. */
    void write_eof() { detail::check(eddy_writer_write_eof(handle_)); }
    bool can_write_eof() const { return eddy_writer_can_write_eof(good()); }

    /* After what is gathered has gone out; now, and the peer gets a reset. */
    void close() { detail::check(eddy_writer_close(handle_)); }
    void abort() { detail::check(eddy_writer_abort(handle_)); }
    bool is_closing() const { return eddy_writer_is_closing(good()); }

    /* Until the connection is closed or lost: EDDY_ELOST when the network took it. It goes on when the owner
     * is destroyed. */
    auto wait_closed()
    {
        return ask([w = handle_](void *arg) {
            return eddy_writer_wait_closed(w, detail::plain_operation::done, arg);
        });
    }

    /* Of each drain from now on, and of what close has left to send: EDDY_ETIMEDOUT. 0 or max(): none, the
     * default. */
    void set_timeout(milliseconds time) { detail::check(eddy_writer_set_timeout(handle_, detail::count(time))); }

    void set_write_buffer_limits(std::size_t high = SIZE_MAX, std::size_t low = SIZE_MAX)
    {
        detail::check(eddy_writer_set_write_buffer_limits(handle_, high, low));
    }
    std::size_t get_write_buffer_size() const { return eddy_writer_get_write_buffer_size(good()); }

    /* start_tls({ .tls = settings }): encrypts what follows, both ways. EDDY_ESTATE: something has come in
     * clear that nobody has read. */
    auto start_tls(const options &with)
    {
        return ask([w = handle_, all = with.c()](void *arg) {
            return eddy_writer_start_tls(w, &all, detail::plain_operation::done, arg);
        });
    }

    /* "peername", "sockname", "socket"; of TLS "version", "alpn", "peercert" and others; none if there is no
     * such. */
    std::optional<std::string> get_extra_info(const char *name) const
    {
        std::size_t len = 0;
        const char *value = eddy_writer_get_extra_info(good(), name, &len);
        return value == nullptr ? std::nullopt : std::optional<std::string>(std::in_place, value, len);
    }

private:
    template <class Start>
    detail::awaitable<detail::plain_operation, Start> ask(Start start)
    {
        return { loop_, std::move(start) };
    }
    eddy_writer *good() const { return detail::good(loop_, handle_); }

    eddy_loop *loop_ = nullptr;
    eddy_writer *handle_ = nullptr;
};

/* ---- opening ------------------------------------------------------------------------------------------- */

/* auto [reader, writer] = co_await open_connection(...): destroyed, it closes. */
struct connection {
    eddy::reader reader;
    eddy::writer writer;
};

namespace detail {

class open_operation : public operation {
public:
    using operation::operation;
    connection await_resume()
    {
        check_outcome();
        return std::move(opened_);
    }

    static void done(eddy_reader *r, eddy_writer *w, const eddy_error *failure, void *arg) noexcept
    {
        auto *self = ended<open_operation>(arg);
        if (self == nullptr) return eddy_writer_free(w); /* NULL: it was cancelled, as it should be */
        self->opened_ = { reader::adopt(self->loop(), r), writer::adopt(self->loop(), w) };
        self->resume(failure);
    }

private:
    connection opened_;
};

} // namespace detail

/* connection: a reader and a writer. EDDY_ERESOLVE, EDDY_ESYSTEM, EDDY_ETLS, EDDY_ETIMEDOUT. */
inline auto open_connection(eddy_loop *loop, std::string host, std::uint16_t port, const options &with = {})
{
    return detail::await<detail::open_operation>(
        loop, [loop, host = std::move(host), port, all = with.c()](void *arg) {
            return eddy_open_connection(loop, host.c_str(), port, &all, detail::open_operation::done, arg);
        });
}

/* A path that begins with '@' is an abstract name. */
inline auto open_unix_connection(eddy_loop *loop, std::string path, const options &with = {})
{
    return detail::await<detail::open_operation>(
        loop, [loop, path = std::move(path), all = with.c()](void *arg) {
            return eddy_open_unix_connection(loop, path.c_str(), &all, detail::open_operation::done, arg);
        });
}

/* Over a descriptor that is already connected; eddy's own once this is awaited, unless it is refused. */
inline auto open_socket(eddy_loop *loop, std::intptr_t fd, const options &with = {})
{
    return detail::await<detail::open_operation>(loop, [loop, fd, all = with.c()](void *arg) {
        return eddy_open_socket(loop, fd, &all, detail::open_operation::done, arg);
    });
}

/* Pipes, FIFOs, terminals, stdin and stdout; -1: that direction is not there. Nothing to read from: the reader
 * is empty. Nothing to write to: the writer refuses to write, and is there to be closed. */
inline auto open_pipe(eddy_loop *loop, std::intptr_t read_fd, std::intptr_t write_fd, const options &with = {})
{
    return detail::await<detail::open_operation>(loop, [loop, read_fd, write_fd, all = with.c()](void *arg) {
        return eddy_open_pipe(loop, read_fd, write_fd, &all, detail::open_operation::done, arg);
    });
}

/* auto [here, there] = open_pair(loop): two streams joined in memory, a network for tests. Nothing to wait
 * for. */
inline std::array<connection, 2> open_pair(eddy_loop *loop, const options &with = {})
{
    const eddy_options all = with.c();
    eddy_reader *r[2];
    eddy_writer *w[2];
    detail::check(eddy_open_pair(loop, &all, r, w));
    return { { { reader::adopt(loop, r[0]), writer::adopt(loop, w[0]) },
               { reader::adopt(loop, r[1]), writer::adopt(loop, w[1]) } } };
}

/* ---- server -------------------------------------------------------------------------------------------- */

namespace detail {

/* The argument of both callbacks of a server: it lives as long as the server's owner, and each client's
 * coroutine. */
struct listening : ticket, std::enable_shared_from_this<listening> {
    std::shared_ptr<listening> itself; /* until it is known whether the server has started */
};

} // namespace detail

/* Destroyed, it is closed; its clients go on. */
class server {
public:
    server() noexcept = default;
    server(server &&other) noexcept
        : loop_(other.loop_), handle_(std::exchange(other.handle_, nullptr)), clients_(std::move(other.clients_))
    {
    }
    server &operator=(server &&other) noexcept
    {
        const server old = std::move(*this);
        loop_ = other.loop_;
        handle_ = std::exchange(other.handle_, nullptr);
        clients_ = std::move(other.clients_);
        return *this;
    }

    /* eddy_server_free(). Those who wait for its end are still told. */
    ~server()
    {
        if (handle_ == nullptr) return;
        /* On another thread that is refused, and its clients still need what they are called with. */
        if (eddy_server_close(handle_) == EDDY_ETHREAD) clients_->itself = clients_;
        eddy_server_free(handle_);
    }

    eddy_server *handle() const noexcept { return handle_; }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    /* No new clients for a while. EDDY_ESTATE: closed. */
    void pause() { detail::check(eddy_server_pause(handle_)); }
    void resume() { detail::check(eddy_server_resume(handle_)); }

    /* No new clients, from this moment; the present ones stay. */
    void close() { detail::check(eddy_server_close(handle_)); }

    /* Closes it once awaited, and waits for the last client; after the grace those that are left are ended,
     * and that is EDDY_ETIMEDOUT. */
    auto shutdown(milliseconds grace)
    {
        return ask([s = handle_, ms = detail::count(grace)](void *arg) {
            return eddy_server_shutdown(s, ms, detail::plain_operation::done, arg);
        });
    }

    /* Until it is closed and its last client is gone. */
    auto wait_closed()
    {
        return ask([s = handle_](void *arg) {
            return eddy_server_wait_closed(s, detail::plain_operation::done, arg);
        });
    }

    void close_clients() { detail::check(eddy_server_close_clients(handle_)); }
    void abort_clients() { detail::check(eddy_server_abort_clients(handle_)); }
    bool is_serving() const { return eddy_server_is_serving(good()); }

    /* "127.0.0.1:8080", or a path; empty past the last, and once closed. */
    std::string sockname(std::size_t index = 0) const
    {
        const char *name = eddy_server_sockname(good(), index);
        return name == nullptr ? "" : name;
    }

    /* The descriptor; -1 past the last, and once closed. */
    std::intptr_t socket(std::size_t index = 0) const { return eddy_server_socket(good(), index); }

    /* The port of sockname(), of a TCP server; 0: none. */
    std::uint16_t port(std::size_t index = 0) const
    {
        const std::string name = sockname(index);
        const std::size_t colon = name.rfind(':');
        if (colon == name.npos) return 0;
        return static_cast<std::uint16_t>(std::strtoul(name.c_str() + colon + 1, nullptr, 10));
    }

    /* For start_server(). */
    server(eddy_loop *loop, eddy_server *handle, std::shared_ptr<detail::listening> clients) noexcept
        : loop_(loop), handle_(handle), clients_(std::move(clients))
    {
    }

private:
    template <class Start>
    detail::awaitable<detail::plain_operation, Start> ask(Start start)
    {
        return { loop_, std::move(start) };
    }
    eddy_server *good() const { return detail::good(loop_, handle_); }

    eddy_loop *loop_ = nullptr;
    eddy_server *handle_ = nullptr;
    std::shared_ptr<detail::listening> clients_;
};

namespace detail {

constexpr const char *client_failed = "Unhandled exception in client_connected_cb";

template <class F>
struct clients : listening {
    clients(eddy_loop *l, F function) : loop(l), client_connected(std::move(function)) {}
    eddy_loop *loop;
    F client_connected;
};

/* As long as it runs, what the function has captured stays. */
template <class F>
detached serve(std::shared_ptr<clients<F>> all, reader r, writer w)
{
    try {
        co_await all->client_connected(std::move(r), std::move(w));
    } catch (...) {
        tell(all->loop, client_failed);
    }
}

template <class F>
void came(eddy_reader *r, eddy_writer *w, const eddy_error *failure, void *arg) noexcept
{
    if (failure != nullptr) return;
    auto *here = static_cast<clients<F> *>(static_cast<ticket *>(arg));
    const auto all = std::static_pointer_cast<clients<F>>(here->shared_from_this()); /* also if it ends its server */
    reader its_reader = reader::adopt(all->loop, r);
    writer its_writer = writer::adopt(all->loop, w);
    try {
        if constexpr (std::is_void_v<std::invoke_result_t<F &, reader, writer>>) {
            all->client_connected(std::move(its_reader), std::move(its_writer));
        } else {
            serve<F>(all, std::move(its_reader), std::move(its_writer)).handle.resume();
        }
    } catch (...) {
        tell(all->loop, client_failed);
    }
}

/* Start: eddy_op(eddy_stream_cb came, void *arg). */
class serve_operation : public operation {
public:
    using operation::operation;
    server await_resume()
    {
        check_outcome();
        return std::move(started_);
    }

    static void done(eddy_server *s, const eddy_error *failure, void *arg) noexcept
    {
        auto *all = static_cast<listening *>(static_cast<ticket *>(arg));
        const std::shared_ptr<listening> kept = std::move(all->itself);
        auto *self = ended<serve_operation>(all);
        if (self == nullptr) return eddy_server_free(s); /* NULL: it was cancelled, as it should be */
        if (failure == nullptr) self->started_ = server(self->loop(), s, kept);
        self->resume(failure);
    }

private:
    server started_;
};

template <class F, class Start>
class [[nodiscard]] serving : public serve_operation {
public:
    serving(eddy_loop *loop, F client_connected, Start start)
        : serve_operation(loop), client_connected_(std::move(client_connected)), start_(std::move(start))
    {
    }
    bool await_suspend(std::coroutine_handle<> waiter)
    {
        idle();
        const auto all = std::make_shared<clients<F>>(loop(), std::move(client_connected_));
        all->itself = all;
        const bool begun = begin(waiter, all.get(), [this](void *arg) { return start_(came<F>, arg); });
        if (!begun) all->itself = nullptr;
        return begun;
    }

private:
    F client_connected_;
    Start start_;
};

template <class F, class Start>
auto serve_by(eddy_loop *loop, F client_connected, Start start)
{
    return serving<F, Start>(loop, std::move(client_connected), std::move(start));
}

} // namespace detail

/* What is called with the reader and the writer of each client, which are its own: a coroutine function, or a
 * plain one. What that throws is told to the loop's exception handler. */
template <class F>
concept client_function = std::invocable<F &, reader, writer>;

/* server: its owner. host "": every address of this machine; port 0: any that is free, see server::port(). */
template <client_function F>
auto start_server(eddy_loop *loop, F client_connected, std::string host, std::uint16_t port, const options &with = {})
{
    return detail::serve_by(loop, std::move(client_connected),
                            [loop, host = std::move(host), port, all = with.c()](auto came, void *arg) {
                                return eddy_start_server(loop, came, host.c_str(), port, &all,
                                                         detail::serve_operation::done, arg);
                            });
}

/* A socket file that nobody answers on is replaced; whatever else is at the path is EADDRINUSE. */
template <client_function F>
auto start_unix_server(eddy_loop *loop, F client_connected, std::string path, const options &with = {})
{
    return detail::serve_by(loop, std::move(client_connected),
                            [loop, path = std::move(path), all = with.c()](auto came, void *arg) {
                                return eddy_start_unix_server(loop, came, path.c_str(), &all,
                                                              detail::serve_operation::done, arg);
                            });
}

/* Over a descriptor that is already listening; eddy's own once this is awaited, unless it is refused. */
template <client_function F>
auto start_socket_server(eddy_loop *loop, F client_connected, std::intptr_t fd, const options &with = {})
{
    return detail::serve_by(loop, std::move(client_connected),
                            [loop, fd, all = with.c()](auto came, void *arg) {
                                return eddy_start_socket_server(loop, came, fd, &all,
                                                                detail::serve_operation::done, arg);
                            });
}

} // namespace eddy

#endif
