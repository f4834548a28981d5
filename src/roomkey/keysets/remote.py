"""The keys of another server, which fetches them when tokens need them.

Fetching happens in a thread that lives as long as one fetch, so it works the same for asynchronous programs, threads
and gevent, and blocks no event loop. :mod:`roomkey.keysets.remote_state` decides when.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

from roomkey.core.algorithms import ALGORITHMS, SYMMETRIC, check_algorithms
from roomkey.core.key_set import KeySet
from roomkey.core.printable import printable
from roomkey.core.weak_keys import OTHER_USE
from roomkey.errors import ConfigError, Unavailable
from roomkey.keysets.fetching import FetchError, Request, check_issuer, check_timeout, check_url, fetch
from roomkey.keysets.remote_answers import MAX_BYTES, AnswerError, Discovered, parse_discovery, parse_key_set
from roomkey.keysets.remote_state import DUE, FRESH, KEPT, Next, RemoteState
from roomkey.keysets.waiting import FetchLookup

__all__ = ["ASYMMETRIC", "FETCH_TIMEOUT", "RemoteKeySet", "RemoteStatus"]

LOG = logging.getLogger("roomkey.keys")

FETCH_TIMEOUT = 2.0
"""Default for the longest time that a token waits for a fetch, in seconds."""
DISCOVERY_KEPT = 3600.0
"""Seconds for which a discovery document is used, if no fetch fails."""
ASYMMETRIC = tuple(name for name in ALGORITHMS if name not in SYMMETRIC)
"""The algorithms that are accepted by default."""

Freshness = Literal["empty", "fresh", "stale", "gone"]


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """What is known about the keys of another server.

    Attributes:
        url: where the keys come from.
        state: ``empty`` before the first good answer; ``fresh`` up to 10 minutes after it; then ``stale``, while the
            keys are still used; ``gone`` if the last good answer is older than 24 hours.
        age: seconds since the last good answer, or None.
        kids: the names of the keys.
        refused: the keys that are left out, each as its ``kid`` or None, and the reason.
        failures: the number of failed fetches since the last good answer.
        last_error: why the last fetch failed; None if it did not.
        unknown: the number of unknown kids that are remembered.
        fetches: the number of fetches since the start.
    """

    url: str
    state: Freshness
    age: float | None
    kids: tuple[str, ...]
    refused: tuple[tuple[str | None, str], ...]
    failures: int
    last_error: str | None
    unknown: int
    fetches: int


class RemoteKeySet:
    """Provide the keys of another server to a ``Verifier``, and fetch them again while it runs.

    Looking up a known key never waits. The keys are fetched again in the background every 5 minutes, and at once for a
    token with an unknown ``kid``, at most every 30 seconds. While the other server is unavailable, the known keys stay
    in use for 24 hours after its last good answer.

    Args:
        url: the URL of the JWK Set: ``https``, or ``http`` on this machine. With ``discover``, the issuer.
        discover: find the URL of the keys in the issuer's OpenID discovery document.
        algorithms: the accepted algorithms; keys for others are left out. Default: all asymmetric ones.
        fetch_timeout: the longest time that a token waits for a fetch, in seconds.
        clock: returns seconds that never go back, such as :func:`time.monotonic`.

    Raises:
        ConfigError: an invalid URL, an invalid time, or symmetric algorithms.
    """

    def __init__(
        self,
        url: str,
        *,
        discover: bool = False,
        algorithms: Collection[str] | None = None,
        fetch_timeout: float = FETCH_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if isinstance(url, Mapping):
            raise ConfigError(
                "the URL of the keys must be a string; for a key set that you have downloaded, use "
                "Verifier(KeySet.from_jwks(jwks), algorithms=…)"
            )
        self.url = check_issuer(url) if discover else check_url(url, "the URL of the keys")
        self._restrict = algorithms is None
        self.algorithms = ASYMMETRIC if algorithms is None else check_algorithms(algorithms)
        if SYMMETRIC.intersection(self.algorithms):
            raise ConfigError("cannot use HS* algorithms with the keys of another server: they need a shared secret")
        self.fetch_timeout = check_timeout(fetch_timeout)
        self._discover = discover
        self._clock = clock
        self._lock = threading.Lock()
        self._state = RemoteState()
        self._done: Future[None] | None = None
        self._discovered: tuple[Discovered, float] | None = None
        self.last_error: str | None = None
        self._logged: tuple[str, bool] | None = None
        # Read without the lock: the keys, and the time from which a lookup has more to do than to return them.
        self._view: tuple[KeySet | None, float] = (None, 0.0)

    def __call__(self, now: float) -> KeySet:
        """Return the known keys, without waiting.

        Args:
            now: not used: the age of the keys does not depend on the time of day.

        Raises:
            Unavailable: there are none, or the last good answer is too old.
        """
        keys, until = self._view
        if keys is not None and self._clock() < until:
            return keys
        return self._refreshed()

    def _refreshed(self) -> KeySet:
        with self._lock:
            at = self._clock()
            if self._state.is_due(at):
                self._start(at)
            keys = self._state.usable(at)
            if keys is not None:
                return keys
            raise self._unavailable(at)

    def look_up(self, kid: str | None, known: KeySet) -> None:
        """Decide about a token whose key is not known.

        Args:
            kid: of the token; None if it has none.
            known: the keys that do not have it.

        Returns:
            Nothing, if the other server has no such key.

        Raises:
            Unavailable: it may have one. The error has what to wait for, if the keys are being fetched.
        """
        with self._lock:
            at = self._clock()
            if self._done is not None and self._state.keys is not known:  # newer ones have arrived in another thread
                raise Unavailable(
                    f"the keys of {self.url} have just changed", lookup=FetchLookup(self._done, self.fetch_timeout)
                )
            decision = self._state.look_up(kid or "", at)
            if decision is Next.REJECT:
                return
            if decision is Next.FETCH:
                self._start(at)
            raise self._unavailable(at)

    def prefetch(self) -> FetchLookup | None:
        """Start a fetch in the background, so that the first token does not wait.

        Returns:
            What to wait for; None if no fetch is necessary or possible now.
        """
        with self._lock:
            at = self._clock()
            if self._state.is_due(at):
                self._start(at)
            return self._lookup(at)

    def status(self) -> RemoteStatus:
        """Return what is known about the keys."""
        with self._lock:
            state, at = self._state, self._clock()
            keys = state.usable(at)
            age = None if state.keys is None else at - state.good_at
            return RemoteStatus(
                url=self.url,
                state=_freshness(age),
                age=age,
                kids=tuple(dict.fromkeys(key.kid for key in keys or ())),
                refused=() if keys is None else keys.refused,
                failures=state.failures,
                last_error=self.last_error,
                unknown=len(state.unknown),
                fetches=state.number,
            )

    def _unavailable(self, at: float) -> Unavailable:
        lookup = self._lookup(at)
        why = "are being fetched" if lookup else f"are unknown: {self.last_error or 'an unknown kid, asked too often'}"
        return Unavailable(f"the keys of {self.url} {why}", lookup=lookup)

    def _lookup(self, at: float) -> FetchLookup | None:
        if self._done is None or not self._state.is_fetching(at):
            return None
        return FetchLookup(self._done, self.fetch_timeout)

    # The fetch

    def _start(self, at: float) -> None:
        number = self._state.start(at)
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # from now on, cancelling one that waits does not cancel it for the others
        self._done = done
        try:
            threading.Thread(target=self._run, args=(number, done), name="roomkey-keys", daemon=True).start()
        except RuntimeError as error:  # no more threads
            self._failed(number, str(error))
            done.set_result(None)

    def _run(self, number: int, done: Future[None]) -> None:
        answer, problem = None, ""
        try:
            answer = self._download()
        except (FetchError, AnswerError) as error:
            problem = str(error)
        except Exception as error:  # otherwise, the fetch would never end for those who wait
            LOG.exception("fetching the keys of %s failed", self.url)
            problem = type(error).__name__
        try:
            with self._lock:
                if answer is None:
                    self._failed(number, problem)
                else:
                    self._succeeded(number, answer)
        finally:
            done.set_result(None)

    def _download(self) -> KeySet:
        url, offered = self.url, None
        if self._discover:
            discovered = self._discovered_now()
            url, offered = discovered.jwks_uri, discovered.algorithms if self._restrict else None
        return parse_key_set(fetch(Request(url, MAX_BYTES)), self.algorithms, offered)

    def _discovered_now(self) -> Discovered:
        at = self._clock()
        if self._discovered is None or self.last_error is not None or at >= self._discovered[1] + DISCOVERY_KEPT:
            body = fetch(Request(f"{self.url.rstrip('/')}/.well-known/openid-configuration", MAX_BYTES))
            self._discovered = parse_discovery(body, self.url), at
        return self._discovered[0]

    def _failed(self, number: int, problem: str) -> None:
        if number != self._state.number:
            return
        at = self._clock()
        self._state.fail(at)
        left = self._state.good_at + KEPT - at
        if (problem, left > 0) != self._logged:
            kept = f"the known keys stay in use for {left / 3600:.1f} h" if left > 0 else "no token can be verified"
            LOG.warning("cannot fetch the keys of %s: %s; %s", self.url, problem, kept)
        self.last_error, self._logged = problem, (problem, left > 0)

    def _succeeded(self, number: int, answer: KeySet) -> None:
        if number != self._state.number:
            return
        at = self._clock()
        before = self._state.keys
        alarmed = set(self._state.changed)
        keys, exchanged = self._state.succeed(answer, at)
        self._view = (keys, at + DUE)
        if self.last_error is not None:
            LOG.info("the keys of %s can be fetched again", self.url)
        self.last_error = self._logged = None
        self._report(before, keys, [kid for kid in exchanged if kid not in alarmed])

    def _report(self, before: KeySet | None, keys: KeySet, exchanged: list[str]) -> None:
        """Log what has changed."""
        names = [printable(key.kid) for key in keys]
        if before is None or names != [printable(key.kid) for key in before]:
            LOG.info("the keys of %s: %s", self.url, ", ".join(names))
        for kid, reason in keys.refused:
            if before is None or (kid, reason) not in before.refused:
                level = logging.INFO if reason == OTHER_USE else logging.WARNING  # many sets have keys for encryption
                LOG.log(level, "left out key %s of %s: %s", printable(kid), self.url, reason)
        for kid in exchanged:
            LOG.error(
                "%s has another key under the kid %s; it is ignored, and the known key stays. If this was intended, "
                "restart this server",
                self.url,
                printable(kid),
            )


def _freshness(age: float | None) -> Freshness:
    if age is None:
        return "empty"
    return "fresh" if age < FRESH else "stale" if age < KEPT else "gone"
