// Readers, writers, connections and servers: what each awaitable gives, and how it fails.
#include "eddy_test.hpp"

#include <cerrno>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/un.h>

// A line at a time, back to where it came from.
static eddy::task<> echo(eddy::reader reader, eddy::writer writer)
{
    while (auto line = co_await reader.readline<std::string_view>()) {
        writer.write(*line);
        co_await writer.drain();
    }
}

// ---- reads ---------------------------------------------------------------------------------------------------

TASK(lines_to_the_end_of_the_stream)
{
    auto w = co_await open_wire(loop);
    w.send("one\n\ntwo\nthe rest");
    w.hang_up();
    std::string all;
    while (auto line = co_await w.reader.readline()) all += "<" + *line + ">";
    CHECK_EQ(all, "<one\n><\n><two\n><the rest>");
    CHECK(w.reader.at_eof());
    CHECK(!co_await w.reader.readline());
}

TASK(lines_that_are_lent)
{
    auto w = co_await open_wire(loop);
    w.send("one\ntwo\n");
    w.hang_up();
    std::string all;
    while (auto line = co_await w.reader.readline<std::string_view>()) {
        static_assert(std::is_same_v<decltype(line), std::optional<std::string_view>>);
        all += *line;
        CHECK(line->data()[line->size()] == '\0');
    }
    CHECK_EQ(all, "one\ntwo\n");
}

TASK(a_line_that_comes_in_pieces)
{
    auto w = co_await open_wire(loop);
    loop.call_later(2ms, [&] { w.send("lo\nx"); });
    w.send("hel");
    CHECK_EQ(co_await w.reader.readline(), "hello\n");
    CHECK_EQ(w.reader.buffered(), "x");
}

TASK(reads_of_each_kind)
{
    auto w = co_await open_wire(loop);
    w.send("abcdef");
    CHECK_EQ(co_await w.reader.read(2), "ab");
    CHECK_EQ(co_await w.reader.read<std::string_view>(2), "cd");
    CHECK_EQ(co_await w.reader.read(100), "ef");
    w.send("12345678head\r\n\r\none;two,");
    CHECK_EQ(co_await w.reader.readexactly(4), "1234");
    CHECK_EQ(co_await w.reader.readexactly<std::string_view>(4), "5678");
    CHECK_EQ(co_await w.reader.readexactly(0), "");
    CHECK_EQ(co_await w.reader.readuntil("\r\n\r\n"), "head\r\n\r\n");
    CHECK_EQ(co_await w.reader.readuntil_any(",", ";"), "one;");
    CHECK_EQ(co_await w.reader.readuntil_any<std::string_view>(";", ","), "two,");
    w.send("all of it");
    w.hang_up();
    CHECK_EQ(co_await w.reader.readall(), "all of it");
    CHECK_EQ(co_await w.reader.readall(), "");
    CHECK(!co_await w.reader.read(5));
    CHECK(!co_await w.reader.read());
}

TASK(peeks)
{
    auto w = co_await open_wire(loop);
    w.send("peeked");
    CHECK_EQ(co_await w.reader.peek(4), "peek");
    CHECK_EQ(co_await w.reader.peek<std::string_view>(6), "peeked");
    CHECK_EQ(co_await w.reader.readexactly(6), "peeked");
    w.send("few");
    w.hang_up();
    const auto failure = co_await failure_of(w.reader.peek(4));
    CHECK(failure && failure->code() == EDDY_EINCOMPLETE && failure->expected() == 4);
    CHECK_EQ(failure->partial(), "few");
    CHECK_EQ(co_await w.reader.readall(), "few");
}

TASK(reads_into_memory_of_ones_own)
{
    auto w = co_await open_wire(loop);
    char memory[8] = ".......";
    const auto bytes = std::as_writable_bytes(std::span(memory, 7));
    w.send("in");
    CHECK_EQ(co_await w.reader.read_into(bytes), 2u);
    CHECK_EQ(std::string(memory), "in.....");
    w.send("and on, and on");
    CHECK_EQ(co_await w.reader.read_into(bytes), 7u);
    CHECK_EQ(std::string(memory), "and on,");
    w.hang_up();
    CHECK_EQ(co_await w.reader.readexactly(7), " and on");
    CHECK_EQ(co_await w.reader.read_into(bytes), 0u);
}

TASK(everything_at_once)
{
    auto w = co_await open_wire(loop);
    w.send("every");
    loop.call_later(2ms, [&] { w.send("thing"), w.hang_up(); });
    CHECK_EQ(co_await w.reader.read(), "everything");
}

