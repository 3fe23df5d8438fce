/* Opening: which address is tried when, deadlines, a resolver that is slow or stuck, and servers on several addresses.
 * What needs a network of its own is in netns/. */
#include "ends.h"
#include "names.h"

#include <stdarg.h>
#include <sys/wait.h>

/* ---- helpers ------------------------------------------------------------------------------------------- */

/* An address that never answers: a listener whose queue is full. Names must say it to be found there. */
#define SILENT "127.0.0.1"
#define ALIVE "127.0.0.2"
#define REFUSING "127.0.0.3"

/* At one port: nobody answers, somebody listens, nobody is there. */
struct hosts {
    struct plain_full silent;
    int alive;
    uint16_t port;
};

static struct hosts hosts_begin(void)
{
    struct hosts hosts = { .silent = plain_full_listener() };
    hosts.port = hosts.silent.port;
    hosts.alive = plain_listen_at(ALIVE, hosts.port, 1024);
    return hosts;
}

static void hosts_end(struct hosts *hosts)
{
    plain_full_close(&hosts->silent);
    close(hosts->alive);
}

__attribute__((format(printf, 1, 2))) static const char *text(const char *format, ...)
{
    static char made[512];
    va_list args;
    va_start(args, format);
    vsnprintf(made, sizeof made, format, args);
    va_end(args);
    return made;
}

/* Opens, and waits for what becomes of it: so many milliseconds. */
static uint64_t open_to(eddy_loop *loop, struct got *opened, const char *host, uint16_t port,
                        const eddy_options *options)
{
    uint64_t begun = plain_now();
    int before = opened->count;
    START(opened, eddy_open_connection(loop, host, port, options, got_stream, opened));
    RUN_UNTIL(loop, opened->count > before);
    CHECK_INT(opened->count, before + 1);
    return plain_now() - begun;
}

static void check_peer(const struct got *opened, const char *host, uint16_t port)
{
    char expected[128];
    if (opened->code != 0) FAIL("%d: %s", opened->code, opened->message);
    snprintf(expected, sizeof expected, "%s:%u", host, port);
    CHECK_STR(eddy_writer_get_extra_info(opened->writer, "peername", NULL), expected);
}

static void check_failed(const struct got *opened, int code, const char *message)
{
    CHECK_INT(opened->code, code);
    CHECK_STR(opened->message, message);
    CHECK(opened->reader == NULL && opened->writer == NULL);
}

/* A deadline is met to 50 ms. A machine that has other things to do may be late now and then, but not always. */
enum { PRECISION = 50, TRIES = 5 };

#define CHECK_ELAPSED(expected, measure)                                                           \
    do {                                                                                           \
        for (int elapsed_try = 1;; elapsed_try++) {                                                \
            const uint64_t elapsed = (measure);                                                    \
            if (elapsed < (expected)) FAIL("%d ms, too early", (int)elapsed);                      \
            if (elapsed <= (expected) + (uint64_t)(PRECISION * eddy_test_slow())) break;           \
            if (elapsed_try == TRIES) FAIL("%d ms, too late", (int)elapsed);                       \
        }                                                                                          \
    } while (0)

static int threads(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/task");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL) count++;
    closedir(directory);
    return count;
}

/* The resolver's threads end by themselves. */
static void threads_end(int before)
{
    uint64_t deadline = plain_now() + 20000 * (uint64_t)eddy_test_slow();
    while (threads() > before) {
        if (plain_now() > deadline) FAIL("%d threads are left, of %d", threads(), before);
        usleep(1000);
    }
}

/* ---- happy eyeballs ------------------------------------------------------------------------------------ */

