#include "echo.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 5, LINES = 200, BULK = 200000, POSTS = 2000, POKES = 7 };

struct client {
    struct echo *echo;
    int number, lines;
    eddy_reader *reader;
    eddy_writer *writer;
};

struct echo {
    eddy_loop *loop;
    eddy_server *server;
    uint16_t port;
    pthread_t poster;
    bool posting;
    struct client clients[CLIENTS];
    int closed, posts, signals, names; /* what has come of it all */
    int begun, poked;                  /* pokes */
    struct client poke;                /* their connection */
    eddy_op tomorrow;                  /* a timer, so that there is always something to wait for */
    int errors;
    char bulk[BULK], result[1024];
};

#define EXPECT(echo, condition) ((condition) ? (void)0 : expected(echo, __LINE__, #condition))

static void expected(struct echo *echo, int line, const char *what)
{
    fprintf(stderr, "echo.c:%d: not true: %s\n", line, what);
    echo->errors++;
}

/* ---- the server ---------------------------------------------------------------------------------------- */

struct session {
    eddy_reader *reader;
    eddy_writer *writer;
};

static void on_bytes(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg);

static void on_room(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct session *session = arg;
    (void)writer, (void)error; /* which the next read tells too */
    eddy_reader_read(session->reader, 4096, on_bytes, session);
}

static void on_bytes(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct session *session = arg;
    (void)error;
    if (len == 0) {
        eddy_writer_free(session->writer);
        free(session);
    } else if (eddy_writer_write(session->writer, bytes, len) > 0) {
        eddy_writer_drain(session->writer, on_room, session);
    } else {
        eddy_reader_read(reader, 4096, on_bytes, session);
    }
}

static void on_accept(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct session *session = malloc(sizeof *session);
    EXPECT((struct echo *)arg, error == NULL && session != NULL);
    *session = (struct session){ reader, writer };
    eddy_reader_read(reader, 4096, on_bytes, session);
}

/* ---- the clients --------------------------------------------------------------------------------------- */

static size_t line_of(const struct client *client, char line[300])
{
    const int padding = (client->lines * 37 + client->number * 11) % 200;
    return (size_t)sprintf(line, "client %d line %d %0*d\n", client->number, client->lines, padding + 1, 0);
}

static void on_line(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg);

static void ask(struct client *client)
{
    char line[300];
    eddy_writer_write(client->writer, line, line_of(client, line));
    eddy_reader_readline(client->reader, on_line, client);
}

static void on_pause(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop;
    if (error == NULL) ask(arg);
}

static void on_closed(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    EXPECT(client->echo, error == NULL);
    eddy_writer_free(writer);
    client->echo->closed++;
}

static void on_bulk(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    (void)reader;
    EXPECT(client->echo, error == NULL && len == BULK && memcmp(bytes, client->echo->bulk, BULK) == 0);
    eddy_writer_wait_closed(client->writer, on_closed, client);
    eddy_writer_close(client->writer);
}

static void on_drained(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    (void)writer;
    EXPECT(client->echo, error == NULL);
}

static void on_line(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    char line[300];
    EXPECT(client->echo, error == NULL && len == line_of(client, line) && memcmp(bytes, line, len) == 0);
    if (error != NULL || len == 0) return;
    if (++client->lines < LINES) {
        if (client->lines % 25 == 0) eddy_loop_call_later(client->echo->loop, 1, on_pause, client);
        else ask(client);
        return;
    }
    eddy_writer_write(client->writer, client->echo->bulk, BULK);
    eddy_writer_drain(client->writer, on_drained, client);
    eddy_reader_readexactly(reader, BULK, on_bulk, client);
}

static void on_connect(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct client *client = arg;
    EXPECT(client->echo, error == NULL);
    client->reader = reader;
    client->writer = writer;
    if (error == NULL && client != &client->echo->poke) ask(client);
}

/* ---- a name, a signal, another thread ------------------------------------------------------------------ */

static void on_name(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct echo *echo = arg;
    (void)reader;
    EXPECT(echo, error == NULL);
    eddy_writer_free(writer);
    echo->names++;
}

static void on_signal(void *arg)
{
    ((struct echo *)arg)->signals++;
}

static void on_time_for_a_signal(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop, (void)arg;
    if (error == NULL) raise(SIGUSR2);
}

static void on_post(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct echo *echo = arg;
    (void)loop;
    EXPECT(echo, error == NULL);
    echo->posts++;
}

static void *post(void *arg)
{
    struct echo *echo = arg;
    for (int i = 0; i < POSTS; i++) eddy_loop_call_soon_threadsafe(echo->loop, on_post, echo);
    return NULL;
}

/* ---- pokes --------------------------------------------------------------------------------------------- */

static void on_poke_call(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct echo *echo = arg;
    (void)loop;
    EXPECT(echo, error == NULL);
    echo->poked++;
}

