/* What a peer, and the kernel between, may do to a stream, and its owner from within callbacks: lines of hostile.txt
 * that the tests of the nouns do not show. */
#include "ends.h"

#include <sys/syscall.h>

/* These stand before the C library's own, also for libeddy: the kernel gives a few bytes at a time. */
static struct {
    int fd, calls;
    size_t most; /* of one call; 0: no bound */
} sips = { .fd = -1 };

static size_t sip(int fd, size_t len)
{
    if (fd != sips.fd || sips.most == 0 || len <= sips.most) return len;
    sips.calls++;
    return sips.most;
}

ssize_t recvfrom(int fd, void *bytes, size_t len, int flags, __SOCKADDR_ARG address, socklen_t *size)
{
    return syscall(SYS_recvfrom, fd, bytes, sip(fd, len), flags, address.__sockaddr__, size);
}

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
    return syscall(SYS_recvfrom, fd, bytes, sip(fd, len), flags, NULL, NULL);
}

ssize_t read(int fd, void *bytes, size_t len)
{
    return syscall(SYS_read, fd, bytes, sip(fd, len));
}

/* ---- bytes ----------------------------------------------------------------------------------------------- */

static void check_cuts(struct end end, size_t most)
{
    GOT(line);
    GOT(part);
    GOT(rest);
    sips.fd = end.fd;
    sips.calls = 0;
    sips.most = most;
    plain_send_text(end.peer, "a line\nand aabaaab until\r\r\n\r\nexactly 7");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count == 1);
    CHECK_GOT(line, 1, "a line\n");
    START(&part, eddy_reader_readuntil(end.reader, "aaab", 4, got_read, &part));
    RUN_UNTIL(end.loop, part.count == 1);
    CHECK_GOT(part, 1, "and aabaaab");
    START(&part, eddy_reader_readuntil(end.reader, "\r\n\r\n", 4, got_read, &part));
    RUN_UNTIL(end.loop, part.count == 2);
    CHECK_GOT(part, 2, " until\r\r\n\r\n");
    START(&part, eddy_reader_readexactly(end.reader, 7, got_read, &part));
    RUN_UNTIL(end.loop, part.count == 3);
    CHECK_GOT(part, 3, "exactly");
    shutdown(end.peer, SHUT_WR);
    START(&rest, eddy_reader_read(end.reader, EDDY_UNTIL_EOF, got_read, &rest));
    RUN_UNTIL(end.loop, rest.count == 1);
    CHECK_GOT(rest, 1, " 7");
    CHECK(sips.calls >= 3);
    sips.fd = -1;
    end_free(&end);
}

/* A read that gives less than was asked for says, on a socket of TCP's, that nothing is left: it is enough that the
 * kernel says so once too often, and a stream stands still. So over TCP the rest is sent bit by bit. */
static void check_drops(struct end end, size_t most)
{
    static const char text[] = "one\r\n\r\ntwo\r\r\n\r\n";
    GOT(part);
    START(&part, eddy_reader_readuntil(end.reader, "\r\n\r\n", 4, got_read, &part));
    for (size_t at = 0; at < sizeof text - 1; at += most) {
        plain_send(end.peer, text + at, at + most < sizeof text - 1 ? most : sizeof text - 1 - at);
        settle(end.loop);
    }
    RUN_UNTIL(end.loop, part.count == 1);
    CHECK_GOT(part, 1, "one\r\n\r\n");
    START(&part, eddy_reader_readuntil(end.reader, "\r\n\r\n", 4, got_read, &part));
    RUN_UNTIL(end.loop, part.count == 2);
    CHECK_GOT(part, 2, "two\r\r\n\r\n");
    end_free(&end);
}

TEST(a_few_bytes_at_a_time_are_put_together, "n12 p04")
{
    for (size_t most = 1; most <= 3; most++) {
        check_cuts(end_unix(NULL), most);
        check_drops(end_tcp(NULL), most);
    }
}

