"""maxscale.cnf, setting by setting."""

from __future__ import annotations

import pytest

from .samples import Result, line_of, sample

SERVER = "[db1]\ntype=server\naddress=10.0.0.11\n"
SERVICE = "[RW]\ntype=service\nrouter=readwritesplit\nservers=db1\nuser=u\npassword=p\n"
LISTENER = "[L]\ntype=listener\nservice=RW\nport=4006\n"
MONITOR = "[M]\ntype=monitor\nmodule=galeramon\nservers=db1\nuser=m\npassword=p\n"
ALL = SERVER + MONITOR + SERVICE + LISTENER


def converted(server: str = "", monitor: str = "", service: str = "", listener: str = "", top: str = "") -> Result:
    sections = ((SERVER, server), (MONITOR, monitor), (SERVICE, service), (LISTENER, listener))
    return Result(f"[maxscale]\n{top}\n" + "\n".join(text + more for text, more in sections))


def note(result: Result, start: str) -> str:
    return next(text for text in result.notes if text.startswith(start))


def test_the_sample_keeps_servers_roles_and_ports() -> None:
    result = sample("maxscale.cnf")
    assert result.server("db1") == {
        "name": "db1",
        "address": "10.0.0.11:3306",
        "max_connections": 400,
        "proxy_protocol": True,
        "priority": 1,
    }
    assert result.server("db2")["tls"] == {"mode": "verify_ca", "ca": "/etc/ssl/db-ca.pem"}
    assert result.server("db3")["address"] == "[fd00::13]:3306"
    assert result.server("db3")["persistpoolmax"] == 50
    assert result.data["monitor"]["topology"] == "galera"
    assert result.data["monitor"]["available_when_donor"] is True
    assert result.service("Reads")["role"] == "replica"
    assert result.service("Reads")["servers"] == ["db2", "db3"]
    assert result.service("Splitter")["listen"] == ["[::]:4006"]
    assert result.service("Splitter")["tls"]["mode"] == "required"


def test_notes_name_the_lines_of_the_original() -> None:
    lost = dict(sample("maxscale.cnf").lost)
    assert lost[line_of("maxscale.cnf", "disable_master_failback")].startswith(
        "disable_master_failback=true: the primary"
    )
    assert lost[line_of("maxscale.cnf", "module=qlafilter") - 2].startswith("[Log] module=qlafilter: slow_log")


@pytest.mark.parametrize(("theirs", "ours"), [("1", 1), ("7", 7), ("0", 1000), ("-1", 0), ("x", 1000)])
def test_priorities_are_galeramons(theirs: str, ours: int) -> None:
    result = converted(server=f"priority={theirs}\n", monitor="use_priority=true\n")
    assert result.server("db1")["priority"] == ours


def test_priorities_that_had_no_effect_have_none() -> None:
    result = converted(server="priority=3\n")
    assert "priority" not in result.server("db1")
    assert note(result, "priority=3").endswith("priorities had no effect, as use_priority is off")


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("transaction_replay=false", "transaction_replay", False),
        ("transaction_replay_max_size=1Mi", "transaction_replay_max_size", 1 << 20),
        ("transaction_replay_attempts=3", "transaction_replay_attempts", 3),
        ("transaction_replay_checksum=no_insert_id", "transaction_replay_checksum", "no_insert_id"),
        ("delayed_retry_timeout=20", "failover_timeout", "20s"),
        ("causal_reads=none", "causal_reads", "none"),
        ("causal_reads=local", "causal_reads", "session"),
        ("causal_reads_timeout=1500ms", "causal_reads_timeout", "1500ms"),
        ("master_accept_reads=true", "primary_accepts_reads", True),
        ("max_connections=100", "max_connections", 100),
        ("connection_keepalive=300s", "connection_keepalive", "300s"),
        ("max_sescmd_history=20", "max_session_history", 20),
    ],
)
def test_options_of_readwritesplit(setting: str, key: str, value: object) -> None:
    assert converted(service=setting + "\n").service("RW")[key] == value


@pytest.mark.parametrize(
    ("options", "role"),
    [
        ("", "any"),
        ("router_options=master", "primary"),
        ("router_options=slave", "replica"),
        ("router_options=synced", "any"),
        ("router_options=master,slave", "any"),
    ],
)
def test_roles_of_readconnroute(options: str, role: str) -> None:
    result = Result(
        ALL.replace("readwritesplit", "readconnroute").replace("password=p\n[L]", f"password=p\n{options}\n[L]")
    )
    assert (result.service("RW")["router"], result.service("RW")["role"]) == ("readconn", role)


@pytest.mark.parametrize("setting", ["monitor_interval=3000", "monitor_interval=3s", "monitor-interval=3000ms"])
def test_the_interval_keeps_its_unit_and_verdicts_stay_fresh(setting: str) -> None:
    assert converted(monitor=setting + "\n").data["monitor"]["interval"] == "3s"
    slow = converted(monitor="monitor_interval=20s\nbackend_read_timeout=5\n").data["monitor"]
    assert (slow["interval"], slow["timeout"], slow["stale_after"]) == ("20s", "5s", "1m")


def test_replication_is_taken_for_servers_managed_elsewhere() -> None:
    result = Result(ALL.replace("galeramon", "mariadbmon\nauto_failover=true"))
    assert result.data["monitor"]["topology"] == "static"
    told = [text for text in result.notes if text.startswith("module=mariadbmon")]
    for word in ("read_only = ON", "lags", "nothing is promoted", "own write may miss it"):
        assert len([text for text in told if word in text]) == 1, (word, told)
    assert "with another tool" in note(result, "auto_failover=true")


