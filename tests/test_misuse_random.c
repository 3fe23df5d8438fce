/* Calls at random: any function of the header, with live, freed and wrong handles, between turns of the loops and
 * from within callbacks. Whatever is accepted calls back once, whatever is refused never, and nothing breaks. The
 * numbers are the same on every machine; to try one round again: EDDY_TEST_SEED=17 test_misuse_random. */
#include "misuse.h"

#include <limits.h>

enum { ROUNDS = 80, CALLS_A_ROUND = 250, LOOPS = 3, KEPT = 512 };

/* ---- chance -------------------------------------------------------------------------------------------- */

static uint64_t chance_state;

static uint32_t chance(uint32_t below)
{
    chance_state = chance_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((chance_state >> 33) % below);
}

static bool once_in(uint32_t times)
{
    return chance(times) == 0;
}

/* ---- all handles ever seen in this round --------------------------------------------------------------- */

static void *kept[KEPT];
static size_t kept_count;
static eddy_loop *loops[LOOPS];
static int depth; /* of callbacks within callbacks: a loop run inside another's callback */
static int calls_made, calls_within, calls_accepted;
static char unix_path[64];
static uint16_t port;

static void keep(void *handle)
{
    if (handle == NULL) return;
    kept[kept_count < KEPT ? kept_count++ : chance(KEPT)] = handle;
}

/* Mostly one that is kept, which may be freed by now, or of any kind; the latest are the liveliest. */
static void *any_handle(void)
{
    switch (chance(40)) {
    case 0: return NULL;
    case 1: return (void *)((uintptr_t)chance(UINT32_MAX) << 32 | chance(UINT32_MAX));
    case 2: return (void *)((uintptr_t)kept[chance((uint32_t)kept_count)] ^ (uintptr_t)1 << chance(64));
    default:
        if (kept_count > 24 && !once_in(3)) return kept[kept_count - 1 - chance(24)];
        return kept[chance((uint32_t)kept_count)];
    }
}

static eddy_loop *any_loop(void)
{
    return once_in(20) ? any_handle() : loops[chance(LOOPS)];
}

static bool looks_like(const void *handle, const char *name)
{
    return strncmp(eddy_repr(handle), name, strlen(name)) == 0;
}

/* One that is of the right kind, if a few tries find one. */
static void *some(const char *name)
{
    void *handle = any_handle();
    for (int tries = 0; tries < 6 && !looks_like(handle, name); tries++) handle = any_handle();
    return handle;
}

static eddy_reader *some_reader(void) { return some("<eddy_reader"); }
static eddy_writer *some_writer(void) { return some("<eddy_writer"); }
static eddy_server *some_server(void) { return some("<eddy_server"); }
static eddy_protocol *some_protocol(void) { return some("<eddy_protocol"); }
static eddy_transport *some_transport(void) { return some("<eddy_transport"); }

/* ---- one call ------------------------------------------------------------------------------------------ */

static const char *bytes_at_random(size_t *len)
{
    static char bytes[200000];
    *len = once_in(50) ? chance(sizeof bytes) : chance(40);
    for (size_t i = 0; i < *len; i++) bytes[i] = once_in(8) ? '\n' : (char)('a' + i % 7);
    return bytes;
}

static size_t count_at_random(void)
{
    static const size_t odd[] = { 0, 1, SIZE_MAX, SIZE_MAX - 1, SSIZE_MAX, (size_t)SSIZE_MAX + 1, 65536, 65537 };
    return once_in(10) ? odd[chance(sizeof odd / sizeof odd[0])] : chance(30);
}

static void custom_stream(eddy_loop *loop)
{
    struct own *own = NULL;
    eddy_reader *reader = once_in(3) ? some_reader() : eddy_reader_new(loop, 1 + chance(50));
    eddy_protocol *protocol = eddy_protocol_new(loop, reader, once_in(2) ? came : NULL, NULL);
    eddy_transport *transport = own_transport(loop, &own);
    if (own != NULL) own->protocol = protocol;
    keep(reader), keep(protocol), keep(transport);
    if (!once_in(4)) eddy_protocol_connection_made(protocol, transport);
    if (!once_in(3)) keep(eddy_writer_new(transport, protocol, reader));
}

