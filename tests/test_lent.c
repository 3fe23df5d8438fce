/* Reads that look without taking, and memory of the caller's: read into, and sent from. */
#include "calls.h"
#include "ends.h"

#include <limits.h>
#include <sys/mman.h>

enum { MEGABYTE = 1000000 };

/* Where the last recv of the watched descriptor went, and how many there were. */
static struct { int fd, count; void *where; } received = { .fd = -1 };

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
    if (fd == received.fd) {
        received.where = bytes;
        received.count++;
    }
    return syscall(SYS_recvfrom, fd, bytes, len, flags, NULL, NULL);
}

/* ---- peek ---------------------------------------------------------------------------------------------- */

/* As got_read(), but no NUL follows. */
static void got_into(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct got *got = arg;
    got->reader = reader;
    got_one(got, bytes, len, error);
    if (got->then != NULL) got->then(got, got->data);
}

TEST(what_is_shown_stays_for_reads_of_every_kind, "")
{
    for (int fed = 0; fed < 2; fed++) {
        struct end end = end_tcp(NULL);
        eddy_reader *reader = fed ? eddy_reader_new(end.loop, 100) : end.reader;
        const eddy_bytes ends[] = { { "45", 2 }, { "xyz", 3 } };
        char into[16];
        GOT(shown);
        GOT(read);
        for (int kind = 0; kind < 7; kind++) {
            START(&shown, eddy_reader_peek(reader, 7, got_read, &shown));
            if (fed) FEED(reader, "123456789\n");
            else plain_send_text(end.peer, "123456789\n");
            RUN_UNTIL(end.loop, shown.count == 3 * kind + 1);
            CHECK_GOT(shown, 3 * kind + 1, "1234567");
            START(&shown, eddy_reader_peek(reader, 1, got_read, &shown));
            RUN_UNTIL(end.loop, shown.count == 3 * kind + 2);
            CHECK_GOT(shown, 3 * kind + 2, "1");
            START(&shown, eddy_reader_peek(reader, 10, got_read, &shown));
            RUN_UNTIL(end.loop, shown.count == 3 * kind + 3);
            CHECK_GOT(shown, 3 * kind + 3, "123456789\n");
            CHECK_INT(eddy_reader_buffered(reader, NULL), 10);
            switch (kind) {
            case 0: START(&read, eddy_reader_read(reader, 100, got_read, &read)); break;
            case 1: START(&read, eddy_reader_readline(reader, got_read, &read)); break;
            case 2: START(&read, eddy_reader_readexactly(reader, 10, got_read, &read)); break;
            case 3: START(&read, eddy_reader_readuntil(reader, "9\n", 2, got_read, &read)); break;
            case 4: START(&read, eddy_reader_readuntil_any(reader, ends, 2, got_read, &read)); break;
            case 5: START(&read, eddy_reader_read_into(reader, into, 16, got_into, &read)); break;
            default:
                if (fed) CHECK_INT(eddy_reader_feed_eof(reader), 0);
                else end_close_peer(&end);
                START(&read, eddy_reader_readall(reader, 10, got_read, &read));
            }
            RUN_UNTIL(end.loop, read.count);
            CHECK_INT(read.code, 0);
            if (kind == 4) {
                CHECK_BYTES(read.bytes, read.len, "12345");
                START(&read, eddy_reader_read(reader, 100, got_read, &read));
                RUN_UNTIL(end.loop, read.count == 2);
                CHECK_BYTES(read.bytes, read.len, "6789\n");
            } else {
                CHECK_BYTES(read.bytes, read.len, "123456789\n");
            }
            read.count = 0;
        }
        end_free(&end);
    }
}

static void peek_again(struct got *got, void *data)
{
    int *left = data;
    const char *bytes;
    CHECK_BYTES(got->bytes, got->len, "abc");
    if (*left % 7 == 0) CHECK_INT(eddy_reader_buffered(got->reader, &bytes), 6);
    if (--*left > 0) START(got, eddy_reader_peek(got->reader, 3, got_read, got));
}

TEST(peeking_on_and_on_in_one_turn_shows_the_same, "")
{
    struct end end = end_tcp(NULL);
    GOT(shown);
    int left = 3000;
    shown.then = peek_again;
    shown.data = &left;
    START(&shown, eddy_reader_peek(end.reader, 3, got_read, &shown));
    plain_send_text(end.peer, "abcdef");
    RUN_UNTIL(end.loop, left == 0);
    CHECK_INT(shown.count, 3000);
    end_free(&end);
}

TEST(more_than_the_limit_can_be_looked_at, "")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = 10));
    GOT(shown);
    GOT(read);
    char *bytes = plain_fill(200000);
    START(&shown, eddy_reader_peek(end.reader, 200000, got_read, &shown));
    for (size_t at = 0; at < 200000; at += 1000) {
        plain_send(end.peer, bytes + at, 1000);
        settle(end.loop);
    }
    RUN_UNTIL(end.loop, shown.count);
    CHECK_INT(shown.len, 200000);
    plain_check_pattern(shown.bytes, shown.len, 0);
    START(&read, eddy_reader_readexactly(end.reader, 200000, got_read, &read));
    RUN_UNTIL(end.loop, read.count);
    plain_check_pattern(read.bytes, read.len, 0);
    free(bytes);
    end_free(&end);
}

