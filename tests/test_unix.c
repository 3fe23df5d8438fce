/* Unix sockets: paths, abstract names, files that lie in the way, what is passed along, full queues. */
#include "ends.h"

enum { PATH = 120 };

struct clients {
    int count;
    eddy_reader *reader;
    eddy_writer *writer;
    struct got started, line;
};

static void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct clients *clients = arg;
    CHECK(reader != NULL && writer != NULL && error == NULL);
    clients->count++;
    clients->reader = reader;
    clients->writer = writer;
}

static void on_started(eddy_server *server, const eddy_error *error, void *arg)
{
    got_server(server, error, &((struct clients *)arg)->started);
}

static void clients_release(struct clients *clients)
{
    got_release(&clients->started);
    got_release(&clients->line);
}

#define CLIENTS(name) struct clients name __attribute__((cleanup(clients_release))) = { .count = 0 }

static eddy_server *serve_with(eddy_loop *loop, struct clients *clients, const char *path,
                               const eddy_options *options)
{
    int before = clients->started.count;
    START(&clients->started, eddy_start_unix_server(loop, on_client, path, options, on_started, clients));
    RUN_UNTIL(loop, clients->started.count > before);
    if (clients->started.code != 0) FAIL("%s", clients->started.message);
    return clients->started.server;
}

static eddy_server *serve(eddy_loop *loop, struct clients *clients, const char *path)
{
    return serve_with(loop, clients, path, NULL);
}

/* No server comes of it, for that reason, and the reason names the path. */
static void check_no_server(eddy_loop *loop, const char *path, int system)
{
    CLIENTS(clients);
    struct got *started = &clients.started;
    START(started, eddy_start_unix_server(loop, on_client, path, NULL, on_started, &clients));
    RUN_UNTIL(loop, started->count > 0);
    CHECK_INT(started->code, EDDY_ESYSTEM);
    CHECK_INT(started->system, system);
    CHECK(started->server == NULL);
    if (strstr(started->message, path) == NULL) FAIL("\"%s\" does not name %s", started->message, path);
    settle(loop);
    CHECK_INT(started->count, 1);
}

