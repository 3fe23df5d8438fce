/* Opening connections, and what a connection's end tells: names and addresses, sockets made elsewhere, ends
 * of streams, resets, signals. */
#include "ends.h"
#include "names.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <signal.h>

/* ---- helpers ------------------------------------------------------------------------------------------- */

static void open_to(eddy_loop *loop, struct got *opened, const char *host, uint16_t port,
                    const eddy_options *options)
{
    START(opened, eddy_open_connection(loop, host, port, options, got_stream, opened));
    RUN_UNTIL(loop, opened->count > 0);
}

static void check_failed(const struct got *opened, int code, int system)
{
    CHECK_INT(opened->count, 1);
    CHECK_INT(opened->code, code);
    CHECK_INT(opened->system, system);
    CHECK(opened->reader == NULL);
    CHECK(opened->writer == NULL);
}

static void check_names(const char *message, const char *what)
{
    if (strstr(message, what) == NULL) FAIL("\"%s\" does not name %s", message, what);
}

static void check_text(const char *actual, const char *host, uint16_t port)
{
    char expected[128];
    snprintf(expected, sizeof expected, "%s:%u", host, port);
    CHECK_STR(actual, expected);
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof value;
    plain_ok(getsockopt(fd, level, option, &value, &len), "getsockopt");
    return value;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

TEST(an_address_is_connected_to_without_asking_the_resolver, "O2")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    int listener = plain_listen();
    names_answer(NULL, NULL);
    open_to(loop, &opened, "127.0.0.1", plain_port(listener), NULL);
    CHECK_INT(opened.code, 0);
    CHECK_INT(atomic_load(&names.asked), 0);
    int peer = plain_accept(listener);
    check_text(eddy_writer_get_extra_info(opened.writer, "peername", NULL), "127.0.0.1", plain_port(listener));
    plain_send_text(peer, "hello\n");
    GOT(line);
    START(&line, eddy_reader_readline(opened.reader, got_read, &line));
    RUN_UNTIL(loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "hello\n");
    CHECK(eddy_writer_write(opened.writer, "there\n", 6) == 0);
    settle(loop);
    char reply[6];
    CHECK_INT(plain_recv(peer, reply, sizeof reply), 6);
    CHECK_BYTES(reply, sizeof reply, "there\n");
    close(peer);
    close(listener);
    eddy_loop_free(loop);
    CHECK_INT(opened.count, 1);
}

TEST(an_address_of_version_6_is_taken_with_and_without_brackets, "O2")
{
    static const char *const hosts[] = { "::1", "[::1]", "0:0:0:0:0:0:0:1" };
    if (!plain_has_v6()) return;
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen_v6("::1");
    names_answer(NULL, NULL);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        GOT(opened);
        open_to(loop, &opened, hosts[i], plain_port(listener), NULL);
        if (opened.code != 0) FAIL("%s: %s", hosts[i], opened.message);
        check_text(eddy_writer_get_extra_info(opened.writer, "peername", NULL), "[::1]", plain_port(listener));
        close(plain_accept(listener));
    }
    CHECK_INT(atomic_load(&names.asked), 0);
    close(listener);
    eddy_loop_free(loop);
}

/* The name of an interface that has a link-local address, and the address. */
static bool link_local(char *host, size_t size, char *interface)
{
    struct ifaddrs *all, *one;
    bool found = false;
    plain_ok(getifaddrs(&all), "getifaddrs");
    for (one = all; one != NULL && !found; one = one->ifa_next) {
        if (one->ifa_addr == NULL || one->ifa_addr->sa_family != AF_INET6) continue;
        const struct sockaddr_in6 *address = (const void *)one->ifa_addr;
        if (!IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr)) continue;
        found = inet_ntop(AF_INET6, &address->sin6_addr, host, (socklen_t)size) != NULL;
        snprintf(interface, IF_NAMESIZE, "%s", one->ifa_name);
    }
    freeifaddrs(all);
    return found;
}

TEST(the_scope_of_an_address_is_honoured, "O2")
{
    char address[64], interface[IF_NAMESIZE], host[128];
    eddy_loop *loop = eddy_loop_new();
    names_answer(NULL, NULL);
    if (plain_has_v6() && link_local(address, sizeof address, interface)) {
        struct sockaddr_in6 here = plain_v6(address, 0);
        here.sin6_scope_id = if_nametoindex(interface);
        int listener = plain_ok(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
        plain_ok(bind(listener, (struct sockaddr *)&here, sizeof here), "bind");
        plain_ok(listen(listener, 8), "listen");
        GOT(by_name);
        snprintf(host, sizeof host, "%s%%%s", address, interface);
        open_to(loop, &by_name, host, plain_port(listener), NULL);
        if (by_name.code != 0) FAIL("%s: %s", host, by_name.message);
        close(plain_accept(listener));
        GOT(by_number);
        snprintf(host, sizeof host, "%s%%%u", address, here.sin6_scope_id);
        open_to(loop, &by_number, host, plain_port(listener), NULL);
        if (by_number.code != 0) FAIL("%s: %s", host, by_number.message);
        close(plain_accept(listener));
        close(listener);
    }
    CHECK_INT(atomic_load(&names.asked), 0);
    GOT(nowhere);
    open_to(loop, &nowhere, "fe80::1%no-such-thing", 80, NULL);
    CHECK(nowhere.code != 0);
    CHECK_INT(nowhere.count, 1);
    eddy_loop_free(loop);
}

TEST(a_host_name_is_resolved, "O4")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    int listener = plain_listen(); /* localhost may be ::1 first, where nobody listens */
    names_answer(NULL, NULL);
    open_to(loop, &opened, "localhost", plain_port(listener), NULL);
    CHECK_INT(opened.code, 0);
    CHECK(atomic_load(&names.asked) > 0);
    check_text(eddy_writer_get_extra_info(opened.writer, "peername", NULL), "127.0.0.1", plain_port(listener));
    close(plain_accept(listener));
    close(listener);
    eddy_loop_free(loop);
    CHECK_INT(opened.count, 1);
}

