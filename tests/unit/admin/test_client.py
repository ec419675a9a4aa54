"""The CLI's HTTP client, against the real admin side on a loopback socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sqlproxy.admin.client import AdminClient, BadUrl, Refused, Unreachable, segment
from sqlproxy.admin.http import AdminServer
from sqlproxy.config import AdminConfig
from sqlproxy.topology.model import Address

from .conftest import Runtime


@pytest.fixture
async def url(runtime: Runtime) -> AsyncIterator[str]:
    server = AdminServer(runtime, AdminConfig(listen=Address(host="127.0.0.1")))
    await server.start()
    yield server.url
    await server.stop()


async def test_answers_are_decoded(url: str) -> None:
    rows = await asyncio.to_thread(AdminClient(url).get, "/v1/servers")
    assert isinstance(rows, list)
    assert rows[0]["name"] == "n1"


async def test_changes_are_sent_as_json(url: str, runtime: Runtime) -> None:
    client = AdminClient(url)
    await asyncio.to_thread(client.put, "/v1/servers/n1/state", {"state": "drain"})
    await asyncio.to_thread(client.post, "/v1/switchover", {"server": "n2"})
    await asyncio.to_thread(client.delete, "/v1/sessions/7")
    assert runtime.asked == [("n1", "drain"), ("switchover", "n2")]


async def test_queries_are_encoded(url: str, runtime: Runtime) -> None:
    await asyncio.to_thread(lambda: AdminClient(url).get("/v1/explain", sql="SELECT 'a&b=ä%'"))
    assert runtime.asked == [("SELECT 'a&b=ä%'".encode(), False)]


async def test_a_refusal_carries_the_proxys_sentence_and_hint(url: str) -> None:
    with pytest.raises(Refused) as caught:
        await asyncio.to_thread(AdminClient(url).get, f"/v1/servers/{segment('a/../b')}")
    assert caught.value.status == 404
    assert str(caught.value) == "there is no server named 'a/../b' (the servers are n1, n2, n3)"


async def test_credentials_come_from_the_url_or_as_a_token(runtime: Runtime) -> None:
    config = AdminConfig(listen=Address(host="127.0.0.1"), user="o@ps", password="p:w", token="t0ken")
    server = AdminServer(runtime, config)
    await server.start()
    host = server.url.removeprefix("http://")
    for client in (AdminClient(f"http://o%40ps:p%3Aw@{host}"), AdminClient(server.url, "t0ken")):
        assert "p:w" not in client.url
        await asyncio.to_thread(client.get, "/v1/servers")
    with pytest.raises(Refused, match="user and password"):
        await asyncio.to_thread(AdminClient(server.url).get, "/v1/servers")
    await server.stop()


async def test_a_unix_socket_is_asked_by_its_path(runtime: Runtime, tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    server = AdminServer(runtime, AdminConfig(listen=Address(path=path)))
    await server.start()
    assert isinstance(await asyncio.to_thread(AdminClient(f"unix:{path}").get, "/v1/servers"), list)
    await server.stop()


def test_nobody_at_the_address_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"^no proxy answers at {url}: Connection refused$"):
            AdminClient(url).get("/v1/servers")
    with pytest.raises(Unreachable, match=r"No such file or directory$"):
        AdminClient(f"unix:{tmp_path}/none").get("/v1/servers")


def test_a_proxy_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match=r"does not answer within 0\.05 s"):
            AdminClient(url, timeout=0.05).get("/v1/servers")


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b""])
async def test_something_else_at_the_address_is_one_sentence(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match=f"at http://127.0.0.1:{port}"):
            await asyncio.to_thread(AdminClient(f"http://127.0.0.1:{port}").get, "/v1/servers")


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8989", "ftp://u:secret@h", "http://", "http://h:x", "http://h:99999", "http://[::1", "http://h/p"],
)
def test_what_is_no_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(BadUrl) as caught:
        AdminClient(url)
    assert "secret" not in str(caught.value)


def test_a_proxy_for_http_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="does not answer within"):
            AdminClient(url, timeout=0.05).get("/")