/* A line of so many bytes, each of which comes by itself: processor time in milliseconds. */
static uint64_t line_byte_by_byte(size_t len)
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = eddy_reader_new(loop, len);
    GOT(line);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    uint64_t begun = plain_cpu();
    for (size_t i = 0; i < len; i++) {
        CHECK_INT(eddy_reader_feed_data(reader, i < len - 1 ? "a" : "\n", 1), 0);
        CHECK(eddy_loop_run_once(loop, 0) >= 0);
    }
    settle(loop);
    uint64_t took = plain_cpu() - begun;
    CHECK_INT(line.count, 1);
    CHECK_INT(line.code, 0);
    CHECK_INT(line.len, len);
    eddy_loop_free(loop);
    return took;
}

TEST(a_long_line_byte_by_byte_takes_time_by_its_length, "p03")
{
    const size_t len = eddy_test_slow() > 1 ? 100000 : 1 << 20;
    /* To search all of it again with each byte would be 512 GiB. */
    CHECK(line_byte_by_byte(len) < 4000 * (uint64_t)eddy_test_slow());
}

TEST(bytes_that_are_no_text_come_unchanged, "p12")
{
    char all[512];
    int error;
    for (size_t i = 0; i < sizeof all; i++) all[i] = (char)(255 - i);
    struct end end = end_tcp(NULL);
    GOT(bytes);
    GOT(line);
    plain_send(end.peer, all, sizeof all);
    START(&bytes, eddy_reader_readexactly(end.reader, sizeof all, got_read, &bytes));
    RUN_UNTIL(end.loop, bytes.count > 0);
    CHECK_INT(bytes.len, sizeof all);
    CHECK(memcmp(bytes.bytes, all, sizeof all) == 0);
    plain_send(end.peer, "\0\xff\xfe\0\n\0\0\xc3", 8);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_GOT(line, 1, "\0\xff\xfe\0\n");
    START(&line, eddy_reader_readuntil(end.reader, "\0\xc3", 2, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 1);
    CHECK_GOT(line, 2, "\0\0\xc3");
    CHECK(eddy_writer_write(end.writer, all, sizeof all) >= 0);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    settle(end.loop);
    char back[sizeof all + 1];
    CHECK_INT(plain_recv(end.peer, back, sizeof back), sizeof all);
    CHECK(memcmp(back, all, sizeof all) == 0);
    CHECK_INT(plain_recv_pattern(end.peer, &error), 0);
    end_free(&end);
}

/* ---- ends ------------------------------------------------------------------------------------------------ */

/* All of it goes out with the end, as one packet if the kernel likes. */
static void send_with_end(int fd, const char *text)
{
    plain_set(fd, IPPROTO_TCP, TCP_CORK, 1, "TCP_CORK");
    plain_send_text(fd, text);
    shutdown(fd, SHUT_WR);
}

static void check_data_then_end(eddy_loop *loop, eddy_reader *reader)
{
    GOT(line);
    for (int i = 1; i <= 4; i++) {
        START(&line, eddy_reader_readline(reader, got_read, &line));
        RUN_UNTIL(loop, line.count == i);
        if (i == 1) CHECK_GOT(line, 1, "first\n");
        else if (i == 2) CHECK_GOT(line, 2, "last");
        else CHECK_GOT(line, i, ""); /* the end, again and again */
    }
    CHECK(eddy_reader_at_eof(reader));
}

TEST(data_and_the_end_in_one_packet_come_one_after_the_other, "p13")
{
    struct end end = end_tcp(NULL);
    send_with_end(end.peer, "first\nlast");
    check_data_then_end(end.loop, end.reader);
    end_free(&end);
    end = end_tcp(NULL); /* and with a read that waits */
    GOT(all);
    START(&all, eddy_reader_read(end.reader, EDDY_UNTIL_EOF, got_read, &all));
    settle(end.loop);
    send_with_end(end.peer, "first\nlast");
    RUN_UNTIL(end.loop, all.count > 0);
    CHECK_GOT(all, 1, "first\nlast");
    end_free(&end);
}

TEST(what_came_before_anybody_read_is_not_lost, "p14")
{
    for (int before_accept = 0; before_accept < 2; before_accept++) {
        eddy_loop *loop = eddy_loop_new();
        GOT(started);
        GOT(client);
        START(&started, eddy_start_server(loop, got_stream, "127.0.0.1", 0, NULL, got_server, &client));
        RUN_UNTIL(loop, client.count == 1);
        eddy_server *server = client.server;
        int peer = plain_connect(plain_port((int)eddy_server_socket(server, 0)));
        if (before_accept) send_with_end(peer, "first\nlast"); /* the loop has not looked since */
        RUN_UNTIL(loop, client.count == 2);
        if (!before_accept) send_with_end(peer, "first\nlast");
        end_pump(loop, 50); /* the edge is long past */
        check_data_then_end(loop, client.reader);
        close(peer);
        eddy_loop_free(loop);
    }
}

TEST(a_peer_that_resets_while_we_close_ends_it, "d03")
{
    struct end end = end_tcp(NULL);
    GOT(closed);
    char *bytes = plain_fill(4000000);
    end_narrow(&end, 65536);
    CHECK_INT(eddy_writer_write(end.writer, bytes, 4000000), 1);
    free(bytes);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    end_pump(end.loop, 10);
    CHECK_INT(closed.count, 0);
    end_reset_peer(&end);
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK(!plain_is_open(end.fd));
    end_free(&end);
    CHECK_INT(closed.count, 1);
}

/* ---- a backlog that is too small ------------------------------------------------------------------------- */

struct knock {
    const char *path;
    int visits, served;
};

static void *knock(void *arg)
{
    struct knock *knock = arg;
    for (int i = 0; i < knock->visits; i++) {
        char byte;
        int fd = plain_unix_connect(knock->path); /* waits for a place */
        if (recv(fd, &byte, 1, 0) == 1) knock->served++;
        close(fd);
    }
    return NULL;
}

static void greet(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader;
    CHECK(error == NULL);
    CHECK(eddy_writer_write(writer, "x", 1) >= 0);
    eddy_writer_free(writer);
    ++*(int *)arg;
}

static void greeter_started(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)arg;
    CHECK(error == NULL);
    CHECK(server != NULL);
}

