"""The vectors about signatures that a careless check accepts.

They have the aims of the test vectors of Project Wycheproof (RSA padding, ECDSA ranges, confused algorithms), and are
made here with the keys of the vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from support.tokens import b64, unb64
from vector_forge import CLAIMS, Forge, part

OK, SIGNATURE, ALGORITHM = "ok", "invalid signature", "invalid algorithm"
N256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SHA256_OID = bytes.fromhex("608648016503040201")

Case = tuple[str, str, object, str]
"""A verifier, a name, a token, and what is expected."""


class Rsa:
    """A private RSA key as numbers, to sign any encoded message."""

    def __init__(self, jwk: dict[str, Any]) -> None:
        self.n, self.d = (int.from_bytes(unb64(jwk[name]), "big") for name in ("n", "d"))
        self.size = (self.n.bit_length() + 7) // 8

    def sign(self, encoded: bytes) -> bytes:
        """Return the signature of an encoded message (RFC 8017 section 5.2.1)."""
        return pow(int.from_bytes(encoded, "big"), self.d, self.n).to_bytes(self.size, "big")


def signatures(f: Forge) -> Iterator[Case]:
    """All groups."""
    yield from _rs256(f)
    yield from _ps256(f)
    yield from _es256(f)
    yield from _confused(f)


def _token(header: dict[str, str], sign: Callable[[bytes], bytes]) -> str:
    signing_input = f"{part(header)}.{part(CLAIMS)}"
    return f"{signing_input}.{b64(sign(signing_input.encode()))}"


def _tlv(tag: int, value: bytes, length: bytes | None = None) -> bytes:
    """Return an element of DER, with any length."""
    return bytes([tag]) + (bytes([len(value)]) if length is None else length) + value


def _variants(tag: int, value: bytes) -> Iterator[tuple[str, bytes]]:
    """Encode an element in the ways that a lenient reader of DER takes for the same element."""
    size = len(value)
    lengths = {
        "long length": bytes([0x81, size]),
        "length with a leading zero": bytes([0x82, 0, size]),
        "length one too long": bytes([size + 1]),
        "length one too short": bytes([size - 1 if size else 0x7F]),
        "length 2^31": bytes([0x84, 0x80, 0, 0, 0]),
        "length 2^32 too long": bytes([0x85, 1, 0, 0, 0, size]),
        "length 2^64 too long": bytes([0x89, 1, 0, 0, 0, 0, 0, 0, 0, size]),
        "indefinite length": b"\x80",
    }
    for name, length in lengths.items():
        yield name, _tlv(tag, value, length)
    yield "indefinite length with an end", _tlv(tag, value, b"\x80") + b"\0\0"
    yield "removed", b""
    yield "tag only", bytes([tag])
    yield "empty", _tlv(tag, b"")
    yield "zeros appended inside", _tlv(tag, value + b"\0\0")
    yield "zeros appended", _tlv(tag, value) + b"\0\0"
    yield "null appended", _tlv(tag, value) + b"\x05\0"
    yield "null in its place", b"\x05\0" if tag != 5 else b"\x05\x01\0"
    yield "another tag", _tlv(tag ^ 1, value)
    yield "constructed", _tlv(tag ^ 0x20, value)
    if size:
        yield "last byte changed", _tlv(tag, value[:-1] + bytes([value[-1] ^ 1]))
        yield "cut", _tlv(tag, value[:-1])


def _digest_infos(digest: bytes) -> Iterator[tuple[str, bytes]]:
    """The digest with its algorithm (RFC 8017 section 9.2), with one element written in another way."""
    oid, null, octets = _tlv(6, SHA256_OID), _tlv(5, b""), _tlv(4, digest)
    for name, variant in _variants(6, SHA256_OID):
        yield f"oid: {name}", _tlv(0x30, _tlv(0x30, variant + null) + octets)
    for name, variant in _variants(5, b""):
        if variant != null:
            yield f"null: {name}", _tlv(0x30, _tlv(0x30, oid + variant) + octets)
    for name, variant in _variants(0x30, oid + null):
        yield f"algorithm: {name}", _tlv(0x30, variant + octets)
    for name, variant in _variants(4, digest):
        yield f"digest: {name}", _tlv(0x30, _tlv(0x30, oid + null) + variant)
    for name, variant in _variants(0x30, _tlv(0x30, oid + null) + octets):
        yield f"outermost: {name}", variant
    yield "digest alone", digest
    yield "digest info twice", _tlv(0x30, _tlv(0x30, _tlv(0x30, oid + null) + octets))


def _rs256(f: Forge) -> Iterator[Case]:
    key, header = Rsa(f.jwks["r1"]), {"alg": "RS256", "kid": "r1"}

    def padded(info: bytes, begin: bytes = b"\0\1", fill: int = 0xFF) -> bytes:
        return begin + bytes([fill]) * (key.size - len(begin) - 1 - len(info)) + b"\0" + info

    def digest_info(message: bytes) -> bytes:
        digest = hashlib.sha256(message).digest()
        return _tlv(0x30, _tlv(0x30, _tlv(6, SHA256_OID) + _tlv(5, b"")) + _tlv(4, digest))

    def case(name: str, encode: Callable[[bytes], bytes], expected: str = SIGNATURE) -> Case:
        return "public", f"a20 RS256 {name}", _token(header, lambda message: key.sign(encode(message))), expected

    yield case("well encoded", lambda message: padded(digest_info(message)), OK)
    for number, (name, _) in enumerate(_digest_infos(bytes(32))):
        yield case(
            name,
            lambda message, number=number: padded(  # type: ignore[misc]
                list(_digest_infos(hashlib.sha256(message).digest()))[number][1]
            ),
        )
    yield case("block type 2", lambda message: padded(digest_info(message), b"\0\2"))
    yield case("block type 0", lambda message: padded(digest_info(message), b"\0\0", 0))
    yield case("no leading zero", lambda message: padded(digest_info(message), b"\1\0"))
    yield case("padded with zeros", lambda message: padded(digest_info(message), b"\0\1", 0))
    yield case("padding of 8 bytes", lambda message: _short_padding(digest_info(message), key.size))
    yield case("no separator", lambda message: padded(b"\xff" + digest_info(message)).replace(b"\0\xff", b"\xff\xff"))
    yield case("another message", lambda message: padded(digest_info(message + b".")))
    valid = key.sign(padded(digest_info(f"{part(header)}.{part(CLAIMS)}".encode())))
    yield from _numbers("public", "RS256", header, key, valid)


def _short_padding(info: bytes, size: int) -> bytes:
    """End the padding after 8 bytes, and put garbage after the digest."""
    begin = b"\0\1" + b"\xff" * 8 + b"\0" + info
    return begin + b"\x11" * (size - len(begin))


def _numbers(verifier: str, name: str, header: dict[str, str], key: Rsa, valid: bytes) -> Iterator[Case]:
    """Signatures that are special numbers, or a valid one in another length."""
    number = int.from_bytes(valid, "big")
    written = {
        "0": bytes(key.size),
        "1": (1).to_bytes(key.size, "big"),
        "n - 1": (key.n - 1).to_bytes(key.size, "big"),
        "n": key.n.to_bytes(key.size, "big"),
        "not reduced": (number + key.n).to_bytes(key.size + 1, "big"),
        "zero in front": b"\0" + valid,
        "zero behind": valid + b"\0",
        "last byte missing": valid[:-1],
        "first byte missing": valid[1:],
        "negated": (key.n - number).to_bytes(key.size, "big"),
    }
    for which, signature in written.items():
        yield verifier, f"a20 {name} signature {which}", _token(header, lambda _, sent=signature: sent), SIGNATURE  # type: ignore[misc]


def _mgf1(seed: bytes, size: int, hash_of: Callable[[bytes], Any] = hashlib.sha256) -> bytes:
    blocks = (hash_of(seed + counter.to_bytes(4, "big")).digest() for counter in range(size // 20 + 1))
    return b"".join(blocks)[:size]


def _pss(
    key: Rsa,
    message: bytes,
    salt: bytes = b"s" * 32,
    *,
    trailer: bytes = b"\xbc",
    fill: bytes = b"\0",
    separator: bytes = b"\1",
    sent_salt: bytes | None = None,
    mask: Callable[[bytes], Any] = hashlib.sha256,
    flip: int | None = None,
) -> bytes:
    """Encode a message (RFC 8017 section 9.1.1), with one part written in another way."""
    digest = hashlib.sha256(bytes(8) + hashlib.sha256(message).digest() + salt).digest()
    block = fill * (key.size - len(salt) - 34) + separator + (salt if sent_salt is None else sent_salt)
    masked = bytearray(one ^ other for one, other in zip(block, _mgf1(digest, len(block), mask), strict=True))
    masked[0] &= 0x7F
    encoded = bytearray(bytes(masked) + digest + trailer)
    if flip is not None:
        encoded[flip] ^= 1
    return bytes(encoded)


def _ps256(f: Forge) -> Iterator[Case]:
    key, header = Rsa(f.jwks["p1"]), {"alg": "PS256", "kid": "p1"}

    def case(name: str, expected: str = SIGNATURE, salt: bytes = b"s" * 32, **changes: Any) -> Case:
        token = _token(header, lambda message: key.sign(_pss(key, message, salt, **changes)))
        return "every", f"a20 PS256 {name}", token, expected

    yield case("well encoded", OK)
    yield case("salt of zeros", OK, bytes(32))
    yield case("salt of ones", OK, b"\xff" * 32)
    for size in (0, 1, 20, 31, 33, 48, 64):
        yield case(f"salt of {size} bytes", salt=b"s" * size)
    yield case("another salt", sent_salt=b"t" * 32)
    yield case("another trailer", trailer=b"\xcc")
    yield case("padding not zero", fill=b"\1")
    yield case("no separator", separator=b"\0")
    yield case("separator 2", separator=b"\2")
    yield case("masked with SHA-1", mask=hashlib.sha1)
    for place in (1, 100, -34, -33, -2):
        yield case(f"bit of byte {place} flipped", flip=place)
    message = f"{part(header)}.{part(CLAIMS)}".encode()
    yield from _numbers("every", "PS256", header, key, key.sign(_pss(key, message)))
    pkcs1 = f.token(header=header, by="r1", algorithm="RS256")
    yield "every", "a20 PS256 with the padding of RS256 and another key", pkcs1, SIGNATURE


def _es256(f: Forge) -> Iterator[Case]:
    header = {"alg": "ES256", "kid": "e1"}
    valid = unb64(f.token(header=header, by="e1").rpartition(".")[2])
    r, s = (int.from_bytes(half, "big") for half in (valid[:32], valid[32:]))

    def case(name: str, signature: bytes, expected: str = SIGNATURE) -> Case:
        return "public", f"a20 ES256 {name}", _token(header, lambda _: signature), expected

    def pair(one: int, other: int, size: int = 32) -> bytes:
        return one.to_bytes(size, "big") + other.to_bytes(size, "big")

    yield case("valid", valid, OK)
    yield case("s negated", pair(r, N256 - s), OK)  # both are signatures: a token is not a name for itself
    borders = {"0": 0, "1": 1, "n - 1": N256 - 1, "n": N256}
    for one, first in borders.items():
        for other, second in borders.items():
            yield case(f"r = {one}, s = {other}", pair(first, second))
        yield case(f"r = {one}", pair(first, s))
        yield case(f"s = {one}", pair(r, first))
    yield case("r + n", pair(r + N256, s, 33))
    yield case("s + n", pair(r, s + N256, 33))
    yield case("numbers of 33 bytes", pair(r, s, 33))
    yield case("numbers of 64 bytes", pair(r, s, 64))
    yield case("zeros behind", valid + bytes(2))
    yield case("r alone", valid[:32])
    yield case("last byte missing", valid[:-1])
    yield case("turned", pair(s, r))


def _confused(f: Forge) -> Iterator[Case]:
    """A signature of one algorithm under the name of another one."""
    yield "unbound", "a20 RS256, key without alg", f.token(header={"alg": "RS256"}, by="r1u", algorithm="RS256"), OK
    key = Rsa(f.jwks["r1"])
    pss = _token({"alg": "RS256"}, lambda message: key.sign(_pss(key, message)))
    yield "unbound", "a20 PS256 called RS256", pss, SIGNATURE
    yield "unbound", "a20 RS256 called PS256", f.token(header={"alg": "PS256"}, by="r1u", algorithm="RS256"), SIGNATURE
    for alg in ("RS384", "RS512", "PS384", "PS512", "ES256", "HS256", "none", "RSA-OAEP", "A128GCM"):
        yield "unbound", f"a20 RS256 called {alg}", f.token(header={"alg": alg}, by="r1u", algorithm="RS256"), ALGORITHM
