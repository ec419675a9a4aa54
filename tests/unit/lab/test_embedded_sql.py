import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ServerError
from sqlproxy.lab.embedded_sql import Kind, Output, count_parameters, rewrite


def sqlite(sql: str, database: str | None = "app") -> str:
    return "; ".join(rewrite(sql, database).steps)


@pytest.mark.parametrize(
    ("mysql", "expected"),
    [
        ("SELECT * FROM t", 'SELECT * FROM "app.t" AS "t"'),
        ("SELECT x.a FROM other.t AS x", 'SELECT x.a FROM "other.t" AS x'),
        ("SELECT app.t.a FROM app.t", 'SELECT t.a FROM "app.t" AS "t"'),
        ("SELECT 1 FROM DUAL", 'SELECT 1 AS "1"'),
        ("SELECT count(*) FROM t", 'SELECT COUNT(*) AS "count(*)" FROM "app.t" AS "t"'),
        ("SELECT @@global.port", "SELECT MYSQL_VARIABLE('port', 'global') AS \"@@global.port\""),
        ("SELECT @a", "SELECT MYSQL_USER_VARIABLE('a') AS \"@a\""),
        ("SELECT 'a' FROM t FOR UPDATE", 'SELECT \'a\' AS "a" FROM "app.t" AS "t"'),
        ("SELECT LEFT(a, 1) AS l FROM t", 'SELECT MYSQL_LEFT(a, 1) AS l FROM "app.t" AS "t"'),
        (
            "SELECT a FROM t WHERE CURDATE() LIKE @x",
            "SELECT a FROM \"app.t\" AS \"t\" WHERE CURDATE() LIKE MYSQL_USER_VARIABLE('x') ESCAPE '\\'",
        ),
        ("SELECT SQL_NO_CACHE a FROM t", 'SELECT a FROM "app.t" AS "t"'),
        ("WITH x AS (SELECT 1 AS a) SELECT a FROM x", "WITH x AS (SELECT 1 AS a) SELECT a FROM x"),
        ("SELECT a FROM t LIMIT ?, ?", 'SELECT a FROM "app.t" AS "t" LIMIT :p1 OFFSET :p0'),
        ("INSERT INTO t (a) VALUES (?)", 'INSERT INTO "app.t" (a) VALUES (:p0)'),
        ("INSERT INTO t () VALUES ()", 'INSERT INTO "app.t" DEFAULT VALUES'),
        ("INSERT IGNORE INTO t VALUES (DEFAULT)", 'INSERT OR IGNORE INTO "app.t" VALUES (NULL)'),
        ("INSERT INTO t SET a = 1", 'INSERT INTO "app.t" (a) VALUES (1)'),
        ("REPLACE INTO t VALUES (1)", 'INSERT OR REPLACE INTO "app.t" VALUES (1)'),
        (
            "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)",
            'INSERT INTO "app.t" VALUES (1) ON CONFLICT DO UPDATE SET a = excluded.a',
        ),
        (
            "DELETE FROM t WHERE a = 1 LIMIT 2",
            'DELETE FROM "app.t" AS "t" WHERE rowid IN (SELECT rowid FROM "app.t" AS "t" WHERE a = 1 LIMIT 2)',
        ),
        ("TRUNCATE t", "DELETE FROM \"app.t\"; DELETE FROM sqlite_sequence WHERE name = 'app.t'"),
        ("DROP TABLE IF EXISTS a, x.b", 'DROP TABLE IF EXISTS "app.a"; DROP TABLE IF EXISTS "x.b"'),
        ("CREATE UNIQUE INDEX k ON t (a)", 'CREATE UNIQUE INDEX "app.t.k" ON "app.t" ("a")'),
        ("DROP INDEX k ON t", 'DROP INDEX "app.t.k"'),
        ("ALTER TABLE t DROP COLUMN a", 'ALTER TABLE "app.t" DROP COLUMN "a"'),
        ("ALTER TABLE t RENAME TO u", 'ALTER TABLE "app.t" RENAME TO "app.u"'),
        ("ALTER TABLE t ADD COLUMN a INT DEFAULT 1", 'ALTER TABLE "app.t" ADD COLUMN "a" "int" DEFAULT (1)'),
    ],
)
def test_statements_are_rewritten(mysql: str, expected: str) -> None:
    assert sqlite(mysql) == expected


