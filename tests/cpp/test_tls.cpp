// TLS: the settings and their mistakes, connections and servers, start_tls, and coroutines that end in a handshake.
#include "certificates.hpp"

#include <cerrno>
#include <thread>

// A test that has certificates, and a server's and a client's settings that go together.
#define TLS_TASK(name)                                                                                                 \
    static eddy::task<> name##_encrypted(eddy::loop &loop, eddy::tls &ours, eddy::tls &theirs);                        \
    TASK(name)                                                                                                         \
    {                                                                                                                  \
        if (!certificates()) co_return;                                                                                \
        eddy::tls ours = server_of("server"), theirs = client_of("authority.pem");                                     \
        co_await name##_encrypted(loop, ours, theirs);                                                                 \
    }                                                                                                                  \
    static eddy::task<> name##_encrypted([[maybe_unused]] eddy::loop &loop, [[maybe_unused]] eddy::tls &ours,          \
                                         [[maybe_unused]] eddy::tls &theirs)

static eddy::task<> echo(eddy::reader reader, eddy::writer writer)
{
    while (auto line = co_await reader.readline<std::string_view>()) {
        writer.write(*line);
        co_await writer.drain();
    }
}

// What a call throws, in words.
#define WORDS_OF(...)                                                                                                  \
    [&]() -> std::string {                                                                                             \
        try {                                                                                                          \
            static_cast<void>(__VA_ARGS__);                                                                            \
        } catch (const eddy::error &caught) {                                                                          \
            return caught.what();                                                                                      \
        }                                                                                                              \
        return "(nothing)";                                                                                            \
    }()

static bool has(const std::string &text, std::string_view words)
{
    if (text.find(words) != text.npos) return true;
    std::fprintf(stderr, "%s\n", text.c_str());
    return false;
}

// ---- settings ------------------------------------------------------------------------------------------------

TEST(a_mistake_in_the_settings_is_thrown_where_it_is_made)
{
    if (!certificates()) return;
    const std::string good = pem("server.pem"), key = pem("server.key");
    CHECK(has(WORDS_OF(eddy::tls::server("nonsense", key)), "no certificate"));
    CHECK(has(WORDS_OF(eddy::tls::server(good, good)), "no private key"));
    CHECK(has(WORDS_OF(eddy::tls::server(good, pem("other.key"))), "not that of the certificate"));
    CHECK_EQ(CODE_OF(eddy::tls::server("", "")), EDDY_ETLS);
    CHECK(has(WORDS_OF(eddy::tls::client().trust("nonsense")), "no certificate"));
    CHECK(has(WORDS_OF(eddy::tls::client().set_alpn("h2,,http/1.1")), "ALPN"));
    CHECK(has(WORDS_OF(eddy::tls::client().set_minimum_version("SSLv3")), "SSLv3"));
    CHECK(has(WORDS_OF(eddy::tls::client().verify_clients()), "only a server"));
    CHECK(has(WORDS_OF(server_of("server").dangerously_skip_verification()), "only a client"));
    for (const bool key_is_missing : { false, true }) {
        try {
            eddy::tls settings = eddy::tls::client();
            if (key_is_missing) settings.load_certificate(path("client.pem"), path("none.key"));
            else settings.load_trust(path("none.pem"));
            FAIL("there is no such file");
        } catch (const eddy::error &caught) {
            CHECK_EQ(caught.code(), EDDY_ESYSTEM);
            CHECK_EQ(caught.sys_errno(), ENOENT);
            CHECK(has(caught.what(), key_is_missing ? "none.key" : "none.pem"));
        }
    }
}

TASK(what_the_settings_lack_is_thrown_by_what_uses_them)
{
    if (!certificates()) co_return;
    eddy::tls settings = eddy::tls::server();
    CHECK(has(WORDS_OF(eddy::start_server(loop, echo, "127.0.0.1", 0, { .tls = settings })), "none was given"));
    settings.load_certificate(path("both.pem"));
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0, { .tls = settings });
    CHECK_EQ(CODE_OF(settings.add_certificate("nonsense", "nonsense")), EDDY_ETLS);
    CHECK_EQ(CODE_OF(settings.set_resumption(true)), 0); // but the mistake stays
    CHECK(has(WORDS_OF(eddy::start_server(loop, echo, "127.0.0.1", 0, { .tls = settings })), "no certificate"));
    auto wire = co_await open_wire(loop);
    CHECK_EQ(CODE_OF(wire.writer.start_tls({ .tls = settings })), EDDY_ETLS);
}

