"""Verification of tokens by asking the server that issued them (RFC 7662), such as tokens that mean nothing to others.

Answers are kept for a short time, by the token's hash: a positive one for :data:`POSITIVE` seconds and never past the
token's ``exp``, a negative one for :data:`NEGATIVE` seconds. Nobody asks about one token twice at the same time. The
number of questions at the same time is bounded, since every stranger can present a token that nobody knows.

A stranger can also present a token with which the endpoint cannot deal. So an answer that says nothing about a token
counts against this token only: it is unavailable for :data:`UNANSWERED` seconds. After a failure of the endpoint
itself, there are no questions about any token for 1, 2, 4, … and at most 30 seconds.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from roomkey.core.any_of import TokenVerifier
from roomkey.core.credentials import Credential
from roomkey.core.identity import Identity
from roomkey.errors import ConfigError, ExpiredToken, MalformedToken, Unavailable
from roomkey.keysets.fetching import FetchError, Request, basic_authorization, check_timeout, check_url, fetch
from roomkey.keysets.remote_answers import AnswerError, parse_object
from roomkey.keysets.remote_state import retry_delay
from roomkey.keysets.waiting import FetchLookup

__all__ = ["Answers", "IntrospectionStatus", "IntrospectionVerifier"]

LOG = logging.getLogger("roomkey.keys")

POSITIVE = 60.0
"""The longest time for which a positive answer is used, in seconds."""
NEGATIVE = 10.0
"""The time for which a negative answer is used, in seconds."""
UNANSWERED = 5.0
"""The time for which nobody asks again about a token that the endpoint could not answer about, in seconds."""
MAX_ANSWERS = 10_000
"""The number of answers that are kept."""
MAX_ASKED = 256
"""The number of tokens about which an answer is awaited."""
WORKERS = 8
"""The number of requests at the same time."""
MAX_BYTES = 65_536
"""The longest accepted answer, in bytes."""

NOTE_SECONDS = 60.0
"""The time between two lines of the log about single tokens, in seconds."""

_WRONG_QUESTION = frozenset({400, 413, 414, 422})  # such as one about another kind of token
_NO_ANSWER = frozenset({200, 500})  # 200: with a body that is too long
_FORM = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1

Claims = dict[str, Any]
Answer = Claims | str | None
"""The claims of an active token; why the endpoint could not answer about a token; or None for any other token."""


class Answers:
    """The answers that are kept, with the time as an argument."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[Answer, float]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, name: bytes, answer: Answer, at: float) -> None:
        """Keep an answer."""
        self._kept.pop(name, None)
        kept = NEGATIVE if answer is None else UNANSWERED if isinstance(answer, str) else POSITIVE
        self._kept[name] = answer, at + kept
        if len(self._kept) > MAX_ANSWERS:
            del self._kept[next(iter(self._kept))]

    def get(self, name: bytes, at: float) -> tuple[Answer] | None:
        """Return an answer in a tuple, or None if there is none, or it is too old."""
        answer, until = self._kept.get(name, (None, at))
        if at < until:
            return (answer,)
        self._kept.pop(name, None)
        return None


@dataclass(frozen=True, slots=True)
class IntrospectionStatus:
    """What is known about an introspection endpoint.

    Attributes:
        url: of the endpoint.
        kept: the number of answers that are kept.
        asked: the number of requests since the start.
        failures: the number of requests since the last answer that failed because of the endpoint, not of one token.
        last_error: why the last request failed; None if it did not.
        age: seconds since the last answer, or None.
    """

    url: str
    kept: int
    asked: int
    failures: int
    last_error: str | None
    age: float | None


