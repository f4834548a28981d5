"""Where clients present tokens, and the search for the token of a client.

:data:`SOURCES` is the table of all sources. Applications enable each source by name (:class:`Handshake`). A client
presents exactly one token: two different tokens are rejected, because a proxy, a log and the server might each use a
different one. An empty value is not a token. Another scheme of the ``Authorization`` header is not a token either:
browsers repeat their proxy's login with every request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from roomkey.core.jws import LONGEST_TOKEN
from roomkey.core.numbers import is_number, is_whole_number
from roomkey.errors import (
    AuthError,
    ConfigError,
    CredentialsBadFormat,
    CredentialsError,
    MalformedToken,
    MissingAuthorizationHeader,
)

PAYLOAD_MEMBERS = ("token", "access_token", "auth_token")
PROOF_MEMBER = "dpop"
MAX_PRESENTED = LONGEST_TOKEN + len("Bearer ")  # each verifier has a lower limit of its own


@dataclass(frozen=True, slots=True)
class Credential:
    """A token that a client presents, before it is verified.

    Attributes:
        token: the token without its scheme.
        source: the name of a source in :data:`SOURCES`, or ``event``.
        origin: the web page that opened the connection, as returned by :func:`page_of`; None if no page did.
        proof: the DPoP proof next to the token, of any type; None without one.
        proved_key: the thumbprint of the key that signed the proof, if that is verified (:mod:`roomkey.core.dpop`).
    """

    token: str = field(repr=False)
    source: str
    origin: str | None = None
    proof: object = field(default=None, repr=False)
    proved_key: str | None = None


@dataclass(frozen=True, slots=True)
class Handshake:
    """Accept tokens in the handshake. The guard verifies the token before it replies to CONNECT.

    Args:
        auth: accept the ``auth`` payload of the CONNECT packet (``token``, ``access_token`` or ``auth_token``).
        header: accept the ``Authorization`` header (RFC 6750 section 2.1).
        cookie: name of a cookie to accept, or None.
        query: name of a query parameter to accept, or None. URLs are logged, so the default is None.

    Attributes:
        sources: the enabled sources, in the order of :data:`SOURCES`.

    Raises:
        ConfigError: no source is enabled, or a source has the wrong type.
    """

    auth: bool = True
    header: bool = True
    cookie: str | None = None
    query: str | None = None
    sources: tuple[Source, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for source in SOURCES:
            name, value = source.name, getattr(self, source.name)
            if source.is_named and value is not None and not (isinstance(value, str) and value):
                raise ConfigError(f"{name} must be the name of a {name}, such as {name}='token', not {value!r}")
            if not source.is_named and not isinstance(value, bool):
                raise ConfigError(
                    f"{name} must be True or False, not {value!r}; the only header is Authorization, "
                    "and clients that cannot set it can send the token in the auth payload"
                )
        enabled = tuple(source for source in SOURCES if getattr(self, source.name))
        if not enabled:
            options = ", ".join(f"{source.name}='…'" if source.is_named else source.name for source in SOURCES)
            raise ConfigError(f"Handshake requires a source; enable at least one of {options}")
        object.__setattr__(self, "sources", enabled)

    @property
    def is_ambient(self) -> bool:
        """True if a browser sends an enabled source automatically, whichever page makes it connect."""
        return any(source.is_ambient for source in self.sources)


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Accept tokens after the connection, in the event ``authenticate``. Until then the socket is in quarantine.

    Args:
        timeout: seconds from the connection to a successful authentication.
        max_attempts: number of rejected tokens after which the guard closes the connection.

    Raises:
        ConfigError: ``timeout`` is not above 0 seconds, or ``max_attempts`` is below 1.
    """

    timeout: float = 15.0
    max_attempts: int = 3

    def __post_init__(self) -> None:
        numbers = is_number(self.timeout) and is_whole_number(self.max_attempts)
        if not numbers or not 0 < self.timeout < float("inf") or self.max_attempts < 1:
            raise ConfigError("Authenticate requires a timeout above 0 seconds and max_attempts of at least 1")


