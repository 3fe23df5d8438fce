"""Plays the same scenarios against asyncio and against libeddy, and compares what comes of them.

    python3 tests/oracle/oracle.py path/to/libeddy.so [--seed 1] [--random 3000] [--only part-of-a-name] [--verbose]

A scenario is data (scenarios.py): steps that feed, read, write, lose the connection, and so on. After each step,
whatever runs is let run until it rests, and what has happened is noted in the same words for both. Where eddy differs
from asyncio on purpose, the difference has a name in DEVIATIONS, and asyncio with just those differences (the classes
called Deviating) is what eddy must agree with: a scenario must show exactly the deviations that it names.
`# Shows R42` names the lines of the specification that the scenario below it shows.
"""
import argparse
import asyncio
import ctypes
import errno
import os
import random
import socket
import struct
import sys
import tempfile

import eddy as binding
import scenarios

DEVIATIONS = {
    "long-line": "readline over the limit: the rest of that line is skipped up to its newline, when somebody reads",
    "late-pause": "whether to pause is judged when the reads that wait have been served",
    "data-first": "what came before an error is delivered before the error",
    "one-read": "a second read is refused while one waits, also when the buffer could serve it",
    "closed-write": "a write after close is refused",
    "keep": "a read to the end that fails or is canceled keeps what it had",
    "drain-lost": "a drain that waits when the connection is lost or aborted is told so",
    "abort-resets": "abort resets the connection",
    "kind-close": "a close with unread input does not reset the connection",
    "server-waits": "wait_closed of a server waits for its clients (asyncio: since 3.12.1)",
    "socket-file": "a server removes its socket file when it is closed (asyncio: since 3.13)",
}


