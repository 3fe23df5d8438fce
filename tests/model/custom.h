/* Transports made of functions of our own, and the protocols that tell of what they find. */
#ifndef EDDY_MODEL_CUSTOM_H
#define EDDY_MODEL_CUSTOM_H

#include "writers.h"

/* ---- what a transport is told -------------------------------------------------------------------------- */

static struct connection *told_transport(eddy_transport *transport, void *arg, const char *what)
{
    struct connection *connection = arg;
    line("transport%d: %s", connection->transport.number, what);
    callbacks_checked++;
    if (in_call) disagree("called from within %s", function_names[now_called]);
    if (!connection->loop->running && !connection->loop->freeing) disagree("called outside of a run");
    if (connection->released) disagree("called after its release");
    if (transport != NULL && transport != connection->transport.handle) disagree("another's functions");
    if (connection->loop->free_asked) connection->loop->freeing = true;
    return connection;
}

static void over_without_protocol(struct connection *connection)
{
    if (connection->protocol == NULL || !connection->protocol->thing.live) connection_over(connection, 0);
}

static void told_write(eddy_transport *transport, const char *bytes, size_t len, void *arg)
{
    struct connection *connection = told_transport(transport, arg, "write");
    if (connection->lost || connection->aborted) disagree("written to what is gone");
    if (len == 0 || len > connection->out.len || memcmp(bytes, connection->out.at, len) != 0)
        disagree("\"%.*s\" (%zu) is written, predicted was \"%.*s\" (%zu)", (int)(len < 50 ? len : 50), bytes, len,
                 (int)(connection->out.len < 50 ? connection->out.len : 50), connection->out.at, connection->out.len);
    bytes_take(&connection->out, len);
    connection->handed += len;
    marks_judged(connection);
    act();
}

static void told_write_eof(eddy_transport *transport, void *arg)
{
    struct connection *connection = told_transport(transport, arg, "write_eof");
    if (!connection->eof_asked || connection->eof_told || connection->out.len > 0 || connection->aborted ||
        connection->lost)
        disagree("no end was to be told");
    connection->eof_told = true;
    act();
}

static void told_close(eddy_transport *transport, void *arg)
{
    struct connection *connection = told_transport(transport, arg, "close");
    if (!connection->loop->freeing && (!connection->closing || connection->close_told || connection->out.len > 0 ||
                                       connection->aborted || connection->lost))
        disagree("it was not to be closed");
    connection->close_told = true;
    over_without_protocol(connection);
    act();
}

static void told_abort(eddy_transport *transport, void *arg)
{
    struct connection *connection = told_transport(transport, arg, "abort");
    if (!connection->loop->freeing && (!connection->aborted || connection->abort_told || connection->lost)) {
        in_call = true, time_is(connection->loop, eddy_loop_time(connection->loop->thing.handle)), in_call = false;
        if (!connection->closing || connection->close_due == 0 || connection->loop->now < connection->close_due ||
            connection->lost)
            disagree("it was not to be aborted");
        connection->late = connection->aborted = true;
        connection->out.len = 0;
    }
    connection->abort_told = true;
    over_without_protocol(connection);
    act();
}

static void told_pause(eddy_transport *transport, void *arg)
{
    struct connection *connection = told_transport(transport, arg, "pause_reading");
    if (connection->pause_told) disagree("paused twice");
    connection->pause_told = true;
    act();
}

static void told_resume(eddy_transport *transport, void *arg)
{
    struct connection *connection = told_transport(transport, arg, "resume_reading");
    if (!connection->pause_told) disagree("resumed twice");
    connection->pause_told = false;
    act();
}

static void told_release(void *arg)
{
    struct connection *connection = told_transport(NULL, arg, "release");
    if (!connection->loop->freeing && !connection->lost) disagree("released before it is lost");
    connection->released = true;
    connection->transport.live = false;
    act();
}

static const eddy_transport_ops told_ops = {
    .size = sizeof told_ops,
    .write = told_write,
    .write_eof = told_write_eof,
    .close = told_close,
    .abort = told_abort,
    .pause_reading = told_pause,
    .resume_reading = told_resume,
    .release = told_release,
};

/* ---- making -------------------------------------------------------------------------------------------- */

static void call_transport_new(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    eddy_transport_ops ops = told_ops;
    bool fine = true;
    if (once_in(6)) ops.pause_reading = NULL, ops.resume_reading = NULL;
    if (once_in(6)) ops.write_eof = NULL;
    if (once_in(20)) {
        fine = false;
        switch (chance(6)) {
        case 0: ops.write = NULL; break;
        case 1: ops.close = NULL; break;
        case 2: ops.abort = NULL; break;
        case 3: ops.release = NULL; break;
        default: ops.size = chance(8);
        }
    }
    struct connection *connection = connection_made(CUSTOM, loop);
    CALLING(eddy_transport_new, "(%s, %s)", called(&chosen), fine ? "ops" : "bad ops");
    eddy_transport *handle = eddy_transport_new(chosen.handle, &ops, connection);
    const bool there = chosen.code == 0 && fine && !(dying(&chosen) && handle == NULL);
    if (!there) report_due();
    told_pointer(handle, there);
    if (!there) {
        connections_count--;
        return;
    }
    thing_begin(&connection->transport, TRANSPORT, handle, loop);
    connection->can_pause = ops.pause_reading != NULL, connection->can_eof = ops.write_eof != NULL;
}

