/* Pipes, FIFOs, terminals, and the standard descriptors: eddy_open_pipe. */
#include "ends.h"

#include <signal.h>
#include <sys/wait.h>
#include <termios.h>

/* ---- pipes of the test's own --------------------------------------------------------------------------- */

struct plumbing {
    eddy_loop *loop;
    eddy_reader *reader;
    eddy_writer *writer;
    int in, out;            /* eddy's ends: to be looked at, not to be closed */
    int far_in, far_out;    /* the test's: what is written to far_in is read by eddy; -1 once it is closed */
};

static void make_pipe(int ends[2])
{
    plain_ok(pipe2(ends, O_CLOEXEC), "pipe2");
}

static void open_ends(eddy_loop *loop, int read_fd, int write_fd, const eddy_options *options, struct got *opened)
{
    START(opened, eddy_open_pipe(loop, read_fd, write_fd, options, got_stream, opened));
    RUN_UNTIL(loop, opened->count > 0);
    if (opened->code != 0) FAIL("not opened: %s", opened->message);
    CHECK(opened->writer != NULL);
    CHECK((opened->reader == NULL) == (read_fd == -1));
}

enum { READS = 1, WRITES = 2 };

static struct plumbing plumb_with(int ways, const eddy_options *options)
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .in = -1, .out = -1, .far_in = -1, .far_out = -1 };
    GOT(opened);
    int ends[2];
    if (ways & READS) {
        make_pipe(ends);
        pipes.in = ends[0], pipes.far_in = ends[1];
        plain_ok(fcntl(pipes.in, F_SETFD, 0), "F_SETFD"); /* as most are made */
    }
    if (ways & WRITES) {
        make_pipe(ends);
        pipes.out = ends[1], pipes.far_out = ends[0];
        plain_ok(fcntl(pipes.out, F_SETFD, 0), "F_SETFD");
    }
    open_ends(pipes.loop, pipes.in, pipes.out, options, &opened);
    pipes.reader = opened.reader;
    pipes.writer = opened.writer;
    return pipes;
}

static struct plumbing plumb(int ways)
{
    return plumb_with(ways, NULL);
}

