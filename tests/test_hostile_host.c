/* What the machine and the host program may do to eddy: too little of everything, standard descriptors that are gone,
 * forks, jumps. Lines of hostile.txt that the tests of the nouns do not show. */
#include "certificates.h"
#include "ends.h"

#include <limits.h>
#include <locale.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>

/* In a child, so that it may do what it likes with the process: 0 is well, and nothing else is. */
static int in_child(int (*run)(void))
{
    fflush(stdout);
    pid_t child = fork(), reaped;
    CHECK(child >= 0);
    if (child == 0) {
        alarm((unsigned)(20 * eddy_test_slow()));
        _exit(run());
    }
    int status;
    do reaped = waitpid(child, &status, 0); while (reaped < 0 && errno == EINTR);
    CHECK_INT(reaped, child);
    return status;
}

/* ---- descriptors ----------------------------------------------------------------------------------------- */

TEST(without_descriptors_an_opening_is_told_so, "r03")
{
    if (plain_on_valgrind()) return; /* which keeps a limit of its own */
    struct rlimit limit, none;
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    GOT(tcp);
    GOT(unix_);
    GOT(served);
    settle(loop);
    int before = plain_descriptors();
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = (rlim_t)plain_ok(dup(2), "dup"); /* the first that is free */
    close((int)none.rlim_cur);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
    START(&tcp, eddy_open_connection(loop, "127.0.0.1", plain_port(listener), NULL, got_stream, &tcp));
    START(&unix_, eddy_open_unix_connection(loop, "@eddy-test-nobody", NULL, got_stream, &unix_));
    START(&served, eddy_start_server(loop, got_stream, "127.0.0.1", 0, NULL, got_server, &served));
    RUN_UNTIL(loop, tcp.count > 0 && unix_.count > 0 && served.count > 0);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct got *all[] = { &tcp, &unix_, &served };
    for (int i = 0; i < 3; i++) {
        CHECK_ENDED(*all[i], 1, EDDY_ESYSTEM);
        CHECK_INT(all[i]->system, EMFILE);
    }
    CHECK_INT(plain_descriptors(), before);
    START(&tcp, eddy_open_connection(loop, "127.0.0.1", plain_port(listener), NULL, got_stream, &tcp));
    RUN_UNTIL(loop, tcp.count == 2);
    CHECK_INT(tcp.code, 0); /* and as soon as there are some, it works */
    close(listener);
    eddy_loop_free(loop);
}

TEST(descriptors_beyond_1024_are_as_good_as_others, "r10")
{
    enum { MOST = 1200 };
    static int spare[MOST];
    struct rlimit limit, more;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    more = limit;
    if (more.rlim_cur < MOST + 100) more.rlim_cur = MOST + 100;
    if (setrlimit(RLIMIT_NOFILE, &more) != 0) {
        printf("skipped: no more than %ld descriptors\n", (long)limit.rlim_max);
        return;
    }
    for (int i = 0; i < MOST; i++) spare[i] = plain_ok(fcntl(2, F_DUPFD_CLOEXEC, 3), "dup");
    struct end end = end_tcp(NULL);
    GOT(line);
    CHECK(end.fd > 1024 && eddy_loop_fd(end.loop) > 1024);
    CHECK(eddy_writer_write(end.writer, "there\n", 6) >= 0);
    plain_send_text(end.peer, "back\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_GOT(line, 1, "back\n");
    char bytes[8];
    CHECK_INT(plain_recv(end.peer, bytes, 6), 6);
    end_free(&end);
    for (int i = 0; i < MOST; i++) close(spare[i]);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* One of everything that has a descriptor. The exit status says what went wrong: there is no more to say it with. */
static int use_everything(void)
{
    struct stat was[3], is;
    bool was_open[3];
    for (int fd = 0; fd < 3; fd++) was_open[fd] = fstat(fd, &was[fd]) == 0;
    eddy_loop *loop = eddy_loop_new();
    if (loop == NULL || eddy_loop_fd(loop) < 3) return 10;
    GOT(server);
    GOT(opened);
    GOT(named);
    eddy_start_server(loop, got_stream, "127.0.0.1", 0, NULL, got_server, &server);
    RUN_UNTIL(loop, server.count > 0);
    if (server.code != 0 || eddy_server_socket(server.server, 0) < 3) return 11;
    uint16_t port = plain_port((int)eddy_server_socket(server.server, 0));
    eddy_open_connection(loop, "127.0.0.1", port, NULL, got_stream, &opened);
    eddy_open_connection(loop, "localhost", port, NULL, got_stream, &named);
    RUN_UNTIL(loop, opened.count > 0 && named.count > 0 && server.count >= 2);
    if (opened.code != 0 || end_descriptor(opened.writer) < 3) return 12;
    eddy_reader_read(NULL, 1, got_read, NULL); /* for the default exception handler to print */
    eddy_loop_call_exception_handler(loop, "anything", EDDY_ELOST);
    for (int i = 0; i < 10; i++)
        if (eddy_loop_run_once(loop, 1) < 0) return 13;
    for (int fd = 0; fd < 3; fd++) {
        if ((fstat(fd, &is) == 0) != was_open[fd]) return 14;
        if (was_open[fd] && (is.st_dev != was[fd].st_dev || is.st_ino != was[fd].st_ino)) return 15;
    }
    eddy_loop_free(loop);
    return 0;
}

static int without_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++) close(fd);
    return use_everything();
}

