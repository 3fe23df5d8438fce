"""http_headers against Python's web server, against http_server, and against peers that are no web servers."""
# Shows S6 O13
import http.server
import socket
import threading

from harness import Peer, Program, equal, main, receive_all, refused, run, test, unused_port

USAGE = "usage: http_headers http[s]://HOST[:PORT][/PATH]\n"


def answering(answer, heads=None, wait=None):
    """A server that reads a request's head, gives this answer, and hangs up (or first waits for an event)."""
    def serve(client):
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(65536)
            if not more:
                break
            head += more
        if heads is not None:
            heads.append(head)
        client.sendall(answer)
        if wait is not None:
            wait.wait(30)
        client.shutdown(socket.SHUT_WR)
        receive_all(client)
    return serve


@test
def the_headers_of_pythons_web_server():
    class Handler(http.server.BaseHTTPRequestHandler):
        requests = []

        def do_HEAD(self):
            self.requests.append((self.command, self.path, self.request_version, self.headers["Host"]))
            self.send_response(200)
            self.send_header("X-Answer", "42")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"localhost:{server.server_port}"
    status, out, err = run("http_headers", f"http://{host}/path/page.html?q=1#part")
    server.shutdown()
    equal((status, err), (0, b""))
    lines = out.decode().splitlines()
    equal(lines[0], "HTTP header> HTTP/1.0 200 OK")
    assert "HTTP header> X-Answer: 42" in lines, lines
    assert all(line.startswith("HTTP header> ") and line == line.rstrip() for line in lines), lines
    equal(Handler.requests, [("HEAD", "/path/page.html?q=1", "HTTP/1.0", host)])


@test
def the_headers_of_our_own_web_server():
    with Program("http_server", 0) as server:
        status, out, err = run("http_headers", server.line())
        equal((status, err), (0, b""))
        equal(out.splitlines()[0], b"HTTP header> HTTP/1.1 200 OK")


@test
def the_request_is_what_a_server_expects():
    heads = []
    with Peer(answering(b"HTTP/1.0 200 OK\r\n\r\n", heads)) as peer:
        for rest in ("", "?q", "/a/b", "#c"):
            equal(run("http_headers", f"http://127.0.0.1:{peer.port}{rest}")[0], 0)
    host = f"\r\nHost: 127.0.0.1:{peer.port}\r\n\r\n".encode()
    equal(heads, [b"HEAD " + path + b" HTTP/1.0" + host for path in (b"/", b"/?q", b"/a/b", b"/")])


@test
def an_address_of_ipv6_in_brackets():
    try:
        heads = []
        peer = Peer(answering(b"HTTP/1.0 200 OK\r\n\r\n", heads), ("::1", 0), socket.AF_INET6)
    except OSError:
        print("      (not tried: no IPv6 here)")
        return
    with peer:
        equal(run("http_headers", f"http://[::1]:{peer.port}/x"), (0, b"HTTP header> HTTP/1.0 200 OK\n", b""))
        equal(heads, [f"HEAD /x HTTP/1.0\r\nHost: [::1]:{peer.port}\r\n\r\n".encode()])


@test
def the_blank_line_ends_it_though_the_server_stays():
    stay = threading.Event()
    with Peer(answering(b"HTTP/1.1 200 OK\r\nA: b  \r\n\r\nX: not a header\r\n", wait=stay)) as peer:
        equal(run("http_headers", f"http://127.0.0.1:{peer.port}/"),
              (0, b"HTTP header> HTTP/1.1 200 OK\nHTTP header> A: b\n", b""))
        stay.set()


@test
def the_end_of_the_stream_ends_it_too():
    with Peer(answering(b"HTTP/1.0 200 OK\nCut: off\xe9")) as peer:
        equal(run("http_headers", f"http://127.0.0.1:{peer.port}/"),
              (0, b"HTTP header> HTTP/1.0 200 OK\nHTTP header> Cut: off\xe9\n", b""))


@test
def a_header_line_in_pieces():
    def serve(client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"HTTP/1.0 200 OK\r\nSlow: yes\r\n\r\n":
            client.sendall(bytes([byte]))
        receive_all(client)
    with Peer(serve) as peer:
        equal(run("http_headers", f"http://127.0.0.1:{peer.port}/"),
              (0, b"HTTP header> HTTP/1.0 200 OK\nHTTP header> Slow: yes\n", b""))


@test
def a_server_that_says_nothing_or_too_much():
    with Peer(answering(b"")) as peer:
        refused("http_headers", f"http://127.0.0.1:{peer.port}/")
    with Peer(answering(b"x" * 200000)) as peer:
        refused("http_headers", f"http://127.0.0.1:{peer.port}/")


@test
def an_unknown_host():
    line = refused("http_headers", "http://no-such-host.invalid/")
    assert "no-such-host.invalid" in line, line


@test
def a_port_that_nobody_listens_on():
    port = unused_port()
    line = refused("http_headers", f"http://127.0.0.1:{port}/")
    assert f"127.0.0.1:{port}" in line and "refused" in line, line


@test
def what_is_no_url():
    for url in ("", "example.com", "ftp://example.com/", "https://", "http://", "http:///path", "http://:80/",
                "http://host:/",
                "http://host:0/", "http://host:65536/", "http://host:-1/", "http://host:+80/", "http://host:http/",
                "http://host:80x/", "http://[::1", "http://[::1]x/", "http://[]/", "http://[/]/", "http://user@host/",
                "http://host/a b", "http://host/\r\nEvil: yes", "http://h\xf6st/",
                "http://" + "h" * 256 + "/", "http://host/" + "p" * 3000):
        code, out, err = run("http_headers", url)
        equal((code, out), (2, b""))
        equal(err.decode(), USAGE)


@test
def arguments_missing_or_too_many():
    equal(refused("http_headers", status=2), USAGE)
    equal(refused("http_headers", "http://a/", "http://b/", status=2), USAGE)


main()
