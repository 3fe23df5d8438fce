/* Calls on loops: runs, timers, posted calls, signals, and what can be asked of a loop. */
#ifndef EDDY_MODEL_LOOPS_H
#define EDDY_MODEL_LOOPS_H

#include "operations.h"

#include <signal.h>

static const int our_signals[4] = { SIGUSR1, SIGUSR2, SIGWINCH, SIGURG };

/* ---- callbacks ----------------------------------------------------------------------------------------- */

static void called_soon(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct operation_of *operation = arg;
    struct loop *model = operation->loop;
    const int code = callback_begins(operation, operation->kind, error);
    if (loop != model->thing.handle) disagree("the callback of another loop");
    if (!model->freeing) code_is(code, operation->canceled ? EDDY_ECANCELED : 0);
    if (!model->freeing && operation->kind != OP_posted && !operation->canceled && operation->kind == OP_soon &&
        operation->turn >= model->turn && !model->continued)
        disagree("not in the next round, but in this one");
    for (size_t i = 0; i < pending_count && !operation->canceled && !model->freeing; i++)
        if (pending[i]->kind == operation->kind && pending[i]->loop == model && !pending[i]->canceled &&
            pending[i]->number < operation->number && operation->kind != OP_later)
            disagree("#%d was asked for before", pending[i]->number);
    callback_ends(error);
}

static void called_later(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct operation_of *operation = arg;
    struct loop *model = operation->loop;
    const int code = callback_begins(operation, OP_later, error);
    if (loop != model->thing.handle) disagree("the callback of another loop");
    if (!model->freeing) code_is(code, operation->canceled ? EDDY_ECANCELED : 0);
    if (!model->freeing && !operation->canceled) {
        in_call = true, time_is(model, eddy_loop_time(loop)), in_call = false;
        if (model->now < operation->due)
            disagree("at %llu, and due at %llu", (unsigned long long)model->now, (unsigned long long)operation->due);
        for (size_t i = 0; i < pending_count; i++)
            if (pending[i]->kind == OP_later && pending[i]->loop == model && !pending[i]->canceled &&
                (pending[i]->due < operation->due ||
                 (pending[i]->due == operation->due && pending[i]->number < operation->number)))
                disagree("timer #%d comes before", pending[i]->number);
    }
    callback_ends(error);
}

static void signal_told(void *arg)
{
    struct watch *watch = arg;
    line("signal of loop%d", watch->loop->thing.number);
    if (in_call) disagree("a signal's function within a call");
    if (!watch->on) disagree("nobody is to be told of that signal any more");
    if (watch->raised == 0) disagree("a signal that was not raised");
    watch->raised--; /* or more of them: what comes twice before it is looked at is told once, or twice */
    watch->owed = false;
    act();
}

static int told_number, told_seen;

static void exception_told(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    int number;
    (void)loop, (void)arg;
    line("exception: %.150s", message);
    if (in_call) disagree("the exception handler within a call");
    error_looked_at(error, eddy_error_code(error));
    if (sscanf(message, "told %d", &number) == 1) {
        if (eddy_error_code(error) != number % 5) disagree("told with code %d", eddy_error_code(error));
        told_seen++;
    } else {
        bool known = false;
        for (size_t i = 0; i < FUNCTION_COUNT && !known; i++) {
            const size_t len = strlen(function_names[i]);
            if (strncmp(message, function_names[i], len) != 0 || message[len] != ':') continue;
            if (!reports_allowed[i]) disagree("nothing was to be reported of %s", function_names[i]);
            reports_due[i] = false;
            known = true;
        }
        if (!known) disagree("nobody expected that report");
    }
    act();
}

/* ---- the life of a loop -------------------------------------------------------------------------------- */

enum { LOOPS_MOST = 3 };

static size_t loops_live(void)
{
    size_t live = 0;
    for (size_t i = 0; i < things_count[LOOP]; i++) live += things[LOOP][i]->live;
    return live;
}

