/* Peers that send more than we want, and how little of it is kept. */
#include "ends.h"

#include <stdatomic.h>

enum { KIB = 1024, LIMIT = 1000 };

static bool is_reading(const struct end *end)
{
    return eddy_transport_is_reading(eddy_writer_transport(end->writer));
}

static size_t buffered(const struct end *end)
{
    return eddy_reader_buffered(end->reader, NULL);
}

static void send_pattern(int fd, size_t from, size_t len)
{
    char bytes[4096];
    CHECK(len <= sizeof bytes);
    for (size_t i = 0; i < len; i++) bytes[i] = plain_pattern(from + i);
    plain_send(fd, bytes, len);
}

static void read_some(struct end *end, size_t n, size_t from)
{
    GOT(some);
    START(&some, eddy_reader_readexactly(end->reader, n, got_read, &some));
    RUN_UNTIL(end->loop, some.count > 0);
    CHECK_INT(some.code, 0);
    plain_check_pattern(some.bytes, some.len, from);
}

/* A reader that was filled until it paused its connection: two limits and a byte. */
static struct end full_end(void)
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = LIMIT));
    send_pattern(end.peer, 0, 2 * LIMIT + 1);
    PUMP_UNTIL(end.loop, buffered(&end) == 2 * LIMIT + 1);
    CHECK(!is_reading(&end));
    return end;
}

/* ---- when it pauses, and when it resumes --------------------------------------------------------------- */

TEST(reading_pauses_above_twice_the_limit, "R80")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = LIMIT));
    send_pattern(end.peer, 0, 2 * LIMIT);
    PUMP_UNTIL(end.loop, buffered(&end) == 2 * LIMIT);
    settle(end.loop);
    CHECK(is_reading(&end));
    send_pattern(end.peer, 2 * LIMIT, 1);
    PUMP_UNTIL(end.loop, buffered(&end) == 2 * LIMIT + 1);
    CHECK(!is_reading(&end));
    send_pattern(end.peer, 2 * LIMIT + 1, 500);
    end_pump(end.loop, 30);
    CHECK_INT(buffered(&end), 2 * LIMIT + 1); /* the rest stays with the kernel */
    end_free(&end);
}

TEST(reading_resumes_at_the_limit, "R81")
{
    struct end end = full_end();
    send_pattern(end.peer, 2 * LIMIT + 1, 500);
    read_some(&end, LIMIT, 0); /* leaves one more than the limit */
    settle(end.loop);
    CHECK(!is_reading(&end));
    end_pump(end.loop, 20);
    CHECK_INT(buffered(&end), LIMIT + 1);
    read_some(&end, 1, LIMIT);
    CHECK(is_reading(&end));
    PUMP_UNTIL(end.loop, buffered(&end) == LIMIT + 500); /* without a new packet from the peer */
    read_some(&end, LIMIT + 500, LIMIT + 1);
    end_free(&end);
}

TEST(a_read_that_waits_resumes_by_itself, "R82 R32")
{
    struct end end = full_end();
    GOT(bytes);
    size_t want = 10 * LIMIT;
    START(&bytes, eddy_reader_readexactly(end.reader, want, got_read, &bytes));
    for (size_t sent = 2 * LIMIT + 1; sent < want; sent += 1000) {
        CHECK_INT(bytes.count, 0);
        send_pattern(end.peer, sent, 1000);
        CHECK(eddy_loop_run_once(end.loop, 0) >= 0);
    }
    RUN_UNTIL(end.loop, bytes.count > 0);
    CHECK_INT(bytes.code, 0);
    CHECK_INT(bytes.len, want);
    plain_check_pattern(bytes.bytes, bytes.len, 0);
    end_free(&end);
}

TEST(what_is_fed_by_hand_is_taken_though_it_is_too_much, "R83")
{
    static const char block[LIMIT];
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = eddy_reader_new(loop, LIMIT);
    GOT(bytes);
    for (int i = 0; i < 5; i++) CHECK_INT(eddy_reader_feed_data(reader, block, sizeof block), 0);
    CHECK_INT(eddy_reader_buffered(reader, NULL), 5 * LIMIT);
    START(&bytes, eddy_reader_readexactly(reader, 5 * LIMIT, got_read, &bytes));
    RUN_UNTIL(loop, bytes.count > 0);
    CHECK_INT(bytes.len, 5 * LIMIT);
    eddy_loop_free(loop);
}

