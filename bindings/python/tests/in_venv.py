"""Builds the wheel, installs it in a fresh virtual environment, and runs the tests there.

    python in_venv.py <folder to work in> [<libeddy.so, else cargo builds it>]

Ends with 77 if that cannot be done here: no venv module, or PyPI out of reach.
"""
import os
import pathlib
import shutil
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent
SKIPPED = 77


def skip(why, log=""):
    print(f"skipped: {why}\n{log[-2000:]}")
    sys.exit(SKIPPED)


def main(folder, library=None):
    folder = pathlib.Path(folder).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    if library:
        environment["EDDY_LIBRARY"] = os.path.abspath(library)

    def run(*command, **options):
        return subprocess.run(command, cwd=folder, env=environment, text=True, **options)

    def logged(*command):
        return run(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    made = logged(sys.executable, "-m", "venv", "venv")
    if made.returncode:
        skip("no virtual environment can be made", made.stdout)
    python = str(folder / "venv" / "bin" / "python")
    fetched = logged(python, "-m", "pip", "install", "-q", "--retries", "1", "cffi>=1.16", "setuptools>=77")
    if fetched.returncode:
        skip("PyPI is out of reach", fetched.stdout)
    built = logged(python, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "wheel",
                   str(TESTS.parent))
    if built.returncode:
        print(built.stdout)
        return built.returncode
    [wheel] = (folder / "wheel").iterdir()
    print(wheel.name)
    run(python, "-m", "pip", "install", "-q", str(wheel), check=True)
    logged(python, "-m", "pip", "install", "-q", "uvloop", "redis") # each test says what it does without

    failed = [test for test in ("test_eddy.py", "cpython.py", "programs.py")
              if run(python, str(TESTS / test)).returncode not in (0, SKIPPED)]
    for test in failed:
        print(f"FAILED: {test}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
