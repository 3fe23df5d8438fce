/* Calls that lead out of the model: pairs, sockets, pipes, servers, TLS. Their codes and their callbacks' codes are
 * predicted; of bytes, that those come which were written. When they come is the kernel's. */
#ifndef EDDY_MODEL_WORLD_H
#define EDDY_MODEL_WORLD_H

#include "custom.h"

#include <limits.h>

/* ---- streams that come from eddy ----------------------------------------------------------------------- */

static struct connection *stream_came(enum face face, struct loop *loop, eddy_reader *reader, eddy_writer *writer)
{
    struct connection *connection = connection_made(face, loop);
    connection->can_eof = connection->can_pause = connection->joined = connection->has_writer = true;
    if (reader != NULL) {
        connection->reader = reader_made(reader, loop, 65536);
        connection->reader->stream = connection->reader->connection = connection;
    }
    thing_begin(&connection->writer, WRITER, writer, loop);
    return connection;
}

/* Two that write to each other. */
static void streams_joined(struct connection *one, struct connection *other)
{
    one->peer = other, other->peer = one;
}

/* ---- options ------------------------------------------------------------------------------------------- */

static eddy_options options_at_random(bool *fine)
{
    eddy_options options = { .size = sizeof options };
    *fine = true;
    options.limit = once_in(2) ? 0 : 1 + chance(40);
    options.timeout_ms = once_in(6) ? EDDY_NEVER : once_in(6) ? 1 + chance(5) : 0;
    options.happy_eyeballs_ms = once_in(6) ? EDDY_NEVER : chance(3);
    options.delay = once_in(3), options.keep_alive = once_in(3);
    if (once_in(12)) options.limit = SIZE_MAX - chance(3), *fine = false;
    if (once_in(20)) options.size = 0, *fine = false;
    return options;
}

/* ---- pairs --------------------------------------------------------------------------------------------- */

static void call_open_pair(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    bool fine;
    const eddy_options options = options_at_random(&fine);
    const bool nowhere = once_in(20);
    eddy_reader *readers[2] = { NULL, NULL };
    eddy_writer *writers[2] = { NULL, NULL };
    CALLING(eddy_open_pair, "(%s, limit %zu, size %zu%s)", called(&chosen), options.limit, options.size,
            nowhere ? ", NULL" : "");
    const int code = eddy_open_pair(chosen.handle, &options, nowhere ? NULL : readers, writers);
    if (answered_for(&chosen, code, nowhere || !fine ? EDDY_EINVAL : 0) != 0 || code != 0) return;
    struct connection *sides[2];
    for (int side = 0; side < 2; side++) sides[side] = stream_came(PAIR, loop, readers[side], writers[side]);
    streams_joined(sides[0], sides[1]);
}

/* ---- what opens by and by ------------------------------------------------------------------------------ */

struct opening {
    struct opening *other;            /* the other side of a pair of sockets */
    struct connection *connection;
    bool untracked;
};

static void has_opened(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct operation_of *operation = arg;
    struct opening *opening = operation->object;
    const int code = callback_begins(operation, OP_opened, error);
    if ((writer == NULL) != (error != NULL)) disagree("a writer and an error");
    if (!operation->loop->freeing) {
        if (operation->canceled) code_is(code, EDDY_ECANCELED);
        else if (code != 0 && code != EDDY_ESYSTEM && code != EDDY_ETIMEDOUT && code != EDDY_ETLS &&
                 code != EDDY_ELOST)
            disagree("no opening ends like that");
    }
    if (error == NULL) {
        opening->connection = stream_came(WORLD, operation->loop, reader, writer);
        if (opening->other != NULL && opening->other->connection != NULL)
            opening->connection->untracked = opening->other->connection->written > 0,
            streams_joined(opening->connection, opening->other->connection);
    }
    callback_ends(error);
}

