"""Real servers for integration tests; a machine without them fails the tests, it does not skip them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlproxy.errors import SqlproxyError
from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.install import refuse_used_port, remove_directory
from sqlproxy.lab.single import SingleServer
from tests.support.mysql_server import mysql97 as mysql97


@pytest.fixture(scope="session")
def lab_directory() -> Iterator[Path]:
    """A short path that the servers' user may enter; pytest's own directories are closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="sqlproxy-tests-"))
    directory.chmod(0o755)
    yield directory
    remove_directory(directory)


@pytest.fixture(scope="session")
def port_block() -> int:
    """The first of ten blocks of ports nobody uses: several test runs may share a machine."""
    refusal = ""
    for block in range(10):
        try:
            for port in (*range(13300 + 20 * block, 13320 + 20 * block), *galera_ports(block)):
                refuse_used_port(port, "a port for tests")
        except SqlproxyError as error:
            refusal = str(error)
        else:
            return block
    pytest.fail(f"no block of ports for test servers is free, the last try: {refusal}")


def galera_ports(block: int) -> range:
    """Galera, IST and SST ports of three nodes."""
    return range(14570 + 30 * block, 14600 + 30 * block)


@pytest.fixture(scope="session")
def galera(lab_directory: Path, port_block: int) -> Iterator[GaleraLab]:
    """Three nodes that notice a dead one after about a second; ``galera.ports`` are their SQL ports."""
    base = galera_ports(port_block).start
    lab = GaleraLab(lab_directory / "galera", 13300 + 20 * port_block, fast=True, galera_base=base)
    try:
        lab.up()
    except SqlproxyError as error:
        lab.down(purge=True)
        pytest.fail(str(error))
    yield lab
    lab.down(purge=True)


@pytest.fixture
def healthy_galera(galera: GaleraLab) -> GaleraLab:
    """The session's cluster with every node synced, whatever the test before did to it."""
    galera.up()
    return galera


@pytest.fixture(scope="session")
def mariadb(lab_directory: Path, port_block: int) -> Iterator[SingleServer]:
    """One server without Galera on ``mariadb.port``; it offers TLS and knows client_ed25519."""
    server = SingleServer(lab_directory / "mariadb", 13310 + 20 * port_block)
    try:
        server.up()
    except SqlproxyError as error:
        server.down(purge=True)
        pytest.fail(str(error))
    yield server
    server.down(purge=True)
