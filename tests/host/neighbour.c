/* A program with eddy and another library in Rust: see neighbour.sh. */
#include <eddy.h>
#include <stdint.h>
#include <stdio.h>

uint32_t neighbour(uint32_t number);

static void on_loop(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop;
    if (error == NULL) *(uint32_t *)arg += neighbour(1);
}

static void on_stream(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)writer;
    *(int *)arg = eddy_error_code(error);
}

int main(void)
{
    uint32_t sum = neighbour(5);
    int code = 0;
    eddy_loop *loop = eddy_loop_new();
    eddy_loop_call_soon(loop, on_loop, &sum);
    eddy_loop_call_later(loop, 1, on_loop, &sum);
    eddy_open_connection(loop, "localhost", 1, NULL, on_stream, &code); /* by a thread */
    int ran = eddy_loop_run(loop);
    eddy_loop_free(loop);
    if (ran != 0 || sum != 14 || code != EDDY_ESYSTEM) printf("%d, %u, %d\n", ran, (unsigned)sum, code);
    return ran != 0 || sum != 14 || code != EDDY_ESYSTEM || neighbour(2) != 4;
}
