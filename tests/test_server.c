/* Servers over TCP: listening, accepting, running out of descriptors, closing. */
#include "ends.h"

#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* These two stand before the C library's own, also for libeddy: accepting fails as a test wants it to. */
static struct {
    int error;  /* the next `times` calls fail with this; 0: none does */
    int times;
    int rests;  /* after each failure, so many calls are let through */
    int passes; /* ... of which so many are left */
    int calls;  /* calls so far */
} accepts, registers;

static bool fails_now(__typeof__(&accepts) how)
{
    how->calls++;
    if (how->error == 0 || how->times == 0) return false;
    if (how->passes > 0) {
        how->passes--;
        return false;
    }
    how->times--;
    how->passes = how->rests;
    errno = how->error;
    return true;
}

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *len, int flags)
{
    return fails_now(&accepts) ? -1 : (int)syscall(SYS_accept4, fd, address.__sockaddr__, len, flags);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
    if (what == EPOLL_CTL_ADD && fails_now(&registers)) return -1;
    return (int)syscall(SYS_epoll_ctl, epoll, what, fd, event);
}

static void accepts_normally(void)
{
    memset(&accepts, 0, sizeof accepts);
    memset(&registers, 0, sizeof registers);
}

/* What a server's clients did. */
struct clients {
    int count;
    eddy_reader *reader[64]; /* the first ones */
    eddy_writer *writer[64];
    enum { KEEP, FREE, BYE, GREET, ECHO, CLOSE_SERVER } way;
    struct got line[64];
    struct got started; /* and of the server itself */
};

static void echo_line(struct got *got, void *data)
{
    eddy_writer *writer = data;
    if (got->code != 0 || got->len == 0) {
        eddy_writer_close(writer);
        return;
    }
    CHECK(eddy_writer_write(writer, got->bytes, got->len) >= 0);
    START(got, eddy_reader_readline(got->reader, got_read, got));
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct clients *clients = arg;
    CHECK(reader != NULL);
    CHECK(writer != NULL);
    CHECK(error == NULL);
    int i = clients->count++;
    if (clients->way == CLOSE_SERVER) CHECK_INT(eddy_server_close(clients->started.server), 0);
    if (clients->way == BYE) {
        eddy_writer_get_extra_info(writer, "peername", NULL); /* it may have none any more */
        CHECK(eddy_writer_write(writer, "bye\n", 4) >= 0);
    }
    if (clients->way == FREE || clients->way == BYE || clients->way == CLOSE_SERVER) {
        eddy_writer_free(writer);
        return;
    }
    if (i >= 64) return;
    clients->reader[i] = reader;
    clients->writer[i] = writer;
    if (clients->way == GREET) CHECK(eddy_writer_write(writer, "hello\n", 6) >= 0);
    if (clients->way == ECHO) {
        clients->line[i].then = echo_line;
        clients->line[i].data = writer;
        START(&clients->line[i], eddy_reader_readline(reader, got_read, &clients->line[i]));
    }
}

static void on_started(eddy_server *server, const eddy_error *error, void *arg)
{
    got_server(server, error, &((struct clients *)arg)->started);
}

static void clients_release(struct clients *clients)
{
    got_release(&clients->started);
    for (int i = 0; i < 64; i++) got_release(&clients->line[i]);
}

#define CLIENTS(name, ...) struct clients name __attribute__((cleanup(clients_release))) = { __VA_ARGS__ }

static eddy_op begin_at(eddy_loop *loop, struct clients *clients, const char *host, uint16_t port,
                        const eddy_options *options)
{
    return START(&clients->started,
                 eddy_start_server(loop, on_client, host, port, options, on_started, clients));
}

static void check_no_server(eddy_loop *loop, struct clients *clients, int system, const char *named)
{
    const struct got *started = &clients->started;
    RUN_UNTIL(loop, started->count > 0);
    CHECK_INT(started->count, 1);
    CHECK_INT(started->code, EDDY_ESYSTEM);
    CHECK_INT(started->system, system);
    CHECK(started->server == NULL);
    if (strstr(started->message, named) == NULL) FAIL("\"%s\" does not name %s", started->message, named);
}

static eddy_server *serve_at(eddy_loop *loop, struct clients *clients, const char *host, uint16_t port,
                             const eddy_options *options)
{
    struct got *started = &clients->started;
    int before = started->count;
    begin_at(loop, clients, host, port, options);
    RUN_UNTIL(loop, started->count > before);
    if (started->code != 0) FAIL("%s", started->message);
    CHECK(started->server != NULL);
    settle(loop);
    CHECK_INT(started->count, before + 1);
    return started->server;
}

static eddy_server *serve(eddy_loop *loop, struct clients *clients)
{
    return serve_at(loop, clients, "127.0.0.1", 0, NULL);
}

static uint16_t port_of(eddy_server *server)
{
    return plain_port((int)eddy_server_socket(server, 0));
}

static void check_answers(eddy_loop *loop, int peer, const char *text)
{
    char bytes[64];
    size_t len = strlen(text);
    plain_send(peer, text, len);
    struct pollfd ready = { .fd = peer, .events = POLLIN };
    RUN_UNTIL(loop, poll(&ready, 1, 0) == 1);
    CHECK_INT(plain_recv(peer, bytes, len), len);
    CHECK(memcmp(bytes, text, len) == 0);
}

/* Turns the loop until the peer sees the end; how it ended: 0, or the error's number. */
static int end_seen_by(eddy_loop *loop, int peer)
{
    char bytes[4096];
    uint64_t deadline = plain_now() + 10000 * (uint64_t)eddy_test_slow();
    for (;;) {
        long n = plain_look(peer, bytes, sizeof bytes);
        if (n == 0) return 0;
        if (n < 0 && n != -EAGAIN) return (int)-n;
        if (plain_now() > deadline) FAIL("the peer never saw the end");
        CHECK(eddy_loop_run_once(loop, 5) >= 0);
    }
}

