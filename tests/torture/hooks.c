/* See hooks.h. */
#undef _FORTIFY_SOURCE
#include "hooks.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/futex.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define E(name, weight) { name, #name, weight }

const struct kind kinds[CALLS] = {
    [SOCKET] = { "socket", { E(EMFILE, TOLD), E(ENFILE, TOLD), E(ENOBUFS, TOLD), E(ENOMEM, TOLD), E(EACCES, TOLD),
                             E(EAFNOSUPPORT, TOLD) } },
    [CONNECT] = { "connect", { E(EINTR, HIDDEN), E(EAGAIN, TOLD), E(ECONNREFUSED, TOLD), E(ETIMEDOUT, TOLD),
                               E(ENETUNREACH, TOLD), E(EADDRNOTAVAIL, TOLD), E(ENOBUFS, TOLD), E(EPERM, TOLD) } },
    [BIND] = { "bind", { E(EADDRINUSE, TOLD), E(EACCES, TOLD), E(ENOMEM, TOLD) } },
    [LISTEN] = { "listen", { E(EADDRINUSE, TOLD), E(EACCES, TOLD) } },
    [ACCEPT] = { "accept4", { E(EINTR, HIDDEN), E(EAGAIN, HIDDEN), E(ECONNABORTED, HIDDEN), E(EPROTO, HIDDEN),
                              E(EMFILE, REPORTED), E(ENFILE, REPORTED), E(ENOBUFS, REPORTED), E(ENOMEM, REPORTED) } },
    [GETSOCKOPT] = { "getsockopt", { E(ENOBUFS, TOLD), E(ENOMEM, TOLD) } },
    [SETSOCKOPT] = { "setsockopt", { E(ENOBUFS, TOLD), E(ENOMEM, TOLD), E(EINVAL, TOLD) } },
    [GETSOCKNAME] = { "getsockname", { E(ENOBUFS, TOLD) } },
    [GETPEERNAME] = { "getpeername", { E(ENOBUFS, TOLD), E(ENOTCONN, TOLD) } },
    [IOCTL] = { "ioctl", { E(EINVAL, HIDDEN) } },
    [FCNTL] = { "fcntl", { E(EMFILE, TOLD), E(ENOMEM, TOLD) } },
    [RECV] = { "recv", { E(EINTR, HIDDEN), E(EAGAIN, HIDDEN), E(ECONNRESET, TOLD), E(ETIMEDOUT, TOLD),
                         E(ENOMEM, TOLD), E(EHOSTUNREACH, TOLD) } },
    [SEND] = { "send", { E(EINTR, HIDDEN), E(EAGAIN, HIDDEN), E(ENOBUFS, HIDDEN), E(ENOMEM, HIDDEN),
                         E(ECONNRESET, TOLD), E(EPIPE, TOLD), E(ETIMEDOUT, TOLD) } },
    [SHUTDOWN] = { "shutdown", { E(ENOTCONN, TOLD) } },
    [READ] = { "read", { E(EINTR, HIDDEN), E(EAGAIN, HIDDEN), E(EIO, TOLD) } },
    [READ_FILE] = { "read of a file", { E(EINTR, HIDDEN), E(EIO, TOLD), E(ENOMEM, TOLD) } },
    [WRITE] = { "write", { E(EINTR, HIDDEN), E(EAGAIN, HIDDEN), E(EIO, TOLD), E(EPIPE, TOLD) } },
    [READ_BELL] = { "read of an eventfd", { E(EINTR, HIDDEN), E(EAGAIN, HIDDEN) } },
    [WRITE_BELL] = { "write to an eventfd", { E(EINTR, HIDDEN), E(EAGAIN, HIDDEN) } },
    [POLL] = { "poll", { E(EINTR, HIDDEN), E(ENOMEM, TOLD) } },
    [EPOLL_CREATE] = { "epoll_create1", { E(EMFILE, TOLD), E(ENFILE, TOLD), E(ENOMEM, TOLD) } },
    [EPOLL_CTL] = { "epoll_ctl", { E(ENOMEM, TOLD), E(ENOSPC, TOLD) } },
    [EPOLL_WAIT] = { "epoll_wait", { E(EINTR, HIDDEN) } },
    [EVENTFD] = { "eventfd", { E(EMFILE, TOLD), E(ENFILE, TOLD), E(ENOMEM, TOLD), E(ENODEV, TOLD) } },
    [CLOSE] = { "close", { E(EINTR, HIDDEN), E(EIO, HIDDEN) } },
    [OPEN] = { "open", { E(EINTR, HIDDEN), E(EMFILE, TOLD), E(ENFILE, TOLD), E(ENOENT, TOLD), E(EACCES, TOLD),
                         E(ENOMEM, TOLD) } },
    [OPEN_NULL] = { "open of /dev/null", { E(EINTR, HIDDEN), E(EMFILE, HIDDEN), E(ENFILE, HIDDEN), E(ENOENT, HIDDEN) } },
    [STATX] = { "statx", { E(ENOMEM, TOLD), E(EACCES, TOLD) } },
    [UNLINK] = { "unlink", { E(EACCES, TOLD), E(EBUSY, TOLD) } },
    [READDIR] = { "opendir or readdir", { E(EMFILE, TOLD), E(ENOENT, TOLD), E(ENOMEM, TOLD) } },
    [GETADDRINFO] = { "getaddrinfo", { E(EAI_AGAIN, TOLD), E(EAI_MEMORY, TOLD), E(EAI_FAIL, TOLD),
                                       E(EAI_NONAME, TOLD), E(EAI_SYSTEM, TOLD) } },
    [PTHREAD_CREATE] = { "pthread_create", { E(EAGAIN, TOLD) } },
    [FUTEX] = { "futex", { E(EINTR, HIDDEN), E(EAGAIN, HIDDEN) } },
    [SLEEP] = { "clock_nanosleep", { E(EINTR, HIDDEN) } },
    [SIGACTION] = { "sigaction", { E(EINVAL, TOLD) } },
    [GETRANDOM] = { "getrandom", { E(EINTR, HIDDEN) } },
    [SIGTIMEDWAIT] = { "sigtimedwait", { E(EINTR, HIDDEN), E(EAGAIN, HIDDEN) } },
    [ALLOCATE] = { "allocation of 4 KiB or more", { E(ENOMEM, TOLD) } },
    [ALLOCATE_SMALL] = { "smaller allocation", { E(ENOMEM, TOLD) } },
};

