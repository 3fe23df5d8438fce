-- eddy.lua: libeddy for LuaJIT. Inside eddy.run() every call looks as if it blocked; it is only its task that waits.
--
--     local eddy = require "eddy"
--     eddy.run(function()
--         local reader, writer = eddy.open_connection("example.com", 80)
--         writer:write("HEAD / HTTP/1.0\r\n\r\n")
--         for line in reader:lines() do io.write(line) end
--     end)
--
-- What eddy calls only notes what came; tasks are resumed between two rounds of the loop. So no error and no yield
-- of theirs meets a frame of C, and all callbacks of this file live as long as it does.

local ffi = require "ffi"

-- As in eddy.h, letter by letter: a test compares them.
local declarations = [[
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

typedef void (*eddy_loop_cb)(eddy_loop *loop, const eddy_error *error, void *arg);
typedef void (*eddy_read_cb)(eddy_reader *reader, const char *bytes, size_t len, const eddy_error *error,
                             void *arg);
typedef void (*eddy_writer_cb)(eddy_writer *writer, const eddy_error *error, void *arg);
typedef void (*eddy_stream_cb)(eddy_reader *reader, eddy_writer *writer, const eddy_error *error, void *arg);
typedef void (*eddy_server_cb)(eddy_server *server, const eddy_error *error, void *arg);
typedef void (*eddy_exception_cb)(eddy_loop *loop, const char *message, const eddy_error *error, void *arg);

eddy_loop *eddy_loop_new(void);
void eddy_loop_free(eddy_loop *loop);
int eddy_loop_run_once(eddy_loop *loop, int timeout_ms);
eddy_op eddy_loop_call_later(eddy_loop *loop, uint64_t delay_ms, eddy_loop_cb cb, void *arg);
int eddy_loop_cancel(eddy_loop *loop, eddy_op op);
int eddy_loop_set_exception_handler(eddy_loop *loop, eddy_exception_cb cb, void *arg);

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
]]
ffi.cdef(declarations)
local C = ffi.load(os.getenv("EDDY_LIBRARY") or "libeddy.so.0")

local eddy = { version = ffi.string(C.eddy_version()) }
for name, code in declarations:gmatch("EDDY_(%u+) = (%-?%d+)") do eddy[name] = tonumber(code) end

-- ---- errors: tables with a code, which print as their message ----------------------------------------------

local Error = {}
Error.__index = Error
function Error:__tostring() return self.message end

local function refusal(code, about)
    local message = ffi.string(C.eddy_strerror(code))
    return setmetatable({ code = code, errno = 0, message = about and about .. ": " .. message or message }, Error)
end

-- What a callback was given, as a copy that may be kept; nil: nothing went wrong.
local function failure(lent)
    if lent == nil then return nil end
    local len = ffi.new("size_t[1]")
    local partial = C.eddy_error_partial(lent, len)
    return setmetatable({
        code = C.eddy_error_code(lent),
        errno = C.eddy_error_errno(lent),
        message = ffi.string(C.eddy_error_message(lent)),
        expected = tonumber(C.eddy_error_expected(lent)),
        partial = partial ~= nil and ffi.string(partial, len[0]) or nil,
        consumed = tonumber(C.eddy_error_consumed(lent)),
    }, Error)
end

-- Whether a value, such as what pcall() caught, is an error of eddy's, and of this code if one is given.
function eddy.is_error(value, code)
    return getmetatable(value) == Error and (code == nil or value.code == code)
end

-- The code that a call returned: an error, if it is negative.
local function checked(code)
    if code < 0 then error(refusal(tonumber(code))) end
    return code
end

-- What C would cut down in silence, to 16 bits, to a whole number, or at a NUL, is refused here.
local function whole(value, about, most)
    if type(value) ~= "number" or value % 1 ~= 0 or value < 0 or value > (most or 2 ^ 53) then
        error(refusal(eddy.EINVAL, about .. " " .. tostring(value)))
    end
    return value
