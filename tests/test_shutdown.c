/* Servers that stop: for a while (pause, max_clients), and for good (shutdown). */
#include "ends.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

/* ---- a server, and who comes to it --------------------------------------------------------------------- */

enum { FIRST = 16 };

struct hall {
    eddy_loop *loop;
    eddy_server *server;
    struct got started;
    enum { KEEP, ECHO } way;
    int came, here, most; /* clients so far; those that are not gone yet, and the most of them at a time */
    bool barred;          /* nobody may come now */
    struct reports reports;
    int mistakes; /* so many are reported, since the test makes them */
    void (*then)(struct hall *hall, eddy_writer *writer); /* last in the client callback */
    eddy_reader *reader[FIRST];
    eddy_writer *writer[FIRST];
};

static void hall_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    eddy_writer *writer = arg;
    if (error != NULL || len == 0) {
        eddy_writer_free(writer);
        return;
    }
    CHECK(eddy_writer_write(writer, line, len) >= 0);
    CHECK(eddy_reader_readline(reader, hall_line, writer) >= 0);
}

static void hall_gone(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct hall *hall = arg;
    (void)writer, (void)error;
    hall->here--;
}

static void hall_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct hall *hall = arg;
    CHECK(error == NULL);
    CHECK(!hall->barred);
    int i = hall->came++;
    if (i < FIRST) hall->reader[i] = reader, hall->writer[i] = writer;
    if (++hall->here > hall->most) hall->most = hall->here;
    CHECK(eddy_writer_wait_closed(writer, hall_gone, hall) >= 0);
    if (hall->way == ECHO) CHECK(eddy_reader_readline(reader, hall_line, writer) >= 0);
    if (hall->then != NULL) hall->then(hall, writer);
}

static void hall_started(eddy_server *server, const eddy_error *error, void *arg)
{
    struct hall *hall = arg;
    got_server(server, error, &hall->started);
    hall->server = server;
}

static void hall_begun(struct hall *hall)
{
    eddy_loop_set_exception_handler(hall->loop, got_report, &hall->reports);
    RUN_UNTIL(hall->loop, hall->started.count > 0);
    if (hall->started.code != 0) FAIL("%s", hall->started.message);
}

/* Opens it for another server, on the same loop. */
static void hall_open(struct hall *hall, const eddy_options *options)
{
    got_release(&hall->started);
    hall->started = (struct got){ .count = 0 };
    hall->came = hall->here = hall->most = 0;
    START(&hall->started,
          eddy_start_server(hall->loop, hall_client, "127.0.0.1", 0, options, hall_started, hall));
    hall_begun(hall);
}

static void hall_release(struct hall *hall)
{
    eddy_loop_free(hall->loop);
    CHECK_INT(hall->here, 0);
    CHECK_INT(hall->reports.count, hall->mistakes);
    got_release(&hall->started);
}

#define HALL(name, ...)                                                                            \
    struct hall name __attribute__((cleanup(hall_release))) = { .loop = eddy_loop_new(), __VA_ARGS__ }

static uint16_t hall_port(const struct hall *hall)
{
    return plain_port((int)eddy_server_socket(hall->server, 0));
}

/* A client, already let in. */
static int hall_enter(struct hall *hall)
{
    int before = hall->came, peer = plain_connect(hall_port(hall));
    RUN_UNTIL(hall->loop, hall->came > before);
    return peer;
}

static bool readable(int fd)
{
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    return poll(&ready, 1, 0) == 1;
}

static void check_echo(struct hall *hall, int peer)
{
    char bytes[4];
    plain_send_text(peer, "hey\n");
    PUMP_UNTIL(hall->loop, readable(peer));
    CHECK_INT(plain_recv(peer, bytes, 4), 4);
    CHECK(memcmp(bytes, "hey\n", 4) == 0);
}

/* How the peer sees the connection end: 0, or the error's number. What comes before is thrown away, or kept. */
static int end_of(struct hall *hall, int peer, char *text, size_t room)
{
    static char bytes[65536];
    size_t kept = 0;
    uint64_t deadline = plain_now() + 10000 * (uint64_t)eddy_test_slow();
    for (;;) {
        long n = plain_look(peer, bytes, sizeof bytes);
        if (n == -EAGAIN) {
            if (plain_now() > deadline) FAIL("the peer never saw the end");
            end_pump(hall->loop, 2);
            continue;
        }
        if (n <= 0) {
            if (text != NULL) text[kept] = '\0';
            return (int)-n;
        }
        for (long i = 0; i < n && text != NULL && kept + 1 < room; i++) text[kept++] = bytes[i];
    }
}

/* Gives a client so much to read that most of it stays here, as long as it does not read. */
static void stuff(const struct hall *hall, int i, int peer)
{
    static const size_t size = 3000000;
    char *bytes = plain_fill(size);
    plain_set(end_descriptor(hall->writer[i]), SOL_SOCKET, SO_SNDBUF, 65536, "SO_SNDBUF");
    plain_set(peer, SOL_SOCKET, SO_RCVBUF, 65536, "SO_RCVBUF");
    CHECK_INT(eddy_writer_write(hall->writer[i], bytes, size), 1);
    free(bytes);
}

/* Threads that come to a server, one visit after the other: each says something, hears it, and goes. */
struct visitor {
    const char *path; /* or over TCP */
    uint16_t port;
    int visits;
    atomic_int done;
};

static void *visit(void *arg)
{
    struct visitor *visitor = arg;
    for (int i = 0; i < visitor->visits; i++) {
        int fd = visitor->path != NULL ? plain_unix_connect(visitor->path) : plain_connect(visitor->port);
        char bytes[6];
        plain_send_text(fd, "visit\n");
        if (plain_recv(fd, bytes, 6) != 6) FAIL("a client was not served");
        close(fd);
        atomic_fetch_add(&visitor->done, 1);
    }
    return NULL;
}

/* ---- pause and resume ---------------------------------------------------------------------------------- */

