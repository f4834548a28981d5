"""The Cookie header, and tokens that are split into several cookies.

A browser keeps about 4,000 characters in one cookie. For longer tokens, Auth.js, Better Auth and the Supabase client
write ``name.0``, ``name.1`` and so on; Chainlit and mod_auth_openidc write ``name_0``, ``name_1``.
"""

from __future__ import annotations

import re

from roomkey.core.jws import LONGEST_TOKEN
from roomkey.errors import CredentialsBadFormat, MalformedToken

MAX_CHUNKS = 32
"""Cookies into which one token can be split."""

_CHUNK = re.compile(r"([._])(0|[1-9][0-9]*)")
_Chunks = dict[str, set[str]]  # the values of each chunk by its number, as it is written


def cookie_values(header: str, name: str) -> list[str]:
    """Return each value of a cookie (RFC 6265 section 5.4): a sibling domain can set a second cookie of that name."""
    pairs = (pair.partition("=") for pair in header.split(";"))
    return [value.strip().strip('"') for key, equals, value in pairs if equals and key.strip() == name]


def token_cookies(header: str, named: bool | str) -> list[str]:
    """Return each value of a cookie that is not empty; a value that is split into chunks is put together.

    Where the whole cookie has a value, chunks without a first one are cookies of another purpose.

    Raises:
        CredentialsBadFormat: a chunk is missing, or there is more than one value in chunks or as a whole.
        MalformedToken: too many chunks, or a value that is longer than any token.
    """
    name, whole, chunks = str(named), [], dict[str, _Chunks]()
    for pair in header.split(";"):
        key, equals, value = pair.partition("=")
        key, value = key.strip(), value.strip().strip('"')
        if not equals or not value or not key.startswith(name):
            continue
        if key == name:
            whole.append(value)
        elif found := _CHUNK.fullmatch(key, len(name)):
            chunks.setdefault(found[1], {}).setdefault(found[2], set()).add(value)
    split = [parts for parts in chunks.values() if "0" in parts or not whole]
    if (whole and split) or len(split) > 1:
        raise CredentialsBadFormat(_several(name), message=CredentialsBadFormat.SEVERAL_TOKENS)
    return [_join(name, parts) for parts in split] or whole


def _join(name: str, parts: _Chunks) -> str:
    length = sum(len(value) for values in parts.values() for value in values)
    if len(parts) > MAX_CHUNKS or length > LONGEST_TOKEN:
        raise MalformedToken(
            f"{len(parts)} chunks of the cookie, {length} characters; at most {MAX_CHUNKS} and {LONGEST_TOKEN}",
            message=MalformedToken.JWT_MALFORMED,
        )
    if any(len(values) > 1 for values in parts.values()):
        raise CredentialsBadFormat(_several(name), message=CredentialsBadFormat.SEVERAL_TOKENS)
    if any(str(number) not in parts for number in range(len(parts))):
        raise CredentialsBadFormat(f"not every chunk of {name}", message=CredentialsBadFormat.MISSING_CHUNK)
    return "".join(value for number in range(len(parts)) for value in parts[str(number)])


def _several(name: str) -> str:
    return f"several values of the cookie {name} or of its chunks"
