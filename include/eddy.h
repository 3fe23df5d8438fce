/* eddy.h - buffered streams over an event loop, for C and everything that speaks C.
 *
 * The rules, once, for the whole header:
 *
 *  1. Every pointer to an eddy type that is not const is a handle: a ticket, not an address. It may be
 *     copied, compared and kept, and never looked into. A handle that is NULL, freed, of another kind, or
 *     of another thread's loop is refused with an error; it is never undefined behaviour.
 *  2. A loop and all its handles belong to the thread that made the loop, or attached it. From elsewhere
 *     only eddy_loop_call_soon_threadsafe() may be called. An eddy_tls belongs to no loop, and to all
 *     threads. After fork() the child may free what it inherited, and make loops of its own. A thread that
 *     ends takes its loops along, and so does exit() with those of the thread that calls it: descriptors are
 *     closed, and nobody is called any more.
 *  3. Your functions are called from within eddy_loop_run(), _run_forever(), _run_once() and
 *     eddy_loop_free(), and from nowhere else: never from within the call that started the operation. You
 *     may call anything in this header from within them, except the three that run, for the same loop;
 *     eddy_loop_free() then waits until run returns. They may not throw, longjmp or end the thread, and the
 *     thread may not be cancelled (pthread_cancel) while it runs a loop.
 *  4. Calls that return eddy_op start something. Not negative: accepted, and the callback will run exactly
 *     once, whatever happens. Negative: refused, and it will never run. Other calls return 0, or a negative
 *     code. Refusals tell of the caller's mistakes; callbacks tell of the world's.
 *  5. What you pass in is copied: yours again when the call returns. What a callback is given besides
 *     handles is lent: good until it returns. Text, and bytes that a read lends, are followed by a NUL that
 *     their length leaves out. Text is UTF-8, ports are numbers of the host's own order, times are
 *     milliseconds. errno after a call means nothing.
 *  6. Freeing a loop frees all that lives on it. Freeing a writer closes its connection and frees its
 *     reader. Freeing anything, at any time, inside any callback, twice, or freeing NULL, is safe. Reads and
 *     drains then end with EDDY_ECANCELED. The callback of eddy_writer_wait_closed() is the last of its
 *     connection, also after eddy_writer_free(): free what its callbacks share there. Standing callbacks
 *     (clients, signals, exceptions) run any number of times, and never again once the call that ends them
 *     has returned.
 *  7. Options may be NULL. A zero field asks for the default.
 *  8. What a code cannot tell (a handle that is no good, a refusal by a call that returns no code, a client
 *     that could not be accepted) goes to the exception handler of the calling thread's loop, from its next
 *     run. Nothing is printed but by the default one. No signal is raised, and none is handled but those that
 *     eddy_loop_add_signal_handler() asks for, in front of the handlers that the program has. */
#ifndef EDDY_H
#define EDDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EDDY_VERSION "0.1.0"
#define EDDY_VERSION_NUMBER 0x000100

