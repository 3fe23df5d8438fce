/* Deadlines of reads, of drains, and of what close has left to send; and cancelling: whatever comes first, one
 * outcome, and not a byte lost. */
#include "ends.h"

#include <stdatomic.h>
#include <sys/syscall.h>

enum { MEGABYTE = 1000000 };

/* Two kinds of peers: one of whom a recv gives little, and one who always has more. The C library's own function of
 * this name stands behind this one, also for libeddy. */
static int stingy_fd = -1, flooding_fd = -1;

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
    static int flooded;
    if (fd == flooding_fd) {
        if (++flooded > 1000000) FAIL("no end of it");
        memset(bytes, 'x', len < 1000 ? len : 1000);
        return len < 1000 ? (ssize_t)len : 1000;
    }
    if (fd == stingy_fd && len > 1000) len = 1000;
    return syscall(SYS_recvfrom, fd, bytes, len, flags, NULL, NULL);
}

static uint64_t microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Nobody runs the loop meanwhile. */
static void busy(unsigned milliseconds)
{
    const uint64_t until = microseconds() + milliseconds * 1000ULL;
    while (microseconds() < until) usleep(500);
}

/* A timeout that does not pass before the loop has run once, however slow everything is; and a sleep beyond it. */
static unsigned little(void)
{
    return 50 * (unsigned)eddy_test_slow();
}

static void oversleep(void)
{
    busy(little() + 20);
}

/* ---- reads of every kind ------------------------------------------------------------------------------- */

enum kind { READ, LINE, EXACTLY, UNTIL, ANY, ALL, PEEK, INTO, KINDS };

static const char *const kind_names[KINDS] = { "read", "readline", "readexactly", "readuntil",
                                               "readuntil_any", "readall", "peek", "read_into" };

static void into_got(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct got *got = arg;
    got->reader = reader;
    got_one(got, bytes, len, error);
    if (got->then != NULL) got->then(got, got->data);
}

static char into_buffer[64];

/* A read of that kind, which "123456789\n" and the end of the stream satisfy. */
static eddy_op start_kind(enum kind kind, eddy_reader *reader, struct got *got)
{
    static const eddy_bytes ends[] = { { "\r\n", 2 }, { "\n", 1 } };
    switch (kind) {
    case READ: return eddy_reader_read(reader, 10, got_read, got);
    case LINE: return eddy_reader_readline(reader, got_read, got);
    case EXACTLY: return eddy_reader_readexactly(reader, 10, got_read, got);
    case UNTIL: return eddy_reader_readuntil(reader, "\n", 1, got_read, got);
    case ANY: return eddy_reader_readuntil_any(reader, ends, 2, got_read, got);
    case ALL: return eddy_reader_readall(reader, 1000, got_read, got);
    case PEEK: return eddy_reader_peek(reader, 10, got_read, got);
    default: return eddy_reader_read_into(reader, into_buffer, 10, into_got, got);
    }
}

#define CHECK_LATE(got, times)                                                                     \
    do {                                                                                           \
        CHECK_INT((got).count, times);                                                             \
        CHECK_INT((got).code, EDDY_ETIMEDOUT);                                                     \
        CHECK_INT((got).system, 0);                                                                \
    } while (0)

TEST(a_read_that_gets_nothing_in_time_is_told_so_and_what_comes_later_is_the_next_ones, "")
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct end end = end_tcp(NULL);
        GOT(read);
        memset(into_buffer, '?', sizeof into_buffer);
        CHECK_INT(eddy_reader_set_timeout(end.reader, 30), 0);
        const uint64_t begun = microseconds();
        START(&read, start_kind(kind, end.reader, &read));
        RUN_UNTIL(end.loop, read.count);
        const uint64_t took = microseconds() - begun;
        CHECK_LATE(read, 1);
        CHECK(strstr(read.message, "30 ms") != NULL);
        if (took < 30000) FAIL("%s: late after %d microseconds", kind_names[kind], (int)took);
        CHECK(took < 2000000ULL * (unsigned)eddy_test_slow());
        CHECK_INT(into_buffer[0], '?');
        plain_send_text(end.peer, "123456789\n");
        end_pump(end.loop, 40); /* longer than the old deadline */
        CHECK_INT(read.count, 1);
        CHECK_INT(eddy_reader_set_timeout(end.reader, 60000), 0);
        if (kind == ALL) end_close_peer(&end);
        START(&read, start_kind(kind, end.reader, &read));
        RUN_UNTIL(end.loop, read.count == 2);
        CHECK_INT(read.code, 0);
        CHECK_BYTES(read.bytes, read.len, "123456789\n");
        end_free(&end);
        CHECK_INT(read.count, 2);
    }
}

TEST(what_a_late_read_saw_stays_for_the_next, "")
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        if (kind == READ || kind == INTO) continue; /* a byte is enough for them */
        struct end end = end_tcp(NULL);
        GOT(read);
        CHECK_INT(eddy_reader_set_timeout(end.reader, 20), 0);
        plain_send_text(end.peer, "12345");
        for (int late = 1; late <= 3; late++) {
            START(&read, start_kind(kind, end.reader, &read));
            RUN_UNTIL(end.loop, read.count == late);
            CHECK_LATE(read, late);
            CHECK_INT(eddy_reader_buffered(end.reader, NULL), 5);
        }
        CHECK_INT(eddy_reader_set_timeout(end.reader, 0), 0);
        START(&read, start_kind(kind, end.reader, &read));
        plain_send_text(end.peer, "6789\n");
        if (kind == ALL) end_close_peer(&end);
        RUN_UNTIL(end.loop, read.count == 4);
        CHECK_INT(read.code, 0);
        CHECK_BYTES(read.bytes, read.len, "123456789\n");
        end_free(&end);
    }
}

