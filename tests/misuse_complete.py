"""Does the table of misuse.h name every function of the header?

    python3 tests/misuse_complete.py include/eddy.h tests

A function that takes a handle must stand in the table, and once more for each further handle that it takes; the
few that take none must be called in test_misuse.c, or in test_tls_settings.c. And every function must stand in the
list of the model (model/functions.h), in the header's order, and be called there.
"""
import pathlib
import re
import sys

HANDLES = {"eddy_loop": "LOOP", "eddy_reader": "READER", "eddy_writer": "WRITER", "eddy_server": "SERVER",
           "eddy_protocol": "PROTOCOL", "eddy_transport": "TRANSPORT"}

# Second handles whose refusal is a NULL, tested one by one in test_misuse.c.
ELSEWHERE = {("eddy_writer_new", "PROTOCOL"), ("eddy_writer_new", "READER"), ("eddy_protocol_new", "READER")}


def functions(header):
    """Each function of the header, with the kinds of the handles it takes."""
    text = re.sub(r"/\*.*?\*/", " ", header, flags=re.S)
    text = re.sub(r"//[^\n]*|^\s*#[^\n]*(?:\\\n[^\n]*)*", " ", text, flags=re.M)
    text = re.sub(r"typedef[^;{]*\([^;]*;", " ", text)           # the types of callbacks
    text = re.sub(r"struct\s+\w+\s*\{[^}]*\}", " ", text)        # whose members may be functions
    for name, arguments in re.findall(r"\b(eddy_\w+)\s*\(([^()]*)\)\s*;", text):
        yield name, [HANDLES[kind] for kind in re.findall(r"(?<!const )\b(eddy_\w+)\s*\*\s*\w+\b(?!\[)", arguments)
                     if kind in HANDLES]


def main(header, tests):
    tests = pathlib.Path(tests)
    table = (tests / "misuse.h").read_text()
    # Settings of TLS belong to no loop, and to any thread: they are misused in a test of their own.
    program = (tests / "test_misuse.c").read_text() + (tests / "test_tls_settings.c").read_text()
    first = dict(re.findall(r"\bCALL\((eddy_\w+), (\w+),", table))
    second = set(re.findall(r"\bCALL_OTHER\((eddy_\w+), (\w+),", table))
    declared = dict(functions(pathlib.Path(header).read_text()))
    faults = []
    if len(declared) < 80:
        faults.append(f"only {len(declared)} functions found in {header}")
    for name, kinds in declared.items():
        if not kinds:
            if not re.search(rf"\b{name}\(", program + table):
                faults.append(f"{name} is never called")
            continue
        if first.get(name) != kinds[0]:
            faults.append(f"{name} takes a {kinds[0]}, the table says {first.get(name)}")
        for kind in kinds[1:]:
            if (name, kind) not in second and (name, kind) not in ELSEWHERE:
                faults.append(f"{name} takes a {kind} too, which the table does not say")
    for name in first.keys() - declared.keys():
        faults.append(f"{name} is in the table, and not in the header")
    listed = re.findall(r"\bF\((eddy_\w+)\)", (tests / "model" / "functions.h").read_text())
    if listed != list(declared):
        faults.append("model/functions.h is not the list of the header's functions")
    model = "".join(file.read_text() for file in sorted((tests / "model").glob("*.h")))
    for name in declared:
        if not re.search(rf"\bCALLING\({name},", model) or not re.search(rf"\b{name}\(", model):
            faults.append(f"{name} is not called by the model")
    for fault in faults:
        print(fault)
    print(f"{len(declared)} functions, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
