"""The hub: a Socket.IO server with the guard built in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar, overload

from roomkey.audit import redact_logs
from roomkey.bus.peer_link import MAX_MESSAGE
from roomkey.errors import ConfigError
from roomkey.guard.server_loop import on_server_loop
from roomkey.guard.settings import takes_settings
from roomkey.hub.application import Application
from roomkey.hub.dispatch import Dispatch
from roomkey.hub.engine_sessions import EngineSessions
from roomkey.hub.handlers import Handler
from roomkey.hub.http.asgi import ASGIApp
from roomkey.hub.http.forwarding import Forwarding
from roomkey.hub.http.origins import Origins
from roomkey.hub.http.polling_requests import PollingRequests
from roomkey.hub.http.session_requests import SessionRequests
from roomkey.hub.namespace import Namespace
from roomkey.hub.settings import HubSettings
from roomkey.hub.socket import NOT_HANDLED
from roomkey.hub.verbs import Verbs

HandlerT = TypeVar("HandlerT", bound=Handler)
CLOSE_SECONDS = 2.0
"""How long handlers and background tasks may continue when the server stops."""


class Hub(Verbs):
    """A Socket.IO server with the guard built in, and the methods of python-socketio's ``AsyncServer``.

    Its arguments are the fields of :class:`roomkey.hub.settings.HubSettings`: the verifier, and the others by name.

    Attributes:
        guard: identities, policy-checked rooms and revocation, such as ``hub.guard.identity(sid)``.
        counts: the number of refused requests and closed connections, by reason.
        not_handled: a handler that returns this sends no acknowledgement.

    Raises:
        ConfigError: a setting is invalid, or settings contradict each other.

    Example::

        hub = Hub(Verifier.hs256(SECRET, audience="chat"))

        @hub.event
        async def message(sid, text):
            await hub.emit("message", text)

        hub.run(port=8000)
    """

    not_handled = NOT_HANDLED

    @takes_settings(HubSettings)
    def __init__(self, settings: HubSettings) -> None:
        self.application = Application(settings)
        self.handlers = self.application.handlers
        self.tasks = self.application.tasks
        self.counts = self.application.counts
        dispatch = Dispatch(self.application)
        super().__init__(self.application)
        self.sessions = EngineSessions(
            self.guard, settings, self.counts, on_packet=dispatch.packet, new_sid=self.application.new_sid
        )
        self.guard.socket_authorizer.set_own_joins(settings.own_joins)
        self.requests = SessionRequests(self.sessions, self.guard, _origins(settings), self.counts)
        self.polling = PollingRequests(self.requests, self.tasks)
        self.forwarding = _forwarding(self.application, self.polling)
        self.path = self.requests.path

    # Handlers

    @overload
    def event(self, handler: HandlerT) -> HandlerT: ...

    @overload
    def event(self, handler: None = None, namespace: str | None = None) -> Callable[[HandlerT], HandlerT]: ...

    def event(self, handler: Any = None, namespace: str | None = None) -> Any:
        """Register a function as the handler of the event with the same name: a decorator."""

        def add(function: HandlerT) -> HandlerT:
            self.handlers.add(function.__name__, function, namespace or "/")
            return function

        return add if handler is None else add(handler)

    @overload
    def on(self, event: str, handler: Handler, namespace: str | None = None) -> None: ...

    @overload
    def on(self, event: str, handler: None = None, namespace: str | None = None) -> Callable[[HandlerT], HandlerT]: ...

    def on(self, event: str, handler: Handler | None = None, namespace: str | None = None) -> Any:
        """Register the handler of an event. Without ``handler``, return a decorator.

        Args:
            event: the event's name. ``"*"`` handles the events without a handler of their own, as
                ``handler(event, sid, *args)``.
            handler: called as ``connect(sid, environ, auth)``, ``disconnect(sid, reason)`` or
                ``handler(sid, *args)``. The value that the last one returns becomes the client's acknowledgement.
            namespace: the namespace. By default, ``/``. With ``"*"``, the handler is for every known namespace, and
                receives its name before ``sid``.

        Raises:
            ConfigError: the handler cannot be called with these arguments.
        """
        if handler is not None:
            self.handlers.add(event, handler, namespace or "/")
            return None

        def add(function: HandlerT) -> HandlerT:
            self.handlers.add(event, function, namespace or "/")
            return function

        return add

    def register_namespace(self, owner: Namespace) -> None:
        """Register a class-based namespace.

        Raises:
            ConfigError: ``owner`` is not an instance of a subclass of :class:`roomkey.hub.Namespace`, or one of its
                methods cannot be called with the arguments of its event.
        """
        self.handlers.add_class(owner)
        owner.hub = self

    # Running

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any, **named: Any
    ) -> asyncio.Task[Any]:
        """Run ``target(*arguments, **named)`` in the background. Exceptions are logged.

        Raises:
            ConfigError: called from another thread than the server's.
        """
        self.server_loop.check_here("start_background_task")
        return self.tasks.background(target(*arguments, **named))

    async def sleep(self, seconds: float = 0) -> None:
        """Wait for this many seconds, while other tasks run."""
        await asyncio.sleep(seconds)

    @cached_property
    def asgi(self) -> ASGIApp:
        """The hub alone as an ASGI application, for any ASGI server; :meth:`run` is faster."""
        return ASGIApp(self)

    def run(self, host: str = "127.0.0.1", port: int = 8000, app: Any = None, **settings: Any) -> None:
        """Serve until SIGINT or SIGTERM.

        Args:
            host: the address to listen on.
            port: TCP port; 0 chooses a free one.
            app: an ASGI application for every other path.
            settings: arguments of ``uvicorn.Config``, such as ``ssl_certfile``.

        Raises:
            ConfigError: ``workers`` or ``reload``, because a hub runs in one process; or an unsupported version of
                uvicorn.
        """
        from roomkey.hub.http.runner import run  # applications that mount hub.asgi do not need uvicorn

        run(self, host=host, port=port, app=app, **settings)

    def check_deadlines(self) -> None:
        """Act on the deadlines that have passed. A timer does this; call it in tests that move a clock of their own."""
        self.guard.check_deadlines()

    @on_server_loop
    async def open(self) -> None:
        """Join the cluster, and return when that has succeeded, but after 1 second in any case.

        :meth:`run` and the lifespan of :attr:`asgi` call it, and the first client that connects. Without a cluster, it
        does nothing.
        """
        if self.application.cluster is not None:
            await self.application.cluster.open()

    @on_server_loop
    async def close(self) -> None:
        """Close every connection, because the server stops. Clients reconnect when it runs again.

        Handlers and background tasks have 2 seconds to finish, and are then cancelled.
        """
        self.requests.close()
        self.sessions.close_all()
        # Not with wait_for: a handler that closes the hub must not wait for itself.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.settle()
        self.tasks.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.guard.close()
        if self.forwarding is not None:
            await self.forwarding.close()
        if self.application.cluster is not None:
            await self.application.cluster.close()

    @on_server_loop
    async def settle(self) -> None:
        """Wait until all background work is finished."""
        await self.guard.settle()


def _forwarding(application: Application, polling: PollingRequests) -> Forwarding | None:
    """Return what forwards requests to other nodes, or None without a cluster, or if this node cannot be reached."""
    cluster, settings = application.cluster, application.settings
    if cluster is None or settings.cluster is None:
        return None
    most = 2 * max(settings.limits.payload, settings.max_unsent)
    peers = settings.cluster.peers(cluster.node, max(most, MAX_MESSAGE))
    if peers is None:
        return None
    forwarding = Forwarding(polling, peers, cluster.node_of)
    cluster.prepare_to_join = forwarding.open
    return forwarding


def _origins(settings: HubSettings) -> Origins:
    """Return the origin check, and keep the query parameter that contains the token out of the logs."""
    origins = Origins(settings.cors_allowed_origins)
    handshake = settings.handshake
    if origins.everybody and handshake is not None and handshake.is_ambient:
        raise ConfigError(
            "cannot accept cookies from every origin: any web page could connect as its visitor; list the allowed "
            "origins in cors_allowed_origins"
        )
    redact_logs(names=settings.secret_names)
    return origins
