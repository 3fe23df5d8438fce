#!/usr/bin/env python3
"""check.py [--update]: programs that were built with the last release's header run with the library of this one.

abidiff compares what the two headers promise: functions, structures, callbacks and codes. (That the library does what its
header says is the affair of others: cbindgen writes the header, symbols.py compares it with what is exported.) The last
release is the last tag v*; until there is one, eddy.h beside this file, which --update brings up to date. What breaks
such programs is an error unless the version says it: its first number that is not 0.
77: there is no abidiff, or no compiler.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HEADER = ROOT / "include" / "eddy.h"
KEPT = HERE / "eddy.h"

# What a program would notice, and what it would not: each as a replacement in the header.
BREAKS = [
    ("eddy_reader_set_timeout(eddy_reader *reader, uint64_t timeout_ms)",
     "eddy_reader_set_timeout(eddy_reader *reader, uint32_t timeout_ms)"),
    ("bool eddy_reader_at_eof(", "int64_t eddy_reader_at_eof("),
    ("int eddy_loop_stop(eddy_loop *loop);", ""),
    ("EDDY_ECANCELED = -39", "EDDY_ECANCELED = -40"),
    ("    uint64_t timeout_ms;\n", ""),
    ("    const char *local_host;\n    uint16_t local_port;\n", "    uint16_t local_port;\n    const char *local_host;\n"),
    ("typedef int64_t eddy_op;", "typedef int32_t eddy_op;"),
    ("typedef void (*eddy_read_cb)(eddy_reader *reader, const char *bytes, size_t len,",
     "typedef void (*eddy_read_cb)(eddy_reader *reader, const char *bytes, int len,"),
    ("    void (*write_eof)(eddy_transport *transport, void *arg);", "    void (*write_eof)(eddy_transport *transport);"),
    ("    const void *data;\n    size_t len;\n", "    const void *data;\n    size_t len;\n    size_t more;\n"),
]
FITS = [
    ("int eddy_loop_stop(eddy_loop *loop);", "int eddy_loop_stop(eddy_loop *loop);\nint eddy_new(eddy_loop *loop);"),
    ("    int delay;\n}", "    int delay;\n    uint64_t more;\n}"),
    ("EDDY_ECANCELED = -39,", "EDDY_ECANCELED = -39,\n    EDDY_EMORE = -99,"),
]


def plain(header):
    """Without comments, and the codes with a name to be found by."""
    return re.sub(r" */\*.*?\*/\n?", "", header, flags=re.S).replace("\nenum {", "\nenum eddy_codes {")


def library(header, folder):
    """A shared library with the functions of a header, and nothing in them."""
    functions = re.findall(r"^(?!typedef|#|\s)([^{};]*?\beddy_\w+\([^{};]*\));", header, flags=re.M)
    (folder / "eddy.h").write_text(header)
    (folder / "eddy.c").write_text('#include "eddy.h"\nenum eddy_codes eddy_codes;\n' +
                                   "".join(f"{function} {{ __builtin_trap(); }}\n" for function in functions))
    run(os.environ.get("CC", "cc"), "-g", "-w", "-shared", "-fPIC", "-o", folder / "libeddy.so", folder / "eddy.c")
    return folder / "libeddy.so", len(functions)


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode and command[0] != "abidiff":
        sys.exit(done.stdout)
    return done


SIZED = r"(typedef struct (eddy_\w+) \{\n    size_t size;\n)(.*?)(\n\} \2;)"


def without_what_is_new(old, new):
    """The new header without fields at the end of structures whose first field is their size: they may grow."""
    fields = {match[2]: match[3] for match in re.finditer(SIZED, old, flags=re.S)}

    def as_it_was(match):
        before = fields.get(match[2], match[3])
        return match[1] + (before if match[3].startswith(before) else match[3]) + match[4]

    return re.sub(SIZED, as_it_was, new, flags=re.S)


def difference(old, new):
    """What a program built with the old header would stumble over in a library of the new one; and how many functions
    there are."""
    old, new = plain(old), plain(new)
    new = without_what_is_new(old, new)
    with tempfile.TemporaryDirectory() as scratch:
        folders = [pathlib.Path(scratch) / name for name in ("old", "new")]
        for folder in folders:
            folder.mkdir()
        (before, _), (after, count) = library(old, folders[0]), library(new, folders[1])
        done = run("abidiff", "--no-added-syms", before, after)
        if done.returncode & 3: # of its own: an error, or wrong arguments
            sys.exit(done.stdout)
        return done.stdout if done.returncode else "", count


def prove(header):
    """abidiff finds what it is there for."""
    for old, new in BREAKS + FITS:
        if header.count(old) != 1:
            sys.exit(f"check.py is out of date: not, or not once, in the header: {old}")
        found = bool(difference(header, header.replace(old, new))[0])
        if found != ((old, new) in BREAKS):
            sys.exit(f"this is {'' if found else 'not '}found to break programs: {old}\n  -> {new}")


def released():
    """The header of the last release, and its name."""
    git = ["git", "-c", "safe.directory=*", "-C", ROOT]
    if shutil.which("git") and (ROOT / ".git").exists():
        tag = subprocess.run([*git, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"], capture_output=True, text=True,
                             check=False).stdout.strip()
        if tag:
            return run(*git, "show", f"{tag}:include/eddy.h").stdout, tag
    return KEPT.read_text(), KEPT.relative_to(ROOT)


def generation(header):
    """Two libraries with the same one are promised to be compatible: 0.3 of 0.3.1, 4 of 4.1.0."""
    numbers = re.search(r'EDDY_VERSION "([\d.]+)"', header).group(1).split(".")
    return numbers[: [number != "0" for number in numbers].index(True) + 1]


def main():
    header = HEADER.read_text()
    if sys.argv[1:] == ["--update"]:
        KEPT.write_text(header)
        return 0
    if not shutil.which("abidiff"):
        print("skipped: there is no abidiff (Debian's package abigail-tools)")
        return 77
    prove(header)
    old, name = released()
    changes, count = difference(old, header)
    if changes and generation(old) == generation(header):
        print(f"{changes}\nprograms that were built with the header of {name} do not run with this library. If that is"
              " meant:\n" + ("    python3 tests/abi/check.py --update" if name == KEPT.relative_to(ROOT) else
                             "    raise the version in Cargo.toml: its first number that is not 0"))
        return 1
    print(f"{count} functions, compatible with {name}; {len(BREAKS)} changes that break programs were found, and"
          f" {len(FITS)} that do not were let through")
    return 0


if __name__ == "__main__":
    sys.exit(main())
