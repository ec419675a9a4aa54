"""One round of chaos: each fault an episode with fresh tables and a fresh load, judged by what was promised."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlproxy.config import COMMIT_TOKENS
from tests.chaos import load as l
from tests.chaos import mixed
from tests.chaos.cluster import Cluster
from tests.chaos.disk import mount_memory, unmount
from tests.chaos.faults import Fault
from tests.chaos.haproxy import haproxy
from tests.chaos.load import Load
from tests.chaos.mixed import Sysbench
from tests.chaos.world import World, config
from tests.support.proxy import Proxy, free_port
from tests.support.waiting import wait_until

WORKERS = {l.READ: 2, l.INSERT: 2, l.TRANSFER: 2, l.APPEND: 1}
ADDED = 0.1  # seconds that the proxy may add to the cluster's own pause, in the median
_ENOUGH = 5
_LAB_MEGABYTES, _NODE_MEGABYTES = 1000, 450
_COUNTERS = ("outcomes_unknown", "transactions_replayed", "transactions_lost", "replay_mismatches", "conflicts_retried")


@dataclass
class Episode:
    """What one fault did. Pauses are seconds; ``cluster`` is the direct writer's, None without one.

    ``write`` is of all writers; ``insert`` only of those that do what the direct writer does.
    """

    fault: str
    seconds: float = 0.0
    statements: int = 0
    sysbench: int = 0  # its transactions
    errors: dict[str, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)  # of the errors, for people
    read: float = 0.0
    write: float = 0.0
    insert: float = 0.0
    cluster: float | None = None
    lost: int = 0
    duplicated: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    @property
    def added(self) -> float | None:
        """What the proxy added to the pause of writes."""
        return None if self.cluster is None else self.insert - self.cluster


@dataclass(frozen=True)
class Report:
    """A round's episodes and its verdict."""

    episodes: list[Episode]
    exactly_once: bool
    seconds: float

    @property
    def added(self) -> float:
        """Median of what the proxy added, in seconds; of a few faults it would say nothing, and is 0."""
        compared = [e.added for e in self.episodes if e.added is not None]
        return statistics.median(compared) if len(compared) >= _ENOUGH else 0.0

    @property
    def violations(self) -> list[str]:
        """Everything that breaks a promise."""
        found = [f"{e.fault}: {text}" for e in self.episodes for text in e.violations]
        if self.added > ADDED:
            found.append(f"the proxy added {self.added * 1000:.0f} ms in the median, more than {ADDED * 1000:.0f}")
        return found

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        episodes = [{**asdict(e), "added": e.added} for e in self.episodes]
        summary = {"exactly_once": self.exactly_once, "seconds": self.seconds, "added_median": self.added}
        return {**summary, "violations": self.violations, "episodes": episodes}


