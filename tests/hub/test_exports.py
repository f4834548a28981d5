"""The names that ``roomkey.hub`` exports, and what importing it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import roomkey.hub


@pytest.mark.parametrize("name", roomkey.hub.__all__)
def test_exported_name_can_be_imported(name):
    assert getattr(roomkey.hub, name) is not None


def test_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        roomkey.hub.nothing  # noqa: B018


def test_import_loads_uvicorn_only_when_its_settings_are_used():
    script = (
        "import sys, roomkey.hub; before = 'uvicorn' in sys.modules; roomkey.hub.UVICORN_SETTINGS; "
        "print(before, 'uvicorn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
