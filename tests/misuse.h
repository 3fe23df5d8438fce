/* What the tests of misuse share: operations that count their callbacks, a transport made by hand, and a table of every
 * function of the header that takes a handle, so that each can be called with any handle at all.
 *
 *     ASK(eddy_reader_read(reader, 10, asked_read, asking))     the receipt or the refusal; never called back inside
 *     asks_check()                                              accepted: called back once; refused: never
 */
#ifndef EDDY_TEST_MISUSE_H
#define EDDY_TEST_MISUSE_H

#include "plain.h"

#include <signal.h>

/* ---- operations that count ----------------------------------------------------------------------------- */

struct ask {
    const char *what;
    eddy_op op;
    int called, code;
};

enum { ASKS = 1 << 18 };

static struct ask *asks;       /* made once: a callback that comes too late or twice must still find its place */
static size_t asks_made, asks_checked;
static struct ask *asking;     /* the operation that is being started: the arg of its callback */

/* When a test has set it: called at the end of every callback that is counted. A stream that nobody wants is freed. */
static void (*asked_hook)(const struct ask *ask);

PLAIN void ask_begin(const char *what)
{
    if (asks == NULL) asks = calloc(ASKS, sizeof *asks);
    CHECK(asks != NULL);
    CHECK(asks_made < ASKS);
    asking = &asks[asks_made++];
    asking->what = what;
}

PLAIN eddy_op ask_end(struct ask *ask, eddy_op op)
{
    if (ask->called != 0) FAIL("called back before it returned: %s", ask->what);
    ask->op = op;
    return op;
}

#define ASK(call) (ask_begin(#call), ask_end(&asks[asks_made - 1], (call)))

PLAIN void asked(struct ask *ask, const eddy_error *error)
{
    if (ask->called++ != 0) FAIL("called back twice: %s", ask->what);
    if (ask->op < 0) FAIL("refused with %d, and called back: %s", (int)ask->op, ask->what);
    ask->code = eddy_error_code(error);
    if (error != NULL && ask->code == 0) FAIL("an error without a code: %s", ask->what);
    if (ask->code == EDDY_ESTALE) FAIL("an error that is stale in its own callback: %s", ask->what);
    if (asked_hook != NULL) asked_hook(ask);
}

PLAIN void asked_release(void *arg)
{
    asked(arg, NULL);
}

PLAIN void asked_loop(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop;
    asked(arg, error);
}

PLAIN void asked_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)reader;
    if (error == NULL && bytes[len] != '\0') FAIL("bytes without a NUL: %s", ((struct ask *)arg)->what);
    if (error != NULL && len != 0) FAIL("bytes and an error: %s", ((struct ask *)arg)->what);
    asked(arg, error);
}

/* No NUL follows what comes into the caller's memory. */
PLAIN void asked_read_into(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)reader, (void)bytes;
    if (error != NULL && len != 0) FAIL("bytes and an error: %s", ((struct ask *)arg)->what);
    asked(arg, error);
}

PLAIN void asked_writer(eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)writer;
    asked(arg, error);
}

PLAIN void asked_stream(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    CHECK((reader == NULL) == (error != NULL));
    CHECK((writer == NULL) == (error != NULL));
    asked(arg, error);
    eddy_writer_free(writer);
}

PLAIN void asked_server(eddy_server *server, const eddy_error *error, void *arg)
{
    CHECK(server != NULL || error != NULL);
    asked(arg, error);
}

/* A client that comes by itself: nobody asked, nobody counts. */
PLAIN void came(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)arg;
    CHECK(reader != NULL && writer != NULL && error == NULL);
    eddy_writer_free(writer);
}

/* Everything that was accepted since the last check has called back exactly once, everything refused never. Call it
 * when the loops are freed. How many were accepted. */
PLAIN int asks_check(void)
{
    int accepted = 0;
    for (; asks_checked < asks_made; asks_checked++) {
        const struct ask *ask = &asks[asks_checked];
        if (ask->op >= 0 && ask->called != 1) FAIL("called back %d times: %s", ask->called, ask->what);
        if (ask->op < 0 && ask->called != 0) FAIL("refused, and called back: %s", ask->what);
        if (ask->op >= 0) accepted++;
    }
    return accepted;
}

