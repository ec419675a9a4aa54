"""A proxy under test: ``sqlproxy serve`` as a user runs it, in a process of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlproxy.run import READY
from tests.support.waiting import wait_until

# Further configuration for servers whose roles are what their order says.
STATIC = '[monitor]\ntopology = "static"\nuser = "monitor"\npassword = "monitor"\ninterval = "200ms"'

_GIVEN: set[int] = set()  # ports


class Proxy:
    """``port`` is the first service's, ``admin_port`` the admin side's; ``log`` what it wrote, ``path`` its file."""

    def __init__(self, directory: Path, config: str, port: int, admin_port: int, env: Mapping[str, str]) -> None:
        self.port = port
        self.admin_port = admin_port
        self.path = directory / "sqlproxy.toml"
        self.path.write_text(config)
        self._log = directory / "sqlproxy.log"
        with self._log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sqlproxy", "serve", "-c", str(self.path)],
                stderr=stream,
                stdout=stream,
                env={**os.environ, **env},
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> Any:
        """JSON of an admin path."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
            return json.load(answer)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """JSON of the answer to a POST."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.admin_port}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """JSON of the answer to a PUT."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.admin_port}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def delete(self, path: str) -> Any:
        """JSON of the answer to a DELETE."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}", method="DELETE")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def servers(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.get("/v1/servers")}

    @property
    def primary(self) -> str | None:
        return next((name for name, row in self.servers().items() if row["primary"]), None)

    def wait_ready(self) -> None:
        """Until it says that all of it has started; with workers its ports take clients a while before."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log
            return f"{READY} {self.process.pid}" in self.log

        wait_until(ready, 60, "the proxy is ready")

    def wait_roles(self, **roles: str) -> None:
        """Until the named servers have these roles."""
        wait_until(
            lambda: {name: self.servers()[name]["role"] for name in roles} == roles, 30, f"the roles are {roles}"
        )

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def free_port() -> int:
    """A port nobody listens on, another one each time.

    It is out of the range from which the kernel takes ports for outgoing connections: one of those could take it before
    it is listened on.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        if port in _GIVEN:
            continue
        _GIVEN.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def config_for(
    servers: Mapping[str, int], port: int, admin_port: int, service: str = "", extra: str = "", server: str = ""
) -> str:
    """TOML for servers by name and port; ``service`` and ``server`` are further lines of the tables of that name."""
    tables = "\n".join(
        f'[[servers]]\nname = "{name}"\naddress = "127.0.0.1:{server_port}"\n{server}'
        for name, server_port in servers.items()
    )
    topology = "galera" if len(servers) > 1 else "static"
    monitor = (
        ""
        if "[monitor]" in extra
        else (f'[monitor]\ntopology = "{topology}"\nuser = "monitor"\npassword = "monitor"\ninterval = "200ms"\n')
    )
    return f"""
{tables}
{monitor}
[[services]]
name = "app"
listen = "127.0.0.1:{port}"
{service}
[admin]
listen = "127.0.0.1:{admin_port}"
{extra}
"""


@contextmanager
def running_proxy(
    directory: Path,
    servers: Mapping[str, int],
    *,
    service: str = "",
    extra: str = "",
    server: str = "",
    env: Mapping[str, str] | None = None,
) -> Iterator[Proxy]:
    """A proxy in front of servers on loopback ports; stopped at the end."""
    port, admin_port = free_port(), free_port()
    config = config_for(servers, port, admin_port, service, extra, server)
    proxy = Proxy(directory, config, port, admin_port, env or {})
    try:
        proxy.wait_ready()
        yield proxy
    finally:
        proxy.stop()