static void close_far(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void unplumb(struct plumbing *pipes)
{
    close_far(&pipes->far_in);
    close_far(&pipes->far_out);
    eddy_loop_free(pipes->loop);
}

static void put(int fd, const char *text)
{
    size_t len = strlen(text);
    CHECK_INT(write(fd, text, len), len);
}

/* One read that waits for what comes. */
static const char *get(int fd)
{
    static char text[4096];
    ssize_t n;
    do n = read(fd, text, sizeof text - 1);
    while (n < 0 && errno == EINTR);
    plain_ok(n < 0 ? -1 : 0, "read");
    text[n] = '\0';
    return text;
}

#define CHECK_READ(pipes, call, literal)                                                           \
    do {                                                                                           \
        GOT(read_);                                                                                \
        START(&read_, call);                                                                       \
        RUN_UNTIL((pipes)->loop, read_.count > 0);                                                 \
        CHECK_INT(read_.code, 0);                                                                  \
        CHECK_BYTES(read_.bytes, read_.len, literal);                                              \
    } while (0)

#define CHECK_LINE(pipes, literal) CHECK_READ(pipes, eddy_reader_readline((pipes)->reader, got_read, &read_), literal)

static bool is_nonblocking(int fd)
{
    return (plain_ok(fcntl(fd, F_GETFL), "F_GETFL") & O_NONBLOCK) != 0;
}

/* How the writer's life ended: 0, or the error's code; system gets its errno. */
static int how_it_closed(eddy_loop *loop, eddy_writer *writer, int *system)
{
    GOT(closed);
    START(&closed, eddy_writer_wait_closed(writer, got_writer, &closed));
    RUN_UNTIL(loop, closed.count > 0);
    *system = closed.system;
    return closed.code;
}

static int how_it_drained(eddy_loop *loop, eddy_writer *writer, int *system)
{
    GOT(drained);
    START(&drained, eddy_writer_drain(writer, got_writer, &drained));
    RUN_UNTIL(loop, drained.count > 0);
    *system = drained.system;
    return drained.code;
}

/* ---- both ways, and one ------------------------------------------------------------------------------------ */

TEST(lines_come_in_by_one_pipe_and_go_out_by_another, "P1 S1 K6")
{
    struct plumbing pipes = plumb(READS | WRITES);
    char numbers[32];
    put(pipes.far_in, "one\ntw");
    CHECK_LINE(&pipes, "one\n");
    put(pipes.far_in, "o\n");
    CHECK_LINE(&pipes, "two\n");
    CHECK_INT(eddy_writer_write(pipes.writer, "three\n", 6), 0);
    settle(pipes.loop);
    CHECK_STR(get(pipes.far_out), "three\n");
    CHECK(is_nonblocking(pipes.in) && is_nonblocking(pipes.out));
    CHECK((fcntl(pipes.in, F_GETFD) & fcntl(pipes.out, F_GETFD) & FD_CLOEXEC) != 0);
    snprintf(numbers, sizeof numbers, "%d,%d", pipes.in, pipes.out);
    CHECK_STR(eddy_writer_get_extra_info(pipes.writer, "pipe", NULL), numbers);
    CHECK(eddy_writer_get_extra_info(pipes.writer, "peername", NULL) == NULL);
    CHECK(eddy_writer_get_extra_info(pipes.writer, "sockname", NULL) == NULL);
    CHECK(eddy_writer_get_extra_info(pipes.writer, "socket", NULL) == NULL);
    CHECK(strstr(eddy_repr(pipes.reader), numbers) != NULL);
    unplumb(&pipes);
    CHECK(!plain_is_open(pipes.in) && !plain_is_open(pipes.out));
}

TEST(everything_can_be_read_from_a_pipe, "P1 R23 R24")
{
    struct plumbing pipes = plumb_with(READS, EDDY_OPTIONS(.limit = 100));
    GOT(all);
    char *bytes = plain_fill(300000);
    START(&all, eddy_reader_read(pipes.reader, EDDY_UNTIL_EOF, got_read, &all));
    plain_ok(fcntl(pipes.far_in, F_SETFL, O_NONBLOCK), "F_SETFL");
    for (size_t done = 0; done < 300000;) {
        ssize_t n = write(pipes.far_in, bytes + done, 300000 - done);
        if (n > 0) done += (size_t)n;
        CHECK(eddy_loop_run_once(pipes.loop, 0) >= 0);
    }
    CHECK_INT(all.count, 0);
    close_far(&pipes.far_in);
    RUN_UNTIL(pipes.loop, all.count > 0);
    CHECK_INT(all.len, 300000);
    plain_check_pattern(all.bytes, all.len, 0);
    free(bytes);
    unplumb(&pipes);
}

TEST(a_pipe_that_is_only_read_has_a_writer_to_be_closed, "P1 P2")
{
    struct plumbing pipes = plumb(READS);
    const eddy_bytes line = { "x\n", 2 };
    int system;
    CHECK(!eddy_writer_can_write_eof(pipes.writer));
    CHECK_INT(eddy_writer_write(pipes.writer, "x", 1), EDDY_ENOTSUP);
    CHECK_INT(eddy_writer_write(pipes.writer, "", 0), EDDY_ENOTSUP);
    CHECK_INT(eddy_writer_writelines(pipes.writer, &line, 1), EDDY_ENOTSUP);
    CHECK_INT(eddy_writer_write_eof(pipes.writer), EDDY_ENOTSUP);
    CHECK_INT(eddy_writer_get_write_buffer_size(pipes.writer), 0);
    CHECK_INT(how_it_drained(pipes.loop, pipes.writer, &system), 0);
    CHECK(strstr(eddy_writer_get_extra_info(pipes.writer, "pipe", NULL), ",-1") != NULL);
    put(pipes.far_in, "line\nrest");
    CHECK_LINE(&pipes, "line\n");
    CHECK_INT(eddy_writer_close(pipes.writer), 0);
    CHECK_INT(how_it_closed(pipes.loop, pipes.writer, &system), 0);
    CHECK_LINE(&pipes, "rest");
    CHECK_LINE(&pipes, "");
    CHECK_INT(eddy_writer_write(pipes.writer, "x", 1), EDDY_ENOTSUP);
    CHECK(!plain_is_open(pipes.in));
    unplumb(&pipes);
}

TEST(the_end_of_a_pipe_that_is_only_read_is_the_end_of_its_connection, "P2")
{
    struct plumbing pipes = plumb(READS);
    GOT(closed);
    START(&closed, eddy_writer_wait_closed(pipes.writer, got_writer, &closed));
    put(pipes.far_in, "the last line");
    settle(pipes.loop);
    CHECK_INT(closed.count, 0);
    close_far(&pipes.far_in);
    RUN_UNTIL(pipes.loop, closed.count > 0);
    CHECK_INT(closed.code, 0);
    CHECK(!plain_is_open(pipes.in)); /* nobody had to close it */
    CHECK(eddy_writer_is_closing(pipes.writer));
    CHECK_LINE(&pipes, "the last line");
    CHECK_LINE(&pipes, "");
    CHECK(eddy_reader_at_eof(pipes.reader));
    unplumb(&pipes);
}

TEST(a_pipe_that_is_only_written_to_has_no_reader, "P1 P4 W13")
{
    struct plumbing pipes = plumb(WRITES);
    GOT(closed);
    CHECK(pipes.reader == NULL);
    CHECK(eddy_writer_can_write_eof(pipes.writer));
    CHECK(strstr(eddy_writer_get_extra_info(pipes.writer, "pipe", NULL), "-1,") != NULL);
    CHECK_INT(eddy_writer_write(pipes.writer, "all there is", 12), 0);
    CHECK_INT(eddy_writer_write_eof(pipes.writer), 0);
    CHECK_INT(eddy_writer_write(pipes.writer, "more", 4), EDDY_ESTATE);
    START(&closed, eddy_writer_wait_closed(pipes.writer, got_writer, &closed));
    RUN_UNTIL(pipes.loop, closed.count > 0); /* with its only end it is over */
    CHECK_INT(closed.code, 0);
    CHECK_STR(get(pipes.far_out), "all there is");
    CHECK_STR(get(pipes.far_out), "");
    CHECK(!plain_is_open(pipes.out));
    CHECK_INT(eddy_writer_write(pipes.writer, "more", 4), EDDY_ESTATE);
    unplumb(&pipes);
}

TEST(write_eof_closes_one_end_and_reading_goes_on, "P1 W10 W13 C3")
{
    struct plumbing pipes = plumb(READS | WRITES);
    int error, system;
    char *bytes = plain_fill(1000000), got[65536];
    size_t came = 0;
    CHECK_INT(eddy_writer_write(pipes.writer, bytes, 1000000), 1);
    CHECK_INT(eddy_writer_write_eof(pipes.writer), 0);
    CHECK_INT(eddy_writer_write_eof(pipes.writer), 0);
    settle(pipes.loop);
    CHECK(plain_is_open(pipes.out));
    for (;;) {
        ssize_t n = read(pipes.far_out, got, sizeof got);
        plain_ok(n < 0 ? -1 : 0, "read");
        if (n == 0) break;
        plain_check_pattern(got, (size_t)n, came);
        came += (size_t)n;
        settle(pipes.loop);
    }
    CHECK_INT(came, 1000000);
    CHECK(!plain_is_open(pipes.out));
    put(pipes.far_in, "still here\n");
    CHECK_LINE(&pipes, "still here\n");
    CHECK(!eddy_writer_is_closing(pipes.writer));
    close_far(&pipes.far_in);
    CHECK_LINE(&pipes, "");
    error = how_it_closed(pipes.loop, pipes.writer, &system); /* with both ended it is over */
    CHECK_INT(error, 0);
    free(bytes);
    unplumb(&pipes);
}

TEST(the_end_of_what_is_read_leaves_the_writer, "P2 C3")
{
    struct plumbing pipes = plumb(READS | WRITES);
    close_far(&pipes.far_in);
    CHECK_LINE(&pipes, "");
    CHECK(!plain_is_open(pipes.in));
    CHECK(!eddy_writer_is_closing(pipes.writer));
    CHECK_INT(eddy_writer_write(pipes.writer, "after the end", 13), 0);
    settle(pipes.loop);
    CHECK_STR(get(pipes.far_out), "after the end");
    unplumb(&pipes);
}

/* ---- FIFOs, terminals, sockets, children ------------------------------------------------------------------- */

TEST(a_fifo_may_wait_for_its_writer, "P1 P2")
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .far_in = -1, .far_out = -1 };
    const char *directory = plain_directory();
    char path[120];
    GOT(opened);
    GOT(line);
    plain_ok(mkfifo(plain_path(path, sizeof path, directory, "fifo"), 0600), "mkfifo");
    int fd = plain_ok(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), "open");
    open_ends(pipes.loop, fd, -1, NULL, &opened);
    pipes.reader = opened.reader;
    START(&line, eddy_reader_readline(pipes.reader, got_read, &line));
    end_pump(pipes.loop, 20);
    CHECK_INT(line.count, 0); /* that nobody writes there yet is not its end */
    pipes.far_in = plain_ok(open(path, O_WRONLY | O_CLOEXEC), "open");
    put(pipes.far_in, "a line\n");
    RUN_UNTIL(pipes.loop, line.count > 0);
    CHECK_BYTES(line.bytes, line.len, "a line\n");
    close_far(&pipes.far_in);
    CHECK_LINE(&pipes, "");
    unplumb(&pipes);
    unlink(path);
    CHECK_INT(rmdir(directory), 0);
}

