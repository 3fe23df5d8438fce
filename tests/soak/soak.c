/* EDDY_SOAK=SECONDS,CONNECTIONS (180,18000): an echo server for minutes, with clients of every kind: idle ones, such as
 * come and go, by close, reset and half-close, in clear and over TLS, such as send without reading, read a byte at a
 * time, or send what no server can want. A hundred behave well, and are answered about as soon as when they were alone.
 * When the others are gone the server has as much memory and as many descriptors as before.
 *
 * Three processes: the server, the load, and those who behave well. The load has what the others leave of the
 * processors, so that what is measured is how long the server lets somebody wait, and not how long the scheduler does. */
#include "../certificates.h"
#include "../collect.h"

#include <dirent.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { STEADY = 100, TIMES = 1 << 22, PAUSE = 50 /* ms between the lines of one that behaves well */ };

/* Milliseconds: where there are few processors, less is the scheduler's doing. */
static const double FLOOR = 2;

/* ---- the server -------------------------------------------------------------------------------------------- */

struct state {
    uint64_t open, total, failed; /* connections, and handshakes */
    size_t resident;
    int descriptors;
};

struct server {
    eddy_loop *loop;
    uint16_t ports[2]; /* in clear, and TLS */
    int listening, out;
};

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg);

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    if (error != NULL) eddy_writer_free(writer);
    else eddy_reader_readline(arg, on_line, writer);
}

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    if (error != NULL || len == 0) {
        eddy_writer_free(arg);
        return;
    }
    eddy_writer_write(arg, line, len);
    eddy_writer_drain(arg, on_drained, reader);
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    eddy_reader_readline(reader, on_line, writer);
}

static void on_listening(eddy_server *listening, const eddy_error *error, void *arg)
{
    struct server *server = arg;
    if (error != NULL) FAIL("%s", eddy_error_message(error));
    server->ports[server->listening++] = (uint16_t)atoi(strrchr(eddy_server_sockname(listening, 0), ':') + 1);
    if (server->listening == 2) CHECK(write(server->out, server->ports, sizeof server->ports) > 0);
}

static void on_asked(void *arg)
{
    struct server *server = arg;
    const eddy_stats stats = stats_of(server->loop);
    malloc_trim(0);
    struct state state = { stats.connections_open, stats.connections_total, stats.handshakes_failed,
                           plain_resident(), plain_descriptors() };
    CHECK(write(server->out, &state, sizeof state) > 0);
}

/* What fails is counted; that it is told is tested elsewhere. */
static void on_exception(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    (void)loop, (void)message, (void)error, (void)arg;
}

static void serve(int out)
{
    struct server server = { .loop = eddy_loop_new(), .out = out };
    eddy_tls *tls = server_of("server");
    eddy_loop_set_exception_handler(server.loop, on_exception, NULL);
    CHECK_INT(eddy_loop_add_signal_handler(server.loop, SIGUSR1, on_asked, &server), 0);
    eddy_start_server(server.loop, on_client, "0.0.0.0", 0, EDDY_OPTIONS(.backlog = 4096), on_listening, &server);
    RUN_UNTIL(server.loop, server.listening == 1);
    eddy_start_server(server.loop, on_client, "0.0.0.0", 0,
                      EDDY_OPTIONS(.backlog = 4096, .tls = tls, .timeout_ms = 10000, .tls_shutdown_ms = 2000),
                      on_listening, &server);
    eddy_loop_run(server.loop);
}

/* ---- the clients ------------------------------------------------------------------------------------------- */

enum kind { WELL, IDLE, CLOSE, RESET, HALF, SECURE, FLOOD, SLOW, LONG, GARBAGE, KINDS };
static const char *const kinds[] = { "well-behaved", "idle", "close", "reset", "half-close", "TLS", "flood", "slow",
                                     "endless line", "garbage" };