struct drip {
    struct end *end;
    int sent;
    bool stop;
};

static void drip(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct drip *drops = arg;
    if (error != NULL || drops->stop) return;
    plain_send(drops->end->peer, "x", 1);
    drops->sent++;
    CHECK(eddy_loop_call_later(loop, 3, drip, drops) >= 0);
}

TEST(a_peer_that_sends_byte_by_byte_does_not_move_the_deadline, "p10")
{
    struct end end = end_tcp(NULL);
    struct drip drops = { .end = &end };
    GOT(line);
    CHECK_INT(eddy_reader_set_timeout(end.reader, 60), 0);
    const uint64_t begun = microseconds();
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    CHECK(eddy_loop_call_soon(end.loop, drip, &drops) >= 0);
    RUN_UNTIL(end.loop, line.count);
    const uint64_t took = microseconds() - begun;
    CHECK_LATE(line, 1);
    CHECK(took >= 60000);
    CHECK(took < 1000000ULL * (unsigned)eddy_test_slow());
    drops.stop = true;
    settle(end.loop);
    CHECK_INT(eddy_reader_set_timeout(end.reader, EDDY_NEVER), 0);
    plain_send_text(end.peer, "\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count == 2);
    CHECK_INT(line.code, 0);
    CHECK_INT(line.len, drops.sent + 1);
    end_free(&end);
}

/* ---- what has come by the deadline --------------------------------------------------------------------- */

static void send_and_sleep(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct end *end = arg;
    (void)loop, (void)error;
    plain_send_text(end->peer, "123456789\n");
    oversleep();
}

static void close_and_sleep(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop, (void)error;
    end_close_peer(arg);
    oversleep();
}

static void reset_and_sleep(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop, (void)error;
    end_reset_peer(arg);
    oversleep();
}

TEST(what_has_come_when_the_time_is_over_is_in_time_however_busy_the_loop_was, "")
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        if (kind == ALL) continue;
        struct end end = end_tcp(NULL);
        GOT(read);
        CHECK_INT(eddy_reader_set_timeout(end.reader, little()), 0);
        START(&read, start_kind(kind, end.reader, &read));
        CHECK(eddy_loop_call_soon(end.loop, send_and_sleep, &end) >= 0);
        RUN_UNTIL(end.loop, read.count);
        CHECK_INT(read.code, 0);
        CHECK_BYTES(read.bytes, read.len, "123456789\n");
        end_free(&end);
        CHECK_INT(read.count, 1);
    }
}

TEST(the_end_and_an_error_that_have_come_are_not_called_late, "")
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct end end = end_tcp(NULL);
        GOT(read);
        CHECK_INT(eddy_reader_set_timeout(end.reader, little()), 0);
        START(&read, start_kind(kind, end.reader, &read));
        CHECK(eddy_loop_call_soon(end.loop, close_and_sleep, &end) >= 0);
        RUN_UNTIL(end.loop, read.count);
        const bool exact = kind == EXACTLY || kind == UNTIL || kind == ANY || kind == PEEK;
        CHECK_INT(read.code, exact ? EDDY_EINCOMPLETE : 0);
        CHECK_INT(read.len, 0);
        end_free(&end);
        CHECK_INT(read.count, 1);

        end = end_tcp(NULL);
        CHECK_INT(eddy_reader_set_timeout(end.reader, little()), 0);
        START(&read, start_kind(kind, end.reader, &read));
        CHECK(eddy_loop_call_soon(end.loop, reset_and_sleep, &end) >= 0);
        RUN_UNTIL(end.loop, read.count == 2);
        CHECK_INT(read.code, EDDY_ELOST);
        CHECK_INT(read.system, ECONNRESET);
        end_free(&end);
        CHECK_INT(read.count, 2);
    }
}

static void send_much_and_sleep(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct end *end = arg;
    char *bytes = plain_fill(40000);
    (void)loop, (void)error;
    plain_send(end->peer, bytes, 40000);
    free(bytes);
    oversleep();
}

TEST(also_when_it_is_more_than_one_turn_receives, "")
{
    struct end end = end_unix(NULL);
    GOT(read);
    stingy_fd = end.fd; /* 40 receives: more than a stream's share of a round */
    CHECK_INT(eddy_reader_set_timeout(end.reader, little()), 0);
    START(&read, eddy_reader_readexactly(end.reader, 40000, got_read, &read));
    CHECK(eddy_loop_call_soon(end.loop, send_much_and_sleep, &end) >= 0);
    RUN_UNTIL(end.loop, read.count);
    CHECK_INT(read.code, 0);
    CHECK_INT(read.len, 40000);
    plain_check_pattern(read.bytes, read.len, 0);
    stingy_fd = -1;
    end_free(&end);
}

TEST(a_peer_that_floods_does_not_move_the_deadline, "")
{
    struct end end = end_unix(NULL);
    GOT(read);
    CHECK_INT(eddy_reader_set_timeout(end.reader, 10), 0);
    START(&read, eddy_reader_readexactly(end.reader, (size_t)1 << 32, got_read, &read));
    flooding_fd = end.fd;
    plain_send_text(end.peer, "the first of many");
    const uint64_t begun = plain_now();
    RUN_UNTIL(end.loop, read.count);
    CHECK_LATE(read, 1);
    CHECK(plain_now() - begun < 3000 * (unsigned)eddy_test_slow());
    flooding_fd = -1;
    CHECK(eddy_reader_buffered(end.reader, NULL) > 1000);
    end_free(&end);
}

/* ---- readers of every condition ------------------------------------------------------------------------ */

