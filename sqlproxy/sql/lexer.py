"""A byte-level tokenizer for MySQL and MariaDB that makes no object per token.

The rules are those of the servers' own lexer (sql/sql_lex.cc, ``lex_one_token``), with one addition: whatever the
servers read differently from each other, or by session charset, is ``BAD`` rather than guessed. Executable comments
(``/*! … */``) are entered: their content is code. When it depends on the server's version whether they are, and there
is code outside them too, ``mixed`` is set and the caller must not trust the tokens.
"""

from sqlproxy.sql.bits import MODE_ANSI_QUOTES, MODE_DOUBLE, MODE_KANA, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
from sqlproxy.sql.tokens import (
    ASSIGN,
    BAD,
    DOT,
    END,
    NUMBER,
    QUOTED,
    STRING,
    SYSVAR,
    USERVAR,
    WORD,
)

# Classes of bytes; the order matters: up to C_DIGIT a byte may stand in a word.
C_LETTER = 0
C_DIGIT = 1
C_SPACE = 2
C_PUNCTUATION = 3
C_SPECIAL = 4  # may start something longer
C_BAD = 5

CERTAIN = 1  # inside an executable comment that every server executes
UNCERTAIN = 2  # inside one that only some execute

MARIADB_IGNORES_FROM = 50700  # MariaDB skips /*!50700 … */ and above: code for MySQL alone


def _class_of(byte: int) -> int:
    char = chr(byte)
    if byte in (0x24, 0x5F) or (byte >= 0x80 and byte != 0xA0) or (byte < 0x80 and char.isalpha()):
        return C_LETTER
    if 0x30 <= byte <= 0x39:
        return C_DIGIT
    if char in " \t\n\v\f\r":
        return C_SPACE
    if char in "'\"`@#-/*:.":
        return C_SPECIAL
    # 0xA0 is white space in latin1 and part of a letter in utf8: not understood.
    return C_PUNCTUATION if 0x20 < byte < 0x7F else C_BAD


CLASSES = [_class_of(byte) for byte in range(256)]
# Bytes that need no thought inside quotes, whatever the quote and the mode.
ORDINARY = [int(byte < 0x81 and chr(byte) not in "'\"`\\") for byte in range(256)]


