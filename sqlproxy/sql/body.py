"""What the tokens inside a statement say: calls, variables, locks, writes hidden in a query.

Bits are only ever added. Where several targets come together the strictest wins, so whatever is seen can take a
statement from the replicas to the primary and never the other way.
"""

from sqlproxy.sql import words
from sqlproxy.sql.bits import (
    CALC_FOUND_ROWS,
    LOCKING_READ,
    UNKNOWN,
    UNSAFE_FUNCTION,
    USERVAR_READ,
    USERVAR_WRITE,
    WRITE,
)
from sqlproxy.sql.lexer import Lexer
from sqlproxy.sql.tokens import (
    ASSIGN,
    BAD,
    DOT,
    END,
    LEFT,
    NUMBER,
    QUOTED,
    RIGHT,
    SEMICOLON,
    STRING,
    SYSVAR,
    USERVAR,
    WORD,
)
from sqlproxy.sql.words import (
    AS,
    CALC,
    FOR,
    INTO,
    LOCKING,
    NEXT,
    NOW,
    NUMBER_OF,
    OR_CALL,
    PRIMARY_ONLY,
    PROCEDURE,
    SELECTS,
    SHARE,
    UPDATE,
    VALUE,
    WITH,
    WRITES,
    lookup,
)

# Compiled, these become C arrays, which an import cannot fill.
ACTION_OF = words.ACTION_OF
CALL_MASKS = words.CALL_MASKS
COMPUTES = words.COMPUTES
LACKED_BY = words.LACKED_BY
NEEDS_NO_SPACE = words.NEEDS_NO_SPACE
VARIABLE_MASKS = words.VARIABLE_MASKS

W_ANALYSE = NUMBER_OF["analyse"]
W_FROM = NUMBER_OF["from"]
W_GLOBAL = NUMBER_OF["global"]
W_JOIN = NUMBER_OF["join"]
W_JSON_TABLE = NUMBER_OF["json_table"]
W_LOCAL = NUMBER_OF["local"]
W_SESSION = NUMBER_OF["session"]


