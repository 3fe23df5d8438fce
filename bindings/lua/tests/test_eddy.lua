-- test_eddy.lua PORT: eddy.lua against the peer.py that listens on PORT, and against itself.
local eddy = require "eddy"

io.stdout:setvbuf("line")
local PORT = tonumber(arg[1])
local failed, count = 0, 0

local function test(name, fn)
    count = count + 1
    local ok, err = xpcall(fn, function(err) return debug.traceback(tostring(err)) end)
    if ok then return print("ok    " .. name) end
    failed = failed + 1
    print("FAIL  " .. name .. "\n" .. err)
end

local function equal(actual, expected)
    if actual ~= expected then error(("%q is not %q"):format(tostring(actual), tostring(expected)), 2) end
end

-- The error that fn(...) must raise, of this code if one is given.
local function fails(code, fn, ...)
    local ok, err = pcall(fn, ...)
    if ok then error("no error", 2) end
    if code and not eddy.is_error(err, code) then error("another error: " .. tostring(err), 2) end
    return err
end

-- A connection to the peer, which has been told what to do.
local function peer(what, options)
    local reader, writer = eddy.open_connection("127.0.0.1", PORT, options)
    writer:write(what .. "\n")
    return reader, writer
end

-- What goes to the exception handler while fn(...) runs.
local function reports_of(fn, ...)
    local reports = {}
    eddy.set_exception_handler(function(message, err) table.insert(reports, { message = message, err = err }) end)
    local ok, err = pcall(fn, ...)
    eddy.set_exception_handler(nil)
    if not ok then error(err, 0) end
    return reports
end

local function collect() for _ = 1, 3 do collectgarbage() end end

test("every kind of read, and nil at the end", function()
    eddy.run(function()
        local reader, writer = peer([[end one\ntwo\r\nabc;def\x00\xfftail]])
        equal(reader:readline(), "one\n")
        equal(reader:readuntil(), "two\r\n")
        equal(reader:readuntil(";"), "abc;")
        equal(reader:readexactly(5), "def\0\255")
        equal(reader:read(2), "ta")
        equal(reader:read(0), "")
        equal(reader:read(100), "il")
        equal(reader:read(100), nil)
        equal(reader:readline(), nil)
        equal(reader:read(), "")
        equal(reader:at_eof(), true)
        equal(writer:get_extra_info("peername"), "127.0.0.1:" .. PORT)
        equal(writer:get_extra_info("nothing"), nil)
    end)
end)

test("lines, up to one without a newline", function()
    local lines = eddy.run(function()
        local lines = {}
        for line in peer([[end a\n\nb]]):lines() do table.insert(lines, line) end
        return lines
    end)
    equal(table.concat(lines, "|"), "a\n|\n|b")
end)

test("an end too early tells what had come", function()
    eddy.run(function()
        local reader = peer("end abc")
        local err = fails(eddy.EINCOMPLETE, reader.readexactly, reader, 10)
        equal(err.expected, 10)
        equal(err.partial, "abc")
        reader = peer("end abc")
        equal(fails(eddy.EINCOMPLETE, reader.readuntil, reader).partial, "abc")
    end)
end)

test("a line beyond options.limit", function()
    eddy.run(function()
        local reader = peer("say " .. ("x"):rep(100) .. [[\nnext\n]], { limit = 64 })
        fails(eddy.ELIMIT, reader.readline, reader)
        equal(reader:readline(), "next\n")
    end)
end)

test("a connection that is reset", function()
    eddy.run(function()
        local reader, writer = peer("reset bye")
        equal(reader:readexactly(3), "bye")
        writer:write("!")
        local err = fails(eddy.ELOST, reader.readline, reader)
        assert(err.errno ~= 0 and tostring(err):find("reset"), tostring(err))
        fails(eddy.ELOST, writer.drain, writer)
    end)
end)

