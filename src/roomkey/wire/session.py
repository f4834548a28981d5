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


class State(Enum):
    """Which transport the session uses."""

    __hash__ = object.__hash__  # members are single; Enum hashes their names, slowly, at each look into a table

    POLLING = auto()
    OFFERED = auto()  # a WebSocket has opened with the session's id
    PROBED = auto()  # it has sent its probe, and had the answer
    WEBSOCKET = auto()
    CLOSED = auto()


class Input(Enum):
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


class Action(Enum):
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


_OPEN = (State.POLLING, State.OFFERED, State.PROBED, State.WEBSOCKET)
_END = (State.CLOSED, Action.END)

TRANSPORT: dict[tuple[State, Input], tuple[State, Action | None]] = {
    (State.POLLING, Input.OFFER): (State.OFFERED, None),
    (State.OFFERED, Input.OFFER): (State.OFFERED, Action.REFUSE_CANDIDATE),
    (State.PROBED, Input.OFFER): (State.PROBED, Action.REFUSE_CANDIDATE),
    (State.WEBSOCKET, Input.OFFER): (State.WEBSOCKET, Action.REFUSE_CANDIDATE),
    (State.CLOSED, Input.OFFER): (State.CLOSED, Action.REFUSE_CANDIDATE),
    (State.OFFERED, Input.PROBE): (State.PROBED, Action.ANSWER_PROBE),
    (State.PROBED, Input.PROBE): (State.POLLING, Action.DROP_CANDIDATE),
    (State.OFFERED, Input.UPGRADE): (State.POLLING, Action.DROP_CANDIDATE),
    (State.PROBED, Input.UPGRADE): (State.WEBSOCKET, Action.SWITCH),
    (State.OFFERED, Input.CANDIDATE_LOST): (State.POLLING, Action.DROP_CANDIDATE),
    (State.PROBED, Input.CANDIDATE_LOST): (State.POLLING, Action.DROP_CANDIDATE),
    (State.POLLING, Input.CANDIDATE_LOST): (State.POLLING, None),
    (State.WEBSOCKET, Input.CANDIDATE_LOST): (State.WEBSOCKET, None),
    **{(state, Input.MESSAGE): (state, Action.DELIVER) for state in _OPEN},
    **{(state, Input.CLOSE): _END for state in _OPEN},
    **{(state, Input.VIOLATION): _END for state in _OPEN},
    **{(state, Input.LOST): (State.CLOSED, Action.FORGET) for state in _OPEN},
}

HEARTBEAT: dict[tuple[bool, Input], tuple[bool, Action]] = {
    (False, Input.HEARTBEAT_DUE): (True, Action.PING),
    (True, Input.PONG): (False, Action.REST),
    (True, Input.HEARTBEAT_DUE): (True, Action.END_SILENT),
    (False, Input.PONG): (False, Action.END),
}


class Session:
    """The state of one session.

    Args:
        state: how it begins: ``POLLING`` or ``WEBSOCKET``.

    Attributes:
        state: which transport it uses.
        awaiting_pong: a ping is unanswered.
    """

    __slots__ = ("awaiting_pong", "state")

    def __init__(self, state: State = State.POLLING) -> None:
        self.state = state
        self.awaiting_pong = False

    def feed(self, happened: Input) -> Action | None:
        """Let something happen; returns what is to be done, if anything."""
        if happened is Input.PONG or happened is Input.HEARTBEAT_DUE:
            return self._beat(happened)
        if self.state is State.CLOSED and happened is not Input.OFFER:
            return None
        self.state, action = TRANSPORT.get((self.state, happened), _END)
        return action

    def _beat(self, happened: Input) -> Action | None:
        if self.state is State.CLOSED:
            return None
        self.awaiting_pong, action = HEARTBEAT[self.awaiting_pong, happened]
        if action in (Action.END, Action.END_SILENT):
            self.state = State.CLOSED
        return action

    @property
    def closed(self) -> bool:
        """True once it has ended."""
        return self.state is State.CLOSED