class UserError(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


# ---- the two loops -----------------------------------------------------------------------------------------

class Player:
    """Plays the steps of one scenario and notes what happens: for each step, what ended, what the transport was told,
    and whether it is asked to pause."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.limit = scenario.limit
        self.ended = []
        self.told = []
        self.paused = False
        self.over = False       # an error, the end or a close: pausing does not matter any more
        self.closed = False     # by this side
        self.deviations = set()
        self.step = 0

    def note(self, verb, *outcome, step=None):
        self.ended.append((self.step if step is None else step, verb, *outcome))

    def tell(self, what, data=None):
        if what == "write" and self.told and self.told[-1][0] == "write":
            data = self.told.pop()[1] + data
        self.told.append((what,) if data is None else (what, data))

    def play(self):
        log = []
        try:
            for self.step, step in enumerate(self.scenario.steps):
                for one in step if isinstance(step, list) else [step]:
                    getattr(self, "do_" + one[0])(*one[1:])
                self.settle()
                log.append((sorted(self.ended, key=repr), self.told, self.paused and not self.over))
                self.ended, self.told = [], []
        finally:
            self.end()
        return log

    # What the words of a read mean, for both.
    def do_read(self, n):
        self.start_read("read", n)

    def do_readline(self):
        self.start_read("readline")

    def do_readexactly(self, n):
        self.start_read("readexactly", n)

    def do_readuntil(self, separator):
        self.start_read("readuntil", separator)

    def do_readuntil_any(self, *separators):
        self.start_read("readuntil_any", separators)


class AsyncioPlayer(Player):
    loop = None

    def __init__(self, scenario):
        super().__init__(scenario)
        if AsyncioPlayer.loop is None:
            AsyncioPlayer.loop = asyncio.new_event_loop()
            AsyncioPlayer.loop.set_exception_handler(lambda loop, context: None)
        self.reading = None
        self.draining = {}
        self.tasks = []

    def make_reader(self):
        return asyncio.StreamReader(limit=self.limit, loop=self.loop)

    def make_protocol(self, reader, *arguments):
        return asyncio.StreamReaderProtocol(reader, *arguments, loop=self.loop)

    def turn(self):
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def settle(self):
        for _ in range(8):
            self.turn()

    def end(self):
        for task in self.tasks:
            if not task.done():
                task.cancel()
        self.settle()

    def outcome(self, verb, task):
        if task.cancelled():
            return ("canceled",)
        fault = task.exception()
        if fault is None:
            result = task.result()
            return ("bytes", result) if isinstance(result, bytes) else ("done",)
        if isinstance(fault, UserError):
            return ("error", fault.code)
        if isinstance(fault, asyncio.IncompleteReadError):
            return ("incomplete", fault.partial, fault.expected)
        if isinstance(fault, asyncio.LimitOverrunError):
            return ("limit", fault.consumed)
        if isinstance(fault, ValueError):
            return ("limit",) if verb == "readline" else ("invalid",)
        if isinstance(fault, RuntimeError):
            return ("busy",)
        if isinstance(fault, OSError):
            return ("lost", fault.errno or 0)
        raise fault

    def start(self, verb, coroutine):
        step = self.step
        task = self.loop.create_task(coroutine)
        self.tasks.append(task)
        task.add_done_callback(lambda task: self.note(verb, *self.outcome(verb, task), step=step))
        return task

    def start_read(self, verb, *arguments):
        if self.refused_busy(verb):
            return
        task = self.start(verb, self.coroutine_of(verb, *arguments))
        if self.reading is None or self.reading.done():
            self.reading = task

    def coroutine_of(self, verb, *arguments):
        if verb == "readuntil_any":
            return readuntil_any(self.reader, *arguments)
        return getattr(self.reader, verb)(*arguments)

    def is_reading(self):
        return self.reading is not None and not self.reading.done()

    def refused_busy(self, verb):
        return False

    def do_cancel(self):
        if self.is_reading():
            self.reading.cancel()

    def do_drain(self):
        self.draining[self.step] = self.start("drain", self.writer.drain())

    def do_cancel_drain(self, step):
        if not self.draining[step].done():
            self.draining[step].cancel()

    def do_wait_closed(self):
        self.start("wait_closed", self.writer.wait_closed())

    def do_write(self, data):
        self.attempt("write", self.writer.write, data)

    def do_writelines(self, *lines):
        self.attempt("write", self.writer.writelines, list(lines))

    def do_write_eof(self):
        self.attempt("write_eof", self.writer.write_eof)

    def do_close(self):
        self.over = self.closed = True
        self.attempt("close", self.writer.close)

    def do_abort(self):
        self.over = self.closed = True
        self.attempt("abort", self.writer.transport.abort)

    def attempt(self, verb, function, *arguments):
        try:
            function(*arguments)
            self.note(verb, "done")
        except (AssertionError, RuntimeError):
            self.note(verb, "state")
        except ValueError:
            self.note(verb, "invalid")

    def do_at_eof(self):
        self.note("at_eof", self.reader.at_eof())

    def do_is_closing(self):
        self.note("is_closing", self.writer.is_closing())


class EddyPlayer(Player):
    library = None

    def __init__(self, scenario):
        super().__init__(scenario)
        self.kept = []          # callbacks that may still be called
        self.calls = {}         # of what was accepted: how often it called back
        self.reading = None
        self.draining = {}
        self.loop = self.library.loop_new()
        assert self.loop
        report = binding.exception_cb(lambda loop, message, error, arg: self.reports.append(message.decode()))
        self.reports = []
        self.kept.append(report)
        self.library.loop_set_exception_handler(self.loop, report, None)

    def settle(self):
        for _ in range(4):
            assert self.library.loop_run_once(self.loop, 0) >= 0

    def end(self):
        self.library.loop_free(self.loop)
        for what, count in self.calls.items():
            if count != 1:
                raise AssertionError(f"{what} called back {count} times")
        if self.reports:
            raise AssertionError(f"reports: {self.reports}")

    def refused(self, verb, op):
        if op < 0:
            self.note(verb, binding.CODES.get(op, str(op)))
        return op < 0

    def counted(self, verb):
        what = (self.step, verb, len(self.calls))
        self.calls[what] = 0
        return what

    def started(self, what, verb, op):
        if self.refused(verb, op):
            if self.calls.pop(what) != 0:
                raise AssertionError(f"{what} is refused and called back")
        elif self.calls[what] != 0:
            raise AssertionError(f"{what} called back within the call")
        return op

    def start_read(self, verb, *arguments):
        step = self.step
        what = self.counted(verb)

        def ended(reader, data, length, error, arg):
            self.calls[what] += 1
            fault = self.library.error(error)
            if fault is None:
                self.note(verb, "bytes", ctypes.string_at(data, length), step=step)
            else:
                self.note(verb, *(fault[:1] if verb == "readline" and fault[0] == "limit" else fault), step=step)
            self.reading = None if self.reading_what == what else self.reading

        callback = binding.read_cb(ended)
        self.kept.append(callback)
        library, reader = self.library, self.reader
        if verb == "read":
            n = binding.UNTIL_EOF if arguments[0] < 0 else arguments[0]
            op = library.reader_read(reader, n, callback, None)
        elif verb == "readline":
            op = library.reader_readline(reader, callback, None)
        elif verb == "readexactly":
            op = library.reader_readexactly(reader, arguments[0] % 2 ** 64, callback, None)
        elif verb == "readuntil":
            op = library.reader_readuntil(reader, arguments[0], len(arguments[0]), callback, None)
        else:
            separators = arguments[0]
            op = library.reader_readuntil_any(reader, library.bytes_array(separators), len(separators), callback, None)
        if self.started(what, verb, op) >= 0:
            self.reading, self.reading_what = op, what

    def start_writer(self, verb, function):
        step = self.step
        what = self.counted(verb)

        def ended(writer, error, arg):
            self.calls[what] += 1
            self.note(verb, *(self.library.error(error) or ("done",)), step=step)

        callback = binding.writer_cb(ended)
        self.kept.append(callback)
        return self.started(what, verb, function(self.writer, callback, None))

    def do_cancel(self):
        if self.reading is not None:
            assert self.library.loop_cancel(self.loop, self.reading) == 0

    def do_drain(self):
        self.draining[self.step] = self.start_writer("drain", self.library.writer_drain)

    def do_cancel_drain(self, step):
        self.library.loop_cancel(self.loop, self.draining[step])

    def do_wait_closed(self):
        self.start_writer("wait_closed", self.library.writer_wait_closed)

    def code(self, verb, code):
        self.note(verb, binding.CODES.get(code, str(code)) if code < 0 else "done")

    def do_write(self, data):
        self.code("write", self.library.writer_write(self.writer, data, len(data)))

    def do_writelines(self, *lines):
        lines_array = self.library.bytes_array(lines)
        self.code("write", self.library.writer_writelines(self.writer, lines_array, len(lines)))

    def do_write_eof(self):
        self.code("write_eof", self.library.writer_write_eof(self.writer))

    def do_close(self):
        self.over = True
        self.code("close", self.library.writer_close(self.writer))

    def do_abort(self):
        self.over = True
        self.code("abort", self.library.writer_abort(self.writer))

    def do_at_eof(self):
        self.note("at_eof", self.library.reader_at_eof(self.reader))

    def do_is_closing(self):
        self.note("is_closing", self.library.writer_is_closing(self.writer))


# ---- asyncio with eddy's deviations ------------------------------------------------------------------------

async def readuntil_any(reader, separators):
    """readuntil with several separators, as since Python 3.13."""
    if sys.version_info >= (3, 13):
        return await reader.readuntil(tuple(separators))
    if not separators or not all(separators):
        raise ValueError("empty separator")
    longest = max(map(len, separators))
    if reader._exception is not None:
        raise reader._exception
    while True:
        buffered = bytes(reader._buffer)
        matches = [(end, start) for separator in separators
                   for start in [buffered.find(separator)] if start >= 0 for end in [start + len(separator)]]
        if matches:
            end, start = min(matches, key=lambda match: (match[0], -match[1]))
            if start > reader._limit:
                raise asyncio.LimitOverrunError("found", start)
            del reader._buffer[:end]
            reader._maybe_resume_transport()
            return buffered[:end]
        offset = max(0, len(buffered) + 1 - longest)
        if len(buffered) >= min(map(len, separators)) and offset > reader._limit:
            raise asyncio.LimitOverrunError("not found", offset)
        if reader._eof:
            reader._buffer.clear()
            raise asyncio.IncompleteReadError(buffered, None)
        await reader._wait_for_data("readuntil")


class DeviatingReader(asyncio.StreamReader):
    player = None
    skipping = False

    def deviate(self, name):
        self.player.deviations.add(name)

    def feed_data(self, data):
        if self.skipping and not self._eof and data:
            self.deviate("long-line")
            rest, newline, after = data.partition(b"\n")
            self.skipping = not newline
            data = after
        if not self.player.is_reading():
            super().feed_data(data)
            self.regulate()
            return
        transport, self._transport = self._transport, None
        super().feed_data(data)
        self._transport = transport
        if not self._paused and len(self._buffer) > 2 * self._limit:
            self.deviate("late-pause")
        self.regulate()

    def regulate(self):
        """Pauses and resumes the transport, when the reads that wait have been served."""
        if self._transport is None or self.player.over:
            return
        if self.player.is_reading():
            pause = False
        elif self.skipping:
            pause = True
        else:
            pause = len(self._buffer) > self._limit * (1 if self._paused else 2)
        if pause != self._paused:
            self.deviate("long-line" if self.skipping else "late-pause")
            self._paused = pause
            (self._transport.pause_reading if pause else self._transport.resume_reading)()

    async def first(self, coroutine):
        """What can be had from the buffer is had before the error that stands behind it."""
        if self._exception is None:
            return await coroutine
        fault, eof, paused = self._exception, self._eof, self._paused
        self._exception, self._eof, self._paused = None, False, False
        try:
            coroutine.send(None)
        except StopIteration as done:
            self.deviate("data-first")
            return done.value
        except asyncio.LimitOverrunError:
            self.deviate("data-first")
            raise
        finally:
            self._exception, self._eof, self._paused = fault, eof, paused
        coroutine.close()
        raise fault

    async def read(self, n=-1):
        if n == 0 and self._exception is not None and not self._buffer:
            raise self._exception
        return await self.first(self.read_all() if n < 0 else super().read(n))

    async def read_all(self):
        while not self._eof:
            try:
                await self._wait_for_data("read")
            except BaseException:
                self.deviate("keep")
                raise
        data = bytes(self._buffer)
        self._buffer.clear()
        self._maybe_resume_transport()
        return data

    async def readexactly(self, n):
        if n == 0 and self._exception is not None and not self._buffer:
            raise self._exception
        return await self.first(super().readexactly(n))

    async def readuntil(self, separator=b"\n"):
        return await self.first(super().readuntil(separator))

    async def readline(self):
        try:
            return await self.readuntil(b"\n")
        except asyncio.IncompleteReadError as fault:
            return fault.partial
        except asyncio.LimitOverrunError as fault:
            if self._buffer.startswith(b"\n", fault.consumed):
                del self._buffer[:fault.consumed + 1]
            else:
                self._buffer.clear()
                self.skipping = True
            self._maybe_resume_transport()
            raise ValueError(fault.args[0]) from None


class DeviatingProtocol(asyncio.StreamReaderProtocol):
    player = None

    def connection_lost(self, fault):
        for waiter in self._drain_waiters:
            if fault is None and not waiter.done():
                self.player.deviations.add("drain-lost")
                waiter.set_exception(ConnectionResetError("Connection lost"))
        super().connection_lost(fault)


class Deviating:
    """Mixed into a player of asyncio."""

    def make_reader(self):
        reader = DeviatingReader(limit=self.limit, loop=self.loop)
        reader.player = self
        return reader

    def make_protocol(self, reader, *arguments):
        protocol = DeviatingProtocol(reader, *arguments, loop=self.loop)
        protocol.player = self
        return protocol

    def coroutine_of(self, verb, *arguments):
        if verb == "readuntil_any":
            separators = arguments[0]
            if not separators or not all(separators):
                return readuntil_any(self.reader, separators)
            return self.reader.first(readuntil_any_plain(self.reader, separators))
        return super().coroutine_of(verb, *arguments)

    def settle(self):
        super().settle()
        self.reader.regulate()

    def refused_busy(self, verb):
        if not self.is_reading():
            return False
        self.deviations.add("one-read")
        self.note(verb, "busy")
        return True

    def refused_write(self):
        if not self.closed:
            return False
        self.deviations.add("closed-write")
        self.note("write", "state")
        return True

    def do_write(self, data):
        if not self.refused_write():
            super().do_write(data)

    def do_writelines(self, *lines):
        if not self.refused_write():
            super().do_writelines(*lines)


def readuntil_any_plain(reader, separators):
    """Past DeviatingReader.readuntil, which would look behind the error a second time."""
    if sys.version_info >= (3, 13):
        return asyncio.StreamReader.readuntil(reader, tuple(separators))
    return readuntil_any(reader, separators)


# ---- streams over a transport made by hand -----------------------------------------------------------------

class FakeTransport(asyncio.Transport):
    """Tells the player what it is told, and treats writes after the end as asyncio's own transports do."""

    def __init__(self, player):
        super().__init__()
        self.player, self.closing, self.eof = player, False, False

    def write(self, data):
        if self.eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if data and not self.closing:
            self.player.tell("write", bytes(data))

    def can_write_eof(self):
        return True

    def write_eof(self):
        if not self.closing and not self.eof:
            self.eof = True
            self.player.tell("write_eof")

    def close(self):
        if not self.closing:
            self.closing = True
            self.player.tell("close")

    def abort(self):
        self.closing = True
        self.player.tell("abort")

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        self.player.paused = True

    def resume_reading(self):
        self.player.paused = False


class AsyncioByHand(AsyncioPlayer):
    def __init__(self, scenario):
        super().__init__(scenario)
        self.reader = self.make_reader()
        self.protocol = self.make_protocol(self.reader)
        self.transport = FakeTransport(self)
        self.protocol.connection_made(self.transport)
        self.writer = asyncio.StreamWriter(self.transport, self.protocol, self.reader, self.loop)

    def end(self):
        super().end()
        self.transport.closing = True

    def do_feed(self, data):
        self.attempt("feed", self.reader.feed_data, data)

    def do_eof(self):
        self.over = True
        self.attempt("eof", self.reader.feed_eof)

    def do_exception(self, code):
        self.over = True
        self.reader.set_exception(UserError(code))

    def do_data(self, data):
        self.protocol.data_received(data)

    def do_eof_received(self):
        self.over = True
        self.note("eof_received", self.protocol.eof_received())

    def do_pause_writing(self):
        self.protocol.pause_writing()

    def do_resume_writing(self):
        self.protocol.resume_writing()

    def do_lost(self, code):
        self.over = True
        self.transport.closing = True
        self.protocol.connection_lost(UserError(code) if code else None)


class DeviatingByHand(Deviating, AsyncioByHand):
    pass


class EddyByHand(EddyPlayer):
    def __init__(self, scenario):
        super().__init__(scenario)
        library = self.library
        self.ops = binding.TransportOps(
            size=ctypes.sizeof(binding.TransportOps),
            write=binding.write_op(lambda transport, data, n, arg: self.tell("write", ctypes.string_at(data, n))),
            write_eof=binding.plain_op(lambda transport, arg: self.tell("write_eof")),
            close=binding.plain_op(lambda transport, arg: self.tell("close")),
            abort=binding.plain_op(lambda transport, arg: self.tell("abort")),
            pause_reading=binding.plain_op(lambda transport, arg: setattr(self, "paused", True)),
            resume_reading=binding.plain_op(lambda transport, arg: setattr(self, "paused", False)),
            release=binding.release_op(lambda arg: setattr(self, "released", self.released + 1)))
        self.released = 0
        self.reader = library.reader_new(self.loop, self.limit)
        self.protocol = library.protocol_new(self.loop, self.reader, binding.stream_cb(), None)
        self.transport = library.transport_new(self.loop, ctypes.byref(self.ops), None)
        assert library.protocol_connection_made(self.protocol, self.transport) == 0
        self.writer = library.writer_new(self.transport, self.protocol, self.reader)
        assert self.writer

    def end(self):
        super().end()
        if self.released != 1:
            raise AssertionError(f"the transport is released {self.released} times")

    def do_feed(self, data):
        self.code("feed", self.library.reader_feed_data(self.reader, data, len(data)))

    def do_eof(self):
        self.over = True
        self.code("eof", self.library.reader_feed_eof(self.reader))

    def do_exception(self, code):
        self.over = True
        assert self.library.reader_set_exception(self.reader, code, b"an exception") == 0

    def do_data(self, data):
        assert self.library.protocol_data_received(self.protocol, data, len(data)) == 0

    def do_eof_received(self):
        self.over = True
        self.note("eof_received", self.library.protocol_eof_received(self.protocol))

    def do_pause_writing(self):
        assert self.library.protocol_pause_writing(self.protocol) == 0

    def do_resume_writing(self):
        assert self.library.protocol_resume_writing(self.protocol) == 0

    def do_lost(self, code):
        self.over = True
        assert self.library.protocol_connection_lost(self.protocol, code, b"lost") == 0


# ---- streams over sockets ----------------------------------------------------------------------------------

SLOW = max(1, int(os.environ.get("EDDY_TEST_SLOW", "1")))


def text_of(address):
    """An address as eddy writes it."""
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}" if ":" not in address[0] else f"[{address[0]}]:{address[1]}"
    if isinstance(address, bytes):
        return "@" + address[1:].decode()
    return address or None


