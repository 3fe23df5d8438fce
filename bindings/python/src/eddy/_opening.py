"""Connections and servers, with the arguments of asyncio's loop.create_connection() and its sisters."""
import errno
import os
import socket
import stat
import sys

from ._library import exception, ffi, lib, paid, start
from ._loop import loop_of, raised
from ._server import Server
from ._transport import Transport, begin

#: Readers of connections only hand on: what their limit would bound is bounded by asyncio's stream reader.
READER_LIMIT = 1
NEVER = 2 ** 64 - 1 # EDDY_NEVER


def options(**fields):
    return ffi.new("eddy_options *", {"size": ffi.sizeof("eddy_options"), "limit": READER_LIMIT, **fields})


def asyncios(loop):
    """The methods of asyncio, for what libeddy cannot: the bytes lie in it all the same."""
    return getattr(loop, "_asyncios", loop)


# ---- clients ----

async def create_connection(loop, protocol_factory, host=None, port=None, *, ssl=None, family=0, sock=None,
                            local_addr=None, server_hostname=None, ssl_handshake_timeout=None,
                            ssl_shutdown_timeout=None, happy_eyeballs_delay=None, **others):
    if others:
        tls = {"ssl": ssl, "server_hostname": server_hostname, "ssl_handshake_timeout": ssl_handshake_timeout,
               "ssl_shutdown_timeout": ssl_shutdown_timeout, "happy_eyeballs_delay": happy_eyeballs_delay}
        others |= {name: value for name, value in tls.items() if value is not None}
        return await asyncios(loop).create_connection(protocol_factory, host, port, family=family, sock=sock,
                                                      local_addr=local_addr, **others)
    tls = _client_tls(ssl, server_hostname, host, "host", ssl_handshake_timeout, ssl_shutdown_timeout)
    if host is not None or port is not None:
        if sock is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        local_host, local_port = (local_addr or (None, 0))[:2]
        local_host = ffi.new("char[]", _name(local_host)) if local_host else ffi.NULL
        head_start = NEVER if happy_eyeballs_delay is None else max(round(happy_eyeballs_delay * 1000), 1)
        opts = options(family=family, local_host=local_host, local_port=local_port, happy_eyeballs_ms=head_start)
        pair = await _opened(loop, lib.eddy_open_connection, _name(host or "localhost"), _port(port), opts)
    elif sock is None:
        raise ValueError("host and port was not specified and no sock specified")
    else:
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        pair = await _adopted(loop, sock)
    return await _connected(loop, protocol_factory, *pair, sock, False, tls)


async def create_unix_connection(loop, protocol_factory, path=None, *, ssl=None, sock=None, server_hostname=None,
                                 ssl_handshake_timeout=None, ssl_shutdown_timeout=None):
    if server_hostname is not None and not isinstance(server_hostname, str):
        raise TypeError(f"server_hostname must be None or str, not {server_hostname!r}")
    if ssl and server_hostname is None:
        raise ValueError("you have to pass server_hostname when using ssl")
    tls = _client_tls(ssl, server_hostname, None, "path", ssl_handshake_timeout, ssl_shutdown_timeout)
    if path is not None:
        if sock is not None:
            raise ValueError("path and sock can not be specified at the same time")
        pair = await _opened(loop, lib.eddy_open_unix_connection, _path(path), options())
    elif sock is None:
        raise ValueError("no path and sock were specified")
    else:
        _check_unix_socket(sock)
        pair = await _adopted(loop, sock)
    return await _connected(loop, protocol_factory, *pair, sock, True, tls)


async def _opened(loop, function, *where):
    """Reader and writer, as soon as libeddy has them."""
    eddy = loop_of(loop)
    future = loop.create_future()
    op, _ = start(future, function, eddy, *where, _on_open)
    try:
        return await future
    except BaseException:
        if future.cancelled():
            lib.eddy_loop_cancel(eddy, op)
        elif future.exception() is None: # cancelled when it had just come
            lib.eddy_writer_abort(future.result()[1])
            lib.eddy_writer_free(future.result()[1])
        raise


async def _adopted(loop, sock):
    """The same over a socket, which stays Python's: libeddy has a descriptor of its own."""
    number = os.dup(sock.fileno())
    try:
        return await _opened(loop, lib.eddy_open_socket, number, options())
    except (ValueError, RuntimeError):
        os.close(number)
        raise


@ffi.callback("eddy_stream_cb", onerror=raised)
def _on_open(reader, writer, error, arg):
    future = paid(arg)
    if future.get_loop().is_closed() or future.done():
        if writer:
            lib.eddy_writer_abort(writer)
            lib.eddy_writer_free(writer)
    elif error:
        future.set_exception(exception(error))
    else:
        future.set_result((reader, writer))


async def _connected(loop, protocol_factory, reader, writer, sock, unix, tls):
    try:
        protocol = protocol_factory()
        transport = Transport(loop, reader, writer, protocol, unix=unix, sock=sock)
    except BaseException:
        lib.eddy_writer_free(writer)
        raise
    return await begin(transport, protocol, tls), protocol