class Campaign:
    """``tell`` gets each episode as it ends; none begins that would probably end after ``budget`` seconds.

    ``mixed``: with sysbench beside the rest of the load.
    """

    def __init__(self, world: World, exactly_once: bool, tell: Callable[[Episode], None], *, mixed: bool) -> None:
        self._world = world
        self._mixed = mixed
        self._exactly_once = exactly_once
        self._tell = tell

    def run(self, faults: Sequence[Fault], budget: float) -> Report:
        """Every fault once, in order."""
        started = time.monotonic()
        episodes: list[Episode] = []
        for fault in faults:
            spent = time.monotonic() - started
            if spent + spent / max(len(episodes), 1) > budget:
                break
            episodes.append(self.episode(fault))
            self._tell(episodes[-1])
        return Report(episodes, self._exactly_once, round(time.monotonic() - started, 1))

    def episode(self, fault: Fault) -> Episode:
        """One fault under a load of its own; whatever goes wrong becomes a violation."""
        world, episode = self._world, Episode(fault.name)
        started = time.monotonic()
        try:
            self._play(fault, episode)
        except Exception as error:
            episode.violations.append(f"{type(error).__name__}: {error}")
        finally:
            world.load = None
        episode.seconds = round(time.monotonic() - started, 1)
        return episode

    def _play(self, fault: Fault, episode: Episode) -> None:
        world = self._world
        world.cluster.heal()
        world.wait_whole()
        l.prepare(world.ask, WORKERS[l.APPEND])
        sysbench = Sysbench(world.port) if self._mixed else None
        with running(sysbench) if sysbench is not None else nullcontext():
            self._load(fault, episode)
        if sysbench is not None:
            self._judge_mixed(sysbench, fault, episode)

    def _load(self, fault: Fault, episode: Episode) -> None:
        world = self._world
        direct = world.cluster.members[world.replicas[-1]] if fault.direct else None
        address = (direct.address, direct.port) if direct else None
        before = self._counters()
        load = world.load = Load(("127.0.0.1", world.port), address, WORKERS)
        load.start()
        try:
            load.progress()
            fault.run(world)
            world.cluster.heal()
            world.wait_whole()
            load.progress()
        finally:
            load.stop()
            self._measure(load, fault, episode)
        after = self._counters()
        episode.counters = {name: after[name] - before[name] for name in _COUNTERS}
        self._judge(load, fault, episode)

    def _counters(self) -> dict[str, int]:
        row = self._world.proxy.get("/v1/services")[0]
        return {name: int(row[name]) for name in _COUNTERS}

    def _measure(self, load: Load, fault: Fault, episode: Episode) -> None:
        episode.statements = load.done()
        episode.errors = load.errors()
        episode.texts = sorted({f"{f.what}: {f.text}" for f in load.failures()})[:10]
        episode.read = round(load.pause(l.READ), 3)
        episode.write = round(load.pause(*l.WRITES), 3)
        episode.insert = round(load.pause(l.INSERT), 3)
        if fault.direct and fault.compared:
            episode.cluster = round(load.pause(l.DIRECT), 3)

    def _judge_mixed(self, sysbench: Sysbench, fault: Fault, episode: Episode) -> None:
        episode.sysbench = sysbench.transactions
        for what, count in sysbench.errors().items():
            episode.errors[what] = count
        episode.violations += mixed.broken(self._ask)
        if not sysbench.transactions:
            episode.violations.append("sysbench got nothing done")
        spared = {mixed.DIFFERS, *fault.allowed} | (set() if self._exactly_once else {mixed.UNKNOWN})
        for what, text in sysbench.failures:
            episode.texts.append(f"{what}: {text}")
            if what not in spared:
                episode.violations.append(f"{what}: {text}")

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows as new as any acknowledgement, from the primary itself."""
        node = self._world.cluster.members[self._world.primary]
        return node.ask(f"SET STATEMENT wsrep_sync_wait=15 FOR {sql}")

    def _judge(self, load: Load, fault: Fault, episode: Episode) -> None:
        outcome = load.outcome(self._ask)
        episode.lost, episode.duplicated = len(outcome.lost), len(outcome.duplicated)
        episode.violations += outcome.broken()
        if load.stale():
            episode.violations.append(f"{load.stale()} reads missed what their session had written")
        for failure in load.failures(l.READ, *l.WRITES):
            spared = failure.unknown and not self._exactly_once and failure.key[0] != l.READ
            if not spared and failure.what not in fault.allowed:
                episode.violations.append(f"{failure.what}: {failure.text}")


@contextmanager
def running(sysbench: Sysbench) -> Iterator[None]:
    """sysbench at work."""
    sysbench.start()
    try:
        yield
    finally:
        sysbench.stop()


@contextmanager
def campaign(
    service: str, exactly_once: bool, tell: Callable[[Episode], None], *, against: str = "", mixed_load: bool = True
) -> Iterator[Campaign]:
    """A cluster on file systems in memory and a proxy as a user runs it; all of it is gone at the end.

    ``against="haproxy"``: the applications connect to an HAProxy that asks the proxy only for the servers' health.
    """
    directory = Path(tempfile.mkdtemp(prefix="sqlproxy-chaos-"))
    directory.chmod(0o755)
    cluster = Cluster(directory / "galera")
    proxy: Proxy | None = None
    try:
        _start(cluster)
        port, admin_port = free_port(), free_port()
        text = config(cluster, port, admin_port, service)
        if exactly_once:
            (directory / "check.toml").write_text(text)
            _allow_tokens(cluster, directory / "check.toml")
        proxy = Proxy(directory, text, port, admin_port, {})
        proxy.wait_ready()
        wait_until(lambda: proxy is not None and proxy.primary, 10, "the proxy has a primary")
        with haproxy(cluster, directory, admin_port) if against else nullcontext(port) as address:
            if mixed_load:
                mixed.prepare(port)
            yield Campaign(World(cluster, proxy, address), exactly_once, tell, mixed=mixed_load)
    finally:
        if proxy is not None:
            proxy.stop()
        cluster.down(purge=False)
        unmount([*(cluster.directory / name for name in cluster.members), cluster.directory])
        shutil.rmtree(directory, ignore_errors=True)


def _start(cluster: Cluster) -> None:
    """Each node on a file system of its own, which a fault can fill."""
    mount_memory(cluster.directory, _LAB_MEGABYTES)
    for name in cluster.members:
        mount_memory(cluster.directory / name, _NODE_MEGABYTES)
    (cluster.directory / "lab.json").write_text("{}")  # a directory that is not empty must be known for a lab's
    cluster.up()


def _allow_tokens(cluster: Cluster, path: Path) -> None:
    """What ``exactly_once`` needs in the servers, as an operator makes it."""
    node = next(iter(cluster.members.values()))
    node.query("CREATE USER IF NOT EXISTS operator@'%' IDENTIFIED BY 'operator'")
    node.query("GRANT ALL ON *.* TO operator@'%' WITH GRANT OPTION")
    command = [sys.executable, "-m", "sqlproxy", "check", "-c", str(path), "--create-tables", "--user", "operator"]
    environment = {**os.environ, "SQLPROXY_CREATE_PASSWORD": "operator"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    node.query(f"GRANT INSERT ON {COMMIT_TOKENS} TO app@'%'")
    node.query(f"GRANT SELECT, DELETE ON {COMMIT_TOKENS} TO monitor@'%'")
    if COMMIT_TOKENS not in done.stdout:
        raise AssertionError(f"check --create-tables: {done.stdout}{done.stderr}")