/* A terminal, raw, and what drives it. False, and said so: there is none to be had here. */
static bool make_terminal(int *terminal, int *driver)
{
    struct termios raw;
    *driver = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*driver < 0 || grantpt(*driver) != 0 || unlockpt(*driver) != 0) {
        printf("(no terminals here: %s) ", strerror(errno));
        if (*driver >= 0) close(*driver);
        return false;
    }
    *terminal = plain_ok(open(ptsname(*driver), O_RDWR | O_NOCTTY | O_CLOEXEC), "open a terminal");
    plain_ok(tcgetattr(*terminal, &raw), "tcgetattr");
    raw.c_lflag &= ~(tcflag_t)ECHO;
    raw.c_oflag &= ~(tcflag_t)OPOST;
    plain_ok(tcsetattr(*terminal, TCSANOW, &raw), "tcsetattr");
    return true;
}

TEST(a_terminal_is_one_descriptor_both_ways, "P1")
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .far_in = -1, .far_out = -1 };
    int terminal, system;
    GOT(opened);
    GOT(line);
    if (!make_terminal(&terminal, &pipes.far_in)) {
        eddy_loop_free(pipes.loop);
        return;
    }
    open_ends(pipes.loop, terminal, terminal, NULL, &opened);
    pipes.reader = opened.reader;
    put(pipes.far_in, "typed\nand more\n"); /* a terminal hands out one line with each read */
    CHECK_LINE(&pipes, "typed\n");
    CHECK_LINE(&pipes, "and more\n");
    CHECK_INT(eddy_writer_write(opened.writer, "shown", 5), 0);
    settle(pipes.loop);
    CHECK_STR(get(pipes.far_in), "shown");
    put(pipes.far_in, "the last one\n\004"); /* what a user types for the end */
    CHECK_LINE(&pipes, "the last one\n");
    CHECK_LINE(&pipes, "");
    CHECK_INT(eddy_writer_write(opened.writer, "goodbye", 7), 0);
    settle(pipes.loop);
    CHECK_STR(get(pipes.far_in), "goodbye");
    close_far(&pipes.far_in); /* hung up */
    CHECK_INT(how_it_closed(pipes.loop, opened.writer, &system), EDDY_ELOST);
    CHECK(!plain_is_open(terminal));
    unplumb(&pipes);
}

TEST(a_hung_up_terminal_ends_the_read_that_waits, "P1 C10")
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .far_out = -1 };
    int terminal;
    GOT(opened);
    GOT(line);
    if (!make_terminal(&terminal, &pipes.far_in)) {
        eddy_loop_free(pipes.loop);
        return;
    }
    open_ends(pipes.loop, terminal, -1, NULL, &opened);
    START(&line, eddy_reader_readline(opened.reader, got_read, &line));
    settle(pipes.loop);
    CHECK_INT(line.count, 0);
    close_far(&pipes.far_in);
    RUN_UNTIL(pipes.loop, line.count > 0);
    if (line.code != 0) { /* the end on some systems, an error on others */
        CHECK_INT(line.code, EDDY_ELOST);
        CHECK_INT(line.system, EIO);
    }
    CHECK_INT(line.len, 0);
    unplumb(&pipes);
}

TEST(a_socket_may_stand_where_a_pipe_does, "P1 W13")
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .far_out = -1 };
    int ends[2];
    GOT(opened);
    plain_unix_pair(ends);
    pipes.far_in = ends[1];
    open_ends(pipes.loop, ends[0], ends[0], NULL, &opened);
    pipes.reader = opened.reader;
    put(pipes.far_in, "in\n");
    CHECK_LINE(&pipes, "in\n");
    CHECK_INT(eddy_writer_write(opened.writer, "out", 3), 0);
    CHECK_INT(eddy_writer_write_eof(opened.writer), 0);
    settle(pipes.loop);
    CHECK_STR(get(pipes.far_in), "out");
    CHECK_STR(get(pipes.far_in), ""); /* although the other end of it is still read from */
    put(pipes.far_in, "and in\n");
    CHECK_LINE(&pipes, "and in\n");
    unplumb(&pipes);
}

