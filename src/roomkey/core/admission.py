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

Before ADMITTED a socket is in quarantine: only the application's ``connect`` handler runs for it (in CONNECTING, when
its identity is known), and only packets that this handler addresses to this one socket are delivered to it. A pair that
is not in the table has no effect, so an event that lost a race cannot change the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from roomkey.errors import AuthError


class AdmissionState(Enum):
    """The states of a namespace connection."""

    __hash__ = object.__hash__  # members are singletons; Enum would hash their names at each look-up, which is slow

    PENDING = auto()  # nothing known
    DECIDING = auto()  # a token is being verified
    CONNECTING = auto()  # the identity is known; the application's connect handler runs
    ADMITTED = auto()  # the socket is in
    REFUSED = auto()  # it was never admitted
    ENDED = auto()  # it was admitted and is not any more


class AdmissionEvent(Enum):
    """What can happen to a namespace connection."""

    __hash__ = object.__hash__  # members are singletons; Enum would hash their names at each look-up, which is slow

    PRESENT = auto()  # a token was presented
    IDENTIFIED = auto()  # the token is valid and its subject can connect here
    BAD_TOKEN = auto()  # it was rejected, and the client can try again
    LAST_BAD_TOKEN = auto()  # it was rejected, and that was the last attempt
    ACCEPTED = auto()  # the connect handler accepted
    DECLINED = auto()  # the connect handler declined or failed
    PACKET = auto()  # an event or an acknowledgement arrived
    TIMEOUT = auto()  # the client did not authenticate in time
    EXPIRE = auto()  # the token expired
    REVOKE = auto()  # the token was revoked
    FORBID = auto()  # the policy does not allow the namespace any more
    MISMATCH = auto()  # a token of another subject was presented on the connected socket
    GONE = auto()  # the client left, or the transport closed


class AdmissionAction(Enum):
    """What the guard must do, in this order."""

    VERIFY = auto()  # verify the token
    RUN_CONNECT = auto()  # call the application's connect handler
    ANNOUNCE = auto()  # admit the socket
    DISPATCH = auto()  # hand the packet to the application
    REPORT = auto()  # tell the client the reason
    DISCONNECT = auto()  # Socket.IO DISCONNECT: the client does not reconnect automatically
    CLOSE = auto()  # close the transport


S, E, A = AdmissionState, AdmissionEvent, AdmissionAction  # for the table

_REFUSE = (S.REFUSED, (A.REPORT, A.DISCONNECT, A.CLOSE))
_END = (S.ENDED, (A.REPORT, A.DISCONNECT, A.CLOSE))
_FORBID = (S.ENDED, (A.REPORT, A.DISCONNECT))  # the other namespaces stay connected
_EXPIRE = (S.ENDED, (A.REPORT, A.CLOSE))  # no DISCONNECT: the client can return with a fresh token

TABLE: dict[tuple[AdmissionState, AdmissionEvent], tuple[AdmissionState, tuple[AdmissionAction, ...]]] = {
    (S.PENDING, E.PRESENT): (S.DECIDING, (A.VERIFY,)),
    (S.PENDING, E.PACKET): _REFUSE,
    (S.PENDING, E.TIMEOUT): _REFUSE,
    (S.PENDING, E.GONE): (S.REFUSED, ()),
    (S.DECIDING, E.IDENTIFIED): (S.CONNECTING, (A.RUN_CONNECT,)),
    (S.DECIDING, E.BAD_TOKEN): (S.PENDING, (A.REPORT,)),
    (S.DECIDING, E.LAST_BAD_TOKEN): _REFUSE,
    (S.DECIDING, E.PACKET): _REFUSE,
    (S.DECIDING, E.TIMEOUT): _REFUSE,
    (S.DECIDING, E.GONE): (S.REFUSED, ()),
    (S.CONNECTING, E.ACCEPTED): (S.ADMITTED, (A.ANNOUNCE,)),
    (S.CONNECTING, E.DECLINED): _REFUSE,
    (S.CONNECTING, E.PACKET): _REFUSE,
    (S.CONNECTING, E.TIMEOUT): _REFUSE,
    (S.CONNECTING, E.EXPIRE): _REFUSE,
    (S.CONNECTING, E.REVOKE): _REFUSE,
    (S.CONNECTING, E.FORBID): (S.REFUSED, (A.REPORT, A.DISCONNECT)),
    (S.CONNECTING, E.GONE): (S.REFUSED, ()),
    (S.ADMITTED, E.PACKET): (S.ADMITTED, (A.DISPATCH,)),
    (S.ADMITTED, E.EXPIRE): _EXPIRE,
    (S.ADMITTED, E.REVOKE): _END,
    (S.ADMITTED, E.FORBID): _FORBID,
    (S.ADMITTED, E.MISMATCH): _END,
    (S.ADMITTED, E.LAST_BAD_TOKEN): _END,
    (S.ADMITTED, E.BAD_TOKEN): (S.ADMITTED, (A.REPORT,)),
    (S.ADMITTED, E.GONE): (S.ENDED, ()),
}

LIVE = frozenset({S.PENDING, S.DECIDING, S.CONNECTING, S.ADMITTED})


@dataclass(slots=True, eq=False)
class Admission:
    """The state of one namespace connection.

    Args:
        max_attempts: the number of rejected tokens that refuses it.

    Attributes:
        attempts: the number of rejected tokens.
        connect_sent: the client has received the CONNECT reply, so events can reach it.
        ended_by: the error that refused or ended it, if there was one.
    """

    max_attempts: int = 1
    state: AdmissionState = S.PENDING
    attempts: int = 0
    connect_sent: bool = False
    ended_by: AuthError | None = None

    def handle(self, event: AdmissionEvent, error: AuthError | None = None) -> tuple[AdmissionAction, ...]:
        """Change the state.

        Args:
            event: what happened.
            error: the reason, if this refuses or ends the connection.

        Returns:
            What the guard must do, in order; nothing if the table does not contain the pair.
        """
        step = TABLE.get((self.state, event))
        if step is None:
            return ()
        self.state, actions = step
        if error is not None and self.ended_by is None and self.state not in LIVE:
            self.ended_by = error.without_frames()
        return actions

    def reject_token(self, error: AuthError) -> tuple[AdmissionAction, ...]:
        """Count a rejected token; the last allowed one ends the connection, no matter how often it was renewed."""
        if error.temporary and self.connect_sent:  # not the client's mistake, and it can try again in its time
            return self.handle(E.BAD_TOKEN, error)
        self.attempts += 1
        last = self.attempts >= self.max_attempts
        return self.handle(E.LAST_BAD_TOKEN if last else E.BAD_TOKEN, error)

    @property
    def live(self) -> bool:
        """True until it is refused or ended."""
        return self.state in LIVE

    @property
    def admitted(self) -> bool:
        """True while it is admitted."""
        return self.state is S.ADMITTED

    @property
    def may_receive_broadcast(self) -> bool:
        """True if packets to a room or to a whole namespace may be delivered to it."""
        return self.state is S.ADMITTED

    @property
    def may_receive_direct(self) -> bool:
        """True if packets that are addressed to it alone may be delivered: also while its connect handler runs."""
        return self.state is S.ADMITTED or self.state is S.CONNECTING
