/* Streams that speak TLS: what goes through, how it ends, and the change from clear to encrypted. */
#include "secure.h"

#include <signal.h>
#include <sys/resource.h>

/* ---- what goes through --------------------------------------------------------------------------------- */

struct pump {
    struct pair *pair;
    size_t left, got, most;
    int slow;
    bool over;
    int code;
    char message[128];
};

static char chunk[200000];

static void pump_more(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct pump *pump = arg;
    CHECK(error == NULL);
    while (pump->left > 0) {
        size_t n = pump->left < sizeof chunk ? pump->left : sizeof chunk;
        pump->left -= n;
        int full = eddy_writer_write(writer, chunk, n);
        CHECK(full >= 0);
        size_t buffered = eddy_writer_get_write_buffer_size(writer);
        if (buffered > pump->most) pump->most = buffered;
        if (full > 0) {
            CHECK(eddy_writer_drain(writer, pump_more, pump) >= 0);
            return;
        }
    }
    eddy_writer_close(writer);
}

static void pump_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg);

static void pump_later(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct pump *pump = arg;
    (void)loop;
    if (error == NULL) CHECK(eddy_reader_read(pump->pair->reader, 65536, pump_read, pump) >= 0);
}

static void pump_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct pump *pump = arg;
    for (size_t n = 0; n < len; n += 997)
        if (bytes[n] != chunk[(pump->got + n) % sizeof chunk]) FAIL("byte %zu is wrong", pump->got + n);
    pump->got += len;
    pump->code = eddy_error_code(error);
    if (error != NULL || len == 0) {
        pump->over = true;
        return;
    }
    if (pump->slow > 0 && pump->got / (1024 * 1024) != (pump->got - len) / (1024 * 1024))
        eddy_loop_call_later(pump->pair->loop, (uint64_t)pump->slow, pump_later, pump);
    else
        CHECK(eddy_reader_read(reader, 65536, pump_read, pump) >= 0);
}

static void pump_run(size_t size, int slow)
{
    struct pair pair;
    pair_default(&pair);
    for (size_t n = 0; n < sizeof chunk; n++) chunk[n] = (char)(n * 31 + n / 251);
    struct pump pump = { .pair = &pair, .left = size, .slow = slow };
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    pump_more(pair.its_writer, NULL, &pump);
    CHECK(eddy_reader_read(pair.reader, 65536, pump_read, &pump) >= 0);
    uint64_t deadline = plain_now() + 50000 * (uint64_t)eddy_test_slow();
    while (!pump.over) {
        if (plain_now() > deadline) FAIL("%zu of %zu bytes: %s", pump.got, size, eddy_repr(pair.its_writer));
        CHECK(eddy_loop_run_once(pair.loop, 100) >= 0);
    }
    getrusage(RUSAGE_SELF, &after);
    CHECK_INT(pump.code, 0);
    CHECK_INT(pump.got, size);
    /* One write above the marks, and what was sealed. */
    CHECK(pump.most < 2 * sizeof chunk + 140000);
    if (eddy_test_slow() == 1) CHECK(after.ru_maxrss - before.ru_maxrss < 24 * 1024);
    pair_free(&pair);
}

TEST(much_goes_through_to_a_slow_reader_in_bounded_memory, "s10")
{
    if (!certificates()) return;
    const char *size = getenv("EDDY_TEST_TLS_BYTES");
    pump_run(size != NULL ? strtoull(size, NULL, 10) : eddy_test_slow() > 3 ? 4000000u : 64u * 1024 * 1024, 5);
}