TASK(settings_that_are_gone_are_refused_and_nothing_goes_out_in_clear)
{
    if (!certificates()) co_return;
    eddy::tls settings = client_of("authority.pem");
    eddy_tls *handle = settings;
    eddy::tls moved = std::move(settings);
    CHECK(settings.handle() == nullptr && moved.handle() == handle);
    CHECK_EQ(CODE_OF(eddy::open_connection(loop, "127.0.0.1", 1, { .tls = settings })), EDDY_ESTALE);
    loop.set_exception_handler([](const char *, const eddy::error *) {}); // which is told of them, too
    CHECK_EQ(CODE_OF(settings.trust("x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(settings.load_trust("x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(settings.add_certificate("x", "x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(settings.load_certificate("x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(settings.load_certificate("x", "x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(settings.verify_clients()), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(settings.set_alpn("x")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(settings.set_minimum_version("TLSv1.3")), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(settings.set_resumption(false)), EDDY_ESTALE);
    CHECK_EQ(CODE_OF(settings.dangerously_skip_verification()), EDDY_ESTALE);
    settings = std::move(moved);
    settings = eddy::tls::client(); // frees what it had
    CHECK_EQ(co_await code_of(eddy::open_connection(loop, "127.0.0.1", 1, { .tls = handle })), EDDY_ESTALE);
    auto opening = eddy::open_connection(loop, "127.0.0.1", 1, { .tls = client_of("authority.pem") });
    CHECK_EQ(co_await code_of(std::move(opening)), EDDY_ESTALE); // gone before it began
}

// ---- connections and servers ---------------------------------------------------------------------------------

TLS_TASK(lines_to_and_fro)
{
    ours.set_alpn("h2,http/1.1");
    theirs.set_alpn("http/1.1");
    theirs.set_minimum_version("TLSv1.3");
    std::optional<std::string> asked;
    auto serve = [&](eddy::reader reader, eddy::writer writer) -> eddy::task<> {
        asked = writer.get_extra_info("server_hostname");
        co_await echo(std::move(reader), std::move(writer));
    };
    auto server = co_await eddy::start_server(loop, serve, "127.0.0.1", 0, { .tls = ours });
    auto [reader, writer] = co_await eddy::open_connection(loop, "127.0.0.1", server.port(),
                                                           { .tls = theirs, .server_hostname = "first.test" });
    ours = eddy::tls::client(); // settings may go while they are used
    theirs = eddy::tls::client();
    CHECK_EQ(writer.get_extra_info("version"), "TLSv1.3");
    CHECK_EQ(writer.get_extra_info("alpn"), "http/1.1");
    CHECK(writer.get_extra_info("cipher") && writer.get_extra_info("peercert")->size() > 100);
    for (const auto word : { "one\n"sv, "two\n"sv }) {
        writer.write(word);
        CHECK_EQ(co_await reader.readline(), word);
    }
    CHECK_EQ(asked, "first.test");
    writer.write(std::string(100000, 'x')); // beyond the limit: the server's coroutine throws, and is closed
    loop.set_exception_handler([](const char *, const eddy::error *) {});
    CHECK_EQ(co_await reader.readall(), "");
}

TLS_TASK(a_certificate_that_is_not_trusted)
{
    std::vector<std::string> told;
    loop.set_exception_handler([&](const char *message, const eddy::error *) { told.push_back(message); });
    eddy::tls unknown = server_of("unknown");
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0, { .tls = unknown });
    const auto failure = co_await failure_of(
        eddy::open_connection(loop, "127.0.0.1", server.port(), { .tls = theirs }));
    CHECK(failure && failure->code() == EDDY_ETLS);
    CHECK(has(failure->what(), "certificate"));
    while (told.empty()) co_await eddy::sleep(loop, 1ms); // the server's side of it
    CHECK_EQ(loop.stats().handshakes_failed, 1u);
    theirs.dangerously_skip_verification();
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port(), { .tls = theirs });
    client.writer.write("anybody\n");
    CHECK_EQ(co_await client.reader.readline(), "anybody\n");
}

TLS_TASK(a_name_that_is_not_the_servers)
{
    loop.set_exception_handler([](const char *, const eddy::error *) {});
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0, { .tls = ours });
    const auto failure = co_await failure_of(eddy::open_connection(
        loop, "127.0.0.1", server.port(), { .tls = theirs, .server_hostname = "other.example" }));
    CHECK(failure && failure->code() == EDDY_ETLS);
    CHECK(has(failure->what(), "other.example"));
    const auto without = eddy::options{ .server_hostname = "first.test" };
    CHECK_EQ(co_await code_of(eddy::open_connection(loop, "127.0.0.1", server.port(), without)), EDDY_EINVAL);
}

TLS_TASK(a_client_shows_its_certificate)
{
    ours.trust(pem("authority.pem"));
    ours.verify_clients();
    theirs.load_certificate(path("client.pem"), path("client.key"));
    bool shown = false;
    auto look = [&](eddy::reader, eddy::writer writer) { shown = writer.get_extra_info("peercert").has_value(); };
    auto server = co_await eddy::start_server(loop, look, "127.0.0.1", 0, { .tls = ours });
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port(), { .tls = theirs });
    CHECK_EQ(co_await client.reader.readall(), "");
    CHECK(shown);
}

TLS_TASK(sessions_are_resumed_unless_told_otherwise)
{
    auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0, { .tls = ours });
    std::string resumed;
    for (int i = 0; i < 3; i++) {
        if (i == 2) theirs.set_resumption(false);
        auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port(), { .tls = theirs });
        client.writer.write("a line\n"); // the session comes with the answer
        CHECK_EQ(co_await client.reader.readline(), "a line\n");
        resumed += *client.writer.get_extra_info("session_reused");
    }
    CHECK_EQ(resumed, "010");
}

TEST(settings_are_shared_by_threads)
{
    if (!certificates()) return;
    const eddy::tls ours = server_of("server"), theirs = client_of("authority.pem");
    const auto meet = [](eddy::loop &loop, const eddy::tls &o, const eddy::tls &t) -> eddy::task<> {
        auto server = co_await eddy::start_server(loop, echo, "127.0.0.1", 0, { .tls = o });
        auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port(), { .tls = t });
        client.writer.write("thread\n");
        CHECK_EQ(co_await client.reader.readline(), "thread\n");
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++)
        threads.emplace_back([&] {
            eddy::loop loop;
            loop.run(meet(loop, ours, theirs));
        });
    for (auto &thread : threads) thread.join();
}

