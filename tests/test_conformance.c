/* What every stream does, whatever it is joined by: see conformance.h. */
#include "conformance.h"

/* Asks, and runs until the answer is there. */
#define ASK(ends, got, call)                                                                       \
    do {                                                                                           \
        const int ask_before = (got)->count;                                                       \
        START(got, call);                                                                          \
        RUN_UNTIL((ends)->loop, (got)->count > ask_before);                                        \
    } while (0)

static void say(eddy_writer *writer, const char *text)
{
    CHECK(eddy_writer_write(writer, text, strlen(text)) >= 0);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

BEHAVIOUR(a_line_comes_whole, "R41")
{
    struct ends ends = make(NULL);
    GOT(line);
    START(&line, eddy_reader_readline(ends.readers[1], got_read, &line));
    say(ends.writers[0], "one");
    settle(ends.loop);
    CHECK_INT(line.count, 0);
    say(ends.writers[0], " and\ntwo\n");
    RUN_UNTIL(ends.loop, line.count > 0);
    CHECK_GOT(line, 1, "one and\n");
    ASK(&ends, &line, eddy_reader_readline(ends.readers[1], got_read, &line));
    CHECK_GOT(line, 2, "two\n");
    done(&ends);
}

BEHAVIOUR(the_last_line_needs_no_newline_and_then_there_is_nothing, "R22")
{
    struct ends ends = make(NULL);
    GOT(line);
    say(ends.writers[0], "last");
    CHECK_INT(eddy_writer_write_eof(ends.writers[0]), 0);
    ASK(&ends, &line, eddy_reader_readline(ends.readers[1], got_read, &line));
    CHECK_GOT(line, 1, "last");
    for (int i = 0; i < 3; i++) ASK(&ends, &line, eddy_reader_readline(ends.readers[1], got_read, &line));
    CHECK_GOT(line, 4, "");
    CHECK(eddy_reader_at_eof(ends.readers[1]));
    done(&ends);
}

BEHAVIOUR(exactly_so_many_and_the_rest_stays, "R31")
{
    struct ends ends = make(NULL);
    GOT(bytes);
    say(ends.writers[0], "abc");
    START(&bytes, eddy_reader_readexactly(ends.readers[1], 5, got_read, &bytes));
    settle(ends.loop);
    CHECK_INT(bytes.count, 0);
    say(ends.writers[0], "defgh");
    RUN_UNTIL(ends.loop, bytes.count > 0);
    CHECK_GOT(bytes, 1, "abcde");
    ASK(&ends, &bytes, eddy_reader_readexactly(ends.readers[1], 0, got_read, &bytes));
    CHECK_GOT(bytes, 2, "");
    ASK(&ends, &bytes, eddy_reader_read(ends.readers[1], 100, got_read, &bytes));
    CHECK_GOT(bytes, 3, "fgh");
    done(&ends);
}

BEHAVIOUR(an_end_that_comes_too_early_tells_what_there_was, "R33 R44")
{
    struct ends ends = make(NULL);
    GOT(bytes);
    say(ends.writers[0], "abc");
    CHECK_INT(eddy_writer_write_eof(ends.writers[0]), 0);
    ASK(&ends, &bytes, eddy_reader_readexactly(ends.readers[1], 5, got_read, &bytes));
    CHECK_INT(bytes.code, EDDY_EINCOMPLETE);
    CHECK_INT(bytes.expected, 5);
    CHECK_BYTES(bytes.bytes, bytes.len, "abc");
    ASK(&ends, &bytes, eddy_reader_readuntil(ends.readers[1], "x", 1, got_read, &bytes));
    CHECK_INT(bytes.code, EDDY_EINCOMPLETE);
    CHECK_BYTES(bytes.bytes, bytes.len, "");
    done(&ends);
}

BEHAVIOUR(a_separator_is_found_across_writes, "R42")
{
    struct ends ends = make(NULL);
    GOT(bytes);
    START(&bytes, eddy_reader_readuntil(ends.readers[1], "\r\n\r\n", 4, got_read, &bytes));
    const char *const pieces[] = { "a: b\r", "\n", "\r", "\nbody" };
    for (int i = 0; i < 4; i++) {
        say(ends.writers[0], pieces[i]);
        settle(ends.loop);
    }
    RUN_UNTIL(ends.loop, bytes.count > 0);
    CHECK_GOT(bytes, 1, "a: b\r\n\r\n");
    const eddy_bytes either[] = { { "y", 1 }, { "od", 2 } };
    ASK(&ends, &bytes, eddy_reader_readuntil_any(ends.readers[1], either, 2, got_read, &bytes));
    CHECK_GOT(bytes, 2, "bod");
    done(&ends);
}

BEHAVIOUR(what_is_there_and_everything_to_the_end, "R21 R23")
{
    struct ends ends = make(EDDY_OPTIONS(.limit = 10));
    GOT(bytes);
    say(ends.writers[0], "abcdef");
    ASK(&ends, &bytes, eddy_reader_read(ends.readers[1], 4, got_read, &bytes));
    CHECK_GOT(bytes, 1, "abcd");
    START(&bytes, eddy_reader_read(ends.readers[1], EDDY_UNTIL_EOF, got_read, &bytes));
    say(ends.writers[0], "a good deal more than twice the limit");
    settle(ends.loop);
    CHECK_INT(eddy_writer_write_eof(ends.writers[0]), 0);
    RUN_UNTIL(ends.loop, bytes.count > 1);
    CHECK_GOT(bytes, 2, "efa good deal more than twice the limit");
    done(&ends);
}

BEHAVIOUR(everything_but_no_more_than_so_much, "")
{
    struct ends ends = make(NULL);
    GOT(bytes);
    say(ends.writers[0], "123456");
    ASK(&ends, &bytes, eddy_reader_readall(ends.readers[1], 5, got_read, &bytes));
    CHECK_INT(bytes.code, EDDY_ELIMIT);
    CHECK_INT(eddy_writer_write_eof(ends.writers[0]), 0);
    ASK(&ends, &bytes, eddy_reader_readall(ends.readers[1], 6, got_read, &bytes));
    CHECK_GOT(bytes, 2, "123456");
    done(&ends);
}

BEHAVIOUR(a_line_beyond_the_limit_is_told_once_and_skipped, "R62 R64")
{
    struct ends ends = make(EDDY_OPTIONS(.limit = 8));
    GOT(line);
    say(ends.writers[0], "0123456789 and so on");
    ASK(&ends, &line, eddy_reader_readline(ends.readers[1], got_read, &line));
    CHECK_INT(line.code, EDDY_ELIMIT);
    START(&line, eddy_reader_readline(ends.readers[1], got_read, &line));
    say(ends.writers[0], " and on\nshort\n");
    RUN_UNTIL(ends.loop, line.count > 1);
    CHECK_GOT(line, 2, "short\n");
    done(&ends);
}

BEHAVIOUR(a_separator_beyond_the_limit_leaves_everything, "R46")
{
    struct ends ends = make(EDDY_OPTIONS(.limit = 8));
    GOT(bytes);
    say(ends.writers[0], "0123456789;");
    ASK(&ends, &bytes, eddy_reader_readuntil(ends.readers[1], ";", 1, got_read, &bytes));
    CHECK_INT(bytes.code, EDDY_ELIMIT);
    CHECK_INT(bytes.consumed, 10);
    ASK(&ends, &bytes, eddy_reader_readexactly(ends.readers[1], 11, got_read, &bytes));
    CHECK_GOT(bytes, 2, "0123456789;");
    done(&ends);
}

BEHAVIOUR(one_read_at_a_time, "R70")
{
    struct ends ends = make(NULL);
    GOT(first);
    GOT(second);
    START(&first, eddy_reader_readline(ends.readers[1], got_read, &first));
    CHECK_INT(eddy_reader_read(ends.readers[1], 1, got_read, &second), EDDY_EBUSY);
    say(ends.writers[0], "x\n");
    RUN_UNTIL(ends.loop, first.count > 0);
    CHECK_GOT(first, 1, "x\n");
    CHECK_INT(second.count, 0);
    done(&ends);
}

BEHAVIOUR(a_read_that_is_cancelled_loses_nothing, "R35")
{
    struct ends ends = make(NULL);
    GOT(bytes);
    eddy_op op = START(&bytes, eddy_reader_readexactly(ends.readers[1], 6, got_read, &bytes));
    say(ends.writers[0], "abc");
    settle(ends.loop);
    CHECK_INT(eddy_loop_cancel(ends.loop, op), 0);
    RUN_UNTIL(ends.loop, bytes.count > 0);
    CHECK_INT(bytes.code, EDDY_ECANCELED);
    CHECK_INT(eddy_loop_cancel(ends.loop, op), EDDY_ESTALE);
    say(ends.writers[0], "def");
    ASK(&ends, &bytes, eddy_reader_readexactly(ends.readers[1], 6, got_read, &bytes));
    CHECK_GOT(bytes, 2, "abcdef");
    done(&ends);
}

BEHAVIOUR(a_read_that_is_late_loses_nothing, "")
{
    struct ends ends = make(NULL);
    GOT(line);
    CHECK_INT(eddy_reader_set_timeout(ends.readers[1], 20), 0);
    say(ends.writers[0], "half");
    ASK(&ends, &line, eddy_reader_readline(ends.readers[1], got_read, &line));
    CHECK_INT(line.code, EDDY_ETIMEDOUT);
    CHECK_INT(eddy_reader_set_timeout(ends.readers[1], 0), 0);
    START(&line, eddy_reader_readline(ends.readers[1], got_read, &line));
    say(ends.writers[0], " a line\n");
    RUN_UNTIL(ends.loop, line.count > 1);
    CHECK_GOT(line, 2, "half a line\n");
    done(&ends);
}

BEHAVIOUR(a_look_takes_nothing, "")
{
    struct ends ends = make(NULL);
    GOT(bytes);
    START(&bytes, eddy_reader_peek(ends.readers[1], 4, got_read, &bytes));
    say(ends.writers[0], "abcdef");
    RUN_UNTIL(ends.loop, bytes.count > 0);
    CHECK_GOT(bytes, 1, "abcd");
    const char *seen;
    CHECK_INT(eddy_reader_buffered(ends.readers[1], &seen), 6);
    CHECK_BYTES(seen, 6, "abcdef");
    ASK(&ends, &bytes, eddy_reader_readexactly(ends.readers[1], 6, got_read, &bytes));
    CHECK_GOT(bytes, 2, "abcdef");
    done(&ends);
}

static void got_into(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct got *got = arg;
    CHECK(error == NULL);
    got->reader = reader;
    got_one(got, bytes, len, error);
}

BEHAVIOUR(a_read_into_memory_of_ones_own, "")
{
    struct ends ends = make(NULL);
    GOT(bytes);
    char room[8] = "........";
    say(ends.writers[0], "abc");
    ASK(&ends, &bytes, eddy_reader_read_into(ends.readers[1], room, 8, got_into, &bytes));
    CHECK_GOT(bytes, 1, "abc");
    CHECK_BYTES(room, 8, "abc.....");
    START(&bytes, eddy_reader_read_into(ends.readers[1], room + 3, 2, got_into, &bytes));
    say(ends.writers[0], "defg");
    RUN_UNTIL(ends.loop, bytes.count > 1);
    CHECK_BYTES(room, 8, "abcde...");
    ASK(&ends, &bytes, eddy_reader_read(ends.readers[1], 8, got_read, &bytes));
    CHECK_GOT(bytes, 3, "fg");
    done(&ends);
}

static void read_on(struct got *got, void *data)
{
    int *left = data;
    if (--*left > 0) CHECK(eddy_reader_readline(got->reader, got_read, got) >= 0);
}

BEHAVIOUR(lines_are_read_on_from_within_their_callbacks, "")
{
    struct ends ends = make(NULL);
    GOT(line);
    int left = 5000;
    line.then = read_on;
    line.data = &left;
    for (int i = 0; i < left; i++) say(ends.writers[0], "a line of some length, as lines are\n");
    ASK(&ends, &line, eddy_reader_readline(ends.readers[1], got_read, &line));
    RUN_UNTIL(ends.loop, left == 0);
    CHECK_GOT(line, 5000, "a line of some length, as lines are\n");
    done(&ends);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

BEHAVIOUR(what_is_written_in_pieces_comes_in_order, "W5")
{
    struct ends ends = make(NULL);
    GOT(bytes);
    const eddy_bytes lines[] = { { "two\n", 4 }, { "", 0 }, { "three\n", 6 } };
    say(ends.writers[0], "one\n");
    CHECK(eddy_writer_writelines(ends.writers[0], lines, 3) >= 0);
    CHECK_INT(eddy_writer_flush(ends.writers[0]), 0);
    say(ends.writers[0], "four\n");
    ASK(&ends, &bytes, eddy_reader_readexactly(ends.readers[1], 19, got_read, &bytes));
    CHECK_GOT(bytes, 1, "one\ntwo\nthree\nfour\n");
    done(&ends);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

BEHAVIOUR(what_is_lent_comes_in_its_place_and_is_given_back_once, "")
{
    struct ends ends = make(NULL);
    GOT(bytes);
    int released = 0;
    char *lent = plain_fill(100000);
    say(ends.writers[0], "<");
    CHECK(eddy_writer_write_static(ends.writers[0], lent, 100000, count, &released) >= 0);
    say(ends.writers[0], ">");
    CHECK_INT(released, 0);
    ASK(&ends, &bytes, eddy_reader_readexactly(ends.readers[1], 100002, got_read, &bytes));
    CHECK(bytes.bytes[0] == '<' && bytes.bytes[100001] == '>');
    plain_check_pattern(bytes.bytes + 1, 100000, 0);
    RUN_UNTIL(ends.loop, released == 1);
    free(lent);
    done(&ends);
    CHECK_INT(released, 1);
}

BEHAVIOUR(a_drain_with_nothing_to_wait_for, "F11")
{
    struct ends ends = make(NULL);
    GOT(drained);
    say(ends.writers[0], "x");
    ASK(&ends, &drained, eddy_writer_drain(ends.writers[0], got_writer, &drained));
    CHECK_INT(drained.code, 0);
    done(&ends);
}

BEHAVIOUR(a_drain_waits_for_a_peer_that_does_not_read_and_everything_arrives, "F10 R80")
{
    struct ends ends = make(EDDY_OPTIONS(.limit = 1000));
    const size_t all = 20 * 1000 * 1000;
    char *bytes = plain_fill(all);
    GOT(drained);
    GOT(read);
    CHECK_INT(eddy_writer_write(ends.writers[0], bytes, all), 1);
    START(&drained, eddy_writer_drain(ends.writers[0], got_writer, &drained));
    for (int i = 0; i < 50; i++) settle(ends.loop);
    CHECK_INT(drained.count, 0);
    ASK(&ends, &read, eddy_reader_readexactly(ends.readers[1], all, got_read, &read));
    CHECK_INT(read.code, 0);
    plain_check_pattern(read.bytes, read.len, 0);
    RUN_UNTIL(ends.loop, drained.count > 0);
    CHECK_INT(drained.code, 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(ends.writers[0]), 0);
    free(bytes);
    done(&ends);
}

BEHAVIOUR(a_drain_that_is_late_leaves_the_connection_as_it_is, "")
{
    struct ends ends = make(EDDY_OPTIONS(.limit = 1000));
    const size_t all = 20 * 1000 * 1000;
    char *bytes = plain_fill(all);
    GOT(drained);
    GOT(read);
    CHECK_INT(eddy_writer_set_timeout(ends.writers[0], 30), 0);
    CHECK_INT(eddy_writer_write(ends.writers[0], bytes, all), 1);
    ASK(&ends, &drained, eddy_writer_drain(ends.writers[0], got_writer, &drained));
    CHECK_INT(drained.code, EDDY_ETIMEDOUT);
    ASK(&ends, &read, eddy_reader_readexactly(ends.readers[1], all, got_read, &read));
    plain_check_pattern(read.bytes, read.len, 0);
    free(bytes);
    done(&ends);
}

struct talk {
    eddy_reader *reader;
    eddy_writer *writer;
    size_t said, heard, all;
    unsigned seed;
    bool waits;
};

static void talk(struct talk *t);

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct talk *t = arg;
    (void)writer;
    CHECK(error == NULL);
    t->waits = false;
    talk(t);
}

static void talk(struct talk *t)
{
    static char bytes[70000];
    for (int i = 0; i < 20 && t->said < t->all; i++) {
        size_t n = (size_t)rand_r(&t->seed) % (rand_r(&t->seed) % 8 == 0 ? sizeof bytes : 300);
        if (n > t->all - t->said) n = t->all - t->said;
        for (size_t k = 0; k < n; k++) bytes[k] = plain_pattern(t->said + k);
        CHECK(eddy_writer_write(t->writer, bytes, n) >= 0);
        t->said += n;
    }
    t->waits = true;
    if (t->said < t->all) CHECK(eddy_writer_drain(t->writer, on_drained, t) >= 0);
    else CHECK_INT(eddy_writer_write_eof(t->writer), 0);
}

static void on_heard(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct talk *t = arg;
    CHECK(error == NULL);
    plain_check_pattern(bytes, len, t->heard);
    t->heard += len;
    if (len == 0) t->reader = NULL;
    else CHECK(eddy_reader_read(reader, 1 + (size_t)rand_r(&t->seed) % 5000, on_heard, t) >= 0);
}

BEHAVIOUR(three_megabytes_each_way_at_once_in_random_cuts, "")
{
    struct ends ends = make(EDDY_OPTIONS(.limit = 3000));
    struct talk talks[2];
    for (int i = 0; i < 2; i++) {
        talks[i] = (struct talk){ .reader = ends.readers[i], .writer = ends.writers[i], .all = 3000000, .seed = 7u + (unsigned)i };
        CHECK(eddy_reader_read(ends.readers[i], 100, on_heard, &talks[i]) >= 0);
        talk(&talks[i]);
    }
    RUN_UNTIL(ends.loop, talks[0].reader == NULL && talks[1].reader == NULL);
    CHECK_INT(talks[0].heard, 3000000);
    CHECK_INT(talks[1].heard, 3000000);
    done(&ends);
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

BEHAVIOUR(one_side_may_end_and_the_other_go_on, "W13")
{
    struct ends ends = make(NULL);
    GOT(line);
    CHECK(eddy_writer_can_write_eof(ends.writers[0]));
    say(ends.writers[0], "question");
    CHECK_INT(eddy_writer_write_eof(ends.writers[0]), 0);
    CHECK_INT(eddy_writer_write(ends.writers[0], "x", 1), EDDY_ESTATE);
    ASK(&ends, &line, eddy_reader_read(ends.readers[1], EDDY_UNTIL_EOF, got_read, &line));
    CHECK_GOT(line, 1, "question");
    say(ends.writers[1], "answer\n");
    ASK(&ends, &line, eddy_reader_readline(ends.readers[0], got_read, &line));
    CHECK_GOT(line, 2, "answer\n");
    done(&ends);
}

BEHAVIOUR(a_close_loses_nothing_and_is_told, "K1 K3")
{
    struct ends ends = make(NULL);
    const size_t all = 1000 * 1000;
    char *bytes = plain_fill(all);
    GOT(closed);
    GOT(read);
    say(ends.writers[1], "nobody reads this");
    settle(ends.loop);
    CHECK(eddy_writer_write(ends.writers[0], bytes, all) >= 0);
    START(&closed, eddy_writer_wait_closed(ends.writers[0], got_writer, &closed));
    CHECK_INT(eddy_writer_close(ends.writers[0]), 0);
    CHECK(eddy_writer_is_closing(ends.writers[0]));
    CHECK_INT(eddy_writer_write(ends.writers[0], "x", 1), EDDY_ESTATE);
    ASK(&ends, &read, eddy_reader_read(ends.readers[1], EDDY_UNTIL_EOF, got_read, &read));
    CHECK_INT(read.code, 0);
    CHECK_INT(read.len, all);
    plain_check_pattern(read.bytes, read.len, 0);
    RUN_UNTIL(ends.loop, closed.count > 0);
    CHECK_INT(closed.code, 0);
    free(bytes);
    done(&ends);
}

BEHAVIOUR(an_abort_is_told_to_both, "K5")
{
    struct ends ends = make(NULL);
    GOT(closed);
    GOT(read);
    START(&read, eddy_reader_readline(ends.readers[1], got_read, &read));
    START(&closed, eddy_writer_wait_closed(ends.writers[0], got_writer, &closed));
    settle(ends.loop);
    CHECK_INT(eddy_writer_abort(ends.writers[0]), 0);
    RUN_UNTIL(ends.loop, closed.count > 0 && read.count > 0);
    /* A unix socket has no reset: its peer sees the end. */
    CHECK_INT(closed.code, 0);
    if (read.code == 0) CHECK_GOT(read, 1, "");
    done(&ends);
}

BEHAVIOUR(freed_its_reads_and_drains_are_cancelled_and_the_end_is_told_last, "")
{
    struct ends ends = make(NULL);
    const size_t all = 20 * 1000 * 1000;
    char *bytes = plain_fill(all);
    GOT(read);
    GOT(drained);
    GOT(closed);
    START(&read, eddy_reader_readline(ends.readers[0], got_read, &read));
    CHECK_INT(eddy_writer_write(ends.writers[0], bytes, all), 1);
    START(&drained, eddy_writer_drain(ends.writers[0], got_writer, &drained));
    START(&closed, eddy_writer_wait_closed(ends.writers[0], got_writer, &closed));
    eddy_writer_free(ends.writers[0]);
    eddy_writer_free(ends.writers[0]);
    GOT(rest);
    ASK(&ends, &rest, eddy_reader_read(ends.readers[1], EDDY_UNTIL_EOF, got_read, &rest));
    CHECK_INT(rest.len, all);
    plain_check_pattern(rest.bytes, rest.len, 0);
    RUN_UNTIL(ends.loop, closed.count > 0);
    CHECK_INT(read.code, EDDY_ECANCELED);
    CHECK_INT(drained.code, EDDY_ECANCELED);
    CHECK(closed.order > read.order && closed.order > drained.order);
    CHECK_INT(eddy_writer_write(ends.writers[0], "x", 1), EDDY_ESTALE);
    free(bytes);
    done(&ends);
}

static void free_the_stream(struct got *got, void *data)
{
    eddy_writer_free(data);
    CHECK_INT(eddy_reader_readline(got->reader, got_read, got), EDDY_ESTALE);
}

BEHAVIOUR(a_stream_is_freed_within_its_own_callback, "")
{
    struct ends ends = make(NULL);
    GOT(line);
    GOT(end);
    line.then = free_the_stream;
    line.data = ends.writers[1];
    say(ends.writers[0], "bye\nmore\n");
    ASK(&ends, &line, eddy_reader_readline(ends.readers[1], got_read, &line));
    CHECK_GOT(line, 1, "bye\n");
    ASK(&ends, &end, eddy_reader_read(ends.readers[0], EDDY_UNTIL_EOF, got_read, &end));
    if (end.code == 0) CHECK_GOT(end, 1, "");
    done(&ends);
}

BEHAVIOUR(the_loop_is_freed_with_everything_under_way, "")
{
    struct ends ends = make(NULL);
    const size_t all = 20 * 1000 * 1000;
    char *bytes = plain_fill(all);
    int released = 0;
    GOT(read);
    GOT(drained);
    GOT(closed);
    CHECK_INT(eddy_writer_write_static(ends.writers[0], bytes, all, count, &released), 1);
    START(&read, eddy_reader_readline(ends.readers[0], got_read, &read));
    START(&drained, eddy_writer_drain(ends.writers[0], got_writer, &drained));
    START(&closed, eddy_writer_wait_closed(ends.writers[1], got_writer, &closed));
    settle(ends.loop);
    done(&ends);
    CHECK_INT(read.code, EDDY_ECANCELED);
    if (drained.code != 0) CHECK_INT(drained.code, EDDY_ECANCELED);
    CHECK_INT(closed.code, EDDY_ECANCELED);
    CHECK(read.count == 1 && drained.count == 1 && closed.count == 1 && released == 1);
    free(bytes);
}
