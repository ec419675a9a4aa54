"""A real server dies exactly between a COMMIT and its reply; with commit tokens the client still gets the truth."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import pytest

from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.node import GaleraNode
from tests.support.mysqlclient import ask, connected
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until

ROLES = ["primary", "replica", "replica"]
TABLES = (
    "CREATE DATABASE IF NOT EXISTS sqlproxy",
    "CREATE TABLE IF NOT EXISTS sqlproxy.commit_token (id BINARY(16) NOT NULL PRIMARY KEY)",
    "GRANT INSERT ON sqlproxy.commit_token TO app@'%'",
    "GRANT SELECT, DELETE ON sqlproxy.commit_token TO monitor@'%'",
    "CREATE TABLE IF NOT EXISTS app.once (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(50))",
)
Result = Future[int]
Write = Callable[[], Result]
NOTES = (f"note {number}" for number in count())


@pytest.fixture(scope="module")
def module_proxy(galera: GaleraLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    galera.up()
    for statement in TABLES:
        galera.node("n1").query(statement)
    servers = dict(zip(galera.nodes, galera.ports, strict=True))
    with running_proxy(tmp_path_factory.mktemp("proxy"), servers, service="exactly_once = true") as proxy:
        yield proxy


@pytest.fixture
def proxy(module_proxy: Proxy, healthy_galera: GaleraLab) -> Proxy:
    wait_until(lambda: sorted(r["role"] for r in module_proxy.servers().values()) == ROLES, 30, "all are in use")
    return module_proxy


@contextmanager
def dropped(*rules: str) -> Iterator[None]:
    """Packets on loopback that match a rule vanish."""
    table = "inet sqlproxy_exactly_once"
    chain = "{ type filter hook input priority 0; }"
    added = "\n".join(f'add rule {table} input iif "lo" {rule} drop' for rule in rules)
    script = f"add table {table}\nadd chain {table} input {chain}\n{added}\n"
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", *table.split()], check=True)


def wait_commit_pending(node: GaleraNode) -> None:
    """Until the primary works on a COMMIT, which it cannot finish without its peers."""
    query = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app' AND info = 'COMMIT'"
    wait_until(lambda: node.query(query)[0][0], 30, "a COMMIT waits for the other nodes")


def lose_commit(galera: GaleraLab, node: GaleraNode, peers: Sequence[GaleraNode], note: str, write: Write) -> Result:
    """The COMMIT reaches nobody else before the primary dies."""
    galera_ports = ", ".join(str(other.galera_port) for other in (node, *peers))
    with dropped(f"tcp dport {{ {galera_ports} }}", f"tcp sport {{ {galera_ports} }}"):
        result = write()
        wait_commit_pending(node)
        galera.kill(node.name)
    return result


def lose_reply(galera: GaleraLab, node: GaleraNode, peers: Sequence[GaleraNode], note: str, write: Write) -> Result:
    """The COMMIT is done everywhere, only its reply is lost with the primary."""
    for peer in peers:
        galera.stop(peer.name)
    result = write()
    wait_commit_pending(node)
    with dropped(f"tcp sport {node.port}"):
        for peer in peers:
            galera.cont(peer.name)
        query = f"SELECT COUNT(*) FROM app.once WHERE note = '{note}'"
        wait_until(lambda: all(peer.query(query)[0][0] for peer in peers), 30, "the others have the transaction")
        galera.kill(node.name)
    return result


@pytest.mark.parametrize("how", [lose_commit, lose_reply])
@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "transaction"])
def test_a_write_whose_primary_dies_in_its_commit_is_there_once_and_acknowledged(
    proxy: Proxy, galera: GaleraLab, how: Callable[..., Result], autocommit: bool
) -> None:
    assert proxy.primary is not None
    node = galera.node(proxy.primary)
    peers = [other for other in galera.nodes.values() if other is not node]
    note = next(NOTES)

    def write() -> int:
        with connected(proxy.port) as connection, connection.cursor() as cursor:
            if not autocommit:
                connection.begin()
            cursor.execute("INSERT INTO once (note) VALUES (%s)", (note,))
            if not autocommit:
                connection.commit()
            return int(cursor.lastrowid or 0)

    before = proxy.get("/v1/services")[0]["outcomes_unknown"]
    with ThreadPoolExecutor(1) as executor:
        number = how(galera, node, peers, note, lambda: executor.submit(write)).result(60)
    assert ask(peers[0].port, "SET STATEMENT wsrep_sync_wait=1 FOR SELECT id FROM once WHERE note = %s", note) == [
        (number,)
    ]
    assert proxy.get("/v1/services")[0]["outcomes_unknown"] == before
