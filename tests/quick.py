#!/usr/bin/env python3
"""quick.py <libeddy.so>: the quick ways in have no wall around them that would stop a panic, so nothing in them may be
able to panic. Read from the machine code: they call the long way, which has a wall, copy and search, and nothing else."""

import re
import subprocess
import sys

LONG_WAYS = {
    "eddy_writer_write": "ffi::writer::write",
    "eddy_writer_drain": "ffi::writer::drain",
    "eddy_reader_readline": "ffi::reader::read_anyhow",
    "eddy_reader_read": "ffi::reader::read_anyhow",
    "eddy_reader_readexactly": "ffi::reader::read_anyhow",
    "eddy_reader_readall": "ffi::reader::read_anyhow",
    "deliver_quickly": "deliver_quick_drain",
    "deliver_quick_drain": None,
}
# What every C function has in case that the long way let a panic through, which it does not.
GUARD = "core::panicking::panic_cannot_unwind"
HARMLESS = re.compile(rf"<(memcpy|memmove|memchr|bcmp|memcmp)@|{GUARD}")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def pointers(library):
    """What the pointers lead to that the loader fills in with addresses of the library's own."""
    names = dict(line.split(maxsplit=2)[::2] for line in output("nm", "-C", library).splitlines() if line[0] != " ")
    relative = re.findall(r"^0*([0-9a-f]+) .*_RELATIVE +([0-9a-f]+)$", output("readelf", "-rW", library), re.M)
    return {place: names.get(target.rjust(16, "0"), "?") for place, target in relative}


def functions(library):
    """Each function's instructions, by its demangled name."""
    text = output("objdump", "-d", "-C", "--no-show-raw-insn", "--section=.text", library)
    for part in text.split("\n\n"):
        head, _, body = part.partition("\n")
        if found := re.match(r"[0-9a-f]+ <(.*)>:$", head):
            yield found[1], body


def main(library):
    complaints, seen, led_to = [], set(), pointers(library)
    for name, body in functions(library):
        short = name.rsplit("::", 1)[-1] if "::event_loop::deliver_quick" in name else name
        if short not in LONG_WAYS:
            continue
        seen.add(short)
        for line in body.splitlines():
            found = re.search(r"\t(?:call|jmp)\w*\s+(.*)$", line)
            if not found:
                continue
            target = re.sub(r"# ([0-9a-f]+) <.*$", lambda at: led_to.get(at[1], at[0]), found[1])
            inside = f"<{name}+" in target or f"<{name}>" in target
            long_way = LONG_WAYS[short] and LONG_WAYS[short] in target
            callback = short.startswith("deliver") and re.match(r"\*%r\w+$", target)
            if not (inside or long_way or callback or HARMLESS.search(target)):
                complaints.append(f"{short} goes to {target}")
    if not seen:
        print("this library has no symbols to find them by")
        return 77
    complaints += [f"{name} is not there" for name in LONG_WAYS if name not in seen]
    print("\n".join(complaints) or f"{len(seen)} quick ways, and nothing in them that could panic")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