TEST(the_next_address_is_tried_beside_one_that_does_not_answer, "O8 n04")
{
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    names_answer(SILENT, ALIVE);
    GOT(warm);
    open_to(loop, &warm, "pair.test", hosts.port, EDDY_OPTIONS(.happy_eyeballs_ms = 1));
    int before = plain_descriptors();
    GOT(opened);
    const eddy_options *fast = EDDY_OPTIONS(.happy_eyeballs_ms = 100);
    CHECK_ELAPSED(100, open_to(loop, &opened, "pair.test", hosts.port, fast));
    check_peer(&opened, ALIVE, hosts.port);
    settle(loop);
    CHECK_INT(plain_descriptors(), before + opened.count); /* the loser's socket is closed */
    GOT(by_default);
    CHECK_ELAPSED(250, open_to(loop, &by_default, "pair.test", hosts.port, NULL));
    check_peer(&by_default, ALIVE, hosts.port);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(opened.count + by_default.count, plain_descriptors() - before);
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

TEST(an_address_that_answers_in_its_head_start_is_the_only_one_tried, "O8")
{
    struct hosts hosts = hosts_begin();
    int other = plain_listen_at("127.0.0.4", hosts.port, 8);
    eddy_loop *loop = eddy_loop_new();
    names_answer(ALIVE, "127.0.0.4");
    GOT(opened);
    open_to(loop, &opened, "pair.test", hosts.port, EDDY_OPTIONS(.happy_eyeballs_ms = 100));
    check_peer(&opened, ALIVE, hosts.port);
    end_pump(loop, 150);
    struct pollfd nobody = { .fd = other, .events = POLLIN };
    CHECK_INT(poll(&nobody, 1, 0), 0);
    close(other);
    eddy_loop_free(loop);
    hosts_end(&hosts);
    CHECK_INT(opened.count, 1);
}

TEST(an_address_that_fails_gives_way_at_once, "O8 O4")
{
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    names_answer(REFUSING, ALIVE);
    const eddy_options *patient[] = { EDDY_OPTIONS(.happy_eyeballs_ms = 100000),
                                      EDDY_OPTIONS(.happy_eyeballs_ms = EDDY_NEVER) };
    for (int i = 0; i < 2; i++) {
        GOT(opened);
        CHECK(open_to(loop, &opened, "pair.test", hosts.port, patient[i]) < 10000);
        check_peer(&opened, ALIVE, hosts.port);
    }
    names_answer(SILENT, REFUSING);
    names.answers[2] = ALIVE;
    GOT(third); /* though the first is still on its way */
    CHECK_ELAPSED(300, open_to(loop, &third, "three.test", hosts.port, EDDY_OPTIONS(.happy_eyeballs_ms = 300)));
    check_peer(&third, ALIVE, hosts.port);
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

TEST(an_address_that_answers_late_may_still_be_the_first, "O8")
{
    struct hosts hosts = hosts_begin();
    struct plain_full other = { .listener = plain_listen_at("127.0.0.4", hosts.port, 0) };
    for (int i = 0; i < 2; i++) {
        other.waiting[i] = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
        plain_try_connect(other.waiting[i], "127.0.0.4", hosts.port);
    }
    eddy_loop *loop = eddy_loop_new();
    names_answer(SILENT, "127.0.0.4");
    GOT(opened);
    START(&opened, eddy_open_connection(loop, "pair.test", hosts.port, EDDY_OPTIONS(.happy_eyeballs_ms = 20),
                                        got_stream, &opened));
    end_pump(loop, 100);
    CHECK_INT(opened.count, 0); /* both are on their way */
    int before = plain_descriptors();
    close(plain_accept(hosts.silent.listener)); /* now there is room, for when the kernel asks again */
    close(plain_accept(hosts.silent.listener));
    RUN_UNTIL(loop, opened.count > 0);
    check_peer(&opened, SILENT, hosts.port);
    settle(loop);
    CHECK_INT(plain_descriptors(), before - 1);
    eddy_loop_free(loop);
    plain_full_close(&other);
    hosts_end(&hosts);
    CHECK_INT(opened.count, 1);
}

TEST(families_take_turns_and_all_failures_are_told, "O8 O5 O4")
{
    if (!plain_has_v6()) return;
    struct hosts hosts = hosts_begin();
    uint16_t port = hosts.port;
    eddy_loop *loop = eddy_loop_new();
    names_answer(REFUSING, "127.0.0.4");
    names.answers[2] = "127.0.0.5";
    names.answers[3] = "::1";
    GOT(mixed);
    open_to(loop, &mixed, "many.test", port, NULL);
    check_failed(&mixed, EDDY_ESYSTEM,
                 text("Multiple exceptions: connect 127.0.0.3:%u: Connection refused, "
                         "connect [::1]:%u: Connection refused, connect 127.0.0.4:%u: Connection refused, "
                         "connect 127.0.0.5:%u: Connection refused", port, port, port, port));
    CHECK_INT(mixed.system, ECONNREFUSED);
    GOT(in_order);
    open_to(loop, &in_order, "many.test", port, EDDY_OPTIONS(.happy_eyeballs_ms = EDDY_NEVER));
    check_failed(&in_order, EDDY_ESYSTEM,
                 text("Multiple exceptions: connect 127.0.0.3:%u: Connection refused, "
                         "connect 127.0.0.4:%u: Connection refused, connect 127.0.0.5:%u: Connection refused, "
                         "connect [::1]:%u: Connection refused", port, port, port, port));
    names_answer("::1", REFUSING);
    names.answers[2] = "127.0.0.4";
    GOT(six_first);
    open_to(loop, &six_first, "many.test", port, NULL);
    check_failed(&six_first, EDDY_ESYSTEM,
                 text("Multiple exceptions: connect [::1]:%u: Connection refused, "
                         "connect 127.0.0.3:%u: Connection refused, "
                         "connect 127.0.0.4:%u: Connection refused", port, port, port));
    names_answer("::1", REFUSING);
    GOT(alone); /* one failure is itself */
    open_to(loop, &alone, "many.test", port, EDDY_OPTIONS(.family = AF_INET6));
    check_failed(&alone, EDDY_ESYSTEM, text("connect [::1]:%u: Connection refused", port));
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

TEST(a_local_name_is_bound_by_the_first_of_its_addresses_that_can_be, "O7")
{
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    names_answer(ALIVE, NULL);
    names.local[0] = "::1";
    names.local[1] = "192.0.2.1"; /* not ours */
    names.local[2] = "127.0.0.6";
    GOT(opened);
    open_to(loop, &opened, "far.test", hosts.port, EDDY_OPTIONS(.local_host = "local.test"));
    check_peer(&opened, ALIVE, hosts.port);
    const char *sockname = eddy_writer_get_extra_info(opened.writer, "sockname", NULL);
    if (strncmp(sockname, "127.0.0.6:", 10) != 0) FAIL("%s", sockname);
    names.local[2] = NULL;
    GOT(foreign);
    open_to(loop, &foreign, "far.test", hosts.port, EDDY_OPTIONS(.local_host = "local.test"));
    check_failed(&foreign, EDDY_ESYSTEM, "bind 192.0.2.1:0: Cannot assign requested address");
    CHECK_INT(foreign.system, EADDRNOTAVAIL);
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

TEST(a_local_port_is_one_attempts_at_a_time, "O7 O8")
{
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    uint16_t local = plain_closed_port();
    names_answer(REFUSING, ALIVE);
    GOT(opened);
    open_to(loop, &opened, "pair.test", hosts.port, EDDY_OPTIONS(.local_port = local));
    check_peer(&opened, ALIVE, hosts.port);
    CHECK_STR(eddy_writer_get_extra_info(opened.writer, "sockname", NULL), text("127.0.0.1:%u", local));
    CHECK_INT(eddy_writer_abort(opened.writer), 0);
    settle(loop);
    names_answer(SILENT, ALIVE);
    const uint64_t ms = 200 * (uint64_t)eddy_test_slow();
    GOT(stuck);
    open_to(loop, &stuck, "pair.test", hosts.port,
            EDDY_OPTIONS(.local_port = local, .happy_eyeballs_ms = 10, .timeout_ms = ms));
    check_failed(&stuck, EDDY_ETIMEDOUT,
                 text("timed out after %u ms: connect 127.0.0.1:%u", (unsigned)ms, hosts.port));
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

/* ---- deadlines ----------------------------------------------------------------------------------------- */

TEST(connecting_ends_at_its_deadline, "O6 n02")
{
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    settle(loop);
    int before = plain_descriptors();
    GOT(opened);
    CHECK_ELAPSED(200, open_to(loop, &opened, SILENT, hosts.port, EDDY_OPTIONS(.timeout_ms = 200)));
    check_failed(&opened, EDDY_ETIMEDOUT, text("timed out after 200 ms: connect 127.0.0.1:%u", hosts.port));
    CHECK_INT(opened.system, 0); /* the system has said nothing */
    settle(loop);
    CHECK_INT(plain_descriptors(), before);
    CHECK_INT(eddy_loop_run(loop), 0); /* nothing is left to wait for */
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

TEST(a_deadline_tells_all_that_was_tried, "O5 O6")
{
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    names_answer(SILENT, REFUSING);
    names.answers[2] = "127.0.0.4";
    const uint64_t ms = 400 * (uint64_t)eddy_test_slow(); /* more than one head start */
    GOT(opened);
    open_to(loop, &opened, "many.test", hosts.port, EDDY_OPTIONS(.timeout_ms = ms, .happy_eyeballs_ms = 20));
    check_failed(&opened, EDDY_ETIMEDOUT,
                 text("timed out after %u ms: connect 127.0.0.1:%u, "
                      "connect 127.0.0.3:%u: Connection refused, connect 127.0.0.4:%u: Connection refused",
                      (unsigned)ms, hosts.port, hosts.port, hosts.port));
    GOT(never); /* one after the other, only the first was tried */
    open_to(loop, &never, "many.test", hosts.port,
            EDDY_OPTIONS(.timeout_ms = ms, .happy_eyeballs_ms = EDDY_NEVER));
    check_failed(&never, EDDY_ETIMEDOUT,
                 text("timed out after %u ms: connect 127.0.0.1:%u", (unsigned)ms, hosts.port));
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

TEST(resolving_ends_at_the_deadline_too, "O6")
{
    int before = threads();
    eddy_loop *loop = eddy_loop_new();
    names_answer(ALIVE, NULL);
    GOT(opened);
    const uint64_t ms = 200 * (uint64_t)eddy_test_slow();
    CHECK_ELAPSED(ms, open_to(loop, &opened, "stuck.test", 80, EDDY_OPTIONS(.timeout_ms = ms)));
    check_failed(&opened, EDDY_ETIMEDOUT, text("timed out after %u ms: resolve stuck.test", (unsigned)ms));
    GOT(local);
    open_to(loop, &local, ALIVE, 80, EDDY_OPTIONS(.timeout_ms = ms, .local_host = "stuck-here.test"));
    check_failed(&local, EDDY_ETIMEDOUT, text("timed out after %u ms: resolve stuck-here.test", (unsigned)ms));
    int stuck = opened.count + local.count;
    for (int i = 0; i < stuck; i++) sem_post(&names.gate); /* the answers come, and nobody wants them */
    RUN_UNTIL(loop, atomic_load(&names.answered) == stuck);
    end_pump(loop, 20);
    CHECK_INT(opened.count + local.count, stuck);
    eddy_loop_free(loop);
    threads_end(before);
}

TEST(one_deadline_is_for_resolving_and_connecting_together, "O6")
{
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    names_answer(SILENT, NULL);
    names.delay = 150000;
    GOT(opened);
    CHECK_ELAPSED(300, open_to(loop, &opened, "slow.test", hosts.port, EDDY_OPTIONS(.timeout_ms = 300)));
    check_failed(&opened, EDDY_ETIMEDOUT, text("timed out after 300 ms: connect 127.0.0.1:%u", hosts.port));
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

TEST(a_unix_servers_full_queue_is_waited_for_until_the_deadline, "O6")
{
    const char *directory = plain_directory();
    char path[128], expected[256];
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_unix_listen(plain_path(path, sizeof path, directory, "full"), 0);
    int waiting = plain_unix_connect(path);
    settle(loop);
    int before = plain_descriptors();
    GOT(opened);
    for (int i = 1;; i++) {
        uint64_t begun = plain_now();
        START(&opened, eddy_open_unix_connection(loop, path, EDDY_OPTIONS(.timeout_ms = 100), got_stream, &opened));
        RUN_UNTIL(loop, opened.count == i);
        uint64_t elapsed = plain_now() - begun;
        CHECK(elapsed >= 100);
        if (elapsed <= (uint64_t)(100 + PRECISION * eddy_test_slow())) break;
        CHECK(i < TRIES);
    }
    snprintf(expected, sizeof expected, "timed out after 100 ms: connect %s", path);
    check_failed(&opened, EDDY_ETIMEDOUT, expected);
    CHECK_INT(plain_descriptors(), before);
    CHECK_INT(eddy_loop_run(loop), 0);
    GOT(in_time);
    START(&in_time, eddy_open_unix_connection(loop, path, EDDY_OPTIONS(.timeout_ms = 60000), got_stream, &in_time));
    end_pump(loop, 30);
    CHECK_INT(in_time.count, 0);
    close(plain_accept(listener));
    RUN_UNTIL(loop, in_time.count > 0);
    CHECK_INT(in_time.code, 0);
    close(waiting);
    close(listener);
    unlink(path);
    eddy_loop_free(loop);
    CHECK_INT(rmdir(directory), 0);
}

static void nobody_comes(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)error, (void)arg;
    eddy_writer_free(writer);
}

/* client_cb and cb share one arg: this is for servers that no client comes to. */
static eddy_server *start_server(eddy_loop *loop, struct got *started, const char *host, uint16_t port,
                                 const eddy_options *options)
{
    START(started, eddy_start_server(loop, nobody_comes, host, port, options, got_server, started));
    RUN_UNTIL(loop, started->count > 0);
    return started->server;
}

TEST(a_servers_name_is_resolved_before_the_deadline_or_not_at_all, "V6")
{
    int before = threads();
    eddy_loop *loop = eddy_loop_new();
    names_answer(ALIVE, NULL);
    const uint64_t ms = 200 * (uint64_t)eddy_test_slow();
    GOT(started);
    start_server(loop, &started, "stuck.test", 0, EDDY_OPTIONS(.timeout_ms = ms));
    CHECK_INT(started.code, EDDY_ETIMEDOUT);
    CHECK_STR(started.message, text("timed out after %u ms: resolve stuck.test", (unsigned)ms));
    CHECK(started.server == NULL);
    sem_post(&names.gate);
    GOT(again);
    start_server(loop, &again, "quick.test", 0, EDDY_OPTIONS(.timeout_ms = 60000));
    CHECK_INT(again.code, 0);
    eddy_loop_free(loop);
    threads_end(before);
}

TEST(a_deadline_that_is_far_away_or_never_bounds_nothing, "O6")
{
    static const uint64_t times[] = { 0, EDDY_NEVER, EDDY_NEVER - 1, UINT64_MAX / 1000, INT64_MAX, UINT32_MAX,
                                      (uint64_t)UINT32_MAX + 1, INT32_MAX };
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    names_answer(ALIVE, NULL);
    names.delay = 2000;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        GOT(opened);
        open_to(loop, &opened, "slow.test", hosts.port,
                EDDY_OPTIONS(.timeout_ms = times[i], .happy_eyeballs_ms = times[i]));
        check_peer(&opened, ALIVE, hosts.port);
        CHECK_INT(eddy_loop_run(loop), 0);
    }
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

TEST(what_waits_for_nothing_meets_every_deadline, "")
{
    const char *directory = plain_directory();
    char path[128];
    const eddy_options *hurried = EDDY_OPTIONS(.timeout_ms = 1, .happy_eyeballs_ms = 1);
    int ends[2], listener = plain_listen();
    plain_unix_pair(ends);
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    GOT(adopted);
    START(&opened, eddy_open_socket(loop, ends[0], hurried, got_stream, &opened));
    START(&adopted, eddy_start_socket_server(loop, nobody_comes, listener, hurried, got_server, &adopted));
    usleep(10000);
    settle(loop);
    CHECK_INT(opened.count + adopted.count, 2);
    CHECK_INT(opened.code, 0);
    CHECK_INT(adopted.code, 0);
    hurried = EDDY_OPTIONS(.timeout_ms = 60000, .happy_eyeballs_ms = 1);
    GOT(served);
    START(&served, eddy_start_unix_server(loop, nobody_comes, plain_path(path, sizeof path, directory, "served"),
                                          hurried, got_server, &served));
    settle(loop);
    CHECK_INT(served.count, 1);
    CHECK_INT(served.code, 0);
    eddy_loop_free(loop);
    close(ends[1]);
    CHECK_INT(rmdir(directory), 0);
}

TEST(a_connection_that_is_made_counts_though_the_loop_looks_too_late, "O6")
{
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    const uint64_t ms = 200 * (uint64_t)eddy_test_slow();
    GOT(made);
    START(&made, eddy_open_connection(loop, ALIVE, hosts.port, EDDY_OPTIONS(.timeout_ms = ms), got_stream, &made));
    CHECK(eddy_loop_run_once(loop, 0) >= 0); /* it is on its way */
    usleep((useconds_t)(ms + 10) * 1000);
    RUN_UNTIL(loop, made.count > 0);
    check_peer(&made, ALIVE, hosts.port);
    GOT(missed); /* nothing is begun that would end too late */
    START(&missed,
          eddy_open_connection(loop, ALIVE, hosts.port, EDDY_OPTIONS(.timeout_ms = 5), got_stream, &missed));
    usleep(10000);
    RUN_UNTIL(loop, missed.count > 0);
    check_failed(&missed, EDDY_ETIMEDOUT, text("timed out after 5 ms: connect 127.0.0.2:%u", hosts.port));
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

/* As another loop does it: poll(2) for the descriptor, for as long as eddy_loop_timeout() says. */
static uint64_t open_from_outside(eddy_loop *loop, struct got *opened, uint16_t port, const eddy_options *options)
{
    struct pollfd watched = { .fd = eddy_loop_fd(loop), .events = POLLIN };
    uint64_t begun = plain_now();
    int before = opened->count;
    START(opened, eddy_open_connection(loop, "pair.test", port, options, got_stream, opened));
    while (opened->count == before) {
        plain_ok(poll(&watched, 1, eddy_loop_timeout(loop)), "poll");
        CHECK(eddy_loop_run_once(loop, 0) >= 0);
        CHECK(plain_now() - begun < 10000 * (uint64_t)eddy_test_slow());
    }
    return plain_now() - begun;
}

TEST(another_loop_is_told_in_time, "O8 O6")
{
    struct hosts hosts = hosts_begin();
    eddy_loop *loop = eddy_loop_new();
    names_answer(SILENT, ALIVE);
    GOT(opened);
    GOT(late);
    CHECK_ELAPSED(100, open_from_outside(loop, &opened, hosts.port, EDDY_OPTIONS(.happy_eyeballs_ms = 100)));
    check_peer(&opened, ALIVE, hosts.port);
    CHECK_ELAPSED(200, open_from_outside(loop, &late, hosts.port, EDDY_OPTIONS(.happy_eyeballs_ms = EDDY_NEVER,
                                                                               .timeout_ms = 200)));
    CHECK_INT(late.code, EDDY_ETIMEDOUT);
    eddy_loop_free(loop);
    hosts_end(&hosts);
}

/* ---- the resolver -------------------------------------------------------------------------------------- */

TEST(names_that_are_stuck_hold_up_no_other, "O3 O6 r11")
{
    enum { STUCK = 40 };
    struct hosts hosts = hosts_begin();
    int before = threads();
    eddy_loop *loop = eddy_loop_new();
    GOT(stuck);
    GOT(quick);
    names_answer(ALIVE, NULL);
    for (int i = 0; i < STUCK; i++)
        START(&stuck, eddy_open_connection(loop, "stuck.test", hosts.port, NULL, got_stream, &stuck));
    RUN_UNTIL(loop, atomic_load(&names.asked) == STUCK);
    open_to(loop, &quick, "quick.test", hosts.port, NULL);
    check_peer(&quick, ALIVE, hosts.port);
    CHECK_INT(stuck.count, 0);
    uint64_t begun = plain_now();
    eddy_loop_free(loop); /* waits for none of them */
    CHECK(plain_now() - begun < 5000 * (uint64_t)eddy_test_slow());
    CHECK_INT(stuck.count, STUCK);
    CHECK_INT(stuck.code, EDDY_ECANCELED);
    CHECK(threads() >= before + STUCK);
    for (int i = 0; i < STUCK; i++) sem_post(&names.gate);
    threads_end(before);
    hosts_end(&hosts);
}

/* As many names as there may be threads are stuck: what comes then has to wait, and can be cancelled there. */
TEST(a_cancelled_name_that_has_not_begun_is_never_asked_for, "O6")
{
    enum { MANY = 200, NO_MORE = 10 };
    struct hosts hosts = hosts_begin();
    int before = threads();
    eddy_loop *loop = eddy_loop_new();
    GOT(stuck);
    GOT(cancelled);
    GOT(late);
    GOT(quick);
    eddy_op ops[NO_MORE];
    names_answer(ALIVE, NULL);
    for (int i = 0; i < MANY; i++)
        START(&stuck, eddy_open_connection(loop, "stuck.test", hosts.port, NULL, got_stream, &stuck));
    for (int i = 0; i < NO_MORE; i++)
        ops[i] = START(&cancelled, eddy_open_connection(loop, "cancelled.test", hosts.port, NULL, got_stream,
                                                        &cancelled));
    const uint64_t ms = 300 * (uint64_t)eddy_test_slow();
    START(&late,
          eddy_open_connection(loop, "late.test", hosts.port, EDDY_OPTIONS(.timeout_ms = ms), got_stream, &late));
    START(&quick, eddy_open_connection(loop, "quick.test", hosts.port, NULL, got_stream, &quick));
    RUN_UNTIL(loop, late.count > 0);
    check_failed(&late, EDDY_ETIMEDOUT, text("timed out after %u ms: resolve late.test", (unsigned)ms));
    for (int i = 0; i < NO_MORE; i++) CHECK_INT(eddy_loop_cancel(loop, ops[i]), 0);
    CHECK_INT(cancelled.count, 0);
    CHECK(eddy_loop_run_once(loop, 0) > 0); /* in the next round */
    CHECK_INT(cancelled.count, NO_MORE);
    CHECK_INT(cancelled.code, EDDY_ECANCELED);
    for (int i = 0; i < NO_MORE; i++) CHECK_INT(eddy_loop_cancel(loop, ops[i]), EDDY_ESTALE);
    CHECK_INT(atomic_load(&names.answered), 0);
    CHECK(threads() <= before + 64);
    for (int i = 0; i < MANY; i++) sem_post(&names.gate);
    RUN_UNTIL(loop, quick.count > 0 && stuck.count == MANY);
    CHECK_INT(quick.code, 0);
    CHECK_INT(stuck.code, 0);
    CHECK_INT(atomic_load(&names.asked), MANY + 1); /* and neither for the cancelled nor for the late ones */
    eddy_loop_free(loop);
    threads_end(before);
    hosts_end(&hosts);
}

TEST(threads_with_no_name_to_resolve_end, "")
{
    struct hosts hosts = hosts_begin();
    int before = threads();
    eddy_loop *loop = eddy_loop_new();
    names_answer(ALIVE, NULL);
    names.delay = 10000;
    for (int round = 0; round < 2; round++) {
        GOT(opened);
        for (int i = 0; i < 8; i++)
            START(&opened, eddy_open_connection(loop, "quick.test", hosts.port, NULL, got_stream, &opened));
        RUN_UNTIL(loop, opened.count == 8);
        CHECK_INT(opened.code, 0);
        CHECK(threads() > before);
        threads_end(before); /* while the loop lives on */
    }
    GOT(last);
    open_to(loop, &last, "quick.test", hosts.port, NULL);
    CHECK(threads() > before);
    eddy_loop_free(loop);
    CHECK_INT(threads(), before); /* one that is idle ends with its loop */
    hosts_end(&hosts);
}

/* This program's pthread_create stands before the C library's, also for libeddy. */
static atomic_bool no_more_threads;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (atomic_load(&no_more_threads)) return EAGAIN;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, run, arg);
}

TEST(without_a_thread_for_it_a_name_is_told_so_or_waits, "O3 r07")
{
    struct hosts hosts = hosts_begin();
    int before = threads();
    eddy_loop *loop = eddy_loop_new();
    GOT(refused);
    GOT(stuck);
    GOT(queued);
    GOT(literal);
    names_answer(ALIVE, NULL);
    atomic_store(&no_more_threads, true);
    open_to(loop, &refused, "quick.test", hosts.port, NULL);
    check_failed(&refused, EDDY_ESYSTEM, "resolve quick.test: Resource temporarily unavailable");
    CHECK_INT(refused.system, EAGAIN);
    open_to(loop, &literal, ALIVE, hosts.port, NULL);
    check_peer(&literal, ALIVE, hosts.port);
    atomic_store(&no_more_threads, false);
    START(&stuck, eddy_open_connection(loop, "stuck.test", hosts.port, NULL, got_stream, &stuck));
    RUN_UNTIL(loop, atomic_load(&names.asked) == 1);
    atomic_store(&no_more_threads, true);
    START(&queued, eddy_open_connection(loop, "quick.test", hosts.port, NULL, got_stream, &queued));
    end_pump(loop, 20);
    CHECK_INT(queued.count, 0);
    sem_post(&names.gate); /* the one thread that there is comes to it */
    RUN_UNTIL(loop, stuck.count > 0 && queued.count > 0);
    CHECK_INT(stuck.code + queued.code, 0);
    atomic_store(&no_more_threads, false);
    eddy_loop_free(loop);
    CHECK_INT(threads(), before);
    hosts_end(&hosts);
}

/* ---- races --------------------------------------------------------------------------------------------- */

enum { ROUNDS = 1000 };

/* What became of each round; exactly one of these. */
struct outcomes {
    int connected, timed_out, cancelled;
};

static void count_outcome(struct outcomes *outcomes, struct got *opened)
{
    CHECK_INT(opened->count, 1);
    switch (opened->code) {
    case 0: outcomes->connected++; break;
    case EDDY_ETIMEDOUT: outcomes->timed_out++; break;
    case EDDY_ECANCELED: outcomes->cancelled++; break;
    default: FAIL("%d: %s", opened->code, opened->message);
    }
    if (opened->code == 0) CHECK_INT(eddy_writer_abort(opened->writer), 0);
    if (opened->code == 0) eddy_writer_free(opened->writer);
}

/* Takes what has come, so that the listener's queue never fills up. */
static void take_clients(int listener)
{
    struct pollfd waiting = { .fd = listener, .events = POLLIN };
    while (poll(&waiting, 1, 0) > 0) close(plain_accept(listener));
}

struct race {
    struct hosts hosts;
    eddy_loop *loop;
    int descriptors;
};

/* pair.test has these addresses; one connection has been made, so that what is made once is there. */
static struct race race_begin(const char *first, const char *second)
{
    struct race race = { .hosts = hosts_begin(), .loop = eddy_loop_new() };
    names_answer(first, second);
    GOT(warm);
    open_to(race.loop, &warm, "pair.test", race.hosts.port, NULL);
    take_clients(race.hosts.alive);
    race.descriptors = plain_descriptors();
    return race;
}

/* Nothing of all those connections is left open. */
static void race_end(struct race *race)
{
    end_pump(race->loop, 20);
    take_clients(race->hosts.alive);
    CHECK_INT(plain_descriptors(), race->descriptors);
    eddy_loop_free(race->loop);
    hosts_end(&race->hosts);
}

TEST(a_deadline_and_a_connection_at_the_same_time_have_one_outcome, "O6")
{
    struct race race = race_begin(ALIVE, NULL);
    struct outcomes outcomes = { 0 };
    for (int round = 0; round < ROUNDS; round++) {
        GOT(opened);
        names.delay = (useconds_t)(round % 40) * 50; /* the deadline is in the middle of these */
        START(&opened, eddy_open_connection(race.loop, "pair.test", race.hosts.port, EDDY_OPTIONS(.timeout_ms = 1),
                                            got_stream, &opened));
        if (round % 3 == 0) { /* both have happened when the loop looks */
            CHECK(eddy_loop_run_once(race.loop, 0) >= 0);
            usleep(1500);
        }
        RUN_UNTIL(race.loop, opened.count > 0);
        if (round % 7 == 0) end_pump(race.loop, 2); /* the answer that came too late finds nobody */
        count_outcome(&outcomes, &opened);
        take_clients(race.hosts.alive);
    }
    CHECK_INT(outcomes.connected + outcomes.timed_out, ROUNDS);
    CHECK(outcomes.timed_out > 0);
    if (eddy_test_slow() == 1) CHECK(outcomes.connected > 0);
    race_end(&race);
}

TEST(a_cancel_and_a_connection_at_the_same_time_have_one_outcome, "O6")
{
    struct race race = race_begin(SILENT, ALIVE);
    struct outcomes outcomes = { 0 };
    for (int round = 0; round < ROUNDS; round++) {
        GOT(opened);
        const char *host = round % 2 == 0 ? ALIVE : "pair.test";
        eddy_op op = START(&opened, eddy_open_connection(race.loop, host, race.hosts.port,
                                                         EDDY_OPTIONS(.happy_eyeballs_ms = 1), got_stream, &opened));
        for (int turn = 0; turn < round % 6; turn++) CHECK(eddy_loop_run_once(race.loop, round % 3) >= 0);
        const bool decided = opened.count > 0;
        CHECK_INT(eddy_loop_cancel(race.loop, op), decided ? EDDY_ESTALE : 0);
        settle(race.loop);
        CHECK_INT(opened.count, 1);
        CHECK_INT(opened.code, decided ? 0 : EDDY_ECANCELED);
        count_outcome(&outcomes, &opened);
        take_clients(race.hosts.alive);
    }
    CHECK_INT(outcomes.connected + outcomes.cancelled, ROUNDS);
    CHECK(outcomes.connected > 0 && outcomes.cancelled > 0);
    race_end(&race);
}

TEST(deadline_cancel_and_connection_together_have_one_outcome, "O6")
{
    struct race race = race_begin(SILENT, ALIVE);
    struct outcomes outcomes = { 0 };
    for (int round = 0; round < ROUNDS; round++) {
        GOT(opened);
        eddy_op op = START(&opened, eddy_open_connection(race.loop, "pair.test", race.hosts.port,
                                                         EDDY_OPTIONS(.happy_eyeballs_ms = 1, .timeout_ms = 2),
                                                         got_stream, &opened));
        for (int turn = 0; turn < round % 5; turn++) CHECK(eddy_loop_run_once(race.loop, 1) >= 0);
        const bool decided = opened.count > 0;
        CHECK_INT(eddy_loop_cancel(race.loop, op), decided ? EDDY_ESTALE : 0);
        settle(race.loop);
        count_outcome(&outcomes, &opened);
        if (!decided) CHECK_INT(opened.code, EDDY_ECANCELED);
        take_clients(race.hosts.alive);
    }
    CHECK_INT(outcomes.connected + outcomes.cancelled + outcomes.timed_out, ROUNDS);
    CHECK(outcomes.cancelled > 0);
    race_end(&race);
}

/* ---- servers on several addresses ---------------------------------------------------------------------- */

TEST(a_server_listens_on_every_address_of_its_host, "V6 V7")
{
    const bool v6 = plain_has_v6();
    eddy_loop *loop = eddy_loop_new();
    names_answer(ALIVE, REFUSING);
    names.answers[2] = v6 ? "::1" : NULL;
    GOT(started);
    eddy_server *server = start_server(loop, &started, "all.test", 0, NULL);
    CHECK_INT(started.code, 0);
    uint16_t port = plain_port((int)eddy_server_socket(server, 0));
    CHECK_STR(eddy_server_sockname(server, 0), text("127.0.0.2:%u", port));
    CHECK_STR(eddy_server_sockname(server, 1), text("127.0.0.3:%u", port)); /* the same port */
    if (v6) CHECK_STR(eddy_server_sockname(server, 2), text("[::1]:%u", port));
    CHECK(eddy_server_sockname(server, v6 ? 3 : 2) == NULL);
    CHECK_INT(eddy_server_socket(server, v6 ? 3 : 2), -1);
    GOT(first);
    GOT(second);
    GOT(third);
    open_to(loop, &first, ALIVE, port, NULL);
    open_to(loop, &second, REFUSING, port, NULL);
    CHECK_INT(first.code + second.code, 0);
    if (v6) open_to(loop, &third, "::1", port, NULL);
    CHECK_INT(third.code, 0);
    eddy_loop_free(loop);
}

TEST(a_free_port_is_the_same_for_both_families, "V7 V8")
{
    if (!plain_has_v6()) return;
    for (int shared = 0; shared < 2; shared++) {
        eddy_loop *loop = eddy_loop_new();
        GOT(started);
        GOT(other);
        eddy_server *server = start_server(loop, &started, NULL, 0, EDDY_OPTIONS(.reuse_port = shared));
        uint16_t port = plain_port((int)eddy_server_socket(server, 0));
        CHECK_STR(eddy_server_sockname(server, 0), text("0.0.0.0:%u", port));
        CHECK_STR(eddy_server_sockname(server, 1), text("[::]:%u", port));
        start_server(loop, &other, NULL, port, EDDY_OPTIONS(.reuse_port = 1));
        CHECK_INT(other.code, shared ? 0 : EDDY_ESYSTEM); /* another loop can join a port that is shared */
        eddy_loop_free(loop);
    }
}

/* ---- sockets from systemd ------------------------------------------------------------------------------ */

static void answer_and_end(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct got *started = arg;
    (void)reader, (void)error;
    CHECK_INT(eddy_writer_write(writer, "activated\n", 10), 0);
    eddy_writer_free(writer);
    CHECK_INT(eddy_server_close(started->server), 0); /* one client is enough: then run returns */
}

/* A service as systemd starts it: the sockets it is to serve are descriptors 3 and up, and the environment says how
 * many there are, and for whom. */
static void serve_what_was_passed(void)
{
    enum { FIRST = 3 };
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    CHECK(pid != NULL && atoi(pid) == getpid());
    CHECK_INT(atoi(count), 1);
    eddy_loop *loop = eddy_loop_new();
    GOT(started);
    const eddy_options *not_ours = EDDY_OPTIONS(.keep_socket_file = 1); /* systemd made the file, and needs it */
    START(&started, eddy_start_socket_server(loop, answer_and_end, FIRST, not_ours, got_server, &started));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(started.code, 0);
    CHECK_INT(started.count, 1);
    eddy_loop_free(loop);
    exit(0);
}

/* Starts this program again, as systemd would for its first client. */
static pid_t activate(const char *test, int listener)
{
    char program[4096];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    CHECK(len > 0);
    program[len] = '\0';
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char pid[16];
        snprintf(pid, sizeof pid, "%d", (int)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        if (listener == 3) fcntl(3, F_SETFD, 0);
        else if (dup2(listener, 3) != 3) _exit(2); /* without close-on-exec */
        int quiet = open("/dev/null", O_WRONLY);
        dup2(quiet, 1);
        if (quiet != 3) close(quiet);
        execl(program, program, test, (char *)NULL);
        _exit(3);
    }
    return child;
}

static void check_activated(int client, pid_t child)
{
    char line[32];
    int status;
    CHECK_INT(plain_recv(client, line, sizeof line), 10);
    CHECK_BYTES(line, (size_t)10, "activated\n");
    close(client);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
}

TEST(a_service_is_started_by_its_socket, "V21")
{
    if (getenv("LISTEN_FDS") != NULL) serve_what_was_passed();
    const char *directory = plain_directory();
    char path[128];
    int listener = plain_listen(), client = plain_connect(plain_port(listener));
    check_activated(client, activate("a_service_is_started_by_its_socket", listener));
    close(listener);
    listener = plain_unix_listen(plain_path(path, sizeof path, directory, "socket"), 5);
    for (int round = 0; round < 2; round++) { /* the service has ended, its socket is there, and it is started again */
        client = plain_unix_connect(path);
        check_activated(client, activate("a_service_is_started_by_its_socket", listener));
    }
    close(listener);
    CHECK_INT(unlink(path), 0);
    CHECK_INT(rmdir(directory), 0);
}
