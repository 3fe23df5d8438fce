"""libeddy for Python, as far as the oracle needs it: the functions of eddy.h through ctypes, thinly."""
import ctypes
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_bool, c_char_p, c_int, c_int64, c_size_t, c_ssize_t,
                    c_uint16, c_void_p)

CODES = {
    0: "ok", -1: "invalid", -2: "stale", -3: "thread", -4: "busy", -5: "state", -6: "notsup", -7: "full", -8: "panic",
    -32: "system", -33: "resolve", -34: "lost", -35: "incomplete", -36: "limit", -38: "timedout",
    -39: "canceled",
}
UNTIL_EOF = 2 ** (8 * ctypes.sizeof(c_size_t)) - 1

loop_cb = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
read_cb = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)
writer_cb = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
stream_cb = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_void_p)
server_cb = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
exception_cb = CFUNCTYPE(None, c_void_p, c_char_p, c_void_p, c_void_p)
write_op = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_void_p)
plain_op = CFUNCTYPE(None, c_void_p, c_void_p)
release_op = CFUNCTYPE(None, c_void_p)


class Bytes(Structure):
    _fields_ = [("data", c_char_p), ("len", c_size_t)]


class Options(Structure):
    _fields_ = [("size", c_size_t), ("limit", c_size_t), ("local_host", c_char_p), ("local_port", c_uint16),
                ("family", c_int), ("no_reuse_address", c_int), ("backlog", c_int), ("max_clients", c_size_t),
                ("reuse_port", c_int), ("keep_socket_file", c_int), ("keep_alive", c_int), ("delay", c_int)]


class TransportOps(Structure):
    _fields_ = [("size", c_size_t), ("write", write_op), ("write_eof", plain_op), ("close", plain_op),
                ("abort", plain_op), ("pause_reading", plain_op), ("resume_reading", plain_op), ("release", release_op)]


LOOP = READER = WRITER = SERVER = PROTOCOL = TRANSPORT = ERROR = c_void_p
OP = c_int64

