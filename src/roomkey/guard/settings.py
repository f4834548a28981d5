"""The settings of a guard: declared, documented and checked here, and nowhere else.

The guard and the hub take them as keyword arguments (:func:`takes_settings`). Their parts receive the frozen object.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import wraps
from math import inf
from typing import Concatenate, Literal, ParamSpec, Protocol, TypeVar, get_args

from roomkey.audit import log_warnings
from roomkey.core.credentials import AUTHORIZATION, Authenticate, Handshake
from roomkey.core.dpop import MAX_PROOF, DPoP
from roomkey.core.identity import Identity
from roomkey.core.jws import MAX_TOKEN
from roomkey.core.numbers import is_number, is_whole_number
from roomkey.core.policy import Policy
from roomkey.core.subject_limits import SubjectLimits
from roomkey.errors import ConfigError
from roomkey.guard.clock import Clock
from roomkey.stores import RevocationStore

ANONYMOUS_PACKET = 16_384
"""Default limit of a packet before admission, in bytes."""

ANONYMOUS_PACKETS = 4
"""Packets in one polling body before admission: a client that joins several namespaces at once sends several."""

PACKET_AROUND_TOKEN = 1024
"""Bytes of the packet that presents a token, besides the token."""

UPGRADE_SECONDS = 10.0
"""How long the upgrade of a polling session to a WebSocket may take, with every host."""

POLL_PACKETS = 16
"""Packets in one response to a poll, with every host: python-socketio's client closes the connection after more."""

Way = Handshake | Authenticate
WhenStoreFails = Literal["refuse", "admit"]

Arguments = ParamSpec("Arguments")
OwnerT = TypeVar("OwnerT")
SettingsT = TypeVar("SettingsT")


class AnyVerifier(Protocol):
    """The part of a verifier that a guard needs; a verifier that fetches keys returns an awaitable.

    A verifier that needs to know how the token was presented also has ``verify_presented(presented, now)``.
    """

    def verify(self, token: object, now: float, *, source: str = "") -> Identity | Awaitable[Identity]:
        """Return the identity, or raise one :class:`AuthError`."""


