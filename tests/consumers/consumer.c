/* Somebody's first program: a line sent to itself, over a server on any free port. Good C++ too. */
#include <eddy.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int got_line = 0;

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    (void)reader;
    got_line = error == NULL && len == 6 && strcmp(line, "hello\n") == 0;
    eddy_writer_free((eddy_writer *)arg);
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)error, (void)arg;
    eddy_writer_write(writer, "hello\n", 6);
    eddy_writer_free(writer);
}

static void on_connection(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    eddy_server_free((eddy_server *)arg);
    if (error == NULL) eddy_reader_readline(reader, on_line, writer);
}

static void on_serving(eddy_server *server, const eddy_error *error, void *arg)
{
    if (error != NULL) return;
    const char *port = strrchr(eddy_server_sockname(server, 0), ':') + 1;
    eddy_open_connection((eddy_loop *)arg, "127.0.0.1", (uint16_t)atoi(port), NULL, on_connection, server);
}

int main(void)
{
    eddy_loop *loop = eddy_loop_new();
    eddy_start_server(loop, on_client, "127.0.0.1", 0, NULL, on_serving, loop);
    eddy_loop_run(loop);
    eddy_loop_free(loop);
    printf("eddy %s, made for %s: %s\n", eddy_version(), EDDY_VERSION, got_line ? "hello" : "nothing came");
    return got_line && strcmp(eddy_version(), EDDY_VERSION) == 0 ? 0 : 1;
}
