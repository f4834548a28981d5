"""Entries of a journal in Redis, and what a reader does with them."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

from roomkey.bus import ClusterSecrets
from roomkey.bus.journal_entries import MAX_ENTRY, Dropped, EntryFormat
from roomkey.core.revocations import Revocation, Version

KEY = "{roomkey}:journal"
SECRETS = ["vectors-new-cluster-key-of-nobody-9f3c71", "vectors-old-cluster-key-of-nobody-2b8e54"]
OTHER = "vectors-third-cluster-key-of-nobody-6d0a"
NOW = 1_800_000_000.25

GOOD = {
    "a token": Revocation("token", "t-1", "https://login.example", 0.0, NOW + 900),
    "a session for ever": Revocation("session", "s-1"),
    "a subject": Revocation("subject", "ada", None, NOW, NOW + 900),
    "a subject with other letters": Revocation("subject", "zoë 東京 😀", None, NOW, NOW + 900),
    "a disconnect": Revocation("disconnect", "ada", None, NOW, NOW + 3600),
    "roles": Revocation(
        "rights", "ada", None, NOW, NOW + 900, {"roles": ["member"]}, Version(1_800_000_000_250_000, "a")
    ),
    "no roles and rooms with actions": Revocation(
        "rights", "ada", None, NOW, NOW + 900, {"roles": [], "rooms": {"red": ["join"]}}, Version(2**53 - 1, "")
    ),
}


def _mac(secrets: list[str], key: str, text: bytes) -> bytes:
    writer = EntryFormat(ClusterSecrets(secrets), key, "vectors")
    return writer._mac(writer._keys[0], text)


def _cases() -> Iterator[tuple[str, dict[str, str]]]:
    for name, revoked in GOOD.items():
        text, mac = EntryFormat(ClusterSecrets(SECRETS), KEY, "vectors").write(revoked, revoked.version)
        yield name, {"e": text.decode(), "m": mac.decode()}
    text, mac = EntryFormat(ClusterSecrets(SECRETS), KEY, "vectors").write(GOOD["a subject"], None)
    plain, signature = text.decode(), mac.decode()
    yield "signed with the second secret", {"e": plain, "m": _mac(SECRETS[1:], KEY, text).decode()}
    yield "signed with another secret", {"e": plain, "m": _mac([OTHER], KEY, text).decode()}
    yield "of another journal", {"e": plain, "m": _mac(SECRETS, "{other}:journal", text).decode()}
    yield "changed", {"e": plain.replace("ada", "eve"), "m": signature}
    yield "with a space at its end", {"e": plain + " ", "m": signature}
    yield "with a short signature", {"e": plain, "m": signature[:-1]}
    yield "with a padded signature", {"e": plain, "m": signature + "=="}
    yield "with an empty signature", {"e": plain, "m": ""}
    yield "with a signature in base64", {"e": plain, "m": urlsafe_b64encode(b"\xff" * 16).decode()}
    yield "without a signature", {"e": plain}
    yield "without a text", {"m": signature}
    yield "of other fields", {"kind": "subject", "name": "ada"}
    yield "with another field", {"e": plain, "m": signature, "x": "y"}
    for name, wrong in _wrong(plain):
        yield name, {"e": wrong, "m": _mac(SECRETS, KEY, wrong.encode()).decode()}


def _wrong(plain: str) -> Iterator[tuple[str, str]]:
    rights = plain.replace('"subject"', '"rights"')[:-1]
    yield "that is not JSON", "{"
    yield "that is a list", "[]"
    yield "that is null", "null"
    yield "of the next version", plain.replace('"v":1', '"v":2')
    yield "without a version", plain.replace('"v":1,', "")
    yield "of another kind", plain.replace('"subject"', '"pardon"')
    yield "without a kind", plain.replace('"kind":"subject",', "")
    yield "with a number as its name", plain.replace('"ada"', "7")
    yield "with an empty name", plain.replace('"ada"', '""')
    yield "with a control character in its name", plain.replace('"ada"', '"a\\u0000"')
    yield "with a number as its issuer", plain.replace('"issuer":null', '"issuer":7')
    yield "without a time", plain.replace(f'"before":{NOW}', '"before":null')
    yield "with a time that is not a number", plain.replace(f'"before":{NOW}', '"before":NaN')
    yield "with a time as text", plain.replace(f'"before":{NOW}', '"before":"1"')
    yield "with an endless time", plain.replace(f'"before":{NOW}', '"before":1e400')
    yield "of rights without a version", rights + ',"rights":{"roles":[]}}'
    yield "of rights without rights", rights + ',"version":[1,"a"]}'
    yield "of empty rights", rights + ',"rights":{},"version":[1,"a"]}'
    yield "of rights that are text", rights + ',"rights":{"roles":"admin"},"version":[1,"a"]}'
    yield "of rights with a number", rights + ',"rights":{"rooms":{"red":[1]}},"version":[1,"a"]}'
    yield "of a version that is too late", rights + ',"rights":{"roles":[]},"version":[9007199254740992,"a"]}'
    yield "of a negative version", rights + ',"rights":{"roles":[]},"version":[-1,"a"]}'
    yield "of a version of three parts", rights + ',"rights":{"roles":[]},"version":[1,"a",2]}'


def _verdict(reader: EntryFormat, fields: dict[str, str]) -> dict[str, Any]:
    try:
        revoked, _ = reader.check({name.encode(): value.encode() for name, value in fields.items()})
    except Dropped as dropped:
        return {"dropped": str(dropped)}
    entry: dict[str, Any] = {
        "kind": revoked.kind,
        "name": revoked.name,
        "issuer": revoked.issuer,
        "issued_before": revoked.issued_before,
        "expires_at": revoked.kept_until,
    }
    if revoked.kind == "rights":
        entry |= {"rights": revoked.rights, "version": revoked.version}
    return {"accepted": entry}


def journal() -> dict[str, Any]:
    """``journal.json``."""
    reader = EntryFormat(ClusterSecrets(SECRETS), KEY, "vectors")
    listed = [{"name": name, "fields": fields, **_verdict(reader, fields)} for name, fields in _cases()]
    return {"key": KEY, "secrets": SECRETS, "longest": MAX_ENTRY, "vectors": listed}
