/* The loop by itself: what it calls, when, how often, from where; and all that must not disturb it. */
#include "collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static eddy_loop *new_loop(void)
{
    eddy_loop *loop = eddy_loop_new();
    CHECK(loop != NULL);
    return loop;
}

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    int count = 0;
    while (readdir(dir) != NULL) count++;
    closedir(dir);
    return count;
}

static long long clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

/* ---- call_soon ----------------------------------------------------------------------------------------- */

TEST(call_soon_calls_in_order_and_from_the_loop_only, "")
{
    eddy_loop *loop = new_loop();
    struct got calls[50] = { { 0 } };
    for (int i = 0; i < 50; i++) START(&calls[i], eddy_loop_call_soon(loop, got_loop, &calls[i]));
    sleep_ms(2);
    CHECK_INT(calls[0].count, 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    for (int i = 0; i < 50; i++) {
        CHECK_ENDED(calls[i], 1, 0);
        CHECK(calls[i].loop == loop);
        CHECK(i == 0 || calls[i - 1].order < calls[i].order);
        got_release(&calls[i]);
    }
    eddy_loop_free(loop);
    for (int i = 0; i < 50; i++) CHECK_INT(calls[i].count, 1);
}

static void call_data_soon(struct got *got, void *data)
{
    struct got *next = data;
    START(next, eddy_loop_call_soon(got->loop, got_loop, next));
}

TEST(what_a_callback_posts_comes_after_what_was_posted_before, "")
{
    eddy_loop *loop = new_loop();
    GOT(first);
    GOT(second);
    GOT(third);
    first.then = call_data_soon;
    first.data = &third;
    START(&first, eddy_loop_call_soon(loop, got_loop, &first));
    START(&second, eddy_loop_call_soon(loop, got_loop, &second));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_ENDED(third, 1, 0);
    CHECK(first.order < second.order && second.order < third.order);
    eddy_loop_free(loop);
}

static void again(eddy_loop *loop, const eddy_error *error, void *arg)
{
    int *left = arg;
    CHECK(error == NULL);
    if (--*left > 0) CHECK(eddy_loop_call_soon(loop, again, left) >= 0);
}

TEST(a_callback_that_posts_itself_starves_no_timer, "")
{
    eddy_loop *loop = new_loop();
    GOT(timer);
    int left = 1 << 30;
    CHECK(eddy_loop_call_soon(loop, again, &left) >= 0);
    START(&timer, eddy_loop_call_later(loop, 2, got_loop, &timer));
    RUN_UNTIL(loop, timer.count);
    CHECK(left > 0);
    left = 1;
    CHECK_INT(eddy_loop_run(loop), 0);
    eddy_loop_free(loop);
}

TEST(the_loop_refuses_what_makes_no_sense, "")
{
    eddy_loop *loop = new_loop();
    CHECK_INT(eddy_loop_call_soon(loop, NULL, NULL), EDDY_EINVAL);
    CHECK_INT(eddy_loop_call_later(loop, 1, NULL, NULL), EDDY_EINVAL);
    CHECK_INT(eddy_loop_call_soon_threadsafe(loop, NULL, NULL), EDDY_EINVAL);
    CHECK_INT(eddy_loop_call_soon(NULL, got_loop, NULL), EDDY_ESTALE);
    CHECK_INT(eddy_loop_run(NULL), EDDY_ESTALE);
    CHECK_INT(eddy_loop_run_once(NULL, 0), EDDY_ESTALE);
    CHECK_INT(eddy_loop_stop(NULL), EDDY_ESTALE);
    CHECK(!eddy_loop_is_running(NULL));
    eddy_reader *reader = eddy_reader_new(loop, 100);
    CHECK_INT(eddy_loop_call_soon((eddy_loop *)(void *)reader, got_loop, NULL), EDDY_ESTALE);
    CHECK_INT(eddy_loop_run((eddy_loop *)(void *)reader), EDDY_ESTALE);
    eddy_loop_free((eddy_loop *)(void *)reader);
    CHECK_INT(eddy_reader_feed_data(reader, "x", 1), 0);
    eddy_loop_free(NULL);
    struct reports silence = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &silence), 0);
    eddy_loop_free(loop);
    eddy_loop_free(loop);
    CHECK_INT(eddy_loop_call_soon(loop, got_loop, NULL), EDDY_ESTALE);
    CHECK_INT(eddy_loop_call_soon_threadsafe(loop, got_loop, NULL), EDDY_ESTALE);
    CHECK_INT(eddy_loop_run(loop), EDDY_ESTALE);
    CHECK_INT(eddy_loop_detach(loop), EDDY_ESTALE);
    CHECK(eddy_loop_attach(loop) < 0);
    CHECK(eddy_loop_fd(loop) < 0);
}

/* ---- call_later ---------------------------------------------------------------------------------------- */

struct alarm_clock {
    long long set_us, set_by_us, rang_us; /* set between the first and the second */
    uint64_t delay_ms;
    int count;
};

static long long due_us(const struct alarm_clock *alarm_clock)
{
    return (long long)alarm_clock->delay_ms * 1000;
}

static void ring(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct alarm_clock *alarm_clock = arg;
    (void)loop;
    CHECK(error == NULL);
    alarm_clock->rang_us = clock_us();
    alarm_clock->count++;
}

TEST(timers_come_in_order_of_their_time_and_never_early, "m02")
{
    static const uint64_t delays[] = { 13, 1, 7, 0, 3, 20, 2, 9, 1, 5, 15, 4 };
    enum { COUNT = sizeof delays / sizeof delays[0] };
    eddy_loop *loop = new_loop();
    struct alarm_clock clocks[COUNT] = { { 0 } };
    for (int i = 0; i < COUNT; i++) {
        clocks[i].delay_ms = delays[i];
        clocks[i].set_us = clock_us();
        CHECK(eddy_loop_call_later(loop, delays[i], ring, &clocks[i]) >= 0);
        clocks[i].set_by_us = clock_us();
        CHECK_INT(clocks[i].count, 0);
        /* so that they begin at all parts of a millisecond */
        while (clock_us() - clocks[i].set_us < 150) continue;
    }
    CHECK_INT(eddy_loop_run(loop), 0);
    for (int i = 0; i < COUNT; i++) {
        CHECK_INT(clocks[i].count, 1);
        const long long early = clocks[i].set_us + due_us(&clocks[i]) - clocks[i].rang_us;
        if (early > 0) FAIL("a timer of %d ms came %lld us early", (int)clocks[i].delay_ms, early);
        for (int j = 0; j < COUNT; j++)
            if (clocks[i].set_by_us + due_us(&clocks[i]) < clocks[j].set_us + due_us(&clocks[j]))
                CHECK(clocks[i].rang_us <= clocks[j].rang_us);
    }
    eddy_loop_free(loop);
}

TEST(a_timer_of_one_millisecond_is_never_early, "m02")
{
    eddy_loop *loop = new_loop();
    for (int i = 0; i < 100; i++) {
        struct alarm_clock one = { .delay_ms = 1 };
        const long long offset = clock_us() + i % 10 * 100;
        while (clock_us() < offset) continue;
        one.set_us = clock_us();
        CHECK(eddy_loop_call_later(loop, 1, ring, &one) >= 0);
        CHECK_INT(eddy_loop_run(loop), 0);
        CHECK_INT(one.count, 1);
        if (one.rang_us - one.set_us < 1000) FAIL("it came after %lld us", one.rang_us - one.set_us);
    }
    eddy_loop_free(loop);
}

