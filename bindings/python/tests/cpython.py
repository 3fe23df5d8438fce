"""CPython's own tests of asyncio's streams, with eddy's names in the place of asyncio's: in asyncio's loop, and on
libeddy's own.

    python cpython.py [name of a test]...

They are those of the Python that runs this; Debian has them in a package of their own. A test passes, or stands in
LEFT_OUT with its reason; one that stands there and passes is wrong there. Of test_unix_events and test_ssl it is what
opens connections and servers that is run: what else there is (signals, pipes, child processes, contexts) is not about
streams.
"""
import asyncio
import collections
import sys
import types
import unittest

import eddy
from eddy import _opening
from in_venv import lacking

try:
    from test.test_asyncio import test_server, test_streams, test_unix_events
except ImportError:
    lacking("test.test_asyncio in this Python (Debian: libpython3.*-testsuite)")
try:
    from test.test_asyncio import test_ssl # since Python 3.11
except ImportError:
    test_ssl = None

NAMES = {name: getattr(eddy, name) for name in eddy.__all__ if name not in ("EventLoop", "run")}

#: Why a test cannot be passed: the only reasons there are.
MOCK = "puts a mock in the place of asyncio's socket module, which nobody calls here"
PRIVATE = "calls private methods of asyncio's Server: _attach, _detach"
LEFT_OUT = {
    "test_unix_events.SelectorEventLoopUnixSocketTests.test_create_unix_server_bind_error": MOCK,
}
if sys.version_info[:2] == (3, 12):
    LEFT_OUT["test_server.TestServer2.test_wait_closed_basic"] = PRIVATE
    LEFT_OUT["test_server.TestServer2.test_wait_closed_race"] = PRIVATE


class Guest(asyncio.SelectorEventLoop):
    """asyncio's loop, for tests of what is below the streams: what it opens is libeddy's."""

    create_connection = _opening.create_connection
    create_unix_connection = _opening.create_unix_connection
    create_server = _opening.create_server
    create_unix_server = _opening.create_unix_server


class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = eddy.EventLoop


def replace(module, **more):
    """Whatever the module takes of asyncio, it takes of eddy, if there is such a thing."""
    ours = types.ModuleType("asyncio")
    ours.__dict__.update(vars(asyncio), **NAMES, **more)
    # Modules end with the policy that asyncio begins with.
    ours.set_event_loop_policy = ours._set_event_loop_policy = lambda policy: None
    module.asyncio = ours
    return module


def tests(loop):
    load = unittest.defaultTestLoader
    yield load.loadTestsFromModule(replace(test_streams))
    yield load.loadTestsFromModule(replace(test_server))
    yield load.loadTestsFromTestCase(replace(test_unix_events, SelectorEventLoop=loop).SelectorEventLoopUnixSocketTests)
    if test_ssl is not None:
        yield load.loadTestsFromTestCase(type("TestSSL", (replace(test_ssl).TestSSL,), {
            "__module__": test_ssl.__name__, "__qualname__": "TestSSL", "new_loop": lambda self: loop(),
        }))


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def name(test):
    test = getattr(test, "test_case", test) # of a subtest
    return test.id().removeprefix("test.test_asyncio.")


class Result(unittest.TextTestResult):
    def __init__(self, *args):
        super().__init__(*args)
        self.passed, self.left_out = set(), set()

    def addFailure(self, test, error):
        self.failed(super().addFailure, test, error)

    def addError(self, test, error):
        self.failed(super().addError, test, error)

    def failed(self, add, test, error):
        if name(test) in LEFT_OUT:
            self.left_out.add(name(test))
        else:
            add(test, error)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed.add(name(test))


def run(where, loop, only):
    """Runs them, says what came of it, and whether that is as it should be."""
    suite = unittest.TestSuite(test for each in tests(loop) for test in flat(each)
                               if not only or any(word in name(test) for word in only))
    result = unittest.TextTestRunner(resultclass=Result, verbosity=2 if only else 1).run(suite)
    print(f"Python {sys.version.split()[0]}, {where}:")
    counts = collections.defaultdict(list)
    for kind, names in (("passed", result.passed), ("left out", result.left_out),
                        ("skipped by CPython itself", {name(test) for test, _ in result.skipped})):
        for module, count in sorted(collections.Counter(each.split(".")[0] for each in names).items()):
            counts[module].append(f"{count} {kind}")
    for module in sorted(counts):
        print(f"  {module}: {', '.join(counts[module])}")
    for each in sorted(result.left_out):
        print(f"  left out: {each}: {LEFT_OUT[each]}")
    unexpected = {name(test) for test, _ in result.failures + result.errors}
    stale = LEFT_OUT.keys() & result.passed
    for each in sorted(unexpected):
        print(f"  FAILED: {each}")
    for each in sorted(stale):
        print(f"  passes, and does not belong to those left out: {each}")
    return result.passed and not unexpected and not stale


def main(only):
    good = run("in asyncio's loop", Guest, only)
    asyncio.set_event_loop_policy(Policy())
    good = run("on its own", eddy.EventLoop, only) and good
    return not good


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
