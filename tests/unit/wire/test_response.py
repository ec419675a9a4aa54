"""Replies that real servers sent are followed to their end, however the bytes were cut on the way."""

import os
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ServerProtocolError
from sqlproxy.wire import response
from sqlproxy.wire.codec import packet
from sqlproxy.wire.constants import (
    MAX_PAYLOAD,
    SERVER_MORE_RESULTS_EXISTS,
    SERVER_PS_OUT_PARAMS,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_CURSOR_EXISTS,
)
from sqlproxy.wire.packets import eof_packet, err_packet, ok_packet
from sqlproxy.wire.response import ResponseTracker
from tests.support import replies
from tests.support.replies import Reply

REPLIES = replies.load()
SMALL = [reply for reply in REPLIES if reply.size < 4096]  # those that tests may feed many times over
LARGE = [reply for reply in REPLIES if reply.size > MAX_PAYLOAD]
AUTOCOMMIT = SERVER_STATUS_AUTOCOMMIT
MORE = SERVER_MORE_RESULTS_EXISTS
DEFINITION = b"\x03def" + bytes(20)

every_reply = pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.name)


def framed(*payloads: bytes) -> bytes:
    return b"".join(packet(seq, payload) for seq, payload in enumerate(payloads, 1))


def cuts(data: bytes, at: Iterable[int]) -> list[bytes]:
    """``data`` cut at the given offsets."""
    edges = [0, *sorted(set(at)), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


def end_of(tracker: ResponseTracker, chunks: list[bytes]) -> int:
    """Feed all; the end as an offset in the whole, which must come in the last chunk, or -1."""
    fed = 0
    for chunk in chunks:
        end = tracker.feed(chunk)
        if end >= 0:
            assert chunk is chunks[-1], "the reply ended too early"
            assert tracker.done
            return fed + end
        fed += len(chunk)
    return -1


def check(reply: Reply, tracker: ResponseTracker) -> None:
    assert (tracker.rows, tracker.error) == (reply.rows, reply.error)
    assert reply.status is None or tracker.status == reply.status
    if reply.kind == response.PREPARE and not reply.error:
        assert (tracker.columns, tracker.parameters) == (reply.columns, reply.parameters)
        assert tracker.statement_id > 0


def follow(reply: Reply, parts: list[list[bytes]]) -> ResponseTracker:
    """The tracker after the chunks of each part of a reply; every part must end where it was recorded to end."""
    tracker = ResponseTracker(reply.deprecate_eof)
    tracker.begin(reply.kind)
    for number, chunks in enumerate(parts):
        if number:
            tracker.resume_upload()
        waits = reply.upload is not None and number == 0
        assert end_of(tracker, chunks) == (-1 if waits else sum(map(len, chunks)))
        assert tracker.upload == waits
    assert tracker.done
    return tracker


def test_the_form_under_test_is_the_one_asked_for() -> None:
    assert response.__file__.endswith(".py") or os.environ.get("SQLPROXY_PURE") != "1"


@every_reply
def test_a_reply_fed_whole_ends_where_the_server_fell_silent(reply: Reply) -> None:
    check(reply, follow(reply, [[part] for part in reply.bytes]))


@pytest.mark.parametrize("reply", SMALL, ids=lambda reply: reply.name)
def test_a_reply_fed_byte_by_byte_ends_at_the_same_place(reply: Reply) -> None:
    check(reply, follow(reply, [cuts(part, range(len(part))) for part in reply.bytes]))


@pytest.mark.parametrize("reply", SMALL, ids=lambda reply: reply.name)
def test_a_reply_cut_in_two_anywhere_ends_at_the_same_place(reply: Reply) -> None:
    for offset in range(1, max(map(len, reply.bytes))):
        check(reply, follow(reply, [cuts(part, [min(offset, len(part))]) for part in reply.bytes]))


@given(st.sampled_from(SMALL), st.data())
def test_a_reply_cut_at_random_ends_at_the_same_place(reply: Reply, data: st.DataObject) -> None:
    parts = [cuts(part, data.draw(st.lists(st.integers(1, len(part)), max_size=20))) for part in reply.bytes]
    check(reply, follow(reply, parts))


@pytest.mark.parametrize("reply", LARGE, ids=lambda reply: reply.name)
def test_rows_in_several_packets_are_followed_across_cuts_near_each_header(reply: Reply) -> None:
    whole = reply.bytes[0]
    headers = [0]
    while headers[-1] < len(whole):
        headers.append(headers[-1] + 4 + int.from_bytes(whole[headers[-1] : headers[-1] + 3], "little"))
    near = [min(len(whole), at + step) for at in headers for step in range(12)]
    check(reply, follow(reply, [cuts(whole, near)]))


@given(st.sampled_from([reply for reply in SMALL if reply.upload is None]), st.binary(min_size=1, max_size=40))
def test_bytes_that_follow_a_reply_are_never_consumed(reply: Reply, rest: bytes) -> None:
    whole = reply.bytes[0]
    tracker = ResponseTracker(reply.deprecate_eof)
    tracker.begin(reply.kind)
    assert tracker.feed(whole + rest) == len(whole)
    check(reply, tracker)


@given(st.lists(st.sampled_from([r for r in SMALL if r.upload is None and r.deprecate_eof]), min_size=2, max_size=6))
def test_one_tracker_follows_reply_after_reply(sequence: list[Reply]) -> None:
    tracker = ResponseTracker(True)
    for reply in sequence:
        tracker.begin(reply.kind)
        assert tracker.feed(reply.bytes[0]) == reply.size
        check(reply, tracker)


def followed(kind: int, data: bytes, deprecate_eof: bool = False) -> ResponseTracker:
    """The tracker after a reply that must end with ``data``, whole and byte by byte."""
    for chunks in ([data], cuts(data, range(len(data)))):
        tracker = ResponseTracker(deprecate_eof)
        tracker.begin(kind)
        assert end_of(tracker, chunks) == len(data)
    return tracker


def test_cursors_of_a_procedure_do_not_end_its_result_sets() -> None:
    flags = AUTOCOMMIT | SERVER_STATUS_CURSOR_EXISTS
    select = (b"\x01", DEFINITION, eof_packet(flags | MORE), b"\x011", eof_packet(flags | MORE))
    for kind in (response.QUERY, response.CURSOR):
        assert followed(kind, framed(*select, ok_packet(AUTOCOMMIT))).rows == 1


def test_a_cursor_for_the_client_ends_the_reply_after_the_definitions() -> None:
    data = framed(b"\x01", DEFINITION, eof_packet(AUTOCOMMIT | SERVER_STATUS_CURSOR_EXISTS))
    assert followed(response.CURSOR, data).rows == 0


def test_out_parameters_are_followed_by_an_ok_though_their_end_announces_nothing() -> None:
    announced = eof_packet(AUTOCOMMIT | MORE | SERVER_PS_OUT_PARAMS)
    tracker = followed(
        response.QUERY, framed(b"\x01", DEFINITION, announced, b"\0\0\7", eof_packet(AUTOCOMMIT), ok_packet(AUTOCOMMIT))
    )
    assert (tracker.rows, tracker.status) == (1, AUTOCOMMIT)


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4])
def test_progress_reports_of_mariadb_are_no_errors(place: int) -> None:
    payloads = [b"\x01", DEFINITION, eof_packet(AUTOCOMMIT), b"\x011", eof_packet(AUTOCOMMIT)]
    payloads.insert(place, b"\xff\xff\xff\x01\x01\x02\x00\x00\x00\x04copy")
    tracker = followed(response.QUERY, framed(*payloads))
    assert (tracker.rows, tracker.error, tracker.first) == (1, 0, 1)


