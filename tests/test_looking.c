/* For operations: what a loop counts, what it tells in debug mode, and what handles say of themselves. */
#include "ends.h"

#include <signal.h>

static eddy_loop *new_loop(void)
{
    eddy_loop *loop = eddy_loop_new();
    CHECK(loop != NULL);
    return loop;
}

/* ---- counting ------------------------------------------------------------------------------------------ */

TEST(a_new_loop_has_done_nothing, "")
{
    eddy_loop *loop = new_loop();
    const eddy_stats stats = stats_of(loop);
    CHECK_INT(stats.turns + stats.callbacks + stats.slow_callbacks + stats.bytes_in + stats.bytes_out, 0);
    CHECK_INT(stats.connections_open + stats.connections_total, 0);
    eddy_loop_free(loop);
}

static void look_inside(struct got *got, void *data)
{
    (void)data;
    CHECK_INT(stats_of(got->loop).callbacks, got->count); /* this one too */
}

TEST(callbacks_and_rounds_are_counted, "")
{
    eddy_loop *loop = new_loop();
    GOT(call);
    call.then = look_inside;
    uint64_t turns = 0;
    for (int i = 1; i <= 10; i++) {
        START(&call, eddy_loop_call_soon(loop, got_loop, &call));
        CHECK_INT(eddy_loop_run(loop), 0);
        const eddy_stats stats = stats_of(loop);
        CHECK_INT(stats.callbacks, i);
        CHECK(stats.turns > turns);
        turns = stats.turns;
    }
    for (int i = 0; i < 10000; i++) START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    call.then = NULL;
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(stats_of(loop).callbacks, 10010); /* more than go into one round */
    eddy_loop_free(loop);
}

static void echo_back(struct end *end, size_t len)
{
    char *bytes = plain_fill(len), *back = malloc(len);
    GOT(read);
    GOT(drain);
    CHECK(back != NULL);
    plain_send(end->peer, bytes, len);
    START(&read, eddy_reader_readexactly(end->reader, len, got_read, &read));
    RUN_UNTIL(end->loop, read.count > 0);
    CHECK_INT(read.code, 0);
    CHECK(eddy_writer_write(end->writer, read.bytes, read.len) >= 0);
    START(&drain, eddy_writer_drain(end->writer, got_writer, &drain));
    RUN_UNTIL(end->loop, drain.count > 0 && eddy_writer_get_write_buffer_size(end->writer) == 0);
    CHECK_INT(plain_recv(end->peer, back, len), len);
    free(bytes);
    free(back);
}

TEST(bytes_are_counted_on_every_way_in_and_out, "")
{
    eddy_loop *loop = new_loop();
    struct end ends[2] = { end_tcp_on(loop, NULL), end_unix_on(loop, NULL) };
    uint64_t bytes = 0;
    static const size_t sizes[] = { 1, 100, 20000 /* straight from the caller's memory */, 60000 };
    for (int i = 0; i < 2; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            echo_back(&ends[i], sizes[j]);
            bytes += sizes[j];
            CHECK_INT(stats_of(loop).bytes_in, bytes);
            CHECK_INT(stats_of(loop).bytes_out, bytes);
        }
    }
    /* Many small writes leave in one send, and count for what they are. */
    for (int i = 0; i < 100; i++) CHECK_INT(eddy_writer_write(ends[0].writer, "line\n", 5), 0);
    CHECK_INT(stats_of(loop).bytes_out, bytes);
    CHECK(eddy_loop_run_once(loop, 0) >= 0);
    CHECK_INT(stats_of(loop).bytes_out, bytes + 500);
    /* What nobody sends does not. */
    CHECK_INT(eddy_writer_write(ends[1].writer, "lost", 4), 0);
    CHECK_INT(eddy_writer_abort(ends[1].writer), 0);
    settle(loop);
    CHECK_INT(stats_of(loop).bytes_out, bytes + 500);
    close(ends[0].peer);
    close(ends[1].peer);
    eddy_loop_free(loop);
}

static int clients;

static void keep_none(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)arg;
    CHECK(error == NULL);
    clients++;
    eddy_writer_free(writer);
}

static void take_server(struct got *got, void *data)
{
    *(eddy_server **)data = got->server;
}

