"""A key for a statement's shape, cheap enough for every statement: a hash of the text without what its literals hold.

Texts with the same key have the same digest (``sqlproxy.sql.digest``); the reverse need not hold, as white space and
the lengths of lists count here. So a table of digests can be found by the key, and the digest itself made only for keys
that are new. Keys with the ``EXACT`` bit say more: their texts have the same tokens but for what strings and numbers
hold, so they are classified alike (``sqlproxy.sql.familiar``).

The hash is multiplied with a secret to 128 bits and folded, as in wyhash, so that nobody can write a text whose key is
that of another one.
"""

import os

from sqlproxy.sql.bits import MODE_ANSI_QUOTES, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
from sqlproxy.sql.digest import digest_hash

LIMIT = 65536  # bytes of a text that are looked at
EXACT = 1
# Compiled, what this module itself reads is out of others' sight.
_LIMIT = LIMIT
_EXACT = EXACT
MASK = 0xFFFFFFFFFFFFFFFF
SEED = int.from_bytes(os.urandom(8), "little")
SECRET = int.from_bytes(os.urandom(8), "little") | 1
FULL = 1 << 56  # seven bytes behind a leading one

K_PLAIN = 0
K_LETTER = 1
K_DIGIT = 2
K_STRING = 3
K_DOUBLE = 4  # quotes a string or a name
K_BACKTICK = 5
K_AT = 6
K_COMMENT = 7  # may begin one
K_MARK = 8  # could be taken for what stands for a literal
MARK_NUMBER = 1
MARK_STRING = 2
BLANK = 0x20  # stands for a comment


_KINDS = {"'": K_STRING, '"': K_DOUBLE, "`": K_BACKTICK, "@": K_AT, "#": K_COMMENT, "-": K_COMMENT, "/": K_COMMENT}


def _kind_of(byte: int) -> int:
    char = chr(byte)
    if byte in (0x24, 0x5F) or byte >= 0x80 or char.isalpha():
        return K_LETTER
    if byte in (MARK_NUMBER, MARK_STRING):
        return K_MARK
    return K_DIGIT if char.isdigit() else _KINDS.get(char, K_PLAIN)


KINDS = [_kind_of(byte) for byte in range(256)]
# Bytes that need no thought inside a string.
ORDINARY = [int(chr(byte) not in "'\"\\") for byte in range(256)]


def shape_key(data: bytes, start: int, mode: int) -> int:
    """The 64-bit key of the statement text ``data[start:]``, read as ``mode`` says (a sum of the MODE_ bits)."""
    if mode & MODE_MULTIBYTE:
        return digest_hash(data[start : start + _LIMIT], 0, mode) & (MASK - _EXACT)
    s = data
    end = len(data)
    exact = _EXACT
    if end > start + _LIMIT:
        end = start + _LIMIT
        exact = 0
    h = SEED ^ mode
    w = 1
    in_word = 0
    raw = start  # every byte before this one counts as it is
    p = start
    while p < end:
        c = s[p]
        k = KINDS[c]
        q = p + 1
        if k < K_DIGIT or (k == K_DIGIT and in_word) or p < raw:  # nearly every byte
            in_word = k if k <= K_DIGIT else 0
        else:
            in_word = 0
            raw = q
            if k == K_DIGIT:
                q = _number(data, p, end)
                if q > 0:
                    c = MARK_NUMBER
                else:
                    raw = -q
                    in_word = k
            elif k == K_STRING or (k == K_DOUBLE and not mode & MODE_ANSI_QUOTES):
                q = _string(data, q, end, c, mode)
                if q <= end:
                    c = MARK_STRING
            elif k == K_AT:
                raw = _variable(data, q, end, mode)
            elif k == K_COMMENT:
                q = _comment(data, p, end)
                if q != p:
                    exact = 0
                    c = BLANK if p < q <= end else c
            elif k == K_MARK:
                exact = 0
                c = 0
            else:
                raw = _identifier(data, q, end, c)
            if q <= p:
                q = p + 1
            if q > end or raw > end:
                exact = 0
        w = (w << 8) | c
        if w >= FULL:
            h = _mix(h, w)
            w = 1
        p = q
    return _mix(h, w) & (MASK - _EXACT) | exact


