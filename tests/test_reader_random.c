/* Random reads of a stream that comes in random pieces, beside a model that is too simple to be wrong.
 * Everything follows from the seed; a failure names it, and EDDY_TEST_SEED=<seed> runs that one alone. */
#include "collect.h"

static uint64_t random_state, seed;
static int step;

static uint64_t random_below(uint64_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % bound;
}

#define FAIL_SEED(...)                                                                             \
    do {                                                                                           \
        fprintf(stderr, "seed %llu, step %d: ", (unsigned long long)seed, step);                   \
        FAIL(__VA_ARGS__);                                                                         \
    } while (0)

/* ---- the model ----------------------------------------------------------------------------------------- */

enum kind { READ, READ_TO_END, READALL, READEXACTLY, READLINE, READUNTIL, READUNTIL_ANY, KINDS };

static const char *const kind_names[] = { "read",     "read to the end", "readall",      "readexactly",
                                          "readline", "readuntil",       "readuntil_any" };

struct request {
    enum kind kind;
    size_t n; /* how many, or at most */
    char separators[3][5];
    size_t separator_count;
};

struct outcome {
    bool waits;
    int code, or_code; /* or_code: where the specification leaves two ways open */
    const char *bytes; /* what is read, or the partial result */
    size_t len, expected, consumed;
};

enum { ROOM = 1 << 16, EXCEPTION = 7 };

struct model {
    char bytes[ROOM];
    size_t start, end, limit;
    bool eof, failed;
    bool skipping; /* the rest of a line that was too long */
};

static size_t model_len(const struct model *model)
{
    return model->end - model->start;
}

static void model_feed(struct model *model, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!model->skipping) model->bytes[model->end++] = bytes[i];
        if (model->skipping && bytes[i] == '\n') model->skipping = false;
    }
}

static void take(struct model *model, struct outcome *outcome, size_t len)
{
    outcome->bytes = model->bytes + model->start;
    outcome->len = len;
    model->start += len;
}

/* Where the match that ends first begins and ends; of two that end together the shorter one. */
static bool find(const struct model *model, const struct request *request, size_t *begin, size_t *end)
{
    for (size_t stop = 1; stop <= model_len(model); stop++) {
        bool found = false;
        for (size_t i = 0; i < request->separator_count; i++) {
            const char *separator = request->separators[i];
            const size_t len = strlen(separator);
            if (len > stop || memcmp(model->bytes + model->start + stop - len, separator, len) != 0) continue;
            if (!found || stop - len > *begin) *begin = stop - len;
            *end = stop;
            found = true;
        }
        if (found) return true;
    }
    return false;
}

static struct outcome fail_or_wait(struct model *model, struct outcome outcome, bool is_incomplete)
{
    if (model->failed) {
        outcome = (struct outcome){ .code = EXCEPTION };
    } else if (model->eof) {
        take(model, &outcome, model_len(model));
        if (is_incomplete) outcome.code = EDDY_EINCOMPLETE;
    } else {
        outcome.waits = true;
    }
    return outcome;
}

static struct outcome model_read(struct model *model, const struct request *request)
{
    struct outcome outcome = { .code = 0 };
    const size_t len = model_len(model);
    size_t begin = 0, end = 0, longest = 0;
    switch (request->kind) {
    case READ:
        if (len == 0 && request->n > 0) return fail_or_wait(model, outcome, false);
        take(model, &outcome, len < request->n ? len : request->n);
        return outcome;
    case READ_TO_END:
        return fail_or_wait(model, outcome, false);
    case READALL:
        if (len <= request->n) return fail_or_wait(model, outcome, false);
        outcome.code = EDDY_ELIMIT;
        outcome.consumed = SIZE_MAX; /* not said */
        break;
    case READEXACTLY:
        outcome.expected = request->n;
        if (len < request->n) return fail_or_wait(model, outcome, true);
        outcome.expected = 0;
        take(model, &outcome, request->n);
        return outcome;
    case READLINE:
    case READUNTIL:
    case READUNTIL_ANY:
        if (find(model, request, &begin, &end)) {
            if (begin <= model->limit) {
                take(model, &outcome, end);
                return outcome;
            }
            outcome.consumed = begin;
        } else {
            for (size_t i = 0; i < request->separator_count; i++)
                if (strlen(request->separators[i]) > longest) longest = strlen(request->separators[i]);
            outcome.consumed = len + 1 > longest ? len + 1 - longest : 0;
            if (outcome.consumed <= model->limit) {
                outcome.consumed = 0;
                return fail_or_wait(model, outcome, request->kind != READLINE);
            }
        }
        outcome.code = EDDY_ELIMIT;
        break;
    default:
        FAIL("no such kind");
    }
    /* Over the limit and failed: which of the two is told is left open. */
    if (model->failed) outcome.or_code = EXCEPTION;
    return outcome;
}