TEST(connections_are_counted_until_they_are_over, "")
{
    eddy_loop *loop = new_loop();
    eddy_server *server = NULL;
    GOT(served);
    served.then = take_server;
    served.data = &server;
    struct end closed = end_tcp_on(loop, NULL), aborted = end_tcp_on(loop, NULL), reset = end_tcp_on(loop, NULL);
    struct end left = end_unix_on(loop, NULL), freed = end_unix_on(loop, NULL);
    CHECK_INT(stats_of(loop).connections_open, 5);
    CHECK_INT(stats_of(loop).connections_total, 5);
    CHECK(eddy_reader_new(loop, 100) != NULL); /* which is no connection */
    CHECK_INT(stats_of(loop).connections_open, 5);

    CHECK_INT(eddy_writer_close(closed.writer), 0);
    CHECK(eddy_loop_run_once(loop, 0) >= 0);
    CHECK_INT(stats_of(loop).connections_open, 4); /* though its socket lingers */
    close(closed.peer);
    CHECK_INT(eddy_writer_abort(aborted.writer), 0);
    CHECK_INT(stats_of(loop).connections_open, 3);
    GOT(line);
    START(&line, eddy_reader_readline(reset.reader, got_read, &line));
    plain_reset(reset.peer);
    RUN_UNTIL(loop, line.count > 0);
    CHECK_INT(line.code, EDDY_ELOST);
    CHECK_INT(stats_of(loop).connections_open, 2);
    eddy_writer_free(freed.writer);
    settle(loop);
    CHECK_INT(stats_of(loop).connections_open, 1);
    eddy_writer_free(reset.writer); /* it was over before */
    eddy_writer_free(closed.writer);
    settle(loop);
    CHECK_INT(stats_of(loop).connections_open, 1);
    CHECK_INT(stats_of(loop).connections_total, 5);

    START(&served, eddy_start_server(loop, keep_none, "127.0.0.1", 0, NULL, got_server, &served));
    RUN_UNTIL(loop, served.count > 0);
    const char *name = eddy_server_sockname(server, 0);
    const uint16_t port = (uint16_t)atoi(strrchr(name, ':') + 1);
    for (int i = 1; i <= 3; i++) {
        const int fd = plain_connect(port);
        RUN_UNTIL(loop, clients == i);
        CHECK_INT(stats_of(loop).connections_total, 5 + i);
        close(fd);
    }
    settle(loop);
    CHECK_INT(stats_of(loop).connections_open, 1);
    /* One that does not come about is none. */
    GOT(refused);
    START(&refused, eddy_open_connection(loop, "127.0.0.1", plain_closed_port(), NULL, got_stream, &refused));
    RUN_UNTIL(loop, refused.count > 0);
    CHECK_INT(stats_of(loop).connections_total, 8);
    close(aborted.peer);
    close(left.peer);
    close(freed.peer);
    eddy_loop_free(loop);
}

TEST(stats_go_into_the_struct_that_there_is, "")
{
    eddy_loop *loop = new_loop();
    GOT(call);
    START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    CHECK_INT(eddy_loop_run(loop), 0);
    struct {
        eddy_stats stats;
        uint64_t more[2];
    } room;

    /* An older header's. */
    for (size_t size = sizeof(size_t); size <= sizeof(eddy_stats); size += sizeof(uint64_t)) {
        memset(&room, 0xaa, sizeof room);
        room.stats.size = size;
        CHECK_INT(eddy_loop_stats(loop, &room.stats), 0);
        CHECK_INT(room.stats.size, size);
        const bool has_callbacks = size >= offsetof(eddy_stats, slow_callbacks);
        CHECK_INT(room.stats.callbacks == 1, has_callbacks);
        for (size_t i = size; i < sizeof room; i++) CHECK_INT(((unsigned char *)&room)[i], 0xaa);
    }
    /* A newer one's. */
    memset(&room, 0xaa, sizeof room);
    room.stats.size = sizeof room;
    CHECK_INT(eddy_loop_stats(loop, &room.stats), 0);
    CHECK_INT(room.stats.callbacks, 1);
    CHECK_INT(room.more[0] + room.more[1], 0);

    CHECK_INT(eddy_loop_stats(loop, NULL), EDDY_EINVAL);
    static const size_t nonsense[] = { 0, 1, sizeof(size_t) - 1, SIZE_MAX, SIZE_MAX / 2, 1 << 20 };
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        room.stats = (eddy_stats){ .size = nonsense[i], .callbacks = 77 };
        CHECK_INT(eddy_loop_stats(loop, &room.stats), EDDY_EINVAL);
        CHECK_INT(room.stats.callbacks, 77);
    }
    eddy_loop_free(loop);
}

/* ---- slow callbacks ------------------------------------------------------------------------------------ */