static void came(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg);

static void call_protocol_new(void)
{
    struct loop *loop;
    struct reader *reader;
    struct pick chosen = pick_loop(&loop), other = pick_reader(&reader);
    const bool has_client = once_in(2);
    if (vague_reader(reader)) reader = NULL, other = (struct pick){ .code = EDDY_ESTALE, .or_code = EDDY_ESTALE };
    /* Mostly such as fit. */
    if (reader != NULL && !once_in(10)) loop = reader->thing.loop, chosen = pick_thing(&loop->thing);
    struct protocol *protocol = fresh(sizeof *protocol);
    struct operation_of *operation = operation_made(OP_opened, loop, protocol);
    CALLING(eddy_protocol_new, "(%s, %s, %s)", called(&chosen), called(&other), has_client ? "came" : "NULL");
    eddy_protocol *handle = eddy_protocol_new(chosen.handle, other.handle, has_client ? came : NULL, operation);
    const bool fine = chosen.code == 0 && other.code == 0 && reader->thing.loop == loop &&
                      (reader->stream == NULL || reader->stream->face == CUSTOM) && reader->protocol == NULL;
    const bool there = fine && !(dying(&chosen) && handle == NULL);
    if (!there) reports_allowed[now_called] = true;
    if (!there && !foreign) report_due();
    told_pointer(handle, there);
    operation->done = true;
    if (!there) return;
    thing_begin(&protocol->thing, PROTOCOL, handle, loop);
    protocol->reader = reader, protocol->has_client = has_client, protocol->client = operation;
    reader->protocol = protocol;
    if (reader->stream != NULL) reader->stream->protocol = protocol, protocol->connection = reader->stream;
}

static void call_writer_new(void)
{
    struct connection *connection;
    const struct pick chosen = pick_transport(&connection);
    struct protocol *protocol = NULL;
    struct reader *reader = NULL;
    struct pick second = { .code = 0 }, third = { .code = 0 };
    if (connection != NULL && connection->protocol != NULL && !once_in(10)) {
        second = pick_thing(&connection->protocol->thing), protocol = (struct protocol *)second.thing;
    } else if (once_in(2)) {
        second = pick(PROTOCOL), protocol = (struct protocol *)second.thing;
        if (second.handle == NULL) second.code = 0;
    }
    if (protocol != NULL && !once_in(4)) {
        third = pick_thing(&protocol->reader->thing), reader = (struct reader *)third.thing;
    } else if (once_in(3)) {
        third = pick_reader(&reader);
        if (third.handle == NULL) third.code = 0;
    }
    CALLING(eddy_writer_new, "(%s, %s, %s)", called(&chosen), called(&second), called(&third));
    eddy_writer *handle = eddy_writer_new(chosen.handle, second.handle, third.handle);
    bool fine = chosen.code == 0 && second.code == 0 && third.code == 0;
    if (fine && protocol != NULL && reader != NULL && protocol->reader != reader) fine = false;
    if (fine && protocol != NULL) reader = protocol->reader;
    if (fine && reader != NULL && reader->thing.loop != connection->loop) fine = false;
    if (fine) {
        const struct connection *stream = reader == NULL ? connection : reader->stream;
        if (connection->has_writer || connection->lost || (reader != NULL && reader->lost)) fine = false;
        /* Another stream's transport, or a stream that has another one. */
        else if (stream != connection && (stream != NULL || connection->joined ||
                                          (reader->connection != NULL && reader->connection == connection)))
            fine = false;
    }
    const bool there = fine && !(dying(&chosen) && handle == NULL);
    if (!there) reports_allowed[now_called] = true;
    if (!there) report_due();
    told_pointer(handle, there);
    if (!there) return;
    thing_begin(&connection->writer, WRITER, handle, connection->loop);
    connection->has_writer = true;
    if (connection->reader == NULL) stream_joined(connection, reader);
    if (protocol != NULL) protocol->connection = connection;
}

/* ---- protocols ----------------------------------------------------------------------------------------- */

static void came(eddy_reader *handle, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct operation_of *operation = arg;
    struct protocol *protocol = operation->object;
    struct connection *connection = protocol->connection;
    callback_begins(operation, OP_opened, error);
    if (error != NULL || writer == NULL || handle == NULL) disagree("no client came");
    if (handle != protocol->reader->thing.handle) disagree("another's reader");
    thing_begin(&connection->writer, WRITER, writer, connection->loop);
    connection->has_writer = true;
    callback_ends(error);
}

static void protocol_is_lost(struct protocol *protocol, int code)
{
    struct reader *reader = protocol->reader;
    if (reader->lost) return;
    if (reader->stream != NULL) connection_over(reader->stream, code);
    else reader->lost = true, stream_ends(reader, code);
}

