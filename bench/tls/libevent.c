/* The same with libevent's bufferevent_openssl. */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>

static SSL_CTX *context;

static void on_read(struct bufferevent *stream, void *arg)
{
    (void)arg;
    bufferevent_write_buffer(stream, bufferevent_get_input(stream));
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
    (void)arg;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) bufferevent_free(stream);
}

static void on_client(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len, void *arg)
{
    (void)listener, (void)address, (void)len;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct bufferevent *stream = bufferevent_openssl_socket_new(arg, fd, SSL_new(context), BUFFEREVENT_SSL_ACCEPTING,
                                                                BEV_OPT_CLOSE_ON_FREE);
    bufferevent_openssl_set_allow_dirty_shutdown(stream, 1);
    bufferevent_setcb(stream, on_read, NULL, on_event, NULL);
    bufferevent_enable(stream, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, argv[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1) return 2;
    struct event_base *base = event_base_new();
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct evconnlistener *listener = evconnlistener_new_bind(base, on_client, base, LEV_OPT_CLOSE_ON_FREE, 100,
                                                              (struct sockaddr *)&address, sizeof address);
    socklen_t len = sizeof address;
    getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &len);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return event_base_dispatch(base);
}