TEST(a_paused_server_accepts_nobody_and_all_who_waited_once_it_is_resumed, "")
{
    HALL(hall, .way = ECHO);
    hall_open(&hall, NULL);
    int peers[5], before = hall_enter(&hall);
    CHECK_INT(eddy_server_pause(hall.server), 0);
    CHECK_INT(eddy_server_pause(hall.server), 0);
    hall.barred = true;
    for (int i = 0; i < 5; i++) peers[i] = plain_connect(hall_port(&hall)); /* the kernel lets them wait */
    end_pump(hall.loop, 20);
    CHECK_INT(hall.came, 1);
    CHECK(eddy_server_is_serving(hall.server));
    CHECK(eddy_server_socket(hall.server, 0) >= 0);
    CHECK(strstr(eddy_repr(hall.server), " paused,") != NULL);
    check_echo(&hall, before);                          /* those who are here are served */
    CHECK_INT(eddy_loop_run_once(hall.loop, 0), 1); /* there is something to wait for */

    /* All edges are used up: the poll has nothing more to tell. And whoever watches the descriptor hears of it. */
    int fd = eddy_loop_fd(hall.loop);
    settle(hall.loop);
    CHECK(!readable(fd));
    CHECK_INT(eddy_server_resume(hall.server), 0);
    CHECK(readable(fd));
    CHECK_INT(hall.came, 1);
    hall.barred = false;
    CHECK_INT(eddy_loop_run_once(hall.loop, 0), 1);
    CHECK_INT(eddy_loop_run_once(hall.loop, 0), 1);
    CHECK_INT(hall.came, 6);
    CHECK_INT(eddy_server_resume(hall.server), 0); /* no pause to end */
    CHECK(strstr(eddy_repr(hall.server), "paused") == NULL);
    for (int i = 0; i < 5; i++) {
        check_echo(&hall, peers[i]);
        close(peers[i]);
    }
    close(before);
    close(hall_enter(&hall));
    CHECK_INT(eddy_server_close(hall.server), 0);
    CHECK_INT(eddy_server_pause(hall.server), EDDY_ESTATE);
    CHECK_INT(eddy_server_resume(hall.server), EDDY_ESTATE);
    CHECK_INT(eddy_loop_run(hall.loop), 0);
}

static void pause_after_two(struct hall *hall, eddy_writer *writer)
{
    (void)writer;
    if (hall->came % 2 != 0) return;
    CHECK_INT(eddy_server_pause(hall->server), 0);
    hall->barred = true;
}

TEST(a_server_can_be_paused_by_its_client_callback, "")
{
    HALL(hall, .way = KEEP, .then = pause_after_two);
    hall_open(&hall, NULL);
    int peers[6];
    for (int i = 0; i < 6; i++) peers[i] = plain_connect(hall_port(&hall));
    for (int round = 1; round <= 3; round++) {
        RUN_UNTIL(hall.loop, hall.came == 2 * round);
        end_pump(hall.loop, 5);
        CHECK_INT(hall.came, 2 * round);
        hall.barred = false;
        CHECK_INT(eddy_server_resume(hall.server), 0);
    }
    for (int i = 0; i < 6; i++) close(peers[i]);
}

TEST(a_paused_server_that_is_closed_forgets_those_who_wait, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, NULL);
    GOT(closed);
    CHECK_INT(eddy_server_pause(hall.server), 0);
    hall.barred = true;
    int peer = plain_connect(hall_port(&hall));
    end_pump(hall.loop, 5);
    CHECK_INT(eddy_server_resume(hall.server), 0); /* and closed before its turn comes */
    START(&closed, eddy_server_shutdown(hall.server, EDDY_NEVER, got_server, &closed));
    CHECK_INT(end_of(&hall, peer, NULL, 0), ECONNRESET);
    CHECK_INT(eddy_loop_run(hall.loop), 0);
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.code, 0);
    close(peer);
}

TEST(pausing_again_and_again_under_load_forgets_nobody, "")
{
    enum { VISITORS = 4 };
    const int visits = eddy_test_slow() > 1 ? 30 : 250;
    HALL(hall, .way = ECHO);
    hall_open(&hall, NULL);
    struct visitor visitors[VISITORS];
    pthread_t threads[VISITORS];
    int pauses = 0, done = 0;
    for (int i = 0; i < VISITORS; i++) {
        visitors[i] = (struct visitor){ .port = hall_port(&hall), .visits = visits };
        threads[i] = plain_start(visit, &visitors[i]);
    }
    uint64_t deadline = plain_now() + 30000 * (uint64_t)eddy_test_slow();
    while (done < VISITORS * visits) {
        if (plain_now() > deadline) FAIL("%d of %d visits are over", done, VISITORS * visits);
        CHECK_INT(eddy_server_pause(hall.server), 0);
        hall.barred = true;
        pauses++;
        end_pump(hall.loop, (unsigned)pauses % 3);
        hall.barred = false;
        CHECK_INT(eddy_server_resume(hall.server), 0);
        end_pump(hall.loop, (unsigned)pauses % 2);
        done = 0;
        for (int i = 0; i < VISITORS; i++) done += atomic_load(&visitors[i].done);
    }
    for (int i = 0; i < VISITORS; i++) plain_join(threads[i]);
    CHECK_INT(hall.came, VISITORS * visits);
    CHECK(pauses > 10);
    PUMP_UNTIL(hall.loop, hall.here == 0);
}

/* ---- max_clients --------------------------------------------------------------------------------------- */

TEST(a_full_server_lets_the_next_one_in_when_one_is_gone, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, EDDY_OPTIONS(.max_clients = 2));
    int peers[6];
    for (int i = 0; i < 6; i++) peers[i] = plain_connect(hall_port(&hall));
    RUN_UNTIL(hall.loop, hall.came == 2);
    end_pump(hall.loop, 20);
    for (int left = 0; left < 4; left++) {
        CHECK_INT(hall.came, left + 2);
        if (left == 0) eddy_writer_free(hall.writer[left]); /* each client ends in its own way */
        if (left == 1) CHECK_INT(eddy_writer_abort(hall.writer[left]), 0);
        if (left == 2) plain_reset(peers[left]);
        if (left == 3) CHECK_INT(eddy_writer_close(hall.writer[left]), 0);
        RUN_UNTIL(hall.loop, hall.came == left + 3);
        end_pump(hall.loop, 5);
    }
    CHECK_INT(hall.came, 6);
    CHECK_INT(hall.most, 2);
    for (int i = 0; i < 6; i++)
        if (i != 2) close(peers[i]);
}

TEST(without_a_bound_as_many_come_as_there_are, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, EDDY_OPTIONS(.max_clients = 0));
    int peers[60];
    for (int i = 0; i < 60; i++) peers[i] = plain_connect(hall_port(&hall));
    RUN_UNTIL(hall.loop, hall.here == 60);
    for (int i = 0; i < 60; i++) close(peers[i]);
}

