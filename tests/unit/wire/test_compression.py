"""The compressed protocol: bytes come out as they went in, frames are numbered as peers expect."""

from __future__ import annotations

import zlib
from contextlib import suppress
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ProtocolError
from sqlproxy.wire import codec
from sqlproxy.wire.compression import FRAME_HEADER, THRESHOLD, Algorithm, CompressedStream, Zlib, chosen
from sqlproxy.wire.constants import CLIENT_COMPRESS, CLIENT_ZSTD_COMPRESSION_ALGORITHM, MAX_PAYLOAD
from sqlproxy.wire.zstd import Zstd


def frames(data: bytes) -> list[tuple[int, int, bytes]]:
    """Sequence id, announced size and body of each."""
    found = []
    while data:
        end = FRAME_HEADER + int.from_bytes(data[:3], "little")
        found.append((data[3], int.from_bytes(data[4:7], "little"), data[FRAME_HEADER:end]))
        data = data[end:]
    return found


def seqs(data: bytes) -> list[int]:
    return [seq for seq, _, _ in frames(data)]


@pytest.mark.parametrize("algorithm", [Zlib(), Zstd(1), Zstd(22)], ids=["zlib", "zstd", "zstd 22"])
@given(st.lists(st.binary(max_size=300).map(lambda b: b * 3), max_size=5), st.lists(st.integers(0, 5000)))
def test_what_goes_in_comes_out_however_it_is_cut(algorithm: Algorithm, parts: list[bytes], cuts: list[int]) -> None:
    client, server = CompressedStream(algorithm, serving=False), CompressedStream(algorithm, serving=True)
    sent = b"".join(client.encode(part) for part in parts)
    bounds = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
    assert b"".join(server.decode(sent[a:b]) for a, b in pairwise(bounds)) == b"".join(parts)


def test_short_and_dense_data_is_sent_as_it_is() -> None:
    stream = CompressedStream(Zlib(), serving=False)
    dense = zlib.compress(bytes(range(256)) * 4, 9)[:THRESHOLD]
    for data in (b"a" * (THRESHOLD - 1), dense):
        [(_, size, body)] = frames(stream.encode(data))
        assert (size, body) == (0, data)
    [(_, size, body)] = frames(stream.encode(b"a" * THRESHOLD))
    assert size == THRESHOLD
    assert zlib.decompress(body) == b"a" * THRESHOLD


def test_more_than_a_frame_holds_is_cut() -> None:
    data = b"a" * (MAX_PAYLOAD + 1)
    client, server = CompressedStream(Zlib(), serving=False), CompressedStream(Zlib(), serving=True)
    sent = client.encode(data)
    assert [size for _, size, _ in frames(sent)] == [MAX_PAYLOAD, 0]
    assert server.decode(sent) == data


def test_a_command_begins_at_zero_and_its_reply_goes_on() -> None:
    client, server = CompressedStream(Zlib(), serving=False), CompressedStream(Zlib(), serving=True)
    for _ in range(3):
        command = client.encode(codec.packet(0, b"\x03SELECT 1"))
        assert seqs(command) == [0]
        server.decode(command)
        reply = server.encode(codec.packet(1, b"\x01")) + server.encode(codec.packet(2, b"row"))
        assert seqs(reply) == [1, 2]
        client.decode(reply)


def test_an_upload_goes_on_after_the_request_for_it() -> None:
    client, server = CompressedStream(Zlib(), serving=False), CompressedStream(Zlib(), serving=True)
    server.decode(client.encode(codec.packet(0, b"\x03LOAD DATA")))
    client.decode(server.encode(codec.packet(1, b"\xfbname")))
    uploaded = [client.encode(codec.packet(seq, b"line")) for seq in range(2, 600)]
    assert [seqs(part)[0] for part in uploaded] == [seq & 0xFF for seq in range(2, 600)]


def test_commands_that_wait_behind_one_another_are_answered_from_one_on() -> None:
    client, server = CompressedStream(Zlib(), serving=False), CompressedStream(Zlib(), serving=True)
    for sql in (b"\x03SELECT 1", b"\x03SELECT 2"):
        server.decode(client.encode(codec.packet(0, sql)))
    assert seqs(server.encode(codec.packet(1, b"one"))) == [1]
    assert seqs(server.encode(codec.packet(1, b"two"))) == [1]