static void call_loop_new(void)
{
    if (loops_live() == LOOPS_MOST || foreign) return;
    CALLING(eddy_loop_new, "()");
    eddy_loop *handle = eddy_loop_new();
    told_pointer(handle, true);
    struct loop *loop = fresh(sizeof *loop);
    thing_begin(&loop->thing, LOOP, handle, NULL);
    loop->thing.loop = loop;
    CALLING(eddy_loop_set_exception_handler, "(loop%d)", loop->thing.number);
    answered(eddy_loop_set_exception_handler(handle, exception_told, NULL), 0);
    CALLING(eddy_loop_set_clock, "(loop%d, 1)", loop->thing.number);
    answered(eddy_loop_set_clock(handle, 1), 0);
    time_is(loop, eddy_loop_time(handle));
}

static struct pick pick_loop(struct loop **loop)
{
    const struct pick chosen = pick(LOOP);
    *loop = (struct loop *)chosen.thing;
    return chosen;
}

static void loop_is_gone(struct loop *loop);

static void loop_freed(struct loop *loop)
{
    CALLING(eddy_loop_free, "(loop%d)", loop->thing.number);
    in_call = false; /* it calls back itself */
    tallies[FN_eddy_loop_free].codes[0]++;
    if (loop->running) {
        loop->free_asked = true;
        eddy_loop_free(loop->thing.handle);
        return;
    }
    loop->freeing = true;
    eddy_loop_free(loop->thing.handle);
    loop_is_gone(loop);
}

static void loop_is_gone(struct loop *loop)
{
    for (size_t i = pending_count; i > 0; i--) /* a client that was not announced yet is nobody's receipt */
        if (pending[i - 1]->loop == loop && pending[i - 1]->kind == OP_opened && pending[i - 1]->receipt < 0)
            operation_ends(pending[i - 1]);
    for (size_t i = 0; i < pending_count; i++)
        if (pending[i]->loop == loop)
            disagree("%s #%d was not called back when its loop was freed", operation_names[pending[i]->kind],
                     pending[i]->number);
    for (size_t k = 0; k < KINDS; k++)
        for (size_t i = 0; i < things_count[k]; i++)
            if (things[k][i]->loop == loop) things[k][i]->live = false;
    loop->freeing = loop->free_asked = false;
    for (size_t i = 0; i < 4; i++) loop->watches[i].on = false;
    for (size_t i = 0; i < connections_count; i++)
        if (connections[i]->loop == loop && connections[i]->face == CUSTOM && !connections[i]->released)
            disagree("transport%d was not released when its loop was freed", connections[i]->transport.number);
    memset(reports_due, 0, sizeof reports_due); /* those that were to be told by this one */
}

static void call_loop_free(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    if (loop != NULL && chosen.code == 0) {
        if (once_in(10) && (loops_live() > 1 || once_in(10)) && !loop->freeing) loop_freed(loop);
        return;
    }
    CALLING(eddy_loop_free, "(%s)", called(&chosen));
    in_call = true;
    eddy_loop_free(chosen.handle);
    in_call = false;
    tallies[now_called].refused++;
    if (chosen.code != 0) reports_allowed[now_called] = true;
    if (chosen.code != 0 && !chosen.silent) report_due();
}

/* ---- runs ---------------------------------------------------------------------------------------------- */

static bool more_is_known(const struct loop *loop)
{
    for (size_t i = 0; i < pending_count; i++)
        if (pending[i]->loop == loop) return true;
    return false;
}

static void run_ended(struct loop *loop, bool was_asked_to_free, uint64_t most)
{
    loop->running = false;
    (void)was_asked_to_free;
    if (loop->free_asked) {
        loop_is_gone(loop);
        return;
    }
    const uint64_t before = loop->now;
    time_is(loop, eddy_loop_time(loop->thing.handle));
    if (most != EDDY_NEVER && loop->now > before + most) disagree("more time has passed than might");
    turn_ends(loop);
}

