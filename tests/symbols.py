#!/usr/bin/env python3
"""symbols.py <libeddy.so> <eddy.h> [--update]: the library exports what the header declares, neither less nor more, and
what symbols.txt says, each function with its version; it is hardened, and asks for no newer C library than it has to.
--update writes symbols.txt anew."""

# Shows b02 b03 b04 b09 b10 b12 b14.

import pathlib
import platform
import re
import subprocess
import sys

LIST = pathlib.Path(__file__).with_suffix(".txt")

# Built on Debian 12, or on what is older, it runs on distributions since 2021: there is nothing newer in it than what
# Rust's standard library asks for.
BUILD_ON, NEWEST = (2, 36), (2, 34)


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def declared(header):
    text = re.sub(r"/\*.*?\*/", "", open(header, encoding="utf-8").read(), flags=re.S)
    return set(re.findall(r"^(?!typedef|#|\s).*?\b(eddy_\w+)\(", text, flags=re.M))


def exported(library):
    """Name and version of each: eddy_version@@EDDY_0."""
    lines = [line.split() for line in output("nm", "-D", "--defined-only", library).splitlines()]
    return {words[-1] for words in lines if words[-2] != "A"}


def weaknesses(library, dynamic):
    segments = output("readelf", "-lW", library)
    if "GNU_RELRO" not in segments or "NOW" not in dynamic:
        yield "what the dynamic linker fills in can be written to afterwards (RELRO, BIND_NOW)"
    if not re.search(r"GNU_STACK.* RW ", segments):
        yield "the stack is executable"
    if re.search(r"LOAD.* RWE ", segments):
        yield "there is memory that can be both written to and executed"
    if "TEXTREL" in dynamic: # so libeddy.a is position-independent too: this library is made of it
        yield "code is written to when the library is loaded"
    if "PATH" in dynamic:
        yield "it looks for other libraries where it was built (RPATH, RUNPATH)"
    symbols = output("nm", "-D", library) + output("nm", library)
    if "_Unwind_RaiseException" not in symbols:
        yield "a panic in it ends the process: it is built with panic=abort"
    # Of Rust there is no such thing in a stable compiler; what is written in C is in the cryptography.
    if "ring" in symbols and "__stack_chk_fail" not in symbols:
        yield "its C has no stack protector: .cargo/config.toml asks for it"
    found = re.findall(r"\bGLIBC_(\d+)\.(\d+)", output("readelf", "-VW", library))
    version = max(tuple(map(int, numbers)) for numbers in found)
    here = tuple(map(int, platform.libc_ver()[1].split(".")))
    if here <= BUILD_ON and version > NEWEST:
        yield f"it asks for a glibc of {version}, newer than {NEWEST}"


def main(library, header, update=""):
    complaints = []
    listed = exported(library)
    if update:
        LIST.write_text("".join(f"{symbol}\n" for symbol in sorted(listed)), encoding="utf-8")
    kept = set(LIST.read_text(encoding="utf-8").split())
    complaints += [f"exported, but not in {LIST.name}: {symbol}" for symbol in sorted(listed - kept)]
    complaints += [f"in {LIST.name}, but not exported: {symbol}" for symbol in sorted(kept - listed)]
    if complaints:
        complaints.append(f"if that is meant: python3 {' '.join(sys.argv)} --update")
    exports = {symbol.partition("@")[0] for symbol in listed}
    versions = {symbol.partition("@")[2].lstrip("@") for symbol in listed}
    declarations = declared(header)
    complaints += [f"exported, but not in the header: {name}" for name in sorted(exports - declarations)]
    complaints += [f"in the header, but not exported: {name}" for name in sorted(declarations - exports)]
    dynamic = output("readelf", "-dW", library)
    major = re.search(r'EDDY_VERSION "(\d+)', open(header, encoding="utf-8").read()).group(1)
    if f"soname: [libeddy.so.{major}]" not in dynamic:
        complaints.append(f"the soname is not libeddy.so.{major}")
    if versions != {f"EDDY_{major}"}:
        complaints.append(f"the versions of the symbols are {versions}, not EDDY_{major}")
    if "NODELETE" not in dynamic:
        complaints.append("the library can be unloaded under a thread that still has a loop")
    complaints += weaknesses(library, dynamic)
    print("\n".join(complaints) or f"{len(exports)} functions, those of the header and of {LIST.name}")
    return 1 if complaints or not exports else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