TEST(nobody_reads_and_the_sender_is_held_up, "")
{
    if (!certificates()) return;
    struct pair pair;
    pair_default(&pair);
    GOT(drained);
    size_t written = 0;
    memset(chunk, 0, sizeof chunk);
    for (;;) {
        int full = eddy_writer_write(pair.its_writer, chunk, 65536);
        written += 65536;
        CHECK(full >= 0);
        settle(pair.loop);
        if (eddy_writer_get_write_buffer_size(pair.its_writer) > 2 * 65536) break;
        CHECK(written < 64u * 1024 * 1024);
    }
    START(&drained, eddy_writer_drain(pair.its_writer, got_writer, &drained));
    end_pump(pair.loop, 50);
    CHECK_INT(drained.count, 0);
    CHECK(eddy_reader_buffered(pair.reader, NULL) <= 4 * 65536);
    CHECK(strstr(eddy_repr(pair.reader), "paused") != NULL);
    struct pump pump = { .pair = &pair };
    CHECK(eddy_reader_read(pair.reader, 65536, pump_read, &pump) >= 0);
    eddy_writer_close(pair.its_writer);
    RUN_UNTIL(pair.loop, pump.over);
    CHECK_INT(pump.got, written);
    CHECK_INT(drained.count, 1);
    pair_free(&pair);
}

struct ping {
    struct pair *pair;
    int left;
};

static void pong(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)error;
    struct ping *ping = arg;
    if (len == 0) return;
    eddy_writer *writer = reader == ping->pair->reader ? ping->pair->writer : ping->pair->its_writer;
    CHECK_BYTES(bytes, len, "ping\n");
    if (ping->left-- == 0) eddy_writer_close(writer);
    else eddy_writer_write(writer, "ping\n", 5);
    CHECK(eddy_reader_readline(reader, pong, ping) >= 0);
}

TEST(lines_go_to_and_fro, "")
{
    if (!certificates()) return;
    struct pair pair;
    pair_default(&pair);
    struct ping ping = { &pair, 2000 };
    CHECK(eddy_reader_readline(pair.reader, pong, &ping) >= 0);
    CHECK(eddy_reader_readline(pair.its_reader, pong, &ping) >= 0);
    for (int n = 0; n < 16; n++) eddy_writer_write(pair.writer, "ping\n", 5);
    RUN_UNTIL(pair.loop, ping.left < 0);
    pair_free(&pair);
}

/* ---- how it ends ---------------------------------------------------------------------------------------- */

TEST(half_of_a_stream_can_end_and_the_other_goes_on, "L4 s11")
{
    if (!certificates()) return;
    struct pair pair;
    pair_default(&pair);
    GOT(all);
    GOT(answer);
    CHECK(eddy_writer_can_write_eof(pair.writer));
    eddy_writer_write(pair.writer, "question", 8);
    CHECK_INT(eddy_writer_write_eof(pair.writer), 0);
    START(&all, eddy_reader_read(pair.its_reader, EDDY_UNTIL_EOF, got_read, &all));
    RUN_UNTIL(pair.loop, all.count > 0);
    CHECK_INT(all.code, 0);
    CHECK_BYTES(all.bytes, all.len, "question");
    eddy_writer_write(pair.its_writer, "answer", 6);
    eddy_writer_close(pair.its_writer);
    START(&answer, eddy_reader_read(pair.reader, EDDY_UNTIL_EOF, got_read, &answer));
    RUN_UNTIL(pair.loop, answer.count > 0);
    CHECK_INT(answer.code, 0);
    CHECK_BYTES(answer.bytes, answer.len, "answer");
    /* Both have said goodbye: the loop has nothing to wait for. */
    eddy_writer_close(pair.writer);
    eddy_server_close(pair.server);
    uint64_t start = plain_now();
    CHECK_INT(eddy_loop_run(pair.loop), 0);
    CHECK(plain_now() - start < 1500u * (unsigned)eddy_test_slow());
    pair_free(&pair);
}

