// eddy: asyncio's streams in Node's own event loop.
//
//     const [reader, writer] = await eddy.openConnection('example.com', 80);
//     writer.write('HEAD / HTTP/1.0\r\n\r\n');
//     for await (const line of reader) process.stdout.write(line);
//
// There is one eddy loop per thread, and libuv watches its descriptor. What eddy calls only settles promises: the
// code that waits for them runs when eddy's round is over, so that no exception of yours meets a frame of C.
'use strict';
const { C, codes, copied, koffi, parameters } = require('./native.js');

// ---- errors ------------------------------------------------------------------------------------------------

// code is a name, 'EDDY_ELIMIT'; errno the system's reason or 0; expected, partial and consumed as in asyncio.
class EddyError extends Error {
    constructor(code, message, more) {
        super(message);
        this.name = 'EddyError';
        this.code = code;
        Object.assign(this, more);
    }
}

// What a callback was given, as a copy that may be kept; null: nothing went wrong.
function failure(lent) {
    if (lent === null) return null;
    const len = new BigUint64Array(1);
    const partial = C.eddy_error_partial(lent, len);
    return new EddyError(codes.get(C.eddy_error_code(lent)), C.eddy_error_message(lent), {
        errno: C.eddy_error_errno(lent),
        expected: C.eddy_error_expected(lent),
        partial: partial === null ? null : copied(partial, Number(len[0])),
        consumed: C.eddy_error_consumed(lent),
    });
}

// The code that a call returned; an exception, if it is negative.
function checked(code) {
    if (code < 0) throw new EddyError(codes.get(Number(code)), C.eddy_strerror(code), { errno: 0 });
    return code;
}

// koffi takes numbers for addresses, and cuts what is too large: arguments are looked at here.
function wrong(value, about) {
    return new EddyError('EDDY_EINVAL', `${about}: ${typeof value} ${String(value)} makes no sense`, { errno: 0 });
}

function whole(value, about, most = Number.MAX_SAFE_INTEGER) {
    if (!Number.isInteger(value) || value < 0 || value > most) throw wrong(value, about);
    return value;
}

function text(value, about) {
    if (typeof value !== 'string' || value.includes('\0')) throw wrong(value, about);
    return value;
}

function bytes(value, about) {
    if (typeof value === 'string') return Buffer.from(value);
    if (!(value instanceof Uint8Array)) throw wrong(value, about);
    return value;
}

function callable(value, about) {
    if (typeof value !== 'function') throw wrong(value, about);
    return value;
}

// ---- tls: settings for options.tls, shared by any number of connections and servers -------------------------

const forgotten = new FinalizationRegistry(C.eddy_tls_free);

// loadTrust(path), setAlpn('h2,http/1.1'), verifyClients(true): each as in eddy.h, and to be called in a row.
class TlsSettings {
    #handle;

    constructor(handle) {
        this.#handle = handle;
        forgotten.register(this, handle);
    }