TEST(peeking_beyond_the_end_tells_what_there_is_and_leaves_it, "")
{
    struct end end = end_tcp(NULL);
    GOT(shown);
    GOT(read);
    plain_send_text(end.peer, "abc");
    end_close_peer(&end);
    for (int i = 1; i <= 3; i++) {
        START(&shown, eddy_reader_peek(end.reader, 4, got_read, &shown));
        RUN_UNTIL(end.loop, shown.count == i);
        CHECK_INT(shown.code, EDDY_EINCOMPLETE);
        CHECK_INT(shown.expected, 4);
        CHECK_BYTES(shown.bytes, shown.len, "abc");
        CHECK(!eddy_reader_at_eof(end.reader));
    }
    START(&shown, eddy_reader_peek(end.reader, 3, got_read, &shown));
    RUN_UNTIL(end.loop, shown.count == 4);
    CHECK_GOT(shown, 4, "abc");
    START(&read, eddy_reader_read(end.reader, 10, got_read, &read));
    RUN_UNTIL(end.loop, read.count);
    CHECK_GOT(read, 1, "abc");
    CHECK(eddy_reader_at_eof(end.reader));
    START(&shown, eddy_reader_peek(end.reader, 1, got_read, &shown));
    RUN_UNTIL(end.loop, shown.count == 5);
    CHECK_ENDED(shown, 5, EDDY_EINCOMPLETE);
    CHECK_INT(shown.len, 0);
    end_free(&end);
}

TEST(peeking_at_nothing_is_answered_at_once, "")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = eddy_reader_new(loop, 100);
    GOT(shown);
    START(&shown, eddy_reader_peek(reader, 0, got_read, &shown));
    settle(loop);
    CHECK_GOT(shown, 1, "");
    FEED(reader, "abc");
    START(&shown, eddy_reader_peek(reader, 0, got_read, &shown));
    settle(loop);
    CHECK_GOT(shown, 2, "");
    CHECK_INT(eddy_reader_buffered(reader, NULL), 3);
    CHECK_INT(eddy_reader_peek(reader, (size_t)SSIZE_MAX + 1, got_read, &shown), EDDY_EINVAL);
    CHECK_INT(eddy_reader_peek(reader, SIZE_MAX, got_read, &shown), EDDY_EINVAL);
    CHECK_INT(eddy_reader_peek(reader, 1, NULL, NULL), EDDY_EINVAL);
    eddy_loop_free(loop);
}

/* ---- readall, readuntil_any, buffered ------------------------------------------------------------------ */

TEST(readall_has_a_bound_and_past_it_everything_stays, "")
{
    struct end end = end_tcp(NULL);
    GOT(all);
    plain_send_text(end.peer, "1234567");
    for (int i = 1; i <= 3; i++) { /* whether or not the end has come */
        START(&all, eddy_reader_readall(end.reader, 6, got_read, &all));
        RUN_UNTIL(end.loop, all.count == i);
        CHECK_ENDED(all, i, EDDY_ELIMIT);
        CHECK_INT(all.consumed, 6);
        CHECK_INT(eddy_reader_buffered(end.reader, NULL), 7);
        if (i == 2) end_close_peer(&end);
    }
    START(&all, eddy_reader_readall(end.reader, 0, got_read, &all));
    RUN_UNTIL(end.loop, all.count == 4);
    CHECK_ENDED(all, 4, EDDY_ELIMIT);
    START(&all, eddy_reader_readall(end.reader, 7, got_read, &all));
    RUN_UNTIL(end.loop, all.count == 5);
    CHECK_GOT(all, 5, "1234567");
    START(&all, eddy_reader_readall(end.reader, 0, got_read, &all));
    RUN_UNTIL(end.loop, all.count == 6);
    CHECK_GOT(all, 6, "");
    CHECK_INT(eddy_reader_readall(end.reader, SIZE_MAX - 1, got_read, &all), EDDY_EINVAL);
    START(&all, eddy_reader_readall(end.reader, EDDY_UNTIL_EOF, got_read, &all));
    RUN_UNTIL(end.loop, all.count == 7);
    CHECK_GOT(all, 7, "");
    end_free(&end);
}