/* Starts a program with its standard input and output connected to eddy. */
static pid_t start_program(struct plumbing *pipes, const char *command)
{
    int in[2], out[2];
    GOT(opened);
    make_pipe(in);
    make_pipe(out);
    pid_t child = plain_ok(fork(), "fork");
    if (child == 0) {
        dup2(out[0], 0);
        dup2(in[1], 1);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(out[0]);
    close(in[1]);
    *pipes = (struct plumbing){ .loop = eddy_loop_new(), .in = in[0], .out = out[1], .far_in = -1, .far_out = -1 };
    open_ends(pipes->loop, in[0], out[1], NULL, &opened);
    pipes->reader = opened.reader;
    pipes->writer = opened.writer;
    return child;
}

TEST(a_program_is_given_its_input_and_read_to_its_end, "P4")
{
    struct plumbing pipes;
    GOT(drained);
    GOT(all);
    int status, system;
    char *bytes = plain_fill(500000);
    pid_t child = start_program(&pipes, "cat");
    CHECK(eddy_writer_write(pipes.writer, bytes, 500000) >= 0);
    START(&drained, eddy_writer_drain(pipes.writer, got_writer, &drained));
    START(&all, eddy_reader_readall(pipes.reader, 1000000, got_read, &all));
    RUN_UNTIL(pipes.loop, drained.count > 0);
    CHECK_INT(drained.code, 0);
    CHECK_INT(eddy_writer_write_eof(pipes.writer), 0);
    RUN_UNTIL(pipes.loop, all.count > 0);
    CHECK_INT(all.code, 0);
    CHECK_INT(all.len, 500000);
    plain_check_pattern(all.bytes, all.len, 0);
    CHECK_INT(how_it_closed(pipes.loop, pipes.writer, &system), 0);
    plain_ok(waitpid(child, &status, 0), "waitpid");
    CHECK_INT(status, 0);
    free(bytes);
    unplumb(&pipes);
}

TEST(a_program_that_does_not_want_its_input_is_heard_all_the_same, "P3 P4")
{
    struct plumbing pipes;
    GOT(all);
    int status, system;
    char *bytes = plain_fill(500000);
    pid_t child = start_program(&pipes, "exec <&-; sleep 0.1; echo no thanks");
    CHECK(eddy_writer_write(pipes.writer, bytes, 500000) >= 0);
    CHECK_INT(how_it_drained(pipes.loop, pipes.writer, &system), EDDY_ELOST);
    CHECK_INT(system, EPIPE);
    CHECK_INT(eddy_writer_write(pipes.writer, bytes, 500000), 0); /* dropped, as on any lost connection */
    START(&all, eddy_reader_readall(pipes.reader, 1000000, got_read, &all));
    RUN_UNTIL(pipes.loop, all.count > 0);
    CHECK_BYTES(all.bytes, all.len, "no thanks\n");
    CHECK_INT(how_it_closed(pipes.loop, pipes.writer, &system), EDDY_ELOST);
    CHECK_INT(system, EPIPE);
    plain_ok(waitpid(child, &status, 0), "waitpid");
    CHECK_INT(status, 0);
    free(bytes);
    unplumb(&pipes);
}

/* ---- whoever read there has gone ---------------------------------------------------------------------------- */

TEST(a_writer_hears_that_its_reader_has_gone_without_writing, "P3")
{
    struct plumbing pipes = plumb(WRITES);
    GOT(closed);
    START(&closed, eddy_writer_wait_closed(pipes.writer, got_writer, &closed));
    settle(pipes.loop);
    CHECK_INT(closed.count, 0);
    close_far(&pipes.far_out);
    RUN_UNTIL(pipes.loop, closed.count > 0);
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK_INT(closed.system, EPIPE);
    CHECK(eddy_writer_is_closing(pipes.writer));
    CHECK(!plain_is_open(pipes.out));
    unplumb(&pipes);
}

TEST(drains_end_when_the_reader_of_a_pipe_goes, "P3 F8 F13")
{
    struct plumbing pipes = plumb(WRITES);
    GOT(first);
    GOT(second);
    int system;
    char *bytes = plain_fill(400000);
    CHECK_INT(eddy_writer_write(pipes.writer, bytes, 400000), 1);
    START(&first, eddy_writer_drain(pipes.writer, got_writer, &first));
    START(&second, eddy_writer_drain(pipes.writer, got_writer, &second));
    settle(pipes.loop);
    CHECK_INT(first.count + second.count, 0);
    close_far(&pipes.far_out);
    RUN_UNTIL(pipes.loop, first.count + second.count == 2);
    CHECK_INT(first.code, EDDY_ELOST);
    CHECK_INT(first.system, EPIPE);
    CHECK_INT(second.system, EPIPE);
    CHECK_INT(eddy_writer_get_write_buffer_size(pipes.writer), 0);
    CHECK_INT(eddy_writer_write(pipes.writer, "x", 1), 0);
    CHECK_INT(how_it_drained(pipes.loop, pipes.writer, &system), EDDY_ELOST);
    CHECK_INT(system, EPIPE);
    CHECK_INT(eddy_loop_run(pipes.loop), 0); /* nothing is left to wait for */
    free(bytes);
    unplumb(&pipes);
}

TEST(reading_goes_on_when_the_reader_of_the_other_pipe_has_gone, "P3 P4")
{
    struct plumbing pipes = plumb(READS | WRITES);
    int system;
    close_far(&pipes.far_out);
    CHECK_INT(eddy_writer_write(pipes.writer, "into the void", 13), 0);
    CHECK_INT(how_it_drained(pipes.loop, pipes.writer, &system), EDDY_ELOST);
    CHECK_INT(system, EPIPE);
    CHECK(eddy_writer_is_closing(pipes.writer));
    CHECK(eddy_transport_is_reading(eddy_writer_transport(pipes.writer)));
    put(pipes.far_in, "one\ntwo");
    CHECK_LINE(&pipes, "one\n");
    CHECK_INT(eddy_writer_write(pipes.writer, "still", 5), 0);
    CHECK_INT(how_it_drained(pipes.loop, pipes.writer, &system), EDDY_ELOST);
    CHECK_INT(system, EPIPE);
    CHECK(eddy_reader_exception(pipes.reader) == NULL);
    close_far(&pipes.far_in);
    CHECK_LINE(&pipes, "two");
    CHECK_LINE(&pipes, "");
    CHECK_INT(how_it_closed(pipes.loop, pipes.writer, &system), EDDY_ELOST);
    CHECK_INT(system, EPIPE);
    unplumb(&pipes);
}

TEST(a_broken_pipe_can_be_closed_while_the_other_is_open, "P3 K1")
{
    struct plumbing pipes = plumb(READS | WRITES);
    GOT(closed);
    close_far(&pipes.far_out);
    end_pump(pipes.loop, 5);
    START(&closed, eddy_writer_wait_closed(pipes.writer, got_writer, &closed));
    settle(pipes.loop);
    CHECK_INT(closed.count, 0); /* it is still read from */
    CHECK_INT(eddy_writer_close(pipes.writer), 0);
    settle(pipes.loop);
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.system, EPIPE);
    CHECK(!plain_is_open(pipes.in));
    unplumb(&pipes);
}

