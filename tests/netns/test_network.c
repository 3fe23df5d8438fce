/* Opening, and bytes, over networks that are not kind: addresses that are dead, packets that are lost, a link that is
 * slow, ports that have run out. Run by netns/run. */
#include "network.h"

#include <stdatomic.h>
#include <sys/ioctl.h>

/* ---- helpers ------------------------------------------------------------------------------------------- */

/* A machine that has other things to do may be late now and then, but not always. */
enum { PRECISION = 50, TRIES = 5 };

static bool in_time(uint64_t elapsed, uint64_t expected, int try)
{
    if (elapsed < expected) FAIL("%d ms, too early", (int)elapsed);
    if (elapsed <= expected + (uint64_t)(PRECISION * eddy_test_slow())) return true;
    if (try == TRIES) FAIL("%d ms, too late", (int)elapsed);
    return false;
}

static uint64_t open_to(eddy_loop *loop, struct got *opened, const char *host, uint16_t port,
                        const eddy_options *options)
{
    uint64_t begun = plain_now();
    int before = opened->count;
    START(opened, eddy_open_connection(loop, host, port, options, got_stream, opened));
    RUN_UNTIL(loop, opened->count > before);
    return plain_now() - begun;
}

static void check_peer(const struct got *opened, const char *host, uint16_t port)
{
    char expected[128];
    if (opened->code != 0) FAIL("%d: %s", opened->code, opened->message);
    snprintf(expected, sizeof expected, "%s:%u", host, port);
    CHECK_STR(eddy_writer_get_extra_info(opened->writer, "peername", NULL), expected);
}

/* ---- addresses that are dead --------------------------------------------------------------------------- */

static void check_second_wins(const char *host)
{
    int listener = far_listen(FAR, 0);
    uint16_t port = plain_port(listener);
    eddy_loop *loop = eddy_loop_new();
    settle(loop);
    int before = plain_descriptors();
    for (int try = 1;; try++) {
        GOT(opened);
        uint64_t elapsed = open_to(loop, &opened, host, port, NULL);
        check_peer(&opened, FAR, port);
        close(plain_accept(listener));
        eddy_writer_abort(opened.writer);
        eddy_writer_free(opened.writer);
        settle(loop);
        CHECK_INT(opened.count, 1);
        CHECK_INT(plain_descriptors(), before);
        if (in_time(elapsed, 250, try)) break;
    }
    close(listener);
    eddy_loop_free(loop);
}

TEST(the_first_of_two_addresses_is_dead, "O8 n04")
{
    check_second_wins("half.test");
}

/* Two dead addresses of the first family do not come before the first of the other one. */
TEST(the_first_family_is_dead, "O8")
{
    check_second_wins("mixed.test");
}

TEST(all_addresses_are_dead, "O5 O6 n02")
{
    char expected[256];
    uint16_t port = far_closed_port();
    eddy_loop *loop = eddy_loop_new();
    settle(loop);
    int before = plain_descriptors();
    for (int try = 1;; try++) {
        GOT(opened);
        uint64_t elapsed = open_to(loop, &opened, "dead.test", port, EDDY_OPTIONS(.timeout_ms = 600));
        CHECK_INT(opened.code, EDDY_ETIMEDOUT);
        snprintf(expected, sizeof expected,
                 "timed out after 600 ms: connect 10.9.0.2:%u, connect 10.9.0.3:%u: Connection refused, "
                 "connect 10.9.0.4:%u", port, port, port);
        CHECK_STR(opened.message, expected);
        CHECK_INT(plain_descriptors(), before);
        CHECK_INT(eddy_loop_run(loop), 0); /* and nothing comes afterwards */
        CHECK_INT(opened.count, 1);
        if (in_time(elapsed, 600, try)) break;
    }
    eddy_loop_free(loop);
}

TEST(a_network_that_says_no_is_believed, "O13 n03")
{
    static const char *const ways[] = { "unreachable", "prohibit" };
    eddy_loop *loop = eddy_loop_new();
    NEAR_RUN("ip route add 10.9.8.0/24 via " FAR);
    network_go(network.far);
    network_set("/proc/sys/net/ipv4/ip_forward", "1");
    network_go(network.near);
    for (int i = 0; i < 2; i++) {
        GOT(opened);
        FAR_RUN("ip route replace %s 10.9.8.0/24", ways[i]); /* the far machine says so, by ICMP */
        open_to(loop, &opened, "10.9.8.1", 80, EDDY_OPTIONS(.timeout_ms = 60000));
        CHECK_INT(opened.code, EDDY_ESYSTEM);
        CHECK_INT(opened.system, EHOSTUNREACH);
        CHECK_STR(opened.message, "connect 10.9.8.1:80: No route to host");
    }
    NEAR_RUN("ip route replace unreachable 10.9.8.0/24"); /* this machine says so itself */
    GOT(nowhere);
    open_to(loop, &nowhere, "10.9.8.1", 80, NULL);
    CHECK_INT(nowhere.code, EDDY_ESYSTEM);
    CHECK_INT(nowhere.system, EHOSTUNREACH);
    eddy_loop_free(loop);
}

