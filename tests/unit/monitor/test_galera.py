"""Each rule of the Galera verdict, on rows as servers give them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.monitor.galera import STATUS, VARIABLES, Galera
from sqlproxy.topology.model import AdminState, NodeReport, Role, Snapshot

from .cases import (
    NOW,
    OTHER_UUID,
    UUID,
    down,
    judge,
    previous,
    report,
    rows,
    seen,
    server,
)

DONOR = {"local_state": "2", "local_state_comment": "Donor/Desynced"}


def test_lowest_local_index_is_primary_and_the_others_are_replicas() -> None:
    verdict = judge(report("n1", 2), report("n2", 0), report("n3", 1))
    assert verdict.primary == "n2"
    assert seen(verdict, "n2").role is Role.PRIMARY
    assert seen(verdict, "n2").reason == "synced, lowest local index 0 of priority 1"
    assert seen(verdict, "n1").role is Role.REPLICA
    assert seen(verdict, "n1").reason == "synced, local index 2"
    assert verdict.alarms == ()


def test_lowest_positive_priority_beats_the_index_and_zero_is_never_primary() -> None:
    servers = (server("n1", 0), server("n2", 5), server("n3", 2))
    verdict = judge(report("n1", 0), report("n2", 1), report("n3", 2), servers=servers)
    assert verdict.primary == "n3"
    assert seen(verdict, "n3").reason == "synced, lowest local index 2 of priority 2"
    assert seen(verdict, "n1").reason == "synced, never primary: priority=0"
    only_zero = judge(report("n1", 0), down("n2"), down("n3"), servers=servers)
    assert only_zero.primary is None
    assert only_zero.alarms == ("no primary: no usable server may be primary",)


def test_equal_indexes_are_decided_by_name() -> None:
    assert judge(report("n2", 9, cluster_size="9"), report("n1", 8, cluster_size="9")).primary == "n1"
    outside = {"local_index": "18446744073709551615"}
    assert judge(report("n1", **outside), report("n2", 5)).primary == "n2"


@pytest.mark.parametrize(
    ("changed", "role", "reason"),
    [
        ({"desync": "ON", **DONOR}, Role.DESYNCED, "desynced: wsrep_desync=ON"),
        ({"reject_queries": "ALL"}, Role.DESYNCED, "refusing queries: wsrep_reject_queries=ALL"),
        ({"reject_queries": "ALL_KILL"}, Role.DESYNCED, "refusing queries: wsrep_reject_queries=ALL_KILL"),
        ({"ready": "OFF"}, Role.JOINING, "not ready: wsrep_ready=OFF"),
        (
            {"connected": "OFF"},
            Role.NON_PRIMARY,
            "not connected to the cluster: wsrep_connected=OFF",
        ),
        (
            {"cluster_status": "non-Primary"},
            Role.NON_PRIMARY,
            "cut off from the majority: wsrep_cluster_status=non-Primary",
        ),
        (
            {"local_state": "1", "local_state_comment": "Joining"},
            Role.JOINING,
            "joining: wsrep_local_state=1 (Joining)",
        ),
        (
            {"local_state": "3", "local_state_comment": "Joined"},
            Role.JOINING,
            "joining: wsrep_local_state=3 (Joined)",
        ),
        ({"on": "OFF"}, Role.NON_PRIMARY, "outside any cluster, wsrep is off: wsrep_on=OFF"),
        (DONOR, Role.DONOR, "donor: wsrep_local_state=2 and available_when_donor is off"),
    ],
)
def test_a_node_that_cannot_take_work_says_why_and_loses_the_primary(
    changed: dict[str, str], role: Role, reason: str
) -> None:
    verdict = judge(report("n1", 0, **changed), report("n2", 1), before=previous("n1", "n1", "n2"))
    assert (seen(verdict, "n1").role, seen(verdict, "n1").reason) == (role, reason)
    assert not seen(verdict, "n1").usable
    assert verdict.primary == "n2"


def test_a_server_that_failed_its_probe_is_down_with_the_error() -> None:
    verdict = judge(down("n1"), report("n2", 1), before=previous("n1", "n1", "n2"))
    assert (seen(verdict, "n1").role, seen(verdict, "n1").reason) == (Role.DOWN, "down: connection refused")
    assert verdict.primary == "n2"


def test_a_server_without_a_report_is_unknown() -> None:
    verdict = judge(report("n1"), servers=(server("n1"), server("n2")))
    assert (seen(verdict, "n2").role, seen(verdict, "n2").reason) == (Role.UNKNOWN, "not probed yet")


def test_a_server_without_wsrep_is_outside_any_cluster() -> None:
    plain = NodeReport("n1", NOW, facts={"read_only": "OFF"})
    verdict = judge(plain)
    assert seen(verdict, "n1").reason == "outside any cluster, wsrep is off: the server has no wsrep_on"
    assert verdict.alarms == ("no primary: no usable Primary component, n1 outside",)


def test_read_only_keeps_a_replica_and_vetoes_the_primary() -> None:
    verdict = judge(report("n1", 0, read_only="ON"), report("n2", 1))
    assert verdict.primary == "n2"
    assert seen(verdict, "n1").role is Role.REPLICA
    assert seen(verdict, "n1").reason == "synced, never primary: read_only=ON"
    assert judge(report("n1", 0, read_only="NO_LOCK"), report("n2", 1)).primary == "n2"


@pytest.mark.parametrize(
    ("changed", "available", "reason"),
    [
        ({"sst_method": "mariabackup"}, True, "donor that goes on serving: wsrep_sst_method=mariabackup"),
        ({"sst_method": "clone"}, True, "donor that goes on serving: wsrep_sst_method=clone"),
        ({"sst_method": "rsync"}, True, "donor: blocked by wsrep_sst_method=rsync"),
        (
            {"sst_method": "mariabackup", "sst_donor_rejects_queries": "ON"},
            True,
            "donor: wsrep_sst_donor_rejects_queries=ON",
        ),
        (
            {"sst_method": "mariabackup"},
            False,
            "donor: wsrep_local_state=2 and available_when_donor is off",
        ),
    ],
)
def test_a_donor_is_readable_only_if_configured_and_not_blocked(
    changed: dict[str, str], available: bool, reason: str
) -> None:
    verdict = judge(report("n1", 0, **DONOR, **changed), report("n2", 1), flavour=Galera(available))
    view = seen(verdict, "n1")
    assert view.reason == reason + (", local index 0" if view.role is Role.REPLICA else "")
    assert view.readable == reason.startswith("donor that")
    assert verdict.primary == "n2"


def test_rejecting_donors_matter_only_while_a_donor() -> None:
    assert judge(report("n1", 0, sst_donor_rejects_queries="ON"), report("n2", 1)).primary == "n1"


def test_a_donor_is_primary_only_when_there_is_no_other_candidate() -> None:
    verdict = judge(report("n1", 0, **DONOR), down("n2"))
    assert verdict.primary == "n1"
    assert seen(verdict, "n1").reason.endswith("primary although a donor: there is no other candidate")
    rejecting = judge(report("n1", 0, **DONOR, sst_donor_rejects_queries="ON"), down("n2"))
    assert rejecting.primary is None


def test_a_desynced_node_is_not_primary_even_without_another() -> None:
    assert judge(report("n1", 0, **DONOR, desync="ON"), down("n2")).primary is None


def test_pxc_maintenance_mode_drains_the_node() -> None:
    verdict = judge(report("n1", 0, pxc_maint_mode="MAINTENANCE"), report("n2", 1, pxc_maint_mode="DISABLED"))
    view = seen(verdict, "n1")
    assert verdict.primary == "n2"
    assert (view.state, view.usable, view.readable) == (AdminState.DRAIN, True, False)
    assert view.reason == "draining: pxc_maint_mode=MAINTENANCE, local index 0"


@pytest.mark.parametrize("state", [AdminState.DRAIN, AdminState.MAINTENANCE])
def test_a_server_taken_out_of_service_hands_the_primary_on(state: AdminState) -> None:
    verdict = judge(report("n1", 0), report("n2", 1), states={"n1": state}, before=previous("n1", "n1", "n2"))
    assert verdict.primary == "n2"
    assert seen(verdict, "n1").reason == f"in {state}; synced, local index 0"
    assert not seen(verdict, "n1").readable


def test_the_last_healthy_server_stays_primary_in_drain_but_not_in_maintenance() -> None:
    drained = judge(report("n1", 0), down("n2"), states={"n1": AdminState.DRAIN})
    assert drained.primary == "n1"
    assert seen(drained, "n1").reason == "synced, primary although in drain: there is no other candidate"
    assert judge(report("n1", 0), down("n2"), states={"n1": AdminState.MAINTENANCE}).primary is None


def test_when_all_are_drained_the_current_primary_stays() -> None:
    states = {"n1": AdminState.DRAIN, "n2": AdminState.DRAIN}
    before = previous("n2", "n1", "n2")
    assert judge(report("n1", 0), report("n2", 1), states=states, before=before).primary == "n2"


def test_a_preferred_server_is_primary_until_it_fails() -> None:
    healthy = judge(report("n1", 0), report("n2", 1), preferred="n2")
    assert healthy.primary == "n2"
    assert seen(healthy, "n2").reason == "synced, preferred by an operator"
    assert judge(report("n1", 0), down("n2"), preferred="n2").primary == "n1"
    read_only = judge(report("n1", 0), report("n2", 1, read_only="ON"), preferred="n2")
    assert read_only.primary == "n1"
    assert read_only.candidates == ("n1",)


def test_a_server_just_back_waits_unless_it_is_alone() -> None:
    before = previous("n2", "n1", "n2")
    held = judge(report("n1", 0), report("n2", 1), rising=frozenset({"n1"}), before=before)
    assert held.primary == "n2"
    assert seen(held, "n1").reason == "synced, just returned and not yet a candidate for primary"
    alone = judge(report("n1", 0), down("n2"), rising=frozenset({"n1"}), before=before)
    assert alone.primary == "n1"


def test_when_all_are_just_back_the_first_one_chosen_stays() -> None:
    before = previous("n2", "n2")
    assert judge(report("n1", 0), report("n2", 1), rising=frozenset({"n1", "n2"}), before=before).primary == "n2"


def test_no_primary_component_means_no_primary_and_an_alarm() -> None:
    cut = {"cluster_status": "non-Primary", "ready": "OFF"}
    verdict = judge(report("n1", 0, **cut), report("n2", 1, **cut), before=previous("n1", "n1", "n2"))
    assert verdict.primary is None
    assert verdict.alarms == ("no primary: no usable Primary component, n1, n2 outside",)


def test_everything_down_means_no_primary_and_an_alarm() -> None:
    verdict = judge(down("n1"), down("n2"))
    assert verdict.primary is None
    assert verdict.alarms == ("no primary: no usable server",)


def test_operators_see_the_figures_without_prefix() -> None:
    figures = seen(judge(report("n1")), "n1").figures
    assert figures["cluster_size"] == "3"
    assert figures["last_committed"] == "42"
    assert figures["local_state_comment"] == "Synced"
    assert figures["cluster_state_uuid"] == UUID


def test_what_is_asked_is_what_is_parsed() -> None:
    status, variables = Galera.QUERIES
    assert all(f"'{name}'" in status for name in STATUS)
    assert all(f"'{name}'" in variables for name in VARIABLES)
    assert set(rows()) <= set(STATUS + VARIABLES)


node_rows = st.fixed_dictionaries(
    {
        "cluster_status": st.sampled_from(["Primary"] * 4 + ["non-Primary"]),
        "ready": st.sampled_from(["ON"] * 4 + ["OFF"]),
        "local_state": st.sampled_from(["4"] * 5 + ["1", "2", "3"]),
        "cluster_conf_id": st.sampled_from(["7", "7", "7", "8"]),
        "cluster_state_uuid": st.sampled_from([UUID, UUID, UUID, OTHER_UUID]),
        "desync": st.sampled_from(["OFF"] * 4 + ["ON"]),
        "reject_queries": st.sampled_from(["NONE"] * 4 + ["ALL"]),
        "sst_donor_rejects_queries": st.sampled_from(["OFF", "ON"]),
        "read_only": st.sampled_from(["OFF"] * 4 + ["ON"]),
        "local_index": st.sampled_from(["0", "1", "2", "3"]),
    }
)
NAMES = ("n1", "n2", "n3", "n4")


@st.composite
def situations(draw: st.DrawFn) -> dict[str, object]:
    reports = []
    for name in NAMES:
        if draw(st.integers(0, 5)) == 0:
            reports.append(down(name))
        else:
            reports.append(report(name, at=NOW + draw(st.sampled_from([0, 2])), **draw(node_rows)))
    return {
        "reports": reports,
        "servers": tuple(server(name, draw(st.integers(0, 2))) for name in NAMES),
        "states": {name: draw(st.sampled_from(list(AdminState))) for name in NAMES},
        "before": previous(draw(st.sampled_from([*NAMES, None])), *NAMES),
        "preferred": draw(st.sampled_from([*NAMES, None])),
        "rising": draw(st.frozensets(st.sampled_from(NAMES))),
    }


@given(situations(), st.randoms())
def test_one_usable_primary_in_one_component_whatever_the_order_of_reports(case, random) -> None:  # type: ignore[no-untyped-def]
    reports = case.pop("reports")
    memory = judge(*reports, **case).memory
    verdict = judge(*reports, **case, memory=memory, now=NOW + 0.1)
    primaries = [view for view in verdict.servers if view.role is Role.PRIMARY]
    assert [view.name for view in primaries] == ([verdict.primary] if verdict.primary else [])
    for view in primaries:
        facts = next(r.facts for r in reports if r.server == view.name)
        assert view.usable
        assert facts["wsrep_cluster_status"] == "Primary"
        usable = {v.name for v in verdict.servers if v.usable}
        uuids = {r.facts["wsrep_cluster_state_uuid"] for r in reports if r.server in usable}
        assert uuids == {facts["wsrep_cluster_state_uuid"]}
    assert bool(verdict.primary) != any(alarm.startswith("no primary") for alarm in verdict.alarms)
    random.shuffle(reports)
    assert judge(*reports, **case, memory=memory, now=NOW + 0.1) == verdict


@given(situations())
def test_without_disagreement_every_proxy_chooses_the_same_whatever_it_chose_before(case) -> None:  # type: ignore[no-untyped-def]
    fresh = Snapshot(0, 0.0)
    same_view = {"wsrep_cluster_conf_id": "7", "wsrep_cluster_state_uuid": UUID, "wsrep_cluster_size": "9"}
    reports = [
        r if r.error else NodeReport(r.server, r.at, facts={**r.facts, **same_view, "wsrep_local_index": r.server[1:]})
        for r in case.pop("reports")
    ]
    case |= {"preferred": None, "rising": frozenset(), "states": {}}
    donors = {r.server for r in reports if r.facts.get("wsrep_local_state") == "2"}
    one, two = judge(*reports, **case), judge(*reports, **{**case, "before": fresh})
    assert one.primary == two.primary or {one.primary, two.primary} <= donors
