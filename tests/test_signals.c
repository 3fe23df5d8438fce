/* Signals: told from the loop, in front of whatever handlers the program has, and leaving no trace. */
#include "ends.h"

#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static eddy_loop *new_loop(void)
{
    eddy_loop *loop = eddy_loop_new();
    CHECK(loop != NULL);
    return loop;
}

/* ---- what is told -------------------------------------------------------------------------------------- */

struct heard {
    eddy_loop *loop;
    int count, order; /* how often; its place among all that were heard */
    int stop;         /* the loop is stopped at this count */
    pthread_t thread;
    void (*then)(struct heard *heard);
    void *data;
};

static atomic_int heard_order;

static void hear(void *arg)
{
    struct heard *heard = arg;
    heard->count++;
    heard->order = ++heard_order;
    heard->thread = pthread_self();
    if (heard->then != NULL) heard->then(heard);
    if (heard->count == heard->stop) CHECK_INT(eddy_loop_stop(heard->loop), 0);
}

static void watch(eddy_loop *loop, int signum, struct heard *heard)
{
    heard->loop = loop;
    CHECK_INT(eddy_loop_add_signal_handler(loop, signum, hear, heard), 0);
}

/* One round, though there is nothing to wait for. */
static void look(eddy_loop *loop)
{
    CHECK(eddy_loop_run_once(loop, 0) >= 0);
}

/* ---- the program's own handlers ------------------------------------------------------------------------ */

static atomic_int host_calls, other_host_calls, host_value, host_has_context, host_errno;
static struct sigaction host_saved; /* what a handler that chains found */

static void host_handler(int signum)
{
    (void)signum;
    host_calls++;
}

static void other_host_handler(int signum)
{
    (void)signum;
    other_host_calls++;
}

static void host_handler_with_info(int signum, siginfo_t *info, void *context)
{
    host_calls++;
    host_has_context = context != NULL && info->si_signo == signum;
    host_value = info->si_value.sival_int;
    host_errno = errno;
}

static void host_handler_that_chains(int signum, siginfo_t *info, void *context)
{
    host_calls++;
    if (host_calls > 1000) FAIL("handlers call each other without end");
    if (host_saved.sa_flags & SA_SIGINFO) host_saved.sa_sigaction(signum, info, context);
    else if (host_saved.sa_handler != SIG_DFL && host_saved.sa_handler != SIG_IGN) host_saved.sa_handler(signum);
}

static struct sigaction installed(int signum)
{
    struct sigaction action;
    CHECK_INT(sigaction(signum, NULL, &action), 0);
    return action;
}

static void install(int signum, void (*handler)(int))
{
    struct sigaction action = { .sa_handler = handler };
    host_calls = other_host_calls = 0;
    CHECK_INT(sigaction(signum, &action, NULL), 0);
}

static void install_with_info(int signum, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };
    host_calls = other_host_calls = 0;
    CHECK_INT(sigaddset(&action.sa_mask, SIGWINCH), 0);
    CHECK_INT(sigaction(signum, &action, &host_saved), 0);
}

static void check_same(int signum, const struct sigaction *before)
{
    const struct sigaction after = installed(signum);
    CHECK(after.sa_handler == before->sa_handler);
    CHECK_INT(after.sa_flags, before->sa_flags);
    for (int other = 1; other <= 64; other++)
        CHECK_INT(sigismember(&after.sa_mask, other), sigismember(&before->sa_mask, other));
}

/* For signals that no test leaves anything of. */
static void check_default(int signum)
{
    CHECK(installed(signum).sa_handler == SIG_DFL);
}

/* What becomes of a process in which this runs: its wait status. */
static int in_child(void (*run)(void *), void *arg)
{
    int status;
    fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm((unsigned)(20 * eddy_test_slow()));
        run(arg);
        _exit(0);
    }
    pid_t reaped;
    do reaped = waitpid(child, &status, 0); while (reaped < 0 && errno == EINTR);
    CHECK_INT(reaped, child);
    return status;
}

