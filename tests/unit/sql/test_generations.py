"""Functions that not every server has: a stored one may bear the name where it is missing."""

import pytest

from sqlproxy.sql.bits import (
    MODE_MARIADB_10_6,
    MODE_MARIADB_10_11,
    MODE_MARIADB_11_8,
    MODE_MYSQL_8,
    MODE_MYSQL_9,
    MODE_SERVERS,
)
from sqlproxy.sql.classify import classify, describe
from sqlproxy.sql.functions import PAREN_KEYWORDS, READ_ONLY
from sqlproxy.sql.generations import LACKED_BY, generation_of, generations_of


@pytest.mark.parametrize(
    ("version", "generation"),
    [
        ("10.11.19-MariaDB-deb12", MODE_MARIADB_10_11),
        ("5.5.5-10.6.4-MariaDB", MODE_MARIADB_10_6),
        ("11.4.2-MariaDB-log", MODE_MARIADB_10_11),
        ("12.1.1-MariaDB", MODE_MARIADB_11_8),
        ("8.0.44", MODE_MYSQL_8),
        ("8.4.3-3.1", MODE_MYSQL_8),
        ("9.7.0", MODE_MYSQL_9),
        ("10.3.39-MariaDB", MODE_SERVERS),
        ("5.7.44-log", MODE_SERVERS),
        ("9x", MODE_SERVERS),
        ("", MODE_SERVERS),
    ],
)
def test_a_version_belongs_to_a_generation_or_to_the_strictest(version: str, generation: int) -> None:
    assert generation_of(version) == generation


def test_several_servers_are_all_of_their_generations_and_none_is_the_strictest() -> None:
    assert generations_of(["10.11.2-MariaDB", "9.4.0"]) == MODE_MARIADB_10_11 | MODE_MYSQL_9
    assert generations_of([]) == MODE_SERVERS


@pytest.mark.parametrize(
    ("sql", "mode", "expected"),
    [
        ("SELECT UUID_TO_BIN('x')", MODE_MYSQL_8, "READ"),
        ("SELECT UUID_TO_BIN('x')", MODE_MARIADB_10_11, "WRITE UNSAFE_FUNCTION"),
        ("SELECT UUID_TO_BIN('x')", MODE_MYSQL_8 | MODE_MARIADB_10_11, "WRITE UNSAFE_FUNCTION"),
        ("SELECT NVL(a, b) FROM t", MODE_MARIADB_10_6, "READ"),
        ("SELECT NVL(a, b) FROM t", MODE_MYSQL_9, "WRITE UNSAFE_FUNCTION"),
        ("SELECT MD5('a')", MODE_MYSQL_8, "READ"),
        ("SELECT MD5('a')", MODE_MYSQL_9, "WRITE UNSAFE_FUNCTION"),
        ("SELECT VEC_DISTANCE(a, b) FROM t", MODE_MARIADB_11_8, "READ"),
        ("SELECT VEC_DISTANCE(a, b) FROM t", MODE_MARIADB_10_11, "WRITE UNSAFE_FUNCTION"),
        ("SELECT 1 FROM a JOIN JSON_TABLE('[]', '$[*]' COLUMNS (a INT PATH '$')) j", MODE_SERVERS, "READ"),
        ("SELECT JSON_TABLE(1)", MODE_MARIADB_10_11, "WRITE UNSAFE_FUNCTION"),
        ("SELECT * FROM t, LATERAL (SELECT 1) d", MODE_MYSQL_8, "READ"),
        ("SELECT LATERAL(1)", MODE_MARIADB_10_11, "WRITE UNSAFE_FUNCTION"),
        ("SELECT RANK (1)", 0, "WRITE UNSAFE_FUNCTION"),
        ("SELECT ABS(1), CONCAT('a', 'b')", MODE_SERVERS, "READ"),
        ("WITH md5 (a) AS (SELECT 1) SELECT a FROM md5", MODE_SERVERS, "READ"),
    ],
)
def test_a_call_is_a_read_where_every_server_has_the_function(sql: str, mode: int, expected: str) -> None:
    assert describe(classify(sql.encode(), 0, mode)) == expected


def test_only_known_names_are_listed() -> None:
    assert not set(LACKED_BY) - READ_ONLY - PAREN_KEYWORDS
