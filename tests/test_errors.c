/* Errors: their codes and words, and what each of them tells. */
#include "collect.h"

#include <errno.h>

static const int codes[] = {
    EDDY_OK,      EDDY_EINVAL, EDDY_ESTALE, EDDY_ETHREAD, EDDY_EBUSY,    EDDY_ESTATE, EDDY_ENOTSUP,
    EDDY_EFULL,   EDDY_EPANIC, EDDY_ESYSTEM, EDDY_ERESOLVE, EDDY_ELOST, EDDY_EINCOMPLETE, EDDY_ELIMIT,
    EDDY_ETIMEDOUT, EDDY_ECANCELED,
};
enum { CODES = sizeof codes / sizeof codes[0] };

TEST(every_code_has_words_of_its_own, "")
{
    for (int i = 0; i < CODES; i++) {
        const char *words = eddy_strerror(codes[i]);
        CHECK(words != NULL && words[0] != '\0');
        CHECK(strchr(words, '\n') == NULL);
        for (int j = 0; j < i; j++) CHECK(strcmp(words, eddy_strerror(codes[j])) != 0);
        CHECK(words == eddy_strerror(codes[i])); /* it stays where it is, for ever */
    }
}

TEST(codes_that_are_nobodys_have_words_too, "")
{
    static const int strange[] = { 1, 42, INT32_MAX, INT32_MIN, -9, -31, -1000 };
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        const char *words = eddy_strerror(strange[i]);
        CHECK(words != NULL && words[0] != '\0');
        for (int j = 0; j < CODES; j++) CHECK(strcmp(words, eddy_strerror(codes[j])) != 0);
    }
}

TEST(the_codes_are_what_they_will_always_be, "")
{
    static const int numbers[] = { 0, -1, -2, -3, -4, -5, -6, -7, -8, -32, -33, -34, -35, -36, -38, -39 };
    for (int i = 0; i < CODES; i++) CHECK_INT(codes[i], numbers[i]);
}

static void check_nothing(const eddy_error *error, int code)
{
    size_t len = 77;
    CHECK_INT(eddy_error_code(error), code);
    CHECK_INT(eddy_error_errno(error), 0);
    CHECK_INT(eddy_error_expected(error), 0);
    CHECK_INT(eddy_error_consumed(error), 0);
    CHECK(eddy_error_partial(error, &len) == NULL);
    CHECK_INT(len, 0);
    CHECK(eddy_error_partial(error, NULL) == NULL);
    CHECK(eddy_error_message(error) != NULL);
}

TEST(no_error_is_no_error, "")
{
    check_nothing(NULL, 0);
    CHECK_STR(eddy_error_message(NULL), "");
}

TEST(an_error_kept_after_its_callback_is_stale, "")
{
    eddy_loop *loop = eddy_loop_new();
    struct reports silence = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &silence), 0);
    eddy_reader *reader = eddy_reader_new(loop, 100);
    GOT(read);
    const eddy_error *kept[20];
    for (int i = 0; i < 20; i++) {
        CHECK_INT(eddy_reader_set_exception(reader, 100 + i, "told once"), 0);
        START(&read, eddy_reader_read(reader, 1, got_read, &read));
        settle(loop);
        CHECK_INT(read.code, 100 + i);
        kept[i] = read.stale;
        CHECK(kept[i] != NULL);
        for (int j = 0; j <= i; j++) check_nothing(kept[j], EDDY_ESTALE);
    }
    eddy_reader_free(reader);
    eddy_loop_free(loop);
    for (int i = 0; i < 20; i++) check_nothing(kept[i], EDDY_ESTALE);
}

TEST(an_error_that_never_was_one_is_stale, "")
{
    eddy_loop *loop = eddy_loop_new();
    struct reports silence = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &silence), 0);
    int something = 0;
    check_nothing((const eddy_error *)(const void *)loop, EDDY_ESTALE);
    check_nothing((const eddy_error *)(const void *)&something, EDDY_ESTALE);
    check_nothing((const eddy_error *)(const void *)"text", EDDY_ESTALE);
    eddy_loop_free(loop);
}

static void ignore_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                        void *arg)
{
    (void)reader, (void)bytes, (void)len;
    CHECK_INT(eddy_error_code(error), EDDY_ECANCELED);
    ++*(int *)arg;
}