TEST(a_reader_whose_reading_is_paused_is_late_and_loses_nothing, "")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    eddy_transport *transport = eddy_writer_transport(end.writer);
    CHECK_INT(eddy_transport_pause_reading(transport), 0);
    CHECK_INT(eddy_reader_set_timeout(end.reader, 20), 0);
    plain_send_text(end.peer, "line\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count);
    CHECK_LATE(line, 1);
    CHECK_INT(eddy_transport_resume_reading(transport), 0);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count == 2);
    CHECK_BYTES(line.bytes, line.len, "line\n");
    end_free(&end);
}

TEST(a_reader_that_is_fed_by_hand_has_deadlines_too, "")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = eddy_reader_new(loop, 100);
    GOT(line);
    CHECK_INT(eddy_reader_set_timeout(reader, 20), 0);
    CHECK_INT(eddy_reader_feed_data(reader, "li", 2), 0);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    CHECK_INT(eddy_loop_run(loop), 0); /* which is not over before */
    CHECK_LATE(line, 1);
    CHECK_INT(eddy_reader_feed_data(reader, "ne\n", 3), 0);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(line.code, 0);
    CHECK_BYTES(line.bytes, line.len, "line\n");
    START(&line, eddy_reader_readline(reader, got_read, &line));
    busy(30);
    CHECK_INT(eddy_reader_feed_data(reader, "fed late\n", 9), 0); /* and still before it was told */
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(line.count, 3);
    CHECK_BYTES(line.bytes, line.len, "fed late\n");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    busy(30);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(line.count, 4);
    CHECK_INT(line.code, 0);
    CHECK_INT(line.len, 0);
    eddy_loop_free(loop);
}

TEST(a_reader_that_is_freed_or_whose_loop_is_freed_is_cancelled_not_late, "")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    CHECK_INT(eddy_reader_set_timeout(end.reader, 20), 0);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    busy(30);
    eddy_reader_free(end.reader);
    RUN_UNTIL(end.loop, line.count);
    CHECK_INT(line.code, EDDY_ECANCELED);
    end_pump(end.loop, 30);
    CHECK_INT(eddy_reader_set_timeout(end.reader, 20), EDDY_ESTALE);
    end_free(&end);
    CHECK_INT(line.count, 1);

    end = end_tcp(NULL);
    CHECK_INT(eddy_reader_set_timeout(end.reader, 20), 0);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    busy(30);
    end_free(&end);
    CHECK_INT(line.count, 2);
    CHECK_INT(line.code, EDDY_ECANCELED);
}

TEST(what_is_over_is_not_late, "")
{
    struct end end = end_tcp(NULL);
    GOT(read);
    CHECK_INT(eddy_reader_set_timeout(end.reader, 1), 0);
    end_close_peer(&end);
    for (int i = 1; i <= 5; i++) {
        START(&read, eddy_reader_read(end.reader, 10, got_read, &read));
        if (i > 1) busy(3);
        RUN_UNTIL(end.loop, read.count == i);
        CHECK_INT(read.code, 0);
        CHECK_INT(read.len, 0);
        CHECK_INT(eddy_reader_set_timeout(end.reader, 2), 0);
    }
    end_free(&end);
}

/* ---- setting it ---------------------------------------------------------------------------------------- */

TEST(a_timeout_is_for_the_reads_that_follow, "")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    CHECK_INT(eddy_reader_set_timeout(end.reader, 5), 0); /* not for the one that waits */
    end_pump(end.loop, 30);
    CHECK_INT(line.count, 0);
    plain_send_text(end.peer, "one\n");
    RUN_UNTIL(end.loop, line.count);
    CHECK_BYTES(line.bytes, line.len, "one\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    CHECK_INT(eddy_reader_set_timeout(end.reader, 60000), 0); /* nor does it help the one that waits */
    RUN_UNTIL(end.loop, line.count == 2);
    CHECK_LATE(line, 2);
    CHECK(strstr(line.message, ": 5 ms") != NULL);
    end_free(&end);
}

static void read_between_two_timeouts(struct got *got, void *data)
{
    const uint64_t *timeouts = data;
    got->then = NULL;
    CHECK_INT(eddy_reader_set_timeout(got->reader, timeouts[0]), 0);
    START(got, eddy_reader_readline(got->reader, got_read, got));
    CHECK_INT(eddy_reader_set_timeout(got->reader, timeouts[1]), 0);
}

TEST(also_when_all_that_happens_in_one_callback, "")
{
    for (int timed = 0; timed < 2; timed++) {
        struct end end = end_tcp(NULL);
        uint64_t timeouts[] = { timed ? 10 : 0, timed ? 0 : 10 };
        GOT(line);
        line.then = read_between_two_timeouts;
        line.data = timeouts;
        plain_send_text(end.peer, "one\n");
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        RUN_UNTIL(end.loop, line.count);
        end_pump(end.loop, 40);
        CHECK_INT(line.count, timed ? 2 : 1);
        if (timed) CHECK_LATE(line, 2);
        if (timed) START(&line, eddy_reader_readline(end.reader, got_read, &line));
        plain_send_text(end.peer, "two\n");
        end_pump(end.loop, 40);
        CHECK_INT(line.count, timed ? 3 : 2);
        CHECK_BYTES(line.bytes, line.len, "two\n");
        end_free(&end);
    }
}

static void read_on_after_a_late_line(struct got *got, void *data)
{
    (void)data;
    got->then = NULL;
    START(got, eddy_reader_readline(got->reader, got_read, got));
}

TEST(a_read_after_one_that_was_only_just_in_time_has_its_own_time, "")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    line.then = read_on_after_a_late_line;
    CHECK_INT(eddy_reader_set_timeout(end.reader, little()), 0);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    CHECK(eddy_loop_call_soon(end.loop, send_and_sleep, &end) >= 0);
    RUN_UNTIL(end.loop, line.count);
    const uint64_t begun = microseconds();
    CHECK_INT(line.code, 0);
    RUN_UNTIL(end.loop, line.count == 2);
    CHECK_LATE(line, 2);
    CHECK(microseconds() - begun >= 15000);
    end_free(&end);
}