TEST(while_paused_the_peers_end_is_not_noticed, "R85")
{
    for (int reset = 0; reset < 2; reset++) {
        struct end end = full_end();
        GOT(closed);
        GOT(line);
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        if (reset == 0) end_close_peer(&end);
        if (reset == 1) end_reset_peer(&end);
        uint64_t cpu = plain_cpu();
        end_pump(end.loop, 150);
        CHECK(plain_cpu() - cpu < 100); /* and nothing spins meanwhile */
        CHECK(!eddy_reader_at_eof(end.reader));
        CHECK_INT(closed.count, 0);
        CHECK(!eddy_writer_is_closing(end.writer));
        CHECK_INT(buffered(&end), 2 * LIMIT + 1);
        read_some(&end, 2 * LIMIT + 1, 0);
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        RUN_UNTIL(end.loop, line.count > 0);
        CHECK_INT(line.code, reset == 1 ? EDDY_ELOST : 0);
        CHECK_INT(line.len, 0);
        if (reset == 1) RUN_UNTIL(end.loop, closed.count > 0);
        end_free(&end);
        CHECK_INT(closed.count, 1);
    }
}

TEST(pausing_by_hand_may_be_said_twice, "R86")
{
    struct end end = end_tcp(NULL);
    eddy_transport *transport = eddy_writer_transport(end.writer);
    CHECK(is_reading(&end));
    CHECK_INT(eddy_transport_resume_reading(transport), 0); /* it does already */
    CHECK_INT(eddy_transport_pause_reading(transport), 0);
    CHECK_INT(eddy_transport_pause_reading(transport), 0);
    CHECK(!is_reading(&end));
    send_pattern(end.peer, 0, 10);
    end_pump(end.loop, 30);
    CHECK_INT(buffered(&end), 0);
    CHECK_INT(eddy_transport_resume_reading(transport), 0);
    CHECK_INT(eddy_transport_resume_reading(transport), 0);
    CHECK(is_reading(&end));
    PUMP_UNTIL(end.loop, buffered(&end) == 10);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(eddy_transport_pause_reading(transport), 0); /* nothing to pause any more */
    CHECK_INT(eddy_transport_resume_reading(transport), 0);
    CHECK(!is_reading(&end));
    end_free(&end);
}

static void pause_at_once(struct got *opened, void *data)
{
    (void)data;
    CHECK_INT(eddy_transport_pause_reading(eddy_writer_transport(opened->writer)), 0);
}

