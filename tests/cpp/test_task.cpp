// Tasks, time, and the loop's own calls.
#include "eddy_test.hpp"

#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <thread>

// Counts how many of it there are.
struct counted {
    int *count;
    explicit counted(int &c) : count(&c) { ++*count; }
    counted(counted &&other) noexcept : count(std::exchange(other.count, nullptr)) {}
    ~counted()
    {
        if (count != nullptr) --*count;
    }
};

static eddy::task<int> number(int n)
{
    co_return n;
}

static eddy::task<int> later(eddy_loop *loop, int n)
{
    co_await eddy::sleep(loop, 1ms);
    co_return n;
}

static eddy::task<> throws(const char *what)
{
    throw std::runtime_error(what);
    co_return;
}

static eddy::task<> throws_later(eddy_loop *loop, const char *what)
{
    co_await eddy::sleep(loop, 1ms);
    throw std::runtime_error(what);
}

TEST(a_task_gives_a_result_to_run)
{
    eddy::loop loop;
    CHECK_EQ(loop.run(number(7)), 7);
    CHECK_EQ(loop.run(later(loop, 8)), 8);
}

TEST(a_task_throws_into_run)
{
    eddy::loop loop;
    for (const bool at_once : { true, false }) {
        std::string what;
        try {
            loop.run(at_once ? throws("oh") : throws_later(loop, "oh"));
        } catch (const std::runtime_error &thrown) {
            what = thrown.what();
        }
        CHECK_EQ(what, "oh");
    }
}

TEST(a_task_is_lazy)
{
    bool begun = false;
    eddy::task<> task = [](bool &said) -> eddy::task<> {
        said = true;
        co_return;
    }(begun);
    CHECK(task && !task.done() && !begun);
    task.start();
    CHECK(task.done() && begun);
}

TASK(tasks_await_tasks)
{
    CHECK_EQ(co_await number(1) + co_await later(loop, 2), 3);
    auto kept = later(loop, 3);
    CHECK_EQ(co_await std::move(kept), 3);
}

TASK(exceptions_pass_through_tasks)
{
    const auto outer = [](eddy_loop *l) -> eddy::task<> { co_await throws_later(l, "deep"); };
    std::string what;
    try {
        co_await outer(loop);
    } catch (const std::runtime_error &thrown) {
        what = thrown.what();
    }
    CHECK_EQ(what, "deep");
}

TASK(results_of_many_types)
{
    static int place = 5;
    const auto moved = []() -> eddy::task<std::unique_ptr<int>> { co_return std::make_unique<int>(4); };
    const auto reference = []() -> eddy::task<int &> { co_return place; };
    const auto braces = []() -> eddy::task<std::pair<int, std::string>> { co_return { 1, "one" }; };
    const auto exception = []() -> eddy::task<std::exception_ptr> { co_return std::exception_ptr(); };
    CHECK_EQ(*co_await moved(), 4);
    CHECK(&co_await reference() == &place);
    CHECK_EQ((co_await braces()).second, "one");
    CHECK((co_await exception()) == nullptr);
}

TASK(ten_thousand_tasks_in_a_row_do_not_pile_up)
{
    int sum = 0; // each transfers to the next: no stack grows where the compiler optimizes, little where it does not
    for (int i = 0; i < 10000; i++) sum += co_await number(1);
    CHECK_EQ(sum, 10000);
}

TASK(a_thousand_tasks_deep)
{
    struct deep {
        static eddy::task<int> down(eddy_loop *l, int n)
        {
            if (n > 0) co_return 1 + co_await down(l, n - 1);
            co_await eddy::sleep(l, 0ms);
            co_return 0;
        }
    };
    CHECK_EQ(co_await deep::down(loop, 1000), 1000);
}

TASK(tasks_that_are_started_go_on_together)
{
    const auto began = loop.time();
    const auto nap = [](eddy_loop *l) -> eddy::task<int> {
        co_await eddy::sleep(l, 50ms);
        co_return 1;
    };
    eddy::task<int> all[20];
    for (auto &one : all) one = nap(loop), one.start(), one.start();
    int sum = 0;
    for (auto &one : all) sum += co_await std::move(one);
    CHECK_EQ(sum, 20);
    CHECK(loop.time() - began >= 50ms);
    CHECK(loop.time() - began < 1000ms * slow()); // in a row: exactly that
}

