"""A client's connection to a simulated node: mysql-mimic's command phase with its gaps closed.

What mysql-mimic does not do or gets wrong is overridden: status flags in OK and EOF packets, affected rows and insert
ids, binary parameters (it pastes them into the SQL text unquoted), DEPRECATE_EOF after parameter definitions,
COM_RESET_CONNECTION, COM_CHANGE_USER, error codes with their SQLSTATE, and logging a traceback per client error.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mysql_mimic.auth import IdentityProvider
from mysql_mimic.connection import Connection
from mysql_mimic.control import LocalControl
from mysql_mimic.packets import make_binary_resultrow
from mysql_mimic.prepared import PreparedStatement
from mysql_mimic.results import ResultColumn
from mysql_mimic.session import BaseSession
from mysql_mimic.types import Capabilities, ColumnType

from sqlproxy.door import ConnectionGone, Packets
from sqlproxy.errors import ProtocolError, ServerError, SqlproxyError
from sqlproxy.lab import embedded_results as results
from sqlproxy.lab.embedded_errors import sql_error
from sqlproxy.lab.embedded_login import CAPABILITIES, change_user
from sqlproxy.lab.embedded_session import Session
from sqlproxy.lab.embedded_sql import count_parameters
from sqlproxy.lab.embedded_store import Rows
from sqlproxy.lab.embedded_variables import MAX_PACKET
from sqlproxy.wire import codec, packets
from sqlproxy.wire import constants as c

_MAX_STATEMENTS = 16382  # MariaDB's max_prepared_stmt_count


class NodeConnection(Connection):  # type: ignore[misc]  # mysql-mimic is not typed
    """The command phase of a client that has logged in. ``serve`` runs it until the client leaves."""

    def __init__(self, stream: Packets, session: Session, capabilities: int, users: Mapping[str, str]) -> None:
        super().__init__(stream, BaseSession(), LocalControl(server_id=1), IdentityProvider())  # which knows nobody
        self.stream: Packets = stream
        self.sql = session
        self.capabilities = Capabilities(capabilities & CAPABILITIES)
        self.prepared_stmts: dict[int, PreparedStatement] = {}
        self._users = users
        self._types: dict[int, list[int]] = {}
        self._query: asyncio.Future[Any] | None = None
        self._handlers: dict[int, Callable[[bytes], Awaitable[None]]] = {
            c.COM_QUERY: self.handle_query,
            c.COM_INIT_DB: self.handle_init_db,
            c.COM_PING: self.handle_ping,
            c.COM_DEBUG: self.handle_debug,
            c.COM_FIELD_LIST: self.handle_field_list,
            c.COM_STATISTICS: self.handle_statistics,
            c.COM_PROCESS_KILL: self.handle_process_kill,
            c.COM_CHANGE_USER: self.handle_change_user,
            c.COM_RESET_CONNECTION: self.handle_reset_connection,
            c.COM_STMT_PREPARE: self.handle_stmt_prepare,
            c.COM_STMT_EXECUTE: self.handle_stmt_execute,
            c.COM_STMT_SEND_LONG_DATA: self.handle_stmt_send_long_data,
            c.COM_STMT_RESET: self.handle_stmt_reset,
            c.COM_STMT_CLOSE: self.handle_stmt_close,
        }

    async def serve(self) -> None:
        """Answer commands until COM_QUIT. Raises ConnectionGone, and AccessDenied for a refused COM_CHANGE_USER."""
        self.stream.limit = MAX_PACKET
        while True:
            self.stream.reset_seq()
            payload = await self.stream.read()
            if payload[:1] == bytes((c.COM_QUIT,)):
                return
            await self._command(payload)

    async def _command(self, payload: bytes) -> None:
        handler = self._handlers.get(payload[0] if payload else -1)
        try:
            if handler is None:
                raise sql_error(c.ER_UNKNOWN_COM_ERROR, "08S01", "Unknown command")
            await handler(payload[1:])
        except ServerError as error:
            await self.stream.write(self.error(msg=error))
        except (SqlproxyError, ConnectionGone, TimeoutError):
            raise
        except Exception as error:  # a defect of the simulation costs a statement, not the connection
            text = f"The embedded cluster failed on this statement: {type(error).__name__}"
            await self.stream.write(self.error(msg=sql_error(c.ER_UNKNOWN_ERROR, "HY000", text)))

    def interrupt(self) -> None:
        """KILL QUERY: the statement that runs ends in error 1317."""
        if self._query is not None:
            self._query.cancel()

    async def _run(self, text: str, parameters: tuple[Any, ...] = ()) -> Any:
        """Run a statement as a future of its own, so that it can be interrupted and the connection lives on."""
        if not text.strip():
            raise sql_error(1065, "42000", "Query was empty")
        self._query = asyncio.ensure_future(self.sql.execute(text, parameters))
        try:
            return await self._query
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._query.cancel()
                raise
            raise sql_error(c.ER_QUERY_INTERRUPTED, "70100", "Query execution was interrupted") from None
        finally:
            self._query = None

    # Packets

    def _status(self) -> int:
        transaction = self.sql.transaction
        flags = c.SERVER_STATUS_AUTOCOMMIT if transaction.autocommit else 0
        if transaction.active:
            flags |= c.SERVER_STATUS_IN_TRANS | (c.SERVER_STATUS_IN_TRANS_READONLY if transaction.read_only else 0)
        return flags

    def ok(self, **counts: Any) -> bytes:
        """An OK packet with the session's status flags."""
        header = c.EOF if counts.get("eof") else c.OK
        affected, insert_id = counts.get("affected_rows", 0), counts.get("last_insert_id", 0)
        return packets.ok_packet(self._status(), affected, insert_id, len(self.sql.warnings), header=header)

    def eof(self, **_: Any) -> bytes:
        """An EOF packet with the session's status flags."""
        return packets.eof_packet(self._status(), len(self.sql.warnings))

    def error(self, **kwargs: Any) -> bytes:
        """An ERR packet; ``msg`` is the error."""
        error: SqlproxyError = kwargs["msg"]
        return packets.err_packet(error.code, error.sqlstate, error.message)

    async def _send_rows(self, result: Rows, encode: Callable[[Any, list[ResultColumn]], bytes]) -> None:
        columns = results.result_columns(result)
        self.stream.put(codec.write_lenenc(len(columns)))
        self.stream.write_many([results.column_definition(column, "", "") for column in columns])
        if not self.deprecate_eof():
            self.stream.put(self.eof())
        for row in result.rows:
            await self.stream.write(encode(row, columns), drain=False)
        await self.stream.write(self.ok_or_eof())

    async def _answer(self, result: Any, encode: Callable[[Any, list[ResultColumn]], bytes]) -> None:
        if isinstance(result, Rows):
            await self._send_rows(result, encode)
        else:
            await self.stream.write(self.ok(affected_rows=result.affected, last_insert_id=result.insert_id))

    # Commands; each gets the payload without the command byte

    async def handle_query(self, data: bytes) -> None:
        """COM_QUERY."""
        await self._answer(await self._run(_decode(data)), results.text_row)

    async def handle_init_db(self, data: bytes) -> None:
        """COM_INIT_DB."""
        self.sql.use(_decode(data))
        await self.stream.write(self.ok())

    async def handle_statistics(self, data: bytes) -> None:
        """COM_STATISTICS: a line of text that is no OK packet."""
        status = self.sql.node.status()
        line = f"Uptime: {status.uptime}  Threads: {status.connections}  Questions: {status.questions}"
        await self.stream.write(line.encode())

    async def handle_process_kill(self, data: bytes) -> None:
        """COM_PROCESS_KILL."""
        connection_id, _ = codec.read_uint(data, 0, 4, "connection id")
        if not self.sql.node.kill(connection_id, query_only=False):
            raise sql_error(c.ER_NO_SUCH_THREAD, "HY000", f"Unknown thread id: {connection_id}")
        await self.stream.write(self.ok())

    async def handle_field_list(self, data: bytes) -> None:
        """COM_FIELD_LIST, by which the ``mysql`` client completes names."""
        table, _ = codec.read_null_string(data, 0, "table")
        name = _decode(table).replace("`", "")
        result = await self._run(f"SELECT * FROM `{name}` LIMIT 0")
        for column in results.result_columns(result):
            self.stream.put(results.column_definition(column, self.sql.database or "", name, b""))
        await self.stream.write(self.ok_or_eof())

    async def handle_change_user(self, data: bytes) -> None:
        """COM_CHANGE_USER; a refused one ends the connection, as on a server."""
        payload = bytes((c.COM_CHANGE_USER,)) + data
        request = await change_user(self.stream, payload, int(self.capabilities), self._users)
        user = _decode(request.username)
        self._forget_statements()
        self.sql.reset()
        self.sql.become(user)
        self.sql.database = None
        if request.database:
            self.sql.use(_decode(request.database))
        await self.stream.write(self.ok())

    async def handle_reset_connection(self, data: bytes) -> None:
        """COM_RESET_CONNECTION."""
        self._forget_statements()
        self.sql.reset()
        await self.stream.write(self.ok())

    def _forget_statements(self) -> None:
        self.prepared_stmts.clear()
        self._types.clear()

    async def handle_stmt_prepare(self, data: bytes) -> None:
        """COM_STMT_PREPARE, with the columns of the result to come: C clients bind their buffers to them."""
        text = _decode(data)
        count = count_parameters(text)
        if len(self.prepared_stmts) >= _MAX_STATEMENTS:
            raise sql_error(1461, "42000", "Can't create more than max_prepared_stmt_count statements")
        described = await self.sql.describe(text, count)
        columns = results.result_columns(described) if described else []
        statement = PreparedStatement(stmt_id=next(self.prepared_stmt_seq) + 1, sql=text, num_params=count)
        self.prepared_stmts[statement.stmt_id] = statement
        self.stream.put(struct.pack("<BIHHxH", c.OK, statement.stmt_id, len(columns), count, 0))
        for group in ([ResultColumn("?", ColumnType.VAR_STRING)] * count, columns):
            self.stream.write_many([results.column_definition(column, "", "") for column in group])
            if group and not self.deprecate_eof():
                self.stream.put(self.eof())
        await self.stream.drain()

    async def handle_stmt_execute(self, data: bytes) -> None:
        """COM_STMT_EXECUTE. A cursor that is asked for is not opened: all rows follow at once, as is allowed."""
        statement = self.get_stmt(codec.read_uint(data, 0, 4, "statement id")[0])
        parameters = self._parameters(statement, data)
        statement.param_buffers = None
        await self._answer(await self._run(statement.sql, parameters), _binary_row)

    def _parameters(self, statement: PreparedStatement, data: bytes) -> tuple[Any, ...]:
        count = statement.num_params
        if not count:
            return ()
        nulls, pos = codec.read_bytes(data, 9, (count + 7) // 8, "null bitmap")
        bound, pos = codec.read_uint(data, pos, 1, "new-params-bound flag")
        if bound:
            self._types[statement.stmt_id], pos = results.read_types(data, pos, count)
        types = self._types.get(statement.stmt_id)
        if types is None:
            raise ProtocolError("malformed packet: the first execution of a statement carries no parameter types")
        return tuple(results.read_parameters(data, pos, types, nulls, statement.param_buffers or {}))

    async def handle_stmt_send_long_data(self, data: bytes) -> None:
        """COM_STMT_SEND_LONG_DATA, which has no answer, not even an error."""
        statement = self.prepared_stmts.get(codec.read_uint(data, 0, 4, "statement id")[0])
        number, _ = codec.read_uint(data, 4, 2, "parameter")
        if statement is not None and number < statement.num_params:
            buffers = statement.param_buffers = statement.param_buffers or {}
            buffer = buffers.setdefault(number, bytearray())
            if len(buffer) + len(data) <= MAX_PACKET:
                buffer += data[6:]

    async def handle_stmt_reset(self, data: bytes) -> None:
        """COM_STMT_RESET."""
        self.get_stmt(codec.read_uint(data, 0, 4, "statement id")[0]).param_buffers = None
        await self.stream.write(self.ok())

    async def handle_stmt_close(self, data: bytes) -> None:
        """COM_STMT_CLOSE, which has no answer."""
        number, _ = codec.read_uint(data, 0, 4, "statement id")
        self.prepared_stmts.pop(number, None)
        self._types.pop(number, None)

    def get_stmt(self, stmt_id: int) -> PreparedStatement:
        """A prepared statement; raises error 1243."""
        if stmt_id not in self.prepared_stmts:
            text = f"Unknown prepared statement handler ({stmt_id}) given to mysqld_stmt_execute"
            raise sql_error(c.ER_UNKNOWN_STMT_HANDLER, "HY000", text)
        return self.prepared_stmts[stmt_id]


def _binary_row(row: Any, columns: list[ResultColumn]) -> bytes:
    encoded: bytes = make_binary_resultrow(results.binary_values(row, columns), columns)
    return encoded


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise sql_error(1300, "HY000", "Invalid utf8mb4 character string") from None
