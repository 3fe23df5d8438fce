/* Readers that are fed by hand: what each read gives, takes, leaves and refuses. */
#include "collect.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK_BUFFERED(reader, literal)                                                            \
    do {                                                                                           \
        const char *buffered_bytes = NULL;                                                         \
        size_t buffered_len = eddy_reader_buffered((reader), &buffered_bytes);                     \
        CHECK(buffered_len == 0 || buffered_bytes != NULL);                                        \
        CHECK_BYTES(buffered_len ? buffered_bytes : "", buffered_len, literal);                    \
    } while (0)

static eddy_reader *new_reader(eddy_loop *loop, size_t limit)
{
    eddy_reader *reader = eddy_reader_new(loop, limit);
    CHECK(reader != NULL);
    return reader;
}

/* ---- making and feeding -------------------------------------------------------------------------------- */

static void keep_reader(struct got *got, void *data)
{
    *(eddy_reader **)data = got->reader;
}

TEST(without_options_the_limit_is_64_kib, "R1")
{
    static const eddy_options zero_limit = { .size = sizeof(eddy_options) };
    for (int round = 0; round < 2; round++) {
        eddy_loop *loop = eddy_loop_new();
        int ends[2];
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        GOT(opened);
        GOT(line);
        eddy_reader *reader = NULL;
        opened.then = keep_reader;
        opened.data = &reader;
        START(&opened, eddy_open_socket(loop, ends[0], round ? &zero_limit : NULL, got_stream, &opened));
        RUN_UNTIL(loop, opened.count);
        CHECK(reader != NULL);
        static char longest[65538];
        memset(longest, 'x', sizeof longest);
        longest[65536] = '\n';
        for (size_t sent = 0; sent < 65537;) {
            ssize_t n = send(ends[1], longest + sent, 65537 - sent, MSG_DONTWAIT);
            if (n > 0) sent += (size_t)n;
            CHECK(n > 0 || errno == EAGAIN);
            CHECK(eddy_loop_run_once(loop, 1) >= 0);
        }
        START(&line, eddy_reader_readline(reader, got_read, &line));
        RUN_UNTIL(loop, line.count);
        CHECK_INT(line.code, 0);
        CHECK_INT(line.len, 65537);
        START(&line, eddy_reader_readline(reader, got_read, &line));
        longest[65536] = 'x';
        longest[65537] = '\n';
        for (size_t sent = 0; sent < 65538;) {
            ssize_t n = send(ends[1], longest + sent, 65538 - sent, MSG_DONTWAIT);
            if (n > 0) sent += (size_t)n;
            CHECK(n > 0 || errno == EAGAIN);
            CHECK(eddy_loop_run_once(loop, 1) >= 0);
        }
        RUN_UNTIL(loop, line.count == 2);
        CHECK_INT(line.code, EDDY_ELIMIT);
        close(ends[1]);
        eddy_loop_free(loop);
    }
}

TEST(a_limit_of_nothing_or_of_nearly_everything_is_refused, "R2")
{
    eddy_loop *loop = eddy_loop_new();
    struct reports reports = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    CHECK(eddy_reader_new(loop, 0) == NULL);
    CHECK(eddy_reader_new(loop, (size_t)SSIZE_MAX / 4 + 1) == NULL);
    CHECK(eddy_reader_new(loop, SIZE_MAX) == NULL);
    CHECK_INT(reports.count, 0);
    settle(loop);
    CHECK(reports.count > 0);
    CHECK(strstr(reports.messages[0], "eddy_reader_new: limit is 0") == reports.messages[0]);
    eddy_reader *widest = eddy_reader_new(loop, (size_t)SSIZE_MAX / 4);
    CHECK(widest != NULL);
    CHECK(eddy_reader_new(loop, 1) != NULL);
    eddy_loop_free(loop);
}

TEST(feeding_nothing_wakes_nobody, "R3")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    START(&read, eddy_reader_read(reader, 10, got_read, &read));
    FEED(reader, "");
    CHECK_INT(eddy_reader_feed_data(reader, NULL, 0), 0);
    settle(loop);
    CHECK_INT(read.count, 0);
    CHECK_INT(eddy_reader_buffered(reader, NULL), 0);
    eddy_loop_free(loop);
    CHECK_ENDED(read, 1, EDDY_ECANCELED);
}

TEST(feeding_copies_and_wakes_the_one_who_waits, "R4 R21")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    START(&read, eddy_reader_read(reader, 10, got_read, &read));
    char bytes[] = "abc";
    CHECK_INT(eddy_reader_feed_data(reader, bytes, 3), 0);
    memset(bytes, '?', sizeof bytes);
    CHECK_INT(read.count, 0);
    settle(loop);
    CHECK_GOT(read, 1, "abc");
    CHECK(read.reader == reader);
    FEED(reader, "d");
    FEED(reader, "ef");
    START(&read, eddy_reader_read(reader, 10, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 2, "def");
    eddy_loop_free(loop);
    CHECK_INT(read.count, 2);
}

TEST(after_the_end_nothing_can_be_fed_and_nothing_changes, "R5")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    FEED(reader, "tail");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK_INT(eddy_reader_feed_data(reader, "more", 4), EDDY_ESTATE);
    CHECK_INT(eddy_reader_feed_data(reader, "", 0), EDDY_ESTATE);
    CHECK_BUFFERED(reader, "tail");
    GOT(read);
    START(&read, eddy_reader_read(reader, 10, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "tail");
    CHECK(eddy_reader_at_eof(reader));
    CHECK_INT(eddy_reader_feed_data(reader, "more", 4), EDDY_ESTATE);
    CHECK(eddy_reader_at_eof(reader));
    eddy_loop_free(loop);
}

TEST(the_end_may_be_fed_twice_and_wakes_the_one_who_waits, "R6 R22")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    START(&read, eddy_reader_read(reader, 10, got_read, &read));
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK_INT(read.count, 0);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    CHECK_GOT(read, 1, "");
    for (int again = 2; again < 5; again++) {
        START(&read, eddy_reader_read(reader, 10, got_read, &read));
        settle(loop);
        CHECK_GOT(read, again, "");
    }
    START(&read, eddy_reader_readline(reader, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 5, "");
    eddy_loop_free(loop);
}

TEST(what_is_buffered_stays_readable_after_the_end, "R6 R15 R22")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    FEED(reader, "some data");
    CHECK(!eddy_reader_at_eof(reader));
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK(!eddy_reader_at_eof(reader));
    START(&read, eddy_reader_read(reader, 4, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "some");
    CHECK(!eddy_reader_at_eof(reader));
    START(&read, eddy_reader_read(reader, 100, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 2, " data");
    CHECK(eddy_reader_at_eof(reader));
    eddy_loop_free(loop);
}

TEST(an_empty_buffer_alone_is_not_the_end, "R15")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    CHECK(!eddy_reader_at_eof(reader));
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK(eddy_reader_at_eof(reader));
    eddy_loop_free(loop);
}

/* ---- exceptions ---------------------------------------------------------------------------------------- */

