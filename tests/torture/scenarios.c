/* Each scenario is a few streams that talk to each other on one loop, and go on as far as they can whatever fails. The
 * one side sends lines and reads back as many bytes, the other one echoes; who is told an error gives up its own
 * side, and the other then comes to its end. So the loop has to run out of things to wait for; then each operation
 * that was accepted must have called back once, and if nobody was told anything, all bytes have come. */
#include "scenarios.h"

#include "../certificates.h"
#include "hooks.h"

#include <sys/resource.h>

/* ---- operations ---------------------------------------------------------------------------------------- */

struct side;

struct op {
    const char *what;
    struct side *side;
    void (*then)(struct side *side, const char *bytes, size_t len);
    bool accepted;
    int calls;
};

enum { OPS = 1 << 15, SIDES = 1024 };

static struct op ops[OPS];
static int op_count;

struct side {
    const char *name;
    eddy_reader *reader;
    eddy_writer *writer;
    size_t wrote, got;
    bool client, over, ended; /* it gives up or is done; the stream's end has come */
    bool answered;
};

static struct side sides[SIDES];
static int side_count;

static char ways_memory[10000]; /* what is read into */

/* What the scenario is about. */
static struct talk {
    eddy_loop *loop;
    eddy_server *server;
    size_t total;
    int clients, left, unanswered; /* to begin; whose side is not over; who still waits for their one answer */
    const char *host; /* the clients ask for */
    bool upgrade, closing, stop_early, shutdown, no_streams;
    eddy_tls *client_tls, *server_tls;
    const char *path;
    struct outcome outcome;
    int released, lent;
    char *lines;
} talk;

/* A listener that nobody is accepted by, and who waits there already. */
static int deaf = -1, knocks[4];

static char pattern(size_t at)
{
    return at % 61 == 60 ? '\n' : plain_pattern(at);
}

static void tell(const char *what, const char *text, unsigned *count)
{
    if (talk.outcome.told + talk.outcome.reports == 0)
        snprintf(talk.outcome.first, sizeof talk.outcome.first, "%s: %s", what, text);
    (*count)++;
}

/* True: something went wrong. What follows from giving up oneself is no news. */
static bool is_told(const struct op *op, const eddy_error *error)
{
    const int code = eddy_error_code(error);
    if (code == 0) return false;
    if (code > EDDY_ESYSTEM) FAIL("%s: %s is told to a callback", op->what, eddy_error_message(error));
    const bool peaceful = code == EDDY_ECANCELED || (code == EDDY_ELOST && eddy_error_errno(error) == 0);
    const bool own = op->side != NULL && op->side->over && peaceful;
    const bool ends = talk.stop_early && code == EDDY_ECANCELED;
    const bool asked_for = talk.shutdown && code == EDDY_ETIMEDOUT;
    if (!own && !ends && !asked_for) tell(op->what, eddy_error_message(error), &talk.outcome.told);
    return true;
}

static struct op *called(void *arg)
{
    struct op *op = arg;
    if (!op->accepted) FAIL("%s was refused, or is not yet accepted, and is called back", op->what);
    if (++op->calls > 1) FAIL("%s is called back twice", op->what);
    return op;
}

static struct op *op_new(const char *what, struct side *side, void (*then)(struct side *, const char *, size_t))
{
    if (op_count == OPS) FAIL("too many operations");
    ops[op_count] = (struct op){ .what = what, .side = side, .then = then, .accepted = true };
    return &ops[op_count++];
}

static void refused(const char *what, int code)
{
    /* There is no memory, or a descriptor of ours could not be looked at: nothing else is refused that makes sense. */
    if (code == EDDY_ESTATE && talk.stop_early) return;
    if (code != EDDY_EFULL && code != EDDY_ENOTSUP) FAIL("%s is refused: %s", what, eddy_strerror(code));
    tell(what, eddy_strerror(code), &talk.outcome.told);
}

static bool begun(struct op *op, eddy_op receipt)
{
    if (receipt >= 0) return true;
    op->accepted = false;
    refused(op->what, (int)receipt);
    return false;
}

static void give_up(struct side *side);

