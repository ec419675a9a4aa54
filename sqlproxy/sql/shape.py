"""A key for a statement's shape, cheap enough for every statement: a hash of the text without what its literals hold.

Texts with the same key have the same digest (``sqlproxy.sql.digest``); the reverse need not hold, as white space and
the lengths of lists count here. So a table of digests can be found by the key, and the digest itself made only for keys
that are new.
"""

from sqlproxy.sql.bits import MODE_ANSI_QUOTES, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
from sqlproxy.sql.digest import digest_hash

LIMIT = 65536  # bytes of a text that are looked at
_LIMIT = LIMIT
OFFSET = 0xCBF29CE484222325  # FNV-1a
PRIME = 0x100000001B3
MASK = 0xFFFFFFFFFFFFFFFF

K_LETTER = 0
K_DIGIT = 1  # up to here a byte may stand in a word
K_PLAIN = 2
K_QUOTE = 3
K_AT = 4
K_COMMENT = 5  # may begin one
MARK_NUMBER = 1  # what is hashed in the place of a literal
MARK_STRING = 2


def _kind_of(byte: int) -> int:
    char = chr(byte)
    if byte in (0x24, 0x5F) or byte >= 0x80 or char.isalpha():
        return K_LETTER
    if char.isdigit():
        return K_DIGIT
    return K_QUOTE if char in "'\"`" else K_AT if char == "@" else K_COMMENT if char in "#-/" else K_PLAIN


KINDS = [_kind_of(byte) for byte in range(256)]


def shape_key(data: bytes, start: int, mode: int) -> int:
    """The 64-bit key of the statement text ``data[start:]``, read as ``mode`` says (a sum of the MODE_ bits)."""
    if mode & MODE_MULTIBYTE:
        return digest_hash(data[start : start + _LIMIT], 0, mode)
    s = data
    end = len(data)
    if end > start + _LIMIT:
        end = start + _LIMIT
    h = OFFSET ^ mode
    p = start
    while p < end:
        c = s[p]
        k = KINDS[c]
        if k in (K_LETTER, K_PLAIN):  # nearly every byte
            h = ((h ^ c) * PRIME) & MASK
            p += 1
            while k == K_LETTER and p < end and KINDS[s[p]] <= K_DIGIT:
                h = ((h ^ s[p]) * PRIME) & MASK
                p += 1
            continue
        q = p + 1
        if k == K_DIGIT:
            q = _number(data, p, end)
            c = MARK_NUMBER
        elif k == K_QUOTE:
            q = _quoted(data, p + 1, end, c, mode)
            if c == 0x27 or (c == 0x22 and not mode & MODE_ANSI_QUOTES):
                c = MARK_STRING
            else:
                k = K_LETTER
        elif k == K_AT:
            q = _variable(data, p + 1, end, mode)
            k = K_LETTER
        elif k == K_COMMENT:
            q = _comment(data, p, end)
            if q > p + 1:
                c = 0x20
        if k == K_LETTER or q <= p:
            if q <= p + 1:
                q = _word(data, p, end)
            while p < q:
                h = ((h ^ s[p]) * PRIME) & MASK
                p += 1
        else:
            h = ((h ^ c) * PRIME) & MASK
            p = q
    return h


def _word(data: bytes, p: int, end: int) -> int:
    """The end of the word whose first byte is at ``p``, whatever that is."""
    s = data
    p += 1
    while p < end and KINDS[s[p]] <= K_DIGIT:
        p += 1
    return p


def _number(data: bytes, p: int, end: int) -> int:
    """The end of a plain or hexadecimal number at ``p``; 0 for digits that run on into letters: those are hashed."""
    s = data
    q = p
    if s[p] == 0x30 and p + 2 < end and s[p + 1] | 0x20 == 0x78:
        q = p + 2
        while q < end and (0x30 <= s[q] <= 0x39 or 0x61 <= s[q] | 0x20 <= 0x66):
            q += 1
        return 0 if q == p + 2 or (q < end and KINDS[s[q]] <= K_DIGIT) else q
    while q < end and (0x30 <= s[q] <= 0x39 or s[q] == 0x2E):
        q += 1
    return 0 if q < end and KINDS[s[q]] == K_LETTER else q


def _quoted(data: bytes, p: int, end: int, quote: int, mode: int) -> int:
    """The offset after the closing quote of what begins at ``p``; ``end`` where there is none."""
    s = data
    escape = 0 if quote == 0x60 or mode & MODE_NO_BACKSLASH_ESCAPES else 0x5C
    while p < end:
        c = s[p]
        if c == quote:
            if p + 1 >= end or s[p + 1] != quote:
                return p + 1
            p += 1
        elif c == escape and escape:
            p += 1
        p += 1
    return end


def _variable(data: bytes, p: int, end: int, mode: int) -> int:
    """The end of the name of a variable, quoted or not, whose ``@`` lies before ``p``."""
    s = data
    if p < end and KINDS[s[p]] == K_QUOTE:
        return _quoted(data, p + 1, end, s[p], mode)
    while p < end and (KINDS[s[p]] <= K_DIGIT or s[p] == 0x2E or s[p] == 0x40):
        p += 1
    return p


def _comment(data: bytes, p: int, end: int) -> int:
    """The end of the comment at ``p``; ``p`` + 1 where none begins, or one whose content is code."""
    s = data
    c = s[p]
    following = s[p + 1] if p + 1 < end else 0
    if c == 0x2F:
        third = s[p + 2] if p + 2 < end else 0
        if following != 0x2A or third == 0x21 or third == 0x4D:
            return p + 1
        p += 2
        while p + 1 < end and (s[p] != 0x2A or s[p + 1] != 0x2F):
            p += 1
        return p + 2 if p + 1 < end else end
    if c == 0x2D and (following != 0x2D or (p + 2 < end and s[p + 2] > 0x20 and s[p + 2] != 0x7F)):
        return p + 1
    while p < end and s[p] != 0x0A:
        p += 1
    return p
