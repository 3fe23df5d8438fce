/* Torture: whatever the library asks of the system fails, each call in its turn, and nothing worse may come of it than
 * an error that is told. Each run is a process of its own: a scenario in which one call fails, then an undisturbed one
 * on the same loop. It fails if a callback is missing or comes twice, if bytes are wrong or missing and nobody was
 * told, if a descriptor or an allocation is left, if it does not end, or turns round and round.
 *
 *     torture                        everything
 *     torture --sample 2             of each kind of call and error two, of each scenario
 *     torture --only tcp,tls         these scenarios
 *     torture tcp send 3 ECONNRESET  one run, in this process: for a debugger
 *     torture tcp cut 7 3            ... nothing moves in more than 3 bytes (seed 7), and one call in 3 is disturbed */
#include "hooks.h"
#include "scenarios.h"

#include "../plain.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* A run that takes so many seconds hangs. */
#define LONGEST 20
/* Rounds beyond those of an undisturbed run: it does not turn round and round. */
#define MORE_TURNS 3000
/* Of allocations that may end in the runtime's own message, one in so many is enough. */
#define SMALL_STEP 7

struct result {
    struct outcome outcome;
    unsigned hits, counts[CALLS];
    unsigned long calls;
    uint64_t turns;
    bool done;
};

static struct result *result; /* shared with the children */
static int errors;            /* where they write what is wrong */
static struct {
    unsigned long runs, hits, told, reported, aborted;
    unsigned long by_call[CALLS];
    unsigned failed;
} sum;

void eddy_test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(1);
}

int eddy_test_slow(void)
{
    return 1;
}

static void on_alarm(int signal)
{
    (void)signal;
    fprintf(stderr, "it hangs\n");
    scenario_show();
    _exit(1);
}

static const struct scenario *scenario_named(const char *name)
{
    for (size_t i = 0; i < scenario_count; i++)
        if (strcmp(scenarios[i].name, name) == 0) return &scenarios[i];
    FAIL("no scenario is called %s", name);
}

static uint64_t turns_of(eddy_loop *loop)
{
    eddy_stats stats = { .size = sizeof stats };
    return eddy_loop_stats(loop, &stats) == 0 ? stats.turns : 0;
}

/* ---- one run ------------------------------------------------------------------------------------------- */

/* Nothing is taken less well afterwards, on the same loop. */
static void undisturbed(eddy_loop *loop)
{
    const struct scenario *plain = scenario_named("plain");
    struct outcome after = scenario_run(plain, loop, plain->total);
    if (after.told + after.reports > 0) FAIL("afterwards: %s", after.first);
    if (!after.complete) FAIL("afterwards: bytes are missing, and nobody was told");
}

static void run_here(const struct scenario *scenario, const struct plan *plan, size_t total)
{
    const int descriptors = plain_descriptors();
    const uint64_t clock = allocation_clock();
    signal(SIGALRM, on_alarm);
    alarm(LONGEST);
    memset(torture.counts, 0, sizeof torture.counts);
    torture.calls = torture.hits = 0;
    torture.plan = *plan;
    torture.armed = true;
    eddy_loop *loop = eddy_loop_new();
    if (loop == NULL) {
        result->outcome = (struct outcome){ .told = 1, .first = "eddy_loop_new: NULL" };
        torture.armed = false;
        loop = eddy_loop_new();
        if (loop == NULL) FAIL("there is no loop any more");
    } else {
        result->outcome = scenario_run(scenario, loop, total);
        torture.armed = false;
        if (scenario->frees) loop = eddy_loop_new();
        else result->turns = turns_of(loop);
    }
    undisturbed(loop);
    torture.armed = !scenario->frees;
    eddy_loop_free(loop);
    torture.armed = false;
    alarm(0);
    if (torture.fault[0] != '\0') FAIL("%s", torture.fault);
    if (plain_descriptors() != descriptors) {
        if (system("ls -l /proc/$PPID/fd >&2") != 0) fprintf(stderr, "(they cannot be listed)\n");
        FAIL("%d descriptors before, %d after", descriptors, plain_descriptors());
    }
    if (show_allocations(clock) > 0) FAIL("there are allocations left");
    memcpy(result->counts, torture.counts, sizeof result->counts);
    result->hits = torture.hits;
    result->calls = torture.calls;
    result->done = true;
}