TASK(an_incomplete_read_carries_what_came)
{
    auto w = co_await open_wire(loop);
    w.send("abc");
    w.hang_up();
    const auto exactly = co_await failure_of(w.reader.readexactly(10));
    CHECK(exactly && exactly->code() == EDDY_EINCOMPLETE);
    CHECK_EQ(exactly->expected(), 10u);
    CHECK_EQ(exactly->partial(), "abc");
    CHECK_EQ(std::string(exactly->what()), "3 bytes read on a total of 10 expected bytes");
    const auto until = co_await failure_of(w.reader.readuntil("\n"));
    CHECK(until && until->code() == EDDY_EINCOMPLETE);
    CHECK_EQ(until->partial(), "");
    CHECK_EQ(until->sys_errno(), 0);
}

TASK(a_line_over_the_limit_is_told_once_and_skipped)
{
    auto w = co_await open_wire(loop, { .limit = 16 });
    w.send(std::string(20, 'x') + "\nnext\n");
    const auto failure = co_await failure_of(w.reader.readline());
    CHECK(failure && failure->code() == EDDY_ELIMIT);
    CHECK(failure->consumed() > 0);
    CHECK(std::string(failure->what()).find("limit") != std::string::npos);
    CHECK_EQ(co_await w.reader.readline(), "next\n");
}

TASK(a_separator_beyond_the_limit_leaves_everything)
{
    auto w = co_await open_wire(loop, { .limit = 16 });
    w.send(std::string(20, 'x') + ";");
    CHECK_EQ(co_await code_of(w.reader.readuntil(";")), EDDY_ELIMIT);
    CHECK_EQ(co_await code_of(w.reader.readuntil_any(";", ",")), EDDY_ELIMIT);
    CHECK_EQ(co_await w.reader.readexactly(21), std::string(20, 'x') + ";");
    w.send(std::string(30, 'y'));
    w.hang_up();
    CHECK_EQ(co_await code_of(w.reader.readall(10)), EDDY_ELIMIT);
    CHECK_EQ(co_await w.reader.readall(), std::string(30, 'y'));
}

TASK(one_read_at_a_time)
{
    auto w = co_await open_wire(loop);
    auto first = w.reader.readline();
    auto waits = [](decltype(first) &f) -> eddy::task<std::optional<std::string>> { co_return co_await f; }(first);
    waits.start();
    CHECK_EQ(co_await code_of(w.reader.readline()), EDDY_EBUSY);
    w.send("a\n");
    CHECK_EQ(co_await std::move(waits), "a\n");
}

TASK(arguments_that_make_no_sense)
{
    auto w = co_await open_wire(loop);
    CHECK_EQ(co_await code_of(w.reader.readuntil("")), EDDY_EINVAL);
    CHECK_EQ(co_await code_of(w.reader.readuntil_any(std::span<const std::string_view>())), EDDY_EINVAL);
    CHECK_EQ(co_await code_of(w.reader.readexactly(SIZE_MAX)), EDDY_EINVAL);
    CHECK_EQ(co_await code_of(eddy::open_connection(loop, "", 1)), EDDY_EINVAL);
    CHECK_EQ(co_await code_of(eddy::open_unix_connection(loop, "")), EDDY_EINVAL);
    CHECK_EQ(co_await code_of(eddy::open_connection(loop, "127.0.0.1", 1, { .family = 12345 })), EDDY_EINVAL);
    CHECK_EQ(co_await code_of(eddy::start_server(loop, echo, "a b", 0)), EDDY_EINVAL);
    CHECK_EQ(CODE_OF(eddy::reader(loop, 0)), EDDY_EINVAL);
}

TASK(a_cancelled_read_loses_nothing)
{
    auto w = co_await open_wire(loop);
    w.send("half a ");
    auto line = w.reader.readline();
    loop.call_later(2ms, [&] { CHECK(line.cancel()); });
    int code = 0;
    try {
        co_await line;
    } catch (const eddy::error &caught) {
        code = caught.code();
    }
    CHECK_EQ(code, EDDY_ECANCELED);
    w.send("line\n");
    CHECK_EQ(co_await w.reader.readline(), "half a line\n");
}

TASK(a_timeout_of_the_reader)
{
    auto w = co_await open_wire(loop);
    w.reader.set_timeout(5ms);
    w.send("half a ");
    CHECK_EQ(co_await code_of(w.reader.readline()), EDDY_ETIMEDOUT);
    w.reader.set_timeout(eddy::milliseconds::max());
    w.send("line\n");
    CHECK_EQ(co_await w.reader.readline(), "half a line\n");
}

