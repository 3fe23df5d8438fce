/* Torture: whatever the library asks of the system fails, each call in its turn, and nothing worse may come of it than
 * an error that is told. Each run is a process of its own: a scenario in which one call fails, then an undisturbed one
 * on the same loop. It fails if a callback is missing or comes twice, if bytes are wrong or missing and nobody was
 * told, if a descriptor or an allocation is left, if it does not end, or turns round and round.
 *
 *     torture                        everything
 *     torture --sample 2             of each kind of call and error two, of each scenario
 *     torture --only tcp,tls         these scenarios
 *     torture --workers 2            so many processes at once; else two for each processor, as they wait a lot
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
static struct sum {
    unsigned next; /* job */
    unsigned long runs, cut, told, reported, aborted, failed;
    unsigned long by_call[CALLS];
} *sum; /* of all workers */

static void add(unsigned long *count, bool one)
{
    if (one) __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
}

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
        add(&sum->aborted, excused);
        snprintf(text, sizeof text, "%s", strsignal(WTERMSIG(status)));
        return excused ? NULL : text;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !result->done) return "it failed";
    add(&sum->told, outcome->told > 0);
    add(&sum->reported, outcome->reports > 0);
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
    add(&sum->runs, true);
    add(&sum->cut, plan->cut != 0);
    add(&sum->by_call[plan->call], plan->nth != 0 && (result->hits > 0 || !result->done));
    const char *wrong = verdict(scenario, plan, fault, status, said, turns);
    if (wrong != NULL) {
        add(&sum->failed, true);
        printf("FAILED torture %s: %s\n%s", describe(scenario, plan, fault), wrong, said);
    }
    /* One that did not get so far as to say it was hit by something. */
    return result->hits > 0 || !result->done;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

/* What one worker does at a time: all calls of one kind in a scenario fail with one error; or bytes are cut. */
struct job {
    const struct scenario *scenario;
    enum call call;
    const struct fault *fault; /* NULL: cut */
    unsigned count;            /* calls of an undisturbed run; or the seed */
    uint64_t turns;
};

enum { JOBS = 16384, CUTS = 40, QUICK_CUTS = 2 };

static struct job jobs[JOBS];
static unsigned job_count, sample;

static void add_job(struct job job)
{
    if (job_count == JOBS) FAIL("too many jobs");
    jobs[job_count++] = job;
}

static void add_jobs(const struct scenario *scenario)
{
    struct plan nothing = { .nth = 0 };
    run(scenario, &nothing, NULL, scenario->total, 0);
    for (int call = 0; call < CALLS; call++) {
        /* Not called before something else has failed. */
        if (result->counts[call] == 0 && call != SIGTIMEDWAIT) continue;
        for (const struct fault *fault = kinds[call].faults; fault->name != NULL; fault++)
            add_job((struct job){ scenario, (enum call)call, fault, result->counts[call], result->turns });
    }
    if (scenario->cut_total == 0) return;
    for (unsigned seed = 1; seed <= (sample == 0 ? CUTS : QUICK_CUTS); seed++)
        add_job((struct job){ .scenario = scenario, .count = seed });
}

/* Fails one call after the other until there is none any more; or so many of them, evenly. */
static void each_call(const struct job *job)
{
    const unsigned every = job->scenario->is_large ? 1 + job->count / 40 : job->call == ALLOCATE_SMALL ? SMALL_STEP : 1;
    const unsigned which = (unsigned)(job->fault - kinds[job->call].faults);
    const unsigned step = sample == 0 ? every : 1 + (job->count + which) / sample;
    for (unsigned n = 1, misses = 0; sample == 0 ? misses < 2 : n <= job->count; n += step) {
        struct plan plan = { .call = job->call, .nth = n, .error = job->fault->error };
        if (run(job->scenario, &plan, job->fault, job->scenario->total, job->turns)) misses = 0;
        else misses++;
    }
}

static void do_job(const struct job *job)
{
    if (job->fault != NULL) {
        each_call(job);
        return;
    }
    /* 1 to 3 bytes at a time; with every other seed, interruptions and false alarms as well. */
    struct plan cut = { .cut = job->count, .storm = job->count % 2 == 0 ? 3 : 0 };
    run(job->scenario, &cut, NULL, job->scenario->cut_total, 0);
}

