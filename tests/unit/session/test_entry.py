"""Logins packet by packet: what a client reads, whatever pieces it sends, and what is left when it does not come in."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.accounts.registry import AccountRegistry
from sqlproxy.accounts.throttle import Throttle
from sqlproxy.config import AccountsConfig
from sqlproxy.session import entry as module
from sqlproxy.session.entry import Entry
from sqlproxy.topology.model import Role
from sqlproxy.wire import codec, native_password
from sqlproxy.wire import constants as c
from sqlproxy.wire.auth import Method
from sqlproxy.wire.handshake import Greeting, HandshakeResponse
from sqlproxy.wire.packets import auth_switch_packet
from tests.support.fakes import (
    CAPABILITIES,
    Bench,
    FakeServer,
    FakeTransport,
    command,
    err,
    error_in,
    is_ok,
    packets,
    query,
    settle,
)
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]

HASH = native_password.stored_hash(b"secret").encode()
PLAIN = CAPABILITIES & ~(c.CLIENT_COMPRESS | c.CLIENT_ZSTD_COMPRESSION_ALGORITHM)
NOBODY: Any = None  # in place of a socket


class Stage(FakeTransport):
    """The first transport of a connection."""

    most = -1
    bare: Any = None  # the socket, once it was given away

    def receive_at_most(self, size: int) -> None:
        self.most = size

    def detach(self) -> socket.socket:
        self.bare = Bare()
        return self.bare  # type: ignore[no-any-return]


class Bare:
    """A socket that nobody owns."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Visitor:
    """A client that has just connected, from its own end."""

    def __init__(self, b: Bench, address: str = "10.1.2.3") -> None:
        self.entries: set[Entry] = set()
        self.entry = Entry(b.service, address, 4711, self.entries)
        self.entry.begin(NOBODY)
        self.client = self.entry.client
        transport = self.client._transport
        assert isinstance(transport, Stage)
        self.stage = transport
        self.greeting = self.take()

    def take(self) -> bytes:
        data = bytes(self.stage.written)
        self.stage.written.clear()
        return data

    def response(self, password: bytes = b"secret", user: bytes = b"app") -> bytes:
        """The packet with which it logs in."""
        scramble = Greeting.parse(self.greeting[4:]).scramble
        answer = native_password.reply(native_password.stage1(password), scramble)
        return codec.packet(1, HandshakeResponse(PLAIN, user, answer, None, c.NATIVE).encode())

    def send(self, data: bytes, cut: int = 0) -> None:
        for start in range(0, len(data), cut or len(data)):
            self.stage.protocol.data_received(data[start : start + (cut or len(data))])