TEST(a_pause_in_the_first_callback_holds, "R87")
{
    eddy_loop *loop = eddy_loop_new();
    int ends[2];
    GOT(opened);
    opened.then = pause_at_once;
    plain_unix_pair(ends);
    send_pattern(ends[1], 0, 10); /* lies there already */
    START(&opened, eddy_open_socket(loop, ends[0], NULL, got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    end_pump(loop, 30);
    CHECK_INT(eddy_reader_buffered(opened.reader, NULL), 0);
    CHECK_INT(eddy_transport_resume_reading(eddy_writer_transport(opened.writer)), 0);
    PUMP_UNTIL(loop, eddy_reader_buffered(opened.reader, NULL) == 10);
    close(ends[1]);
    eddy_loop_free(loop);
}

static void pause_in_read(struct got *got, void *data)
{
    struct end *end = data;
    (void)got;
    CHECK_INT(eddy_transport_pause_reading(eddy_writer_transport(end->writer)), 0);
}

TEST(a_pause_in_a_reads_callback_counts_at_once, "R88")
{
    struct end end = end_tcp(NULL);
    GOT(byte);
    byte.then = pause_in_read;
    byte.data = &end;
    START(&byte, eddy_reader_readexactly(end.reader, 1, got_read, &byte));
    size_t size = 1000000, sent = 0;
    char *bytes = plain_fill(size);
    while (sent < size) { /* as much as the kernel holds: more than one read of it */
        ssize_t n = send(end.peer, bytes + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) break;
        sent += (size_t)n;
    }
    CHECK(sent > 128 * KIB);
    RUN_UNTIL(end.loop, byte.count > 0);
    CHECK_INT(byte.bytes[0], plain_pattern(0));
    size_t then = buffered(&end);
    CHECK(then <= 64 * KIB); /* what came in the same read, and nothing after it */
    end_pump(end.loop, 30);
    CHECK_INT(buffered(&end), then);
    free(bytes);
    end_free(&end);
}

TEST(after_close_a_full_reader_can_still_be_emptied, "R89 C9")
{
    struct end end = full_end();
    GOT(bytes);
    GOT(after);
    GOT(closed);
    send_pattern(end.peer, 2 * LIMIT + 1, 500); /* these nobody will read */
    CHECK_INT(eddy_writer_close(end.writer), 0);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(closed.code, 0);
    START(&bytes, eddy_reader_read(end.reader, LIMIT, got_read, &bytes));
    RUN_UNTIL(end.loop, bytes.count > 0);
    CHECK_INT(bytes.len, LIMIT);
    plain_check_pattern(bytes.bytes, bytes.len, 0);
    START(&bytes, eddy_reader_read(end.reader, EDDY_UNTIL_EOF, got_read, &bytes));
    RUN_UNTIL(end.loop, bytes.count > 1);
    CHECK_INT(bytes.len, LIMIT + 1);
    plain_check_pattern(bytes.bytes, bytes.len, LIMIT);
    CHECK(eddy_reader_at_eof(end.reader));
    START(&after, eddy_reader_read(end.reader, 10, got_read, &after));
    RUN_UNTIL(end.loop, after.count > 0);
    CHECK_INT(after.code, 0);
    CHECK_INT(after.len, 0);
    end_free(&end);
}

/* ---- floods -------------------------------------------------------------------------------------------- */

struct flood {
    int fd;
    size_t size;
    const char *tail; /* sent after the flood */
    atomic_size_t sent;
    atomic_bool over;
};

static void *flood(void *arg)
{
    struct flood *flood = arg;
    static char block[64 * KIB];
    memset(block, 'a', sizeof block);
    for (size_t sent = 0; sent < flood->size; sent += sizeof block) {
        ssize_t n = send(flood->fd, block, sizeof block, MSG_NOSIGNAL | MSG_WAITALL);
        if (n != (ssize_t)sizeof block) break; /* the reader has had enough */
        atomic_store(&flood->sent, sent + sizeof block);
    }
    if (flood->tail != NULL) send(flood->fd, flood->tail, strlen(flood->tail), MSG_NOSIGNAL);
    atomic_store(&flood->over, true);
    return NULL;
}

/* 200 MB, or what there is time for; in any case more than the kernel holds for a reader that waits. */
static size_t flood_size(const struct end *end)
{
    plain_set(end->fd, SOL_SOCKET, SO_RCVBUF, 64 * KIB, "SO_RCVBUF");
    plain_set(end->peer, SOL_SOCKET, SO_SNDBUF, 64 * KIB, "SO_SNDBUF");
    return eddy_test_slow() > 1 ? 6000000 : 200000000;
}

/* Nothing more of it is taken. */
static void check_held_up(eddy_loop *loop, const struct flood *flood)
{
    end_pump(loop, 100);
    size_t sent = atomic_load(&flood->sent);
    end_pump(loop, 100);
    CHECK_INT(atomic_load(&flood->sent), sent);
    CHECK(!atomic_load(&flood->over));
}

/* How much more memory there is than before: two limits, one block that is being read, and some slack; more
 * where freed memory is kept to find faults. */
static void check_growth(size_t before)
{
    size_t now = plain_resident(), allowed = 2 * 64 * KIB + 64 * KIB + 512 * KIB;
    if (getenv("EDDY_TEST_SLOW") != NULL) allowed += 32 * KIB * KIB;
#ifdef __SANITIZE_ADDRESS__
    allowed += 256 * KIB * KIB;
#endif
    if (now > before + allowed) FAIL("%zu bytes more are held, not at most %zu", now - before, allowed);
}

/* What a first connection costs once and for all is not what this is about. */
static void warm_up(struct end *end)
{
    GOT(line);
    plain_send_text(end->peer, "warm\n");
    START(&line, eddy_reader_readline(end->reader, got_read, &line));
    RUN_UNTIL(end->loop, line.count > 0);
}

TEST(an_endless_line_is_told_once_and_not_kept, "R80 R82 p01")
{
    struct end end = end_tcp(NULL);
    struct flood peer = { .fd = end.peer, .size = flood_size(&end), .tail = "\nnext\n" };
    GOT(line);
    warm_up(&end);
    size_t before = plain_resident();
    pthread_t thread = plain_start(flood, &peer);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_INT(line.code, EDDY_ELIMIT);
    CHECK(line.consumed >= 64 * KIB);
    check_held_up(end.loop, &peer); /* nobody reads */
    CHECK(buffered(&end) <= 3 * 64 * KIB);
    check_growth(before);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    while (line.count == 1) {
        CHECK(eddy_loop_run_once(end.loop, 10) >= 0);
        CHECK(buffered(&end) <= 3 * 64 * KIB);
    }
    CHECK_INT(line.code, 0); /* only once, however long the line was */
    CHECK_BYTES(line.bytes, line.len, "next\n");
    check_growth(before);
    plain_join(thread);
    end_free(&end);
    CHECK_INT(line.count, 2);
}

TEST(an_endless_line_that_ends_with_the_stream, "R80")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = LIMIT));
    struct flood peer = { .fd = end.peer, .size = 20 * 64 * KIB };
    GOT(line);
    pthread_t thread = plain_start(flood, &peer);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_INT(line.code, EDDY_ELIMIT);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, atomic_load(&peer.over));
    plain_join(thread);
    CHECK_INT(line.count, 1);
    shutdown(end.peer, SHUT_WR);
    RUN_UNTIL(end.loop, line.count > 1);
    CHECK_INT(line.code, 0);
    CHECK_INT(line.len, 0);
    CHECK(eddy_reader_at_eof(end.reader));
    end_free(&end);
}

