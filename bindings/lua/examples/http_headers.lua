#!/usr/bin/env luajit
-- http_headers: ask a web server about a page, and print the headers of its answer.
--
--     luajit http_headers.lua https://example.com/path/page.html
local eddy = require "eddy"

-- Takes http[s]://HOST[:PORT][/PATH] apart; HOST may be an IPv6 address in brackets. nil: it is no such thing.
local function parse(url)
    if #url > 2000 or url:find("[^!-~]") then return nil end
    local s, authority = url:match("^http(s?)://(.*)$")
    if not s then return nil end
    local host, rest = authority:match("^%[([^%[%]/]+)%](.*)$")
    if not host then host, rest = authority:match("^([^%[%]/:?#@]+)(.*)$") end
    if not host or #host > 255 then return nil end
    local port, path = rest:match("^:(%d+)(.*)$")
    port, path = tonumber(port or s == "s" and 443 or 80), path or rest
    if port < 1 or port > 65535 or not path:find("^[/?#]") and path ~= "" then return nil end
    authority = authority:sub(1, #authority - #path)
    path = path:match("^[^#]*")
    if path:sub(1, 1) ~= "/" then path = "/" .. path end
    return { host = host, port = port, path = path, authority = authority, https = s == "s" }
end

local function print_headers(page)
    local tls = page.https and eddy.tls_client() or nil -- trusts whom the system trusts
    local reader, writer = eddy.open_connection(page.host, page.port, { tls = tls })
    writer:write("HEAD " .. page.path .. " HTTP/1.0\r\nHost: " .. page.authority .. "\r\n\r\n")
    local answered = false
    for line in reader:lines() do
        line = line:match("^(.-)%s*$")
        if line == "" then break end
        print("HTTP header> " .. line)
        answered = true
    end
    writer:close()
    if not answered then error("the server did not answer", 0) end
end

local page = #arg == 1 and parse(arg[1])
if not page then
    io.stderr:write("usage: http_headers http[s]://HOST[:PORT][/PATH]\n")
    os.exit(2)
end
local ok, err = pcall(eddy.run, print_headers, page)
if not ok then
    io.stderr:write("http_headers: ", tostring(err), "\n")
    os.exit(1)
end