static int option_of(intptr_t fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof value;
    plain_ok(getsockopt((int)fd, level, option, &value, &len), "getsockopt");
    return value;
}

/* ---- serving ------------------------------------------------------------------------------------------- */

TEST(a_client_is_told_with_its_reader_and_writer, "V1")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = ECHO);
    eddy_server *server = serve(loop, &clients);
    int first = plain_connect(port_of(server)), second = plain_connect(port_of(server));
    check_answers(loop, first, "first\n");
    check_answers(loop, second, "second\n");
    CHECK_INT(clients.count, 2);
    close(first);
    close(second);
    RUN_UNTIL(loop, clients.line[0].count == 2 && clients.line[1].count == 2);
    eddy_loop_free(loop);
    CHECK_INT(clients.count, 2);
}

TEST(what_makes_no_sense_for_a_server_is_refused_at_once, "")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(none, .way = KEEP);
    const char *here = "127.0.0.1";
    char host[300];
    memset(host, 'a', 256);
    host[256] = '\0';
    CHECK_INT(eddy_start_server(loop, NULL, here, 0, NULL, on_started, &none), EDDY_EINVAL);
    CHECK_INT(eddy_start_server(loop, on_client, here, 0, NULL, NULL, &none), EDDY_EINVAL);
    CHECK_INT(eddy_start_server(loop, on_client, host, 0, NULL, on_started, &none), EDDY_EINVAL);
    CHECK_INT(eddy_start_server(loop, on_client, "\xff", 0, NULL, on_started, &none), EDDY_EINVAL);
    CHECK_INT(eddy_start_server(loop, on_client, here, 0, EDDY_OPTIONS(.backlog = -1), on_started, &none),
              EDDY_EINVAL);
    CHECK_INT(eddy_start_server(loop, on_client, here, 0, EDDY_OPTIONS(.family = 12345), on_started, &none),
              EDDY_EINVAL);
    CHECK_INT(eddy_loop_run(loop), 0);
    eddy_loop_free(loop);
    CHECK_INT(none.started.count, 0);
}

TEST(a_client_that_is_only_kept_stays_open, "V5")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    eddy_server *server = serve(loop, &clients);
    int peer = plain_connect(port_of(server));
    char byte;
    GOT(line);
    RUN_UNTIL(loop, clients.count == 1);
    end_pump(loop, 20);
    CHECK_INT(plain_look(peer, &byte, 1), -EAGAIN);
    plain_send_text(peer, "later\n");
    START(&line, eddy_reader_readline(clients.reader[0], got_read, &line));
    RUN_UNTIL(loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "later\n");
    close(peer);
    eddy_loop_free(loop);
}

TEST(a_client_whose_writer_is_freed_is_closed_and_others_are_served, "V5 V23")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = FREE);
    eddy_server *server = serve(loop, &clients);
    int before = plain_descriptors();
    for (int i = 1; i <= 3; i++) {
        int peer = plain_connect(port_of(server));
        CHECK_INT(end_seen_by(loop, peer), 0);
        CHECK_INT(clients.count, i);
        close(peer);
    }
    RUN_UNTIL(loop, plain_descriptors() == before); /* no client is left open */
    clients.way = GREET;
    int peer = plain_connect(port_of(server));
    RUN_UNTIL(loop, clients.count == 4);
    char bytes[6];
    settle(loop);
    CHECK_INT(plain_recv(peer, bytes, 6), 6);
    close(peer);
    eddy_loop_free(loop);
}

TEST(no_host_means_every_interface, "V6 V7 V8")
{
    static const char *const hosts[] = { NULL, "" };
    for (int i = 0; i < 2; i++) {
        eddy_loop *loop = eddy_loop_new();
        CLIENTS(clients, .way = KEEP);
        eddy_server *server = serve_at(loop, &clients, hosts[i], 0, NULL);
        bool v4 = false, v6 = false;
        for (size_t at = 0; eddy_server_socket(server, at) >= 0; at++) {
            intptr_t fd = eddy_server_socket(server, at);
            const char *name = eddy_server_sockname(server, at);
            char expected[64];
            uint16_t port = plain_port((int)fd);
            int peer;
            CHECK(port != 0);
            CHECK(name != NULL);
            if (option_of(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET6) {
                struct sockaddr_in6 address = plain_v6("::1", port);
                CHECK(option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY) != 0);
                snprintf(expected, sizeof expected, "[::]:%u", port);
                CHECK_STR(name, expected);
                peer = plain_ok(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
                plain_ok(connect(peer, (struct sockaddr *)&address, sizeof address), "connect");
                v6 = true;
            } else {
                snprintf(expected, sizeof expected, "0.0.0.0:%u", port);
                CHECK_STR(name, expected);
                peer = plain_connect(port);
                v4 = true;
            }
            int count = clients.count;
            RUN_UNTIL(loop, clients.count == count + 1);
            close(peer);
        }
        CHECK(v4);
        CHECK(v6 || !plain_has_v6());
        eddy_loop_free(loop);
    }
}

TEST(every_interface_has_the_port_that_was_asked_for, "V6")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    uint16_t port = plain_closed_port();
    eddy_server *server = serve_at(loop, &clients, NULL, port, NULL);
    size_t count = 0;
    while (eddy_server_socket(server, count) >= 0)
        CHECK_INT(plain_port((int)eddy_server_socket(server, count++)), port);
    CHECK(count >= (plain_has_v6() ? 2 : 1));
    CHECK_INT(plain_knock(port), 0);
    server = serve_at(loop, &clients, NULL, 0, EDDY_OPTIONS(.family = AF_INET)); /* every one of that family */
    CHECK(strncmp(eddy_server_sockname(server, 0), "0.0.0.0:", 8) == 0);
    CHECK(eddy_server_sockname(server, 1) == NULL);
    eddy_loop_free(loop);
}

