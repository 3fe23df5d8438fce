/* libeddy.
 *
 *     eddy line|drain|bulk|sink [two] [busy]
 *
 *     drain   asyncio's own idiom: write, drain, readline
 *     two     two threads with a loop each, on one port
 *     busy    look for events for 50 microseconds before sleeping
 */
#define _GNU_SOURCE
#include <eddy.h>
#include "server.h"

static enum mode mode;
static bool two, busy;
static int port = 0;

/* ---- line, drain --------------------------------------------------------------------------------------- */

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg);
static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    eddy_writer *writer = arg;
    if (error != NULL || len == 0) {
        eddy_writer_free(writer);
        return;
    }
    eddy_writer_write(writer, line, len);
    if (mode == DRAIN) eddy_writer_drain(writer, on_drained, reader);
    else eddy_reader_readline(reader, on_line, writer);
}

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    eddy_reader *reader = arg;
    if (error != NULL) eddy_writer_free(writer);
    else eddy_reader_readline(reader, on_line, writer);
}

/* ---- bulk ---------------------------------------------------------------------------------------------- */

static void on_bytes(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    eddy_writer *writer = arg;
    if (error != NULL || len == 0) {
        eddy_writer_free(writer);
        return;
    }
    eddy_writer_write(writer, bytes, len);
    eddy_reader_read(reader, CHUNK, on_bytes, writer);
}

/* ---- sink ---------------------------------------------------------------------------------------------- */

struct sink {
    eddy_writer *writer;
    size_t seen;
};

static void on_swallowed(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)bytes;
    struct sink *sink = arg;
    if (error == NULL && len > 0) {
        sink->seen += len;
        eddy_reader_read(reader, CHUNK, on_swallowed, sink);
        return;
    }
    char answer[32];
    int n = snprintf(answer, sizeof answer, "%zu\n", sink->seen);
    eddy_writer_write(sink->writer, answer, (size_t)n);
    eddy_writer_free(sink->writer);
    free(sink);
}

/* ---- the server ---------------------------------------------------------------------------------------- */

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    if (mode == SINK) {
        struct sink *sink = calloc(1, sizeof *sink);
        sink->writer = writer;
        eddy_reader_read(reader, CHUNK, on_swallowed, sink);
    } else if (mode == BULK) {
        eddy_reader_read(reader, CHUNK, on_bytes, writer);
    } else {
        eddy_reader_readline(reader, on_line, writer);
    }
}

static void serve(eddy_server_cb on_listening)
{
    eddy_loop *loop = eddy_loop_new();
#ifdef BUSY_POLL
    if (busy) eddy_loop_set_busy_poll(loop, 50);
#endif
    eddy_start_server(loop, on_client, "127.0.0.1", (uint16_t)port,
                      EDDY_OPTIONS(.backlog = BACKLOG, .reuse_port = two), on_listening, NULL);
    eddy_loop_run(loop);
    eddy_loop_free(loop);
}

static void on_second(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)server, (void)arg;
    if (error != NULL) fprintf(stderr, "eddy: %s\n", eddy_error_message(error));
    else server_ready(port);
}

static void *second(void *arg)
{
    server_pin(1);
    serve(on_second);
    return arg;
}

static void on_first(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)arg;
    pthread_t thread;
    if (error != NULL) {
        fprintf(stderr, "eddy: %s\n", eddy_error_message(error));
        return;
    }
    port = atoi(strrchr(eddy_server_sockname(server, 0), ':') + 1);
    if (two) pthread_create(&thread, NULL, second, NULL);
    else server_ready(port);
}

int main(int argc, char **argv)
{
    mode = server_mode(argc, argv);
    two = server_option(argc, argv, "two");
    busy = server_option(argc, argv, "busy");
#ifndef BUSY_POLL
    if (busy) fprintf(stderr, "eddy: this libeddy cannot poll busily\n");
    if (busy) return 2;
#endif
    if (two) server_pin(0);
    serve(on_first);
    return 1;
}