class Body(Lexer):
    """A lexer that remembers the last two tokens and collects ``mask``.

    ``word`` is the number of the current keyword, ``computed`` tells that the current expression is not made of
    literals alone. ``unsafe_start`` and ``unsafe_stop`` bound the first name called that is not known to be read-only.
    """

    def open(self) -> None:
        self.word = 0
        self.last_kind = END
        self.last_word = 0
        self.last_start = self.pos
        self.last_stop = self.pos
        self.unsafe_start = 0
        self.unsafe_stop = 0
        self.prior_kind = END
        self.prior_word = 0
        self.begin_part()

    def begin_part(self) -> None:
        """Forget what belongs to one statement of the text."""
        self.mask = 0
        self.depth = 0
        self.reads = 0
        self.with_depth = -1
        self.pending = False
        self.computed = False

    def take(self) -> int:
        """Advance, remember what came before, and recognise a keyword; return the token's kind."""
        self.prior_kind = self.last_kind
        self.prior_word = self.last_word
        self.last_kind = self.kind
        self.last_word = self.word
        self.last_start = self.start
        self.last_stop = self.pos
        kind = self.advance()
        word = 0
        if kind == WORD:
            word = lookup(self.s, self.start, self.pos)
            # After a dot no word is a keyword, but s.nextval draws from a sequence in Oracle mode.
            if self.last_kind == DOT and ACTION_OF[word] != PRIMARY_ONLY:
                word = 0
        self.word = word
        return kind

    def body(self) -> int:
        """Note everything up to the end of the statement; return the kind that ended it."""
        kind = self.take()
        while kind > BAD and kind != SEMICOLON:
            self.note(kind)
            kind = self.take()
        return kind

    def opaque(self) -> int:
        """Skip to the end of a statement whose parentheses are no calls, noting user variables only."""
        kind = self.take()
        while kind > BAD and kind != SEMICOLON:
            if kind == USERVAR and not self._is_host():
                self.reads += 1
            kind = self.take()
        return kind

    def finish(self, kind: int) -> None:
        """Add what can only be said at the end of a statement."""
        if self.reads > 0:
            self.mask |= USERVAR_READ
        if self.pending:
            self.mask |= WRITE
        if kind == BAD or self.depth:
            self.mask |= WRITE | UNKNOWN

    def note(self, kind: int) -> None:
        """Add what one token means where it stands."""
        if self.pending:
            self.pending = False
            if kind != LEFT:
                self.mask |= WRITE
        if kind == WORD:
            action = ACTION_OF[self.word]
            if action:
                self._act(action)
        elif kind == LEFT:
            if self.last_kind == WORD or self.last_kind == QUOTED:
                self._call()
            self.depth += 1
        elif kind == RIGHT:
            self.depth -= 1
            if self.depth < self.with_depth:
                self.with_depth = -1
        elif kind >= USERVAR and kind <= ASSIGN:
            self._variable_use(kind)

    def _call(self) -> None:
        """A name before "(": a function, unless the grammar leaves only a list of columns."""
        word = self.last_word
        if self.prior_kind == DOT:
            self.computed = True
            self._unsafe()
            return
        if self.with_depth == self.depth:
            return
        if COMPUTES[word]:
            self.computed = True
        mask = CALL_MASKS[word]
        if LACKED_BY[word] & self.mode or (NEEDS_NO_SPACE[word] and self.start != self.last_stop):
            mask = WRITE | UNSAFE_FUNCTION
        if not mask & UNSAFE_FUNCTION:
            self.mask |= mask
        elif not self._is_column_list():
            self._unsafe()

    def _unsafe(self) -> None:
        """A call of the name just passed, which may do anything."""
        if self.unsafe_stop == 0:
            self.unsafe_start = self.last_start
            self.unsafe_stop = self.last_stop
        self.mask |= WRITE | UNSAFE_FUNCTION

    def _is_column_list(self) -> bool:
        """A name that follows AS or an operand is an alias: ``AS t (a, b)``, ``(…) t (a, b)``, ``'$' COLUMNS (…)``.

        JSON_TABLE behind FROM or JOIN is a table, also where a function of that name may be stored.
        """
        kind = self.prior_kind
        if kind in (RIGHT, STRING, NUMBER):
            return True
        action = ACTION_OF[self.prior_word]
        if self.last_word == W_JSON_TABLE:
            return self.prior_word == W_FROM or self.prior_word == W_JOIN
        return action == AS or (action == PROCEDURE and self.last_word == W_ANALYSE)

    def _act(self, action: int) -> None:
        last = ACTION_OF[self.last_word]
        if action == SELECTS:
            self.computed = True
            if self.with_depth == self.depth:
                self.with_depth = -1
        elif action == OR_CALL:
            self.pending = True
        elif action in (UPDATE, SHARE, LOCKING):
            self._lock(action, last)
        elif action in (INTO, WRITES, PRIMARY_ONLY) or (action == VALUE and last == NEXT):
            self.mask |= WRITE
        elif action == CALC:
            self.mask |= CALC_FOUND_ROWS
        elif action == NOW:
            self.computed = True
        elif action == WITH and self.last_kind == LEFT and self.with_depth < 0:
            self.with_depth = self.depth

    def _lock(self, action: int, last: int) -> None:
        """FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE; UPDATE elsewhere writes, SHARE elsewhere is a name."""
        if last == FOR or action == LOCKING:
            self.mask |= WRITE | LOCKING_READ
        elif action == UPDATE:
            self.mask |= WRITE

    def _variable_use(self, kind: int) -> None:
        if kind == ASSIGN:
            if self.last_kind == USERVAR:
                self.mask |= WRITE | USERVAR_WRITE
                self.reads -= 1
            return
        self.computed = True
        if kind == SYSVAR:
            self._system_variable_read()
        elif self._is_host():
            return
        elif ACTION_OF[self.last_word] == INTO:
            self.mask |= WRITE | USERVAR_WRITE
        else:
            self.reads += 1

    def _is_host(self) -> bool:
        """``name@host``: the account's host rather than a user variable."""
        kind = self.last_kind
        named = kind in (STRING, QUOTED) or (kind == WORD and self.last_word == 0)
        return named and self.start == self.last_stop

    def _system_variable_read(self) -> None:
        word = lookup(self.s, self.name, self.pos)
        self.mask |= VARIABLE_MASKS[word]
        if self.name == self.start + 2 and (word in (W_GLOBAL, W_SESSION, W_LOCAL)):
            self.mask |= WRITE | UNKNOWN