TEST(a_servers_sockets_can_be_looked_at_while_it_serves, "V7 V16")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    eddy_server *server = serve(loop, &clients);
    char expected[64];
    CHECK(eddy_server_is_serving(server));
    CHECK(eddy_server_socket(server, 0) >= 0);
    CHECK_INT(eddy_server_socket(server, 1), -1);
    CHECK_INT(eddy_server_socket(server, SIZE_MAX), -1);
    CHECK(port_of(server) != 0);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", port_of(server));
    CHECK_STR(eddy_server_sockname(server, 0), expected);
    CHECK(eddy_server_sockname(server, 1) == NULL);
    CHECK_INT(eddy_server_close(server), 0);
    CHECK(!eddy_server_is_serving(server));
    CHECK_INT(eddy_server_socket(server, 0), -1);
    CHECK(eddy_server_sockname(server, 0) == NULL);
    eddy_loop_free(loop);
}

TEST(a_host_name_is_resolved_for_listening, "V6 V7")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    eddy_server *server = serve_at(loop, &clients, "localhost", 0, EDDY_OPTIONS(.family = AF_INET));
    CHECK(eddy_server_socket(server, 0) >= 0);
    CHECK_INT(eddy_server_socket(server, 1), -1); /* found twice or not, it is one address */
    CHECK(strncmp(eddy_server_sockname(server, 0), "127.0.0.1:", 10) == 0);
    CHECK_INT(plain_knock(port_of(server)), 0);
    RUN_UNTIL(loop, clients.count == 1);
    eddy_loop_free(loop);
}

TEST(a_port_in_use_is_told_with_its_address, "V10 d10")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    int listener = plain_listen(), before = plain_descriptors();
    char expected[64];
    CLIENTS(used, .way = KEEP);
    CLIENTS(foreign, .way = KEEP);
    CLIENTS(everywhere, .way = KEEP);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", plain_port(listener));
    begin_at(loop, &used, "127.0.0.1", plain_port(listener), NULL);
    check_no_server(loop, &used, EADDRINUSE, expected);
    begin_at(loop, &foreign, "192.0.2.1", 0, NULL);
    check_no_server(loop, &foreign, EADDRNOTAVAIL, "192.0.2.1");
    /* One of several addresses is in use: the others are closed again. */
    begin_at(loop, &everywhere, NULL, plain_port(listener), NULL);
    snprintf(expected, sizeof expected, ":%u", plain_port(listener));
    check_no_server(loop, &everywhere, EADDRINUSE, expected);
    settle(loop);
    CHECK_INT(plain_descriptors(), before);
    CHECK_INT(eddy_loop_run(loop), 0);
    close(listener);
    eddy_loop_free(loop);
    CHECK_INT(used.started.count, 1);
}

TEST(a_port_is_shared_only_when_asked_for, "V9")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    eddy_server *alone = serve(loop, &clients);
    eddy_server *shared = serve_at(loop, &clients, "127.0.0.1", 0, EDDY_OPTIONS(.reuse_port = 1));
    CHECK(option_of(eddy_server_socket(alone, 0), SOL_SOCKET, SO_REUSEADDR) != 0);
    CHECK(option_of(eddy_server_socket(alone, 0), SOL_SOCKET, SO_REUSEPORT) == 0);
    CHECK(option_of(eddy_server_socket(shared, 0), SOL_SOCKET, SO_REUSEPORT) != 0);
    eddy_server *other = serve_at(loop, &clients, "127.0.0.1", port_of(shared), EDDY_OPTIONS(.reuse_port = 1));
    CHECK_INT(port_of(other), port_of(shared));
    CLIENTS(refused, .way = KEEP);
    begin_at(loop, &refused, "127.0.0.1", port_of(alone), EDDY_OPTIONS(.reuse_port = 1));
    check_no_server(loop, &refused, EADDRINUSE, "127.0.0.1");
    eddy_loop_free(loop);
}

/* Leaves behind a connection of this server that the kernel still remembers (TIME_WAIT): it closed first. */
static uint16_t serve_and_end(eddy_loop *loop, struct clients *clients)
{
    eddy_server *server = serve(loop, clients);
    uint16_t port = port_of(server);
    int peer = plain_connect(port);
    CHECK_INT(end_seen_by(loop, peer), 0); /* way FREE: the server closed first */
    eddy_server_free(server);
    close(peer);
    CHECK_INT(eddy_loop_run(loop), 0);
    return port;
}

TEST(a_server_can_be_started_again_on_its_port, "V9 d10")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = FREE);
    uint16_t port = serve_and_end(loop, &clients);
    CLIENTS(refused, .way = KEEP);
    begin_at(loop, &refused, "127.0.0.1", port, EDDY_OPTIONS(.no_reuse_address = 1));
    check_no_server(loop, &refused, EADDRINUSE, "127.0.0.1"); /* an old connection still holds it */
    eddy_server *again = serve_at(loop, &clients, "127.0.0.1", port, NULL);
    CHECK_INT(port_of(again), port);
    CHECK_INT(plain_knock(port), 0);
    RUN_UNTIL(loop, clients.count == 2);
    eddy_loop_free(loop);
}

