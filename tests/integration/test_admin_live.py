"""The admin side and the command line of a proxy that runs in front of a real cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.install import make_directory
from tests.support.cluster import servers_of, wait_new_primary, wait_settled
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, config_for, free_port, running_proxy
from tests.support.waiting import wait_until

MONITOR_PASSWORD = "monitor-Secret-1"
SECRETS = (MONITOR_PASSWORD, "app-Secret-2", "wrong-Secret-3")
AT_ONCE = 20.0  # seconds, well before the next poll
POLL = "60s"


@pytest.fixture(scope="module")
def module_proxy(galera: GaleraLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that polls once a minute: whatever it learns sooner, it was told or found out itself."""
    galera.up()
    make_accounts(galera)
    monitor = f"""
[monitor]
topology = "galera"
user = "watcher"
password = "{MONITOR_PASSWORD}"
interval = "{POLL}"
stale_after = "120s"
[log]
format = "json"
level = "debug"
"""
    with running_proxy(tmp_path_factory.mktemp("proxy"), servers_of(galera), extra=monitor) as proxy:
        yield proxy


def make_accounts(galera: GaleraLab) -> None:
    node = galera.node("n1")
    for user, password, grants in (
        ("watcher", MONITOR_PASSWORD, "PROCESS, BINLOG MONITOR, SLAVE MONITOR, SELECT ON *.*"),
        ("client", "app-Secret-2", "ALL ON app.*"),
    ):
        node.query(f"CREATE OR REPLACE USER {user}@'%' IDENTIFIED BY '{password}'")
        node.query(f"GRANT {grants} TO {user}@'%'")


@pytest.fixture
def proxy(module_proxy: Proxy, healthy_galera: GaleraLab) -> Iterator[Proxy]:
    settle(module_proxy)
    yield module_proxy
    for name in healthy_galera.nodes:
        call(module_proxy, "PUT", f"/v1/servers/{name}/state", {"state": "active"})


def settle(proxy: Proxy) -> None:
    """Have every server probed until all is well; a server that just returned waits for three polls."""

    def settled() -> bool:
        call(proxy, "POST", "/v1/notify", {})
        return sorted(row["role"] for row in proxy.servers().values()) == ["primary", "replica", "replica"]

    wait_until(settled, 30, "one primary and two replicas")


