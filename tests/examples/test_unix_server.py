"""unix_server, and the fate of its socket's file."""
# Shows U2 U4 U5 C3
import os
import socket

from harness import Program, equal, main, receive_all, refused, temporary_directory, test, unix


def serving(path):
    server = Program("unix_server", path)
    equal(server.line(), f"listening on {path}")
    return server


@test
def lines_in_capitals_with_their_numbers():
    with temporary_directory() as directory:
        path = f"{directory}/s"
        with serving(path), unix(path) as client, unix(path) as other:
            lines, others = client.makefile("rb"), other.makefile("rb")
            client.sendall(b"hello\n")
            equal(lines.readline(), b"1 HELLO\n")
            other.sendall(b"\xe9\x00x\n")
            equal(others.readline(), b"1 \xe9\x00X\n")
            client.sendall(b"again\n\n")
            equal(lines.readline() + lines.readline(), b"2 AGAIN\n3 \n")


@test
def a_client_that_has_shut_down_its_side_gets_all_answers():
    with temporary_directory() as directory:
        path = f"{directory}/s"
        with serving(path), unix(path) as client:
            client.sendall(b"a\nb\nlast")
            client.shutdown(socket.SHUT_WR)
            equal(receive_all(client), b"1 A\n2 B\n3 LAST")


@test
def the_longest_line_and_a_longer_one():
    with temporary_directory() as directory:
        path = f"{directory}/s"
        with serving(path) as server:
            with unix(path) as client:
                client.sendall(b"x" * 65536 + b"\n")
                equal(client.makefile("rb").readline(), b"1 " + b"X" * 65536 + b"\n")
            with unix(path) as client:
                client.sendall(b"x" * 65537 + b"\n")
                equal(receive_all(client), b"")
            assert server.running()


@test
def a_file_left_by_a_dead_server_is_replaced():
    with temporary_directory() as directory:
        path = f"{directory}/s"
        with serving(path):
            pass  # which kills it
        assert os.path.exists(path)
        with serving(path), unix(path) as client:
            client.sendall(b"x\n")
            equal(client.makefile("rb").readline(), b"1 X\n")


@test
def a_live_server_keeps_its_file():
    with temporary_directory() as directory:
        path = f"{directory}/s"
        with serving(path):
            line = refused("unix_server", path)
            assert path in line and "in use" in line, line
            with unix(path) as client:
                client.sendall(b"x\n")
                equal(client.makefile("rb").readline(), b"1 X\n")


@test
def a_file_that_is_no_socket_is_kept():
    with temporary_directory() as directory:
        path = f"{directory}/precious"
        with open(path, "w") as precious:
            precious.write("data")
        line = refused("unix_server", path)
        assert path in line and "in use" in line, line
        with open(path) as precious:
            equal(precious.read(), "data")


@test
def an_abstract_name_has_no_file():
    name = f"@eddy-test-{os.getpid()}"
    with serving(name), unix("\0" + name[1:]) as client:
        client.sendall(b"x\n")
        equal(client.makefile("rb").readline(), b"1 X\n")
        assert not os.path.exists(name)


@test
def paths_that_cannot_be():
    line = refused("unix_server", "/no/such/directory/s")
    assert "/no/such/directory/s" in line and "No such file" in line, line
    for path in ("", "/tmp/" + "x" * 200):
        assert refused("unix_server", path).startswith(f"unix_server: {path}: ")
    equal(refused("unix_server", status=2), "usage: unix_server PATH\n")


main()