/* How many of these connect while nobody accepts. */
static int connected_of(int wanted, uint16_t port)
{
    enum { MOST = 128 };
    struct pollfd all[MOST];
    int connected = 0;
    CHECK(wanted <= MOST);
    for (int i = 0; i < wanted; i++) {
        int fd = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
        plain_try_connect(fd, "127.0.0.1", port);
        all[i] = (struct pollfd){ .fd = fd, .events = POLLOUT };
    }
    usleep(20000);
    plain_ok(poll(all, (nfds_t)wanted, 0), "poll");
    for (int i = 0; i < wanted; i++) {
        if ((all[i].revents & POLLOUT) != 0) connected++;
        plain_reset(all[i].fd);
    }
    return connected;
}

TEST(the_backlog_is_a_hundred_or_what_was_asked_for, "V11")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = FREE);
    eddy_server *server = serve(loop, &clients);
    eddy_server *small = serve_at(loop, &clients, "127.0.0.1", 0, EDDY_OPTIONS(.backlog = 3));
    CHECK_INT(connected_of(120, port_of(server)), 101); /* the kernel's count is one more */
    CHECK_INT(connected_of(20, port_of(small)), 4);
    eddy_loop_free(loop);
}

TEST(clients_that_wait_are_accepted_together, "V11")
{
    enum { COUNT = 60 };
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = ECHO);
    eddy_server *server = serve(loop, &clients);
    int peers[COUNT];
    for (int i = 0; i < COUNT; i++) peers[i] = plain_connect(port_of(server));
    settle(loop);
    CHECK_INT(clients.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        check_answers(loop, peers[i], "here\n");
        close(peers[i]);
    }
    eddy_loop_free(loop);
}

/* A client that asks five times and hangs up. */
struct talk {
    struct got opened, line, closed;
    int rounds;
};

static void talk_on(struct got *got, void *data)
{
    struct talk *talk = data;
    CHECK_INT(got->code, 0);
    if (got == &talk->line) CHECK_BYTES(got->bytes, got->len, "ping\n");
    if (got == &talk->line && --talk->rounds == 0) {
        CHECK_INT(eddy_writer_close(talk->opened.writer), 0);
        START(&talk->closed, eddy_writer_wait_closed(talk->opened.writer, got_writer, &talk->closed));
        return;
    }
    CHECK_INT(eddy_writer_write(talk->opened.writer, "ping\n", 5), 0);
    START(&talk->line, eddy_reader_readline(talk->opened.reader, got_read, &talk->line));
}

TEST(many_clients_talk_at_the_same_time, "V1 V11 C1 O12")
{
    enum { COUNT = 60 };
    static struct talk talks[COUNT];
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = ECHO);
    eddy_server *server = serve(loop, &clients);
    for (int i = 0; i < COUNT; i++) {
        struct talk *talk = &talks[i];
        *talk = (struct talk){ .rounds = 5 };
        talk->opened.then = talk->line.then = talk_on;
        talk->opened.data = talk->line.data = talk;
        START(&talk->opened,
              eddy_open_connection(loop, "127.0.0.1", port_of(server), NULL, got_stream, &talk->opened));
    }
    RUN_UNTIL(loop, clients.count == COUNT);
    eddy_server_free(server);
    CHECK_INT(eddy_loop_run(loop), 0); /* until everybody has said everything */
    eddy_loop_free(loop);
    for (int i = 0; i < COUNT; i++) {
        CHECK_INT(talks[i].opened.count, 1);
        CHECK_INT(talks[i].line.count, 5);
        CHECK_INT(talks[i].closed.count, 1);
        got_release(&talks[i].opened);
        got_release(&talks[i].line);
        got_release(&talks[i].closed);
    }
    CHECK_INT(clients.count, COUNT);
}

