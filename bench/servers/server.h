/* What the servers written in C share: the command line, a listening socket, and the first line of output.
 *
 *     SERVER MODE [options]
 *
 *     line    send every line back
 *     drain   the same, waiting for the writer before the next line; only where that is another program
 *     bulk    send every byte back
 *     sink    swallow everything; at the end of the stream tell how many bytes that was
 */
#ifndef SERVER_H
#define SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 65536, BACKLOG = 4096 };
enum mode { LINE, DRAIN, BULK, SINK };

static enum mode server_mode(int argc, char **argv)
{
    static const char *const names[] = { "line", "drain", "bulk", "sink" };
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (int i = LINE; argc > 1 && i <= SINK; i++)
        if (strcmp(argv[1], names[i]) == 0) return (enum mode)i;
    fprintf(stderr, "usage: %s line|drain|bulk|sink [options]\n", argv[0]);
    exit(2);
}

static inline bool server_option(int argc, char **argv, const char *word)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], word) == 0) return true;
    return false;
}

static inline void server_ready(int port)
{
    printf("%d\n", port);
    fflush(stdout);
}

/* On any port if that is 0, which then is set; otherwise on the port that another thread listens on too. */
static inline int server_socket(int *port, bool shared)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)*port) };
    socklen_t length = sizeof address;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (shared) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        perror("listen");
        exit(1);
    }
    *port = ntohs(address.sin_port);
    return fd;
}

static inline void server_no_delay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Thread number n onto the n-th of the processors that we may use. */
static inline void server_pin(int n)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && n-- == 0) CPU_SET(cpu, &one);
    if (CPU_COUNT(&one) > 0) sched_setaffinity(0, sizeof one, &one);
}

#endif
