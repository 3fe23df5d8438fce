/* What libeddy does while its calls fail: see scenarios.c. */
#ifndef EDDY_TORTURE_SCENARIOS_H
#define EDDY_TORTURE_SCENARIOS_H

#include <eddy.h>
#include <stdbool.h>
#include <stddef.h>

struct scenario {
    const char *name;
    void (*begin)(eddy_loop *loop);
    size_t total;  /* bytes that go each way ... */
    size_t cut_total; /* ... and when they go by ones, twos and threes */
    bool frees;    /* frees the loop in the midst of everything: what has not come by then is not missed */
    bool is_tls, makes_tls; /* ... with settings of its own making */
    bool is_large; /* many connections: not for each and every call */
};

extern const struct scenario scenarios[];
extern const size_t scenario_count;

/* What came of one. */
struct outcome {
    unsigned told;    /* errors that callbacks or refusals told */
    unsigned reports; /* ... and the exception handler */
    bool complete;    /* every stream came whole, and to its end */
    char first[256];  /* the first error told */
};

/* Files for all of them. Before any other. False: there are no certificates, and so no TLS. */
bool scenarios_begin(void);

/* From now on this process has sockets of its own names, beside others that run the same scenarios. */
void scenarios_beside(unsigned number);

/* Runs it on the loop to its end. Fails where an invariant does not hold. With frees, the loop is gone. */
struct outcome scenario_run(const struct scenario *scenario, eddy_loop *loop, size_t total);

/* Whom a test that hangs waits for, on standard error. Safe in a signal's handler, more or less. */
void scenario_show(void);

#endif
