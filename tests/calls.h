/* The system's calls as a program of tests sees them: what is defined here stands before the C library's
 * own functions of the same names, also for libeddy. So a test can count what is sent, and let the kernel
 * be stingy. */
#ifndef EDDY_TEST_CALLS_H
#define EDDY_TEST_CALLS_H

#include "plain.h"

#include <sys/syscall.h>
#include <sys/uio.h>

static struct calls {
    int fd;      /* the descriptor that all this is about; -1: none */
    int sends;   /* calls that sent something */
    size_t bytes;
    size_t most; /* of one call no more than so many bytes are taken; 0: no such limit */
    int error;   /* the next `errors` calls fail with this */
    int errors;
} calls = { .fd = -1 };

/* From now on, about the sending of this descriptor. */
static void calls_watch(int fd)
{
    calls = (struct calls){ .fd = fd };
}

static void calls_forget(void)
{
    calls_watch(-1);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct msghdr asked = *message;
    struct iovec one;
    if (fd == calls.fd) {
        if ((flags & MSG_NOSIGNAL) == 0) FAIL("bytes are sent without MSG_NOSIGNAL");
        if (calls.errors > 0) {
            calls.errors--;
            errno = calls.error;
            return -1;
        }
        while (asked.msg_iovlen > 1 && asked.msg_iov[0].iov_len == 0) asked.msg_iov++, asked.msg_iovlen--;
        if (calls.most > 0 && asked.msg_iovlen > 0) {
            one = asked.msg_iov[0];
            if (one.iov_len > calls.most) one.iov_len = calls.most;
            asked.msg_iov = &one;
            asked.msg_iovlen = 1;
        }
    }
    ssize_t sent = syscall(SYS_sendmsg, fd, &asked, flags);
    if (fd == calls.fd && sent > 0) {
        calls.sends++;
        calls.bytes += (size_t)sent;
    }
    return sent;
}

ssize_t sendto(int fd, const void *bytes, size_t len, int flags, __CONST_SOCKADDR_ARG address, socklen_t size)
{
    struct iovec one = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
    struct msghdr message = { .msg_name = (void *)(uintptr_t)address.__sockaddr__, .msg_namelen = size,
                              .msg_iov = &one, .msg_iovlen = 1 };
    return sendmsg(fd, &message, flags);
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
    struct iovec one = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
    struct msghdr message = { .msg_iov = &one, .msg_iovlen = 1 };
    return sendmsg(fd, &message, flags);
}

/* A peer that has gone would kill the process by a signal. */
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (fd == calls.fd) FAIL("a socket is written to with writev");
    return syscall(SYS_writev, fd, parts, count);
}

#endif