static void call_protocol(void)
{
    const struct pick chosen = pick(PROTOCOL);
    struct protocol *protocol = (struct protocol *)chosen.thing;
    struct connection *connection = protocol != NULL ? protocol->connection : NULL;
    size_t len;
    const char *bytes = chance_bytes(&len);
    int want = 0;
    switch (chance(12)) {
    case 0: case 1: {
        const struct pick other = pick_transport(&connection);
        CALLING(eddy_protocol_connection_made, "(%s, %s)", called(&chosen), called(&other));
        const int code = eddy_protocol_connection_made(chosen.handle, other.handle);
        if (chosen.code != 0 || other.code != 0) {
            reports_allowed[now_called] = true;
            answered_either(code, chosen.code != 0 ? chosen.code : other.code,
                            chosen.code != 0 ? chosen.or_code : other.or_code);
            return;
        }
        struct reader *reader = protocol->reader;
        if (protocol->thing.loop != connection->loop) want = EDDY_ESTALE, report_due();
        else if (protocol->made || reader->lost ||
                 (reader->stream != connection &&
                  (reader->stream != NULL || connection->joined || connection->lost || connection->face != CUSTOM)))
            want = EDDY_ESTATE;
        if (answered_for(&chosen, code, want) != 0) return;
        protocol->made = true;
        if (reader->stream == NULL) stream_joined(connection, reader);
        protocol->connection = connection;
        if (!reader->thing.live) {
            report_due(); /* and is aborted */
            connection_aborts(connection);
        } else if (protocol->has_client && !connection->has_writer) {
            protocol->client->done = false;
            operation_begins(protocol->client, -1, true);
            connection->has_writer = true;
        }
        break;
    }
    case 2:
        if (chosen.code == 0 && !once_in(6)) return;
        CALLING(eddy_protocol_eof_received, "(%s)", called(&chosen));
        told_for(&chosen, eddy_protocol_eof_received(chosen.handle), protocol != NULL && !protocol->reader->lost, 0);
        if (chosen.code == 0 && !protocol->reader->lost) stream_ends(protocol->reader, 0);
        break;
    case 3:
        CALLING(eddy_protocol_pause_writing, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_protocol_pause_writing(chosen.handle), 0) == 0)
            protocol->writing_paused = true;
        break;
    case 4: case 5:
        CALLING(eddy_protocol_resume_writing, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_protocol_resume_writing(chosen.handle), 0) == 0)
            protocol->writing_paused = false;
        break;
    case 6: {
        if (chosen.code == 0 && !once_in(4)) return;
        const int code = once_in(2) ? 0 : once_in(3) ? -(int)chance(50) : (int)chance(9);
        CALLING(eddy_protocol_connection_lost, "(%s, %d)", called(&chosen), code);
        const int result = eddy_protocol_connection_lost(chosen.handle, code, once_in(2) ? NULL : "by chance");
        if (answered_for(&chosen, result, protocol != NULL && protocol->reader->lost ? EDDY_ESTATE : 0) == 0)
            protocol_is_lost(protocol, code);
        break;
    }
    case 7:
        if (chosen.code == 0 && !once_in(6)) return;
        CALLING(eddy_protocol_free, "(%s)", called(&chosen));
        eddy_protocol_free(chosen.handle);
        freed_for(&chosen);
        if (chosen.code == 0) {
            if (protocol->made || protocol->reader->stream != NULL) protocol_is_lost(protocol, 0);
            protocol->thing.live = false;
        }
        break;
    default:
        if (once_in(30)) len = SIZE_MAX - chance(3), want = EDDY_EINVAL;
        if (once_in(30)) bytes = NULL, want = len > 0 ? EDDY_EINVAL : want;
        CALLING(eddy_protocol_data_received, "(%s, \"%.*s\", %zu)", called(&chosen),
                want != 0 || bytes == NULL ? 0 : (int)len, bytes, len);
        if (want == 0 && protocol != NULL && (protocol->reader->lost || protocol->reader->eof)) want = EDDY_ESTATE;
        if (answered_for(&chosen, eddy_protocol_data_received(chosen.handle, bytes, len), want) != 0) return;
        if (protocol->reader->thing.live) reader_gets(protocol->reader, bytes, len);
    }
}

/* When the loops have settled, what a transport is to be told has been told. */
static void custom_settled(const struct connection *connection)
{
    if (connection->released) return;
    const int number = connection->transport.number;
    if (connection->lost) disagree("transport%d is lost, and not released", number);
    if (connection->aborted && !connection->abort_told) disagree("transport%d is not told to abort", number);
    if (connection->aborted) return;
    if (connection->has_writer && connection->out.len > 0)
        disagree("transport%d was not given all that was written", number);
    if (connection->eof_asked && !connection->eof_told && !connection->closing)
        disagree("transport%d is not told of the end", number);
    if (connection->closing && !connection->close_told) disagree("transport%d is not told to close", number);
    bool or_not;
    if (connection->reader != NULL && connection->reader->eof) return; /* nothing comes that could be held back */
    if (!connection->closing && connection->can_pause &&
        reading_is_paused(connection, &or_not) != connection->pause_told && !or_not)
        disagree("transport%d is %s", number, connection->pause_told ? "still paused" : "not paused");
}

#endif
