"""Which build of the official Socket.IO JavaScript client the page loads.

The npm package ``socket.io-client`` and cdn.socket.io serve the same bytes. ``scripts/vendor_client.py`` copies and
checks them, the browser checks them again (Subresource Integrity).
"""

VERSION = "4.8.4"
FILE = "socket.io.min.js"
INTEGRITY = "sha384-fBrXvbDtHoeKWJ/hcA6M+YGueiDW+h45I7V6F2kD1S8bOkrF9rZYPLVkCR6BLR/1"
CDN = "https://cdn.socket.io"
CDN_URL = f"{CDN}/{VERSION}/{FILE}"