static int with_full_ones(void)
{
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++) dup2(full, fd);
    close(full);
    return use_everything();
}

static int with_a_broken_pipe(void)
{
    int ends[2];
    if (pipe(ends) != 0) return 1;
    signal(SIGPIPE, SIG_IGN); /* what prints is stdio's affair: the default handler prints */
    dup2(ends[1], 1), dup2(ends[1], 2);
    close(ends[0]), close(ends[1]);
    eddy_loop *loop = eddy_loop_new();
    eddy_loop_call_exception_handler(loop, "anything", EDDY_ELOST);
    int code = eddy_loop_run_once(loop, 1);
    eddy_loop_free(loop);
    return code < 0 ? 16 : 0;
}

TEST(standard_descriptors_that_are_gone_are_left_alone, "a22 r12")
{
    CHECK_INT(in_child(without_standard_descriptors), 0);
    CHECK_INT(in_child(with_full_ones), 0);
    CHECK_INT(in_child(with_a_broken_pipe), 0);
}

/* ---- memory, stack, time --------------------------------------------------------------------------------- */

TEST(ten_thousand_idle_connections_hold_little_memory, "r13")
{
    struct rlimit limit, more;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    more = limit;
    more.rlim_cur = more.rlim_max < 20100 ? more.rlim_max : 20100;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &more), 0);
    rlim_t most = (more.rlim_cur - 100) / 2;
    size_t count = eddy_test_slow() > 1 ? 500 : 10000;
    if (count > most) count = most;
    eddy_loop *loop = eddy_loop_new();
    int *peers = malloc(count * sizeof *peers);
    struct got *lines = calloc(count, sizeof *lines);
    CHECK(peers != NULL && lines != NULL);
    GOT(opened);
    size_t before = plain_heap();
    for (size_t i = 0; i < count; i++) {
        int ends[2];
        plain_unix_pair(ends);
        peers[i] = ends[1];
        START(&opened, eddy_open_socket(loop, ends[0], NULL, got_stream, &opened));
        CHECK(eddy_loop_run_once(loop, 0) >= 0);
        CHECK_INT(opened.count, i + 1);
        START(&lines[i], eddy_reader_readline(opened.reader, got_read, &lines[i]));
    }
    settle(loop);
    size_t each = (plain_heap() - before) / count;
    if (each > 4096) FAIL("each of %zu connections holds %zu bytes", count, each);
    for (size_t i = 0; i < count; i++) plain_send_text(peers[i], "awake\n");
    for (size_t i = 0; i < count; i++) RUN_UNTIL(loop, lines[i].count == 1);
    for (size_t i = 0; i < count; i++) {
        CHECK_GOT(lines[i], 1, "awake\n");
        got_release(&lines[i]);
        close(peers[i]);
    }
    eddy_loop_free(loop);
    free(peers), free(lines);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