static void free_at_once(struct hall *hall, eddy_writer *writer)
{
    (void)hall;
    eddy_writer_free(writer);
}

TEST(a_client_that_is_freed_in_its_callback_makes_room_at_once, "")
{
    HALL(hall, .way = KEEP, .then = free_at_once);
    hall_open(&hall, EDDY_OPTIONS(.max_clients = 1));
    int peers[50];
    for (int i = 0; i < 50; i++) peers[i] = plain_connect(hall_port(&hall));
    RUN_UNTIL(hall.loop, hall.came == 50);
    CHECK_INT(hall.most, 1);
    for (int i = 0; i < 50; i++) close(peers[i]);
}

static void churn(size_t most, const char *path)
{
    enum { VISITORS = 10 };
    const int visits = eddy_test_slow() > 1 ? 10 : 50;
    HALL(hall, .way = ECHO);
    const eddy_options *options = EDDY_OPTIONS(.max_clients = most);
    if (path == NULL) {
        hall_open(&hall, options);
    } else {
        START(&hall.started,
              eddy_start_unix_server(hall.loop, hall_client, path, options, hall_started, &hall));
        hall_begun(&hall);
    }
    struct visitor visitors[VISITORS];
    pthread_t threads[VISITORS];
    for (int i = 0; i < VISITORS; i++) {
        visitors[i] = (struct visitor){ .path = path, .visits = visits };
        if (path == NULL) visitors[i].port = hall_port(&hall);
        threads[i] = plain_start(visit, &visitors[i]);
    }
    PUMP_UNTIL(hall.loop, hall.came == VISITORS * visits && hall.here == 0);
    for (int i = 0; i < VISITORS; i++) {
        plain_join(threads[i]);
        CHECK_INT(atomic_load(&visitors[i].done), visits);
    }
    CHECK_INT(hall.most, most); /* never more, and it was full at least once */
}

TEST(five_hundred_clients_are_served_one_at_a_time, "") { churn(1, NULL); }
TEST(five_hundred_clients_are_served_three_at_a_time, "") { churn(3, NULL); }
TEST(a_full_unix_server_forgets_nobody, "") { churn(2, "@eddy-test-max-clients"); }

static void abort_the_first(struct got *got, void *data)
{
    (void)got;
    CHECK_INT(eddy_writer_abort(((struct hall *)data)->writer[0]), 0);
}

TEST(one_is_gone_when_that_has_been_told, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, EDDY_OPTIONS(.max_clients = 1));
    GOT(byte);
    byte.then = abort_the_first;
    byte.data = &hall;
    struct end end = end_tcp_on(hall.loop, NULL);
    START(&byte, eddy_reader_read(end.reader, 1, got_read, &byte));
    int first = hall_enter(&hall), second;
    settle(hall.loop);
    plain_send_text(end.peer, "!"); /* these two are in one round: the end of the first, and the second */
    second = plain_connect(hall_port(&hall));
    RUN_UNTIL(hall.loop, hall.came == 2);
    CHECK_INT(byte.count, 1);
    CHECK_INT(hall.most, 1);
    close(first);
    close(second);
    close(end.peer);
}

TEST(a_full_server_is_paused_and_resumed, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, EDDY_OPTIONS(.max_clients = 1));
    int peers[3];
    for (int i = 0; i < 3; i++) peers[i] = plain_connect(hall_port(&hall));
    RUN_UNTIL(hall.loop, hall.came == 1);
    end_pump(hall.loop, 5);
    CHECK_INT(eddy_server_pause(hall.server), 0);
    hall.barred = true;
    eddy_writer_free(hall.writer[0]); /* room, and yet a pause */
    RUN_UNTIL(hall.loop, hall.here == 0);
    settle(hall.loop);
    CHECK(eddy_loop_timeout(hall.loop) != 0); /* nothing turns round and round */
    hall.barred = false;
    CHECK_INT(eddy_server_resume(hall.server), 0);
    RUN_UNTIL(hall.loop, hall.came == 2);
    end_pump(hall.loop, 5);
    CHECK_INT(hall.came, 2); /* resumed, and yet full */
    eddy_writer_free(hall.writer[1]);
    RUN_UNTIL(hall.loop, hall.came == 3);
    CHECK_INT(hall.most, 1);
    for (int i = 0; i < 3; i++) close(peers[i]);
}

/* A server with a socket for each family. */
static bool hall_open_everywhere(struct hall *hall, const eddy_options *options)
{
    if (!plain_has_v6()) {
        printf("   (no IPv6 here)\n");
        return false;
    }
    START(&hall->started,
          eddy_start_server(hall->loop, hall_client, NULL, 0, options, hall_started, hall));
    hall_begun(hall);
    CHECK(eddy_server_socket(hall->server, 1) >= 0);
    return true;
}

