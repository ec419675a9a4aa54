"""One client's session: takes its commands, picks a backend for each, relays the replies.

The fast path is ``command`` → ``_ready`` → ``_send`` → ``on_reply`` → ``_finish``: no await, no task. Whatever it
cannot do (a new backend, history to replay, waiting for a primary, commands that need rewriting) is ordinary async code
in ``session.dispatch`` run by one task per command.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import ProtocolError, SqlproxyError
from sqlproxy.routing.allow_list import AllowList
from sqlproxy.routing.causal import needs_sync
from sqlproxy.routing.hints import HintStack
from sqlproxy.routing.rules import Candidates, Verdict
from sqlproxy.session import dispatch, errand, failure, guidance, leaving, losses, notes, replay, reports, uploading
from sqlproxy.session.backend import Backend, Owner
from sqlproxy.session.connect import Login
from sqlproxy.session.failure import Outcome
from sqlproxy.session.insert_ids import NEEDS, TOUCHES
from sqlproxy.session.prepared import PreparedStatement, execute_on, names_statement, reply_kind, statement_id
from sqlproxy.session.recording import TransactionLog
from sqlproxy.session.replay import COUNTS
from sqlproxy.session.ruling import Ruling, check_writable
from sqlproxy.session.state import EFFECTS, SessionState
from sqlproxy.session.trace import Trace, Tracing, end_trace, mark, step
from sqlproxy.session.transaction import GOES_ON, TIES
from sqlproxy.sql.bits import (
    BEGIN,
    BEGIN_READ_ONLY,
    CALL,
    EXECUTE_TEXT,
    FOUND_ROWS,
    LAST,
    LOCKING_READ,
    MULTI,
    READ,
    SESSION,
    UNKNOWN,
    UNLOCK_TABLES,
    UNSAFE_FUNCTION,
    USERVAR_WRITE,
    WRITE,
)
from sqlproxy.sql.familiar import classify_shape
from sqlproxy.sql.shape import shape_key
from sqlproxy.wire.attributes import NONE, block_length, cut_execute, with_block, without_block
from sqlproxy.wire.constants import (
    CLIENT_QUERY_ATTRIBUTES,
    COM_QUERY,
    COM_QUIT,
    COM_STMT_BULK_EXECUTE,
    COM_STMT_EXECUTE,
    ER_LOCK_DEADLOCK,
    ER_PARSE_ERROR,
    HEADER,
    MARIADB_CLIENT_CACHE_METADATA,
    MAX_PAYLOAD,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_CURSOR_EXISTS,
)
from sqlproxy.wire.framing import UploadReader, payload_of
from sqlproxy.wire.response import QUERY

if TYPE_CHECKING:
    from sqlproxy.session.client import Client
    from sqlproxy.session.service import Service

_OPENS: Final = BEGIN | BEGIN_READ_ONLY
_PROGRESS: Final = b"\xff\xff\xff"  # begins MariaDB's report on a long statement, which its reply follows
_NO_BLOCK: Final = len(NONE)
_ACTS_AND_FAILS: Final = CALL | EXECUTE_TEXT | UNKNOWN | UNSAFE_FUNCTION  # a part of these may be done before they fail
_NEEDS_ID: Final = NEEDS  # as a variable that the compiled form reads without a lookup
_TOUCHES_ID: Final = TOUCHES
_MAY_INSERT: Final = WRITE | SESSION
_SETTLING: Final = 8  # statements for which a session makes do with the server that it logged in to for its reads
_LEAVES: Final = GOES_ON | MULTI | CALL | UNKNOWN | TIES | SESSION  # elsewhere than on the primary looked at closely


class Session(Owner):
    """The state of one logged-in client and its backends, at most one per server."""

    def __init__(self, service: Service, client: Client, number: int, login: Login, charset: int) -> None:
        self.service = service
        self.client = client
        self.number = number
        self.login = login
        self.user = login.credentials.username
        self.state = SessionState(login.database, service.config.max_session_history, charset, service.generations)
        self.backends: dict[str, Backend] = {}
        self.busy = False
        self.waiting = ""  # what a slow path waits for
        self.started = time.time()
        self.active_at = time.monotonic()  # when the command at hand came; or, if there is none, the last one ended
        self.statements = 0
        self.deadline = 0.0  # loop time until which the command at hand may wait; 0.0: nothing waited yet
        self.avoid = (-1, "", "")  # snapshot and server that failed the command at hand, and how
        self.uploading: UploadReader | None = None
        self._current: Backend | None = None
        self._command = b""  # as the client sent it but for its query attributes, for running it again
        self.block = NONE  # these
        self._key = 0  # of the shape of the command's text, 0: not made
        self._attributed = bool(login.capabilities & CLIENT_QUERY_ATTRIBUTES)
        self._keeps = bool(login.capabilities & MARIADB_CLIENT_CACHE_METADATA)  # the client does definitions
        self._mask = 0
        self._kind = QUERY
        self._executing: PreparedStatement | None = None
        self._forwarded = False
        self._sent = 0  # tick of the service at which the statement at hand was sent
        self._size = 0  # bytes of the reply so far
        self._held = b""  # the beginning of a reply not yet known to be fit for the client
        self._loss: tuple[Outcome, str] | None = None  # what the next statement has to be told
        self.log = TransactionLog(service.config.transaction_replay_max_size)
        self.counts = COUNTS[service.config.transaction_replay_checksum]
        self._records = service.config.transaction_replay
        self._recording = False  # the statement at hand may belong to a transaction
        self._conflicts = 0  # times the command at hand was run again after error 1213
        self._losses = 0  # and after its server was lost
        self._doubtful = False  # a statement that failed may have committed the transaction all the same
        self._task: asyncio.Task[None] | None = None
        self.hints = HintStack()
        self.sees_state_changes = False  # the client has set session_track_state_change itself
        self.exactly_once = service.config.exactly_once
        self.in_doubt = False  # the command at hand may have been committed: nobody may interrupt it now
        self._attending: Backend | None = None  # where a reply is being collected for the client
        self.rules: Candidates | None = None  # that may concern this session's statements
        self.allow_list: AllowList | None = None  # of the service
        self.tracing: Tracing | None = None  # of the service
        self.trace: Trace | None = None  # of the statement at hand
        self.cleared = -1  # the statement with this number may run
        self.ruling: Ruling | None = None  # of the statement at hand
        self._verdict: tuple[int, Verdict | None] = (-1, None)  # of the statement with this number
        self.seen_written = 0  # of ``state.written``, by the rules' cache, and when
        self.wrote_at = float("-inf")
        self._always_slow = 0  # facts of statements that take the slow path in any case
        self._slow = 0  # and unless rules have nothing to say
        guidance.follow_rules(self)

    # -- the fast path

    def command(self, command: bytes) -> None:
        """Run a whole command (headers included); ``busy`` until its reply is complete."""
        if self._attributed:
            command = self._plain(command)
            if not command:
                return
        self._command = command
        self.deadline = 0.0
        self._key = 0
        self._conflicts = self._losses = 0
        self.active_at = time.monotonic()
        self.statements += 1
        self.service.stats.statements += 1
        if self.tracing is not None:
            self.trace = self.tracing.begin(self, command)
        code = command[HEADER]
        if len(command) < HEADER + MAX_PAYLOAD:
            if code == COM_QUERY:
                self._key = shape_key(command, HEADER + 1, self.state.mode)
                mask = classify_shape(command, HEADER + 1, self.state.mode, self._key)
                if not mask & self._slow or self._passes(mask, command, HEADER + 1):
                    backend = self._ready(mask)
                    if backend is not None:
                        self._send(backend, command, QUERY, mask)
                        return
            elif code == COM_STMT_EXECUTE and self._execute_fast(command):
                return
        if code == COM_QUIT:
            self.client.close()
            return
        self.busy = True
        self.avoid = (-1, "", "")
        errand.start(self, dispatch.run)

    def _plain(self, command: bytes) -> bytes:
        """The command without its query attributes, which are kept aside; b"" when they are malformed, and answered."""
        code = command[HEADER]
        self.block = NONE
        try:
            if code == COM_QUERY:
                length = block_length(command)
                if length > _NO_BLOCK:
                    self.block = payload_of(command)[1 : 1 + length]
                return without_block(command, length)
            if code == COM_STMT_EXECUTE:
                statement = self.state.statements.get(statement_id(command))
                if statement is not None:
                    command, self.block = cut_execute(command, statement.parameters, statement.sent_ahead)
        except ProtocolError as error:
            self.client.send_error(command, error)
            return b""
        return command

    def _execute_fast(self, command: bytes) -> bool:
        """Whether the command is on its way; what is malformed is answered by the slow path."""
        statement = self.prepared_at_hand()
        if statement is None or statement.long_data_size:
            return False
        if statement.mask & self._slow and not self._passes(statement.mask, statement.payload, 1):
            return False
        backend = self._ready(statement.mask)
        if backend is None:
            return False
        target = backend.statements.get(statement.number)
        if target is None or target.version != statement.version:
            return False
        kind = reply_kind(command)
        try:
            command = execute_on(statement, target, command, self.block)
        except ProtocolError:
            return False
        self._executing = statement
        self._send(backend, command, kind, statement.mask)
        return True

    def _ready(self, mask: int) -> Backend | None:
        """The backend for a statement if it can take it at once."""
        service = self.service
        state = self.state
        if mask & WRITE and service.is_stale():
            return None
        if state.pins and self.misplaced(mask):
            return None
        if mask & _LEAVES and state.transaction and state.transaction != service.snapshot.primary:
            return None
        if state.free and mask & READ and service.splitter is not None:
            server = service.splitter.read_server(state.last, service.snapshot, service.server_stats)
            if self.statements <= _SETTLING and server not in self.backends:
                server = self.stay(server)
        elif state.transaction and not state.pins:
            server = state.transaction  # what any router decides on, without a decision made for it
        elif mask & LAST and mask & USERVAR_WRITE and not state.pins:
            return None  # what is set must be known elsewhere
        else:
            context = state.context_for(mask) if mask & FOUND_ROWS else state.context
            server = service.routing.route(mask, context, service.snapshot, service.server_stats).server
        backend = self.backends.get(server)
        if backend is None or backend.applied != state.history.position:
            return None
        if backend.synced != state.written and self._must_sync(backend):
            return None
        if state.next_transaction and server != state.last:
            return None
        if mask & _NEEDS_ID and mask & WRITE and not state.has_insert_id(server, backend.thread_id):
            return None
        return backend

    def stay(self, server: str) -> str:
        """The server for a read: one that a young session is connected to rather than another one, ``server``."""
        service = self.service
        if self.statements <= _SETTLING and service.splitter is not None:
            for name in self.backends:
                if service.splitter.may_read(name, service.snapshot, service.server_stats):
                    return name
        return server

    def misplaced(self, mask: int) -> bool:
        """A write that only a server could take which is not the primary: the session's state is pinned there."""
        context, service = self.state.context, self.service
        if not mask & WRITE or not context.pinned or context.transaction or service.router != "readwritesplit":
            return False
        return service.snapshot.primary is not None and context.pinned != service.snapshot.primary

    def _must_sync(self, backend: Backend) -> bool:
        state = self.state
        return not state.in_transaction and needs_sync(
            self.service.config.causal_reads,
            self.service.snapshot.causal,
            state.written,
            backend.synced,
            backend.server == state.written_on,
        )

    def _send(self, backend: Backend, command: bytes, kind: int, mask: int) -> None:
        self.busy = True
        self._current = backend
        self._mask = mask
        self._kind = kind
        self._forwarded = False
        self._sent = self.service.ticks
        self._size = 0
        if mask & WRITE:
            backend.stats.writes += 1
            if mask & UNKNOWN:
                self.service.ledger.note_unknown(self, command)
        else:
            backend.stats.reads += 1
        if backend.attributed and command[HEADER] == COM_QUERY:
            command = with_block(command, self.block)
        backend.send(command, kind)
        if self._keeps:
            backend.tracker.keeps = self._executing is not None
        state = self.state
        self._recording = self._records and (
            mask & _OPENS != 0 or state.transaction != "" or not state.status & SERVER_STATUS_AUTOCOMMIT
        )
        if self._recording:
            self.log.expect(self, backend)

    def on_reply(self, backend: Backend, chunk: bytes, done: bool) -> None:
        """Relay a chunk of the reply; hold back what may turn out to be an error worth hiding."""
        if backend is not self._current:
            return
        tracker = backend.tracker
        self._size += len(chunk)
        if not self._forwarded:
            if self._held:
                chunk = self._held + chunk
            undecided = tracker.first < 0 or (tracker.first == 0xFF and not done)
            if undecided and chunk[HEADER : HEADER + 3] != _PROGRESS:  # which is of use only now
                self._held = chunk
                return
            self._held = b""
            if not undecided and tracker.first == 0xFF and losses.on_error(self, backend, chunk):
                return
            self._forwarded = True
        if self.ruling is not None:
            chunk = self.ruling.relay(backend, chunk, done)
        self.client.write(chunk)
        if done:
            self._finish(backend)
        elif tracker.upload:
            uploading.begin(self, backend)

    def _finish(self, backend: Backend) -> None:
        """The reply is complete: learn from it, take the next command."""
        state = self.state
        tracker = backend.tracker
        failed = tracker.error != 0
        statement = self._executing
        long_data: tuple[bytes, ...] = ()
        if statement is not None:
            long_data = self._finish_executing(backend, statement)
        changed = tracker.changed or state.needs(self._mask, tracker.status, backend.server)
        if changed and self._speaks_for_session(backend):
            self._learn(backend)
        now = self.service.ledger.enter(self, backend, statement, failed)
        if backend.server != state.found and tracker.first > 0 and not failed:
            state.note_found(backend.server, self._mask, self._kind)
        if failed and state.transaction != "":
            self._doubtful = self._doubtful or failure.may_commit(self._mask) or failure.may_end(tracker.error)
            if tracker.error == ER_LOCK_DEADLOCK:
                state.lose_transaction()  # the server has rolled all of it back
        else:
            self._doubtful = False
        if self._recording:
            self.log.take(self, backend, statement, long_data)
        self._current = None
        if failed and self._mask & _ACTS_AND_FAILS and tracker.error != ER_PARSE_ERROR and not state.pins:
            errand.start(self, partial(reports.ask, backend=backend))
            return
        self._idle_since(now)

    def _finish_executing(self, backend: Backend, statement: PreparedStatement) -> tuple[bytes, ...]:
        """A prepared statement has been executed; the long data it had been sent."""
        tracker = backend.tracker
        long_data: tuple[bytes, ...] = ()
        if tracker.described:
            notes.note_definitions(self, backend, statement)
        if statement.long_data_size or statement.cursor:
            long_data = tuple(statement.long_data)
            statement.reset()
        if not tracker.error and tracker.status & SERVER_STATUS_CURSOR_EXISTS:
            statement.cursor = backend.server
        self._executing = None
        return long_data

    def _learn(self, backend: Backend) -> None:
        """What the statement has done to the session's state."""
        state = self.state
        tracker = backend.tracker
        text = payload_of(self._command) if self._mask & EFFECTS else b""  # of no use without
        mask = self._mask
        failed = tracker.error != 0
        if failed and mask & MULTI and tracker.first != 0xFF:  # what came before the one that failed is done
            mask &= ~UNLOCK_TABLES
            failed = False
        state.completed(backend.server, mask, tracker.status, failed, text)
        if not failed and mask & _MAY_INSERT:
            if tracker.insert_id:
                state.hold_insert_id(backend.server, backend.thread_id, tracker.insert_id)
            elif mask & _TOUCHES_ID or (tracker.first > 0 and not mask & LOCKING_READ):
                notes.note_insert_id(self, backend, mask)
        if tracker.changed:
            reports.take(self, backend, self.text_at_hand)
        backend.applied = state.history.position

    def _speaks_for_session(self, backend: Backend) -> bool:
        """False for the server of an open cursor when the session has gone on elsewhere."""
        state = self.state
        if backend.applied != state.history.position:
            return False
        return not state.transaction or state.transaction == backend.server

    def asks_for_reports(self) -> bool:
        """The client says by the statement at hand whether it is told that session state has changed."""
        return reports.asked_for(self)

    async def replay(self, reason: str, claim: bytes = b"", *, anywhere: bool = True) -> str:
        """Bring back the transaction lost for ``reason``; "" when it is open again, else why it is not.

        ``claim``, ``anywhere`` and AlreadyCommitted: see ``session.replay``.
        """
        if self.state.pins:
            return f"the session is pinned: {self.state.context.pin_reason}"
        if not self.log.replayable:
            return self.log.reason or "it was not recorded"
        with step(self, "replay", **{"sqlproxy.reason": reason}):
            refused = await replay.replay(self, reason, claim, anywhere=anywhere)
        if refused:
            self.log.clear()
        return refused

    def move_transaction(self, backend: Backend) -> None:
        """Give up a transaction on a live server, to be replayed on the primary."""
        self._loss = (Outcome.TRANSACTION_LOST, f"server {backend.server} is no longer the primary")
        self._drop(backend)

    def give_up(self, backend: Backend) -> None:
        """Drop a connection whose state is not worth keeping."""
        self._drop(backend)

    def idle(self) -> None:
        """Ready for the next command."""
        self._idle_since(time.monotonic())

    def _idle_since(self, now: float) -> None:
        if self.ruling is not None:
            if not self.ruling.end():
                return  # it comes again when nothing of this one is under way any more
            self.ruling = None
        if self.trace is not None:
            end_trace(self)
        self.busy = False
        if self.waiting:
            errand.stop_waiting(self)
        self.active_at = now
        if self.service.leaving:
            leaving.leave(self, self.service.leaving)
        self.client.next_command()

    def upload(self, chunk: bytes) -> None:
        """Bytes of the file a server asked for."""
        uploading.upload(self, self._current, chunk)

    # -- failures

    def on_lost(self, backend: Backend, reason: str) -> None:
        """A backend broke or was given up."""
        losses.on_lost(self, backend, reason)

    def _fail(self, error: SqlproxyError) -> None:
        self.service.ledger.refuse(self, self.prepared_at_hand(), error)
        self.client.send_error(self._command, error)

    @property
    def command_at_hand(self) -> bytes:
        """What the client sent last, headers included."""
        return self._command

    @property
    def text_at_hand(self) -> bytes:
        """The payload of the command at hand, or of the prepared statement that it executes."""
        statement = self.prepared_at_hand()
        return statement.payload if statement is not None else payload_of(self._command)

    def prepared_at_hand(self) -> PreparedStatement | None:
        """The prepared statement that the command at hand executes; None also when it is too short to name one."""
        command = self._command
        if command[HEADER] in (COM_STMT_EXECUTE, COM_STMT_BULK_EXECUTE) and names_statement(command):
            return self.state.statements.get(statement_id(command))
        return None

    def take_loss(self) -> tuple[Outcome, str] | None:
        """What was lost since the last statement; asked once, by the next one."""
        loss, self._loss = self._loss, None
        return loss

    def tell_loss(self, loss: tuple[Outcome, str]) -> None:
        """Answer the command at hand with a loss that happened before it."""
        losses.tell(self, *loss)

    def _drop(self, backend: Backend) -> None:
        self.backends.pop(backend.server, None)
        self.state.forget_answers(backend.server)
        self.client.resume_reading()
        backend.close()

    # -- slow paths

    def stream(self, backend: Backend, command: bytes, kind: int, mask: int) -> None:
        """Send a command whose reply takes the fast path; the end of a slow path."""
        self._task = None
        errand.stop_waiting(self)
        config = self.service.config
        self.service.note_pause(asyncio.get_running_loop().time() - self.deadline + config.failover_timeout)
        self._send(backend, command, kind, mask)

    def _passes(self, mask: int, data: bytes, start: int) -> bool:
        """Rules may concern the statement ``data[start:]``, but none acts and nothing else is in its way."""
        if mask & self._always_slow:
            return False
        allowed = self.allow_list
        if allowed is not None:
            if allowed.missing(data, start, self.state.mode, self.user):
                return False
            self.cleared = self.statements
        return self.take_verdict(data, start) is None

    def take_verdict(self, data: bytes, start: int) -> Verdict | None:
        """What rules say about the command at hand; asked again they say the same."""
        if self.rules is None:
            return None
        if self._verdict[0] != self.statements:
            state = self.state
            self._verdict = (self.statements, self.rules.decide(data, start, state.database, state.mode))
        return self._verdict[1]

    def replace_command(self, command: bytes) -> bytes:
        """A rule has rewritten the command at hand."""
        self._command = command
        return command

    def check_writable(self, mask: int) -> None:
        """Raises SqlproxyError while the service is read-only and the statement may write."""
        if self.service.read_only:
            check_writable(self, mask)

    def executing(self, statement: PreparedStatement) -> None:
        """The next command streamed executes this statement."""
        self._executing = statement

    def answer_ok(self) -> None:
        """OK as the whole answer to the command at hand."""
        self.client.send_ok(self._command, self.state.status)
        self.idle()

    # -- flow control and the end

    def pause_replies(self) -> None:
        """The client does not read; it begins no further command until it does."""
        if self._current is not None:
            self._current.pause_reading()

    def resume_replies(self) -> None:
        """The client reads again; every backend may have been paused."""
        for backend in self.backends.values():
            backend.resume_reading()

    def on_backend_full(self) -> None:
        """The server does not read."""
        self.client.pause_reading()

    def on_backend_drained(self) -> None:
        """The server reads again."""
        self.client.resume_reading()

    @property
    def unsettled(self) -> bool:
        """Something is under way, or is still to be told, that only this process knows of."""
        return self._task is not None or self._loss is not None or self.uploading is not None or self.ruling is not None

    @property
    def running_on(self) -> Backend | None:
        """The backend that works for this session now."""
        return self._current or self._attending

    def adopt(self, login: Login, charset: int) -> None:
        """Become another user's session: every connection and all state go."""
        for backend in tuple(self.backends.values()):
            self._drop(backend)
        self.login = login
        self.user = login.credentials.username
        service = self.service
        self.state = SessionState(login.database, service.config.max_session_history, charset, service.generations)
        self.log.clear()
        self.hints.clear()
        guidance.follow_rules(self)

    def close(self) -> None:
        """The client is gone."""
        if self.trace is not None:
            mark(self, "the client is gone")
            end_trace(self)
        if self._task is not None:
            self._task.cancel()
        if self.ruling is not None:
            self.ruling.end()
            self.ruling = None
        if self.rules is not None:
            self.service.mirrors.forget(self.number)
        errand.stop_waiting(self)
        self._current = None
        reusable = not (self.busy or self._task or self.state.in_transaction or self.state.pins or self._loss)
        touched = bool(self.state.written or self.state.history.position or self.state.last_statement)
        for backend in tuple(self.backends.values()):
            if reusable and self.service.keep(backend, self.login, touched):
                del self.backends[backend.server]
            else:
                self._drop(backend)