TASK(a_read_with_a_timeout_and_another_one_at_once)
{
    auto w = co_await open_wire(loop);
    w.send("half a ");
    for (int i = 0; i < 3; i++)
        CHECK_EQ(co_await code_of(eddy::with_timeout(loop, 2ms, w.reader.readline())), EDDY_ETIMEDOUT);
    w.send("line\n");
    CHECK_EQ(co_await eddy::with_timeout(loop, 1h, w.reader.readline()), "half a line\n");
}

TASK(timeouts_race_lines_and_nothing_is_lost)
{
    auto w = co_await open_wire(loop);
    int sent = 0, got = 0, late = 0;
    while (got < 1000) {
        if (sent == got) {
            const int n = sent++;
            if (n % 3 == 0) w.send(std::to_string(n) + "\n");
            else loop.call_later(1ms, [&w, n] { w.send(std::to_string(n) + "\n"); });
        }
        try {
            const auto line = co_await eddy::with_timeout(loop, 1ms, w.reader.readline());
            CHECK_EQ(*line, std::to_string(got) + "\n");
            got++;
        } catch (const eddy::error &caught) {
            CHECK_EQ(caught.code(), EDDY_ETIMEDOUT);
            late++;
        }
    }
    CHECK_EQ(sent, 1000);
}

TASK(a_lent_line_with_a_timeout)
{
    auto w = co_await open_wire(loop);
    w.send("lent\n");
    const auto line = co_await eddy::with_timeout(loop, 1h, w.reader.readline<std::string_view>());
    CHECK_EQ(std::string(*line), "lent\n");
}

TASK(a_reader_fed_by_hand)
{
    eddy::reader reader(loop, 100);
    reader.feed_data("fed\nby hand");
    CHECK_EQ(co_await reader.readline(), "fed\n");
    CHECK(!reader.exception());
    reader.set_exception(77, "enough");
    CHECK_EQ(co_await reader.read(100), "by hand"); // what came before the error is first
    const auto failure = co_await failure_of(reader.readline());
    CHECK(failure && failure->code() == 77);
    CHECK_EQ(std::string(failure->what()), "enough");
    CHECK_EQ(reader.exception()->code(), 77);
    reader.feed_eof();
    CHECK_EQ(CODE_OF(reader.feed_data("x")), EDDY_ESTATE);
    CHECK_EQ(CODE_OF(reader.set_exception(0, "none")), EDDY_EINVAL);
}

// ---- writes --------------------------------------------------------------------------------------------------

TASK(writes_of_each_kind)
{
    auto w = co_await open_wire(loop);
    const std::byte bytes[] = { std::byte{ 'c' }, std::byte{ 'd' } };
    const std::vector<std::string_view> lines = { "g", "h" };
    CHECK(!w.writer.write("ab"));
    CHECK(!w.writer.write(bytes));
    CHECK(!w.writer.writelines({ "e", "f" }));
    CHECK(!w.writer.writelines(lines));
    CHECK(!w.writer.write(std::string("i")));
    CHECK_EQ(w.writer.get_write_buffer_size(), 9u);
    co_await w.writer.drain();
    co_await eddy::sleep(loop, 1ms);
    CHECK_EQ(w.receive(), "abcdefghi");
}

TASK(writes_of_bytes_that_stay)
{
    std::vector<std::string> told;
    loop.set_exception_handler([&](const char *message, const eddy::error *) { told.push_back(message); });
    auto w = co_await open_wire(loop);
    int released = 0, living = 1;
    auto much = std::make_unique<std::string>(1 << 20, 'x');
    const std::string_view bytes = *much;
    std::shared_ptr<void> counts(nullptr, [&](void *) { living--; });
    CHECK(w.writer.write_static(bytes, [&, kept = std::move(much), counts = std::move(counts)] {
        released++;
        throw std::runtime_error("released");
    }));
    w.writer.write_static("static");
    std::size_t got = 0;
    while (got < bytes.size() + 6) {
        CHECK(released == 0 || got + (1 << 20) > bytes.size());
        co_await eddy::sleep(loop, 0ms);
        char some[65536];
        const ssize_t n = ::recv(w.far, some, sizeof some, MSG_DONTWAIT);
        if (n > 0) got += static_cast<std::size_t>(n);
    }
    while (told.empty()) co_await eddy::sleep(loop, 1ms);
    CHECK(released == 1 && living == 0);
    CHECK_EQ(told[0], "Unhandled exception in a callback: released");
    w.writer.close();
    living = 1;
    std::shared_ptr<void> refused(nullptr, [&](void *) { living--; });
    const auto not_called = [&, refused = std::move(refused)] { released++; };
    CHECK_EQ(CODE_OF(w.writer.write_static("late", not_called)), EDDY_ESTATE);
    CHECK(released == 1);
}

