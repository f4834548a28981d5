"""The page about tokens of other servers has every preset, and its settings can be used."""

from __future__ import annotations

import re
from pathlib import Path

from roomkey.core.presets import PRESETS
from roomkey.server.config_file import ConfigFile
from roomkey.server.providers import Provider, load_providers

PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text("utf-8")


def anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def test_every_preset_has_a_row_and_a_section_with_its_code():
    rows = dict(re.findall(r"^\| \[`([a-z0-9-]+)`\]\(#([a-z0-9-]+)\)", PAGE, re.MULTILINE))
    assert list(rows) == list(PRESETS)
    sections = {anchor(text.partition("\n")[0]): text for text in PAGE.split("\n## ")}
    for name, target in rows.items():
        assert f'preset="{name}"' in sections[target]
        assert "\nThere" in sections[target]
        assert "\nHere" in sections[target]


def test_every_preset_reads_from_the_places_in_the_table():
    rows = dict(re.findall(r"^\| \[`([a-z0-9-]+)`\]\([^)]*\) (\|.*)$", PAGE, re.MULTILINE))
    for name, preset in PRESETS.items():
        written = re.findall(r"`([^`]+)`", rows[name])
        places = preset.claims_map.values()
        assert set(places) | set(preset.claims) <= set(written), name


def test_tables_of_the_page_can_be_used():
    for text in re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        assert load_providers(ConfigFile.parse(text))


def test_every_setting_of_a_table_is_on_the_page_with_its_help():
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert rows == {name: field.description for name, field in Provider.model_fields.items()}
