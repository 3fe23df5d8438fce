#!/usr/bin/env python3
"""shown.py <behaviours|hostile>: prints the lines of that list that no test names, and fails when there are any.

  behaviours.txt  what asyncio's streams do; a test names those that it really shows in capitals: R42
  hostile.txt     hostile and faulty situations, and what must happen; in small letters: n05

  in C        TEST(name, "R42 R43 n05"), or a comment: Shows n05.
  in Rust     /// Shows R42, R43.
  elsewhere   # Shows R42, n05.
<list>-left-out.txt has those that nothing can show, or not yet, each with the reason. Ids with other letters than those
of behaviours.txt are none of its business.
"""

import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = TESTS.parent
IDS = {"behaviours": r"\b[A-Z]\d+\b", "hostile": r"\b[a-z]\d+\b"}
IN_C = r'\b(?:TEST|BEHAVIOUR)\(\s*\w+\s*,\s*"([^"]*)"'
REMARK = r"(?://[/!]?|#|\*)\s*Shows\s+(.*)"
NAMED = {
    "tests/**/test_*.c": IN_C,
    "tests/host/*": REMARK,
    "tests/*.rs": REMARK,
    "src/**/*.rs": REMARK,
    "tests/**/*.py": REMARK,
    "tests/**/*.sh": REMARK,
    "tests/CMakeLists.txt": REMARK,
}


def listed(name):
    lines = (TESTS / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


def shown(pattern):
    """Each id that a test names, and the first file that does."""
    ids = {}
    for files, naming in NAMED.items():
        for file in sorted(ROOT.glob(files)):
            if file == pathlib.Path(__file__).resolve():
                continue
            for match in re.finditer(naming, file.read_text(encoding="utf-8")):
                for identity in re.findall(pattern, match.group(1)):
                    ids.setdefault(identity, file.relative_to(ROOT))
    return ids


def main(name):
    lines, left_out, tests = listed(f"{name}.txt"), listed(f"{name}-left-out.txt"), shown(IDS[name])
    complaints = [f"{i}: no test shows that: {text}" for i, text in lines.items()
                  if i not in tests and i not in left_out]
    complaints += [f"{i}: left out, and yet {tests[i]} shows it" for i in left_out if i in tests]
    complaints += [f"{i}: named in {file}, and unknown" for i, file in tests.items()
                   if i not in lines and (name == "hostile" or i[0] in {known[0] for known in lines})]
    complaints += [f"{i}: left out, and unknown" for i in left_out if i not in lines]
    print("\n".join(complaints))
    print(f"{len(lines)} lines of {name}.txt: {len(lines.keys() & tests.keys())} shown by tests,"
          f" {len(left_out)} left out with a reason, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
