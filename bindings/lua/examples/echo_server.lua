#!/usr/bin/env luajit
-- echo_server: send every line back to where it came from.
--
--     luajit echo_server.lua 7777          (0: any free port; the first line of the output tells which)
local eddy = require "eddy"

local function next_line(reader)
    local ok, line = pcall(reader.readline, reader)
    if ok then return line end
    if eddy.is_error(line, eddy.ELIMIT) then return "line too long\n" end -- the next read begins with the next line
    return nil -- the connection is lost
end

local function echo(reader, writer)
    for line in next_line, reader do
        writer:write(line)
        writer:drain() -- a client that does not listen is not asked for more
    end
    writer:free()
end

local function main(port)
    local server = eddy.start_server(echo, "127.0.0.1", port, { limit = 4096 })
    print("listening on " .. server:sockname())
    io.stdout:flush()
    server:wait_closed()
end

local port = tonumber((arg[1] or "7777"):match("^%d+$"))
if #arg > 1 or not port or port > 65535 then
    io.stderr:write("usage: echo_server [PORT]\n")
    os.exit(2)
end
local ok, err = pcall(eddy.run, main, port)
if not ok then io.stderr:write("echo_server: ", tostring(err), "\n") end
os.exit(1)
