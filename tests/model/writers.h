/* Calls on writers and transports, whatever is behind them. */
#ifndef EDDY_MODEL_WRITERS_H
#define EDDY_MODEL_WRITERS_H

#include "readers.h"

static struct connection *connection_made(enum face face, struct loop *loop)
{
    struct connection *connection = fresh(sizeof *connection);
    connection->face = face;
    connection->loop = loop;
    connection->high = 65536, connection->low = 16384;
    connections[connections_count++] = connection;
    return connection;
}

static struct connection *of_writer(struct thing *thing)
{
    return thing == NULL ? NULL : (struct connection *)((char *)thing - offsetof(struct connection, writer));
}

static struct connection *of_transport(struct thing *thing)
{
    return thing == NULL ? NULL : (struct connection *)((char *)thing - offsetof(struct connection, transport));
}

static struct pick pick_writer(struct connection **connection)
{
    const struct pick chosen = pick(WRITER);
    *connection = of_writer(chosen.thing);
    return chosen;
}

static struct pick pick_transport(struct connection **connection)
{
    const struct pick chosen = pick(TRANSPORT);
    *connection = of_transport(chosen.thing);
    return chosen;
}

/* ---- what becomes of a connection ---------------------------------------------------------------------- */

static void marks_judged(struct connection *connection)
{
    if (connection->out.len > connection->high) connection->above = true;
    if (connection->out.len <= connection->low) connection->above = false;
}

static void stream_ends(struct reader *reader, int code)
{
    if (reader == NULL) return;
    if (code != 0) reader->failed = code;
    else reader->eof = true;
    reading_regulated(reader);
}

/* Nothing comes and goes any more. Those who drain are told why. */
static void connection_over(struct connection *connection, int code)
{
    if (connection->lost) return;
    if (connection->late) code = EDDY_ETIMEDOUT;
    connection->lost = true;
    connection->lost_code = code;
    connection->out.len = 0;
    connection->above = false;
    for (size_t i = 0; i < pending_count; i++)
        if (pending[i]->kind == OP_drain && pending[i]->object == connection && !pending[i]->decided)
            pending[i]->decided = true, pending[i]->code = code != 0 ? code : EDDY_ELOST;
    if (connection->protocol != NULL) connection->protocol->writing_paused = false;
    stream_ends(connection->reader, code);
    if (connection->reader != NULL) connection->reader->lost = true;
}

/* After what is gathered has gone out. */
static void connection_closes(struct connection *connection)
{
    if (connection->closing || connection->aborted) return;
    connection->closing = true; /* nothing more is written, also when the network took it before */
    if (connection->lost) return;
    if (connection->timeout != 0 && connection->timeout != EDDY_NEVER) {
        connection->loop->may_be_timed = true;
        connection->close_due = connection->timeout > EDDY_NEVER - connection->loop->now
                                    ? EDDY_NEVER
                                    : connection->loop->now + connection->timeout;
    }
}

static void connection_aborts(struct connection *connection)
{
    if (connection->aborted) return;
    if (connection->lost) connection->closing = true;
    if (connection->lost) return;
    connection->aborted = true;
    connection->out.len = 0;
    connection->above = false;
}

static void cancel_about(enum operation kind, const struct connection *connection)
{
    for (size_t i = 0; i < pending_count; i++)
        if (pending[i]->kind == kind && pending[i]->object == connection) pending[i]->canceled = true;
}

static void writer_freed(struct connection *connection)
{
    if (!connection->writer.live) return;
    connection_closes(connection);
    connection->writer.live = false;
    cancel_about(OP_drain, connection);
    if (connection->reader != NULL) reader_freed(connection->reader);
}

/* A transport becomes part of a stream. */
static void stream_joined(struct connection *connection, struct reader *reader)
{
    connection->joined = true;
    if (reader == NULL) return;
    connection->reader = reader;
    connection->protocol = reader->protocol;
    reader->stream = connection;
    if (reader->connection == NULL) reader->connection = connection;
    reading_regulated(reader);
}

/* ---- callbacks ----------------------------------------------------------------------------------------- */

