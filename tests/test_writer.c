/* Writing, draining, closing and aborting, over real sockets. */
#include "calls.h"
#include "ends.h"

#include <limits.h>

enum { MEGABYTE = 1000000 };

/* As many bytes as no kernel takes at once; fewer where everything is slow, and still too many. */
static size_t much(void)
{
    return eddy_test_slow() > 1 ? 2 * MEGABYTE : 3 * MEGABYTE;
}

/* Output that has to wait: the peer reads nothing. How many bytes were written. */
static size_t stuff(struct end *end)
{
    size_t size = much();
    char *bytes = plain_fill(size);
    end_narrow(end, 65536);
    CHECK_INT(eddy_writer_write(end->writer, bytes, size), 1);
    free(bytes);
    settle(end->loop);
    CHECK(eddy_writer_get_write_buffer_size(end->writer) > 65536);
    return size;
}

static void check_peer_gets(struct end *end, const char *text)
{
    char bytes[256];
    size_t len = strlen(text);
    CHECK(len < sizeof bytes);
    CHECK_INT(plain_recv(end->peer, bytes, len), len);
    if (memcmp(bytes, text, len) != 0) FAIL("the peer got \"%.*s\", not \"%s\"", (int)len, bytes, text);
}

static void check_peer_gets_nothing(struct end *end)
{
    char byte;
    CHECK_INT(plain_look(end->peer, &byte, 1), -EAGAIN);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

TEST(what_is_written_is_sent_in_the_same_turn, "W1")
{
    struct end end = end_tcp(NULL);
    CHECK_INT(eddy_writer_write(end.writer, "hello", 5), 0);
    CHECK(eddy_loop_run_once(end.loop, 0) >= 0);
    check_peer_gets(&end, "hello");
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0);
    end_free(&end);
}

TEST(the_writes_of_a_turn_are_one_send, "W1 W10")
{
    struct end end = end_tcp(NULL);
    eddy_bytes lines[] = { { "four ", 5 }, { "five", 4 } };
    settle(end.loop);
    calls_watch(end.fd);
    CHECK_INT(eddy_writer_write(end.writer, "one ", 4), 0);
    CHECK_INT(eddy_writer_write(end.writer, "two ", 4), 0);
    CHECK_INT(eddy_writer_write(end.writer, "three ", 6), 0);
    CHECK_INT(eddy_writer_writelines(end.writer, lines, 2), 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 23);
    CHECK_INT(calls.sends, 0); /* gathered, ... */
    check_peer_gets_nothing(&end);
    settle(end.loop);
    CHECK_INT(calls.sends, 1); /* ... and sent at once */
    CHECK_INT(calls.bytes, 23);
    check_peer_gets(&end, "one two three four five");
    for (int i = 0; i < 1000; i++) CHECK_INT(eddy_writer_write(end.writer, "0123456789", 10), 0);
    settle(end.loop);
    CHECK_INT(calls.sends, 2);
    CHECK_INT(calls.bytes, 10023);
    calls_forget();
    end_free(&end);
}

static void answer_three_times(struct got *got, void *data)
{
    struct end *end = data;
    (void)got;
    CHECK(eddy_writer_write(end->writer, "a", 1) >= 0);
    CHECK(eddy_writer_write(end->writer, "b", 1) >= 0);
    CHECK(eddy_writer_write(end->writer, "c\n", 2) >= 0);
    START(got, eddy_reader_readline(end->reader, got_read, got));
}

TEST(the_answers_to_a_batch_of_requests_are_one_send, "W1")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    line.then = answer_three_times;
    line.data = &end;
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    settle(end.loop);
    calls_watch(end.fd);
    plain_send_text(end.peer, "1\n2\n3\n4\n5\n6\n7\n8\n");
    RUN_UNTIL(end.loop, line.count == 8);
    settle(end.loop);
    CHECK_INT(calls.sends, 1);
    CHECK_INT(calls.bytes, 32);
    calls_forget();
    line.then = NULL;
    end_free(&end);
    CHECK_INT(line.count, 9);
    CHECK_INT(line.code, EDDY_ECANCELED);
}

TEST(many_gathered_bytes_do_not_wait_for_the_end_of_the_turn, "W1")
{
    struct end end = end_tcp(NULL);
    static const char block[8192];
    settle(end.loop);
    calls_watch(end.fd);
    for (int i = 0; i < 8; i++) CHECK(eddy_writer_write(end.writer, block, sizeof block) >= 0);
    CHECK(calls.sends > 0);
    CHECK(eddy_writer_get_write_buffer_size(end.writer) < 8 * sizeof block);
    calls_forget();
    end_free(&end);
}

TEST(writing_nothing_does_nothing, "W2 a16")
{
    struct end end = end_tcp(NULL);
    eddy_bytes nothing[] = { { NULL, 0 }, { "", 0 } };
    calls_watch(end.fd);
    CHECK_INT(eddy_writer_write(end.writer, "", 0), 0);
    CHECK_INT(eddy_writer_write(end.writer, NULL, 0), 0);
    CHECK_INT(eddy_writer_writelines(end.writer, nothing, 2), 0);
    CHECK_INT(eddy_writer_writelines(end.writer, nothing, 0), 0);
    CHECK_INT(eddy_writer_writelines(end.writer, NULL, 0), 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0);
    settle(end.loop);
    CHECK_INT(calls.sends, 0);
    check_peer_gets_nothing(&end);
    calls_forget();
    end_free(&end);
}

