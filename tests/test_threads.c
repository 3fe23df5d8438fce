/* Several threads, each with a loop, and the process around them. */
#include "ends.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- one loop for each thread, on one port ------------------------------------------------------------- */

enum { WORKERS = 4, CLIENTS = 64, LINES = 50 };

struct worker {
    pthread_t thread;
    atomic_int port;     /* of its server; 0: not yet */
    uint16_t wanted;     /* 0: any */
    eddy_loop *loop;
    eddy_server *server;
    int clients, lines;
};

static void echo_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg);

struct visit {
    struct worker *worker;
    eddy_writer *writer;
};

static void visitor(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct visit *visit = malloc(sizeof *visit);
    CHECK(error == NULL && visit != NULL);
    *visit = (struct visit){ arg, writer };
    visit->worker->clients++;
    CHECK(pthread_equal(pthread_self(), visit->worker->thread));
    CHECK(eddy_reader_readline(reader, echo_line, visit) >= 0);
}

static void echo_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    struct visit *visit = arg;
    (void)error;
    CHECK(pthread_equal(pthread_self(), visit->worker->thread));
    if (len == 0) {
        eddy_writer_free(visit->writer);
        free(visit);
        return;
    }
    visit->worker->lines++;
    CHECK(eddy_writer_write(visit->writer, line, len) >= 0);
    CHECK(eddy_reader_readline(reader, echo_line, visit) >= 0);
}

static void serving(eddy_server *server, const eddy_error *error, void *arg)
{
    struct worker *worker = arg;
    if (error != NULL) FAIL("no server: %s", eddy_error_message(error));
    worker->server = server;
    atomic_store(&worker->port, atoi(strrchr(eddy_server_sockname(server, 0), ':') + 1));
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    worker->thread = pthread_self();
    worker->loop = eddy_loop_new();
    CHECK(worker->loop != NULL);
    CHECK(eddy_start_server(worker->loop, visitor, "127.0.0.1", worker->wanted, EDDY_OPTIONS(.reuse_port = 1), serving,
                            worker) >= 0);
    CHECK_INT(eddy_loop_run(worker->loop), 0); /* until its server is closed, and the last client gone */
    eddy_loop_free(worker->loop);
    return NULL;
}

static void close_server(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct worker *worker = arg;
    (void)loop;
    CHECK(error == NULL);
    CHECK(pthread_equal(pthread_self(), worker->thread));
    eddy_server_free(worker->server);
}

static int wait_for_port(struct worker *worker)
{
    int port;
    const uint64_t deadline = plain_now() + 10000 * (uint64_t)eddy_test_slow();
    while ((port = atomic_load(&worker->port)) == 0) {
        if (plain_now() > deadline) FAIL("no server in time");
        usleep(500);
    }
    return port;
}

static void *talk(void *arg)
{
    const uint16_t port = *(const uint16_t *)arg;
    int fds[CLIENTS / 2];
    for (int i = 0; i < CLIENTS / 2; i++) fds[i] = plain_connect(port);
    for (int line = 0; line < LINES; line++) {
        for (int i = 0; i < CLIENTS / 2; i++) {
            char text[64], back[64];
            const int len = snprintf(text, sizeof text, "client %d line %d\n", i, line);
            plain_send(fds[i], text, (size_t)len);
            CHECK_INT(plain_recv(fds[i], back, (size_t)len), len);
            CHECK(memcmp(text, back, (size_t)len) == 0);
        }
    }
    for (int i = 0; i < CLIENTS / 2; i++) close(fds[i]);
    return NULL;
}

