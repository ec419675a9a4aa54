"""One client's session: takes its commands, picks a backend for each, relays the replies.

The fast path is ``command`` → ``_ready`` → ``_send`` → ``on_reply`` → ``_finish``: no await, no task. Whatever it
cannot do (a new backend, history to replay, waiting for a primary, commands that need rewriting) is ordinary async code
in ``session.dispatch`` run by one task per command.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic, time
from typing import TYPE_CHECKING, Final, TypeVar

from sqlproxy.errors import NoServerAvailable, ProtocolError, ServerProtocolError, SqlproxyError
from sqlproxy.routing.allow_list import AllowList
from sqlproxy.routing.causal import needs_sync
from sqlproxy.routing.hints import Hint, HintStack
from sqlproxy.routing.rules import Candidates, Verdict
from sqlproxy.session import dispatch, failure, losses, replay
from sqlproxy.session.backend import Backend, Owner
from sqlproxy.session.connect import Login
from sqlproxy.session.failure import Outcome
from sqlproxy.session.prepared import PreparedStatement, execute_on, reply_kind, statement_id
from sqlproxy.session.replay import COUNTS
from sqlproxy.session.ruling import Ruling, check_writable
from sqlproxy.session.state import EFFECTS, SessionState, sets_reports
from sqlproxy.session.transaction import GOES_ON, OPAQUE, Step, TransactionLog, begins_anew
from sqlproxy.sql.bits import (
    BEGIN,
    BEGIN_READ_ONLY,
    CALL,
    DDL,
    EXECUTE_TEXT,
    EXPLAIN,
    FOUND_ROWS,
    HINT,
    KILL,
    LAST,
    MODE_SERVERS,
    MULTI,
    READ,
    SHOW,
    TARGETS,
    UNKNOWN,
    USERVAR_WRITE,
    WRITE,
)
from sqlproxy.sql.classify import classify
from sqlproxy.sql.shape import shape_key
from sqlproxy.topology.model import AdminState
from sqlproxy.wire.attributes import NONE, block_length, cut_execute, with_block, without_block
from sqlproxy.wire.checksum import Checksum
from sqlproxy.wire.constants import (
    CLIENT_QUERY_ATTRIBUTES,
    COM_QUERY,
    COM_QUIT,
    COM_STMT_BULK_EXECUTE,
    COM_STMT_EXECUTE,
    COM_STMT_FETCH,
    ER_LOCK_DEADLOCK,
    HEADER,
    MAX_PAYLOAD,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_CURSOR_EXISTS,
)
from sqlproxy.wire.framing import UploadReader, payload_of
from sqlproxy.wire.response import CURSOR, QUERY
from sqlproxy.wire.session_track import Change, parse

if TYPE_CHECKING:
    from sqlproxy.session.client import Client
    from sqlproxy.session.service import Service

log = logging.getLogger("sqlproxy.session")
T = TypeVar("T")

_OPENS: Final = BEGIN | BEGIN_READ_ONLY
_PROGRESS: Final = b"\xff\xff\xff"  # begins MariaDB's report on a long statement, which its reply follows
_FINDS_NOTHING: Final = EXPLAIN | DDL  # results that leave FOUND_ROWS() alone
_NO_BLOCK: Final = len(NONE)
_SETTLING: Final = 8  # statements for which a session makes do with the server that it logged in to for its reads
_LEAVES: Final = (
    GOES_ON | MULTI | CALL | UNKNOWN
)  # in a transaction elsewhere than on the primary, these are looked at closely
_SLOW: Final = KILL | EXECUTE_TEXT | HINT  # facts that need more than forwarding


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
        self.started = time()
        self.active_at = monotonic()  # when the command at hand came; or, if there is none, the last one ended
        self.statements = 0
        self.deadline = 0.0  # loop time until which the command at hand may wait; 0.0: nothing waited yet
        self.avoid = (-1, "")  # snapshot and server that failed the command at hand
        self.uploading: UploadReader | None = None
        self._current: Backend | None = None
        self._command = b""  # as the client sent it but for its query attributes, for running it again
        self.block = NONE  # these
        self._attributed = bool(login.capabilities & CLIENT_QUERY_ATTRIBUTES)
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
        self._position = 0  # of the history, when it was sent
        self._prelude = b""  # SET TRANSACTION in force then
        self._was_open = False  # a transaction, when it was sent
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
        self.cleared = -1  # the statement with this number may run
        self.ruling: Ruling | None = None  # of the statement at hand
        self._verdict: tuple[int, Verdict | None] = (-1, None)  # of the statement with this number
        self.seen_written = 0  # of ``state.written``, by the rules' cache, and when
        self.wrote_at = float("-inf")
        self.follow_rules()

    # -- the fast path

    def command(self, command: bytes) -> None:
        """Run a whole command (headers included); ``busy`` until its reply is complete."""
        if self._attributed:
            command = self._plain(command)
            if not command:
                return
        self._command = command
        self.deadline = 0.0
        self._conflicts = self._losses = 0
        self.active_at = monotonic()
        self.statements += 1
        self.service.stats.statements += 1
        code = command[HEADER]
        if len(command) < HEADER + MAX_PAYLOAD:
            if code == COM_QUERY:
                mask = classify(command, HEADER + 1, self.state.mode)
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
        self.avoid = (-1, "")
        self._start(dispatch.run)

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
        statement = self.state.statements.get(statement_id(command))
        if statement is None or statement.long_data_size:
            return False
        if statement.mask & self._slow and not self._passes(statement.mask, statement.payload, 1):
            return False
        backend = self._ready(statement.mask)
        if backend is None:
            return False
        target = backend.statements.get(statement.number)
        if target is None:
            return False
        self._executing = statement
        self._send(backend, execute_on(statement, target, command, self.block), reply_kind(command), statement.mask)
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
        return backend

    def stay(self, server: str) -> str:
        """The server for a read: one that a young session is connected to rather than another one, ``server``."""
        service = self.service
        if self.statements <= _SETTLING and service.splitter is not None:
            for name in self.backends:
                if service.splitter.may_read(name, service.snapshot):
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
                self._note_unknown(command)
        else:
            backend.stats.reads += 1
        if backend.attributed and command[HEADER] == COM_QUERY:
            command = with_block(command, self.block)
        backend.send(command, kind)
        state = self.state
        self._recording = self._records and (
            mask & _OPENS != 0 or state.transaction != "" or not state.status & SERVER_STATUS_AUTOCOMMIT
        )
        if self._recording:
            self._position = state.history.position
            self._prelude = state.next_transaction
            self._was_open = state.transaction != ""
            backend.tracker.checksum = Checksum()
            backend.tracker.counts = self.counts

    def _note_unknown(self, command: bytes) -> None:
        statement = self._executing
        text = command[HEADER + 1 :] if statement is None else statement.payload[1:]
        self.service.stats.unknown_statements += 1
        self.service.unknown.note(text, self.state.mode)

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
            self._begin_upload(backend)

    def _finish(self, backend: Backend) -> None:
        """The reply is complete: learn from it, take the next command."""
        state = self.state
        tracker = backend.tracker
        status = tracker.status
        failed = tracker.error != 0
        statement = self._executing
        long_data: tuple[bytes, ...] = ()
        if statement is not None:
            if statement.long_data_size or statement.cursor:
                long_data = tuple(statement.long_data)
                statement.reset()
            if not failed and status & SERVER_STATUS_CURSOR_EXISTS:
                statement.cursor = backend.server
            self._executing = None
        if self._speaks_for_session(backend) and (tracker.changed or state.needs(self._mask, status, backend.server)):
            text = payload_of(self._command) if self._mask & EFFECTS else b""  # of no use without
            state.completed(backend.server, self._mask, status, failed, text)
            if tracker.changed:
                self._take_report(backend, statement.payload if statement is not None else payload_of(self._command))
            backend.applied = state.history.position
        self._account(backend, statement, failed)
        if backend.server != state.found and tracker.first > 0 and not failed:
            self._note_found(backend.server)
        if failed and state.transaction != "":
            self._doubtful = self._doubtful or failure.may_commit(self._mask) or failure.may_end(tracker.error)
        else:
            self._doubtful = False
        if self._recording:
            self._record(backend, statement, long_data)
        self._current = None
        self.idle()

    def _account(self, backend: Backend, statement: PreparedStatement | None, failed: bool) -> None:
        """Count the statement at hand, run by ``backend``, and how long it took the client to get its whole reply."""
        tracker = backend.tracker
        now = monotonic()
        seconds = now - self.active_at
        if self._mask & WRITE:
            backend.stats.write_times.add(seconds)
        else:
            backend.stats.read_times.add(seconds)
        self._count(backend.server, statement, seconds, tracker.rows + tracker.affected, failed, now)
        if seconds >= self.service.slow_after:
            self.service.statement_log.slow(self, backend.server, statement, seconds)
        if failed and self.service.config.error_log:
            self.service.statement_log.answered(self, backend.server, statement, tracker.error)

    def _count(
        self, server: str, statement: PreparedStatement | None, seconds: float, rows: int, failed: bool, now: float
    ) -> None:
        text = self._command
        mode = self.state.mode
        start = HEADER + 1
        if statement is not None:
            text = statement.payload
            start = 1
            if not statement.key:
                statement.key = shape_key(text, start, mode)
            key = statement.key
        elif text[HEADER] == COM_QUERY:
            key = shape_key(text, start, mode)
        else:
            return
        known = not self._mask & UNKNOWN
        digests = self.service.digests
        digests.note(key, text, start, mode, self.user, server, known, seconds, rows, self._size, failed, now)

    def _note_found(self, server: str) -> None:
        """A result set was answered: if it was a SELECT's, or a SHOW's but for warnings, FOUND_ROWS() is about it."""
        mask = self._mask
        asks = mask & LAST and mask & SHOW
        finds = not mask & _FINDS_NOTHING or mask & SHOW  # DESCRIBE of a table is a SHOW
        if finds and not asks and (self._kind == QUERY or self._kind == CURSOR):
            self.state.found = server

    def _speaks_for_session(self, backend: Backend) -> bool:
        """False for the server of an open cursor when the session has gone on elsewhere."""
        state = self.state
        if backend.applied != state.history.position:
            return False
        return not state.transaction or state.transaction == backend.server

    def _take_report(self, backend: Backend, text: bytes) -> None:
        """The server says that session state changed; what the text does not explain pins the session."""
        try:
            reports = backend.tracker.changes
            change = parse(reports) if reports else Change(state=True)  # an EOF packet cannot say what changed
        except ServerProtocolError as error:
            log.warning("session %d: server %s: %s", self.number, backend.server, error.message)
            self._drop(backend)
            return
        if not self.state.tracked(self._mask, text, change):
            self._unexplained(backend, change)

    def _unexplained(self, backend: Backend, change: Change) -> None:
        self.service.stats.unexplained_changes += 1
        cause = "a stored procedure" if self._mask & CALL else "a statement whose text does not show it"
        names = b", ".join(sorted(change.variables)).decode(errors="replace")
        reason = f"session state{f' ({names})' if names else ''} changed on {backend.server} by {cause}"
        if backend.server == self.service.snapshot.primary:
            self.state.pin("tracker", reason, backend.server)
        elif not self.state.in_transaction:  # a replica must not become where writes go: nobody shall have that state
            log.info("session %d: %s, which is given up", self.number, reason)
            self._drop(backend)

    def asks_for_reports(self) -> bool:
        """The client says by the statement at hand whether it is told that session state has changed."""
        text = payload_of(self._command) if self._executing is None else self._executing.payload
        if not sets_reports(text, self.state.mode):
            return False
        self.sees_state_changes = True
        for backend in self.backends.values():
            self.show_reports(backend)
        return True

    def show_reports(self, backend: Backend) -> None:
        """A client that tracks session state and asked for these reports gets them."""
        if backend.only_state_change and self.sees_state_changes:
            backend.filters = False

    def _record(self, backend: Backend, statement: PreparedStatement | None, long_data: tuple[bytes, ...]) -> None:
        """Keep the completed statement if a transaction is open now."""
        state, tracker = self.state, backend.tracker
        if tracker.error == ER_LOCK_DEADLOCK:
            state.lose_transaction()  # the server has rolled all of it back
        if not state.transaction:
            self.log.clear()
            return
        if not self._was_open or (begins_anew(self._mask) and not tracker.error):
            self.log.begin(self._position, self._prelude)
        elif not self.log.steps:
            self.log.forbid("its beginning was not recorded")
        if self._doubtful:
            self.log.forbid("a statement that failed may have committed it")
        checksum = tracker.checksum
        if checksum is None:
            self.log.forbid("a part of it was not recorded")
            return
        types = statement.types if statement is not None else b""
        digest, kind = checksum.digest(), self._kind
        command, mask, insert_id = self._command, self._mask, tracker.insert_id
        self.log.record(Step(command, kind, mask, digest, insert_id, statement, types, long_data, self.block))
        if self._mask & OPAQUE:
            self.log.forbid("one of its statements may have committed a part of it")
        if kind == CURSOR or self._command[HEADER] == COM_STMT_FETCH:
            self.log.forbid("it has read through a cursor")

    async def replay(self, reason: str, claim: bytes = b"", *, anywhere: bool = True) -> str:
        """Bring back the transaction lost for ``reason``; "" when it is open again, else why it is not.

        ``claim``, ``anywhere`` and AlreadyCommitted: see ``session.replay``.
        """
        if self.state.pins:
            return f"the session is pinned: {self.state.context.pin_reason}"
        if not self.log.replayable:
            return self.log.reason or "it was not recorded"
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
        if self.ruling is not None:
            if not self.ruling.end():
                return  # it comes again when nothing of this one is under way any more
            self.ruling = None
        self.busy = False
        self.stop_waiting()
        self.active_at = monotonic()
        if self.service.leaving:
            self._leave(self.service.leaving)
        self.client.next_command()

    # -- LOAD DATA LOCAL INFILE

    def _begin_upload(self, backend: Backend) -> None:
        self.uploading = UploadReader()
        self.log.forbid("it has loaded a local file")
        rest = self.client.take_rest()
        if rest:
            self.upload(rest)

    def upload(self, chunk: bytes) -> None:
        """Bytes of the file a server asked for; what follows its end is the client's next command."""
        backend, reader = self._current, self.uploading
        if backend is None or reader is None:
            return
        end = reader.feed(chunk)
        backend.write(chunk if end < 0 else chunk[:end])
        if end >= 0:
            self.uploading = None
            backend.tracker.resume_upload()
            if end < len(chunk):
                self.client.put_back(chunk[end:])

    # -- failures

    def on_lost(self, backend: Backend, reason: str) -> None:
        """A backend broke or was given up."""
        losses.on_lost(self, backend, reason)

    def _fail(self, error: SqlproxyError) -> None:
        statement = self._prepared_at_hand()
        now = monotonic()
        self._size = 0
        self._count("", statement, now - self.active_at, 0, True, now)
        self.service.statement_log.refused(self, statement, error)
        self.client.send_error(self._command, error)

    @property
    def command_at_hand(self) -> bytes:
        """What the client sent last, headers included."""
        return self._command

    def _prepared_at_hand(self) -> PreparedStatement | None:
        """The prepared statement that the command at hand executes."""
        if self._command[HEADER] in (COM_STMT_EXECUTE, COM_STMT_BULK_EXECUTE):
            return self.state.statements.get(statement_id(self._command))
        return None

    def take_loss(self) -> tuple[Outcome, str] | None:
        """What was lost since the last statement; asked once, by the next one."""
        loss, self._loss = self._loss, None
        return loss

    def tell_loss(self, loss: tuple[Outcome, str]) -> None:
        """Answer the command at hand with a loss that happened before it."""
        losses.tell(self, *loss)

    def on_snapshot(self, lost: dict[str, str]) -> None:
        """Give up connections to servers that are lost; leave those to be left as soon as work there ends."""
        self.state.mode = self.state.mode & ~MODE_SERVERS | self.service.generations
        for server in lost.keys() & self.backends.keys():
            self.backends[server].abort(lost[server])
        if self.service.leaving and not self.busy:
            self._leave(self.service.leaving)

    def relieve(self, oldest: int) -> None:
        """Take the command at hand, if sent since tick ``oldest``, from a silent server to where it can go on.

        That is as if the server were lost, so only what a loss costs nothing: no write whose outcome would be unknown.
        """
        suspects = self.service.suspects
        backend = self.running_on
        if backend is None:
            if self._task is not None and not self.in_doubt:  # catching up, replaying, preparing: all begin anew
                for server in suspects.keys() & self.backends.keys():
                    if not self.backends[server].tracker.done:
                        self.backends[server].abort(suspects[server])
        elif (
            backend.server in suspects
            and self._sent >= oldest
            and (backend is self._attending or losses.may_leave(self))
        ):
            backend.abort(suspects[backend.server])

    def _leave(self, servers: frozenset[str]) -> None:
        """Close connections where nothing is open; maintenance moves open transactions by replay."""
        context = self.state.context
        kept = {context.pinned, *(statement.cursor for statement in self.state.statements.values())}
        for server in servers & self.backends.keys() - kept:
            if server == context.transaction:
                view = self.service.snapshot.server(server)
                if view is None or view.state is not AdminState.MAINTENANCE or not self.log.replayable:
                    continue
                self._loss = (Outcome.TRANSACTION_LOST, f"server {server} is in maintenance")
            self._drop(self.backends[server])

    def _drop(self, backend: Backend) -> None:
        self.backends.pop(backend.server, None)
        self.client.resume_reading()
        backend.close()

    # -- slow paths

    def _start(self, run: Callable[[Session, bytes], Awaitable[None]]) -> None:
        if not self.deadline:
            self.deadline = asyncio.get_running_loop().time() + self.service.config.failover_timeout
        self._task = asyncio.get_running_loop().create_task(self._guard(run))

    async def _guard(self, run: Callable[[Session, bytes], Awaitable[None]]) -> None:
        """Run a slow path; whatever goes wrong is answered."""
        try:
            await run(self, self._command)
        except SqlproxyError as error:
            self._executing = None
            self._fail(error)
            self.idle()
        except Exception:
            log.exception("session %d: internal error", self.number)
            self.client.close()
        finally:
            if self._task is asyncio.current_task():  # else the next command has begun its own
                self._task = None
                self.stop_waiting()

    def stream(self, backend: Backend, command: bytes, kind: int, mask: int) -> None:
        """Send a command whose reply takes the fast path; the end of a slow path."""
        self._task = None
        self.stop_waiting()
        config = self.service.config
        self.service.note_pause(asyncio.get_running_loop().time() - self.deadline + config.failover_timeout)
        self._send(backend, command, kind, mask)

    def wait_for(self, reason: str, write: bool) -> None:
        """The command at hand begins, or goes on, to wait. Raises NoServerAvailable when too many wait already."""
        service = self.service
        if not self.waiting:
            if service.waiting >= service.config.max_waiting:
                raise NoServerAvailable(f"{service.waiting} statements are waiting for a server already: {reason}")
            service.waiting += 1
            service.stats.primary_waits += write
        self.waiting = reason

    def stop_waiting(self) -> None:
        """The wait is over, whatever came of it."""
        if self.waiting:
            self.service.waiting -= 1
            self.waiting = ""

    def hinted(self, mask: int, payload: bytes) -> Hint | None:
        """The hint that the command at hand (a payload with a text) carries or has from an open block."""
        hint = self.hints.take(self.statements, mask, payload, 1, self.state.mode)
        self.follow_hints()
        return hint

    def follow_hints(self) -> None:
        """Take the slow path for everything while a block of hints is open or rules may concern the session."""
        self._always_slow = _SLOW | (WRITE if self.exactly_once or self.service.read_only else 0)
        self._always_slow |= TARGETS if self.hints.active else 0
        self._slow = self._always_slow | (TARGETS if self.rules is not None or self.allow_list is not None else 0)

    def follow_rules(self) -> None:
        """Find the rules that may concern this session."""
        book, user = self.service.rules, self.login.credentials.username.decode(errors="replace")
        self.rules = book.candidates(self.service.name, user, self.client.address) if book is not None else None
        self.allow_list = self.service.allow_list
        self.follow_hints()

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

    def ignore_hint(self, hint: Hint, reason: str) -> None:
        """Count a hint that cannot be followed; the session's first one is logged."""
        self.service.stats.hints_ignored += 1
        if not self.hints.told:
            self.hints.told = True
            log.info("session %d: a hint (%s) is ignored: %s", self.number, hint, reason)

    def executing(self, statement: PreparedStatement) -> None:
        """The next command streamed executes this statement."""
        self._executing = statement

    def note(self, backend: Backend, mask: int, failed: bool) -> None:
        """Take in a statement whose reply was collected instead of streamed."""
        self._mask = mask
        self._size = 0
        self._account(backend, self._prepared_at_hand(), failed)
        self.state.completed(backend.server, mask, backend.tracker.status, failed, payload_of(self._command))
        backend.applied = self.state.history.position

    def note_as(self, backend: Backend, mask: int, payload: bytes) -> None:
        """Take in a statement in the words of another that does the same on any server."""
        self.state.completed(backend.server, mask, backend.tracker.status, False, payload)
        backend.applied = self.state.history.position

    def note_on(self, server: str, mask: int) -> None:
        """Take in a statement that turns out to have succeeded; its effects are on ``server``."""
        self.state.completed(server, mask, self.state.status, False, payload_of(self._command))

    def answer_ok(self) -> None:
        """OK as the whole answer to the command at hand."""
        self.client.send_ok(self._command, self.state.status)
        self.idle()

    async def attend(self, backend: Backend, reply: Awaitable[T]) -> T:
        """Await what a backend does for the client, who may KILL it there."""
        self._attending = backend
        self._sent = self.service.ticks
        try:
            return await reply
        finally:
            self._attending = None

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

    def interrupt(self, error: SqlproxyError | None = None) -> bool:
        """KILL QUERY for a statement that has not reached a server; whether there was one."""
        task = self._task
        if task is None or self.running_on is not None or self.in_doubt:
            return False
        task.cancel()
        self._task = None
        self._fail(error or SqlproxyError("Query execution was interrupted", code=1317, sqlstate="70100"))
        self.idle()
        return True

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
        self.follow_rules()

    def limit_wait(self, seconds: float) -> None:
        """What is waited for from now on, is waited for no longer than this."""
        self.deadline = asyncio.get_running_loop().time() + min(seconds, self.service.config.failover_timeout)

    def close(self) -> None:
        """The client is gone."""
        if self._task is not None:
            self._task.cancel()
        if self.ruling is not None:
            self.ruling.end()
            self.ruling = None
        if self.rules is not None:
            self.service.mirrors.forget(self.number)
        self.stop_waiting()
        self._current = None
        reusable = not (self.busy or self._task or self.state.in_transaction or self.state.pins or self._loss)
        touched = bool(self.state.written or self.state.history.position or self.state.last_statement)
        for backend in tuple(self.backends.values()):
            if reusable and self.service.keep(backend, self.login, touched):
                del self.backends[backend.server]
            else:
                self._drop(backend)

    def describe(self) -> dict[str, object]:
        """One row for operators."""
        context = self.state.context
        written_on = self.service.snapshot.primary
        state = "waiting" if self.waiting else "active" if self.busy else "idle"
        return {
            "id": self.number,
            "service": self.service.name,
            "user": self.login.credentials.username.decode(errors="replace"),
            "host": self.client.host,
            "database": self.state.database.decode(errors="replace"),
            "primary": written_on if written_on in self.backends else None,
            "replica": next((name for name in self.backends if name != written_on), None),
            "state": state,
            "waiting_for": self.waiting,
            "in_transaction": bool(context.transaction),
            "pins": list(self.state.pins.values()),
            "statements": self.statements,
            "since": self.started,
            "idle_seconds": 0.0 if self.busy else round(monotonic() - self.active_at, 3),
        }
