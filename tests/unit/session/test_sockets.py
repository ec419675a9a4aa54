"""Options of sockets, on ones that are never connected."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from sqlproxy.session.sockets import LOST_AFTER, detect_lost_path, has_unconfirmed, is_unheard


def test_a_server_s_connection_asks_for_a_sign_of_life_within_seconds() -> None:
    with socket.socket() as sock:
        detect_lost_path(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, between, probes = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + between * probes == LOST_AFTER < 15


def test_where_there_is_nothing_to_ask_nothing_is_asked() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        detect_lost_path(sock)


class Told:
    """A socket of which the system tells this."""

    def __init__(self, info: bytes | None, family: int = socket.AF_INET) -> None:
        self.family = family
        self._info = info

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        if self._info is None:
            raise OSError("closed")
        return self._info[:size]


def info(unconfirmed: int, heard: float) -> bytes:
    return struct.pack("24xI28xI", unconfirmed, int(heard * 1000)) + bytes(100)


@pytest.mark.parametrize(
    ("sock", "unheard"),
    [
        (Told(info(1, LOST_AFTER)), True),
        (Told(info(3, 900)), True),
        (Told(info(1, LOST_AFTER - 0.1)), False),
        (Told(info(0, 900)), False),
        (Told(info(1, 900)[:30]), False),
        (Told(None), False),
        (Told(info(1, 900), socket.AF_UNIX), False),
        (None, False),
    ],
    ids=["lost", "long lost", "a moment", "nothing sent", "an old system", "closed", "unix", "none"],
)
def test_a_peer_is_unheard_when_what_was_sent_is_not_confirmed(sock: Any, unheard: bool) -> None:
    assert is_unheard(sock) is unheard


def test_nothing_is_unconfirmed_where_it_cannot_be_known() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"not read")
        assert not has_unconfirmed(ours)
    closed = socket.socket()
    closed.close()
    assert not has_unconfirmed(closed)
    assert not has_unconfirmed(None)
