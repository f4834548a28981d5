"""``manage.py roomkey``: check the settings, issue a token, revoke tokens."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from roomkey.django import guards
from roomkey.django.checks import check_settings
from roomkey.django.settings import configuration, guard_settings
from roomkey.django.tokens import issue_token
from roomkey.errors import AuthError, ConfigError


class Command(BaseCommand):  # type: ignore[misc]
    """The commands ``check``, ``token`` and ``revoke``."""

    help = "Check the settings of ROOMKEY, issue a token, or revoke tokens and disconnect their sockets."
    requires_system_checks: list[str] = []  # noqa: RUF012 - `check` reports them itself

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the commands."""
        commands = parser.add_subparsers(dest="command", required=True)
        commands.add_parser("check", help="Check the settings, and show what they mean.")
        token = commands.add_parser("token", help="Print a new access token for a user.")
        token.add_argument("username")
        token.add_argument("--expires-in", type=float, help="Lifetime in seconds.")
        revoke = commands.add_parser("revoke", help="Revoke tokens; servers disconnect their sockets within a second.")
        target = revoke.add_mutually_exclusive_group(required=True)
        target.add_argument("--user", help="All tokens of the user with this username.")
        target.add_argument("--subject", help="All tokens of this subject.")
        target.add_argument("--session-id", help="All tokens of the login session with this sid claim.")
        target.add_argument("--token-id", help="The token with this jti claim.")

    def handle(self, *, command: str, **options: Any) -> None:
        """Run a command."""
        try:
            {"check": self._check, "token": self._token, "revoke": self._revoke}[command](options)
        except (AuthError, ConfigError) as error:
            raise CommandError(str(error)) from None

    def _check(self, options: dict[str, Any]) -> None:
        found = check_settings()
        for message in found:
            text = f"{message.msg}. {message.hint}" if message.hint else message.msg
            self.stdout.write(f"{'fail' if message.is_serious() else 'warn':4}  {text}")
        if any(message.is_serious() for message in found):
            raise CommandError("ROOMKEY has errors")
        settings, guard = configuration(), guard_settings()
        tokens = "simplejwt" if settings.simplejwt else "ISSUER" if settings.issuer is not None else "another program"
        self.stdout.write(f"ok    tokens: issued by {tokens}; their subject is the user's {settings.subject_field}")
        self.stdout.write(f"ok    policy: {'from POLICY' if guard['policy'] is not None else 'no room can be joined'}")

    def _token(self, options: dict[str, Any]) -> None:
        user = self._user(options["username"])
        self.stdout.write(issue_token(user, expires_in=options["expires_in"]))

    def _revoke(self, options: dict[str, Any]) -> None:
        if guard_settings()["revocations"] is None:
            raise CommandError(
                "servers would not learn of it; set REVOCATIONS in ROOMKEY to a file or a postgresql:// URL"
            )
        names = {name: options[name] for name in ("subject", "session_id", "token_id") if options[name] is not None}
        if options["user"] is not None:
            names = {"subject": configuration().subject(self._user(options["user"]))}
        guard = guards.guard_here()
        guards.call(guard, "revoke", **names)
        self.stdout.write("revoked")

    @staticmethod
    def _user(username: str) -> Any:
        model = get_user_model()
        try:
            return model._default_manager.get_by_natural_key(username)
        except model.DoesNotExist:
            raise CommandError(f"no user has the username {username!r}") from None