TEST(bytes_that_make_no_sense_are_refused, "")
{
    struct end end = end_tcp(NULL);
    eddy_bytes lines[] = { { "fine", 4 }, { NULL, 3 } };
    CHECK_INT(eddy_writer_write(end.writer, NULL, 1), EDDY_EINVAL);
    CHECK_INT(eddy_writer_write(end.writer, "x", SIZE_MAX), EDDY_EINVAL);
    CHECK_INT(eddy_writer_write(end.writer, "x", (size_t)SSIZE_MAX + 1), EDDY_EINVAL);
    CHECK_INT(eddy_writer_writelines(end.writer, NULL, 1), EDDY_EINVAL);
    CHECK_INT(eddy_writer_writelines(end.writer, lines, 2), EDDY_EINVAL);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0); /* nothing of it was taken */
    CHECK_INT(eddy_writer_drain(end.writer, NULL, NULL), EDDY_EINVAL);
    CHECK_INT(eddy_writer_wait_closed(end.writer, NULL, NULL), EDDY_EINVAL);
    settle(end.loop);
    check_peer_gets_nothing(&end);
    end_free(&end);
}

TEST(the_callers_bytes_are_copied, "W4 a14")
{
    struct end end = end_tcp(NULL);
    size_t size = much();
    char *bytes = plain_fill(size), small[] = "small";
    int error;
    CHECK(eddy_writer_write(end.writer, small, 5) >= 0);
    memset(small, '!', 5);
    settle(end.loop);
    check_peer_gets(&end, "small");
    end_narrow(&end, 65536);
    CHECK_INT(eddy_writer_write(end.writer, bytes, size), 1);
    memset(bytes, '!', size);
    free(bytes);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(end_peer_reads_pattern(&end, &error), size);
    end_free(&end);
}

static void write_in_small_bites(struct end end)
{
    size_t size = 200, at = 0; /* no more than the kernel holds: each bite costs it a thousand */
    char *bytes = plain_fill(size);
    int error;
    GOT(closed);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    calls_watch(end.fd);
    for (size_t step = 1; at < size; step = step % 97 + 1) {
        size_t len = step < size - at ? step : size - at, half = len / 2;
        eddy_bytes parts[] = { { bytes + at, half }, { NULL, 0 }, { bytes + at + half, len - half } };
        calls.most = step % 3 + 1;
        CHECK(eddy_writer_writelines(end.writer, parts, 3) >= 0);
        if (step % 10 == 0) CHECK(eddy_loop_run_once(end.loop, 0) >= 0);
        at += len;
    }
    calls.most = 3;
    CHECK_INT(eddy_writer_close(end.writer), 0);
    RUN_UNTIL(end.loop, closed.count > 0); /* nothing that the peer does helps it along */
    CHECK_INT(closed.code, 0);
    CHECK_INT(end_peer_reads_pattern(&end, &error), size);
    CHECK_INT(error, 0);
    CHECK((size_t)calls.sends >= size / 3);
    calls_forget();
    free(bytes);
    end_free(&end);
}

TEST(a_kernel_that_takes_a_few_bytes_at_a_time_gets_them_all_in_order, "W10 W11 n11")
{
    write_in_small_bites(end_unix(NULL));
    write_in_small_bites(end_tcp(NULL));
}

TEST(a_passing_shortage_of_memory_in_the_kernel_is_waited_out, "n15")
{
    static const int errors[] = { ENOBUFS, ENOMEM };
    for (int i = 0; i < 2; i++) {
        struct end end = end_tcp(NULL);
        GOT(closed);
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        calls_watch(end.fd);
        calls.error = errors[i];
        calls.errors = 3;
        CHECK(eddy_writer_write(end.writer, "patience", 8) >= 0);
        CHECK(eddy_writer_write_eof(end.writer) == 0);
        PUMP_UNTIL(end.loop, calls.errors == 0 && calls.sends > 0);
        check_peer_gets(&end, "patience");
        CHECK_INT(closed.count, 0);
        calls_forget();
        end_free(&end);
    }
}

TEST(interrupted_sends_are_repeated, "W9")
{
    struct end end = end_tcp(NULL);
    calls_watch(end.fd);
    calls.error = EINTR;
    calls.errors = 2;
    CHECK(eddy_writer_write(end.writer, "again", 5) >= 0);
    PUMP_UNTIL(end.loop, calls.sends > 0);
    check_peer_gets(&end, "again");
    calls_forget();
    end_free(&end);
}

TEST(an_error_of_sending_is_told_by_callbacks_only, "W9 C10 C8")
{
    struct end end = end_tcp(NULL);
    GOT(drained);
    GOT(line);
    GOT(closed);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    stuff(&end);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    calls_watch(end.fd);
    calls.error = ETIMEDOUT;
    calls.errors = 1000;
    CHECK(eddy_writer_write(end.writer, "more", 4) >= 0);
    char bytes[65536];
    while (closed.count == 0) { /* the peer makes room, so that it is tried again */
        plain_look(end.peer, bytes, sizeof bytes);
        CHECK(eddy_loop_run_once(end.loop, 10) >= 0);
    }
    CHECK_INT(drained.code, EDDY_ELOST);
    CHECK_INT(line.code, EDDY_ELOST);
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK_INT(closed.system, ETIMEDOUT);
    CHECK_INT(drained.system, ETIMEDOUT);
    CHECK_INT(line.system, ETIMEDOUT);
    CHECK(drained.order < line.order && line.order < closed.order);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0);
    CHECK(eddy_writer_is_closing(end.writer));
    calls_forget();
    end_free(&end);
    CHECK_INT(drained.count, 1);
    CHECK_INT(line.count, 1);
    CHECK_INT(closed.count, 1);
}

