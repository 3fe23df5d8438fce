"""The scenarios: name, steps, limit, the deviations that show. A list among the steps is done without letting anything
run in between. `# Shows` names the lines of the specification."""
from random import Random

ALL = []


def scenario(name, *steps, **details):
    ALL.append((name, steps, details))


# ---- feeding -----------------------------------------------------------------------------------------------

# Shows R3
scenario("nothing fed changes nothing",
         ("read", 5), ("feed", b""), ("at_eof",), ("feed", b"abc"), ("feed", b""), ("read", 5), ("cancel",))

# Shows R4 R73
scenario("feeding wakes the reader that waits",
         ("read", 5), ("feed", b"abcdefgh"), ("read", 5),
         [("read", 100), ("feed", b"one"), ("feed", b"two")], [("feed", b"three"), ("feed", b"four")],
         ("read", 100))

# Shows R5
scenario("feeding after the end is refused",
         ("feed", b"abc"), ("eof",), ("feed", b"def"), ("feed", b""), ("at_eof",), ("read", 10), ("at_eof",),
         ("feed", b"x"), ("at_eof",))

# Shows R6 R15
scenario("the end comes once and what is buffered stays",
         ("at_eof",), ("feed", b"abc"), ("eof",), ("at_eof",), ("eof",), ("read", 2), ("at_eof",),
         ("read", 2), ("at_eof",),
         ("read", 2), ("read", 2), ("readline",))

# Shows R6
scenario("the end wakes the reader that waits", ("read", 5), ("eof",), ("read", 5))

# Shows R8 R11
scenario("an exception ends the read that waits, and each later one",
         ("readexactly", 3), ("feed", b"ab"), ("exception", 7), ("exception", 8), ("readexactly", 3),
         ("readline",),
         ("readuntil", b"x"), ("read", -1), deviates=())

# Shows R10 R11
scenario("an exception is for ever", ("exception", 7), ("read", 1), ("read", 1), ("readline",),
         ("readexactly", 1),
         ("readuntil", b"\n"), ("read", -1), ("exception", 8), ("read", 1), ("readline",))

# Shows R12
scenario("an exception meets a read of nothing", ("exception", 7), ("read", 0), ("readexactly", 0))

# Shows R9
scenario("what is canceled is not touched by what comes later",
         ("readexactly", 3), ("cancel",), ("exception", 7), ("readexactly", 3))
scenario("a canceled read leaves the bytes for the next",
         ("readexactly", 5), ("feed", b"abc"), ("cancel",), ("feed", b"def"), ("readexactly", 5), ("read", 5))

# Shows R12
scenario("what came before an exception is delivered first",
         ("feed", b"one\ntwo\nthr"), ("exception", 7), ("readline",), ("readuntil", b"\n"), ("readline",),
         ("readexactly", 4), ("readexactly", 2), ("read", 10), ("read", 10),
         ("readline",), deviates="data-first")

# Shows R13
scenario("what comes after an exception is kept",
         ("exception", 7), ("feed", b"abc"), ("read", 2), ("read", 2), ("read", 2), deviates="data-first")

scenario("a read to the end that meets an exception keeps what it had",
         ("read", -1), ("feed", b"abc"), ("exception", 7), ("read", 10), ("read", 10),
         deviates={"data-first", "keep"})

# ---- read --------------------------------------------------------------------------------------------------

# Shows R20
scenario("nothing is read at once", ("read", 0), ("feed", b"abc"), ("read", 0), ("eof",), ("read", 0),
         ("read", 5), ("read", 0))

# Shows R21 R22
scenario("read takes what is there",
         ("feed", b"abcdef"), ("read", 4), ("read", 4), ("read", 4), ("feed", b"g"), ("eof",), ("read", 4),
         ("read", 4))

# Shows R23 R24
scenario("read to the end takes everything, however much",
         ("read", -1), ("feed", b"a" * 10), ("feed", b"b" * 100), ("feed", b"c" * 10), ("eof",), ("at_eof",),
         ("read", -1),
         limit=4)
scenario("read to the end of what is there",
         ("feed", b"abc\n"), ("eof",), ("read", -1), ("read", -1))

