"""View changes seen at different moments are told from split brains, and neither moves the primary."""

import pytest

from sqlproxy.monitor.base import Verdict
from sqlproxy.topology.model import NodeReport, Role, Snapshot

from .cases import NOW, OTHER_UUID, UUID, down, judge, previous, report, seen

BEFORE = previous("n1", "n1", "n2", "n3")


def old(name: str, index: int, at: float) -> NodeReport:
    return report(name, index, at, cluster_conf_id="7")


def new(name: str, index: int, at: float) -> NodeReport:
    return report(name, index, at, cluster_conf_id="8", cluster_size="2", incoming_addresses=f"{name}:3306")


def split(at: float, before: Snapshot = BEFORE, preferred: str | None = None) -> Verdict:
    """n1 in view 7 against n2 and n3 in view 8, still disagreeing after two rounds."""

    def reports(when: float) -> list[NodeReport]:
        alone = report("n1", 0, when, cluster_size="1")
        return [alone, new("n2", 0, when), report("n3", 1, when, cluster_conf_id="8")]

    first = judge(*reports(at), before=before, now=at)
    later = at + 1.1
    return judge(*reports(later), before=before, now=later, memory=first.memory, preferred=preferred)


def test_a_probe_taken_during_a_view_change_changes_nothing_and_is_repeated() -> None:
    verdict = judge(old("n1", 0, NOW), new("n2", 0, NOW + 0.01), old("n3", 2, NOW), before=BEFORE)
    assert verdict.primary == "n1"
    assert seen(verdict, "n1").reason == "synced"  # the reason it had: nobody is woken
    assert [view.role for view in verdict.servers] == [Role.PRIMARY, Role.REPLICA, Role.REPLICA]
    assert set(verdict.recheck) == {"n1", "n2", "n3"}
    assert verdict.alarms == ()


def test_once_the_reports_agree_the_rule_decides_again() -> None:
    first = judge(old("n1", 1, NOW), new("n2", 0, NOW), before=BEFORE)
    after = judge(
        new("n1", 1, NOW + 0.1), report("n2", 0, NOW, cluster_conf_id="8"), before=BEFORE, memory=first.memory
    )
    assert after.primary == "n2"
    assert after.recheck == ()


def test_nobody_new_becomes_primary_while_views_differ() -> None:
    verdict = judge(down("n1"), new("n2", 0, NOW), old("n3", 2, NOW), before=BEFORE)
    assert verdict.primary is None
    assert verdict.alarms == ("no primary: views differ, and the current primary is in none of them",)
    assert seen(verdict, "n2").readable


def test_a_server_that_was_not_usable_is_not_let_in_from_another_view() -> None:
    verdict = judge(old("n1", 0, NOW), new("n2", 0, NOW), before=previous("n1", "n1"))
    assert seen(verdict, "n2").role is Role.NON_PRIMARY
    assert seen(verdict, "n2").reason == "in another view: wsrep_cluster_conf_id=8, not 7"


def test_views_that_still_differ_in_newer_reports_are_a_split_brain() -> None:
    verdict = split(NOW)
    assert verdict.primary == "n1"
    assert seen(verdict, "n1").reason == "synced, kept while the cluster is split"
    assert seen(verdict, "n2").reason == "on the other side of a split brain: n2, n3 in view 8"
    assert not seen(verdict, "n3").usable
    expected = f"split brain: several Primary components with state uuid {UUID}: n2, n3 in view 8 against n1 in view 7"
    assert verdict.alarms == (f"{expected}; staying with n1",)


def test_a_node_that_slept_through_a_view_change_is_no_split_brain() -> None:
    before = previous("n2", "n2", "n3")

    def woken(at: float) -> list[NodeReport]:
        return [old("n1", 0, at), new("n2", 0, at), report("n3", 1, at, cluster_conf_id="8")]

    first = judge(*woken(NOW), before=before, now=NOW)
    assert (first.primary, first.alarms) == ("n2", ())
    later = judge(*woken(NOW + 1.1), before=before, now=NOW + 1.1, memory=first.memory)
    assert (later.primary, later.alarms) == ("n2", ())
    assert seen(later, "n1").reason == "behind: it still sees view 7, the others 8"
    dead = [old("n1", 0, NOW + 2), down("n2"), report("n3", 0, NOW + 2, cluster_conf_id="8")]
    after = judge(*dead, before=before, now=NOW + 2, memory=later.memory)
    assert after.primary is None  # one against one: nobody knows who is behind


def test_an_old_report_is_no_evidence_of_a_split_brain() -> None:
    first = judge(old("n1", 0, NOW), new("n2", 0, NOW), before=BEFORE, now=NOW)
    later = NOW + 9
    verdict = judge(old("n1", 0, NOW), new("n2", 0, later), before=BEFORE, now=later, memory=first.memory)
    assert verdict.alarms == ()


