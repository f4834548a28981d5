"""``/metrics``: the numbers of a server in the Prometheus text format.

A scrape reads what is counted anyway. The two measurements that cost something, the events and the lag of the event
loop, begin with the first scrape. If several workers serve the port, one of them answers for all: it asks the others
over the bus. No label contains a token, a subject, a room or the ID of a socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from roomkey.extras import needs

with needs("server", "roomkey.server.metrics"):
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )

from roomkey.bus.node import Node
from roomkey.core.histogram import Histogram
from roomkey.guard.guard import AsyncioGuard
from roomkey.hub import Hub

__all__ = ["CONTENT_TYPE", "METRICS", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

QUESTION = "metrics"
ANSWER_SECONDS = 1.0
"""The question to the other workers of this machine, and how long they can take to answer."""

LAG_SECONDS = 0.5
"""How often the lag of the event loop is measured."""

SLICE = 2000
"""Connections that are counted before the event loop continues with other work."""

MAX_SERIES = 200
"""The most series of one metric and worker: no list of reasons is so long."""


class Described(NamedTuple):
    """What one metric means.

    Attributes:
        kind: its type.
        text: its line of help.
        label: the name of its label besides ``worker``, or None.
    """

    kind: Literal["counter", "gauge", "histogram"]
    text: str
    label: str | None = None


METRICS: dict[str, Described] = {
    "roomkey_workers": Described("gauge", "Workers of this machine that answered this scrape."),
    "roomkey_workers_missing": Described("gauge", "Workers of this machine that did not answer this scrape in time."),
    "roomkey_nodes": Described("gauge", "Nodes of the cluster that are alive, with this one."),
    "roomkey_connections": Described("gauge", "Open connections, by transport.", "transport"),
    "roomkey_sockets": Described("gauge", "Sockets, by state: admitted or pending.", "state"),
    "roomkey_admissions": Described("counter", "Sockets that were admitted."),
    "roomkey_refusals": Described("counter", "Refused tokens and connections, by reason.", "reason"),
    "roomkey_ended_sockets": Described("counter", "Admitted sockets that the guard ended, by reason.", "reason"),
    "roomkey_refused_requests": Described("counter", "Requests and events that the hub refused, by reason.", "reason"),
    "roomkey_closed_connections": Described("counter", "Connections that the hub closed, by reason.", "reason"),
    "roomkey_events": Described("counter", "Packets of clients, since the first scrape."),
    "roomkey_deliveries": Described("counter", "Packets of emits that were written to sockets."),
    "roomkey_bus_connected": Described("gauge", "1 while the bus is connected, else 0."),
    "roomkey_bus_connects": Described("counter", "Connections to the bus: more than one means reconnects."),
    "roomkey_bus_messages": Described("counter", "Messages between nodes: sent, or received.", "direction"),
    "roomkey_bus_dropped": Described("counter", "Messages between nodes that were dropped, by reason.", "reason"),
    "roomkey_forwarding": Described("counter", "Polling requests and WebSockets between nodes, by event.", "event"),
    "roomkey_peer_links": Described("counter", "Links between nodes for forwarded requests: opened, lost, ….", "event"),
    "roomkey_journal_available": Described("gauge", "1 while revocations can be read, else 0."),
    "roomkey_journal_position": Described("gauge", "Position up to which revocations were read."),
    "roomkey_journal_age_seconds": Described("gauge", "Seconds since all revocations were known."),
    "roomkey_journal_unwritten": Described("gauge", "Revocations that apply here and are not saved yet."),
    "roomkey_revocation_close_seconds": Described("histogram", "Seconds from a revocation to a closed socket."),
    "roomkey_event_loop_lag_seconds": Described("histogram", "Seconds that timers were late, since the first scrape."),
    "roomkey_process_cpu_seconds": Described("counter", "CPU time of the process."),
    "roomkey_process_memory_bytes": Described("gauge", "Resident memory of the process."),
}

Values: TypeAlias = dict[str, Any]
"""One worker's numbers by metric: the values by label, which is empty if there is none; of a histogram, the cumulative
counts by bound, and ``sum``."""


class Metrics:
    """The metrics of one process, and of the other workers of its machine.

    Args:
        guard: counts admissions and refusals.
        hub: counts connections; None on another engine.
        node: this node of a cluster; None without one.
        worker: the number of this worker, which is the value of the label ``worker``.
        machine: what all workers of this machine have in common, and no other node; empty if there is one worker.
    """

    def __init__(
        self,
        guard: AsyncioGuard,
        hub: Hub | None = None,
        node: Node | None = None,
        *,
        worker: str = "1",
        machine: str = "",
    ) -> None:
        self._guard = guard
        self._hub = hub
        self._node = node
        self._worker = worker
        self._machine = machine
        self._events = 0
        self._lag = Histogram()
        self._timer: asyncio.TimerHandle | None = None
        if node is not None:
            node.info["worker"] = worker
            node.info["machine"] = machine
            node.answer(QUESTION, self._asked)

    def close(self) -> None:
        """Measure nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    # One process

    async def sample(self) -> Values:
        """Return the numbers of this process."""
        self._begin()
        counted = self._guard.statistics
        values: Values = {
            "roomkey_admissions": {"": counted.admitted},
            "roomkey_refusals": dict(counted.refused),
            "roomkey_ended_sockets": dict(counted.ended),
            "roomkey_revocation_close_seconds": _cumulative(counted.closing_times),
            "roomkey_event_loop_lag_seconds": _cumulative(self._lag),
            **_process(),
        }
        if (journal := counted.journal) is not None:
            values["roomkey_journal_available"] = {"": int(journal.problem is None)}
            values["roomkey_journal_position"] = {"": journal.position}
            values["roomkey_journal_unwritten"] = {"": journal.unwritten}
            if journal.age != float("inf"):
                values["roomkey_journal_age_seconds"] = {"": journal.age}
        values |= await self._connections()
        values |= {} if self._hub is None else self._of_hub(self._hub)
        return values | ({} if self._node is None else _of_node(self._node))

    def _begin(self) -> None:
        """Begin to measure what is not measured without scrapes."""
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time()

        def measure() -> None:
            nonlocal due
            now = loop.time()
            if self._timer is not None:
                self._lag.observe(max(0.0, now - due))
            due = now + LAG_SECONDS
            self._timer = loop.call_at(due, measure)

        measure()
        if self._hub is not None:
            self._count_events(self._hub)

    def _count_events(self, hub: Hub) -> None:
        handle = hub.sessions.deliver

        def count_and_handle(*arguments: Any) -> None:
            self._events += 1
            handle(*arguments)

        hub.sessions.deliver = count_and_handle

    async def _connections(self) -> Values:
        """Count connections and sockets, in slices."""
        transports = dict.fromkeys(("polling", "websocket"), 0)
        states = {"admitted": 0, "pending": 0}
        for number, connection in enumerate(list(self._guard.index.connections), 1):
            upgraded = getattr(connection.host, "upgraded", None)
            kind = "unknown" if upgraded is None else "websocket" if upgraded else "polling"
            transports[kind] = transports.get(kind, 0) + 1
            for socket in connection.sockets.values():
                states["admitted"] += socket.admitted
                states["pending"] += socket.live and not socket.admitted
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return {"roomkey_connections": transports, "roomkey_sockets": states}

    def _of_hub(self, hub: Hub) -> Values:
        forwarding = hub.forwarding
        forwarded, links = ({}, {}) if forwarding is None else (forwarding.counts, forwarding.peers.counts)
        return {
            "roomkey_forwarding": {name.replace(": ", " "): count for name, count in forwarded.items()},
            "roomkey_peer_links": _named("links ", links),
            "roomkey_refused_requests": _named("refused: ", hub.counts),
            "roomkey_closed_connections": _named("closed: ", hub.counts),
            "roomkey_events": {"": self._events},
            "roomkey_deliveries": {"": hub.application.rooms.delivered},
        }

    async def _asked(self, _sender: str, _question: bytes) -> bytes:
        return json.dumps(await self.sample()).encode()

    # All workers of this machine

    async def scrape(self) -> bytes:
        """Return the metrics of all workers of this machine, in the text format."""
        found = {self._worker: await self.sample()}
        others = self._others()
        for worker, sample in zip(others, await asyncio.gather(*map(self._ask, others.values())), strict=True):
            if sample is not None:
                found[worker] = sample
        found[self._worker] |= {
            "roomkey_workers": {"": len(found)},
            "roomkey_workers_missing": {"": len(others) + 1 - len(found)},
        }
        registry = CollectorRegistry()
        registry.register(_Collected(found))
        return generate_latest(registry)

    def _others(self) -> dict[str, str]:
        """Return the nodes that are the other workers of this machine, by their number."""
        if self._node is None or not self._machine:
            return {}
        alive = self._node.live.items()
        here = {str(one.info.get("worker")): node for node, one in alive if one.info.get("machine") == self._machine}
        here.pop(self._worker, None)  # one that this one replaces
        return here

    async def _ask(self, node: str) -> Values | None:
        """Return the numbers of another worker; None if it does not answer."""
        assert self._node is not None
        answers = await self._node.ask(QUESTION, b"", to=node, seconds=ANSWER_SECONDS)
        try:
            answer = json.loads(answers.by_node[node])
        except (KeyError, ValueError):
            return None
        return answer if isinstance(answer, dict) else None