TEST(timers_of_one_delay_come_in_the_order_they_were_set, "m06")
{
    eddy_loop *loop = new_loop();
    struct got timers[200] = { { 0 } };
    for (int i = 0; i < 200; i++) START(&timers[i], eddy_loop_call_later(loop, 3, got_loop, &timers[i]));
    CHECK_INT(eddy_loop_run(loop), 0);
    for (int i = 0; i < 200; i++) {
        CHECK_ENDED(timers[i], 1, 0);
        CHECK(i == 0 || timers[i - 1].order < timers[i].order);
        got_release(&timers[i]);
    }
    eddy_loop_free(loop);
}

TEST(a_timer_for_the_end_of_time, "m03")
{
    eddy_loop *loop = new_loop();
    GOT(never);
    GOT(soon);
    static const uint64_t delays[] = {
        UINT64_MAX, UINT64_MAX - 1, UINT64_MAX / 1000, UINT64_MAX / 1000000, (uint64_t)INT64_MAX + 1,
        INT64_MAX,  UINT32_MAX,     INT32_MAX,         (uint64_t)UINT32_MAX + 1,
    };
    enum { COUNT = sizeof delays / sizeof delays[0] };
    eddy_op ops[COUNT];
    for (int i = 0; i < COUNT; i++) {
        ops[i] = START(&never, eddy_loop_call_later(loop, delays[i], got_loop, &never));
        CHECK((unsigned)eddy_loop_timeout(loop) > 1000000); /* or -1, never: so far away as not to be told */
    }
    START(&soon, eddy_loop_call_later(loop, 2, got_loop, &soon));
    CHECK(eddy_loop_timeout(loop) <= 2);
    RUN_UNTIL(loop, soon.count);
    CHECK(eddy_loop_run_once(loop, 0) > 0);
    CHECK_INT(never.count, 0);
    for (int i = 0; i < COUNT; i += 2) CHECK_INT(eddy_loop_cancel(loop, ops[i]), 0);
    settle(loop);
    CHECK_ENDED(never, (COUNT + 1) / 2, EDDY_ECANCELED);
    eddy_loop_free(loop);
    CHECK_ENDED(never, COUNT, EDDY_ECANCELED);
}

TEST(the_clock_of_the_loop_never_goes_back, "")
{
    eddy_loop *loop = new_loop();
    const uint64_t start = eddy_loop_time(loop);
    uint64_t last = start;
    while (last < start + 3) {
        const uint64_t now = eddy_loop_time(loop);
        CHECK(now >= last);
        last = now;
    }
    eddy_loop_free(loop);
}

/* ---- cancel -------------------------------------------------------------------------------------------- */

TEST(a_cancelled_call_is_told_once_in_the_next_turn, "")
{
    eddy_loop *loop = new_loop();
    GOT(call);
    GOT(timer);
    eddy_op call_op = START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    eddy_op timer_op = START(&timer, eddy_loop_call_later(loop, 60000, got_loop, &timer));
    CHECK(call_op != timer_op);
    CHECK_INT(eddy_loop_cancel(loop, call_op), 0);
    CHECK_INT(eddy_loop_cancel(loop, timer_op), 0);
    CHECK_INT(eddy_loop_cancel(loop, call_op), EDDY_ESTALE);
    CHECK_INT(eddy_loop_cancel(loop, timer_op), EDDY_ESTALE);
    CHECK_INT(call.count + timer.count, 0);
    CHECK_INT(eddy_loop_run(loop), 0); /* and waits for no minute */
    CHECK_ENDED(call, 1, EDDY_ECANCELED);
    CHECK_ENDED(timer, 1, EDDY_ECANCELED);
    CHECK_INT(eddy_loop_cancel(loop, call_op), EDDY_ESTALE);
    eddy_loop_free(loop);
    CHECK_INT(call.count + timer.count, 2);
}

struct cancel {
    eddy_op op;
    int result;
};

static void cancel_data(struct got *got, void *data)
{
    struct cancel *cancel = data;
    cancel->result = eddy_loop_cancel(got->loop, cancel->op);
}

TEST(a_call_cancelled_by_another_of_the_same_batch, "")
{
    eddy_loop *loop = new_loop();
    GOT(first);
    GOT(second);
    GOT(third);
    struct cancel cancel = { .result = 1 };
    first.then = cancel_data;
    first.data = &cancel;
    START(&first, eddy_loop_call_soon(loop, got_loop, &first));
    cancel.op = START(&second, eddy_loop_call_soon(loop, got_loop, &second));
    START(&third, eddy_loop_call_soon(loop, got_loop, &third));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(cancel.result, 0);
    CHECK_ENDED(second, 1, EDDY_ECANCELED);
    CHECK_ENDED(third, 1, 0);
    eddy_loop_free(loop);
}

TEST(a_timer_cancelled_by_another_of_the_same_batch, "m05")
{
    eddy_loop *loop = new_loop();
    GOT(first);
    GOT(second);
    struct cancel cancel = { .result = 1 };
    first.then = cancel_data;
    first.data = &cancel;
    START(&first, eddy_loop_call_later(loop, 1, got_loop, &first));
    cancel.op = START(&second, eddy_loop_call_later(loop, 1, got_loop, &second));
    sleep_ms(4); /* both are due now */
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(second.count, 1);
    CHECK_INT(second.code, cancel.result == 0 ? EDDY_ECANCELED : 0);
    CHECK(cancel.result == 0 || cancel.result == EDDY_ESTALE);
    eddy_loop_free(loop);
}

static void cancel_itself(struct got *got, void *data)
{
    CHECK_INT(eddy_loop_cancel(got->loop, ((struct cancel *)data)->op), EDDY_ESTALE);
}

TEST(receipts_that_are_no_more_cancel_nothing, "")
{
    eddy_loop *loop = new_loop();
    GOT(old);
    GOT(next);
    struct cancel cancel = { 0 };
    old.then = cancel_itself;
    old.data = &cancel;
    cancel.op = START(&old, eddy_loop_call_soon(loop, got_loop, &old));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(eddy_loop_cancel(loop, cancel.op), EDDY_ESTALE);
    eddy_op ops[2000];
    for (int i = 0; i < 2000; i++) {
        ops[i] = START(&next, eddy_loop_call_soon(loop, got_loop, &next));
        CHECK(ops[i] != cancel.op);
        CHECK_INT(eddy_loop_cancel(loop, cancel.op), EDDY_ESTALE);
        if (i % 3 == 0) CHECK(eddy_loop_run_once(loop, 0) >= 0);
    }
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(next.count, 2000);
    for (int i = 0; i < 2000; i++) CHECK_INT(eddy_loop_cancel(loop, ops[i]), EDDY_ESTALE);
    static const eddy_op nonsense[] = { 0, -1, 1, INT64_MAX, INT64_MIN, EDDY_EBUSY, 0x123456789abcdef };
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++)
        CHECK(eddy_loop_cancel(loop, nonsense[i]) < 0);
    eddy_loop_free(loop);
}

/* ---- running ------------------------------------------------------------------------------------------- */

static void stop_loop(struct got *got, void *data)
{
    (void)data;
    CHECK(eddy_loop_is_running(got->loop));
    CHECK_INT(eddy_loop_stop(got->loop), 0);
}

