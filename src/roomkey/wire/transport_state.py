"""An Engine.IO session as two tables: which transport it uses, and its heartbeat.

Transport::

    POLLING --offer--> OFFERED --probe--> PROBED --upgrade--> WEBSOCKET
       ^                  |                  |
       +---- the candidate is lost ----------+          any --lost, closed, violated, silent--> CLOSED

A session that begins on a WebSocket begins in WEBSOCKET. The server sends the heartbeat::

    CALM --due--> AWAITING --pong--> CALM        AWAITING --due--> the end

A pair that is in neither table ends the session: no honest client makes it.
"""

from __future__ import annotations

from enum import Enum, auto


class TransportState(Enum):
    """Which transport the session uses."""

    __hash__ = object.__hash__  # members are single; Enum hashes their names, slowly, at each look into a table

    POLLING = auto()
    OFFERED = auto()  # a WebSocket has opened with the session's id
    PROBED = auto()  # it has sent its probe, and had the answer
    WEBSOCKET = auto()
    CLOSED = auto()


class TransportInput(Enum):
    """What can happen to it."""

    __hash__ = object.__hash__  # members are single; Enum hashes their names, slowly, at each look into a table

    OFFER = auto()  # a WebSocket with the session's id has opened
    PROBE = auto()  # ``2probe`` on it
    UPGRADE = auto()  # ``5`` on it
    CANDIDATE_LOST = auto()  # it closed, sent something else, or took too long
    MESSAGE = auto()  # a message on the current transport
    PONG = auto()  # ``3`` on it
    CLOSE = auto()  # ``1`` on it
    VIOLATION = auto()  # anything else on it
    HEARTBEAT_DUE = auto()  # time for a ping, or for the missing pong
    LOST = auto()  # the current transport is gone


class TransportAction(Enum):
    """What the host has to do."""

    DELIVER = auto()  # hand the message on
    PING = auto()  # send ``2``, and wait for the pong
    REST = auto()  # wait for the next ping
    ANSWER_PROBE = auto()  # send ``3probe`` on the candidate, and NOOP to a waiting poll
    SWITCH = auto()  # the candidate is the transport now; polls are refused
    DROP_CANDIDATE = auto()  # close the candidate; the session goes on
    REFUSE_CANDIDATE = auto()  # close the new WebSocket; an earlier candidate and the session go on
    END = auto()  # close the transport
    END_SILENT = auto()  # the same, because no pong came
    FORGET = auto()  # the transport is gone already


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
    **{(state, TransportInput.MESSAGE): (state, TransportAction.DELIVER) for state in _OPEN},
    **{(state, TransportInput.CLOSE): _END for state in _OPEN},
    **{(state, TransportInput.VIOLATION): _END for state in _OPEN},
    **{(state, TransportInput.LOST): (TransportState.CLOSED, TransportAction.FORGET) for state in _OPEN},
}

HEARTBEAT: dict[tuple[bool, TransportInput], tuple[bool, TransportAction]] = {
    (False, TransportInput.HEARTBEAT_DUE): (True, TransportAction.PING),
    (True, TransportInput.PONG): (False, TransportAction.REST),
    (True, TransportInput.HEARTBEAT_DUE): (True, TransportAction.END_SILENT),
    (False, TransportInput.PONG): (False, TransportAction.END),
}


class TransportMachine:
    """The state of one session.

    Args:
        state: how it begins: ``POLLING`` or ``WEBSOCKET``.

    Attributes:
        state: which transport it uses.
        awaiting_pong: a ping is unanswered.
    """

    __slots__ = ("awaiting_pong", "state")

    def __init__(self, state: TransportState = TransportState.POLLING) -> None:
        self.state = state
        self.awaiting_pong = False

    def feed(self, happened: TransportInput) -> TransportAction | None:
        """Let something happen; returns what is to be done, if anything."""
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

    @property
    def closed(self) -> bool:
        """True once it has ended."""
        return self.state is TransportState.CLOSED
