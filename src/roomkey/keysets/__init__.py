"""Keys in files and in the environment, and their rotation.

::

    load_or_create(Path("keys"), "ES256")
    keys = KeyFolder(Path("keys"), "ES256", lifetime=900)
    issuer = Issuer(keys.signing, algorithm="ES256", audience="chat")
    verifier = Verifier(keys.accepted, algorithms=["ES256"], audience="chat")

The public names are those in ``__all__``. The modules of this package are internal.
"""

from __future__ import annotations

from roomkey.keysets.files import (
    KEY,
    environment_key,
    load_key,
    load_key_set,
    load_keys,
    load_or_create,
    save_key,
    signing_key,
)
from roomkey.keysets.folder import KeyFolder, remove_retired, rotate
from roomkey.keysets.rotation import PUBLISH_BEFORE, KeyPlan, KeyState
from roomkey.keysets.secrets import load_or_create_secret

__all__ = [
    "KEY",
    "PUBLISH_BEFORE",
    "KeyFolder",
    "KeyPlan",
    "KeyState",
    "environment_key",
    "load_key",
    "load_key_set",
    "load_keys",
    "load_or_create",
    "load_or_create_secret",
    "remove_retired",
    "rotate",
    "save_key",
    "signing_key",
]