TEST(of_several_separators_the_match_that_ends_first_counts_wherever_the_bytes_are_cut, "")
{
    static const char text[] = "one\r\ntwo--stop!three\nfour";
    static const char *const parts[] = { "one\r\n", "two--stop!", "three\n" };
    for (size_t cut = 0; cut < sizeof text; cut++) {
        eddy_loop *loop = eddy_loop_new();
        eddy_reader *reader = eddy_reader_new(loop, 100);
        char end[] = "\n", long_one[] = "--stop!";
        eddy_bytes separators[] = { { long_one, 7 }, { end, 1 }, { "\r\nX", 3 }, { "-stop!?", 7 } };
        GOT(part);
        CHECK_INT(eddy_reader_feed_data(reader, text, cut), 0);
        for (int i = 0; i < 3; i++) {
            START(&part, eddy_reader_readuntil_any(reader, separators, 4, got_read, &part));
            memset(end, '?', 1), memset(long_one, '?', 7), separators[0].len = 1; /* they were copied */
            settle(loop);
            if (part.count == i) CHECK_INT(eddy_reader_feed_data(reader, text + cut, sizeof text - 1 - cut), 0);
            settle(loop);
            CHECK_INT(part.count, i + 1);
            CHECK_INT(part.code, 0);
            CHECK_STR(part.bytes, parts[i]);
            memcpy(end, "\n", 1), memcpy(long_one, "--stop!", 7), separators[0].len = 7;
        }
        CHECK_INT(eddy_reader_feed_eof(reader), 0);
        START(&part, eddy_reader_readuntil_any(reader, separators, 4, got_read, &part));
        settle(loop);
        CHECK_ENDED(part, 4, EDDY_EINCOMPLETE);
        CHECK_INT(part.expected, 0);
        separators[1].len = 0;
        CHECK_INT(eddy_reader_readuntil_any(reader, separators, 4, got_read, &part), EDDY_EINVAL);
        CHECK_INT(eddy_reader_readuntil_any(reader, separators, 0, got_read, &part), EDDY_EINVAL);
        CHECK_INT(eddy_reader_readuntil_any(reader, NULL, 1, got_read, &part), EDDY_EINVAL);
        eddy_loop_free(loop);
    }
}

static void look_at_the_rest(struct got *got, void *data)
{
    const char *bytes = NULL;
    char *lent = data;
    CHECK_BYTES(got->bytes, got->len, "one\n");
    CHECK_INT(eddy_reader_buffered(got->reader, &bytes), 8);
    CHECK_BYTES(bytes, 8, "two\nthre");
    memcpy(lent, bytes, 8);
    CHECK_INT(eddy_reader_buffered(got->reader, NULL), 8);
}

TEST(what_is_not_asked_for_can_be_looked_at_also_from_within_a_callback, "")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    GOT(rest);
    char lent[8];
    const char *bytes = "x";
    CHECK_INT(eddy_reader_buffered(end.reader, &bytes), 0);
    line.then = look_at_the_rest;
    line.data = lent;
    plain_send_text(end.peer, "one\ntwo\nthre");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count);
    CHECK_BYTES(lent, 8, "two\nthre");
    START(&rest, eddy_reader_readline(end.reader, got_read, &rest));
    RUN_UNTIL(end.loop, rest.count);
    CHECK_GOT(rest, 1, "two\n");
    CHECK_INT(eddy_reader_buffered(end.reader, &bytes), 4);
    CHECK_BYTES(bytes, 4, "thre");
    end_free(&end);
}

/* ---- read_into ----------------------------------------------------------------------------------------- */

/* Memory of which every touch can be forbidden. */
static char *pages(size_t len)
{
    char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void forbid(char *memory, size_t len)
{
    CHECK_INT(mprotect(memory, len, PROT_NONE), 0);
}

TEST(what_is_read_into_memory_of_the_callers_is_received_there, "")
{
    struct end end = end_tcp(NULL);
    GOT(into);
    GOT(line);
    char memory[64];
    settle(end.loop);
    received.fd = end.fd;
    for (int i = 1; i <= 3; i++) {
        memset(memory, '?', sizeof memory);
        START(&into, eddy_reader_read_into(end.reader, memory, 40, got_into, &into));
        plain_send_text(end.peer, "straight\nahead");
        RUN_UNTIL(end.loop, into.count == i);
        CHECK_GOT(into, i, "straight\nahead");
        CHECK(received.where == memory);
        CHECK(memcmp(memory, "straight\nahead????", 18) == 0); /* and no NUL */
    }
    /* What had come before comes first, and nothing is received for it. */
    plain_send_text(end.peer, "line\nrest of it");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count);
    received.where = NULL;
    memset(memory, '?', sizeof memory);
    START(&into, eddy_reader_read_into(end.reader, memory, 4, got_into, &into));
    RUN_UNTIL(end.loop, into.count == 4);
    CHECK_GOT(into, 4, "rest");
    CHECK(memcmp(memory, "rest????", 8) == 0);
    CHECK(received.where != memory);
    START(&into, eddy_reader_read_into(end.reader, memory, 64, got_into, &into));
    RUN_UNTIL(end.loop, into.count == 5);
    CHECK_GOT(into, 5, " of it");
    CHECK(received.where != memory);
    received.fd = -1;
    end_free(&end);
}

