"""README.md: its example compiles, and its tables name what is in the header, all of it and nothing else."""
import os
import re
import subprocess

from harness import DEADLINE, equal, main, temporary_directory, test

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def text(*path):
    with open(os.path.join(ROOT, *path)) as file:
        return file.read()


def words(pattern, source):
    return set(re.findall(pattern, source))


README = text("README.md")
HEADER = text("include", "eddy.h")


@test
def the_example_compiles_and_is_short():
    source = re.search(r"```c\n(.*?)```", README, re.S).group(1)
    assert len(source.splitlines()) < 40
    with temporary_directory() as directory:
        path = os.path.join(directory, "example.c")
        with open(path, "w") as file:
            file.write(source)
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion",
                        "-Werror", "-I", os.path.join(ROOT, "include"), "-fsyntax-only", path],
                       check=True, timeout=DEADLINE)


@test
def every_function_is_in_the_tables_and_no_other():
    declared = words(r"\b(eddy_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S))
    tables = "\n".join(line for line in README.splitlines() if line.startswith("|"))
    types = words(r"\btypedef struct (eddy_\w+)", HEADER) | {"eddy_op"}
    equal(words(r"\b(eddy_\w+)", tables) - types, declared)


@test
def every_name_is_in_the_header():
    equal(words(r"\bEDDY_\w+", README) - words(r"\bEDDY_\w+", HEADER), set())
    equal(words(r"(?<!::)\beddy_\w+", README) - words(r"\beddy_\w+", HEADER), set())  # but for CMake's targets


@test
def every_link_leads_somewhere():
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert link.startswith("https://") or os.path.exists(os.path.join(ROOT, link)), link


@test
def the_examples_are_short_and_tell_how_to_compile_them():
    directory = os.path.join(ROOT, "examples-c")
    for name in sorted(os.listdir(directory)):
        source = text("examples-c", name)
        program = name.removesuffix(".c")
        libraries = "eddy glib-2.0" if "glib" in name else "eddy"
        assert f"\n *     cc {name} $(pkg-config --cflags --libs {libraries}) -o {program}\n" in source, name
        assert len(source.splitlines()) < 80, f"{name} is long"
        assert f"examples-c/{name}" in README, f"README.md does not name {name}"


main()