static void client_came(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct loop *loop = ((struct operation_of *)arg)->loop;
    line("client of loop%d", loop->thing.number);
    callbacks_checked++;
    if (in_call) disagree("a client within a call");
    if (error != NULL || reader == NULL || writer == NULL) disagree("no client came");
    if (roomy()) stream_came(WORLD, loop, reader, writer)->served = true;
    else eddy_writer_free(writer);
    act();
}

static void has_started(eddy_server *handle, const eddy_error *error, void *arg)
{
    struct operation_of *operation = arg;
    const int code = callback_begins(operation, OP_started, error);
    if (!operation->loop->freeing) {
        if (operation->canceled) code_is(code, EDDY_ECANCELED);
        else if (code != 0 && code != EDDY_ESYSTEM) disagree("no start ends like that");
    }
    if (error == NULL) {
        struct server *server = fresh(sizeof *server);
        thing_begin(&server->thing, SERVER, handle, operation->loop);
    }
    callback_ends(error);
}

static void server_ended(eddy_server *handle, const eddy_error *error, void *arg)
{
    struct operation_of *operation = arg;
    const struct server *server = operation->object;
    const int code = callback_begins(operation, OP_ended, error);
    if (handle != server->thing.handle) disagree("another server");
    if (!operation->loop->freeing) {
        if (operation->canceled) code_is(code, EDDY_ECANCELED);
        else if (code != 0 && code != EDDY_ETIMEDOUT) disagree("no server ends like that");
        if (!server->closed && !operation->canceled) disagree("it is not closed");
    }
    callback_ends(error);
}

static char server_path[32];
static uint16_t last_port;

static void call_open(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    bool fine;
    const eddy_options options = options_at_random(&fine);
    struct opening *opening = fresh(sizeof *opening);
    struct operation_of *operation = operation_made(OP_opened, loop, opening);
    const eddy_stream_cb cb = once_in(30) ? NULL : has_opened;
    int want = fine && cb != NULL ? 0 : EDDY_EINVAL, ends[2];
    eddy_op receipt;
    switch (chance(5)) {
    case 0:
        CALLING(eddy_open_unix_connection, "(%s, %s)", called(&chosen), server_path);
        receipt = eddy_open_unix_connection(chosen.handle, server_path, &options, cb, operation);
        break;
    case 1: {
        const uint16_t port = once_in(20) ? 0 : last_port;
        if (port == 0) want = EDDY_EINVAL;
        CALLING(eddy_open_connection, "(%s, 127.0.0.1, %u)", called(&chosen), port);
        receipt = eddy_open_connection(chosen.handle, "127.0.0.1", port, &options, cb, operation);
        break;
    }
    case 2:
        plain_ok(pipe2(ends, O_CLOEXEC), "pipe2");
        CALLING(eddy_open_pipe, "(%s, %d, %d)", called(&chosen), ends[0], ends[1]);
        receipt = eddy_open_pipe(chosen.handle, ends[0], ends[1], &options, cb, operation);
        if (receipt < 0) close(ends[0]), close(ends[1]);
        break;
    default: {
        plain_unix_pair(ends);
        CALLING(eddy_open_socket, "(%s, %d)", called(&chosen), ends[0]);
        receipt = eddy_open_socket(chosen.handle, ends[0], &options, cb, operation);
        if (receipt < 0) close(ends[0]);
        const bool was_accepted = accepted_for(&chosen, receipt, want);
        operation_begins(operation, receipt, was_accepted);
        struct opening *second = fresh(sizeof *second);
        struct operation_of *other = operation_made(OP_opened, loop, second);
        second->other = opening, opening->other = second;
        CALLING(eddy_open_socket, "(%s, %d)", called(&chosen), ends[1]);
        receipt = eddy_open_socket(chosen.handle, ends[1], NULL, has_opened, other);
        if (receipt < 0) close(ends[1]);
        operation_begins(other, receipt, accepted_for(&chosen, receipt, 0));
        return;
    }
    }
    operation_begins(operation, receipt, accepted_for(&chosen, receipt, want));
}