/* ---- reports ------------------------------------------------------------------------------------------- */

static int reports_count;
static char reports_text[8192]; /* all messages, a line each, behind a newline */

PLAIN void reports_clear(void)
{
    reports_count = 0;
    strcpy(reports_text, "\n");
}

PLAIN void reported(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    (void)loop, (void)error, (void)arg;
    size_t used = strlen(reports_text);
    reports_count++;
    snprintf(reports_text + used, sizeof reports_text - used, "%s\n", message);
}

/* A report begins with the name of the function that was misused. */
PLAIN bool reported_by(const char *function)
{
    char start[128];
    snprintf(start, sizeof start, "\n%s: ", function);
    return strstr(reports_text, start) != NULL;
}

/* ---- descriptors handed to eddy ------------------------------------------------------------------------ */

static int far_ends[4096];
static size_t far_ends_count;

PLAIN void far_end_keep(int fd)
{
    CHECK(far_ends_count < sizeof far_ends / sizeof far_ends[0]);
    far_ends[far_ends_count++] = fd;
}

PLAIN void far_ends_close(void)
{
    while (far_ends_count > 0) close(far_ends[--far_ends_count]);
}

/* A descriptor that was refused is still the caller's. */
PLAIN eddy_op given(int fd, eddy_op op)
{
    if (op >= 0) return op;
    if (fcntl(fd, F_GETFD) < 0) FAIL("refused with %d, and closed", (int)op);
    close(fd);
    return op;
}

PLAIN int near_end(void)
{
    int ends[2];
    plain_unix_pair(ends);
    far_end_keep(ends[1]);
    return ends[0];
}

/* ---- a transport made by hand -------------------------------------------------------------------------- */

struct own {
    eddy_protocol *protocol; /* whom to tell */
    int lost, released;
};

enum own_op { OWN_WRITE, OWN_WRITE_EOF, OWN_CLOSE, OWN_ABORT, OWN_PAUSE, OWN_RESUME, OWN_RELEASE };

static void (*own_hook)(enum own_op op);

PLAIN void own_at(const struct own *own, enum own_op op)
{
    if (own->released != 0) FAIL("a transport is called after its release");
    if (own_hook != NULL) own_hook(op);
}

PLAIN void own_lose(struct own *own)
{
    if (own->lost++ == 0 && own->protocol != NULL) eddy_protocol_connection_lost(own->protocol, 0, NULL);
}

PLAIN void own_write(eddy_transport *transport, const char *bytes, size_t len, void *arg)
{
    (void)transport, (void)bytes, (void)len;
    own_at(arg, OWN_WRITE);
}

PLAIN void own_write_eof(eddy_transport *transport, void *arg)
{
    (void)transport;
    own_at(arg, OWN_WRITE_EOF);
}

PLAIN void own_close(eddy_transport *transport, void *arg)
{
    (void)transport;
    own_at(arg, OWN_CLOSE);
    own_lose(arg);
}

PLAIN void own_abort(eddy_transport *transport, void *arg)
{
    (void)transport;
    own_at(arg, OWN_ABORT);
    own_lose(arg);
}

PLAIN void own_pause(eddy_transport *transport, void *arg)
{
    (void)transport;
    own_at(arg, OWN_PAUSE);
}

PLAIN void own_resume(eddy_transport *transport, void *arg)
{
    (void)transport;
    own_at(arg, OWN_RESUME);
}

PLAIN void own_release(void *arg)
{
    struct own *own = arg;
    own_at(own, OWN_RELEASE);
    own->released++;
}

PLAIN const eddy_transport_ops own_ops = {
    .size = sizeof(eddy_transport_ops),
    .write = own_write,
    .write_eof = own_write_eof,
    .close = own_close,
    .abort = own_abort,
    .pause_reading = own_pause,
    .resume_reading = own_resume,
    .release = own_release,
};

static struct own *owns[4096]; /* of all transports made: an `own` lives until the test has looked at it */
static size_t owns_count;