TEST(the_result_of_a_task)
{
    auto task = number(3);
    CHECK_EQ(CODE_OF(task.result()), EDDY_ESTATE);
    task.start();
    CHECK_EQ(task.result(), 3);
    task = {};
    CHECK_EQ(CODE_OF(task.result()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(task.start()), EDDY_ESTALE);
}

TASK(an_empty_task_is_refused)
{
    eddy::task<> empty;
    CHECK_EQ(co_await code_of(std::move(empty)), EDDY_ESTALE);
    auto task = number(1);
    CHECK_EQ(co_await std::move(task), 1);
    CHECK_EQ(co_await code_of(std::move(task)), EDDY_ESTALE); // it was moved from
    CHECK_EQ(CODE_OF(eddy::spawn(loop, eddy::task<>())), EDDY_ESTALE);
}

TEST(a_task_that_is_destroyed_destroys_what_lives_in_it)
{
    eddy::loop loop;
    int living = 0;
    const auto inner = [](eddy_loop *l, counted) -> eddy::task<> { co_await eddy::sleep(l, 1h); };
    const auto outer = [&](eddy_loop *l, counted) -> eddy::task<> { co_await inner(l, counted(living)); };
    {
        auto never_begun = outer(loop, counted(living));
        CHECK_EQ(living, 1);
    }
    CHECK_EQ(living, 0);
    auto task = outer(loop, counted(living));
    task.start();
    CHECK_EQ(living, 2);
    task = {};
    CHECK_EQ(living, 0);
    loop.run(); // the sleep was cancelled, so this returns
}

TEST(a_spawned_task_begins_from_within_the_run)
{
    eddy::loop loop;
    bool begun = false, ran_within = false;
    eddy::spawn(loop, [](eddy::loop &l, bool &b, bool &w) -> eddy::task<> {
        b = true;
        w = l.is_running();
        co_await eddy::sleep(l, 1ms);
        l.stop();
    }(loop, begun, ran_within));
    CHECK(!begun);
    loop.run_forever();
    CHECK(begun && ran_within);
}

struct handled {
    std::vector<std::string> messages;
    std::vector<int> codes;
    explicit handled(eddy::loop &loop)
    {
        loop.set_exception_handler([this](const char *message, const eddy::error *cause) {
            messages.push_back(message);
            codes.push_back(cause == nullptr ? 0 : cause->code());
        });
    }
};

TEST(what_a_spawned_task_throws_is_told_to_the_exception_handler)
{
    eddy::loop loop;
    handled told(loop);
    eddy::spawn(loop, throws("at once"));
    eddy::spawn(loop, throws_later(loop, "later"));
    eddy::spawn(loop, []() -> eddy::task<> { throw eddy::error(EDDY_ELOST); co_return; }());
    eddy::spawn(loop, []() -> eddy::task<> { throw eddy::error(EDDY_ECANCELED); co_return; }()); // is no news
    eddy::spawn(loop, []() -> eddy::task<> { throw 1; co_return; }());
    eddy::spawn(loop, throws("\xff is no UTF-8"));
    loop.run();
    CHECK_EQ(told.messages.size(), 5u);
    CHECK_EQ(told.messages[0], "Unhandled exception in a task: at once");
    CHECK_EQ(told.messages[1], "Unhandled exception in a task: " + std::string(eddy_strerror(EDDY_ELOST)));
    CHECK_EQ(told.codes[1], EDDY_ELOST);
    CHECK_EQ(told.messages[2], "Unhandled exception in a task: of no known type");
    CHECK_EQ(told.messages[3], "Unhandled exception in a task");
    CHECK_EQ(told.messages[4], "Unhandled exception in a task: later");
    CHECK_EQ(told.codes[4], 0);
}

TEST(spawned_tasks_end_with_their_loop)
{
    int living = 0, canceled = 0;
    {
        eddy::loop loop;
        for (int i = 0; i < 10; i++)
            eddy::spawn(loop, [](eddy_loop *l, counted, int &c) -> eddy::task<> {
                c += co_await code_of(eddy::sleep(l, 1h)) == EDDY_ECANCELED;
                c += co_await code_of(eddy::sleep(l, 1h)) == EDDY_ESTATE; // nothing new on a loop that ends
            }(loop, counted(living), canceled));
        CHECK_EQ(living, 10);
        loop.run_once(0ms);
        eddy::spawn(loop, [](counted) -> eddy::task<> { co_return; }(counted(living))); // never begins
        CHECK_EQ(living, 11);
    }
    CHECK_EQ(living, 0);
    CHECK_EQ(canceled, 20);
}

TEST(run_tells_when_a_task_cannot_be_done)
{
    eddy::loop loop;
    int living = 0;
    const auto forever = [](counted) -> eddy::task<int> {
        co_await std::suspend_always();
        co_return 1;
    };
    CHECK_EQ(CODE_OF(loop.run(forever(counted(living)))), EDDY_ESTATE);
    CHECK_EQ(living, 0);
    const auto stops = [](eddy::loop &l, counted) -> eddy::task<> {
        l.stop();
        co_await eddy::sleep(l, 1h);
    };
    CHECK_EQ(CODE_OF(loop.run(stops(loop, counted(living)))), EDDY_ESTATE);
    CHECK_EQ(living, 0);
    CHECK_EQ(CODE_OF(loop.run(eddy::task<>())), EDDY_ESTALE);
    CHECK_EQ(loop.run(number(1)), 1); // and is as good as ever
}

TASK(run_within_run_is_refused)
{
    bool begun = false;
    const auto task = [](bool &b) -> eddy::task<> {
        b = true;
        co_return;
    };
    CHECK_EQ(CODE_OF(loop.run(task(begun))), EDDY_EBUSY);
    CHECK_EQ(CODE_OF(loop.run()), EDDY_EBUSY);
    CHECK(!begun);
    co_return;
}

TASK(sleeping)
{
    const auto began = std::chrono::steady_clock::now();
    co_await eddy::sleep(loop, 20ms);
    CHECK(std::chrono::steady_clock::now() - began >= 20ms);
    co_await eddy::sleep(loop, 0ms);
    co_await eddy::sleep(loop, -5ms); // is 0
    CHECK(std::chrono::steady_clock::now() - began < 10s * slow());
}

TASK(an_awaitable_is_cancelled_from_elsewhere)
{
    auto nap = eddy::sleep(loop, eddy::milliseconds::max());
    CHECK(!nap.cancel()); // it does not wait yet
    loop.call_soon([&] {
        CHECK(nap.cancel());
        CHECK(!nap.cancel());
    });
    int code = 0;
    try {
        co_await nap;
    } catch (const eddy::error &caught) {
        code = caught.code();
        CHECK_EQ(std::string(caught.what()), "canceled");
    }
    CHECK_EQ(code, EDDY_ECANCELED);
    CHECK(!nap.cancel());
}

TASK(an_awaitable_waits_for_one_at_a_time_and_begins_again)
{
    auto nap = eddy::sleep(loop, 5ms);
    auto second = [](decltype(nap) &n) -> eddy::task<> { co_await n; }(nap);
    loop.call_soon([&] { second.start(); });
    co_await nap;
    CHECK(second.done());
    CHECK_EQ(CODE_OF(second.result()), EDDY_EBUSY);
    const auto began = loop.time();
    co_await nap;
    CHECK(loop.time() - began >= 4ms);
}

TASK(with_timeout_gives_the_result_in_time)
{
    CHECK_EQ(co_await eddy::with_timeout(loop, 1h, later(loop, 5)), 5);
    CHECK_EQ(co_await eddy::with_timeout(loop, 1h, number(6)), 6);
    co_await eddy::with_timeout(loop, eddy::milliseconds::max(), eddy::sleep(loop, 1ms));
    std::string what;
    try {
        co_await eddy::with_timeout(loop, 1h, throws_later(loop, "in time"));
    } catch (const std::runtime_error &thrown) {
        what = thrown.what();
    }
    CHECK_EQ(what, "in time");
}

TASK(with_timeout_destroys_what_takes_too_long)
{
    int living = 0;
    const auto began = loop.time();
    const auto inner = [](eddy_loop *l, counted) -> eddy::task<> { co_await eddy::sleep(l, 1h); };
    CHECK_EQ(co_await code_of(eddy::with_timeout(loop, 10ms, inner(loop, counted(living)))), EDDY_ETIMEDOUT);
    CHECK_EQ(living, 0);
    CHECK(loop.time() - began >= 10ms);
    CHECK_EQ(co_await code_of(eddy::with_timeout(loop, 1ms, eddy::sleep(loop, 1h))), EDDY_ETIMEDOUT);
}

TASK(a_timeout_that_is_kept_is_over_with_its_job)
{
    auto kept = eddy::with_timeout(loop, 10ms, later(loop, 5));
    CHECK_EQ(co_await kept, 5);
    const auto began = loop.time();
    co_await eddy::sleep(loop, 30ms); // nobody is resumed by the clock meanwhile
    CHECK(loop.time() - began >= 30ms);
}

TASK(timeouts_within_timeouts)
{
    const auto nested = [](eddy_loop *l, eddy::milliseconds outer, eddy::milliseconds inner) {
        return eddy::with_timeout(l, outer, eddy::with_timeout(l, inner, eddy::sleep(l, 1h)));
    };
    CHECK_EQ(co_await code_of(nested(loop, 1h, 5ms)), EDDY_ETIMEDOUT);
    CHECK_EQ(co_await code_of(nested(loop, 5ms, 1h)), EDDY_ETIMEDOUT);
}

TASK(an_awaitable_of_another_kind_with_a_timeout)
{
    struct ready {
        bool await_ready() const noexcept { return true; }
        void await_suspend(std::coroutine_handle<>) const noexcept {}
        int await_resume() const noexcept { return 9; }
    };
    struct wrapped {
        ready operator co_await() const noexcept { return {}; }
    };
    CHECK_EQ(co_await eddy::with_timeout(loop, 1h, ready()), 9);
    CHECK_EQ(co_await eddy::with_timeout(loop, 1h, wrapped()), 9);
    CHECK_EQ(co_await code_of(eddy::with_timeout(loop, 1ms, std::suspend_always())), EDDY_ETIMEDOUT);
}

TASK(timeouts_race_completion)
{
    int in_time = 0, late = 0;
    for (int i = 0; i < 1000; i++) {
        const int code = co_await code_of(eddy::with_timeout(loop, 1ms, later(loop, i)));
        CHECK(code == 0 || code == EDDY_ETIMEDOUT);
        ++(code == 0 ? in_time : late);
    }
    CHECK_EQ(in_time + late, 1000);
}

TEST(functions_are_called_soon_and_later_in_order)
{
    eddy::loop loop;
    std::string order;
    loop.call_later(2ms, [&] { order += 'c'; });
    loop.call_soon([&] { order += 'a'; });
    loop.call_soon([&, owned = std::make_unique<int>(1)] { order += 'b'; });
    CHECK_EQ(order, "");
    loop.run();
    CHECK_EQ(order, "abc");
}

TEST(functions_that_are_cancelled_are_destroyed_and_not_called)
{
    int living = 0;
    bool called = false;
    eddy::loop loop;
    const eddy_op op = loop.call_later(1h, [&called, c = counted(living)] { called = true; });
    CHECK_EQ(living, 1);
    CHECK(loop.cancel(op));
    CHECK(!loop.cancel(op));
    loop.run();
    CHECK(!called && living == 0);
    {
        const eddy::loop another;
        eddy::loop moved;
        moved.call_soon([&called, c = counted(living)] { called = true; });
    }
    CHECK(!called && living == 0);
    eddy::loop empty;
    loop = std::move(empty);
    CHECK_EQ(CODE_OF(empty.call_soon([c = counted(living)] {})), EDDY_ESTALE);
    CHECK_EQ(living, 0);
}

TEST(what_a_function_throws_is_told)
{
    eddy::loop loop;
    handled told(loop);
    loop.call_soon([] { throw std::runtime_error("in vain"); });
    loop.run();
    CHECK_EQ(told.messages.size(), 1u);
    CHECK_EQ(told.messages[0], "Unhandled exception in a callback: in vain");
    loop.call_exception_handler("by hand", 42);
    loop.run();
    CHECK_EQ(told.messages[1], "by hand");
    CHECK_EQ(told.codes[1], 42);
}

TEST(a_handler_that_throws_or_is_replaced_from_within)
{
    eddy::loop loop;
    int told = 0;
    loop.set_exception_handler([&](const char *, const eddy::error *) {
        loop.set_exception_handler([&](const char *, const eddy::error *) { told += 10; });
        told++;
    });
    loop.call_exception_handler("one");
    loop.call_exception_handler("two");
    loop.run();
    CHECK_EQ(told, 11);
    int ends[2];
    CHECK(::pipe(ends) == 0);
    const int err = ::dup(2);
    ::dup2(ends[1], 2);
    loop.set_exception_handler([](const char *, const eddy::error *) { throw 1; });
    loop.call_exception_handler("three");
    loop.run();
    loop.set_exception_handler({});
    loop.call_exception_handler("four");
    loop.run();
    ::dup2(err, 2);
    ::close(err);
    ::close(ends[1]);
    char text[1000] = "";
    CHECK(::read(ends[0], text, sizeof text - 1) > 0);
    ::close(ends[0]);
    CHECK_EQ(std::string(text), "an exception in the exception handler, which was told: three\nfour\n");
}

TEST(signals_are_told)
{
    eddy::loop loop;
    handled told(loop);
    std::string order;
    const auto run = [&](int signum) {
        ::raise(signum);
        loop.run_once(10ms);
    };
    loop.add_signal_handler(SIGUSR1, [&] { order += 'a'; });
    loop.add_signal_handler(SIGUSR2, [&, owned = std::make_shared<int>(1)] {
        order += 'b';
        loop.add_signal_handler(SIGUSR2, [&] { order += 'c'; }); // in its own place
        order += static_cast<char>('0' + *owned);                // and goes on
    });
    for (const int signum : { SIGUSR1, SIGUSR2, SIGUSR2, SIGUSR1 }) run(signum);
    CHECK_EQ(order, "ab1ca");
    loop.add_signal_handler(SIGUSR1, [] { throw std::runtime_error("oh"); });
    run(SIGUSR1);
    loop.run_once(0ms);
    CHECK_EQ(told.messages.size(), 1u);
    CHECK_EQ(told.messages[0], "Unhandled exception in a signal handler: oh");
    CHECK_EQ(CODE_OF(loop.add_signal_handler(SIGKILL, [] {})), EDDY_EINVAL);
    loop.remove_signal_handler(SIGUSR1);
    CHECK_EQ(CODE_OF(loop.remove_signal_handler(SIGUSR1)), EDDY_ESTATE);
    loop.add_signal_handler(SIGTERM, [&] { loop.stop(); });
    loop.call_soon([] { ::raise(SIGTERM); });
    loop.run_forever();
}

TEST(a_loop_that_is_destroyed_within_its_run)
{
    int told = 0, signals = 0;
    auto loop = std::make_unique<eddy::loop>();
    eddy_loop *handle = *loop;
    loop->set_exception_handler([&](const char *, const eddy::error *) { told++; });
    loop->add_signal_handler(SIGUSR1, [&] { signals++; });
    loop->call_soon([&] {
        eddy_loop_call_exception_handler(handle, "to nobody", 0);
        ::raise(SIGUSR1);
        loop.reset();
    });
    std::signal(SIGUSR1, SIG_IGN); // once the loop has let go of it
    const int err = ::dup(2), null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, 2); // the default handler may have a word
    loop->run();
    ::dup2(err, 2);
    ::close(err);
    ::close(null);
    CHECK(told == 0 && signals == 0);
    CHECK_EQ(eddy_loop_run(handle), EDDY_ESTALE);
}

