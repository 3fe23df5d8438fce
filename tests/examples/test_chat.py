"""chat: a terminal, or pipes, and a connection that talk with each other, against echo_server and raw sockets."""
import os
import pty
import subprocess
import threading
import time

from harness import DEADLINE, Peer, Program, command, equal, main, receive_all, refused, test, unused_port


def echo_server():
    server = Program("echo_server", 0)
    return server, int(server.line().rpartition(":")[2])


def chat(port, **streams):
    return subprocess.Popen(command("chat", "127.0.0.1", port), stderr=subprocess.PIPE, **streams)


@test
def what_is_said_is_answered_and_the_end_of_input_is_the_end():
    server, port = echo_server()
    with server, chat(port, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        equal(program.communicate(b"one\ntwo\nlast", DEADLINE), (b"one\ntwo\nlast", b""))
        equal(program.returncode, 0)


@test
def much_is_said_by_both_at_once():
    data, received = b"line\n" * 400000, []

    def serve(client):
        talker = threading.Thread(target=client.sendall, args=(data[::-1],))
        talker.start()
        received.append(receive_all(client))
        talker.join()

    with Peer(serve) as peer, chat(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        out, err = program.communicate(data, DEADLINE)
        equal((out == data[::-1], err, program.returncode), (True, b"", 0))
        equal(received == [data], True)


@test
def a_peer_that_hangs_up_ends_it_though_the_input_is_open():
    with Peer(lambda client: client.sendall(b"bye\n")) as peer:
        with chat(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
            equal(program.stdout.read(), b"bye\n")
            equal(program.wait(DEADLINE), 0)


@test
def an_output_that_nobody_reads_any_more_ends_it():
    def serve(client):
        try:
            while True:
                client.sendall(b"more\n")
        except OSError:
            pass

    with Peer(serve) as peer, chat(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        equal(program.stdout.read(5), b"more\n")
        program.stdout.close()
        program.wait(DEADLINE) # and not by a signal
        assert program.returncode >= 0, program.returncode


@test
def at_a_terminal_whose_settings_are_left_as_they_were():
    server, port = echo_server()
    ours, theirs = pty.openpty()
    before = os.get_blocking(theirs)
    with server, chat(port, stdin=theirs, stdout=theirs) as program:
        os.write(ours, b"hello\n")
        seen, end = b"", time.monotonic() + DEADLINE
        while seen.count(b"hello") < 2 and time.monotonic() < end: # the terminal's own echo, and the server's
            seen += os.read(ours, 1000)
        equal(seen.count(b"hello"), 2)
        os.write(ours, b"\x04")
        equal(program.wait(DEADLINE), 0)
    equal(os.get_blocking(theirs), before)


@test
def what_cannot_be_waited_for_and_nobody_to_talk_to():
    server, port = echo_server()
    with server, open(os.devnull, "rb") as nothing, chat(port, stdin=nothing, stdout=subprocess.PIPE) as program:
        _, err = program.communicate(timeout=DEADLINE)
        equal((program.returncode, err), (1, b"chat: only pipes and terminals can be waited for\n"))
    assert "refused" in refused("chat", "127.0.0.1", unused_port())
    for arguments in ([], ["x"], ["127.0.0.1", "0"], ["127.0.0.1", "65536"], ["a", "1", "2"]):
        equal(refused("chat", *arguments, status=2), "usage: chat HOST PORT\n")


main()
