"""Servers that run side by side and take turns: the method of every comparison."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import servers
from load import Load, Operation, Record

Prepare = Callable[[Load], Operation]


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: the number of turns of each server.
        seconds: a server's processor time in one turn.
        warm: the most processor time in which a server gets warm.
    """

    rounds: int = 5
    seconds: float = 0.4
    warm: float = 12.0


FULL, QUICK = Effort(), Effort(rounds=3, seconds=0.15, warm=4.0)


class Turns:
    """Running servers, by the name that each has in this comparison."""

    def __init__(self) -> None:
        self.loads: dict[str, Load] = {}
        self.errors: dict[str, str] = {}

    def attend(self) -> None:
        """Answer the heartbeats of all servers."""
        for load in self.loads.values():
            load.swarm.step(0)

    def prepare(self, operations: Mapping[str, Prepare], effort: Effort) -> dict[str, Operation | str]:
        """Prepare an operation on each server, and repeat it until the server is warm; or say why that fails."""
        ready: dict[str, Operation | str] = {}
        for name, prepare in operations.items():
            load = self.loads[name]
            try:
                ready[name] = operation = prepare(load)
                load.warm(operation, effort.warm)
            except (OSError, RuntimeError) as error:
                ready[name] = str(error)
        return ready

    def measure(self, operations: Mapping[str, Prepare], effort: Effort) -> list[dict[str, Record | dict[str, str]]]:
        """Measure an operation on each server, in turns.

        Args:
            operations: by server, how the operation is prepared on it.
            effort: how long.

        Returns:
            For each round, what was measured on each server; or its error.
        """
        ready = self.prepare(operations, effort)
        rounds: list[dict[str, Record | dict[str, str]]] = []
        for number in range(effort.rounds):
            found: dict[str, Record | dict[str, str]] = {}
            for name in rotated(list(ready), number):
                operation = ready[name]
                if isinstance(operation, Operation):
                    try:
                        found[name] = self.loads[name].sample(operation, effort.seconds)
                        continue
                    except (OSError, RuntimeError) as error:
                        operation = ready[name] = str(error)
                found[name] = {"error": operation}
            rounds.append(found)
        return rounds

    def part(self) -> None:
        """Close all connections."""
        for load in self.loads.values():
            load.part()


def rotated(names: list[str], number: int) -> list[str]:
    """Return the names, of which another one is the first in each round."""
    first = number % max(1, len(names))
    return names[first:] + names[:first]


@contextlib.contextmanager
def side_by_side(peers: Iterable[tuple[str, servers.Peer]]) -> Iterator[Turns]:
    """Start the servers on one core, and put this process, which is their load, on the other one."""
    servers.allow_connections()
    turns = Turns()
    with contextlib.ExitStack() as stack:
        for name, peer in peers:
            try:
                port, pid = stack.enter_context(servers.running(peer))
                load = Load(port, pid, turns.attend)
                load.probe()
                turns.loads[name] = load
            except (servers.NotAvailable, OSError, RuntimeError) as error:
                turns.errors[name] = str(error)
                print(f"{name}: not available ({error})", file=sys.stderr)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {servers.cores()[1]})
        gc.disable()  # the collector would pause for longer than a request takes
        try:
            yield turns
        finally:
            turns.part()
            gc.enable()
