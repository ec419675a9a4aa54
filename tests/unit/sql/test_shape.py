"""The key of a statement's shape: as fine as the digest at least, blind to what literals hold."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlproxy.sql.bits import MODE_ANSI_QUOTES, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
from sqlproxy.sql.digest import digest, digest_hash
from sqlproxy.sql.shape import LIMIT, shape_key

SAME = [
    (b"SELECT 1", b"SELECT 234567"),
    (b"SELECT 'a'", b"SELECT 'it''s another \\' one'"),
    (b'SELECT "a"', b'SELECT "something -- else"'),
    (b"SELECT 0x1F, 1.5", b"SELECT 0xABCDEF, 22.75"),
    (b"SELECT /* trace 17 */ a", b"SELECT /* trace 18, longer */ a"),
    (b"SELECT a -- one\nFROM t", b"SELECT a -- two\nFROM t"),
    (b"SELECT a # one", b"SELECT a # another"),
    (b"SELECT a FROM t1 WHERE b1=5", b"SELECT a FROM t1 WHERE b1=66"),
]
DIFFERENT = [
    (b"SELECT a FROM t1", b"SELECT a FROM t2"),
    (b"SELECT a FROM 1t", b"SELECT a FROM 2t"),
    (b"SELECT @a1", b"SELECT @a2"),
    (b"SELECT @1", b"SELECT @2"),
    (b"SELECT @'x 1'", b"SELECT @'x 2'"),
    (b"SELECT `a 1`", b"SELECT `a 2`"),
    (b"SELECT 1", b"SELECT '1'"),
    (b"SELECT a", b"SELECT b"),
    (b"SELECT 1 - 1", b"SELECT 1 -1, 1"),
    (b"SELECT /*! a */ 1", b"SELECT /*! b */ 1"),
    (b"", b"SELECT"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_literals_and_comments_hold_does_not_count(one: bytes, other: bytes) -> None:
    assert shape_key(one, 0, 0) == shape_key(other, 0, 0)
    assert digest(one) == digest(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_everything_else_counts(one: bytes, other: bytes) -> None:
    assert shape_key(one, 0, 0) != shape_key(other, 0, 0)


def test_the_mode_decides_what_a_literal_is() -> None:
    quoted = (b'SELECT "a" FROM t', b'SELECT "b" FROM t')
    assert shape_key(quoted[0], 0, 0) == shape_key(quoted[1], 0, 0)
    assert shape_key(quoted[0], 0, MODE_ANSI_QUOTES) != shape_key(quoted[1], 0, MODE_ANSI_QUOTES)
    escaped = (b"SELECT '\\', a FROM t", b"SELECT '\\', b FROM t")
    assert shape_key(escaped[0], 0, 0) == shape_key(escaped[1], 0, 0)
    mode = MODE_NO_BACKSLASH_ESCAPES
    assert shape_key(escaped[0], 0, mode) != shape_key(escaped[1], 0, mode)
    assert shape_key(b"SELECT 'a'", 0, MODE_MULTIBYTE) == digest_hash(b"SELECT 'bc'", 0, MODE_MULTIBYTE)


def test_the_text_begins_where_it_is_said_to() -> None:
    assert shape_key(b"\x03SELECT 1", 1, 0) == shape_key(b"SELECT 1", 0, 0)


def test_only_the_beginning_of_a_long_text_is_looked_at() -> None:
    assert shape_key(b"a" * LIMIT + b"b", 0, 0) == shape_key(b"a" * LIMIT + b"cd", 0, 0)


PIECES = [
    b"select",
    b"a1",
    b"1",
    b"22",
    b"0x1f",
    b"'x'",
    b"'y''z'",
    b'"q"',
    b"`i`",
    b"@v",
    b"@@s.x",
    b"(",
    b")",
    b",",
    b"-",
]
PIECES += [
    b"=",
    b".",
    b"1.5",
    b".5",
    b"1e3",
    b"x'1f'",
    b"n'a'",
    b"_utf8'b'",
    b"?",
    b";",
    b"'\\''",
    b"/* c */",
    b"-- d\n",
]
texts = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([b"", b" ", b"\n"])), max_size=8).map(
    lambda parts: b"".join(piece + blank for piece, blank in parts)
)


@given(texts, texts, st.sampled_from([0, MODE_ANSI_QUOTES, MODE_NO_BACKSLASH_ESCAPES]))
@settings(max_examples=300, deadline=None)
@example(b"1.5", b".5", 0)
def test_equal_keys_mean_equal_digests(one: bytes, other: bytes, mode: int) -> None:
    if shape_key(one, 0, mode) == shape_key(other, 0, mode):
        assert digest_hash(one, 0, mode) == digest_hash(other, 0, mode)


LITERALS = st.sampled_from([b"1", b"987654", b"'a'", b"'b c'", b"'it''s'", b"12.5", b"0xAB"])


@given(texts, st.lists(st.tuples(LITERALS, LITERALS), min_size=1, max_size=4), texts)
@settings(max_examples=300, deadline=None)
def test_the_same_around_other_literals_is_the_same_or_finer(
    before: bytes, literals: list[tuple[bytes, bytes]], after: bytes
) -> None:
    one = b" , ".join([before, *(pair[0] for pair in literals), after])
    other = b" , ".join([before, *(pair[1] for pair in literals), after])
    if shape_key(one, 0, 0) == shape_key(other, 0, 0):
        assert digest_hash(one) == digest_hash(other)


@given(st.binary(max_size=60), st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_any_bytes_have_a_key(data: bytes, mode: int) -> None:
    assert 0 <= shape_key(data, 0, mode) < 1 << 64