/* Connects to one of the server's sockets. */
static int connect_at(const struct hall *hall, size_t at)
{
    int listener = (int)eddy_server_socket(hall->server, at), family;
    socklen_t len = sizeof family;
    plain_ok(getsockopt(listener, SOL_SOCKET, SO_DOMAIN, &family, &len), "SO_DOMAIN");
    if (family == AF_INET) return plain_connect(plain_port(listener));
    struct sockaddr_in6 v6 = plain_v6("::1", plain_port(listener));
    int fd = plain_ok(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    plain_ok(connect(fd, (struct sockaddr *)&v6, sizeof v6), "connect");
    return fd;
}

static bool came_over_v6(const struct hall *hall, int i)
{
    return eddy_writer_get_extra_info(hall->writer[i], "sockname", NULL)[0] == '[';
}

TEST(those_who_wait_at_one_address_come_before_those_who_come_to_another, "")
{
    HALL(hall, .way = KEEP);
    if (!hall_open_everywhere(&hall, EDDY_OPTIONS(.max_clients = 1))) return;
    int peers[3] = { connect_at(&hall, 0), connect_at(&hall, 0), -1 };
    RUN_UNTIL(hall.loop, hall.came == 1);
    settle(hall.loop);
    bool v6 = came_over_v6(&hall, 0);
    eddy_writer_free(hall.writer[0]);
    peers[2] = connect_at(&hall, 1); /* in the very round in which there is room */
    RUN_UNTIL(hall.loop, hall.came == 2);
    CHECK(came_over_v6(&hall, 1) == v6);
    eddy_writer_free(hall.writer[1]);
    RUN_UNTIL(hall.loop, hall.came == 3);
    for (int i = 0; i < 3; i++) close(peers[i]);
}

TEST(those_who_come_to_one_address_do_not_shut_out_the_others, "")
{
    enum { COUNT = 8 };
    HALL(hall, .way = KEEP);
    if (!hall_open_everywhere(&hall, EDDY_OPTIONS(.max_clients = 1))) return;
    int peers[2][COUNT], of_each[2] = { 0, 0 };
    for (size_t at = 0; at < 2; at++)
        for (int i = 0; i < COUNT; i++) peers[at][i] = connect_at(&hall, at);
    for (int i = 0; i < 2 * COUNT; i++) {
        RUN_UNTIL(hall.loop, hall.came == i + 1);
        of_each[came_over_v6(&hall, i)]++;
        if (i >= 2 && i < COUNT) CHECK(of_each[0] >= i / 2 - 1 && of_each[1] >= i / 2 - 1); /* by turns */
        eddy_writer_free(hall.writer[i]);
    }
    CHECK_INT(of_each[0], COUNT);
    CHECK_INT(of_each[1], COUNT);
    CHECK_INT(hall.most, 1);
    for (int i = 0; i < 2 * COUNT; i++) close(peers[i / COUNT][i % COUNT]);
}

/* ---- shutdown: clean ----------------------------------------------------------------------------------- */

TEST(a_server_without_clients_is_shut_down_in_the_next_round, "")
{
    static const uint64_t graces[] = { 0, 1, 60000, EDDY_NEVER - 1, EDDY_NEVER };
    HALL(hall, .way = KEEP);
    for (size_t i = 0; i < sizeof graces / sizeof graces[0]; i++) {
        hall_open(&hall, NULL);
        GOT(down);
        uint16_t port = hall_port(&hall);
        intptr_t fd = eddy_server_socket(hall.server, 0);
        CHECK_INT(eddy_server_shutdown(hall.server, graces[i], NULL, NULL), EDDY_EINVAL);
        CHECK(eddy_server_is_serving(hall.server));
        START(&down, eddy_server_shutdown(hall.server, graces[i], got_server, &down));
        CHECK(!eddy_server_is_serving(hall.server));
        CHECK(!plain_is_open((int)fd));
        CHECK_INT(plain_knock(port), ECONNREFUSED);
        CHECK_INT(eddy_loop_run(hall.loop), 0); /* returns: nothing is left to wait for, whatever the grace */
        CHECK_INT(down.count, 1);
        CHECK_INT(down.code, 0);
        CHECK(down.server == hall.server);
        START(&down, eddy_server_shutdown(hall.server, graces[i], got_server, &down)); /* once more: it is over */
        CHECK_INT(eddy_loop_run(hall.loop), 0);
        CHECK_INT(down.count, 2);
        CHECK_INT(down.code, 0);
        eddy_server_free(hall.server);
        CHECK_INT(eddy_server_shutdown(hall.server, 0, got_server, &down), EDDY_ESTALE);
        hall.mistakes++;
        settle(hall.loop);
        CHECK_INT(down.count, 2);
    }
}

TEST(a_shutdown_waits_for_the_last_client_and_says_that_it_was_clean, "V17 V18")
{
    HALL(hall, .way = ECHO);
    hall_open(&hall, NULL);
    GOT(down);
    uint16_t port = hall_port(&hall);
    int first = hall_enter(&hall), second = hall_enter(&hall);
    START(&down, eddy_server_shutdown(hall.server, EDDY_NEVER, got_server, &down));
    CHECK_INT(plain_knock(port), ECONNREFUSED);
    check_echo(&hall, first);
    check_echo(&hall, second);
    close(first);
    RUN_UNTIL(hall.loop, hall.here == 1);
    check_echo(&hall, second);
    CHECK_INT(down.count, 0);
    close(second);
    CHECK_INT(eddy_loop_run(hall.loop), 0);
    CHECK_INT(down.count, 1);
    CHECK_INT(down.code, 0);
}

TEST(within_its_grace_a_client_gets_all_that_was_written, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, NULL);
    GOT(down);
    int peer = hall_enter(&hall), error;
    struct end end = { .loop = hall.loop, .peer = peer };
    stuff(&hall, 0, peer);
    START(&down, eddy_server_shutdown(hall.server, 60000, got_server, &down));
    eddy_writer_free(hall.writer[0]); /* says good-bye, after 3 MB */
    end_pump(hall.loop, 20);
    CHECK_INT(down.count, 0);
    CHECK_INT(end_peer_reads_pattern(&end, &error), 3000000);
    CHECK_INT(error, 0);
    close(peer);
    CHECK_INT(eddy_loop_run(hall.loop), 0);
    CHECK_INT(down.count, 1);
    CHECK_INT(down.code, 0);
}

/* ---- shutdown: by force -------------------------------------------------------------------------------- */

struct down {
    struct got got;
    uint64_t at;
};

static void note_time(struct got *got, void *data)
{
    (void)got;
    ((struct down *)data)->at = plain_now();
}

static void down_release(struct down *down)
{
    got_release(&down->got);
}

#define DOWN(name) struct down name __attribute__((cleanup(down_release))) = { .got = { .then = note_time, .data = &name } }
#define SHUTDOWN(hall, grace, down)                                                                \
    START(&(down)->got, eddy_server_shutdown((hall)->server, (grace), got_server, &(down)->got))

/* Not before its time; after it only as late as a machine may be that does other things too. */
static void check_in_time(uint64_t start, uint64_t at, uint64_t grace)
{
    if (at - start < grace) FAIL("after %llu ms, not %llu", (unsigned long long)(at - start), (unsigned long long)grace);
    CHECK(at - start < grace + 5000 * (uint64_t)eddy_test_slow());
}

