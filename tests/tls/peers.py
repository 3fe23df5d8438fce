"""What the tests of TLS against other people's programs share: certificates, and eddy's two ends as programs."""
import atexit
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "examples"))
from harness import DEADLINE, Program, Peer, command, equal, main, receive_all, tcp, test  # noqa: E402,F401

directory = tempfile.mkdtemp(prefix="eddy-tls-")
atexit.register(shutil.rmtree, directory, ignore_errors=True)
if subprocess.run(["sh", os.path.join(HERE, "certificates.sh"), directory]).returncode == 77:
    print("skipped: there is no openssl")
    sys.exit(77)


def path(name):
    return os.path.join(directory, name)


def server(name="tls_echo_server", certificate="server"):
    """An example that serves with a certificate: the program, and its port."""
    program = Program(name, path(certificate + ".pem"), path(certificate + ".key"), 0)
    words, _, port = program.line().rpartition(":")
    equal(words, "listening on 127.0.0.1")
    return program, int(port)


def has(tool):
    return shutil.which(tool) is not None


def openssl(*arguments, stdin=b"", deadline=DEADLINE):
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, timeout=deadline)
    return done.returncode, done.stdout, done.stderr
