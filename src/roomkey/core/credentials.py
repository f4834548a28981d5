"""Where clients present tokens, and the search for the token of a client.

:data:`SOURCES` is the table of all sources. Applications enable each source by name (:class:`Handshake`). A client
presents exactly one token: two different tokens are rejected, because a proxy, a log and the server might each use a
different one. An empty value is not a token. Another scheme of the ``Authorization`` header is not a token either:
browsers repeat their proxy's login with every request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from roomkey.core.cookies import token_cookies
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
AUTHORIZATION = "authorization"
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
        auth: accept the ``auth`` payload of the CONNECT packet: its members ``token``, ``access_token`` and
            ``auth_token``, or only the member with this name.
        header: accept the ``Authorization`` header (RFC 6750 section 2.1), or instead the header with this name, which
            contains the token alone or ``Bearer <token>``.
        cookie: name of a cookie to accept, or None. The token can be split: ``name.0``, ``name.1`` and so on, or
            ``name_0``, ``name_1``.
        query: name of a query parameter to accept, or None. URLs are logged, so the default is None.

    Attributes:
        sources: the enabled sources, in the order of :data:`SOURCES`.

    Raises:
        ConfigError: no source is enabled, or a source has the wrong type or name.
    """

    auth: bool | str = True
    header: bool | str = True
    cookie: str | None = None
    query: str | None = None
    sources: tuple[Source, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for source in SOURCES:
            source.check(getattr(self, source.name))
        enabled = tuple(source for source in SOURCES if getattr(self, source.name))
        if not enabled:
            options = ", ".join(f"{source.name}='…'" if source.needs_name else source.name for source in SOURCES)
            raise ConfigError(f"Handshake requires a source; enable at least one of {options}")
        object.__setattr__(self, "sources", enabled)

    @property
    def is_ambient(self) -> bool:
        """True if a browser sends an enabled source automatically, whichever page makes it connect."""
        return any(source.is_ambient for source in self.sources)

    @property
    def header_name(self) -> str:
        """The name, in lower case, of the header that hosts pass on as :attr:`Request.authorization`."""
        return self.header.lower() if isinstance(self.header, str) else AUTHORIZATION

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names under which clients send tokens, so that logs do not contain their values."""
        named = (self.auth, self.header, self.cookie, self.query)
        return tuple(name for name in named if isinstance(name, str))


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
        authorization: the ``Authorization`` header, or the one that ``Handshake(header=…)`` names.
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
        CredentialsBadFormat: a header that is not ``Bearer <token>``; two different tokens; a cookie whose chunks are
            not one whole token; or a token with a DPoP proof that is also presented elsewhere, without one (RFC 9449
            section 7.2).
        MalformedToken: a payload without a usable token.
    """
    given: list[tuple[Source, Any]] = []
    for source in way.sources:
        content = auth if source.request_field is None else getattr(request, source.request_field)
        if content is not None:
            given.append((source, content))
    if len(given) == 1:  # most handshakes
        source, content = given[0]
        values = source.values(content, getattr(way, source.name))
        if len(values) == 1:
            token = source.read(values[0], getattr(way, source.name))
            return None if token is None else _credential(token, source, content, request)
    return _only_one(way, given, request) if given else None


def _credential(token: str, source: Source, content: Any, request: Request) -> Credential:
    proof = _proof(content) if source.request_field is None else None
    return Credential(token, source.name, request.origin, proof)


def _only_one(way: Handshake, given: list[tuple[Source, Any]], request: Request) -> Credential | None:
    """Return the one token in several sources or values; raise an error for several tokens."""
    found: list[Credential] = []
    failed: AuthError | None = None
    for source, content in given:
        if source.is_ambient and found:
            continue
        for token in _tokens(source, content, getattr(way, source.name)):
            if isinstance(token, AuthError):
                failed = failed or token
            else:
                found.append(_credential(token, source, content, request))
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
    demands_header = way.sources == (_HEADER,) and way.header_name == AUTHORIZATION
    return MissingAuthorizationHeader() if demands_header else CredentialsError()


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


def _tokens(source: Source, content: Any, option: bool | str) -> Iterator[str | AuthError]:
    """Yield each token in the content of a source, and the error for each value without a usable one."""
    try:
        values = source.values(content, option)
    except AuthError as error:
        yield error
        return
    for value in values:
        try:
            token = source.read(value, option)
        except AuthError as error:
            yield error
        else:
            if token is not None:
                yield token


def _payload_token(payload: object, member: bool | str = True) -> str | None:
    """Return the token in a payload; None in an object without one, which is the application's own payload."""
    if type(payload) is not dict and not isinstance(payload, Mapping):
        raise MalformedToken(
            f"the payload is a {type(payload).__name__}, not an object", message=MalformedToken.WRONG_TYPE
        )
    token, several = None, False
    for name in (member,) if isinstance(member, str) else PAYLOAD_MEMBERS:
        value = payload.get(name)
        if value is not None and value != "":
            found = bare_token(value)
            several = several or (token is not None and found != token)
            token = found
    if several:
        raise CredentialsBadFormat("different tokens in one payload", message=CredentialsBadFormat.SEVERAL_TOKENS)
    return token


def _proof(payload: Mapping[str, object]) -> object:
    """Return the DPoP proof in a payload that has a token, or None."""
    proof = payload.get(PROOF_MEMBER)
    return None if proof in _EMPTY else proof


def _header_token(value: str, name: bool | str) -> str | None:
    """Return the token in a header; None for an empty header.

    ``Authorization`` with another scheme has no token either. If it names Bearer or DPoP, next to another scheme, it
    has one: it must not make its client a guest. A header of another name has no other purpose.
    """
    if isinstance(name, str) and name.lower() != AUTHORIZATION:
        value = value.strip(" \t")
        if "," in value:  # the header was sent twice (RFC 9110 section 5.3)
            raise CredentialsBadFormat(f"several values in {name}", message=CredentialsBadFormat.SEVERAL_TOKENS)
        return bare_token(value) if value else None
    return _authorization_token(value)


def _authorization_token(authorization: str) -> str | None:
    words = authorization.lower().split()
    if not authorization or (len(words) > 1 and _TOKEN_SCHEMES.isdisjoint(words)):
        return None
    return bare_token(authorization)


def _query_values(query: str, name: bool | str) -> list[str]:
    return parse_qs(query).get(str(name), [])


def _one(content: object, _option: bool | str) -> tuple[object, ...]:
    return (content,)


def _named_token(value: object, _name: bool | str) -> str:
    return bare_token(value)


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

    Its functions get the value of its field of :class:`Handshake`: True, or a name.

    Attributes:
        name: the field of :class:`Handshake` that enables the source, and :attr:`Credential.source`.
        request_field: the field of :class:`Request` with the source's content; None for the CONNECT payload.
        read: returns the token in a value, or None if it is empty or is something else; raises an AuthError for a
            token that is not usable.
        kind: what a name is the name of, for errors.
        example: such a name.
        values: returns the values in the content that may be tokens; raises an AuthError if they are not usable.
        needs_name: only a name selects the values, so that the field is a name or None. Otherwise it is True, False, or
            a name.
        names: a pattern for the names that can be used.
        is_ambient: browsers send it automatically with every request. It is used only if no other source presents a
            token, and the host passes it on only if the page's origin is allowed. Put ambient sources last.
    """

    name: str
    request_field: str | None
    read: Callable[[Any, bool | str], str | None]
    kind: str
    example: str
    values: Callable[[Any, bool | str], Sequence[Any]] = _one
    needs_name: bool = False
    names: re.Pattern[str] = re.compile(r".+", re.DOTALL)
    is_ambient: bool = False

    def check(self, value: object) -> None:
        """Check the value of the field of :class:`Handshake`.

        Raises:
            ConfigError: a wrong type, or a name that cannot be used.
        """
        if value is None if self.needs_name else isinstance(value, bool):
            return
        if not isinstance(value, str) or not self.names.fullmatch(value):
            others = "" if self.needs_name else "True, False or "
            raise ConfigError(
                f"{self.name} must be {others}the name of a {self.kind}, such as {self.name}={self.example!r}, "
                f"not {value!r}"
            )


_HEADER = Source(
    "header",
    "authorization",
    _header_token,
    "header other than Cookie (letters, digits and hyphens)",
    "X-Token",
    names=re.compile(r"(?i)(?!cookie$)[a-z0-9-]+"),
)

SOURCES = (
    Source(
        "auth",
        None,
        _payload_token,
        "member other than dpop",
        "jwt",
        names=re.compile(rf"(?!{PROOF_MEMBER}$).+", re.DOTALL),
    ),
    _HEADER,
    Source("query", "query", _named_token, "query parameter", "token", values=_query_values, needs_name=True),
    Source(
        "cookie", "cookie", _named_token, "cookie", "session", values=token_cookies, needs_name=True, is_ambient=True
    ),
)
"""Every source of a token in a handshake. Each is also a field of :class:`Handshake`. The first that presents a token
is the source of the credential."""
