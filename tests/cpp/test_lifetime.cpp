// Coroutines that are destroyed while they wait, at each place where one can; and what throws at each of them.
#include "eddy_test.hpp"

#include <cerrno>
#include <random>
#include <thread>

static int living = 0;

struct counted {
    counted() { living++; }
    ~counted() { living--; }
};

// Waits, and is told if it was resumed.
template <class Awaitable>
eddy::task<> waits(Awaitable awaitable, int &resumed)
{
    const counted here;
    co_await std::move(awaitable);
    resumed++;
}

// Destroys a task that waits for this: at once, after a round, and from within another callback.
template <class Make>
static eddy::task<> destroyed_while_it_waits(eddy::loop &loop, Make make)
{
    int resumed = 0;
    for (int way = 0; way < 3; way++) {
        auto task = waits(make(), resumed);
        task.start();
        CHECK(!task.done() && living == 1);
        if (way == 1) co_await eddy::sleep(loop, 0ms);
        if (way == 2) loop.call_soon([&] { task = {}; });
        else task = {};
        co_await eddy::sleep(loop, 2ms);
        CHECK_EQ(living, 0);
        CHECK_EQ(resumed, 0);
    }
}

static void no_client(eddy::reader, eddy::writer) {}

// Until the far end takes no more, so that a drain has something to wait for.
static void fill(eddy::writer &writer)
{
    writer.write(std::string(8 << 20, 'x'));
}

TASK(destroyed_in_a_sleep)
{
    co_await destroyed_while_it_waits(loop, [&] { return eddy::sleep(loop, 1h); });
}

TASK(destroyed_in_each_read)
{
    auto w = co_await open_wire(loop);
    w.send("half ");
    co_await destroyed_while_it_waits(loop, [&] { return w.reader.readline(); });
    co_await destroyed_while_it_waits(loop, [&] { return w.reader.readline<std::string_view>(); });
    co_await destroyed_while_it_waits(loop, [&] { return w.reader.readexactly(100); });
    co_await destroyed_while_it_waits(loop, [&] { return w.reader.readuntil("\n"); });
    co_await destroyed_while_it_waits(loop, [&] { return w.reader.readuntil_any("\n", ";"); });
    co_await destroyed_while_it_waits(loop, [&] { return w.reader.readall(); });
    co_await destroyed_while_it_waits(loop, [&] { return w.reader.peek(100); });
    co_await destroyed_while_it_waits(loop, [&] { return w.reader.read(); });
    w.send("a line\n");
    CHECK_EQ(co_await w.reader.readline(), "half a line\n");
    co_await destroyed_while_it_waits(loop, [&] { return w.reader.read(100); });
}

TASK(destroyed_in_a_read_into_memory_that_goes_too)
{
    auto w = co_await open_wire(loop);
    char memory[16] = "untouched......";
    co_await destroyed_while_it_waits(loop, [&] {
        return w.reader.read_into(std::as_writable_bytes(std::span(memory)));
    });
    int resumed = 0;
    auto task = waits(w.reader.read_into(std::as_writable_bytes(std::span(memory))), resumed);
    task.start();
    co_await eddy::sleep(loop, 1ms);
    w.send("for another\n"); // is there when the task is not
    task = {};
    co_await eddy::sleep(loop, 1ms);
    CHECK_EQ(std::string(memory), "untouched......");
    CHECK_EQ(co_await w.reader.readline(), "for another\n");
}

TASK(destroyed_in_a_drain)
{
    auto w = co_await open_wire(loop);
    fill(w.writer);
    co_await destroyed_while_it_waits(loop, [&] { return w.writer.drain(); });
    w.writer.abort();
}

TASK(destroyed_in_a_drain_that_has_nothing_to_wait_for)
{
    auto w = co_await open_wire(loop);
    int resumed = 0;
    auto task = waits(w.writer.drain(), resumed);
    task.start();
    task = {};
    co_await eddy::sleep(loop, 1ms);
    CHECK(resumed == 0 && living == 0);
}

