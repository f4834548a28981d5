"""What the guards of python-socketio's two servers have in common: how they are attached."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import Any, ClassVar

from roomkey.core.origins import allowed_origins as parse_origins
from roomkey.errors import ConfigError
from roomkey.guard.base import BaseGuard
from roomkey.guard.socket_authorizer import OwnJoins
from roomkey.socketio.checks import check_settings
from roomkey.socketio.environ import ReadRequest, request_reader


class ServerGuard(BaseGuard):
    """A guard that is made before its server is secured.

    Attributes:
        server_class: the type of the servers.
    """

    server_class: ClassVar[Any]
    _is_attached = False

    def attach(
        self,
        sio: Any,
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
        check_settings(sio, self.server_class, self.settings.handshake, names_origins=origins is not None)
        read_request = request_reader(self.settings.token_header, origins)
        self._install(sio, by_address=session_binding == "address", read_request=read_request)
        self._is_attached = True

    @abstractmethod
    def _install(self, sio: Any, *, by_address: bool, read_request: ReadRequest) -> None:
        """Replace the functions of a server whose settings are checked."""

    def _around_handlers(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function that calls the application's handlers. Override it to do something around each call.

        Args:
            call: python-socketio's own function, ``call(event, namespace, *arguments)``: a coroutine function if the
                server is an AsyncServer.
        """
        return call