class SocketPlayer:
    """Mixed into a player: the other end is a plain socket. scenario.sockets: client or server, over tcp or unix."""

    directory = None
    number = 0

    def open(self):
        role, family = self.scenario.sockets.split()
        SocketPlayer.number += 1
        path = os.path.join(SocketPlayer.directory.name, f"socket-{SocketPlayer.number}")
        self.is_tcp = family == "tcp"
        self.peer = None
        if role == "client":
            with socket.socket(socket.AF_INET if self.is_tcp else socket.AF_UNIX) as listener:
                listener.bind(("127.0.0.1", 0) if self.is_tcp else path)
                listener.listen()
                self.connect(listener.getsockname())
                self.peer, _ = listener.accept()
        else:
            self.serve(("127.0.0.1", 0) if self.is_tcp else path)
            self.peer = socket.socket(socket.AF_INET if self.is_tcp else socket.AF_UNIX)
            self.peer.connect(self.served)
            self.until(lambda: self.writer is not None)
        self.peer.setblocking(False)
        if self.is_tcp:
            self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def until(self, true):
        for _ in range(1000 * SLOW):
            if true():
                return
            self.settle()
        raise AssertionError("never came true")

    def do_peer_send(self, data):
        while data:
            try:
                data = data[self.peer.send(data):]
            except BlockingIOError:
                self.settle()

    def do_peer_shutdown(self):
        self.over = True
        self.peer.shutdown(socket.SHUT_WR)

    def do_peer_close(self):
        self.peer.close()

    def do_peer_reset(self):
        self.over = True
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()

    def do_peer_recv(self, n):
        """n bytes, or what comes before the end, and the end."""
        data, idle = b"", 0
        while len(data) < n and idle < 30:
            try:
                chunk = self.peer.recv(min(65536, n - len(data)))
                if not chunk:
                    return self.note("peer", data, "eof")
                data, idle = data + chunk, 0
            except BlockingIOError:
                self.settle()
                idle += 1
            except ConnectionError as fault:
                return self.note("peer", data, errno.errorcode[fault.errno])
        self.note("peer", data, "open")

    def do_names(self):
        peer, own = self.names()
        self.note("names", peer == text_of(self.peer.getsockname()), own == text_of(self.peer.getpeername()))

    def end(self):
        super().end()
        if self.peer is not None:
            self.peer.close()