static const char *describe(const struct scenario *scenario, const struct plan *plan, const struct fault *fault)
{
    static char text[256];
    if (plan->nth != 0)
        snprintf(text, sizeof text, "%s '%s' %u %s", scenario->name, kinds[plan->call].name, plan->nth, fault->name);
    else
        snprintf(text, sizeof text, "%s cut %u %u", scenario->name, plan->cut, plan->storm);
    return text;
}

/* What is wrong with a run whose process has ended; NULL: nothing. */
static const char *verdict(const struct scenario *scenario, const struct plan *plan, const struct fault *fault,
                           int status, const char *said, uint64_t turns)
{
    static char text[512];
    const struct outcome *outcome = &result->outcome;
    const enum weight weight = result->hits > 0 && fault != NULL ? fault->weight : HIDDEN;
    if (WIFSIGNALED(status)) {
        const bool excused = plan->nth != 0 && plan->call == ALLOCATE_SMALL && WTERMSIG(status) == SIGABRT &&
                             strstr(said, "memory allocation of") != NULL;
        sum.aborted += excused;
        snprintf(text, sizeof text, "%s", strsignal(WTERMSIG(status)));
        return excused ? NULL : text;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !result->done) return "it failed";
    sum.told += outcome->told > 0;
    sum.reported += outcome->reports > 0;
    if (outcome->told > 0 && weight != TOLD)
        snprintf(text, sizeof text, "is no reason to tell: %s", outcome->first);
    else if (outcome->reports > 0 && weight == HIDDEN)
        snprintf(text, sizeof text, "is no reason to report: %s", outcome->first);
    else if (outcome->told + outcome->reports == 0 && !outcome->complete && !scenario->frees)
        return "bytes are missing, and nobody was told";
    else if (turns > 0 && result->turns > turns + MORE_TURNS)
        snprintf(text, sizeof text, "%lu rounds instead of %lu", (unsigned long)result->turns, (unsigned long)turns);
    else
        return NULL;
    return text;
}

/* True: something was done to a call. */
static bool run(const struct scenario *scenario, const struct plan *plan, const struct fault *fault, size_t total,
                uint64_t turns)
{
    char said[4096];
    int status;
    memset(result, 0, sizeof *result);
    if (ftruncate(errors, 0) != 0 || lseek(errors, 0, SEEK_SET) != 0) FAIL("cannot empty a file");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(errors, 2);
        run_here(scenario, plan, total);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) FAIL("cannot fork: %s", strerror(errno));
    ssize_t len = pread(errors, said, sizeof said - 1, 0);
    said[len > 0 ? len : 0] = '\0';
    sum.runs++;
    sum.hits += result->hits > 0;
    if (plan->nth != 0 && (result->hits > 0 || !result->done)) sum.by_call[plan->call]++;
    const char *wrong = verdict(scenario, plan, fault, status, said, turns);
    if (wrong != NULL) {
        sum.failed++;
        printf("FAILED torture %s: %s\n%s", describe(scenario, plan, fault), wrong, said);
    }
    /* One that did not get so far as to say it was hit by something. */
    return result->hits > 0 || !result->done;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

/* Fails one call after the other until there is none any more; or so many of them, evenly. */
static void each_call(const struct scenario *scenario, enum call call, unsigned count, unsigned sample, uint64_t turns)
{
    const unsigned step = call == ALLOCATE_SMALL ? SMALL_STEP : scenario->is_large ? 1 + count / 40 : 1;
    for (const struct fault *fault = kinds[call].faults; fault->name != NULL; fault++) {
        const unsigned which = (unsigned)(fault - kinds[call].faults);
        for (unsigned n = 1, misses = 0; sample == 0 ? misses < 2 : n <= count; ) {
            struct plan plan = { .call = call, .nth = n, .error = fault->error };
            if (run(scenario, &plan, fault, scenario->total, turns)) misses = 0;
            else misses++;
            n += sample == 0 ? step : 1 + (count + which) / sample;
        }
    }
}

static double seconds(void)
{
    return (double)plain_now() / 1000;
}