end

local function text(value, about)
    if type(value) ~= "string" or value:find("\0", 1, true) then
        error(refusal(eddy.EINVAL, about .. " " .. tostring(value)))
    end
    return value
end

local function bytes(value, about)
    if type(value) ~= "string" then error(refusal(eddy.EINVAL, about .. " of type " .. type(value))) end
    return value
end

-- ---- tls: settings for options.tls, shared by any number of connections and servers --------------------------

local Tls = {}
Tls.__index = Tls

-- The handle of settings with which nothing is wrong.
local function settings(tls)
    local wrong = failure(C.eddy_tls_error(tls.handle))
    if wrong then error(wrong) end
    return tls.handle
end

-- load_trust(path), set_alpn("h2,http/1.1"), verify_clients(true): each as in eddy.h, and to be called in a row.
for name, parameters in declarations:gmatch("int eddy_tls_([%w_]+)%(eddy_tls %*tls([^)]*)%)") do
    local count = select(2, parameters:gsub(",", ""))
    Tls[name] = function(self, ...)
        local given = { ... }
        for i = 1, count do
            if type(given[i]) == "boolean" then given[i] = given[i] and 1 or 0 end
            if type(given[i]) == "string" then text(given[i], name) end
        end
        local code = C["eddy_tls_" .. name](self.handle, unpack(given, 1, count))
        if code < 0 then error(failure(C.eddy_tls_error(self.handle)) or refusal(code, name)) end
        return self
    end
end

local function tls_of(handle) return setmetatable({ handle = ffi.gc(handle, C.eddy_tls_free) }, Tls) end

-- Trusts whom the system trusts, unless told by trust() or load_trust().
function eddy.tls_client() return tls_of(C.eddy_tls_client_new()) end

-- Needs add_certificate(certificates_pem, key_pem), or load_certificate(certificates_path, key_path).
function eddy.tls_server() return tls_of(C.eddy_tls_server_new(nil, nil)) end

-- A table as eddy_options, which borrow its texts: { limit = 1024, timeout_ms = 5000, reuse_port = true }.
local function options_of(given)
    if given == nil then return nil end
    local options = ffi.new("eddy_options", ffi.sizeof("eddy_options"))
    for name, value in pairs(given) do
        if type(value) == "boolean" then value = value and 1 or 0 end
        if getmetatable(value) == Tls then value = settings(value)
        elseif type(value) == "string" then text(value, name)
        else whole(value, name) end
        options[name] = value -- an error for what is no option
        if type(value) == "number" and tonumber(options[name]) ~= value then whole(-value, name) end -- it did not fit
    end
    return options
end

-- ---- tasks: coroutines that wait for operations ------------------------------------------------------------

local Task = {}
Task.__index = Task

local loop        -- while eddy.run() is
local current     -- the task that is running
local ready       -- tasks to be resumed, in turn
local waiting     -- tasks by the number of the operation that they wait for; the number is the operation's arg
local clients     -- by the number of a server: what is called for each of its clients
local number = 0

local function on_stderr(message) io.stderr:write("eddy: ", message, "\n") end
local handler = on_stderr

-- Told of what nobody else is: fn(message, error). nil: a line on stderr.
function eddy.set_exception_handler(fn) handler = fn or on_stderr end

local function report(message, err)
    local ok, trouble = pcall(handler, message, err)
    if not ok then on_stderr(message .. "\neddy: and the exception handler: " .. tostring(trouble)) end
end

-- The argument of the operation that begins now.
local function ticket()
    if current == nil or coroutine.running() ~= current.thread then
        error("eddy: only a task can wait: a function given to eddy.run(), create_task() or start_server()", 3)
    end
    if current.must_cancel then
        current.must_cancel = nil
        error(refusal(eddy.ECANCELED))
    end
    number = number + 1
    return ffi.cast("void *", number)
