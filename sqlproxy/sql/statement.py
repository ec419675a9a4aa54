"""The classifier: one pass over the tokens of a text, statement by statement.

Which statements exist and what they change: MySQL 8.4 manual chapter 15 "SQL Statements", MariaDB "SQL Statements";
implicit commits: "Statements That Cause an Implicit Commit".
"""

from sqlproxy.sql import words
from sqlproxy.sql.assignments import Assignments
from sqlproxy.sql.bits import (
    BEGIN,
    BEGIN_READ_ONLY,
    DDL,
    DEALLOCATE_TEXT,
    DROP_TEMP,
    EMPTY,
    HINT,
    LAST,
    LITERAL_ONLY,
    LOAD_LOCAL,
    LOCK_TABLES,
    MULTI,
    READ,
    SAVEPOINT,
    SESSION,
    SHOW,
    TARGETS,
    TEMP_TABLE,
    UNKNOWN,
    UNLOCK_TABLES,
    USERVAR_WRITE,
    WRITE,
)
from sqlproxy.sql.tokens import BAD, EQUAL, LEFT, SEMICOLON, WORD
from sqlproxy.sql.words import (
    FOR,
    FORM_ANALYZE,
    FORM_BACKUP,
    FORM_BEGIN,
    FORM_CREATE,
    FORM_DROP,
    FORM_END,
    FORM_EXPLAIN,
    FORM_FLUSH,
    FORM_INSERT,
    FORM_LOAD,
    FORM_OPAQUE,
    FORM_PLAIN,
    FORM_QUERY,
    FORM_SET,
    FORM_SHOW,
    FORM_START,
    INTO,
    NUMBER_OF,
    SELECTS,
    WITH,
    by_number,
)

# Compiled, these become C arrays, which an import cannot fill.
ACTION_OF = words.ACTION_OF
IS_SHOW_PREFIX = words.IS_SHOW_PREFIX
SHOW_MASKS = words.SHOW_MASKS
STATEMENT_FORMS = words.STATEMENT_FORMS
STATEMENT_MASKS = words.STATEMENT_MASKS

W_CHAIN = NUMBER_OF["chain"]
W_ANALYZE = NUMBER_OF["analyze"]
W_END = NUMBER_OF["end"]
W_EXPORT = NUMBER_OF["export"]
W_FORMAT = NUMBER_OF["format"]
W_HOSTS = NUMBER_OF["hosts"]
W_LOCAL = NUMBER_OF["local"]
W_LOCK = NUMBER_OF["lock"]
W_NO = NUMBER_OF["no"]
W_NOT = NUMBER_OF["not"]
W_ONLY = NUMBER_OF["only"]
W_PREPARE = NUMBER_OF["prepare"]
W_READ = NUMBER_OF["read"]
W_SET = NUMBER_OF["set"]
W_STATEMENT = NUMBER_OF["statement"]
W_TABLE = NUMBER_OF["table"]
W_TABLES = NUMBER_OF["tables"]
W_TEMPORARY = NUMBER_OF["temporary"]
W_TO = NUMBER_OF["to"]
W_TRANSACTION = NUMBER_OF["transaction"]
W_UNLOCK = NUMBER_OF["unlock"]
W_INDEX = NUMBER_OF["index"]
W_NO_BINLOG = NUMBER_OF["no_write_to_binlog"]
W_WITH = NUMBER_OF["with"]
W_WORK = NUMBER_OF["work"]

IS_EXPLAIN_OPTION = by_number(word in ("analyze", "extended", "partitions", "format") for word in NUMBER_OF)
IS_PROGRAM = by_number(word in ("procedure", "function", "trigger", "event", "package") for word in NUMBER_OF)
IS_CHANGE = by_number(word in ("insert", "replace", "update", "delete") for word in NUMBER_OF)


