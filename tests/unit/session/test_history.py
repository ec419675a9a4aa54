"""What is kept for replay, what makes earlier statements redundant, and what has the same effect everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.session.history import History, is_replayable, key_of
from sqlproxy.sql.bits import DEALLOCATE_TEXT, LITERAL_ONLY, USE_DB
from sqlproxy.sql.classify import classify


def texts_after(*texts: str) -> list[str]:
    """What is left of these session statements."""
    history = History()
    for text in texts:
        payload = b"\x03" + text.encode()
        mask = classify(payload, 1)
        history.append(key_of(mask, payload, 0), payload, bool(mask & (LITERAL_ONLY | USE_DB | DEALLOCATE_TEXT)))
    return [entry.payload[1:].decode() for entry in history.entries]


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (["SET a=1", "SET a=2"], ["SET a=2"]),
        (["SET a=1", "set session A = 2"], ["set session A = 2"]),
        (["SET a=1", "SET @a=2"], ["SET a=1", "SET @a=2"]),
        (["SET a=1", "SET b=2", "SET a=3"], ["SET b=2", "SET a=3"]),
        (["SET a=1, b=2", "SET b=3, a=4"], ["SET b=3, a=4"]),
        (["SET a=1, b=2", "SET a=4"], ["SET a=1, b=2", "SET a=4"]),
        (["SET a=1", "SET @x=@@a", "SET a=2"], ["SET a=1", "SET @x=@@a", "SET a=2"]),
        (["USE a", "USE b"], ["USE b"]),
        (["USE a", "PREPARE s FROM 'SELECT 1'", "USE b"], ["USE a", "PREPARE s FROM 'SELECT 1'", "USE b"]),
        (["PREPARE s FROM 'SELECT 1'", "PREPARE S FROM 'SELECT 2'"], ["PREPARE S FROM 'SELECT 2'"]),
        (["PREPARE s FROM 'SELECT 1'", "DEALLOCATE PREPARE s"], ["DEALLOCATE PREPARE s"]),
        (["SET NAMES utf8", "SET a=1", "SET NAMES latin1"], ["SET a=1", "SET NAMES latin1"]),
        (["SET NAMES gbk", "SET @a='x'", "SET NAMES utf8"], ["SET NAMES gbk", "SET @a='x'", "SET NAMES utf8"]),
        (["SET sql_mode=''", "SET @a=5", "SET sql_mode='ANSI'"], ["SET @a=5", "SET sql_mode='ANSI'"]),
        (
            ["SET sql_mode='NO_BACKSLASH_ESCAPES'", r"SET a='\n'", "SET sql_mode=''"],
            ["SET sql_mode='NO_BACKSLASH_ESCAPES'", r"SET a='\n'", "SET sql_mode=''"],
        ),
        (
            ["SET sql_mode='ANSI'", 'SET a="x"', "SET sql_mode=''"],
            ["SET sql_mode='ANSI'", 'SET a="x"', "SET sql_mode=''"],
        ),
    ],
)
def test_only_what_still_matters_is_kept(texts: list[str], left: list[str]) -> None:
    assert texts_after(*texts) == left


def test_setting_options_over_and_over_keeps_one_entry() -> None:
    history = History()
    for option in (0, 1, 0, 1):
        payload = bytes((0x1B, option, 0))
        history.append(key_of(LITERAL_ONLY, payload, 0), payload, True)
    assert [entry.payload for entry in history.entries] == [b"\x1b\x01\x00"]


def test_positions_grow_even_over_a_clear() -> None:
    history = History()
    history.append((), b"\x03SET a=1", True)
    history.clear()
    history.append((), b"\x03SET a=1", True)
    assert history.position == 2
    assert [entry.number for entry in history.since(1)] == [2]
    assert history.since(2) == []


assignments = st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from(["literal", "copy"]))


@given(st.lists(assignments, max_size=12))
def test_replaying_what_is_left_gives_the_same_settings(steps: list[tuple[str, int, str]]) -> None:
    texts = [f"SET @{name}={value}" if kind == "literal" else f"SET @{name}=@c" for name, value, kind in steps]

    def run(statements: list[str]) -> dict[str, str]:
        values: dict[str, str] = {}
        for text in statements:
            name, value = text[5], text[7:]
            values[name] = values.get("c", "NULL") if value == "@c" else value
        return values

    assert run(texts_after(*texts)) == run(texts)


@pytest.mark.parametrize(
    "text",
    [
        "SET sql_mode=CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
        "SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO'",
        "SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT",
        "SET sql_mode=REPLACE(@@session.sql_mode,'ANSI','')",
        "SET character_set_client = utf8mb4, time_zone = @old",
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
        "SET @a = IF(@b=1, 1, 2)",
        "SET @a = _utf8mb4'x' COLLATE utf8mb4_bin",
        "USE a",
        "PREPARE s FROM 'SELECT NOW()'",
    ],
)
def test_the_same_everywhere(text: str) -> None:
    payload = b"\x03" + text.encode()
    assert is_replayable(classify(payload, 1), payload, 0)


@pytest.mark.parametrize(
    "text",
    [
        "SET @a = NOW()",
        "SET @a = UUID/**/()",
        "SET @a = CURRENT_TIMESTAMP",
        "SET @a = CURRENT_USER",
        "SET @a = @@hostname",
        "SET @a = @@server_id + 1",
        "SET @a = (SELECT MAX(a) FROM t)",
        "SET @a = f(1)",
        "SET @a = `f`(1)",
        "SET @a = CONCAT(RAND(), 'x')",
        "SET sql_mode = CONCAT(@@hostname, '')",
        "SET rand_seed1 = 1, rand_seed2 = 2",
        "SET insert_id = 5",
        "SET timestamp = 1, @@insert_id = 5",
    ],
)
def test_not_the_same_everywhere(text: str) -> None:
    payload = b"\x03" + text.encode()
    assert not is_replayable(classify(payload, 1), payload, 0)


def test_a_set_that_is_not_understood_is_not_the_same_everywhere() -> None:
    assert not is_replayable(0, b"\x03EXECUTE s USING @a", 0)
