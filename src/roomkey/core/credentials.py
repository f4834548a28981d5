"""Where a token may come from, and finding the one that was presented.

Every source is switched on by name. Exactly one token wins; two different ones are refused, because a proxy, a log and
the server would each believe another of them. An empty place is not a token, and neither is what another scheme of the
``Authorization`` header carries: browsers repeat their proxy's login with every request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from roomkey.core.jws import LONGEST_TOKEN
from roomkey.errors import (
    AuthError,
    ConfigError,
    CredentialsBadFormat,
    CredentialsError,
    MalformedToken,
    MissingAuthorizationHeader,
)

PAYLOAD_MEMBERS = ("token", "access_token", "auth_token")
MAX_PRESENTED = LONGEST_TOKEN + len("Bearer ")  # a verifier has its own limit, which is lower


@dataclass(frozen=True, slots=True)
class Credential:
    """A token as it was presented: not verified.

    Attributes:
        token: the bare token, without a scheme.
        source: ``auth``, ``header``, ``cookie``, ``query`` or ``event``.
        origin: the page that opened the connection, as :func:`page_of` tells; None if no page did.
    """

    token: str = field(repr=False)
    source: str
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Handshake:
    """The token comes with the connection, and is decided before the connection is answered.

    Args:
        auth: accept the CONNECT packet's ``auth`` payload (``token``, ``access_token`` or ``auth_token``).
        header: accept the ``Authorization`` header (RFC 6750 section 2.1).
        cookie: the name of a cookie to accept, or None.
        query: the name of a query parameter to accept, or None: URLs are logged, so it is off unless named.

    Raises:
        ConfigError: no source at all, or a source of a wrong type.
    """

    auth: bool = True
    header: bool = True
    cookie: str | None = None
    query: str | None = None

    def __post_init__(self) -> None:
        for switch in ("auth", "header"):
            if not isinstance(getattr(self, switch), bool):
                raise ConfigError(
                    f"{switch} must be True or False, not {getattr(self, switch)!r}; the only header is Authorization, "
                    "and clients that cannot set it can send the token in the auth payload"
                )
        for named in ("cookie", "query"):
            value = getattr(self, named)
            if value is not None and not (isinstance(value, str) and value):
                raise ConfigError(f"{named} must be the name of a {named}, such as {named}='token', not {value!r}")
        if not (self.auth or self.header or self.cookie or self.query):
            raise ConfigError("Handshake needs a source: auth, header, cookie='…' or query='…'")


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The token comes after connecting, as the event ``authenticate``; until then the socket is in quarantine.

    Args:
        timeout: seconds from the connection; only success stops it.
        max_attempts: so many refused tokens close the connection.

    Raises:
        ConfigError: no time, or no attempt.
    """

    timeout: float = 15.0
    max_attempts: int = 3

    def __post_init__(self) -> None:
        numbers = isinstance(self.timeout, (int, float)) and isinstance(self.max_attempts, int)
        if not numbers or not 0 < self.timeout < float("inf") or self.max_attempts < 1:
            raise ConfigError("Authenticate needs a timeout over 0 seconds and at least 1 attempt")


@dataclass(frozen=True, slots=True)
class Request:
    """What the HTTP request of a connection carried, as far as tokens may stand in it."""

    authorization: str | None = None
    cookie: str | None = None
    query: str | None = None
    origin: str | None = None


NO_REQUEST = Request()


def page_of(origin: str | None, fetch_site: str | None, host: str | None) -> str | None:
    """Which page sends a request, as its browser says.

    Args:
        origin: its ``Origin`` (RFC 6454 section 7).
        fetch_site: its ``Sec-Fetch-Site``: with a GET to a page's own server, such as a first poll, browsers send that
            and no ``Origin``.
        host: its ``Host``.

    Returns:
        An origin; ``//host``, the server's own with whatever scheme; or None if no page sends it, or nobody can say.
    """
    if origin:
        return origin
    return f"//{host}" if fetch_site == "same-origin" and host else None