@dataclass(frozen=True, slots=True)
class Request:
    """The parts of a connection's HTTP request that may contain a token, and the page that sent it.

    Attributes:
        authorization: the ``Authorization`` header.
        cookie: the ``Cookie`` header; None if it must not be used, because the page's origin is not allowed.
        query: the query string.
        origin: the page, as returned by :func:`page_of`.
    """

    authorization: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)
    query: str | None = field(default=None, repr=False)
    origin: str | None = None


NO_REQUEST = Request()
_EMPTY = (None, "")
_TOKEN_SCHEMES = frozenset({"bearer", "dpop"})


def page_of(origin: str | None, fetch_site: str | None, host: str | None) -> str | None:
    """Return the web page that sends a request, according to its browser.

    Args:
        origin: the ``Origin`` header (RFC 6454 section 7).
        fetch_site: the ``Sec-Fetch-Site`` header. Browsers send it without ``Origin`` in a GET to the page's own
            server, such as a first poll.
        host: the ``Host`` header.

    Returns:
        An origin; ``//host`` for the server's own origin with either scheme; or None if no page sends the request, or
        if its headers do not tell.
    """
    if origin:
        return origin
    return f"//{host}" if fetch_site == "same-origin" and host else None


def find_credential(way: Handshake, auth: object, request: Request) -> Credential | None:
    """Find the token that a handshake presents.

    Args:
        way: the enabled sources.
        auth: the CONNECT packet's payload, any JSON; None if it has none.
        request: the connection's HTTP request.

    Returns:
        The token of the first source in :data:`SOURCES` that presents one; None if none does. An ambient source, such
        as the cookie, is used only if no other source has a token.

    Raises:
        CredentialsBadFormat: a header that is not ``Bearer <token>``; two different tokens; or a token with a DPoP
            proof that is also presented elsewhere, without one (RFC 9449 section 7.2).
        MalformedToken: a payload without a usable token.
    """
    found: list[Credential] = []
    failed: AuthError | None = None
    for source in way.sources:
        content: Any = auth if source.request_field is None else getattr(request, source.request_field)
        if content is None or (source.is_ambient and found):
            continue
        values = [content] if source.values is None else source.values(content, getattr(way, source.name))
        for value in values:
            try:
                token = source.read(value)
            except AuthError as error:
                failed = failed or error
            else:
                if token is not None:
                    proof = _proof(content) if source.request_field is None else None
                    found.append(Credential(token, source.name, request.origin, proof))
    if not found:
        if failed is not None:
            raise failed
        return None
    if len(found) > 1 and (found[0].proof is not None or any(other.token != found[0].token for other in found)):
        sources = ", ".join(credential.source for credential in found)
        what = "different tokens" if found[0].proof is None else "tokens, one of them with a DPoP proof,"
        raise CredentialsBadFormat(f"{what} in {sources}", message=CredentialsBadFormat.SEVERAL_TOKENS)
    return found[0]


def missing_credential(way: Handshake) -> CredentialsError:
    """Return the error for a handshake that presents no token."""
    return MissingAuthorizationHeader() if way.sources == (_HEADER,) else CredentialsError()


def from_event(arguments: tuple[object, ...], request: Request = NO_REQUEST) -> Credential:
    """Return the token of an ``authenticate`` event.

    Args:
        arguments: the event's arguments; the first is an object with the token, the others are ignored.
        request: the HTTP request that opened the connection.

    Raises:
        CredentialsError: the event has no argument.
        MalformedToken: the argument has no usable token.
    """
    payload: Any = arguments[0] if arguments else None
    if payload is None:
        raise CredentialsError()
    token = _payload_token(payload)
    if token is None:
        first = next((payload[name] for name in PAYLOAD_MEMBERS if name in payload), None)
        if first is None:
            raise MalformedToken("the payload has no token in it", message=MalformedToken.WRONG_TYPE)
        raise MalformedToken("the payload has no token in it", message=MalformedToken.JWT_MISSING)
    return Credential(token, "event", request.origin, _proof(payload))


