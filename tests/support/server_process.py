"""A server in a separate process."""

from __future__ import annotations

import asyncio
import re

PATIENCE = 100.0  # an example imports large packages first


async def served_url(output: asyncio.StreamReader | None) -> str:
    """Read the output of the process until it contains its address: ``http://127.0.0.1:PORT``."""
    assert output is not None, "its output is no pipe"
    said = ""
    while (found := re.search(r"https?://127\.0\.0\.1:\d+", said)) is None:
        line = await asyncio.wait_for(output.readline(), PATIENCE)
        assert line, f"the server ended: {said}"
        said += line.decode()
    return found[0]
