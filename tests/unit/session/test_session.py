"""Whole sessions over fake servers: where statements go, and what clients read when servers fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sqlproxy.session.client import Client
from sqlproxy.session.overview import row
from sqlproxy.topology.model import AdminState, Role
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, Connection, command, err, error_in, is_ok, ok, packets, query, rows, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]

LOST = "server n1 was lost (connection lost: connection reset)"


@virtual
async def test_reads_go_to_replicas_and_writes_to_the_primary(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    assert await client.where() in ("n2", "n3")
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))
    assert b.fleet["n1"].texts == ["INSERT INTO t VALUES (1)"]
    assert b.fleet.committed == [1]


@virtual
async def test_the_second_statement_needs_no_task(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("SELECT 1")
    client.send(query("SELECT 1"))
    assert client.session.running_on is not None
    assert client.session._task is None
    await settle()
    assert not client.session.busy


@virtual
async def test_a_young_session_reads_where_it_is_connected_however_busy_that_server_is(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    first = await client.where()
    b.service.server_stats[first].operations += 5
    assert [await client.where() for _ in range(7)] == [first] * 7
    assert len(client.session.backends) == 1
    assert await client.where() != first
    b.service.server_stats[first].operations -= 5


@virtual
async def test_a_young_session_leaves_a_server_that_takes_no_more_reads(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    first = await client.where()
    b.states[first] = AdminState.DRAIN
    b.publish()
    assert await client.where() != first


@pytest.mark.parametrize("chunk", [0, 1, 3])
@virtual
async def test_a_reply_arrives_unchanged_however_it_is_cut(bench: MakeBench, chunk: int) -> None:
    b = bench()
    b.fleet.chunk = chunk
    client = b.client()
    answer = rows(b"a" * 40, b"", b"b")
    for server in b.fleet.servers.values():
        server.script = lambda connection, payload: answer
    assert await client.ask("SELECT a FROM t") == answer
    assert await client.ask("SELECT a FROM t") == answer
    assert b.counters() == (0, 1)


# -- errors that say "not here"


@pytest.mark.parametrize("chunk", [0, 1, 7])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1047, "WSREP has not yet prepared node for application use"),
        (1290, "The server is running with the --read-only option so it cannot execute this statement"),
        (1836, "Running in read-only mode"),
    ],
)
@virtual
async def test_a_write_refused_by_the_server_runs_again_once_there_is_a_primary(
    bench: MakeBench, code: int, text: str, chunk: int
) -> None:
    b = bench()
    b.fleet.chunk = chunk
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = lambda connection, payload: err(code, text)
    client.send(query("INSERT INTO t VALUES (2)"))
    await settle()
    assert client.take() == b""
    assert row(client.session)["state"] == "waiting"
    assert b.evidence == [("n1", f"error {code} from a session")]
    b.publish(n1=Role.NON_PRIMARY, n2=Role.PRIMARY)
    await settle()
    assert is_ok(client.take())
    assert b.fleet.committed == [1, 2]
    assert "INSERT INTO t VALUES (2)" in b.fleet["n2"].texts


@pytest.mark.parametrize("names", [("n1",), ("n1", "n2")])
@virtual
async def test_a_primary_that_stays_read_only_is_waited_for_and_its_words_are_told(
    bench: MakeBench, names: tuple[str, ...]
) -> None:
    """A primary that is read-only for good and one between two steps of a switchover by hand look alike."""
    b = bench(*names, failover_timeout=7.0)
    client = b.client()
    b.fleet["n1"].script = lambda connection, payload: err(1836, "Running in read-only mode")
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle(6.5)
    assert client.take() == b""
    b.publish()  # looked at again, with the same result
    await settle(0.4)
    assert client.take() == b""
    await settle(0.4)
    assert error_in(client.take()) == (
        1429,
        "No server took this statement within 7s: server n1: Running in read-only mode",
    )
    b.fleet["n1"].script = None
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert b.fleet.committed == [2]


@virtual
async def test_a_primary_that_is_read_only_for_a_moment_costs_nobody_an_error(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    b.fleet["n1"].script = lambda connection, payload: err(1290, "running with the --read-only option")
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle(5)
    b.publish(n1=Role.REPLICA)
    await settle(5)
    assert client.take() == b""
    b.fleet["n1"].script = None
    b.publish(n1=Role.PRIMARY)
    await settle()
    assert is_ok(client.take())
    assert b.fleet.committed == [1]


@pytest.mark.parametrize("text", ["SELECT a FROM t", "SHOW TABLES"])
@virtual
async def test_a_read_on_a_server_that_shuts_down_runs_elsewhere(bench: MakeBench, text: str) -> None:
    b = bench()
    client = b.client()
    first = await client.where()
    b.fleet[first].script = lambda connection, payload: err(1053, "Server shutdown in progress", "08S01")
    assert packets(await client.ask(text))[0][0] != c.ERR
    assert b.evidence
    assert b.service.stats.reads_retried == 1


@virtual
async def test_other_errors_are_the_clients_to_read(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    answer = err(1146, "Table 'a.t' doesn't exist", "42S02")
    b.fleet["n1"].script = lambda connection, payload: answer
    assert await client.ask("INSERT INTO t VALUES (1)") == answer
    assert not b.evidence


@virtual
async def test_an_error_in_the_middle_of_a_reply_is_forwarded(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    answer = rows(b"a")[:-11] + err(1053, "Server shutdown in progress", seq=4)
    b.fleet["n1"].script = lambda connection, payload: answer
    assert await client.ask("SELECT a FROM t") == answer


@virtual
async def test_a_refusal_within_a_transaction_rolls_it_back(bench: MakeBench) -> None:
    b = bench(transaction_replay=False)
    client = b.client()
    await client.ask("BEGIN")
    b.fleet["n1"].script = lambda connection, payload: err(1047, "WSREP has not yet prepared node")
    code, text = error_in(await client.ask("INSERT INTO t VALUES (1)"))
    assert code == 1213
    assert "try restarting transaction" in text
    b.fleet["n1"].script = None
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert b.fleet.committed == [2]


# -- servers that die


def silent(connection: Connection, payload: bytes) -> bytes:
    return b""


@virtual
async def test_a_read_without_an_answer_runs_on_another_server(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    first = await client.where()
    b.fleet[first].script = silent
    client.send(query("SELECT a FROM t"))
    await settle()
    b.fleet[first].kill()
    await settle()
    reply = packets(client.take())
    assert reply[2][1:].decode() != first
    assert b.counters()[0] == 0


@virtual
async def test_a_read_is_not_run_again_without_end(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    lost = []

    def die(connection: Connection, payload: bytes) -> bytes:
        lost.append(connection.server.name)
        asyncio.get_running_loop().call_soon(connection.server.lose)
        return b""

    for server in b.fleet.servers.values():
        server.script = die
    code, text = error_in(await client.ask("SELECT a FROM t"))
    assert code == 1927
    assert "was lost" in text
    assert len(lost) == 3
    assert not client.session.busy


@virtual
async def test_a_reply_partly_forwarded_ends_the_connection(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    first = await client.where()
    b.fleet[first].script = lambda connection, payload: rows(b"a")[:-11]
    client.send(query("SELECT a FROM t"))
    await settle()
    b.fleet[first].lose()
    await settle()
    assert client.transport.closing
    assert b.counters()[1] == 0


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t VALUES (1)",
        "BEGIN; INSERT INTO t VALUES (1); COMMIT",
        "START TRANSACTION READ ONLY; COMMIT; INSERT INTO t VALUES (1)",
        "CALL p()",
        "SET a = 1; INSERT INTO t VALUES (1)",
    ],
)
@virtual
async def test_the_outcome_of_a_write_without_an_answer_is_called_unknown(bench: MakeBench, text: str) -> None:
    b = bench()
    client = b.client()
    await client.ask("INSERT INTO t VALUES (0)")
    b.fleet["n1"].script = silent
    client.send(query(text))
    await settle()
    b.fleet["n1"].kill()
    b.publish(n1=Role.DOWN, n2=Role.PRIMARY)
    await settle()
    assert error_in(client.take()) == (
        1927,
        f"The outcome of this statement is unknown, it may or may not have been applied: {LOST}",
    )
    assert b.service.stats.outcomes_unknown == 1
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert b.fleet.committed == [0, 2]


@pytest.mark.parametrize("text", ["INSERT INTO t VALUES (1)", "BEGIN; INSERT INTO t VALUES (1); COMMIT", "CALL p()"])
@virtual
async def test_a_write_that_its_lost_server_has_not_read_waits_for_the_next_primary(
    bench: MakeBench, text: str
) -> None:
    b = bench()
    client = b.client()
    await client.ask("INSERT INTO t VALUES (0)")
    b.fleet["n1"].script = silent
    client.send(query(text))
    await settle()
    b.fleet["n1"].lose(unread=True)
    b.publish(n1=Role.DOWN, n2=Role.JOINING)
    await settle()
    assert client.take() == b""
    b.publish(n1=Role.DOWN, n2=Role.PRIMARY)
    await settle()
    assert is_ok(client.take())
    assert (b.service.stats.outcomes_unknown, b.fleet["n2"].texts.count(text)) == (0, 1)


@virtual
async def test_a_commit_that_its_lost_server_has_not_read_is_replayed_with_its_transaction(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = silent
    client.send(query("COMMIT"))
    await settle()
    b.fleet["n1"].lose(unread=True)
    b.publish(n1=Role.DOWN, n2=Role.PRIMARY)
    await settle()
    assert is_ok(client.take())
    assert (b.fleet.committed, b.service.stats.outcomes_unknown) == ([1], 0)


@virtual
async def test_nothing_is_sent_to_a_server_that_has_ended_the_connection(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    (connection,) = b.fleet["n1"].live
    connection.backend.eof_received()
    connection.transport.close()
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert len(b.fleet["n1"].connections) == 2
    assert b.fleet.committed == [1, 2]


@pytest.mark.parametrize(
    "text", ["COMMIT", "CREATE TABLE a (a INT)", "BEGIN", "SET autocommit = 1", "CALL p()", "LOCK TABLES t WRITE"]
)
@virtual
async def test_what_may_have_committed_the_transaction_has_an_unknown_outcome(bench: MakeBench, text: str) -> None:
    b = bench(transaction_replay=False)
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = silent
    client.send(query(text))
    await settle()
    b.fleet["n1"].lose()
    await settle()
    code, message = error_in(client.take())
    assert code == 1927
    assert "unknown" in message
    assert not client.session.state.in_transaction


@pytest.mark.parametrize("text", ["INSERT INTO t VALUES (1)", "SELECT a FROM t", "SAVEPOINT a", "ROLLBACK AND CHAIN"])
@virtual
async def test_a_transaction_lost_under_a_statement_is_to_be_begun_again(bench: MakeBench, text: str) -> None:
    b = bench(transaction_replay=False)
    client = b.client()
    await client.ask("BEGIN")
    b.fleet["n1"].script = silent
    client.send(query(text))
    await settle()
    b.fleet["n1"].lose()
    await settle()
    assert error_in(client.take()) == (
        1213,
        f"The transaction was rolled back because {LOST}; try restarting transaction",
    )
    b.fleet["n1"].script = None
    assert await client.where() in ("n2", "n3")


@virtual
async def test_a_rollback_whose_server_dies_has_succeeded(bench: MakeBench) -> None:
    b = bench(transaction_replay=False)
    client = b.client()
    await client.ask("BEGIN")
    b.fleet["n1"].script = silent
    client.send(query("ROLLBACK"))
    await settle()
    b.fleet["n1"].lose()
    await settle()
    assert is_ok(client.take())
    assert not client.session.state.in_transaction


@virtual
async def test_a_rollback_with_more_in_the_same_text_has_not_succeeded(bench: MakeBench) -> None:
    b = bench(transaction_replay=False)
    client = b.client()
    await client.ask("BEGIN")
    b.fleet["n1"].lose()
    assert error_in(await client.ask("ROLLBACK; INSERT INTO t VALUES (1)"))[0] == 1213
    assert b.fleet.committed == []


@virtual
async def test_a_transaction_lost_between_statements_is_told_once_by_the_next(bench: MakeBench) -> None:
    b = bench(transaction_replay=False)
    client = b.client()
    await client.ask("BEGIN")
    b.fleet["n1"].lose()
    assert error_in(await client.ask("INSERT INTO t VALUES (1)"))[0] == 1213
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert b.fleet.committed == [2]
    assert b.service.stats.transactions_lost == 1


@virtual
async def test_a_commit_after_the_loss_is_no_success(bench: MakeBench) -> None:
    b = bench(transaction_replay=False)
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].lose()
    assert error_in(await client.ask("COMMIT"))[0] == 1213


@virtual
async def test_a_rollback_after_the_loss_is_a_success(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")
    b.fleet["n1"].lose()
    assert is_ok(await client.ask("ROLLBACK"))
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))


@virtual
async def test_a_lost_pin_ends_the_session_naming_the_pin(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("CREATE TEMPORARY TABLE a (a INT)")
    b.fleet["n1"].lose()
    code, text = error_in(await client.ask("SELECT a FROM a"))
    assert code == 1927
    assert "a temporary table on n1" in text
    assert "unknown" not in text
    assert client.transport.closing


@virtual
async def test_a_write_under_way_when_the_pin_is_lost_has_an_unknown_outcome(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("CREATE TEMPORARY TABLE a (a INT)")
    b.fleet["n1"].script = silent
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    b.fleet["n1"].lose()
    await settle()
    code, text = error_in(client.take())
    assert code == 1927
    assert "a temporary table on n1" in text
    assert "unknown" in text
    assert client.transport.closing


@virtual
async def test_losing_an_idle_connection_is_no_news_to_the_client(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    first = await client.where()
    b.fleet[first].lose()
    assert await client.where() in ("n2", "n3")


# -- uploads


@pytest.mark.parametrize("cut", [1, 3, 5, 1000])
@virtual
async def test_an_upload_reaches_the_server_whole_and_the_next_command_after_it(bench: MakeBench, cut: int) -> None:
    b = bench("n1")
    client = b.client()
    got = bytearray()

    def load(connection: Connection, payload: bytes) -> bytes | None:
        if b"LOAD DATA" not in payload:
            return None
        connection.transport.uploading = True
        return codec.packet(1, b"\xfbfile")

    b.fleet["n1"].script = load
    client.send(query("LOAD DATA LOCAL INFILE 'file' INTO TABLE t"))
    await settle()
    assert client.take() == codec.packet(1, b"\xfbfile")
    transport = b.fleet["n1"].live[0].transport
    transport.written.clear()
    upload = codec.packet(2, b"1\n2\n") + codec.packet(3, b"3\n") + codec.packet(4, b"")
    stream = upload + query("INSERT INTO t VALUES (9)")
    for start in range(0, len(stream), cut):
        client.send(stream[start : start + cut])
    got += transport.written
    assert bytes(got) == upload
    transport.uploading = False
    transport.send(ok(seq=5))
    await settle()
    assert packets(client.take()) == [packets(ok())[0]] * 2
    assert b.fleet.committed == [9]


@virtual
async def test_a_server_lost_during_an_upload_ends_the_connection(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    b.fleet["n1"].script = lambda connection, payload: codec.packet(1, b"\xfbfile")
    await client.ask("LOAD DATA LOCAL INFILE 'file' INTO TABLE t")
    b.fleet["n1"].lose()
    await settle()
    assert client.transport.closing


# -- many commands at once


@virtual
async def test_pipelined_commands_are_answered_in_order(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    client.send(
        query("INSERT INTO t VALUES (1)") + query("SELECT 1") + command(0x63) + query("INSERT INTO t VALUES (2)")
    )
    await settle()
    found = packets(client.take())
    assert found[0][0] == c.OK
    assert found[1] == b"\x01"
    assert found[-2][0] == c.ERR
    assert found[-1][0] == c.OK
    assert b.fleet.committed == [1, 2]


@virtual
async def test_a_client_that_leaves_while_waiting_leaves_nothing_behind(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    b.publish(n1=Role.DOWN)
    client.send(command(0x63) + query("INSERT INTO t VALUES (1)"))
    await settle()
    assert client.session.waiting
    client.hang_up()
    await settle()
    b.publish(n1=Role.PRIMARY)
    await settle()
    assert b.fleet["n1"].log == []
    assert b.counters() == (0, 0)
    assert not b.registry.sessions


@virtual
async def test_a_client_that_leaves_during_a_statement_takes_its_connections_along(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("SELECT 1")
    b.fleet["n1"].script = silent
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    client.hang_up()
    await settle()
    assert b.counters() == (0, 0)
    assert b.service.stats.sessions == 0


# -- snapshots


@virtual
async def test_a_demoted_primary_keeps_its_open_transaction(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    b.publish(n1=Role.REPLICA, n2=Role.PRIMARY)
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert is_ok(await client.ask("COMMIT"))
    assert is_ok(await client.ask("INSERT INTO t VALUES (3)"))
    assert b.fleet["n2"].texts[-1] == "INSERT INTO t VALUES (3)"
    assert "INSERT INTO t VALUES (3)" not in b.fleet["n1"].texts
    assert b.fleet.committed == [1, 2, 3]


@virtual
async def test_connections_to_a_server_that_is_out_are_given_up(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    first = await client.where()
    b.publish(**{first: Role.DOWN})
    assert b.fleet[first].live == []
    assert await client.where() != first


@virtual
async def test_a_draining_server_is_left_when_nothing_is_open_there(bench: MakeBench) -> None:
    b = bench()
    idle, busy = b.client(), b.client()
    await idle.ask("INSERT INTO t VALUES (1)")
    await busy.ask("BEGIN")
    b.states["n1"] = AdminState.DRAIN
    b.publish(n2=Role.PRIMARY, n1=Role.REPLICA)
    await settle()
    assert len(b.fleet["n1"].live) == 1
    assert is_ok(await busy.ask("COMMIT"))
    await settle()
    assert b.fleet["n1"].live == []
    assert is_ok(await busy.ask("INSERT INTO t VALUES (2)"))


# -- flow control


@virtual
async def test_a_slow_client_pauses_its_server_and_gets_no_further_reply_meanwhile(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    await client.ask("SELECT 1")
    b.fleet["n1"].script = silent
    client.send(query("SELECT a FROM t") + query("SELECT b FROM t"))
    await settle()
    transport = b.fleet["n1"].live[0].transport
    client.client.pause_writing()
    assert not transport.reading
    transport.protocol.data_received(rows(b"a"))
    await settle()
    assert b.fleet["n1"].texts[-1] == "SELECT a FROM t"
    client.client.resume_writing()
    await settle()
    assert transport.reading
    assert b.fleet["n1"].texts[-1] == "SELECT b FROM t"


@virtual
async def test_a_client_paused_for_a_server_is_read_again_when_that_server_dies(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("INSERT INTO t VALUES (0)")
    b.fleet["n1"].script = silent
    client.send(query("INSERT INTO t VALUES (1)"))
    b.fleet["n1"].live[0].backend.pause_writing()
    assert not client.transport.reading
    b.fleet["n1"].lose()
    assert client.transport.reading


# -- state


@virtual
async def test_settings_are_replayed_before_another_server_is_used(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("SET NAMES utf8mb4")
    await client.ask("SET @a = 5")
    await client.run(command(c.COM_INIT_DB, b"shop"))
    await client.ask("INSERT INTO t VALUES (1)")
    (connection,) = b.fleet["n1"].live
    assert connection.settings["@a"] == "5"
    assert connection.database == b"shop"
    assert b.fleet["n1"].log[-1] == b"\x03INSERT INTO t VALUES (1)"


@virtual
async def test_a_server_that_refuses_a_setting_is_named(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("SELECT 1")
    await client.ask("SET new_variable = 1")
    b.fleet["n1"].script = lambda connection, payload: (
        err(1193, "Unknown system variable 'new_variable'") if payload.startswith(b"\x03SET") else None
    )
    code, text = error_in(await client.ask("INSERT INTO t VALUES (1)"))
    assert code == 1193
    assert text == "server n1 does not accept a setting of this session: Unknown system variable 'new_variable'"
    assert b.fleet.committed == []


@virtual
async def test_a_read_after_a_write_waits_for_the_replica_to_catch_up_once(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    await client.ask("SELECT a FROM t")
    await client.ask("SELECT a FROM t")
    assert b.fleet["n2"].texts == ["SET STATEMENT wsrep_sync_wait=1 FOR SELECT 1", "SELECT a FROM t", "SELECT a FROM t"]


@virtual
async def test_a_connection_that_was_reset_is_replaced_where_it_would_have_to_wait(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()
    await client.ask("SELECT a FROM t")
    await client.run(command(c.COM_RESET_CONNECTION))
    await client.ask("SELECT a FROM t")
    assert len(b.fleet["n2"].connections) == 1
    await client.ask("INSERT INTO t VALUES (1)")
    await client.ask("SELECT a FROM t")
    assert len(b.fleet["n2"].connections) == 2
    assert b.fleet["n2"].texts[-2:] == ["SET STATEMENT wsrep_sync_wait=1 FOR SELECT 1", "SELECT a FROM t"]


@virtual
async def test_a_replica_that_cannot_catch_up_is_passed_over(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n2"].script = lambda connection, payload: (
        err(1205, "Lock wait timeout exceeded") if b"sync_wait" in payload else None
    )
    assert await client.where("SELECT a FROM t") == "n1"


@virtual
async def test_a_reset_connection_has_no_state_left(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("SET @a = 5")
    await client.ask("CREATE TEMPORARY TABLE a (a INT)")
    assert is_ok(await client.run(command(c.COM_RESET_CONNECTION)))
    assert client.session.state.pins == {}
    assert all(not connection.settings for server in b.fleet.servers.values() for connection in server.live)
    assert await client.where() in ("n2", "n3")


@virtual
async def test_a_reset_connection_is_in_the_database_of_the_session(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    reader = await client.where()
    await client.ask("INSERT INTO t VALUES (1)")
    await client.ask("USE other")  # there only, until the other one is used
    assert is_ok(await client.run(command(c.COM_RESET_CONNECTION)))
    assert {name: b.fleet[name].live[0].database for name in ("n1", reader)} == {"n1": b"other", reader: b"other"}


@virtual
async def test_what_was_done_before_a_later_statement_failed_is_remembered(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    b.fleet["n1"].script = lambda connection, payload: (
        ok(c.SERVER_STATUS_AUTOCOMMIT | c.SERVER_MORE_RESULTS_EXISTS) + err(1054, "Unknown column", seq=2)
        if b";" in payload
        else None
    )
    await client.ask("SET @a = 1; SELECT nothing FROM t")
    assert client.session.state.pins == {"multi": "session state set among several statements on n1"}
    assert await client.where() == "n1"


@pytest.mark.parametrize("text", ["SELECT GET_LOCK('a', 0)", "SELECT @a := 1", "SET @a = (SELECT 1)", "XA START 'a'"])
@virtual
async def test_a_read_only_transaction_is_on_the_primary_before_it_ties_the_session(
    bench: MakeBench, text: str
) -> None:
    b = bench()
    client = b.client()
    await client.ask("START TRANSACTION READ ONLY")
    assert client.session.state.context.transaction in ("n2", "n3")
    await client.ask(text)
    assert text in b.fleet["n1"].texts
    assert client.session.state.context.transaction == "n1"


@virtual
async def test_a_transaction_lost_to_a_failing_reset_is_not_told_afterwards(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")

    def die(connection: Connection, payload: bytes) -> bytes | None:
        if payload[0] != c.COM_RESET_CONNECTION:
            return None
        asyncio.get_running_loop().call_soon(connection.server.lose)
        return b""

    b.fleet["n1"].script = die
    assert is_ok(await client.run(command(c.COM_RESET_CONNECTION)))
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))


@virtual
async def test_statistics_leave_the_session_as_it_was(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    for server in b.fleet.servers.values():
        server.script = lambda connection, payload: (
            codec.packet(1, b"Uptime: 1") if payload[0] == c.COM_STATISTICS else None
        )
    assert packets(await client.run(command(c.COM_STATISTICS))) == [b"Uptime: 1"]
    assert client.session.state.context.autocommit


@virtual
async def test_a_failed_server_is_not_shunned_by_later_statements(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    await client.ask("SELECT 1")
    b.fleet["n1"].lose()
    b.fleet["n1"].script = silent
    client.send(query("SELECT a FROM t"))
    await settle()
    b.fleet["n1"].script = None
    b.fleet["n1"].lose()
    await settle(1)
    client.take()
    b.fleet["n1"].lose()
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))


# -- refused commands


@pytest.mark.parametrize(
    ("code", "number", "text"),
    [
        (c.COM_BINLOG_DUMP, 1235, "COM_BINLOG_DUMP is not relayed: connect the replica to a server directly"),
        (c.COM_SHUTDOWN, 1235, "COM_SHUTDOWN is not relayed: shut a server down by connecting to it directly"),
        (0x63, 1047, "Unknown command"),
    ],
)
@virtual
async def test_commands_that_are_not_relayed_are_refused_in_words(
    bench: MakeBench, code: int, number: int, text: str
) -> None:
    client = bench().client()
    assert error_in(await client.run(command(code))) == (number, text)
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))


@virtual
async def test_quit_ends_the_connection(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("SELECT 1")
    assert await client.run(command(c.COM_QUIT)) == b""
    assert client.transport.closing
    assert b.counters() == (0, 0)


@virtual
async def test_a_session_is_described_for_operators(bench: MakeBench) -> None:
    b = bench()
    client = b.client(database=b"shop")
    await client.ask("BEGIN")
    found = row(client.session)
    assert found["user"] == "app"
    assert found["database"] == "shop"
    assert found["primary"] == "n1"
    assert found["in_transaction"] is True
    assert found["state"] == "idle"
    assert "secret" not in repr(found)


def test_a_client_is_named_by_its_address() -> None:
    service: object = None
    assert Client(service, "").host == "localhost"  # type: ignore[arg-type]


# -- replay


async def lose_with(b: Bench, primary: str, successor: str) -> None:
    b.fleet[primary].kill()
    b.publish(**{primary: Role.DOWN, successor: Role.PRIMARY})
    await settle()


@virtual
async def test_a_lost_transaction_goes_on_elsewhere(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    await lose_with(b, "n1", "n2")
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert is_ok(await client.ask("COMMIT"))
    assert b.fleet.committed == [1, 2]


@virtual
async def test_a_transaction_is_replayed_twice_with_the_settings_it_began_with(bench: MakeBench) -> None:
    b = bench()
    met: list[tuple[str, str | None]] = []
    b.fleet.ran = lambda connection, text: met.append((text, connection.settings.get("@a")))
    client = b.client()
    await client.ask("SET @a = 1")
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    await client.ask("SET @a = 2")
    for primary, successor in (("n1", "n2"), ("n2", "n3")):
        await lose_with(b, primary, successor)
        await client.ask("INSERT INTO t VALUES (2)")
    assert [setting for text, setting in met if text == "INSERT INTO t VALUES (1)"] == ["1", "1", "1"]


@virtual
async def test_a_transaction_that_ended_unseen_is_never_replayed(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = silent
    client.send(query("ROLLBACK"))
    await settle()
    await lose_with(b, "n1", "n2")
    assert is_ok(client.take())
    await client.ask("SET autocommit = 0")
    await client.ask("SELECT a FROM t FOR UPDATE")
    await lose_with(b, "n2", "n3")
    await client.ask("COMMIT")
    assert b.fleet.committed == []


@pytest.mark.parametrize(
    "text", ["CREATE TABLE a (a INT)", "CALL p()", "INSERT INTO t VALUES (2); CREATE TABLE a (a INT)"]
)
@virtual
async def test_a_failed_statement_that_may_have_committed_leaves_the_outcome_unknown(
    bench: MakeBench, text: str
) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = lambda connection, payload: err(1050, "Table 'a' already exists", "42S01")
    assert error_in(await client.ask(text))[0] == 1050
    await lose_with(b, "n1", "n2")
    code, message = error_in(await client.ask("SELECT a FROM t"))
    assert code == 1927
    assert "unknown" in message
    assert b.fleet.committed == []


@virtual
async def test_several_writes_in_one_text_do_not_end_the_transaction_they_are_lost_in(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = silent
    client.send(query("INSERT INTO t VALUES (2); UPDATE t SET b = 1"))
    await settle()
    await lose_with(b, "n1", "n2")
    assert is_ok(client.take())
    assert is_ok(await client.ask("COMMIT"))
    assert b.fleet.committed == [1, 2]
    assert b.service.stats.transactions_replayed == 1


@pytest.mark.parametrize("records", [True, False])
@virtual
async def test_what_follows_a_deadlock_is_in_no_transaction(bench: MakeBench, records: bool) -> None:
    """An error has no flags that say so."""
    b = bench(transaction_replay=records)
    b.publish(causal="")
    client = b.client()
    await client.ask("BEGIN")
    b.fleet["n1"].script = lambda connection, payload: err(1213, "Deadlock found when trying to get lock", "40001")
    assert error_in(await client.ask("INSERT INTO t VALUES (1)"))[0] == 1213
    assert not client.session.state.in_transaction
    b.fleet["n1"].script = silent
    client.send(query("INSERT INTO t VALUES (2)"))
    await settle()
    await lose_with(b, "n1", "n2")
    assert error_in(client.take())[0] == 1927


@virtual
async def test_a_begin_that_fails_within_a_transaction_forgets_nothing_of_it(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = lambda connection, payload: (
        err(1064, "You have an error in your SQL syntax") if b"SNAPSHOT" in payload else None
    )
    assert error_in(await client.ask("START TRANSACTION WITH SNAPSHOT"))[0] == 1064
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    await lose_with(b, "n1", "n2")
    reply = await client.ask("COMMIT")
    assert not is_ok(reply) or b.fleet.committed == [1, 2]


@virtual
async def test_a_replay_that_no_server_takes_ends_the_transaction_for_good(bench: MakeBench) -> None:
    b = bench("n1", "n2", failover_timeout=2.0)
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].kill()
    b.publish(n1=Role.DOWN, n2=Role.REPLICA)
    client.send(query("INSERT INTO t VALUES (2)"))
    await settle(3)
    code, text = error_in(client.take())
    assert code == 1213
    assert "No server took this statement within 2s" in text
    b.publish(n2=Role.PRIMARY)
    assert is_ok(await client.ask("INSERT INTO t VALUES (3)"))
    assert b.fleet.committed == [3]


@virtual
async def test_a_server_that_is_not_ready_for_settings_is_passed_over(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("SET @a = 1")
    first = next(name for name, server in b.fleet.servers.items() if server.log)
    other = "n3" if first == "n2" else "n2"
    b.fleet[other].script = lambda connection, payload: err(1047, "WSREP has not yet prepared node")
    b.publish(**{first: Role.DOWN})
    assert await client.where() == "n1"


@pytest.mark.parametrize("code", [c.COM_STMT_PREPARE, c.COM_STMT_EXECUTE])
@virtual
async def test_a_server_that_is_not_ready_to_prepare_is_passed_over(bench: MakeBench, code: int) -> None:
    b = bench("n1", "n2")
    client = b.client()
    b.fleet["n2"].script = lambda connection, payload: (
        err(1047, "WSREP has not yet prepared node") if payload[0] == code else None
    )
    assert packets(await client.run(command(c.COM_STMT_PREPARE, b"SELECT 1")))[0][0] == c.OK
    body = (1).to_bytes(4, "little") + b"\x00" + (1).to_bytes(4, "little")
    assert packets(await client.run(command(c.COM_STMT_EXECUTE, body)))[2][1:] == b"n1"


# -- questions about the statement before


@virtual
async def test_found_rows_are_asked_where_the_newest_select_was(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    replica = await client.where("SELECT v FROM t")
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet[replica].log.clear()
    assert await client.where("SELECT FOUND_ROWS()") == replica
    assert b.fleet[replica].texts == [
        "SET STATEMENT wsrep_sync_wait=1 FOR EXPLAIN SELECT 1 FROM information_schema.engines",
        "SELECT FOUND_ROWS()",
    ]
    await client.ask("INSERT INTO t VALUES (2)")
    assert await client.where("SELECT v FROM t FOR UPDATE") == "n1"
    assert await client.where("SELECT FOUND_ROWS()") == "n1"


@virtual
async def test_what_only_a_lost_connection_knows_is_not_asked_elsewhere(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    replica = await client.where("SELECT v FROM t")
    b.publish(**{replica: Role.DOWN})
    assert "FOUND_ROWS() is not known" in error_in(await client.ask("SELECT FOUND_ROWS()"))[1]
    assert "has left behind is not known" in error_in(await client.ask("SELECT ROW_COUNT()"))[1]
    assert await client.where("SELECT 1") not in ("", replica)
    assert await client.where("SELECT FOUND_ROWS()") not in ("", replica)
    assert await client.where("SELECT ROW_COUNT()") not in ("", replica)


@virtual
async def test_the_first_question_has_nothing_before_it_that_could_be_lost(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    client.session.state.begun = True
    assert await client.where("SELECT FOUND_ROWS()") == "n1"
    assert await client.where("SELECT ROW_COUNT()") == "n1"


@virtual
async def test_warnings_of_a_lost_connection_are_none(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    replica = await client.where("SELECT v FROM t")
    b.publish(**{replica: Role.DOWN})
    assert packets(await client.ask("SHOW WARNINGS"))[0][0] != c.ERR


@virtual
async def test_a_ping_goes_to_the_server_used_last(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    ping = command(c.COM_PING)
    assert is_ok(await client.run(ping))
    assert not b.fleet["n1"].log
    await client.ask("INSERT INTO t VALUES (1)")
    assert is_ok(await client.run(ping))
    assert b.fleet["n1"].log[-1] == ping[4:]


@virtual
async def test_a_refused_preparation_can_be_asked_about(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    for server in b.fleet.servers.values():
        server.script = lambda connection, payload: err(1146, "no t") if payload[0] == c.COM_STMT_PREPARE else None
    assert error_in(await client.run(command(c.COM_STMT_PREPARE, b"SELECT v FROM t")))[0] == 1146
    assert client.session.state.last != "n1"


@pytest.mark.parametrize("text", ["CALL p()", "FROBNICATE t"])
@virtual
async def test_what_may_write_brings_a_read_only_transaction_to_the_primary(bench: MakeBench, text: str) -> None:
    def script(connection: Connection, payload: bytes) -> bytes | None:
        read_only = c.SERVER_STATUS_IN_TRANS_READONLY if connection.open else 0
        return rows(b"same", status=connection.status | read_only) if payload[1:] == b"SELECT v FROM t" else None

    b = bench()
    for server in b.fleet.servers.values():
        server.script = script
    client = b.client()
    await client.ask("START TRANSACTION READ ONLY")
    await client.ask("SELECT v FROM t")
    assert not b.fleet["n1"].log
    await client.ask(text)
    assert b.fleet["n1"].texts == ["START TRANSACTION READ ONLY", "SELECT v FROM t", text]
    assert is_ok(await client.ask("COMMIT"))
    assert b.fleet["n1"].texts[-1] == "COMMIT"
