"""Every reader of a journal in Redis has the verdicts of the vectors."""

from __future__ import annotations

import sys
from pathlib import Path

from support import vectors

from roomkey.bus import ClusterSecrets
from roomkey.bus.journal_entries import EntryFormat

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import vector_journal


def test_entries_of_a_journal_get_the_verdicts_of_the_vectors():
    written = vectors.read("journal")
    reader = EntryFormat(ClusterSecrets(written["secrets"]), written["key"], "")
    for vector in written["vectors"]:
        expected = {name: vector[name] for name in ("accepted", "dropped") if name in vector}
        found = vector_journal._verdict(reader, vector["fields"])
        if "version" in found.get("accepted", {}):
            found["accepted"]["version"] = list(found["accepted"]["version"])
        assert found == expected, vector["name"]
    assert len(written["vectors"]) > 40