TASK(a_flush_sends_at_once)
{
    auto w = co_await open_wire(loop);
    char bytes[8] = "";
    w.writer.write("now");
    CHECK(::recv(w.far, bytes, sizeof bytes, MSG_DONTWAIT) < 0);
    w.writer.flush();
    CHECK_EQ(::recv(w.far, bytes, sizeof bytes, MSG_DONTWAIT), 3);
    CHECK_EQ(std::string(bytes), "now");
}

TASK(a_bound_for_what_is_written)
{
    auto w = co_await open_wire(loop, { .max_write_buffer = 10 });
    w.writer.write("123456");
    CHECK_EQ(CODE_OF(w.writer.write("78901")), EDDY_EFULL);
    w.writer.write("7890");
    co_await w.writer.drain();
    co_await eddy::sleep(loop, 1ms);
    CHECK_EQ(w.receive(), "1234567890");
}

TASK(drain_waits_for_room)
{
    auto w = co_await open_wire(loop);
    w.writer.set_write_buffer_limits(1000, 500);
    const std::string much(4 << 20, 'x');
    CHECK(w.writer.write(much));
    std::size_t got = 0;
    auto drained = [](eddy::writer &writer) -> eddy::task<> { co_await writer.drain(); }(w.writer);
    drained.start();
    while (!drained.done()) {
        co_await eddy::sleep(loop, 0ms);
        got += w.receive().size();
    }
    drained.result();
    CHECK(got + 1000 + (1 << 20) > much.size());
    w.writer.abort();
}

TASK(drain_tells_of_a_connection_that_is_gone)
{
    auto w = co_await open_wire(loop);
    w.hang_up();
    w.writer.write("in vain");
    std::optional<eddy::error> failure;
    for (int i = 0; i < 100 && !failure; i++) {
        failure = co_await failure_of(w.writer.drain());
        co_await eddy::sleep(loop, 1ms);
        if (!failure) w.writer.write("again");
    }
    CHECK(failure && failure->code() == EDDY_ELOST);
    CHECK_EQ(failure->sys_errno(), EPIPE);
    CHECK(std::string(failure->what()).find("connection lost") != std::string::npos);
    CHECK_EQ(co_await code_of(w.writer.wait_closed()), EDDY_ELOST);
}

TASK(the_end_of_one_side)
{
    auto w = co_await open_wire(loop);
    CHECK(w.writer.can_write_eof());
    w.writer.write("last");
    w.writer.write_eof();
    CHECK_EQ(CODE_OF(w.writer.write("too late")), EDDY_ESTATE);
    co_await eddy::sleep(loop, 1ms);
    CHECK_EQ(w.receive(), "last");
    CHECK_EQ(w.receive(), "");
    w.send("still\n");
    CHECK_EQ(co_await w.reader.readline(), "still\n");
}

TASK(closing)
{
    auto w = co_await open_wire(loop);
    CHECK(!w.writer.is_closing());
    w.writer.write("bye");
    w.writer.close();
    CHECK(w.writer.is_closing());
    CHECK_EQ(CODE_OF(w.writer.write("too late")), EDDY_ESTATE);
    co_await w.writer.wait_closed();
    co_await w.writer.wait_closed(); // also afterwards
    CHECK_EQ(w.receive(), "bye");
    CHECK_EQ(w.receive(), "");
}

TASK(the_destructor_of_a_writer_sends_and_closes)
{
    auto w = co_await open_wire(loop);
    auto closed = w.writer.wait_closed();
    auto waits = [](decltype(closed) &c) -> eddy::task<> { co_await c; }(closed);
    waits.start();
    w.writer.write("bye");
    w.writer = {};
    co_await std::move(waits); // told all the same
    CHECK_EQ(w.receive(), "bye");
    CHECK_EQ(w.receive(), "");
    CHECK_EQ(co_await code_of(w.reader.readline()), EDDY_ESTALE); // it went with its writer
}

TASK(aborting)
{
    auto w = co_await open_wire(loop);
    w.writer.write("lost");
    w.writer.abort();
    CHECK_EQ(co_await code_of(w.writer.drain()), EDDY_ELOST);
    co_await w.writer.wait_closed(); // by this side: in peace
    co_await eddy::sleep(loop, 1ms); // the descriptor goes at the end of the turn
    CHECK_EQ(w.receive(), "");
}

