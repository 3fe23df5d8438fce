/* A loop with a virtual clock: timers of any length take no time, and nothing else changes. */
#include "ends.h"

enum { SECOND = 1000, HOUR = 3600 * SECOND, DAY = 24 * HOUR };

static eddy_loop *virtual_loop(void)
{
    eddy_loop *loop = eddy_loop_new();
    CHECK(loop != NULL);
    CHECK_INT(eddy_loop_set_clock(loop, 1), 0);
    return loop;
}

/* Whatever runs here must not wait: an hour has passed on its clock, and no time on ours. */
static const uint64_t no_time = 10 * SECOND;

struct rung {
    eddy_loop *loop;
    uint64_t at; /* by the loop's clock */
    int count, order;
};

static int rung_order;

static void ring(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct rung *rung = arg;
    if (error != NULL) return;
    rung->at = eddy_loop_time(loop);
    rung->order = ++rung_order;
    rung->count++;
}

static void set(eddy_loop *loop, uint64_t delay, struct rung *rung)
{
    CHECK(eddy_loop_call_later(loop, delay, ring, rung) >= 0);
}

TEST(an_hour_passes_in_no_time, "")
{
    const uint64_t delays[] = { HOUR, 3, 30ull * DAY, 1, DAY, 365ull * DAY, 0 };
    enum { COUNT = sizeof delays / sizeof delays[0] };
    const uint64_t start = plain_now();
    eddy_loop *loop = virtual_loop();
    struct rung rung[COUNT];
    memset(rung, 0, sizeof rung);
    const uint64_t begin = eddy_loop_time(loop);
    for (int i = 0; i < COUNT; i++) set(loop, delays[i], &rung[i]);
    CHECK_INT(eddy_loop_run(loop), 0);
    for (int i = 0; i < COUNT; i++) {
        CHECK_INT(rung[i].count, 1);
        CHECK_INT(rung[i].at, begin + delays[i]); /* to the millisecond */
        for (int j = 0; j < COUNT; j++)
            if (delays[i] < delays[j]) CHECK(rung[i].order < rung[j].order);
    }
    CHECK_INT(eddy_loop_time(loop), begin + 365ull * DAY);
    CHECK(plain_now() - start < no_time * (uint64_t)eddy_test_slow());
    eddy_loop_free(loop);
}

static void go_on(eddy_loop *loop, const eddy_error *error, void *arg)
{
    int *left = arg;
    CHECK(error == NULL);
    if (--*left > 0) CHECK(eddy_loop_call_later(loop, 90 * SECOND, go_on, arg) >= 0);
}