/* ---- ports that have run out --------------------------------------------------------------------------- */

/* Nobody listens at the port; but it is the one that the kernel picks for the socket that calls it, and TCP then
 * connects the socket to itself. */
TEST(a_socket_never_becomes_its_own_peer, "O13 n21")
{
    eddy_loop *loop = eddy_loop_new();
    settle(loop);
    int before = plain_descriptors();
    network_ports("40000 40000");
    int plain = plain_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    CHECK_INT(plain_try_connect(plain, "127.0.0.1", 40000), 0); /* that is so here */
    plain_reset(plain);
    for (int i = 0; i < 50; i++) {
        GOT(opened);
        open_to(loop, &opened, "127.0.0.1", 40000, NULL);
        CHECK_INT(opened.code, EDDY_ESYSTEM);
        CHECK_INT(opened.system, ECONNREFUSED);
        CHECK_STR(opened.message, "connect 127.0.0.1:40000: Connection refused");
        CHECK_INT(plain_descriptors(), before);
    }
    network_ports("32768 60999");
    eddy_loop_free(loop);
}

TEST(without_a_port_left_there_is_no_connection, "O13 r09")
{
    eddy_loop *loop = eddy_loop_new();
    int listener = far_listen(FAR, 0);
    GOT(first);
    GOT(second);
    network_ports("40000 40000");
    open_to(loop, &first, FAR, plain_port(listener), NULL);
    CHECK_INT(first.code, 0);
    open_to(loop, &second, FAR, plain_port(listener), NULL);
    CHECK_INT(second.code, EDDY_ESYSTEM);
    CHECK_INT(second.system, EADDRNOTAVAIL);
    network_ports("32768 60999");
    close(listener);
    eddy_loop_free(loop);
}

static void no_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)reader, (void)error, (void)arg;
    eddy_writer_free(writer);
}