/* A line over the limit is dropped, and what is still to come of it too. */
static void model_drop_line(struct model *model)
{
    const char *newline = memchr(model->bytes + model->start, '\n', model_len(model));
    model->skipping = newline == NULL;
    model->start = newline == NULL ? model->end : (size_t)(newline + 1 - model->bytes);
}

/* ---- one request, to the model and to the reader ------------------------------------------------------- */

static struct request random_request(bool simple)
{
    static const char *const separators[] = { "\n",  "a",   "b",   "ab",   "ba",
                                              "aab", "aba", "\na", "bb\n", "abab" };
    struct request request = { .kind = (enum kind)random_below(KINDS), .n = random_below(12) };
    if (simple) {
        /* Those whose result does not depend on how the stream is cut. */
        static const enum kind kinds[] = { READEXACTLY, READLINE, READUNTIL, READUNTIL_ANY };
        request.kind = kinds[random_below(4)];
    }
    if (random_below(30) == 0) request.n = random_below(200);
    if (request.kind == READLINE) {
        request.separator_count = 1;
        strcpy(request.separators[0], "\n");
    } else if (request.kind == READUNTIL || request.kind == READUNTIL_ANY) {
        request.separator_count = request.kind == READUNTIL ? 1 : 1 + random_below(3);
        for (size_t i = 0; i < request.separator_count; i++)
            strcpy(request.separators[i], separators[random_below(sizeof separators / sizeof separators[0])]);
    }
    return request;
}

static eddy_op start(eddy_reader *reader, const struct request *request, eddy_read_cb cb, void *arg)
{
    eddy_bytes separators[3];
    switch (request->kind) {
    case READ: return eddy_reader_read(reader, request->n, cb, arg);
    case READ_TO_END: return eddy_reader_read(reader, EDDY_UNTIL_EOF, cb, arg);
    case READALL: return eddy_reader_readall(reader, request->n, cb, arg);
    case READEXACTLY: return eddy_reader_readexactly(reader, request->n, cb, arg);
    case READLINE: return eddy_reader_readline(reader, cb, arg);
    case READUNTIL:
        return eddy_reader_readuntil(reader, request->separators[0], strlen(request->separators[0]), cb, arg);
    default:
        for (size_t i = 0; i < request->separator_count; i++)
            separators[i] = (eddy_bytes){ request->separators[i], strlen(request->separators[i]) };
        return eddy_reader_readuntil_any(reader, separators, request->separator_count, cb, arg);
    }
}

static void compare(const struct request *request, const struct outcome *outcome, const struct got *got)
{
    const char *name = kind_names[request->kind];
    if (got->code != outcome->code)
        FAIL_SEED("%s(%zu) ends with %d, \"%s\", not with %d", name, request->n, got->code, got->message,
                  outcome->code);
    if (got->len != outcome->len || (got->len > 0 && memcmp(got->bytes, outcome->bytes, got->len) != 0))
        FAIL_SEED("%s(%zu) gives \"%.*s\", not \"%.*s\"", name, request->n, (int)got->len, got->bytes,
                  (int)outcome->len, outcome->bytes ? outcome->bytes : "");
    if (got->expected != outcome->expected)
        FAIL_SEED("%s(%zu) expected %zu, not %zu", name, request->n, got->expected, outcome->expected);
    if (got->consumed != outcome->consumed && outcome->consumed != SIZE_MAX)
        FAIL_SEED("%s(%zu) consumed %zu, not %zu", name, request->n, got->consumed, outcome->consumed);
}

