"""One table of every word that means something to the classifier, found without making an object.

A word is hashed by its length and a few of its bytes, looked up in an open-addressed table and compared byte by byte,
so a word that is not in the table can never pass for one that is. Its number indexes the arrays below.
"""

from collections.abc import Iterable

from sqlproxy.sql import bits
from sqlproxy.sql.bits import READ, SESSION, UNKNOWN, UNSAFE_FUNCTION, WRITE
from sqlproxy.sql.functions import BARE, NO_SPACE, PAREN_KEYWORDS, READ_ONLY, SPECIAL, VARIABLES
from sqlproxy.sql.generations import LACKED_BY as LACKING
from sqlproxy.sql.keywords import RESERVED

# How a statement goes on after its first word.
FORM_PLAIN = 0  # nothing special: note what calls and variables it has
FORM_QUERY = 1
FORM_OPAQUE = 2  # parentheses are no calls
FORM_INSERT = 3
FORM_SET = 4
FORM_SHOW = 5
FORM_EXPLAIN = 6
FORM_ANALYZE = 7
FORM_START = 8
FORM_BEGIN = 9
FORM_END = 10
FORM_CREATE = 11
FORM_DROP = 12
FORM_LOAD = 13
FORM_FLUSH = 14
FORM_BACKUP = 15
FORM_CALL = 16
FORM_DIAGNOSTICS = 17

_DDL = WRITE | bits.DDL

_COMMITTING = """
cache change check grant import install optimize rename repair reset revoke stop truncate uninstall
"""

# First word of a statement: the bits it has for certain, and how it goes on.
STATEMENTS: dict[str, tuple[int, int]] = {
    "select": (READ, FORM_QUERY),
    "with": (READ, FORM_QUERY),
    "values": (READ, FORM_QUERY),
    "table": (READ, FORM_QUERY),
    "insert": (WRITE, FORM_INSERT),
    "replace": (WRITE, FORM_INSERT),
    "update": (WRITE, FORM_PLAIN),
    "delete": (WRITE, FORM_PLAIN),
    "do": (WRITE, FORM_PLAIN),
    "call": (WRITE | bits.CALL, FORM_CALL),
    "handler": (WRITE | bits.HANDLER, FORM_OPAQUE),
    "kill": (WRITE | bits.KILL, FORM_PLAIN),
    "xa": (WRITE | bits.XA, FORM_PLAIN),
    "set": (SESSION, FORM_SET),
    "use": (SESSION | bits.USE_DB, FORM_OPAQUE),
    "show": (READ | bits.SHOW, FORM_SHOW),
    "explain": (READ | bits.EXPLAIN, FORM_EXPLAIN),
    "describe": (READ | bits.EXPLAIN, FORM_EXPLAIN),
    "desc": (READ | bits.EXPLAIN, FORM_EXPLAIN),
    "analyze": (READ | bits.EXPLAIN, FORM_ANALYZE),
    "help": (READ, FORM_OPAQUE),
    "begin": (WRITE | bits.BEGIN, FORM_BEGIN),
    "start": (WRITE, FORM_START),
    "commit": (WRITE | bits.COMMIT, FORM_END),
    "rollback": (WRITE | bits.ROLLBACK, FORM_END),
    "savepoint": (WRITE | bits.SAVEPOINT, FORM_OPAQUE),
    "release": (WRITE | bits.SAVEPOINT, FORM_OPAQUE),
    "prepare": (SESSION | bits.PREPARE_TEXT, FORM_PLAIN),
    "execute": (WRITE | bits.EXECUTE_TEXT, FORM_PLAIN),
    "deallocate": (SESSION | bits.DEALLOCATE_TEXT, FORM_OPAQUE),
    "lock": (_DDL | bits.LOCK_TABLES, FORM_OPAQUE),
    "unlock": (WRITE | bits.UNLOCK_TABLES, FORM_OPAQUE),
    "backup": (WRITE, FORM_BACKUP),
    "flush": (_DDL, FORM_FLUSH),
    "create": (_DDL, FORM_CREATE),
    "drop": (_DDL, FORM_DROP),
    "alter": (_DDL, FORM_CREATE),
    "load": (WRITE, FORM_LOAD),
    "get": (bits.LAST, FORM_DIAGNOSTICS),
    "checksum": (WRITE, FORM_OPAQUE),
    "binlog": (WRITE, FORM_OPAQUE),
    "purge": (WRITE, FORM_OPAQUE),
    "shutdown": (WRITE, FORM_OPAQUE),
    "restart": (WRITE, FORM_OPAQUE),
    "clone": (WRITE, FORM_OPAQUE),
    "signal": (WRITE, FORM_OPAQUE),
    "resignal": (WRITE, FORM_OPAQUE),
} | dict.fromkeys(
    _COMMITTING.split(),
    (_DDL, FORM_OPAQUE),
)