TEST(a_flood_that_nobody_reads_is_not_kept, "R80 R85")
{
    struct end end = end_tcp(NULL);
    struct flood peer = { .fd = end.peer, .size = flood_size(&end) };
    warm_up(&end);
    size_t before = plain_resident();
    pthread_t thread = plain_start(flood, &peer);
    check_held_up(end.loop, &peer);
    CHECK(buffered(&end) > 2 * 64 * KIB);
    CHECK(buffered(&end) <= 3 * 64 * KIB);
    check_growth(before);
    uint64_t cpu = plain_cpu();
    end_pump(end.loop, 200);
    CHECK(plain_cpu() - cpu < 150);
    CHECK_INT(eddy_writer_abort(end.writer), 0); /* which frees the peer too */
    settle(end.loop);
    plain_join(thread);
    end_free(&end);
}

TEST(readuntil_leaves_all_of_it_and_goes_on_failing, "R80")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = LIMIT));
    struct flood peer = { .fd = end.peer, .size = 20 * 64 * KIB };
    GOT(until);
    pthread_t thread = plain_start(flood, &peer);
    for (int i = 1; i <= 3; i++) {
        START(&until, eddy_reader_readuntil(end.reader, "--", 2, got_read, &until));
        RUN_UNTIL(end.loop, until.count == i);
        CHECK_INT(until.code, EDDY_ELIMIT);
        CHECK(until.consumed > LIMIT);
    }
    CHECK(buffered(&end) <= 64 * KIB + 2 * LIMIT);
    CHECK_INT(eddy_writer_abort(end.writer), 0);
    settle(end.loop);
    plain_join(thread);
    end_free(&end);
    CHECK_INT(until.count, 3);
}

static void count_and_read_on(struct got *got, void *data)
{
    size_t *total = data;
    if (got->code != 0 || got->len == 0) return;
    plain_check_pattern(got->bytes, got->len, *total);
    *total += got->len;
    START(got, eddy_reader_read(got->reader, 100000, got_read, got));
}

struct sender {
    int fd;
    size_t size;
};

static void *send_all(void *arg)
{
    struct sender *sender = arg;
    char *bytes = plain_fill(sender->size);
    plain_send(sender->fd, bytes, sender->size);
    shutdown(sender->fd, SHUT_WR);
    free(bytes);
    return NULL;
}

TEST(all_of_a_large_stream_passes_through_a_small_limit, "R81 R82 C2")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = LIMIT));
    struct sender peer = { .fd = end.peer, .size = 10000000 / (size_t)eddy_test_slow() };
    size_t total = 0;
    GOT(some);
    some.then = count_and_read_on;
    some.data = &total;
    pthread_t thread = plain_start(send_all, &peer);
    START(&some, eddy_reader_read(end.reader, 100000, got_read, &some));
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK_INT(total, peer.size);
    CHECK_INT(some.code, 0);
    CHECK_INT(some.len, 0);
    plain_join(thread);
    end_free(&end);
}

