/* Two streams joined in memory: eddy_open_pair. What they share with every other stream is in test_conformance.c. */
#include "collect.h"
#include "plain.h"

struct pair {
    eddy_loop *loop;
    eddy_reader *readers[2];
    eddy_writer *writers[2];
};

static struct pair pair_on(eddy_loop *loop, size_t limit)
{
    struct pair pair = { .loop = loop };
    CHECK_INT(eddy_open_pair(loop, EDDY_OPTIONS(.limit = limit), pair.readers, pair.writers), 0);
    for (int side = 0; side < 2; side++) CHECK(pair.readers[side] != NULL && pair.writers[side] != NULL);
    return pair;
}

static struct pair pair_with(size_t limit)
{
    return pair_on(eddy_loop_new(), limit);
}

static void write_text(eddy_writer *writer, const char *text)
{
    CHECK(eddy_writer_write(writer, text, strlen(text)) >= 0);
}

/* What a reader has, taken or not. */
#define CHECK_HAS(reader, literal)                                                                 \
    do {                                                                                           \
        const char *has_ = NULL;                                                                   \
        size_t len_ = eddy_reader_buffered((reader), &has_);                                       \
        CHECK_BYTES(has_, len_, literal);                                                          \
    } while (0)

TEST(what_one_side_writes_the_other_reads, "S1 K6 K7 R16")
{
    int before = plain_descriptors();
    eddy_loop *loop = eddy_loop_new();
    int with_loop = plain_descriptors();
    struct pair pair = pair_on(loop, 100);
    GOT(there);
    GOT(back);
    CHECK_INT(plain_descriptors(), with_loop);
    START(&there, eddy_reader_readline(pair.readers[1], got_read, &there));
    START(&back, eddy_reader_readline(pair.readers[0], got_read, &back));
    write_text(pair.writers[0], "there\n");
    write_text(pair.writers[1], "back\n");
    CHECK_INT(there.count + back.count, 0); /* never from within the call */
    CHECK_INT(eddy_writer_get_write_buffer_size(pair.writers[0]), 6);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_BYTES(there.bytes, there.len, "there\n");
    CHECK_BYTES(back.bytes, back.len, "back\n");
    CHECK(there.reader == pair.readers[1] && back.reader == pair.readers[0]);
    CHECK_INT(eddy_writer_get_write_buffer_size(pair.writers[0]), 0);
    for (int side = 0; side < 2; side++) {
        CHECK(eddy_writer_get_extra_info(pair.writers[side], "peername", NULL) == NULL);
        CHECK(eddy_writer_get_extra_info(pair.writers[side], "sockname", NULL) == NULL);
        CHECK(eddy_writer_get_extra_info(pair.writers[side], "socket", NULL) == NULL);
        CHECK(strstr(eddy_repr(pair.readers[side]), " pair") != NULL);
        CHECK(eddy_writer_can_write_eof(pair.writers[side]));
    }
    eddy_loop_free(loop);
    CHECK_INT(plain_descriptors(), before);
}

static void opens_too_late(struct got *got, void *data)
{
    eddy_reader *readers[2];
    eddy_writer *writers[2];
    (void)got;
    CHECK_INT(eddy_open_pair(data, NULL, readers, writers), EDDY_ESTATE);
}

TEST(a_pair_needs_two_places_for_two, "S1")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *readers[2] = { NULL, NULL };
    eddy_writer *writers[2] = { NULL, NULL };
    GOT(late);
    CHECK_INT(eddy_open_pair(loop, NULL, NULL, writers), EDDY_EINVAL);
    CHECK_INT(eddy_open_pair(loop, NULL, readers, NULL), EDDY_EINVAL);
    CHECK_INT(eddy_open_pair(loop, EDDY_OPTIONS(.local_port = 1), readers, writers), EDDY_EINVAL);
    CHECK_INT(eddy_open_pair(loop, EDDY_OPTIONS(.limit = SIZE_MAX), readers, writers), EDDY_EINVAL);
    CHECK(readers[0] == NULL && readers[1] == NULL && writers[0] == NULL && writers[1] == NULL);
    late.then = opens_too_late;
    late.data = loop;
    START(&late, eddy_loop_call_later(loop, 100000, got_loop, &late));
    eddy_loop_free(loop);
    CHECK_INT(late.count, 1);
}

