"""Every setting of the guard and the hub is on a page, and the defaults in the tables are the declared ones."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from roomkey.guard.settings import ANONYMOUS_PACKET, GuardSettings
from roomkey.hub.settings import HubSettings

DOCS = Path(__file__).parents[2] / "docs"
UNDOCUMENTED = {"verifier", "clock"}  # the positional argument, and the clock of tests


def shown(value: object) -> str:
    """Return a default as the pages write it: sizes in KiB and MiB, seconds with their unit."""
    if isinstance(value, int) and value % 1024 == 0:
        return f"{value // 1024} KiB" if value < 1 << 20 else f"{value >> 20} MiB"
    return f"{value:g}"


@pytest.mark.parametrize("settings", [GuardSettings, HubSettings])
def test_every_setting_is_on_a_page(settings):
    pages = "".join((DOCS / f"{name}.md").read_text() for name in ("guard", "live", "hub"))
    missing = {one.name for one in fields(settings) if one.init and not re.search(rf"\b{one.name}\b", pages)}
    assert missing <= UNDOCUMENTED


@pytest.mark.parametrize(
    ("page", "name", "default"),
    [
        *(("guard", name, getattr(GuardSettings, name)) for name in ("connect_timeout", "max_refusals")),
        *(("guard", name, getattr(GuardSettings, name)) for name in ("max_namespaces", "max_anonymous")),
        ("guard", "max_bad_tokens", GuardSettings.max_bad_tokens),
        ("guard", "max_anonymous_packet", ANONYMOUS_PACKET),
        *(("hub", name, getattr(HubSettings, name)) for name in ("ping_interval", "max_unsent", "event_rate")),
        ("guard", "max_unsent", GuardSettings.max_unsent),
    ],
)
def test_default_in_the_table_is_the_declared_one(page, name, default):
    [cell] = re.findall(rf"^\| `{name}`[^|]*\| ([^|]*) \|", (DOCS / f"{page}.md").read_text(), re.MULTILINE)
    assert re.split(r"[, ]", cell)[0] == shown(default).split()[0]
