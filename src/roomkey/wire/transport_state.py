"""The state of an Engine.IO session in two tables: its transport, and its heartbeat.

Transport::

    POLLING --offer--> OFFERED --probe--> PROBED --upgrade--> WEBSOCKET
       ^                  |                  |
       +---- the candidate is lost ----------+          any --lost, closed, silent--> CLOSED

A session that starts on a WebSocket starts in WEBSOCKET. The server sends the heartbeat::

    IDLE --due--> AWAITING --pong--> IDLE        AWAITING --due--> CLOSED

A pair that is in neither table ends the session, because no honest client causes it.
"""

from __future__ import annotations

from enum import Enum, auto


class TransportState(Enum):
    """The transport that a session uses."""

    __hash__ = object.__hash__  # members are unique; Enum would hash their names at each look-up, which is slow

    POLLING = auto()
    OFFERED = auto()  # a WebSocket has opened for the session: the candidate
    PROBED = auto()  # the candidate has sent its probe, and received the answer
    WEBSOCKET = auto()
    CLOSED = auto()


class TransportInput(Enum):
    """An event in the life of a session."""

    __hash__ = object.__hash__  # members are unique; Enum would hash their names at each look-up, which is slow

    OFFER = auto()  # a WebSocket has opened for the session
    PROBE = auto()  # the candidate sent ``2probe``
    UPGRADE = auto()  # the candidate sent ``5``
    CANDIDATE_LOST = auto()  # the candidate closed, sent something else, or took too long
    PONG = auto()  # the client sent ``3`` on the current transport
    CLOSE = auto()  # the client sent ``1`` on the current transport
    HEARTBEAT_DUE = auto()  # a ping is due, or a pong is missing
    LOST = auto()  # the current transport has closed


class TransportAction(Enum):
    """What the host must do."""

    PING = auto()  # send ``2``, and wait for the pong
    REST = auto()  # wait until the next ping is due
    ANSWER_PROBE = auto()  # send ``3probe`` on the candidate, and NOOP to a waiting poll
    SWITCH = auto()  # use the candidate as the transport, and refuse polls
    DROP_CANDIDATE = auto()  # close the candidate; the session continues
    REFUSE_CANDIDATE = auto()  # close the new WebSocket; an earlier candidate and the session continue
    END = auto()  # close the transport
    END_SILENT = auto()  # close the transport, because the pong is missing


_OPEN = (TransportState.POLLING, TransportState.OFFERED, TransportState.PROBED, TransportState.WEBSOCKET)
_END = (TransportState.CLOSED, TransportAction.END)

TRANSPORT: dict[tuple[TransportState, TransportInput], tuple[TransportState, TransportAction | None]] = {
    (TransportState.POLLING, TransportInput.OFFER): (TransportState.OFFERED, None),
    (TransportState.OFFERED, TransportInput.OFFER): (TransportState.OFFERED, TransportAction.REFUSE_CANDIDATE),
    (TransportState.PROBED, TransportInput.OFFER): (TransportState.PROBED, TransportAction.REFUSE_CANDIDATE),
    (TransportState.WEBSOCKET, TransportInput.OFFER): (TransportState.WEBSOCKET, TransportAction.REFUSE_CANDIDATE),
    (TransportState.CLOSED, TransportInput.OFFER): (TransportState.CLOSED, TransportAction.REFUSE_CANDIDATE),
    (TransportState.OFFERED, TransportInput.PROBE): (TransportState.PROBED, TransportAction.ANSWER_PROBE),
    (TransportState.PROBED, TransportInput.PROBE): (TransportState.POLLING, TransportAction.DROP_CANDIDATE),
    (TransportState.OFFERED, TransportInput.UPGRADE): (TransportState.POLLING, TransportAction.DROP_CANDIDATE),
    (TransportState.PROBED, TransportInput.UPGRADE): (TransportState.WEBSOCKET, TransportAction.SWITCH),
    (TransportState.OFFERED, TransportInput.CANDIDATE_LOST): (TransportState.POLLING, TransportAction.DROP_CANDIDATE),
    (TransportState.PROBED, TransportInput.CANDIDATE_LOST): (TransportState.POLLING, TransportAction.DROP_CANDIDATE),
    (TransportState.POLLING, TransportInput.CANDIDATE_LOST): (TransportState.POLLING, None),
    (TransportState.WEBSOCKET, TransportInput.CANDIDATE_LOST): (TransportState.WEBSOCKET, None),
    **{(state, TransportInput.CLOSE): _END for state in _OPEN},
    **{(state, TransportInput.LOST): (TransportState.CLOSED, None) for state in _OPEN},
}

HEARTBEAT: dict[tuple[bool, TransportInput], tuple[bool, TransportAction]] = {
    (False, TransportInput.HEARTBEAT_DUE): (True, TransportAction.PING),
    (True, TransportInput.PONG): (False, TransportAction.REST),
    (True, TransportInput.HEARTBEAT_DUE): (True, TransportAction.END_SILENT),
    (False, TransportInput.PONG): (False, TransportAction.END),
}


class TransportMachine:
    """The state machine of one session.

    Args:
        state: the first transport: ``POLLING`` or ``WEBSOCKET``.

    Attributes:
        state: the current transport.
        awaiting_pong: True if the client has not answered the last ping.
    """

    __slots__ = ("awaiting_pong", "state")

    def __init__(self, state: TransportState = TransportState.POLLING) -> None:
        self.state = state
        self.awaiting_pong = False

    def handle(self, happened: TransportInput) -> TransportAction | None:
        """Apply an input; return what the host must do, or None."""
        if happened is TransportInput.PONG or happened is TransportInput.HEARTBEAT_DUE:
            return self._beat(happened)
        if self.state is TransportState.CLOSED and happened is not TransportInput.OFFER:
            return None
        self.state, action = TRANSPORT.get((self.state, happened), _END)
        return action

    def _beat(self, happened: TransportInput) -> TransportAction | None:
        if self.state is TransportState.CLOSED:
            return None
        self.awaiting_pong, action = HEARTBEAT[self.awaiting_pong, happened]
        if action in (TransportAction.END, TransportAction.END_SILENT):
            self.state = TransportState.CLOSED
        return action