# Shows R25
scenario("read to the end that is canceled keeps what it had",
         ("read", -1), ("feed", b"abc"), ("cancel",), ("feed", b"def"), ("read", 4), ("eof",), ("read", -1),
         deviates="keep")

# Shows R26
scenario("read of more than the limit", ("feed", b"abcdefgh"), ("read", 100), ("read", 100),
         ("feed", b"ij"), limit=3)

# ---- readexactly -------------------------------------------------------------------------------------------

# Shows R30
scenario("readexactly of nothing, and of less",
         ("readexactly", -1), ("readexactly", 0), ("feed", b"abc"), ("readexactly", 0), ("readexactly", -5),
         ("readexactly", 3))

# Shows R31
scenario("readexactly waits for all of it", ("readexactly", 5), ("feed", b"ab"), ("feed", b"cd"),
         ("feed", b"efg"), ("read", 5))

# Shows R32 R82
scenario("readexactly of more than is buffered by itself",
         ("feed", b"a" * 9), ("readexactly", 30), ("feed", b"b" * 9), ("feed", b"c" * 9), ("feed", b"d" * 9),
         ("read", 100),
         limit=3, deviates="late-pause")

# Shows R33
scenario("readexactly at the end", ("readexactly", 5), ("feed", b"abc"), ("eof",), ("at_eof",),
         ("readexactly", 5), ("read", 5))

# Shows R34
scenario("readexactly of what is there at the end", ("feed", b"abc"), ("eof",), ("readexactly", 3),
         ("readexactly", 3))

# Shows R35
scenario("readexactly canceled", ("readexactly", 5), ("feed", b"abc"), ("cancel",), ("readexactly", 2),
         ("read", 5))

# ---- readuntil ---------------------------------------------------------------------------------------------

# Shows R40
scenario("an empty separator", ("feed", b"abc"), ("readuntil", b""), ("readuntil_any", b"a", b""),
         ("readuntil_any",), ("read", 5))

# Shows R14
scenario("an empty separator and an exception", ("exception", 7), ("readuntil", b""), ("readexactly", -1))

# Shows R41 R42
scenario("separators over pieces",
         ("readuntil", b"aaa"), ("feed", b"xa"), ("feed", b"a"), ("feed", b"ab"), ("readuntil", b"ba"),
         ("feed", b"a"),
         ("readuntil", b"aab"), ("feed", b"a"), ("feed", b"a"), ("feed", b"ab"), ("read", 10))
for pieces in (b"AAB", [b"A", b"AB"], [b"AA", b"B"], [b"A", b"A", b"B"]):
    scenario(f"overlapping prefixes, {pieces!r}", ("readuntil", b"AAB"), ("feed", b"A"),
             *[("feed", piece if isinstance(piece, bytes) else bytes([piece])) for piece in pieces],
             ("read", 9))

# Shows R43
scenario("a separator is looked for before the end", ("feed", b"one\ntwo"), ("eof",), ("readuntil", b"\n"),
         ("readuntil", b"\n"))

# Shows R44
scenario("the end without a separator",
         ("readuntil", b"\n"), ("feed", b"abc"), ("eof",), ("readuntil", b"\n"), ("readuntil", b"\n"),
         ("at_eof",))

# Shows R45 R46
scenario("the limit counts what stands before the separator",
         ("feed", b"abc\nabcd\n"), ("readuntil", b"\n"), ("readuntil", b"\n"), ("readuntil", b"\n"),
         ("read", 4),
         ("readuntil", b"\n"), limit=3)

# Shows R47
scenario("too much without a separator",
         ("readuntil", b"xyz"), ("feed", b"abcde"), ("feed", b"f"), ("readuntil", b"xyz"), ("readexactly", 4),
         ("readuntil", b"xyz"), ("feed", b"xyz"), ("read", 10), limit=3)

# Shows R48
scenario("too much, and the end", ("feed", b"abcdef"), ("eof",), ("readuntil", b"\n"), ("read", 10), limit=3)

