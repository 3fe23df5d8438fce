/* What a read must give: from the bytes that have come, the end, and the failure. */
#ifndef EDDY_MODEL_READING_H
#define EDDY_MODEL_READING_H

#include "objects.h"

struct outcome {
    bool waits;
    int code;
    size_t len;     /* of what is given, or of the partial result */
    size_t takes;   /* from the buffer */
    size_t expected, consumed;
    bool drops_line;
    bool is_failure; /* of the reader: the code is whatever it was given, and tells no more */
};

/* Where the match that ends first begins and ends; of two that end together the shorter one. */
static bool separator_found(const struct bytes *bytes, const struct request *request, size_t *begin, size_t *end)
{
    for (size_t stop = 1; stop <= bytes->len; stop++) {
        bool found = false;
        for (size_t i = 0; i < request->separator_count; i++) {
            const char *separator = request->separators[i];
            const size_t len = strlen(separator);
            if (len > stop || memcmp(bytes->at + stop - len, separator, len) != 0) continue;
            if (!found || stop - len > *begin) *begin = stop - len;
            *end = stop;
            found = true;
        }
        if (found) return true;
    }
    return false;
}

static struct outcome given(size_t len)
{
    return (struct outcome){ .len = len, .takes = len };
}

/* Not enough has come: then the failure, the end, or more of it. */
static struct outcome lacking(const struct reader *reader, bool is_incomplete, size_t expected)
{
    if (reader->failed != 0) return (struct outcome){ .code = reader->failed, .is_failure = true };
    if (!reader->eof) return (struct outcome){ .waits = true };
    struct outcome outcome = given(reader->bytes.len);
    if (is_incomplete) outcome.code = EDDY_EINCOMPLETE, outcome.expected = expected;
    return outcome;
}

static struct outcome outcome_of(const struct reader *reader, const struct request *request)
{
    const size_t len = reader->bytes.len, n = request->n;
    size_t begin = 0, end = 0, longest = 0;
    struct outcome outcome;
    /* A failure is told by each read that finds nothing before it, also by one that asks for nothing. */
    if (len == 0 && reader->failed != 0) return lacking(reader, false, 0);
    switch (request->kind) {
    case READ:
    case READ_INTO:
        if (n == EDDY_UNTIL_EOF && request->kind == READ) return lacking(reader, false, 0);
        if (len == 0 && n > 0) return lacking(reader, false, 0);
        return given(len < n ? len : n);
    case READALL:
        if (n == EDDY_UNTIL_EOF || len <= n) return lacking(reader, false, 0);
        return (struct outcome){ .code = EDDY_ELIMIT, .consumed = SIZE_MAX };
    case READEXACTLY:
        return len >= n ? given(n) : lacking(reader, true, n);
    case PEEK:
        outcome = len >= n ? given(n) : lacking(reader, true, n);
        outcome.takes = 0;
        return outcome;
    default: break;
    }
    if (separator_found(&reader->bytes, request, &begin, &end)) {
        if (begin <= reader->limit) return given(end);
        outcome = (struct outcome){ .code = EDDY_ELIMIT, .consumed = begin };
    } else {
        for (size_t i = 0; i < request->separator_count; i++)
            if (strlen(request->separators[i]) > longest) longest = strlen(request->separators[i]);
        outcome = (struct outcome){ .code = EDDY_ELIMIT, .consumed = len + 1 > longest ? len + 1 - longest : 0 };
        if (outcome.consumed <= reader->limit) return lacking(reader, request->kind != READLINE, 0);
    }
    outcome.drops_line = request->kind == READLINE;
    return outcome;
}

/* ---- the buffer ---------------------------------------------------------------------------------------- */

/* A read that waits lets the transport go on; without one more than twice the limit pauses it, until the limit is
 * reached from above. */
static void reading_regulated(struct reader *reader)
{
    if (vague_reader(reader)) return;
    const bool asked = reader->read != NULL;
    const bool waits = asked && !reader->read->canceled && outcome_of(reader, &reader->read->request).waits;
    if (waits && (reader->paused || reader->may_be_paused))
        reader->resumes = true; /* when the read is looked at: next round */
    /* With a read that has its answer and was not told it, and after that between the two marks, either is right; so
     * it is while the rest of a line that was too long is to come, and nobody reads. */
    const bool between = asked || (reader->may_be_paused && reader->bytes.len <= 2 * reader->limit);
    reader->may_be_paused = !waits && (reader->skipping || (reader->bytes.len > reader->limit && between));
    if (waits || reader->bytes.len <= reader->limit)
        reader->paused = false;
    else if (reader->bytes.len > 2 * reader->limit)
        reader->paused = true;
}

/* Of a line that was too long the rest is dropped, as it comes. */
static void reader_gets(struct reader *reader, const char *bytes, size_t len)
{
    if (reader->skipping) {
        const char *newline = len > 0 ? memchr(bytes, '\n', len) : NULL;
        if (newline == NULL) return;
        len -= (size_t)(newline + 1 - bytes);
        bytes = newline + 1;
        reader->skipping = false;
    }
    bytes_add(&reader->bytes, bytes, len);
    reading_regulated(reader);
}

static void reader_gives(struct reader *reader, const struct outcome *outcome)
{
    if (outcome->drops_line) {
        const char *newline = memchr(reader->bytes.at, '\n', reader->bytes.len);
        reader->skipping = newline == NULL;
        bytes_take(&reader->bytes, newline == NULL ? reader->bytes.len : (size_t)(newline + 1 - reader->bytes.at));
    } else {
        bytes_take(&reader->bytes, outcome->takes);
    }
    reading_regulated(reader);
}

#endif
