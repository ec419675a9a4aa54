"""One node of a lab's Galera cluster: ports, options, saved position, and its view of the cluster."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlproxy.errors import ServerLost, SqlproxyError
from sqlproxy.lab import install
from sqlproxy.lab.process import ProcessState
from sqlproxy.lab.server import LabServer

# Members suspect each other after 1 s instead of 5 s: for tests with many faults.
_FAST_TIMEOUTS = (
    "evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S;evs.suspect_timeout=PT1S;"
    "evs.inactive_timeout=PT3S;evs.install_timeout=PT3S;evs.join_retrans_period=PT0.3S"
)
_NO_STATE = "00000000-0000-0000-0000-000000000000"
_STATUS_SQL = (
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_local_state_comment', 'wsrep_cluster_status', "
    "'wsrep_cluster_size', 'wsrep_cluster_conf_id', 'wsrep_last_committed')"
)


@dataclass(frozen=True)
class NodeStatus:
    """One row of ``sqlproxy lab status``."""

    name: str
    process: ProcessState
    pid: int | None
    port: int
    galera_port: int
    state: str  # wsrep_local_state_comment: "Synced", "Joined", "Donor/Desynced", …; empty without an answer
    cluster_status: str  # "Primary", "non-Primary", "Disconnected"; empty without an answer
    cluster_size: int
    conf_id: int  # number of the membership change the node is at; -1 without an answer
    last_committed: int  # -1 without an answer

    @property
    def synced(self) -> bool:
        """Part of the Primary component and up to date."""
        return self.state == "Synced" and self.cluster_status == "Primary"


class GaleraNode(LabServer):
    """A server with a place in the cluster; Galera uses ``galera_port`` and the two ports after it."""

    def __init__(self, name: str, directory: Path, port: int, galera_port: int) -> None:
        super().__init__(name, directory, port)
        self.galera_port = galera_port
        self.recover_log = directory / "recover.log"

    def options(self, *, fast: bool, tls: bool) -> dict[str, str]:
        """Options for the option file; the cluster address is given at each start."""
        galera = self.galera_port
        provider = (
            f"base_port={galera};gmcast.listen_addr=tcp://127.0.0.1:{galera};"
            f"ist.recv_addr=127.0.0.1:{galera + 1};gcache.size=64M"
        )
        return install.server_options(self.directory, self.port, tls=tls) | {
            "binlog-format": "ROW",
            "innodb-autoinc-lock-mode": "2",
            "wsrep-on": "ON",
            "wsrep-provider": install.galera_provider(),
            "wsrep-provider-options": f"{provider};{_FAST_TIMEOUTS}" if fast else provider,
            "wsrep-cluster-name": "sqlproxy-lab",
            "wsrep-node-name": self.name,
            "wsrep-node-address": f"127.0.0.1:{galera}",
            "wsrep-node-incoming-address": f"127.0.0.1:{self.port}",
            "wsrep-sst-method": "rsync",
            "wsrep-sst-receive-address": f"127.0.0.1:{galera + 2}",
        }

    def status(self) -> NodeStatus:
        """What the process and, if it answers, the server say; never waits for a frozen server."""
        process = self.state
        values: dict[str, str] = {}
        if process is ProcessState.RUNNING:
            try:
                values = dict(self.query(_STATUS_SQL))
            except ServerLost:
                values = {}
        return NodeStatus(
            name=self.name,
            process=process,
            pid=self.process.pid(),
            port=self.port,
            galera_port=self.galera_port,
            state=values.get("wsrep_local_state_comment", ""),
            cluster_status=values.get("wsrep_cluster_status", ""),
            cluster_size=int(values.get("wsrep_cluster_size", 0)),
            conf_id=int(values.get("wsrep_cluster_conf_id", -1)),
            last_committed=int(values.get("wsrep_last_committed", -1)),
        )

    def is_synced(self) -> bool:
        """Part of the Primary component and up to date."""
        return self.status().synced

    def refuse_used_ports(self) -> None:
        """Raise SqlproxyError naming the first port of this node that somebody else uses."""
        galera = self.galera_port
        for port, purpose in ((self.port, "SQL"), (galera, "Galera"), (galera + 1, "IST"), (galera + 2, "SST")):
            install.refuse_used_port(port, f"the {purpose} port of {self.name}")

    def start_in(self, peers: Sequence["GaleraNode"]) -> None:
        """Start as a member of the cluster of ``peers``; without peers, as the first of a new component."""
        self.refuse_used_ports()
        if not peers:
            self._allow_bootstrap()
        addresses = ",".join(f"127.0.0.1:{peer.galera_port}" for peer in peers)
        arguments = [f"--wsrep-cluster-address=gcomm://{addresses}"]
        if position := self.position():
            arguments.append(f"--wsrep-start-position={position[0]}:{position[1]}")
        # The lab decides who begins a component; a remembered view only delays joining the present one.
        (self.data / "gvwstate.dat").unlink(missing_ok=True)
        self.start(arguments)

    def position(self) -> tuple[str, int] | None:
        """(state uuid, sequence number) of a node that is down, None if its data cannot be trusted.

        A running node keeps -1 in grastate.dat, so after a crash the storage engine is asked
        (``--wsrep-recover``), as the distribution's start script does; without that every crashed node would need
        a full state transfer. A zero uuid marks a transfer that was cut short.
        """
        uuid, seqno = self._saved_position()
        if uuid == _NO_STATE:
            return None
        return (uuid, seqno) if seqno >= 0 else self._recovered_position()

    def _saved_position(self) -> tuple[str, int]:
        grastate = self.data / "grastate.dat"
        text = grastate.read_text() if grastate.exists() else ""
        values = dict(re.findall(r"^(\w+):\s*(\S+)", text, re.MULTILINE))
        return values.get("uuid", _NO_STATE), int(values.get("seqno", -1))

    def _recovered_position(self) -> tuple[str, int] | None:
        # The server refuses to start without a cluster address, and does not connect when it only recovers.
        options = ["--wsrep-recover", "--wsrep-cluster-address=gcomm://", f"--log-error={self.recover_log}"]
        command = [install.server_program(), f"--defaults-file={self.options_file}", *options]
        install.make_log(self.recover_log)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        text = self.recover_log.read_text(errors="replace") + result.stderr
        found = re.findall(r"Recovered position: ([0-9a-f-]{36}):(-?\d+)", text)
        if result.returncode or not found:
            raise SqlproxyError(f"the position of {self.name} cannot be recovered, see {self.recover_log}")
        return (found[-1][0], int(found[-1][1])) if int(found[-1][1]) >= 0 else None

    def _allow_bootstrap(self) -> None:
        """Declare this node's state the cluster's: nobody else is running."""
        grastate = self.data / "grastate.dat"
        if grastate.exists():
            text = grastate.read_text()
            grastate.write_text(re.sub(r"safe_to_bootstrap: 0", "safe_to_bootstrap: 1", text))