TEST(a_loop_for_each_of_four_threads_shares_a_port, "V9 t12")
{
    static struct worker workers[WORKERS];
    memset(workers, 0, sizeof workers);
    pthread_t threads[WORKERS], talkers[2];
    uint16_t port = 0;
    for (int i = 0; i < WORKERS; i++) {
        workers[i].wanted = port;
        threads[i] = plain_start(work, &workers[i]);
        port = (uint16_t)wait_for_port(&workers[i]);
        CHECK_INT(port, wait_for_port(&workers[0]));
    }
    for (int i = 0; i < 2; i++) talkers[i] = plain_start(talk, &port);
    for (int i = 0; i < 2; i++) plain_join(talkers[i]);
    int clients = 0, lines = 0, busy = 0;
    for (int i = 0; i < WORKERS; i++)
        CHECK_INT(eddy_loop_call_soon_threadsafe(workers[i].loop, close_server, &workers[i]), 0);
    for (int i = 0; i < WORKERS; i++) {
        plain_join(threads[i]);
        clients += workers[i].clients;
        lines += workers[i].lines;
        busy += workers[i].clients > 0;
    }
    CHECK_INT(clients, CLIENTS);
    CHECK_INT(lines, CLIENTS * LINES);
    CHECK(busy > 1); /* the kernel spreads them; all on one of four would be chance of 4 to the power of -63 */
}

/* ---- calls from other threads, while the loop ends ----------------------------------------------------- */

enum { CALLERS = 3 };

struct caller {
    pthread_t thread;
    _Atomic(eddy_loop *) *loop;
    atomic_bool *over;
    int accepted, most; /* how many may be on their way */
    atomic_int called;
};

static void count_call(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct caller *caller = arg;
    (void)loop;
    CHECK(error == NULL || eddy_error_code(error) == EDDY_ECANCELED);
    atomic_fetch_add(&caller->called, 1);
}

static void *call_and_call(void *arg)
{
    struct caller *caller = arg;
    while (!atomic_load(caller->over)) {
        const int code = eddy_loop_call_soon_threadsafe(atomic_load(caller->loop), count_call, caller);
        if (code == 0) caller->accepted++;
        else CHECK_INT(code, EDDY_ESTALE);
        while (caller->accepted - atomic_load(&caller->called) > caller->most && !atomic_load(caller->over)) sched_yield();
    }
    return NULL;
}

TEST(calls_that_race_with_the_end_of_the_loop_run_once_or_are_refused, "t02")
{
    _Atomic(eddy_loop *) loop = eddy_loop_new();
    atomic_bool over = false;
    struct caller callers[CALLERS];
    memset(callers, 0, sizeof callers);
    for (int i = 0; i < CALLERS; i++) {
        callers[i].loop = &loop;
        callers[i].over = &over;
        callers[i].most = 10000 / eddy_test_slow() / eddy_test_slow();
        callers[i].thread = plain_start(call_and_call, &callers[i]);
    }
    for (int i = 0; i < 500 / eddy_test_slow(); i++) {
        eddy_loop *now = atomic_load(&loop);
        CHECK(eddy_loop_run_once(now, 0) >= 0);
        if (i % 3 == 0) sched_yield();
        eddy_loop_free(now);
        atomic_store(&loop, eddy_loop_new());
    }
    atomic_store(&over, true);
    for (int i = 0; i < CALLERS; i++) plain_join(callers[i].thread);
    eddy_loop_free(atomic_load(&loop));
    for (int i = 0; i < CALLERS; i++) {
        CHECK(callers[i].accepted > 0);
        CHECK_INT(atomic_load(&callers[i].called), callers[i].accepted);
    }
}

static void count_one(eddy_loop *loop, const eddy_error *error, void *arg)
{
    int *count = arg;
    (void)loop;
    CHECK(error == NULL);
    ++*count;
}

