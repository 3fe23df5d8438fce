/* libevent's bufferevents.
 *
 *     libevent line|bulk|sink
 */
#define _GNU_SOURCE
#include "server.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

static enum mode mode;

struct sink {
    size_t seen;
};

static void on_line(struct bufferevent *stream, void *arg)
{
    (void)arg;
    struct evbuffer *input = bufferevent_get_input(stream), *output = bufferevent_get_output(stream);
    char *line;
    size_t length;
    while ((line = evbuffer_readln(input, &length, EVBUFFER_EOL_LF)) != NULL) {
        line[length] = '\n'; /* where it put a NUL */
        evbuffer_add(output, line, length + 1);
        free(line);
    }
}

static void on_bytes(struct bufferevent *stream, void *arg)
{
    (void)arg;
    evbuffer_add_buffer(bufferevent_get_output(stream), bufferevent_get_input(stream));
}

static void on_swallowed(struct bufferevent *stream, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(stream);
    ((struct sink *)arg)->seen += evbuffer_get_length(input);
    evbuffer_drain(input, evbuffer_get_length(input));
}

static void on_sent(struct bufferevent *stream, void *arg)
{
    free(arg);
    bufferevent_free(stream);
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
    if (mode == SINK && (what & BEV_EVENT_EOF)) {
        evbuffer_add_printf(bufferevent_get_output(stream), "%zu\n", ((struct sink *)arg)->seen);
        bufferevent_setcb(stream, NULL, on_sent, NULL, arg);
    } else {
        on_sent(stream, arg);
    }
}

static void on_client(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int length,
                      void *arg)
{
    (void)peer, (void)length, (void)arg;
    struct bufferevent *stream =
        bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
    struct sink *sink = mode == SINK ? calloc(1, sizeof *sink) : NULL;
    bufferevent_data_cb on_input = mode == SINK ? on_swallowed : mode == BULK ? on_bytes : on_line;
    server_no_delay(fd);
    bufferevent_setcb(stream, on_input, NULL, on_event, sink);
    bufferevent_enable(stream, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    mode = server_mode(argc, argv);
    int port = 0;
    struct event_base *base = event_base_new();
    evconnlistener_new(base, on_client, NULL, LEV_OPT_CLOSE_ON_FREE, 0, server_socket(&port, false));
    server_ready(port);
    return event_base_dispatch(base);
}