TEST(after_the_network_took_it_writing_is_accepted_and_dropped, "W6")
{
    struct end end = end_tcp(NULL);
    static char bytes[200000];
    eddy_bytes lines[] = { { bytes, sizeof bytes }, { "x", 1 } };
    GOT(closed);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    settle(end.loop);
    end_reset_peer(&end);
    RUN_UNTIL(end.loop, closed.count > 0);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(eddy_writer_write(end.writer, bytes, sizeof bytes), 0);
        CHECK_INT(eddy_writer_writelines(end.writer, lines, 2), 0);
        CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0);
    }
    CHECK_INT(eddy_loop_run(end.loop), 0);
    end_free(&end);
}

TEST(after_close_writing_is_refused_and_all_before_it_arrives, "W7 K1")
{
    struct end end = end_tcp(NULL);
    eddy_bytes line = { "late", 4 };
    int error;
    size_t size = stuff(&end);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(eddy_writer_write(end.writer, "late", 4), EDDY_ESTATE);
    CHECK_INT(eddy_writer_writelines(end.writer, &line, 1), EDDY_ESTATE);
    settle(end.loop);
    CHECK_INT(eddy_writer_write(end.writer, "late", 4), EDDY_ESTATE);
    CHECK_INT(end_peer_reads_pattern(&end, &error), size);
    CHECK_INT(error, 0);
    CHECK_INT(eddy_writer_write(end.writer, "late", 4), EDDY_ESTATE);
    end_close_peer(&end);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK_INT(eddy_writer_write(end.writer, "late", 4), EDDY_ESTATE);
    end_free(&end);
}

TEST(after_abort_writing_is_refused, "W6 K5")
{
    struct end end = end_tcp(NULL);
    CHECK_INT(eddy_writer_abort(end.writer), 0);
    CHECK_INT(eddy_writer_write(end.writer, "late", 4), EDDY_ESTATE);
    settle(end.loop);
    CHECK_INT(eddy_writer_write(end.writer, "late", 4), EDDY_ESTATE);
    end_free(&end);
}

TEST(many_lines_go_out_as_one_text, "W11")
{
    enum { COUNT = 3000 }; /* more than the system takes in one call */
    static eddy_bytes lines[COUNT];
    struct end end = end_tcp(NULL);
    char *bytes = plain_fill(COUNT * 5);
    size_t at = 0;
    int error;
    for (size_t i = 0; i < COUNT; i++) {
        size_t len = i % 6; /* also empty ones */
        lines[i] = (eddy_bytes){ len > 0 ? bytes + at : NULL, len };
        at += len;
    }
    CHECK_INT(eddy_writer_writelines(end.writer, lines, COUNT), 0);
    memset(lines, 0, sizeof lines);
    CHECK_INT(eddy_writer_write_eof(end.writer), 0);
    CHECK_INT(end_peer_reads_pattern(&end, &error), at);
    free(bytes);
    end_free(&end);
}

TEST(writelines_knows_the_high_water_mark_and_leaves_nothing_behind, "W11 W12 p08")
{
    struct end end = end_tcp(NULL);
    size_t size = much();
    char *bytes = plain_fill(size);
    int error;
    GOT(drained);
    GOT(closed);
    eddy_bytes lines[] = { { bytes, size / 2 }, { "", 0 }, { bytes + size / 2, size - size / 2 }, { NULL, 0 } };
    end_narrow(&end, 65536);
    CHECK_INT(eddy_writer_writelines(end.writer, lines, 4), 1);
    free(bytes);
    settle(end.loop);
    CHECK(eddy_writer_get_write_buffer_size(end.writer) > 65536);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    uint64_t cpu = plain_cpu();
    end_pump(end.loop, 200);
    CHECK(plain_cpu() - cpu < 150); /* the empty part at the end does not spin */
    CHECK_INT(drained.count, 0);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(end_peer_reads_pattern(&end, &error), size); /* what the first send left is not forgotten */
    CHECK_INT(error, 0);
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(closed.code, 0);
    CHECK_INT(drained.count, 1);
    CHECK_INT(drained.code, 0);
    end_free(&end);
}