TEST(accepted_sockets_are_set_up, "V13 t08")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    eddy_server *server = serve(loop, &clients);
    eddy_server *slow = serve_at(loop, &clients, "127.0.0.1", 0,
                                 EDDY_OPTIONS(.delay = 1, .keep_alive = 1, .limit = 3));
    int peer = plain_connect(port_of(server)), other = -1;
    char expected[64];
    RUN_UNTIL(loop, clients.count == 1);
    other = plain_connect(port_of(slow));
    RUN_UNTIL(loop, clients.count == 2);
    int fd = end_descriptor(clients.writer[0]), slow_fd = end_descriptor(clients.writer[1]);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((fcntl((int)eddy_server_socket(server, 0), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(option_of(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK(option_of(slow_fd, IPPROTO_TCP, TCP_NODELAY) == 0);
    CHECK(option_of(fd, SOL_SOCKET, SO_KEEPALIVE) == 0);
    CHECK(option_of(slow_fd, SOL_SOCKET, SO_KEEPALIVE) != 0);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", plain_port(peer));
    CHECK_STR(eddy_writer_get_extra_info(clients.writer[0], "peername", NULL), expected);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", port_of(server));
    CHECK_STR(eddy_writer_get_extra_info(clients.writer[0], "sockname", NULL), expected);
    GOT(line);
    plain_send_text(other, "four\n");
    START(&line, eddy_reader_readline(clients.reader[1], got_read, &line));
    RUN_UNTIL(loop, line.count > 0);
    CHECK_INT(line.code, EDDY_ELIMIT); /* the server's options are its clients' */
    close(peer);
    close(other);
    eddy_loop_free(loop);
}

TEST(a_started_server_is_serving, "")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    CLIENTS(early, .way = KEEP);
    uint16_t port = plain_closed_port();
    eddy_op op = begin_at(loop, &early, "127.0.0.1", port, NULL);
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    CHECK_INT(early.started.count, 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(early.started.count, 1);
    CHECK_INT(early.started.code, EDDY_ECANCELED);
    CHECK(early.started.server == NULL);
    CHECK_INT(plain_knock(port), ECONNREFUSED);
    eddy_server *server = serve_at(loop, &clients, "127.0.0.1", port, NULL);
    CHECK(eddy_server_is_serving(server));
    CHECK_INT(plain_knock(port), 0);
    eddy_loop_free(loop);
    CHECK_INT(early.started.count, 1);
}

/* ---- hostile clients ----------------------------------------------------------------------------------- */

/* Milliseconds of processor time that this process has used, in its own code and in the kernel. */
static double used_ms(void)
{
    struct rusage usage;
    plain_ok(getrusage(RUSAGE_SELF, &usage), "getrusage");
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

TEST(without_descriptors_clients_wait_and_nothing_spins, "V12 r01")
{
    enum { MOST = 256, WAITING = 20, DURATION = 3000 };
    if (plain_on_valgrind()) return; /* it accepts, drops, and says that it could not */
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = GREET);
    struct reports reports = { .count = 0 };
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    eddy_server *server = serve(loop, &clients);
    struct rlimit old, low;
    int spare[MOST], peers[WAITING], count = 0;
    char bytes[6];
    for (int i = 0; i < WAITING; i++)
        peers[i] = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    plain_ok(getrlimit(RLIMIT_NOFILE, &old), "getrlimit");
    low = old;
    low.rlim_cur = 200;
    plain_ok(setrlimit(RLIMIT_NOFILE, &low), "setrlimit");
    while (count < MOST && (spare[count] = dup(2)) >= 0) count++;
    CHECK(count > WAITING && count < MOST);
    for (int i = 0; i < WAITING; i++) CHECK_INT(plain_try_connect(peers[i], "127.0.0.1", port_of(server)), 0);
    int calls = accepts.calls;
    double used = used_ms();
    end_pump(loop, DURATION);
    used = used_ms() - used;
    if (used >= DURATION * 0.05) FAIL("%.1f ms of processor time in %d", used, DURATION); /* 5 %; spinning: all */
    CHECK(accepts.calls - calls <= DURATION / 200 + 1);
    CHECK_INT(clients.count, 0);
    CHECK(eddy_server_is_serving(server));
    CHECK_INT(reports.count, 1); /* the trouble, not each time that it is met */
    CHECK(strstr(reports.messages[0], "accept") != NULL);
    CHECK(strstr(reports.messages[0], strerror(EMFILE)) != NULL);
    for (int i = 0; i < WAITING; i++) close(spare[--count]);
    uint64_t start = plain_now();
    RUN_UNTIL(loop, clients.count == WAITING); /* by themselves: no new client woke anybody */
    CHECK(plain_now() - start < 1500 + 500 * (uint64_t)eddy_test_slow());
    while (count > 0) close(spare[--count]);
    plain_ok(setrlimit(RLIMIT_NOFILE, &old), "setrlimit");
    settle(loop);
    for (int i = 0; i < WAITING; i++) {
        CHECK_INT(plain_recv(peers[i], bytes, 6), 6);
        close(peers[i]);
    }
    CHECK_INT(plain_knock(port_of(server)), 0);
    RUN_UNTIL(loop, clients.count == WAITING + 1);
    CHECK_INT(reports.count, 1);
    eddy_loop_free(loop);
}

TEST(what_a_lost_client_makes_of_accept_is_passed_over_at_once, "V12 n20")
{
    static const int errors[] = { ECONNABORTED, EPROTO, EPERM, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
                                  EOPNOTSUPP, ENETUNREACH, ETIMEDOUT, EINTR };
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = FREE);
    struct reports reports = { .count = 0 };
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    eddy_server *server = serve_at(loop, &clients, "127.0.0.1", 0, EDDY_OPTIONS(.backlog = 1));
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        int peer = plain_connect(port_of(server));
        accepts.error = errors[i];
        accepts.times = 5;
        settle(loop); /* waits for no timer */
        CHECK_INT(accepts.times, 0);
        if (clients.count != (int)i + 1) FAIL("%s: it takes a rest", strerror(errors[i]));
        CHECK_INT(end_seen_by(loop, peer), 0);
        close(peer);
    }
    CHECK_INT(reports.count, 0);
    accepts_normally();
    eddy_loop_free(loop);
}

TEST(an_accept_that_lacks_something_is_tried_again_after_a_rest, "V12 r02")
{
    enum { TIMES = 3, REST = 200 };
    static const int errors[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM, EINVAL };
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        eddy_loop *loop = eddy_loop_new();
        CLIENTS(clients, .way = ECHO);
        struct reports reports = { .count = 0 };
        eddy_loop_set_exception_handler(loop, got_report, &reports);
        eddy_server *server = serve(loop, &clients);
        int peer = plain_connect(port_of(server));
        accepts.error = errors[i];
        accepts.times = TIMES;
        accepts.calls = 0;
        uint64_t start = plain_now();
        RUN_UNTIL(loop, clients.count == 1);
        CHECK(plain_now() - start >= TIMES * REST);
        CHECK_INT(accepts.calls, TIMES + 2); /* the client, and nobody after it */
        CHECK_INT(reports.count, 1);
        CHECK(strstr(reports.messages[0], strerror(errors[i])) != NULL);
        accepts_normally();
        check_answers(loop, peer, "here\n");
        close(peer);
        eddy_loop_free(loop);
    }
}

TEST(when_every_accept_fails_it_takes_a_rest_too, "V12")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = ECHO);
    struct reports reports = { .count = 0 };
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    eddy_server *server = serve(loop, &clients);
    int peer = plain_connect(port_of(server));
    accepts.error = EPERM; /* a firewall of the host's own, say: each time, and there is no end */
    accepts.times = INT32_MAX;
    accepts.calls = 0;
    end_pump(loop, 500);
    CHECK(accepts.calls <= 3 * 100 * eddy_test_slow()); /* a hundred for each time that it is tried */
    CHECK_INT(reports.count, 1);
    CHECK(strstr(reports.messages[0], strerror(EPERM)) != NULL);
    accepts_normally();
    check_answers(loop, peer, "here\n"); /* no new client, and no event */
    close(peer);
    eddy_loop_free(loop);
}