TEST(more_calls_than_there_may_be_objects_all_run, "")
{
    eddy_loop *loop = eddy_loop_new();
    const int calls = eddy_test_slow() > 1 ? 20000 : 1500000; /* of one loop's objects there are 2 to the power of 20 */
    int count = 0;
    for (int i = 0; i < calls; i++) CHECK_INT(eddy_loop_call_soon_threadsafe(loop, count_one, &count), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(count, calls);
    eddy_loop_free(loop);
}

static void post_again(eddy_loop *loop, const eddy_error *error, void *arg)
{
    int *left = arg;
    CHECK(error == NULL);
    if (--*left > 0) CHECK_INT(eddy_loop_call_soon_threadsafe(loop, post_again, arg), 0);
}

TEST(a_flood_of_calls_starves_nobody, "")
{
    struct end end = end_unix(NULL);
    struct reports reports = { 0 };
    int left = 1 << 30;
    GOT(timer);
    GOT(line);
    CHECK_INT(eddy_loop_set_exception_handler(end.loop, got_report, &reports), 0);
    for (int i = 0; i < 3000; i++) { /* more than one turn does; each comes again for ever */
        CHECK_INT(eddy_loop_call_soon_threadsafe(end.loop, post_again, &left), 0);
    }
    CHECK_INT(eddy_reader_feed_eof(NULL), EDDY_ESTALE);
    START(&timer, eddy_loop_call_later(end.loop, 2, got_loop, &timer));
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    plain_send_text(end.peer, "line\n");
    RUN_UNTIL(end.loop, timer.count == 1 && line.count == 1 && reports.count == 1);
    CHECK(left > 0);
    left = 1;
    CHECK_INT(eddy_loop_run(end.loop), 0);
    end_free(&end);
}

/* ---- the process --------------------------------------------------------------------------------------- */

static atomic_int environment_looks; /* also by eddy in other threads */

char *getenv(const char *name)
{
    extern char **environ;
    const size_t len = strlen(name);
    environment_looks++;
    for (char **entry = environ; *entry != NULL; entry++)
        if (strncmp(*entry, name, len) == 0 && (*entry)[len] == '=') return *entry + len + 1;
    return NULL;
}

/* Whoever sets the environment in one thread must not fear that another one, within eddy, looks at it. */
TEST(the_environment_is_looked_at_once, "t13")
{
    eddy_loop_free(eddy_loop_new()); /* with the first loop of the process, that is */
    struct end end = end_tcp(NULL);
    const int limit = 1000 * eddy_test_slow(); /* which looks too */
    GOT(line);
    GOT(timer);
    GOT(lost);
    GOT(named);
    CHECK(environment_looks > 0);
    environment_looks = 0;
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    START(&timer, eddy_loop_call_later(end.loop, 1, got_loop, &timer));
    START(&lost, eddy_open_connection(end.loop, "127.0.0.1", plain_closed_port(), NULL, got_stream, &lost));
    START(&named, eddy_open_connection(end.loop, "localhost", plain_closed_port(), NULL, got_stream, &named));
    plain_send_text(end.peer, "line\n");
    while (line.count + timer.count + lost.count + named.count < 4)
        CHECK(eddy_loop_run_once(end.loop, limit) >= 0);
    end_free(&end);
    eddy_loop_free(eddy_loop_new());
    CHECK_INT(environment_looks, 0);
}

static uint64_t blocked_signals(const char *task)
{
    char path[320], line[256];
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "SigBlk: %llx", &mask) == 1) break;
    if (file != NULL) fclose(file);
    return mask;
}

TEST(threads_of_eddys_own_take_no_signals, "t05")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    START(&opened, eddy_open_connection(loop, "localhost", plain_closed_port(), NULL, got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    int others = 0;
    char me[32];
    snprintf(me, sizeof me, "%d", (int)getpid());
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        if (task->d_name[0] == '.' || strcmp(task->d_name, me) == 0) continue;
        const uint64_t blocked = blocked_signals(task->d_name);
        for (int signum = 1; signum <= 64; signum++) {
            if (signum == SIGKILL || signum == SIGSTOP || signum == 32 || signum == 33) continue;
            if ((blocked >> (signum - 1) & 1) == 0 && !plain_on_valgrind())
                FAIL("a thread of eddy's own takes signal %d", signum);
        }
        others++;
    }
    closedir(tasks);
    CHECK(others > 0);
    eddy_loop_free(loop);
}

