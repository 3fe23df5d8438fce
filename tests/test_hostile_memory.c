/* Memory that there is not: each allocation fails in turn, or all that are large. What is defined here stands before the
 * C library's own functions of the same names, also for libeddy; sanitizers and valgrind have their own, which do not
 * fail. */
#include "ends.h"

#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FAILS 1
#endif

static struct {
    atomic_bool armed;
    atomic_long calls; /* of those that were large enough to count */
    size_t floor;      /* what is smaller does not count */
    long from, to;     /* these fail */
} memory;

static void memory_fails(size_t floor, long from, long to)
{
    memory.floor = floor;
    memory.from = from;
    memory.to = to;
    atomic_store(&memory.calls, 0);
    atomic_store(&memory.armed, true);
}

static void memory_is_there(void)
{
    atomic_store(&memory.armed, false);
}

#ifdef FAILS
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool fails_now(size_t size)
{
    if (!atomic_load(&memory.armed) || size < memory.floor) return false;
    const long call = atomic_fetch_add(&memory.calls, 1) + 1;
    if (call < memory.from || call > memory.to) return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails_now(size) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails_now(size != 0 && count > SIZE_MAX / size ? SIZE_MAX : count * size) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails_now(size) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails_now(size) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **place, size_t alignment, size_t size)
{
    if (fails_now(size)) return ENOMEM;
    *place = __libc_memalign(alignment, size);
    return *place != NULL ? 0 : ENOMEM;
}
#endif

static bool memory_can_fail(void)
{
#ifdef FAILS
    if (!plain_on_valgrind()) return true;
#endif
    printf("skipped: here memory does not fail\n");
    return false;
}

/* The C library's resolver does not survive what is tried here: it has one name, and one answer. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    static struct sockaddr_in address;
    static struct addrinfo answer;
    (void)hints;
    if (node == NULL || strcmp(node, "here.test") != 0) return EAI_NONAME;
    address = plain_v4("127.0.0.1", service != NULL ? (uint16_t)atoi(service) : 0);
    answer = (struct addrinfo){ .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP,
                                .ai_addrlen = sizeof address, .ai_addr = (struct sockaddr *)&address };
    *result = &answer;
    return 0;
}

void freeaddrinfo(struct addrinfo *info)
{
    (void)info;
}

/* ---- large pieces, which a peer or the caller may cause to be asked for ------------------------------------ */

enum { MEGABYTE = 1 << 20 };

TEST(what_does_not_fit_is_told_to_its_connection_only, "r05")
{
    if (!memory_can_fail()) return;
    struct end end = end_tcp(NULL), other = end_tcp_on(end.loop, NULL), full = end_tcp_on(end.loop, NULL);
    eddy_reader *fed = eddy_reader_new(end.loop, 64);
    static char bytes[MEGABYTE];
    GOT(line);
    GOT(exactly);
    GOT(closed);
    GOT(few);
    struct got *const callbacks[] = { &exactly, &closed };
    for (int i = 0; i < 2; i++) { /* and so on for as long as it lasts */
        START(&line, eddy_reader_readline(other.reader, got_read, &line));
        plain_send_text(other.peer, "warm\n");
        RUN_UNTIL(end.loop, line.count == i + 1);
    }

    end_narrow(&full, 65536);
    while (eddy_writer_write(full.writer, bytes, 65536) == 0) settle(end.loop);
    const size_t queued = eddy_writer_get_write_buffer_size(full.writer);
    memory_fails(32768, 1, LONG_MAX);
    CHECK_INT(eddy_writer_write(full.writer, bytes, sizeof bytes), EDDY_EFULL);
    CHECK_INT(eddy_writer_writelines(full.writer, &(eddy_bytes){ bytes, sizeof bytes }, 1), EDDY_EFULL);
    CHECK_INT(eddy_writer_get_write_buffer_size(full.writer), queued);
    CHECK_INT(eddy_reader_feed_data(fed, bytes, sizeof bytes), EDDY_EFULL);
    CHECK_INT(eddy_reader_buffered(fed, NULL), 0);
    FEED(fed, "a few");
    START(&few, eddy_reader_readexactly(fed, 5, got_read, &few));
    RUN_UNTIL(end.loop, few.count == 1);
    CHECK_GOT(few, 1, "a few");
    CHECK(eddy_writer_write(other.writer, "a few", 5) >= 0);
    settle(end.loop);
    CHECK_INT(plain_recv(other.peer, bytes, 5), 5);

    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    START(&exactly, eddy_reader_readexactly(end.reader, sizeof bytes, got_read, &exactly));
    for (size_t sent = 0; sent < sizeof bytes && exactly.count == 0;) {
        ssize_t n = send(end.peer, bytes, 16384, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) sent += (size_t)n;
        CHECK(eddy_loop_run_once(end.loop, 0) >= 0);
    }
    RUN_UNTIL(end.loop, closed.count > 0);
    for (int i = 0; i < 2; i++) {
        CHECK_ENDED(*callbacks[i], 1, EDDY_ELOST);
        CHECK_INT(callbacks[i]->system, ENOMEM);
    }
    START(&line, eddy_reader_readline(other.reader, got_read, &line));
    plain_send_text(other.peer, "as ever\n");
    RUN_UNTIL(end.loop, line.count == 3);
    CHECK_GOT(line, 3, "as ever\n");
    size_t sent = 0; /* and what was taken is sent */
    while (eddy_writer_get_write_buffer_size(full.writer) > 0 || sent == 0) {
        long n = plain_look(full.peer, bytes, sizeof bytes);
        if (n > 0) sent += (size_t)n;
        CHECK(eddy_loop_run_once(end.loop, 1) >= 0);
    }
    memory_is_there();
    end_close_peer(&full);
    end_close_peer(&other);
    end_free(&end);
}

