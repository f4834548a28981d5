"""JSON for packets: strict, except that half an emoji is allowed.

JavaScript's ``slice`` can cut characters in half. UTF-8 cannot encode one half, so U+FFFD replaces it in both
directions (Unicode 3.9, as ``TextEncoder`` does). The module has the interface that a Socket.IO server expects.
:class:`CheckedJson` puts the same checks around another JSON module.
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


class CheckedJson:
    """The JSON module of an application, with strict checks in both directions.

    The module reads only text that is strict JSON, and what it writes is sent only if it is JSON.

    Args:
        module: has ``loads`` and ``dumps``, such as a wrapper of orjson.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    def loads(self, text: str | bytes, **options: Any) -> Any:
        """Parse one JSON value.

        Raises:
            ValueError: as :func:`loads`, or the module rejects the text.
        """
        value = loads(text)
        written = text if isinstance(text, str) else text.decode()
        changed = "\\ud" in written or "\\uD" in written  # half an emoji may have been replaced
        return self._module.loads(dumps(value) if changed else text, **options)

    def dumps(self, value: Any, **options: Any) -> str:
        """Write one JSON value.

        Raises:
            ValueError: the module has written NaN or Infinity, which disconnects every JavaScript client.
            TypeError: the module has not written text.
        """
        text = self._module.dumps(value, **options)
        if not isinstance(text, str):
            raise TypeError(f"the JSON module must write text, not {type(text).__name__}")
        if "NaN" in text or "Infinity" in text:
            json.loads(text, parse_constant=_reject)
        return text if text.isascii() else _LONE.sub(_REPLACEMENT, text)


def _reject(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON (RFC 8259 section 6)")