static void spend(uint64_t ms)
{
    const uint64_t end = plain_now() + ms;
    while (plain_now() <= end) continue;
}

static void spend_data(struct got *got, void *data)
{
    (void)got;
    spend(*(const uint64_t *)data);
}

static int told_of(const struct reports *reports, const char *what)
{
    int count = 0;
    CHECK(reports->count <= 16);
    for (int i = 0; i < reports->count; i++) count += strstr(reports->messages[i], what) != NULL;
    return count;
}

static void slow_signal(void *arg)
{
    spend(*(const uint64_t *)arg);
}

TEST(slow_callbacks_are_told_and_counted, "")
{
    eddy_loop *loop = new_loop();
    struct reports reports = { 0 };
    GOT(slow);
    GOT(quick);
    GOT(read);
    uint64_t ms = 25, none = 0;
    slow.then = read.then = spend_data;
    slow.data = read.data = &ms;
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    START(&slow, eddy_loop_call_soon(loop, got_loop, &slow));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(reports.count, 0); /* off */
    CHECK_INT(stats_of(loop).slow_callbacks, 0);

    CHECK_INT(eddy_loop_set_debug(loop, 20), 0);
    START(&slow, eddy_loop_call_soon(loop, got_loop, &slow));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(reports.count, 1);
    CHECK_INT(stats_of(loop).slow_callbacks, 1);
    char expected[100];
    snprintf(expected, sizeof expected, "slow callback: an eddy_loop_cb at %#llx took ",
             (unsigned long long)(uintptr_t)got_loop);
    CHECK(strncmp(reports.messages[0], expected, strlen(expected)) == 0);
    CHECK(atoi(reports.messages[0] + strlen(expected)) >= 25);
    CHECK_STR(strrchr(reports.messages[0], ' '), " ms");

    eddy_reader *reader = eddy_reader_new(loop, 100);
    START(&read, eddy_reader_readline(reader, got_read, &read));
    CHECK_INT(eddy_reader_feed_data(reader, "line\n", 5), 0);
    CHECK_INT(eddy_loop_add_signal_handler(loop, SIGUSR1, slow_signal, &ms), 0);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(told_of(&reports, "an eddy_read_cb at"), 1);
    CHECK_INT(told_of(&reports, "a signal's eddy_fn at"), 1);
    CHECK_INT(stats_of(loop).slow_callbacks, 3);

    /* A callback that is quick beside one that is not. */
    CHECK_INT(eddy_loop_set_debug(loop, 60000), 0);
    START(&slow, eddy_loop_call_soon(loop, got_loop, &slow));
    quick.then = spend_data;
    quick.data = &none;
    START(&quick, eddy_loop_call_soon(loop, got_loop, &quick));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(reports.count, 3);
    CHECK_INT(eddy_loop_set_debug(loop, UINT64_MAX), 0);
    START(&slow, eddy_loop_call_soon(loop, got_loop, &slow));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(eddy_loop_set_debug(loop, 0), 0); /* off again */
    START(&slow, eddy_loop_call_soon(loop, got_loop, &slow));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(reports.count, 3);
    CHECK_INT(stats_of(loop).slow_callbacks, 3);
    eddy_loop_free(loop);
    CHECK_INT(reports.count, 3);
}

static void set_debug_and_stop(struct got *got, void *data)
{
    CHECK_INT(eddy_loop_set_debug(got->loop, *(const uint64_t *)data), 0);
    spend(5); /* of this one it is too late to tell */
    CHECK_INT(eddy_loop_stop(got->loop), 0);
}

TEST(debug_mode_begins_within_a_run_and_a_stop_does_not_hide_the_slow_one, "")
{
    eddy_loop *loop = new_loop();
    struct reports reports = { 0 };
    GOT(first);
    GOT(second);
    uint64_t limit = 3;
    first.then = second.then = set_debug_and_stop;
    first.data = second.data = &limit;
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    START(&first, eddy_loop_call_soon(loop, got_loop, &first));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(stats_of(loop).slow_callbacks, 0);
    second.then = spend_data;
    const uint64_t ms = 5;
    second.data = (void *)(uintptr_t)&ms;
    START(&second, eddy_loop_call_soon(loop, got_loop, &second));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(reports.count, 1);
    CHECK_INT(stats_of(loop).slow_callbacks, 1);
    eddy_loop_free(loop);
}

static void slow_handler(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    int *count = arg;
    (void)loop, (void)message, (void)error;
    ++*count;
    spend(5);
}

