/* A loop as the guest of another one: whatever is started between two runs makes its descriptor readable, or its timeout
 * shorter; and nothing else does. */
#include "ends.h"

#include <signal.h>
#include <sys/epoll.h>

static bool readable(int fd)
{
    struct pollfd pollfd = { .fd = fd, .events = POLLIN };
    const int count = poll(&pollfd, 1, 0);
    CHECK(count >= 0);
    return count == 1 && (pollfd.revents & POLLIN) != 0;
}

/* A loop that is watched, and a connection on it. */
struct guest {
    struct end end;
    eddy_loop *loop;
    int watched;
    eddy_op tomorrow; /* something to wait for, as a loop without anything does not run */
    struct got tomorrow_got;
};

/* Until there is nothing to do: which the descriptor says, and the timeout. */
static void quiet(struct guest *guest)
{
    for (int rounds = 0; readable(guest->watched) || eddy_loop_timeout(guest->loop) == 0; rounds++) {
        CHECK(eddy_loop_run_once(guest->loop, 0) >= 0);
        if (rounds > 1000) FAIL("the descriptor is readable without end");
    }
}

static void guest_begin(struct guest *guest, struct end end)
{
    memset(guest, 0, sizeof *guest);
    guest->end = end;
    guest->loop = end.loop;
    guest->watched = eddy_loop_fd(end.loop);
    CHECK(guest->watched >= 0);
    guest->tomorrow = START(&guest->tomorrow_got,
                            eddy_loop_call_later(end.loop, 24 * 3600 * 1000, got_loop, &guest->tomorrow_got));
    quiet(guest);
}

static void guest_end(struct guest *guest)
{
    end_free(&guest->end);
    CHECK_INT(guest->tomorrow_got.count, 1);
    got_release(&guest->tomorrow_got);
}

