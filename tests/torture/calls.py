#!/usr/bin/env python3
"""calls.py <readelf> <libeddy.so>: what the library has of libc, and hooks.c does not make fail. All of it must be on one of
the lists below; so a call that is new cannot be forgotten."""
import pathlib
import re
import subprocess
import sys

# Calls of the system that are left alone, and why.
LEFT_OUT = {
    "cannot fail, as they are called": "getpid gettid getauxval sched_yield pause raise sigpending pthread_sigmask",
    "may fail only after the call before them has": "closedir dirfd freeaddrinfo",
    "of a file that is open; tells only how much room to make": "lseek64",
    "the standard library's alone, for a backtrace of a bug": "getcwd mmap64 mprotect munmap realpath readlink isatty",
    "the standard library's alone, for threads of programs in Rust": "sigaltstack sysconf",
    "called by none of our paths: vectored ones are never asked for": "readv writev",
    "in place of statx, where the kernel has none": "stat64 lstat64 fstat64",
}

# No calls of the system, or in memory that the process has.
PURE = """
abort bcmp clock_gettime dl_iterate_phdr dlsym gai_strerror getenv memchr memcmp memcpy memmove memset strlen
pthread_attr_destroy pthread_attr_getguardsize pthread_attr_getstack pthread_attr_init pthread_attr_setstacksize
pthread_detach pthread_getattr_np pthread_join pthread_key_create pthread_key_delete pthread_mutex_lock
pthread_mutex_unlock pthread_self pthread_setname_np pthread_setspecific
sigaddset sigemptyset sigfillset sigismember
"""
PURE_PREFIXES = ("_", "str")

readelf, library = sys.argv[1:]
symbols = subprocess.run([readelf, "--wide", "--dyn-syms", library], check=True, capture_output=True, text=True).stdout
wanted = set(re.findall(r" UND (\w+)", symbols))
source = pathlib.Path(__file__).with_name("hooks.c").read_text()
hooked = set(re.findall(r"^(?!static)\w[\w *]*?\b(\w+)\([^;]*?\)\n\{", source, re.M))
left_out = {name for names in LEFT_OUT.values() for name in names.split()}

forgotten = sorted(name for name in wanted - hooked - left_out - set(PURE.split()) if not name.startswith(PURE_PREFIXES))
print(f"{len(wanted & hooked)} of {len(wanted)} symbols are in hooks.c:", *sorted(wanted & hooked))
for reason, names in LEFT_OUT.items():
    print(f"left alone, {reason}: {names}")
for name in forgotten:
    print(f"FAILED calls.py: {name} is neither in hooks.c nor on a list")
sys.exit(1 if forgotten else 0)