class AsyncioSockets(SocketPlayer, AsyncioPlayer):
    def __init__(self, scenario):
        super().__init__(scenario)
        self.writer = self.server = None
        self.open()

    def settle(self):
        self.loop.call_later(0.002 * SLOW, self.loop.stop)
        self.loop.run_forever()
        super().settle()

    def end(self):
        if not self.writer.is_closing():
            self.writer.transport.abort()
        if self.server is not None:
            self.server.close()
        super().end()

    def came(self, reader, writer):
        self.reader, self.writer, self.protocol = reader, writer, writer._protocol

    def connect(self, address):
        run, limit = self.loop.run_until_complete, self.limit
        if self.is_tcp:
            self.came(*run(asyncio.open_connection(*address, limit=limit)))
        else:
            self.came(*run(asyncio.open_unix_connection(address, limit=limit)))

    def serve(self, address):
        run, limit = self.loop.run_until_complete, self.limit
        if self.is_tcp:
            self.server = run(asyncio.start_server(self.came, *address, limit=limit))
        else:
            self.server = run(asyncio.start_unix_server(self.came, address, limit=limit))
        self.served = self.server.sockets[0].getsockname()

    def names(self):
        info = self.writer.get_extra_info
        return text_of(info("peername")), text_of(info("sockname"))


