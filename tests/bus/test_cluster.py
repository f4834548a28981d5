from __future__ import annotations

import pytest
from support.clock import FakeClock
from support.nodes import SECRET

from roomkey import ConfigError
from roomkey.bus import Cluster, MemoryBus, MemoryNetwork


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
    assert "s3cr3t" not in repr(cluster) + repr(cluster.bus)
    with pytest.raises(ConfigError, match="invalid Redis URL"):
        Cluster.redis("http://localhost", secrets=[SECRET])
