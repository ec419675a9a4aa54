"""OK, EOF, ERR and the authentication packets: what is built is parsed back, junk is refused."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import Fault, ServerError, ServerProtocolError
from sqlproxy.wire import packets
from sqlproxy.wire.constants import CLIENT_SESSION_TRACK, EOF, SERVER_SESSION_STATE_CHANGED

U64 = st.integers(0, 2**64 - 1)
U16 = st.integers(0, 0xFFFF)


@given(U16, U64, U64, U16, st.binary(max_size=300))
def test_ok_round_trips_with_session_tracking(
    status: int, affected: int, insert_id: int, warnings: int, info: bytes
) -> None:
    payload = packets.ok_packet(status & ~SERVER_SESSION_STATE_CHANGED, affected, insert_id, warnings, info)
    ok = packets.parse_ok(payload, CLIENT_SESSION_TRACK)
    assert (ok.affected, ok.insert_id, ok.warnings, ok.info) == (affected, insert_id, warnings, info)


@given(st.binary(min_size=1, max_size=200))
def test_info_is_read_without_session_tracking_too(info: bytes) -> None:
    assert packets.parse_ok(packets.ok_packet(2, info=info), 0).info == info


def test_info_without_a_length_is_the_rest_of_the_packet() -> None:
    assert packets.parse_ok(b"\x00\x00\x00\x02\x00\x00\x00plain text", 0).info == b"plain text"


def test_session_state_follows_the_info() -> None:
    status = SERVER_SESSION_STATE_CHANGED | 2
    payload = packets.ok_packet(status, info=b"x") + b"\x04abcd"
    ok = packets.parse_ok(payload, CLIENT_SESSION_TRACK)
    assert (ok.info, ok.session_state) == (b"x", b"abcd")


def test_an_ok_packet_can_end_a_result_set() -> None:
    payload = packets.ok_packet(2, header=EOF)
    assert payload[0] == 0xFE
    assert packets.parse_ok(payload).status == 2


def test_eof_holds_warnings_then_status() -> None:
    assert packets.eof_packet(0x22, 3) == b"\xfe\x03\x00\x22\x00"


def test_err_round_trips() -> None:
    error = packets.parse_err(packets.err_packet(1045, "28000", "Access denied für x"))
    assert isinstance(error, ServerError)
    assert (error.code, error.sqlstate, error.message) == (1045, "28000", "Access denied für x")
    assert error.fault is Fault.SERVER


def test_err_before_the_handshake_has_no_sqlstate() -> None:
    error = packets.parse_err(b"\xff\x10\x04Too many connections")
    assert error is not None
    assert (error.code, error.sqlstate, error.message) == (1040, "HY000", "Too many connections")


def test_progress_reports_are_no_errors() -> None:
    assert packets.parse_err(b"\xff\xff\xff\x01\x01\x02\x00\x00\x00\x05stage") is None


def test_long_messages_are_cut_at_a_character() -> None:
    error = packets.parse_err(packets.err_packet(1105, "HY000", "é" * 400 + "x"))
    assert error is not None
    assert error.message == "é" * 256


def test_auth_switch_round_trips() -> None:
    payload = packets.auth_switch_packet("client_ed25519", b"\x00" * 32)
    assert packets.parse_auth_switch(payload) == ("client_ed25519", b"\x00" * 32)
    assert packets.parse_auth_switch(b"\xfe") == ("mysql_old_password", b"")


def test_auth_more_data_round_trips() -> None:
    assert packets.parse_auth_more_data(packets.auth_more_data_packet(b"\x04")) == b"\x04"


PARSERS: list[Callable[[bytes], object]] = [
    packets.parse_ok,
    lambda payload: packets.parse_ok(payload, 0),
    packets.parse_err,
    packets.parse_auth_switch,
    packets.parse_auth_more_data,
]


@given(st.binary(max_size=60), st.sampled_from([b"", b"\x00", b"\x01", b"\xfe", b"\xff"]), st.sampled_from(PARSERS))
def test_junk_is_parsed_or_refused_as_the_servers_fault(
    junk: bytes, head: bytes, parse: Callable[[bytes], object]
) -> None:
    with contextlib.suppress(ServerProtocolError):
        parse(head + junk)


@pytest.mark.parametrize("cut", range(7))
def test_a_truncated_ok_packet_names_its_field(cut: int) -> None:
    with pytest.raises(ServerProtocolError, match=r"truncated|must start"):
        packets.parse_ok(packets.ok_packet(2)[:cut])