static struct pick pick_server(struct server **server)
{
    const struct pick chosen = pick(SERVER);
    *server = (struct server *)chosen.thing;
    return chosen;
}

static void call_start(void)
{
    struct loop *loop;
    const struct pick chosen = pick_loop(&loop);
    bool fine;
    eddy_options options = options_at_random(&fine);
    struct operation_of *operation = operation_made(OP_started, loop, NULL);
    if (once_in(20)) options.backlog = -1, fine = false;
    options.max_clients = chance(3);
    const eddy_server_cb cb = once_in(30) ? NULL : has_started;
    const int want = fine && cb != NULL ? 0 : EDDY_EINVAL;
    eddy_op receipt;
    switch (chance(3)) {
    case 0:
        CALLING(eddy_start_server, "(%s, 127.0.0.1, 0)", called(&chosen));
        receipt = eddy_start_server(chosen.handle, client_came, "127.0.0.1", 0, &options, cb, operation);
        break;
    case 1:
        CALLING(eddy_start_unix_server, "(%s, %s)", called(&chosen), server_path);
        receipt = eddy_start_unix_server(chosen.handle, client_came, server_path, &options, cb, operation);
        break;
    default: {
        const int listener = plain_listen();
        CALLING(eddy_start_socket_server, "(%s, %d)", called(&chosen), listener);
        receipt = eddy_start_socket_server(chosen.handle, client_came, listener, &options, cb, operation);
        if (receipt < 0) close(listener);
    }
    }
    operation_begins(operation, receipt, accepted_for(&chosen, receipt, want));
}

static void call_server(void)
{
    struct server *server;
    const struct pick chosen = pick_server(&server);
    const bool closed = server != NULL && server->closed;
    switch (chance(12)) {
    case 0:
        CALLING(eddy_server_pause, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_server_pause(chosen.handle), closed ? EDDY_ESTATE : 0);
        break;
    case 1:
        CALLING(eddy_server_resume, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_server_resume(chosen.handle), closed ? EDDY_ESTATE : 0);
        break;
    case 2:
        if (chosen.code == 0 && !once_in(6)) return;
        CALLING(eddy_server_close, "(%s)", called(&chosen));
        if (answered_for(&chosen, eddy_server_close(chosen.handle), 0) == 0) server->closed = true;
        break;
    case 3: case 4: {
        const bool shuts = once_in(6);
        struct operation_of *operation = operation_made(OP_ended, server != NULL ? server->thing.loop : NULL, server);
        const eddy_server_cb cb = once_in(30) ? NULL : server_ended;
        eddy_op receipt;
        if (shuts) {
            CALLING(eddy_server_shutdown, "(%s)", called(&chosen));
            receipt = eddy_server_shutdown(chosen.handle, once_in(3) ? EDDY_NEVER : chance(5), cb, operation);
            if (server != NULL && receipt >= 0) server->closed = true;
        } else {
            CALLING(eddy_server_wait_closed, "(%s)", called(&chosen));
            receipt = eddy_server_wait_closed(chosen.handle, cb, operation);
        }
        operation_begins(operation, receipt, accepted_for(&chosen, receipt, cb == NULL ? EDDY_EINVAL : 0));
        break;
    }
    case 5:
        CALLING(eddy_server_close_clients, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_server_close_clients(chosen.handle), 0);
        break;
    case 6:
        CALLING(eddy_server_abort_clients, "(%s)", called(&chosen));
        answered_for(&chosen, eddy_server_abort_clients(chosen.handle), 0);
        break;
    case 7:
        CALLING(eddy_server_is_serving, "(%s)", called(&chosen));
        told_for(&chosen, eddy_server_is_serving(chosen.handle), server != NULL && !closed, 0);
        break;
    case 8: {
        const size_t index = once_in(3) ? 1 + chance_size() / 2 : 0;
        CALLING(eddy_server_sockname, "(%s, %zu)", called(&chosen), index);
        const char *name = eddy_server_sockname(chosen.handle, index);
        pointer_for(&chosen, name, !closed && index == 0);
        const char *colon = name != NULL ? strrchr(name, ':') : NULL;
        if (colon != NULL) last_port = (uint16_t)atoi(colon + 1);
        break;
    }
    case 9: {
        const size_t index = once_in(3) ? 1 + chance_size() / 2 : 0;
        CALLING(eddy_server_socket, "(%s, %zu)", called(&chosen), index);
        const intptr_t fd = eddy_server_socket(chosen.handle, index);
        told_for(&chosen, fd, !closed && index == 0 && fd >= 0 ? fd : -1, -1);
        break;
    }
    default:
        if (chosen.code == 0 && !once_in(10)) return;
        CALLING(eddy_server_free, "(%s)", called(&chosen));
        eddy_server_free(chosen.handle);
        freed_for(&chosen);
        if (chosen.code == 0) server->closed = true, server->thing.live = false;
    }
}

