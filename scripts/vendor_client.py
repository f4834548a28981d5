"""Copy the official Socket.IO JavaScript client from its npm package, for the page of ``roomkey serve``.

    python scripts/vendor_client.py

The copy is not in git. A wheel that is built afterwards contains it. Without npm, the page loads the same bytes from
the CDN.
"""

from __future__ import annotations

import base64
import hashlib
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SERVER = Path(__file__).resolve().parent.parent / "src" / "roomkey" / "server"
CLIENT = runpy.run_path(str(SERVER / "socketio_js.py"))
TARGET = SERVER / "static" / "vendor" / CLIENT["FILE"]


def integrity(data: bytes) -> str:
    """Return the Subresource Integrity value of the data (W3C SRI)."""
    return "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode()


def fetch(npm: str, folder: Path) -> bytes:
    """Download the package with npm into a folder, and return the client."""
    package = f"socket.io-client@{CLIENT['VERSION']}"
    command = [npm, "pack", package, "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile(f"package/dist/{CLIENT['FILE']}")
        if member is None:
            raise KeyError(CLIENT["FILE"])
        return member.read()


def main() -> int:
    """Return the exit status: 0 if the client was copied, exists or cannot be fetched; 1 for wrong bytes."""
    if TARGET.is_file() and integrity(TARGET.read_bytes()) == CLIENT["INTEGRITY"]:
        print(f"socket.io-client {CLIENT['VERSION']} exists already: {CLIENT['INTEGRITY']}")
        return 0
    npm = shutil.which("npm")
    if npm is None:
        print(f"npm is not installed: the page will load the Socket.IO client from {CLIENT['CDN_URL']}")
        return 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            data = fetch(npm, Path(folder))
    except (subprocess.SubprocessError, OSError, StopIteration, KeyError, tarfile.TarError):
        print(f"npm could not fetch the client: the page will load the Socket.IO client from {CLIENT['CDN_URL']}")
        return 0
    found = integrity(data)
    if found != CLIENT["INTEGRITY"]:
        print(
            f"not copied: npm's file is {found}, server/socketio_js.py expects {CLIENT['INTEGRITY']}",
            file=sys.stderr,
        )
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(data)
    print(f"socket.io-client {CLIENT['VERSION']} copied: {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
