"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roomkey import __version__
from roomkey.server.settings import Settings, help_of
from roomkey.server.settings_sources import option_name

Cli = Callable[..., Any]

WITHOUT = """
import sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Gone())
sys.argv = {argv!r}
from roomkey.cli import main
main()
"""


def without(missing: set[str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line where these packages are not installed."""
    script = WITHOUT.format(missing=missing, argv=["roomkey", *arguments])
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, cwd=cwd)


def test_version_is_printed(roomkey: Cli) -> None:
    assert roomkey("--version").out == f"roomkey {__version__}\n"


def test_every_command_has_help(roomkey: Cli) -> None:
    for command in ("", "serve", "token issue", "token inspect", "keys new", "user set", "client secret", "doctor"):
        ran = roomkey(*command.split(), "--help")
        assert (ran.code, ran.err) == (0, "")
        assert "Usage: roomkey" in ran.out


def test_serve_has_an_option_with_help_for_each_setting(roomkey: Cli) -> None:
    words = " ".join(roomkey("serve", "--help").out.split())
    for name in Settings.model_fields:
        assert f"{option_name(name)} " in words
        assert help_of(name) in words


def test_no_option_takes_a_secret(roomkey: Cli) -> None:
    for command in (["serve"], ["token", "issue"], ["token", "inspect"], ["user", "add"], ["client", "secret"]):
        options = roomkey(*command, "--help").out
        assert not {"--secret ", "--password ", "--key "} & {word + " " for word in options.split()}


def test_module_runs_as_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "roomkey", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout == f"roomkey {__version__}\n"


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ({"typer"}, ["--version"], "cli"),
        ({"typer"}, ["client", "list"], "server"),
        ({"pydantic"}, ["keys", "list"], "cli"),
        ({"uvicorn"}, ["serve", "--demo"], "server"),
        ({"fastapi"}, ["serve", "--demo"], "server"),
        ({"orjson"}, ["serve", "--demo"], "server"),
        ({"socketio"}, ["serve", "--demo", "--port", "0", "--engine", "python-socketio"], "server"),
        ({"sqlalchemy"}, ["user", "list"], "server"),
        ({"sqlalchemy"}, ["client", "disable", "bot"], "server"),
        ({"argon2"}, ["user", "passwd", "ada", "--password-stdin"], "server"),
    ],
)
def test_missing_package_prints_its_install_command(
    tmp_path: Path, missing: set[str], arguments: list[str], extra: str
) -> None:
    ran = without(missing, *arguments, cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr == f"{missing.pop()} is missing: pip install 'roomkey[{extra}]'\n"


def test_token_and_keys_commands_work_without_the_server_extra(tmp_path: Path) -> None:
    missing = {"fastapi", "uvicorn", "socketio", "sqlalchemy", "argon2", "starlette"}
    assert without(missing, "keys", "new", cwd=tmp_path).returncode == 0
    assert without(missing, "token", "issue", "ada", cwd=tmp_path).returncode == 0
    assert without(missing, "doctor", cwd=tmp_path).returncode == 0


def test_invalid_setting_is_one_line(roomkey: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "roomkey.toml").write_text("prot = 80\n")
    ran = roomkey("serve")
    assert (ran.code, ran.err) == (1, "roomkey.toml: unknown key 'prot'; did you mean port?\n")
    (here / "roomkey.toml").unlink()
    ran = roomkey("serve", "--port", "99999")
    assert (ran.code, ran.err.startswith("--port: "), ran.err.count("\n")) == (1, True, 1)
    monkeypatch.setenv("ROOMKEY_VIA", "smoke signals")
    ran = roomkey("serve")
    assert (ran.code, ran.err.startswith("ROOMKEY_VIA: ")) == (1, True)


def test_credentials_file_requires_demo(roomkey: Cli) -> None:
    assert roomkey("serve", "--demo-credentials-file", "x").code == 2