#define CHECK_KILLED(status, by)                                                                   \
    do {                                                                                           \
        const int killed_status = (status);                                                        \
        if (!WIFSIGNALED(killed_status) || WTERMSIG(killed_status) != (by))                        \
            FAIL("the status is %#x, not killed by %s", (unsigned)killed_status, #by);             \
    } while (0)
#define CHECK_PASSED(status) CHECK_INT((status), 0)

/* ---- telling ------------------------------------------------------------------------------------------- */

TEST(a_signal_is_told_from_the_loop_and_not_before, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(heard.count, 0);
    look(loop);
    CHECK_INT(heard.count, 1);
    CHECK(pthread_equal(heard.thread, pthread_self()));
    look(loop);
    CHECK_INT(heard.count, 1);
    for (int i = 2; i < 10; i++) { /* any number of times */
        CHECK_INT(raise(SIGUSR1), 0);
        CHECK_INT(heard.count, i - 1);
        look(loop);
        CHECK_INT(heard.count, i);
    }
    eddy_loop_free(loop);
    CHECK_INT(heard.count, 9);
    check_default(SIGUSR1);
}

struct sender {
    pthread_t to; /* 0: the process */
    int signum, count;
};

static void *send_later(void *arg)
{
    struct sender *sender = arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); /* the others get it */
    for (int i = 0; i < sender->count; i++) {
        usleep(5000);
        CHECK_INT(sender->to ? pthread_kill(sender->to, sender->signum) : kill(getpid(), sender->signum), 0);
    }
    return NULL;
}

TEST(a_signal_wakes_a_loop_that_sleeps_without_end, "t03")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR1, &heard);
    struct sender sender = { .signum = SIGUSR1, .count = 1 };
    for (int i = 1; i <= 3; i++) {
        heard.stop = i;
        pthread_t thread = plain_start(send_later, &sender);
        CHECK_INT(eddy_loop_run_forever(loop), 0);
        CHECK_INT(heard.count, i);
        plain_join(thread);
    }
    eddy_loop_free(loop);
}

struct other_thread {
    pthread_t thread;
    atomic_bool ready, over;
};

static void *just_be_there(void *arg)
{
    struct other_thread *other = arg;
    atomic_store(&other->ready, true);
    while (!atomic_load(&other->over)) usleep(1000);
    return NULL;
}

TEST(a_signal_that_another_thread_gets_wakes_the_loop, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { .stop = 1 };
    struct other_thread other = { .ready = false };
    watch(loop, SIGUSR1, &heard);
    other.thread = plain_start(just_be_there, &other);
    while (!atomic_load(&other.ready)) usleep(100);
    struct sender sender = { .to = other.thread, .signum = SIGUSR1, .count = 1 };
    pthread_t thread = plain_start(send_later, &sender);
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    CHECK_INT(heard.count, 1);
    CHECK(pthread_equal(heard.thread, pthread_self()));
    plain_join(thread);
    atomic_store(&other.over, true);
    plain_join(other.thread);
    eddy_loop_free(loop);
}

TEST(signals_between_two_rounds_are_one, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR2, &heard);
    for (int i = 0; i < 1000; i++) CHECK_INT(raise(SIGUSR2), 0);
    look(loop);
    CHECK_INT(heard.count, 1);
    look(loop);
    CHECK_INT(heard.count, 1);
    eddy_loop_free(loop);
}

TEST(several_signals_come_in_order_of_their_numbers, "")
{
    static const int signals[] = { SIGTERM, SIGUSR2, SIGHUP, SIGWINCH, SIGUSR1 };
    enum { COUNT = sizeof signals / sizeof signals[0] };
    eddy_loop *loop = new_loop();
    struct heard heard[65] = { { 0 } };
    for (int i = 0; i < COUNT; i++) watch(loop, signals[i], &heard[signals[i]]);
    const int real_time = SIGRTMIN + 3; /* valgrind keeps the last one */
    watch(loop, real_time, &heard[real_time]);
    CHECK_INT(raise(real_time), 0);
    for (int i = 0; i < COUNT; i++) CHECK_INT(raise(signals[i]), 0);
    look(loop);
    int last = 0;
    for (int signum = 1; signum <= 64; signum++) {
        if (heard[signum].count == 0) continue;
        CHECK_INT(heard[signum].count, 1);
        CHECK(heard[signum].order > last);
        last = heard[signum].order;
    }
    CHECK_INT(heard[real_time].count, 1);
    eddy_loop_free(loop);
    for (int i = 0; i < COUNT; i++) check_default(signals[i]);
}

TEST(waiting_for_signals_keeps_no_run_alive, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(eddy_loop_run(loop), 0); /* or it would never return */
    CHECK_INT(eddy_loop_run_once(loop, -1), 0);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(eddy_loop_run(loop), 0); /* but what has come is told */
    CHECK_INT(heard.count, 1);
    eddy_loop_free(loop);
}

static void stop_it(struct heard *heard)
{
    CHECK_INT(eddy_loop_stop(heard->loop), 0);
}