TASK(destroyed_in_wait_closed)
{
    auto w = co_await open_wire(loop);
    co_await destroyed_while_it_waits(loop, [&] { return w.writer.wait_closed(); });
    auto server = co_await eddy::start_server(loop, no_client, "127.0.0.1", 0);
    co_await destroyed_while_it_waits(loop, [&] { return server.wait_closed(); });
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
}

TASK(destroyed_in_the_shutdown_of_a_server)
{
    auto keep = [kept = std::vector<eddy::connection>()](eddy::reader reader, eddy::writer writer) mutable {
        kept.push_back({ std::move(reader), std::move(writer) });
    };
    auto server = co_await eddy::start_server(loop, std::move(keep), "127.0.0.1", 0);
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
    co_await eddy::sleep(loop, 1ms);
    int resumed = 0;
    auto task = waits(server.shutdown(1h), resumed);
    task.start();
    task = {};
    CHECK(!server.is_serving()); // it stays closed
    CHECK_EQ(co_await code_of(server.shutdown(1ms)), EDDY_ETIMEDOUT);
    CHECK(resumed == 0 && living == 0);
}

// Connected or not yet, and listening or not yet: no descriptor may be left, which the harness looks at.
TASK(destroyed_in_each_opening)
{
    const std::string path = "@eddy-cpp-lifetime-" + std::to_string(::getpid());
    auto server = co_await eddy::start_server(loop, no_client, "127.0.0.1", 0);
    auto unix_server = co_await eddy::start_unix_server(loop, no_client, path);
    int resumed = 0;
    for (int when = 0; when < 4; when++) {
        eddy::task<> all[] = {
            waits(eddy::open_connection(loop, "127.0.0.1", server.port()), resumed),
            waits(eddy::open_connection(loop, "localhost", server.port()), resumed),
            waits(eddy::open_unix_connection(loop, path), resumed),
            waits(eddy::start_server(loop, no_client, "127.0.0.1", 0), resumed),
            waits(eddy::start_unix_server(loop, no_client, path + "-another"), resumed),
        };
        for (auto &task : all) task.start();
        if (when == 3) {
            for (auto &task : all) loop.call_soon([&] { task = {}; });
            co_await eddy::sleep(loop, 5ms);
        }
        for (auto &task : all) task = {};
        CHECK_EQ(living, 0);
        for (int rounds = 0; rounds < when; rounds++) co_await eddy::sleep(loop, 0ms);
    }
    co_await eddy::sleep(loop, 5ms);
    CHECK(resumed <= 2 * 5);
    CHECK_EQ(living, 0);
}

