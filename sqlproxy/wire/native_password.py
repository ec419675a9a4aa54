"""mysql_native_password: SHA1 challenge and response.

The grant table holds ``*`` and the hex of SHA1(SHA1(password)); the client replies
SHA1(password) XOR SHA1(scramble + SHA1(SHA1(password))). SHA1(password), here "stage 1", is all a client needs, and
whoever knows the stored hash recovers it from a good reply.

Source: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods_native_password_authentication.html
"""

from __future__ import annotations

import hmac
from hashlib import sha1

_SIZE = 20


def xor(left: bytes, right: bytes) -> bytes:
    """Bytewise exclusive or of two strings of the same length."""
    if len(left) != len(right):
        raise ValueError(f"{len(left)} and {len(right)} bytes are not of the same length")
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


def stage1(password: bytes) -> bytes:
    """SHA1(password)."""
    return sha1(password).digest()


def stored_hash(password: bytes) -> str:
    """What the grant table holds: ``*`` and 40 upper-case hex digits; empty for an empty password."""
    return "*" + sha1(stage1(password)).hexdigest().upper() if password else ""


def stage2(stored: str) -> bytes | None:
    """SHA1(SHA1(password)) of a stored hash; None if it is not one (``invalid``, the 16 digits before 4.1)."""
    if len(stored) != 41 or stored[0] != "*":
        return None
    try:
        digest = bytes.fromhex(stored[1:])
    except ValueError:
        return None
    return digest if len(digest) == _SIZE else None


def reply(secret: bytes, scramble: bytes) -> bytes:
    """The reply of a client that knows ``secret`` = stage 1."""
    return xor(secret, sha1(scramble + sha1(secret).digest()).digest())


def recover(answer: bytes, scramble: bytes, stored: str) -> bytes | None:
    """Stage 1 if ``answer`` proves the password behind ``stored``, else None."""
    expected = stage2(stored)
    if expected is None or len(answer) != _SIZE:
        return None
    candidate = xor(answer, sha1(scramble + expected).digest())
    return candidate if hmac.compare_digest(sha1(candidate).digest(), expected) else None