TEST(a_stop_leaves_the_rest_for_the_next_run, "")
{
    eddy_loop *loop = new_loop();
    struct heard one = { .then = stop_it }, two = { 0 };
    watch(loop, SIGUSR1, &one);
    watch(loop, SIGUSR2, &two);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(raise(SIGUSR2), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(one.count, 1);
    CHECK_INT(two.count, 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(one.count, 1);
    CHECK_INT(two.count, 1);
    eddy_loop_free(loop);
}

static void start_something(struct heard *heard)
{
    struct got *got = heard->data;
    CHECK(eddy_loop_is_running(heard->loop));
    CHECK_INT(eddy_loop_run(heard->loop), EDDY_EBUSY);
    START(got, eddy_loop_call_soon(heard->loop, got_loop, got));
}

TEST(a_handler_may_do_what_any_callback_may, "")
{
    eddy_loop *loop = new_loop();
    GOT(call);
    struct heard heard = { .then = start_something, .data = &call };
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(heard.count, 1);
    CHECK_INT(call.count, 1);
    eddy_loop_free(loop);
}

TEST(a_signal_makes_the_descriptor_readable, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    const int fd = eddy_loop_fd(loop);
    watch(loop, SIGUSR1, &heard);
    look(loop);
    struct pollfd pollfd = { .fd = fd, .events = POLLIN };
    CHECK_INT(poll(&pollfd, 1, 0), 0);
    CHECK_INT(eddy_loop_timeout(loop), -1);
    for (int i = 1; i <= 3; i++) {
        CHECK_INT(raise(SIGUSR1), 0);
        CHECK_INT(poll(&pollfd, 1, 0), 1);
        CHECK_INT(eddy_loop_timeout(loop), 0);
        look(loop);
        CHECK_INT(heard.count, i);
        CHECK_INT(poll(&pollfd, 1, 0), 0);
        CHECK_INT(eddy_loop_timeout(loop), -1);
    }
    eddy_loop_free(loop);
}

/* ---- adding, replacing, removing ----------------------------------------------------------------------- */

TEST(what_is_no_signal_is_refused, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { .loop = loop };
    static const int nonsense[] = { 0, -1, 65, 1000, INT32_MAX, INT32_MIN, SIGKILL, SIGSTOP,
                                    SIGSEGV, SIGBUS, SIGFPE, SIGILL, 32, 33 /* glibc's own */ };
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        struct sigaction before = { .sa_flags = 0 };
        const bool known = sigaction(nonsense[i], NULL, &before) == 0;
        if (eddy_loop_add_signal_handler(loop, nonsense[i], hear, &heard) != EDDY_EINVAL)
            FAIL("%d is not refused as it should be", nonsense[i]);
        if (known) check_same(nonsense[i], &before);
        CHECK(eddy_loop_remove_signal_handler(loop, nonsense[i]) < 0);
    }
    CHECK_INT(eddy_loop_remove_signal_handler(loop, 0), EDDY_EINVAL);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, 65), EDDY_EINVAL);
    CHECK_INT(eddy_loop_add_signal_handler(loop, SIGUSR1, NULL, NULL), EDDY_EINVAL);
    check_default(SIGUSR1);
    eddy_loop_free(loop);
}

TEST(one_that_is_not_there_cannot_be_removed, "")
{
    eddy_loop *loop = new_loop(), *other = new_loop();
    struct heard heard = { 0 };
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), EDDY_ESTATE);
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR2), EDDY_ESTATE);
    CHECK_INT(eddy_loop_remove_signal_handler(other, SIGUSR1), EDDY_ESTATE);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), 0);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), EDDY_ESTATE);
    eddy_loop_free(loop);
    eddy_loop_free(other);
}

TEST(a_handler_that_is_replaced_never_runs_again, "")
{
    eddy_loop *loop = new_loop();
    struct heard first = { 0 }, second = { 0 };
    watch(loop, SIGUSR1, &first);
    CHECK_INT(raise(SIGUSR1), 0);
    watch(loop, SIGUSR1, &second);
    look(loop);
    CHECK_INT(first.count, 0);
    CHECK_INT(second.count, 1); /* what had come is told to the one that is there */
    CHECK_INT(raise(SIGUSR1), 0);
    look(loop);
    CHECK_INT(first.count, 0);
    CHECK_INT(second.count, 2);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), 0);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), EDDY_ESTATE);
    check_default(SIGUSR1);
    eddy_loop_free(loop);
}

TEST(a_handler_that_is_removed_never_runs_again, "")
{
    install(SIGUSR1, SIG_IGN);
    const struct sigaction before = installed(SIGUSR1);
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 }, again = { 0 };
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), 0);
    check_same(SIGUSR1, &before);
    look(loop);
    CHECK_INT(raise(SIGUSR1), 0);
    look(loop);
    CHECK_INT(heard.count, 0);
    watch(loop, SIGUSR1, &again);
    look(loop);
    CHECK_INT(again.count, 0); /* what came before is forgotten */
    CHECK_INT(raise(SIGUSR1), 0);
    look(loop);
    CHECK_INT(again.count, 1);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), 0);
    watch(loop, SIGUSR1, &again); /* also where no round lies between */
    look(loop);
    CHECK_INT(again.count, 1);
    CHECK_INT(heard.count, 0);
    eddy_loop_free(loop);
    check_same(SIGUSR1, &before);
    install(SIGUSR1, SIG_DFL);
}