TEST(run_returns_when_nothing_is_left, "")
{
    eddy_loop *loop = new_loop();
    GOT(timer);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    START(&timer, eddy_loop_call_later(loop, 3, got_loop, &timer));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(timer.count, 1);
    CHECK(!eddy_loop_is_running(loop));
    eddy_reader_new(loop, 100); /* a reader nobody reads is nothing to wait for */
    CHECK_INT(eddy_loop_run(loop), 0);
    eddy_loop_free(loop);
}

TEST(stop_and_run_again, "e08 d07")
{
    eddy_loop *loop = new_loop();
    GOT(stop);
    GOT(after);
    GOT(timer);
    stop.then = stop_loop;
    START(&timer, eddy_loop_call_later(loop, 5, got_loop, &timer));
    START(&stop, eddy_loop_call_soon(loop, got_loop, &stop));
    START(&after, eddy_loop_call_soon(loop, got_loop, &after));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(stop.count, 1);
    CHECK_INT(timer.count, 0);
    CHECK(!eddy_loop_is_running(loop));
    CHECK_INT(eddy_loop_run(loop), 0); /* the stop is spent: this one runs to the end */
    CHECK_INT(after.count, 1);
    CHECK_INT(timer.count, 1);
    eddy_loop_free(loop);
    CHECK_INT(stop.count + after.count + timer.count, 3);
}

TEST(stop_before_run_leaves_one_turn, "")
{
    eddy_loop *loop = new_loop();
    GOT(call);
    GOT(timer);
    START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    START(&timer, eddy_loop_call_later(loop, 60000, got_loop, &timer));
    CHECK_INT(eddy_loop_stop(loop), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(call.count, 1);
    CHECK_INT(timer.count, 0);
    CHECK_INT(eddy_loop_stop(loop), 0);
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    eddy_loop_free(loop);
    CHECK_ENDED(timer, 1, EDDY_ECANCELED);
}

TEST(run_forever_goes_on_until_it_is_stopped, "")
{
    eddy_loop *loop = new_loop();
    GOT(stop);
    stop.then = stop_loop;
    START(&stop, eddy_loop_call_later(loop, 5, got_loop, &stop));
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    CHECK_INT(stop.count, 1);
    eddy_loop_free(loop);
}

TEST(run_once_tells_whether_there_is_more, "")
{
    eddy_loop *loop = new_loop();
    GOT(call);
    GOT(timer);
    const long long start = test_clock_ms();
    CHECK_INT(eddy_loop_run_once(loop, 60000), 0); /* nothing to wait for: it does not wait */
    CHECK_INT(eddy_loop_run_once(loop, -1), 0);
    START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    CHECK_INT(eddy_loop_run_once(loop, 60000), 0);
    CHECK_INT(call.count, 1);
    START(&timer, eddy_loop_call_later(loop, 30 * (uint64_t)eddy_test_slow(), got_loop, &timer));
    CHECK(eddy_loop_run_once(loop, 0) > 0);
    CHECK(eddy_loop_run_once(loop, 1) > 0);
    CHECK_INT(timer.count, 0);
    while (eddy_loop_run_once(loop, -1) > 0) continue; /* -1: as long as it takes */
    CHECK_INT(timer.count, 1);
    CHECK(test_clock_ms() - start < 20000);
    eddy_loop_free(loop);
}

static void run_inside(struct got *got, void *data)
{
    (void)data;
    CHECK(eddy_loop_is_running(got->loop));
    CHECK_INT(eddy_loop_run(got->loop), EDDY_EBUSY);
    CHECK_INT(eddy_loop_run_forever(got->loop), EDDY_EBUSY);
    CHECK_INT(eddy_loop_run_once(got->loop, 0), EDDY_EBUSY);
    CHECK(eddy_loop_detach(got->loop) < 0);
    CHECK(eddy_loop_is_running(got->loop));
}

TEST(a_running_loop_cannot_be_run_again, "a12")
{
    eddy_loop *loop = new_loop();
    GOT(call);
    GOT(after);
    call.then = run_inside;
    START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    START(&after, eddy_loop_call_soon(loop, got_loop, &after));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_ENDED(call, 1, 0);
    CHECK_ENDED(after, 1, 0);
    eddy_loop_free(loop);
}

static void run_other_inside(struct got *got, void *data)
{
    eddy_loop *other = data;
    CHECK(other != got->loop);
    CHECK(!eddy_loop_is_running(other));
    CHECK_INT(eddy_loop_run(other), 0);
    CHECK(eddy_loop_is_running(got->loop));
}

TEST(several_loops_in_one_thread, "")
{
    eddy_loop *loops[3] = { new_loop(), new_loop(), new_loop() };
    struct got calls[3] = { { 0 } };
    GOT(outer);
    GOT(read);
    for (int i = 0; i < 3; i++) START(&calls[i], eddy_loop_call_soon(loops[i], got_loop, &calls[i]));
    CHECK_INT(eddy_loop_run(loops[1]), 0);
    CHECK_INT(calls[0].count, 0);
    CHECK_ENDED(calls[1], 1, 0);
    CHECK(calls[1].loop == loops[1]);
    CHECK_INT(calls[2].count, 0);
    outer.then = run_other_inside; /* one loop's callback may run another loop */
    outer.data = loops[2];
    START(&outer, eddy_loop_call_soon(loops[0], got_loop, &outer));
    CHECK_INT(eddy_loop_run(loops[0]), 0);
    CHECK_INT(outer.count, 1);
    CHECK_INT(calls[0].count, 1);
    CHECK_INT(calls[2].count, 1);
    eddy_reader *readers[3];
    for (int i = 0; i < 3; i++) readers[i] = eddy_reader_new(loops[i], 100);
    CHECK(readers[0] != readers[1] && readers[1] != readers[2] && readers[0] != readers[2]);
    eddy_loop_free(loops[0]);
    CHECK_INT(eddy_reader_feed_data(readers[0], "x", 1), EDDY_ESTALE);
    CHECK_INT(eddy_reader_feed_data(readers[1], "one", 3), 0);
    CHECK_INT(eddy_reader_feed_data(readers[2], "three", 5), 0);
    CHECK_INT(eddy_reader_buffered(readers[1], NULL), 3);
    START(&read, eddy_reader_read(readers[2], 9, got_read, &read));
    CHECK_INT(eddy_loop_run(loops[2]), 0);
    CHECK_BYTES(read.bytes, read.len, "three");
    /* An operation is cancelled by its own loop only. */
    eddy_op op = START(&read, eddy_reader_read(readers[2], 9, got_read, &read));
    CHECK(eddy_loop_cancel(loops[1], op) < 0);
    CHECK_INT(eddy_loop_cancel(loops[2], op), 0);
    eddy_loop_free(loops[1]);
    eddy_loop_free(loops[2]);
    CHECK_ENDED(read, 2, EDDY_ECANCELED);
    for (int i = 0; i < 3; i++) got_release(&calls[i]);
}

TEST(at_most_255_loops_at_a_time, "")
{
    struct rlimit limit;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2048) {
        limit.rlim_cur = limit.rlim_max < 2048 ? limit.rlim_max : 2048;
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    const int before = open_descriptors();
    eddy_loop *loops[255];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 255; i++) {
            loops[i] = eddy_loop_new();
            CHECK(loops[i] != NULL);
            for (int j = 0; j < i; j++) CHECK(loops[i] != loops[j]);
        }
        CHECK(eddy_loop_new() == NULL);
        GOT(call);
        START(&call, eddy_loop_call_soon(loops[254], got_loop, &call));
        CHECK_INT(eddy_loop_run(loops[254]), 0);
        CHECK_INT(call.count, 1);
        eddy_loop *old = loops[17];
        eddy_loop_free(old);
        loops[17] = eddy_loop_new();
        CHECK(loops[17] != NULL);
        CHECK(loops[17] != old);
        CHECK_INT(eddy_loop_run(old), EDDY_ESTALE);
        for (int i = 0; i < 255; i++) eddy_loop_free(loops[i]);
        CHECK_INT(open_descriptors(), before);
    }
}

