"""Reports of changed session state: read, and taken out for clients that did not ask for them."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ServerProtocolError
from sqlproxy.wire import codec
from sqlproxy.wire.constants import EOF, OK, SERVER_MORE_RESULTS_EXISTS, SERVER_SESSION_STATE_CHANGED
from sqlproxy.wire.packets import eof_packet, ok_packet
from sqlproxy.wire.response import QUERY, ResponseTracker
from sqlproxy.wire.session_track import Change, parse, without_report

CHANGED = SERVER_SESSION_STATE_CHANGED
SCHEMA = b"\x01\x04\x03app"
STATE = b"\x02\x011"
# from MariaDB 10.11: SET autocommit=0, PREPARE s FROM 'SELECT 1'
AUTOCOMMIT = b"\x00\x00\x00\x00@\x00\x00\x00\x14\x00\x0f\nautocommit\x03OFF\x02\x011"
PREPARED = b"\x00\x00\x00\x02@\x00\x00\x12Statement prepared\x03\x02\x011"


def ok(report: bytes = b"", info: bytes = b"", status: int = 2, header: int = OK) -> bytes:
    """An OK packet as servers send it with CLIENT_SESSION_TRACK."""
    if not report:
        return ok_packet(status, 3, 300, 1, info, header=header)
    plain = ok_packet(status | CHANGED, 3, 300, 1, header=header)
    return plain + codec.write_lenenc_string(info) + codec.write_lenenc_string(report)


def stream(*payloads: bytes) -> bytes:
    return b"".join(codec.packet(seq, payload) for seq, payload in enumerate(payloads, 1))


def filtered(data: bytes, cuts: list[int], deprecate_eof: bool = True, only_state_change: bool = False) -> bytes:
    """As a backend passes a reply on that arrives in pieces."""
    tracker = ResponseTracker(deprecate_eof)
    tracker.tracking = True
    tracker.begin(QUERY)
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    kept, out = b"", b""
    for begin, end in pairwise(bounds):
        tracker.feed(data[begin:end])
        whole = kept + data[begin:end]
        ready = len(whole) - tracker.carried
        out += without_report(whole[:ready], tracker.marks, only_state_change=only_state_change)
        kept = whole[ready:]
    assert tracker.done
    assert not kept
    return out


def test_reports_are_read() -> None:
    assert parse([ok(SCHEMA + STATE, b"info")]) == Change(b"app", {}, True)
    assert parse([AUTOCOMMIT]) == Change(None, {b"autocommit": b"OFF"}, True)
    assert parse([ok(b"\x01\x01\x00"), ok(STATE)]) == Change(b"", {}, True)
    assert parse([]) == Change()


def test_entries_of_other_kinds_are_passed_over() -> None:
    assert parse([ok(b"\x03\x02ab\x05\x09\x08T_______")]) == Change()


@pytest.mark.parametrize("report", [b"\x01\x09\x03app", b"\x00\x02\x01a", b"\x02"])
def test_a_truncated_report_is_the_servers_fault(report: bytes) -> None:
    with pytest.raises(ServerProtocolError):
        parse([ok(report)])


@pytest.mark.parametrize("info", [b"", b"Rows matched: 1"])
@pytest.mark.parametrize("header", [OK, EOF])
def test_a_packet_without_its_report_is_what_the_server_sends_without_tracking(info: bytes, header: int) -> None:
    data = stream(ok(SCHEMA + STATE, info, header=header))
    assert without_report(data, [0], only_state_change=False) == stream(ok(b"", info, header=header))


def test_what_a_tracking_client_asked_for_stays() -> None:
    data = stream(ok(SCHEMA + STATE, b"info"), ok(STATE))
    kept = without_report(data, [0, len(stream(ok(SCHEMA + STATE, b"info")))], only_state_change=True)
    assert kept == stream(ok(SCHEMA, b"info"), ok())


def test_an_eof_packet_loses_its_flag_only() -> None:
    data = stream(eof_packet(2 | CHANGED, 5))
    assert without_report(data, [0], only_state_change=False) == stream(eof_packet(2, 5))


REPLIES = [
    (True, (PREPARED,), (ok_packet(2, info=b"Statement prepared"),)),
    (True, (b"\x01", b"\x03def", b"\x011", ok(STATE, header=EOF)), (b"\x01", b"\x03def", b"\x011", ok(header=EOF))),
    (
        False,
        (b"\x01", b"\x03def", eof_packet(2 | CHANGED), b"\x011", eof_packet(2 | CHANGED)),
        (b"\x01", b"\x03def", eof_packet(2), b"\x011", eof_packet(2)),
    ),
    (
        True,
        (ok(STATE, status=2 | SERVER_MORE_RESULTS_EXISTS), ok(), ok(SCHEMA))[::2],
        (ok(status=2 | SERVER_MORE_RESULTS_EXISTS), ok()),
    ),
    (True, (ok(b"", b"Rows matched: 1"),), (ok(b"", b"Rows matched: 1"),)),
]


@pytest.mark.parametrize(("deprecate_eof", "sent", "seen"), REPLIES)
@given(st.lists(st.integers(0, 200), max_size=12))
def test_a_reply_is_filtered_alike_however_it_is_cut(
    deprecate_eof: bool, sent: tuple[bytes, ...], seen: tuple[bytes, ...], cuts: list[int]
) -> None:
    assert filtered(stream(*sent), cuts, deprecate_eof) == stream(*seen)


@given(st.binary(max_size=60))
def test_arbitrary_reports_are_read_or_refused(report: bytes) -> None:
    payload = ok(STATE)[:-3] + report
    for action in (lambda: parse([payload]), lambda: without_report(stream(payload), [0], only_state_change=True)):
        with suppress(ServerProtocolError):
            action()


def test_a_tracker_hands_on_the_packets_that_report() -> None:
    tracker = ResponseTracker(True)
    tracker.tracking = True
    tracker.begin(QUERY)
    assert tracker.feed(stream(ok(SCHEMA))) > 0
    assert (tracker.changed, tracker.changes, tracker.marks) == (True, [ok(SCHEMA)], [0])
    tracker.begin(QUERY)
    assert tracker.feed(stream(ok())) > 0
    assert (tracker.changed, tracker.changes, tracker.special) == (False, [], False)
