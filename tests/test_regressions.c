/* Faults that were found and mended, each by a test that failed before. */
#include "ends.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- helpers ------------------------------------------------------------------------------------------- */

/* Accepting as the program sees it: on one listener it is counted, and may be made to fail. */
static struct {
    int fd;
    int attempts;
    int error; /* 0: it is the kernel's business */
} accepting = { .fd = -1 };

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict len, int flags)
{
    if (fd == accepting.fd) {
        if (++accepting.attempts > 100000) FAIL("accept spins");
        if (accepting.error != 0) {
            errno = accepting.error;
            return -1;
        }
    }
    return (int)syscall(SYS_accept4, fd, address.__sockaddr__, len, flags);
}

static void accept_watch(intptr_t fd, int error)
{
    accepting.fd = (int)fd;
    accepting.attempts = 0;
    accepting.error = error;
}

/* Runs until there is nothing left to wait for, which must be soon. */
static void runs_out(eddy_loop *loop)
{
    const uint64_t deadline = plain_now() + 3000 * (uint64_t)eddy_test_slow();
    for (;;) {
        int more = eddy_loop_run_once(loop, 10);
        CHECK(more >= 0);
        if (more == 0) break;
        if (plain_now() > deadline) FAIL("there is always something left to wait for");
    }
    CHECK_INT(eddy_loop_run(loop), 0);
}

/* The end of a child that has passed. Valgrind may not look for leaks in one that was forked while other
 * threads were at work: what they held is nobody's there. */
static void child_passes(void)
{
    kill(getpid(), SIGKILL);
    pause();
}

