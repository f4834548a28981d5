"""Values that a packet can contain, and their comparison."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from support.examples import examples

from roomkey.wire import Packet, PacketType

# No deadlines: a busy machine must not fail these tests.
THOROUGH = settings(max_examples=examples(80), suppress_health_check=[HealthCheck.too_slow])

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
# Text that confuses a scanner that reads strings as structure.
HARD_TEXTS = st.text('[]{}",:\\/ub\u2028\x00_1', max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | HARD_TEXTS
)
NAMES = TEXTS | HARD_TEXTS | st.sampled_from(["__proto__", "constructor", "num"])


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4)

    return st.recursive(leaves, containers, max_leaves=10)


PLAIN = nested(SCALARS)
WITH_BYTES = nested(SCALARS | st.binary(max_size=12))
IDS = st.integers(0, 10**15 - 1)
NAMESPACES = st.just("/") | TEXTS.map(lambda text: "/" + text.replace(",", "."))
EVENTS = st.builds(lambda name, arguments: [name, *arguments], NAMES, st.lists(WITH_BYTES, max_size=3))


@st.composite
def packets(draw: st.DrawFn) -> tuple[PacketType, str, list[Any], int | None]:
    """An event or an acknowledgement, as the arguments of ``encode``."""
    if draw(st.booleans()):
        return PacketType.EVENT, draw(NAMESPACES), draw(EVENTS), draw(st.none() | IDS)
    return PacketType.ACK, draw(NAMESPACES), draw(st.lists(WITH_BYTES, max_size=3)), draw(IDS)


def packet_of(kind: PacketType, namespace: str, data: Any = None, number: int | None = None) -> Packet:
    """A packet as the decoder returns it."""
    return kind, namespace, data, number


def same(one: object, other: object) -> bool:
    """Return True for equal values of equal types: only in Python, 1 == 1.0 == True."""
    return repr(one) == repr(other)
