"""peer.py COMMAND...: runs COMMAND PORT, where a server on PORT does what the first line of each client says.

The words: say TEXT, end TEXT (and closes), reset TEXT (once a byte has told that it was read), echo.
"""
import socket
import struct
import subprocess
import sys
import threading


def serve(client):
    line = b""
    while not line.endswith(b"\n"):
        line += client.recv(1)
    word, _, text = line.decode().strip().partition(" ")
    client.sendall(text.encode().decode("unicode_escape").encode("latin-1"))
    if word == "end":
        return
    if word == "reset":
        client.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return
    while data := client.recv(65536):
        if word == "echo":
            client.sendall(data)


def serve_quietly(client):
    with client:
        try:
            serve(client)
        except OSError:
            pass  # what becomes of a connection is the test's affair


def accept(listener):
    while True:
        threading.Thread(target=serve_quietly, args=listener.accept()[:1], daemon=True).start()


with socket.create_server(("127.0.0.1", 0)) as listener:
    threading.Thread(target=accept, args=[listener], daemon=True).start()
    sys.exit(subprocess.run([*sys.argv[1:], str(listener.getsockname()[1])], timeout=60).returncode)
