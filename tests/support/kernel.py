"""Processes with Unix sockets in one test, which decides in which order everything happens.

Each process has an event loop, and is real from there on. The kernel below is not: a test chooses which process runs,
what its event loop notices, when a killed process closes which descriptor, and how the time passes.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["Kernel", "Process"]

CAPACITY = 1000
"""The bytes that a socket holds until they are read."""


class Kernel:
    """The time, the sockets and the processes.

    Attributes:
        now: the time in seconds.
        processes: those that run or are stopped.
        closing: what killed processes have not closed yet.
        errors: what event loops report as unhandled.
        late: a socket of which nobody notices anything until nothing else happens.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.processes: list[Process] = []
        self.closing: list[Callable[[], None]] = []
        self.errors: list[dict[str, Any]] = []
        self.late: End | None = None
        self.listening: dict[int, Listener] = {}
        self._killed: list[Process] = []

    def start(self) -> Process:
        """Start a process."""
        self.processes.append(Process(self))
        return self.processes[-1]

    def kill(self, process: Process) -> None:
        """Kill a process. What it had open is closed in the order of ``closing``."""
        self.processes.remove(process)
        self._killed.append(process)
        self.closing += [listener.close for listener in process.listeners]
        self.closing += [end.close for end in process.ends if not end.is_closed]

    def step(self, random: Random) -> bool:
        """Let one thing happen, without time passing. Returns False if nothing can happen."""
        if self.late is None and random.random() < 0.05:
            self.late = random.choice([end for process in self.processes for end in process.ends] or [None])
        busy = [process for process in self.processes if process.is_busy()]
        if self.closing and (not busy or random.random() < 0.3):
            self.closing.pop(random.randrange(len(self.closing)))()
        elif busy:
            random.choice(busy).step(random)
        elif self.late is not None:
            self.late = None
        else:
            return False
        return True

    def run(self, random: Random, seconds: float) -> None:
        """Let all processes run for so long, as fast as the sockets permit."""
        until = self.now + seconds
        while True:
            if self.step(random):
                continue
            due = [when for process in self.processes if (when := process.next_timer()) is not None]
            if not due or min(due) > until:
                break
            self.now = max(self.now, min(due))
        self.now = max(self.now, until)

    def end(self) -> None:
        """Release everything."""
        for process in (*self.processes, *self._killed):
            for listener in process.listeners:
                listener.close()
            process.end()


class Process:
    """A process.

    Attributes:
        loop: its event loop.
        is_stopped: True after SIGSTOP.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.loop = ProcessLoop(self)
        self.loop.set_exception_handler(lambda loop, context: kernel.errors.append(context))
        self.is_stopped = False
        self.listeners: list[Listener] = []
        self.ends: list[End] = []

    def do(self, action: Callable[[], object]) -> None:
        """Run a function on the event loop, and nothing else."""
        asyncio._set_running_loop(self.loop)
        try:
            action()
        finally:
            asyncio._set_running_loop(None)

    def step(self, random: Random) -> None:
        """Let the event loop run once. It notices some of what has happened to its sockets, in any order."""
        noticed = list(self._events())
        random.shuffle(noticed)
        if random.random() < 0.5:
            del noticed[random.randrange(len(noticed) + 1) :]
        for event in noticed:
            self.loop.call_soon(event)
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def _events(self) -> Iterator[Callable[[], None]]:
        for listener in self.listeners:
            if listener.backlog:
                yield listener.accept
        for end in self.ends:
            if (transport := end.transport) is not None and end is not self.kernel.late:
                if transport.is_reading and (end.inbox or end.peer.is_closed):
                    yield transport.read
                if transport.buffer and (end.peer.is_closed or end.peer.room()):
                    yield transport.send

    def is_busy(self) -> bool:
        """Return True if there is something to do now."""
        if self.is_stopped:
            return False
        due = self.next_timer()
        return bool(self.loop._ready) or (due is not None and due <= self.kernel.now) or any(self._events())

    def next_timer(self) -> float | None:
        """Return when the next timer is due."""
        times = [handle.when() for handle in self.loop._scheduled if not handle.cancelled()]
        return min(times, default=None) if not self.is_stopped else None

    def end(self) -> None:
        """Release everything."""
        while (tasks := asyncio.all_tasks(self.loop)) or self.loop._ready:
            for task in tasks:
                task.cancel()
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        self.loop.close()


class ProcessLoop(asyncio.SelectorEventLoop):
    """The event loop of a process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        super().__init__()

    def time(self) -> float:
        return self._process.kernel.now

    async def create_unix_connection(self, factory, path):  # type: ignore[no-untyped-def, override]
        listener = self._process.kernel.listening.get(Path(path).stat().st_ino)
        if listener is None:
            raise ConnectionRefusedError(path)
        mine = End(self._process)
        mine.peer = End(listener.process, mine)
        listener.backlog.append(mine.peer)
        transport = Transport(self, mine, factory())
        waiter = self.create_future()
        self.call_soon(lambda: waiter.done() or waiter.set_result(None))
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, transport.protocol

    async def create_unix_server(self, factory, *, sock):  # type: ignore[no-untyped-def, override]
        return Listener(self._process, sock, factory)