TEST(a_pair_keeps_no_run_going_by_itself, "K1")
{
    struct pair pair = pair_with(10);
    char bytes[1000] = { 0 };
    CHECK_INT(eddy_loop_run(pair.loop), 0);
    CHECK_INT(eddy_writer_write(pair.writers[0], bytes, sizeof bytes), 0);
    CHECK_INT(eddy_loop_run(pair.loop), 0); /* nobody takes that, and nothing that could happen would change it */
    CHECK(eddy_writer_get_write_buffer_size(pair.writers[0]) > 0);
    CHECK_INT(eddy_writer_close(pair.writers[0]), 0);
    CHECK_INT(eddy_loop_run(pair.loop), 0);
    eddy_writer_free(pair.writers[0]);
    CHECK_INT(eddy_loop_run(pair.loop), 0);
    CHECK_INT(eddy_loop_run_once(pair.loop, 0), 0);
    GOT(all);
    START(&all, eddy_reader_readall(pair.readers[1], 2000, got_read, &all)); /* it is all still there */
    CHECK_INT(eddy_loop_run(pair.loop), 0);
    CHECK_INT(all.count, 1);
    CHECK_INT(all.code, 0);
    CHECK_INT(all.len, sizeof bytes);
    eddy_loop_free(pair.loop);
}

TEST(a_reader_that_nobody_reads_takes_no_more_than_it_may, "R80 R81 R82 F2 F10")
{
    struct pair pair = pair_with(10);
    eddy_transport *transport = eddy_writer_transport(pair.writers[1]);
    GOT(drained);
    GOT(some);
    GOT(exact);
    char *bytes = plain_fill(1000);
    CHECK_INT(eddy_writer_set_write_buffer_limits(pair.writers[0], 900, 800), 0);
    CHECK_INT(eddy_writer_write(pair.writers[0], bytes, 1000), 1);
    START(&drained, eddy_writer_drain(pair.writers[0], got_writer, &drained));
    settle(pair.loop);
    CHECK_INT(eddy_reader_buffered(pair.readers[1], NULL), 21); /* one more than twice the limit */
    CHECK_INT(eddy_writer_get_write_buffer_size(pair.writers[0]), 979);
    CHECK(!eddy_transport_is_reading(transport));
    CHECK_INT(drained.count, 0);
    START(&some, eddy_reader_read(pair.readers[1], 10, got_read, &some)); /* 11 left: still too many */
    settle(pair.loop);
    CHECK_INT(eddy_reader_buffered(pair.readers[1], NULL), 11);
    CHECK_INT(eddy_writer_get_write_buffer_size(pair.writers[0]), 979);
    START(&some, eddy_reader_read(pair.readers[1], 1, got_read, &some));
    settle(pair.loop);
    CHECK_INT(eddy_reader_buffered(pair.readers[1], NULL), 21); /* at the limit it went on */
    CHECK_INT(eddy_writer_get_write_buffer_size(pair.writers[0]), 968);
    START(&exact, eddy_reader_readexactly(pair.readers[1], 150, got_read, &exact)); /* far beyond the limit */
    settle(pair.loop);
    CHECK_INT(exact.count, 1);
    plain_check_pattern(exact.bytes, exact.len, 11);
    START(&exact, eddy_reader_readexactly(pair.readers[1], 839, got_read, &exact));
    settle(pair.loop);
    CHECK_INT(exact.count, 2);
    plain_check_pattern(exact.bytes, exact.len, 161);
    CHECK_INT(drained.count, 1);
    CHECK_INT(drained.code, 0);
    CHECK(eddy_transport_is_reading(transport));
    free(bytes);
    eddy_loop_free(pair.loop);
}