static void child_must_pass(pid_t child)
{
    int status;
    CHECK(child > 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        FAIL("the child ended by signal %d", WTERMSIG(status));
    if (WIFEXITED(status)) CHECK_INT(WEXITSTATUS(status), 0);
}

/* A loop of its own works for a child, timers and all. */
static void child_has_a_loop(void)
{
    GOT(soon);
    GOT(later);
    eddy_loop *own = eddy_loop_new();
    CHECK(own != NULL);
    START(&soon, eddy_loop_call_soon(own, got_loop, &soon));
    START(&later, eddy_loop_call_later(own, 1, got_loop, &later));
    CHECK_INT(eddy_loop_run(own), 0);
    CHECK_INT(soon.count, 1);
    CHECK_INT(soon.code, 0);
    CHECK_INT(later.count, 1);
    CHECK_INT(later.code, 0);
    CHECK(soon.loop == own);
    eddy_loop_free(own);
}

struct served {
    int count;
    struct got started;
};

static void client_came(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader;
    CHECK(error == NULL);
    ((struct served *)arg)->count++;
    eddy_writer_free(writer);
}

static void server_started(eddy_server *server, const eddy_error *error, void *arg)
{
    got_server(server, error, &((struct served *)arg)->started);
}

#define SERVED(name) struct served name __attribute__((cleanup(served_release))) = { .count = 0 }

static void served_release(struct served *served)
{
    got_release(&served->started);
}

static eddy_server *serve(eddy_loop *loop, struct served *served)
{
    START(&served->started,
          eddy_start_server(loop, client_came, "127.0.0.1", 0, NULL, server_started, served));
    RUN_UNTIL(loop, served->started.count > 0);
    CHECK_INT(served->started.code, 0);
    return served->started.server;
}

static uint16_t port_of(eddy_server *server)
{
    return plain_port((int)eddy_server_socket(server, 0));
}

static void check_serves(eddy_loop *loop, struct served *served, uint16_t port)
{
    int before = served->count, peer = plain_connect(port);
    RUN_UNTIL(loop, served->count > before);
    close(peer);
}

/* ---- servers ------------------------------------------------------------------------------------------- */

static void serve_what_is_served(struct got *got, void *data)
{
    struct served *served = data;
    CHECK_INT(got->code, 0);
    intptr_t fd = eddy_server_socket(got->server, 0);
    CHECK_INT(eddy_start_socket_server(got->loop, client_came, fd, NULL, server_started, served), EDDY_EBUSY);
}

TEST(a_descriptor_that_is_served_already_is_refused_and_served_on, "")
{
    char path[128];
    const char *directory = plain_directory();
    plain_path(path, sizeof path, directory, "served");
    for (int way = 0; way < 4; way++) {
        bool over_tcp = way & 1, inside = way & 2;
        eddy_loop *loop = eddy_loop_new();
        SERVED(served);
        SERVED(second);
        served.started.loop = loop;
        if (inside) served.started.then = serve_what_is_served, served.started.data = &second;
        if (over_tcp)
            START(&served.started,
                  eddy_start_server(loop, client_came, "127.0.0.1", 0, NULL, server_started, &served));
        else
            START(&served.started,
                  eddy_start_unix_server(loop, client_came, path, NULL, server_started, &served));
        RUN_UNTIL(loop, served.started.count > 0);
        CHECK_INT(served.started.code, 0);
        eddy_server *server = served.started.server;
        intptr_t fd = eddy_server_socket(server, 0);
        CHECK_INT(eddy_start_socket_server(loop, client_came, fd, NULL, server_started, &second), EDDY_EBUSY);
        settle(loop);
        CHECK_INT(second.started.count, 0);
        CHECK(plain_is_open((int)fd));
        CHECK(eddy_server_is_serving(server));
        if (!over_tcp) CHECK_INT(access(path, F_OK), 0);
        int peer = over_tcp ? plain_connect(port_of(server)) : plain_unix_connect(path);
        RUN_UNTIL(loop, served.count > 0);
        CHECK_INT(second.count, 0);
        close(peer);

        eddy_server_free(server);
        CHECK(!plain_is_open((int)fd));
        settle(loop);
        eddy_loop_free(loop);
    }
    CHECK_INT(access(path, F_OK), -1);
    CHECK_INT(rmdir(directory), 0);
}

TEST(accepting_that_fails_for_the_clients_sake_again_and_again_does_not_spin, "")
{
    eddy_loop *loop = eddy_loop_new();
    struct reports reports = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    SERVED(served);
    eddy_server *server = serve(loop, &served);
    int peers[3];
    accept_watch(eddy_server_socket(server, 0), EPERM);
    for (int i = 0; i < 3; i++) peers[i] = plain_connect(port_of(server));
    uint64_t begun = plain_now();
    end_pump(loop, 300);
    uint64_t turns = 2 + (plain_now() - begun) / 200;
    CHECK(accepting.attempts > 0);
    if (accepting.attempts > 110 * (int)turns) FAIL("%d attempts in 300 ms", accepting.attempts);
    CHECK_INT(served.count, 0);

    accepting.error = 0;
    RUN_UNTIL(loop, served.count == 3);
    check_serves(loop, &served, port_of(server));
    for (int i = 0; i < 3; i++) close(peers[i]);
    accept_watch(-1, 0);
    eddy_loop_free(loop);
}

TEST(clients_that_come_while_descriptors_are_short_do_not_multiply_the_attempts, "")
{
    enum { CLIENTS = 30 };
    eddy_loop *loop = eddy_loop_new();
    struct reports reports = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    SERVED(served);
    eddy_server *server = serve(loop, &served);
    int peers[CLIENTS];
    accept_watch(eddy_server_socket(server, 0), EMFILE);
    uint64_t begun = plain_now();
    for (int i = 0; i < CLIENTS; i++) {
        peers[i] = plain_connect(port_of(server));
        end_pump(loop, 2);
    }
    end_pump(loop, 450);
    int due = 2 + (int)((plain_now() - begun) / 200); /* it is tried again 5 times a second */
    CHECK(accepting.attempts > 0);
    if (accepting.attempts > due) FAIL("%d attempts where %d were due", accepting.attempts, due);
    CHECK_INT(reports.count, 1);

    accepting.error = 0;
    accepting.attempts = 0;
    RUN_UNTIL(loop, served.count == CLIENTS);
    CHECK(accepting.attempts <= CLIENTS + 2);
    check_serves(loop, &served, port_of(server));
    CHECK_INT(reports.count, 1);
    for (int i = 0; i < CLIENTS; i++) close(peers[i]);
    accept_watch(-1, 0);
    eddy_loop_free(loop);
}

/* ---- fairness ------------------------------------------------------------------------------------------ */

enum { FLOODERS = 16, PINGS = 4 };

struct flood {
    uint16_t port;
    atomic_bool over;
};

static void flooding(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)bytes;
    if (error != NULL || len == 0) return;
    for (volatile int work = 0; work < 1500; work++) continue;
    CHECK(eddy_reader_readline(reader, flooding, arg) > 0);
}

static void answering(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    if (error != NULL || len == 0) return;
    CHECK(eddy_writer_write(arg, bytes, len) >= 0);
    CHECK(eddy_reader_readline(reader, answering, arg) > 0);
}

static void what_it_is(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    if (error != NULL || len == 0) return;
    if (bytes[0] == 'p')
        answering(reader, bytes, len, NULL, arg);
    else
        flooding(reader, bytes, len, NULL, arg);
}

static void flood_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    CHECK(eddy_reader_readline(reader, what_it_is, writer) > 0);
}

static char lines[1 << 18];

static void *send_lines(void *arg)
{
    struct flood *flood = arg;
    int fd = plain_connect(flood->port);
    plain_send_text(fd, "f\n");
    while (!atomic_load(&flood->over) && send(fd, lines, sizeof lines, MSG_NOSIGNAL) >= 0) continue;
    close(fd);
    return NULL;
}

