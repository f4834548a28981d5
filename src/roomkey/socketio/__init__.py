"""The guard for python-socketio: the only package that touches that library's private names.

Three lines secure an existing server::

    guard = AsyncGuard(Verifier.hs256(SECRET, audience="chat"))
    guard.attach(sio)
    who = guard.identity(sid)          # in any handler, from connect on

Call ``attach()`` before or after handlers are registered. It checks every private name that it relies on, so that an
incompatible version of python-socketio is an error at startup and never a silent gap. Versions: 5.11 and later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from roomkey.extras import needs

with needs("socketio", "roomkey.socketio"):
    import socketio

from roomkey.core.credentials import Authenticate, Handshake
from roomkey.core.origins import allowed_origins as parse_origins
from roomkey.core.subject_limits import SubjectLimits
from roomkey.errors import ConfigError
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.socket_authorizer import OwnJoins
from roomkey.socketio.checks import check_settings
from roomkey.socketio.environ import request_reader
from roomkey.socketio.hooks import Hooks
from roomkey.socketio.joins import Joins
from roomkey.socketio.transports import Transports

__all__ = ["AsyncGuard", "Authenticate", "Handshake", "SubjectLimits"]


class AsyncGuard(AsyncioGuard):
    """Secures a :class:`socketio.AsyncServer`.

    Its arguments are those of :class:`roomkey.guard.guard.AsyncioGuard`: a verifier, then ``via``, ``policy`` and
    limits by name.
    """

    _is_attached = False

    def attach(
        self,
        sio: socketio.AsyncServer,
        *,
        session_binding: str | None = None,
        own_joins: OwnJoins = "policy",
        allowed_origins: str | Collection[str] | None = None,
    ) -> None:
        """Guard a server: every namespace, including those that are registered later.

        Args:
            sio: the server; handlers can be registered before or after this call.
            session_binding: ``"address"`` also rejects requests to a session from another address than the one that
                opened it. A session that was opened with a token in a header, cookie or query is always bound to its
                subject.
            own_joins: ``"policy"`` also checks the application's own ``sio.enter_room``, in namespaces for which the
                policy has room rules; ``"allow"`` does not. The room of another subject is always closed.
            allowed_origins: the web pages whose cookies count besides the server's own, such as
                ``https://app.example``, whichever origins the server lets connect. By default, the server's
                ``cors_allowed_origins`` decide.

        Raises:
            ConfigError: a setting with which the server would leak, a version of python-socketio with other private
                names, or a second call.
        """
        if self._is_attached:
            raise ConfigError("cannot attach the guard: it is already attached; create one guard per server")
        if session_binding not in (None, "address"):
            raise ConfigError("session_binding must be None or 'address'")
        self.socket_authorizer.set_own_joins(own_joins)
        listed = [allowed_origins] if isinstance(allowed_origins, str) else allowed_origins
        origins = None if listed is None else parse_origins(listed)
        check_settings(sio, self.settings.handshake, names_origins=origins is not None)
        Hooks(
            self,
            Transports(sio),
            by_address=session_binding == "address",
            around=self._around_handlers,
            read_request=request_reader(self.settings.token_header, origins),
        ).install()
        Joins(self, sio.manager).install()
        self._is_attached = True

    def _around_handlers(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function that calls the application's handlers. Override it to do something around each call.

        Args:
            call: python-socketio's own function: ``await call(event, namespace, *arguments)``.
        """
        return call