# Shows R49
scenario("too much fails until it is taken",
         ("feed", b"abcdefghij\n"), ("readuntil", b"\n"), ("readuntil", b"\n"), ("readexactly", 5),
         ("readuntil", b"\n"),
         ("readexactly", 2), ("readuntil", b"\n"), limit=3)

# Shows R50
scenario("a separator of any bytes", ("feed", b"a\x00b\xff\x00\xffc"), ("readuntil", b"\xff\x00"),
         ("readuntil", b"\xff"), ("read", 9))

# Shows R51
scenario("of several separators the match that ends first",
         ("feed", b"ABCDEFG"), ("readuntil_any", b"DEF", b"BCDE"), ("read", 9), ("feed", b"xABCD"),
         ("readuntil_any", b"ABCD", b"BC"), ("read", 9), ("readuntil_any", b"\r\n", b"\n"), ("feed", b"a\r"),
         ("feed", b"\nb\n"),
         ("readuntil_any", b"\r\n", b"\n"))

# Shows R52
scenario("several separators and the limit",
         ("feed", b"abcd"), ("readuntil_any", b"A", b"ABCDEFG"), ("feed", b"efghi"), ("feed", b"jkl"),
         ("readuntil_any", b"A", b"ABCDEFG"), ("read", 99),
         ("readuntil_any", b"A", b"AAA"), ("feed", b"x"), ("feed", b"yzwA"), ("read", 2),
         ("readuntil_any", b"A", b"AAA"),
         limit=3)
scenario("two separators that end together", ("feed", b"xxABC"), ("readuntil_any", b"ABC", b"BC"),
         ("read", 9),
         ("feed", b"xxABC"), ("readuntil_any", b"BC", b"ABC"), ("read", 9), limit=2)

# ---- readline ----------------------------------------------------------------------------------------------

# Shows R60 R61 R65
scenario("lines", ("readline",), ("feed", b"one\r\ntwo\n\nthree"), ("readline",), ("readline",),
         ("readline",), ("eof",),
         ("readline",), ("at_eof",))

# Shows R66
scenario("lines and bytes", ("feed", b"one\ntwo\nthree\n"), ("read", 2), ("readline",), ("readexactly", 1),
         ("readline",),
         ("readuntil", b"r"), ("readline",), ("readline",), ("eof",))

# Shows R45 R62
scenario("a line as long as the limit, and longer", ("feed", b"1234567\n12345678\nrest\n"), ("readline",),
         ("readline",),
         ("readline",), ("readline",), ("feed", b"next\n"), limit=7)

# Shows R62
scenario("a long line whose newline is there goes with it", ("readline",), ("feed", b"long line\nshort\n"),
         ("readline",), limit=5,
         deviates="late-pause")

# Shows R63
scenario("a long line at the end", ("feed", b"long line"), ("eof",), ("readline",), ("at_eof",),
         ("readline",), limit=5)

# Shows R64
scenario("the tail of a long line is no line",
         ("readline",), ("feed", b"long line"), ("readline",), ("feed", b" and"),
         ("feed", b" its tail\nnext\n"), ("readline",),
         limit=5, deviates="long-line")
scenario("the tail of a long line at the end",
         ("readline",), ("feed", b"long line"), ("feed", b" and"), ("eof",), ("at_eof",),
         ("readline",), limit=5,
         deviates="long-line")

# ---- one read at a time ------------------------------------------------------------------------------------

# Shows R70
scenario("a second read that would wait", ("readline",), ("readexactly", 3), ("read", 5), ("feed", b"abc\n"))

# Shows R71
scenario("a second read that need not wait", ("readexactly", 5), ("feed", b"abcd"), ("read", 2),
         ("feed", b"efg"), ("read", 5),
         deviates="one-read")

# ---- back-pressure -----------------------------------------------------------------------------------------

# Shows R80 R81
scenario("pausing above twice the limit, resuming at the limit",
         ("feed", b"123456"), ("feed", b"7"), ("read", 3), ("read", 1), ("feed", b"1234"),
         ("read", 5), limit=3)

# Shows R83
scenario("what is fed while paused is taken", ("feed", b"1234567"), ("feed", b"890"), ("read", 100), limit=3)