static void *ping(void *arg)
{
    struct flood *flood = arg;
    pthread_t flooders[FLOODERS];
    memset(lines, '\n', sizeof lines);
    int fd = plain_connect(flood->port);
    char answer[2];
    struct timeval patience = { .tv_sec = 20 * eddy_test_slow() };
    plain_ok(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), "SO_RCVTIMEO");
    plain_send_text(fd, "p\n");
    CHECK_INT(plain_recv(fd, answer, 2), 2);
    for (int i = 0; i < FLOODERS; i++) flooders[i] = plain_start(send_lines, flood);
    usleep(200000);
    for (int i = 0; i < PINGS; i++) {
        uint64_t sent = plain_now();
        plain_send_text(fd, "x\n");
        CHECK_INT(plain_recv(fd, answer, 2), 2);
        uint64_t took = plain_now() - sent;
        if (took > 1000 * (uint64_t)eddy_test_slow())
            FAIL("an answer took %llu ms", (unsigned long long)took);
    }
    close(fd);
    atomic_store(&flood->over, true);
    for (int i = 0; i < FLOODERS; i++) plain_join(flooders[i]);
    return NULL;
}

TEST(clients_that_flood_with_lines_do_not_starve_another, "p09")
{
    if (plain_on_valgrind()) return; /* which lets one thread run at a time, and not in turn */
    eddy_loop *loop = eddy_loop_new();
    GOT(started);
    struct flood flood = { .over = false };
    START(&started, eddy_start_server(loop, flood_client, "127.0.0.1", 0, NULL, got_server, &started));
    RUN_UNTIL(loop, started.count > 0);
    flood.port = port_of(started.server);
    pthread_t thread = plain_start(ping, &flood);
    while (!atomic_load(&flood.over)) CHECK(eddy_loop_run_once(loop, 10) >= 0);
    eddy_loop_free(loop); /* which ends what the flooders are in the middle of */
    plain_join(thread);
}

/* What starts itself again in its own callback, until it is over. */
struct again {
    eddy_writer *writer;
    eddy_server *server;
    bool over, drain;
    long count;
    uint64_t deadline;
};

static void go_on(struct again *again);

static void writer_again(eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)writer, (void)error;
    go_on(arg);
}

static void server_again(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)server, (void)error;
    go_on(arg);
}

static void go_on(struct again *again)
{
    again->count++;
    if (again->over) return;
    if (plain_now() > again->deadline) FAIL("the timer never ran, in %ld callbacks", again->count);
    eddy_op op = again->server != NULL ? eddy_server_wait_closed(again->server, server_again, again)
                 : again->drain        ? eddy_writer_drain(again->writer, writer_again, again)
                                       : eddy_writer_wait_closed(again->writer, writer_again, again);
    CHECK(op > 0);
}

static void again_over(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop, (void)error;
    ((struct again *)arg)->over = true;
}

static void check_timers_run(eddy_loop *loop, struct again *again)
{
    again->deadline = plain_now() + 2000 * (uint64_t)eddy_test_slow();
    go_on(again);
    CHECK(eddy_loop_call_later(loop, 20, again_over, again) > 0);
    RUN_UNTIL(loop, again->over);
    CHECK(again->count > 1);
    long count = again->count;
    settle(loop);
    CHECK(again->count <= count + 1);
}

TEST(a_drain_that_starts_itself_again_does_not_keep_timers_from_running, "")
{
    struct end end = end_unix(NULL);
    struct again again = { .writer = end.writer, .drain = true };
    check_timers_run(end.loop, &again);
    end_free(&end);
}

TEST(a_wait_closed_of_a_writer_that_starts_itself_again_does_not_keep_timers_from_running, "")
{
    struct end end = end_unix(NULL);
    struct again again = { .writer = end.writer };
    CHECK_INT(eddy_writer_close(end.writer), 0);
    end_close_peer(&end);
    settle(end.loop);
    check_timers_run(end.loop, &again);
    end_free(&end);
}

TEST(a_wait_closed_of_a_server_that_starts_itself_again_does_not_keep_timers_from_running, "")
{
    eddy_loop *loop = eddy_loop_new();
    SERVED(served);
    struct again again = { .server = serve(loop, &served) };
    CHECK_INT(eddy_server_close(again.server), 0);
    settle(loop);
    check_timers_run(loop, &again);
    eddy_loop_free(loop);
}

struct misuser {
    eddy_reader *reader; /* freed */
    long count;
    uint64_t deadline;
};