def test_an_error_amid_an_upload_follows_resuming() -> None:
    tracker = ResponseTracker(True)
    tracker.begin(response.QUERY)
    assert tracker.feed(packet(1, b"\xfbfile")) == -1
    assert tracker.upload
    tracker.resume_upload()
    answer = packet(4, err_packet(1317, "70100", "Query execution was interrupted"))
    assert tracker.feed(answer) == len(answer)
    assert (tracker.error, tracker.first) == (1317, 0xFB)


def test_an_ok_with_the_longest_counts_gives_its_status() -> None:
    data = framed(ok_packet(0x4003, 2**64 - 1, 2**64 - 1, info=b"x" * 300))
    assert followed(response.SINGLE, data).status == 0x4003


def test_errors_name_their_code() -> None:
    for kind in (response.QUERY, response.PREPARE, response.ROWS, response.SINGLE, response.TEXT, response.CURSOR):
        tracker = followed(kind, framed(err_packet(1205, "HY000", "Lock wait timeout exceeded")))
        assert (tracker.error, tracker.first) == (1205, 0xFF)


def test_a_new_command_forgets_the_reply_before() -> None:
    tracker = ResponseTracker(True)
    tracker.begin(response.QUERY)
    assert tracker.feed(framed(b"\x01", DEFINITION, b"\x011")[:-1]) == -1
    tracker.begin(response.SINGLE)
    assert (tracker.rows, tracker.first, tracker.done) == (0, -1, False)
    assert tracker.feed(framed(ok_packet(AUTOCOMMIT))) == 11


@pytest.mark.parametrize(
    ("kind", "payload", "message"),
    [
        (response.QUERY, b"", "empty packet"),
        (response.ROWS, b"", "empty packet"),
        (response.QUERY, b"\xfe", "unknown here: 0xFE"),
        (response.QUERY, b"\xfd\1\0\0", "unknown here: 0xFD"),
        (response.QUERY, b"\xfc\1", "unknown here: 0xFC in 2 bytes"),
        (response.QUERY, b"\1\1", "unknown here: 0x01 in 2 bytes"),
        (response.QUERY, b"\xfc\0\0", "without columns"),
        (response.QUERY, b"\0", "truncated OK"),
        (response.QUERY, b"\0\0\0\2", "OK packet without status flags"),
        (response.QUERY, b"\0\xfe\0\0", "truncated OK"),
        (response.QUERY, b"\xff\1", "ERR packet without a code"),
        (response.SINGLE, b"\1", "packet 0x01 where OK or ERR was due"),
        (response.SINGLE, b"\xfe\0\0", "EOF packet without status flags"),
        (response.PREPARE, b"\0\1\0\0\0", "something else than a statement"),
        (response.PREPARE, b"\1" * 12, "something else than a statement"),
    ],
)
def test_a_packet_that_opens_no_reply_is_refused(kind: int, payload: bytes, message: str) -> None:
    tracker = ResponseTracker(False)
    tracker.begin(kind)
    with pytest.raises(ServerProtocolError, match=message):
        tracker.feed(packet(1, payload) + b"following")


