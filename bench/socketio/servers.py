"""The peers: how each is started, on which core, and its versions."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

import meter

METER = meter.SOURCE
HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
BUN = MODULES / ".bin" / "bun"
SECRET = secrets.token_urlsafe(32)
# From the beginning: later, this process is on one core.
ALLOWED = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


class NotAvailable(Exception):
    """Raised when a peer cannot run here; the text says why."""


@dataclass(frozen=True)
class Peer:
    name: str
    command: tuple[str, ...]
    lacks: frozenset[str] = frozenset()  # operations that it does not support
    environment: Mapping[str, str] = field(default_factory=dict)


# -P: the script's own folder must not shadow the library of the same name.
PEERS = {
    peer.name: peer
    for peer in (
        Peer("raw", (sys.executable, "-P", "raw.py"), frozenset({"polling", "polling_echo"})),
        Peer("roomkey", (sys.executable, "-P", "roomkey.py")),
        Peer("bun", (str(BUN), "bun.ts")),
        Peer("node", ("node", "node.js")),
        Peer("python-socketio", (sys.executable, "-P", "python_socketio.py")),
    )
}


@cache
def install() -> None:
    """Install the JavaScript peers' packages from the lock file."""
    if not (MODULES / "socket.io").exists() and shutil.which("npm"):
        subprocess.run(["npm", "ci", "--silent", "--prefix", str(HERE)], check=False)


def cores() -> tuple[int, int]:
    """Return one core for the servers and one for the load generator."""
    if len(ALLOWED) < 2:
        raise SystemExit("the benchmark needs two cores")
    return ALLOWED[0], ALLOWED[-1]


def on_core(number: int) -> list[str]:
    """Return the beginning of a command that keeps a process on a core, where the system can do that."""
    return ["taskset", "-c", str(number)] if shutil.which("taskset") else []


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[tuple[int, int]]:
    """Start the server on its core, yield its port and process ID, and stop it."""
    install()
    if shutil.which(peer.command[0]) is None:
        raise NotAvailable(f"{Path(peer.command[0]).name} is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*on_core(cores()[0]), *peer.command[:-1], str(HERE / "peers" / peer.command[-1])]
    env = {**os.environ, "SECRET": SECRET, "PORT": str(port), "NODE_ENV": "production", **peer.environment}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            await_port(process, port, log)
            yield port, process.pid
        finally:
            stop(process)


def await_port(process: subprocess.Popen[bytes], port: int, log) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            raise NotAvailable(lines[-1] if lines else "it does not listen")
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server's process group: the server and its workers."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return


def allow_connections() -> None:
    """Raise the limit of open files to the maximum that this user has; the servers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def versions() -> dict[str, str]:
    """Return the versions of the peers and their libraries."""
    found = {"Python": platform.python_version()}
    for package in ("uvloop", "python-socketio", "python-engineio", "uvicorn", "PyJWT"):
        with contextlib.suppress(ImportError):
            found[package] = version(package)
    for name, command in (("Node", "node"), ("Bun", str(BUN))):
        if shutil.which(command):
            shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
            found[name] = shown.stdout.strip().removeprefix("v")
    for package in ("socket.io", "engine.io", "ws", "jsonwebtoken", "@socket.io/bun-engine"):
        with contextlib.suppress(OSError):
            found[package] = json.loads((MODULES / package / "package.json").read_text())["version"]
    return found


def machine() -> dict[str, str | int]:
    model, cpuinfo = platform.processor() or "unknown", Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    for line in lines:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    virtual = any("hypervisor" in line for line in lines)
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "virtual": virtual,
        "memory_gib": round(pages / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }
