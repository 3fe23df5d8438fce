/* eddy.h as Go likes it: handles are numbers, for no pointer of Go's may point at nothing; and all that calls back
 * calls one of the four functions that eddy.go exports. */
#ifndef EDDY_GO_SHIM_H
#define EDDY_GO_SHIM_H

#include <eddy.h>

typedef uintptr_t handle;

void eddyGoDone(handle arg, handle error, handle one, handle two, char *bytes, size_t len);
void eddyGoPosted(handle arg, handle error);
void eddyGoClient(handle arg, handle reader, handle writer);
void eddyGoException(char *message);

static inline void on_loop(eddy_loop *loop, const eddy_error *error, void *arg)
{
    (void)loop;
    eddyGoPosted((handle)arg, (handle)error);
}

static inline void on_read(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error, void *arg)
{
    (void)reader;
    eddyGoDone((handle)arg, (handle)error, 0, 0, (char *)bytes, len);
}

static inline void on_writer(eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)writer;
    eddyGoDone((handle)arg, (handle)error, 0, 0, NULL, 0);
}

static inline void on_stream(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    eddyGoDone((handle)arg, (handle)error, (handle)reader, (handle)writer, NULL, 0);
}

static inline void on_server(eddy_server *server, const eddy_error *error, void *arg)
{
    eddyGoDone((handle)arg, (handle)error, (handle)server, 0, NULL, 0);
}

static inline void on_client(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg)
{
    (void)error;
    eddyGoClient((handle)arg, (handle)reader, (handle)writer);
}

static inline void on_exception(eddy_loop *loop, const char *message, const eddy_error *error, void *arg)
{
    (void)loop, (void)error, (void)arg;
    eddyGoException((char *)message);
}

static inline int error_code(handle e) { return eddy_error_code((const eddy_error *)e); }
static inline int error_errno(handle e) { return eddy_error_errno((const eddy_error *)e); }
static inline const char *error_message(handle e) { return eddy_error_message((const eddy_error *)e); }
static inline size_t error_expected(handle e) { return eddy_error_expected((const eddy_error *)e); }
static inline size_t error_consumed(handle e) { return eddy_error_consumed((const eddy_error *)e); }
static inline const char *error_partial(handle e, size_t *len)
{
    return eddy_error_partial((const eddy_error *)e, len);
}

static inline handle loop_new(void)
{
    eddy_loop *loop = eddy_loop_new();
    if (loop != NULL) eddy_loop_set_exception_handler(loop, on_exception, NULL);
    return (handle)loop;
}

static inline void loop_free(handle loop) { eddy_loop_free((eddy_loop *)loop); }
static inline int loop_run_forever(handle loop) { return eddy_loop_run_forever((eddy_loop *)loop); }
static inline int loop_stop(handle loop) { return eddy_loop_stop((eddy_loop *)loop); }
static inline int loop_cancel(handle loop, eddy_op op) { return eddy_loop_cancel((eddy_loop *)loop, op); }
static inline int loop_post(handle loop, handle arg)
{
    return eddy_loop_call_soon_threadsafe((eddy_loop *)loop, on_loop, (void *)arg);
}

static inline eddy_op open_connection(handle loop, const char *host, uint16_t port, const eddy_options *options,
                                      handle arg)
{
    return eddy_open_connection((eddy_loop *)loop, host, port, options, on_stream, (void *)arg);
}

static inline eddy_op open_unix_connection(handle loop, const char *path, const eddy_options *options, handle arg)
{
    return eddy_open_unix_connection((eddy_loop *)loop, path, options, on_stream, (void *)arg);
}

static inline eddy_op start_server(handle loop, const char *host, uint16_t port, const eddy_options *options,
                                   handle arg)
{
    return eddy_start_server((eddy_loop *)loop, on_client, host, port, options, on_server, (void *)arg);
}

static inline eddy_op start_unix_server(handle loop, const char *path, const eddy_options *options, handle arg)
{
    return eddy_start_unix_server((eddy_loop *)loop, on_client, path, options, on_server, (void *)arg);
}

static inline eddy_op reader_read(handle reader, size_t n, handle arg)
{
    return eddy_reader_read((eddy_reader *)reader, n, on_read, (void *)arg);
}

static inline eddy_op reader_readline(handle reader, handle arg)
{
    return eddy_reader_readline((eddy_reader *)reader, on_read, (void *)arg);
}

static inline eddy_op reader_readexactly(handle reader, size_t n, handle arg)
{
    return eddy_reader_readexactly((eddy_reader *)reader, n, on_read, (void *)arg);
}

static inline eddy_op reader_readuntil(handle reader, const void *separator, size_t len, handle arg)
{
    return eddy_reader_readuntil((eddy_reader *)reader, separator, len, on_read, (void *)arg);
}

