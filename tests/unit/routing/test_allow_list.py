"""What an allow list has, learns and misses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.config_rules import AllowListConfig
from sqlproxy.routing.allow_list import (
    ANYBODY,
    MOST_UNLISTED,
    NOT_UNDERSTOOD,
    AllowList,
    Entry,
    shapes_of,
)


def listing(mode: str, *entries: Entry, most: int = 100) -> AllowList:
    return AllowList(
        "app", AllowListConfig.model_validate({"mode": mode, "file": "f", "max_statements": most}), entries
    )


def missing(allowed: AllowList, text: bytes, user: bytes = b"app") -> list[bytes]:
    return allowed.missing(text, 0, 0, user)


def test_what_is_learned_passes_with_other_literals_and_for_its_user_alone() -> None:
    learning = listing("learn")
    assert missing(learning, b"SELECT a FROM t WHERE id = 7 AND n IN ('x', 'y')") == []
    learned = learning.take_learned()
    assert learned == [(b"SELECT a FROM t WHERE id = ? AND n IN (...)", b"app")]
    assert learning.take_learned() == []
    allowed = listing("enforce", *learned)
    assert missing(allowed, b"select  a from t where id=8 and n in (1) -- c") == []
    assert missing(allowed, b"SELECT a FROM t WHERE id = 8 OR 1 = 1") == [b"SELECT a FROM t WHERE id = ? OR ? = ?"]
    assert missing(allowed, b"SELECT a FROM t WHERE id = 7 AND n IN (1)", b"eve") == [learned[0][0]]


def test_what_everybody_may_run_anybody_may() -> None:
    allowed = listing("enforce", (b"SELECT ?", ANYBODY))
    assert missing(allowed, b"SELECT 1", b"eve") == []
    learning = listing("learn", (b"SELECT ?", ANYBODY))
    missing(learning, b"SELECT 2", b"eve")
    assert learning.take_learned() == []


def test_each_part_of_a_text_is_looked_at() -> None:
    allowed = listing("enforce", (b"SELECT ?", b"app"))
    assert missing(allowed, b"SELECT 1; SELECT 2;") == []
    assert missing(allowed, b"SELECT 1;DROP TABLE t") == [b"DROP TABLE t"]
    assert missing(allowed, b"SELECT 1;*") == [b"*"]
    assert missing(allowed, b" /* nothing */ ; ") == []


def test_a_stored_program_is_one_whatever_its_body_holds() -> None:
    text = b"CREATE DEFINER = a@b PROCEDURE p() BEGIN SELECT 1; SELECT 2; END"
    assert shapes_of(text, 0, 0) == [b"CREATE DEFINER = a @b PROCEDURE p() BEGIN SELECT ?; SELECT ?; END"]
    assert shapes_of(b"SELECT 1; " + text, 0, 0) == [b"SELECT ?", *(shapes_of(text, 0, 0) or [])]
    assert shapes_of(b"BEGIN NOT ATOMIC SELECT 1; END", 0, 0) == [b"BEGIN NOT ATOMIC SELECT ?; END"]
    assert shapes_of(b"BEGIN; SELECT 1; BEGIN WORK; COMMIT", 0, 0) == [b"BEGIN", b"SELECT ?", b"BEGIN WORK", b"COMMIT"]


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 'open",
        b"SELECT 1 /*!50801 UNION SELECT 2 */",  # code for some servers only
        b"PREPARE s FROM @sql",
        b"EXECUTE IMMEDIATE CONCAT('DROP ', 'TABLE t')",
        b"BEGIN NOT ATOMIC EXECUTE IMMEDIATE 'DROP TABLE t'; END",
        b"PREPARE `a ``b` FROM 'SELECT 1' ; SELECT 1",
        b"SELECT " + b"a," * 40_000 + b"b",  # longer than what is compared
    ],
    ids=range(7),
)
def test_what_is_not_understood_is_on_no_list(text: bytes) -> None:
    assert missing(listing("enforce"), text) == [NOT_UNDERSTOOD]
    learning = listing("learn")
    assert missing(learning, text) == []
    assert learning.take_learned() == []


@pytest.mark.parametrize("head", [b"PREPARE s FROM ", b"EXECUTE IMMEDIATE ", b"prepare `a b` from "])
def test_a_statement_in_a_literal_is_looked_at(head: bytes) -> None:
    learning = listing("learn")
    missing(learning, head + b"'DELETE FROM t WHERE a = \\'x\\''")
    learned = learning.take_learned()
    assert (b"DELETE FROM t WHERE a = ?", b"app") in learned
    allowed = listing("enforce", *learned)
    assert missing(allowed, head + b"'DELETE FROM t WHERE a = 9'") == []
    assert missing(allowed, head + b"'DELETE FROM t'") == [b"DELETE FROM t"]
    assert missing(allowed, head + b"\"EXECUTE IMMEDIATE 'DROP TABLE t'\"")[-1] == b"DROP TABLE t"


def test_a_list_that_is_full_learns_no_more() -> None:
    learning = listing("learn", most=2)
    for column in (b"a", b"b", b"c"):
        assert missing(learning, b"SELECT " + column) == []
    assert [shape for shape, _ in learning.take_learned()] == [b"SELECT a", b"SELECT b"]


def test_what_is_not_listed_is_counted_and_bounded() -> None:
    allowed = listing("detect")
    assert allowed.note(b"SELECT a", b"app")
    assert not allowed.note(b"SELECT a", b"app")
    assert [(row.shape, row.count, row.refused) for row in allowed.unlisted()] == [(b"SELECT a", 2, False)]
    for number in range(MOST_UNLISTED):
        allowed.note(b"SELECT c%d" % number, b"app")
    assert len(allowed.unlisted()) == MOST_UNLISTED
    assert b"SELECT a" not in {row.shape for row in allowed.unlisted()}


def test_what_gets_onto_the_list_is_no_longer_shown_as_missing() -> None:
    allowed = listing("enforce")
    for user in (b"app", b"eve"):
        allowed.note(b"SELECT a", user)
    allowed.add([(b"SELECT a", b"app")])
    assert [row.user for row in allowed.unlisted()] == [b"eve"]
    allowed.add([(b"SELECT a", ANYBODY)])
    assert allowed.unlisted() == []
    assert missing(allowed, b"SELECT a", b"anyone") == []


def test_another_configuration_goes_on_with_what_was_seen() -> None:
    learning = listing("learn")
    missing(learning, b"SELECT a")
    learning.note(b"SELECT b", b"app")
    learning.note(b"SELECT c", b"app")
    enforcing = listing("enforce", (b"SELECT c", b"app"))
    enforcing.take_over(learning)
    assert [row.shape for row in enforcing.unlisted()] == [b"SELECT b"]
    assert enforcing.take_learned() == [(b"SELECT a", b"app")]


@given(st.lists(st.sampled_from([b"SELECT 1", b"(", b")", b"'", b"`", b";", b"/*!", b"*/", b"-- ", b"BEGIN ", b" x"])))
def test_what_was_learned_is_allowed_whatever_it_is(parts: list[bytes]) -> None:
    text = b"".join(parts)
    learning = listing("learn", most=10_000)
    missing(learning, text)
    allowed = listing("enforce", *learning.take_learned())
    assert missing(allowed, text) in ([], [NOT_UNDERSTOOD])