static void remove_both(struct heard *heard)
{
    CHECK_INT(eddy_loop_remove_signal_handler(heard->loop, SIGUSR1), 0);
    CHECK_INT(eddy_loop_remove_signal_handler(heard->loop, SIGUSR2), 0);
    if (heard->data != NULL) watch(heard->loop, SIGUSR2, heard->data); /* it hears of what comes from now on */
}

TEST(handlers_removed_by_one_of_them, "e16")
{
    eddy_loop *loop = new_loop();
    struct heard one = { .then = remove_both }, two = { 0 };
    watch(loop, SIGUSR1, &one);
    watch(loop, SIGUSR2, &two);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(raise(SIGUSR2), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(one.count, 1);
    CHECK_INT(two.count, 0); /* though it had come */
    check_default(SIGUSR1);
    check_default(SIGUSR2);
    one.data = &two;
    watch(loop, SIGUSR1, &one);
    watch(loop, SIGUSR2, &two);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(raise(SIGUSR2), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(one.count, 2);
    CHECK_INT(two.count, 0);
    CHECK_INT(raise(SIGUSR2), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(two.count, 1);
    eddy_loop_free(loop);
}

static void free_it(struct heard *heard)
{
    eddy_loop_free(heard->loop);
}

TEST(a_loop_that_is_freed_tells_nobody_any_more, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(raise(SIGUSR1), 0);
    eddy_loop_free(loop);
    CHECK_INT(heard.count, 0);
    check_default(SIGUSR1);

    struct heard frees = { .then = free_it }, late = { 0 };
    loop = new_loop();
    watch(loop, SIGUSR1, &frees);
    watch(loop, SIGUSR2, &late);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(raise(SIGUSR2), 0);
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    CHECK_INT(frees.count, 1);
    CHECK_INT(late.count, 0);
    CHECK_INT(eddy_loop_run(loop), EDDY_ESTALE);
    check_default(SIGUSR1);
    check_default(SIGUSR2);
}

static void add_while_it_is_freed(eddy_loop *loop, const eddy_error *error, void *arg)
{
    CHECK_INT(eddy_error_code(error), EDDY_ECANCELED);
    CHECK_INT(eddy_loop_add_signal_handler(loop, SIGUSR1, hear, arg), EDDY_ESTATE);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR2), EDDY_ESTATE);
    check_default(SIGUSR2);
}

TEST(no_handler_is_added_to_a_loop_that_is_being_freed, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR2, &heard);
    CHECK(eddy_loop_call_later(loop, 100000, add_while_it_is_freed, &heard) >= 0);
    eddy_loop_free(loop);
    check_default(SIGUSR1);
}

static void *leave_behind(void *arg)
{
    watch(new_loop(), SIGUSR1, arg);
    return NULL;
}

TEST(a_thread_that_ends_takes_its_handlers_along, "")
{
    struct heard heard = { 0 };
    for (int i = 0; i < 10; i++) {
        plain_join(plain_start(leave_behind, &heard));
        check_default(SIGUSR1);
    }
    CHECK_INT(heard.count, 0);
}

TEST(a_loop_between_two_threads_still_watches, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(eddy_loop_detach(loop), 0);
    CHECK_INT(eddy_loop_add_signal_handler(loop, SIGUSR2, hear, &heard), EDDY_ETHREAD);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(eddy_loop_attach(loop), 0);
    look(loop);
    CHECK_INT(heard.count, 1);
    eddy_loop_free(loop);
}

/* ---- several loops ------------------------------------------------------------------------------------- */

TEST(several_loops_watch_one_signal_and_each_is_told, "")
{
    enum { LOOPS = 200 }; /* more than a word has bits */
    static eddy_loop *loops[LOOPS];
    static struct heard heard[LOOPS];
    for (int i = 0; i < LOOPS; i++) {
        loops[i] = new_loop();
        watch(loops[i], SIGUSR1, &heard[i]);
    }
    CHECK_INT(raise(SIGUSR1), 0);
    for (int i = 0; i < LOOPS; i++) look(loops[i]);
    for (int i = 0; i < LOOPS; i++) CHECK_INT(heard[i].count, 1);
    for (int i = 0; i < LOOPS; i += 2) CHECK_INT(eddy_loop_remove_signal_handler(loops[i], SIGUSR1), 0);
    for (int i = 1; i < LOOPS; i += 4) eddy_loop_free(loops[i]);
    CHECK_INT(raise(SIGUSR1), 0);
    for (int i = 0; i < LOOPS; i++) {
        if (i % 4 == 1) continue;
        look(loops[i]);
        CHECK_INT(heard[i].count, i % 2 == 0 ? 1 : 2);
        eddy_loop_free(loops[i]);
    }
    check_default(SIGUSR1);
}

