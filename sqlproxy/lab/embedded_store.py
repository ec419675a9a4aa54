"""What the embedded cluster's nodes share: one SQLite database, one writer at a time, and a transaction per session.

The database is a temporary file in WAL mode, because that is where SQLite gives every reader a snapshot that no writer
disturbs. A transaction takes the cluster-wide writer's lock with its first write and keeps it to its end; whoever waits
longer than ``innodb_lock_wait_timeout`` gets error 1205. A transaction that writes after it has read goes on from the
newest state (InnoDB's writes see the newest rows as well).
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlproxy.lab import embedded_functions
from sqlproxy.lab.embedded_ddl import TEXT_AFFINITY, quoted
from sqlproxy.lab.embedded_errors import sql_error, translate
from sqlproxy.lab.embedded_grants import grant_tables
from sqlproxy.lab.embedded_show import VIEWS
from sqlproxy.lab.embedded_sql import Kind, Statement

MAX_SECONDS = 3.0  # a statement may take, as it keeps the whole process waiting
_LONGEST = 64 << 20  # bytes of one value
_SAMPLE = (
    "INSERT INTO databases (name) VALUES ('information_schema'), ('mysql'), ('app')",
    'CREATE TABLE "app.greetings" (id INTEGER PRIMARY KEY AUTOINCREMENT, '
    'language "varchar(20)" NOT NULL COLLATE NOCASE, text "varchar(100)" NOT NULL COLLATE NOCASE)',
    "INSERT INTO \"app.greetings\" (language, text) VALUES ('English', 'Hello, world'), ('Deutsch', 'Hallo, Welt'), "
    "('Español', 'Hola, mundo'), ('Français', 'Bonjour, le monde'), ('日本語', 'こんにちは世界')",
)


@dataclass(frozen=True, slots=True)
class Rows:
    """A result set: names and MySQL types of its columns ("" unknown), and its rows."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Done:
    """What a statement without a result set did."""

    affected: int = 0
    insert_id: int = 0


