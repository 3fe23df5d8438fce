/* Calls on readers, whoever feeds them. */
#ifndef EDDY_MODEL_READERS_H
#define EDDY_MODEL_READERS_H

#include "loops.h"

static const char *const read_names[] = {"read",    "readline", "readexactly", "readuntil",
                                         "readall", "peek",     "read_into"};

/* The most that a limit or a count may be. */
enum { LIMIT_SHIFT = 2 };

static struct reader *reader_made(eddy_reader *handle, struct loop *loop, size_t limit)
{
    struct reader *reader = fresh(sizeof *reader);
    thing_begin(&reader->thing, READER, handle, loop);
    reader->limit = limit;
    return reader;
}

static struct pick pick_reader(struct reader **reader)
{
    const struct pick chosen = pick(READER);
    *reader = (struct reader *)chosen.thing;
    return chosen;
}

/* ---- reads --------------------------------------------------------------------------------------------- */

static void was_read(eddy_reader *handle, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct operation_of *operation = arg;
    struct reader *reader = operation->object;
    const struct request *request = &operation->request;
    const int code = callback_begins(operation, OP_read, error);
    if (handle != reader->thing.handle) disagree("the callback of another reader");
    if (reader->read == operation) reader->read = NULL;
    if (error != NULL && len != 0) disagree("bytes and an error");
    if (error == NULL && request->kind != READ_INTO && bytes[len] != '\0') disagree("bytes without a NUL");
    line_append(" %s \"%.*s\"", read_names[request->kind], (int)(len < 60 ? len : 60), len > 0 ? bytes : "");
    if (operation->loop->freeing) goto out;
    if (operation->canceled || !reader->thing.live) {
        code_is(code, EDDY_ECANCELED);
        reading_regulated(reader);
        goto out;
    }
    if (vague_reader(reader)) {
        struct connection *stream = reader->stream;
        size_t partial_len = 0;
        const char *partial = eddy_error_partial(error, &partial_len);
        const bool took = code == 0 && request->kind != PEEK;
        if (code != 0 && code != EDDY_EINCOMPLETE && code != EDDY_ELIMIT && code != EDDY_ELOST &&
            code != EDDY_ETIMEDOUT && code != EDDY_ETLS)
            disagree("no read of a connection ends like that");
        if (code == EDDY_ETIMEDOUT && operation->due == EDDY_NEVER && !stream->timed)
            disagree("late, without a time");
        if (code == EDDY_EINCOMPLETE && request->kind != PEEK && request->kind != READEXACTLY &&
            request->kind != READUNTIL)
            disagree("incomplete");
        if (code == EDDY_ELIMIT && request->kind != READLINE && request->kind != READUNTIL &&
            request->kind != READALL)
            disagree("no limit");
        if (code == 0 && request->kind == READEXACTLY && len != request->n) disagree("not exactly");
        if (code == 0 && request->n != EDDY_UNTIL_EOF && (request->kind == READ || request->kind == READ_INTO) &&
            len > request->n)
            disagree("too much");
        if (code == EDDY_ELIMIT && request->kind == READLINE)
            stream->untracked = true; /* how much is dropped is not told */
        const char *came = code == 0 ? bytes : partial;
        const size_t came_len = code == 0 ? len : partial_len;
        if (!stream->untracked && stream->peer != NULL && came_len > 0) {
            if (came_len > reader->bytes.len || memcmp(came, reader->bytes.at, came_len) != 0)
                disagree("other bytes came than were written: \"%.*s\"", (int)(came_len < 60 ? came_len : 60), came);
            if (took || (code == EDDY_EINCOMPLETE && request->kind != PEEK)) bytes_take(&reader->bytes, came_len);
        }
        goto out;
    }
    const struct outcome outcome = outcome_of(reader, request);
    if (outcome.waits) {
        in_call = true, time_is(operation->loop, eddy_loop_time(operation->loop->thing.handle)), in_call = false;
        if (operation->due > operation->loop->now) disagree("there is nothing to be told, and time is left");
        code_is(code, EDDY_ETIMEDOUT);
        reading_regulated(reader);
        goto out;
    }
    code_is(code, outcome.code);
    if (code == 0) {
        if (len != outcome.len || (len > 0 && memcmp(bytes, reader->bytes.at, len) != 0))
            disagree("\"%.*s\" was read, predicted was \"%.*s\"", (int)len, bytes, (int)outcome.len,
                     reader->bytes.at);
        if (request->kind == READ_INTO && len > 0 && bytes != request->into) disagree("not into that memory");
    } else if (code == EDDY_EINCOMPLETE && !outcome.is_failure) {
        size_t partial_len = 0;
        const char *partial = eddy_error_partial(error, &partial_len);
        if (eddy_error_expected(error) != outcome.expected)
            disagree("expected %zu, predicted %zu", eddy_error_expected(error), outcome.expected);
        if (partial == NULL || partial_len != outcome.len || partial[partial_len] != '\0' ||
            (partial_len > 0 && memcmp(partial, reader->bytes.at, partial_len) != 0))
            disagree("the partial result has %zu bytes, predicted %zu", partial_len, outcome.len);
    } else if (code == EDDY_ELIMIT && !outcome.is_failure && outcome.consumed != SIZE_MAX) {
        if (eddy_error_consumed(error) != outcome.consumed)
            disagree("consumed %zu, predicted %zu", eddy_error_consumed(error), outcome.consumed);
    }
    reader_gives(reader, &outcome);
out:
    free(request->into);
    callback_ends(error);
}

