/* The system calls and allocations that libeddy makes, in the test's hands: counted, made to fail, cut short.
 *
 * The names are the program's own, and so come before libc's. A call is libeddy's if that is where it returns to:
 * what the test itself calls, and what libc calls for itself, goes through untouched.
 *
 * Where an error means that something has become of a socket, that is made so: a connection that is said to be reset
 * is shut down, a connect that is said to be interrupted goes on, what is closed with an error is closed. And where a
 * call is said to find nothing, or finds less than there is, the edge comes again: no loop that is told once could go
 * on otherwise, and the kernel does the same. */
#ifndef EDDY_TORTURE_HOOKS_H
#define EDDY_TORTURE_HOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From where on an allocation has to be survived: what a peer can make large. */
#define LARGE 4096

/* A host that has two addresses: 127.0.0.2, and then 127.0.0.1. */
#define TWO_ADDRESSES "two.torture"

enum call {
    SOCKET, CONNECT, BIND, LISTEN, ACCEPT, GETSOCKOPT, SETSOCKOPT, GETSOCKNAME, GETPEERNAME, IOCTL, FCNTL,
    RECV, SEND, SHUTDOWN, READ, READ_FILE, WRITE, READ_BELL, WRITE_BELL, POLL, EPOLL_CREATE, EPOLL_CTL, EPOLL_WAIT, EVENTFD,
    CLOSE, OPEN, OPEN_NULL, STATX, UNLINK, READDIR, GETADDRINFO, PTHREAD_CREATE, FUTEX, SLEEP, SIGACTION,
    SIGTIMEDWAIT, GETRANDOM, ALLOCATE, ALLOCATE_SMALL, CALLS
};

/* What an error may do to the program's streams. */
enum weight {
    HIDDEN,   /* nothing: nobody ever learns of it */
    REPORTED, /* nothing: at the most the exception handler is told */
    TOLD,     /* one ends, or never begins, and somebody is told so */
};

struct fault {
    int error;
    const char *name;
    enum weight weight;
};

struct kind {
    const char *name;
    struct fault faults[12];
};

extern const struct kind kinds[CALLS];

/* What is to be done to calls while `armed`. */
struct plan {
    enum call call;
    unsigned nth;  /* fails, with this ...; 0: none */
    int error;
    unsigned cut;  /* not 0: nothing is received or sent in more than 3 bytes at a time; the number seeds how many */
    unsigned storm; /* not 0: one in so many of all that may be interrupted, or find nothing, does */
};

extern struct torture {
    bool armed;
    struct plan plan;
    unsigned counts[CALLS];
    unsigned hits;           /* how often something was done to a call */
    unsigned long calls;     /* armed or not */
    char fault[256];         /* the first thing that was wrong with a call: a double close, say */
} torture;

/* Allocations of libeddy's that are not freed. */
unsigned live_allocations(void);

/* Writes those on standard error that were made since; how many there are. */
unsigned show_allocations(uint64_t since);

/* A number that all later allocations are later than. */
uint64_t allocation_clock(void);

/* Time for libeddy passes so many times as fast. */
#define HASTE 10

/* What is not here, and why: calls.py. */

#endif