static void has_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct operation_of *operation = arg;
    const struct connection *connection = operation->object;
    const int code = callback_begins(operation, OP_drain, error);
    if (writer != connection->writer.handle) disagree("the callback of another writer");
    if (operation->loop->freeing) {
    } else if (operation->canceled) {
        /* Unless its answer was found before the writer was freed. */
        const bool found = (operation->decided && code == operation->code) ||
                           ((code == 0 || code == EDDY_ELOST) && !connection->writer.live);
        code_is(code, found ? code : EDDY_ECANCELED);
    } else {
        const struct outcome outcome = drain_outcome(operation);
        if (vague(connection)) {
            if (code != 0 && code != EDDY_ELOST && code != EDDY_ETLS &&
                (code != EDDY_ETIMEDOUT || (operation->due == EDDY_NEVER && !connection->timed)))
                disagree("no drain ends like that");
        } else if (operation->idle && code == 0) {
        } else if (outcome.waits && (connection->closing || connection->aborted)) {
            /* It goes: by then what was gathered may be out, or the connection is gone. */
            if (code != 0 && code != EDDY_ELOST && code != EDDY_ETIMEDOUT) code_is(code, EDDY_ELOST);
        } else if (outcome.waits) {
            in_call = true, time_is(operation->loop, eddy_loop_time(operation->loop->thing.handle)), in_call = false;
            if (operation->due > operation->loop->now) disagree("it is to wait, and time is left");
            code_is(code, EDDY_ETIMEDOUT);
        } else {
            code_is(code, outcome.code);
        }
    }
    callback_ends(error);
}

static void was_closed(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct operation_of *operation = arg;
    const struct connection *connection = operation->object;
    const int code = callback_begins(operation, OP_closed, error);
    if (writer != connection->writer.handle) disagree("the callback of another writer");
    if (operation->loop->freeing) {
    } else if (operation->canceled) {
        code_is(code, EDDY_ECANCELED);
    } else {
        const struct outcome outcome = closed_outcome(operation);
        if (vague(connection)) {
            if (code != 0 && code != EDDY_ELOST && code != EDDY_ETLS &&
                (code != EDDY_ETIMEDOUT || !connection->timed))
                disagree("no connection ends like that");
            callback_ends(error);
            return;
        }
        if (outcome.waits) disagree("the connection is not over");
        code_is(code, outcome.code);
        for (size_t i = 0; i < pending_count; i++)
            if ((pending[i]->kind == OP_drain && pending[i]->object == connection) ||
                (pending[i]->kind == OP_read && pending[i]->object == connection->reader))
                if (pending[i]->number < operation->number) disagree("#%d was to be told before", pending[i]->number);
    }
    callback_ends(error);
}

