/* Handshakes of TLS: good ones, bad ones, late ones, and what only looks like one. */
#include "secure.h"

TEST(a_stream_speaks_tls, "O10 L3 L5")
{
    if (!certificates()) return;
    struct pair pair;
    pair_default(&pair);
    GOT(line);
    GOT(echo);
    CHECK_STR(info(pair.writer, "version"), "TLSv1.3");
    CHECK_HAS(info(pair.writer, "cipher"), "TLS_AES_");
    CHECK_STR(info(pair.its_writer, "cipher"), info(pair.writer, "cipher"));
    CHECK_STR(info(pair.writer, "server_hostname"), "127.0.0.1");
    CHECK_STR(info(pair.writer, "session_reused"), "0");
    CHECK(info(pair.writer, "alpn") == NULL);
    size_t len = 0, chain = 0;
    const char *der = eddy_writer_get_extra_info(pair.writer, "peercert", &len);
    CHECK(der != NULL && len > 100 && (unsigned char)der[0] == 0x30);
    CHECK(eddy_writer_get_extra_info(pair.writer, "peercert_chain", &chain) != NULL);
    CHECK_INT(chain, len);
    CHECK(info(pair.its_writer, "peercert") == NULL);
    CHECK_HAS(eddy_repr(pair.writer), " tls ");

    CHECK_INT(eddy_writer_write(pair.writer, "hello\nrest", 10), 0);
    START(&line, eddy_reader_readline(pair.its_reader, got_read, &line));
    RUN_UNTIL(pair.loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "hello\n");
    eddy_writer_write(pair.its_writer, "answer", 6);
    eddy_writer_close(pair.its_writer);
    CHECK_INT(eddy_writer_write(pair.its_writer, "late", 4), EDDY_ESTATE);
    START(&echo, eddy_reader_read(pair.reader, EDDY_UNTIL_EOF, got_read, &echo));
    RUN_UNTIL(pair.loop, echo.count > 0);
    CHECK_INT(echo.code, 0);
    CHECK_BYTES(echo.bytes, echo.len, "answer");
    CHECK(eddy_reader_at_eof(pair.reader));
    CHECK_INT(pair.reports.count, 0);
    pair_free(&pair);
}

TEST(settings_may_be_freed_and_used_again_and_sessions_are_resumed, "s17 a21")
{
    if (!certificates()) return;
    struct pair pair;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    pair_open(&pair, server, client);
    eddy_tls_free(server);
    GOT(line);
    eddy_writer_write(pair.its_writer, "x\n", 2);
    START(&line, eddy_reader_readline(pair.reader, got_read, &line));
    RUN_UNTIL(pair.loop, line.count > 0); /* and with it the tickets */
    GOT(again);
    START(&again, eddy_open_connection(pair.loop, "127.0.0.1", pair.port, EDDY_OPTIONS(.tls = client),
                                       got_stream, &again));
    RUN_UNTIL(pair.loop, again.count > 0);
    CHECK_INT(again.code, 0);
    CHECK_STR(info(again.writer, "session_reused"), "1");
    CHECK_INT(eddy_tls_set_resumption(client, 0), 0);
    GOT(anew);
    START(&anew, eddy_open_connection(pair.loop, "127.0.0.1", pair.port, EDDY_OPTIONS(.tls = client), got_stream,
                                      &anew));
    RUN_UNTIL(pair.loop, anew.count > 0);
    CHECK_STR(info(anew.writer, "session_reused"), "0");
    eddy_tls_free(client);
    pair_free(&pair);
}