TEST(a_pipe_that_breaks_while_it_is_closing_is_closed, "P3 K3")
{
    struct plumbing pipes = plumb(READS | WRITES);
    GOT(closed);
    char *bytes = plain_fill(400000);
    CHECK_INT(eddy_writer_write(pipes.writer, bytes, 400000), 1);
    CHECK_INT(eddy_writer_close(pipes.writer), 0);
    START(&closed, eddy_writer_wait_closed(pipes.writer, got_writer, &closed));
    settle(pipes.loop);
    CHECK_INT(closed.count, 0);
    close_far(&pipes.far_out);
    RUN_UNTIL(pipes.loop, closed.count > 0);
    CHECK_INT(closed.code, EDDY_ELOST);
    CHECK_INT(closed.system, EPIPE);
    CHECK(!plain_is_open(pipes.in));
    free(bytes);
    unplumb(&pipes);
}

static volatile sig_atomic_t caught;

static void on_sigpipe(int signal)
{
    (void)signal;
    caught++;
}

static bool sigpipe_waits(void)
{
    sigset_t waiting;
    sigpending(&waiting);
    return sigismember(&waiting, SIGPIPE) == 1;
}

/* Writes until the pipe breaks. */
static void break_a_pipe(void)
{
    struct plumbing pipes = plumb(WRITES);
    int system;
    close_far(&pipes.far_out);
    for (int i = 0; i < 3; i++) {
        CHECK(eddy_writer_write(pipes.writer, "x", 1) >= 0);
        CHECK_INT(how_it_drained(pipes.loop, pipes.writer, &system), EDDY_ELOST);
        CHECK_INT(system, EPIPE);
    }
    unplumb(&pipes);
}

TEST(no_signal_is_raised_and_none_of_the_hosts_is_lost, "P3")
{
    struct sigaction before, after;
    sigset_t sigpipe, mask;
    break_a_pipe(); /* with the default action: this process would be dead */
    sigaction(SIGPIPE, NULL, &after);
    CHECK(after.sa_handler == SIG_DFL);

    struct sigaction catching = { .sa_handler = on_sigpipe };
    sigaction(SIGPIPE, &catching, &before);
    break_a_pipe();
    CHECK_INT(caught, 0);
    sigaction(SIGPIPE, NULL, &after);
    CHECK(after.sa_handler == on_sigpipe);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    CHECK_INT(sigismember(&mask, SIGPIPE), 0);

    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
    break_a_pipe();
    CHECK(!sigpipe_waits());
    raise(SIGPIPE); /* the host's own, which it means to take later */
    break_a_pipe();
    CHECK(sigpipe_waits());
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    CHECK_INT(sigismember(&mask, SIGPIPE), 1);
    pthread_sigmask(SIG_UNBLOCK, &sigpipe, NULL);
    CHECK_INT(caught, 1);

    catching.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &catching, NULL);
    break_a_pipe();
    pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
    break_a_pipe();
    CHECK(!sigpipe_waits());
    pthread_sigmask(SIG_UNBLOCK, &sigpipe, NULL);
    sigaction(SIGPIPE, &before, NULL);
}

/* ---- one side is faster than the other ------------------------------------------------------------------------ */

TEST(a_pipe_that_is_full_holds_the_writer_back, "P1 W1 F2 F10")
{
    struct plumbing pipes = plumb(WRITES);
    GOT(drained);
    char *bytes = plain_fill(400000), got[40000];
    size_t came = 0;
    CHECK_INT(eddy_writer_write(pipes.writer, bytes, 400000), 1);
    START(&drained, eddy_writer_drain(pipes.writer, got_writer, &drained));
    settle(pipes.loop);
    size_t left = eddy_writer_get_write_buffer_size(pipes.writer);
    CHECK(left > 0 && left < 400000); /* the kernel keeps some of it */
    while (came < 400000) {
        ssize_t n = read(pipes.far_out, got, sizeof got);
        plain_ok(n < 0 ? -1 : 0, "read");
        plain_check_pattern(got, (size_t)n, came);
        came += (size_t)n;
        settle(pipes.loop);
        left = eddy_writer_get_write_buffer_size(pipes.writer);
        CHECK_INT(drained.count, left <= 16384); /* at the low mark, not before and not later */
    }
    CHECK_INT(drained.code, 0);
    free(bytes);
    unplumb(&pipes);
}

TEST(a_pipe_that_nobody_reads_is_paused, "P1 R80 R81")
{
    struct plumbing pipes = plumb_with(READS, EDDY_OPTIONS(.limit = 1000));
    eddy_transport *transport = eddy_writer_transport(pipes.writer);
    char *bytes = plain_fill(1000000);
    size_t sent = 0, came = 0;
    plain_ok(fcntl(pipes.far_in, F_SETFL, O_NONBLOCK), "F_SETFL");
    for (int stuck = 0; stuck < 3;) {
        ssize_t n = write(pipes.far_in, bytes + sent, 1000000 - sent);
        stuck = n > 0 ? 0 : stuck + 1;
        if (n > 0) sent += (size_t)n;
        settle(pipes.loop);
    }
    CHECK(sent < 500000);
    CHECK(!eddy_transport_is_reading(transport));
    CHECK(eddy_reader_buffered(pipes.reader, NULL) > 2000);
    while (came < 1000000) {
        GOT(some);
        START(&some, eddy_reader_read(pipes.reader, 900, got_read, &some));
        if (sent < 1000000) {
            ssize_t n = write(pipes.far_in, bytes + sent, 1000000 - sent);
            if (n > 0) sent += (size_t)n;
        }
        RUN_UNTIL(pipes.loop, some.count > 0);
        plain_check_pattern(some.bytes, some.len, came);
        came += some.len;
    }
    free(bytes);
    unplumb(&pipes);
}

/* ---- closing ------------------------------------------------------------------------------------------------- */