/* ---- fork ---------------------------------------------------------------------------------------------- */

static void child_frees_all(struct end *end, eddy_server *server, int *called)
{
    close(STDERR_FILENO); /* the refusals are reported */
    alarm(20 * (unsigned)eddy_test_slow());
    eddy_server_free(server);
    eddy_writer_free(end->writer);
    eddy_reader_free(end->reader);
    eddy_loop_free(end->loop);
    raise(SIGUSR1); /* ignored, as before the parent watched it */
    _exit(*called == 0 ? 0 : 1);
}

static void hear(void *arg)
{
    ++*(int *)arg;
}

TEST(a_child_frees_everything_and_the_parent_goes_on, "t06")
{
    struct sigaction ignore = { .sa_handler = SIG_IGN }, old;
    CHECK_INT(sigaction(SIGUSR1, &ignore, &old), 0);
    struct end end = end_tcp(NULL);
    struct worker here = { .wanted = 0 };
    int called = 0, heard = 0;
    GOT(line);
    GOT(timer);
    here.thread = pthread_self();
    CHECK(eddy_start_server(end.loop, visitor, "127.0.0.1", 0, NULL, serving, &here) >= 0);
    RUN_UNTIL(end.loop, here.server != NULL);
    CHECK_INT(eddy_loop_add_signal_handler(end.loop, SIGUSR1, hear, &heard), 0);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    START(&timer, eddy_loop_call_later(end.loop, 10, got_loop, &timer));
    CHECK_INT(eddy_writer_write(end.writer, "not sent twice\n", 15), 0); /* nor by the child */
    fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) child_frees_all(&end, here.server, &called);
    int status;
    pid_t reaped;
    do reaped = waitpid(child, &status, 0); while (reaped < 0 && errno == EINTR);
    CHECK_INT(reaped, child);
    CHECK_INT(status, 0);
    CHECK_INT(heard + line.count, 0);
    CHECK_INT(raise(SIGUSR1), 0);
    plain_send_text(end.peer, "answer\n");
    const int client = plain_connect((uint16_t)atomic_load(&here.port));
    plain_send_text(client, "hello\n");
    RUN_UNTIL(end.loop, heard == 1 && line.count == 1 && timer.count == 1 && here.lines == 1);
    CHECK_BYTES(line.bytes, line.len, "answer\n");
    char back[32];
    CHECK_INT(plain_recv(client, back, 6), 6);
    CHECK_INT(plain_recv(end.peer, back, 15), 15);
    CHECK_INT(plain_look(end.peer, back, 1), -EAGAIN);
    close(client);
    RUN_UNTIL(end.loop, here.clients == 1);
    settle(end.loop);
    end_free(&end);
    CHECK_INT(sigaction(SIGUSR1, &old, NULL), 0);
}

/* ---- time ---------------------------------------------------------------------------------------------- */

static int clock_jumps;

/* The wall clock goes back by an hour each time that somebody looks at it. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    const long result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && clock_jumps > 0) now->tv_sec -= 3600L * clock_jumps++;
    return (int)result;
}

TEST(a_wall_clock_that_goes_back_changes_nothing, "m09")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(timer);
    const uint64_t start = plain_now();
    clock_jumps = 1;
    for (int i = 0; i < 10; i++) {
        const uint64_t before = eddy_loop_time(loop);
        START(&timer, eddy_loop_call_later(loop, 2, got_loop, &timer));
        CHECK_INT(eddy_loop_run(loop), 0);
        CHECK(eddy_loop_time(loop) >= before + 2);
    }
    clock_jumps = 0;
    CHECK_INT(timer.count, 10);
    CHECK(plain_now() - start >= 20);
    eddy_loop_free(loop);
}
