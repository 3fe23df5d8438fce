#!/usr/bin/env python3
"""symbols.py <libeddy.so> <eddy.h>: the library exports what the header declares, neither less nor more, each function
with its version; it is hardened as Debian's are, and asks for no newer C library than it has to."""

# Shows b02 b03 b04 b09 b10 b12 b14.

import platform
import re
import subprocess
import sys


# Built on Debian 12, or on what is older, it runs on distributions since 2021: there is nothing newer in it than what
# Rust's standard library asks for.
BUILD_ON, NEWEST = (2, 36), (2, 34)


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def declared(header):
    text = re.sub(r"/\*.*?\*/", "", open(header, encoding="utf-8").read(), flags=re.S)
    return set(re.findall(r"^(?!typedef|#|\s).*?\b(eddy_\w+)\(", text, flags=re.M))


def exported(library):
    """The functions, and the versions that they have."""
    lines = [line.split() for line in output("nm", "-D", "--defined-only", library).splitlines()]
    named = [words[-1].partition("@") for words in lines if words[-2] != "A"]
    return {name for name, _, _ in named}, {version.lstrip("@") for _, _, version in named}


def weaknesses(library, dynamic):
    segments = output("readelf", "-lW", library)
    if "GNU_RELRO" not in segments or "NOW" not in dynamic:
        yield "what the dynamic linker fills in can be written to afterwards (RELRO, BIND_NOW)"
    if re.search(r"GNU_STACK.*RWE", segments):
        yield "the stack is executable"
    if "TEXTREL" in dynamic:
        yield "code is written to when the library is loaded"
    if "_Unwind_RaiseException" not in output("nm", "-D", library) + output("nm", library):
        yield "a panic in it ends the process: it is built with panic=abort"
    found = re.findall(r"\bGLIBC_(\d+)\.(\d+)", output("readelf", "-VW", library))
    version = max(tuple(map(int, numbers)) for numbers in found)
    here = tuple(map(int, platform.libc_ver()[1].split(".")))
    if here <= BUILD_ON and version > NEWEST:
        yield f"it asks for a glibc of {version}, newer than {NEWEST}"


def main(library, header):
    complaints = []
    (exports, versions), declarations = exported(library), declared(header)
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
    print("\n".join(complaints) or f"{len(exports)} functions, all of them in the header")
    return 1 if complaints or not exports else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
