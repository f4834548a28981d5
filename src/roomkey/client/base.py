"""What the two clients have in common: settings, the watch, and how they hook into python-socketio's clients."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, Literal

from socketio.exceptions import ConnectionError as ConnectionFailed

from roomkey.client.proof import ProofKey, sockets_url
from roomkey.client.refusal import LOGGED_OUT, Refusal
from roomkey.client.tokens import GetToken, Presentable, Refresh, TokenCache, Tokens
from roomkey.client.watch import ConnectionWatch, End, Renew, Step
from roomkey.errors import ConfigError
from roomkey.guard.contract import UNAUTHORIZED

__all__ = ["Hooks", "Login", "check_names", "check_versions"]

_OLDEST = {"python-socketio": (5, 14), "python-engineio": (4, 12, 3)}
_NAMES = (
    "_trigger_event",
    "_handle_error",
    "_handle_disconnect",
    "_handle_eio_disconnect",
    "_handle_reconnect",
    "_engineio_client_class",
    "_send_packet",
)
_ENGINE_NAMES = ("_receive_packet", "_reset", "create_queue")
_CONNECT = 0  # the type of a CONNECT packet


def check_versions() -> None:
    """Check the versions of python-socketio and python-engineio.

    Clients before these versions can wait for a timeout after a refusal, or stop without an event.

    Raises:
        ImportError: a version is too old.
    """
    for package, oldest in _OLDEST.items():
        installed = metadata.version(package)
        if tuple(int(number) for number in re.findall(r"\d+", installed)[: len(oldest)]) < oldest:
            wanted = ".".join(map(str, oldest))
            raise ImportError(
                f"roomkey.client requires {package} {wanted} or later, not {installed}; "
                "run: pip install --upgrade 'roomkey[client]'"
            )


def check_names(client: type, engine_client: type) -> None:
    """Check the private names of python-socketio's and engineio's clients that roomkey's clients replace.

    Raises:
        ConfigError: this version does not have them.
    """
    for package, owner, names in (
        ("python-socketio", client, _NAMES),
        ("python-engineio", engine_client, _ENGINE_NAMES),
    ):
        missing = [name for name in names if not callable(getattr(owner, name, None))]
        if missing:
            raise ConfigError(
                f"unsupported {package} {metadata.version(package)}: its client has no {missing[0]}; "
                "install an earlier version"
            )


def _without_token(auth: object) -> dict[str, Any]:
    """Return the application's own members of the payload of CONNECT.

    Raises:
        ConfigError: the payload is not a dictionary.
    """
    if auth is not None and not isinstance(auth, Mapping):
        raise ConfigError("auth must be a dictionary of further members; pass token or refresh to the client")
    return {name: value for name, value in (auth or {}).items() if name != "token"}


class Login:
    """The settings of a client, its tokens, and the watch of its connection."""

    def __init__(
        self,
        *,
        token: str | GetToken | None,
        refresh: Refresh | None,
        tokens: Tokens | None,
        via: Literal["handshake", "authenticate"],
        on_signed_out: Callable[[Refusal], Any] | None,
        dpop: ProofKey | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if token is None and refresh is None:
            raise ConfigError("no token to present; pass token or refresh")
        if isinstance(token, str) and refresh is not None:
            raise ConfigError("pass either refresh or a fixed token, not both")
        if tokens is not None and refresh is None:
            raise ConfigError("tokens without refresh; pass refresh, or the access token as token")
        if via not in ("handshake", "authenticate"):
            raise ConfigError("via must be 'handshake' or 'authenticate'")
        self.token, self.refresh, self.on_signed_out, self.clock = token, refresh, on_signed_out, clock
        if dpop is not None and not isinstance(dpop, ProofKey):
            raise ConfigError("dpop must be a ProofKey")
        self.later = via == "authenticate"
        self.dpop = dpop
        self._url = ""
        self._nonce: str | None = None
        self.has_new_nonce = False
        self.cache = TokenCache(tokens, clock())
        self.watch = ConnectionWatch(self.later)
        self.has_ended = False
        self.wait_timeout: float | None = None

    def needs_refresh(self) -> bool:
        """Return True if the tokens must be refreshed before a token can be presented."""
        return self.refresh is not None and not self.cache.is_fresh(self.watch.spent, self.clock())

    def chosen(self, token: str | None) -> Presentable | Refusal:
        """Return the token to present, or why there is none."""
        if not token:
            return self.watch.expired or LOGGED_OUT
        found = Presentable(token, self.cache.version if self.refresh is not None else token)
        return self.watch.expired if self.watch.expired and self.watch.is_useless(found) else found

    def payload(self, extra: dict[str, Any], found: Presentable) -> dict[str, Any]:
        """Return the payload of CONNECT."""
        return extra if self.later else {**extra, "token": found.token}

    def at(self, url: object, options: Mapping[str, Any]) -> None:
        """Note the server's URL, which each proof names."""
        if self.dpop is not None:
            self._url = sockets_url(url, options.get("socketio_path", "socket.io"))

    def learn_nonce(self, refusal: Refusal) -> None:
        """Keep the nonce that the server wants in the next proof, if it asks for one."""
        if refusal.nonce is not None:
            self._nonce, self.has_new_nonce = refusal.nonce, True

    def presented(self, token: str) -> dict[str, Any]:
        """Return a token as it is presented: with a new proof, if it is bound to a key."""
        if self.dpop is None:
            return {"token": token}
        self.has_new_nonce = False
        return {"token": token, "dpop": self.dpop.proof("GET", self._url, token=token, nonce=self._nonce)}

    def prove(self, packet: Any) -> None:
        """Add a proof to a CONNECT packet. Each namespace needs its own, and python-socketio repeats the payload."""
        token = packet.data.get("token") if packet.packet_type == _CONNECT and isinstance(packet.data, dict) else None
        if self.dpop is not None and isinstance(token, str):
            packet.data = packet.data | self.presented(token)

    def can_repeat(self, *, is_last: bool) -> bool:
        """Return True if another attempt to connect can help: with a new token, or with the server's nonce."""
        return not is_last and (self.watch.expired is not None or self.has_new_nonce)

    def begin(self, tokens: Tokens | None) -> None:
        """Start again, possibly with the tokens of a new login."""
        self.has_ended = False
        if tokens is not None:
            self.watch.expired = None
            self.cache.store(tokens, self.clock())

    def end(self, refusal: Refusal) -> None:
        """Note that the client stops. Tokens that the server rejected are not presented again."""
        self.has_ended = True
        if refusal.concerns_token:
            self.cache.store(None, self.clock())

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a connection. python-socketio's reconnection does not repeat ``wait_timeout``."""
        self.wait_timeout = options.get("wait_timeout", self.wait_timeout)
        return options if self.wait_timeout is None else {**options, "wait_timeout": self.wait_timeout}