TEST(an_exception_is_kept_replaced_and_fails_the_one_who_waits, "R8 R10 S2")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    CHECK(eddy_reader_exception(reader) == NULL);
    START(&read, eddy_reader_readline(reader, got_read, &read));
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    CHECK_INT(read.count, 0);
    CHECK_INT(eddy_error_code(eddy_reader_exception(reader)), 7);
    CHECK_STR(eddy_error_message(eddy_reader_exception(reader)), "seven");
    settle(loop);
    CHECK_ENDED(read, 1, 7);
    CHECK_STR(read.message, "seven");
    CHECK_INT(eddy_reader_set_exception(reader, 8, "eight"), 0);
    CHECK_INT(eddy_error_code(eddy_reader_exception(reader)), 8);
    CHECK_STR(eddy_error_message(eddy_reader_exception(reader)), "eight");
    START(&read, eddy_reader_read(reader, 1, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 2, 8);
    CHECK_STR(read.message, "eight");
    eddy_loop_free(loop);
    CHECK_INT(read.count, 2);
}

TEST(an_exception_needs_a_code_and_may_have_no_message, "R10")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    CHECK_INT(eddy_reader_set_exception(reader, 0, "nothing happened"), EDDY_EINVAL);
    CHECK(eddy_reader_exception(reader) == NULL);
    CHECK_INT(eddy_reader_set_exception(reader, 42, NULL), 0);
    const eddy_error *error = eddy_reader_exception(reader);
    CHECK_INT(eddy_error_code(error), 42);
    CHECK(eddy_error_message(error) != NULL);
    CHECK_INT(eddy_reader_set_exception(reader, EDDY_ELOST, "gone"), 0);
    CHECK_INT(eddy_error_code(eddy_reader_exception(reader)), EDDY_ELOST);
    eddy_loop_free(loop);
}

TEST(a_cancelled_read_is_told_once_and_touched_no_more, "R8 R9")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    eddy_op op = START(&read, eddy_reader_readexactly(reader, 5, got_read, &read));
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    CHECK_INT(read.count, 0);
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    settle(loop);
    CHECK_ENDED(read, 1, EDDY_ECANCELED);
    CHECK_INT(eddy_loop_cancel(loop, op), EDDY_ESTALE);
    FEED(reader, "abcdefgh");
    settle(loop);
    eddy_loop_free(loop);
    CHECK_INT(read.count, 1);
}

TEST(after_a_cancel_the_reader_reads_on, "R9 R35")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(first);
    GOT(second);
    eddy_op old = START(&first, eddy_reader_readexactly(reader, 5, got_read, &first));
    FEED(reader, "abc");
    settle(loop);
    CHECK_INT(eddy_loop_cancel(loop, old), 0);
    settle(loop);
    CHECK_ENDED(first, 1, EDDY_ECANCELED);
    CHECK_BUFFERED(reader, "abc");
    START(&second, eddy_reader_readexactly(reader, 5, got_read, &second));
    CHECK_INT(eddy_loop_cancel(loop, old), EDDY_ESTALE); /* an old receipt cancels nothing */
    FEED(reader, "def");
    settle(loop);
    CHECK_GOT(second, 1, "abcde");
    CHECK_BUFFERED(reader, "f");
    eddy_loop_free(loop);
    CHECK_INT(first.count, 1);
    CHECK_INT(second.count, 1);
}

TEST(a_cancel_that_comes_too_late_loses_no_byte, "R9")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    eddy_op op = START(&read, eddy_reader_read(reader, 5, got_read, &read));
    FEED(reader, "abc"); /* it could be served now, but nothing has run yet */
    int cancelled = eddy_loop_cancel(loop, op);
    settle(loop);
    CHECK_INT(read.count, 1);
    if (cancelled == 0) {
        CHECK_INT(read.code, EDDY_ECANCELED);
        CHECK_BUFFERED(reader, "abc");
    } else {
        CHECK_INT(cancelled, EDDY_ESTALE);
        CHECK_GOT(read, 1, "abc");
        CHECK_BUFFERED(reader, "");
    }
    eddy_loop_free(loop);
    CHECK_INT(read.count, 1);
}

TEST(an_exception_stays_for_ever, "R11 R36")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    const eddy_bytes separators[] = { { "\n", 1 }, { "end", 3 } };
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    for (int round = 0; round < 3; round++) {
        read.count = 0;
        START(&read, eddy_reader_read(reader, 1, got_read, &read));
        settle(loop);
        CHECK_ENDED(read, 1, 7);
        START(&read, eddy_reader_readline(reader, got_read, &read));
        settle(loop);
        CHECK_ENDED(read, 2, 7);
        START(&read, eddy_reader_readexactly(reader, 3, got_read, &read));
        settle(loop);
        CHECK_ENDED(read, 3, 7);
        START(&read, eddy_reader_readuntil(reader, "::", 2, got_read, &read));
        settle(loop);
        CHECK_ENDED(read, 4, 7);
        START(&read, eddy_reader_readuntil_any(reader, separators, 2, got_read, &read));
        settle(loop);
        CHECK_ENDED(read, 5, 7);
        START(&read, eddy_reader_readall(reader, 100, got_read, &read));
        settle(loop);
        CHECK_ENDED(read, 6, 7);
        START(&read, eddy_reader_read(reader, EDDY_UNTIL_EOF, got_read, &read));
        settle(loop);
        CHECK_ENDED(read, 7, 7);
        CHECK_STR(read.message, "seven");
    }
    eddy_loop_free(loop);
}

TEST(an_exception_fails_a_waiting_readexactly, "R36")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    START(&read, eddy_reader_readexactly(reader, 5, got_read, &read));
    FEED(reader, "abc");
    settle(loop);
    CHECK_INT(read.count, 0);
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    settle(loop);
    CHECK_ENDED(read, 1, 7);
    CHECK_BUFFERED(reader, "abc");
    eddy_loop_free(loop);
}