TEST(closing_sends_what_is_gathered_and_closes_both_ends, "P1 K1")
{
    struct plumbing pipes = plumb(READS | WRITES);
    GOT(line);
    GOT(closed);
    char *bytes = plain_fill(200000), got[65536];
    size_t came = 0;
    CHECK(eddy_writer_write(pipes.writer, bytes, 200000) >= 0);
    START(&line, eddy_reader_readline(pipes.reader, got_read, &line));
    START(&closed, eddy_writer_wait_closed(pipes.writer, got_writer, &closed));
    CHECK_INT(eddy_writer_close(pipes.writer), 0);
    settle(pipes.loop);
    CHECK_INT(closed.count, 0);
    for (ssize_t n; (n = read(pipes.far_out, got, sizeof got)) > 0; came += (size_t)n) {
        plain_check_pattern(got, (size_t)n, came);
        settle(pipes.loop);
    }
    CHECK_INT(came, 200000);
    CHECK_INT(closed.count, 1);
    CHECK_INT(closed.code, 0);
    CHECK_INT(line.count, 1); /* ended, as with a socket */
    CHECK_INT(line.len, 0);
    CHECK(!plain_is_open(pipes.in) && !plain_is_open(pipes.out));
    free(bytes);
    unplumb(&pipes);
}

TEST(abort_drops_what_is_gathered, "P1 K5")
{
    struct plumbing pipes = plumb(READS | WRITES);
    int system;
    CHECK_INT(eddy_writer_write(pipes.writer, "never seen", 10), 0);
    CHECK_INT(eddy_writer_abort(pipes.writer), 0);
    CHECK_INT(how_it_closed(pipes.loop, pipes.writer, &system), 0);
    CHECK_STR(get(pipes.far_out), "");
    CHECK(!plain_is_open(pipes.in) && !plain_is_open(pipes.out));
    unplumb(&pipes);
}

TEST(a_loop_that_is_freed_closes_its_pipes, "P1")
{
    struct plumbing pipes = plumb(READS | WRITES);
    GOT(line);
    GOT(drained);
    char *bytes = plain_fill(400000);
    CHECK_INT(eddy_writer_write(pipes.writer, bytes, 400000), 1);
    START(&line, eddy_reader_readline(pipes.reader, got_read, &line));
    START(&drained, eddy_writer_drain(pipes.writer, got_writer, &drained));
    unplumb(&pipes);
    CHECK_INT(line.count, 1);
    CHECK_INT(line.code, EDDY_ECANCELED);
    CHECK_INT(drained.count, 1);
    CHECK_INT(drained.code, EDDY_ECANCELED);
    CHECK(!plain_is_open(pipes.in) && !plain_is_open(pipes.out));
    free(bytes);
}

TEST(an_opening_that_is_cancelled_closes_what_it_was_given, "P1 O6")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    int in[2], out[2];
    make_pipe(in);
    make_pipe(out);
    eddy_op op = START(&opened, eddy_open_pipe(loop, in[0], out[1], NULL, got_stream, &opened));
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    settle(loop);
    CHECK_INT(opened.count, 1);
    CHECK_INT(opened.code, EDDY_ECANCELED);
    CHECK(!plain_is_open(in[0]) && !plain_is_open(out[1]));
    close(in[1]);
    close(out[0]);
    eddy_loop_free(loop);
}

/* ---- what is refused ----------------------------------------------------------------------------------------- */

struct before {
    int fd, status, flags;
};

static struct before remember(int fd)
{
    return (struct before){ fd, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD) };
}

static void check_untouched(struct before before)
{
    CHECK_INT(fcntl(before.fd, F_GETFL), before.status);
    CHECK_INT(fcntl(before.fd, F_GETFD), before.flags);
}

static void check_refused(eddy_loop *loop, int read_fd, int write_fd, int code)
{
    GOT(opened);
    eddy_op op = eddy_open_pipe(loop, read_fd, write_fd, NULL, got_stream, &opened);
    if (op != code) FAIL("%d and %d: %lld instead of %d", read_fd, write_fd, (long long)op, code);
    settle(loop);
    CHECK_INT(opened.count, 0);
}

TEST(what_cannot_be_waited_for_is_refused_and_stays_the_callers, "P1")
{
    eddy_loop *loop = eddy_loop_new();
    const char *directory = plain_directory();
    char path[120];
    int ends[2];
    make_pipe(ends);
    plain_path(path, sizeof path, directory, "file");
    int others[] = {
        plain_ok(open(path, O_RDWR | O_CREAT, 0600), "open a file"),
        plain_ok(open("/dev/null", O_RDWR), "open /dev/null"),
        plain_ok(open(directory, O_RDONLY | O_DIRECTORY), "open a directory"),
    };
    struct before good = remember(ends[0]), good_too = remember(ends[1]);
    for (size_t i = 0; i < 3; i++) {
        struct before bad = remember(others[i]);
        check_refused(loop, others[i], -1, EDDY_ENOTSUP);
        check_refused(loop, others[i], ends[1], EDDY_ENOTSUP);
        if (i < 2) check_refused(loop, -1, others[i], EDDY_ENOTSUP);
        if (i < 2) check_refused(loop, ends[0], others[i], EDDY_ENOTSUP);
        check_untouched(bad);
        close(others[i]);
    }
    check_untouched(good);
    check_untouched(good_too);
    GOT(opened);
    open_ends(loop, ends[0], ends[1], NULL, &opened); /* and can be opened still: a pipe to oneself */
    eddy_loop_free(loop);
    unlink(path);
    CHECK_INT(rmdir(directory), 0);
}

TEST(descriptors_that_make_no_sense_are_refused, "P1")
{
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    int ends[2], gone[2];
    make_pipe(ends);
    make_pipe(gone);
    close(gone[0]);
    close(gone[1]);
    struct before in = remember(ends[0]), out = remember(ends[1]);
    check_refused(loop, -1, -1, EDDY_EINVAL);
    check_refused(loop, -2, -1, EDDY_EINVAL);
    check_refused(loop, gone[0], -1, EDDY_EINVAL);
    check_refused(loop, -1, gone[1], EDDY_EINVAL);
    check_refused(loop, ends[0], gone[1], EDDY_EINVAL);
    check_refused(loop, ends[1], -1, EDDY_EINVAL); /* opened for the other direction */
    check_refused(loop, -1, ends[0], EDDY_EINVAL);
    check_refused(loop, ends[0], ends[0], EDDY_EINVAL);
    CHECK_INT(eddy_open_pipe(loop, (intptr_t)1 << 40, -1, NULL, got_stream, &opened), EDDY_EINVAL);
    CHECK_INT(eddy_open_pipe(loop, ends[0], -1, NULL, NULL, NULL), EDDY_EINVAL);
    CHECK_INT(eddy_open_pipe(loop, ends[0], -1, EDDY_OPTIONS(.local_port = 1), got_stream, &opened), EDDY_EINVAL);
    check_untouched(in);
    check_untouched(out);
    settle(loop);
    CHECK_INT(opened.count, 0);
    close(ends[0]);
    close(ends[1]);
    eddy_loop_free(loop);
}

