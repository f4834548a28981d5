"""An OpenID provider in memory, which signs, rotates its keys, and fails as a test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import TracebackType
from typing import Any, Unpack
from weakref import finalize

from roomkey.core.issuer import Issuer
from roomkey.core.keys import Key
from roomkey.core.verifier import Verifier
from roomkey.core.verifier_settings import VerifierSettings
from roomkey.keysets.fetching import check_issuer
from roomkey.keysets.remote import FETCH_TIMEOUT, RemoteKeySet
from roomkey.testing.clock import Clock
from roomkey.testing.network import MemoryServer

DISCOVERY, JWKS = "/.well-known/openid-configuration", "/jwks"

_numbers = count(1)


class FakeProvider:
    """An OpenID provider in memory. Verifiers of this process reach it at its issuer, without a port.

    ::

        provider = FakeProvider(audience="chat")
        verifier = Verifier.oidc(provider.issuer, audience="chat")
        token = provider.issue("ada")

    With a ``clock``, use :meth:`verifier`: it waits for a retry or for the next fetch by that clock.

    Args:
        issuer: its ``iss``, an ``https`` URL. Default: a new one for each provider.
        audience: ``aud`` of its tokens; None omits the claim.
        algorithm: with which it signs: an asymmetric one.
        clock: its time, and that of :meth:`verifier`. Default: the system's.

    Raises:
        ConfigError: no verifier would accept the issuer.

    Attributes:
        issuer: its ``iss``.
        metadata: changes to its discovery document; None removes a member.
        keys: the private keys whose public halves it publishes; it signs with the last one.
        requests: the path of each request that it answered, in order.
    """

    def __init__(
        self,
        issuer: str | None = None,
        *,
        audience: str | None = "chat",
        algorithm: str = "ES256",
        clock: Clock | None = None,
    ) -> None:
        self.issuer = check_issuer(issuer) if issuer is not None else f"https://login-{next(_numbers)}.test"
        self.metadata: dict[str, Any] = {}
        self.requests: list[str] = []
        self._algorithm = algorithm
        self._audience = audience
        self._clock = clock
        self._kids = count(1)
        self.keys = [self._new_key()]
        origin = "/".join(self.issuer.split("/", 3)[:3])
        path = self.issuer[len(origin) :].rstrip("/")
        self._server = MemoryServer(origin, _responder(self.__dict__, path))
        self._closed = finalize(self, self._server.close)

    def __enter__(self) -> FakeProvider:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disappear: from now on, requests go to the network."""
        self._closed()

    # Tokens

    def issue(self, subject: str, *, audience: str | None = None, key: Key | None = None, **settings: Any) -> str:
        """Issue a token.

        Args:
            subject: ``sub``.
            audience: another ``aud`` than usual.
            key: another key than the provider's current one, such as one of an attacker.
            settings: further arguments of :meth:`roomkey.Issuer.issue`, such as ``roles`` or ``expires_in``.
        """
        time = {} if self._clock is None else {"clock": self._clock.now}
        named: dict[str, Any] = {"issuer": self.issuer, "audience": audience or self._audience, **time}
        return Issuer(key or self.keys[-1], **named).issue(subject, **settings)

    def verifier(self, *, fetch_timeout: float = FETCH_TIMEOUT, **settings: Unpack[VerifierSettings]) -> Verifier:
        """Return ``Verifier.oidc(provider.issuer, …)`` that reads the clock of the provider.

        Args:
            fetch_timeout: the longest time that a token waits for a fetch, in seconds of the system's clock.
            settings: as for :meth:`roomkey.Verifier.oidc`.
        """
        time: dict[str, Any] = {} if self._clock is None else {"clock": self._clock.monotonic}
        keys = RemoteKeySet(self.issuer, discover=True, fetch_timeout=fetch_timeout, **time)
        expected: VerifierSettings = {"issuer": self.issuer, "audience": self._audience, **settings}
        return Verifier(keys, algorithms=keys.algorithms, **expected)

    # What happens to it

    def rotate(self, *, keep: bool = True) -> Key:
        """Sign with a new key, and publish it.

        Args:
            keep: also publish the previous keys; False withdraws them.

        Returns:
            The new key.
        """
        key = self._new_key()
        self.keys = [*(self.keys if keep else ()), key]
        return key

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Fail all connections inside the block."""
        self._server.is_down = True
        try:
            yield
        finally:
            self._server.is_down = False

    @contextmanager
    def stalled(self) -> Iterator[Callable[[], None]]:
        """Let all requests wait inside the block.

        Yields:
            A function that lets them go on before the end of the block.
        """
        self._server.released.clear()
        try:
            yield self._server.released.set
        finally:
            self._server.released.set()

    def _new_key(self) -> Key:
        return Key.generate(self._algorithm, kid=f"key-{next(self._kids)}")


def _responder(provider: dict[str, Any], path: str) -> Callable[[str, bytes], tuple[int, bytes]]:
    """Return the function that responds for a provider; it does not keep the provider."""

    def respond(asked: str, _body: bytes) -> tuple[int, bytes]:
        issuer = provider["issuer"].rstrip("/")
        provider["requests"].append(asked)
        if asked == path + DISCOVERY:
            document = {"issuer": provider["issuer"], "jwks_uri": issuer + JWKS, **provider["metadata"]}
            return 200, json.dumps({name: value for name, value in document.items() if value is not None}).encode()
        if asked == path + JWKS:
            return 200, json.dumps({"keys": [key.to_jwk() for key in provider["keys"]]}).encode()
        return 404, b"{}"

    return respond