TEST(a_drain_waits_until_the_other_side_has_taken_enough, "F2 F10")
{
    struct pair pair = pair_with(10);
    GOT(drained);
    char *bytes = plain_fill(200);
    size_t taken = 0;
    CHECK_INT(eddy_writer_set_write_buffer_limits(pair.writers[0], 100, 50), 0);
    CHECK_INT(eddy_writer_write(pair.writers[0], bytes, 200), 1);
    START(&drained, eddy_writer_drain(pair.writers[0], got_writer, &drained));
    while (taken < 200) {
        GOT(byte);
        settle(pair.loop);
        size_t left = eddy_writer_get_write_buffer_size(pair.writers[0]);
        CHECK_INT(left + eddy_reader_buffered(pair.readers[1], NULL) + taken, 200);
        CHECK_INT(drained.count, left <= 50);
        START(&byte, eddy_reader_read(pair.readers[1], 1, got_read, &byte));
        settle(pair.loop);
        plain_check_pattern(byte.bytes, byte.len, taken);
        taken += byte.len;
    }
    free(bytes);
    eddy_loop_free(pair.loop);
}

TEST(a_paused_transport_takes_nothing, "R86 R87")
{
    struct pair pair = pair_with(100);
    eddy_transport *transport = eddy_writer_transport(pair.writers[1]);
    GOT(line);
    CHECK_INT(eddy_transport_pause_reading(transport), 0);
    write_text(pair.writers[0], "held back\n");
    CHECK_INT(eddy_writer_write_eof(pair.writers[0]), 0);
    START(&line, eddy_reader_readline(pair.readers[1], got_read, &line));
    settle(pair.loop);
    CHECK_INT(line.count, 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(pair.writers[0]), 10);
    CHECK_INT(eddy_transport_resume_reading(transport), 0);
    settle(pair.loop);
    CHECK_BYTES(line.bytes, line.len, "held back\n");
    eddy_loop_free(pair.loop);
}

TEST(a_half_closed_side_goes_on_reading, "W13 C3")
{
    struct pair pair = pair_with(100);
    GOT(first);
    GOT(second);
    write_text(pair.writers[0], "the last word");
    CHECK_INT(eddy_writer_write_eof(pair.writers[0]), 0);
    CHECK_INT(eddy_writer_write_eof(pair.writers[0]), 0);
    CHECK_INT(eddy_writer_write(pair.writers[0], "x", 1), EDDY_ESTATE);
    START(&first, eddy_reader_read(pair.readers[1], EDDY_UNTIL_EOF, got_read, &first));
    settle(pair.loop);
    CHECK_BYTES(first.bytes, first.len, "the last word");
    CHECK(eddy_reader_at_eof(pair.readers[1]));
    CHECK(!eddy_writer_is_closing(pair.writers[0]) && !eddy_writer_is_closing(pair.writers[1]));
    write_text(pair.writers[1], "an answer\n");
    START(&second, eddy_reader_readline(pair.readers[0], got_read, &second));
    settle(pair.loop);
    CHECK_BYTES(second.bytes, second.len, "an answer\n");
    CHECK_INT(eddy_writer_write_eof(pair.writers[1]), 0);
    START(&second, eddy_reader_readline(pair.readers[0], got_read, &second));
    settle(pair.loop);
    CHECK_INT(second.count, 2);
    CHECK_INT(second.len, 0);
    eddy_loop_free(pair.loop);
}

/* ---- one side goes ----------------------------------------------------------------------------------------- */

