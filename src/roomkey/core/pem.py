"""Parsing of PEM texts (RFC 7468)."""

from __future__ import annotations

import re

from roomkey.core.weak_keys import MAX_RSA_BITS
from roomkey.errors import ConfigError

MAX_BLOCK = MAX_RSA_BITS
"""The longest block in bytes; a private RSA key of 16,384 bits has 12,700."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)


def key_blocks(data: bytes) -> list[bytes]:
    r"""Return the blocks of a PEM text that contain a key, or the only certificate if there is no key.

    Literal ``\n``, as environment variables and JSON files contain them, are read as line breaks.

    Raises:
        ConfigError: no complete block, no key, a chain of certificates, or a block of more than 16 KiB.
    """
    if b"-----BEGIN" not in data:
        raise ConfigError("not a PEM file: it has no line '-----BEGIN …-----'")
    text = data.replace(rb"\r", b"").replace(rb"\n", b"\n")
    blocks = [(found[1], found[0]) for found in _BLOCK.finditer(text)]
    if len(blocks) != text.count(b"-----BEGIN "):
        raise ConfigError("a block of this PEM has no line '-----END …-----'; check that the text is complete")
    keys = [block for label, block in blocks if label.endswith(b"KEY")]
    certificates = [block for label, block in blocks if label.endswith(b"CERTIFICATE")]
    if not keys and len(certificates) > 1:
        raise ConfigError("this PEM contains several certificates; keep only the certificate of the signing key")
    if not keys and not certificates:
        raise ConfigError("this PEM does not contain a key")
    if any(len(block) > MAX_BLOCK for block in keys or certificates):
        raise ConfigError(f"a key in this PEM has more than {MAX_BLOCK} bytes")
    return keys or certificates