class DeviatingSockets(Deviating, AsyncioSockets):
    def connect(self, address):
        reader = self.make_reader()
        protocol = self.make_protocol(reader)
        if self.is_tcp:
            opening = self.loop.create_connection(lambda: protocol, *address)
        else:
            opening = self.loop.create_unix_connection(lambda: protocol, address)
        transport, _ = self.loop.run_until_complete(opening)
        self.came(reader, asyncio.StreamWriter(transport, protocol, reader, self.loop))

    def serve(self, address):
        def protocol():
            return self.make_protocol(self.make_reader(), self.came)

        if self.is_tcp:
            serving = self.loop.create_server(protocol, *address)
        else:
            serving = self.loop.create_unix_server(protocol, address)
        self.server = self.loop.run_until_complete(serving)
        self.served = self.server.sockets[0].getsockname()

    def do_close(self):
        try:
            if self.writer.transport._sock.recv(1 << 20):
                self.deviations.add("kind-close")
        except (AttributeError, OSError):
            pass
        super().do_close()

    def do_abort(self):
        sock = self.writer.transport._sock
        if self.is_tcp and sock is not None:
            self.deviations.add("abort-resets")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        super().do_abort()


class EddySockets(SocketPlayer, EddyPlayer):
    def __init__(self, scenario):
        super().__init__(scenario)
        self.writer = self.server = None
        self.open()

    def settle(self):
        for wait in (0, SLOW, 0, SLOW, 0, 0):
            assert self.library.loop_run_once(self.loop, wait) >= 0

    def came(self, reader, writer, error, arg):
        assert not error, self.library.error_message(error)
        self.reader, self.writer = reader, writer

    def served_by(self, server, error, arg):
        assert not error, self.library.error_message(error)
        self.server = server

    def connect(self, address):
        options = self.library.options(limit=self.limit)
        callback = binding.stream_cb(self.came)
        self.kept.append(callback)
        if self.is_tcp:
            op = self.library.open_connection(self.loop, address[0].encode(), address[1], options, callback, None)
        else:
            op = self.library.open_unix_connection(self.loop, address.encode(), options, callback, None)
        assert op >= 0
        self.until(lambda: self.writer is not None)

    def serve(self, address):
        options = self.library.options(limit=self.limit)
        client, served = binding.stream_cb(self.came), binding.server_cb(self.served_by)
        self.kept += [client, served]
        if self.is_tcp:
            op = self.library.start_server(self.loop, client, address[0].encode(), address[1], options, served, None)
        else:
            op = self.library.start_unix_server(self.loop, client, address.encode(), options, served, None)
        assert op >= 0
        self.until(lambda: self.server is not None)
        name = self.library.server_sockname(self.server, 0).decode()
        self.served = ("127.0.0.1", int(name.rpartition(":")[2])) if self.is_tcp else name

    def names(self):
        return self.library.extra_info(self.writer, "peername"), self.library.extra_info(self.writer, "sockname")