TEST(memory_that_nothing_came_into_is_left_alone_afterwards, "")
{
    for (int how = 0; how < 6; how++) {
        struct end end = end_tcp(NULL);
        GOT(into);
        char *memory = pages(4096);
        memset(memory, '?', 4096);
        if (how == 1) CHECK_INT(eddy_reader_set_timeout(end.reader, 5), 0);
        const eddy_op op = START(&into, eddy_reader_read_into(end.reader, memory, 4096, got_into, &into));
        settle(end.loop);
        switch (how) {
        case 0: CHECK_INT(eddy_loop_cancel(end.loop, op), 0); break;
        case 1: break;
        case 2: end_reset_peer(&end); break;
        case 3: end_close_peer(&end); break;
        case 4: eddy_reader_free(end.reader); break;
        default: eddy_writer_free(end.writer); break;
        }
        RUN_UNTIL(end.loop, into.count);
        CHECK_INT(into.code, how == 1 ? EDDY_ETIMEDOUT : how == 2 ? EDDY_ELOST : how == 3 ? 0 : EDDY_ECANCELED);
        CHECK_INT(into.len, 0);
        CHECK(memory[0] == '?' && memory[4095] == '?');
        forbid(memory, 4096);
        if (end.peer >= 0) plain_send_text(end.peer, "too late\n");
        end_pump(end.loop, 10);
        if (how < 2) {
            GOT(line);
            CHECK_INT(eddy_reader_set_timeout(end.reader, 0), 0);
            START(&line, eddy_reader_readline(end.reader, got_read, &line));
            RUN_UNTIL(end.loop, line.count);
            CHECK_GOT(line, 1, "too late\n");
        }
        end_free(&end);
        CHECK_INT(into.count, 1);
        munmap(memory, 4096);
    }
}

TEST(reads_of_nothing_of_a_byte_and_of_a_megabyte_into_memory, "")
{
    struct end end = end_tcp(NULL);
    GOT(into);
    char byte = '?';
    START(&into, eddy_reader_read_into(end.reader, NULL, 0, got_into, &into));
    settle(end.loop);
    CHECK_GOT(into, 1, "");
    START(&into, eddy_reader_read_into(end.reader, &byte, 0, got_into, &into));
    settle(end.loop);
    CHECK_GOT(into, 2, "");
    CHECK_INT(byte, '?');
    CHECK_INT(eddy_reader_read_into(end.reader, NULL, 1, got_into, &into), EDDY_EINVAL);
    CHECK_INT(eddy_reader_read_into(end.reader, &byte, SIZE_MAX, got_into, &into), EDDY_EINVAL);
    CHECK_INT(eddy_reader_read_into(end.reader, &byte, 1, NULL, NULL), EDDY_EINVAL);
    plain_send_text(end.peer, "abc");
    for (int i = 0; i < 3; i++) {
        START(&into, eddy_reader_read_into(end.reader, &byte, 1, got_into, &into));
        CHECK_INT(eddy_reader_readline(end.reader, got_read, &into), EDDY_EBUSY);
        RUN_UNTIL(end.loop, into.count == 3 + i);
        CHECK_INT(byte, "abc"[i]);
    }
    char *sent = plain_fill(MEGABYTE), *memory = malloc(MEGABYTE);
    CHECK(memory != NULL);
    for (size_t at = 0, out = 0; at < MEGABYTE; at += into.len) {
        into.count = 0;
        START(&into, eddy_reader_read_into(end.reader, memory + at, MEGABYTE - at, got_into, &into));
        while (out < MEGABYTE) {
            ssize_t n = send(end.peer, sent + out, MEGABYTE - out, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0) break;
            out += (size_t)n;
        }
        RUN_UNTIL(end.loop, into.count);
        CHECK_INT(into.code, 0);
        CHECK(into.len > 0);
    }
    CHECK(memcmp(memory, sent, MEGABYTE) == 0);
    free(memory);
    free(sent);
    end_free(&end);
}

TEST(lines_and_reads_into_memory_by_turns_lose_nothing, "")
{
    unsigned seed = 7;
    const size_t total = 200000 / (size_t)eddy_test_slow();
    struct end end = end_unix(EDDY_OPTIONS(.limit = 100));
    char *sent = plain_fill(total + 1), memory[300];
    size_t out = 0, at = 0;
    for (size_t i = 30; i < total; i += 31) sent[i] = '\n';
    while (at < total) {
        GOT(read);
        const size_t n = 1 + (seed = seed * 1664525 + 1013904223) / 7 % 300;
        const bool by_line = seed / 64 % 3 == 0 && at / 31 < total / 31;
        memset(memory, '?', sizeof memory);
        if (by_line) START(&read, eddy_reader_readline(end.reader, got_read, &read));
        else START(&read, eddy_reader_read_into(end.reader, memory, n, got_into, &read));
        while (read.count == 0) {
            size_t some = seed / 1024 % 200 + 1;
            if (some > total - out) some = total - out;
            plain_send(end.peer, sent + out, some);
            out += some;
            CHECK(eddy_loop_run_once(end.loop, 1) >= 0);
        }
        CHECK_INT(read.code, 0);
        CHECK(read.len > 0 && at + read.len <= total);
        CHECK(memcmp(read.bytes, sent + at, read.len) == 0);
        if (!by_line && read.len < n) CHECK_INT(memory[read.len], '?');
        at += read.len;
    }
    free(sent);
    end_free(&end);
}

