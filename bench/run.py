#!/usr/bin/env python3
"""Eddy against its peers: see README.md for the method.

    run.py                              everything: build/bench/results.json, results.md, and bench/chart.svg
    run.py --quick                      rows A64, B16, C1 of a few peers, and eddy's counts
    run.py --rows A64,D --rounds 24     some rows only, with more rounds; also --peers eddy,libuv
    run.py --parts counts,memory        some parts only: of rows, counts, memory, others
    run.py --counts                     eddy's own counts, as JSON
    run.py --counts --gate FILE         the same, compared with what is expected; ends with 1 if it grew
    run.py --counts --write FILE        the same, as what is expected from now on

It builds nothing: make bench does.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import random
import re
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import chart

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
VENV = ROOT / "build" / "venv" / "bin" / "python"
PYTHON = [str(VENV if VENV.exists() else sys.executable), str(ROOT / "bench" / "servers" / "python.py")]
SERVER_CPU, LOAD_CPU = 0, 1

# ---- what is compared ----------------------------------------------------------------------------------------

# The program; its options; what it does in place of mode "line".
PEERS = {
    "raw": (["raw"], [], "line"),
    "eddy": (["eddy"], [], "line"),
    "eddy-drain": (["eddy"], [], "drain"),
    "eddy-busy": (["eddy"], ["busy"], "line"),
    "eddy-cpp": (["eddy-cpp"], [], "line"),
    "eddy-cpp-drain": (["eddy-cpp"], [], "drain"),
    "eddy-cpp-own": (["eddy-cpp"], ["own"], "line"),
    "libuv": (["libuv"], [], "line"),
    "libuv-try": (["libuv"], ["try"], "line"),
    "libuv-batch": (["libuv"], ["batch"], "line"),
    "libevent": (["libevent"], [], "line"),
    "gio": (["gio"], [], "line"),
    "asio": (["asio"], [], "line"),
    "tokio": (["tokio"], [], "line"),
    "asyncio": (PYTHON, [], "line"),
    "uvloop": (PYTHON, ["uvloop"], "line"),
    "python-eddy": (PYTHON, ["eddy"], "line"),
    "python-eddy-loop": (PYTHON, ["eddy", "loop"], "line"),
    "python-eddy-uvloop": (PYTHON, ["eddy", "uvloop"], "line"),
}
ONLY = {"eddy-drain": {"A64", "B16"}, "eddy-busy": {"A1"}, "eddy-cpp": {"A64", "B16", "D"},
        "eddy-cpp-drain": {"A64", "B16"}, "eddy-cpp-own": {"A64", "B16"}}
LINES_ONLY = {"libuv-batch"}

# The server's mode, and what the load does.
ROWS = {
    "A1": ("line", ["line", "connections=1"]),
    "A64": ("line", ["line", "connections=64"]),
    "A1000": ("line", ["line", "connections=1000"]),
    "B16": ("line", ["line", "connections=64", "depth=16"]),
    "B64": ("line", ["line", "connections=64", "depth=64"]),
    "C1": ("bulk", ["bulk", "connections=1"]),
    "C16": ("bulk", ["bulk", "connections=16"]),
    "S1": ("sink", ["sink"]),
    "D": ("line", ["connect", "connections=64"]),
}
QUICK = {"rows": ["A64", "B16", "C1"], "peers": ["raw", "eddy", "libuv-try", "libevent"]}

# Eddy's goals: CPU per request, times raw's; and at most so many times a peer's.
GOALS = {"A1": 1.03, "A64": 1.02, "A1000": 1.03, "B16": 1.05, "B64": 1.15, "C1": 1.03, "C16": 1.05, "S1": 1.02,
         "D": 1.03}
DRAIN_GOALS = {"A64": 1.03, "B16": 1.08}
PEER_GOALS = [
    ("A1", "libuv", 0.97), ("A64", "libuv", 0.90), ("A64", "libevent", 0.65), ("A1000", "libuv", 0.90),
    ("B16", "libuv", 1 / 14), ("B16", "tokio", 1 / 14), ("B16", "libevent", 1 / 1.4), ("B16", "libuv-batch", 1.0),
    ("B64", "libuv", 1 / 45), ("B64", "libevent", 1 / 1.5), ("B64", "libuv-batch", 1.0),
    ("C1", "libuv", 1 / 1.4), ("C16", "libuv", 1 / 2), ("S1", "asyncio", 1 / 3.5), ("S1", "uvloop", 1 / 3.5),
    ("D", "libuv", 1.03),
]

# ---- processes -----------------------------------------------------------------------------------------------

started = time.monotonic()


def say(text):
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    print(f"[{minutes:2}:{seconds:02}] {text}", file=sys.stderr, flush=True)


def placed(*cpus, urgent=True):
    """For Popen: onto these processors, and ahead of whatever else runs there, if we may."""
    def place():
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cpus)
        if urgent:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return place


class Server:
    """A peer that serves, from entering the block to leaving it."""

    def __init__(self, peer, mode, *options, wrap=(), cpus=(SERVER_CPU,), urgent=True, **environment):
        program, own, line = PEERS[peer]
        if program is not PYTHON:
            program = [str(BUILD / program[0])]
        self.command = [*wrap, *program, line if mode == "line" else mode, *own, *options]
        self.environment = {**os.environ, **environment}
        self.place = placed(*cpus, urgent=urgent)

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        env=self.environment, preexec_fn=self.place)
        self.pid = self.process.pid
        if not select.select([self.process.stdout], [], [], 60)[0]:
            self.__exit__()
            raise RuntimeError(f"{self.command} does not start")
        first = self.process.stdout.readline()
        if not first:
            raise RuntimeError(f"{self.command} ends with {self.process.wait()}")
        self.port = int(first)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def load_command(self, *arguments):
        return [str(BUILD / "load"), str(self.port), *map(str, arguments), f"pid={self.pid}"]

    def load(self, *arguments, before=(), cpu=LOAD_CPU):
        done = subprocess.run([*before, *self.load_command(*arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, preexec_fn=placed(cpu), timeout=700)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(self.command)}: {done.stderr.strip()}")
        result = json.loads(done.stdout)
        result["cpu_ns"] = result["server_ns"] / max(result["requests"], 1)
        result["rate"] = result["requests"] / result["seconds"]
        return result

    def settle(self):
        """Until nothing more happens: the ends of connections reach the server after the load is gone."""
        spent = -1
        while spent != (spent := pathlib.Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]):
            time.sleep(0.05)


def available():
    """The peers that have been built."""
    def can(peer):
        program = PEERS[peer][0]
        if program is PYTHON:
            imports = "; ".join(f"import {module}" for module in PEERS[peer][1] if module != "loop")
            return subprocess.run([PYTHON[0], "-c", imports], stderr=subprocess.DEVNULL).returncode == 0
        if peer == "eddy-busy":
            return "eddy_loop_set_busy_poll" in (ROOT / "include" / "eddy.h").read_text()
        return (BUILD / program[0]).exists()
    return [peer for peer in PEERS if can(peer)]


# ---- CPU and throughput --------------------------------------------------------------------------------------

def quartiles(values):
    """[first quartile, median, third]."""
    if len(values) < 2:
        return [values[0]] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def measure(row, peers, rounds, seconds=0.25):
    """Each short run of a peer between two of raw, and divided by their mean: the machine drifts, the quotient
    does not. Raw's own line is each of its runs against its neighbours: the noise."""
    mode, load = ROWS[row]
    peers = [peer for peer in peers if peer != "raw"]
    runs = {peer: [] for peer in ["raw", *peers]}
    quotients = {peer: [] for peer in peers}
    with contextlib.ExitStack() as stack:
        servers = {peer: stack.enter_context(Server(peer, mode)) for peer in runs}

        def run(peer):
            servers[peer].settle()
            runs[peer].append(servers[peer].load(*load, f"seconds={seconds}"))
            return runs[peer][-1]

        before = run("raw")
        for _ in range(rounds):
            random.shuffle(peers)
            for peer in list(peers):
                try:
                    own, after = run(peer), run("raw")
                except RuntimeError as error:
                    say(f"{row}: without {peer}: {error}")
                    peers.remove(peer)
                    continue
                quotients[peer].append({key: 2 * own[key] / (before[key] + after[key]) for key in ("cpu_ns", "rate")})
                before = after
    raw = runs["raw"]
    quotients["raw"] = [{key: 2 * b[key] / (a[key] + c[key]) for key in ("cpu_ns", "rate")}
                        for a, b, c in zip(raw, raw[1:], raw[2:])]
    return {
        peer: {
            "cpu": quartiles([q["cpu_ns"] for q in quotients[peer]]),
            "rate": quartiles([q["rate"] for q in quotients[peer]]),
            "cpu_ns": statistics.median(r["cpu_ns"] for r in runs[peer]),
            "per_second": statistics.median(r["rate"] for r in runs[peer]),
            "rounds": len(quotients[peer]),
        }
        for peer in runs if peer in quotients and quotients[peer]
    }


