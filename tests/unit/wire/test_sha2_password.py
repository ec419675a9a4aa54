"""caching_sha2_password: SHA-crypt's own vectors, hashes of a real server, the fast path."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.wire import sha2_password as sha2

SCRAMBLES = st.binary(min_size=20, max_size=20)
# Made by MySQL 9.7: CREATE USER … IDENTIFIED BY 'sécret pass', 10000 rounds.
MYSQL_CRYPT5 = bytes.fromhex(
    "244124303041245260182C3C046A5B03186C07495D2D661A1450196D6F4E735A6F77416A414B666872436D4A45396D7469533673474B516A"
    "554F44446F326B6B6D6173704D36"
)
# Made by MySQL 9.7 with caching_sha2_password_storage_format = PBKDF2_SHA512, password 'pbpw'.
MYSQL_PBKDF2 = bytes.fromhex(
    "2442243030412473190E577B58261F256C12337D0218056E7A583A45656E4971696E66752B396D557459417870754B634462385647325931"
    "633076785764573478375151776A554B79587278724167684F305A667A2B616747725837376D762B3658325874344D4A7341776E7A433443"
    "413D3D"
)
# Made by MySQL 9.7: sha256_password, password 'old sha'.
MYSQL_SHA256 = bytes.fromhex(
    "24352407232526600F570E572B7D4B53082D34347F6C1B24614538464C597A424867566E6E75745437545677737842777077637157426372"
    "794E6D4F4D786443476842"
)


@pytest.mark.parametrize(
    ("password", "salt", "rounds", "digest"),
    [
        # openssl passwd -5
        (b"Hello world!", b"saltstring", 5000, b"5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        (b"Hello world!", b"saltstringsaltst", 10000, b"3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
        (
            b"a very much longer text to encrypt.  This one even stretches over morethan one line.",
            b"toolongsaltstrin",
            5000,
            b"/l//PlTmqUGB3Tk2aYj...M0rpL6G2kN3R1w7KehV/1",
        ),
    ],
)
def test_sha_crypt_agrees_with_its_other_implementations(
    password: bytes, salt: bytes, rounds: int, digest: bytes
) -> None:
    assert sha2.sha_crypt(password, salt, rounds) == digest


@pytest.mark.parametrize(
    ("stored", "password"),
    [(MYSQL_CRYPT5, "sécret pass"), (MYSQL_PBKDF2, "pbpw"), (MYSQL_SHA256, "old sha")],
)
def test_a_real_servers_hashes_are_verified(stored: bytes, password: str) -> None:
    assert sha2.verify(password.encode(), stored)
    assert not sha2.verify(password.encode() + b"x", stored)
    assert not sha2.verify(b"", stored)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=1, max_size=sha2.MAX_PASSWORD))
def test_passwords_of_every_length_round_trip(password: bytes) -> None:
    stored = sha2.stored_hash(password, b"s" * 20, 1000)
    assert len(stored) == 70
    assert sha2.verify(password, stored)
    assert not sha2.verify(password[:-1], stored)


def test_rounds_are_hexadecimal_thousands() -> None:
    assert sha2.stored_hash(b"x", b"s" * 20, 16000).startswith(b"$A$010$")


@given(st.binary(max_size=80))
def test_what_is_no_hash_accepts_nobody(stored: bytes) -> None:
    assert not sha2.verify(b"password", stored)
    assert not sha2.verify(b"password", b"$A$005$" + stored[:62])


def test_longer_passwords_than_mysql_takes_are_refused_unhashed() -> None:
    assert not sha2.verify(b"x" * (sha2.MAX_PASSWORD + 1), MYSQL_CRYPT5)


@given(st.binary(min_size=1), SCRAMBLES)
def test_a_good_fast_reply_gives_stage_1(password: bytes, scramble: bytes) -> None:
    secret = sha2.stage1(password)
    assert sha2.recover(sha2.reply(secret, scramble), scramble, sha2.double(password)) == secret


@given(st.binary(max_size=40), SCRAMBLES)
def test_other_fast_replies_prove_nothing(answer: bytes, scramble: bytes) -> None:
    assert sha2.recover(answer, scramble, sha2.double(b"password")) is None
    assert sha2.recover(answer, scramble, b"short") is None
