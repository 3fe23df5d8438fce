"""Somebody's first program, with eddy from its wheel: a line sent to itself, over a server on any free port."""
import asyncio

import eddy


async def greet(reader, writer):
    writer.write(b"hello\n")
    writer.close()


async def main():
    server = await eddy.start_server(greet, "127.0.0.1", 0)
    reader, writer = await eddy.open_connection(*server.sockets[0].getsockname())
    assert await reader.readline() == b"hello\n"
    writer.close()
    server.close()


asyncio.run(main())
eddy.run(main())
print("hello, from asyncio's loop and from eddy's")
