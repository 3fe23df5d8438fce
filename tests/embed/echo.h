/* One program for any loop: an echo server and its clients, timers, posts of another thread, a signal, a name to look up.
 * Whoever drives the loop, its result is the same text.
 *
 *     struct echo *echo = echo_start(loop);
 *     ... drive the loop, and call echo_poke() now and then, from outside of it, until echo_over() ...
 *     puts(echo_result(echo));
 *     echo_end(echo);             before the loop is freed
 */
#ifndef EDDY_TEST_ECHO_H
#define EDDY_TEST_ECHO_H

#include <eddy.h>

struct echo;

struct echo *echo_start(eddy_loop *loop);

/* Starts work on the loop as a host does between two runs; of another kind each time, and not before the last is done.
 * Nothing but the loop's descriptor and its timeout tells the host's loop that there is something to do now. */
void echo_poke(struct echo *echo);

bool echo_over(const struct echo *echo);
const char *echo_result(struct echo *echo);
void echo_end(struct echo *echo);

#endif