/* A turn; or, after a stop, a run that is one. */
static void loop_turns(struct loop *loop, int timeout)
{
    const uint32_t manner = timeout == 0 ? chance(8) : 3;
    int result, want = 0;
    if (manner < 2) {
        CALLING(eddy_loop_stop, "(loop%d)", loop->thing.number);
        answered(eddy_loop_stop(loop->thing.handle), 0);
    }
    loop->continued = loop->stop_asked;
    loop->stop_asked = false;
    in_call = false;
    turn_begins(loop);
    loop->running = true;
    if (manner == 0) {
        CALLING(eddy_loop_run, "(loop%d)", loop->thing.number), in_call = false;
        result = eddy_loop_run(loop->thing.handle);
    } else if (manner == 1) {
        CALLING(eddy_loop_run_forever, "(loop%d)", loop->thing.number), in_call = false;
        result = eddy_loop_run_forever(loop->thing.handle);
    } else {
        CALLING(eddy_loop_run_once, "(loop%d, %d)", loop->thing.number, timeout), in_call = false;
        result = eddy_loop_run_once(loop->thing.handle, timeout);
        want = result;
    }
    const enum function function = manner == 0   ? FN_eddy_loop_run
                                   : manner == 1 ? FN_eddy_loop_run_forever
                                                 : FN_eddy_loop_run_once;
    line("the run ends: %d", result);
    now_called = function;
    tallies[function].codes[code_place(result > 0 ? 0 : result)]++;
    if (result < 0 || result != want) disagree("the run gave %d", result);
    if (manner >= 2 && !loop->free_asked && more_is_known(loop) && result != 1)
        disagree("the run says that there is no more");
    run_ended(loop, loop->free_asked, timeout < 0 ? EDDY_NEVER : (uint64_t)timeout);
}

static void call_loop_run(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    if (chosen.code == 0 && !loop->running && !loop->freeing) {
        if (depth < 2) loop_turns(loop, once_in(20) ? (int)chance(50) : 0);
        return;
    }
    switch (chance(3)) {
    case 0:
        CALLING(eddy_loop_run, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_loop_run(chosen.handle), EDDY_EBUSY);
        break;
    case 1:
        CALLING(eddy_loop_run_forever, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_loop_run_forever(chosen.handle), EDDY_EBUSY);
        break;
    default:
        CALLING(eddy_loop_run_once, "(%s, 0)", called(&chosen));
        answered_for(&chosen, eddy_loop_run_once(chosen.handle, 0), EDDY_EBUSY);
    }
}

/* ---- what is asked of a loop --------------------------------------------------------------------------- */

static void call_loop_start(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    const uint64_t delay = once_in(12)   ? EDDY_NEVER
                           : once_in(12) ? EDDY_NEVER - chance(3)
                                         : chance(once_in(4) ? 200 : 12);
    const enum operation kind = (enum operation)(OP_soon + chance(3));
    const bool nobody = once_in(30);
    struct operation_of *operation = operation_made(kind, loop, NULL);
    eddy_op receipt;
    bool accepted;
    /* From another thread this is all that may be called. */
    struct pick posting = chosen;
    if (foreign && loop != NULL) posting.code = posting.or_code = 0;
    switch (kind) {
    case OP_soon:
        CALLING(eddy_loop_call_soon, "(%s, %s)", called(&chosen), nobody ? "NULL" : "cb");
        receipt = eddy_loop_call_soon(chosen.handle, nobody ? NULL : called_soon, operation);
        accepted = accepted_for(&chosen, receipt, nobody ? EDDY_EINVAL : 0);
        break;
    case OP_later:
        CALLING(eddy_loop_call_later, "(%s, %llu)", called(&chosen), (unsigned long long)delay);
        receipt = eddy_loop_call_later(chosen.handle, delay, nobody ? NULL : called_later, operation);
        accepted = accepted_for(&chosen, receipt, nobody ? EDDY_EINVAL : 0);
        if (accepted && delay < 1000) loop->timed = true;
        if (accepted)
            loop->may_be_timed = true,
            operation->due = delay > EDDY_NEVER - loop->now ? EDDY_NEVER : loop->now + delay;
        break;
    default:
        CALLING(eddy_loop_call_soon_threadsafe, "(%s)", called(&chosen));
        const int code = eddy_loop_call_soon_threadsafe(chosen.handle, nobody ? NULL : called_soon, operation);
        /* A loop that is being freed is gone for those who post. */
        if (loop != NULL && (loop->freeing || loop->free_asked) && !nobody)
            accepted = answered_either(code, 0, EDDY_ESTALE) == 0;
        else accepted = answered_for(&posting, code, nobody ? EDDY_EINVAL : 0) == 0;
        receipt = -1;
    }
    operation_begins(operation, receipt, accepted);
}