struct client {
    enum kind kind;
    int lines;
    uint64_t sent; /* when, in microseconds */
    eddy_reader *reader;
    eddy_writer *writer;
};

static eddy_loop *loop;
static uint16_t ports[2];
static eddy_tls *tls;
static bool going, measuring, over;
static uint32_t *times;
static size_t timed;
static uint64_t rounds[KINDS], live[KINDS], refused;
static char much[65536], endless[65536]; /* lines of 512; and none */

static uint64_t microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void begin(struct client *client);

static void on_time(eddy_loop *of, const eddy_error *error, void *arg)
{
    (void)of;
    if (error == NULL && (going || ((struct client *)arg)->kind == WELL)) begin(arg);
}

/* It is over; and begins anew, unless the time is over too. */
static void again(struct client *client, bool reset)
{
    rounds[client->kind]++;
    live[client->kind]--;
    if (reset) eddy_writer_abort(client->writer);
    eddy_writer_free(client->writer);
    client->writer = NULL;
    if (going) CHECK(eddy_loop_call_later(loop, 100 + (uint64_t)(rand() % 2000), on_time, client) >= 0);
}

static void say(struct client *client);

static void on_pause(eddy_loop *of, const eddy_error *error, void *arg)
{
    (void)of;
    if (error == NULL) say(arg);
}

static void on_answer(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    (void)reader, (void)line;
    if (client->writer == NULL || over) return;
    if (error != NULL || len == 0) {
        if (client->kind == WELL) FAIL("one that behaves well was cut off: %s", eddy_error_message(error));
        again(client, false);
        return;
    }
    switch (client->kind) {
    case WELL:
        if (measuring && timed < TIMES) times[timed++] = (uint32_t)(microseconds() - client->sent);
        CHECK(eddy_loop_call_later(loop, PAUSE, on_pause, client) >= 0);
        break;
    case IDLE:
        eddy_reader_readline(reader, on_answer, client);
        break;
    default:
        if (++client->lines < 5) say(client);
        else if (client->kind == HALF && client->lines == 5) {
            CHECK_INT(eddy_writer_write_eof(client->writer), 0); /* the server's end is the answer */
            eddy_reader_readline(reader, on_answer, client);
        } else again(client, client->kind == RESET);
    }
}

static void say(struct client *client)
{
    client->sent = microseconds();
    eddy_writer_write(client->writer, "a line, to be sent back\n", 24);
    eddy_reader_readline(client->reader, on_answer, client);
}

/* More and more, and nothing is read; or a line that never ends. */
static void on_room(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    if (client->writer == NULL) return;
    if (error != NULL) {
        again(client, false);
        return;
    }
    /* On a connection that is lost writing says 0, and the drain tells. */
    for (int n = 0; n < 8; n++) eddy_writer_write(writer, client->kind == LONG ? endless : much, sizeof much);
    if (eddy_writer_drain(writer, on_room, client) < 0) again(client, false);
}

static void on_byte(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg);

static void on_next(eddy_loop *of, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    (void)of;
    if (error == NULL && client->writer != NULL) eddy_reader_read(client->reader, 1, on_byte, client);
}

static void on_byte(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    (void)reader, (void)bytes;
    if (client->writer == NULL) return;
    if (error != NULL || len == 0) again(client, false);
    else CHECK(eddy_loop_call_later(loop, 20, on_next, client) >= 0);
}

static void on_open(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    if (error != NULL) {
        if (client->kind == WELL) FAIL("one that behaves well was turned away: %s", eddy_error_message(error));
        refused++;
        if (going) CHECK(eddy_loop_call_later(loop, 1000, on_time, client) >= 0);
        return;
    }
    live[client->kind]++;
    client->reader = reader;
    client->writer = writer;
    client->lines = 0;
    switch (client->kind) {
    case FLOOD:
    case LONG: on_room(writer, NULL, client); break;
    case GARBAGE:
        eddy_writer_write(writer, much, 1000);
        eddy_reader_read(reader, 4096, on_answer, client);
        client->lines = 10;
        break;
    case SLOW:
        for (int n = 0; n < 8; n++) eddy_writer_write(writer, much, 4096);
        eddy_reader_read(reader, 1, on_byte, client);
        break;
    default: say(client);
    }
}

