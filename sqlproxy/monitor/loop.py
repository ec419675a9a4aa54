"""The monitor's loop: probe every server by its own clock, judge on every report, publish what changed.

Timeouts, back-off and hysteresis live here and nowhere else. A dead server falls with its first failed report; one
that returns is held back from becoming primary for a few intervals. One that is silent is suspect long before a probe
times out, see ``suspect``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sqlproxy.config import MonitorConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.monitor.base import Flavour, Situation, Verdict
from sqlproxy.monitor.changes import Change, changes, visible
from sqlproxy.monitor.flavours import flavour_for
from sqlproxy.monitor.probe import Probe
from sqlproxy.monitor.tokens import TokenPurge
from sqlproxy.topology.model import AdminState, NodeReport, Server, Snapshot
from sqlproxy.topology.publisher import Publisher

log = logging.getLogger("sqlproxy.monitor")

RISE = 3  # intervals a returning server must have been good before it may take over as primary
SETTLE = 20.0  # seconds that it waits for others which have left lately: one move of the primary for all of them
MIN_GAP = 0.05  # seconds between two probes of one server, however much evidence comes in
PATIENT_AFTER = 5.0  # seconds a server is down before it is probed more slowly
PATIENT_PERIOD = 1.0  # seconds between probes then, unless the interval is longer
PROBE_SHARE = 0.7  # of suspect_after, for the probe of a silent server
SLOWER = 4.0  # times its slowest probe of late a server may take to answer before it is suspect
REMEMBERED = 20  # probes that "of late" means


class Clock(Protocol):
    """Time as the loop sees it."""

    def now(self) -> float:
        """Monotonic seconds."""

    async def wait(self, event: asyncio.Event | None, seconds: float) -> None:
        """Return when the event is set or the seconds are over."""


class LoopClock:
    """Real time."""

    def now(self) -> float:
        """Monotonic seconds, the same in all processes of a machine."""
        return time.monotonic()

    async def wait(self, event: asyncio.Event | None, seconds: float) -> None:
        """See Clock."""
        if event is None:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


class Prober(Protocol):
    """What the loop needs of a Probe."""

    async def report(self) -> NodeReport:
        """Ask once; never raises but for cancellation, never takes longer than the timeout."""

    def unreachable(self) -> bool:
        """Whether what ``report`` asks has not been received by the server's machine."""

    def close(self) -> None:
        """Drop the kept connection."""


@dataclass(slots=True)
class _Watch:
    """What the loop remembers of one server; times are monotonic seconds."""

    server: Server
    probe: Prober | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    good_since: float | None = None
    left_at: float = -math.inf  # when it was good last
    down_since: float | None = None
    asked: float = 0.0  # when the probe that is not answered yet began, 0.0 when there is none
    answered: asyncio.Event = field(default_factory=asyncio.Event)  # set by each report, for ``doubt`` to clear
    took: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))  # seconds, of probes with an answer
    suspicion: str = ""  # why the server is suspect
    doubt: asyncio.Task[None] | None = None  # waits whether it becomes so


