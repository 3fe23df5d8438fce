"""eddy's streams beside asyncio's: what one does, the other does; and what is eddy's alone."""
import asyncio
import contextlib
import gc
import hashlib
import inspect
import os
import random
import re
import signal
import socket
import struct
import sys
import tempfile
import threading
import unittest
import warnings
from unittest import mock

import eddy
from eddy import _library, _loop, _opening

LOCAL = "127.0.0.1"


@contextlib.asynccontextmanager
async def connected(streams, handler=None, **options):
    """A server, and a client of it: reader, writer, and the server's reader and writer."""
    accepted = asyncio.get_running_loop().create_future()

    async def on_client(reader, writer):
        accepted.set_result((reader, writer))
        if handler is not None:
            await handler(reader, writer)

    server = await streams.start_server(on_client, LOCAL, 0, **options)
    async with server:
        client = await streams.open_connection(*server.sockets[0].getsockname(), **options)
        peer = await accepted
        try:
            yield *client, *peer
        finally:
            for writer in client[1], peer[1]:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


async def outcome(awaitable):
    """A result, or an exception as what it tells."""
    try:
        return await asyncio.wait_for(awaitable, 10)
    except (ValueError, RuntimeError, OSError, EOFError, asyncio.LimitOverrunError) as error:
        told = [type(error).__name__]
        told += [getattr(error, name) for name in ("partial", "expected", "consumed", "errno") if hasattr(error, name)]
        return told if isinstance(error, OSError) else [*told, re.sub("fd=[0-9]+", "", str(error))]


async def pause():
    """Until whatever is under way on the loopback interface has come."""
    for _ in range(20):
        await asyncio.sleep(0.002)


# ---- what asyncio does: each of these is run on both, and must give the same ----

async def line_over_the_limit(streams):
    """asyncio gives the tail of a line that was too long as a line; libeddy would skip it."""
    async with connected(streams, limit=8) as (_, writer, reader, _):
        writer.write(b"0123456789")
        seen = [await outcome(reader.readline())]
        writer.write(b"tail\nnext\n0123456789abcdef\nlast\n")
        return seen + [await outcome(reader.readline()) for _ in range(4)]


async def separator_beyond_the_limit(streams):
    async with connected(streams, limit=4) as (_, writer, reader, _):
        writer.write(b"012345--67")
        return [await outcome(read) for read in (reader.readuntil(b"--"), reader.readexactly(8), reader.read(9))]


async def end_too_early(streams):
    async with connected(streams) as (_, writer, reader, _):
        writer.write(b"12345")
        writer.write_eof()
        seen = [await outcome(reader.readexactly(9)), await outcome(reader.readexactly(1)), reader.at_eof()]
        return seen + [await outcome(read) for read in (reader.readuntil(), reader.readline(), reader.read())]


async def last_line_without_newline(streams):
    async with connected(streams) as (_, writer, reader, _):
        writer.write(b"one\ntwo")
        writer.write_eof()
        return [line async for line in reader], reader.at_eof()


async def at_eof_is_known_before_it_is_read(streams):
    async with connected(streams) as (_, writer, reader, _):
        writer.write(b"one\n")
        writer.write_eof()
        await pause()
        return reader.at_eof(), await reader.readline(), reader.at_eof()


async def two_reads(streams):
    async with connected(streams) as (_, writer, reader, _):
        first = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        seen = [await outcome(reader.read(1)), await outcome(reader.readline()), await outcome(reader.read(0))]
        writer.write(b"line\n")
        return seen + [await first]


async def a_read_that_is_cancelled_takes_nothing(streams):
    async with connected(streams) as (_, writer, reader, _):
        for read in (reader.readline, lambda: reader.readexactly(100), lambda: reader.readuntil(b"--")):
            task = asyncio.ensure_future(read())
            await asyncio.sleep(0)
            writer.write(b"x")
            await pause()
            task.cancel()
            await asyncio.wait([task])
        await pause()
        return await reader.readexactly(3)


