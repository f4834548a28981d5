"""login.py's first numbers on Django with djangorestframework-simplejwt: ``python bench/login_simplejwt.py``.

Needs ``pip install djangorestframework-simplejwt argon2-cffi``, which nothing else here does. Refresh tokens rotate and
used ones are kept on its list (its application token_blacklist), on SQLite in a file; Argon2id with Django's cost.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PASSWORD = "correct horse battery"


def rate(work: Callable[[], object], count: int) -> float:
    """Return how many finish per second, one after another."""
    started = time.perf_counter()
    for _ in range(count):
        work()
    return count / (time.perf_counter() - started)


def prepare(folder: str) -> None:
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        SECRET_KEY="x" * 50,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "rest_framework_simplejwt.token_blacklist",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(folder) / "db.sqlite3"}},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.Argon2PasswordHasher"],
        SIMPLE_JWT={"ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True},
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)


def main() -> dict[str, float]:
    """Run all measurements once."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        from django.contrib.auth import authenticate, get_user_model
        from rest_framework_simplejwt.serializers import TokenRefreshSerializer
        from rest_framework_simplejwt.tokens import RefreshToken

        get_user_model().objects.create_user("ada", password=PASSWORD)
        tokens: list[str] = []

        def login() -> None:
            refresh = RefreshToken.for_user(authenticate(username="ada", password=PASSWORD))
            str(refresh.access_token)
            tokens[:] = [str(refresh)]

        def refresh() -> None:
            serializer = TokenRefreshSerializer(data={"refresh": tokens[0]})
            serializer.is_valid(raise_exception=True)
            tokens[:] = [serializer.validated_data["refresh"]]

        return {
            "logins per second, one after the other": round(rate(login, 50), 1),
            "refreshes per second, one after the other": round(rate(refresh, 500)),
        }


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