TEST(what_came_before_an_exception_is_read_before_it, "R12")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    FEED(reader, "first\nsecond\nrest");
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    START(&read, eddy_reader_readline(reader, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "first\n");
    START(&read, eddy_reader_readuntil(reader, "d\n", 2, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 2, "second\n");
    /* cannot be had: the error, and the bytes stay */
    START(&read, eddy_reader_readline(reader, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 3, 7);
    START(&read, eddy_reader_readexactly(reader, 5, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 4, 7);
    START(&read, eddy_reader_readuntil(reader, "::", 2, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 5, 7);
    START(&read, eddy_reader_readall(reader, 100, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 6, 7);
    START(&read, eddy_reader_readexactly(reader, 2, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 7, "re");
    START(&read, eddy_reader_read(reader, 100, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 8, "st");
    START(&read, eddy_reader_read(reader, 100, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 9, 7);
    eddy_loop_free(loop);
}

TEST(what_is_fed_after_an_exception_is_kept, "R13")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    FEED(reader, "late");
    CHECK_BUFFERED(reader, "late");
    START(&read, eddy_reader_readexactly(reader, 5, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 1, 7);
    CHECK_BUFFERED(reader, "late");
    eddy_loop_free(loop);
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

static void check_bad_arguments(eddy_reader *reader, struct got *got)
{
    const size_t too_much = (size_t)SSIZE_MAX + 1;
    const eddy_bytes none[] = { { "\n", 1 }, { "", 0 } }, nowhere[] = { { NULL, 3 } };
    CHECK_INT(eddy_reader_read(reader, too_much, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_read(reader, SIZE_MAX - 1, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_read(reader, 1, NULL, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readline(reader, NULL, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readexactly(reader, too_much, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readexactly(reader, 1, NULL, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readall(reader, too_much, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readall(reader, 1, NULL, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil(reader, "", 0, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil(reader, NULL, 0, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil(reader, NULL, 1, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil(reader, "\n", too_much, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil(reader, "\n", 1, NULL, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil_any(reader, none, 0, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil_any(reader, none, 2, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil_any(reader, NULL, 1, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil_any(reader, nowhere, 1, got_read, got), EDDY_EINVAL);
    CHECK_INT(eddy_reader_readuntil_any(reader, none, 1, NULL, got), EDDY_EINVAL);
}

TEST(arguments_without_sense_are_refused_and_take_nothing, "R30 R40 R51")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(got);
    FEED(reader, "line\n");
    check_bad_arguments(reader, &got);
    CHECK_INT(eddy_reader_feed_data(reader, NULL, 1), EDDY_EINVAL);
    CHECK_INT(eddy_reader_feed_data(reader, "x", (size_t)SSIZE_MAX + 1), EDDY_EINVAL);
    settle(loop);
    CHECK_INT(got.count, 0);
    CHECK_BUFFERED(reader, "line\n");
    START(&got, eddy_reader_readline(reader, got_read, &got)); /* none of them left anything waiting */
    settle(loop);
    CHECK_GOT(got, 1, "line\n");
    eddy_loop_free(loop);
    CHECK_INT(got.count, 1);
}

TEST(a_bad_argument_is_told_before_a_stored_exception, "R14")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(got);
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    check_bad_arguments(reader, &got);
    settle(loop);
    CHECK_INT(got.count, 0);
    eddy_loop_free(loop);
    CHECK_INT(got.count, 0);
}

static void check_every_call_is_refused(eddy_reader *reader, struct got *got, int code)
{
    const eddy_bytes separators[] = { { "\n", 1 } };
    CHECK_INT(eddy_reader_read(reader, 1, got_read, got), code);
    CHECK_INT(eddy_reader_readline(reader, got_read, got), code);
    CHECK_INT(eddy_reader_readexactly(reader, 1, got_read, got), code);
    CHECK_INT(eddy_reader_readuntil(reader, "\n", 1, got_read, got), code);
    CHECK_INT(eddy_reader_readuntil_any(reader, separators, 1, got_read, got), code);
    CHECK_INT(eddy_reader_readall(reader, 1, got_read, got), code);
    CHECK_INT(eddy_reader_feed_data(reader, "x", 1), code);
    CHECK_INT(eddy_reader_feed_eof(reader), code);
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), code);
    CHECK(!eddy_reader_at_eof(reader));
    const char *bytes = "untouched or NULL";
    CHECK_INT(eddy_reader_buffered(reader, &bytes), 0);
    CHECK(eddy_reader_exception(reader) == NULL);
}

TEST(a_reader_that_is_gone_or_something_else_refuses_everything, "S2")
{
    eddy_loop *loop = eddy_loop_new();
    struct reports reports = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    GOT(got);
    eddy_reader *freed = new_reader(loop, 100), *live = new_reader(loop, 100);
    eddy_reader_free(freed);
    eddy_reader_free(freed);
    eddy_reader_free(NULL);
    settle(loop);
    CHECK_INT(reports.count, 0);
    check_every_call_is_refused(freed, &got, EDDY_ESTALE);
    check_every_call_is_refused(NULL, &got, EDDY_ESTALE);
    check_every_call_is_refused((eddy_reader *)(void *)loop, &got, EDDY_ESTALE);
    check_every_call_is_refused((eddy_reader *)(void *)&reports, &got, EDDY_ESTALE);
    eddy_reader *next = new_reader(loop, 100); /* its place may be the old one's */
    CHECK(next != freed);
    CHECK_INT(eddy_reader_feed_data(freed, "x", 1), EDDY_ESTALE);
    CHECK_INT(eddy_reader_buffered(next, NULL), 0);
    CHECK_INT(eddy_reader_buffered(live, NULL), 0);
    settle(loop);
    CHECK_INT(got.count, 0);
    CHECK(reports.count > 0);
    eddy_loop_free(loop);
    CHECK_INT(got.count, 0);
}

/* ---- the looks of a reader ----------------------------------------------------------------------------- */

static void check_repr(const void *handle, const char *word, bool wanted)
{
    const char *repr = eddy_repr(handle);
    CHECK(repr != NULL);
    if ((strstr(repr, word) != NULL) != wanted)
        FAIL("\"%s\" %s \"%s\"", repr, wanted ? "lacks" : "has", word);
}

TEST(the_repr_of_a_reader_tells_its_state, "R16")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 65536);
    GOT(read);
    check_repr(reader, "<eddy_reader", true);
    check_repr(reader, "eof", false);
    check_repr(reader, "exception", false);
    check_repr(reader, "limit", false);
    check_repr(reader, "waiting", false);
    char bytes[42] = { 0 };
    CHECK_INT(eddy_reader_feed_data(reader, bytes, sizeof bytes), 0);
    check_repr(reader, "42 bytes", true);
    START(&read, eddy_reader_readline(reader, got_read, &read));
    check_repr(reader, "waiting", true);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    check_repr(reader, "waiting", false);
    check_repr(reader, "eof", true);
    check_repr(reader, "42 bytes", false);
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    check_repr(reader, "exception", true);
    check_repr(new_reader(loop, 123), "limit=123", true);
    eddy_loop_free(loop);
}

/* ---- read ---------------------------------------------------------------------------------------------- */

TEST(reading_nothing_gives_nothing_and_takes_nothing, "R20 R30 a16")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    START(&read, eddy_reader_read(reader, 0, got_read, &read)); /* though nothing has come */
    settle(loop);
    CHECK_GOT(read, 1, "");
    START(&read, eddy_reader_readexactly(reader, 0, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 2, "");
    FEED(reader, "abc");
    START(&read, eddy_reader_read(reader, 0, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 3, "");
    START(&read, eddy_reader_readexactly(reader, 0, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 4, "");
    CHECK_BUFFERED(reader, "abc");
    eddy_loop_free(loop);
    CHECK_INT(read.count, 4);
}

TEST(read_takes_at_most_n_and_never_waits_to_fill_it, "R21")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    FEED(reader, "line1\nline2");
    START(&read, eddy_reader_read(reader, 5, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "line1");
    START(&read, eddy_reader_read(reader, 50, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 2, "\nline2");
    START(&read, eddy_reader_read(reader, 3, got_read, &read));
    settle(loop);
    CHECK_INT(read.count, 2);
    FEED(reader, "abcdef");
    settle(loop);
    CHECK_GOT(read, 3, "abc");
    CHECK_BUFFERED(reader, "def");
    eddy_loop_free(loop);
    CHECK_INT(read.count, 3);
}

TEST(read_until_eof_waits_for_the_end, "R23")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    FEED(reader, "one ");
    START(&read, eddy_reader_read(reader, EDDY_UNTIL_EOF, got_read, &read));
    settle(loop);
    FEED(reader, "two\n");
    settle(loop);
    FEED(reader, "three");
    settle(loop);
    CHECK_INT(read.count, 0);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    CHECK_GOT(read, 1, "one two\nthree");
    CHECK(eddy_reader_at_eof(reader));
    START(&read, eddy_reader_read(reader, EDDY_UNTIL_EOF, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 2, "");
    eddy_loop_free(loop);
}

TEST(reading_to_the_end_is_not_bounded_by_the_limit, "R24")
{
    eddy_loop *loop = eddy_loop_new();
    for (int way = 0; way < 2; way++) {
        eddy_reader *reader = new_reader(loop, 16);
        GOT(read);
        if (way == 0)
            START(&read, eddy_reader_read(reader, EDDY_UNTIL_EOF, got_read, &read));
        else
            START(&read, eddy_reader_readall(reader, EDDY_UNTIL_EOF, got_read, &read));
        char chunk[100];
        for (int i = 0; i < 200; i++) {
            memset(chunk, 'a' + i % 26, sizeof chunk);
            CHECK_INT(eddy_reader_feed_data(reader, chunk, sizeof chunk), 0);
            if (i % 7 == 0) settle(loop);
        }
        CHECK_INT(read.count, 0);
        CHECK_INT(eddy_reader_feed_eof(reader), 0);
        settle(loop);
        CHECK_INT(read.count, 1);
        CHECK_INT(read.code, 0);
        CHECK_INT(read.len, 20000);
        for (int i = 0; i < 20000; i++) CHECK_INT(read.bytes[i], 'a' + i / 100 % 26);
    }
    eddy_loop_free(loop);
}

TEST(a_cancelled_read_to_the_end_loses_nothing, "R25")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 4);
    GOT(all);
    GOT(read);
    eddy_op op = START(&all, eddy_reader_read(reader, EDDY_UNTIL_EOF, got_read, &all));
    FEED(reader, "0123456789");
    settle(loop);
    FEED(reader, "abcdef");
    settle(loop);
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    settle(loop);
    CHECK_ENDED(all, 1, EDDY_ECANCELED);
    CHECK_BUFFERED(reader, "0123456789abcdef");
    START(&read, eddy_reader_readexactly(reader, 16, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "0123456789abcdef");
    eddy_loop_free(loop);
    CHECK_INT(all.count, 1);
}

TEST(a_failing_read_to_the_end_loses_nothing, "R25")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 4);
    GOT(all);
    GOT(read);
    START(&all, eddy_reader_readall(reader, EDDY_UNTIL_EOF, got_read, &all));
    FEED(reader, "0123456789");
    settle(loop);
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    settle(loop);
    CHECK_ENDED(all, 1, 7);
    START(&read, eddy_reader_read(reader, 100, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "0123456789");
    START(&read, eddy_reader_read(reader, 100, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 2, 7);
    eddy_loop_free(loop);
    CHECK_INT(all.count, 1);
}

TEST(readall_has_a_cap_and_past_it_loses_nothing, "R25")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(all);
    START(&all, eddy_reader_readall(reader, 6, got_read, &all));
    FEED(reader, "abcdef");
    settle(loop);
    CHECK_INT(all.count, 0); /* as many as allowed: the end may come now */
    FEED(reader, "g");
    settle(loop);
    CHECK_ENDED(all, 1, EDDY_ELIMIT);
    CHECK_BUFFERED(reader, "abcdefg");
    START(&all, eddy_reader_readall(reader, 6, got_read, &all)); /* and again, from what is buffered */
    settle(loop);
    CHECK_ENDED(all, 2, EDDY_ELIMIT);
    START(&all, eddy_reader_readall(reader, 7, got_read, &all));
    settle(loop);
    CHECK_INT(all.count, 2);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    CHECK_GOT(all, 3, "abcdefg");
    CHECK(eddy_reader_at_eof(reader));
    eddy_loop_free(loop);
    CHECK_INT(all.count, 3);
}

TEST(read_may_ask_for_more_than_the_limit, "R26")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(read);
    FEED(reader, "0123456789");
    START(&read, eddy_reader_read(reader, 1024, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "0123456789");
    START(&read, eddy_reader_read(reader, (size_t)SSIZE_MAX, got_read, &read));
    FEED(reader, "ab");
    settle(loop);
    CHECK_GOT(read, 2, "ab");
    eddy_loop_free(loop);
}

/* ---- readexactly --------------------------------------------------------------------------------------- */

TEST(readexactly_waits_for_n_and_leaves_the_rest, "R31 R73")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    START(&read, eddy_reader_readexactly(reader, 5, got_read, &read));
    FEED(reader, "ab");
    settle(loop);
    CHECK_INT(read.count, 0);
    FEED(reader, "cd");
    settle(loop);
    CHECK_INT(read.count, 0);
    FEED(reader, "ef");
    FEED(reader, "gh"); /* more, before anybody ran */
    settle(loop);
    CHECK_GOT(read, 1, "abcde");
    CHECK_BUFFERED(reader, "fgh");
    START(&read, eddy_reader_readexactly(reader, 3, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 2, "fgh");
    eddy_loop_free(loop);
    CHECK_INT(read.count, 2);
}

TEST(readexactly_is_not_bounded_by_the_limit, "R32")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(read);
    START(&read, eddy_reader_readexactly(reader, 20, got_read, &read));
    for (int i = 0; i < 4; i++) {
        settle(loop);
        CHECK_INT(read.count, 0);
        FEED(reader, "abcde");
    }
    settle(loop);
    CHECK_GOT(read, 1, "abcdeabcdeabcdeabcde");
    eddy_loop_free(loop);
}

TEST(readexactly_at_an_early_end_hands_over_what_there_is, "R33 S5")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    START(&read, eddy_reader_readexactly(reader, 5, got_read, &read));
    FEED(reader, "abc");
    settle(loop);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    CHECK_ENDED(read, 1, EDDY_EINCOMPLETE);
    CHECK_BYTES(read.bytes, read.len, "abc");
    CHECK_INT(read.expected, 5);
    CHECK_STR(read.message, "3 bytes read on a total of 5 expected bytes");
    CHECK_BUFFERED(reader, "");
    CHECK(eddy_reader_at_eof(reader));
    START(&read, eddy_reader_readexactly(reader, 7, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 2, EDDY_EINCOMPLETE);
    CHECK_BYTES(read.bytes, read.len, "");
    CHECK_INT(read.expected, 7);
    eddy_loop_free(loop);
    CHECK_INT(read.count, 2);
}

TEST(readexactly_has_its_bytes_though_the_end_has_come, "R34")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    FEED(reader, "abcde");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    START(&read, eddy_reader_readexactly(reader, 5, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "abcde");
    START(&read, eddy_reader_readexactly(reader, 1, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 2, EDDY_EINCOMPLETE);
    eddy_loop_free(loop);
}

/* ---- readuntil ----------------------------------------------------------------------------------------- */

TEST(readuntil_gives_the_separator_too_and_leaves_the_rest, "R41 R50")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    char separator[] = { 0, 1, 0 }; /* any bytes, and copied */
    START(&read, eddy_reader_readuntil(reader, separator, 3, got_read, &read));
    memset(separator, '?', sizeof separator);
    FEED(reader, "one");
    settle(loop);
    FEED(reader, "two");
    settle(loop);
    CHECK_INT(read.count, 0);
    FEED(reader, "\0\1\0rest");
    settle(loop);
    CHECK_GOT(read, 1, "onetwo\0\1\0");
    CHECK_BUFFERED(reader, "rest");
    eddy_loop_free(loop);
    CHECK_INT(read.count, 1);
}

TEST(a_separator_is_found_however_it_is_cut, "R42 p04")
{
    static const char *const cases[][2] = {
        /* what comes, byte by byte, and the separator it ends in */
        { "abcSEP", "SEP" }, { "aaaaab", "aab" }, { "aaa", "aaa" }, { "aabaabaaa", "aabaaa" },
        { "SESESEP", "SEP" }, { "\r\r\n\r\r\n\r\n", "\r\n\r\n" }, { "ababac", "abac" }, { "x", "x" },
    };
    eddy_loop *loop = eddy_loop_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *bytes = cases[i][0], *separator = cases[i][1];
        const size_t len = strlen(bytes);
        for (size_t step = 1; step <= len; step++) {
            eddy_reader *reader = new_reader(loop, 100);
            GOT(read);
            START(&read, eddy_reader_readuntil(reader, separator, strlen(separator), got_read, &read));
            for (size_t at = 0; at < len; at += step) {
                CHECK_INT(read.count, 0);
                CHECK_INT(eddy_reader_feed_data(reader, bytes + at, at + step < len ? step : len - at), 0);
                settle(loop);
            }
            CHECK_INT(read.count, 1);
            CHECK_INT(read.code, 0);
            CHECK_STR(read.bytes, bytes);
            eddy_reader_free(reader);
        }
    }
    eddy_loop_free(loop);
}

TEST(looking_for_a_separator_costs_as_much_as_comes, "R42")
{
    enum { CHUNK = 1024, CHUNKS = 16 * 1024 };
    eddy_loop *loop = eddy_loop_new();
    for (int line = 0; line < 2; line++) {
        eddy_reader *reader = new_reader(loop, (size_t)CHUNK * CHUNKS);
        GOT(read);
        static char chunk[CHUNK];
        memset(chunk, 'a', sizeof chunk);
        if (line)
            START(&read, eddy_reader_readline(reader, got_read, &read));
        else
            START(&read, eddy_reader_readuntil(reader, "aab", 3, got_read, &read));
        const long long start = test_clock_ms();
        for (int i = 0; i < CHUNKS - 1; i++) {
            CHECK_INT(eddy_reader_feed_data(reader, chunk, sizeof chunk), 0);
            CHECK(eddy_loop_run_once(loop, 0) > 0);
        }
        CHECK_INT(eddy_reader_feed_data(reader, line ? "\n" : "b", 1), 0);
        settle(loop);
        CHECK_INT(read.count, 1);
        CHECK_INT(read.len, (size_t)CHUNK * (CHUNKS - 1) + 1);
        /* To search all of it again with every chunk would be 128 GiB. */
        CHECK(test_clock_ms() - start < 2000LL * eddy_test_slow());
        eddy_reader_free(reader);
    }
    eddy_loop_free(loop);
}

TEST(a_whole_message_counts_more_than_the_end, "R43")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    FEED(reader, "some dataAA");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    START(&read, eddy_reader_readuntil(reader, "AA", 2, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "some dataAA");
    eddy_loop_free(loop);
}

TEST(a_message_and_the_end_in_one_turn, "R43")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    START(&read, eddy_reader_readuntil(reader, "AA", 2, got_read, &read));
    FEED(reader, "some dataA");
    settle(loop);
    FEED(reader, "A");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    CHECK_GOT(read, 1, "some dataAA");
    eddy_loop_free(loop);
}

TEST(the_end_without_a_separator_hands_over_what_there_is, "R44 S5")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    FEED(reader, "some data");
    START(&read, eddy_reader_readuntil(reader, "AA", 2, got_read, &read));
    settle(loop);
    CHECK_INT(read.count, 0);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    CHECK_ENDED(read, 1, EDDY_EINCOMPLETE);
    CHECK_BYTES(read.bytes, read.len, "some data");
    CHECK_INT(read.expected, 0);
    CHECK_STR(read.message, "9 bytes read on a total of undefined expected bytes");
    CHECK_BUFFERED(reader, "");
    START(&read, eddy_reader_readuntil(reader, "AA", 2, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 2, EDDY_EINCOMPLETE);
    CHECK_BYTES(read.bytes, read.len, "");
    eddy_loop_free(loop);
}

TEST(the_limit_counts_what_stands_before_the_separator, "R45 R46")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(read);
    FEED(reader, "abc\nabcd\n");
    START(&read, eddy_reader_readuntil(reader, "\n", 1, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "abc\n");
    for (int again = 2; again < 4; again++) {
        START(&read, eddy_reader_readuntil(reader, "\n", 1, got_read, &read));
        settle(loop);
        CHECK_ENDED(read, again, EDDY_ELIMIT);
        CHECK_INT(read.consumed, 4);
        CHECK_BUFFERED(reader, "abcd\n");
    }
    eddy_loop_free(loop);
}

TEST(a_separator_found_too_far_off_leaves_everything, "R46 p02")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(read);
    FEED(reader, "some dataAA and more");
    START(&read, eddy_reader_readuntil(reader, "AA", 2, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 1, EDDY_ELIMIT);
    CHECK_INT(read.consumed, 9);
    CHECK_BUFFERED(reader, "some dataAA and more");
    eddy_loop_free(loop);
}

TEST(a_separator_not_found_within_the_limit_leaves_everything, "R47 R49")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(read);
    START(&read, eddy_reader_readuntil(reader, "XYZ", 3, got_read, &read));
    FEED(reader, "01234");
    settle(loop);
    CHECK_INT(read.count, 0);
    FEED(reader, "X");
    settle(loop);
    CHECK_ENDED(read, 1, EDDY_ELIMIT);
    CHECK_INT(read.consumed, 4);
    CHECK_BUFFERED(reader, "01234X");
    for (int again = 2; again < 5; again++) {
        START(&read, eddy_reader_readuntil(reader, "XYZ", 3, got_read, &read));
        settle(loop);
        CHECK_ENDED(read, again, EDDY_ELIMIT);
        CHECK_INT(read.consumed, 4);
    }
    /* what was consumed, as the error says */
    START(&read, eddy_reader_readexactly(reader, 4, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 5, "0123");
    START(&read, eddy_reader_readuntil(reader, "XYZ", 3, got_read, &read));
    FEED(reader, "YZ!");
    settle(loop);
    CHECK_GOT(read, 6, "4XYZ");
    CHECK_BUFFERED(reader, "!");
    eddy_loop_free(loop);
}

TEST(too_much_and_the_end_is_too_much, "R48")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(read);
    FEED(reader, "abcd");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    START(&read, eddy_reader_readuntil(reader, "\n", 1, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 1, EDDY_ELIMIT);
    CHECK_INT(read.consumed, 4);
    CHECK_BUFFERED(reader, "abcd");
    eddy_loop_free(loop);
}

TEST(a_cancelled_readuntil_leaves_its_bytes, "R9 R41")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    eddy_op op = START(&read, eddy_reader_readuntil(reader, "::", 2, got_read, &read));
    FEED(reader, "one:");
    settle(loop);
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    settle(loop);
    CHECK_ENDED(read, 1, EDDY_ECANCELED);
    CHECK_BUFFERED(reader, "one:");
    /* starts its search at the front again */
    START(&read, eddy_reader_readuntil(reader, "::", 2, got_read, &read));
    FEED(reader, ":two");
    settle(loop);
    CHECK_GOT(read, 2, "one::");
    eddy_loop_free(loop);
}

/* ---- readuntil_any ------------------------------------------------------------------------------------- */

TEST(of_several_separators_the_one_that_ends_first_wins, "R51")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    const eddy_bytes late[] = { { "DEF", 3 }, { "BCDE", 4 } };
    FEED(reader, "ABCDEFG");
    START(&read, eddy_reader_readuntil_any(reader, late, 2, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "ABCDE");
    CHECK_BUFFERED(reader, "FG");
    const eddy_bytes ends[] = { { "\r\n", 2 }, { "\n", 1 }, { "\0", 1 } };
    FEED(reader, "\r\none\ntwo\0three");
    START(&read, eddy_reader_readuntil_any(reader, ends, 3, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 2, "FG\r\n");
    START(&read, eddy_reader_readuntil_any(reader, ends, 3, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 3, "one\n");
    START(&read, eddy_reader_readuntil_any(reader, ends, 3, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 4, "two\0");
    START(&read, eddy_reader_readuntil_any(reader, ends, 3, got_read, &read));
    settle(loop);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    CHECK_ENDED(read, 5, EDDY_EINCOMPLETE);
    CHECK_BYTES(read.bytes, read.len, "three");
    CHECK_INT(read.expected, 0);
    eddy_loop_free(loop);
}

TEST(separators_are_copied_one_and_all, "R51")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    char semicolon[] = ";", period[] = ".";
    eddy_bytes separators[] = { { semicolon, 1 }, { period, 1 } };
    START(&read, eddy_reader_readuntil_any(reader, separators, 2, got_read, &read));
    semicolon[0] = period[0] = '?';
    memset(separators, 0, sizeof separators);
    FEED(reader, "what? this. that");
    settle(loop);
    CHECK_GOT(read, 1, "what? this.");
    eddy_loop_free(loop);
}

TEST(the_overrun_of_several_separators, "R52")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(read);
    eddy_reader *reader = new_reader(loop, 3);
    const eddy_bytes separators[] = { { "ome dataA", 9 }, { "A", 1 } };
    FEED(reader, "some dataA"); /* both end together: the shorter one, which stands too far off */
    START(&read, eddy_reader_readuntil_any(reader, separators, 2, got_read, &read));
    settle(loop);
    CHECK_ENDED(read, 1, EDDY_ELIMIT);
    CHECK_INT(read.consumed, 9);
    CHECK_BUFFERED(reader, "some dataA");

    reader = new_reader(loop, 3);
    START(&read, eddy_reader_readuntil_any(reader, separators, 2, got_read, &read));
    FEED(reader, "01234567890"); /* the longest separator might still begin at 3 */
    settle(loop);
    CHECK_INT(read.count, 1);
    FEED(reader, "1");
    settle(loop);
    CHECK_ENDED(read, 2, EDDY_ELIMIT);
    CHECK_INT(read.consumed, 4);
    CHECK_BUFFERED(reader, "012345678901");
    eddy_loop_free(loop);
}

TEST(a_buffer_shorter_than_the_longest_separator, "R52")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    const eddy_bytes separators[] = { { "A", 1 }, { "long sep", 8 } };
    FEED(reader, "data");
    START(&read, eddy_reader_readuntil_any(reader, separators, 2, got_read, &read));
    settle(loop);
    FEED(reader, "Z");
    settle(loop);
    CHECK_INT(read.count, 0);
    FEED(reader, "Aaaa");
    settle(loop);
    CHECK_GOT(read, 1, "dataZA");
    CHECK_BUFFERED(reader, "aaa");
    eddy_loop_free(loop);
}

/* ---- readline ------------------------------------------------------------------------------------------ */

TEST(a_line_comes_with_its_newline, "R60 R65")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(line);
    FEED(reader, "one\r\n\ntw");
    /* START: not within the call, though it lies there */
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_GOT(line, 1, "one\r\n");
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_GOT(line, 2, "\n");
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_INT(line.count, 2);
    FEED(reader, "o\rstill two");
    settle(loop);
    CHECK_INT(line.count, 2);
    FEED(reader, "\nthree");
    settle(loop);
    CHECK_GOT(line, 3, "two\rstill two\n");
    CHECK_BUFFERED(reader, "three");
    eddy_loop_free(loop);
    CHECK_INT(line.count, 3);
}

TEST(the_last_line_may_lack_its_newline, "R61")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(line);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    FEED(reader, "some data");
    settle(loop);
    CHECK_INT(line.count, 0);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    CHECK_GOT(line, 1, "some data");
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_GOT(line, 2, "");
    eddy_loop_free(loop);
}

TEST(a_line_as_long_as_the_limit_and_one_too_long, "R62 p02")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 7);
    GOT(line);
    FEED(reader, "1234567\n12345678\nnext\n");
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_GOT(line, 1, "1234567\n");
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_ENDED(line, 2, EDDY_ELIMIT);
    CHECK_INT(line.consumed, 8);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_GOT(line, 3, "next\n");
    CHECK_BUFFERED(reader, "");
    eddy_loop_free(loop);
    CHECK_INT(line.count, 3);
}

TEST(the_rest_of_a_line_too_long_is_skipped_when_it_comes, "R62 R64")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(line);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    FEED(reader, "way too lo");
    settle(loop);
    CHECK_ENDED(line, 1, EDDY_ELIMIT);
    CHECK_INT(line.consumed, 10);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    FEED(reader, "ng, and st"); /* told once: no second error for the same line */
    settle(loop);
    CHECK_INT(line.count, 1);
    FEED(reader, "ill\nok\nx");
    settle(loop);
    CHECK_GOT(line, 2, "ok\n");
    CHECK_BUFFERED(reader, "x");
    eddy_loop_free(loop);
    CHECK_ENDED(line, 2, 0);
}

TEST(the_rest_of_a_line_too_long_comes_while_nobody_reads, "R64")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(line);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    FEED(reader, "abcde");
    settle(loop);
    CHECK_ENDED(line, 1, EDDY_ELIMIT);
    FEED(reader, "f");
    FEED(reader, "\n");
    FEED(reader, "yes\nno");
    settle(loop);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_GOT(line, 2, "yes\n");
    eddy_loop_free(loop);
}

TEST(each_line_too_long_is_told_of_once, "R64")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(line);
    FEED(reader, "aaaaaaaa\nbbbb\ncc\ndddd\n");
    static const int codes[] = { EDDY_ELIMIT, EDDY_ELIMIT, 0, EDDY_ELIMIT };
    for (int i = 0; i < 4; i++) {
        START(&line, eddy_reader_readline(reader, got_read, &line));
        settle(loop);
        CHECK_ENDED(line, i + 1, codes[i]);
        if (i == 2) CHECK_BYTES(line.bytes, line.len, "cc\n");
    }
    CHECK_BUFFERED(reader, "");
    eddy_loop_free(loop);
}

TEST(a_line_too_long_at_the_end_of_the_stream, "R63")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(line);
    FEED(reader, "abcdefgh");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_ENDED(line, 1, EDDY_ELIMIT);
    CHECK(eddy_reader_at_eof(reader));
    START(&line, eddy_reader_readline(reader, got_read, &line));
    settle(loop);
    CHECK_GOT(line, 2, "");
    eddy_loop_free(loop);
}

TEST(the_end_comes_while_a_line_is_skipped, "R63 R64")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 3);
    GOT(line);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    FEED(reader, "abcdefgh");
    settle(loop);
    CHECK_ENDED(line, 1, EDDY_ELIMIT);
    START(&line, eddy_reader_readline(reader, got_read, &line));
    FEED(reader, "ij");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    settle(loop);
    CHECK_GOT(line, 2, "");
    CHECK(eddy_reader_at_eof(reader));
    eddy_loop_free(loop);
}

TEST(lines_and_bytes_come_from_one_buffer, "R66")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    FEED(reader, "line1\nline2\nline3\nline4");
    START(&read, eddy_reader_readline(reader, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 1, "line1\n");
    START(&read, eddy_reader_read(reader, 7, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 2, "line2\nl");
    START(&read, eddy_reader_readline(reader, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 3, "ine3\n");
    START(&read, eddy_reader_readexactly(reader, 2, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 4, "li");
    START(&read, eddy_reader_readuntil(reader, "e", 1, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 5, "ne");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    START(&read, eddy_reader_readall(reader, 100, got_read, &read));
    settle(loop);
    CHECK_GOT(read, 6, "4");
    eddy_loop_free(loop);
}

struct lines {
    char text[100];
    int count;
    bool ended;
};

static void next_line(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct lines *lines = arg;
    CHECK(error == NULL);
    CHECK(!lines->ended);
    lines->count++;
    if (len == 0) {
        lines->ended = true;
        return;
    }
    CHECK(strlen(lines->text) + len + 1 < sizeof lines->text);
    strcat(strcat(lines->text, bytes), "|");
    CHECK(eddy_reader_readline(reader, next_line, lines) >= 0);
}

TEST(lines_until_the_empty_one, "R67")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    struct lines lines = { .count = 0 };
    CHECK(eddy_reader_readline(reader, next_line, &lines) >= 0);
    FEED(reader, "one\ntwo\n");
    settle(loop);
    FEED(reader, "\nth");
    settle(loop);
    FEED(reader, "ree");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK_INT(eddy_loop_run(loop), 0); /* nothing more to wait for: the last callback started nothing */
    CHECK(lines.ended);
    CHECK_INT(lines.count, 5);
    CHECK_STR(lines.text, "one\n|two\n|\n|three|");
    eddy_loop_free(loop);
    CHECK_INT(lines.count, 5);
}

/* ---- one at a time ------------------------------------------------------------------------------------- */

TEST(while_one_read_waits_every_other_is_refused, "R20 R70 R71")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(first);
    GOT(second);
    const eddy_bytes separators[] = { { "\n", 1 } };
    START(&first, eddy_reader_readexactly(reader, 5, got_read, &first));
    for (int round = 0; round < 2; round++) {
        CHECK_INT(eddy_reader_read(reader, 2, got_read, &second), EDDY_EBUSY);
        CHECK_INT(eddy_reader_read(reader, 0, got_read, &second), EDDY_EBUSY);
        CHECK_INT(eddy_reader_readline(reader, got_read, &second), EDDY_EBUSY);
        CHECK_INT(eddy_reader_readexactly(reader, 1, got_read, &second), EDDY_EBUSY);
        CHECK_INT(eddy_reader_readexactly(reader, 0, got_read, &second), EDDY_EBUSY);
        CHECK_INT(eddy_reader_readuntil(reader, "b", 1, got_read, &second), EDDY_EBUSY);
        CHECK_INT(eddy_reader_readuntil_any(reader, separators, 1, got_read, &second), EDDY_EBUSY);
        CHECK_INT(eddy_reader_readall(reader, 100, got_read, &second), EDDY_EBUSY);
        /* now the buffer could serve some of them: refused all the same */
        if (round == 0) FEED(reader, "ab\n");
        settle(loop);
        CHECK_INT(first.count, 0);
    }
    FEED(reader, "cdefg");
    /* not told yet, so it still counts */
    CHECK_INT(eddy_reader_read(reader, 1, got_read, &second), EDDY_EBUSY);
    settle(loop);
    CHECK_GOT(first, 1, "ab\ncd");
    CHECK_INT(second.count, 0);
    START(&second, eddy_reader_read(reader, 10, got_read, &second));
    CHECK_INT(eddy_reader_read(reader, 10, got_read, &second), EDDY_EBUSY);
    settle(loop);
    CHECK_GOT(second, 1, "efg");
    eddy_loop_free(loop);
    CHECK_INT(first.count, 1);
    CHECK_INT(second.count, 1);
}

TEST(a_cancelled_read_counts_until_it_is_told, "R70")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(first);
    GOT(second);
    eddy_op op = START(&first, eddy_reader_readline(reader, got_read, &first));
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    eddy_op next = eddy_reader_readline(reader, got_read, &second);
    CHECK(next >= 0 || next == EDDY_EBUSY);
    FEED(reader, "line\n");
    settle(loop);
    CHECK_ENDED(first, 1, EDDY_ECANCELED);
    if (next >= 0) {
        CHECK_GOT(second, 1, "line\n");
    } else {
        CHECK_INT(second.count, 0);
        CHECK_BUFFERED(reader, "line\n");
    }
    eddy_loop_free(loop);
    CHECK_INT(first.count, 1);
}

/* ---- what is lent -------------------------------------------------------------------------------------- */

TEST(the_nul_after_lent_bytes_covers_nothing_up, "R21 R31")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 1000);
    GOT(read); /* got_read checks that there is a NUL */
    char bytes[256];
    for (int i = 0; i < 256; i++) bytes[i] = (char)(255 - i);
    CHECK_INT(eddy_reader_feed_data(reader, bytes, sizeof bytes), 0);
    for (int i = 0; i < 256; i++) {
        if (i % 2)
            START(&read, eddy_reader_read(reader, 1, got_read, &read));
        else
            START(&read, eddy_reader_readexactly(reader, 1, got_read, &read));
        settle(loop);
        CHECK_INT(read.count, i + 1);
        CHECK_INT(read.len, 1);
        CHECK_INT(read.bytes[0], bytes[i]);
        const char *rest = NULL;
        CHECK_INT(eddy_reader_buffered(reader, &rest), 255 - i);
        CHECK(i == 255 || memcmp(rest, bytes + i + 1, (size_t)(255 - i)) == 0);
    }
    eddy_loop_free(loop);
}

struct inside {
    eddy_loop *loop;
    char lent[16]; /* what the callback must find lent, at its end as at its beginning */
    int count;
    struct got next;
};

static void look_and_feed_inside(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                                 void *arg)
{
    struct inside *inside = arg;
    CHECK(error == NULL);
    inside->count++;
    CHECK_STR(bytes, "one\n");
    CHECK_BUFFERED(reader, "two\n");
    CHECK_STR(bytes, "one\n");
    CHECK_INT(bytes[len], 0);
    char more[3000]; /* more than any buffer that lies about: it has to move */
    memset(more, '.', sizeof more);
    more[sizeof more - 1] = '\n';
    CHECK_INT(eddy_reader_feed_data(reader, more, sizeof more), 0);
    CHECK_INT(eddy_reader_buffered(reader, NULL), 4 + sizeof more);
    CHECK_STR(bytes, "one\n");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK(!eddy_reader_at_eof(reader));
    START(&inside->next, eddy_reader_readline(reader, got_read, &inside->next));
    CHECK_STR(bytes, "one\n");
    CHECK_INT(bytes[len], 0);
}

TEST(looking_and_feeding_inside_the_callback, "R4 R65")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 5000);
    struct inside inside = { .count = 0 };
    FEED(reader, "one\ntwo\n");
    CHECK(eddy_reader_readline(reader, look_and_feed_inside, &inside) >= 0);
    settle(loop);
    CHECK_INT(inside.count, 1);
    CHECK_GOT(inside.next, 1, "two\n");
    START(&inside.next, eddy_reader_readexactly(reader, 3000, got_read, &inside.next));
    settle(loop);
    CHECK_INT(inside.next.count, 2);
    CHECK_INT(inside.next.len, 3000);
    CHECK_INT(inside.next.bytes[0], '.');
    CHECK_INT(inside.next.bytes[2999], '\n');
    CHECK(eddy_reader_at_eof(reader));
    eddy_loop_free(loop);
    CHECK_INT(inside.count, 1);
    got_release(&inside.next);
}

static void free_reader_inside(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                               void *arg)
{
    struct inside *inside = arg;
    inside->count++;
    static char before[200001];
    if (error != NULL) {
        bytes = eddy_error_partial(error, &len);
        CHECK_INT(eddy_error_code(error), EDDY_EINCOMPLETE);
    }
    CHECK(bytes != NULL);
    memcpy(before, bytes, len);
    eddy_reader_free(reader);
    CHECK_INT(eddy_reader_read(reader, 1, got_read, &inside->next), EDDY_ESTALE);
    CHECK_INT(eddy_reader_feed_data(reader, "x", 1), EDDY_ESTALE);
    /* Another takes its place, with bytes of its own; ours are lent until we return. */
    eddy_reader *other = new_reader(inside->loop, 100);
    CHECK(other != reader);
    char noise[64];
    memset(noise, '#', sizeof noise);
    do CHECK_INT(eddy_reader_feed_data(other, noise, sizeof noise), 0);
    while (eddy_reader_buffered(other, NULL) < len);
    CHECK_INT(memcmp(bytes, before, len), 0);
    CHECK_INT(bytes[len], 0);
    if (error != NULL) CHECK_INT(eddy_error_code(error), EDDY_EINCOMPLETE);
}

TEST(freeing_the_reader_inside_its_callback, "R31 R33")
{
    eddy_loop *loop = eddy_loop_new();
    struct inside inside = { .loop = loop };
    eddy_reader *reader = new_reader(loop, 100);
    FEED(reader, "one\ntwo\n");
    CHECK(eddy_reader_readexactly(reader, 6, free_reader_inside, &inside) >= 0);
    settle(loop);
    CHECK_INT(inside.count, 1);
    reader = new_reader(loop, 100);
    FEED(reader, "abc");
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK(eddy_reader_readexactly(reader, 6, free_reader_inside, &inside) >= 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(inside.count, 2);
    reader = new_reader(loop, 100); /* and with more than is kept for the next one to use */
    static char large[200000];
    memset(large, 'L', sizeof large);
    CHECK_INT(eddy_reader_feed_data(reader, large, sizeof large), 0);
    FEED(reader, "rest");
    CHECK(eddy_reader_readexactly(reader, sizeof large, free_reader_inside, &inside) >= 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(inside.count, 3);
    eddy_loop_free(loop);
    CHECK_INT(inside.count, 3);
    CHECK_INT(inside.next.count, 0);
}

TEST(freeing_a_reader_cancels_the_read_that_waits, "R9")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    GOT(read);
    eddy_op op = START(&read, eddy_reader_readline(reader, got_read, &read));
    FEED(reader, "abc");
    settle(loop);
    eddy_reader_free(reader);
    CHECK_INT(read.count, 0);
    CHECK_INT(eddy_reader_feed_data(reader, "d\n", 2), EDDY_ESTALE);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_ENDED(read, 1, EDDY_ECANCELED);
    CHECK_INT(eddy_loop_cancel(loop, op), EDDY_ESTALE);
    eddy_loop_free(loop);
    CHECK_INT(read.count, 1);
}

static void free_loop_inside(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                             void *arg)
{
    struct inside *inside = arg;
    CHECK(error == NULL);
    inside->count++;
    eddy_loop_free(inside->loop);
    CHECK_BYTES(bytes, len, "one\n");
    CHECK_INT(bytes[len], 0);
    (void)reader;
}

TEST(freeing_the_loop_inside_a_read_callback, "R9")
{
    eddy_loop *loop = eddy_loop_new();
    struct inside inside = { .loop = loop };
    GOT(other);
    eddy_reader *reader = new_reader(loop, 100), *waiting = new_reader(loop, 100);
    START(&other, eddy_reader_readline(waiting, got_read, &other));
    FEED(reader, "one\ntwo\n");
    CHECK(eddy_reader_readline(reader, free_loop_inside, &inside) >= 0);
    eddy_loop_run(loop);
    CHECK_INT(inside.count, 1);
    CHECK_ENDED(other, 1, EDDY_ECANCELED);
    CHECK_INT(eddy_reader_feed_data(reader, "x", 1), EDDY_ESTALE);
    CHECK_INT(eddy_loop_run(loop), EDDY_ESTALE);
}

/* ---- re-arming ----------------------------------------------------------------------------------------- */

enum { LINES = 100000 };

struct rearm {
    size_t count;
    int depth;
    const char *lowest, *highest; /* of the stack */
};

static void rearm_line(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct rearm *rearm = arg;
    const char *frame = __builtin_frame_address(0);
    CHECK(error == NULL);
    CHECK_INT(++rearm->depth, 1);
    if (rearm->lowest == NULL || frame < rearm->lowest) rearm->lowest = frame;
    if (rearm->highest == NULL || frame > rearm->highest) rearm->highest = frame;
    char expected[16];
    size_t expected_len = (size_t)snprintf(expected, sizeof expected, "%zu\n", rearm->count);
    CHECK_INT(len, expected_len);
    CHECK(memcmp(bytes, expected, len) == 0);
    if (++rearm->count < LINES) CHECK(eddy_reader_readline(reader, rearm_line, rearm) >= 0);
    rearm->depth--;
}

TEST(a_hundred_thousand_lines_read_from_inside_the_callback, "R65 R67 e06")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    struct rearm rearm = { 0 };
    char line[16];
    for (int i = 0; i < LINES; i++) {
        int len = snprintf(line, sizeof line, "%d\n", i);
        CHECK_INT(eddy_reader_feed_data(reader, line, (size_t)len), 0);
    }
    CHECK(eddy_reader_readline(reader, rearm_line, &rearm) >= 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(rearm.count, LINES);
    CHECK(rearm.highest - rearm.lowest < 16 * 1024); /* no recursion */
    CHECK_INT(eddy_reader_buffered(reader, NULL), 0);
    eddy_loop_free(loop);
}

static void rearm_and_feed(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                           void *arg)
{
    struct rearm *rearm = arg;
    CHECK(error == NULL);
    CHECK_INT(++rearm->depth, 1);
    CHECK_BYTES(bytes, len, "ping\n");
    if (++rearm->count < 10000) {
        CHECK(eddy_reader_readline(reader, rearm_and_feed, rearm) >= 0);
        FEED(reader, "ping\n"); /* wakes it, in here */
    }
    rearm->depth--;
}

static void count_calls(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop;
    CHECK(error == NULL);
    ++*(size_t *)arg;
}

TEST(a_reader_that_feeds_itself_does_not_starve_the_others, "R4 R65 e06")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = new_reader(loop, 100);
    struct rearm rearm = { 0 };
    size_t calls = 0;
    FEED(reader, "ping\n");
    CHECK(eddy_reader_readline(reader, rearm_and_feed, &rearm) >= 0);
    CHECK(eddy_loop_call_soon(loop, count_calls, &calls) >= 0);
    while (calls == 0) CHECK(eddy_loop_run_once(loop, 0) >= 0);
    CHECK(rearm.count < 10000);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(rearm.count, 10000);
    eddy_loop_free(loop);
}