async def cancelled_when_it_had_just_come(streams):
    """The waiter is done, the task has not run yet, and is cancelled: no byte may be lost."""
    async with connected(streams) as (_, writer, reader, _):
        task = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        writer.write(b"line\n")
        while not len(reader._buffer):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled() or task.result(), bytes(reader._buffer) if task.cancelled() else b"line\n"


async def what_came_before_a_reset(streams):
    async with connected(streams) as (_, writer, reader, peer):
        sock = writer.get_extra_info("socket")
        writer.write(b"before\n")
        await pause()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await pause()
        return [await outcome(reader.readline()), await outcome(peer.drain()), peer.is_closing(),
                await outcome(peer.wait_closed())]


async def abort_is_no_reset(streams):
    async with connected(streams) as (_, writer, reader, _):
        writer.write(b"before\n")
        await pause()
        writer.transport.abort()
        return await outcome(reader.read()), await outcome(writer.wait_closed()), writer.is_closing()


async def writes_too_late(streams):
    async with connected(streams) as (_, writer, reader, _):
        writer.write_eof()
        seen = [await outcome(attempt(writer.write, b"late")), await outcome(reader.read())]
        writer.close()
        seen += [await outcome(attempt(writer.write, b"later")), await outcome(writer.drain())]
        return seen + [await outcome(writer.wait_closed()), writer.is_closing()]


async def writes_of_all_kinds(streams):
    async with connected(streams) as (_, writer, reader, _):
        writer.write(b"bytes,")
        writer.write(bytearray(b"bytearray,"))
        writer.write(memoryview(b"xmemoryview,")[1:])
        writer.writelines([b"li", bytearray(b"nes"), memoryview(b",")])
        writer.write(b"")
        seen = []
        for bad in ("text", 7, None):
            try:
                writer.write(bad)
            except TypeError as error:
                seen.append(str(error))
        writer.write_eof()
        return seen, await reader.read(), writer.can_write_eof()


async def close_with_unread_input(streams):
    async with connected(streams) as (reader, writer, _, peer):
        peer.write(b"x" * 100000)
        await pause()
        writer.close()
        seen = await outcome(writer.wait_closed())
        return seen, reader.at_eof(), len(await reader.read())


async def nobody_is_there(streams):
    with socket.socket() as sock:
        sock.bind((LOCAL, 0))
        address = sock.getsockname()
        return [await outcome(streams.open_connection(*address)),
                await outcome(streams.open_unix_connection("/nowhere/at/all"))]


async def arguments(streams):
    with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        return [await outcome(call) for call in (
            streams.open_connection(), streams.open_connection(LOCAL, 1, sock=sock),
            streams.open_connection(sock=datagrams), streams.open_connection(LOCAL, 1, server_hostname="x"),
            streams.open_connection(LOCAL, 1, limit=0), streams.open_unix_connection(),
            streams.open_unix_connection("x", sock=sock), streams.start_server(print),
            streams.start_server(print, LOCAL, 1, sock=sock), streams.start_server(print, sock=datagrams),
            streams.start_unix_server(print), streams.start_unix_server(print, "x", sock=sock),
        )]


async def names_and_options_that_there_are_not(streams):
    with socket.socket() as sock:
        sock.bind((LOCAL, 0))
        port = sock.getsockname()[1]
        return [await outcome(streams.open_connection(LOCAL, str(port))), await outcome(streams.open_connection(
                    LOCAL, "no-such-service")), await outcome(streams.start_server(print, LOCAL, "no-such-service")),
                [type(error) for error in await asyncio.gather(
                    streams.open_connection(LOCAL, port, no_such_option=None),
                    streams.start_server(print, LOCAL, port, no_such_option=None),
                    streams.open_connection(LOCAL, 65536), streams.start_server(print, LOCAL, -1),
                    return_exceptions=True)]]