static void misuse_again(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    struct misuser *misuser = arg;
    (void)loop, (void)message, (void)error;
    misuser->count++;
    if (plain_now() > misuser->deadline) FAIL("the handler was called %ld times", misuser->count);
    CHECK(eddy_reader_read(misuser->reader, 1, got_read, NULL) < 0);
    CHECK(eddy_writer_write((eddy_writer *)misuser->reader, "x", 1) < 0);
}

TEST(an_exception_handler_that_misuses_a_handle_does_not_keep_timers_from_running, "")
{
    eddy_loop *loop = eddy_loop_new();
    struct misuser misuser = { .reader = eddy_reader_new(loop, 10),
                               .deadline = plain_now() + 3000 * (uint64_t)eddy_test_slow() };
    eddy_reader_free(misuser.reader);
    CHECK_INT(eddy_loop_set_exception_handler(loop, misuse_again, &misuser), 0);
    CHECK_INT(eddy_reader_feed_eof(misuser.reader), EDDY_ESTALE);
    GOT(timer);
    START(&timer, eddy_loop_call_later(loop, 20, got_loop, &timer));
    RUN_UNTIL(loop, timer.count > 0);
    CHECK_INT(timer.code, 0);
    CHECK(misuser.count > 1);
    eddy_loop_free(loop);
}

/* ---- threads and forks --------------------------------------------------------------------------------- */

static struct {
    _Atomic(eddy_loop *) current;
    atomic_bool over;
    atomic_long posted, right, wrong, waiting;
} hands;

enum { POSTERS = 6 };

static void whose_is_it(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)error;
    atomic_fetch_add((void *)loop == arg ? &hands.right : &hands.wrong, 1);
}

static void *post_to_the_current(void *arg)
{
    (void)arg;
    while (!atomic_load(&hands.over)) {
        eddy_loop *loop = atomic_load(&hands.current);
        if (loop != NULL && eddy_loop_call_soon_threadsafe(loop, whose_is_it, loop) == 0)
            atomic_fetch_add(&hands.posted, 1);
    }
    return NULL;
}

TEST(a_call_for_a_freed_loop_never_runs_on_the_one_that_took_its_place, "")
{
    if (plain_on_valgrind()) return; /* which lets one thread run at a time, and not in turn */
    pthread_t threads[POSTERS];
    memset(&hands, 0, sizeof hands);
    for (int i = 0; i < POSTERS; i++) threads[i] = plain_start(post_to_the_current, NULL);
    uint64_t deadline = plain_now() + 2000; /* the fault took some 0.2 s to show */
    long loops = 0;
    while (plain_now() < deadline && atomic_load(&hands.wrong) == 0) {
        eddy_loop *loop = eddy_loop_new();
        CHECK(loop != NULL);
        atomic_store(&hands.current, loop);
        CHECK(eddy_loop_run_once(loop, 0) >= 0);
        eddy_loop_free(loop);
        loops++;
    }
    atomic_store(&hands.over, true);
    for (int i = 0; i < POSTERS; i++) plain_join(threads[i]);
    if (atomic_load(&hands.wrong) > 0)
        FAIL("of %ld calls %ld ran on another loop (%ld loops)", atomic_load(&hands.posted),
             atomic_load(&hands.wrong), loops);
    CHECK_INT(atomic_load(&hands.right), atomic_load(&hands.posted));
}

static void one_less(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop, (void)error, (void)arg;
    atomic_fetch_sub(&hands.waiting, 1);
}

static void *post_without_end(void *arg)
{
    while (!atomic_load(&hands.over)) {
        if (atomic_load(&hands.waiting) >= 1000) continue;
        atomic_fetch_add(&hands.waiting, 1);
        CHECK_INT(eddy_loop_call_soon_threadsafe(arg, one_less, NULL), 0);
    }
    return NULL;
}

TEST(a_child_frees_a_loop_that_other_threads_were_calling_when_it_was_forked, "t16")
{
#ifdef __SANITIZE_ADDRESS__
    return; /* the sanitizer's own allocator stays locked in a child: GCC 12 */
#endif
    eddy_loop *loop = eddy_loop_new();
    pthread_t threads[2];
    memset(&hands, 0, sizeof hands);
    for (int i = 0; i < 2; i++) threads[i] = plain_start(post_without_end, loop);
    uint64_t deadline = plain_now() + 1500 * (uint64_t)eddy_test_slow();
    for (int forks = 0; forks < 1500 && plain_now() < deadline; forks++) {
        CHECK(eddy_loop_run_once(loop, 0) >= 0);
        pid_t child = fork();
        if (child == 0) {
            alarm((unsigned)(5 * eddy_test_slow()));
            eddy_loop_free(loop);
            child_has_a_loop();
            child_passes();
        }
        child_must_pass(child);
    }
    atomic_store(&hands.over, true);
    for (int i = 0; i < 2; i++) plain_join(threads[i]);
    RUN_UNTIL(loop, atomic_load(&hands.waiting) == 0);
    eddy_loop_free(loop);
}

