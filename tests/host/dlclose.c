/* A plugin that links eddy is loaded and unloaded while a thread that used it lives on: the library stays (-z nodelete),
 * so what runs at that thread's end still has its code, and so has the handler of a signal that its loop watches. And a
 * header older or newer than the library can be told.
 * Shows a20 t11 d09. */
#include <dlfcn.h>
#include <eddy.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *path;
static sem_t used, closed;

static void on_signal(void *arg)
{
    ++*(int *)arg;
}

static void *use(void *arg)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return arg;
    eddy_loop *(*loop_new)(void);
    int (*run)(eddy_loop *);
    int (*run_once)(eddy_loop *, int);
    int (*add_signal_handler)(eddy_loop *, int, eddy_fn, void *);
    const char *(*version)(void);
    *(void **)&loop_new = dlsym(library, "eddy_loop_new");
    *(void **)&run = dlsym(library, "eddy_loop_run");
    *(void **)&run_once = dlsym(library, "eddy_loop_run_once");
    *(void **)&add_signal_handler = dlsym(library, "eddy_loop_add_signal_handler");
    *(void **)&version = dlsym(library, "eddy_version");
    int signals = 0;
    eddy_loop *loop = loop_new();
    int ok = run(loop) == 0 && strcmp(version(), EDDY_VERSION) == 0;
    ok = ok && add_signal_handler(loop, SIGTERM, on_signal, &signals) == 0;
    dlclose(library);
    sem_post(&used);
    sem_wait(&closed);
    raise(SIGTERM); /* it does not kill */
    ok = ok && run_once(loop, 0) == 0 && signals == 1;
    return ok ? NULL : arg; /* and with the thread its loop ends, in code that must be there */
}

static long resident(void)
{
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL) return 0; /* not Linux */
    if (fscanf(file, "%ld %ld", &size, &pages) != 2) pages = 0;
    fclose(file);
    return pages * 4;
}

int main(int argc, char **argv)
{
    (void)argc;
    long after_ten = 0;
    path = argv[1];
    sem_init(&used, 0, 0);
    sem_init(&closed, 0, 0);
    for (int round = 0; round < 100; round++) {
        pthread_t thread;
        void *failed;
        if (pthread_create(&thread, NULL, use, &used) != 0) return 1;
        sem_wait(&used);
        sem_post(&closed);
        pthread_join(thread, &failed);
        if (failed != NULL) return printf("round %d failed\n", round), 1;
        struct sigaction action;
        if (sigaction(SIGTERM, NULL, &action) != 0 || action.sa_handler != SIG_DFL)
            return printf("round %d left a handler behind\n", round), 1;
        if (round == 10) after_ten = resident();
    }
    if (resident() > after_ten + 2048) return printf("from %ld to %ld KiB\n", after_ten, resident()), 1;
    return 0;
}