struct torture torture;

/* libc's own of the same name. */
#define NEXT(name)                                                                                 \
    __extension__({                                                                                \
        static __typeof__(&name) next;                                                             \
        if (next == NULL) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                       \
        next;                                                                                      \
    })

/* ---- whose call it is ---------------------------------------------------------------------------------- */

static uintptr_t eddy_begin, eddy_end;

static int find_eddy(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    if (strstr(info->dlpi_name, "libeddy.so") == NULL) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        eddy_begin = info->dlpi_addr + part->p_vaddr;
        eddy_end = eddy_begin + part->p_memsz;
    }
    return 1;
}

__attribute__((constructor)) static void find(void)
{
    dl_iterate_phdr(find_eddy, NULL);
    if (eddy_end == 0) {
        fprintf(stderr, "libeddy is not a shared library here: its calls cannot be told from others\n");
        _exit(1);
    }
}

static bool is_eddy(const void *caller)
{
    return (uintptr_t)caller >= eddy_begin && (uintptr_t)caller < eddy_end;
}

#define ARMED (torture.armed && is_eddy(__builtin_return_address(0)))

static void wrong(const char *format, ...)
{
    va_list args;
    if (torture.fault[0] != '\0') return;
    va_start(args, format);
    vsnprintf(torture.fault, sizeof torture.fault, format, args);
    va_end(args);
}

/* ---- what is done to it -------------------------------------------------------------------------------- */

static unsigned next_random(void)
{
    static unsigned state = 1;
    if (torture.plan.cut + torture.plan.storm == 0) return 1;
    state = (state + torture.plan.cut + torture.plan.storm) * 1664525 + 1013904223;
    return state >> 16;
}