def test_weights_named_by_a_service_become_weights() -> None:
    result = converted(server="share=3\n", service="weightby=share\n")
    assert result.server("db1")["weight"] == 3


def test_the_servers_of_a_service_may_be_those_of_a_monitor() -> None:
    two = ALL + "[db2]\ntype=server\naddress=10.0.0.12\n"
    assert Result(two.replace("router=readwritesplit\nservers=db1", "router=readwritesplit\ncluster=M")).service("RW")[
        "servers"
    ] == ["db1"]
    everything = two.replace("servers=db1", "servers=db1,db2")
    assert "servers" not in Result(everything).service("RW")


@pytest.mark.parametrize(
    ("setting", "mode"),
    [
        ("ssl=true", "required"),
        ("ssl=required", "required"),
        ("ssl=true\nssl_verify_peer_certificate=true", "verify_ca"),
        ("ssl=true\nssl_verify_peer_host=on", "verify_identity"),
    ],
)
def test_tls_towards_servers(setting: str, mode: str) -> None:
    assert converted(server=setting + "\n").server("db1")["tls"]["mode"] == mode


def test_sockets_on_both_sides() -> None:
    result = Result(ALL.replace("address=10.0.0.11", "socket=/run/db.sock").replace("port=4006", "socket=/run/p.sock"))
    assert result.server("db1")["address"] == "unix:/run/db.sock"
    assert result.service("RW")["listen"] == ["unix:/run/p.sock"]


def test_balancers_in_front_are_believed_as_before() -> None:
    result = converted(listener="proxy_protocol_networks=10.0.0.0/8,localhost\n")
    assert result.service("RW")["proxy_protocol_networks"] == ["10.0.0.0/8", "localhost"]


def test_threads_are_processes() -> None:
    assert converted(top="threads=4").data["workers"] == 4
    assert "workers" not in converted(top="threads=1").data
    assert "number of processors" in note(converted(top="threads=auto"), "threads=auto")


def test_an_encrypted_password_cannot_be_taken_over() -> None:
    result = Result(ALL.replace("password=p\n[RW]", "password=1:96F99AA1315BDC3604B006F427DD9484\n[RW]"))
    assert "password" not in result.data["monitor"]
    assert "is encrypted with MaxScale's key" in note(result, "password=***")


@pytest.mark.parametrize("service", ["schemarouter", "binlogrouter", "cli", "brandnew"])
def test_services_of_other_routers_are_left_out_with_their_listeners(service: str) -> None:
    result = Result(ALL.replace("readwritesplit", service))
    assert result.service("app")["listen"] == ["127.0.0.1:4006"]
    assert f"[RW] router={service}" in "".join(result.notes)
    assert any(text.startswith("[L]: its service") for text in result.notes)


def test_unknown_sections_and_settings_are_named() -> None:
    result = Result(ALL + "brand_new=1\n[x]\ntype=novel\n")
    assert note(result, "brand_new=1").endswith("a setting this import does not know")
    assert note(result, "[x] type=novel").endswith("this part of the file is not understood")


def test_names_with_spaces_become_names() -> None:
    assert Result(ALL.replace("RW", "My Split Router")).service("My-Split-Router")


def test_a_second_monitor_is_named() -> None:
    other = "[db9]\ntype=server\naddress=10.0.0.19\n" + MONITOR.replace("[M]", "[M2]").replace("db1", "db9")
    assert "one monitor watches all servers" in note(Result(ALL + other), "[M2]")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "module=namedserverfilter\nmatch=^SELECT.*archive\nserver=db1",
            {"pattern": "^SELECT.*archive", "route": "server=db1"},
        ),
        ("module=namedserverfilter\nmatch01=x\ntarget01=->master", {"route": "primary"}),
        ("module=regexfilter\nmatch=TYPE=\nreplace=ENGINE=", {"pattern": "TYPE=", "rewrite": "ENGINE="}),
        ("module=maxrows\nmax_resultset_rows=1000", {"max_rows": 1000}),
        (
            "module=maxrows\nmax_resultset_rows=5\nuser=report\nsource=10.0.0.7",
            {"user": ["report"], "client": ["10.0.0.7"]},
        ),
    ],
)
def test_filters_that_are_rules_become_rules(lines: str, expected: dict[str, object]) -> None:
    result = Result(ALL.replace("user=u\n", "user=u\nfilters=F\n") + f"[F]\ntype=filter\n{lines}\n")
    (made,) = result.data["rules"]
    assert made["service"] == ["RW"]
    assert made["stop"] is False
    assert {key: made[key] for key in expected} == expected


def test_a_filter_that_nobody_uses_makes_no_rule() -> None:
    result = Result(ALL + "[F]\ntype=filter\nmodule=maxrows\nmax_resultset_rows=5\n")
    assert "rules" not in result.data
    assert note(result, "[F] module=maxrows").endswith("no service uses it")


def test_a_filter_for_an_unknown_server_is_named() -> None:
    text = ALL.replace("user=u\n", "user=u\nfilters=F\n")
    result = Result(text + "[F]\ntype=filter\nmodule=namedserverfilter\nmatch=x\nserver=gone\n")
    assert note(result, "server=gone").endswith("is no server or role that a rule could name")
