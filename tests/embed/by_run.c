/* The program under eddy_loop_run(): what the others are compared with. */
#include "drive.h"

static void poke_now_and_then(eddy_loop *loop, const eddy_error *error, void *arg)
{
    if (error != NULL) return;
    echo_poke(arg);
    if (echo_over(arg)) eddy_loop_stop(loop);
    else eddy_loop_call_later(loop, 20, poke_now_and_then, arg);
}

static long drive(eddy_loop *loop, struct echo *echo)
{
    poke_now_and_then(loop, NULL, echo);
    return eddy_loop_run(loop);
}
