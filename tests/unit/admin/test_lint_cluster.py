"""Differences between servers, the size of the cluster, what goes in clear."""

from __future__ import annotations

from typing import Any

import pytest

from sqlproxy.admin import lint_cluster
from sqlproxy.config import Settings, validate
from sqlproxy.topology.model import NodeReport


def configured(*servers: dict[str, Any], **service: Any) -> Settings:
    named = [
        {"name": f"n{i}", "address": f"10.0.0.{i}:3306", **own} for i, own in enumerate(servers or ({}, {}, {}), 1)
    ]
    return validate({"servers": named, "services": [{"name": "app", "listen": "127.0.0.1:4006", **service}]}, "x")


def texts(settings: Settings, *facts: dict[str, str]) -> list[str]:
    reports = [NodeReport(f"n{number}", 0.0, facts=own) for number, own in enumerate(facts, 1)]
    return [finding.text for finding in lint_cluster.cluster(reports, settings)]


def test_servers_that_are_alike_say_nothing() -> None:
    assert texts(configured(), *[{"sql_mode": "ANSI", "wsrep_cluster_size": "3"}] * 3) == []


def test_what_sessions_would_notice_is_told_with_who_has_what() -> None:
    assert texts(configured(), {"sql_mode": "ANSI"}, {"sql_mode": ""}, {"sql_mode": "ANSI"}) == [
        "sql_mode differs: ANSI on n1, n3; '' on n2"
    ]


def test_options_of_the_provider_are_compared() -> None:
    limits = [{"wsrep_provider_options": f"gcs.fc_limit = {limit}; x = 1"} for limit in (16, 16, 128)]
    assert texts(configured(), *limits) == ["gcs.fc_limit differs: 16 on n1, n2; 128 on n3"]


def test_servers_that_did_not_answer_are_not_compared() -> None:
    reports = [NodeReport("n1", 0.0, "connection refused"), NodeReport("n2", 0.0, facts={"sql_mode": ""})]
    assert list(lint_cluster.cluster(reports, configured())) == []


@pytest.mark.parametrize(
    ("size", "start"),
    [
        ("1", "wsrep_cluster_size=1: there is no second node"),
        ("2", "wsrep_cluster_size=2: a node that dies leaves no majority"),
        ("4", "wsrep_cluster_size=4: cut into halves"),
        ("5", "wsrep_cluster_size=5: the configuration names 3 of its members"),
    ],
)
def test_sizes_that_lose_the_majority_or_hide_members(size: str, start: str) -> None:
    assert texts(configured(), *[{"wsrep_cluster_size": size}] * 3)[0].startswith(start)


def test_nothing_to_fail_over_to_is_told() -> None:
    assert texts(configured({})) == ["there is one server, so nothing can fail over"]
    assert "alone may be the primary" in texts(configured({}, {"priority": 0}, {"priority": 0}))[0]
    assert texts(configured(servers=["n1"])) == ["has one server, so nothing can fail over"]


def test_public_addresses_without_tls_are_told() -> None:
    settings = configured({"address": "8.8.8.8:3306", "tls": {"mode": "disabled"}}, {"tls": {"mode": "disabled"}})
    (finding,) = lint_cluster.privacy(settings)
    assert (finding.subject, finding.text[:7]) == ("n1", "8.8.8.8")