static void call_loop_cancel(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    eddy_op receipt = (eddy_op)((uint64_t)chance(UINT32_MAX) << 32 | chance(UINT32_MAX));
    struct operation_of *operation = NULL;
    if (pending_count > 0 && !once_in(5)) {
        operation = pending[chance((uint32_t)pending_count)];
    } else if (operations_count > 0) {
        operation =
            &operations[operations_count - 1 - chance((uint32_t)(operations_count < 20 ? operations_count : 20))];
    }
    if (operation != NULL && !once_in(10)) receipt = operation->receipt;
    if (once_in(20)) receipt ^= (eddy_op)1 << chance(62);
    struct operation_of *meant = NULL;
    for (size_t i = 0; i < pending_count; i++)
        if (receipt >= 0 && pending[i]->receipt == receipt && pending[i]->loop == loop && !pending[i]->canceled)
            meant = pending[i];
    CALLING(eddy_loop_cancel, "(%s, %lld #%d)", called(&chosen), (long long)receipt,
            operation != NULL ? operation->number : -1);
    const int code = eddy_loop_cancel(chosen.handle, receipt);
    const bool late = chosen.code == 0 && (loop->freeing || loop->free_asked) && meant != NULL;
    /* A drain whose answer is found and not told yet: either, but then it is that. */
    const bool answered_already =
        meant != NULL && meant->kind == OP_drain && (meant->decided || vague(meant->object) || operation_due(meant));
    const bool worldly = meant != NULL && meant->kind >= OP_opened;
    if (chosen.code == 0 && (late || answered_already || worldly))
        answered_either(code, 0, EDDY_ESTALE); /* it may be decided already that it ends with its loop */
    else answered_for(&chosen, code, meant != NULL ? 0 : receipt < 0 ? EDDY_EINVAL : EDDY_ESTALE);
    if (code == 0 && meant != NULL) meant->canceled = true, meant->turn = loop->turn;
    if (code == 0 && meant != NULL && meant->kind == OP_read) reading_regulated(meant->object);
}

static void call_loop_asked(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    const size_t which = chance(4);
    int signal = our_signals[which], fd, wait;
    switch (chance(13)) {
    case 0:
        CALLING(eddy_loop_is_running, "(%s)", called(&chosen));
        told_for(&chosen, eddy_loop_is_running(chosen.handle), loop != NULL && (loop->running || loop->freeing), 0);
        break;
    case 1:
        CALLING(eddy_loop_time, "(%s)", called(&chosen));
        const uint64_t now = eddy_loop_time(chosen.handle);
        told_for(&chosen, (long long)now,
                 loop == NULL    ? 0
                 : loop->running ? (long long)now
                                 : (long long)loop->now,
                 0);
        if (chosen.code == 0) time_is(loop, now);
        break;
    case 2:
        CALLING(eddy_loop_fd, "(%s)", called(&chosen));
        fd = eddy_loop_fd(chosen.handle);
        told_for(&chosen, fd, fd >= 0 ? fd : 0, -1);
        break;
    case 3:
        CALLING(eddy_loop_timeout, "(%s)", called(&chosen));
        wait = eddy_loop_timeout(chosen.handle);
        told_for(&chosen, wait, wait >= -1 ? wait : -1, -1);
        if (chosen.code == 0 && !loop->freeing)
            for (size_t i = 0; i < pending_count; i++)
                if (pending[i]->loop == loop &&
                    (operation_due(pending[i])
                         ? wait != 0
                         : pending[i]->due != EDDY_NEVER &&
                               (wait < 0 || (uint64_t)wait > pending[i]->due - loop->now) && wait != INT32_MAX))
                    disagree("%s #%d is due before", operation_names[pending[i]->kind], pending[i]->number);
        break;
    case 4:
        CALLING(eddy_loop_set_busy_poll, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_loop_set_busy_poll(chosen.handle, chance(2)), 0);
        break;
    case 5:
        CALLING(eddy_loop_set_clock, "(%s, 1)", called(&chosen));
        const int set = eddy_loop_set_clock(chosen.handle, 1);
        /* What is never due, or was settled at once, need not have been timed. */
        if (loop != NULL && chosen.code == 0 && loop->may_be_timed && !loop->timed)
            answered_either(set, 0, EDDY_ESTATE);
        else answered_for(&chosen, set, loop != NULL && loop->timed ? EDDY_ESTATE : 0);
        break;
    case 6: {
        eddy_stats stats = { .size = once_in(10) ? chance(sizeof stats + 1) : sizeof stats };
        const bool nothing = once_in(10), sizeless = stats.size < sizeof stats.size;
        CALLING(eddy_loop_stats, "(%s, size %zu)", called(&chosen), nothing ? 0 : stats.size);
        const int code = eddy_loop_stats(chosen.handle, nothing ? NULL : &stats);
        answered_for(&chosen, code, nothing || sizeless ? EDDY_EINVAL : 0);
        break;
    }
    case 7:
        CALLING(eddy_loop_set_debug, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_loop_set_debug(chosen.handle, 0), 0);
        break;
    case 8: {
        const int number = told_number;
        char text[32];
        snprintf(text, sizeof text, "told %d", number);
        const bool nothing = once_in(20);
        CALLING(eddy_loop_call_exception_handler, "(%s, %s)", called(&chosen), nothing ? "NULL" : text);
        const int code = eddy_loop_call_exception_handler(chosen.handle, nothing ? NULL : text, number % 5);
        if (answered_for(&chosen, code, nothing ? EDDY_EINVAL : 0) == 0) told_number++;
        break;
    }
    case 9:
        if (once_in(12)) signal = (int[]){0, -1, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, 9999}[chance(9)];
        CALLING(eddy_loop_add_signal_handler, "(%s, %d)", called(&chosen), signal);
        const bool odd = signal != our_signals[which], missing = once_in(20);
        const int added = eddy_loop_add_signal_handler(chosen.handle, signal, missing ? NULL : signal_told,
                                                         loop != NULL ? &loop->watches[which] : NULL);
        if (answered_for(&chosen, added, odd || missing ? EDDY_EINVAL : 0) == 0)
            loop->watches[which].loop = loop, loop->watches[which].on = true;
        break;
    case 10: {
        CALLING(eddy_loop_remove_signal_handler, "(%s, %d)", called(&chosen), signal);
        const int code = eddy_loop_remove_signal_handler(chosen.handle, signal);
        if (answered_for(&chosen, code, loop != NULL && loop->watches[which].on ? 0 : EDDY_ESTATE) == 0)
            loop->watches[which].on = false; /* another one may still be told of what has come and was not told */
        break;
    }
    case 11:
        CALLING(eddy_loop_set_exception_handler, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_loop_set_exception_handler(chosen.handle, exception_told, NULL), 0);
        break;
    default:
        CALLING(eddy_loop_stop, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_loop_stop(chosen.handle), 0);
        if (chosen.code == 0) loop->stop_asked = true;
    }
}