# ---- scenarios ---------------------------------------------------------------------------------------------

class Scenario:
    def __init__(self, name, steps, limit=65536, deviates=(), sockets=None):
        self.name, self.steps, self.limit, self.sockets = name, steps, limit, sockets
        self.deviates = {deviates} if isinstance(deviates, str) else set(deviates)


def compare(scenario, verbose=False):
    """Plays one scenario three times, with asyncio as it is, with its deviations, and with eddy: which deviations it
    shows, and where eddy is not alike."""
    if scenario.sockets:
        players = AsyncioSockets, DeviatingSockets, EddySockets
    else:
        players = AsyncioByHand, DeviatingByHand, EddyByHand
    if EddyPlayer.library is None:
        players = players[:2]
    logs, deviations = [], set()
    for player in players:
        player = player(scenario)
        logs.append(player.play())
        if isinstance(player, Deviating):
            deviations = player.deviations
    pure, expected = logs[:2]
    if pure == expected:
        deviations = set()
    assert pure == expected or deviations, (scenario.name, pure, expected)
    if verbose:
        for step, line in zip(scenario.steps, expected):
            print(f"    {step!r:40} {line!r}")
    faults = []
    if len(logs) == 3:
        for number, (step, asyncios, wanted, got) in enumerate(zip(scenario.steps, *logs)):
            if wanted != got:
                faults.append(f"step {number}, {step!r}:\n      asyncio  {asyncios!r}\n      expected {wanted!r}\n"
                              f"      eddy     {got!r}")
                break
    return deviations, faults