TEST(a_closed_side_is_read_to_its_end_and_written_to_in_vain, "W9 K1 F8")
{
    struct pair pair = pair_with(100);
    GOT(closed);
    GOT(all);
    GOT(drained);
    write_text(pair.writers[0], "goodbye");
    CHECK_INT(eddy_writer_close(pair.writers[0]), 0);
    START(&closed, eddy_writer_wait_closed(pair.writers[0], got_writer, &closed));
    settle(pair.loop);
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.code, 0);
    CHECK(!eddy_writer_is_closing(pair.writers[1])); /* which nobody has told yet */
    CHECK_INT(eddy_writer_write(pair.writers[1], "wait!", 5), 0);
    START(&drained, eddy_writer_drain(pair.writers[1], got_writer, &drained));
    settle(pair.loop);
    CHECK_INT(drained.code, EDDY_ELOST);
    CHECK_INT(drained.system, EPIPE);
    CHECK(eddy_writer_is_closing(pair.writers[1]));
    CHECK_INT(eddy_writer_write(pair.writers[1], "wait!", 5), 0); /* dropped */
    CHECK_HAS(pair.readers[1], "goodbye");
    START(&all, eddy_reader_read(pair.readers[1], 100, got_read, &all));
    settle(pair.loop);
    CHECK_BYTES(all.bytes, all.len, "goodbye");
    START(&all, eddy_reader_read(pair.readers[1], 100, got_read, &all));
    settle(pair.loop);
    CHECK_INT(all.count, 2);
    CHECK_INT(all.code, EDDY_ELOST);
    CHECK_INT(all.system, EPIPE);
    START(&closed, eddy_writer_wait_closed(pair.writers[1], got_writer, &closed));
    settle(pair.loop);
    CHECK_INT(closed.system, EPIPE);
    eddy_loop_free(pair.loop);
}

TEST(a_side_that_is_gone_has_ended, "W9 K1")
{
    struct pair pair = pair_with(100);
    eddy_transport *transport = eddy_writer_transport(pair.writers[1]);
    GOT(line);
    CHECK_INT(eddy_transport_pause_reading(transport), 0);
    eddy_writer_free(pair.writers[0]);
    settle(pair.loop);
    CHECK(strstr(eddy_repr(pair.writers[0]), "stale") != NULL);
    CHECK_INT(eddy_transport_resume_reading(transport), 0);
    START(&line, eddy_reader_readline(pair.readers[1], got_read, &line));
    settle(pair.loop);
    CHECK_INT(line.count, 1);
    CHECK_INT(line.code, 0);
    CHECK_INT(line.len, 0);
    write_text(pair.writers[1], "anybody?");
    settle(pair.loop);
    CHECK(eddy_writer_is_closing(pair.writers[1]));
    eddy_loop_free(pair.loop);
}

TEST(what_is_on_its_way_to_a_side_that_closes_is_no_loss, "K1 K3")
{
    struct pair pair = pair_with(10);
    GOT(drained);
    GOT(closed);
    GOT(all);
    char *bytes = plain_fill(1000);
    CHECK_INT(eddy_writer_set_write_buffer_limits(pair.writers[0], 100, 50), 0);
    CHECK_INT(eddy_writer_write(pair.writers[0], bytes, 1000), 1);
    CHECK_INT(eddy_writer_write(pair.writers[1], bytes, 1000), 0);
    START(&drained, eddy_writer_drain(pair.writers[0], got_writer, &drained));
    settle(pair.loop);
    CHECK_INT(drained.count, 0);
    CHECK_INT(eddy_writer_close(pair.writers[1]), 0);
    START(&closed, eddy_writer_wait_closed(pair.writers[1], got_writer, &closed));
    settle(pair.loop);
    CHECK_INT(drained.count, 1); /* as a socket goes on receiving, and drops what comes */
    CHECK_INT(drained.code, 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(pair.writers[0]), 0);
    write_text(pair.writers[0], "and more");
    settle(pair.loop);
    CHECK_INT(eddy_writer_get_write_buffer_size(pair.writers[0]), 0);
    CHECK(!eddy_writer_is_closing(pair.writers[0]));
    CHECK_INT(closed.count, 0); /* its own bytes are to be taken first */
    START(&all, eddy_reader_read(pair.readers[0], EDDY_UNTIL_EOF, got_read, &all));
    settle(pair.loop);
    CHECK_INT(all.len, 1000);
    plain_check_pattern(all.bytes, all.len, 0);
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.code, 0);
    free(bytes);
    eddy_loop_free(pair.loop);
}

