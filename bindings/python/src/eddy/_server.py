"""asyncio's Server, over servers of libeddy's: one for each host that it was given."""
import asyncio
import os
import socket
import sys
from asyncio.trsock import TransportSocket

from ._library import exception, ffi, lib, paid, start
from ._loop import loop_of, raised, run_soon
from ._transport import Transport, begin

#: Before Python 3.12 wait_closed() returned at once after close(), whatever the clients did.
CLIENTS_COUNT = sys.version_info >= (3, 12)


class Server(asyncio.AbstractServer):
    def __init__(self, loop, protocol_factory, tls, *, unix):
        self._loop = loop
        self._protocol_factory = protocol_factory
        self._tls = tls
        self._unix = unix
        self._places = []
        self._sockets = []
        self._serving = False
        self._forever = None
        self._waiters = [] # None: closed, and all clients gone
        self._handshakes = set()

    def __repr__(self):
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    def get_loop(self):
        return self._loop

    def is_serving(self):
        return self._serving

    @property
    def sockets(self):
        return tuple(TransportSocket(sock) for sock in self._sockets or ())

    async def start_serving(self):
        self._start_serving()
        await asyncio.sleep(0)

    def _start_serving(self):
        if self._serving or self._sockets is None:
            return
        self._serving = True
        for place in self._places:
            lib.eddy_server_resume(place.handle)

    async def serve_forever(self):
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        self._start_serving()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            try:
                self.close()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._forever = None

    def close(self):
        if self._sockets is None:
            return
        sockets, self._sockets = self._sockets, None
        self._serving = False
        for sock in sockets:
            sock.close()
        for place in self._places:
            place.close()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
            self._forever = None
        self._look_for_end()

    async def wait_closed(self):
        if self._waiters is None or self._sockets is None and not CLIENTS_COUNT:
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def close_clients(self):
        for place in self._places:
            lib.eddy_server_close_clients(place.handle)
        run_soon(self._loop)

    def abort_clients(self):
        for place in self._places:
            lib.eddy_server_abort_clients(place.handle)
        run_soon(self._loop)

    # ---- what libeddy tells ----

    async def _listen(self, function, *where, sock=None):
        """One more place to listen at, of which libeddy tells when it is there."""
        place = Place(self, sock)
        start(place, function, loop_of(self._loop), _on_client, *where, _on_server)
        await place.opened

    def _connected(self, reader, writer):
        """In a round of asyncio's loop, not of libeddy's: these are the user's functions."""
        try:
            protocol = self._protocol_factory()
            transport = Transport(self._loop, reader, writer, protocol, unix=self._unix)
        except BaseException as error:
            lib.eddy_writer_abort(writer)
            lib.eddy_writer_free(writer)
            if not isinstance(error, Exception):
                raise
            self._loop.call_exception_handler({
                "message": "Error on transport creation for incoming connection", "exception": error,
            })
            return
        if self._tls is None:
            protocol.connection_made(transport)
            transport.resume_reading()
        else:
            handshake = self._loop.create_task(self._shake_hands(transport, protocol))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, transport, protocol):
        try:
            await begin(transport, protocol, self._tls)
        except Exception as error:
            if self._loop.get_debug():
                self._loop.call_exception_handler({
                    "message": "Error on transport creation for incoming connection", "exception": error,
                    "transport": transport, "protocol": protocol,
                })

    def _look_for_end(self):
        if self._sockets is None and not self._places and self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


class Place:
    """A server of libeddy's, from its opening until its last client is gone."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock # the user's, who may have made it
        self.opened = server._loop.create_future()
        self.handle = ffi.NULL

    def close(self):
        lib.eddy_server_close(self.handle)

    def is_open(self, handle, arg):
        server = self.server
        if self.opened.done() or lib.eddy_server_wait_closed(handle, _on_end, arg) < 0: # nobody waits for it any more
            paid(arg)
            return lib.eddy_server_free(handle)
        self.handle = handle
        lib.eddy_server_pause(handle) # until start_serving
        server._places.append(self)
        server._sockets += [self.sock] if self.sock else self.sockets()
        self.opened.set_result(None)

    def sockets(self):
        """By descriptors of Python's own."""
        index = 0
        while (number := lib.eddy_server_socket(self.handle, index)) >= 0:
            yield socket.socket(fileno=os.dup(number))
            index += 1

    def ended(self):
        lib.eddy_server_free(self.handle)
        if self in self.server._places:
            self.server._places.remove(self)
        if not self.server._loop.is_closed():
            self.server._look_for_end()


@ffi.callback("eddy_server_cb", onerror=raised)
def _on_server(handle, error, arg):
    place = ffi.from_handle(arg)
    if not error:
        return place.is_open(handle, arg)
    paid(arg)
    if not place.opened.done() and not place.server._loop.is_closed():
        place.opened.set_exception(exception(error))


@ffi.callback("eddy_server_cb", onerror=raised)
def _on_end(_, error, arg):
    paid(arg).ended()


@ffi.callback("eddy_stream_cb", onerror=raised)
def _on_client(reader, writer, error, arg):
    server = ffi.from_handle(arg).server
    if not error and not server._loop.is_closed():
        server._loop.call_soon(server._connected, reader, writer)