static void call_reader_read(void)
{
    struct reader *reader;
    const struct pick chosen = pick_reader(&reader);
    struct loop *loop = reader != NULL ? reader->thing.loop : NULL;
    struct operation_of *operation = operation_made(OP_read, loop, reader);
    struct request *request = &operation->request;
    static const char *const separators[] = { "\n", "a", "b", "ab", "ba", "aab", "aba", "\na", "bb\n", "abab", "" };
    eddy_bytes any[3];
    eddy_op receipt;
    const eddy_read_cb cb = once_in(50) ? NULL : was_read;
    int want = cb == NULL ? EDDY_EINVAL : 0;
    *request = (struct request){ .kind = (enum read_kind)chance(7), .n = chance_size() };
    if (request->kind == READLINE) {
        strcpy(request->separators[0], "\n");
        request->separator_count = 1;
    } else if (request->kind == READUNTIL) {
        request->separator_count = once_in(2) ? 1 : chance(4);
        for (size_t i = 0; i < request->separator_count; i++) {
            strcpy(request->separators[i], separators[chance(10 + once_in(10))]);
            any[i] = (eddy_bytes){ request->separators[i], strlen(request->separators[i]) };
            if (any[i].len == 0) want = EDDY_EINVAL;
            if (once_in(50)) any[i] = (eddy_bytes){once_in(2) ? NULL : "a", SIZE_MAX - chance(9)}, want = EDDY_EINVAL;
        }
        if (request->separator_count == 0) want = EDDY_EINVAL;
    }
    if (request->n > PTRDIFF_MAX && request->kind != READLINE && request->kind != READUNTIL &&
        !(request->n == EDDY_UNTIL_EOF && (request->kind == READ || request->kind == READALL)))
        want = EDDY_EINVAL;
    if (want == 0 && reader != NULL && reader->read != NULL) want = EDDY_EBUSY;
    const unsigned long long n = request->n;
    switch (request->kind) {
    case READ:
        CALLING(eddy_reader_read, "(%s, %llu)", called(&chosen), n);
        receipt = eddy_reader_read(chosen.handle, request->n, cb, operation);
        break;
    case READLINE:
        CALLING(eddy_reader_readline, "(%s)", called(&chosen));
        receipt = eddy_reader_readline(chosen.handle, cb, operation);
        break;
    case READEXACTLY:
        CALLING(eddy_reader_readexactly, "(%s, %llu)", called(&chosen), n);
        receipt = eddy_reader_readexactly(chosen.handle, request->n, cb, operation);
        break;
    case READUNTIL:
        if (request->separator_count == 1) {
            CALLING(eddy_reader_readuntil, "(%s, \"%s\", %zu)", called(&chosen), request->separators[0], any[0].len);
            receipt = eddy_reader_readuntil(chosen.handle, any[0].data, any[0].len, cb, operation);
        } else {
            CALLING(eddy_reader_readuntil_any, "(%s, %zu: \"%s\" \"%s\" \"%s\")", called(&chosen),
                    request->separator_count, request->separators[0], request->separators[1], request->separators[2]);
            receipt =
                eddy_reader_readuntil_any(chosen.handle, once_in(9) && request->separator_count == 0 ? NULL : any,
                                          request->separator_count, cb, operation);
        }
        break;
    case READALL:
        CALLING(eddy_reader_readall, "(%s, %llu)", called(&chosen), n);
        receipt = eddy_reader_readall(chosen.handle, request->n, cb, operation);
        break;
    case PEEK:
        CALLING(eddy_reader_peek, "(%s, %llu)", called(&chosen), n);
        receipt = eddy_reader_peek(chosen.handle, request->n, cb, operation);
        break;
    default:
        if (request->n > 70000) request->n = 30;
        if (want == EDDY_EINVAL && cb != NULL) want = reader != NULL && reader->read != NULL ? EDDY_EBUSY : 0;
        const bool nowhere = once_in(20);
        request->into = nowhere ? NULL : malloc(request->n + 1);
        if (nowhere && request->n > 0) want = EDDY_EINVAL;
        CALLING(eddy_reader_read_into, "(%s, %s, %zu)", called(&chosen), nowhere ? "NULL" : "buffer", request->n);
        receipt = eddy_reader_read_into(chosen.handle, request->into, request->n, cb, operation);
    }
    const bool was_accepted = accepted_for(&chosen, receipt, want);
    operation_begins(operation, receipt, was_accepted);
    if (!was_accepted) {
        free(request->into);
        return;
    }
    if (reader->timeout != EDDY_NEVER && reader->timeout != 0)
        operation->due = reader->timeout > EDDY_NEVER - loop->now ? EDDY_NEVER : loop->now + reader->timeout,
        loop->may_be_timed = true;
    reader->read = operation;
    reading_regulated(reader);
}