def cookie_values(header: str, name: str) -> list[str]:
    """Return each value of a cookie (RFC 6265 section 5.4): a sibling domain can set a second cookie of that name."""
    pairs = (pair.partition("=") for pair in header.split(";"))
    return [value.strip().strip('"') for key, equals, value in pairs if equals and key.strip() == name]


def _payload_token(payload: object) -> str | None:
    """Return the token in a payload; None in an object without one, which is the application's own payload."""
    if not isinstance(payload, Mapping):
        raise MalformedToken(
            f"the payload is a {type(payload).__name__}, not an object", message=MalformedToken.WRONG_TYPE
        )
    tokens = [bare_token(payload[name]) for name in PAYLOAD_MEMBERS if payload.get(name) not in _EMPTY]
    if len(set(tokens)) > 1:
        raise CredentialsBadFormat("different tokens in one payload", message=CredentialsBadFormat.SEVERAL_TOKENS)
    return tokens[0] if tokens else None


def _proof(payload: Mapping[str, object]) -> object:
    """Return the DPoP proof in a payload that has a token, or None."""
    proof = payload.get(PROOF_MEMBER)
    return None if proof in _EMPTY else proof


def _header_token(authorization: str) -> str | None:
    """Return the token in an ``Authorization`` header; None for an empty header and for another scheme.

    A header that names Bearer or DPoP, next to another scheme, has a token: it must not make its client a guest.
    """
    words = authorization.lower().split()
    if not authorization or (len(words) > 1 and _TOKEN_SCHEMES.isdisjoint(words)):
        return None
    return bare_token(authorization)


def _query_values(query: str, name: str) -> list[str]:
    return parse_qs(query).get(name, [])


def _cookie_values_with_content(header: str, name: str) -> list[str]:
    return [value for value in cookie_values(header, name) if value]


def bare_token(value: object) -> str:
    """Return a token without its scheme: ``Bearer <token>`` in any letter case, or the token alone.

    Raises:
        MalformedToken: not a string, empty, or longer than any verifier accepts.
        CredentialsBadFormat: another scheme, or more than two words.
    """
    if not isinstance(value, str):
        raise MalformedToken(f"the token is a {type(value).__name__}, not a string", message=MalformedToken.WRONG_TYPE)
    if len(value) > MAX_PRESENTED:
        raise MalformedToken(f"{len(value)} characters, at most {MAX_PRESENTED}", message=MalformedToken.JWT_MALFORMED)
    if not value:
        raise MalformedToken("empty", message=MalformedToken.JWT_MISSING)
    words = value.split(" ")
    if len(words) == 1 and words[0].lower() != "bearer":
        return words[0]
    if len(words) == 2 and words[0].lower() == "bearer" and words[1]:
        return words[1]
    raise CredentialsBadFormat("not 'Bearer <token>' and not a bare token")


@dataclass(frozen=True, slots=True)
class Source:
    """A place where clients present tokens.

    Attributes:
        name: the field of :class:`Handshake` that enables the source, and :attr:`Credential.source`.
        request_field: the field of :class:`Request` with the source's content; None for the CONNECT payload.
        read: returns the token in a value, or None if it is empty or is something else; raises an AuthError for a
            token that is not usable.
        values: for a source in which a name selects the values, such as a cookie: returns the values of a name that
            are not empty. Its field of :class:`Handshake` is that name, or None. Without ``values``, the content is the
            only value, and the field is True or False.
        is_ambient: browsers send it automatically with every request. It is used only if no other source presents a
            token, and the host passes it on only if the page's origin is allowed. Put ambient sources last.
    """

    name: str
    request_field: str | None
    read: Callable[[Any], str | None]
    values: Callable[[str, str], list[str]] | None = None
    is_ambient: bool = False

    @property
    def is_named(self) -> bool:
        """True if a name selects the values."""
        return self.values is not None


_HEADER = Source("header", "authorization", _header_token)

SOURCES = (
    Source("auth", None, _payload_token),
    _HEADER,
    Source("query", "query", bare_token, values=_query_values),
    Source("cookie", "cookie", bare_token, values=_cookie_values_with_content, is_ambient=True),
)
"""Every source of a token in a handshake. Each is also a field of :class:`Handshake`. The first that presents a token
is the source of the credential."""
