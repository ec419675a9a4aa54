"""Record what real servers answer, byte for byte, as ``tests/data/replies/NAME.json``.

    python tests/support/record_replies.py NAME HOST:PORT USER      (an account with all privileges, no password)

The end of a reply is not parsed here: it is where the server falls silent. Rows and error codes are what the
statements below must give by their meaning; status flags come from the last packet. So the recordings judge the
code that follows replies without sharing its reasoning. Creates and drops the database ``replies``; the server
needs ``local_infile=1`` and ``max_allowed_packet=64M``.
"""

import json
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlproxy.wire import constants as c
from sqlproxy.wire.codec import packet

DATA = Path(__file__).parent.parent / "data" / "replies"
QUIET = 0.15  # seconds without a byte after which a reply has ended
LONG_RUN = re.compile(rb"(.)\1{63,}", re.DOTALL)  # runs of one byte that are stored as a count
MAX = c.MAX_PAYLOAD

CAPABILITIES = (
    c.CLIENT_PROTOCOL_41
    | c.CLIENT_LONG_FLAG
    | c.CLIENT_TRANSACTIONS
    | c.CLIENT_SECURE_CONNECTION
    | c.CLIENT_PLUGIN_AUTH
    | c.CLIENT_LOCAL_FILES
    | c.CLIENT_MULTI_STATEMENTS
    | c.CLIENT_MULTI_RESULTS
    | c.CLIENT_PS_MULTI_RESULTS
    | c.CLIENT_SESSION_TRACK
)

SETUP = [
    "DROP DATABASE IF EXISTS replies",
    "CREATE DATABASE replies",
    "USE replies",
    "CREATE TABLE t (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, v VARCHAR(200) NULL)",
    "INSERT INTO t VALUES (1, 'one'), (2, NULL), (3, '')",
    "CREATE TABLE big (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, v INT) AUTO_INCREMENT=18446744073709551000",
    "CREATE TABLE many (id INT PRIMARY KEY)",
    "INSERT INTO many SELECT a.id*36 + b.id*6 + d.id FROM (SELECT 0 id UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 "
    "UNION SELECT 4 UNION SELECT 5) a, (SELECT 0 id UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 "
    "UNION SELECT 5) b, (SELECT 0 id UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5) d",
    "CREATE PROCEDURE two() BEGIN SELECT 1; SELECT id FROM t; END",
    "CREATE PROCEDURE half() BEGIN SELECT 1; SELECT * FROM missing; END",
    "CREATE PROCEDURE cursors() BEGIN DECLARE i INT; DECLARE k CURSOR FOR SELECT id FROM t; OPEN k; FETCH k INTO i; "
    "SELECT i; CLOSE k; SELECT id FROM t; END",
    "CREATE PROCEDURE left_open() BEGIN DECLARE i INT; DECLARE k CURSOR FOR SELECT id FROM t; OPEN k; FETCH k INTO i; "
    "END",
    "CREATE FUNCTION cursor_inside() RETURNS INT BEGIN DECLARE i INT; DECLARE k CURSOR FOR SELECT id FROM t; OPEN k; "
    "FETCH k INTO i; RETURN i; END",
    "CREATE PROCEDURE outs(OUT a INT) BEGIN SET a = 7; SELECT 1; END",
]

COLUMNS_300 = ", ".join(f"{n} AS c{n}" for n in range(300))


@dataclass(frozen=True)
class Case:
    """One command and what it must give; ``kind`` names the constant of ``sqlproxy.wire.response``."""

    name: str
    command: bytes
    kind: str = "QUERY"
    rows: int = 0
    error: int | None = 0  # None: servers differ, the recording decides
    columns: int = 0
    parameters: int = 0
    upload: bytes | None = None


def sql(name: str, text: str, rows: int = 0, error: int = 0, upload: bytes | None = None) -> Case:
    return Case(name, bytes((c.COM_QUERY,)) + text.encode(), rows=rows, error=error, upload=upload)


