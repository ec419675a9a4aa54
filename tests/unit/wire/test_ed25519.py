"""client_ed25519: MariaDB's keys, RFC 8032's arithmetic, signatures."""

from hashlib import sha512

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.wire import ed25519


@pytest.mark.parametrize(
    ("password", "stored"),
    [
        # MariaDB 10.11: CREATE USER … IDENTIFIED VIA ed25519 USING PASSWORD('…')
        (b"secret", "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY"),
        (b"a", "GvRmi9ungFjJD9sKjaq/T3CL1LmO2CLpz5I42gnB7Eg"),
    ],
)
def test_keys_are_what_mariadb_stores(password: bytes, stored: str) -> None:
    assert ed25519.stored_hash(password) == stored
    assert ed25519.decode_stored(stored) == ed25519.public_key(password)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_a_password_of_32_bytes_is_an_ordinary_private_key(seed: bytes, message: bytes) -> None:
    library = Ed25519PrivateKey.from_private_bytes(seed)
    raw = library.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    assert ed25519.public_key(seed) == raw
    assert ed25519.sign(seed, message) == library.sign(message)


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32))
def test_signatures_verify_with_the_password_that_made_them_only(password: bytes, nonce: bytes) -> None:
    signature = ed25519.sign(password, nonce)
    assert ed25519.verify(ed25519.public_key(password), signature, nonce)
    assert not ed25519.verify(ed25519.public_key(password + b"x"), signature, nonce)
    assert not ed25519.verify(ed25519.public_key(password), signature, sha512(nonce).digest()[:32])


@given(st.binary(max_size=80), st.binary(max_size=40).filter(lambda key: len(key) != 32))
def test_junk_verifies_nothing(signature: bytes, key: bytes) -> None:
    assert not ed25519.verify(ed25519.public_key(b"secret"), signature, b"nonce")
    assert not ed25519.verify(key, bytes(64), b"nonce")


@pytest.mark.parametrize("stored", ["", "x", "!" * 43, "A" * 42, "A" * 44, "é" * 43])
def test_what_is_no_key_is_none(stored: str) -> None:
    assert ed25519.decode_stored(stored) is None