async def unix_sockets(streams):
    """One takes the place of another that is alive; the file stays or goes as asyncio's would."""
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        first = await streams.start_unix_server(echo, path)
        server = await streams.start_unix_server(echo, path)
        reader, writer = await streams.open_unix_connection(path)
        writer.write(b"hello\n")
        seen = [await reader.read(), writer.get_extra_info("peername") == path, writer.get_extra_info("sockname")]
        writer.close()
        await writer.wait_closed()
        server.close()
        first.close()
        seen.append(os.path.exists(path))
        open(os.path.join(folder, "file"), "w").close()
        seen.append(await outcome(streams.start_unix_server(echo, os.path.join(folder, "file"))))
        return seen


async def abstract_names(streams):
    name = "\0eddy-test-" + os.urandom(8).hex()
    async def hello(reader, writer):
        writer.write(repr(writer.get_extra_info("sockname") == name.encode()).encode())
        writer.close()
    async with await streams.start_unix_server(hello, name):
        reader, writer = await streams.open_unix_connection(name)
        seen = await reader.read(), writer.get_extra_info("peername") == name.encode()
        writer.close()
        await writer.wait_closed()
        return seen


async def names(streams):
    async with connected(streams) as (_, writer, _, peer):
        same = writer.get_extra_info("sockname") == peer.get_extra_info("peername")
        sock = writer.get_extra_info("socket")
        seen = [same, sock.getpeername() == writer.get_extra_info("peername"), type(sock).__name__,
                writer.get_extra_info("nothing", "default")]
        writer.close()
        await writer.wait_closed()
        return seen + [writer.get_extra_info("peername")[0]]


async def sockets_of_ones_own(streams):
    listening = socket.create_server((LOCAL, 0))
    done = asyncio.get_running_loop().create_future()

    async def on_client(reader, writer):
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()
        done.set_result(None)

    server = await streams.start_server(on_client, sock=listening)
    sock = socket.create_connection(listening.getsockname())
    sock.setblocking(False)
    reader, writer = await streams.open_connection(sock=sock)
    seen = [await reader.read(), writer.get_extra_info("socket").fileno() == sock.fileno(), server.is_serving()]
    writer.close()
    await writer.wait_closed()
    await done
    server.close()
    return seen + [sock.fileno(), listening.fileno()]


async def client_callbacks_that_raise(streams):
    told = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: told.append((context["message"], repr(context.get("exception")))))

    async def coroutine(reader, writer):
        raise ZeroDivisionError("coroutine")

    async with await streams.start_server(coroutine, LOCAL, 0) as server:
        reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
        if sys.version_info >= (3, 11): # which closes it
            await reader.read()
        await pause()
        writer.close()
        await writer.wait_closed()
    return [message for message in told if "Unhandled" in message[0]]


async def back_pressure(streams):
    """The writer waits, since nobody reads; and goes on when somebody does."""
    async with connected(streams) as (_, writer, reader, _):
        sent = 0
        with contextlib.suppress(asyncio.TimeoutError):
            while sent < 2 ** 28:
                writer.write(b"x" * 65536)
                sent += 65536
                await asyncio.wait_for(writer.drain(), 0.5)
        bounded = len(reader._buffer) <= 2 * 65536 + 2 ** 18
        paused = not reader._transport.is_reading()
        writer.write_eof()
        received = 0
        while data := await reader.read(50000):
            received += len(data)
        return sent < 2 ** 28, bounded, paused, received == sent


async def attempt(function, *arguments):
    return function(*arguments)


SAME = [line_over_the_limit, separator_beyond_the_limit, end_too_early, last_line_without_newline,
        at_eof_is_known_before_it_is_read, two_reads, a_read_that_is_cancelled_takes_nothing,
        cancelled_when_it_had_just_come, what_came_before_a_reset, abort_is_no_reset, writes_too_late,
        writes_of_all_kinds, close_with_unread_input, nobody_is_there, arguments,
        names_and_options_that_there_are_not, unix_sockets, abstract_names, names, sockets_of_ones_own,
        client_callbacks_that_raise, back_pressure]


class TheSameAsAsyncio(unittest.TestCase):
    maxDiff = None