TASK(destroyed_in_the_opening_of_a_descriptor)
{
    int resumed = 0, ends[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    auto task = waits(eddy::open_socket(loop, ends[0]), resumed);
    task.start();
    task = {};
    char byte;
    ssize_t n = 0; // it was eddy's own, and is closed
    do co_await eddy::sleep(loop, 1ms);
    while ((n = ::recv(ends[1], &byte, 1, MSG_DONTWAIT)) < 0 && errno == EAGAIN);
    CHECK(n <= 0);
    ::close(ends[1]);
    CHECK(resumed == 0 && living == 0);
}

TASK(destroyed_with_what_the_server_captured)
{
    auto words = std::make_shared<int>(1);
    std::weak_ptr<int> watched = words;
    int resumed = 0;
    auto captures = [words = std::move(words)](eddy::reader, eddy::writer) {};
    auto task = waits(eddy::start_server(loop, std::move(captures), "127.0.0.1", 0), resumed);
    task.start();
    CHECK(!watched.expired());
    task = {};
    co_await eddy::sleep(loop, 2ms);
    CHECK(watched.expired() && resumed == 0);
}

TASK(destroyed_in_a_timeout)
{
    auto w = co_await open_wire(loop);
    co_await destroyed_while_it_waits(loop, [&] { return eddy::with_timeout(loop, 1h, w.reader.readline()); });
    co_await destroyed_while_it_waits(loop, [&] { return eddy::with_timeout(loop, 1h, eddy::sleep(loop, 1h)); });
    int resumed = 0; // the job is over, and its end not told yet
    auto task = waits(eddy::with_timeout(loop, 1ms, eddy::sleep(loop, 1h)), resumed);
    task.start();
    for (int i = 0; i < 1000 && living > 0; i++) {
        co_await eddy::sleep(loop, 0ms);
        if (i > 2) task = {};
    }
    CHECK_EQ(living, 0);
}

TASK(destroyed_deep_within_tasks)
{
    struct deep {
        static eddy::task<> down(eddy_loop *l, int n)
        {
            const counted here;
            if (n > 0) co_await down(l, n - 1);
            else co_await eddy::sleep(l, 1h);
        }
    };
    auto task = deep::down(loop, 100);
    task.start();
    CHECK_EQ(living, 101);
    task = {};
    CHECK_EQ(living, 0);
    co_await eddy::sleep(loop, 0ms);
}

TASK(destroyed_when_its_bytes_are_there_already)
{
    auto w = co_await open_wire(loop);
    int resumed = 0;
    auto task = waits(w.reader.readline(), resumed);
    task.start();
    w.send("for another\n");
    task = {};
    co_await eddy::sleep(loop, 1ms);
    CHECK_EQ(resumed, 0);
    CHECK_EQ(co_await w.reader.readline(), "for another\n");
}

TASK(one_client_destroys_another)
{
    auto one = co_await open_wire(loop), two = co_await open_wire(loop);
    int resumed = 0;
    auto waiting = waits(two.reader.readline(), resumed);
    auto kills = [](eddy::reader &r, eddy::task<> &other) -> eddy::task<> {
        co_await r.readline();
        other = {};
    }(one.reader, waiting);
    waiting.start();
    kills.start();
    one.send("now\n"); // both in one round: the other's line is there, and not read
    two.send("safe\n");
    co_await eddy::sleep(loop, 5ms);
    CHECK(kills.done() && living == 0);
    if (resumed == 0) CHECK_EQ(co_await two.reader.readline(), "safe\n");
}

TASK(a_reader_and_a_writer_destroyed_under_those_who_wait)
{
    auto w = co_await open_wire(loop);
    fill(w.writer);
    auto line = code_of(w.reader.readline());
    auto drained = code_of(w.writer.drain());
    line.start();
    drained.start();
    w.writer = {};
    CHECK_EQ(co_await std::move(line), EDDY_ECANCELED);
    CHECK_EQ(co_await std::move(drained), EDDY_ECANCELED);
}

TEST(destroyed_after_their_loop)
{
    int resumed = 0;
    eddy::task<> nap, never;
    {
        eddy::loop loop;
        nap = waits(eddy::sleep(loop, 1h), resumed);
        never = waits(eddy::sleep(loop, 1h), resumed);
        nap.start();
        loop.run_once(0ms);
    }
    CHECK(nap.done()); // by the loop's end
    CHECK_EQ(CODE_OF(nap.result()), EDDY_ECANCELED);
    never.start();
    CHECK_EQ(CODE_OF(never.result()), EDDY_ESTALE);
    CHECK(resumed == 0 && living == 0);
}

TEST(destroyed_within_the_end_of_their_loop)
{
    int resumed = 0;
    eddy::task<> other;
    {
        eddy::loop loop;
        auto kills = [](eddy_loop *l, eddy::task<> &o) -> eddy::task<> {
            try {
                co_await eddy::sleep(l, 1h);
            } catch (const eddy::error &) {
                o = {};
            }
        };
        eddy::spawn(loop, kills(loop, other));
        loop.run_once(0ms);
        other = waits(eddy::sleep(loop, 1h), resumed);
        other.start();
    }
    CHECK(resumed == 0 && living == 0);
}

TASK(a_client_that_throws_at_each_place)
{
    std::vector<std::string> told;
    loop.set_exception_handler([&](const char *message, const eddy::error *) { told.push_back(message); });
    int place = 0;
    auto client = [&](eddy::reader reader, eddy::writer writer) -> eddy::task<> {
        const counted here;
        if (place == 0) throw std::runtime_error("0");
        const auto line = co_await reader.readline();
        if (place == 1) throw std::runtime_error("1");
        writer.write(*line);
        co_await writer.drain();
        if (place == 2) throw std::runtime_error("2");
        co_await eddy::sleep(loop, 1ms);
        if (place == 3) throw std::runtime_error("3");
        writer.close();
        co_await writer.wait_closed();
        throw std::runtime_error("4");
    };
    auto server = co_await eddy::start_server(loop, client, "127.0.0.1", 0);
    for (; place < 5; place++) {
        auto [reader, writer] = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
        writer.write("line\n");
        const auto answer = co_await failure_of(reader.readexactly(100));
        CHECK_EQ(answer->code(), EDDY_EINCOMPLETE);
        CHECK_EQ(answer->partial(), place < 2 ? "" : "line\n");
        while (static_cast<int>(told.size()) <= place) co_await eddy::sleep(loop, 1ms);
        CHECK_EQ(told.back(), "Unhandled exception in client_connected_cb: " + std::to_string(place));
        CHECK_EQ(living, 0);
    }
}

TEST(threads_come_and_go)
{
    for (int i = 0; i < 10; i++) { // what they had for their operations goes with them, which valgrind looks at
        std::thread([] {
            eddy::loop loop;
            int resumed = 0;
            auto task = waits(eddy::sleep(loop, 1h), resumed);
            task.start();
            loop.run([](eddy_loop *l) -> eddy::task<> { co_await eddy::sleep(l, 1ms); }(loop));
        }).join();
    }
    living = 0; // was counted on by many threads, though one after the other
}

TEST(a_loop_that_is_destroyed_when_its_thread_ends)
{
    std::thread([] {
        struct at_exit { // destroyed when what this header keeps for the thread is gone
            eddy::task<> task;
            std::optional<eddy::loop> loop;
        };
        eddy_loop_free(eddy_loop_new()); // and before what the library keeps is
        static thread_local at_exit kept;
        static thread_local int resumed = 0;
        kept.loop.emplace();
        kept.task = waits(eddy::sleep(*kept.loop, 1h), resumed);
        kept.task.start();
        kept.loop->run_once(0ms);
    }).join();
    CHECK_EQ(living, 0);
}

// Anything at all, destroyed at any time.
static eddy::task<> something(eddy::loop &loop, wire &w, eddy::server &server, unsigned what)
{
    const counted here;
    for (;; what = what * 1103515245 + 12345) {
        try {
            switch (what >> 16 & 7) {
            case 0: co_await w.reader.readline(); break;
            case 1: co_await eddy::with_timeout(loop, 1ms, w.reader.readexactly(3)); break;
            case 2: w.writer.write("something\n"), co_await w.writer.drain(); break;
            case 3: co_await eddy::sleep(loop, 1ms); break;
            case 4: co_await eddy::open_connection(loop, "127.0.0.1", server.port()); break;
            case 5: co_await eddy::start_server(loop, no_client, "127.0.0.1", 0); break;
            case 6: w.send("a\nbc\n"), co_await w.reader.read(2); break;
            case 7: co_await eddy::with_timeout(loop, 0ms, server.wait_closed()); break;
            }
        } catch (const eddy::error &caught) {
            const int code = caught.code();
            CHECK(code == EDDY_EBUSY || code == EDDY_ETIMEDOUT || code == EDDY_ECANCELED);
        }
        co_await eddy::sleep(loop, 0ms);
    }
}

TASK(anything_destroyed_at_any_time)
{
    std::minstd_rand dice(7);
    auto w = co_await open_wire(loop);
    auto server = co_await eddy::start_server(loop, no_client, "127.0.0.1", 0);
    std::vector<eddy::task<>> all(20);
    char bytes[4096];
    for (int round = 0; round < 2000 / slow(); round++) {
        auto &one = all[dice() % all.size()];
        one = something(loop, w, server, static_cast<unsigned>(dice()));
        one.start();
        if (dice() % 3 == 0) all[dice() % all.size()] = {};
        if (dice() % 4 == 0) co_await eddy::sleep(loop, eddy::milliseconds(dice() % 2));
        while (::recv(w.far, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {}
    }
    all.clear();
    CHECK_EQ(living, 0);
    co_await eddy::sleep(loop, 5ms);
}
