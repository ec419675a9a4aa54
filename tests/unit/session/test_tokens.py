"""Commit tokens: what gets one, what they look like."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.session.state import SessionState
from sqlproxy.session.tokens import applies, claim_of, new_token, without_transaction
from sqlproxy.sql.classify import classify
from sqlproxy.wire import constants as c
from tests.support.fakes import ok


@pytest.mark.parametrize(
    ("text", "alone", "within"),
    [
        ("INSERT INTO t VALUES (1)", True, False),
        ("/* a */ replace t VALUES (1)", True, False),
        ("UPDATE t SET a = 1", True, False),
        ("-- why\n # and what\n/**/UPDATE t SET a = 1", True, False),
        ("/**/" * 5000 + "SELECT 1 FOR UPDATE", False, False),
        ("/*" * 5000 + "UPDATE t SET a = 1", False, False),
        ("DELETE FROM t", True, False),
        ("INSERT INTO t VALUES (1) RETURNING a", False, False),
        ("/*! INSERT INTO t VALUES (1) */", False, False),
        ("INSERT INTO t VALUES (GET_LOCK('a', 1))", False, False),
        ("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", False, False),
        ("CREATE TABLE t (a INT)", False, False),
        ("CALL p()", False, False),
        ("LOAD DATA LOCAL INFILE 'a' INTO TABLE t", False, False),
        ("SELECT 1", False, False),
        ("COMMIT", False, True),
        ("COMMIT AND CHAIN", False, False),
        ("ROLLBACK", False, False),
    ],
)
def test_what_gets_a_token(text: str, alone: bool, within: bool) -> None:
    state = SessionState(b"", 50)
    payload = bytes((c.COM_QUERY,)) + text.encode()
    mask = classify(text.encode())
    assert applies(state, mask, payload) is alone
    state.resume_transaction("n1", c.SERVER_STATUS_IN_TRANS)
    assert applies(state, mask, payload) is within
    state.pin("x", "a reason", "n1")
    assert applies(state, mask, payload) is False


def test_tokens_differ_and_grow_with_time() -> None:
    tokens = [new_token() for _ in range(1000)]
    assert len(set(tokens)) == 1000
    assert all(len(token) == 16 for token in tokens)
    assert [token[:6] for token in tokens] == sorted(token[:6] for token in tokens)
    assert re.fullmatch(
        r"INSERT INTO sqlproxy.commit_token \(id\) VALUES \(x'[0-9a-f]{32}'\)", claim_of(tokens[0]).decode()
    )


@given(affected=st.integers(0, 1 << 40), flags=st.integers(0, 0xFFFF))
def test_only_the_transaction_flag_goes_from_a_reply(affected: int, flags: int) -> None:
    cleared = flags & ~c.SERVER_STATUS_IN_TRANS
    assert without_transaction(ok(flags, affected=affected)) == ok(cleared, affected=affected)
