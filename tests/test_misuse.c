/* Everything that a caller can do wrong, and everything that can be done at the worst moment: an error, at once, and
 * never undefined behaviour. The table of all functions is in misuse.h; misuse_complete.py checks that it is one. */
#include "misuse.h"

#include <dirent.h>
#include <limits.h>

/* A few turns, so that whatever was wrongly started would show. */
static void turns(eddy_loop *loop)
{
    for (int turn = 0; turn < 5; turn++) CHECK(eddy_loop_run_once(loop, 0) >= 0);
}

static int threads(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/task");
    while (dir != NULL && readdir(dir) != NULL) count++;
    if (dir != NULL) closedir(dir);
    return count;
}

/* The system's resolver cannot be interrupted: what it has open is closed when its threads are done. */
static void resolvers_end(int threads_before)
{
    for (int i = 0; i < 4000 && threads() > threads_before; i++) usleep(10000);
}

/* The end of most tests: free the loop, and see that every promise was kept. */
static void finish(eddy_loop *loop)
{
    eddy_loop_free(loop);
    asks_check();
    owns_check();
    far_ends_close();
}

static eddy_loop *begin(void)
{
    eddy_loop *loop = eddy_loop_new();
    CHECK(loop != NULL);
    CHECK_INT(eddy_loop_set_exception_handler(loop, reported, NULL), 0);
    reports_clear();
    return loop;
}

/* ---- handles that are not what they should be ---------------------------------------------------------- */

static void check_refused(const struct call *call, void *handle, int code, const char *why)
{
    const size_t before = asks_made;
    const long long answer = call->call(handle);
    const long long expected = call->answer == CODE ? code : answer_refused[call->answer];
    if (answer != expected)
        FAIL("%s of %s gives %lld, not %lld", call->name, why, answer, expected);
    for (size_t i = before; i < asks_made; i++)
        if (asks[i].called != 0) FAIL("%s of %s called back", call->name, why);
}

/* Refused, and reported by its name where a return code does not tell. */
static void check_refused_and_reported(const struct call *call, void *handle, eddy_loop *loop, const char *why)
{
    reports_clear();
    check_refused(call, handle, EDDY_ESTALE, why);
    if (reports_count != 0) FAIL("%s of %s reports from within the call", call->name, why);
    turns(loop);
    if (call->answer != CODE && !reported_by(call->name))
        FAIL("%s of %s does not report, but:%s", call->name, why, reports_text);
}

/* Every handle of the cast still is what it was. */
static void check_alive(const struct cast *cast)
{
    CHECK(!eddy_loop_is_running(cast->of[LOOP]));
    CHECK(eddy_loop_fd(cast->of[LOOP]) >= 0);
    CHECK(eddy_loop_timeout(cast->of[LOOP]) >= 0); /* its timer */
    CHECK_INT(eddy_reader_buffered(cast->of[READER], NULL), 0);
    CHECK(!eddy_writer_is_closing(cast->of[WRITER]));
    CHECK(eddy_server_is_serving(cast->of[SERVER]));
    CHECK_INT(eddy_protocol_data_received(cast->of[PROTOCOL], NULL, 0), 0);
    CHECK(eddy_transport_is_reading(cast->of[TRANSPORT]));
}

TEST(every_function_takes_a_live_handle, "S1 S2 S3 S4")
{
    struct cast cast;
    cast_make(&cast);
    for (size_t i = 0; i < CALLS; i++) {
        if (calls[i].manner == FREES) continue;
        const long long answer = calls[i].call(cast.of[calls[i].takes]);
        if (calls[i].answer == CODE && (answer == EDDY_ESTALE || answer == EDDY_ETHREAD || answer == EDDY_EINVAL))
            FAIL("%s of a live %s gives %lld", calls[i].name, kind_names[calls[i].takes], answer);
    }
    cast_free(&cast);
    CHECK(asks_check() > 12);
    owns_check();
    far_ends_close();
}

TEST(null_handles_are_refused, "a01")
{
    struct cast cast;
    cast_make(&cast);
    for (size_t i = 0; i < CALLS; i++) {
        if (calls[i].manner == FREES) {
            reports_clear();
            calls[i].call(NULL);
            turns(cast.of[LOOP]);
            if (reports_count != 0) FAIL("%s of NULL reports:%s", calls[i].name, reports_text);
        } else {
            check_refused_and_reported(&calls[i], NULL, cast.of[LOOP], "NULL");
        }
    }
    check_alive(&cast);
    cast_free(&cast);
    asks_check();
    owns_check();
    far_ends_close();
}

TEST(handles_of_another_kind_are_refused, "")
{
    struct cast cast;
    cast_make(&cast);
    for (size_t i = 0; i < CALLS; i++) {
        for (size_t kind = 0; kind < KINDS; kind++) {
            if (kind == calls[i].takes) continue;
            check_refused_and_reported(&calls[i], cast.of[kind], cast.of[LOOP], kind_names[kind]);
        }
    }
    check_alive(&cast);
    cast_free(&cast);
    asks_check();
    owns_check();
    far_ends_close();
}

TEST(handles_that_were_never_made_are_refused, "a05")
{
    struct cast cast;
    int here = 0;
    cast_make(&cast);
    for (size_t i = 0; i < CALLS; i++) {
        const uintptr_t real = (uintptr_t)cast.of[calls[i].takes];
        const uintptr_t made_up[] = {
            1, 8, UINTPTR_MAX, UINTPTR_MAX - 1, (uintptr_t)&here, (uintptr_t)&calls[i], real ^ 0x100000,
            real ^ 0x80000, real ^ ((uintptr_t)1 << (sizeof real * 8 - 1)), real + 0xffff, (uintptr_t)0xedd0 << 16,
        };
        for (size_t k = 0; k < sizeof made_up / sizeof made_up[0]; k++) {
            bool taken = false; /* a bit of another handle in this cast? */
            for (size_t kind = 0; kind < KINDS; kind++) taken |= made_up[k] == (uintptr_t)cast.of[kind];
            if (taken) continue;
            void *handle = (void *)made_up[k];
            check_refused(&calls[i], handle, EDDY_ESTALE, "something made up");
        }
        turns(cast.of[LOOP]);
    }
    check_alive(&cast);
    cast_free(&cast);
    asks_check();
    owns_check();
    far_ends_close();
}

TEST(freed_handles_are_refused, "a05")
{
    struct cast cast;
    cast_make(&cast);
    void *loop = cast.of[LOOP];
    eddy_reader *other_reader = eddy_reader_new(loop, 16);
    eddy_writer_free(cast.of[WRITER]);
    eddy_server_free(cast.of[SERVER]);
    eddy_protocol_free(cast.of[PROTOCOL]);
    eddy_reader_free(cast.of[READER]);
    eddy_protocol_free(cast.bare_protocol);
    turns(loop);
    turns(loop); /* the transport has been closed and released by now */
    for (size_t i = 0; i < CALLS; i++) {
        if (calls[i].takes == LOOP || calls[i].manner == OTHER_HANDLE) continue;
        if (calls[i].manner == FREES) {
            reports_clear();
            calls[i].call(cast.of[calls[i].takes]);
            turns(loop);
            if (reports_count != 0) FAIL("freeing twice reports:%s", reports_text);
        } else {
            check_refused_and_reported(&calls[i], cast.of[calls[i].takes], loop, "a freed handle");
        }
    }

    /* Their places are taken again, by others: the old handles stay refused. */
    void *next[3];
    for (size_t i = 0; i < 3; i++) next[i] = eddy_reader_new(loop, 16);
    CHECK_INT(eddy_reader_feed_data(cast.of[READER], "x", 1), EDDY_ESTALE);
    for (size_t i = 0; i < 3; i++) CHECK_INT(eddy_reader_buffered(next[i], NULL), 0);
    CHECK_INT(eddy_reader_set_transport(other_reader, cast.of[TRANSPORT]), EDDY_ESTALE);
    cast_free(&cast);
    asks_check();
    owns_check();
    far_ends_close();
}

TEST(handles_kept_from_a_freed_loop_are_refused, "")
{
    struct cast old;
    cast_make(&old);
    cast_free(&old);
    asks_check();
    owns_check();
    struct cast cast;
    cast_make(&cast);
    cast_now = &cast;
    for (size_t i = 0; i < CALLS; i++) {
        if (calls[i].manner == FREES) {
            reports_clear();
            calls[i].call(old.of[calls[i].takes]);
            turns(cast.of[LOOP]);
            if (reports_count != 0) FAIL("%s of a freed loop's reports:%s", calls[i].name, reports_text);
        } else {
            check_refused_and_reported(&calls[i], old.of[calls[i].takes], cast.of[LOOP], "a freed loop's");
        }
    }
    CHECK_INT(eddy_loop_cancel(cast.of[LOOP], old.later), EDDY_ESTALE);
    check_alive(&cast);
    CHECK_INT(eddy_loop_cancel(cast.of[LOOP], cast.later), 0);
    cast_free(&cast);
    asks_check();
    owns_check();
    far_ends_close();
}

TEST(handles_are_refused_when_no_loop_is_left, "")
{
    struct cast old;
    cast_make(&old);
    cast_free(&old);
    asks_check();
    owns_check();
    for (size_t i = 0; i < CALLS; i++) {
        check_refused(&calls[i], NULL, EDDY_ESTALE, "NULL without a loop");
        check_refused(&calls[i], old.of[calls[i].takes], EDDY_ESTALE, "a freed handle without a loop");
        check_refused(&calls[i], old.of[(calls[i].takes + 1) % KINDS], EDDY_ESTALE, "another kind without a loop");
    }
    asks_check();
    far_ends_close();
}

/* ---- another thread ------------------------------------------------------------------------------------ */

static void call_from_here(struct cast *theirs, eddy_loop *mine)
{
    for (size_t i = 0; i < CALLS; i++) {
        void *handle = theirs->of[calls[i].takes];
        if (calls[i].manner == ANY_THREAD) CHECK_INT(calls[i].call(handle), 0);
        else check_refused(&calls[i], handle, EDDY_ETHREAD, "another thread's loop");
        if (mine != NULL) turns(mine);
    }
}

static void *from_a_thread_without_a_loop(void *cast)
{
    call_from_here(cast, NULL);
    return NULL;
}

