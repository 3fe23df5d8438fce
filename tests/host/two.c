/* Two libraries of eddy's in one process, as a host and its plugin may have them, each its own: both work, and what is
 * the one's is nothing to the other.
 * Shows b13. */
#include <dlfcn.h>
#include <eddy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUIRE(condition) ((condition) ? (void)0 : (void)(fprintf(stderr, "%d: %s\n", __LINE__, #condition), exit(1)))

static void count(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop;
    if (error == NULL) ++*(int *)arg;
}

/* Another library, and not the same one again: from a file of its own. */
static void *load_copy(const char *path)
{
    char copy[] = "/tmp/eddy-test-XXXXXX", bytes[65536];
    FILE *from = fopen(path, "rb");
    int to = mkstemp(copy);
    size_t n;
    REQUIRE(from != NULL && to >= 0);
    while ((n = fread(bytes, 1, sizeof bytes, from)) > 0) REQUIRE(write(to, bytes, n) == (ssize_t)n);
    fclose(from);
    close(to);
    void *library = dlopen(copy, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) fprintf(stderr, "%s\n", dlerror());
    unlink(copy);
    return library;
}

int main(int argc, char **argv)
{
    eddy_loop *(*loop_new)(void);
    void (*loop_free)(eddy_loop *);
    int (*run)(eddy_loop *);
    eddy_op (*call_later)(eddy_loop *, uint64_t, eddy_loop_cb, void *);
    const char *(*version)(void);
    int here = 0, there = 0;
    REQUIRE(argc == 2);
    void *library = load_copy(argv[1]);
    REQUIRE(library != NULL);
    *(void **)&loop_new = dlsym(library, "eddy_loop_new");
    *(void **)&loop_free = dlsym(library, "eddy_loop_free");
    *(void **)&run = dlsym(library, "eddy_loop_run");
    *(void **)&call_later = dlsym(library, "eddy_loop_call_later");
    *(void **)&version = dlsym(library, "eddy_version");
    REQUIRE(loop_new != NULL && loop_new != eddy_loop_new);
    REQUIRE(strcmp(version(), eddy_version()) == 0);
    for (int round = 1; round <= 10; round++) {
        eddy_loop *mine = eddy_loop_new(), *its = loop_new();
        REQUIRE(mine != NULL && its != NULL);
        REQUIRE(eddy_loop_call_later(mine, 1, count, &here) >= 0);
        REQUIRE(call_later(its, 1, count, &there) >= 0);
        REQUIRE(run(its) == 0);
        REQUIRE(there == round && here == round - 1);
        REQUIRE(eddy_loop_run(mine) == 0);
        REQUIRE(here == round);
        eddy_loop_free(mine);
        loop_free(its);
        REQUIRE(eddy_loop_run(mine) == EDDY_ESTALE && run(its) == EDDY_ESTALE);
    }
    dlclose(library);
    return 0;
}
