"""Options of sockets, on ones that are never connected."""

from __future__ import annotations

import socket

from sqlproxy.session.sockets import LOST_AFTER, detect_lost_path


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