# Shows R82
scenario("whoever waits resumes first", ("feed", b"1234567"), ("readexactly", 10), ("feed", b"89"),
         ("feed", b"0"), limit=3)
scenario("a line that is waited for resumes", ("feed", b"1234567"), ("readuntil", b"7"), ("readexactly", 7),
         ("readline",),
         ("feed", b"abc\n"), limit=3)
scenario("a read to the end is never paused for long", ("feed", b"1" * 50), ("read", -1),
         ("feed", b"2" * 50), ("eof",), limit=3)

# ---- the connection, by hand -------------------------------------------------------------------------------

# Shows C3 C6
scenario("the peer's end and the end", ("data", b"abc"), ("eof_received",), ("is_closing",),
         ("write", b"still"), ("read", 9), ("read", 9),
         ("lost", 0), ("read", 9), ("wait_closed",))

# Shows C6 C7
scenario("lost in peace", ("readline",), ("wait_closed",), ("data", b"abc"), ("lost", 0), ("readline",),
         ("wait_closed",), ("drain",))

# Shows C6 C7
scenario("lost with an error", ("readline",), ("wait_closed",), ("lost", 9), ("readline",), ("wait_closed",),
         ("wait_closed",),
         ("drain",))
scenario("lost with an error, after bytes", ("data", b"abc\ndef"), ("lost", 9), ("readline",), ("readline",),
         ("read", 9),
         ("read", 9), deviates="data-first")

# Shows C14
scenario("the end fed while closing", ("wait_closed",), ("close",), ("eof",), ("lost", 0), ("read", 9),
         ("at_eof",))

# Shows W2 W11
scenario("writing", ("write", b"one"), ("write", b""), ("writelines", b"two", b"", b"three"), ("drain",),
         ("writelines",),
         [("write", b"a"), ("write", b"b")])

# Shows W5 W13
scenario("writing after the end was written", ("write", b"one"), ("write_eof",), ("write_eof",),
         ("write", b"two"),
         ("writelines", b"two"), ("data", b"abc"), ("read", 9))

# Shows W13 K1 K2
scenario("closing twice", ("is_closing",), ("write", b"one"), ("close",), ("is_closing",), ("close",),
         ("write_eof",), ("lost", 0),
         ("is_closing",), ("close",))

# Shows W7
scenario("writing after close", ("close",), ("write", b"late"), ("lost", 0),
         ("write", b"late"), deviates="closed-write")

# Shows F6
scenario("a drain tells of the reader's exception", ("exception", 7), ("drain",), ("exception", 8),
         ("drain",))

# Shows F8
scenario("a drain after the connection is lost", ("lost", 0), ("drain",), ("drain",))

# Shows F9
scenario("a drain with nothing to wait for", ("drain",), ("write", b"x"), ("drain",))

# Shows F10 F11
scenario("drains that wait together", ("pause_writing",), ("drain",), ("drain",), ("write", b"x"),
         ("resume_writing",), ("drain",))

# Shows F12
scenario("one drain canceled", ("pause_writing",), ("drain",), ("drain",), ("cancel_drain", 1),
         ("resume_writing",))

# Shows F13
scenario("drains that wait for a lost connection", ("pause_writing",), ("drain",), ("drain",),
         ("lost", 0), deviates="drain-lost")
scenario("drains that wait for a broken connection", ("pause_writing",), ("drain",), ("drain",), ("lost", 9))

scenario("a drain while closing", ("close",), ("drain",), ("lost", 0), ("drain",))

# Shows R72
scenario("reading while a drain waits", ("pause_writing",), ("drain",), ("readline",), ("data", b"abc\n"),
         ("resume_writing",))

# Shows K3
scenario("closing with unread bytes", ("data", b"abc"), ("wait_closed",), ("close",), ("wait_closed",),
         ("lost", 0), ("wait_closed",),
         ("read", 2), ("read", 2), ("read", 2))


# ---- over sockets ------------------------------------------------------------------------------------------

def everywhere(name, *steps, **details):
    for sockets in details.pop("sockets", ("client tcp", "client unix", "server tcp", "server unix")):
        scenario(f"{name} ({sockets})", *steps, sockets=sockets, **details)