TEST(a_name_that_nobody_knows_is_told_to_the_callback, "O3")
{
    eddy_loop *loop = eddy_loop_new();
    names_answer(NULL, NULL);
    names.error = EAI_NONAME;
    GOT(unknown);
    open_to(loop, &unknown, "nobody.test", 80, NULL);
    check_failed(&unknown, EDDY_ERESOLVE, 0);
    check_names(unknown.message, "nobody.test");
    names.error = 0;
    GOT(empty);
    open_to(loop, &empty, "nothing.test", 80, NULL);
    check_failed(&empty, EDDY_ERESOLVE, 0);
    check_names(empty.message, "nothing.test");
    names_answer("::1", NULL); /* it has an address, but none of the family asked for */
    GOT(family);
    open_to(loop, &family, "other.test", 80, EDDY_OPTIONS(.family = AF_INET));
    check_failed(&family, EDDY_ERESOLVE, 0);
    eddy_loop_free(loop);
}

TEST(the_addresses_of_a_name_are_tried_in_their_order, "O4")
{
    eddy_loop *loop = eddy_loop_new();
    int second = plain_listen();
    uint16_t port = plain_port(second);
    names_answer("127.0.0.2", "127.0.0.1");
    GOT(warm);
    open_to(loop, &warm, "pair.test", port, NULL); /* nobody at the first one */
    CHECK_INT(warm.code, 0);
    check_text(eddy_writer_get_extra_info(warm.writer, "peername", NULL), "127.0.0.1", port);
    close(plain_accept(second));
    int before = plain_descriptors();
    GOT(opened);
    open_to(loop, &opened, "pair.test", port, NULL);
    CHECK_INT(opened.code, 0);
    settle(loop);
    CHECK_INT(plain_descriptors(), before + 1); /* the socket that failed is closed */
    close(plain_accept(second));
    int first = plain_listen_at("127.0.0.2", port, 8);
    GOT(again);
    open_to(loop, &again, "pair.test", port, NULL);
    CHECK_INT(again.code, 0);
    check_text(eddy_writer_get_extra_info(again.writer, "peername", NULL), "127.0.0.2", port);
    settle(loop);
    close(plain_accept(first));
    close(first);
    close(second);
    eddy_loop_free(loop);
    CHECK_INT(opened.count, 1);
}

TEST(when_all_addresses_fail_the_error_tells_why, "O5")
{
    char expected[128];
    eddy_loop *loop = eddy_loop_new();
    uint16_t port = plain_closed_port();
    names_answer("127.0.0.2", "127.0.0.3");
    GOT(alike);
    open_to(loop, &alike, "alike.test", port, NULL);
    check_failed(&alike, EDDY_ESYSTEM, ECONNREFUSED);
    snprintf(expected, sizeof expected, "127.0.0.2:%u", port);
    check_names(alike.message, expected);
    names_answer("127.0.0.2", "255.255.255.255"); /* nobody connects to everybody */
    GOT(different);
    open_to(loop, &different, "different.test", port, NULL);
    check_failed(&different, EDDY_ESYSTEM, ECONNREFUSED);
    check_names(different.message, expected);
    snprintf(expected, sizeof expected, "255.255.255.255:%u", port);
    check_names(different.message, expected);
    eddy_loop_free(loop);
}

TEST(a_closed_port_is_told_to_the_callback, "O5 O13 n01 e15")
{
    char expected[128];
    eddy_loop *loop = eddy_loop_new();
    uint16_t port = plain_closed_port();
    int before = plain_descriptors();
    GOT(opened);
    open_to(loop, &opened, "127.0.0.1", port, NULL); /* START saw that it was not called inside the call */
    check_failed(&opened, EDDY_ESYSTEM, ECONNREFUSED);
    snprintf(expected, sizeof expected, "connect 127.0.0.1:%u: Connection refused", port);
    CHECK_STR(opened.message, expected);
    settle(loop);
    CHECK_INT(plain_descriptors(), before);
    CHECK_INT(eddy_loop_run(loop), 0); /* nothing is left to wait for */
    eddy_loop_free(loop);
    CHECK_INT(opened.count, 1);
}

TEST(a_resolver_that_takes_its_time_does_not_hold_up_the_loop, "O2 O3")
{
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    GOT(slow);
    GOT(literal);
    GOT(tick);
    names_answer("127.0.0.1", NULL);
    names.gated = true;
    START(&slow, eddy_open_connection(loop, "slow.test", plain_port(listener), NULL, got_stream, &slow));
    while (tick.count < 5) {
        int before = tick.count;
        START(&tick, eddy_loop_call_later(loop, 2, got_loop, &tick));
        RUN_UNTIL(loop, tick.count > before);
    }
    open_to(loop, &literal, "127.0.0.1", plain_port(listener), NULL);
    CHECK_INT(literal.code, 0);
    CHECK_INT(slow.count, 0);
    RUN_UNTIL(loop, atomic_load(&names.asked) == 1);
    CHECK(!pthread_equal(names.thread, pthread_self()));
    sem_post(&names.gate);
    RUN_UNTIL(loop, slow.count > 0);
    CHECK_INT(slow.code, 0);
    close(plain_accept(listener));
    close(plain_accept(listener));
    close(listener);
    eddy_loop_free(loop);
    CHECK_INT(slow.count, 1);
}