static void torment(const struct scenario *scenario, unsigned sample)
{
    const double begin = seconds();
    const unsigned long runs = sum.runs;
    struct plan nothing = { .nth = 0 };
    unsigned counts[CALLS];
    run(scenario, &nothing, NULL, scenario->total, 0);
    memcpy(counts, result->counts, sizeof counts);
    const uint64_t turns = result->turns;
    for (int call = 0; call < CALLS; call++) {
        if (counts[call] == 0 && call != SIGTIMEDWAIT) continue;
        each_call(scenario, call, counts[call], sample, turns);
        if (sample == 0)
            printf("  %-10s %-28s %6u calls, %7.1f s\n", scenario->name, kinds[call].name, counts[call],
                   seconds() - begin);
    }
    /* 1 to 3 bytes at a time; then interruptions and false alarms as well. */
    for (unsigned seed = 1; seed <= (sample == 0 ? 40 : 2); seed++) {
        struct plan cut = { .cut = seed, .storm = seed % 2 == 0 ? 3 : 0 };
        run(scenario, &cut, NULL, scenario->cut_total, 0);
    }
    printf("%-10s %6lu runs, %7.1f s\n", scenario->name, sum.runs - runs, seconds() - begin);
}

static bool is_among(const char *name, const char *list)
{
    const size_t len = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, ','), at = at != NULL ? at + 1 : NULL)
        if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0')) return true;
    return false;
}

static int one(char **argv)
{
    const struct scenario *scenario = scenario_named(argv[0]);
    struct plan plan = { .nth = 0 };
    const bool is_cut = strcmp(argv[1], "cut") == 0;
    if (is_cut) {
        plan.cut = (unsigned)atoi(argv[2]);
        plan.storm = (unsigned)atoi(argv[3]);
    } else {
        plan.nth = (unsigned)atoi(argv[2]);
        for (int call = 0; call < CALLS; call++)
            if (strcmp(kinds[call].name, argv[1]) == 0) plan.call = call;
        for (const struct fault *fault = kinds[plan.call].faults; fault->name != NULL; fault++)
            if (strcmp(fault->name, argv[3]) == 0) plan.error = fault->error;
        if (plan.error == 0) FAIL("%s does not fail with %s", argv[1], argv[3]);
    }
    run_here(scenario, &plan, is_cut ? scenario->cut_total : scenario->total);
    printf("told %u, reported %u, %s; hits %u; %s\n", result->outcome.told, result->outcome.reports,
           result->outcome.complete ? "complete" : "not complete", result->hits, result->outcome.first);
    return 0;
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    unsigned sample = 0;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--only") == 0) only = argv[at + 1];
        else if (strcmp(argv[at], "--sample") == 0) sample = (unsigned)atoi(argv[at + 1]);
        else FAIL("what is %s?", argv[at]);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    errors = memfd_create("errors", MFD_CLOEXEC);
    if (result == MAP_FAILED || errors < 0) FAIL("no memory");
    const bool tls = scenarios_begin();
    /* What is made once for all of the process is made now, and no leak. */
    for (size_t i = 0; i < scenario_count; i++) {
        if (scenarios[i].is_tls && !tls) continue;
        eddy_loop *loop = eddy_loop_new();
        struct outcome outcome = scenario_run(&scenarios[i], loop, scenarios[i].total);
        if (!scenarios[i].frees) eddy_loop_free(loop);
        if (outcome.told + outcome.reports > 0) FAIL("%s, undisturbed: %s", scenarios[i].name, outcome.first);
        if (!outcome.complete && !scenarios[i].frees) FAIL("%s, undisturbed: bytes are missing", scenarios[i].name);
    }
    if (argc - at == 4) return one(argv + at);
    const double begin = seconds();
    for (size_t i = 0; i < scenario_count; i++)
        if ((tls || !scenarios[i].is_tls) && (only == NULL || is_among(scenarios[i].name, only)))
            torment(&scenarios[i], sample);
    printf("\n");
    for (int call = 0; call < CALLS; call++)
        if (sum.by_call[call] > 0) printf("%-28s failed %6lu times\n", kinds[call].name, sum.by_call[call]);
    printf("%lu runs, %.0f s: a call was disturbed in %lu; an error was told in %lu, reported in %lu; the runtime "
           "ended %lu for want of a small allocation; %u went wrong\n",
           sum.runs, seconds() - begin, sum.hits, sum.told, sum.reported, sum.aborted, sum.failed);
    return sum.failed == 0 ? 0 : 1;
}