/* The call leaves something to do now, and says so: then one round does it, and all is quiet again. */
#define WAKES(guest, call)                                                                         \
    do {                                                                                           \
        quiet(guest);                                                                              \
        (void)(call);                                                                              \
        if (!readable((guest)->watched)) FAIL("nobody is woken: %s", #call);                       \
        if (eddy_loop_timeout((guest)->loop) != 0) FAIL("there is a timeout: %s", #call);          \
        CHECK(eddy_loop_run_once((guest)->loop, 0) >= 0);                                          \
        quiet(guest);                                                                              \
    } while (0)

/* The operation waits, though somebody may be woken to find that out. */
#define WAITS(guest, got, call)                                                                    \
    do {                                                                                           \
        const int waits_count = (got)->count;                                                      \
        START(got, call);                                                                          \
        quiet(guest);                                                                              \
        CHECK_INT((got)->count, waits_count);                                                      \
    } while (0)

/* The call leaves nothing to do now. */
#define WAKES_NOBODY(guest, call)                                                                  \
    do {                                                                                           \
        quiet(guest);                                                                              \
        (void)(call);                                                                              \
        if (readable((guest)->watched)) FAIL("somebody is woken: %s", #call);                      \
    } while (0)

#define OK(call) CHECK((call) >= 0)

TEST(what_is_written_between_two_runs_is_sent, "")
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct guest guest;
        char bytes[100];
        GOT(drain);
        guest_begin(&guest, tcp ? end_tcp(NULL) : end_unix(NULL));
        eddy_writer *writer = guest.end.writer;
        WAKES(&guest, OK(eddy_writer_write(writer, "one", 3)));
        CHECK_INT(plain_recv(guest.end.peer, bytes, 3), 3);
        const eddy_bytes lines[] = { { "two", 3 }, { "three", 5 } };
        WAKES(&guest, OK(eddy_writer_writelines(writer, lines, 2)));
        CHECK_INT(plain_recv(guest.end.peer, bytes, 8), 8);
        WAKES(&guest, START(&drain, eddy_writer_drain(writer, got_writer, &drain)));
        CHECK_INT(drain.count, 1);
        WAKES(&guest, OK(eddy_writer_write_eof(writer)));
        CHECK_INT(plain_recv(guest.end.peer, bytes, 1), 0);
        guest_end(&guest);
    }
}

TEST(a_large_write_goes_on_as_soon_as_the_peer_takes_it, "")
{
    struct guest guest;
    GOT(drain);
    enum { SIZE = 4 << 20 };
    char *bytes = plain_fill(SIZE), *received = malloc(SIZE);
    size_t got = 0;
    CHECK(received != NULL);
    guest_begin(&guest, end_unix(NULL));
    CHECK_INT(eddy_writer_write(guest.end.writer, bytes, SIZE), 1);
    START(&drain, eddy_writer_drain(guest.end.writer, got_writer, &drain));
    quiet(&guest);
    CHECK_INT(drain.count, 0);
    while (got < SIZE) { /* what the peer takes makes room, and the room is told */
        const long n = plain_look(guest.end.peer, received + got, SIZE - got);
        if (n <= 0) FAIL("there is no more to receive after %zu bytes", got);
        got += (size_t)n;
        quiet(&guest);
    }
    CHECK_INT(drain.count, 1);
    CHECK(memcmp(bytes, received, SIZE) == 0);
    free(bytes);
    free(received);
    guest_end(&guest);
}

TEST(a_read_that_can_be_served_is, "")
{
    struct guest guest;
    GOT(read);
    guest_begin(&guest, end_tcp(NULL));
    eddy_reader *reader = guest.end.reader;
    WAITS(&guest, &read, eddy_reader_readline(reader, got_read, &read));
    plain_send_text(guest.end.peer, "one\ntwo\nthree\nfour");
    CHECK(readable(guest.watched));
    quiet(&guest);
    CHECK_BYTES(read.bytes, read.len, "one\n");
    WAKES(&guest, START(&read, eddy_reader_readline(reader, got_read, &read)));
    CHECK_BYTES(read.bytes, read.len, "two\n");
    WAKES(&guest, START(&read, eddy_reader_readexactly(reader, 2, got_read, &read)));
    WAKES(&guest, START(&read, eddy_reader_readuntil(reader, "e\n", 2, got_read, &read)));
    CHECK_BYTES(read.bytes, read.len, "ree\n");
    WAKES(&guest, START(&read, eddy_reader_read(reader, 0, got_read, &read)));
    WAKES(&guest, START(&read, eddy_reader_read(reader, 100, got_read, &read)));
    CHECK_BYTES(read.bytes, read.len, "four");
    WAKES(&guest, START(&read, eddy_reader_readexactly(reader, 0, got_read, &read)));
    WAITS(&guest, &read, eddy_reader_readline(reader, got_read, &read));
    end_close_peer(&guest.end);
    CHECK(readable(guest.watched));
    quiet(&guest);
    CHECK_INT(read.len, 0);
    WAKES(&guest, START(&read, eddy_reader_read(reader, 1, got_read, &read))); /* the end, again */
    WAKES(&guest, START(&read, eddy_reader_readall(reader, 100, got_read, &read)));
    CHECK_INT(read.count, 10);
    guest_end(&guest);
}

TEST(reading_that_goes_on_finds_what_has_come_meanwhile, "")
{
    struct guest guest;
    GOT(read);
    guest_begin(&guest, end_unix(NULL));
    eddy_transport *transport = eddy_writer_transport(guest.end.writer);
    WAKES(&guest, OK(eddy_transport_pause_reading(transport)));
    START(&read, eddy_reader_readline(guest.end.reader, got_read, &read));
    plain_send_text(guest.end.peer, "while paused\n");
    quiet(&guest);
    CHECK_INT(read.count, 0);
    WAKES(&guest, OK(eddy_transport_resume_reading(transport))); /* its edge is used up */
    CHECK_BYTES(read.bytes, read.len, "while paused\n");
    guest_end(&guest);
}

TEST(what_a_reader_is_fed_is_told, "")
{
    struct guest guest;
    GOT(read);
    guest_begin(&guest, end_unix(NULL));
    eddy_reader *reader = eddy_reader_new(guest.loop, 100);
    WAKES_NOBODY(&guest, OK(eddy_reader_feed_data(reader, "no", 2))); /* nobody waits for it */
    WAITS(&guest, &read, eddy_reader_readline(reader, got_read, &read));
    WAKES(&guest, OK(eddy_reader_feed_data(reader, "w\n", 2)));
    CHECK_BYTES(read.bytes, read.len, "now\n");
    WAITS(&guest, &read, eddy_reader_readline(reader, got_read, &read));
    WAKES(&guest, OK(eddy_reader_set_exception(reader, 7, "seven")));
    CHECK_INT(read.code, 7);
    reader = eddy_reader_new(guest.loop, 100);
    WAITS(&guest, &read, eddy_reader_readline(reader, got_read, &read));
    WAKES(&guest, OK(eddy_reader_feed_eof(reader)));
    CHECK_INT(read.count, 3);
    reader = eddy_reader_new(guest.loop, 100);
    WAITS(&guest, &read, eddy_reader_readline(reader, got_read, &read));
    WAKES(&guest, eddy_reader_free(reader));
    CHECK_INT(read.code, EDDY_ECANCELED);
    guest_end(&guest);
}

TEST(calls_and_timers_are_told, "")
{
    struct guest guest;
    GOT(call);
    GOT(timer);
    guest_begin(&guest, end_unix(NULL));
    WAKES(&guest, START(&call, eddy_loop_call_soon(guest.loop, got_loop, &call)));
    CHECK_INT(call.count, 1);
    WAKES(&guest, OK(eddy_loop_call_soon_threadsafe(guest.loop, got_loop, &call)));
    CHECK_INT(call.count, 2);
    /* A timer that is due before all others: whoever sleeps must get up and look at the timeout again. */
    quiet(&guest);
    CHECK(eddy_loop_timeout(guest.loop) > 1000000);
    const int ms = 20 * eddy_test_slow();
    START(&timer, eddy_loop_call_later(guest.loop, (uint64_t)ms, got_loop, &timer));
    CHECK(readable(guest.watched));
    CHECK(eddy_loop_timeout(guest.loop) <= ms);
    quiet(&guest);
    CHECK_INT(timer.count, 0);
    while (timer.count == 0) {
        const int timeout = eddy_loop_timeout(guest.loop);
        CHECK(timeout >= 0 && timeout <= ms);
        struct pollfd pollfd = { .fd = guest.watched, .events = POLLIN };
        CHECK(poll(&pollfd, 1, timeout) >= 0);
        CHECK(eddy_loop_run_once(guest.loop, 0) >= 0);
    }
    eddy_op op = START(&timer, eddy_loop_call_later(guest.loop, 3600000, got_loop, &timer));
    WAKES(&guest, OK(eddy_loop_cancel(guest.loop, op)));
    CHECK_INT(timer.code, EDDY_ECANCELED);
    guest_end(&guest);
}

TEST(the_end_of_a_connection_is_told, "")
{
    char byte;
    enum { CLOSE, ABORT, FREE, TRANSPORT_CLOSE, TRANSPORT_ABORT, WAYS };
    for (int way = 0; way < WAYS; way++) {
        struct guest guest;
        GOT(closed);
        GOT(read);
        guest_begin(&guest, end_tcp(NULL));
        eddy_writer *writer = guest.end.writer;
        quiet(&guest);
        START(&closed, eddy_writer_wait_closed(writer, got_writer, &closed));
        START(&read, eddy_reader_readline(guest.end.reader, got_read, &read));
        quiet(&guest);
        CHECK_INT(closed.count + read.count, 0);
        switch (way) {
        case CLOSE: WAKES(&guest, OK(eddy_writer_close(writer))); break;
        case ABORT: WAKES(&guest, OK(eddy_writer_abort(writer))); break;
        case FREE: WAKES(&guest, eddy_writer_free(writer)); break;
        case TRANSPORT_CLOSE: WAKES(&guest, OK(eddy_transport_close(eddy_writer_transport(writer)))); break;
        default: WAKES(&guest, OK(eddy_transport_abort(eddy_writer_transport(writer))));
        }
        CHECK_INT(closed.count, 1);
        CHECK_INT(read.count, 1);
        if (way == CLOSE || way == FREE || way == TRANSPORT_CLOSE) CHECK_INT(plain_look(guest.end.peer, &byte, 1), 0);
        else CHECK_INT(plain_look(guest.end.peer, &byte, 1), -ECONNRESET);
        if (way != FREE) WAKES(&guest, START(&closed, eddy_writer_wait_closed(writer, got_writer, &closed)));
        guest_end(&guest);
    }
}

TEST(what_is_cancelled_is_told, "")
{
    struct guest guest;
    GOT(got);
    guest_begin(&guest, end_unix(NULL));
    enum { SIZE = 4 << 20 };
    char *bytes = plain_fill(SIZE);
    CHECK_INT(eddy_writer_write(guest.end.writer, bytes, SIZE), 1);
    free(bytes);
    eddy_op ops[] = {
        START(&got, eddy_reader_readline(guest.end.reader, got_read, &got)),
        START(&got, eddy_writer_drain(guest.end.writer, got_writer, &got)),
        START(&got, eddy_writer_wait_closed(guest.end.writer, got_writer, &got)),
        START(&got, eddy_loop_call_later(guest.loop, 3600000, got_loop, &got)),
    };
    quiet(&guest);
    for (int i = 0; i < (int)(sizeof ops / sizeof ops[0]); i++) {
        CHECK_INT(got.count, i);
        WAKES(&guest, OK(eddy_loop_cancel(guest.loop, ops[i])));
        CHECK_INT(got.code, EDDY_ECANCELED);
    }
    eddy_op op = START(&got, eddy_open_connection(guest.loop, "127.0.0.1", 1, NULL, got_stream, &got));
    OK(eddy_loop_cancel(guest.loop, op));
    CHECK(readable(guest.watched));
    quiet(&guest);
    CHECK_INT(got.code, EDDY_ECANCELED);
    guest_end(&guest);
}

static void keep_server(struct got *got, void *data)
{
    *(eddy_server **)data = got->server;
}

static void turn_away(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)arg;
    CHECK(error == NULL);
    eddy_writer_free(writer);
}