struct rung {
    uint64_t due;
    int count, code;
};

static void ring(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct rung *rung = arg;
    rung->count++;
    rung->code = eddy_error_code(error);
    if (error == NULL) CHECK(eddy_loop_time(loop) >= rung->due);
}

/* Sets so many, cancels every second, waits for the others: processor time in microseconds for each. */
static double timers(int count)
{
    eddy_loop *loop = eddy_loop_new();
    struct rung *rungs = calloc((size_t)count, sizeof *rungs);
    eddy_op *ops = calloc((size_t)count, sizeof *ops);
    CHECK(rungs != NULL && ops != NULL);
    CHECK_INT(eddy_loop_set_clock(loop, 1), 0); /* so that nobody waits */
    uint32_t random = 1;
    uint64_t begun = plain_cpu();
    for (int i = 0; i < count; i++) {
        random = random * 1664525 + 1013904223;
        rungs[i].due = eddy_loop_time(loop) + random % 10000;
        ops[i] = eddy_loop_call_later(loop, random % 10000, ring, &rungs[i]);
        CHECK(ops[i] >= 0);
    }
    for (int i = 0; i < count; i += 2) CHECK_INT(eddy_loop_cancel(loop, ops[i]), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    uint64_t took = plain_cpu() - begun;
    for (int i = 0; i < count; i++) {
        CHECK_INT(rungs[i].count, 1);
        CHECK_INT(rungs[i].code, i % 2 == 0 ? EDDY_ECANCELED : 0);
    }
    eddy_loop_free(loop);
    free(rungs), free(ops);
    return 1000.0 * (double)took / count;
}

TEST(a_hundred_thousand_timers_cost_little_each, "r14")
{
    double each = timers(eddy_test_slow() > 1 ? 5000 : 100000);
    if (each > 20 * eddy_test_slow()) FAIL("%.1f microseconds each", each); /* a list would take a hundred and more */
}

static void echo_once(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)arg;
    CHECK(error == NULL);
    CHECK(eddy_writer_write(writer, "hello\n", 6) >= 0);
    eddy_writer_free(writer);
}

