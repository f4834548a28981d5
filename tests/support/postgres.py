"""A separate PostgreSQL server, in a temporary folder and on a Unix socket there."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.missing import missing


def _folder_of_programs() -> Path:
    # Debian installs each version in a folder that is not on the PATH.
    folders = [found.parent for found in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    if not folders:
        missing("PostgreSQL is missing: apt install postgresql")
    return folders[-1]


class PostgreSQL:
    """The server, which can be stopped, suspended and started again."""

    def __init__(self, folder: Path, programs: Path, user: str | None) -> None:
        self._folder = folder
        self._programs = programs
        self._user = user
        self._names = itertools.count(1)
        self._held: list[int] = []

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, "-D", self._folder / "data", *arguments],
            user=self._user,
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def make(self) -> None:
        self._run("initdb", "-U", "roomkey", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        self._run("pg_ctl", "-w", "-l", "log", "-o", f"-k {self._folder} -h '' -F", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def hold(self) -> None:
        """Suspend the server: it accepts connections and does not respond."""
        self._held = self._processes()
        for pid in self._held:
            os.kill(pid, signal.SIGSTOP)

    def release(self) -> None:
        for pid in reversed(self._held):
            os.kill(pid, signal.SIGCONT)
        self._held = []

    def _processes(self) -> list[int]:
        first = (self._folder / "data" / "postmaster.pid").read_text().split()[0]
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        command = [self._programs / "psql", "-h", self._folder, "-U", "roomkey", "-At", "-c", query, "postgres"]
        return [int(pid) for pid in (first, *subprocess.check_output(command, text=True).split())]

    def database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test{next(self._names)}"
        command = [self._programs / "createdb", "-h", self._folder, "-U", "roomkey", name]
        subprocess.run(command, check=True)
        return f"postgresql://roomkey@/{name}?host={self._folder}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    """Return one server for all tests. Each test uses its own database."""
    programs = _folder_of_programs()
    folder = Path(tempfile.mkdtemp(prefix="roomkey-"))  # other users cannot read pytest's folders
    user = None
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        user = "nobody"
        shutil.chown(folder, user)
    server = PostgreSQL(folder, programs, user)
    server.make()
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)
