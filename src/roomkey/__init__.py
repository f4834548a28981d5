"""Secure Socket.IO connections with JSON Web Tokens.

A client connects with a token, joins only the rooms that the token names, and stays connected only while the token is
valid. Importing this package loads no framework.

The public modules are ``roomkey``, ``roomkey.errors``, ``roomkey.policies``, ``roomkey.hub``, ``roomkey.socketio``,
``roomkey.client``, ``roomkey.flask``, ``roomkey.routes``, ``roomkey.starlette``, ``roomkey.fastapi``,
``roomkey.django``, ``roomkey.auth``, ``roomkey.stores``, ``roomkey.keysets``, ``roomkey.bus`` and ``roomkey.testing``.
All other modules are internal.
"""

from roomkey.core.dpop import DPoP
from roomkey.core.identity import Identity
from roomkey.core.issuer import Issuer
from roomkey.core.key_set import KeySet
from roomkey.core.keys import Key
from roomkey.core.policy import Policy
from roomkey.core.verifier import Verifier
from roomkey.errors import AuthError, ConfigError, PermissionDenied

__version__ = "0.1.0"

__all__ = [
    "AuthError",
    "ConfigError",
    "DPoP",
    "Identity",
    "Issuer",
    "Key",
    "KeySet",
    "PermissionDenied",
    "Policy",
    "Verifier",
]