TEST(the_end_of_stream_comes_after_the_output_and_reading_goes_on, "W13 W10")
{
    struct end end = end_tcp(NULL);
    int error;
    GOT(line);
    size_t size = stuff(&end);
    CHECK_INT(eddy_writer_write_eof(end.writer), 0);
    CHECK_INT(eddy_writer_write_eof(end.writer), 0);
    CHECK(!eddy_writer_is_closing(end.writer));
    CHECK_INT(end_peer_reads_pattern(&end, &error), size);
    CHECK_INT(error, 0);
    CHECK_INT(eddy_writer_write_eof(end.writer), 0);
    plain_send_text(end.peer, "still listening\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "still listening\n");
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(eddy_writer_write_eof(end.writer), 0); /* nothing more to end */
    end_free(&end);
}

TEST(after_the_end_of_stream_writing_is_refused, "W5 a17")
{
    struct end end = end_tcp(NULL);
    eddy_bytes line = { "x", 1 };
    CHECK_INT(eddy_writer_write_eof(end.writer), 0);
    CHECK_INT(eddy_writer_write(end.writer, "x", 1), EDDY_ESTATE);
    CHECK_INT(eddy_writer_writelines(end.writer, &line, 1), EDDY_ESTATE);
    settle(end.loop);
    CHECK_INT(eddy_writer_write(end.writer, "x", 1), EDDY_ESTATE);
    char byte;
    CHECK_INT(plain_recv(end.peer, &byte, 1), 0);
    end_free(&end);
}

TEST(plain_sockets_can_end_their_stream, "W14")
{
    struct end tcp = end_tcp(NULL), local = end_unix_on(tcp.loop, NULL);
    char byte;
    CHECK(eddy_writer_can_write_eof(tcp.writer));
    CHECK(eddy_writer_can_write_eof(local.writer));
    CHECK_INT(eddy_writer_write_eof(local.writer), 0);
    settle(local.loop);
    CHECK_INT(plain_recv(local.peer, &byte, 1), 0);
    plain_send_text(local.peer, "x");
    close(local.peer);
    end_free(&tcp);
}

TEST(the_transport_is_the_live_one, "W15")
{
    struct end end = end_tcp(NULL);
    eddy_transport *transport = eddy_writer_transport(end.writer);
    CHECK(transport != NULL);
    CHECK(eddy_writer_transport(end.writer) == transport);
    CHECK(!eddy_transport_is_closing(transport));
    CHECK(eddy_transport_is_reading(transport));
    CHECK_INT(eddy_transport_close(transport), 0);
    CHECK(eddy_transport_is_closing(transport));
    CHECK(eddy_writer_is_closing(end.writer));
    end_free(&end);
}

/* ---- flow control -------------------------------------------------------------------------------------- */

TEST(water_marks_have_defaults_and_derive_from_each_other, "F1")
{
    struct end end = end_unix(NULL);
    size_t unset = EDDY_UNTIL_EOF;
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, unset, unset), 0);
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, 100, 100), 0);
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, 100, 101), EDDY_EINVAL);
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, 0, 1), EDDY_EINVAL);
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, 0, 0), 0);
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, 0, unset), 0);
    settle(end.loop);
    end_free(&end);
}

/* Whether the writer finds that a buffer of so many bytes stands above its high-water mark. Nothing is
 * sent. */
static bool is_high(size_t size, size_t high, size_t low)
{
    struct end end = end_unix(NULL);
    char *bytes = plain_fill(size);
    calls_watch(end.fd);
    calls.error = EAGAIN;
    calls.errors = 1 << 30;
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, high, low), 0);
    int advice = eddy_writer_write(end.writer, bytes, size);
    CHECK(advice == 0 || advice == 1);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), size);
    GOT(drained);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    settle(end.loop);
    CHECK_INT(drained.count, advice == 1 ? 0 : 1); /* the mark that write saw is the one that drain sees */
    calls_forget();
    free(bytes);
    end_free(&end);
    return advice == 1;
}

TEST(the_high_water_mark_is_passed_by_one_byte_more, "F1 F2")
{
    size_t unset = EDDY_UNTIL_EOF;
    CHECK(!is_high(65536, unset, unset)); /* the default */
    CHECK(is_high(65537, unset, unset));
    CHECK(!is_high(4000, unset, 1000)); /* four times the low one */
    CHECK(is_high(4001, unset, 1000));
    CHECK(!is_high(500, 500, unset));
    CHECK(is_high(501, 500, unset));
    CHECK(is_high(1, 0, unset));
}

static void note_size(struct got *got, void *data)
{
    *(size_t *)data = eddy_writer_get_write_buffer_size(got->writer);
}

/* Lets the peer read a little at a time until the drain is through, which must come in the turn after the
 * mark is reached. Gives what was buffered then. */
static size_t drained_at(size_t high_mark, size_t low_mark, size_t low)
{
    struct end end = end_unix(NULL);
    size_t size = 200000, at = SIZE_MAX;
    char *bytes = plain_fill(size), some[512];
    GOT(drained);
    drained.then = note_size;
    drained.data = &at;
    end_narrow(&end, 4096);
    calls_watch(end.fd);
    calls.most = 700; /* so that it does not pass by the mark too far */
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, high_mark, low_mark), 0);
    CHECK_INT(eddy_writer_write(end.writer, bytes, size), 1);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    uint64_t deadline = plain_now() + 20000 * (uint64_t)eddy_test_slow();
    while (drained.count == 0) {
        bool is_low = eddy_writer_get_write_buffer_size(end.writer) <= low;
        if (!is_low) plain_look(end.peer, some, sizeof some);
        CHECK(eddy_loop_run_once(end.loop, 0) >= 0);
        if (is_low && drained.count == 0) FAIL("it is low, and the drain still waits");
        if (plain_now() > deadline) FAIL("the drain waits for ever");
    }
    CHECK_INT(drained.code, 0);
    calls_forget();
    free(bytes);
    end_free(&end);
    CHECK_INT(drained.count, 1);
    return at;
}

TEST(a_drain_completes_at_the_low_water_mark, "F1 F2 F10")
{
    size_t unset = EDDY_UNTIL_EOF;
    const struct { size_t high, low, effective; } marks[] = {
        { 20000, 10000, 10000 }, { unset, 5000, 5000 }, { 16000, unset, 4000 }, { unset, unset, 16384 },
    };
    for (int i = 0; i < 4; i++) {
        size_t low = marks[i].effective, at = drained_at(marks[i].high, marks[i].low, low);
        if (at > low) FAIL("drained at %zu, above %zu", at, low);
        CHECK(at > 0); /* and not only when all is gone */
    }
    CHECK_INT(drained_at(0, 0, 0), 0);
}

