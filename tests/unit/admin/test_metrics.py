"""Prometheus metrics."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sqlproxy.admin.metrics import Metrics
from sqlproxy.topology.model import Role

from .conftest import Runtime, settings, view


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Name and label values (service, server, then the others) → value, as a Prometheus server reads them."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, *_values(s.labels)): s.value for family in families for s in family.samples}


def sorted_labels(text: str) -> str:
    """The exposition with the labels of each line in order."""
    return re.sub(r"\{(.*?)\}", lambda match: "{" + ",".join(sorted(match[1].split(","))) + "}", text)


def _values(labels: dict[str, str]) -> list[str]:
    order = {"service": 0, "server": 1}
    return [labels[name] for name in sorted(labels, key=lambda name: order.get(name, 2))]


def test_roles_and_states_are_one_or_zero(runtime: Runtime) -> None:
    found = samples(Metrics(runtime))
    assert found["sqlproxy_server_role", "n1", "primary"] == 1
    assert found["sqlproxy_server_role", "n1", "replica"] == 0
    assert found["sqlproxy_server_state", "n2", "active"] == 1
    assert {key[2] for key in found if key[:2] == ("sqlproxy_server_role", "n1")} == {role.value for role in Role}


def test_the_data_paths_counters_are_read_when_asked(runtime: Runtime) -> None:
    metrics = Metrics(runtime)
    service, stats = runtime.services[0].stats, runtime.services[0].server_stats["n1"]
    service.sessions, service.sessions_total, service.outcomes_unknown = 2, 9, 1
    stats.reads, stats.writes, stats.losses, stats.bytes_sent, stats.operations = 5, 6, 7, 8, 3
    found = samples(metrics)
    assert found["sqlproxy_service_sessions", "app"] == 2
    assert found["sqlproxy_service_sessions_total", "app"] == 9
    assert found["sqlproxy_service_outcomes_unknown_total", "app"] == 1
    assert found["sqlproxy_server_statements_total", "app", "n1", "read"] == 5
    assert found["sqlproxy_server_statements_total", "app", "n1", "write"] == 6
    assert found["sqlproxy_server_losses_total", "app", "n1"] == 7
    assert found["sqlproxy_server_sent_bytes_total", "app", "n1"] == 8
    assert found["sqlproxy_server_operations", "app", "n1"] == 3


def test_every_counter_of_the_data_path_has_a_metric(runtime: Runtime) -> None:
    metrics = Metrics(runtime)
    service, server = runtime.services[0].stats, runtime.services[0].server_stats["n1"]
    expected = set()
    for number, (stats, name) in enumerate([(s, n) for s in (service, server) for n in s.__slots__], 1001):
        setattr(stats, name, number)
        expected.add(number)
    assert expected <= set(samples(metrics).values())


def test_a_primary_change_is_another_server_than_the_last(runtime: Runtime) -> None:
    metrics = Metrics(runtime)
    for primary, changes in (("n1", 0), (None, 0), ("n1", 0), ("n2", 1), (None, 1), ("n3", 2)):
        runtime.show(primary, view("n1"))
        assert samples(metrics)["sqlproxy_primary_changes_total",] == changes
    metrics.close()
    metrics.close()
    runtime.show("n1", view("n1"))
    assert samples(metrics)["sqlproxy_primary_changes_total",] == 2


def test_the_first_primary_ever_is_no_change() -> None:
    runtime = Runtime(settings())
    metrics = Metrics(runtime)
    assert not [key for key in samples(metrics) if key[0] == "sqlproxy_snapshot_age_seconds"]
    runtime.show("n1", view("n1", Role.PRIMARY))
    found = samples(metrics)
    assert found["sqlproxy_primary_changes_total",] == 0
    assert found["sqlproxy_snapshot_number",] == 1
    assert 0 <= found["sqlproxy_snapshot_age_seconds",] < 60


def test_names_cannot_break_out_of_their_labels(runtime: Runtime) -> None:
    runtime.services[0].name = 'a"} 1\nsqlproxy_up 0\\'
    found = samples(Metrics(runtime))
    assert found["sqlproxy_service_sessions", 'a"} 1\nsqlproxy_up 0\\'] == 0
    assert found["sqlproxy_up",] == 1


def test_every_metric_is_ours_or_the_processs_and_explained(runtime: Runtime) -> None:
    text = Metrics(runtime).text().decode()
    types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    for name, kind in types:
        assert name.startswith(("sqlproxy_", "process_"))
        assert len(helps[name]) > 10
        assert name.endswith("_total") == (kind == "counter")


def test_durations_are_histograms_with_their_sums(runtime: Runtime) -> None:
    stats = runtime.services[0].server_stats["n1"]
    for seconds in (0.0002, 0.003, 0.003, 100.0):
        stats.read_times.add(seconds)
    stats.connects.add(0.01)
    text = sorted_labels(Metrics(runtime).text().decode())
    for bound, count in (("0.000125", 0), ("0.00025", 1), ("0.002", 1), ("0.004", 3), ("32.768", 3), ("+Inf", 4)):
        line = f'_bucket{{kind="read",le="{bound}",server="n1",service="app"}} {count}.0'
        assert f"sqlproxy_server_statement_seconds{line}" in text
    found = samples(Metrics(runtime))
    assert found["sqlproxy_server_statement_seconds_count", "app", "n1", "read"] == 4
    assert found["sqlproxy_server_statement_seconds_sum", "app", "n1", "read"] == pytest.approx(100.0062)
    assert found["sqlproxy_server_connect_seconds_count", "app", "n1"] == 1


def test_errors_are_told_apart_by_fault(runtime: Runtime) -> None:
    runtime.services[0].stats.faults_proxy = 3
    found = samples(Metrics(runtime))
    assert found["sqlproxy_service_errors_total", "app", "proxy"] == 3
    assert found["sqlproxy_service_errors_total", "app", "client"] == 0
