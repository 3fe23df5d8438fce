/* Two ends that speak TLS with each other, on one loop; and a relay between them, in the test's hands. */
#ifndef EDDY_TEST_SECURE_H
#define EDDY_TEST_SECURE_H

#include "certificates.h"
#include "ends.h"

struct pair {
    eddy_loop *loop;
    eddy_server *server;
    uint16_t port;
    struct got opened, came;
    eddy_reader *reader, *its_reader; /* the client's, and the server's */
    eddy_writer *writer, *its_writer;
    struct reports reports;
};

PLAIN void served(eddy_server *server, const eddy_error *error, void *arg)
{
    struct pair *pair = arg;
    CHECK(error == NULL);
    pair->server = server;
}

PLAIN void came(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct pair *pair = arg;
    got_stream(reader, writer, error, &pair->came);
    pair->its_reader = reader;
    pair->its_writer = writer;
}

PLAIN void pair_start(struct pair *pair, const eddy_options *options)
{
    memset(pair, 0, sizeof *pair);
    pair->loop = eddy_loop_new();
    eddy_loop_set_exception_handler(pair->loop, got_report, &pair->reports);
    CHECK(eddy_start_server(pair->loop, came, "127.0.0.1", 0, options, served, pair) >= 0);
    RUN_UNTIL(pair->loop, pair->server != NULL);
    pair->port = (uint16_t)atoi(strrchr(eddy_server_sockname(pair->server, 0), ':') + 1);
}

PLAIN void pair_call(struct pair *pair, const char *host, const eddy_options *options)
{
    START(&pair->opened,
          eddy_open_connection(pair->loop, host, pair->port, options, got_stream, &pair->opened));
}

/* Connected at both ends, and the handshake done. */
PLAIN void pair_open(struct pair *pair, eddy_tls *server, eddy_tls *client)
{
    pair_start(pair, EDDY_OPTIONS(.tls = server));
    pair_call(pair, "127.0.0.1", EDDY_OPTIONS(.tls = client));
    RUN_UNTIL(pair->loop, pair->opened.count > 0 && (pair->opened.code != 0 || pair->came.count > 0));
    if (pair->opened.code != 0) FAIL("%s", pair->opened.message);
    pair->reader = pair->opened.reader;
    pair->writer = pair->opened.writer;
}

PLAIN void pair_free(struct pair *pair)
{
    eddy_loop_free(pair->loop);
    got_release(&pair->opened);
    got_release(&pair->came);
}

PLAIN void pair_default(struct pair *pair)
{
    eddy_tls *server = server_of("server"), *client = client_of("authority.pem");
    pair_open(pair, server, client);
    eddy_tls_free(server);
    eddy_tls_free(client);
}

#define CHECK_HAS(text, part) \
    ((void)(strstr((text), (part)) != NULL || (FAIL("\"%s\" does not say \"%s\"", (text), (part)), 0)))

PLAIN const char *info(eddy_writer *writer, const char *name)
{
    return eddy_writer_get_extra_info(writer, name, NULL);
}

/* The loop waits, and does not turn round and round. */
PLAIN void check_rest(eddy_loop *loop)
{
    uint64_t turns = stats_of(loop).turns, end = plain_now() + 100;
    while (plain_now() < end) CHECK(eddy_loop_run_once(loop, 10) >= 0);
    CHECK(stats_of(loop).turns - turns < 50);
}

/* A relay between the two ends, in the test's hands: it can cut the connection. */
PLAIN void relay(int from, int to)
{
    char bytes[65536];
    ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) CHECK_INT(send(to, bytes, (size_t)n, MSG_NOSIGNAL), n);
}

struct relayed {
    struct pair pair;
    int near, far, listener;
};

PLAIN void relay_both(struct relayed *relayed)
{
    CHECK(eddy_loop_run_once(relayed->pair.loop, 1) >= 0);
    relay(relayed->near, relayed->far);
    relay(relayed->far, relayed->near);
}

PLAIN void relayed_open(struct relayed *relayed, const eddy_options *options)
{
    eddy_tls *server = server_of("server");
    pair_start(&relayed->pair, EDDY_OPTIONS(.tls = server));
    relayed->listener = plain_listen();
    struct pair *pair = &relayed->pair;
    uint16_t port = pair->port;
    pair->port = plain_port(relayed->listener);
    pair_call(pair, "127.0.0.1", options);
    settle(pair->loop);
    relayed->near = plain_accept(relayed->listener);
    relayed->far = plain_connect(port);
    while (pair->opened.count == 0 || pair->came.count == 0) relay_both(relayed);
    for (int n = 0; n < 5; n++) relay_both(relayed);
    CHECK_STR(pair->opened.message, "");
    pair->reader = pair->opened.reader;
    pair->writer = pair->opened.writer;
    eddy_tls_free(server);
}

PLAIN void relayed_free(struct relayed *relayed)
{
    if (relayed->near >= 0) close(relayed->near);
    if (relayed->far >= 0) close(relayed->far);
    close(relayed->listener);
    pair_free(&relayed->pair);
}

#endif