TEST(the_tail_of_a_line_that_was_too_long_is_not_received_into_memory, "")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = 10));
    GOT(line);
    GOT(into);
    char memory[32];
    plain_send_text(end.peer, "far longer than ten");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count);
    CHECK_ENDED(line, 1, EDDY_ELIMIT);
    START(&into, eddy_reader_read_into(end.reader, memory, 32, got_into, &into));
    plain_send_text(end.peer, " bytes\nnext");
    RUN_UNTIL(end.loop, into.count);
    CHECK_GOT(into, 1, "next");
    CHECK(into.bytes != memory && memcmp(memory, "next", 4) == 0);
    end_free(&end);
}

/* ---- write_static -------------------------------------------------------------------------------------- */

/* Lent bytes, whose owner spoils and frees them once they are the owner's again. */
struct lent {
    char *bytes;
    size_t len;
    int released;
    int order;
    bool in_call;
};

static void on_released(void *arg)
{
    struct lent *lent = arg;
    CHECK(!lent->in_call);
    CHECK_INT(lent->released, 0);
    lent->released++;
    lent->order = got_next_order();
    memset(lent->bytes, '#', lent->len); /* what were sent after this would be wrong */
    free(lent->bytes);
    lent->bytes = NULL;
}

/* The pattern, from some place on. */
static struct lent *lend_from(size_t from, size_t len)
{
    struct lent *lent = calloc(1, sizeof *lent);
    CHECK(lent != NULL);
    lent->bytes = malloc(len + 1);
    lent->len = len;
    CHECK(lent->bytes != NULL);
    for (size_t i = 0; i < len; i++) lent->bytes[i] = plain_pattern(from + i);
    return lent;
}

static int write_lent(eddy_writer *writer, struct lent *lent)
{
    lent->in_call = true;
    const int result = eddy_writer_write_static(writer, lent->bytes, lent->len, on_released, lent);
    CHECK_INT(lent->released, 0);
    lent->in_call = false;
    return result;
}

static void write_mix(unsigned seed, bool unix_socket)
{
    enum { STEPS = 400 };
    const size_t most[] = { 0, 1, 1000, 5000 };
    struct end end = unix_socket ? end_unix(NULL) : end_tcp(NULL);
    struct lent *lents[STEPS] = { NULL };
    static char got[65536];
    size_t written = 0, read = 0;
    int steps = STEPS / (eddy_test_slow() > 1 ? 4 : 1);
    end_narrow(&end, 32768);
    calls_watch(end.fd);
    for (int step = 0; step < steps || read < written;) {
        seed = seed * 1664525 + 1013904223;
        const unsigned what = seed >> 28;
        if (what == 15) calls.most = most[seed >> 20 & 3] == 1 && eddy_test_slow() > 1 ? 100 : most[seed >> 20 & 3];
        const size_t len = (seed >> 8) % ((seed >> 4 & 3) == 0 ? 100 : 30000);
        const size_t size = eddy_writer_get_write_buffer_size(end.writer);
        if (step == steps) calls.most = 0;
        if (step < steps && what < 8) {
            lents[step] = lend_from(written, what == 0 ? 0 : len);
            CHECK(write_lent(end.writer, lents[step]) >= 0);
            written += lents[step]->len;
            CHECK(eddy_writer_get_write_buffer_size(end.writer) <= size + lents[step++]->len);
        } else if (step < steps && what < 11) {
            struct lent *copied = lend_from(written, len);
            const size_t third = len / 3;
            const eddy_bytes lines[] = { { copied->bytes, third }, { copied->bytes + third, len - third } };
            if (what < 9) CHECK(eddy_writer_write(end.writer, copied->bytes, len) >= 0);
            else CHECK(eddy_writer_writelines(end.writer, lines, 2) >= 0);
            written += len;
            step++;
            on_released(copied);
            free(copied);
        } else if (step < steps && what == 11) {
            CHECK_INT(eddy_writer_flush(end.writer), 0);
        }
        if (what > 12 || step == steps) CHECK(eddy_loop_run_once(end.loop, step == steps && read == written) >= 0);
        if (what == 12 || step == steps || size > 500000) {
            long n = plain_look(end.peer, got, sizeof got);
            if (n > 0) {
                plain_check_pattern(got, (size_t)n, read);
                read += (size_t)n;
            }
        }
        CHECK(read + eddy_writer_get_write_buffer_size(end.writer) <= written);
    }
    calls_forget();
    settle(end.loop);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0);
    for (int i = 0; i < steps; i++) {
        if (lents[i] == NULL) continue;
        CHECK_INT(lents[i]->released, 1);
        free(lents[i]);
    }
    end_free(&end);
}