TASK(extra_info)
{
    auto w = co_await open_wire(loop);
    const auto descriptor = w.writer.get_extra_info("socket");
    CHECK(descriptor && std::stoi(*descriptor) > 2);
    CHECK(!w.writer.get_extra_info("no such thing"));
}

TASK(a_timeout_of_the_writer)
{
    auto w = co_await open_wire(loop);
    w.writer.set_timeout(5ms);
    w.writer.write(std::string(8 << 20, 'x'));
    CHECK_EQ(co_await code_of(w.writer.drain()), EDDY_ETIMEDOUT);
    w.writer.abort();
}

// ---- connections and servers ---------------------------------------------------------------------------------

TASK(a_server_of_a_coroutine_function)
{
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0);
    CHECK(server.is_serving() && server.port() != 0 && server.socket() >= 0);
    CHECK_EQ(server.sockname(), "127.0.0.1:" + std::to_string(server.port()));
    CHECK_EQ(server.sockname(1), "");
    {
        auto [reader, writer] = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
        CHECK_EQ(writer.get_extra_info("peername"), server.sockname());
        for (const auto word : { "one\n"sv, "two\n"sv }) {
            writer.write(word);
            CHECK_EQ(co_await reader.readline(), word);
        }
        writer.write("the rest");
        writer.write_eof();
        CHECK_EQ(co_await reader.readall(), "the rest");
    }
    server.close();
    CHECK(!server.is_serving());
    co_await server.wait_closed();
    CHECK_EQ(server.port(), 0);
}

TASK(a_server_of_a_plain_function_and_of_captures)
{
    int came = 0;
    auto greeted = std::make_unique<std::string>("hello\n");
    auto greet = [&came, greeted = std::move(greeted)](eddy::reader, eddy::writer writer) {
        came++;
        writer.write(*greeted);
    };
    auto server = co_await eddy::start_server(loop, std::move(greet), "127.0.0.1", 0);
    for (int i = 0; i < 3; i++) {
        auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
        CHECK_EQ(co_await client.reader.readall(), "hello\n");
    }
    CHECK_EQ(came, 3);
}

TASK(what_a_client_captured_lives_as_long_as_it_runs)
{
    auto words = std::make_shared<std::string>("captured\n");
    std::weak_ptr<std::string> watched = words;
    auto answer = [words = std::move(words)](eddy::reader reader, eddy::writer writer) -> eddy::task<> {
        co_await reader.readline();
        writer.write(*words);
    };
    auto server = co_await eddy::start_server(loop, std::move(answer), "127.0.0.1", 0);
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
    client.writer.write("go on");
    co_await eddy::sleep(loop, 5ms);
    server = {}; // the owner goes, the client stays
    CHECK(!watched.expired());
    client.writer.write("\n");
    CHECK_EQ(co_await client.reader.readall(), "captured\n");
    co_await eddy::sleep(loop, 5ms);
    CHECK(watched.expired());
}

TASK(a_client_that_throws_is_told_and_closed)
{
    std::vector<std::string> told;
    loop.set_exception_handler([&](const char *message, const eddy::error *) { told.push_back(message); });
    const auto fails = [](eddy::reader reader, eddy::writer) -> eddy::task<> {
        const auto line = co_await reader.readline();
        throw std::runtime_error(line.value());
    };
    auto server = co_await eddy::start_server(loop, fails, "127.0.0.1", 0);
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
    client.writer.write("oh");
    client.writer.write_eof();
    CHECK_EQ(co_await client.reader.readall(), "");
    const auto plainly = [](eddy::reader, eddy::writer) { throw std::runtime_error("plainly"); };
    auto other = co_await eddy::start_server(loop, plainly, "127.0.0.1", 0);
    client = co_await eddy::open_connection(loop, "127.0.0.1", other.port());
    CHECK_EQ(co_await client.reader.readall(), "");
    co_await eddy::sleep(loop, 1ms);
    CHECK_EQ(told.size(), 2u);
    CHECK_EQ(told[0], "Unhandled exception in client_connected_cb: oh");
    CHECK_EQ(told[1], "Unhandled exception in client_connected_cb: plainly");
}

