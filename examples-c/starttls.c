/* starttls: a mail server of few words, which goes from clear to encrypted on the client's word.
 *
 *     cc starttls.c $(pkg-config --cflags --libs eddy) -o starttls
 *     ./starttls certificate.pem key.pem 2525          (0: any free port; the first line tells which)
 *     openssl s_client -quiet -starttls smtp -CAfile certificate.pem -connect localhost:2525
 */
#include <eddy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static eddy_tls *tls;

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg);

static void say(eddy_writer *writer, const char *text)
{
    eddy_writer_write(writer, text, strlen(text));
}

static void on_encrypted(eddy_writer *writer, const eddy_error *error, void *arg)
{
    eddy_reader *reader = arg;
    if (error != NULL) eddy_writer_free(writer);
    else eddy_reader_readline(reader, on_line, writer); /* the same reader, the same writer */
}

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    eddy_writer *writer = arg;
    bool encrypted = eddy_writer_get_extra_info(writer, "cipher", NULL) != NULL;
    if (error != NULL || len == 0 || strncasecmp(line, "QUIT", 4) == 0) {
        if (len > 0) say(writer, "221 goodbye\r\n");
        eddy_writer_free(writer);
        return;
    }
    if (strncasecmp(line, "EHLO", 4) == 0) {
        say(writer, encrypted ? "250 now we are alone\r\n" : "250-in clear\r\n250 STARTTLS\r\n");
    } else if (strncasecmp(line, "STARTTLS", 8) == 0 && !encrypted) {
        say(writer, "220 go ahead\r\n"); /* what is gathered goes out in clear */
        /* Lines that came right behind, in clear, would be taken for encrypted ones: then this is refused. */
        if (eddy_writer_start_tls(writer, EDDY_OPTIONS(.tls = tls, .timeout_ms = 5000), on_encrypted, reader) < 0)
            eddy_writer_free(writer);
        return;
    } else {
        say(writer, encrypted ? "250 a secret, well kept\r\n" : "530 STARTTLS first\r\n");
    }
    eddy_reader_readline(reader, on_line, writer);
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    say(writer, "220 eddy\r\n");
    eddy_reader_readline(reader, on_line, writer);
}

static void on_listening(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)arg;
    if (error != NULL) fprintf(stderr, "starttls: %s\n", eddy_error_message(error));
    else printf("listening on %s\n", eddy_server_sockname(server, 0));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    tls = eddy_tls_server_new(NULL, NULL);
    if (argc != 4 || eddy_tls_load_certificate(tls, argv[1], argv[2]) < 0) {
        fprintf(stderr, argc != 4 ? "usage: starttls CERTIFICATES KEY PORT\n" : "starttls: no such certificate\n");
        return 2;
    }
    eddy_loop *loop = eddy_loop_new();
    eddy_start_server(loop, on_client, "127.0.0.1", (uint16_t)atoi(argv[3]), NULL, on_listening, NULL);
    eddy_loop_run(loop);
    eddy_loop_free(loop);
    return 1;
}
