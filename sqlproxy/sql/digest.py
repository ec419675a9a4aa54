"""Statements without their literals: the same text, and the same 64-bit hash, for the same shape.

Literals become ``?``, lists of nothing but literals ``(...)`` however many there are, white space one blank, comments
nothing, reserved words upper case. Quoted text never gets through, so neither do passwords.
"""

from sqlproxy.sql import words
from sqlproxy.sql.lexer import Lexer
from sqlproxy.sql.tokens import BAD, COMMA, DOT, END, LEFT, NUMBER, QUOTED, RIGHT, SEMICOLON, STRING, USERVAR, WORD
from sqlproxy.sql.words import lookup

# Compiled, these become C arrays, which an import cannot fill.
IS_RESERVED = words.IS_RESERVED
COMPUTES = words.COMPUTES

LIMIT = 1024  # bytes of text; the hash covers the rest too
LONGEST = 65536  # bytes of a whole shape
PLACEHOLDER = 63  # ?
FNV_OFFSET = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
MASK = 0xFFFFFFFFFFFFFFFF
_PROGRAMS = frozenset((b"procedure", b"function", b"trigger", b"event", b"package"))


class Digest(Lexer):
    """Writes the shape of one text into ``out`` and ``hash``; ``run`` once."""

    def open(self) -> None:
        self.out = bytearray(LIMIT)
        self.limit = LIMIT
        self.breaks: list[int] | None = None  # where statements end, if that is asked for
        self.understood = True
        self.length = 0
        self.hash = FNV_OFFSET
        self.last = END  # kind of the token written last; literals are PLACEHOLDER
        self.last_word = 0
        self.last_start = self.pos
        self.last_stop = self.pos
        self.list_length = -1  # where the list of literals being read begins, -1: none
        self.list_hash = 0
        self.row_length = -1  # the end of the group before that list, -1: none
        self.row_hash = 0
        self.group_length = -1  # the end of the last "(...)" while only a comma came since, else -1
        self.group_hash = 0
        self.token_length = 0  # before the last word or sign, to take it back
        self.token_hash = 0
        self.token_last = END
        self.unary = False

    def keep_whole(self, limit: int) -> None:
        """Keep so many bytes of text, and where statements end; before ``run``."""
        self.out = bytearray(limit)
        self.limit = limit
        self.breaks = []

    def run(self) -> None:
        """Read the text to its end, or to where it is not understood."""
        ended = False
        kind = self.advance()
        while kind > BAD:
            if kind == SEMICOLON:
                ended = self.length > 0
            else:
                if ended:
                    self._break()
                    if self.breaks is not None:
                        self.breaks.append(self.length)
                    self._put(SEMICOLON)
                    self.last = SEMICOLON
                    ended = False
                self._token(kind)
            self.last_stop = self.pos
            kind = self.advance()
        if kind == BAD:
            self.understood = False
            self._literal()

    def text(self) -> bytes:
        """The normalised text, at most ``LIMIT`` bytes, or what ``keep_whole`` says."""
        return bytes(self.out[: self.length if self.length < self.limit else self.limit])

    def _token(self, kind: int) -> None:
        if kind in (STRING, NUMBER, PLACEHOLDER):
            self._value(kind)
        elif kind == WORD:
            self._word_token()
        elif kind == LEFT:
            self._left()
        elif kind == RIGHT:
            self._right()
        elif kind == COMMA:
            self._put(COMMA)
            self.last = COMMA
            self.unary = False
        else:
            self._other(kind)

    def _value(self, kind: int) -> None:
        """A literal; its charset introducer or sign is part of it, and adjacent strings are one."""
        if kind == STRING:
            if self.last == PLACEHOLDER:
                return
            if self._is_introduced():
                self._back()
        elif kind == NUMBER and self.unary:
            self._back()
        self._literal()

    def _is_introduced(self) -> bool:
        """Whether the word just written is a prefix of this string: ``x``, ``b``, ``n`` or ``_charset``."""
        if self.last != WORD or self.start != self.last_stop:
            return False
        first = self.s[self.last_start]
        if first == 0x5F:
            return True
        first |= 0x20
        single = self.last_stop == self.last_start + 1
        return single and (first == 0x78 or first == 0x62 or first == 0x6E)

    def _literal(self) -> None:
        self._space(PLACEHOLDER)
        self._put(PLACEHOLDER)
        self.last = PLACEHOLDER
        self.unary = False
        self.group_length = -1

    def _word_token(self) -> None:
        word = lookup(self.s, self.start, self.pos) if self.last != DOT else 0
        called = COMPUTES[word] > 0 and word > 0 and self.peek(self.pos) == LEFT
        self._break()
        self._remember()
        self.last_start = self.start
        self._space(WORD)
        self._copy(called or IS_RESERVED[word] > 0)
        self.last = WORD
        self.last_word = word

    def _copy(self, upper: bool) -> None:
        p = self.start
        while p < self.pos:
            c = self.s[p]
            if upper and 0x61 <= c <= 0x7A:
                c -= 0x20
            self._put(c)
            p += 1

    def _left(self) -> None:
        """A list may begin, unless a function's arguments do."""
        called = self.last == WORD and not IS_RESERVED[self.last_word]
        row_length = self.group_length
        self._break()
        if not called:
            self._space(LEFT)
            self.list_length = self.length
            self.list_hash = self.hash
            self.row_length = row_length
            self.row_hash = self.group_hash
        self._put(LEFT)
        self.last = LEFT

    def _right(self) -> None:
        """The end of a list of literals: written as one group, and only once for lists in a row."""
        if self.list_length < 0 or self.last != PLACEHOLDER:
            self._break()
            self._put(RIGHT)
        elif self.row_length >= 0:
            self._group(self.row_length, self.row_hash)
        else:
            self.length = self.list_length
            self.hash = self.list_hash
            for byte in b"(...)":
                self._put(byte)
            self._group(self.length, self.hash)
        self.last = RIGHT

    def _group(self, length: int, value: int) -> None:
        self.length = self.group_length = length
        self.hash = self.group_hash = value
        self.list_length = -1
        self.unary = False

    def _other(self, kind: int) -> None:
        """Operators, dots, semicolons, variables and quoted identifiers."""
        sign = (kind == 0x2D or kind == 0x2B) and not self._is_operand()
        inside = self.list_length
        self._break()
        self._remember()
        self._space(kind)
        self._copy(False)
        self.last = kind
        if sign:
            self.unary = True
            self.list_length = inside

    def _is_operand(self) -> bool:
        """Whether what was written last is a value, after which a sign is an operator."""
        last = self.last
        if last == WORD:
            return not IS_RESERVED[self.last_word]
        return last in (PLACEHOLDER, RIGHT, QUOTED) or USERVAR <= last < 9

    def _break(self) -> None:
        """Something that is neither a literal nor a comma: no list of literals goes on."""
        self.list_length = -1
        self.group_length = -1
        self.unary = False

    def _remember(self) -> None:
        self.token_length = self.length
        self.token_hash = self.hash
        self.token_last = self.last

    def _back(self) -> None:
        self.length = self.token_length
        self.hash = self.token_hash
        self.last = self.token_last

    def _space(self, kind: int) -> None:
        """A blank before a token, where one belongs."""
        last = self.last
        if last in (END, LEFT, DOT) or kind == DOT:
            return
        if kind > 32 and last > 32 and self.start == self.last_stop and _is_operator(kind) and _is_operator(last):
            return
        self._put(0x20)

    def _put(self, byte: int) -> None:
        if self.length < self.limit:
            self.out[self.length] = byte
        self.length += 1
        self.hash = ((self.hash ^ byte) * FNV_PRIME) & MASK


