"""The file ``roomkey.toml``: settings, providers and the rules of the policy. It is read and parsed once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roomkey.errors import ConfigError

__all__ = ["CONFIG_FILE", "POLICY_KEYS", "PROVIDERS", "ConfigFile", "read_config"]

CONFIG_FILE = Path("roomkey.toml")
POLICY_KEYS = frozenset({"roles", "namespace", "room", "emit", "presence", "event"})
"""Keys of the file that declare rules. They are never read from the environment or the command line."""

PROVIDERS = "providers"
"""The key of the tables about other servers' tokens. It is never read from the environment or the command line."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A parsed configuration file.

    Attributes:
        path: its path, for messages.
        source: its text, in which messages name lines and columns.
        values: its keys and values.
    """

    path: Path
    source: str
    values: Mapping[str, Any]

    @classmethod
    def parse(cls, source: str, path: Path = CONFIG_FILE) -> ConfigFile:
        """Parse the text of a file.

        Raises:
            ConfigError: the text is not TOML.
        """
        try:
            return cls(path, source, tomllib.loads(source))
        except RecursionError:
            raise ConfigError(f"{path} is not TOML: its brackets are nested too deeply") from None
        except ValueError as error:
            raise ConfigError(f"{path} is not TOML: {error}") from None


def read_config(path: Path | None = None) -> ConfigFile:
    """Read and parse a configuration file.

    Args:
        path: the TOML file. By default, ``roomkey.toml`` in the current folder, which may be missing.

    Raises:
        ConfigError: the file cannot be read or is not TOML.
    """
    if path is None and not CONFIG_FILE.exists():
        return ConfigFile(CONFIG_FILE, "", {})
    path = path or CONFIG_FILE
    try:
        source = path.read_text("utf-8-sig")  # some editors begin a file with a byte order mark
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not TOML: it is not UTF-8; save it as UTF-8") from None
    return ConfigFile.parse(source, path)
