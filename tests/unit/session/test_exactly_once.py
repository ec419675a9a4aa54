"""Commit tokens over fake servers: whatever is lost, a write is there once and the client knows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.topology.model import Role
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from sqlproxy.wire.packets import ok_packet, parse_ok
from tests.support.fakes import Bench, Connection, FakeServer, command, err, error_in, is_ok, ok, packets, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]
TAKE = re.compile(r"INSERT INTO sqlproxy.commit_token \(id\) VALUES \(x'([0-9a-f]{32})'\)")


class Tokens:
    """The token table of a fleet. ``lose`` names the steps at which the server asked is lost, in order of their coming.

    A step is "token", "statement" or "commit", each lost before it does anything; "committed" right after it did.
    """

    def __init__(self, bench: Bench, *lose: str) -> None:
        self.bench = bench
        self.lose = list(lose)
        self.taken: set[str] = set()
        self.pending: dict[int, str] = {}
        self.refusal: bytes | None = None
        self.heirs = True  # another server becomes primary when one dies
        for server in bench.fleet.servers.values():
            server.script = self.script

    def script(self, connection: Connection, payload: bytes) -> bytes | None:
        text = payload[1:].decode("latin1")
        found = TAKE.fullmatch(text) if payload[0] == c.COM_QUERY else None
        step = "token" if found else "commit" if text == "COMMIT" else "statement" if "INTO t" in text else ""
        if payload[0] == c.COM_STMT_EXECUTE:
            step = "statement"
        if step and self.lose[:1] == [step]:
            return self.fall(connection)
        if found:
            return self.take(connection, found[1])
        if text == "ROLLBACK":
            self.pending.pop(id(connection), None)
        if step == "commit":
            self.taken.add(self.pending.pop(id(connection), ""))
            if self.lose[:1] == ["committed"]:
                connection.server.run(connection, payload)
                return self.fall(connection)
        return None

    def told_apart(self, connection: Connection, payload: bytes) -> bytes | None:
        """As ``script``, but an INSERT affects one row on n1 and two elsewhere."""
        reply = self.script(connection, payload)
        if reply is None and payload[1:].startswith(b"INSERT INTO t "):
            connection.server.run(connection, payload)
            return ok(connection.status, affected=1 if connection.server is self.bench.fleet["n1"] else 2)
        return reply

    def numbered(self, connection: Connection, payload: bytes) -> bytes | None:
        """As ``script``, but an INSERT is answered with the insert id 7."""
        reply = self.script(connection, payload)
        if reply is None and payload[1:].startswith(b"INSERT INTO t "):
            connection.server.run(connection, payload)
            return codec.packet(1, ok_packet(connection.status, 1, 7))
        return reply

    def take(self, connection: Connection, token: str) -> bytes:
        if self.refusal is not None:
            return self.refusal
        if token in self.taken:
            return err(1062, f"Duplicate entry '{token}' for key 'PRIMARY'", "23000")
        if connection.open:
            self.pending[id(connection)] = token
        else:
            self.taken.add(token)
        return ok(connection.status)

    def fall(self, connection: Connection) -> bytes:
        """The server dies without an answer; the next one in line becomes primary."""
        self.lose.pop(0)
        server = connection.server
        asyncio.get_running_loop().call_soon(self.replace, server)
        return b""

    def replace(self, server: FakeServer) -> None:
        server.kill()
        if not self.heirs:
            self.bench.publish(**{server.name: Role.DOWN})
            return
        names = list(self.bench.fleet.servers)
        heir = names[(names.index(server.name) + 1) % len(names)]
        self.bench.fleet[heir].up = True
        self.bench.publish(**{server.name: Role.DOWN, heir: Role.PRIMARY})


def plain(texts: list[str]) -> list[str]:
    """Statements with every token called TOKEN, and none that only wait for replication."""
    return [TAKE.sub("TOKEN", text) for text in texts if "wsrep_sync_wait" not in text]


@virtual
async def test_an_autocommit_write_is_a_transaction_with_a_token_and_the_client_sees_none_of_it(
    bench: MakeBench,
) -> None:
    b = bench(exactly_once=True)
    Tokens(b)
    client = b.client()
    assert await client.ask("INSERT INTO t VALUES (1)") == ok()
    assert plain(b.fleet["n1"].texts) == ["START TRANSACTION", "TOKEN", "INSERT INTO t VALUES (1)", "COMMIT"]
    assert b.fleet.committed == [1]
    assert not client.session.state.in_transaction


@virtual
async def test_a_transaction_takes_its_token_just_before_the_commit(bench: MakeBench) -> None:
    b = bench(exactly_once=True)
    Tokens(b)
    client = b.client()
    for text in ("BEGIN", "INSERT INTO t VALUES (1)", "COMMIT"):
        assert is_ok(await client.ask(text))
    assert plain(b.fleet["n1"].texts) == ["BEGIN", "INSERT INTO t VALUES (1)", "TOKEN", "COMMIT"]


@virtual
async def test_without_the_option_nothing_is_added(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    assert b.fleet["n1"].texts == ["INSERT INTO t VALUES (1)"]


@pytest.mark.parametrize("lost", ["token", "statement", "commit", "committed"])
@virtual
async def test_an_autocommit_write_survives_its_server_wherever_it_is_lost(bench: MakeBench, lost: str) -> None:
    b = bench(exactly_once=True)
    Tokens(b, lost)
    client = b.client()
    assert await client.ask("INSERT INTO t VALUES (1)") == ok()
    assert b.fleet.committed == [1]
    assert b.service.stats.outcomes_unknown == 0
    assert b.service.stats.outcomes_decided == (lost in ("commit", "committed"))
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert b.fleet.committed == [1, 2]


@pytest.mark.parametrize("lost", ["token", "commit", "committed"])
@virtual
async def test_a_transaction_survives_its_server_wherever_it_is_lost(bench: MakeBench, lost: str) -> None:
    b = bench(exactly_once=True)
    Tokens(b, lost)
    client = b.client()
    for text in ("BEGIN", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"):
        await client.ask(text)
    assert is_ok(await client.ask("COMMIT"))
    assert b.fleet.committed == [1, 2]
    assert not client.session.state.in_transaction
    await client.ask("INSERT INTO t VALUES (3)")
    assert b.fleet.committed == [1, 2, 3]


@virtual
async def test_a_replayed_transaction_takes_the_same_token_first(bench: MakeBench) -> None:
    b = bench(exactly_once=True)
    Tokens(b, "commit")
    client = b.client()
    for text in ("BEGIN", "INSERT INTO t VALUES (1)", "COMMIT"):
        await client.ask(text)
    assert plain(b.fleet["n2"].texts) == ["BEGIN", "TOKEN", "INSERT INTO t VALUES (1)", "COMMIT"]
    tokens = {match[1] for name in ("n1", "n2") for match in map(TAKE.match, b.fleet[name].texts) if match}
    assert len(tokens) == 1


@virtual
async def test_a_transaction_without_begin_takes_its_token_before_its_first_statement(bench: MakeBench) -> None:
    b = bench(exactly_once=True)
    Tokens(b, "commit")
    client = b.client()
    for text in ("SET autocommit=0", "INSERT INTO t VALUES (1)", "COMMIT"):
        assert is_ok(await client.ask(text))
    assert plain(b.fleet["n2"].texts) == ["SET autocommit=0", "TOKEN", "INSERT INTO t VALUES (1)", "COMMIT"]
    assert b.fleet.committed == [1]


@virtual
async def test_a_commit_that_arrives_after_all_loses_or_wins_but_never_both(bench: MakeBench) -> None:
    """The token is free on the new primary, then the first commit arrives: certification fails, then it is found.

    The client reads what the first try had answered, which is the one that counts.
    """
    b = bench(exactly_once=True)
    tokens = Tokens(b, "commit")
    client = b.client()
    late: list[str] = []

    def script(connection: Connection, payload: bytes) -> bytes | None:
        if payload[1:] == b"COMMIT" and not late:
            late.append(tokens.pending.pop(id(connection)))
            tokens.taken.add(late[0])
            b.fleet.committed.append(1)
            connection.server.run(connection, bytes((c.COM_QUERY,)) + b"ROLLBACK")
            return err(1213, "Deadlock found when trying to get lock", "40001")
        return tokens.told_apart(connection, payload)

    b.fleet["n1"].script = tokens.told_apart
    b.fleet["n2"].script = script
    client.send(command(c.COM_QUERY, b"INSERT INTO t VALUES (1)"))
    await settle(1)
    assert client.take() == ok(affected=1)
    assert b.fleet.committed == [1]


@virtual
async def test_of_two_tries_that_may_have_gone_through_with_different_answers_neither_is_given(
    bench: MakeBench,
) -> None:
    b = bench(exactly_once=True)
    tokens = Tokens(b, "commit", "committed")
    client = b.client()

    for name in ("n1", "n2", "n3"):
        b.fleet[name].script = tokens.told_apart
    client.send(command(c.COM_QUERY, b"INSERT INTO t VALUES (1)"))
    await settle(1)
    code, text = error_in(client.take())
    assert code == 1927
    assert "applied once, by one of several tries with different answers" in text
    assert b.fleet.committed == [1]


@pytest.mark.parametrize("text", [b"INSERT INTO t VALUES (1)", b"INSERT INTO t VALUES (LAST_INSERT_ID(7))"])
@pytest.mark.parametrize("lost", ["committed", ""])
@virtual
async def test_the_insert_id_of_a_write_outlives_its_primary(bench: MakeBench, lost: str, text: bytes) -> None:
    b = bench(exactly_once=True)
    tokens = Tokens(b, *filter(None, [lost]))
    client = b.client()
    for server in b.fleet.servers.values():
        server.script = tokens.numbered
    client.send(command(c.COM_QUERY, text))
    await settle(1)
    assert parse_ok(packets(client.take())[0]).insert_id == 7
    if not lost:
        tokens.replace(b.fleet["n1"])
    await client.ask("SELECT LAST_INSERT_ID()")
    assert plain(b.fleet["n2"].texts)[-2:] == ["SET last_insert_id=7", "SELECT LAST_INSERT_ID()"]


@virtual
async def test_a_refused_token_is_the_answer_and_nothing_is_committed(bench: MakeBench) -> None:
    b = bench(exactly_once=True)
    Tokens(b).refusal = err(1142, "INSERT command denied to user 'app'@'%' for table 'commit_token'", "42000")
    client = b.client()
    code, text = error_in(await client.ask("INSERT INTO t VALUES (1)"))
    assert code == 1142
    assert text.startswith("The statement was not run because its commit token could not be written: INSERT command")
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (2)")
    code, text = error_in(await client.ask("COMMIT"))
    assert code == 1142
    assert text.startswith("The transaction was rolled back because its commit token could not be written")
    assert b.fleet.committed == []
    assert not client.session.state.in_transaction


@virtual
async def test_a_statement_that_fails_is_rolled_back_and_its_error_is_the_answer(bench: MakeBench) -> None:
    b = bench(exactly_once=True)
    tokens = Tokens(b)
    client = b.client()

    def script(connection: Connection, payload: bytes) -> bytes | None:
        failing = payload[1:] == b"INSERT INTO t VALUES (1)"
        return err(1062, "Duplicate entry '1'", "23000") if failing else tokens.script(connection, payload)

    b.fleet["n1"].script = script
    assert error_in(await client.ask("INSERT INTO t VALUES (1)")) == (1062, "Duplicate entry '1'")
    assert plain(b.fleet["n1"].texts)[-1] == "ROLLBACK"
    assert tokens.taken == set()


@pytest.mark.parametrize("lost", ["commit", "committed"])
@virtual
async def test_a_transaction_that_cannot_be_replayed_is_decided_for_good(bench: MakeBench, lost: str) -> None:
    b = bench(exactly_once=True, transaction_replay=False)
    tokens = Tokens(b, lost)
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    reply = await client.ask("COMMIT")
    if lost == "committed":
        assert is_ok(reply)
        assert b.fleet.committed == [1]
    else:
        assert error_in(reply)[0] == 1213
        assert b.fleet.committed == []
    assert len(tokens.taken) == 1  # taken, so that the first commit can no longer arrive


@virtual
async def test_when_time_is_up_the_client_learns_that_the_outcome_is_unknown(bench: MakeBench) -> None:
    b = bench(exactly_once=True, failover_timeout=2.0)
    tokens = Tokens(b, "committed")
    tokens.heirs = False
    client = b.client()
    client.send(command(c.COM_QUERY, b"INSERT INTO t VALUES (1)"))
    await settle(3)
    code, text = error_in(client.take())
    assert code == 1927
    assert text.startswith("The outcome of this statement is unknown, it may or may not have been applied: ")
    assert "no server" in text.lower()
    assert not client.session.busy


@virtual
async def test_a_transaction_that_only_read_needs_no_token(bench: MakeBench) -> None:
    b = bench(exactly_once=True)
    Tokens(b, "commit")
    client = b.client()
    await client.ask("BEGIN")
    await client.ask("SELECT 1")
    assert is_ok(await client.ask("COMMIT"))
    assert "TOKEN" not in plain(b.fleet["n1"].texts)
    assert not client.session.state.in_transaction


@pytest.mark.parametrize(("code", "text"), [(1047, "WSREP has not yet prepared node"), (1053, "Server shutdown")])
@virtual
async def test_a_commit_refused_by_a_server_that_ends_is_done_on_another(
    bench: MakeBench, code: int, text: str
) -> None:
    b = bench(exactly_once=True)
    tokens = Tokens(b)
    client = b.client()

    def script(connection: Connection, payload: bytes) -> bytes | None:
        if payload[1:] != b"COMMIT":
            return tokens.script(connection, payload)
        b.publish(n1=Role.DOWN, n2=Role.PRIMARY)
        return err(code, text, "08S01")

    b.fleet["n1"].script = script
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))
    assert b.fleet.committed == [1]
    b.publish(n1=Role.PRIMARY, n2=Role.REPLICA)
    for statement in ("BEGIN", "SELECT 1", "COMMIT"):
        assert packets(await client.ask(statement))[0][0] != c.ERR


@pytest.mark.parametrize(
    "refusal", ["1047 WSREP has not yet prepared node", "1290 running with the --read-only option"]
)
@virtual
async def test_a_replay_waits_out_a_server_that_does_not_serve(bench: MakeBench, refusal: str) -> None:
    b = bench(exactly_once=True, transaction_replay_attempts=2)
    tokens = Tokens(b)
    client = b.client()
    for text in ("BEGIN", "INSERT INTO t VALUES (1)"):
        await client.ask(text)
    b.fleet["n1"].script = lambda connection, payload: err(int(refusal[:4]), refusal[5:])
    client.send(command(c.COM_QUERY, b"INSERT INTO t VALUES (2)"))
    await settle(0.1)
    assert client.take() == b""
    b.publish(n1=Role.NON_PRIMARY, n2=Role.PRIMARY)
    await settle(1)
    assert is_ok(client.take())
    assert is_ok(await client.ask("COMMIT"))
    assert b.fleet.committed == [1, 2]
    assert len(tokens.taken) == 1


@virtual
async def test_a_primary_that_stays_read_only_is_asked_now_and_then_until_time_is_up(bench: MakeBench) -> None:
    b = bench(exactly_once=True, failover_timeout=3.0)
    Tokens(b).refusal = err(1290, "running with the --read-only option")
    client = b.client()
    client.send(command(c.COM_QUERY, b"INSERT INTO t VALUES (1)"))
    await settle(3.5)
    assert error_in(client.take()) == (
        1429,
        "No server took this statement within 3s: server n1: running with the --read-only option",
    )
    assert plain(b.fleet["n1"].texts).count("TOKEN") < 20
    assert b.fleet.committed == []


@pytest.mark.parametrize("last", ["statement", "commit", "committed"])
@virtual
async def test_a_statement_that_kills_its_servers_is_not_sent_to_all_that_come(bench: MakeBench, last: str) -> None:
    b = bench(exactly_once=True, transaction_replay_attempts=2)
    tokens = Tokens(b, "statement", "statement", last)
    client = b.client()
    reply = await client.ask("INSERT INTO t VALUES (1)")
    assert not tokens.lose
    if last == "committed":
        assert is_ok(reply)
    else:
        code, text = error_in(reply)
        assert code == 1927
        assert text.startswith("The statement was not applied: ")
        assert text.endswith(", as were the 2 before it")
    assert b.fleet.committed == ([1] if last == "committed" else [])
    assert not client.session.state.in_transaction
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))


@pytest.mark.parametrize("text", ["CALL p()", "INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)"])
@pytest.mark.parametrize("lost", ["commit", "committed"])
@virtual
async def test_a_transaction_that_cannot_be_replayed_is_decided_by_its_token_alone(
    bench: MakeBench, text: str, lost: str
) -> None:
    b = bench(exactly_once=True)
    tokens = Tokens(b)
    client = b.client()
    for statement in ("BEGIN", "INSERT INTO t VALUES (1)", text):
        await client.ask(statement)
    tokens.lose = [lost]
    reply = await client.ask("COMMIT")
    assert is_ok(reply) if lost == "committed" else error_in(reply)[0] == 1213
    assert b.fleet.committed[:1] == ([1] if lost == "committed" else [])
    assert not client.session.state.in_transaction


@pytest.mark.parametrize("lost", ["statement", "commit", "committed"])
@virtual
async def test_prepared_writes_are_covered(bench: MakeBench, lost: str) -> None:
    b = bench(exactly_once=True)
    Tokens(b, lost)
    client = b.client()
    reply = await client.run(command(c.COM_STMT_PREPARE, b"INSERT INTO t VALUES (7)"))
    number = packets(reply)[0][1:5]
    assert await client.run(command(c.COM_STMT_EXECUTE, number + b"\x00\x01\x00\x00\x00")) == ok()
    assert b.fleet.committed == [7]


@settings(max_examples=60, deadline=None)
@given(
    losses=st.lists(st.sampled_from(["token", "statement", "commit", "committed"]), max_size=2),
    texts=st.lists(st.sampled_from(["BEGIN", "COMMIT", "insert", "ROLLBACK"]), max_size=10),
)
def test_whatever_is_lost_whenever_no_write_is_lost_or_done_twice(losses: list[str], texts: list[str]) -> None:
    @virtual
    async def play() -> None:
        with pytest.MonkeyPatch.context() as patch:
            b = Bench(patch, exactly_once=True)
            Tokens(b, *losses)
            client = b.client()
            expected: list[int] = []
            pending: list[int] = []
            within = False
            for number, text in enumerate([*texts, "COMMIT"]):
                statement = f"INSERT INTO t VALUES ({number})" if text == "insert" else text
                client.send(command(c.COM_QUERY, statement.encode()))
                await settle(1)
                assert packets(client.take())[0][0] != c.ERR
                if text == "insert":
                    pending.append(number)
                if text == "BEGIN" or (text != "ROLLBACK" and not within) or text == "COMMIT":
                    expected += pending
                    pending = []
                if text == "ROLLBACK":
                    pending = []
                within = text == "BEGIN" or (within and text not in ("COMMIT", "ROLLBACK"))
            assert b.fleet.committed == expected

    play()