CASES = [
    sql("no rows", "SELECT * FROM t WHERE id < 0"),
    sql("one row", "SELECT 1", 1),
    sql("many rows", "SELECT id FROM many", 216),
    sql("one row, 300 columns", f"SELECT {COLUMNS_300}", 1),
    sql("null first", "SELECT NULL, 1", 1),
    sql("only nulls", "SELECT NULL FROM t", 3),
    sql("empty strings", "SELECT '' FROM t", 3),
    sql("value of 251 bytes", "SELECT REPEAT('a', 251)", 1),
    sql("value of 65536 bytes", "SELECT REPEAT('b', 65536)", 1),
    sql("row one byte short of a packet", f"SELECT REPEAT('c', {MAX - 5})", 1),
    sql("row of exactly one packet", f"SELECT REPEAT('d', {MAX - 4})", 1),
    sql("row one byte over a packet", f"SELECT REPEAT('e', {MAX - 3})", 1),
    sql("row starting with 0xFE", f"SELECT REPEAT('f', {MAX + 1})", 1),
    sql("row of exactly two packets", f"SELECT REPEAT('g', {2 * MAX - 9})", 1),
    sql("rows over 16 MiB, then small ones", f"SELECT IF(id = 1, REPEAT('h', {MAX + 100}), v) FROM t", 3),
    sql("error at once", "SELECT * FROM missing", error=1146),
    sql("syntax error", "SELEC", error=1064),
    sql("error amid rows", "SELECT id, EXP(id * 300) FROM t", 2, error=1690),
    sql("ok with info", "UPDATE t SET v = 'eins' WHERE id = 1"),
    sql("ok with a huge insert id", "INSERT INTO big (v) VALUES (1)"),
    sql("begin", "BEGIN"),
    sql("select in a transaction", "SELECT id FROM t", 3),
    sql("commit", "COMMIT"),
    sql("no autocommit", "SET autocommit = 0"),
    sql("autocommit", "SET autocommit = 1"),
    sql("use", "USE replies"),
    sql("track everything", "SET SESSION session_track_system_variables = '*', session_track_state_change = 1"),
    sql("track transactions", "SET SESSION session_track_transaction_info = 'STATE'"),
    sql("tracked variable", "SET SESSION sort_buffer_size = 300000"),
    sql("tracked begin", "BEGIN"),
    sql("tracked select in a transaction", "SELECT id FROM t", 3),
    sql("tracked second select", "SELECT id FROM t", 3),
    sql("tracked commit", "COMMIT"),
    sql("tracked use", "USE replies"),
    sql("call", "CALL two()", 4),
    sql("call with an error in the second select", "CALL half()", 1, error=1146),
    sql("call that uses cursors itself", "CALL cursors()", 4),
    sql("select after a call that uses cursors", "CALL cursors(); SELECT 1", 5),
    sql("call that leaves a cursor open", "CALL left_open(); SELECT 1; SELECT id FROM t", 4),
    sql("function that uses a cursor", "SELECT cursor_inside(), 2; SELECT 1", 2),
    sql("sorted by a function that uses a cursor", "SELECT id, cursor_inside() AS f FROM t GROUP BY f, id", 3),
    sql("select, update, select", "SELECT 1; UPDATE t SET v = 'x' WHERE id = 9; SELECT id FROM t", 4),
    sql("error in the second statement", "SELECT 1; SELECT * FROM missing; SELECT 2", 1, error=1146),
    sql("error amid rows of the second statement", "SELECT 1; SELECT EXP(id * 300) FROM t", 3, error=1690),
    sql("three times ok", "SET @a = 1; SET @b = 2; SET @c = 3"),
    sql("load data", "LOAD DATA LOCAL INFILE 'f' INTO TABLE t", upload=b"11\televen\n12\ttwelve\n"),
    sql("load data, file refused", "LOAD DATA LOCAL INFILE 'f' INTO TABLE t", upload=b""),
    sql(
        "load data, a packet of the greatest length amid it",
        "LOAD DATA LOCAL INFILE 'f' INTO TABLE t",
        upload=b"20\tk\n".ljust(MAX, b"k"),
    ),
    sql("load data into nothing", "LOAD DATA LOCAL INFILE 'f' INTO TABLE missing", error=1146),
    sql("load data, then select", "LOAD DATA LOCAL INFILE 'f' INTO TABLE t; SELECT 1", 1, upload=b"13\tx\n"),
    sql("restore", "DELETE FROM t WHERE id > 3"),
    Case("field list", bytes((c.COM_FIELD_LIST,)) + b"t\0", "ROWS", rows=2),
    Case("field list of nothing", bytes((c.COM_FIELD_LIST,)) + b"missing\0", "ROWS", error=1146),
    Case("statistics", bytes((c.COM_STATISTICS,)), "TEXT"),
    Case("ping", bytes((c.COM_PING,)), "SINGLE"),
    Case("set option", bytes((c.COM_SET_OPTION, 0, 0)), "SINGLE"),
    Case("set option refused", bytes((c.COM_SET_OPTION, 9, 0)), "SINGLE", error=1047),
    Case("init db", bytes((c.COM_INIT_DB,)) + b"replies", "SINGLE"),
    Case("init db of nothing", bytes((c.COM_INIT_DB,)) + b"missing", "SINGLE", error=1049),
    Case("unknown command", bytes((0x60,)), "SINGLE", error=1047),
    Case("execute of nothing", bytes((c.COM_STMT_EXECUTE,)) + b"\x63\0\0\0\0\1\0\0\0", error=1243),
    Case("fetch from nothing", bytes((c.COM_STMT_FETCH,)) + b"\x63\0\0\0\1\0\0\0", "ROWS", error=1243),
]