class IntrospectionVerifier:
    """Verifies tokens by asking: :meth:`roomkey.Verifier.introspection` creates it.

    Args:
        url: of the introspection endpoint.
        client: the name and the secret of this server at the endpoint.
        claims: checks the claims in the answers.
        fetch_timeout: the longest time that a token waits for an answer, in seconds.
        clock: returns seconds that never go back.

    Raises:
        ConfigError: an invalid URL or setting.
    """

    accepts_opaque = True

    def __init__(
        self,
        url: str,
        client: tuple[str, str],
        claims: TokenVerifier,
        *,
        fetch_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = check_url(url, "the introspection URL")
        if not (isinstance(client, tuple) and len(client) == 2 and all(isinstance(one, str) and one for one in client)):
            raise ConfigError("client must be two strings: the name and the secret of this server at the endpoint")
        self._claims = claims
        self.fetch_timeout = check_timeout(fetch_timeout)
        self._authorization = basic_authorization(*client)
        self._clock = clock
        self._lock = threading.Lock()
        self._answers = Answers()
        self._waiting: dict[bytes, Future[None]] = {}
        self._queue: deque[tuple[bytes, str, Future[None]]] = deque()
        self._workers = self._asked = self._failures = 0
        self._retry_at = self._answered_at = self._noted_at = float("-inf")
        self.last_error: str | None = None

    @property
    def issuers(self) -> tuple[str, ...]:
        """The accepted values of ``iss``."""
        return self._claims.issuers

    @property
    def max_token(self) -> int:
        """The longest accepted token, in bytes."""
        return self._claims.max_token

    @property
    def requires_subject(self) -> bool:
        """True if all accepted tokens have a subject."""
        return self._claims.requires_subject

    @property
    def longest_lifetime(self) -> float | None:
        """The longest lifetime of an accepted token in seconds, or None if the settings do not limit it."""
        return self._claims.longest_lifetime

    def verify(self, token: object, now: float, *, source: str = "", proved_key: str | None = None) -> Identity:
        """Verify a token, if the answer about it is known.

        Args:
            token: the value that a client presented.
            now: seconds since the epoch.
            source: where the client presented the token.
            proved_key: as for :meth:`roomkey.Verifier.verify`.

        Raises:
            TokenError: the token is not active, or is meant for others.
            Unavailable: the answer is not known. The error has what to wait for, if it is being fetched.
        """
        if not isinstance(token, str):
            raise MalformedToken(f"a {type(token).__name__} instead of a string", message=MalformedToken.WRONG_TYPE)
        if len(token) > self.max_token or not _FORM.fullmatch(token):
            raise MalformedToken("not a bearer token", message=MalformedToken.JWT_MALFORMED)
        claims = self._answer(token)
        if claims is None:
            raise ExpiredToken("exp", "the token is not active: it has expired, or was revoked, or never existed")
        expires = claims.get("exp")
        if isinstance(expires, (int, float)) and now >= expires:
            raise ExpiredToken("exp", "the token has expired", expired_at=expires)
        return self.identify(dict(claims), now, source=source, proved_key=proved_key)

    def verify_presented(self, presented: Credential, now: float) -> Identity:
        """Verify a token as :meth:`verify` does, as a client presented it to a guard."""
        return self.verify(presented.token, now, source=presented.source, proved_key=presented.proved_key)

    def identify(self, claims: Claims, now: float, *, source: str = "", proved_key: str | None = None) -> Identity:
        """Check the claims of an active token, as :meth:`roomkey.Verifier.identify` does."""
        return self._claims.identify(claims, now, source=source, proved_key=proved_key)

    def status(self) -> IntrospectionStatus:
        """Return what is known about the endpoint."""
        with self._lock:
            return IntrospectionStatus(
                url=self.url,
                kept=len(self._answers),
                asked=self._asked,
                failures=self._failures,
                last_error=self.last_error,
                age=self._clock() - self._answered_at if self._asked and self._answered_at > 0 else None,
            )

    def _answer(self, token: str) -> Claims | None:
        """Return the claims of an active token, None for any other one, or raise :class:`Unavailable`."""
        name = sha256(token.encode()).digest()
        with self._lock:
            at = self._clock()
            known = self._answers.get(name, at)
            if known is not None:
                if isinstance(known[0], str):
                    raise Unavailable(f"{self.url} could not answer about this token: {known[0]}")
                return known[0]
            done = self._waiting.get(name)
            if done is None and at >= self._retry_at and len(self._waiting) < MAX_ASKED:
                done = self._ask(name, token)
            if done is None:
                raise Unavailable(f"cannot ask {self.url}: {self.last_error or 'too many questions at once'}")
            raise Unavailable(f"{self.url} is being asked", lookup=FetchLookup(done, self.fetch_timeout))

    def _ask(self, name: bytes, token: str) -> Future[None] | None:
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # one that waits cannot cancel it for the others
        self._waiting[name] = done
        self._queue.append((name, token, done))
        if self._workers < WORKERS:
            try:
                threading.Thread(target=self._work, name="roomkey-introspection", daemon=True).start()
                self._workers += 1
            except RuntimeError as error:  # no more threads
                if not self._workers:
                    self._queue.clear()
                    self._waiting.clear()
                    self.last_error = str(error)
                    return None
        return done

    def _work(self) -> None:
        """Ask about the tokens in the queue, until it is empty."""
        while True:
            with self._lock:
                if not self._queue:
                    self._workers -= 1
                    return
                name, token, done = self._queue.popleft()
                self._asked += 1
            try:
                self._settle(name, token)
            finally:
                with self._lock:
                    self._waiting.pop(name, None)
                done.set_result(None)

    def _settle(self, name: bytes, token: str) -> None:
        """Ask about a token, and note what came of it."""
        try:
            answer, problem = self._request(token)
        except FetchError as error:
            self._failed(str(error))
        except Exception as error:  # otherwise, those who wait would never be answered
            LOG.exception("asking %s failed", self.url)
            self._failed(type(error).__name__)
        else:
            self._answered(name, answer, problem)

    def _request(self, token: str) -> tuple[Answer, str | None]:
        """Return the answer about a token, and what is wrong with it or None.

        Raises:
            FetchError: the endpoint would answer about no other token either.
        """
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        try:
            members = parse_object(fetch(Request(self.url, MAX_BYTES, form, self._authorization)))
            if not isinstance(members.get("active"), bool):
                raise AnswerError("not an introspection response: it has no active")
        except AnswerError as error:
            return str(error), str(error)
        except FetchError as error:
            if error.status in _WRONG_QUESTION:
                return None, str(error)
            if error.status in _NO_ANSWER:
                return str(error), str(error)
            raise
        if not members.pop("active"):
            return None, None
        if len(self.issuers) == 1:
            members.setdefault("iss", self.issuers[0])  # the member is optional, and the endpoint is this issuer's
        return members, None

    def _answered(self, name: bytes, answer: Answer, problem: str | None) -> None:
        with self._lock:
            at = self._clock()
            self._answers.put(name, answer, at)
            if problem is None:
                if self._failures:
                    LOG.info("%s answers again", self.url)
                self._answered_at, self._failures, self._retry_at = at, 0, float("-inf")
            elif at >= self._noted_at + NOTE_SECONDS:  # every stranger can cause it
                LOG.warning("%s did not answer about a token: %s", self.url, problem)
                self._noted_at = at
            self.last_error = problem

    def _failed(self, problem: str) -> None:
        with self._lock:
            if problem != self.last_error or not self._failures:
                LOG.warning("cannot ask %s: %s", self.url, problem)
            self._failures += 1
            self._retry_at = self._clock() + retry_delay(self._failures)
            self.last_error = problem
