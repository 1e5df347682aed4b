"""The machine under the peers: a PostgreSQL cluster of the run's own, the disk's syncs, the load."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time


def syncs(folder):
    """fdatasync/s of the disk: appends of 4 KiB, each synced, for two seconds (as bench/engine measures it)."""
    path, count = folder / "sync", 0
    with open(path, "wb", buffering=0) as file:
        started = time.perf_counter()
        while time.perf_counter() - started < 2:
            file.write(b"7" * 4096)
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return round(count / 2)


def load():
    return [round(value, 2) for value in os.getloadavg()]


def processor():
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return "an unknown processor"


def postgres_bin():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise SystemExit("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    return found[-1].parent


@contextlib.contextmanager
def cluster(folder):
    """A cluster with the settings of bench/engine/src/cluster.rs, `fsync` on; gives (a function that makes a database
    and tells its URL, the server's version)."""
    home = folder / "postgres"
    home.mkdir()
    as_postgres = []
    if os.getuid() == 0:
        # the server refuses to run as root; its user must reach the directory
        folder.chmod(0o755)
        shutil.chown(home, "postgres")
        as_postgres = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, bins = str(home / "data"), postgres_bin()

    def call(program, *arguments):
        command = [*as_postgres, bins / program, *arguments]
        done = subprocess.run(command, cwd="/", text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        return done.stdout

    call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
    options += "-c shared_buffers=256MB -c max_wal_size=2GB"
    call("pg_ctl", "-D", data, "-l", str(home / "log"), "-w", "-o", options, "start")

    def database(name):
        call("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", name)
        return f"postgres://postgres@127.0.0.1:{port}/{name}"

    try:
        yield database, call("postgres", "--version").split()[2]
    finally:
        call("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
