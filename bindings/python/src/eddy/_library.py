"""The library, and its errors as exceptions."""
import asyncio
import errno
import os
import pathlib
import socket
import sys

from ._header import ffi

_HERE = pathlib.Path(__file__).parent
lib = ffi.dlopen(str(_HERE / ("libeddy.dylib" if sys.platform == "darwin" else "libeddy.so")))
libc = ffi.dlopen(None)

#: What C holds as the argument of a callback that is owed: by its handle, and so not to be collected.
owed = set()


def start(thing, function, *arguments):
    """Starts what will call back with the thing: the receipt, and the thing's handle."""
    handle = ffi.new_handle(thing)
    owed.add(handle)
    try:
        return accepted(function(*arguments, handle)), handle
    except BaseException: # refused; by cffi, if an argument is none that C could take
        paid(handle)
        raise


def paid(handle):
    """The thing of a callback that has been called for the last time."""
    thing = ffi.from_handle(handle)
    owed.discard(handle)
    return thing


def text(string):
    return ffi.string(string).decode("utf-8", "replace")


def refusal(code):
    """A negative return code, which tells of a mistake, as an exception."""
    words = text(lib.eddy_strerror(code))
    if code == lib.EDDY_EINVAL:
        return ValueError(words)
    if code == lib.EDDY_EFULL:
        return MemoryError(words)
    return RuntimeError(words)


def accepted(result):
    if result < 0:
        raise refusal(result)
    return result


def exception(error):
    """What a callback was told, as the exception that asyncio would raise; None: nothing went wrong."""
    code = lib.eddy_error_code(error)
    number = lib.eddy_error_errno(error)
    words = text(lib.eddy_error_message(error))
    if code == lib.EDDY_ELOST:
        # errno 0: this side closed it, or aborted it, which is no error in asyncio.
        return OSError(number, os.strerror(number)) if number else None
    if code == lib.EDDY_ESYSTEM:
        return OSError(number, words)
    if code == lib.EDDY_ERESOLVE:
        temporary = "emporary" in words
        return socket.gaierror(socket.EAI_AGAIN if temporary else socket.EAI_NONAME, words)
    if code == lib.EDDY_ETIMEDOUT:
        return TimeoutError(errno.ETIMEDOUT, words)
    if code == lib.EDDY_ECANCELED:
        return asyncio.CancelledError()
    return None if code == 0 else RuntimeError(words)
