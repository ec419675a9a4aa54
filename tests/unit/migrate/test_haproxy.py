"""haproxy.cfg, shape by shape."""

from __future__ import annotations

import pytest

from .samples import Result, line_of, sample


def note(result: Result, start: str) -> str:
    return next(text for text in result.notes if text.startswith(start))


def listen(*lines: str, head: str = "listen mysql", defaults: str = "mode tcp") -> Result:
    body = "\n".join(f"    {line}" for line in lines)
    return Result(f"defaults\n    {defaults}\n{head}\n    bind *:3306\n{body}\n")


def test_the_sample_keeps_servers_roles_and_ports() -> None:
    result = sample("haproxy.cfg")
    assert [server["priority"] for server in result.data["servers"]] == [1, 2, 3]
    assert [server["weight"] for server in result.data["servers"][:2]] == [1, 10]
    assert result.server("db3")["max_connections"] == 100
    assert result.server("db3")["proxy_protocol"] is True
    write, read = result.service("galera_write"), result.service("galera_read")
    assert write["listen"] == ["10.0.0.5:3306", "10.0.0.6:3306", "unix:/run/haproxy/mysql.sock"]
    assert (write["router"], write["role"], write["max_connections"]) == ("readconn", "primary", 800)
    assert (read["listen"], read["router"], read["role"]) == (["0.0.0.0:3307"], "readconn", "any")
    assert result.data["monitor"] == {"interval": "2s", "topology": "galera", "timeout": "2s", "user": "sqlproxy"}


def test_notes_name_the_lines_of_the_original() -> None:
    lost = dict(sample("haproxy.cfg").lost)
    assert lost[line_of("haproxy.cfg", "balance leastconn")].startswith("balance leastconn: reads go to")
    assert lost[line_of("haproxy.cfg", "backend web")] == "backend web: does not lead to MySQL servers"


def test_backups_come_after_the_others_in_their_order() -> None:
    result = listen(
        "server a 10.0.0.1:3306 check backup", "server b 10.0.0.2:3306 check", "server c 10.0.0.3:3306 backup"
    )
    assert {server["name"]: server["priority"] for server in result.data["servers"]} == {"b": 1, "a": 2, "c": 3}
    assert result.service("mysql")["role"] == "primary"


def test_servers_that_were_all_written_to_get_one_writer() -> None:
    result = listen("server a 10.0.0.1:3306 check", "server b 10.0.0.2:3306 check")
    assert result.service("mysql")["router"] == "readwritesplit"
    assert "deadlocks" in note(result, "listen mysql")


@pytest.mark.parametrize("name", ["mysql_read", "db-slaves", "galera-ro"])
def test_ports_for_reads_take_any_server(name: str) -> None:
    result = listen("server a 10.0.0.1:3306", "server b 10.0.0.2:3306", head=f"listen {name}")
    assert result.service(name)["role"] == "any"


@pytest.mark.parametrize(
    ("lines", "topology"),
    [
        (("option httpchk", "server a 10.0.0.1:3306 check port 9200"), "galera"),
        (("default-server port 9200 inter 5s", "server a 10.0.0.1:3306 check"), "galera"),
        (("option mysql-check user haproxy", "server a 10.0.0.1:3306 check"), "static"),
    ],
)
def test_the_check_tells_the_topology(lines: tuple[str, ...], topology: str) -> None:
    assert listen(*lines).data["monitor"]["topology"] == topology


def test_the_account_of_the_check_is_not_needed() -> None:
    result = listen("option mysql-check user haproxy", "server a 10.0.0.1:3306 check")
    assert "can be dropped" in note(result, "option mysql-check user haproxy")


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("bind 0.0.0.0:3310", "0.0.0.0:3310"),
        ("bind :3310", "0.0.0.0:3310"),
        ("bind :::3310 v4v6", "[::]:3310"),
        ("bind [::1]:3310", "[::1]:3310"),
        ("bind ipv4@10.0.0.9:3310 name x", "10.0.0.9:3310"),
        ("bind /run/x.sock mode 660", "unix:/run/x.sock"),
        ("bind unix@/run/x.sock", "unix:/run/x.sock"),
    ],
)
def test_ways_to_write_an_address(bind: str, address: str) -> None:
    assert listen(bind, "server a 10.0.0.1:3306").service("mysql")["listen"] == ["0.0.0.0:3306", address]


def test_a_certificate_for_clients_is_kept_and_its_difference_told() -> None:
    result = listen("bind *:3309 ssl crt /etc/x.pem", "server a 10.0.0.1:3306")
    assert result.service("mysql")["tls"] == {"mode": "required", "cert": "/etc/x.pem"}
    assert "TLS begins inside" in note(result, "bind *:3309 ssl")


@pytest.mark.parametrize(("words", "mode"), [("ssl verify none", "required"), ("ssl ca-file /ca.pem", "verify_ca")])
def test_tls_towards_servers(words: str, mode: str) -> None:
    assert listen(f"server a 10.0.0.1:3306 check {words}").server("a")["tls"]["mode"] == mode


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("timeout connect 4000", "connect_timeout", "4s"),
        ("timeout queue 45s", "failover_timeout", "45s"),
        ("maxconn 500", "max_connections", 500),
    ],
)
def test_limits_of_the_section_win_over_the_defaults(line: str, key: str, value: object) -> None:
    result = listen(line, "server a 10.0.0.1:3306", defaults="mode tcp\n    timeout connect 9s\n    timeout queue 9s")
    assert result.service("mysql")[key] == value


def test_what_cannot_be_taken_over_is_named() -> None:
    result = listen(
        "server-template db 3 db.local:3306 check",
        "server a ${DB}:3306",
        "server b 10.0.0.2:3306 disabled",
        "server c 10.0.0.3:3306",
        "frobnicate 3",
    )
    assert [server["name"] for server in result.data["servers"]] == ["c"]
    assert note(result, "server a").endswith("cannot be used as address")
    assert "sqlproxy maintenance" in note(result, "server b")
    assert note(result, "server-template").endswith("for each server")
    assert note(result, "frobnicate 3").endswith("does not know")


def test_sections_that_speak_http_are_left_out() -> None:
    text = (
        "frontend web\n mode http\n bind *:80\n default_backend app\nbackend app\n mode http\n server w 10.0.0.9:8080\n"
    )
    result = Result(text + "listen db\n mode tcp\n bind *:3306\n server a 10.0.0.1:3306\n")
    assert [server["name"] for server in result.data["servers"]] == ["a"]
    assert note(result, "frontend web").endswith("does not lead to MySQL servers")


def test_quotes_and_comments_are_read_as_haproxy_does() -> None:
    result = listen('server "a" 10.0.0.1:3306 check # the first', "server b 10.0.0.2:3306 check\\ # it's odd")
    assert [server["name"] for server in result.data["servers"]] == ["a", "b"]