TEST(a_server_without_a_common_port_has_one_for_each_address, "V7")
{
    eddy_loop *loop = eddy_loop_new();
    network_ports("40000 40003");
    int taken[] = { -1, -1, -1, plain_listen_at("0.0.0.0", 40003, 1) };
    for (int i = 0; i < 3; i++) {
        struct sockaddr_in6 address = plain_v6("::", (uint16_t)(40000 + i));
        taken[i] = plain_ok(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
        plain_set(taken[i], IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
        plain_set(taken[i], SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT"); /* others may join: not by chance */
        plain_ok(bind(taken[i], (struct sockaddr *)&address, sizeof address), "bind");
        plain_ok(listen(taken[i], 1), "listen");
    }
    int before = plain_descriptors();
    for (int shared = 0; shared < 2; shared++) {
        GOT(started);
        START(&started, eddy_start_server(loop, no_client, NULL, 0, EDDY_OPTIONS(.reuse_port = shared), got_server,
                                          &started));
        RUN_UNTIL(loop, started.count > 0);
        if (started.code != 0) FAIL("%s", started.message);
        const uint16_t v4 = plain_port((int)eddy_server_socket(started.server, 0));
        CHECK(v4 >= 40000 && v4 < 40003);
        CHECK_STR(eddy_server_sockname(started.server, 1), "[::]:40003");
        eddy_server_free(started.server);
        settle(loop);
        CHECK_INT(plain_descriptors(), before);
    }
    for (int i = 0; i < 4; i++) close(taken[i]);
    network_ports("32768 60999");
    eddy_loop_free(loop);
}

/* ---- links that are bad -------------------------------------------------------------------------------- */

enum { MEGABYTES = 3 << 20, CHUNK = 16384 };

/* A plain peer: one thread sends, one receives, each all there is. */
struct peer {
    int fd;
    size_t to_send, received;
    int error;
    atomic_bool has_all; /* that it will ever receive */
};

static void *peer_sends(void *arg)
{
    struct peer *peer = arg;
    char *bytes = plain_fill(peer->to_send);
    plain_send(peer->fd, bytes, peer->to_send);
    plain_ok(shutdown(peer->fd, SHUT_WR), "shutdown");
    free(bytes);
    return NULL;
}

static void *peer_receives(void *arg)
{
    struct peer *peer = arg;
    peer->received = plain_recv_pattern(peer->fd, &peer->error);
    atomic_store(&peer->has_all, true);
    return NULL;
}

/* A writer that writes chunk after chunk of the pattern, and drains whenever it is told to. */
struct sender {
    eddy_writer *writer;
    char *bytes;
    size_t len, written, most; /* most: that was ever gathered */
    int drains;
    bool done;
};

static void send_on(eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct sender *sender = arg;
    if (error != NULL) FAIL("%s", eddy_error_message(error));
    while (sender->written < sender->len) {
        size_t rest = sender->len - sender->written, chunk = rest < CHUNK ? rest : CHUNK;
        int full = eddy_writer_write(writer, sender->bytes + sender->written, chunk);
        CHECK(full >= 0);
        sender->written += chunk;
        size_t gathered = eddy_writer_get_write_buffer_size(writer);
        if (gathered > sender->most) sender->most = gathered;
        if (full == 0) continue;
        sender->drains++;
        CHECK(eddy_writer_drain(writer, send_on, sender) >= 0);
        return;
    }
    CHECK_INT(eddy_writer_write_eof(writer), 0);
    sender->done = true;
}

/* One connection on a slow link, and a quick one beside it on the same loop. */
TEST(a_slow_link_slows_its_own_connection_and_no_other, "F2 F10 W1 n17")
{
    enum { SLOW = 400000, HIGH = 65536 };
    int listener = far_listen(FAR, 0);
    eddy_loop *loop = eddy_loop_new();
    struct end quick = end_tcp_on(loop, NULL);
    GOT(opened);
    open_to(loop, &opened, FAR, plain_port(listener), NULL);
    check_peer(&opened, FAR, plain_port(listener));
    NEAR_RUN("tc qdisc add dev near root tbf rate 1mbit burst 32kbit latency 400ms");
    plain_set(end_descriptor(opened.writer), SOL_SOCKET, SO_SNDBUF, 32768, "SO_SNDBUF");
    struct peer peer = { .fd = plain_accept(listener) };
    struct sender sender = { .writer = opened.writer, .bytes = plain_fill(SLOW), .len = SLOW };
    pthread_t receives = plain_start(peer_receives, &peer);
    size_t memory = plain_resident();
    uint64_t begun = plain_now();
    int rounds = 0, late = 0;
    send_on(opened.writer, NULL, &sender);
    while (!sender.done) {
        char byte;
        uint64_t asked = plain_now();
        GOT(line);
        START(&line, eddy_reader_readline(quick.reader, got_read, &line));
        CHECK_INT(eddy_writer_write(quick.writer, "?", 1), 0);
        CHECK(eddy_loop_run_once(loop, 0) >= 0);
        CHECK_INT(plain_recv(quick.peer, &byte, 1), 1);
        plain_send_text(quick.peer, "!\n");
        RUN_UNTIL(loop, line.count > 0);
        if (plain_now() - asked > 50) late++;
        rounds++;
        end_pump(loop, 5);
        CHECK(plain_now() - begun < 50000 * (uint64_t)eddy_test_slow());
    }
    /* A megabit is 125,000 bytes a second. What is still gathered, or in the kernel, is not counted. */
    CHECK(plain_now() - begun >= 1000 * (uint64_t)(SLOW - HIGH - 2 * 32768 - CHUNK) / 125000 / 2);
    CHECK(sender.drains > 2);
    CHECK(sender.most <= HIGH + CHUNK);
    CHECK(plain_resident() < memory + (4 << 20));
    CHECK(rounds > 50);
    if (late > rounds / 10) FAIL("%d of %d were late on the link that is not slow", late, rounds); /* not by chance */
    GOT(closed);
    START(&closed, eddy_writer_wait_closed(opened.writer, got_writer, &closed));
    CHECK_INT(eddy_writer_close(opened.writer), 0);
    CHECK_INT(eddy_loop_run(loop), 0); /* until the last byte has gone out */
    CHECK_INT(closed.code, 0);
    plain_join(receives);
    CHECK_INT(peer.error, 0);
    CHECK_INT(peer.received, SLOW);
    NEAR_RUN("tc qdisc del dev near root");
    free(sender.bytes);
    close(peer.fd);
    close(listener);
    end_free(&quick);
}

/* ---- a peer that is there no longer ------------------------------------------------------------------------ */

/* Whatever is sent to the far machine from now on is lost. */
static void far_vanishes(void)
{
    FAR_RUN("tc qdisc add dev far clsact && tc filter add dev far ingress protocol all bpf direct-action bytecode "
            "'1,6 0 0 2'");
}

static void far_is_back(void)
{
    FAR_RUN("tc qdisc del dev far clsact");
}

TEST(a_peer_that_vanishes_is_given_up, "n18")
{
    enum { MEGABYTE = 1000000 };
    int listener = far_listen(FAR, 0), peers[3];
    eddy_loop *loop = eddy_loop_new();
    struct got opened[3] = { { 0 } }, closed[3] = { { 0 } };
    GOT(read);
    GOT(waits);
    network_set("/proc/sys/net/ipv4/tcp_keepalive_time", "1"); /* seconds: it cannot be less */
    network_set("/proc/sys/net/ipv4/tcp_keepalive_intvl", "1");
    network_set("/proc/sys/net/ipv4/tcp_keepalive_probes", "1");
    for (int i = 0; i < 3; i++) {
        open_to(loop, &opened[i], FAR, plain_port(listener), EDDY_OPTIONS(.keep_alive = i == 2));
        peers[i] = plain_accept(listener);
        START(&closed[i], eddy_writer_wait_closed(opened[i].writer, got_writer, &closed[i]));
    }
    far_vanishes();

    /* A read has its deadline, and nothing else happens. */
    CHECK_INT(eddy_reader_set_timeout(opened[0].reader, 100), 0);
    uint64_t begun = plain_now();
    START(&read, eddy_reader_readline(opened[0].reader, got_read, &read));
    RUN_UNTIL(loop, read.count > 0);
    CHECK_ENDED(read, 1, EDDY_ETIMEDOUT);
    CHECK(plain_now() - begun >= 100);

    /* A close that has something to send has one too. */
    char *bytes = plain_fill(MEGABYTE);
    CHECK(eddy_writer_write(opened[1].writer, bytes, MEGABYTE) >= 0);
    free(bytes);
    CHECK_INT(eddy_writer_set_timeout(opened[1].writer, 150), 0);
    begun = plain_now();
    CHECK_INT(eddy_writer_close(opened[1].writer), 0);
    RUN_UNTIL(loop, closed[1].count > 0);
    CHECK_ENDED(closed[1], 1, EDDY_ETIMEDOUT);
    CHECK(plain_now() - begun >= 150);

    /* One that nobody writes to is kept alive, or found dead. */
    START(&waits, eddy_reader_readline(opened[2].reader, got_read, &waits));
    RUN_UNTIL(loop, closed[2].count > 0);
    CHECK_ENDED(closed[2], 1, EDDY_ELOST);
    CHECK_INT(closed[2].system, ETIMEDOUT);
    CHECK_ENDED(waits, 1, EDDY_ELOST);
    CHECK_INT(waits.system, ETIMEDOUT);
    CHECK_INT(closed[0].count, 0); /* nobody asked that of this one */

    far_is_back();
    for (int i = 0; i < 3; i++) close(peers[i]);
    close(listener);
    eddy_loop_free(loop);
}

TEST(a_connection_that_the_administrator_kills_is_lost, "n19")
{
    int listener = far_listen(FAR, 0);
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    GOT(line);
    GOT(closed);
    open_to(loop, &opened, FAR, plain_port(listener), NULL);
    int peer = plain_accept(listener);
    START(&line, eddy_reader_readline(opened.reader, got_read, &line));
    START(&closed, eddy_writer_wait_closed(opened.writer, got_writer, &closed));
    settle(loop);
    NEAR_RUN("ss -tK dst " FAR " dport = :%u >/dev/null 2>&1", plain_port(listener));
    struct pollfd killed = { .fd = end_descriptor(opened.writer), .events = 0 };
    if (poll(&killed, 1, 1000) == 0) {
        puts("skipped: this kernel kills no connections");
    } else {
        RUN_UNTIL(loop, closed.count > 0);
        CHECK_ENDED(line, 1, EDDY_ELOST);
        CHECK_INT(line.system, ECONNABORTED);
        CHECK_ENDED(closed, 1, EDDY_ELOST);
        CHECK_INT(closed.system, ECONNABORTED);
        char byte;
        CHECK_INT(recv(peer, &byte, 1, 0), -1); /* and the peer has a reset */
        CHECK_INT(errno, ECONNRESET);
    }
    close(peer);
    close(listener);
    eddy_loop_free(loop);
}

/* What the kernel knows of a connection. */
static struct tcp_info info_of(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    plain_ok(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), "TCP_INFO");
    return info;
}

/* One packet in five that arrives here is lost. (tc's netem would do that too, but not every kernel has it: where
 * CONFIG_NET_SCH_NETEM is not set, tc says "Error: Specified qdisc kind is unknown." So this is a filter of four
 * instructions in classic BPF: load a random number; if it is below a fifth of 2^32, drop; else go on.)
 *
 * All else is for the sake of time: the kernel waits 200 ms and more before it sends again what was lost, and twice as
 * long each time that this is lost as well. So packets are few and large, and the waits as short as they can be had. */
static void lose_packets(const char *interface, const char *address)
{
    static const char longest_wait[] = "/proc/sys/net/ipv4/tcp_rto_max_ms"; /* since Linux 6.15 */
    if (access(longest_wait, W_OK) == 0) network_set(longest_wait, "1000");
    network_set("/proc/sys/net/ipv4/tcp_congestion_control", "reno"); /* every kernel has that one */
    network_run("ip link set %s mtu 65535", interface);
    network_run("ip route change 10.9.0.0/24 dev %s src %s rto_min 5ms quickack 1", interface, address);
    network_run("tc qdisc add dev %s clsact && tc filter add dev %s ingress protocol ip bpf direct-action bytecode "
                "'4,32 0 0 4294963256,53 1 0 858993459,6 0 0 2,6 0 0 4294967295'", interface, interface);
}

/* This test is the last one: it ends the program when chance is against it, and the kernel waits to send again. That is
 * no failure of eddy's, unless the kernel has something for it, or takes something from it. */
static void check_time(uint64_t deadline, const struct sender *sender, int fd)
{
    int unread = 0;
    struct pollfd writable = { .fd = fd, .events = POLLOUT };
    if (plain_now() < deadline) return;
    plain_ok(ioctl(fd, FIONREAD, &unread), "FIONREAD");
    if (unread > 0) FAIL("not done, and %d bytes are not read", unread);
    if (eddy_writer_get_write_buffer_size(sender->writer) > 0 && poll(&writable, 1, 0) > 0)
        FAIL("not done, and bytes are not sent");
    puts("skipped: the kernel waits too long to send again what was lost");
    _exit(77);
}

TEST(a_link_that_loses_every_fifth_packet_loses_no_byte, "W1 C2 n16")
{
    lose_packets("near", "10.9.0.1");
    network_go(network.far);
    lose_packets("far", FAR);
    network_go(network.near);
    int listener = far_listen(FAR, 0);
    eddy_loop *loop = eddy_loop_new();
    const uint64_t deadline = plain_now() + 40000;
    GOT(opened);
    START(&opened, eddy_open_connection(loop, FAR, plain_port(listener), NULL, got_stream, &opened));
    while (opened.count == 0 && plain_now() < deadline) CHECK(eddy_loop_run_once(loop, 20) >= 0);
    check_peer(&opened, FAR, plain_port(listener));
    const int fd = end_descriptor(opened.writer);
    struct peer peer = { .fd = plain_accept(listener), .to_send = MEGABYTES };
    struct sender sender = { .writer = opened.writer, .bytes = plain_fill(MEGABYTES), .len = MEGABYTES };
    pthread_t sends = plain_start(peer_sends, &peer), receives = plain_start(peer_receives, &peer);
    GOT(all);
    GOT(closed);
    START(&all, eddy_reader_readall(opened.reader, 2 * MEGABYTES, got_read, &all));
    send_on(opened.writer, NULL, &sender);
    /* Closed before, our end would be the kernel's alone, which gives up sooner. */
    while (all.count == 0 || !sender.done || !atomic_load(&peer.has_all)) {
        CHECK(eddy_loop_run_once(loop, 20) >= 0);
        check_time(deadline, &sender, fd);
    }
    CHECK_INT(all.code, 0);
    CHECK_INT(all.len, MEGABYTES);
    plain_check_pattern(all.bytes, all.len, 0);
    CHECK(info_of(fd).tcpi_total_retrans + info_of(peer.fd).tcpi_total_retrans > 0); /* packets were lost */
    START(&closed, eddy_writer_wait_closed(opened.writer, got_writer, &closed));
    CHECK_INT(eddy_writer_close(opened.writer), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(closed.code, 0);
    plain_join(sends);
    plain_join(receives);
    CHECK_INT(peer.error, 0);
    CHECK_INT(peer.received, MEGABYTES);
    NEAR_RUN("tc qdisc del dev near clsact");
    FAR_RUN("tc qdisc del dev far clsact");
    free(sender.bytes);
    close(peer.fd);
    close(listener);
    eddy_loop_free(loop);
}
