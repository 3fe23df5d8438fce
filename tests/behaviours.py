#!/usr/bin/env python3
"""Prints the behaviours of behaviours.txt that no test names, and fails when there are any.

A test names those that it really shows, as in R42 R43:
  in C        TEST(name, "R42 R43")
  in Rust     /// Shows R42, R43.
  in Python   # Shows R42, R43.
behaviours-left-out.txt has those that nothing can show, or not yet, each with the reason.
Ids with other letters than those of behaviours.txt are none of its business, nor are those in lower case, which are of
hostile situations.
"""

import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = TESTS.parent
NAMED = {
    "tests/**/test_*.c": r'\bTEST\(\s*\w+\s*,\s*"([^"]*)"',
    "tests/*.rs": r"///\s*Shows\s+(.*)",
    "src/**/*.rs": r"///\s*Shows\s+(.*)",
    "tests/oracle/*.py": r"#\s*Shows\s+(.*)",
    "tests/examples/*.py": r"#\s*Shows\s+(.*)",
}


def listed(name):
    lines = (TESTS / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


def shown():
    """Each id that a test names, and the first file that does."""
    ids = {}
    for files, pattern in NAMED.items():
        for file in sorted(ROOT.glob(files)):
            for match in re.finditer(pattern, file.read_text(encoding="utf-8")):
                for identity in re.findall(r"\b[A-Z]\d+\b", match.group(1)):
                    ids.setdefault(identity, file.relative_to(ROOT))
    return ids


def main():
    behaviours, left_out, tests = listed("behaviours.txt"), listed("behaviours-left-out.txt"), shown()
    complaints = [f"{i}: no test shows that: {text}" for i, text in behaviours.items()
                  if i not in tests and i not in left_out]
    complaints += [f"{i}: left out, and yet {tests[i]} shows it" for i in left_out if i in tests]
    complaints += [f"{i}: named in {file}, and unknown" for i, file in tests.items()
                   if i not in behaviours and i[0] in {known[0] for known in behaviours}]
    complaints += [f"{i}: left out, and unknown" for i in left_out if i not in behaviours]
    print("\n".join(complaints))
    print(f"{len(behaviours)} behaviours: {len(behaviours.keys() & tests.keys())} shown by tests,"
          f" {len(left_out)} left out with a reason, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