static void check_no_connection(eddy_loop *loop, const char *path, int system)
{
    GOT(opened);
    START(&opened, eddy_open_unix_connection(loop, path, NULL, got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_INT(opened.code, EDDY_ESYSTEM);
    CHECK_INT(opened.system, system);
    CHECK(opened.reader == NULL && opened.writer == NULL);
    if (strstr(opened.message, path) == NULL) FAIL("\"%s\" does not name %s", opened.message, path);
    settle(loop);
    CHECK_INT(opened.count, 1);
}

static bool exists(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0;
}

static void file_of(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) FAIL("cannot write %s", path);
    fputs(text, file);
    fclose(file);
}

/* ---- serving and connecting ---------------------------------------------------------------------------- */

TEST(a_path_is_served_and_connected_to, "U1 V1")
{
    const char *directory = plain_directory();
    char path[PATH];
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients);
    GOT(opened);
    GOT(line);
    size_t len = 77;
    plain_path(path, sizeof path, directory, "socket");
    eddy_server *server = serve(loop, &clients, path);
    CHECK_STR(eddy_server_sockname(server, 0), path);
    CHECK(eddy_server_sockname(server, 1) == NULL);
    CHECK((fcntl((int)eddy_server_socket(server, 0), F_GETFD) & FD_CLOEXEC) != 0);
    START(&opened, eddy_open_unix_connection(loop, path, NULL, got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0 && clients.count > 0);
    CHECK_INT(opened.code, 0);
    CHECK_STR(eddy_writer_get_extra_info(opened.writer, "peername", NULL), path);
    CHECK(eddy_writer_get_extra_info(opened.writer, "sockname", &len) == NULL); /* clients have no name */
    CHECK_INT(len, 0);
    CHECK_STR(eddy_writer_get_extra_info(clients.writer, "sockname", NULL), path);
    CHECK(eddy_writer_get_extra_info(clients.writer, "peername", NULL) == NULL);
    CHECK((fcntl(end_descriptor(clients.writer), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((fcntl(end_descriptor(clients.writer), F_GETFL) & O_NONBLOCK) != 0);
    eddy_writer_write(opened.writer, "over a path\n", 12);
    START(&line, eddy_reader_readline(clients.reader, got_read, &line));
    RUN_UNTIL(loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "over a path\n");
    eddy_loop_free(loop);
    CHECK(!exists(path));
    rmdir(directory);
    CHECK_INT(opened.count, 1);
    CHECK_INT(clients.count, 1);
}

TEST(a_path_is_needed_and_may_not_be_too_long, "U1 U5 u01")
{
    const char *directory = plain_directory();
    char path[PATH];
    size_t most = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1;
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients);
    GOT(opened);
    memset(path, 'x', sizeof path);
    memcpy(path, directory, strlen(directory));
    path[strlen(directory)] = '/';
    path[most + 1] = '\0'; /* one too many */
    int before = plain_descriptors();
    CHECK_INT(eddy_start_unix_server(loop, on_client, path, NULL, on_started, &clients), EDDY_EINVAL);
    CHECK_INT(eddy_open_unix_connection(loop, path, NULL, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_start_unix_server(loop, on_client, NULL, NULL, on_started, &clients), EDDY_EINVAL);
    CHECK_INT(eddy_start_unix_server(loop, on_client, "", NULL, on_started, &clients), EDDY_EINVAL);
    CHECK_INT(eddy_start_unix_server(loop, NULL, "@eddy", NULL, on_started, &clients), EDDY_EINVAL);
    CHECK_INT(eddy_start_unix_server(loop, on_client, "@eddy", NULL, NULL, &clients), EDDY_EINVAL);
    CHECK_INT(eddy_open_unix_connection(loop, NULL, NULL, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_unix_connection(loop, "", NULL, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_unix_connection(loop, "@eddy", NULL, NULL, NULL), EDDY_EINVAL);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(plain_descriptors(), before);
    CHECK_INT(opened.count + clients.started.count, 0);
    path[most] = '\0'; /* as long as it may be, and not cut short */
    serve(loop, &clients, path);
    CHECK(exists(path));
    START(&opened, eddy_open_unix_connection(loop, path, NULL, got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_INT(opened.code, 0);
    CHECK_STR(eddy_writer_get_extra_info(opened.writer, "peername", NULL), path);
    eddy_loop_free(loop);
    CHECK(!exists(path));
    CHECK_INT(rmdir(directory), 0);
}

TEST(an_abstract_name_leaves_no_file, "U4 u04")
{
    char name[PATH];
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients);
    CLIENTS(second);
    GOT(opened);
    snprintf(name, sizeof name, "@eddy-test-%d", (int)getpid());
    file_of(name, "a file of the same name in the current directory"); /* is not meant, and not removed */
    eddy_server *server = serve(loop, &clients, name);
    CHECK_STR(eddy_server_sockname(server, 0), name);
    close(plain_unix_connect(name));
    RUN_UNTIL(loop, clients.count == 1);
    CHECK_STR(eddy_writer_get_extra_info(clients.writer, "sockname", NULL), name);
    START(&opened, eddy_open_unix_connection(loop, name, NULL, got_stream, &opened));
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_INT(opened.code, 0);
    CHECK_STR(eddy_writer_get_extra_info(opened.writer, "peername", NULL), name);
    check_no_server(loop, name, EADDRINUSE);
    CHECK_INT(eddy_server_close(server), 0);
    CHECK(exists(name));
    unlink(name);
    CHECK_INT(plain_unix_try_connect(name, 0), -ECONNREFUSED);
    serve(loop, &second, name); /* free again at once */
    eddy_loop_free(loop);
}

/* ---- what may lie at a path ---------------------------------------------------------------------------- */

TEST(a_stale_socket_file_is_replaced, "U2 u02")
{
    const char *directory = plain_directory();
    char path[PATH];
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients);
    close(plain_unix_listen(plain_path(path, sizeof path, directory, "stale"), 1));
    CHECK(exists(path)); /* left behind by a server that has died */
    serve(loop, &clients, path);
    close(plain_unix_connect(path));
    RUN_UNTIL(loop, clients.count == 1);
    eddy_loop_free(loop);
    rmdir(directory);
}

TEST(a_live_servers_file_is_respected, "U2 u02")
{
    const char *directory = plain_directory();
    char path[PATH];
    eddy_loop *loop = eddy_loop_new();
    int live = plain_unix_listen(plain_path(path, sizeof path, directory, "live"), 4);
    int before = plain_descriptors();
    check_no_server(loop, path, EADDRINUSE);
    CHECK_INT(plain_descriptors(), before);
    close(plain_unix_connect(path)); /* it is still the other's */
    close(live);
    unlink(path);
    CLIENTS(clients);
    CLIENTS(other);
    serve(loop, &clients, path); /* and our own is respected as well */
    check_no_server(loop, path, EADDRINUSE);
    close(plain_unix_connect(path));
    settle(loop);
    eddy_loop_free(loop);
    CHECK(!exists(path));
    CHECK_INT(rmdir(directory), 0);
}

TEST(a_live_server_with_a_full_queue_is_respected_too, "U2")
{
    const char *directory = plain_directory();
    char path[PATH];
    eddy_loop *loop = eddy_loop_new();
    int live = plain_unix_listen(plain_path(path, sizeof path, directory, "busy"), 0);
    int waiting = plain_unix_connect(path);
    CHECK_INT(plain_unix_try_connect(path, SOCK_NONBLOCK), -EAGAIN);
    check_no_server(loop, path, EADDRINUSE);
    close(waiting);
    close(live);
    eddy_loop_free(loop);
    CHECK(exists(path));
    unlink(path);
    CHECK_INT(rmdir(directory), 0);
}

TEST(a_file_that_is_no_socket_is_respected, "U2 u02")
{
    const char *directory = plain_directory();
    char path[PATH], text[32];
    eddy_loop *loop = eddy_loop_new();
    file_of(plain_path(path, sizeof path, directory, "novel"), "It was a dark and stormy night");
    check_no_server(loop, path, EADDRINUSE);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
    fclose(file);
    CHECK_STR(text, "It was a dark and stormy night");
    check_no_server(loop, directory, EADDRINUSE); /* nor is a directory */
    eddy_loop_free(loop);
    unlink(path);
    CHECK_INT(rmdir(directory), 0);
}

TEST(a_path_that_cannot_be_bound_leaves_no_socket, "U3")
{
    eddy_loop *loop = eddy_loop_new();
    int before = plain_descriptors();
    check_no_server(loop, "/tmp/no/such/directory/socket", ENOENT);
    CHECK_INT(plain_descriptors(), before);
    CHECK_INT(eddy_loop_run(loop), 0);
    eddy_loop_free(loop);
}

TEST(a_path_that_cannot_be_connected_to_tells_why, "O13 u08")
{
    const char *directory = plain_directory();
    char path[PATH];
    eddy_loop *loop = eddy_loop_new();
    int before = plain_descriptors();
    check_no_connection(loop, plain_path(path, sizeof path, directory, "missing"), ENOENT);
    plain_path(path, sizeof path, directory, "file");
    file_of(path, "no socket");
    check_no_connection(loop, path, ECONNREFUSED);
    unlink(path);
    close(plain_unix_listen(plain_path(path, sizeof path, directory, "stale"), 1));
    check_no_connection(loop, path, ECONNREFUSED);
    unlink(path);
    struct sockaddr_un address;
    socklen_t len = plain_unix_address(&address, plain_path(path, sizeof path, directory, "datagrams"));
    int datagrams = plain_ok(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    plain_ok(bind(datagrams, (struct sockaddr *)&address, len), "bind");
    check_no_connection(loop, path, EPROTOTYPE);
    close(datagrams);
    unlink(path);
    plain_ok(chmod(directory, 0), "chmod");
    const bool root = geteuid() == 0; /* who may do everything */
    if (root) plain_ok(seteuid(65534), "seteuid");
    check_no_connection(loop, path, EACCES);
    check_no_server(loop, path, EACCES);
    if (root) plain_ok(seteuid(0), "seteuid");
    plain_ok(chmod(directory, 0700), "chmod");
    CHECK_INT(plain_descriptors(), before);
    eddy_loop_free(loop);
    CHECK_INT(rmdir(directory), 0);
}

/* There is no moment at which others might come in that are to be kept out. */
TEST(the_mode_of_a_socket_file_is_what_the_umask_leaves, "u09")
{
    static const mode_t masks[] = { 0077, 0027, 0 };
    const char *directory = plain_directory();
    char path[PATH];
    const mode_t before = umask(0);
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        eddy_loop *loop = eddy_loop_new();
        struct stat file;
        CLIENTS(clients);
        plain_path(path, sizeof path, directory, "mode");
        umask(masks[i]);
        START(&clients.started, eddy_start_unix_server(loop, on_client, path, NULL, on_started, &clients));
        while (stat(path, &file) != 0) CHECK(eddy_loop_run_once(loop, 0) >= 0); /* as soon as it is there */
        CHECK_INT(file.st_mode & 0777, 0777 & ~masks[i]);
        RUN_UNTIL(loop, clients.started.count > 0);
        CHECK_INT(stat(path, &file), 0);
        CHECK_INT(file.st_mode & 0777, 0777 & ~masks[i]);
        eddy_loop_free(loop);
    }
    umask(before);
    CHECK_INT(rmdir(directory), 0);
}

TEST(the_file_goes_when_its_server_closes, "U7")
{
    const char *directory = plain_directory();
    char path[PATH];
    for (int way = 0; way < 3; way++) {
        eddy_loop *loop = eddy_loop_new();
        CLIENTS(clients);
        eddy_server *server = serve(loop, &clients, plain_path(path, sizeof path, directory, "socket"));
        CHECK(exists(path));
        if (way == 0) CHECK_INT(eddy_server_close(server), 0);
        if (way == 1) eddy_server_free(server);
        if (way == 2) eddy_loop_free(loop);
        CHECK(!exists(path));
        if (way != 2) eddy_loop_free(loop);
    }
    CHECK_INT(rmdir(directory), 0);
}

TEST(the_file_of_an_adopted_socket_goes_as_well, "U7 V21")
{
    const char *directory = plain_directory();
    char path[PATH];
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients);
    int listener = plain_unix_listen(plain_path(path, sizeof path, directory, "adopted"), 4);
    START(&clients.started, eddy_start_socket_server(loop, on_client, listener, NULL, on_started, &clients));
    RUN_UNTIL(loop, clients.started.count > 0);
    CHECK_INT(clients.started.code, 0);
    close(plain_unix_connect(path));
    RUN_UNTIL(loop, clients.count == 1);
    CHECK_INT(eddy_server_close(clients.started.server), 0);
    CHECK(!plain_is_open(listener));
    CHECK(!exists(path));
    eddy_loop_free(loop);
    rmdir(directory);
}

TEST(the_file_stays_when_asked_for, "U7 U8")
{
    const char *directory = plain_directory();
    char path[PATH];
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients);
    eddy_server *server = serve_with(loop, &clients, plain_path(path, sizeof path, directory, "kept"),
                                     EDDY_OPTIONS(.keep_socket_file = 1));
    CHECK_INT(eddy_server_close(server), 0);
    eddy_loop_free(loop);
    CHECK(exists(path));
    CHECK_INT(plain_unix_try_connect(path, 0), -ECONNREFUSED);
    unlink(path);
    CHECK_INT(rmdir(directory), 0);
}

TEST(a_file_that_is_gone_already_is_no_trouble, "U7")
{
    const char *directory = plain_directory();
    char path[PATH];
    struct reports reports = { .count = 0 };
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients);
    eddy_loop_set_exception_handler(loop, got_report, &reports);
    eddy_server *server = serve(loop, &clients, plain_path(path, sizeof path, directory, "gone"));
    unlink(path);
    CHECK_INT(eddy_server_close(server), 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK_INT(reports.count, 0);
    eddy_loop_free(loop);
    CHECK_INT(rmdir(directory), 0);
}

TEST(the_file_of_a_successor_is_not_removed, "U7 u03")
{
    const char *directory = plain_directory();
    char path[PATH];
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients);
    eddy_server *server = serve(loop, &clients, plain_path(path, sizeof path, directory, "taken"));
    unlink(path);
    int successor = plain_unix_listen(path, 4);
    CHECK_INT(eddy_server_close(server), 0);
    CHECK(exists(path));
    close(plain_unix_connect(path));
    close(successor);
    unlink(path);
    CLIENTS(again);
    server = serve(loop, &again, path);
    unlink(path);
    file_of(path, "by now an ordinary file");
    eddy_loop_free(loop);
    CHECK(exists(path));
    unlink(path);
    CHECK_INT(rmdir(directory), 0);
}

/* ---- peers --------------------------------------------------------------------------------------------- */

static void send_with_descriptors(int fd, const char *text, int count)
{
    int passed[16];
    union {
        char bytes[CMSG_SPACE(sizeof passed)];
        struct cmsghdr align;
    } control = { .bytes = { 0 } };
    struct iovec one = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
    struct msghdr message = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = control.bytes };
    size_t size = sizeof(int) * (size_t)count;
    CHECK(count <= 16);
    for (int i = 0; i < count; i++) passed[i] = fd;
    message.msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), passed, size);
    CHECK_INT(sendmsg(fd, &message, MSG_NOSIGNAL), strlen(text));
}

