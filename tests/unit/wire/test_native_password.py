"""mysql_native_password: the servers' hashes, replies, and what can be learned from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.wire import native_password as native

SCRAMBLES = st.binary(min_size=20, max_size=20)


def test_the_stored_hash_is_what_the_servers_compute() -> None:
    # SELECT PASSWORD('password')
    assert native.stored_hash(b"password") == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"
    assert native.stored_hash(b"") == ""


@given(st.binary(min_size=1), SCRAMBLES)
def test_a_good_reply_gives_stage_1(password: bytes, scramble: bytes) -> None:
    secret = native.stage1(password)
    answer = native.reply(secret, scramble)
    assert native.recover(answer, scramble, native.stored_hash(password)) == secret


@given(st.binary(max_size=40), SCRAMBLES)
def test_other_replies_prove_nothing(answer: bytes, scramble: bytes) -> None:
    assert native.recover(answer, scramble, native.stored_hash(b"password")) is None


@pytest.mark.parametrize("stored", ["", "invalid", "*", "*" + "Z" * 40, "6f8c114b58f2ce9e", "*" + " " * 40, "é" * 41])
def test_what_is_no_hash_accepts_nobody(stored: str) -> None:
    assert native.stage2(stored) is None
    assert native.recover(bytes(20), bytes(20), stored) is None