/* Of an armed call: the error that it fails with. 0: it does not. */
static int fails(enum call call)
{
    const struct plan *plan = &torture.plan;
    unsigned n = __atomic_add_fetch(&torture.counts[call], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&torture.calls, 1, __ATOMIC_RELAXED);
    if (plan->nth != 0 && plan->call == call && plan->nth == n) {
        torture.hits++;
        return plan->error;
    }
    if (plan->storm != 0 && next_random() % plan->storm == 0) {
        int choices = 0;
        while (choices < 12 && kinds[call].faults[choices].name != NULL && kinds[call].faults[choices].weight == HIDDEN)
            choices++;
        /* Nothing is reported to be gone that is there. */
        if (choices > 0 && call != CLOSE && call != OPEN_NULL && call != UNLINK && call != IOCTL) {
            torture.hits++;
            return kinds[call].faults[next_random() % (unsigned)choices].error;
        }
    }
    return 0;
}

/* Fails the call, if it is to. */
#define MAY_FAIL(call)                                                                             \
    do {                                                                                           \
        const int may_error = ARMED ? fails(call) : 0;                                             \
        if (may_error != 0) {                                                                      \
            errno = may_error;                                                                     \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

/* What is registered where, by descriptor, so that an edge can be had again; and what is an eventfd. */
static struct {
    int epoll; /* one more; 0: none */
    struct epoll_event event;
    bool bell;
} registered[65536];

static bool is_known(int fd)
{
    return fd >= 0 && fd < 65536;
}

static void edge_again(int fd)
{
    if (is_known(fd) && registered[fd].epoll > 0) {
        struct epoll_event event = registered[fd].event;
        int error = errno;
        NEXT(epoll_ctl)(registered[fd].epoll - 1, EPOLL_CTL_MOD, fd, &event);
        errno = error;
    }
}

static bool is_unix(int fd)
{
    int domain = 0;
    socklen_t len = sizeof domain;
    return NEXT(getsockopt)(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

/* What an error says is made true: TCP's connections are reset, for both sides, by connecting them to nowhere. */
static void make_true(int fd, int error)
{
    const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
    if (error == EAGAIN) edge_again(fd);
    if (error == ECONNRESET || error == ETIMEDOUT || error == EPIPE || error == ENOTCONN || error == EHOSTUNREACH)
        if (is_unix(fd) || NEXT(connect)(fd, &nowhere, sizeof nowhere) != 0) NEXT(shutdown)(fd, SHUT_RDWR);
    errno = error;
}

static size_t cut(bool is_cut, size_t len)
{
    size_t most = is_cut && torture.plan.cut != 0 ? 1 + next_random() % 3 : len;
    return most < len ? most : len;
}

/* ---- sockets ------------------------------------------------------------------------------------------- */

int socket(int domain, int type, int protocol)
{
    MAY_FAIL(SOCKET);
    return NEXT(socket)(domain, type, protocol);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    int error = ARMED ? fails(CONNECT) : 0;
    if (error == 0) return NEXT(connect)(fd, address, len);
    if (error == EINTR) {
        int result = NEXT(connect)(fd, address, len);
        if (result != 0 && errno != EINPROGRESS) return result;
    }
    errno = error;
    return -1;
}

int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    MAY_FAIL(BIND);
    return NEXT(bind)(fd, address, len);
}

int listen(int fd, int backlog)
{
    MAY_FAIL(LISTEN);
    return NEXT(listen)(fd, backlog);
}

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict len, int flags)
{
    int error = ARMED ? fails(ACCEPT) : 0;
    if (error == 0) return NEXT(accept4)(fd, address, len, flags);
    if (error == EAGAIN) edge_again(fd);
    errno = error;
    return -1;
}

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
    MAY_FAIL(GETSOCKOPT);
    return NEXT(getsockopt)(fd, level, name, value, len);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    MAY_FAIL(SETSOCKOPT);
    return NEXT(setsockopt)(fd, level, name, value, len);
}

int getsockname(int fd, __SOCKADDR_ARG address, socklen_t *restrict len)
{
    MAY_FAIL(GETSOCKNAME);
    return NEXT(getsockname)(fd, address, len);
}

int getpeername(int fd, __SOCKADDR_ARG address, socklen_t *restrict len)
{
    int error = ARMED ? fails(GETPEERNAME) : 0;
    if (error == 0) return NEXT(getpeername)(fd, address, len);
    make_true(fd, error);
    return -1;
}

int shutdown(int fd, int how)
{
    /* It never fails on a unix socket. */
    int error = ARMED && !is_unix(fd) ? fails(SHUTDOWN) : 0;
    if (error == 0) return NEXT(shutdown)(fd, how);
    make_true(fd, error);
    return -1;
}

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
    const bool armed = ARMED;
    int error = armed ? fails(RECV) : 0;
    if (error != 0) {
        make_true(fd, error);
        return -1;
    }
    size_t most = cut(armed, len);
    ssize_t n = NEXT(recv)(fd, bytes, most, flags);
    if (n > 0 && most < len) edge_again(fd);
    return n;
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
    const bool armed = ARMED;
    int error = armed ? fails(SEND) : 0;
    if (armed && !(flags & MSG_NOSIGNAL)) wrong("a send may raise SIGPIPE");
    if (error != 0) {
        make_true(fd, error);
        return -1;
    }
    return NEXT(send)(fd, bytes, cut(armed, len), flags);
}

