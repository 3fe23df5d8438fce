/* A process that ends, in every way there is, with loops that nobody has freed: it ends at once, as it would have without
 * them, and whoever calls eddy that late is refused. exit() takes the loops of the thread that calls it along, as the end
 * of a thread does: nobody is called, and the signals are the program's again. Handlers of atexit() come after that.
 * Shows e13 t10 d05. */
#include <eddy.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static eddy_loop *loop;
static eddy_reader *reader;
static eddy_writer *writer;
static int ends[2], called, late;

#define REQUIRE(condition) ((condition) ? (void)0 : (void)(fprintf(stderr, "%d: %s\n", __LINE__, #condition), _exit(99)))

static void on_loop(eddy_loop *same, const eddy_error *error, void *arg)
{
    (void)same, (void)error, (void)arg;
    called++;
}

static void on_read(eddy_reader *same, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)same, (void)bytes, (void)len, (void)error, (void)arg;
    called++;
}

static void on_signal(void *arg)
{
    (void)arg;
    called++;
}

static void on_stream(eddy_reader *its_reader, eddy_writer *its_writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    reader = its_reader;
    writer = its_writer;
}

static void on_client(eddy_reader *its_reader, eddy_writer *its_writer, const eddy_error *error, void *arg)
{
    (void)its_reader, (void)its_writer, (void)error, (void)arg;
}

static void on_server(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)server, (void)error, (void)arg;
}

/* One of everything, all of it waiting. */
static void begin(void)
{
    loop = eddy_loop_new();
    REQUIRE(loop != NULL);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    REQUIRE(eddy_open_socket(loop, ends[0], NULL, on_stream, NULL) >= 0);
    REQUIRE(eddy_start_server(loop, on_client, "127.0.0.1", 0, NULL, on_server, NULL) >= 0);
    while (reader == NULL) REQUIRE(eddy_loop_run_once(loop, 10) >= 0);
    REQUIRE(eddy_reader_readline(reader, on_read, NULL) >= 0);
    REQUIRE(eddy_loop_call_later(loop, 1000000, on_loop, NULL) >= 0);
    REQUIRE(eddy_loop_add_signal_handler(loop, SIGTERM, on_signal, NULL) == 0);
    REQUIRE(eddy_open_connection(loop, "localhost", 1, NULL, on_stream, NULL) >= 0);
    REQUIRE(eddy_loop_run_once(loop, 0) >= 0);
    called = 0;
}

/* What an atexit() handler finds. Its verdict is the exit status: 7 if all was as it should be. */
static void call_late(void)
{
    struct sigaction action;
    late++;
    if (called != 0) _exit(90);
    if (eddy_loop_run(loop) != EDDY_ESTALE) _exit(91);
    if (eddy_loop_call_soon(loop, on_loop, NULL) != EDDY_ESTALE) _exit(92);
    if (eddy_loop_call_soon_threadsafe(loop, on_loop, NULL) != EDDY_ESTALE) _exit(93);
    if (eddy_reader_readline(reader, on_read, NULL) != EDDY_ESTALE) _exit(94);
    if (eddy_writer_write(writer, "late", 4) != EDDY_ESTALE) _exit(95);
    if (eddy_loop_new() != NULL) _exit(96); /* nor is there a new one, in a thread that has ended so far */
    if (sigaction(SIGTERM, NULL, &action) != 0 || action.sa_handler != SIG_DFL) _exit(97);
    if (strncmp(eddy_repr(loop), "<stale eddy_loop", 16) != 0 && strcmp(eddy_repr(loop), "<eddy>") != 0) _exit(98);
    eddy_writer_free(writer);
    eddy_loop_free(loop);
    eddy_loop_free(loop);
}

/* The last of them: registered first. */
static void check_late(void)
{
    _exit(late == 2 ? 7 : 89);
}

static void exit_now(eddy_loop *same, const eddy_error *error, void *arg)
{
    (void)same, (void)error, (void)arg;
    exit(0);
}

static void exit_in_read(eddy_reader *same, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)same, (void)bytes, (void)len, (void)error, (void)arg;
    exit(0);
}

static void exit_in_handler(eddy_loop *same, const char *message, const eddy_error *error, void *arg)
{
    (void)same, (void)message, (void)error, (void)arg;
    exit(0);
}

static void exit_in_signal(void *arg)
{
    (void)arg;
    exit(0);
}

/* ---- the ways to end ----------------------------------------------------------------------------------- */

static void by_exit(void) { exit(0); }

static void in_a_callback(void)
{
    eddy_loop_call_soon(loop, exit_now, NULL);
    eddy_loop_run(loop);
}