static void *from_a_thread_with_a_loop(void *cast)
{
    struct cast *theirs = cast, mine;
    cast_make(&mine);
    cast_now = theirs;
    call_from_here(theirs, mine.of[LOOP]);

    /* Two handles, one of each loop. */
    cast_now = &mine;
    CHECK(eddy_reader_set_transport(mine.bare_reader, theirs->of[TRANSPORT]) < 0);
    CHECK(eddy_protocol_connection_made(mine.bare_protocol, theirs->of[TRANSPORT]) < 0);
    CHECK(eddy_writer_new(mine.of[TRANSPORT], theirs->of[PROTOCOL], mine.of[READER]) == NULL);
    CHECK(eddy_writer_new(mine.of[TRANSPORT], mine.of[PROTOCOL], theirs->of[READER]) == NULL);
    CHECK(eddy_protocol_new(mine.of[LOOP], theirs->of[READER], NULL, NULL) == NULL);
    CHECK(eddy_loop_cancel(mine.of[LOOP], theirs->later) < 0);
    check_alive(&mine);
    cast_free(&mine);
    cast_now = theirs;
    return NULL;
}

TEST(handles_of_another_threads_loop_are_refused, "a10")
{
    struct cast cast;
    cast_make(&cast);
    plain_join(plain_start(from_a_thread_without_a_loop, &cast));
    check_alive(&cast);
    plain_join(plain_start(from_a_thread_with_a_loop, &cast));
    cast_now = &cast;
    check_alive(&cast);
    turns(cast.of[LOOP]);
    CHECK_INT(eddy_loop_cancel(cast.of[LOOP], cast.later), 0);
    cast_free(&cast);
    asks_check();
    owns_check();
    far_ends_close();
}

static void *attach_and_free(void *loop)
{
    CHECK_INT(eddy_loop_attach(loop), 0);
    CHECK_INT(eddy_loop_run_once(loop, 0) < 0, 0);
    eddy_loop_free(loop);
    CHECK_INT(eddy_loop_attach(loop), EDDY_ESTALE);
    return NULL;
}

TEST(a_detached_loop_belongs_to_nobody_until_it_is_attached, "")
{
    struct cast cast;
    cast_make(&cast);
    CHECK_INT(eddy_loop_detach(cast.of[LOOP]), 0);
    for (size_t i = 0; i < CALLS; i++) {
        if (calls[i].manner == ANY_THREAD) CHECK_INT(calls[i].call(cast.of[LOOP]), 0);
        if (calls[i].manner != PLAINLY || calls[i].answer != CODE) continue;
        check_refused(&calls[i], cast.of[calls[i].takes], EDDY_ETHREAD, "a detached loop");
    }
    plain_join(plain_start(attach_and_free, cast.of[LOOP]));
    CHECK_INT(eddy_loop_run_once(cast.of[LOOP], 0), EDDY_ESTALE);
    asks_check();
    owns_check();
    far_ends_close();
}

/* Two loops of one thread: each is fine, a mixture is not. */
TEST(handles_of_two_loops_do_not_mix, "")
{
    struct cast one, two;
    cast_make(&one);
    cast_make(&two);
    cast_now = &two;
    check_alive(&one);
    check_alive(&two);
    CHECK(eddy_reader_set_transport(one.bare_reader, two.of[TRANSPORT]) < 0);
    CHECK(eddy_protocol_connection_made(one.bare_protocol, two.of[TRANSPORT]) < 0);
    CHECK(eddy_writer_new(one.of[TRANSPORT], two.of[PROTOCOL], one.of[READER]) == NULL);
    CHECK(eddy_writer_new(one.of[TRANSPORT], one.of[PROTOCOL], two.of[READER]) == NULL);
    CHECK(eddy_protocol_new(one.of[LOOP], two.of[READER], NULL, NULL) == NULL);
    CHECK(eddy_loop_cancel(one.of[LOOP], two.later) < 0);
    CHECK_INT(eddy_loop_cancel(two.of[LOOP], two.later), 0);
    cast_free(&two);
    check_alive(&one);
    CHECK_INT(eddy_loop_cancel(one.of[LOOP], one.later), 0);
    cast_free(&one);
    asks_check();
    owns_check();
    far_ends_close();
}

/* ---- arguments that make no sense ---------------------------------------------------------------------- */