TEST(when_the_grace_is_over_idle_clients_are_closed_and_stuck_ones_aborted, "")
{
    enum { GRACE = 200 };
    HALL(hall, .way = KEEP);
    hall_open(&hall, NULL);
    DOWN(down);
    GOT(closed);
    GOT(line);
    GOT(drained);
    char text[64];
    int peers[4];
    for (int i = 0; i < 4; i++) peers[i] = hall_enter(&hall);
    stuff(&hall, 0, peers[0]);
    stuff(&hall, 1, peers[1]);
    CHECK_INT(eddy_writer_close(hall.writer[1]), 0); /* on its way out, but the peer does not let it go */
    START(&drained, eddy_writer_drain(hall.writer[0], got_writer, &drained));
    CHECK_INT(eddy_writer_write(hall.writer[2], "partial", 7), 0);
    START(&line, eddy_reader_readline(hall.reader[3], got_read, &line));
    uint64_t start = plain_now();
    SHUTDOWN(&hall, GRACE, &down);
    START(&closed, eddy_server_wait_closed(hall.server, got_server, &closed));
    end_pump(hall.loop, GRACE / 4);
    if (plain_now() - start < GRACE) { /* unless the machine was asleep */
        CHECK_INT(hall.here, 4);
        CHECK_INT(down.got.count, 0);
    }
    RUN_UNTIL(hall.loop, down.got.count > 0 && closed.count > 0);
    check_in_time(start, down.at, GRACE);
    CHECK_INT(down.got.code, EDDY_ETIMEDOUT);
    CHECK_STR(down.got.message, "the grace was over; clients closed: 2, aborted: 2");
    CHECK_STR(eddy_strerror(EDDY_ETIMEDOUT), "timed out");
    CHECK(down.got.server == hall.server);
    CHECK_INT(closed.code, 0); /* it has asked for nothing but the end */
    settle(hall.loop);
    CHECK_INT(hall.here, 0);
    CHECK_INT(drained.code, EDDY_ELOST);
    CHECK_INT(line.count, 1);
    CHECK_INT(line.code, 0);
    CHECK_INT(line.len, 0); /* the end of the stream */
    CHECK_INT(end_of(&hall, peers[0], NULL, 0), ECONNRESET);
    CHECK_INT(end_of(&hall, peers[1], NULL, 0), ECONNRESET);
    CHECK_INT(end_of(&hall, peers[2], text, sizeof text), 0);
    CHECK_STR(text, "partial");
    CHECK_INT(end_of(&hall, peers[3], NULL, 0), 0);
    for (int i = 0; i < 4; i++) close(peers[i]);
    CHECK_INT(eddy_loop_run(hall.loop), 0);
    CHECK_INT(down.got.count, 1);
    CHECK_INT(closed.count, 1);
}

TEST(without_a_grace_clients_are_ended_at_once_after_what_the_sockets_take, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, NULL);
    DOWN(down);
    char text[64];
    int talks = hall_enter(&hall), stuck = hall_enter(&hall);
    stuff(&hall, 1, stuck);
    CHECK_INT(eddy_writer_write(hall.writer[0], "good-bye\n", 9), 0); /* gathered, not sent yet */
    SHUTDOWN(&hall, 0, &down);
    CHECK_INT(hall.here, 2);
    RUN_UNTIL(hall.loop, down.got.count > 0);
    CHECK_INT(down.got.code, EDDY_ETIMEDOUT);
    CHECK_STR(down.got.message, "the grace was over; clients closed: 1, aborted: 1");
    CHECK_INT(end_of(&hall, talks, text, sizeof text), 0);
    CHECK_STR(text, "good-bye\n");
    CHECK_INT(end_of(&hall, stuck, NULL, 0), ECONNRESET);
    close(talks);
    close(stuck);
    CHECK_INT(eddy_loop_run(hall.loop), 0);
}

TEST(clients_that_close_by_themselves_in_time_are_not_forced, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, NULL);
    DOWN(down);
    int peer = hall_enter(&hall);
    eddy_writer_write(hall.writer[0], "that was all\n", 13);
    eddy_writer_free(hall.writer[0]);
    SHUTDOWN(&hall, 0, &down); /* in the same round: what is closing with nothing stuck just goes */
    RUN_UNTIL(hall.loop, down.got.count > 0);
    CHECK_INT(down.got.code, 0);
    close(peer);
}

TEST(of_two_graces_the_shorter_one_counts_and_both_are_told, "a04")
{
    static const uint64_t graces[][2] = { { 60000, 100 }, { 100, 60000 }, { EDDY_NEVER, 100 }, { 100, EDDY_NEVER } };
    HALL(hall, .way = KEEP);
    for (int i = 0; i < 4; i++) {
        hall_open(&hall, NULL);
        DOWN(first);
        DOWN(second);
        int peer = hall_enter(&hall);
        uint64_t start = plain_now();
        SHUTDOWN(&hall, graces[i][0], &first);
        end_pump(hall.loop, 1);
        if (graces[i][1] == 100) start = plain_now();
        SHUTDOWN(&hall, graces[i][1], &second);
        RUN_UNTIL(hall.loop, first.got.count + second.got.count == 2);
        check_in_time(start, first.at, 100);
        CHECK_INT(first.got.count, 1);
        CHECK_INT(first.got.code, EDDY_ETIMEDOUT);
        CHECK_INT(second.got.code, EDDY_ETIMEDOUT);
        CHECK(first.got.order < second.got.order);
        close(peer);
    }
}

TEST(a_cancelled_shutdown_leaves_the_server_closed_and_the_clients_alone, "")
{
    HALL(hall, .way = ECHO);
    hall_open(&hall, NULL);
    DOWN(down);
    uint16_t port = hall_port(&hall);
    int peer = hall_enter(&hall);
    eddy_op op = SHUTDOWN(&hall, 50, &down);
    CHECK_INT(eddy_loop_cancel(hall.loop, op), 0);
    CHECK_INT(down.got.count, 0);
    CHECK_INT(eddy_loop_cancel(hall.loop, op), EDDY_ESTALE);
    end_pump(hall.loop, 120);
    CHECK_INT(down.got.count, 1);
    CHECK_INT(down.got.code, EDDY_ECANCELED);
    CHECK(!eddy_server_is_serving(hall.server));
    CHECK_INT(plain_knock(port), ECONNREFUSED);
    check_echo(&hall, peer); /* the grace is over, and nobody cares */

    close(peer);
    CHECK_INT(eddy_loop_run(hall.loop), 0);
    CHECK_INT(down.got.count, 1);
}

TEST(when_the_shorter_grace_is_cancelled_the_longer_one_counts, "")
{
    HALL(hall, .way = KEEP);
    for (int first = 0; first < 2; first++) {
        hall_open(&hall, NULL);
        DOWN(longer);
        DOWN(shorter);
        int peer = hall_enter(&hall);
        eddy_op op = first ? SHUTDOWN(&hall, 20, &shorter) : 0;
        uint64_t start = plain_now();
        SHUTDOWN(&hall, 150, &longer);
        if (!first) op = SHUTDOWN(&hall, 20, &shorter);
        CHECK_INT(eddy_loop_cancel(hall.loop, op), 0);
        RUN_UNTIL(hall.loop, longer.got.count > 0);
        check_in_time(start, longer.at, 150);
        CHECK_INT(shorter.got.count, 1);
        CHECK_INT(shorter.got.code, EDDY_ECANCELED);
        CHECK_INT(longer.got.code, EDDY_ETIMEDOUT);
        CHECK_INT(eddy_loop_cancel(hall.loop, op), EDDY_ESTALE);
        close(peer);
    }
}

