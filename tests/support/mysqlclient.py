"""PyMySQL in a few words: a connection that is closed for sure, and one statement's rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.connections import Connection


@contextmanager
def connected(
    port: int, user: str = "app", password: str = "app", database: str | None = "app", **options: Any
) -> Iterator[Connection]:
    """A TCP connection to 127.0.0.1 in autocommit mode; ``options`` go to ``pymysql.connect``."""
    settings: dict[str, Any] = {"autocommit": True, "connect_timeout": 5, "read_timeout": 30, **options}
    connection = pymysql.connect(
        host="127.0.0.1", port=port, user=user, password=password, database=database, **settings
    )
    try:
        yield connection
    finally:
        if connection.open:
            connection.close()


def rows(connection: Connection, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    """Rows of one statement; an empty list if it has none."""
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments or None)
        return list(cursor.fetchall())


def ask(port: int, sql: str, *arguments: object, **options: Any) -> list[tuple[Any, ...]]:
    """Rows of one statement on a connection of its own; ``options`` as for ``connected``."""
    with connected(port, **options) as connection:
        return rows(connection, sql, *arguments)