TASK(connecting_to_where_nobody_listens)
{
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); // bound, and not listening
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof address;
    CHECK(::bind(fd, reinterpret_cast<sockaddr *>(&address), len) == 0);
    CHECK(::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &len) == 0);
    const auto failure = co_await failure_of(eddy::open_connection(loop, "127.0.0.1", ntohs(address.sin_port)));
    CHECK(failure && failure->code() == EDDY_ESYSTEM);
    CHECK_EQ(failure->sys_errno(), ECONNREFUSED);
    CHECK(std::string(failure->what()).find("127.0.0.1") != std::string::npos);
    ::close(fd);
}

TASK(a_port_that_is_taken)
{
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0);
    const auto failure = co_await failure_of(eddy::start_server(loop, echo, "127.0.0.1", server.port()));
    CHECK(failure && failure->code() == EDDY_ESYSTEM);
    CHECK_EQ(failure->sys_errno(), EADDRINUSE);
}

TASK(unix_twins)
{
    const std::string path = "@eddy-cpp-test-" + std::to_string(::getpid());
    CHECK_EQ((co_await failure_of(eddy::open_unix_connection(loop, path)))->sys_errno(), ECONNREFUSED);
    auto server = co_await eddy::start_unix_server(loop, echo, path, { .limit = 64 });
    CHECK_EQ(server.port(), 0);
    CHECK_EQ((co_await failure_of(eddy::start_unix_server(loop, echo, path)))->sys_errno(), EADDRINUSE);
    auto [reader, writer] = co_await eddy::open_unix_connection(loop, path);
    writer.write("unix\n");
    CHECK_EQ(co_await reader.readline(), "unix\n");
}

TASK(a_server_over_a_descriptor)
{
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(::listen(fd, 10) == 0);
    auto server = co_await eddy::start_socket_server(loop, echo, fd);
    auto [reader, writer] = co_await eddy::open_connection(loop, "127.0.0.1", server.port(), { .keep_alive = true });
    writer.write("descriptor\n");
    CHECK_EQ(co_await reader.readline(), "descriptor\n");
    CHECK_EQ(co_await code_of(eddy::start_socket_server(loop, echo, -1)), EDDY_EINVAL);
    CHECK_EQ(co_await code_of(eddy::open_socket(loop, -1)), EDDY_EINVAL);
}

TASK(pause_and_resume_of_a_server)
{
    int came = 0;
    auto server = co_await eddy::start_server(
        loop, [&](eddy::reader, eddy::writer) { came++; }, "127.0.0.1", 0);
    server.pause();
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
    co_await eddy::sleep(loop, 5ms);
    CHECK_EQ(came, 0);
    server.resume();
    CHECK_EQ(co_await client.reader.readall(), "");
    CHECK_EQ(came, 1);
    server.close();
    CHECK_EQ(CODE_OF(server.pause()), EDDY_ESTATE);
}

TASK(shutdown_of_a_server)
{
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0);
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
    client.writer.write("here\n");
    CHECK_EQ(co_await client.reader.readline(), "here\n");
    CHECK_EQ(co_await code_of(server.shutdown(5ms)), EDDY_ETIMEDOUT);
    CHECK_EQ(co_await client.reader.readall(), "");
    co_await server.shutdown(1h); // nobody is left
}

TASK(the_clients_of_a_server_are_ended)
{
    std::vector<std::string> told;
    loop.set_exception_handler([&](const char *message, const eddy::error *) { told.push_back(message); });
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0);
    for (const bool abort : { false, true }) {
        auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
        client.writer.write("here\n");
        CHECK_EQ(co_await client.reader.readline(), "here\n");
        abort ? server.abort_clients() : server.close_clients();
        CHECK_EQ(co_await code_of(client.reader.readexactly(1)), abort ? EDDY_ELOST : EDDY_EINCOMPLETE);
    }
}

TEST(options_as_c_takes_them)
{
    const eddy::options all{ .limit = 1,
                             .max_write_buffer = 2,
                             .timeout = 3ms,
                             .happy_eyeballs = 4ms,
                             .local_host = "5",
                             .local_port = 6,
                             .family = AF_INET6,
                             .server_hostname = "7",
                             .tls_shutdown = eddy::milliseconds::max(),
                             .tls_takes_buffered = true,
                             .max_clients = 8,
                             .backlog = 9,
                             .reuse_port = true,
                             .no_reuse_address = true,
                             .keep_socket_file = true,
                             .keep_alive = true,
                             .delay = true };
    const eddy_options c = all.c();
    CHECK(c.size == sizeof c && c.limit == 1 && c.max_write_buffer == 2 && c.timeout_ms == 3);
    CHECK(c.happy_eyeballs_ms == 4 && c.local_host == "5"sv && c.local_port == 6 && c.family == AF_INET6);
    CHECK(c.tls == nullptr && c.server_hostname == "7"sv && c.tls_shutdown_ms == EDDY_NEVER);
    CHECK(c.tls_takes_buffered && c.max_clients == 8 && c.backlog == 9 && c.reuse_port && c.no_reuse_address);
    CHECK(c.keep_socket_file && c.keep_alive && c.delay);
    const eddy_options none = eddy::options{}.c();
    CHECK(none.size == sizeof none && none.limit == 0 && none.timeout_ms == 0 && none.local_host == nullptr);
    CHECK(none.server_hostname == nullptr && none.tls_shutdown_ms == 0 && !none.tls_takes_buffered && !none.delay);
}