TEST(an_old_deadline_does_not_reach_a_later_read, "")
{
    static const uint64_t none[] = { 0, EDDY_NEVER, EDDY_NEVER - 1, 3600000 };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        struct end end = end_tcp(NULL);
        GOT(line);
        CHECK_INT(eddy_reader_set_timeout(end.reader, 15), 0);
        plain_send_text(end.peer, "one\n");
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        RUN_UNTIL(end.loop, line.count);
        CHECK_INT(eddy_reader_set_timeout(end.reader, none[i]), 0);
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        end_pump(end.loop, 40);
        CHECK_INT(line.count, 1);
        plain_send_text(end.peer, "two\n");
        RUN_UNTIL(end.loop, line.count == 2);
        CHECK_INT(line.code, 0);
        CHECK_BYTES(line.bytes, line.len, "two\n");
        end_free(&end);
    }
}

TEST(the_loop_does_not_run_for_the_sake_of_a_timer, "")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    CHECK_INT(eddy_reader_set_timeout(end.reader, 3600000), 0);
    CHECK_INT(eddy_writer_set_timeout(end.writer, 3600000), 0);
    plain_send_text(end.peer, "one\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    const uint64_t begun = plain_now();
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK_INT(line.count, 1);
    CHECK(plain_now() - begun < 10000);
    end_free(&end);
}

/* ---- timers do not pile up ----------------------------------------------------------------------------- */

static void read_on(struct got *got, void *data)
{
    int *left = data;
    if (--*left > 0) START(got, eddy_reader_readline(got->reader, got_read, got));
}

TEST(a_hundred_thousand_reads_in_time_leave_nothing_behind, "")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    static char lines[1000];
    int left = 100000 / (eddy_test_slow() > 1 ? 20 : 1);
    for (size_t i = 0; i < sizeof lines; i++) lines[i] = i % 10 == 9 ? '\n' : 'x';
    CHECK_INT(eddy_reader_set_timeout(end.reader, 3600000), 0);
    line.then = read_on;
    line.data = &left;
    const size_t before = plain_heap();
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    while (left > 0) {
        const int target = left - 100;
        plain_send(end.peer, lines, sizeof lines);
        RUN_UNTIL(end.loop, left <= target);
    }
    CHECK_INT(line.code, 0);
    const size_t after = plain_heap();
    if (after > before + 200000) FAIL("%zu bytes before, %zu after", before, after);
    end_free(&end);
}

TEST(timeouts_short_and_long_by_turns_leave_nothing_behind, "")
{
    enum { ENDS = 100 };
    const int rounds = 400 / eddy_test_slow();
    eddy_loop *loop = eddy_loop_new();
    struct end ends[ENDS];
    struct got reads[ENDS] = { { .count = 0 } };
    size_t before = 0;
    for (int i = 0; i < ENDS; i++) ends[i] = end_unix_on(loop, NULL);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < ENDS; i++) { /* served in time ... */
            CHECK_INT(eddy_reader_set_timeout(ends[i].reader, 3600000), 0);
            plain_send(ends[i].peer, "\n", 1);
            START(&reads[i], eddy_reader_readline(ends[i].reader, got_read, &reads[i]));
        }
        RUN_UNTIL(loop, reads[ENDS - 1].count == 2 * round + 1);
        for (int i = 0; i < ENDS; i++) { /* ... and late */
            CHECK_INT(reads[i].code, 0);
            CHECK_INT(eddy_reader_set_timeout(ends[i].reader, 1), 0);
            START(&reads[i], eddy_reader_readline(ends[i].reader, got_read, &reads[i]));
        }
        for (int i = 0; i < ENDS; i++) {
            RUN_UNTIL(loop, reads[i].count == 2 * round + 2);
            CHECK_INT(reads[i].code, EDDY_ETIMEDOUT);
        }
        if (round == rounds / 10) before = plain_heap();
    }
    const size_t after = plain_heap();
    if (after > before + 200000) FAIL("%zu bytes before, %zu after", before, after);
    for (int i = 0; i < ENDS; i++) {
        close(ends[i].peer);
        got_release(&reads[i]);
    }
    eddy_loop_free(loop);
}

TEST(connections_that_come_and_go_take_their_timers_along, "")
{
    const int rounds = 20000 / (eddy_test_slow() > 1 ? 20 : 1);
    eddy_loop *loop = eddy_loop_new();
    size_t before = 0;
    for (int round = 0; round < rounds; round++) {
        struct got line = { .count = 0 };
        eddy_reader *reader = eddy_reader_new(loop, 100);
        CHECK_INT(eddy_reader_set_timeout(reader, 3600000), 0);
        START(&line, eddy_reader_readline(reader, got_read, &line));
        eddy_reader_free(reader);
        RUN_UNTIL(loop, line.count);
        CHECK_INT(line.code, EDDY_ECANCELED);
        got_release(&line);
        if (round == 1000 || rounds <= 1000) before = plain_heap();
    }
    const size_t after = plain_heap();
    if (after > before + 100000) FAIL("%zu bytes before, %zu after", before, after);
    eddy_loop_free(loop);
}

/* ---- drains -------------------------------------------------------------------------------------------- */

/* Output that has to wait: the peer reads nothing. */
static void stuff(struct end *end)
{
    char *bytes = plain_fill(3 * MEGABYTE);
    end_narrow(end, 65536);
    CHECK_INT(eddy_writer_write(end->writer, bytes, 3 * MEGABYTE), 1);
    free(bytes);
    settle(end->loop);
    CHECK(eddy_writer_get_write_buffer_size(end->writer) > 65536);
}