TEST(writes_of_every_kind_keep_their_order_byte_by_byte, "W1")
{
    for (unsigned seed = 1; seed <= (eddy_test_slow() > 1 ? 4 : 40); seed++) write_mix(seed, seed % 2 != 0);
}

TEST(lent_bytes_are_released_once_however_the_connection_ends, "a19")
{
    for (int how = 0; how < 7; how++) {
        struct end end = end_tcp(NULL);
        struct lent *first = lend_from(0, MEGABYTE * 3), *second = lend_from(0, 10000), *small = lend_from(0, 10);
        GOT(closed);
        end_narrow(&end, 65536);
        CHECK_INT(write_lent(end.writer, first), 1);
        CHECK(eddy_writer_write(end.writer, "copied", 6) >= 0);
        CHECK_INT(write_lent(end.writer, second), 1);
        CHECK_INT(write_lent(end.writer, small), 1);
        CHECK(eddy_writer_get_write_buffer_size(end.writer) > 65536 + 10016);
        settle(end.loop);
        CHECK_INT(first->released, 0);
        CHECK_INT(second->released, 0);
        CHECK_INT(small->released, 1); /* it was copied */
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        switch (how) {
        case 0: CHECK_INT(eddy_writer_close(end.writer), 0); break;
        case 1: CHECK_INT(eddy_writer_abort(end.writer), 0); break;
        case 2: end_reset_peer(&end); break;
        case 3: eddy_writer_free(end.writer); break;
        case 4:
            CHECK_INT(eddy_writer_set_timeout(end.writer, 10), 0);
            CHECK_INT(eddy_writer_close(end.writer), 0);
            break;
        case 5: CHECK_INT(eddy_transport_abort(eddy_writer_transport(end.writer)), 0); break;
        default: end_free(&end); break;
        }
        if (how != 6) CHECK_INT(first->released + second->released, 0); /* not from within a call */
        if (how == 0 || how == 3) {
            char *bytes = malloc(3 * MEGABYTE + 10016 + 10);
            size_t got = 0;
            while (got < 3 * MEGABYTE + 10016) {
                long n = plain_look(end.peer, bytes + got, 3 * MEGABYTE + 10016 - got);
                if (n > 0) got += (size_t)n;
                CHECK(eddy_loop_run_once(end.loop, 1) >= 0);
            }
            plain_check_pattern(bytes, 3 * MEGABYTE, 0);
            CHECK(memcmp(bytes + 3 * MEGABYTE, "copied", 6) == 0);
            plain_check_pattern(bytes + 3 * MEGABYTE + 6, 10000, 0);
            free(bytes);
        }
        if (how != 6) RUN_UNTIL(end.loop, closed.count);
        CHECK_INT(first->released, 1);
        CHECK_INT(second->released, 1);
        CHECK(first->order < second->order);
        if (how != 6) CHECK(second->order < closed.order); /* which is the last of the connection */
        if (how == 0) {
            CHECK_INT(eddy_writer_write_static(end.writer, "x", 1, on_released, small), EDDY_ESTATE);
        }
        if (how != 6) end_free(&end);
        CHECK_INT(closed.count, 1);
        CHECK_INT(first->released + second->released + small->released, 3);
        free(first), free(second), free(small);
    }
}

TEST(what_is_refused_is_not_released, "")
{
    struct end end = end_tcp(EDDY_OPTIONS(.max_write_buffer = 20000));
    struct lent *lent = lend_from(0, 20001);
    CHECK_INT(write_lent(end.writer, lent), EDDY_EFULL);
    CHECK_INT(eddy_writer_write_static(end.writer, NULL, 1, on_released, lent), EDDY_EINVAL);
    CHECK_INT(eddy_writer_write_static(end.writer, lent->bytes, SIZE_MAX, on_released, lent), EDDY_EINVAL);
    CHECK_INT(eddy_writer_write_static(end.writer, lent->bytes, 5, NULL, lent), EDDY_EINVAL);
    CHECK_INT(eddy_writer_write_static(NULL, lent->bytes, 5, on_released, lent), EDDY_ESTALE);
    CHECK_INT(eddy_writer_write_eof(end.writer), 0);
    CHECK_INT(eddy_writer_write_static(end.writer, lent->bytes, 5, on_released, lent), EDDY_ESTATE);
    CHECK_INT(eddy_writer_write_static(end.writer, lent->bytes, 10000, on_released, lent), EDDY_ESTATE);
    settle(end.loop);
    end_free(&end);
    CHECK_INT(lent->released, 0);
    free(lent->bytes);
    free(lent);
}

