"""embed_in_glib: an eddy server in GLib's main loop, beside a timer and a signal."""
import signal

from harness import Program, equal, main, run, tcp, test, unused_port


def serving():
    port = unused_port()
    program = Program("embed_in_glib", port)
    equal(program.line(), f"listening on 127.0.0.1:{port}")
    return program, port


@test
def lines_come_back_and_the_timer_of_the_host_counts_them():
    program, port = serving()
    with program, tcp(port) as one, tcp(port) as two:
        for client in (one, two):
            lines = client.makefile("rb")
            for line in (b"hello\n", b"x" * 10000 + b"\n", b"\n"):
                client.sendall(line)
                equal(lines.readline(), line)
        counted = 0
        while counted < 6:
            word, *rest = program.line().split(" ")
            equal(rest, ["lines", "so", "far"])
            assert int(word) > counted, "told again of no more lines"
            counted = int(word)
        equal(counted, 6)


@test
def control_c_ends_it_in_peace():
    program, port = serving()
    with program, tcp(port) as client:
        client.sendall(b"line\n")
        equal(client.recv(5), b"line\n")
        program.process.send_signal(signal.SIGINT)
        status, out, err = program.wait()
        equal((status, err), (0, b""))
        equal(out.splitlines()[-1], b"1 lines in all")


@test
def a_port_that_is_taken():
    program, port = serving()
    with program:
        status, out, err = run("embed_in_glib", port)
        equal((status, out), (0, b"0 lines in all\n"))
        assert err.startswith(b"embed_in_glib: ") and b"in use" in err and err.count(b"\n") == 1, err


main()