TASK(a_connection_from_an_address)
{
    std::string peer;
    auto server = co_await eddy::start_server(
        loop, [&](eddy::reader, eddy::writer w) { peer = *w.get_extra_info("peername"); }, "127.0.0.1", 0);
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port(), { .local_host = "127.0.0.2" });
    CHECK_EQ(co_await client.reader.readall(), "");
    CHECK_EQ(peer.substr(0, 10), "127.0.0.2:");
}

TASK(a_deadline_for_opening)
{
    const std::string path = "@eddy-cpp-full-" + std::to_string(::getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, path.size());
    address.sun_path[0] = '\0';
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); // listens, and accepts nobody
    const auto len = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    CHECK(::bind(fd, reinterpret_cast<sockaddr *>(&address), len) == 0 && ::listen(fd, 0) == 0);
    auto first = co_await eddy::open_unix_connection(loop, path);
    const auto began = loop.time();
    CHECK_EQ(co_await code_of(eddy::open_unix_connection(loop, path, { .timeout = 10ms })), EDDY_ETIMEDOUT);
    CHECK(loop.time() - began >= 10ms);
    ::close(fd);
}

TASK(as_many_clients_as_are_welcome)
{
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0, { .max_clients = 1 });
    auto one = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
    auto two = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
    one.writer.write("one\n");
    two.writer.write("two\n");
    CHECK_EQ(co_await one.reader.readline(), "one\n");
    CHECK_EQ(co_await code_of(eddy::with_timeout(loop, 5ms, two.reader.readline())), EDDY_ETIMEDOUT);
    one = {};
    CHECK_EQ(co_await two.reader.readline(), "two\n");
}

TASK(pipes)
{
    int ends[2];
    CHECK(::pipe2(ends, O_CLOEXEC) == 0);
    auto out = co_await eddy::open_pipe(loop, ends[0], -1);
    auto in = co_await eddy::open_pipe(loop, -1, ends[1]);
    CHECK(out.reader && out.writer && in.writer && !in.reader);
    in.writer.write("through a pipe\n");
    CHECK_EQ(co_await out.reader.readline(), "through a pipe\n");
    CHECK_EQ(CODE_OF(out.writer.write("x")), EDDY_ENOTSUP);
    CHECK_EQ(co_await code_of(in.reader.readline()), EDDY_ESTALE);
    in.writer = {};
    CHECK(!co_await out.reader.readline());
    CHECK_EQ(co_await code_of(eddy::open_pipe(loop, -1, -1)), EDDY_EINVAL);
}

TASK(a_pair)
{
    auto [here, there] = eddy::open_pair(loop, { .limit = 16 });
    eddy::spawn(loop, echo(std::move(there.reader), std::move(there.writer)));
    here.writer.write("to and fro\n");
    CHECK_EQ(co_await here.reader.readline(), "to and fro\n");
    std::string told;
    loop.set_exception_handler([&](const char *message, const eddy::error *) { told = message; });
    here.writer.write(std::string(17, 'x') + "\n");
    CHECK_EQ(co_await here.reader.readall(), ""); // beyond the limit of the other, which ends
    CHECK(told.find("limit") != told.npos);
}