PLAIN eddy_transport *own_transport(eddy_loop *loop, struct own **own)
{
    struct own *made = calloc(1, sizeof *made);
    CHECK(made != NULL);
    eddy_transport *transport = eddy_transport_new(loop, &own_ops, made);
    if (transport == NULL) {
        free(made);
        made = NULL;
    } else {
        CHECK(owns_count < sizeof owns / sizeof owns[0]);
        owns[owns_count++] = made;
    }
    if (own != NULL) *own = made;
    return transport;
}

/* Every transport has been released once, now that the loops are gone. */
PLAIN void owns_check(void)
{
    while (owns_count > 0) {
        struct own *own = owns[--owns_count];
        CHECK_INT(own->released, 1);
        free(own);
    }
}

/* ---- one handle of each kind --------------------------------------------------------------------------- */

enum kind { LOOP, READER, WRITER, SERVER, PROTOCOL, TRANSPORT, KINDS };

PLAIN const char *const kind_names[KINDS] = { "loop", "reader", "writer", "server", "protocol", "transport" };

struct cast {
    void *of[KINDS];
    eddy_reader *bare_reader;     /* without a transport */
    eddy_protocol *bare_protocol; /* not connected */
    eddy_op later;                /* a timer of that loop, not due before tomorrow */
    struct ask *served;
};

/* The cast whose handles the calls of the table use for their other arguments. */
static struct cast *cast_now;

PLAIN void cast_served(eddy_server *server, const eddy_error *error, void *arg)
{
    struct cast *cast = arg;
    if (error == NULL) cast->of[SERVER] = server;
    asked(cast->served, error);
}

PLAIN void cast_free(struct cast *cast)
{
    eddy_loop_free(cast->of[LOOP]);
}

PLAIN void cast_make(struct cast *cast)
{
    struct own *own;
    memset(cast, 0, sizeof *cast);
    eddy_loop *loop = eddy_loop_new();
    CHECK(loop != NULL);
    cast->of[LOOP] = loop;
    CHECK_INT(eddy_loop_set_exception_handler(loop, reported, NULL), 0);

    ask_begin("the cast's server");
    cast->served = asking;
    CHECK(ask_end(asking, eddy_start_server(loop, came, "127.0.0.1", 0, NULL, cast_served, cast)) >= 0);
    for (int turn = 0; turn < 1000 && cast->of[SERVER] == NULL; turn++) CHECK(eddy_loop_run_once(loop, 10) >= 0);

    eddy_reader *reader = eddy_reader_new(loop, 16);
    eddy_protocol *protocol = eddy_protocol_new(loop, reader, NULL, NULL);
    eddy_transport *transport = own_transport(loop, &own);
    CHECK(reader != NULL && protocol != NULL && transport != NULL);
    own->protocol = protocol;
    CHECK_INT(eddy_protocol_connection_made(protocol, transport), 0);
    cast->of[READER] = reader;
    cast->of[PROTOCOL] = protocol;
    cast->of[TRANSPORT] = transport;
    cast->of[WRITER] = eddy_writer_new(transport, protocol, reader);
    cast->bare_reader = eddy_reader_new(loop, 16);
    cast->bare_protocol = eddy_protocol_new(loop, eddy_reader_new(loop, 16), NULL, NULL);
    CHECK(cast->bare_reader != NULL && cast->bare_protocol != NULL);
    cast->later = ASK(eddy_loop_call_later(loop, 24 * 3600 * 1000, asked_loop, asking));
    CHECK(cast->later >= 0);
    for (size_t kind = 0; kind < KINDS; kind++)
        if (cast->of[kind] == NULL) FAIL("the cast has no %s", kind_names[kind]);
    cast_now = cast;
}

/* ---- every function that takes a handle ---------------------------------------------------------------- */

enum answer { CODE, POINTER, NUMBER, TRUTH, DESCRIPTOR /* or any number of which -1 is none */, NOTHING };

/* The answers of one that is refused without a code. */
PLAIN const long long answer_refused[] = { 0, 0, 0, 0, -1, 0 };