@dataclass(frozen=True, eq=False, repr=False)
class GuardSettings:
    """The settings that every guard has.

    Attributes:
        verifier: verifies tokens.
        via: how clients present a token: :class:`Handshake` (None means this), :class:`Authenticate`, or a tuple of
            both. With both, a token in the handshake is decided there; a client without one must send ``authenticate``.
        required: False also admits clients without a token, as :meth:`roomkey.Identity.guest`. An invalid token is
            still refused, and a guest can send ``authenticate``.
        dpop: how clients prove that they own the key to which their token is bound (DPoP, RFC 9449). By default, tokens
            that are bound to a key are rejected.
        policy: rules for namespaces, rooms and events. By default, every identity may connect and no room can be
            joined.
        revocations: store of revocations, such as :class:`roomkey.stores.SqlRevocations`. The guard opens
            and closes it. By default, revocations are kept in the memory of this process.
        when_store_fails: while the store is unavailable, ``"refuse"`` new connections or ``"admit"`` them with the
            revocations known in this process. Admitted sockets stay connected until they expire.
        subject_limits: how many sockets, joins and events each subject may have.
        user_rooms: add every socket to the room of its subject, ``user:{sub}``, which no other subject can join.
        grace: seconds after ``exp`` for which a socket stays connected, so that it can be renewed; 0 is allowed.
        warn_before: seconds before ``exp`` at which the client receives ``token_expiring``; 0 sends no warning.
        connect_timeout: seconds after which a connection without a namespace is closed.
        max_refusals: number of refused namespaces at which the connection is closed.
        max_namespaces: number of namespaces that one connection may have.
        max_anonymous: number of connections without an admitted socket that one IPv4 address, or one IPv6 /64
            network, may have.
        max_bad_tokens: number of tokens from one IPv4 address, or one IPv6 /64 network, that may be rejected per
            minute, except for expired and revoked ones. Beyond it, the next ones are rejected with
            ``too_many_attempts``, and only counted. Valid tokens are always accepted.
        max_anonymous_packet: limit of a packet on a connection without an admitted socket, in bytes. Default: 16 KiB,
            or twice the verifier's ``max_token`` if that is more.
        max_unsent: bytes that may wait for a client that does not read them; if there are more, its connection is
            closed.
        clock: source of the time. Default: the system's clock.

    Raises:
        ConfigError: a setting is invalid, or settings contradict each other.
    """

    verifier: AnyVerifier
    _: KW_ONLY
    via: Way | Sequence[Way] | None = None
    required: bool = True
    dpop: DPoP | None = None
    policy: Policy | None = None
    revocations: RevocationStore | None = None
    when_store_fails: WhenStoreFails = "refuse"
    subject_limits: SubjectLimits | None = None
    user_rooms: bool = True
    grace: float = 25.0
    warn_before: float = 60.0
    connect_timeout: float = 15.0
    max_refusals: int = 3
    max_namespaces: int = 32
    max_anonymous: int = 1000
    max_bad_tokens: int = 100
    max_anonymous_packet: int | None = None
    max_unsent: int = 1 << 20
    clock: Clock | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        _check_verifier(self.verifier)
        if self.policy is not None and not isinstance(self.policy, Policy):
            raise ConfigError("policy must be a roomkey.Policy: policy = Policy(); policy.room(…)(rule)")
        if self.revocations is not None and not callable(getattr(self.revocations, "since", None)):
            raise ConfigError("revocations must be a store, such as SqlRevocations('roomkey.sqlite3')")
        if self.when_store_fails not in get_args(WhenStoreFails):
            raise ConfigError("when_store_fails must be 'refuse' or 'admit'")
        self._check_types()
        smallest = self.max_token + PACKET_AROUND_TOKEN + (MAX_PROOF if self.dpop is not None else 0)
        most = self.max_anonymous_packet
        if most is not None and (not is_whole_number(most) or most < smallest):
            raise ConfigError(
                f"max_anonymous_packet must be at least {smallest} bytes: the packet with the longest token must fit"
            )
        _check_ways(self._ways())
        _check_proofs(self.dpop, self.authenticate)
        log_warnings(self.verifier)

    def _check_types(self) -> None:
        for name in ("required", "user_rooms"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be True or False")
        for name in ("grace", "warn_before"):
            if not is_number(getattr(self, name)) or not 0 <= getattr(self, name) < inf:
                raise ConfigError(f"{name} must be 0 or more seconds")
        if not is_number(self.connect_timeout) or not 0 < self.connect_timeout < inf:
            raise ConfigError("connect_timeout must be more than 0 seconds")
        for name in ("max_refusals", "max_namespaces", "max_anonymous", "max_bad_tokens", "max_unsent"):
            if not is_whole_number(getattr(self, name)) or getattr(self, name) < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1")

    @property
    def token_header(self) -> str:
        """The name, in lower case, of the header in which requests present tokens."""
        return self.handshake.header_name if self.handshake is not None else AUTHORIZATION

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names under which handshakes present tokens."""
        return self.handshake.secret_names if self.handshake is not None else ()

    @property
    def handshake(self) -> Handshake | None:
        """The sources of tokens in the handshake; None if tokens are not accepted there."""
        return next((way for way in self._ways() if isinstance(way, Handshake)), None)

    @property
    def authenticate(self) -> Authenticate | None:
        """The settings for tokens after connecting; None if tokens are not accepted then."""
        return next((way for way in self._ways() if isinstance(way, Authenticate)), None)

    @property
    def max_token(self) -> int:
        """The longest token that the verifier accepts, in bytes."""
        return getattr(self.verifier, "max_token", None) or MAX_TOKEN

    @property
    def anonymous_packet(self) -> int:
        """The limit of a packet before admission, in bytes."""
        return self.max_anonymous_packet or max(ANONYMOUS_PACKET, 2 * self.max_token)

    @property
    def anonymous_body(self) -> int:
        """The limit of a polling request's body before admission, in bytes."""
        return ANONYMOUS_PACKETS * self.anonymous_packet

    def _ways(self) -> Sequence[Way]:
        if self.via is None:
            return (Handshake(),)
        return self.via if isinstance(self.via, (tuple, list)) else (self.via,)


def takes_settings(
    settings: Callable[Arguments, SettingsT],
) -> Callable[[Callable[[OwnerT, SettingsT], None]], Callable[Concatenate[OwnerT, Arguments], None]]:
    """Decorate an ``__init__`` that takes a settings object, so that it takes the object's fields instead.

    A setting is then declared in one place, the dataclass, and is still an argument that type checkers and
    :func:`help` know.
    """

    def decorate(init: Callable[[OwnerT, SettingsT], None]) -> Callable[Concatenate[OwnerT, Arguments], None]:
        @wraps(init)
        def with_fields(self: OwnerT, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
            init(self, settings(*args, **kwargs))

        owner, *_ = inspect.signature(init).parameters.values()
        fields = inspect.signature(settings).parameters.values()
        with_fields.__signature__ = inspect.Signature([owner, *fields])  # type: ignore[attr-defined]
        return with_fields

    return decorate


def _check_verifier(verifier: AnyVerifier) -> None:
    if not callable(getattr(verifier, "verify", None)):
        raise ConfigError("the first argument must be a verifier, such as Verifier.hs256(SECRET, audience='chat')")
    if getattr(verifier, "requires_subject", True) is not True:
        raise ConfigError(
            "cannot use a verifier that accepts tokens without a subject: all of their users would be one user; "
            "add 'sub' to require; if another claim names the user, use Verifier(…, claims_map={'subject': 'user_id'})"
        )


def _check_ways(ways: Sequence[Way]) -> None:
    kinds = [kind for way in ways for kind in (Handshake, Authenticate) if isinstance(way, kind)]
    if not kinds or len(kinds) != len(ways) or len(set(kinds)) != len(kinds):
        raise ConfigError("via must be Handshake(…), Authenticate(…), or one of each in a tuple")


def _check_proofs(dpop: DPoP | None, later: Authenticate | None) -> None:
    if dpop is None:
        return
    if not isinstance(dpop, DPoP):
        raise ConfigError("dpop must be a roomkey.DPoP: DPoP('https://chat.example/socket.io/')")
    if dpop.nonces is not None and later is not None and later.max_attempts < 2:
        raise ConfigError("max_attempts must be at least 2: with nonce_secret, the first proof of a client is rejected")