/* ---- other descriptors --------------------------------------------------------------------------------- */

static bool is_file(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
}

ssize_t read(int fd, void *bytes, size_t len)
{
    const bool armed = ARMED, bell = is_known(fd) && registered[fd].bell;
    int error = armed ? fails(bell ? READ_BELL : is_file(fd) ? READ_FILE : READ) : 0;
    if (error != 0) {
        make_true(fd, error);
        return -1;
    }
    size_t most = cut(armed && !bell, len);
    ssize_t n = NEXT(read)(fd, bytes, most);
    if (n > 0 && most < len) edge_again(fd);
    return n;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    const bool armed = ARMED, bell = is_known(fd) && registered[fd].bell;
    int error = armed ? fails(bell ? WRITE_BELL : WRITE) : 0;
    if (error != 0) {
        make_true(fd, error);
        return -1;
    }
    return NEXT(write)(fd, bytes, cut(armed && !bell, len));
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *arg = va_arg(args, void *);
    va_end(args);
    MAY_FAIL(IOCTL);
    return NEXT(ioctl)(fd, request, arg);
}

int fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    MAY_FAIL(FCNTL);
    return NEXT(fcntl)(fd, command, arg);
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    MAY_FAIL(POLL);
    return NEXT(poll)(fds, count, timeout);
}

/* What libeddy closes is its own and open; an error is told afterwards, as by the kernel. */
int close(int fd)
{
    const bool armed = ARMED;
    int error = armed ? fails(CLOSE) : 0;
    if (is_known(fd)) registered[fd].epoll = 0, registered[fd].bell = false;
    int result = NEXT(close)(fd);
    if (result != 0 && errno == EBADF && is_eddy(__builtin_return_address(0))) wrong("%d is closed, and not open", fd);
    if (error == 0) return result;
    errno = error;
    return -1;
}

static int open_with(const char *path, int flags, va_list args)
{
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    return openat(AT_FDCWD, path, flags, mode);
}

#define OPEN_OF(path) (strcmp(path, "/dev/null") == 0 ? OPEN_NULL : OPEN)

int open(const char *path, int flags, ...)
{
    va_list args;
    MAY_FAIL(OPEN_OF(path));
    va_start(args, flags);
    int fd = open_with(path, flags, args);
    va_end(args);
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    MAY_FAIL(OPEN_OF(path));
    va_start(args, flags);
    int fd = open_with(path, flags, args);
    va_end(args);
    return fd;
}

int statx(int directory, const char *restrict path, int flags, unsigned mask, struct statx *restrict into)
{
    MAY_FAIL(STATX);
    return NEXT(statx)(directory, path, flags, mask, into);
}