TEST(a_loop_that_is_freed_says_goodbye, "")
{
    if (!certificates()) return;
    struct pair pair;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    pair_start(&pair, EDDY_OPTIONS(.tls = server));
    eddy_loop *other = eddy_loop_new();
    GOT(opened);
    START(&opened, eddy_open_connection(other, "127.0.0.1", pair.port, EDDY_OPTIONS(.tls = client), got_stream,
                                        &opened));
    RUN_UNTIL(other, (eddy_loop_run_once(pair.loop, 1), opened.count > 0));
    RUN_UNTIL(pair.loop, pair.came.count > 0);
    GOT(all);
    eddy_writer_write(opened.writer, "the end", 7);
    eddy_loop_free(other);
    START(&all, eddy_reader_read(pair.its_reader, EDDY_UNTIL_EOF, got_read, &all));
    RUN_UNTIL(pair.loop, all.count > 0);
    CHECK_STR(all.message, "");
    CHECK_BYTES(all.bytes, all.len, "the end");
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(an_end_without_goodbye_is_an_error_after_what_came, "s01")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    struct relayed r;
    relayed_open(&r, EDDY_OPTIONS(.tls = client));
    GOT(line);
    GOT(rest);
    GOT(over);
    eddy_writer_write(r.pair.its_writer, "all\nhal", 7);
    for (int n = 0; n < 5; n++) relay_both(&r);
    close(r.near), r.near = -1;
    START(&line, eddy_reader_readline(r.pair.reader, got_read, &line));
    RUN_UNTIL(r.pair.loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "all\n");
    START(&rest, eddy_reader_readline(r.pair.reader, got_read, &rest));
    RUN_UNTIL(r.pair.loop, rest.count > 0);
    CHECK_INT(rest.code, EDDY_ETLS); /* half a line is none */
    CHECK_HAS(rest.message, "without a goodbye (close_notify)");
    START(&rest, eddy_reader_read(r.pair.reader, EDDY_UNTIL_EOF, got_read, &rest));
    RUN_UNTIL(r.pair.loop, rest.count > 1);
    CHECK_INT(rest.code, EDDY_ETLS); /* nor is half of everything everything */
    START(&rest, eddy_reader_read(r.pair.reader, 100, got_read, &rest));
    RUN_UNTIL(r.pair.loop, rest.count > 2);
    CHECK_BYTES(rest.bytes, rest.len, "hal"); /* but it is not lost */
    START(&over, eddy_writer_wait_closed(r.pair.writer, got_writer, &over));
    RUN_UNTIL(r.pair.loop, over.count > 0);
    CHECK_INT(over.code, EDDY_ETLS);
    relayed_free(&r);
    eddy_tls_free(client);
}

TEST(what_a_turn_has_written_is_one_record, "")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    struct relayed r;
    relayed_open(&r, EDDY_OPTIONS(.tls = client));
    for (int n = 0; n < 100; n++) CHECK(eddy_writer_write(r.pair.its_writer, "a line\n", 7) >= 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(r.pair.its_writer), 700);
    settle(r.pair.loop);
    unsigned char bytes[4096];
    const ssize_t n = recv(r.far, bytes, sizeof bytes, MSG_DONTWAIT);
    CHECK(n > 700 && n < 700 + 50);
    CHECK_INT(bytes[0], 23); /* application data */
    CHECK_INT(bytes[3] << 8 | bytes[4], n - 5);
    relayed_free(&r);
    eddy_tls_free(client);
}

TEST(a_record_that_was_changed_is_an_error, "")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    struct relayed r;
    relayed_open(&r, EDDY_OPTIONS(.tls = client));
    GOT(got);
    eddy_writer_write(r.pair.its_writer, "pay 10\n", 7);
    char bytes[4096];
    ssize_t n = 0;
    RUN_UNTIL(r.pair.loop, (n = recv(r.far, bytes, sizeof bytes, MSG_DONTWAIT)) > 0);
    bytes[n - 1] ^= 1;
    CHECK_INT(send(r.near, bytes, (size_t)n, 0), n);
    START(&got, eddy_reader_readline(r.pair.reader, got_read, &got));
    RUN_UNTIL(r.pair.loop, got.count > 0);
    CHECK_INT(got.code, EDDY_ETLS);
    CHECK_STR(got.message, "TLS: a record was damaged or forged");
    relayed_free(&r);
    eddy_tls_free(client);
}

