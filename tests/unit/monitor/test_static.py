"""Servers judged by health alone."""

from sqlproxy.monitor.base import Situation, Verdict
from sqlproxy.monitor.static import Static
from sqlproxy.topology.model import NodeReport, Role, Server, Snapshot

from .cases import NOW, down, seen, server


def judge(*reports: NodeReport, servers: tuple[Server, ...] = (server("a"), server("b"))) -> Verdict:
    situation = Situation(servers, {r.server: r for r in reports}, {}, Snapshot(0, 0.0), NOW)
    return Static().assess(situation)


def up(name: str, read_only: str = "OFF") -> NodeReport:
    return NodeReport(name, NOW, facts={"read_only": read_only})


def test_every_reachable_server_is_usable_and_the_first_is_primary() -> None:
    verdict = judge(up("b"), up("a"))
    assert verdict.primary == "a"
    assert seen(verdict, "a").reason == "reachable, first of priority 1"
    assert seen(verdict, "b").role is Role.REPLICA
    assert seen(verdict, "b").reason == "reachable"


def test_the_place_in_the_file_decides_between_equal_priorities() -> None:
    assert judge(up("a"), up("b"), servers=(server("b"), server("a"))).primary == "b"
    assert judge(up("a"), up("b"), servers=(server("b", 2), server("a", 1))).primary == "a"


def test_a_read_only_server_is_no_primary() -> None:
    verdict = judge(up("a", "ON"), up("b"))
    assert verdict.primary == "b"
    assert seen(verdict, "a").reason == "reachable, never primary: read_only=ON"


def test_an_unreachable_primary_is_replaced_and_none_is_an_alarm() -> None:
    assert judge(down("a"), up("b")).primary == "b"
    verdict = judge(down("a"), down("b"))
    assert verdict.primary is None
    assert verdict.alarms == ("no primary: no reachable server may be primary",)
