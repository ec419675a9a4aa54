"""What is remembered of a shape holds for every text of that shape."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.sql.bits import (
    AUTOCOMMIT_OFF,
    AUTOCOMMIT_ON,
    AUTOCOMMIT_UNKNOWN,
    MODE_ANSI_QUOTES,
    MODE_MULTIBYTE,
    MODE_NO_BACKSLASH_ESCAPES,
)
from sqlproxy.sql.classify import classify
from sqlproxy.sql.familiar import classify_shape
from sqlproxy.sql.shape import EXACT, LIMIT, shape_key

MODES = (0, MODE_ANSI_QUOTES, MODE_NO_BACKSLASH_ESCAPES, MODE_ANSI_QUOTES | MODE_NO_BACKSLASH_ESCAPES, MODE_MULTIBYTE)
VALUES = AUTOCOMMIT_ON | AUTOCOMMIT_OFF | AUTOCOMMIT_UNKNOWN


def familiar(text: bytes, mode: int = 0) -> int:
    return classify_shape(text, 0, mode, shape_key(text, 0, mode))


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 'it''s', a FROM t WHERE b = 17",
        b"INSERT INTO t VALUES (1, 'x'), (2, \"y\")",
        b"SET @a = 1, NAMES 'utf8mb4'",
        b"SELECT @a, @'b c', @`d`, @@global.x",
        b"SELECT 1.5, .5, 1e5, 0x1F, 1.5e-7, t.1, 12ab FROM `t`",
        b"SELECT a - 1 FROM t",
    ],
)
def test_a_text_of_names_and_literals_has_an_exact_key(text: bytes) -> None:
    assert shape_key(text, 0, 0) & EXACT


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT /* of any kind */ 1",
        b"SELECT 1 -- to the end",
        b"SELECT 1 # to the end",
        b"SELECT /*!50700 a */ 1",
        b"SELECT 'which never ends",
        b"SELECT `which never ends",
        b"SELECT @'which never ends",
        b"SELECT \x01",
        b"SELECT " + b"1 + " * LIMIT,
    ],
)
def test_a_text_that_must_be_read_again_has_none(text: bytes) -> None:
    assert not shape_key(text, 0, 0) & EXACT
    assert not shape_key(b"SELECT 1", 0, MODE_MULTIBYTE) & EXACT


def test_what_a_hint_says_is_never_remembered() -> None:
    plain, hinted = b"SELECT 1 -- a comment", b"SELECT 1 -- maxscale route to master"
    assert familiar(plain) == classify(plain) != classify(hinted)
    assert familiar(hinted) == classify(hinted)


@pytest.mark.parametrize("values", [(b"0", b"1"), (b"'on'", b"'off'"), (b"1", b"2")])
def test_the_value_of_autocommit_is_never_remembered(values: tuple[bytes, bytes]) -> None:
    for value in values + values:
        text = b"SET autocommit = " + value
        assert familiar(text) == classify(text)


def test_the_same_text_is_another_statement_in_another_mode() -> None:
    text = b"SELECT \"a\\\", 'b', sleep_long(\", 1) -- '"
    for mode in MODES + MODES:
        assert familiar(text, mode) == classify(text, 0, mode)


PIECES = [
    *b"SELECT|INSERT INTO t VALUES|UPDATE t|DELETE FROM t|WITH c AS|FOR UPDATE|SET autocommit =|SET NAMES".split(b"|"),
    *b"f|now|last_insert_id|get_lock|a|b1|1|22|0x1f|1.5|.5|1e5|1e|1.2.3|0x|0b1|'|''|\"|`|\\|(|)|,|;|.|=|-|--|#|/*|*/|!".split(b"|"),
    *b"'x'|'y''z'|'\\''|\"q\"|`i`|@'u'|@`w`|:=|$|\x01|\x02|\x00|\xa0|\xe4|\n|\t| |  ".split(b"|"),
    *b"@v|@@x|@|in|as|into|table|50700|M|+|e".split(b"|"),
]  # fmt: skip
LITERALS = b"1|22|1.5|3.|0xAB|1e+7|'a'|'b''c'|'\\''|'--'|'/*'|\"x\"|\"\\\"\"|''|'`'".split(b"|")
texts = st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join)


def differs(texts: list[bytes], mode: int) -> tuple[bytes, bytes] | None:
    """Two of the texts that share an exact key and are not classified alike, or not both by a value."""
    seen: dict[int, tuple[bytes, int]] = {}
    for text in texts:
        key = shape_key(text, 0, mode)
        if key & EXACT:
            mask = classify(text, 0, mode)
            if mask & VALUES:
                mask = VALUES
            other = seen.setdefault(key, (text, mask))
            if other[1] != mask:
                return text, other[0]
    return None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"SELECT a .507 f(", b"SELECT a .0x1f f("),
        (b"SELECT 1e+22 f", b"SELECT 1e+0xAB f"),
        (b"SELECT 1.2.3", b"SELECT 1.2"),
        (b"SELECT @v@'a'", b"SELECT @v@'b'"),
        (b'SELECT "q"1e+77', b'SELECT "q"1e+0x1f'),
        (b"SELECT `a\\`, f('`", b"SELECT `a\\`, g('`"),
    ],
)
def test_what_only_looks_like_a_literal_counts(one: bytes, other: bytes) -> None:
    for mode in MODES[:-1]:
        assert shape_key(one, 0, mode) != shape_key(other, 0, mode)


@given(
    texts,
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(PIECES)), min_size=1, max_size=20),
    st.sampled_from(MODES),
)
@settings(max_examples=300, deadline=None)
def test_texts_of_one_exact_key_are_classified_alike(text: bytes, changes: list[tuple[int, bytes]], mode: int) -> None:
    changed = [text[:at] + piece + text[at + 1 :] for at, piece in changes]
    assert differs([text, *changed], mode) is None


@given(st.integers(0, 1 << 32), st.sampled_from(MODES))
@settings(max_examples=30, deadline=None)
def test_literals_may_hold_anything(seed: int, mode: int) -> None:
    """Every text with other literals in the same places, and with what looks like one."""
    rng = random.Random(seed)
    frame = [rng.choice(PIECES) for _ in range(6)]
    made = [b"".join(piece if rng.random() < 0.7 else rng.choice(LITERALS) for piece in frame) for _ in range(60)]
    assert differs(made, mode) is None


@given(texts, st.sampled_from(MODES))
@settings(max_examples=300, deadline=None)
def test_it_says_what_the_classifier_says(text: bytes, mode: int) -> None:
    assert familiar(text, mode) == classify(text, 0, mode)
    assert familiar(text, mode) == classify(text, 0, mode)