def same(scenario):
    def test(self):
        expected = asyncio.run(scenario(asyncio))
        for run, streams in (asyncio.run, eddy), (eddy.run, eddy), (eddy.run, asyncio):
            with self.subTest(run=run.__module__, streams=streams.__name__):
                self.assertEqual(run(scenario(streams)), expected)
                self.assertEqual(_library.owed, set())
    return test


for each in SAME:
    setattr(TheSameAsAsyncio, "test_" + each.__name__, same(each))


# ---- what is eddy's own ----

class InAsynciosLoop(unittest.TestCase):
    loop = asyncio.SelectorEventLoop
    run_alone = staticmethod(asyncio.run)

    def tearDown(self):
        gc.collect()
        self.assertEqual(_library.owed, set(), "callbacks that never came")

    def run_(self, main, **options):
        async def bounded():
            self.assertIsInstance(asyncio.get_running_loop(), self.loop)
            return await asyncio.wait_for(main(), 60)
        return self.run_alone(bounded(), **options)

    def test_exceptions_are_asyncios(self):
        self.assertIs(eddy.IncompleteReadError, asyncio.IncompleteReadError)
        self.assertIs(eddy.LimitOverrunError, asyncio.LimitOverrunError)
        self.assertTrue(issubclass(eddy.StreamReader, asyncio.StreamReader))

    def test_signatures_are_asyncios(self):
        for name in ("open_connection", "open_unix_connection", "start_server", "start_unix_server", "StreamReader",
                     "StreamReaderProtocol", "StreamWriter"):
            self.assertEqual(inspect.signature(getattr(eddy, name)), inspect.signature(getattr(asyncio, name)))

    def test_no_such_host(self):
        with self.assertRaises(socket.gaierror) as caught:
            self.run_(lambda: eddy.open_connection("no.such.host.invalid", 80))
        self.assertLess(caught.exception.errno, 0)

    def test_bytes_lie_in_libeddy(self):
        async def main():
            reader = eddy.StreamReader()
            reader.feed_data(b"some bytes")
            shown = _library.text(_library.lib.eddy_repr(reader._buffer._handle))
            self.assertIn("10 bytes", shown)
            self.assertEqual(await reader.read(5), b"some ")
            self.assertEqual(len(reader._buffer), 5)
        self.run_(main)

    def test_every_byte_comes_once(self):
        """Through all kinds of reads, of all sizes, with a small limit and pauses."""
        choose = random.Random(1)
        data = choose.randbytes(3_000_000).replace(b"\n", b"_")
        data = b"\n".join(data[at:at + 700] for at in range(0, len(data), 700))

        async def main():
            async def send(reader, writer):
                at = 0
                while at < len(data):
                    size = choose.choice([1, 10, 1000, 100000])
                    writer.write(data[at:at + size])
                    at += size
                    await writer.drain()
                writer.close()

            async with connected(eddy, send, limit=1000) as (reader, *_):
                seen = hashlib.sha256()
                size = 0
                while not reader.at_eof():
                    kind = choose.randrange(4)
                    if kind == 0:
                        piece = await reader.read(choose.choice([1, 100, 10000]))
                    elif kind == 1:
                        piece = await reader.readline()
                    elif kind == 2:
                        try:
                            piece = await reader.readuntil(b"\n")
                        except asyncio.IncompleteReadError as error:
                            piece = error.partial
                    else:
                        try:
                            piece = await reader.readexactly(choose.choice([1, 100, 5000]))
                        except asyncio.IncompleteReadError as error:
                            piece = error.partial
                    seen.update(piece)
                    size += len(piece)
                self.assertEqual(size, len(data))
                self.assertEqual(seen.digest(), hashlib.sha256(data).digest())
        self.run_(main)

    def test_a_cancelled_read_to_the_end_takes_nothing(self):
        """asyncio's loses what it had read by then."""
        async def main():
            async with connected(eddy) as (_, writer, reader, _):
                task = asyncio.ensure_future(reader.read())
                await asyncio.sleep(0)
                writer.write(b"bytes")
                await pause()
                task.cancel()
                await asyncio.wait([task])
                return await reader.read(100)
        self.assertEqual(self.run_(main), b"bytes")

    def test_writes_leave_as_one(self):
        async def main():
            async with connected(eddy) as (_, writer, reader, _):
                for _ in range(100):
                    writer.write(b"0123456789")
                return await reader.read(10000)
        self.assertEqual(len(self.run_(main)), 1000)

    def test_collected_writer_closes_and_warns(self):
        if not hasattr(asyncio.StreamWriter, "__del__"):
            self.skipTest("asyncio's does not either, in this Python")

        async def main():
            done = asyncio.get_running_loop().create_future()

            async def on_client(reader, writer):
                done.set_result(await reader.read())
                writer.close()

            async with await eddy.start_server(on_client, LOCAL, 0) as server:
                reader, writer = await eddy.open_connection(*server.sockets[0].getsockname())
                with self.assertWarnsRegex(ResourceWarning, "unclosed <StreamWriter"):
                    del writer
                    gc.collect()
                self.assertEqual(await done, b"")
        self.run_(main)

    def test_the_end_of_the_loop_is_the_end_of_libeddys(self):
        """There can be 255 of them: so each of these must have gone when the next one comes."""
        def descriptors():
            gc.collect()
            return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

        async def main():
            async def on_client(reader, writer):
                await reader.read()
            server = await eddy.start_server(on_client, LOCAL, 0)
            reader, writer = await eddy.open_connection(*server.sockets[0].getsockname())
            await asyncio.sleep(0)
            asyncio.ensure_future(reader.read())
            writer.write(b"x")
            await asyncio.sleep(0)

        def round():
            loop = self.loop()
            loop.run_until_complete(main())
            guest = _loop._loops[loop]
            self.assertIsNotNone(guest())
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            self.assertIsNone(guest(), "libeddy's loop outlives its host")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            round()
            before = descriptors()
            for _ in range(300):
                round()
            self.assertEqual(descriptors(), before)

    def test_after_the_end_of_the_loop(self):
        """Handles are stale then: exceptions, or nothing, but no crash."""
        kept = []

        async def main():
            server = await eddy.start_server(lambda *streams: kept.append(streams), LOCAL, 0)
            reader, writer = await eddy.open_connection(*server.sockets[0].getsockname())
            reader.feed_data(b"left")
            return server, reader, writer
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            server, reader, writer = self.run_(main)
            with self.assertLogs("asyncio", "WARNING"): # as of any lost connection
                for _ in range(10):
                    writer.write(b"x")
            writer.transport.pause_reading()
            writer.transport.resume_reading()
            writer.transport.set_write_buffer_limits(10)
            self.assertEqual(writer.transport.get_write_buffer_size(), 0)
            repr(writer), repr(reader), repr(server)
            server.close()
            self.assertEqual(writer.get_extra_info("peername")[0], LOCAL)
            self.assertIsNone(writer.get_extra_info("socket"))
            with self.assertRaises(RuntimeError):
                reader.feed_data(b"x")
            with self.assertRaises(RuntimeError):
                reader._buffer[:]
            with contextlib.suppress(RuntimeError): # asyncio's: the loop is closed
                writer.close()
            del server, reader, writer
            kept.clear()
            gc.collect()

    def test_stale_and_foreign_handles(self):
        lib, ffi = _library.lib, _library.ffi
        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            reader = eddy.StreamReader()
            handle = reader._buffer._handle
            lib.eddy_reader_free(handle)
            with self.assertRaises(RuntimeError):
                reader.feed_data(b"x")
            self.assertEqual(lib.eddy_reader_feed_data(handle, b"x", 1), lib.EDDY_ESTALE)
            self.assertEqual(lib.eddy_reader_feed_data(ffi.NULL, b"x", 1), lib.EDDY_ESTALE)
            other = eddy.StreamReader()
            with self.assertRaisesRegex(RuntimeError, "thread"):
                await asyncio.to_thread(other.feed_data, b"x")
            async with connected(eddy) as (_, writer, _, _):
                with self.assertRaisesRegex(RuntimeError, "thread"):
                    await asyncio.to_thread(writer.write, b"x")
                lib.eddy_writer_free(writer.transport._writer)
                with self.assertRaises(RuntimeError):
                    writer.write(b"x")
        self.run_(main)

    def test_misuse_is_told_to_the_exception_handler(self):
        async def main():
            told = []
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
            reader = eddy.StreamReader()
            _library.lib.eddy_reader_free(_library.ffi.cast("eddy_reader *", 12345))
            while not told:
                await asyncio.sleep(0)
            return told
        self.assertIn("eddy_reader_free", self.run_(main)[0])

    def test_protocols_that_raise(self):
        async def main():
            from eddy._opening import create_connection, create_server
            loop = asyncio.get_running_loop()
            told, lost = [], loop.create_future()
            loop.set_exception_handler(lambda loop, context: told.append((context["message"], context["exception"])))

            class Bad(asyncio.Protocol):
                def data_received(self, data):
                    raise ZeroDivisionError

                def connection_lost(self, error):
                    lost.set_result(error)

            server = await create_server(loop, Bad, LOCAL, 0)
            transport, _ = await create_connection(loop, asyncio.Protocol, *server.sockets[0].getsockname())
            transport.write(b"x")
            self.assertIsInstance(await lost, ZeroDivisionError)
            self.assertEqual(told[0][0], "Fatal error: protocol.data_received() call failed.")
            server.close()
            transport.close()
            await pause()
        self.run_(main)

    def test_keyboard_interrupt_leaves_the_loop(self):
        async def main():
            from eddy._opening import create_connection, create_server
            loop = asyncio.get_running_loop()

            class Interrupted(asyncio.Protocol):
                def data_received(self, data):
                    raise KeyboardInterrupt

            server = await create_server(loop, Interrupted, LOCAL, 0)
            transport, _ = await create_connection(loop, asyncio.Protocol, *server.sockets[0].getsockname())
            transport.write(b"x")
            await asyncio.sleep(60)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            with self.assertRaises(KeyboardInterrupt):
                self.run_alone(main())
            gc.collect()

    def test_opening_is_cancelled(self):
        async def main():
            async with await eddy.start_server(lambda reader, writer: writer.close(), LOCAL, 0) as server:
                address = server.sockets[0].getsockname()
                for turns in range(8):
                    task = asyncio.ensure_future(eddy.open_connection(*address))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait([task])
                    if not task.cancelled():
                        task.result()[1].close()
                await pause()
        self.run_(main)

    def test_what_is_cancelled_is_taken_back(self):
        """A connection that would wait for ever, at the door of a server that is full."""
        async def main():
            with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as full:
                path = os.path.join(folder, "s")
                full.bind(path)
                full.listen(0)
                waiting = []
                try:
                    while True:
                        waiting.append(socket.socket(socket.AF_UNIX))
                        waiting[-1].setblocking(False)
                        waiting[-1].connect(path)
                except BlockingIOError:
                    pass
                before = len(_library.owed)
                task = asyncio.ensure_future(eddy.open_unix_connection(path))
                await pause()
                self.assertEqual(len(_library.owed), before + 1)
                task.cancel()
                await pause()
                self.assertEqual(len(_library.owed), before)
                for sock in waiting:
                    sock.close()
        self.run_(main)

    def test_a_closed_connection_is_freed(self):
        async def main():
            async with connected(eddy) as (_, writer, _, peer):
                handles = [each.transport._writer for each in (writer, peer)]
                for each in writer, peer:
                    each.close()
                    await each.wait_closed()
                asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
                return [_library.lib.eddy_writer_close(handle) for handle in handles]
        self.assertEqual(self.run_(main), [_library.lib.EDDY_ESTALE] * 2)

    def test_loops_in_threads(self):
        failures = []

        async def main():
            async def echo(reader, writer):
                while line := await reader.readline():
                    writer.write(line)
                writer.close()
            async with connected(eddy, echo) as (reader, writer, *_):
                for n in range(300):
                    writer.write(b"%d\n" % n)
                    if int(await reader.readline()) != n:
                        failures.append(n)

        threads = [threading.Thread(target=self.run_alone, args=(main(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_many_clients(self):
        async def main():
            async def echo(reader, writer):
                while data := await reader.read(1000):
                    writer.write(data)
                    await writer.drain()
                writer.close()
                await writer.wait_closed()

            async def client(address, n):
                reader, writer = await eddy.open_connection(*address)
                data = bytes([n % 256]) * (n * 37)
                writer.write(data)
                writer.write_eof()
                self.assertEqual(await reader.read(), data)
                writer.close()
                await writer.wait_closed()

            server = await eddy.start_server(echo, LOCAL, 0)
            address = server.sockets[0].getsockname()
            await asyncio.gather(*(client(address, n) for n in range(200)))
            server.close()
            await server.wait_closed()
        self.run_(main, debug=True)

    def test_two_hosts(self):
        async def main():
            done = []
            hosts = ["127.0.0.1", "127.0.0.2"]
            async with await eddy.start_server(lambda reader, writer: writer.close(), hosts, 0) as server:
                for sock in server.sockets:
                    reader, writer = await eddy.open_connection(*sock.getsockname())
                    done.append((await reader.read(), writer.get_extra_info("peername")[0]))
                    writer.close()
            self.assertEqual(done, [(b"", host) for host in hosts])
        self.run_(main)

    def test_clients_are_ended(self):
        async def main():
            async def wait(reader, writer):
                await reader.read()
            server = await eddy.start_server(wait, LOCAL, 0)
            reader, writer = await eddy.open_connection(*server.sockets[0].getsockname())
            await pause()
            server.close()
            server.close_clients()
            self.assertEqual(await reader.read(), b"")
            writer.close()
            await server.wait_closed()
        self.run_(main)

    def test_local_address(self):
        async def main():
            async with await eddy.start_server(lambda reader, writer: writer.close(), LOCAL, 0) as server:
                reader, writer = await eddy.open_connection(*server.sockets[0].getsockname(),
                                                            local_addr=("127.0.0.3", 0), family=socket.AF_INET)
                self.assertEqual(writer.get_extra_info("sockname")[0], "127.0.0.3")
                writer.close()
        self.run_(main)

    def test_what_only_asyncio_can(self):
        """An option that libeddy does not have: the connection is asyncio's, the bytes lie in libeddy."""
        async def main():
            async def hello(reader, writer):
                self.assertNotIn("eddy", repr(writer.transport))
                writer.writelines([b"hel", b"lo\n"])
                await reader.read()
                writer.close()

            async with await eddy.start_server(hello, LOCAL, 0, flags=socket.AI_NUMERICHOST) as server:
                reader, writer = await eddy.open_connection(*server.sockets[0].getsockname(),
                                                            proto=socket.IPPROTO_TCP)
                self.assertNotIn("eddy", repr(writer.transport))
                self.assertEqual(await reader.readline(), b"hello\n")
                self.assertIsInstance(reader, eddy.StreamReader)
                writer.close()
        self.run_(main)

    def test_one_address_after_the_other_unless_told(self):
        """As asyncio does; libeddy's own default is 250 ms."""
        async def main():
            asked = []

            async def opened(loop, function, host, port, options):
                asked.append(options.happy_eyeballs_ms)
                raise ConnectionError

            with mock.patch.object(_opening, "_opened", opened):
                for options in {}, {"happy_eyeballs_delay": 0.25}, {"happy_eyeballs_delay": 0}:
                    with self.assertRaises(ConnectionError):
                        await eddy.open_connection("localhost", 80, **options)
            self.assertEqual(asked, [2 ** 64 - 1, 250, 1])
        self.run_(main)


class OnItsOwn(InAsynciosLoop):
    """The same, in libeddy's loop; and what it does for all else that asyncio's loop can."""

    loop = eddy.EventLoop
    run_alone = staticmethod(eddy.run)

    def test_one_sleep(self):
        """With nothing but streams, asyncio's selector is not asked at all; with a descriptor of others' it is."""
        async def main():
            loop = asyncio.get_running_loop()
            asked = []
            epoll = loop._selector._selector
            poll = lambda *limits: asked.append(limits) or epoll.poll(*limits)
            loop._selector._selector = mock.Mock(wraps=epoll, poll=poll)

            async def ping():
                writer.write(b"ping\n")
                self.assertEqual(await reader.readline(), b"ping\n")

            async def echo(reader, writer):
                async for line in reader:
                    writer.write(line)

            async with connected(eddy, echo) as (reader, writer, _, _):
                await ping()
                await asyncio.sleep(0.01)
                self.assertEqual(asked, [])
                ours, theirs = socket.socketpair()
                with ours, theirs:
                    came = loop.create_future()
                    loop.add_reader(ours, lambda: came.done() or came.set_result(ours.recv(9)))
                    await ping()
                    theirs.send(b"hello")
                    self.assertEqual(await came, b"hello")
                    await ping()
                    self.assertNotEqual(asked, [])
                    loop.remove_reader(ours)
                del asked[:]
                await ping()
                await asyncio.sleep(0.01)
                self.assertEqual(asked, [])
        self.run_(main)

    def test_timers_of_libeddys_while_others_are_watched(self):
        """A look-up that takes its time limit, say: here, a call of libeddy's own."""
        async def main():
            loop = asyncio.get_running_loop()
            called = loop.create_future()
            on_call = _library.ffi.callback("eddy_loop_cb", lambda *_: called.set_result(loop.time()))
            start = loop.time()
            _library.lib.eddy_loop_call_later(_loop.loop_of(loop), 50, on_call, _library.ffi.NULL)
            ours, theirs = socket.socketpair()
            with ours, theirs:
                loop.add_reader(ours, print)
                late = await called - start
                self.assertGreaterEqual(late, 0.049)
                self.assertLess(late, 10)
                loop.remove_reader(ours)
        self.run_(main)

    def test_threads_and_executors(self):
        async def main():
            loop = asyncio.get_running_loop()
            self.assertEqual(await asyncio.to_thread(lambda: 7), 7)
            woken = asyncio.Event()
            threading.Timer(0.05, loop.call_soon_threadsafe, (woken.set,)).start()
            await woken.wait()
        self.run_(main)

    def test_signals(self):
        async def main():
            came = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            await came.wait()
        self.run_(main)

    def test_control_c(self):
        async def main():
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            await asyncio.sleep(60)
        with self.assertRaises(KeyboardInterrupt):
            eddy.run(main())

    def test_child_processes(self):
        async def main():
            child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE,
                                                         stdout=asyncio.subprocess.PIPE)
            self.assertEqual(await child.communicate(b"hello"), (b"hello", None))
            self.assertEqual(child.returncode, 0)
        self.run_(main)

    def test_runs_again(self):
        loop = eddy.EventLoop()
        self.assertEqual([loop.run_until_complete(asyncio.sleep(0.001, n)) for n in range(3)], [0, 1, 2])
        loop.close()
        with self.assertRaises(RuntimeError):
            loop.run_forever()

    def test_asyncios_names_are_libeddys_here(self):
        async def main():
            async with connected(asyncio) as (_, writer, reader, peer):
                writer.write(b"line\n")
                self.assertEqual(await reader.readline(), b"line\n")
                self.assertIn("eddy_writer", repr(writer.transport))
                self.assertIn("eddy_writer", repr(peer.transport))
        self.run_(main)


class InUvloop(unittest.TestCase):
    def test_the_same_as_asyncio(self):
        try:
            import uvloop
        except ImportError:
            self.skipTest("no uvloop here")
        loop = uvloop.new_event_loop()
        try:
            results = loop.run_until_complete(asyncio.wait_for(end_too_early(eddy), 10))
        finally:
            loop.close()
        self.assertEqual(results, asyncio.run(end_too_early(asyncio)))
        gc.collect()


if __name__ == "__main__":
    unittest.main()
