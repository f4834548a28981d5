"""Issue a token for the Node.js server: ``python issue.py ada red blue``."""

import os
import sys
from pathlib import Path

from roomkey import Issuer, Key

secret = os.environ.get("ROOMKEY_SECRET")
key_file = os.environ.get("ROOMKEY_PRIVATE_KEY_FILE")
if bool(secret) == bool(key_file):
    sys.exit("set ROOMKEY_SECRET or ROOMKEY_PRIVATE_KEY_FILE, one of them: see README.md")
if len(sys.argv) < 2:
    sys.exit("usage: python issue.py NAME [ROOM ...]")

key = Key.from_secret(secret) if secret else Key.from_pem(Path(key_file).read_bytes(), algorithms=["ES256"])
issuer = Issuer(key, issuer="desk", audience="chat", expires_in=900)

name, *rooms = sys.argv[1:]
print(issuer.issue(name, rooms=rooms))
