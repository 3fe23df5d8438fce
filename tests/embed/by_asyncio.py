#!/usr/bin/env python3
"""by_asyncio.py <libeddy.so> <libecho.so>: the program under Python's asyncio."""

import asyncio
import ctypes
import os
import sys

MOST_ROUNDS = 50000
PATIENCE = 30 * int(os.environ.get("EDDY_TEST_SLOW", "1"))


class Guest:
    """An eddy loop in an asyncio loop: its descriptor is watched, and a timer is set for what is due next."""

    def __init__(self, eddy, host):
        self.eddy, self.host, self.loop = eddy, host, eddy.eddy_loop_new()
        self.timer, self.rounds = None, 0
        host.add_reader(eddy.eddy_loop_fd(self.loop), self.step)

    def step(self):
        self.rounds += 1
        self.eddy.eddy_loop_run_once(self.loop, 0)
        self.set_timer()

    def set_timer(self):
        if self.timer is not None:
            self.timer.cancel()
        due = self.eddy.eddy_loop_timeout(self.loop)
        self.timer = None if due < 0 else self.host.call_later(due / 1000, self.step)

    def free(self):
        self.host.remove_reader(self.eddy.eddy_loop_fd(self.loop))
        self.eddy.eddy_loop_free(self.loop)


async def main(eddy, program):
    guest = Guest(eddy, asyncio.get_running_loop())
    echo = program.echo_start(guest.loop)
    guest.set_timer()
    while not program.echo_over(echo):
        await asyncio.sleep(0.02)
        program.echo_poke(echo)
    print(program.echo_result(echo).decode())
    program.echo_end(echo)
    guest.free()
    return f"{guest.rounds} rounds" if guest.rounds > MOST_ROUNDS else 0


def libraries(eddy_path, program_path):
    eddy = ctypes.CDLL(eddy_path, mode=ctypes.RTLD_GLOBAL)
    program = ctypes.CDLL(program_path)
    eddy.eddy_loop_new.restype = ctypes.c_void_p
    for function in ("eddy_loop_free", "eddy_loop_fd", "eddy_loop_timeout"):
        getattr(eddy, function).argtypes = [ctypes.c_void_p]
    eddy.eddy_loop_run_once.argtypes = [ctypes.c_void_p, ctypes.c_int]
    program.echo_start.restype = ctypes.c_void_p
    program.echo_over.restype = ctypes.c_bool
    program.echo_result.restype = ctypes.c_char_p
    for function in ("echo_start", "echo_poke", "echo_over", "echo_result", "echo_end"):
        getattr(program, function).argtypes = [ctypes.c_void_p]
    return eddy, program


if __name__ == "__main__":
    sys.exit(asyncio.run(asyncio.wait_for(main(*libraries(*sys.argv[1:])), PATIENCE)))