TEST(what_came_before_a_record_that_was_changed_is_read, "")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    struct relayed r;
    relayed_open(&r, EDDY_OPTIONS(.tls = client));
    GOT(got);
    char bytes[4096];
    ssize_t first = 0, second = 0;
    eddy_writer_write(r.pair.its_writer, "good line\n", 10);
    RUN_UNTIL(r.pair.loop, (first = recv(r.far, bytes, sizeof bytes, MSG_DONTWAIT)) > 0);
    eddy_writer_write(r.pair.its_writer, "bad line\n", 9);
    RUN_UNTIL(r.pair.loop,
              (second = recv(r.far, bytes + first, sizeof bytes - (size_t)first, MSG_DONTWAIT)) > 0);
    bytes[first + second - 1] ^= 1;
    CHECK_INT(send(r.near, bytes, (size_t)(first + second), 0), first + second); /* at once */
    START(&got, eddy_reader_readline(r.pair.reader, got_read, &got));
    RUN_UNTIL(r.pair.loop, got.count > 0);
    CHECK_BYTES(got.bytes, got.len, "good line\n");
    START(&got, eddy_reader_readline(r.pair.reader, got_read, &got));
    RUN_UNTIL(r.pair.loop, got.count > 1);
    CHECK_STR(got.message, "TLS: a record was damaged or forged");
    relayed_free(&r);
    eddy_tls_free(client);
}

TEST(close_says_goodbye_and_waits_for_the_peers_as_long_as_it_was_told, "L3")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    struct relayed r;
    relayed_open(&r, EDDY_OPTIONS(.tls = client, .tls_shutdown_ms = 300));
    GOT(over);
    eddy_writer_write(r.pair.writer, "last", 4);
    eddy_writer_close(r.pair.writer);
    uint64_t start = plain_now();
    START(&over, eddy_writer_wait_closed(r.pair.writer, got_writer, &over));
    RUN_UNTIL(r.pair.loop, over.count > 0);
    CHECK_INT(over.code, 0);
    CHECK(plain_now() - start < 300); /* told at once, in the background it waits */
    eddy_server_abort_clients(r.pair.server);
    eddy_server_close(r.pair.server);
    CHECK_INT(eddy_loop_run(r.pair.loop), 0);
    CHECK(plain_now() - start >= 300);
    char bytes[4096];
    ssize_t n = recv(r.near, bytes, sizeof bytes, MSG_DONTWAIT);
    CHECK(n > 40); /* the data, and an alert of its own record */
    relayed_free(&r);
    eddy_tls_free(client);
}

static int released_pieces;

static void released_piece(void *arg)
{
    (void)arg;
    released_pieces++;
}

TEST(the_goodbye_follows_also_when_the_last_piece_took_the_last_send, "")
{
    if (!certificates()) return;
    for (int pieces = 14; pieces <= 17; pieces++) { /* each is a send; 16 are a stream's share */
        struct pair pair;
        pair_default(&pair);
        GOT(all);
        released_pieces = 0;
        for (int n = 1; n < pieces; n++)
            CHECK(eddy_writer_write_static(pair.its_writer, chunk, 4096, released_piece, NULL) >= 0);
        CHECK(eddy_writer_write(pair.its_writer, chunk, 100) >= 0);
        eddy_writer_close(pair.its_writer);
        START(&all, eddy_reader_read(pair.reader, EDDY_UNTIL_EOF, got_read, &all));
        RUN_UNTIL(pair.loop, all.count > 0 && released_pieces == pieces - 1);
        CHECK_STR(all.message, "");
        CHECK_INT(all.len, (pieces - 1) * 4096 + 100);
        pair_free(&pair);
    }
}

TEST(what_comes_after_our_goodbye_and_is_no_record_makes_nobody_busy, "")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    struct relayed r;
    relayed_open(&r, EDDY_OPTIONS(.tls = client, .tls_shutdown_ms = EDDY_NEVER));
    GOT(over);
    eddy_writer_close(r.pair.writer);
    START(&over, eddy_writer_wait_closed(r.pair.writer, got_writer, &over));
    RUN_UNTIL(r.pair.loop, over.count > 0);
    CHECK_INT(send(r.near, "\x15\x03\x03\x00\x02\x02\x28", 7, 0), 7);
    end_pump(r.pair.loop, 5);
    check_rest(r.pair.loop);
    relayed_free(&r);
    eddy_tls_free(client);
}