def goal_of(row, peer):
    return {"eddy": GOALS, "eddy-drain": DRAIN_GOALS}.get(peer, {}).get(row)


def measure_row(row, peers, rounds, again):
    peers = [peer for peer in peers if row in ONLY.get(peer, {row})]
    if ROWS[row][0] != "line":
        peers = [peer for peer in peers if peer not in LINES_ONLY]
    results = measure(row, peers, rounds)
    for peer in ("eddy", "eddy-drain"):
        goal = goal_of(row, peer)
        if again and peer in results and results[peer]["cpu"][0] <= goal <= results[peer]["cpu"][2]:
            say(f"{row}: {peer} is undecided; 24 rounds of it")
            results[peer] = measure(row, [peer], 24)[peer]
    say(f"{row:6}" + "  ".join(f"{peer} {show(r['cpu'])}" for peer, r in results.items()))
    return results


def show(three):
    low, middle, high = three
    return f"{middle:.2f} ({low:.2f}-{high:.2f})" if middle < 9.95 else f"{middle:.1f} ({low:.1f}-{high:.1f})"


# ---- counts --------------------------------------------------------------------------------------------------

SLOW = {"gio", "asyncio", "uvloop", "python-eddy", "python-eddy-loop", "python-eddy-uvloop"}
POLLS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll")
CALLS = ("read", "write", "readv", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg", "accept", "accept4", "close",
         "shutdown", "epoll_ctl", "setsockopt", "getsockopt", "getsockname", "getpeername", "ioctl", "fcntl", "mmap",
         "munmap", "madvise", "brk", "futex", *POLLS)