    // The handle of settings with which nothing is wrong.
    static handle(settings) {
        if (!(settings instanceof TlsSettings)) throw wrong(settings, 'tls');
        const error = failure(C.eddy_tls_error(settings.#handle));
        if (error !== null) throw error;
        return settings.#handle;
    }

    static {
        for (const [name, [, ...list]] of Object.entries(parameters)) {
            if (!/^eddy_tls_(add|load|trust|verify|set|dangerously)/.test(name)) continue;
            const method = camelCased(name.slice('eddy_tls_'.length));
            TlsSettings.prototype[method] = function (...given) {
                const code = C[name](this.#handle, ...list.map((parameter, i) => {
                    if (!parameter.includes('char')) return Number(Boolean(given[i]));
                    return given[i] === undefined ? null : text(given[i], method);
                }));
                if (code < 0) throw failure(C.eddy_tls_error(this.#handle)) ?? wrong(given, method);
                return this;
            };
        }
    }
}

function camelCased(name) {
    return name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
}

// Trusts whom the system trusts, unless told by trust() or loadTrust().
const tlsClient = () => new TlsSettings(C.eddy_tls_client_new());

// Needs addCertificate(certificatesPem, keyPem), or loadCertificate(certificatesPath, keyPath).
const tlsServer = () => new TlsSettings(C.eddy_tls_server_new(null, null));

// ---- options -----------------------------------------------------------------------------------------------

// What numbers fit into koffi's types.
const MOST = { UInt16: 2 ** 16 - 1, Int32: 2 ** 31 - 1, UInt64: Number.MAX_SAFE_INTEGER };

// { limit: 1024, timeoutMs: 5000, reusePort: true } as eddy_options; signal is not eddy's.
function optionsOf({ signal, ...given } = {}) {
    const options = { size: koffi.sizeof(C.eddy_options) };
    const { members } = C.eddy_options;
    for (const [key, value] of Object.entries(given)) {
        const name = key.replace(/[A-Z]/g, (letter) => '_' + letter.toLowerCase());
        if (!Object.hasOwn(members, name) || name === 'size') throw wrong(value, `no such option, ${key}`);
        const { primitive } = members[name].type;
        if (primitive === 'String') options[name] = text(value, key);
        else if (name === 'tls') options[name] = TlsSettings.handle(value);
        else options[name] = whole(typeof value === 'boolean' ? Number(value) : value, key, MOST[primitive]);
    }
    for (const [name, { type }] of Object.entries(members)) options[name] ??= type.primitive in MOST ? 0 : null;
    return options;
}

// ---- the loop, inside of Node's ----------------------------------------------------------------------------

let loop = null; // made when it is first needed, freed when its thread ends
let watch; // libuv's watch of the loop's descriptor; as long as eddy waits for something, Node does not end
let timer;
let isDue = false;

const LONGEST_TIMEOUT = 2 ** 31 - 1;

const onStderr = (message, error) => console.error('eddy:', message, error ?? '');
let exceptionHandler = onStderr;

// Told of what nobody else is: fn(message, error). null: a line on stderr.
function setExceptionHandler(fn) {
    exceptionHandler = fn === null ? onStderr : callable(fn, 'exception handler');
}

function report(message, error) {
    try {
        exceptionHandler(message, error);
    } catch (trouble) {
        onStderr(message, error);
        onStderr('and the exception handler:', trouble);
    }
}

const onException = koffi.register((_, message, lent) => {
    const error = failure(lent);
    queueMicrotask(() => report(message, error));
}, 'eddy_exception_cb');

function theLoop() {
    if (loop === null) {
        const made = C.eddy_loop_new();
        if (made === null) throw new EddyError('EDDY_ESYSTEM', 'no loop can be made', { errno: 0 });
        loop = made;
        C.eddy_loop_set_exception_handler(loop, onException, null);
        watch = koffi.node.poll(C.eddy_loop_fd(loop), wake);
        watch.unref();
        process.once('exit', end);
    }
    return loop;
}

// While Node takes itself down, a watch that still is there would call what cannot be called any more, and abort.
function end() {
    watch.close();
    C.eddy_loop_free(loop);
}

// koffi calls the watch's callback without Node's ceremonies: only what an immediate does is followed by microtasks.
function wake() {
    if (isDue) return;
    isDue = true;
    setImmediate(step);
}

function step() {
    isDue = false;
    const more = C.eddy_loop_run_once(loop, 0);
    if (more > 0) watch.ref();
    else watch.unref();
    clearTimeout(timer);
    const due = C.eddy_loop_timeout(loop);
    if (due === 0) wake();
    else if (due > 0) timer = setTimeout(wake, Math.min(due, LONGEST_TIMEOUT)).unref();
}

// ---- operations, as promises -------------------------------------------------------------------------------

const waiting = new Map(); // by the number that eddy gets as arg: keeps all that an operation is about
let number = 0n;

// Starts what begin(arg) starts, on behalf of somebody; an AbortSignal can end it.
function operation(somebody, { signal } = {}, begin) {
    return new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        const arg = ++number;
        const op = checked(begin(arg));
        const abort = () => {
            C.eddy_loop_cancel(loop, op);
            wake();
        };
        signal?.addEventListener('abort', abort, { once: true });
        waiting.set(arg, {
            somebody,
            settle(error, value) {
                signal?.removeEventListener('abort', abort);
                if (error === null) resolve(value);
                else reject(error.code === 'EDDY_ECANCELED' && signal?.aborted ? signal.reason : error);
            },
        });
        wake();
    });
}

function done(arg, lent, value) {
    const { settle } = waiting.get(arg);
    waiting.delete(arg);
    settle(failure(lent), value);
}

