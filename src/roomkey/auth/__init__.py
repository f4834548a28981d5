"""The login server: passwords, accounts and the HTTP routes that hand out tokens."""

from roomkey.auth.passwords import Passwords
from roomkey.auth.router import router

__all__ = ["Passwords", "router"]