TEST(no_descriptors_no_loop, "r03")
{
    struct rlimit limit, none;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    eddy_loop_free(new_loop());
    none = limit;
    none.rlim_cur = 3;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
    eddy_loop *loop = eddy_loop_new();
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (loop == NULL) {
        eddy_loop_free(new_loop()); /* and as soon as there are some, there is one */
    } else {
        eddy_loop_free(loop); /* valgrind keeps its own limit */
    }
}

/* ---- freeing ------------------------------------------------------------------------------------------- */

TEST(freeing_the_loop_cancels_everything_once, "a11")
{
    eddy_loop *loop = new_loop();
    struct got calls[4] = { { 0 } };
    START(&calls[0], eddy_loop_call_soon(loop, got_loop, &calls[0]));
    START(&calls[1], eddy_loop_call_later(loop, 1000000, got_loop, &calls[1]));
    eddy_reader *reader = eddy_reader_new(loop, 100);
    START(&calls[2], eddy_reader_read(reader, 10, got_read, &calls[2]));
    CHECK_INT(eddy_loop_call_soon_threadsafe(loop, got_loop, &calls[3]), 0);
    eddy_loop_free(loop);
    for (int i = 0; i < 4; i++) {
        CHECK_ENDED(calls[i], 1, EDDY_ECANCELED);
        got_release(&calls[i]);
    }
    CHECK_INT(eddy_reader_read(reader, 10, got_read, &calls[2]), EDDY_ESTALE);
}

struct stubborn {
    eddy_reader *reader;
    int accepted, called;
};

static void try_again_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                           void *arg);

static void try_again(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct stubborn *stubborn = arg;
    CHECK_INT(eddy_error_code(error), EDDY_ECANCELED);
    stubborn->called++;
    CHECK(stubborn->called < 1000); /* or freeing would never end */
    if (eddy_loop_call_soon(loop, try_again, stubborn) >= 0) stubborn->accepted++;
    if (eddy_loop_call_later(loop, 1, try_again, stubborn) >= 0) stubborn->accepted++;
    if (eddy_reader_read(stubborn->reader, 1, try_again_read, stubborn) >= 0) stubborn->accepted++;
    CHECK(eddy_loop_run(loop) < 0);
    eddy_loop_free(loop);
}

static void try_again_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                           void *arg)
{
    struct stubborn *stubborn = arg;
    (void)reader, (void)bytes, (void)len;
    CHECK_INT(eddy_error_code(error), EDDY_ECANCELED);
    stubborn->called++;
}

TEST(what_is_started_while_the_loop_is_freed_ends_too, "")
{
    eddy_loop *loop = new_loop();
    struct stubborn stubborn = { .reader = eddy_reader_new(loop, 100), .accepted = 2 };
    struct reports silence = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &silence), 0);
    CHECK(eddy_loop_call_soon(loop, try_again, &stubborn) >= 0);
    CHECK(eddy_loop_call_later(loop, 1000, try_again, &stubborn) >= 0);
    eddy_loop_free(loop);
    CHECK_INT(stubborn.called, stubborn.accepted);
}

static void free_inside(struct got *got, void *data)
{
    const int *later = data;
    eddy_loop_free(got->loop);
    CHECK_INT(*later, 0); /* it waits until run returns */
}

TEST(freeing_the_loop_inside_a_callback, "")
{
    eddy_loop *loop = new_loop();
    GOT(timer);
    GOT(call);
    GOT(after);
    call.then = free_inside;
    call.data = &timer.count;
    START(&timer, eddy_loop_call_later(loop, 1000000, got_loop, &timer));
    START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    START(&after, eddy_loop_call_soon(loop, got_loop, &after));
    eddy_loop_run_forever(loop); /* returns, though nobody said stop */
    CHECK_ENDED(call, 1, 0);
    CHECK_ENDED(timer, 1, EDDY_ECANCELED);
    CHECK_INT(after.count, 1);
    CHECK_INT(eddy_loop_run(loop), EDDY_ESTALE);
    CHECK_INT(eddy_loop_call_soon(loop, got_loop, &call), EDDY_ESTALE);
    eddy_loop_free(loop);
    CHECK_INT(call.count + timer.count + after.count, 3);
}

/* ---- other threads ------------------------------------------------------------------------------------- */

enum { THREADS = 4 };

struct post {
    struct poster *poster;
    int number;
};

struct poster {
    eddy_loop *loop;
    pthread_t thread, loop_thread;
    struct post *posts;
    int count, received;
    int *all_received, all;
};

static void posted(eddy_loop *loop, const eddy_error *error, void *arg)
{
    struct post *post = arg;
    struct poster *poster = post->poster;
    CHECK(error == NULL);
    CHECK(loop == poster->loop);
    CHECK(pthread_equal(pthread_self(), poster->loop_thread));
    CHECK_INT(post->number, poster->received); /* in order, each thread for itself */
    poster->received++;
    if (++*poster->all_received == poster->all) CHECK_INT(eddy_loop_stop(loop), 0);
}

static void *post_all(void *arg)
{
    struct poster *poster = arg;
    for (int i = 0; i < poster->count; i++) {
        poster->posts[i] = (struct post){ poster, i };
        CHECK_INT(eddy_loop_call_soon_threadsafe(poster->loop, posted, &poster->posts[i]), 0);
        if (i % 1000 == 500) sleep_ms(1); /* so that the loop falls asleep now and then */
    }
    return NULL;
}

TEST(four_threads_post_to_one_loop, "t01")
{
    eddy_loop *loop = new_loop();
    struct poster posters[THREADS] = { { 0 } };
    int received = 0;
    const int count = eddy_test_slow() > 3 ? 2000 : 250000;
    for (int i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){ .loop = loop, .loop_thread = pthread_self(), .count = count,
                                      .all_received = &received, .all = THREADS * count };
        posters[i].posts = malloc((size_t)count * sizeof(struct post));
        CHECK(posters[i].posts != NULL);
        CHECK_INT(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_join(posters[i].thread, NULL), 0);
        CHECK_INT(posters[i].received, count);
    }
    eddy_loop_free(loop);
    CHECK_INT(received, THREADS * count);
    for (int i = 0; i < THREADS; i++) free(posters[i].posts);
}

static void *post_one_later(void *arg)
{
    struct poster *poster = arg;
    sleep_ms(5);
    poster->posts[0] = (struct post){ poster, 0 };
    CHECK_INT(eddy_loop_call_soon_threadsafe(poster->loop, posted, &poster->posts[0]), 0);
    return NULL;
}

TEST(a_post_wakes_a_loop_that_sleeps_without_end, "")
{
    eddy_loop *loop = new_loop();
    struct post post;
    int received = 0;
    struct poster poster = { .loop = loop, .loop_thread = pthread_self(), .posts = &post,
                             .all_received = &received, .all = 1 };
    CHECK_INT(pthread_create(&poster.thread, NULL, post_one_later, &poster), 0);
    CHECK_INT(eddy_loop_run_forever(loop), 0);
    CHECK_INT(received, 1);
    CHECK_INT(pthread_join(poster.thread, NULL), 0);
    eddy_loop_free(loop);
}