def test_create_table_keeps_types_and_moves_indexes_out() -> None:
    created = rewrite(
        "CREATE TABLE t (id INT UNSIGNED NOT NULL AUTO_INCREMENT, name VARCHAR(9) NOT NULL DEFAULT 'x', "
        "bits VARBINARY(4), e ENUM('a','b'), c CHAR(3) COLLATE utf8mb4_bin, PRIMARY KEY (id), UNIQUE KEY u (name), "
        "KEY k (c(2)), FULLTEXT KEY f (name)) ENGINE=InnoDB",
        "app",
    )
    assert created.kind is Kind.SCHEMA
    assert created.steps == (
        'CREATE TABLE "app.t" ("id" INTEGER PRIMARY KEY AUTOINCREMENT, '
        '"name" "varchar(9)" NOT NULL DEFAULT (\'x\') COLLATE NOCASE, "bits" "varbinary(4) TEXT", '
        '"e" "enum(\'a\',\'b\') TEXT" COLLATE NOCASE, "c" "char(3)")',
        'CREATE UNIQUE INDEX IF NOT EXISTS "app.t.u" ON "app.t" ("name")',
        'CREATE INDEX IF NOT EXISTS "app.t.k" ON "app.t" ("c")',
    )


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1", Kind.READ),
        ("SELECT a FROM t UNION SELECT b FROM u", Kind.READ),
        ("SELECT * FROM t LOCK IN SHARE MODE", Kind.LOCKING_READ),
        ("UPDATE t SET a = 1", Kind.WRITE),
        ("CREATE TEMPORARY TABLE t (a INT)", Kind.WRITE),
        ("CREATE VIEW v AS SELECT 1 AS a", Kind.SCHEMA),
    ],
)
def test_the_kind_tells_what_a_statement_needs(sql: str, kind: Kind) -> None:
    assert rewrite(sql, "app").kind is kind


def test_outputs_tell_where_columns_come_from() -> None:
    outputs = rewrite("SELECT t.*, u.b, COUNT(*), 1 FROM t JOIN x.u", "app").outputs
    assert outputs == (Output("app.t", "*"), Output("x.u", "b"), Output(type="bigint"), Output())


def test_the_written_table_comes_first() -> None:
    assert rewrite("INSERT INTO t SELECT * FROM x.u", "app").tables == ("app.t", "x.u")


def test_sleep_is_told_and_not_run() -> None:
    assert rewrite("SELECT SLEEP(1.5), SLEEP(2)", None).sleep == 3.5


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM", 1064),
        ("SELEC 1", 1064),
        ("SELECT 'open", 1064),
        ("SELECT 1; SELECT 2", 1064),
        ("SELECT " + "(" * 5000, 1064),
        ("SHUTDOWN NOW", 1064),
        ("/* nothing */", 1065),
        ("SELECT * FROM t", 1046),
        ("UPDATE a.t, a.u SET t.a = 1", 1235),
        ("DELETE x FROM a.x JOIN a.y", 1235),
        ("SELECT 1 INTO @a", 1235),
        ("CREATE TABLE a.x LIKE a.y", 1235),
        ("CREATE TABLE a.t (id INT AUTO_INCREMENT, b INT, PRIMARY KEY (id, b))", 1235),
        ("ALTER TABLE a.t MODIFY COLUMN b INT", 1235),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_server_code(sql: str, code: int) -> None:
    with pytest.raises(ServerError) as refused:
        rewrite(sql, None)
    assert refused.value.code == code


def test_parameters_are_counted_outside_strings_and_comments() -> None:
    assert count_parameters("SELECT ?, '?', `?`, /* ? */ ? -- ?") == 2


@given(st.text(max_size=60))
def test_any_text_is_rewritten_or_refused(sql: str) -> None:
    try:
        statement = rewrite(sql, "app")
    except ServerError:
        return
    assert statement.steps


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30))
def test_any_string_literal_survives(value: str) -> None:
    literal = "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    connection = sqlite3.connect(":memory:")
    assert connection.execute(sqlite(f"SELECT {literal} AS a")).fetchone() == (value,)
    connection.close()