TEST(connections_and_servers_that_are_opened_are_told, "")
{
    struct guest guest;
    GOT(got);
    GOT(closed);
    eddy_server *server = NULL;
    int ends[2];
    char name[64];
    snprintf(name, sizeof name, "@eddy-embedding-%d", (int)getpid());
    guest_begin(&guest, end_unix(NULL));
    got.then = keep_server;
    got.data = &server;
    WAKES(&guest, START(&got, eddy_start_server(guest.loop, turn_away, "127.0.0.1", 0, NULL, got_server, &got)));
    CHECK(server != NULL);
    START(&closed, eddy_server_wait_closed(server, got_server, &closed));
    const uint16_t port = (uint16_t)atoi(strrchr(eddy_server_sockname(server, 0), ':') + 1);
    const int client = plain_connect(port);
    CHECK(readable(guest.watched));
    quiet(&guest);
    close(client);
    quiet(&guest);
    WAKES(&guest, OK(eddy_server_close(server)));
    CHECK_INT(closed.count, 1);
    WAKES(&guest, START(&closed, eddy_server_wait_closed(server, got_server, &closed)));
    WAKES(&guest, eddy_server_free(server));
    got.then = NULL;
    WAKES(&guest, START(&got, eddy_start_socket_server(guest.loop, turn_away, plain_listen(), NULL, got_server, &got)));
    WAKES(&guest, START(&got, eddy_start_unix_server(guest.loop, turn_away, name, NULL, got_server, &got)));
    WAKES(&guest, START(&got, eddy_open_unix_connection(guest.loop, name, NULL, got_stream, &got)));
    CHECK_INT(got.code, 0);
    plain_unix_pair(ends);
    WAKES(&guest, START(&got, eddy_open_socket(guest.loop, ends[0], NULL, got_stream, &got)));
    WAKES(&guest, START(&got, eddy_open_connection(guest.loop, "127.0.0.1", port, NULL, got_stream, &got)));
    /* A name, which another thread looks up: its answer wakes too. */
    const int count = got.count;
    START(&got, eddy_open_connection(guest.loop, "localhost", port, NULL, got_stream, &got));
    const uint64_t deadline = plain_now() + 10000 * (uint64_t)eddy_test_slow();
    while (got.count == count) {
        struct pollfd pollfd = { .fd = guest.watched, .events = POLLIN };
        CHECK(poll(&pollfd, 1, 10000 * eddy_test_slow()) == 1);
        CHECK(eddy_loop_run_once(guest.loop, 0) >= 0);
        CHECK(plain_now() < deadline);
    }
    close(ends[1]);
    guest_end(&guest);
}

