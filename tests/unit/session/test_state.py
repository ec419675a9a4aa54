"""What a session knows after each statement."""

from __future__ import annotations

import pytest

from sqlproxy.session.state import SessionState
from sqlproxy.sql.bits import (
    MODE_ANSI_QUOTES,
    MODE_DOUBLE,
    MODE_KANA,
    MODE_MULTIBYTE,
    MODE_NO_BACKSLASH_ESCAPES,
    READ,
    WRITE,
)
from sqlproxy.sql.classify import classify
from sqlproxy.wire.constants import (
    SERVER_STATUS_ANSI_QUOTES,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_IN_TRANS,
    SERVER_STATUS_IN_TRANS_READONLY,
    SERVER_STATUS_NO_BACKSLASH_ESCAPES,
)

ON = SERVER_STATUS_AUTOCOMMIT


def state(max_history: int = 50) -> SessionState:
    return SessionState(b"", max_history)


def after(known: SessionState, text: str, status: int = ON, server: str = "n1", failed: bool = False) -> SessionState:
    payload = b"\x03" + text.encode()
    known.completed(server, classify(payload, 1, known.mode), status, failed, payload)
    return known


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        ("CREATE TEMPORARY TABLE a (a INT)", "a temporary table on n1"),
        ("LOCK TABLES t WRITE", "LOCK TABLES on n1"),
        ("SELECT GET_LOCK('a', 1)", "GET_LOCK on n1"),
        ("XA START 'a'", "an XA transaction on n1"),
        ("HANDLER t OPEN", "an open HANDLER on n1"),
        ("SELECT @a := 1", "a user variable set by a query on n1"),
        ("SELECT 1 INTO @a", "a user variable set by a query on n1"),
        ("SET @a = NOW()", "a variable set from a value that only n1 knows"),
        ("SET rand_seed1 = 1", "a variable set from a value that only n1 knows"),
        ("SET timestamp = 1, insert_id = 5", "a variable set from a value that only n1 knows"),
        ("SET a = 1; INSERT INTO t VALUES (1)", "session state set among several statements on n1"),
        ("SET session_track_state_change = OFF", "session_track_state_change switched off on n1"),
        ("SET a = 1, @@session_track_state_change = '0'", "session_track_state_change switched off on n1"),
        ("SET GLOBAL a = 1, SESSION b = 2", "session state set along with other scopes on n1"),
        ("SET autocommit = 0, @@tx_isolation = 'SERIALIZABLE'", "session state set along with other scopes on n1"),
    ],
)
def test_what_only_one_server_has_pins_the_session(text: str, pin: str) -> None:
    known = after(state(), text)
    assert known.context.pinned == "n1"
    assert known.context.pin_reason == pin


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t VALUES (1)",
        "SET @a = 1",
        "SET session_track_state_change = ON",
        "SET @session_track_state_change = 0",
        "SET GLOBAL a = 1",
        "SET TRANSACTION READ ONLY",
        "SET insert_id = 5",
        "SET @insert_id = 5, @rand_seed1 = 1",
        "SELECT 1; SELECT 2",
        "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
        "USE a",
        "UNLOCK TABLES",
    ],
)
def test_what_all_servers_have_does_not(text: str) -> None:
    assert after(state(), text).context.pinned == ""


def test_a_failed_statement_changes_nothing_but_where_the_session_was_last() -> None:
    known = after(state(), "CREATE TEMPORARY TABLE a (a INT)", 0, failed=True)
    assert known.pins == {}
    assert known.context.autocommit
    assert known.context.last == "n1"
    after(known, "SET a = 1", 0, failed=True)
    assert len(known.history) == 0


def test_the_pin_stays_where_it_was_made() -> None:
    known = after(state(), "LOCK TABLES t WRITE")
    after(known, "SELECT 1", server="n2")
    assert known.context.pinned == "n1"


def test_unlocking_ends_only_the_pin_of_locked_tables() -> None:
    known = after(after(state(), "LOCK TABLES t WRITE"), "UNLOCK TABLES")
    assert known.context.pinned == ""
    after(after(known, "SELECT GET_LOCK('a', 1)"), "UNLOCK TABLES")
    assert known.context.pinned == "n1"


def test_too_long_a_history_pins() -> None:
    known = state(2)
    for number in range(3):
        assert known.context.pinned == ""
        after(known, f"SET @a{number} = 1")
    assert known.context.pin_reason == "more than 2 session statements, all on n1"


