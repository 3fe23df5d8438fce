"""graceful_server and its clients: those that end in time, those that do not, and those that come too late."""
import os
import signal
import time

from harness import SLOW, Program, equal, main, receive_all, refused, run, tcp, test


def serving():
    """The server, and the port that its first line tells."""
    server = Program("graceful_server", 0)
    words, _, port = server.line().rpartition(":")
    equal(words, "listening on 127.0.0.1")
    return server, int(port)


def tell(server, number=signal.SIGTERM):
    os.kill(server.process.pid, number)


def closed_to(port):
    """Waits until nobody is let in any more."""
    end = time.monotonic() + 10 * SLOW
    while time.monotonic() < end:
        try:
            tcp(port).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass  # it came while the port was being closed
        time.sleep(0.01)
    raise AssertionError("the server still lets clients in")


def ends(server, status, out):
    equal(server.wait(), (status, out, b""))


def echoes(client, line):
    client.sendall(line)
    equal(client.makefile("rb").readline(), line)


@test
def without_clients_it_ends_at_once():
    for number in (signal.SIGTERM, signal.SIGINT):
        server, _ = serving()
        with server:
            tell(server, number)
            ends(server, 0, b"all clients have ended\n")


@test
def clients_finish_what_they_have_begun():
    server, port = serving()
    with server, tcp(port) as first, tcp(port) as second:
        echoes(first, b"one\n")
        echoes(second, b"two\n")
        tell(server)
        closed_to(port)
        echoes(first, b"still here\n")
        first.close()
        echoes(second, b"here too\n")
        assert server.running()
        second.close()
        ends(server, 0, b"all clients have ended\n")


@test
def who_does_not_end_in_time_is_cut_off():
    server, port = serving()
    with server, tcp(port) as client:
        echoes(client, b"hello\n")
        start = time.monotonic()
        tell(server)
        equal(receive_all(client), b"")
        assert time.monotonic() - start >= 5
        client.close()
        ends(server, 1, b"the grace was over; clients closed: 1, aborted: 0\n")


@test
def told_once_more_it_ends_now():
    server, port = serving()
    with server, tcp(port) as client:
        echoes(client, b"hello\n")
        tell(server)
        closed_to(port)
        echoes(client, b"still here\n")
        tell(server)
        equal(receive_all(client), b"")
        client.close()
        ends(server, 1, b"the grace was over; clients closed: 1, aborted: 0\n")


@test
def what_is_no_port():
    for arguments in (["x"], [""], ["-1"], ["65536"], ["1x"], ["1", "2"]):
        equal(refused("graceful_server", *arguments, status=2), "usage: graceful_server [PORT]\n")


@test
def a_port_that_is_taken():
    server, port = serving()
    with server:
        code, out, err = run("graceful_server", port)
        equal((code, out), (1, b""))
        assert f"127.0.0.1:{port}".encode() in err, err


main()
