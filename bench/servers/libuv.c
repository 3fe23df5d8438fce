/* libuv, in the three ways that its users write.
 *
 *     libuv line|bulk|sink [try|batch]
 *
 *     (none)  a uv_write() with a copy for every line, as in libuv's guide; in bulk the buffer that was read
 *             into is itself written
 *     try     uv_try_write() first, and uv_write() for what that left
 *     batch   all replies to one read gathered by hand, in one uv_write()
 */
#define _GNU_SOURCE
#include "server.h"
#include <uv.h>

struct client {
    uv_tcp_t tcp;
    char *tail; /* a line that has only begun */
    size_t tail_length, seen;
};

struct reply {
    uv_write_t request;
    char *bytes; /* ours to free; NULL: they follow */
};

static enum mode mode;
static bool try_first, batch;
static char input[CHUNK], output[2 * CHUNK];

static void on_closed(uv_handle_t *handle)
{
    struct client *client = (struct client *)handle;
    free(client->tail);
    free(client);
}

static void on_written(uv_write_t *request, int status)
{
    struct reply *reply = (struct reply *)request;
    (void)status; /* the next read tells */
    free(reply->bytes);
    free(reply);
}

static void write_copy(struct client *client, const char *bytes, size_t length)
{
    if (try_first) {
        uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)length);
        int n = uv_try_write((uv_stream_t *)&client->tcp, &buffer, 1);
        if (n > 0) bytes += n, length -= (size_t)n;
        if (length == 0) return;
    }
    struct reply *reply = malloc(sizeof *reply + length);
    uv_buf_t buffer = uv_buf_init((char *)(reply + 1), (unsigned)length);
    reply->bytes = NULL;
    memcpy(buffer.base, bytes, length);
    uv_write(&reply->request, (uv_stream_t *)&client->tcp, &buffer, 1, on_written);
}

static void write_own(struct client *client, char *bytes, size_t length)
{
    struct reply *reply = malloc(sizeof *reply);
    uv_buf_t buffer = uv_buf_init(bytes, (unsigned)length);
    reply->bytes = bytes;
    uv_write(&reply->request, (uv_stream_t *)&client->tcp, &buffer, 1, on_written);
}

static void got_lines(struct client *client, const char *bytes, size_t length)
{
    const char *next = bytes, *end = bytes + length, *newline;
    size_t used = 0;
    while ((newline = memchr(next, '\n', (size_t)(end - next))) != NULL) {
        size_t line = (size_t)(newline + 1 - next);
        if (client->tail != NULL) {
            memcpy(output + used, client->tail, client->tail_length);
            used += client->tail_length;
            free(client->tail);
            client->tail = NULL;
        }
        memcpy(output + used, next, line);
        used += line;
        next = newline + 1;
        if (batch) continue;
        write_copy(client, output, used);
        used = 0;
    }
    if (used > 0) write_copy(client, output, used);
    size_t rest = (size_t)(end - next), old = client->tail == NULL ? 0 : client->tail_length;
    if (rest == 0 || old + rest > CHUNK) return;
    client->tail = realloc(client->tail, old + rest);
    memcpy(client->tail + old, next, rest);
    client->tail_length = old + rest;
}

/* In bulk, without uv_try_write(), what is read is written from where it lies: each read has its own buffer. */
static bool owns_buffers(void)
{
    return mode == BULK && !try_first;
}

static void on_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(owns_buffers() ? malloc(CHUNK) : input, CHUNK);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    struct client *client = (struct client *)stream;
    if (n > 0 && owns_buffers()) {
        write_own(client, buffer->base, (size_t)n);
        return;
    }
    if (n > 0 && mode == LINE) got_lines(client, buffer->base, (size_t)n);
    if (n > 0 && mode == BULK) write_copy(client, buffer->base, (size_t)n);
    if (n > 0) client->seen += (size_t)n;
    if (n < 0 && mode == SINK) {
        uv_buf_t answer = uv_buf_init(output, (unsigned)snprintf(output, sizeof output, "%zu\n", client->seen));
        uv_try_write(stream, &answer, 1);
    }
    if (n < 0) uv_close((uv_handle_t *)stream, on_closed);
    if (owns_buffers()) free(buffer->base);
}

static void on_client(uv_stream_t *listener, int status)
{
    if (status < 0) return;
    struct client *client = calloc(1, sizeof *client);
    uv_tcp_init(listener->loop, &client->tcp);
    if (uv_accept(listener, (uv_stream_t *)&client->tcp) != 0) {
        uv_close((uv_handle_t *)&client->tcp, on_closed);
        return;
    }
    uv_tcp_nodelay(&client->tcp, 1);
    uv_read_start((uv_stream_t *)&client->tcp, on_wanted, on_read);
}

int main(int argc, char **argv)
{
    mode = server_mode(argc, argv);
    try_first = server_option(argc, argv, "try");
    batch = server_option(argc, argv, "batch");
    uv_tcp_t listener;
    int port = 0;
    uv_tcp_init(uv_default_loop(), &listener);
    uv_tcp_open(&listener, server_socket(&port, false));
    uv_listen((uv_stream_t *)&listener, BACKLOG, on_client);
    server_ready(port);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
