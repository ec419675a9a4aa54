"""Bytes that are no MySQL protocol, in every phase: answered or dropped, and nobody else notices."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from tests.support.mysqlclient import ask
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import BASE, LOCAL_FILES, RawClient, logged_in, raw, said
from tests.support.waiting import wait_until

BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ID = b"\1\0\0\0"
COMMANDS = {
    "query": b"\x03SELECT 'whole', 1 /* comment */",
    "init db": b"\x02app",
    "field list": b"\x04fields\0%",
    "prepare": b"\x16SELECT ?, ?",
    "execute": b"\x17" + ID + b"\0\1\0\0\0\0\1\xfd\0\3\0\3abc\7\0\0\0",
    "fetch": b"\x1c" + ID + b"\5\0\0\0",
    "reset statement": b"\x1a" + ID,
    "close statement": b"\x19" + ID,
    "long data": b"\x18" + ID + b"\0\0data",
    "set option": b"\x1b\0\0",
    "process kill": b"\x0c\xff\xff\xff\x7f",
    "change user": b"\x11app\0\0app\0\x2d\0mysql_native_password\0\5\1a\1b\1",
    "reset connection": b"\x1f",
    "ping": b"\x0e",
    "quit": b"\x01",
}


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    ask(mariadb.port, "CREATE OR REPLACE TABLE fields (id INT PRIMARY KEY, name VARCHAR(20) DEFAULT 'x')")
    directory = tmp_path_factory.mktemp("bad")
    service = 'login_timeout = "2s"\nmax_allowed_packet = "1MiB"'
    with running_proxy(directory, {"n1": mariadb.port}, service=service, extra="[accounts]\nmax_failures = 0") as proxy:
        yield proxy
        assert_no_internal_error(proxy)


@pytest.fixture(scope="module")
def witness(proxy: Proxy) -> Iterator[RawClient]:
    """A session in a transaction, from the first test to the last."""
    with logged_in(proxy.port) as client:
        client.query("SET @mark = 'undisturbed'")
        yield client


@pytest.fixture(autouse=True)
def undisturbed(proxy: Proxy, witness: RawClient) -> Iterator[None]:
    """After every test the witness's session is as it was, and new clients are let in."""
    yield
    assert witness.value("SELECT @mark") == b"undisturbed"
    with logged_in(proxy.port) as client:
        assert client.value("SELECT 1") == b"1"
    assert_no_internal_error(proxy)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def drain(sock: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    data = b""
    try:
        while part := sock.recv(1 << 16):
            data += part
    except ConnectionError:
        pass
    return data


def half_close(sock: socket.socket) -> None:
    """Say that nothing more comes, unless the other side has closed already."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def sessions(proxy: Proxy) -> int:
    return len(proxy.get("/v1/sessions"))


# -- the login


def response(proxy: Proxy) -> bytes:
    """A handshake response with everything in it; its auth response belongs to another greeting."""
    with raw(proxy.port, BASE | c.CLIENT_CONNECT_ATTRS) as client:
        return client.response("app", "app", "app").encode()[:-1] + b"\x08\3key\3val"


def test_every_truncation_of_a_handshake_response_is_refused(proxy: Proxy) -> None:
    whole = response(proxy)
    for size in range(len(whole)):
        with raw(proxy.port) as client:
            client.send(whole[:size], 1)
            answer = client.read()
            assert answer[0] in (c.ERR, c.AUTH_SWITCH), (size, answer)
            if answer[0] == c.ERR:
                assert client.is_closed()


def test_every_truncation_of_a_handshake_response_in_a_whole_frame_ends_with_the_client(proxy: Proxy) -> None:
    whole = codec.packet(1, response(proxy))
    before = sessions(proxy)
    for size in range(0, len(whole), 5):
        with raw(proxy.port) as client:
            client.socket.sendall(whole[:size])
    wait_until(lambda: sessions(proxy) == before)


@BOUNDED
@given(st.binary(max_size=300))
def test_any_bytes_as_handshake_response_are_refused(proxy: Proxy, payload: bytes) -> None:
    with raw(proxy.port) as client:
        client.send(payload, 1)
        answer = client.read() if not is_ssl(payload) else b"\xff"
        assert answer[0] in (c.ERR, c.AUTH_SWITCH)


def is_ssl(payload: bytes) -> bool:
    return len(payload) == 32 and bool(int.from_bytes(payload[:4], "little") & c.CLIENT_SSL)


@BOUNDED
@given(st.data())
def test_a_handshake_response_with_changed_bytes_lets_nobody_in(proxy: Proxy, data: st.DataObject) -> None:
    with raw(proxy.port) as client:
        payload = bytearray(client.response("app", "wrong", "app").encode())
        for _ in range(data.draw(st.integers(1, 4))):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        payload[1] &= ~(c.CLIENT_SSL >> 8)  # it would announce a TLS handshake
        client.send(bytes(payload), 1)
        assert client.read()[0] in (c.ERR, c.AUTH_SWITCH)


@BOUNDED
@given(st.binary(min_size=4, max_size=400))
def test_any_bytes_instead_of_a_login_end_the_connection(proxy: Proxy, junk: bytes) -> None:
    with connect(proxy) as sock:
        sock.sendall(junk)
        half_close(sock)
        drain(sock)


@pytest.mark.parametrize("length", [1 << 17, 1 << 20, c.MAX_PAYLOAD])
def test_an_oversized_login_is_refused_before_it_has_come(proxy: Proxy, length: int) -> None:
    with raw(proxy.port) as client:
        client.socket.sendall((length + (length < c.MAX_PAYLOAD)).to_bytes(3, "little") + b"\1")
        code, _, text = said(client.read())
        assert code == 1835
        assert "malformed packet: a login of" in text
        assert client.is_closed()


def test_an_oversized_packet_later_in_the_login_ends_it(proxy: Proxy) -> None:
    with raw(proxy.port) as client:
        client.send(client.response("app", "app", plugin="caching_sha2_password").encode(), 1)
        client.read()
        client.socket.sendall(b"\xff\xff\xff\x03" + b"x" * 1000)
        assert client.is_closed()


@pytest.mark.parametrize("seq", [0, 2, 77, 255])
def test_a_wrong_sequence_id_in_the_login_does_no_harm(proxy: Proxy, seq: int) -> None:
    with raw(proxy.port) as client:
        client.send(client.response("app", "wrong").encode(), seq)
        assert client.read()[0] == c.ERR


@pytest.mark.parametrize("junk", [b"", b"\x16\x03\x01\0\x05hello", b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n" * 10])
def test_junk_instead_of_a_tls_handshake_ends_the_connection(proxy: Proxy, junk: bytes) -> None:
    with raw(proxy.port) as client:
        head = struct.pack("<IIB23s", BASE | c.CLIENT_SSL, 1 << 24, 45, b"")
        client.send(head, 1)
        client.socket.sendall(junk)
        half_close(client.socket)
        assert client.is_closed()


def test_a_login_inside_tls_is_refused_alike(proxy: Proxy) -> None:
    with raw(proxy.port) as client:
        client.start_tls()
        client.send(b"\0" * 40, 2)
        assert client.read()[0] == c.ERR


def close_at_once(client: RawClient) -> None:
    pass


def close_after_a_byte(client: RawClient) -> None:
    client.socket.sendall(b"\x40")


def close_in_the_payload(client: RawClient) -> None:
    client.socket.sendall(b"\x40\0\0\1half")


def close_after_the_header(client: RawClient) -> None:
    client.socket.sendall(b"\x40\0\0\1")


def close_after_ssl_request(client: RawClient) -> None:
    client.send(struct.pack("<IIB23s", BASE | c.CLIENT_SSL, 1 << 24, 45, b""), 1)


def close_in_tls(client: RawClient) -> None:
    client.start_tls()


def close_during_authentication(client: RawClient) -> None:
    client.send(client.response("app", "app", plugin="caching_sha2_password").encode(), 1)
    client.read()


def close_before_the_ok(client: RawClient) -> None:
    client.send(client.response("app", "app").encode(), 1)


def close_before_the_reply(client: RawClient) -> None:
    client.log_in()
    client.send(b"\x03SELECT SLEEP(0.2)")


def close_in_the_reply(client: RawClient) -> None:
    client.log_in(database="app")
    client.send(b"\x03SELECT REPEAT('x', 1000000) FROM seq_1_to_50")
    client.read_exactly(100)


def close_in_a_command(client: RawClient) -> None:
    client.log_in()
    client.socket.sendall(b"\x40\0\0\0\x03SELECT")


def close_in_an_upload(client: RawClient) -> None:
    client.capabilities = LOCAL_FILES
    client.log_in(database="app")
    client.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE fields")
    client.socket.sendall(b"\x40\0\0\x02part")


def close_in_change_user(client: RawClient) -> None:
    client.log_in()
    client.command(b"\x11app\0\0app\0\x2d\0mysql_native_password\0")


PHASES = [
    close_at_once,
    close_after_the_header,
    close_after_ssl_request,
    close_in_tls,
    close_during_authentication,
    close_before_the_ok,
    close_before_the_reply,
    close_in_the_reply,
    close_in_a_command,
    close_in_an_upload,
    close_in_change_user,
]


SLOW = [close_at_once, close_after_a_byte, close_after_the_header, close_in_the_payload]
SLOW += [close_after_ssl_request, close_during_authentication]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_client_may_leave_in_any_phase(
    mariadb: SingleServer, proxy: Proxy, phase: Callable[[RawClient], None], reset: bool
) -> None:
    before = sessions(proxy)
    with raw(proxy.port) as client:
        phase(client)
        if reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: sessions(proxy) == before, 30, "the session is gone")
    wait_until(lambda: in_use(mariadb, proxy) <= before, 30, "its connection to the server is gone or in the pool")


def in_use(server: SingleServer, proxy: Proxy) -> int:
    """Connections to the server that are not kept for the next session."""
    there = int(server.query("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'")[0][0])
    return there - int(proxy.servers()["n1"]["pooled"])


def test_a_login_that_takes_too_long_is_ended_wherever_it_stands(proxy: Proxy) -> None:
    with ExitStack() as stack:
        waiting = {}
        for phase in SLOW:
            client = waiting[phase] = stack.enter_context(raw(proxy.port))
            phase(client)
        for phase, client in waiting.items():
            assert client.is_closed(), phase.__name__


def test_a_half_open_client_is_let_go_when_it_has_nothing_more_to_say(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        half_close(client.socket)
        assert client.is_closed()


# -- commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_truncation_of_a_command_is_answered_or_ends_the_session(proxy: Proxy, name: str) -> None:
    command = COMMANDS[name]
    for size in range(1, len(command) + 1):
        with logged_in(proxy.port) as client:
            client.prepare("SELECT ?, ?")
            client.send(command[:size])
            client.send(b"\x0e")
            half_close(client.socket)
            drain(client.socket)


@BOUNDED
@given(st.binary(min_size=1, max_size=60).filter(lambda payload: payload[0] != c.COM_QUERY))
def test_any_command_is_answered_or_ends_the_session(proxy: Proxy, payload: bytes) -> None:
    with logged_in(proxy.port) as client:
        client.prepare("SELECT ?, ?")
        client.send(payload)
        half_close(client.socket)
        drain(client.socket)


@BOUNDED
@given(st.binary(max_size=60), st.integers(0, 20))
def test_any_execution_is_answered_or_ends_the_session(proxy: Proxy, tail: bytes, cut: int) -> None:
    whole = COMMANDS["execute"]
    with logged_in(proxy.port) as client:
        client.prepare("SELECT ?, ?")
        client.send(whole[: len(whole) - cut] + tail)
        half_close(client.socket)
        drain(client.socket)


@BOUNDED
@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_in_the_command_phase_are_answered_or_end_the_session(proxy: Proxy, junk: bytes) -> None:
    with logged_in(proxy.port) as client:
        client.socket.sendall(junk)
        half_close(client.socket)
        drain(client.socket)


@BOUNDED
@given(st.binary(max_size=60))
def test_any_bytes_as_a_query_are_the_servers_business(proxy: Proxy, text: bytes) -> None:
    with logged_in(proxy.port) as client:
        client.send(b"\x03" + text)
        assert client.read()


def test_an_empty_packet_is_refused(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        client.socket.sendall(b"\0\0\0\0")
        assert said(client.read())[2] == "malformed packet: a command without a single byte"
        assert client.is_closed()


@pytest.mark.parametrize("seq", [1, 2, 200, 255])
def test_a_wrong_sequence_id_is_refused(proxy: Proxy, seq: int) -> None:
    with logged_in(proxy.port) as client:
        client.socket.sendall(b"\1\0\0" + bytes((seq,)) + b"\x0e")
        code, sqlstate, _ = said(client.read())
        assert (code, sqlstate) == (1156, "08S01")
        assert client.is_closed()


def test_a_continued_packet_out_of_order_is_refused(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        client.query("SET @x = 1")
        client.socket.sendall(b"\5\0\0\0\x03SE\0\0" + b"\1\0\0\7\x0e")
        packets = drain(client.socket)
        assert b"Got packets out of order" in packets


def test_a_command_byte_by_byte_is_a_command(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        for byte in codec.packet(0, COMMANDS["query"]):
            client.socket.sendall(bytes((byte,)))
        assert client.read_reply()[-2] == b"\5whole\x011"
