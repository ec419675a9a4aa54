"""client_ed25519: MariaDB's signatures with the password as the key.

Plain Ed25519 (RFC 8032), except that the private key is the password itself, of any length: SHA512(password) takes the
place of SHA512(32-byte seed). So verification is the ordinary one, while signing needs arithmetic of its own: no
library takes a key that is not 32 bytes long. The grant table holds the base64 of the public key without its ``=``.

The arithmetic is in Python integers and takes a few milliseconds; its timing depends on the key, which matters to
nobody who measures it over a network once per login.

Sources: MariaDB's ``plugin/auth_ed25519`` (ref10/sign.c, server_ed25519.c); RFC 8032, section 6.
"""

from __future__ import annotations

import base64
import binascii
from functools import cache
from hashlib import sha512

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NONCE_LENGTH = 32
SIGNATURE_LENGTH = 64

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960

_Point = tuple[int, int, int, int]  # extended coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, xy = T/Z
_NEUTRAL: _Point = (0, 1, 1, 0)
_BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)


def _add(p: _Point, q: _Point) -> _Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


@cache
def _doublings() -> list[_Point]:
    """The base point times 1, 2, 4, … 2**255."""
    points = [_BASE]
    while len(points) < 256:
        points.append(_add(points[-1], points[-1]))
    return points


def _multiple(scalar: int) -> bytes:
    """The base point times ``scalar`` < 2**256, encoded: y, with the lowest bit of x on top."""
    total = _NEUTRAL
    for bit, point in enumerate(_doublings()):
        if scalar >> bit & 1:
            total = _add(total, point)
    inverse = pow(total[2], -1, _P)
    x, y = total[0] * inverse % _P, total[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _expand(password: bytes) -> tuple[int, bytes]:
    """The secret scalar, clamped, and the prefix that makes the signature's nonce."""
    digest = sha512(password).digest()
    scalar = int.from_bytes(digest[:32], "little")
    return scalar & (2**254 - 8) | 2**254, digest[32:]


def public_key(password: bytes) -> bytes:
    """The 32 bytes by which a server knows ``password``."""
    return _multiple(_expand(password)[0])


def stored_hash(password: bytes) -> str:
    """What the grant table holds: 43 characters of base64."""
    return base64.b64encode(public_key(password)).decode().rstrip("=")


def decode_stored(stored: str) -> bytes | None:
    """The public key in a grant table's string; None if it is none."""
    try:
        key = base64.b64decode(stored + "=", validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(stored) == 43 and len(key) == 32 else None


def sign(password: bytes, message: bytes) -> bytes:
    """The signature of ``message``, 64 bytes."""
    scalar, prefix = _expand(password)
    nonce = int.from_bytes(sha512(prefix + message).digest(), "little") % _ORDER
    commitment = _multiple(nonce)
    challenge = sha512(commitment + _multiple(scalar) + message).digest()
    answer = (int.from_bytes(challenge, "little") * scalar + nonce) % _ORDER
    return commitment + answer.to_bytes(32, "little")


def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` of ``message`` was made with the password behind the public ``key`` of 32 bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
