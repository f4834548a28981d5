"""What the commands say about providers and their keys."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.issuer_tokens import SHAPES
from support.key_server import KeyServer, failing, json_response, key_server, new_keys, signed

from roomkey import Key
from roomkey.cli.provider import likely_preset
from roomkey.server.config_file import ConfigFile
from roomkey.server.providers import load_providers

Cli = Callable[..., Any]
(KEY,) = new_keys("k1")


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server(KEY.public()) as made:
        made.discover(
            id_token_signing_alg_values_supported=["ES256", "none"],
            introspection_endpoint=f"{made.url}/introspect",
            code_challenge_methods_supported=["S256"],
            backchannel_logout_supported=True,
        )
        yield made


@pytest.fixture
def settings(server: KeyServer, here: Path) -> None:
    (here / "roomkey.toml").write_text(f'[providers.sso]\nissuer = "{server.url}"\naudience = "chat"\n')


def test_doctor_shows_what_an_issuer_offers(roomkey: Cli, server: KeyServer) -> None:
    ran = roomkey("doctor", "--issuer", server.url)
    assert (ran.code, ran.err) == (0, "")
    for words in ("'k1' (ES256)", f"{server.url}/jwks", "back-channel logout yes", "PKCE                S256"):
        assert words in ran.out
    assert f'Verifier.oidc("{server.url}", audience="…")' in ran.out


def test_the_settings_that_doctor_prints_are_valid(roomkey: Cli, server: KeyServer) -> None:
    out = roomkey("doctor", "--issuer", server.url).out
    text = out.partition("In roomkey.toml:\n")[2].partition("In Python:")[0]
    for settings in (text, text.replace("# introspection", "introspection").replace("# client", "client")):
        source = "\n".join(line.strip() for line in settings.splitlines())
        assert tomllib.loads(source)
        (provider,) = load_providers(ConfigFile.parse(source)).values()
        assert provider.issuer == server.url


@pytest.mark.parametrize(
    ("issuer", "preset"),
    [
        ("https://sso.example/realms/main", "keycloak"),
        ("https://accounts.google.com", "google"),
        ("https://tenant.auth0.com/", "auth0"),
        ("https://login.microsoftonline.com/1234/v2.0", "entra"),
        ("https://cognito-idp.eu-west-1.amazonaws.com/pool", "cognito"),
        ("https://sso.example", None),
    ],
)
def test_doctor_names_the_preset_of_a_known_issuer(
    capsys: pytest.CaptureFixture[str], issuer: str, preset: str | None
) -> None:
    from roomkey.cli.provider import _print_settings
    from roomkey.core.presets import preset_of

    _print_settings(issuer, {})
    out = capsys.readouterr().out
    assert (f'preset = "{preset}"' in out) == (preset is not None)
    preset_of(preset)


def test_doctor_rejects_an_issuer_that_it_cannot_use(roomkey: Cli, server: KeyServer) -> None:
    ran = roomkey("doctor", "--issuer", f"{server.url}/")
    assert ran.code == 1
    assert f"issuer '{server.url}'; configure exactly this issuer" in ran.err
    assert roomkey("doctor", "--issuer", "http://sso.example").code == 2
    server.routes.clear()
    server.respond = failing
    ran = roomkey("doctor", "--issuer", server.url)
    assert (ran.code, "status 500" in ran.err) == (1, True)


def test_doctor_escapes_what_a_provider_says(roomkey: Cli, server: KeyServer) -> None:
    server.discover(authorization_endpoint="https://x.example/\x1b[31m", code_challenge_methods_supported=["\x1b[31m"])
    assert "\x1b" not in roomkey("doctor", "--issuer", server.url).out


@pytest.mark.usefixtures("settings")
def test_doctor_asks_the_providers_of_the_settings(roomkey: Cli, server: KeyServer) -> None:
    server.publish(KEY.public(), Key.generate("HS256", kid="oops").to_jwk(private=True))
    ran = roomkey("doctor")
    assert ran.code == 0
    assert f"ok    provider sso: 1 key(s) at {server.url}: 'k1'" in ran.out
    assert "warn  provider sso: key 'oops' is left out: a shared secret in a public set" in ran.out
    server.respond = failing
    ran = roomkey("doctor")
    assert ran.code == 1
    assert f"fail  provider sso: cannot fetch the keys of {server.url}: status 500" in ran.out


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://x/\nsubject_prefix = 7",
        "https://x/\rcreate_accounts = true",
        "https://x/\x1b[2J",
        'https://x/"#',
        "x\\y",
        7,
    ],
)
def test_doctor_prints_no_settings_that_a_provider_wrote(roomkey: Cli, server: KeyServer, endpoint: object) -> None:
    server.discover(introspection_endpoint=endpoint)
    ran = roomkey("doctor", "--issuer", server.url)
    settings = ran.out.partition("In roomkey.toml:")[2].partition("In Python:")[0]
    assert ran.code == 0
    assert [line.split(" =")[0] for line in settings.split()[:1]] == ["[providers.provider]"]
    assert not any(word in settings for word in ("introspection", "subject_prefix", "create_accounts", "\x1b"))


@pytest.mark.usefixtures("settings")
def test_inspect_verifies_with_the_keys_of_the_provider(roomkey: Cli, server: KeyServer) -> None:
    token = signed(KEY, issuer=server.url)
    ran = roomkey("token", "inspect", stdin=token)
    assert ran.code == 0
    assert "Checked with the keys of provider sso (fresh): k1" in ran.out
    report = json.loads(roomkey("token", "inspect", "--json", stdin=token).out)["verdict"]
    assert report["accepted"] is True
    assert report["by"]["remote"]["kids"] == ["k1"]
    (other,) = new_keys("k2")
    ran = roomkey("token", "inspect", "--audience", "other", stdin=token)
    assert "Accepted" in ran.out
    assert ran.err == "ignored --audience: the settings of provider sso decide\n"
    ran = roomkey("token", "inspect", stdin=signed(other, issuer=server.url))
    assert (ran.code, "no key with kid 'k2'" in ran.out) == (1, True)


@pytest.mark.usefixtures("settings")
def test_inspect_reports_a_provider_that_is_down(roomkey: Cli, server: KeyServer) -> None:
    server.respond = failing
    ran = roomkey("token", "inspect", stdin=signed(KEY, issuer=server.url))
    assert ran.code == 1
    assert "Cannot fetch them: status 500" in ran.out


@pytest.mark.usefixtures("settings")
def test_inspect_verifies_other_tokens_as_before(roomkey: Cli, server: KeyServer) -> None:
    made = roomkey("token", "issue", "ada")
    assert made.code == 1  # no key yet
    roomkey("keys", "new")
    made = roomkey("token", "issue", "ada")
    assert roomkey("token", "inspect", stdin=made.out).code == 0
    assert server.requests == 0


@pytest.mark.usefixtures("settings")
def test_doctor_explains_a_providers_token(roomkey: Cli, server: KeyServer, here: Path) -> None:
    (here / "token").write_text(signed(KEY, issuer=server.url))
    ran = roomkey("doctor", "--token", "token")
    assert (ran.code, "token: valid, for 'sso:ada'" in ran.out) == (0, True)


LOGIN = 'login = true\nclient_id = "rk"\nclient_secret_file = "sso.secret"\n'
ENDPOINTS = ("authorization_endpoint", "token_endpoint")


def test_doctor_checks_logins(roomkey: Cli, server: KeyServer, here: Path) -> None:
    (here / "roomkey.toml").write_text(f'[providers.sso]\nissuer = "{server.url}"\n{LOGIN}')
    ran = roomkey("doctor")
    assert ran.code == 1
    assert "fail  provider sso: cannot read sso.secret" in ran.out
    assert "fail  provider sso: users cannot log in: " in ran.out  # no endpoints
    (here / "sso.secret").write_text("s3cr3t")
    (here / "sso.secret").chmod(0o644)
    server.discover(**{name: f"{server.url}/{name}" for name in ENDPOINTS})
    ran = roomkey("doctor")
    assert "others can read sso.secret" in ran.out
    assert "warn  provider sso: does not say that it supports PKCE (S256)" in ran.out
    (here / "sso.secret").chmod(0o600)
    server.discover(**{name: f"{server.url}/{name}" for name in ENDPOINTS}, code_challenge_methods_supported=["S256"])
    ran = roomkey("doctor")
    assert ran.code == 0
    assert "ok    provider sso: logs in as the client 'rk', with the secret in sso.secret" in ran.out
    assert "redirect URI to register there: http://localhost:8000/auth/providers/sso/callback" in ran.out
    assert "ok    provider sso: offers logins with PKCE (S256)" in ran.out
    assert "s3cr3t" not in ran.out


def test_doctor_names_the_redirect_uri_of_a_public_server(roomkey: Cli, server: KeyServer, here: Path) -> None:
    table = f'[providers.sso]\nissuer = "{server.url}"\nlogin = true\nclient_id = "rk"\n'
    proxied = 'host = "0.0.0.0"\nbehind_proxy = true\n'
    (here / "roomkey.toml").write_text(proxied + table)
    assert "fail  provider sso: logins at providers require this server's URL" in roomkey("doctor").out
    (here / "roomkey.toml").write_text(f'{proxied}public_url = "https://chat.example/"\n{table}')
    out = roomkey("doctor").out
    assert "register there: https://chat.example/auth/providers/sso/callback" in out
    assert "provider sso: logs in as the client 'rk', without a secret" in out


def test_introspection_alone_needs_no_keys(roomkey: Cli, server: KeyServer, here: Path) -> None:
    (here / "secret").write_text("s")
    (here / "secret").chmod(0o600)
    (here / "roomkey.toml").write_text(
        f'[providers.sso]\nissuer = "sso"\naudience = "chat"\nintrospection = "{server.url}"\n'
        'client_id = "me"\nclient_secret_file = "secret"\n'
    )
    server.respond = json_response({"active": False})
    assert "provider sso: its tokens are verified by introspection" in roomkey("doctor").out


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "issuer" in shape.settings])
def test_the_url_of_an_issuer_tells_its_preset(name: str) -> None:
    assert likely_preset(SHAPES[name].settings["issuer"]) == name
    assert likely_preset("https://login.example") is None


def test_doctor_names_the_issuer_of_a_discovery_document(roomkey: Cli) -> None:
    ran = roomkey("doctor", "--issuer", "https://sso.example/realms/main/.well-known/openid-configuration")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "the issuer must not be the URL of its discovery document; use 'https://sso.example/realms/main'\n"
    )


def test_inspect_says_how_opaque_tokens_are_verified(roomkey: Cli) -> None:
    ran = roomkey("token", "inspect", stdin="3f9a" * 10)
    assert (ran.code, "not a JSON Web Token; to verify opaque tokens" in ran.out) == (1, True)