struct call {
    const char *name;
    enum kind takes;    /* the kind of the handle that is given to it */
    enum answer answer;
    enum { PLAINLY, FREES, CHANGES_THREAD, ANY_THREAD, OTHER_HANDLE } manner;
    long long (*call)(void *handle);
};

PLAIN void signaled(void *arg)
{
    (void)arg;
}

/* The bodies, by the names of the table below: each calls the function once, with the handle in its place and with
 * other arguments that make sense. */
#define BODY(name) PLAIN long long body_##name(void *handle)
#define GIVES_POINTER(call) ((long long)(intptr_t)(call))
#define GIVES_NOTHING(call) ((call), 0)

BODY(eddy_loop_free) { return GIVES_NOTHING(eddy_loop_free(handle)); }
BODY(eddy_loop_run) { return eddy_loop_stop(handle), eddy_loop_run(handle); }
BODY(eddy_loop_run_forever) { return eddy_loop_stop(handle), eddy_loop_run_forever(handle); }
BODY(eddy_loop_run_once) { return eddy_loop_run_once(handle, 0); }
BODY(eddy_loop_stop) { return eddy_loop_stop(handle); }
BODY(eddy_loop_is_running) { return eddy_loop_is_running(handle); }
BODY(eddy_loop_detach) { return eddy_loop_detach(handle); }
BODY(eddy_loop_attach) { return eddy_loop_attach(handle); }
BODY(eddy_loop_call_soon) { return ASK(eddy_loop_call_soon(handle, asked_loop, asking)); }
BODY(eddy_loop_call_later) { return ASK(eddy_loop_call_later(handle, 1, asked_loop, asking)); }
BODY(eddy_loop_call_soon_threadsafe) { return ASK(eddy_loop_call_soon_threadsafe(handle, asked_loop, asking)); }
BODY(eddy_loop_cancel) { return eddy_loop_cancel(handle, cast_now->later); }
BODY(eddy_loop_add_signal_handler)
{
    return eddy_loop_add_signal_handler(handle, SIGUSR1, signaled, NULL);
}
BODY(eddy_loop_remove_signal_handler) { return eddy_loop_remove_signal_handler(handle, SIGUSR1); }
BODY(eddy_loop_call_exception_handler) { return eddy_loop_call_exception_handler(handle, "told", 0); }
BODY(eddy_loop_set_exception_handler) { return eddy_loop_set_exception_handler(handle, reported, NULL); }
BODY(eddy_loop_time) { return (long long)eddy_loop_time(handle); }
BODY(eddy_loop_fd) { return eddy_loop_fd(handle); }
BODY(eddy_loop_timeout) { return eddy_loop_timeout(handle); }
BODY(eddy_loop_set_busy_poll) { return eddy_loop_set_busy_poll(handle, 0); }
BODY(eddy_loop_set_clock) { return eddy_loop_set_clock(handle, 0); }
BODY(eddy_loop_stats)
{
    eddy_stats stats = { .size = sizeof stats, .turns = 77 };
    const int result = eddy_loop_stats(handle, &stats);
    if (result != 0) CHECK_INT(stats.turns, 77);
    return result;
}
BODY(eddy_loop_set_debug) { return eddy_loop_set_debug(handle, 0); }
BODY(eddy_open_connection)
{
    return ASK(eddy_open_connection(handle, "127.0.0.1", 1, NULL, asked_stream, asking));
}
BODY(eddy_open_unix_connection)
{
    return ASK(eddy_open_unix_connection(handle, "/nowhere/at/all", NULL, asked_stream, asking));
}
BODY(eddy_start_server)
{
    return ASK(eddy_start_server(handle, came, "127.0.0.1", 0, NULL, asked_server, asking));
}
BODY(eddy_start_unix_server)
{
    return ASK(eddy_start_unix_server(handle, came, "@eddy-misuse-table", NULL, asked_server, asking));
}
BODY(eddy_open_socket)
{
    int fd = near_end();
    return given(fd, ASK(eddy_open_socket(handle, fd, NULL, asked_stream, asking)));
}
BODY(eddy_start_socket_server)
{
    int fd = plain_listen();
    return given(fd, ASK(eddy_start_socket_server(handle, came, fd, NULL, asked_server, asking)));
}
BODY(eddy_open_pipe)
{
    int fd = near_end();
    return given(fd, ASK(eddy_open_pipe(handle, fd, -1, NULL, asked_stream, asking)));
}
BODY(eddy_open_pair)
{
    eddy_reader *readers[2] = { NULL, NULL };
    eddy_writer *writers[2] = { NULL, NULL };
    int code = eddy_open_pair(handle, NULL, readers, writers);
    CHECK((code == 0) == (readers[0] != NULL && readers[1] != NULL && writers[0] != NULL && writers[1] != NULL));
    for (int side = 0; side < 2; side++) {
        eddy_writer_free(writers[side]);
    }
    return code;
}

