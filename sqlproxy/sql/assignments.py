"""SET: which variables, of which scope, to what kind of value.

Grammar: MySQL manual "SET Syntax for Variable Assignment", MariaDB "SET"; the scope words GLOBAL and SESSION hold for
the following names without one, ``@@name`` without scope means the session (or, for transaction characteristics, the
next transaction).
"""

from sqlproxy.sql.bits import (
    AUTOCOMMIT_OFF,
    AUTOCOMMIT_ON,
    AUTOCOMMIT_UNKNOWN,
    DDL,
    LITERAL_ONLY,
    NEXT_TRX,
    SET_CHARSET,
    SET_GLOBAL,
    SQL_MODE,
    UNKNOWN,
    USERVAR_WRITE,
    WRITE,
)
from sqlproxy.sql.body import Body
from sqlproxy.sql.tokens import ASSIGN, BAD, COMMA, DOT, EQUAL, NUMBER, QUOTED, SEMICOLON, STRING, SYSVAR, USERVAR, WORD
from sqlproxy.sql.words import NUMBER_OF, WORDS, by_number, lookup

W_AUTOCOMMIT = NUMBER_OF["autocommit"]
W_SQL_MODE = NUMBER_OF["sql_mode"]
W_TRACKING = NUMBER_OF["session_track_state_change"]
W_ON = NUMBER_OF["on"]
W_TRUE = NUMBER_OF["true"]
W_OFF = NUMBER_OF["off"]
W_FALSE = NUMBER_OF["false"]

# What a word means at the head of an assignment.
H_VARIABLE = 0
H_SESSION = 1
H_GLOBAL = 2
H_CHARSET = 3  # NAMES, CHARACTER SET, CHARSET
H_TRANSACTION = 4
H_ACCOUNT = 5  # PASSWORD, DEFAULT ROLE
H_ROLE = 6
H_SERVER = 7  # RESOURCE GROUP
_HEADS = {
    "session": H_SESSION,
    "local": H_SESSION,
    "global": H_GLOBAL,
    "persist": H_GLOBAL,
    "persist_only": H_GLOBAL,
    "names": H_CHARSET,
    "character": H_CHARSET,
    "charset": H_CHARSET,
    "char": H_CHARSET,
    "transaction": H_TRANSACTION,
    "password": H_ACCOUNT,
    "default": H_ACCOUNT,
    "role": H_ROLE,
    "resource": H_SERVER,
}
HEADS = by_number(_HEADS.get(word, H_VARIABLE) for word in WORDS)

_CHARSET_WORDS = """
character_set_client character_set_connection character_set_results character_set_database character_set_server
collation_connection collation_server collation_database
"""
_CHARSET_VARIABLES = frozenset(_CHARSET_WORDS.split())
_TRANSACTION_VARIABLES = frozenset(("transaction_isolation", "tx_isolation", "transaction_read_only", "tx_read_only"))
# Variables that statements use up, or go on changing: an INSERT takes the one, each RAND() the others.
USED_UP = frozenset(("insert_id", "rand_seed1", "rand_seed2"))
IS_CHARSET = by_number(word in _CHARSET_VARIABLES for word in WORDS)
IS_TRANSACTION = by_number(word in _TRANSACTION_VARIABLES for word in WORDS)
IS_USED_UP = by_number(word in USED_UP for word in WORDS)

# Scopes.
S_DEFAULT = 0  # a bare name before any scope word: the session
S_NEXT = 1  # @@name
S_SESSION = 2
S_GLOBAL = 3
S_STICKY = 4  # a bare name after GLOBAL: servers differ


