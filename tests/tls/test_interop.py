"""TLS against openssl, Python's ssl, smtplib, curl and nginx, in both roles.

    python3 tests/tls/test_interop.py DIRECTORY_OF_THE_PROGRAMS

eddy's server is examples-c/tls_echo_server and starttls, in C++ too; its client is http_headers.
"""
import os
import select
import smtplib
import socket
import ssl
import subprocess
import threading
import time

from peers import (DEADLINE, Peer, directory, equal, has, main, openssl, path, receive_all, server, tcp, test)
from harness import command

# In C; and in C++, where there is a compiler for it.
STARTTLS = ["starttls"] + [name for name in ["cpp_starttls"] if os.path.exists(command(name)[-1])]


def headers(url, trust="authority.pem"):
    """http_headers, for which a file is what the system trusts."""
    done = subprocess.run(command("http_headers", url), capture_output=True, timeout=2 * DEADLINE,
                          env={**os.environ, "SSL_CERT_FILE": path(trust), "SSL_CERT_DIR": directory + "/none"})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def context(trust="authority.pem"):
    return ssl.create_default_context(cafile=path(trust))


@test
def openssl_s_client_talks_to_our_server():
    program, port = server()
    with program:
        for version in ("-tls1_2", "-tls1_3"):
            client = subprocess.Popen(["openssl", "s_client", "-quiet", "-verify_return_error", version, "-CAfile",
                                       path("authority.pem"), "-verify_hostname", "localhost", "-connect",
                                       f"localhost:{port}"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            client.stdin.write(b"hello\nagain\n")
            client.stdin.flush()
            equal(client.stdout.readline() + client.stdout.readline(), b"hello\nagain\n")
            client.kill()
            client.communicate()
            assert program.line().startswith(f"a client speaks TLSv1.{version[-1]}, TLS_")


@test
def old_versions_are_refused():
    program, port = server()
    with program:
        code, out, err = openssl("s_client", "-tls1_1", "-cipher", "ALL@SECLEVEL=0", "-connect", f"localhost:{port}")
        assert code != 0 and b"alert" in err, err
        program.process.kill()
        _, out, err = program.wait()
        equal(out, b"")
        assert err.startswith(b"a client was turned away: TLS handshake failed: n"), err  # no version, or nothing


@test
def python_talks_to_our_server():
    program, port = server()
    with program:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            mine = context()
            mine.minimum_version = mine.maximum_version = version
            with mine.wrap_socket(tcp(port), server_hostname="localhost") as client:
                lines = client.makefile("rb")
                for line in (b"one\n", b"x" * 60000 + b"\n"):
                    client.sendall(line)
                    equal(lines.readline(), line)
                plain = client.unwrap()  # close_notify to and fro
                equal(plain.recv(1), b"")


@test
def python_pumps_through_our_server():
    program, port = server()
    with program, context().wrap_socket(tcp(port), server_hostname="localhost") as client:
        line = bytes(range(32, 127)) * 500 + b"\n"
        count = 200

        def send():
            for _ in range(count):
                client.sendall(line)
        threading.Thread(target=send, daemon=True).start()
        lines = client.makefile("rb")
        for _ in range(count):
            equal(lines.readline(), line)


@test
def a_client_that_cuts_the_connection_short_does_no_harm():
    program, port = server()
    with program:
        for _ in range(3):
            client = context().wrap_socket(tcp(port), server_hostname="localhost")
            client.sendall(b"half a li")
            client.shutdown(socket.SHUT_WR)  # without close_notify
            client.close()
        with context().wrap_socket(tcp(port), server_hostname="localhost") as client:
            client.sendall(b"still here\n")
            equal(client.recv(100), b"still here\n")


@test
def the_server_says_why_a_client_was_turned_away():
    program, port = server()
    with program:
        with tcp(port) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = receive_all(client)
            equal(answer[:1], b"\x15")  # an alert
        try:
            context("stranger.pem").wrap_socket(tcp(port), server_hostname="localhost")
            raise AssertionError("a stranger was believed")
        except ssl.SSLCertVerificationError:
            pass
        time.sleep(0.1)
        program.process.kill()
        _, out, err = program.wait()
        assert b"a client was turned away: TLS handshake failed: what the peer sent is no TLS handshake\n" in err, err
        assert b'the peer refused it, alert "unknown ca"\n' in err, err
        equal(out, b"")


class WebServer(Peer):
    """A server of Python's ssl, which answers one request."""

    def __init__(self, certificate, version=None, alpn=None, goodbye=True):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path(certificate + ".pem"), path(certificate + ".key"))
        if version:
            self.context.minimum_version = self.context.maximum_version = version
        self.asked = []

        def serve(client):
            try:
                with self.context.wrap_socket(client, server_side=True) as secure:
                    self.asked.append(secure.recv(65536))
                    secure.sendall(b"HTTP/1.0 200 OK\r\nX: " + secure.version().encode() + b"\r\n\r\n")
                    if goodbye:
                        secure.unwrap()
            except ssl.SSLError:
                self.asked.append(None)
        super().__init__(serve)


@test
def our_client_talks_to_python():
    for version, word in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with WebServer("server", version) as web:
            equal(headers(f"https://localhost:{web.port}/x"),
                  (0, f"HTTP header> HTTP/1.0 200 OK\nHTTP header> X: {word}\n", ""))
            equal(web.asked[:1], [f"HEAD /x HTTP/1.0\r\nHost: localhost:{web.port}\r\n\r\n".encode()])


@test
def our_client_verifies_and_says_nothing_before():
    for certificate, words in (
            ("unknown", "was issued by an authority that is not trusted"),
            ("expired", "has expired"),
            ("other", "is not for localhost, but for other.example"),
            ("whole", "is an authority's, not a server's (CA:TRUE); make one with -addext "
                      "basicConstraints=critical,CA:FALSE")):
        with WebServer(certificate) as web:
            code, out, err = headers(f"https://localhost:{web.port}/")
            equal((code, out), (1, ""))
            equal(err, f"http_headers: TLS handshake failed: the peer's certificate {words}\n")
            end = time.monotonic() + DEADLINE
            while not web.asked and time.monotonic() < end:
                time.sleep(0.01)
            assert web.asked in ([None], [b""]), web.asked


@test
def addresses_are_verified_too():
    with WebServer("server") as web:
        equal(headers(f"https://127.0.0.1:{web.port}/")[0], 0)
    with WebServer("second") as web:
        code, _, err = headers(f"https://127.0.0.1:{web.port}/")
        equal(code, 1)
        assert "is not for 127.0.0.1, but for second.test" in err, err


@test
def nobody_to_trust_is_an_error():
    done = subprocess.run(command("http_headers", "https://localhost:1/"), capture_output=True, timeout=DEADLINE,
                          env={**os.environ, "SSL_CERT_FILE": path("none"), "SSL_CERT_DIR": path("none")})
    equal(done.returncode, 1)
    assert b"nobody to trust" in done.stderr, done.stderr


@test
def our_client_talks_to_openssl_s_server():
    for version in ("-tls1_2", "-tls1_3"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        web = subprocess.Popen(["openssl", "s_server", version, "-accept", f"127.0.0.1:{port}", "-cert",
                                path("server.pem"), "-key", path("server.key")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            web.stdin.write(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n")
            web.stdin.flush()
            for _ in range(100):
                code, out, err = headers(f"https://localhost:{port}/")
                if "refused" not in err:
                    break
                time.sleep(0.05)
            equal((code, out, err), (0, "HTTP header> HTTP/1.0 200 OK\nHTTP header> X: y\n", ""))
        finally:
            web.kill()
            web.communicate()


@test
def smtplib_starts_tls():
    for name in STARTTLS:
        program, port = server(name)
        with program:
            client = smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE)
            code, text = client.ehlo()
            equal((code, b"STARTTLS" in text), (250, True))
            equal(client.docmd("MAIL")[0], 530)
            client._host = "localhost"
            equal(client.starttls(context=context())[0], 220)
            equal(client.ehlo()[1], b"now we are alone")
            equal(client.docmd("MAIL"), (250, b"a secret, well kept"))
            equal(client.quit()[0], 221)


@test
def what_is_injected_before_tls_is_not_answered_in_it():
    for name in STARTTLS:
        program, port = server(name)
        with program, tcp(port) as client:
            equal(client.recv(100), b"220 eddy\r\n")
            client.sendall(b"STARTTLS\r\nMAIL INJECTED\r\n")
            equal(receive_all(client), b"220 go ahead\r\n")


@test
def curl_and_nginx():
    if has("curl"):
        with WebServerOfOurs() as port:
            for version in ("--tls-max=1.2", "--tlsv1.3"):
                done = subprocess.run(["curl", "-sS", "--noproxy", "*", *version.split("="), "--cacert",
                                       path("authority.pem"), f"https://localhost:{port}/"],
                                      capture_output=True, timeout=DEADLINE)
                equal(done.returncode, 0)
                assert b"this is eddy" in done.stdout, done
    else:
        print("      no curl")
    if not has("nginx"):
        print("      no nginx")
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open(path("nginx.conf"), "w") as file:
        file.write(f"""daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{}} http {{ access_log off;
    client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {path('server.pem')};
              ssl_certificate_key {path('server.key')}; location / {{ return 204; }} }} }}""")
    nginx = subprocess.Popen(["nginx", "-e", path("error.log"), "-c", path("nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            code, out, err = headers(f"https://localhost:{port}/")
            if code == 0 or "refused" not in err:
                break
            time.sleep(0.05)
        equal((code, err), (0, ""))
        assert "HTTP/1.1 204" in out and "nginx" in out, out
    finally:
        nginx.terminate()
        nginx.wait()


class WebServerOfOurs:
    """http_server with https: its port."""

    def __enter__(self):
        self.process = subprocess.Popen(command("http_server", 0, path("server.pem"), path("server.key")),
                                        stdout=subprocess.PIPE)
        line = self.process.stdout.readline().decode()
        return int(line.rstrip("/\n").rpartition(":")[2])

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


main()
