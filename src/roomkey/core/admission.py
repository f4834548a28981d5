"""One namespace connection from its first packet to its end, as a table.

::

                 PRESENT            IDENTIFIED            ACCEPTED
    PENDING ----------------> DECIDING ------> CONNECTING ------> ADMITTED
       ^      bad token           |                 |                |
       +--------------------------+                 |                |
       |  timeout, any packet,    |  the same, and  | revoked,       |  expired, revoked,
       |  last bad token          |  last bad token | declined       |  subject mismatch
       v                          v                 v                v
    REFUSED <---------------------+-----------------+              ENDED  <-- namespace forbidden, the others go on

Until ADMITTED a socket is in quarantine: no handler but the application's own ``connect`` runs for it (in CONNECTING,
when it is known who it is), and nothing is delivered to it but what that handler addresses to it alone. A pair that
is not in the table changes nothing and does nothing: what lost a race stays lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from roomkey.core.identity import Identity
from roomkey.errors import AuthError


class State(Enum):
    """Where a namespace connection stands."""

    __hash__ = object.__hash__  # members are single; Enum hashes their names, slowly, at each look into a table

    PENDING = auto()  # nothing known
    DECIDING = auto()  # a token is being looked at
    CONNECTING = auto()  # it is known who it is; the application's connect handler runs
    ADMITTED = auto()  # open
    REFUSED = auto()  # never was open
    ENDED = auto()  # was open, or went away


class Input(Enum):
    """What can happen to it."""

    __hash__ = object.__hash__  # members are single; Enum hashes their names, slowly, at each look into a table

    PRESENT = auto()  # a token was presented
    IDENTIFIED = auto()  # the token is good, not revoked, and may connect here
    BAD_TOKEN = auto()  # it is not, and another attempt is allowed
    LAST_BAD_TOKEN = auto()  # it is not, and that was the last attempt
    ACCEPTED = auto()  # the connect handler accepted
    DECLINED = auto()  # the connect handler declined or failed
    PACKET = auto()  # an event or an acknowledgement arrived
    TIMEOUT = auto()  # the time to authenticate is up
    EXPIRE = auto()  # the token's time is up
    REVOKE = auto()  # the token was revoked
    FORBID = auto()  # the identity may not be in this namespace any more
    MISMATCH = auto()  # somebody else's token was presented on the live socket
    GONE = auto()  # the client left, or the transport closed


class Action(Enum):
    """What the host has to do, in this order."""

    VERIFY = auto()  # look at the token
    RUN_CONNECT = auto()  # call the application's connect handler
    ANNOUNCE = auto()  # tell the client that it is admitted
    REFRESH = auto()  # look at the new token of a live socket
    DISPATCH = auto()  # hand the packet to the application
    REPORT = auto()  # tell the client why not
    DISCONNECT = auto()  # Socket.IO DISCONNECT: the client does not come back by itself
    CLOSE = auto()  # close the transport


_REFUSE = (State.REFUSED, (Action.REPORT, Action.DISCONNECT, Action.CLOSE))
_END = (State.ENDED, (Action.REPORT, Action.DISCONNECT, Action.CLOSE))
_FORBID = (State.ENDED, (Action.REPORT, Action.DISCONNECT))  # what runs over other namespaces goes on
_EXPIRE = (State.ENDED, (Action.REPORT, Action.CLOSE))  # no DISCONNECT: it may return with a fresh token

TABLE: dict[tuple[State, Input], tuple[State, tuple[Action, ...]]] = {
    (State.PENDING, Input.PRESENT): (State.DECIDING, (Action.VERIFY,)),
    (State.PENDING, Input.PACKET): _REFUSE,
    (State.PENDING, Input.TIMEOUT): _REFUSE,
    (State.PENDING, Input.GONE): (State.REFUSED, ()),
    (State.DECIDING, Input.IDENTIFIED): (State.CONNECTING, (Action.RUN_CONNECT,)),
    (State.DECIDING, Input.BAD_TOKEN): (State.PENDING, (Action.REPORT,)),
    (State.DECIDING, Input.LAST_BAD_TOKEN): _REFUSE,
    (State.DECIDING, Input.PACKET): _REFUSE,
    (State.DECIDING, Input.TIMEOUT): _REFUSE,
    (State.DECIDING, Input.GONE): (State.REFUSED, ()),
    (State.CONNECTING, Input.ACCEPTED): (State.ADMITTED, (Action.ANNOUNCE,)),
    (State.CONNECTING, Input.DECLINED): _REFUSE,
    (State.CONNECTING, Input.PACKET): _REFUSE,
    (State.CONNECTING, Input.TIMEOUT): _REFUSE,
    (State.CONNECTING, Input.EXPIRE): _REFUSE,
    (State.CONNECTING, Input.REVOKE): _REFUSE,
    (State.CONNECTING, Input.FORBID): (State.REFUSED, (Action.REPORT, Action.DISCONNECT)),
    (State.CONNECTING, Input.GONE): (State.REFUSED, ()),
    (State.ADMITTED, Input.PRESENT): (State.ADMITTED, (Action.REFRESH,)),
    (State.ADMITTED, Input.PACKET): (State.ADMITTED, (Action.DISPATCH,)),
    (State.ADMITTED, Input.EXPIRE): _EXPIRE,
    (State.ADMITTED, Input.REVOKE): _END,
    (State.ADMITTED, Input.FORBID): _FORBID,
    (State.ADMITTED, Input.MISMATCH): _END,
    (State.ADMITTED, Input.LAST_BAD_TOKEN): _END,
    (State.ADMITTED, Input.BAD_TOKEN): (State.ADMITTED, (Action.REPORT,)),
    (State.ADMITTED, Input.GONE): (State.ENDED, ()),
}

LIVE = frozenset({State.PENDING, State.DECIDING, State.CONNECTING, State.ADMITTED})


@dataclass(slots=True, eq=False)
class Admission:
    """One namespace connection.

    Args:
        connection_id: the Engine.IO session it runs over.
        namespace: ``/`` or another.
        sid: the Socket.IO id of this namespace connection.
        max_attempts: so many bad tokens refuse it.

    Attributes:
        identity: who it is, from CONNECTING on; kept after the end, for the disconnect handler.
        answered: the client has had the CONNECT reply, so that it can be told things by events.
        opened: the application's connect handler accepted it, so that its disconnect handler is owed.
        rooms: those that the policy let it into.
        own_rooms: those of them that the application put it into, by its server's own ``enter_room``.
        counted: the identity that it counts for, where a subject's connections are limited.
        ended_by: why it was refused or ended, if somebody decided that.
    """

    connection_id: str
    namespace: str
    sid: str
    max_attempts: int = 1
    state: State = State.PENDING
    identity: Identity | None = None
    attempts: int = 0
    answered: bool = False
    opened: bool = False
    rooms: frozenset[str] = frozenset()  # most are in none: an empty set of their own would be the largest part
    own_rooms: frozenset[str] = frozenset()
    ended_by: AuthError | None = None
    counted: Identity | None = None

    def feed(self, happened: Input, error: AuthError | None = None) -> tuple[Action, ...]:
        """Let something happen.

        Args:
            happened: what.
            error: why, where it refuses or ends.

        Returns:
            What is to be done, in order; nothing where the table has no such pair.
        """
        step = TABLE.get((self.state, happened))
        if step is None:
            return ()
        self.state, actions = step
        if self.state not in LIVE:
            self.ended_by = self.ended_by or error
        return actions

    def bad_token(self, error: AuthError) -> tuple[Action, ...]:
        """Count a refused token; the last allowed one refuses the socket, however often it was renewed between."""
        if error.temporary and self.answered:  # not the client's mistake, and it may try again in its time
            return self.feed(Input.BAD_TOKEN, error)
        self.attempts += 1
        last = self.attempts >= self.max_attempts
        return self.feed(Input.LAST_BAD_TOKEN if last else Input.BAD_TOKEN, error)

    @property
    def all_rooms(self) -> frozenset[str]:
        """The rooms that depend on the policy, whoever put the socket into them."""
        return self.rooms | self.own_rooms if self.own_rooms else self.rooms

    def lose_rooms(self, rooms: Iterable[object]) -> None:
        """Forget rooms, whoever put the socket into them."""
        self.rooms = self.rooms.difference(rooms)
        self.own_rooms = self.own_rooms.difference(rooms)

    @property
    def live(self) -> bool:
        """True until it is refused or ended."""
        return self.state in LIVE

    @property
    def admitted(self) -> bool:
        """True while it is open."""
        return self.state is State.ADMITTED

    def may_receive(self, *, alone: bool) -> bool:
        """True if a packet may be delivered to it.

        Args:
            alone: the packet is addressed to this socket and nobody else.
        """
        return self.state is State.ADMITTED or (alone and self.state is State.CONNECTING)