TEST(a_clock_for_tests)
{
    const auto began = std::chrono::steady_clock::now();
    eddy::loop loop;
    loop.set_clock(true);
    const auto day = [](eddy::loop &l) -> eddy::task<eddy::milliseconds> {
        const auto start = l.time(); // what had passed before it was told to stand still
        for (int hour = 0; hour < 24; hour++) co_await eddy::sleep(l, 1h);
        CHECK_EQ(co_await code_of(eddy::with_timeout(l, 1h, eddy::sleep(l, 2h))), EDDY_ETIMEDOUT);
        co_return l.time() - start;
    };
    CHECK(loop.run(day(loop)) == 25h);
    CHECK(std::chrono::steady_clock::now() - began < 1h);
    CHECK_EQ(CODE_OF(loop.set_clock(false)), EDDY_ESTATE);
}

TEST(a_loop_within_another_one)
{
    eddy::loop loop;
    std::string order;
    loop.call_later(5ms, [&] { order += 'b'; });
    loop.call_soon([&] { order += 'a'; });
    CHECK_EQ(loop.timeout(), 0);
    for (bool more = true; more;) {
        pollfd watched{ loop.fd(), POLLIN, 0 };
        CHECK(::poll(&watched, 1, loop.timeout()) >= 0);
        more = loop.run_once(0ms);
    }
    CHECK_EQ(order, "ab");
}