// ---- start_tls -----------------------------------------------------------------------------------------------

static eddy::task<> go_ahead(eddy::reader reader, eddy::writer writer, eddy_tls *settings)
{
    const auto command = co_await reader.readline();
    if (command != "STARTTLS\n") throw std::runtime_error("no command");
    writer.write("go ahead\n");
    co_await writer.start_tls({ .tls = settings });
    co_await echo(std::move(reader), std::move(writer));
}

TLS_TASK(a_stream_becomes_encrypted_and_stays_the_same)
{
    auto serve = [&](eddy::reader r, eddy::writer w) { return go_ahead(std::move(r), std::move(w), ours); };
    auto server = co_await eddy::start_server(loop, serve, "127.0.0.1", 0);
    auto [reader, writer] = co_await eddy::open_connection(loop, "127.0.0.1", server.port());
    writer.write("STARTTLS\n");
    CHECK_EQ(co_await reader.readline(), "go ahead\n");
    CHECK(!writer.get_extra_info("cipher"));
    co_await writer.start_tls({ .timeout = 10s, .tls = theirs, .server_hostname = "first.test" });
    CHECK(writer.get_extra_info("cipher").has_value());
    writer.write("a secret\n");
    CHECK_EQ(co_await reader.readline(), "a secret\n");
    CHECK_EQ(co_await code_of(writer.start_tls({ .tls = theirs, .server_hostname = "first.test" })), EDDY_ESTATE);
}

TLS_TASK(what_came_in_clear_stops_start_tls)
{
    auto w = co_await open_wire(loop);
    w.send("in clear\n");
    CHECK_EQ(co_await w.reader.read(3), "in ");
    const eddy::options with{ .tls = theirs, .server_hostname = "first.test" };
    CHECK_EQ(co_await code_of(w.writer.start_tls(with)), EDDY_ESTATE);
    CHECK_EQ(co_await w.reader.readline(), "clear\n");
    CHECK_EQ(co_await code_of(w.writer.start_tls({})), EDDY_EINVAL); // with what settings?
}