struct elsewhere {
    eddy_loop *loop;
    eddy_reader *reader;
    struct got got;
};

static void *call_from_elsewhere(void *arg)
{
    struct elsewhere *elsewhere = arg;
    eddy_loop *loop = elsewhere->loop;
    CHECK_INT(eddy_loop_call_soon(loop, got_loop, &elsewhere->got), EDDY_ETHREAD);
    CHECK_INT(eddy_loop_call_later(loop, 1, got_loop, &elsewhere->got), EDDY_ETHREAD);
    CHECK_INT(eddy_loop_cancel(loop, 1), EDDY_ETHREAD);
    CHECK_INT(eddy_loop_run(loop), EDDY_ETHREAD);
    CHECK_INT(eddy_loop_run_forever(loop), EDDY_ETHREAD);
    CHECK_INT(eddy_loop_run_once(loop, 0), EDDY_ETHREAD);
    CHECK_INT(eddy_loop_stop(loop), EDDY_ETHREAD);
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, NULL), EDDY_ETHREAD);
    CHECK_INT(eddy_loop_detach(loop), EDDY_ETHREAD);
    CHECK(eddy_loop_attach(loop) < 0);
    CHECK(eddy_reader_new(loop, 100) == NULL);
    CHECK_INT(eddy_reader_read(elsewhere->reader, 1, got_read, &elsewhere->got), EDDY_ETHREAD);
    CHECK_INT(eddy_reader_feed_data(elsewhere->reader, "x", 1), EDDY_ETHREAD);
    eddy_reader_free(elsewhere->reader);
    eddy_loop_free(loop);
    return NULL;
}

static void elsewhere_run(void *(*function)(void *), void *arg)
{
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, function, arg), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
}

TEST(another_thread_is_refused_everything_else, "")
{
    struct elsewhere elsewhere = { .loop = new_loop() };
    elsewhere.reader = eddy_reader_new(elsewhere.loop, 100);
    elsewhere_run(call_from_elsewhere, &elsewhere);
    CHECK_INT(eddy_reader_buffered(elsewhere.reader, NULL), 0);
    CHECK_INT(eddy_reader_feed_data(elsewhere.reader, "x", 1), 0);
    CHECK_INT(eddy_loop_run(elsewhere.loop), 0);
    CHECK_INT(elsewhere.got.count, 0);
    eddy_loop_free(elsewhere.loop);
}

static void *run_elsewhere(void *arg)
{
    struct elsewhere *elsewhere = arg;
    CHECK_INT(eddy_loop_run(elsewhere->loop), EDDY_ETHREAD); /* nobody's yet */
    CHECK_INT(eddy_loop_attach(elsewhere->loop), 0);
    CHECK(eddy_loop_attach(elsewhere->loop) <= 0);
    CHECK_INT(eddy_reader_feed_data(elsewhere->reader, "moved\n", 6), 0);
    CHECK_INT(eddy_loop_run(elsewhere->loop), 0);
    CHECK_ENDED(elsewhere->got, 1, 0);
    CHECK_BYTES(elsewhere->got.bytes, elsewhere->got.len, "moved\n");
    START(&elsewhere->got, eddy_reader_readline(elsewhere->reader, got_read, &elsewhere->got));
    CHECK_INT(eddy_loop_detach(elsewhere->loop), 0);
    return NULL;
}