TEST(a_name_that_is_being_resolved_can_be_cancelled, "O6 r11")
{
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    GOT(slow);
    GOT(freed);
    names_answer("127.0.0.1", NULL);
    names.gated = true;
    eddy_op op =
        START(&slow, eddy_open_connection(loop, "slow.test", plain_port(listener), NULL, got_stream, &slow));
    RUN_UNTIL(loop, atomic_load(&names.asked) == 1);
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    CHECK_INT(slow.count, 0);
    CHECK_INT(eddy_loop_run(loop), 0); /* does not wait for the resolver */
    check_failed(&slow, EDDY_ECANCELED, 0);
    CHECK_INT(eddy_loop_cancel(loop, op), EDDY_ESTALE);
    sem_post(&names.gate); /* the answer comes, and nobody wants it */
    RUN_UNTIL(loop, atomic_load(&names.answered) == 1);
    end_pump(loop, 20);
    CHECK_INT(slow.count, 1);
    START(&freed, eddy_open_connection(loop, "slow.test", plain_port(listener), NULL, got_stream, &freed));
    RUN_UNTIL(loop, atomic_load(&names.asked) == 2);
    eddy_loop_free(loop);
    check_failed(&freed, EDDY_ECANCELED, 0);
    sem_post(&names.gate);
    while (atomic_load(&names.answered) < 2) usleep(1000);
    usleep(20000); /* let the resolver's thread look for its loop, which is gone */
    close(listener);
    CHECK_INT(slow.count, 1);
    CHECK_INT(freed.count, 1);
}

TEST(cancel_while_connecting_closes_the_socket, "O6")
{
    struct plain_full full = plain_full_listener();
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    GOT(freed);
    settle(loop);
    int before = plain_descriptors();
    eddy_op op =
        START(&opened, eddy_open_connection(loop, "127.0.0.1", full.port, NULL, got_stream, &opened));
    end_pump(loop, 30);
    CHECK_INT(opened.count, 0);
    CHECK_INT(plain_descriptors(), before + 1);
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    CHECK_INT(opened.count, 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    check_failed(&opened, EDDY_ECANCELED, 0);
    CHECK_INT(plain_descriptors(), before);
    CHECK_INT(eddy_loop_cancel(loop, op), EDDY_ESTALE);
    START(&freed, eddy_open_connection(loop, "127.0.0.1", full.port, NULL, got_stream, &freed));
    settle(loop);
    eddy_loop_free(loop);
    check_failed(&freed, EDDY_ECANCELED, 0);
    CHECK_INT(opened.count, 1);
    plain_full_close(&full);
}

TEST(the_local_address_is_bound_first, "O7")
{
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    uint16_t local = plain_closed_port();
    GOT(opened);
    open_to(loop, &opened, "127.0.0.1", plain_port(listener),
            EDDY_OPTIONS(.local_host = "127.0.0.1", .local_port = local));
    CHECK_INT(opened.code, 0);
    int peer = plain_ok(accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC), "accept");
    CHECK_INT(ntohs(from.sin_port), local);
    check_text(eddy_writer_get_extra_info(opened.writer, "sockname", NULL), "127.0.0.1", local);
    close(peer);
    GOT(host_only);
    open_to(loop, &host_only, "127.0.0.1", plain_port(listener), EDDY_OPTIONS(.local_host = "127.0.0.4"));
    CHECK_INT(host_only.code, 0);
    len = sizeof from;
    peer = plain_ok(accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC), "accept");
    CHECK_INT(ntohl(from.sin_addr.s_addr), 0x7f000004);
    close(peer);
    close(listener);
    eddy_loop_free(loop);
}

TEST(an_address_that_cannot_be_bound_is_named, "O7")
{
    char expected[128];
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    uint16_t port = plain_port(listener);
    int before = plain_descriptors();
    GOT(used);
    open_to(loop, &used, "127.0.0.1", port, EDDY_OPTIONS(.local_host = "127.0.0.1", .local_port = port));
    check_failed(&used, EDDY_ESYSTEM, EADDRINUSE);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", port);
    check_names(used.message, expected);
    GOT(foreign);
    open_to(loop, &foreign, "127.0.0.1", port, EDDY_OPTIONS(.local_host = "192.0.2.1"));
    check_failed(&foreign, EDDY_ESYSTEM, EADDRNOTAVAIL);
    check_names(foreign.message, "192.0.2.1");
    GOT(family); /* no local address of the remote one's family */
    open_to(loop, &family, "127.0.0.1", port, EDDY_OPTIONS(.local_host = "::1"));
    CHECK_INT(family.count, 1);
    CHECK(family.code == EDDY_ESYSTEM || family.code == EDDY_ERESOLVE);
    settle(loop);
    CHECK_INT(plain_descriptors(), before);
    close(listener);
    eddy_loop_free(loop);
}

TEST(a_candidate_of_another_family_than_the_local_address_is_skipped, "O7")
{
    if (!plain_has_v6()) return;
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    GOT(opened);
    names_answer("::1", "127.0.0.1");
    open_to(loop, &opened, "both.test", plain_port(listener), EDDY_OPTIONS(.local_host = "127.0.0.5"));
    CHECK_INT(opened.code, 0);
    const char *sockname = eddy_writer_get_extra_info(opened.writer, "sockname", NULL);
    CHECK(sockname != NULL && strncmp(sockname, "127.0.0.5:", 10) == 0);
    close(plain_accept(listener));
    close(listener);
    eddy_loop_free(loop);
}

