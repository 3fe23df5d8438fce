"""The examples of examples-cpp: the same as those in C, by coroutines."""
import socket

from harness import Peer, Program, equal, main, receive_all, refused, run, tcp, test


def echo(port, data):
    with tcp(port) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return receive_all(client)


@test
def lines_come_back():
    server = Program("cpp_echo_server", 0)
    with server:
        port = int(server.line().rpartition(":")[2])
        equal(echo(port, b"a\n\nb"), b"a\n\nb")
        equal(echo(port, b""), b"")
        equal(echo(port, b"one\n" + b"x" * 5000 + b"\ntwo\n"), b"one\nline too long\ntwo\n")
        clients = [tcp(port) for _ in range(50)]
        for number, client in enumerate(clients):
            client.sendall(b"%d\n" % number)
        for number, client in reversed(list(enumerate(clients))):
            equal(client.recv(100), b"%d\n" % number)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            client.close()
        equal(echo(port, b"still there?\n"), b"still there?\n")
        line = refused("cpp_echo_server", port)
        assert f"127.0.0.1:{port}" in line and "in use" in line, line
    for arguments in (["x"], ["65536"], ["1", "2"]):
        equal(refused("cpp_echo_server", *arguments, status=2), "usage: echo_server [PORT]\n")


@test
def headers_are_printed():
    def serve(client):
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += client.recv(4096)
        equal(asked, b"HEAD /page HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        client.sendall(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n")
    with Peer(serve) as peer:
        equal(run("cpp_http_headers", "127.0.0.1", "/page", peer.port),
              (0, b"HTTP header> HTTP/1.0 200 OK\nHTTP header> A: b\n", b""))
    line = refused("cpp_http_headers", "no-such-host.invalid", "/")
    assert "no-such-host.invalid" in line, line


main()
