"""The copy of the JavaScript client has the version and the hash that the page expects."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import runpy
from pathlib import Path

import pytest

from roomkey.server import socketio_js
from roomkey.server.page import VENDORED


def test_vendored_copy_has_the_expected_hash() -> None:
    if not VENDORED.is_file():
        if os.environ.get("CI"):
            pytest.fail("no copy of the client: python scripts/vendor_client.py")
        pytest.skip("no copy of the client: python scripts/vendor_client.py")
    data = VENDORED.read_bytes()
    assert "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode() == socketio_js.INTEGRITY
    assert f"Socket.IO v{socketio_js.VERSION}".encode() in data[:100]


def test_constants_are_well_formed() -> None:
    assert re.fullmatch(r"4\.\d+\.\d+", socketio_js.VERSION)
    assert f"https://cdn.socket.io/{socketio_js.VERSION}/socket.io.min.js" == socketio_js.CDN_URL


def test_script_that_copies_the_client_uses_the_same_constants() -> None:
    script = Path(__file__).parents[2] / "scripts" / "vendor_client.py"
    copied = runpy.run_path(str(script))
    assert (copied["CLIENT"]["INTEGRITY"], copied["TARGET"]) == (socketio_js.INTEGRITY, VENDORED)