class Store:
    """The data of the cluster. ``committed`` counts transactions, as wsrep_last_committed does."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._directory = TemporaryDirectory(prefix="sqlproxy-embedded-")
        self.path = Path(self._directory.name) / "store.sqlite"
        self.committed = 0
        self.generation = 0  # grows with every change of the schema
        self.writer = asyncio.Lock()
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE databases (name TEXT PRIMARY KEY COLLATE NOCASE)")
        for statement in (*VIEWS, *_SAMPLE, *grant_tables(users)):
            connection.execute(statement)
        connection.execute("COMMIT")
        self._keeper = connection  # the last connection to go would take the WAL with it

    def close(self) -> None:
        """Throw the data away."""
        self._keeper.close()
        self._directory.cleanup()

    def has_database(self, name: str) -> bool:
        """Whether CREATE DATABASE has made it."""
        return self._keeper.execute("SELECT 1 FROM databases WHERE name = ?", (name,)).fetchone() is not None


class Transaction:
    """A session's connection to the store, and its transaction."""

    def __init__(self, store: Store, session: embedded_functions.Context) -> None:
        self._store = store
        self._db = sqlite3.connect(store.path, isolation_level=None, timeout=1.0, cached_statements=64)
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        self._db.set_progress_handler(self._is_late, 100_000)
        self._deadline = math.inf
        embedded_functions.register(self._db, session)
        self._savepoints: list[str] = []
        self._locked = False
        self._changes = 0
        self._types: dict[str, list[tuple[str, str]]] = {}
        self._generation = -1
        self.active = False
        self.autocommit = True
        self.read_only = False
        self.lock_wait = 2.0  # seconds

    def _is_late(self) -> bool:
        """Asked by SQLite while it works; it stops on True. Everything else in the process waits meanwhile."""
        return time.monotonic() > self._deadline

    def close(self) -> None:
        """Roll back and let go of everything."""
        self.rollback()
        self._db.close()

    def begin(self, *, read_only: bool = False, snapshot: bool = False) -> None:
        """START TRANSACTION, which ends the one before."""
        self.commit()
        self._db.execute("BEGIN")
        self._changes = self._db.total_changes
        self.active, self.read_only = True, read_only
        if snapshot:
            self._db.execute("SELECT 1 FROM databases LIMIT 1").fetchone()

    def commit(self) -> None:
        """COMMIT, visible on all nodes at once."""
        if self._db.in_transaction:
            changed = self._db.total_changes != self._changes
            self._db.execute("COMMIT")
            self._store.committed += changed
        self._ended()

    def rollback(self) -> None:
        """ROLLBACK."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._ended()

    def _ended(self) -> None:
        self.active = self.read_only = False
        self._savepoints.clear()
        if self._locked:
            self._locked = False
            self._store.writer.release()

    def savepoint(self, verb: str, name: str) -> None:
        """SAVEPOINT, ROLLBACK TO or RELEASE; raises error 1305 for a name that does not exist."""
        name = name.lower()
        if verb == "SAVEPOINT":
            if self.active:
                self._db.execute(f"SAVEPOINT {quoted(name)}")
                self._savepoints = [*(other for other in self._savepoints if other != name), name]
            return
        if name not in self._savepoints:
            raise sql_error(1305, "42000", f"SAVEPOINT {name} does not exist")
        self._db.execute(f"{verb} {quoted(name)}")
        keep = self._savepoints.index(name) + (verb == "ROLLBACK TO")
        self._savepoints = self._savepoints[:keep]

    async def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Rows | Done:
        """Run a statement in the session's transaction, or in one of its own. Raises ServerError."""
        if statement.kind is Kind.SCHEMA:
            return await self._change_schema(statement)
        if not self.active and not self.autocommit and statement.tables:
            self.begin()
        if statement.kind is not Kind.READ:
            await self._lock()
        try:
            result = self._execute(statement, parameters)
        except BaseException:
            if not self.active:
                self.rollback()
            raise
        if not self.active:
            self.commit()
        return result

    async def _change_schema(self, statement: Statement) -> Done:
        self.commit()
        await self._lock()
        try:
            for step in statement.steps:
                self._db.execute(step)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise translate(error, statement) from None
        finally:
            self.rollback()
        self._store.committed += 1
        self._store.generation += 1
        return Done()

    async def _lock(self) -> None:
        """Become the writer. A snapshot that was only read from is given up for the newest one."""
        if self.read_only:
            raise sql_error(1792, "25006", "Cannot execute statement in a READ ONLY transaction")
        if self._locked:
            return
        try:
            async with asyncio.timeout(self.lock_wait):
                await self._store.writer.acquire()
        except TimeoutError:
            raise sql_error(1205, "HY000", "Lock wait timeout exceeded; try restarting transaction") from None
        self._locked = True
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._db.execute("BEGIN IMMEDIATE")
        self._changes = self._db.total_changes
        for name in self._savepoints:
            self._db.execute(f"SAVEPOINT {quoted(name)}")

    def _execute(self, statement: Statement, parameters: Mapping[str, Any]) -> Rows | Done:
        self._deadline = time.monotonic() + MAX_SECONDS
        try:
            cursor = self._db.execute(statement.steps[0], parameters)
            if statement.steps[0].startswith("CREATE"):
                self._types.clear()  # a temporary table may hide another one
            if statement.returns_rows:
                rows = cursor.fetchall()
                names = tuple(column[0] for column in cursor.description)
                return Rows(names, self._column_types(statement, len(names)), rows)
        except (sqlite3.Error, OverflowError) as error:
            raise translate(error, statement) from None
        finally:
            self._deadline = math.inf
        return Done(max(0, cursor.rowcount), self._insert_id(statement, cursor))

    def describe(self, statement: Statement, parameters: int) -> Rows:
        """The columns of a result set without running the statement; no rows. Raises ServerError."""
        query = f"SELECT * FROM ({statement.steps[0]}) LIMIT 0"
        try:
            cursor = self._db.execute(query, {f"p{number}": 0 for number in range(parameters)})
        except sqlite3.Error as error:
            raise translate(error, statement) from None
        names = tuple(column[0] for column in cursor.description)
        return Rows(names, self._column_types(statement, len(names)), [])

    def _insert_id(self, statement: Statement, cursor: sqlite3.Cursor) -> int:
        """The first AUTO_INCREMENT value an INSERT made; 0 when it made none."""
        first = statement.steps[0][:6]
        counters = [name for name, type_ in self.columns(statement.tables[0]) if type_ == "INTEGER"]
        if first != "INSERT" or not counters or cursor.rowcount < 1 or cursor.lastrowid is None:
            return 0
        return max(0, cursor.lastrowid - cursor.rowcount + 1)

    def columns(self, table: str) -> list[tuple[str, str]]:
        """Names and declared types of a table's columns."""
        if self._generation != self._store.generation:
            self._types.clear()
            self._generation = self._store.generation
        if table not in self._types:
            rows = self._db.execute(f"PRAGMA table_info({quoted(table)})")
            self._types[table] = [(row[1], row[2]) for row in rows]
        return self._types[table]

    def _column_types(self, statement: Statement, count: int) -> tuple[str, ...]:
        types: list[str] = []
        for output in statement.outputs:
            columns = [column for table in output.table.split("\n") if table for column in self.columns(table)]
            if output.column == "*":
                types += [type_ for _, type_ in columns]
            else:
                wanted = output.column.lower()
                types.append(next((type_ for name, type_ in columns if name.lower() == wanted), output.type))
        if len(types) != count:
            return ("",) * count
        return tuple(type_.removesuffix(TEXT_AFFINITY).lower() for type_ in types)

    async def create_database(self, name: str, *, if_missing: bool) -> None:
        """CREATE DATABASE; raises error 1007 if there is one."""
        if self._store.has_database(name):
            if if_missing:
                return
            raise sql_error(1007, "HY000", f"Can't create database '{name}'; database exists")
        literal = name.replace("'", "''")
        await self._change_schema(Statement(Kind.SCHEMA, (f"INSERT INTO databases (name) VALUES ('{literal}')",)))

    async def drop_database(self, name: str, *, if_exists: bool) -> None:
        """DROP DATABASE with all its tables; raises error 1008 if there is none, 1044 for the system's own."""
        if not self._store.has_database(name):
            if if_exists:
                return
            raise sql_error(1008, "HY000", f"Can't drop database '{name}'; database doesn't exist")
        if name.lower() in ("mysql", "information_schema"):
            raise sql_error(1044, "42000", f"Access denied to database '{name}'")
        query = "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') AND name LIKE ? || '.%'"
        drops = [f"DROP {row[0]} {quoted(row[1])}" for row in self._db.execute(query, (name,)).fetchall()]
        literal = name.replace("'", "''")
        await self._change_schema(Statement(Kind.SCHEMA, (*drops, f"DELETE FROM databases WHERE name = '{literal}'")))

    def forget_temporary(self) -> None:
        """Drop the session's temporary tables, as COM_RESET_CONNECTION does."""
        names = [row[0] for row in self._db.execute("SELECT name FROM sqlite_temp_master WHERE type = 'table'")]
        for name in names:
            with suppress(sqlite3.Error):
                self._db.execute(f"DROP TABLE temp.{quoted(name)}")
        self._types.clear()
