/* What the drivers in C share: the program under a loop that each of them makes, an alarm, and its result. */
#ifndef EDDY_TEST_DRIVE_H
#define EDDY_TEST_DRIVE_H

#include "echo.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* How often the host's loop may come round: far more than there is to do, far less than one that spins would. */
enum { MOST_ROUNDS = 50000 };

/* Drives the loop until the program is over; how many rounds that took. */
static long drive(eddy_loop *loop, struct echo *echo);

int main(void)
{
    const char *slow = getenv("EDDY_TEST_SLOW");
    alarm(30 * (slow != NULL && atoi(slow) > 0 ? (unsigned)atoi(slow) : 1)); /* one that never wakes */
    eddy_loop *loop = eddy_loop_new();
    struct echo *echo = echo_start(loop);
    const long rounds = drive(loop, echo);
    puts(echo_result(echo));
    echo_end(echo);
    eddy_loop_free(loop);
    if (rounds > MOST_ROUNDS) fprintf(stderr, "%ld rounds\n", rounds);
    return rounds > MOST_ROUNDS;
}

#endif