TEST(each_drain_has_a_deadline_of_its_own_and_the_connection_goes_on, "F12")
{
    struct end end = end_tcp(NULL);
    GOT(slow);
    GOT(quick);
    GOT(never);
    int error;
    stuff(&end);
    const uint64_t begun = microseconds();
    CHECK_INT(eddy_writer_set_timeout(end.writer, 60), 0);
    START(&slow, eddy_writer_drain(end.writer, got_writer, &slow));
    CHECK_INT(eddy_writer_set_timeout(end.writer, 20), 0);
    START(&quick, eddy_writer_drain(end.writer, got_writer, &quick));
    CHECK_INT(eddy_writer_set_timeout(end.writer, 0), 0);
    START(&never, eddy_writer_drain(end.writer, got_writer, &never));
    RUN_UNTIL(end.loop, quick.count);
    CHECK_LATE(quick, 1);
    CHECK(strstr(quick.message, ": 20 ms") != NULL);
    CHECK(microseconds() - begun >= 20000);
    if (microseconds() - begun < 60000) CHECK_INT(slow.count, 0);
    RUN_UNTIL(end.loop, slow.count);
    CHECK_LATE(slow, 1);
    CHECK(strstr(slow.message, ": 60 ms") != NULL);
    CHECK(microseconds() - begun >= 60000);
    CHECK_INT(never.count, 0);
    CHECK_INT(eddy_writer_write(end.writer, "", 0), 1); /* as if nothing had happened */
    eddy_writer_free(end.writer);
    CHECK_INT(end_peer_reads_pattern(&end, &error), 3 * MEGABYTE);
    CHECK_INT(error, 0);
    end_free(&end);
    CHECK_INT(never.count, 1);
    CHECK_INT(never.code, EDDY_ECANCELED); /* by writer_free */
}

TEST(drains_with_one_timeout_are_late_in_their_order, "F12")
{
    struct end end = end_tcp(NULL);
    struct got drains[50] = { { .count = 0 } };
    stuff(&end);
    CHECK_INT(eddy_writer_set_timeout(end.writer, 20), 0);
    for (int i = 0; i < 50; i++) START(&drains[i], eddy_writer_drain(end.writer, got_writer, &drains[i]));
    RUN_UNTIL(end.loop, drains[49].count);
    for (int i = 0; i < 50; i++) {
        CHECK_LATE(drains[i], 1);
        CHECK(i == 0 || drains[i].order > drains[i - 1].order);
        got_release(&drains[i]);
    }
    end_free(&end);
}

TEST(a_drain_that_goes_on_in_time_is_not_late, "F12")
{
    static char bytes[65536];
    struct end end = end_tcp(NULL);
    GOT(drained);
    size_t got = 0;
    stuff(&end);
    CHECK_INT(eddy_writer_set_timeout(end.writer, 5000), 0);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    end_pump(end.loop, 10);
    CHECK_INT(drained.count, 0);
    while (drained.count == 0) {
        long n = plain_look(end.peer, bytes, sizeof bytes);
        if (n > 0) plain_check_pattern(bytes, (size_t)n, got);
        if (n > 0) got += (size_t)n;
        CHECK(eddy_loop_run_once(end.loop, 1) >= 0);
    }
    CHECK_INT(drained.code, 0);
    CHECK(got > MEGABYTE);
    end_free(&end);
}

/* The peer takes it all, while nobody runs the loop. */
static void take_and_sleep(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct end *end = arg;
    static char bytes[65536];
    (void)loop, (void)error;
    while (plain_look(end->peer, bytes, sizeof bytes) > 0) continue;
    oversleep();
    while (plain_look(end->peer, bytes, sizeof bytes) > 0) continue;
}

TEST(room_that_has_come_when_the_time_is_over_is_in_time_however_busy_the_loop_was, "F12")
{
    struct end end = end_unix(NULL);
    GOT(drained);
    char *bytes = plain_fill(MEGABYTE);
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, 1000, 1000), 0);
    /* More than the socket takes, by not much more than the mark. */
    while (eddy_writer_get_write_buffer_size(end.writer) <= 1000) {
        CHECK(eddy_writer_write(end.writer, bytes, 500) >= 0);
        settle(end.loop);
    }
    free(bytes);
    CHECK_INT(eddy_writer_set_timeout(end.writer, little()), 0);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    CHECK(eddy_loop_call_soon(end.loop, take_and_sleep, &end) >= 0);
    RUN_UNTIL(end.loop, drained.count);
    CHECK_INT(drained.code, 0);
    end_free(&end);
}

struct last_call {
    struct end *end;
    struct got drained;
    int lines, at; /* so many lines have come; at which to drain, and then to write much */
    char *bytes;
};

static void drain_then_write(struct got *got, void *data)
{
    struct last_call *last = data;
    if (++last->lines == last->at) {
        START(&last->drained, eddy_writer_drain(last->end->writer, got_writer, &last->drained));
        CHECK_INT(eddy_writer_write(last->end->writer, last->bytes, 3 * MEGABYTE), 1);
    } else {
        START(got, eddy_reader_readline(last->end->reader, got_read, got));
    }
}

TEST(a_drain_that_had_nothing_to_wait_for_does_not_wait_without_a_bound, "F12")
{
    /* Somewhere here a stream's share of a round is used up, so that the drain gets in line. */
    for (int at = 1020; at <= 1026; at++) {
        struct end end = end_tcp(NULL);
        char lines[2 * 1026];
        struct last_call last = { .end = &end, .at = at, .bytes = plain_fill(3 * MEGABYTE) };
        GOT(line);
        end_narrow(&end, 65536);
        CHECK_INT(eddy_writer_set_timeout(end.writer, 20), 0);
        line.then = drain_then_write;
        line.data = &last;
        for (int i = 0; i < at; i++) memcpy(lines + 2 * i, "x\n", 2);
        plain_send(end.peer, lines, 2 * (size_t)at);
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        RUN_UNTIL(end.loop, last.drained.count);
        CHECK(last.drained.code == 0 || last.drained.code == EDDY_ETIMEDOUT);
        free(last.bytes);
        got_release(&last.drained);
        end_free(&end);
        CHECK_INT(last.drained.count, 1);
    }
}

