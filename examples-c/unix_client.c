/* unix_client: send each TEXT as a line over a unix socket, and print all that comes back.
 *
 *     cc unix_client.c $(pkg-config --cflags --libs eddy) -o unix_client
 *     ./unix_client /tmp/shout.socket "hello there" "and goodbye"
 */
#include <eddy.h>
#include <stdio.h>
#include <string.h>

struct talk {
    char **texts; /* ends with NULL, as argv does */
    int status;   /* the program's, in the end */
};

static void on_bytes(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct talk *talk = arg;
    if (error != NULL) {
        fprintf(stderr, "unix_client: %s\n", eddy_error_message(error));
    } else if (len > 0) {
        fwrite(bytes, 1, len, stdout);
        eddy_reader_read(reader, 4096, on_bytes, talk); /* whatever has come, at most so much */
    } else {
        talk->status = 0; /* the server has said all it had to say */
    }
}

static void on_connect(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct talk *talk = arg;
    if (error != NULL) {
        fprintf(stderr, "unix_client: %s\n", eddy_error_message(error));
        return;
    }
    for (char **text = talk->texts; *text != NULL; text++) {
        const eddy_bytes line[] = { { *text, strlen(*text) }, { "\n", 1 } };
        eddy_writer_writelines(writer, line, 2); /* gathered: all lines leave together */
    }
    eddy_writer_write_eof(writer); /* we have said all we had to say, and go on listening */
    eddy_reader_read(reader, 4096, on_bytes, talk);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: unix_client PATH [TEXT...]\n");
        return 2;
    }
    struct talk talk = { .texts = argv + 2, .status = 1 };
    eddy_loop *loop = eddy_loop_new();
    eddy_op op = eddy_open_unix_connection(loop, argv[1], NULL, on_connect, &talk);
    if (op < 0) fprintf(stderr, "unix_client: %s: %s\n", argv[1], eddy_strerror((int)op)); /* too long a path */
    eddy_loop_run(loop);
    eddy_loop_free(loop); /* and with it the reader, the writer and their connection */
    return talk.status;
}