class Monitor:
    """Watches servers and publishes Snapshots until stopped. Everything but start and stop is synchronous.

    ``states`` and ``preferred`` are what a predecessor with the same publisher knew, so that a reload undoes no
    operator's wish. ``purge_tokens``: also keep the table of commit tokens small.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        config: MonitorConfig,
        publisher: Publisher,
        *,
        clock: Clock | None = None,
        probe: Callable[[Server, MonitorConfig, Flavour], Prober] = Probe,
        states: Mapping[str, AdminState] | None = None,
        preferred: str | None = None,
        purge_tokens: bool = False,
    ) -> None:
        self._servers = tuple(servers)
        self._config = config
        self._publisher = publisher
        self._clock = clock or LoopClock()
        self._make_probe = probe
        self._flavour = flavour_for(config)
        self._watches = {server.name: _Watch(server) for server in self._servers}
        given = states or {}
        self._states = {name: given.get(name, AdminState.ACTIVE) for name in self._watches}
        self._reports: dict[str, NodeReport] = {}
        self._verdict = Verdict((), None)
        self._preferred = preferred
        self._judging = False  # only once every server has reported, or the first ones would pass for the cluster
        self._complete = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by server
        self._purges = purge_tokens
        self._purging: asyncio.Task[None] | None = None

    @property
    def states(self) -> Mapping[str, AdminState]:
        """What the operator wants of each server."""
        return dict(self._states)

    @property
    def reports(self) -> Mapping[str, NodeReport]:
        """The newest report of each server that has been probed."""
        return dict(self._reports)

    @property
    def preferred(self) -> str | None:
        """The server an operator made primary, while that holds."""
        return self._preferred

    async def start(self) -> None:
        """Start one task per server; returns at once."""
        for name in self._watches:
            self._start_watch(name)
        self._start_purge()

    async def stop(self) -> None:
        """End the tasks and their connections; the newest Snapshot stays published."""
        await self._end([*self._tasks.values(), *self._asides()])
        self._tasks.clear()
        self._purging = None

    async def reconfigure(self, servers: Sequence[Server], config: MonitorConfig, *, purge_tokens: bool) -> None:
        """Watch these servers in this way from now on. What is known of those that stay where they are is kept.

        A server that is new has to prove itself before it may become primary, as one that returns.
        """
        before, old = {server.name: server for server in self._servers}, self._config
        same = (old.user, old.password, old.timeout) == (config.user, config.password, config.timeout)
        after = {server.name: server for server in servers}
        ended = [n for n, server in before.items() if n not in after or not same or _probed_alike(server, after[n]) < 2]
        forgotten = [n for n, server in before.items() if n not in after or _probed_alike(server, after[n]) < 1]
        await self._end([*(self._tasks.pop(name) for name in ended if name in self._tasks), *self._asides()])
        for name in forgotten:
            del self._watches[name]
            self._reports.pop(name, None)
        self._servers, self._config, self._purges = tuple(servers), config, purge_tokens
        self._flavour = flavour_for(config)
        self._states = {name: self._states.get(name, AdminState.ACTIVE) for name in after}
        self._watches = {name: self._watches.get(name) or _Watch(server) for name, server in after.items()}
        for name, watch in self._watches.items():
            watch.server = after[name]
            if name not in self._tasks:
                self._start_watch(name)
            watch.wake.set()
        self._start_purge()
        self._judge()

    def _start_watch(self, name: str) -> None:
        self._tasks[name] = asyncio.create_task(self._watch(self._watches[name]), name=f"monitor {name}")

    def _start_purge(self) -> None:
        self._purging = None
        if self._purges:
            purge = TokenPurge(self._servers, self._config, self._publisher)
            self._purging = asyncio.create_task(purge.run(), name="purge of commit tokens")

    def _asides(self) -> list[asyncio.Task[None]]:
        """The tasks that watch no server."""
        doubts = [watch.doubt for watch in self._watches.values()]
        return [task for task in (self._purging, *doubts) if task is not None]

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn of the loop

    async def first_snapshot(self, seconds: float) -> Snapshot:
        """Wait until each server has reported once, or ``seconds``; then judge what is known."""
        await self._clock.wait(self._complete, seconds)
        if not self._judging:
            self._judging = True
            self._judge()
        return self._publisher.snapshot

    def probe_now(self, server: str | None, why: str) -> None:
        """Probe one server (None: all) without waiting for its turn; cheap enough for the data path."""
        for name, watch in self._watches.items():
            if server in (None, name) and not watch.wake.is_set():
                log.debug("probing %s at once: %s", name, why)
                watch.wake.set()

    def suspect(self, server: str, why: str) -> None:
        """Statements have had no byte from a server for a while: ask it at once, and suspect it if it is silent again.

        Cheap enough for the data path. A server that is slow by nature is given more time, see ``_patience``.
        """
        watch = self._watches.get(server)
        if watch is None or watch.doubt is not None or watch.suspicion or server not in self._reports:
            return
        if self._reports[server].error or self._patience(watch) >= self._config.timeout:
            return
        watch.answered.clear()
        self.probe_now(server, why)
        watch.doubt = asyncio.create_task(self._doubt(watch, why), name=f"doubt about {server}")

    def _patience(self, watch: _Watch) -> float:
        """Seconds in which a silent server has to answer a probe."""
        if not self._config.suspect_after:
            return math.inf
        return max(self._config.suspect_after * PROBE_SHARE, SLOWER * max(watch.took, default=0.0))

    async def _doubt(self, watch: _Watch, why: str) -> None:
        """Judge a server anew when the probe under way is not answered in time either."""
        clock, limit = self._clock, self._patience(watch)
        try:
            due = (watch.asked or clock.now()) + limit
            await clock.wait(watch.answered, due - clock.now())
            if clock.now() - due > limit / 2:  # this process was held up: the answer may be here unread
                await clock.wait(watch.answered, limit)
            if not watch.answered.is_set():
                self._condemn(watch, f"{why}, nor to a probe for {limit:.2g}s")
        except Exception:
            log.exception("the silence of %s could not be judged", watch.server.name)
        finally:
            watch.doubt = None

    def _condemn(self, watch: _Watch, reason: str) -> None:
        """Suspect a server that is silent. One that does not even receive what is sent is as good as down."""
        if watch.probe is not None and watch.probe.unreachable():
            self._take(watch, NodeReport(watch.server.name, self._clock.now(), f"unreachable: {reason}"))
            return
        watch.suspicion = reason
        self._judge()

    def notify(self, source: str, detail: str) -> None:
        """Take a pushed view change as a hint: nothing in it is believed, every server is probed at once."""
        self._tell(Change("notify", "", f"notified by {source}: {detail}"))
        self.probe_now(None, f"notified by {source}")

    def set_state(self, name: str, state: AdminState) -> None:
        """Note what the operator wants of a server and judge again. Raises KeyError when there is no such server."""
        before = self._states[name]
        if before is state:
            return
        self._states[name] = state
        self._tell(Change("state", name, f"{name}: {before} -> {state}"))
        self._judge()

    def prefer(self, name: str | None) -> None:
        """Make a server primary until it fails or leaves service; None goes back to the rule.

        Raises SqlproxyError with the reason when it cannot be primary.
        """
        if name is not None and name not in self._verdict.candidates:
            raise SqlproxyError(self._refusal(name))
        self._preferred = name
        self._judge()

    def switchover(self, name: str | None) -> str:
        """Prefer ``name``, or the best candidate that is not primary now. Returns the new primary's name.

        Raises SqlproxyError with the reason when there is none.
        """
        if name is None:
            current = self._publisher.snapshot.primary
            name = next((c for c in self._verdict.candidates if c != current), None)
            if name is None:
                raise SqlproxyError("there is no other candidate for primary")
        self.prefer(name)
        return name

    def _refusal(self, name: str) -> str:
        view = next((v for v in self._verdict.servers if v.name == name), None)
        if view is None:
            known = name in self._watches
            return f"{name} has not been probed yet" if known else f"there is no server named {name!r}"
        return f"{name} cannot become primary: it is {view.reason}"

    async def _watch(self, watch: _Watch) -> None:
        """Probe one server for ever."""
        probe = watch.probe = self._make_probe(watch.server, self._config, self._flavour)
        try:
            while True:
                started = watch.asked = self._clock.now()
                watch.wake.clear()
                report = await probe.report()
                self._note_answer(watch, report)
                try:
                    self._take(watch, report)
                except Exception:
                    # The watch must go on; without a judgement the snapshot goes stale and writing stops by itself.
                    log.exception("the report of %s could not be judged", watch.server.name)
                due = started + self._period(watch)
                await self._clock.wait(watch.wake, max(0.0, due - self._clock.now()))
                await self._clock.wait(None, max(0.0, started + MIN_GAP - self._clock.now()))
        finally:
            probe.close()
            watch.probe, watch.asked, watch.suspicion = None, 0.0, ""

    def _note_answer(self, watch: _Watch, report: NodeReport) -> None:
        if not report.error:
            watch.took.append(self._clock.now() - watch.asked)
        watch.asked = 0.0
        watch.answered.set()
        watch.suspicion = ""

    def _period(self, watch: _Watch) -> float:
        down = watch.down_since is not None and self._clock.now() - watch.down_since > PATIENT_AFTER
        report = self._reports.get(watch.server.name)
        patient = down or bool(report and report.refusal)
        return max(self._config.interval, PATIENT_PERIOD) if patient else self._config.interval

    def _take(self, watch: _Watch, report: NodeReport) -> None:
        name = watch.server.name
        first = name not in self._reports
        if not first:
            report = _completed(report, self._reports[name])
        self._reports[name] = report
        watch.down_since = (watch.down_since or report.at) if report.error else None
        if first and not self._judging:
            watch.good_since = -math.inf  # found running: it does not return from anything
            self._judging = len(self._reports) == len(self._watches)
        if self._judging:
            self._judge()
        if len(self._reports) == len(self._watches):
            self._complete.set()

    def _judge(self) -> None:
        if not self._judging:
            return
        verdict = self._flavour.assess(self._situation())
        self._verdict = verdict
        for view in verdict.servers:
            watch = self._watches[view.name]
            if not view.usable:
                watch.left_at = self._clock.now() if watch.good_since is not None else watch.left_at
                watch.good_since = None
            elif watch.good_since is None:
                watch.good_since = self._clock.now()
        self._publish(verdict)
        if self._preferred is not None and self._preferred not in verdict.candidates:
            lost, self._preferred = self._preferred, None
            text = f"{lost} is no longer preferred as primary: {self._refusal(lost)}"
            self._tell(Change("primary", lost, text, bad=True))
        for name in verdict.recheck:
            self.probe_now(name, "the servers' views differ")

    def _situation(self) -> Situation:
        now, hold = self._clock.now(), RISE * self._config.interval
        rising = [n for n, w in self._watches.items() if w.good_since is None or now - w.good_since < hold]
        if any(now - self._watches[name].left_at < SETTLE for name in rising):
            hold = max(hold, SETTLE)
            rising = [n for n, w in self._watches.items() if w.good_since is None or now - w.good_since < hold]
        return Situation(
            servers=self._servers,
            reports=self._reports,
            states=self._states,
            previous=self._publisher.snapshot,
            now=now,
            interval=self._config.interval,
            preferred=self._preferred,
            rising=frozenset(rising),
            suspects={n: w.suspicion for n, w in self._watches.items() if w.suspicion},
            memory=self._verdict.memory,
        )

    def _publish(self, verdict: Verdict) -> None:
        old, now = self._publisher.snapshot, self._clock.now()
        new = Snapshot(old.number + 1, now, verdict.servers, verdict.primary, verdict.alarms, self._flavour.causal)
        if visible(new) == visible(old):
            # Only figures differ: whoever looks sees them, and no session is woken for them.
            self._publisher.snapshot = replace(new, number=old.number, at=old.at)
            self._publisher.confirm(now)
            return
        self._publisher.publish(new)
        for change in changes(old, new):
            self._tell(change)

    def _tell(self, change: Change) -> None:
        log.log(logging.WARNING if change.bad else logging.INFO, "%s", change.text)
        self._publisher.event(change.kind, change.server, change.text)


def _completed(report: NodeReport, last: NodeReport) -> NodeReport:
    """What a server can do is still worth knowing while it is down, what it was while the monitor may not look."""
    if not report.error and not report.refusal:
        return report
    known = replace(report, version=last.version, capabilities=last.capabilities, collation=last.collation)
    return replace(known, facts=last.facts, seen=last.seen or last.at) if report.refusal else known


def _probed_alike(old: Server, new: Server) -> int:
    """2: a probe of one is a probe of the other; 1: the same server, but asked in another way; 0: another server."""
    if old.address != new.address:
        return 0
    own_files = new.tls.ca or new.tls.cert  # which may have been exchanged
    return 2 if old.tls == new.tls and not own_files else 1