TEST(a_loop_moves_to_another_thread_and_back, "")
{
    struct elsewhere elsewhere = { .loop = new_loop() };
    eddy_loop *loop = elsewhere.loop;
    elsewhere.reader = eddy_reader_new(loop, 100);
    START(&elsewhere.got, eddy_reader_readline(elsewhere.reader, got_read, &elsewhere.got));
    CHECK(eddy_loop_attach(loop) <= 0); /* it is ours already */
    CHECK_INT(eddy_loop_detach(loop), 0);
    CHECK_INT(eddy_loop_run(loop), EDDY_ETHREAD);
    CHECK_INT(eddy_reader_feed_data(elsewhere.reader, "x", 1), EDDY_ETHREAD);
    GOT(posted_meanwhile);
    CHECK_INT(eddy_loop_call_soon_threadsafe(loop, got_loop, &posted_meanwhile), 0);
    elsewhere_run(run_elsewhere, &elsewhere);
    CHECK_ENDED(posted_meanwhile, 1, 0);
    CHECK_INT(eddy_loop_run(loop), EDDY_ETHREAD);
    CHECK_INT(eddy_loop_attach(loop), 0);
    CHECK_INT(eddy_reader_feed_data(elsewhere.reader, "back\n", 5), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_ENDED(elsewhere.got, 2, 0);
    CHECK_BYTES(elsewhere.got.bytes, elsewhere.got.len, "back\n");
    eddy_loop_free(loop);
    CHECK_INT(elsewhere.got.count, 2);
    got_release(&elsewhere.got);
}

static void *leave_a_loop_behind(void *arg)
{
    struct elsewhere *elsewhere = arg;
    int ends[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    elsewhere->loop = new_loop();
    START(&elsewhere->got, eddy_open_socket(elsewhere->loop, ends[0], NULL, got_stream, &elsewhere->got));
    RUN_UNTIL(elsewhere->loop, elsewhere->got.count);
    CHECK_INT(elsewhere->got.code, 0);
    elsewhere->reader = elsewhere->got.reader;
    START(&elsewhere->got, eddy_reader_readline(elsewhere->reader, got_read, &elsewhere->got));
    START(&elsewhere->got, eddy_loop_call_soon(elsewhere->loop, got_loop, &elsewhere->got));
    START(&elsewhere->got, eddy_loop_call_later(elsewhere->loop, 1, got_loop, &elsewhere->got));
    CHECK_INT(eddy_loop_call_soon_threadsafe(elsewhere->loop, got_loop, &elsewhere->got), 0);
    eddy_loop_fd(elsewhere->loop);
    close(ends[1]);
    return NULL;
}

TEST(a_thread_that_ends_closes_its_loops_and_calls_nobody, "")
{
    for (int round = 0; round < 300; round++) { /* more than there may be loops */
        const int before = open_descriptors();
        struct elsewhere elsewhere = { .loop = NULL };
        elsewhere_run(leave_a_loop_behind, &elsewhere);
        CHECK_INT(elsewhere.got.count, 1);
        CHECK_INT(open_descriptors(), before);
        CHECK(eddy_loop_run(elsewhere.loop) < 0);
        CHECK(eddy_reader_read(elsewhere.reader, 1, got_read, &elsewhere.got) < 0);
        CHECK(eddy_loop_call_soon_threadsafe(elsewhere.loop, got_loop, &elsewhere.got) < 0);
        CHECK_INT(elsewhere.got.count, 1);
        got_release(&elsewhere.got);
        if (eddy_test_slow() > 1 && round == 20) break;
    }
}

/* ---- fork ---------------------------------------------------------------------------------------------- */

static void keep_both(struct got *got, void *data)
{
    struct got *kept = data;
    kept->reader = got->reader;
    kept->writer = got->writer;
}

static void child_must_pass(pid_t child)
{
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
}

TEST(a_forked_child_is_refused_and_does_its_parent_no_harm, "t07")
{
    eddy_loop *loop = new_loop();
    int ends[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    GOT(opened);
    GOT(stream);
    GOT(line);
    GOT(timer);
    opened.then = keep_both;
    opened.data = &stream;
    START(&opened, eddy_open_socket(loop, ends[0], NULL, got_stream, &opened));
    RUN_UNTIL(loop, opened.count);
    START(&line, eddy_reader_readline(stream.reader, got_read, &line));
    START(&timer, eddy_loop_call_later(loop, 20, got_loop, &timer));
    settle(loop);
    for (int frees = 0; frees < 2; frees++) {
        const int called = line.count + timer.count;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm((unsigned)(20 * eddy_test_slow()));
            close(STDERR_FILENO); /* the refusals may be reported */
            bool refused = eddy_loop_run(loop) < 0 && eddy_loop_run_once(loop, 0) < 0 &&
                           eddy_loop_call_soon(loop, got_loop, &timer) < 0 &&
                           eddy_loop_call_soon_threadsafe(loop, got_loop, &timer) < 0 &&
                           eddy_writer_write(stream.writer, "child\n", 6) < 0 &&
                           eddy_writer_close(stream.writer) < 0 && eddy_writer_abort(stream.writer) < 0 &&
                           eddy_reader_feed_eof(stream.reader) < 0;
            if (frees) {
                eddy_writer_free(stream.writer);
                eddy_loop_free(loop);
                eddy_loop_free(loop);
            }
            /* And a loop of its own works. */
            eddy_loop *own = eddy_loop_new();
            GOT(call);
            bool works = own != NULL && eddy_loop_call_soon(own, got_loop, &call) >= 0 &&
                         eddy_loop_run(own) == 0 && call.count == 1;
            eddy_loop_free(own);
            _exit(!refused || !works || line.count + timer.count != called);
        }
        child_must_pass(child);
    }
    char received[100];
    CHECK_INT(recv(ends[1], received, sizeof received, MSG_DONTWAIT), -1);
    CHECK_INT(errno, EAGAIN); /* neither bytes nor an end */
    CHECK_INT(eddy_writer_write(stream.writer, "parent\n", 7), 0);
    CHECK_INT(send(ends[1], "answer\n", 7, 0), 7);
    RUN_UNTIL(loop, line.count);
    CHECK_ENDED(line, 1, 0);
    CHECK_BYTES(line.bytes, line.len, "answer\n");
    CHECK_INT(recv(ends[1], received, sizeof received, MSG_DONTWAIT), 7);
    RUN_UNTIL(loop, timer.count);
    CHECK_ENDED(timer, 1, 0);
    close(ends[1]);
    eddy_loop_free(loop);
}

/* ---- looking instead of sleeping ------------------------------------------------------------------------ */

static long long thread_cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

/* What a wait for nothing costs. */
static long long cpu_us_of_waiting(eddy_loop *loop, int ms)
{
    const long long before = thread_cpu_us(), start = clock_us();
    CHECK_INT(eddy_loop_run_once(loop, ms), 1);
    CHECK(clock_us() - start >= ms * 1000LL); /* not a moment less, however it is waited */
    return thread_cpu_us() - before;
}

TEST(a_busy_wait_is_bounded_and_asked_for, "")
{
    eddy_loop *loop = new_loop();
    GOT(never);
    START(&never, eddy_loop_call_later(loop, 3600 * 1000, got_loop, &never));
    const long long asleep = cpu_us_of_waiting(loop, 100);
    CHECK_INT(eddy_loop_set_busy_poll(loop, 100 * 1000), 0);
    const long long busy = cpu_us_of_waiting(loop, 100);
    CHECK_INT(eddy_loop_set_busy_poll(loop, 100), 0);
    const long long mostly_asleep = cpu_us_of_waiting(loop, 100);
    /* A tenth of a second on a processor that is shared with others: a hundredth of it is busy enough. */
    CHECK(busy > 1000 && busy > 2 * asleep && busy > 2 * mostly_asleep);
    CHECK_INT(eddy_loop_set_busy_poll(loop, UINT64_MAX), 0); /* for as long as it takes */
    GOT(soon);
    START(&soon, eddy_loop_call_later(loop, 5, got_loop, &soon));
    while (soon.count == 0) CHECK(eddy_loop_run_once(loop, -1) >= 0);
    CHECK_INT(eddy_loop_set_busy_poll(loop, 0), 0);
    eddy_loop_free(loop);
    CHECK_ENDED(never, 1, EDDY_ECANCELED);
}

/* ---- a loop inside another loop ------------------------------------------------------------------------ */

static bool readable(int fd, int timeout_ms)
{
    struct pollfd pollfd = { .fd = fd, .events = POLLIN };
    int count = poll(&pollfd, 1, timeout_ms);
    CHECK(count >= 0);
    return count == 1 && pollfd.revents & POLLIN;
}

/* As another loop would: sleep on the descriptor for no longer than the timeout says, then run once. */
static bool step_from_outside(eddy_loop *loop, int fd)
{
    const int limit = 10000 * eddy_test_slow(), timeout = eddy_loop_timeout(loop);
    const long long start = test_clock_ms();
    readable(fd, timeout < 0 || timeout > limit ? limit : timeout);
    if (test_clock_ms() - start >= limit) FAIL("the descriptor never woke anybody");
    const int more = eddy_loop_run_once(loop, 0);
    CHECK(more >= 0);
    return more > 0;
}

TEST(a_loop_driven_from_outside, "")
{
    eddy_loop *loop = new_loop();
    GOT(call);
    GOT(timer);
    GOT(chained);
    const int fd = eddy_loop_fd(loop); /* once: to ask for it might ring it */
    CHECK(fd >= 0);
    CHECK_INT(eddy_loop_timeout(loop), -1);
    CHECK(!readable(fd, 0));
    START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    CHECK_INT(eddy_loop_timeout(loop), 0);
    /* something to do, said from outside a run: the descriptor rings */
    CHECK(readable(fd, 0));
    CHECK(eddy_loop_run_once(loop, 0) >= 0);
    CHECK_INT(call.count, 1);
    settle(loop);
    CHECK(!readable(fd, 0)); /* and is still again, or the other loop would spin */
    CHECK_INT(eddy_loop_timeout(loop), -1);
    timer.then = call_data_soon;
    timer.data = &chained;
    const int ms = 4 * eddy_test_slow();
    struct alarm_clock clock = { .delay_ms = 2 * (uint64_t)ms, .set_us = clock_us() };
    START(&timer, eddy_loop_call_later(loop, (uint64_t)ms, got_loop, &timer));
    CHECK(eddy_loop_call_later(loop, clock.delay_ms, ring, &clock) >= 0);
    CHECK(eddy_loop_timeout(loop) <= ms);
    settle(loop);
    CHECK_INT(timer.count, 0);
    CHECK(!readable(fd, 0));
    int steps = 0;
    while (step_from_outside(loop, fd)) steps++;
    CHECK_ENDED(timer, 1, 0);
    CHECK_ENDED(chained, 1, 0);
    CHECK_INT(clock.count, 1);
    CHECK(clock.rang_us - clock.set_us >= due_us(&clock));
    CHECK(steps < 100);
    eddy_loop_free(loop);
}

TEST(work_left_between_two_runs_keeps_the_descriptor_ringing, "")
{
    eddy_loop *loop = new_loop();
    const int fd = eddy_loop_fd(loop); /* once: to ask for it might ring it */
    CHECK(fd >= 0);
    int left = 50000; /* more than one turn does */
    CHECK(eddy_loop_call_soon(loop, again, &left) >= 0);
    while (left > 0) {
        CHECK(readable(fd, 0));
        CHECK(eddy_loop_run_once(loop, 0) >= 0);
    }
    settle(loop);
    CHECK(!readable(fd, 0));

    eddy_reader *reader = eddy_reader_new(loop, 100);
    GOT(read);
    START(&read, eddy_reader_readline(reader, got_read, &read));
    settle(loop);
    CHECK(!readable(fd, 0));
    CHECK_INT(eddy_reader_feed_data(reader, "line\n", 5), 0);
    CHECK(readable(fd, 0));
    CHECK(eddy_loop_run_once(loop, 0) >= 0);
    CHECK_INT(read.count, 1);
    settle(loop);
    eddy_op op = START(&read, eddy_reader_readline(reader, got_read, &read));
    settle(loop);
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    CHECK(readable(fd, 0));
    settle(loop);
    CHECK_INT(read.count, 2);
    START(&read, eddy_reader_readline(reader, got_read, &read));
    settle(loop);
    eddy_reader_free(reader);
    CHECK(readable(fd, 0));
    settle(loop);
    CHECK_INT(read.count, 3);
    CHECK(!readable(fd, 0));
    eddy_loop_free(loop);
}

TEST(sockets_and_threads_ring_the_descriptor_too, "")
{
    eddy_loop *loop = new_loop();
    int ends[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    GOT(opened);
    GOT(stream);
    GOT(line);
    const int fd = eddy_loop_fd(loop); /* once: to ask for it might ring it */
    CHECK(fd >= 0);
    opened.then = keep_both;
    opened.data = &stream;
    START(&opened, eddy_open_socket(loop, ends[0], NULL, got_stream, &opened));
    while (opened.count == 0) step_from_outside(loop, fd);
    START(&line, eddy_reader_readline(stream.reader, got_read, &line));
    settle(loop);
    CHECK(!readable(fd, 0));
    CHECK_INT(send(ends[1], "one\ntwo\n", 8, 0), 8);
    CHECK(readable(fd, 1000));
    while (line.count == 0) step_from_outside(loop, fd);
    CHECK_BYTES(line.bytes, line.len, "one\n");
    settle(loop);
    CHECK(!readable(fd, 0));
    /* it lies in the buffer: no socket will tell */
    START(&line, eddy_reader_readline(stream.reader, got_read, &line));
    CHECK(readable(fd, 0));
    while (line.count == 1) step_from_outside(loop, fd);
    CHECK_BYTES(line.bytes, line.len, "two\n");
    CHECK_INT(eddy_writer_write(stream.writer, "answer", 6), 0);
    CHECK(readable(fd, 0)); /* nor that something is to be sent */
    CHECK(eddy_loop_run_once(loop, 0) >= 0);
    char answer[10];
    CHECK_INT(recv(ends[1], answer, sizeof answer, MSG_DONTWAIT), 6);
    settle(loop);
    CHECK(!readable(fd, 0));

    struct post post;
    int received = 0;
    struct poster poster = { .loop = loop, .loop_thread = pthread_self(), .posts = &post,
                             .all_received = &received, .all = 1 };
    CHECK_INT(pthread_create(&poster.thread, NULL, post_one_later, &poster), 0);
    while (received == 0) step_from_outside(loop, fd);
    CHECK_INT(pthread_join(poster.thread, NULL), 0);
    close(ends[1]);
    eddy_loop_free(loop);
}

/* ---- the exception handler ----------------------------------------------------------------------------- */

TEST(misuse_is_reported_from_the_next_run, "")
{
    eddy_loop *loop = new_loop();
    struct reports reports = { 0 }, others = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    eddy_reader *reader = eddy_reader_new(loop, 100);
    eddy_reader_free(reader);
    CHECK_INT(eddy_reader_read(reader, 1, got_read, NULL), EDDY_ESTALE);
    CHECK_INT(reports.count, 0);
    settle(loop);
    CHECK_INT(reports.count, 1);
    char expected[100];
    snprintf(expected, sizeof expected, "eddy_reader_read: stale reader %p", (void *)reader);
    CHECK_STR(reports.messages[0], expected);
    for (int i = 0; i < 3; i++) CHECK_INT(eddy_reader_readline(reader, got_read, NULL), EDDY_ESTALE);
    settle(loop);
    CHECK_INT(reports.count, 2); /* equal reports are counted, not repeated */
    snprintf(expected, sizeof expected, "eddy_reader_readline: stale reader %p (3 times)", (void *)reader);
    CHECK_STR(reports.messages[1], expected);
    CHECK(!eddy_reader_at_eof(reader)); /* one without a code */
    settle(loop);
    CHECK_INT(reports.count, 3);
    CHECK(strstr(reports.messages[2], "eddy_reader_at_eof: ") == reports.messages[2]);
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &others), 0);
    CHECK_INT(eddy_reader_feed_eof(reader), EDDY_ESTALE);
    settle(loop);
    CHECK_INT(reports.count, 3); /* never again, once another is set */
    CHECK_INT(others.count, 1);
    eddy_loop_free(loop);
    CHECK_INT(reports.count + others.count, 4);
}

TEST(a_return_code_is_report_enough, "")
{
    eddy_loop *loop = new_loop();
    struct reports reports = { 0 };
    GOT(read);
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    eddy_reader *reader = eddy_reader_new(loop, 100);
    START(&read, eddy_reader_readline(reader, got_read, &read));
    CHECK_INT(eddy_reader_readline(reader, got_read, &read), EDDY_EBUSY);
    CHECK_INT(eddy_reader_readline(reader, NULL, &read), EDDY_EINVAL);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK_INT(eddy_reader_feed_data(reader, "x", 1), EDDY_ESTATE);
    CHECK_INT(eddy_loop_cancel(loop, 12345) < 0, 1);
    eddy_reader_free(reader);
    eddy_reader_free(reader);
    eddy_reader_free(NULL);
    settle(loop);
    CHECK_INT(reports.count, 0);
    eddy_loop_free(loop);
    CHECK_INT(reports.count, 0);
}

TEST(a_free_of_another_kind_frees_nothing_and_is_reported, "")
{
    eddy_loop *loop = new_loop();
    struct reports reports = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    eddy_reader *reader = eddy_reader_new(loop, 100);
    eddy_writer_free((eddy_writer *)(void *)reader);
    eddy_server_free((eddy_server *)(void *)reader);
    eddy_reader_free((eddy_reader *)(void *)loop);
    CHECK_INT(eddy_reader_feed_data(reader, "x", 1), 0);
    settle(loop);
    CHECK_INT(reports.count, 3);
    CHECK(strstr(reports.messages[0], "eddy_writer_free: ") == reports.messages[0]);
    eddy_loop_free(loop);
}

/* What fd 2 gets while the function runs. */
static void catch_stderr(void (*function)(void), char *text, size_t size)
{
    int saved = dup(STDERR_FILENO), pipe_ends[2];
    CHECK(saved >= 0);
    CHECK_INT(pipe(pipe_ends), 0);
    fflush(stderr);
    CHECK(dup2(pipe_ends[1], STDERR_FILENO) >= 0);
    close(pipe_ends[1]);
    function();
    fflush(stderr);
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    ssize_t len = read(pipe_ends[0], text, size - 1);
    CHECK(len >= 0);
    text[len] = '\0';
    close(pipe_ends[0]);
}

static void misuse_with_the_default_handler(void)
{
    eddy_loop *loop = eddy_loop_new();
    struct reports reports = { 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, got_report, &reports), 0);
    CHECK_INT(eddy_loop_set_exception_handler(loop, NULL, NULL), 0); /* NULL: back to the default one */
    eddy_reader *reader = eddy_reader_new(loop, 100);
    eddy_reader_free(reader);
    CHECK_INT(eddy_reader_read(reader, 1, got_read, NULL), EDDY_ESTALE);
    settle(loop);
    CHECK_INT(reports.count, 0);
    eddy_loop_free(loop);
}