static void stop_it(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    CHECK_INT(eddy_loop_stop(loop), 0);
}

static void say_running(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)error, (void)arg;
    atomic_store(&hands.current, loop);
}

static void *run_without_end(void *arg)
{
    (void)arg;
    eddy_loop *loop = eddy_loop_new();
    CHECK(eddy_loop_call_soon(loop, say_running, NULL) > 0);
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    eddy_loop_free(loop);
    return NULL;
}

TEST(a_child_frees_a_loop_that_another_thread_was_running_when_it_was_forked, "")
{
    memset(&hands, 0, sizeof hands);
    pthread_t thread = plain_start(run_without_end, NULL);
    while (atomic_load(&hands.current) == NULL) usleep(1000);
    usleep(20000);
    eddy_loop *other = atomic_load(&hands.current);
    pid_t child = fork();
    if (child == 0) {
        alarm((unsigned)(5 * eddy_test_slow()));
        eddy_loop_free(other);
        for (int i = 0; i < 3; i++) child_has_a_loop();
        eddy_loop_free(other);
        child_passes();
    }
    child_must_pass(child);
    CHECK_INT(eddy_loop_call_soon_threadsafe(other, stop_it, NULL), 0);
    plain_join(thread);
}

static void fork_and_free(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                          void *arg)
{
    (void)reader;
    CHECK(error == NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm((unsigned)(5 * eddy_test_slow()));
        eddy_loop_free(arg);
        /* Whatever was given back is somebody else's soon. */
        char *taken[500];
        for (size_t size = 16, i = 0; i < 500; i++, size = size * 3 / 2 % 100000 + 16) {
            taken[i] = malloc(size);
            CHECK(taken[i] != NULL);
            memset(taken[i], 'z', size);
            __asm__ volatile("" : : "r"(taken[i]) : "memory");
        }
        child_has_a_loop();
        plain_check_pattern(bytes, len, 0);
        CHECK(bytes[len] == '\0');
        for (size_t i = 0; i < 500; i++) free(taken[i]);
        _exit(0);
    }
    child_must_pass(child);
    plain_check_pattern(bytes, len, 0);
    eddy_loop_stop(arg);
}

TEST(what_a_callback_was_lent_outlives_the_loop_in_a_child, "")
{
    /* It lies in one place when it has just come, and in another when it had been kept. */
    for (int kept = 0; kept < 2; kept++) {
        struct end end = end_unix(NULL);
        char *bytes = plain_fill(5000);
        if (!kept) CHECK(eddy_reader_readexactly(end.reader, 5000, fork_and_free, end.loop) > 0);
        plain_send(end.peer, bytes, 5000);
        if (kept) {
            PUMP_UNTIL(end.loop, eddy_reader_buffered(end.reader, NULL) == 5000);
            CHECK(eddy_reader_readexactly(end.reader, 5000, fork_and_free, end.loop) > 0);
        }
        CHECK_INT(eddy_loop_run(end.loop), 0);
        free(bytes);
        end_free(&end);
    }
}

/* ---- readers ------------------------------------------------------------------------------------------- */

TEST(a_failure_is_told_to_a_read_that_what_is_buffered_cannot_serve, "")
{
    struct end end = end_unix(EDDY_OPTIONS(.limit = 16));
    GOT(read);
    char bytes[100];
    memset(bytes, 'a', sizeof bytes);
    plain_send(end.peer, bytes, sizeof bytes);
    PUMP_UNTIL(end.loop, eddy_reader_buffered(end.reader, NULL) > 32); /* above that it is paused */
    end_pump(end.loop, 20);
    CHECK_INT(eddy_reader_set_exception(end.reader, 7, "mine"), 0);
    START(&read, eddy_reader_readexactly(end.reader, 200, got_read, &read));
    RUN_UNTIL(end.loop, read.count > 0);
    CHECK_INT(read.code, 7);
    CHECK_STR(read.message, "mine");
    end_free(&end);
}

static void free_reader(struct got *got, void *data)
{
    (void)data;
    eddy_reader_free(got->reader);
}

TEST(without_its_reader_a_connection_discards_what_comes_also_after_an_over_long_line, "")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = 64));
    GOT(line);
    GOT(closed);
    static char bytes[65536];
    memset(bytes, 'a', sizeof bytes);
    line.then = free_reader;
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    plain_send(end.peer, bytes, 1000);
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_INT(line.code, EDDY_ELIMIT);
    end_pump(end.loop, 20);

    size_t sent = 0;
    uint64_t deadline = plain_now() + 5000 * (uint64_t)eddy_test_slow();
    while (sent < 20000000) { /* more than there is room for on the way */
        ssize_t n = send(end.peer, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) sent += (size_t)n;
        if (plain_now() > deadline) FAIL("nobody takes what the peer sends, after %zu bytes", sent);
        CHECK(eddy_loop_run_once(end.loop, n > 0 ? 0 : 1) >= 0);
    }
    CHECK_INT(closed.count, 0);
    end_reset_peer(&end);
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK_INT(closed.system, ECONNRESET);
    end_free(&end);
}