# text, parameters, columns, rows of one execution with every parameter bound to 2
STATEMENTS = [
    ("SET @a = 1", 0, 0, 0),
    ("SELECT 1 AS a", 0, 1, 1),
    ("SELECT id, v, 3 FROM t", 0, 3, 3),
    ("DELETE FROM t WHERE id = ? + 50", 1, 0, 0),
    ("SELECT id FROM t WHERE id <= ?", 1, 1, 2),
    ("SELECT id, v, 3 FROM t WHERE id > ?", 1, 3, 1),
    ("DELETE FROM t WHERE id IN (? + 50, ? + 50, ? + 50)", 3, 0, 0),
    ("SELECT id FROM t WHERE id IN (?, ?, ?)", 3, 1, 1),
    ("SELECT id, v, ? FROM t WHERE id < ? OR id > ?", 3, 3, 2),
]


# text, rows, rows when a cursor is asked for, error
SPECIAL = [
    ("CALL two()", 4, 4, 0),
    ("CALL cursors()", 4, 4, 0),
    ("CALL outs(?)", 2, 2, 0),
    ("SHOW TABLES FROM replies", 3, 0, 0),
    ("SELECT id, EXP(id * 300) FROM t", 2, 0, 1690),
]


class Server:
    """A connection that knows packets, and nothing about replies."""

    def __init__(self, host: str, port: int, user: str, deprecate_eof: bool) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.settimeout(QUIET)
        capabilities = CAPABILITIES | (c.CLIENT_DEPRECATE_EOF if deprecate_eof else 0)
        self.read()
        head = capabilities.to_bytes(4, "little") + MAX.to_bytes(4, "little") + bytes((c.UTF8MB4_GENERAL_CI,))
        self.send(head + bytes(23) + user.encode() + b"\0\0" + c.NATIVE.encode() + b"\0", seq=1)
        answer = self.read()
        if answer[4] == c.AUTH_SWITCH:
            self.send(b"", seq=3)
            answer = self.read()
        if answer[4] != c.OK:
            raise SystemExit(f"the login as {user} failed: {answer[4:]!r}")

    def send(self, payload: bytes, seq: int = 0) -> None:
        self._socket.sendall(packet(seq, payload))

    def read(self) -> bytes:
        """Everything up to the server's silence, at least one byte."""
        parts = bytearray()
        patience = 200
        while patience:
            try:
                chunk = self._socket.recv(1 << 20)
            except TimeoutError:
                patience = patience - 1 if not parts else 0
                continue
            if not chunk:
                raise SystemExit("the server closed the connection")
            parts += chunk
        return bytes(parts)

    def ask(self, payload: bytes) -> bytes:
        self.send(payload)
        return self.read()


def packets(reply: bytes) -> Iterator[bytes]:
    """The payloads of a reply, those of continuation packets apart."""
    pos = 0
    while pos < len(reply):
        length = int.from_bytes(reply[pos : pos + 3], "little")
        yield reply[pos + 4 : pos + 4 + length]
        pos += 4 + length


def lenenc_end(payload: bytes, pos: int) -> int:
    return pos + {0xFC: 3, 0xFD: 4, 0xFE: 9}.get(payload[pos], 1)


def final_status(reply: bytes, deprecate_eof: bool) -> int | None:
    """Status flags in the last packet; None for those without (ERR, definitions, text)."""
    last = list(packets(reply))[-1]
    if last[0] == c.EOF and not deprecate_eof:
        return int.from_bytes(last[3:5], "little")
    if last[0] in (c.OK, c.EOF):
        pos = lenenc_end(last, lenenc_end(last, 1))
        return int.from_bytes(last[pos : pos + 2], "little")
    return None


def final_error(reply: bytes) -> int:
    last = list(packets(reply))[-1]
    return int.from_bytes(last[1:3], "little") if last[0] == c.ERR else 0


def stored(data: bytes) -> list[Any]:
    """Hex strings, and [byte, count] for long runs of one byte."""
    parts: list[Any] = []
    pos = 0
    for run in LONG_RUN.finditer(data):
        parts += [data[pos : run.start()].hex(), [run[0][0], len(run[0])]]
        pos = run.end()
    return [part for part in [*parts, data[pos:].hex()] if part]