TEST(only_the_servers_own_clients_are_ended, "")
{
    HALL(hall, .way = KEEP);
    HALL(other, .way = ECHO);
    eddy_loop_free(other.loop); /* both on one loop */
    other.loop = hall.loop;
    hall_open(&hall, NULL);
    hall_open(&other, NULL);
    eddy_loop_set_exception_handler(hall.loop, got_report, &hall.reports);
    struct end end = end_tcp_on(hall.loop, NULL);
    GOT(down);
    int peer = hall_enter(&hall), stays = hall_enter(&other);
    START(&down, eddy_server_shutdown(hall.server, 0, got_server, &down));
    RUN_UNTIL(hall.loop, down.count > 0);
    CHECK_STR(down.message, "the grace was over; clients closed: 1, aborted: 0");
    check_echo(&other, stays);
    CHECK(!eddy_writer_is_closing(end.writer));
    close(hall_enter(&other));
    close(peer);
    close(stays);
    close(end.peer);
}

TEST(a_freed_server_keeps_to_its_grace, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, NULL);
    DOWN(down);
    int peer = hall_enter(&hall);
    uint64_t start = plain_now();
    SHUTDOWN(&hall, 100, &down);
    eddy_server_free(hall.server);
    CHECK_INT(eddy_server_shutdown(hall.server, 0, got_server, &down.got), EDDY_ESTALE);
    hall.mistakes++;
    RUN_UNTIL(hall.loop, down.got.count > 0);
    check_in_time(start, down.at, 100);
    CHECK_INT(down.got.code, EDDY_ETIMEDOUT);
    close(peer);
    CHECK_INT(eddy_loop_run(hall.loop), 0);
    CHECK_INT(down.got.count, 1);
}

TEST(a_freed_loop_cancels_its_shutdowns, "")
{
    GOT(down);
    GOT(again);
    int peer;
    {
        HALL(hall, .way = KEEP);
        hall_open(&hall, NULL);
        peer = hall_enter(&hall);
        START(&down, eddy_server_shutdown(hall.server, 60000, got_server, &down));
        START(&again, eddy_server_shutdown(hall.server, 0, got_server, &again));
    }
    CHECK_INT(down.count, 1);
    CHECK_INT(down.code, EDDY_ECANCELED);
    CHECK_INT(again.count, 1);
    CHECK_INT(again.code, EDDY_ECANCELED);
    close(peer);
}

/* ---- shutdown: wherever it is called ------------------------------------------------------------------- */

static struct got within[2];
static bool within_frees;

static void shut_down_twice(struct hall *hall, eddy_writer *writer)
{
    (void)writer;
    START(&within[0], eddy_server_shutdown(hall->server, EDDY_NEVER, got_server, &within[0]));
    hall->barred = true; /* not once more for those that came in the same turn */
    START(&within[1], eddy_server_shutdown(hall->server, 20, got_server, &within[1]));
    if (within_frees) eddy_server_free(hall->server);
}

static void within_release(void)
{
    for (int i = 0; i < 2; i++) {
        CHECK_INT(within[i].count, 1);
        got_release(&within[i]);
        within[i] = (struct got){ .count = 0 };
    }
}

TEST(a_server_is_shut_down_within_the_client_callback, "")
{
    for (int frees = 0; frees < 2; frees++) {
        HALL(hall, .way = KEEP, .then = shut_down_twice);
        within_frees = frees != 0;
        hall_open(&hall, NULL);
        int peers[3];
        for (int i = 0; i < 3; i++) peers[i] = plain_connect(hall_port(&hall));
        RUN_UNTIL(hall.loop, within[0].count == 1 && within[1].count == 1);
        CHECK_INT(hall.came, 1);
        CHECK_INT(within[0].code, EDDY_ETIMEDOUT);
        CHECK_INT(within[1].code, EDDY_ETIMEDOUT);
        CHECK_INT(end_of(&hall, peers[0], NULL, 0), 0);
        CHECK_INT(end_of(&hall, peers[1], NULL, 0), ECONNRESET);
        for (int i = 0; i < 3; i++) close(peers[i]);
        CHECK_INT(eddy_loop_run(hall.loop), 0);
        within_release();
    }
}

static void free_and_shut_down(struct got *got, void *data)
{
    struct hall *hall = data;
    CHECK_BYTES(got->bytes, got->len, "stop\n");
    CHECK(eddy_writer_write(hall->writer[0], "stopping\n", 9) >= 0);
    if (within_frees) eddy_writer_free(hall->writer[0]);
    shut_down_twice(hall, NULL);
}

TEST(a_server_is_shut_down_within_a_read_callback, "")
{
    for (int frees = 0; frees < 2; frees++) {
        HALL(hall, .way = KEEP);
        within_frees = frees != 0;
        hall_open(&hall, NULL);
        GOT(line);
        char text[32];
        int peer = hall_enter(&hall);
        line.then = free_and_shut_down;
        line.data = &hall;
        START(&line, eddy_reader_readline(hall.reader[0], got_read, &line));
        plain_send_text(peer, "stop\n");
        RUN_UNTIL(hall.loop, within[0].count == 1 && within[1].count == 1);
        CHECK_INT(within[0].code, frees ? 0 : EDDY_ETIMEDOUT);
        CHECK_INT(end_of(&hall, peer, text, sizeof text), 0);
        CHECK_STR(text, "stopping\n");
        close(peer);
        CHECK_INT(eddy_loop_run(hall.loop), 0);
        within_release();
    }
}

static void shut_down_again(struct got *got, void *data)
{
    if (got->count == 1) START(got, eddy_server_shutdown(got->server, 50, got_server, got));
    else if (got->count == 2) eddy_loop_free(((struct hall *)data)->loop);
}

