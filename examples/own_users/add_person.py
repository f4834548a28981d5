"""Add a row to the team's table, with a hash like Django's: ``python add_person.py ada@example.com red``."""

from __future__ import annotations

import base64
import hashlib
import secrets
import sqlite3
import sys
from getpass import getpass

from users import TABLE

ITERATIONS = 600_000


def django_hash(password: str) -> str:
    """Return ``pbkdf2_sha256$iterations$salt$hash``."""
    salt = secrets.token_urlsafe(12)
    made = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), ITERATIONS)
    return f"pbkdf2_sha256${ITERATIONS}${salt}${base64.b64encode(made).decode()}"


def main() -> None:
    email, team = sys.argv[1:3]
    database = sqlite3.connect("people.sqlite3")
    database.execute(TABLE)
    row = (email, email.partition("@")[0], django_hash(getpass()), team)
    database.execute("INSERT INTO people (email, full_name, password, team) VALUES (?, ?, ?, ?)", row)
    database.commit()


if __name__ == "__main__":
    main()
