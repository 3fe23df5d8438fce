"""The package as its users have it: built into a wheel, and installed in a fresh virtual environment.

    python in_venv.py FOLDER [LIBRARY]      makes it: FOLDER/venv, of a libeddy.so, or of what cargo builds
    python in_venv.py FOLDER --run TEST.py  runs one of the tests that lie here in it

Ends with 77 if that cannot be done on this machine, and says why.
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


def lacking(what):
    """Of the things that tools/bootstrap fetches only where CI is set: there they must be."""
    if os.environ.get("CI"):
        sys.exit(f"there is no {what}, which tools/bootstrap fetches where CI is set")
    skip(f"there is no {what}")


def main(folder, *arguments):
    folder = pathlib.Path(folder).resolve()
    python = folder / "venv" / "bin" / "python"
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    if arguments[:1] != ("--run",):
        return make(folder, python, {**environment, **{"EDDY_LIBRARY": os.path.abspath(path) for path in arguments}})
    if not python.exists():
        skip("there is no virtual environment, as the test that makes it says")
    return subprocess.run([python, TESTS / arguments[1]], cwd=folder, env=environment).returncode


def make(folder, python, environment):
    def run(*command):
        return subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)

    def pip(*arguments):
        return run(python, "-m", "pip", *arguments)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = run(sys.executable, "-m", "venv", "venv")
    if made.returncode:
        shutil.rmtree(folder / "venv")
        skip("no virtual environment can be made", made.stdout)
    fetched = pip("install", "--retries", "1", "redis") # for programs.py
    if fetched.returncode:
        shutil.rmtree(folder / "venv")
        skip("PyPI is out of reach", fetched.stdout)
    built = pip("wheel", "--no-deps", "--wheel-dir", "wheel", TESTS.parent)
    if built.returncode:
        print(built.stdout)
        return 1
    [wheel] = (folder / "wheel").iterdir()
    installed = pip("install", wheel)
    pip("install", "uvloop") # streams.py says what it does without
    shown = run(python, "-c", "import eddy; print('eddy', eddy.__version__, 'from', eddy.__file__)")
    print(wheel.name, shown.stdout, installed.stdout if shown.returncode else "", sep="\n")
    return shown.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