TEST(what_is_eddys_already_is_refused, "P1")
{
    struct plumbing pipes = plumb(READS | WRITES);
    struct end end = end_unix_on(pipes.loop, NULL);
    check_refused(pipes.loop, pipes.in, -1, EDDY_EBUSY);
    check_refused(pipes.loop, -1, pipes.out, EDDY_EBUSY);
    check_refused(pipes.loop, end.fd, -1, EDDY_EBUSY);
    check_refused(pipes.loop, -1, end.fd, EDDY_EBUSY);
    put(pipes.far_in, "undisturbed\n");
    CHECK_LINE(&pipes, "undisturbed\n");
    CHECK_INT(eddy_writer_write(pipes.writer, "undisturbed", 11), 0);
    settle(pipes.loop);
    CHECK_STR(get(pipes.far_out), "undisturbed");
    end_close_peer(&end);
    unplumb(&pipes);
}

/* ---- what is changed is put back ------------------------------------------------------------------------------- */

TEST(what_was_blocking_is_so_again, "P1")
{
    enum { CLOSE, ABORT, FREE, LOOP, END, CANCEL, WAYS };
    for (int way = 0; way < WAYS; way++) {
        for (int blocking = 0; blocking < 2; blocking++) {
            eddy_loop *loop = eddy_loop_new();
            GOT(opened);
            int in[2], out[2];
            make_pipe(in);
            make_pipe(out);
            int flags = blocking ? 0 : O_NONBLOCK;
            plain_ok(fcntl(in[0], F_SETFL, flags), "F_SETFL");
            plain_ok(fcntl(out[1], F_SETFL, flags), "F_SETFL");
            int in_too = plain_ok(dup(in[0]), "dup"), out_too = plain_ok(dup(out[1]), "dup");
            eddy_op op = START(&opened, eddy_open_pipe(loop, in[0], out[1], NULL, got_stream, &opened));
            CHECK(is_nonblocking(in_too) && is_nonblocking(out_too));
            if (way != CANCEL) RUN_UNTIL(loop, opened.count > 0);
            if (way == CLOSE) eddy_writer_close(opened.writer);
            if (way == ABORT) eddy_writer_abort(opened.writer);
            if (way == FREE) eddy_writer_free(opened.writer);
            if (way == CANCEL) eddy_loop_cancel(loop, op);
            if (way == END) close(in[1]), close(out[0]);
            if (way == LOOP) eddy_loop_free(loop);
            else end_pump(loop, 2);
            CHECK(!plain_is_open(in[0]) && !plain_is_open(out[1]));
            CHECK_INT(is_nonblocking(in_too), !blocking);
            CHECK_INT(is_nonblocking(out_too), !blocking);
            if (way != END) close(in[1]), close(out[0]);
            close(in_too);
            close(out_too);
            if (way != LOOP) eddy_loop_free(loop);
        }
    }
}

static void *opens_and_ends(void *arg)
{
    int *fds = arg;
    eddy_loop *loop = eddy_loop_new();
    GOT(opened);
    open_ends(loop, fds[0], fds[1], NULL, &opened);
    return NULL; /* without a word */
}

TEST(a_thread_that_ends_puts_back_what_it_changed, "P1")
{
    int ends[2];
    make_pipe(ends);
    int too[2] = { plain_ok(dup(ends[0]), "dup"), plain_ok(dup(ends[1]), "dup") };
    plain_join(plain_start(opens_and_ends, ends));
    CHECK(!plain_is_open(ends[0]) && !plain_is_open(ends[1]));
    CHECK(!is_nonblocking(too[0]) && !is_nonblocking(too[1]));
    close(too[0]);
    close(too[1]);
}

static void free_in_a_child(struct plumbing *pipes)
{
    int status;
    pid_t child = plain_ok(fork(), "fork");
    if (child == 0) {
        eddy_loop_free(pipes->loop);
        _exit(plain_is_open(pipes->in) || plain_is_open(pipes->out));
    }
    plain_ok(waitpid(child, &status, 0), "waitpid");
    CHECK_INT(status, 0); /* it has closed its copies */
    CHECK(is_nonblocking(pipes->in) && is_nonblocking(pipes->out));
}

static void frees_in_a_child(struct got *got, void *data)
{
    (void)got;
    free_in_a_child(data);
}

TEST(a_forked_child_leaves_the_parents_open_files_alone, "P1")
{
    struct plumbing pipes = plumb(READS | WRITES);
    GOT(soon);
    free_in_a_child(&pipes);
    soon.then = frees_in_a_child; /* from within a callback, too */
    soon.data = &pipes;
    START(&soon, eddy_loop_call_soon(pipes.loop, got_loop, &soon));
    RUN_UNTIL(pipes.loop, soon.count > 0);
    put(pipes.far_in, "still watched\n");
    CHECK_LINE(&pipes, "still watched\n");
    unplumb(&pipes);
}

TEST(ends_that_share_one_open_file_go_on_without_each_other, "P1")
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .far_out = -1 };
    int ends[2];
    GOT(opened);
    plain_unix_pair(ends);
    pipes.far_in = ends[1];
    int too = plain_ok(dup(ends[0]), "dup");
    open_ends(pipes.loop, ends[0], ends[0], NULL, &opened);
    pipes.reader = opened.reader;
    shutdown(pipes.far_in, SHUT_WR);
    CHECK_LINE(&pipes, ""); /* so this end of it is closed */
    CHECK(!plain_is_open(ends[0]));
    CHECK(is_nonblocking(too)); /* or the next write might hold up the loop */
    CHECK_INT(eddy_writer_close(opened.writer), 0);
    settle(pipes.loop);
    CHECK(!is_nonblocking(too));
    close(too);
    unplumb(&pipes);
}

