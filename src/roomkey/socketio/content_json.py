"""JSON for packets: strict, except that half an emoji is allowed.

JavaScript's ``slice`` can cut characters in half. UTF-8 cannot encode one half, so U+FFFD replaces it in both
directions (Unicode 3.9, as ``TextEncoder`` does). The module has the interface that a Socket.IO server expects.
"""

from __future__ import annotations

import json
import re
from typing import Any

from roomkey.core import strict_json

_LONE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def loads(text: str | bytes) -> Any:
    """Parse one JSON value.

    Raises:
        ValueError: as :func:`roomkey.core.strict_json.loads`, except for lone surrogates.
    """
    value = strict_json.loads(text, surrogates=True)
    written = text if isinstance(text, str) else text.decode()
    if "\\ud" in written or "\\uD" in written:  # only an escape can produce one
        plain = _encode(value)
        if _LONE.search(plain):
            return json.loads(_LONE.sub(_REPLACEMENT, plain))
    return value


def dumps(value: Any, *, separators: tuple[str, str] = (",", ":")) -> str:
    """Write one JSON value.

    Raises:
        ValueError, TypeError: as :func:`roomkey.core.strict_json.dumps`.
    """
    text = strict_json.dumps(value, separators=separators)
    if "\\ud" in text:
        plain = _encode(value)
        if _LONE.search(plain):
            return _LONE.sub(_REPLACEMENT, plain)
    return text