class Lexer:
    """A cursor over one statement text; ``advance`` moves to the next token and returns its kind.

    ``start`` and ``pos`` bound the token in ``data``. ``name`` is where the last part of a SYSVAR's name starts.
    """

    def __init__(self, data: bytes, start: int, mode: int) -> None:
        self.begin(data, start, mode)

    def begin(self, data: bytes, start: int, mode: int) -> None:
        """Read another text from its beginning."""
        self.data = data
        self.s = data
        self.pos = start
        self.start = start
        self.name = start
        self.end = len(data)
        self.mode = mode
        self.kind = END
        self.inside = 0
        self.mixed = False
        self.hint = False
        self.open()

    def open(self) -> None:
        """Set up what a subclass adds; one method instead of a chain of initialisers, which cost more than a parse."""

    def advance(self) -> int:
        """Skip white space and comments; return the kind of the token found there."""
        s = self.s
        end = self.end
        p = self.pos
        while p < end:
            c = s[p]
            k = CLASSES[c]
            if k == C_SPACE:
                p += 1
                continue
            self.start = p
            if k == C_LETTER:
                return self._word(p)
            if k == C_PUNCTUATION:
                self.pos = p + 1
                self.kind = c
                return c
            if k == C_DIGIT:
                return self._number(p)
            if k == C_BAD:
                return self._fail()
            p = self._special(p, c)
            if p < 0:
                return self.kind
        self.start = self.pos = end
        self.kind = BAD if self.inside else END
        return self.kind

    def peek(self, offset: int) -> int:
        """The byte at an absolute offset; 0 past the end."""
        return self.s[offset] if offset < self.end else 0

    def _emit(self, kind: int, pos: int) -> int:
        self.kind = kind
        self.pos = pos
        return -1

    def _fail(self) -> int:
        self.kind = BAD
        self.pos = self.end
        return BAD

    def _word(self, p: int) -> int:
        s = self.s
        end = self.end
        if self.mode & MODE_MULTIBYTE:
            p = self._multibyte_word(p)
            if p < 0:
                return self._fail()
        else:
            p += 1
            while p < end and CLASSES[s[p]] <= C_DIGIT:
                p += 1
        # $… starts a name in MariaDB, a dollar-quoted string in MySQL 9.
        if s[self.start] == 0x24:
            return self._fail()
        self.pos = p
        self.kind = WORD
        return WORD

    def _multibyte_word(self, p: int) -> int:
        """The end of a word whose characters may have trail bytes in ASCII, or -1 where charsets disagree."""
        s = self.s
        end = self.end
        while p < end and CLASSES[s[p]] <= C_DIGIT:
            if s[p] >= 0x81 and p + 1 < end and 0x40 <= s[p + 1] < 0x80:
                if CLASSES[s[p + 1]] > C_DIGIT:
                    return -1
                p += 1
            p += 1
        return p

    def _digits(self, p: int) -> int:
        s = self.s
        end = self.end
        while p < end and 0x30 <= s[p] <= 0x39:
            p += 1
        return p

    def _number(self, p: int) -> int:
        """A number as the server reads it; digits that run on into letters are an identifier."""
        begin = p
        c = self.peek(p + 1) | 0x20
        p = self._digits(p)
        if self.s[begin] == 0x30 and p == begin + 1 and (c == 0x78 or c == 0x62):
            return self._based_number(begin)
        c = self.peek(p)
        if c == 0x2E:
            p = self._digits(p + 1)
            self._emit(NUMBER, self._exponent(p))
            return NUMBER
        if p < self.end and CLASSES[c] <= C_DIGIT:
            q = self._exponent(p)
            if q == p:
                return self._word(p)
            p = q
        self._emit(NUMBER, p)
        return NUMBER

    def _based_number(self, begin: int) -> int:
        """0x1F and 0b01; with any other letter glued on they are identifiers."""
        s = self.s
        end = self.end
        hexadecimal = s[begin + 1] | 0x20 == 0x78
        p = begin + 2
        while p < end and _is_digit_of(s[p], hexadecimal):
            p += 1
        if p == begin + 2 or (p < end and CLASSES[s[p]] <= C_DIGIT):
            return self._word(begin)
        self._emit(NUMBER, p)
        return NUMBER

    def _exponent(self, p: int) -> int:
        """The end of ``e5``, ``E-5`` at ``p``; ``p`` itself where there is none."""
        if self.peek(p) | 0x20 != 0x65:
            return p
        q = p + 1
        c = self.peek(q)
        if c == 0x2B or c == 0x2D:
            q += 1
        r = self._digits(q)
        return p if r == q else r

    def _special(self, p: int, c: int) -> int:
        """A byte that may start a longer token: -1 after a token, else where to go on."""
        if c == 0x27 or (c == 0x22 and not self.mode & MODE_ANSI_QUOTES):
            return self._closed(STRING, self._string(p + 1, c))
        if c == 0x60 or c == 0x22:
            return self._closed(QUOTED, self._identifier(p + 1, c))
        if c == 0x2E:
            return self._dot(p)
        if c == 0x40:
            return self._variable(p)
        if c == 0x3A and self.peek(p + 1) == 0x3D:
            return self._emit(ASSIGN, p + 2)
        if c == 0x2F and self.peek(p + 1) == 0x2A:
            return self._comment(p)
        if c == 0x2A and self.inside and self.peek(p + 1) == 0x2F:
            return self._leave(p + 2)
        if c == 0x23 or (c == 0x2D and self._is_dash_comment(p)):
            return self._line_comment(p)
        return self._emit(c, p + 1)

    def _closed(self, kind: int, pos: int) -> int:
        """Emit a quoted token, unless it never ends or hides a comment's end from servers that skip it."""
        if pos < 0 or (self.inside == UNCERTAIN and self._hides_comment(pos)):
            self._fail()
            return -1
        return self._emit(kind, pos)

    def _hides_comment(self, pos: int) -> bool:
        text = self.data[self.start : pos]
        return b"*/" in text or b"/*" in text

    def _string(self, p: int, quote: int) -> int:
        """The offset after the closing quote of a string whose content starts at ``p``, or -1."""
        s = self.s
        end = self.end
        escape = 0 if self.mode & MODE_NO_BACKSLASH_ESCAPES else 0x5C
        multibyte = self.mode & MODE_MULTIBYTE
        while True:
            while p < end and ORDINARY[s[p]]:
                p += 1
            if p >= end:
                return -1
            c = s[p]
            if c == quote:
                if p + 1 >= end or s[p + 1] != quote:
                    return p + 1
                p += 2
            elif c == escape and escape:
                p += 2
            elif c >= 0x81 and multibyte:
                p = self._multibyte(p)
                if p < 0:
                    return -1
            else:
                p += 1

    def _identifier(self, p: int, quote: int) -> int:
        """The offset after the closing quote of a quoted identifier, or -1."""
        s = self.s
        end = self.end
        multibyte = self.mode & MODE_MULTIBYTE
        while p < end:
            c = s[p]
            if c == quote:
                if p + 1 >= end or s[p + 1] != quote:
                    return p + 1
                p += 2
            elif c >= 0x81 and multibyte:
                p = self._multibyte(p)
                if p < 0:
                    return -1
            else:
                p += 1
        return -1

    def _multibyte(self, p: int) -> int:
        r"""Past the character whose lead byte is at ``p``, or -1 where it is not known which charset it is.

        No trail byte is below 0x40, so quotes always close. 0xA1 to 0xDF lead a character in gbk and big5 and are
        whole ones in sjis, which matters when ``\`` or a backtick follows.
        """
        trail = self.peek(p + 1)
        if trail < 0x40:
            return p + 1
        if (trail == 0x5C or trail == 0x60) and 0xA1 <= self.s[p] <= 0xDF:
            if self.mode & MODE_KANA:
                return p + 1
            return p + 2 if self.mode & MODE_DOUBLE else -1
        return p + 2

    def _dot(self, p: int) -> int:
        c = self.peek(p + 1)
        if 0x30 <= c <= 0x39 and self.kind != WORD and self.kind != QUOTED:
            return self._emit(NUMBER, self._exponent(self._digits(p + 1)))
        return self._emit(DOT, p + 1)

    def _variable(self, p: int) -> int:
        c = self.peek(p + 1)
        if c == 0x40:
            return self._system_variable(p + 2)
        if c == 0x27 or c == 0x22:
            return self._closed(USERVAR, self._string(p + 2, c))
        if c == 0x60:
            return self._closed(USERVAR, self._identifier(p + 2, c))
        q = self._name(p + 1, True)
        return self._emit(USERVAR, q) if q > p + 1 else self._emit(0x40, q)

    def _name(self, p: int, dots: bool) -> int:
        s = self.s
        end = self.end
        while p < end and (CLASSES[s[p]] <= C_DIGIT or (dots and s[p] == 0x2E)):
            p += 1
        return p

    def _system_variable(self, p: int) -> int:
        """``@@name`` or ``@@scope.name`` without blanks; anything else the grammar may allow is BAD."""
        q = self._name(p, False)
        self.name = p
        if q > p and self.peek(q) == 0x2E:
            self.name = q + 1
            q = self._name(q + 1, False)
        if q == self.name:
            self._fail()
            return -1
        return self._emit(SYSVAR, q)

    def _is_dash_comment(self, p: int) -> bool:
        if self.peek(p + 1) != 0x2D:
            return False
        c = self.peek(p + 2)
        return c <= 0x20 or c == 0x7F

    def _line_comment(self, p: int) -> int:
        """To the end of the line. A NUL ends it too for the servers, and nothing good comes after that."""
        s = self.s
        end = self.end
        begin = p
        while p < end and s[p] != 0x0A:
            if s[p] == 0:
                self._fail()
                return -1
            p += 1
        return self._skipped(begin, p)

    def _comment(self, p: int) -> int:
        c = self.peek(p + 2)
        if c == 0x21:
            return self._enter(p + 3, False)
        if c == 0x4D and self.peek(p + 3) == 0x21:
            return self._enter(p + 4, True)
        q = self.data.find(b"*/", p + 2)
        if q < 0:
            self._fail()
            return -1
        return self._skipped(p, q + 2)

    def _skipped(self, begin: int, end: int) -> int:
        """Note what a comment says; inside an uncertain one nesting is read differently by those who skip it."""
        if self.inside == UNCERTAIN:
            self._fail()
            return -1
        text = self.data[begin:end].lower()
        if b"maxscale" in text or b"sqlproxy" in text:
            self.hint = True
        return end

    def _enter(self, p: int, mariadb: bool) -> int:
        """Into an executable comment, past its version number (five or six digits)."""
        if self.inside:
            self._fail()
            return -1
        digits = self._digits(p) - p
        self.inside = CERTAIN
        if digits >= 5:
            digits = min(digits, 6)
            version = int(self.data[p : p + digits])
            if version >= MARIADB_IGNORES_FROM:
                self.inside = UNCERTAIN
            p += digits
        if mariadb:
            self.inside = UNCERTAIN
        if self.inside == UNCERTAIN and self.kind != END:
            self.mixed = True
        return p

    def _leave(self, p: int) -> int:
        """Out of an executable comment; code after an uncertain one makes the text mixed."""
        if self.inside == UNCERTAIN and self.data[p:].strip(b"; \t\n\v\f\r"):
            self.mixed = True
        self.inside = 0
        return p


def _is_digit_of(c: int, hexadecimal: bool) -> bool:
    """Whether a byte is a hexadecimal digit, or a binary one."""
    if not hexadecimal:
        return c == 0x30 or c == 0x31
    return 0x30 <= c <= 0x39 or 0x61 <= c | 0x20 <= 0x66