TEST(a_trouble_that_comes_and_goes_is_reported_once, "V12")
{
    enum { TIMES = 8 };
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = FREE);
    struct reports reports = { .count = 0 };
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    eddy_server *server = serve(loop, &clients);
    int peers[TIMES];
    for (int i = 0; i < TIMES; i++) peers[i] = plain_connect(port_of(server));
    accepts.error = EMFILE; /* one goes, one comes in its place, and for the next one there is no descriptor */
    accepts.times = TIMES;
    accepts.rests = 1;
    RUN_UNTIL(loop, clients.count == TIMES);
    CHECK(accepts.times <= 1);
    CHECK_INT(reports.count, 1);
    accepts.error = ENFILE; /* that is another trouble */
    accepts.times = 1;
    accepts.passes = 0;
    CHECK_INT(plain_knock(port_of(server)), 0);
    RUN_UNTIL(loop, clients.count == TIMES + 1);
    CHECK_INT(reports.count, 2);
    accepts_normally();
    for (int i = 0; i < TIMES; i++) close(peers[i]);
    eddy_loop_free(loop);
}

TEST(a_client_that_the_poll_cannot_take_is_turned_away_and_the_next_ones_wait, "V23 r04")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = ECHO);
    struct reports reports = { .count = 0 };
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    eddy_server *server = serve(loop, &clients);
    int before = plain_descriptors(), peers[3];
    for (int i = 0; i < 3; i++) peers[i] = plain_connect(port_of(server));
    registers.error = ENOSPC;
    registers.times = 1;
    CHECK_INT(end_seen_by(loop, peers[0]), 0);
    check_answers(loop, peers[1], "second\n");
    check_answers(loop, peers[2], "third\n");
    CHECK_INT(clients.count, 2);
    CHECK_INT(reports.count, 1);
    CHECK(strstr(reports.messages[0], "turned away") != NULL && strstr(reports.messages[0], strerror(ENOSPC)) != NULL);
    CHECK_INT(plain_descriptors(), before + 5);
    accepts_normally();
    for (int i = 0; i < 3; i++) close(peers[i]);
    eddy_loop_free(loop);
}

struct knocker {
    uint16_t port;
    int rounds;
    atomic_bool over;
};

static void *knock_and_reset(void *arg)
{
    struct knocker *knocker = arg;
    for (int i = 0; i < knocker->rounds; i++) {
        int fd = plain_connect(knocker->port);
        if (i % 2 != 0) send(fd, "x\n", 2, MSG_NOSIGNAL);
        plain_reset(fd);
    }
    atomic_store(&knocker->over, true);
    return NULL;
}

TEST(thousands_that_connect_and_reset_do_no_harm, "V12 V23 p11")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = BYE);
    struct reports reports = { .count = 0 };
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    /* A queue that is long enough: when it is full, the kernel lets the next one wait for a second. */
    eddy_server *server = serve_at(loop, &clients, "127.0.0.1", 0, EDDY_OPTIONS(.backlog = 4000));
    struct knocker knocker = { .port = port_of(server), .rounds = eddy_test_slow() > 1 ? 200 : 2000 };
    int before = plain_descriptors();
    pthread_t thread = plain_start(knock_and_reset, &knocker);
    RUN_UNTIL(loop, atomic_load(&knocker.over));
    plain_join(thread);
    RUN_UNTIL(loop, plain_descriptors() == before);
    settle(loop);
    CHECK(clients.count > knocker.rounds / 2); /* the kernel may forget some */
    CHECK(clients.count <= knocker.rounds);
    int count = clients.count, peer = plain_connect(knocker.port);
    CHECK_INT(end_seen_by(loop, peer), 0);
    CHECK_INT(clients.count, count + 1);
    CHECK_INT(reports.count, 0);
    close(peer);
    eddy_loop_free(loop);
}

/* ---- closing ------------------------------------------------------------------------------------------- */

TEST(close_stops_listening_and_leaves_the_clients, "V16 V17 d02")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = ECHO);
    eddy_server *server = serve(loop, &clients);
    uint16_t port = port_of(server);
    intptr_t fd = eddy_server_socket(server, 0);
    int peer = plain_connect(port);
    check_answers(loop, peer, "before\n");
    CHECK_INT(eddy_server_close(server), 0);
    CHECK(!plain_is_open((int)fd));
    CHECK_INT(plain_knock(port), ECONNREFUSED);
    CHECK(!eddy_server_is_serving(server));
    CHECK_INT(eddy_server_close(server), 0);
    check_answers(loop, peer, "after\n");
    settle(loop);
    CHECK_INT(eddy_server_close(server), 0);
    CHECK_INT(clients.count, 1);
    close(peer);
    eddy_loop_free(loop);
    CHECK_INT(clients.count, 1);
}

