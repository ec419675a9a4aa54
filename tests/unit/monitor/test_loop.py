"""The loop on a fake clock: when servers are asked, when a verdict is published, and what holds a server back."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from sqlproxy.errors import SqlproxyError
from sqlproxy.topology.model import Address, AdminState, Role

from .cases import report, server
from .fakes import VERSION, Bench, settle


async def test_the_first_snapshot_waits_for_every_server() -> None:
    bench = Bench()
    bench.servers.hung.add("n1")
    async with bench:
        assert bench.publisher.snapshot.number == 0
        await bench.clock.advance(1.0)
        snapshot = await bench.monitor.first_snapshot(5)
        assert bench.numbers == [1]
        assert snapshot.primary == "n2"
        assert snapshot.causal == "galera"
        assert bench.role("n1") is Role.DOWN


async def test_the_first_snapshot_is_given_without_the_silent_when_time_is_up() -> None:
    bench = Bench()
    bench.servers.hung.add("n1")
    async with bench:
        waiting = asyncio.ensure_future(bench.monitor.first_snapshot(0.3))
        await bench.clock.advance(0.3)
        snapshot = await waiting
        assert [view.role for view in snapshot.servers] == [Role.UNKNOWN, Role.PRIMARY, Role.REPLICA]
        bench.servers.hung.clear()
        await bench.clock.advance(1.0)
        assert bench.primary == "n2"


async def test_unchanged_reports_confirm_the_snapshot_and_refresh_figures_only() -> None:
    async with Bench() as bench:
        bench.change("n2", 1, last_committed="99")
        await bench.clock.advance(3.0)
        assert bench.numbers == [1]
        assert bench.publisher.fresh_at == pytest.approx(bench.clock.now(), abs=0.01)
        view = bench.publisher.snapshot.server("n2")
        assert view is not None
        assert view.figures["last_committed"] == "99"
        assert bench.monitor.reports["n2"].facts["wsrep_last_committed"] == "99"


async def test_servers_are_asked_once_per_interval() -> None:
    async with Bench() as bench:
        await bench.clock.advance(5.0)
        assert bench.servers.asked == {"n1": 11, "n2": 11, "n3": 11}


async def test_a_dead_primary_is_replaced_within_one_interval() -> None:
    async with Bench() as bench:
        bench.fail("n1")
        assert await bench.until(lambda: bench.primary == "n2") <= 0.51
        assert bench.events("primary")[-1] == "primary n1 -> n2: n1 is down: connection refused"
        assert bench.events("role")[-2] == "n1: primary -> down: connection refused"


async def test_evidence_replaces_it_at_once_and_is_coalesced() -> None:
    async with Bench() as bench:
        await bench.clock.advance(0.2)
        bench.fail("n1")
        for _ in range(1000):
            bench.monitor.probe_now("n1", "connection lost")
        await settle()
        assert bench.primary == "n2"
        assert bench.servers.asked["n1"] == 2


async def test_steady_evidence_does_not_make_the_monitor_a_flood() -> None:
    async with Bench() as bench:
        for _ in range(100):
            bench.monitor.probe_now(None, "evidence")
            await bench.clock.advance(0.01)
        assert bench.servers.asked["n1"] <= 1 + 1.0 / 0.05 + 1


async def test_evidence_about_an_unknown_server_is_ignored() -> None:
    async with Bench() as bench:
        bench.monitor.probe_now("gone", "connection lost")
        await settle()
        assert bench.servers.asked["n1"] == 1


async def test_a_hung_server_is_down_after_its_timeout_and_delays_nobody() -> None:
    async with Bench() as bench:
        await bench.clock.advance(0.1)
        asked = bench.servers.asked["n2"]
        bench.servers.hung.add("n1")
        took = await bench.until(lambda: bench.role("n1") == Role.DOWN)
        assert took <= 0.5 + 1.0 + 0.01
        assert bench.primary == "n2"
        assert bench.servers.asked["n2"] - asked >= 2


async def test_a_returning_server_reads_at_once_but_leads_only_after_three_intervals() -> None:
    async with Bench() as bench:
        bench.fail("n1")
        await bench.clock.advance(1.0)
        bench.change("n1", 0)
        assert await bench.until(lambda: bench.role("n1") == Role.REPLICA) <= 0.51
        assert bench.primary == "n2"
        assert 1.4 <= await bench.until(lambda: bench.primary == "n1") <= 2.01
        expected = "primary n2 -> n1: n1 is synced, lowest local index 0 of priority 1"
        assert bench.events("primary")[-1] == expected


async def test_a_flapping_server_never_leads() -> None:
    async with Bench() as bench:
        bench.fail("n1")
        await bench.clock.advance(0.6)
        for _ in range(10):
            bench.change("n1", 0)
            await bench.clock.advance(1.0)
            bench.fail("n1")
            await bench.clock.advance(0.5)
            assert bench.primary == "n2"


async def test_a_server_long_down_is_asked_more_slowly_and_its_return_is_seen_within_a_second() -> None:
    async with Bench() as bench:
        bench.fail("n3")
        await bench.clock.advance(6.0)
        before = bench.servers.asked["n3"]
        await bench.clock.advance(10.0)
        assert 9 <= bench.servers.asked["n3"] - before <= 11
        bench.change("n3", 2)
        assert await bench.until(lambda: bench.role("n3") == Role.REPLICA) <= 1.01


async def test_what_a_server_can_do_is_remembered_while_it_is_down() -> None:
    bench = Bench()
    async with bench:
        await bench.monitor.first_snapshot(1)
        bench.fail("n1")
        await bench.clock.advance(0.6)
        view = bench.publisher.snapshot.server("n1")
        assert view is not None
        assert view.version == "5.5.5-10.11.19-MariaDB"


async def test_servers_that_refuse_the_monitor_keep_their_roles_until_they_let_it_look_again() -> None:
    async with Bench() as bench:
        for name in ("n1", "n2", "n3"):
            bench.refuse(name)
        await bench.clock.advance(60.0)
        assert [bench.role(name) for name in ("n1", "n2", "n3")] == [Role.PRIMARY, Role.REPLICA, Role.REPLICA]
        assert bench.publisher.fresh_at == pytest.approx(bench.clock.now(), abs=1.01)
        assert bench.events("primary") == ["primary none -> n1: n1 is synced, lowest local index 0 of priority 1"]
        assert bench.publisher.snapshot.alarms == ("the monitor cannot look at n1, n2, n3: no entry",)
        bench.fail("n1")
        await bench.clock.advance(1.1)
        assert bench.primary == "n2"
        bench.refuse("n1")
        await bench.clock.advance(1.1)
        assert bench.role("n1") is Role.UNKNOWN
        for index, name in enumerate(("n1", "n2", "n3")):
            bench.change(name, index)
        await bench.clock.advance(5.0)
        assert bench.primary == "n1"
        assert bench.events("alarm")[-1].startswith("over: the monitor cannot look at n")


async def test_one_server_that_refuses_the_monitor_gives_the_primary_role_to_one_that_does_not() -> None:
    async with Bench() as bench:
        bench.refuse("n1")
        assert 2.5 < await bench.until(lambda: bench.primary == "n2") <= 4.5
        assert bench.role("n1") is Role.REPLICA
        for name, index in (("n2", 0), ("n3", 1)):  # the view goes on without n1's word
            bench.change(name, index, cluster_conf_id="8")
        await bench.clock.advance(5.0)
        assert bench.primary == "n2"
        bench.fail("n2")
        await bench.clock.advance(1.0)
        assert bench.primary == "n3"


async def test_draining_the_primary_moves_it_at_once_and_activating_moves_it_back() -> None:
    async with Bench() as bench:
        bench.monitor.set_state("n1", AdminState.DRAIN)
        assert bench.primary == "n2"
        assert bench.events("primary")[-1] == "primary n1 -> n2: n1 is in drain; synced, local index 0"
        bench.monitor.set_state("n1", AdminState.ACTIVE)
        assert bench.primary == "n1"
        assert bench.events("state") == ["n1: active -> drain", "n1: drain -> active"]
        bench.monitor.set_state("n1", AdminState.ACTIVE)
        assert len(bench.events("state")) == 2


async def test_the_state_of_an_unknown_server_cannot_be_set() -> None:
    async with Bench() as bench:
        with pytest.raises(KeyError):
            bench.monitor.set_state("gone", AdminState.DRAIN)


async def test_states_given_at_the_start_hold_from_the_first_snapshot() -> None:
    async with Bench(states={"n1": AdminState.MAINTENANCE, "gone": AdminState.DRAIN}) as bench:
        assert bench.primary == "n2"
        assert bench.monitor.states["n1"] is AdminState.MAINTENANCE
        assert set(bench.monitor.states) == {"n1", "n2", "n3"}


async def test_a_switchover_lasts_until_it_is_cleared() -> None:
    async with Bench() as bench:
        bench.monitor.prefer("n3")
        assert bench.primary == "n3"
        await bench.clock.advance(5.0)
        assert bench.primary == "n3"
        bench.monitor.prefer(None)
        assert bench.primary == "n1"


async def test_a_switchover_ends_when_the_preferred_server_fails() -> None:
    async with Bench() as bench:
        bench.monitor.prefer("n3")
        bench.fail("n3")
        await bench.clock.advance(0.6)
        assert bench.primary == "n1"
        assert bench.monitor.preferred is None
        reason = "n3 is no longer preferred as primary: n3 cannot become primary: it is down: connection refused"
        assert reason in bench.events("primary")
        bench.change("n3", 2)
        await bench.clock.advance(5.0)
        assert bench.primary == "n1"


async def test_a_switchover_without_a_name_takes_the_next_candidate() -> None:
    async with Bench() as bench:
        assert bench.monitor.switchover(None) == "n2"
        assert bench.primary == "n2"
        assert bench.monitor.switchover(None) == "n1"


async def test_a_switchover_to_an_unfit_server_is_refused_with_the_reason() -> None:
    async with Bench() as bench:
        bench.change("n2", 1, read_only="ON")
        bench.fail("n3")
        await bench.clock.advance(0.6)
        with pytest.raises(SqlproxyError, match="n2 cannot become primary: it is synced, never primary: read_only=ON"):
            bench.monitor.prefer("n2")
        with pytest.raises(SqlproxyError, match="n3 cannot become primary: it is down: connection refused"):
            bench.monitor.switchover("n3")
        with pytest.raises(SqlproxyError, match="there is no server named 'n9'"):
            bench.monitor.prefer("n9")
        with pytest.raises(SqlproxyError, match="there is no other candidate for primary"):
            bench.monitor.switchover(None)
        assert bench.primary == "n1"


async def test_a_switchover_before_the_first_snapshot_is_refused() -> None:
    with pytest.raises(SqlproxyError, match="n1 has not been probed yet"):
        Bench().monitor.prefer("n1")


async def test_a_pushed_view_change_probes_everybody_at_once() -> None:
    async with Bench() as bench:
        await bench.clock.advance(0.2)
        bench.monitor.notify("n2", "status=Synced members=3")
        await settle()
        assert bench.servers.asked == {"n1": 2, "n2": 2, "n3": 2}
        assert bench.events("notify") == ["notified by n2: status=Synced members=3"]


async def test_views_that_differ_are_rechecked_at_once_and_not_published() -> None:
    async with Bench() as bench:
        await bench.clock.advance(0.2)
        bench.change("n1", 0, cluster_conf_id="8")
        bench.monitor.probe_now("n1", "test")
        await settle()
        for index, name in enumerate(("n1", "n2", "n3")):
            bench.change(name, index, cluster_conf_id="8")
        await bench.clock.advance(0.1)
        assert bench.monitor.reports["n3"].facts["wsrep_cluster_conf_id"] == "8"
        assert bench.numbers == [1]


async def test_alarms_are_events_when_raised_and_when_over() -> None:
    async with Bench() as bench:
        for name in ("n1", "n2", "n3"):
            bench.fail(name)
        await bench.clock.advance(1.0)
        assert bench.primary is None
        bench.change("n2", 1)
        await bench.clock.advance(1.0)
        assert bench.primary == "n2"
        assert bench.events("alarm")[0] == "no primary: no usable server"
        assert bench.events("alarm")[-1] == "over: no primary: no usable server"


async def test_every_event_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sqlproxy.monitor"):
        async with Bench() as bench:
            bench.fail("n1")
            await bench.clock.advance(0.6)
            assert [r.getMessage() for r in caplog.records] == [e.text for e in bench.publisher.events]
    levels = {r.getMessage(): r.levelname for r in caplog.records}
    assert levels["n1: primary -> down: connection refused"] == "WARNING"
    assert levels["primary n1 -> n2: n1 is down: connection refused"] == "INFO"


async def test_a_failing_subscriber_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    async with Bench() as bench:
        unsubscribe = bench.publisher.subscribe(lambda new, old: 1 / 0)
        bench.fail("n1")
        await bench.clock.advance(0.6)
        unsubscribe()
        assert "the report of n1 could not be judged" in caplog.text
        bench.change("n1", 0)
        await bench.clock.advance(3.0)
        assert bench.primary == "n1"


async def test_stop_closes_every_probe_and_keeps_the_snapshot() -> None:
    bench = Bench()
    async with bench:
        await bench.clock.advance(1.0)
    assert sorted(bench.servers.closed) == ["n1", "n2", "n3"]
    assert bench.primary == "n1"


async def test_a_successor_with_the_same_publisher_counts_on_and_wakes_nobody_needlessly() -> None:
    async with Bench() as first:
        first.monitor.set_state("n1", AdminState.DRAIN)
    number = first.publisher.snapshot.number
    async with Bench(states=dict(first.monitor.states), publisher=first.publisher) as second:
        assert second.primary == "n2"
        assert second.publisher.snapshot.number == number
        second.fail("n2")
        await second.clock.advance(0.6)
        assert second.primary == "n3"
        assert second.publisher.snapshot.number == number + 1


async def test_a_successor_keeps_the_operators_preference_if_it_still_can() -> None:
    async with Bench(preferred="n3") as bench:
        assert bench.primary == "n3"
    async with Bench(preferred="gone") as bench:
        assert bench.primary == "n1"
        expected = "gone is no longer preferred as primary: there is no server named 'gone'"
        assert expected in bench.events("primary")


async def test_an_operator_ends_a_split_brain_by_a_switchover() -> None:
    async with Bench() as bench:
        bench.change("n3", 0, cluster_conf_id="8", cluster_size="1")
        await bench.clock.advance(2.0)
        assert bench.events("alarm")[0].startswith("split brain")
        assert bench.primary == "n1"
        bench.fail("n1")
        await bench.clock.advance(0.6)
        assert bench.primary is None
        bench.monitor.prefer("n3")
        assert bench.primary == "n3"
        assert bench.role("n2") is Role.NON_PRIMARY
        await bench.clock.advance(5.0)
        assert bench.primary == "n3"


async def test_other_servers_are_watched_without_a_gap_and_new_ones_prove_themselves() -> None:
    async with Bench() as bench:
        bench.servers.answers["n0"] = replace(report("n0", 3), version=VERSION)
        number = bench.publisher.snapshot.number
        later = [replace(server(name), priority=2) for name in ("n1", "n3")]  # so that the rule prefers n0
        await bench.monitor.reconfigure([server("n0"), *later], bench.config, purge_tokens=False)
        assert [view.name for view in bench.publisher.snapshot.servers] == ["n0", "n1", "n3"]
        assert (bench.primary, bench.role("n0")) == ("n1", Role.UNKNOWN)
        assert bench.servers.closed == ["n2"]
        assert bench.publisher.snapshot.number == number + 1
        held = await bench.until(lambda: bench.primary == "n0")
        assert held >= 3 * bench.config.interval


async def test_only_what_is_asked_in_another_way_is_asked_anew() -> None:
    async with Bench() as bench:
        bench.monitor.set_state("n3", AdminState.MAINTENANCE)
        servers = [replace(server("n1"), weight=5), server("n2"), replace(server("n3"), address=Address("moved", 1))]
        await bench.monitor.reconfigure(servers, bench.config, purge_tokens=False)
        assert bench.servers.closed == ["n3"]
        assert (bench.role("n2"), bench.role("n3")) == (Role.REPLICA, Role.UNKNOWN)
        assert bench.monitor.states["n3"] is AdminState.MAINTENANCE
        weight = next(view.weight for view in bench.publisher.snapshot.servers if view.name == "n1")
        assert weight == 5
        await settle()
        bench.servers.closed.clear()
        other = bench.config.model_copy(update={"user": "other"})
        await bench.monitor.reconfigure(servers, other, purge_tokens=False)
        assert sorted(bench.servers.closed) == ["n1", "n2", "n3"]
        assert bench.role("n2") is Role.REPLICA  # what is known stays


async def test_a_silent_server_is_suspect_long_before_its_probe_times_out() -> None:
    async with Bench() as bench:
        await bench.clock.advance(0.1)
        bench.servers.hung.add("n1")
        bench.monitor.suspect("n1", "no byte to 2 statements under way")
        assert 0.24 < await bench.until(lambda: bench.role("n1") == Role.SUSPECT) <= 0.26
        assert bench.primary == "n2"
        reason = "n1: primary -> suspect: no byte to 2 statements under way, nor to a probe for 0.24s"
        assert bench.events("role")[-2] == reason
        assert await bench.until(lambda: bench.role("n1") == Role.DOWN) <= 0.8


async def test_a_server_that_answers_is_not_suspect_however_often_it_is_doubted() -> None:
    async with Bench() as bench:
        for _ in range(50):
            bench.monitor.suspect("n1", "no byte")
            await bench.clock.advance(0.1)
        assert bench.numbers == [1]


async def test_a_suspect_that_answers_is_back_at_once_but_does_not_lead_before_its_time() -> None:
    async with Bench() as bench:
        await bench.clock.advance(0.1)
        bench.servers.slow["n1"] = 0.9
        bench.monitor.suspect("n1", "no byte")
        await bench.until(lambda: bench.role("n1") == Role.SUSPECT)
        assert await bench.until(lambda: bench.role("n1") == Role.REPLICA) <= 0.7
        bench.servers.slow.clear()
        assert bench.primary == "n2"
        assert 1.0 <= await bench.until(lambda: bench.primary == "n1") <= 2.6


async def test_a_server_that_is_slow_by_nature_is_given_more_time() -> None:
    async with Bench() as bench:
        bench.servers.slow["n1"] = 0.15
        await bench.clock.advance(2.0)
        bench.servers.slow["n1"] = 0.5
        for _ in range(20):
            bench.monitor.suspect("n1", "no byte")
            await bench.clock.advance(0.2)
        assert bench.role("n1") is Role.PRIMARY
        assert bench.numbers == [1]


async def test_a_server_that_the_network_hides_is_down_without_further_waiting() -> None:
    async with Bench() as bench:
        await bench.clock.advance(0.1)
        bench.servers.hung.add("n1")
        bench.servers.unreachable.add("n1")
        bench.monitor.suspect("n1", "no byte to 1 statement under way")
        assert await bench.until(lambda: bench.role("n1") == Role.DOWN) <= 0.26
        assert bench.events("role")[-2].startswith("n1: primary -> down: unreachable: no byte to 1 statement")


async def test_when_all_are_silent_there_still_is_a_primary() -> None:
    async with Bench() as bench:
        await bench.clock.advance(0.1)
        for name in ("n1", "n2", "n3"):
            bench.servers.hung.add(name)
            bench.monitor.suspect(name, "no byte")
        await bench.clock.advance(0.3)
        roles = [bench.role(name) for name in ("n1", "n2", "n3")]
        assert sorted(roles) == [Role.PRIMARY, Role.SUSPECT, Role.SUSPECT]
        assert bench.publisher.snapshot.primary is not None


async def test_suspicion_can_be_switched_off() -> None:
    async with Bench(suspect_after=0.0) as bench:
        await bench.clock.advance(0.1)
        bench.servers.hung.add("n1")
        bench.monitor.suspect("n1", "no byte")
        await bench.clock.advance(0.8)
        assert bench.role("n1") is Role.PRIMARY


async def test_doubt_about_an_unknown_or_dead_server_is_ignored() -> None:
    async with Bench() as bench:
        bench.fail("n3")
        await bench.clock.advance(0.6)
        bench.monitor.suspect("gone", "no byte")
        bench.monitor.suspect("n3", "no byte")
        await bench.clock.advance(1.0)
        assert bench.role("n3") is Role.DOWN


async def test_after_a_total_outage_the_primary_moves_once_however_the_servers_return() -> None:
    async with Bench() as bench:
        for name in ("n1", "n2", "n3"):
            bench.fail(name)
        await bench.clock.advance(2.0)
        for back in (("n3",), ("n2", "n3"), ("n1", "n2", "n3")):  # each takes the lowest index
            for index, name in enumerate(back):
                bench.change(name, index, cluster_conf_id=str(20 + len(back)), cluster_size=str(len(back)))
            await bench.clock.advance(4.0)
        await bench.clock.advance(30.0)
        moves = [text.split(":")[0] for text in bench.events("primary")]
        assert moves[-3:] == ["primary n3 -> none", "primary none -> n3", "primary n3 -> n1"]


async def test_a_server_that_stays_away_holds_up_the_return_of_another_only_for_a_while() -> None:
    async with Bench() as bench:
        bench.fail("n1")
        bench.fail("n3")
        await bench.clock.advance(2.0)
        bench.change("n1", 0)
        assert 15.0 < await bench.until(lambda: bench.primary == "n1", 30.0) <= 20.0
