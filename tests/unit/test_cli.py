"""The command line, against an admin side that answers as scripted."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sqlproxy import __version__, cli, run
from sqlproxy.admin import check as check_module
from sqlproxy.admin.client import AdminClient, Refused, Unreachable
from sqlproxy.admin.finding import Finding, Level
from sqlproxy.cli import app
from sqlproxy.config import Settings
from sqlproxy.errors import SqlproxyError

CONFIG = """
[[servers]]
name = "n1"
address = "127.0.0.1:33101"
[[services]]
name = "app"
listen = "127.0.0.1:4006"
"""
SERVER = {"name": "n1", "address": "127.0.0.1:33101", "role": "primary", "state": "active", "reason": "lowest index"}
MONITOR = {"topology": "galera", "primary": "n1", "stale": False, "alarms": [], "snapshot": 3, "version": "1"}
SESSION = {"id": 7, "user": "app", "state": "idle", "pins": ["temporary table t"], "in_transaction": True}


class Proxy:
    """What the admin API answers, by method and path, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, object]] = []
        self.answers: dict[str, object] = {
            "/v1/servers": [SERVER],
            "/v1/services": [{"name": "app", "listen": ["127.0.0.1:4006"], "sessions": 2}],
            "/v1/sessions": [SESSION],
            "/v1/monitor": MONITOR,
            "/v1/events": [{"time": 1.5, "kind": "primary", "server": "n1", "text": "primary none -> n1"}],
            "/v1/servers/n1/state": {"name": "n1", "state": "drain"},
            "/v1/switchover": {"primary": "n2"},
            "/v1/reload": {"changes": ["servers: n3 was added"]},
            "/v1/sessions/7": {"killed": 7},
            "/v1/notify": {"notified": True},
            "/v1/explain": {"target": "primary", "server": "n1", "rules": ["it is a write"]},
        }

    def ask(self, method: str, path: str, body: object = None) -> object:
        self.asked.append((method, path, body))
        answer = self.answers[path.partition("?")[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Proxy:
    proxy = Proxy()
    monkeypatch.setattr(AdminClient, "_ask", lambda self, method, path, body=None: proxy.ask(method, path, body))
    return proxy


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("SQLPROXY_ADMIN_URL", "SQLPROXY_ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(CONFIG)
    return path


def sqlproxy(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# -- looking -----------------------------------------------------------------------------------------------------


def test_the_version() -> None:
    assert sqlproxy("version").stdout == f"sqlproxy {__version__}\n"


@pytest.mark.parametrize("command", ["servers", "sessions", "events"])
def test_tables_have_a_json_form_with_everything(proxy: Proxy, command: str) -> None:
    result = sqlproxy(command, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == proxy.answers[f"/v1/{command}"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("servers", ["n1", "primary", "lowest index"]),
        ("sessions", ["7", "app", "temporary table t"]),
        ("events", ["primary none -> n1"]),
        ("status", ["galera", "127.0.0.1:4006"]),
    ],
)
def test_tables_show_what_matters_on_one_line_each(proxy: Proxy, command: str, words: list[str]) -> None:
    result = sqlproxy(command)
    assert result.exit_code == 0
    for word in words:
        assert word in result.stdout


def test_status_says_no_when_there_is_no_primary(proxy: Proxy) -> None:
    proxy.answers["/v1/monitor"] = MONITOR | {"primary": None}
    assert sqlproxy("status").exit_code == 1
    assert sqlproxy("status", "--json").exit_code == 1


def test_text_from_servers_cannot_drive_the_terminal(proxy: Proxy) -> None:
    proxy.answers["/v1/servers"] = [SERVER | {"reason": "[red]\x1b]0;owned\x07[/red]\nforged"}]
    out = sqlproxy("servers").stdout
    assert "[red]\\x1b]0;owned\\x07[/red]\\nforged" in out
    assert "\x1b" not in out


def test_explain_shows_target_and_rules(proxy: Proxy) -> None:
    result = sqlproxy("explain", "INSERT INTO t VALUES (1)", "--in-transaction")
    assert result.stdout == "n1: primary\n- it is a write\n"
    assert proxy.asked[0][1] == "/v1/explain?sql=INSERT+INTO+t+VALUES+%281%29&in_transaction=true"


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["SELECT 1"], "replica"),
        (["INSERT INTO t VALUES (1)"], "primary"),
        (["SHOW WARNINGS"], "last server used"),
        (["SET NAMES utf8mb4"], "any server"),
        (["SELECT 1", "--in-transaction"], "primary"),
    ],
)
def test_explain_without_a_proxy_reads_the_text_and_says_so(proxy: Proxy, arguments: list[str], target: str) -> None:
    proxy.answers["/v1/explain"] = Unreachable("no proxy answers at http://127.0.0.1:8989: Connection refused")
    result = sqlproxy("explain", *arguments)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == target
    assert len(result.stdout.splitlines()) > 1
    assert result.stderr.startswith("note: no proxy answers at http://127.0.0.1:8989")


# -- operating ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "asked", "said"),
    [
        (["drain", "n1", "--wait", "0"], ("PUT", "/v1/servers/n1/state", {"state": "drain"}), "n1 is in state drain"),
        (["maintenance", "n1"], ("PUT", "/v1/servers/n1/state", {"state": "maintenance"}), "n1 is in state"),
        (["activate", "n1"], ("PUT", "/v1/servers/n1/state", {"state": "active"}), "n1 is in state"),
        (["switchover"], ("POST", "/v1/switchover", {}), "the primary is n2"),
        (["switchover", "n2"], ("POST", "/v1/switchover", {"server": "n2"}), "the primary is n2"),
        (["kill", "7"], ("DELETE", "/v1/sessions/7", None), "session 7 is closed"),
        (["reload"], ("POST", "/v1/reload", {}), "servers: n3 was added"),
    ],
)
def test_operator_verbs(proxy: Proxy, arguments: list[str], asked: tuple[str, str, object], said: str) -> None:
    result = sqlproxy(*arguments)
    assert result.exit_code == 0
    assert [call for call in proxy.asked if call[0] != "GET"] == [asked]
    assert said in result.stdout


