"""A command that is dropped is followed to its end, however its bytes were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.wire import skipping
from sqlproxy.wire.codec import packet
from sqlproxy.wire.constants import MAX_PAYLOAD
from sqlproxy.wire.skipping import CommandSkipper


@pytest.mark.parametrize(
    ("size", "packets"), [(1, 1), (MAX_PAYLOAD - 1, 1), (MAX_PAYLOAD, 2), (2 * MAX_PAYLOAD + 5, 3)]
)
def test_a_command_ends_with_the_first_packet_that_is_not_full(size: int, packets: int) -> None:
    skipper = CommandSkipper()
    command = packet(0, b"x" * size)
    assert not skipper.feed(command[:-1])
    assert skipper.feed(command[-1:])
    assert (skipper.seq, skipper.size) == (packets - 1, len(command))


@given(st.binary(min_size=1, max_size=40), st.lists(st.integers(1, 20), min_size=50, max_size=50))
def test_the_end_is_the_same_whatever_the_cuts(payload: bytes, sizes: list[int]) -> None:
    skipper, command, pos = CommandSkipper(), packet(3, payload), 0
    for size in sizes:
        ended = skipper.feed(command[pos : pos + size])
        pos += size
        assert ended == (pos >= len(command))
        if ended:
            break
    assert skipper.seq == 3


def test_what_follows_in_the_same_chunk_is_dropped() -> None:
    assert CommandSkipper().feed(packet(0, b"too long") + packet(0, b"next"))


def test_a_command_longer_than_any_server_takes_is_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipping, "LARGEST", 2 * MAX_PAYLOAD)
    skipper = CommandSkipper()
    full = packet(0, b"x" * MAX_PAYLOAD)[: 4 + MAX_PAYLOAD]
    assert [skipper.feed(full), skipper.feed(full)] == [False, True]
