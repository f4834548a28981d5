"""Keys in files, in the environment and at other servers, and their rotation.

::

    load_or_create(Path("keys"), "ES256")
    keys = KeyFolder(Path("keys"), "ES256", lifetime=900)
    issuer = Issuer(keys.signing, algorithm="ES256", audience="chat")
    verifier = Verifier(keys.accepted, algorithms=["ES256"], audience="chat")

A verifier whose keys are at another server, such as :meth:`roomkey.Verifier.oidc`, does not wait for them itself:
:func:`verify_waiting` and :func:`verify_blocking` do. Guards wait without being asked. ``RemoteKeySet`` requires
``roomkey[remote]``.

The public names are those in ``__all__``. The modules of this package are internal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkey.extras import imported_when_used
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
from roomkey.keysets.waiting import verify_blocking, verify_waiting

if TYPE_CHECKING:
    from roomkey.keysets.remote import RemoteKeySet, RemoteStatus
else:  # they require httpcore
    __getattr__ = imported_when_used(__name__, RemoteKeySet="remote", RemoteStatus="remote")

__all__ = [
    "KEY",
    "PUBLISH_BEFORE",
    "KeyFolder",
    "KeyPlan",
    "KeyState",
    "RemoteKeySet",
    "RemoteStatus",
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
    "verify_blocking",
    "verify_waiting",
]