TEST(new_water_marks_count_at_once, "F3")
{
    struct end end = end_unix(NULL);
    GOT(before);
    GOT(after);
    calls_watch(end.fd);
    calls.error = EAGAIN;
    calls.errors = 1 << 30;
    CHECK_INT(eddy_writer_write(end.writer, "0123456789", 10), 0);
    START(&before, eddy_writer_drain(end.writer, got_writer, &before));
    settle(end.loop);
    CHECK_INT(before.count, 1);
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, 5, 2), 0);
    START(&after, eddy_writer_drain(end.writer, got_writer, &after));
    settle(end.loop);
    CHECK_INT(after.count, 0);
    CHECK_INT(eddy_writer_write(end.writer, "x", 1), 1);
    calls_forget();
    end_free(&end);
    CHECK_INT(after.count, 1);
    CHECK_INT(after.code, EDDY_ECANCELED);
}

TEST(a_drain_gives_the_readers_error, "F6")
{
    struct end end = end_tcp(NULL);
    GOT(drained);
    CHECK_INT(eddy_reader_set_exception(end.reader, 7, "the lights went out"), 0);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    RUN_UNTIL(end.loop, drained.count > 0);
    CHECK_INT(drained.code, 7);
    CHECK_STR(drained.message, "the lights went out");
    CHECK_INT(eddy_writer_write(end.writer, "x", 1), 0); /* the connection itself is well */
    settle(end.loop);
    check_peer_gets(&end, "x");
    end_free(&end);
}

TEST(a_drain_after_close_sees_that_the_connection_ends, "F7 F8 a03")
{
    struct end end = end_tcp(NULL);
    GOT(at_once);
    GOT(later);
    GOT(closed);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    START(&at_once, eddy_writer_drain(end.writer, got_writer, &at_once));
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    RUN_UNTIL(end.loop, closed.count > 0 && at_once.count > 0);
    CHECK_INT(at_once.code, EDDY_ELOST);
    CHECK_INT(at_once.system, 0);
    START(&later, eddy_writer_drain(end.writer, got_writer, &later));
    RUN_UNTIL(end.loop, later.count > 0);
    CHECK_INT(later.code, EDDY_ELOST);
    CHECK_INT(later.system, 0); /* it was this side */
    end_free(&end);
    CHECK_INT(at_once.count, 1);
    CHECK_INT(later.count, 1);
}

TEST(a_drain_after_the_network_took_it_tells_why, "F8")
{
    struct end end = end_tcp(NULL);
    GOT(drained);
    GOT(closed);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    settle(end.loop);
    end_reset_peer(&end);
    RUN_UNTIL(end.loop, closed.count > 0);
    for (int i = 1; i <= 2; i++) {
        START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
        RUN_UNTIL(end.loop, drained.count == i);
        CHECK_INT(drained.code, EDDY_ELOST);
        CHECK_INT(drained.system, ECONNRESET);
    }
    end_free(&end);
}

TEST(a_drain_with_nothing_to_wait_for_completes_next, "F9 F14")
{
    struct end end = end_tcp(NULL);
    GOT(empty);
    GOT(some);
    START(&empty, eddy_writer_drain(end.writer, got_writer, &empty)); /* START: not within the call */
    CHECK(eddy_loop_run_once(end.loop, 0) >= 0);
    CHECK_INT(empty.count, 1);
    CHECK_INT(empty.code, 0);
    CHECK(empty.writer == end.writer);
    calls_watch(end.fd); /* from here on the kernel takes nothing */
    calls.error = EAGAIN;
    calls.errors = 1 << 30;
    CHECK_INT(eddy_writer_write(end.writer, "unsent", 6), 0);
    START(&some, eddy_writer_drain(end.writer, got_writer, &some));
    settle(end.loop);
    CHECK_INT(some.count, 1); /* below the mark: neither sent nor received */
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 6);
    check_peer_gets_nothing(&end);
    calls_forget();
    end_free(&end);
}

TEST(several_drains_wait_together_and_one_may_be_cancelled, "F11 F12 a09")
{
    struct end end = end_tcp(NULL);
    GOT(first);
    GOT(second);
    GOT(third);
    int error;
    size_t size = stuff(&end);
    START(&first, eddy_writer_drain(end.writer, got_writer, &first));
    eddy_op op = START(&second, eddy_writer_drain(end.writer, got_writer, &second));
    START(&third, eddy_writer_drain(end.writer, got_writer, &third));
    settle(end.loop);
    CHECK_INT(first.count + second.count + third.count, 0);
    CHECK_INT(eddy_loop_cancel(end.loop, op), 0);
    CHECK_INT(second.count, 0);
    settle(end.loop);
    CHECK_INT(second.count, 1);
    CHECK_INT(second.code, EDDY_ECANCELED);
    CHECK_INT(first.count + third.count, 0);
    CHECK_INT(eddy_writer_write_eof(end.writer), 0);
    CHECK_INT(end_peer_reads_pattern(&end, &error), size);
    RUN_UNTIL(end.loop, first.count > 0 && third.count > 0);
    CHECK_INT(first.code, 0);
    CHECK_INT(third.code, 0);
    CHECK(first.order < third.order);
    CHECK_INT(eddy_loop_cancel(end.loop, op), EDDY_ESTALE);
    end_free(&end);
    CHECK_INT(first.count, 1);
    CHECK_INT(second.count, 1);
    CHECK_INT(third.count, 1);
}