static void begin(struct client *client)
{
    static int host;
    char name[16];
    snprintf(name, sizeof name, "127.0.0.%d", 1 + host++ % 16); /* or else there would not be ports enough */
    const bool secure = client->kind == SECURE;
    CHECK(eddy_open_connection(loop, name, ports[secure || client->kind == GARBAGE],
                               secure ? EDDY_OPTIONS(.tls = tls, .server_hostname = "localhost") : NULL, on_open,
                               client) >= 0);
}

/* ---- the run ----------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void run_for(uint64_t ms)
{
    for (uint64_t end = plain_now() + ms; plain_now() < end;) CHECK(eddy_loop_run_once(loop, 10) >= 0);
}

/* Of the answers to those who behave well, from this one on, in milliseconds. */
static double p99(size_t from)
{
    const size_t count = timed - from;
    CHECK(count > 100);
    qsort(times + from, count, sizeof *times, by_size);
    return times[from + count * 99 / 100] / 1000.0;
}

/* Of ten seconds alone. */
static double p99_alone(void)
{
    timed = 0;
    measuring = true;
    run_for(10000);
    measuring = false;
    return p99(0);
}

static struct state ask(pid_t server, int in)
{
    struct state state = { 0 };
    CHECK(kill(server, SIGUSR1) == 0);
    CHECK_INT(read(in, &state, sizeof state), sizeof state);
    return state;
}

static void on_enough(void *arg)
{
    (void)arg;
    going = false;
}

/* Begins at a byte, ends at a signal. */
static void load(int in, unsigned count)
{
    const struct sched_param least = { 0 };
    char go;
    plain_ok(sched_setscheduler(0, SCHED_IDLE, &least), "sched_setscheduler");
    CHECK_INT(read(in, &go, 1), 1);
    loop = eddy_loop_new();
    tls = client_of("authority.pem");
    CHECK_INT(eddy_loop_add_signal_handler(loop, SIGUSR1, on_enough, NULL), 0);
    struct client *clients = calloc(count, sizeof *clients);
    going = true;
    for (unsigned n = 0; n < count; n++) {
        const unsigned of = n % 100; /* most are idle; of the others there are some of each */
        clients[n].kind = of < 80 ? IDLE : of < 84 ? CLOSE : of < 87 ? RESET : of < 90 ? HALF : of < 94 ? SECURE
                        : of < 95 ? FLOOD : of < 97 ? SLOW : of < 98 ? LONG : GARBAGE;
        begin(&clients[n]);
        if (n % 20 == 0) run_for(1);
    }
    while (going) CHECK(eddy_loop_run_once(loop, -1) >= 0);
    for (int kind = IDLE; kind < KINDS; kind++)
        printf("%s: %llu live, %llu ended; ", kinds[kind], (unsigned long long)live[kind],
               (unsigned long long)rounds[kind]);
    printf("%llu could not connect\n", (unsigned long long)refused);
    fflush(stdout);
    /* Not all at once: the kernel's queue of packets is finite, and a reset that it loses is never sent again. */
    for (unsigned n = 0; n < count; n++) {
        if (clients[n].writer != NULL) again(&clients[n], n % 2 == 0);
        if (n % 20 == 0) run_for(1);
    }
    run_for(3000);
    eddy_loop_free(loop);
    eddy_tls_free(tls);
    free(clients);
}

