"""Requests to an OpenID provider: its discovery document, and its token endpoint (internal).

Requests run in a few threads of their own, so that a slow provider delays only logins at this provider.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from roomkey.auth.issued_tokens import InvalidGrant
from roomkey.auth.providers.attempts import Attempt
from roomkey.auth.providers.config import LoginProvider
from roomkey.core.urls import is_endpoint
from roomkey.errors import Unavailable
from roomkey.keysets.fetching import FetchError, Request, basic_authorization, fetch
from roomkey.keysets.remote_answers import MAX_BYTES, AnswerError, parse_object

__all__ = ["Metadata", "ProviderClient", "parse_metadata"]

METADATA_SECONDS = 3600.0
"""Seconds for which a discovery document is used."""

RETRY_SECONDS = 5.0
"""Seconds after a failed request for the document without another one."""

AT_ONCE, WAITING = 4, 32
"""Requests to one provider that run, and that wait; the next one fails with Unavailable."""

EXCHANGE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Metadata:
    """The parts of a discovery document that a login requires (OpenID Connect Discovery 1.0 section 3).

    Attributes:
        authorization_endpoint: where the browser goes.
        token_endpoint: where the code is exchanged.
        names_itself: True if the provider's redirects contain ``iss`` (RFC 9207).
        auth_methods: how clients can present their secret.
    """

    authorization_endpoint: str
    token_endpoint: str
    names_itself: bool
    auth_methods: tuple[str, ...]


def parse_metadata(body: bytes, issuer: str) -> Metadata:
    """Parse a discovery document.

    Raises:
        AnswerError: not such a document, or that of another issuer.
    """
    members = parse_object(body)
    if members.get("issuer") != issuer:
        raise AnswerError("the discovery document is that of another issuer")
    endpoints = [members.get(name) for name in ("authorization_endpoint", "token_endpoint")]
    for url in endpoints:
        if not is_endpoint(url, issuer):
            raise AnswerError("an endpoint is not an https:// URL without a fragment")
    methods = members.get("token_endpoint_auth_methods_supported")
    named = tuple(name for name in methods if isinstance(name, str)) if isinstance(methods, list) else ()
    return Metadata(
        str(endpoints[0]),
        str(endpoints[1]),
        names_itself=members.get("authorization_response_iss_parameter_supported") is True,
        auth_methods=named or ("client_secret_basic",),
    )


def _in_thread(work: Callable[[], bytes]) -> Future[bytes]:
    """Run work in a thread that does not delay the end of the process."""
    done: Future[bytes] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # whoever waits gets it; this thread has no caller
            done.set_exception(error)

    threading.Thread(target=run, name="roomkey-provider", daemon=True).start()
    return done


class Rejected(Unavailable):
    """Raised when the provider responds that the request is wrong."""


class ProviderClient:
    """This server as a client of one provider.

    Args:
        provider: the provider.
        clock: seconds that never go back.
    """

    def __init__(self, provider: LoginProvider, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._clock = clock
        self._free = asyncio.Semaphore(AT_ONCE)
        self._running = 0
        self._metadata: Metadata | None = None
        self._fetched_at = 0.0
        self._failed_at: float | None = None
        self._fetching: asyncio.Task[Metadata] | None = None

    async def metadata(self) -> Metadata:
        """Return the provider's metadata. All callers share one request.

        Raises:
            Unavailable: the provider does not respond as it must.
        """
        now = self._clock()
        if self._metadata is not None and now < self._fetched_at + METADATA_SECONDS:
            return self._metadata
        if self._failed_at is not None and now < self._failed_at + RETRY_SECONDS:
            if self._metadata is not None:
                return self._metadata  # better than none
            raise Unavailable(f"the provider {self._provider.name} was unavailable a moment ago")
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_metadata())
            self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())  # perhaps nobody waits
        await asyncio.wait({self._fetching})
        return self._fetching.result()

    async def _fetch_metadata(self) -> Metadata:
        url = f"{self._provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            found = parse_metadata(await self._request(Request(url, MAX_BYTES)), self._provider.issuer)
        except (Unavailable, AnswerError) as error:
            self._failed_at = self._clock()
            if self._metadata is not None:
                return self._metadata
            raise Unavailable(f"the metadata of {self._provider.name}: {error}") from None
        self._metadata, self._fetched_at, self._failed_at = found, self._clock(), None
        return found

    def authorization_url(self, metadata: Metadata, attempt: Attempt, redirect_uri: str, *, fresh: bool) -> str:
        """Return the URL to which the browser goes (OpenID Connect Core 1.0 section 3.1.2.1, RFC 7636).

        Args:
            metadata: the provider's metadata.
            attempt: the login that begins.
            redirect_uri: where the provider sends the browser back.
            fresh: True to let the user enter the password again, whoever is logged in at the provider.
        """
        parameters = {
            "response_type": "code",
            "client_id": self._provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._provider.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
            **({"prompt": "login", "max_age": "0"} if fresh else {}),
        }
        url = metadata.authorization_endpoint
        return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters)}"

    async def exchange(self, metadata: Metadata, code: str, attempt: Attempt, redirect_uri: str) -> object:
        """Exchange a code, and return the member ``id_token`` of the response. Other tokens are dropped.

        Args:
            metadata: the provider's metadata.
            code: the code.
            attempt: the login that is under way.
            redirect_uri: as in the authorization URL.

        Raises:
            InvalidGrant: the provider rejected the code, or this server's secret.
            Unavailable: the provider does not respond as it must.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": attempt.verifier,
        }
        provider, authorization = self._provider, None
        if provider.client_secret is None:
            form["client_id"] = provider.client_id
        elif "client_secret_basic" in metadata.auth_methods:
            authorization = basic_authorization(provider.client_id, provider.client_secret)
        else:
            form |= {"client_id": provider.client_id, "client_secret": provider.client_secret}
        request = Request(metadata.token_endpoint, MAX_BYTES, urlencode(form).encode(), authorization)
        try:
            answer: dict[str, Any] = parse_object(await self._request(request))
        except Rejected as error:
            raise InvalidGrant(str(error)) from None
        except AnswerError as error:
            raise Unavailable(f"the token endpoint of {provider.name}: {error}") from None
        return answer.get("id_token")

    async def _request(self, request: Request) -> bytes:
        if self._running >= AT_ONCE + WAITING:
            raise Unavailable(f"{self._running} requests to {self._provider.name} are running or waiting")
        self._running += 1
        try:
            async with self._free:
                return await asyncio.wrap_future(_in_thread(lambda: fetch(request, EXCHANGE_SECONDS)))
        except FetchError as error:
            if error.status in (400, 401):  # RFC 6749 section 5.2
                raise Rejected(f"the provider {self._provider.name} responded with {error}") from None
            raise Unavailable(f"the provider {self._provider.name} failed: {error}") from None
        finally:
            self._running -= 1
