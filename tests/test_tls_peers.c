/* TLS with OpenSSL at the other end, in both roles: client certificates, ALPN, new keys; and a redis that asks
 * for certificates. tls/test_interop.py has the examples, with Python, curl and nginx. */
#include "secure.h"

#include <signal.h>
#include <stdarg.h>

/* ---- other people's programs ------------------------------------------------------------------------------ */

struct program {
    pid_t pid;
    int in, out; /* what it reads and what it prints */
};

/* In the directory of the certificates. */
static struct program program_start(const char *format, ...)
{
    char command[1024] = "exec ";
    va_list values;
    va_start(values, format);
    vsnprintf(command + 5, sizeof command - 5, format, values);
    va_end(values);
    int in[2], out[2];
    plain_ok(pipe(in), "pipe");
    plain_ok(pipe(out), "pipe");
    struct program program = { .pid = fork(), .in = in[1], .out = out[0] };
    if (program.pid == 0) {
        dup2(in[0], 0), dup2(out[1], 1), dup2(open("/dev/null", O_WRONLY), 2);
        close(in[1]), close(out[0]);
        if (chdir(directory) == 0) execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    plain_ok(program.pid, "fork");
    close(in[0]), close(out[1]);
    return program;
}

static void program_end(struct program *program)
{
    kill(program->pid, SIGKILL);
    waitpid(program->pid, NULL, 0);
    close(program->in), close(program->out);
}

/* False: it has ended. */
static bool program_tell(const struct program *program, const char *text)
{
    signal(SIGPIPE, SIG_IGN); /* a pipe's only: what is sent to sockets raises none */
    const ssize_t written = write(program->in, text, strlen(text));
    signal(SIGPIPE, SIG_DFL);
    return written == (ssize_t)strlen(text);
}

static bool has(const char *tool)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null", tool);
    if (system(command) == 0) return true;
    printf("skipped: there is no %s\n", tool);
    return false;
}

static void check_line(eddy_loop *loop, eddy_reader *reader, const char *expected)
{
    GOT(line);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    RUN_UNTIL(loop, line.count > 0);
    CHECK_STR(line.message, "");
    CHECK_STR(line.bytes, expected);
}

static const char *const versions[][2] = { { "-tls1_2", "TLSv1.2" }, { "-tls1_3", "TLSv1.3" } };

/* ---- openssl s_client ------------------------------------------------------------------------------------- */

TEST(openssl_shows_our_server_a_certificate_and_agrees_on_a_protocol, "")
{
    if (!certificates()) return;
    for (int n = 0; n < 2; n++) {
        eddy_tls *server = server_of("server");
        CHECK_INT(eddy_tls_trust(server, pem("authority.pem")), 0);
        CHECK_INT(eddy_tls_verify_clients(server, 1), 0);
        CHECK_INT(eddy_tls_set_alpn(server, "h2,http/1.1"), 0);
        struct pair pair;
        pair_start(&pair, EDDY_OPTIONS(.tls = server));
        const char *start = "openssl s_client -quiet -verify_return_error -CAfile authority.pem -servername first.test "
                            "-verify_hostname first.test -alpn http/1.1 %s -connect 127.0.0.1:%u %s";
        struct program client =
            program_start(start, versions[n][0], pair.port, "-cert client.pem -key client.key");
        CHECK(program_tell(&client, "hello\n"));
        RUN_UNTIL(pair.loop, pair.came.count > 0);
        CHECK_STR(info(pair.its_writer, "version"), versions[n][1]);
        CHECK_STR(info(pair.its_writer, "alpn"), "http/1.1");
        CHECK_STR(info(pair.its_writer, "server_hostname"), "first.test");
        size_t len = 0;
        const char *certificate = eddy_writer_get_extra_info(pair.its_writer, "peercert", &len);
        CHECK(certificate != NULL && len > 100 && memcmp(certificate, "\x30\x82", 2) == 0);
        check_line(pair.loop, pair.its_reader, "hello\n");
        CHECK_INT(eddy_writer_write(pair.its_writer, "answer\n", 7), 0);
        settle(pair.loop);
        char answer[8] = "";
        CHECK_INT(read(client.out, answer, 7), 7);
        CHECK_STR(answer, "answer\n");
        program_end(&client);

        struct program nobody = program_start(start, versions[n][0], pair.port, "");
        RUN_UNTIL(pair.loop, pair.reports.count > 0);
        CHECK_HAS(pair.reports.messages[0], "the peer showed no certificate");
        CHECK_INT(pair.came.count, 1);
        program_end(&nobody);
        pair_free(&pair);
        eddy_tls_free(server);
    }
}

TEST(a_peer_that_changes_its_keys_all_the_time_is_served_or_ended, "s13")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server");
    struct pair pair;
    pair_start(&pair, EDDY_OPTIONS(.tls = server));
    struct program client = program_start("openssl s_client -tls1_3 -connect 127.0.0.1:%u", pair.port);
    RUN_UNTIL(pair.loop, pair.came.count > 0);
    GOT(line);
    START(&line, eddy_reader_readline(pair.its_reader, got_read, &line));
    const uint64_t turns = stats_of(pair.loop).turns;
    for (int n = 0; n < 50 && program_tell(&client, "K\n"); n++) /* K: new keys, and ours are asked for */
        for (int turn = 0; turn < 3; turn++) CHECK(eddy_loop_run_once(pair.loop, 2) >= 0);
    program_tell(&client, "after\n");
    RUN_UNTIL(pair.loop, line.count > 0);
    if (line.code == 0) CHECK(line.len >= 6 && memcmp(line.bytes + line.len - 6, "after\n", 6) == 0);
    else CHECK_STR(line.message, "TLS: the peer misbehaved: too many key update requests");
    CHECK(stats_of(pair.loop).turns - turns < 1000);
    program_end(&client);
    pair_free(&pair);
    eddy_tls_free(server);
}