def counted_load(row, count):
    return [*ROWS[row][1], f"count={count}"]


def two_lengths(peer, row, times=1):
    """So many requests, and so many more: the difference leaves out starting, connecting and ending."""
    base = (3000 if peer in SLOW else 20000) * times
    return (base // 10, base) if row == "D" else (base, 3 * base)


def instructions(peer, row):
    """User instructions per request."""
    if peer == "gio" and row == "B16":
        return None # not in our lifetime
    totals = []
    short, long = two_lengths(peer, row)
    for count in (short, long):
        with tempfile.TemporaryDirectory() as directory:
            out = pathlib.Path(directory) / "callgrind"
            wrap = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
            with Server(peer, ROWS[row][0], wrap=wrap, urgent=False) as server:
                server.load(*counted_load(row, count))
                server.settle()
            totals.append(int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M)[1]))
    return (totals[1] - totals[0]) / (long - short)


def heap_calls(peer, row):
    """Allocations, reallocations and frees per request."""
    short, long = two_lengths(peer, row, times=1 if row == "D" else 4)
    readings = []
    with tempfile.NamedTemporaryFile() as file:
        with Server(peer, ROWS[row][0], LD_PRELOAD=str(BUILD / "heap.so"), HEAP_COUNTS=file.name) as server:
            for count in (long, short, long): # the first one is for what is made once and kept
                server.load(*counted_load(row, count))
                server.settle()
                readings.append(struct.unpack("4Q", pathlib.Path(file.name).read_bytes()))
    made, grown, freed, size = ((c - b - (b - a)) / (long - short) for a, b, c in zip(*readings))
    return {"allocated": made, "reallocated": grown, "freed": freed, "bytes": size}


def system_calls(peer, row):
    """By name, per request: by the kernel's own tracepoints, or else by strace, under which polls are fewer."""
    if shutil.which("perf"):
        counts = perf_counts(peer, row)
        if counts:
            return counts
    return strace_counts(peer, row) if shutil.which("strace") else None


def besides_polls(calls):
    """How many polls there are depends on how busy the server is kept: on the machine's mood."""
    return calls["all"] - sum(calls.get(name, 0) for name in POLLS)