static inline bool reader_at_eof(handle reader) { return eddy_reader_at_eof((eddy_reader *)reader); }
static inline int reader_set_timeout(handle reader, uint64_t timeout_ms)
{
    return eddy_reader_set_timeout((eddy_reader *)reader, timeout_ms);
}

static inline void writer_free(handle writer) { eddy_writer_free((eddy_writer *)writer); }
static inline int writer_write(handle writer, const void *bytes, size_t len)
{
    return eddy_writer_write((eddy_writer *)writer, bytes, len);
}

static inline eddy_op writer_drain(handle writer, handle arg)
{
    return eddy_writer_drain((eddy_writer *)writer, on_writer, (void *)arg);
}

static inline int writer_write_eof(handle writer) { return eddy_writer_write_eof((eddy_writer *)writer); }
static inline int writer_close(handle writer) { return eddy_writer_close((eddy_writer *)writer); }
static inline int writer_abort(handle writer) { return eddy_writer_abort((eddy_writer *)writer); }
static inline bool writer_is_closing(handle writer) { return eddy_writer_is_closing((eddy_writer *)writer); }
static inline int writer_set_timeout(handle writer, uint64_t timeout_ms)
{
    return eddy_writer_set_timeout((eddy_writer *)writer, timeout_ms);
}

static inline eddy_op writer_wait_closed(handle writer, handle arg)
{
    return eddy_writer_wait_closed((eddy_writer *)writer, on_writer, (void *)arg);
}

static inline eddy_op writer_start_tls(handle writer, const eddy_options *options, handle arg)
{
    return eddy_writer_start_tls((eddy_writer *)writer, options, on_writer, (void *)arg);
}

static inline const char *writer_get_extra_info(handle writer, const char *name, size_t *len)
{
    return eddy_writer_get_extra_info((eddy_writer *)writer, name, len);
}

static inline int server_close(handle server) { return eddy_server_close((eddy_server *)server); }
static inline void server_free(handle server) { eddy_server_free((eddy_server *)server); }
static inline int server_close_clients(handle server) { return eddy_server_close_clients((eddy_server *)server); }
static inline int server_abort_clients(handle server) { return eddy_server_abort_clients((eddy_server *)server); }
static inline bool server_is_serving(handle server) { return eddy_server_is_serving((eddy_server *)server); }
static inline const char *server_sockname(handle server, size_t index)
{
    return eddy_server_sockname((eddy_server *)server, index);
}

static inline eddy_op server_shutdown(handle server, uint64_t grace_ms, handle arg)
{
    return eddy_server_shutdown((eddy_server *)server, grace_ms, on_server, (void *)arg);
}

static inline eddy_op server_wait_closed(handle server, handle arg)
{
    return eddy_server_wait_closed((eddy_server *)server, on_server, (void *)arg);
}

static inline handle tls_client_new(void) { return (handle)eddy_tls_client_new(); }
static inline handle tls_server_new(void) { return (handle)eddy_tls_server_new(NULL, NULL); }
static inline void tls_free(handle tls) { eddy_tls_free((eddy_tls *)tls); }
static inline handle tls_error(handle tls) { return (handle)eddy_tls_error((eddy_tls *)tls); }
static inline int tls_add_certificate(handle tls, const char *certificates, const char *key)
{
    return eddy_tls_add_certificate((eddy_tls *)tls, certificates, key);
}

static inline int tls_load_certificate(handle tls, const char *certificates, const char *key)
{
    return eddy_tls_load_certificate((eddy_tls *)tls, certificates, key);
}

static inline int tls_trust(handle tls, const char *certificates)
{
    return eddy_tls_trust((eddy_tls *)tls, certificates);
}

static inline int tls_load_trust(handle tls, const char *certificates)
{
    return eddy_tls_load_trust((eddy_tls *)tls, certificates);
}

static inline int tls_set_alpn(handle tls, const char *protocols)
{
    return eddy_tls_set_alpn((eddy_tls *)tls, protocols);
}

static inline int tls_set_minimum_version(handle tls, const char *version)
{
    return eddy_tls_set_minimum_version((eddy_tls *)tls, version);
}

static inline int tls_verify_clients(handle tls, int required)
{
    return eddy_tls_verify_clients((eddy_tls *)tls, required);
}

static inline int tls_set_resumption(handle tls, int on) { return eddy_tls_set_resumption((eddy_tls *)tls, on); }
static inline int tls_dangerously_skip_verification(handle tls)
{
    return eddy_tls_dangerously_skip_verification((eddy_tls *)tls);
}

/* Here the handle is a pointer again. */
static inline void options_set_tls(eddy_options *options, handle tls) { options->tls = (eddy_tls *)tls; }

#endif