class Hooks:
    """The mixin that passes the server's events to the watch, and starts what it decides."""

    _login: Login
    connection_auth: Any
    _reconnect_abort: Any
    _reconnect_task: Any
    _hung_up: Any = None
    _leaving: Any = None  # closes the connection of a client that has stopped
    start_background_task: Callable[..., Any]
    _renew: Callable[..., Any]
    _finish: Callable[..., Any]

    def _begin(
        self, auth: dict[str, Any] | None, tokens: Tokens | None, options: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a connection, and return the application's members of the payload, and the options."""
        if auth is None or auth is not self.connection_auth:
            self._login.begin(tokens)
        elif self._login.has_ended:  # the reconnection passes the last payload
            raise ConnectionFailed("the client has stopped")
        return _without_token(auth), self._login.options(options)

    def _take(self, step: Step) -> None:
        match step:
            case Renew(namespace, delay):
                self.start_background_task(self._renew, namespace, delay)
            case End(refusal, hang_up) if not self._login.has_ended:
                self._login.end(refusal)
                if self._reconnect_abort is not None:
                    self._reconnect_abort.set()
                self.start_background_task(self._finish, refusal, hang_up)

    def _observe(self, event: str, namespace: str, args: tuple[Any, ...]) -> None:
        if event == UNAUTHORIZED and args:
            self._login.learn_nonce(Refusal.of(args[0]))
        self._take(self._login.watch.observe(event, namespace, args[0] if args else None))