BODY(eddy_reader_new) { return GIVES_POINTER(eddy_reader_new(handle, 16)); }
BODY(eddy_reader_free) { return GIVES_NOTHING(eddy_reader_free(handle)); }
BODY(eddy_reader_read) { return ASK(eddy_reader_read(handle, 3, asked_read, asking)); }
BODY(eddy_reader_readline) { return ASK(eddy_reader_readline(handle, asked_read, asking)); }
BODY(eddy_reader_readexactly) { return ASK(eddy_reader_readexactly(handle, 3, asked_read, asking)); }
BODY(eddy_reader_readuntil) { return ASK(eddy_reader_readuntil(handle, "\r\n", 2, asked_read, asking)); }
BODY(eddy_reader_readuntil_any)
{
    const eddy_bytes separators[] = { { "\n", 1 }, { "\r\n", 2 } };
    return ASK(eddy_reader_readuntil_any(handle, separators, 2, asked_read, asking));
}
BODY(eddy_reader_readall) { return ASK(eddy_reader_readall(handle, 1000, asked_read, asking)); }
BODY(eddy_reader_peek) { return ASK(eddy_reader_peek(handle, 3, asked_read, asking)); }
BODY(eddy_reader_read_into)
{
    static char room[16];
    return ASK(eddy_reader_read_into(handle, room, sizeof room, asked_read_into, asking));
}
BODY(eddy_reader_set_timeout) { return eddy_reader_set_timeout(handle, 1000); }
BODY(eddy_reader_at_eof) { return eddy_reader_at_eof(handle); }
BODY(eddy_reader_buffered)
{
    const char *bytes = NULL;
    return (long long)eddy_reader_buffered(handle, &bytes);
}
BODY(eddy_reader_feed_data) { return eddy_reader_feed_data(handle, "fed", 3); }
BODY(eddy_reader_feed_eof) { return eddy_reader_feed_eof(handle); }
BODY(eddy_reader_set_exception) { return eddy_reader_set_exception(handle, 7, "seven"); }
BODY(eddy_reader_exception) { return GIVES_POINTER(eddy_reader_exception(handle)); }
BODY(eddy_reader_set_transport) { return eddy_reader_set_transport(handle, cast_now->of[TRANSPORT]); }
BODY(eddy_reader_set_transport_other) { return eddy_reader_set_transport(cast_now->bare_reader, handle); }

