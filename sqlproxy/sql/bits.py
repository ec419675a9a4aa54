"""The bits of a statement's classification, and their names.

A classification is one ``int``: exactly one target (where the statement may run) and any number of facts (what it
does to the session, the transaction or the server). See ``sqlproxy.sql.classify``.
"""

from typing import Final

# How a session reads text; the ``mode`` argument of everything in this package.
MODE_ANSI_QUOTES: Final = 1  # sql_mode ANSI_QUOTES: "x" is an identifier
MODE_NO_BACKSLASH_ESCAPES: Final = 2  # sql_mode NO_BACKSLASH_ESCAPES: \ is an ordinary character
MODE_MULTIBYTE: Final = 4  # big5, cp932, gb18030, gbk, sjis: a trail byte may look like \ or `
MODE_DOUBLE: Final = 0x100  # of these, big5, gb18030 or gbk: 0xA1 to 0xDF lead a character
MODE_KANA: Final = 0x200  # of these, cp932 or sjis: 0xA1 to 0xDF are characters
MODE_CHARSET: Final = MODE_MULTIBYTE | MODE_DOUBLE | MODE_KANA
# The servers that may be asked: what one of them has no built-in function for may be a stored one there.
MODE_MARIADB_10_6: Final = 8  # 10.6 and later
MODE_MARIADB_10_11: Final = 16
MODE_MARIADB_11_8: Final = 32
MODE_MYSQL_8: Final = 64
MODE_MYSQL_9: Final = 128
MODE_SERVERS: Final = 0xF8  # all of these

# Target: exactly one is set.
READ: Final = 1 << 0  # any synced server
WRITE: Final = 1 << 1  # the primary; includes everything not understood
LAST: Final = 1 << 2  # the server that answered the previous statement
SESSION: Final = 1 << 3  # changes session state only: one server now, the others by replay
TARGETS: Final = READ | WRITE | LAST | SESSION

# Transactions.
BEGIN: Final = 1 << 4  # START TRANSACTION, BEGIN; also COMMIT/ROLLBACK AND CHAIN
BEGIN_READ_ONLY: Final = 1 << 5  # START TRANSACTION … READ ONLY
COMMIT: Final = 1 << 6
ROLLBACK: Final = 1 << 7  # not ROLLBACK TO SAVEPOINT
SAVEPOINT: Final = 1 << 8  # SAVEPOINT, RELEASE SAVEPOINT, ROLLBACK TO
AUTOCOMMIT_ON: Final = 1 << 9
AUTOCOMMIT_OFF: Final = 1 << 10
AUTOCOMMIT_UNKNOWN: Final = 1 << 11  # autocommit set to something only the server can evaluate
NEXT_TRX: Final = 1 << 12  # SET TRANSACTION, SET @@transaction_…: the next transaction only
XA: Final = 1 << 13
DDL: Final = 1 << 14  # commits implicitly

# Session state.
USE_DB: Final = 1 << 15
SET_CHARSET: Final = 1 << 16  # SET NAMES, CHARACTER SET, character_set_*, collation_connection
SQL_MODE: Final = 1 << 17
SET_GLOBAL: Final = 1 << 18  # SET GLOBAL, PERSIST, PERSIST_ONLY
LITERAL_ONLY: Final = 1 << 19  # a session SET of nothing but literals: the same effect on any server
USERVAR_WRITE: Final = 1 << 20
USERVAR_READ: Final = 1 << 21
PREPARE_TEXT: Final = 1 << 22
EXECUTE_TEXT: Final = 1 << 23
DEALLOCATE_TEXT: Final = 1 << 24

# What holds something on one connection.
TEMP_TABLE: Final = 1 << 25
DROP_TEMP: Final = 1 << 26
LOCK_TABLES: Final = 1 << 27  # also FLUSH TABLES WITH READ LOCK, FLUSH … FOR EXPORT, BACKUP LOCK/STAGE
UNLOCK_TABLES: Final = 1 << 28
USER_LOCK: Final = 1 << 29  # GET_LOCK
RELEASE_LOCK: Final = 1 << 30
HANDLER: Final = 1 << 31
LOCKING_READ: Final = 1 << 32  # FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE

# What else is worth knowing.
MULTI: Final = 1 << 33  # more than one statement, or a stored program whose body holds semicolons
LOAD_LOCAL: Final = 1 << 34
KILL: Final = 1 << 35
CALL: Final = 1 << 36
LAST_INSERT_ID: Final = 1 << 37  # reads it
CALC_FOUND_ROWS: Final = 1 << 38
EXPLAIN: Final = 1 << 39
SHOW: Final = 1 << 40
HINT: Final = 1 << 41  # a comment mentions maxscale or sqlproxy
UNSAFE_FUNCTION: Final = 1 << 42  # a function that is not a known read-only built-in
UNKNOWN: Final = 1 << 43  # not understood, therefore WRITE
EMPTY: Final = 1 << 44  # nothing but comments and whitespace
FOUND_ROWS: Final = 1 << 45  # reads FOUND_ROWS(), which a server keeps from its newest SELECT on

NAMES: Final = {
    value: name
    for name, value in dict(globals()).items()
    if isinstance(value, int) and name.isupper() and name != "TARGETS" and not name.startswith("MODE_")
}


def charset_mode(text: bytes) -> int:
    """The bits for the character sets that a text names; neither MODE_DOUBLE nor MODE_KANA when it may be either."""
    text = text.lower()
    double = any(name in text for name in (b"big5", b"gb18030", b"gbk"))
    kana = any(name in text for name in (b"cp932", b"sjis"))
    if double and kana:
        return MODE_MULTIBYTE
    return MODE_MULTIBYTE | MODE_DOUBLE if double else MODE_MULTIBYTE | MODE_KANA if kana else 0


def describe(mask: int) -> str:
    """The names of the bits set in a classification, target first: ``"WRITE LOCKING_READ"``."""
    return " ".join(name for value, name in sorted(NAMES.items()) if mask & value)


def target_of(mask: int) -> int:
    """Only the target of a classification: READ, WRITE, LAST or SESSION."""
    return mask & TARGETS