def perf_counts(peer, row):
    short, long = two_lengths(peer, row)
    events = ",".join(["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in known_calls())])
    readings = []
    with Server(peer, ROWS[row][0]) as server:
        server.load(*counted_load(row, short)) # for what happens only once
        for count in (short, long):
            with tempfile.NamedTemporaryFile() as file:
                perf = ["perf", "stat", "-x", ",", "-e", events, "-p", str(server.pid), "-o", file.name, "--"]
                try:
                    server.load(*counted_load(row, count), before=perf)
                except RuntimeError:
                    return None # not allowed here
                server.settle()
                fields = [line.split(",") for line in pathlib.Path(file.name).read_text().splitlines()]
            readings.append({f[2].rpartition("sys_enter")[2].lstrip("_"): int(f[0])
                             for f in fields if len(f) > 2 and f[0].isdigit()})
    each = {name or "all": (readings[1][name] - readings[0].get(name, 0)) / (long - short) for name in readings[1]}
    return {name: n for name, n in each.items() if name == "all" or n > 0.0005} if each else None


def known_calls():
    for tracing in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        if os.access(f"{tracing}/events/syscalls", os.R_OK):
            return [name for name in CALLS if os.path.exists(f"{tracing}/events/syscalls/sys_enter_{name}")]
    return CALLS


def strace_counts(peer, row):
    short, long = two_lengths(peer, row)
    totals = []
    for count in (short, long):
        with tempfile.NamedTemporaryFile() as file, Server(peer, ROWS[row][0], urgent=False) as server:
            strace = subprocess.Popen(["strace", "-c", "-f", "-p", str(server.pid), "-o", file.name],
                                      stderr=subprocess.PIPE, text=True)
            if "attached" not in strace.stderr.readline():
                return None
            server.load(*counted_load(row, count))
            server.settle()
            strace.send_signal(signal.SIGINT)
            strace.wait()
            lines = [line.split() for line in pathlib.Path(file.name).read_text().splitlines()]
        totals.append({line[-1]: int(line[3]) for line in lines if len(line) > 4 and line[3].isdigit()})
    each = {name: (totals[1][name] - totals[0].get(name, 0)) / (long - short) for name in totals[1] if name != "total"}
    return {"all": sum(each.values()), **{name: n for name, n in each.items() if n > 0.0005}}


def fed_instructions():
    """Per line, through a reader that is fed by hand."""
    totals = []
    for lines in (20000, 120000):
        with tempfile.TemporaryDirectory() as directory:
            out = pathlib.Path(directory) / "callgrind"
            subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", str(BUILD / "feed"),
                            str(lines)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            totals.append(int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M)[1]))
    return (totals[1] - totals[0]) / 100000


def counts_of(peer, row):
    def attempt(count):
        try:
            return count(peer, row)
        except (RuntimeError, TypeError, OSError, subprocess.SubprocessError) as error:
            say(f"{row}: {count.__name__} of {peer}: {error}")
            return None
    return {
        "instructions": attempt(instructions) if row != "D" and shutil.which("valgrind") else None,
        "heap": attempt(heap_calls),
        "system_calls": attempt(system_calls),
    }


def count_all(peers):
    results = {}
    for row in ("A64", "B16", "D"):
        results[row] = {}
        for peer in peers:
            if peer == "eddy-busy" or row not in ONLY.get(peer, {row}):
                continue
            results[row][peer] = c = counts_of(peer, row)
            say(f"{row}: {peer}: " + ", ".join([
                "no instructions counted" if c["instructions"] is None else f"{c['instructions']:.0f} instructions",
                f"{c['heap']['allocated']:.2f} allocations" if c["heap"] else "no heap calls counted",
                f"{c['system_calls']['all']:.3f} system calls" if c["system_calls"] else "no system calls counted"]))
    return results


# ---- the gate ------------------------------------------------------------------------------------------------

def own_counts():
    """Eddy's, as they are gated."""
    result = {}
    for row, peer in (("A64", "eddy"), ("A64", "eddy-drain"), ("B16", "eddy"), ("B16", "eddy-drain")):
        counts = counts_of(peer, row)
        calls = counts["system_calls"]
        heap = counts["heap"]
        result[row + peer.removeprefix("eddy")] = {
            "instructions": counts["instructions"] and round(counts["instructions"], 1),
            "heap calls": heap and max(0.0, round(sum(heap[key] for key in ("allocated", "reallocated", "freed")), 3)),
            "system calls": calls and round(besides_polls(calls), 3),
        }
    result["fed by hand"] = {"instructions": round(fed_instructions(), 1)} if shutil.which("valgrind") else {}
    return result


