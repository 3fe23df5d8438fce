"""CPython's own tests of asyncio's streams, with eddy's names in the place of asyncio's.

    python cpython.py [name of a test]...

They are those of the Python that runs this; some systems have them in a package of their own (python3-test, or
libpython3-testsuite). A test passes, or stands in LEFT_OUT with its reason; one that stands there and passes is wrong
there.
"""
import asyncio
import sys
import types
import unittest

import eddy
from eddy import _opening

try:
    from test.test_asyncio import test_server, test_streams, test_unix_events
except ImportError:
    print("skipped: this Python comes without its tests")
    sys.exit(77)

try:
    from test.test_asyncio import test_ssl # since Python 3.11
except ImportError:
    test_ssl = None

NAMES = {name: getattr(eddy, name) for name in eddy.__all__}

#: Why a test cannot be passed: the only reasons there are.
MOCK = "puts a mock in the place of asyncio's socket module, which nobody calls here"
PRIVATE = "calls private methods of asyncio's Server: _attach, _detach"
LEFT_OUT = {
    "unix_events.SelectorEventLoopUnixSocketTests.test_create_unix_server_bind_error": MOCK,
}
if sys.version_info[:2] == (3, 12):
    LEFT_OUT["server.TestServer2.test_wait_closed_basic"] = PRIVATE
    LEFT_OUT["server.TestServer2.test_wait_closed_race"] = PRIVATE


class Loop(asyncio.SelectorEventLoop):
    """For tests of what is below the streams: the loop's own methods are libeddy's."""

    def create_connection(self, *args, **kwds):
        return _opening.create_connection(self, *args, **kwds)

    def create_unix_connection(self, *args, **kwds):
        return _opening.create_unix_connection(self, *args, **kwds)

    def create_server(self, *args, **kwds):
        return _opening.create_server(self, *args, **kwds)

    def create_unix_server(self, *args, **kwds):
        return _opening.create_unix_server(self, *args, **kwds)


class Result(unittest.TextTestResult):
    def __init__(self, *args):
        super().__init__(*args)
        self.passed, self.left_out = [], set()

    def addFailure(self, test, error):
        if name(test) in LEFT_OUT:
            self.left_out.add(name(test))
        else:
            super().addFailure(test, error)

    def addError(self, test, error):
        if name(test) in LEFT_OUT:
            self.left_out.add(name(test))
        else:
            super().addError(test, error)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed.append(name(test))


def name(test):
    test = getattr(test, "test_case", test) # of a subtest
    return test.id().removeprefix("test.test_asyncio.").removeprefix("test_")


def replace(module, **more):
    """Whatever the module takes of asyncio, it takes of eddy, if there is such a thing."""
    ours = types.ModuleType("asyncio")
    ours.__dict__.update(vars(asyncio), **NAMES, **more)
    module.asyncio = ours
    return module


def main(only):
    unittest.installHandler()
    load = unittest.defaultTestLoader
    suite = unittest.TestSuite([
        load.loadTestsFromModule(replace(test_streams)),
        load.loadTestsFromModule(replace(test_server)),
        load.loadTestsFromTestCase(replace(test_unix_events, SelectorEventLoop=Loop).SelectorEventLoopUnixSocketTests),
    ])
    if test_ssl is not None:
        replace(test_ssl)
        suite.addTest(load.loadTestsFromTestCase(type("TestSSL", (test_ssl.TestSSL,), {
            "__module__": test_ssl.__name__, "__qualname__": "TestSSL", "new_loop": lambda self: Loop(),
        })))
    tests = [test for test in flat(suite) if not only or any(word in name(test) for word in only)]
    result = unittest.TextTestRunner(resultclass=Result, verbosity=2 if only else 1).run(unittest.TestSuite(tests))
    unexpected = sorted({name(test) for test, _ in result.failures + result.errors})
    stale = sorted(LEFT_OUT.keys() & set(result.passed))
    left = sorted(result.left_out)
    print(f"Python {sys.version.split()[0]}: {len(result.passed)} passed, {len(left)} left out, "
          f"{len(result.skipped)} skipped by CPython itself")
    for each in left:
        print(f"  left out: {each}: {LEFT_OUT[each]}")
    for each in unexpected:
        print(f"  FAILED: {each}")
    for each in stale:
        print(f"  passes, and does not belong to those left out: {each}")
    return bool(unexpected or stale)


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