TEST(a_slow_exception_handler_is_not_told_of_itself, "")
{
    eddy_loop *loop = new_loop();
    int count = 0;
    CHECK_INT(eddy_loop_set_exception_handler(loop, slow_handler, &count), 0);
    CHECK_INT(eddy_loop_set_debug(loop, 3), 0);
    CHECK_INT(eddy_reader_feed_eof(NULL), EDDY_ESTALE);
    settle(loop);
    CHECK_INT(count, 1);
    CHECK_INT(stats_of(loop).slow_callbacks, 1);
    eddy_loop_free(loop);
}

/* ---- leaks --------------------------------------------------------------------------------------------- */

static const char *const leaks[] = {
    "eddy_loop_free: 3 reads still waiting",
    "eddy_loop_free: 2 drains still waiting",
    "eddy_loop_free: 1 eddy_writer_wait_closed still waiting",
    "eddy_loop_free: 2 eddy_server_wait_closed still waiting",
    "eddy_loop_free: 1 connection still being opened",
    "eddy_loop_free: 1 server still being started",
    "eddy_loop_free: 2 eddy_loop_call_later still waiting",
    "eddy_loop_free: 3 eddy_loop_call_soon still waiting",
    "eddy_loop_free: 2 writers still open",
    "eddy_loop_free: 1 server still open",
};
enum { LEAKS = sizeof leaks / sizeof leaks[0] };

struct left {
    struct reports reports;
    int canceled, canceled_before_all_was_told;
};

static void left_over(struct got *got, void *data)
{
    struct left *left = data;
    (void)got;
    if (left->reports.count < LEAKS) left->canceled_before_all_was_told++;
    left->canceled++;
}

static void nobody(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)writer, (void)error, (void)arg;
}

/* One of everything, or more. All that is left calls back to `got`. */
static void leave_much(eddy_loop *loop, struct end *ends, struct got *got)
{
    for (int i = 0; i < 3; i++) {
        ends[i] = end_unix_on(loop, NULL);
        START(got, eddy_reader_readline(ends[i].reader, got_read, got));
    }
    char *bytes = plain_fill(1 << 20);
    CHECK_INT(eddy_writer_write(ends[0].writer, bytes, 1 << 20), 1);
    free(bytes);
    GOT(served);
    eddy_server *server = NULL;
    served.then = take_server;
    served.data = &server;
    START(&served, eddy_start_server(loop, nobody, "127.0.0.1", 0, NULL, got_server, &served));
    RUN_UNTIL(loop, served.count > 0);
    START(got, eddy_writer_drain(ends[0].writer, got_writer, got));
    START(got, eddy_writer_drain(ends[0].writer, got_writer, got));
    settle(loop);
    START(got, eddy_writer_wait_closed(ends[0].writer, got_writer, got));
    START(got, eddy_server_wait_closed(server, got_server, got));
    START(got, eddy_server_wait_closed(server, got_server, got));
    CHECK_INT(eddy_writer_close(ends[1].writer), 0); /* it is not left open; its read ended with the close */
    settle(loop);
    CHECK_INT(got->count, 1);
    eddy_reader *reader = eddy_reader_new(loop, 100);
    START(got, eddy_reader_readline(reader, got_read, got));
    START(got, eddy_open_connection(loop, "127.0.0.1", 1, NULL, got_stream, got));
    START(got, eddy_start_server(loop, nobody, "127.0.0.1", 0, NULL, got_server, got));
    START(got, eddy_loop_call_later(loop, 100000, got_loop, got));
    START(got, eddy_loop_call_later(loop, 200000, got_loop, got));
    START(got, eddy_loop_call_soon(loop, got_loop, got));
    START(got, eddy_loop_call_soon(loop, got_loop, got));
    CHECK_INT(eddy_loop_call_soon_threadsafe(loop, got_loop, got), 0);
}

static void free_the_loop(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)arg;
    CHECK(error == NULL);
    eddy_loop_free(loop);
}