TEST(timers_that_set_themselves_again, "")
{
    eddy_loop *loop = virtual_loop();
    const uint64_t begin = eddy_loop_time(loop);
    int left = 10000;
    CHECK(eddy_loop_call_later(loop, 90 * SECOND, go_on, &left) >= 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(left, 0);
    CHECK_INT(eddy_loop_time(loop) - begin, 10000ull * 90 * SECOND);
    eddy_loop_free(loop);
}

static void call_again(eddy_loop *loop, const eddy_error *error, void *arg)
{
    int *left = arg;
    CHECK(error == NULL);
    if (--*left > 0) CHECK(eddy_loop_call_soon(loop, call_again, arg) >= 0);
}

TEST(time_stands_still_while_there_is_something_to_do, "")
{
    eddy_loop *loop = virtual_loop();
    struct rung rung = { 0 };
    int left = 100000 / eddy_test_slow();
    const uint64_t begin = eddy_loop_time(loop);
    set(loop, 1, &rung);
    CHECK(eddy_loop_call_soon(loop, call_again, &left) >= 0);
    while (left > 0) {
        CHECK(eddy_loop_run_once(loop, -1) >= 0);
        if (left > 0) CHECK_INT(eddy_loop_time(loop), begin);
        if (left > 0) CHECK_INT(rung.count, 0);
    }
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(rung.count, 1);
    CHECK_INT(eddy_loop_time(loop), begin + 1);
    eddy_loop_free(loop);
}

static void cancel(eddy_loop *loop, const eddy_error *error, void *arg)
{
    eddy_op *op = arg;
    if (error == NULL) CHECK_INT(eddy_loop_cancel(loop, *op), 0);
}

/* What it is for: the test of a program that gives its peer an hour. */
TEST(a_timeout_is_tested_in_no_time, "")
{
    const uint64_t start = plain_now();
    struct end end = end_tcp_on(virtual_loop(), NULL);
    GOT(line);
    eddy_op op = START(&line, eddy_reader_readline(end.reader, got_read, &line));
    CHECK(eddy_loop_call_later(end.loop, HOUR, cancel, &op) >= 0);
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK_INT(line.code, EDDY_ECANCELED);
    CHECK_INT(line.count, 1);
    CHECK(plain_now() - start < no_time * (uint64_t)eddy_test_slow());
    end_free(&end);
}

TEST(what_is_ready_comes_before_the_next_timer, "")
{
    struct end end = end_unix_on(virtual_loop(), NULL);
    struct rung rung = { 0 };
    for (int i = 0; i < 100; i++) {
        GOT(line);
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        set(end.loop, 1, &rung);
        plain_send_text(end.peer, "there\n");
        CHECK(eddy_loop_run_once(end.loop, -1) >= 0);
        CHECK_INT(line.count, 1);
        CHECK_INT(rung.count, i);
        CHECK_INT(eddy_loop_run(end.loop), 0);
        CHECK_INT(rung.count, i + 1);
    }
    end_free(&end);
}

TEST(one_round_lets_no_more_time_pass_than_it_may, "")
{
    eddy_loop *loop = virtual_loop();
    struct rung rung = { 0 };
    const uint64_t begin = eddy_loop_time(loop);
    set(loop, 100, &rung);
    for (int i = 0; i < 10; i++) CHECK(eddy_loop_run_once(loop, 0) > 0);
    CHECK_INT(eddy_loop_time(loop), begin);
    CHECK_INT(eddy_loop_timeout(loop), 100);
    CHECK(eddy_loop_run_once(loop, 60) > 0);
    CHECK_INT(eddy_loop_time(loop), begin + 60);
    CHECK_INT(eddy_loop_timeout(loop), 40);
    CHECK(eddy_loop_run_once(loop, 39) > 0);
    CHECK_INT(rung.count, 0);
    CHECK_INT(eddy_loop_run_once(loop, 60), 0); /* no further than to the timer */
    CHECK_INT(rung.count, 1);
    CHECK_INT(eddy_loop_time(loop), begin + 100);
    CHECK_INT(eddy_loop_timeout(loop), -1);
    set(loop, HOUR, &rung);
    CHECK_INT(eddy_loop_run_once(loop, -1), 0);
    CHECK_INT(rung.count, 2);
    eddy_loop_free(loop);
}

static void stop(eddy_loop *loop, const eddy_error *error, void *arg)
{
    int *called = arg;
    CHECK(error == NULL);
    ++*called;
    CHECK_INT(eddy_loop_stop(loop), 0);
}

static void *post_later(void *arg)
{
    struct rung *rung = arg;
    usleep(5000);
    CHECK_INT(eddy_loop_call_soon_threadsafe(rung->loop, stop, &rung->count), 0);
    return NULL;
}

TEST(without_a_timer_it_waits_as_ever_and_no_time_passes, "")
{
    eddy_loop *loop = virtual_loop();
    struct rung rung = { .loop = loop };
    const uint64_t begin = eddy_loop_time(loop), start = plain_now();
    pthread_t thread = plain_start(post_later, &rung);
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    CHECK_INT(rung.count, 1);
    plain_join(thread);
    CHECK_INT(eddy_loop_time(loop), begin);
    CHECK(plain_now() - start >= 5);
    CHECK(stats_of(loop).turns < 10); /* asleep, not spinning */
    eddy_loop_free(loop);
}

TEST(what_another_thread_has_posted_comes_before_the_next_timer, "")
{
    eddy_loop *loop = virtual_loop();
    struct rung rung = { 0 };
    int called = 0;
    set(loop, 1, &rung);
    CHECK_INT(eddy_loop_call_soon_threadsafe(loop, stop, &called), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(called, 1);
    CHECK_INT(rung.count, 0);
    eddy_loop_free(loop);
}

TEST(a_name_that_is_looked_up_takes_no_time, "")
{
    const int listener = plain_listen();
    eddy_loop *loop = virtual_loop();
    struct rung rung = { 0 };
    GOT(opened);
    const uint64_t begin = eddy_loop_time(loop);
    set(loop, 1, &rung); /* sooner than any resolver */
    START(&opened, eddy_open_connection(loop, "localhost", plain_port(listener), EDDY_OPTIONS(.family = AF_INET),
                                        got_stream, &opened));
    while (opened.count == 0) {
        CHECK_INT(rung.count, 0);
        CHECK_INT(eddy_loop_time(loop), begin);
        CHECK(eddy_loop_run_once(loop, -1) >= 0);
    }
    CHECK_INT(opened.code, 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(rung.count, 1);
    eddy_loop_free(loop);
    close(listener);
}

TEST(timers_of_eddys_own_go_by_it_too, "")
{
    const uint64_t start = plain_now();
    struct end end = end_tcp_on(virtual_loop(), NULL);
    const uint64_t begin = eddy_loop_time(end.loop);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    /* A peer that never closes is waited for: two seconds, and again while it has not acknowledged all. */
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK(eddy_loop_time(end.loop) >= begin + 2 * SECOND);
    CHECK(eddy_loop_time(end.loop) <= begin + 30 * SECOND);
    CHECK(plain_now() - start < no_time * (uint64_t)eddy_test_slow());
    end_free(&end);
}

TEST(the_clock_is_chosen_before_anything_is_timed, "")
{
    eddy_loop *loop = eddy_loop_new();
    struct rung rung = { 0 };
    const uint64_t before = eddy_loop_time(loop);
    CHECK_INT(eddy_loop_set_clock(loop, 0), 0); /* as it is */
    CHECK_INT(eddy_loop_set_clock(loop, 5), 0);
    CHECK_INT(eddy_loop_set_clock(loop, 1), 0);
    const uint64_t frozen = eddy_loop_time(loop);
    CHECK(frozen >= before);
    usleep(3000);
    CHECK_INT(eddy_loop_time(loop), frozen);
    CHECK_INT(eddy_loop_set_clock(loop, 0), 0);
    uint64_t last = eddy_loop_time(loop);
    CHECK(last >= frozen); /* it never goes back */
    while (last < frozen + 3) last = eddy_loop_time(loop); /* and goes on */
    CHECK_INT(eddy_loop_set_clock(loop, -1), 0);
    CHECK(eddy_loop_time(loop) >= last);
    set(loop, HOUR, &rung);
    CHECK_INT(eddy_loop_set_clock(loop, 0), EDDY_ESTATE);
    CHECK_INT(eddy_loop_set_clock(loop, 1), EDDY_ESTATE);
    CHECK_INT(eddy_loop_run(loop), 0); /* it is the virtual one still */
    CHECK_INT(rung.count, 1);
    CHECK_INT(eddy_loop_set_clock(loop, 0), EDDY_ESTATE); /* nor later */
    eddy_loop_free(loop);

    loop = eddy_loop_new();
    GOT(call);
    START(&call, eddy_loop_call_soon(loop, got_loop, &call)); /* which is not timed */
    CHECK_INT(eddy_loop_set_clock(loop, 1), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(eddy_loop_set_clock(loop, 0), 0);
    set(loop, 1, &rung);
    CHECK_INT(eddy_loop_set_clock(loop, 1), EDDY_ESTATE);
    eddy_loop_free(loop);
}

TEST(never_is_never_by_a_virtual_clock_too, "m03")
{
    eddy_loop *loop = virtual_loop();
    struct rung never = { 0 }, far = { 0 };
    const uint64_t begin = eddy_loop_time(loop);
    set(loop, UINT64_MAX, &never);
    CHECK_INT(eddy_loop_timeout(loop), -1);
    CHECK(eddy_loop_run_once(loop, 5) > 0); /* really waits: there is nothing to jump to */
    CHECK_INT(eddy_loop_time(loop), begin);
    set(loop, UINT64_MAX / 2, &far);
    CHECK(eddy_loop_run_once(loop, -1) > 0);
    CHECK_INT(far.count, 1);
    CHECK(eddy_loop_time(loop) >= UINT64_MAX / 2);
    set(loop, UINT64_MAX - 1, &far); /* beyond the end of that clock's time, or not: no harm */
    CHECK(eddy_loop_run_once(loop, 0) > 0);
    CHECK_INT(never.count, 0);
    eddy_loop_free(loop);
}

TEST(two_loops_have_two_clocks, "")
{
    eddy_loop *loops[2] = { virtual_loop(), eddy_loop_new() };
    struct rung rung[2] = { { 0 }, { 0 } };
    set(loops[0], DAY, &rung[0]);
    set(loops[1], 5, &rung[1]);
    CHECK_INT(eddy_loop_run(loops[0]), 0);
    CHECK_INT(eddy_loop_run(loops[1]), 0);
    CHECK(rung[0].at >= DAY);
    CHECK(rung[1].at < DAY);
    CHECK_INT(rung[0].count + rung[1].count, 2);
    for (int i = 0; i < 2; i++) eddy_loop_free(loops[i]);
}