# ---- opening and serving -----------------------------------------------------------------------------------

class AsyncioOpenings:
    """What becomes of opening and serving, in the words of both."""

    def __init__(self):
        self.loop = AsyncioPlayer.loop

    def attempt(self, coroutine):
        try:
            opened = self.loop.run_until_complete(coroutine)
        except socket.gaierror:
            return "resolve"
        except OSError as fault:
            return errno.errorcode[fault.errno]
        if isinstance(opened, tuple):
            opened[1].transport.abort()
            return "opened"
        self.server = opened
        return "serving"

    def connect(self, host, port):
        return self.attempt(asyncio.open_connection(host, port))

    def connect_unix(self, path):
        return self.attempt(asyncio.open_unix_connection(path))

    def serve(self, host, port):
        return self.attempt(asyncio.start_server(self.came, host, port))

    def serve_unix(self, path):
        return self.attempt(asyncio.start_unix_server(self.came, path))

    def came(self, reader, writer):
        self.client = writer

    def turns(self):
        self.loop.call_later(0.01 * SLOW, self.loop.stop)
        self.loop.run_forever()

    def names(self):
        return [text_of(sock.getsockname()) for sock in self.server.sockets]

    def is_serving(self):
        return self.server.is_serving()

    def close(self):
        self.server.close()

    def wait_closed(self):
        """Whether it waits, and what ends it."""
        task = self.loop.create_task(self.server.wait_closed())
        self.turns()
        waits = not task.done()
        self.client.close()
        self.turns()
        return waits, task.done()

    def end(self):
        pass


class EddyOpenings:
    def __init__(self):
        self.library = EddyPlayer.library
        self.loop = self.library.loop_new()
        self.kept = []

    def attempt(self, start, callback_type):
        ended = []

        def opened(first, *others):
            error = self.library.error(others[-2])
            if error:
                ended.append(errno.errorcode[error[1]] if error[0] == "system" else error[0])
            elif callback_type is binding.stream_cb:
                self.library.writer_abort(others[0])
                ended.append("opened")
            else:
                self.server = first
                ended.append("serving")

        callback = callback_type(opened)
        self.kept.append(callback)
        assert start(callback) >= 0
        for _ in range(3000 * SLOW):
            if ended:
                return ended[0]
            self.library.loop_run_once(self.loop, 10)
        raise AssertionError("no callback")

    def client_callback(self):
        callback = binding.stream_cb(lambda reader, writer, error, arg: setattr(self, "client", writer))
        self.kept.append(callback)
        return callback

    def connect(self, host, port):
        return self.attempt(lambda callback: self.library.open_connection(
            self.loop, host.encode(), port, None, callback, None), binding.stream_cb)

    def connect_unix(self, path):
        return self.attempt(lambda callback: self.library.open_unix_connection(
            self.loop, path.encode(), None, callback, None), binding.stream_cb)

    def serve(self, host, port):
        return self.attempt(lambda callback: self.library.start_server(
            self.loop, self.client_callback(), host and host.encode(), port, None, callback, None), binding.server_cb)

    def serve_unix(self, path):
        return self.attempt(lambda callback: self.library.start_unix_server(
            self.loop, self.client_callback(), path.encode(), None, callback, None), binding.server_cb)

    def turns(self):
        for _ in range(5):
            self.library.loop_run_once(self.loop, 2 * SLOW)

    def names(self):
        names = []
        while (name := self.library.server_sockname(self.server, len(names))) is not None:
            names.append(name.decode())
        return names

    def is_serving(self):
        return self.library.server_is_serving(self.server)

    def close(self):
        assert self.library.server_close(self.server) == 0

    def wait_closed(self):
        ended = []
        callback = binding.server_cb(lambda server, error, arg: ended.append(self.library.error(error)))
        self.kept.append(callback)
        assert self.library.server_wait_closed(self.server, callback, None) >= 0
        self.turns()
        waits = not ended
        self.library.writer_close(self.client)
        self.turns()
        return waits, ended == [None]

    def end(self):
        self.library.loop_free(self.loop)