static void compare_state(eddy_reader *reader, const struct model *model)
{
    const char *bytes = NULL;
    size_t len = eddy_reader_buffered(reader, &bytes);
    if (len != model_len(model) || (len > 0 && memcmp(bytes, model->bytes + model->start, len) != 0))
        FAIL_SEED("buffered is \"%.*s\", not \"%.*s\"", (int)len, bytes ? bytes : "", (int)model_len(model),
                  model->bytes + model->start);
    if (eddy_reader_at_eof(reader) != (model->eof && len == 0)) FAIL_SEED("at_eof is wrong");
}

static size_t random_chunk(char *chunk, size_t room)
{
    size_t len = random_below(10) == 0 ? random_below(room) : random_below(6);
    for (size_t i = 0; i < len; i++) chunk[i] = "aaabbb\n"[random_below(7)];
    return len;
}

/* ---- step by step: feed, read, cancel, end ------------------------------------------------------------- */

static struct model model;

static void settle_request(struct request *request, bool *waiting, struct got *got, int *count)
{
    if (!*waiting) return;
    struct outcome outcome = model_read(&model, request);
    if (outcome.or_code != 0 && got->count == *count + 1 && got->code == outcome.or_code) {
        outcome = (struct outcome){ .code = outcome.or_code };
    } else if (outcome.code == EDDY_ELIMIT && request->kind == READLINE) {
        model_drop_line(&model);
    }
    if (!outcome.waits) {
        *waiting = false;
        ++*count;
    }
    if (got->count != *count)
        FAIL_SEED("%s(%zu): %d callbacks, not %d", kind_names[request->kind], request->n, got->count, *count);
    if (!outcome.waits) compare(request, &outcome, got);
}

static void run_steps(void)
{
    eddy_loop *loop = eddy_loop_new();
    model = (struct model){ .limit = 1 + random_below(12) };
    eddy_reader *reader = eddy_reader_new(loop, model.limit);
    CHECK(reader != NULL);
    GOT(got);
    struct request request = { .kind = READ };
    bool waiting = false;
    int count = 0;
    eddy_op op = 0;
    for (step = 0; step < 400; step++) {
        char chunk[60];
        uint64_t what = random_below(100);
        if (what < 45 && !model.eof) {
            size_t len = random_chunk(chunk, sizeof chunk);
            CHECK_INT(eddy_reader_feed_data(reader, chunk, len), 0);
            model_feed(&model, chunk, len);
        } else if (what < 90) {
            struct request next = random_request(false);
            if (model.failed && (next.n == 0 || next.kind == READALL)) continue;
            eddy_op started = start(reader, &next, got_read, &got);
            if ((started == EDDY_EBUSY) != waiting) FAIL_SEED("starting gives %lld", (long long)started);
            if (got.count != count) FAIL_SEED("called back inside the call");
            if (!waiting) {
                request = next;
                op = started;
                waiting = true;
            }
        } else if (what < 97 && waiting) {
            if (eddy_loop_cancel(loop, op) != 0) FAIL_SEED("cannot be cancelled");
            settle(loop);
            waiting = false;
            if (got.count != ++count || got.code != EDDY_ECANCELED) FAIL_SEED("cancelled with %d", got.code);
        } else if (what == 98 && step > 200 && !model.failed) {
            CHECK_INT(eddy_reader_feed_eof(reader), 0);
            model.eof = true;
        } else if (what == 99 && step > 300 && !model.eof) {
            CHECK_INT(eddy_reader_set_exception(reader, EXCEPTION, "seven"), 0);
            model.failed = true;
        }
        settle(loop);
        settle_request(&request, &waiting, &got, &count);
        if (!waiting && got.count != count) FAIL_SEED("a callback too many");
        compare_state(reader, &model);
    }
    eddy_loop_free(loop);
    CHECK_INT(got.count, count + (waiting ? 1 : 0));
}

