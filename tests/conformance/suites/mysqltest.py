"""The server's own tests, mysql-test of the package mariadb-test, run by its client mariadb-test.

Its driver mtr can do the same (``--extern``), but starts slowly and goes on when a test has ended the server; here
every test begins with empty databases, the accounts and the global variables of the first.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from sqlproxy.errors import ServerLost
from tests.conformance.endpoint import HOST, Endpoint
from tests.conformance.outcome import Results
from tests.conformance.packages import Unavailable, program

TREE = Path("/usr/share/mysql/mysql-test")
_QUICK = (
    "ansi bigint bool case delete func_concat func_if insert_update join_nested_jcl6 limit prepare replace rollback "
    "round schema select_found subselect2 temp_table truncate type_date user_var"
)
_SECONDS = 300  # for one test; none takes more than ten on a quiet machine
_SKIPPED = 62  # exit code of mariadb-test for a test that does not apply here
# Files that ask for a server of the test's own.
_OPTIONS = (".opt", "-master.opt", "-slave.opt", ".cnf", ".combinations", ".sh", "-master.sh")
# What needs mtr's servers or programs, shows how many connections there are, or takes long.
_UNFIT = re.compile(
    r"restart|shutdown|--?exec\b|^exec|--system|\$MYSQL|MYSQLD|master-slave|have_debug|DEBUG_|debug_sync|binlog|log_bin"
    r"|big_test|long_test|perl;|load_file|outfile|infile|write_file|have_plugin|install\b|embedded|cat_file|move_file"
    r"|list_files|slave|wsrep|valgrind|wait_timeout|innodb_page_size|have_sequence",
    re.IGNORECASE | re.MULTILINE,
)
_NOT_REPLICATED = re.compile(r"myisam|aria|memory|heap|blackhole|csv|merge|archive|partition|sequence", re.IGNORECASE)
_SOURCE = re.compile(r"^(?:--\s*)?source\s+([^\s;$]+)", re.IGNORECASE | re.MULTILINE)
_HANG_GALERA = ("schema",)  # DDL against metadata locks of another session, which isolated DDL waits for without end
# As in mtr's include/default_mysqld.cnf.
_GLOBALS = {
    "character_set_server": "latin1",
    "log_bin_trust_function_creators": "1",
    "sort_buffer_size": "262144",
    "max_heap_table_size": "1048576",
    "local_infile": "1",
}


def as_text(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """Statements as text: the first of every three tests."""
    return _run(endpoint, work, quick, 0)


def as_prepared(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """The second of every three, their statements prepared and executed by the binary protocol where possible."""
    return _run(endpoint, work, quick, 1, "--ps-protocol")


def with_cursors(endpoint: Endpoint, work: Path, quick: bool) -> Results:
    """The third of every three, as prepared statements whose rows are fetched by a cursor."""
    return _run(endpoint, work, quick, 2, "--ps-protocol", "--cursor-protocol")


def _run(endpoint: Endpoint, work: Path, quick: bool, part: int, *options: str) -> Results:
    names = _QUICK.split() if quick else candidates(len(endpoint.ports) > 1)[part::3]
    direct = work.parent / "direct" / "passed.txt"
    if endpoint.name == "proxied":
        names = direct.read_text().split()
    state = _State(endpoint)
    results = {}
    for name in names:
        state.restore()
        results[name] = _one(endpoint, name, work, options)
    endpoint.revive()
    state.restore()
    if endpoint.name == "direct":
        results = {name: outcome for name, outcome in results.items() if outcome == "passed"}
        direct.write_text("\n".join(results))
    return results


def candidates(replicated: bool) -> list[str]:
    """The tests of the main suite that need nothing but a server. Raises Unavailable without the package."""
    if not TREE.exists():
        raise Unavailable(f"{TREE} is missing: apt-get install -y mariadb-test")
    found = []
    for path in sorted((TREE / "main").glob("*.test")):
        text = path.read_text(errors="replace")
        if any(path.with_name(path.stem + ending).exists() for ending in _OPTIONS) or _UNFIT.search(text):
            continue
        if replicated and (path.stem in _HANG_GALERA or _NOT_REPLICATED.search(path.stem + _with_sources(text))):
            continue
        found.append(path.stem)
    return found


def _with_sources(text: str) -> str:
    """A test's text and those of the files it includes."""
    parts = [text]
    for name in _SOURCE.findall(text):
        for path in (TREE / name, TREE / "main" / name):
            if path.is_file():
                parts.append(_with_sources(path.read_text(errors="replace")))
                break
    return "\n".join(parts)