/* The program's own handler: "in front of the handlers that the program has". */
static unsigned long long signals_passed;

static void signal_passes(int signal)
{
    (void)signal;
    signals_passed++;
}

/* All loops that watch it are told, each once, and the program's own handler as well. */
static void signal_happens(void)
{
    const size_t which = chance(4);
    const unsigned long long passed = signals_passed;
    for (size_t i = 0; i < things_count[LOOP]; i++) {
        struct loop *loop = (struct loop *)things[LOOP][i];
        if (loop->thing.live && loop->watches[which].on)
            loop->watches[which].raised++, loop->watches[which].owed = true;
    }
    line("raise(%d)", our_signals[which]);
    raise(our_signals[which]);
    if (signals_passed != passed + 1)
        disagree("the program's own handler was called %llu times", signals_passed - passed);
}

static void call_loop_moves(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    if (once_in(2)) {
        CALLING(eddy_loop_attach, "(%s)", called(&chosen));
        /* It is this thread's already, which is no harm. */
        answered_for(&chosen, eddy_loop_attach(chosen.handle), 0);
        return;
    }
    CALLING(eddy_loop_detach, "(%s)", called(&chosen));
    const bool busy = loop != NULL && (loop->running || loop->freeing);
    if (answered_for(&chosen, eddy_loop_detach(chosen.handle), busy ? EDDY_EBUSY : 0) != 0) return;
    /* Nobody's now: what is this thread's is refused until it is attached again. */
    CALLING(eddy_loop_call_soon, "(%s)", called(&chosen));
    answered_either(eddy_loop_call_soon(chosen.handle, called_soon, NULL), EDDY_ETHREAD, EDDY_ETHREAD);
    reports_allowed[now_called] = true;
    CALLING(eddy_loop_attach, "(%s)", called(&chosen));
    answered(eddy_loop_attach(chosen.handle), 0);
}

#endif