TEST(above_the_high_mark_every_write_says_so, "")
{
    if (!certificates()) return;
    eddy_tls *client = client_of("authority.pem");
    struct relayed r;
    relayed_open(&r, EDDY_OPTIONS(.tls = client));
    eddy_writer *writer = r.pair.writer;
    for (int n = 0; n < 2000 && eddy_writer_get_write_buffer_size(writer) < 20000; n++) {
        eddy_writer_write(writer, chunk, 50000); /* nobody takes it from the relay: some is sealed then */
        settle(r.pair.loop);
    }
    for (int n = 0; n < 9000; n++) {
        const int full = eddy_writer_write(writer, chunk, 10);
        CHECK_INT(full, eddy_writer_get_write_buffer_size(writer) > 65536);
    }
    relayed_free(&r);
    eddy_tls_free(client);
}

TEST(a_write_and_a_close_at_once_lose_nothing_to_unread_tickets, "s12")
{
    if (!certificates()) return;
    struct pair pair;
    pair_default(&pair);
    for (size_t n = 0; n < sizeof chunk; n++) chunk[n] = (char)(n * 31 + n / 251);
    /* The client never reads, and the server's tickets lie in its socket. */
    struct pair turned = pair;
    turned.reader = pair.its_reader;
    struct pump pump = { .pair = &turned };
    for (int n = 0; n < 5; n++) CHECK(eddy_writer_write(pair.writer, chunk, sizeof chunk) >= 0);
    eddy_writer_free(pair.writer);
    CHECK(eddy_reader_read(pair.its_reader, 65536, pump_read, &pump) >= 0);
    RUN_UNTIL(pair.loop, pump.over);
    CHECK_INT(pump.code, 0);
    CHECK_INT(pump.got, 5 * sizeof chunk);
    pair_free(&pair);
}

TEST(a_peer_that_resets_while_we_write_raises_no_signal, "s06")
{
    if (!certificates()) return;
    signal(SIGPIPE, SIG_DFL);
    eddy_tls *client = client_of("authority.pem");
    struct relayed r;
    relayed_open(&r, EDDY_OPTIONS(.tls = client));
    GOT(over);
    plain_reset(r.near), r.near = -1;
    for (int n = 0; n < 20; n++) {
        eddy_writer_write(r.pair.writer, chunk, 100000);
        CHECK(eddy_loop_run_once(r.pair.loop, 1) >= 0);
    }
    START(&over, eddy_writer_wait_closed(r.pair.writer, got_writer, &over));
    RUN_UNTIL(r.pair.loop, over.count > 0);
    CHECK_INT(over.code, EDDY_ELOST);
    relayed_free(&r);
    eddy_tls_free(client);
}

/* ---- from clear to encrypted ---------------------------------------------------------------------------- */

/* Two ends in clear, over a pair of sockets. */
static void clear_open(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    pair->loop = eddy_loop_new();
    eddy_loop_set_exception_handler(pair->loop, got_report, &pair->reports);
    int ends[2];
    plain_unix_pair(ends);
    CHECK(eddy_open_socket(pair->loop, ends[0], NULL, got_stream, &pair->opened) >= 0);
    CHECK(eddy_open_socket(pair->loop, ends[1], NULL, came, pair) >= 0);
    RUN_UNTIL(pair->loop, pair->opened.count > 0 && pair->came.count > 0);
    pair->reader = pair->opened.reader;
    pair->writer = pair->opened.writer;
}

