"""What must hold for any text at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.sql.classify import (
    HINT,
    LITERAL_ONLY,
    MULTI,
    READ,
    SESSION,
    TARGETS,
    UNKNOWN,
    WRITE,
    classify,
    describe,
    explain,
    target_of,
)

_PIECES = r"""
SELECT FROM WHERE t a.b f( ABS( ( ) , ; ' '' " ` @a @@x @ := = /* */ /*! /*!50000 /*!99999 /*M! -- # \ \' 1 1.5e 0x
0xF 'x' "y" `z` FOR UPDATE SHARE LOCK INTO SET GLOBAL SESSION autocommit names WITH AS INSERT VALUES SHOW EXPLAIN
ANALYZE TABLE BEGIN START TRANSACTION READ ONLY CREATE TEMPORARY DROP PREPARE STATEMENT . * -
"""
PIECES = st.sampled_from([*_PIECES.split(), "\0", "\n", "\xa0", "\x95"])
SQL_LIKE = st.lists(PIECES, max_size=25).map(lambda parts: " ".join(parts).encode("latin1"))
TEXTS = st.one_of(st.binary(max_size=120), SQL_LIKE)
MODES = st.integers(0, 7)
BLANKS = st.lists(st.sampled_from([" ", "\n", "\t", "/* x */", "/**/", "-- y\n", "# z\n", "--\n"]), max_size=6).map(
    lambda parts: "".join(parts).encode()
)


@settings(max_examples=600, deadline=None)
@given(TEXTS, MODES)
def test_any_bytes_have_exactly_one_target(text: bytes, mode: int) -> None:
    assert target_of(classify(text, 0, mode)).bit_count() == 1


@settings(max_examples=400, deadline=None)
@given(TEXTS, MODES)
def test_what_is_not_understood_goes_to_the_primary(text: bytes, mode: int) -> None:
    mask = classify(text, 0, mode)
    assert not mask & UNKNOWN or mask & WRITE
    assert not mask & LITERAL_ONLY or mask & SESSION
    assert not mask & MULTI or mask & (READ | WRITE)


@settings(max_examples=300, deadline=None)
@given(BLANKS, TEXTS, MODES)
def test_leading_comments_and_blanks_change_nothing(blanks: bytes, text: bytes, mode: int) -> None:
    assert classify(blanks + text, 0, mode) == classify(text, 0, mode)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=8), TEXTS)
def test_bytes_before_the_start_are_not_read(prefix: bytes, text: bytes) -> None:
    assert classify(prefix + text, len(prefix)) == classify(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS, MODES)
def test_explain_and_describe_have_words_for_everything(text: bytes, mode: int) -> None:
    assert describe(classify(text, 0, mode))
    assert all(sentence for sentence in explain(text, 0, mode))


@pytest.mark.parametrize(
    "sql", ["SELECT 1", "select a from t where b = 'x'", "SHOW TABLES", "SET @a = 1", "SHOW WARNINGS"]
)
@pytest.mark.parametrize("ending", [";", " ;", "; ", ";;", "\n", " -- x", " /* x */", "; # x"])
def test_endings_change_nothing(sql: str, ending: str) -> None:
    assert classify((sql + ending).encode()) == classify(sql.encode())


@pytest.mark.parametrize(
    "sql", ["SELECT a FROM t FOR UPDATE", "set AutoCommit = off", "show warnings", "select Get_Lock('a', 1)"]
)
def test_letter_case_changes_nothing(sql: str) -> None:
    assert classify(sql.upper().encode()) == classify(sql.lower().encode()) == classify(sql.encode())


def test_long_text_is_read_to_its_end() -> None:
    text = b"SELECT '" + b"x" * 200_000 + b"' FROM t"
    assert classify(text) == READ
    assert classify(text + b" FOR UPDATE") & WRITE


def test_deep_nesting_neither_recurses_nor_overflows() -> None:
    assert classify(b"SELECT " + b"(" * 100_000 + b"1" + b")" * 100_000) == READ


def test_targets_are_the_four_lowest_bits() -> None:
    assert TARGETS == 0b1111
    assert target_of(READ | HINT) == READ


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT 1", "any synced server"),
        ("SELECT * FROM t FOR UPDATE", "takes locks"),
        ("SELECT my_func(1)", "my_func()"),
        ("SELECT d.`f g`(1)", "f g()"),
        ("SHOW WARNINGS", "the server that answered"),
        ("SET NAMES utf8", "replayed"),
        ("nonsense", "not understood"),
        ("SELECT 1; DELETE FROM t", "several statements"),
        ("DELETE FROM t", "primary"),
    ],
)
def test_explain_says_why(sql: str, words: str) -> None:
    assert words in " | ".join(explain(sql.encode()))