/* ---- close --------------------------------------------------------------------------------------------- */

TEST(a_close_that_a_peer_keeps_waiting_ends_with_a_reset, "K4 d03")
{
    static char bytes[65536];
    for (int freed = 0; freed < 2; freed++) {
        struct end end = end_tcp(NULL), other = end_tcp_on(end.loop, NULL);
        GOT(closed);
        GOT(drained);
        GOT(read);
        GOT(line);
        stuff(&end);
        CHECK_INT(eddy_writer_set_timeout(other.writer, 20), 0);
        START(&line, eddy_reader_readline(other.reader, got_read, &line));
        START(&drained, eddy_writer_drain(end.writer, got_writer, &drained)); /* no timeout yet */
        START(&read, eddy_reader_read(end.reader, 10, got_read, &read));
        CHECK_INT(eddy_writer_set_timeout(end.writer, 40), 0);
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        const uint64_t begun = microseconds();
        if (freed) eddy_writer_free(end.writer);
        else CHECK_INT(eddy_writer_close(end.writer), 0);
        RUN_UNTIL(end.loop, closed.count);
        CHECK(microseconds() - begun >= 40000);
        CHECK_LATE(closed, 1);
        CHECK(strstr(closed.message, ": 40 ms") != NULL);
        /* What asked for no deadline is not told of one: who tries again after a timeout would try for ever. */
        CHECK_INT(drained.count, 1);
        CHECK_INT(drained.code, freed ? EDDY_ECANCELED : EDDY_ELOST);
        CHECK_INT(read.count, 1);
        CHECK_INT(read.code, freed ? EDDY_ECANCELED : 0);
        CHECK(drained.order < closed.order);
        CHECK(read.order < closed.order);
        if (!freed) {
            CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0);
            CHECK(eddy_writer_is_closing(end.writer));
            START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
            RUN_UNTIL(end.loop, drained.count == 2);
            CHECK_INT(drained.code, EDDY_ELOST);
            START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
            RUN_UNTIL(end.loop, closed.count == 2);
            CHECK_LATE(closed, 2);
        }
        long n;
        while ((n = plain_look(end.peer, bytes, sizeof bytes)) > 0) continue;
        CHECK_INT(n, -ECONNRESET);
        CHECK_INT(line.count, 0); /* the other connection is as it was */
        plain_send_text(other.peer, "still here\n");
        RUN_UNTIL(end.loop, line.count);
        CHECK_BYTES(line.bytes, line.len, "still here\n");
        end_close_peer(&other);
        end_free(&end);
    }
}

TEST(a_close_that_is_over_in_time_sends_everything, "K4")
{
    struct end end = end_tcp(NULL);
    GOT(closed);
    int error;
    stuff(&end);
    CHECK_INT(eddy_writer_set_timeout(end.writer, 10000), 0);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(end_peer_reads_pattern(&end, &error), 3 * MEGABYTE);
    CHECK_INT(error, 0);
    end_close_peer(&end);
    const uint64_t begun = plain_now();
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK(plain_now() - begun < 5000 * (unsigned)eddy_test_slow());
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.code, 0);
    end_free(&end);
}

TEST(two_sides_that_close_with_much_unsent_do_not_wait_for_each_other_for_ever, "K4")
{
    struct end one = end_tcp(NULL), other = { .loop = one.loop, .fd = one.peer };
    GOT(opened);
    GOT(one_closed);
    GOT(other_closed);
    const int wide = one.peer;
    plain_set(one.fd, SOL_SOCKET, SO_SNDBUF, 65536, "SO_SNDBUF");
    plain_set(wide, SOL_SOCKET, SO_SNDBUF, 65536, "SO_SNDBUF");
    START(&opened, eddy_open_socket(one.loop, wide, NULL, got_stream, &opened));
    one.peer = -1;
    RUN_UNTIL(one.loop, opened.count);
    end_take(&other, &opened);
    char *bytes = plain_fill(20 * MEGABYTE);
    CHECK_INT(eddy_writer_write(one.writer, bytes, 20 * MEGABYTE), 1);
    CHECK_INT(eddy_writer_write(other.writer, bytes, 20 * MEGABYTE), 1);
    free(bytes);
    CHECK_INT(eddy_writer_set_timeout(one.writer, 30), 0);
    START(&one_closed, eddy_writer_wait_closed(one.writer, got_writer, &one_closed));
    START(&other_closed, eddy_writer_wait_closed(other.writer, got_writer, &other_closed));
    CHECK_INT(eddy_writer_close(one.writer), 0);
    CHECK_INT(eddy_writer_close(other.writer), 0);
    CHECK_INT(eddy_loop_run(one.loop), 0);
    CHECK_LATE(one_closed, 1);
    CHECK_INT(other_closed.count, 1);
    CHECK_INT(other_closed.code, EDDY_ELOST);
    eddy_loop_free(one.loop);
}

/* A transport that takes its time to close: for ever. */
struct stubborn {
    int closes, aborts, releases;
};

static void stubborn_write(eddy_transport *transport, const char *bytes, size_t len, void *arg)
{
    (void)transport, (void)bytes, (void)len, (void)arg;
}

static void stubborn_close(eddy_transport *transport, void *arg)
{
    (void)transport;
    ((struct stubborn *)arg)->closes++;
}

static void stubborn_abort(eddy_transport *transport, void *arg)
{
    (void)transport;
    ((struct stubborn *)arg)->aborts++;
}

