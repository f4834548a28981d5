"""The settings of :class:`roomkey.flask.RoomKey`: those of its guard, and those of its attachment to the server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass

from roomkey.guard.settings import GuardSettings
from roomkey.guard.socket_authorizer import OwnJoins


@dataclass(frozen=True, eq=False, repr=False)
class FlaskSettings(GuardSettings):
    """The settings that an application has besides those of :class:`roomkey.guard.settings.GuardSettings`.

    Attributes:
        session_binding: as for :meth:`roomkey.socketio.Guard.attach`.
        own_joins: as for :meth:`roomkey.socketio.Guard.attach`; it applies to ``flask_socketio.join_room``.
        allowed_origins: as for :meth:`roomkey.socketio.Guard.attach`; it also applies to cookies in requests to routes.
    """

    _: KW_ONLY
    session_binding: str | None = None
    own_joins: OwnJoins = "policy"
    allowed_origins: str | Collection[str] | None = None
