/* The program under a poll(2) loop of the host's own, with a timer of its own. */
#include "drive.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static long drive(eddy_loop *loop, struct echo *echo)
{
    struct pollfd watched = { .fd = eddy_loop_fd(loop), .events = POLLIN };
    long rounds = 0, next_poke = now_ms() + 20;
    while (!echo_over(echo)) {
        const int timeout = eddy_loop_timeout(loop);
        const long until_poke = next_poke - now_ms();
        long wait = timeout < 0 || timeout > until_poke ? until_poke : timeout;
        const int ready = poll(&watched, 1, wait < 0 ? 0 : (int)wait);
        if (ready < 0 && errno != EINTR) return MOST_ROUNDS + 1;
        /* Only when it says so: a descriptor or a timeout that says nothing would be found out. */
        if (ready > 0 || eddy_loop_timeout(loop) == 0) eddy_loop_run_once(loop, 0);
        if (now_ms() >= next_poke) {
            echo_poke(echo);
            next_poke = now_ms() + 20;
        }
        rounds++;
    }
    return rounds;
}