BODY(eddy_writer_new)
{
    return GIVES_POINTER(eddy_writer_new(handle, cast_now->of[PROTOCOL], cast_now->of[READER]));
}
BODY(eddy_writer_free) { return GIVES_NOTHING(eddy_writer_free(handle)); }
BODY(eddy_writer_write) { return eddy_writer_write(handle, "written", 7); }
BODY(eddy_writer_writelines)
{
    const eddy_bytes lines[] = { { "one\n", 4 }, { "two\n", 4 } };
    return eddy_writer_writelines(handle, lines, 2);
}
BODY(eddy_writer_drain) { return ASK(eddy_writer_drain(handle, asked_writer, asking)); }
BODY(eddy_writer_write_eof) { return eddy_writer_write_eof(handle); }
BODY(eddy_writer_can_write_eof) { return eddy_writer_can_write_eof(handle); }
BODY(eddy_writer_close) { return eddy_writer_close(handle); }
BODY(eddy_writer_write_static) { return ASK(eddy_writer_write_static(handle, "static", 6, asked_release, asking)); }
BODY(eddy_writer_flush) { return eddy_writer_flush(handle); }
BODY(eddy_writer_set_timeout) { return eddy_writer_set_timeout(handle, 1000); }
BODY(eddy_writer_abort) { return eddy_writer_abort(handle); }
BODY(eddy_writer_is_closing) { return eddy_writer_is_closing(handle); }
BODY(eddy_writer_set_write_buffer_limits) { return eddy_writer_set_write_buffer_limits(handle, 100, 10); }
BODY(eddy_writer_get_write_buffer_size) { return (long long)eddy_writer_get_write_buffer_size(handle); }
BODY(eddy_writer_start_tls)
{
    /* Refused in any case: without settings there is no TLS. */
    int code = (int)ASK(eddy_writer_start_tls(handle, EDDY_OPTIONS(.limit = 7), asked_writer, asking));
    return code == EDDY_EINVAL ? 0 : code;
}
BODY(eddy_writer_wait_closed) { return ASK(eddy_writer_wait_closed(handle, asked_writer, asking)); }
BODY(eddy_writer_get_extra_info)
{
    size_t len = 7;
    const char *info = eddy_writer_get_extra_info(handle, "peername", &len);
    if (info == NULL) CHECK_INT(len, 0);
    return GIVES_POINTER(info);
}
BODY(eddy_writer_transport) { return GIVES_POINTER(eddy_writer_transport(handle)); }

BODY(eddy_server_pause) { return eddy_server_pause(handle); }
BODY(eddy_server_resume) { return eddy_server_resume(handle); }
BODY(eddy_server_shutdown) { return ASK(eddy_server_shutdown(handle, 3, asked_server, asking)); }
BODY(eddy_server_close) { return eddy_server_close(handle); }
BODY(eddy_server_wait_closed) { return ASK(eddy_server_wait_closed(handle, asked_server, asking)); }
BODY(eddy_server_close_clients) { return eddy_server_close_clients(handle); }
BODY(eddy_server_abort_clients) { return eddy_server_abort_clients(handle); }
BODY(eddy_server_is_serving) { return eddy_server_is_serving(handle); }
BODY(eddy_server_sockname) { return GIVES_POINTER(eddy_server_sockname(handle, 0)); }
BODY(eddy_server_socket) { return eddy_server_socket(handle, 0); }
BODY(eddy_server_free) { return GIVES_NOTHING(eddy_server_free(handle)); }

BODY(eddy_transport_new) { return GIVES_POINTER(own_transport(handle, NULL)); }
BODY(eddy_transport_set_extra_info) { return eddy_transport_set_extra_info(handle, "peername", "me", 2); }
BODY(eddy_transport_pause_reading) { return eddy_transport_pause_reading(handle); }
BODY(eddy_transport_resume_reading) { return eddy_transport_resume_reading(handle); }
BODY(eddy_transport_is_reading) { return eddy_transport_is_reading(handle); }
BODY(eddy_transport_close) { return eddy_transport_close(handle); }
BODY(eddy_transport_abort) { return eddy_transport_abort(handle); }
BODY(eddy_transport_is_closing) { return eddy_transport_is_closing(handle); }

BODY(eddy_protocol_new)
{
    return GIVES_POINTER(eddy_protocol_new(handle, cast_now->of[READER], NULL, NULL));
}
BODY(eddy_protocol_connection_made) { return eddy_protocol_connection_made(handle, cast_now->of[TRANSPORT]); }
BODY(eddy_protocol_connection_made_other) { return eddy_protocol_connection_made(cast_now->bare_protocol, handle); }
BODY(eddy_protocol_data_received) { return eddy_protocol_data_received(handle, "data", 4); }
BODY(eddy_protocol_eof_received) { return eddy_protocol_eof_received(handle); }
BODY(eddy_protocol_pause_writing) { return eddy_protocol_pause_writing(handle); }
BODY(eddy_protocol_resume_writing) { return eddy_protocol_resume_writing(handle); }
BODY(eddy_protocol_connection_lost) { return eddy_protocol_connection_lost(handle, 9, "nine"); }
BODY(eddy_protocol_free) { return GIVES_NOTHING(eddy_protocol_free(handle)); }

