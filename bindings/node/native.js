// libeddy's functions as koffi calls them: C.eddy_reader_readline(...), and the codes of its errors.
'use strict';
const koffi = require('koffi');

// As in eddy.h, letter by letter: a test compares them.
const declarations = `
typedef struct eddy_loop eddy_loop;
typedef struct eddy_reader eddy_reader;
typedef struct eddy_writer eddy_writer;
typedef struct eddy_server eddy_server;
typedef struct eddy_tls eddy_tls;
typedef struct eddy_error eddy_error;
typedef int64_t eddy_op;

enum {
    EDDY_OK = 0,
    EDDY_EINVAL = -1,
    EDDY_ESTALE = -2,
    EDDY_ETHREAD = -3,
    EDDY_EBUSY = -4,
    EDDY_ESTATE = -5,
    EDDY_ENOTSUP = -6,
    EDDY_EFULL = -7,
    EDDY_EPANIC = -8,
    EDDY_ESYSTEM = -32,
    EDDY_ERESOLVE = -33,
    EDDY_ELOST = -34,
    EDDY_EINCOMPLETE = -35,
    EDDY_ELIMIT = -36,
    EDDY_ETLS = -37,
    EDDY_ETIMEDOUT = -38,
    EDDY_ECANCELED = -39,
};

const char *eddy_strerror(int code);
int eddy_error_code(const eddy_error *error);
int eddy_error_errno(const eddy_error *error);
const char *eddy_error_message(const eddy_error *error);
size_t eddy_error_expected(const eddy_error *error);
const char *eddy_error_partial(const eddy_error *error, size_t *len);
size_t eddy_error_consumed(const eddy_error *error);

typedef void (*eddy_read_cb)(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                             void *arg);
typedef void (*eddy_writer_cb)(eddy_writer *writer, const eddy_error *error, void *arg);
typedef void (*eddy_stream_cb)(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg);
typedef void (*eddy_server_cb)(eddy_server *server, const eddy_error *error, void *arg);
typedef void (*eddy_exception_cb)(eddy_loop *loop, const char *message, const eddy_error *error, void *arg);

eddy_loop *eddy_loop_new(void);
void eddy_loop_free(eddy_loop *loop);
int eddy_loop_run_once(eddy_loop *loop, int timeout_ms);
int eddy_loop_cancel(eddy_loop *loop, eddy_op op);
int eddy_loop_set_exception_handler(eddy_loop *loop, eddy_exception_cb cb, void *arg);
int eddy_loop_fd(eddy_loop *loop);
int eddy_loop_timeout(eddy_loop *loop);

typedef struct eddy_options {
    size_t size;
    size_t limit;
    size_t max_write_buffer;
    uint64_t timeout_ms;
    uint64_t happy_eyeballs_ms;
    const char *local_host;
    uint16_t local_port;
    int family;
    eddy_tls *tls;
    const char *server_hostname;
    uint64_t tls_shutdown_ms;
    int tls_takes_buffered;
    size_t max_clients;
    int backlog;
    int reuse_port;
    int no_reuse_address;
    int keep_socket_file;
    int keep_alive;
    int delay;
} eddy_options;

eddy_op eddy_open_connection(eddy_loop *loop, const char *host, uint16_t port, const eddy_options *options,
                             eddy_stream_cb cb, void *arg);
eddy_op eddy_open_unix_connection(eddy_loop *loop, const char *path, const eddy_options *options,
                                  eddy_stream_cb cb, void *arg);
eddy_op eddy_start_server(eddy_loop *loop, eddy_stream_cb client_cb, const char *host, uint16_t port,
                          const eddy_options *options, eddy_server_cb cb, void *arg);
eddy_op eddy_start_unix_server(eddy_loop *loop, eddy_stream_cb client_cb, const char *path,
                               const eddy_options *options, eddy_server_cb cb, void *arg);

eddy_op eddy_reader_read(eddy_reader *reader, size_t n, eddy_read_cb cb, void *arg);
eddy_op eddy_reader_readline(eddy_reader *reader, eddy_read_cb cb, void *arg);
eddy_op eddy_reader_readexactly(eddy_reader *reader, size_t n, eddy_read_cb cb, void *arg);
eddy_op eddy_reader_readuntil(eddy_reader *reader, const void *separator, size_t len, eddy_read_cb cb,
                              void *arg);
bool eddy_reader_at_eof(eddy_reader *reader);
int eddy_reader_set_timeout(eddy_reader *reader, uint64_t timeout_ms);

void eddy_writer_free(eddy_writer *writer);
int eddy_writer_write(eddy_writer *writer, const void *bytes, size_t len);
eddy_op eddy_writer_drain(eddy_writer *writer, eddy_writer_cb cb, void *arg);
int eddy_writer_write_eof(eddy_writer *writer);
int eddy_writer_close(eddy_writer *writer);
int eddy_writer_abort(eddy_writer *writer);
bool eddy_writer_is_closing(eddy_writer *writer);
int eddy_writer_set_timeout(eddy_writer *writer, uint64_t timeout_ms);
eddy_op eddy_writer_wait_closed(eddy_writer *writer, eddy_writer_cb cb, void *arg);
eddy_op eddy_writer_start_tls(eddy_writer *writer, const eddy_options *options, eddy_writer_cb cb, void *arg);
const char *eddy_writer_get_extra_info(eddy_writer *writer, const char *name, size_t *len);

int eddy_server_close(eddy_server *server);
eddy_op eddy_server_shutdown(eddy_server *server, uint64_t grace_ms, eddy_server_cb cb, void *arg);
eddy_op eddy_server_wait_closed(eddy_server *server, eddy_server_cb cb, void *arg);
int eddy_server_close_clients(eddy_server *server);
int eddy_server_abort_clients(eddy_server *server);
bool eddy_server_is_serving(eddy_server *server);
const char *eddy_server_sockname(eddy_server *server, size_t index);
void eddy_server_free(eddy_server *server);

eddy_tls *eddy_tls_client_new(void);
eddy_tls *eddy_tls_server_new(const char *certificates_pem, const char *key_pem);
int eddy_tls_add_certificate(eddy_tls *tls, const char *certificates_pem, const char *key_pem);
int eddy_tls_load_certificate(eddy_tls *tls, const char *certificates_path, const char *key_path);
int eddy_tls_trust(eddy_tls *tls, const char *certificates_pem);
int eddy_tls_load_trust(eddy_tls *tls, const char *certificates_path);
int eddy_tls_verify_clients(eddy_tls *tls, int required);
int eddy_tls_set_alpn(eddy_tls *tls, const char *protocols);
int eddy_tls_set_minimum_version(eddy_tls *tls, const char *version);
int eddy_tls_set_resumption(eddy_tls *tls, int on);
int eddy_tls_dangerously_skip_verification(eddy_tls *tls);
const eddy_error *eddy_tls_error(eddy_tls *tls);
void eddy_tls_free(eddy_tls *tls);

const char *eddy_version(void);
`;

