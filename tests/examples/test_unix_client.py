"""unix_client against unix_server, and against raw sockets that watch what it sends."""
import os
import socket
import threading

from harness import DEADLINE, Program, equal, main, receive_all, refused, run, temporary_directory, test


def talk(path, serve, *texts):
    """What unix_client prints, when serve(connection) is at the other end."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(DEADLINE)
        failures = []

        def accept():
            try:
                client, _ = listener.accept()
                with client:
                    client.settimeout(DEADLINE)
                    serve(client)
            except Exception as failure:
                failures.append(failure)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        result = run("unix_client", path, *texts)
        thread.join(DEADLINE)
        equal(failures, [])
        return result


@test
def our_own_server_answers():
    with temporary_directory() as directory:
        path = f"{directory}/s"
        with Program("unix_server", path) as server:
            equal(server.line(), f"listening on {path}")
            equal(run("unix_client", path, "hello there", "", "bye"), (0, b"1 HELLO THERE\n2 \n3 BYE\n", b""))
            equal(run("unix_client", path), (0, b"", b""))
            texts = ["x" * 1000] * 500
            equal(run("unix_client", path, *texts)[1].count(b"X" * 1000 + b"\n"), 500)


@test
def it_says_all_then_ends_its_side_then_listens():
    def serve(client):
        equal(receive_all(client), b"one\ntwo\n")  # to the end of the stream, before the first answer
        client.sendall(b"heard ")
        client.sendall(b"you\x00\xff")

    with temporary_directory() as directory:
        equal(talk(f"{directory}/s", serve, "one", "two"), (0, b"heard you\x00\xff", b""))


@test
def much_is_all_sent_before_the_end():
    texts = ["y" * 99999] * 16

    def serve(client):
        data = receive_all(client)
        client.sendall(b"%d" % len(data))

    with temporary_directory() as directory:
        equal(talk(f"{directory}/s", serve, *texts), (0, b"1600000", b""))


@test
def a_long_answer_is_printed_whole():
    answer = os.urandom(1 << 20)

    def serve(client):
        receive_all(client)
        client.sendall(answer)

    with temporary_directory() as directory:
        equal(talk(f"{directory}/s", serve), (0, answer, b""))


@test
def nobody_there():
    with temporary_directory() as directory:
        path = f"{directory}/s"
        assert path in refused("unix_client", path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)  # and never listens
            line = refused("unix_client", path)
            assert path in line and "refused" in line, line


@test
def paths_that_cannot_be():
    for path in ("", "/tmp/" + "x" * 200):
        assert refused("unix_client", path).startswith(f"unix_client: {path}: ")
    equal(refused("unix_client", status=2), "usage: unix_client PATH [TEXT...]\n")


main()