TLS_TASK(start_tls_with_somebody_who_does_not_speak_it)
{
    auto w = co_await open_wire(loop);
    auto starting = code_of(w.writer.start_tls({ .tls = theirs, .server_hostname = "first.test" }));
    starting.start();
    co_await eddy::sleep(loop, 1ms);
    w.send("220 what did you say?\r\n");
    CHECK_EQ(co_await std::move(starting), EDDY_ETLS);
    CHECK(w.writer.is_closing());
}

// ---- what ends in a handshake --------------------------------------------------------------------------------

static void silent(eddy::reader reader, eddy::writer writer)
{
    static_cast<void>(reader.release()); // until the loop ends
    static_cast<void>(writer.release());
}

TLS_TASK(a_deadline_for_the_handshake)
{
    auto server = co_await eddy::start_server(loop, silent, "127.0.0.1", 0);
    const eddy::options with{ .timeout = 10ms, .tls = theirs };
    CHECK_EQ(co_await code_of(eddy::open_connection(loop, "127.0.0.1", server.port(), with)), EDDY_ETIMEDOUT);
    auto opening = eddy::open_connection(loop, "127.0.0.1", server.port(), { .tls = theirs });
    CHECK_EQ(co_await code_of(eddy::with_timeout(loop, 10ms, std::move(opening))), EDDY_ETIMEDOUT);
    auto w = co_await open_wire(loop);
    auto start = w.writer.start_tls({ .timeout = 10ms, .tls = theirs, .server_hostname = "first.test" });
    CHECK_EQ(co_await code_of(std::move(start)), EDDY_ETIMEDOUT);
}

TLS_TASK(destroyed_in_a_handshake)
{
    int resumed = 0;
    const auto waits = [&](auto awaitable) -> eddy::task<> {
        co_await std::move(awaitable);
        resumed++;
    };
    auto server = co_await eddy::start_server(loop, silent, "127.0.0.1", 0);
    for (const auto nap : { 0ms, 3ms }) {
        auto w = co_await open_wire(loop);
        eddy::task<> all[] = {
            waits(eddy::open_connection(loop, "127.0.0.1", server.port(), { .tls = theirs })),
            waits(w.writer.start_tls({ .tls = theirs, .server_hostname = "first.test" })),
        };
        for (auto &task : all) task.start();
        co_await eddy::sleep(loop, nap);
        for (auto &task : all) CHECK(!std::exchange(task, {}).done());
    }
    co_await eddy::sleep(loop, 5ms);
    CHECK_EQ(resumed, 0);
}

TLS_TASK(a_server_that_is_destroyed_while_its_clients_shake_hands)
{
    bool came = false;
    auto server = co_await eddy::start_server(
        loop, [&](eddy::reader, eddy::writer) { came = true; }, "127.0.0.1", 0, { .tls = ours });
    auto client = co_await eddy::open_connection(loop, "127.0.0.1", server.port()); // says nothing
    co_await eddy::sleep(loop, 5ms);
    server = {};
    client = {};
    co_await eddy::sleep(loop, 5ms);
    CHECK(!came);
}

TEST(a_loop_that_ends_in_a_handshake)
{
    if (!certificates()) return;
    const eddy::tls theirs = client_of("authority.pem");
    int codes[2] = {};
    {
        eddy::loop loop;
        const auto dial = [](eddy::loop &l, const eddy::tls &t, int &code) -> eddy::task<> {
            auto server = co_await eddy::start_server(l, silent, "127.0.0.1", 0);
            code = co_await code_of(eddy::open_connection(l, "127.0.0.1", server.port(), { .tls = t }));
        };
        const auto start = [](eddy::loop &l, const eddy::tls &t, int &code) -> eddy::task<> {
            auto w = co_await open_wire(l);
            code = co_await code_of(w.writer.start_tls({ .tls = t, .server_hostname = "first.test" }));
        };
        eddy::spawn(loop, dial(loop, theirs, codes[0]));
        eddy::spawn(loop, start(loop, theirs, codes[1]));
        for (int i = 0; i < 5; i++) loop.run_once(2ms);
    }
    CHECK(codes[0] == EDDY_ECANCELED && codes[1] == EDDY_ECANCELED);
}