TEST(a_write_that_fails_while_reading_is_paused_ends_the_connection, "")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = 64));
    GOT(closed);
    GOT(drained);
    GOT(read);
    char *bytes = plain_fill(100000);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    plain_send(end.peer, bytes, 100000);
    PUMP_UNTIL(end.loop, eddy_reader_buffered(end.reader, NULL) > 128);
    end_pump(end.loop, 20);
    CHECK_INT(closed.count, 0);
    end_reset_peer(&end);
    end_pump(end.loop, 20);
    uint64_t deadline = plain_now() + 2000 * (uint64_t)eddy_test_slow();
    while (closed.count == 0) {
        if (plain_now() > deadline) FAIL("nobody told of the loss");
        CHECK(eddy_writer_is_closing(end.writer) || eddy_writer_write(end.writer, "x", 1) >= 0);
        end_pump(end.loop, 10);
    }
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK(closed.system == ECONNRESET || closed.system == EPIPE);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    RUN_UNTIL(end.loop, drained.count > 0);
    CHECK_INT(drained.code, EDDY_ELOST);

    size_t got = 0;
    for (;;) {
        int before = read.count;
        START(&read, eddy_reader_read(end.reader, 1000, got_read, &read));
        RUN_UNTIL(end.loop, read.count > before);
        if (read.code != 0) break;
        CHECK(read.len > 0);
        plain_check_pattern(read.bytes, read.len, got);
        got += read.len;
    }
    CHECK(got > 128);
    CHECK_INT(read.code, EDDY_ELOST);
    free(bytes);
    end_free(&end);
}

TEST(two_who_pause_one_transport_do_not_undo_each_other, "")
{
    struct end end = end_unix(NULL);
    eddy_transport *transport = eddy_writer_transport(end.writer);
    eddy_reader *other = eddy_reader_new(end.loop, 10);
    GOT(read);
    const char *buffered;
    CHECK_INT(eddy_reader_set_transport(other, transport), 0);
    CHECK(eddy_transport_is_reading(transport));

    for (int first = 0; first < 2; first++) {
        /* Whoever pauses first, and whoever goes on first: it reads when both want it to. */
        if (first == 0) CHECK_INT(eddy_transport_pause_reading(transport), 0);
        CHECK_INT(eddy_reader_feed_data(other, "0123456789012345678901234567890", 31), 0);
        settle(end.loop);
        if (first == 1) CHECK_INT(eddy_transport_pause_reading(transport), 0);
        CHECK(!eddy_transport_is_reading(transport));
        plain_send_text(end.peer, "here");
        end_pump(end.loop, 20);
        CHECK_INT(eddy_reader_buffered(end.reader, &buffered), 0);
        for (int then = 0; then < 2; then++) {
            if ((then == 0) == (first == 0)) {
                int before = read.count;
                START(&read, eddy_reader_readexactly(other, 31, got_read, &read));
                RUN_UNTIL(end.loop, read.count > before);
                CHECK_INT(read.code, 0);
            } else {
                CHECK_INT(eddy_transport_resume_reading(transport), 0);
            }
            if (then == 0) {
                settle(end.loop);
                CHECK(!eddy_transport_is_reading(transport));
                end_pump(end.loop, 20);
                CHECK_INT(eddy_reader_buffered(end.reader, &buffered), 0);
            }
        }
        settle(end.loop);
        CHECK(eddy_transport_is_reading(transport));
        const int before = read.count;
        START(&read, eddy_reader_readexactly(end.reader, 4, got_read, &read));
        RUN_UNTIL(end.loop, read.count > before);
        CHECK_BYTES(read.bytes, read.len, "here");
    }

    /* The stream's own reader still reads and drains as ever, also without the other one. */
    eddy_reader_free(other);
    plain_send_text(end.peer, "more");
    PUMP_UNTIL(end.loop, eddy_reader_buffered(end.reader, &buffered) == 4);
    end_free(&end);
}

/* ---- writers and transports ---------------------------------------------------------------------------- */

struct close_then_drain {
    eddy_writer *writer;
    struct got *drained;
};

static void close_and_drain(struct got *got, void *data)
{
    (void)got;
    struct close_then_drain *both = data;
    CHECK_INT(eddy_writer_close(both->writer), 0);
    START(both->drained, eddy_writer_drain(both->writer, got_writer, both->drained));
}