_SHOWN = """
authors character charset client_statistics collation columns contributors create database databases engine engines
events fields function grants index index_statistics indexes keys locales library open package parse_tree plugins
privileges procedure relaylog replica schemas slave slaves status table table_statistics tables triggers
user_statistics userstat variables wsrep_membership wsrep_status
"""

# SHOW …: the word that says what is shown (after FULL, GLOBAL and the like), and the bits it adds.
SHOWS: dict[str, int] = {
    "warnings": bits.LAST,
    "errors": bits.LAST,
    "count": bits.LAST,
    "profile": bits.LAST,
    "profiles": bits.LAST,
    "master": WRITE,
    "binary": WRITE,
    "binlog": WRITE,
    "processlist": WRITE,
    "replicas": WRITE,
    "explain": WRITE,
    "analyze": WRITE,
} | dict.fromkeys(
    _SHOWN.split(),
    0,
)
SHOW_PREFIXES = frozenset(["all", "extended", "full", "global", "local", "session", "storage"])

# Words that do something inside a statement.
FOR = 1
UPDATE = 2
SHARE = 3
LOCKING = 4
INTO = 5
WRITES = 6
OR_CALL = 7  # INSERT, REPLACE: a function before "(", else a write
CALC = 8
NEXT = 9
VALUE = 10
PRIMARY_ONLY = 11
WITH = 12
SELECTS = 13
AS = 14
NOW = 15
PROCEDURE = 16
ACTIONS: dict[str, int] = {
    "for": FOR,
    "update": UPDATE,
    "share": SHARE,
    "lock": LOCKING,
    "into": INTO,
    "delete": WRITES,
    "insert": OR_CALL,
    "replace": OR_CALL,
    "sql_calc_found_rows": CALC,
    "next": NEXT,
    "previous": NEXT,
    "value": VALUE,
    "nextval": PRIMARY_ONLY,
    "currval": PRIMARY_ONLY,
    "lastval": PRIMARY_ONLY,
    "processlist": PRIMARY_ONLY,
    "with": WITH,
    "select": SELECTS,
    "values": SELECTS,
    "table": SELECTS,
    "as": AS,
    "procedure": PROCEDURE,
} | dict.fromkeys(BARE, NOW)

# Words that the special statements ask about, by name.
_NAMED = """
global session local persist persist_only names character charset transaction autocommit sql_mode statement
password role default resource on off true false character_set_client character_set_connection
character_set_results character_set_database character_set_server collation_connection collation_server
collation_database transaction_isolation tx_isolation transaction_read_only tx_read_only read only write work not
atomic and chain no to savepoint temporary or table tables function procedure trigger event package body view
server database schema user low_priority concurrent data xml connection extended partitions format json prepare
immediate value values set instance lock slave replica status logs log hosts mutex savepoint export with release
analyse tree traditional sequence index engine count unlock end algorithm aggregate definer sql security invoker
spatial unique fulltext global hard soft query diagnostics no_write_to_binlog binary consistent snapshot online
ignore role user definer for group_replication session_track_state_change
rand_seed1 rand_seed2
"""

LONGEST = 48
SLOT_BITS = 13
SLOT_COUNT = 1 << SLOT_BITS


def _all_words() -> list[str]:
    """Every word once, the empty word (unknown) first."""
    tables = (
        STATEMENTS,
        SHOWS,
        SHOW_PREFIXES,
        ACTIONS,
        _NAMED.split(),
        READ_ONLY,
        SPECIAL,
        BARE,
        VARIABLES,
        PAREN_KEYWORDS,
        RESERVED,
    )
    return ["", *sorted({word for table in tables for word in table})]