TEST(a_server_is_shut_down_again_and_its_loop_freed_within_that_callback, "")
{
    HALL(hall, .way = KEEP);
    hall_open(&hall, NULL);
    GOT(down);
    down.then = shut_down_again;
    down.data = &hall;
    int peer = hall_enter(&hall);
    START(&down, eddy_server_shutdown(hall.server, 1, got_server, &down));
    CHECK_INT(eddy_loop_run(hall.loop), 0);
    CHECK_INT(down.count, 2);
    CHECK_INT(down.code, 0); /* the second time there was nobody left to be forced */
    CHECK_INT(eddy_loop_run(hall.loop), EDDY_ESTALE);
    close(peer);
}

TEST(a_paused_and_a_full_server_are_shut_down, "")
{
    for (int full = 0; full < 2; full++) {
        HALL(hall, .way = ECHO);
        hall_open(&hall, EDDY_OPTIONS(.max_clients = (size_t)full));
        GOT(down);
        int first = hall_enter(&hall);
        if (!full) CHECK_INT(eddy_server_pause(hall.server), 0);
        int second = plain_connect(hall_port(&hall));
        end_pump(hall.loop, 5);
        START(&down, eddy_server_shutdown(hall.server, 60000, got_server, &down));
        CHECK_INT(end_of(&hall, second, NULL, 0), ECONNRESET);
        check_echo(&hall, first);
        close(first);
        CHECK_INT(eddy_loop_run(hall.loop), 0);
        CHECK_INT(down.count, 1);
        CHECK_INT(down.code, 0);
        CHECK_INT(hall.came, 1);
        close(second);
    }
}

TEST(a_unix_server_that_is_shut_down_takes_its_file_along_at_once, "U7")
{
    const char *directory = plain_directory();
    char path[128];
    {
        HALL(hall, .way = ECHO);
        GOT(down);
        plain_path(path, sizeof path, directory, "socket");
        START(&hall.started, eddy_start_unix_server(hall.loop, hall_client, path, NULL, hall_started, &hall));
        hall_begun(&hall);
        int peer = plain_unix_connect(path);
        check_echo(&hall, peer);
        START(&down, eddy_server_shutdown(hall.server, 60000, got_server, &down));
        CHECK_INT(access(path, F_OK), -1);
        CHECK_INT(plain_unix_try_connect(path, 0), -ENOENT);
        check_echo(&hall, peer);
        close(peer);
        CHECK_INT(eddy_loop_run(hall.loop), 0);
        CHECK_INT(down.count, 1);
        CHECK_INT(down.code, 0);
    }
    rmdir(directory);
}

/* ---- peers that do not want it to end ------------------------------------------------------------------ */

struct flooder {
    int fd;
    atomic_bool over;
};

/* Sends as long as the other side takes anything, and reads nothing. */
static void *flood(void *arg)
{
    struct flooder *flooder = arg;
    static const char bytes[16384];
    while (!atomic_load(&flooder->over))
        if (send(flooder->fd, bytes, sizeof bytes, MSG_NOSIGNAL) < 0) break;
    return NULL;
}

TEST(a_peer_that_lingers_holds_up_neither_the_callback_nor_the_run_for_long, "")
{
    for (int floods = 0; floods < 2; floods++) {
        HALL(hall, .way = KEEP);
        hall_open(&hall, NULL);
        DOWN(down);
        struct flooder flooder = { .fd = hall_enter(&hall) };
        pthread_t thread;
        if (floods) thread = plain_start(flood, &flooder);
        uint64_t start = plain_now();
        SHUTDOWN(&hall, 20, &down);
        CHECK_INT(eddy_loop_run(hall.loop), 0); /* it does end, though the peer has not closed its side */
        uint64_t end = plain_now();
        CHECK_INT(down.got.code, EDDY_ETIMEDOUT);
        if (!floods) CHECK(end - down.at > 1000); /* there was a lingering peer, and cb did not wait for it */
        CHECK(end - start < 10000 * (uint64_t)eddy_test_slow());
        atomic_store(&flooder.over, true);
        if (floods) plain_join(thread);
        close(flooder.fd);
    }
}

TEST(a_shutdown_that_races_with_the_last_client_calls_back_once, "")
{
    const int rounds = eddy_test_slow() > 1 ? 200 : 1000;
    int clean = 0, forced = 0;
    HALL(hall, .way = ECHO);
    for (int i = 0; i < rounds; i++) {
        hall_open(&hall, NULL);
        GOT(down);
        int peer = hall_enter(&hall);
        START(&down, eddy_server_shutdown(hall.server, (uint64_t)(i % 2), got_server, &down));
        useconds_t pause = (useconds_t)(i * 7919 % 1500);
        bool before = i % 3 != 0; /* the client's end, then the grace's; or the other way round */
        if (!before) usleep(pause);
        if (i % 4 == 0) eddy_writer_free(hall.writer[0]);
        if (i % 5 == 0) plain_reset(peer);
        else if (i % 5 != 1) close(peer);
        if (before) usleep(pause);
        if (i % 7 == 0) eddy_server_free(hall.server);
        RUN_UNTIL(hall.loop, down.count > 0);
        if (i % 5 == 1) close(peer);
        settle(hall.loop);
        CHECK_INT(down.count, 1);
        if (down.code == 0) clean++;
        else forced++;
        if (down.code != 0) CHECK_INT(down.code, EDDY_ETIMEDOUT);
        eddy_server_free(hall.server);
    }
    CHECK(clean > 0);
    CHECK(forced > 0);
    CHECK_INT(clean + forced, rounds);
}

/* ---- whole processes ----------------------------------------------------------------------------------- */

/* What a server in a process of its own has to say when it ends. */
struct last_words {
    int came, answered, called, code;
};

struct request {
    eddy_reader *reader;
    eddy_writer *writer;
    char line[16];
    size_t len;
};

static struct last_words words;
static eddy_server *own_server;
static uint64_t own_grace;

static void own_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg);

static void own_down(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)server, (void)arg;
    words.called++;
    words.code = eddy_error_code(error);
}

static void own_answer(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct request *request = arg;
    (void)loop;
    if (error == NULL) {
        words.answered++;
        eddy_writer_write(request->writer, request->line, request->len);
        eddy_reader_readline(request->reader, own_line, request->writer);
    }
    free(request);
}

static eddy_loop *own_loop;

