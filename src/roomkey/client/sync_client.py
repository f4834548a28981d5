"""python-socketio's client for threads, with tokens."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Literal, cast

import engineio
import socketio
from engineio.packet import CLOSE
from socketio.exceptions import ConnectionError as ConnectionFailed
from socketio.exceptions import SocketIOError

from roomkey.client.base import Hooks, Login, check_names
from roomkey.client.errors import ConnectionRefused
from roomkey.client.proof import ProofKey
from roomkey.client.refusal import Refusal
from roomkey.client.tokens import GetToken, Presentable, Refresh, Tokens
from roomkey.client.watch import End
from roomkey.guard.contract import AUTHENTICATE

__all__ = ["Client"]


class _Outbox(queue.Queue[Any]):
    """What engineio's writer sends. None ends the writer, which would overlook it if it came together with a packet."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next packet. None is only for a writer that waits."""
        with self.mutex:
            if not block and self.queue and self.queue[0] is None:
                raise queue.Empty
        return super().get(block, timeout)


class _EngineClient(engineio.Client):  # type: ignore[misc]
    """engineio's client, which notices each end of its connection, and can return after a CLOSE packet.

    A client that polls receives CLOSE from a server that closes the connection.
    """

    def create_queue(self, *args: Any, **options: Any) -> _Outbox:
        return _Outbox(*args, **options)

    def _receive_packet(self, packet: Any) -> None:
        writer = self.write_loop_task
        if packet.packet_type != CLOSE or writer is None:
            super()._receive_packet(packet)
            return
        self.queue.put(None)  # as after a failed request
        writer.join()

    def _reset(self) -> None:
        self.queue = self.create_queue()
        super()._reset()


class Client(Hooks, socketio.Client):  # type: ignore[misc]
    """A :class:`socketio.Client` that presents tokens and stays connected until the login has ended.

    Args:
        token: a fixed token, or a function that returns a new one for each connection and renewal, or None if the user
            is logged out. With ``refresh``, the function receives the tokens, for example to get a ticket.
        refresh: a function that exchanges the tokens for new ones. It returns None if the login has ended, and raises
            an error to be called again later. One refresh runs at a time.
        tokens: the tokens of the login, for ``refresh``.
        on_signed_out: called with the :class:`Refusal` when the client has stopped. It does not reconnect until you
            call :meth:`connect`.
        via: how to present the token: in CONNECT (``handshake``) or in the event ``authenticate``.
        dpop: the key to which the tokens are bound. Each token is presented with a new proof (DPoP, RFC 9449).
        options: those of :class:`socketio.Client`.

    Raises:
        ConfigError: neither ``token`` nor ``refresh``, or settings that do not fit together.
    """

    def __init__(
        self,
        *,
        token: str | GetToken | None = None,
        refresh: Refresh | None = None,
        tokens: Tokens | None = None,
        on_signed_out: Callable[[Refusal], Any] | None = None,
        via: Literal["handshake", "authenticate"] = "handshake",
        dpop: ProofKey | None = None,
        **options: Any,
    ) -> None:
        check_names(socketio.Client, engineio.Client)
        self._login = Login(
            token=token, refresh=refresh, tokens=tokens, via=via, on_signed_out=on_signed_out, dpop=dpop
        )
        self._refreshing = threading.Lock()
        super().__init__(**options)

    def connect(
        self, url: Any, *, tokens: Tokens | None = None, auth: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Connect with a token.

        Args:
            url: the server's URL.
            tokens: the tokens of a new login.
            auth: further members of the payload of CONNECT.
            options: those of :meth:`socketio.Client.connect`, by name.

        Raises:
            ConnectionRefused: the server refused the connection, or the login has ended. A subclass of
                :class:`socketio.exceptions.ConnectionError`.
            socketio.exceptions.ConnectionError: the server is unavailable, or ``token`` or ``refresh`` failed.
            ConfigError: invalid tokens.
        """
        login = self._login
        login.at(url, options)
        if self.connected:
            raise ConnectionFailed("Already connected")
        if self._leaving is not None:
            self._leaving.join()
        extra, options = self._begin(auth, tokens, options)
        if self._reconnect_task is not None and not self._reconnect_task.is_alive():
            self._reconnect_task = None  # python-socketio keeps it after an abort, and would not reconnect again
        for is_last in (False, True):
            found = self._find_for_connection()
            login.watch.begin(None if login.later else found)
            try:
                super().connect(url, auth=login.payload(extra, found), **options)
                return
            except ConnectionFailed as error:
                if login.can_repeat(is_last=is_last):
                    continue
                if login.watch.refusal is not None:
                    raise ConnectionRefused(login.watch.refusal) from error
                raise

    def _find_for_connection(self) -> Presentable:
        try:
            return self._find()
        except ConnectionFailed:
            raise
        except Exception as error:  # of the application's token or refresh
            raise ConnectionFailed("could not get a token") from error

    def _find(self) -> Presentable:
        """Return the token to present, after a refresh if it is due."""
        login = self._login
        token: str | None = login.token if isinstance(login.token, str) else None
        with self._refreshing:
            if login.refresh is not None and login.needs_refresh():
                asked = login.clock()
                login.cache.store(cast("Tokens | None", login.refresh(login.cache.tokens)), asked)
            tokens = login.cache.tokens
        if callable(login.token) and login.refresh is None:
            token = cast("str | None", login.token())
        elif tokens is not None:
            token = cast("str | None", login.token(tokens)) if callable(login.token) else tokens["access_token"]
        chosen = login.chosen(token)
        if isinstance(chosen, Refusal):
            self._take(End(chosen))
            raise ConnectionRefused(chosen)
        return chosen

    def _renew(self, namespace: str, delay: float) -> None:
        if delay:
            self.sleep(delay)
        while namespace in self.namespaces:
            try:
                found = self._find()
            except ConnectionFailed:
                return
            except Exception as error:  # of the application's token or refresh
                self.logger.warning("could not get a token: %s", type(error).__name__)
                self.sleep(self._login.watch.backoff())
                continue
            try:
                if namespace in self.namespaces and self._login.watch.presents(namespace, found):
                    self.emit(AUTHENTICATE, self._login.presented(found.token), namespace=namespace)
            except SocketIOError:
                pass  # disconnected in the meantime: the next connection presents it
            return

    def _finish(self, refusal: Refusal, hang_up: bool) -> None:
        if hang_up and self.connected:
            # disconnect() returns only when a client that polls has received the response to its last poll.
            self._hung_up = self.eio.create_event()
            self._leaving = self.start_background_task(self.disconnect)
            self._hung_up.wait()
        if self._login.on_signed_out is not None:
            self._login.on_signed_out(refusal)

    def _send_packet(self, pkt: Any) -> None:
        self._login.prove(pkt)
        super()._send_packet(pkt)

    def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        self._observe(event, namespace, args)
        return super()._trigger_event(event, namespace, *args)

    def _handle_error(self, namespace: str, data: Any) -> None:
        self._login.learn_nonce(Refusal.of(data))
        step = self._login.watch.refused(Refusal.of(data))
        super()._handle_error(namespace, data)
        self._take(step)

    def _handle_disconnect(self, namespace: str) -> None:
        step = self._login.watch.disconnected(namespace or "/")
        super()._handle_disconnect(namespace)
        self._take(step)

    def _handle_eio_disconnect(self, reason: str) -> None:
        super()._handle_eio_disconnect(reason)
        if self._hung_up is not None:
            self._hung_up.set()

    def _handle_reconnect(self) -> None:
        if not self._login.has_ended:
            super()._handle_reconnect()

    def _engineio_client_class(self) -> type:
        return _EngineClient
