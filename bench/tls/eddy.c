/* An echo server over TLS: eddy CERTIFICATE KEY; prints its port. */
#include <eddy.h>
#include <stdio.h>
#include <string.h>

static void on_bytes(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg);

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    eddy_reader *reader = arg;
    if (error != NULL) eddy_writer_free(writer);
    else eddy_reader_read(reader, 65536, on_bytes, writer);
}

static void on_bytes(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    eddy_writer *writer = arg;
    if (error != NULL || len == 0) eddy_writer_free(writer);
    else if (eddy_writer_write(writer, bytes, len) > 0) eddy_writer_drain(writer, on_drained, reader);
    else eddy_reader_read(reader, 65536, on_bytes, writer);
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    eddy_reader_read(reader, 65536, on_bytes, writer);
}

static void on_listening(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    printf("%s\n", strrchr(eddy_server_sockname(server, 0), ':') + 1);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    eddy_tls *tls = eddy_tls_server_new(NULL, NULL);
    if (eddy_tls_load_certificate(tls, argv[1], argv[2]) < 0) return 2;
    eddy_loop *loop = eddy_loop_new();
    eddy_start_server(loop, on_client, "127.0.0.1", 0, EDDY_OPTIONS(.tls = tls), on_listening, NULL);
    return eddy_loop_run(loop);
}