def test_the_servers_flags_say_where_a_transaction_is_open() -> None:
    known = after(state(), "BEGIN", ON | SERVER_STATUS_IN_TRANS)
    assert known.context.transaction == "n1"
    assert known.in_transaction
    after(known, "COMMIT", ON)
    assert not known.in_transaction
    after(known, "SET autocommit = 0", 0, "n2")
    assert not known.context.autocommit
    assert not known.in_transaction
    after(known, "SELECT a FROM t", SERVER_STATUS_IN_TRANS)
    assert known.context.transaction == "n1"


def test_a_lost_transaction_is_no_longer_open() -> None:
    known = after(state(), "BEGIN", ON | SERVER_STATUS_IN_TRANS)
    known.lose_transaction()
    assert known.context.transaction == ""
    known.resume_transaction("n2", ON | SERVER_STATUS_IN_TRANS)
    assert known.context.transaction == "n2"
    assert not known.in_read_only_transaction
    known.resume_transaction("n2", ON | SERVER_STATUS_IN_TRANS | SERVER_STATUS_IN_TRANS_READONLY)
    assert known.in_read_only_transaction


def test_writes_are_counted_with_their_server() -> None:
    known = after(state(), "SELECT 1", server="n2")
    assert (known.written, known.written_on) == (0, "")
    after(known, "INSERT INTO t VALUES (1)", failed=True)
    assert (known.written, known.written_on) == (1, "n1")


