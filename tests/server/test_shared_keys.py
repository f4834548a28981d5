"""Nodes with different signing keys notice it, and tell the operator."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.nodes import SECRET, make_nodes

from roomkey import Key, KeySet
from roomkey.bus import Cluster, MemoryBus, MemoryNetwork
from roomkey.keysets.files import load_or_create
from roomkey.keysets.folder import KeyFolder, rotate
from roomkey.server.app import build
from roomkey.server.settings import Settings
from roomkey.server.shared_keys import CompareKeys, fingerprint, fingerprint_of
from roomkey.stores import Stores

__all__ = ["make_nodes"]

ONE, OTHER = Key.generate("ES256"), Key.generate("ES256")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "roomkey.keys" and record.levelno >= 30]


def test_fingerprint_depends_on_the_keys_alone():
    both = fingerprint(KeySet([ONE, OTHER]))
    assert both == fingerprint(KeySet([OTHER.public(), ONE]))
    assert len(both) == 8
    assert len({both, fingerprint(KeySet([ONE])), fingerprint(KeySet([OTHER]))}) == 3


def test_fingerprint_depends_on_the_name_of_a_key():
    jwk = ONE.to_jwk()
    assert fingerprint(KeySet([ONE])) != fingerprint(KeySet([Key.from_jwk({**jwk, "kid": "another"})]))


def test_fingerprint_tells_nothing_about_a_shared_secret():
    one, other = (Key.from_secret(text * 8, kid="same") for text in ("kT9vX2mQ", "8rL4wZ7y"))
    assert fingerprint(KeySet([one])) == fingerprint(KeySet([other]))


@pytest.mark.parametrize("info", [{}, {"keys": 7}, {"keys": "x" * 4000}, {"keys": None}])
def test_node_without_a_fingerprint_has_none(info):
    assert fingerprint_of(info) is None


async def test_lasting_difference_is_logged_once(make_nodes, caplog):
    world, [a, b, application] = await make_nodes(3, address="10.0.0.5:7400")
    assert application.info == {}
    keys = {a: KeySet([ONE]), b: KeySet([OTHER])}
    for node in (a, b):
        CompareKeys(node, lambda now, node=node: keys[node], world.clock.now)
    await world.pass_time(55)
    assert warnings(caplog) == []
    await world.pass_time(120)
    assert len(warnings(caplog)) == 2  # one on each node
    assert "(10.0.0.5:7400)" in warnings(caplog)[0]
    assert "copy the folder of the keys" in warnings(caplog)[0]
    keys[b] = keys[a]
    await world.pass_time(10)
    assert a.info == b.info == {"keys": fingerprint(keys[a])}
    keys[b] = KeySet([OTHER])
    await world.pass_time(70)
    assert len(warnings(caplog)) == 4


async def test_folder_that_is_copied_in_time_is_not_logged(make_nodes, caplog, tmp_path):
    world, [a, b] = await make_nodes(2)
    load_or_create(tmp_path, "ES256")
    folders = [KeyFolder(tmp_path, "ES256", 900) for _ in "ab"]
    for node, folder in zip((a, b), folders, strict=True):
        CompareKeys(node, folder.accepted, world.clock.now)
    await world.pass_time(5)
    before = a.info["keys"]
    rotate(tmp_path, "ES256", world.clock.now(), lifetime=900)
    await world.pass_time(70)
    assert a.info == b.info
    assert a.info["keys"] != before
    assert warnings(caplog) == []


async def test_server_tells_the_fingerprint_of_its_keys(tmp_path: Path):
    cluster = Cluster(MemoryBus(MemoryNetwork()), secrets=[SECRET])
    stores = Stores.at()
    product = build(Settings(keys=tmp_path, workers=2), stores, KeySet([ONE]), cluster=cluster)
    hub = product.backend.sio
    await hub.open()
    assert hub.application.node.info["keys"] == fingerprint(KeySet([ONE]))
    await product.close()
    await stores.close()
