/* graceful_server: an echo server that lets its clients finish before it ends.
 *
 *     cc graceful_server.c $(pkg-config --cflags --libs eddy) -o graceful_server
 *     ./graceful_server 7777      (0: any free port; the first line of the output tells which)
 *
 * On SIGTERM or SIGINT nobody comes in any more; those who are in have five seconds, or until it is told once
 * more. The exit status is 0 when all have ended by themselves, and nobody had to be cut off.
 */
#include <eddy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct service {
    eddy_server *server;
    int asked, status;
};

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg);
static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    eddy_writer *writer = arg;
    if (error == NULL && len > 0) eddy_writer_write(writer, line, len);
    if (error == NULL && len > 0) eddy_writer_drain(writer, on_drained, reader);
    else eddy_writer_free(writer); /* it has said all it had to say, is gone, or has been cut off */
}

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    if (error == NULL) eddy_reader_readline(arg, on_line, writer);
    else eddy_writer_free(writer);
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    eddy_reader_readline(reader, on_line, writer);
}

static void on_down(eddy_server *server, const eddy_error *error, void *arg)
{
    struct service *service = arg;
    (void)server;
    service->status = error != NULL; /* EDDY_ETIMEDOUT; in words, how many were cut off */
    if (--service->asked == 0) printf("%s\n", error ? eddy_error_message(error) : "all clients have ended");
}

static void on_signal(void *arg) /* from the loop, as every callback: everything may be called here */
{
    struct service *service = arg;
    if (service->server == NULL) exit(0); /* it has not even begun */
    eddy_server_shutdown(service->server, service->asked++ == 0 ? 5000 : 0, on_down, service);
}

static void on_listening(eddy_server *server, const eddy_error *error, void *arg)
{
    ((struct service *)arg)->server = server;
    if (error != NULL) fprintf(stderr, "graceful_server: %s\n", eddy_error_message(error));
    else printf("listening on %s\n", eddy_server_sockname(server, 0));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    unsigned port = 7777;
    char rest;
    if (argc > 2 || (argc > 1 && sscanf(argv[1], "%5u%c", &port, &rest) != 1) || port > UINT16_MAX) {
        fprintf(stderr, "usage: graceful_server [PORT]\n");
        return 2;
    }
    struct service service = { .status = 1 };
    eddy_loop *loop = eddy_loop_new();
    eddy_loop_add_signal_handler(loop, SIGTERM, on_signal, &service);
    eddy_loop_add_signal_handler(loop, SIGINT, on_signal, &service);
    eddy_start_server(loop, on_client, "127.0.0.1", (uint16_t)port, NULL, on_listening, &service);
    eddy_loop_run(loop); /* until the server is down, and nothing is left to wait for */
    eddy_loop_free(loop);
    return service.status;
}
