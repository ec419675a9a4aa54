"""Where statements go, kind by kind: what users of other splitting proxies look up in a table, and what hides in it.

The exact bits of single statements are in test_statement and test_body; here only the target counts.
"""

import pytest

from sqlproxy.sql.bits import LAST, READ, SESSION, WRITE, describe, target_of
from sqlproxy.sql.classify import classify

# Kind, target, statements.
TABLE: list[tuple[str, int, str]] = [
    (
        "reads of tables by built-in functions",
        READ,
        """
SELECT a, UPPER(b) FROM t
SELECT SLEEP(0), BENCHMARK(1, 1), UUID_SHORT()
SELECT MASTER_GTID_WAIT('0-1-1', 0)
SELECT COUNT(*) FROM t WHERE a IN (SELECT a FROM u WHERE b = 'for update')
""",
    ),
    (
        "locking reads",
        WRITE,
        """
SELECT a FROM t FOR UPDATE
SELECT a FROM t FOR SHARE
SELECT a FROM t LOCK IN SHARE MODE
SELECT a FROM t FOR UPDATE NOWAIT
SELECT a FROM t FOR SHARE SKIP LOCKED
SELECT a FROM t FOR UPDATE WAIT 5
SELECT a FROM t LIMIT 1 FOR UPDATE
SELECT * FROM t WHERE a = (SELECT MAX(a) FROM u FOR UPDATE)
SELECT (SELECT a FROM t LIMIT 1 FOR SHARE)
SELECT EXISTS (SELECT 1 FROM t LOCK IN SHARE MODE)
SELECT * FROM t JOIN (SELECT a FROM u FOR UPDATE) AS d USING (a)
(SELECT a FROM t) UNION (SELECT a FROM u FOR UPDATE)
(SELECT a FROM t FOR UPDATE) UNION SELECT 1
(SELECT a FROM t) FOR UPDATE
((SELECT a FROM t FOR UPDATE))
WITH c AS (SELECT a FROM t FOR UPDATE) SELECT a FROM c
WITH c AS (SELECT a FROM t) SELECT a FROM c, t FOR UPDATE
TABLE t FOR UPDATE
EXPLAIN SELECT a FROM t FOR UPDATE
SELECT a FROM t /* x */ FOR /* y */ UPDATE
SELECT a FROM t /*!40001 FOR UPDATE */
SELECT a FROM t /*M!100100 FOR UPDATE */
""",
    ),
    (
        "results into files and variables",
        WRITE,
        """
SELECT a FROM t INTO OUTFILE '/tmp/x'
SELECT a INTO OUTFILE '/tmp/x' FIELDS TERMINATED BY ',' FROM t
SELECT a FROM t INTO DUMPFILE '/tmp/x'
SELECT a INTO @x FROM t
SELECT a FROM t LIMIT 1 INTO @x
(SELECT 1) UNION (SELECT 2) LIMIT 1 INTO @x
SELECT 1 UNION SELECT 2 LIMIT 1 INTO @x
WITH c AS (SELECT 1) SELECT * FROM c INTO @x
VALUES (1) INTO @x
TABLE t LIMIT 1 INTO OUTFILE '/tmp/x'
SELECT @x := a FROM t
SELECT a FROM t WHERE (@x := @x + 1) < 5
""",
    ),
    (
        "stored and loadable functions, wherever they stand",
        WRITE,
        """
SELECT stored(1)
SELECT app.stored(1)
SELECT `stored`(1)
SELECT stored (a) FROM t
SELECT a FROM t WHERE b = stored(a)
SELECT a FROM t GROUP BY stored(a) HAVING COUNT(*) > 1
SELECT a FROM t ORDER BY stored(a)
SELECT a FROM t LIMIT 1 UNION SELECT stored(1)
SELECT a FROM t JOIN u ON stored(t.a) = u.a
SELECT CASE WHEN stored(1) THEN 1 END
SELECT IF(1, 2, stored(3))
SELECT CAST(stored(1) AS CHAR)
SELECT JSON_EXTRACT(stored(1), '$.a')
SELECT SUM(stored(a)) OVER (PARTITION BY b) FROM t
SELECT SUM(a) OVER (ORDER BY stored(a)) FROM t
SELECT RANK() OVER w FROM t WINDOW w AS (PARTITION BY stored(a))
SELECT * FROM JSON_TABLE(stored(1), '$[*]' COLUMNS (x INT PATH '$')) AS k
SELECT * FROM (VALUES (stored(1))) AS d
SELECT * FROM t, LATERAL (SELECT stored(t.a)) AS l
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT stored(i) FROM n WHERE i < 5) SELECT i FROM n
VALUES (1, stored(2))
SHOW TABLES WHERE stored(1)
DO stored(1)
EXPLAIN ANALYZE SELECT stored(1)
ANALYZE SELECT stored(1)
SELECT 1 /*! + stored(1) */
SELECT -stored(1)
SELECT NOT stored(1)
SELECT a BETWEEN 1 AND stored(1) FROM t
SELECT a LIKE 'x' ESCAPE stored(1) FROM t
SELECT INTERVAL stored(1) DAY + NOW()
""",
    ),
    (
        "what only the server of the last insert knows",
        WRITE,
        """
SELECT LAST_INSERT_ID()
SELECT LAST_INSERT_ID(a) FROM t
SELECT @@identity
SELECT @@last_insert_id
SELECT @@last_gtid
SELECT @@SESSION.last_insert_id + 1
SELECT a FROM t WHERE a = LAST_INSERT_ID()
""",
    ),
    (
        "locks by name",
        WRITE,
        """
SELECT GET_LOCK('l', 1)
SELECT RELEASE_LOCK('l')
SELECT RELEASE_ALL_LOCKS()
SELECT IS_FREE_LOCK('l')
SELECT IS_USED_LOCK('l')
SELECT 1 WHERE GET_LOCK('l', 1) = 1
SELECT (SELECT GET_LOCK('l', 1))
""",
    ),
    (
        "sequences",
        WRITE,
        """
SELECT NEXTVAL(s)
SELECT NEXT VALUE FOR s
SELECT SETVAL(s, 5)
SELECT LASTVAL(s)
SELECT PREVIOUS VALUE FOR s
SELECT s.nextval
SELECT a, NEXTVAL(s) FROM t
INSERT INTO t VALUES (NEXT VALUE FOR s)
CREATE SEQUENCE s2
ALTER SEQUENCE s RESTART 1
DROP SEQUENCE s
""",
    ),
    (
        "what belongs to one connection or to the primary",
        WRITE,
        """
SELECT CONNECTION_ID()
SELECT WSREP_SYNC_WAIT_UPTO_GTID('0-1-1', 0)
SELECT WSREP_LAST_SEEN_GTID()
SHOW PROCESSLIST
SHOW MASTER STATUS
SHOW BINARY LOGS
""",
    ),
    (
        "questions about the statement before",
        LAST,
        """
SHOW WARNINGS
SHOW ERRORS LIMIT 1
SHOW COUNT(*) WARNINGS
SHOW COUNT(*) ERRORS
SELECT @@warning_count
SELECT @@error_count + 1
SELECT ROW_COUNT()
SELECT FOUND_ROWS()
SELECT FOUND_ROWS(), ROW_COUNT()
/* a */ SHOW WARNINGS;
;SHOW WARNINGS
GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT
""",
    ),
    (
        "metadata",
        READ,
        """
SHOW INDEX FROM t
SHOW KEYS FROM t
SHOW STATUS LIKE 'Threads%'
SHOW TABLES
SHOW DATABASES
SHOW CREATE TABLE t
SHOW VARIABLES LIKE 'version%'
SHOW GLOBAL VARIABLES LIKE 'max_%'
SHOW SLAVE STATUS
EXPLAIN SELECT a FROM t
EXPLAIN FORMAT=JSON SELECT a FROM t
EXPLAIN ANALYZE SELECT a FROM t
DESCRIBE t
DESC t a
""",
    ),
    (
        "the session's own state",
        SESSION,
        """
SET @u = 1
SET sql_mode = 'ANSI'
SET SESSION sort_buffer_size = 300000
SET @@session.time_zone = '+00:00'
SET NAMES utf8mb4
SET CHARACTER SET utf8mb4
USE app
PREPARE s FROM 'SELECT 1'
DEALLOCATE PREPARE s
/* a */ SET NAMES utf8mb4;
;SET @u = 1
""",
    ),
    (
        "settings of servers, passwords, transactions",
        WRITE,
        """
SET GLOBAL max_connections = 100
SET @@global.max_connections = 100
SET PERSIST max_connections = 100
SET @u = 1, GLOBAL max_connections = 100
SET PASSWORD = PASSWORD('x')
SET PASSWORD FOR app = 'x'
SET DEFAULT ROLE NONE
SET TRANSACTION READ ONLY
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
BEGIN
START TRANSACTION
START TRANSACTION READ WRITE
BEGIN NOT ATOMIC SELECT 1; END
SET STATEMENT max_statement_time = 1 FOR UPDATE t SET b = 'x'
SET STATEMENT max_statement_time = 1 FOR SELECT stored(1)
""",
    ),
    (
        "reads in other clothes",
        READ,
        """
START TRANSACTION READ ONLY
SET STATEMENT max_statement_time = 1 FOR SELECT a FROM t
WITH c AS (SELECT a FROM t) SELECT a FROM c
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n
SELECT a FROM t UNION SELECT a FROM u UNION ALL SELECT 3
SELECT a FROM t WHERE a IN (SELECT a FROM u) AND EXISTS (SELECT 1 FROM t AS w WHERE w.a = t.a)
SELECT a, ROW_NUMBER() OVER (ORDER BY a) FROM t
SELECT SUM(a) OVER (PARTITION BY b ORDER BY a ROWS UNBOUNDED PRECEDING) FROM t
SELECT JSON_OBJECT('a', a), JSON_ARRAYAGG(b) FROM t GROUP BY a
SELECT JSON_VALUE(j, '$.k') FROM t
SELECT JSON_SET(j, '$.k', 2), JSON_REMOVE(j, '$.k'), JSON_LENGTH(j) FROM t
VALUES (1, 'a'), (2, 'b')
TABLE t
TABLE t UNION TABLE t
(SELECT a FROM t)
((SELECT a FROM t))
(SELECT a FROM t) UNION (SELECT a FROM u) ORDER BY a LIMIT 1
(SELECT a FROM t ORDER BY a LIMIT 1) LIMIT 1
;SELECT 1
;;SELECT 1
; ; SELECT 1
/* a */ ; SELECT 1
/* a /* b */ SELECT 1
/*! SELECT */ 1
/*!40000 SELECT /* x */ 1 */
/*M! SELECT 1 */
SELECT /* FOR UPDATE */ a FROM t
SELECT a FROM t -- FOR UPDATE
SELECT a FROM t # FOR UPDATE
SELECT 'FOR UPDATE', "INTO OUTFILE", `a` FROM t
SELECT a AS `for update` FROM t
""",
    ),
    (
        "everything that writes, however it is wrapped",
        WRITE,
        """
INSERT INTO t (a) VALUES (9) RETURNING a
REPLACE INTO t (a) VALUES (9) RETURNING a
DELETE FROM t RETURNING a
INSERT INTO t (a) SELECT a FROM u
INSERT INTO t (a) WITH c AS (SELECT 1 AS a) SELECT a FROM c
WITH c AS (SELECT 1 AS a) DELETE FROM t WHERE a IN (SELECT a FROM c)
WITH c AS (SELECT 1 AS a) UPDATE t, c SET b = 'x' WHERE t.a = c.a
EXPLAIN ANALYZE INSERT INTO t (a) VALUES (9)
EXPLAIN ANALYZE UPDATE t SET b = 'x'
EXPLAIN ANALYZE DELETE FROM t
EXPLAIN ANALYZE REPLACE INTO t (a) VALUES (9)
EXPLAIN ANALYZE FORMAT=TREE DELETE FROM t
EXPLAIN FORMAT=JSON DELETE FROM t
ANALYZE INSERT INTO t (a) VALUES (9)
ANALYZE FORMAT=JSON UPDATE t SET b = 'x'
ANALYZE WITH c AS (SELECT 1) DELETE FROM t
EXPLAIN ANALYZE WITH c AS (SELECT 1 AS a) DELETE FROM t WHERE a IN (SELECT a FROM c)
;DELETE FROM t
;;; DELETE FROM t
/* SELECT */ DELETE FROM t
-- SELECT 1
/*!DELETE*/ FROM t
/*!40000 DELETE FROM t */
SELECT 1; DELETE FROM t
SELECT 1;; DELETE FROM t
DO 1
HANDLER t OPEN
LOAD DATA INFILE 'x' INTO TABLE t
LOCK TABLES t READ
UNLOCK TABLES
XA START 'x'
RESET QUERY CACHE
TRUNCATE t
START SLAVE
STOP REPLICA
FLUSH STATUS
GRANT SELECT ON app.t TO app
ANALYZE TABLE t
CALL p()
EXECUTE s
EXECUTE IMMEDIATE 'SELECT 1'
CREATE TEMPORARY TABLE x (a INT)
IMPORT TABLE FROM 'x'
CLONE LOCAL DATA DIRECTORY 'x'
""",
    ),
    (
        "what nobody understands",
        WRITE,
        """
SELEKT 1
SELECT (1
SELECT 'open
SELECT 1 /* open
/*!99999 SELECT */ 1
WHATEVER IT IS
""",
    ),
]

ROWS = [(kind, target, sql) for kind, target, text in TABLE for sql in text.strip().splitlines()]
STATEMENTS = [sql for _, _, sql in ROWS]


@pytest.mark.parametrize(("kind", "target", "sql"), ROWS)
def test_statement_goes_where_the_table_says(kind: str, target: int, sql: str) -> None:
    found = classify(sql.encode())
    assert target_of(found) == target, f"{kind}: {describe(found)}"