def record(server: Server, case: Case, deprecate_eof: bool) -> dict[str, Any]:
    reply = server.ask(case.command)
    after = b""
    error = final_error(reply) if case.error is None else case.error
    if case.upload is not None:
        frames = packet(2, case.upload) if case.upload else b""
        payload = frames + packet(2 + len(case.upload) // MAX + bool(case.upload), b"")
        server._socket.sendall(payload)
        after = server.read()
    entry: dict[str, Any] = {
        "name": case.name,
        "deprecate_eof": deprecate_eof,
        "kind": case.kind,
        "reply": stored(reply),
        "size": len(reply),
        "rows": case.rows,
        "error": error,
        "status": None if error or case.kind == "TEXT" else final_status(after or reply, deprecate_eof),
    }
    if case.kind == "PREPARE":
        entry |= {"columns": case.columns, "parameters": case.parameters, "status": None}
    if case.upload is not None:
        entry |= {"upload": stored(payload), "after_upload": stored(after)}
    return entry


def execute(statement: bytes, parameters: int, cursor: bool) -> bytes:
    """COM_STMT_EXECUTE, every parameter a TINYINT of 2."""
    head = bytes((c.COM_STMT_EXECUTE,)) + statement + bytes((cursor,)) + b"\1\0\0\0"
    return head + (b"\0\1" + b"\1\0" * parameters + b"\2" * parameters if parameters else b"")


def statement_cases(server: Server, deprecate_eof: bool) -> Iterator[dict[str, Any]]:
    for text, parameters, columns, rows in STATEMENTS:
        shape = f"{parameters} parameters, {columns} columns"
        prepare = bytes((c.COM_STMT_PREPARE,)) + text.encode()
        case = Case(f"prepare, {shape}", prepare, "PREPARE", columns=columns, parameters=parameters)
        yield record(server, case, deprecate_eof)
        statement = server.ask(prepare)[5:9]
        yield record(server, Case(f"execute, {shape}", execute(statement, parameters, False), rows=rows), deprecate_eof)
        with_cursor = execute(statement, parameters, True)
        if not columns:
            yield record(
                server, Case(f"execute with cursor, {shape}", with_cursor, "CURSOR", error=None), deprecate_eof
            )
            continue
        yield record(server, Case(f"execute with cursor, {shape}", with_cursor, "CURSOR"), deprecate_eof)
        fetch = bytes((c.COM_STMT_FETCH,)) + statement
        first = Case(f"fetch one, {shape}", fetch + b"\1\0\0\0", "ROWS", rows=1)
        yield record(server, first, deprecate_eof)
        rest = Case(f"fetch the rest, {shape}", fetch + b"\x09\0\0\0", "ROWS", rows=rows - 1)
        yield record(server, rest, deprecate_eof)
        yield record(server, Case("reset statement", bytes((c.COM_STMT_RESET,)) + statement, "SINGLE"), deprecate_eof)


def special_cases(server: Server, deprecate_eof: bool) -> Iterator[dict[str, Any]]:
    """Prepared statements with more than one result, with refused cursors, or that fail."""
    prepare = bytes((c.COM_STMT_PREPARE,))
    broken = Case("prepare of nothing", prepare + b"SELECT * FROM missing", "PREPARE", error=1146)
    yield record(server, broken, deprecate_eof)
    for text, plain, with_cursor, error in SPECIAL:
        statement = server.ask(prepare + text.encode())[5:9]
        for cursor, kind, rows in ((False, "QUERY", plain), (True, "CURSOR", with_cursor)):
            command = execute(statement, text.count("?"), cursor)
            name = f"execute{' with cursor' if cursor else ''}: {text}"
            yield record(server, Case(name, command, kind, rows, error), deprecate_eof)
    reset = Case("reset connection", bytes((c.COM_RESET_CONNECTION,)), "SINGLE")
    yield record(server, reset, deprecate_eof)


def record_all(server: Server, deprecate_eof: bool) -> Iterator[dict[str, Any]]:
    for text in SETUP:
        reply = server.ask(bytes((c.COM_QUERY,)) + text.encode())
        if reply[4] != c.OK:
            raise SystemExit(f"{text}: {reply[4:]!r}")
    for case in CASES:
        yield record(server, case, deprecate_eof)
    yield from statement_cases(server, deprecate_eof)
    yield from special_cases(server, deprecate_eof)


def main(name: str, address: str, user: str) -> None:
    host, port = address.split(":")
    entries: list[dict[str, Any]] = []
    for deprecate_eof in (False, True):
        entries += record_all(Server(host, int(port), user, deprecate_eof), deprecate_eof)
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / f"{name}.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
