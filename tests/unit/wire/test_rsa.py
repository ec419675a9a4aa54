"""The RSA exchange: what is encrypted for a key is read with it, everything else is refused."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlproxy.errors import ServerProtocolError
from sqlproxy.wire import rsa

KEY = rsa.RSAKey.generate()
SCRAMBLE = b"abcdefghijklmnopqrst"


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=200))
@example(b"ends in NUL\x00")
def test_passwords_survive(password: bytes) -> None:
    assert KEY.decrypt(rsa.encrypt(password, SCRAMBLE, KEY.public_pem), SCRAMBLE) == password


@given(st.binary(max_size=300))
def test_junk_decrypts_to_nothing(message: bytes) -> None:
    assert KEY.decrypt(message, SCRAMBLE) is None


@pytest.mark.parametrize(
    "pem", [b"", b"junk", KEY.public_pem[:100], b"-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----"]
)
def test_a_broken_public_key_is_the_servers_fault(pem: bytes) -> None:
    with pytest.raises(ServerProtocolError, match="public key"):
        rsa.encrypt(b"x", SCRAMBLE, pem)


def test_a_password_too_long_for_the_key_is_refused() -> None:
    with pytest.raises(ServerProtocolError, match="cannot encrypt"):
        rsa.encrypt(b"x" * 250, SCRAMBLE, KEY.public_pem)


def test_the_private_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(KEY) + repr(vars(KEY))
