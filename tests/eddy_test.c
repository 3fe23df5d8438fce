/* The main function of every program of C tests: see eddy_test.h. */
#include "eddy_test.h"

#include <dirent.h>
#include <stdarg.h>
#include <unistd.h>

static struct eddy_test *tests, **last = &tests;
static const char *running = "(none)";

void eddy_test_register(struct eddy_test *test)
{
    *last = test;
    last = &test->next;
}

void eddy_test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: %s: ", file, line, running);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(1);
}

int eddy_test_slow(void)
{
    const char *slow = getenv("EDDY_TEST_SLOW");
    return slow != NULL && atoi(slow) > 0 ? atoi(slow) : 1;
}

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;
    if (dir == NULL) return 0;
    while (readdir(dir) != NULL) count++;
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    int ran = 0;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (struct eddy_test *test = tests; test != NULL; test = test->next) {
        if (argc > 1 && strstr(test->name, argv[1]) == NULL) continue;
        running = test->name;
        int before = open_descriptors();
        alarm((unsigned)(60 * eddy_test_slow()));
        test->run();
        alarm(0);
        if (open_descriptors() != before)
            FAIL("%d descriptors open before, %d after", before, open_descriptors());
        printf("ok %s [%s]\n", test->name, test->shows);
        ran++;
    }
    printf("%d tests passed\n", ran);
    return ran > 0 ? 0 : 1;
}