static void was_released(void *arg)
{
    struct operation_of *operation = arg;
    callback_begins(operation, OP_released, NULL);
    if (!operation->loop->freeing && !vague(operation->object) && !release_due(operation))
        disagree("the bytes are not handed over");
    callback_ends(NULL);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static int write_predicted(const struct connection *connection, size_t len)
{
    if (connection->closing || connection->aborted || connection->eof_asked) return EDDY_ESTATE;
    if (connection->lost) return 0;
    return connection->out.len + len > connection->high ? 1 : 0;
}

static void was_written(struct connection *connection, const char *bytes, size_t len)
{
    connection->written += len;
    if (vague(connection)) {
        if (connection->peer != NULL) bytes_add(&connection->peer->reader->bytes, bytes, len);
        return;
    }
    if (connection->lost) {
        connection->handed = connection->written;
        return;
    }
    bytes_add(&connection->out, bytes, len);
    marks_judged(connection);
}

static int write_answered(const struct pick *chosen, struct connection *connection, int code, bool nonsense,
                          size_t len)
{
    int want = nonsense ? EDDY_EINVAL : connection == NULL ? 0 : write_predicted(connection, len);
    if (vague(connection) && want >= 0 && (code == 0 || code == 1)) want = code; /* how much is unsent */
    if (vague(connection) && connection->served && want >= 0 && code == EDDY_ESTATE)
        want = code; /* its server may have closed it */
    return answered_for(chosen, code, want);
}

static void call_writer_write(void)
{
    struct connection *connection;
    const struct pick chosen = pick_writer(&connection);
    size_t len;
    const char *bytes = chance_bytes(&len);
    bool nonsense = false;
    int code;
    if (once_in(40)) bytes = NULL, nonsense = len > 0;
    else if (once_in(40)) len = SIZE_MAX - chance(9), nonsense = true;
    const int shown = nonsense || bytes == NULL ? 0 : (int)len;
    switch (chance(4)) {
    case 0: {
        const size_t half = nonsense ? len : len / 2;
        const eddy_bytes two[2] = {{bytes, half},
                                   {bytes == NULL ? NULL
                                    : nonsense    ? bytes
                                                  : bytes + half,
                                    nonsense ? 0 : len - half}};
        const bool missing = once_in(30);
        CALLING(eddy_writer_writelines, "(%s, %s\"%.*s\")", called(&chosen), missing ? "NULL " : "", shown, bytes);
        code = eddy_writer_writelines(chosen.handle, missing ? NULL : two, 2);
        if (write_answered(&chosen, connection, code, nonsense || missing, len) >= 0 && code >= 0)
            was_written(connection, bytes, len);
        break;
    }
    case 1: {
        static char lent[4096];
        if (bytes != NULL && len <= sizeof lent) memset(lent, 'l', len), bytes = lent;
        struct operation_of *operation =
            operation_made(OP_released, connection == NULL ? NULL : connection->loop, connection);
        const bool nobody = once_in(30);
        CALLING(eddy_writer_write_static, "(%s, %zu, %s)", called(&chosen), len, nobody ? "NULL" : "released");
        code = eddy_writer_write_static(chosen.handle, bytes, len, nobody ? NULL : was_released, operation);
        write_answered(&chosen, connection, code, nonsense || nobody, len);
        if (code >= 0) was_written(connection, bytes, len), operation->end = connection->written;
        operation_begins(operation, -1, code >= 0);
        break;
    }
    default:
        CALLING(eddy_writer_write, "(%s, \"%.*s\", %zu)", called(&chosen), shown, bytes, len);
        code = eddy_writer_write(chosen.handle, bytes, len);
        write_answered(&chosen, connection, code, nonsense, len);
        if (code >= 0) was_written(connection, bytes, len);
    }
}

static void call_writer_wait(void)
{
    struct connection *connection;
    const struct pick chosen = pick_writer(&connection);
    const bool drains = once_in(2);
    struct operation_of *operation =
        operation_made(drains ? OP_drain : OP_closed, connection == NULL ? NULL : connection->loop, connection);
    const eddy_writer_cb cb = once_in(40) ? NULL : drains ? has_drained : was_closed;
    eddy_op receipt;
    if (drains) {
        CALLING(eddy_writer_drain, "(%s)", called(&chosen));
        receipt = eddy_writer_drain(chosen.handle, cb, operation);
    } else {
        CALLING(eddy_writer_wait_closed, "(%s)", called(&chosen));
        receipt = eddy_writer_wait_closed(chosen.handle, cb, operation);
    }
    const bool was_accepted = accepted_for(&chosen, receipt, cb == NULL ? EDDY_EINVAL : 0);
    operation_begins(operation, receipt, was_accepted);
    if (was_accepted && drains) {
        const struct reader *reader = connection->reader;
        if (reader != NULL && reader->failed != 0) operation->decided = true, operation->code = reader->failed;
        operation->idle = !drain_outcome(operation).waits;
        if (operation->decided) {
        } else if (connection->lost) operation->decided = true, operation->code = EDDY_ELOST;
    }
    if (was_accepted && drains && connection->timeout != 0 && connection->timeout != EDDY_NEVER) {
        const uint64_t now = connection->loop->now;
        operation->due = connection->timeout > EDDY_NEVER - now ? EDDY_NEVER : now + connection->timeout;
        connection->loop->may_be_timed = true;
    }
}

/* ---- ending -------------------------------------------------------------------------------------------- */

static void call_writer_end(void)
{
    struct connection *connection;
    const struct pick chosen = pick_writer(&connection);
    int want = 0;
    if (chosen.code == 0 && !once_in(4)) return;
    switch (chance(4)) {
    case 0:
        CALLING(eddy_writer_write_eof, "(%s)", called(&chosen));
        if (connection != NULL && !connection->can_eof) want = EDDY_ENOTSUP;
        const int code = eddy_writer_write_eof(chosen.handle);
        /* What a transport could is forgotten when it is released. */
        if (connection != NULL && connection->released && code == 0) want = 0;
        if (answered_for(&chosen, code, want) == 0 && !connection->closing && !connection->aborted)
            connection->eof_asked = true;
        break;
    case 1:
        CALLING(eddy_writer_close, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_writer_close(chosen.handle), 0) == 0) connection_closes(connection);
        break;
    case 2:
        CALLING(eddy_writer_abort, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_writer_abort(chosen.handle), 0) == 0) connection_aborts(connection);
        break;
    default:
        CALLING(eddy_writer_free, "(%s)", called(&chosen));
        eddy_writer_free(chosen.handle);
        freed_for(&chosen);
        if (chosen.code == 0) writer_freed(connection);
    }
}

