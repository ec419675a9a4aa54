"""Many prepared statements in one session on a cluster: prepared where they run, released, kept through failovers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sqlproxy.lab.galera import GaleraLab
from sqlproxy.wire import constants as c
from tests.support.cluster import servers_of, wait_settled
from tests.support.mysqlclient import ask
from tests.support.proxy import Proxy, running_proxy
from tests.support.rawclient import DEPRECATE_EOF, RawClient, logged_in
from tests.support.waiting import wait_until

READS, WRITES = 700, 300
MOVED = 100  # reads that also run on the primary, in a transaction
END = 0xFE  # first byte of the packet that ends rows
LIMIT = 900  # statements a server allows: enough where they run, too few for all of them


@pytest.fixture(scope="module")
def proxy(galera: GaleraLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    galera.up()
    ask(galera.ports[0], "CREATE OR REPLACE TABLE scaled (id INT PRIMARY KEY, v INT)")
    ask(galera.ports[0], "INSERT INTO scaled SELECT seq, 0 FROM seq_0_to_999")
    with running_proxy(tmp_path_factory.mktemp("scale"), servers_of(galera)) as proxy:
        wait_settled(proxy)
        yield proxy


def counts(lab: GaleraLab) -> dict[str, int]:
    """Prepared statements by node."""
    names = ("n1", "n2", "n3")
    return {name: int(lab.node(name).query("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'")[0][1]) for name in names}


@contextmanager
def limited(lab: GaleraLab, limit: int) -> Iterator[None]:
    """No node prepares more statements than this."""
    names = ("n1", "n2", "n3")
    before = lab.node("n1").query("SELECT @@max_prepared_stmt_count")[0][0]
    try:
        for name in names:
            lab.node(name).query(f"SET GLOBAL max_prepared_stmt_count = {limit}")
        yield
    finally:
        for name in names:
            lab.node(name).query(f"SET GLOBAL max_prepared_stmt_count = {before}")


def argument(value: int) -> bytes:
    return b"\0\1\x03\0" + value.to_bytes(4, "little")


def ran(client: RawClient, statement: int, value: int) -> bytes:
    """The last packet but one of an execution: a row, or the only packet."""
    packets = client.execute(statement, argument(value))
    assert packets[0][0] != 0xFF, packets[0]
    return packets[-2] if len(packets) > 1 else packets[0]


def prepare_reads(client: RawClient, count: int) -> list[int]:
    return [client.prepare(f"SELECT id + {number} - {number} FROM scaled WHERE id = ?")[0] for number in range(count)]


def prepare_writes(client: RawClient, count: int) -> list[int]:
    sql = "UPDATE scaled SET v = v + 1, id = id + {0} - {0} WHERE id = ?"
    return [client.prepare(sql.format(number))[0] for number in range(count)]


def row(value: int) -> bytes:
    """A binary row of one BIGINT."""
    return b"\0\0" + value.to_bytes(8, "little")


def test_a_thousand_statements_are_prepared_only_where_they_run_and_released_everywhere(
    proxy: Proxy, healthy_galera: GaleraLab
) -> None:
    wait_settled(proxy)
    before = counts(healthy_galera)
    with limited(healthy_galera, LIMIT), logged_in(proxy.port, DEPRECATE_EOF) as client:
        reads, writes = prepare_reads(client, READS), prepare_writes(client, WRITES)
        assert [ran(client, statement, number) for number, statement in enumerate(reads)] == [
            row(number) for number in range(READS)
        ]
        for number, statement in enumerate(writes):
            assert ran(client, statement, number)[0] == c.OK
        client.ok(bytes((c.COM_QUERY,)) + b"BEGIN")
        assert [ran(client, statement, 1) for statement in reads[:MOVED]] == [row(1)] * MOVED
        client.ok(bytes((c.COM_QUERY,)) + b"COMMIT")
        (session,) = proxy.get("/v1/sessions")
        added = {name: count - before[name] for name, count in counts(healthy_galera).items() if count > before[name]}
        assert added == {session["primary"]: WRITES + MOVED, session["replica"]: READS}
        for statement in (*reads, *writes):
            client.send(bytes((c.COM_STMT_CLOSE,)) + statement.to_bytes(4, "little"))
        assert client.value("SELECT COUNT(*) FROM scaled WHERE v = 1") == b"300"
        wait_until(lambda: counts(healthy_galera) == before, 30, "every server has released every statement")


def test_statements_are_answered_as_without_the_proxy_when_their_tables_change(
    proxy: Proxy, healthy_galera: GaleraLab
) -> None:
    """Prepared on a replica and altered through another connection; then run on the primary for the first time.

    There it is prepared after the change, so that the end of its rows lacks SERVER_STATUS_METADATA_CHANGED.
    """
    wait_settled(proxy)
    changes = ("ADD c INT DEFAULT 7", "MODIFY v VARCHAR(9)", "DROP c, DROP v", "RENAME TO altered_away")
    answers = []
    for port in (healthy_galera.ports[0], proxy.port):
        ask(healthy_galera.ports[0], "DROP TABLE IF EXISTS altered, altered_away")
        ask(healthy_galera.ports[0], "CREATE TABLE altered (id INT PRIMARY KEY, v INT)")
        ask(port, "INSERT INTO altered VALUES (1, 5)")
        with logged_in(port, DEPRECATE_EOF) as client:
            ran_there = [client.query("SET SESSION wsrep_sync_wait = 1")]
            statement, _ = client.prepare("SELECT * FROM altered WHERE id = ?")
            late, _ = client.prepare("SELECT * FROM altered WHERE id >= ?")
            ran_there.append(client.execute(statement, argument(1)))
            for change in changes:
                ask(port, f"ALTER TABLE altered {change}")
                ran_there.append(client.execute(statement, argument(1)))
                client.query("BEGIN")
                ran_there.append([packet for packet in client.execute(late, argument(1)) if packet[0] != END])
                client.query("ROLLBACK")
        answers.append(ran_there)
    assert answers[0] == answers[1]


def test_every_statement_survives_the_loss_of_the_primary(proxy: Proxy, healthy_galera: GaleraLab) -> None:
    wait_settled(proxy)
    with logged_in(proxy.port, DEPRECATE_EOF) as client:
        client.socket.settimeout(30)
        reads, writes = prepare_reads(client, 150), prepare_writes(client, 150)
        for statement in (*reads, *writes):
            ran(client, statement, 900)
        lost = proxy.primary or ""
        healthy_galera.kill(lost)
        for statement in (*writes, *reads):
            ran(client, statement, 901)
        assert client.value("SELECT v FROM scaled WHERE id = 901") == b"150"
        assert proxy.primary not in (None, lost)