def test_drain_waits_for_the_last_connection_and_says_what_it_cost(proxy: Proxy) -> None:
    proxy.answers["/v1/servers/n1"] = {"name": "n1", "connections": 0}
    proxy.answers["/v1/services"] = [{"name": "app", "transactions_lost": 4, "longest_pause_ms": 12.5}]
    result = sqlproxy("drain", "n1")
    assert result.exit_code == 0
    assert "n1 is drained after 0.0s: errors=0, longest pause 12.5 ms" in result.stdout


def test_drain_says_when_sessions_are_left(proxy: Proxy) -> None:
    proxy.answers["/v1/servers/n1"] = {"name": "n1", "connections": 2}
    result = sqlproxy("drain", "n1", "--wait", "0.01")
    assert result.exit_code == 1
    assert "n1 still has 2 connections after 0.01s" in result.stdout


def test_notify_takes_galeras_arguments(proxy: Proxy) -> None:
    members = "u1/n1/127.0.0.1:1,u2/n2/127.0.0.1:2"
    view = ["--status", "synced", "--uuid", "u", "--primary", "yes", "--index", "1", "--members", members]
    result = sqlproxy("notify", *view, "--something-newer", "x")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    body = {"status": "synced", "uuid": "u", "primary": "yes", "index": 1, "members": members.split(",")}
    assert proxy.asked == [("POST", "/v1/notify", body)]


def test_notify_with_a_status_alone(proxy: Proxy) -> None:
    assert sqlproxy("notify", "--status", "joiner").exit_code == 0
    assert proxy.asked == [("POST", "/v1/notify", {"status": "joiner"})]