static void look_inside(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                        void *arg)
{
    (void)bytes;
    CHECK_INT(len, 0);
    size_t partial_len = 0;
    const char *partial = eddy_error_partial(error, &partial_len), *message = eddy_error_message(error);
    CHECK_BYTES(partial, partial_len, "abc");
    CHECK_INT(partial[partial_len], 0);
    char copy[200];
    snprintf(copy, sizeof copy, "%s", message);
    /* Whatever is called meanwhile, and be it about another error: ours lives as long as the callback. */
    CHECK_INT(eddy_reader_set_exception(reader, 7, "another"), 0);
    CHECK_INT(eddy_error_code(eddy_reader_exception(reader)), 7);
    CHECK(eddy_reader_read(reader, 1, ignore_read, arg) >= 0);
    eddy_reader_free(reader);
    CHECK_INT(eddy_error_code(error), EDDY_EINCOMPLETE);
    CHECK_INT(eddy_error_expected(error), 5);
    CHECK_STR(eddy_error_message(error), copy);
    CHECK_STR(message, copy);
    CHECK_BYTES(partial, partial_len, "abc");
    ++*(int *)arg;
}

TEST(an_error_lives_as_long_as_its_callback, "S5")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = eddy_reader_new(loop, 100);
    int count = 0;
    CHECK_INT(eddy_reader_feed_data(reader, "abc", 3), 0);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK(eddy_reader_readexactly(reader, 5, look_inside, &count) >= 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(count, 2);
    eddy_loop_free(loop);
    CHECK_INT(count, 2);
}

TEST(an_incomplete_read_tells_both_counts, "S5")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(read);
    static const struct {
        const char *bytes;
        size_t expected; /* 0: readuntil */
        const char *message;
    } cases[] = {
        { "abc", 5, "3 bytes read on a total of 5 expected bytes" },
        { "", 1, "0 bytes read on a total of 1 expected bytes" },
        { "abc", 0, "3 bytes read on a total of undefined expected bytes" },
        { "", 0, "0 bytes read on a total of undefined expected bytes" },
        { "a", 1000000007, "1 bytes read on a total of 1000000007 expected bytes" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eddy_reader *reader = eddy_reader_new(loop, 100);
        CHECK_INT(eddy_reader_feed_data(reader, cases[i].bytes, strlen(cases[i].bytes)), 0);
        CHECK_INT(eddy_reader_feed_eof(reader), 0);
        if (cases[i].expected > 0)
            START(&read, eddy_reader_readexactly(reader, cases[i].expected, got_read, &read));
        else
            START(&read, eddy_reader_readuntil(reader, "::", 2, got_read, &read));
        settle(loop);
        CHECK_INT(read.code, EDDY_EINCOMPLETE);
        CHECK_INT(read.system, 0);
        CHECK_INT(read.expected, cases[i].expected);
        CHECK_INT(read.consumed, 0);
        CHECK_STR(read.bytes, cases[i].bytes);
        CHECK_STR(read.message, cases[i].message);
    }
    eddy_loop_free(loop);
}

TEST(an_overrun_tells_how_far_it_looked, "R46 R47")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(read);
    for (int found = 0; found < 2; found++) {
        eddy_reader *reader = eddy_reader_new(loop, 3);
        CHECK_INT(eddy_reader_feed_data(reader, "abcdef::", found ? 8 : 6), 0);
        START(&read, eddy_reader_readuntil(reader, "::", 2, got_read, &read));
        settle(loop);
        CHECK_INT(read.code, EDDY_ELIMIT);
        CHECK_INT(read.system, 0);
        CHECK_INT(read.expected, 0);
        CHECK_INT(read.consumed, found ? 6 : 5);
        CHECK(read.message[0] != '\0');
    }
    eddy_loop_free(loop);
}

TEST(a_cancelled_operation_says_so, "")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(call);
    eddy_op op = START(&call, eddy_loop_call_later(loop, 1000, got_loop, &call));
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(call.code, EDDY_ECANCELED);
    CHECK_INT(call.system, 0);
    CHECK_STR(call.message, eddy_strerror(EDDY_ECANCELED));
    eddy_loop_free(loop);
}

TEST(messages_of_every_length_and_any_bytes, "R8 R10")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = eddy_reader_new(loop, 100);
    static char message[5000];
    for (size_t len = 1; len < sizeof message; len *= 3) {
        memset(message, 'm', len);
        message[len] = '\0';
        CHECK_INT(eddy_reader_set_exception(reader, 7, message), 0);
        message[0] = '?';
        const char *kept = eddy_error_message(eddy_reader_exception(reader));
        CHECK_INT(strlen(kept), len);
        CHECK(kept[0] == 'm');
    }
    int code = eddy_reader_set_exception(reader, 8, "not \xff UTF-8 \xc3");
    CHECK(code == 0 || code == EDDY_EINVAL);
    const eddy_error *error = eddy_reader_exception(reader);
    CHECK_INT(eddy_error_code(error), code == 0 ? 8 : 7);
    CHECK(strlen(eddy_error_message(error)) > 0);
    eddy_loop_free(loop);
}
