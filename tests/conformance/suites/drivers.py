"""The test suites of Python drivers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.conformance.endpoint import HOST, PASSWORD, USER, Endpoint
from tests.conformance.outcome import Results, from_junit
from tests.conformance.packages import environment, source


def pytest_run(python: Path, arguments: list[str], work: Path, directory: Path, **env: str) -> Results:
    """Run a suite by pytest and read what became of its tests. Raises RuntimeError when it did not run."""
    report = work / "junit.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
    log = work / "output.txt"
    with log.open("wb") as stream:
        subprocess.run(command, cwd=directory, env={**os.environ, **env}, stdout=stream, stderr=stream, check=False)
    if not report.exists():
        raise RuntimeError(f"the suite did not run: {log.read_text(errors='replace')[-2000:]}")
    return from_junit(report)


def pymysql(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """PyMySQL 0.10.1, the last whose source distribution carries its tests."""
    endpoint.fresh_databases("test1", "test2")
    tree = work / "tree"
    shutil.copytree(source("PyMySQL", "0.10.1"), tree)
    account = {"host": HOST, "port": endpoint.port, "user": USER, "passwd": PASSWORD, "use_unicode": True}
    databases = [{**account, "db": "test1", "local_infile": True}, {**account, "db": "test2"}]
    (tree / "pymysql" / "tests" / "databases.json").write_text(json.dumps(databases))
    python = environment(("pytest==9.2.0", "cryptography"))
    return pytest_run(python, ["pymysql"], work, tree, PYTHONPATH=str(tree))


def mysqlclient(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """mysqlclient 2.3.1, on the server's C library."""
    endpoint.fresh_databases("test")
    tests = work / "tests"
    shutil.copytree(source("mysqlclient", "2.3.1") / "tests", tests)
    lines = ["[MySQLdb-tests]", f"host = {HOST}", f"port = {endpoint.port}", f"user = {USER}"]
    lines += [f"password = {PASSWORD}", "database = test", "default-character-set = utf8mb4"]
    (tests / "default.cnf").write_text("\n".join([*lines, ""]))
    python = environment(("pytest==9.2.0", "mysqlclient==2.3.1", "sqlalchemy==2.1.9"))
    return pytest_run(python, ["."], work, tests, TESTDB="default.cnf")


def aiomysql(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """aiomysql 0.3.2, over a unix socket: over TCP its fixtures demand its own certificates of the server."""
    endpoint.fresh_databases()
    tree = work / "tree"
    shutil.copytree(source("aiomysql", "0.3.2"), tree)
    python = environment(("pytest==8.4.2", "PyMySQL==1.1.2", "SQLAlchemy==1.3.24", "uvloop==0.22.1"))
    arguments = [f"--mysql-unix-socket=mariadb={endpoint.socket}", "tests", "-p", "no:warnings"]
    return pytest_run(python, arguments, work, tree, PYTHONPATH=str(tree))