TEST(more_clients_than_the_backlog_holds_are_all_served, "r15")
{
    enum { THREADS = 10 };
    const int visits = eddy_test_slow() > 1 ? 10 : 50;
    char path[64];
    eddy_loop *loop = eddy_loop_new();
    int served = 0;
    snprintf(path, sizeof path, "@eddy-test-backlog-%d", (int)getpid());
    CHECK(eddy_start_unix_server(loop, greet, path, EDDY_OPTIONS(.backlog = 1), greeter_started, &served) >= 0);
    settle(loop);
    struct knock knocks[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        knocks[i] = (struct knock){ .path = path, .visits = visits };
        threads[i] = plain_start(knock, &knocks[i]);
    }
    usleep(5000); /* until it is full */
    PUMP_UNTIL(loop, served == THREADS * visits);
    settle(loop);
    for (int i = 0; i < THREADS; i++) {
        plain_join(threads[i]);
        CHECK_INT(knocks[i].served, visits);
    }
    CHECK_INT(served, THREADS * visits);
    eddy_loop_free(loop);
}

/* ---- from within callbacks ------------------------------------------------------------------------------- */

static void close_within(struct got *got, void *data)
{
    (void)got;
    CHECK_INT(eddy_writer_close(data), 0);
}

TEST(a_read_that_closes_its_stream_is_the_last_one, "e01")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    GOT(closed);
    line.then = close_within;
    line.data = end.writer;
    plain_send_text(end.peer, "one\ntwo\nthree\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_GOT(line, 1, "one\n");
    CHECK_INT(closed.code, 0);
    CHECK(line.order < closed.order);
    plain_send_text(end.peer, "four\n"); /* to nobody */
    settle(end.loop);
    CHECK_INT(line.count, 1);
    CHECK_INT(closed.count, 1);
    end_free(&end);
}