static bool is_closing(const struct connection *connection)
{
    return connection != NULL && (connection->closing || connection->aborted || connection->lost);
}

static void call_writer_look(void)
{
    struct connection *connection;
    const struct pick chosen = pick_writer(&connection);
    size_t len = 7, high, low;
    switch (chance(8)) {
    case 0:
        CALLING(eddy_writer_can_write_eof, "(%s)", called(&chosen));
        const bool can = eddy_writer_can_write_eof(chosen.handle);
        told_for(&chosen, can, connection != NULL && (connection->can_eof || (connection->released && can)), 0);
        break;
    case 1:
        CALLING(eddy_writer_is_closing, "(%s)", called(&chosen));
        const bool closing = eddy_writer_is_closing(chosen.handle);
        told_for(&chosen, closing, is_closing(connection) || (vague(connection) && closing), 0);
        break;
    case 2:
        CALLING(eddy_writer_get_write_buffer_size, "(%s)", called(&chosen));
        const size_t unsent = eddy_writer_get_write_buffer_size(chosen.handle);
        told_for(&chosen, (long long)unsent,
                 vague(connection) && unsent <= connection->written ? (long long)unsent
                 : connection != NULL                               ? (long long)connection->out.len
                                                                    : 0,
                 0);
        break;
    case 3: {
        const bool known = once_in(2), nameless = once_in(20);
        CALLING(eddy_writer_get_extra_info, "(%s, %s)", called(&chosen),
                nameless ? "NULL"
                : known  ? "peername"
                         : "nonsense");
        const char *info = eddy_writer_get_extra_info(chosen.handle,
                                                      nameless ? NULL
                                                      : known  ? "peername"
                                                               : "nonsense",
                                                      once_in(3) ? NULL : &len);
        bool there = connection != NULL && connection->has_info && known && !nameless;
        if (vague(connection) && known && !nameless) there = info != NULL;
        pointer_for(&chosen, info, there);
        reports_allowed[now_called] |= nameless;
        if (info != NULL && !vague(connection) && (len != 7 || connection->info_len == 7) &&
            (len != connection->info_len || memcmp(info, connection->info, len) != 0))
            disagree("another value was kept");
        break;
    }
    case 4: {
        CALLING(eddy_writer_transport, "(%s)", called(&chosen));
        const eddy_transport *transport = eddy_writer_transport(chosen.handle);
        pointer_for(&chosen, transport, connection != NULL);
        if (transport != NULL && vague(connection) && connection->transport.handle == NULL)
            connection->transport.handle = (void *)(uintptr_t)transport;
        if (transport != NULL && transport != connection->transport.handle) disagree("another transport");
        break;
    }
    case 5: {
        const uint64_t timeout = once_in(4) ? 0 : once_in(4) ? EDDY_NEVER : chance(20);
        CALLING(eddy_writer_set_timeout, "(%s, %llu)", called(&chosen), (unsigned long long)timeout);
        if (answered_for(&chosen, eddy_writer_set_timeout(chosen.handle, timeout), 0) == 0)
            connection->timeout = timeout, connection->timed |= timeout != 0;
        break;
    }
    case 6:
        CALLING(eddy_writer_flush, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_writer_flush(chosen.handle), 0);
        break;
    default:
        high = once_in(4) ? SIZE_MAX : chance_size(), low = once_in(4) ? SIZE_MAX : chance_size();
        CALLING(eddy_writer_set_write_buffer_limits, "(%s, %zu, %zu)", called(&chosen), high, low);
        const size_t now_high = high != SIZE_MAX     ? high
                                : low == SIZE_MAX    ? 65536
                                : low > SIZE_MAX / 4 ? SIZE_MAX
                                                     : low * 4;
        const size_t now_low = low != SIZE_MAX ? low : now_high / 4;
        const int code = eddy_writer_set_write_buffer_limits(chosen.handle, high, low);
        if (answered_for(&chosen, code, now_low > now_high ? EDDY_EINVAL : 0) == 0) {
            connection->high = now_high, connection->low = now_low;
            marks_judged(connection);
        }
    }
}

/* ---- transports ---------------------------------------------------------------------------------------- */

