"""Commands and uploads come out whole, however their bytes were cut on the way."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import PacketTooLarge, ProtocolError
from sqlproxy.wire.codec import packet
from sqlproxy.wire.constants import MAX_PAYLOAD
from sqlproxy.wire.framing import PacketReader, UploadReader, payload_of
from tests.support import replies

LIMIT = 1 << 20

payloads = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8)


@st.composite
def chunked(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """``data`` cut at random places."""
    edges = [0, *sorted(draw(st.lists(st.integers(0, len(data)), max_size=12))), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def commands_of(reader: PacketReader, chunks: list[bytes]) -> list[bytes]:
    """What a session gets that asks for more after each command."""
    commands = []
    for chunk in chunks:
        command = reader.feed(chunk)
        while command is not None:
            commands.append(command)
            command = reader.next()
    return commands


@given(payloads, st.data())
def test_the_same_commands_come_out_whatever_the_cuts(contents: list[bytes], data: st.DataObject) -> None:
    commands = [packet(0, payload) for payload in contents]
    stream = b"".join(commands)
    for chunks in ([stream], [bytes((byte,)) for byte in stream], data.draw(chunked(stream)), commands):
        reader = PacketReader(LIMIT)
        assert commands_of(reader, chunks) == commands
        assert reader.buffered == 0


def test_a_chunk_that_is_one_command_is_given_back_as_it_is() -> None:
    command = packet(0, b"\x0e")
    assert PacketReader(LIMIT).feed(command) is command


@given(payloads, st.data())
def test_what_was_not_given_back_can_be_taken(contents: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(packet(0, payload) for payload in contents)
    cut = data.draw(st.integers(0, len(stream)))
    reader = PacketReader(LIMIT)
    given_back = commands_of(reader, [stream[:cut]])
    rest = reader.take_rest()
    assert b"".join(given_back) + rest == stream[:cut]
    assert reader.buffered == 0
    assert reader.feed(packet(0, b"x")) == packet(0, b"x")


@pytest.mark.parametrize("size", [MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 2 * MAX_PAYLOAD, 2 * MAX_PAYLOAD + 5])
def test_commands_of_several_packets_come_out_whole(size: int) -> None:
    payload = b"\x03" * size
    command = packet(0, payload)
    following = packet(0, b"\x0e")
    stream = command + following
    for step in (len(stream), 1 << 16, MAX_PAYLOAD + 2):
        reader = PacketReader(64 << 20)
        chunks = [stream[start : start + step] for start in range(0, len(stream), step)]
        first, second = commands_of(reader, chunks)
        assert first == command
        assert second == following
    assert payload_of(command) == payload


@given(st.binary(max_size=300))
def test_the_payload_of_a_command_in_one_packet(payload: bytes) -> None:
    assert payload_of(packet(0, payload)) == payload


@given(st.integers(0, 70), st.data())
def test_a_command_beyond_the_limit_is_refused_and_none_within(size: int, data: st.DataObject) -> None:
    command = packet(0, b"\x03" * (size + 1))
    reader = PacketReader(40)
    chunks = data.draw(chunked(command))
    if size + 1 <= 40:
        assert commands_of(reader, chunks) == [command]
        return
    with pytest.raises(PacketTooLarge, match=f"{size + 1} bytes or more is larger than max_allowed_packet .40."):
        commands_of(reader, chunks)


def test_a_command_beyond_the_limit_is_refused_by_its_header() -> None:
    with pytest.raises(PacketTooLarge) as caught:
        PacketReader(1000).feed((1001).to_bytes(3, "little") + b"\0")
    assert (caught.value.code, caught.value.sqlstate) == (1153, "08S01")


def test_the_limit_counts_the_packets_of_a_command_together() -> None:
    reader = PacketReader(MAX_PAYLOAD + 10)
    assert reader.feed(packet(0, b"x" * (MAX_PAYLOAD + 10))[: MAX_PAYLOAD + 9]) is None
    with pytest.raises(PacketTooLarge):
        PacketReader(MAX_PAYLOAD + 9).feed(packet(0, b"x" * (MAX_PAYLOAD + 10)))


@pytest.mark.parametrize("seq", [1, 2, 255])
def test_a_command_must_start_at_sequence_id_zero(seq: int) -> None:
    with pytest.raises(ProtocolError, match="Got packets out of order") as caught:
        PacketReader(LIMIT).feed(packet(seq, b"\x0e"))
    assert caught.value.code == 1156


def test_the_packets_of_a_command_must_count_up() -> None:
    reader = PacketReader(64 << 20)
    assert reader.feed(packet(0, b"x" * MAX_PAYLOAD)[:-4]) is None
    with pytest.raises(ProtocolError, match="Got packets out of order"):
        reader.feed(packet(0, b"\x0e"))
    assert reader.due == 1


def test_the_sequence_starts_again_with_each_command() -> None:
    reader = PacketReader(64 << 20)
    long = packet(0, b"x" * MAX_PAYLOAD)
    assert reader.feed(long) == long
    assert reader.feed(packet(0, b"\x0e")) == packet(0, b"\x0e")


def test_a_command_without_a_byte_is_refused() -> None:
    with pytest.raises(ProtocolError, match="without a single byte"):
        PacketReader(LIMIT).feed(bytes(4))


def upload_of(contents: list[bytes]) -> bytes:
    """The packets of an upload, sequence ids from 2 on."""
    return b"".join(packet(seq, part) for seq, part in enumerate([*contents, b""], 2))


def end_of(reader: UploadReader, chunks: list[bytes]) -> int:
    """The upload's end as an offset in the whole."""
    fed = 0
    for chunk in chunks:
        end = reader.feed(chunk)
        if end >= 0:
            return fed + end
        fed += len(chunk)
    return -1


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8), st.binary(max_size=20), st.data())
def test_an_upload_ends_at_its_empty_packet_whatever_the_cuts(
    contents: list[bytes], rest: bytes, data: st.DataObject
) -> None:
    upload = upload_of(contents)
    stream = upload + rest
    for chunks in ([stream], [bytes((byte,)) for byte in stream], data.draw(chunked(stream))):
        assert end_of(UploadReader(), chunks) == len(upload)
    assert end_of(UploadReader(), [upload[:-1]]) == -1


def test_one_reader_follows_upload_after_upload() -> None:
    reader = UploadReader()
    for upload in (upload_of([]), upload_of([b"a\tb\n"]), upload_of([b"x", b"y"])):
        assert reader.feed(upload) == len(upload)


def test_a_full_packet_and_its_empty_continuation_do_not_end_an_upload() -> None:
    upload = packet(2, b"x" * MAX_PAYLOAD) + packet(4, b"y") + packet(5, b"")
    assert UploadReader().feed(upload) == len(upload)
    for step in (1 << 16, MAX_PAYLOAD + 3):
        chunks = [upload[start : start + step] for start in range(0, len(upload), step)]
        assert end_of(UploadReader(), chunks) == len(upload)


@pytest.mark.parametrize("reply", [r for r in replies.load() if r.upload is not None], ids=lambda reply: reply.name)
def test_uploads_that_servers_took_end_where_they_ended(reply: replies.Reply) -> None:
    assert reply.upload is not None
    upload = replies.unpacked(reply.upload)
    assert UploadReader().feed(upload + b"rest") == len(upload)
