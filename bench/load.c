/* load: a closed-loop load generator. One thread, one connection after the other: whoever got its answer asks
 * again, so the server sets the pace.
 *
 *     load PORT KIND [connections=N] [depth=N] [idle=N] [seconds=S] [count=N] [pid=N]
 *
 *     line      each connection sends DEPTH lines of 64 bytes, waits for them, sends the next
 *     bulk      the same with 64 KiB
 *     connect   connects, sends a line, waits for it, closes; CONNECTIONS at a time
 *     sink      sends 64 KiB after 64 KiB; at the end the server has to tell how many bytes it saw
 *     idle      opens the connections, exchanges one line on each, says so, and waits for the end of its input
 *
 * It ends after SECONDS or COUNT requests, whichever comes first, and prints one line of JSON: requests,
 * seconds, and the CPU time that process PID and this one spent on them, in nanoseconds. Connecting and a
 * first answer on each connection come before that, unless COUNT is given. IDLE more connections stand by.
 *
 * Every byte that comes back is compared with what was sent. All messages are windows into one random text,
 * at a place that depends on the connection and on its turn: what is late, lost or another's is a difference.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE_LENGTH = 64, CHUNK = 65536, WINDOWS = 1024, PATIENCE_MS = 20000 };

struct connection {
    int fd;
    unsigned turn;         /* how many messages it has sent */
    const char *message;   /* the present one: so much of it is out, and so much is back */
    size_t sent, received;
};

static struct sockaddr_in server;
static long connections = 1, depth = 1, idle = 0, count = 0, pid = 0;
static double seconds = 0;
static bool connect_each = false;

static char *text;          /* WINDOWS lines, and as much again as a message is long */
static size_t message_size; /* and so many requests is a message worth: */
static long message_worth;
static char input[CHUNK];

static int poll_fd;
static struct connection *all;

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* ---- clocks ------------------------------------------------------------------------------------------- */

static long long nanoseconds(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) die("no such clock: %s", strerror(errno));
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

struct reading {
    long long wall, server, load;
};

static struct reading read_clocks(void)
{
    clockid_t clock;
    struct reading now = { nanoseconds(CLOCK_MONOTONIC), 0, nanoseconds(CLOCK_PROCESS_CPUTIME_ID) };
    if (pid != 0 && clock_getcpuclockid((pid_t)pid, &clock) == 0) now.server = nanoseconds(clock);
    return now;
}

static void report(struct reading from, struct reading to, long requests)
{
    printf("{\"requests\": %ld, \"seconds\": %.6f, \"server_ns\": %lld, \"load_ns\": %lld}\n", requests,
           (double)(to.wall - from.wall) / 1e9, to.server - from.server, to.load - from.load);
    fflush(stdout);
}

/* ---- connections -------------------------------------------------------------------------------------- */

static void make_text(void)
{
    size_t size = WINDOWS * LINE_LENGTH + message_size;
    unsigned long long random = 88172645463325252ULL;
    text = malloc(size);
    if (text == NULL) die("no memory");
    for (size_t i = 0; i < size; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        text[i] = (char)('!' + random % 94);
        if (i % LINE_LENGTH == LINE_LENGTH - 1) text[i] = '\n';
    }
}

static int open_socket(void)
{
    static unsigned source = 0;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect_each) { /* from 200 addresses, else their ports would run out before they may be used again */
        struct sockaddr_in here = { .sin_family = AF_INET };
        here.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + source++ % 200);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&here, sizeof here) != 0) die("bind: %s", strerror(errno));
    }
    if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0) die("connect: %s", strerror(errno));
    return fd;
}

static void watch(struct connection *c)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

static void send_rest(struct connection *c)
{
    while (c->sent < message_size) {
        ssize_t n = send(c->fd, c->message + c->sent, message_size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) die("send: %s", strerror(errno));
        c->sent += (size_t)n;
    }
}

static void send_next(struct connection *c)
{
    size_t window = ((size_t)(c - all) * 7 + c->turn++ * 5) % WINDOWS;
    c->message = text + window * LINE_LENGTH;
    c->sent = c->received = 0;
    send_rest(c);
}

/* Whether the message has come back as a whole. */
static bool receive(struct connection *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, input, sizeof input, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) return false;
        if (n < 0) die("recv: %s", strerror(errno));
        if (n == 0) die("the server has closed connection %ld", (long)(c - all));
        if (c->received + (size_t)n > c->sent || memcmp(input, c->message + c->received, (size_t)n) != 0)
            die("connection %ld got back what it did not send, in turn %u", (long)(c - all), c->turn);
        c->received += (size_t)n;
        if (c->received == message_size) return true;
        if ((size_t)n < sizeof input) return false;
    }
}