TEST(lent_bytes_count_at_the_marks, "F1")
{
    struct end end = end_tcp(NULL);
    struct lent *lent = lend_from(0, 3 * MEGABYTE), *more = lend_from(0, 70000);
    GOT(drained);
    static char bytes[65536];
    size_t got = 0;
    end_narrow(&end, 65536);
    CHECK_INT(eddy_writer_set_write_buffer_limits(end.writer, 60000, 50000), 0);
    CHECK_INT(write_lent(end.writer, lent), 1);
    const size_t unsent = eddy_writer_get_write_buffer_size(end.writer);
    CHECK(unsent > 2 * MEGABYTE && unsent < 3 * MEGABYTE);
    CHECK_INT(write_lent(end.writer, more), 1);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), unsent + 70000);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    settle(end.loop);
    CHECK_INT(drained.count, 0);
    while (drained.count == 0) {
        long n = plain_look(end.peer, bytes, sizeof bytes);
        if (n > 0) got += (size_t)n;
        if (eddy_writer_get_write_buffer_size(end.writer) > 50000) CHECK_INT(drained.count, 0);
        CHECK(eddy_loop_run_once(end.loop, 1) >= 0);
    }
    CHECK_INT(drained.code, 0);
    CHECK(eddy_writer_get_write_buffer_size(end.writer) <= 50000);
    CHECK_INT(lent->released, 1);
    end_free(&end);
    CHECK_INT(more->released, 1);
    free(lent), free(more);
}

TEST(the_loop_runs_until_lent_bytes_are_released, "")
{
    struct end end = end_tcp(NULL);
    struct lent *big = lend_from(0, 5000), *small = lend_from(0, 5), *nothing = lend_from(0, 0);
    CHECK_INT(write_lent(end.writer, big), 0);
    CHECK_INT(write_lent(end.writer, small), 0);
    CHECK_INT(write_lent(end.writer, nothing), 0);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK_INT(big->released + small->released + nothing->released, 3);
    char bytes[5005];
    CHECK_INT(plain_recv(end.peer, bytes, 5005), 5005);
    plain_check_pattern(bytes, 5000, 0);
    free(big), free(small), free(nothing);
    end_free(&end);
}

TEST(why_a_connection_is_lost_is_told_also_when_a_lent_write_finds_it_out, "")
{
    for (int lends = 0; lends < 2; lends++) {
        struct end end = end_tcp(NULL);
        struct lent *lent = lend_from(0, 100000);
        GOT(closed);
        settle(end.loop);
        end_reset_peer(&end);
        CHECK_INT(poll(&(struct pollfd){ .fd = end.fd, .events = POLLIN }, 1, 10000), 1);
        if (lends) CHECK_INT(write_lent(end.writer, lent), 0);
        else CHECK_INT(eddy_writer_write(end.writer, lent->bytes, lent->len), 0);
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        RUN_UNTIL(end.loop, closed.count);
        CHECK_INT(closed.code, EDDY_ELOST);
        CHECK_INT(closed.system, ECONNRESET);
        CHECK_INT(lent->released, lends);
        end_free(&end);
        CHECK_INT(lent->released, lends);
        free(lent->bytes);
        free(lent);
    }
}

static struct end *chain_end;
static int chain_left;

static void lend_again(void *arg)
{
    if (--chain_left > 0) CHECK_INT(eddy_writer_write_static(chain_end->writer, arg, 5000, lend_again, arg), 0);
    else eddy_writer_free(chain_end->writer);
}

TEST(a_release_may_lend_again_and_free_the_writer, "")
{
    struct end end = end_tcp(NULL);
    char *bytes = plain_fill(5000);
    static char got[65536];
    size_t sum = 0;
    chain_end = &end;
    chain_left = 200;
    CHECK_INT(eddy_writer_write_static(end.writer, bytes, 5000, lend_again, bytes), 0);
    while (sum < 1000000) {
        CHECK(eddy_loop_run_once(end.loop, 0) >= 0);
        long n = plain_look(end.peer, got, sizeof got);
        if (n > 0) sum += (size_t)n;
    }
    CHECK_INT(chain_left, 0);
    end_free(&end);
    free(bytes);
}

/* ---- max_write_buffer ---------------------------------------------------------------------------------- */

