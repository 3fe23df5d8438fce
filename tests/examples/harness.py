"""What the tests of the examples share: programs and peers that cannot hang, and a list of what passed.

    python3 tests/examples/test_http_headers.py DIRECTORY_OF_THE_PROGRAMS

Every wait has an end (EDDY_TEST_SLOW=10 puts it off). EDDY_TEST_WRAPPER is put before each program, for example
"valgrind -q --error-exitcode=99 --leak-check=full".
"""
import faulthandler
import os
import select
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SLOW = int(os.environ.get("EDDY_TEST_SLOW", "1"))
DEADLINE = 10 * SLOW
WRAPPER = shlex.split(os.environ.get("EDDY_TEST_WRAPPER", ""))

tests = []


def test(function):
    """Marks a function as a test; its name says what it shows."""
    tests.append(function)
    return function


def main():
    """Runs the tests of a file and ends the program."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DIRECTORY_OF_THE_PROGRAMS")
    failed = 0
    for function in tests:
        name = function.__name__.replace("_", " ")
        faulthandler.dump_traceback_later(10 * DEADLINE, exit=True)
        try:
            function()
            print(f"ok    {name}")
        except Exception:
            failed += 1
            print(f"FAIL  {name}\n{traceback.format_exc()}")
        sys.stdout.flush()
    print(f"{len(tests) - failed} of {len(tests)} passed")
    sys.stdout.flush()
    os._exit(failed != 0)  # whatever threads of peers still wait


def equal(actual, expected):
    assert actual == expected, f"{actual!r} is not {expected!r}"


def command(name, *arguments):
    return [*WRAPPER, os.path.join(sys.argv[1], name), *map(str, arguments)]


def run(name, *arguments, stdin=b""):
    """Runs a program to its end: its exit status, standard output and standard error."""
    patience = 6 * DEADLINE  # where no name server answers, an unknown host takes the resolver long
    done = subprocess.run(command(name, *arguments), input=stdin, capture_output=True, timeout=patience)
    return done.returncode, done.stdout, done.stderr


def refused(name, *arguments, status=1):
    """Runs a program that must end with this status, nothing on its output and one line on its standard error."""
    code, out, err = run(name, *arguments)
    equal((code, out), (status, b""))
    assert err.count(b"\n") == 1 and err.endswith(b"\n"), f"{err!r} is not one line"
    return err.decode()


class Program:
    """A program that runs beside the test, until the end of the `with` block."""

    def __init__(self, name, *arguments, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen(command(name, *arguments), stdin=stdin, bufsize=0,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pending = b""

    def line(self):
        """The next line of its output."""
        end = time.monotonic() + DEADLINE
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            assert ready, f"no line in time, only {self.pending!r}"
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, f"the output ended with {self.pending!r}, the errors are {self.process.stderr.read()!r}"
            self.pending += more
        line, _, self.pending = self.pending.partition(b"\n")
        return line.decode("latin-1")

    def wait(self):
        """Waits for its end: its exit status, the rest of its output, and its standard error."""
        out, err = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, self.pending + out, err

    def running(self):
        return self.process.poll() is None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def tcp(port, host="127.0.0.1"):
    """A client's connection."""
    return socket.create_connection((host, port), timeout=DEADLINE)


def unix(path):
    """A client's connection over a unix socket."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(DEADLINE)
    peer.connect(path)
    return peer


def receive_all(peer):
    """All that a socket gives, up to the end of the stream."""
    parts = []
    while part := peer.recv(65536):
        parts.append(part)
    return b"".join(parts)


def unused_port():
    """A port that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Peer:
    """A server of raw bytes in a thread: serve(connection) for each client, one after the other."""

    def __init__(self, serve, address=("127.0.0.1", 0), family=socket.AF_INET, receive_buffer=None):
        self.listener = socket.create_server(address, family=family)
        if receive_buffer is not None:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.port = self.listener.getsockname()[1]
        self.serve = serve
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(DEADLINE)
                try:
                    self.serve(client)
                except OSError as error:
                    print(f"      (the peer: {error})")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def temporary_directory():
    return tempfile.TemporaryDirectory(prefix="eddy-")
