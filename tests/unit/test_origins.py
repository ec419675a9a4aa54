"""Every value of a configuration says where it came from."""

from pathlib import Path

import pytest

from sqlproxy.config import COMMAND_LINE, load

FILE = """
workers = 2
[[servers]]
name = "n1"
address = "127.0.0.1:33101"
[[servers]]
name = "n2"
address = "127.0.0.1:33102"
tls = { mode = "required" }
[monitor]
password_file = "{secret}"
interval = "200ms"
[[services]]
name = "app"
listen = "127.0.0.1:4006"
"""


def test_values_know_where_they_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, token, path = tmp_path / "secret", tmp_path / "token", tmp_path / "sqlproxy.toml"
    secret.write_text("hunter2")
    token.write_text("t0ken")
    path.write_text(FILE.replace("{secret}", str(secret)))
    monkeypatch.setenv("SQLPROXY_SERVERS__0__WEIGHT", "3")
    monkeypatch.setenv("SQLPROXY_ADMIN__TOKEN_FILE", str(token))
    monkeypatch.setenv("sqlproxy_log", '{"level": "debug"}')
    settings = load(path)
    assert settings.origins == {
        "workers": f"{path}:2",
        "servers[0].name": f"{path}:4",
        "servers[0].address": f"{path}:5",
        "servers[0].weight": "environment variable SQLPROXY_SERVERS__0__WEIGHT",
        "servers[1].name": f"{path}:7",
        "servers[1].address": f"{path}:8",
        "servers[1].tls.mode": f"{path}:9",
        "monitor.password": f"{secret}, named by {path}:11",
        "monitor.interval": f"{path}:12",
        "services[0].name": f"{path}:14",
        "services[0].listen": f"{path}:15",
        "admin.token": f"{token}, named by SQLPROXY_ADMIN__TOKEN_FILE",
        "log.level": "environment variable SQLPROXY_LOG",
    }
    assert settings.with_workers(4).origins["workers"] == COMMAND_LINE
    assert "hunter2" not in str(settings.origins)
    assert "t0ken" not in str(settings.origins)