def test_a_set_transaction_waits_for_the_next_statement() -> None:
    known = after(state(), "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    assert known.context.next_transaction
    assert known.next_transaction == b"\x03SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"
    after(known, "SET NAMES utf8")
    assert known.context.next_transaction
    after(known, "BEGIN", ON | SERVER_STATUS_IN_TRANS)
    assert not known.context.next_transaction


def test_the_database_follows_use_and_init_db() -> None:
    known = after(state(), "USE `my shop`")
    assert known.database == b"my shop"
    known.completed("n1", classify(b"USE x"), ON, False, b"\x02other")
    assert known.database == b"other"


@pytest.mark.parametrize(
    ("text", "status", "mode"),
    [
        ("SET sql_mode = 'ANSI_QUOTES'", ON, MODE_ANSI_QUOTES),
        ("SELECT 1", ON | SERVER_STATUS_ANSI_QUOTES, MODE_ANSI_QUOTES),
        ("SELECT 1", ON | SERVER_STATUS_NO_BACKSLASH_ESCAPES, MODE_NO_BACKSLASH_ESCAPES),
        ("SET NAMES gbk", ON, MODE_MULTIBYTE | MODE_DOUBLE),
        ("SET character_set_client = sjis", ON, MODE_MULTIBYTE | MODE_KANA),
        ("SET NAMES sjis, character_set_client = gbk", ON, MODE_MULTIBYTE),
        ("SET NAMES utf8mb4", ON, 0),
    ],
)
def test_how_text_is_read_follows_settings_and_flags(text: str, status: int, mode: int) -> None:
    assert after(state(), text, status).mode == mode


def test_how_text_is_read_changes_back() -> None:
    known = after(after(state(), "SET NAMES gbk"), "SET sql_mode = 'ANSI'")
    assert known.mode == MODE_MULTIBYTE | MODE_DOUBLE | MODE_ANSI_QUOTES
    after(after(known, "SET NAMES utf8"), "SET sql_mode = ''")
    assert known.mode == 0
    assert SessionState(b"", 50, charset=MODE_MULTIBYTE).mode == MODE_MULTIBYTE


def test_text_statements_are_known_by_what_they_run() -> None:
    known = after(after(state(), "PREPARE Reader FROM 'SELECT 1'"), "PREPARE w FROM 'DELETE FROM t'")
    after(known, "PREPARE s FROM @text")
    assert known.text_statement(b"\x03EXECUTE `READER`") == classify(b"SELECT 1")
    assert (known.text_statement(b"\x03EXECUTE w") or 0) & WRITE
    assert (known.text_statement(b"\x03EXECUTE s") or 0) & WRITE
    assert known.text_statement(b"\x03EXECUTE other") is None
    after(known, "DEALLOCATE PREPARE reader")
    assert known.text_statement(b"\x03EXECUTE reader") is None


def test_an_executed_session_statement_is_replayed_after_its_preparation() -> None:
    known = after(state(), "PREPARE s FROM 'SET a = 1'")
    mask = (known.text_statement(b"\x03EXECUTE s") or 0) | classify(b"EXECUTE s") & ~WRITE
    known.completed("n1", mask, ON, False, b"\x03EXECUTE s")
    after(known, "DEALLOCATE PREPARE s")
    assert [entry.payload[1:] for entry in known.history.entries] == [
        b"PREPARE s FROM 'SET a = 1'",
        b"EXECUTE s",
        b"DEALLOCATE PREPARE s",
    ]


def test_a_reset_forgets_everything_but_the_database() -> None:
    known = after(after(state(), "USE a"), "SET sql_mode = 'ANSI'")
    after(known, "CREATE TEMPORARY TABLE a (a INT)", ON | SERVER_STATUS_IN_TRANS)
    position = known.history.position
    known.reset()
    assert known.database == b"a"
    assert (known.pins, len(known.history), known.mode, known.in_transaction) == ({}, 0, 0, False)
    assert known.history.position == position
    assert known.context.last == "n1"


def test_the_data_path_asks_only_when_there_is_something_to_learn() -> None:
    known = after(state(), "SELECT 1")
    assert not known.needs(READ, ON, "n1")
    assert known.needs(READ, ON, "n2")
    assert known.needs(READ, ON | SERVER_STATUS_IN_TRANS, "n1")
    assert known.needs(WRITE, ON, "n1")
    after(known, "SET TRANSACTION READ ONLY")
    assert known.needs(READ, ON, "n1")


def test_the_id_for_the_next_insert_is_told_to_no_other_server() -> None:
    known = after(state(), "SET insert_id = 5")
    assert len(known.history) == 0


def test_what_a_lost_connection_has_left_behind_is_forgotten_unless_the_session_is_bound_to_it() -> None:
    known = state()
    known.begin(SERVER_STATUS_AUTOCOMMIT, "n1")
    known.forget_answers("n2")
    assert (known.last, known.found) == ("n1", "n1")
    known.forget_answers("n1")
    assert (known.last, known.found) == ("", "")
    bound = after(state(), "LOCK TABLES t WRITE")
    bound.forget_answers("n1")
    assert bound.last == "n1"


def test_an_insert_id_is_on_one_connection() -> None:
    known = state()
    assert known.has_insert_id("n1", 7)
    known.hold_insert_id("n1", 7, 42)
    assert known.has_insert_id("n1", 7)
    assert not known.has_insert_id("n1", 8)
    assert not known.has_insert_id("n2", 7)
    known.reset()
    assert known.has_insert_id("n2", 7)
    assert known.insert_id == 0


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["SELECT v INTO @A FROM t"], {"a"}),
        (["SELECT @n := @n + 1", "SET @t = NOW()"], {"n", "t"}),
        (["SELECT 1 INTO @`a b`"], None),
        (["SET @a = f(2)"], None),
        (["SELECT f(2) INTO @a"], None),
        (["UPDATE t SET v = (@a := 5)"], None),
        (["SELECT 1 INTO @a", "SET @b = NOW(), time_zone = @@hostname"], None),
        (["SELECT 1 INTO @a", "LOCK TABLES t WRITE"], None),
        (["SET @a = 1; SELECT 1"], None),
        (["SET @a = 1"], None),
    ],
)
def test_which_variables_pin_a_session_and_nothing_else(texts: list[str], names: set[str] | None) -> None:
    known = state()
    for text in texts:
        after(known, text)
    assert known.is_pinned_by_variables == (names is not None)
    if names is not None:
        assert known.named == names
        known.unpin_variables()
        assert not known.pins
        assert not known.is_pinned_by_variables


def test_a_prepare_that_fails_takes_the_statement_of_that_name_with_it() -> None:
    known = after(state(), "PREPARE `P` FROM 'SELECT 1'")
    after(known, "PREPARE q FROM 'SELECT'", failed=True)
    assert [entry.payload for entry in known.history.entries] == [b"\x03PREPARE `P` FROM 'SELECT 1'"]
    after(known, "PREPARE p FROM @a", failed=True)
    assert [entry.payload for entry in known.history.entries] == [b"\x03DEALLOCATE PREPARE `p`"]
    assert not known.text_statements
