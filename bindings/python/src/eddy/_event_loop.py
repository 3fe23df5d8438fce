"""asyncio's event loop on libeddy's own: it sleeps there, and its connections and servers are libeddy's."""
import asyncio
import math
import os
import selectors
import sys

from ._library import accepted, ffi, lib
from ._loop import loop_of, raised
from ._opening import create_connection, create_server, create_unix_connection, create_unix_server


class Selector(selectors.DefaultSelector):
    """Sleeps in libeddy's loop; in its own way only while there are descriptors that libeddy has nothing to do with."""

    def __init__(self):
        super().__init__()
        self.guest = None # libeddy's loop
        self._watched = -1 # its descriptor, when it has been watched
        self._own = 1 # how many descriptors are ours: asyncio's pipe to itself, which libeddy reads, and that one

    def select(self, timeout=None):
        if len(self.get_map()) > self._own:
            if self._watched >= 0:
                events = [event for event in super().select(timeout) if event[0].fd != self._watched]
                self.guest.run()
                return events
            self._watched = lib.eddy_loop_fd(self.guest.handle)
            self.register(self._watched, selectors.EVENT_READ)
            self._own = 2
            timeout = 0 # what was begun before it was watched is seen by a round alone
        self.guest.run(-1 if timeout is None else max(math.ceil(timeout * 1000), 0))
        return []


class EventLoop(asyncio.SelectorEventLoop):
    """All that asyncio's own can, in fewer system calls; asyncio.open_connection() and its sisters on it are libeddy's.

    It belongs to the thread in which it first runs, or first has a stream.
    """

    def __init__(self):
        super().__init__(Selector())

    def run_forever(self):
        if not self.is_closed():
            loop_of(self)
        super().run_forever()

    def _sleep_in(self, guest):
        """What other threads and signals write into asyncio's pipe to itself is to end libeddy's sleep."""
        self._selector.guest = guest
        number = os.dup(self._ssock.fileno())
        op = lib.eddy_open_socket(guest.handle, number, ffi.NULL, _on_pipe, guest.host)
        if op < 0:
            os.close(number)
        accepted(op)

    @property
    def _asyncios(self):
        return super()

    def create_connection(self, *where, **options):
        return create_connection(self, *where, **options)

    def create_unix_connection(self, *where, **options):
        return create_unix_connection(self, *where, **options)

    def create_server(self, *where, **options):
        return create_server(self, *where, **options)

    def create_unix_server(self, *where, **options):
        return create_unix_server(self, *where, **options)


@ffi.callback("eddy_stream_cb", onerror=raised)
def _on_pipe(reader, writer, error, arg):
    if not error:
        lib.eddy_reader_read(reader, 4096, _on_pipe_read, arg)


@ffi.callback("eddy_read_cb", onerror=raised)
def _on_pipe_read(reader, data, size, error, arg):
    loop = ffi.from_handle(arg)()
    if size and loop is not None and not loop.is_closed():
        loop._process_self_data(ffi.unpack(data, size))
        lib.eddy_reader_read(reader, 4096, _on_pipe_read, arg)


def run(main, *, debug=None):
    """asyncio.run(), on an EventLoop."""
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=EventLoop) as runner:
            return runner.run(main)

    class Policy(asyncio.DefaultEventLoopPolicy):
        _loop_factory = EventLoop

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(Policy())
    try:
        return asyncio.run(main, debug=debug)
    finally:
        asyncio.set_event_loop_policy(before)