static void on_poke_line(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    struct echo *echo = arg;
    (void)reader;
    EXPECT(echo, error == NULL && len == 5 && (memcmp(bytes, "poke\n", 5) == 0 || memcmp(bytes, "more\n", 5) == 0));
    echo->poked++;
}

static void on_poke_closed(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct echo *echo = arg;
    EXPECT(echo, error == NULL);
    eddy_writer_free(writer);
    echo->poked++;
}

static void on_poke_signal(void *arg)
{
    struct echo *echo = arg;
    EXPECT(echo, eddy_loop_remove_signal_handler(echo->loop, SIGUSR1) == 0);
    echo->poked++;
}

void echo_poke(struct echo *echo)
{
    struct client *poke = &echo->poke;
    if (poke->writer == NULL || echo->begun > echo->poked || echo->begun == POKES) return;
    switch (echo->begun++) {
    case 0: EXPECT(echo, eddy_loop_call_soon(echo->loop, on_poke_call, echo) >= 0); break;
    case 1: EXPECT(echo, eddy_loop_call_later(echo->loop, 3, on_poke_call, echo) >= 0); break;
    case 2: /* something to send, and then to receive */
        EXPECT(echo, eddy_writer_write(poke->writer, "poke\nmore\n", 10) == 0);
        EXPECT(echo, eddy_reader_readline(poke->reader, on_poke_line, echo) >= 0);
        break;
    case 3: /* what has been received already */
        EXPECT(echo, eddy_reader_readline(poke->reader, on_poke_line, echo) >= 0);
        break;
    case 4: EXPECT(echo, eddy_loop_call_soon_threadsafe(echo->loop, on_poke_call, echo) == 0); break;
    case 5:
        EXPECT(echo, eddy_loop_add_signal_handler(echo->loop, SIGUSR1, on_poke_signal, echo) == 0);
        raise(SIGUSR1);
        break;
    default:
        EXPECT(echo, eddy_writer_wait_closed(poke->writer, on_poke_closed, echo) >= 0);
        EXPECT(echo, eddy_writer_close(poke->writer) == 0);
    }
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

static void on_tomorrow(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop, (void)error, (void)arg;
}

static void on_serve(eddy_server *server, const eddy_error *error, void *arg)
{
    struct echo *echo = arg;
    EXPECT(echo, error == NULL);
    echo->server = server;
    echo->port = (uint16_t)atoi(strrchr(eddy_server_sockname(server, 0), ':') + 1);
    for (int i = 0; i < CLIENTS; i++) {
        echo->clients[i] = (struct client){ .echo = echo, .number = i };
        eddy_open_connection(echo->loop, "127.0.0.1", echo->port, NULL, on_connect, &echo->clients[i]);
    }
    echo->poke.echo = echo;
    eddy_open_connection(echo->loop, "127.0.0.1", echo->port, NULL, on_connect, &echo->poke);
    eddy_options options = { .size = sizeof options, .family = 2 /* AF_INET */ };
    eddy_open_connection(echo->loop, "localhost", echo->port, &options, on_name, echo);
    EXPECT(echo, eddy_loop_add_signal_handler(echo->loop, SIGUSR2, on_signal, echo) == 0);
    for (unsigned i = 1; i <= 3; i++) eddy_loop_call_later(echo->loop, 50 * i, on_time_for_a_signal, echo);
    echo->posting = pthread_create(&echo->poster, NULL, post, echo) == 0;
    EXPECT(echo, echo->posting);
}

struct echo *echo_start(eddy_loop *loop)
{
    struct echo *echo = calloc(1, sizeof *echo);
    if (echo == NULL) return NULL;
    echo->loop = loop;
    for (int i = 0; i < BULK; i++) echo->bulk[i] = (char)('a' + (i * 7 + i / 251) % 26);
    echo->tomorrow = eddy_loop_call_later(loop, 24 * 3600 * 1000, on_tomorrow, NULL);
    eddy_start_server(loop, on_accept, "127.0.0.1", 0, NULL, on_serve, echo);
    return echo;
}

bool echo_over(const struct echo *echo)
{
    return echo->errors > 0 || (echo->closed == CLIENTS && echo->posts == POSTS && echo->signals == 3 &&
                                echo->names == 1 && echo->poked == POKES);
}

const char *echo_result(struct echo *echo)
{
    size_t len = 0;
    for (int i = 0; i < CLIENTS; i++)
        len += (size_t)snprintf(echo->result + len, sizeof echo->result - len, "client %d: %d lines\n", i,
                                echo->clients[i].lines);
    snprintf(echo->result + len, sizeof echo->result - len,
             "%d closed, %d posts, %d signals, %d names, %d pokes, %d errors", echo->closed, echo->posts,
             echo->signals, echo->names, echo->poked, echo->errors);
    return echo->result;
}

void echo_end(struct echo *echo)
{
    if (echo->posting) pthread_join(echo->poster, NULL);
    eddy_loop_cancel(echo->loop, echo->tomorrow);
    eddy_server_free(echo->server);
    eddy_loop_run_once(echo->loop, 0);
    free(echo);
}