/* ---- TLS: settings, which belong to no loop ------------------------------------------------------------ */

static struct pick pick_settings(struct settings **settings)
{
    const struct pick chosen = pick(TLS);
    *settings = (struct settings *)chosen.thing;
    return chosen;
}

static void settings_made(eddy_tls *handle, bool server, bool wrong)
{
    told_pointer(handle, true);
    struct settings *settings = fresh(sizeof *settings);
    thing_begin(&settings->thing, TLS, handle, NULL);
    settings->server = server, settings->wrong = wrong;
}

static void call_tls(void)
{
    struct settings *settings;
    const struct pick chosen = pick_settings(&settings);
    const bool server = settings != NULL && settings->server;
    int code, want = 0;
    switch (chance(14)) {
    case 0:
        CALLING(eddy_tls_client_new, "()");
        settings_made(eddy_tls_client_new(), false, false);
        return;
    case 1: {
        const bool nonsense = once_in(3);
        CALLING(eddy_tls_server_new, "(%s)", nonsense ? "nonsense" : "NULL, NULL");
        settings_made(eddy_tls_server_new(nonsense ? "nonsense" : NULL, nonsense ? "nonsense" : NULL), true,
                      nonsense);
        return;
    }
    case 2:
        CALLING(eddy_tls_add_certificate, "(%s, nonsense)", called(&chosen));
        code = eddy_tls_add_certificate(chosen.handle, "nonsense", "nonsense"), want = EDDY_EINVAL;
        break;
    case 3:
        CALLING(eddy_tls_load_certificate, "(%s, nowhere)", called(&chosen));
        code = eddy_tls_load_certificate(chosen.handle, "/nowhere", NULL), want = EDDY_EINVAL;
        break;
    case 4:
        CALLING(eddy_tls_trust, "(%s, nonsense)", called(&chosen));
        code = eddy_tls_trust(chosen.handle, once_in(2) ? NULL : "nonsense"), want = EDDY_EINVAL;
        break;
    case 5:
        CALLING(eddy_tls_load_trust, "(%s, nowhere)", called(&chosen));
        code = eddy_tls_load_trust(chosen.handle, "/nowhere"), want = EDDY_EINVAL;
        break;
    case 6:
        CALLING(eddy_tls_verify_clients, "(%s)", called(&chosen));
        code = eddy_tls_verify_clients(chosen.handle, chance(2)), want = server ? 0 : EDDY_EINVAL;
        break;
    case 7: {
        const bool nonsense = once_in(4);
        CALLING(eddy_tls_set_alpn, "(%s, %s)", called(&chosen), nonsense ? "NULL" : "h2,http/1.1");
        code = eddy_tls_set_alpn(chosen.handle, nonsense ? NULL : "h2,http/1.1"), want = nonsense ? EDDY_EINVAL : 0;
        break;
    }
    case 8: {
        const char *const version = (const char *[]){ "TLSv1.2", "TLSv1.3", "SSLv3", NULL }[chance(4)];
        const bool fine = version != NULL && version[0] == 'T';
        CALLING(eddy_tls_set_minimum_version, "(%s, %s)", called(&chosen), version == NULL ? "NULL" : version);
        code = eddy_tls_set_minimum_version(chosen.handle, version), want = fine ? 0 : EDDY_EINVAL;
        break;
    }
    case 9:
        CALLING(eddy_tls_set_resumption, "(%s)", called(&chosen));
        code = eddy_tls_set_resumption(chosen.handle, chance(2));
        break;
    case 10:
        CALLING(eddy_tls_dangerously_skip_verification, "(%s)", called(&chosen));
        code = eddy_tls_dangerously_skip_verification(chosen.handle), want = server ? EDDY_EINVAL : 0;
        break;
    case 11: {
        CALLING(eddy_tls_error, "(%s)", called(&chosen));
        const eddy_error *error = eddy_tls_error(chosen.handle);
        /* A server without a certificate has that wrong with it. */
        pointer_for(&chosen, error, settings != NULL && (settings->wrong || settings->server));
        return;
    }
    default:
        if (chosen.code == 0 && !once_in(4)) return;
        CALLING(eddy_tls_free, "(%s)", called(&chosen));
        eddy_tls_free(chosen.handle);
        freed_for(&chosen);
        if (chosen.code == 0) settings->thing.live = false;
        return;
    }
    if (answered_for(&chosen, code, want) == EDDY_EINVAL && chosen.code == 0) settings->wrong = true;
}