TEST(a_drain_after_close_is_told_that_this_side_closed, "")
{
    for (int way = 0; way < 8; way++) {
        struct end end = way & 1 ? end_tcp(NULL) : end_unix(NULL);
        GOT(read);
        GOT(drained);
        struct close_then_drain both = { .writer = end.writer, .drained = &drained };
        if (way & 2) {
            read.then = close_and_drain;
            read.data = &both;
            START(&read, eddy_reader_readexactly(end.reader, 1, got_read, &read));
            plain_send_text(end.peer, "x");
            if (way & 4) plain_ok(shutdown(end.peer, SHUT_WR), "shutdown");
        } else {
            if (way & 4) {
                plain_ok(shutdown(end.peer, SHUT_WR), "shutdown");
                end_pump(end.loop, 10);
            }
            close_and_drain(NULL, &both);
        }
        RUN_UNTIL(end.loop, drained.count > 0);
        CHECK_INT(drained.code, EDDY_ELOST);
        CHECK_INT(drained.system, 0);
        end_free(&end);
    }
}

static struct {
    int closes, releases;
} told;

static void wire_write(eddy_transport *transport, const char *bytes, size_t len, void *arg)
{
    (void)transport, (void)bytes, (void)len, (void)arg;
}

static void wire_close(eddy_transport *transport, void *arg)
{
    (void)transport, (void)arg;
    told.closes++;
}

static void wire_release(void *arg)
{
    (void)arg;
    told.releases++;
}

static eddy_transport *new_wire(eddy_loop *loop)
{
    const eddy_transport_ops ops = { .size = sizeof ops, .write = wire_write, .close = wire_close,
                                     .abort = wire_close, .release = wire_release };
    memset(&told, 0, sizeof told);
    eddy_transport *transport = eddy_transport_new(loop, &ops, NULL);
    CHECK(transport != NULL);
    return transport;
}

TEST(a_protocol_that_is_freed_ends_a_connection_that_was_never_made, "")
{
    eddy_loop *loop = eddy_loop_new();
    eddy_transport *transport = new_wire(loop);
    eddy_reader *reader = eddy_reader_new(loop, 100);
    eddy_protocol *protocol = eddy_protocol_new(loop, reader, NULL, NULL);
    eddy_writer *writer = eddy_writer_new(transport, protocol, reader);
    GOT(closed);
    CHECK(writer != NULL);
    CHECK_INT(eddy_writer_close(writer), 0);
    START(&closed, eddy_writer_wait_closed(writer, got_writer, &closed));
    settle(loop);
    CHECK_INT(told.closes, 1);
    CHECK_INT(closed.count, 0);
    eddy_protocol_free(protocol);
    runs_out(loop);
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.code, 0);
    CHECK_INT(told.releases, 1);
    eddy_loop_free(loop);
    CHECK_INT(told.releases, 1);
}

TEST(a_stream_that_is_lost_before_it_is_made_gets_no_transport, "")
{
    for (int way = 0; way < 2; way++) {
        eddy_loop *loop = eddy_loop_new();
        struct reports reports = { 0 };
        CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
        eddy_transport *transport = new_wire(loop);
        eddy_reader *reader = eddy_reader_new(loop, 100);
        eddy_protocol *protocol = eddy_protocol_new(loop, reader, NULL, NULL);
        CHECK_INT(eddy_protocol_connection_lost(protocol, 0, NULL), 0);
        CHECK_INT(eddy_transport_close(transport), 0);
        if (way == 0)
            CHECK_INT(eddy_reader_set_transport(reader, transport), EDDY_ESTATE);
        else
            CHECK(eddy_writer_new(transport, protocol, reader) == NULL);
        runs_out(loop);
        CHECK_INT(told.closes, 1);
        CHECK(way == 0 || reports.count == 1);
        eddy_loop_free(loop);
        CHECK_INT(told.releases, 1);
    }
}

/* ---- what is refused ----------------------------------------------------------------------------------- */

TEST(brackets_are_taken_off_a_host_once, "")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    SERVED(served);
    const size_t depth = 200000;
    char *deep = malloc(2 * depth + 2);
    CHECK(deep != NULL);
    memset(deep, '[', depth);
    deep[depth] = ':';
    memset(deep + depth + 1, ']', depth);
    deep[2 * depth + 1] = '\0';
    const char *hosts[] = { "[[::1]]", "[[[::1]]]", "[]", "[[]]", "[localhost]", "[[::1]", "[::1]]", deep };
    uint64_t begun = plain_now();
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        CHECK_INT(eddy_open_connection(loop, hosts[i], 80, NULL, got_stream, &opened), EDDY_EINVAL);
        CHECK_INT(eddy_start_server(loop, client_came, hosts[i], 0, NULL, server_started, &served),
                  EDDY_EINVAL);
        const eddy_options *local = EDDY_OPTIONS(.local_host = hosts[i]);
        CHECK_INT(eddy_open_connection(loop, "127.0.0.1", 80, local, got_stream, &opened), EDDY_EINVAL);
    }
    CHECK(plain_now() - begun < 500 * (uint64_t)eddy_test_slow());
    free(deep);
    settle(loop);
    CHECK_INT(opened.count + served.started.count, 0);
    eddy_loop_free(loop);
}

