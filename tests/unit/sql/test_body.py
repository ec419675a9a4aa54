"""What queries are: the calls, variables, locks and hidden writes that take a read to the primary."""

import pytest

from sqlproxy.sql.classify import classify, describe

PLAIN_READS = """
SELECT 1
select * from t where a = 1 and b in (1, 2, 3) and not (c or d)
SELECT a, COUNT(*), SUM(b) FROM t GROUP BY a WITH ROLLUP HAVING COUNT(*) > 1 ORDER BY a LIMIT 10 OFFSET 5
SELECT DISTINCT(a) FROM t
SELECT CAST(a AS DECIMAL(10,2)), CONVERT(b, CHAR(10)), CONVERT(c USING utf8mb4) FROM t
SELECT CAST(a AS DATETIME(6)), CAST(b AS CHAR(3) CHARACTER SET utf8mb4)
SELECT IF(a, b, c), IFNULL(a, b), CASE WHEN (a) THEN (b) ELSE (c) END FROM t
SELECT INSERT('abc', 1, 1, 'x'), REPLACE(a, 'b', 'c'), LEFT(a, 1), REPEAT('a', 3), VALUES(a)
SELECT TRIM(LEADING 'x' FROM a), SUBSTRING(a FROM 1 FOR 2), POSITION('a' IN b), EXTRACT(YEAR FROM d)
SELECT DATE_ADD(d, INTERVAL 1 DAY), d + INTERVAL (1 + 1) HOUR, TIMESTAMPDIFF(SECOND, a, b)
SELECT NOW(), NOW(6), CURRENT_TIMESTAMP, CURRENT_TIMESTAMP(6), UUID(), UUID_SHORT(), RAND(), SLEEP(0.1), USER()
SELECT BENCHMARK(1, MD5('a')), VERSION(), DATABASE(), SCHEMA(), CURRENT_USER(), CURRENT_USER
SELECT t.for, t.update, `for`.`update` FROM t
SELECT `insert`, 'delete', t.delete FROM t
SELECT a FROM t USE INDEX (i) IGNORE INDEX FOR JOIN (j) FORCE INDEX FOR ORDER BY (k)
SELECT a FROM t PARTITION (p0, p1)
SELECT a FROM t JOIN u USING (id) LEFT JOIN v ON (t.id = v.id)
SELECT a FROM t WHERE (a, b) IN ((1, 2), (3, 4)) AND EXISTS (SELECT 1 FROM u) AND a = ANY (SELECT 1) > ALL (SELECT 2)
SELECT a FROM t UNION SELECT b FROM u UNION ALL (SELECT c FROM v) EXCEPT SELECT 1 INTERSECT (SELECT 2)
SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t
SELECT SUM(a) OVER w, LAG(a, 1) OVER w FROM t WINDOW w AS (PARTITION BY b)
SELECT GROUP_CONCAT(DISTINCT a ORDER BY b SEPARATOR ', ') FROM t
SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY a) OVER (PARTITION BY b) FROM t
SELECT JSON_EXTRACT(a, '$.b'), a->'$.b', a->>'$.c', JSON_ARRAYAGG(a), JSON_OBJECT('a', 1) FROM t
SELECT j.a FROM JSON_TABLE('[]', '$[*]' COLUMNS (a VARCHAR(10) PATH '$.a', n FOR ORDINALITY)) AS j
SELECT a FROM t WHERE MATCH (a, b) AGAINST ('x' IN BOOLEAN MODE) OR MATCH (a) AGAINST ('y' WITH QUERY EXPANSION)
SELECT ST_AsText(g), ST_Distance(g, POINT(1, 2)) FROM t
SELECT a FROM t FOR SYSTEM_TIME AS OF '2020-01-01'
SELECT a FROM (SELECT 1 AS a) AS d (x) JOIN (SELECT 2) e (y, z)
SELECT SQL_NO_CACHE HIGH_PRIORITY a FROM t PROCEDURE ANALYSE(1, 2)
SELECT _utf8mb4'abc' COLLATE utf8mb4_bin, N'x', x'1F', X'00', 0x1F, b'01', 0b01, 1e5, .5, 1.5e-3, 1.
SELECT -1, - 1, --1, a-b, a- -b, !a, ~a, a<=>b, a||b, a&&b, a<<2, a:b FROM t
SELECT @@version, @@global.max_connections, @@session.sql_mode, @@local.autocommit, @@version_comment LIMIT 1
SELECT 1 FROM DUAL WHERE a LIKE 'x' ESCAPE '|' AND b REGEXP 'y' AND c BETWEEN (1) AND (2)
WITH a AS (SELECT 1) SELECT * FROM a
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5), m (j, k) AS (SELECT 1, 2) TABLE m
SELECT * FROM (WITH a (x) AS (SELECT 1) SELECT x FROM a) d
(SELECT 1)
((SELECT 1) UNION (SELECT 2)) LIMIT 1
(WITH a AS (SELECT 1) SELECT 1)
VALUES (1, 2), (3, 4)
VALUES ROW(1, 2), ROW(ABS(-3), 4) ORDER BY column_0
TABLE t ORDER BY a LIMIT 1
SELECT 1;
SET STATEMENT max_statement_time = 5 FOR SELECT 1
SET STATEMENT sort_buffer_size = 1024 * (2 + 2), max_statement_time = 1 FOR WITH a (x) AS (SELECT 1) SELECT x FROM a
SELECT a FROM t LIMIT 5 ROWS EXAMINED 100
SELECT SQL_BIG_RESULT STRAIGHT_JOIN a FROM t NATURAL JOIN u
"""