# Shows O12 V1 V13 K6 K7
everywhere("a conversation", ("names",), ("readline",), ("peer_send", b"hello\nmore"),
           ("write", b"welcome\n"), ("peer_recv", 8),
           ("peer_send", b"\n"), ("readline",), ("peer_shutdown",), ("readline",), ("write", b"bye"),
           ("close",), ("peer_recv", 99),
           ("wait_closed",))

# Shows C3
everywhere("half closed", ("peer_send", b"abc"), ("peer_shutdown",), ("read", 99), ("read", 99), ("at_eof",),
           ("is_closing",),
           ("write", b"still here"), ("drain",), ("peer_recv", 10), ("close",), ("peer_recv", 10))

# Shows W13
everywhere("the end written", ("write", b"abc"), ("write_eof",), ("peer_recv", 99), ("peer_send", b"answer"),
           ("readexactly", 6),
           ("write", b"late"), ("close",))

# Shows C9
everywhere("closing while a read waits", ("read", 9), ("close",), ("wait_closed",))
everywhere("closing while a line is waited for", ("readline",), ("peer_send", b"abc"), ("close",),
           ("wait_closed",))
everywhere("closing while so many are waited for", ("readexactly", 9), ("peer_send", b"abc"), ("close",),
           ("wait_closed",), ("read", 9))
everywhere("closing while a separator is waited for", ("readuntil", b"\n"), ("peer_send", b"abc"),
           ("close",), ("wait_closed",))

# Shows R89
everywhere("reading what was buffered when we closed", ("peer_send", b"one\ntwo"), ("close",),
           ("wait_closed",), ("readline",), ("read", 9),
           ("read", 9), ("at_eof",))

# Shows C10
everywhere("a reset", ("read", 9), ("peer_reset",), ("read", 9), ("drain",), ("wait_closed",),
           ("is_closing",), sockets=("client tcp", "server tcp"))
everywhere("bytes, then a reset", ("peer_send", b"one\ntwo"), ("peer_reset",), ("readline",), ("readline",),
           ("read", 9), ("read", 9),
           ("wait_closed",), sockets=("client tcp", "server tcp"), deviates="data-first")

# Shows K3
everywhere("waiting for the close, many times", ("wait_closed",), ("wait_closed",), ("close",),
           ("wait_closed",), ("wait_closed",))

# Shows F8
everywhere("a drain after the close", ("write", b"abc"), ("close",), ("drain",), ("peer_recv", 9),
           ("wait_closed",), ("drain",))

# Shows W7
everywhere("a write after the close", ("write", b"abc"), ("close",), ("write", b"def"),
           ("peer_recv", 9), deviates="closed-write")

# Shows K5
everywhere("abort", ("readexactly", 9), ("peer_send", b"abc"), ("wait_closed",), ("abort",),
           ("peer_recv", 9), ("wait_closed",),
           ("drain",), sockets=("client tcp", "server tcp"), deviates="abort-resets")
everywhere("abort of a unix stream", ("read", 9), ("abort",), ("wait_closed",),
           ("peer_recv", 9), sockets=("client unix", "server unix"))

# Shows R80 R82 R85
everywhere("a reader that is slow", ("peer_send", b"x" * 50), ("peer_send", b"y" * 50), ("peer_shutdown",),
           ("readexactly", 30),
           ("readexactly", 30), ("read", -1), limit=4)

# Shows F2 F10 K1
everywhere("much to write", ("write", b"x" * 3000000), ("drain",), ("write", b"y" * 10), ("close",),
           ("peer_recv", 4000000), ("wait_closed",))
everywhere("much to write, and the end", ("writelines", b"x" * 1500000, b"", b"y" * 1500000), ("write_eof",),
           ("peer_recv", 4000000),
           ("peer_send", b"thanks"), ("read", 9))

# Shows C1
everywhere("bytes that are there before anybody reads", ("peer_send", b"early"), ("peer_close",),
           ("read", 9), ("read", 9))

# Shows R62 R64
everywhere("long lines from a socket", ("peer_send", b"much too long"), ("readline",), ("readline",),
           ("peer_send", b" a line\nnext\n"),
           ("peer_shutdown",), ("readline",), limit=7, deviates="long-line")