def test_view_changes_following_each_other_are_no_split_brain() -> None:
    memory: object = None
    for step in range(10):
        at = NOW + step * 0.4
        reports = [
            report("n1", 0, at, cluster_conf_id=str(7 + step)),
            report("n2", 1, at, cluster_conf_id=str(8 + step)),
        ]
        verdict = judge(*reports, before=BEFORE, now=at, memory=memory)
        memory = verdict.memory
        assert not any("split" in alarm for alarm in verdict.alarms)


def test_in_a_split_brain_nothing_moves_when_the_primary_fails() -> None:
    first = split(NOW)
    at = NOW + 5
    reports = [
        report("n1", 0, at, read_only="ON"),
        new("n2", 0, at),
        report("n3", 1, at, cluster_conf_id="8"),
    ]
    verdict = judge(*reports, before=BEFORE, now=at, memory=first.memory)
    assert verdict.primary is None
    assert verdict.alarms[-1].startswith("no primary: the cluster is split")


def test_without_a_current_primary_a_split_brain_waits_for_the_operator() -> None:
    nobody = Snapshot(0, 0.0)
    verdict = split(NOW, before=nobody)
    assert verdict.primary is None
    assert not any(view.usable for view in verdict.servers)
    assert "none has the current primary" in verdict.alarms[0]
    chosen = split(NOW, before=nobody, preferred="n3")
    assert chosen.primary == "n3"
    assert seen(chosen, "n2").role is Role.REPLICA
    assert seen(chosen, "n1").role is Role.NON_PRIMARY


def test_a_split_brain_is_over_when_one_side_is_left() -> None:
    first = split(NOW)
    at = NOW + 5
    verdict = judge(
        down("n1", at=at), new("n2", 0, at), report("n3", 1, at, cluster_conf_id="8"), memory=first.memory, now=at
    )
    assert verdict.primary == "n2"
    assert verdict.alarms == ()


@pytest.mark.parametrize("incoming", ["own", "AUTO"])
def test_two_halves_with_the_same_conf_id_are_noticed_by_their_indexes(incoming: str) -> None:
    def half(name: str, index: int, members: str, at: float) -> NodeReport:
        addresses = members if incoming == "own" else "AUTO,AUTO"
        return report(name, index, at, cluster_size="2", incoming_addresses=addresses)

    def reports(at: float) -> list[NodeReport]:
        left = [half("n1", 0, "n1,n2", at), half("n2", 1, "n1,n2", at)]
        return [*left, half("n3", 0, "n3,n4", at), half("n4", 1, "n3,n4", at)]

    before = previous("n1", "n1", "n2", "n3", "n4")
    first = judge(*reports(NOW), before=before, now=NOW)
    verdict = judge(*reports(NOW + 2), before=before, now=NOW + 2, memory=first.memory)
    assert verdict.primary == "n1"
    assert verdict.alarms[0].startswith("split brain")
    assert seen(verdict, "n2").usable == (incoming == "own")
    assert not seen(verdict, "n3").usable


def test_another_cluster_is_not_used_and_reported() -> None:
    stranger = report("n3", 0, cluster_state_uuid=OTHER_UUID, cluster_size="1")
    verdict = judge(report("n1", 1), report("n2", 2), stranger, before=BEFORE)
    assert verdict.primary == "n1"
    assert seen(verdict, "n3").role is Role.NON_PRIMARY
    reason = f"in another cluster: wsrep_cluster_state_uuid={OTHER_UUID}, not {UUID}"
    assert seen(verdict, "n3").reason == reason
    assert verdict.alarms == (f"foreign cluster: n3 (state uuid {OTHER_UUID}) not of the cluster {UUID}",)


def test_a_primary_bootstrapped_anew_loses_to_the_many_that_hold_the_data() -> None:
    wiped = report("n1", 0, cluster_state_uuid=OTHER_UUID, cluster_size="1")
    assert judge(wiped, report("n2", 1), report("n3", 2), before=BEFORE).primary == "n2"


def test_between_equal_clusters_the_known_one_and_then_the_primary_decides() -> None:
    known = judge(report("n1", 0), report("n2", 1), before=BEFORE).memory
    stranger = report("n2", 0, cluster_state_uuid=OTHER_UUID, cluster_size="1")
    assert judge(report("n1", 0), stranger, before=previous("n2", "n1", "n2"), memory=known).primary == "n1"
    assert judge(report("n1", 0), stranger, before=previous("n2", "n1", "n2")).primary == "n2"
