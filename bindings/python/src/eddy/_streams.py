"""asyncio's streams, whose bytes lie in libeddy.

They are asyncio's own classes. What is ours is where the bytes are: a reader's buffer is one of libeddy's, and a
writer's transport is. So what asyncio promises of a read holds: bytes stay where they are until the very task that
asked for them runs and takes them, and a read that is cancelled, at any time, has taken none.
"""
import asyncio
import threading

from ._library import ffi, lib, libc, paid, refusal, start
from ._loop import loop_of, raised
from ._opening import create_connection, create_server, create_unix_connection, create_unix_server

_DEFAULT_LIMIT = 2 ** 16

#: libeddy gives bytes away in a later round: until then they are passed over. From so many on it is asked to.
PASSED_OVER = 4096


class Buffer:
    """The bytes of a reader of libeddy's, behind as much of bytearray as asyncio's StreamReader needs."""

    __slots__ = "_handle", "_start", "_size", "_look", "_dropping", "_loop", "_thread", "__weakref__"

    def __init__(self, loop):
        self._handle = ffi.NULL
        self._loop = loop
        self._thread = threading.get_ident()
        self._start = 0 # what lies before it has been taken
        self._size = 0
        self._look = ffi.new("const char **")
        self._dropping = False
        self._handle = lib.eddy_reader_new(loop_of(loop), _DEFAULT_LIMIT)
        if not self._handle:
            raise MemoryError("no memory for a reader")

    def __del__(self, free=lib.eddy_reader_free):
        if not self._handle or self._loop.is_closed():
            return
        if self._thread == threading.get_ident():
            free(self._handle)
        else:
            self._loop.call_soon_threadsafe(free, self._handle)

    def __len__(self):
        return self._size

    def _bytes(self):
        """Where they lie; until the next call."""
        if self._start + self._size != lib.eddy_reader_buffered(self._handle, self._look):
            raise RuntimeError("the event loop of this reader is closed, or another thread's")
        return self._look[0] + self._start

    # ---- coming ----

    def extend(self, data):
        data = ffi.from_buffer(data)
        self.extend_lent(data, len(data))

    def extend_lent(self, data, size):
        status = lib.eddy_reader_feed_data(self._handle, data, size)
        if status < 0:
            raise refusal(status)
        self._size += size

    # ---- looking ----

    def find(self, separator, start=0):
        if start >= self._size:
            return -1
        bytes_ = self._bytes()
        separator = ffi.from_buffer(separator)
        found = libc.memmem(bytes_ + start, self._size - start, separator, len(separator))
        return ffi.cast("char *", found) - bytes_ if found else -1

    def startswith(self, prefix, start=0):
        return self[start:start + len(prefix)] == prefix

    def __getitem__(self, place):
        start, stop, _ = place.indices(self._size)
        return ffi.unpack(self._bytes() + start, stop - start) if start < stop else b""

    def __bytes__(self):
        return self[:]

    def __buffer__(self, flags):
        return memoryview(self[:])

    def __eq__(self, other):
        return self[:] == other

    __hash__ = None

    def __repr__(self):
        return repr(self[:])

    # ---- going ----

    def take(self, size):
        if size > self._size:
            size = self._size
        if not size:
            return b""
        taken = ffi.unpack(self._bytes(), size)
        self._drop(size)
        return taken

    def line(self, separator, limit):
        """What readuntil gives in the simple case; None in any other."""
        if not self._size:
            return None
        bytes_ = self._bytes()
        found = libc.memmem(bytes_, self._size, separator, len(separator))
        if not found:
            return None
        size = ffi.cast("char *", found) - bytes_
        if size > limit:
            return None
        size += len(separator)
        line = ffi.unpack(bytes_, size)
        self._drop(size)
        return line

    def __delitem__(self, place):
        start, stop, _ = place.indices(self._size)
        assert start == 0
        self._drop(stop)

    def clear(self):
        self._drop(self._size)

    def _drop(self, size):
        self._start += size
        self._size -= size
        if self._start >= PASSED_OVER and not self._dropping:
            self._dropping = True
            start(self, lib.eddy_reader_read, self._handle, self._start, _on_dropped)


