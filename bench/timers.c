/* timers: armed far in the future and cancelled, in another order, until each has had its callback.
 *
 *     timers [TIMERS]      prints nanoseconds per timer
 */
#define _GNU_SOURCE
#include <eddy.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long cancelled = 0;

static void on_timer(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop, (void)arg;
    if (eddy_error_code(error) == EDDY_ECANCELED) cancelled++;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    long timers = argc > 1 ? atol(argv[1]) : 100000;
    eddy_loop *loop = eddy_loop_new();
    eddy_op *ops = malloc((size_t)timers * sizeof *ops);
    unsigned long random = 1;
    double begin = seconds();
    for (long i = 0; i < timers; i++) {
        random = random * 6364136223846793005UL + 1442695040888963407UL;
        ops[i] = eddy_loop_call_later(loop, 60000 + (random >> 40), on_timer, NULL);
    }
    for (long i = 0; i < timers; i += 2) eddy_loop_cancel(loop, ops[i]);
    for (long i = 1; i < timers; i += 2) eddy_loop_cancel(loop, ops[i]);
    eddy_loop_run(loop);
    double end = seconds();
    printf("%.1f\n", (end - begin) * 1e9 / (double)timers);
    free(ops);
    eddy_loop_free(loop);
    return cancelled != timers;
}