static void no_misuse_at_all(void)
{
    eddy_loop *loop = eddy_loop_new();
    GOT(call);
    START(&call, eddy_loop_call_soon(loop, got_loop, &call));
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(eddy_loop_call_soon(loop, NULL, NULL), EDDY_EINVAL);
    eddy_loop_free(loop);
}

TEST(the_default_handler_prints_one_line_and_nothing_else_is_printed, "")
{
    char text[1000];
    catch_stderr(misuse_with_the_default_handler, text, sizeof text);
    CHECK(strstr(text, "eddy_reader_read: stale reader 0x") == text);
    CHECK(strchr(text, '\n') != NULL && strchr(text, '\n')[1] == '\0');
    catch_stderr(no_misuse_at_all, text, sizeof text);
    CHECK_STR(text, "");
}

static void misuse_in_the_handler(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    int *count = arg;
    (void)message, (void)error;
    CHECK(eddy_loop_is_running(loop));
    if (++*count == 1) CHECK_INT(eddy_reader_feed_eof(NULL), EDDY_ESTALE);
}

TEST(a_handler_may_give_occasion_to_another_report, "")
{
    eddy_loop *loop = new_loop();
    int count = 0;
    CHECK_INT(eddy_loop_set_exception_handler(loop, misuse_in_the_handler, &count), 0);
    CHECK_INT(eddy_reader_feed_data(NULL, "x", 1), EDDY_ESTALE);
    settle(loop);
    CHECK_INT(count, 2);
    eddy_loop_free(loop);
}