static void make(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)writer;
    CHECK(error == NULL);
    ++*(int *)arg;
}

static char told[100];

static void tell_write(eddy_transport *transport, const char *bytes, size_t len, void *arg)
{
    (void)transport, (void)arg;
    strncat(told, bytes, len);
}

#define TELL(name)                                                                                 \
    static void tell_##name(eddy_transport *transport, void *arg)                                  \
    {                                                                                              \
        (void)transport, (void)arg;                                                                \
        strcat(told, " " #name);                                                                   \
    }
TELL(write_eof)
TELL(close)
TELL(abort)
TELL(pause)
TELL(resume)

static void tell_release(void *arg)
{
    (void)arg;
    strcat(told, " release");
}

TEST(what_a_transport_of_ones_own_is_to_do_is_told, "")
{
    struct guest guest;
    int made = 0;
    GOT(drain);
    const eddy_transport_ops ops = { .size = sizeof ops, .write = tell_write, .write_eof = tell_write_eof,
                                     .close = tell_close, .abort = tell_abort, .pause_reading = tell_pause,
                                     .resume_reading = tell_resume, .release = tell_release };
    guest_begin(&guest, end_unix(NULL));
    told[0] = '\0';
    eddy_reader *reader = eddy_reader_new(guest.loop, 8);
    eddy_protocol *protocol = eddy_protocol_new(guest.loop, reader, make, &made);
    eddy_transport *transport = eddy_transport_new(guest.loop, &ops, NULL);
    WAKES(&guest, OK(eddy_protocol_connection_made(protocol, transport)));
    CHECK_INT(made, 1);
    WAKES(&guest, OK(eddy_protocol_data_received(protocol, "more than twice eight", 21)));
    CHECK_STR(told, " pause");
    GOT(read);
    WAKES(&guest, START(&read, eddy_reader_readexactly(reader, 21, got_read, &read)));
    CHECK_STR(told, " pause resume");
    WAKES(&guest, OK(eddy_protocol_pause_writing(protocol)));
    WAKES(&guest, OK(eddy_protocol_resume_writing(protocol)));
    WAKES(&guest, eddy_protocol_eof_received(protocol));
    WAKES(&guest, OK(eddy_transport_close(transport)));
    CHECK_STR(told, " pause resume close");
    WAKES(&guest, OK(eddy_protocol_connection_lost(protocol, 0, NULL)));
    CHECK_STR(told, " pause resume close release");
    guest_end(&guest);
}

TEST(misuse_is_told, "")
{
    struct guest guest;
    struct reports reports = { 0 };
    guest_begin(&guest, end_unix(NULL));
    CHECK_INT(eddy_loop_set_exception_handler(guest.loop, got_report, &reports), 0);
    WAKES(&guest, eddy_reader_at_eof((eddy_reader *)(void *)guest.end.writer));
    CHECK_INT(reports.count, 1);
    guest_end(&guest);
}

TEST(what_changes_nothing_wakes_nobody, "")
{
    struct guest guest;
    const char *bytes;
    size_t len;
    guest_begin(&guest, end_tcp(NULL));
    WAKES_NOBODY(&guest, eddy_loop_time(guest.loop));
    WAKES_NOBODY(&guest, eddy_loop_fd(guest.loop));
    WAKES_NOBODY(&guest, eddy_loop_is_running(guest.loop));
    WAKES_NOBODY(&guest, eddy_reader_buffered(guest.end.reader, &bytes));
    WAKES_NOBODY(&guest, eddy_reader_at_eof(guest.end.reader));
    WAKES_NOBODY(&guest, eddy_reader_exception(guest.end.reader));
    WAKES_NOBODY(&guest, eddy_writer_is_closing(guest.end.writer));
    WAKES_NOBODY(&guest, eddy_writer_get_extra_info(guest.end.writer, "peername", &len));
    WAKES_NOBODY(&guest, eddy_writer_get_write_buffer_size(guest.end.writer));
    WAKES_NOBODY(&guest, OK(eddy_writer_write(guest.end.writer, NULL, 0)));
    WAKES_NOBODY(&guest, eddy_reader_new(guest.loop, 100));
    WAKES_NOBODY(&guest, eddy_loop_cancel(guest.loop, 12345));
    WAKES_NOBODY(&guest, eddy_repr(guest.end.writer));
    eddy_stats stats = { .size = sizeof stats };
    WAKES_NOBODY(&guest, OK(eddy_loop_stats(guest.loop, &stats)));
    guest_end(&guest);
}

/* ---- the descriptor itself ----------------------------------------------------------------------------- */

TEST(a_descriptor_that_is_asked_for_late_says_what_is_left, "")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(call);
    START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    const int fd = eddy_loop_fd(loop);
    CHECK(readable(fd));
    CHECK_INT(eddy_loop_run_once(loop, 0), 0);
    CHECK_INT(call.count, 1);
    CHECK(!readable(fd));
    eddy_loop_free(loop);
    eddy_loop *none = NULL;
    CHECK_INT(eddy_loop_fd(none), -1);
    CHECK_INT(eddy_loop_timeout(none), -1);
    CHECK_INT(eddy_loop_fd(loop), -1);
    CHECK_INT(eddy_loop_timeout(loop), -1);
}