def from_handshake(way: Handshake, auth: object, request: Request) -> Credential:
    """Find the token of a handshake.

    Args:
        way: which sources are on.
        auth: the CONNECT packet's payload, any JSON the client sent; None if it sent none.
        request: the HTTP request's side.

    Returns:
        The first source that has a token, in the order auth, header, query, cookie. A cookie counts where there is
        nothing else: the browser sends it along, whatever the page presents.

    Raises:
        CredentialsError: no token was presented, or something else than one token.
        MalformedToken: a payload without a usable token in it.
    """
    found: list[Credential] = []
    failed: AuthError | None = None
    for source, value in _sources(way, auth, request):
        if source == "cookie" and found and found[0].source != source:
            break
        try:
            token = _payload_token(value) if source == "auth" else bare_token(value)
            found.append(Credential(token, source, request.origin))
        except AuthError as error:
            failed = failed or error
    if not found:
        if failed is not None:
            raise failed
        if way.header and not (way.auth or way.cookie or way.query):
            raise MissingAuthorizationHeader()
        raise CredentialsError()
    if any(presented.token != found[0].token for presented in found):
        sources = ", ".join(presented.source for presented in found)
        raise CredentialsBadFormat(f"different tokens in {sources}", message="more than one token provided")
    return found[0]


def from_event(arguments: tuple[object, ...], request: Request = NO_REQUEST) -> Credential:
    """Find the token of an ``authenticate`` event.

    Args:
        arguments: the event's arguments; the first is an object with the token, what follows is ignored.
        request: the HTTP request that opened the connection.

    Raises:
        CredentialsError: no argument.
        MalformedToken: an argument without a usable token in it.
    """
    if not arguments or arguments[0] is None:
        raise CredentialsError()
    return Credential(_payload_token(arguments[0]), "event", request.origin)


def has_credentials(way: Handshake, auth: object, request: Request) -> bool:
    """True if the handshake presents something for a token: a client that has none yet may send an empty place."""
    return any(True for _ in _sources(way, auth, request))


def _sources(way: Handshake, auth: object, request: Request) -> Iterator[tuple[str, object]]:
    if way.auth and auth is not None and (not isinstance(auth, Mapping) or _members(auth)):
        yield "auth", auth
    if way.header and request.authorization and not _is_another_scheme(request.authorization):
        yield "header", request.authorization
    if way.query and request.query:
        for value in parse_qs(request.query).get(way.query, ()):
            yield "query", value
    if way.cookie and request.cookie:
        for value in filter(None, cookie_values(request.cookie, way.cookie)):
            yield "cookie", value


def _is_another_scheme(authorization: str) -> bool:
    """True for a header that presents no token: ``Basic …``. Where a bearer token stands beside it, it does."""
    words = authorization.lower().split()
    return len(words) > 1 and "bearer" not in words


def cookie_values(header: str, name: str) -> list[str]:
    """Every value of the cookie (RFC 6265 section 5.4): a neighbour domain can set a second one of the same name."""
    pairs = (pair.partition("=") for pair in header.split(";"))
    return [value.strip().strip('"') for key, equals, value in pairs if equals and key.strip() == name]


def _payload_token(payload: object) -> str:
    if not isinstance(payload, Mapping):
        raise MalformedToken(
            f"the payload is a {type(payload).__name__}, not an object", message="invalid token datatype"
        )
    values = _members(payload) or [payload[name] for name in PAYLOAD_MEMBERS if name in payload]
    if not values:
        raise MalformedToken("the payload has no token in it", message="invalid token datatype")
    tokens = {bare_token(value) for value in values}
    if len(tokens) > 1:
        raise CredentialsBadFormat("different tokens in one payload", message="more than one token provided")
    return tokens.pop()


def _members(payload: Mapping[str, object]) -> list[object]:
    """What stands where a token may stand, and is not empty."""
    found = (payload.get(name) for name in PAYLOAD_MEMBERS)
    return [value for value in found if value is not None and value != ""]


def bare_token(value: object) -> str:
    """Take the scheme off: ``Bearer <token>`` in any letter case, or the token alone.

    Raises:
        MalformedToken: no string, empty, or longer than a token may be.
        CredentialsBadFormat: another scheme, or more than two words.
    """
    if not isinstance(value, str):
        raise MalformedToken(f"the token is a {type(value).__name__}, not a string", message="invalid token datatype")
    if len(value) > MAX_PRESENTED:
        raise MalformedToken(f"{len(value)} characters, at most {MAX_PRESENTED}", message="jwt malformed")
    if not value:
        raise MalformedToken("empty", message="jwt must be provided")
    words = value.split(" ")
    if len(words) == 1 and words[0].lower() != "bearer":
        return words[0]
    if len(words) == 2 and words[0].lower() == "bearer" and words[1]:
        return words[1]
    raise CredentialsBadFormat("not 'Bearer <token>' and not a bare token")
