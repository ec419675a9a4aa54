"""A real MariaDB Galera cluster on loopback, for tests, benchmarks and trying things out.

Everything is kept in one directory, so a later command finds the cluster that an earlier one started.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlproxy.errors import ConfigError, ServerLost, SqlproxyError
from sqlproxy.lab import install
from sqlproxy.lab.certificates import make_certificates
from sqlproxy.lab.node import GaleraNode, NodeStatus
from sqlproxy.lab.process import ProcessState, wait_for

_SYNC_SECONDS = 60.0
_PARTS = ("template", "maker", "tls", "lab.json")


@dataclass(frozen=True)
class LabSettings:
    """What lab.json keeps of a cluster."""

    base_port: int
    galera_base: int
    nodes: int
    fast: bool
    tls: bool


def derived_galera_base(base_port: int) -> int:
    """Galera ports for SQL ports: 4570 for 33100, always below 32768, where no outgoing connection takes them."""
    return 4570 + (base_port - 33100) % 20000


class GaleraLab:
    """A cluster of nodes n1, n2, … on 127.0.0.1.

    SQL ports are ``base_port + 1`` and up, Galera ports ``galera_base`` and up by tens. ``fast`` shortens the
    failure detector (members suspect each other after 1 s instead of 5 s). All methods block until what they ask
    for has happened and raise SqlproxyError if it does not, ConfigError for a name that does not exist.
    """

    def __init__(
        self,
        directory: Path | None = None,
        base_port: int = 33100,
        nodes: int = 3,
        fast: bool = False,
        *,
        galera_base: int | None = None,
        tls: bool = True,
    ) -> None:
        if not 1 <= nodes <= 9 or not 1024 <= base_port <= 65000:
            raise ConfigError("a lab has 1 to 9 nodes and a base port from 1024 to 65000")
        base = derived_galera_base(base_port) if galera_base is None else galera_base
        self.directory = (directory or install.default_directory("galera")).absolute()
        self.settings = LabSettings(base_port, base, nodes, fast, tls)
        self.nodes = {
            f"n{i}": GaleraNode(f"n{i}", self.directory / f"n{i}", base_port + i, base + 10 * (i - 1))
            for i in range(1, nodes + 1)
        }

    @classmethod
    def open(cls, directory: Path | None = None) -> "GaleraLab":
        """The cluster that ``up`` made in a directory; ConfigError if there is none."""
        directory = (directory or install.default_directory("galera")).absolute()
        try:
            settings = LabSettings(**json.loads((directory / "lab.json").read_text()))
        except FileNotFoundError:
            raise ConfigError(f"there is no lab in {directory}: sqlproxy lab up makes one") from None
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{directory / 'lab.json'} cannot be used: {error}") from error
        return cls(
            directory,
            settings.base_port,
            settings.nodes,
            settings.fast,
            galera_base=settings.galera_base,
            tls=settings.tls,
        )

    @property
    def ports(self) -> list[int]:
        """SQL ports, in the nodes' order."""
        return [node.port for node in self.nodes.values()]

    @property
    def ca_file(self) -> Path:
        """The certificate authority that signed the servers' certificate."""
        return self.directory / "tls" / "ca.pem"

    def up(self) -> None:
        """Make the cluster whole: install what is missing, continue, start and heal nodes until all are synced."""
        if self._with_state(ProcessState.DOWN) == list(self.nodes.values()):
            self._prepare()
        elif not (self.directory / "lab.json").exists() or self.open(self.directory).settings != self.settings:
            raise ConfigError(f"a lab with other settings is running in {self.directory}: sqlproxy lab down ends it")
        for node in self._with_state(ProcessState.STOPPED):
            node.cont()
        down = self._with_state(ProcessState.DOWN)
        if len(down) == len(self.nodes):
            down.remove(self._bootstrap(down))
        self._settle()
        for node in down:
            self._let_in(node)
        self.wait_synced()

    def down(self, *, purge: bool = False) -> None:
        """End every node, also frozen ones; ``purge`` removes the data too."""
        with ThreadPoolExecutor(len(self.nodes)) as executor:
            list(executor.map(GaleraNode.kill if purge else GaleraNode.shutdown, self.nodes.values()))
        if purge:
            parts = [*self.directory.glob("n[1-9]"), *(self.directory / part for part in _PARTS)]
            install.remove_parts(self.directory, parts)

    def kill(self, name: str) -> None:
        """End a node as a crash would (SIGKILL)."""
        self.node(name).kill()

    def stop(self, name: str) -> None:
        """Freeze a node (SIGSTOP): its ports accept connections and nothing answers."""
        self.node(name).stop()

    def cont(self, name: str) -> None:
        """Let a frozen node go on (SIGCONT); ``join`` also waits until it is synced."""
        self.node(name).cont()

    def shutdown(self, name: str) -> None:
        """End a node cleanly (SIGTERM)."""
        self.node(name).shutdown()

    def join(self, name: str) -> None:
        """Bring a node back, whatever happened to it, and wait until it is synced.

        If every node is down the one with the newest state starts first and begins a new component.
        """
        node = self.node(name)
        if node.state is ProcessState.STOPPED:
            node.cont()
        if len(self._with_state(ProcessState.DOWN)) == len(self.nodes):
            self._bootstrap([node, *(other for other in self.nodes.values() if other is not node)])
        self._settle()
        if node.state is ProcessState.DOWN:
            self._let_in(node)
        else:
            node.wait_until(self.agreed, _SYNC_SECONDS, "synced")

    def status(self) -> list[NodeStatus]:
        """One row per node, in order; asks the servers that run."""
        return [node.status() for node in self.nodes.values()]

    def node(self, name: str) -> GaleraNode:
        """A node by name; ConfigError if there is none."""
        if name not in self.nodes:
            raise ConfigError(f"there is no node {name} in this lab, only {', '.join(self.nodes)}")
        return self.nodes[name]

    def wait_synced(self, timeout: float = _SYNC_SECONDS) -> None:
        """Wait until all nodes are synced in one component; SqlproxyError with a dead node's last words."""
        for node in self.nodes.values():
            node.wait_until(self.agreed, timeout, "synced")

    def agreed(self) -> bool:
        """Whether all running nodes are synced in one component of exactly them.

        One node's word is not enough: a node that was frozen believes in its old component for a moment.
        """
        rows = [row for row in self.status() if row.process is ProcessState.RUNNING]
        views = {(row.conf_id, row.cluster_size) for row in rows}
        return all(row.synced for row in rows) and {size for _, size in views} == {len(rows)} and len(views) == 1

    def _prepare(self) -> None:
        """Install what is missing; nothing runs yet."""
        settings = self.directory / "lab.json"
        if self.directory.exists() and any(self.directory.iterdir()) and not settings.exists():
            raise ConfigError(f"{self.directory} is neither empty nor a lab: choose another directory")
        install.make_directory(self.directory)
        settings.write_text(json.dumps(asdict(self.settings), indent=2) + "\n")
        if self.settings.tls:
            make_certificates(self.directory / "tls")
        template = self.directory / "template"
        if not template.exists():
            self._make_template(template)
        for node in self.nodes.values():
            node.install(template, node.options(fast=self.settings.fast, tls=self.settings.tls))

    def _make_template(self, template: Path) -> None:
        """A data directory that was a cluster of one: its copies share a position and need no state transfer."""
        first = next(iter(self.nodes.values()))
        maker = GaleraNode("template", self.directory / "maker", first.port, first.galera_port)
        maker.kill()  # left behind by an up that was interrupted
        install.remove_directory(maker.directory)
        install.make_directory(maker.directory)
        install.make_directory(maker.directory / "tmp")
        install.install_data(maker.data)
        install.write_options(maker.options_file, maker.options(fast=True, tls=False))
        maker.start_in([])
        try:
            maker.wait_until(maker.is_synced, _SYNC_SECONDS, "synced")
            maker.shutdown()
        finally:
            maker.kill()
        (maker.data / "galera.cache").unlink()
        maker.data.rename(template)
        install.remove_directory(maker.directory)

    def _bootstrap(self, candidates: list[GaleraNode]) -> GaleraNode:
        """Start the first of the nodes with the newest state as a component of its own."""
        positions = [node.position() for node in candidates]
        newest = max(range(len(candidates)), key=lambda i: position[1] if (position := positions[i]) else -1)
        node = candidates[newest]
        node.start_in([])
        node.wait_until(node.is_synced, _SYNC_SECONDS, "synced")
        return node

    def _let_in(self, node: GaleraNode) -> None:
        """Start a node that is down and wait until it is synced; one that gives up its data gets all of it anew.

        A node killed between storing a new view and the position of that view finds, after an incremental
        transfer, that the two contradict each other ("SST script passed bogus GTID", wsrep-lib's
        server_state.cpp). It then marks its data unusable and ends; its next start asks for a full transfer.
        """
        peers = list(self.nodes.values())
        node.start_in(peers)
        try:
            node.wait_until(self.agreed, _SYNC_SECONDS, "synced")
        except SqlproxyError:
            if node.state is not ProcessState.DOWN or node.position() is not None:
                raise
            node.start_in(peers)
            node.wait_until(self.agreed, _SYNC_SECONDS, "synced")

    def _settle(self) -> None:
        """Wait until the running nodes know of recent faults; if none stays Primary, make the newest so.

        A node that joins in between would wait in vain: two of three nodes lost at once leave a survivor that
        still calls itself Primary, then has no quorum and nobody to merge with.
        """
        running = self._with_state(ProcessState.RUNNING)
        wait_for(lambda: self._is_settled(running), 5.0 if self.settings.fast else 12.0)
        rows = {node.name: node.status() for node in running}
        if not rows:
            raise SqlproxyError("no node of the lab is running: continue the stopped ones first")
        if any(row.cluster_status == "Primary" for row in rows.values()):
            return
        newest = max(running, key=lambda node: rows[node.name].last_committed)
        try:
            newest.query("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")
        except ServerLost as error:
            raise SqlproxyError(f"{newest.name} cannot begin a new component: {error}") from error

    def _is_settled(self, running: list[GaleraNode]) -> bool:
        rows = [node.status() for node in running]
        alone = len(rows) == 1 and rows[0].cluster_status == "non-Primary"
        return alone or any(row.cluster_status == "Primary" and row.cluster_size <= len(running) for row in rows)

    def _with_state(self, state: ProcessState) -> list[GaleraNode]:
        return [node for node in self.nodes.values() if node.state is state]
