"""Where the values of the settings come from.

A value comes from the command line, else from a ``ROOMKEY_*`` environment variable, else from ``roomkey.toml``, else it
is the default.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from typing import Any

from roomkey.extras import needs

with needs("cli", "roomkey.server.settings_sources"):
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

from roomkey.errors import ConfigError
from roomkey.server.config_file import POLICY_KEYS, PROVIDERS, ConfigFile, read_config
from roomkey.server.settings import Settings

__all__ = ["describe", "environment_name", "load_settings", "option_name"]

_PROBLEMS = {  # pydantic's types of errors
    "bool_parsing": "must be true or false",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt:.0f}",
    "greater_than_equal": "must be at least {ge:.0f}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le:.0f}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "string_too_short": "must not be empty",
    "string_type": "must be a string",
    "tuple_type": "must be a list",
}


def option_name(setting: str) -> str:
    """Return the command line's option for a setting."""
    return f"--{setting.replace('_', '-')}"


def environment_name(setting: str) -> str:
    """Return the environment variable for a setting."""
    return f"ROOMKEY_{setting.upper()}"


def load_settings(file: ConfigFile | None = None, **options: object) -> Settings:
    """Return the settings from the command line, the environment and the file.

    Args:
        file: the configuration file. By default, it is read from the current folder.
        options: values from the command line; None means that the option was not used.

    Raises:
        ConfigError: a key is unknown or a value is invalid; the text names where it was written.
    """
    file = file if file is not None else read_config()
    sources: tuple[tuple[Mapping[str, object], Callable[[str], str]], ...] = (
        ({name: value for name, value in options.items() if value is not None}, option_name),
        (_environment(), environment_name),
        (_settings_in(file), lambda name: f"{file.path}: {name}"),
    )
    values: dict[str, Any] = {name: value for source, _ in reversed(sources) for name, value in source.items()}
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        text = describe(first)
        if not first["loc"]:
            raise ConfigError(text) from None
        name = str(first["loc"][0])
        where = next((place(name) for source, place in sources if name in source), name)
        raise ConfigError(f"{where}: {text}") from None


def describe(error: ErrorDetails) -> str:
    """Return one of pydantic's errors in the style of roomkey's other errors."""
    if error["type"] in _PROBLEMS:
        return _PROBLEMS[error["type"]].format(**error.get("ctx", {}))
    return error["msg"].removeprefix("Value error, ")


def _environment() -> dict[str, str]:
    variables = {name.upper(): value for name, value in os.environ.items()}
    names = {name: environment_name(name) for name in Settings.model_fields}
    return {name: variables[variable] for name, variable in names.items() if variable in variables}


def _settings_in(file: ConfigFile) -> dict[str, Any]:
    """Return the settings in the file, and check that its other keys declare rules."""
    known = [*Settings.model_fields, PROVIDERS, *sorted(POLICY_KEYS)]
    for name in file.values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known keys are: {', '.join(known)}"
            raise ConfigError(f"{file.path}: unknown key {name!r}; {hint}")
    return {name: value for name, value in file.values.items() if name in Settings.model_fields}