#define CALL(name, takes, answer, manner) { #name, takes, answer, manner, body_##name }
#define CALL_OTHER(name, takes, answer) { #name, takes, answer, OTHER_HANDLE, body_##name##_other }

/* In an order in which a live cast can be taken through all of them: what closes comes late. */
PLAIN const struct call calls[] = {
    CALL(eddy_loop_run, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_run_forever, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_run_once, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_stop, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_is_running, LOOP, TRUTH, PLAINLY),
    CALL(eddy_loop_call_soon, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_call_later, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_call_soon_threadsafe, LOOP, CODE, ANY_THREAD),
    CALL(eddy_loop_cancel, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_add_signal_handler, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_remove_signal_handler, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_call_exception_handler, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_set_exception_handler, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_time, LOOP, NUMBER, PLAINLY),
    CALL(eddy_loop_fd, LOOP, DESCRIPTOR, PLAINLY),
    CALL(eddy_loop_timeout, LOOP, DESCRIPTOR, PLAINLY),
    CALL(eddy_loop_set_busy_poll, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_set_clock, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_stats, LOOP, CODE, PLAINLY),
    CALL(eddy_loop_set_debug, LOOP, CODE, PLAINLY),
    CALL(eddy_open_connection, LOOP, CODE, PLAINLY),
    CALL(eddy_open_unix_connection, LOOP, CODE, PLAINLY),
    CALL(eddy_start_server, LOOP, CODE, PLAINLY),
    CALL(eddy_start_unix_server, LOOP, CODE, PLAINLY),
    CALL(eddy_open_socket, LOOP, CODE, PLAINLY),
    CALL(eddy_start_socket_server, LOOP, CODE, PLAINLY),
    CALL(eddy_open_pipe, LOOP, CODE, PLAINLY),
    CALL(eddy_open_pair, LOOP, CODE, PLAINLY),
    CALL(eddy_reader_new, LOOP, POINTER, PLAINLY),
    CALL(eddy_transport_new, LOOP, POINTER, PLAINLY),
    CALL(eddy_protocol_new, LOOP, POINTER, PLAINLY),

    CALL(eddy_reader_set_transport, READER, CODE, PLAINLY),
    CALL_OTHER(eddy_reader_set_transport, TRANSPORT, CODE),
    CALL(eddy_protocol_connection_made, PROTOCOL, CODE, PLAINLY),
    CALL_OTHER(eddy_protocol_connection_made, TRANSPORT, CODE),
    CALL(eddy_writer_new, TRANSPORT, POINTER, PLAINLY),

    CALL(eddy_reader_readline, READER, CODE, PLAINLY),
    CALL(eddy_reader_read, READER, CODE, PLAINLY),
    CALL(eddy_reader_readexactly, READER, CODE, PLAINLY),
    CALL(eddy_reader_readuntil, READER, CODE, PLAINLY),
    CALL(eddy_reader_readuntil_any, READER, CODE, PLAINLY),
    CALL(eddy_reader_readall, READER, CODE, PLAINLY),
    CALL(eddy_reader_peek, READER, CODE, PLAINLY),
    CALL(eddy_reader_read_into, READER, CODE, PLAINLY),
    CALL(eddy_reader_set_timeout, READER, CODE, PLAINLY),
    CALL(eddy_reader_feed_data, READER, CODE, PLAINLY),
    CALL(eddy_reader_buffered, READER, NUMBER, PLAINLY),
    CALL(eddy_protocol_data_received, PROTOCOL, CODE, PLAINLY),
    CALL(eddy_protocol_pause_writing, PROTOCOL, CODE, PLAINLY),
    CALL(eddy_writer_drain, WRITER, CODE, PLAINLY),
    CALL(eddy_protocol_resume_writing, PROTOCOL, CODE, PLAINLY),
    CALL(eddy_writer_write, WRITER, CODE, PLAINLY),
    CALL(eddy_writer_writelines, WRITER, CODE, PLAINLY),
    CALL(eddy_writer_write_static, WRITER, CODE, PLAINLY),
    CALL(eddy_writer_flush, WRITER, CODE, PLAINLY),
    CALL(eddy_writer_set_timeout, WRITER, CODE, PLAINLY),
    CALL(eddy_writer_can_write_eof, WRITER, TRUTH, PLAINLY),
    CALL(eddy_writer_set_write_buffer_limits, WRITER, CODE, PLAINLY),
    CALL(eddy_writer_get_write_buffer_size, WRITER, NUMBER, PLAINLY),
    CALL(eddy_writer_is_closing, WRITER, TRUTH, PLAINLY),
    CALL(eddy_writer_wait_closed, WRITER, CODE, PLAINLY),
    CALL(eddy_writer_start_tls, WRITER, CODE, PLAINLY),
    CALL(eddy_transport_set_extra_info, TRANSPORT, CODE, PLAINLY),
    CALL(eddy_writer_get_extra_info, WRITER, POINTER, PLAINLY),
    CALL(eddy_writer_transport, WRITER, POINTER, PLAINLY),
    CALL(eddy_transport_pause_reading, TRANSPORT, CODE, PLAINLY),
    CALL(eddy_transport_resume_reading, TRANSPORT, CODE, PLAINLY),
    CALL(eddy_transport_is_reading, TRANSPORT, TRUTH, PLAINLY),
    CALL(eddy_transport_is_closing, TRANSPORT, TRUTH, PLAINLY),
    CALL(eddy_server_is_serving, SERVER, TRUTH, PLAINLY),
    CALL(eddy_server_sockname, SERVER, POINTER, PLAINLY),
    CALL(eddy_server_socket, SERVER, DESCRIPTOR, PLAINLY),
    CALL(eddy_server_pause, SERVER, CODE, PLAINLY),
    CALL(eddy_server_resume, SERVER, CODE, PLAINLY),
    CALL(eddy_server_wait_closed, SERVER, CODE, PLAINLY),
    CALL(eddy_server_close_clients, SERVER, CODE, PLAINLY),
    CALL(eddy_server_abort_clients, SERVER, CODE, PLAINLY),
    CALL(eddy_server_shutdown, SERVER, CODE, PLAINLY),
    CALL(eddy_server_close, SERVER, CODE, PLAINLY),
    CALL(eddy_protocol_eof_received, PROTOCOL, TRUTH, PLAINLY),
    CALL(eddy_reader_feed_eof, READER, CODE, PLAINLY),
    CALL(eddy_reader_set_exception, READER, CODE, PLAINLY),
    CALL(eddy_reader_exception, READER, POINTER, PLAINLY),
    CALL(eddy_reader_at_eof, READER, TRUTH, PLAINLY),
    CALL(eddy_writer_write_eof, WRITER, CODE, PLAINLY),
    CALL(eddy_writer_close, WRITER, CODE, PLAINLY),
    CALL(eddy_transport_close, TRANSPORT, CODE, PLAINLY),
    CALL(eddy_writer_abort, WRITER, CODE, PLAINLY),
    CALL(eddy_transport_abort, TRANSPORT, CODE, PLAINLY),
    CALL(eddy_protocol_connection_lost, PROTOCOL, CODE, PLAINLY),

    CALL(eddy_loop_detach, LOOP, CODE, CHANGES_THREAD),
    CALL(eddy_loop_attach, LOOP, CODE, CHANGES_THREAD),
    CALL(eddy_reader_free, READER, NOTHING, FREES),
    CALL(eddy_writer_free, WRITER, NOTHING, FREES),
    CALL(eddy_server_free, SERVER, NOTHING, FREES),
    CALL(eddy_protocol_free, PROTOCOL, NOTHING, FREES),
    CALL(eddy_loop_free, LOOP, NOTHING, FREES),
};

enum { CALLS = sizeof calls / sizeof calls[0] };

#endif
