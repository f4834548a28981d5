"""The npm package for Node.js, as the tests of Python programs use it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

NODE_PACKAGE = Path(__file__).parents[2] / "packages" / "node"


def built_node_package() -> Path:
    """Return the folder of the package. Without Node.js or a build the test is skipped; in CI it fails."""
    if shutil.which("node") is not None and (NODE_PACKAGE / "dist").is_dir():
        return NODE_PACKAGE
    text = "packages/node is not built: run `npm ci` and `npm run build` in it"
    pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    raise AssertionError