// What other calls return at once; eddy may have something to do afterwards.
function call(code) {
    wake();
    return checked(code);
}

// ---- readers and writers -----------------------------------------------------------------------------------

const onRead = koffi.register((_, address, len, lent, arg) => {
    done(arg, lent, lent === null ? copied(address, len) : undefined);
}, 'eddy_read_cb');

const onWriter = koffi.register((_, lent, arg) => done(arg, lent), 'eddy_writer_cb');

const onStream = koffi.register((reader, writer, lent, arg) => {
    done(arg, lent, lent === null ? stream(reader, writer) : undefined);
}, 'eddy_stream_cb');

// A connection that is out of reach is closed by the garbage collector; either end keeps the whole of it.
const unreachable = new FinalizationRegistry((writer) => {
    C.eddy_writer_free(writer);
    wake();
});

function stream(reader, writer) {
    const connection = {};
    unreachable.register(connection, writer);
    return [new Reader(reader, connection), new Writer(writer, connection)];
}

const UNTIL_EOF = 2n ** 64n - 1n;

class Reader {
    #handle;
    #connection;

    constructor(handle, connection) {
        this.#handle = handle;
        this.#connection = connection;
    }

    // As much as is there, at most n; null at the end of the stream. Without n: all up to the end.
    async read(n, options) {
        const most = n === undefined ? UNTIL_EOF : whole(n, 'n');
        const got = await operation(this, options, (arg) => C.eddy_reader_read(this.#handle, most, onRead, arg));
        return got.length === 0 && n > 0 ? null : got;
    }

    // With its newline; null at the end of the stream.
    async readline(options) {
        const line = await operation(this, options, (arg) => C.eddy_reader_readline(this.#handle, onRead, arg));
        return line.length === 0 ? null : line;
    }

    // for await (const line of reader)
    async *[Symbol.asyncIterator]() {
        for (let line; (line = await this.readline()) !== null; ) yield line;
    }

    async readexactly(n, options) {
        whole(n, 'n');
        return operation(this, options, (arg) => C.eddy_reader_readexactly(this.#handle, n, onRead, arg));
    }

    async readuntil(separator = '\n', options) {
        const sought = bytes(separator, 'separator');
        return operation(this, options, (arg) =>
            C.eddy_reader_readuntil(this.#handle, sought, sought.length, onRead, arg));
    }

    atEof() {
        return C.eddy_reader_at_eof(this.#handle);
    }

    // Of each read from now on; 0: none.
    setTimeout(timeoutMs) {
        call(C.eddy_reader_set_timeout(this.#handle, whole(timeoutMs, 'timeout')));
    }
}

class Writer {
    #handle;
    #connection;

    constructor(handle, connection) {
        this.#handle = handle;
        this.#connection = connection;
    }

    // As with Node's own streams, false: it is time to drain.
    write(data) {
        const given = bytes(data, 'data');
        return call(C.eddy_writer_write(this.#handle, given, given.length)) === 0;
    }

    drain(options) {
        return operation(this, options, (arg) => C.eddy_writer_drain(this.#handle, onWriter, arg));
    }

    writeEof() {
        call(C.eddy_writer_write_eof(this.#handle));
    }

    close() {
        call(C.eddy_writer_close(this.#handle));
    }

    abort() {
        call(C.eddy_writer_abort(this.#handle));
    }

    isClosing() {
        return C.eddy_writer_is_closing(this.#handle);
    }

    waitClosed(options) {
        return operation(this, options, (arg) => C.eddy_writer_wait_closed(this.#handle, onWriter, arg));
    }

    // Closes the connection and frees its reader: now, not when the garbage collector comes by.
    free() {
        C.eddy_writer_free(this.#handle);
        wake();
    }

    // Of each drain from now on, and of what close() has left to send; 0: none.
    setTimeout(timeoutMs) {
        call(C.eddy_writer_set_timeout(this.#handle, whole(timeoutMs, 'timeout')));
    }

    // Encrypts what follows, both ways: options.tls is a client's or a server's.
    async startTls(options) {
        const how = optionsOf(options);
        return operation(this, options, (arg) => C.eddy_writer_start_tls(this.#handle, how, onWriter, arg));
    }

    // 'peername', 'sockname', 'socket'; of TLS 'version', 'cipher' and more; null if there is none. 'peercert' and
    // 'peercert_chain' are Buffers.
    getExtraInfo(name) {
        const len = new BigUint64Array(1);
        const address = C.eddy_writer_get_extra_info(this.#handle, text(name, 'name'), len);
        if (address === null) return null;
        const info = copied(address, Number(len[0]));
        return name.startsWith('peercert') ? info : String(info);
    }
}

async function openConnection(host, port, options) {
    const [to, at, how] = [text(host, 'host'), whole(port, 'port', 65535), optionsOf(options)];
    return operation(null, options, (arg) => C.eddy_open_connection(theLoop(), to, at, how, onStream, arg));
}

async function openUnixConnection(path, options) {
    const [to, how] = [text(path, 'path'), optionsOf(options)];
    return operation(null, options, (arg) => C.eddy_open_unix_connection(theLoop(), to, how, onStream, arg));
}

// ---- servers -----------------------------------------------------------------------------------------------

const clients = new Map(); // by the number of a server that is open: what is called for each of its clients

const onClient = koffi.register((reader, writer, _, arg) => welcome(clients.get(arg), ...stream(reader, writer)),
                                'eddy_stream_cb');

async function welcome(client, reader, writer) {
    await null; // not from within eddy's round
    try {
        await client(reader, writer);
    } catch (error) {
        report('a client failed', error);
        if (!writer.isClosing()) writer.free();
    }
}

const onServer = koffi.register((server, lent, arg) => done(arg, lent, lent === null ? new Server(server, arg) : null),
                                'eddy_server_cb');
const onDown = koffi.register((_, lent, arg) => done(arg, lent), 'eddy_server_cb');

const closedAndUnreachable = new FinalizationRegistry((server) => C.eddy_server_free(server));

class Server {
    #handle;
    #number;

    constructor(handle, number) {
        this.#handle = handle;
        this.#number = number;
    }

    // Nobody is called for clients any more. Until then the server serves on, also if nobody refers to it.
    #closed() {
        if (clients.delete(this.#number)) closedAndUnreachable.register(this, this.#handle);
    }

    close() {
        call(C.eddy_server_close(this.#handle));
        this.#closed();
    }

    waitClosed(options) {
        return operation(this, options, (arg) => C.eddy_server_wait_closed(this.#handle, onDown, arg));
    }

    // Closes it, and waits until its clients have ended; EDDY_ETIMEDOUT: some had to be cut off after graceMs.
    async shutdown(graceMs, options) {
        whole(graceMs, 'grace');
        const down = operation(this, options, (arg) => C.eddy_server_shutdown(this.#handle, graceMs, onDown, arg));
        this.#closed();
        return down;
    }

    closeClients() {
        call(C.eddy_server_close_clients(this.#handle));
    }

    abortClients() {
        call(C.eddy_server_abort_clients(this.#handle));
    }

    isServing() {
        return C.eddy_server_is_serving(this.#handle);
    }

    // '127.0.0.1:8080', or a path; null past the last, and once closed.
    sockname(index = 0) {
        return C.eddy_server_sockname(this.#handle, whole(index, 'index'));
    }
}

// begin(arg) starts a server, whose clients and whose own callback have the same arg.
async function serve(client, options, begin) {
    callable(client, 'client callback');
    let server;
    try {
        return await operation(null, options, (arg) => {
            server = arg;
            clients.set(server, client);
            return begin(arg);
        });
    } catch (error) {
        clients.delete(server);
        throw error;
    }
}

// client(reader, writer) is called for each client. If it throws or rejects, that is reported and the client closed.
async function startServer(client, host, port, options) {
    const [at, on, how] = [host === null ? null : text(host, 'host'), whole(port, 'port', 65535), optionsOf(options)];
    return serve(client, options, (arg) => C.eddy_start_server(theLoop(), onClient, at, on, how, onServer, arg));
}

async function startUnixServer(client, path, options) {
    const [at, how] = [text(path, 'path'), optionsOf(options)];
    return serve(client, options, (arg) => C.eddy_start_unix_server(theLoop(), onClient, at, how, onServer, arg));
}

module.exports = {
    version: C.eddy_version(),
    EddyError,
    openConnection,
    openUnixConnection,
    setExceptionHandler,
    startServer,
    startUnixServer,
    tlsClient,
    tlsServer,
};