test("nobody there: the system's reason and the address", function()
    eddy.run(function()
        local server = eddy.start_server(function() end, "127.0.0.1", 0)
        local port = tonumber(server:sockname():match("%d+$"))
        server:close()
        local err = fails(eddy.ESYSTEM, eddy.open_connection, "127.0.0.1", port)
        assert(err.errno > 0 and err.message:find("127.0.0.1:" .. port, 1, true), err.message)
        fails(eddy.ESYSTEM, eddy.open_unix_connection, "/nonexistent/socket")
        fails(eddy.ESYSTEM, eddy.start_server, function() end, "127.0.0.1", PORT)
    end)
end)

test("a read that is late, and what it saw", function()
    eddy.run(function()
        local reader, writer = peer("echo")
        reader:set_timeout(20)
        writer:write("half")
        fails(eddy.ETIMEDOUT, reader.readline, reader)
        reader:set_timeout(0)
        writer:write(" and half\n")
        equal(reader:readline(), "half and half\n")
    end)
end)

test("connecting within options.timeout_ms", function()
    local path = "@eddy-lua-" .. PORT
    eddy.run(function()
        local server = eddy.start_unix_server(function() end, path, { max_clients = 1, backlog = 1 })
        local opened = {}
        fails(eddy.ETIMEDOUT, function()
            while #opened < 100 do table.insert(opened, { eddy.open_unix_connection(path, { timeout_ms = 100 }) }) end
        end)
        assert(#opened > 0)
        equal(server:is_serving(), true)
    end)
end)

test("a task that is cancelled while it reads loses nothing", function()
    eddy.run(function()
        local reader, writer = peer("echo")
        local err
        local task = eddy.create_task(function() err = fails(eddy.ECANCELED, reader.readline, reader) end)
        writer:write("half")
        eddy.sleep(20)
        task:cancel()
        task:wait()
        writer:write(" and half\n")
        equal(reader:readline(), "half and half\n")
    end)
end)

test("tasks: results, errors, waiting for each other", function()
    local a, b = eddy.run(function(one, two) return two, one end, 1, nil)
    assert(a == nil and b == 1)
    eddy.run(function()
        local task = eddy.create_task(function(n) eddy.sleep(1) return n, nil, n + 1 end, 5)
        local x, y, z = task:wait()
        assert(x == 5 and y == nil and z == 6)
        equal(select("#", task:wait()), 3)
        local broken = eddy.create_task(function() error({ "mine" }) end)
        equal(fails(nil, broken.wait, broken)[1], "mine")
        local sleeper = eddy.create_task(eddy.sleep, 60000)
        local waiter = eddy.create_task(sleeper.wait, sleeper)
        eddy.sleep(1)
        waiter:cancel()
        fails(eddy.ECANCELED, waiter.wait, waiter)
        equal(sleeper.over, nil)
        local unborn = eddy.create_task(eddy.sleep, 60000)
        unborn:cancel()
        fails(eddy.ECANCELED, unborn.wait, unborn)
    end)
end)

test("an error of the first task is that of eddy.run, and eddy.run can be had again", function()
    assert(fails(nil, eddy.run, function() error("mine") end):find("mine"))
    fails(eddy.EINVAL, eddy.run, function() eddy.sleep(-1) end)
    equal(eddy.run(function() return fails(nil, eddy.run, print) end):match("already") , "already")
    assert(fails(nil, eddy.run, coroutine.yield):find("nothing is left"))
    assert(fails(nil, eddy.sleep, 1):find("only a task"))
    assert(fails(nil, eddy.create_task, print):find("only inside"))
    assert(fails(nil, eddy.run, function() coroutine.wrap(eddy.sleep)(1) end):find("only a task"))
end)

test("what still waits at the end is cancelled, and may tidy up", function()
    local seen = {}
    local reports = reports_of(eddy.run, function()
        local reader = peer("say x")
        eddy.create_task(function()
            table.insert(seen, fails(eddy.ECANCELED, reader.readline, reader).code)
            table.insert(seen, fails(eddy.ESTALE, reader.readline, reader).code)
        end)
        eddy.create_task(eddy.sleep, 60000)
        eddy.sleep(1)
        eddy.create_task(table.insert, seen, "never")
    end)
    equal(table.concat(seen, " "), eddy.ECANCELED .. " " .. eddy.ESTALE)
    equal(#reports, 0)
end)

test("waiting reads, drains and servers live through the garbage collector", function()
    eddy.run(function()
        local tasks, writers = {}, {}
        eddy.start_server(function(reader, writer) -- nobody keeps the server
            for line in reader:lines() do
                collect()
                writer:write(line)
                writer:drain()
            end
            writer:free()
        end, "127.0.0.1", 0 --[[any]])
        for i = 1, 20 do
            local reader, writer = peer("echo")
            writers[i] = writer
            tasks[i] = eddy.create_task(function() return reader:readline() end)
        end
        eddy.sleep(1)
        for i = 1, 20 do
            collect()
            writers[i]:write(i .. "\n")
            eddy.sleep(1)
            collect()
        end
        for i = 1, 20 do equal(tasks[i]:wait(), i .. "\n") end
    end)
end)

test("a server that nobody keeps serves on; a connection that nobody keeps is closed", function()
    eddy.run(function()
        local ended
        local port = eddy.start_server(function(reader, writer)
            writer:write("hello\n")
            ended = reader:readline() == nil
            writer:free()
        end, "127.0.0.1", 0):sockname():match("%d+$")
        collect()
        local reader = eddy.open_connection("127.0.0.1", tonumber(port))
        collect() -- the reader alone keeps the connection
        equal(reader:readline(), "hello\n")
        collect()
        eddy.sleep(5)
        equal(ended, nil)
        equal(reader:at_eof(), false)
        reader = nil
        for _ = 1, 100 do
            collect()
            eddy.sleep(1)
            if ended then break end
        end
        equal(ended, true)
    end)
end)

test("a client's task that fails is reported and its client closed; the server goes on", function()
    local answers = {}
    local reports = reports_of(eddy.run, function()
        local server = eddy.start_server(function(reader, writer)
            local line = reader:readline()
            if line == "fail\n" then error("on purpose") end
            if line == "fail in C\n" then writer:write(nil) end
            writer:write(line)
            writer:close()
        end, "127.0.0.1", 0)
        for _, line in ipairs { "fail\n", "fail in C\n", "work\n" } do
            local reader, writer = eddy.open_connection("127.0.0.1", tonumber(server:sockname():match("%d+$")))
            writer:write(line)
            table.insert(answers, reader:read())
        end
    end)
    equal(table.concat(answers, "|"), "||work\n")
    equal(#reports, 2)
    assert(reports[1].message:find("on purpose") and reports[1].message:find("test_eddy.lua:%d+: in function"),
           reports[1].message)
    assert(eddy.is_error(reports[2].err, eddy.EINVAL))
end)

test("an exception handler that fails itself is survived", function()
    local stderr = io.stderr
    local written = {}
    io.stderr = { write = function(_, ...) table.insert(written, table.concat { ... }) end }
    eddy.set_exception_handler(function() error("worse") end)
    local ok, err = pcall(eddy.run, function()
        eddy.create_task(error, "bad")
        eddy.sleep(1)
        eddy.set_exception_handler(nil)
        eddy.create_task(error, "plain")
        eddy.sleep(1)
    end)
    io.stderr = stderr
    assert(ok, err)
    equal(#written, 2)
    assert(written[1]:find("bad") and written[1]:find("worse"), written[1])
    assert(written[2]:find("eddy: a task failed: plain"), written[2])
end)

test("handles that are stale are errors, freed twice or kept beyond their loop", function()
    local reader, writer, server = eddy.run(function()
        local reader, writer = peer("echo")
        return reader, writer, eddy.start_server(print, "127.0.0.1", 0)
    end)
    local reports = reports_of(eddy.run, function()
        fails(eddy.ESTALE, reader.readline, reader)
        fails(eddy.ESTALE, writer.write, writer, "x")
        fails(eddy.ESTALE, writer.drain, writer)
        fails(eddy.ESTALE, server.close, server)
        equal(server:sockname(), nil)
        equal(reader:at_eof(), false)
        writer:free()
        reader, writer = peer("echo")
        writer:free()
        writer:free()
        fails(eddy.ESTALE, writer.write, writer, "x")
        fails(eddy.ESTALE, reader.read, reader, 1)
        reader, writer = peer("echo")
        local task = eddy.create_task(reader.readline, reader)
        eddy.sleep(1)
        writer:free()
        fails(eddy.ECANCELED, task.wait, task)
    end)
    assert(#reports > 0 and reports[1].message:find("stale"), "the exception handler is told, too")
end)

test("arguments that make no sense", function()
    eddy.run(function()
        for _, port in ipairs { -1, 65536, 1.5, 0 / 0, "80" } do
            fails(eddy.EINVAL, eddy.open_connection, "127.0.0.1", port)
            fails(eddy.EINVAL, eddy.start_server, print, "127.0.0.1", port)
        end
        fails(eddy.EINVAL, eddy.open_connection, nil, 80)
        fails(eddy.EINVAL, eddy.open_connection, "a\0b", 80)
        fails(eddy.EINVAL, eddy.open_unix_connection, 5)
        fails(eddy.EINVAL, eddy.start_server, nil, "127.0.0.1", 0)
        fails(eddy.EINVAL, eddy.start_server, print, "127.0.0.1", 0, { local_port = 1 })
        fails(eddy.EINVAL, eddy.open_connection, "127.0.0.1", PORT, { limit = -1 })
        fails(eddy.EINVAL, eddy.open_connection, "127.0.0.1", PORT, { local_port = 65536 })
        assert(tostring(fails(nil, eddy.open_connection, "127.0.0.1", PORT, { limitt = 1 })):find("limitt"))
        local reader, writer = peer("echo", { keep_alive = true })
        fails(eddy.EINVAL, reader.read, reader, -1)
        fails(eddy.EINVAL, reader.readexactly, reader)
        fails(eddy.EINVAL, reader.readuntil, reader, "")
        fails(eddy.EINVAL, reader.readuntil, reader, 5)
        fails(eddy.EINVAL, reader.set_timeout, reader, -1)
        fails(eddy.EINVAL, writer.write, writer, 5)
        eddy.create_task(reader.readline, reader)
        eddy.sleep(1)
        fails(eddy.EBUSY, reader.readline, reader)
        writer:close()
        fails(eddy.ESTATE, writer.write, writer, "x")
    end)
end)

test("a unix server: half-close, close, wait_closed, and shutdown with a grace", function()
    local path = os.tmpname()
    os.remove(path)
    local reports = reports_of(eddy.run, function()
        local function serve(reader, writer)
            writer:write(reader:read():upper())
            writer:close()
            writer:wait_closed()
            equal(writer:is_closing(), true)
        end
        local server = eddy.start_unix_server(serve, path)
        equal(server:sockname(), path)
        local reader, writer = eddy.open_unix_connection(path)
        writer:write("shout")
        writer:write_eof()
        equal(reader:read(), "SHOUT")
        local lazy = eddy.open_unix_connection(path)
        eddy.sleep(1)
        fails(eddy.ETIMEDOUT, server.shutdown, server, 20)
        equal(lazy:read(), "")
        equal(server:is_serving(), false)
        server:wait_closed()
    end)
    equal(#reports, 1)
    equal(reports[1].err.code, eddy.ESTATE) -- the lazy one's, who was cut off
    equal(io.open(path), nil)
end)

test("more is written than the peer reads: write says so, and drain waits", function()
    eddy.run(function()
        local reader, writer = peer("echo")
        local megabyte, written, task = ("y"):rep(1e6), 0, nil
        equal(writer:write("small"), false)
        repeat -- until all buffers on the way are full
            written = written + #megabyte
            local above = writer:write(megabyte)
            task = eddy.create_task(writer.drain, writer)
            eddy.sleep(50)
        until above and not task.over
        equal(#reader:readexactly(#"small" + written), #"small" + written)
        task:wait()
        writer:abort()
        fails(eddy.ELOST, writer.drain, writer)
    end)
end)

test("tls: from the first byte on, and from a later one", function()
    local path = os.getenv("EDDY_CERTIFICATES") or ""
    if path == "" then return print("      (not tried: no certificates)") end
    local ok, server_tls = pcall(function()
        return eddy.tls_server():load_certificate(path .. "/server.pem", path .. "/server.key"):set_alpn("echo")
    end)
    if eddy.is_error(server_tls, eddy.ENOTSUP) then return print("      (not tried: a library without TLS)") end
    assert(ok, tostring(server_tls))
    local client_tls = eddy.tls_client():load_trust(path .. "/authority.pem"):set_alpn("echo"):set_resumption(false)
    local function echo(reader, writer)
        for line in reader:lines() do writer:write(line) end
        writer:close()
    end
    local reports = reports_of(eddy.run, function()
        local server = eddy.start_server(echo, "127.0.0.1", 0, { tls = server_tls })
        local port = tonumber(server:sockname():match("%d+$"))
        local reader, writer = eddy.open_connection("localhost", port, { tls = client_tls, family = 2 })
        collect()
        writer:write("secret\n")
        equal(reader:readline(), "secret\n")
        equal(writer:get_extra_info("alpn"), "echo")
        assert(#writer:get_extra_info("peercert") > 100)
        writer:free()
        local err = fails(eddy.ETLS, eddy.open_connection, "127.0.0.1", port, { tls = eddy.tls_client() })
        assert(err.message:find("certificate"), err.message)
        fails(eddy.ETLS, eddy.open_connection, "127.0.0.1", port, { tls = client_tls, server_hostname = "other.test" })

        server = eddy.start_server(function(reader, writer)
            equal(reader:readline(), "STARTTLS\n")
            writer:write("READY\n")
            writer:start_tls({ tls = server_tls })
            echo(reader, writer)
        end, "127.0.0.1", 0)
        reader, writer = eddy.open_connection("127.0.0.1", tonumber(server:sockname():match("%d+$")))
        writer:write("STARTTLS\n")
        equal(reader:readline(), "READY\n")
        writer:start_tls({ tls = client_tls, server_hostname = "localhost" })
        writer:write("secret\n")
        equal(reader:readline(), "secret\n")
        assert(writer:get_extra_info("version"):find("^TLSv1"))
        fails(eddy.ESTATE, writer.start_tls, writer, { tls = client_tls, server_hostname = "localhost" })
    end)
    equal(#reports, 2) -- the server's half of the two handshakes that failed
    local wrong = eddy.tls_server()
    assert(fails(nil, wrong.load_certificate, wrong, "/nonexistent.pem").message:find("/nonexistent.pem"))
    fails(eddy.EINVAL, wrong.set_alpn, wrong, "a\0b")
    fails(nil, wrong.set_alpn, wrong, 5)
    eddy.run(function() fails(nil, eddy.start_server, echo, "127.0.0.1", 0, { tls = wrong }) end)
end)

test("so many rounds that LuaJIT compiles what it may", function()
    eddy.run(function()
        local reader, writer = peer("echo")
        for i = 1, 3000 do
            writer:write(i .. "\n")
            equal(reader:readline(), i .. "\n")
        end
    end)
end)

print(("%d of %d passed"):format(count - failed, count))
os.exit(failed == 0)