struct watcher {
    pthread_t thread;
    struct heard heard;
    int ready[2];
};

static void *watch_in_thread(void *arg)
{
    struct watcher *watcher = arg;
    eddy_loop *loop = new_loop();
    watcher->heard.stop = 1;
    watch(loop, SIGUSR1, &watcher->heard);
    CHECK_INT(write(watcher->ready[1], "x", 1), 1);
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    CHECK(pthread_equal(watcher->heard.thread, pthread_self()));
    eddy_loop_free(loop);
    return NULL;
}

TEST(loops_in_several_threads_watch_one_signal, "")
{
    enum { WATCHERS = 4 };
    struct watcher watchers[WATCHERS];
    memset(watchers, 0, sizeof watchers);
    char byte;
    for (int i = 0; i < WATCHERS; i++) {
        CHECK_INT(pipe(watchers[i].ready), 0);
        watchers[i].thread = plain_start(watch_in_thread, &watchers[i]);
    }
    for (int i = 0; i < WATCHERS; i++) {
        ssize_t n;
        do n = read(watchers[i].ready[0], &byte, 1); while (n < 0 && errno == EINTR);
        CHECK_INT(n, 1);
    }
    CHECK_INT(kill(getpid(), SIGUSR1), 0); /* one signal, to whichever thread */
    for (int i = 0; i < WATCHERS; i++) {
        plain_join(watchers[i].thread);
        CHECK_INT(watchers[i].heard.count, 1);
        close(watchers[i].ready[0]);
        close(watchers[i].ready[1]);
    }
    check_default(SIGUSR1);
}

/* ---- the program's own handlers ------------------------------------------------------------------------ */

static void die_after_remove(void *arg)
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGTERM, &heard);
    CHECK_INT(raise(SIGTERM), 0); /* handled: nobody dies */
    look(loop);
    CHECK_INT(heard.count, 1);
    if (arg == NULL) CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGTERM), 0);
    else eddy_loop_free(loop);
    raise(SIGTERM);
}

TEST(the_default_action_comes_back, "")
{
    CHECK_KILLED(in_child(die_after_remove, NULL), SIGTERM);
    CHECK_KILLED(in_child(die_after_remove, &host_saved), SIGTERM);
}

TEST(a_handler_that_was_there_is_called_as_before_and_put_back, "")
{
    install_with_info(SIGUSR1, host_handler_with_info, SA_RESTART);
    const struct sigaction before = installed(SIGUSR1);
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR1, &heard);
    const struct sigaction while_watched = installed(SIGUSR1);
    CHECK(sigismember(&while_watched.sa_mask, SIGWINCH)); /* with its mask and its flags */
    CHECK(while_watched.sa_flags & SA_RESTART);
    errno = 1234;
    CHECK_INT(sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 42 }), 0);
    while (host_calls == 0) usleep(100); /* under valgrind it comes a little later */
    CHECK_INT(host_calls, 1);
    CHECK_INT(host_value, 42);
    CHECK(host_has_context);
#ifndef __SANITIZE_THREAD__ /* which keeps signals back until a system call returns */
    CHECK_INT(host_errno, 1234);
#endif
    look(loop);
    CHECK_INT(heard.count, 1);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), 0);
    check_same(SIGUSR1, &before);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(host_calls, 2);
    look(loop);
    CHECK_INT(heard.count, 1);
    eddy_loop_free(loop);

    /* One that does not restart system calls goes on not to. */
    install(SIGUSR1, host_handler);
    loop = new_loop();
    watch(loop, SIGUSR1, &heard);
    CHECK((installed(SIGUSR1).sa_flags & SA_RESTART) == 0);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(host_calls, 1);
    eddy_loop_free(loop);
    CHECK(installed(SIGUSR1).sa_handler == host_handler);
    install(SIGUSR1, SIG_DFL);
}

TEST(the_handler_that_is_there_now_is_called_not_the_one_of_the_first_time, "")
{
    install(SIGUSR1, host_handler);
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), 0);
    install(SIGUSR1, other_host_handler);
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(raise(SIGUSR1), 0);
    look(loop);
    CHECK_INT(heard.count, 1);
    CHECK_INT(host_calls, 0);
    CHECK_INT(other_host_calls, 1);
    eddy_loop_free(loop);
    CHECK(installed(SIGUSR1).sa_handler == other_host_handler);
    install(SIGUSR1, SIG_DFL);
}