@pytest.mark.parametrize("payload", [b"\1x", b"\xfe\0\0", b"\xfe" + bytes(8), ok_packet(AUTOCOMMIT)])
def test_definitions_must_end_with_an_eof(payload: bytes) -> None:
    tracker = ResponseTracker(False)
    tracker.begin(response.QUERY)
    with pytest.raises(ServerProtocolError, match="EOF"):
        tracker.feed(framed(b"\x01", DEFINITION, payload) + b"following")


def test_bytes_without_a_command_are_refused() -> None:
    tracker = ResponseTracker(True)
    with pytest.raises(ServerProtocolError, match="belong to no reply"):
        tracker.feed(b"\0")


def test_a_server_that_speaks_before_the_upload_ended_is_refused() -> None:
    tracker = ResponseTracker(True)
    tracker.begin(response.QUERY)
    tracker.feed(packet(1, b"\xfbfile"))
    with pytest.raises(ServerProtocolError, match="local file"):
        tracker.feed(framed(ok_packet(AUTOCOMMIT)))


# -- definitions that are left out


def optional(deprecate_eof: bool, kind: int) -> ResponseTracker:
    tracker = ResponseTracker(deprecate_eof)
    tracker.optional = True
    tracker.begin(kind)
    return tracker


def middle(deprecate_eof: bool) -> list[bytes]:
    """What follows definitions, and so their place."""
    return [] if deprecate_eof else [eof_packet(AUTOCOMMIT)]


def last(deprecate_eof: bool, status: int = AUTOCOMMIT) -> bytes:
    return ok_packet(status, header=0xFE) if deprecate_eof else eof_packet(status)


PREPARED = b"\x00\x07\x00\x00\x00"


@pytest.mark.parametrize("count", [b"\x02", b"\xfc\x2c\x01"])
@given(deprecate_eof=st.booleans(), at=st.lists(st.integers(0, 200)), described=st.booleans())
def test_results_with_and_without_definitions_are_followed(
    count: bytes, deprecate_eof: bool, at: list[int], described: bool
) -> None:
    columns = 2 if len(count) == 1 else 300
    definitions = [DEFINITION + bytes((n % 256,)) for n in range(columns)]
    first = [count + bytes((described,)), *(definitions if described else []), *middle(deprecate_eof)]
    rows = [b"\x01a\x01b"] * 3
    data = framed(*first, *rows, last(deprecate_eof, AUTOCOMMIT | MORE), *first, *rows, last(deprecate_eof))
    tracker = optional(deprecate_eof, response.QUERY)
    tracker.keeps = True
    assert end_of(tracker, cuts(data, [place % len(data) for place in at])) == len(data)
    assert (tracker.rows, tracker.first, tracker.described) == (6, count[0], described)
    assert tracker.definitions == (definitions * 2 if described else [])
    assert tracker.status == AUTOCOMMIT


@pytest.mark.parametrize(("columns", "parameters"), [(0, 0), (2, 0), (0, 2), (2, 3)])
@pytest.mark.parametrize("flag", [b"", b"\x00", b"\x01"], ids=["MariaDB", "none", "all"])
@given(deprecate_eof=st.booleans(), at=st.lists(st.integers(0, 200)))
def test_answers_to_prepare_with_and_without_definitions_are_followed(
    columns: int, parameters: int, flag: bytes, deprecate_eof: bool, at: list[int]
) -> None:
    parts = [PREPARED + bytes((columns, 0, parameters, 0, 0, 0, 0)) + flag]
    for count in (parameters, columns):
        if count:
            parts += [DEFINITION] * (0 if flag == b"\x00" else count) + middle(deprecate_eof)
    data = framed(*parts)
    tracker = optional(deprecate_eof, response.PREPARE)
    assert end_of(tracker, cuts(data, [place % len(data) for place in at])) == len(data)
    assert (tracker.statement_id, tracker.columns, tracker.parameters) == (7, columns, parameters)


def test_an_optional_cursor_ends_without_rows() -> None:
    status = AUTOCOMMIT | SERVER_STATUS_CURSOR_EXISTS
    for deprecate_eof in (True, False):
        data = framed(b"\x02\x00", last(deprecate_eof, status))
        assert optional(deprecate_eof, response.CURSOR).feed(data) == len(data)


@pytest.mark.parametrize("count", [b"\x02", b"\x02\x01\x00", b"\xfc\x2c\x01"])
def test_a_number_of_columns_without_its_flag_is_no_reply(count: bytes) -> None:
    with pytest.raises(ServerProtocolError):
        optional(False, response.QUERY).feed(framed(count, DEFINITION))