WORDS = _all_words()
NUMBER_OF = {word: number for number, word in enumerate(WORDS)}


def _call_mask(word: str) -> int:
    """The bits that ``word (`` adds to a statement."""
    if word in SPECIAL:
        return SPECIAL[word]
    if word in READ_ONLY or word in PAREN_KEYWORDS:
        return 0
    return WRITE | UNSAFE_FUNCTION


CAPACITY = 1024


def by_number(values: Iterable[int]) -> list[int]:
    """An array over word numbers, filled up to the fixed size that compiled modules declare."""
    filled = list(values)
    return filled + [0] * (CAPACITY - len(filled))


_UNKNOWN = (WRITE | UNKNOWN, FORM_OPAQUE)
STATEMENT_MASKS = by_number(STATEMENTS.get(word, _UNKNOWN)[0] for word in WORDS)
STATEMENT_FORMS = by_number(STATEMENTS.get(word, _UNKNOWN)[1] for word in WORDS)
SHOW_MASKS = by_number(SHOWS.get(word, WRITE | UNKNOWN) for word in WORDS)
IS_SHOW_PREFIX = by_number(word in SHOW_PREFIXES for word in WORDS)
CALL_MASKS = by_number(_call_mask(word) for word in WORDS)
VARIABLE_MASKS = by_number(VARIABLES.get(word, 0) for word in WORDS)
ACTION_OF = by_number(ACTIONS.get(word, 0) for word in WORDS)
COMPUTES = by_number(word not in PAREN_KEYWORDS for word in WORDS)
IS_RESERVED = by_number(word in RESERVED for word in WORDS)
NEEDS_NO_SPACE = by_number(word in NO_SPACE for word in WORDS)
LACKED_BY = by_number(LACKING.get(word, 0) for word in WORDS)


def _fold(word: str) -> bytes:
    return bytes(byte | 0x20 for byte in word.encode())


def hash_of(s: bytes, start: int, length: int) -> int:
    """The slot where the search for a word of two bytes or more starts."""
    h = length * 0x2F1
    h += (s[start] | 0x20) * 0x65D
    h += (s[start + 1] | 0x20) * 0x1F
    h += (s[start + (length >> 1)] | 0x20) * 0x2A5
    h += (s[start + length - 2] | 0x20) * 0x119
    h += (s[start + length - 1] | 0x20) * 0x47
    return (h ^ (h >> 7)) & (SLOT_COUNT - 1)


def _build() -> tuple[list[int], list[int], bytes]:
    """Slots (word numbers, 0 is free), where each word's text starts, and all texts with their lengths in front."""
    slots = [0] * SLOT_COUNT
    offsets = [0] * CAPACITY
    texts = bytearray()
    for number, word in enumerate(WORDS):
        folded = _fold(word)
        offsets[number] = len(texts)
        texts += bytes([len(folded)]) + folded
        if len(folded) < 2:
            continue
        slot = hash_of(folded, 0, len(folded))
        while slots[slot]:
            slot = (slot + 1) & (SLOT_COUNT - 1)
        slots[slot] = number
    return slots, offsets, bytes(texts)


_TABLE = _build()
SLOTS = _TABLE[0]
OFFSETS = _TABLE[1]
TEXTS = _TABLE[2]  # _TABLE keeps them alive: compiled, this is a pointer


def lookup(s: bytes, start: int, stop: int) -> int:
    """The number of the word ``s[start:stop]`` in any letter case, 0 when it is not in the table."""
    length = stop - start
    if length < 2 or length > LONGEST:
        return 0
    slot = hash_of(s, start, length)
    number = SLOTS[slot]
    while number:
        if _same(s, start, length, OFFSETS[number]):
            return number
        slot = (slot + 1) & (SLOT_COUNT - 1)
        number = SLOTS[slot]
    return 0


def _same(s: bytes, start: int, length: int, offset: int) -> bool:
    if TEXTS[offset] != length:
        return False
    i = 0
    while i < length:
        if (s[start + i] | 0x20) != TEXTS[offset + 1 + i]:
            return False
        i += 1
    return True
