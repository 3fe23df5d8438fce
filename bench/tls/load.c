/* load PORT handshakes N    N connections, one after the other, a full handshake each, and 64 bytes to and fro
 * load PORT bulk N          N times 64 KiB to and fro over one connection, each compared
 * Prints seconds. OpenSSL, whoever the server is. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static SSL_CTX *context;
static char out[65536], in[65536];

static void die(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static SSL *dial(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1) die("handshake");
    return ssl;
}

static void exchange(SSL *ssl, int len)
{
    if (SSL_write(ssl, out, len) != len) die("write");
    for (int got = 0; got < len;) {
        int n = SSL_read(ssl, in + got, len - got);
        if (n <= 0) die("read");
        got += n;
    }
    if (memcmp(in, out, (size_t)len) != 0) die("something else came back");
}

static void hang_up(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    int port = atoi(argv[1]), count = atoi(argv[3]);
    context = SSL_CTX_new(TLS_client_method());
    for (size_t n = 0; n < sizeof out; n++) out[n] = (char)rand();
    hang_up(dial(port));
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (strcmp(argv[2], "handshakes") == 0) {
        for (int n = 0; n < count; n++) {
            SSL *ssl = dial(port);
            exchange(ssl, 64);
            hang_up(ssl);
        }
    } else {
        SSL *ssl = dial(port);
        for (int n = 0; n < count; n++) exchange(ssl, sizeof out);
        hang_up(ssl);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.6f\n", (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) * 1e-9);
    return 0;
}