/* A child that ends with this process; true: it is the child. */
static bool child(pid_t *pid)
{
    fflush(stdout);
    *pid = fork();
    if (*pid == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return *pid == 0;
}

TEST(many_clients_of_every_kind_for_minutes, "")
{
    unsigned seconds = 180, count = 18000;
    if (getenv("EDDY_SOAK") != NULL) sscanf(getenv("EDDY_SOAK"), "%u,%u", &seconds, &count);
    const struct rlimit most = { count + 1000, count + 1000 };
    if (!certificates()) return;
    if (setrlimit(RLIMIT_NOFILE, &most) != 0) FAIL("each of two processes needs %u descriptors", count + 1000);
    alarm(seconds + 600);
    memset(much, 'x', sizeof much);
    memset(endless, 'x', sizeof endless);
    for (size_t n = 511; n < sizeof much; n += 512) much[n] = '\n';
    int told[2], start[2];
    plain_ok(pipe(told), "pipe");
    plain_ok(pipe(start), "pipe");
    pid_t server, others;
    if (child(&server)) {
        serve(told[1]);
        _exit(0);
    }
    CHECK_INT(read(told[0], ports, sizeof ports), sizeof ports);
    if (child(&others)) {
        alarm(seconds + 600);
        load(start[0], count);
        _exit(0);
    }

    times = calloc(TIMES, sizeof *times);
    struct client steady[STEADY] = { 0 };
    loop = eddy_loop_new();
    for (size_t n = 0; n < STEADY; n++) begin(&steady[n]);
    run_for(1000);
    const double alone = p99_alone();
    const struct state before = ask(server, told[0]);
    printf("alone: p99 %.2f ms; the server has %zu KB, %d descriptors\n", alone, before.resident / 1024,
           before.descriptors);

    CHECK_INT(write(start[1], "!", 1), 1);
    uint64_t end = plain_now() + 120000;
    struct state state;
    do {
        run_for(1000);
        state = ask(server, told[0]);
    } while (state.open < count * 17 / 20 && plain_now() < end);
    timed = 0;
    measuring = true;
    for (unsigned done = 0; done < seconds; done += 10) {
        const size_t from = timed;
        run_for(10000);
        const double now = p99(from);
        state = ask(server, told[0]);
        printf("%3u s: p99 %.2f ms; %llu open, %llu in all, %llu handshakes failed; %zu KB, %d descriptors\n",
               done + 10, now, (unsigned long long)state.open, (unsigned long long)state.total,
               (unsigned long long)state.failed, state.resident / 1024, state.descriptors);
        fflush(stdout);
    }

    measuring = false;
    const double crowded = p99(0);
    printf("among the others: p99 %.2f ms of %zu answers\n", crowded, timed);

    CHECK(kill(others, SIGUSR1) == 0);
    struct state after;
    /* The kernel tries floods that read nothing at ever longer intervals, up to two minutes (RFC 6298), and learns only
     * then that a peer is gone whose reset came when there was no room for more. */
    end = plain_now() + 240000;
    do {
        run_for(500);
        after = ask(server, told[0]);
    } while (after.descriptors > before.descriptors && plain_now() < end);
    const double again_alone = p99_alone();
    printf("alone again: p99 %.2f ms; the server has %zu KB, %d descriptors\n", again_alone, after.resident / 1024,
           after.descriptors);
    int status = -1;
    CHECK_INT(waitpid(others, &status, 0), others);
    CHECK_INT(status, 0);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    over = true;
    eddy_loop_free(loop);
    for (int n = 0; n < 2; n++) close(told[n]), close(start[n]);
    free(times);

    CHECK_INT(after.descriptors, before.descriptors);
    CHECK_INT(after.open, STEADY);
    /* The tables keep their places, some 200 bytes each; the pool keeps 4 MB. */
    CHECK(after.resident < before.resident + 16 * 1024 * 1024 + count * 400);
    CHECK(crowded < 3 * (alone > FLOOR ? alone : FLOOR));
    printf("%llu connections in %u s, %u at a time: nothing is lost\n", (unsigned long long)after.total, seconds,
           count + STEADY);
}