PROTOTYPES = {
    "version": (c_char_p,),
    "strerror": (c_char_p, c_int),
    "error_code": (c_int, ERROR),
    "error_errno": (c_int, ERROR),
    "error_message": (c_char_p, ERROR),
    "error_expected": (c_size_t, ERROR),
    "error_partial": (c_void_p, ERROR, POINTER(c_size_t)),
    "error_consumed": (c_size_t, ERROR),
    "loop_new": (LOOP,),
    "loop_free": (None, LOOP),
    "loop_run_once": (c_int, LOOP, c_int),
    "loop_call_soon": (OP, LOOP, loop_cb, c_void_p),
    "loop_cancel": (c_int, LOOP, OP),
    "loop_set_exception_handler": (c_int, LOOP, exception_cb, c_void_p),
    "open_connection": (OP, LOOP, c_char_p, c_uint16, POINTER(Options), stream_cb, c_void_p),
    "open_unix_connection": (OP, LOOP, c_char_p, POINTER(Options), stream_cb, c_void_p),
    "start_server": (OP, LOOP, stream_cb, c_char_p, c_uint16, POINTER(Options), server_cb, c_void_p),
    "start_unix_server": (OP, LOOP, stream_cb, c_char_p, POINTER(Options), server_cb, c_void_p),
    "reader_new": (READER, LOOP, c_size_t),
    "reader_free": (None, READER),
    "reader_read": (OP, READER, c_size_t, read_cb, c_void_p),
    "reader_readline": (OP, READER, read_cb, c_void_p),
    "reader_readexactly": (OP, READER, c_size_t, read_cb, c_void_p),
    "reader_readuntil": (OP, READER, c_char_p, c_size_t, read_cb, c_void_p),
    "reader_readuntil_any": (OP, READER, POINTER(Bytes), c_size_t, read_cb, c_void_p),
    "reader_readall": (OP, READER, c_size_t, read_cb, c_void_p),
    "reader_at_eof": (c_bool, READER),
    "reader_buffered": (c_size_t, READER, POINTER(c_void_p)),
    "reader_feed_data": (c_int, READER, c_char_p, c_size_t),
    "reader_feed_eof": (c_int, READER),
    "reader_set_exception": (c_int, READER, c_int, c_char_p),
    "reader_exception": (ERROR, READER),
    "writer_new": (WRITER, TRANSPORT, PROTOCOL, READER),
    "writer_free": (None, WRITER),
    "writer_write": (c_int, WRITER, c_char_p, c_size_t),
    "writer_writelines": (c_int, WRITER, POINTER(Bytes), c_size_t),
    "writer_drain": (OP, WRITER, writer_cb, c_void_p),
    "writer_write_eof": (c_int, WRITER),
    "writer_can_write_eof": (c_bool, WRITER),
    "writer_close": (c_int, WRITER),
    "writer_abort": (c_int, WRITER),
    "writer_is_closing": (c_bool, WRITER),
    "writer_set_write_buffer_limits": (c_int, WRITER, c_size_t, c_size_t),
    "writer_get_write_buffer_size": (c_size_t, WRITER),
    "writer_wait_closed": (OP, WRITER, writer_cb, c_void_p),
    "writer_get_extra_info": (c_void_p, WRITER, c_char_p, POINTER(c_size_t)),
    "server_close": (c_int, SERVER),
    "server_wait_closed": (OP, SERVER, server_cb, c_void_p),
    "server_close_clients": (c_int, SERVER),
    "server_is_serving": (c_bool, SERVER),
    "server_sockname": (c_char_p, SERVER, c_size_t),
    "server_socket": (c_ssize_t, SERVER, c_size_t),
    "server_free": (None, SERVER),
    "transport_new": (TRANSPORT, LOOP, POINTER(TransportOps), c_void_p),
    "transport_set_extra_info": (c_int, TRANSPORT, c_char_p, c_char_p, c_size_t),
    "protocol_new": (PROTOCOL, LOOP, READER, stream_cb, c_void_p),
    "protocol_connection_made": (c_int, PROTOCOL, TRANSPORT),
    "protocol_data_received": (c_int, PROTOCOL, c_char_p, c_size_t),
    "protocol_eof_received": (c_bool, PROTOCOL),
    "protocol_pause_writing": (c_int, PROTOCOL),
    "protocol_resume_writing": (c_int, PROTOCOL),
    "protocol_connection_lost": (c_int, PROTOCOL, c_int, c_char_p),
    "protocol_free": (None, PROTOCOL),
}


class Eddy:
    """The library; its functions without their prefix."""

    def __init__(self, path):
        library = ctypes.CDLL(path)
        for name, (result, *arguments) in PROTOTYPES.items():
            function = getattr(library, "eddy_" + name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def bytes_array(self, pieces):
        return (Bytes * len(pieces))(*[Bytes(piece, len(piece)) for piece in pieces])

    def options(self, **fields):
        return byref(Options(size=ctypes.sizeof(Options), **fields))

    def error(self, error):
        """An error as a tuple: its name, and what belongs to that kind; None when there is none."""
        if not error:
            return None
        code = self.error_code(error)
        if code > 0:
            return ("error", code)
        name = CODES.get(code, str(code))
        if name == "incomplete":
            length = c_size_t()
            partial = self.error_partial(error, byref(length))
            return (name, ctypes.string_at(partial, length.value), self.error_expected(error) or None)
        if name == "limit":
            return (name, self.error_consumed(error))
        if name in ("lost", "system"):
            return (name, self.error_errno(error))
        return (name,)

    def extra_info(self, writer, name):
        length = c_size_t()
        info = self.writer_get_extra_info(writer, name.encode(), byref(length))
        return ctypes.string_at(info, length.value).decode() if info else None
