/* tls_echo_server: send every line back to where it came from, encrypted.
 *
 *     cc tls_echo_server.c $(pkg-config --cflags --libs eddy) -o tls_echo_server
 *     openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 30 -subj /CN=localhost \
 *         -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE
 *     ./tls_echo_server certificate.pem key.pem 7778        (0: any free port; the first line tells which)
 *     openssl s_client -quiet -CAfile certificate.pem -connect localhost:7778
 *
 * The only difference from echo_server are the settings in main(): streams are the same with TLS.
 */
#include <eddy.h>
#include <stdio.h>
#include <stdlib.h>

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg);

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    eddy_writer *writer = arg;
    if (error != NULL || len == 0) {
        eddy_writer_free(writer); /* lost, cut short (EDDY_ETLS), too long a line, or the end */
        return;
    }
    eddy_writer_write(writer, line, len);
    eddy_writer_drain(writer, on_drained, reader);
}

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    eddy_reader *reader = arg;
    if (error != NULL) eddy_writer_free(writer);
    else eddy_reader_readline(reader, on_line, writer);
}

/* Only when the handshake is done: one that fails is told to the exception handler, which prints a line. */
static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    printf("a client speaks %s, ", eddy_writer_get_extra_info(writer, "version", NULL));
    printf("%s\n", eddy_writer_get_extra_info(writer, "cipher", NULL));
    fflush(stdout);
    eddy_reader_readline(reader, on_line, writer);
}

static void on_listening(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)arg;
    if (error != NULL) fprintf(stderr, "tls_echo_server: %s\n", eddy_error_message(error));
    else printf("listening on %s\n", eddy_server_sockname(server, 0));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: tls_echo_server CERTIFICATES KEY PORT\n");
        return 2;
    }
    eddy_tls *tls = eddy_tls_server_new(NULL, NULL);
    if (eddy_tls_load_certificate(tls, argv[1], argv[2]) < 0) {
        fprintf(stderr, "tls_echo_server: %s\n", eddy_error_message(eddy_tls_error(tls)));
        return 2;
    }
    eddy_loop *loop = eddy_loop_new();
    eddy_start_server(loop, on_client, "127.0.0.1", (uint16_t)atoi(argv[3]), EDDY_OPTIONS(.tls = tls),
                      on_listening, NULL);
    eddy_tls_free(tls); /* the server has what it needs */
    eddy_loop_run(loop);
    eddy_loop_free(loop);
    return 1;
}
