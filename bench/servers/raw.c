/* The unit: epoll by hand. Each event is one recv; all the replies to what it brought leave in one send.
 *
 *     raw line|bulk|sink [two]      two: two threads with a loop each, on one port
 */
#define _GNU_SOURCE
#include "server.h"
#include <errno.h>
#include <sys/epoll.h>

struct connection { /* 56 bytes, and malloc's 8 */
    int fd;
    bool ended;               /* the client has said all it had to say */
    size_t seen;              /* bytes, for the sink */
    char *tail;               /* a line that has only begun */
    size_t tail_length;
    char *unsent;             /* what the socket did not take; nothing is read until it does */
    size_t unsent_length, unsent_sent;
};

static enum mode mode;
static bool two;
static _Thread_local char input[CHUNK], output[2 * CHUNK];

static char *keep(const char *bytes, size_t length)
{
    return memcpy(malloc(length), bytes, length);
}

static void finish(struct connection *c)
{
    close(c->fd);
    free(c->tail);
    free(c->unsent);
    free(c);
}

/* Whether the connection is still good. What the socket does not take is kept. */
static bool send_all(struct connection *c, const char *bytes, size_t length)
{
    ssize_t n = send(c->fd, bytes, length, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return false;
    size_t sent = n < 0 ? 0 : (size_t)n;
    if (sent < length) {
        c->unsent = keep(bytes + sent, length - sent);
        c->unsent_length = length - sent;
        c->unsent_sent = 0;
    }
    return true;
}

static bool send_unsent(struct connection *c)
{
    ssize_t n = send(c->fd, c->unsent + c->unsent_sent, c->unsent_length - c->unsent_sent, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN;
    c->unsent_sent += (size_t)n;
    if (c->unsent_sent == c->unsent_length) {
        free(c->unsent);
        c->unsent = NULL;
    }
    return true;
}

static bool got_lines(struct connection *c, const char *bytes, size_t length)
{
    const char *next = bytes, *end = bytes + length, *newline;
    size_t used = 0;
    while ((newline = memchr(next, '\n', (size_t)(end - next))) != NULL) {
        size_t line = (size_t)(newline + 1 - next);
        if (c->tail != NULL) {
            memcpy(output, c->tail, c->tail_length);
            used = c->tail_length;
            free(c->tail);
            c->tail = NULL;
        }
        memcpy(output + used, next, line);
        used += line;
        next = newline + 1;
    }
    size_t rest = (size_t)(end - next);
    if (rest > 0 && c->tail == NULL) {
        c->tail = keep(next, rest);
        c->tail_length = rest;
    } else if (rest > 0) {
        if (c->tail_length + rest > CHUNK) return false; /* nobody has lines that long */
        c->tail = realloc(c->tail, c->tail_length + rest);
        memcpy(c->tail + c->tail_length, next, rest);
        c->tail_length += rest;
    }
    return used == 0 || send_all(c, output, used);
}

static bool got_end(struct connection *c)
{
    if (mode == SINK) {
        int n = snprintf(output, sizeof output, "%zu\n", c->seen);
        send_all(c, output, (size_t)n);
    }
    return false;
}

static bool got(struct connection *c, const char *bytes, size_t length)
{
    c->seen += length;
    if (mode == LINE) return got_lines(c, bytes, length);
    return mode == SINK || send_all(c, bytes, length);
}

static void watch(struct connection *c, int poll_fd, int how)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
    epoll_ctl(poll_fd, how, c->fd, &event);
}

/* Edge-triggered: a short read tells that all has been read, unless the client is done, whose end we want. A
 * full read goes on with the same connection, whose data is in the cache, but not for ever: then it lines up
 * again behind the others. */
static bool ready(struct connection *c, unsigned events, int poll_fd)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->ended = true;
    if (c->unsent != NULL && !send_unsent(c)) return false;
    for (int reads = 0; reads < 16; reads++) {
        if (c->unsent != NULL) return true;
        ssize_t n = recv(c->fd, input, sizeof input, 0);
        if (n < 0) return errno == EAGAIN;
        if (n == 0) return got_end(c);
        if (!got(c, input, (size_t)n)) return false;
        if ((size_t)n < sizeof input && !c->ended) return true;
    }
    watch(c, poll_fd, EPOLL_CTL_MOD);
    return true;
}

static void welcome(int listener, int poll_fd)
{
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        watch(c, poll_fd, EPOLL_CTL_ADD);
    }
}

static void serve(int listener)
{
    int poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[1024] = { { .events = EPOLLIN, .data.ptr = NULL } };
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, events);
    server_no_delay(listener); /* whose connections inherit it */
    for (;;) {
        int n = epoll_wait(poll_fd, events, sizeof events / sizeof *events, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL) welcome(listener, poll_fd);
            else if (events[i].events != EPOLLOUT || c->unsent != NULL)
                if (!ready(c, events[i].events, poll_fd)) finish(c);
        }
    }
}

static void *second(void *port)
{
    server_pin(1);
    serve(server_socket(port, true));
    return NULL;
}

int main(int argc, char **argv)
{
    mode = server_mode(argc, argv);
    two = server_option(argc, argv, "two");
    static int port = 0;
    int listener = server_socket(&port, two);
    pthread_t thread;
    if (two) pthread_create(&thread, NULL, second, &port);
    if (two) server_pin(0);
    server_ready(port);
    serve(listener);
}
