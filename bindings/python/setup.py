"""Builds libeddy with cargo, and what cffi needs to know of it from the header that the build has just written.

The wheel carries both, and fits every Python from 3.10 on: nothing in it is compiled for one of them. EDDY_LIBRARY
names a library that is built already.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import cffi
from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parents[2]


def declarations(header):
    """What a C header declares, without its comments and without what is the preprocessor's."""
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    header = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.DOTALL)
    return "".join(line + "\n" for line in re.sub(r"\\\n", "", header).splitlines() if not line.startswith("#"))


def built_library():
    if "EDDY_LIBRARY" in os.environ:
        return pathlib.Path(os.environ["EDDY_LIBRARY"])
    subprocess.run(["cargo", "build", "--release", "--lib"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return ROOT / target / "release" / ("libeddy.dylib" if sys.platform == "darwin" else "libeddy.so")


class Build(build_py):
    def run(self):
        super().run()
        package = pathlib.Path(self.build_lib, "eddy")
        library = built_library()
        shutil.copy(library, package / ("libeddy.dylib" if sys.platform == "darwin" else "libeddy.so"))
        ffi = cffi.FFI()
        ffi.set_source("eddy._header", None)
        ffi.cdef(declarations((ROOT / "include" / "eddy.h").read_text()))
        ffi.cdef("void *memmem(const void *, size_t, const void *, size_t);")
        ffi.emit_python_code(str(package / "_header.py"))


class Wheel(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    version=re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1],
    cmdclass={"build_py": Build, "bdist_wheel": Wheel},
)
