"""libeddy's loop as the guest of an asyncio loop: watched by its descriptor, and stepped when it has work."""
import asyncio
import sys
import weakref

from ._library import ffi, lib, text

_loops = weakref.WeakKeyDictionary()


def loop_of(loop):
    """libeddy's loop for this asyncio loop, which is made when it is first asked for."""
    known = _loops.get(loop)
    known = known and known()
    if known is None:
        known = Loop(loop)
        _loops[loop] = weakref.ref(known)
    return known.handle


def run_soon(loop):
    """A step before whatever is called next: asyncio's connection_lost() is not far behind a close() either."""
    known = _loops.get(loop)
    known = known and known()
    if known is not None and not loop.is_closed():
        loop.call_soon(known.run)


class Loop:
    """Nobody holds it but the asyncio loop's selector: so the one's end is the other's.

    It belongs to the thread in which the asyncio loop first had a stream.
    """

    def __init__(self, loop):
        self.handle = lib.eddy_loop_new()
        if not self.handle:
            raise OSError("no memory, no descriptor, or too many event loops")
        self._loop = weakref.ref(loop)
        self.host = ffi.new_handle(self._loop) # for callbacks
        self._due = None
        self._interrupt = None
        lib.eddy_loop_set_exception_handler(self.handle, _on_exception, self.host)
        try:
            if hasattr(loop, "_sleep_in"): # our own
                loop._sleep_in(self)
            else:
                loop.add_reader(lib.eddy_loop_fd(self.handle), self.run)
        except BaseException:
            lib.eddy_loop_free(self.handle)
            self.handle = ffi.NULL
            raise

    def run(self, milliseconds=0):
        """One round, which waits no longer than this."""
        lib.eddy_loop_run_once(self.handle, milliseconds)
        if self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            raise interrupt
        due = lib.eddy_loop_timeout(self.handle)
        if due > 0:
            self._run_in(due / 1000)

    def _run_in(self, seconds):
        """A timer that comes too early does no harm; and one that were kept would keep us."""
        loop = self._loop()
        when = loop.time() + seconds
        if self._due is None or when < self._due:
            self._due = when
            loop.call_at(when, self._run_timer)

    def _run_timer(self):
        self._due = None
        self.run()

    def __del__(self, free=lib.eddy_loop_free):
        if self.handle:
            free(self.handle)


@ffi.callback("eddy_exception_cb")
def _on_exception(_, message, error, arg):
    loop = ffi.from_handle(arg)()
    if loop is not None and not loop.is_closed():
        loop.call_exception_handler({"message": text(message)})


def raised(kind, exception, traceback):
    """What a callback raised goes to asyncio's exception handler; KeyboardInterrupt and its like, out of the loop."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError: # a loop that is being freed
        return sys.excepthook(kind, exception, traceback)
    if isinstance(exception, Exception):
        loop.call_exception_handler({"message": "Exception in a callback of a stream", "exception": exception})
    else:
        _loops[loop]()._interrupt = exception