static void *on_a_small_stack(void *arg)
{
    eddy_loop *loop = eddy_loop_new();
    GOT(server);
    GOT(opened);
    GOT(line);
    GOT(timer);
    START(&server, eddy_start_server(loop, echo_once, "127.0.0.1", 0, NULL, got_server, &server));
    RUN_UNTIL(loop, server.count > 0);
    uint16_t port = plain_port((int)eddy_server_socket(server.server, 0));
    START(&opened, eddy_open_connection(loop, "localhost", port, EDDY_OPTIONS(.family = AF_INET), got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_INT(opened.code, 0);
    START(&line, eddy_reader_readline(opened.reader, got_read, &line));
    START(&timer, eddy_loop_call_later(loop, 1, got_loop, &timer));
    RUN_UNTIL(loop, line.count > 0 && timer.count > 0);
    CHECK_GOT(line, 1, "hello\n");
    eddy_loop_free(loop);
    return arg;
}

TEST(a_stack_of_64_kib_is_enough, "r08")
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
#if defined(__SANITIZE_ADDRESS__)
    CHECK_INT(pthread_attr_setstacksize(&attributes, 512 * 1024), 0); /* the sanitizer wants its own */
#else
    CHECK_INT(pthread_attr_setstacksize(&attributes, 64 * 1024), 0);
#endif
    CHECK_INT(pthread_create(&thread, &attributes, on_a_small_stack, NULL), 0);
    pthread_attr_destroy(&attributes);
    plain_join(thread);
}

struct metronome {
    int beats;
    bool stopped;
};

static void tick(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct metronome *metronome = arg;
    if (error != NULL || metronome->stopped) return;
    if (metronome->beats++ == 0) usleep(100000); /* and for so long everything stands still */
    CHECK(eddy_loop_call_later(loop, 10, tick, metronome) >= 0);
}

TEST(a_loop_that_stood_still_does_not_make_up_for_it, "m07")
{
    eddy_loop *loop = eddy_loop_new();
    struct metronome metronome = { .beats = 0 };
    CHECK(eddy_loop_call_later(loop, 1, tick, &metronome) >= 0);
    RUN_UNTIL(loop, metronome.beats == 1);
    uint64_t begun = plain_now();
    end_pump(loop, 35);
    CHECK((uint64_t)metronome.beats - 1 <= (plain_now() - begun) / 10 + 1);
    metronome.stopped = true;
    eddy_loop_free(loop);
}

/* ---- what is the host's own ------------------------------------------------------------------------------ */

static void nothing(void *arg)
{
    ++*(int *)arg;
}

TEST(errno_is_kept_where_a_signal_comes, "a23 t03")
{
    eddy_loop *loop = eddy_loop_new();
    int heard = 0;
    CHECK_INT(eddy_loop_add_signal_handler(loop, SIGUSR1, nothing, &heard), 0);
    for (int i = 1; i <= 3; i++) {
        for (int times = 0; times < 1000; times++) { /* also when it has been told already */
            errno = 1234;
            raise(SIGUSR1);
            CHECK_INT(errno, 1234);
        }
        RUN_UNTIL(loop, heard == i);
    }
    eddy_loop_free(loop);
}

TEST(stack_umask_directory_and_locale_stay_the_hosts, "t04")
{
    stack_t stack_before, stack_after;
    char directory_before[PATH_MAX], directory_after[PATH_MAX], locale_before[256];
    CHECK(getcwd(directory_before, sizeof directory_before) != NULL);
    CHECK_INT(sigaltstack(NULL, &stack_before), 0);
    mode_t mask_before = umask(0027);
    snprintf(locale_before, sizeof locale_before, "%s", setlocale(LC_ALL, NULL));
    struct end end = end_tcp(NULL);
    GOT(named);
    GOT(served);
    START(&named, eddy_open_connection(end.loop, "localhost", plain_closed_port(), NULL, got_stream, &named));
    START(&served, eddy_start_unix_server(end.loop, got_stream, "@eddy-test-host", NULL, got_server, &served));
    RUN_UNTIL(end.loop, named.count > 0 && served.count > 0);
    eddy_tls_free(eddy_tls_client_new());
    CHECK_INT(sigaltstack(NULL, &stack_after), 0);
    end_free(&end);
    CHECK(stack_before.ss_sp == stack_after.ss_sp && stack_before.ss_flags == stack_after.ss_flags);
    CHECK_INT(umask(mask_before), 0027);
    CHECK(getcwd(directory_after, sizeof directory_after) != NULL);
    CHECK_STR(directory_after, directory_before);
    CHECK_STR(setlocale(LC_ALL, NULL), locale_before);
}

/* A descriptor that is eddy's own is closed by eddy. A host that does it all the same is told at the next use; and what
 * it has opened in that place since is not closed. */
TEST(a_descriptor_that_was_closed_behind_eddys_back_is_told_of, "a24")
{
    for (int replaced = 0; replaced < 2; replaced++) {
        struct end end = end_tcp(NULL), other = end_tcp_on(end.loop, NULL);
        GOT(closed);
        GOT(read);
        GOT(line);
        int file = plain_ok(open("/dev/null", O_RDWR | O_CLOEXEC), "open");
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        START(&read, eddy_reader_read(end.reader, 10, got_read, &read));
        settle(end.loop);
        if (replaced) plain_ok(dup3(file, end.fd, O_CLOEXEC), "dup3");
        else close(end.fd);
        CHECK(eddy_writer_write(end.writer, "to nobody", 9) >= 0);
        CHECK_INT(eddy_writer_flush(end.writer), 0);
        if (!replaced) plain_ok(dup3(file, end.fd, O_CLOEXEC), "dup3");
        RUN_UNTIL(end.loop, closed.count > 0);
        CHECK_INT(closed.code, EDDY_ELOST);
        CHECK_INT(closed.system, replaced ? ENOTSOCK : EBADF);
        CHECK_ENDED(read, 1, EDDY_ELOST);
        START(&line, eddy_reader_readline(other.reader, got_read, &line));
        plain_send_text(other.peer, "as ever\n");
        RUN_UNTIL(end.loop, line.count > 0);
        CHECK_GOT(line, 1, "as ever\n");
        eddy_writer_free(end.writer);
        settle(end.loop);
        CHECK(plain_is_open(end.fd)); /* the host's */
        CHECK_INT(stats_of(end.loop).connections_open, 1); /* the other */
        end_close_peer(&other);
        end_free(&end);
        CHECK(plain_is_open(end.fd));
        close(end.fd);
        close(file);
    }
}

/* ---- forks and jumps ------------------------------------------------------------------------------------- */

enum { RANDOM = 32 };

/* The random number in a client's hello, as the server sees it. */
static void hello_of(eddy_tls *tls, int listener, char random[RANDOM])
{
    char bytes[11 + RANDOM];
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    START(&opened, eddy_open_connection(loop, "127.0.0.1", plain_port(listener),
                                        EDDY_OPTIONS(.tls = tls, .server_hostname = "localhost"), got_stream,
                                        &opened));
    settle(loop);
    int peer = plain_accept(listener);
    struct pollfd ready = { .fd = peer, .events = POLLIN };
    RUN_UNTIL(loop, poll(&ready, 1, 0) == 1);
    CHECK_INT(plain_recv(peer, bytes, sizeof bytes), sizeof bytes);
    CHECK_INT(bytes[0], 22); /* a handshake */
    CHECK_INT(bytes[5], 1);  /* a client's hello */
    memcpy(random, bytes + 11, RANDOM);
    close(peer);
    eddy_loop_free(loop);
}

TEST(after_a_fork_random_numbers_are_not_the_same, "t09")
{
    if (!has_tls()) {
        printf("skipped: this library is built without TLS\n");
        return;
    }
    char numbers[4][RANDOM];
    eddy_tls *tls = eddy_tls_client_new();
    CHECK_INT(eddy_tls_dangerously_skip_verification(tls), 0);
    int listener = plain_listen(), ends[2];
    hello_of(tls, listener, numbers[0]); /* whatever makes them has begun */
    CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
    for (int i = 1; i <= 2; i++) {
        fflush(stdout);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm((unsigned)(20 * eddy_test_slow()));
            hello_of(tls, listener, numbers[i]);
            _exit(write(ends[1], numbers[i], RANDOM) == RANDOM ? 0 : 1);
        }
        int status;
        CHECK_INT(waitpid(child, &status, 0), child);
        CHECK_INT(status, 0);
        CHECK_INT(read(ends[0], numbers[i], RANDOM), RANDOM);
    }
    hello_of(tls, listener, numbers[3]);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++) CHECK(memcmp(numbers[i], numbers[j], RANDOM) != 0);
    close(ends[0]), close(ends[1]), close(listener);
    eddy_tls_free(tls);
}

static jmp_buf outside;

static void jump(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop, (void)error, (void)arg;
    longjmp(outside, 1);
}

/* It may not be done. If it is, the loop is left as one that runs, and says so. */
static int jump_out(void)
{
    eddy_loop *volatile loop = eddy_loop_new();
    eddy_loop *volatile other = eddy_loop_new();
    GOT(call);
    CHECK(eddy_loop_call_soon(loop, jump, NULL) >= 0);
    if (setjmp(outside) == 0) {
        eddy_loop_run(loop);
        return 20; /* it did not jump */
    }
    if (eddy_loop_run(loop) >= 0 || eddy_loop_run_once(loop, 0) >= 0) return 21;
    if (eddy_loop_call_soon(other, got_loop, &call) < 0 || eddy_loop_run(other) < 0 || call.count != 1) return 22;
    eddy_loop_free(other);
    eddy_loop_free(loop); /* which waits for the run to return */
    return 0;
}

TEST(a_jump_out_of_a_callback_is_told_by_the_next_run, "e10")
{
    int status = in_child(jump_out);
    CHECK(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
}