static void stubborn_release(void *arg)
{
    ((struct stubborn *)arg)->releases++;
}

TEST(a_transport_of_ones_own_is_aborted_when_its_close_is_late, "K4")
{
    static const eddy_transport_ops ops = { .size = sizeof ops, .write = stubborn_write, .close = stubborn_close,
                                            .abort = stubborn_abort, .release = stubborn_release };
    struct stubborn self = { 0 };
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = eddy_reader_new(loop, 100);
    eddy_protocol *protocol = eddy_protocol_new(loop, reader, NULL, NULL);
    eddy_transport *transport = eddy_transport_new(loop, &ops, &self);
    GOT(closed);
    GOT(line);
    GOT(drained);
    CHECK_INT(eddy_protocol_connection_made(protocol, transport), 0);
    eddy_writer *writer = eddy_writer_new(transport, protocol, reader);
    CHECK(writer != NULL);
    CHECK_INT(eddy_reader_set_timeout(reader, 20), 0);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    RUN_UNTIL(loop, line.count);
    CHECK_LATE(line, 1);
    CHECK_INT(eddy_writer_set_timeout(writer, 20), 0);
    CHECK_INT(eddy_protocol_pause_writing(protocol), 0);
    START(&drained, eddy_writer_drain(writer, got_writer, &drained));
    RUN_UNTIL(loop, drained.count);
    CHECK_LATE(drained, 1);
    START(&closed, eddy_writer_wait_closed(writer, got_writer, &closed));
    CHECK_INT(eddy_writer_close(writer), 0);
    RUN_UNTIL(loop, self.aborts);
    CHECK_INT(self.closes, 1);
    CHECK_INT(closed.count, 0); /* until the transport says so */
    CHECK_INT(eddy_protocol_connection_lost(protocol, 0, NULL), 0);
    RUN_UNTIL(loop, closed.count && self.releases);
    CHECK_LATE(closed, 1);
    CHECK_INT(self.aborts, 1);
    eddy_loop_free(loop);
    CHECK_INT(closed.count, 1);
}

TEST(a_timer_that_is_left_over_does_not_cut_a_closed_socket_off, "K4")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    GOT(closed);
    char bytes[16];
    CHECK_INT(eddy_reader_set_timeout(end.reader, 100), 0);
    plain_send_text(end.peer, "one\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count);
    CHECK_INT(eddy_reader_set_timeout(end.reader, 10), 0); /* an earlier one takes the place of the first */
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count == 2);
    CHECK_LATE(line, 2);
    CHECK_INT(eddy_writer_write(end.writer, "goodbye", 7), 0);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    CHECK_INT(eddy_writer_close(end.writer), 0);
    RUN_UNTIL(end.loop, closed.count);
    end_pump(end.loop, 150);
    CHECK(plain_is_open(end.fd)); /* what the peer sends now does not turn our last bytes into a reset */
    plain_send_text(end.peer, "one more thing");
    end_pump(end.loop, 20);
    CHECK_INT(plain_recv(end.peer, bytes, sizeof bytes), 7);
    end_free(&end);
}

/* ---- races --------------------------------------------------------------------------------------------- */

enum { RACERS = 64 };

/* A stream of records: 12 bytes of the pattern and a newline. */
static char record_byte(size_t at)
{
    return at % 13 == 12 ? '\n' : plain_pattern(at);
}

struct racer {
    struct race *race;
    struct end end;
    enum kind kind;
    size_t n, at;       /* asked for; the stream's place */
    bool waits, canceled;
    eddy_op op, timer;
    unsigned timeout;
    uint64_t begun;
    size_t fed;         /* the feeder's own */
    char into[40];
};

struct race {
    eddy_loop *loop;
    struct racer racers[RACERS];
    bool times, cancels; /* what happens to the reads */
    unsigned seed, feed_seed; /* the feeder, a thread of its own, has its own */
    int rounds, most;
    int in_time[KINDS], late[KINDS], canceled[KINDS];
    int ended;
    atomic_bool stop;
};

static unsigned random_of(unsigned *seed, unsigned below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (unsigned)((uint64_t)*seed * below >> 32);
}

static void race_on(struct racer *racer);

/* All that can happen to a read has happened to each kind of them. */
static bool race_has_all(const struct race *race)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        if (kind == ALL) continue;
        if (race->in_time[kind] == 0) return false;
        if (race->times && race->late[kind] == 0) return false;
        if (race->cancels && race->canceled[kind] == 0) return false;
    }
    return true;
}

static void race_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct racer *racer = arg;
    struct race *race = racer->race;
    CHECK(racer->waits); /* exactly once */
    racer->waits = false;
    CHECK(reader == racer->end.reader);
    const int code = eddy_error_code(error);
    if (code == EDDY_ETIMEDOUT) {
        CHECK(race->times && !racer->canceled);
        CHECK(microseconds() - racer->begun >= racer->timeout * 1000ULL);
        race->late[racer->kind]++;
    } else if (code == EDDY_ECANCELED) {
        CHECK(racer->canceled);
        race->canceled[racer->kind]++;
    } else if (code == 0) {
        CHECK(!racer->canceled);
        CHECK(len <= (racer->kind == LINE || racer->kind == UNTIL || racer->kind == ANY ? 13 : racer->n));
        for (size_t i = 0; i < len; i++)
            if (bytes[i] != record_byte(racer->at + i))
                FAIL("%s: byte %zu of the stream is wrong", kind_names[racer->kind], racer->at + i);
        const bool whole = len > 0 && bytes[len - 1] == '\n';
        if (racer->kind == LINE || racer->kind == UNTIL || racer->kind == ANY) CHECK(whole);
        if (racer->kind == EXACTLY || racer->kind == PEEK) CHECK_INT(len, racer->n);
        if (racer->kind == INTO) CHECK(bytes == racer->into);
        else CHECK_INT(bytes[len], 0);
        if (racer->kind != PEEK) racer->at += len;
        race->in_time[racer->kind]++;
    } else {
        FAIL("%s: %s", kind_names[racer->kind], eddy_error_message(error));
    }
    if (racer->kind == INTO)
        for (size_t i = len; i < sizeof racer->into; i++) CHECK_INT(racer->into[i], '?');
    race->rounds++;
    race_on(racer);
}