/* An answer takes some time; and one of the clients says when it is time to stop. */
static void own_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    if (error != NULL || len == 0) {
        eddy_writer_free(arg);
        return;
    }
    struct request *request = malloc(sizeof *request);
    CHECK(request != NULL);
    CHECK(len < sizeof request->line);
    *request = (struct request){ .reader = reader, .writer = arg, .len = len };
    memcpy(request->line, line, len);
    if (strcmp(line, "stop\n") == 0) CHECK(eddy_server_shutdown(own_server, own_grace, own_down, NULL) >= 0);
    CHECK(eddy_loop_call_later(own_loop, 5, own_answer, request) >= 0);
}

/* A client that says "much" gets more than it will ever read. */
static void own_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    CHECK(error == NULL);
    words.came++;
    if (arg != NULL) {
        char *bytes = plain_fill(8000000);
        eddy_writer_write(writer, bytes, 8000000);
        free(bytes);
    }
    CHECK(eddy_reader_readline(reader, own_line, writer) >= 0);
}

static void own_started(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)arg;
    CHECK(error == NULL);
    own_server = server;
}

struct process {
    pid_t pid;
    uint16_t port;
    int pipe;
};

/* Starts a server in a process of its own, which ends by itself when its loop has nothing left to wait for. */
static struct process process_start(uint64_t grace, bool much)
{
    int ends[2];
    struct process process;
    plain_ok(pipe2(ends, O_CLOEXEC), "pipe");
    process.pid = plain_ok(fork(), "fork");
    if (process.pid == 0) {
        alarm((unsigned)(50 * eddy_test_slow()));
        own_grace = grace;
        own_loop = eddy_loop_new();
        CHECK(eddy_start_server(own_loop, own_client, "127.0.0.1", 0, NULL, own_started, much ? &words : NULL) >= 0);
        while (own_server == NULL) CHECK(eddy_loop_run_once(own_loop, 100) >= 0);
        uint16_t port = plain_port((int)eddy_server_socket(own_server, 0));
        CHECK(write(ends[1], &port, sizeof port) == sizeof port);
        CHECK_INT(eddy_loop_run(own_loop), 0);
        eddy_loop_free(own_loop);
        CHECK(write(ends[1], &words, sizeof words) == sizeof words);
        _exit(0);
    }
    close(ends[1]);
    process.pipe = ends[0];
    CHECK(read(process.pipe, &process.port, sizeof process.port) == sizeof process.port);
    return process;
}

static struct last_words process_end(struct process *process)
{
    struct last_words last = { .called = -1 };
    int status;
    CHECK(read(process->pipe, &last, sizeof last) == sizeof last);
    close(process->pipe);
    CHECK_INT(waitpid(process->pid, &status, 0), process->pid);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
    return last;
}

static int process_port_connect(uint16_t port)
{
    int fd = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    if (plain_try_connect(fd, "127.0.0.1", port) == 0) return fd;
    close(fd);
    return -1;
}

/* Clients that come until nobody lets them in, three requests each. Who has got one answer gets all. */
struct load {
    uint16_t port;
    int served, answers;
};

static void *load_on(void *arg)
{
    struct load *load = arg;
    for (;;) {
        int fd = process_port_connect(load->port), answered = 0;
        if (fd < 0) return NULL;
        for (int i = 0; i < 3; i++) {
            char bytes[5];
            ssize_t got = send(fd, "ping\n", 5, MSG_NOSIGNAL) == 5 ? recv(fd, bytes, 5, MSG_WAITALL) : -1;
            if (got != 5) break;
            answered++;
        }
        if (answered > 0) load->served++;
        load->answers += answered;
        if (answered > 0 && answered < 3) FAIL("accepted, and cut off after %d answers", answered);
        close(fd);
    }
}

TEST(a_server_under_load_answers_all_that_it_has_accepted_and_its_process_ends, "")
{
    enum { LOADS = 8 };
    struct process process = process_start(20000 * (uint64_t)eddy_test_slow(), false);
    struct load loads[LOADS];
    pthread_t threads[LOADS];
    char bytes[5];
    int own = plain_connect(process.port);
    for (int i = 0; i < LOADS; i++) {
        loads[i] = (struct load){ .port = process.port };
        threads[i] = plain_start(load_on, &loads[i]);
    }
    for (int i = 0; i < 20; i++) { /* some of them have come and gone meanwhile */
        plain_send_text(own, "mine\n");
        CHECK_INT(plain_recv(own, bytes, 5), 5);
    }
    plain_send_text(own, "stop\n");
    CHECK_INT(plain_recv(own, bytes, 5), 5); /* the answer comes after the shutdown has begun */
    CHECK_INT(plain_knock(process.port), ECONNREFUSED);
    plain_send_text(own, "more\n"); /* who is in may go on */
    CHECK_INT(plain_recv(own, bytes, 5), 5);
    CHECK(memcmp(bytes, "more\n", 5) == 0);
    close(own);
    struct last_words last = process_end(&process);
    int served = 1, answers = 22;
    for (int i = 0; i < LOADS; i++) {
        plain_join(threads[i]);
        served += loads[i].served;
        answers += loads[i].answers;
    }
    CHECK_INT(last.called, 1);
    CHECK_INT(last.code, 0);
    CHECK(last.came > LOADS);
    CHECK_INT(served, last.came);
    CHECK_INT(answers, last.answered);
}

TEST(a_process_whose_clients_never_read_ends_when_the_grace_is_over, "")
{
    enum { CLIENTS = 5, GRACE = 300 };
    struct process process = process_start(GRACE, true);
    int peers[CLIENTS], error;
    for (int i = 0; i < CLIENTS; i++) {
        peers[i] = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
        plain_set(peers[i], SOL_SOCKET, SO_RCVBUF, 65536, "SO_RCVBUF");
        CHECK_INT(plain_try_connect(peers[i], "127.0.0.1", process.port), 0);
    }
    for (int i = 0; i < CLIENTS; i++) { /* each has come, and has got its first bytes */
        struct pollfd ready = { .fd = peers[i], .events = POLLIN };
        CHECK_INT(poll(&ready, 1, 10000 * eddy_test_slow()), 1);
    }
    uint64_t start = plain_now();
    plain_send_text(peers[0], "stop\n");
    struct last_words last = process_end(&process);
    check_in_time(start, plain_now(), GRACE);
    CHECK_INT(last.came, CLIENTS);
    CHECK_INT(last.called, 1);
    CHECK_INT(last.code, EDDY_ETIMEDOUT);
    for (int i = 0; i < CLIENTS; i++) {
        CHECK(plain_recv_pattern(peers[i], &error) < 8000000);
        CHECK_INT(error, ECONNRESET);
        close(peers[i]);
    }
}
