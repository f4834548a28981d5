"""The entries of a journal in Redis: their text and their signatures. Servers in other languages read them, too.

An entry has two fields: ``e``, a JSON object in ASCII, and ``m``, the first 16 bytes of an HMAC-SHA256 over the key of
the stream, a zero byte and ``e``, in base64url. Its key is the journal key of a cluster secret.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from math import isfinite
from typing import Any

from roomkey.bus.secrets import ClusterSecrets
from roomkey.core.names import is_name
from roomkey.core.revocations import FOREVER, Revocation, Version
from roomkey.errors import ConfigError

__all__ = ["MAX_ENTRY", "Dropped", "EntryFormat"]

MAX_ENTRY = 512 * 1024
"""The longest text of an entry: a subject with a thousand rooms fits."""

MAC_BYTES = 16
MAX_VERSION = 2**53 - 1
KINDS = frozenset({"token", "session", "subject", "rights", "disconnect"})


class Dropped(Exception):
    """Raised for an entry that must not be applied. Its text is a reason to count."""


class EntryFormat:
    """Writes and checks the entries of one journal.

    Args:
        secrets: of the cluster.
        key: the key of the stream. An entry that was copied from another journal is not valid.
        sender: a random name of this process.
    """

    def __init__(self, secrets: ClusterSecrets, key: str, sender: str) -> None:
        self._keys = secrets.keys("journal")
        self._prefix = key.encode() + b"\0"
        self._sender = sender
        self._count = 0

    def write(self, revoked: Revocation, version: Version | None) -> tuple[bytes, bytes]:
        """Return the two fields of a new entry.

        Args:
            revoked: what to write.
            version: of a change of rights.

        Raises:
            ConfigError: the entry is too long.
        """
        self._count += 1
        content: dict[str, Any] = {
            "v": 1,
            "from": self._sender,
            "n": self._count,
            "kind": revoked.kind,
            "name": revoked.name,
            "issuer": revoked.issuer,
            "before": revoked.issued_before,
            "expires": revoked.kept_until,
        }
        if revoked.kind == "rights":
            content |= {"rights": dict(revoked.rights or {}), "version": version}
        text = json.dumps(content, separators=(",", ":")).encode()
        if len(text) > MAX_ENTRY:
            raise ConfigError(f"the change is too long for the journal: {len(text)} bytes; use at most {MAX_ENTRY}")
        return text, self._mac(self._keys[0], text)

    def _mac(self, key: bytes, text: bytes) -> bytes:
        return urlsafe_b64encode(hmac.digest(key, self._prefix + text, "sha256")[:MAC_BYTES]).rstrip(b"=")

    def check(self, fields: Mapping[bytes, bytes]) -> tuple[Revocation, bool]:
        """Return what an entry says, and whether it is signed with the first secret.

        Raises:
            Dropped: it is not from a server of this cluster, or is not valid.
        """
        text, mac = fields.get(b"e"), fields.get(b"m")
        if text is None or mac is None:
            raise Dropped("not signed")
        if len(text) > MAX_ENTRY:
            raise Dropped("too large")
        signers = [hmac.compare_digest(self._mac(key, text), mac) for key in self._keys]
        if True not in signers:
            raise Dropped("bad signature")
        try:
            return _revocation(json.loads(text, parse_constant=_no_constant)), signers[0]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise Dropped("malformed") from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _revocation(content: Any) -> Revocation:
    """Return an entry.

    Raises:
        Dropped: another version of roomkey wrote it.
        ValueError, KeyError, TypeError: it is malformed.
    """
    if content["v"] != 1 or content["kind"] not in KINDS:
        raise Dropped("unknown kind")
    kind, name, issuer, expires = content["kind"], content["name"], content["issuer"], content["expires"]
    if not is_name(name) or not (issuer is None or isinstance(issuer, str)):
        raise ValueError(name)
    until = FOREVER if expires is None else _number(expires)
    if kind != "rights":
        return Revocation(kind, name, issuer, _number(content["before"]), until)
    at, sender = content["version"]
    if type(at) is not int or not 0 <= at <= MAX_VERSION or not isinstance(sender, str):
        raise ValueError(at)
    rights = _rights(content["rights"])
    return Revocation("rights", name, issuer, _number(content["before"]), until, rights, Version(at, sender))


def _rights(rights: Any) -> dict[str, Any]:
    known = {name: rights[name] for name in ("roles", "rooms") if name in rights}
    roles, rooms = known.get("roles", []), known.get("rooms", [])
    lists = [roles, *(rooms.values() if isinstance(rooms, dict) else [rooms])]
    if not known or not all(_is_list_of_strings(each) for each in lists):
        raise ValueError(rights)
    return known


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value):
        raise ValueError(value)
    return float(value)
