"""caching_sha2_password: SHA256 challenge and response, and the salted hash of the grant table.

Fast path: the client replies SHA256(password) XOR SHA256(SHA256(SHA256(password)) + scramble), which a server can
check that has SHA256(SHA256(password)) in its cache. Otherwise the client sends the password (over TLS, or encrypted
with RSA) and the server compares it with ``$A$<rounds / 1000, 3 hex digits>$<20 bytes salt><43 characters>``: SHA-crypt
with SHA256, but a longer salt. MySQL 9.7 can store ``$B$<rounds>$<salt><88 characters>`` instead: base64 of PBKDF2 with
SHA512. ``sha256_password`` stores ``$5$[rounds=N$]<salt>$<43 characters>``.

Sources: MySQL's ``sql/auth/sha2_password.cc`` and ``mysys/crypt_genhash_impl.cc``, worklog 17160;
https://www.akkadia.org/drepper/SHA-crypt.txt
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from hashlib import pbkdf2_hmac, sha256

from sqlproxy.wire.native_password import xor

_SIZE = 32
_ALPHABET = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# The order in which SHA-crypt writes the digest's bytes, three bytes to four characters.
_TRIPLES = (
    *((0, 10, 20), (21, 1, 11), (12, 22, 2), (3, 13, 23), (24, 4, 14)),
    *((15, 25, 5), (6, 16, 26), (27, 7, 17), (18, 28, 8), (9, 19, 29)),
)
_CACHING = re.compile(rb"\$A\$([0-9A-Fa-f]{3})\$(.{20})(.{43})", re.DOTALL)
_PBKDF2 = re.compile(rb"\$B\$([0-9A-Fa-f]{3})\$(.{20})(.{88})", re.DOTALL)
_SHA_CRYPT = re.compile(rb"\$5\$(?:rounds=(\d{1,9})\$)?([^$]{0,20})\$(.{43})", re.DOTALL)
_DEFAULT_ROUNDS = 5000
_ROUNDS_LIMITS = (1000, 4_095_000)  # of caching_sha2_password_digest_rounds
MAX_PASSWORD = 256  # bytes; MySQL refuses longer ones, and SHA-crypt's work grows with the square of the length


def stage1(password: bytes) -> bytes:
    """SHA256(password)."""
    return sha256(password).digest()


def double(password: bytes) -> bytes:
    """SHA256(SHA256(password)): what servers keep in their cache."""
    return sha256(stage1(password)).digest()


def reply(secret: bytes, scramble: bytes) -> bytes:
    """The fast reply of a client that knows ``secret`` = SHA256(password)."""
    return xor(secret, sha256(sha256(secret).digest() + scramble).digest())


def recover(answer: bytes, scramble: bytes, cached: bytes) -> bytes | None:
    """SHA256(password) if ``answer`` proves the password behind ``cached`` (see ``double``), else None."""
    if len(answer) != _SIZE or len(cached) != _SIZE:
        return None
    candidate = xor(answer, sha256(cached + scramble).digest())
    return candidate if hmac.compare_digest(sha256(candidate).digest(), cached) else None


def stored_hash(password: bytes, salt: bytes, rounds: int = _DEFAULT_ROUNDS) -> bytes:
    """The grant table's ``$A$…`` for a salt of 20 bytes without NUL and ``$``; empty for an empty password."""
    if not password:
        return b""
    return b"$A$%03X$%s%s" % (rounds // 1000, salt, sha_crypt(password, salt, rounds))


def verify(password: bytes, stored: bytes) -> bool:
    """Whether ``stored`` (``$A$…``, ``$B$…`` or ``$5$…``) is a hash of ``password``; anything else is not.

    Takes about 3 ms per 5000 rounds.
    """
    if len(password) > MAX_PASSWORD:
        return False
    if match := _CACHING.fullmatch(stored):
        digest = sha_crypt(password, match[2], _limited(int(match[1], 16) * 1000))
    elif match := _PBKDF2.fullmatch(stored):
        rounds = _limited(int(match[1], 16) * 1000)
        digest = b64encode(pbkdf2_hmac("sha512", password, match[2], rounds))
    elif match := _SHA_CRYPT.fullmatch(stored):
        digest = sha_crypt(password, match[2], _limited(int(match[1] or _DEFAULT_ROUNDS)))
    else:
        return False
    return hmac.compare_digest(digest, match[3])


def _limited(rounds: int) -> int:
    return min(max(rounds, _ROUNDS_LIMITS[0]), _ROUNDS_LIMITS[1])


def sha_crypt(password: bytes, salt: bytes, rounds: int) -> bytes:
    """The 43 characters of SHA-crypt with SHA256; steps as numbered in its specification."""
    start = _first_digest(password, salt)  # 1 to 12
    p = _stretch(sha256(password * len(password)).digest(), len(password))  # 13 to 16
    s = _stretch(sha256(salt * (16 + start[0])).digest(), len(salt))  # 17 to 20
    digest = start
    for step in range(rounds):  # 21
        block = p if step & 1 else digest
        if step % 3:
            block += s
        if step % 7:
            block += p
        digest = sha256(block + (digest if step & 1 else p)).digest()
    return _encode(digest)  # 22


def _first_digest(password: bytes, salt: bytes) -> bytes:
    alternate = sha256(password + salt + password).digest()
    whole = password + salt + _stretch(alternate, len(password))
    bits = len(password)
    while bits:
        whole += alternate if bits & 1 else password
        bits >>= 1
    return sha256(whole).digest()


def _stretch(digest: bytes, size: int) -> bytes:
    """``digest`` over and over, cut at ``size`` bytes."""
    return (digest * (size // _SIZE + 1))[:size]


def _encode(digest: bytes) -> bytes:
    characters = bytearray()
    for a, b, c in _TRIPLES:
        characters += _base64(digest[a] << 16 | digest[b] << 8 | digest[c], 4)
    return bytes(characters + _base64(digest[31] << 8 | digest[30], 3))


def _base64(value: int, count: int) -> bytes:
    return bytes(_ALPHABET[value >> 6 * place & 0x3F] for place in range(count))
