"""What a traced statement did, as spans will show it: begun and ended by its session, exported by others.

A statement is traced when its client says so, by W3C's ``traceparent`` in a query attribute or a comment, or by chance
where the client says nothing. Texts are digests; nothing of literals and of servers' words gets into a trace.

Sources: https://www.w3.org/TR/trace-context, https://google.github.io/sqlcommenter/spec, and the attributes' names,
https://opentelemetry.io/docs/specs/semconv/database/database-spans.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import SqlproxyError
from sqlproxy.routing.hints import comments
from sqlproxy.session.prepared import names_statement, statement_id
from sqlproxy.sql.classify import classify
from sqlproxy.sql.digest import digest
from sqlproxy.sql.shape import LIMIT
from sqlproxy.wire.attributes import NONE, value_of
from sqlproxy.wire.constants import (
    COM_QUERY,
    COM_STMT_BULK_EXECUTE,
    COM_STMT_EXECUTE,
    COM_STMT_PREPARE,
    HEADER,
)
from sqlproxy.wire.framing import payload_of

if TYPE_CHECKING:
    from sqlproxy.session.backend import Backend
    from sqlproxy.session.session import Session

MOST: Final = 64  # steps, and events, of one statement
_SAME: Final = 100_000_000  # ns between two steps of a kind that are told as one
_WORD: Final = b"traceparent"
_IN_COMMENT: Final = re.compile(r"\btraceparent\s*=\s*['\"]?([0-9a-fA-F-]{55})\b")
_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_EXECUTES: Final = (COM_STMT_EXECUTE, COM_STMT_BULK_EXECUTE)

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Parent:
    """The span that a client is in."""

    trace: int
    span: int
    sampled: bool


@dataclass(slots=True)
class Step:
    """A part of what a statement waited for; times are nanoseconds since the epoch. ``code`` is that of its error."""

    name: str
    begun: int
    ended: int
    attributes: dict[str, Value]
    code: int = 0


@dataclass(slots=True)
class Trace:
    """One statement. ``code`` is that of the error that the client got, 0 without one."""

    parent: Parent | None
    begun: int
    reason: str = ""
    server: str = ""
    role: str = ""
    rows: int = 0
    affected: int = 0
    code: int = 0
    fault: str = ""
    ended: int = 0
    operation: str = ""
    attributes: dict[str, Value] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    events: list[tuple[str, int, dict[str, Value]]] = field(default_factory=list)

    def goes_to(self, server: str, reason: str) -> None:
        """A slow path has found where it runs."""
        self.server, self.reason = server, reason

    def answered(self, backend: Backend) -> None:
        """A server has answered it."""
        tracker = backend.tracker
        self.server = backend.server
        self.rows, self.affected, self.code = tracker.rows, tracker.affected, tracker.error
        self.fault = "server" if tracker.error else ""

    def failed(self, error: SqlproxyError) -> None:
        """The proxy answers it with an error."""
        self.code, self.fault = error.code, error.fault.value

    def add(self, step: Step) -> None:
        """A step is done; one that goes on after a moment is the same."""
        last = self.steps[-1] if self.steps else None
        if last is not None and step.name == last.name and step.begun - last.ended < _SAME:
            last.ended, last.attributes, last.code = step.ended, step.attributes, step.code
        elif len(self.steps) < MOST:
            self.steps.append(step)


class Tracing:
    """Decides which statements are traced. ``export`` takes what is done, with the service's name; it must not wait."""

    def __init__(self, ratio: float, export: Callable[[str, Trace], None]) -> None:
        self._ratio = ratio
        self._export = export

    def begin(self, session: Session, command: bytes) -> Trace | None:
        """The trace of a command (headers included); None for most."""
        code = command[HEADER]
        if code != COM_QUERY and code != COM_STMT_PREPARE and code not in _EXECUTES:
            return None
        parent = _parent(session, command, code)
        if not (parent.sampled if parent is not None else self._ratio and random.random() < self._ratio):
            return None
        trace = Trace(parent, time.time_ns())
        text = _text(session, command, code)
        if text:
            service, state = session.service, session.state
            mask = classify(text, 0, state.mode)
            context = state.context_for(mask)
            trace.reason = service.routing.route(mask, context, service.snapshot, service.server_stats).reason
        return trace

    def end(self, session: Session, trace: Trace) -> None:
        """The statement is answered, or its client gone."""
        trace.ended = time.time_ns()
        _describe(session, trace)
        self._export(session.service.name, trace)


