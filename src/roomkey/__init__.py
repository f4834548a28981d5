"""roomkey puts JSON Web Tokens in charge of Socket.IO connections.

A token opens a connection, only the rooms it names, only while it is valid; a live socket ends when its token is
revoked or expires. Importing this package loads no framework.
"""

from roomkey.core.identity import Identity
from roomkey.core.issuer import Issuer
from roomkey.core.keys import Key, KeySet
from roomkey.core.policy import Policy
from roomkey.core.verifier import Verifier
from roomkey.errors import AuthError, ConfigError, PermissionDenied

__version__ = "0.1.0"

__all__ = [
    "AuthError",
    "ConfigError",
    "Identity",
    "Issuer",
    "Key",
    "KeySet",
    "PermissionDenied",
    "Policy",
    "Verifier",
]
