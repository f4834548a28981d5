"""Which connections there are, and what runs over each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from roomkey.core import strict_json
from roomkey.core.admission import Admission
from roomkey.core.credentials import Credential, Request
from roomkey.core.networks import network_of
from roomkey.core.rate import TokenBucket

MAX_KEPT_AUTH = 16_384
"""Characters of CONNECT payloads that one connection may have kept for its connect handlers."""


@dataclass(slots=True, eq=False)
class Connection:
    """One Engine.IO connection.

    Attributes:
        connection_id: the host's name for it (``eio_sid``); never written to a log.
        address: the peer's address, for the log and the bounds.
        request: what its HTTP request carried where tokens may stand.
        admissions: by namespace.
        opened_at: when, on the monotonic clock in seconds.
        auth: by namespace, as JSON, the CONNECT payloads that wait for a connect handler.
        refusals: how many namespace connections were refused on it.
        credential: the token its HTTP request carried, to which the session is bound.
        repeats: a later HTTP request has carried the credential, too.
        bad_tokens: how many tokens were refused on it before anything was admitted.
        anonymous: nothing was ever admitted on it.
        closing: it is being closed; whatever still arrives is dropped.
        unexpected: counts acknowledgements that nobody waits for, from the first one on.
        tokens: counts CONNECT packets, and the tokens that are presented on its live sockets.
        asking: the requests that wait until it is known whether they come from its owner.
    """

    connection_id: str
    address: str
    request: Request = field(repr=False)
    admissions: dict[str, Admission] = field(default_factory=dict)
    opened_at: float = 0.0
    auth: dict[str, str] = field(default_factory=dict, repr=False)
    refusals: int = 0
    bad_tokens: int = 0
    credential: Credential | None = field(default=None, repr=False)
    repeats: bool = False
    anonymous: bool = True
    closing: bool = False
    unexpected: TokenBucket | None = None
    tokens: TokenBucket | None = None
    asking: list[asyncio.Timeout] | None = field(default=None, repr=False)

    def keep_auth(self, namespace: str, payload: object) -> bool:
        """Keep a CONNECT payload until the connect handler runs.

        It is kept as JSON: decoded, a payload can take twenty times as much memory.

        Returns:
            False if all payloads of the connection together would be over :data:`MAX_KEPT_AUTH`; nothing is kept then.
        """
        text = strict_json.dumps(payload, separators=(",", ":"))
        if len(text) + sum(map(len, self.auth.values())) > MAX_KEPT_AUTH:
            return False
        self.auth[namespace] = text
        return True

    @property
    def admitted(self) -> bool:
        """True while a socket of the connection is admitted, be it a guest's."""
        return any(admission.admitted for admission in self.admissions.values())

    def take_auth(self, namespace: str) -> object:
        """Return the CONNECT payload that was kept for a namespace, or None. It is not kept any longer."""
        text = self.auth.pop(namespace, None)
        if not self.auth:
            self.auth = {}  # a dictionary that was filled once stays large
        return None if text is None else strict_json.loads(text)

    def abandon(self) -> None:
        """End the wait of every request, because the connection ends."""
        for waiting in self.asking or ():
            if not waiting.expired():
                waiting.reschedule(0)

    @property
    def in_use(self) -> bool:
        """True if some namespace connection on it is alive."""
        return any(admission.live for admission in self.admissions.values())


class Registry:
    """All connections of one server."""

    def __init__(self) -> None:
        self.connections: dict[str, Connection] = {}
        self.admissions: dict[str, Admission] = {}
        self._anonymous: Counter[str] = Counter()  # by the name that network_of gives an address

    def open(self, connection: Connection) -> None:
        """Add a connection."""
        self.connections[connection.connection_id] = connection
        self._anonymous[network_of(connection.address)] += 1

    def anonymous_from(self, address: str) -> int:
        """Return the number of connections from this address, or its /64 network, on which nothing is admitted."""
        return self._anonymous[network_of(address)]

    def add(self, connection: Connection, admission: Admission) -> None:
        """Add a namespace connection."""
        connection.admissions[admission.namespace] = admission
        self.admissions[admission.sid] = admission

    def admitted(self, connection: Connection) -> None:
        """Something was admitted on the connection: it is nobody's burden any more."""
        if connection.anonymous:
            connection.anonymous = False
            self._count_down(connection.address)

    def remove(self, admission: Admission) -> None:
        """Forget a namespace connection."""
        self.admissions.pop(admission.sid, None)
        connection = self.connections.get(admission.connection_id)
        if connection is not None and connection.admissions.get(admission.namespace) is admission:
            del connection.admissions[admission.namespace]
            connection.auth.pop(admission.namespace, None)

    def close(self, connection_id: str) -> Connection | None:
        """Forget a connection and all that ran over it."""
        connection = self.connections.pop(connection_id, None)
        if connection is not None:
            for admission in list(connection.admissions.values()):
                self.admissions.pop(admission.sid, None)
            if connection.anonymous:
                self._count_down(connection.address)
        return connection

    def __iter__(self) -> Iterator[Admission]:
        return iter(list(self.admissions.values()))

    def _count_down(self, address: str) -> None:
        network = network_of(address)
        self._anonymous[network] -= 1
        if self._anonymous[network] <= 0:
            del self._anonymous[network]
