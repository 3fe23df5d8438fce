"""http_server asked by Python's client, by raw sockets, and by curl where there is one."""
# Shows C3
import http.client
import shutil
import socket
import subprocess
import urllib.parse

from harness import DEADLINE, Program, equal, main, receive_all, refused, tcp, test


def serving():
    """The server, and the port that its first line tells."""
    server = Program("http_server", 0)
    url = server.line()
    parts = urllib.parse.urlsplit(url)
    equal(url, f"http://127.0.0.1:{parts.port}/")
    return server, parts.port


def ask(port, request):
    with tcp(port) as client:
        client.sendall(request)
        return receive_all(client)


@test
def a_greeting_for_pythons_client():
    server, port = serving()
    with server:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        client.request("GET", "/")
        here = "%s:%d" % client.sock.getsockname()
        answer = client.getresponse()
        body = answer.read()
        equal((answer.status, answer.getheader("Connection")), (200, "close"))
        equal(int(answer.getheader("Content-Length")), len(body))
        assert here.encode() in body, body


@test
def a_head_without_its_body():
    server, port = serving()
    with server:
        head, blank, body = ask(port, b"HEAD / HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
        equal((blank, body), (b"\r\n\r\n", b""))
        assert b"\r\nContent-Length: " in head, head


@test
def other_paths_methods_and_nonsense():
    server, port = serving()
    with server:
        for request, status in ((b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", b"404"), (b"PUT / HTTP/1.1\r\n\r\n", b"405"),
                                (b"nonsense\r\n\r\n", b"400"), (b"\r\n\r\n", b"400"), (b"GET /\n\n", b"400"),
                                (b"GET / HTTP/1.0\n\n", b"200"), (b"GET / HTTP/1.1\nA: b\n\n", b"200"),
                                (b"GET /" + b"p" * 2000 + b" HTTP/1.1\r\n\r\n", b"400"),
                                (b"GET / HTTP/1.1\r\nA: " + b"a" * 70000 + b"\r\n\r\n", b"431"),
                                (b"G\x00T / HTTP/1.1\r\n\r\n", b"400")):
            answer = ask(port, request)
            equal(answer.split()[1], status)
        assert server.running()


@test
def the_answer_survives_input_that_nobody_reads():
    server, port = serving()
    with server:
        answer = ask(port, b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000)
        equal(answer.partition(b"\r\n\r\n")[2], b"only GET and HEAD\n")


@test
def a_client_that_has_shut_down_its_side_is_answered():
    server, port = serving()
    with server, tcp(port) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client).startswith(b"HTTP/1.1 200 OK\r\n")


@test
def a_request_in_pieces_beside_others():
    server, port = serving()
    with server, tcp(port) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET / HTTP/1.0\r\nA: b\r\n\r":
            slow.sendall(bytes([byte]))
        for _ in range(100):
            assert ask(port, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        slow.sendall(b"\n")
        assert receive_all(slow).startswith(b"HTTP/1.1 200 OK\r\n")


@test
def clients_that_leave_early_do_no_harm():
    server, port = serving()
    with server:
        for start in (b"", b"GET / HT"):
            equal(ask_and_leave(port, start), b"")
        with tcp(port) as client:  # and one that resets
            client.sendall(b"GET")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        assert ask(port, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def ask_and_leave(port, start):
    with tcp(port) as client:
        client.sendall(start)
        client.shutdown(socket.SHUT_WR)
        return receive_all(client)


@test
def curl_agrees():
    curl = shutil.which("curl")
    if curl is None:
        print("      (not tried: no curl here)")
        return
    server, port = serving()
    with server:
        url = f"http://127.0.0.1:{port}/"
        arguments = [curl, "--silent", "--show-error", "--noproxy", "*", "--max-time", str(DEADLINE)]
        body = subprocess.run([*arguments, "--fail", url], capture_output=True, check=True).stdout
        assert body.startswith(b"Hello 127.0.0.1:"), body
        subprocess.run([*arguments, "--fail", "--head", url], stdout=subprocess.DEVNULL, check=True)
        code = subprocess.run([*arguments, "--output", "/dev/null", "--write-out", "%{http_code}", "--data-binary",
                               "@-", url], input=b"x" * 3000000, capture_output=True, check=True).stdout
        equal(code, b"405")


@test
def a_port_that_is_taken():
    server, port = serving()
    with server:
        line = refused("http_server", port)
        assert f"127.0.0.1:{port}" in line and "in use" in line, line


@test
def what_is_no_port():
    for arguments in (["x"], [""], ["-1"], ["65536"], ["80x"], ["1", "2"], ["1", "2", "3", "4"]):
        equal(refused("http_server", *arguments, status=2), "usage: http_server [PORT [CERTIFICATES KEY]]\n")


main()
