"""TLS: eddy (rustls), libevent (OpenSSL) and asyncio (OpenSSL), in turns; medians.

    python3 bench/tls/run.py [ROUNDS]          as make bench-tls does after a cargo build --release
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "bench" / "tls"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
HANDSHAKES, CHUNKS = 1000, 4000


def build():
    BUILD.mkdir(parents=True, exist_ok=True)
    cc = [os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra"]
    link = BUILD / "libeddy.so.0"
    link.unlink(missing_ok=True)
    link.symlink_to(TARGET / "libeddy.so")
    jobs = {"load": ["-lssl", "-lcrypto"],
            "eddy": [f"-I{ROOT}/include", f"-L{BUILD}", "-l:libeddy.so.0", f"-Wl,-rpath,{BUILD}"],
            "libevent": ["-levent_openssl", "-levent", "-lssl", "-lcrypto"]}
    for name, flags in jobs.items():
        if subprocess.run([*cc, HERE / f"{name}.c", "-o", BUILD / name, *flags]).returncode:
            print(f"left out: {name}")


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def once(command, kind, count):
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        port = server.stdout.readline().strip()
        before = cpu(server.pid)
        seconds = float(subprocess.run([BUILD / "load", port, kind, str(count)], check=True, capture_output=True,
                                       text=True, timeout=120).stdout)
        spent = cpu(server.pid) - before
        server.kill()
    return seconds, spent


def main(rounds=5):
    build()
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["sh", ROOT / "tests/tls/certificates.sh", directory], check=True)
        pair = [f"{directory}/server.pem", f"{directory}/server.key"]
        peers = {name: [BUILD / name, *pair] for name in ("eddy", "libevent") if (BUILD / name).exists()}
        peers["asyncio"] = [sys.executable, HERE / "python.py", *pair]
        results = {name: {"handshakes": [], "bulk": []} for name in peers}
        for _ in range(rounds):
            for kind, count in (("handshakes", HANDSHAKES), ("bulk", CHUNKS)):
                for name, command in peers.items():
                    results[name][kind].append(once(command, kind, count))
    print("| | handshakes/s | CPU/handshake | MB/s, each way | CPU/MB to and fro |\n|---|---|---|---|---|")
    megabytes = CHUNKS * 65536 / 1e6
    for name, result in results.items():
        wall, spent = ([statistics.median(run[n] for run in result["handshakes"]) for n in (0, 1)])
        bulk, bulk_spent = ([statistics.median(run[n] for run in result["bulk"]) for n in (0, 1)])
        print(f"| {name} | {HANDSHAKES / wall:.0f} | {spent / HANDSHAKES * 1e6:.0f} us "
              f"| {megabytes / bulk:.0f} | {bulk_spent / megabytes * 1e3:.2f} ms |")


main(*map(int, sys.argv[1:]))
