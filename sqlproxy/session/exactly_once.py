"""Writes that happen exactly once, though the reply to their COMMIT was lost.

Every transaction writes a token: a row with an id of its own, committed or not together with the rest. Who is in doubt
does not ask whether the row is there, which could be too early; he does the same transaction again under the same id.
A duplicate key then says that the first one went through. Otherwise the id is taken now, and should the first one still
arrive, replication certifies only one of the two. So nothing depends on time, on views or on which server is asked.

A transaction takes its token just before COMMIT; an autocommit statement is put in a transaction of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import NoServerAvailable, ServerError, ServerLost, SqlproxyError
from sqlproxy.session import errand, failure, notes
from sqlproxy.session.acquire import LossTold, acquire
from sqlproxy.session.backend import Backend
from sqlproxy.session.conflicts import WORDS, conflict_of
from sqlproxy.session.failure import Outcome
from sqlproxy.session.prepared import execute_on, long_data_on, reply_kind, statement_id
from sqlproxy.session.replay import AlreadyCommitted
from sqlproxy.session.statements import ready_on
from sqlproxy.session.tokens import applies, claim_of, new_token, without_transaction
from sqlproxy.sql.bits import BEGIN, BEGIN_READ_ONLY, WRITE
from sqlproxy.wire.constants import (
    COM_QUERY,
    ER_CONNECTION_KILLED,
    ER_DUP_ENTRY,
    ER_LOCK_DEADLOCK,
    ER_SERVER_SHUTDOWN,
)
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.packets import parse_ok
from sqlproxy.wire.response import QUERY

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

Run = Callable[[Backend], Awaitable[bytes]]  # the client's statement on a backend: its collected reply

NO_LIMIT: Final = 1e8  # seconds: statements and commits take as long as they take, the monitor ends hung servers
_LOST_THREAD: Final = 0  # of no connection: the one on which an earlier try went through is gone
_PAUSE: Final = 0.02  # seconds at most before a conflict is tried again
_OPENS: Final = BEGIN | BEGIN_READ_ONLY


async def run(session: Session, mask: int, statement: Run) -> None:
    """Run a statement for which ``applies`` holds and answer it. Raises what the client shall read, or LossTold."""
    write = _Write(session, mask, statement)
    try:
        await (write.end_transaction() if session.state.in_transaction else write.single())
        session.service.stats.outcomes_decided += write.in_doubt
    finally:
        session.in_doubt = False


async def run_prepared(session: Session, command: bytes) -> bool:
    """The same for a COM_STMT_EXECUTE (headers included); False when it is none of ours."""
    statement = session.state.statements.get(statement_id(command))
    if statement is None or statement.hint or session.hints.active:
        return False
    if statement.overflow or not applies(session.state, statement.mask, statement.payload):
        return False

    async def execute(backend: Backend) -> bytes:
        target = await ready_on(session, backend, statement)
        for payload in statement.long_data:
            backend.write(long_data_on(target, payload))
        packet = execute_on(statement, target, command, session.block)
        return await backend.call(payload_of(packet), reply_kind(command), NO_LIMIT)

    try:
        await run(session, statement.mask, execute)
    finally:
        statement.reset()
    return True


class _Write:
    """One transaction on its way. ``_doubt`` is why an earlier COMMIT of it may have gone through, "" when none may."""

    def __init__(self, session: Session, mask: int, statement: Run) -> None:
        self._session = session
        self._mask = mask
        self._statement = statement
        self._claim = claim_of(new_token())
        self._doubt = ""
        self._reply = b""  # to an autocommit statement, of the newest try
        self._doubted: set[bytes] = set()  # the replies of the tries that may have gone through
        self._conflicts = self._losses = 0

    @property
    def in_doubt(self) -> bool:
        """A COMMIT was sent and not answered."""
        return bool(self._doubt)

    # -- COMMIT of a transaction

    async def end_transaction(self) -> None:
        """Token, then COMMIT; bring the transaction back as often as its server is lost."""
        session = self._session
        backend = await acquire(session, self._mask)
        if not _has_written(session):
            await self._end_reading(backend)
            return
        claimed = False
        while True:
            step = "token"
            try:
                if not claimed:
                    await self._call(backend, self._claim)
                step = "commit"
                reply = await self._collect(backend)
            except ServerLost as error:
                why = error.message
                self._note_doubt(step, why)
            except ServerError as error:
                why = await self._why_again(backend, error, step)
                if not why:
                    await self._refuse(backend, error, step)
            else:
                self._answer(backend, reply, backend.thread_id)
                return
            found = await self._bring_back(why)
            if found is None:
                return
            backend, claimed = found, True

    async def _end_reading(self, backend: Backend) -> None:
        """Nothing was written: what became of the COMMIT makes no difference."""
        session = self._session
        try:
            reply = await self._collect(backend)
        except ServerLost:
            session.take_loss()
        except ServerError as error:
            if not failure.is_evidence(error.code, error.message.encode()):
                raise
            session.give_up(backend)
        else:
            self._answer(backend, reply, backend.thread_id)
            return
        session.state.lose_transaction()
        session.log.clear()
        session.answer_ok()

    async def _bring_back(self, why: str) -> Backend | None:
        """The transaction, open again with its token; None when it is answered: it was committed before."""
        session = self._session
        session.take_loss()
        try:
            refused = await session.replay(why, self._claim)
        except AlreadyCommitted as error:
            self._answer_committed(error.server)
            return None
        except NoServerAvailable as error:
            raise self._undecided(error) from None
        if not refused:
            return session.backends[session.state.context.transaction]
        if self._doubt and (server := await self._was_committed()):
            self._answer_committed(server)
            return None
        session.tell_loss((Outcome.TRANSACTION_LOST, f"{why}, and {refused}"))
        raise LossTold(refused)

    def _answer_committed(self, server: str) -> None:
        """The lost reply was an OK. ``server`` has the transaction now."""
        session = self._session
        session.state.lose_transaction()
        notes.note_on(session, server, self._mask)
        session.log.clear()
        session.answer_ok()

    async def _refuse(self, backend: Backend, error: ServerError, step: str) -> None:
        """Raises what the client reads when the transaction can go no further."""
        session = self._session
        if step == "commit":
            if self._doubt and (server := await self._was_committed()):
                self._answer_committed(server)
                raise LossTold(error.message)
            if error.code == ER_LOCK_DEADLOCK:
                session.state.lose_transaction()
                session.log.clear()
            raise error
        await self._roll_back(backend)
        session.state.lose_transaction()
        session.log.clear()
        text = f"The transaction was rolled back because its commit token could not be written: {error.message}"
        raise SqlproxyError(text, code=error.code, sqlstate=error.sqlstate)

    # -- an autocommit statement

    async def single(self) -> None:
        """BEGIN, token, the statement, COMMIT; again when the server is lost, which the statement itself may cause."""
        session = self._session
        while True:
            backend = await self._acquire()
            step = "token"
            try:
                await self._call(backend, b"START TRANSACTION")
                await self._call(backend, self._claim)
                step = "statement"
                self._reply = without_transaction(await self._collect(backend))
                step = "commit"
                await self._call(backend, b"COMMIT")
            except ServerLost as error:
                self._note_doubt(step, error.message)
                self._losses += 1
                if self._losses > session.service.config.transaction_replay_attempts:
                    await self._give_up(error)
                    return
            except ServerError as error:
                if error.code == ER_DUP_ENTRY and step == "token" and self._doubt:
                    await self._roll_back(backend)
                    self._answer(backend, self._committed_reply(), _LOST_THREAD)
                    return
                if not await self._why_again(backend, error, step):
                    await self._refuse_single(backend, error, step)
                    return
            else:
                self._answer(backend, self._reply, backend.thread_id)
                return
            await asyncio.sleep(random.uniform(0.001, _PAUSE) if self._conflicts else 0)

    async def _acquire(self) -> Backend:
        try:
            return await acquire(self._session, self._mask)
        except NoServerAvailable as error:
            raise self._undecided(error) from None

    async def _give_up(self, error: ServerLost) -> None:
        """Too many servers were lost under the statement; unless one of them had applied it, the client reads that."""
        session = self._session
        if self._doubt and (server := await self._was_committed()):
            self._answer_late(server)
            return
        session.take_loss()
        session.state.lose_transaction()
        text = f"The statement was not applied: {error.message}, as were the {self._losses - 1} before it"
        raise ServerLost(text)

    def _answer_late(self, server: str) -> None:
        """An earlier try went through: ``server`` has what it did."""
        reply = self._committed_reply()
        notes.note_on(self._session, server, self._mask)
        self._note_insert_id(server, _LOST_THREAD, reply)
        self._session.client.write(reply)
        self._session.idle()

    def _note_insert_id(self, server: str, thread_id: int, reply: bytes) -> None:
        """The statement may have set LAST_INSERT_ID(), on this connection."""
        insert_id = parse_ok(payload_of(reply)).insert_id
        if insert_id:
            self._session.state.hold_insert_id(server, thread_id, insert_id)

    async def _refuse_single(self, backend: Backend, error: ServerError, step: str) -> None:
        """The statement has failed; unless an earlier try of it went through, the client reads why."""
        session = self._session
        await self._roll_back(backend)
        if self._doubt and (server := await self._was_committed()):
            self._answer_late(server)
            return
        if step == "token":
            text = f"The statement was not run because its commit token could not be written: {error.message}"
            raise SqlproxyError(text, code=error.code, sqlstate=error.sqlstate)
        if not backend.closed:
            notes.note(session, backend, self._mask, failed=True)
        raise error

    # -- both

    async def _why_again(self, backend: Backend, error: ServerError, step: str) -> str:
        """Why an error is worth another try, "" when it is the answer."""
        session, text = self._session, error.message.encode()
        if failure.is_evidence(error.code, text):
            session.service.evidence(backend.server, f"error {error.code} from a session")
        if failure.is_conflict(error.code):
            return await self._why_conflicted(backend, error.code, step)
        outcome = failure.after_error(error.code, text, self._mask, in_transaction=False, pinned=False)
        ended = error.code in (ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED)
        if outcome is Outcome.FORWARD and not ended:
            return ""
        if ended or failure.is_doubtful(error.code, text):
            self._note_doubt(step, error.message)
        session.give_up(backend)
        session.avoid = (session.service.snapshot.number, backend.server, f"server {backend.server}: {error.message}")
        return f"server {backend.server} was lost ({error.message})"

    async def _why_conflicted(self, backend: Backend, code: int, step: str) -> str:
        config = self._session.service.config
        if not config.transaction_replay or self._conflicts >= config.transaction_replay_attempts:
            return ""
        self._conflicts += 1
        asked = conflict_of(self._session, backend, code, committing=step == "commit", alone=False)
        kind = await errand.attend(self._session, backend, asked)
        if failure.may_end(code):
            self._session.give_up(backend)  # whatever may still be open there must not be committed by the next BEGIN
        return f"a conflict on {backend.server} rolled it back: {WORDS[kind]}"

    def _note_doubt(self, step: str, why: str) -> None:
        if step == "commit":
            self._doubt = why
            self._doubted.add(self._reply)
            self._session.in_doubt = True

    def _committed_reply(self) -> bytes:
        """What the try that went through had answered; a later one that was rolled back may have had another insert id.

        Raises LossTold when several may be the one and answered differently.
        """
        if len(self._doubted) > 1:
            raise self._undecided(SqlproxyError("it was applied once, by one of several tries with different answers"))
        return next(iter(self._doubted))

    def _undecided(self, error: SqlproxyError) -> SqlproxyError:
        """What to raise when time is up."""
        if not self._doubt:
            return error
        self._session.take_loss()
        self._session.tell_loss((Outcome.UNKNOWN, f"{self._doubt}, and then: {error.message}"))
        return LossTold(error.message)

    async def _was_committed(self) -> str:
        """A server that has the token already, "" when none has: from now on none ever will. Raises LossTold."""
        session = self._session
        session.state.lose_transaction()
        for _ in range(session.service.config.transaction_replay_attempts):
            backend = await self._acquire()
            try:  # nobody may break this off: what is found next would prove nothing
                await backend.call(bytes((COM_QUERY,)) + self._claim, QUERY, NO_LIMIT)
                if not session.state.context.autocommit:
                    await self._call(backend, b"COMMIT")
            except ServerError as error:
                if error.code == ER_DUP_ENTRY:
                    return backend.server
                if not await self._why_again(backend, error, "token"):
                    raise self._undecided(error) from None
            except ServerLost as error:  # the token that is found next may be the one written just now
                raise self._undecided(error) from None
            else:
                return ""
        raise self._undecided(NoServerAvailable("the commit token could not be written"))

    async def _call(self, backend: Backend, text: bytes) -> None:
        await errand.attend(self._session, backend, backend.call(bytes((COM_QUERY,)) + text, QUERY, NO_LIMIT))

    async def _collect(self, backend: Backend) -> bytes:
        backend.stats.writes += 1
        return await errand.attend(self._session, backend, self._statement(backend))

    async def _roll_back(self, backend: Backend) -> None:
        try:
            await self._call(backend, b"ROLLBACK")
        except SqlproxyError:
            self._session.give_up(backend)

    def _answer(self, backend: Backend, reply: bytes, thread_id: int) -> None:
        """Pass on the OK of the try that went through, on the connection with this thread id."""
        session = self._session
        notes.note(session, backend, self._mask, failed=False)
        self._note_insert_id(backend.server, thread_id, reply)  # of the statement, not of what was run after it
        session.log.clear()
        session.client.write(reply)
        session.idle()


def _has_written(session: Session) -> bool:
    """Whether the open transaction may have changed anything; what was not recorded may have."""
    steps = session.log.steps
    return not session.log.replayable or any(step.mask & WRITE and not step.mask & _OPENS for step in steps)