DIR *opendir(const char *path)
{
    int error = ARMED ? fails(READDIR) : 0;
    if (error == 0) return NEXT(opendir)(path);
    errno = error;
    return NULL;
}

struct dirent64 *readdir64(DIR *directory)
{
    int error = ARMED ? fails(READDIR) : 0;
    if (error == 0) return NEXT(readdir64)(directory);
    errno = error;
    return NULL;
}

int unlink(const char *path)
{
    MAY_FAIL(UNLINK);
    return NEXT(unlink)(path);
}

/* ---- events, and time ---------------------------------------------------------------------------------- */

int epoll_create1(int flags)
{
    MAY_FAIL(EPOLL_CREATE);
    return NEXT(epoll_create1)(flags);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    MAY_FAIL(EPOLL_CTL);
    int result = NEXT(epoll_ctl)(epoll, operation, fd, event);
    if (result == 0 && is_known(fd)) {
        registered[fd].epoll = operation == EPOLL_CTL_DEL ? 0 : epoll + 1;
        if (event != NULL) registered[fd].event = *event;
    }
    return result;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    const bool hasty = is_eddy(__builtin_return_address(0));
    MAY_FAIL(EPOLL_WAIT);
    return NEXT(epoll_wait)(epoll, events, most, hasty && timeout > 0 ? (timeout + HASTE - 1) / HASTE : timeout);
}

int eventfd(unsigned count, int flags)
{
    MAY_FAIL(EVENTFD);
    int fd = NEXT(eventfd)(count, flags);
    if (is_known(fd)) registered[fd].bell = true;
    return fd;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = NEXT(clock_gettime)(clock, now);
    if (result == 0 && clock == CLOCK_MONOTONIC && is_eddy(__builtin_return_address(0))) {
        uint64_t hasty = ((uint64_t)now->tv_sec * 1000000000 + (uint64_t)now->tv_nsec) * HASTE;
        now->tv_sec = (time_t)(hasty / 1000000000);
        now->tv_nsec = (long)(hasty % 1000000000);
    }
    return result;
}

/* ---- names, threads and the rest ----------------------------------------------------------------------- */

int getaddrinfo(const char *restrict host, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict found)
{
    int error = ARMED ? fails(GETADDRINFO) : 0;
    if (error == 0 && host != NULL && strcmp(host, TWO_ADDRESSES) == 0) {
        struct addrinfo *second;
        error = NEXT(getaddrinfo)("127.0.0.1", service, hints, &second);
        if (error == 0) error = NEXT(getaddrinfo)("127.0.0.2", service, hints, found);
        if (error == 0) (*found)->ai_next = second; /* freeaddrinfo frees one after the other */
        return error;
    }
    if (error == 0) return NEXT(getaddrinfo)(host, service, hints, found);
    errno = EMFILE;
    return error;
}

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes, void *(*run)(void *),
                   void *restrict arg)
{
    int error = ARMED ? fails(PTHREAD_CREATE) : 0;
    return error != 0 ? error : NEXT(pthread_create)(thread, attributes, run, arg);
}

/* Those for which libc has no name, or std wants none: waiting for a lock or a thread, and numbers at random. */
long syscall(long number, ...)
{
    long arg[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++) arg[i] = va_arg(args, long);
    va_end(args);
    const int operation = (int)arg[1] & FUTEX_CMD_MASK;
    if (number == SYS_futex && (operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET)) MAY_FAIL(FUTEX);
    else if (number == SYS_getrandom) MAY_FAIL(GETRANDOM);
    else if (number != SYS_futex && ARMED) wrong("system call %ld is not known here", number);
    return NEXT(syscall)(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left)
{
    int error = ARMED ? fails(SLEEP) : 0;
    if (error == 0) return NEXT(clock_nanosleep)(clock, flags, time, left);
    if (left != NULL) *left = *time;
    return error;
}

int sigaction(int signal, const struct sigaction *restrict action, struct sigaction *restrict before)
{
    MAY_FAIL(SIGACTION);
    return NEXT(sigaction)(signal, action, before);
}

ssize_t getrandom(void *bytes, size_t len, unsigned flags)
{
    MAY_FAIL(GETRANDOM);
    return NEXT(getrandom)(bytes, len, flags);
}

int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info, const struct timespec *restrict timeout)
{
    MAY_FAIL(SIGTIMEDWAIT);
    return NEXT(sigtimedwait)(set, info, timeout);
}

