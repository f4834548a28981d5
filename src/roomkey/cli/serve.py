"""``roomkey serve``. Its options are the settings of :class:`roomkey.server.settings.Settings`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from roomkey.cli.output import fail, needs
from roomkey.cli.sources import ConfigOption, DatabaseOption, RedisOption
from roomkey.server.config_file import read_config
from roomkey.server.settings import Settings, help_of
from roomkey.server.settings_sources import load_settings, option_name

__all__ = ["serve"]


def serve(
    config: ConfigOption = None,
    demo: Annotated[bool, typer.Option("--demo", help="Create demo accounts, and do not keep any data.")] = False,
    demo_credentials_file: Annotated[
        Path | None, typer.Option(help="New file (mode 0600) for the passwords of the demo accounts.")
    ] = None,
    **settings: object,
) -> None:
    """Serve the login, the guarded Socket.IO server and the web page.

    An option takes precedence over its ROOMKEY_* environment variable, which takes precedence over the settings file.
    """
    if demo_credentials_file is not None and not demo:
        fail("--demo-credentials-file requires --demo", 2)
    with needs("server"):
        from roomkey.server.policy_file import load_policy
        from roomkey.server.providers import load_providers

        file = read_config(config)
        checked, policy = load_settings(file, **settings), load_policy(file)
        providers = load_providers(file)
        if checked.workers > 1:
            from roomkey.server.parent import Command
            from roomkey.server.parent import serve as run_workers

            run_workers(Command(config, settings, demo, demo_credentials_file), checked)
        else:
            from roomkey.server.run import serve as run_server

            run_server(checked, policy=policy, providers=providers, demo=demo, credentials_file=demo_credentials_file)


def _parameters() -> list[inspect.Parameter]:
    """Return the parameters of :func:`serve` as the command line sees them: each setting is one of them."""
    config, *others, _ = inspect.signature(serve, eval_str=True).parameters.values()
    options = [_option(name, field) for name, field in Settings.model_fields.items()]
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (config, *options, *others)]


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    """Return the option of a setting. Text is checked with the settings, so that every source has the same errors."""
    kinds = get_args(field.annotation) or (field.annotation,)
    kind = next((kind for kind in (bool, int, float, Path) if kind in kinds), str)
    annotation: Any = Annotated[kind | None, typer.Option(option_name(name), help=help_of(name))]
    annotation = {"database": DatabaseOption, "redis": RedisOption}.get(name, annotation)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


serve.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined]
