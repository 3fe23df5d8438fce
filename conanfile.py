"""conan create .          with cargo and cmake on the PATH; -o "eddy/*:shared=True", -o "eddy/*:tls=False" """
import re
from pathlib import Path

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, rmdir


class Eddy(ConanFile):
    name = "eddy"
    description = "asyncio's streams for C: buffered readers and writers over an event loop"
    license = "MIT OR Apache-2.0"
    topics = ("streams", "event-loop", "sockets", "tls", "asyncio")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "tls": [True, False]}
    default_options = {"shared": False, "tls": True}
    exports_sources = ("CMakeLists.txt", "Cargo.toml", "Cargo.lock", "LICENSE-*", "build.rs", "cmake/*", "include/*",
                       "rustfmt.toml", "src/*")

    def set_version(self):
        cargo = (Path(self.recipe_folder) / "Cargo.toml").read_text(encoding="utf-8")
        self.version = re.search(r'^version = "(.*)"', cargo, re.M).group(1)

    def configure(self):
        # It is Rust: what compiler and which dialect C++ has does not show.
        self.settings.rm_safe("compiler.libcxx")
        self.settings.rm_safe("compiler.cppstd")

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.variables["EDDY_TLS"] = bool(self.options.tls)
        toolchain.variables["EDDY_CARGO_FLAGS"] = "--locked"
        toolchain.variables["BUILD_TESTING"] = False
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE-*", self.source_folder, str(Path(self.package_folder) / "licenses"))
        lib = Path(self.package_folder) / "lib"
        rmdir(self, str(lib / "cmake"))
        rmdir(self, str(lib / "pkgconfig"))
        rmdir(self, str(Path(self.package_folder) / "share"))
        for unwanted in lib.glob("*.a" if self.options.shared else "*.so*"):
            unwanted.unlink()

    def package_info(self):
        self.cpp_info.libs = ["eddy"]
        target = "eddy::eddy" if self.options.shared else "eddy::eddy_static"
        self.cpp_info.set_property("cmake_file_name", "eddy")
        self.cpp_info.set_property("cmake_target_name", target)
        self.cpp_info.set_property("pkg_config_name", "eddy")
        if not self.options.shared:
            self.cpp_info.system_libs = ["pthread", "dl", "m"]
            # A shared library that contains eddy shows nothing of it.
            self.cpp_info.sharedlinkflags = ["-Wl,--exclude-libs,libeddy.a"]