struct told {
    int count, code;
    char message[100], error[100];
};

static void be_told(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    struct told *told = arg;
    CHECK(eddy_loop_is_running(loop));
    told->count++;
    told->code = eddy_error_code(error);
    snprintf(told->message, sizeof told->message, "%s", message);
    snprintf(told->error, sizeof told->error, "%s", eddy_error_message(error));
}

TEST(the_exception_handler_is_called_from_the_next_run, "")
{
    eddy_loop *loop = new_loop();
    struct told told = { .count = 0 };
    CHECK_INT(eddy_loop_set_exception_handler(loop, be_told, &told), 0);
    CHECK_INT(eddy_loop_call_exception_handler(loop, "all is lost", EDDY_ELOST), 0);
    CHECK_INT(told.count, 0);
    settle(loop);
    CHECK_INT(told.count, 1);
    CHECK_INT(told.code, EDDY_ELOST);
    CHECK_STR(told.message, "all is lost");
    CHECK_STR(told.error, "all is lost");
    CHECK_INT(eddy_loop_call_exception_handler(loop, "no error", 0), 0);
    CHECK_INT(eddy_loop_call_exception_handler(loop, "no error", 0), 0);
    settle(loop);
    CHECK_INT(told.count, 2);
    CHECK_INT(told.code, 0);
    CHECK_STR(told.message, "no error (2 times)");
    CHECK_INT(eddy_loop_call_exception_handler(loop, NULL, 1), EDDY_EINVAL);
    CHECK_INT(eddy_loop_call_exception_handler(loop, "\xff", 1), EDDY_EINVAL);
    settle(loop);
    CHECK_INT(told.count, 2);
    eddy_loop_free(loop);
}

/* ---- the process around it ----------------------------------------------------------------------------- */

static void note_signals(struct sigaction *actions, sigset_t *mask)
{
    memset(actions, 0, sizeof *actions * 65);
    for (int signum = 1; signum <= 64; signum++) sigaction(signum, NULL, &actions[signum]);
    pthread_sigmask(SIG_SETMASK, NULL, mask);
}

TEST(no_signal_is_raised_and_no_disposition_touched, "")
{
    static struct sigaction before[65], after[65];
    sigset_t mask_before, mask_after;
    note_signals(before, &mask_before);
    CHECK(before[SIGPIPE].sa_handler == SIG_DFL); /* or the test would show nothing */
    eddy_loop *loop = new_loop();
    int ends[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    GOT(opened);
    GOT(stream);
    GOT(closed);
    opened.then = keep_both;
    opened.data = &stream;
    START(&opened, eddy_open_socket(loop, ends[0], NULL, got_stream, &opened));
    RUN_UNTIL(loop, opened.count);
    close(ends[1]);
    START(&closed, eddy_writer_wait_closed(stream.writer, got_writer, &closed));
    for (int i = 0; i < 5; i++) { /* into a broken pipe: SIGPIPE would kill us */
        CHECK(eddy_writer_write(stream.writer, "anybody there?", 14) >= 0);
        settle(loop);
    }
    RUN_UNTIL(loop, closed.count);
    CHECK_ENDED(closed, 1, EDDY_ELOST);
    CHECK_INT(closed.system, EPIPE);
    eddy_loop_free(loop);
    note_signals(after, &mask_after);
    for (int signum = 1; signum <= 64; signum++) {
        CHECK(before[signum].sa_handler == after[signum].sa_handler);
        CHECK_INT(before[signum].sa_flags, after[signum].sa_flags);
    }
    for (int signum = 1; signum <= 64; signum++)
        CHECK_INT(sigismember(&mask_before, signum), sigismember(&mask_after, signum));
}

static void do_nothing(int signum)
{
    (void)signum;
}

TEST(a_signal_interrupts_nothing, "m10")
{
    struct sigaction action = { .sa_handler = do_nothing }, old; /* no SA_RESTART */
    CHECK_INT(sigaction(SIGUSR1, &action, &old), 0);
    eddy_loop *loop = new_loop();
    struct alarm_clock clock = { .delay_ms = 10, .set_us = clock_us() };
    CHECK(eddy_loop_call_later(loop, 10, ring, &clock) >= 0);
    const pid_t self = getpid(), child = fork();
    if (child == 0) {
        for (int i = 0; i < 8; i++) sleep_ms(1), kill(self, SIGUSR1);
        _exit(0);
    }
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(clock.count, 1);
    CHECK(clock.rang_us - clock.set_us >= 10000);
    pid_t reaped;
    do reaped = waitpid(child, NULL, 0); while (reaped == -1 && errno == EINTR);
    CHECK_INT(reaped, child);
    eddy_loop_free(loop);
    CHECK_INT(sigaction(SIGUSR1, &old, NULL), 0);
}

TEST(descriptors_are_closed_on_exec, "t08")
{
    eddy_loop *loop = new_loop();
    CHECK(eddy_loop_fd(loop) >= 0);
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[64], target[256] = "";
        const int fd = atoi(entry->d_name);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) < 0) continue;
        if (strstr(target, "eventpoll") != NULL || strstr(target, "eventfd") != NULL)
            CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    closedir(dir);
    eddy_loop_free(loop);
}