/* ---- all in one go: reads that start the next one from inside their callback --------------------------- */

struct chain {
    int count, depth;
    bool ended;
    struct request request;
};

static void next_request(struct chain *chain, eddy_reader *reader);

static void chain_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct chain *chain = arg;
    struct outcome outcome = model_read(&model, &chain->request);
    GOT(got);
    step = chain->count++;
    if (++chain->depth != 1) FAIL_SEED("a callback inside a callback");
    if (outcome.waits) FAIL_SEED("%s called back too soon", kind_names[chain->request.kind]);
    got_read(reader, bytes, len, error, &got);
    compare(&chain->request, &outcome, &got);
    chain->ended = outcome.code == EDDY_EINCOMPLETE || (chain->request.kind == READLINE && len == 0);
    if (!chain->ended) next_request(chain, reader);
    chain->depth--;
}

static void next_request(struct chain *chain, eddy_reader *reader)
{
    chain->request = random_request(true);
    eddy_op op = start(reader, &chain->request, chain_read, chain);
    if (op < 0) FAIL_SEED("refused with %lld", (long long)op);
}

static void run_chain(void)
{
    eddy_loop *loop = eddy_loop_new();
    model = (struct model){ .limit = ROOM };
    eddy_reader *reader = eddy_reader_new(loop, model.limit);
    CHECK(reader != NULL);
    struct chain chain = { .count = 0 };
    static char stream[20000];
    size_t len = 0;
    step = 0;
    while (len < sizeof stream) stream[len++] = "aaabbb\n"[random_below(7)];
    model_feed(&model, stream, len);
    model.eof = true; /* the model has seen it all */
    const bool end_at_once = random_below(2) == 0;
    next_request(&chain, reader);
    const size_t usual = 1 + random_below(3000);
    for (size_t at = 0; at < len;) {
        size_t chunk = 1 + random_below(usual);
        if (chunk > len - at) chunk = len - at;
        CHECK_INT(eddy_reader_feed_data(reader, stream + at, chunk), 0);
        at += chunk;
        if (random_below(3) != 0) CHECK(eddy_loop_run_once(loop, 0) >= 0);
        CHECK(!chain.ended);
    }
    if (!end_at_once) settle(loop);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK(chain.ended);
    compare_state(reader, &model);
    eddy_loop_free(loop);
}

/* -------------------------------------------------------------------------------------------------------- */

static void run_seeds(const char *name, uint64_t count, void (*run)(void))
{
    const char *only = getenv("EDDY_TEST_SEED");
    uint64_t first = only ? strtoull(only, NULL, 0) : 1, last = only ? first : count;
    printf("%s: seeds %llu to %llu\n", name, (unsigned long long)first, (unsigned long long)last);
    for (seed = first; seed <= last; seed++) {
        random_state = (seed + 1) * 0x9E3779B97F4A7C15u;
        run();
    }
}

TEST(every_read_gives_what_the_model_gives,
     "R3 R4 R9 R12 R15 R20 R21 R22 R23 R24 R25 R31 R33 R34 R35 R41 R43 R44 R45 R46 R47 R48 R49 R51 R52 R60 R61 "
     "R62 R63 R64 R66 R71")
{
    run_seeds("steps", eddy_test_slow() > 1 ? 30 : 1000, run_steps);
}

TEST(how_a_stream_is_cut_makes_no_difference, "R31 R41 R42 R43 R51 R60 R65 R66 R73 p04")
{
    run_seeds("chain", eddy_test_slow() > 1 ? 10 : 200, run_chain);
}