/* ---- openssl s_server ------------------------------------------------------------------------------------- */

/* Connects to a program that may not listen yet. */
static struct got connect_to(eddy_loop *loop, uint16_t port, const eddy_options *options)
{
    for (uint64_t end = plain_now() + 20000;; usleep(20000)) {
        struct got opened = { 0 };
        START(&opened, eddy_open_connection(loop, "127.0.0.1", port, options, got_stream, &opened));
        RUN_UNTIL(loop, opened.count > 0);
        if (opened.system != ECONNREFUSED || plain_now() > end) return opened;
        got_release(&opened);
    }
}

TEST(openssl_asks_our_client_for_a_certificate_and_agrees_on_a_protocol, "")
{
    if (!certificates()) return;
    for (int n = 0; n < 2; n++) {
        uint16_t port = plain_closed_port();
        struct program server =
            program_start("openssl s_server %s -accept 127.0.0.1:%u -cert server.pem -key server.key -Verify 1 "
                          "-verify_return_error -CAfile authority.pem -alpn h2 -rev", versions[n][0], port);
        eddy_loop *loop = eddy_loop_new();
        eddy_tls *client = client_of("authority.pem");
        CHECK_INT(eddy_tls_add_certificate(client, pem("client.pem"), pem("client.key")), 0);
        CHECK_INT(eddy_tls_set_alpn(client, "http/1.1,h2"), 0);
        struct got opened = connect_to(loop, port, EDDY_OPTIONS(.tls = client, .server_hostname = "first.test"));
        CHECK_STR(opened.message, "");
        CHECK_STR(info(opened.writer, "version"), versions[n][1]);
        CHECK_STR(info(opened.writer, "alpn"), "h2");
        CHECK_INT(eddy_writer_write(opened.writer, "abc\n", 4), 0);
        check_line(loop, opened.reader, "cba\n");
        eddy_writer_free(opened.writer);
        got_release(&opened);

        eddy_tls *bare = client_of("authority.pem");
        opened = connect_to(loop, port, EDDY_OPTIONS(.tls = bare, .server_hostname = "first.test"));
        if (opened.code == 0) { /* in TLS 1.3 a client is through before it hears of it */
            GOT(line);
            START(&line, eddy_reader_readline(opened.reader, got_read, &line));
            RUN_UNTIL(loop, line.count > 0);
            CHECK_INT(line.code, EDDY_ETLS);
            CHECK_STR(line.message, "TLS: the peer ended the connection, alert \"certificate required\"");
        } else {
            CHECK_INT(opened.code, EDDY_ETLS);
            CHECK_STR(opened.message, "TLS handshake failed: the peer refused it, alert \"handshake failure\"");
        }
        got_release(&opened);
        eddy_loop_free(loop);
        eddy_tls_free(client), eddy_tls_free(bare);
        program_end(&server);
    }
}

/* ---- redis ------------------------------------------------------------------------------------------------- */

TEST(a_redis_that_asks_for_certificates_is_spoken_to, "")
{
    if (!certificates() || !has("redis-server")) return;
    uint16_t port = plain_closed_port();
    struct program redis = program_start(
        "redis-server --port 0 --tls-port %u --bind 127.0.0.1 --save '' --tls-cert-file server.pem --tls-key-file "
        "server.key --tls-ca-cert-file authority.pem --tls-auth-clients yes", port);
    eddy_loop *loop = eddy_loop_new();
    eddy_tls *client = client_of("authority.pem");
    CHECK_INT(eddy_tls_add_certificate(client, pem("client.pem"), pem("client.key")), 0);
    struct got opened = connect_to(loop, port, EDDY_OPTIONS(.tls = client));
    CHECK_STR(opened.message, "");
    static char value[300000];
    memset(value, 'v', sizeof value);
    CHECK_INT(eddy_writer_write(opened.writer, "PING\r\nSET key \"", 15), 0);
    CHECK(eddy_writer_write(opened.writer, "short\"\r\n", 8) >= 0);
    check_line(loop, opened.reader, "+PONG\r\n");
    check_line(loop, opened.reader, "+OK\r\n");
    char head[64];
    int len = snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%zu\r\n", sizeof value);
    CHECK(eddy_writer_write(opened.writer, head, (size_t)len) >= 0);
    CHECK(eddy_writer_write(opened.writer, value, sizeof value) >= 0);
    CHECK(eddy_writer_write(opened.writer, "\r\nGET key\r\n", 11) >= 0);
    check_line(loop, opened.reader, "+OK\r\n");
    check_line(loop, opened.reader, "$300000\r\n");
    GOT(all);
    START(&all, eddy_reader_readexactly(opened.reader, sizeof value + 2, got_read, &all));
    RUN_UNTIL(loop, all.count > 0);
    CHECK_INT(all.len, sizeof value + 2);
    CHECK(memcmp(all.bytes, value, sizeof value) == 0);
    got_release(&all);
    got_release(&opened);
    eddy_loop_free(loop);
    eddy_tls_free(client);
    program_end(&redis);
}