TEST(what_is_left_is_told_before_it_is_cancelled, "")
{
    for (int inside = 0; inside < 2; inside++) {
        eddy_loop *loop = new_loop();
        struct left left = { .canceled = 0 };
        struct end ends[3];
        GOT(got);
        CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &left.reports), 0);
        if (inside) CHECK(eddy_loop_call_later(loop, 0, free_the_loop, NULL) >= 0);
        /* Of what is started here nothing runs before the loop is freed. */
        if (!inside) leave_much(loop, ends, &got);
        CHECK_INT(eddy_loop_set_debug(loop, UINT64_MAX), 0);
        if (!inside) {
            got.then = left_over;
            got.data = &left;
            eddy_loop_free(loop);
            CHECK_INT(left.reports.count, LEAKS);
            for (int i = 0; i < LEAKS; i++) CHECK_STR(left.reports.messages[i], leaks[i]);
            CHECK_INT(left.canceled, 15);
            CHECK_INT(left.canceled_before_all_was_told, 0);
            for (int i = 0; i < 3; i++) close(ends[i].peer);
        } else {
            START(&got, eddy_reader_readline(eddy_reader_new(loop, 100), got_read, &got));
            CHECK_INT(eddy_loop_run(loop), 0);
            CHECK_INT(got.code, EDDY_ECANCELED);
            CHECK_INT(left.reports.count, 1);
            CHECK_STR(left.reports.messages[0], "eddy_loop_free: 1 read still waiting");
        }
    }
}

TEST(nothing_is_told_of_a_loop_that_is_tidy_or_not_in_debug_mode, "")
{
    eddy_loop *loop = new_loop();
    struct reports reports = { 0 };
    struct end ends[3];
    GOT(got);
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    leave_much(loop, ends, &got);
    eddy_loop_free(loop);
    CHECK_INT(reports.count, 0);
    CHECK_INT(got.count, 16);
    for (int i = 0; i < 3; i++) close(ends[i].peer);

    struct end end = end_unix(NULL);
    GOT(line);
    CHECK_INT(eddy_loop_set_exception_handler(end.loop, got_report, &reports), 0);
    CHECK_INT(eddy_loop_set_debug(end.loop, UINT64_MAX), 0);
    plain_send_text(end.peer, "line\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    CHECK_INT(eddy_loop_run(end.loop), 0);
    eddy_writer_free(end.writer);
    end_close_peer(&end);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    end_free(&end);
    CHECK_INT(reports.count, 0);
}

/* ---- what handles say of themselves -------------------------------------------------------------------- */

static void check_repr(const void *handle, const char *format)
{
    char expected[200];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(expected, sizeof expected, format, (unsigned long long)(uintptr_t)handle);
#pragma GCC diagnostic pop
    CHECK_STR(eddy_repr(handle), expected);
}

TEST(handles_that_are_no_good_say_so, "")
{
    int here;
    check_repr(NULL, "<NULL>");
    check_repr(&here, "<no eddy handle %#llx>");
    check_repr((void *)1, "<no eddy handle %#llx>");
    check_repr((void *)UINTPTR_MAX, "<no eddy handle %#llx>");
    eddy_loop *loop = new_loop();
    struct end end = end_unix_on(loop, NULL);
    check_repr(loop, "<eddy_loop 1 connections, 0 servers, 0 waiting>");
    CHECK(strncmp(eddy_repr(end.reader), "<eddy_reader fd=", 16) == 0);
    /* A receipt is a number, and no handle. */
    GOT(call);
    eddy_op op = START(&call, eddy_loop_call_later(loop, 100000, got_loop, &call));
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    check_repr((void *)(intptr_t)op, "<no eddy handle %#llx>");

    eddy_writer_free(end.writer);
    check_repr(end.writer, "<stale eddy_writer %#llx>");
    check_repr(end.reader, "<stale eddy_reader %#llx>");
    /* Made up: of a life, a place and a loop that there are not. */
    const uintptr_t made_up = (uintptr_t)end.writer;
    check_repr((void *)(made_up ^ 1u << 20), "<stale eddy_writer %#llx>");
    check_repr((void *)(made_up ^ 0xffff), "<stale eddy_writer %#llx>");
    check_repr((void *)((uintptr_t)loop ^ 1u << 21), "<stale eddy_loop %#llx>");
    end.peer = (close(end.peer), -1);
    eddy_loop_free(loop);
    check_repr(loop, "<stale eddy_loop %#llx>");
    check_repr(end.writer, "<stale eddy_writer %#llx>");
}

static void *look_from_elsewhere(void *arg)
{
    void **handles = arg;
    check_repr(handles[0], "<another thread's eddy_loop %#llx>");
    check_repr(handles[1], "<another thread's eddy_reader %#llx>");
    check_repr(NULL, "<NULL>");
    return NULL;
}

TEST(another_threads_handles_say_so, "")
{
    eddy_loop *loop = new_loop();
    void *handles[2] = { loop, eddy_reader_new(loop, 100) };
    plain_join(plain_start(look_from_elsewhere, handles));
    eddy_loop_free(loop);
}
