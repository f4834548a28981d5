"""The npm packages, as the tests of Python programs use them."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.missing import missing

PACKAGES = Path(__file__).parents[2] / "packages"
NODE_PACKAGE = PACKAGES / "node"


def built_node_package() -> Path:
    """Return the folder of the package. Without Node.js or a build the test is skipped; in CI it fails."""
    return _built("node")


def built_client_package() -> Path:
    """Return the folder of the package for clients, likewise."""
    return _built("client")


def _built(name: str) -> Path:
    if shutil.which("node") is None or not (PACKAGES / name / "dist").is_dir():
        missing(f"packages/{name} is not built: run `npm ci` and `npm run build` in it")
    return PACKAGES / name
