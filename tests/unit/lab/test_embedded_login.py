import asyncio

import pytest

from sqlproxy.door import ConnectionGone, Packets
from sqlproxy.errors import AccessDenied, PacketTooLarge, ProtocolError
from sqlproxy.lab.embedded_login import CAPABILITIES, login
from sqlproxy.wire import native_password
from sqlproxy.wire.codec import packet
from sqlproxy.wire.constants import CLIENT_PLUGIN_AUTH, NATIVE
from sqlproxy.wire.handshake import Greeting, HandshakeResponse

USERS = {"app": "app", "root": ""}


class Writer:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.sent = bytearray()

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        return None

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 5) if name == "peername" else None


def stream(data: bytes = b"", *, end: bool = True) -> tuple[Packets, asyncio.StreamReader, Writer]:
    reader, writer = asyncio.StreamReader(), Writer()
    reader.feed_data(data)
    if end:
        reader.feed_eof()
    return Packets(reader, writer), reader, writer  # type: ignore[arg-type]


async def log_in(user: bytes, password: bytes, plugin: str = NATIVE) -> HandshakeResponse:
    """Log in as a client that computes its reply from the greeting."""
    packets, reader, writer = stream(end=False)
    work = asyncio.create_task(login(packets, 7, "v", USERS))
    await asyncio.sleep(0)  # runs the login up to its first read
    greeting = Greeting.parse(bytes(writer.sent[4:]))
    reply = native_password.reply(native_password.stage1(password), greeting.scramble) if password else b""
    first = reply if plugin == NATIVE else b"something else"
    capabilities = CAPABILITIES | CLIENT_PLUGIN_AUTH
    reader.feed_data(packet(1, HandshakeResponse(capabilities, user, first, plugin=plugin).encode()))
    if plugin != NATIVE:
        reader.feed_data(packet(3, reply))
    return await work


@pytest.mark.parametrize("plugin", [NATIVE, "caching_sha2_password"])
async def test_the_right_password_logs_in(plugin: str) -> None:
    assert (await log_in(b"app", b"app", plugin)).username == b"app"


async def test_an_empty_password_logs_in_where_there_is_none() -> None:
    assert (await log_in(b"root", b"")).username == b"root"


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [
        (b"app", b"wrong", "Access denied for user 'app'@'localhost' (using password: YES)"),
        (b"app", b"", "Access denied for user 'app'@'localhost' (using password: NO)"),
        (b"nobody", b"app", "Access denied for user 'nobody'@'localhost' (using password: YES)"),
        (b"root", b"guess", "Access denied for user 'root'@'localhost' (using password: YES)"),
        (b"\xff", b"app", "Access denied for user '\ufffd'@'localhost' (using password: YES)"),
    ],
)
async def test_anything_else_is_denied_in_the_same_words(user: bytes, password: bytes, words: str) -> None:
    with pytest.raises(AccessDenied) as denied:
        await log_in(user, password)
    assert denied.value.message == words


async def test_a_user_name_without_nul_is_refused() -> None:
    head = HandshakeResponse(CAPABILITIES, b"").head()
    packets, _, _ = stream(packet(1, head + b"app"))
    with pytest.raises(ProtocolError, match="user name"):
        await login(packets, 1, "v", USERS)


async def test_a_client_that_leaves_during_the_login_is_gone() -> None:
    packets, _, _ = stream(packet(1, b"x" * 40)[:20])
    with pytest.raises(ConnectionGone):
        await login(packets, 1, "v", USERS)


async def test_packets_are_limited_and_numbered() -> None:
    packets, _, _ = stream(packet(0, b"x" * 11))
    packets.limit = 10
    with pytest.raises(PacketTooLarge):
        await packets.read()
    packets, _, _ = stream(packet(3, b"x"))
    with pytest.raises(ProtocolError, match="out of order"):
        await packets.read()


async def test_payloads_of_16_mib_continue_in_the_next_packet() -> None:
    whole = b"x" * 0xFFFFFF
    packets, _, writer = stream(packet(0, whole) + packet(2, b"y"))
    packets.limit = 1 << 25
    assert await packets.read() == whole
    assert await packets.read() == b"y"
    packets.reset_seq()
    await packets.write(whole)
    await packets.write(b"z")
    assert bytes(writer.sent[-9:]) == b"\0\0\0\x01\x01\0\0\x02z"