def openings(them, directory):
    """The list of what happened; no address in it but those that are the same for both."""
    happened = []

    def note(what, result):
        happened.append((what, result))

    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        # Shows O13
        note("nobody listens", them.connect("127.0.0.1", unheard.getsockname()[1]))
    # Shows O3
    note("no such name", them.connect("no-such-name.invalid", 80))
    note("no such file", them.connect_unix(os.path.join(directory, "missing")))
    # Shows V7 V16 V17
    note("a server", them.serve("127.0.0.1", 0))
    [name] = them.names()
    port = int(name.rpartition(":")[2])
    note("its name", name == f"127.0.0.1:{port}" and port > 0)
    note("is serving", them.is_serving())
    note("itself", them.connect("127.0.0.1", port))
    them.close()
    them.close()
    note("is serving when closed", them.is_serving())
    note("names when closed", them.names())
    note("closed", them.connect("127.0.0.1", port))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # Shows V10
        note("a port that is taken", them.serve("127.0.0.1", taken.getsockname()[1]))
    # Shows V6
    note("all interfaces", them.serve(None, 0))
    note("of them", all(name.startswith(("0.0.0.0:", "[::]:")) for name in them.names()))
    them.close()

    # Shows V18
    note("a server again", them.serve("127.0.0.1", 0))
    client = socket.create_connection(("127.0.0.1", int(them.names()[0].rpartition(":")[2])))
    them.turns()
    them.close()
    note("wait_closed waits, ends", them.wait_closed())
    client.close()

    path = os.path.join(directory, "server")
    # Shows U2
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    note("over a stale file", them.serve_unix(path))
    note("its path", them.names() == [path])
    note("through it", them.connect_unix(path))
    them.close()
    # Shows U7 U8
    note("the file is gone", not os.path.exists(path))
    if os.path.exists(path):
        os.unlink(path)
    with open(path, "w", encoding="ascii"):
        pass
    note("over a file that is no socket", them.serve_unix(path))
    note("through a file that is no socket", them.connect_unix(path))
    os.unlink(path)
    # Shows U4
    abstract = f"\0eddy-oracle-{os.getpid()}"
    note("an abstract name", them.serve_unix(abstract if isinstance(them, AsyncioOpenings) else "@" + abstract[1:]))
    note("so called", them.names() == ["@" + abstract[1:]])
    them.close()
    them.end()
    return happened


def compare_openings(counts):
    with tempfile.TemporaryDirectory() as directory:
        wanted = openings(AsyncioOpenings(), directory)
        for number, (what, result) in enumerate(wanted):
            if what == "wait_closed waits, ends" and not result[0]:
                counts["server-waits"] += 1
                wanted[number] = (what, (True, True))
            if what == "the file is gone" and not result:
                counts["socket-file"] += 1
                wanted[number] = (what, True)
        got = wanted if EddyPlayer.library is None else openings(EddyOpenings(), directory)
    faults = [f"{this[0]}: asyncio {this[1]!r}, eddy {that[1]!r}" for this, that in zip(wanted, got) if this != that]
    return len(wanted), faults


# ---- all of it ---------------------------------------------------------------------------------------------

def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("library", nargs="?", default=os.environ.get("EDDY_LIBRARY"),
                        help="libeddy.so; without it, or EDDY_LIBRARY, asyncio alone is played")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=max(200, 4000 // SLOW))
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if options.library:
        EddyPlayer.library = binding.Eddy(os.path.abspath(options.library))
    broken = []
    sys.unraisablehook = lambda problem: broken.append(repr(problem.exc_value))  # in a callback from C
    SocketPlayer.directory = tempfile.TemporaryDirectory()
    counts = dict.fromkeys(DEVIATIONS, 0)
    faults = played = 0

    def play(scenario, named):
        nonlocal faults, played
        played += 1
        if options.verbose:
            print(scenario.name)
        try:
            shown, differences = compare(scenario, options.verbose)
            if named and shown != scenario.deviates:
                differences.append(f"shows the deviations {sorted(shown)}, not {sorted(scenario.deviates)}")
            for name in shown:
                counts[name] += 1
        except AssertionError as problem:
            differences = [f"{problem!r}"]
        differences += broken
        broken.clear()
        faults += bool(differences)
        for difference in differences:
            print(f"NOT ALIKE: {scenario.name}, limit {scenario.limit}\n    {difference}")
        if differences and not named:
            print(f"    steps: {scenario.steps!r}")

    for name, steps, details in scenarios.ALL:
        if options.only in name:
            play(Scenario(name, steps, **details), True)
    listed = played
    for number in range(options.random):
        name = f"random {options.seed}.{number}"
        if options.only in name:
            steps, limit, sockets = scenarios.at_random(options.seed * 1000000 + number)
            play(Scenario(name, steps, limit, sockets=sockets), False)
    happened, differences = (0, []) if options.only else compare_openings(counts)
    for difference in differences:
        print(f"NOT ALIKE: {difference}")
    faults += len(differences)

    against = f"libeddy {EddyPlayer.library.version().decode()}" if EddyPlayer.library else "nothing"
    print(f"asyncio of Python {sys.version.split()[0]} against {against}")
    print(f"{listed} scenarios, {played - listed} at random (seed {options.seed}), {happened} openings")
    for name, meaning in DEVIATIONS.items():
        print(f"  {counts[name]:5} times {name}: {meaning}")
    print(f"{played + happened - faults} alike, {faults} not")
    return 1 if faults or not played else 0


if __name__ == "__main__":
    sys.exit(main())
