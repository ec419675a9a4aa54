"""One query on a fresh connection to a lab server's socket, as root: how a lab looks at its servers."""

import socket
from pathlib import Path
from typing import Any

import pymysql

from sqlproxy.errors import ServerLost


def query(path: Path, sql: str, *, timeout: float = 2.0) -> list[tuple[Any, ...]]:
    """Rows of one statement.

    Raises ServerLost if the server does not answer within ``timeout`` seconds or refuses the statement: for a
    Galera node that is starting both are ordinary.
    """
    # The stream is ours: PyMySQL does not close it when the handshake fails.
    with socket.socket(socket.AF_UNIX) as stream:
        try:
            stream.settimeout(timeout)
            stream.connect(str(path))
            connection = pymysql.connect(
                user="root", autocommit=True, read_timeout=timeout, write_timeout=timeout, defer_connect=True
            )
            connection.connect(stream)
            with connection, connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        except (pymysql.MySQLError, OSError) as error:
            raise ServerLost(f"{path} does not answer: {error}") from error
