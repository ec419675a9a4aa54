"""Names and values out of statements."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.sql.bits import MODE_ANSI_QUOTES, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
from sqlproxy.sql.extract import (
    kill_target,
    prepare_body,
    prepare_name,
    set_assignments,
    transaction_options,
    unquote,
    use_database,
    user_variables_named,
    user_variables_set,
)


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        (b"USE shop", b"shop"),
        (b"use `my ``shop`;", b"my `shop"),
        (b"/* x */ USE /*!50000 shop */", b"shop"),
        (b"; USE shop; SELECT 1", b"shop"),
        (b"USE", None),
        (b"USE 'shop'", None),
        (b"USE a b", None),
        (b"USE `a", None),
        (b"SELECT 1", None),
        (b"", None),
    ],
)
def test_use_names_a_database(sql: bytes, name: bytes | None) -> None:
    assert use_database(sql) == name


def test_use_takes_double_quotes_under_ansi_quotes() -> None:
    assert use_database(b'USE "a""b"', 0, MODE_ANSI_QUOTES) == b'a"b'


def test_use_reads_a_packet_from_its_offset() -> None:
    assert use_database(b"\x09\x00\x00\x00\x03USE shop", 5) == b"shop"


@pytest.mark.parametrize(
    ("sql", "target"),
    [
        (b"KILL 5", (5, False)),
        (b"kill connection 5;", (5, False)),
        (b"KILL QUERY 18446744073709551615", (18446744073709551615, True)),
        (b"KILL HARD QUERY 7", (7, True)),
        (b"KILL SOFT CONNECTION 7", (7, False)),
        (b"KILL QUERY ID 7", None),
        (b"KILL USER a", None),
        (b"KILL 5 + 1", None),
        (b"KILL CONNECTION_ID()", None),
        (b"KILL 0x5", None),
        (b"KILL", None),
        (b"SELECT 5", None),
    ],
)
def test_kill_aims_at_a_number(sql: bytes, target: tuple[int, bool] | None) -> None:
    assert kill_target(sql) == target


@pytest.mark.parametrize(
    ("sql", "name", "body"),
    [
        (b"PREPARE S FROM 'SELECT ?'", b"s", b"SELECT ?"),
        (b"prepare `My Stmt` from \"SELECT 'it''s'\"", b"my stmt", b"SELECT 'it''s'"),
        (rb"PREPARE s FROM 'SELECT \'a\'\n'", b"s", b"SELECT 'a'\n"),
        (b"PREPARE s FROM 'SELECT ' '1'", b"s", b"SELECT 1"),
        (b"PREPARE s FROM @q", b"s", None),
        (b"PREPARE s FROM CONCAT('a')", b"s", None),
        (b"EXECUTE s USING @a", b"s", None),
        (b"EXECUTE IMMEDIATE 'SELECT 1'", None, b"SELECT 1"),
        (b"EXECUTE IMMEDIATE 'SELECT ?' USING 1", None, b"SELECT ?"),
        (b"DEALLOCATE PREPARE s", b"s", None),
        (b"DROP PREPARE s", b"s", None),
        (b"DROP TABLE s", None, None),
        (b"SELECT 1", None, None),
    ],
)
def test_prepared_statement_text(sql: bytes, name: bytes | None, body: bytes | None) -> None:
    assert (prepare_name(sql), prepare_body(sql)) == (name, body)


@pytest.mark.parametrize(
    ("text", "mode", "content"),
    [
        (rb"'a\0\n\r\t\b\Z\\\'\x\%\_'", 0, b"a\x00\n\r\t\b\x1a\\'x\\%\\_"),
        (b"'it''s'", 0, b"it's"),
        (rb"'a\n'", MODE_NO_BACKSLASH_ESCAPES, rb"a\n"),
        (rb"`a\n`", 0, rb"a\n"),
        (b"'\x95\\'", MODE_MULTIBYTE, b"\x95\\"),
        (b"''", 0, b""),
    ],
)
def test_quoted_text_is_resolved(text: bytes, mode: int, content: bytes) -> None:
    assert unquote(text, mode) == content


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        (b"SET NAMES utf8mb4", [("session", "names", b"utf8mb4")]),
        (b"SET NAMES 'utf8' COLLATE utf8_bin", [("session", "names", b"'utf8' COLLATE utf8_bin")]),
        (b"SET CHARACTER SET latin1", [("session", "charset", b"latin1")]),
        (b"SET CHARSET latin1;", [("session", "charset", b"latin1")]),
        (
            b"SET @A = 1, Autocommit := 0 , SESSION sql_mode = CONCAT(@@sql_mode, ',X')",
            [
                ("user", "a", b"1"),
                ("session", "autocommit", b"0"),
                ("session", "sql_mode", b"CONCAT(@@sql_mode, ',X')"),
            ],
        ),
        (b"SET @`x y` = 'z'", [("user", "x y", b"'z'")]),
        (b"SET GLOBAL a = 1, b = 2, @@c = 3", [("global", "a", b"1"), ("global", "b", b"2"), ("session", "c", b"3")]),
        (b"SET @@session.a = 1, @@GLOBAL.b = 2", [("session", "a", b"1"), ("global", "b", b"2")]),
        (b"SET PERSIST a = 1", [("persist", "a", b"1")]),
        (b"SET hot.key_buffer_size = 1", [("global", "hot.key_buffer_size", b"1")]),
        (b"SET @@hot.key_buffer_size = 1", [("global", "hot.key_buffer_size", b"1")]),
        (b"SET `sql_mode` = ''", [("session", "sql_mode", b"''")]),
        (b"SET @@tx_isolation = 'SERIALIZABLE'", [("next", "tx_isolation", b"'SERIALIZABLE'")]),
        (b"SET TRANSACTION READ ONLY", [("next", "transaction", b"READ ONLY")]),
        (b"SET SESSION TRANSACTION READ ONLY, ISOLATION LEVEL READ COMMITTED", None),
        (b"SET ROLE a, b", [("session", "role", b"a, b")]),
        (b"/*!40101 SET NAMES utf8 */;", [("session", "names", b"utf8")]),
        (b"SET x", []),
        (b"SET x =", []),
        (b"SET x = 1,", []),
        (b"SET = 1", []),
        (b"SET x = 'a", []),
        (b"SET PASSWORD = 'x'", []),
        (b"SET STATEMENT a = 1 FOR SELECT 1", []),
        (b"SELECT 1", []),
    ],
)
def test_set_assigns(sql: bytes, found: list[tuple[str, str, bytes]] | None) -> None:
    if found is None:
        found = [("session", "transaction", b"READ ONLY, ISOLATION LEVEL READ COMMITTED")]
    assert set_assignments(sql) == found


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        (b"SET @n = FOUND_ROWS()", ["n"]),
        (b"SET @A = 1, @b_$.2 := 2", ["a", "b_$.2"]),
        (b"SET @`a b` = 1", []),
        (b"SET @a = 1, sql_mode = ''", []),
        (b"GET DIAGNOSTICS @n = NUMBER, @R_c = ROW_COUNT", ["n", "r_c"]),
        (b"GET CURRENT DIAGNOSTICS CONDITION @i @t = MESSAGE_TEXT", ["t"]),
        (b"GET DIAGNOSTICS @'a b' = NUMBER", []),
        (b"GET DIAGNOSTICS", []),
        (b"SELECT @a", []),
    ],
)
def test_user_variables_are_set_by_name(sql: bytes, names: list[str]) -> None:
    assert user_variables_set(sql) == names


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        (b"SELECT v, s INTO @A, @b.c$1 FROM t WHERE x = @d", {"a", "b.c$1", "d"}),
        (b"SELECT '@a', @@b, `@c` FROM t", set()),
        (b"SELECT @'a', @`b c`", {""}),
        (b"SELECT @a := 1, @'b'", {"a", ""}),
        (b"SELECT 'open", {""}),
        (b"", {""}),
    ],
)
def test_user_variables_named(sql: bytes, names: set[str]) -> None:
    assert user_variables_named(sql) == names


def test_transaction_options_are_read_from_every_form() -> None:
    started = transaction_options(b"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    assert started is not None
    assert (started.scope, started.read_only, started.isolation, started.consistent_snapshot) == ("", True, None, True)
    following = transaction_options(b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
    assert following is not None
    assert (following.scope, following.read_only, following.isolation) == ("", False, "READ COMMITTED")
    session = transaction_options(b"set local transaction isolation level serializable;")
    assert session is not None
    assert (session.scope, session.read_only, session.isolation) == ("session", None, "SERIALIZABLE")
    begun = transaction_options(b"BEGIN")
    assert begun is not None
    assert (begun.read_only, begun.isolation) == (None, None)


@pytest.mark.parametrize("sql", [b"START SLAVE", b"SELECT 1", b"SET x = 1", b"", b"BEGI"])
def test_other_statements_have_no_transaction_options(sql: bytes) -> None:
    assert transaction_options(sql) is None


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"", b"SET ", b"GET DIAGNOSTICS ", b"USE ", b"KILL ", b"PREPARE s FROM ", b"START TRANSACTION "]),
    st.binary(max_size=60),
    st.integers(0, 7),
)
def test_any_bytes_are_accepted(prefix: bytes, rest: bytes, mode: int) -> None:
    text = prefix + rest
    extracts = (use_database, kill_target, prepare_name, prepare_body, set_assignments, transaction_options)
    for extract in (*extracts, user_variables_set, user_variables_named):
        extract(text, 0, mode)  # type: ignore[operator]
