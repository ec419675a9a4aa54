"""What a changed configuration means for a running proxy: sentences, what stays until a restart, who has to leave."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from sqlproxy.config import Settings, validate
from sqlproxy.errors import ConfigError
from sqlproxy.reload import plan

BASE: dict[str, Any] = {
    "servers": [{"name": f"n{i}", "address": f"10.0.0.{i}:3306"} for i in (1, 2, 3)],
    "services": [{"name": "app", "listen": "127.0.0.1:4006"}],
    "monitor": {"password": "secret"},
    "admin": {},
    "accounts": {},
    "log": {},
}
Change = Callable[[dict[str, Any]], object]


def settings(*changes: Change) -> Settings:
    data = copy.deepcopy(BASE)
    for change in changes:
        change(data)
    return validate(data, "test")


CHANGES: list[tuple[Change, str]] = [
    (lambda d: d["servers"].append({"name": "n4", "address": "10.0.0.4:3306"}), "servers.n4: added"),
    (lambda d: d["servers"].pop(), "servers.n3: removed, drained first"),
    (lambda d: d["servers"].reverse(), "servers: in another order"),
    (lambda d: d["servers"][1].update(weight=3), "servers.n2.weight: 1 -> 3"),
    (
        lambda d: d["servers"][1].update(address="10.0.0.9:3306"),
        "servers.n2.address: 10.0.0.2:3306 -> 10.0.0.9:3306, once it is drained",
    ),
    (lambda d: d["servers"][1].update(tls={"mode": "required"}), "servers.n2.tls.mode: preferred -> required"),
    (lambda d: d["monitor"].update(interval="200ms"), "monitor.interval: 0.5s -> 0.2s"),
    (lambda d: d["monitor"].update(password="other"), "monitor.password: changed"),
    (lambda d: d["accounts"].update(users=[{"name": "a", "password": "p"}]), "accounts.users: changed"),
    (lambda d: d["services"].append({"name": "b", "listen": "127.0.0.1:4007"}), "services.b: added"),
    (
        lambda d: d["services"][0].update(listen=["127.0.0.1:4006", "127.0.0.1:4008"]),
        "services.app.listen: [127.0.0.1:4006] -> [127.0.0.1:4006, 127.0.0.1:4008]",
    ),
    (lambda d: d["services"][0].update(exactly_once=True), "services.app.exactly_once: false -> true"),
    (lambda d: d["services"][0].update(servers=["n1"]), "services.app.servers: [] -> [n1]"),
    (lambda d: d["admin"].update(token="t"), "admin.token: changed"),
    (lambda d: d["log"].update(level="debug"), "log.level: info -> debug"),
]


@pytest.mark.parametrize(("change", "sentence"), CHANGES, ids=[sentence for _, sentence in CHANGES])
def test_a_change_is_one_sentence_and_in_force(change: Change, sentence: str) -> None:
    wanted = settings(change)
    found = plan(settings(), wanted)
    assert found.changes == (sentence,)
    assert found.settings == wanted


def test_nothing_changed_is_no_sentence() -> None:
    assert plan(settings(), settings()).changes == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.update(workers=2), "workers needs a restart: 0 -> 2"),
        (
            lambda d: d["monitor"].update(topology="static"),
            "monitor.topology needs a restart: galera -> static",
        ),
        (
            lambda d: d["admin"].update(listen="127.0.0.1:9999", token="t"),
            "admin.listen needs a restart: 127.0.0.1:8989 -> 127.0.0.1:9999",
        ),
    ],
)
def test_what_needs_a_restart_is_named_and_stays(change: Change, sentence: str) -> None:
    found = plan(settings(), settings(change))
    assert found.changes == (sentence,)
    assert found.settings == settings()


def test_a_change_that_depends_on_one_that_needs_a_restart_is_refused() -> None:
    static = settings(lambda d: d["monitor"].update(topology="static"))
    with pytest.raises(ConfigError, match="a change of that needs a restart"):
        plan(static, settings(lambda d: d["services"][0].update(exactly_once=True)))


def test_no_secret_is_in_a_sentence() -> None:
    changes = plan(settings(), settings(lambda d: d["monitor"].update(password="hunter2"))).changes
    assert "hunter2" not in " ".join(changes)
    assert "secret" not in " ".join(changes)


def test_servers_that_leave_stay_as_they_were_until_they_are_drained() -> None:
    def change(data: dict[str, Any]) -> None:
        data["servers"].pop()
        data["servers"][1]["address"] = "10.0.0.9:3306"

    running = settings()
    found = plan(running, settings(change))
    assert found.leaving == ("n2", "n3")
    meanwhile = found.meanwhile(running)
    assert [(s.name, str(s.address)) for s in meanwhile.servers] == [
        ("n1", "10.0.0.1:3306"),
        ("n2", "10.0.0.2:3306"),
        ("n3", "10.0.0.3:3306"),
    ]
    assert plan(meanwhile, running).leaving == ()  # taken back


def test_a_service_of_named_servers_keeps_those_that_leave() -> None:
    running = settings(lambda d: d["services"][0].update(servers=["n1", "n3"]))

    def change(data: dict[str, Any]) -> None:
        data["servers"].pop()
        data["services"][0]["servers"] = ["n1"]

    found = plan(running, settings(change))
    assert found.meanwhile(running).services[0].servers == ["n1", "n3"]
    assert found.settings.services[0].servers == ["n1"]