TEST(what_a_loop_has_done)
{
    std::vector<std::string> messages;
    {
        eddy::loop loop;
        loop.set_exception_handler([&](const char *message, const eddy::error *) { messages.push_back(message); });
        loop.set_debug(5ms);
        loop.call_soon([] { ::usleep(6000); });
        loop.run();
        const eddy_stats stats = loop.stats();
        CHECK(stats.callbacks >= 1 && stats.turns >= 1);
        CHECK_EQ(stats.slow_callbacks, 1u);
        CHECK_EQ(messages.size(), 1u);
        loop.set_busy_poll(10us);
        loop.call_later(1ms, [] {});
        loop.run();
        CHECK_EQ(loop.stats().callbacks, stats.callbacks + 1);
        loop.call_later(1h, [] {});
    }
    CHECK_EQ(messages.size(), 2u); // of what was still waiting
}

TEST(functions_come_from_other_threads)
{
    eddy::loop loop;
    const auto here = std::this_thread::get_id();
    int called = 0;
    std::thread other([&] {
        for (int i = 0; i < 100; i++)
            loop.call_soon_threadsafe([&, owned = std::make_unique<int>(1)] {
                CHECK(std::this_thread::get_id() == here);
                if (++called == 100) loop.stop();
            });
        CHECK_EQ(CODE_OF(loop.stop()), EDDY_ETHREAD);
        CHECK_EQ(CODE_OF(eddy::spawn(loop, number(1))), EDDY_ETHREAD);
    });
    loop.run_forever();
    other.join();
    CHECK_EQ(called, 100);
}

