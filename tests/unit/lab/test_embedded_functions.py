import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from sqlproxy.lab.embedded_functions import register
from tests.unit.lab.test_embedded_store import Nobody


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:")
    register(opened, Nobody())
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("DATABASE()", "app"),
        ("USER()", "app@localhost"),
        ("MYSQL_VARIABLE('a', 'global')", "global:a"),
        ("MYSQL_USER_VARIABLE('nope')", None),
        ("MYSQL_ROWS('status')", '[["status", "x"]]'),
        ("MYSQL_DATE_ADD('2024-01-31', 1, 'MONTH')", "2024-02-29"),
        ("MYSQL_DATE_ADD('2023-12-31', 1, 'DAY')", "2024-01-01"),
        ("MYSQL_DATE_ADD('2024-12-15', 1, 'MONTH')", "2025-01-15"),
        ("MYSQL_DATE_ADD('2024-11-15', 1, 'MONTH')", "2024-12-15"),
        ("MYSQL_DATE_SUB('2024-01-31 00:00:01', 2, 'SECOND')", "2024-01-30 23:59:59"),
        ("MYSQL_DATE_ADD('nonsense', 1, 'DAY')", None),
        ("MYSQL_DATE_ADD('2024-01-31', 1, 'PARSEC')", None),
        ("MYSQL_DATE_FORMAT('2024-01-31 10:11:12', '%Y %H:%i:%s')", "2024 10:11:12"),
        ("MD5('a')", "0cc175b9c0f1b6a831c399e269772661"),
        ("SHA2('a', 256)", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        ("CONCAT('a', 1, NULL)", None),
        ("CONCAT_WS('-', 'a', NULL, 2)", "a-2"),
        ("MYSQL_LEFT('abc', 2) || MYSQL_RIGHT('abc', 2)", "abbc"),
        ("FIELD('b', 'a', 'b')", 2),
        ("'abc' REGEXP 'B'", 1),
        ("MYSQL_DIV(-7, 2)", -3),
        ("MYSQL_DIV(7, 0)", None),
        ("LENGTH(NOW()) + LENGTH(NOW(6)) + LENGTH(CURDATE()) + LENGTH(CURTIME())", 19 + 26 + 10 + 8),
        ("UNIX_TIMESTAMP() > 1700000000", 1),
    ],
)
def test_functions(connection: sqlite3.Connection, expression: str, expected: Any) -> None:
    assert connection.execute(f"SELECT {expression}").fetchone() == (expected,)