def _is_operator(kind: int) -> bool:
    """Characters that form operators together: ``<=``, ``->>``, ``||``."""
    return kind != PLACEHOLDER and kind != RIGHT and kind != LEFT and kind != COMMA and kind != DOT


def digest(data: bytes, start: int = 0, mode: int = 0) -> bytes:
    """The shape of the statement text ``data[start:]``: at most 1024 bytes, no literals."""
    shape = Digest(data, start, mode)
    shape.run()
    return shape.text()


def digest_hash(data: bytes, start: int = 0, mode: int = 0) -> int:
    """The 64-bit FNV-1a hash of the whole shape, without making its text."""
    shape = Digest(data, start, mode)
    shape.run()
    return shape.hash


def shapes(data: bytes, start: int = 0, mode: int = 0) -> list[bytes] | None:
    """The whole shape of each statement in ``data[start:]``; a stored program is one, whatever its body holds.

    None when the text is not understood, when servers may read it differently, or when it is too long (``LONGEST``).
    """
    shape = Digest(data, start, mode)
    shape.keep_whole(min(LONGEST, 2 * (len(data) - start) + 16))
    shape.run()
    if not shape.understood or shape.mixed or shape.length > shape.limit:
        return None
    text = shape.text()
    breaks = shape.breaks
    if not breaks:
        return [text] if text else []
    return _parts(text, breaks)


def _parts(text: bytes, breaks: list[int]) -> list[bytes]:
    parts = []
    begin = 0
    for end in breaks:
        part = text[begin:end].removeprefix(b" ")
        if _is_program(part):
            break
        parts.append(part)
        begin = end + 1
    parts.append(text[begin:].removeprefix(b" "))
    return parts


def _is_program(shape: bytes) -> bool:
    """Whether a shape begins a stored program, which goes on behind semicolons."""
    first, *others = shape.lower().partition(b"(")[0].split() or [b""]
    if first == b"begin":
        return bool(others) and others[0] != b"work"
    return first == b"create" and any(word in _PROGRAMS for word in others)


def hash_of(shape: bytes) -> int:
    """The hash of a whole shape, as ``digest_hash`` makes it of the statement."""
    value = FNV_OFFSET
    for byte in shape:
        value = ((value ^ byte) * FNV_PRIME) & MASK
    return value