TEST(a_handler_that_takes_eddys_place_is_left_alone, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    for (int i = 1; i <= 20; i++) { /* any number of times */
        watch(loop, SIGUSR1, &heard);
        install(SIGUSR1, host_handler);
        CHECK_INT(raise(SIGUSR1), 0);
        look(loop);
        CHECK_INT(host_calls, 1);
        CHECK_INT(heard.count, i - 1);
        watch(loop, SIGUSR1, &heard); /* added again, eddy's stands in front of it */
        CHECK_INT(raise(SIGUSR1), 0);
        look(loop);
        CHECK_INT(host_calls, 2);
        CHECK_INT(heard.count, i);
        install(SIGUSR1, other_host_handler);
        CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), 0);
        CHECK(installed(SIGUSR1).sa_handler == other_host_handler);
    }
    install(SIGUSR1, SIG_DFL);
    eddy_loop_free(loop);
    check_default(SIGUSR1);
}

TEST(a_handler_on_top_that_calls_eddys, "")
{
    install(SIGUSR1, other_host_handler);
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    watch(loop, SIGUSR1, &heard);
    install_with_info(SIGUSR1, host_handler_that_chains, 0);
    CHECK_INT(raise(SIGUSR1), 0);
    look(loop);
    CHECK_INT(heard.count, 1);
    CHECK_INT(host_calls, 1);
    CHECK_INT(other_host_calls, 1);
    CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), 0);
    CHECK(installed(SIGUSR1).sa_sigaction == host_handler_that_chains);
    CHECK_INT(raise(SIGUSR1), 0); /* eddy's passes it on */
    look(loop);
    CHECK_INT(heard.count, 1);
    CHECK_INT(host_calls, 2);
    CHECK_INT(other_host_calls, 2);
    watch(loop, SIGUSR1, &heard); /* now on top of it, and beneath it too */
    CHECK_INT(raise(SIGUSR1), 0);
    look(loop);
    CHECK_INT(heard.count, 2);
    CHECK_INT(host_calls, 3);
    CHECK_INT(other_host_calls, 3);
    eddy_loop_free(loop);
    CHECK(installed(SIGUSR1).sa_sigaction == host_handler_that_chains);
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(host_calls, 4);
    CHECK_INT(other_host_calls, 4);
    CHECK_INT(sigaction(SIGUSR1, &host_saved, NULL), 0); /* it goes, and puts back what it found: eddy's */
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(other_host_calls, 5);
    loop = new_loop();
    watch(loop, SIGUSR1, &heard);
    CHECK_INT(raise(SIGUSR1), 0);
    look(loop);
    CHECK_INT(heard.count, 3);
    CHECK_INT(other_host_calls, 6);
    eddy_loop_free(loop);
    CHECK(installed(SIGUSR1).sa_handler == other_host_handler);
    install(SIGUSR1, SIG_DFL);
}

/* Somebody puts eddy's handler back when nobody watches any more: what was there before it is done. */
static void die_by_what_was_put_back(void *arg)
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    (void)arg;
    watch(loop, SIGTERM, &heard);
    const struct sigaction eddys = installed(SIGTERM);
    eddy_loop_free(loop);
    CHECK_INT(sigaction(SIGTERM, &eddys, NULL), 0);
    raise(SIGTERM);
}

TEST(eddys_handler_without_a_loop_does_what_was_done_before, "")
{
    CHECK_KILLED(in_child(die_by_what_was_put_back, NULL), SIGTERM);
    check_default(SIGTERM);
}

static sigjmp_buf away;

static void jump_away(int signum)
{
    (void)signum;
    host_calls++;
    siglongjmp(away, 1);
}

TEST(a_handler_that_was_there_may_jump_out, "")
{
    install(SIGUSR1, jump_away);
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    for (int i = 0; i < 10; i++) {
        watch(loop, SIGUSR1, &heard);
        if (sigsetjmp(away, 1) == 0) {
            raise(SIGUSR1);
            FAIL("it did not jump");
        }
        look(loop);
        CHECK_INT(heard.count, i + 1);
        CHECK_INT(host_calls, i + 1);
        CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGUSR1), 0);
    }
    eddy_loop_free(loop);
    CHECK(installed(SIGUSR1).sa_handler == jump_away);
    install(SIGUSR1, SIG_DFL);
}

/* ---- storms -------------------------------------------------------------------------------------------- */

/* A thread that sends SIGPROF to the process, thousands of times a second. The program has a handler for it, as the
 * default would kill. */
