"""The log of slow statements and of errors: by digest, so that no literal gets into it, and only so many a second.

Slow statements go to the log or, one JSON object a line, to a file, which is opened for each of them, so that it may be
renamed at any time.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlproxy.config import ServiceConfig
from sqlproxy.errors import Fault, SqlproxyError
from sqlproxy.sql.digest import digest
from sqlproxy.sql.shape import LIMIT
from sqlproxy.wire.constants import COM_QUERY, HEADER

if TYPE_CHECKING:
    from sqlproxy.session.prepared import PreparedStatement
    from sqlproxy.session.session import Session

slow_log = logging.getLogger("sqlproxy.slow")
error_log = logging.getLogger("sqlproxy.errors")

RATE: Final = 10  # lines a second of each kind, from one service in one process
_RAW: Final = 4096  # bytes of a statement's own text


class Limiter:
    """At most so many a second; ``dropped`` is how many were not let through since the last that was."""

    def __init__(self, rate: int = RATE) -> None:
        self._rate = rate
        self._second = 0
        self._used = 0
        self._dropped = 0

    def take(self) -> int:
        """How many were dropped before this one, or -1 when it is dropped itself."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._used = second, 0
        if self._used >= self._rate:
            self._dropped += 1
            return -1
        self._used += 1
        dropped, self._dropped = self._dropped, 0
        return dropped


class StatementLog:
    """What one service writes of single statements."""

    def __init__(self, config: ServiceConfig) -> None:
        self._slow = Limiter()
        self._errors = Limiter()
        self.unlisted = Limiter()  # of what the allow list does not have
        self.configure(config)

    def configure(self, config: ServiceConfig) -> None:
        """Write as this says from now on."""
        self._name = config.name
        self._file = config.slow_log
        self._raw = config.slow_log_text
        self._complained = False

    def slow(self, session: Session, server: str, statement: PreparedStatement | None, seconds: float) -> None:
        """A statement took ``seconds``, from the client's last byte to the reply's last."""
        dropped = self._slow.take()
        if dropped < 0:
            return
        event = self._event(session, server, statement, dropped) | {"seconds": round(seconds, 6)}
        if self._raw:
            event["text"] = _text(session, statement)[:_RAW].decode("utf-8", "replace")
        if self._file:
            self._write(event)
        else:
            shown = event.get("text", event["statement"])
            message = "service %s: %.3f s on %s for session %d, user %s: %s%s"
            values = (self._name, seconds, server, session.number, event["user"], shown, _not_shown(dropped))
            slow_log.warning(message, *values, extra=event)

    def refused(self, session: Session, statement: PreparedStatement | None, error: SqlproxyError) -> None:
        """The proxy itself answered a statement with an error."""
        stats = session.service.stats
        if error.fault is Fault.CLIENT:
            stats.faults_client += 1
        elif error.fault is Fault.SERVER:
            stats.faults_server += 1
        else:
            stats.faults_proxy += 1
        dropped = self._errors.take()
        if dropped >= 0:
            event = self._event(session, "", statement, dropped) | {"fault": error.fault.value, "code": error.code}
            text = "session %d: %s (fault: %s)%s"
            error_log.info(text, session.number, error.message, error.fault.value, _not_shown(dropped), extra=event)

    def answered(self, session: Session, server: str, statement: PreparedStatement | None, code: int) -> None:
        """A server answered a statement with an error; its words may quote the statement and stay out."""
        dropped = self._errors.take()
        if dropped >= 0:
            event = self._event(session, server, statement, dropped) | {"fault": Fault.SERVER.value, "code": code}
            text = "session %d: server %s answered error %d: %s%s"
            values = (session.number, server, code, event["statement"], _not_shown(dropped))
            error_log.info(text, *values, extra=event)

    def _event(
        self, session: Session, server: str, statement: PreparedStatement | None, dropped: int
    ) -> dict[str, object]:
        text = _text(session, statement)[:LIMIT]
        return {
            "service": self._name,
            "server": server,
            "session": session.number,
            "user": session.user.decode("utf-8", "replace"),
            "host": session.client.host,
            "database": session.state.database.decode("utf-8", "replace"),
            "statement": digest(text, 0, session.state.mode).decode("utf-8", "replace"),
            "dropped": dropped,
        }

    def _write(self, event: dict[str, object]) -> None:
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds")} | event) + "\n"
        try:
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            if not self._complained:
                slow_log.error("service %s: slow_log cannot be written: %s", self._name, error)
            self._complained = True


def _text(session: Session, statement: PreparedStatement | None) -> bytes:
    if statement is not None:
        return statement.payload[1:]
    command = session.command_at_hand
    return command[HEADER + 1 :] if command[HEADER : HEADER + 1] == bytes((COM_QUERY,)) else b""


def _not_shown(dropped: int) -> str:
    return f" ({dropped} others were not logged)" if dropped else ""
