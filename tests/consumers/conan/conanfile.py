"""Somebody's first project, with eddy from Conan."""
from pathlib import Path

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout


class Consumer(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = ("CMakeDeps", "VirtualRunEnv")

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        shared = self.dependencies["eddy"].options.shared
        toolchain.variables["EDDY_TARGET"] = "eddy::eddy" if shared else "eddy::eddy_static"
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure(build_script_folder="..")
        cmake.build()

    def test(self):
        if can_run(self):
            self.run(str(Path(self.build_folder) / "consumer"), env="conanrun")