def _timeouts(handshake, shutdown):
    given = {"ssl_handshake_timeout": handshake, "ssl_shutdown_timeout": shutdown}
    return {name: value for name, value in given.items() if value is not None}


def _client_tls(context, server_hostname, host, what, handshake, shutdown):
    if not context:
        if server_hostname is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        if handshake is not None:
            raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
        if shutdown is not None:
            raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
        return None
    if server_hostname is None:
        if not host:
            raise ValueError("You must set server_hostname when using ssl without a host")
        server_hostname = host
    if context is True:
        import ssl
        context = ssl.create_default_context()
        if not server_hostname:
            context.check_hostname = False
    return {"sslcontext": context, "server_hostname": server_hostname, **_timeouts(handshake, shutdown)}


# ---- servers ----

async def create_server(loop, protocol_factory, host=None, port=None, *, family=0, flags=socket.AI_PASSIVE, sock=None,
                        backlog=100, ssl=None, reuse_address=None, reuse_port=None, keep_alive=None,
                        ssl_handshake_timeout=None, ssl_shutdown_timeout=None, start_serving=True):
    tls = _server_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    if flags != socket.AI_PASSIVE:
        others = {"keep_alive": keep_alive, "ssl_shutdown_timeout": ssl_shutdown_timeout}
        others = {name: value for name, value in others.items() if value is not None}
        return await asyncios(loop).create_server(
            protocol_factory, host, port, family=family, flags=flags, sock=sock, backlog=backlog, ssl=ssl,
            reuse_address=reuse_address, reuse_port=reuse_port, ssl_handshake_timeout=ssl_handshake_timeout,
            start_serving=start_serving, **others)
    opts = options(family=family, backlog=max(backlog, 1), no_reuse_address=reuse_address is False,
                   reuse_port=bool(reuse_port), keep_alive=bool(keep_alive))
    server = Server(loop, protocol_factory, tls, unix=False)
    if host is not None or port is not None:
        if sock is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        hosts = [host] if host is None or isinstance(host, (str, bytes)) else host
        places = [(lib.eddy_start_server, _name(each) if each else ffi.NULL, _port(port), opts) for each in hosts]
    elif sock is None:
        raise ValueError("Neither host/port nor sock were specified")
    else:
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        places = []
    return await _serving(server, start_serving, places, sock, opts)


async def create_unix_server(loop, protocol_factory, path=None, *, sock=None, backlog=100, ssl=None,
                             ssl_handshake_timeout=None, ssl_shutdown_timeout=None, start_serving=True,
                             cleanup_socket=sys.version_info >= (3, 13)):
    if isinstance(ssl, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    tls = _server_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    opts = options(backlog=max(backlog, 1), keep_socket_file=not cleanup_socket)
    server = Server(loop, protocol_factory, tls, unix=True)
    if path is not None:
        if sock is not None:
            raise ValueError("path and sock can not be specified at the same time")
        path = os.fspath(path)
        if path[:1] not in ("\0", b"\0"):
            # asyncio takes the place of whatever socket is there; libeddy would spare one that somebody serves.
            try:
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    os.remove(path)
            except FileNotFoundError:
                pass
        places = [(lib.eddy_start_unix_server, _path(path), opts)]
    elif sock is None:
        raise ValueError("path was not specified, and no sock specified")
    else:
        _check_unix_socket(sock)
        places = []
    try:
        return await _serving(server, start_serving, places, sock, opts)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise


async def _serving(server, start_serving, places, sock, opts):
    try:
        for place in places:
            await server._listen(*place)
        if sock is not None:
            sock.listen(opts.backlog)
            sock.setblocking(False)
            number = os.dup(sock.fileno())
            try:
                await server._listen(lib.eddy_start_socket_server, number, opts, sock=sock)
            except (ValueError, RuntimeError, MemoryError): # refused: it is not libeddy's
                os.close(number)
                raise
    except BaseException:
        server.close()
        raise
    if start_serving:
        server._start_serving()
    return server


def _server_tls(context, handshake, shutdown):
    if isinstance(context, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    if context is None:
        if handshake is not None:
            raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
        if shutdown is not None:
            raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
        return None
    return {"sslcontext": context, "server_side": True, **_timeouts(handshake, shutdown)}


# ---- arguments ----

def _name(host):
    if isinstance(host, bytes):
        return host
    return host.encode("ascii" if host.isascii() else "idna")


def _port(port):
    """Its number; like asyncio, of a service too."""
    return socket.getaddrinfo(None, port)[0][4][1] if isinstance(port, (str, bytes)) else port or 0


def _path(path):
    """libeddy's '@name' is Python's '\\0name'."""
    path = os.fsencode(path)
    if path.startswith(b"\0"):
        return b"@" + path[1:]
    return b"./" + path if path.startswith(b"@") else path


def _check_unix_socket(sock):
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