struct rain {
    pthread_t thread;
    atomic_bool over;
    struct sigaction before;
};

static void *let_it_rain(void *arg)
{
    struct rain *rain = arg;
    while (!atomic_load(&rain->over)) {
        CHECK_INT(kill(getpid(), SIGPROF), 0);
        usleep(100);
    }
    return NULL;
}

static void rain_begin(struct rain *rain)
{
    install(SIGPROF, host_handler);
    atomic_store(&rain->over, false);
    rain->before = installed(SIGPROF);
    rain->thread = plain_start(let_it_rain, rain);
}

static void rain_end(struct rain *rain)
{
    atomic_store(&rain->over, true);
    plain_join(rain->thread);
    check_same(SIGPROF, &rain->before);
    install(SIGPROF, SIG_IGN); /* one may be on its way still */
}

static void check_errno_while_signals_rain(eddy_loop *loop)
{
    for (int i = 0; i < 20000; i++) {
        errno = 4321;
        for (volatile int j = 0; j < 100; j++) continue;
        CHECK_INT(errno, 4321);
    }
    look(loop);
}

static void *make_loops_in_the_rain(void *arg)
{
    for (int i = 0; i < 300 / eddy_test_slow(); i++) {
        eddy_loop *loop = new_loop();
        struct heard heard = { 0 };
        watch(loop, SIGPROF, &heard);
        watch(loop, SIGUSR2, &heard);
        look(loop);
        if (i % 2 == 0) CHECK_INT(eddy_loop_remove_signal_handler(loop, SIGPROF), 0);
        if (i % 3 == 0) CHECK_INT(kill(getpid(), SIGUSR2), 0);
        look(loop);
        eddy_loop_free(loop);
    }
    return arg;
}

TEST(loops_come_and_go_while_signals_rain, "")
{
    struct rain rain;
    rain_begin(&rain);
    install(SIGUSR2, SIG_IGN);
    const struct sigaction before = installed(SIGUSR2);
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    pthread_t threads[3];
    watch(loop, SIGPROF, &heard);
    for (int i = 0; i < 3; i++) threads[i] = plain_start(make_loops_in_the_rain, NULL);
    check_errno_while_signals_rain(loop);
    const int heard_before = heard.count;
    RUN_UNTIL(loop, heard.count >= heard_before + 5);
    for (int i = 0; i < 3; i++) plain_join(threads[i]);
    CHECK(host_calls >= heard.count);
    eddy_loop_free(loop);
    check_same(SIGUSR2, &before);
    install(SIGUSR2, SIG_DFL);
    rain_end(&rain);
}

TEST(no_edge_is_lost_while_signals_rain_on_a_connection, "")
{
    struct rain rain;
    rain_begin(&rain);
    struct end end = end_unix(NULL);
    struct heard heard = { 0 };
    watch(end.loop, SIGPROF, &heard);
    for (int i = 0; i < 2000 / eddy_test_slow(); i++) {
        GOT(line);
        char text[32];
        plain_send_text(end.peer, "ping\n");
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        CHECK_INT(eddy_loop_run(end.loop), 0);
        CHECK_BYTES(line.bytes, line.len, "ping\n");
        CHECK_INT(eddy_writer_write(end.writer, "pong\n", 5), 0);
        look(end.loop);
        CHECK_INT(plain_recv(end.peer, text, 5), 5);
    }
    RUN_UNTIL(end.loop, heard.count > 0);
    end_free(&end);
    rain_end(&rain);
}

/* ---- children ------------------------------------------------------------------------------------------ */

static void reap(struct heard *heard)
{
    int *status = heard->data;
    while (waitpid(-1, status, WNOHANG) > 0) heard->stop = heard->count;
}

TEST(the_end_of_a_child_is_told, "")
{
    eddy_loop *loop = new_loop();
    int status = -1;
    struct heard heard = { .then = reap, .data = &status };
    watch(loop, SIGCHLD, &heard);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) _exit(7);
    CHECK(child > 0);
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 7);
    eddy_loop_free(loop);
}

struct parent {
    eddy_loop *loop;
    struct heard *heard;
};

