"""Whose fault an error is, and what the client may read of it.

Every error the proxy raises on purpose knows its fault: the answer to the client, the log line, the metric and
whether a retry makes sense all follow from it.
"""

from enum import StrEnum


class Fault(StrEnum):
    """Where the cause lies."""

    CLIENT = "client"
    SERVER = "server"
    PROXY = "proxy"


class SqlproxyError(Exception):
    """An error with a fault and, for clients, a MySQL error code and SQLSTATE.

    ``code`` and ``sqlstate`` are what an ERR packet to the client carries; the text is one clear sentence.
    """

    fault = Fault.PROXY
    code = 1105  # ER_UNKNOWN_ERROR
    sqlstate = "HY000"

    def __init__(self, message: str, *, code: int | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if sqlstate is not None:
            self.sqlstate = sqlstate

    def __reduce__(self) -> tuple[object, ...]:
        """Errors travel between processes with their code and SQLSTATE."""
        return _rebuilt, (type(self), self.message, self.code, self.sqlstate)


def _rebuilt(kind: type[SqlproxyError], message: str, code: int, sqlstate: str) -> SqlproxyError:
    return kind(message, code=code, sqlstate=sqlstate)


class ConfigError(SqlproxyError):
    """The configuration cannot be used; the text names file, key and reason."""


class ProtocolError(SqlproxyError):
    """Bytes from a client that are not the MySQL protocol."""

    fault = Fault.CLIENT
    code = 1835  # ER_MALFORMED_PACKET


class PacketTooLarge(ProtocolError):
    """A command longer than ``max_allowed_packet``."""

    code = 1153  # ER_NET_PACKET_TOO_LARGE
    sqlstate = "08S01"


class ServerProtocolError(ProtocolError):
    """Bytes from a server that are not the MySQL protocol."""

    fault = Fault.SERVER


class AccessDenied(SqlproxyError):
    """A login that the servers would refuse; worded as the server does."""

    fault = Fault.CLIENT
    code = 1045  # ER_ACCESS_DENIED_ERROR
    sqlstate = "28000"


class ServerError(SqlproxyError):
    """An ERR packet a server sent; code and SQLSTATE are the server's own."""

    fault = Fault.SERVER


class ServerLost(SqlproxyError):
    """The connection to a server broke, could not be opened, or was given up."""

    fault = Fault.SERVER
    code = 1927  # ER_CONNECTION_KILLED; see NoServerAvailable
    sqlstate = "08S01"


class NoServerAvailable(SqlproxyError):
    """No server has the role a statement needs, and waiting did not bring one.

    The code is one that servers send (ER_CONNECT_TO_FOREIGN_DATA_SOURCE). Codes from 2000 to 2999 are the client
    libraries' own: MariaDB Connector/C takes an ERR packet that carries one for malformed and drops its message.
    """

    fault = Fault.SERVER
    code = 1429
    sqlstate = "08001"
