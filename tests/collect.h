/* What callbacks were given, kept for a test to look at afterwards.
 *
 *     GOT(line);                                     a collector, released at the end of its scope
 *     START(&line, eddy_reader_readline(reader, got_read, &line));
 *                                                    accepted, and nothing called back inside the call
 *     settle(loop);                                  run_once, until nothing is due
 *     CHECK_GOT(line, 1, "one\n");                   exactly once, and with that
 *
 * There is one callback for each type: got_read, got_writer, got_stream, got_loop, got_server, and got_report
 * for the exception handler. They also check what must hold for every callback: bytes and texts end in a NUL,
 * there is a result or an error and never both. */
#ifndef EDDY_TEST_COLLECT_H
#define EDDY_TEST_COLLECT_H

#include "eddy_test.h"

#include <time.h>

struct got {
    int count;                    /* callbacks so far; all below is of the last one */
    int order;                    /* its place among all the callbacks that were collected: 1, 2, 3 ... */
    int code, system;             /* eddy_error_code() and _errno(); 0: nothing went wrong */
    char message[256];            /* eddy_error_message() */
    size_t expected, consumed;
    char *bytes;                  /* what was read, or the partial result; always with a NUL */
    size_t len;
    eddy_loop *loop;              /* whom it was about */
    eddy_reader *reader;
    eddy_writer *writer;
    eddy_server *server;
    const eddy_error *stale;      /* the error itself, which is dead by now */
    /* These are for the test to fill in. */
    void (*then)(struct got *got, void *data); /* called last, inside the callback */
    void *data;
};

#define GOT(name) struct got name __attribute__((cleanup(got_release))) = { .count = 0 }

/* Starts an operation, which has to be accepted and may not call back before the loop runs. Its receipt. */
#define START(got, call)                                                                           \
    __extension__({                                                                                \
        const int start_before = (got)->count;                                                     \
        const eddy_op start_op = (call);                                                           \
        if (start_op < 0) FAIL("%s is refused with %d", #call, (int)start_op);                     \
        if ((got)->count != start_before) FAIL("%s called back before the loop ran", #call);       \
        start_op;                                                                                  \
    })

/* Called back so many times, the last one with these bytes, or with this code (0: nothing went wrong). */
#define CHECK_GOT(got, times, literal)                                                             \
    do {                                                                                           \
        CHECK_INT((got).count, times);                                                             \
        CHECK_INT((got).code, 0);                                                                  \
        CHECK_BYTES((got).bytes, (got).len, literal);                                              \
    } while (0)

#define CHECK_ENDED(got, times, wanted)                                                            \
    do {                                                                                           \
        CHECK_INT((got).count, times);                                                             \
        CHECK_INT((got).code, wanted);                                                             \
    } while (0)

#define FEED(reader, literal) CHECK_INT(eddy_reader_feed_data((reader), (literal), sizeof(literal) - 1), 0)

static inline int got_next_order(void)
{
    static _Thread_local int order;
    return ++order;
}

static inline void got_release(struct got *got)
{
    free(got->bytes);
    got->bytes = NULL;
    got->len = 0;
}

static inline void got_keep_bytes(struct got *got, const char *bytes, size_t len)
{
    free(got->bytes);
    got->bytes = malloc(len + 1);
    CHECK(got->bytes != NULL);
    if (len > 0) memcpy(got->bytes, bytes, len);
    got->bytes[len] = '\0';
    got->len = len;
}

static inline void got_one(struct got *got, const char *bytes, size_t len, const eddy_error *error)
{
    got->count++;
    got->order = got_next_order();
    got->stale = error;
    got->code = eddy_error_code(error);
    got->system = eddy_error_errno(error);
    got->expected = eddy_error_expected(error);
    got->consumed = eddy_error_consumed(error);
    const char *message = eddy_error_message(error);
    CHECK(message != NULL);
    snprintf(got->message, sizeof got->message, "%s", message);
    if (error == NULL) {
        CHECK_INT(got->code, 0);
        CHECK_STR(got->message, "");
        got_keep_bytes(got, bytes, len);
        return;
    }
    CHECK(got->code != 0);
    CHECK(got->code != EDDY_ESTALE);
    CHECK(got->message[0] != '\0');
    CHECK_INT(len, 0);
    size_t partial_len = 77;
    const char *partial = eddy_error_partial(error, &partial_len);
    if (got->code == EDDY_EINCOMPLETE) {
        CHECK(partial != NULL);
        CHECK(partial[partial_len] == '\0');
    } else {
        CHECK(partial == NULL);
        CHECK_INT(partial_len, 0);
    }
    got_keep_bytes(got, partial, partial_len);
}

static inline void got_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                            void *arg)
{
    struct got *got = arg;
    if (error == NULL) {
        CHECK(bytes != NULL);
        CHECK(bytes[len] == '\0');
    }
    got->reader = reader;
    got_one(got, bytes, len, error);
    if (got->then != NULL) got->then(got, got->data);
}

static inline void got_writer(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct got *got = arg;
    got->writer = writer;
    got_one(got, NULL, 0, error);
    if (got->then != NULL) got->then(got, got->data);
}

static inline void got_stream(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct got *got = arg;
    got->reader = reader;
    got->writer = writer;
    got_one(got, NULL, 0, error);
    if (got->then != NULL) got->then(got, got->data);
}

static inline void got_server(eddy_server *server, const eddy_error *error, void *arg)
{
    struct got *got = arg;
    got->server = server;
    got_one(got, NULL, 0, error);
    if (got->then != NULL) got->then(got, got->data);
}

static inline void got_loop(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct got *got = arg;
    got->loop = loop;
    got_one(got, NULL, 0, error);
    if (got->then != NULL) got->then(got, got->data);
}

/* What the exception handler was told: eddy_loop_set_exception_handler(loop, got_report, &reports). */
struct reports {
    int count;
    char messages[16][256];
};

static inline void got_report(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    struct reports *reports = arg;
    (void)loop, (void)error;
    CHECK(message != NULL);
    if (reports->count < 16)
        snprintf(reports->messages[reports->count], sizeof reports->messages[0], "%s", message);
    reports->count++;
}

/* Runs what is due, and what that makes due; does not wait for timers or sockets. */
static inline void settle(eddy_loop *loop)
{
    for (int turn = 0; turn < 8; turn++) CHECK(eddy_loop_run_once(loop, 0) >= 0);
}

static inline eddy_stats stats_of(eddy_loop *loop)
{
    eddy_stats stats = { .size = sizeof stats };
    CHECK_INT(eddy_loop_stats(loop, &stats), 0);
    CHECK_INT(stats.size, sizeof stats);
    return stats;
}

static inline long long test_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Runs turn by turn until the condition holds, which it must before long. */
#define RUN_UNTIL(loop, condition)                                                                 \
    do {                                                                                           \
        const long long until_deadline = test_clock_ms() + 10000LL * eddy_test_slow();             \
        while (!(condition)) {                                                                     \
            if (test_clock_ms() > until_deadline) FAIL("never came true: %s", #condition);         \
            CHECK(eddy_loop_run_once((loop), 10) >= 0);                                            \
        }                                                                                          \
    } while (0)

#endif
