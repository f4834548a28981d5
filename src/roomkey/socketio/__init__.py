"""The guards for python-socketio: the only package that touches that library's private names.

Three lines secure an existing server::

    guard = AsyncGuard(Verifier.hs256(SECRET, audience="chat"))
    guard.attach(sio)
    who = guard.identity(sid)          # in any handler, from connect on

Call ``attach()`` before or after handlers are registered. It checks every private name that it relies on, so that an
incompatible version of python-socketio is an error at startup and never a silent gap. Versions: 5.11 and later.

:class:`AsyncGuard` is for ``socketio.AsyncServer``, and :class:`Guard` for ``socketio.Server``.
"""

from __future__ import annotations

from roomkey.extras import needs

with needs("socketio", "roomkey.socketio"):
    import socketio

from roomkey.core.credentials import Authenticate, Handshake
from roomkey.core.subject_limits import SubjectLimits
from roomkey.guard.guard import AsyncioGuard
from roomkey.socketio.attaching import ServerGuard
from roomkey.socketio.engine_sessions import EngineSessions
from roomkey.socketio.environ import ReadRequest
from roomkey.socketio.hooks import Hooks
from roomkey.socketio.joins import Joins
from roomkey.socketio.sync_guard import Guard
from roomkey.socketio.transports import Transports

__all__ = ["AsyncGuard", "Authenticate", "Guard", "Handshake", "SubjectLimits"]


class AsyncGuard(ServerGuard, AsyncioGuard):
    """Secures a :class:`socketio.AsyncServer`.

    Its arguments are those of :class:`roomkey.guard.guard.AsyncioGuard`: a verifier, then ``via``, ``policy`` and
    limits by name.
    """

    server_class = socketio.AsyncServer

    def _install(self, sio: socketio.AsyncServer, *, by_address: bool, read_request: ReadRequest) -> None:
        transports = Transports(sio)
        sessions = EngineSessions(self, transports, by_address=by_address, read_request=read_request)
        Hooks(self, transports, sessions, around=self._around_handlers, read_request=read_request).install()
        Joins(self, sio.manager, lambda function: function).install()