TEST(drains_that_wait_are_told_how_the_connection_ended, "F13")
{
    for (int way = 0; way < 3; way++) {
        struct end end = end_tcp(NULL);
        GOT(first);
        GOT(second);
        GOT(closed);
        stuff(&end);
        START(&first, eddy_writer_drain(end.writer, got_writer, &first));
        START(&second, eddy_writer_drain(end.writer, got_writer, &second));
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        if (way == 0) end_reset_peer(&end);
        if (way == 1) CHECK_INT(eddy_writer_abort(end.writer), 0);
        if (way == 2) {
            CHECK_INT(eddy_writer_close(end.writer), 0);
            settle(end.loop);
            CHECK_INT(first.count, 0); /* still being flushed */
            CHECK_INT(eddy_writer_abort(end.writer), 0);
        }
        CHECK_INT(first.count + second.count + closed.count, 0);
        RUN_UNTIL(end.loop, closed.count > 0);
        CHECK_INT(first.code, EDDY_ELOST);
        CHECK_INT(second.code, EDDY_ELOST);
        CHECK_INT(first.system, way == 0 ? ECONNRESET : 0);
        CHECK_INT(second.system, way == 0 ? ECONNRESET : 0);
        CHECK_INT(closed.code, way == 0 ? EDDY_ELOST : 0);
        CHECK(first.order < second.order && second.order < closed.order);
        end_free(&end);
        CHECK_INT(first.count, 1);
        CHECK_INT(second.count, 1);
        CHECK_INT(closed.count, 1);
    }
}

TEST(a_drain_goes_well_when_close_flushes_all, "F13 K1")
{
    struct end end = end_tcp(NULL);
    int error;
    GOT(drained);
    size_t size = stuff(&end);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(end_peer_reads_pattern(&end, &error), size);
    RUN_UNTIL(end.loop, drained.count > 0);
    CHECK_INT(drained.code, 0);
    end_free(&end);
}

/* ---- closing ------------------------------------------------------------------------------------------- */

TEST(close_sends_what_is_queued_and_then_ends, "K1 K2 K3 d03")
{
    struct end end = end_tcp(NULL);
    int error;
    GOT(closed);
    GOT(again);
    size_t size = stuff(&end);
    CHECK(!eddy_writer_is_closing(end.writer));
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK(eddy_writer_is_closing(end.writer));
    CHECK_INT(eddy_writer_close(end.writer), 0);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    START(&again, eddy_writer_wait_closed(end.writer, got_writer, &again));
    settle(end.loop);
    CHECK_INT(closed.count, 0); /* not before all is sent */
    CHECK_INT(end_peer_reads_pattern(&end, &error), size);
    CHECK_INT(error, 0);
    RUN_UNTIL(end.loop, closed.count > 0 && again.count > 0);
    CHECK(closed.order < again.order);
    CHECK_INT(closed.code, 0);
    CHECK_INT(again.code, 0);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    for (int i = 2; i <= 4; i++) { /* it may be asked as often as one likes */
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        CHECK(eddy_loop_run_once(end.loop, 0) >= 0);
        CHECK_INT(closed.count, i);
        CHECK_INT(closed.code, 0);
    }
    end_free(&end);
}

TEST(close_stops_reading_at_once, "K1 K3 R89 a03")
{
    struct end end = end_tcp(NULL);
    GOT(closed);
    GOT(rest);
    stuff(&end); /* so that closing takes its time */
    plain_send_text(end.peer, "before");
    PUMP_UNTIL(end.loop, eddy_reader_buffered(end.reader, NULL) == 6);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    plain_send_text(end.peer, "after");
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    end_pump(end.loop, 20);
    CHECK_INT(eddy_reader_buffered(end.reader, NULL), 6);
    CHECK_INT(closed.count, 0);
    CHECK_INT(eddy_writer_abort(end.writer), 0);
    RUN_UNTIL(end.loop, closed.count > 0); /* also with bytes that nobody has read */
    CHECK_INT(closed.code, 0);
    START(&rest, eddy_reader_read(end.reader, EDDY_UNTIL_EOF, got_read, &rest));
    RUN_UNTIL(end.loop, rest.count > 0);
    CHECK_BYTES(rest.bytes, rest.len, "before");
    end_free(&end);
}

TEST(a_writer_is_closing_as_soon_as_it_is_aborted_or_lost, "K2")
{
    struct end aborted = end_tcp(NULL), lost = end_tcp_on(aborted.loop, NULL);
    CHECK_INT(eddy_writer_abort(aborted.writer), 0);
    CHECK(eddy_writer_is_closing(aborted.writer));
    CHECK(!eddy_writer_is_closing(lost.writer));
    end_reset_peer(&lost);
    PUMP_UNTIL(lost.loop, eddy_writer_is_closing(lost.writer));
    end_free(&aborted);
}