TEST(descriptors_that_a_peer_passes_are_not_kept, "u06")
{
    struct end end = end_unix(NULL);
    GOT(bytes);
    int before = plain_descriptors();
    for (int i = 0; i < 10; i++) send_with_descriptors(end.peer, "0123456789", 10);
    START(&bytes, eddy_reader_readexactly(end.reader, 100, got_read, &bytes));
    RUN_UNTIL(end.loop, bytes.count > 0);
    CHECK_INT(bytes.code, 0);
    CHECK_INT(plain_descriptors(), before);
    end_free(&end);
}

TEST(bytes_behind_passed_descriptors_are_not_held_up, "C2 n24")
{
    struct end end = end_unix(NULL);
    GOT(bytes);
    int before = plain_descriptors();
    send_with_descriptors(end.peer, "abc", 1); /* one read stops at each of them */
    plain_send_text(end.peer, "def");
    send_with_descriptors(end.peer, "ghi", 2);
    send_with_descriptors(end.peer, "jkl", 1);
    START(&bytes, eddy_reader_readexactly(end.reader, 12, got_read, &bytes));
    RUN_UNTIL(end.loop, bytes.count > 0);
    CHECK_BYTES(bytes.bytes, bytes.len, "abcdefghijkl");
    CHECK_INT(plain_descriptors(), before);
    end_free(&end);
}