TEST(wait_closed_waits_for_the_server_and_its_clients, "V18 d02")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    eddy_server *server = serve(loop, &clients);
    GOT(closed);
    GOT(again);
    int first = plain_connect(port_of(server)), second = plain_connect(port_of(server));
    RUN_UNTIL(loop, clients.count == 2);
    START(&closed, eddy_server_wait_closed(server, got_server, &closed));
    end_pump(loop, 10);
    CHECK_INT(closed.count, 0); /* it still serves */
    CHECK_INT(eddy_server_close(server), 0);
    START(&again, eddy_server_wait_closed(server, got_server, &again));
    end_pump(loop, 10);
    CHECK_INT(closed.count + again.count, 0); /* two clients */
    CHECK_INT(eddy_writer_close(clients.writer[0]), 0);
    CHECK_INT(end_seen_by(loop, first), 0);
    end_pump(loop, 10);
    CHECK_INT(closed.count + again.count, 0); /* one client */
    GOT(lost);
    START(&lost, eddy_writer_wait_closed(clients.writer[1], got_writer, &lost));
    plain_reset(second);
    RUN_UNTIL(loop, closed.count > 0 && again.count > 0);
    CHECK_INT(lost.count, 1);
    CHECK(lost.order < closed.order);
    CHECK_INT(closed.code, 0);
    CHECK_INT(again.code, 0);
    CHECK(closed.server == server);
    START(&closed, eddy_server_wait_closed(server, got_server, &closed)); /* and once more, at once */
    CHECK(eddy_loop_run_once(loop, 0) >= 0);
    CHECK_INT(closed.count, 2);
    CHECK_INT(closed.code, 0);
    close(first);
    CHECK_INT(eddy_loop_run(loop), 0);
    eddy_loop_free(loop);
    CHECK_INT(closed.count, 2);
    CHECK_INT(again.count, 1);
}

TEST(wait_closed_of_a_server_without_clients, "V18")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    eddy_server *server = serve(loop, &clients);
    GOT(closed);
    GOT(cancelled);
    eddy_op op = START(&cancelled, eddy_server_wait_closed(server, got_server, &cancelled));
    end_pump(loop, 10);
    CHECK_INT(cancelled.count, 0); /* it has no client, and yet it serves */
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    settle(loop);
    CHECK_INT(cancelled.count, 1);
    CHECK_INT(cancelled.code, EDDY_ECANCELED);
    CHECK_INT(eddy_server_wait_closed(server, NULL, NULL), EDDY_EINVAL);
    CHECK_INT(eddy_server_close(server), 0);
    START(&closed, eddy_server_wait_closed(server, got_server, &closed));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.code, 0);
    eddy_loop_free(loop);
    CHECK_INT(cancelled.count, 1);
}

TEST(all_clients_can_be_closed_at_once, "V19 d02")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = GREET);
    eddy_server *server = serve(loop, &clients);
    GOT(closed);
    int peers[3];
    char bytes[6];
    for (int i = 0; i < 3; i++) peers[i] = plain_connect(port_of(server));
    RUN_UNTIL(loop, clients.count == 3);
    CHECK_INT(eddy_server_close_clients(server), 0);
    for (int i = 0; i < 3; i++) CHECK(eddy_writer_is_closing(clients.writer[i]));
    CHECK(eddy_server_is_serving(server)); /* this is about the present clients only */
    for (int i = 0; i < 3; i++) {
        settle(loop);
        CHECK_INT(plain_recv(peers[i], bytes, 6), 6); /* what was written still arrives */
        CHECK_INT(end_seen_by(loop, peers[i]), 0);
        close(peers[i]);
    }
    CHECK_INT(plain_knock(port_of(server)), 0);
    RUN_UNTIL(loop, clients.count == 4);
    CHECK_INT(eddy_server_close(server), 0);
    CHECK_INT(eddy_server_close_clients(server), 0);
    START(&closed, eddy_server_wait_closed(server, got_server, &closed));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(closed.count, 1);
    CHECK_INT(eddy_server_close_clients(server), 0); /* nobody left */
    CHECK_INT(eddy_server_abort_clients(server), 0);
    eddy_loop_free(loop);
}

TEST(all_clients_can_be_aborted_also_stuck_ones, "V19 K4")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    eddy_server *server = serve_at(loop, &clients, "127.0.0.1", 0, EDDY_OPTIONS(.limit = 10));
    size_t size = 3000000;
    char *bytes = plain_fill(size);
    GOT(closed);
    GOT(drained);
    int peer = plain_connect(port_of(server));
    plain_send(peer, bytes, 1000); /* more than twice the limit, and nobody reads: paused */
    RUN_UNTIL(loop, clients.count == 1);
    PUMP_UNTIL(loop, !eddy_transport_is_reading(eddy_writer_transport(clients.writer[0])));
    plain_set(end_descriptor(clients.writer[0]), SOL_SOCKET, SO_SNDBUF, 65536, "SO_SNDBUF");
    plain_set(peer, SOL_SOCKET, SO_RCVBUF, 65536, "SO_RCVBUF");
    CHECK_INT(eddy_writer_write(clients.writer[0], bytes, size), 1);
    START(&drained, eddy_writer_drain(clients.writer[0], got_writer, &drained));
    CHECK_INT(eddy_server_close(server), 0);
    START(&closed, eddy_server_wait_closed(server, got_server, &closed));
    CHECK_INT(eddy_server_close_clients(server), 0); /* does not help: the peer does not read */
    end_pump(loop, 30);
    CHECK_INT(closed.count, 0);
    CHECK_INT(eddy_server_abort_clients(server), 0);
    CHECK_INT(closed.count, 0);
    RUN_UNTIL(loop, closed.count > 0);
    CHECK_INT(closed.code, 0);
    CHECK_INT(drained.count, 1);
    CHECK_INT(drained.code, EDDY_ELOST);
    CHECK_INT(end_seen_by(loop, peer), ECONNRESET);
    free(bytes);
    close(peer);
    eddy_loop_free(loop);
}

TEST(a_freed_server_is_closed_and_its_clients_live_on, "V17 V16")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = ECHO);
    struct reports reports = { .count = 0 };
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    eddy_server *server = serve(loop, &clients);
    uint16_t port = port_of(server);
    GOT(closed);
    int peer = plain_connect(port);
    check_answers(loop, peer, "before\n");
    START(&closed, eddy_server_wait_closed(server, got_server, &closed));
    eddy_server_free(server);
    eddy_server_free(server);
    CHECK_INT(closed.count, 0);
    CHECK_INT(plain_knock(port), ECONNREFUSED);
    CHECK_INT(eddy_server_close(server), EDDY_ESTALE);
    CHECK_INT(eddy_server_socket(server, 0), -1);
    check_answers(loop, peer, "after\n");
    close(peer);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(closed.count, 1);
    eddy_loop_free(loop);
    CHECK_INT(closed.count, 1);
    CHECK_INT(clients.count, 1);
}