TEST(a_descriptor_that_is_refused_is_as_it_was, "")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    SERVED(served);
    int stream[2], datagram[2], pipes[2], tcp[2], packets[2];
    plain_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), "socketpair");
    plain_ok(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram), "socketpair");
    plain_ok(pipe(pipes), "pipe");
    plain_tcp_pair(tcp);
    plain_ok(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets), "socketpair");
    int listener = plain_ok(socket(AF_INET, SOCK_STREAM, 0), "socket"); /* without close-on-exec */
    plain_ok(listen(listener, 5), "listen");
    int unconnected = plain_ok(socket(AF_INET, SOCK_STREAM, 0), "socket");
    int file = plain_ok(open("/dev/null", O_RDONLY), "open");
    const struct {
        int fd;
        bool connected, listening;
    } each[] = { { unconnected, false, false }, { listener, false, true },    { datagram[0], false, false },
                 { packets[0], false, false },     { pipes[0], false, false },   { file, false, false },
                 { stream[0], true, false },    { tcp[0], true, false } };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        int fd = each[i].fd, status = fcntl(fd, F_GETFL), flags = fcntl(fd, F_GETFD);
        int no_delay = -1, still = -1;
        socklen_t len = sizeof no_delay;
        getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &len);
        if (!each[i].connected) {
            CHECK(eddy_open_socket(loop, fd, EDDY_OPTIONS(.keep_alive = 1), got_stream, &opened) < 0);
        }
        if (!each[i].listening) {
            const eddy_options *lively = EDDY_OPTIONS(.keep_alive = 1);
            CHECK(eddy_start_socket_server(loop, client_came, fd, lively, server_started, &served) < 0);
        }
        CHECK(eddy_open_socket(loop, fd, NULL, NULL, NULL) < 0);
        CHECK(eddy_open_socket(loop, fd, EDDY_OPTIONS(.family = 12345), got_stream, &opened) < 0);
        CHECK(eddy_start_socket_server(loop, NULL, fd, NULL, server_started, &served) < 0);
        CHECK(eddy_start_socket_server(loop, client_came, fd, NULL, NULL, NULL) < 0);
        if (fcntl(fd, F_GETFL) != status || fcntl(fd, F_GETFD) != flags)
            FAIL("descriptor %zu: %x/%x was, %x/%x is", i, (unsigned)status, (unsigned)flags,
                 (unsigned)fcntl(fd, F_GETFL), (unsigned)fcntl(fd, F_GETFD));
        len = sizeof still;
        getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &still, &len);
        CHECK_INT(still, no_delay);
        int keeps = 0;
        len = sizeof keeps;
        if (getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keeps, &len) == 0) CHECK_INT(keeps, 0);
    }
    settle(loop);
    CHECK_INT(opened.count + served.started.count, 0);
    eddy_loop_free(loop);
    const int all[] = { stream[0], stream[1], datagram[0], datagram[1], pipes[0], pipes[1], tcp[0],
                        tcp[1],    packets[0],   packets[1],     listener,    unconnected, file };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) CHECK_INT(close(all[i]), 0);
}

TEST(an_end_of_its_own_is_refused_where_there_is_none, "")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    SERVED(served);
    const eddy_options *options[] = { EDDY_OPTIONS(.local_host = "127.0.0.1"), EDDY_OPTIONS(.local_port = 1),
                                      EDDY_OPTIONS(.local_host = "::1", .local_port = 1) };
    for (size_t i = 0; i < 3; i++) {
        const eddy_options *local = options[i];
        CHECK_INT(eddy_open_unix_connection(loop, "@eddy-nobody", local, got_stream, &opened), EDDY_EINVAL);
        CHECK_INT(eddy_start_server(loop, client_came, "127.0.0.1", 0, local, server_started, &served),
                  EDDY_EINVAL);
        CHECK_INT(eddy_start_unix_server(loop, client_came, "@eddy-nobody", local, server_started, &served),
                  EDDY_EINVAL);
    }
    settle(loop);
    CHECK_INT(opened.count + served.started.count, 0);
    eddy_loop_free(loop);
}