/* ---- each one, in turn ------------------------------------------------------------------------------------- */

static struct {
    eddy_loop *loop;
    eddy_server *server;
    eddy_reader *reader, *its_reader;
    eddy_writer *writer, *its_writer;
    int settled, lines, called;
} act;

static void on_server(eddy_server *server, const eddy_error *error, void *arg)
{
    (void)arg;
    act.server = server;
    act.settled++;
    if ((server == NULL) == (error == NULL)) _exit(30);
}

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)arg, (void)error;
    act.its_reader = reader;
    act.its_writer = writer;
}

static void on_opened(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)arg;
    act.reader = reader;
    act.writer = writer;
    act.settled++;
    if ((writer == NULL) == (error == NULL)) _exit(31);
}

static void on_line(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)reader;
    act.settled++;
    if (error != NULL || len == 0) return;
    if (len != 10001 || bytes[10000] != '\n' || strspn(bytes, arg) != 10000) _exit(32); /* wrong bytes */
    act.lines++;
}

static void on_loop(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop, (void)error, (void)arg;
    act.called++;
}

static void on_report(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    (void)loop, (void)arg;
    if (message == NULL || strlen(message) + strlen(eddy_error_message(error)) > 4096) _exit(33);
}

/* What is accepted is told, also of this: nothing may be lost by a failure. */
static void wait_for(int settled)
{
    const uint64_t deadline = plain_now() + 10000 * (uint64_t)eddy_test_slow();
    while (act.settled < settled) {
        if (plain_now() > deadline) _exit(37);
        if (eddy_loop_run_once(act.loop, 5) < 0) _exit(34);
    }
}

/* A server and its client, a name, a timer, lines both ways. Whatever is refused is done without. */
static void play(void)
{
    static char line[10001];
    act.loop = eddy_loop_new();
    if (act.loop == NULL) return;
    eddy_loop_set_exception_handler(act.loop, on_report, NULL);
    int started = eddy_start_server(act.loop, on_client, "127.0.0.1", 0, NULL, on_server, NULL) >= 0;
    wait_for(started);
    if (act.server != NULL && eddy_server_socket(act.server, 0) >= 0) {
        const uint16_t port = plain_port((int)eddy_server_socket(act.server, 0));
        started = act.settled;
        started += eddy_open_connection(act.loop, "here.test", port, EDDY_OPTIONS(.timeout_ms = 200), on_opened,
                                        NULL) >= 0;
        wait_for(started);
    }
    const int timers = eddy_loop_call_later(act.loop, 1, on_loop, NULL) >= 0;
    for (int i = 0; i < 20 && act.writer != NULL && act.its_writer == NULL; i++) eddy_loop_run_once(act.loop, 5);
    if (act.its_writer != NULL && act.writer != NULL) {
        started = act.settled;
        started += eddy_reader_readline(act.its_reader, on_line, "a") >= 0;
        started += eddy_reader_readuntil(act.reader, "\n", 1, on_line, "b") >= 0;
        memset(line, 'a', 10000), line[10000] = '\n';
        int code = eddy_writer_write(act.writer, line, sizeof line);
        if (code < 0) eddy_writer_close(act.writer); /* or the other side would wait for ever */
        memset(line, 'b', 10000);
        code = eddy_writer_writelines(act.its_writer, (eddy_bytes[]){ { line, 5000 }, { line + 5000, 5001 } }, 2);
        if (code < 0) eddy_writer_close(act.its_writer);
        eddy_writer_get_extra_info(act.writer, "peername", NULL);
        wait_for(started);
        eddy_repr(act.reader);
    }
    eddy_writer_close(act.writer);
    eddy_loop_free(act.loop);
    if (act.called != timers) _exit(35); /* as often as accepted */
}

TEST(every_allocation_may_fail, "r06")
{
    if (!memory_can_fail()) return;
    long last = 0, aborts = 0;
    for (long at = 1; last == 0; at++) {
        int ends[2];
        char said[1024] = "";
        CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
        fflush(stdout);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm((unsigned)(20 * eddy_test_slow()));
            setenv("RUST_BACKTRACE", "0", 1); /* which would take a tenth of a second each */
            dup2(ends[1], 2);
            memory_fails(0, at, at);
            play();
            memory_is_there();
            const bool all = atomic_load(&memory.calls) < at; /* there was none to fail any more */
            if (all && act.lines != 2) _exit(36);
            _exit(all ? 1 : 0);
        }
        close(ends[1]);
        size_t len = 0;
        ssize_t n;
        while (len < sizeof said - 1 && (n = read(ends[0], said + len, sizeof said - 1 - len)) > 0) len += (size_t)n;
        close(ends[0]);
        int status;
        CHECK_INT(waitpid(child, &status, 0), child);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) {
            if (strstr(said, "memory") == NULL) FAIL("allocation %ld: abort, and said: %s", at, said);
            aborts++;
        } else if (status == 1 << 8) {
            last = at;
        } else if (status != 0) {
            FAIL("allocation %ld: the status is %#x, and said: %s", at, (unsigned)status, said);
        }
        CHECK(at < 5000);
    }
    CHECK(last > 20);
    printf("%ld allocations, %ld of which cannot do without\n", last - 1, aborts);
}
