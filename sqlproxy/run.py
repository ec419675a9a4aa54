"""Runs an App in an event loop until a signal ends it: ``serve`` on real servers, ``demo`` on a local cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from sqlproxy import PURE_BECAUSE, inherited, systemd
from sqlproxy.app import App
from sqlproxy.config import Settings, validate
from sqlproxy.errors import SqlproxyError
from sqlproxy.lab.embedded import EmbeddedCluster
from sqlproxy.lab.galera import GaleraLab
from sqlproxy.loops import keep_what_is_loaded, run_loop, warn_of_few_descriptors
from sqlproxy.session import attach
from sqlproxy.supervisor import Supervisor
from sqlproxy.upgrade import PidFile, start_successor

log = logging.getLogger("sqlproxy.app")

DEMO_PORT = 4006
READY = "sqlproxy is ready: process"  # its number follows


def serve(settings: Settings, path: Path | None = None) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP reloads. Raises SqlproxyError when the start fails."""
    return run_loop(_serve(settings, path))


async def _serve(settings: Settings, path: Path | None) -> int:
    stop = _stop_signal()
    if PURE_BECAUSE:
        log.warning("the compiled core is not used, statements cost more CPU: %s", PURE_BECAUSE)
    warn_of_few_descriptors()
    log.info("sockets are served by %s", attach.described())
    app: App | Supervisor = Supervisor(settings, path) if settings.workers else App(settings, path)
    pid_file = PidFile(settings.pid_file)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, lambda: _spawn(_reload(app)))
    loop.add_signal_handler(signal.SIGUSR2, lambda: None)  # while it starts
    await app.start()
    systemd.notify(systemd.READY)
    _spawn(systemd.keep_alive())
    try:
        pid_file.write()
        inherited.report()
        loop.add_signal_handler(signal.SIGUSR2, lambda: _spawn(_upgrade(app, settings, stop)))
        keep_what_is_loaded()
        log.info("%s %d", READY, os.getpid())
        await stop.wait()
    finally:
        log.info("stopping")
        systemd.notify(systemd.STOPPING)
        await app.stop()
        pid_file.remove()
    return 0


async def _upgrade(app: App | Supervisor, settings: Settings, stop: asyncio.Event) -> None:
    """Put a new process in charge; this one ends with its last session. Nothing changes when that fails."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, lambda: log.info("upgrade: one is under way"))
    log.info("upgrade: starting a new process")
    try:
        pid, links = await start_successor(await app.estate())
    except (SqlproxyError, OSError) as error:
        log.error("upgrade: this process goes on, as the new one did not start: %s", error)
        loop.add_signal_handler(signal.SIGUSR2, lambda: _spawn(_upgrade(app, settings, stop)))
        return
    systemd.notify(f"MAINPID={pid}")
    os.environ.pop("NOTIFY_SOCKET", None)  # what becomes of this process is no news of the service
    log.info("upgrade: process %d serves new clients; sessions move there, or end here", pid)
    try:
        await app.retire(settings.upgrade_timeout, links)
    except Exception:
        log.exception("upgrade: sessions are served no longer here")
    finally:
        stop.set()


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


_tasks: set[asyncio.Task[None]] = set()


def _spawn(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _reload(app: App | Supervisor) -> None:
    systemd.notify(systemd.reloading())
    try:
        changes = await app.reload()
    except SqlproxyError as error:
        log.error("reload: nothing was changed: %s", error.message)
        return
    finally:
        systemd.notify(systemd.READY)
    for change in changes or ["nothing has changed"]:
        log.info("reload: %s", change)


def demo(galera: bool, kill_after: float | None = None) -> int:
    """A cluster, the proxy in front of it and the dashboard; the DSN to try is printed.

    Raises SqlproxyError when a port is taken or the real cluster cannot be started.
    """
    return run_loop(_demo_galera(kill_after) if galera else _demo_embedded(kill_after))


async def _demo_embedded(kill_after: float | None) -> int:
    cluster = EmbeddedCluster()
    await cluster.start()
    try:
        servers = {name: str(address) for name, address in cluster.addresses.items()}
        hint = f"kill a node: mysql -h127.0.0.1 -P{cluster.addresses['n1'].port} -uroot -e shutdown   (it rejoins)"
        return await _demo(servers, "three simulated Galera nodes", hint, kill_after, cluster.kill)
    finally:
        await cluster.stop()


async def _demo_galera(kill_after: float | None) -> int:
    lab = GaleraLab()
    log.info("starting a real three-node Galera cluster, about 20 s …")
    await asyncio.to_thread(lab.up)
    try:
        servers = {f"n{number}": f"127.0.0.1:{port}" for number, port in enumerate(lab.ports, 1)}
        hint = "kill a node: sqlproxy lab kill n1   bring it back: sqlproxy lab join n1"

        async def kill(name: str) -> None:
            await asyncio.to_thread(lab.kill, name)

        return await _demo(servers, "a real three-node MariaDB Galera cluster", hint, kill_after, kill)
    finally:
        await asyncio.to_thread(lab.down)


async def _demo(
    servers: dict[str, str],
    what: str,
    hint: str,
    kill_after: float | None,
    kill: Callable[[str], Awaitable[None]],
) -> int:
    stop = _stop_signal()
    app = App(demo_settings(servers))
    await app.start()
    try:
        print(_welcome(what, servers, app.admin_url, hint), flush=True)
        if kill_after is not None:
            _spawn(_kill_primary(app, kill_after, kill))
        await stop.wait()
    finally:
        log.info("stopping")
        await app.stop()
    return 0


async def _kill_primary(app: App, seconds: float, kill: Callable[[str], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    name = app.publisher.snapshot.primary
    if name is not None:
        log.info("killing the primary, %s", name)
        await kill(name)


def demo_settings(servers: dict[str, str]) -> Settings:
    """The configuration of a demo; every key can be overridden from the environment."""
    return validate(
        {
            "servers": [{"name": name, "address": address} for name, address in servers.items()],
            "monitor": {"user": "monitor", "password": "monitor"},
            "services": [{"name": "app", "listen": f"127.0.0.1:{DEMO_PORT}"}],
        },
        "demo",
    )


def _welcome(what: str, servers: dict[str, str], admin_url: str, hint: str) -> str:
    dsn = f"mysql://app:app@127.0.0.1:{DEMO_PORT}/app"
    nodes = ", ".join(f"{name} at {address}" for name, address in servers.items())
    python = f'pymysql.connect(host="127.0.0.1", port={DEMO_PORT}, user="app", password="app", database="app")'
    return f"""
sqlproxy is ready, in front of {what} ({nodes}).

  DSN        {dsn}
  mysql      mysql -h127.0.0.1 -P{DEMO_PORT} -uapp -papp -e "select @@hostname"
  Python     {python}
  dashboard  {admin_url}
  failover   {hint}

Ctrl-C ends it.
"""