def test_a_long_reply_is_numbered_through() -> None:
    server = CompressedStream(Zlib(), serving=True)
    server.decode(CompressedStream(Zlib(), serving=False).encode(codec.packet(0, b"\x03SELECT")))
    rows = [server.encode(codec.packet(seq, b"row")) for seq in range(1, 700)]
    assert [seqs(row)[0] for row in rows] == [seq & 0xFF for seq in range(1, 700)]


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=6), st.lists(st.integers(0, 3000)))
def test_a_reply_is_framed_in_whole_packets(payloads: list[bytes], cuts: list[int]) -> None:
    reply = b"".join(codec.packet(seq, payload) for seq, payload in enumerate(payloads, 1))
    server = CompressedStream(Zlib(), serving=True)
    bounds = sorted({0, len(reply), *(cut % (len(reply) + 1) for cut in cuts)})
    read = b""
    for begin, end in pairwise(bounds):
        for frame in frames(server.encode(reply[begin:end])):
            body = zlib.decompress(frame[2]) if frame[1] else frame[2]
            read += body
            assert framing(body)
    assert read == reply


def framing(data: bytes) -> bool:
    """Whether these are whole packets."""
    while data:
        end = 4 + int.from_bytes(data[:3], "little")
        if len(data) < end:
            return False
        data = data[end:]
    return True


@pytest.mark.parametrize(
    "frame",
    [
        b"\x04\0\0\0\x09\0\0junk",
        b"\x0b\0\0\0\x03\0\0" + zlib.compress(b"abcd")[:11],
        len(zlib.compress(b"abcd")).to_bytes(3, "little") + b"\0\x03\0\0" + zlib.compress(b"abcd"),
        len(zlib.compress(b"abcd")).to_bytes(3, "little") + b"\0\x05\0\0" + zlib.compress(b"abcd"),
        len(zlib.compress(bytes(1 << 20))).to_bytes(3, "little") + b"\0\x05\0\0" + zlib.compress(bytes(1 << 20)),
    ],
)
def test_a_frame_that_lies_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError, match="compressed frame"):
        CompressedStream(Zlib(), serving=True).decode(frame)


def zstd_frame(body: bytes, size: int) -> bytes:
    return len(body).to_bytes(3, "little") + b"\0" + size.to_bytes(3, "little") + body


BODY = zstandard.compress(b"abcd" * 40)
UNSAID = zstandard.ZstdCompressor(write_content_size=False).compress(b"abcd" * 40)


@pytest.mark.parametrize("body", [BODY, UNSAID], ids=["size said", "size unsaid"])
def test_a_zstd_frame_holds_what_it_announces(body: bytes) -> None:
    assert CompressedStream(Zstd(3), serving=True).decode(zstd_frame(body, 160)) == b"abcd" * 40
    bomb = zstandard.compress(bytes(1 << 26))
    for bad in (
        zstd_frame(body, 159),
        zstd_frame(body, 161),
        zstd_frame(body[:-1], 160),
        zstd_frame(body + b"x", 160),
        zstd_frame(b"junk", 160),
        zstd_frame(bomb, 160),
    ):
        with pytest.raises(ProtocolError, match="compressed frame"):
            CompressedStream(Zstd(3), serving=True).decode(bad)


def test_zlib_goes_before_zstd() -> None:
    assert isinstance(chosen(CLIENT_COMPRESS | CLIENT_ZSTD_COMPRESSION_ALGORITHM, 3), Zlib)
    assert isinstance(chosen(CLIENT_ZSTD_COMPRESSION_ALGORITHM, 0), Zstd)
    assert chosen(0, 3) is None


@pytest.mark.parametrize("algorithm", [Zlib(), Zstd(3)], ids=["zlib", "zstd"])
@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_read_or_refused(algorithm: Algorithm, data: bytes) -> None:
    with suppress(ProtocolError):
        CompressedStream(algorithm, serving=True).decode(data)
