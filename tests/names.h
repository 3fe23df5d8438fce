/* The system's resolver as a program of tests has it: what is defined here stands before the C library's own functions
 * of the same names, also for libeddy. It answers for names that end in ".test", and leaves all others to the real
 * one. */
#ifndef EDDY_TEST_NAMES_H
#define EDDY_TEST_NAMES_H

#include "plain.h"

#include <dlfcn.h>
#include <netdb.h>
#include <semaphore.h>
#include <stdatomic.h>

static struct {
    const char *_Atomic answers[6]; /* addresses, in order; none: an empty answer */
    const char *_Atomic local[6];   /* those of names that begin with "local" */
    atomic_int error;               /* or this EAI_... */
    atomic_bool gated;      /* wait for the gate before answering; names that begin with "stuck" always do */
    sem_t gate;
    _Atomic useconds_t delay; /* microseconds that an answer takes */
    atomic_int asked, answered;
    _Atomic pthread_t thread; /* where it was asked last */
} names;

enum { MADE_HERE = 0x45444459 }; /* in ai_flags: to be freed here */

PLAIN void names_answer(const char *first, const char *second)
{
    for (int i = 0; i < 6; i++) names.answers[i] = names.local[i] = NULL;
    names.gated = false;
    names.delay = 0;
    names.error = names.asked = names.answered = 0;
    names.answers[0] = first;
    names.answers[1] = second;
    sem_init(&names.gate, 0, 0);
}

PLAIN struct addrinfo *names_one(const char *text, const char *service)
{
    struct addrinfo *info = calloc(1, sizeof *info + sizeof(struct sockaddr_in6));
    uint16_t port = service != NULL ? (uint16_t)atoi(service) : 0;
    void *address = info + 1;
    if (strchr(text, ':') != NULL) {
        *(struct sockaddr_in6 *)address = plain_v6(text, port);
        info->ai_family = AF_INET6;
        info->ai_addrlen = sizeof(struct sockaddr_in6);
    } else {
        *(struct sockaddr_in *)address = plain_v4(text, port);
        info->ai_family = AF_INET;
        info->ai_addrlen = sizeof(struct sockaddr_in);
    }
    info->ai_addr = address;
    info->ai_socktype = SOCK_STREAM;
    info->ai_protocol = IPPROTO_TCP;
    info->ai_flags = MADE_HERE;
    return info;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    size_t len = node != NULL ? strlen(node) : 0;
    bool is_number = hints != NULL && (hints->ai_flags & AI_NUMERICHOST) != 0; /* then nobody is asked */
    if (!is_number) {
        names.thread = pthread_self();
        atomic_fetch_add(&names.asked, 1);
    }
    if (len < 5 || strcmp(node + len - 5, ".test") != 0) {
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
        return real(node, service, hints, result);
    }
    if (names.gated || strncmp(node, "stuck", 5) == 0)
        while (sem_wait(&names.gate) != 0) {}
    if (names.delay > 0) usleep(names.delay);
    const char *_Atomic *answers = strncmp(node, "local", 5) == 0 ? names.local : names.answers;
    struct addrinfo **end = result;
    *result = NULL;
    for (size_t i = 0; i < 6 && answers[i] != NULL; i++) {
        *end = names_one(answers[i], service);
        if (hints != NULL && hints->ai_family != AF_UNSPEC && hints->ai_family != (*end)->ai_family) {
            free(*end);
            *end = NULL;
            continue;
        }
        end = &(*end)->ai_next;
    }
    atomic_fetch_add(&names.answered, 1);
    return names.error;
}

void freeaddrinfo(struct addrinfo *info)
{
    void (*real)(struct addrinfo *);
    if (info != NULL && info->ai_flags != MADE_HERE) {
        *(void **)&real = dlsym(RTLD_NEXT, "freeaddrinfo");
        real(info);
        return;
    }
    while (info != NULL) {
        struct addrinfo *next = info->ai_next;
        free(info);
        info = next;
    }
}

#endif