TEST(what_is_cancelled_while_its_stream_closes_ends_once, "a25")
{
    for (int freed = 0; freed < 2; freed++) {
        struct end end = end_tcp(NULL);
        GOT(line);
        GOT(drained);
        GOT(closed);
        char *bytes = plain_fill(4000000);
        end_narrow(&end, 65536);
        CHECK_INT(eddy_writer_write(end.writer, bytes, 4000000), 1);
        free(bytes);
        eddy_op read = START(&line, eddy_reader_readline(end.reader, got_read, &line));
        eddy_op drain = START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
        eddy_op wait = START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        if (freed) eddy_writer_free(end.writer);
        else CHECK_INT(eddy_writer_close(end.writer), 0);
        eddy_op ops[] = { read, drain, wait };
        for (int i = 0; i < 3; i++) {
            int code = eddy_loop_cancel(end.loop, ops[i]);
            CHECK(code == 0 || code == EDDY_ESTALE || code == EDDY_ESTATE);
        }
        CHECK_INT(line.count + drained.count + closed.count, 0);
        RUN_UNTIL(end.loop, line.count > 0 && drained.count > 0 && closed.count > 0);
        for (int i = 0; i < 3; i++) CHECK(eddy_loop_cancel(end.loop, ops[i]) < 0);
        end_free(&end);
        CHECK_INT(line.count, 1);
        CHECK_INT(drained.count, 1);
        CHECK_INT(closed.count, 1);
    }
}

struct chain {
    int left;
    const char *lowest, *highest; /* of the stack */
    bool over;
};

static void write_next(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct chain *chain = arg;
    const char *frame = __builtin_frame_address(0);
    CHECK(error == NULL);
    if (chain->lowest == NULL || frame < chain->lowest) chain->lowest = frame;
    if (chain->highest == NULL || frame > chain->highest) chain->highest = frame;
    chain->over = --chain->left == 0;
    if (chain->over) return;
    CHECK_INT(eddy_writer_write(writer, "x", 1), 0);
    CHECK(eddy_writer_drain(writer, write_next, chain) >= 0);
}

static void *write_on_and_on(void *arg)
{
    struct chain *chain = arg;
    struct end end = end_unix(NULL);
    static char bytes[65536];
    write_next(end.writer, NULL, chain);
    while (!chain->over) {
        CHECK(eddy_loop_run_once(end.loop, 1) >= 0);
        while (plain_look(end.peer, bytes, sizeof bytes) > 0) continue;
    }
    end_free(&end);
    return NULL;
}

TEST(a_million_writes_each_from_the_callback_of_the_last, "e05")
{
    struct chain chain = { .left = 1000000 / (eddy_test_slow() > 1 ? 100 : 1) };
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    CHECK_INT(pthread_attr_setstacksize(&attributes, 256 * 1024), 0);
    CHECK_INT(pthread_create(&thread, &attributes, write_on_and_on, &chain), 0);
    pthread_attr_destroy(&attributes);
    plain_join(thread);
    CHECK_INT(chain.left, 0);
    CHECK(chain.highest - chain.lowest < 16 * 1024);
}

struct pulse {
    eddy_loop *loop;
    int beats;
    bool stop;
};

static void beat(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct pulse *pulse = arg;
    if (error != NULL) return;
    pulse->beats++;
    if (!pulse->stop) CHECK(eddy_loop_call_later(loop, 0, beat, pulse) >= 0);
}

TEST(a_timer_of_no_time_that_sets_itself_again_does_not_starve_sockets, "e07 m01")
{
    struct end end = end_tcp(NULL);
    struct pulse pulse = { .loop = end.loop };
    GOT(line);
    GOT(timer);
    CHECK(eddy_loop_call_later(end.loop, 0, beat, &pulse) >= 0);
    START(&timer, eddy_loop_call_later(end.loop, 20, got_loop, &timer));
    for (int i = 1; i <= 20; i++) {
        int beats = pulse.beats;
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        plain_send_text(end.peer, "ping\n");
        RUN_UNTIL(end.loop, line.count == i);
        CHECK_BYTES(line.bytes, line.len, "ping\n");
        CHECK(pulse.beats > beats); /* nor does the socket starve it */
    }
    RUN_UNTIL(end.loop, timer.count > 0);
    pulse.stop = true;
    CHECK(eddy_loop_run_once(end.loop, 0) >= 0);
    end_free(&end);
}