static void in_a_read(void)
{
    eddy_reader *fed = eddy_reader_new(loop, 100);
    eddy_reader_readline(fed, exit_in_read, NULL);
    eddy_reader_feed_data(fed, "line\n", 5);
    eddy_loop_run_forever(loop);
}

static void while_the_loop_is_freed(void)
{
    eddy_loop *other = eddy_loop_new();
    eddy_loop_call_later(other, 1000, exit_now, NULL);
    eddy_loop_free(other);
}

static void in_the_exception_handler(void)
{
    eddy_loop_set_exception_handler(loop, exit_in_handler, NULL);
    eddy_reader_feed_eof(NULL);
    eddy_loop_run_forever(loop);
}

static void in_a_signals_function(void)
{
    eddy_loop_add_signal_handler(loop, SIGUSR1, exit_in_signal, NULL);
    raise(SIGUSR1);
    eddy_loop_run_forever(loop);
}

static void *post_for_ever(void *arg)
{
    for (;;) {
        eddy_loop_call_soon_threadsafe(arg, on_loop, NULL);
        usleep(10);
    }
    return NULL;
}

static void *run_for_ever(void *arg)
{
    eddy_loop *own = eddy_loop_new();
    eddy_loop_call_later(own, 100000, on_loop, NULL);
    eddy_loop_run_forever(own);
    return arg;
}

/* Other threads are in the middle of things. `called` may count by then, so there is nobody who looks. */
static void beside_busy_threads(void)
{
    pthread_t threads[4];
    eddy_loop *target = eddy_loop_new();
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, i % 2 ? post_for_ever : run_for_ever, target);
    usleep(3000);
    exit(0);
}

static void with_a_loop_that_is_nobodys(void)
{
    REQUIRE(eddy_loop_detach(eddy_loop_new()) == 0);
    exit(0);
}

static void by_quick_exit(void) { quick_exit(7); }
static void by_signal(void)
{
    eddy_loop_remove_signal_handler(loop, SIGTERM);
    raise(SIGTERM);
}

/* A destructor of the thread's own data comes after the loop of the thread has ended, too. */
static pthread_key_t key;

static void call_at_the_end_of_the_thread(void *value)
{
    eddy_loop *gone = value;
    late++;
    if (eddy_loop_run(gone) != EDDY_ESTALE || eddy_loop_call_soon(gone, on_loop, NULL) != EDDY_ESTALE) _exit(80);
    if (eddy_loop_new() != NULL) _exit(81);
    eddy_loop_free(gone);
}

static void *leave_a_loop(void *arg)
{
    eddy_loop *own = eddy_loop_new();
    eddy_loop_call_later(own, 1000, on_loop, NULL);
    pthread_setspecific(key, own);
    return arg;
}

static void in_a_key_destructor(void)
{
    pthread_t thread;
    pthread_key_create(&key, call_at_the_end_of_the_thread);
    pthread_create(&thread, NULL, leave_a_loop, NULL);
    pthread_join(thread, NULL);
    if (late != 1 || called != 0) _exit(82);
    late = 0;
    pthread_key_delete(key);
    exit(0);
}

static const struct way {
    const char *name;
    void (*end)(void);
    int status; /* as wait gives it */
    bool looked_at;
} ways[] = {
    { "by exit", by_exit, 7 << 8, true },
    { "in a callback", in_a_callback, 7 << 8, true },
    { "in a read", in_a_read, 7 << 8, true },
    { "while the loop is freed", while_the_loop_is_freed, 7 << 8, true },
    { "in the exception handler", in_the_exception_handler, 7 << 8, true },
    { "in a signal's function", in_a_signals_function, 7 << 8, true },
    { "with a loop that is nobody's", with_a_loop_that_is_nobodys, 7 << 8, true },
    { "in a key destructor", in_a_key_destructor, 7 << 8, true },
    { "beside busy threads", beside_busy_threads, 0, false },
    { "by quick_exit", by_quick_exit, 7 << 8, false },
    { "by a signal", by_signal, SIGTERM, false },
};

int main(void)
{
    int failed = 0;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        const pid_t child = fork(); /* in which eddy has not been used yet */
        if (child == 0) {
            alarm(30);
            if (ways[i].looked_at) {
                atexit(check_late);
                atexit(call_late); /* before the first call of eddy, and after it */
            }
            begin();
            if (ways[i].looked_at) atexit(call_late);
            ways[i].end();
            _exit(79);
        }
        int status = -1;
        waitpid(child, &status, 0);
        if (status == ways[i].status) continue;
        printf("ending %s: the status is %#x, not %#x\n", ways[i].name, (unsigned)status, (unsigned)ways[i].status);
        failed++;
    }
    return failed != 0;
}
