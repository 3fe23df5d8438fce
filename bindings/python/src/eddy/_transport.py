"""A transport over a connection of libeddy's, for any protocol of asyncio's."""
import asyncio
import logging
import os
import socket
import struct
import warnings
from asyncio.sslproto import SSLProtocol
from asyncio.trsock import TransportSocket

from ._library import exception, ffi, lib, paid, refusal, start, text
from ._loop import loop_of, raised, run_soon

READ_SIZE = 65536
HIGH_WATER = 65536

logger = logging.getLogger("asyncio")


def address(name, unix):
    """A name of libeddy's as the tuple, or the path, that Python has for it."""
    if unix:
        return b"\0" + os.fsencode(name[1:]) if name and name.startswith("@") else name or ""
    if name is None:
        return None
    host, _, port = name.rpartition(":")
    if not host.startswith("["):
        return host, int(port)
    host, _, scope = host[1:-1].partition("%")
    return host, int(port), 0, int(scope or 0)


class Transport(asyncio.Transport):
    """Reading is a read that always waits, until somebody pauses it; what it brings goes to the protocol.

    Writing gathers: it is sent when the loop comes round.
    """

    _start_tls_compatible = True

    def __init__(self, loop, reader, writer, protocol, *, unix, sock=None):
        super().__init__()
        self._loop = loop
        self._eddy = loop_of(loop)
        self._reader = reader
        self._writer = writer
        self._unix = unix
        self._sock = sock and TransportSocket(sock)
        self._names = {name: self._name(name) for name in (b"peername", b"sockname")}
        self._read = 0 # the receipt of the read that waits; not positive: none does
        self._reading = False
        self._lent_to = None
        self._buffered = False
        self._write_paused = False
        self._limits = HIGH_WATER // 4, HIGH_WATER
        self._wrote_eof = False
        self._closing = False
        self._linger = None # of the socket, when it was aborted
        self._lost = False
        self._writes_lost = 0
        self._exception = None
        self.set_protocol(protocol)
        _, self._self = start(self, lib.eddy_writer_wait_closed, writer, _on_lost)

    def __repr__(self):
        info = [type(self).__name__]
        if self._lost:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        else:
            info.append(text(lib.eddy_repr(self._writer)).strip("<>"))
        return "<{}>".format(" ".join(info))

    # ---- the protocol ----

    def set_protocol(self, protocol):
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)
        # A protocol that takes bytes where they lie, and keeps none of them but in libeddy.
        self._lent_to = getattr(protocol, "_received_lent", None)

    def get_protocol(self):
        return self._protocol

    # ---- reading ----

    def is_reading(self):
        return self._reading and not self._closing

    def pause_reading(self):
        self._reading = False
        if self._read > 0:
            lib.eddy_loop_cancel(self._eddy, self._read)

    def resume_reading(self):
        if self._closing or self._lost:
            return
        self._reading = True
        if self._read <= 0:
            self._receive()

    def _receive(self):
        self._read = lib.eddy_reader_read(self._reader, READ_SIZE, _on_read, self._self)

    def _received(self, data, size, error):
        self._read = 0
        if error:
            # Taken back by a pause, and perhaps wanted again; or the connection is lost, as _on_lost will tell.
            if self.is_reading() and lib.eddy_error_code(error) == lib.EDDY_ECANCELED and not self._loop.is_closed():
                self._receive()
            return
        if self._closing:
            return
        try:
            if size == 0:
                self._reading = False
                if not self._protocol.eof_received():
                    self.close()
            elif self._lent_to is not None:
                self._lent_to(data, size)
            elif self._buffered:
                self._fill(ffi.buffer(data, size))
            else:
                self._protocol.data_received(ffi.buffer(data, size)[:])
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as failure:
            self._fatal_error(failure, "Fatal error: protocol.data_received() call failed.")
        if self._reading and not self._closing and self._read <= 0:
            self._read = lib.eddy_reader_read(self._reader, READ_SIZE, _on_read, self._self)

    def _fill(self, data):
        data = memoryview(data)
        while data:
            room = self._protocol.get_buffer(len(data))
            if not len(room):
                raise RuntimeError("get_buffer() returned an empty buffer")
            size = min(len(room), len(data))
            memoryview(room)[:size] = data[:size]
            self._protocol.buffer_updated(size)
            data = data[size:]

    # ---- writing ----

    def write(self, data):
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._wrote_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        if self._lost:
            return self._write_lost()
        bytes_ = ffi.from_buffer(data)
        status = lib.eddy_writer_write(self._writer, bytes_, len(bytes_))
        if status:
            self._wrote(status)

    def _wrote(self, status):
        if status > 0:
            self._pause_protocol()
        elif status == lib.EDDY_ESTATE:
            self._write_lost()
        else:
            raise refusal(status)

    def _write_lost(self):
        self._writes_lost += 1
        if self._writes_lost > 5:
            logger.warning("socket.send() raised exception.")

    def _pause_protocol(self):
        if self._write_paused:
            return
        self._write_paused = True
        self._tell(self._protocol.pause_writing)
        if lib.eddy_writer_drain(self._writer, _on_drained, self._self) < 0:
            self._drained()

    def _drained(self):
        if self._write_paused and not self._lost and not self._loop.is_closed():
            self._write_paused = False
            self._tell(self._protocol.resume_writing)
            if self._closing and not self._write_paused:
                self._finish()

    def _tell(self, method):
        try:
            method()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._loop.call_exception_handler({
                "message": f"protocol.{method.__name__}() failed", "exception": error,
                "transport": self, "protocol": self._protocol,
            })

    def write_eof(self):
        if self._closing or self._wrote_eof:
            return
        self._wrote_eof = True
        lib.eddy_writer_write_eof(self._writer)

    def can_write_eof(self):
        return True

    def get_write_buffer_size(self):
        return 0 if self._lost else lib.eddy_writer_get_write_buffer_size(self._writer)

    def get_write_buffer_limits(self):
        return self._limits

    def set_write_buffer_limits(self, high=None, low=None):
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._limits = low, high
        if not self._lost:
            lib.eddy_writer_set_write_buffer_limits(self._writer, high, low)
            if self.get_write_buffer_size() > high:
                self._pause_protocol()

    # ---- the end ----

    def is_closing(self):
        return self._closing or not self._lost and lib.eddy_writer_is_closing(self._writer)

    def close(self):
        if not self._closing:
            self._closing = True
            # A protocol that waits to write, as TLS may with its last words, is let do so first.
            if not self._lost and not self._write_paused:
                self._finish()

    def _finish(self):
        lib.eddy_writer_close(self._writer)
        run_soon(self._loop)

    def abort(self):
        self._closing = True
        if not self._lost:
            # asyncio's abort is a close that sends no more; libeddy's is a reset, which our own descriptor holds off.
            sock = self._socket()
            if sock is not None and self._linger is None:
                self._linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.calcsize("ii"))
            lib.eddy_writer_abort(self._writer)
            run_soon(self._loop)

    def _force_close(self, error):
        self._exception = self._exception or error
        self.abort()

    def _fatal_error(self, error, message="Fatal error on transport"):
        if not isinstance(error, OSError):
            self._loop.call_exception_handler({
                "message": message, "exception": error, "transport": self, "protocol": self._protocol,
            })
        self._force_close(error)

    def _is_lost(self, error):
        """The last that is told of a connection."""
        ended = error and lib.eddy_error_code(error) == lib.EDDY_ECANCELED # with its loop
        self._lost = True
        self._reading = False
        if self._sock is not None:
            if self._linger is not None:
                self._sock._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, self._linger)
            self._sock._sock.close()
        lib.eddy_writer_free(self._writer)
        protocol, self._protocol, self._lent_to = self._protocol, None, None
        if ended:
            if not self._closing:
                warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            return
        self._closing = True
        if self._exception is None and error:
            self._exception = exception(error)
        protocol.connection_lost(self._exception)

    # ---- looking ----

    def get_extra_info(self, name, default=None):
        if name in ("peername", "sockname"):
            return address(self._names[name.encode()], self._unix)
        if name == "socket":
            return self._socket() or default
        return default

    def _name(self, name):
        found = lib.eddy_writer_get_extra_info(self._writer, name, ffi.NULL)
        return os.fsdecode(ffi.string(found)) if found else None

    def _socket(self):
        """The socket, by a descriptor of Python's own."""
        if self._sock is None and not self._lost:
            number = self._name(b"socket")
            if number is not None:
                self._sock = TransportSocket(socket.socket(fileno=os.dup(int(number))))
        return self._sock


async def begin(transport, protocol, tls):
    """The protocol gets its transport; with `tls`, one of asyncio's that is over ours, once they have shaken hands."""
    if tls is None:
        protocol.connection_made(transport)
        transport.resume_reading()
        return transport
    waiter = transport._loop.create_future()
    secure = SSLProtocol(transport._loop, protocol, tls["sslcontext"], waiter,
                         **{name: value for name, value in tls.items() if name != "sslcontext"})
    # asyncio's has no names any more once the connection is lost, which may be in the round of the handshake.
    secure._extra.update({name: transport.get_extra_info(name) for name in ("peername", "sockname")})
    try:
        transport.set_protocol(secure)
        secure.connection_made(transport)
        transport.resume_reading()
        await waiter
        return secure._app_transport
    except BaseException:
        transport.close()
        raise


@ffi.callback("eddy_read_cb", onerror=raised)
def _on_read(_, data, size, error, arg):
    ffi.from_handle(arg)._received(data, size, error)


@ffi.callback("eddy_writer_cb", onerror=raised)
def _on_drained(_, error, arg):
    ffi.from_handle(arg)._drained()


@ffi.callback("eddy_writer_cb", onerror=raised)
def _on_lost(_, error, arg):
    paid(arg)._is_lost(error)