static bool reading_is_paused(const struct connection *connection, bool *or_not)
{
    bool paused = connection->pause_asked;
    *or_not = false;
    for (size_t i = 0; i < things_count[READER]; i++) {
        const struct reader *reader = (struct reader *)things[READER][i];
        if (!reader->thing.live || (reader->connection != connection && reader->stream != connection)) continue;
        paused |= reader->paused;
        *or_not |= reader->may_be_paused || reader->resumes || vague_reader(reader);
    }
    /* Within a callback the reader may just have given, and the transport is looked at when it returns. */
    *or_not |= depth > 0;
    *or_not &= !connection->pause_asked;
    return paused;
}

static void call_transport(void)
{
    struct connection *connection;
    const struct pick chosen = pick_transport(&connection);
    int want = connection != NULL && !connection->can_pause ? EDDY_ENOTSUP : 0;
    switch (chance(6)) {
    case 0:
        CALLING(eddy_transport_pause_reading, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_transport_pause_reading(chosen.handle), want) == 0)
            connection->pause_asked = true;
        break;
    case 1:
        CALLING(eddy_transport_resume_reading, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_transport_resume_reading(chosen.handle), want) == 0)
            connection->pause_asked = false;
        break;
    case 2: {
        CALLING(eddy_transport_is_reading, "(%s)", called(&chosen));
        const bool ended = connection != NULL && connection->reader != NULL && connection->reader->eof;
        bool or_not = false;
        const bool want =
            connection != NULL && !reading_is_paused(connection, &or_not) && !is_closing(connection) && !ended;
        const bool reads = eddy_transport_is_reading(chosen.handle);
        told_for(&chosen, reads, or_not && !is_closing(connection) && !ended ? reads : want, 0);
        break;
    }
    case 3:
        CALLING(eddy_transport_is_closing, "(%s)", called(&chosen));
        told_for(&chosen, eddy_transport_is_closing(chosen.handle), is_closing(connection), 0);
        break;
    case 4:
        if (chosen.code == 0 && !once_in(8)) return;
        CALLING(eddy_transport_close, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_transport_close(chosen.handle), 0) == 0) connection_closes(connection);
        break;
    default:
        if (chosen.code == 0 && !once_in(8)) return;
        CALLING(eddy_transport_abort, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_transport_abort(chosen.handle), 0) == 0) connection_aborts(connection);
    }
}

static void call_set_extra_info(void)
{
    struct connection *connection;
    const struct pick chosen = pick_transport(&connection);
    const char value[8] = "pigeon";
    const size_t len = once_in(20) ? SIZE_MAX - chance(3) : chance(7);
    const bool nameless = once_in(20), nothing = once_in(20);
    CALLING(eddy_transport_set_extra_info, "(%s, %s, %s, %zu)", called(&chosen), nameless ? "NULL" : "peername",
            nothing ? "NULL" : value, len);
    const int code =
        eddy_transport_set_extra_info(chosen.handle, nameless ? NULL : "peername", nothing ? NULL : value, len);
    if (answered_for(&chosen, code, nameless || len > 7 || (nothing && len > 0) ? EDDY_EINVAL : 0) != 0) return;
    connection->has_info = true, connection->info_len = len;
    memcpy(connection->info, value, len);
}

static void call_set_transport(void)
{
    struct reader *reader;
    struct connection *connection;
    const struct pick chosen = pick_reader(&reader), other = pick_transport(&connection);
    CALLING(eddy_reader_set_transport, "(%s, %s)", called(&chosen), called(&other));
    const int code = eddy_reader_set_transport(chosen.handle, other.handle);
    if (chosen.code != 0 || other.code != 0) {
        reports_allowed[now_called] = true;
        answered_either(code, chosen.code != 0 ? chosen.code : other.code,
                        chosen.code != 0 ? chosen.or_code : other.or_code);
        return;
    }
    int want = reader->thing.loop != connection->loop ? EDDY_ESTALE : 0;
    if (want == EDDY_ESTALE) report_due();
    if (want == 0 && reader->connection != NULL) want = EDDY_ESTATE;
    /* A transport of nobody's becomes this reader's stream's; another stream's is only held back. */
    const bool joins = connection->face == CUSTOM && !connection->joined;
    if (want == 0 && joins && (connection->lost || reader->lost)) want = EDDY_ESTATE;
    /* One that has lost its transport may have another to hold back, or not. */
    if (want == EDDY_ESTATE && reader->connection != NULL && (reader->connection->lost || vague_reader(reader)) &&
        code == 0)
        want = 0;
    if (answered_for(&chosen, code, want) != 0) return;
    reader->connection = connection;
    if (joins && reader->stream == NULL) stream_joined(connection, reader);
    reading_regulated(reader);
}

#endif
