"""A worker of ``roomkey serve --workers N``: ``python -m roomkey.server.worker FD``, started by the parent.

It reads the settings itself, so a restarted worker has the new ones, and new code.
"""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import socket
import sys
from pathlib import Path

from roomkey.errors import ConfigError, Unavailable
from roomkey.extras import needs

with needs("server", "roomkey.server.worker"):
    from roomkey.hub import runner

from roomkey.server import logs, run
from roomkey.server.config_file import read_config
from roomkey.server.connection_counts import ConnectionCounts
from roomkey.server.control import ALIVE, DRAIN, FAILED, SERVES, Start, receive_start, send_line
from roomkey.server.draining import Drain
from roomkey.server.policy_file import load_policy
from roomkey.server.providers import load_providers
from roomkey.server.settings_sources import load_settings

__all__ = ["main"]

BEAT_SECONDS = 1.0


class Control:
    """The worker's end of the connection to its parent.

    Args:
        channel: the socket.
        start: what the parent sent first.

    Attributes:
        counts: the worker's entry in the table of connections.
        staying: how many workers of this machine take over the clients when this one stops.
    """

    def __init__(self, channel: socket.socket, start: Start) -> None:
        self.counts = ConnectionCounts(start.table, start.slot, 2 * start.workers)
        self.staying = start.workers - 1
        self._siblings = start.workers - 1
        self._channel = channel
        self._folder = start.folder
        self._buffer = b""

    def started(self, server: runner.Server, drain: Drain) -> None:
        """Report that the worker serves, and listen to the parent from now on."""
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._drain = drain
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel.fileno(), self._readable)
        self._beat()
        send_line(self._channel, SERVES)

    def others(self, live: int) -> int:
        """Return how many nodes take over the clients of this worker when it stops.

        Args:
            live: the other live nodes of the cluster. If all workers of this machine stop, only those of other
                machines remain.
        """
        return max(live, self.staying) if self.staying else max(0, live - self._siblings)

    def _beat(self) -> None:
        if self._drain.begun:
            self.counts.leave()
        else:
            self.counts.beat()
        send_line(self._channel, ALIVE)
        self._loop.call_later(BEAT_SECONDS, self._beat)

    def _readable(self) -> None:
        try:
            data = self._channel.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._parent_lost()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if line.startswith(DRAIN):
                self._stop(int(line.removeprefix(DRAIN)))

    def _parent_lost(self) -> None:
        """Stop. The parent cannot remove the folder any more."""
        self._loop.remove_reader(self._channel.fileno())
        shutil.rmtree(self._folder, ignore_errors=True)
        self._stop(0)

    def _stop(self, staying: int) -> None:
        self.staying = staying
        self._drain.delay = 0.0 if staying else self._drain.delay  # the others continue to accept on the same port
        self._server.should_exit = True
        self.counts.leave()


def _serve(start: Start, channel: socket.socket) -> None:
    file = read_config(None if start.config is None else Path(start.config))
    settings = load_settings(file, **start.options)
    if start.demo:
        folder = Path(start.folder)
        settings = settings.model_copy(update={"database": folder / "demo.sqlite3", "keys": folder / "keys"})
    control = Control(channel, start)
    worker = run.Worker(
        load=control.counts,
        others=control.others,
        started=control.started,
        prepares=start.first,
        number=start.number,
        folder=Path(start.folder),
        slot=start.slot,
    )
    descriptor, family, kind, protocol = start.listener
    with socket.socket(family, kind, protocol, fileno=descriptor) as listener:
        listener.setblocking(False)
        run.run_worker(
            settings,
            worker,
            listener,
            policy=load_policy(file),
            providers=load_providers(file),
            demo=start.demo,
            credentials_file=None if start.credentials_file is None else Path(start.credentials_file),
        )


def main() -> None:
    """Serve until the parent says so, or is gone."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    try:
        start = receive_start(channel)
    except (EOFError, OSError):  # the parent is gone
        return
    logs.configure(worker=start.number)
    try:
        _serve(start, channel)
    except (ConfigError, Unavailable) as error:
        todo = "; run `roomkey doctor` to find the cause" if isinstance(error, Unavailable) else ""
        send_line(channel, FAILED + json.dumps(f"{error}{todo}").encode())
        sys.exit(1)
    gc.freeze()  # the system frees all memory at once; the interpreter would first search it for cycles, for 0.2 s


if __name__ == "__main__":
    main()
