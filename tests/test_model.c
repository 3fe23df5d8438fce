/* Calls at random: any function of the header, with handles that live, were freed, are of another kind, of another loop
 * or thread, or nobody's; with sizes at the edges; between turns of the loops, from within callbacks, and from another
 * thread. Beside them a model (model/), made from the header and from what asyncio does, that says which code each call
 * must give, and which callbacks come with what. The first disagreement ends it, and is told with its last calls.
 *
 *     EDDY_TEST_CALLS=10000000 test_model    so many calls, with a line of progress for each million
 *     EDDY_TEST_SEED=17 test_model           the round with this seed alone; EDDY_TEST_LINES=4000: all its calls
 *
 * At the end a table: each function, how often it was called, from within callbacks, and with which codes. */
#include "model/world.h"

#include <semaphore.h>

enum { CALLS_A_ROUND = 400 };

static bool quiet;

static void one_call(void)
{
    if (!roomy()) return;
    switch (chance(33)) {
    case 0: call_loop_new(); break;
    case 1: call_loop_free(); break;
    case 2: case 3: call_loop_run(); break;
    case 4: call_loop_start(); break;
    case 5: call_loop_cancel(); break;
    case 6: call_loop_asked(); break;
    case 7: if (once_in(10)) call_loop_moves(); break;
    case 8: call_reader_new(); break;
    case 9: call_reader_free(); break;
    case 10: case 11: call_reader_read(); break;
    case 12: case 13: call_reader_feed(); break;
    case 14: call_reader_look(); break;
    case 15: call_transport_new(); break;
    case 16: call_protocol_new(); break;
    case 17: call_writer_new(); break;
    case 18: case 19: call_protocol(); break;
    case 20: case 21: call_writer_write(); break;
    case 22: call_writer_wait(); break;
    case 23: call_writer_end(); break;
    case 24: call_writer_look(); break;
    case 25: call_transport(); break;
    case 26: if (once_in(2)) call_set_extra_info(); else call_set_transport(); break;
    case 27: if (!foreign) call_anything(); break;
    case 28: if (once_in(3)) call_open_pair(); break;
    case 29: if (once_in(12)) call_open(); break;
    case 30: if (once_in(20)) call_start(); else call_server(); break;
    case 31: if (once_in(3)) call_start_tls(); else call_tls(); break;
    default: signal_happens();
    }
}

/* ---- a call from another thread, while this one waits for it --------------------------------------------- */

static pthread_t stranger;
static sem_t asked_to_call, has_called;
static bool stranger_ends;

static void *stranger_runs(void *arg)
{
    (void)arg;
    for (;;) {
        while (sem_wait(&asked_to_call) != 0) continue;
        if (stranger_ends) return NULL;
        one_call();
        sem_post(&has_called);
    }
}

static void one_call_from_elsewhere(void)
{
    foreign = true;
    line("from another thread:");
    sem_post(&asked_to_call);
    while (sem_wait(&has_called) != 0) continue;
    foreign = false;
}

static void act(void)
{
    if (depth >= 4 || quiet) return;
    depth++;
    for (uint32_t i = once_in(2) ? 0 : chance(4); i > 0; i--) one_call();
    depth--;
}

static void settle(void)
{
    for (int turn = 0; turn < 4; turn++)
        for (size_t i = 0; i < things_count[LOOP]; i++)
            if (things[LOOP][i]->live) loop_turns((struct loop *)things[LOOP][i], 0);
}

/* Nobody makes a call from a callback, so that everything comes to rest. */
static void come_to_rest(void)
{
    quiet = true;
    settle();
    quiet = false;
    for (size_t i = 0; i < things_count[READER]; i++) ((struct reader *)things[READER][i])->resumes = false;
    for (size_t i = 0; i < things_count[LOOP]; i++)
        for (size_t k = 0; k < 4; k++) {
            const struct loop *loop = (struct loop *)things[LOOP][i];
            if (loop->thing.live && loop->watches[k].on && loop->watches[k].owed)
                disagree("loop%d was not told of signal %d", loop->thing.number, our_signals[k]);
        }
    for (size_t i = 0; i < FUNCTION_COUNT && loops_live() > 0; i++)
        /* Of the two that any thread may call the code is report enough. */
        if (reports_due[i] && i != FN_eddy_loop_call_soon_threadsafe && i != FN_eddy_loop_attach)
            disagree("the misuse of %s was not reported", function_names[i]);
    for (size_t i = 0; i < connections_count; i++)
        if (connections[i]->loop->thing.live && connections[i]->face == CUSTOM) custom_settled(connections[i]);
}

static void a_round(uint64_t seed)
{
    round_seed = seed, round_calls = 0, lines_written = 0;
    chance_begin(seed);
    kept_error = NULL, last_port = 1;
    snprintf(server_path, sizeof server_path, "@eddy-model-%d", (int)getpid());
    call_loop_new();
    while (round_calls < CALLS_A_ROUND) {
        if (once_in(25)) one_call_from_elsewhere();
        else one_call();
        if (once_in(60)) come_to_rest();
    }
    come_to_rest();
    for (size_t i = 0; i < things_count[LOOP]; i++)
        if (things[LOOP][i]->live) loop_freed((struct loop *)things[LOOP][i]);
    if (pending_count > 0)
        disagree("%s #%d was never called back", operation_names[pending[0]->kind], pending[0]->number);
    tls_forgotten();
    everything_forgotten();
}

TEST(calls_at_random_do_what_the_model_says, "")
{
    const char *seed = getenv("EDDY_TEST_SEED"), *calls = getenv("EDDY_TEST_CALLS");
    const unsigned long long wanted =
        calls != NULL ? strtoull(calls, NULL, 10) : 1000000u / (unsigned)eddy_test_slow();
    const char *shown = getenv("EDDY_TEST_LINES");
    if (shown != NULL && strtoull(shown, NULL, 10) <= LINES) lines_shown = strtoull(shown, NULL, 10);
    for (size_t i = 0; i < 4; i++) signal(our_signals[i], signal_passes);
    sem_init(&asked_to_call, 0, 0);
    sem_init(&has_called, 0, 0);
    stranger = plain_start(stranger_runs, NULL);
    if (seed != NULL) a_round(strtoull(seed, NULL, 10));
    for (uint64_t round = 0; seed == NULL && calls_made < wanted; round++) {
        alarm(60); /* for each */
        const unsigned long long millions = calls_made / 1000000;
        a_round(round);
        if (calls != NULL && calls_made / 1000000 > millions)
            fprintf(stderr, "%llu million calls, %llu rounds\n", calls_made / 1000000, (unsigned long long)round + 1);
    }
    stranger_ends = true;
    sem_post(&asked_to_call);
    plain_join(stranger);
    print_table();
    printf("%llu calls, %llu from within callbacks; %llu callbacks\n", calls_made, calls_within, callbacks_checked);
}
