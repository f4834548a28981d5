"""What importing ``roomkey.hub`` loads."""

from __future__ import annotations

import subprocess
import sys


def test_import_loads_uvicorn_only_when_its_settings_are_used():
    script = (
        "import sys, roomkey.hub; before = 'uvicorn' in sys.modules; roomkey.hub.UVICORN_SETTINGS; "
        "print(before, 'uvicorn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
