"""echo_server and its clients: polite ones, greedy ones, and ones that do not listen."""
# Shows R60 R61 R64
import random
import socket
import threading
import time

from harness import SLOW, Program, equal, main, receive_all, refused, tcp, test


def serving():
    """The server, and the port that its first line tells."""
    server = Program("echo_server", 0)
    words, _, port = server.line().rpartition(":")
    equal(words, "listening on 127.0.0.1")
    return server, int(port)


def echo(port, data):
    """All that comes back for data, which is sent while the answer is read."""
    with tcp(port) as client:
        def send():
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        answer = receive_all(client)
        sender.join()
        return answer


@test
def lines_come_back_one_by_one():
    server, port = serving()
    with server, tcp(port) as client:
        lines = client.makefile("rb")
        for line in (b"hello\n", b"\n", b"a\rb\r\n", b"\x00\xff\n", b"x" * 4096 + b"\n"):
            client.sendall(line)
            equal(lines.readline(), line)


@test
def what_has_no_newline_comes_back_at_the_end():
    server, port = serving()
    with server:
        equal(echo(port, b"a\nb"), b"a\nb")
        equal(echo(port, b""), b"")


@test
def a_line_too_long_is_told_once_and_the_next_one_echoed():
    server, port = serving()
    with server:
        for size in (4097, 5000, 8192, 300000):
            equal(echo(port, b"one\n" + b"x" * size + b"\ntwo\n"), b"one\nline too long\ntwo\n")
        with tcp(port) as client:  # the tail comes later, when the answer has been read, and is no line of its own
            lines = client.makefile("rb")
            client.sendall(b"x" * 10000)
            equal(lines.readline(), b"line too long\n")
            client.sendall(b"tail\nnext\n")
            equal(lines.readline(), b"next\n")


@test
def much_in_odd_pieces_comes_back_whole():
    server, port = serving()
    with server:
        dice = random.Random(7)
        data = b"".join(bytes([65 + n % 26]) * dice.randrange(4096) + b"\n" for n in range(2000))
        equal(echo(port, data), data)


@test
def a_client_that_does_not_listen_is_not_read_from_and_loses_nothing():
    server, port = serving()
    with server, tcp(port) as client:
        line = b"y" * 1023 + b"\n"
        sent, stuck_since = 0, time.monotonic()
        client.setblocking(False)
        while time.monotonic() - stuck_since < 0.5 * SLOW:
            try:
                sent += client.send(line[sent % 1024:])
                stuck_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            assert sent < 100 << 20, "the server reads on and on"
        client.setblocking(True)
        client.settimeout(10 * SLOW)
        client.shutdown(socket.SHUT_WR)
        answer = receive_all(client)
        equal(len(answer), sent)
        assert answer == (line * (sent // 1024 + 1))[:sent]


@test
def clients_do_not_wait_for_each_other():
    server, port = serving()
    with server:
        clients = [tcp(port) for _ in range(50)]
        for number, client in enumerate(clients):
            client.sendall(b"%d\n" % number)
        for number, client in reversed(list(enumerate(clients))):
            equal(client.recv(100), b"%d\n" % number)
            client.close()
        equal(echo(port, b"still there?\n"), b"still there?\n")


@test
def a_client_that_resets_does_no_harm():
    server, port = serving()
    with server:
        for _ in range(20):
            with tcp(port) as client:
                client.sendall(b"z" * 1000 + b"\n")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        equal(echo(port, b"still there?\n"), b"still there?\n")


@test
def a_port_that_is_taken_and_what_is_no_port():
    server, port = serving()
    with server:
        line = refused("echo_server", port)
        assert f"127.0.0.1:{port}" in line and "in use" in line, line
    for arguments in (["x"], [""], ["-1"], ["65536"], ["1", "2"]):
        equal(refused("echo_server", *arguments, status=2), "usage: echo_server [PORT]\n")


main()
