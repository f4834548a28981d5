"""``python -m roomkey serve`` in a separate process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

START_WITHIN = 110.0  # seconds; three passwords are hashed, on whatever machine this is


@dataclass
class Served:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    output: str
    folder: Path

    def passwords(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "credentials.json").read_text())
        return found

    def errors(self) -> str:
        return (self.folder / "stderr.txt").read_text()

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def start_server(folder: Path, *arguments: str, demo: bool = True) -> Served:
    """Start ``roomkey serve`` in this folder, on a free port, and wait until it is ready."""
    command = [sys.executable, "-m", "roomkey", "serve", "--port", "0", *arguments]
    if demo:
        command += ["--demo", "--demo-credentials-file", "credentials.json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROOMKEY_")}
    with (folder / "stdout.txt").open("w") as out, (folder / "stderr.txt").open("w") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err, text=True, env=environment)
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        output = (folder / "stdout.txt").read_text()
        if found := re.search(r"roomkey serves (https?://\S+)", output):
            return Served(process, found[1], output, folder)
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"it did not start: {(folder / 'stderr.txt').read_text()}")