/* ---- memory -------------------------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

/* Allocations that libeddy made, by their address: open addressing, and a place that was used once is passed over. */
#define PLACES (1u << 17)

static struct {
    void *block;
    size_t size;
    const void *caller;
    uint64_t clock;
} places[PLACES];

static unsigned live, used;
static uint64_t allocations;
static char lock;

static void take_lock(void)
{
    while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) sched_yield();
}

static void free_lock(void)
{
    __atomic_clear(&lock, __ATOMIC_RELEASE);
}

static char gone; /* its address marks a place that was used */

static unsigned first_place(const void *block)
{
    return (unsigned)(((uintptr_t)block >> 4) * 2654435761u) % PLACES;
}

static void remember(void *block, size_t size, const void *caller)
{
    if (block == NULL) return;
    take_lock();
    unsigned at = first_place(block);
    while (places[at].block != NULL && places[at].block != &gone) at = (at + 1) % PLACES;
    used += places[at].block == NULL;
    if (used > PLACES - PLACES / 8) abort();
    places[at].block = block, places[at].size = size, places[at].caller = caller, places[at].clock = ++allocations;
    live++;
    free_lock();
}

static bool forget(const void *block)
{
    bool found = false;
    if (block == NULL || live == 0) return false;
    take_lock();
    for (unsigned at = first_place(block); places[at].block != NULL; at = (at + 1) % PLACES)
        if (places[at].block == block) {
            const bool last = places[(at + 1) % PLACES].block == NULL;
            places[at].block = last ? NULL : &gone;
            used -= last;
            live--;
            found = true;
            break;
        }
    free_lock();
    return found;
}

unsigned live_allocations(void)
{
    return live;
}

uint64_t allocation_clock(void)
{
    return allocations;
}

unsigned show_allocations(uint64_t since)
{
    unsigned count = 0;
    for (unsigned at = 0; at < PLACES; at++)
        if (places[at].block != NULL && places[at].block != &gone && places[at].clock > since) {
            fprintf(stderr, "%zu bytes, allocated at libeddy.so + %#lx, are not freed\n", places[at].size,
                    (unsigned long)((uintptr_t)places[at].caller - eddy_begin));
            count++;
        }
    return count;
}

static bool lacks_memory(size_t size)
{
    if (fails(size >= LARGE ? ALLOCATE : ALLOCATE_SMALL) == 0) return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    const void *caller = __builtin_return_address(0);
    const bool eddy = is_eddy(caller);
    if (eddy && torture.armed && lacks_memory(size)) return NULL;
    void *block = __libc_malloc(size);
    if (eddy) remember(block, size, caller);
    return block;
}

void *calloc(size_t count, size_t size)
{
    const void *caller = __builtin_return_address(0);
    const bool eddy = is_eddy(caller);
    if (eddy && torture.armed && lacks_memory(count * size)) return NULL;
    void *block = __libc_calloc(count, size);
    if (eddy) remember(block, count * size, caller);
    return block;
}

void *realloc(void *old, size_t size)
{
    const void *caller = __builtin_return_address(0);
    const bool eddy = is_eddy(caller);
    if (eddy && torture.armed && lacks_memory(size)) return NULL;
    const bool ours = forget(old);
    void *block = __libc_realloc(old, size);
    if (eddy || ours) remember(block, size, caller);
    return block;
}

int posix_memalign(void **into, size_t alignment, size_t size)
{
    const void *caller = __builtin_return_address(0);
    const bool eddy = is_eddy(caller);
    if (eddy && torture.armed && lacks_memory(size)) return ENOMEM;
    *into = __libc_memalign(alignment, size);
    if (eddy) remember(*into, size, caller);
    return *into == NULL ? ENOMEM : 0;
}

void free(void *block)
{
    forget(block);
    __libc_free(block);
}
