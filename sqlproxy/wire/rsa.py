"""The RSA exchange of caching_sha2_password: a password over a connection without TLS.

The password and its NUL are XORed with the scramble (repeated), then encrypted with the server's public key, OAEP
with SHA1. Source: MySQL's ``sql/auth/sha2_password.cc`` and ``sql-common/client_authentication.cc``.
"""

from __future__ import annotations

from itertools import cycle

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa as algorithm

from sqlproxy.errors import ServerProtocolError

_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)


def _mix(data: bytes, scramble: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, cycle(scramble), strict=False))


class RSAKey:
    """The proxy's key pair; making one takes about 100 ms, so make one per process."""

    def __init__(self, private: algorithm.RSAPrivateKey) -> None:
        self._private = private
        self.public_pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @classmethod
    def generate(cls, bits: int = 2048) -> RSAKey:
        """A new key."""
        return cls(algorithm.generate_private_key(public_exponent=65537, key_size=bits))

    def decrypt(self, message: bytes, scramble: bytes) -> bytes | None:
        """The password in a client's message, without its NUL; None if it was not made for this key."""
        try:
            mixed = self._private.decrypt(message, _OAEP)
        except ValueError:
            return None
        return _mix(mixed, scramble).removesuffix(b"\x00")


def encrypt(password: bytes, scramble: bytes, public_pem: bytes) -> bytes:
    """A client's message with ``password`` for the server whose key is ``public_pem``.

    Raises ``ServerProtocolError`` if that is no RSA key, or one too small for the password.
    """
    try:
        key = serialization.load_pem_public_key(public_pem)
        if not isinstance(key, algorithm.RSAPublicKey):
            raise ServerProtocolError("the server's public key is not an RSA key")
        return key.encrypt(_mix(password + b"\x00", scramble), _OAEP)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ServerProtocolError(f"the server's public key cannot encrypt the password: {error}") from None