def call(proxy: Proxy, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and JSON (or text) of a request."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{proxy.admin_port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, decoded(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, decoded(error.read())


def decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()


def cli(proxy: Proxy | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line as a user runs it, pointed at the proxy."""
    env = dict(os.environ)
    if proxy is not None:
        env["SQLPROXY_ADMIN_URL"] = f"http://127.0.0.1:{proxy.admin_port}"
    return subprocess.run(
        [sys.executable, "-m", "sqlproxy", *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def session(proxy: Proxy) -> Any:
    return connected(proxy.port, user="client", password="app-Secret-2")


def metrics(proxy: Proxy) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of their labels."""
    _, text = call(proxy, "GET", "/metrics")
    families = text_string_to_metric_families(text)
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def replica_of(proxy: Proxy) -> str:
    return next(name for name, row in proxy.servers().items() if row["role"] == "replica")


def role(proxy: Proxy, server: str) -> str:
    return str(proxy.servers()[server]["role"])


# -- looking


def test_health_readiness_and_clustercheck_follow_the_cluster(proxy: Proxy) -> None:
    assert call(proxy, "GET", "/health") == (200, {"status": "alive"})
    status, body = call(proxy, "GET", "/ready")
    assert (status, body["reason"]) == (200, f"writes go to {proxy.primary}")
    assert call(proxy, "GET", "/ready?role=replica")[0] == 200
    assert call(proxy, "GET", "/clustercheck/n1") == (200, "Percona XtraDB Cluster Node is synced.\r\n")
    for name in proxy.servers():
        call(proxy, "PUT", f"/v1/servers/{name}/state", {"state": "maintenance"})
    status, body = call(proxy, "GET", "/ready")
    assert status == 503
    assert "there is no primary" in body["reason"]
    assert call(proxy, "GET", "/ready?role=replica")[0] == 503
    assert call(proxy, "GET", "/clustercheck/n1")[0] == 503
    assert call(proxy, "GET", "/health")[0] == 200
    assert cli(proxy, "status").returncode == 1


def test_metrics_parse_and_count(proxy: Proxy) -> None:
    before = metrics(proxy)
    with session(proxy) as connection:
        for _ in range(5):
            rows(connection, "SELECT 1")
        rows(connection, "CREATE OR REPLACE TABLE counted (id INT)")
        rows(connection, "INSERT INTO counted VALUES (1)")
        after = metrics(proxy)
    primary = proxy.primary or ""

    def moved(*key: str) -> float:
        return after[key] - before[key]

    assert moved("sqlproxy_service_statements_total", "app") >= 7
    assert moved("sqlproxy_service_sessions_total", "app") == 1
    assert moved("sqlproxy_service_sessions", "app") == 1
    assert moved("sqlproxy_server_statements_total", "app", primary, "write") == 2
    assert after["sqlproxy_server_role", primary, "primary"] == 1
    assert after["sqlproxy_up",] == 1


def test_rest_tables_show_what_is_there_and_no_secret(proxy: Proxy, galera: GaleraLab) -> None:
    with session(proxy) as connection:
        rows(connection, "SET @a = 1")
        rows(connection, "BEGIN")
        (row,) = proxy.get("/v1/sessions")
        expected = {"user": "client", "host": "127.0.0.1", "database": "app", "service": "app", "state": "idle"}
        assert expected.items() <= row.items()
        assert row["in_transaction"] is True
        assert row["primary"] == proxy.primary
    assert [row["address"] for row in proxy.get("/v1/servers")] == [f"127.0.0.1:{port}" for port in galera.ports]
    assert proxy.get("/v1/services")[0]["listen"] == [f"127.0.0.1:{proxy.port}"]
    assert proxy.get("/v1/monitor")["primary"] == proxy.primary
    assert any(event["text"].startswith("primary none -> ") for event in proxy.get("/v1/events"))
    assert {"client", "watcher"} <= {row["user"] for row in proxy.get("/v1/accounts")}
    everything = " ".join(
        json.dumps(proxy.get(f"/v1/{table}"))
        for table in ("config", "servers", "services", "sessions", "monitor", "events", "accounts")
    )
    assert not [secret for secret in SECRETS if secret in everything]
    assert proxy.get("/v1/config")["monitor"]["password"] == "***"


def test_explain_names_server_and_rules(proxy: Proxy) -> None:
    write = proxy.get("/v1/explain?sql=DELETE+FROM+t")
    assert write["server"] == proxy.primary
    assert write["rules"]
    read = proxy.get("/v1/explain?sql=SELECT+1")
    assert role(proxy, read["server"]) == "replica"
    assert proxy.get("/v1/explain?sql=SELECT+1&in_transaction=true")["server"] == proxy.primary


# -- operating


@pytest.mark.parametrize("state", ["drain", "maintenance"])
def test_a_server_out_of_service_gets_no_statement_until_it_is_active_again(
    proxy: Proxy, galera: GaleraLab, state: str
) -> None:
    with session(proxy) as connection:
        server = replica_of(proxy)
        assert call(proxy, "PUT", f"/v1/servers/{server}/state", {"state": state})[1]["state"] == state
        wait_until(lambda: proxy.servers()[server]["connections"] == 0, 30, "its connections are closed")
        before = proxy.servers()[server]["reads"]
        for _ in range(10):
            rows(connection, "SELECT 1")
        assert proxy.servers()[server]["reads"] == before
        assert call(proxy, "GET", f"/clustercheck/{server}")[0] == 503
        assert cli(proxy, "activate", server).returncode == 0
        wait_until(lambda: used(proxy, server), 30, "it takes reads again")


def used(proxy: Proxy, server: str) -> bool:
    before = proxy.servers()[server]["reads"]
    with session(proxy) as connection:
        rows(connection, "SELECT 1")
    return bool(proxy.servers()[server]["reads"] > before)


def test_draining_the_primary_lets_its_transaction_end_and_moves_writes(proxy: Proxy, galera: GaleraLab) -> None:
    primary = proxy.primary
    assert primary is not None
    with session(proxy) as connection:
        rows(connection, "CREATE OR REPLACE TABLE drained (port INT)")
        rows(connection, "BEGIN")
        rows(connection, "INSERT INTO drained VALUES (@@port)")
        call(proxy, "PUT", f"/v1/servers/{primary}/state", {"state": "drain"})
        wait_new_primary(proxy, primary)
        rows(connection, "INSERT INTO drained VALUES (@@port)")
        rows(connection, "COMMIT")
        rows(connection, "INSERT INTO drained VALUES (@@port)")
        old, new = galera.node(primary).port, galera.node(proxy.primary or "").port
        assert sorted(rows(connection, "SELECT port FROM drained")) == sorted([(old,), (old,), (new,)])


def test_a_switchover_moves_writes_without_an_error_and_can_be_refused(proxy: Proxy, galera: GaleraLab) -> None:
    target = replica_of(proxy)
    with session(proxy) as connection:
        rows(connection, "CREATE OR REPLACE TABLE switched (port INT)")
        rows(connection, "INSERT INTO switched VALUES (@@port)")
        assert call(proxy, "POST", "/v1/switchover", {"server": target}) == (200, {"primary": target})
        rows(connection, "INSERT INTO switched VALUES (@@port)")
        assert (galera.node(target).port,) in rows(connection, "SELECT port FROM switched")
    assert cli(proxy, "switchover").returncode == 0
    assert proxy.primary != target
    call(proxy, "PUT", f"/v1/servers/{target}/state", {"state": "maintenance"})
    status, body = call(proxy, "POST", "/v1/switchover", {"server": target})
    assert status == 409
    assert target in body["error"]
    refused = cli(proxy, "switchover", "n9")
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)


def test_a_session_can_be_ended(proxy: Proxy) -> None:
    with session(proxy) as connection:
        (row,) = proxy.get("/v1/sessions")
        assert call(proxy, "DELETE", f"/v1/sessions/{row['id']}") == (200, {"killed": row["id"]})
        wait_until(lambda: proxy.get("/v1/sessions") == [], 30, "an idle session ends without its client's doing")
        with pytest.raises(pymysql.MySQLError):
            rows(connection, "SELECT 1")
    assert call(proxy, "DELETE", f"/v1/sessions/{row['id']}")[0] == 404


# -- told, not polled


def test_losing_the_primary_is_noticed_by_its_sessions_long_before_the_next_poll(
    proxy: Proxy, galera: GaleraLab
) -> None:
    victim = proxy.primary
    assert victim is not None
    with session(proxy) as connection:
        rows(connection, "CREATE OR REPLACE TABLE told (id INT)")
        started = time.monotonic()
        galera.kill(victim)
        wait_new_primary(proxy, victim)
        assert time.monotonic() - started < AT_ONCE
        rows(connection, "INSERT INTO told VALUES (1)")
        assert time.monotonic() - started < AT_ONCE + 3  # the cluster's own outage


@pytest.mark.parametrize("how", ["http", "cli"])
def test_a_notification_is_followed_up_at_once(proxy: Proxy, galera: GaleraLab, how: str) -> None:
    server = replica_of(proxy)
    galera.node(server).query("SET GLOBAL wsrep_desync = ON")
    try:
        if how == "http":
            call(proxy, "POST", "/v1/notify", {"status": "donor", "primary": "yes"})
        else:
            arguments = ("--status", "Donor", "--primary", "yes", "--index", "0", "--members", f"u/{server}/a")
            assert cli(proxy, "notify", *arguments).returncode == 0
        wait_until(lambda: role(proxy, server) == "desynced", AT_ONCE, "the change is noticed")
        assert "wsrep_desync=ON" in proxy.servers()[server]["reason"]
    finally:
        galera.node(server).query("SET GLOBAL wsrep_desync = OFF")
    assert any(event["kind"] == "notify" for event in proxy.get("/v1/events"))


def test_what_galera_itself_passes_to_its_notify_command_is_understood(
    proxy: Proxy, galera: GaleraLab, lab_directory: Path
) -> None:
    """The servers may not run this interpreter, so their command keeps its arguments for us to pass on."""
    server = replica_of(proxy)
    node = galera.node(server)
    script, kept = lab_directory / "notify.sh", lab_directory / "notify"
    make_directory(kept)
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {kept}/$$.part && mv {kept}/$$.part {kept}/$$.args\n')
    script.chmod(0o755)
    options = node.options_file.read_text()
    node.options_file.write_text(options.replace("[mysqld]", f"[mysqld]\nwsrep-notify-cmd = {script}"))
    try:
        galera.shutdown(server)
        galera.join(server)
        wait_until(lambda: any("--primary" in a for a in passed(kept)), 30, "Galera tells of a view")
        arguments = next(a for a in passed(kept) if "--primary" in a)
        result = cli(proxy, "notify", *arguments)
        assert result.returncode == 0, (arguments, result.stderr)
    finally:
        node.options_file.write_text(options)
        galera.kill(server)
    texts = [event["text"] for event in proxy.get("/v1/events")]
    assert any(text.startswith("notified by") and "in the primary component, " in text for text in texts), texts


def passed(kept: Path) -> list[list[str]]:
    """The arguments of every call so far."""
    return [path.read_text().splitlines() for path in kept.glob("*.args")]


# -- command line


def test_the_command_line_shows_what_the_admin_side_knows(proxy: Proxy) -> None:
    for command in ("status", "servers", "sessions", "events"):
        result = cli(proxy, command, "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) is not None
        assert cli(proxy, command).returncode == 0
    assert [row["name"] for row in json.loads(cli(proxy, "servers", "--json").stdout)] == ["n1", "n2", "n3"]
    explained = cli(proxy, "explain", "INSERT INTO t VALUES (1)")
    assert explained.stdout.startswith(str(proxy.primary))


def test_exit_codes_tell_no_from_wrong_usage(proxy: Proxy) -> None:
    assert cli(proxy, "drain", "n9").returncode == 1
    assert cli(proxy, "drain").returncode == 2
    assert cli(proxy, "kill", "1").returncode == 1
    unreachable = cli(None, "status", "--admin", f"http://127.0.0.1:{free_port()}")
    assert unreachable.returncode != 0
    assert "Traceback" not in unreachable.stderr


def checked(tmp_path: Path, servers: dict[str, int], password: str = MONITOR_PASSWORD, text: str = "") -> Any:
    """``sqlproxy check`` of a configuration; its exit code and its output."""
    monitor = f'[monitor]\ntopology = "galera"\nuser = "watcher"\npassword = "{password}"\n{text}'
    path = tmp_path / "check.toml"
    path.write_text(config_for(servers, free_port(), free_port(), extra=monitor))
    return cli(None, "check", "-c", str(path))


def test_check_passes_a_good_configuration(proxy: Proxy, galera: GaleraLab, tmp_path: Path) -> None:
    result = checked(tmp_path, servers_of(galera))
    assert result.returncode == 0, result.stdout + result.stderr
    assert " would be the primary" in result.stdout


def test_check_says_what_is_wrong(proxy: Proxy, galera: GaleraLab, tmp_path: Path) -> None:
    down = checked(tmp_path, {**servers_of(galera), "n4": free_port()})
    assert (down.returncode, "n4" in down.stdout, "connection refused" in down.stdout) == (1, True, True)
    denied = checked(tmp_path, servers_of(galera), password="wrong-Secret-3")
    assert denied.returncode == 1
    assert "refuses the monitor user 'watcher'" in denied.stdout
    unknown = checked(tmp_path, servers_of(galera), text="colour = 1\n")
    assert unknown.returncode == 2
    assert "colour" in unknown.stderr
    assert cli(None, "check", "-c", str(tmp_path / "missing.toml")).returncode == 2
    for result in (down, denied, unknown):
        assert "Traceback" not in result.stderr
        assert not [secret for secret in SECRETS if secret in result.stdout + result.stderr]


# -- logs


def test_log_lines_are_one_json_object_per_event_without_secrets(proxy: Proxy) -> None:
    with session(proxy), pytest.raises(pymysql.MySQLError):
        ask(proxy.port, "SELECT 1", user="client", password="wrong-Secret-3")
    lines = [json.loads(line) for line in proxy.log.splitlines()]
    assert {"time", "level", "logger", "message"} <= lines[0].keys()
    assert any("login refused" in line["message"] for line in lines)
    assert not [secret for secret in SECRETS if secret in proxy.log]


def test_human_log_lines_are_one_per_event_without_secrets(
    healthy_galera: GaleraLab, tmp_path: Path, proxy: Proxy
) -> None:
    monitor = f'[monitor]\nuser = "watcher"\npassword = "{MONITOR_PASSWORD}"\n[log]\nlevel = "debug"\n'
    with running_proxy(tmp_path, servers_of(healthy_galera), extra=monitor) as second:
        wait_settled(second)
        with pytest.raises(pymysql.MySQLError):
            ask(second.port, "SELECT 1", user="client", password="wrong-Secret-3")
        lines = second.log.splitlines()
    assert all(line[:10].count("-") == 2 and line.split()[1] in ("DEBUG", "INFO", "WARNING") for line in lines)
    assert any("primary none ->" in line for line in lines)
    assert not [secret for secret in SECRETS if secret in second.log]
