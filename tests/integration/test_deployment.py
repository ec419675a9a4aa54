"""What is deployed, really run: the wheel, the service's signals to systemd, the notify script, HAProxy's files."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxy import config_for, free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
TOKEN = "a-token-of-the-test"


@pytest.mark.parametrize("path", sorted((CONFIG / "haproxy").iterdir()), ids=lambda path: path.name)
def test_haproxy_takes_its_files(path: Path) -> None:
    result = subprocess.run(["/usr/sbin/haproxy", "-c", "-f", path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", sorted((CONFIG / "keepalived").iterdir()), ids=lambda path: path.name)
def test_keepalived_takes_its_files(path: Path, tmp_path: Path) -> None:
    """With the script where it is here, and run by root: checking another user's, keepalived 2.2 ends itself."""
    text = path.read_text().replace("script_user nobody nogroup", "script_user root")
    text = text.replace("/opt/sqlproxy/.venv/bin/sqlproxy", f"{Path(sys.executable).parent}/sqlproxy")
    copy = tmp_path / path.name
    copy.write_text(text)
    command = ["/usr/sbin/keepalived", "--config-test", "-f", copy]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


# -- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, without the compiled core, which would take a minute."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    shutil.copytree(ROOT / "sqlproxy", source / "sqlproxy", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", target, source]
    subprocess.run(command, env={**os.environ, "SQLPROXY_SKIP_EXT": "1"}, check=True)
    (built,) = target.glob("sqlproxy-*.whl")
    return built


def test_the_wheel_has_everything_that_runs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = [path for path in (ROOT / "sqlproxy").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = [path.relative_to(ROOT).as_posix() for path in sources if path.suffix not in (".so", ".c", ".pyx")]
    assert [name for name in wanted if name not in names] == []
    assert not [name for name in names if name.endswith((".c", ".so")) or name.startswith("tests")]


def test_the_wheel_runs_the_demo_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are those of this environment; sqlproxy itself is only there from the wheel."""
    venv.create(tmp_path / "venv", with_pip=False)
    library = Path(sysconfig.get_path("purelib", "posix_prefix", {"base": str(tmp_path / "venv")}))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(library)
    (library / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = tmp_path / "venv" / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import sqlproxy; print(sqlproxy.__file__)"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert where.stdout.strip() == str(library / "sqlproxy" / "__init__.py")
    admin = free_port()
    env = {
        **os.environ,
        "SQLPROXY_SERVICES__0__LISTEN": f"127.0.0.1:{free_port()}",
        "SQLPROXY_ADMIN__LISTEN": f"127.0.0.1:{admin}",
    }
    with subprocess.Popen(
        [python, "-c", DEMO, str(free_ports(3))], env=env, cwd="/", stdout=subprocess.DEVNULL
    ) as demo:
        try:
            wait_until(lambda: ready(admin), 30, "the demo's primary")
        finally:
            demo.send_signal(signal.SIGTERM)
            assert demo.wait(20) == 0


# `sqlproxy demo` on ports of its own
DEMO = """
import functools, sys
from sqlproxy import run
run.EmbeddedCluster = functools.partial(run.EmbeddedCluster, base_port=int(sys.argv[1]))
sys.exit(run.demo(False))
"""


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    for _ in range(100):
        first = free_port()
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    pytest.fail("there are no free ports")


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# -- systemd and wsrep_notify_cmd


class Manager:
    """Stands for systemd: the datagrams of one service."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(20)

    def next(self) -> str:
        """The next that is no sign of life."""
        while (text := self._socket.recv(4096).decode()) == "WATCHDOG=1":
            pass
        return text

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Manager, int]]:
    """A proxy in front of servers that are down, as systemd would start it; process, manager, admin port."""
    manager, admin = Manager(tmp_path / "notify"), free_port()
    path = tmp_path / "sqlproxy.toml"
    path.write_text(config_for({"n1": free_port()}, free_port(), admin, extra=f'token = "{TOKEN}"\n'))
    env = {**os.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "30000000"}
    command = [sys.executable, "-m", "sqlproxy", "serve", "-c", path]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, env=env, stderr=log) as process:
        try:
            yield process, manager, admin
        finally:
            process.kill()
            manager.close()


def test_systemd_hears_who_is_in_charge_after_an_upgrade(
    service: tuple[subprocess.Popen[bytes], Manager, int],
) -> None:
    process, manager, _ = service
    assert manager.next() == "READY=1"
    process.send_signal(signal.SIGUSR2)
    heard = []
    while not heard or not heard[-1].startswith("MAINPID="):
        heard.append(manager.next())
    successor = int(heard[-1].partition("=")[2])
    try:
        assert heard[:-1] == ["READY=1"]
        assert process.wait(20) == 0
    finally:
        os.kill(successor, signal.SIGTERM)
    assert manager.next() == "STOPPING=1"


def test_systemd_hears_of_the_service_and_the_service_of_the_cluster(
    service: tuple[subprocess.Popen[bytes], Manager, int], tmp_path: Path
) -> None:
    """Start, a view change told by Galera's script to every proxy though one is dead, reload and stop."""
    process, manager, admin = service
    assert manager.next() == "READY=1"
    assert run_notify_script(tmp_path, [free_port(), admin]) == 0
    assert "Synced" in (tmp_path / "log").read_text()
    process.send_signal(signal.SIGHUP)
    assert manager.next().startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert manager.next() == "READY=1"
    process.send_signal(signal.SIGTERM)
    assert manager.next() == "STOPPING=1"
    assert process.wait(20) == 0


def run_notify_script(directory: Path, ports: list[int]) -> int:
    """The exit code of wsrep-notify.sh for proxies whose admin sides are on these ports."""
    (directory / "admin.token").write_text(f"{TOKEN}\n")
    conf = directory / "notify.conf"
    urls = " ".join(f"http://127.0.0.1:{port}" for port in ports)
    conf.write_text(f'SQLPROXY_ADMIN_URLS="{urls}"\nSQLPROXY_ADMIN_TOKEN_FILE={directory / "admin.token"}\n')
    arguments = ["--status", "Synced", "--uuid", "u", "--primary", "yes", "--index", "0", "--members", "u/n1/x"]
    script = [CONFIG / "galera" / "wsrep-notify.sh", *arguments]
    return subprocess.run(
        script, env={**os.environ, "SQLPROXY_NOTIFY_CONF": str(conf)}, timeout=20, check=False
    ).returncode