TEST(a_peer_that_closes_with_our_data_unread_has_reset, "C10 u07")
{
    struct end end = end_unix(NULL);
    GOT(bytes);
    GOT(rest);
    GOT(closed);
    START(&closed, eddy_writer_wait_closed(end.writer, got_writer, &closed));
    CHECK_INT(eddy_writer_write(end.writer, "never read", 10), 0);
    settle(end.loop);
    plain_send_text(end.peer, "the last words");
    end_close_peer(&end);
    START(&bytes, eddy_reader_readexactly(end.reader, 14, got_read, &bytes));
    RUN_UNTIL(end.loop, bytes.count > 0);
    CHECK_BYTES(bytes.bytes, bytes.len, "the last words");
    for (int i = 1; i <= 2; i++) {
        START(&rest, eddy_reader_read(end.reader, 10, got_read, &rest));
        RUN_UNTIL(end.loop, rest.count == i);
        CHECK_INT(rest.code, EDDY_ELOST);
        CHECK_INT(rest.system, ECONNRESET);
    }
    RUN_UNTIL(end.loop, closed.count > 0);
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK_INT(closed.system, ECONNRESET);
    end_free(&end);
    CHECK_INT(closed.count, 1);
}

TEST(a_full_queue_is_waited_for, "O6 u05")
{
    const char *directory = plain_directory();
    char path[PATH];
    eddy_loop *loop = eddy_loop_new();
    int listener = plain_unix_listen(plain_path(path, sizeof path, directory, "full"), 0);
    int waiting = plain_unix_connect(path);
    GOT(opened);
    GOT(cancelled);
    GOT(line);
    CHECK_INT(plain_unix_try_connect(path, SOCK_NONBLOCK), -EAGAIN);
    int before = plain_descriptors();
    START(&opened, eddy_open_unix_connection(loop, path, NULL, got_stream, &opened));
    eddy_op op =
        START(&cancelled, eddy_open_unix_connection(loop, path, NULL, got_stream, &cancelled));
    uint64_t cpu = plain_cpu();
    end_pump(loop, 200);
    CHECK(plain_cpu() - cpu < 150);
    CHECK_INT(opened.count + cancelled.count, 0);
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    settle(loop);
    CHECK_INT(cancelled.code, EDDY_ECANCELED);
    CHECK(plain_descriptors() <= before + 1);
    close(plain_accept(listener)); /* now there is room */
    RUN_UNTIL(loop, opened.count > 0);
    CHECK_INT(opened.code, 0);
    int peer = plain_accept(listener);
    plain_send_text(peer, "at last\n");
    START(&line, eddy_reader_readline(opened.reader, got_read, &line));
    RUN_UNTIL(loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "at last\n");
    close(peer);
    close(waiting);
    close(listener);
    unlink(path);
    eddy_loop_free(loop);
    CHECK_INT(rmdir(directory), 0);
    CHECK_INT(opened.count, 1);
    CHECK_INT(cancelled.count, 1);
}

TEST(clients_of_a_unix_server_are_counted_and_closed, "V17 V18 V19")
{
    const char *directory = plain_directory();
    char path[PATH], byte;
    eddy_loop *loop = eddy_loop_new();
    CLIENTS(clients);
    GOT(closed);
    eddy_server *server = serve(loop, &clients, plain_path(path, sizeof path, directory, "clients"));
    int peer = plain_unix_connect(path);
    RUN_UNTIL(loop, clients.count == 1);
    CHECK_INT(eddy_server_close(server), 0);
    START(&closed, eddy_server_wait_closed(server, got_server, &closed));
    end_pump(loop, 10);
    CHECK_INT(closed.count, 0);
    CHECK_INT(eddy_server_close_clients(server), 0);
    RUN_UNTIL(loop, closed.count > 0);
    CHECK_INT(closed.code, 0);
    CHECK_INT(plain_recv(peer, &byte, 1), 0);
    close(peer);
    CHECK_INT(eddy_loop_run(loop), 0);
    eddy_loop_free(loop);
    CHECK_INT(rmdir(directory), 0);
}