TEST(a_stream_becomes_encrypted_and_stays_the_same, "L6 K6")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    struct pair pair;
    clear_open(&pair);
    GOT(greeting);
    GOT(near);
    GOT(far);
    GOT(line);
    CHECK(info(pair.writer, "cipher") == NULL);
    eddy_writer_write(pair.its_writer, "go ahead\n", 9);
    START(&greeting, eddy_reader_readline(pair.reader, got_read, &greeting));
    RUN_UNTIL(pair.loop, greeting.count > 0);
    /* What is gathered goes out in clear, what follows does not. */
    eddy_writer_write(pair.its_writer, "clear\n", 6);
    START(&far, eddy_writer_start_tls(pair.its_writer, EDDY_OPTIONS(.tls = server), got_writer, &far));
    eddy_writer_write(pair.its_writer, "secret\n", 7);
    START(&greeting, eddy_reader_readline(pair.reader, got_read, &greeting));
    RUN_UNTIL(pair.loop, greeting.count > 1);
    CHECK_BYTES(greeting.bytes, greeting.len, "clear\n");
    START(&near, eddy_writer_start_tls(pair.writer, EDDY_OPTIONS(.tls = client, .server_hostname = "localhost"),
                                       got_writer, &near));
    START(&line, eddy_reader_readline(pair.reader, got_read, &line));
    RUN_UNTIL(pair.loop, near.count > 0 && far.count > 0 && line.count > 0);
    CHECK_STR(near.message, "");
    CHECK_STR(far.message, "");
    CHECK(near.writer == pair.writer);
    CHECK_BYTES(line.bytes, line.len, "secret\n");
    CHECK_STR(info(pair.writer, "version"), "TLSv1.3");
    CHECK_INT(eddy_writer_start_tls(pair.writer, EDDY_OPTIONS(.tls = client, .server_hostname = "localhost"),
                                    got_writer, &near), EDDY_ESTATE);
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(what_came_in_clear_is_never_taken_for_what_was_encrypted, "L8 s07")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    struct end end = end_tcp(NULL);
    GOT(command);
    GOT(upgraded);
    GOT(read);
    CHECK_INT(send(end.peer, "STARTTLS\r\nINJECTED\r\n", 20, 0), 20);
    START(&command, eddy_reader_readline(end.reader, got_read, &command));
    RUN_UNTIL(end.loop, command.count > 0);
    CHECK_INT(eddy_writer_start_tls(end.writer, EDDY_OPTIONS(.tls = server), got_writer, &upgraded), EDDY_ESTATE);
    CHECK_INT(eddy_writer_start_tls(end.writer, EDDY_OPTIONS(.limit = 5), got_writer, &upgraded), EDDY_EINVAL);
    CHECK_INT(eddy_writer_start_tls(end.writer, EDDY_OPTIONS(.tls = client), got_writer, &upgraded), EDDY_EINVAL);
    CHECK_INT(eddy_writer_start_tls(end.writer, EDDY_OPTIONS(.tls = server, .local_port = 1), got_writer, &upgraded),
              EDDY_EINVAL);
    CHECK_INT(eddy_reader_buffered(end.reader, NULL), 10); /* nothing was lost */
    /* Handed to the engine, it is no handshake. */
    START(&upgraded, eddy_writer_start_tls(end.writer, EDDY_OPTIONS(.tls = server, .tls_takes_buffered = 1),
                                           got_writer, &upgraded));
    START(&read, eddy_reader_readline(end.reader, got_read, &read));
    RUN_UNTIL(end.loop, upgraded.count > 0 && read.count > 0);
    CHECK_INT(upgraded.code, EDDY_ETLS);
    CHECK_HAS(upgraded.message, "no TLS handshake");
    CHECK_INT(read.code, EDDY_ETLS);
    end_free(&end);

    /* The same when it comes in a segment of its own. */
    end = end_tcp(NULL);
    GOT(later);
    CHECK_INT(send(end.peer, "STARTTLS\r\n", 10, 0), 10);
    START(&command, eddy_reader_readline(end.reader, got_read, &command));
    RUN_UNTIL(end.loop, command.count > 1);
    CHECK_INT(send(end.peer, "INJECTED\r\n", 10, 0), 10);
    START(&later, eddy_writer_start_tls(end.writer, EDDY_OPTIONS(.tls = server), got_writer, &later));
    RUN_UNTIL(end.loop, later.count > 0);
    CHECK_INT(later.code, EDDY_ETLS);
    end_free(&end);
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(a_handshake_that_came_with_the_command_can_be_handed_over, "L8")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    struct pair pair;
    clear_open(&pair);
    GOT(command);
    GOT(near);
    GOT(far);
    /* The client does not wait for an answer. */
    eddy_writer_write(pair.writer, "STARTTLS\n", 9);
    START(&near, eddy_writer_start_tls(pair.writer, EDDY_OPTIONS(.tls = client, .server_hostname = "localhost"),
                                       got_writer, &near));
    end_pump(pair.loop, 20);
    START(&command, eddy_reader_readline(pair.its_reader, got_read, &command));
    RUN_UNTIL(pair.loop, command.count > 0);
    RUN_UNTIL(pair.loop, eddy_reader_buffered(pair.its_reader, NULL) > 100);
    CHECK_INT(eddy_writer_start_tls(pair.its_writer, EDDY_OPTIONS(.tls = server), got_writer, &far), EDDY_ESTATE);
    START(&far, eddy_writer_start_tls(pair.its_writer, EDDY_OPTIONS(.tls = server, .tls_takes_buffered = 1),
                                      got_writer, &far));
    RUN_UNTIL(pair.loop, near.count > 0 && far.count > 0);
    CHECK_STR(near.message, "");
    CHECK_STR(far.message, "");
    pair_free(&pair);
    eddy_tls_free(server), eddy_tls_free(client);
}

