"""Issue a token with PyJWT alone, as many login servers do: ``python issuer.py ada red blue``."""

import os
import sys
import time

import jwt

SECRET_KEY = os.environ.get("SECRET_KEY") or sys.exit("SECRET_KEY is not set: see README.md")
if len(sys.argv) < 2:
    sys.exit("usage: python issuer.py NAME [ROOM ...]")

name, *rooms = sys.argv[1:]
now = int(time.time())
payload = {"sub": name, "aud": "chat", "iat": now, "exp": now + 900, "rooms": rooms}

print(jwt.encode(payload, SECRET_KEY, algorithm="HS256"))
