/* Peers made of plain, blocking socket calls, so that eddy is tested against something that is not eddy.
 * Whatever goes wrong on this side is a failure of the test. Nothing here asks for a fixed port. */
#ifndef EDDY_TEST_PLAIN_H
#define EDDY_TEST_PLAIN_H

#include "eddy_test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PLAIN __attribute__((unused)) static

/* ---- time ---------------------------------------------------------------------------------------------- */

PLAIN uint64_t plain_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

PLAIN uint64_t plain_now(void)
{
    return plain_clock(CLOCK_MONOTONIC);
}

/* Milliseconds of processor time that this process has used. */
PLAIN uint64_t plain_cpu(void)
{
    return plain_clock(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- sockets ------------------------------------------------------------------------------------------- */

PLAIN int plain_ok(int result, const char *what)
{
    if (result < 0) FAIL("%s: %s", what, strerror(errno));
    return result;
}

PLAIN void plain_set(int fd, int level, int option, int value, const char *what)
{
    plain_ok(setsockopt(fd, level, option, &value, sizeof value), what);
}

PLAIN struct sockaddr_in plain_v4(const char *host, uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) FAIL("not an address: %s", host);
    return address;
}

PLAIN struct sockaddr_in6 plain_v6(const char *host, uint16_t port)
{
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    if (inet_pton(AF_INET6, host, &address.sin6_addr) != 1) FAIL("not an address: %s", host);
    return address;
}

PLAIN uint16_t plain_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    plain_ok(getsockname(fd, (struct sockaddr *)&address, &len), "getsockname");
    return address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
                                         : ntohs(((struct sockaddr_in *)&address)->sin_port);
}