TEST(start_tls_is_cancelled_freed_timed_out_and_refused, "L7 d01")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server");
    GOT(got);
    for (int how = 0; how < 6; how++) {
        int before = got.count;
        struct end end = end_tcp(NULL);
        eddy_op op = START(&got, eddy_writer_start_tls(
            end.writer, EDDY_OPTIONS(.tls = server, .timeout_ms = how == 3 ? 50 : 0), got_writer, &got));
        settle(end.loop);
        if (how == 0) CHECK_INT(eddy_loop_cancel(end.loop, op), 0);
        if (how == 1) eddy_writer_free(end.writer);
        if (how == 2) eddy_writer_close(end.writer);
        if (how == 4) end_close_peer(&end);
        if (how == 5) end_reset_peer(&end);
        int codes[] = { EDDY_ECANCELED, EDDY_ECANCELED, EDDY_ELOST, EDDY_ETIMEDOUT, EDDY_ETLS, EDDY_ELOST };
        RUN_UNTIL(end.loop, got.count > before);
        if (got.code != codes[how]) FAIL("%d: %d, %s", how, got.code, got.message);
        CHECK_INT(eddy_loop_cancel(end.loop, op), EDDY_ESTALE);
        if (how != 1) {
            GOT(over);
            START(&over, eddy_writer_wait_closed(end.writer, got_writer, &over));
            RUN_UNTIL(end.loop, over.count > 0);
            CHECK_INT(eddy_writer_start_tls(end.writer, EDDY_OPTIONS(.tls = server), got_writer, &got), EDDY_ESTATE);
        }
        end_free(&end);
        CHECK_INT(got.count, before + 1);
    }
    struct end end = end_tcp(NULL);
    int before = got.count;
    START(&got, eddy_writer_start_tls(end.writer, EDDY_OPTIONS(.tls = server), got_writer, &got));
    end_free(&end);
    CHECK_INT(got.count, before + 1);
    CHECK_INT(got.code, EDDY_ECANCELED);
    eddy_tls_free(server);
}

TEST(a_close_in_the_handshake_sends_what_was_written_before_it, "L7")
{
    if (!certificates()) return;
    eddy_tls *server = server_of("server");
    struct end end = end_tcp(NULL);
    GOT(started);
    GOT(over);
    CHECK(eddy_writer_write(end.writer, "220 go ahead\r\n", 14) >= 0);
    START(&started, eddy_writer_start_tls(end.writer, EDDY_OPTIONS(.tls = server), got_writer, &started));
    CHECK(eddy_writer_write(end.writer, "a secret\r\n", 10) >= 0);
    eddy_writer_close(end.writer);
    START(&over, eddy_writer_wait_closed(end.writer, got_writer, &over));
    RUN_UNTIL(end.loop, over.count > 0 && started.count > 0);
    CHECK_INT(over.code, 0);
    CHECK_INT(started.code, EDDY_ELOST);
    char bytes[64];
    CHECK_INT(recv(end.peer, bytes, sizeof bytes, 0), 14);
    CHECK(memcmp(bytes, "220 go ahead\r\n", 14) == 0);
    CHECK_INT(recv(end.peer, bytes, sizeof bytes, 0), 0);
    close(end.peer);
    end.peer = -1;
    CHECK_INT(eddy_loop_run(end.loop), 0);
    end_free(&end);
    eddy_tls_free(server);
}