end

-- Leaves the task, until wake() gives it an error, or what it waited for.
local function suspend()
    local err, one, two = coroutine.yield()
    if err ~= nil then error(err) end
    return one, two
end

local function wake(task, ...)
    task.op, task.target = nil, nil
    task.results, task.count = { ... }, select("#", ...)
    ready[#ready + 1] = task
end

-- Waits for the operation that has just been started with ticket(): what its callback got.
local function await(op)
    checked(op)
    waiting[number] = current
    current.op = op
    return suspend()
end

local function key(arg) return tonumber(ffi.cast("uintptr_t", arg)) end

local function done(arg, lent, one, two)
    local task = waiting[key(arg)]
    waiting[key(arg)] = nil
    wake(task, failure(lent), one, two)
end

-- Starts fn(...) as a task of its own, in the next round.
function eddy.create_task(fn, ...)
    if loop == nil then error("eddy: only inside of eddy.run()", 2) end
    local task = setmetatable({ thread = coroutine.create(fn), waiters = {} }, Task)
    wake(task, ...)
    return task
end

-- What the task waits for, or will wait for next, ends with ECANCELED.
function Task:cancel()
    if self.op then
        C.eddy_loop_cancel(loop, self.op)
    elseif self.target then
        self.target.waiters[self] = nil
        wake(self, refusal(eddy.ECANCELED))
    else
        self.must_cancel = true
    end
end

-- Waits for the end of the task: what it returned, or its error.
function Task:wait()
    if not self.over then
        ticket()
        self.waiters[current] = true
        current.target = self
        suspend()
    end
    if self.error ~= nil then error(self.error, 0) end
    return unpack(self.results, 1, self.count)
end

local function finish(task, ok, ...)
    if coroutine.status(task.thread) ~= "dead" then return end
    task.over, task.results, task.count = true, { ... }, select("#", ...)
    if not ok then
        task.error = (...)
        if task.writer then C.eddy_writer_close(task.writer.handle) end
        if next(task.waiters) == nil and not task.is_main and not eddy.is_error(task.error, eddy.ECANCELED) then
            report(debug.traceback(task.thread, "a task failed: " .. tostring(task.error)), task.error)
        end
    end
    for waiter in pairs(task.waiters) do wake(waiter) end
end

local function resume_ready()
    local now = ready
    ready = {}
    for _, task in ipairs(now) do
        local results = task.results
        current, task.started, task.results = task, true, nil -- it alone says how long it keeps what it got
        finish(task, coroutine.resume(task.thread, unpack(results, 1, task.count)))
        current = nil
    end
end

local function drive(main)
    while true do
        resume_ready()
        if main.over then return end
        local more = C.eddy_loop_run_once(loop, #ready > 0 and 0 or -1)
        if more == 0 and #ready == 0 then error("eddy: nothing is left to wait for, and the task has not ended", 0) end
    end
end

-- As asyncio.run(): what still waits ends with ECANCELED, and may tidy up; what has not begun never does.
local function close()
    local left = ready
    ready = {}
    for _, task in ipairs(left) do
        task.must_cancel = true
        if task.started then ready[#ready + 1] = task end
    end
    C.eddy_loop_free(loop)
    while #ready > 0 do resume_ready() end
    loop = nil
end

-- Both call back: LuaJIT must not compile the call.
jit.off(drive)
jit.off(close)

local on_exception = ffi.cast("eddy_exception_cb", function(_, message, lent)
    report(ffi.string(message), failure(lent))
end)

-- Runs fn(...) as a task to its end: what it returned, or its error.
function eddy.run(fn, ...)
    if loop ~= nil then error("eddy: eddy.run() is running already", 2) end
    loop = C.eddy_loop_new()
    if loop == nil then
        loop = nil
        error("eddy: no loop can be made", 2)
    end
    C.eddy_loop_set_exception_handler(loop, on_exception, nil)
    ready, waiting, clients = {}, {}, {}
    local main = eddy.create_task(fn, ...)
    main.is_main = true
    local ok, trouble = pcall(drive, main)
    close()
    if not ok then error(trouble, 0) end
    if main.error ~= nil then error(main.error, 0) end
    return unpack(main.results, 1, main.count)
end

local on_timer = ffi.cast("eddy_loop_cb", function(_, lent, arg) done(arg, lent) end)

function eddy.sleep(delay_ms)
    await(C.eddy_loop_call_later(loop, whole(delay_ms, "delay"), on_timer, ticket()))
end

-- ---- readers and writers -----------------------------------------------------------------------------------

local Reader = {}
Reader.__index = Reader
local Writer = {}
Writer.__index = Writer

-- A connection that is out of reach is closed by the garbage collector; either end keeps the whole of it.
local function stream(reader, writer)
    writer = ffi.gc(writer, C.eddy_writer_free)
    return setmetatable({ handle = reader, writer = writer }, Reader), setmetatable({ handle = writer }, Writer)
end

local on_stream = ffi.cast("eddy_stream_cb", function(reader, writer, lent, arg)
    if lent ~= nil then return done(arg, lent) end
    done(arg, nil, stream(reader, writer))
end)

function eddy.open_connection(host, port, options)
    return await(C.eddy_open_connection(loop, text(host, "host"), whole(port, "port", 65535), options_of(options),
                                        on_stream, ticket()))
end

function eddy.open_unix_connection(path, options)
    return await(C.eddy_open_unix_connection(loop, text(path, "path"), options_of(options), on_stream, ticket()))
end

local on_read = ffi.cast("eddy_read_cb", function(_, lent_bytes, len, lent, arg)
    done(arg, lent, lent == nil and ffi.string(lent_bytes, len) or nil)
end)

local UNTIL_EOF = ffi.cast("size_t", -1LL) -- SIZE_MAX; -1 without LL would be half of it

-- As much as is there, at most n; nil at the end of the stream. Without n: all up to the end.
function Reader:read(n)
    if n == nil then return (await(C.eddy_reader_read(self.handle, UNTIL_EOF, on_read, ticket()))) end
    local got = await(C.eddy_reader_read(self.handle, whole(n, "n"), on_read, ticket()))
    if got == "" and n > 0 then return nil end
    return got
end

-- With its newline; nil at the end of the stream.
function Reader:readline()
    local line = await(C.eddy_reader_readline(self.handle, on_read, ticket()))
    if line == "" then return nil end
    return line
end

-- for line in reader:lines() do
function Reader:lines() return self.readline, self end

function Reader:readexactly(n)
    return (await(C.eddy_reader_readexactly(self.handle, whole(n, "n"), on_read, ticket())))
end

function Reader:readuntil(separator)
    separator = bytes(separator or "\n", "separator")
    return (await(C.eddy_reader_readuntil(self.handle, separator, #separator, on_read, ticket())))
end

function Reader:at_eof() return C.eddy_reader_at_eof(self.handle) end

-- Of each read from now on; 0: none.
function Reader:set_timeout(timeout_ms)
    checked(C.eddy_reader_set_timeout(self.handle, whole(timeout_ms, "timeout")))
end

local on_written = ffi.cast("eddy_writer_cb", function(_, lent, arg) done(arg, lent) end)

-- True: it is time to drain.
function Writer:write(data)
    return checked(C.eddy_writer_write(self.handle, bytes(data, "data"), #data)) == 1
end

function Writer:drain() await(C.eddy_writer_drain(self.handle, on_written, ticket())) end
function Writer:write_eof() checked(C.eddy_writer_write_eof(self.handle)) end
function Writer:close() checked(C.eddy_writer_close(self.handle)) end
function Writer:abort() checked(C.eddy_writer_abort(self.handle)) end
function Writer:is_closing() return C.eddy_writer_is_closing(self.handle) end
function Writer:wait_closed() await(C.eddy_writer_wait_closed(self.handle, on_written, ticket())) end

-- Closes the connection and frees its reader: now, not when the garbage collector comes by.
function Writer:free() C.eddy_writer_free(self.handle) end

-- Of each drain from now on, and of what close() has left to send; 0: none.
function Writer:set_timeout(timeout_ms)
    checked(C.eddy_writer_set_timeout(self.handle, whole(timeout_ms, "timeout")))
end

-- Encrypts what follows, both ways: options.tls is a client's or a server's.
function Writer:start_tls(options)
    await(C.eddy_writer_start_tls(self.handle, options_of(options), on_written, ticket()))
end

-- "peername", "sockname", "socket"; of TLS "version", "cipher", "peercert" and more; nil if there is none.
function Writer:get_extra_info(name)
    local len = ffi.new("size_t[1]")
    local value = C.eddy_writer_get_extra_info(self.handle, text(name, "name"), len)
    return value ~= nil and ffi.string(value, len[0]) or nil
end

-- ---- servers -----------------------------------------------------------------------------------------------

local Server = {}
Server.__index = Server

local on_client = ffi.cast("eddy_stream_cb", function(reader, writer, _, arg)
    local task = eddy.create_task(clients[key(arg)], stream(reader, writer))
    task.writer = task.results[2] -- to be closed when the task fails
end)

local on_server = ffi.cast("eddy_server_cb", function(server, lent, arg) done(arg, lent, server) end)

local function serve(client_cb, start)
    if type(client_cb) ~= "function" then error(refusal(eddy.EINVAL, "client_cb")) end
    local arg = ticket()
    local this = number
    clients[this] = client_cb
    local ok, handle = pcall(function() return await(start(arg)) end)
    if not ok then
        clients[this] = nil
        error(handle, 0)
    end
    return setmetatable({ handle = handle, number = this }, Server)
end

-- client_cb(reader, writer) runs as a task for each client. When it fails, that is reported and the client closed.
function eddy.start_server(client_cb, host, port, options)
    if host ~= nil then text(host, "host") end -- nil: every address of this machine
    whole(port, "port", 65535)
    local given = options_of(options)
    return serve(client_cb, function(arg)
        return C.eddy_start_server(loop, on_client, host, port, given, on_server, arg)
    end)
end

function eddy.start_unix_server(client_cb, path, options)
    text(path, "path")
    local given = options_of(options)
    return serve(client_cb, function(arg)
        return C.eddy_start_unix_server(loop, on_client, path, given, on_server, arg)
    end)
end

-- Nobody calls client_cb any more, and the handle goes with the last who has it: not before, a server that nobody
-- refers to goes on serving.
local function closed(server)
    clients[server.number] = nil
    ffi.gc(server.handle, C.eddy_server_free)
end

function Server:close()
    checked(C.eddy_server_close(self.handle))
    closed(self)
end

function Server:wait_closed() await(C.eddy_server_wait_closed(self.handle, on_server, ticket())) end

-- Closes it, and waits until its clients have ended; ETIMEDOUT: some had to be cut off after grace_ms.
function Server:shutdown(grace_ms)
    local op = C.eddy_server_shutdown(self.handle, whole(grace_ms, "grace"), on_server, ticket())
    closed(self)
    await(op)
end

function Server:close_clients() checked(C.eddy_server_close_clients(self.handle)) end
function Server:abort_clients() checked(C.eddy_server_abort_clients(self.handle)) end
function Server:is_serving() return C.eddy_server_is_serving(self.handle) end

-- "127.0.0.1:8080", or a path; nil past the last, and once closed.
function Server:sockname(index)
    local name = C.eddy_server_sockname(self.handle, whole((index or 1) - 1, "index"))
    return name ~= nil and ffi.string(name) or nil
end

return eddy
