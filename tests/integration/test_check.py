"""What `sqlproxy check` finds on real servers whose settings and accounts are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pymysql

from sqlproxy.admin.check import check, passed
from sqlproxy.admin.finding import Finding
from sqlproxy.config import Settings, validate
from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.single import SingleServer
from tests.support.mysql_server import MySQLServer
from tests.support.proxy import free_port

WRONG = {
    "wsrep_sync_wait": ("1", "0"),
    "innodb_flush_log_at_trx_commit": ("2", "1"),
    "wsrep_OSU_method": ("'RSU'", "'TOI'"),
    "sql_mode": ("''", "@@sql_mode"),
    "wait_timeout": ("100", "28800"),
    "wsrep_provider_options": ("'pc.ignore_sb=true'", "'pc.ignore_sb=false'"),
}
MISFITS = (
    "CREATE DATABASE misfits",
    "CREATE TABLE misfits.keyless (a INT)",
    "CREATE TABLE misfits.aria (a INT PRIMARY KEY) ENGINE=Aria",
    "CREATE USER balancer@'%'",
    "CREATE USER socket@'10.%' IDENTIFIED VIA unix_socket",
    "CREATE USER certified@'%' IDENTIFIED BY 'x' REQUIRE X509",
    "CREATE USER elsewhere@'10.9.%' IDENTIFIED BY 'x'",
)
TIDY = (
    "DROP DATABASE IF EXISTS misfits",
    "DROP USER IF EXISTS balancer@'%', socket@'10.%', certified@'%', elsewhere@'10.9.%'",
)


def configured(ports: list[int], topology: str, user: str = "root") -> Settings:
    return validate(
        {
            "servers": [{"name": f"n{i}", "address": f"127.0.0.1:{port}"} for i, port in enumerate(ports, 1)],
            "monitor": {
                "topology": topology,
                "user": user,
                "password": "" if user == "root" else user,
                "timeout": "3s",
                "stale_after": "10s",
            },
            "services": [{"name": "app", "listen": f"127.0.0.1:{free_port()}"}],
            "admin": {"listen": ""},
        },
        "test",
    )


@contextmanager
def statements(port: int, before: list[str], after: list[str]) -> Iterator[None]:
    connection = pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True)
    with connection, connection.cursor() as cursor:
        try:
            for statement in before:
                cursor.execute(statement)
            yield
        finally:
            for statement in after:
                cursor.execute(statement)


def texts(found: list[Finding], subject: str) -> str:
    return "\n".join(finding.text for finding in found if subject in finding.subject)


async def test_settings_accounts_and_tables_of_a_cluster(healthy_galera: GaleraLab) -> None:
    ports = healthy_galera.ports
    settings = configured(ports, "galera")
    wrong = [f"SET GLOBAL {name} = {bad}" for name, (bad, _) in WRONG.items()]
    right = [f"SET GLOBAL {name} = {good}" for name, (_, good) in WRONG.items()]
    with statements(ports[0], [*TIDY, *MISFITS], [*TIDY]), statements(ports[1], wrong, right):
        found = await check(settings)
    second = texts(found, "n2")
    for start in (
        "wsrep_sync_wait=1:",
        "innodb_flush_log_at_trx_commit=2:",
        "wsrep_osu_method=RSU:",
        "wait_timeout=100:",
    ):
        assert start in second
    assert "pc.ignore_sb=true: two halves" in second
    assert not passed(found)
    assert "sql_mode differs: " in texts(found, "servers")
    accounts = texts(found, "accounts")
    assert "'balancer'@'%'" in accounts
    assert "'socket'@'10.%' cannot log in through the proxy: the plugin unix_socket" in accounts
    assert "'certified'@'%' cannot log in through the proxy: no service asks" in accounts
    assert "'elsewhere', 'socket' may not log in from 127.0.0.1" in texts(found, "n1")
    assert "misfits.keyless: without a primary key" in texts(found, "tables")
    assert "misfits.aria (Aria): only InnoDB" in texts(found, "tables")
    assert "may SUPER" in texts(found, "n1")


async def test_the_same_cluster_put_right(healthy_galera: GaleraLab) -> None:
    found = await check(configured(healthy_galera.ports, "galera", "monitor"), reader=("root", ""))
    assert passed(found)
    assert not [text for name in WRONG if (text := f"{name.lower()}=") in texts(found, "n")]


async def test_a_single_mariadb(mariadb: SingleServer) -> None:
    found = await check(configured([mariadb.port], "static"))
    assert "there is one server, so nothing can fail over" in texts(found, "servers")


async def test_mysql(mysql97: MySQLServer) -> None:
    mysql97.query("CREATE USER IF NOT EXISTS looker@'%' IDENTIFIED BY 'looker'")
    mysql97.query("GRANT SELECT ON mysql.user TO looker@'%'")
    found = await check(configured([mysql97.port], "static", "looker"))
    assert passed(found), found
    assert "its variables cannot be read" not in texts(found, "n1")
    assert "reads" in texts(found, "accounts")
