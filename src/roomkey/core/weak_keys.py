"""Checks that reject weak keys: short or broken keys, keys for another purpose, and well-known secrets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from math import log2
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from roomkey.core.algorithms import ALGORITHMS, HMAC_BYTES
from roomkey.errors import ConfigError

MIN_RSA_BITS = 2048
OTHER_USE = "use is not sig"
OTHER_KEY = "this secret is a PEM or SSH key, such as a public key; use Key.from_pem and a public-key algorithm"
_MARKER = re.compile(rb"-{4,5} ?(?:begin|end) [a-z0-9 ]", re.IGNORECASE)
_SSH = re.compile(rb"\s*(?:ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)[a-z0-9@.-]+ ", re.IGNORECASE)
MAX_RSA_BITS = 16_384
"""The longest RSA key that OpenSSL verifies with; longer keys take more time."""
MAX_RSA_EXPONENT = 2**32
"""The limit of a public exponent. Nearly all keys have 65537; a long one slows each verification 100 times."""
# Prefixes of secrets in documentation; some of these secrets are long enough for HS256.
PLACEHOLDERS = ("secret", "password", "changeme", "change-me", "change_me", "your-256-bit", "your-384-bit",
                "your-512-bit", "your-secret", "your_secret", "yoursecret", "my-secret", "my_secret", "mysecret",
                "supersecret", "super-secret", "super_secret", "a-string-secret-at-least", "a-very-long-secret",
                "replace-me", "replace_me", "placeholder", "example", "development", "insecure", "django-insecure-",
                "not-so-secret", "keyboard cat", "this-is-a-secret", "this is a secret", "thisisasecret",
                "jwt-secret", "jwt_secret",
                # the keys in the tutorials of FastAPI and Flask
                "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
                "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf")  # fmt: skip
MIN_SECRET_BITS = 100
"""How much the bytes of a secret must vary, measured by their frequency; 32 random hexadecimal digits have 115."""
SMALL_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
                103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167)  # fmt: skip


def check_secret(raw: bytes, algorithm: str, *, typed: bool = False, any_length: bool = False) -> None:
    """Reject a shared secret that is too short (RFC 7518 section 3.2), a placeholder, or another type of key.

    Args:
        raw: the secret.
        algorithm: the HMAC algorithm of the secret.
        typed: True if a person wrote the secret into a setting. Then "xxxxxxxx…" is also a placeholder, and a line
            break at the end is a mistake.
        any_length: True if the secret may be shorter than RFC 7518 requires.

    Raises:
        ConfigError: the secret is rejected; the text has a command that generates a secret.
    """
    if _MARKER.search(raw) is not None or _SSH.match(raw) is not None:  # in any letter case
        raise ConfigError(OTHER_KEY)
    if typed and _ends_with_line_break(raw):
        raise ConfigError("the secret ends with a line break; remove it, such as with secret.strip()")
    wanted = HMAC_BYTES[algorithm]
    remedy = f"generate one with: python -c 'import secrets; print(secrets.token_urlsafe({wanted}))'"
    if len(raw) < wanted and not any_length:
        raise ConfigError(
            f"the {algorithm} secret has {len(raw)} bytes, but must have at least {wanted} (RFC 7518 section 3.2); "
            f"{remedy}"
        )
    if typed and is_address(raw.decode("utf-8", "replace")):
        raise ConfigError("a URL is not a secret; use Verifier.jwks(url, …)")
    lowered = raw.lower()
    if (typed and len(set(raw)) < 8) or any(lowered.startswith(word.encode()) for word in PLACEHOLDERS):
        raise ConfigError(f"this secret is a placeholder; {remedy}")


def guessable(raw: bytes) -> str | None:
    """Return why a secret that :func:`check_secret` accepts may be guessed, or None.

    Whoever has a token can try secrets without asking the server. The text does not contain the secret.
    """
    if re.fullmatch(rb"[A-Za-z]?[a-z]*(?:[ _.-][A-Za-z]?[a-z]*)*[0-9]{0,4}[!.]?", raw):
        return "it looks like words"
    shares = [count / len(raw) for count in Counter(raw).values()]
    bits = -sum(share * log2(share) for share in shares) * len(raw)
    return f"it has about {bits:.0f} bits" if bits < MIN_SECRET_BITS else None


def is_address(text: str) -> bool:
    """Return True for a URL, which was passed instead of the key at that URL."""
    return text.lstrip().lower().startswith(("http://", "https://"))


def _ends_with_line_break(raw: bytes) -> bool:
    """Return True for a text with a line break at its end; random bytes may also end with one."""
    text = raw.rstrip(b"\r\n")
    try:
        return text != raw and text.decode().isprintable()
    except UnicodeDecodeError:
        return False


def check_purpose(jwk: Mapping[str, Any]) -> None:
    """Reject a JWK that is not for signatures (RFC 7517 sections 4.2, 4.3 and 4.4).

    Raises:
        ConfigError: the ``use``, ``key_ops`` or ``alg`` of the key is for another purpose.
    """
    if jwk.get("use", "sig") != "sig":
        raise ConfigError(OTHER_USE)
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or not ("verify" in operations or "sign" in operations):
        raise ConfigError("key_ops allows neither verify nor sign")
    algorithm = jwk.get("alg")
    if "alg" in jwk and not (isinstance(algorithm, str) and algorithm in ALGORITHMS):
        raise ConfigError("alg is not a signature algorithm that roomkey knows")


def check_size(jwk: Mapping[str, Any]) -> None:
    """Reject an RSA key that is too long, before a library computes with it.

    Raises:
        ConfigError: the modulus has more than 16,384 bits.
    """
    modulus = jwk.get("n")
    if jwk.get("kty") == "RSA" and isinstance(modulus, str) and len(modulus) * 6 > MAX_RSA_BITS + 64:
        raise ConfigError(f"this RSA key has more than {MAX_RSA_BITS} bits")


def check_rsa(key: RSAPublicKey | RSAPrivateKey) -> None:
    """Reject an RSA key with the wrong size (RFC 7518 section 3.3), an unusable exponent or factors that can be found.

    Raises:
        ConfigError: the key is rejected.
    """
    public = key.public_key() if isinstance(key, RSAPrivateKey) else key
    numbers = public.public_numbers()
    if numbers.n.bit_length() < MIN_RSA_BITS:
        raise ConfigError(
            f"this RSA key has {numbers.n.bit_length()} bits, but must have at least {MIN_RSA_BITS} "
            "(RFC 7518 section 3.3)"
        )
    if numbers.n.bit_length() > MAX_RSA_BITS:
        raise ConfigError(f"this RSA key has more than {MAX_RSA_BITS} bits")
    if not 3 <= numbers.e < MAX_RSA_EXPONENT or numbers.e % 2 == 0:
        raise ConfigError("this RSA key has an unusable public exponent")
    if _is_roca(numbers.n):
        raise ConfigError("this RSA key comes from a broken generator (CVE-2017-15361); generate a new key")


def _is_roca(modulus: int) -> bool:
    """Return True if the modulus is a power of 65537 modulo each small prime, which only broken generators cause."""
    return all(any(pow(65537, power, prime) == modulus % prime for power in range(prime)) for prime in SMALL_PRIMES)