class Assignments(Body):
    """The part of the classifier that reads SET."""

    def assignments(self, kind: int) -> int:
        """Read ``SET …`` from the token after SET on; return the kind that ended the statement."""
        self.scope = S_DEFAULT
        self.mask |= LITERAL_ONLY
        kind = self._assignment(kind)
        while kind == COMMA:
            kind = self._assignment(self.take())
        if self.computed:
            self.mask &= ~LITERAL_ONLY
        return kind

    def _assignment(self, kind: int) -> int:
        """One assignment, from its first token on; returns the kind that ended it."""
        if kind == USERVAR:
            self.mask |= USERVAR_WRITE
            return self._value(self.take())
        if kind == SYSVAR:
            return self._at_variable()
        head = HEADS[self.word]
        if kind != WORD or head == H_VARIABLE:
            return self._named_variable(kind, S_STICKY if self.scope == S_GLOBAL else self.scope)
        if head in (H_SESSION, H_GLOBAL):
            return self._scoped(S_GLOBAL if head == H_GLOBAL else S_SESSION)
        if head == H_CHARSET:
            self.mask |= SET_CHARSET
            return self._rest(False)
        if head == H_TRANSACTION:
            return self._transaction(S_NEXT)
        if head != H_ROLE:
            self.mask |= WRITE | DDL if head == H_ACCOUNT else WRITE
        return self._rest(True)

    def _scoped(self, scope: int) -> int:
        self.scope = scope
        kind = self.take()
        if HEADS[self.word] == H_TRANSACTION:
            return self._transaction(scope)
        return self._named_variable(kind, scope)

    def _transaction(self, scope: int) -> int:
        """SET [scope] TRANSACTION characteristic, characteristic."""
        if scope == S_GLOBAL:
            self.mask |= WRITE | SET_GLOBAL
        elif scope == S_NEXT:
            self.mask |= WRITE | NEXT_TRX
        return self._rest(True)

    def _rest(self, commas: bool) -> int:
        """Up to the end of an assignment without "=", where commas end it or not."""
        kind = self.take()
        while kind > BAD and kind != SEMICOLON and (commas or kind != COMMA or self.depth):
            self.note(kind)
            kind = self.take()
        return kind

    def _at_variable(self) -> int:
        """``@@name``, ``@@session.name``, ``@@global.name``; any other prefix names a global component."""
        scope = S_NEXT
        if self.name > self.start + 2:
            head = HEADS[lookup(self.s, self.start + 2, self.name - 1)]
            scope = S_SESSION if head == H_SESSION else S_GLOBAL
        word = lookup(self.s, self.name, self.pos)
        return self._variable_to(word, scope, self.take())

    def _named_variable(self, kind: int, scope: int) -> int:
        if kind != WORD and kind != QUOTED:
            self.mask |= WRITE | UNKNOWN
            return self._value(kind)
        word = self.word if kind == WORD else lookup(self.s, self.start + 1, self.pos - 1)
        kind = self.take()
        if kind != DOT:
            return self._variable_to(word, scope, kind)
        self.take()
        return self._variable_to(word, S_GLOBAL, self.take())

    def _variable_to(self, word: int, scope: int, kind: int) -> int:
        """Note which variable is set; ``kind`` is the token after its name."""
        if scope in (S_GLOBAL, S_STICKY):
            self.mask |= WRITE | SET_GLOBAL
        if scope == S_GLOBAL:
            return self._value(kind)
        if word == W_SQL_MODE:
            self.mask |= SQL_MODE
        elif IS_CHARSET[word]:
            self.mask |= SET_CHARSET
        elif IS_TRANSACTION[word] and scope == S_NEXT:
            self.mask |= WRITE | NEXT_TRX
        elif word == W_TRACKING:
            self.computed = True  # on the primary, where the session stays when reports are switched off
        elif IS_USED_UP[word]:
            self.computed = True  # no other server shall have it
        end = self._value(kind)
        if word == W_AUTOCOMMIT:
            self.mask |= AUTOCOMMIT_UNKNOWN if scope == S_STICKY else self.switch
        return end

    def _value(self, kind: int) -> int:
        """``= expression``; leaves in ``switch`` what it would do to autocommit."""
        if kind != EQUAL and kind != ASSIGN:
            self.mask |= WRITE | UNKNOWN
        self.switch = AUTOCOMMIT_UNKNOWN
        count = 0
        if kind > BAD and kind != SEMICOLON:
            kind = self.take()
        while kind > BAD and kind != SEMICOLON and (kind != COMMA or self.depth):
            self.switch = AUTOCOMMIT_UNKNOWN if count else self._switch_of(kind)
            self.note(kind)
            kind = self.take()
            count += 1
        if count == 0:
            self.mask |= WRITE | UNKNOWN
        return kind

    def _switch_of(self, kind: int) -> int:
        """What one token means as the value of autocommit."""
        word = self.word
        if kind == NUMBER and self.pos == self.start + 1:
            digit = self.s[self.start]
            if digit == 0x30 or digit == 0x31:
                return AUTOCOMMIT_ON if digit == 0x31 else AUTOCOMMIT_OFF
        if kind == STRING:
            word = lookup(self.s, self.start + 1, self.pos - 1)
        if word == W_ON or (word == W_TRUE and kind == WORD):
            return AUTOCOMMIT_ON
        if word == W_OFF or (word == W_FALSE and kind == WORD):
            return AUTOCOMMIT_OFF
        return AUTOCOMMIT_UNKNOWN