TEST(the_family_asked_for_is_the_only_one, "O4")
{
    if (!plain_has_v6()) return;
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen(), other = plain_listen_v6("::1");
    GOT(opened);
    names_answer("127.0.0.1", "::1");
    open_to(loop, &opened, "both.test", plain_port(other), EDDY_OPTIONS(.family = AF_INET6));
    CHECK_INT(opened.code, 0);
    check_text(eddy_writer_get_extra_info(opened.writer, "peername", NULL), "[::1]", plain_port(other));
    close(plain_accept(other));
    GOT(literal);
    open_to(loop, &literal, "127.0.0.1", plain_port(listener), EDDY_OPTIONS(.family = AF_INET6));
    CHECK_INT(literal.count, 1);
    CHECK(literal.code == EDDY_ESYSTEM || literal.code == EDDY_ERESOLVE);
    close(listener);
    close(other);
    eddy_loop_free(loop);
}

TEST(nagle_is_off_unless_asked_for, "O9")
{
    struct end end = end_tcp(NULL), slow = end_tcp_on(end.loop, EDDY_OPTIONS(.delay = 1));
    struct end alive = end_tcp_on(end.loop, EDDY_OPTIONS(.keep_alive = 1));
    CHECK(option_of(end.fd, IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK(option_of(slow.fd, IPPROTO_TCP, TCP_NODELAY) == 0);
    CHECK(option_of(end.fd, SOL_SOCKET, SO_KEEPALIVE) == 0);
    CHECK(option_of(alive.fd, SOL_SOCKET, SO_KEEPALIVE) != 0);
    CHECK((fcntl(end.fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(end.fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(slow.peer);
    close(alive.peer);
    end_free(&end);
}

TEST(the_limit_is_the_new_readers_and_the_pair_has_one_connection, "O12")
{
    struct end end = end_tcp(EDDY_OPTIONS(.limit = 4));
    struct reports reports = { .count = 0 };
    GOT(line);
    GOT(stale);
    plain_send_text(end.peer, "abcde\nabcd\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_INT(line.code, EDDY_ELIMIT);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 1);
    CHECK_BYTES(line.bytes, line.len, "abcd\n");
    CHECK(eddy_writer_transport(end.writer) != NULL);
    eddy_loop_set_exception_handler(end.loop, got_report, &reports);
    eddy_writer_free(end.writer);
    CHECK_INT(eddy_reader_readline(end.reader, got_read, &stale), EDDY_ESTALE); /* the reader went with it */
    end_free(&end);
    CHECK_INT(stale.count, 0);
}

TEST(what_makes_no_sense_is_refused_at_once, "O1")
{
    char host[300];
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    struct {
        eddy_options options;
        char more[8];
    } newer = { .options = { .size = sizeof newer } };
    eddy_options sizeless = { .limit = 100 };
    memset(host, 'a', sizeof host);
    host[256] = '\0';
    CHECK_INT(eddy_open_connection(loop, NULL, 80, NULL, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_connection(loop, "", 80, NULL, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_connection(loop, host, 80, NULL, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_connection(loop, "\xff\xfe.test", 80, NULL, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_connection(loop, "127.0.0.1", 0, NULL, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_connection(loop, "127.0.0.1", 80, NULL, NULL, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_connection(loop, "127.0.0.1", 80, &sizeless, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_connection(loop, "127.0.0.1", 80, EDDY_OPTIONS(.family = AF_UNIX), got_stream, &opened),
              EDDY_EINVAL);
    CHECK_INT(eddy_open_connection(loop, "127.0.0.1", 80, EDDY_OPTIONS(.backlog = -1), got_stream, &opened),
              EDDY_EINVAL);
    newer.more[5] = 1;
    CHECK_INT(eddy_open_connection(loop, "127.0.0.1", 80, &newer.options, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(opened.count, 0);
    eddy_loop_free(loop);
    CHECK_INT(opened.count, 0);
}

TEST(an_address_spelt_wrongly_is_never_connected_to, "p16")
{
    static const char *const hosts[] = { "[::1", "::1]", "1.2.3.4.5", "[127.0.0.1]", "127.0.0.1:80" };
    eddy_loop *loop = eddy_loop_new();
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        GOT(opened);
        eddy_op op = eddy_open_connection(loop, hosts[i], 80, NULL, got_stream, &opened);
        if (op < 0) {
            CHECK_INT(op, EDDY_EINVAL);
            continue;
        }
        RUN_UNTIL(loop, opened.count > 0);
        if (opened.code != EDDY_ERESOLVE) FAIL("%s: %d %s", hosts[i], opened.code, opened.message);
    }
    eddy_loop_free(loop);
}

/* ---- descriptors made elsewhere ------------------------------------------------------------------------ */

TEST(a_connected_socket_made_elsewhere_becomes_a_connection, "O1 V22 a13 t08")
{
    int ends[2];
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    GOT(line);
    plain_tcp_pair(ends);
    plain_send_text(ends[0], "early\n");
    START(&opened, eddy_open_socket(loop, ends[1], NULL, got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_INT(opened.code, 0);
    CHECK_INT(end_descriptor(opened.writer), ends[1]);
    CHECK((fcntl(ends[1], F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(ends[1], F_GETFD) & FD_CLOEXEC) != 0);
    check_text(eddy_writer_get_extra_info(opened.writer, "sockname", NULL), "127.0.0.1", plain_port(ends[1]));
    check_text(eddy_writer_get_extra_info(opened.writer, "peername", NULL), "127.0.0.1", plain_port(ends[0]));
    START(&line, eddy_reader_readline(opened.reader, got_read, &line));
    RUN_UNTIL(loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "early\n");
    eddy_writer_write(opened.writer, "reply", 5);
    eddy_writer_free(opened.writer);
    end_pump(loop, 10);
    char reply[16];
    CHECK_INT(plain_recv(ends[0], reply, sizeof reply), 5);
    close(ends[0]);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK(!plain_is_open(ends[1])); /* eddy owned it */
    eddy_loop_free(loop);
    CHECK_INT(opened.count, 1);
}

/* Nothing but a connected stream socket makes a connection; what is refused stays the caller's. */
static void check_unusable(eddy_loop *loop, int fd, int code, const char *what)
{
    GOT(opened);
    eddy_op op = eddy_open_socket(loop, fd, NULL, got_stream, &opened);
    if (op != code) FAIL("%s: %d, not %d", what, (int)op, code);
    settle(loop);
    CHECK_INT(opened.count, 0);
    if (fd >= 0) CHECK_INT(close(fd), 0);
}

TEST(what_is_no_connected_stream_socket_is_refused, "O1 a13")
{
    int ends[2];
    eddy_loop *loop = eddy_loop_new();
    check_unusable(loop, -1, EDDY_EINVAL, "no descriptor");
    int gone = plain_ok(dup(2), "dup");
    close(gone);
    GOT(closed);
    CHECK_INT(eddy_open_socket(loop, gone, NULL, got_stream, &closed), EDDY_EINVAL);
    CHECK_INT(eddy_open_socket(loop, (intptr_t)1 << 40, NULL, got_stream, &closed), EDDY_EINVAL);
    const int cloexec = SOCK_CLOEXEC;
    check_unusable(loop, plain_ok(open("/dev/null", O_RDWR | O_CLOEXEC), "open"), EDDY_ENOTSUP, "a device");
    check_unusable(loop, plain_ok(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open"), EDDY_ENOTSUP, "a file");
    check_unusable(loop, plain_ok(socket(AF_INET, SOCK_DGRAM | cloexec, 0), "socket"), EDDY_ENOTSUP, "datagrams");
    check_unusable(loop, plain_ok(socket(AF_INET, SOCK_STREAM | cloexec, 0), "socket"), EDDY_ESTATE, "not connected");
    check_unusable(loop, plain_listen(), EDDY_ESTATE, "a listener");
    plain_ok(socketpair(AF_UNIX, SOCK_DGRAM | cloexec, 0, ends), "socketpair");
    check_unusable(loop, ends[0], EDDY_ENOTSUP, "datagrams of a pair");
    close(ends[1]);
    plain_ok(socketpair(AF_UNIX, SOCK_SEQPACKET | cloexec, 0, ends), "socketpair");
    check_unusable(loop, ends[0], EDDY_ENOTSUP, "packets");
    close(ends[1]);
    plain_ok(pipe2(ends, O_CLOEXEC), "pipe");
    check_unusable(loop, ends[0], EDDY_ENOTSUP, "a pipe");
    close(ends[1]);
    struct plain_full full = plain_full_listener();
    int on_its_way = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | cloexec, 0), "socket");
    CHECK_INT(plain_try_connect(on_its_way, "127.0.0.1", full.port), EINPROGRESS);
    check_unusable(loop, on_its_way, EDDY_ESTATE, "not connected yet");
    plain_full_close(&full);
    plain_unix_pair(ends);
    CHECK_INT(eddy_open_socket(loop, ends[0], NULL, NULL, NULL), EDDY_EINVAL);
    CHECK(plain_is_open(ends[0]));
    close(ends[0]);
    close(ends[1]);
    eddy_loop_free(loop);
}

TEST(a_descriptor_that_is_a_connection_already_does_not_become_another, "O14 a13")
{
    struct end end = end_tcp(NULL);
    GOT(again);
    GOT(line);
    CHECK_INT(eddy_open_socket(end.loop, end.fd, NULL, got_stream, &again), EDDY_EBUSY);
    CHECK(plain_is_open(end.fd));
    plain_send_text(end.peer, "still here\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "still here\n");
    end_free(&end);
}

/* ---- what a connection tells --------------------------------------------------------------------------- */

static void read_in_callback(struct got *opened, void *data)
{
    struct got *line = data;
    CHECK_INT(opened->code, 0);
    START(line, eddy_reader_readline(opened->reader, got_read, line));
}

TEST(the_connection_is_told_before_its_data, "C1")
{
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen(), peer = -1;
    GOT(opened);
    GOT(line);
    opened.then = read_in_callback;
    opened.data = &line;
    START(&opened,
          eddy_open_connection(loop, "127.0.0.1", plain_port(listener), NULL, got_stream, &opened));
    /* Where the call itself connects, data is there before the loop runs. */
    struct pollfd ready = { .fd = listener, .events = POLLIN };
    if (poll(&ready, 1, 20) == 0) CHECK(eddy_loop_run_once(loop, 0) >= 0);
    peer = plain_accept(listener);
    plain_send_text(peer, "welcome\n");
    RUN_UNTIL(loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "welcome\n");
    CHECK(opened.order < line.order);
    close(peer);
    close(listener);
    eddy_loop_free(loop);
    CHECK_INT(opened.count, 1);
}

TEST(a_wakeup_without_data_is_nothing, "C2 n14")
{
    struct end end = end_tcp(NULL);
    char bytes[8];
    GOT(line);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    settle(end.loop);
    plain_send_text(end.peer, "stolen");
    CHECK_INT(plain_recv(end.fd, bytes, 0), 0);
    struct pollfd ready = { .fd = end.fd, .events = POLLIN };
    CHECK_INT(poll(&ready, 1, 5000), 1);
    CHECK_INT(plain_look(end.fd, bytes, sizeof bytes), 6); /* somebody else who has this socket was quicker */
    uint64_t cpu = plain_cpu();
    end_pump(end.loop, 200);
    CHECK(plain_cpu() - cpu < 150);
    CHECK_INT(line.count, 0);
    plain_send_text(end.peer, "mine\n");
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "mine\n");
    end_free(&end);
}

TEST(the_peers_end_of_stream_leaves_our_side_open, "C3 n09")
{
    struct end end = end_tcp(NULL);
    size_t size = 1000000;
    int error;
    GOT(line);
    GOT(closed);
    plain_send_text(end.peer, "last");
    shutdown(end.peer, SHUT_WR);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    for (int i = 1; i <= 3; i++) {
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        RUN_UNTIL(end.loop, line.count == i);
        CHECK_INT(line.code, 0);
        CHECK_INT(line.len, i == 1 ? 4 : 0); /* what came, and then the end, again and again */
    }
    CHECK(eddy_reader_at_eof(end.reader));
    uint64_t cpu = plain_cpu();
    end_pump(end.loop, 200);
    CHECK(plain_cpu() - cpu < 150); /* the end is not watched for any more */
    CHECK_INT(closed.count, 0);
    CHECK(!eddy_writer_is_closing(end.writer));
    char *bytes = plain_fill(size);
    CHECK(eddy_writer_write(end.writer, bytes, size) >= 0);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(end_peer_reads_pattern(&end, &error), size);
    CHECK_INT(error, 0);
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(closed.code, 0);
    free(bytes);
    end_free(&end);
    CHECK_INT(closed.count, 1);
}

TEST(the_loss_of_a_connection_is_told_once_and_from_the_loop, "C8")
{
    for (int way = 0; way < 4; way++) {
        struct end end = end_tcp(NULL);
        GOT(line);
        GOT(closed);
        GOT(later);
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        settle(end.loop);
        if (way == 0) CHECK_INT(eddy_writer_close(end.writer), 0);
        if (way == 1) CHECK_INT(eddy_writer_abort(end.writer), 0);
        if (way == 2) end_reset_peer(&end);
        if (way == 3) {
            CHECK_INT(eddy_writer_close(end.writer), 0);
            CHECK_INT(eddy_writer_abort(end.writer), 0);
        }
        CHECK_INT(line.count, 0);
        CHECK_INT(closed.count, 0);
        RUN_UNTIL(end.loop, closed.count > 0);
        CHECK_INT(line.count, 1);
        CHECK(line.order < closed.order);
        CHECK_INT(closed.code, way == 2 ? EDDY_ELOST : 0);
        CHECK_INT(closed.system, way == 2 ? ECONNRESET : 0);
        START(&later, eddy_writer_wait_closed(end.writer, got_writer, &later));
        RUN_UNTIL(end.loop, later.count > 0);
        CHECK_INT(later.code, closed.code);
        CHECK_INT(eddy_writer_abort(end.writer), 0);
        settle(end.loop);
        end_free(&end);
        CHECK_INT(line.count, 1);
        CHECK_INT(closed.count, 1);
        CHECK_INT(later.count, 1);
    }
}

TEST(a_read_that_waits_ends_when_we_close, "C9")
{
    struct end end = end_tcp(NULL), other = end_tcp_on(end.loop, NULL), third = end_tcp_on(end.loop, NULL);
    GOT(read);
    GOT(exactly);
    GOT(until);
    START(&read, eddy_reader_read(end.reader, 10, got_read, &read));
    START(&exactly, eddy_reader_readexactly(other.reader, 5, got_read, &exactly));
    START(&until, eddy_reader_readuntil(third.reader, "--", 2, got_read, &until));
    plain_send_text(other.peer, "abc");
    plain_send_text(third.peer, "defg");
    RUN_UNTIL(end.loop, eddy_reader_buffered(other.reader, NULL) == 3);
    RUN_UNTIL(end.loop, eddy_reader_buffered(third.reader, NULL) == 4);
    CHECK_INT(eddy_writer_close(end.writer), 0);
    CHECK_INT(eddy_writer_close(other.writer), 0);
    CHECK_INT(eddy_writer_close(third.writer), 0);
    RUN_UNTIL(end.loop, read.count > 0 && exactly.count > 0 && until.count > 0);
    CHECK_INT(read.code, 0);
    CHECK_INT(read.len, 0);
    CHECK_INT(exactly.code, EDDY_EINCOMPLETE);
    CHECK_INT(exactly.expected, 5);
    CHECK_BYTES(exactly.bytes, exactly.len, "abc");
    CHECK_INT(until.code, EDDY_EINCOMPLETE);
    CHECK_BYTES(until.bytes, until.len, "defg");
    close(other.peer);
    close(third.peer);
    end_free(&end);
    CHECK_INT(read.count, 1);
}

TEST(a_reset_ends_all_that_waits_and_drops_the_output, "C10 C11 O13")
{
    struct end end = end_tcp(NULL);
    struct reports reports = { .count = 0 };
    size_t size = 8000000;
    char *bytes = plain_fill(size);
    GOT(line);
    GOT(drained);
    GOT(closed);
    eddy_loop_set_exception_handler(end.loop, got_report, &reports);
    CHECK_INT(eddy_writer_write(end.writer, bytes, size), 1);
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    settle(end.loop);
    CHECK(eddy_writer_get_write_buffer_size(end.writer) > 0);
    end_reset_peer(&end);
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(drained.code, EDDY_ELOST);
    CHECK_INT(line.code, EDDY_ELOST);
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK_INT(drained.system, ECONNRESET);
    CHECK_INT(line.system, ECONNRESET);
    CHECK_INT(closed.system, ECONNRESET);
    CHECK(drained.order < line.order && line.order < closed.order);
    CHECK_INT(eddy_writer_get_write_buffer_size(end.writer), 0);
    CHECK(eddy_writer_is_closing(end.writer));
    CHECK_INT(eddy_loop_run(end.loop), 0);
    CHECK_INT(reports.count, 0); /* the network's troubles are no news for the exception handler */
    free(bytes);
    end_free(&end);
    CHECK_INT(drained.count, 1);
    CHECK_INT(line.count, 1);
    CHECK_INT(closed.count, 1);
}

static void descriptor_is_open(struct got *got, void *data)
{
    (void)got;
    CHECK(plain_is_open(*(int *)data));
}

TEST(the_socket_is_closed_only_after_the_loss_was_told, "C15")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    GOT(closed);
    line.then = descriptor_is_open;
    line.data = &end.fd;
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    settle(end.loop);
    end_reset_peer(&end);
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(line.count, 1);
    settle(end.loop);
    CHECK(!plain_is_open(end.fd));
    end_free(&end);
}

TEST(data_before_a_reset_is_delivered_first, "C10 n05 n06")
{
    struct end end = end_tcp(NULL);
    GOT(line);
    GOT(rest);
    GOT(after);
    plain_send_text(end.peer, "one\ntwo\nthr");
    end_reset_peer(&end); /* all of it is there, the reset too, before the loop looks */
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "one\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 1);
    CHECK_BYTES(line.bytes, line.len, "two\n");
    START(&line, eddy_reader_readline(end.reader, got_read, &line));
    RUN_UNTIL(end.loop, line.count > 2);
    CHECK_INT(line.code, EDDY_ELOST); /* and never an end of the stream */
    CHECK_INT(line.system, ECONNRESET);
    START(&rest, eddy_reader_read(end.reader, 10, got_read, &rest));
    RUN_UNTIL(end.loop, rest.count > 0);
    CHECK_BYTES(rest.bytes, rest.len, "thr");
    for (int i = 1; i <= 2; i++) {
        START(&after, eddy_reader_read(end.reader, 10, got_read, &after));
        RUN_UNTIL(end.loop, after.count == i);
        CHECK_INT(after.code, EDDY_ELOST);
        CHECK_INT(after.system, ECONNRESET);
    }
    end_free(&end);
}

TEST(a_connection_lost_before_it_was_told_is_told_by_the_read, "O15")
{
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_listen();
    GOT(opened);
    GOT(line);
    GOT(end);
    START(&opened,
          eddy_open_connection(loop, "127.0.0.1", plain_port(listener), NULL, got_stream, &opened));
    struct pollfd ready = { .fd = listener, .events = POLLIN };
    if (poll(&ready, 1, 20) == 0) CHECK(eddy_loop_run_once(loop, 0) >= 0);
    int peer = plain_accept(listener);
    plain_send_text(peer, "bye\n");
    plain_reset(peer);
    RUN_UNTIL(loop, opened.count > 0);
    if (opened.code != 0) FAIL("%s", opened.message);
    START(&line, eddy_reader_readline(opened.reader, got_read, &line));
    RUN_UNTIL(loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "bye\n");
    START(&end, eddy_reader_readline(opened.reader, got_read, &end));
    RUN_UNTIL(loop, end.count > 0);
    CHECK_INT(end.code, EDDY_ELOST);
    close(listener);
    eddy_loop_free(loop);
    CHECK_INT(opened.count, 1);
}

TEST(a_connection_to_itself_is_refused, "n21")
{
    eddy_loop *loop = eddy_loop_new();
    uint16_t port = plain_closed_port();
    GOT(opened);
    settle(loop);
    int before = plain_descriptors();
    open_to(loop, &opened, "127.0.0.1", port, EDDY_OPTIONS(.local_host = "127.0.0.1", .local_port = port));
    check_failed(&opened, EDDY_ESYSTEM, ECONNREFUSED);
    settle(loop);
    CHECK_INT(plain_descriptors(), before);
    eddy_loop_free(loop);
}

TEST(an_urgent_byte_does_not_hold_up_what_follows, "n22 n24")
{
    struct end end = end_tcp(NULL);
    GOT(six);
    GOT(more);
    plain_send_text(end.peer, "abc");
    CHECK_INT(send(end.peer, "X", 1, MSG_OOB | MSG_NOSIGNAL), 1);
    plain_send_text(end.peer, "def");
    usleep(20000); /* all of it lies there before the first look */
    START(&six, eddy_reader_readexactly(end.reader, 6, got_read, &six));
    RUN_UNTIL(end.loop, six.count > 0);
    CHECK_BYTES(six.bytes, six.len, "abcdef");
    uint64_t cpu = plain_cpu();
    end_pump(end.loop, 200);
    CHECK(plain_cpu() - cpu < 150);
    START(&more, eddy_reader_readexactly(end.reader, 6, got_read, &more));
    plain_send_text(end.peer, "ghi");
    settle(end.loop);
    CHECK_INT(send(end.peer, "Y", 1, MSG_OOB | MSG_NOSIGNAL), 1);
    settle(end.loop);
    plain_send_text(end.peer, "jkl");
    RUN_UNTIL(end.loop, more.count > 0);
    CHECK_BYTES(more.bytes, more.len, "ghijkl");
    end_free(&end);
}

TEST(both_sides_may_close_at_once, "C8 n23")
{
    eddy_loop *loop = eddy_loop_new();
    int rounds = 600 / eddy_test_slow() + 10;
    for (int i = 0; i < rounds; i++) {
        struct end end = end_tcp_on(loop, NULL);
        GOT(line);
        GOT(closed);
        START(&line, eddy_reader_readline(end.reader, got_read, &line));
        START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
        eddy_writer_write(end.writer, "bye\n", 4);
        if (i % 2 == 0) close(end.peer);
        CHECK_INT(eddy_writer_close(end.writer), 0);
        if (i % 3 == 0) settle(loop);
        if (i % 2 != 0) close(end.peer);
        RUN_UNTIL(loop, closed.count > 0);
        CHECK_INT(line.count, 1);
        CHECK(line.code == 0 ? line.len == 0 : line.code == EDDY_ELOST);
        CHECK(closed.code == 0 || closed.code == EDDY_ELOST);
        eddy_writer_free(end.writer);
        settle(loop);
        CHECK_INT(line.count, 1);
        CHECK_INT(closed.count, 1);
    }
    CHECK_INT(eddy_loop_run(loop), 0);
    eddy_loop_free(loop);
}

/* ---- signals ------------------------------------------------------------------------------------------- */

static bool sigpipe_is_default(void)
{
    struct sigaction action;
    sigaction(SIGPIPE, NULL, &action);
    return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL;
}

static void write_to_the_dead(struct end end, bool reset)
{
    static char bytes[100000];
    eddy_bytes parts[] = { { "one", 3 }, { bytes, sizeof bytes }, { NULL, 0 }, { "three", 5 } };
    GOT(drained);
    GOT(closed);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    if (reset) end_reset_peer(&end);
    if (!reset) end_close_peer(&end);
    for (int i = 0; i < 5; i++) {
        CHECK(eddy_writer_write(end.writer, "x", 1) >= 0);
        CHECK(eddy_loop_run_once(end.loop, 1) >= 0);
        CHECK(eddy_writer_writelines(end.writer, parts, 4) >= 0);
        CHECK(eddy_loop_run_once(end.loop, 1) >= 0);
    }
    RUN_UNTIL(end.loop, closed.count > 0); /* still alive */
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK(closed.system == EPIPE || closed.system == ECONNRESET);
    START(&drained, eddy_writer_drain(end.writer, got_writer, &drained));
    RUN_UNTIL(end.loop, drained.count > 0);
    CHECK_INT(drained.code, EDDY_ELOST);
    CHECK_INT(drained.system, closed.system);
    end_free(&end);
    CHECK_INT(closed.count, 1);
    CHECK(sigpipe_is_default());
}

TEST(a_peer_that_is_gone_raises_no_signal, "W9 n10")
{
    signal(SIGPIPE, SIG_DFL);
    write_to_the_dead(end_tcp(NULL), false);
    write_to_the_dead(end_tcp(NULL), true);
    write_to_the_dead(end_unix(NULL), false);
}

static atomic_bool storm_over;
static pthread_t storm_target;

static void nothing(int signal)
{
    (void)signal;
}

static void *storm(void *arg)
{
    (void)arg;
    while (!atomic_load(&storm_over)) {
        pthread_kill(storm_target, SIGUSR1);
        usleep(500);
    }
    return NULL;
}

struct echo {
    int fd;
    size_t size, sent;
};

static void *send_pattern(void *arg)
{
    struct echo *echo = arg;
    char *bytes = plain_fill(echo->size);
    plain_send(echo->fd, bytes, echo->size);
    shutdown(echo->fd, SHUT_WR);
    free(bytes);
    return NULL;
}

TEST(interrupted_system_calls_are_not_seen, "C2 n13 t15 m10")
{
    struct sigaction action = { .sa_handler = nothing }, old; /* no SA_RESTART */
    struct end end = end_tcp(NULL);
    struct echo echo = { .fd = end.peer, .size = 3000000 / (size_t)eddy_test_slow() };
    GOT(all);
    GOT(rung);
    sigaction(SIGUSR1, &action, &old);
    atomic_store(&storm_over, false);
    storm_target = pthread_self();
    START(&all, eddy_reader_read(end.reader, EDDY_UNTIL_EOF, got_read, &all));
    pthread_t sender = plain_start(send_pattern, &echo), thunder = plain_start(storm, NULL);
    uint64_t start = plain_now();
    START(&rung, eddy_loop_call_later(end.loop, 150, got_loop, &rung));
    CHECK_INT(eddy_loop_run(end.loop), 0);
    uint64_t took = plain_now() - start;
    CHECK_INT(rung.count, 1);
    CHECK_INT(rung.code, 0);
    CHECK(took >= 150);
    CHECK(took < 150 + 5000 * (uint64_t)eddy_test_slow());
    CHECK_INT(all.count, 1);
    CHECK_INT(all.code, 0);
    CHECK_INT(all.len, echo.size);
    plain_check_pattern(all.bytes, all.len, 0);
    atomic_store(&storm_over, true);
    plain_join(sender);
    plain_join(thunder);
    sigaction(SIGUSR1, &old, NULL);
    end_free(&end);
}

TEST(no_signals_disposition_or_mask_is_changed, "t04")
{
    struct sigaction before[65], after;
    sigset_t mask_before, mask_after;
    for (int i = 1; i < 65; i++)
        if (sigaction(i, NULL, &before[i]) != 0) before[i].sa_handler = SIG_ERR;
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    struct end end = end_tcp(NULL);
    eddy_writer_write(end.writer, "x", 1);
    GOT(opened);
    names_answer("127.0.0.1", NULL);
    open_to(end.loop, &opened, "signals.test", plain_closed_port(), NULL);
    end_free(&end);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    for (int i = 1; i < 65; i++) {
        CHECK_INT(sigismember(&mask_after, i), sigismember(&mask_before, i));
        if (sigaction(i, NULL, &after) != 0) continue;
        if (after.sa_handler != before[i].sa_handler) FAIL("the disposition of signal %d was changed", i);
    }
}
