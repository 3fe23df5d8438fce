"""poll_loop: the standard input, a connection and a timer in one poll(2), against echo_server and raw sockets."""
import os
import socket
import subprocess
import threading
import time

from harness import DEADLINE, Peer, Program, command, equal, main, receive_all, refused, run, test, unused_port


def echo_server():
    server = Program("echo_server", 0)
    return server, int(server.line().rpartition(":")[2])


def lines_without_ticks(out):
    return [line for line in out.splitlines(keepends=True) if line != b"tick\n"]


@test
def lines_are_echoed_and_the_end_of_input_ends_it():
    server, port = echo_server()
    with server:
        status, out, err = run("poll_loop", port, stdin=b"one\ntwo\nlast")
        equal((status, lines_without_ticks(out), err), (0, [b"echo: one\n", b"echo: two\n", b"echo: last"], b""))
        with open(os.devnull) as nothing:
            done = subprocess.run(command("poll_loop", port), stdin=nothing, capture_output=True, timeout=DEADLINE)
            equal((done.returncode, lines_without_ticks(done.stdout), done.stderr), (0, [], b""))


@test
def the_timer_ticks_while_the_input_is_silent_and_an_answer_does_not_wait_for_it():
    server, port = echo_server()
    with server, Program("poll_loop", port, stdin=subprocess.PIPE) as program:
        equal(program.line(), "tick")
        begin = time.monotonic()
        for number in range(20):
            program.process.stdin.write(b"%d\n" % number)
            while (line := program.line()) == "tick":
                pass
            equal(line, f"echo: {number}")
        assert time.monotonic() - begin < DEADLINE / 2, "each answer waited for a tick"
        equal(program.line(), "tick")
        program.process.stdin.close()
        program.process.stdin = None
        status, out, err = program.wait()
        equal((status, lines_without_ticks(out), err), (0, [], b""))


@test
def what_the_server_says_of_itself_is_printed_while_the_input_is_silent():
    def serve(client):
        client.sendall(b"unasked\n")
        receive_all(client)

    with Peer(serve) as peer, Program("poll_loop", peer.port, stdin=subprocess.PIPE) as program:
        equal(program.line(), "echo: unasked")


@test
def a_server_that_hangs_up_ends_it_though_the_input_is_open():
    with Peer(lambda client: client.sendall(b"bye\n")) as peer:
        with Program("poll_loop", peer.port, stdin=subprocess.PIPE) as program:
            equal(program.line(), "echo: bye")
            equal(program.process.wait(DEADLINE), 0)


@test
def a_slow_server_slows_the_input_down_and_all_arrives():
    go, received = threading.Event(), []

    def serve(client):
        go.wait(DEADLINE)
        received.append(receive_all(client))

    data = (b"x" * 999 + b"\n") * 20000
    with Peer(serve, receive_buffer=65536) as peer, Program("poll_loop", peer.port, stdin=subprocess.PIPE) as program:
        sent = 0
        os.set_blocking(program.process.stdin.fileno(), False)
        stuck_since = time.monotonic()
        while sent < len(data) and time.monotonic() - stuck_since < 0.5:
            taken = program.process.stdin.write(data[sent:])
            if taken:
                sent += taken
                stuck_since = time.monotonic()
            else:
                time.sleep(0.01)
        assert sent < len(data), "all was taken from the input, and lies in memory"
        go.set()
        os.set_blocking(program.process.stdin.fileno(), True)
        while sent < len(data):
            sent += program.process.stdin.write(data[sent:])
        program.process.stdin.close()
        program.process.stdin = None
        status, out, err = program.wait()
        equal((status, lines_without_ticks(out), err), (0, [], b""))
        assert received == [data]


@test
def a_connection_that_is_reset():
    def serve(client):
        client.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    with Peer(serve) as peer, Program("poll_loop", peer.port, stdin=subprocess.PIPE) as program:
        program.process.stdin.write(b"x\n")
        equal(program.process.wait(DEADLINE), 1)
        err = program.process.stderr.read()
        assert err.startswith(b"poll_loop: ") and err.count(b"\n") == 1, err


@test
def a_port_that_nobody_listens_on_and_what_is_no_port():
    port = unused_port()
    line = refused("poll_loop", port)
    assert f"127.0.0.1:{port}" in line and "refused" in line, line
    for arguments in ([], ["x"], ["0"], ["65536"], ["1", "2"]):
        equal(refused("poll_loop", *arguments, status=2), "usage: poll_loop PORT\n")


main()
