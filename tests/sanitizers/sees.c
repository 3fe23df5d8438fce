/* sees freed|raced: two mistakes of a caller's that happen within eddy, where no sanitizer sees them unless Rust is
 * instrumented as C is. */
#include <eddy.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *writes_meanwhile(void *stats)
{
    ((eddy_stats *)stats)->size = 0;
    return NULL;
}

int main(int argc, char **argv)
{
    eddy_loop *loop = eddy_loop_new();
    eddy_stats *both = calloc(2, sizeof *both), *stats = both + 1; /* a sanitizer writes to the start of what is freed */
    eddy_stats *volatile freed = stats;                             /* or else the compiler sees it */
    pthread_t thread;
    if (loop == NULL || both == NULL) return 1;
    if (argc > 1 && strcmp(argv[1], "freed") == 0) {
        free(both);
        eddy_loop_stats(loop, freed); /* reads size, which is 0, and refuses */
    } else {
        if (pthread_create(&thread, NULL, writes_meanwhile, stats) != 0) return 1;
        eddy_loop_stats(loop, stats);
        pthread_join(thread, NULL);
        free(both);
    }
    eddy_loop_free(loop);
    puts("nothing was seen");
    return 0;
}
