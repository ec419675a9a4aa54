"""The test suites of SQLAlchemy and Django."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.conformance.endpoint import HOST, PASSWORD, USER, Endpoint
from tests.conformance.outcome import Results
from tests.conformance.packages import environment, source
from tests.conformance.suites.drivers import pytest_run

_DJANGO = "5.2.19"
_DJANGO_LABELS = (
    "backends transactions transaction_hooks select_for_update introspection basic bulk_create inspectdb annotations "
    "queries aggregation expressions schema migrations"
)
_SQLALCHEMY = "2.1.9"
# Written to a folder that the Django process imports as ``conformance_settings``.
_DJANGO_SETTINGS = Path(__file__).with_name("django_settings.py")


def sqlalchemy_pymysql(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """SQLAlchemy's dialect suite on PyMySQL."""
    return _sqlalchemy(endpoint, work, "pymysql", ("PyMySQL==1.1.2", "cryptography"))


def sqlalchemy_mysqldb(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """SQLAlchemy's dialect suite on mysqlclient."""
    return _sqlalchemy(endpoint, work, "mysqldb", ("mysqlclient==2.3.1",))


def sqlalchemy_asyncmy(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """SQLAlchemy's dialect suite on asyncmy, whose own source distributions carry no tests."""
    return _sqlalchemy(endpoint, work, "asyncmy", ("--no-binary=asyncmy", "asyncmy==0.2.18", "cryptography"))


def _sqlalchemy(endpoint: Endpoint, work: Path, driver: str, requirements: tuple[str, ...]) -> Results:
    endpoint.fresh_databases("test", "test_schema")
    tree = work / "tree"
    shutil.copytree(source("SQLAlchemy", _SQLALCHEMY), tree)
    url = f"mysql+{driver}://{USER}:{PASSWORD}@{HOST}:{endpoint.port}/test?charset=utf8mb4"
    python = environment(("pytest==9.2.0", *requirements, "greenlet", "typing-extensions"))
    arguments = [f"--dburi={url}", "test/dialect/test_suite.py", "test/dialect/mysql", "-p", "no:randomly"]
    return pytest_run(python, arguments, work, tree)


def django(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """Django's own tests of everything that touches a database closely. Raises RuntimeError when they do not run."""
    endpoint.fresh_databases()
    tests = source("Django", _DJANGO) / "tests"
    # mysqlclient needs a compiler and the client library's headers; the quick part does without.
    driver = ("PyMySQL==1.1.2", "cryptography") if quick else ("mysqlclient==2.3.1",)
    python = environment((f"Django=={_DJANGO}", *driver))
    shutil.copy(_DJANGO_SETTINGS, work / "conformance_settings.py")
    report = work / "outcomes.json"
    labels = ["backends"] if quick else _DJANGO_LABELS.split()
    env = {**os.environ, "PYTHONPATH": str(work), "DJANGO_PORT": str(endpoint.port), "DJANGO_OUTCOMES": str(report)}
    command = [str(python), "runtests.py", "--settings=conformance_settings", "--parallel=1", "--noinput", *labels]
    with (work / "output.txt").open("wb") as stream:
        subprocess.run(command, cwd=tests, env=env, stdout=stream, stderr=stream, check=False)
    if not report.exists():
        raise RuntimeError(f"Django's tests did not run: {(work / 'output.txt').read_text()[-2000:]}")
    results: dict[str, str] = json.loads(report.read_text())
    return results
