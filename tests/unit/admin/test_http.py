"""The admin side over HTTP, on a loopback socket of the test's own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from sqlproxy.admin import live
from sqlproxy.admin.http import MAX_BODY, AdminServer
from sqlproxy.admin.routes import ROUTES
from sqlproxy.config import AdminConfig
from sqlproxy.errors import ConfigError, SqlproxyError
from sqlproxy.topology.model import Address, AdminState, Role
from tests.support.waiting import wait_until_async

from .conftest import MONITOR_SECRET, Connect, Runtime, view

GUARDED = [r.path for r in ROUTES if r.method == "GET" and not r.public]
TOKEN = {"token": "t0ken"}
SYNCED = b"Percona XtraDB Cluster Node is synced.\r\n"
NOT_SYNCED = b"Percona XtraDB Cluster Node is not synced.\r\n"


@pytest.mark.parametrize("name", ["servers", "services", "sessions", "monitor", "accounts", "events", "config"])
async def test_every_collection_answers_json(connect: Connect, name: str) -> None:
    client = await connect()
    answer = await client.get(f"/v1/{name}")
    assert answer.status == 200
    assert answer.content_type == "application/json"
    assert isinstance(await answer.json(), dict if name in ("monitor", "config") else list)


async def test_servers_tell_role_state_and_reason(connect: Connect) -> None:
    rows = await (await (await connect()).get("/v1/servers")).json()
    assert [(row["name"], row["role"], row["state"]) for row in rows] == [
        ("n1", "primary", "active"),
        ("n2", "replica", "active"),
        ("n3", "replica", "active"),
    ]
    assert rows[0]["reason"] == "primary for a reason"


async def test_one_server_is_found_by_name_and_an_unknown_one_is_refused_with_those_there_are(connect: Connect) -> None:
    client = await connect()
    assert (await (await client.get("/v1/servers/n2")).json())["name"] == "n2"
    answer = await client.get("/v1/servers/n9")
    assert answer.status == 404
    assert await answer.json() == {"error": "there is no server named 'n9'", "hint": "the servers are n1, n2, n3"}


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing", "/v1/servers/n1/nothing", "/%2e%2e/etc/passwd"])
async def test_unknown_paths_are_answered_like_every_error(connect: Connect, path: str) -> None:
    answer = await (await connect()).get(path)
    assert answer.status == 404
    assert set(await answer.json()) == {"error", "hint"}


async def test_a_method_that_is_not_possible_names_those_that_are(connect: Connect) -> None:
    answer = await (await connect()).post("/v1/servers", json={})
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert (await answer.json())["hint"] == "possible are GET, HEAD"


async def test_no_secret_is_in_the_configuration(connect: Connect) -> None:
    text = await (await (await connect()).get("/v1/config")).text()
    assert MONITOR_SECRET not in text
    assert json.loads(text)["monitor"]["password"] == "***"


async def test_events_after_a_number(connect: Connect, runtime: Runtime) -> None:
    for text in ("first", "second"):
        runtime.publisher.event("role", "n1", text)
    client = await connect()
    assert [event["text"] for event in await (await client.get("/v1/events?after=1")).json()] == ["second"]
    assert (await client.get("/v1/events?after=-1")).status == 400


# -- health ------------------------------------------------------------------------------------------------------


async def test_ready_while_a_primary_is_writable(connect: Connect, runtime: Runtime) -> None:
    client = await connect()
    answer = await client.get("/ready")
    assert answer.status == 200
    assert await answer.json() == {"status": "ready", "reason": "writes go to n1"}
    runtime.show(None, view("n1", Role.DOWN), alarms=("split brain",))
    answer = await client.get("/ready")
    assert answer.status == 503
    assert (await answer.json())["reason"] == "there is no primary; split brain"


async def test_not_ready_once_the_verdict_is_stale(connect: Connect, runtime: Runtime) -> None:
    runtime.publisher.confirm(runtime.publisher.fresh_at - 60)
    assert (await (await connect()).get("/ready")).status == 503


async def test_ready_for_reads_asks_for_a_replica(connect: Connect, runtime: Runtime) -> None:
    client = await connect()
    assert (await client.get("/ready?role=replica")).status == 200
    runtime.show("n1", view("n1", Role.PRIMARY), view("n2", state=AdminState.DRAIN))
    assert (await client.get("/ready?role=replica")).status == 503
    assert (await client.get("/ready?role=emperor")).status == 400


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/health", "/ready", "/clustercheck/n1"])
async def test_health_needs_no_credentials_and_answers_what_httpchk_sends(
    connect: Connect, method: str, path: str
) -> None:
    client = await connect(**TOKEN)
    assert (await client.request(method, path, headers={"Host": "db.example"})).status == 200


async def test_strangers_get_one_word_only(connect: Connect) -> None:
    client = await connect(**TOKEN)
    assert await (await client.get("/ready")).json() == {"status": "ready"}
    answer = await client.get("/ready", headers={"Authorization": "Bearer t0ken"})
    assert (await answer.json())["reason"] == "writes go to n1"


async def test_a_page_that_rebinds_dns_learns_no_reason(connect: Connect) -> None:
    answer = await (await connect()).get("/ready", headers={"Host": "evil.example"})
    assert await answer.json() == {"status": "ready"}


@pytest.mark.parametrize("line", ["OPTIONS /clustercheck/n1 HTTP/1.0", "GET /clustercheck/n1 HTTP/1.0"])
async def test_clustercheck_answers_a_bare_http_1_0_check_byte_by_byte(connect: Connect, line: str) -> None:
    server = (await connect()).server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(f"{line}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith((b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\n"))
    assert b"\r\nContent-Type: text/plain\r\n" in head
    assert b"\r\nConnection: close" in head
    assert b"\r\nContent-Length: 40\r\n" in head
    assert body == SYNCED


@pytest.mark.parametrize(
    ("name", "query", "status", "body"),
    [
        ("n1", "", 200, SYNCED),
        ("n2", "", 200, SYNCED),
        ("donor", "", 503, NOT_SYNCED),
        ("donor", "?available_when_donor=1", 200, SYNCED),
        ("drained", "", 503, b"Percona XtraDB Cluster Node is manually disabled.\r\n"),
        ("readonly", "", 200, SYNCED),
        ("readonly", "?available_when_readonly=0", 503, b"Percona XtraDB Cluster Node is read-only.\r\n"),
        ("down", "", 503, NOT_SYNCED),
        ("n3", "", 503, NOT_SYNCED),  # configured, not judged yet
    ],
)
async def test_clustercheck_has_perconas_words(
    connect: Connect, runtime: Runtime, name: str, query: str, status: int, body: bytes
) -> None:
    runtime.show(
        "n1",
        view("n1", Role.PRIMARY),
        view("n2"),
        view("donor", Role.DONOR),
        view("drained", state=AdminState.DRAIN),
        view("readonly", figures={"read_only": "ON"}),
        view("down", Role.DOWN),
    )
    answer = await (await connect()).get(f"/clustercheck/{name}{query}")
    assert (answer.status, await answer.read()) == (status, body)
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Connection"] == "close"


async def test_clustercheck_fails_for_unknown_servers_and_stale_verdicts(connect: Connect, runtime: Runtime) -> None:
    client = await connect()
    assert (await client.get("/clustercheck/n9")).status == 404
    runtime.publisher.confirm(runtime.publisher.fresh_at - 60)
    assert (await client.get("/clustercheck/n1")).status == 503


# -- access ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GUARDED)
async def test_everything_else_needs_credentials(connect: Connect, path: str) -> None:
    client = await connect(**TOKEN)
    answer = await client.get(path.replace("{name}", "n1").replace("{file}", "app.js"))
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert set(await answer.json()) == {"error", "hint"}


async def test_every_changing_route_needs_credentials(connect: Connect, runtime: Runtime) -> None:
    client = await connect(**TOKEN)
    for route in [r for r in ROUTES if r.method not in ("GET",)]:
        path = route.path.replace("{name}", "n1").replace("{id}", "7")
        assert (await client.request(route.method, path, json={"state": "drain"})).status == 401
    assert runtime.asked == []


@pytest.mark.parametrize(
    ("config", "login", "status"),
    [
        ({"user": "ops", "password": "pässword"}, ("ops", "pässword"), 200),
        ({"user": "ops", "password": "secret"}, ("ops", "wrong"), 401),
        ({"user": "ops", "password": "secret"}, ("other", "secret"), 401),
        ({"user": "ops", "password": "secret"}, ("", ""), 401),
        ({"token": "t0ken"}, ("anybody", "t0ken"), 200),
        ({"token": "t0ken"}, ("", ""), 401),
    ],
)
async def test_basic_credentials(connect: Connect, config: dict[str, str], login: tuple[str, str], status: int) -> None:
    value = base64.b64encode(":".join(login).encode()).decode()
    answer = await (await connect(**config)).get("/v1/servers", headers={"Authorization": f"Basic {value}"})
    assert answer.status == status


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", "Bearer x", "Basic", "Basic ÿ", "Basic !!!!", "Basic //8=", "Digest t0ken", "t0ken"],
)
async def test_a_malformed_or_wrong_authorization_is_refused(connect: Connect, value: str) -> None:
    answer = await (await connect(**TOKEN)).get("/v1/servers", headers={"Authorization": value})
    assert answer.status == 401


async def test_a_bearer_token_is_accepted_whatever_the_host(connect: Connect) -> None:
    headers = {"Authorization": "bearer t0ken", "Host": "proxy.example:8989"}
    assert (await (await connect(**TOKEN)).get("/v1/servers", headers=headers)).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8989", "localhost.evil.example", "", "[", "10.0.0.1"])
async def test_without_credentials_only_loopback_names_are_served(connect: Connect, host: str) -> None:
    answer = await (await connect()).get("/v1/servers", headers={"Host": host})
    assert answer.status in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8989", "127.9.9.9", "a.localhost"])
async def test_loopback_names_are_served(connect: Connect, host: str) -> None:
    assert (await (await connect()).get("/v1/servers", headers={"Host": host})).status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
@pytest.mark.parametrize("path", ["/v1/switchover", "/v1/reload", "/v1/notify"])
async def test_changes_in_a_form_another_site_can_send_are_refused(
    connect: Connect, runtime: Runtime, path: str, content_type: str
) -> None:
    answer = await (await connect()).post(path, data=b"{}", headers={"Content-Type": content_type})
    assert answer.status == 415
    assert runtime.asked == []


async def test_a_foreign_origin_may_change_nothing(connect: Connect, runtime: Runtime) -> None:
    client = await connect()
    for origin in ("http://evil.example", "null", "http://localhost:1", "http://["):
        assert (await client.post("/v1/switchover", json={}, headers={"Origin": origin})).status == 403
        assert (await client.delete("/v1/sessions/7", headers={"Origin": origin})).status == 403
    assert runtime.asked == []
    own = f"http://{client.host}:{client.port}"
    assert (await client.post("/v1/switchover", json={}, headers={"Origin": own})).status == 200


# -- changes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["drain", "maintenance", "active"])
async def test_a_server_state_is_set_and_audited(
    connect: Connect, runtime: Runtime, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "sqlproxy.audit"):
        answer = await (await connect()).put("/v1/servers/n2/state", json={"state": state})
    assert answer.status == 200
    assert (await answer.json())["state"] == state
    assert runtime.asked == [("n2", AdminState(state))]
    assert caplog.messages == [f"anonymous from 127.0.0.1 put server n2 in state {state}"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/servers/n2/state", b'{"state": "asleep"}', 400),
        ("/v1/servers/n2/state", b"{}", 400),
        ("/v1/servers/n2/state", b'["drain"]', 400),
        ("/v1/servers/n2/state", b"drain", 400),
        ("/v1/servers/n2/state", b"\xff", 400),
        ("/v1/servers/n2/state", b"[" * 100_000, 400),
        ("/v1/servers/n9/state", b'{"state": "drain"}', 404),
        ("/v1/servers/n2/state", b'"' + b"x" * MAX_BODY + b'"', 413),
    ],
)
async def test_bad_bodies_change_nothing(
    connect: Connect, runtime: Runtime, path: str, body: bytes, status: int
) -> None:
    answer = await (await connect()).put(path, data=io.BytesIO(body), headers={"Content-Type": "application/json"})
    assert answer.status == status
    assert set(await answer.json()) == {"error", "hint"}
    assert runtime.asked == []


async def test_switchover_to_a_named_or_the_next_best_server(connect: Connect, runtime: Runtime) -> None:
    client = await connect()
    assert await (await client.post("/v1/switchover", json={"server": "n3"})).json() == {"primary": "n3"}
    assert await (await client.post("/v1/switchover", json={})).json() == {"primary": "n2"}
    assert (await client.post("/v1/switchover", json={"server": "n9"})).status == 404
    assert (await client.post("/v1/switchover", json={"server": 3})).status == 400
    runtime.refusal = SqlproxyError("n2 is a donor")
    answer = await client.post("/v1/switchover", json={})
    assert (answer.status, (await answer.json())["error"]) == (409, "n2 is a donor")


async def test_reload_tells_what_changed_or_why_not(connect: Connect, runtime: Runtime) -> None:
    client = await connect()
    assert await (await client.post("/v1/reload", json={})).json() == {"changes": ["servers: n3 was added"]}
    runtime.refusal = ConfigError("x.toml:3: workers: too many")
    answer = await client.post("/v1/reload", json={})
    assert (answer.status, (await answer.json())["error"]) == (422, "x.toml:3: workers: too many")


@pytest.mark.parametrize(("session", "status"), [("7", 200), ("8", 404), ("x", 404), ("9" * 50, 404), ("٧", 404)])
async def test_a_session_is_killed_by_its_id(connect: Connect, session: str, status: int) -> None:
    assert (await (await connect()).delete(f"/v1/sessions/{session}")).status == status


async def test_notify_names_the_member_that_reports(connect: Connect, runtime: Runtime) -> None:
    body = {"status": "synced", "primary": "yes", "index": 1, "members": ["u1/n1/a", "u2/n2/b"]}
    answer = await (await connect()).post("/v1/notify", json=body)
    assert answer.status == 200
    assert runtime.asked == [("n2", "status synced, in the primary component, 2 members")]


@pytest.mark.parametrize(
    "body",
    [{}, {"index": 9, "members": ["u/n/a"]}, {"members": "u/n/a"}, {"index": 0, "members": [None]}, {"index": -1}],
)
async def test_notify_takes_what_comes(connect: Connect, runtime: Runtime, body: dict[str, object]) -> None:
    assert (await (await connect()).post("/v1/notify", json=body)).status == 200
    assert len(runtime.asked) == 1


async def test_explain_hands_on_the_statement(connect: Connect, runtime: Runtime) -> None:
    client = await connect()
    answer = await client.get("/v1/explain", params={"sql": "SELECT 'ä'", "in_transaction": "true"})
    assert (await answer.json())["rules"] == ["it is a write"]
    assert runtime.asked == [("SELECT 'ä'".encode(), True)]
    assert (await client.get("/v1/explain")).status == 400


async def test_a_bug_is_logged_and_not_shown(
    connect: Connect, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.rows = [None]  # type: ignore[list-item]
    answer = await (await connect()).get("/v1/sessions")
    assert answer.status == 500
    assert await answer.json() == {"error": "the proxy failed to answer", "hint": "its log says why"}
    assert caplog.records[0].exc_info


# -- dashboard, metrics, description -----------------------------------------------------------------------------


OWN_FILES = ("index.html", "style.css", "app.js", "actions.js", "charts.js", "page.js", "picture.js")


async def test_the_dashboard_runs_nothing_but_files_of_its_own_origin(connect: Connect) -> None:
    client = await connect()
    answer = await client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    wanted = re.findall(r'(?:src|href)="(/dashboard/[^"]+)"', await answer.text())
    assert {await _status(client, path) for path in wanted} == {200}
    assert await _status(client, "/dashboard/vendor/../../http.py") == 404
    assert await _status(client, "/dashboard/__init__.py") == 404


async def _status(client: TestClient, path: str) -> int:
    return (await client.get(path)).status


@pytest.mark.parametrize("name", OWN_FILES)
async def test_the_dashboard_is_self_contained_and_writes_text_only(connect: Connect, name: str) -> None:
    page = await (await (await connect()).get(f"/dashboard/{name}")).text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|//cdn|@import|url\(", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\son\w+=", page)


async def test_every_file_of_the_dashboard_comes_with_its_type(connect: Connect) -> None:
    client = await connect()
    types = {name: (await client.get(f"/dashboard/{name}")).headers["Content-Type"] for name in OWN_FILES}
    assert types == {
        name: {"html": "text/html", "css": "text/css", "js": "text/javascript"}[name.rpartition(".")[2]]
        + "; charset=utf-8"
        for name in OWN_FILES
    }
    assert (await client.get("/dashboard/uPlot.iife.min.js")).status == 200


async def test_a_stream_opens_with_the_samples_and_goes_on_with_the_state(connect: Connect, runtime: Runtime) -> None:
    runtime.publisher.event("primary", "n1", "n1 is the primary")
    async with (await connect()).get("/v1/stream") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        hello = await _event(answer, "hello")
        assert hello["who"].startswith("anonymous from ")
        state = await _event(answer, "state")
        assert [row["name"] for row in state["servers"]] == ["n1", "n2", "n3"]
        (news,) = await _event(answer, "events")
        assert news["text"] == "n1 is the primary"


async def _event(answer: ClientResponse, kind: str) -> Any:
    """The data of the next event, which must be of this kind."""
    lines = [(await answer.content.readline()).decode() for _ in range(3)]
    assert lines[0] == f"event: {kind}\n"
    assert lines[2] == "\n"
    return json.loads(lines[1].removeprefix("data: "))


async def test_a_change_of_the_servers_reaches_the_stream_at_once(connect: Connect, runtime: Runtime) -> None:
    async with (await connect()).get("/v1/stream") as answer:
        await _event(answer, "hello")
        while (await _event(answer, "state"))["monitor"]["primary"] != "n1":
            pass
        runtime.show("n2", view("n1"), view("n2", Role.PRIMARY), view("n3"))
        while (await _event(answer, "state"))["monitor"]["primary"] != "n2":
            pass


async def test_more_dashboards_than_are_served_are_told_so(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_WATCHERS", 1)
    client = await connect()
    async with client.get("/v1/stream"):
        answer = await client.get("/v1/stream")
        assert answer.status == 503
        assert (await answer.json())["error"] == "too many dashboards are open"

    async def free_again() -> bool:
        async with client.get("/v1/stream") as answer:
            return answer.status == 200

    await wait_until_async(free_again, message="the place of a page that was closed is free")


async def test_metrics_are_served_as_prometheus_text(connect: Connect) -> None:
    answer = await (await connect()).get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "sqlproxy_up 1.0" in await answer.text()


async def test_the_description_has_every_route(connect: Connect) -> None:
    document = await (await (await connect()).get("/openapi.json")).json()
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.path, route.method) for route in ROUTES}


# -- listening ---------------------------------------------------------------------------------------------------


async def test_a_busy_port_is_one_sentence_with_the_address(runtime: Runtime) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address(host="127.0.0.1", port=taken.getsockname()[1])
        server = AdminServer(runtime, AdminConfig(listen=address))
        with pytest.raises(SqlproxyError, match=f"^admin: cannot listen on {address}: Address already in use$"):
            await server.start()
        await server.stop()


async def test_it_listens_where_it_says_and_stops_twice_without_harm(runtime: Runtime) -> None:
    server = AdminServer(runtime, AdminConfig(listen=Address(host="127.0.0.1")))
    await server.start()
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d+", server.url)
    await server.stop()
    await server.stop()


async def test_a_unix_socket_is_for_its_owner_only(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    server = AdminServer(runtime, AdminConfig(listen=Address(path=str(path))))
    await server.start()
    assert path.stat().st_mode & 0o777 == 0o600
    assert server.url == f"unix:{path}"
    await server.stop()


def test_a_switched_off_admin_side_cannot_be_built(runtime: Runtime) -> None:
    with pytest.raises(ValueError, match="switched off"):
        AdminServer(runtime, AdminConfig(listen=None))