TASK(moved_owners)
{
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0);
    auto moved_server = std::move(server);
    auto opened = co_await eddy::open_connection(loop, "127.0.0.1", moved_server.port());
    eddy::reader &reader = opened.reader;
    eddy::writer &writer = opened.writer;
    eddy::reader moved_reader = std::move(reader);
    eddy::writer moved_writer;
    moved_writer = std::move(writer);
    CHECK(!server && !reader && !writer && moved_server && moved_reader && moved_writer);
    moved_writer.write("moved\n");
    CHECK_EQ(co_await moved_reader.readline(), "moved\n");
    int told = 0;
    loop.set_exception_handler([](const char *, const eddy::error *) {}); // which is told of them, too
    CHECK_EQ(CODE_OF(writer.write("x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.writelines({ "x" })), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.write_eof()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.close()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.abort()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.set_timeout(1ms)), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.set_write_buffer_limits()), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(writer.drain()), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(writer.wait_closed()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(reader.set_timeout(1ms)), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(reader.feed_data("x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(reader.feed_eof()), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(reader.read(1)), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(reader.readline()), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(reader.readexactly(1)), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(reader.readuntil("x")), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(reader.readuntil_any("x")), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(reader.readall()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.pause()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.close()), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(server.wait_closed()), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(server.shutdown(0ms)), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(reader.peek(1)), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(reader.read_into(std::as_writable_bytes(std::span(&told, 1)))), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(reader.set_exception(1, "x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(reader.at_eof()), EDDY_ESTALE); // C has no code for these
    CHECK_EQ(CODE_OF(reader.buffered()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(reader.exception()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.write_static("x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.flush()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.can_write_eof()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.is_closing()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.get_extra_info("socket")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(writer.get_write_buffer_size()), EDDY_ESTALE);
    CHECK_EQ(co_await code_of(writer.start_tls({})), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.resume()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.close_clients()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.abort_clients()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.is_serving()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.sockname()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.port()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.socket()), EDDY_ESTALE);
}

TEST(owners_that_outlive_their_loop)
{
    eddy::connection kept;
    eddy::server server;
    eddy::loop another;
    {
        eddy::loop loop;
        loop.run([](eddy_loop *l, eddy::connection &c, eddy::server &s) -> eddy::task<> {
            s = co_await eddy::start_server(l, echo, "127.0.0.1", 0);
            c = co_await eddy::open_connection(l, "127.0.0.1", s.port());
        }(loop, kept, server));
    }
    another.set_exception_handler([](const char *, const eddy::error *) {}); // which is told of them, too
    CHECK_EQ(CODE_OF(kept.writer.write("x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(kept.writer.is_closing()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(kept.reader.at_eof()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.close()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(server.is_serving()), EDDY_ESTALE);
    CHECK_EQ(another.run(code_of(kept.reader.readline())), EDDY_ESTALE);
}

TASK(a_reader_that_went_with_its_writer)
{
    auto w = co_await open_wire(loop);
    w.writer = {};
    loop.set_exception_handler([](const char *, const eddy::error *) {}); // which is told of it, too
    CHECK_EQ(co_await code_of(w.reader.readline()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(w.reader.at_eof()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(w.reader.buffered()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(w.reader.exception()), EDDY_ESTALE);
}

TASK(a_reader_alone_can_go)
{
    auto w = co_await open_wire(loop);
    w.reader = {};
    w.send("to nobody");
    w.writer.write("still");
    co_await w.writer.drain();
    co_await eddy::sleep(loop, 1ms);
    CHECK_EQ(w.receive(), "still");
}

TASK(owners_of_what_c_made)
{
    auto w = co_await open_wire(loop);
    eddy_writer *writer = w.writer.release();
    eddy_reader *reader = w.reader.release();
    CHECK(!w.writer && !w.reader);
    w.writer = eddy::writer::adopt(loop, writer);
    w.reader = eddy::reader::adopt(loop, reader);
    w.send("adopted\n");
    CHECK_EQ(co_await w.reader.readline(), "adopted\n");
    CHECK(w.writer.handle() == writer && w.reader.handle() == reader);
}

// ---- many ----------------------------------------------------------------------------------------------------

static eddy::task<> talk(eddy_loop *loop, std::uint16_t port, int number, int &done, int &open, int all)
{
    auto [reader, writer] = co_await eddy::open_connection(loop, "127.0.0.1", port);
    open++;
    while (open < all) co_await eddy::sleep(loop, 1ms); // so that all are there at a time
    for (int i = 0; i < 3; i++) {
        const std::string line = std::to_string(number) + " says " + std::to_string(i) + "\n";
        writer.write(line);
        CHECK_EQ(co_await reader.readline(), line);
    }
    done++;
}

TASK(a_thousand_connections_echo)
{
    constexpr int all = 1000;
    int done = 0, open = 0;
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0, { .backlog = all });
    for (int i = 0; i < all; i++) eddy::spawn(loop, talk(loop, server.port(), i, done, open, all));
    while (done < all) co_await eddy::sleep(loop, 1ms);
    server.close();
    co_await server.wait_closed();
    CHECK_EQ(open, all);
}