@pytest.fixture
def door(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """Makes benches that let 'app' in with its password."""

    def receive(sock: socket.socket, protocol: Any, at_most: int) -> Stage:
        stage = Stage(protocol)
        stage.most = at_most
        protocol.connection_made(stage)
        return stage

    monkeypatch.setattr(module, "receive", receive)

    def make(*names: str, **config: Any) -> Bench:
        b = bench(*names, **config)
        b.version = "10.11.0-MariaDB"
        b.publish()
        registry = AccountRegistry(AccountsConfig(source="static"), "", "", b.publisher, [])
        registry.accounts = Accounts((Account("app", "%", (Method(c.NATIVE, HASH),)),))
        b.service.accounts = registry
        b.service.throttle = Throttle(3, 60.0)
        return b

    return make


def ask_as_mariadb(server: FakeServer) -> None:
    """Let it ask for the answer to its greeting's scramble again at each change of user."""
    asked: set[int] = set()

    def script(connection: Any, payload: bytes) -> bytes | None:
        if payload[0] == c.COM_CHANGE_USER:
            asked.add(connection.backend.thread_id)
            return codec.packet(1, auth_switch_packet(c.NATIVE, connection.backend.scramble + b"\0"))
        if connection.backend.thread_id in asked:
            asked.discard(connection.backend.thread_id)
            return codec.packet(3, b"\x00\x00\x00\x02\x00\x00\x00")
        return None

    server.script = script


async def leave_one(b: Bench) -> None:
    """A connection in the pool."""
    visitor = Visitor(b)
    visitor.send(visitor.response())
    await settle()
    visitor.send(command(c.COM_QUIT))
    await settle()
    assert sum(stats.pooled for stats in b.service.server_stats.values()) == 1


def nothing_left(b: Bench, visitor: Visitor) -> bool:
    return not (visitor.entries or len(b.service.deadlines) or b.registry.sessions)


@pytest.mark.parametrize("cut", [0, 1, 7, 36])
@virtual
async def test_a_login_and_the_commands_behind_it_may_come_in_any_pieces(door: MakeBench, cut: int) -> None:
    b = door()
    visitor = Visitor(b)
    assert len(visitor.entries) == 1
    visitor.send(visitor.response() + query("INSERT INTO t VALUES (1)") + query("INSERT INTO t VALUES (2)"), cut)
    await settle()
    assert [payload[0] for payload in packets(visitor.take())] == [c.OK] * 3
    assert b.fleet.committed == [1, 2]
    assert not visitor.entries
    assert not len(b.service.deadlines)
    assert list(b.registry.sessions) == [Greeting.parse(visitor.greeting[4:]).connection_id]


@pytest.mark.parametrize("repeats", [False, True])
@virtual
async def test_a_connection_of_the_pool_is_taken_without_a_task(door: MakeBench, repeats: bool) -> None:
    b = door("n1", pooled=5)
    await leave_one(b)
    ask_as_mariadb(b.fleet["n1"])
    b.fleet["n1"].live[0].backend.repeats_scramble = repeats
    visitor = Visitor(b)
    visitor.send(visitor.response())
    assert visitor.entry._relogin is not None
    assert visitor.entry._task is None
    await settle()
    assert is_ok(visitor.take())
    assert (b.service.server_stats["n1"].reused, b.open_connections()) == (1, 1)
    visitor.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    assert b.fleet.committed == [1]


@virtual
async def test_the_pool_has_not_the_last_word(door: MakeBench) -> None:
    b = door("n1", pooled=5)
    await leave_one(b)
    b.fleet["n1"].script = lambda connection, payload: (
        err(1045, "Access denied") if payload[0] == c.COM_CHANGE_USER else None
    )
    visitor = Visitor(b)
    visitor.send(visitor.response())
    await settle()
    assert is_ok(visitor.take())
    assert (b.service.server_stats["n1"].reused, b.open_connections()) == (0, 1)


@virtual
async def test_a_pooled_connection_that_does_not_answer_is_not_waited_for_longer_than_others(door: MakeBench) -> None:
    b = door("n1", pooled=5)
    await leave_one(b)
    b.fleet["n1"].script = lambda connection, payload: b"" if payload[0] == c.COM_CHANGE_USER else None
    visitor = Visitor(b)
    visitor.send(visitor.response())
    await settle(b.service.config.connect_timeout + 0.5)
    assert is_ok(visitor.take())
    assert not b.service.pools["n1"].joining


@virtual
async def test_a_server_that_leaves_use_meanwhile_is_left(door: MakeBench) -> None:
    b = door("n1", "n2", pooled=5)
    await leave_one(b)
    b.fleet["n2"].script = lambda connection, payload: b"" if payload[0] == c.COM_CHANGE_USER else None
    visitor = Visitor(b)
    visitor.send(visitor.response())
    await settle()
    assert b.service.opening("n2") == 1
    b.publish(n2=Role.DOWN)
    await settle()
    assert is_ok(visitor.take())
    assert list(visitor.client.session.backends) == ["n1"]


@pytest.mark.parametrize("pooled", [False, True])
@virtual
async def test_a_client_that_goes_before_its_session_begins_leaves_nothing(door: MakeBench, pooled: bool) -> None:
    b = door("n1", pooled=5)
    if pooled:
        await leave_one(b)
        b.fleet["n1"].script = lambda connection, payload: b"" if payload[0] == c.COM_CHANGE_USER else None
    visitor = Visitor(b)
    visitor.send(visitor.response())
    visitor.stage.close()
    await settle()
    assert nothing_left(b, visitor)
    assert b.open_connections() == 0
    assert b.service.stats.client_errors == 1


@pytest.mark.parametrize("sent", [b"", b"\x20"])
@virtual
async def test_a_client_that_says_too_little_is_shut_out_in_time(door: MakeBench, sent: bytes) -> None:
    b = door(login_timeout="5s")
    visitor = Visitor(b)
    visitor.stage.protocol.data_received(sent)
    await settle(4.9)
    assert not visitor.stage.aborted
    await settle(0.5)
    assert visitor.stage.aborted
    assert nothing_left(b, visitor)
    assert b.service.stats.client_errors == 1


@pytest.mark.parametrize(("user", "password"), [(b"app", b"wrong"), (b"nobody", b"secret")])
@virtual
async def test_who_is_refused_reads_why(door: MakeBench, user: bytes, password: bytes) -> None:
    b = door()
    visitor = Visitor(b)
    visitor.send(visitor.response(password, user))
    await settle()
    answer = visitor.take()
    assert error_in(answer) == (1045, f"Access denied for user '{user.decode()}'@'10.1.2.3' (using password: YES)")
    assert answer[3] == 2
    assert visitor.stage.closing
    assert nothing_left(b, visitor)
    assert b.service.stats.logins_failed == 1


@virtual
async def test_who_may_not_even_try_reads_it_in_place_of_the_greeting(door: MakeBench) -> None:
    b = door(max_connections=1)
    b.client()
    visitor = Visitor(b)
    assert visitor.greeting[3:7] == b"\x00\xff" + (1040).to_bytes(2, "little")
    assert visitor.greeting.endswith(b"Too many connections")
    assert visitor.stage.closing
    assert not visitor.entries


@virtual
async def test_clients_that_were_greeted_together_are_not_more_than_may_come_in(door: MakeBench) -> None:
    b = door(max_connections=2)
    visitors = [Visitor(b) for _ in range(5)]
    for visitor in visitors:
        visitor.send(visitor.response())
    await settle()
    answers = [visitor.take() for visitor in visitors]
    assert sum(map(is_ok, answers)) == b.service.stats.sessions == len(b.registry.sessions) == 2
    assert [error_in(answer) for answer in answers if not is_ok(answer)] == [(1040, "Too many connections")] * 3
    assert sum(stats.connections for stats in b.service.server_stats.values()) == 2
    assert not any(visitor.entries or len(b.service.deadlines) for visitor in visitors)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"\x00\x00\x03\x01", "a login of 196608 bytes"),
        (codec.packet(1, (c.CLIENT_PROTOCOL_41 | c.CLIENT_SSL).to_bytes(4, "little") + bytes(28)), "asks for TLS"),
        (codec.packet(1, b"\x00\x02"), "truncated"),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + codec.packet(1, bytes(4)), "does not list"),
        (b"PROXY \n nonsense", "malformed PROXY"),
    ],
)
@virtual
async def test_bytes_that_are_no_login_are_refused_in_words(door: MakeBench, sent: bytes, text: str) -> None:
    b = door()
    visitor = Visitor(b)
    visitor.send(sent)
    await settle()
    assert text in packets(visitor.take())[0].decode("latin-1")
    assert nothing_left(b, visitor)
    assert b.service.stats.client_errors == 1