TEST(streams_that_share_one_open_file_go_on_without_each_other, "P1")
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .far_out = -1 };
    int ends[2];
    GOT(reads);
    GOT(writes);
    plain_unix_pair(ends);
    pipes.far_in = ends[1];
    int second = plain_ok(dup(ends[0]), "dup"), too = plain_ok(dup(ends[0]), "dup");
    open_ends(pipes.loop, ends[0], -1, NULL, &reads);
    open_ends(pipes.loop, -1, second, NULL, &writes);
    eddy_writer_free(reads.writer);
    settle(pipes.loop);
    CHECK(!plain_is_open(ends[0]));
    CHECK(is_nonblocking(too));
    eddy_writer_free(writes.writer);
    settle(pipes.loop);
    CHECK(!plain_is_open(second));
    CHECK(!is_nonblocking(too));
    close(too);
    unplumb(&pipes);
}

TEST(a_closed_copy_is_watched_no_more, "P1")
{
    struct plumbing pipes = plumb(READS);
    int in_too = plain_ok(dup(pipes.in), "dup"); /* keeps the open file alive, as a parent's copy does */
    CHECK_INT(eddy_writer_close(pipes.writer), 0);
    settle(pipes.loop);
    struct pollfd events = { .fd = eddy_loop_fd(pipes.loop), .events = POLLIN };
    CHECK_INT(poll(&events, 1, 0), 0);
    put(pipes.far_in, "for somebody else");
    CHECK_INT(poll(&events, 1, 0), 0);
    close(in_too);
    unplumb(&pipes);
}

/* ---- standard input and output ----------------------------------------------------------------------------------- */

/* Puts something else in the place of 0 and 1, and puts them back. What this program prints is for the old ones. */
struct standard {
    int old[2];
};

static struct standard replace_standard(int in, int out)
{
    struct standard standard = { { fcntl(0, F_DUPFD_CLOEXEC, 3), fcntl(1, F_DUPFD_CLOEXEC, 3) } };
    CHECK(standard.old[0] >= 0 && standard.old[1] >= 0);
    plain_ok(dup2(in, 0), "dup2");
    plain_ok(dup2(out, 1), "dup2");
    return standard;
}

static void put_back(struct standard standard)
{
    for (int fd = 0; fd < 2; fd++) {
        plain_ok(dup2(standard.old[fd], fd), "dup2");
        close(standard.old[fd]);
    }
}

TEST(standard_input_and_output_stay_the_hosts, "P1")
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .far_out = -1 };
    int in[2], out[2], copies[2];
    GOT(opened);
    make_pipe(in);
    make_pipe(out);
    struct standard standard = replace_standard(in[0], out[1]);
    close(in[0]);
    close(out[1]);
    open_ends(pipes.loop, 0, 1, NULL, &opened);
    pipes.reader = opened.reader;
    sscanf(eddy_writer_get_extra_info(opened.writer, "pipe", NULL), "%d,%d", &copies[0], &copies[1]);
    CHECK(copies[0] > 2 && copies[1] > 2);
    check_refused(pipes.loop, 0, -1, EDDY_EBUSY);
    check_refused(pipes.loop, -1, 1, EDDY_EBUSY);
    put(in[1], "from stdin\n");
    CHECK_LINE(&pipes, "from stdin\n");
    CHECK_INT(eddy_writer_write(opened.writer, "to stdout\n", 10), 0);
    settle(pipes.loop);
    CHECK_STR(get(out[0]), "to stdout\n");
    CHECK_INT(eddy_writer_write_eof(opened.writer), 0);
    settle(pipes.loop);
    CHECK(!plain_is_open(copies[1]));
    put(1, "printed"); /* the host's own, which nobody has closed */
    CHECK_STR(get(out[0]), "printed");
    eddy_writer_free(opened.writer);
    settle(pipes.loop);
    CHECK(!plain_is_open(copies[0]));
    CHECK(!is_nonblocking(0) && !is_nonblocking(1));
    open_ends(pipes.loop, 0, 1, NULL, &opened); /* free again */
    eddy_loop_free(pipes.loop);
    CHECK(!is_nonblocking(0) && !is_nonblocking(1));
    put(in[1], "for the host");
    CHECK_STR(get(0), "for the host");
    put_back(standard);
    close(in[1]);
    close(out[0]);
}

TEST(a_standard_terminal_is_left_as_it_is, "P1")
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .far_out = -1 };
    int terminal;
    GOT(opened);
    if (!make_terminal(&terminal, &pipes.far_in)) {
        eddy_loop_free(pipes.loop);
        return;
    }
    struct standard standard = replace_standard(terminal, terminal); /* one open file, as a shell has it */
    open_ends(pipes.loop, 0, 1, NULL, &opened);
    pipes.reader = opened.reader;
    bool untouched = !is_nonblocking(0) && !is_nonblocking(1);
    put(pipes.far_in, "typed\n");
    CHECK_LINE(&pipes, "typed\n");
    CHECK_INT(eddy_writer_write(opened.writer, "shown", 5), 0);
    settle(pipes.loop);
    CHECK_STR(get(pipes.far_in), "shown");
    eddy_loop_free(pipes.loop);
    CHECK(!is_nonblocking(0) && !is_nonblocking(1));
    put_back(standard);
    CHECK(untouched || access("/proc/self/fd", F_OK) != 0);
    close(terminal);
    close(pipes.far_in);
}

TEST(a_standard_socket_is_shared_and_put_back, "P1")
{
    struct plumbing pipes = { .loop = eddy_loop_new(), .far_out = -1 };
    int ends[2];
    GOT(opened);
    plain_unix_pair(ends); /* as whoever listens for a program hands it over */
    pipes.far_in = ends[1];
    struct standard standard = replace_standard(ends[0], ends[0]);
    close(ends[0]);
    open_ends(pipes.loop, 0, 1, NULL, &opened);
    pipes.reader = opened.reader;
    CHECK(is_nonblocking(0));
    put(pipes.far_in, "in\n");
    CHECK_LINE(&pipes, "in\n");
    CHECK_INT(eddy_writer_write(opened.writer, "out", 3), 0);
    CHECK_INT(eddy_writer_write_eof(opened.writer), 0);
    settle(pipes.loop);
    CHECK_STR(get(pipes.far_in), "out");
    put(1, "printed"); /* would be a signal if it had been shut down */
    CHECK_STR(get(pipes.far_in), "printed");
    eddy_writer_free(opened.writer);
    settle(pipes.loop);
    CHECK(!is_nonblocking(0));
    put_back(standard);
    unplumb(&pipes);
}