const library = koffi.load(process.env.EDDY_LIBRARY || 'libeddy.so.0');
const C = {};
const codes = new Map(); // -36: 'EDDY_ELIMIT'
const parameters = {}; // eddy_tls_trust: ['eddy_tls *tls', 'const char *certificates_pem']

for (const [, name, code] of declarations.matchAll(/(EDDY_\w+) = (-?\d+)/g)) codes.set(Number(code), name);

// Bytes are no text: koffi is to leave them as an address.
const BYTES = /const char \*(bytes|eddy_error_partial|eddy_writer_get_extra_info)\b/;

for (const text of declarations.match(/(\{[^}]*\}|[^;{}])+;/g)) {
    const declaration = text.trim().slice(0, -1).replace(BYTES, 'const void *$1');
    let match;
    if (declaration.startsWith('enum')) {
        continue;
    } else if ((match = declaration.match(/^typedef struct (\w+) \w+$/))) {
        koffi.opaque(match[1]);
    } else if ((match = declaration.match(/^typedef struct (\w+) \{(.*)\}/s))) {
        const fields = [...match[2].matchAll(/(\S.*?)(\w+);/g)].map(([, type, name]) => [name, type.trim()]);
        C[match[1]] = koffi.struct(match[1], Object.fromEntries(fields));
    } else if ((match = declaration.match(/^typedef void \(\*(\w+)\)(.*)/s))) {
        koffi.alias(match[1], koffi.pointer(koffi.proto(`void ${match[1]}_function${match[2]}`)));
    } else if ((match = declaration.match(/^typedef (\w+) (\w+)$/))) {
        koffi.alias(match[2], match[1]);
    } else {
        const [, name, list] = declaration.match(/(eddy_\w+)\((.*)\)/s);
        C[name] = library.func(declaration);
        parameters[name] = list.split(',').map((parameter) => parameter.trim());
    }
}

const memcpy = koffi.load(null).func('void *memcpy(void *to, const void *from, size_t len)');

// A copy of bytes that eddy lends.
function copied(address, len) {
    const copy = Buffer.allocUnsafe(len);
    if (len > 0) memcpy(copy, address, len);
    return copy;
}

module.exports = { C, codes, copied, koffi, parameters };
