/* Operations that were accepted, and their callbacks: each comes once, from within a run of its loop, with the code
 * that the model says, and no later than it must. */
#ifndef EDDY_MODEL_OPERATIONS_H
#define EDDY_MODEL_OPERATIONS_H

#include "reading.h"

static struct operation_of *pending[OPERATIONS_MOST];
static size_t pending_count;
static const eddy_error *kept_error; /* beyond its callback */

static void act(void); /* a few calls at random, from within a callback: test_model.c */

static struct operation_of *operation_made(enum operation kind, struct loop *loop, void *object)
{
    struct operation_of *operation = &operations[operations_count++];
    *operation = (struct operation_of){ .kind = kind, .number = (int)operations_count - 1, .loop = loop,
                                        .object = object, .receipt = -1, .due = EDDY_NEVER };
    return operation;
}

/* Started, if the call was accepted; else it must never call back. */
static void operation_begins(struct operation_of *operation, eddy_op receipt, bool was_accepted)
{
    if (!was_accepted) {
        operation->done = true;
        return;
    }
    for (size_t i = 0; i < pending_count; i++)
        if (receipt > 0 && pending[i]->receipt == receipt)
            disagree("a receipt that is another's: %lld", (long long)receipt);
    operation->receipt = receipt;
    if (operation->kind >= OP_opened) operation->loop->may_be_timed = true;
    operation->turn = operation->loop == NULL ? 0 : operation->loop->turn;
    pending[pending_count++] = operation;
    line_append(" (#%d)", operation->number);
}

static void operation_ends(struct operation_of *operation)
{
    operation->done = true;
    for (size_t i = 0; i < pending_count; i++) {
        if (pending[i] != operation) continue;
        memmove(&pending[i], &pending[i + 1], (--pending_count - i) * sizeof pending[0]);
        return;
    }
}

/* What an error says by itself; and what the last one says that was kept too long. */
static void error_looked_at(const eddy_error *error, int code)
{
    size_t len = 7;
    const char *message = eddy_error_message(error);
    if (message == NULL || (error == NULL) != (message[0] == '\0')) disagree("an error's message is %s", message);
    if (code != EDDY_EINCOMPLETE) {
        if (eddy_error_expected(error) != 0) disagree("an error of code %d expected something", code);
        if (eddy_error_partial(error, &len) != NULL || len != 0)
            disagree("an error of code %d has a partial result", code);
    }
    if (code != EDDY_ELIMIT && eddy_error_consumed(error) != 0)
        disagree("an error of code %d consumed something", code);
    if (code != EDDY_ELOST && code != EDDY_ESYSTEM && eddy_error_errno(error) != 0)
        disagree("an error of code %d has a number of the system's", code);
}

/* Whose callback it is: done from now on. */
static int callback_begins(struct operation_of *operation, enum operation kind, const eddy_error *error)
{
    const int code = eddy_error_code(error);
    line("callback %s #%d: %d", operation_names[kind], operation->number, code);
    callbacks_checked++;
    if (operation->loop->free_asked) operation->loop->freeing = true; /* freeing it within a callback stops it */
    outcomes[kind][code_place(code)]++;
    if (in_call) disagree("called back from within %s", function_names[now_called]);
    if (operation->kind != kind) disagree("the callback of another operation");
    if (operation->done) disagree("refused, or called back already");
    if (!operation->loop->running && !operation->loop->freeing) disagree("called back outside of a run");
    if (error != NULL && code == 0) disagree("an error without a code");
    error_looked_at(error, code);
    operation_ends(operation);
    if (operation->loop->freeing && kind != OP_released && code != EDDY_ECANCELED &&
        !(operation->decided && code == operation->code) &&
        !(kind == OP_drain && (code == EDDY_ELOST || code == 0))) /* its answer was found before */
        disagree("the loop is being freed, and the code is %d", code);
    return code;
}

static void callback_ends(const eddy_error *error)
{
    act();
    if (error != NULL) kept_error = error;
}

static void code_is(int code, int want)
{
    if (code != want) disagree("the callback's code is %d, predicted was %d", code, want);
}

/* ---- what ends operations on a connection -------------------------------------------------------------- */

/* Above the high mark until the low one is reached, or as long as the transport cannot take more. What the reader has
 * by then is told, and what ends the connection; what the reader is told later is not. */
static struct outcome drain_outcome(const struct operation_of *operation)
{
    const struct connection *connection = operation->object;
    const struct protocol *protocol = connection->protocol;
    if (operation->decided) return (struct outcome){ .code = operation->code };
    return (struct outcome){ .waits = connection->above || connection->closing || connection->aborted ||
                                     (protocol != NULL && protocol->writing_paused) };
}

static struct outcome closed_outcome(const struct operation_of *operation)
{
    const struct connection *connection = operation->object;
    return (struct outcome){ .waits = !connection->lost, .code = connection->lost_code };
}

/* Handed over, or it never will be. */
static bool release_due(const struct operation_of *operation)
{
    const struct connection *connection = operation->object;
    return connection->handed >= operation->end || connection->lost || connection->aborted;
}

/* What must have been called back when the turn that begins now is over. */
static bool operation_due(const struct operation_of *operation)
{
    const struct reader *reader = operation->object;
    if (operation->canceled) return true;
    if (operation->kind == OP_read && vague_reader(reader)) return false;
    if ((operation->kind == OP_drain || operation->kind == OP_closed || operation->kind == OP_released) &&
        vague(operation->object))
        return false;
    switch (operation->kind) {
    case OP_soon:
    case OP_posted: return true;
    case OP_later: return operation->due <= operation->loop->now;
    case OP_read: return !outcome_of(reader, &operation->request).waits || operation->due <= operation->loop->now;
    case OP_drain: return !drain_outcome(operation).waits || operation->due <= operation->loop->now;
    case OP_closed: return !closed_outcome(operation).waits;
    case OP_released: return release_due(operation);
    default: return false;
    }
}

static void turn_begins(struct loop *loop)
{
    loop->turn++;
    for (size_t i = 0; i < pending_count; i++)
        if (pending[i]->loop == loop) pending[i]->due_before = operation_due(pending[i]);
}

static void turn_ends(struct loop *loop)
{
    if (loop->stop_asked) return; /* within the turn: whom else there was to call is called in the next run */
    for (size_t i = 0; i < pending_count; i++)
        if (pending[i]->loop == loop && pending[i]->due_before && operation_due(pending[i]))
            disagree("%s #%d was due before this turn, and is still not called back",
                     operation_names[pending[i]->kind], pending[i]->number);
}

/* ---- time ---------------------------------------------------------------------------------------------- */

/* Time stands still while there is something to do, and goes no further than to the next timer. */
static void time_is(struct loop *loop, uint64_t now)
{
    if (now < loop->now)
        disagree("the time goes back from %llu to %llu", (unsigned long long)loop->now, (unsigned long long)now);
    loop->now = now;
}

#endif