@ffi.callback("eddy_read_cb", onerror=raised)
def _on_dropped(_, __, size, error, arg):
    buffer = paid(arg)
    buffer._start -= size
    buffer._dropping = False


class StreamReader(asyncio.StreamReader):
    def __init__(self, limit=_DEFAULT_LIMIT, loop=None):
        super().__init__(limit=limit, loop=loop)
        self._buffer = Buffer(self._loop)

    def _feed_lent(self, data, size):
        """feed_data, of bytes that are libeddy's already."""
        assert not self._eof, "feed_data after feed_eof"
        buffer = self._buffer
        buffer.extend_lent(data, size)
        if self._waiter is not None:
            self._wakeup_waiter()
        if buffer._size > 2 * self._limit and self._transport is not None and not self._paused:
            self._transport.pause_reading()
            self._paused = True

    # The usual ways of what asyncio does, in fewer steps; the unusual ones are asyncio's.

    async def readline(self):
        buffer = self._buffer
        while self._exception is None:
            line = buffer.line(b"\n", self._limit)
            if line is not None:
                if self._paused:
                    self._maybe_resume_transport()
                return line
            if self._eof or buffer._size > self._limit:
                break
            await self._wait_for_data("readuntil")
        return await super().readline()

    async def read(self, n=-1):
        buffer = self._buffer
        if self._exception is not None or n == 0:
            return await super().read(n)
        if n > 0:
            if not buffer._size and not self._eof:
                await self._wait_for_data("read")
        else:
            n = 0
            while not self._eof:
                await self._wait_for_data("read")
            n = buffer._size
        data = buffer.take(n)
        if self._paused:
            self._maybe_resume_transport()
        return data

    async def readexactly(self, n):
        buffer = self._buffer
        if n > 0:
            while buffer._size < n and not self._eof and self._exception is None:
                await self._wait_for_data("readexactly")
            if self._exception is None and buffer._size >= n:
                data = buffer.take(n)
                if self._paused:
                    self._maybe_resume_transport()
                return data
        return await super().readexactly(n)


class StreamReaderProtocol(asyncio.StreamReaderProtocol):
    def _received_lent(self, data, size):
        reader = self._stream_reader
        if isinstance(reader, StreamReader):
            reader._feed_lent(data, size)
        else:
            self.data_received(ffi.buffer(data, size)[:])

    def __init_subclass__(cls, **others):
        super().__init_subclass__(**others)
        if "data_received" in cls.__dict__: # it wants to see them
            cls._received_lent = None


StreamWriter = asyncio.StreamWriter


async def open_connection(host=None, port=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """As asyncio.open_connection(), over a connection of libeddy's."""
    return await _open(create_connection, limit, host, port, **kwds)


async def open_unix_connection(path=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """As asyncio.open_unix_connection(), over a connection of libeddy's."""
    return await _open(create_unix_connection, limit, path, **kwds)


async def _open(create, limit, *where, **kwds):
    loop = asyncio.get_running_loop()
    reader = StreamReader(limit=limit, loop=loop)
    protocol = StreamReaderProtocol(reader, loop=loop)
    transport, _ = await create(loop, lambda: protocol, *where, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(client_connected_cb, host=None, port=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """As asyncio.start_server(), of libeddy's."""
    return await _start(create_server, client_connected_cb, limit, host, port, **kwds)


async def start_unix_server(client_connected_cb, path=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """As asyncio.start_unix_server(), of libeddy's."""
    return await _start(create_unix_server, client_connected_cb, limit, path, **kwds)


async def _start(create, client_connected_cb, limit, *where, **kwds):
    loop = asyncio.get_running_loop()

    def factory():
        reader = StreamReader(limit=limit, loop=loop)
        return StreamReaderProtocol(reader, client_connected_cb, loop=loop)

    return await create(loop, factory, *where, **kwds)
