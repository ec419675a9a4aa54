"""What the proxy knows of a session: database, transaction, pins, history, prepared statements.

Pure: fed with each completed statement, it says where the next may go (``context``). The server's status flags decide
what is open; the classification only explains what they cannot say.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Final

from sqlproxy.routing.base import RouteContext
from sqlproxy.session.history import History, is_replayable, key_of, names_next_id
from sqlproxy.session.prepared import PreparedStatement
from sqlproxy.session.transaction import begins_anew
from sqlproxy.sql.bits import (
    AUTOCOMMIT_OFF,
    AUTOCOMMIT_ON,
    AUTOCOMMIT_UNKNOWN,
    DDL,
    DEALLOCATE_TEXT,
    DROP_TEMP,
    EXECUTE_TEXT,
    EXPLAIN,
    FOUND_ROWS,
    HANDLER,
    LAST,
    LITERAL_ONLY,
    LOCK_TABLES,
    MODE_ANSI_QUOTES,
    MODE_CHARSET,
    MODE_NO_BACKSLASH_ESCAPES,
    MODE_SERVERS,
    MULTI,
    NEXT_TRX,
    PREPARE_TEXT,
    SESSION,
    SET_CHARSET,
    SET_GLOBAL,
    SHOW,
    SQL_MODE,
    TEMP_TABLE,
    UNLOCK_TABLES,
    UNSAFE_FUNCTION,
    USE_DB,
    USER_LOCK,
    USERVAR_WRITE,
    WRITE,
    XA,
    charset_mode,
)
from sqlproxy.sql.classify import classify
from sqlproxy.sql.extract import prepare_body, prepare_name, set_assignments, use_database, user_variables_named
from sqlproxy.sql.lexer import Lexer
from sqlproxy.sql.tokens import WORD
from sqlproxy.wire.constants import (
    COM_INIT_DB,
    COM_QUERY,
    SERVER_STATUS_ANSI_QUOTES,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_IN_TRANS,
    SERVER_STATUS_IN_TRANS_READONLY,
    SERVER_STATUS_NO_BACKSLASH_ESCAPES,
)
from sqlproxy.wire.response import CURSOR, QUERY
from sqlproxy.wire.session_track import Change

# Facts of a statement that change what is known of the session once it has succeeded.
EFFECTS: Final = (
    SESSION
    | SET_GLOBAL
    | TEMP_TABLE
    | LOCK_TABLES
    | UNLOCK_TABLES
    | USER_LOCK
    | XA
    | HANDLER
    | USERVAR_WRITE
    | NEXT_TRX
    | USE_DB
)
_EFFECTS: Final = EFFECTS  # as a variable that the compiled form reads without a lookup
# Facts of a statement that say of themselves that session state changes.
_EXPLAINS: Final = (
    EFFECTS | DROP_TEMP | DEALLOCATE_TEXT | SET_GLOBAL | AUTOCOMMIT_ON | AUTOCOMMIT_OFF | AUTOCOMMIT_UNKNOWN
)
_TELLING: Final = (
    SERVER_STATUS_IN_TRANS
    | SERVER_STATUS_IN_TRANS_READONLY
    | SERVER_STATUS_AUTOCOMMIT
    | SERVER_STATUS_NO_BACKSLASH_ESCAPES
    | SERVER_STATUS_ANSI_QUOTES
)
_FINDS_NOTHING: Final = EXPLAIN | DDL  # results that leave FOUND_ROWS() alone
_PIN_REASONS: Final = {
    TEMP_TABLE: "a temporary table",
    LOCK_TABLES: "LOCK TABLES",
    USER_LOCK: "GET_LOCK",
    XA: "an XA transaction",
    HANDLER: "an open HANDLER",
}
_NO_TRIGGERS: Final = re.compile(rb"\s*(select|set|do)\b", re.IGNORECASE)
_VARIABLE_PINS: Final = frozenset(("variable", "value"))
_REPORTS: Final = "session_track_state_change"
_ON: Final = frozenset((b"on", b"1", b"true"))


@lru_cache(maxsize=1024)
def _context(server: str, status: int) -> RouteContext:
    """What most sessions look like; shared, as they change between these with every other statement."""
    return RouteContext(
        transaction=server if status & SERVER_STATUS_IN_TRANS else "",
        last=server,
        autocommit=bool(status & SERVER_STATUS_AUTOCOMMIT),
    )


class SessionState:
    """One session's knowledge. ``context`` is what routing looks at; ``mode`` how the lexer reads text.

    ``charset`` are the MODE_ bits of the client's character set, ``servers`` those of the servers it may use, see
    ``sql.generations``.
    """

    def __init__(self, database: bytes, max_history: int, charset: int = 0, servers: int = 0) -> None:
        self.database = database
        self.max_history = max_history
        self.context = RouteContext()
        self.free = True  # nothing in ``context`` ties the next read to a server; this and the next two repeat it
        self.transaction = ""
        self.last = ""
        self.found = ""  # the server with the newest SELECT, which FOUND_ROWS() asks about; as ``last`` "" when lost
        self.insert_id = 0  # what LAST_INSERT_ID() is, as far as packets have told, and the connection that has it:
        self.insert_holder = ("", 0)  # server and thread id
        self.mode = servers | charset
        self.begun = False  # a server has said what its sessions begin with
        self.status = SERVER_STATUS_AUTOCOMMIT  # the telling bits of the newest status flags
        self.history = History()
        self.pins: dict[str, str] = {}  # what → sentence
        self.named: set[str] = set()  # user variables that only one server knows; with an "" where that is not all
        self.next_transaction = b""  # payload of a SET TRANSACTION not yet used up
        self.written = 0  # statements so far that may have changed data
        self.written_on = ""
        self.statements: dict[int, PreparedStatement] = {}
        self.last_statement = 0  # the newest number given out
        self.last_prepared = 0  # what MariaDB's "statement prepared last" means; 0 after a failure
        self._with_long_data: set[int] = set()  # numbers of statements
        self.text_statements: dict[bytes, int] = {}  # classification of PREPARE … FROM texts

    @property
    def in_read_only_transaction(self) -> bool:
        """A READ ONLY transaction is open."""
        return self.in_transaction and bool(self.status & SERVER_STATUS_IN_TRANS_READONLY)

    @property
    def in_transaction(self) -> bool:
        """A transaction is open."""
        return bool(self.transaction)

    def others_long_data(self, statement: PreparedStatement) -> int:
        """Bytes kept for the next executions of the other statements; ``statement`` is going to have some as well."""
        statements = self.statements
        self._with_long_data = {n for n in self._with_long_data if n in statements and statements[n].long_data}
        self._with_long_data.add(statement.number)
        kept = sum(statements[n].long_data_size for n in self._with_long_data)
        return kept - statement.long_data_size

    def text_statement(self, payload: bytes) -> int | None:
        """The classification of what a text EXECUTE runs, None when that is not known."""
        name = prepare_name(payload, 1, self.mode)
        return self.text_statements.get(name.lower()) if name else None

    def completed(self, server: str, mask: int, status: int, failed: bool, command: bytes) -> None:
        """Take in a completed statement: who answered, with which status flags, and what it was (a payload).

        ``status`` is of no meaning when ``failed``.
        """
        was_open = self.transaction != ""
        changed = bool(mask & _EFFECTS or self.next_transaction or self.pins or server != self.last)
        if mask & WRITE:
            self.written += 1
            self.written_on = server
        if not failed:
            if mask & _EFFECTS:
                self._effects(server, mask, command)
            if self.status != status & _TELLING:
                changed = True
                self.status = status & _TELLING
                self._follow_modes(status)
        elif mask & PREPARE_TEXT and not mask & MULTI:
            self._lose_text_statement(command)
        if self.next_transaction and not mask & (SESSION | NEXT_TRX):
            self.next_transaction = b""
        if changed:
            self._refresh(server)
        if not self.transaction:
            self.history.kept = 0
        elif not was_open or begins_anew(mask):
            self.history.kept = self.history.position

    def tracked(self, mask: int, payload: bytes, change: Change) -> bool:
        """Take in the server's own report on a completed statement; False when the text does not explain the change."""
        if change.schema is not None:
            self._entered(change.schema, bool(mask & USE_DB))
        charset = change.variables.get(b"character_set_client")
        if charset is not None:
            self.mode = self.mode & ~MODE_CHARSET | charset_mode(charset)
        if not (change.state or change.variables) or mask & _EXPLAINS:
            return True
        if change.schema is not None and not change.variables:
            return True
        return _sets_for_itself(payload, self.mode)

    def _entered(self, database: bytes, explained: bool) -> None:
        if not database:  # the one in use was dropped
            self.history.forget(("database",))
        elif database != self.database and not explained:
            self.history.append(("database",), bytes((COM_INIT_DB,)) + database, True)
        self.database = database

    def context_for(self, mask: int) -> RouteContext:
        """What routing looks at for a statement: FOUND_ROWS() is asked where the newest SELECT was."""
        if mask & FOUND_ROWS and self.found and not self.transaction:
            return replace(self.context, last=self.found)
        return self.context

    def answered_by(self, server: str) -> None:
        """A server has answered, and left the session as it was; it is the one asked about warnings now."""
        if server != self.last:
            self._refresh(server)

    def forget_answers(self, server: str) -> None:
        """The connection there is gone: nobody knows any more what its newest statements have left behind."""
        if self.pins or self.transaction:
            return
        if self.found == server:
            self.found = ""
        if self.last == server:
            self._refresh("")

    def hold_insert_id(self, server: str, thread_id: int, insert_id: int) -> None:
        """LAST_INSERT_ID() has been set on a connection; ``insert_id`` as from ``insert_ids.id_after``."""
        if self.insert_holder != (server, thread_id):
            self.insert_holder = (server, thread_id)
        self.insert_id = insert_id

    def has_insert_id(self, server: str, thread_id: int) -> bool:
        """Whether LAST_INSERT_ID() is right on a connection."""
        return not self.insert_holder[0] or self.insert_holder == (server, thread_id)

    def needs(self, mask: int, status: int, server: str) -> bool:
        """Whether ``completed`` has anything to do; the data path asks first."""
        return bool(
            mask & (_EFFECTS | WRITE)
            or (status & _TELLING) != self.status
            or server != self.last
            or self.next_transaction
        )

    def note_found(self, server: str, mask: int, kind: int) -> None:
        """A result set was answered: if it was a SELECT's, or a SHOW's but for warnings, FOUND_ROWS() is about it."""
        asks = mask & LAST and mask & SHOW
        finds = not mask & _FINDS_NOTHING or mask & SHOW  # DESCRIBE of a table is a SHOW
        if finds and not asks and kind in (QUERY, CURSOR):
            self.found = server

    def pin(self, what: str, reason: str, server: str) -> None:
        """Tie the session to a server, the only one that has this state."""
        self.pins.setdefault(what, reason)
        self._refresh(server)

    @property
    def is_pinned_by_variables(self) -> bool:
        """Nothing pins the session but user variables that are known by name."""
        return self.pins.keys() <= _VARIABLE_PINS and bool(self.named) and "" not in self.named

    def unpin_variables(self) -> None:
        """All servers are going to have the values of those."""
        self.pins.clear()
        self.named.clear()

    def lose_transaction(self) -> None:
        """The open transaction is gone with its server; what follows begins anew."""
        self.status &= ~(SERVER_STATUS_IN_TRANS | SERVER_STATUS_IN_TRANS_READONLY)
        self._refresh(self.context.last)

    def begin(self, status: int, server: str) -> None:
        """The first server's status flags at login: its defaults are the session's."""
        self.begun = True
        self.found = server
        self.status = status & _TELLING & ~SERVER_STATUS_IN_TRANS
        self._follow_modes(status)
        self._refresh(server)

    def resume_transaction(self, server: str, status: int) -> None:
        """The lost transaction is open again, there; ``status`` is what the server says of it."""
        self.found = server
        self.status |= SERVER_STATUS_IN_TRANS | status & SERVER_STATUS_IN_TRANS_READONLY
        self._refresh(server)

    def reset(self) -> None:
        """As COM_RESET_CONNECTION leaves a connection: no variables, statements, locks, tables, transaction."""
        self.status = SERVER_STATUS_AUTOCOMMIT
        self.history.clear()
        self.pins.clear()
        self.named.clear()
        self.statements.clear()
        self.last_prepared = 0
        self.insert_id, self.insert_holder = 0, ("", 0)
        self.next_transaction = b""
        self.text_statements.clear()
        self.mode &= MODE_CHARSET | MODE_SERVERS
        self._refresh(self.context.last)

    def _refresh(self, server: str) -> None:
        if not self.pins and not self.next_transaction and len(self.history.entries) < self.max_history:
            self.context = _context(server, self.status & (SERVER_STATUS_IN_TRANS | SERVER_STATUS_AUTOCOMMIT))
            self.free = self.context.autocommit and not self.context.transaction
        else:
            self.context = RouteContext(
                transaction=server if self.status & SERVER_STATUS_IN_TRANS else "",
                pinned=(self.context.pinned or server) if self.pins else "",
                pin_reason=", ".join(self.pins.values()),
                last=server,
                autocommit=bool(self.status & SERVER_STATUS_AUTOCOMMIT),
                next_transaction=bool(self.next_transaction),
                history_full=len(self.history) >= self.max_history,
            )
            self.free = False
        self.transaction = self.context.transaction
        self.last = self.context.last

    def _follow_modes(self, status: int) -> None:
        """MariaDB tells both modes in its status flags, MySQL only NO_BACKSLASH_ESCAPES."""
        mode = self.mode & (MODE_CHARSET | MODE_ANSI_QUOTES | MODE_SERVERS)
        if status & SERVER_STATUS_NO_BACKSLASH_ESCAPES:
            mode |= MODE_NO_BACKSLASH_ESCAPES
        if status & SERVER_STATUS_ANSI_QUOTES:
            mode |= MODE_ANSI_QUOTES
        self.mode = mode

    def _effects(self, server: str, mask: int, payload: bytes) -> None:
        for bit, reason in _PIN_REASONS.items():
            if mask & bit:
                self.pins.setdefault(reason, f"{reason} on {server}")
        if mask & UNLOCK_TABLES:
            self.pins.pop("LOCK TABLES", None)
        if mask & (NEXT_TRX | SET_GLOBAL) and self._sets_session_too(payload):
            self.pins.setdefault("mixed", f"session state set along with other scopes on {server}")
        if mask & NEXT_TRX:
            self.next_transaction = payload
        elif mask & MULTI and mask & _EFFECTS & ~UNLOCK_TABLES:
            self.pins.setdefault("multi", f"session state set among several statements on {server}")
        elif mask & SESSION:
            self._remember(server, mask, payload)
        elif mask & USERVAR_WRITE:
            self.pins.setdefault("variable", f"a user variable set by a query on {server}")
            self.named |= self._names_in(mask, payload)

    def _names_in(self, mask: int, payload: bytes) -> set[str]:
        """The user variables that a statement may have set; with an "" where functions or triggers may set others."""
        if mask & UNSAFE_FUNCTION or payload[0] != COM_QUERY or not _NO_TRIGGERS.match(payload, 1):
            return {""}
        return user_variables_named(payload, 1, self.mode)

    def _sets_session_too(self, payload: bytes) -> bool:
        return any(scope in ("session", "user") for scope, _, _ in set_assignments(payload, 1, self.mode))

    def _remember(self, server: str, mask: int, payload: bytes) -> None:
        if mask & USE_DB:
            self._changed_database(payload)
        if mask & SQL_MODE:
            self.mode = self.mode & ~MODE_ANSI_QUOTES | (MODE_ANSI_QUOTES if b"ansi" in payload.lower() else 0)
        if mask & SET_CHARSET:
            self.mode = self.mode & ~MODE_CHARSET | charset_mode(payload)
        if mask & (PREPARE_TEXT | DEALLOCATE_TEXT):
            self._changed_text_statement(mask, payload)
        if _silences_reports(payload, self.mode):
            self.pins.setdefault("reports", f"session_track_state_change switched off on {server}")
        if names_next_id(payload, self.mode):
            return
        if not is_replayable(mask, payload, self.mode):
            self.pins.setdefault("value", f"a variable set from a value that only {server} knows")
            only_users = all(scope == "user" for scope, _, _ in set_assignments(payload, 1, self.mode))
            self.named |= self._names_in(mask, payload) if only_users else {""}
            return
        literal = bool(mask & (LITERAL_ONLY | USE_DB | DEALLOCATE_TEXT)) and not mask & EXECUTE_TEXT
        self.history.append(key_of(mask, payload, self.mode), payload, literal, bool(mask & DEALLOCATE_TEXT))
        if len(self.history) > self.max_history:
            self.pins.setdefault("history", f"more than {self.max_history} session statements, all on {server}")

    def _changed_database(self, payload: bytes) -> None:
        if payload[0] == COM_INIT_DB:
            self.database = payload[1:]
        else:
            self.database = use_database(payload, 1, self.mode) or self.database

    def _lose_text_statement(self, payload: bytes) -> None:
        """A PREPARE has failed: a statement that had its name is gone."""
        name = prepare_name(payload, 1, self.mode)
        if name and name.lower() in self.text_statements:
            text = b"DEALLOCATE PREPARE `" + name.replace(b"`", b"``") + b"`"
            self._remember(self.last, DEALLOCATE_TEXT, bytes((COM_QUERY,)) + text)

    def _changed_text_statement(self, mask: int, payload: bytes) -> None:
        name = prepare_name(payload, 1, self.mode)
        if name is None:
            return
        self.text_statements.pop(name.lower(), None)
        if mask & PREPARE_TEXT:
            body = prepare_body(payload, 1, self.mode)
            self.text_statements[name.lower()] = WRITE if body is None else classify(body, 0, self.mode)


def sets_reports(payload: bytes, mode: int) -> bool:
    """Whether a statement's text (from offset 1 on) sets session_track_state_change."""
    return bool(_reports_set(payload, mode))


def _silences_reports(payload: bytes, mode: int) -> bool:
    """Whether a statement's text (from offset 1 on) has the server no longer say when session state changes."""
    return _reports_set(payload, mode).get("session", b"on").strip(b"'\"").lower() not in _ON


def _reports_set(payload: bytes, mode: int) -> dict[str, bytes]:
    """What a text assigns to session_track_state_change, by scope; the newest value of each."""
    if _REPORTS.encode() not in payload.lower():
        return {}
    return {scope: value for scope, name, value in set_assignments(payload, 1, mode) if name == _REPORTS}


def _sets_for_itself(payload: bytes, mode: int) -> bool:
    """SET STATEMENT … FOR …: the server reports its variables, which are back at their values by then."""
    lexer = Lexer(payload, 1, mode)
    for word in (b"set", b"statement"):
        if lexer.advance() != WORD or payload[lexer.start : lexer.pos].lower() != word:
            return False
    return True