def _mix(h: int, w: int) -> int:
    product = h ^ w
    product = product * SECRET
    return (product ^ (product >> 64)) & MASK


def _number(data: bytes, p: int, end: int) -> int:
    """The end of the number at ``p``; the negative of it where a name or a dot follows at once and digits count."""
    s = data
    fraction = p > 0 and s[p - 1] == 0x2E
    q = _digits(data, p, end)
    if q == p + 1 and s[p] == 0x30 and q < end and s[q] | 0x20 == 0x78 and not fraction:
        q += 1
        while q < end and (0x30 <= s[q] <= 0x39 or 0x61 <= s[q] | 0x20 <= 0x66):
            q += 1
        return -q if q == p + 2 or not _ends(data, q, end) else q
    if q < end and s[q] == 0x2E and not fraction:
        q = _digits(data, q + 1, end)
    if q < end and s[q] | 0x20 == 0x65:
        r = q + 2 if q + 1 < end and (s[q + 1] == 0x2B or s[q + 1] == 0x2D) else q + 1
        stop = _digits(data, r, end)
        if stop > r:
            q = stop
    return q if _ends(data, q, end) else -q


def _digits(data: bytes, p: int, end: int) -> int:
    s = data
    while p < end and KINDS[s[p]] == K_DIGIT:
        p += 1
    return p


def _ends(data: bytes, p: int, end: int) -> bool:
    """Whether a number that ends at ``p`` is seen to by every reader."""
    s = data
    return p >= end or (KINDS[s[p]] not in (K_LETTER, K_DIGIT) and s[p] != 0x2E)


def _string(data: bytes, p: int, end: int, quote: int, mode: int) -> int:
    """The offset after the closing quote of a string whose content begins at ``p``; ``end`` + 1 where there is none."""
    s = data
    escape = 0 if mode & MODE_NO_BACKSLASH_ESCAPES else 0x5C
    while True:
        while p < end and ORDINARY[s[p]]:
            p += 1
        if p >= end:
            return end + 1
        c = s[p]
        if c == quote:
            if p + 1 >= end or s[p + 1] != quote:
                return p + 1
            p += 1
        elif c == escape and escape:
            p += 1
        p += 1


def _identifier(data: bytes, p: int, end: int, quote: int) -> int:
    """The same of a quoted name, in which nothing is escaped."""
    s = data
    while p < end:
        if s[p] == quote:
            if p + 1 >= end or s[p + 1] != quote:
                return p + 1
            p += 1
        p += 1
    return end + 1


def _variable(data: bytes, p: int, end: int, mode: int) -> int:
    """The end of the name of a variable, quoted or not, whose ``@`` lies before ``p``."""
    s = data
    c = s[p] if p < end else 0
    if c == 0x60:
        return _identifier(data, p + 1, end, c)
    if c == 0x27 or c == 0x22:
        return _string(data, p + 1, end, c, mode)
    if c == 0x40:
        p += 1
    while p < end and (KINDS[s[p]] in (K_LETTER, K_DIGIT) or s[p] == 0x2E):
        p += 1
    return p


def _comment(data: bytes, p: int, end: int) -> int:
    """The end of the comment at ``p``; ``p`` where none begins, -1 for one with code, ``end`` + 1 for a broken one."""
    s = data
    c = s[p]
    following = s[p + 1] if p + 1 < end else 0
    if c == 0x2F:
        if following != 0x2A:
            return p
        third = s[p + 2] if p + 2 < end else 0
        if third == 0x21 or (third == 0x4D and p + 3 < end and s[p + 3] == 0x21):
            return -1
        p += 2
        while p + 1 < end and (s[p] != 0x2A or s[p + 1] != 0x2F):
            p += 1
        return p + 2 if p + 1 < end else end + 1
    if c == 0x2D and (following != 0x2D or (p + 2 < end and s[p + 2] > 0x20 and s[p + 2] != 0x7F)):
        return p
    while p < end and s[p] != 0x0A:
        if s[p] == 0:
            return end + 1
        p += 1
    return p
