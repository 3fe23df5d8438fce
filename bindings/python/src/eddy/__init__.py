"""asyncio's streams on libeddy: the same names, the same arguments, the same exceptions.

    import eddy

    reader, writer = await eddy.open_connection("example.com", 80)
"""
from asyncio import IncompleteReadError, LimitOverrunError

from ._event_loop import EventLoop, run
from ._library import lib, text
from ._server import Server
from ._streams import (StreamReader, StreamReaderProtocol, StreamWriter, open_connection, open_unix_connection,
                       start_server, start_unix_server)

__all__ = ("EventLoop", "IncompleteReadError", "LimitOverrunError", "Server", "StreamReader", "StreamReaderProtocol",
           "StreamWriter", "open_connection", "open_unix_connection", "run", "start_server", "start_unix_server")
__version__ = text(lib.eddy_version())
