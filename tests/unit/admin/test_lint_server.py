"""What the variables of one server say against it."""

from __future__ import annotations

from typing import Any

import pytest

from sqlproxy.admin import lint_server
from sqlproxy.admin.finding import Finding, Level
from sqlproxy.config import Settings, validate
from sqlproxy.topology.model import NodeReport


def configured(monitor: dict[str, Any] | None = None, server: dict[str, Any] | None = None, **service: Any) -> Settings:
    return validate(
        {
            "servers": [{"name": "n1", "address": "10.0.0.1:3306", **(server or {})}],
            "monitor": monitor or {},
            "services": [{"name": "app", "listen": "127.0.0.1:4006", **service}],
        },
        "x",
    )


def found(facts: dict[str, str], settings: Settings | None = None) -> list[Finding]:
    return list(lint_server.server(NodeReport("n1", 0.0, facts=facts), settings or configured()))


@pytest.mark.parametrize(
    ("variable", "bad", "good", "level"),
    [
        ("innodb_flush_log_at_trx_commit", "2", "1", Level.WARN),
        ("innodb_snapshot_isolation", "OFF", "ON", Level.WARN),
        ("autocommit", "OFF", "ON", Level.WARN),
        ("init_connect", "SET @x = 1", "", Level.WARN),
        ("default_storage_engine", "MyISAM", "InnoDB", Level.WARN),
        ("wsrep_sync_wait", "1", "0", Level.WARN),
        ("binlog_format", "MIXED", "ROW", Level.FAIL),
        ("innodb_autoinc_lock_mode", "1", "2", Level.WARN),
        ("wsrep_certify_nonpk", "OFF", "ON", Level.FAIL),
        ("wsrep_osu_method", "RSU", "TOI", Level.WARN),
        ("wsrep_node_incoming_address", "AUTO", "10.0.0.1:3306", Level.WARN),
        ("wsrep_provider_options", "a = 1; pc.ignore_sb = true; b = 2", "pc.ignore_sb = false", Level.FAIL),
        ("wsrep_provider_options", "pc.ignore_quorum = true", "pc.ignore_quorum = false;", Level.FAIL),
        ("wsrep_provider_options", "evs.suspect_timeout = PT35S;", "evs.suspect_timeout = PT5S;", Level.WARN),
        ("wait_timeout", "300", "28800", Level.WARN),
        ("max_user_connections", "50", "0", Level.WARN),
        ("proxy_protocol_networks", "*", "10.0.0.20", Level.WARN),
    ],
)
def test_each_bad_value_is_told_with_its_fix_and_no_good_one(variable: str, bad: str, good: str, level: Level) -> None:
    (finding,) = found({variable: bad})
    assert (finding.level, finding.subject) == (level, "n1")
    assert "=" in finding.text
    assert finding.fix
    assert found({variable: good}) == []


def test_galeras_rules_are_for_galera_alone() -> None:
    facts = {"binlog_format": "MIXED", "wsrep_sync_wait": "1", "wsrep_osu_method": "RSU"}
    assert found(facts, configured({"topology": "static"})) == []


def test_a_binary_log_that_a_crash_shortens_is_told_of_where_replicas_read_it() -> None:
    facts = {"log_bin": "ON", "sync_binlog": "0"}
    (finding,) = found(facts, configured({"topology": "static"}))
    assert finding.text.startswith("sync_binlog=0: after a crash")
    assert found(facts) == []


def test_a_donor_that_is_blocked_cannot_be_read_from() -> None:
    (finding,) = found({"wsrep_sst_method": "rsync"}, configured({"available_when_donor": True}))
    assert "available_when_donor has no effect" in finding.text
    assert found({"wsrep_sst_method": "rsync"}) == []


def test_limits_of_the_service_are_compared_with_the_servers() -> None:
    settings = configured(max_connections=500, max_allowed_packet="64MiB", connection_keepalive="0s")
    texts = [
        f.text
        for f in found({"max_connections": "151", "max_allowed_packet": "16777216", "wait_timeout": "60"}, settings)
    ]
    assert [text.partition(":")[0] for text in texts] == [
        "wait_timeout=60",
        "max_allowed_packet=16777216",
        "max_connections=151",
    ]
    assert found({"max_allowed_packet": "16777216"}) == []  # nobody has asked for more


def test_headers_that_a_server_does_not_expect_fail() -> None:
    settings = configured(server={"proxy_protocol": True})
    (finding,) = found({"proxy_protocol_networks": "", lint_server.SEEN_FROM: "10.0.0.20"}, settings)
    assert finding.level is Level.FAIL
    assert finding.fix == "SET GLOBAL proxy_protocol_networks = '10.0.0.20'"
    assert found({"proxy_protocol_networks": "10.0.0.20"}, settings) == []


def test_a_server_that_wants_tls_gets_it() -> None:
    refused = configured(server={"tls": {"mode": "disabled"}})
    assert [f.level for f in found({"require_secure_transport": "ON"}, refused)] == [Level.FAIL]
    assert found({"require_secure_transport": "ON"}) == []


def test_a_monitor_that_may_do_more_than_read_is_told_of() -> None:
    facts = {f"{lint_server.PRIVILEGE}super": "", f"{lint_server.PRIVILEGE}process": ""}
    (finding,) = found(facts)
    assert finding.text == "the monitor user 'monitor' may SUPER everywhere, and needs to read one table"


@pytest.mark.parametrize(("text", "value"), [("PT5S", 5.0), ("PT0.5S", 0.5), ("PT1M30S", 90.0), ("PT1H", 3600.0)])
def test_periods(text: str, value: float) -> None:
    assert lint_server.seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "PT", "P1D"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no period"):
        lint_server.seconds(text)


@pytest.mark.parametrize("value", ["", "soon", "=;=", "evs.suspect_timeout = ;"])
def test_values_that_make_no_sense_say_nothing(value: str) -> None:
    names = ("wait_timeout", "max_connections", "max_allowed_packet", "wsrep_provider_options", lint_server.NOW)
    assert found(dict.fromkeys(names, value)) == []