OTHERS = [
    # locks
    ("SELECT * FROM t FOR UPDATE", "WRITE LOCKING_READ"),
    ("SELECT * FROM t FOR UPDATE OF t NOWAIT", "WRITE LOCKING_READ"),
    ("SELECT * FROM t WHERE a = 1e5FOR UPDATE SKIP LOCKED", "WRITE LOCKING_READ"),
    ("SELECT * FROM t WHERE a = 1.5FOR UPDATE", "WRITE LOCKING_READ"),
    ("SELECT * FROM t WHERE a = .5e1FOR UPDATE", "WRITE LOCKING_READ"),
    ("SELECT * FROM t WHERE a = '1'FOR UPDATE", "WRITE LOCKING_READ"),
    ("SELECT * FROM t WHERE a = (1)FOR UPDATE", "WRITE LOCKING_READ"),
    ("SELECT * FROM `t`FOR UPDATE", "WRITE LOCKING_READ"),
    ("SELECT * FROM t FOR SHARE", "WRITE LOCKING_READ"),
    ("SELECT * FROM t LOCK IN SHARE MODE", "WRITE LOCKING_READ"),
    ("SELECT * FROM (SELECT * FROM t FOR UPDATE) d", "WRITE LOCKING_READ"),
    ("SELECT * FROM t WHERE a IN (SELECT b FROM u LOCK IN SHARE MODE)", "WRITE LOCKING_READ"),
    ("(SELECT 1) UNION (SELECT a FROM t FOR UPDATE)", "WRITE LOCKING_READ"),
    ("SELECT 1 UNION SELECT a FROM t\nFOR\nUPDATE", "WRITE LOCKING_READ"),
    ("WITH a AS (SELECT 1 FROM t FOR UPDATE) SELECT * FROM a", "WRITE LOCKING_READ"),
    ("TABLE t FOR UPDATE", "WRITE LOCKING_READ"),
    # results that go elsewhere
    ("SELECT * INTO OUTFILE 'x' FROM t", "WRITE"),
    ("SELECT * FROM t INTO DUMPFILE 'x'", "WRITE"),
    ("SELECT a INTO @a FROM t", "WRITE USERVAR_WRITE"),
    ("SELECT a, b FROM t INTO @a, @b", "WRITE USERVAR_WRITE USERVAR_READ"),
    ("SELECT a INTO local_name FROM t", "WRITE"),
    ("TABLE t INTO OUTFILE 'x'", "WRITE"),
    # functions
    ("SELECT f(1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT f (1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT `f`(1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT `count`(1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT d.f(1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT d.count(1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT d . `abs` (1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT 1 + f(1) FROM t", "WRITE UNSAFE_FUNCTION"),
    ("SELECT (f(1))", "WRITE UNSAFE_FUNCTION"),
    ("SELECT ABS(f(1))", "WRITE UNSAFE_FUNCTION"),
    ("SELECT * FROM t WHERE f(a)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT * FROM t WHERE a IN (f(1)) AND (b) = f(2)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT * FROM t GROUP BY a WITH ROLLUP HAVING f(1)", "WRITE UNSAFE_FUNCTION"),
    ("WITH a (x) AS (SELECT f(1)) SELECT * FROM a", "WRITE UNSAFE_FUNCTION"),
    ("WITH a (x) AS (SELECT 1) SELECT f(x) FROM a", "WRITE UNSAFE_FUNCTION"),
    ("WITH a AS (SELECT 1), b AS (SELECT f(1)) SELECT 1", "WRITE UNSAFE_FUNCTION"),
    ("SELECT * FROM (WITH a (x) AS (SELECT 1) SELECT x FROM a) d WHERE f(1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT MAX (a) FROM t", "WRITE UNSAFE_FUNCTION"),
    ("SELECT NOW ()", "WRITE UNSAFE_FUNCTION"),
    ("SELECT ABS (1)", "READ"),
    ("VALUES (f(1))", "WRITE UNSAFE_FUNCTION"),
    ("VALUES ROW(f(1))", "WRITE UNSAFE_FUNCTION"),
    ("SELECT 1 PROCEDURE other(1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT analyse(1)", "WRITE UNSAFE_FUNCTION"),
    ("SELECT GET_LOCK('a', 10)", "WRITE USER_LOCK"),
    ("SELECT RELEASE_LOCK('a')", "WRITE RELEASE_LOCK"),
    ("SELECT RELEASE_ALL_LOCKS()", "WRITE RELEASE_LOCK"),
    ("SELECT IS_FREE_LOCK('a'), IS_USED_LOCK('a')", "WRITE"),
    ("SELECT CONNECTION_ID()", "WRITE"),
    ("SELECT LAST_INSERT_ID()", "WRITE LAST_INSERT_ID"),
    ("SELECT LAST_INSERT_ID ( )", "WRITE LAST_INSERT_ID"),
    ("SELECT LOAD_FILE('x')", "WRITE"),
    ("SELECT NEXTVAL(s)", "WRITE"),
    ("SELECT NEXT VALUE FOR s", "WRITE"),
    ("SELECT PREVIOUS VALUE FOR s", "WRITE"),
    ("SELECT SETVAL(s, 1), LASTVAL(s)", "WRITE"),
    ("SELECT s.nextval, s.currval FROM t", "WRITE"),
    ("SELECT nextval FROM t", "WRITE"),
    ("SELECT WSREP_LAST_WRITTEN_GTID()", "WRITE"),
    ("SELECT * FROM information_schema.PROCESSLIST", "WRITE"),
    # the last server
    ("SELECT FOUND_ROWS()", "LAST FOUND_ROWS"),
    ("SELECT ROW_COUNT()", "LAST"),
    ("SELECT @@warning_count, @@error_count", "LAST"),
    ("SELECT @@session.warning_count", "LAST"),
    ("SELECT FOUND_ROWS(), f(1)", "WRITE UNSAFE_FUNCTION FOUND_ROWS"),
    ("SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1", "READ CALC_FOUND_ROWS"),
    # variables
    ("SELECT @a", "READ USERVAR_READ"),
    ("SELECT@a", "READ USERVAR_READ"),
    ("SELECT @`a b`, @'a', @\"a\", @a.b$c", "READ USERVAR_READ"),
    ("SELECT @a := 1", "WRITE USERVAR_WRITE"),
    ("SELECT @a:=@a+1 FROM t", "WRITE USERVAR_WRITE USERVAR_READ"),
    ("SELECT @'a' := 1", "WRITE USERVAR_WRITE"),
    ("SELECT @@last_insert_id", "WRITE LAST_INSERT_ID"),
    ("SELECT @@identity", "WRITE LAST_INSERT_ID"),
    ("SELECT @@session.insert_id, @@LAST_GTID", "WRITE LAST_INSERT_ID"),
    ("SELECT @@pseudo_thread_id", "WRITE"),
    ("SELECT @@session .last_insert_id", "WRITE UNKNOWN"),
    ("SELECT @@`version`", "WRITE UNKNOWN"),
    ("SELECT @@ version", "WRITE UNKNOWN"),
    ("SHOW GRANTS FOR a@b", "READ SHOW"),
    ("SHOW GRANTS FOR 'a'@'b'", "READ SHOW"),
    # writes in other clothes
    ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "WRITE"),
    ("WITH a AS (SELECT 1) DELETE FROM t", "WRITE"),
    ("WITH a AS (SELECT 1) UPDATE t SET b = 1", "WRITE"),
    ("WITH a AS (SELECT 1) REPLACE INTO t SELECT 1", "WRITE"),
    ("SELECT INSERT", "WRITE"),
    ("SET STATEMENT max_statement_time = 1 FOR DELETE FROM t", "WRITE"),
    ("SET STATEMENT max_statement_time = f(1) FOR SELECT 1", "WRITE UNSAFE_FUNCTION"),
    ("SET STATEMENT max_statement_time = 1 FOR SELECT 1 FOR UPDATE", "WRITE LOCKING_READ"),
    ("SET STATEMENT max_statement_time = 1 FOR SET @a = 1", "SESSION LITERAL_ONLY USERVAR_WRITE"),
    ("SET STATEMENT max_statement_time = 1", "WRITE UNKNOWN"),
    ("SELECT $x FROM t", "WRITE UNKNOWN"),
]


@pytest.mark.parametrize("sql", PLAIN_READS.strip().splitlines())
def test_query_of_known_functions_is_a_read(sql: str) -> None:
    assert describe(classify(sql.encode())) == "READ"


@pytest.mark.parametrize(("sql", "expected"), OTHERS)
def test_query_is_classified(sql: str, expected: str) -> None:
    assert describe(classify(sql.encode())) == expected


@pytest.mark.parametrize("sql", PLAIN_READS.strip().splitlines())
def test_any_unknown_function_takes_a_read_to_the_primary(sql: str) -> None:
    assert describe(classify(sql.rstrip(";").encode() + b" + stored(1)")) == "WRITE UNSAFE_FUNCTION"
