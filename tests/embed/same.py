#!/usr/bin/env python3
"""same.py <program> <command>...: both end well, and print the same, which is what all that was to be done looks like."""

import subprocess
import sys


def output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}, and said:\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    first, second = output(sys.argv[1]), output(*sys.argv[2:])
    print(second, end="")
    if " 0 errors" not in first or "5 closed" not in first or "7 pokes" not in first:
        sys.exit(f"not all was done:\n{first}")
    if first != second:
        sys.exit(f"that is not the same as:\n{first}")
