"""What kind of conflict it was, by a server's counters; and what is done about it, over fake servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.session.conflicts import COUNTERS, MOMENT, Conflict, ConflictCounters, Counts, counts_of
from sqlproxy.topology.model import Role
from sqlproxy.wire import constants as c
from sqlproxy.wire.result_set import text_result
from tests.support.fakes import Bench, Connection, FakeClient, command, err, error_in, is_ok, ok, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]
CERTIFICATION, BRUTE_FORCE, DEADLOCK = Conflict.CERTIFICATION, Conflict.BRUTE_FORCE, Conflict.DEADLOCK

# rises of certification failures, brute-force aborts and deadlocks → a COMMIT, a statement alone, one in a transaction
VERDICTS = [
    ((1, 1, 0), CERTIFICATION, CERTIFICATION, BRUTE_FORCE),
    ((1, 0, 0), CERTIFICATION, CERTIFICATION, BRUTE_FORCE),
    ((0, 1, 0), BRUTE_FORCE, BRUTE_FORCE, BRUTE_FORCE),
    ((0, 0, 1), CERTIFICATION, DEADLOCK, DEADLOCK),
    ((0, 0, 0), CERTIFICATION, BRUTE_FORCE, BRUTE_FORCE),
    ((0, 1, 3), BRUTE_FORCE, DEADLOCK, DEADLOCK),
    ((2, 2, 1), CERTIFICATION, CERTIFICATION, BRUTE_FORCE),
]


@pytest.mark.parametrize(("rises", "commit", "alone", "within"), VERDICTS)
def test_the_counter_that_rose_says_what_it_was(
    rises: Sequence[int], commit: Conflict, alone: Conflict, within: Conflict
) -> None:
    seed = (5, 7, 9)
    found = (5 + rises[0], 7 + rises[1], 9 + rises[2])
    assert ConflictCounters(seed).judge(1.0, found, committing=True, alone=False) is commit
    assert ConflictCounters(seed).judge(1.0, found, committing=False, alone=True) is alone
    assert ConflictCounters(seed).judge(1.0, found, committing=False, alone=False) is within


def within(counters: ConflictCounters, now: float, found: Counts) -> Conflict:
    return counters.judge(now, found, committing=False, alone=False)


def test_victims_of_the_same_moment_see_the_same_rise() -> None:
    counters = ConflictCounters((0, 0, 0))
    assert within(counters, 1.0, (0, 0, 1)) is DEADLOCK
    assert within(counters, 1.0 + MOMENT / 2, (0, 0, 1)) is DEADLOCK
    assert within(counters, 1.0 + 2 * MOMENT, (0, 1, 1)) is BRUTE_FORCE


def test_a_server_without_a_counter_of_deadlocks() -> None:
    counters = ConflictCounters((3, 3, -1))
    assert within(counters, 1.0, (3, 3, -1)) is DEADLOCK
    assert within(counters, 2.0, (3, 4, -1)) is BRUTE_FORCE


def test_a_server_that_began_anew_counts_from_nothing() -> None:
    assert within(ConflictCounters((50, 50, 50)), 1.0, (0, 0, 1)) is DEADLOCK


@given(st.lists(st.tuples(st.floats(0, 1), *[st.integers(0, 3)] * 3), max_size=30))
def test_a_lone_rise_is_never_taken_for_another(steps: list[tuple[float, int, int, int]]) -> None:
    counters, now, found = ConflictCounters((0, 0, 0)), 0.0, [0, 0, 0]
    for pause, *rises in steps:
        now += pause
        found = [old + rise for old, rise in zip(found, rises, strict=True)]
        within(counters, now, (found[0], found[1], found[2]))
    assert within(counters, now + 2 * MOMENT, (found[0], found[1], found[2] + 1)) is DEADLOCK
    assert within(counters, now + 4 * MOMENT, (found[0], found[1] + 1, found[2] + 1)) is BRUTE_FORCE


def test_what_a_server_does_not_have_reads_as_unknown() -> None:
    assert counts_of({COUNTERS[0]: "4", COUNTERS[1]: "", "Threads": "3"}) == (4, -1, -1)


# -- over fake servers


class Conflicts:
    """The first so many statements with ``word`` meet error ``code``; a transaction is rolled back with it."""

    def __init__(self, bench: Bench, word: str, code: int = c.ER_LOCK_DEADLOCK, times: int = 1) -> None:
        self.word, self.code, self.times = word, code, times
        for server in bench.fleet.servers.values():
            server.script = self.script

    def script(self, connection: Connection, payload: bytes) -> bytes | None:
        text = payload[1:].decode("latin1")
        if self.times and text.startswith(self.word):
            self.times -= 1
            connection.pending.clear()
            connection.open = False
            return err(self.code, "try restarting transaction", "40001")
        return None


async def tried(client: FakeClient, text: str) -> bytes:
    """The answer to a statement, with time for other tries."""
    client.send(command(c.COM_QUERY, text.encode()))
    await settle(1)
    return client.take()


def counted(bench: Bench) -> dict[str, int]:
    found = bench.service.stats.as_dict()
    return {name.removeprefix("conflicts_"): found[name] for name in found if "conflicts_" in name and found[name]}


@virtual
async def test_a_conflict_in_a_transaction_is_counted_by_kind_and_the_transaction_run_again(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    for text in ("BEGIN", "INSERT INTO t VALUES (1)"):
        assert is_ok(await tried(client, text))
    Conflicts(b, "INSERT INTO t VALUES (2)")
    assert is_ok(await tried(client, "INSERT INTO t VALUES (2)"))
    assert is_ok(await tried(client, "COMMIT"))
    assert b.fleet.committed == [1, 2]
    assert counted(b) == {"retried": 1, "deadlock": 1}  # nothing is known of the counters: none of the others


@virtual
async def test_a_conflict_at_commit_is_one_of_certification(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    for text in ("BEGIN", "INSERT INTO t VALUES (1)"):
        assert is_ok(await tried(client, text))
    Conflicts(b, "COMMIT")
    assert is_ok(await tried(client, "COMMIT"))
    assert b.fleet.committed == [1]
    assert counted(b) == {"retried": 1, "certification": 1}


@virtual
async def test_a_changed_row_begins_the_transaction_anew_on_another_connection(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    for text in ("BEGIN", "INSERT INTO t VALUES (1)"):
        assert is_ok(await tried(client, text))
    ((before,),) = [b.fleet["n1"].live]
    Conflicts(b, "INSERT INTO t VALUES (2)", c.ER_CHECKREAD)
    assert is_ok(await tried(client, "INSERT INTO t VALUES (2)"))
    assert is_ok(await tried(client, "COMMIT"))
    assert b.fleet.committed == [1, 2]
    assert before not in b.fleet["n1"].live
    assert counted(b) == {"retried": 1, "snapshot": 1}
    assert not any("SHOW GLOBAL STATUS" in text for text in b.fleet["n1"].texts)


@virtual
async def test_conflicts_beyond_the_budget_are_the_answer_and_nothing_is_asked_before_it(bench: MakeBench) -> None:
    b = bench(transaction_replay_attempts=2)
    Conflicts(b, "INSERT", times=3)
    client = b.client()
    assert error_in(await tried(client, "INSERT INTO t VALUES (1)"))[0] == c.ER_LOCK_DEADLOCK
    asked = [text for text in b.fleet["n1"].texts if text.startswith("SHOW GLOBAL STATUS")]
    assert len(asked) == counted(b)["retried"] == 2
    assert b.fleet["n1"].texts[-1].startswith("INSERT")  # whose warnings the client may ask for


@virtual
async def test_the_server_s_counters_decide(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    conflicts = Conflicts(b, "INSERT", times=2)
    counters = [("0", "1", "0"), ("1", "2", "0")]

    def script(connection: Connection, payload: bytes) -> bytes | None:
        if payload[1:].startswith(b"SHOW GLOBAL STATUS"):
            rows = zip(COUNTERS, counters.pop(0), strict=True)
            return text_result(("Variable_name", "Value"), rows, 1, connection.status, c.CLIENT_DEPRECATE_EOF)
        return conflicts.script(connection, payload)

    b.fleet["n1"].script = script
    b.service.conflicts["n1"] = ConflictCounters((0, 0, 0))
    assert is_ok(await tried(client, "INSERT INTO t VALUES (1)"))
    assert b.fleet.committed == [1]
    assert counted(b) == {"retried": 2, "brute_force": 1, "certification": 1}


@virtual
async def test_where_the_server_dies_of_the_question_the_transaction_goes_on_elsewhere(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    for text in ("BEGIN", "INSERT INTO t VALUES (1)"):
        assert is_ok(await tried(client, text))
    conflicts = Conflicts(b, "INSERT INTO t VALUES (2)")

    def script(connection: Connection, payload: bytes) -> bytes | None:
        if not payload[1:].startswith(b"SHOW GLOBAL STATUS"):
            return conflicts.script(connection, payload)
        connection.server.kill()
        b.publish(n1=Role.DOWN, n2=Role.PRIMARY)
        return b""

    b.fleet["n1"].script = script
    assert is_ok(await tried(client, "INSERT INTO t VALUES (2)"))
    assert is_ok(await tried(client, "COMMIT"))
    assert b.fleet.committed == [1, 2]
    assert counted(b) == {"retried": 1, "brute_force": 1}


@virtual
async def test_an_error_that_may_have_ended_the_transaction_leaves_a_later_loss_unknown(bench: MakeBench) -> None:
    b = bench(transaction_replay=False)
    client = b.client()
    for text in ("BEGIN", "INSERT INTO t VALUES (1)"):
        assert is_ok(await tried(client, text))
    Conflicts(b, "INSERT INTO t VALUES (2)", c.ER_CHECKREAD)
    assert error_in(await tried(client, "INSERT INTO t VALUES (2)"))[0] == c.ER_CHECKREAD

    def die(connection: Connection, payload: bytes) -> bytes | None:
        b.fleet["n1"].run(connection, payload)  # by itself: no transaction is open there
        connection.server.kill()
        b.publish(n1=Role.DOWN, n2=Role.PRIMARY)
        return b""

    b.fleet["n1"].script = die
    assert "may or may not have been applied" in error_in(await tried(client, "INSERT INTO t VALUES (3)"))[1]
    assert b.fleet.committed == [3]
    assert await tried(client, "INSERT INTO t VALUES (4)") == ok()
