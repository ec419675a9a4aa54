"""Is a configuration fit to serve? Connects to every server as the proxy would and says what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sqlproxy.accounts import loader
from sqlproxy.accounts.model import Accounts
from sqlproxy.admin import check_files, check_tables, lint_accounts, lint_cluster, lint_server, tables
from sqlproxy.admin.finding import Finding, Level
from sqlproxy.admin.lint_server import NOW, PRIVILEGE, SEEN_FROM, VARIABLES
from sqlproxy.admin.view import plain_version
from sqlproxy.config import COMMIT_TOKENS, Settings
from sqlproxy.errors import SqlproxyError
from sqlproxy.monitor.base import Flavour, Situation, Verdict
from sqlproxy.monitor.flavours import flavour_for
from sqlproxy.monitor.probe import Probe
from sqlproxy.monitor.tokens import execute
from sqlproxy.topology.model import Address, NodeReport, Role, Server, ServerView, Snapshot

_LINT = (
    f"SELECT '{SEEN_FROM}', SUBSTRING_INDEX(USER(), '@', -1)",
    f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({', '.join(repr(name) for name in VARIABLES)})",
)
_PRIVILEGES = (
    f"SELECT CONCAT('{PRIVILEGE}', PRIVILEGE_TYPE), '' FROM information_schema.USER_PRIVILEGES WHERE GRANTEE ="
    " CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')",
)


class _Questions:
    """A flavour that asks for the server's clock, too."""

    def __init__(self, flavour: Flavour) -> None:
        self._flavour = flavour
        self.causal = flavour.causal
        self.SETUP = flavour.SETUP
        self.QUERIES = (
            f"SELECT '{NOW}', UNIX_TIMESTAMP(SYSDATE(6))",
            *flavour.QUERIES,
        )

    def parse(self, rows: Mapping[str, str]) -> object:
        return self._flavour.parse(rows)

    def assess(self, situation: Situation) -> Verdict:
        return self._flavour.assess(situation)


async def check(
    settings: Settings,
    creator: tuple[str, str] | None = None,
    reader: tuple[str, str] = ("", ""),
    path: Path | None = None,
) -> list[Finding]:
    """Everything there is to say, servers first; takes a few monitor timeouts at most.

    With a ``creator`` (user and password; user "" is the monitor) missing tables are made first. ``reader`` looks at
    the application's tables, "" again being the monitor; ``path`` is the configuration's file.
    """
    servers = [config.server() for config in settings.servers]
    flavour = _Questions(flavour_for(settings.monitor))
    reports = {report.server: report for report in await asyncio.gather(*(_ask(s, settings, flavour) for s in servers))}
    snapshot = Snapshot(number=0, at=0.0)
    situation = Situation(servers, reports, {}, snapshot, time.monotonic(), settings.monitor.interval)
    verdict = flavour.assess(situation)
    found = [*_roles(verdict, reports), *_cluster(verdict, settings)]
    found += await _lint([s for s in servers if not reports[s.name].error], reports, settings)
    primary = [s for s in servers if s.name == verdict.primary]
    found += [finding async for finding in _tables(settings, primary, creator)]
    for server in primary:
        found += await check_tables.look(server, settings, *reader)
    await asyncio.sleep(0)  # connections that were dropped are closed in the loop's next turn
    return [*found, *check_files.look(settings, path), *_ports(settings)]


async def _lint(servers: Sequence[Server], reports: Mapping[str, NodeReport], settings: Settings) -> list[Finding]:
    """What variables, accounts and privileges say."""
    found: list[Finding] = []
    asked = await asyncio.gather(*(_facts(server, reports[server.name], settings) for server in servers))
    for report, refusal in asked:
        found += lint_server.server(report, settings)
        if refusal:
            found.append(Finding(Level.WARN, report.server, f"its variables cannot be read: {refusal}"))
    found += [*lint_cluster.cluster([report for report, _ in asked], settings), *lint_cluster.privacy(settings)]
    readable, accounts = await _accounts(settings, servers)
    seen_from = {report.server: report.facts.get(SEEN_FROM, "") for report, _ in asked}
    return [*_together(found), *readable, *_together(lint_accounts.accounts(accounts, seen_from, settings))]


def _together(found: Iterable[Finding]) -> Iterator[Finding]:
    """One line for what is the same on several servers, where the first of them stands."""
    subjects: dict[Finding, list[str]] = {}
    for finding in found:
        subjects.setdefault(replace(finding, subject=""), []).append(finding.subject)
    return (replace(finding, subject=", ".join(names)) for finding, names in subjects.items())


async def _facts(server: Server, report: NodeReport, settings: Settings) -> tuple[NodeReport, str]:
    """The report with everything that findings are made of, and why some of it could not be had."""
    seconds = 5 * settings.monitor.timeout
    variables = await execute(server, settings.monitor, _LINT, seconds)
    privileges = await execute(server, settings.monitor, _PRIVILEGES, seconds)
    return replace(report, facts={**variables.facts, **privileges.facts, **report.facts}), variables.error