TEST(more_than_max_write_buffer_is_refused_whole_and_to_the_byte, "p07 p08")
{
    struct end end = end_unix(EDDY_OPTIONS(.max_write_buffer = 10000));
    static char bytes[20000], got[65536];
    const eddy_bytes fits[] = { { bytes, 50 }, { bytes, 50 } }, does_not[] = { { bytes, 50 }, { bytes, 51 } };
    CHECK_INT(eddy_writer_write(end.writer, bytes, 10001), EDDY_EFULL);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0);
    for (int round = 0; round < 3; round++) {
        struct lent *lent = lend_from(0, 5000);
        while (eddy_writer_write(end.writer, bytes, 5000) >= 0) settle(end.loop);
        CHECK_INT(eddy_writer_write(end.writer, bytes, 5000), EDDY_EFULL);
        const size_t size = eddy_writer_get_write_buffer_size(end.writer);
        CHECK(size > 5000 && size <= 10000);
        CHECK_INT(eddy_writer_write(end.writer, bytes, 10000 - size + 1), EDDY_EFULL);
        if (size <= 9900) {
            CHECK(eddy_writer_write(end.writer, bytes, 9900 - size) >= 0);
            CHECK_INT(eddy_writer_writelines(end.writer, does_not, 2), EDDY_EFULL);
            CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 9900);
            CHECK_INT(write_lent(end.writer, lent), EDDY_EFULL);
            CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 9900);
            CHECK(eddy_writer_writelines(end.writer, fits, 2) >= 0);
            CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 10000);
        }
        CHECK(eddy_writer_write(end.writer, bytes, 10000 - eddy_writer_get_write_buffer_size(end.writer)) >= 0);
        CHECK_INT(eddy_writer_write(end.writer, bytes, 1), EDDY_EFULL);
        CHECK_INT(eddy_writer_write(end.writer, bytes, 0), 0);
        CHECK_INT(eddy_writer_writelines(end.writer, does_not, 1), EDDY_EFULL);
        while (eddy_writer_get_write_buffer_size(end.writer) > 0) { /* room again, once it is sent */
            plain_look(end.peer, got, sizeof got);
            CHECK(eddy_loop_run_once(end.loop, 1) >= 0);
        }
        while (plain_look(end.peer, got, sizeof got) > 0) continue;
        CHECK(write_lent(end.writer, lent) >= 0);
        RUN_UNTIL(end.loop, lent->released);
        free(lent);
    }
    end_free(&end);
}

static eddy_writer *client;

static void keep_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)arg;
    CHECK(error == NULL);
    client = writer;
}

TEST(max_write_buffer_holds_for_the_clients_of_a_server, "")
{
    struct end end = { .loop = eddy_loop_new() };
    GOT(started);
    static char bytes[101];
    START(&started, eddy_start_server(end.loop, keep_client, "127.0.0.1", 0, EDDY_OPTIONS(.max_write_buffer = 100),
                                      got_server, &started));
    RUN_UNTIL(end.loop, started.count);
    end.peer = plain_connect((uint16_t)atoi(strrchr(eddy_server_sockname(started.server, 0), ':') + 1));
    RUN_UNTIL(end.loop, client != NULL);
    CHECK_INT(eddy_writer_write(client, bytes, 101), EDDY_EFULL);
    CHECK_INT(eddy_writer_write(client, bytes, 100), 0);
    CHECK_INT(eddy_writer_write(client, bytes, 1), EDDY_EFULL);
    settle(end.loop);
    CHECK_INT(eddy_writer_write(client, bytes, 100), 0);
    end_free(&end);
}

/* ---- flush --------------------------------------------------------------------------------------------- */

static void write_and_flush(struct got *got, void *data)
{
    struct end *end = data;
    char bytes[32];
    (void)got;
    CHECK_INT(eddy_writer_write(end->writer, "now", 3), 0);
    CHECK_INT(plain_look(end->peer, bytes, sizeof bytes), -EAGAIN);
    CHECK_INT(eddy_writer_flush(end->writer), 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(end->writer), 0);
    CHECK_INT(plain_look(end->peer, bytes, sizeof bytes), 3); /* before this callback returns */
    CHECK_INT(eddy_writer_write(end->writer, "and then", 8), 0);
}

TEST(what_is_flushed_is_at_the_peer_before_the_callback_returns, "W1")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    char bytes[32];
    line.then = write_and_flush;
    line.data = &end;
    plain_send_text(end.peer, "line\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count);
    settle(end.loop);
    CHECK_INT(plain_look(end.peer, bytes, sizeof bytes), 8);
    CHECK_INT(eddy_writer_flush(end.writer), 0); /* of nothing */
    CHECK_INT(eddy_writer_write(end.writer, "bye", 3), 0);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(eddy_writer_flush(end.writer), 0);
    CHECK_INT(plain_recv(end.peer, bytes, sizeof bytes), 3); /* and the end */
    end_close_peer(&end);
    eddy_writer_free(end.writer);
    CHECK_INT(eddy_writer_flush(end.writer), EDDY_ESTALE);
    settle(end.loop);
    end_free(&end);
}

TEST(a_flush_sends_what_the_socket_takes_and_never_waits, "")
{
    struct end end = end_tcp(NULL);
    int error;
    char *bytes = plain_fill(3 * MEGABYTE);
    end_narrow(&end, 65536);
    for (size_t at = 0; at < 3 * MEGABYTE; at += 10000) {
        CHECK(eddy_writer_write(end.writer, bytes + at, 10000) >= 0);
        CHECK_INT(eddy_writer_flush(end.writer), 0);
    }
    CHECK(eddy_writer_get_write_buffer_size(end.writer) > 0);
    eddy_writer_free(end.writer);
    CHECK_INT(end_peer_reads_pattern(&end, &error), 3 * MEGABYTE);
    CHECK_INT(error, 0);
    free(bytes);
    end_free(&end);
}
