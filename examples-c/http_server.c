/* http_server: a web server with one page, for one computer to talk to itself.
 *
 *     cc http_server.c $(pkg-config --cflags --libs eddy) -o http_server
 *     ./http_server 8080          (0: any free port; the first line of the output tells which)
 *     ./http_server 8443 certificate.pem key.pem          (https)
 */
#include <eddy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer(eddy_writer *writer, const char *status, const char *body, bool with_body)
{
    char text[512];
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                       "Connection: close\r\n\r\n%s",
                       status, strlen(body), with_body ? body : "");
    eddy_writer_write(writer, text, (size_t)len);
    eddy_writer_free(writer); /* which sends what was written, closes the connection, and frees the reader */
}

static void on_request(eddy_reader *reader, const char *head, size_t len, const eddy_error *error, void *arg)
{
    (void)reader, (void)len; /* head ends with a NUL, like all text from eddy */
    eddy_writer *writer = arg;
    char method[8], path[1024], version, greeting[256];
    if (eddy_error_code(error) == EDDY_ELIMIT) {
        answer(writer, "431 Request Header Fields Too Large", "too long\n", true);
    } else if (error != NULL) {
        eddy_writer_free(writer); /* the client went away, or hung up before its request was complete */
    } else if (sscanf(head, "%7[A-Z] %1023[^ \r\n] HTTP/1.%c", method, path, &version) != 3) {
        answer(writer, "400 Bad Request", "that is no HTTP/1\n", true);
    } else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        answer(writer, "405 Method Not Allowed\r\nAllow: GET, HEAD", "only GET and HEAD\n", true);
    } else if (strcmp(path, "/") != 0) {
        answer(writer, "404 Not Found", "nothing here\n", strcmp(method, "GET") == 0);
    } else {
        const char *peer = eddy_writer_get_extra_info(writer, "peername", NULL);
        snprintf(greeting, sizeof greeting, "Hello %s, this is eddy %s.\n", peer ? peer : "you",
                 eddy_version());
        answer(writer, "200 OK", greeting, strcmp(method, "GET") == 0);
    }
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    static const eddy_bytes blank_line[] = { { "\n\r\n", 3 }, { "\n\n", 2 } }; /* some send no \r */
    eddy_reader_readuntil_any(reader, blank_line, 2, on_request, writer);
}

static void on_listening(eddy_server *server, const eddy_error *error, void *arg)
{
    if (error != NULL) fprintf(stderr, "http_server: %s\n", eddy_error_message(error));
    else printf("%s://%s/\n", arg ? "https" : "http", eddy_server_sockname(server, 0));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char *end, *text = argc > 1 ? argv[1] : "8080";
    long port = strtol(text, &end, 10);
    if ((argc > 2 && argc != 4) || end == text || *end != '\0' || port < 0 || port > UINT16_MAX) {
        fprintf(stderr, "usage: http_server [PORT [CERTIFICATES KEY]]\n");
        return 2;
    }
    eddy_tls *tls = argc == 4 ? eddy_tls_server_new(NULL, NULL) : NULL;
    if (tls != NULL && eddy_tls_load_certificate(tls, argv[2], argv[3]) < 0) {
        fprintf(stderr, "http_server: %s\n", eddy_error_message(eddy_tls_error(tls)));
        return 2;
    }
    eddy_loop *loop = eddy_loop_new();
    eddy_start_server(loop, on_client, "127.0.0.1", (uint16_t)port, EDDY_OPTIONS(.tls = tls), on_listening, tls);
    eddy_loop_run(loop); /* returns when nothing is left to wait for: never, once the server listens */
    eddy_loop_free(loop);
    return 1;
}
