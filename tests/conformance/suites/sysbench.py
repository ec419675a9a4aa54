"""sysbench: the same statements with the same random numbers leave the same tables behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.conformance.endpoint import HOST, PASSWORD, USER, Endpoint
from tests.conformance.outcome import Results
from tests.conformance.packages import program

_SCRIPTS = (
    "oltp_read_write",
    "oltp_delete",
    "oltp_insert",
    "oltp_point_select",
    "oltp_read_only",
    "oltp_update_index",
    "oltp_update_non_index",
    "oltp_write_only",
    "select_random_points",
    "select_random_ranges",
    "bulk_insert",
)
_TABLES = 2


def sysbench(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """Every script, with statements prepared on the server and as text."""
    results = {}
    for script in _SCRIPTS[:1] if quick else _SCRIPTS:
        for mode in ("auto", "disable"):
            results[f"{script} {mode}"] = _one(endpoint, script, mode, work)
    return results


def _one(endpoint: Endpoint, script: str, mode: str, work: Path) -> str:
    endpoint.fresh_databases("sbtest")
    command = [program("sysbench", "sysbench"), script, f"--mysql-host={HOST}", f"--mysql-port={endpoint.port}"]
    command += [f"--mysql-user={USER}", f"--mysql-password={PASSWORD}", f"--db-ps-mode={mode}", "--rand-seed=7"]
    command += ["--threads=1", "--events=300", "--time=0"]
    if script != "bulk_insert":
        command += [f"--tables={_TABLES}", "--table-size=1000"]
    output = ""
    for action in ("prepare", "run", "cleanup" if script == "bulk_insert" else ""):
        if action:
            result = subprocess.run([*command, action], capture_output=True, text=True, check=False)
            output += result.stdout + result.stderr
            if result.returncode:
                (work / f"{script}-{mode}.txt").write_text(output)
                return "failed"
        if action == "prepare" and script != "bulk_insert":
            _same_contents(endpoint)
    return f"passed {_totals(output)} {_checksums(endpoint)}"


def _same_contents(endpoint: Endpoint) -> None:
    """sysbench's seed holds for running, not for preparing: give the rows contents that every run has."""
    for number in range(1, _TABLES + 1):
        endpoint.sql(f"UPDATE sbtest.sbtest{number} SET k = id % 97, c = SHA2(id, 256), pad = MD5(id)")


def _totals(output: str) -> str:
    """Statements by kind, transactions and errors: all that does not depend on speed."""
    kinds = ("read", "write", "other", "total", "transactions", "ignored errors", "reconnects")
    found = [re.search(rf"^\s*{kind}:\s+(\d+)", output, re.MULTILINE) for kind in kinds]
    return "/".join(match[1] if match else "-" for match in found)


def _checksums(endpoint: Endpoint) -> str:
    tables = [f"sbtest.{name}" for (name,) in endpoint.sql("SHOW TABLES FROM sbtest")]
    return " ".join(str(row[1]) for row in endpoint.sql(f"CHECKSUM TABLE {', '.join(tables)}")) if tables else ""
