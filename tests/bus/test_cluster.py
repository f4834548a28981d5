from __future__ import annotations

from pathlib import Path

import pytest
from support.clock import FakeClock
from support.nodes import SECRET

from roomkey import ConfigError
from roomkey.bus import Cluster, MemoryBus, MemoryNetwork, RedisJournal
from roomkey.stores import MemoryRevocations


def test_cluster_creates_one_node():
    cluster = Cluster(MemoryBus(MemoryNetwork()), secrets=[SECRET], address="10.0.0.5:7400", name="chat")
    node = cluster.node(FakeClock())
    assert node.address == "10.0.0.5:7400"
    assert node.channels.everybody == "chat:all"
    with pytest.raises(ConfigError, match="create one cluster for each hub"):
        cluster.node(FakeClock())


@pytest.mark.parametrize("name", ["", "a b", "{x}", "x" * 65, "a\n"])
def test_invalid_name_is_refused(name):
    with pytest.raises(ConfigError, match="invalid name of a cluster"):
        Cluster(MemoryBus(MemoryNetwork()), secrets=[SECRET], name=name)


def test_settings_do_not_show_secrets():
    assert SECRET not in repr(Cluster(MemoryBus(MemoryNetwork()), secrets=[SECRET]))


def test_cluster_on_redis_shows_no_password():
    cluster = Cluster.redis("redis://node:s3cr3t@localhost", secrets=[SECRET], name="chat", max_payload=1000)
    assert cluster.bus.max_payload == 1000
    assert isinstance(cluster.journal, RedisJournal)
    assert "s3cr3t" not in repr(cluster) + repr(cluster.bus) + repr(cluster.journal)
    other = MemoryRevocations()
    assert Cluster.redis("redis://localhost", secrets=[SECRET], journal=other).journal is other
    with pytest.raises(ConfigError, match="invalid Redis URL"):
        Cluster.redis("http://localhost", secrets=[SECRET])


@pytest.mark.parametrize("setting", ["address", "listen"])
def test_invalid_address_is_refused(setting):
    with pytest.raises(ConfigError, match="host:port"):
        Cluster(MemoryBus(MemoryNetwork()), secrets=[SECRET], **{setting: "7400"})


@pytest.mark.parametrize(
    "settings", [{}, {"address": "10.0.0.5:7400"}, {"listen": "0.0.0.0:0"}, {"directory": Path("x")}]
)
def test_node_with_an_address_or_a_directory_has_peer_links(settings):
    cluster = Cluster(MemoryBus(MemoryNetwork()), secrets=[SECRET], **settings)
    assert (cluster.peers(cluster.node(FakeClock()), 1000) is None) == (settings == {})


async def test_address_in_use_is_a_config_error():
    network = MemoryNetwork()
    first = Cluster(MemoryBus(network), secrets=[SECRET], listen="127.0.0.1:0")
    node = first.node(FakeClock())
    peers = first.peers(node, 1000)
    assert peers is not None
    await peers.open(lambda *_frame: None)
    assert node.address is not None
    second = Cluster(MemoryBus(network), secrets=[SECRET], address=node.address)
    other = second.peers(second.node(FakeClock()), 1000)
    assert other is not None
    with pytest.raises(
        ConfigError,
        match=r"cannot accept requests of other nodes at 127.0.0.1:\d+: another program uses the port; stop it",
    ):
        await other.open(lambda *_frame: None)
    await peers.close()