TEST(clients_that_were_not_accepted_yet_see_the_close, "V17 d08")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = KEEP);
    eddy_server *server = serve(loop, &clients);
    int peer = plain_connect(port_of(server)), error;
    CHECK_INT(eddy_server_close(server), 0);
    CHECK_INT(plain_recv_pattern(peer, &error), 0);
    CHECK(error == 0 || error == ECONNRESET);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(clients.count, 0); /* a standing callback never runs again after what ended it */
    close(peer);
    eddy_loop_free(loop);
    CHECK_INT(clients.count, 0);
}

TEST(a_client_may_close_the_server_within_its_callback, "V17 e16")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = CLOSE_SERVER);
    eddy_server *server = serve(loop, &clients);
    GOT(closed);
    int peers[5];
    START(&closed, eddy_server_wait_closed(server, got_server, &closed));
    for (int i = 0; i < 5; i++) peers[i] = plain_connect(port_of(server));
    RUN_UNTIL(loop, closed.count > 0);
    for (int i = 0; i < 5; i++) close(peers[i]);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(clients.count, 1); /* not once more for those that came in the same turn */
    eddy_loop_free(loop);
    CHECK_INT(clients.count, 1);
    CHECK_INT(closed.count, 1);
}

TEST(a_loop_that_is_freed_ends_its_servers, "V17")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = ECHO);
    eddy_server *server = serve(loop, &clients);
    uint16_t port = port_of(server);
    GOT(closed);
    CLIENTS(starting, .way = KEEP);
    int peer = plain_connect(port), error;
    check_answers(loop, peer, "hello\n");
    START(&closed, eddy_server_wait_closed(server, got_server, &closed));
    begin_at(loop, &starting, "127.0.0.1", 0, NULL);
    clients.line[0].then = NULL;
    eddy_loop_free(loop);
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.code, EDDY_ECANCELED);
    CHECK_INT(starting.started.count, 1);
    CHECK_INT(starting.started.code, EDDY_ECANCELED);
    CHECK_INT(clients.line[0].code, EDDY_ECANCELED);
    CHECK_INT(plain_knock(port), ECONNREFUSED);
    CHECK_INT(plain_recv_pattern(peer, &error), 0);
    close(peer);
}

/* ---- descriptors made elsewhere ------------------------------------------------------------------------ */

TEST(a_listening_socket_made_elsewhere_becomes_a_server, "V21")
{
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients, .way = ECHO);
    int listener = plain_listen();
    uint16_t port = plain_port(listener);
    int early = plain_connect(port); /* before eddy knew of it */
    START(&clients.started, eddy_start_socket_server(loop, on_client, listener, NULL, on_started, &clients));
    RUN_UNTIL(loop, clients.started.count > 0);
    CHECK_INT(clients.started.code, 0);
    CHECK_INT(eddy_server_socket(clients.started.server, 0), listener);
    check_answers(loop, early, "early\n");
    int late = plain_connect(port);
    check_answers(loop, late, "late\n");
    CHECK_INT(eddy_server_close(clients.started.server), 0);
    CHECK(!plain_is_open(listener)); /* eddy owned it */
    close(early);
    close(late);
    eddy_loop_free(loop);
    CHECK_INT(clients.started.count, 1);
}

/* Nothing but a listening stream socket makes a server; what is refused stays the caller's. */
static void check_unusable(eddy_loop *loop, int fd, int code, const char *what)
{
    CLIENTS(clients, .way = KEEP);
    eddy_op op = eddy_start_socket_server(loop, on_client, fd, NULL, on_started, &clients);
    if (op != code) FAIL("%s: %d, not %d", what, (int)op, code);
    settle(loop);
    CHECK_INT(clients.started.count, 0);
    if (fd >= 0) CHECK_INT(close(fd), 0);
}

TEST(what_is_no_listening_stream_socket_is_refused, "V21 U1")
{
    int ends[2];
    eddy_loop *loop = eddy_loop_new();
    const int cloexec = SOCK_CLOEXEC;
    check_unusable(loop, -1, EDDY_EINVAL, "no descriptor");
    check_unusable(loop, plain_ok(open("/dev/null", O_RDWR | O_CLOEXEC), "open"), EDDY_ENOTSUP, "a device");
    check_unusable(loop, plain_ok(socket(AF_INET, SOCK_DGRAM | cloexec, 0), "socket"), EDDY_ENOTSUP, "datagrams");
    check_unusable(loop, plain_ok(socket(AF_UNIX, SOCK_DGRAM | cloexec, 0), "socket"), EDDY_ENOTSUP, "unix datagrams");
    plain_tcp_pair(ends);
    check_unusable(loop, ends[0], EDDY_ESTATE, "a connection");
    close(ends[1]);
    check_unusable(loop, plain_bind("127.0.0.1", 0), EDDY_ESTATE, "bound, and not listening");
    int listener = plain_listen();
    CLIENTS(clients, .way = KEEP);
    START(&clients.started, eddy_start_socket_server(loop, on_client, listener, NULL, on_started, &clients));
    CLIENTS(again, .way = KEEP);
    CHECK_INT(eddy_start_socket_server(loop, on_client, listener, NULL, on_started, &again), EDDY_EBUSY);
    RUN_UNTIL(loop, clients.started.count > 0);
    CHECK_INT(clients.started.code, 0);
    eddy_loop_free(loop);
}
