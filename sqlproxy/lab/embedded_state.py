"""What a simulated node knows of one client: its variables, its locks, its database and its transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sqlproxy.errors import ServerError
from sqlproxy.lab.embedded_errors import sql_error
from sqlproxy.lab.embedded_store import Store, Transaction
from sqlproxy.lab.embedded_variables import NodeStatus, Variables, status_rows


class Host(Protocol):
    """The node a session runs on."""

    store: Store
    variables: Variables
    questions: int
    locks: dict[str, int]  # name of a GET_LOCK -> connection id

    def status(self) -> NodeStatus: ...
    def processes(self) -> Iterable[tuple[Any, ...]]: ...
    def kill(self, connection_id: int, *, query_only: bool) -> bool: ...
    def shut_down(self) -> None: ...


class SessionState:
    """What a node remembers of one client."""

    def __init__(self, node: Host, user: str, host: str, connection_id: int) -> None:
        self.node = node
        self.host = host
        self.become(user)
        self.connection_id = connection_id
        self.info: str | None = None  # the statement that runs, for SHOW PROCESSLIST
        self.transaction = Transaction(node.store, self)
        self.variables = Variables(parent=node.variables)
        self._failure: ServerError | None = None
        self._forget()

    def become(self, user: str) -> None:
        """Who the session belongs to."""
        self.user = user
        self.login = f"{user}@{self.host}"
        self.account = f"{user}@%"

    def _forget(self) -> None:
        self.database: str | None = None
        self.last_insert_id = self.row_count = self.found_rows = 0
        self.user_variables: dict[str, Any] = {}
        self.warnings: list[tuple[str, int, str]] = []
        self._prepared: dict[str, str] = {}

    def close(self) -> None:
        """The client is gone: roll back, release what it held."""
        self.lock("release all", "")
        self.transaction.close()

    def reset(self) -> None:
        """COM_RESET_CONNECTION: everything but login and, as in MariaDB, current database is new."""
        database = self.database
        self.transaction.rollback()
        self.transaction.autocommit = True
        self.transaction.lock_wait = 2.0
        self.transaction.forget_temporary()
        self.lock("release all", "")
        self.variables.reset()
        self._forget()
        self.database = database

    def use(self, database: str) -> None:
        """Change the current database; raises error 1049."""
        if not self.node.store.has_database(database):
            raise sql_error(1049, "42000", f"Unknown database '{database}'")
        self.database = database

    # What SQL functions ask; see embedded_functions.Context.

    def variable(self, name: str, scope: str) -> str | int | None:
        """``@@name``."""
        try:
            return (self.node.variables if scope.lower() == "global" else self.variables).get(name)
        except ServerError as error:
            self._failure = error  # SQLite tells only that a function failed
            raise

    def rows(self, what: str) -> Iterable[tuple[Any, ...]]:
        """The rows behind an INFORMATION_SCHEMA view."""
        sources: dict[str, Callable[[], Iterable[tuple[Any, ...]]]] = {
            "status": lambda: status_rows(self.node.status()),
            "global variables": self.node.variables.rows,
            "session variables": self.variables.rows,
            "processes": self.node.processes,
            "engines": lambda: [("InnoDB", "DEFAULT")],
            "collations": lambda: [("utf8mb4_general_ci", "utf8mb4", 45)],
            "character sets": lambda: [("utf8mb4", "utf8mb4_general_ci")],
        }
        return sources[what]()

    def lock(self, verb: str, name: str) -> int | None:
        """GET_LOCK and its kind, per node as in MariaDB; a lock that is held is refused without waiting."""
        locks, mine = self.node.locks, self.connection_id
        owner = locks.get(name.lower())
        if verb == "release all":
            held = [key for key, holder in locks.items() if holder == mine]
            for key in held:
                del locks[key]
            return len(held)
        if verb == "get":
            return int(locks.setdefault(name.lower(), mine) == mine)
        if verb == "release" and owner == mine:
            del locks[name.lower()]
            return 1
        return {"release": None if owner is None else 0, "is free": int(owner is None), "owner": owner}[verb]