class Listener:
    """A listening socket. Its file is real."""

    def __init__(self, process: Process, sock: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        self.process = process
        self.backlog: deque[End] = deque()
        self._socket = sock
        self._factory = factory
        self._inode = self._find(sock)
        process.kernel.listening[self._inode] = self
        process.listeners.append(self)

    @staticmethod
    def _find(sock: socket.socket) -> int:
        bound = Path(sock.getsockname())  # the file was renamed since then
        return bound.with_name(f"{bound.name[1:]}.bus").stat().st_ino

    def accept(self) -> None:
        while self.backlog:
            Transport(self.process.loop, self.backlog.popleft(), self._factory())

    def close(self) -> None:
        self._socket.close()
        if self.process.kernel.listening.get(self._inode) is self:
            del self.process.kernel.listening[self._inode]
        while self.backlog:
            self.backlog.popleft().close()
        if self in self.process.listeners:
            self.process.listeners.remove(self)


class End:
    """One end of a connection.

    Attributes:
        inbox: what was sent to it and is not read yet.
        peer: the other end.
    """

    def __init__(self, process: Process, peer: End | None = None) -> None:
        self.inbox = bytearray()
        self.is_closed = False
        self.transport: Transport | None = None
        self.peer = self if peer is None else peer
        self._process = process
        process.ends.append(self)

    def room(self) -> int:
        return max(0, CAPACITY - len(self.inbox))

    def close(self) -> None:
        self.is_closed = True
        if self in self._process.ends:
            self._process.ends.remove(self)


class Transport(asyncio.Transport):
    """What asyncio makes of an end; it behaves as asyncio's own."""

    def __init__(self, loop: ProcessLoop, end: End, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.buffer = b""
        self.is_reading = False
        self._loop = loop
        self._end = end
        self._is_closing = False
        self._is_lost = False
        end.transport = self
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start_reading)

    def _start_reading(self) -> None:
        self.is_reading = not self._is_closing

    def read(self) -> None:
        if not self.is_reading:
            return
        if self._end.inbox:
            data = bytes(self._end.inbox)
            self._end.inbox.clear()
            self.protocol.data_received(data)
        elif self._end.peer.is_closed:
            self.protocol.eof_received()
            self.close()

    def write(self, data: bytes) -> None:  # type: ignore[override]
        if not self._is_lost:
            self.buffer += data
            self.send()

    def send(self) -> None:
        if self._is_lost:
            return
        peer = self._end.peer
        if peer.is_closed:
            self.abort()
            return
        size = peer.room()
        peer.inbox += self.buffer[:size]
        self.buffer = self.buffer[size:]
        if self._is_closing and not self.buffer:
            self._lose()

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.is_reading = False
            if not self.buffer:
                self._lose()

    def abort(self) -> None:
        self.buffer = b""
        self._is_closing = True
        self.is_reading = False
        self._lose()

    def _lose(self) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self._call_connection_lost)

    def _call_connection_lost(self) -> None:
        try:
            self.protocol.connection_lost(None)
        finally:
            self._end.close()