TEST(alpn_and_the_minimum_version_are_agreed_on, "s16")
{
    if (!certificates()) return;
    struct pair pair;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    CHECK_INT(eddy_tls_set_alpn(server, "h2,http/1.1"), 0);
    CHECK_INT(eddy_tls_set_alpn(client, "spdy/3,http/1.1"), 0);
    CHECK_INT(eddy_tls_set_minimum_version(client, "TLSv1.3"), 0);
    pair_open(&pair, server, client);
    CHECK_STR(info(pair.writer, "alpn"), "http/1.1");
    CHECK_STR(info(pair.its_writer, "alpn"), "http/1.1");
    pair_free(&pair);

    CHECK_INT(eddy_tls_set_alpn(client, "spdy/3"), 0);
    pair_start(&pair, EDDY_OPTIONS(.tls = server));
    pair_call(&pair, "127.0.0.1", EDDY_OPTIONS(.tls = client));
    RUN_UNTIL(pair.loop, pair.opened.count > 0);
    CHECK_INT(pair.opened.code, EDDY_ETLS);
    CHECK_STR(pair.opened.message, "TLS handshake failed: the peer refused it, alert \"no application protocol\"");
    RUN_UNTIL(pair.loop, pair.reports.count > 0);
    CHECK_STR(pair.reports.messages[0],
              "a client was turned away: TLS handshake failed: no application protocol in common (ALPN)");
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(a_server_has_a_certificate_for_each_name, "")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    CHECK_INT(eddy_tls_add_certificate(server, pem("second.pem"), pem("second.key")), 0);
    struct pair pair;
    const char *names[] = { "first.test", "second.test", "x.wild.test", "localhost" };
    for (size_t n = 0; n < 4; n++) {
        pair_start(&pair, EDDY_OPTIONS(.tls = server));
        pair_call(&pair, "127.0.0.1", EDDY_OPTIONS(.tls = client, .server_hostname = names[n]));
        RUN_UNTIL(pair.loop, pair.opened.count > 0 && (pair.opened.code != 0 || pair.came.count > 0));
        CHECK_STR(pair.opened.message, "");
        CHECK_STR(info(pair.its_writer, "server_hostname"), names[n]);
        pair_free(&pair);
    }
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(clients_may_be_asked_for_certificates, "")
{
    if (!certificates()) return;
    for (int required = 0; required < 2; required++)
        for (int shown = 0; shown < 3; shown++) {
            eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
            CHECK_INT(eddy_tls_trust(server, pem("authority.pem")), 0);
            CHECK_INT(eddy_tls_verify_clients(server, required), 0);
            if (shown > 0)
                CHECK_INT(eddy_tls_load_certificate(client, path(shown == 1 ? "client.pem" : "unknown.pem"),
                                                    path(shown == 1 ? "client.key" : "unknown.key")), 0);
            struct pair pair;
            pair_start(&pair, EDDY_OPTIONS(.tls = server));
            pair_call(&pair, "127.0.0.1", EDDY_OPTIONS(.tls = client));
            RUN_UNTIL(pair.loop, pair.came.count > 0 || pair.reports.count > 0);
            if (shown == 1) {
                CHECK_INT(pair.came.count, 1);
                CHECK(info(pair.its_writer, "peercert") != NULL);
            } else if (shown == 2) {
                CHECK_STR(pair.reports.messages[0], "a client was turned away: TLS handshake failed: the peer's "
                                                    "certificate was issued by an authority that is not trusted");
            } else if (required) {
                CHECK_STR(pair.reports.messages[0],
                          "a client was turned away: TLS handshake failed: the peer showed no certificate");
            } else {
                CHECK_INT(pair.came.count, 1);
                CHECK(info(pair.its_writer, "peercert") == NULL);
            }
            pair_free(&pair);
            eddy_tls_free(server), eddy_tls_free(client);
        }
}

/* A server with this certificate, as a client sees it that trusts the authority; and the server never gets to hear
 * of a client. */
static void bad(const char *name, const char *words, const char *reported)
{
    struct pair pair;
    eddy_tls *server = server_of(name), *client = client_of("authority.pem");
    pair_start(&pair, EDDY_OPTIONS(.tls = server));
    pair_call(&pair, "127.0.0.1", EDDY_OPTIONS(.tls = client));
    RUN_UNTIL(pair.loop, pair.opened.count > 0 && pair.reports.count > 0);
    CHECK_INT(pair.opened.code, EDDY_ETLS);
    CHECK(pair.opened.writer == NULL);
    char expected[256];
    snprintf(expected, sizeof expected, "TLS handshake failed: the peer's certificate %s", words);
    CHECK_STR(pair.opened.message, expected);
    CHECK_HAS(pair.reports.messages[0], reported);
    CHECK_INT(pair.came.count, 0);
    /* Lingering sockets are closed soon, and the loop has nothing more to wait for. */
    eddy_server_close(pair.server);
    CHECK_INT(eddy_loop_run(pair.loop), 0);
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(each_bad_certificate_has_its_own_error, "V24 L7 s08")
{
    if (!certificates()) return;
    bad("unknown", "was issued by an authority that is not trusted", "alert \"unknown ca\"");
    bad("expired", "has expired", "alert \"certificate expired\"");
    bad("other", "is not for 127.0.0.1, but for other.example", "alert \"bad certificate\"");
    bad("whole", "is an authority's, not a server's (CA:TRUE); make one with -addext "
                 "basicConstraints=critical,CA:FALSE", "alert");
}

TEST(a_certificate_of_ones_own_can_be_trusted_and_all_can, "")
{
    if (!certificates()) return;
    struct pair pair;
    eddy_tls *alone = server_of("alone"), *client = client_of("alone.pem");
    pair_open(&pair, alone, client);
    pair_free(&pair);
    eddy_tls_free(alone), eddy_tls_free(client);
    eddy_tls *whole = server_of("whole");
    client = eddy_tls_client_new();
    CHECK_INT(eddy_tls_dangerously_skip_verification(client), 0);
    pair_open(&pair, whole, client);
    pair_free(&pair);
    eddy_tls_free(whole), eddy_tls_free(client);
    eddy_tls *rsa = server_of("rsa");
    client = client_of("rsa.pem");
    pair_open(&pair, rsa, client);
    pair_free(&pair);
    eddy_tls_free(rsa), eddy_tls_free(client);
}

TEST(tls_goes_over_unix_sockets_and_descriptors_too, "U6")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    struct pair pair;
    memset(&pair, 0, sizeof pair);
    pair.loop = eddy_loop_new();
    char name[64];
    snprintf(name, sizeof name, "@eddy-tls-%d", (int)getpid());
    CHECK(eddy_start_unix_server(pair.loop, came, name, EDDY_OPTIONS(.tls = server), served, &pair) >= 0);
    RUN_UNTIL(pair.loop, pair.server != NULL);
    GOT(opened);
    START(&opened, eddy_open_unix_connection(pair.loop, name,
                                             EDDY_OPTIONS(.tls = client, .server_hostname = "localhost"), got_stream,
                                             &opened));
    RUN_UNTIL(pair.loop, opened.count > 0 && pair.came.count > 0);
    CHECK_STR(opened.message, "");
    CHECK_STR(info(pair.its_writer, "server_hostname"), "localhost");
    eddy_server_free(pair.server);

    pair.server = NULL;
    int listener = plain_listen();
    uint16_t port = plain_port(listener);
    CHECK(eddy_start_socket_server(pair.loop, came, listener, EDDY_OPTIONS(.tls = server), served, &pair) >= 0);
    RUN_UNTIL(pair.loop, pair.server != NULL);
    GOT(adopted);
    START(&adopted, eddy_open_socket(pair.loop, plain_connect(port),
                                     EDDY_OPTIONS(.tls = client, .server_hostname = "localhost"), got_stream,
                                     &adopted));
    RUN_UNTIL(pair.loop, adopted.count > 0 && pair.came.count > 1);
    CHECK_STR(adopted.message, "");
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}

/* What comes to a TLS port and is none: the peer is told by an alert, the exception handler by a report, the client
 * callback not at all. */
static void stranger_says(const char *bytes, size_t len, bool ends, const char *why)
{
    struct pair pair;
    eddy_tls *server = server_of("server");
    pair_start(&pair, EDDY_OPTIONS(.tls = server));
    int fd = plain_connect(pair.port);
    if (len > 0) CHECK_INT(send(fd, bytes, len, MSG_NOSIGNAL), len);
    if (ends) shutdown(fd, SHUT_WR);
    RUN_UNTIL(pair.loop, pair.reports.count > 0);
    CHECK_HAS(pair.reports.messages[0], why);
    char answer[64];
    ssize_t n = -1;
    RUN_UNTIL(pair.loop, (n = recv(fd, answer, sizeof answer, MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
    if (!ends) CHECK(n == 7 && answer[0] == 21); /* an alert */
    /* And then an end in peace, not a reset. */
    if (!ends) RUN_UNTIL(pair.loop, (n = recv(fd, answer, sizeof answer, MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
    CHECK_INT(n, 0);
    CHECK_INT(pair.came.count, 0);
    close(fd);
    eddy_server_close(pair.server);
    CHECK_INT(eddy_loop_run(pair.loop), 0);
    pair_free(&pair);
    eddy_tls_free(server);
}

TEST(what_is_no_tls_is_turned_away_with_an_alert, "L2 L9 s02")
{
    if (!certificates()) return;
    static const char http[] = "GET / HTTP/1.0\r\n\r\n";
    char garbage[1000];
    for (size_t n = 0; n < sizeof garbage; n++) garbage[n] = (char)(n * 7 + 200);
    stranger_says(http, sizeof http - 1, false, "what the peer sent is no TLS handshake");
    stranger_says(garbage, sizeof garbage, false, "what the peer sent is no TLS handshake");
    /* More than is received at once: what is left unread must not take the alert along. */
    static char much[200000];
    memset(much, 'x', sizeof much);
    stranger_says(much, sizeof much, false, "what the peer sent is no TLS handshake");
    stranger_says("", 0, true, "the peer has closed the connection");
    stranger_says("\x16\x03\x01", 3, true, "the peer has closed the connection");
}

/* What a client of eddy's says first. */
static size_t hello(char *bytes, size_t room)
{
    eddy_tls *client = client_of("authority.pem");
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    GOT(opened);
    START(&opened, eddy_open_connection(loop, "127.0.0.1", plain_port(listener), EDDY_OPTIONS(.tls = client),
                                        got_stream, &opened));
    settle(loop);
    int fd = plain_accept(listener);
    ssize_t n = recv(fd, bytes, room, 0);
    CHECK(n > 100 && (size_t)n < room);
    close(fd), close(listener);
    eddy_loop_free(loop);
    eddy_tls_free(client);
    return (size_t)n;
}

/* It is turned away, with a reason that can be printed; the loop is at rest then, and the next one is served. */
static void hostile(const char *bytes, size_t len, bool reset, const char *why)
{
    struct pair pair;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    pair_start(&pair, EDDY_OPTIONS(.tls = server));
    int fd = plain_connect(pair.port);
    CHECK_INT(send(fd, bytes, len, MSG_NOSIGNAL), len);
    if (reset) {
        settle(pair.loop);
        plain_reset(fd);
    }
    RUN_UNTIL(pair.loop, pair.reports.count > 0);
    CHECK_HAS(pair.reports.messages[0], why);
    for (const char *c = pair.reports.messages[0]; *c != '\0'; c++) CHECK(*c >= ' ' && *c <= '~');
    check_rest(pair.loop);
    CHECK_INT(stats_of(pair.loop).handshakes_failed, 1);
    CHECK_INT(pair.came.count, 0);
    pair_call(&pair, "127.0.0.1", EDDY_OPTIONS(.tls = client));
    RUN_UNTIL(pair.loop, pair.came.count > 0);
    CHECK_INT(pair.came.code, 0);
    CHECK_INT(pair.reports.count, 1);
    if (!reset) close(fd);
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(a_goodbye_right_after_the_hello_is_an_error, "s04")
{
    if (!certificates()) return;
    char bytes[4096];
    size_t len = hello(bytes, sizeof bytes - 7);
    memcpy(bytes + len, "\x15\x03\x03\x00\x02\x01\x00", 7);
    hostile(bytes, len + 7, false, "the peer has ended it");
}

TEST(a_reset_in_the_handshake_is_an_error_and_no_endless_loop, "s05")
{
    if (!certificates()) return;
    char bytes[4096];
    size_t len = hello(bytes, sizeof bytes);
    hostile(bytes, len, true, "Connection reset by peer");
    hostile(bytes, len / 2, true, "Connection reset by peer");
}

TEST(a_flood_of_records_that_say_nothing_is_an_error, "s13")
{
    if (!certificates()) return;
    static char flood[60000];
    for (size_t n = 0; n + 6 <= sizeof flood; n += 6) memcpy(flood + n, "\x14\x03\x03\x00\x01\x01", 6);
    hostile(flood, sizeof flood, false, "TLS handshake failed: ");
    for (size_t n = 0; n + 5 <= sizeof flood; n += 5) memcpy(flood + n, "\x16\x03\x03\x00\x00", 5);
    hostile(flood, sizeof flood, false, "TLS handshake failed: ");
    for (size_t n = 0; n + 7 <= sizeof flood; n += 7) memcpy(flood + n, "\x15\x03\x03\x00\x02\x01\x5a", 7);
    hostile(flood, sizeof flood, false, "TLS handshake failed: ");
}

TEST(a_message_too_large_is_an_error_before_it_has_come, "s14")
{
    if (!certificates()) return;
    static char bytes[5 + 16384];
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, "\x16\x03\x01\x40\x00\x01\xff\xff\xff", 9); /* a hello of 16 MiB, and its first 16 KiB */
    hostile(bytes, sizeof bytes, false, "what the peer sent is no TLS handshake");
    memcpy(bytes, "\x16\x03\x01\x10\x04\x0b\x00\x10\x00", 9); /* a certificate, which nobody asked for */
    hostile(bytes, 5 + 4 + 4096, false, "what the peer sent is no TLS handshake");
}

TEST(no_keys_are_written_to_a_file, "s15")
{
    if (!certificates()) return;
    CHECK(setenv("SSLKEYLOGFILE", path("keys"), 1) == 0);
    struct pair pair;
    pair_default(&pair);
    pair_free(&pair);
    CHECK(access(path("keys"), F_OK) != 0);
    unsetenv("SSLKEYLOGFILE");
}

TEST(a_server_that_speaks_no_tls_is_an_error, "")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    GOT(opened);
    START(&opened, eddy_open_connection(loop, "127.0.0.1", plain_port(listener), EDDY_OPTIONS(.tls = client),
                                        got_stream, &opened));
    settle(loop);
    int fd = plain_accept(listener);
    CHECK_INT(send(fd, "220 welcome\r\n", 13, 0), 13);
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_INT(opened.code, EDDY_ETLS);
    CHECK_STR(opened.message, "TLS handshake failed: what the peer sent is no TLS handshake");
    /* Nothing of an application has gone to it: a ClientHello, and an alert. */
    unsigned char bytes[4096];
    size_t got = 0;
    RUN_UNTIL(loop, (got += (size_t)plain_ok((int)recv(fd, bytes + got, sizeof bytes - got, 0), "recv")) > 7 &&
                        bytes[got - 7] == 21);
    CHECK_INT(bytes[0], 22);
    close(fd), close(listener);
    eddy_loop_free(loop);
    eddy_tls_free(client);
}

TEST(a_handshake_that_never_ends_has_a_deadline, "O11 L1 s03")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    struct pair pair;
    pair_start(&pair, EDDY_OPTIONS(.tls = server, .timeout_ms = 100, .max_clients = 1));
    int fd = plain_connect(pair.port);
    RUN_UNTIL(pair.loop, pair.reports.count > 0);
    CHECK_STR(pair.reports.messages[0], "a client was turned away: TLS handshake: 100 ms are over");
    /* Its seat is free. */
    int listener = plain_listen();
    uint64_t start = plain_now();
    GOT(opened);
    START(&opened, eddy_open_connection(pair.loop, "127.0.0.1", plain_port(listener),
                                        EDDY_OPTIONS(.tls = client, .timeout_ms = 100), got_stream, &opened));
    RUN_UNTIL(pair.loop, opened.count > 0);
    CHECK_INT(opened.code, EDDY_ETIMEDOUT);
    CHECK(plain_now() - start >= 100);
    pair_call(&pair, "127.0.0.1", EDDY_OPTIONS(.tls = client));
    RUN_UNTIL(pair.loop, pair.came.count > 0);
    close(fd), close(listener);
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(failed_handshakes_are_counted_and_not_repeated, "")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server");
    struct pair pair;
    pair_start(&pair, EDDY_OPTIONS(.tls = server));
    for (int n = 0; n < 20; n++) {
        int fd = plain_connect(pair.port);
        CHECK_INT(send(fd, "hello\n", 6, 0), 6);
        char answer[64];
        RUN_UNTIL(pair.loop, recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0);
        close(fd);
    }
    int fd = plain_connect(pair.port);
    close(fd);
    RUN_UNTIL(pair.loop, pair.reports.count == 2);
    settle(pair.loop);
    CHECK_INT(pair.reports.count, 2);
    CHECK_INT(stats_of(pair.loop).handshakes_failed, 21);
    CHECK_INT(pair.came.count, 0);
    pair_free(&pair);
    eddy_tls_free(server);
}

TEST(a_peer_that_knows_many_reasons_is_not_reported_each_time, "")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server");
    struct pair pair;
    pair_start(&pair, EDDY_OPTIONS(.tls = server));
    for (int n = 0; n < 120; n++) {
        char alert[7] = { 21, 3, 3, 0, 2, 2, (char)(130 + n % 40) }, answer[64];
        int fd = plain_connect(pair.port);
        CHECK_INT(send(fd, alert, sizeof alert, 0), sizeof alert);
        RUN_UNTIL(pair.loop, recv(fd, answer, sizeof answer, MSG_DONTWAIT) == 0);
        close(fd);
    }
    settle(pair.loop);
    CHECK_INT(stats_of(pair.loop).handshakes_failed, 120);
    CHECK(pair.reports.count <= 33);
    pair_free(&pair);
    eddy_tls_free(server);
}

TEST(nothing_is_told_of_a_handshake_that_failed, "")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("unknown"), *client = client_of("authority.pem");
    struct pair pair;
    memset(&pair, 0, sizeof pair);
    pair.loop = eddy_loop_new();
    int ends[2];
    plain_unix_pair(ends);
    START(&pair.opened, eddy_open_socket(pair.loop, ends[0], NULL, got_stream, &pair.opened));
    CHECK(eddy_open_socket(pair.loop, ends[1], NULL, came, &pair) >= 0);
    RUN_UNTIL(pair.loop, pair.opened.count > 0 && pair.came.count > 0);
    GOT(near);
    GOT(far);
    START(&far, eddy_writer_start_tls(pair.its_writer, EDDY_OPTIONS(.tls = server), got_writer, &far));
    START(&near, eddy_writer_start_tls(pair.opened.writer,
                                       EDDY_OPTIONS(.tls = client, .server_hostname = "localhost"), got_writer,
                                       &near));
    RUN_UNTIL(pair.loop, near.count > 0 && far.count > 0);
    CHECK_HAS(near.message, "authority that is not trusted");
    CHECK(info(pair.opened.writer, "cipher") == NULL && info(pair.opened.writer, "version") == NULL);
    CHECK(info(pair.opened.writer, "server_hostname") == NULL);
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(a_handshake_on_a_socket_of_ones_own_is_late_in_other_words, "O11")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    eddy_loop *loop = eddy_loop_new();
    int ends[2];
    plain_unix_pair(ends);
    GOT(opened);
    START(&opened, eddy_open_socket(loop, ends[0],
                                    EDDY_OPTIONS(.tls = client, .server_hostname = "localhost", .timeout_ms = 50),
                                    got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_STR(opened.message, "timed out after 50 ms: TLS handshake");
    close(ends[1]);
    eddy_loop_free(loop);
    eddy_tls_free(client);
}

TEST(an_opening_can_be_cancelled_in_its_handshake, "L2")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    GOT(opened);
    eddy_op op = START(&opened, eddy_open_connection(loop, "127.0.0.1", plain_port(listener),
                                                     EDDY_OPTIONS(.tls = client), got_stream, &opened));
    settle(loop);
    int fd = plain_accept(listener);
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_INT(opened.code, EDDY_ECANCELED);
    CHECK_INT(eddy_loop_run(loop), 0);
    close(fd);
    /* ... and freed in it. */
    GOT(freed);
    START(&freed, eddy_open_connection(loop, "127.0.0.1", plain_port(listener), EDDY_OPTIONS(.tls = client),
                                       got_stream, &freed));
    settle(loop);
    eddy_loop_free(loop);
    CHECK_INT(freed.count, 1);
    CHECK_INT(freed.code, EDDY_ECANCELED);
    close(listener);
    eddy_tls_free(client);
}

TEST(a_closed_server_announces_nobody_any_more, "")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    struct pair pair;
    pair_start(&pair, EDDY_OPTIONS(.tls = server));
    int fd = plain_connect(pair.port);
    pair_call(&pair, "127.0.0.1", EDDY_OPTIONS(.tls = client));
    CHECK(eddy_loop_run_once(pair.loop, 0) >= 0);
    CHECK(eddy_loop_run_once(pair.loop, 0) >= 0);
    int before = pair.came.count;
    eddy_server_close(pair.server);
    GOT(over);
    START(&over, eddy_server_wait_closed(pair.server, got_server, &over));
    if (before == 0) {
        RUN_UNTIL(pair.loop, over.count > 0);
        CHECK(pair.opened.count > 0 || (eddy_loop_run(pair.loop), pair.opened.count > 0));
    }
    CHECK_INT(pair.came.count, before);
    close(fd);
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}