def toolchain():
    """What decides how many instructions the same source becomes, besides the source."""
    rustc = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True).stdout.split()
    return " ".join([*rustc[:2], *platform.libc_ver(), platform.machine()])


def grown(now, expected):
    """What has grown beyond its tolerance, in words. Another compiler is given more of that."""
    made_with = expected.pop("made with", toolchain())
    tolerated = 0.03 if made_with == toolchain() else 0.15
    if made_with != toolchain():
        say(f"counted with {toolchain()}, where the measure was made with {made_with}")
    where = {"A64": "a line of 64 connections with one in flight each", "B16": "a line of 64 connections with 16 in"
             " flight each", "fed by hand": "a line through a reader that is fed by hand"}
    for row, limits in expected.items():
        for what, old in limits.items():
            new = now.get(row, {}).get(what)
            if old is None or new is None:
                say(f"{row}: {what}: not counted here")
                continue
            tolerance = {"instructions": tolerated * old, "heap calls": 0.005, "system calls": 0.02}[what]
            words = where[row.removesuffix("-drain")] + (", with drain" if row.endswith("-drain") else "")
            if new > old + tolerance:
                yield f"{row}: {words}, costs {new:g} {what}; it was {old:g}, and {old + tolerance:g} is tolerated"
            elif new < old - tolerance:
                say(f"{row}: {what} fell from {old:g} to {new:g}: --write makes that the new measure")


def gate(arguments):
    now = own_counts()
    print(json.dumps(now, indent=4))
    if arguments.write:
        written = {"made with": toolchain(), **now}
        pathlib.Path(arguments.write).write_text(json.dumps(written, indent=4) + "\n")
    if not arguments.gate:
        return 0
    if not os.path.exists(arguments.gate):
        say(f"there is no {arguments.gate} to compare with: --write makes one")
        return 1
    complaints = list(grown(now, json.loads(pathlib.Path(arguments.gate).read_text())))
    for complaint in complaints:
        print(f"GREW  {complaint}", file=sys.stderr)
    return 1 if complaints else 0


# ---- memory, scaling, threads, start, size, timers --------------------------------------------------------------