class _Collected:
    """The numbers of all workers, as prometheus-client collects them.

    Args:
        found: the numbers by worker.
    """

    def __init__(self, found: Mapping[str, Values]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Return the metrics, in the order of their table."""
        for name, described in METRICS.items():
            family = _family(name, described)
            for worker, values in self._found.items():
                _add(family, worker, described, values.get(name))
            if family.samples:
                yield family

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names cannot collide in a registry of their own."""
        return ()


_Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


def _family(name: str, described: Described) -> _Family:
    kinds: dict[str, Callable[..., _Family]] = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    labels = ["worker"] if described.label is None else ["worker", described.label]
    return kinds[described.kind](name, described.text, labels=labels)


def _add(family: _Family, worker: str, described: Described, value: object) -> None:
    """Add one worker's values to a metric, if they have the form of this version."""
    if not isinstance(value, dict):
        return
    numbers = {
        str(label): number
        for label, number in list(value.items())[:MAX_SERIES]
        if isinstance(number, int | float) and not isinstance(number, bool)
    }
    if isinstance(family, HistogramMetricFamily):
        total = numbers.pop("sum", 0.0)
        if numbers:
            family.add_metric([worker], buckets=list(numbers.items()), sum_value=total)
        return
    for label, number in numbers.items():
        family.add_metric([worker] if described.label is None else [worker, label], number)


def _cumulative(histogram: Histogram) -> dict[str, float]:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return {**dict(zip(bounds, accumulate(histogram.counts), strict=True)), "sum": histogram.total}


def _named(prefix: str, counts: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}


def _of_node(node: Node) -> Values:
    dropped = Counter(_named("dropped: ", node.bus.counts))
    dropped.update(_named("dropped: ", node.counts))
    return {
        "roomkey_nodes": {"": len(node.live) + 1},
        "roomkey_bus_connected": {"": int(node.connected)},
        "roomkey_bus_connects": {"": node.bus.counts["connects"]},
        "roomkey_bus_messages": {"sent": node.counts["sent"], "received": node.counts["received"]},
        "roomkey_bus_dropped": dropped,
    }


def _process() -> Values:
    used = resource.getrusage(resource.RUSAGE_SELF)
    values: Values = {"roomkey_process_cpu_seconds": {"": used.ru_utime + used.ru_stime}}
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        values["roomkey_process_memory_bytes"] = {"": pages * os.sysconf("SC_PAGE_SIZE")}
    except OSError:  # not on Linux
        pass
    return values
