/* poll_loop: eddy as the guest of a loop of your own; here poll(2), which watches the standard input besides.
 *
 *     cc poll_loop.c $(pkg-config --cflags --libs eddy) -o poll_loop
 *     ./poll_loop 7777          (where echo_server listens; type lines, and end with control-D)
 */
#include <eddy.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct chat {
    eddy_writer *writer;
    int input; /* what poll watches for us: the standard input, or -1 while that has to wait */
    bool over, failed;
};

static void on_tick(eddy_loop *loop, const eddy_error *error, void *arg)
{
    if (error != NULL) return; /* cancelled: the loop is being freed */
    puts("tick");
    eddy_loop_call_later(loop, 1000, on_tick, arg);
}

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    struct chat *chat = arg;
    chat->over = len == 0; /* the server has echoed all that we said, or is lost */
    chat->failed = error != NULL;
    if (chat->failed) fprintf(stderr, "poll_loop: %s\n", eddy_error_message(error));
    if (chat->over) return;
    printf("echo: %.*s", (int)len, line);
    eddy_reader_readline(reader, on_line, chat);
}

static void on_connect(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct chat *chat = arg;
    chat->writer = writer;
    chat->input = STDIN_FILENO;
    if (error != NULL) on_line(reader, "", 0, error, chat); /* who was never there has no more to say, either */
    else eddy_reader_readline(reader, on_line, chat);
}

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)writer;
    if (error == NULL) ((struct chat *)arg)->input = STDIN_FILENO; /* else on_line tells */
}

static void on_input(struct chat *chat)
{
    char bytes[4096];
    ssize_t len = read(chat->input, bytes, sizeof bytes);
    if (len > 0 && eddy_writer_write(chat->writer, bytes, (size_t)len) == 0) return;
    chat->input = -1; /* at its end; or not before the server has taken most of what we wrote */
    if (len > 0) eddy_writer_drain(chat->writer, on_drained, chat);
    else eddy_writer_write_eof(chat->writer);
}

int main(int argc, char **argv)
{
    long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
    if (port < 1 || port > UINT16_MAX) {
        fprintf(stderr, "usage: poll_loop PORT\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct chat chat = { .input = -1 };
    eddy_loop *loop = eddy_loop_new();
    eddy_loop_call_later(loop, 1000, on_tick, NULL);
    eddy_open_connection(loop, "127.0.0.1", (uint16_t)port, NULL, on_connect, &chat);
    while (eddy_loop_run_once(loop, 0) > 0 && !chat.over) { /* never waits: poll does */
        struct pollfd watched[] = { { chat.input, POLLIN, 0 }, { eddy_loop_fd(loop), POLLIN, 0 } };
        if (poll(watched, 2, eddy_loop_timeout(loop)) > 0 && watched[0].revents != 0) on_input(&chat);
    }
    eddy_loop_free(loop);
    return !chat.over || chat.failed;
}