@pytest.mark.parametrize("cut", [0, 1, 5])
@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 192.0.2.8 5000 4006\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x08\x13\x88\x0f\xa6",
    ],
)
@virtual
async def test_a_header_tells_who_the_client_is_in_any_pieces(door: MakeBench, header: bytes, cut: int) -> None:
    b = door(proxy_protocol_networks=["10.1.2.0/24"])
    visitor = Visitor(b)
    visitor.send(header + visitor.response() + query("INSERT INTO t VALUES (1)"), cut)
    await settle()
    assert [payload[0] for payload in packets(visitor.take())] == [c.OK] * 2
    assert (visitor.client.address, visitor.client.port) == ("192.0.2.7", 5000)


@virtual
async def test_no_byte_that_may_belong_to_tls_is_taken(door: MakeBench) -> None:
    b = door()
    b.service.tls = object()  # type: ignore[assignment]
    visitor = Visitor(b)
    assert visitor.stage.most == 36
    response = visitor.response()
    visitor.send(response[:10])
    assert visitor.stage.most == 26
    visitor.send(response[10:36])
    assert visitor.stage.most == 0
    visitor.send(response[36:])
    await settle()
    assert is_ok(visitor.take())


@virtual
async def test_that_holds_too_while_a_header_may_come(door: MakeBench) -> None:
    b = door(proxy_protocol_networks=["10.1.2.0/24"])
    b.service.tls = object()  # type: ignore[assignment]
    visitor = Visitor(b)
    response = visitor.response()
    visitor.send(response[:3])
    assert visitor.stage.most == 33
    visitor.send(response[3:36])
    assert visitor.stage.most == 0


@virtual
async def test_nothing_sent_in_clear_passes_for_what_came_inside_tls(door: MakeBench) -> None:
    b = door()
    b.service.tls = object()  # type: ignore[assignment]
    visitor = Visitor(b)
    request = codec.packet(1, (c.CLIENT_PROTOCOL_41 | c.CLIENT_SSL).to_bytes(4, "little") + bytes(28))
    visitor.send(request + visitor.response())
    await settle()
    assert "bytes in clear follow the request for TLS" in packets(visitor.take())[0].decode("latin-1")
    assert nothing_left(b, visitor)


@virtual
async def test_a_socket_is_bare_as_soon_as_tls_is_asked_for_and_closed_when_it_comes_to_nothing(
    door: MakeBench,
) -> None:
    b = door()
    b.service.tls = object()  # type: ignore[assignment]
    visitor = Visitor(b)
    visitor.send(codec.packet(1, (c.CLIENT_PROTOCOL_41 | c.CLIENT_SSL).to_bytes(4, "little") + bytes(28)))
    assert visitor.stage.bare is not None
    await visitor.entry.given_up()
    assert visitor.stage.bare.closed
    assert nothing_left(b, visitor)


@virtual
async def test_logins_under_way_can_be_given_up(door: MakeBench) -> None:
    b = door()
    visitor = Visitor(b)
    visitor.send(visitor.response())
    await visitor.entry.given_up()
    await settle()
    assert visitor.stage.aborted
    assert nothing_left(b, visitor)
    assert b.open_connections() == 0
