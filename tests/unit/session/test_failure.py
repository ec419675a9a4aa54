"""The table of failure rules, row by row."""

from __future__ import annotations

import pytest

from sqlproxy.session.failure import Outcome, after_conflict, after_error, after_loss, is_evidence
from sqlproxy.sql.classify import classify

GONE, LOST, UNKNOWN = Outcome.TRANSACTION_GONE, Outcome.TRANSACTION_LOST, Outcome.UNKNOWN
AGAIN, FORWARD = Outcome.RUN_AGAIN, Outcome.FORWARD
PIN, PIN_UNKNOWN = Outcome.PIN_LOST, Outcome.PIN_LOST_UNKNOWN

LOSSES = [
    # statement, outside a transaction, within one, pinned, pinned within a transaction
    ("SELECT 1", AGAIN, LOST, PIN, PIN),
    ("SELECT 1; SELECT 2", AGAIN, LOST, PIN, PIN),
    ("SHOW WARNINGS", AGAIN, LOST, PIN, PIN),
    ("SET NAMES utf8", AGAIN, LOST, PIN, PIN),
    ("USE a", AGAIN, LOST, PIN, PIN),
    ("BEGIN", AGAIN, UNKNOWN, PIN, PIN_UNKNOWN),
    ("START TRANSACTION READ ONLY", AGAIN, UNKNOWN, PIN, PIN_UNKNOWN),
    ("INSERT INTO t VALUES (1)", UNKNOWN, LOST, PIN_UNKNOWN, PIN),
    ("SELECT 1 FOR UPDATE", UNKNOWN, LOST, PIN_UNKNOWN, PIN),
    ("SAVEPOINT a", UNKNOWN, LOST, PIN_UNKNOWN, PIN),
    ("COMMIT", AGAIN, UNKNOWN, PIN, PIN_UNKNOWN),
    ("COMMIT AND CHAIN", AGAIN, UNKNOWN, PIN, PIN_UNKNOWN),
    ("ROLLBACK", AGAIN, GONE, PIN, PIN),
    ("ROLLBACK AND CHAIN", AGAIN, LOST, PIN, PIN),
    ("CREATE TABLE a (a INT)", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("SET autocommit = 1", AGAIN, UNKNOWN, PIN, PIN_UNKNOWN),
    ("CALL p()", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("BEGIN; INSERT INTO t VALUES (1); COMMIT", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("INSERT INTO t VALUES (1); UPDATE t SET a = 2", UNKNOWN, LOST, PIN_UNKNOWN, PIN),
    ("SELECT 1 FOR UPDATE; DELETE FROM t WHERE a = @a", UNKNOWN, LOST, PIN_UNKNOWN, PIN),
    ("INSERT INTO t VALUES (1); COMMIT", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("INSERT INTO t VALUES (1); ROLLBACK AND CHAIN", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("INSERT INTO t VALUES (1); CREATE TABLE a (a INT)", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("INSERT INTO t VALUES (1); CALL p()", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("INSERT INTO t VALUES (1); SET sql_mode = 'ANSI_QUOTES'", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("INSERT INTO t VALUES (1); SET autocommit = 1", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("PREPARE p FROM 'COMMIT'; EXECUTE p", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("INSERT INTO t VALUES (1); XA END 'a'", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("ROLLBACK; INSERT INTO t VALUES (1)", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("SET a = 1; INSERT INTO t VALUES (1)", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
    ("no such thing", UNKNOWN, UNKNOWN, PIN_UNKNOWN, PIN_UNKNOWN),
]


@pytest.mark.parametrize(("text", "alone", "within", "pinned", "pinned_within"), LOSSES)
def test_what_a_lost_server_means(
    text: str, alone: Outcome, within: Outcome, pinned: Outcome, pinned_within: Outcome
) -> None:
    mask = classify(text.encode())
    assert after_loss(mask, in_transaction=False, pinned=False, forwarded=False) is alone
    assert after_loss(mask, in_transaction=True, pinned=False, forwarded=False) is within
    assert after_loss(mask, in_transaction=False, pinned=True, forwarded=False) is pinned
    assert after_loss(mask, in_transaction=True, pinned=True, forwarded=False) is pinned_within
    for in_transaction in (False, True):
        for is_pinned in (False, True):
            found = after_loss(mask, in_transaction=in_transaction, pinned=is_pinned, forwarded=True)
            assert found is Outcome.CLOSE


@pytest.mark.parametrize("text", [row[0] for row in LOSSES])
def test_what_was_not_read_was_not_run(text: str) -> None:
    mask = classify(text.encode())
    found = {
        (in_transaction, pinned): after_loss(
            mask, in_transaction=in_transaction, pinned=pinned, forwarded=False, unread=True
        )
        for in_transaction in (False, True)
        for pinned in (False, True)
    }
    assert found.pop((True, False)) is (GONE if text == "ROLLBACK" else LOST)
    assert found == {(False, False): AGAIN, (False, True): PIN, (True, True): PIN}


NOT_READY = (1047, b"WSREP has not yet prepared node for application use")
READ_ONLY = (1290, b"The MariaDB server is running with the --read-only option so it cannot execute this statement")
SHUTDOWN = (1053, b"Server shutdown in progress")
CUT_OFF = (
    1180,
    b"Error while appending streaming replication fragment(provider status: Not connected to Primary Component)",
)


@pytest.mark.parametrize(
    ("error", "text", "alone", "within"),
    [
        (NOT_READY, "SELECT 1", AGAIN, LOST),
        (NOT_READY, "INSERT INTO t VALUES (1)", AGAIN, LOST),
        (NOT_READY, "COMMIT", AGAIN, LOST),
        (NOT_READY, "ROLLBACK", AGAIN, GONE),
        (NOT_READY, "ROLLBACK AND CHAIN", AGAIN, LOST),
        (NOT_READY, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", AGAIN, LOST),
        ((1047, b"Unknown command"), "INSERT INTO t VALUES (1)", FORWARD, FORWARD),
        (READ_ONLY, "INSERT INTO t VALUES (1)", AGAIN, LOST),
        (READ_ONLY, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", FORWARD, FORWARD),
        ((1290, b"The server is running with the --secure-file-priv option"), "SELECT 1", FORWARD, FORWARD),
        ((1836, b"Running in read-only mode"), "INSERT INTO t VALUES (1)", AGAIN, LOST),
        (SHUTDOWN, "SELECT 1", AGAIN, LOST),
        (SHUTDOWN, "INSERT INTO t VALUES (1)", FORWARD, FORWARD),
        (SHUTDOWN, "BEGIN; INSERT INTO t VALUES (1)", FORWARD, FORWARD),
        ((1927, b"Connection was killed"), "SELECT 1", AGAIN, LOST),
        ((1146, b"Table 'a.t' doesn't exist"), "SELECT 1", FORWARD, FORWARD),
    ],
)
def test_what_an_error_means(error: tuple[int, bytes], text: str, alone: Outcome, within: Outcome) -> None:
    mask = classify(text.encode())
    assert after_error(*error, mask, in_transaction=False, pinned=False) is alone
    assert after_error(*error, mask, in_transaction=True, pinned=False) is within
    assert after_error(*error, mask, in_transaction=True, pinned=True) is FORWARD


def test_a_commit_whose_end_the_server_does_not_know_is_as_one_whose_server_was_lost() -> None:
    commit, insert = classify(b"COMMIT"), classify(b"INSERT INTO t VALUES (1)")
    assert after_error(*CUT_OFF, insert, in_transaction=False, pinned=False) is UNKNOWN
    assert after_error(*CUT_OFF, commit, in_transaction=True, pinned=False) is UNKNOWN
    assert after_error(*CUT_OFF, insert, in_transaction=True, pinned=False) is LOST
    assert after_error(*CUT_OFF, commit, in_transaction=True, pinned=True) is PIN_UNKNOWN
    assert after_error(1180, b"Got error 28 during COMMIT", commit, in_transaction=True, pinned=False) is FORWARD


@pytest.mark.parametrize(
    ("text", "alone", "within"),
    [
        ("INSERT INTO t VALUES (1)", AGAIN, LOST),
        ("COMMIT", AGAIN, LOST),
        ("CALL p()", FORWARD, FORWARD),
        ("CREATE TABLE a (a INT)", FORWARD, FORWARD),
        ("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", FORWARD, FORWARD),
    ],
)
def test_what_a_conflict_means(text: str, alone: Outcome, within: Outcome) -> None:
    mask = classify(text.encode())
    assert after_conflict(mask, in_transaction=False, pinned=False) is alone
    assert after_conflict(mask, in_transaction=True, pinned=False) is within
    assert after_conflict(mask, in_transaction=True, pinned=True) is FORWARD


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (*NOT_READY, True),
        (*READ_ONLY, True),
        (*SHUTDOWN, True),
        (*CUT_OFF, True),
        (1927, b"", True),
        (1836, b"", True),
        (1047, b"Unknown command", False),
        (1290, b"--secure-file-priv", False),
        (1213, b"Deadlock found", False),
    ],
)
def test_what_the_monitor_should_look_at(code: int, text: bytes, expected: bool) -> None:
    assert is_evidence(code, text) is expected