TEST(a_loop_moves_to_another_thread_with_all_that_waits)
{
    eddy::loop loop;
    bool done = false;
    eddy::spawn(loop, [](eddy_loop *l, bool &d) -> eddy::task<> {
        for (int i = 0; i < 10; i++) co_await eddy::sleep(l, 1ms);
        d = true;
    }(loop, done));
    loop.run_once(100ms);
    loop.detach();
    std::thread([&] {
        loop.attach();
        loop.run_once(100ms);
        loop.detach();
    }).join();
    loop.attach();
    loop.run();
    CHECK(done);
}

TEST(a_loop_is_an_owner)
{
    eddy::loop one;
    eddy_loop *handle = one;
    eddy::loop two = std::move(one);
    CHECK(two.handle() == handle && one.handle() == nullptr);
    CHECK_EQ(CODE_OF(one.run()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(one.run(number(1))), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(one.set_exception_handler([](auto...) {})), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(one.add_signal_handler(SIGUSR1, [] {})), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(one.remove_signal_handler(SIGUSR1)), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(one.is_running()), EDDY_ESTALE); // C has no code for these
    CHECK_EQ(CODE_OF(one.time()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(one.fd()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(one.timeout()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(one.stats()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(one.set_clock(true)), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(eddy::open_pair(one)), EDDY_ESTALE);
    handled told(two);
    one = std::move(two);
    one.call_exception_handler("moved");
    one.run();
    CHECK(told.messages.size() > 1); // of the handles that were none, too
    CHECK_EQ(told.messages.back(), "moved");
    CHECK(one.fd() >= 0);
    CHECK_EQ(one.timeout(), -1);
    one.set_busy_poll(0us);
    one = eddy::loop();
    CHECK_EQ(eddy_loop_run(handle), EDDY_ESTALE);
}

TEST(errors_of_ones_own)
{
    const eddy::error plain(EDDY_EBUSY), worded(42, "forty-two");
    CHECK_EQ(std::string(plain.what()), eddy_strerror(EDDY_EBUSY));
    CHECK_EQ(worded.code(), 42);
    CHECK_EQ(std::string(worded.what()), "forty-two");
    CHECK_EQ(worded.sys_errno(), 0);
    CHECK(worded.partial().empty() && worded.expected() == 0 && worded.consumed() == 0);
    static_assert(std::is_nothrow_copy_constructible_v<eddy::error>);
    static_assert(!std::is_copy_constructible_v<eddy::reader> && !std::is_copy_constructible_v<eddy::loop>);
    static_assert(std::is_nothrow_move_constructible_v<eddy::writer>);
    static_assert(std::is_nothrow_move_assignable_v<eddy::server>);
}