static void be_a_child_without_handlers(void *arg)
{
    struct parent *parent = arg;
    close(STDERR_FILENO); /* refusals may be reported */
    if (installed(SIGUSR1).sa_handler != host_handler) _exit(1);
    if (installed(SIGTERM).sa_handler != SIG_DFL) _exit(2);
    raise(SIGUSR1);
    if (host_calls != 1) _exit(3);
    if (eddy_loop_run_once(parent->loop, 0) >= 0 || parent->heard->count != 0) _exit(4);
    if (eddy_loop_add_signal_handler(parent->loop, SIGUSR1, hear, parent->heard) != EDDY_ETHREAD) _exit(5);
    /* Handlers of its own. */
    eddy_loop *own = eddy_loop_new();
    struct heard heard = { 0 };
    if (own == NULL) _exit(6);
    if (eddy_loop_add_signal_handler(own, SIGUSR1, hear, &heard) != 0) _exit(7);
    raise(SIGUSR1);
    if (eddy_loop_run_once(own, 0) < 0 || heard.count != 1 || host_calls != 2) _exit(8);
    eddy_loop_free(parent->loop); /* its copy of the parent's takes nothing away */
    raise(SIGUSR1);
    if (eddy_loop_run_once(own, 0) < 0 || heard.count != 2 || host_calls != 3) _exit(9);
    eddy_loop_free(own);
    if (installed(SIGUSR1).sa_handler != host_handler) _exit(10);
    raise(SIGTERM);
}

TEST(a_forked_child_has_none_and_its_signals_are_not_its_parents, "")
{
    install(SIGUSR1, host_handler);
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    struct parent parent = { .loop = loop, .heard = &heard };
    struct pollfd pollfd = { .fd = eddy_loop_fd(loop), .events = POLLIN };
    watch(loop, SIGUSR1, &heard);
    watch(loop, SIGTERM, &heard);
    look(loop);
    for (int i = 0; i < 3; i++) {
        CHECK_KILLED(in_child(be_a_child_without_handlers, &parent), SIGTERM);
        CHECK_INT(poll(&pollfd, 1, 0), 0); /* its bell was not rung */
        look(loop);
        CHECK_INT(heard.count, 0);
    }
    CHECK_INT(raise(SIGUSR1), 0);
    CHECK_INT(raise(SIGTERM), 0);
    CHECK_INT(poll(&pollfd, 1, 0), 1);
    look(loop);
    CHECK_INT(heard.count, 2);
    eddy_loop_free(loop);
    CHECK(installed(SIGUSR1).sa_handler == host_handler);
    install(SIGUSR1, SIG_DFL);
    check_default(SIGTERM);
}

/* A fork of which no library is told; but the sanitizer keeps the signal back until a system call of the C library's. */
#ifndef __SANITIZE_THREAD__

TEST(a_child_that_nobody_was_told_of_tells_nobody, "")
{
    eddy_loop *loop = new_loop();
    struct heard heard = { 0 };
    struct pollfd pollfd = { .fd = eddy_loop_fd(loop), .events = POLLIN };
    watch(loop, SIGTERM, &heard);
    look(loop);
    const long child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    CHECK(child >= 0);
    if (child == 0) {
        syscall(SYS_kill, syscall(SYS_getpid), SIGTERM);
        _exit(9);
    }
    int status;
    CHECK_INT(waitpid((pid_t)child, &status, 0), child);
    CHECK_KILLED(status, SIGTERM);
    CHECK_INT(poll(&pollfd, 1, 0), 0);
    look(loop);
    CHECK_INT(heard.count, 0);
    eddy_loop_free(loop);
}

#endif

/* The sanitizer's own allocator keeps its locks through a fork. */
#ifndef __SANITIZE_ADDRESS__

static void *fork_in_the_rain(void *arg)
{
    for (int i = 0; i < 60 / eddy_test_slow(); i++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm((unsigned)(20 * eddy_test_slow()));
            eddy_loop *own = eddy_loop_new(); /* no lock is stuck, whatever the other threads were at */
            struct heard heard = { 0 };
            if (own == NULL || eddy_loop_add_signal_handler(own, SIGUSR2, hear, &heard) != 0) _exit(1);
            raise(SIGUSR2);
            if (eddy_loop_run_once(own, 0) < 0 || heard.count != 1) _exit(2);
            eddy_loop_free(own);
            _exit(0);
        }
        int status;
        pid_t reaped;
        do reaped = waitpid(child, &status, 0); while (reaped < 0 && errno == EINTR);
        CHECK_INT(reaped, child);
        CHECK_PASSED(status);
    }
    return arg;
}

TEST(forks_while_other_threads_add_and_remove, "t16")
{
    if (plain_on_valgrind()) return; /* what those threads held is lost in the child, and told as leaks */
    install(SIGUSR2, SIG_IGN);
    fflush(stdout);
    pthread_t threads[3];
    for (int i = 0; i < 2; i++) threads[i] = plain_start(make_loops_in_the_rain, NULL);
    threads[2] = plain_start(fork_in_the_rain, NULL);
    for (int i = 0; i < 3; i++) plain_join(threads[i]);
    install(SIGUSR2, SIG_DFL);
}

#endif
