"""Rows made of a runtime."""

from __future__ import annotations

import json

from pydantic import SecretStr

from sqlproxy.admin import view
from sqlproxy.topology.model import AdminState, Role

from .conftest import MONITOR_SECRET, Runtime, Service, settings
from .conftest import view as server_view


def test_a_server_nobody_has_seen_yet_is_unknown_with_a_reason() -> None:
    (first, *_) = view.servers(Runtime(settings()))
    assert (first["role"], first["state"], first["reason"]) == ("unknown", "active", "not probed yet")


def test_a_servers_load_is_the_sum_over_all_services(runtime: Runtime) -> None:
    runtime.services.append(Service("other", server_stats={"n1": type(runtime.services[0].server_stats["n1"])()}))
    for service, reads in zip(runtime.services, (3, 4), strict=True):
        service.server_stats["n1"].reads = reads
        service.server_stats["n1"].connections = 1
    rows = {row["name"]: row for row in view.servers(runtime)}
    assert (rows["n1"]["reads"], rows["n1"]["connections"]) == (7, 2)
    assert rows["n3"]["reads"] == 0


def test_a_server_row_carries_configuration_verdict_and_figures(runtime: Runtime) -> None:
    runtime.show(
        "n1",
        server_view("n1", Role.PRIMARY, latency=0.0012344, version="5.5.5-10.11.19-MariaDB", figures={"size": "3"}),
    )
    row = view.servers(runtime)[0]
    assert (row["address"], row["priority"], row["primary"]) == ("127.0.0.1:33101", 1, True)
    assert (row["latency_ms"], row["version"], row["figures"]) == (1.234, "10.11.19-MariaDB", {"size": "3"})


def test_services_show_their_counters_and_those_per_server(runtime: Runtime) -> None:
    runtime.services[0].stats.statements = 5
    runtime.services[0].waiting, runtime.services[0].pause = 3, 0.0125
    runtime.services[0].unknown_shapes = {"FROBNICATE ?": 2}
    (row,) = view.services(runtime)
    assert (row["name"], row["statements"], row["listen"]) == ("app", 5, ["127.0.0.1:4006"])
    assert (row["waiting"], row["longest_pause_ms"]) == (3, 12.5)
    assert row["unknown"] == [{"statement": "FROBNICATE ?", "count": 2}]
    assert set(row["servers"]) == {"n1", "n2"}  # type: ignore[call-overload]


def test_the_verdicts_age_counts_from_its_last_confirmation(runtime: Runtime) -> None:
    fresh_at = runtime.publisher.fresh_at
    assert view.age(runtime, fresh_at + 2) == 2
    runtime.publisher.confirm(fresh_at + 1.5)
    assert view.age(runtime, fresh_at + 2) == 0.5
    assert view.age(Runtime(settings())) is None


def test_the_monitor_row_tells_number_primary_and_alarms(runtime: Runtime) -> None:
    runtime.show("n1", server_view("n1", Role.PRIMARY), alarms=("split brain",))
    row = view.monitor(runtime)
    assert (row["snapshot"], row["primary"], row["alarms"], row["stale"]) == (2, "n1", ["split brain"], False)


def test_a_drained_primary_is_not_ready(runtime: Runtime) -> None:
    runtime.show("n1", server_view("n1", Role.PRIMARY, AdminState.DRAIN))
    assert view.ready(runtime, "primary") == (False, "the primary n1 is in state drain")


def test_reads_are_not_ready_without_a_replica(runtime: Runtime) -> None:
    runtime.show("n1", server_view("n1", Role.PRIMARY))
    assert view.ready(runtime, "replica") == (False, "no replica takes reads")


def test_accounts_never_carry_more_than_who(runtime: Runtime) -> None:
    runtime.account_rows = [{"user": "u", "host": "%", "plugin": "p", "locked": False, "tls": "", "hash": "*ABC"}]
    assert view.accounts(runtime) == [{"user": "u", "host": "%", "plugin": "p", "locked": False, "tls": ""}]


def test_every_secret_of_the_configuration_is_hidden() -> None:
    secret = "s3cret"
    users = [{"name": "a", "password": secret}, {"name": "b", "password_hash": secret}]
    admin = {"user": "ops", "password": secret, "token": secret}
    shown = view.config(Runtime(settings(accounts={"source": "static", "users": users}, admin=admin)))
    text = json.dumps(shown)
    assert secret not in text
    assert MONITOR_SECRET not in text
    hidden = {"user": "ops", "password": "***", "token": "***"}
    tls = {"mode": "preferred", "cert": "", "key": "", "ca": ""}
    assert shown["admin"] == {"listen": "127.0.0.1:8989", "sql_listen": None, "tls": tls} | hidden


def test_secrets_are_hidden_wherever_they_are_nested() -> None:
    nested = {"a": [{"password": "x"}, SecretStr("x"), {"token": 7}], "b": {"password": None, "key": ("x",)}}
    expected = {"a": [{"password": "***"}, "***", {"token": "***"}], "b": {"password": None, "key": ["x"]}}
    assert view.plain(nested) == expected
