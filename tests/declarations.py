#!/usr/bin/env python3
"""declarations.py eddy.h FILE...: what a binding repeats of the header is in the header, letter by letter but for
white space and comments. It stands below the words "letter by letter", between [[ and ]], or between two `."""
import re
import sys


def squeezed(text):
    return " ".join(text.split())


def declarations(text):
    quoted = re.search(r"letter by letter.*?(?:\[\[(.*?)\]\]|`(.*?)`)", text, re.S)
    return re.findall(r"(?:\{[^}]*\}|[^;{}])+;", quoted[1] or quoted[2])


header = squeezed(re.sub(r"/\*.*?\*/", "", open(sys.argv[1], encoding="utf-8").read(), flags=re.S))
status = 0
for path in sys.argv[2:]:
    found = declarations(open(path, encoding="utf-8").read())
    assert len(found) > 20, f"{path}: too few declarations were found"
    for declaration in found:
        if squeezed(declaration) not in header:
            print(f"{path}: not in {sys.argv[1]}: {squeezed(declaration)}")
            status = 1
sys.exit(status)