/* A line there and back, without epoll: so that no connection stands by untouched. */
static int open_idle(long i)
{
    const char *line = text + (size_t)(i % WINDOWS) * LINE_LENGTH;
    int fd = open_socket();
    if (send(fd, line, LINE_LENGTH, MSG_NOSIGNAL) != LINE_LENGTH) die("send: %s", strerror(errno));
    if (recv(fd, input, LINE_LENGTH, MSG_WAITALL) != LINE_LENGTH || memcmp(input, line, LINE_LENGTH) != 0)
        die("idle connection %ld got back what it did not send", i);
    return fd;
}

/* ---- the kinds ---------------------------------------------------------------------------------------- */

static void stand_by(void)
{
    for (long i = 0; i < connections; i++) open_idle(i);
    puts("ready");
    fflush(stdout);
    while (read(STDIN_FILENO, input, sizeof input) > 0) continue;
}

static void echo(void)
{
    static struct epoll_event events[1024];
    long answered = 0, active = connections, begun = 0, requests = 0;
    bool measuring = count != 0, over = false;
    struct reading from = read_clocks(), to = from;
    long long warm = from.wall + 20000000;

    for (long i = 0; i < connections; i++, begun += message_worth) {
        all[i].fd = open_socket();
        watch(&all[i]);
        send_next(&all[i]);
    }
    while (active > 0) {
        int n = epoll_wait(poll_fd, events, sizeof events / sizeof *events, PATIENCE_MS);
        if (n <= 0) die("nothing has come for %d seconds, after %ld requests", PATIENCE_MS / 1000, requests);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->sent < message_size) send_rest(c);
            if (!(events[i].events & ~(unsigned)EPOLLOUT) || !receive(c)) continue;
            requests += message_worth;
            answered += c->turn == 1 || connect_each;
            if (connect_each) close(c->fd);
            if (over || (count != 0 && begun >= count)) {
                active--;
                continue;
            }
            if (connect_each) {
                c->fd = open_socket();
                watch(c);
            }
            begun += message_worth;
            send_next(c);
        }
        if (over) continue;
        if (!measuring && answered >= connections && nanoseconds(CLOCK_MONOTONIC) > warm) {
            measuring = true;
            requests = 0;
            from = read_clocks();
        } else if (measuring && seconds > 0 && nanoseconds(CLOCK_MONOTONIC) - from.wall > seconds * 1e9) {
            to = read_clocks();
            over = true;
            report(from, to, requests);
        }
    }
    if (!over) report(from, read_clocks(), requests);
}

static void sink(void)
{
    int fd = open_socket();
    long chunks = 0;
    struct reading from = read_clocks();
    do {
        size_t window = (size_t)(chunks % WINDOWS) * LINE_LENGTH, sent = 0;
        while (sent < CHUNK) {
            ssize_t n = send(fd, text + window + sent, CHUNK - sent, MSG_NOSIGNAL);
            if (n <= 0) die("send: %s", strerror(errno));
            sent += (size_t)n;
        }
        chunks++;
    } while (chunks != count && nanoseconds(CLOCK_MONOTONIC) - from.wall < seconds * 1e9);
    shutdown(fd, SHUT_WR);
    ssize_t n = recv(fd, input, sizeof input - 1, MSG_WAITALL);
    struct reading to = read_clocks();
    input[n > 0 ? n : 0] = '\0';
    if (atoll(input) != (long long)chunks * CHUNK)
        die("%lld bytes sent, and the server saw %s", (long long)chunks * CHUNK, input);
    report(from, to, chunks);
}

/* ---- the command line --------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    if (argc < 3) die("usage: load PORT line|bulk|connect|sink|idle [name=value]...");
    server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 3; i < argc; i++) {
        if (sscanf(argv[i], "connections=%ld", &connections) == 1) continue;
        if (sscanf(argv[i], "depth=%ld", &depth) == 1) continue;
        if (sscanf(argv[i], "idle=%ld", &idle) == 1) continue;
        if (sscanf(argv[i], "seconds=%lf", &seconds) == 1) continue;
        if (sscanf(argv[i], "count=%ld", &count) == 1) continue;
        if (sscanf(argv[i], "pid=%ld", &pid) == 1) continue;
        die("what is %s?", argv[i]);
    }
    if (connections < 1 || depth < 1 || depth > CHUNK / LINE_LENGTH) die("that is too few, or too many");
    if (seconds <= 0 && count <= 0) seconds = 1;
    if (seconds <= 0) seconds = 600; /* a bound for whoever only counts */

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    const char *kind = argv[2];
    bool big = strcmp(kind, "bulk") == 0 || strcmp(kind, "sink") == 0;
    connect_each = strcmp(kind, "connect") == 0;
    message_size = big ? CHUNK : (size_t)depth * LINE_LENGTH;
    message_worth = big ? 1 : depth;
    make_text();
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)connections, sizeof *all);
    if (all == NULL) die("no memory");

    for (long i = 0; i < idle; i++) open_idle(i);
    if (strcmp(kind, "idle") == 0) stand_by();
    else if (strcmp(kind, "sink") == 0) sink();
    else if (strcmp(kind, "line") == 0 || strcmp(kind, "bulk") == 0 || connect_each) echo();
    else die("what is %s?", kind);
}