TEST(an_aborted_side_resets_the_other, "K5 C6 F13")
{
    struct pair pair = pair_with(10);
    GOT(drained);
    GOT(closed);
    GOT(read);
    GOT(own);
    char *bytes = plain_fill(1000);
    CHECK_INT(eddy_writer_set_write_buffer_limits(pair.writers[1], 100, 50), 0);
    CHECK_INT(eddy_writer_write(pair.writers[1], bytes, 1000), 1);
    START(&drained, eddy_writer_drain(pair.writers[1], got_writer, &drained));
    write_text(pair.writers[0], "taken");
    settle(pair.loop);
    write_text(pair.writers[0], "not taken");
    START(&closed, eddy_writer_wait_closed(pair.writers[1], got_writer, &closed));
    START(&own, eddy_writer_wait_closed(pair.writers[0], got_writer, &own));
    CHECK_INT(eddy_writer_abort(pair.writers[0]), 0);
    CHECK_INT(drained.count + closed.count + own.count, 0);
    settle(pair.loop);
    CHECK_INT(own.code, 0);
    CHECK_INT(drained.code, EDDY_ELOST);
    CHECK_INT(drained.system, ECONNRESET);
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK_INT(closed.system, ECONNRESET);
    START(&read, eddy_reader_read(pair.readers[1], 100, got_read, &read));
    settle(pair.loop);
    CHECK_BYTES(read.bytes, read.len, "taken"); /* what had come is not lost */
    START(&read, eddy_reader_read(pair.readers[1], 100, got_read, &read));
    settle(pair.loop);
    CHECK_INT(read.code, EDDY_ELOST);
    CHECK_INT(read.system, ECONNRESET);
    CHECK(eddy_reader_exception(pair.readers[1]) != NULL);
    free(bytes);
    eddy_loop_free(pair.loop);
}

TEST(a_freed_reader_takes_everything_and_keeps_nothing, "S1")
{
    struct pair pair = pair_with(10);
    GOT(drained);
    GOT(line);
    char *bytes = plain_fill(100000);
    eddy_reader_free(pair.readers[1]);
    CHECK_INT(eddy_writer_write(pair.writers[0], bytes, 100000), 1);
    START(&drained, eddy_writer_drain(pair.writers[0], got_writer, &drained));
    settle(pair.loop);
    CHECK_INT(drained.count, 1);
    CHECK_INT(drained.code, 0);
    write_text(pair.writers[1], "still here\n"); /* its writer goes on */
    START(&line, eddy_reader_readline(pair.readers[0], got_read, &line));
    settle(pair.loop);
    CHECK_BYTES(line.bytes, line.len, "still here\n");
    free(bytes);
    eddy_loop_free(pair.loop);
}

/* ---- freed anywhere ----------------------------------------------------------------------------------------- */

enum { FREE_READER, FREE_WRITER, CLOSE, ABORT, WRITE_EOF, FREE_LOOP, DEEDS };

static void do_to(struct pair *pair, int side, int deed)
{
    if (deed == FREE_READER) eddy_reader_free(pair->readers[side]);
    if (deed == FREE_WRITER) eddy_writer_free(pair->writers[side]);
    if (deed == CLOSE) eddy_writer_close(pair->writers[side]);
    if (deed == ABORT) eddy_writer_abort(pair->writers[side]);
    if (deed == WRITE_EOF) eddy_writer_write_eof(pair->writers[side]);
    if (deed == FREE_LOOP) eddy_loop_free(pair->loop);
}

