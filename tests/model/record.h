/* What was called, and what came of it: the last calls of the round, for the report of a disagreement, and how often
 * each function and each callback gave which code, for the table at the end. */
#ifndef EDDY_MODEL_RECORD_H
#define EDDY_MODEL_RECORD_H

#include "../plain.h"
#include "chance.h"
#include "functions.h"

#include <stdarg.h>

enum function {
#define F(name) FN_##name,
    FUNCTIONS(F)
#undef F
    FUNCTION_COUNT
};

static const char *const function_names[] = {
#define F(name) #name,
    FUNCTIONS(F)
#undef F
};

/* ---- counts -------------------------------------------------------------------------------------------- */

/* Codes as places: 0 is fine, 1 to 8 the caller's mistakes, 9 to 16 the world's troubles, 17 the user's own. */
enum { CODE_PLACES = 18 };

static const char *const code_names[CODE_PLACES] = {
    "ok",      "EINVAL", "ESTALE",      "ETHREAD", "EBUSY", "ESTATE",    "ENOTSUP",   "EFULL", "EPANIC",
    "ESYSTEM", "ERESOLVE", "ELOST", "EINCOMPLETE", "ELIMIT", "ETLS", "ETIMEDOUT", "ECANCELED", "own",
};

static size_t code_place(long long code)
{
    if (code < 0 && code >= EDDY_EPANIC) return (size_t)-code;
    if (code <= EDDY_ESYSTEM && code >= EDDY_ECANCELED) return (size_t)(9 + EDDY_ESYSTEM - code);
    return code > 0 ? 17 : 0;
}

struct tally {
    unsigned long long calls, within, codes[CODE_PLACES], refused; /* refused: by NULL, false, 0 or -1 */
};

static struct tally tallies[FUNCTION_COUNT];
static unsigned long long calls_made, calls_within, callbacks_checked;

/* ---- the last calls of a round ------------------------------------------------------------------------- */

enum { LINES = 4096, LINE = 200 };

static unsigned long long lines_shown = 30; /* EDDY_TEST_LINES */

static char lines[LINES][LINE];
static unsigned long long lines_written;
static uint64_t round_seed;
static unsigned long long round_calls;
static int depth;    /* of callbacks */
static bool in_call; /* from which nobody may be called back */

static void line_is_one(char *text)
{
    while ((text = strchr(text, '\n')) != NULL) *text = '|';
}

__attribute__((format(printf, 1, 2))) static void line(const char *format, ...)
{
    char *text = lines[lines_written++ % LINES];
    va_list args;
    int used = snprintf(text, LINE, "%*s", depth * 2, "");
    va_start(args, format);
    vsnprintf(text + used, LINE - (size_t)used, format, args);
    va_end(args);
    line_is_one(text);
}

/* The end of the call: what it gave. */
__attribute__((format(printf, 1, 2))) static void line_append(const char *format, ...)
{
    in_call = false;
    char *text = lines[(lines_written - 1) % LINES];
    const size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, LINE - used, format, args);
    va_end(args);
    line_is_one(text + used);
}

__attribute__((noreturn, format(printf, 1, 2))) static void disagree(const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "\nmodel and library disagree: EDDY_TEST_SEED=%llu, call %llu of that round. The last ones:\n",
            (unsigned long long)round_seed, round_calls);
    for (unsigned long long at = lines_written > lines_shown ? lines_written - lines_shown : 0; at < lines_written;
         at++)
        fprintf(stderr, "    %s\n", lines[at % LINES]);
    fprintf(stderr, "%s\n", text);
    FAIL("seed %llu", (unsigned long long)round_seed);
}

/* ---- a call -------------------------------------------------------------------------------------------- */

static enum function now_called;

/* Before each call: which, and with what. */
#define CALLING(name, ...) (now_called = FN_##name, line(#name __VA_ARGS__), calling())

static void calling(void)
{
    struct tally *tally = &tallies[now_called];
    in_call = true;
    calls_made++, round_calls++, tally->calls++;
    if (depth > 0) calls_within++, tally->within++;
}

static void answer_is(enum function function, long long got, long long want)
{
    if (got != want) disagree("%s gave %lld, predicted was %lld", function_names[function], got, want);
}

/* A code: exactly this. */
static int answered(long long got, int want)
{
    line_append(" = %lld", got);
    tallies[now_called].codes[code_place(got > 0 ? 0 : got)]++;
    answer_is(now_called, got, want);
    return want;
}

/* A code, or another one, where two mistakes are made at once or the world decides. */
static int answered_either(long long got, int want, int or_want)
{
    return answered(got, got == or_want ? or_want : want);
}

/* A truth or a number, where there is no code; `good`: the handle is. */
static void told(long long got, long long want, bool good)
{
    line_append(" = %lld", got);
    if (good) tallies[now_called].codes[0]++;
    else tallies[now_called].refused++;
    answer_is(now_called, got, want);
}

static void told_pointer(const void *got, bool there)
{
    line_append(" = %p", got);
    if (there) tallies[now_called].codes[0]++;
    else tallies[now_called].refused++;
    if ((got != NULL) != there)
        disagree("%s gave %p, predicted was %s", function_names[now_called], got, there ? "something" : "NULL");
}

/* ---- callbacks ----------------------------------------------------------------------------------------- */

#define OPERATIONS(F)                                                                                                \
    F(soon) F(later) F(posted) F(read) F(drain) F(closed) F(released) F(opened) F(started) F(ended)

enum operation {
#define F(name) OP_##name,
    OPERATIONS(F)
#undef F
    OPERATION_COUNT
};

static const char *const operation_names[] = {
#define F(name) #name,
    OPERATIONS(F)
#undef F
};

static unsigned long long outcomes[OPERATION_COUNT][CODE_PLACES];

static void print_codes(const unsigned long long *codes)
{
    for (size_t i = 0; i < CODE_PLACES; i++)
        if (codes[i] != 0) printf(" %s %llu", code_names[i], codes[i]);
}

static void print_table(void)
{
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        printf("%-42s %10llu calls, %8llu within:", function_names[i], tallies[i].calls, tallies[i].within);
        print_codes(tallies[i].codes);
        if (tallies[i].refused != 0) printf(" none %llu", tallies[i].refused);
        printf("\n");
    }
    for (size_t i = 0; i < OPERATION_COUNT; i++) {
        printf("callback %-10s", operation_names[i]);
        print_codes(outcomes[i]);
        printf("\n");
    }
}

#endif