static void on_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct op *op = called(arg);
    struct side *side = op->side;
    if (reader != side->reader) FAIL("%s: another reader", op->what);
    if (is_told(op, error)) {
        give_up(side);
    } else if (!side->over) {
        if (bytes != ways_memory && bytes[len] != '\0') FAIL("%s: no NUL", op->what);
        op->then(side, bytes, len);
    }
}

static void on_writer(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct op *op = called(arg);
    struct side *side = op->side;
    if (writer != side->writer) FAIL("%s: another writer", op->what);
    if (is_told(op, error)) give_up(side);
    else if (!side->over) op->then(side, NULL, 0);
}

#define READ(side, call, then)                                                                     \
    do {                                                                                           \
        struct op *read_op = op_new(#call, side, then);                                            \
        if (!begun(read_op, eddy_reader_##call)) give_up(side);                                    \
    } while (0)

#define R(side) (side)->reader
#define TO on_read, read_op

static void drain(struct side *side, void (*then)(struct side *, const char *, size_t))
{
    struct op *op = op_new("drain", side, then);
    if (!begun(op, eddy_writer_drain(side->writer, on_writer, op))) give_up(side);
}

/* False: the side is over. */
static bool put(struct side *side, const char *bytes, size_t len)
{
    int full = eddy_writer_write(side->writer, bytes, len);
    if (full < 0) {
        refused("write", full);
        give_up(side);
    }
    return full >= 0;
}

/* ---- the end of a side --------------------------------------------------------------------------------- */

static void end_server(void);

/* A shutdown begins when every client has been answered, or never will be. */
static void answered(struct side *side)
{
    if (!talk.shutdown || !side->client || side->answered) return;
    side->answered = true;
    if (--talk.unanswered == 0) end_server();
}

static void gone(struct side *side)
{
    eddy_writer_free(side->writer);
    answered(side);
    if (side->client && --talk.left == 0) end_server();
}

static void on_closed(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct op *op = called(arg);
    if (writer != op->side->writer) FAIL("wait_closed: another writer");
    is_told(op, error);
    gone(op->side);
}

static void give_up(struct side *side)
{
    if (side->over) return;
    side->over = true;
    struct op *op = op_new("wait_closed", side, NULL);
    eddy_writer_close(side->writer);
    if (!begun(op, eddy_writer_wait_closed(side->writer, on_closed, op))) gone(side);
}

static void no_client(struct side *side)
{
    side->over = true;
    answered(side);
    if (--talk.left == 0) end_server();
}

static void on_server_end(eddy_server *server, const eddy_error *error, void *arg)
{
    if (is_told(called(arg), error) && eddy_error_code(error) != EDDY_ETIMEDOUT) return;
    eddy_server_free(server);
}

static void end_server(void)
{
    if (talk.server == NULL || talk.closing) return;
    talk.closing = true;
    struct op *op = op_new("server's end", NULL, NULL);
    if (!begun(op, talk.shutdown ? eddy_server_shutdown(talk.server, 400, on_server_end, op)
                                 : (eddy_server_close(talk.server),
                                    eddy_server_wait_closed(talk.server, on_server_end, op))))
        eddy_server_free(talk.server);
}

/* ---- the side that echoes ------------------------------------------------------------------------------ */

static void echo(struct side *side, const char *bytes, size_t len);

static void echo_next(struct side *side, const char *bytes, size_t len)
{
    (void)bytes, (void)len;
    READ(side, readline(R(side), TO), echo);
}

static void check_bytes(struct side *side, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != pattern(side->got + i)) FAIL("%s: byte %zu of the stream is wrong", side->name, side->got + i);
    side->got += len;
    if (side->got > talk.total) FAIL("%s: more has come than was sent", side->name);
}

static void echo(struct side *side, const char *bytes, size_t len)
{
    check_bytes(side, bytes, len);
    if (len == 0) {
        side->ended = true;
        give_up(side);
    } else if (put(side, bytes, len)) {
        drain(side, echo_next);
    }
}

/* ---- the side that asks -------------------------------------------------------------------------------- */

static void answer(struct side *side, const char *bytes, size_t len)
{
    check_bytes(side, bytes, len);
    if (talk.stop_early && side->got > 0) {
        eddy_loop_stop(talk.loop);
        return;
    }
    side->ended = len == 0;
    if (side->ended) give_up(side);
    else READ(side, read(R(side), 65536, TO), answer);
}

static void ask_more(struct side *side, const char *bytes, size_t len)
{
    (void)bytes, (void)len;
    size_t n = talk.total - side->wrote;
    if (n > 10000) n = 10000;
    if (n == 0) {
        if (eddy_writer_write_eof(side->writer) != 0) FAIL("write_eof is refused");
        return;
    }
    side->wrote += n;
    if (put(side, talk.lines + side->wrote - n, n)) drain(side, ask_more);
}

/* The first answers are waited for at once, which is more than what is buffered otherwise. */
static void ask(struct side *side)
{
    const size_t half = talk.total / 2;
    if (talk.stop_early) READ(side, read(R(side), half, TO), answer);
    else READ(side, readexactly(R(side), half, TO), answer);
    if (!side->over) ask_more(side, NULL, 0);
}

/* ---- an upgrade to TLS in between ---------------------------------------------------------------------- */

static void secured_client(struct side *side, const char *bytes, size_t len)
{
    (void)bytes, (void)len;
    ask(side);
}

static void upgrade(struct side *side, void (*then)(struct side *, const char *, size_t))
{
    struct op *op = op_new("start_tls", side, then);
    eddy_options options = { .size = sizeof options,
                             .tls = side->client ? talk.client_tls : talk.server_tls,
                             .server_hostname = side->client ? "localhost" : NULL };
    if (!begun(op, eddy_writer_start_tls(side->writer, &options, on_writer, op))) give_up(side);
}

static void may_upgrade(struct side *side, const char *bytes, size_t len)
{
    if (len == 0) give_up(side);
    else if (len != 3 || memcmp(bytes, "go\n", 3) != 0) FAIL("%s: not the greeting", side->name);
    else if (side->client) upgrade(side, secured_client);
    else if (put(side, "go\n", 3)) upgrade(side, echo_next);
}

/* ---- meeting ------------------------------------------------------------------------------------------- */

static void narrow(struct side *side)
{
    size_t len;
    const char *digits = eddy_writer_get_extra_info(side->writer, "socket", &len);
    if (digits == NULL) return;
    /* So that some drains have to wait. */
    int size = 4096;
    setsockopt(atoi(digits), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

static struct side *side_new(const char *name, bool client, eddy_reader *reader, eddy_writer *writer)
{
    if (side_count == SIDES) FAIL("too many sides");
    struct side *side = &sides[side_count++];
    *side = (struct side){ .name = name, .client = client, .reader = reader, .writer = writer };
    return side;
}

static void start(struct side *side)
{
    narrow(side);
    if (talk.upgrade) {
        if (side->client && !put(side, "go\n", 3)) return;
        READ(side, readline(R(side), TO), may_upgrade);
    } else if (side->client) {
        ask(side);
    } else {
        echo_next(side, NULL, 0);
    }
}

static void on_opened(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct op *op = called(arg);
    op->side->reader = reader;
    op->side->writer = writer;
    if (is_told(op, error)) {
        if (reader != NULL || writer != NULL) FAIL("%s: an error, and a stream", op->what);
        if (op->side->client) no_client(op->side);
        op->side->over = true;
    } else {
        start(op->side);
    }
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)arg;
    if (error != NULL) FAIL("a client, and an error");
    start(side_new("server", false, reader, writer));
}

static void open_clients(uint16_t port)
{
    eddy_options options = { .size = sizeof options, .tls = talk.upgrade ? NULL : talk.client_tls };
    /* Where one address never answers, it may be the only one that is left. */
    if (deaf >= 0) options.timeout_ms = 5000;
    for (int i = 0; i < talk.clients; i++) {
        struct side *side = side_new("client", true, NULL, NULL);
        struct op *op = op_new("open_connection", side, NULL);
        eddy_op receipt = talk.path != NULL
                              ? eddy_open_unix_connection(talk.loop, talk.path, &options, on_opened, op)
                              : eddy_open_connection(talk.loop, talk.host, port, &options, on_opened, op);
        if (!begun(op, receipt)) no_client(side);
    }
}

static void on_serving(eddy_server *server, const eddy_error *error, void *arg)
{
    if (is_told(called(arg), error)) return;
    talk.server = server;
    if (talk.clients == 0 && talk.left == 0) {
        end_server();
        return;
    }
    const char *name = eddy_server_sockname(server, 0);
    if (name == NULL) FAIL("the server has no name");
    const char *port = strrchr(name, ':');
    /* A name that could not be had is empty. */
    if (talk.path == NULL && port == NULL) {
        intptr_t fd = eddy_server_socket(server, 0);
        open_clients(plain_port((int)fd));
    } else {
        open_clients(port != NULL ? (uint16_t)atoi(port + 1) : 0);
    }
}

static void serve(void)
{
    eddy_options options = { .size = sizeof options, .tls = talk.upgrade ? NULL : talk.server_tls };
    struct op *op = op_new("start_server", NULL, NULL);
    talk.left = talk.clients;
    begun(op, talk.path != NULL
                  ? eddy_start_unix_server(talk.loop, on_client, talk.path, &options, on_serving, op)
                  : eddy_start_server(talk.loop, on_client, strcmp(talk.host, "localhost") == 0 ? talk.host : "127.0.0.1", 0,
                                      &options, on_serving, op));
}

/* ---- scenarios ----------------------------------------------------------------------------------------- */

static void begin_tcp(eddy_loop *loop)
{
    (void)loop;
    talk.host = "localhost";
    serve();
}

static void begin_plain(eddy_loop *loop)
{
    (void)loop;
    serve();
}

static char socket_path[128], crowd_path[64];

static void begin_unix(eddy_loop *loop)
{
    (void)loop;
    talk.path = socket_path;
    serve();
}

static void begin_start_tls(eddy_loop *loop)
{
    (void)loop;
    talk.upgrade = true;
    serve();
}

/* The loop ends while bytes are on their way. */
static void begin_free(eddy_loop *loop)
{
    (void)loop;
    talk.stop_early = true;
    talk.clients = 3;
    serve();
}

/* Clients that stay when they have had their answers; the server then gives them some time. */
static void idle_answer(struct side *side, const char *bytes, size_t len)
{
    check_bytes(side, bytes, len);
    side->ended = len == 0;
    if (side->ended) {
        give_up(side);
        return;
    }
    if (side->got == 61) answered(side);
    READ(side, readline(R(side), TO), idle_answer);
}

static void on_idle_opened(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct op *op = called(arg);
    struct side *side = op->side;
    side->reader = reader;
    side->writer = writer;
    if (is_told(op, error)) {
        no_client(side);
    } else if (put(side, talk.lines, 61)) {
        READ(side, readline(R(side), TO), idle_answer);
    }
}

static void on_shutdown_serving(eddy_server *server, const eddy_error *error, void *arg)
{
    if (is_told(called(arg), error)) return;
    talk.server = server;
    for (int i = 0; i < talk.clients; i++) {
        struct side *side = side_new("client", true, NULL, NULL);
        struct op *op = op_new("open_connection", side, NULL);
        if (!begun(op, eddy_open_unix_connection(talk.loop, talk.path, NULL, on_idle_opened, op))) no_client(side);
    }
}

static void begin_shutdown(eddy_loop *loop)
{
    talk.path = socket_path;
    /* One that nobody answers on any more, and is to be replaced. */
    close(plain_unix_listen(socket_path, 1));
    talk.shutdown = true;
    talk.total = 61;
    talk.unanswered = talk.left = talk.clients = 3;
    struct op *op = op_new("start_unix_server", NULL, NULL);
    begun(op, eddy_start_unix_server(loop, on_client, talk.path, NULL, on_shutdown_serving, op));
}

/* Ends that are there already. Those that are refused are still ours. */
static void adopt(const char *name, bool client, intptr_t read_fd, intptr_t write_fd, eddy_stream_cb cb)
{
    struct side *side = side_new(name, client, NULL, NULL);
    struct op *op = op_new("open_socket or open_pipe", side, NULL);
    eddy_op receipt = write_fd < 0 ? eddy_open_socket(talk.loop, read_fd, NULL, cb, op)
                                   : eddy_open_pipe(talk.loop, read_fd, write_fd, NULL, cb, op);
    if (client) talk.left++;
    if (receipt == EDDY_ESTATE || receipt == EDDY_EINVAL) receipt = EDDY_ENOTSUP; /* as far as it could be looked at */
    if (begun(op, receipt)) return;
    side->over = true;
    if (client) no_client(side);
    if (close((int)read_fd) != 0 || (write_fd >= 0 && close((int)write_fd) != 0))
        FAIL("%s was refused, and its descriptor is closed", name);
}

static void begin_sockets(eddy_loop *loop)
{
    int ends[2];
    (void)loop;
    plain_unix_pair(ends);
    adopt("client", true, ends[0], -1, on_opened);
    adopt("server", false, ends[1], -1, on_opened);
}

/* A listening socket that is there already, and a client of it. */
static void begin_listener(eddy_loop *loop)
{
    int listener = plain_listen(), client = plain_connect(plain_port(listener));
    struct op *op = op_new("start_socket_server", NULL, NULL);
    talk.clients = 0;
    adopt("client", true, client, -1, on_opened);
    eddy_op receipt = eddy_start_socket_server(loop, on_client, listener, NULL, on_serving, op);
    if (receipt == EDDY_ESTATE || receipt == EDDY_EINVAL) receipt = EDDY_ENOTSUP;
    if (!begun(op, receipt) && close(listener) != 0) FAIL("the listener was refused, and is closed");
}

static void begin_pipes(eddy_loop *loop)
{
    int to[2], from[2];
    (void)loop;
    plain_ok(pipe2(to, O_CLOEXEC), "pipe2");
    plain_ok(pipe2(from, O_CLOEXEC), "pipe2");
    adopt("client", true, from[0], to[1], on_opened);
    adopt("server", false, to[0], from[1], on_opened);
}

static void begin_pair(eddy_loop *loop)
{
    eddy_reader *readers[2];
    eddy_writer *writers[2];
    int code = eddy_open_pair(loop, NULL, readers, writers);
    if (code < 0) {
        refused("open_pair", code);
        return;
    }
    struct side *client = side_new("client", true, readers[0], writers[0]);
    struct side *server = side_new("server", false, readers[1], writers[1]);
    talk.left = 1;
    start(server);
    start(client);
}

/* Other ways to read, write and wait. */
static void on_release(void *arg)
{
    (void)arg;
    talk.released++;
}

static void ways_8(struct side *side, const char *bytes, size_t len)
{
    check_bytes(side, bytes, len);
    side->ended = true;
    give_up(side);
}

static void ways_7(struct side *side, const char *bytes, size_t len)
{
    check_bytes(side, bytes, len);
    READ(side, readall(R(side), SIZE_MAX, TO), ways_8);
}

static void ways_6(struct side *side, const char *bytes, size_t len)
{
    check_bytes(side, bytes, len);
    READ(side, readuntil_any(R(side), ((const eddy_bytes[]){ { "\n", 1 }, { "#", 1 } }), 2, TO), ways_7);
}

static void ways_5(struct side *side, const char *bytes, size_t len)
{
    check_bytes(side, bytes, len);
    READ(side, readuntil(R(side), "\n", 1, TO), ways_6);
}

static void ways_4(struct side *side, const char *bytes, size_t len)
{
    (void)bytes, (void)len;
    READ(side, readexactly(R(side), 5000, TO), ways_5);
}

static void ways_3(struct side *side, const char *bytes, size_t len)
{
    check_bytes(side, bytes, len);
    READ(side, peek(R(side), 9000, TO), ways_4);
}

static void ways_end(struct side *side, const char *bytes, size_t len)
{
    (void)bytes;
    side->ended = len == 0;
    give_up(side);
}

static void ways_1(struct side *side, const char *bytes, size_t len)
{
    (void)bytes, (void)len;
    const eddy_bytes lines[] = { { talk.lines + 60000, 5000 }, { talk.lines + 65000, talk.total - 65000 } };
    int full = eddy_writer_write_static(side->writer, talk.lines, 50000, on_release, NULL);
    if (full >= 0) talk.lent++;
    if (full >= 0 && !put(side, talk.lines + 50000, 10000)) return;
    if (full >= 0) full = eddy_writer_writelines(side->writer, lines, 2);
    if (full < 0) {
        refused("write_static or writelines", full);
        give_up(side);
        return;
    }
    if (eddy_writer_flush(side->writer) != 0 || eddy_writer_write_eof(side->writer) != 0) FAIL("refused");
    READ(side, read(R(side), 10, TO), ways_end);
}

static void on_timer(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct op *op = called(arg);
    (void)loop;
    if (is_told(op, error) || op->side == NULL || op->side->over) return;
    op->then(op->side, NULL, 0);
}

static void on_ways_opened(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct op *op = called(arg);
    struct side *side = op->side;
    side->reader = reader;
    side->writer = writer;
    if (is_told(op, error)) {
        side->over = true;
        return;
    }
    eddy_writer_set_timeout(writer, 60000);
    eddy_reader_set_timeout(reader, 60000);
    if (side->client) {
        struct op *later = op_new("call_later", side, ways_1);
        if (!begun(later, eddy_loop_call_later(talk.loop, 20, on_timer, later))) give_up(side);
    } else {
        READ(side, read_into(R(side), ways_memory, sizeof ways_memory, TO), ways_3);
    }
}

static void begin_ways(eddy_loop *loop)
{
    int ends[2];
    plain_unix_pair(ends);
    adopt("client", true, ends[0], -1, on_ways_opened);
    adopt("server", false, ends[1], -1, on_ways_opened);
    struct op *op = op_new("call_soon", NULL, NULL);
    begun(op, eddy_loop_call_soon(loop, on_timer, op));
    op = op_new("call_soon_threadsafe", NULL, NULL);
    begun(op, eddy_loop_call_soon_threadsafe(loop, on_timer, op));
}

/* What other threads and processes say to a loop that sleeps. */
static struct {
    eddy_op guard; /* of a timer that ends the waiting: what was said is lost then */
    int refusal;   /* of the other thread's post */
    int waiting;
} said;

static void heard(void)
{
    if (--said.waiting > 0) return;
    eddy_loop_remove_signal_handler(talk.loop, SIGUSR1);
    eddy_loop_cancel(talk.loop, said.guard);
}

static void on_post(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop;
    if (!is_told(called(arg), error)) heard();
}

static void on_signal(void *arg)
{
    (void)arg;
    heard();
}

static void on_guard(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop;
    called(arg);
    if (eddy_error_code(error) != EDDY_ECANCELED) FAIL("the loop has slept through a post or a signal");
}

static void *say(void *arg)
{
    usleep(3000);
    said.refusal = eddy_loop_call_soon_threadsafe(talk.loop, on_post, arg);
    usleep(3000);
    kill(getpid(), SIGUSR1);
    return NULL;
}

static pthread_t sayer;

static void on_sayer_over(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct op *post = arg;
    (void)loop, (void)error;
    plain_join(sayer);
    if (said.refusal == 0) return;
    post->accepted = false;
    refused("call_soon_threadsafe of another thread", said.refusal);
    heard();
}

static void begin_said(eddy_loop *loop)
{
    const bool armed = torture.armed;
    talk.no_streams = true;
    said.waiting = 2;
    said.refusal = 0;
    struct op *guard = op_new("call_later", NULL, NULL), *post = op_new("call_soon_threadsafe", NULL, NULL);
    signal(SIGUSR1, SIG_IGN);
    int code = eddy_loop_add_signal_handler(loop, SIGUSR1, on_signal, NULL);
    if (code < 0) {
        if (code != EDDY_EINVAL) refused("add_signal_handler", code);
        else tell("add_signal_handler", eddy_strerror(code), &talk.outcome.told);
        said.waiting--;
    }
    said.guard = eddy_loop_call_later(loop, 60000, on_guard, guard);
    post->accepted = begun(guard, said.guard);
    /* The loop has to wait for the thread, which may be refused. */
    torture.armed = false;
    if (post->accepted) begun(guard, eddy_loop_call_later(loop, 500, on_sayer_over, post));
    torture.armed = armed;
    if (post->accepted) sayer = plain_start(say, post);
    else eddy_loop_remove_signal_handler(loop, SIGUSR1);
}

/* The first address does not answer. */
static void on_eyes_serving(eddy_server *server, const eddy_error *error, void *arg)
{
    if (eddy_error_code(error) == 0) {
        const uint16_t port = plain_port((int)eddy_server_socket(server, 0));
        deaf = plain_listen_at("127.0.0.2", port, 0);
        for (size_t i = 0; i < sizeof knocks / sizeof knocks[0]; i++) {
            knocks[i] = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
            plain_try_connect(knocks[i], "127.0.0.2", port);
        }
    }
    on_serving(server, error, arg);
}

static void begin_eyes(eddy_loop *loop)
{
    struct op *op = op_new("start_server", NULL, NULL);
    talk.host = TWO_ADDRESSES;
    talk.left = talk.clients;
    begun(op, eddy_start_server(loop, on_client, "127.0.0.1", 0, NULL, on_eyes_serving, op));
}

/* Settings of TLS, of files; and whom the system trusts. */
static void is_set(const char *what, int code)
{
    if (code == EDDY_EINVAL) tell(what, eddy_strerror(code), &talk.outcome.told);
    else if (code != 0) FAIL("%s: %s", what, eddy_strerror(code));
}

static void begin_settings(eddy_loop *loop)
{
    (void)loop;
    talk.no_streams = true;
    talk.client_tls = eddy_tls_client_new();
    is_set("load_trust", eddy_tls_load_trust(talk.client_tls, path("authority.pem")));
    talk.server_tls = eddy_tls_server_new(NULL, NULL);
    is_set("load_certificate", eddy_tls_load_certificate(talk.server_tls, path("server.pem"), path("server.key")));
    const unsigned told = talk.outcome.told;
    const eddy_error *wrong = eddy_tls_error(talk.client_tls);
    if (wrong != NULL) tell("a client", eddy_error_message(wrong), &talk.outcome.told);
    wrong = eddy_tls_error(talk.server_tls);
    if (wrong != NULL) tell("a server", eddy_error_message(wrong), &talk.outcome.told);
    if (told > 0 && talk.outcome.told == told) FAIL("settings with a mistake are in order");
    /* There may be nobody whom the system trusts. */
    eddy_tls *client = eddy_tls_client_new();
    eddy_tls_error(client);
    eddy_tls_free(client);
}

static void begin_crowd(eddy_loop *loop)
{
    talk.path = crowd_path;
    talk.clients = 300;
    serve();
    for (int i = 0; i < 600; i++) {
        struct op *op = op_new("call_soon", NULL, NULL), *later = op_new("call_later", NULL, NULL);
        begun(op, eddy_loop_call_soon(loop, on_timer, op));
        begun(later, eddy_loop_call_later(loop, 100, on_timer, later));
        op = op_new("call_soon_threadsafe", NULL, NULL);
        begun(op, eddy_loop_call_soon_threadsafe(loop, on_timer, op));
    }
}

const struct scenario scenarios[] = {
    { .name = "tcp", .begin = begin_tcp, .total = 100000, .cut_total = 20000 },
    { .name = "unix", .begin = begin_unix, .total = 100000, .cut_total = 20000 },
    { .name = "sockets", .begin = begin_sockets, .total = 200000, .cut_total = 20000 },
    { .name = "listener", .begin = begin_listener, .total = 30000, .cut_total = 20000 },
    { .name = "pipes", .begin = begin_pipes, .total = 200000, .cut_total = 20000 },
    { .name = "pair", .begin = begin_pair, .total = 200000, .cut_total = 20000 },
    { .name = "ways", .begin = begin_ways, .total = 200000, .cut_total = 66000 },
    { .name = "shutdown", .begin = begin_shutdown, .total = 61, .cut_total = 61 },
    { .name = "free", .begin = begin_free, .total = 30000, .cut_total = 20000, .frees = true },
    { .name = "tls", .begin = begin_tcp, .total = 100000, .cut_total = 20000, .is_tls = true },
    { .name = "start_tls", .begin = begin_start_tls, .total = 30000, .cut_total = 20000, .is_tls = true },
    { .name = "free_tls", .begin = begin_free, .total = 30000, .cut_total = 20000, .frees = true, .is_tls = true },
    { .name = "eyes", .begin = begin_eyes, .total = 30000, .cut_total = 20000 },
    { .name = "said", .begin = begin_said },
    { .name = "settings", .begin = begin_settings, .is_tls = true, .makes_tls = true, .is_large = true },
    { .name = "crowd", .begin = begin_crowd, .total = 122, .cut_total = 122, .is_large = true },
    /* What is done undisturbed, on the same loop, after the others. */
    { .name = "plain", .begin = begin_plain, .total = 3000, .cut_total = 3000 },
};

const size_t scenario_count = sizeof scenarios / sizeof scenarios[0];

/* ---- running them -------------------------------------------------------------------------------------- */

static char socket_directory[] = "/tmp/eddy-torture-XXXXXX";

static void remove_directory(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", socket_directory);
    if (system(command) != 0) fprintf(stderr, "%s is left\n", socket_directory);
}

void scenarios_beside(unsigned number)
{
    snprintf(socket_path, sizeof socket_path, "%s/socket-%u", socket_directory, number);
    snprintf(crowd_path, sizeof crowd_path, "@%s-%u", socket_directory, number);
}

bool scenarios_begin(void)
{
    struct rlimit files;
    const bool tls = certificates();
    if (mkdtemp(socket_directory) == NULL) FAIL("mkdtemp: %s", strerror(errno));
    atexit(remove_directory);
    scenarios_beside(0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    talk.lines = malloc(200000);
    for (size_t i = 0; i < 200000; i++) talk.lines[i] = pattern(i);
    return tls;
}

static void on_exception(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    (void)loop, (void)arg;
    if (eddy_error_code(error) == EDDY_EPANIC || strstr(message, "panic") != NULL) FAIL("%s", message);
    tell("reported", message, &talk.outcome.reports);
}

void scenario_show(void)
{
    for (int i = 0; i < op_count; i++)
        if (ops[i].accepted && ops[i].calls == 0)
            fprintf(stderr, "waits for: %s of %s\n", ops[i].what, ops[i].side != NULL ? ops[i].side->name : "nobody");
    for (int i = 0; i < side_count; i++)
        fprintf(stderr, "%s: wrote %zu, got %zu%s%s\n", sides[i].name, sides[i].wrote, sides[i].got,
                sides[i].ended ? ", ended" : "", sides[i].over ? ", over" : "");
    fprintf(stderr, "%u told, %u reported; first: %s\n", talk.outcome.told, talk.outcome.reports, talk.outcome.first);
}

static void verify(void)
{
    for (int i = 0; i < op_count; i++)
        if (ops[i].calls != ops[i].accepted) FAIL("%s is called back %d times", ops[i].what, ops[i].calls);
    if (talk.released != talk.lent) FAIL("lent %d times, released %d times", talk.lent, talk.released);
    int clients = 0;
    bool complete = side_count > 0 || talk.no_streams;
    for (int i = 0; i < side_count; i++) {
        const struct side *side = &sides[i];
        const bool sends_only = side->client && talk.lent > 0;
        if (!side->over && !talk.stop_early) FAIL("%s is left over", side->name);
        complete &= side->ended && (sends_only || side->got == talk.total);
        clients += side->client;
    }
    talk.outcome.complete = complete && (side_count == 2 * clients || talk.shutdown);
}

struct outcome scenario_run(const struct scenario *scenario, eddy_loop *loop, size_t total)
{
    talk = (struct talk){ .loop = loop, .total = total, .clients = 1, .lines = talk.lines, .host = "127.0.0.1" };
    op_count = side_count = 0;
    if (scenario->is_tls && !scenario->makes_tls) {
        const bool armed = torture.armed;
        torture.armed = false;
        talk.client_tls = client_of("authority.pem");
        talk.server_tls = server_of("server");
        torture.armed = armed;
    }
    unlink(socket_path);
    eddy_loop_set_exception_handler(loop, on_exception, NULL);
    scenario->begin(loop);
    int code = eddy_loop_run(loop);
    if (code != 0) FAIL("run: %s", eddy_strerror(code));
    if (scenario->frees) eddy_loop_free(loop);
    if (deaf >= 0) {
        for (size_t i = 0; i < sizeof knocks / sizeof knocks[0]; i++) close(knocks[i]);
        close(deaf);
        deaf = -1;
    }
    eddy_tls_free(talk.client_tls);
    eddy_tls_free(talk.server_tls);
    verify();
    return talk.outcome;
}