static int by_length(const void *a, const void *b)
{
    const struct job *one = a, *other = b;
    if (one->scenario->is_large != other->scenario->is_large) return one->scenario->is_large ? -1 : 1;
    if (one->count != other->count) return one->count > other->count ? -1 : 1;
    return one < other ? -1 : 1;
}

/* A process that takes one job after the other. */
static pid_t work(unsigned worker)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) FAIL("cannot fork: %s", strerror(errno));
    if (pid > 0) return pid;
    errors = memfd_create("errors", MFD_CLOEXEC);
    if (errors < 0) FAIL("no memory");
    result += worker;
    scenarios_beside(worker);
    for (unsigned at; (at = __atomic_fetch_add(&sum->next, 1, __ATOMIC_RELAXED)) < job_count; ) do_job(&jobs[at]);
    fflush(NULL);
    _exit(0);
}

static double seconds(void)
{
    return (double)plain_now() / 1000;
}

/* True: all workers came to their end. */
static bool wait_for(unsigned workers, double begin)
{
    bool well = true;
    double told = begin;
    while (workers > 0) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            workers--;
            well &= status == 0;
            continue;
        }
        usleep(100000);
        if (seconds() - told < 10) continue;
        told = seconds();
        const unsigned next = sum->next < job_count ? sum->next : job_count - 1;
        printf("%5.0f s: %u of %u, %lu runs, %lu went wrong; now at %s, %s\n", told - begin, next, job_count,
               sum->runs, sum->failed, jobs[next].scenario->name,
               jobs[next].fault != NULL ? kinds[jobs[next].call].name : "cut");
    }
    return well;
}

static void show_sum(unsigned scenarios_tried, double took)
{
    unsigned long calls = 0;
    for (int call = 0; call < CALLS; call++) {
        if (sum->by_call[call] > 0) printf("%-28s failed %6lu times\n", kinds[call].name, sum->by_call[call]);
        if (call < ALLOCATE) calls += sum->by_call[call];
    }
    printf("\n%u scenarios, %lu runs, %.0f s\n", scenarios_tried, sum->runs, took);
    printf("%lu system calls failed in turn\n", calls);
    printf("%lu allocations of 4 KiB or more failed in turn, and %lu smaller ones, of which the runtime ended %lu with "
           "a message\n", sum->by_call[ALLOCATE], sum->by_call[ALLOCATE_SMALL], sum->aborted);
    printf("%lu runs with all bytes by ones, twos and threes\n", sum->cut);
    printf("an error was told in %lu runs, reported in %lu\n", sum->told, sum->reported);
    printf("lost: %s (callbacks, bytes, descriptors, memory, hangs): %lu runs went wrong\n",
           sum->failed == 0 ? "nothing" : "something", sum->failed);
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
    unsigned workers = 2 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN), tried = 0;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--only") == 0) only = argv[at + 1];
        else if (strcmp(argv[at], "--sample") == 0) sample = (unsigned)atoi(argv[at + 1]);
        else if (strcmp(argv[at], "--workers") == 0) workers = (unsigned)atoi(argv[at + 1]);
        else FAIL("what is %s?", argv[at]);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    void *shared = mmap(NULL, sizeof *sum + (workers + 1) * sizeof *result, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    errors = memfd_create("errors", MFD_CLOEXEC);
    if (shared == MAP_FAILED || errors < 0) FAIL("no memory");
    sum = shared;
    result = (struct result *)(sum + 1);
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
    for (size_t i = 0; i < scenario_count; i++) {
        if ((scenarios[i].is_tls && !tls) || (only != NULL && !is_among(scenarios[i].name, only))) continue;
        add_jobs(&scenarios[i]);
        tried++;
    }
    /* The longest first, so that all workers end at the same time. */
    qsort(jobs, job_count, sizeof jobs[0], by_length);
    for (unsigned i = 1; i <= workers; i++) work(i);
    const bool well = wait_for(workers, begin);
    show_sum(tried, seconds() - begin);
    if (!well) printf("FAILED torture: a worker has not come to its end\n");
    return well && sum->failed == 0 ? 0 : 1;
}
