"""The parent of ``roomkey serve --workers N``: it starts workers, and replaces those that die or stall.

It makes the listening socket, which the workers inherit, and serves nothing itself. A worker is a new process
(:mod:`roomkey.server.worker`), not a copy of the parent: so it works on every system, and a restart takes new code and
new settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from roomkey.errors import ConfigError
from roomkey.server import logs
from roomkey.server.child import SILENT_SECONDS, Child
from roomkey.server.config_file import read_config
from roomkey.server.connection_counts import SLOTS, ConnectionCounts, new_table
from roomkey.server.control import Start, send_start
from roomkey.server.listening import listen, shown_url
from roomkey.server.settings import Settings, check_exposure, missing_on_other_machines
from roomkey.server.settings_sources import load_settings

__all__ = ["Command", "serve"]

LOG = logging.getLogger("roomkey.server")

STOP_SECONDS = 2.0
"""How long after ``drain_timeout`` a worker may still run."""

STEADY_SECONDS = 10.0
LONGEST_BACKOFF = 30.0
"""A worker that dies sooner after its start than this is replaced after a pause, which doubles each time."""

LAUNCH_SECONDS = 1.0
"""How long to wait if the system cannot start a process."""


@dataclass(frozen=True, slots=True)
class Command:
    """What the command line says; the rest of the settings is read when a worker starts.

    Of its options, those that are None were not used.
    """

    config: Path | None
    options: Mapping[str, object]
    demo: bool = False
    credentials_file: Path | None = None

    def settings(self) -> Settings:
        """Read the settings.

        Raises:
            ConfigError: they are invalid.
        """
        return load_settings(read_config(self.config), **self.options)


def serve(command: Command, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. SIGHUP restarts the workers one by one, with new code and settings.

    Args:
        command: the command line.
        settings: the settings that were read from it.

    Raises:
        ConfigError: the server cannot start. The text is one line that says what to do.
    """
    check_exposure(settings)
    with contextlib.closing(listen(settings.host, settings.port)) as listener, _private_folder() as folder:
        logs.configure()
        logs.warn(missing_on_other_machines(settings))
        asyncio.run(Parent(command, settings, listener, folder).run())


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """Create a folder that only this user can open, with a short path, as addresses of sockets must be."""
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="roomkey-", dir=base if len(base) < 60 else "/tmp")  # noqa: S108 - it is private
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Parent:
    """Keeps the workers running.

    Args:
        command: the command line.
        settings: the settings at the start.
        listener: the listening socket.
        folder: a private folder.
    """

    def __init__(self, command: Command, settings: Settings, listener: socket.socket, folder: Path) -> None:
        self._command = command
        self._settings = settings
        self._listener = listener
        self._folder = folder
        self._table = new_table()
        self._children: set[Child] = set()
        self._current: dict[int, Child] = {}
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._stopping = False
        self._restarting: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run the workers until a signal.

        Raises:
            ConfigError: the first worker cannot start.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, stop)
        loop.add_signal_handler(signal.SIGHUP, self._restart)
        watching = loop.create_task(self._watch())
        starting = loop.create_task(self._start_all())
        stopped = loop.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopped
        finally:
            self._stopping = True
            for task in (starting, stopped, *self._keepers.values(), *filter(None, [self._restarting])):
                task.cancel()
            await self._stop_all()
            watching.cancel()

    def _signalled(self, stop: asyncio.Event) -> None:
        if stop.is_set():  # the operator does not want to wait
            self._kill_all()
        stop.set()

    # Starting

    async def _start_all(self) -> None:
        """Start the first worker, which creates what is missing, and then the others."""
        await self._start_first([1])
        await self._start_first(range(2, self._settings.workers + 1))
        sys.stdout.write(f"roomkey serves {shown_url(self._settings, self._listener)} (stop with Ctrl+C)\n")
        sys.stdout.flush()

    async def _start_first(self, numbers: Iterable[int]) -> None:
        children = [await self._launch(number) for number in numbers]
        for child in children:
            if not await self._has_started(child):
                raise ConfigError(child.failure or f"{child} ended before it served; its last lines say why")
            self._current[child.number] = child
            self._keepers[child.number] = asyncio.create_task(self._keep(child.number))

    async def _launch(self, number: int) -> Child:
        """Start a process.

        Raises:
            ConfigError: the system has no memory, process or file descriptor for it.
        """
        try:
            return await self._start_process(number)
        except OSError as error:
            raise ConfigError(f"cannot start worker {number}: {error.strerror or error}") from None

    async def _start_process(self, number: int) -> Child:
        ours, theirs = socket.socketpair()
        slot = next(slot for slot in range(SLOTS) if all(slot != child.slot for child in self._children))
        kept = [theirs.fileno(), self._listener.fileno(), self._table]
        with contextlib.ExitStack() as on_failure, theirs:
            on_failure.callback(ours.close)
            process = await asyncio.create_subprocess_exec(
                *_interpreter(),
                *("-m", "roomkey.server.worker", str(theirs.fileno())),
                pass_fds=kept,
                process_group=0,  # the parent alone receives the signals of the terminal
                stdin=asyncio.subprocess.DEVNULL,
            )
            on_failure.pop_all()
        child = Child(number, slot, process, ours)
        self._children.add(child)
        child.ended.add_done_callback(lambda _: self._forget(child))
        listener = self._listener
        send_start(
            ours,
            Start(
                number=number,
                slot=slot,
                workers=self._settings.workers,
                listener=(listener.fileno(), listener.family, listener.type, listener.proto),
                table=self._table,
                folder=str(self._folder),
                config=None if self._command.config is None else str(self._command.config),
                options=self._command.options,
                demo=self._command.demo,
                credentials_file=None if (file := self._command.credentials_file) is None else str(file),
                first=number == 1 and not self._current,
            ),
        )
        return child

    def _forget(self, child: Child) -> None:
        self._children.discard(child)
        counts = ConnectionCounts(self._table, child.slot)
        counts.clear()
        counts.close()

    # Keeping

    async def _watch(self) -> None:
        """Kill the workers that have stalled."""
        while True:
            await asyncio.sleep(SILENT_SECONDS / 10)
            for child in list(self._children):
                child.kill_if_late()

    async def _keep(self, number: int) -> None:
        """Replace a worker whenever it dies."""
        deaths = 0
        while True:
            child = self._current[number]
            code = await asyncio.shield(child.ended)
            if child is not self._current.get(number):  # it had a successor
                if number not in self._current:
                    return
                continue
            lived = asyncio.get_running_loop().time() - child.started
            deaths = deaths + 1 if lived < STEADY_SECONDS else 0
            pause = min(LONGEST_BACKOFF, 2.0 ** (deaths - 1)) if deaths else 0.0
            LOG.error("%s ended%s; starting another%s", child, child.why(code), f" in {pause:.0f} s" if pause else "")
            await asyncio.sleep(pause)
            await self._succeed(child)

    async def _succeed(self, dead: Child) -> None:
        """Start another worker in the place of a dead one, unless a restart does so. Try again until that works."""
        while self._current.get(dead.number) is dead:
            try:
                child = await self._launch(dead.number)
            except ConfigError as error:
                LOG.error("%s; trying again in %.0f s", error, LAUNCH_SECONDS)
                await asyncio.sleep(LAUNCH_SECONDS)
                continue
            if self._current.get(dead.number) is not dead:  # a restart was faster
                child.kill()
                return
            self._current[dead.number] = child
            child.serves.add_done_callback(partial(_log_start, child))

    # Restarting

    def _restart(self) -> None:
        """Begin to replace all workers. A second signal at the same time begins anew with the newest settings."""
        if self._stopping or not self._keepers:
            return
        if self._restarting is not None:
            self._restarting.cancel()
        self._restarting = asyncio.create_task(self._restart_all())

    async def _restart_all(self) -> None:
        try:
            self._settings = self._command.settings()
        except ConfigError as error:
            LOG.error("cannot restart the workers: %s; they continue with the settings that they have", error)
            return
        LOG.info("restarting %d workers", self._settings.workers)
        for number in range(1, self._settings.workers + 1):
            if not await self._replace(number):
                return
        for number in [number for number in self._current if number > self._settings.workers]:
            self._retire(self._current.pop(number))
            del self._keepers[number]
        LOG.info("restarted %d workers", self._settings.workers)

    async def _replace(self, number: int) -> bool:
        """Start a successor, and stop the worker once the successor serves. Returns False if it never does."""
        try:
            successor = await self._launch(number)
        except ConfigError as error:
            LOG.error("%s; the others continue", error)
            return False
        if not await self._has_started(successor):
            LOG.error("%s could not start%s; the others continue", successor, successor.why())
            return False
        before = self._current.get(number)
        self._current[number] = successor
        if number not in self._keepers:
            self._keepers[number] = asyncio.create_task(self._keep(number))
        if before is not None and not before.ended.done():
            self._retire(before)
            await asyncio.shield(before.ended)
        return True

    async def _has_started(self, child: Child) -> bool:
        """Return whether a worker serves, once that is known. If the parent stops first, kill it."""
        try:
            return await asyncio.shield(child.serves)
        except asyncio.CancelledError:
            child.kill()
            raise

    def _retire(self, child: Child) -> None:
        """Let a worker stop, while others take over its clients."""
        staying = sum(other is not child for other in self._current.values())
        self._stop(child, staying)

    def _stop(self, child: Child, staying: int) -> None:
        if child.serves.done():
            child.drain(staying, self._settings.drain_timeout + STOP_SECONDS)
        else:
            child.kill()  # it has no clients yet

    # Stopping

    async def _stop_all(self) -> None:
        """Stop all workers at once: there is nobody on this machine to take over."""
        seconds = self._settings.drain_timeout + STOP_SECONDS
        for child in self._children:
            self._stop(child, 0)
        if self._children:
            _, late = await asyncio.wait([child.ended for child in self._children], timeout=seconds + 1)
            if late:
                self._kill_all()
                await asyncio.wait(late)

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()


def _interpreter() -> list[str]:
    """Return the command of this interpreter. It searches the current folder only if this process does."""
    searches_here = sys.path[:1] in ([""], [str(Path.cwd())])
    return [sys.executable, *([] if searches_here else ["-P"])]


def _log_start(child: Child, serves: asyncio.Future[bool]) -> None:
    if not serves.cancelled() and serves.result():
        LOG.info("%s serves", child)