static void adopted_stream(eddy_loop *loop)
{
    if (far_ends_count > 200) return;
    int ends[2];
    if (once_in(2)) plain_unix_pair(ends);
    else plain_tcp_pair(ends);
    far_end_keep(ends[1]);
    given(ends[0], ASK(eddy_open_socket(loop, ends[0], NULL, asked_stream, asking)));
}

/* The plain ends of adopted streams talk, listen, or hang up. */
static void far_end_acts(void)
{
    if (far_ends_count == 0) return;
    static char bytes[4096];
    size_t len, at = chance((uint32_t)far_ends_count);
    const int fd = far_ends[at];
    const char *sent = bytes_at_random(&len);
    switch (chance(8)) {
    case 0: shutdown(fd, SHUT_WR); break;
    case 1:
        if (once_in(2)) plain_reset(fd);
        else close(fd);
        far_ends[at] = far_ends[--far_ends_count];
        break;
    case 2: case 3:
        if (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) < 0) return;
        break;
    default:
        if (send(fd, sent, len < 4096 ? len : 4096, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return;
    }
}

static void one_call(void)
{
    size_t len;
    const char *bytes = bytes_at_random(&len);
    eddy_options odd = { .size = sizeof odd, .limit = chance(3) * 10, .max_write_buffer = chance(3) * 1000, .backlog = (int)chance(3),
                         .max_clients = chance(3), .delay = once_in(2),
                         .timeout_ms = once_in(9) ? EDDY_NEVER : chance(4),
                         .happy_eyeballs_ms = once_in(9) ? EDDY_NEVER : chance(3) };
    const eddy_options *options = once_in(2) ? NULL : &odd;
    const eddy_bytes two[] = { { "\n", 1 }, { "ab", 2 } };
    const char *looked;
    calls_made++;
    if (depth > 0) calls_within++;
    switch (chance(65)) {
    case 0: eddy_reader_free(some_reader()); break;
    case 1: eddy_writer_free(some_writer()); break;
    case 2: if (once_in(3)) eddy_server_free(some_server()); break;
    case 3: if (once_in(2)) eddy_protocol_free(some_protocol()); break;
    case 4: case 5: ASK(eddy_reader_read(some_reader(), count_at_random(), asked_read, asking)); break;
    case 6: case 7: ASK(eddy_reader_readline(some_reader(), asked_read, asking)); break;
    case 8: ASK(eddy_reader_readexactly(some_reader(), count_at_random(), asked_read, asking)); break;
    case 9: ASK(eddy_reader_readuntil(some_reader(), bytes, chance(3), asked_read, asking)); break;
    case 10: ASK(eddy_reader_readuntil_any(some_reader(), two, chance(3), asked_read, asking)); break;
    case 11: ASK(eddy_reader_readall(some_reader(), count_at_random(), asked_read, asking)); break;
    case 12: eddy_reader_at_eof(some_reader()); break;
    case 13: eddy_reader_buffered(some_reader(), &looked); break;
    case 14: case 15: case 16: eddy_reader_feed_data(some_reader(), bytes, len); break;
    case 17: if (once_in(3)) eddy_reader_feed_eof(some_reader()); break;
    case 18: if (once_in(3)) eddy_reader_set_exception(some_reader(), (int)chance(9), "by chance"); break;
    case 19: eddy_error_message(eddy_reader_exception(some_reader())); break;
    case 20: eddy_reader_set_transport(some_reader(), some_transport()); break;
    case 21: keep(eddy_writer_new(some_transport(), some_protocol(), some_reader())); break;
    case 22: case 23: case 24: case 25: eddy_writer_write(some_writer(), bytes, len); break;
    case 26: eddy_writer_writelines(some_writer(), two, 2); break;
    case 27: case 28: ASK(eddy_writer_drain(some_writer(), asked_writer, asking)); break;
    case 29: if (once_in(2)) eddy_writer_write_eof(some_writer()); break;
    case 30: eddy_writer_can_write_eof(some_writer()); break;
    case 31: if (once_in(2)) eddy_writer_close(some_writer()); break;
    case 32: if (once_in(3)) eddy_writer_abort(some_writer()); break;
    case 33: eddy_writer_is_closing(some_writer()); break;
    case 34: eddy_writer_set_write_buffer_limits(some_writer(), count_at_random(), count_at_random()); break;
    case 35: eddy_writer_get_write_buffer_size(some_writer()); break;
    case 36: ASK(eddy_writer_wait_closed(some_writer(), asked_writer, asking)); break;
    case 37:
        eddy_writer_get_extra_info(some_writer(), once_in(2) ? "peername" : "socket", once_in(3) ? NULL : &len);
        break;
    case 38: keep(eddy_writer_transport(some_writer())); break;
    case 39: if (once_in(4)) eddy_server_close(some_server()); break;
    case 40: if (once_in(3)) ASK(eddy_server_wait_closed(some_server(), asked_server, asking)); break;
    case 41: if (once_in(4)) eddy_server_close_clients(some_server()); break;
    case 42: if (once_in(4)) eddy_server_abort_clients(some_server()); break;
    case 63:
        if (once_in(3)) eddy_server_pause(some_server());
        else if (once_in(2)) eddy_server_resume(some_server());
        else if (once_in(6))
            ASK(eddy_server_shutdown(some_server(), once_in(5) ? EDDY_NEVER : chance(4), asked_server, asking));
        break;
    case 43: eddy_server_sockname(some_server(), chance(2)), eddy_server_socket(some_server(), chance(2)); break;
    case 44: custom_stream(any_loop()); break;
    case 45: eddy_transport_set_extra_info(some_transport(), "peername", bytes, chance(9)); break;
    case 46: eddy_transport_pause_reading(some_transport()); break;
    case 47: eddy_transport_resume_reading(some_transport()); break;
    case 48:
        if (once_in(2)) eddy_transport_close(some_transport());
        else eddy_transport_abort(some_transport());
        break;
    case 49: eddy_protocol_connection_made(some_protocol(), some_transport()); break;
    case 50: case 51: eddy_protocol_data_received(some_protocol(), bytes, len); break;
    case 52:
        if (once_in(4)) eddy_protocol_eof_received(some_protocol());
        if (once_in(4)) eddy_protocol_connection_lost(some_protocol(), (int)chance(5), once_in(2) ? NULL : "by chance");
        break;
    case 53:
        if (once_in(2)) eddy_protocol_pause_writing(some_protocol());
        else eddy_protocol_resume_writing(some_protocol());
        break;
    case 54: ASK(eddy_loop_call_soon(any_loop(), asked_loop, asking)); break;
    case 55: ASK(eddy_loop_call_later(any_loop(), once_in(5) ? UINT64_MAX : chance(4), asked_loop, asking)); break;
    case 56: ASK(eddy_loop_call_soon_threadsafe(any_loop(), asked_loop, asking)); break;
    case 57: case 58: {
        eddy_op op = once_in(3) ? (eddy_op)((uint64_t)chance(UINT32_MAX) << 32 | chance(UINT32_MAX))
                                : asks[asks_made - 1 - chance(asks_made < 50 ? (uint32_t)asks_made : 50)].op;
        eddy_loop_cancel(any_loop(), op);
        break;
    }
    case 59:
        if (once_in(2)) ASK(eddy_open_unix_connection(any_loop(), unix_path, options, asked_stream, asking));
        else ASK(eddy_open_connection(any_loop(), "127.0.0.1", once_in(9) ? 1 : port, options, asked_stream, asking));
        break;
    case 60:
        if (once_in(4)) ASK(eddy_start_unix_server(any_loop(), came, unix_path, options, asked_server, asking));
        else if (once_in(3)) ASK(eddy_start_server(any_loop(), came, "127.0.0.1", 0, options, asked_server, asking));
        break;
    case 61: adopted_stream(any_loop()); break;
    case 62: keep(eddy_reader_new(any_loop(), once_in(9) ? count_at_random() : 1 + chance(30))); break;
    default: {
        const struct call *call = &calls[chance(CALLS)];
        void *handle = any_handle();
        if (call->takes == LOOP) {
            if (call->manner == CHANGES_THREAD || call->manner == FREES) break;
            if (strcmp(call->name, "eddy_loop_set_exception_handler") == 0) break;
            if (depth > 1 && strncmp(call->name, "eddy_loop_run", 13) == 0) break;
        }
        const long long answer = call->call(handle);
        if (call->answer == POINTER && strstr(call->name, "_new") != NULL) keep((void *)(intptr_t)answer);
    }
    }
    if (once_in(3)) far_end_acts();
}

static void within(const struct ask *ask)
{
    (void)ask;
    if (depth > 3) return;
    depth++;
    for (uint32_t i = chance(3); i > 0; i--) one_call();
    depth--;
}

static void within_own(enum own_op op)
{
    (void)op;
    within(NULL);
}

static void silently(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    (void)loop, (void)error, (void)arg;
    if (strstr(message, "panic") != NULL) FAIL("reported: %s", message);
    within(NULL);
}

/* ---- one round ----------------------------------------------------------------------------------------- */

static void a_round(uint64_t seed)
{
    if (getenv("EDDY_TEST_VERBOSE") != NULL) fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
    chance_state = seed * 0x9e3779b97f4a7c15u + 1;
    kept_count = 0;
    snprintf(unix_path, sizeof unix_path, "@eddy-random-%ld-%llu", (long)getpid(), (unsigned long long)seed);
    brought_hook = keep;
    struct cast cast; /* on the first of the loops; the table needs it */
    cast_make(&cast);
    loops[0] = cast.of[LOOP];
    for (size_t i = 1; i < LOOPS; i++) loops[i] = eddy_loop_new();
    for (size_t i = 0; i < LOOPS; i++) CHECK_INT(eddy_loop_set_exception_handler(loops[i], silently, NULL), 0);
    for (size_t kind = 0; kind < KINDS; kind++) keep(cast.of[kind]);
    const char *name = eddy_server_sockname(cast.of[SERVER], 0);
    port = (uint16_t)atoi(strrchr(name, ':') + 1);
    for (size_t i = 0; i < LOOPS; i++) custom_stream(loops[i]), adopted_stream(loops[i]);
    ASK(eddy_start_unix_server(loops[LOOPS - 1], came, unix_path, NULL, asked_server, asking));

    asked_hook = within;
    own_hook = within_own;
    for (int i = 0; i < CALLS_A_ROUND;) {
        const int before = calls_made;
        one_call();
        if (once_in(4))
            for (size_t k = 0; k < LOOPS; k++) CHECK(eddy_loop_run_once(loops[k], 0) >= 0);
        if (once_in(40))
            for (size_t k = 0; k < LOOPS; k++) CHECK(eddy_loop_run_once(loops[k], 1) >= 0);
        i += calls_made - before;
    }
    if (once_in(2)) asked_hook = NULL, own_hook = NULL;
    for (size_t i = 0; i < LOOPS; i++) eddy_loop_free(loops[(i + seed) % LOOPS]);
    asked_hook = NULL;
    own_hook = NULL;
    brought_hook = NULL;
    calls_accepted += asks_check();
    owns_check();
    far_ends_close();
}

TEST(calls_at_random_break_nothing, "")
{
    const char *seed = getenv("EDDY_TEST_SEED");
    const int rounds = ROUNDS / eddy_test_slow() > 4 ? ROUNDS / eddy_test_slow() : 4;
    if (seed != NULL) {
        a_round(strtoull(seed, NULL, 10));
    } else {
        for (int round = 0; round < rounds; round++) {
            alarm(60); /* for each */
            a_round((uint64_t)round);
        }
    }
    printf("seeds 0 to %d: %d calls, %d from within callbacks, %d operations accepted and called back\n", rounds - 1,
           calls_made, calls_within, calls_accepted);
}