struct plan {
    struct pair *pair;
    int at, deeds[2], sides[2];
};

static void carry_out(struct got *got, void *data)
{
    struct plan *plan = data;
    (void)got;
    if (plan->at-- != 0) return;
    for (int i = 0; i < 2; i++) do_to(plan->pair, plan->sides[i], plan->deeds[i]);
}

static void ignore(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    (void)loop, (void)message, (void)error, (void)arg;
}

/* Both sides have a read, a drain and somebody who waits for the end; in the callback that comes as number `at` two
 * things are done. Everything is answered once. */
static void try_plan(int at, int first, int second, int sides)
{
    struct pair pair = pair_with(10);
    struct plan plan = { &pair, at, { first, second }, { sides & 1, sides >> 1 } };
    struct got all[6] = { { .count = 0 } };
    char bytes[100] = "a line\nand more";
    CHECK_INT(eddy_loop_set_exception_handler(pair.loop, ignore, NULL), 0);
    for (int side = 0; side < 2; side++) {
        CHECK_INT(eddy_writer_set_write_buffer_limits(pair.writers[side], 50, 20), 0);
        CHECK_INT(eddy_writer_write(pair.writers[side], bytes, sizeof bytes), 1);
        START(&all[side], eddy_reader_readline(pair.readers[side], got_read, &all[side]));
        START(&all[2 + side], eddy_writer_drain(pair.writers[side], got_writer, &all[2 + side]));
        START(&all[4 + side], eddy_writer_wait_closed(pair.writers[side], got_writer, &all[4 + side]));
    }
    for (int i = 0; i < 6; i++) all[i].then = carry_out, all[i].data = &plan;
    for (int round = 0; round < 8; round++)
        if (eddy_loop_run_once(pair.loop, 0) < 0) break; /* the loop may be gone */
    if (first != FREE_LOOP && second != FREE_LOOP) {
        eddy_writer_free(pair.writers[at & 1]);
        CHECK(eddy_loop_run_once(pair.loop, 0) >= 0);
    }
    eddy_loop_free(pair.loop);
    for (int i = 0; i < 6; i++) {
        CHECK_INT(all[i].count, 1);
        got_release(&all[i]);
    }
}

TEST(either_side_may_be_freed_in_any_callback_and_in_any_order, "S1")
{
    for (int at = 0; at < 6; at++)
        for (int first = 0; first < DEEDS; first++)
            for (int second = 0; second < DEEDS; second++)
                for (int sides = 0; sides < 4; sides++) try_plan(at, first, second, sides);
}

static void answers(struct got *got, void *data)
{
    struct pair *pair = data;
    int side = got->reader == pair->readers[0] ? 0 : 1;
    int number = atoi(got->bytes);
    char line[32];
    if (got->code != 0 || got->len == 0) return;
    int len = snprintf(line, sizeof line, "%d\n", number + 1);
    if (number >= 10000) {
        CHECK_INT(eddy_writer_close(pair->writers[side]), 0);
        return;
    }
    CHECK_INT(eddy_writer_write(pair->writers[side], line, (size_t)len), 0);
    CHECK(eddy_reader_readline(got->reader, got_read, got) >= 0);
}

TEST(two_sides_talk_to_each_other, "S1 R65")
{
    struct pair pair = pair_with(100);
    GOT(left);
    GOT(right);
    left.then = right.then = answers;
    left.data = right.data = &pair;
    START(&left, eddy_reader_readline(pair.readers[0], got_read, &left));
    START(&right, eddy_reader_readline(pair.readers[1], got_read, &right));
    write_text(pair.writers[0], "0\n");
    CHECK_INT(eddy_loop_run(pair.loop), 0); /* until one of them has had enough */
    CHECK_INT(left.count + right.count, 10002);
    CHECK_INT(left.len * right.len, 0); /* one of them has read the end */
    eddy_loop_free(pair.loop);
}