/* ---- feeding, looking and freeing ---------------------------------------------------------------------- */

static void read_is_canceled(struct reader *reader)
{
    if (reader->read != NULL) reader->read->canceled = true;
    reader->read = NULL;
}

static void call_reader_new(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    const size_t limit = once_in(12) ? chance_size() : 1 + chance(20);
    const bool fine = limit > 0 && limit <= PTRDIFF_MAX / 4;
    CALLING(eddy_reader_new, "(%s, %zu)", called(&chosen), limit);
    eddy_reader *handle = eddy_reader_new(chosen.handle, limit);
    const bool there = chosen.code == 0 && fine && !(dying(&chosen) && handle == NULL);
    if (!there) report_due();
    told_pointer(handle, there);
    if (there) reader_made(handle, loop, limit);
}

/* What is freed is free at once; who waits on it is told in the next round. */
static void reader_freed(struct reader *reader)
{
    if (!reader->thing.live) return;
    reader->thing.live = false;
    read_is_canceled(reader);
    reader->paused = false;
}

static void call_reader_free(void)
{
    struct reader *reader;
    const struct pick chosen = pick_reader(&reader);
    if (chosen.code == 0 && !once_in(4)) return;
    CALLING(eddy_reader_free, "(%s)", called(&chosen));
    eddy_reader_free(chosen.handle);
    freed_for(&chosen);
    if (chosen.code == 0) reader_freed(reader);
}

