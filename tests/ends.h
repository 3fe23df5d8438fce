/* A connection of which one end is eddy's and the other a plain, blocking socket of the test's own. */
#ifndef EDDY_TEST_ENDS_H
#define EDDY_TEST_ENDS_H

#include "collect.h"
#include "plain.h"

struct end {
    eddy_loop *loop;
    eddy_reader *reader;
    eddy_writer *writer;
    int fd;   /* eddy's descriptor: to be looked at, not to be closed */
    int peer; /* the other end; -1 once it is closed */
};

PLAIN int end_descriptor(eddy_writer *writer)
{
    size_t len;
    const char *digits = eddy_writer_get_extra_info(writer, "socket", &len);
    if (digits == NULL) FAIL("the writer knows no socket");
    return atoi(digits);
}

PLAIN void end_take(struct end *end, const struct got *opened)
{
    CHECK_INT(opened->code, 0);
    CHECK(opened->reader != NULL);
    CHECK(opened->writer != NULL);
    end->reader = opened->reader;
    end->writer = opened->writer;
    end->fd = end_descriptor(opened->writer);
}

/* One more connection on a loop. */
PLAIN struct end end_tcp_on(eddy_loop *loop, const eddy_options *options)
{
    struct end end = { .loop = loop };
    GOT(opened);
    int listener = plain_listen();
    START(&opened,
          eddy_open_connection(loop, "127.0.0.1", plain_port(listener), options, got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    end_take(&end, &opened);
    end.peer = plain_accept(listener);
    plain_set(end.peer, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
    close(listener);
    return end;
}

PLAIN struct end end_unix_on(eddy_loop *loop, const eddy_options *options)
{
    struct end end = { .loop = loop };
    GOT(opened);
    int ends[2];
    plain_unix_pair(ends);
    START(&opened, eddy_open_socket(loop, ends[0], options, got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    end_take(&end, &opened);
    end.peer = ends[1];
    return end;
}

PLAIN struct end end_tcp(const eddy_options *options)
{
    return end_tcp_on(eddy_loop_new(), options);
}

PLAIN struct end end_unix(const eddy_options *options)
{
    return end_unix_on(eddy_loop_new(), options);
}

/* Small buffers in the kernel, so that output soon has to wait. */
PLAIN void end_narrow(const struct end *end, int size)
{
    plain_set(end->fd, SOL_SOCKET, SO_SNDBUF, size, "SO_SNDBUF");
    plain_set(end->peer, SOL_SOCKET, SO_RCVBUF, size, "SO_RCVBUF");
}

PLAIN void end_close_peer(struct end *end)
{
    close(end->peer);
    end->peer = -1;
}

PLAIN void end_reset_peer(struct end *end)
{
    plain_reset(end->peer);
    end->peer = -1;
}

/* Frees the loop, and with it all that lives on it. */
PLAIN void end_free(struct end *end)
{
    if (end->peer >= 0) end_close_peer(end);
    eddy_loop_free(end->loop);
}

/* Runs for a while, whether or not there is something to wait for. */
PLAIN void end_pump(eddy_loop *loop, unsigned milliseconds)
{
    GOT(rung);
    START(&rung, eddy_loop_call_later(loop, milliseconds, got_loop, &rung));
    RUN_UNTIL(loop, rung.count > 0);
}

/* As RUN_UNTIL, for what nobody waits for: a loop without a timer and without an operation has nothing to
 * run for. */
#define PUMP_UNTIL(loop, condition)                                                                \
    do {                                                                                           \
        const uint64_t pump_deadline = plain_now() + 10000 * (uint64_t)eddy_test_slow();           \
        while (!(condition)) {                                                                     \
            if (plain_now() > pump_deadline) FAIL("never came true: %s", #condition);              \
            end_pump((loop), 2);                                                                   \
        }                                                                                          \
    } while (0)

/* Runs the loop while the peer reads to its end, and checks the pattern: how many bytes came. error gets
 * the number of the error that ended it, 0 for an end in peace. */
PLAIN size_t end_peer_reads_pattern(struct end *end, int *error)
{
    static char bytes[65536];
    uint64_t deadline = plain_now() + 20000 * (uint64_t)eddy_test_slow();
    size_t got = 0;
    *error = 0;
    for (;;) {
        CHECK(eddy_loop_run_once(end->loop, 0) >= 0);
        long n = plain_look(end->peer, bytes, sizeof bytes);
        if (n == -EAGAIN || n == -EINTR) {
            if (plain_now() > deadline) FAIL("no end of the stream after %zu bytes", got);
            CHECK(eddy_loop_run_once(end->loop, 1) >= 0);
            continue;
        }
        if (n < 0) *error = (int)-n;
        if (n <= 0) return got;
        plain_check_pattern(bytes, (size_t)n, got);
        got += (size_t)n;
    }
}

#endif
