"""What rules ask for, done to the statement at hand: refused, rewritten, limited, cached, mirrored.

A session that some rule may concern asks ``Session.passes`` for each statement; only those that a rule acts upon come
here. A ``Ruling`` lives from the statement's begin to ``Session.idle``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import SqlproxyError
from sqlproxy.routing.hints import Hint
from sqlproxy.routing.rules import Verdict
from sqlproxy.session import errand
from sqlproxy.session.acquire import kill_query
from sqlproxy.session.answers import Key, key_of
from sqlproxy.session.rowcap import RowCap
from sqlproxy.sql.bits import (
    BEGIN,
    BEGIN_READ_ONLY,
    CALL,
    COMMIT,
    DDL,
    DEALLOCATE_TEXT,
    EMPTY,
    KILL,
    MULTI,
    NEXT_TRX,
    READ,
    ROLLBACK,
    SAVEPOINT,
    UNKNOWN,
    UNLOCK_TABLES,
    WRITE,
    XA,
)
from sqlproxy.wire import codec
from sqlproxy.wire.constants import HEADER, MAX_PAYLOAD
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.packets import err_packet

if TYPE_CHECKING:
    from sqlproxy.session.backend import Backend
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.session")

ER_NOT_ALLOWED: Final = 1148
ER_READ_ONLY: Final = 1290  # ER_OPTION_PREVENTS_STATEMENT
ER_TOO_MANY: Final = 1637
ER_TOO_BIG: Final = 1104
ER_INTERRUPTED: Final = 1317
ER_TIMEOUT: Final = 3024
_INTERRUPTED: Final = b"\xff" + ER_INTERRUPTED.to_bytes(2, "little") + b"#"
_CONTROL: Final = (
    BEGIN | BEGIN_READ_ONLY | COMMIT | ROLLBACK | SAVEPOINT | NEXT_TRX | UNLOCK_TABLES | EMPTY | KILL | DEALLOCATE_TEXT
)
_MORE: Final = MULTI | XA | DDL | CALL | UNKNOWN


def check_writable(session: Session, mask: int) -> None:
    """Raises SqlproxyError with 1290 for what is not known to leave data alone, while the service is read-only."""
    if not session.service.read_only or not mask & WRITE or (mask & _CONTROL and not mask & _MORE):
        return
    raise SqlproxyError(
        f"The service {session.service.name} is running with read_only = true so it cannot execute this statement",
        code=ER_READ_ONLY,
    )


class Ruling:
    """One statement under a verdict."""

    def __init__(self, session: Session, verdict: Verdict) -> None:
        self.number = session.statements
        self.verdict = verdict
        self._session = session
        self._timer: asyncio.TimerHandle | None = None
        self._killing: asyncio.Task[None] | None = None
        self._holding: list[str] = []
        self._ended = False
        self.timed_out = False
        self._cap = RowCap(verdict.max_rows.config.max_rows) if verdict.max_rows is not None else None
        self._key: Key | None = None  # under which the answer may be kept
        self._until = 0.0
        self._answer: list[bytes] | None = None
        self._size = 0

    def start(self) -> None:
        """Before the statement goes anywhere. Raises SqlproxyError when it must not."""
        verdict = self.verdict
        if verdict.reject is not None:
            verdict.reject.stats.rejected += 1
            raise SqlproxyError(verdict.reject.config.reject, code=ER_NOT_ALLOWED, sqlstate="42000")
        for rule in verdict.concurrent:
            if rule.running >= rule.config.max_concurrent:
                rule.stats.crowded += 1
                raise SqlproxyError(
                    f"The rule {rule.name} allows {rule.config.max_concurrent} such statements at a time;"
                    " try again later",
                    code=ER_TOO_MANY,
                )
        for rule in verdict.concurrent:
            rule.running += 1
        self._holding = [rule.name for rule in verdict.concurrent]
        if verdict.timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(verdict.timeout.config.timeout, self._expire)
        for rule in verdict.rewriters:
            rule.stats.rewritten += 1

    @property
    def hint(self) -> Hint | None:
        """Where a rule wants the statement to go."""
        return self.verdict.route.hint if self.verdict.route is not None else None

    def ignored(self) -> None:
        """The route could not be followed."""
        if self.verdict.route is not None:
            self.verdict.route.stats.ignored += 1

    def end(self) -> bool:
        """The statement is answered; False while a KILL is under way that must not hit the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._holding:
            self._holding = []
            for rule in self.verdict.concurrent:
                rule.running -= 1
        self._ended = True
        return self._killing is None

    # -- time

    def _expire(self) -> None:
        self._timer = None
        rule, session = self.verdict.timeout, self._session
        assert rule is not None
        rule.stats.timed_out += 1
        self.timed_out = True
        backend = session.running_on
        if backend is None:
            errand.interrupt(session, SqlproxyError(self._too_late(), code=ER_TIMEOUT))
            return
        self._kill(backend)

    def _too_late(self) -> str:
        rule = self.verdict.timeout
        assert rule is not None
        return f"Query execution was interrupted: the rule {rule.name} allows it {rule.config.timeout:g}s"

    def _kill(self, backend: Backend) -> None:
        if self._killing is None:
            self._killing = asyncio.get_running_loop().create_task(self._kill_on(backend))

    async def _kill_on(self, backend: Backend) -> None:
        """KILL QUERY over a connection of its own; until that is answered the session takes no further command."""
        session = self._session
        try:
            await kill_query(session, backend)
        except SqlproxyError as error:
            log.warning("session %d: a statement cannot be ended: %s", session.number, error.message)
        finally:
            self._killing = None
            if self._ended and session.ruling is self:
                session.idle()

    # -- the answer

    def relay(self, backend: Backend, chunk: bytes, done: bool) -> bytes:
        """What of a chunk of the reply goes to the client."""
        tracker = backend.tracker
        if done and self.timed_out and tracker.error == ER_INTERRUPTED:
            chunk = _with_error(chunk, err_packet(ER_TIMEOUT, "HY000", self._too_late()))
        if self._cap is not None:
            chunk = self._capped(self._cap, backend, chunk, done)
        if self._answer is not None:
            self._collect(backend, chunk, done)
        return chunk

    def _capped(self, cap: RowCap, backend: Backend, chunk: bytes, done: bool) -> bytes:
        was_over = cap.over
        passed = cap.feed(chunk, backend.tracker.deprecate_eof, backend.tracker.optional)
        if not cap.over or was_over:
            return passed
        rule = self.verdict.max_rows
        assert rule is not None
        rule.stats.capped += 1
        if not done:
            self._kill(backend)
        text = f"The rule {rule.name} allows {rule.config.max_rows} rows, and this answer has more"
        return passed + codec.packet(cap.sequence, err_packet(ER_TOO_BIG, "42000", text))

    # -- the cache

    def keep_under(self, key: Key, until: float) -> None:
        """The answer may be kept for others, until a time."""
        self._key, self._until, self._answer, self._size = key, until, [], 0

    def _collect(self, backend: Backend, chunk: bytes, done: bool) -> None:
        rule, cache, tracker = self.verdict.cache, self._session.service.answers, backend.tracker
        assert self._answer is not None
        assert rule is not None
        self._size += len(chunk)
        if cache is None or self._key is None or self._size > cache.longest or tracker.changed:
            self._answer = None
            return
        self._answer.append(chunk)
        if not done:
            return
        if not tracker.error and not (self._cap is not None and self._cap.over):
            rule.stats.stored += 1
            cache.store(self._key, b"".join(self._answer), self._until)
        self._answer = None