def test_notify_never_waits_longer_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "NOTIFY_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        result = sqlproxy("notify", "--status", "synced", "--admin", url)
    assert result.exit_code == 1
    assert "does not answer within 0.05 s" in result.stderr
    assert time.monotonic() - began < 10


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused(409, "n2 is a donor"), 1),
        (Refused(404, "there is no server"), 1),
        (Refused(401, "a token is needed"), 2),
        (Unreachable("no proxy answers"), 1),
        (RuntimeError("a bug\nin two lines"), 1),
    ],
)
def test_an_error_is_one_line_on_stderr_and_an_exit_code(proxy: Proxy, error: Exception, code: int) -> None:
    proxy.answers["/v1/servers"] = error
    result = sqlproxy("servers")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("sqlproxy: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["nosuch"], ["drain"], ["kill", "x"], ["servers", "--nosuch"], ["serve"], ["servers", "--admin", "ftp://u:pw@h"]],
)
def test_bad_usage_is_exit_code_2(arguments: list[str]) -> None:
    result = sqlproxy(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert "pw" not in result.stderr


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_bad_configuration_is_exit_code_2_naming_the_line(config: Path, command: str) -> None:
    config.write_text(CONFIG + "wrong = 1\n")
    result = sqlproxy(command, "-c", config)
    assert result.exit_code == 2
    assert result.stderr == f"sqlproxy: {config}:8: services[0].wrong: unknown key\n"


def test_top_without_a_terminal_is_plain_tables_or_an_object(proxy: Proxy) -> None:
    proxy.answers["/v1/digests"] = [{"statement": "SELECT ?", "count": 3}]
    result = sqlproxy("top", "--once", "--interval", "0.1")
    assert result.exit_code == 0, result.stderr
    for shown in ("n1", "temporary table t", "SELECT ?", "primary none -> n1"):
        assert shown in result.stdout
    assert "\x1b" not in result.stdout
    found = json.loads(sqlproxy("top", "--once", "--json", "--interval", "0.1").stdout)
    assert [row["name"] for row in found["servers"]] == ["n1"]
    assert found["sessions"][0]["pins"] == ["temporary table t"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str) -> None:
    env = {"_SQLPROXY_COMPLETE": f"source_{shell}"}
    script = CliRunner().invoke(app, [], env=env, prog_name="sqlproxy").stdout
    assert f"_SQLPROXY_COMPLETE=complete_{shell}" in script
    env = {"COMP_WORDS": "sqlproxy dra", "COMP_CWORD": "1", "_SQLPROXY_COMPLETE": "complete_bash"}
    assert CliRunner().invoke(app, [], env=env, prog_name="sqlproxy").stdout.split() == ["drain"]


# -- running -----------------------------------------------------------------------------------------------------


def test_serve_runs_the_configuration_with_its_file_for_reloads(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[Settings, Path | None]] = []

    def serve(settings: Settings, path: Path | None = None) -> int:
        called.append((settings, path))
        return 0

    monkeypatch.setattr(run, "serve", serve)
    assert sqlproxy("serve", "-c", config, "--workers", "2").exit_code == 0
    ((settings, path),) = called
    assert (settings.workers, path) == (2, config)


def test_a_start_that_fails_is_one_sentence(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(settings: Settings, path: Path | None = None) -> int:
        raise SqlproxyError("service app: cannot listen on 127.0.0.1:4006: Address already in use")

    monkeypatch.setattr(run, "serve", serve)
    result = sqlproxy("serve", "-c", config)
    assert result.exit_code == 1
    assert result.stderr == "sqlproxy: service app: cannot listen on 127.0.0.1:4006: Address already in use\n"


def test_demo_hands_on_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[bool, float | None]] = []
    monkeypatch.setattr(run, "demo", lambda galera, kill_after=None: called.append((galera, kill_after)) or 0)
    assert sqlproxy("demo").exit_code == 0
    assert sqlproxy("demo", "--galera", "--kill-after", "2.5").exit_code == 0
    assert called == [(False, None), (True, 2.5)]


@pytest.mark.parametrize(("level", "code"), [(Level.OK, 0), (Level.WARN, 0), (Level.FAIL, 1)])
def test_check_shows_every_finding_and_fails_with_the_worst(
    config: Path, monkeypatch: pytest.MonkeyPatch, level: Level, code: int
) -> None:
    async def check(
        settings: Settings, creator: tuple[str, str] | None, reader: tuple[str, str], path: Path
    ) -> list[Finding]:
        assert (creator, reader, path) == (None, ("", ""), config)
        return [Finding(Level.OK, "n1", "primary"), Finding(level, "app", "the finding")]

    monkeypatch.setattr(check_module, "check", check)
    result = sqlproxy("check", "-c", config)
    assert result.exit_code == code
    assert "the finding" in result.stdout
    as_json = json.loads(sqlproxy("check", "-c", config, "--json").stdout)
    assert as_json[1] == {"result": level.value, "subject": "app", "finding": "the finding", "fix": ""}


def test_the_lab_is_there() -> None:
    assert sqlproxy("lab", "--help").exit_code == 0


# -- as a process ------------------------------------------------------------------------------------------------


def test_a_reader_that_went_away_leaves_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "sqlproxy", "version"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_command_line_starts_without_what_only_servers_need() -> None:
    heavy = ("aiohttp", "uvloop", "mysql_mimic", "pydantic", "prometheus_client")
    code = f"import sys, sqlproxy.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


def test_import_prints_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text("listen mysql\n bind *:3306\n mode tcp\n server db1 10.0.0.1:3306 check\n")
    result = sqlproxy("import", path)
    assert result.exit_code == 0
    assert 'address = "10.0.0.1:3306"' in result.stdout


def test_import_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_text("[mysqld]\nport=3306\n")
    result = sqlproxy("import", path)
    assert result.exit_code == 2
    assert result.stderr == f"sqlproxy: {path}: is not a configuration of MaxScale, HAProxy or ProxySQL\n"


@pytest.mark.parametrize(
    ("options", "path", "word"),
    [
        ((), "/health", "alive"),
        (("--ready",), "/ready", "ready"),
        (("--ready", "--role", "replica"), "/ready", "ready"),
    ],
)
def test_health_asks_the_probes_that_need_no_credentials(
    proxy: Proxy, options: tuple[str, ...], path: str, word: str
) -> None:
    proxy.answers |= {"/health": {"alive": True}, "/ready": {"ready": True}}
    result = sqlproxy("health", *options)
    assert (result.exit_code, result.stdout.strip()) == (0, word)
    assert proxy.asked[-1][1].partition("?")[0] == path
