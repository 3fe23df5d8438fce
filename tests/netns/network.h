/* Two machines and a cable, made of two network namespaces and a pair of veth interfaces. The test runs on the near
 * machine, and has sockets on the far one.
 *
 *     near 10.9.0.1, 2001:db8:9::1  ----  far 10.9.0.3, 2001:db8:9::3
 *
 * 10.9.0.2, 10.9.0.4, 2001:db8:9::2 and 2001:db8:9::4 are dead: what is sent there is lost, and nobody says so. */
#ifndef EDDY_TEST_NETWORK_H
#define EDDY_TEST_NETWORK_H

#include "../ends.h"

#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mount.h>

#define FAR "10.9.0.3"
#define FAR_V6 "2001:db8:9::3"

static struct {
    int near, far; /* the namespaces */
} network;

PLAIN void network_go(int namespace)
{
    plain_ok(setns(namespace, CLONE_NEWNET), "setns");
}

/* Runs a command on this machine, which has to succeed. */
__attribute__((format(printf, 1, 2))) PLAIN void network_run(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0) FAIL("%s: failed", command);
}

#define NEAR_RUN(...) network_run(__VA_ARGS__)
#define FAR_RUN(...) (network_go(network.far), network_run(__VA_ARGS__), network_go(network.near))

PLAIN void network_set(const char *path, const char *value)
{
    int fd = plain_ok(open(path, O_WRONLY | O_CLOEXEC), path);
    plain_ok((int)write(fd, value, strlen(value)), path);
    close(fd);
}

/* The only ports that connect() and bind() pick by themselves on the near machine. */
PLAIN void network_ports(const char *first_and_last)
{
    network_set("/proc/sys/net/ipv4/ip_local_port_range", first_and_last);
}

/* A file of the system's, for this program and its children. */
PLAIN void network_replace(const char *path, const char *content)
{
    char temporary[] = "/tmp/eddy-test-XXXXXX";
    if (access(path, F_OK) != 0) return;
    int fd = plain_ok(mkstemp(temporary), "mkstemp");
    plain_ok((int)write(fd, content, strlen(content)), "write");
    plain_ok(fchmod(fd, 0644), "fchmod");
    close(fd);
    plain_ok(mount(temporary, path, NULL, MS_BIND, NULL), path);
    plain_ok(unlink(temporary), "unlink");
}

PLAIN int far_listen(const char *host, uint16_t port)
{
    network_go(network.far);
    int fd = strchr(host, ':') != NULL ? plain_listen_v6(host) : plain_listen_at(host, port, 128);
    network_go(network.near);
    return fd;
}

/* A port at which nobody listens on the far machine. */
PLAIN uint16_t far_closed_port(void)
{
    network_go(network.far);
    int fd = plain_bind(FAR, 0);
    uint16_t port = plain_port(fd);
    close(fd);
    network_go(network.near);
    return port;
}

/* Before main(), so that what it opens is nobody's leak. */
__attribute__((constructor)) static void network_begin(void)
{
    if (getenv("EDDY_TEST_NETNS") == NULL) {
        fputs("to be run by tests/netns/run\n", stderr);
        _exit(77);
    }
    network.near = plain_ok(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "open");
    plain_ok(unshare(CLONE_NEWNET), "unshare");
    network.far = plain_ok(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "open");
    network_run("ip link set lo up && ip link add far type veth peer name near");
    network_run("ip link set near netns /proc/%d/fd/%d", (int)getpid(), network.near);
    network_run("ip address add " FAR "/24 dev far && ip address add " FAR_V6 "/64 dev far nodad");
    network_run("ip link set far up");
    network_go(network.near);
    network_run("ip link set lo up && ip link set near up");
    network_run("ip address add 10.9.0.1/24 dev near && ip address add 2001:db8:9::1/64 dev near nodad");
    for (int last = 2; last <= 4; last += 2)
        for (int family = 4; family <= 6; family += 2)
            network_run("ip neighbour add %s%d lladdr 02:00:00:00:00:0%d dev near",
                        family == 4 ? "10.9.0." : "2001:db8:9::", last, last);
    network_replace("/etc/nsswitch.conf", "hosts: files\n");
    network_replace("/etc/hosts", "127.0.0.1 localhost\n"
                                  "10.9.0.2 half.test\n10.9.0.3 half.test\n"
                                  "2001:db8:9::2 mixed.test\n2001:db8:9::4 mixed.test\n10.9.0.3 mixed.test\n"
                                  "10.9.0.2 dead.test\n10.9.0.3 dead.test\n10.9.0.4 dead.test\n");
}

#endif
