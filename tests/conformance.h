/* What a stream is joined by does not show: each behaviour is written down once, against a maker of two ends, and is a
 * test for every transport.
 *
 *     BEHAVIOUR(a_line_comes_whole, "R60") { struct ends ends = make(NULL); ... done(&ends); }
 *
 * becomes a_line_comes_whole_over_tcp, _over_unix and so on. A transport more is a maker more, and a line in BEHAVIOUR. */
#ifndef EDDY_TEST_CONFORMANCE_H
#define EDDY_TEST_CONFORMANCE_H

#include "certificates.h"
#include "collect.h"
#include "plain.h"

struct wire;

struct ends {
    eddy_loop *loop;
    eddy_reader *readers[2];
    eddy_writer *writers[2];
    struct wire *wires; /* two of them, for those that are made by hand */
};

typedef struct ends (*maker)(const eddy_options *options);

#define BEHAVIOUR(name, shows)                                                                     \
    static void name(maker make);                                                                  \
    TEST(name##_over_tcp, shows) { name(over_tcp); }                                               \
    TEST(name##_over_unix, shows) { name(over_unix); }                                             \
    TEST(name##_over_custom, shows) { name(over_custom); }                                         \
    TEST(name##_over_pair, shows) { name(over_pair); }                                             \
    TEST(name##_over_tls, shows) { if (certificates()) name(over_tls); }                           \
    static void name(maker make)

/* ---- over sockets ---------------------------------------------------------------------------------------- */

PLAIN void came_in(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct ends *ends = arg;
    CHECK(error == NULL);
    ends->readers[1] = reader;
    ends->writers[1] = writer;
}

PLAIN void is_up(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)arg;
    if (error != NULL) FAIL("%s", eddy_error_message(error));
    CHECK(eddy_server_is_serving(server));
}

/* The server ends with the loop, or when both are there. */
PLAIN void meet(struct ends *ends, struct got *opened)
{
    RUN_UNTIL(ends->loop, opened->count > 0 && ends->writers[1] != NULL);
    CHECK_INT(opened->code, 0);
    ends->readers[0] = opened->reader;
    ends->writers[0] = opened->writer;
}

PLAIN struct ends over_port(const eddy_options *client, const eddy_options *server)
{
    static struct ends ends;
    int port = plain_bind("127.0.0.1", 0);
    CHECK(listen(port, 5) == 0);
    ends = (struct ends){ .loop = eddy_loop_new() };
    GOT(opened);
    CHECK(eddy_start_socket_server(ends.loop, came_in, port, server, is_up, &ends) >= 0);
    START(&opened, eddy_open_connection(ends.loop, "127.0.0.1", plain_port(port), client, got_stream, &opened));
    meet(&ends, &opened);
    return ends;
}

PLAIN struct ends over_tcp(const eddy_options *options)
{
    return over_port(options, options);
}

PLAIN struct ends over_tls(const eddy_options *options)
{
    eddy_options client = options != NULL ? *options : (eddy_options){ .size = sizeof client }, server = client;
    client.tls = client_of("authority.pem");
    server.tls = server_of("server");
    struct ends ends = over_port(&client, &server);
    eddy_tls_free(client.tls);
    eddy_tls_free(server.tls);
    return ends;
}

PLAIN struct ends over_unix(const eddy_options *options)
{
    static struct ends ends;
    static int number = 0;
    char name[64];
    snprintf(name, sizeof name, "@eddy-conformance-%ld-%d", (long)getpid(), number++);
    ends = (struct ends){ .loop = eddy_loop_new() };
    GOT(opened);
    CHECK(eddy_start_unix_server(ends.loop, came_in, name, options, is_up, &ends) >= 0);
    settle(ends.loop);
    START(&opened, eddy_open_unix_connection(ends.loop, name, options, got_stream, &opened));
    meet(&ends, &opened);
    return ends;
}

/* ---- over C functions: what one end is to write is held until the other may be fed --------------------------- */

struct wire {
    struct wire *other;
    eddy_loop *loop;
    eddy_protocol *protocol;
    eddy_transport *transport;
    bool paused, ending, closing, lost; /* reading; what its writer asked for; what it has been told */
    char *held;                         /* what it has written, of which so much has gone, and so much has not */
    size_t moved, len;
    bool moving;
    int released;
};

PLAIN void wire_lose(struct wire *wire, int code)
{
    if (wire->lost) return;
    wire->lost = true;
    CHECK_INT(eddy_protocol_connection_lost(wire->protocol, code, NULL), 0);
}

PLAIN void wire_again(eddy_loop *loop, const eddy_error *error, void *arg);

/* As much as goes at a time. */
PLAIN void wire_move(struct wire *wire)
{
    struct wire *other = wire->other;
    const size_t n = wire->len < 65536 ? wire->len : 65536;
    if (other->paused && !other->lost) return;
    if (n > 0 && !other->lost) CHECK_INT(eddy_protocol_data_received(other->protocol, wire->held + wire->moved, n), 0);
    wire->moved += n;
    wire->len -= n;
    if (wire->len > 0) {
        if (!wire->moving) CHECK(eddy_loop_call_soon(wire->loop, wire_again, wire) >= 0);
        wire->moving = true;
        return;
    }
    free(wire->held);
    wire->held = NULL;
    wire->moved = 0;
    if (wire->lost) return;
    CHECK_INT(eddy_protocol_resume_writing(wire->protocol), 0);
    if (wire->ending && !other->lost) CHECK(eddy_protocol_eof_received(other->protocol));
    if (wire->closing) wire_lose(wire, 0);
}

PLAIN void wire_again(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct wire *wire = arg;
    (void)loop;
    wire->moving = false;
    if (error == NULL && wire->len > 0) wire_move(wire);
}

PLAIN void wire_write(eddy_transport *transport, const char *bytes, size_t len, void *arg)
{
    struct wire *wire = arg;
    CHECK(transport == wire->transport && !wire->ending);
    wire->held = realloc(wire->held, wire->moved + wire->len + len);
    memcpy(wire->held + wire->moved + wire->len, bytes, len);
    wire->len += len;
    if (wire->other->lost) wire_lose(wire, 32);
    else CHECK_INT(eddy_protocol_pause_writing(wire->protocol), 0); /* until all of it has gone */
    wire_move(wire);
}

PLAIN void wire_write_eof(eddy_transport *transport, void *arg)
{
    struct wire *wire = arg;
    CHECK(transport == wire->transport);
    wire->ending = true;
    if (wire->len == 0) wire_move(wire);
}

PLAIN void wire_close(eddy_transport *transport, void *arg)
{
    struct wire *wire = arg;
    CHECK(transport == wire->transport);
    wire->closing = wire->ending = true;
    if (wire->len == 0) wire_move(wire);
}

PLAIN void wire_abort(eddy_transport *transport, void *arg)
{
    struct wire *wire = arg;
    CHECK(transport == wire->transport);
    wire_lose(wire, 0);
    wire_lose(wire->other, 104);
}

PLAIN void wire_pause(eddy_transport *transport, void *arg)
{
    (void)transport;
    ((struct wire *)arg)->paused = true;
}

PLAIN void wire_resume(eddy_transport *transport, void *arg)
{
    struct wire *wire = arg;
    (void)transport;
    wire->paused = false;
    if (wire->other->len > 0 || wire->other->ending) wire_move(wire->other);
}

PLAIN void wire_release(void *arg)
{
    struct wire *wire = arg;
    wire->released++;
    free(wire->held);
    wire->held = NULL;
    wire->moved = wire->len = 0;
}

PLAIN struct ends over_custom(const eddy_options *options)
{
    static const eddy_transport_ops ops = { sizeof ops,   wire_write, wire_write_eof, wire_close,
                                            wire_abort, wire_pause, wire_resume,    wire_release };
    static struct wire wires[2];
    memset(wires, 0, sizeof wires);
    struct ends ends = { .loop = eddy_loop_new(), .wires = wires };
    const size_t limit = options != NULL && options->limit != 0 ? options->limit : 65536;
    for (int i = 0; i < 2; i++) {
        wires[i].other = &wires[1 - i];
        wires[i].loop = ends.loop;
        ends.readers[i] = eddy_reader_new(ends.loop, limit);
        wires[i].protocol = eddy_protocol_new(ends.loop, ends.readers[i], NULL, NULL);
        wires[i].transport = eddy_transport_new(ends.loop, &ops, &wires[i]);
        CHECK_INT(eddy_protocol_connection_made(wires[i].protocol, wires[i].transport), 0);
        ends.writers[i] = eddy_writer_new(wires[i].transport, wires[i].protocol, ends.readers[i]);
        CHECK(ends.writers[i] != NULL);
    }
    return ends;
}

/* ---- in memory ---------------------------------------------------------------------------------------------- */

PLAIN struct ends over_pair(const eddy_options *options)
{
    struct ends ends = { .loop = eddy_loop_new() };
    CHECK_INT(eddy_open_pair(ends.loop, options, ends.readers, ends.writers), 0);
    return ends;
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

PLAIN void done(struct ends *ends)
{
    eddy_loop_free(ends->loop);
    for (int i = 0; ends->wires != NULL && i < 2; i++) CHECK_INT(ends->wires[i].released, 1);
}

#endif