def _with_error(chunk: bytes, error: bytes) -> bytes:
    """The end of a reply with another ERR packet in place of the last one, unless that began in an earlier chunk."""
    start = chunk.rfind(_INTERRUPTED) - HEADER
    if start < 0 or int.from_bytes(chunk[start : start + 3], "little") != len(chunk) - start - HEADER:
        return chunk
    return chunk[:start] + codec.packet(chunk[start + 3], error)


def begin(session: Session, command: bytes) -> bytes:
    """Put the command at hand (headers included) under its verdict; the command to run, rewritten if a rule says so.

    Raises SqlproxyError when a rule refuses it.
    """
    ruling = session.ruling
    if ruling is not None and ruling.number == session.statements:
        return command  # it runs again, as it was rewritten
    verdict = session.take_verdict(payload_of(command), 1)
    if verdict is None:
        return command
    _start(session, verdict)
    if verdict.text is None:
        return command
    if len(verdict.text) + 1 >= MAX_PAYLOAD or len(command) >= HEADER + MAX_PAYLOAD:
        raise SqlproxyError("A rule rewrites this statement, which is too long for that", code=ER_NOT_ALLOWED)
    return session.replace_command(codec.packet(command[3], command[HEADER : HEADER + 1] + verdict.text))


def begin_prepared(session: Session, text: bytes) -> None:
    """The same for the execution of a statement with this payload, which was rewritten when it was prepared."""
    ruling = session.ruling
    if ruling is None or ruling.number != session.statements:
        verdict = session.take_verdict(text, 1)
        if verdict is not None:
            _start(session, verdict)


def _start(session: Session, verdict: Verdict) -> None:
    ruling = Ruling(session, verdict)
    ruling.start()
    session.ruling = ruling


def answer_from_cache(session: Session, mask: int, payload: bytes) -> bool:
    """Answer the query at hand with what is kept; else let its answer be kept. False when it has to be run."""
    ruling, cache = session.ruling, session.service.answers
    rule = ruling.verdict.cache if ruling is not None else None
    if ruling is None or rule is None or cache is None:
        return False
    key = key_of(session, mask, payload)
    if key is None:
        return False
    now = time.monotonic()
    if session.state.written != session.seen_written:  # noticed later than it was written: that is the safe side
        session.seen_written, session.wrote_at = session.state.written, now
    fresh = now >= session.wrote_at + 2 * rule.config.cache
    known = cache.find(key) if fresh else None
    if known is None:
        ruling.keep_under(key, now + rule.config.cache)
        return False
    rule.stats.cached += 1
    session.client.write(known)
    session.idle()
    return True


def mirror(session: Session, mask: int, payload: bytes) -> None:
    """Send a copy of a read to where a rule wants it, if it can stand there alone."""
    ruling = session.ruling
    rule = ruling.verdict.mirror if ruling is not None else None
    if rule is None or not mask & READ or mask & MULTI or session.state.in_transaction or session.state.pins:
        return
    session.service.mirrors.offer(session, rule, payload)
