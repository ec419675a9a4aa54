"""What several workers did, as one service."""

from sqlproxy.config import ServiceConfig, validate
from sqlproxy.fleet import FleetService
from sqlproxy.session.stats import ServerStats, ServiceStats


def config() -> ServiceConfig:
    servers = [{"name": "n1", "address": "127.0.0.1:33101"}]
    services = [{"name": "app", "listen": "127.0.0.1:4006"}]
    return validate({"servers": servers, "services": services, "monitor": {"password": "x"}}, "test").services[0]


def report(statements: int, unknown: dict[str, int]) -> dict[str, object]:
    stats, server = ServiceStats(), ServerStats()
    stats.statements = server.reads = statements
    stats.sessions = 2
    server.read_times.add(0.001)
    servers = {"n1": server.as_dict()}
    return {
        "stats": stats.as_dict(),
        "servers": servers,
        "times": {"n1": server.durations()},
        "waiting": 1,
        "longest_pause": 0.5,
        "unknown": unknown,
    }


def test_counters_of_all_workers_are_added_up() -> None:
    fleet = FleetService(config(), ["n1"])
    fleet.report(0, report(5, {"garbage": 1}))
    fleet.report(1, report(7, {"garbage": 2, "FROBNICATE ?": 9}))
    assert (fleet.stats.statements, fleet.stats.sessions, fleet.server_stats["n1"].reads) == (12, 4, 12)
    assert fleet.server_stats["n1"].read_times.count == 2
    assert (fleet.waiting, fleet.longest_pause()) == (2, 0.5)
    assert list(fleet.unknown_shapes.items()) == [("FROBNICATE ?", 9), ("garbage", 3)]


def test_a_worker_that_ends_leaves_its_totals_but_not_its_sessions() -> None:
    fleet = FleetService(config(), ["n1"])
    fleet.report(0, report(5, {"garbage": 1}))
    fleet.forget(0)
    fleet.report(0, report(1, {"garbage": 1}))
    assert (fleet.stats.statements, fleet.stats.sessions) == (6, 2)
    assert fleet.server_stats["n1"].read_times.count == 2
    assert fleet.unknown_shapes == {"garbage": 2}
