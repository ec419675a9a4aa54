"""The proxies under comparison: started on one core, and what each has used of it."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

PROXY_CORE = "0"
LOAD_CORES = f"1-{(os.cpu_count() or 1) - 1}"
START_SECONDS = 20.0


@dataclass
class Target:
    """Something to send load to; ``processes`` is empty when nothing stands between client and server."""

    name: str
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def pids(self) -> list[int]:
        """Every process of it, children included."""
        found = []
        todo = [process.pid for process in self.processes]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, to the nanosecond (/proc/PID/task/TID/schedstat)."""
        total = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def rss_bytes(self) -> int:
        """Resident memory of all its processes (Rss of /proc/PID/smaps_rollup)."""
        total = 0
        for pid in self.pids():
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += 1024 * int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Rss:")))
        return total

    def stop(self) -> None:
        """End what was started."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(cores: str, command: Sequence[str]) -> list[str]:
    """The command, kept on these cores."""
    return ["taskset", "-c", cores, *command]


def program(name: str, package: str) -> str:
    """Where a program is. Raises SystemExit with the package that brings it."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise SystemExit(f"{name} is missing: apt-get install {package}")
    return path


def direct(server_ports: Sequence[int]) -> Target:
    """No proxy: the first server itself."""
    return Target("direct", server_ports[0])


def haproxy(directory: Path, server_ports: Sequence[int]) -> Target:
    """HAProxy as a plain TCP balancer with one thread."""
    port = free_port()
    servers = "\n".join(f"  server s{number} 127.0.0.1:{p}" for number, p in enumerate(server_ports))
    path = directory / f"haproxy-{port}.cfg"
    most = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2
    path.write_text(
        f"global\n  nbthread 1\n  maxconn {most}\n"
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
        f"listen app\n  bind 127.0.0.1:{port}\n  balance roundrobin\n{servers}\n"
    )
    command = [program("haproxy", "haproxy"), "-f", str(path)]
    return _started("haproxy", port, command, {}, directory)


def sqlproxy(
    name: str,
    directory: Path,
    server_ports: Sequence[int],
    *,
    workers: int = 0,
    pure: bool = False,
    tls: Path | None = None,
) -> Target:
    """This project: a statement router over servers that somebody else manages; ``tls`` holds cert.pem and key.pem."""
    port = free_port()
    servers = "\n".join(
        f'[[servers]]\nname = "s{number}"\naddress = "127.0.0.1:{p}"' for number, p in enumerate(server_ports)
    )
    certificate = f'tls = {{ cert = "{tls}/cert.pem", key = "{tls}/key.pem" }}\n' if tls else ""
    path = directory / f"{name}-{port}.toml"
    path.write_text(
        f'workers = {workers}\n{servers}\n[monitor]\ntopology = "static"\nuser = "monitor"\npassword = "monitor"\n'
        '[accounts]\nsource = "static"\n[[accounts.users]]\nname = "app"\npassword = "app"\n'
        f'[[services]]\nname = "app"\nlisten = "127.0.0.1:{port}"\n{certificate}'
        '[admin]\nlisten = ""\n[log]\nlevel = "warning"\n'
    )
    command = [sys.executable, "-m", "sqlproxy", "serve", "-c", str(path)]
    return _started(name, port, command, {"SQLPROXY_PURE": "1" if pure else "0"}, directory)


def starts(directory: Path, server_ports: Sequence[int], tls: Path | None = None) -> list[Callable[[], Target]]:
    """What starts each target of a comparison."""
    return [
        partial(direct, server_ports),
        partial(haproxy, directory, server_ports),
        partial(sqlproxy, "sqlproxy", directory, server_ports, tls=tls),
        partial(sqlproxy, "sqlproxy-2", directory, server_ports, workers=2, tls=tls),
        partial(sqlproxy, "sqlproxy-pure", directory, server_ports, pure=True, tls=tls),
    ]


def _started(name: str, port: int, command: list[str], env: dict[str, str], directory: Path) -> Target:
    log = directory / f"{name}-{port}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(pinned(PROXY_CORE, command), stdout=stream, stderr=stream, env={**os.environ, **env})
    target = Target(name, port, [process])
    wait_for(lambda: greets(port), process, log)
    return target


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it holds. Raises SystemExit with the log when the process ends or time is up."""
    end = time.monotonic() + START_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise SystemExit(f"{process.args!r} did not start: {log.read_text()[-2000:]}")
        time.sleep(0.02)


def greets(port: int) -> bool:
    """Whether a server's greeting, not an error, comes from this port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            return probe.recv(5)[4:5] == b"\x0a"
    except OSError:
        return False
