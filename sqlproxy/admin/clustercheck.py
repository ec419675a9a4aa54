"""The words of percona-clustercheck, so that load balancers that know it can ask the proxy instead.

Source: https://github.com/olafz/percona-clustercheck (the script ``clustercheck``).
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlproxy.admin.view import Runtime, is_stale
from sqlproxy.monitor.base import is_on
from sqlproxy.topology.model import AdminState, Role, ServerView

SYNCED = "Percona XtraDB Cluster Node is synced.\r\n"
NOT_SYNCED = "Percona XtraDB Cluster Node is not synced.\r\n"
READ_ONLY = "Percona XtraDB Cluster Node is read-only.\r\n"
DISABLED = "Percona XtraDB Cluster Node is manually disabled.\r\n"


def clustercheck(runtime: Runtime, name: str, options: Mapping[str, str]) -> tuple[int, str]:
    """HTTP status and body for one server. Raises KeyError when there is no such server.

    ``options`` are the script's own: ``available_when_donor`` (0) and ``available_when_readonly`` (1).
    Drain and maintenance answer as the script does when its disable file is there.
    """
    view = runtime.publisher.snapshot.server(name)
    if view is None:
        if name not in {server.name for server in runtime.settings.servers}:
            raise KeyError(name)
        return 503, NOT_SYNCED
    if view.state is not AdminState.ACTIVE:
        return 503, DISABLED
    if is_stale(runtime) or not _in_sync(view, options.get("available_when_donor", "0") == "1"):
        return 503, NOT_SYNCED
    if options.get("available_when_readonly", "1") == "0" and _read_only(view):
        return 503, READ_ONLY
    return 200, SYNCED


def _in_sync(view: ServerView, available_when_donor: bool) -> bool:
    return view.role in (Role.PRIMARY, Role.REPLICA) or (available_when_donor and view.role is Role.DONOR)


def _read_only(view: ServerView) -> bool:
    return is_on(view.figures.get("read_only", ""))
