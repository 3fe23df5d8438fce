/* chat: what you type goes to the other side, what the other side says to you.
 *
 *     cc chat.c $(pkg-config --cflags --libs eddy) -o chat
 *     ./chat HOST PORT          (ends with the other side; control-D only ends what you have to say)
 */
#include <eddy.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct side {
    eddy_reader *reader;
    eddy_writer *writer;
    struct side *other;
};

static struct side you, peer;
static int status = 0;

static void complain(const char *what)
{
    fprintf(stderr, "chat: %s\n", what);
    status = 1;
}

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg);
static void on_bytes(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct side *from = arg;
    (void)reader;
    if (len > 0) eddy_writer_write(from->other->writer, bytes, len);
    if (len > 0) eddy_writer_drain(from->other->writer, on_drained, from); /* no faster than it is listened to */
    if (len > 0) return;
    if (error != NULL && eddy_error_code(error) != EDDY_ECANCELED) complain(eddy_error_message(error));
    if (error == NULL && from == &you) {
        eddy_writer_write_eof(peer.writer);
    } else {
        eddy_writer_free(peer.writer); /* after all that was written has gone out */
        eddy_writer_free(you.writer);
    }
}

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct side *from = arg;
    (void)writer;
    if (error == NULL) eddy_reader_read(from->reader, 65536, on_bytes, from);
    else on_bytes(NULL, NULL, 0, error, from); /* nobody listens there any more */
}

static void on_terminal(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg; /* both ends are there already: nothing can go wrong */
    you = (struct side){ reader, writer, &peer };
    eddy_reader_read(you.reader, 65536, on_bytes, &you);
    eddy_reader_read(peer.reader, 65536, on_bytes, &peer);
}

static void on_connect(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    if (error != NULL) complain(eddy_error_message(error));
    if (error != NULL) return;
    peer = (struct side){ reader, writer, &you };
    eddy_op op = eddy_open_pipe(arg, STDIN_FILENO, STDOUT_FILENO, NULL, on_terminal, NULL);
    if (op >= 0) return;
    complain(op == EDDY_ENOTSUP ? "only pipes and terminals can be waited for" : eddy_strerror((int)op));
    eddy_writer_free(writer);
}

int main(int argc, char **argv)
{
    long port = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    if (port < 1 || port > UINT16_MAX) return fputs("usage: chat HOST PORT\n", stderr), 2;
    eddy_loop *loop = eddy_loop_new();
    if (eddy_open_connection(loop, argv[1], (uint16_t)port, NULL, on_connect, loop) < 0) complain("no such host");
    eddy_loop_run(loop);
    eddy_loop_free(loop);
    return status;
}