TEST(wait_closed_gives_the_networks_error_to_everybody, "K3 C7")
{
    struct end end = end_tcp(NULL);
    struct got all[20] = { { .count = 0 } };
    for (int i = 0; i < 10; i++) START(&all[i], eddy_writer_wait_closed(end.writer, got_writer, &all[i]));
    settle(end.loop);
    end_reset_peer(&end);
    RUN_UNTIL(end.loop, all[9].count > 0);
    for (int i = 10; i < 20; i++) START(&all[i], eddy_writer_wait_closed(end.writer, got_writer, &all[i]));
    RUN_UNTIL(end.loop, all[19].count > 0);
    end_free(&end);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(all[i].count, 1);
        CHECK_INT(all[i].code, EDDY_ELOST);
        CHECK_INT(all[i].system, ECONNRESET);
        got_release(&all[i]);
    }
}

TEST(a_peer_that_never_reads_keeps_a_close_waiting_until_abort, "K4 K5")
{
    struct end end = end_tcp(NULL);
    int error;
    GOT(closed);
    size_t size = stuff(&end);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    uint64_t cpu = plain_cpu();
    end_pump(end.loop, 300);
    CHECK(plain_cpu() - cpu < 200);
    CHECK_INT(closed.count, 0);
    CHECK_INT(eddy_writer_abort(end.writer), 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0);
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(closed.code, 0);
    CHECK(end_peer_reads_pattern(&end, &error) < size);
    CHECK_INT(error, ECONNRESET);
    end_free(&end);
    CHECK_INT(closed.count, 1);
}

TEST(abort_drops_the_output_and_resets, "K5 C8 d04")
{
    struct end end = end_tcp(NULL);
    int error;
    GOT(line);
    GOT(closed);
    size_t size = stuff(&end);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    CHECK_INT(eddy_writer_abort(end.writer), 0);
    CHECK_INT(eddy_writer_abort(end.writer), 0);
    CHECK_INT(line.count + closed.count, 0);
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(line.count, 1);
    CHECK_INT(line.code, 0); /* this side ended it: an end of the stream */
    CHECK_INT(line.len, 0);
    CHECK_INT(closed.code, 0);
    CHECK(end_peer_reads_pattern(&end, &error) < size);
    CHECK_INT(error, ECONNRESET);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK(!plain_is_open(end.fd));
    end_free(&end);
    CHECK_INT(closed.count, 1);
}

TEST(an_abort_with_nothing_queued_resets_as_well, "K5")
{
    struct end end = end_tcp(NULL);
    int error;
    CHECK_INT(eddy_writer_abort(end.writer), 0);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK_INT(plain_recv_pattern(end.peer, &error), 0);
    CHECK_INT(error, ECONNRESET);
    end_free(&end);
}

TEST(a_writer_that_is_freed_sends_what_it_has, "K1")
{
    struct end end = end_tcp(NULL);
    struct reports reports = { .count = 0 };
    int error;
    GOT(line);
    GOT(drained);
    GOT(closed);
    eddy_loop_set_exception_handler(end.loop, got_report, &reports);
    size_t size = stuff(&end);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    eddy_writer_free(end.writer);
    CHECK_INT(line.count + drained.count + closed.count, 0);
    CHECK_INT(eddy_writer_write(end.writer, "x", 1), EDDY_ESTALE);
    CHECK_INT(eddy_reader_readline(end.reader, got_read, &line), EDDY_ESTALE);
    eddy_writer_free(end.writer);
    settle(end.loop);
    CHECK_INT(line.code, EDDY_ECANCELED);
    CHECK_INT(drained.code, EDDY_ECANCELED);
    CHECK_INT(closed.count, 0); /* it is the last one, after all is sent */
    CHECK_INT(end_peer_reads_pattern(&end, &error), size);
    CHECK_INT(error, 0);
    end_close_peer(&end);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.code, 0);
    CHECK(closed.order > line.order && closed.order > drained.order);
    CHECK(!plain_is_open(end.fd));
    end_free(&end);
    CHECK_INT(line.count, 1);
    CHECK_INT(drained.count, 1);
    CHECK_INT(closed.count, 1);
}

TEST(the_loop_runs_until_a_freed_writer_has_sent_all, "K1")
{
    struct end end = end_tcp(NULL);
    int error;
    size_t size = 50000;
    char *bytes = plain_fill(size);
    eddy_writer_write(end.writer, bytes, size);
    eddy_writer_free(end.writer);
    shutdown(end.peer, SHUT_WR); /* no need to linger for the peer */
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK(!plain_is_open(end.fd));
    CHECK_INT(plain_recv_pattern(end.peer, &error), size);
    CHECK_INT(error, 0);
    free(bytes);
    end_free(&end);
}

struct late_peer {
    int fd, error;
    size_t got;
};

static void *read_late(void *arg)
{
    struct late_peer *peer = arg;
    usleep(30000);
    peer->got = plain_recv_pattern(peer->fd, &peer->error);
    return NULL;
}

TEST(close_with_unread_input_loses_nothing, "K1 K3 n07 n08")
{
    for (int freed = 0; freed < 2; freed++) {
        struct end end = end_tcp(NULL);
        struct late_peer peer = { .fd = end.peer };
        size_t size = 4 * MEGABYTE / (size_t)(eddy_test_slow() > 1 ? 4 : 1);
        char *bytes = plain_fill(size);
        GOT(closed);
        plain_send_text(end.peer, "unread");
        end_narrow(&end, 65536);
        CHECK_INT(eddy_writer_write(end.writer, bytes, size), 1);
        settle(end.loop);
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        if (freed == 0) CHECK_INT(eddy_writer_close(end.writer), 0);
        if (freed == 1) eddy_writer_free(end.writer);
        plain_send_text(end.peer, "and more of it");
        pthread_t thread = plain_start(read_late, &peer);
        RUN_UNTIL(end.loop, closed.count > 0);
        CHECK_INT(closed.code, 0);
        end_pump(end.loop, 50);
        plain_join(thread);
        CHECK_INT(peer.got, size);
        CHECK_INT(peer.error, 0);
        end_close_peer(&end);
        CHECK_INT(eddy_loop_run(end.loop), 0);
        CHECK(!plain_is_open(end.fd));
        free(bytes);
        end_free(&end);
    }
}