TEST(an_epoll_can_watch_it_by_level_and_by_edge, "")
{
    const uint32_t ways[] = { EPOLLIN, EPOLLIN | EPOLLET };
    for (int way = 0; way < 2; way++) {
        struct guest guest;
        GOT(call);
        struct epoll_event event = { .events = ways[way] };
        guest_begin(&guest, end_unix(NULL));
        const int host = plain_ok(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
        CHECK_INT(epoll_ctl(host, EPOLL_CTL_ADD, guest.watched, &event), 0);
        CHECK_INT(epoll_wait(host, &event, 1, 0), 0);
        for (int i = 1; i <= 100; i++) {
            GOT(line);
            START(&call, eddy_loop_call_soon(guest.loop, got_loop, &call));
            CHECK_INT(epoll_wait(host, &event, 1, 10000 * eddy_test_slow()), 1);
            CHECK(eddy_loop_run_once(guest.loop, 0) >= 0);
            CHECK_INT(call.count, i);
            CHECK_INT(epoll_wait(host, &event, 1, 0), 0);
            START(&line, eddy_reader_readline(guest.end.reader, got_read, &line));
            quiet(&guest);
            while (epoll_wait(host, &event, 1, 0) > 0) continue;
            plain_send_text(guest.end.peer, "line\n");
            CHECK_INT(epoll_wait(host, &event, 1, 10000 * eddy_test_slow()), 1);
            CHECK(eddy_loop_run_once(guest.loop, 0) >= 0);
            CHECK_INT(line.count, 1);
        }
        close(host);
        guest_end(&guest);
    }
}

TEST(a_loop_is_the_guest_of_another_one_of_its_kind, "")
{
    struct guest inner, outer;
    GOT(call);
    guest_begin(&inner, end_unix(NULL));
    guest_begin(&outer, end_unix(NULL));
    /* Work of the inner one is done within a callback of the outer one, and between its runs. */
    for (int i = 1; i <= 10; i++) {
        WAKES(&inner, START(&call, eddy_loop_call_soon(inner.loop, got_loop, &call)));
        CHECK_INT(call.count, i);
        CHECK(!readable(outer.watched));
    }
    guest_end(&outer);
    guest_end(&inner);
}
