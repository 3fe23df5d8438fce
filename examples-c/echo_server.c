/* echo_server: send every line back to where it came from.
 *
 *     cc echo_server.c $(pkg-config --cflags --libs eddy) -o echo_server
 *     ./echo_server 7777          (0: any free port; the first line of the output tells which)
 *
 * In asyncio each client would be this coroutine; here it is two callbacks that call each other:
 *
 *     while line := await reader.readline():
 *         writer.write(line)
 *         await writer.drain()
 */
#include <eddy.h>
#include <stdio.h>
#include <stdlib.h>

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg);
static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    static const char too_long[] = "line too long\n";
    eddy_writer *writer = arg;
    if (eddy_error_code(error) == EDDY_ELIMIT) {
        eddy_writer_write(writer, too_long, sizeof too_long - 1); /* the next read begins with the next line */
    } else if (error != NULL || len == 0) {
        eddy_writer_free(writer); /* the connection is lost, or the client has said all it had to say */
        return;
    } else {
        eddy_writer_write(writer, line, len);
    }
    eddy_writer_drain(writer, on_drained, reader); /* a client that does not listen is not asked for more */
}

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    eddy_reader *reader = arg;
    if (error != NULL) eddy_writer_free(writer);
    else eddy_reader_readline(reader, on_line, writer);
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    eddy_reader_readline(reader, on_line, writer);
}

static void on_listening(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)arg;
    if (error != NULL) fprintf(stderr, "echo_server: %s\n", eddy_error_message(error));
    else printf("listening on %s\n", eddy_server_sockname(server, 0));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *text = argc > 1 ? argv[1] : "7777";
    char *end;
    long port = strtol(text, &end, 10);
    if (argc > 2 || end == text || *end != '\0' || port < 0 || port > UINT16_MAX) {
        fprintf(stderr, "usage: echo_server [PORT]\n");
        return 2;
    }
    eddy_loop *loop = eddy_loop_new();
    eddy_start_server(loop, on_client, "127.0.0.1", (uint16_t)port, EDDY_OPTIONS(.limit = 4096), on_listening,
                      NULL);
    eddy_loop_run(loop); /* returns when nothing is left to wait for: never, once the server listens */
    eddy_loop_free(loop);
    return 1;
}