TEST(a_peer_may_go_on_sending_for_a_while_after_our_close, "K1 n08")
{
    struct end end = end_tcp(NULL);
    char bytes[8];
    CHECK_INT(eddy_writer_write(end.writer, "bye", 3), 0);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    for (int i = 0; i < 3; i++) {
        end_pump(end.loop, 50);
        plain_send_text(end.peer, "not heard"); /* a socket that is closed would answer with a reset */
    }
    end_pump(end.loop, 20);
    CHECK_INT(plain_recv(end.peer, bytes, sizeof bytes), 3);
    end_close_peer(&end);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK(!plain_is_open(end.fd));
    end_free(&end);
}

TEST(a_peer_that_does_not_close_is_waited_for_only_so_long, "")
{
    struct end end = end_tcp(NULL);
    uint64_t start = plain_now();
    eddy_writer_write(end.writer, "bye", 3);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK(plain_now() - start < 3000 + 1000 * (uint64_t)eddy_test_slow());
    CHECK(!plain_is_open(end.fd));
    end_free(&end);
}

TEST(a_peer_that_never_reads_does_not_hold_up_another, "K4")
{
    struct end stuck = end_tcp(NULL), lively = end_tcp_on(stuck.loop, NULL);
    GOT(drained);
    GOT(line);
    stuff(&stuck);
    START(&drained, eddy_writer_drain(stuck.writer, got_writer, &drained));
    for (int i = 1; i <= 50; i++) {
        plain_send_text(lively.peer, "ping\n");
        START(&line, eddy_reader_readline(lively.reader, got_read, &line));
        RUN_UNTIL(stuck.loop, line.count == i);
        CHECK_INT(eddy_writer_write(lively.writer, line.bytes, line.len), 0);
        settle(stuck.loop);
        check_peer_gets(&lively, "ping\n");
    }
    CHECK_INT(drained.count, 0);
    close(lively.peer);
    end_free(&stuck);
    CHECK_INT(drained.count, 1);
    CHECK_INT(drained.code, EDDY_ECANCELED);
}

/* ---- what is known about a connection ------------------------------------------------------------------ */

TEST(a_writer_knows_its_names_and_its_socket, "K6")
{
    struct end end = end_tcp(NULL);
    struct reports reports = { .count = 0 };
    char expected[64];
    size_t len = 0;
    eddy_loop_set_exception_handler(end.loop, got_report, &reports);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", plain_port(end.peer));
    CHECK_STR(eddy_writer_get_extra_info(end.writer, "peername", &len), expected);
    CHECK_INT(len, strlen(expected));
    snprintf(expected, sizeof expected, "127.0.0.1:%u", plain_port(end.fd));
    CHECK_STR(eddy_writer_get_extra_info(end.writer, "sockname", &len), expected);
    CHECK_INT(len, strlen(expected));
    CHECK(plain_is_open(end.fd));
    len = 77;
    CHECK(eddy_writer_get_extra_info(end.writer, "horoscope", &len) == NULL);
    CHECK_INT(len, 0);
    CHECK(eddy_writer_get_extra_info(end.writer, NULL, NULL) == NULL);
    settle(end.loop);
    CHECK_INT(reports.count, 1);
    CHECK_INT(eddy_transport_set_extra_info(eddy_writer_transport(end.writer), "user", "an\0na", 5), 0);
    const char *user = eddy_writer_get_extra_info(end.writer, "user", &len);
    CHECK_BYTES(user, len, "an\0na");
    end_free(&end);
}

TEST(a_peer_without_a_name_is_no_error, "K7")
{
    struct end end = end_unix(NULL);
    size_t len = 77;
    CHECK(eddy_writer_get_extra_info(end.writer, "peername", &len) == NULL);
    CHECK_INT(len, 0);
    len = 77;
    CHECK(eddy_writer_get_extra_info(end.writer, "sockname", &len) == NULL);
    CHECK_INT(len, 0);
    CHECK(eddy_writer_get_extra_info(end.writer, "socket", &len) != NULL);
    CHECK(len > 0);
    end_free(&end);
}

TEST(a_peer_that_reset_before_it_was_asked_for_has_no_name, "K7")
{
    int ends[2];
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    plain_tcp_pair(ends);
    plain_send_text(ends[0], "abc");
    plain_reset(ends[0]);
    eddy_op op = eddy_open_socket(loop, ends[1], NULL, got_stream, &opened);
    if (op < 0) { /* by now it is no connected socket any more */
        CHECK_INT(op, EDDY_ESTATE);
        close(ends[1]);
        eddy_loop_free(loop);
        return;
    }
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_INT(opened.code, 0);
    eddy_writer_get_extra_info(opened.writer, "peername", NULL);
    GOT(bytes);
    START(&bytes, eddy_reader_readexactly(opened.reader, 3, got_read, &bytes));
    RUN_UNTIL(loop, bytes.count > 0);
    CHECK_BYTES(bytes.bytes, bytes.len, "abc");
    eddy_loop_free(loop);
}
