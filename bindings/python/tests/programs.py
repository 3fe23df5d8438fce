"""A program of other people's on eddy: redis-py's asyncio client, against a Redis server started for that.

Nothing of it is changed; asyncio.open_connection and its twin are eddy's, which is all that it takes of the streams.
"""
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import eddy

try:
    import redis.asyncio as redis
except ImportError:
    print("skipped: no redis-py here")
    sys.exit(77)
SERVER = shutil.which("redis-server")
if SERVER is None:
    print("skipped: no redis-server here")
    sys.exit(77)


class Redis(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = os.path.join(cls.folder.name, "redis")
        cls.server = subprocess.Popen([SERVER, "--port", "0", "--unixsocket", cls.path, "--save", "", "--dir",
                                       cls.folder.name], stdout=subprocess.DEVNULL)
        cls.theirs = asyncio.open_connection, asyncio.open_unix_connection
        asyncio.open_connection, asyncio.open_unix_connection = eddy.open_connection, eddy.open_unix_connection

    @classmethod
    def tearDownClass(cls):
        asyncio.open_connection, asyncio.open_unix_connection = cls.theirs
        cls.server.terminate()
        cls.server.wait()
        cls.folder.cleanup()

    async def asyncSetUp(self):
        self.client = redis.Redis(unix_socket_path=self.path)
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
        self.assertIsInstance(connection._reader, eddy.StreamReader)
        self.assertIn("eddy_writer", repr(connection._writer.transport))
        await self.client.connection_pool.release(connection)

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


if __name__ == "__main__":
    unittest.main()