class Statement(Assignments):
    """The classifier of one text; ``run`` once, then read ``mask``."""

    def run(self) -> int:
        """The classification of the whole text."""
        total = 0
        parts = 0
        kind = SEMICOLON
        while kind == SEMICOLON:
            kind = self.take()
            if kind <= BAD or kind == SEMICOLON:
                continue
            self.begin_part()
            kind = self._part(kind)
            self.finish(kind)
            parts += 1
            total |= self.mask
        if parts == 0:
            total = WRITE | (UNKNOWN if kind == BAD else EMPTY)
        return self._settle(total, parts)

    def _settle(self, total: int, parts: int) -> int:
        """Leave one target, the strictest."""
        if self.mixed:
            total |= WRITE | UNKNOWN
        if self.hint:
            total |= HINT
        if parts > 1:
            total |= MULTI
            if total & SESSION:
                total |= USERVAR_WRITE  # what it sets cannot be told from the rest of the text
            if total & TARGETS != READ:
                total |= WRITE
        if total & WRITE:
            return (total & ~(TARGETS | LITERAL_ONLY)) | WRITE
        if total & LAST:
            return (total & ~(TARGETS | LITERAL_ONLY)) | LAST
        return total & ~READ if total & SESSION else total

    def _part(self, kind: int) -> int:
        """One statement from its first token on; returns the kind that ended it."""
        bracketed = kind == LEFT
        while kind == LEFT:
            self.depth += 1
            kind = self.take()
        if kind != WORD:
            self.mask |= WRITE | UNKNOWN
            return self._end(kind)
        self.mask |= STATEMENT_MASKS[self.word]
        form = STATEMENT_FORMS[self.word]
        if form == FORM_QUERY:
            return self._query()
        if bracketed:
            self.mask |= WRITE | UNKNOWN
        return self._form(form)

    def _end(self, kind: int) -> int:
        """To the end of a statement from the token in hand on."""
        return self.opaque() if kind > BAD and kind != SEMICOLON else kind

    def _query(self) -> int:
        if ACTION_OF[self.word] == WITH:
            self.with_depth = self.depth
        return self.body()

    def _form(self, form: int) -> int:
        """How a statement goes on that is not a query, the frequent ones first."""
        if form == FORM_INSERT:
            return self._insert()
        if form == FORM_PLAIN:
            return self.body()
        if form == FORM_SET:
            return self._set()
        if form == FORM_END:
            return self._end_transaction()
        if form == FORM_OPAQUE:
            return self.opaque()
        if form == FORM_SHOW:
            return self._show()
        if form in (FORM_BEGIN, FORM_START):
            return self._begin() if form == FORM_BEGIN else self._start()
        if form in (FORM_EXPLAIN, FORM_ANALYZE):
            return self._explain(self.take(), False) if form == FORM_EXPLAIN else self._analyze()
        if form in (FORM_CREATE, FORM_DROP):
            return self._create() if form == FORM_CREATE else self._drop()
        return self._rare(form)

    def _rare(self, form: int) -> int:
        if form == FORM_LOAD:
            return self._load()
        if form in (FORM_FLUSH, FORM_BACKUP):
            return self._flush() if form == FORM_FLUSH else self._backup()
        kind = self.body()
        if self.reads:
            self.mask |= USERVAR_WRITE  # CALL p(@out), GET DIAGNOSTICS @x = …
        return kind

    def _insert(self) -> int:
        """Column lists come before VALUES, SELECT or SET; calls only after."""
        kind = self.take()
        while kind > BAD and kind != SEMICOLON:
            if kind == WORD and (ACTION_OF[self.word] == SELECTS or self.word == W_SET or self.word == W_WITH):
                return self._query()
            kind = self.take()
        return kind

    def _set(self) -> int:
        kind = self.take()
        if self.word != W_STATEMENT:
            return self.assignments(kind)
        self.mask &= ~SESSION
        kind = self.take()
        while kind > BAD and kind != SEMICOLON:
            if ACTION_OF[self.word] == FOR and self.depth == 0:
                return self._part(self.take())
            self.note(kind)
            kind = self.take()
        self.mask |= WRITE | UNKNOWN
        return kind

    def _show(self) -> int:
        kind = self.take()
        while IS_SHOW_PREFIX[self.word]:
            kind = self.take()
        self.mask |= SHOW_MASKS[self.word]
        if kind <= BAD or kind == SEMICOLON:
            return kind
        self.note(kind)
        kind = self.take()
        if self.word == W_HOSTS:
            self.mask |= WRITE  # SHOW SLAVE HOSTS: the primary knows its replicas
        while kind > BAD and kind != SEMICOLON:
            self.note(kind)
            kind = self.take()
        return kind

    def _analyze(self) -> int:
        """ANALYZE [FORMAT=JSON] statement runs it (MariaDB); ANALYZE [LOCAL] TABLE is maintenance."""
        kind = self.take()
        if self.word == W_TABLE or self.word == W_TABLES or self.word == W_LOCAL or self.word == W_NO_BINLOG:
            self.mask = WRITE | DDL
            return self.opaque()
        return self._explain(kind, True)

    def _explain(self, kind: int, runs: bool) -> int:
        while IS_EXPLAIN_OPTION[self.word]:
            runs = runs or self.word == W_ANALYZE
            is_format = self.word == W_FORMAT
            kind = self.take()
            if is_format and kind == EQUAL:
                self.take()
                kind = self.take()
        return self._explained(kind, runs)

    def _explained(self, kind: int, runs: bool) -> int:
        """The statement behind EXPLAIN, or the table that DESCRIBE names."""
        if kind == LEFT or (kind == WORD and STATEMENT_FORMS[self.word] == FORM_QUERY):
            return self._part(kind)
        action = ACTION_OF[self.word]
        if action in (FOR, INTO):
            self.mask |= WRITE  # another connection's statement; a user variable takes the plan
            self.note(kind)
            return self.body()
        if kind == WORD and IS_CHANGE[self.word]:
            self.mask |= WRITE
            return self._form(STATEMENT_FORMS[self.word])
        self.mask |= SHOW
        return self._end(kind)

    def _begin(self) -> int:
        """BEGIN [WORK]; BEGIN NOT ATOMIC and anything else opens a block that runs to the end of the text."""
        kind = self.take()
        if self.word == W_WORK:
            kind = self.take()
        if kind <= BAD or kind == SEMICOLON:
            return kind
        self.mask = WRITE
        if self.word != W_NOT:
            self.mask |= UNKNOWN
        return self._program()

    def _program(self) -> int:
        """A stored program: its statements are not the session's."""
        kind = self.opaque()
        while kind == SEMICOLON:
            self.mask |= MULTI
            kind = self.opaque()
        return kind

    def _start(self) -> int:
        kind = self.take()
        if self.word != W_TRANSACTION:
            self.mask |= DDL
            return self._end(kind)
        self.mask |= BEGIN
        kind = self.take()
        while kind > BAD and kind != SEMICOLON:
            if self.word == W_ONLY and self.last_word == W_READ:
                self.mask = READ | BEGIN | BEGIN_READ_ONLY
            kind = self.take()
        return kind

    def _end_transaction(self) -> int:
        kind = self.take()
        while kind > BAD and kind != SEMICOLON:
            if self.word == W_TO:
                self.mask = WRITE | SAVEPOINT
                return self.opaque()
            if self.word == W_CHAIN and self.last_word != W_NO:
                self.mask |= BEGIN
            kind = self.take()
        return kind

    def _create(self) -> int:
        """Temporary things do not commit; programs have bodies; the rest is DDL."""
        kind = self.take()
        while kind > BAD and kind != SEMICOLON:
            if IS_PROGRAM[self.word]:
                return self._program()
            if self.word == W_TEMPORARY:
                self.mask = WRITE | TEMP_TABLE
                return self.opaque()
            if self.word == W_TABLE or kind == LEFT:
                return self.opaque()
            kind = self.take()
        return kind

    def _drop(self) -> int:
        kind = self.take()
        if self.word == W_PREPARE:
            self.mask = SESSION | DEALLOCATE_TEXT
        elif self.word == W_TEMPORARY:
            self.mask = WRITE | DROP_TEMP
        return self._end(kind)

    def _load(self) -> int:
        """LOAD DATA [LOW_PRIORITY | CONCURRENT] [LOCAL]; it may read fields into user variables."""
        kind = self.take()
        if self.word == W_INDEX:
            self.mask |= DDL
        while kind == WORD:
            if self.word == W_LOCAL:
                self.mask |= LOAD_LOCAL
            kind = self.take()
        kind = self._end(kind)
        if self.reads:
            self.mask |= USERVAR_WRITE
        return kind

    def _flush(self) -> int:
        kind = self.take()
        while kind > BAD and kind != SEMICOLON:
            if self.word == W_LOCK or self.word == W_EXPORT:
                self.mask |= LOCK_TABLES
            kind = self.take()
        return kind

    def _backup(self) -> int:
        kind = self.take()
        released = self.word == W_UNLOCK
        while kind > BAD and kind != SEMICOLON:
            released = released or self.word == W_END
            kind = self.take()
        self.mask |= UNLOCK_TABLES if released else LOCK_TABLES
        return kind


def classify(data: bytes, start: int = 0, mode: int = 0) -> int:
    """Where the statement text ``data[start:]`` may run and what it does, as bits of ``sqlproxy.sql.bits``.

    Exactly one of READ, WRITE, LAST and SESSION is set. Any bytes are accepted; text that is not understood is
    ``WRITE | UNKNOWN``. ``mode`` is a sum of the MODE_ bits: how the session's servers read the text.
    """
    _READER.begin(data, start, mode)
    mask = _READER.run()
    _READER.begin(b"", 0, 0)  # lets go of the text
    return mask


_READER = Statement(b"", 0, 0)  # one for all: making one takes as long as a short text
