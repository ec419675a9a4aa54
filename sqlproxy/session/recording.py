"""What a session has done in its open transaction, so that it can be done again on another server.

Recorded are the commands as the client sent them and a checksum of each reply; the results themselves are not kept.
As MaxScale's ``transaction_replay``: https://mariadb.com/docs/maxscale (readwritesplit, transaction_replay).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlproxy.session.prepared import PreparedStatement
from sqlproxy.session.transaction import OPAQUE, begins_anew, chains
from sqlproxy.wire import codec
from sqlproxy.wire.attributes import NONE
from sqlproxy.wire.checksum import Checksum
from sqlproxy.wire.constants import COM_QUERY, COM_STMT_FETCH, HEADER, SERVER_STATUS_IN_TRANS_READONLY
from sqlproxy.wire.response import CURSOR, QUERY

if TYPE_CHECKING:
    from sqlproxy.session.backend import Backend
    from sqlproxy.session.session import Session

_OVERHEAD: Final = 256  # bytes accounted for a step besides its command
_READ_ONLY: Final = codec.packet(0, bytes((COM_QUERY,)) + b"START TRANSACTION READ ONLY")
_READ_WRITE: Final = codec.packet(0, bytes((COM_QUERY,)) + b"START TRANSACTION READ WRITE")


class Step:
    """One statement of the transaction and what it was answered with; not changed once it is made.

    ``command`` is whole, as the client sent it but for its query attributes, which are ``block``; ``statement``,
    ``types`` and ``long_data`` belong to a COM_STMT_EXECUTE. ``digest`` is the reply's checksum, ``insert_id`` the one
    the server reported, 0 for none.
    """

    __slots__ = ("block", "command", "digest", "insert_id", "kind", "long_data", "mask", "statement", "types")

    def __init__(
        self,
        command: bytes,
        kind: int,
        mask: int,
        digest: bytes,
        insert_id: int = 0,
        statement: PreparedStatement | None = None,
        types: bytes = b"",
        long_data: tuple[bytes, ...] = (),
        block: bytes = NONE,
    ) -> None:
        self.command = command
        self.kind = kind
        self.mask = mask
        self.digest = digest
        self.insert_id = insert_id
        self.statement = statement
        self.types = types
        self.long_data = long_data
        self.block = block


class TransactionLog:
    """The steps of the open transaction. ``reason`` says why it cannot be replayed, "" when it can.

    ``prelude`` is the payload of a SET TRANSACTION that it began with; ``position`` the session history's position
    and ``insert_id`` what is known of LAST_INSERT_ID() then.
    """

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.steps: list[Step] = []
        self.size = 0
        self.reason = ""
        self.prelude = b""
        self.position = 0
        self.insert_id = 0
        self._found_position = 0  # of the history, when the statement at hand was sent
        self._found_prelude = b""  # SET TRANSACTION in force then
        self._found_insert_id = 0  # and LAST_INSERT_ID()
        self._found_open = False  # a transaction, then

    def expect(self, session: Session, backend: Backend) -> None:
        """The statement just sent may belong to a transaction: note what it finds, and have its reply hashed."""
        state = session.state
        self._found_position = state.history.position
        self._found_prelude = state.next_transaction
        self._found_insert_id = state.insert_id
        self._found_open = state.transaction != ""
        backend.tracker.checksum = Checksum()
        backend.tracker.counts = session.counts

    def take(
        self, session: Session, backend: Backend, statement: PreparedStatement | None, long_data: tuple[bytes, ...]
    ) -> None:
        """Keep the completed statement if a transaction is open now."""
        state, tracker = session.state, backend.tracker
        if not state.transaction:
            self.clear()
            return
        if not self._found_open or (begins_anew(session._mask) and not tracker.error):
            self.begin(self._found_position, self._found_prelude, self._found_insert_id)
        elif not self.steps:
            self.forbid("its beginning was not recorded")
        if session._doubtful:
            self.forbid("a statement that failed may have committed it")
        checksum = tracker.checksum
        if checksum is None:
            self.forbid("a part of it was not recorded")
            return
        types = statement.types if statement is not None else b""
        digest, kind = checksum.digest(), session._kind
        command, mask, insert_id = session._command, session._mask, tracker.insert_id
        if chains(mask):  # elsewhere there is no transaction before it to be like
            command = _READ_ONLY if state.status & SERVER_STATUS_IN_TRANS_READONLY else _READ_WRITE
            kind, statement, types = QUERY, None, b""
        self.record(Step(command, kind, mask, digest, insert_id, statement, types, long_data, session.block))
        if mask & OPAQUE:
            self.forbid("one of its statements may have committed a part of it")
        if kind == CURSOR or command[HEADER] == COM_STMT_FETCH:
            self.forbid("it has read through a cursor")

    def begin(self, position: int, prelude: bytes, insert_id: int) -> None:
        """A new transaction."""
        self.clear()
        self.position = position
        self.prelude = prelude
        self.insert_id = insert_id

    def record(self, step: Step) -> None:
        """Take in a completed statement; beyond the size cap everything is dropped."""
        if self.reason:
            return
        self.size += len(step.command) + len(step.block) + len(step.digest) + _OVERHEAD
        if step.long_data:
            self.size += sum(map(len, step.long_data))
        if self.size > self.max_size:
            self.forbid(f"it is larger than transaction_replay_max_size ({self.max_size} bytes)")
            return
        self.steps.append(step)

    def forbid(self, reason: str) -> None:
        """From here on the transaction cannot be replayed."""
        self.reason = self.reason or reason
        self.steps.clear()

    def clear(self) -> None:
        """The transaction is over."""
        if self.steps:
            self.steps = []
        self.size = 0
        self.reason = ""
        self.prelude = b""

    @property
    def replayable(self) -> bool:
        """There is something to replay and nothing against it."""
        return bool(self.steps) and not self.reason
