"""asyncio's streams, on its own loop or on uvloop's, and eddy's in their place.

    python.py line|drain|bulk|sink [uvloop] [eddy [loop]]
"""
import asyncio
import resource
import sys

CHUNK = 65536


async def line(reader, writer):
    while data := await reader.readline():
        writer.write(data)


async def drain(reader, writer):
    while data := await reader.readline():
        writer.write(data)
        await writer.drain()


async def bulk(reader, writer):
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


async def sink(reader, writer):
    seen = 0
    while data := await reader.read(CHUNK):
        seen += len(data)
    writer.write(b"%d\n" % seen)


async def main(handler):
    async def on_client(reader, writer):
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        writer.close()

    server = await streams.start_server(on_client, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
if "uvloop" in sys.argv[2:]:
    import uvloop
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
streams = asyncio
if "eddy" in sys.argv[2:]:
    import eddy as streams
run = streams.run if "loop" in sys.argv[2:] else asyncio.run
run(main({"line": line, "drain": drain, "bulk": bulk, "sink": sink}[sys.argv[1]]))