def anonymous_memory(pid):
    return int(re.search(r"RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def idle_memory(peer):
    """Bytes for each of the second to the eleventh thousand, after a line on each: the first thousand is for
    what is made once. poll() makes GIO too slow for so many."""
    first, then = (300, 1000) if peer == "gio" else (1000, 10000)
    with Server(peer, "line") as server, contextlib.ExitStack() as stack:
        readings = []
        for connections in (first, then):
            load = stack.enter_context(subprocess.Popen(
                server.load_command("idle", f"connections={connections}"), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, preexec_fn=placed(LOAD_CPU)))
            stack.callback(load.stdin.close)
            if load.stdout.readline() != b"ready\n":
                raise RuntimeError(f"{peer} did not take {connections} idle connections")
            server.settle()
            readings.append(anonymous_memory(server.pid))
    return (readings[1] - readings[0]) / then


def scaling(peer, rounds=5):
    """CPU per request with more and more connections, a tenth of which talk."""
    sizes = (1000, 4000, 18000)
    runs = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            with Server(peer, "line") as server:
                runs[size].append(server.load("line", f"connections={size // 10}", f"idle={size - size // 10}",
                                              "seconds=0.25")["cpu_ns"])
    first = statistics.median(runs[sizes[0]])
    return {str(size): statistics.median(runs[size]) / first for size in sizes}


def two_loops(peer, rounds=8):
    """CPU per request of two loops in two threads on one port, against one loop. The load takes turns with the
    second thread on its processor."""
    quotients = []
    with Server(peer, "line", cpus=(SERVER_CPU, LOAD_CPU), urgent=False) as one, \
            Server(peer, "line", "two", cpus=(SERVER_CPU, LOAD_CPU), urgent=False) as two:
        os.sched_setaffinity(one.pid, [SERVER_CPU])
        load = ["line", "connections=64", "depth=16", "seconds=0.25"]
        before = one.load(*load)
        for _ in range(rounds):
            both, after = two.load(*load), one.load(*load)
            quotients.append(2 * both["cpu_ns"] / (before["cpu_ns"] + after["cpu_ns"]))
            before = after
    return quartiles(quotients)


def start_times(peers, rounds=21):
    """Milliseconds from the start of the program to the first line that comes back. Without Server, whose own
    work is as much."""
    times = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            begin = time.monotonic()
            with subprocess.Popen([str(BUILD / PEERS[peer][0][0]), "line"], stdout=subprocess.PIPE,
                                  close_fds=False) as server:
                with socket.create_connection(("127.0.0.1", int(server.stdout.readline()))) as client:
                    client.sendall(b"here?\n")
                    client.recv(100)
                    times[peer].append((time.monotonic() - begin) * 1e3)
                server.terminate()
    return {peer: quartiles(times[peer]) for peer in peers}


def stripped_size(library):
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(["strip", "-o", file.name, str(library)], check=True)
        return os.path.getsize(file.name)


def library_of(program, name):
    listed = subprocess.run(["ldd", str(BUILD / program)], stdout=subprocess.PIPE, text=True).stdout
    found = re.search(rf"{name}\S* => (\S+)", listed)
    return found and os.path.realpath(found[1])


def printed(program, *arguments):
    runs = [float(subprocess.run([str(BUILD / program), *map(str, arguments)], check=True, stdout=subprocess.PIPE,
                                 preexec_fn=placed(SERVER_CPU)).stdout) for _ in range(5)]
    return statistics.median(runs)


def others(peers):
    result = {}
    say("start and size")
    starters = [peer for peer in ("raw", "eddy", "libuv") if peer in peers]
    result["start_ms"] = start_times(starters)
    for program, name in (("eddy", "libeddy"), ("libuv", "libuv"), ("libevent", "libevent_core"), ("gio", "libgio")):
        if program in peers and (library := library_of(program, name)):
            result.setdefault("stripped_bytes", {})[program] = stripped_size(library)
    say("timers, and lines fed by hand")
    result["timer_ns"] = {str(n): printed("timers", n) for n in (1000, 100000)}
    result["fed_line_ns"] = printed("feed", 1000000)
    result["fed_line_instructions"] = fed_instructions() if shutil.which("valgrind") else None
    say("two loops")
    result["two_loops"] = {peer: two_loops(peer) for peer in ("raw", "eddy")}
    say("scaling")
    result["scaling"] = {peer: scaling(peer) for peer in ("raw", "eddy")}
    return result


# ---- the report ----------------------------------------------------------------------------------------------

def verdict(three, goal):
    low, middle, high = three
    if high < goal or low > goal:
        return "met" if high < goal else "missed"
    return "met, within noise" if middle <= goal else "missed, within noise"


def markdown(results):
    lines = []

    def table(*head):
        lines.extend(["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)])

    for row, peers in results["rows"].items():
        lines.extend(["", f"**{row}**: {chart.TITLES[row]}"])
        table("server", "CPU, x raw", "quartiles", "requests/s, x raw", "ns of CPU per request", "goal")
        for peer, r in sorted(peers.items(), key=lambda item: item[1]["cpu"][1]):
            goal = goal_of(row, peer)
            lines.append(f"| {peer} | **{r['cpu'][1]:.2f}** | {r['cpu'][0]:.2f}-{r['cpu'][2]:.2f} | "
                         f"{r['rate'][1]:.2f} | {r['cpu_ns']:.0f} | "
                         f"{f'<= {goal:.2f}: ' + verdict(r['cpu'], goal) if goal else ''} |")
    compared = [(row, peer, goal, results["rows"][row]["eddy"]["cpu"][1] / results["rows"][row][peer]["cpu"][1])
                for row, peer, goal in PEER_GOALS if {"eddy", peer} <= results["rows"].get(row, {}).keys()]
    if compared:
        lines.extend(["", "**Eddy's CPU per request, times the peer's**"])
        table("row", "peer", "times", "goal", "")
        lines.extend(f"| {row} | {peer} | {value:.3f} | <= {goal:.3f} | {'met' if value <= goal else 'missed'} |"
                     for row, peer, goal, value in compared)
    if results.get("counts"):
        lines.extend(["", "**Counts per request**"])
        table("row", "server", "user instructions", "heap: allocate / reallocate / free", "system calls")
        for row, peers in results["counts"].items():
            for peer, c in peers.items():
                heap, calls = c["heap"], c["system_calls"]
                lines.append(
                    f"| {row} | {peer} | {'' if c['instructions'] is None else round(c['instructions'])} | "
                    + (f"{heap['allocated']:.2f} / {heap['reallocated']:.2f} / {heap['freed']:.2f}" if heap else "")
                    + " | " + (f"{besides_polls(calls):.3f}, and polls: " + ", ".join(
                        f"{name} {n:.3f}" for name, n in sorted(calls.items(), key=lambda item: -item[1])
                        if name != "all" and n >= 0.005) if calls else "") + " |")
    if results.get("memory"):
        lines.extend(["", f"**E**: {chart.TITLES['E']}"])
        table("server", "bytes")
        lines.extend(f"| {peer} | {n:.0f} |" for peer, n in sorted(results["memory"].items(), key=lambda i: i[1]))
    if others := results.get("others"):
        lines.extend(["", "**Others**"])
        table("what", "", "goal")
        start, size = others["start_ms"], others.get("stripped_bytes", {})
        lines.append("| start to first line, ms | " + ", ".join(f"{p} {show(t)}" for p, t in start.items())
                     + " | 1.2 x libuv's |")
        lines.append("| stripped library, KB | " + ", ".join(f"{p} {n / 1000:.0f}" for p, n in size.items())
                     + " | 500 |")
        lines.append("| a timer armed and cancelled, ns | " + ", ".join(
            f"{t:.0f} with {n}" for n, t in others["timer_ns"].items()) + " | 1000 |")
        lines.append(f"| a million lines fed by hand, per line | {others['fed_line_ns']:.0f} ns, "
                     f"{others['fed_line_instructions'] or 0:.0f} instructions | 150 instructions |")
        lines.append("| two loops, CPU per request x one loop's | " + ", ".join(
            f"{p} {show(t)}" for p, t in others["two_loops"].items()) + " | 1.05 |")
        lines.append("| CPU per request, x that with 1,000 connections | " + "; ".join(
            f"{p} " + ", ".join(f"{x:.2f} with {int(n):,}" for n, x in sizes.items())
            for p, sizes in others["scaling"].items()) + " | 1.3 |")
    return "\n".join(lines).lstrip("\n") + "\n"


def main():
    parser = argparse.ArgumentParser(description="Eddy against its peers.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--counts", action="store_true")
    parser.add_argument("--gate", metavar="FILE")
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("--rows", metavar="A64,B16")
    parser.add_argument("--peers", metavar="eddy,libuv")
    parser.add_argument("--parts", metavar="rows,counts", default="rows,counts,memory,others")
    parser.add_argument("--rounds", type=int)
    arguments = parser.parse_args()
    if arguments.counts:
        return gate(arguments)

    peers, rows, parts = available(), list(ROWS), arguments.parts.split(",")
    if arguments.quick:
        rows, peers = QUICK["rows"], [peer for peer in peers if peer in QUICK["peers"]]
    if arguments.rows:
        rows = arguments.rows.split(",")
    if arguments.peers:
        peers = ["raw"] + [peer for peer in peers if peer in arguments.peers.split(",")]
    if arguments.quick or arguments.rows:
        parts = ["rows"]
    whole = rows == list(ROWS) and peers == available() and len(parts) == 4
    say("peers: " + " ".join(peers))
    rounds = arguments.rounds or (6 if arguments.quick else 8)
    results = {"machine": f"Linux {os.uname().release.split('-')[0]}, {os.cpu_count()} processors", "rows": {}}
    if "rows" in parts:
        for row in rows:
            results["rows"][row] = measure_row(row, peers, rounds, again=whole)
    if arguments.quick:
        results["counts"] = {row: {"eddy": counts_of("eddy", row)} for row in ("A64", "B16")}
    if "counts" in parts:
        results["counts"] = count_all(peers)
    if "memory" in parts:
        results["memory"] = {}
        for peer in peers:
            if peer not in ONLY and peer not in ("libuv-try", "libuv-batch"):
                results["memory"][peer] = idle_memory(peer)
                say(f"idle connections of {peer}: {results['memory'][peer]:.0f} bytes each")
    if "others" in parts:
        results["others"] = others(peers)

    report = markdown(results)
    print(report)
    name = "results" if whole else "partial"
    (BUILD / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (BUILD / f"{name}.md").write_text(report)
    if whole:
        (ROOT / "bench" / "chart.svg").write_text(chart.draw(results))
    say(f"written: build/bench/{name}.json, {name}.md" + (", bench/chart.svg" if whole else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