everywhere("closing with bytes that nobody read", ("peer_send", b"x" * 100), ("peer_send", b"y" * 100),
           ("write", b"our answer"), ("close",),
           ("peer_recv", 99), limit=4, deviates="kind-close", sockets=("client tcp", "server tcp"))


# ---- at random ---------------------------------------------------------------------------------------------

SEPARATORS = [b"\n", b"a", b"ab", b"aa", b"aba", b"aab", b"b\n", b"\n\n", b"abab"]


def is_read(step):
    return isinstance(step, tuple) and step[0].startswith("read")


def at_random(seed):
    """A scenario by chance: its steps, its limit, where."""
    chance = Random(f"eddy {seed}")
    sockets = chance.choice(["client tcp", "client unix", "server tcp",
    "server unix"]) if seed % 40 == 0 else None
    limit = chance.choice([1, 2, 3, 4, 5, 8, 12, 30, 65536])
    steps = []
    state = {"eof": False, "lost": False, "closed": False, "paused": False, "drains": []}

    def some_bytes():
        n = chance.choice([0, 1, 1, 2, 3, 4, 5, 7, 10, 14, 3 * min(limit, 20)])
        return bytes(chance.choice(b"aab\n" if chance.random() < 0.7 else b"ab") for _ in range(n))

    def read():
        kind = chance.randrange(12)
        if kind < 3:
            return ("readline",)
        if kind < 5:
            return ("read", chance.choice([1, 2, 3, 5, 8, 100]))
        if kind == 5:
            return ("read", chance.choice([0, -1, -1]))
        if kind < 8:
            return ("readexactly", chance.choice([0, 1, 2, 3, 5, 8, 13, 40]))
        if kind < 10:
            return ("readuntil", chance.choice(SEPARATORS))
        return ("readuntil_any", *chance.sample(SEPARATORS, chance.randrange(1, 4)))

    def feed():
        if sockets:
            return ("peer_send", some_bytes() or b"a")
        return ("feed" if chance.random() < 0.5 or state["lost"] or state["closed"] else "data", some_bytes())

    for _ in range(chance.randrange(5, 12 if sockets else 30)):
        kind = chance.randrange(40)
        if 14 <= kind < 30 and steps and is_read(steps[-1]) and chance.random() < 0.8:
            kind = 31 if chance.random() < 0.15 else 0  # it may be waiting: rather feed, or cancel, than be refused
        if kind < 14:
            if not (state["eof"] or state["lost"] or state["closed"]):
                steps.append(feed())
                if chance.random() < 0.15 and not sockets:  # over a socket it would be a matter of luck
                    steps[-1] = [steps[-1], read(), feed()] if chance.random() < 0.5 else [steps[-1], feed()]
        elif kind < 30:
            steps.append(read())
        elif kind < 32:
            steps.append(("cancel",))
        elif kind == 32:
            steps.append(("at_eof",))
        elif kind == 33:
            steps.append(("write", some_bytes() or b"w"))
        elif kind == 34 and chance.random() < 0.4:
            if not (state["lost"] or state["closed"] or state["eof"]):
                steps.append(("peer_shutdown",) if sockets else chance.choice([("eof",), ("eof_received",)]))
                state["eof"] = True
        elif kind == 35 and chance.random() < 0.3 and not sockets:
            steps.append(("exception", chance.randrange(1, 9)))
        elif kind == 36 and chance.random() < 0.3 and not state["closed"] and not state["lost"]:
            steps.append(("close",))
            state["closed"] = True
            if not sockets:
                steps.append(("lost", 0))
                state["lost"] = True
        elif kind == 37 and chance.random() < 0.4 and not sockets and not state["lost"]:
            steps.append(("lost", chance.choice([0, 0, 4])))
            state["lost"] = True
        elif kind == 38 and not sockets and not state["lost"]:
            steps.append(("resume_writing",) if state["paused"] else ("pause_writing",))
            state["paused"] = not state["paused"]
        elif kind == 39:
            steps.append(chance.choice([("drain",), ("wait_closed",)]))
    return steps, limit, sockets