TEST(a_read_to_the_end_is_not_bounded_by_the_limit, "R23 R24 R82 p06")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = LIMIT));
    struct sender peer = { .fd = end.peer, .size = 3000000 / (size_t)eddy_test_slow() };
    GOT(all);
    pthread_t thread = plain_start(send_all, &peer);
    START(&all, eddy_reader_read(end.reader, EDDY_UNTIL_EOF, got_read, &all));
    RUN_UNTIL(end.loop, all.count > 0);
    plain_join(thread);
    CHECK_INT(all.code, 0);
    CHECK_INT(all.len, peer.size);
    plain_check_pattern(all.bytes, all.len, 0);
    end_free(&end);
    CHECK_INT(all.count, 1);
}

TEST(a_read_to_the_end_can_be_bounded_and_loses_nothing, "R25 p06")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = LIMIT));
    struct sender peer = { .fd = end.peer, .size = 1000000 / (size_t)eddy_test_slow() };
    size_t total = 0;
    GOT(all);
    GOT(some);
    pthread_t thread = plain_start(send_all, &peer);
    START(&all, eddy_reader_readall(end.reader, 20000, got_read, &all));
    RUN_UNTIL(end.loop, all.count > 0);
    CHECK_INT(all.code, EDDY_ELIMIT);
    some.then = count_and_read_on;
    some.data = &total;
    START(&some, eddy_reader_read(end.reader, 100000, got_read, &some));
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK_INT(total, peer.size);
    plain_join(thread);
    end_free(&end);
    CHECK_INT(all.count, 1);
}

TEST(much_more_than_the_limit_can_be_read_exactly, "R32 R82 p05")
{
    struct end end = end_unix(EDDY_OPTIONS(.limit = LIMIT));
    struct sender peer = { .fd = end.peer, .size = 2000000 / (size_t)eddy_test_slow() };
    GOT(bytes);
    pthread_t thread = plain_start(send_all, &peer);
    START(&bytes, eddy_reader_readexactly(end.reader, peer.size, got_read, &bytes));
    RUN_UNTIL(end.loop, bytes.count > 0);
    plain_join(thread);
    CHECK_INT(bytes.code, 0);
    CHECK_INT(bytes.len, peer.size);
    plain_check_pattern(bytes.bytes, bytes.len, 0);
    end_free(&end);
}

TEST(memory_is_given_back_after_a_burst, "r13")
{
    enum { COUNT = 100 };
    eddy_loop *loop = eddy_loop_new();
    struct end ends[COUNT];
    for (int i = 0; i < COUNT; i++) {
        ends[i] = end_tcp_on(loop, NULL);
        warm_up(&ends[i]);
    }
    size_t before = plain_resident(), burst = 120 * KIB;
    char *bytes = plain_fill(burst);
    for (int i = 0; i < COUNT; i++) {
        for (size_t sent = 0; sent < burst; sent += 4 * KIB) {
            plain_send(ends[i].peer, bytes + sent, 4 * KIB);
            CHECK(eddy_loop_run_once(loop, 0) >= 0);
        }
        PUMP_UNTIL(loop, buffered(&ends[i]) == burst);
    }
    for (int i = 0; i < COUNT; i++) {
        GOT(all);
        START(&all, eddy_reader_readexactly(ends[i].reader, burst, got_read, &all));
        RUN_UNTIL(loop, all.count > 0);
        plain_check_pattern(all.bytes, all.len, 0);
    }
    free(bytes);
    malloc_trim(0); /* what the library freed is no longer its own */
    check_growth(before + COUNT * 4 * KIB);
    for (int i = 0; i < COUNT; i++) close(ends[i].peer);
    eddy_loop_free(loop);
}

/* ---- the other direction ------------------------------------------------------------------------------- */

struct pump {
    struct end *end;
    size_t written, size;
    const char *bytes;
};

static void write_on(struct got *got, void *data)
{
    struct pump *pump = data;
    if (got->code != 0 || pump->written == pump->size) return;
    size_t len = pump->size - pump->written < 10000 ? pump->size - pump->written : 10000;
    CHECK(eddy_writer_write(got->writer, pump->bytes + pump->written, len) >= 0);
    pump->written += len;
    START(got, eddy_writer_drain(got->writer, got_writer, got));
}