def _one(endpoint: Endpoint, name: str, work: Path, options: tuple[str, ...]) -> str:
    logs, temporary = work / "log", work / "tmp"
    logs.mkdir(exist_ok=True)
    temporary.mkdir(exist_ok=True)
    main = TREE / "main"
    command = [program("mariadb-test", "mariadb-test"), "--no-defaults", f"--host={HOST}", f"--port={endpoint.port}"]
    command += ["--protocol=tcp", "--user=root", "--database=test", f"--basedir={TREE}", f"--tmpdir={temporary}"]
    command += [f"--logdir={logs}", "--silent", "--max-connect-retries=3", f"--test-file={main / name}.test"]
    command += [f"--result-file={main / name}.result", *options]
    names = {"MYSQL_TEST_DIR": TREE, "MYSQLTEST_VARDIR": work, "MYSQL_TMP_DIR": temporary, "MYSQLTEST_FILE": main}
    ports = {"MASTER_MYPORT": endpoint.port, "MYSQL_TCP_PORT": endpoint.port, "USE_RUNNING_SERVER": 1}
    env = {**os.environ, **{key: str(value) for key, value in {**names, **ports}.items()}}
    with (logs / f"{name}.out").open("wb") as stream:
        try:
            code = subprocess.run(
                command, cwd=TREE, env=env, stdout=stream, stderr=stream, timeout=_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return "timed out"
    return {0: "passed", _SKIPPED: "skipped"}.get(code, "failed")


class _State:
    """What tests change for others: databases, accounts, global variables."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        wanted = dict(_GLOBALS)
        if len(endpoint.ports) == 1:
            wanted["default_storage_engine"] = "MyISAM"
        for name, value in wanted.items():
            endpoint.everywhere(f"SET GLOBAL {name} = {value}")
        self._accounts = set(self._ask("SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) FROM mysql.user"))
        self._variables = self._settings()

    def restore(self) -> None:
        """As it was in the beginning; a server that a test has ended is started again."""
        try:
            self._restore()
        except ServerLost:
            self._endpoint.revive()
            self._restore()

    def _restore(self) -> None:
        self._endpoint.fresh_databases("test", "mtr", charset="latin1")
        for account in set(self._ask("SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) FROM mysql.user")) - self._accounts:
            self._endpoint.sql(f"DROP USER {account}")
        for name, value in self._settings().items() - self._variables.items():
            del value
            self._set(name, self._variables.get(name, ""))

    def _ask(self, sql: str) -> list[str]:
        return [str(row[0]) for row in self._endpoint.sql(sql)]

    def _settings(self) -> dict[str, str]:
        sql = (
            "SELECT variable_name, global_value FROM information_schema.system_variables "
            "WHERE read_only = 'NO' AND variable_scope <> 'SESSION ONLY' AND variable_name NOT LIKE '%gtid%' "
            "AND variable_name NOT LIKE 'wsrep%' AND variable_name NOT LIKE 'innodb_buffer%'"
        )
        return {str(name): str(value) for name, value in self._endpoint.sql(sql)}

    def _set(self, name: str, value: str) -> None:
        text = value if re.fullmatch(r"-?\d+(\.\d+)?", value) else f"'{value}'"
        self._endpoint.everywhere(f"SET GLOBAL {name} = {text}")
