"""Where every statement of a service is entered: how long it took, its digest, and what is worth a line in a log."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from sqlproxy.config import ServiceConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.session.backend import Backend
from sqlproxy.session.digests import Digests
from sqlproxy.session.prepared import PreparedStatement
from sqlproxy.session.shapes import Shapes
from sqlproxy.session.statement_log import StatementLog
from sqlproxy.sql.bits import UNKNOWN, WRITE
from sqlproxy.sql.shape import shape_key
from sqlproxy.wire.constants import COM_QUERY, HEADER

if TYPE_CHECKING:
    from sqlproxy.session.session import Session


class Ledger:
    """One of each service and process."""

    def __init__(self, config: ServiceConfig) -> None:
        self.digests = Digests(config.max_digests)
        self.unknown = Shapes()  # statements not understood
        self.log = StatementLog(config)
        self._slow_after = config.slow_after or math.inf  # seconds; inf: no statement is
        self._logs_errors = config.error_log

    def configure(self, config: ServiceConfig) -> None:
        """Keep and write as this says from now on."""
        self.digests.resize(config.max_digests)
        self.log.configure(config)
        self._slow_after = config.slow_after or math.inf
        self._logs_errors = config.error_log

    def enter(self, session: Session, backend: Backend, statement: PreparedStatement | None, failed: bool) -> float:
        """The statement at hand was run by ``backend``, and its client has been sent the whole reply; the time now."""
        tracker = backend.tracker
        now = time.monotonic()
        seconds = now - session.active_at
        if session._mask & WRITE:
            backend.stats.write_times.add(seconds)
        else:
            backend.stats.read_times.add(seconds)
        self._count(session, backend.server, statement, seconds, tracker.rows + tracker.affected, failed, now)
        if session.trace is not None:
            session.trace.answered(backend)
        if seconds >= self._slow_after:
            self.log.slow(session, backend.server, statement, seconds)
        if failed and self._logs_errors:
            self.log.answered(session, backend.server, statement, tracker.error)
        return now

    def refuse(self, session: Session, statement: PreparedStatement | None, error: SqlproxyError) -> None:
        """The proxy itself answers the statement at hand, with an error."""
        now = time.monotonic()
        session._size = 0
        self._count(session, "", statement, now - session.active_at, 0, True, now)
        self.log.refused(session, statement, error)
        if session.trace is not None:
            session.trace.failed(error)

    def _count(
        self,
        session: Session,
        server: str,
        statement: PreparedStatement | None,
        seconds: float,
        rows: int,
        failed: bool,
        now: float,
    ) -> None:
        """Add the statement at hand to the digests; ``server`` is "" when it reached none."""
        text = session._command
        mode = session.state.mode
        start = HEADER + 1
        if statement is not None:
            text = statement.payload
            start = 1
            if not statement.key:
                statement.key = shape_key(text, start, mode)
            key = statement.key
        elif text[HEADER] == COM_QUERY:
            key = session._key or shape_key(text, start, mode)
        else:
            return
        known = not session._mask & UNKNOWN
        user, size = session.user, session._size
        self.digests.note(key, text, start, mode, user, server, known, seconds, rows, size, failed, now)

    def note_unknown(self, session: Session, command: bytes) -> None:
        """A statement is not understood: it is counted, and its shape kept for operators."""
        statement = session._executing
        text = command[HEADER + 1 :] if statement is None else statement.payload[1:]
        session.service.stats.unknown_statements += 1
        self.unknown.note(text, session.state.mode)