async def _ask(server: Server, settings: Settings, flavour: Flavour) -> NodeReport:
    probe = Probe(server, settings.monitor, flavour)
    try:
        report = await probe.report()
    finally:
        probe.close()
    if report.error or NOW not in report.facts:
        return report
    with contextlib.suppress(ValueError):  # from here on the fact is the difference
        skew = float(report.facts[NOW]) - (time.time() - (time.monotonic() - report.at))
        return replace(report, facts={**report.facts, NOW: f"{skew:.3f}"})
    return report


def _roles(verdict: Verdict, reports: Mapping[str, NodeReport]) -> Iterator[Finding]:
    for view in verdict.servers:
        version = plain_version(reports[view.name].version)
        text = view.reason if view.reason.startswith(view.role.value) else f"{view.role.value}: {view.reason}"
        yield Finding(_level(view), view.name, f"{text} (version {version})" if version else text)


def _level(view: ServerView) -> Level:
    if view.role in (Role.PRIMARY, Role.REPLICA):
        return Level.OK
    return Level.FAIL if view.role in (Role.DOWN, Role.NON_PRIMARY, Role.UNKNOWN) else Level.WARN


def _cluster(verdict: Verdict, settings: Settings) -> Iterator[Finding]:
    topology = settings.monitor.topology
    for alarm in verdict.alarms:
        yield Finding(Level.WARN, topology, alarm)
    if verdict.primary is None:
        yield Finding(Level.FAIL, topology, "no server can be the primary, so nothing could be written")
    else:
        yield Finding(Level.OK, topology, f"{verdict.primary} would be the primary")


async def _accounts(settings: Settings, servers: Sequence[Server]) -> tuple[list[Finding], dict[str, Accounts]]:
    """Whether the grant tables can be read on each server that answers, and what they say."""
    accounts = settings.accounts
    if accounts.source == "static":
        level = Level.OK if accounts.users else Level.FAIL
        return [Finding(level, "accounts", f"{len(accounts.users)} static accounts")], {}
    secret = accounts.password if accounts.user else settings.monitor.password
    user, password = accounts.user or settings.monitor.user, secret.get_secret_value()
    answers = await asyncio.gather(*(_grants(server, user, password, settings) for server in servers))
    found = {server.name: read for server, (_, read) in zip(servers, answers, strict=True) if read is not None}
    return [finding for finding, _ in answers], found


async def _grants(server: Server, user: str, password: str, settings: Settings) -> tuple[Finding, Accounts | None]:
    try:
        found = await loader.load(server, user, password, 5 * settings.monitor.timeout)
    except SqlproxyError as error:
        return Finding(Level.FAIL, "accounts", str(error)), None
    return Finding(Level.OK, "accounts", f"{server.name}: {user!r} reads {len(found.accounts)} accounts"), found


async def _tables(
    settings: Settings, primary: Sequence[Server], creator: tuple[str, str] | None
) -> AsyncIterator[Finding]:
    for server in primary:
        if creator is not None and (refusal := await tables.create(settings, server, *creator)):
            text = f"cannot be made: {refusal}; make it yourself: {'; '.join(tables.COMMIT_TOKEN)}"
            yield Finding(Level.FAIL, COMMIT_TOKENS, text)
        elif reason := await tables.missing(settings, server):
            wanted = "; ".join(tables.grants(settings.monitor.user))
            text = f"{reason}; sqlproxy check --create-tables makes the table, and these are needed: {wanted}"
            yield Finding(Level.FAIL, COMMIT_TOKENS, text)
        elif settings.exactly_once:
            yield Finding(Level.OK, COMMIT_TOKENS, "is there, and the monitor may clean it up")


def _ports(settings: Settings) -> Iterator[Finding]:
    for service in settings.services:
        for address in service.listen:
            yield port(f"service {service.name}", address)
    if settings.admin.listen is not None:
        yield port("admin", settings.admin.listen)
    if settings.admin.sql_listen is not None:
        yield port("admin over SQL", settings.admin.sql_listen)


def port(subject: str, address: Address) -> Finding:
    """Whether an address can be listened at. One in use is a warning: a proxy may well be running."""
    try:
        _bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return Finding(Level.WARN, subject, f"{address} is in use, by a proxy that runs already or something else")
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
        return Finding(Level.FAIL, subject, f"{address} cannot be listened at: {reason}")
    return Finding(Level.OK, subject, f"{address} is free")


def _bind(address: Address) -> None:
    if address.path:
        return _bind_path(address.path)
    passive = socket.AI_PASSIVE
    for family, kind, protocol, _, target in socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=passive
    ):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen()
    return None


def _bind_path(path: str) -> None:
    """A socket file nobody listens at does not count: the proxy replaces it."""
    if not os.path.exists(path):
        folder = os.path.dirname(path) or "."
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES if os.path.isdir(folder) else errno.ENOENT, "")
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
        raise OSError(errno.EADDRINUSE, "")


def passed(found: Sequence[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.level is not Level.FAIL for finding in found)