#define REFUSED(code, call)                                                                        \
    do {                                                                                           \
        const long long refused_with = ASK(call);                                                  \
        if (refused_with != (code)) FAIL("%s gives %lld, not %s", #call, refused_with, #code);     \
    } while (0)

/* NULL, and a report that says which function and something of why. */
#define REFUSED_NEW(call, function, why)                                                           \
    do {                                                                                           \
        reports_clear();                                                                           \
        CHECK((call) == NULL);                                                                     \
        turns(loop);                                                                               \
        if (!reported_by(function) || strstr(reports_text, why) == NULL)                           \
            FAIL("%s does not report %s, but:%s", #call, why, reports_text);                       \
    } while (0)

#define TOO_LARGE ((size_t)SSIZE_MAX + 1)

TEST(callbacks_cannot_be_missing, "a02")
{
    struct cast cast;
    cast_make(&cast);
    eddy_loop *loop = cast.of[LOOP];
    reports_clear();
    REFUSED(EDDY_EINVAL, eddy_loop_call_soon(loop, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_loop_call_later(loop, 1, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_loop_call_soon_threadsafe(loop, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_open_connection(loop, "127.0.0.1", 1, NULL, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_open_unix_connection(loop, "@eddy", NULL, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_start_server(loop, NULL, "127.0.0.1", 0, NULL, asked_server, asking));
    REFUSED(EDDY_EINVAL, eddy_start_server(loop, came, "127.0.0.1", 0, NULL, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_start_unix_server(loop, NULL, "@eddy", NULL, asked_server, asking));
    REFUSED(EDDY_EINVAL, eddy_start_unix_server(loop, came, "@eddy", NULL, NULL, NULL));
    int fd = near_end(), listener = plain_listen();
    REFUSED(EDDY_EINVAL, eddy_open_socket(loop, fd, NULL, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_start_socket_server(loop, NULL, listener, NULL, asked_server, asking));
    REFUSED(EDDY_EINVAL, eddy_start_socket_server(loop, came, listener, NULL, NULL, NULL));
    CHECK(fcntl(fd, F_GETFD) >= 0 && fcntl(listener, F_GETFD) >= 0);
    close(fd), close(listener);
    REFUSED(EDDY_EINVAL, eddy_reader_read(cast.of[READER], 1, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_reader_readline(cast.of[READER], NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_reader_readexactly(cast.of[READER], 1, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil(cast.of[READER], "\n", 1, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil_any(cast.of[READER], &(eddy_bytes){ "\n", 1 }, 1, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_reader_readall(cast.of[READER], 1, NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_writer_drain(cast.of[WRITER], NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_writer_wait_closed(cast.of[WRITER], NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_server_wait_closed(cast.of[SERVER], NULL, NULL));
    REFUSED(EDDY_EINVAL, eddy_server_shutdown(cast.of[SERVER], 0, NULL, NULL));
    CHECK(eddy_server_is_serving(cast.of[SERVER]));
    turns(loop);
    if (reports_count != 0) FAIL("a return code is report enough, yet:%s", reports_text);
    check_alive(&cast);
    finish(loop);
}

TEST(counts_that_no_memory_has_are_refused, "R30 p17")
{
    struct cast cast;
    cast_make(&cast);
    eddy_loop *loop = cast.of[LOOP];
    eddy_reader *reader = cast.of[READER];
    reports_clear();
    const size_t sizes[] = { TOO_LARGE, SIZE_MAX - 1, SIZE_MAX };
    for (size_t i = 0; i < 3; i++) {
        const size_t size = sizes[i];
        if (size != EDDY_UNTIL_EOF) {
            REFUSED(EDDY_EINVAL, eddy_reader_read(reader, size, asked_read, asking));
            REFUSED(EDDY_EINVAL, eddy_reader_readall(reader, size, asked_read, asking));
        }
        REFUSED(EDDY_EINVAL, eddy_reader_readexactly(reader, size, asked_read, asking));
        REFUSED(EDDY_EINVAL, eddy_reader_readuntil(reader, "\n", size, asked_read, asking));
        REFUSED(EDDY_EINVAL, eddy_reader_readuntil_any(reader, &(eddy_bytes){ "\n", 1 }, size, asked_read, asking));
        REFUSED(EDDY_EINVAL, eddy_reader_readuntil_any(reader, &(eddy_bytes){ "\n", size }, 1, asked_read, asking));
        REFUSED(EDDY_EINVAL, eddy_reader_feed_data(reader, "x", size));
        REFUSED(EDDY_EINVAL, eddy_writer_write(cast.of[WRITER], "x", size));
        REFUSED(EDDY_EINVAL, eddy_writer_writelines(cast.of[WRITER], &(eddy_bytes){ "x", 1 }, size));
        REFUSED(EDDY_EINVAL, eddy_writer_writelines(cast.of[WRITER], &(eddy_bytes){ "x", size }, 1));
        REFUSED(EDDY_EINVAL, eddy_transport_set_extra_info(cast.of[TRANSPORT], "peername", "x", size));
        REFUSED(EDDY_EINVAL, eddy_protocol_data_received(cast.of[PROTOCOL], "x", size));
    }
    CHECK_INT(eddy_reader_buffered(reader, NULL), 0);
    CHECK_INT(eddy_writer_get_write_buffer_size(cast.of[WRITER]), 0);
    CHECK(eddy_server_sockname(cast.of[SERVER], SIZE_MAX) == NULL);
    CHECK_INT(eddy_server_socket(cast.of[SERVER], SIZE_MAX), -1);
    turns(loop);
    if (reports_count != 0) FAIL("a return code is report enough, yet:%s", reports_text);

    /* The largest that does make sense is waited for. */
    CHECK(ASK(eddy_reader_readexactly(reader, SSIZE_MAX, asked_read, asking)) >= 0);
    CHECK(ASK(eddy_loop_call_later(loop, UINT64_MAX, asked_loop, asking)) >= 0);
    turns(loop);
    check_alive(&cast);
    finish(loop);
}

TEST(bytes_that_are_not_there_are_refused, "R40 W2 a01 a15 a18")
{
    struct cast cast;
    cast_make(&cast);
    eddy_loop *loop = cast.of[LOOP];
    eddy_reader *reader = cast.of[READER];
    eddy_writer *writer = cast.of[WRITER];
    const eddy_bytes nothing = { NULL, 0 }, missing = { NULL, 1 }, newline = { "\n", 1 };
    reports_clear();
    REFUSED(EDDY_EINVAL, eddy_reader_feed_data(reader, NULL, 1));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil(reader, NULL, 1, asked_read, asking));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil(reader, NULL, 0, asked_read, asking));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil(reader, "\n", 0, asked_read, asking));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil_any(reader, NULL, 1, asked_read, asking));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil_any(reader, NULL, 0, asked_read, asking));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil_any(reader, &newline, 0, asked_read, asking));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil_any(reader, (eddy_bytes[]){ newline, nothing }, 2, asked_read, asking));
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil_any(reader, (eddy_bytes[]){ newline, missing }, 2, asked_read, asking));
    REFUSED(EDDY_EINVAL, eddy_writer_write(writer, NULL, 1));
    REFUSED(EDDY_EINVAL, eddy_writer_writelines(writer, NULL, 1));
    REFUSED(EDDY_EINVAL, eddy_writer_writelines(writer, (eddy_bytes[]){ newline, missing }, 2));
    REFUSED(EDDY_EINVAL, eddy_protocol_data_received(cast.of[PROTOCOL], NULL, 1));
    REFUSED(EDDY_EINVAL, eddy_transport_set_extra_info(cast.of[TRANSPORT], NULL, "x", 1));
    REFUSED(EDDY_EINVAL, eddy_transport_set_extra_info(cast.of[TRANSPORT], "name", NULL, 1));
    REFUSED(EDDY_EINVAL, eddy_reader_set_exception(reader, 0, "no reason"));
    REFUSED(EDDY_EINVAL, eddy_writer_set_write_buffer_limits(writer, 10, 11));
    turns(loop);
    if (reports_count != 0) FAIL("a return code is report enough, yet:%s", reports_text);
    CHECK_INT(eddy_writer_get_write_buffer_size(writer), 0); /* nothing of what was refused was taken */

    CHECK_INT(eddy_reader_feed_data(reader, NULL, 0), 0);
    CHECK_INT(eddy_writer_write(writer, NULL, 0), 0);
    CHECK_INT(eddy_writer_writelines(writer, NULL, 0), 0);
    CHECK_INT(eddy_writer_writelines(writer, (eddy_bytes[]){ nothing, nothing }, 2), 0);
    CHECK_INT(eddy_protocol_data_received(cast.of[PROTOCOL], NULL, 0), 0);
    CHECK_INT(eddy_reader_buffered(reader, NULL), 0);
    CHECK_INT(eddy_transport_set_extra_info(cast.of[TRANSPORT], "nothing", NULL, 0), 0);
    CHECK(eddy_writer_get_extra_info(writer, "absent", NULL) == NULL);
    CHECK(eddy_writer_get_extra_info(writer, NULL, NULL) == NULL);
    CHECK_INT(eddy_writer_set_write_buffer_limits(writer, 0, 0), 0);
    CHECK_INT(eddy_writer_set_write_buffer_limits(writer, EDDY_UNTIL_EOF, EDDY_UNTIL_EOF), 0);
    turns(loop);
    check_alive(&cast);

    CHECK_INT(eddy_reader_set_exception(reader, 5, NULL), 0);
    CHECK(eddy_error_message(eddy_reader_exception(reader)) != NULL);
    CHECK_INT(eddy_error_code(eddy_reader_exception(reader)), 5);
    finish(loop);
}

/* Shows that nonsense is told of before anything else is looked at. */
TEST(nonsense_is_refused_first, "R14")
{
    eddy_loop *loop = begin();
    eddy_reader *reader = eddy_reader_new(loop, 16);
    CHECK_INT(eddy_reader_set_exception(reader, 7, "seven"), 0);
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil(reader, "", 0, asked_read, asking));
    REFUSED(EDDY_EINVAL, eddy_reader_readexactly(reader, SIZE_MAX, asked_read, asking));
    eddy_reader *busy = eddy_reader_new(loop, 16);
    CHECK(ASK(eddy_reader_read(busy, 1, asked_read, asking)) >= 0);
    REFUSED(EDDY_EINVAL, eddy_reader_readuntil(busy, "", 0, asked_read, asking));
    finish(loop);
}

TEST(limits_that_make_no_sense_are_refused, "R2 a15")
{
    eddy_loop *loop = begin();
    REFUSED_NEW(eddy_reader_new(loop, 0), "eddy_reader_new", "limit");
    REFUSED_NEW(eddy_reader_new(loop, SSIZE_MAX / 4 + 1), "eddy_reader_new", "limit");
    REFUSED_NEW(eddy_reader_new(loop, SIZE_MAX), "eddy_reader_new", "limit");
    CHECK(eddy_reader_new(loop, 1) != NULL);
    CHECK(eddy_reader_new(loop, SSIZE_MAX / 4) != NULL);
    REFUSED(EDDY_EINVAL, eddy_open_connection(loop, "127.0.0.1", 1, EDDY_OPTIONS(.limit = SIZE_MAX), asked_stream,
                                              asking));
    finish(loop);
}

TEST(transports_need_their_functions, "")
{
    eddy_loop *loop = begin();
    eddy_transport_ops ops = own_ops;
    REFUSED_NEW(eddy_transport_new(loop, NULL, NULL), "eddy_transport_new", "ops");
    ops.size = 0;
    REFUSED_NEW(eddy_transport_new(loop, &ops, NULL), "eddy_transport_new", "size");
    ops = own_ops, ops.write = NULL;
    REFUSED_NEW(eddy_transport_new(loop, &ops, NULL), "eddy_transport_new", "write");
    ops = own_ops, ops.close = NULL;
    REFUSED_NEW(eddy_transport_new(loop, &ops, NULL), "eddy_transport_new", "close");
    ops = own_ops, ops.abort = NULL;
    REFUSED_NEW(eddy_transport_new(loop, &ops, NULL), "eddy_transport_new", "abort");
    ops = own_ops, ops.release = NULL;
    REFUSED_NEW(eddy_transport_new(loop, &ops, NULL), "eddy_transport_new", "release");

    struct { eddy_transport_ops ops; size_t tail[2]; } larger = { own_ops, { 0, 0 } };
    larger.ops.size = sizeof larger;
    struct own larger_own = { .protocol = NULL };
    CHECK(eddy_transport_new(loop, &larger.ops, &larger_own) != NULL);
    larger.tail[1] = 1;
    REFUSED_NEW(eddy_transport_new(loop, &larger.ops, NULL), "eddy_transport_new", "size");

    struct own no_extras_own = { .protocol = NULL };
    ops = own_ops, ops.write_eof = NULL, ops.pause_reading = NULL, ops.resume_reading = NULL;
    CHECK(eddy_transport_new(loop, &ops, &no_extras_own) != NULL);
    finish(loop);
    CHECK_INT(larger_own.released, 1);
    CHECK_INT(no_extras_own.released, 1);
}

TEST(hosts_and_ports_that_make_no_sense_are_refused, "p15 p16")
{
    const int before = threads();
    eddy_loop *loop = begin();
    char host[257];
    memset(host, 'a', 256), host[256] = '\0';
    const char *const client_hosts[] = { NULL, "", "\xff\xfe", "caf\xe9", "\xc3", host };
    for (size_t i = 0; i < sizeof client_hosts / sizeof client_hosts[0]; i++) {
        REFUSED(EDDY_EINVAL, eddy_open_connection(loop, client_hosts[i], 80, NULL, asked_stream, asking));
        if (i >= 2)
            REFUSED(EDDY_EINVAL, eddy_start_server(loop, came, client_hosts[i], 0, NULL, asked_server, asking));
    }
    REFUSED(EDDY_EINVAL, eddy_open_connection(loop, "127.0.0.1", 0, NULL, asked_stream, asking));
    const size_t enormous = 64u << 20;
    char *much = malloc(enormous + 1);
    CHECK(much != NULL);
    memset(much, '1', enormous), much[enormous] = '\0';
    REFUSED(EDDY_EINVAL, eddy_open_connection(loop, much, 80, NULL, asked_stream, asking));
    REFUSED(EDDY_EINVAL, eddy_open_unix_connection(loop, much, NULL, asked_stream, asking));
    REFUSED(EDDY_EINVAL, eddy_start_server(loop, came, much, 80, NULL, asked_server, asking));
    free(much);
    turns(loop);
    if (reports_count != 0) FAIL("a return code is report enough, yet:%s", reports_text);

    host[255] = '\0'; /* the longest that is a name */
    eddy_op op = ASK(eddy_open_connection(loop, host, 80, NULL, asked_stream, asking));
    CHECK(op >= 0);
    CHECK_INT(eddy_loop_cancel(loop, op), 0);
    CHECK(ASK(eddy_start_server(loop, came, NULL, 0, NULL, asked_server, asking)) >= 0);
    CHECK(ASK(eddy_start_server(loop, came, "", 0, NULL, asked_server, asking)) >= 0);
    turns(loop);
    finish(loop);
    resolvers_end(before);
}

TEST(paths_that_make_no_sense_are_refused, "U5")
{
    eddy_loop *loop = begin();
    char path[1001];
    memset(path, 'p', 1000), path[1000] = '\0';
    memcpy(path, "/tmp/", 5);
    const size_t lengths[] = { 1000, 109, 108 };
    for (size_t i = 0; i < 3; i++) {
        path[lengths[i]] = '\0';
        REFUSED(EDDY_EINVAL, eddy_open_unix_connection(loop, path, NULL, asked_stream, asking));
        REFUSED(EDDY_EINVAL, eddy_start_unix_server(loop, came, path, NULL, asked_server, asking));
    }
    REFUSED(EDDY_EINVAL, eddy_open_unix_connection(loop, NULL, NULL, asked_stream, asking));
    REFUSED(EDDY_EINVAL, eddy_open_unix_connection(loop, "", NULL, asked_stream, asking));
    REFUSED(EDDY_EINVAL, eddy_start_unix_server(loop, came, NULL, NULL, asked_server, asking));
    REFUSED(EDDY_EINVAL, eddy_start_unix_server(loop, came, "", NULL, asked_server, asking));

    path[107] = '\0'; /* the longest that fits: it is tried, and the world says no */
    ASK(eddy_open_unix_connection(loop, path, NULL, asked_stream, asking));
    struct ask *tried = asking;
    for (int turn = 0; turn < 100 && tried->called == 0; turn++) CHECK(eddy_loop_run_once(loop, 10) >= 0);
    CHECK_INT(tried->code, EDDY_ESYSTEM);
    finish(loop);
}

/* ---- options ------------------------------------------------------------------------------------------- */

/* Opens a stream with these options and tells what a line of so many bytes comes to. */
static void line_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)reader, (void)bytes;
    *(long long *)arg = error != NULL ? eddy_error_code(error) : (long long)len;
}

static void line_wanted(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)writer;
    CHECK(error == NULL);
    CHECK(eddy_reader_readline(reader, line_read, arg) >= 0);
}

static long long line_with_options(const eddy_options *options, size_t length)
{
    eddy_loop *loop = eddy_loop_new();
    long long result = 0;
    int ends[2];
    plain_unix_pair(ends);
    char *line = malloc(length);
    CHECK(line != NULL);
    memset(line, 'x', length), line[length - 1] = '\n';
    CHECK(eddy_open_socket(loop, ends[0], options, line_wanted, &result) >= 0);
    plain_send(ends[1], line, length);
    for (int turn = 0; turn < 100 && result == 0; turn++) CHECK(eddy_loop_run_once(loop, 10) >= 0);
    free(line);
    eddy_loop_free(loop);
    close(ends[1]);
    return result;
}

TEST(options_of_other_sizes_are_understood, "a07")
{
    struct { eddy_options options; unsigned char tail[64]; } larger;
    memset(&larger, 0, sizeof larger);
    larger.options.size = sizeof larger;
    larger.options.limit = 7;
    CHECK_INT(line_with_options(&larger.options, 8), 8);
    CHECK_INT(line_with_options(&larger.options, 9), EDDY_ELIMIT);

    eddy_options smaller = { .size = offsetof(eddy_options, local_host), .limit = 7 };
    memset((char *)&smaller + smaller.size, 0xa5, sizeof smaller - smaller.size); /* not ours: not looked at */
    CHECK_INT(line_with_options(&smaller, 8), 8);
    CHECK_INT(line_with_options(&smaller, 9), EDDY_ELIMIT);
    smaller.size = offsetof(eddy_options, limit);
    CHECK_INT(line_with_options(&smaller, 9), 9); /* the limit is not there either: 64 KiB */
    CHECK_INT(line_with_options(EDDY_OPTIONS(.limit = 0), 9), 9);
    CHECK_INT(line_with_options(NULL, 9), 9);
}

TEST(options_that_make_no_sense_are_refused, "a06 a07")
{
    eddy_loop *loop = begin();
    struct { eddy_options options; unsigned char tail[64]; } larger;
    memset(&larger, 0, sizeof larger);
    larger.options.size = sizeof larger;
    for (size_t i = 0; i < sizeof larger.tail; i += 21) {
        larger.tail[i] = 1;
        REFUSED(EDDY_EINVAL, eddy_open_connection(loop, "127.0.0.1", 1, &larger.options, asked_stream, asking));
        REFUSED(EDDY_EINVAL, eddy_open_unix_connection(loop, "@eddy", &larger.options, asked_stream, asking));
        REFUSED(EDDY_EINVAL, eddy_start_server(loop, came, NULL, 0, &larger.options, asked_server, asking));
        REFUSED(EDDY_EINVAL, eddy_start_unix_server(loop, came, "@eddy", &larger.options, asked_server, asking));
        larger.tail[i] = 0;
    }
    static const eddy_options none = { .size = 0, .limit = 7 };
    int fd = near_end(), listener = plain_listen();
    REFUSED(EDDY_EINVAL, eddy_open_connection(loop, "127.0.0.1", 1, &none, asked_stream, asking));
    REFUSED(EDDY_EINVAL, eddy_open_unix_connection(loop, "@eddy", &none, asked_stream, asking));
    REFUSED(EDDY_EINVAL, eddy_start_server(loop, came, NULL, 0, &none, asked_server, asking));
    REFUSED(EDDY_EINVAL, eddy_start_unix_server(loop, came, "@eddy", &none, asked_server, asking));
    REFUSED(EDDY_EINVAL, eddy_open_socket(loop, fd, &none, asked_stream, asking));
    REFUSED(EDDY_EINVAL, eddy_start_socket_server(loop, came, listener, &none, asked_server, asking));
    CHECK(fcntl(fd, F_GETFD) >= 0 && fcntl(listener, F_GETFD) >= 0);
    close(fd), close(listener);

    const int families[] = { -1, 77, AF_UNIX, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        const eddy_options *options = EDDY_OPTIONS(.family = families[i]);
        REFUSED(EDDY_EINVAL, eddy_open_connection(loop, "127.0.0.1", 1, options, asked_stream, asking));
        REFUSED(EDDY_EINVAL, eddy_start_server(loop, came, NULL, 0, options, asked_server, asking));
    }
    REFUSED(EDDY_EINVAL, eddy_start_server(loop, came, NULL, 0, EDDY_OPTIONS(.backlog = -1), asked_server, asking));
    REFUSED(EDDY_EINVAL, eddy_start_unix_server(loop, came, "@eddy", EDDY_OPTIONS(.backlog = INT32_MIN), asked_server,
                                                asking));
    REFUSED(EDDY_EINVAL, eddy_open_connection(loop, "127.0.0.1", 1, EDDY_OPTIONS(.local_host = "\xff"), asked_stream,
                                              asking));

    /* Anything but zero is true. */
    CHECK(ASK(eddy_start_server(loop, came, "127.0.0.1", 0,
                                EDDY_OPTIONS(.delay = -7, .keep_alive = 200, .reuse_port = INT32_MIN), asked_server,
                                asking)) >= 0);
    struct ask *server = asking;
    for (int turn = 0; turn < 100 && server->called == 0; turn++) CHECK(eddy_loop_run_once(loop, 10) >= 0);
    CHECK_INT(server->code, 0);
    finish(loop);
}

/* ---- descriptors that are not sockets, or not connected ------------------------------------------------ */

/* Refused, or told by the callback: one of the two, and nothing leaks. */
static void try_descriptor(eddy_loop *loop, int fd, bool server)
{
    const eddy_op op = server ? ASK(eddy_start_socket_server(loop, came, fd, NULL, asked_server, asking))
                              : ASK(eddy_open_socket(loop, fd, NULL, asked_stream, asking));
    struct ask *tried = asking;
    for (int turn = 0; turn < 100 && op >= 0 && tried->called == 0; turn++)
        CHECK(eddy_loop_run_once(loop, 10) >= 0);
    if (op >= 0 && tried->code == 0) FAIL("descriptor %d is taken for what it is not", fd);
    if (op < 0 && fd >= 0) close(fd);
}

TEST(descriptors_that_are_no_sockets_are_refused, "V21")
{
    eddy_loop *loop = begin();
    for (int server = 0; server < 2; server++) {
        const int closed = dup(0);
        close(closed);
        try_descriptor(loop, -1, server);
        try_descriptor(loop, INT32_MAX, server);
        try_descriptor(loop, closed, server);
        try_descriptor(loop, open("/dev/null", O_RDWR | O_CLOEXEC), server);
        try_descriptor(loop, open("/proc/self/exe", O_RDONLY | O_CLOEXEC), server);
        try_descriptor(loop, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), server);
    }
    finish(loop);
}

/* ---- too early, too late, too many --------------------------------------------------------------------- */

TEST(one_read_at_a_time, "R70 R71 a08")
{
    eddy_loop *loop = begin();
    eddy_reader *reader = eddy_reader_new(loop, 16);
    for (int full = 0; full < 2; full++) { /* with nothing to serve from, and with enough */
        CHECK(ASK(eddy_reader_readexactly(reader, 12, asked_read, asking)) >= 0);
        struct ask *first = asking;
        if (full) CHECK_INT(eddy_reader_feed_data(reader, "five\n", 5), 0);
        REFUSED(EDDY_EBUSY, eddy_reader_read(reader, 1, asked_read, asking));
        REFUSED(EDDY_EBUSY, eddy_reader_read(reader, 0, asked_read, asking));
        REFUSED(EDDY_EBUSY, eddy_reader_read(reader, EDDY_UNTIL_EOF, asked_read, asking));
        REFUSED(EDDY_EBUSY, eddy_reader_readline(reader, asked_read, asking));
        REFUSED(EDDY_EBUSY, eddy_reader_readexactly(reader, 0, asked_read, asking));
        REFUSED(EDDY_EBUSY, eddy_reader_readexactly(reader, 1, asked_read, asking));
        REFUSED(EDDY_EBUSY, eddy_reader_readuntil(reader, "\n", 1, asked_read, asking));
        REFUSED(EDDY_EBUSY, eddy_reader_readuntil_any(reader, &(eddy_bytes){ "\n", 1 }, 1, asked_read, asking));
        REFUSED(EDDY_EBUSY, eddy_reader_readall(reader, 1, asked_read, asking));
        turns(loop);
        CHECK_INT(first->called, 0);
        CHECK_INT(eddy_reader_feed_data(reader, "and much more", full ? 7 : 12), 0);
        turns(loop);
        CHECK_INT(first->called, 1);
        CHECK_INT(first->code, 0);
    }
    /* Decided, but not yet called back: the reader is still busy. */
    CHECK_INT(eddy_reader_feed_data(reader, "more", 4), 0);
    CHECK(ASK(eddy_reader_read(reader, 4, asked_read, asking)) >= 0);
    REFUSED(EDDY_EBUSY, eddy_reader_read(reader, 4, asked_read, asking));
    turns(loop);
    CHECK(ASK(eddy_reader_read(reader, 4, asked_read, asking)) >= 0);
    finish(loop);
}

TEST(too_late_is_an_error_and_not_a_crash, "R5 R6 R7 W5 a03 a04")
{
    struct cast cast;
    cast_make(&cast);
    eddy_loop *loop = cast.of[LOOP];
    eddy_reader *reader = cast.of[READER];
    eddy_writer *writer = cast.of[WRITER];
    eddy_protocol *protocol = cast.of[PROTOCOL];
    REFUSED(EDDY_ESTATE, eddy_reader_set_transport(reader, cast.of[TRANSPORT]));
    REFUSED(EDDY_ESTATE, eddy_protocol_connection_made(protocol, cast.of[TRANSPORT]));
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    CHECK_INT(eddy_reader_feed_eof(reader), 0);
    REFUSED(EDDY_ESTATE, eddy_reader_feed_data(reader, "late", 4));
    REFUSED(EDDY_ESTATE, eddy_reader_feed_data(reader, NULL, 0));
    CHECK(eddy_reader_at_eof(reader));

    CHECK_INT(eddy_writer_write_eof(writer), 0);
    CHECK_INT(eddy_writer_write_eof(writer), 0);
    REFUSED(EDDY_ESTATE, eddy_writer_write(writer, "late", 4));
    REFUSED(EDDY_ESTATE, eddy_writer_writelines(writer, &(eddy_bytes){ "late", 4 }, 1));
    CHECK_INT(eddy_writer_close(writer), 0);
    CHECK_INT(eddy_writer_close(writer), 0);
    CHECK_INT(eddy_writer_write_eof(writer), 0);
    REFUSED(EDDY_ESTATE, eddy_writer_write(writer, "late", 4));
    turns(loop);
    CHECK_INT(eddy_writer_abort(writer), 0);
    REFUSED(EDDY_ESTATE, eddy_protocol_connection_lost(protocol, 0, NULL)); /* the transport has said so already */
    eddy_writer_free(writer);
    REFUSED(EDDY_ESTALE, eddy_writer_write(writer, "late", 4));
    finish(loop);
}

static void run_again(eddy_loop *loop, const eddy_error *error, void *arg)
{
    int *runs = arg;
    CHECK(error == NULL);
    CHECK(eddy_loop_is_running(loop));
    CHECK_INT(eddy_loop_run(loop), EDDY_EBUSY);
    CHECK_INT(eddy_loop_run_forever(loop), EDDY_EBUSY);
    CHECK_INT(eddy_loop_run_once(loop, 0), EDDY_EBUSY);
    CHECK(eddy_loop_detach(loop) < 0);
    ++*runs;
}

TEST(a_loop_does_not_run_within_itself, "")
{
    eddy_loop *loop = begin();
    int runs = 0;
    CHECK(eddy_loop_call_soon(loop, run_again, &runs) >= 0);
    CHECK_INT(eddy_loop_run(loop), 0);
    CHECK(eddy_loop_call_soon(loop, run_again, &runs) >= 0);
    CHECK(eddy_loop_run_once(loop, 0) >= 0);
    CHECK_INT(runs, 2);
    CHECK(!eddy_loop_is_running(loop));
    finish(loop);
}

static eddy_loop *outer_loop;

static void run_other(eddy_loop *loop, const eddy_error *error, void *arg)
{
    CHECK(error == NULL);
    CHECK_INT(eddy_loop_run_once(outer_loop, 0), EDDY_EBUSY);
    CHECK(eddy_loop_is_running(outer_loop));
    (void)loop;
    ++*(int *)arg;
}

static void run_inner(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop;
    CHECK(error == NULL);
    eddy_loop *inner = eddy_loop_new();
    CHECK(inner != NULL);
    CHECK(eddy_loop_call_soon(inner, run_other, arg) >= 0);
    CHECK_INT(eddy_loop_run(inner), 0);
    eddy_loop_free(inner);
}

TEST(another_loop_may_run_within_a_callback, "")
{
    int ran = 0;
    outer_loop = begin();
    CHECK(eddy_loop_call_soon(outer_loop, run_inner, &ran) >= 0);
    CHECK_INT(eddy_loop_run(outer_loop), 0);
    CHECK_INT(ran, 1);
    finish(outer_loop);
}

/* ---- receipts ------------------------------------------------------------------------------------------ */

static void refused_to_cancel(eddy_loop *loop, eddy_op op)
{
    const int code = eddy_loop_cancel(loop, op);
    if (code != EDDY_ESTALE && code != EDDY_EINVAL) FAIL("cancel of %lld gives %d", (long long)op, code);
}

TEST(receipts_cancel_their_own_operation_only, "R9 R35 F12")
{
    struct cast cast;
    cast_make(&cast);
    eddy_loop *loop = cast.of[LOOP];
    eddy_reader *reader = cast.of[READER];

    /* An old receipt, while the same reader waits again. */
    const eddy_op old = ASK(eddy_reader_read(reader, 1, asked_read, asking));
    struct ask *first = asking;
    CHECK_INT(eddy_reader_feed_data(reader, "x", 1), 0);
    turns(loop);
    CHECK_INT(first->called, 1);
    const eddy_op waiting = ASK(eddy_reader_read(reader, 1, asked_read, asking));
    struct ask *second = asking;
    CHECK(waiting != old);
    refused_to_cancel(loop, old);

    /* Of everything else that waits, too. */
    CHECK_INT(eddy_protocol_pause_writing(cast.of[PROTOCOL]), 0);
    const eddy_op drains[2] = { ASK(eddy_writer_drain(cast.of[WRITER], asked_writer, asking)),
                                ASK(eddy_writer_drain(cast.of[WRITER], asked_writer, asking)) };
    const eddy_op closed = ASK(eddy_writer_wait_closed(cast.of[WRITER], asked_writer, asking));
    const eddy_op server_closed = ASK(eddy_server_wait_closed(cast.of[SERVER], asked_server, asking));
    struct ask *const server_closed_ask = asking, *const closed_ask = asking - 1, *const drain_asks = asking - 3;
    turns(loop);

    /* Made up. */
    const eddy_op real[] = { old, waiting, drains[0], drains[1], closed, server_closed, cast.later };
    refused_to_cancel(loop, -1);
    refused_to_cancel(loop, EDDY_EBUSY);
    refused_to_cancel(loop, INT64_MIN);
    refused_to_cancel(loop, INT64_MAX);
    for (eddy_op op = 0; op < 5; op++) {
        bool taken = false;
        for (size_t i = 0; i < sizeof real / sizeof real[0]; i++) taken |= op == real[i];
        if (!taken) refused_to_cancel(loop, op);
    }
    for (size_t i = 1; i < sizeof real / sizeof real[0]; i++) {
        for (int bit = 0; bit < 64; bit++) {
            const eddy_op op = (eddy_op)((uint64_t)real[i] ^ (uint64_t)1 << bit);
            bool taken = false;
            for (size_t k = 0; k < sizeof real / sizeof real[0]; k++) taken |= op == real[k] && k != 0;
            if (!taken) refused_to_cancel(loop, op);
        }
    }
    refused_to_cancel(loop, (eddy_op)(intptr_t)loop);
    refused_to_cancel(loop, (eddy_op)(intptr_t)reader);

    /* Of another loop. */
    eddy_loop *other = eddy_loop_new();
    const eddy_op foreign = ASK(eddy_loop_call_later(other, 1000000, asked_loop, asking));
    struct ask *foreign_ask = asking;
    refused_to_cancel(loop, foreign);
    refused_to_cancel(other, waiting);

    turns(loop);
    CHECK_INT(second->called + closed_ask->called + server_closed_ask->called + foreign_ask->called, 0);
    CHECK_INT(drain_asks[0].called + drain_asks[1].called, 0);

    /* And each by its own, once; the others stay. */
    CHECK_INT(eddy_loop_cancel(loop, drains[1]), 0);
    CHECK_INT(drain_asks[1].called, 0); /* next turn */
    refused_to_cancel(loop, drains[1]);
    turns(loop);
    CHECK_INT(drain_asks[1].called, 1);
    CHECK_INT(drain_asks[1].code, EDDY_ECANCELED);
    CHECK_INT(drain_asks[0].called, 0);
    CHECK_INT(eddy_loop_cancel(loop, waiting), 0);
    CHECK_INT(eddy_reader_feed_data(reader, "y", 1), 0); /* too late for it: the byte stays */
    turns(loop);
    CHECK_INT(second->code, EDDY_ECANCELED);
    CHECK_INT(eddy_reader_buffered(reader, NULL), 1);
    CHECK_INT(eddy_loop_cancel(loop, closed), 0);
    CHECK_INT(eddy_loop_cancel(loop, server_closed), 0);
    CHECK_INT(eddy_loop_cancel(loop, cast.later), 0);
    turns(loop);
    CHECK_INT(closed_ask->code, EDDY_ECANCELED);
    CHECK_INT(server_closed_ask->code, EDDY_ECANCELED);
    for (size_t i = 1; i < sizeof real / sizeof real[0]; i++)
        if (i != 2) refused_to_cancel(loop, real[i]);
    CHECK_INT(drain_asks[0].called, 0);
    CHECK_INT(eddy_loop_cancel(loop, drains[0]), 0);
    eddy_loop_free(other);
    CHECK_INT(foreign_ask->code, EDDY_ECANCELED);
    finish(loop);
}

TEST(what_is_decided_cannot_be_canceled, "")
{
    eddy_loop *loop = begin();
    eddy_reader *reader = eddy_reader_new(loop, 16);
    const eddy_op op = ASK(eddy_reader_read(reader, 1, asked_read, asking));
    struct ask *read = asking;
    CHECK_INT(eddy_reader_feed_data(reader, "x", 1), 0);
    const int code = eddy_loop_cancel(loop, op); /* before its callback, after its byte: either, but not both */
    turns(loop);
    CHECK_INT(read->called, 1);
    if (code == 0) CHECK_INT(read->code, EDDY_ECANCELED);
    else CHECK_INT(read->code, 0);
    CHECK_INT(eddy_reader_buffered(reader, NULL), code == 0 ? 1 : 0);
    refused_to_cancel(loop, op);
    finish(loop);
}

/* ---- errors that are not there, or not any more -------------------------------------------------------- */

TEST(errors_can_be_missing, "")
{
    size_t len = 7;
    CHECK_INT(eddy_error_code(NULL), 0);
    CHECK_INT(eddy_error_errno(NULL), 0);
    CHECK_STR(eddy_error_message(NULL), "");
    CHECK_INT(eddy_error_expected(NULL), 0);
    CHECK(eddy_error_partial(NULL, &len) == NULL);
    CHECK_INT(len, 0);
    CHECK(eddy_error_partial(NULL, NULL) == NULL);
    CHECK_INT(eddy_error_consumed(NULL), 0);
    for (int code = -200; code < 200; code++) CHECK(eddy_strerror(code) != NULL && eddy_strerror(code)[0] != '\0');
    CHECK(eddy_strerror(INT32_MIN) != NULL && eddy_strerror(INT32_MAX) != NULL);
    CHECK_STR(eddy_version(), EDDY_VERSION);
}

static void check_no_error(const void *error)
{
    size_t len = 7;
    CHECK_INT(eddy_error_code(error), EDDY_ESTALE);
    CHECK_INT(eddy_error_errno(error), 0);
    CHECK(eddy_error_message(error) != NULL);
    CHECK_INT(eddy_error_expected(error), 0);
    CHECK(eddy_error_partial(error, &len) == NULL);
    CHECK_INT(len, 0);
    CHECK_INT(eddy_error_consumed(error), 0);
}

static const eddy_error *kept;

static void keep_error(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)reader, (void)bytes, (void)len;
    size_t partial = 0;
    CHECK_INT(eddy_error_code(error), EDDY_EINCOMPLETE);
    CHECK_INT(eddy_error_expected(error), 10);
    CHECK(strstr(eddy_error_message(error), "3 bytes") != NULL && strstr(eddy_error_message(error), "10 ") != NULL);
    const char *bytes_before = eddy_error_partial(error, &partial);
    CHECK_BYTES(bytes_before, partial, "abc");
    CHECK_BYTES(eddy_error_partial(error, NULL), partial, "abc");
    if (kept != NULL) check_no_error(kept);
    kept = error;
    ++*(int *)arg;
}

TEST(errors_that_are_kept_are_stale, "S5")
{
    struct cast cast;
    cast_make(&cast);
    int count = 0;
    for (int round = 0; round < 3; round++) {
        eddy_reader *reader = eddy_reader_new(cast.of[LOOP], 16);
        CHECK_INT(eddy_reader_feed_data(reader, "abc", 3), 0);
        CHECK_INT(eddy_reader_feed_eof(reader), 0);
        CHECK(eddy_reader_readexactly(reader, 10, keep_error, &count) >= 0);
        turns(cast.of[LOOP]);
        CHECK_INT(count, round + 1);
        check_no_error(kept);
    }
    for (size_t kind = 0; kind < KINDS; kind++) check_no_error(cast.of[kind]);
    check_no_error(&count);
    check_no_error((void *)(uintptr_t)1);

    /* An error is no handle of anything else either. */
    for (size_t i = 0; i < CALLS; i++) check_refused(&calls[i], (void *)(uintptr_t)kept, EDDY_ESTALE, "an error");
    check_alive(&cast);
    cast_free(&cast);
    check_no_error(kept);
    kept = NULL;
    asks_check();
    owns_check();
    far_ends_close();
}

TEST(anything_can_be_described, "R16")
{
    struct cast cast;
    int here = 0;
    cast_make(&cast);
    for (size_t kind = 0; kind < KINDS; kind++) {
        char name[32];
        snprintf(name, sizeof name, "<eddy_%s", kind_names[kind]);
        const char *text = eddy_repr(cast.of[kind]);
        if (text == NULL || strncmp(text, name, strlen(name)) != 0) FAIL("a %s is %s", kind_names[kind], text);
    }
    CHECK_INT(eddy_reader_feed_data(cast.of[READER], "four", 4), 0);
    CHECK(strstr(eddy_repr(cast.of[READER]), "4 bytes") != NULL);
    CHECK(strstr(eddy_repr(cast.of[READER]), "limit=16") != NULL);
    CHECK(strstr(eddy_repr(cast.of[READER]), "wait") == NULL);
    CHECK(strstr(eddy_repr(cast.of[READER]), "paused") == NULL);
    CHECK(ASK(eddy_reader_readexactly(cast.of[READER], 90, asked_read, asking)) >= 0);
    CHECK(strstr(eddy_repr(cast.of[READER]), "wait") != NULL);
    CHECK_INT(eddy_reader_set_exception(cast.bare_reader, 7, "seven"), 0);
    CHECK(strstr(eddy_repr(cast.bare_reader), "exception") != NULL);
    CHECK(strstr(eddy_repr(cast.bare_reader), "seven") != NULL);
    eddy_reader *full = eddy_reader_new(cast.of[LOOP], 1);
    CHECK_INT(eddy_reader_feed_data(full, "three", 5), 0);
    turns(cast.of[LOOP]);
    CHECK(strstr(eddy_repr(full), "paused") != NULL);
    CHECK_INT(eddy_reader_feed_eof(cast.of[READER]), 0);
    CHECK(strstr(eddy_repr(cast.of[READER]), "eof") != NULL);
    cast_free(&cast);
    for (size_t kind = 0; kind < KINDS; kind++) CHECK(eddy_repr(cast.of[kind]) != NULL);
    CHECK(eddy_repr(NULL) != NULL);
    CHECK(eddy_repr(&here) != NULL);
    CHECK(eddy_repr((void *)UINTPTR_MAX) != NULL);
    asks_check();
    owns_check();
    far_ends_close();
}

/* ---- freeing, and everything else, inside every callback ----------------------------------------------- */

/* The places where eddy calls us. */
enum place {
    NOWHERE, IN_CALL_SOON, IN_CALL_LATER, IN_THREADSAFE, IN_REPORT, IN_OPEN, IN_CLIENT, IN_MADE, IN_SERVING,
    IN_READ, IN_DRAIN, IN_CLOSED, IN_SERVER_CLOSED, IN_WRITE_OP, IN_WRITE_EOF_OP, IN_CLOSE_OP, IN_ABORT_OP,
    IN_PAUSE_OP, IN_RESUME_OP, IN_RELEASE_OP, IN_FREE, PLACES
};

static const char *const place_names[PLACES] = {
    "no", "call_soon", "call_later", "threadsafe", "report", "open", "client", "made", "serving",
    "read", "drain", "closed", "server closed", "write op", "write_eof op", "close op", "abort op",
    "pause op", "resume op", "release op", "free",
};

/* What we do there. */
enum deed {
    FREE_READERS, FREE_WRITERS, FREE_SERVERS, FREE_PROTOCOLS, ABORT_ALL, FREE_ALL, FREE_LOOP, CALL_ALL, DEEDS
};

static const char *const deed_names[DEEDS] = {
    "free readers", "free writers", "free servers", "free protocols", "abort all", "free all", "free the loop",
    "call everything",
};

static struct play {
    enum place place; /* where it shall happen */
    enum deed deed;
    int reached;
    bool freeing;
    struct cast cast;
    struct { enum kind kind; void *handle; } all[256];
    size_t count;
} play;

static void play_keep(enum kind kind, void *handle)
{
    if (handle == NULL) return;
    CHECK(play.count < sizeof play.all / sizeof play.all[0]);
    play.all[play.count].kind = kind;
    play.all[play.count++].handle = handle;
}

static void play_free(enum kind kind)
{
    for (size_t i = 0; i < play.count; i++) {
        if (play.all[i].kind != kind) continue;
        if (kind == READER) eddy_reader_free(play.all[i].handle);
        if (kind == WRITER) eddy_writer_free(play.all[i].handle);
        if (kind == SERVER) eddy_server_free(play.all[i].handle);
        if (kind == PROTOCOL) eddy_protocol_free(play.all[i].handle);
        if (kind == TRANSPORT) eddy_transport_abort(play.all[i].handle);
    }
}

static void reach(enum place place)
{
    if (play.freeing) place = IN_FREE;
    if (place != play.place || play.reached++ != 0) return;
    switch (play.deed) {
    case FREE_READERS: play_free(READER); break;
    case FREE_WRITERS: play_free(WRITER); break;
    case FREE_SERVERS: play_free(SERVER); break;
    case FREE_PROTOCOLS: play_free(PROTOCOL); break;
    case ABORT_ALL:
        for (size_t i = 0; i < play.count; i++)
            if (play.all[i].kind == WRITER) eddy_writer_abort(play.all[i].handle);
        play_free(TRANSPORT);
        break;
    case FREE_ALL:
        for (enum kind kind = READER; kind < KINDS; kind++) play_free(kind), play_free(kind);
        break;
    case FREE_LOOP:
        eddy_loop_free(play.cast.of[LOOP]);
        eddy_loop_free(play.cast.of[LOOP]);
        break;
    case CALL_ALL:
        for (size_t i = 0; i < CALLS; i++)
            if (calls[i].manner != FREES) calls[i].call(play.cast.of[calls[i].takes]);
        break;
    default: break;
    }
}

/* Operations of the play: like those of the table, and they know their place. */
static enum place places[ASKS];

#define PLAY(in_place, call)                                                                       \
    (ask_begin(#call), places[asks_made - 1] = (in_place), ask_end(&asks[asks_made - 1], (call)))

static void play_hook(const struct ask *ask)
{
    reach(places[ask - asks]);
}

static void play_reported(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    (void)loop, (void)message, (void)error, (void)arg;
    reach(IN_REPORT);
}

static void play_own_hook(enum own_op op)
{
    static const enum place at[] = {
        [OWN_WRITE] = IN_WRITE_OP, [OWN_WRITE_EOF] = IN_WRITE_EOF_OP, [OWN_CLOSE] = IN_CLOSE_OP,
        [OWN_ABORT] = IN_ABORT_OP, [OWN_PAUSE] = IN_PAUSE_OP, [OWN_RESUME] = IN_RESUME_OP,
        [OWN_RELEASE] = IN_RELEASE_OP,
    };
    reach(at[op]);
}

static void play_opened(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    if (error == NULL) {
        play_keep(READER, reader), play_keep(WRITER, writer);
        eddy_writer_write(writer, "hello\n", 6);
        PLAY(IN_DRAIN, eddy_writer_drain(writer, asked_writer, asking));
        PLAY(IN_READ, eddy_reader_readline(reader, asked_read, asking));
        PLAY(IN_CLOSED, eddy_writer_wait_closed(writer, asked_writer, asking));
    }
    asked(arg, error);
    eddy_writer_write_eof(writer); /* refused if it is freed by now: either is fine */
}

static void play_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)arg;
    CHECK(error == NULL);
    play_keep(READER, reader), play_keep(WRITER, writer);
    PLAY(IN_READ, eddy_reader_readuntil(reader, "\n", 1, asked_read, asking));
    PLAY(IN_CLOSED, eddy_writer_wait_closed(writer, asked_writer, asking));
    reach(IN_CLIENT);
    eddy_writer_write(writer, "welcome\n", 8);
    eddy_writer_close(writer);
}

static void play_made(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)arg;
    CHECK(error == NULL);
    play_keep(READER, reader), play_keep(WRITER, writer);
    reach(IN_MADE);
    eddy_writer_write(writer, "made\n", 5);
    eddy_writer_write_eof(writer);
    PLAY(IN_READ, eddy_reader_readexactly(reader, 100, asked_read, asking));
}

static void play_serving(eddy_server *server, const eddy_error *error, void *arg)
{
    if (error == NULL) {
        play_keep(SERVER, server);
        const char *name = eddy_server_sockname(server, 0);
        CHECK(name != NULL && strrchr(name, ':') != NULL);
        const uint16_t port = (uint16_t)atoi(strrchr(name, ':') + 1);
        PLAY(IN_SERVER_CLOSED, eddy_server_wait_closed(server, asked_server, asking));
        PLAY(IN_OPEN, eddy_open_connection(play.cast.of[LOOP], "127.0.0.1", port, NULL, play_opened, asking));
    }
    asked(arg, error);
}

/* A stream over a transport of ours, that is fed, paused, written to, and closed. */
static void play_own(bool abort)
{
    struct own *own = NULL;
    eddy_loop *loop = play.cast.of[LOOP];
    eddy_reader *reader = eddy_reader_new(loop, 4);
    eddy_protocol *protocol = eddy_protocol_new(loop, reader, play_made, NULL);
    eddy_transport *transport = own_transport(loop, &own);
    if (own != NULL) own->protocol = protocol; /* else the loop is freed */
    play_keep(READER, reader), play_keep(PROTOCOL, protocol), play_keep(TRANSPORT, transport);
    eddy_protocol_connection_made(protocol, transport);
    eddy_protocol_data_received(protocol, "more than twice the limit", 25);
    for (int turn = 0; turn < 4; turn++) eddy_loop_run_once(loop, 0);
    if (abort) eddy_transport_abort(transport);
    else eddy_transport_close(transport);
}

static void play_once(enum place place, enum deed deed)
{
    memset(&play, 0, sizeof play);
    cast_make(&play.cast);
    eddy_loop *loop = play.cast.of[LOOP];
    reports_clear();
    asked_hook = play_hook;
    own_hook = play_own_hook;
    play.place = place;
    play.deed = deed;
    for (enum kind kind = READER; kind < KINDS; kind++) play_keep(kind, play.cast.of[kind]);
    CHECK_INT(eddy_loop_set_exception_handler(loop, play_reported, NULL), 0);

    PLAY(IN_CALL_SOON, eddy_loop_call_soon(loop, asked_loop, asking));
    PLAY(IN_CALL_LATER, eddy_loop_call_later(loop, 1, asked_loop, asking));
    PLAY(IN_THREADSAFE, eddy_loop_call_soon_threadsafe(loop, asked_loop, asking));
    PLAY(IN_SERVING, eddy_start_server(loop, play_client, "127.0.0.1", 0, NULL, play_serving, asking));
    eddy_reader_at_eof(NULL); /* something to report */
    play_own(false);
    play_own(true);
    if (place == IN_RESUME_OP || place == IN_PAUSE_OP) {
        PLAY(IN_READ, eddy_reader_readexactly(play.cast.of[READER], 3, asked_read, asking));
        eddy_protocol_data_received(play.cast.of[PROTOCOL], "more than twice the limit of the reader", 39);
        for (int turn = 0; turn < 3; turn++) eddy_loop_run_once(loop, 0);
        PLAY(IN_READ, eddy_reader_read(play.cast.of[READER], 100, asked_read, asking));
    }
    if (place != IN_FREE) {
        for (int turn = 0; turn < 400 && play.reached == 0; turn++) {
            eddy_loop_run_once(loop, 2);
            if (turn == 20)
                for (size_t i = 0; i < play.count; i++)
                    if (play.all[i].kind == SERVER) eddy_server_close(play.all[i].handle);
        }
        for (int turn = 0; turn < 20; turn++) eddy_loop_run_once(loop, 0);
    }
    play.freeing = true;
    eddy_loop_free(loop);
    asked_hook = NULL;
    own_hook = NULL;
    if (play.reached == 0) FAIL("the %s callback was never reached", place_names[place]);
    asks_check();
    owns_check();
    far_ends_close();
}

static void play_deed(enum deed deed)
{
    for (enum place place = NOWHERE + 1; place < PLACES; place++) {
        if (getenv("EDDY_TEST_VERBOSE") != NULL) fprintf(stderr, "%s in %s\n", deed_names[deed], place_names[place]);
        play_once(place, deed);
    }
}

TEST(readers_can_be_freed_in_every_callback, "e04") { play_deed(FREE_READERS); }
TEST(writers_can_be_freed_in_every_callback, "e04") { play_deed(FREE_WRITERS); }
TEST(servers_can_be_freed_in_every_callback, "e04") { play_deed(FREE_SERVERS); }
TEST(protocols_can_be_freed_in_every_callback, "e04") { play_deed(FREE_PROTOCOLS); }
TEST(streams_can_be_aborted_in_every_callback, "") { play_deed(ABORT_ALL); }
TEST(everything_can_be_freed_in_every_callback, "e04") { play_deed(FREE_ALL); }
TEST(the_loop_can_be_freed_in_every_callback, "e04") { play_deed(FREE_LOOP); }
TEST(every_function_can_be_called_in_every_callback, "") { play_deed(CALL_ALL); }

/* ---- one callback frees another's handle, whose event is already there --------------------------------- */

static struct pair {
    eddy_reader *reader;
    eddy_writer *writer;
    int far; /* the plain end */
    struct ask *read;
} pairs[3];

static bool open_a_third;

static void pair_opened(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    struct pair *pair = arg;
    CHECK(error == NULL);
    pair->reader = reader;
    pair->writer = writer;
}

static void third_opened(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    pair_opened(reader, writer, error, arg);
    CHECK(ASK(eddy_reader_read(reader, 100, asked_read, asking)) >= 0);
    pairs[2].read = asking;
}

static void pair_open(eddy_loop *loop, struct pair *pair, eddy_stream_cb opened)
{
    int ends[2];
    plain_unix_pair(ends);
    pair->far = ends[1];
    CHECK(eddy_open_socket(loop, ends[0], NULL, opened, pair) >= 0);
}

static eddy_loop *pairs_loop;

static void pair_read(const struct ask *ask)
{
    if (ask->code == EDDY_ECANCELED || (ask != pairs[0].read && ask != pairs[1].read)) return;
    eddy_writer_free(pairs[ask == pairs[0].read ? 1 : 0].writer);
    if (open_a_third) pair_open(pairs_loop, &pairs[2], third_opened);
}

static void free_the_other(bool third)
{
    eddy_loop *loop = pairs_loop = begin();
    open_a_third = third;
    for (size_t i = 0; i < 2; i++) pair_open(loop, &pairs[i], pair_opened);
    turns(loop);
    for (size_t i = 0; i < 2; i++) {
        CHECK(ASK(eddy_reader_read(pairs[i].reader, 100, asked_read, asking)) >= 0);
        pairs[i].read = asking;
    }
    turns(loop);
    asked_hook = pair_read;
    plain_send_text(pairs[0].far, "for the first");
    plain_send_text(pairs[1].far, "for the second");
    for (int turn = 0; turn < 10; turn++) CHECK(eddy_loop_run_once(loop, 1) >= 0);
    CHECK_INT(pairs[0].read->called, 1);
    CHECK_INT(pairs[1].read->called, 1);
    /* Whichever came first freed the other one, whose bytes were there: it was canceled all the same. */
    CHECK((pairs[0].read->code == 0) != (pairs[1].read->code == 0));
    CHECK_INT(pairs[0].read->code + pairs[1].read->code, EDDY_ECANCELED);
    if (third) { /* in a place that was just let go, by descriptor or by handle: it gets nobody else's events */
        CHECK_INT(pairs[2].read->called, 0);
        CHECK_INT(eddy_reader_buffered(pairs[2].reader, NULL), 0);
        CHECK(!eddy_reader_at_eof(pairs[2].reader));
        plain_send_text(pairs[2].far, "for the third");
        for (int turn = 0; turn < 10; turn++) CHECK(eddy_loop_run_once(loop, 1) >= 0);
        CHECK_INT(pairs[2].read->called, 1);
        CHECK_INT(pairs[2].read->code, 0);
        close(pairs[2].far);
    }
    asked_hook = NULL;
    close(pairs[0].far), close(pairs[1].far);
    finish(loop);
}

TEST(a_stream_freed_by_another_gets_none_of_its_events, "e02")
{
    free_the_other(false);
}

TEST(a_stream_opened_in_its_place_gets_none_either, "e03")
{
    free_the_other(true);
}

/* ---- the loop is freed --------------------------------------------------------------------------------- */

/* All of these wait when the loop is freed: each ends then, once, as canceled. */
static void free_waiting(eddy_loop *loop, size_t first, int least)
{
    int waiting = 0;
    for (size_t i = first; i < asks_made; i++) waiting += asks[i].op >= 0 && asks[i].called == 0;
    if (waiting < least) FAIL("%d operations wait, not %d", waiting, least);
    const size_t last = asks_made;
    bool *waits = calloc(last - first, sizeof *waits);
    CHECK(waits != NULL);
    for (size_t i = first; i < last; i++) waits[i - first] = asks[i].op >= 0 && asks[i].called == 0;
    eddy_loop_free(loop);
    for (size_t i = first; i < last; i++)
        if (waits[i - first] && (asks[i].called != 1 || asks[i].code != EDDY_ECANCELED))
            FAIL("called %d times, with %d: %s", asks[i].called, asks[i].code, asks[i].what);
    free(waits);
    asks_check();
    owns_check();
    far_ends_close();
}

static eddy_reader *last_reader;
static eddy_writer *last_writer;

static void keep_stream(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)arg;
    CHECK(error == NULL);
    last_reader = reader;
    last_writer = writer;
}

/* A stream over a socket whose other end nobody reads. */
static void open_stream(eddy_loop *loop)
{
    last_writer = NULL;
    CHECK(eddy_open_socket(loop, near_end(), NULL, keep_stream, NULL) >= 0);
    for (int turn = 0; turn < 100 && last_writer == NULL; turn++) CHECK(eddy_loop_run_once(loop, 10) >= 0);
    CHECK(last_writer != NULL);
}

static void fill(eddy_writer *writer)
{
    static char chunk[1 << 20];
    for (int i = 0; i < 4; i++) CHECK(eddy_writer_write(writer, chunk, sizeof chunk) >= 0);
}

TEST(freeing_a_loop_cancels_what_was_just_started, "")
{
    const int before = threads();
    struct cast cast;
    cast_make(&cast);
    const size_t first = asks_made - 1;
    for (size_t i = 0; i < CALLS; i++)
        if (calls[i].manner == PLAINLY && calls[i].answer == CODE && calls[i].takes == LOOP &&
            strncmp(calls[i].name, "eddy_loop_run", 13) != 0)
            calls[i].call(cast.of[LOOP]);
    ASK(eddy_open_connection(cast.of[LOOP], "localhost", 1, NULL, asked_stream, asking));
    ASK(eddy_start_server(cast.of[LOOP], came, "localhost", 0, NULL, asked_server, asking));
    free_waiting(cast.of[LOOP], first, 10);
    resolvers_end(before);
}

TEST(freeing_a_loop_cancels_what_is_resolving, "d01")
{
    const int before = threads();
    for (int turn = 0; turn < 3; turn++) {
        eddy_loop *loop = begin();
        const size_t first = asks_made;
        for (int i = 0; i < 8; i++)
            CHECK(ASK(eddy_open_connection(loop, "no-such-name.invalid", 80, NULL, asked_stream, asking)) >= 0);
        CHECK(ASK(eddy_start_server(loop, came, "no-such-name.invalid", 80, NULL, asked_server, asking)) >= 0);
        for (int k = 0; k < turn; k++) CHECK(eddy_loop_run_once(loop, 0) >= 0);
        free_waiting(loop, first, turn == 0 ? 9 : 0);
    }
    resolvers_end(before);
}

TEST(freeing_a_loop_cancels_what_is_connecting, "d01")
{
    eddy_loop *loop = begin();
    struct plain_full full = plain_full_listener();
    const size_t first = asks_made;
    for (int i = 0; i < 3; i++)
        CHECK(ASK(eddy_open_connection(loop, "127.0.0.1", full.port, NULL, asked_stream, asking)) >= 0);
    for (int turn = 0; turn < 5; turn++) CHECK(eddy_loop_run_once(loop, 2) >= 0);
    free_waiting(loop, first, 3);
    plain_full_close(&full);

    /* The same over a unix socket, whose queue is full as well. */
    char path[108];
    snprintf(path, sizeof path, "@eddy-misuse-full-%ld", (long)getpid());
    const int listener = plain_unix_listen(path, 0);
    int waiting[8];
    int count = 0;
    while (count < 8 && (waiting[count] = plain_unix_try_connect(path, SOCK_NONBLOCK)) >= 0) count++;
    CHECK(count < 8);
    loop = begin();
    const size_t second = asks_made;
    CHECK(ASK(eddy_open_unix_connection(loop, path, NULL, asked_stream, asking)) >= 0);
    for (int turn = 0; turn < 5; turn++) CHECK(eddy_loop_run_once(loop, 2) >= 0);
    free_waiting(loop, second, 1);
    while (count > 0) close(waiting[--count]);
    close(listener);
}

TEST(freeing_a_loop_cancels_what_waits_on_a_stream, "d01")
{
    const size_t first = asks_made;
    eddy_loop *loop = begin();
    eddy_reader *by_hand = eddy_reader_new(loop, 16);
    CHECK(ASK(eddy_reader_readline(by_hand, asked_read, asking)) >= 0);
    open_stream(loop); /* reading */
    CHECK(ASK(eddy_reader_read(last_reader, EDDY_UNTIL_EOF, asked_read, asking)) >= 0);
    CHECK(ASK(eddy_writer_wait_closed(last_writer, asked_writer, asking)) >= 0);
    open_stream(loop); /* writing, draining */
    fill(last_writer);
    CHECK(ASK(eddy_writer_drain(last_writer, asked_writer, asking)) >= 0);
    CHECK(ASK(eddy_writer_drain(last_writer, asked_writer, asking)) >= 0);
    open_stream(loop); /* closing, with much to send first */
    fill(last_writer);
    CHECK_INT(eddy_writer_close(last_writer), 0);
    CHECK(ASK(eddy_writer_wait_closed(last_writer, asked_writer, asking)) >= 0);
    open_stream(loop); /* freed, and still sending */
    fill(last_writer);
    CHECK(ASK(eddy_writer_wait_closed(last_writer, asked_writer, asking)) >= 0);
    eddy_writer_free(last_writer);
    open_stream(loop); /* end of file to be sent */
    fill(last_writer);
    CHECK_INT(eddy_writer_write_eof(last_writer), 0);
    CHECK(ASK(eddy_reader_readexactly(last_reader, 3, asked_read, asking)) >= 0);
    for (int turn = 0; turn < 5; turn++) CHECK(eddy_loop_run_once(loop, 2) >= 0);
    free_waiting(loop, first, 8);
}

TEST(freeing_a_loop_cancels_what_was_decided_but_not_told, "")
{
    const size_t first = asks_made;
    eddy_loop *loop = begin();
    eddy_reader *reader = eddy_reader_new(loop, 16);
    CHECK_INT(eddy_reader_feed_data(reader, "there", 5), 0);
    CHECK(ASK(eddy_reader_read(reader, 5, asked_read, asking)) >= 0);
    CHECK(ASK(eddy_loop_call_soon(loop, asked_loop, asking)) >= 0);
    CHECK(ASK(eddy_loop_call_soon_threadsafe(loop, asked_loop, asking)) >= 0);
    const eddy_op canceled = ASK(eddy_loop_call_later(loop, 1000, asked_loop, asking));
    CHECK_INT(eddy_loop_cancel(loop, canceled), 0);
    eddy_loop_free(loop);
    for (size_t i = first; i < asks_made; i++) CHECK_INT(asks[i].called, 1);
    asks_check();
}

TEST(freeing_a_loop_ends_its_servers_and_their_clients, "")
{
    const size_t first = asks_made;
    struct cast cast;
    cast_make(&cast);
    const char *name = eddy_server_sockname(cast.of[SERVER], 0);
    const uint16_t port = (uint16_t)atoi(strrchr(name, ':') + 1);
    const int served = plain_connect(port);
    CHECK(ASK(eddy_server_wait_closed(cast.of[SERVER], asked_server, asking)) >= 0);
    for (int turn = 0; turn < 5; turn++) CHECK(eddy_loop_run_once(cast.of[LOOP], 2) >= 0);
    const int unserved = plain_connect(port); /* in the backlog for ever */
    free_waiting(cast.of[LOOP], first, 2);
    char bytes[8];
    CHECK(recv(served, bytes, sizeof bytes, 0) <= 0);
    CHECK(recv(unserved, bytes, sizeof bytes, 0) <= 0);
    CHECK(plain_knock(port) != 0);
    close(served);
    close(unserved);
}

/* From within the callbacks that loop_free makes, more may be started, refused or not: that ends once as well. */
static eddy_loop *freed_loop;

static void start_more(const struct ask *ask)
{
    if (asks_made > 5000 || ask->code != EDDY_ECANCELED) return;
    ASK(eddy_loop_call_soon(freed_loop, asked_loop, asking));
    ASK(eddy_loop_call_later(freed_loop, 5, asked_loop, asking));
    ASK(eddy_reader_read(last_reader, 1, asked_read, asking));
    ASK(eddy_open_connection(freed_loop, "127.0.0.1", 1, NULL, asked_stream, asking));
    ASK(eddy_open_connection(freed_loop, "localhost", 1, NULL, asked_stream, asking));
    eddy_reader_new(freed_loop, 16);
    eddy_writer_write(last_writer, "more", 4);
    eddy_loop_free(freed_loop);
    CHECK(eddy_loop_run_once(freed_loop, 0) < 0);
}

TEST(operations_started_while_the_loop_is_freed_end_once, "")
{
    const int before = threads();
    eddy_loop *loop = freed_loop = begin();
    open_stream(loop);
    CHECK(ASK(eddy_reader_read(last_reader, 1, asked_read, asking)) >= 0);
    for (int i = 0; i < 3; i++) CHECK(ASK(eddy_loop_call_later(loop, 1000, asked_loop, asking)) >= 0);
    asked_hook = start_more;
    eddy_loop_free(loop);
    asked_hook = NULL;
    asks_check();
    far_ends_close();
    resolvers_end(before);
}

TEST(a_loop_freed_while_it_runs_goes_when_run_returns, "")
{
    for (int how = 0; how < 3; how++) {
        struct cast cast;
        cast_make(&cast);
        memset(&play, 0, sizeof play);
        play.cast = cast;
        play.place = IN_CALL_SOON;
        play.deed = FREE_LOOP;
        asked_hook = play_hook;
        PLAY(IN_CALL_SOON, eddy_loop_call_soon(cast.of[LOOP], asked_loop, asking));
        ASK(eddy_reader_read(cast.of[READER], 1, asked_read, asking));
        int code = 0;
        if (how == 0) code = eddy_loop_run(cast.of[LOOP]); /* the server would keep it for ever */
        if (how == 1) code = eddy_loop_run_forever(cast.of[LOOP]);
        if (how == 2) code = eddy_loop_run_once(cast.of[LOOP], 10000 * eddy_test_slow());
        CHECK(code >= 0);
        asked_hook = NULL;
        CHECK_INT(play.reached, 1);
        CHECK_INT(asks[asks_made - 1].code, EDDY_ECANCELED);
        CHECK_INT(eddy_loop_run_once(cast.of[LOOP], 0), EDDY_ESTALE);
        asks_check();
        owns_check();
        far_ends_close();
    }
}

TEST(freeing_twice_is_freeing_once, "a04")
{
    struct cast cast;
    cast_make(&cast);
    for (int times = 0; times < 3; times++) {
        eddy_reader_free(cast.of[READER]);
        eddy_writer_free(cast.of[WRITER]);
        eddy_server_free(cast.of[SERVER]);
        eddy_protocol_free(cast.of[PROTOCOL]);
        if (times == 1) turns(cast.of[LOOP]);
    }
    reports_clear();
    turns(cast.of[LOOP]);
    if (reports_count != 0) FAIL("freeing twice reports:%s", reports_text);
    for (int times = 0; times < 3; times++) eddy_loop_free(cast.of[LOOP]);
    asks_check();
    owns_check();
    far_ends_close();
}

TEST(there_are_many_loops_but_not_endlessly_many, "")
{
    eddy_loop *loops[300];
    size_t count = 0;
    while (count < 300 && (loops[count] = eddy_loop_new()) != NULL)
        CHECK_INT(eddy_loop_set_exception_handler(loops[count++], reported, NULL), 0);
    CHECK(count >= 200);
    CHECK(count <= 255);
    for (size_t i = 0; i < count; i++) CHECK(eddy_loop_fd(loops[i]) >= 0);
    for (size_t i = 0; i < count; i++) eddy_loop_free(loops[i]);
    for (int round = 0; round < 1000; round++) { /* and they come back */
        eddy_loop *loop = eddy_loop_new();
        CHECK(loop != NULL);
        CHECK(eddy_loop_fd(loop) >= 0);
        eddy_loop_free(loop);
    }
}
