"""Characters that no name may contain, the same in every language and with every version of Unicode.

Names are compared, logged and shown. A character that changes nothing that a reader sees, or that changes how the rest
is shown, lets two names look alike. Therefore control and format characters, surrogates, private characters, line
separators and all spaces but the plain one (categories Cc, Cf, Cs, Co, Zl, Zp and Zs) are rejected.

The ranges are written out, and not looked up: an interpreter's own tables are of one version of Unicode, and two
servers would disagree. Code points that Unicode has not assigned are accepted.
"""

from __future__ import annotations

import re

RANGES = (
    (0x0000, 0x001F), (0x007F, 0x00A0), (0x00AD, 0x00AD), (0x0600, 0x0605), (0x061C, 0x061C), (0x06DD, 0x06DD),
    (0x070F, 0x070F), (0x0890, 0x0891), (0x08E2, 0x08E2), (0x1680, 0x1680), (0x180E, 0x180E), (0x2000, 0x200F),
    (0x2028, 0x202F), (0x205F, 0x2064), (0x2066, 0x206F), (0x3000, 0x3000), (0xD800, 0xF8FF), (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB), (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0001, 0xE0001), (0xE0020, 0xE007F), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD),
)  # fmt: skip
"""First and last code points (Unicode 16)."""

_REJECTED = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in RANGES) + "]")


def is_clean(text: str) -> bool:
    """Return True if a name may consist of these characters."""
    return text.isprintable() or _REJECTED.search(text) is None
