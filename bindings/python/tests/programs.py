"""A program of other people's on eddy: redis-py's asyncio client, against a Redis server started for that.

Nothing of it is changed. In asyncio's loop asyncio.open_connection and its twin are eddy's, which is all that it takes
of the streams; on libeddy's own, not even that.
"""
import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import unittest
from unittest import mock

import eddy
from in_venv import lacking, skip

try:
    import redis.asyncio as redis
except ImportError:
    skip("there is no redis-py")
if shutil.which("redis-server") is None:
    lacking("redis-server")


def setUpModule():
    global port, path
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = os.path.join(folder.name, "redis")
    server = subprocess.Popen(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--unixsocket", path,
                               "--save", "", "--dir", folder.name], stdout=subprocess.DEVNULL)
    unittest.addModuleCleanup(server.wait)
    unittest.addModuleCleanup(server.terminate)


class InAsynciosLoop(unittest.IsolatedAsyncioTestCase):
    stream_reader = eddy.StreamReader

    @classmethod
    def setUpClass(cls):
        for name in "open_connection", "open_unix_connection":
            patch = mock.patch.object(asyncio, name, getattr(eddy, name))
            patch.start()
            cls.addClassCleanup(patch.stop)

    async def asyncSetUp(self):
        asyncio.get_running_loop().slow_callback_duration = 60
        self.client = redis.Redis(port=port)
        for _ in range(200):
            try:
                await self.client.ping()
                return
            except redis.ConnectionError:
                await asyncio.sleep(0.05)
        self.fail("redis-server does not answer")

    async def asyncTearDown(self):
        await self.client.aclose()

    async def test_it_is_eddy_that_they_use(self):
        connection = await self.client.connection_pool.get_connection()
        self.assertIs(type(connection._reader), self.stream_reader)
        self.assertIn("eddy_writer", repr(connection._writer.transport))
        await self.client.connection_pool.release(connection)

    async def test_unix_socket(self):
        async with redis.Redis(unix_socket_path=path) as client:
            await client.set("key", "value")
            self.assertEqual(await self.client.get("key"), b"value")

    async def test_values(self):
        for size in 0, 1, 1000, 100000, 5_000_000:
            await self.client.set("key", b"\r\n" * (size // 2) + b"x" * (size % 2))
            self.assertEqual(len(await self.client.get("key")), size)

    async def test_pipeline(self):
        async with self.client.pipeline(transaction=True) as pipe:
            for n in range(5000):
                pipe.set(f"key{n}", n)
            pipe.mget([f"key{n}" for n in range(5000)])
            results = await pipe.execute()
        self.assertEqual(results[-1], [b"%d" % n for n in range(5000)])

    async def test_at_the_same_time(self):
        await self.client.delete("counter")
        await asyncio.gather(*(self.client.incr("counter") for _ in range(90)))
        self.assertEqual(await self.client.get("counter"), b"90")

    async def test_subscription(self):
        async with self.client.pubsub() as subscription:
            await subscription.subscribe("channel")
            await self.client.publish("channel", "hello")
            seen = []
            async for message in subscription.listen():
                seen.append((message["type"], message["data"]))
                if len(seen) == 2:
                    break
        self.assertEqual(seen, [("subscribe", 1), ("message", b"hello")])

    async def test_timeout_and_blocking(self):
        waiting = asyncio.create_task(self.client.blpop("list", 5))
        await asyncio.sleep(0.05)
        await self.client.rpush("list", "item")
        self.assertEqual(await waiting, (b"list", b"item"))
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(self.client.blpop("list", 5), 0.05)
        self.assertTrue(await self.client.ping())


class OnItsOwn(InAsynciosLoop):
    stream_reader = asyncio.StreamReader

    @classmethod
    def setUpClass(cls):
        asyncio.set_event_loop_policy(Policy())
        cls.addClassCleanup(asyncio.set_event_loop_policy, None)


class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = eddy.EventLoop


if __name__ == "__main__":
    unittest.main()
