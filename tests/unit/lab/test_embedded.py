import subprocess
import sys

import pytest

from sqlproxy.errors import SqlproxyError
from sqlproxy.lab.embedded import EmbeddedCluster
from sqlproxy.topology.model import Address


def test_importing_the_cluster_does_not_import_what_its_nodes_need() -> None:
    code = "import sys, sqlproxy.lab.embedded; print([n for n in ('mysql_mimic', 'sqlglot') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "[]\n"


def test_nodes_are_named_in_order() -> None:
    assert EmbeddedCluster(base_port=5, nodes=2).addresses == {
        "n1": Address("127.0.0.1", 5),
        "n2": Address("127.0.0.1", 6),
    }
    assert EmbeddedCluster([Address("::1", 7)]).addresses == {"n1": Address("::1", 7)}


async def test_a_cluster_that_is_not_started_has_no_nodes() -> None:
    cluster = EmbeddedCluster()
    assert cluster.status() == []
    with pytest.raises(SqlproxyError, match="the cluster is not started"):
        await cluster.kill("n1")
    await cluster.stop()
