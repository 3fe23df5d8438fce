/* feed: lines through a reader without a connection, fed by hand and buffered, with a callback for each.
 *
 *     feed [LINES]      prints nanoseconds per line
 */
#define _GNU_SOURCE
#include <eddy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LENGTH = 64, BLOCK = 1000 };

static long got = 0;

static void on_line(eddy_reader *reader, const char *line, size_t len, const eddy_error *error, void *arg)
{
    (void)line, (void)error;
    if (len != LENGTH) return;
    got++;
    eddy_reader_readline(reader, on_line, arg);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static char block[BLOCK * LENGTH];
    long lines = argc > 1 ? atol(argv[1]) : 1000000;
    memset(block, 'x', sizeof block);
    for (size_t i = 1; i <= BLOCK; i++) block[i * LENGTH - 1] = '\n';

    eddy_loop *loop = eddy_loop_new();
    eddy_reader *reader = eddy_reader_new(loop, 65536);
    double begin = seconds();
    for (long fed = 0; fed < lines; fed += BLOCK) eddy_reader_feed_data(reader, block, sizeof block);
    eddy_reader_feed_eof(reader);
    eddy_reader_readline(reader, on_line, NULL);
    eddy_loop_run(loop);
    double end = seconds();
    eddy_loop_free(loop);
    printf("%.1f\n", (end - begin) * 1e9 / (double)got);
    return got < lines;
}