/* A socket that is bound, and not yet listening. Port 0: the kernel picks. */
PLAIN int plain_bind(const char *host, uint16_t port)
{
    struct sockaddr_in address = plain_v4(host, port);
    int fd = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    plain_set(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
    plain_ok(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
    return fd;
}

PLAIN int plain_listen_at(const char *host, uint16_t port, int backlog)
{
    int fd = plain_bind(host, port);
    plain_ok(listen(fd, backlog), "listen");
    return fd;
}

PLAIN int plain_listen(void)
{
    return plain_listen_at("127.0.0.1", 0, 128);
}

PLAIN int plain_listen_v6(const char *host)
{
    struct sockaddr_in6 address = plain_v6(host, 0);
    int fd = plain_ok(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    plain_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
    plain_ok(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
    plain_ok(listen(fd, 128), "listen");
    return fd;
}

PLAIN bool plain_has_v6(void)
{
    struct sockaddr_in6 address = plain_v6("::1", 0);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0) close(fd);
    return has;
}

/* A port at which nobody listens: bound once, so that it was free, and let go again. */
PLAIN uint16_t plain_closed_port(void)
{
    int fd = plain_bind("127.0.0.1", 0);
    uint16_t port = plain_port(fd);
    close(fd);
    return port;
}

/* Connects; 0, or the error's number. */
PLAIN int plain_try_connect(int fd, const char *host, uint16_t port)
{
    struct sockaddr_in address = plain_v4(host, port);
    return connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
}

PLAIN int plain_connect(uint16_t port)
{
    int fd = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    int error = plain_try_connect(fd, "127.0.0.1", port);
    if (error != 0) FAIL("connect: %s", strerror(error));
    plain_set(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
    return fd;
}

/* What a stranger gets who connects just now: 0, or the error's number. */
PLAIN int plain_knock(uint16_t port)
{
    int fd = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    int error = plain_try_connect(fd, "127.0.0.1", port);
    close(fd);
    return error;
}

PLAIN int plain_accept(int listener)
{
    return plain_ok(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept");
}

/* Two ends of one connection over TCP; the first is the one that connected. */
PLAIN void plain_tcp_pair(int ends[2])
{
    int listener = plain_listen();
    ends[0] = plain_connect(plain_port(listener));
    ends[1] = plain_accept(listener);
    close(listener);
}

/* A listener whose queue is full, so that the next connect neither fails nor ends: the host drops its
 * packet. */
struct plain_full {
    int listener, waiting[2];
    uint16_t port;
};

PLAIN struct plain_full plain_full_listener(void)
{
    struct plain_full full = { .listener = plain_listen_at("127.0.0.1", 0, 0) };
    full.port = plain_port(full.listener);
    for (size_t i = 0; i < 2; i++) {
        full.waiting[i] = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
        plain_try_connect(full.waiting[i], "127.0.0.1", full.port);
    }
    return full;
}

PLAIN void plain_full_close(struct plain_full *full)
{
    close(full->waiting[0]);
    close(full->waiting[1]);
    close(full->listener);
}

/* ---- unix sockets -------------------------------------------------------------------------------------- */

/* A path that begins with '@' is an abstract name. */
PLAIN socklen_t plain_unix_address(struct sockaddr_un *address, const char *path)
{
    size_t len = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (len >= sizeof address->sun_path) FAIL("too long: %s", path);
    memcpy(address->sun_path, path, len);
    if (path[0] != '@') return (socklen_t)sizeof *address;
    address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

PLAIN int plain_unix_listen(const char *path, int backlog)
{
    struct sockaddr_un address;
    socklen_t len = plain_unix_address(&address, path);
    int fd = plain_ok(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    plain_ok(bind(fd, (struct sockaddr *)&address, len), "bind");
    plain_ok(listen(fd, backlog), "listen");
    return fd;
}

/* A descriptor, or the error's number, negative. */
PLAIN int plain_unix_try_connect(const char *path, int flags)
{
    struct sockaddr_un address;
    socklen_t len = plain_unix_address(&address, path);
    int fd = plain_ok(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket");
    if (connect(fd, (struct sockaddr *)&address, len) == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}

PLAIN int plain_unix_connect(const char *path)
{
    int fd = plain_unix_try_connect(path, 0);
    if (fd < 0) FAIL("connect %s: %s", path, strerror(-fd));
    return fd;
}

PLAIN void plain_unix_pair(int ends[2])
{
    plain_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
}

/* A directory of the test's own, for its socket files. */
PLAIN const char *plain_directory(void)
{
    static char directory[64];
    strcpy(directory, "/tmp/eddy-test-XXXXXX");
    if (mkdtemp(directory) == NULL) FAIL("mkdtemp: %s", strerror(errno));
    return directory;
}

PLAIN const char *plain_path(char *path, size_t size, const char *directory, const char *name)
{
    int len = snprintf(path, size, "%s/%s", directory, name);
    if (len < 0 || (size_t)len >= size) FAIL("too long: %s/%s", directory, name);
    return path;
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

PLAIN void plain_send(int fd, const void *bytes, size_t len)
{
    const char *rest = bytes;
    while (len > 0) {
        ssize_t sent = send(fd, rest, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        plain_ok(sent < 0 ? -1 : 0, "send");
        rest += sent;
        len -= (size_t)sent;
    }
}

PLAIN void plain_send_text(int fd, const char *text)
{
    plain_send(fd, text, strlen(text));
}

/* Exactly len bytes, unless the end comes first. */
PLAIN size_t plain_recv(int fd, void *bytes, size_t len)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = recv(fd, (char *)bytes + got, len - got, 0);
        if (n < 0 && errno == EINTR) continue;
        plain_ok(n < 0 ? -1 : 0, "recv");
        if (n == 0) break;
        got += (size_t)n;
    }
    return got;
}

/* One recv that does not wait: the count, 0 at the end, or the error's number, negative. */
PLAIN long plain_look(int fd, void *bytes, size_t len)
{
    ssize_t n = recv(fd, bytes, len, MSG_DONTWAIT);
    return n < 0 ? -(long)errno : (long)n;
}

/* The byte at one place of a long stream: not periodic in any size that a buffer might have. */
PLAIN char plain_pattern(size_t at)
{
    return (char)('a' + (at * 7 + at / 251) % 26);
}

PLAIN char *plain_fill(size_t len)
{
    char *bytes = malloc(len);
    if (bytes == NULL) FAIL("no memory for %zu bytes", len);
    for (size_t i = 0; i < len; i++) bytes[i] = plain_pattern(i);
    return bytes;
}

PLAIN void plain_check_pattern(const char *bytes, size_t len, size_t from)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != plain_pattern(from + i)) FAIL("byte %zu of the stream is wrong", from + i);
}

/* Reads to the end, waiting, and checks that what comes is the pattern from its beginning: how many bytes
 * came. error gets the number of the error that ended it, 0 for an end in peace. */
PLAIN size_t plain_recv_pattern(int fd, int *error)
{
    static char bytes[65536];
    size_t got = 0;
    *error = 0;
    for (;;) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) *error = errno;
        if (n <= 0) return got;
        plain_check_pattern(bytes, (size_t)n, got);
        got += (size_t)n;
    }
}

/* Closes with a reset. */
PLAIN void plain_reset(int fd)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };
    plain_ok(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), "SO_LINGER");
    close(fd);
}

/* ---- threads, for a peer that must wait by itself ------------------------------------------------------ */

PLAIN pthread_t plain_start(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, arg);
    if (error != 0) FAIL("pthread_create: %s", strerror(error));
    return thread;
}

PLAIN void plain_join(pthread_t thread)
{
    int error = pthread_join(thread, NULL);
    if (error != 0) FAIL("pthread_join: %s", strerror(error));
}

/* ---- the process --------------------------------------------------------------------------------------- */

PLAIN int plain_descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) FAIL("cannot list /proc/self/fd");
    while (readdir(directory) != NULL) count++;
    closedir(directory);
    return count;
}

PLAIN bool plain_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

PLAIN bool plain_on_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded != NULL && strstr(preloaded, "valgrind") != NULL;
}

/* Bytes that this process has from the heap; 0 where nobody can say. */
PLAIN size_t plain_heap(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return 0;
#else
    struct mallinfo2 info = mallinfo2();
    return plain_on_valgrind() ? 0 : info.uordblks + info.hblkhd;
#endif
}

/* Bytes of memory that this process holds at the moment. */
PLAIN size_t plain_resident(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu", &size, &resident) != 2) FAIL("cannot read /proc/self/statm");
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

#endif