#ifdef __cplusplus
extern "C" {
#endif

typedef struct eddy_loop eddy_loop;
typedef struct eddy_reader eddy_reader;
typedef struct eddy_writer eddy_writer;
typedef struct eddy_server eddy_server;
typedef struct eddy_protocol eddy_protocol;
typedef struct eddy_transport eddy_transport;
typedef struct eddy_tls eddy_tls;

/* A receipt for something started, to cancel it by; or, negative, the reason why it was refused. */
typedef int64_t eddy_op;

/* Bytes that lie somewhere else. */
typedef struct eddy_bytes {
    const void *data;
    size_t len;
} eddy_bytes;

/* ---- errors -------------------------------------------------------------------------------------------- */

/* From -1: the caller's mistakes, returned at once. From -32: the world's troubles, told to callbacks.
 * Positive codes are yours, for eddy_reader_set_exception() and eddy_protocol_connection_lost(). */
enum {
    EDDY_OK = 0,
    /* An argument makes no sense. */
    EDDY_EINVAL = -1,
    /* The handle is NULL, freed, of another kind, or of another loop than the one it is used with. */
    EDDY_ESTALE = -2,
    /* The handle's loop belongs to another thread. */
    EDDY_ETHREAD = -3,
    /* Somebody is already waiting for this. */
    EDDY_EBUSY = -4,
    /* Too early or too late for this. */
    EDDY_ESTATE = -5,
    /* This transport or this platform cannot. */
    EDDY_ENOTSUP = -6,
    /* Beyond options.max_write_buffer, or there is no memory for it; nothing was taken. */
    EDDY_EFULL = -7,
    /* A bug in eddy; please report it. */
    EDDY_EPANIC = -8,
    /* The system refused: see eddy_error_errno(). */
    EDDY_ESYSTEM = -32,
    /* No such host. */
    EDDY_ERESOLVE = -33,
    /* An open connection is gone: see eddy_error_errno(); 0: this side closed or aborted it. */
    EDDY_ELOST = -34,
    /* End of stream too early: see eddy_error_expected(), eddy_error_partial(). */
    EDDY_EINCOMPLETE = -35,
    /* The line is longer than the reader's limit: see eddy_error_consumed(). */
    EDDY_ELIMIT = -36,
    /* TLS: a certificate, a handshake, or an end without goodbye; eddy_error_message() says which. */
    EDDY_ETLS = -37,
    /* The time that was given for it was over. */
    EDDY_ETIMEDOUT = -38,
    /* eddy_loop_cancel() was asked for it, or what it was about was freed. */
    EDDY_ECANCELED = -39,
};

/* What went wrong. Lent, const, and a ticket too: after its callback it reads as EDDY_ESTALE, never as
 * memory. */
typedef struct eddy_error eddy_error;

/* What a code means, in a few words: a text that stays for ever. From any thread. */
const char *eddy_strerror(int code);

/* EDDY_OK for NULL; EDDY_ESTALE for an error that was kept beyond its callback. */
int eddy_error_code(const eddy_error *error);

/* The system's reason; 0: none. */
int eddy_error_errno(const eddy_error *error);

/* In words, and with what it was about; empty for NULL. Lent as the error is. */
const char *eddy_error_message(const eddy_error *error);

/* How many bytes were asked for, when EDDY_EINCOMPLETE; 0 when nobody knows. */
size_t eddy_error_expected(const eddy_error *error);

/* What had come before the end, when EDDY_EINCOMPLETE; NULL otherwise. Lent as the error is. */
const char *eddy_error_partial(const eddy_error *error, size_t *len);

/* How far the search for the end of the line got, when EDDY_ELIMIT. */
size_t eddy_error_consumed(const eddy_error *error);

/* ---- callbacks: whom it is about, what came, what went wrong (NULL: nothing did), your own argument ---- */

typedef void (*eddy_fn)(void *arg);
typedef void (*eddy_loop_cb)(eddy_loop *loop, const eddy_error *error, void *arg);

/* len 0 and no error: the end of the stream. */
typedef void (*eddy_read_cb)(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                             void *arg);
typedef void (*eddy_writer_cb)(eddy_writer *writer, const eddy_error *error, void *arg);
typedef void (*eddy_stream_cb)(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg);
typedef void (*eddy_server_cb)(eddy_server *server, const eddy_error *error, void *arg);
typedef void (*eddy_exception_cb)(eddy_loop *loop, const char *message, const eddy_error *error, void *arg);

/* ---- loop ---------------------------------------------------------------------------------------------- */

/* For this thread. NULL: no memory, no descriptor, or 255 of them already. */
eddy_loop *eddy_loop_new(void);

/* What is still waiting ends with EDDY_ECANCELED; what was gathered is sent, if the sockets take it. */
void eddy_loop_free(eddy_loop *loop);

/* Until nothing is left to wait for, or eddy_loop_stop(). */
int eddy_loop_run(eddy_loop *loop);

/* Until eddy_loop_stop(). */
int eddy_loop_run_forever(eddy_loop *loop);

/* One round, which waits no longer than this; -1: no bound. 1: there is more to wait for; 0: there is not. */
int eddy_loop_run_once(eddy_loop *loop, int timeout_ms);

/* Run returns after the callback that says so; whom else there was to call is called in the next run. */
int eddy_loop_stop(eddy_loop *loop);

/* Also while it is being freed. */
bool eddy_loop_is_running(eddy_loop *loop);

/* Let go of this thread, while not running, for another one to attach. */
int eddy_loop_detach(eddy_loop *loop);

/* Belong to the thread that calls this. EDDY_ETHREAD while another one has it. */
int eddy_loop_attach(eddy_loop *loop);

/* In the next round, in the order in which they were asked for. */
eddy_op eddy_loop_call_soon(eddy_loop *loop, eddy_loop_cb cb, void *arg);

/* Never early; equal ones in the order in which they were asked for. UINT64_MAX is never. */
eddy_op eddy_loop_call_later(eddy_loop *loop, uint64_t delay_ms, eddy_loop_cb cb, void *arg);

/* From any thread; cb runs on the loop's. When the loop is freed before, it gets EDDY_ECANCELED. Refused, and
 * never called: EDDY_ESTALE, the loop was freed already; EDDY_EFULL, there is no memory for it. */
int eddy_loop_call_soon_threadsafe(eddy_loop *loop, eddy_loop_cb cb, void *arg);

/* Its callback gets EDDY_ECANCELED, in the next round. EDDY_ESTALE: it has been called already. */
int eddy_loop_cancel(eddy_loop *loop, eddy_op op);

/* fn runs from the loop when the process has got this signal; it replaces the one that was there.
 * EDDY_EINVAL: no such signal, or none that a handler can do something about: SIGKILL, SIGSTOP,
 * SIGSEGV, SIGBUS, SIGFPE, SIGILL. */
int eddy_loop_add_signal_handler(eddy_loop *loop, int signum, eddy_fn fn, void *arg);

/* EDDY_ESTATE: this loop has none for this signal. The signal does again what it did before. */
int eddy_loop_remove_signal_handler(eddy_loop *loop, int signum);

/* NULL: the default one, which prints a line on standard error. */
int eddy_loop_set_exception_handler(eddy_loop *loop, eddy_exception_cb cb, void *arg);

/* To the exception handler, from the next round, as if eddy itself had something to say. Code 0: no error. */
int eddy_loop_call_exception_handler(eddy_loop *loop, const char *message, int code);

/* Milliseconds since the loop was made, by a clock that never goes back. */
uint64_t eddy_loop_time(eddy_loop *loop);

/* To watch from another loop: readable whenever eddy_loop_run_once(loop, 0) has work. -1: no loop. */
int eddy_loop_fd(eddy_loop *loop);

/* Milliseconds until something is due; -1: nothing is. */
int eddy_loop_timeout(eddy_loop *loop);

/* Before it sleeps, look for events this long: quicker answers, for a processor that is never idle. */
int eddy_loop_set_busy_poll(eddy_loop *loop, uint64_t microseconds);

/* For tests: not 0, time stands still while the loop has something to do, and when it is idle jumps to
 * the next timer. EDDY_ESTATE: something has been timed on it already. */
int eddy_loop_set_clock(eddy_loop *loop, int virtual_clock);

/* ---- opening ------------------------------------------------------------------------------------------- */

/* All fields: 0 is the default. What means nothing to a call is ignored; only local_port, local_host and
 * what asks for TLS are then refused. */
typedef struct eddy_options {
    /* sizeof(eddy_options): set by EDDY_OPTIONS(). */
    size_t size;
    /* The longest line, and half the most that is buffered; default 64 KiB. */
    size_t limit;
    /* Bytes written and not sent beyond which a write is refused whole, EDDY_EFULL; default: no bound. */
    size_t max_write_buffer;
    /* For resolving, connecting and the TLS handshake together, from the call on: then EDDY_ETIMEDOUT. Of a
     * server: for each handshake. Default: no bound, but for handshakes 60 s. */
    uint64_t timeout_ms;
    /* TCP client: the head start of each address before the next is tried beside it; default 250 (RFC 8305).
     * EDDY_NEVER: one after the other, in the resolver's order. */
    uint64_t happy_eyeballs_ms;
    /* TCP client: connect from this address, and this port (then one address is tried after the other). */
    const char *local_host;
    uint16_t local_port;
    /* AF_INET or AF_INET6; default: both. */
    int family;
    /* Speak TLS, with these settings: a client's, or a server's. */
    eddy_tls *tls;
    /* TLS client: the name, or the IP address, to ask for and to verify; default: the host. */
    const char *server_hostname;
    /* TLS: how long close waits, in the background, for the peer's goodbye; default 30 s. */
    uint64_t tls_shutdown_ms;
    /* eddy_writer_start_tls(): what has come and nobody has read goes to TLS; default: it is an error. */
    int tls_takes_buffered;
    /* Server: stop accepting while so many are connected; default: no bound. */
    size_t max_clients;
    /* Server: connections that wait to be accepted; default 100. */
    int backlog;
    /* Server: share the port with other loops or processes. */
    int reuse_port;
    /* Server: refuse a port that an old connection still holds. */
    int no_reuse_address;
    /* Unix server: leave the file behind on close. */
    int keep_socket_file;
    int keep_alive;
    /* Leave Nagle's algorithm on; default: off, as in asyncio. */
    int delay;
} eddy_options;

/* As a time: no bound. */
#define EDDY_NEVER UINT64_MAX

#ifndef __cplusplus /* C++ has none: eddy_options o = {}; o.size = sizeof o; o.limit = 1024; */
#define EDDY_OPTIONS(...) (&(eddy_options){ .size = sizeof(eddy_options), __VA_ARGS__ })
#endif

/* cb gets a reader and a writer, or an error: EDDY_ERESOLVE, EDDY_ESYSTEM, EDDY_ETLS, EDDY_ETIMEDOUT. All
 * addresses of the host are tried, until one answers. */
eddy_op eddy_open_connection(eddy_loop *loop, const char *host, uint16_t port, const eddy_options *options,
                             eddy_stream_cb cb, void *arg);

/* A path that begins with '@' is an abstract name. A server whose backlog is full is waited for. */
eddy_op eddy_open_unix_connection(eddy_loop *loop, const char *path, const eddy_options *options,
                                  eddy_stream_cb cb, void *arg);

/* client_cb runs once for every connection accepted; with TLS, when its handshake is done. host NULL or "":
 * every address of this machine; port 0: any that is free, see eddy_server_sockname(). */
eddy_op eddy_start_server(eddy_loop *loop, eddy_stream_cb client_cb, const char *host, uint16_t port,
                          const eddy_options *options, eddy_server_cb cb, void *arg);

/* A socket file that nobody answers on is replaced; whatever else is at the path is EADDRINUSE. */
eddy_op eddy_start_unix_server(eddy_loop *loop, eddy_stream_cb client_cb, const char *path,
                               const eddy_options *options, eddy_server_cb cb, void *arg);

/* The same over a descriptor that is already connected, or already listening; eddy's own, unless refused. */
eddy_op eddy_open_socket(eddy_loop *loop, intptr_t fd, const eddy_options *options, eddy_stream_cb cb,
                         void *arg);

/* For a listening one: client_cb and cb as in eddy_start_server(). */
eddy_op eddy_start_socket_server(eddy_loop *loop, eddy_stream_cb client_cb, intptr_t fd,
                                 const eddy_options *options, eddy_server_cb cb, void *arg);

/* Pipes, FIFOs, terminals, stdin and stdout; -1: that direction is not there. Eddy's own, unless refused; but
 * 0, 1 and 2 stay open, and a copy is used. EDDY_ENOTSUP: files, and whatever else cannot be waited for.
 * Nothing to read from: the reader is NULL. Nothing to write to: the writer refuses to write, and is there to
 * be closed. */
eddy_op eddy_open_pipe(eddy_loop *loop, intptr_t read_fd, intptr_t write_fd, const eddy_options *options,
                       eddy_stream_cb cb, void *arg);

/* Two streams joined in memory, with half-close and flow control: a network for tests. Nothing to wait for.
 * Writing to a side that was closed is EDDY_ELOST with EPIPE; an abort is ECONNRESET for the other side. */
int eddy_open_pair(eddy_loop *loop, const eddy_options *options, eddy_reader *readers[2],
                   eddy_writer *writers[2]);

/* ---- reader -------------------------------------------------------------------------------------------- */

/* As a count: all there is, to the end of the stream. As a mark: the default. */
#define EDDY_UNTIL_EOF SIZE_MAX

/* A reader without a connection, to be fed by hand. NULL when refused: limit 0, say. */
eddy_reader *eddy_reader_new(eddy_loop *loop, size_t limit);

/* What comes for it from now on goes nowhere; its writer goes on. */
void eddy_reader_free(eddy_reader *reader);

/* What is there, at least 1 byte and at most n; EDDY_UNTIL_EOF: everything, up to the end.
 * One read at a time: a second is refused with EDDY_EBUSY. At the end of the stream read and readline give
 * no bytes (len 0) and no error; readexactly and readuntil give EDDY_EINCOMPLETE. */
eddy_op eddy_reader_read(eddy_reader *reader, size_t n, eddy_read_cb cb, void *arg);

/* With its newline; without one at the end of the stream. Longer than the limit: EDDY_ELIMIT, once,
 * and all of that line is skipped. */
eddy_op eddy_reader_readline(eddy_reader *reader, eddy_read_cb cb, void *arg);

/* Exactly n, however far beyond the limit. */
eddy_op eddy_reader_readexactly(eddy_reader *reader, size_t n, eddy_read_cb cb, void *arg);

/* With the separator. Further off than the limit: EDDY_ELIMIT, and everything stays. */
eddy_op eddy_reader_readuntil(eddy_reader *reader, const void *separator, size_t len, eddy_read_cb cb,
                              void *arg);

/* The match that ends first. */
eddy_op eddy_reader_readuntil_any(eddy_reader *reader, const eddy_bytes *separators, size_t count,
                                  eddy_read_cb cb, void *arg);

/* To the end; EDDY_ELIMIT past max, and everything stays. */
eddy_op eddy_reader_readall(eddy_reader *reader, size_t max, eddy_read_cb cb, void *arg);

/* n bytes, however far beyond the limit, which stay for the next read. EDDY_EINCOMPLETE as in readexactly,
 * and what there is stays too. */
eddy_op eddy_reader_peek(eddy_reader *reader, size_t n, eddy_read_cb cb, void *arg);

/* As eddy_reader_read(), into memory of yours, without a copy where that can be. Leave it alone until cb has
 * run, or the read is cancelled. */
eddy_op eddy_reader_read_into(eddy_reader *reader, void *buffer, size_t n, eddy_read_cb cb, void *arg);

/* The stream has ended, and nothing is left of it. */
bool eddy_reader_at_eof(eddy_reader *reader);

/* A look at what has come and is not asked for; lent until the next call. */
size_t eddy_reader_buffered(eddy_reader *reader, const char **bytes);

/* Of each read from now on: EDDY_ETIMEDOUT, and nothing is lost. 0 or EDDY_NEVER: none, the default. */
int eddy_reader_set_timeout(eddy_reader *reader, uint64_t timeout_ms);

/* Feeding by hand, as a protocol does. EDDY_ESTATE after feed_eof. */
int eddy_reader_feed_data(eddy_reader *reader, const void *bytes, size_t len);

/* What is buffered can still be read. Twice is as good as once. */
int eddy_reader_feed_eof(eddy_reader *reader);

/* Any code but 0; message may be NULL. */
int eddy_reader_set_exception(eddy_reader *reader, int code, const char *message);

/* What set_exception, or the connection, left; NULL: nothing. Lent until the next call. */
const eddy_error *eddy_reader_exception(eddy_reader *reader);

/* Once: whose reading is paused when more than twice the limit is buffered. EDDY_ESTATE: it has one. */
int eddy_reader_set_transport(eddy_reader *reader, eddy_transport *transport);

/* ---- writer -------------------------------------------------------------------------------------------- */

/* On a transport of your own making; protocol and reader may be NULL. NULL: refused; a transport has one
 * writer. */
eddy_writer *eddy_writer_new(eddy_transport *transport, eddy_protocol *protocol, eddy_reader *reader);

/* Closes the connection, after what is gathered has gone out, and frees its reader. */
void eddy_writer_free(eddy_writer *writer);

/* Writing never waits and never fails for the network's sake: drain, or the next read,
 * tells. 1, not 0: what is gathered stands above the high-water mark; taken all the same, but time to
 * drain. EDDY_ESTATE after close and after write_eof. */
int eddy_writer_write(eddy_writer *writer, const void *bytes, size_t len);

/* All of them as one write; refused, none. */
int eddy_writer_writelines(eddy_writer *writer, const eddy_bytes *lines, size_t count);

/* As eddy_writer_write(), without a copy: leave the bytes as they are until released has run, once, when
 * they have been sent or never will be. Refused, it never runs. */
int eddy_writer_write_static(eddy_writer *writer, const void *bytes, size_t len, eddy_fn released, void *arg);

/* Sends what is gathered now, as far as the socket takes it: in a long callback, say. */
int eddy_writer_flush(eddy_writer *writer);

/* Above the high-water mark, until the low one is reached; else at once, that is next. Any number may
 * wait. EDDY_ELOST when the connection is gone, or goes; or the reader's error. */
eddy_op eddy_writer_drain(eddy_writer *writer, eddy_writer_cb cb, void *arg);

/* Ends this side of the stream once what is gathered has gone out; reading goes on. */
int eddy_writer_write_eof(eddy_writer *writer);

/* Every transport of ours to which one can write; one of your own, if it has a write_eof. */
bool eddy_writer_can_write_eof(eddy_writer *writer);

/* After what is gathered has gone out. Reading stops at once; what has come can still be read. */
int eddy_writer_close(eddy_writer *writer);

/* Now: what is gathered is lost, and the peer gets a reset. */
int eddy_writer_abort(eddy_writer *writer);

/* Closed or aborted by this side, or lost. */
bool eddy_writer_is_closing(eddy_writer *writer);

/* Of each drain from now on, and of what close has left to send: EDDY_ETIMEDOUT. 0 or EDDY_NEVER: none,
 * the default. */
int eddy_writer_set_timeout(eddy_writer *writer, uint64_t timeout_ms);

/* Defaults 65536 and 16384. SIZE_MAX for one of them: what the other says, 4 times or a quarter. */
int eddy_writer_set_write_buffer_limits(eddy_writer *writer, size_t high, size_t low);

/* Bytes written and not sent yet. */
size_t eddy_writer_get_write_buffer_size(eddy_writer *writer);

/* Until the connection is closed or lost: EDDY_ELOST when the network took it. Any number may wait,
 * also afterwards. */
eddy_op eddy_writer_wait_closed(eddy_writer *writer, eddy_writer_cb cb, void *arg);

/* Encrypts what follows, both ways: a client's handshake or a server's, as the settings in options.tls
 * are. cb, when it is done; reader and writer stay the same. EDDY_ESTATE: something has come in clear that
 * nobody has read (see tls_takes_buffered), or the stream is closing, or has ended on one side. A handshake
 * that fails (EDDY_ETLS, EDDY_ETIMEDOUT), or is cancelled, loses the connection. */
eddy_op eddy_writer_start_tls(eddy_writer *writer, const eddy_options *options, eddy_writer_cb cb, void *arg);

/* "peername", "sockname", "socket" (the descriptor, in digits), "pipe" (both, as in "3,-1"), or what
 * eddy_transport_set_extra_info() gave; NULL if there is none. Lent until the connection is gone. With TLS:
 * "cipher", "version" ("TLSv1.3"), "alpn", "server_hostname", "peercert" (DER), "peercert_chain" (DER, one
 * after the other), "session_reused" ("1" or "0"). */
const char *eddy_writer_get_extra_info(eddy_writer *writer, const char *name, size_t *len);

/* The connection's transport, always the same handle; it dies with the connection. */
eddy_transport *eddy_writer_transport(eddy_writer *writer);

/* ---- server -------------------------------------------------------------------------------------------- */

/* No new clients for a while: they wait in the kernel, as many as the backlog says. EDDY_ESTATE: closed. */
int eddy_server_pause(eddy_server *server);

/* Those who have waited are accepted, from the next round. EDDY_ESTATE: closed. */
int eddy_server_resume(eddy_server *server);

/* No new clients, from this moment; the present ones stay. */
int eddy_server_close(eddy_server *server);

/* Closes it, now; cb runs when the last client is gone. At grace_ms those that are left are ended: closed
 * if they have nothing unsent, else aborted; then cb gets EDDY_ETIMEDOUT. EDDY_NEVER: never; 0: at once. */
eddy_op eddy_server_shutdown(eddy_server *server, uint64_t grace_ms, eddy_server_cb cb, void *arg);

/* Until it is closed and its last client is gone. */
eddy_op eddy_server_wait_closed(eddy_server *server, eddy_server_cb cb, void *arg);

/* As eddy_writer_close() on each client that is left. */
int eddy_server_close_clients(eddy_server *server);

/* As eddy_writer_abort() on each. */
int eddy_server_abort_clients(eddy_server *server);

/* Until eddy_server_close(), also while it is paused. */
bool eddy_server_is_serving(eddy_server *server);

/* "127.0.0.1:8080", or a path; NULL past the last, and once closed. Lent until then. */
const char *eddy_server_sockname(eddy_server *server, size_t index);

/* The descriptor; -1 past the last, and once closed. */
intptr_t eddy_server_socket(eddy_server *server, size_t index);

/* Closes it. Those who wait for its end are still told. */
void eddy_server_free(eddy_server *server);

/* ---- tls: settings shared by any number of connections, on any thread ---------------------------------- */

/* A client's: trusts whom the system trusts, verifies the server's certificate and name, TLS 1.2 and 1.3.
 * Never NULL. What goes wrong in the calls below is EDDY_EINVAL, and eddy_tls_error() says what it is. */
eddy_tls *eddy_tls_client_new(void);

/* A server's: its certificate, with those that lead to its authority behind it, and the key. Both NULL: they
 * are given later. Never NULL. */
eddy_tls *eddy_tls_server_new(const char *certificates_pem, const char *key_pem);

/* One more, of a server: the first that is for the name that a client asks for is shown, or else the first
 * of all (SNI). Of a client: the one that it shows when it is asked. */
int eddy_tls_add_certificate(eddy_tls *tls, const char *certificates_pem, const char *key_pem);

/* The same from files; key_path NULL: the key is in the first. */
int eddy_tls_load_certificate(eddy_tls *tls, const char *certificates_path, const char *key_path);

/* Trust these authorities, and no longer the system's; called again: these too. Of a server: whose
 * clients' certificates are good. */
int eddy_tls_trust(eddy_tls *tls, const char *certificates_pem);

/* The same from a file. */
int eddy_tls_load_trust(eddy_tls *tls, const char *certificates_path);

/* A server asks its clients for certificates, of the authorities that it trusts; required 0: they may do
 * without. */
int eddy_tls_verify_clients(eddy_tls *tls, int required);

/* "h2,http/1.1": the best first; "": none. With nothing in common the handshake fails. */
int eddy_tls_set_alpn(eddy_tls *tls, const char *protocols);

/* "TLSv1.2", the default, or "TLSv1.3". */
int eddy_tls_set_minimum_version(eddy_tls *tls, const char *version);

/* Whether a later connection may go on with the keys of an earlier one, which saves it half of the
 * handshake; default: it may. */
int eddy_tls_set_resumption(eddy_tls *tls, int on);

/* FOR TESTS ONLY. A client believes ANY certificate, for any name: whoever stands between reads and
 * changes everything. To trust a certificate of your own, use eddy_tls_trust(). */
int eddy_tls_dangerously_skip_verification(eddy_tls *tls);

/* What is wrong with these settings; NULL: nothing. Settings with something wrong are refused when used.
 * Lent until they are changed or freed. */
const eddy_error *eddy_tls_error(eddy_tls *tls);

/* Whenever; connections and servers that use them go on as they are. */
void eddy_tls_free(eddy_tls *tls);

/* ---- making your own: transports, and the protocol between a transport and a reader -------------------- */

/* Your functions, called from run and never from within a call of yours. What they do is up to them;
 * what they find out they tell the protocol. */
typedef struct eddy_transport_ops {
    /* sizeof(eddy_transport_ops). */
    size_t size;
    /* The bytes are lent until it returns, and no NUL follows them. */
    void (*write)(eddy_transport *transport, const char *bytes, size_t len, void *arg);
    /* NULL: it cannot. */
    void (*write_eof)(eddy_transport *transport, void *arg);
    /* All that was written has been handed over. When it is done: eddy_protocol_connection_lost(). */
    void (*close)(eddy_transport *transport, void *arg);
    void (*abort)(eddy_transport *transport, void *arg);
    /* NULL: it cannot. */
    void (*pause_reading)(eddy_transport *transport, void *arg);
    void (*resume_reading)(eddy_transport *transport, void *arg);
    /* The last call, after connection_lost: free arg here. */
    void (*release)(void *arg);
} eddy_transport_ops;

/* write, close, abort and release must be there. NULL when refused; then release is not called. */
eddy_transport *eddy_transport_new(eddy_loop *loop, const eddy_transport_ops *ops, void *arg);

/* For eddy_writer_get_extra_info(). Each value is kept until the connection is gone. */
int eddy_transport_set_extra_info(eddy_transport *transport, const char *name, const void *value, size_t len);

/* For your own reasons, beside the reader's; EDDY_ENOTSUP: it cannot. */
int eddy_transport_pause_reading(eddy_transport *transport);

/* Reading goes on, unless the reader has paused it too. */
int eddy_transport_resume_reading(eddy_transport *transport);

/* Not paused, not closing, and not at the end. */
bool eddy_transport_is_reading(eddy_transport *transport);

/* As eddy_writer_close(). */
int eddy_transport_close(eddy_transport *transport);

/* As eddy_writer_abort(). */
int eddy_transport_abort(eddy_transport *transport);

/* As eddy_writer_is_closing(). */
bool eddy_transport_is_closing(eddy_transport *transport);

/* Feeds the reader, which has no other, now or later. client_cb, which may be NULL, gets the reader and a
 * new writer once a connection is made. */
eddy_protocol *eddy_protocol_new(eddy_loop *loop, eddy_reader *reader, eddy_stream_cb client_cb, void *arg);

/* Once: from now on the transport is this stream's. */
int eddy_protocol_connection_made(eddy_protocol *protocol, eddy_transport *transport);

/* To the reader, as a copy. EDDY_ESTATE after connection_lost, or after the end. */
int eddy_protocol_data_received(eddy_protocol *protocol, const void *bytes, size_t len);

/* True: keep the transport open for writing. */
bool eddy_protocol_eof_received(eddy_protocol *protocol);

/* Your transport cannot take more for now: drains wait until it can. */
int eddy_protocol_pause_writing(eddy_protocol *protocol);

/* It can take more again. */
int eddy_protocol_resume_writing(eddy_protocol *protocol);

/* Once, and last. Code 0: closed in peace. */
int eddy_protocol_connection_lost(eddy_protocol *protocol, int code, const char *message);

/* If its connection is not lost yet, it is now, in peace. */
void eddy_protocol_free(eddy_protocol *protocol);

/* ---- looking ------------------------------------------------------------------------------------------- */

/* What a loop has done since it was made. */
typedef struct eddy_stats {
    /* sizeof(eddy_stats). */
    size_t size;
    /* Rounds: each a poll, and what it brought. */
    uint64_t turns;
    /* Calls of functions of yours. */
    uint64_t callbacks;
    /* Those that took longer than eddy_loop_set_debug() says. */
    uint64_t slow_callbacks;
    /* Received from sockets, and sent to them; with TLS, what was in it. */
    uint64_t bytes_in;
    uint64_t bytes_out;
    /* Made or accepted, and not over yet; and all that ever were. */
    uint64_t connections_open;
    uint64_t connections_total;
    /* Of clients of its servers, which nobody was told of but the exception handler. */
    uint64_t handshakes_failed;
} eddy_stats;

/* Fills in as much as size says there is room for. EDDY_EINVAL: NULL, or size is not set. */
int eddy_loop_stats(eddy_loop *loop, eddy_stats *stats);

/* Tells the exception handler of callbacks that take so many milliseconds, and, when the loop is freed,
 * of what is still waiting or open. 0: off. */
int eddy_loop_set_debug(eddy_loop *loop, uint64_t slow_callback_ms);

/* "0.1.0": what EDDY_VERSION was when the library was built. */
const char *eddy_version(void);

/* "<eddy_reader 42 bytes eof>", for debuggers: any handle, and whatever else it may be. Lent until the
 * thread's next call of it. */
const char *eddy_repr(const void *handle);

#ifdef __cplusplus
}
#endif

#endif
