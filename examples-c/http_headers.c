/* http_headers: ask a web server about a page, and print the headers of its answer.
 *
 *     cc http_headers.c $(pkg-config --cflags --libs eddy) -o http_headers
 *     ./http_headers https://example.com/path/page.html
 */
#include <eddy.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct page {
    char host[256];
    uint16_t port;
    bool https;
    char request[2048];
    int status; /* the program's, in the end */
};

/* Take http[s]://HOST[:PORT][/PATH] apart; HOST may be an IPv6 address in brackets. False: it is no such thing. */
static bool parse(const char *url, struct page *page)
{
    for (const char *c = url; *c != '\0'; c++) if (*c <= ' ' || *c > '~') return false;
    page->https = strncmp(url, "https://", 8) == 0;
    if (!page->https && strncmp(url, "http://", 7) != 0) return false;
    const char *authority = strchr(url, '/') + 2;
    int len = 0; /* of what fits: %n comes last */
    sscanf(authority, "[%255[^]/]]%n", page->host, &len);
    if (len == 0 && sscanf(authority, "%255[^][/:?#@]%n", page->host, &len) != 1) return false;
    const char *path = authority + len;
    char port[6] = "";
    if (sscanf(path, ":%5[0-9]", port) == 1) path += 1 + strlen(port);
    long number = *port != '\0' ? atol(port) : page->https ? 443 : 80;
    if (number < 1 || number > UINT16_MAX || strchr("/?#", *path) == NULL) return false;
    page->port = (uint16_t)number;
    len = snprintf(page->request, sizeof page->request, "HEAD %s%.*s HTTP/1.0\r\nHost: %.*s\r\n\r\n",
                   *path == '/' ? "" : "/", (int)strcspn(path, "#"), path, (int)(path - authority), authority);
    return len > 0 && (size_t)len < sizeof page->request;
}

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    struct page *page = arg;
    while (len > 0 && isspace((unsigned char)line[len - 1])) len--;
    if (len > 0) {
        printf("HTTP header> %.*s\n", (int)len, line);
        page->status = 0;
        eddy_reader_readline(reader, on_line, page);
    } else if (error != NULL || page->status != 0) {
        fprintf(stderr, "http_headers: %s\n", error ? eddy_error_message(error) : "the server did not answer");
        page->status = 1;
    } /* else the blank line, or the end: with nothing left to wait for, the loop ends */
}

static void on_connect(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct page *page = arg;
    if (error == NULL) {
        eddy_writer_write(writer, page->request, strlen(page->request));
        eddy_reader_readline(reader, on_line, page);
    } else fprintf(stderr, "http_headers: %s\n", eddy_error_message(error));
}

int main(int argc, char **argv)
{
    struct page page = { .status = 1 };
    if (argc != 2 || !parse(argv[1], &page)) {
        fprintf(stderr, "usage: http_headers http[s]://HOST[:PORT][/PATH]\n");
        return 2;
    }
    eddy_loop *loop = eddy_loop_new();
    eddy_tls *tls = page.https ? eddy_tls_client_new() : NULL; /* trusts whom the system trusts */
    eddy_op op = eddy_open_connection(loop, page.host, page.port, EDDY_OPTIONS(.tls = tls), on_connect, &page);
    if (op < 0) fprintf(stderr, "http_headers: %s\n", tls ? eddy_error_message(eddy_tls_error(tls)) : "refused");
    eddy_loop_run(loop);
    eddy_loop_free(loop); /* and with it the reader, the writer and their connection */
    return page.status;
}