static void tls_forgotten(void)
{
    for (size_t i = 0; i < things_count[TLS]; i++)
        if (things[TLS][i]->live) eddy_tls_free(things[TLS][i]->handle);
}

static void call_start_tls(void)
{
    struct connection *connection;
    const struct pick chosen = pick_writer(&connection);
    CALLING(eddy_writer_start_tls, "(%s, no settings)", called(&chosen));
    const eddy_op op = eddy_writer_start_tls(chosen.handle, EDDY_OPTIONS(.limit = 7), has_drained, NULL);
    answered_for(&chosen, op, EDDY_EINVAL);
}

/* ---- what needs no loop -------------------------------------------------------------------------------- */

static void call_anything(void)
{
    size_t len = 7;
    switch (chance(9)) {
    case 0:
        CALLING(eddy_version, "()");
        told(strcmp(eddy_version(), EDDY_VERSION), 0, true);
        break;
    case 1: {
        const int code = once_in(2) ? -(int)chance(45) : (int)chance(3);
        CALLING(eddy_strerror, "(%d)", code);
        told_pointer(eddy_strerror(code), true);
        break;
    }
    case 2: {
        const struct pick any = pick((enum kind)chance(KINDS));
        CALLING(eddy_repr, "(%s)", called(&any));
        const char *repr = eddy_repr(any.handle);
        told_pointer(repr, true);
        if (repr[0] != '<') disagree("described as %s", repr);
        break;
    }
    case 3:
        CALLING(eddy_error_code, "(kept)");
        told(eddy_error_code(kept_error), kept_error == NULL ? 0 : EDDY_ESTALE, true);
        break;
    case 4:
        CALLING(eddy_error_errno, "(kept)");
        told(eddy_error_errno(kept_error), 0, true);
        break;
    case 5:
        CALLING(eddy_error_message, "(kept)");
        told_pointer(eddy_error_message(kept_error), true);
        break;
    case 6:
        CALLING(eddy_error_expected, "(kept)");
        told((long long)eddy_error_expected(kept_error), 0, true);
        break;
    case 7:
        CALLING(eddy_error_partial, "(kept)");
        told_pointer(eddy_error_partial(kept_error, &len), false);
        if (len != 0) disagree("%zu bytes of nothing", len);
        break;
    default:
        CALLING(eddy_error_consumed, "(kept)");
        told((long long)eddy_error_consumed(kept_error), 0, true);
    }
}

#endif
