"""Statements whose shape was classified lately: classified alike, without reading the text again.

A table of fixed size by the key of a shape (``sqlproxy.sql.shape``). What is kept of a shape is what its tokens say;
the one value that the classifier looks at, that of ``SET autocommit``, is not kept.
"""

from sqlproxy.sql.bits import AUTOCOMMIT_OFF, AUTOCOMMIT_ON, AUTOCOMMIT_UNKNOWN
from sqlproxy.sql.shape import EXACT
from sqlproxy.sql.statement import classify

SLOTS = 2048
VALUES = AUTOCOMMIT_ON | AUTOCOMMIT_OFF | AUTOCOMMIT_UNKNOWN  # bits that depend on what a literal holds

_FREE = list(bytes(SLOTS))
KEYS = list(_FREE)
MASKS = list(_FREE)


def classify_shape(data: bytes, start: int, mode: int, key: int) -> int:
    """What ``classify`` says of ``data[start:]``, whose ``shape_key`` in this mode is ``key``."""
    if not key & EXACT:
        return classify(data, start, mode)
    slot = (key >> 1) % SLOTS
    if KEYS[slot] == key:
        return MASKS[slot]
    mask = classify(data, start, mode)
    if not mask & VALUES:
        KEYS[slot] = key
        MASKS[slot] = mask
    return mask