TEST(who_drains_holds_little_for_a_peer_that_does_not_read, "F2 F10 p07")
{
    struct end end = end_tcp(NULL);
    size_t size = 20000000 / (size_t)eddy_test_slow() + 4000000;
    char *bytes = plain_fill(size);
    struct pump pump = { .end = &end, .size = size, .bytes = bytes };
    int error;
    GOT(drained);
    drained.then = write_on;
    drained.data = &pump;
    warm_up(&end);
    end_narrow(&end, 4096);
    size_t before = plain_resident();
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    end_pump(end.loop, 100);
    CHECK(pump.written < size); /* it waits */
    CHECK(eddy_writer_get_write_buffer_size(end.writer) <= 65536 + 10000);
    CHECK(eddy_writer_get_write_buffer_size(end.writer) > 0);
    check_growth(before);
    CHECK_INT(eddy_writer_abort(end.writer), 0);
    settle(end.loop);
    CHECK_INT(drained.code, EDDY_ELOST);
    end_peer_reads_pattern(&end, &error);
    CHECK_INT(error, ECONNRESET);
    free(bytes);
    end_free(&end);
}

/* ---- one's share ------------------------------------------------------------------------------------------ */

static void *floods(void *arg)
{
    static char bytes[1 << 20];
    const int fd = *(int *)arg;
    while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0);
    return NULL;
}

TEST(a_peer_that_sends_on_and_on_after_the_close_has_its_share_of_a_round_and_no_more, "")
{
    struct end end = end_tcp(NULL);
    pthread_t thread = plain_start(floods, &end.peer);
    usleep(50000);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    end_pump(end.loop, 5);
    for (int n = 0; n < 200; n++) {
        const uint64_t before = stats_of(end.loop).bytes_in;
        CHECK(eddy_loop_run_once(end.loop, 10) >= 0);
        CHECK(stats_of(end.loop).bytes_in - before <= 2 * 65536); /* a turn from the queue, and one for an event */
    }
    eddy_loop_free(end.loop);
    plain_join(thread);
    close(end.peer);
}

/* ---- whoever asks little is answered soon ---------------------------------------------------------------- */

enum { MANY = 48, LINES = 60 * KIB };

struct crowd {
    long calls, asked_at, answered_at;
    int peer; /* of the one who asks little */
};

static void one_of_many(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    struct crowd *crowd = arg;
    (void)line;
    if (error != NULL || len == 0) return;
    if (++crowd->calls == 10000) {
        plain_send_text(crowd->peer, "?\n");
        crowd->asked_at = crowd->calls;
    }
    CHECK(eddy_reader_readline(reader, one_of_many, crowd) > 0);
}

static void the_one(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    struct crowd *crowd = arg;
    (void)reader, (void)line, (void)len;
    CHECK(error == NULL);
    crowd->answered_at = crowd->calls;
}

/* Forty-eight streams have thirty thousand lines each; one more has one. */
TEST(whoever_asks_little_is_served_before_those_who_ask_much, "p09")
{
    static char lines[LINES];
    for (size_t n = 0; n < sizeof lines; n++) lines[n] = n % 2 ? '\n' : 'x';
    eddy_loop *loop = eddy_loop_new();
    struct crowd crowd = { 0 };
    int ends[MANY + 1][2];
    eddy_reader *readers[MANY + 1];
    GOT(opened);
    for (int n = 0; n <= MANY; n++) {
        plain_unix_pair(ends[n]);
        opened.count = 0;
        START(&opened, eddy_open_socket(loop, ends[n][0], NULL, got_stream, &opened));
        RUN_UNTIL(loop, opened.count > 0);
        readers[n] = opened.reader;
        if (n < MANY) plain_send(ends[n][1], lines, sizeof lines);
    }
    crowd.peer = ends[MANY][1];
    for (int n = 0; n <= MANY; n++)
        CHECK(eddy_reader_readline(readers[n], n < MANY ? one_of_many : the_one, &crowd) > 0);
    RUN_UNTIL(loop, crowd.answered_at > 0);
    CHECK(crowd.answered_at - crowd.asked_at < 2500); /* the rest of a round, and one who had much to do */
    RUN_UNTIL(loop, crowd.calls == (long)MANY * LINES / 2); /* and they all come to their ends */
    for (int n = 0; n <= MANY; n++) close(ends[n][1]);
    eddy_loop_free(loop);
}