static void race_cancel(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct racer *racer = arg;
    racer->timer = -1;
    if (error != NULL) return;
    const int result = eddy_loop_cancel(loop, racer->op);
    CHECK_INT(result, racer->waits ? 0 : EDDY_ESTALE);
    racer->canceled = racer->waits;
    if (racer->waits) CHECK_INT(eddy_loop_cancel(loop, racer->op), EDDY_ESTALE); /* once is enough */
}

static void race_on(struct racer *racer)
{
    static const eddy_bytes ends[] = { { "\r\n", 2 }, { "\n", 1 } };
    struct race *race = racer->race;
    if (race->rounds >= race->most && race_has_all(race)) { /* on a slow machine some of it is rare */
        race->ended++;
        return;
    }
    racer->kind = (enum kind)random_of(&race->seed, KINDS);
    if (racer->kind == ALL) racer->kind = READ; /* without an end there is nothing to race for */
    racer->n = 1 + random_of(&race->seed, 30);
    racer->timeout = 1 + random_of(&race->seed, 3);
    racer->waits = true;
    racer->canceled = false;
    racer->begun = microseconds();
    if (race->times) CHECK_INT(eddy_reader_set_timeout(racer->end.reader, racer->timeout), 0);
    eddy_reader *reader = racer->end.reader;
    switch (racer->kind) {
    case LINE: racer->op = eddy_reader_readline(reader, race_read, racer); break;
    case EXACTLY: racer->op = eddy_reader_readexactly(reader, racer->n, race_read, racer); break;
    case UNTIL: racer->op = eddy_reader_readuntil(reader, "\n", 1, race_read, racer); break;
    case ANY: racer->op = eddy_reader_readuntil_any(reader, ends, 2, race_read, racer); break;
    case PEEK: racer->op = eddy_reader_peek(reader, racer->n, race_read, racer); break;
    case INTO:
        memset(racer->into, '?', sizeof racer->into);
        racer->op = eddy_reader_read_into(reader, racer->into, racer->n, race_read, racer);
        break;
    default: racer->op = eddy_reader_read(reader, racer->n, race_read, racer); break;
    }
    if (racer->op < 0) FAIL("%s is refused with %d", kind_names[racer->kind], (int)racer->op);
    if (race->cancels && racer->timer < 0)
        racer->timer = eddy_loop_call_later(race->loop, 1 + random_of(&race->seed, 3), race_cancel, racer);
}

/* Now a few bytes for this one, now for that one. */
static void *race_feed(void *arg)
{
    struct race *race = arg;
    unsigned seed = race->feed_seed;
    while (!atomic_load(&race->stop)) {
        char bytes[40];
        for (int burst = 0; burst < 2; burst++) {
            struct racer *racer = &race->racers[random_of(&seed, RACERS)];
            const size_t len = 1 + random_of(&seed, 20);
            for (size_t i = 0; i < len; i++) bytes[i] = record_byte(racer->fed + i);
            if (send(racer->end.peer, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len) continue;
            racer->fed += len;
        }
        usleep(random_of(&seed, 80 * (unsigned)eddy_test_slow())); /* or else no read is late where all is slow */
    }
    return NULL;
}

static void race(unsigned seed, bool times, bool cancels)
{
    static struct race race;
    memset(&race, 0, sizeof race);
    race.loop = eddy_loop_new();
    race.times = times, race.cancels = cancels, race.seed = seed, race.feed_seed = seed + 1;
    race.most = 10000 / (eddy_test_slow() > 1 ? 10 : 1);
    for (int i = 0; i < RACERS; i++) {
        struct racer *racer = &race.racers[i];
        *racer = (struct racer){ .race = &race, .timer = -1 };
        racer->end = i % 2 ? end_unix_on(race.loop, NULL) : end_tcp_on(race.loop, NULL);
    }
    pthread_t feeder = plain_start(race_feed, &race);
    for (int i = 0; i < RACERS; i++) race_on(&race.racers[i]);
    RUN_UNTIL(race.loop, race.ended == RACERS);
    atomic_store(&race.stop, true);
    plain_join(feeder);
    CHECK(race.rounds >= race.most + RACERS - 1);
    for (int i = 0; i < RACERS; i++) { /* not a byte lost, and none twice */
        struct racer *racer = &race.racers[i];
        GOT(rest);
        CHECK_INT(eddy_reader_set_timeout(racer->end.reader, 0), 0);
        end_close_peer(&racer->end);
        START(&rest, eddy_reader_read(racer->end.reader, EDDY_UNTIL_EOF, got_read, &rest));
        RUN_UNTIL(race.loop, rest.count);
        CHECK_INT(rest.code, 0);
        CHECK_INT(racer->at + rest.len, racer->fed);
        for (size_t at = 0; at < rest.len; at++) CHECK_INT(rest.bytes[at], record_byte(racer->at + at));
    }
    eddy_loop_free(race.loop);
}

TEST(ten_thousand_reads_that_their_deadlines_race_with, "m08")
{
    race(1, true, false);
}

TEST(ten_thousand_reads_that_are_cancelled_as_their_bytes_come, "R9 R35")
{
    race(2, false, true);
}

TEST(ten_thousand_reads_with_deadlines_that_are_cancelled_as_well, "R9 R35")
{
    race(3, true, true);
}