static void call_reader_feed(void)
{
    struct reader *reader;
    const struct pick chosen = pick_reader(&reader);
    size_t len;
    const char *bytes = chance_bytes(&len);
    int want = reader != NULL && reader->eof ? EDDY_ESTATE : 0;
    if (reader != NULL && reader->stream != NULL && reader->stream->face != CUSTOM) return;
    switch (chance(8)) {
    default:
        if (once_in(30)) len = SIZE_MAX - chance(3), want = EDDY_EINVAL;
        if (once_in(30)) bytes = NULL, want = len > 0 ? EDDY_EINVAL : want;
        CALLING(eddy_reader_feed_data, "(%s, \"%.*s\", %zu)", called(&chosen),
                bytes == NULL || len > 4096 ? 0 : (int)len, bytes == NULL ? "" : bytes, len);
        if (answered_for(&chosen, eddy_reader_feed_data(chosen.handle, bytes, len), want) == 0)
            reader_gets(reader, bytes, len);
        break;
    case 0:
        if (!once_in(6)) return;
        CALLING(eddy_reader_feed_eof, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_reader_feed_eof(chosen.handle), 0) == 0)
            reader->eof = true, reading_regulated(reader);
        break;
    case 1: {
        if (!once_in(6)) return;
        const int code = once_in(5) ? 0 : once_in(4) ? -(int)chance(50) : 1 + (int)chance(5);
        CALLING(eddy_reader_set_exception, "(%s, %d)", called(&chosen), code);
        const int result = eddy_reader_set_exception(chosen.handle, code, once_in(2) ? NULL : "by chance");
        if (answered_for(&chosen, result, code == 0 ? EDDY_EINVAL : 0) == 0)
            reader->failed = code, reading_regulated(reader);
    }
    }
}

static void call_reader_look(void)
{
    struct reader *reader;
    const struct pick chosen = pick_reader(&reader);
    const char *bytes = NULL;
    switch (chance(4)) {
    case 0:
        CALLING(eddy_reader_at_eof, "(%s)", called(&chosen));
        const bool ended = eddy_reader_at_eof(chosen.handle);
        told_for(&chosen, ended,
                 vague_reader(reader) ? ended : reader != NULL && reader->eof && reader->bytes.len == 0, 0);
        break;
    case 1: {
        CALLING(eddy_reader_buffered, "(%s)", called(&chosen));
        const size_t len = eddy_reader_buffered(chosen.handle, once_in(4) ? NULL : &bytes);
        if (vague_reader(reader)) {
            told_for(&chosen, (long long)len, (long long)len, 0);
            if (chosen.code == 0 && !reader->stream->untracked && reader->stream->peer != NULL &&
                reader->read == NULL &&
                (len > reader->bytes.len || (bytes != NULL && len > 0 && memcmp(bytes, reader->bytes.at, len) != 0)))
                disagree("other bytes are buffered than were written");
            break;
        }
        told_for(&chosen, (long long)len, reader != NULL ? (long long)reader->bytes.len : 0, 0);
        if (bytes != NULL && len > 0 && memcmp(bytes, reader->bytes.at, len) != 0)
            disagree("other bytes are buffered");
        break;
    }
    case 2: {
        CALLING(eddy_reader_exception, "(%s)", called(&chosen));
        const eddy_error *error = eddy_reader_exception(chosen.handle);
        pointer_for(&chosen, error, vague_reader(reader) ? error != NULL : reader != NULL && reader->failed != 0);
        if (error != NULL && !vague_reader(reader) && eddy_error_code(error) != reader->failed)
            disagree("its code is %d, predicted was %d", eddy_error_code(error), reader->failed);
        break;
    }
    default: {
        const uint64_t timeout = once_in(4) ? 0 : once_in(4) ? EDDY_NEVER : once_in(10) ? EDDY_NEVER - 1 : chance(20);
        CALLING(eddy_reader_set_timeout, "(%s, %llu)", called(&chosen), (unsigned long long)timeout);
        if (answered_for(&chosen, eddy_reader_set_timeout(chosen.handle, timeout), 0) == 0) reader->timeout = timeout;
    }
    }
}

#endif
