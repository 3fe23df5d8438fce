/* unix_server: answer every line with its number and the same in capitals, over a unix socket.
 *
 *     cc unix_server.c $(pkg-config --cflags --libs eddy) -o unix_server
 *     ./unix_server /tmp/shout.socket          (a name that begins with '@' is an abstract one, without a file)
 */
#include <eddy.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

struct client { /* made for each connection by on_client, freed by its very last callback, on_closed */
    eddy_reader *reader;
    eddy_writer *writer;
    unsigned long lines;
};

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg);
static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    (void)reader;
    struct client *client = arg;
    char answer[64 * 1024 + 32]; /* a line is no longer than the reader's limit */
    if (error != NULL || len == 0) {
        eddy_writer_free(client->writer); /* the end; or the connection is lost; or a line is too long */
        return;
    }
    int used = snprintf(answer, sizeof answer, "%lu ", ++client->lines);
    for (size_t i = 0; i < len; i++) answer[used++] = (char)toupper((unsigned char)line[i]);
    eddy_writer_write(client->writer, answer, (size_t)used);
    eddy_writer_drain(client->writer, on_drained, client);
}

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    if (error != NULL) eddy_writer_free(writer);
    else eddy_reader_readline(client->reader, on_line, client);
}

static void on_closed(eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)writer, (void)error;
    free(arg);
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    struct client *client = malloc(sizeof *client);
    if (client == NULL) {
        eddy_writer_free(writer); /* and so the connection is closed */
        return;
    }
    *client = (struct client){ reader, writer, 0 };
    eddy_writer_wait_closed(writer, on_closed, client);
    eddy_reader_readline(reader, on_line, client);
}

static void on_listening(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)arg;
    if (error != NULL) fprintf(stderr, "unix_server: %s\n", eddy_error_message(error));
    else printf("listening on %s\n", eddy_server_sockname(server, 0));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: unix_server PATH\n");
        return 2;
    }
    eddy_loop *loop = eddy_loop_new();
    eddy_op op = eddy_start_unix_server(loop, on_client, argv[1], NULL, on_listening, NULL);
    if (op < 0) fprintf(stderr, "unix_server: %s: %s\n", argv[1], eddy_strerror((int)op)); /* too long a path */
    eddy_loop_run(loop); /* returns when nothing is left to wait for: never, once the server listens */
    eddy_loop_free(loop);
    return 1;
}