def _describe(session: Session, trace: Trace) -> None:
    service, state, command = session.service, session.state, session.command_at_hand
    text = digest(_text(session, command, command[HEADER])[:LIMIT], 0, state.mode).decode("utf-8", "replace")
    view = service.snapshot.server(trace.server)
    server = service.servers.get(trace.server)
    trace.role = view.role.value if view is not None else ""
    trace.operation = text.split(" ", 1)[0].upper()[:32] or "statement"
    system = "mariadb" if view is not None and "mariadb" in view.version.lower() else "mysql"
    found: dict[str, Value] = {
        "db.system": system,
        "db.system.name": system,
        "db.namespace": state.database.decode("utf-8", "replace"),
        "db.operation.name": trace.operation,
        "db.query.text": text,
        "sqlproxy.service": service.name,
        "sqlproxy.session": session.number,
        "sqlproxy.user": session.user.decode("utf-8", "replace"),
        "sqlproxy.target": trace.server,
        "sqlproxy.role": trace.role,
        "sqlproxy.reason": trace.reason,
        "sqlproxy.fault": trace.fault,
    }
    if server is not None:
        found["server.address"] = server.address.path or server.address.host
        found["server.port"] = server.address.port
    if trace.code:
        found["error.type"] = found["db.response.status_code"] = str(trace.code)
    elif trace.server:
        found["db.response.returned_rows"] = trace.rows
        found["sqlproxy.affected_rows"] = trace.affected
    trace.attributes = {name: value for name, value in found.items() if value != ""}


def _text(session: Session, command: bytes, code: int) -> bytes:
    """The statement that a command is about; b"" when that is not known."""
    if code in _EXECUTES:
        if not names_statement(command):
            return b""
        statement = session.state.statements.get(statement_id(command))
        return statement.payload[1:] if statement is not None else b""
    return payload_of(command)[1:] if code in (COM_QUERY, COM_STMT_PREPARE) else b""


def _parent(session: Session, command: bytes, code: int) -> Parent | None:
    """The client's span: of the query attribute, else of a comment."""
    if session.block != NONE:
        value = value_of(session.block, _WORD)
        if value is not None:
            return parse(value.decode("ascii", "replace"))
    if code in _EXECUTES:
        return None  # the text is that of long ago
    if command.find(_WORD) < 0:
        return None
    for comment in comments(payload_of(command), 1, session.state.mode):
        found = _IN_COMMENT.search(comment)
        if found is not None:
            return parse(found[1])
    return None


def parse(text: str) -> Parent | None:
    """A ``traceparent``; None when it is none."""
    match = _PARENT.fullmatch(text.strip().lower())
    if match is None:
        return None
    trace, span = int(match[1], 16), int(match[2], 16)
    return Parent(trace, span, bool(int(match[3], 16) & 1)) if trace and span else None


@contextmanager
def step(session: Session, name: str, **attributes: Value) -> Iterator[None]:
    """What is done inside is a step of the statement at hand, if that is traced."""
    trace = session.trace
    if trace is None:
        yield
        return
    part = Step(name, time.time_ns(), 0, attributes)
    try:
        yield
    except SqlproxyError as error:
        part.code = error.code
        raise
    finally:
        part.ended = time.time_ns()
        trace.add(part)


def end_trace(session: Session) -> None:
    """The statement at hand, which is traced, is over."""
    trace, session.trace = session.trace, None
    if trace is not None and session.tracing is not None:
        session.tracing.end(session, trace)


def mark(session: Session, name: str, **attributes: Value) -> None:
    """Something happened to the statement at hand, which may be traced."""
    trace = session.trace
    if trace is not None and len(trace.events) < MOST:
        trace.events.append((name, time.time_ns(), attributes))
