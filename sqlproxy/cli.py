"""The command line: arguments in, tables or JSON out.

Exit codes: 0 done, 1 the answer is no, 2 bad usage or configuration. Errors are one sentence on standard error.
Everything heavy is imported by the command that needs it: `notify` runs inside the server's view change.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from sqlproxy import __version__, inherited
from sqlproxy.admin.client import DEFAULT_URL, AdminClient, BadUrl, Refused, Unreachable, segment
from sqlproxy.errors import ConfigError, SqlproxyError
from sqlproxy.lab.cli import lab
from sqlproxy.logs import configure, one_line, visible
from sqlproxy.output import clock, mapping, number, print_json, rows_of, sequence, show

HEALTH_TIMEOUT = 3.0  # seconds
NOTIFY_TIMEOUT = 2.0  # seconds; the server waits for its notify command inside a view change
_USAGE_STATUS = (400, 401, 403, 415)  # HTTP: what was asked, or who asked, is wrong


class _Commands(TyperGroup):
    """Turns errors into one sentence and an exit code, for every command alike."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SqlproxyError as error:
            _fail(str(error), exit_code(error))
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if hasattr(error, "exit_code"):  # the parser's own, with usage text
                raise
            _fail(f"unexpected error: {one_line((type(error), error, error.__traceback__))}", 1)


def exit_code(error: SqlproxyError) -> int:
    """2 when usage or configuration is at fault, else 1."""
    if isinstance(error, Refused):
        return 2 if error.status in _USAGE_STATUS else 1
    return 2 if isinstance(error, ConfigError | BadUrl) else 1


def _fail(text: str, code: int) -> NoReturn:
    print(f"sqlproxy: {visible(text)}", file=sys.stderr)
    inherited.report(text)
    raise typer.Exit(code)


app = typer.Typer(
    cls=_Commands,
    help="A topology-aware SQL proxy for Galera and MySQL.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(lab, name="lab")

_POLL = 0.05  # seconds between two looks at a draining server
ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="The configuration file (TOML).")]
Admin = Annotated[
    str, typer.Option("--admin", envvar="SQLPROXY_ADMIN_URL", help="Admin URL of the proxy: http://… or unix:/path.")
]
Token = Annotated[str, typer.Option(envvar="SQLPROXY_ADMIN_TOKEN", hidden=True)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
ServerName = Annotated[str, typer.Argument(help="The server's name.")]


# -- running a proxy ---------------------------------------------------------------------------------------------


@app.command()
def serve(
    config: ConfigFile,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; overrides the file. 0: one process.")] = None,
) -> None:
    """Run the proxy until SIGTERM."""
    from sqlproxy.config import load

    inherited.receive()
    settings = load(config)
    if workers is not None:
        settings = settings.with_workers(workers)
    configure(settings.log.format, settings.log.level)
    from sqlproxy.run import serve as run

    raise typer.Exit(run(settings, config))


@app.command()
def demo(
    galera: Annotated[bool, typer.Option("--galera", help="A real local Galera cluster, not a simulated one.")] = False,
    kill_after: Annotated[float | None, typer.Option(min=0.0, help="Kill the primary after so many seconds.")] = None,
) -> None:
    """Start a cluster, the proxy in front of it and the dashboard, and print the DSN to try."""
    from sqlproxy.run import demo as run

    configure()
    raise typer.Exit(run(galera, kill_after))


@app.command()
def check(
    config: ConfigFile,
    create_tables: Annotated[bool, typer.Option("--create-tables", help="Make the tables that options need.")] = False,
    user: Annotated[
        str, typer.Option("--user", help="Who makes them, and looks at the application's; the monitor by default.")
    ] = "",
    password: Annotated[str, typer.Option(envvar="SQLPROXY_CREATE_PASSWORD", help="That user's password.")] = "",
    as_json: AsJson = False,
) -> None:
    """Validate the configuration, connect to every server, and look for what is wrong."""
    import asyncio

    from sqlproxy.admin.check import check as run
    from sqlproxy.admin.check import passed
    from sqlproxy.config import load

    who = user, password
    found = asyncio.run(run(load(config), who if create_tables else None, who, config))
    rows = [{"result": f.level.value, "subject": f.subject, "finding": f.text, "fix": f.fix} for f in found]
    show(rows, ("result", "subject", "finding", "fix"), as_json)
    if not passed(found):
        raise typer.Exit(1)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="maxscale.cnf, haproxy.cfg, proxysql.cnf or a dump of its admin side.")],
) -> None:
    """Print our configuration for another proxy's; what has no equivalent stands in comments."""
    from sqlproxy.migrate.convert import convert_file

    sys.stdout.write(convert_file(file))


# -- looking -----------------------------------------------------------------------------------------------------


@app.command()
def status(admin: Admin = DEFAULT_URL, token: Token = "", as_json: AsJson = False) -> None:
    """The proxy at a glance; exit code 1 when there is no primary to write to."""
    client = AdminClient(admin, token)
    state, services = mapping(client.get("/v1/monitor")), rows_of(client.get("/v1/services"))
    if as_json:
        print_json({**state, "services": services})
    else:
        facts = ("topology", "primary", "snapshot", "age", "stale", "alarms", "uptime", "version")
        show([{"fact": name, "value": state.get(name)} for name in facts], ("fact", "value"), False)
        show(services, ("name", "router", "listen", "sessions", "statements", "outcomes_unknown"), False)
    if not state.get("primary") or state.get("stale"):
        raise typer.Exit(1)


@app.command()
def health(
    ready: Annotated[bool, typer.Option("--ready", help="Whether writes find a server.")] = False,
    role: Annotated[str, typer.Option(help="With --ready: primary, or replica for reads.")] = "primary",
    admin: Admin = DEFAULT_URL,
) -> None:
    """Exit code 0 while the proxy is alive; for health checks of containers. Needs no credentials."""
    query = {"role": role} if role != "primary" else {}
    client = AdminClient(admin, "", timeout=HEALTH_TIMEOUT)
    client.get("/ready", **query) if ready else client.get("/health")
    print("ready" if ready else "alive")


@app.command()
def servers(admin: Admin = DEFAULT_URL, token: Token = "", as_json: AsJson = False) -> None:
    """All servers: role, state, load, and why."""
    columns = ("name", "address", "role", "state", "connections", "operations", "reads", "writes", "errors", "reason")
    show(rows_of(AdminClient(admin, token).get("/v1/servers")), columns, as_json)


@app.command()
def sessions(admin: Admin = DEFAULT_URL, token: Token = "", as_json: AsJson = False) -> None:
    """All client sessions, and what pins them to a server."""
    columns = ("id", "service", "user", "host", "database", "state", "primary", "replica", "statements", "pins")
    show(rows_of(AdminClient(admin, token).get("/v1/sessions")), columns, as_json)


@app.command()
def events(admin: Admin = DEFAULT_URL, token: Token = "", as_json: AsJson = False) -> None:
    """What changed, oldest first."""
    rows = rows_of(AdminClient(admin, token).get("/v1/events"))
    if not as_json:
        rows = [{**row, "time": clock(row.get("time"))} for row in rows]
    show(rows, ("time", "kind", "server", "text"), as_json)


@app.command()
def top(
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show the first interval, then end.")] = False,
    admin: Admin = DEFAULT_URL,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Servers, throughput, sessions, statements and events, live. q ends it, s sorts the sessions by something else."""
    from sqlproxy.screen import run

    run(AdminClient(admin, token), interval, once, as_json)


@app.command()
def explain(
    sql: Annotated[str, typer.Argument(help="The statement.")],
    in_transaction: Annotated[bool, typer.Option("--in-transaction", help="As if a transaction were open.")] = False,
    admin: Admin = DEFAULT_URL,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Where a statement would go, and every rule that decided it."""
    query = {"sql": sql, "in_transaction": str(in_transaction).lower()}
    try:
        answer = mapping(AdminClient(admin, token).get("/v1/explain", **query))
    except Unreachable as error:
        print(visible(f"note: {error}; explained from the text alone"), file=sys.stderr)
        answer = _explain_text(sql.encode("utf-8", "surrogateescape"), in_transaction)
    if as_json:
        print_json(answer)
        return
    words = [answer.get("server"), answer.get("target"), answer.get("reason")]
    print(visible(": ".join(str(word) for word in words if word)))
    for rule in sequence(answer.get("rules")):
        print(visible(f"- {rule}"))
    for candidate in sequence(answer.get("candidates")):
        print(visible(f"  {candidate}"))


def _explain_text(sql: bytes, in_transaction: bool) -> Mapping[str, object]:
    """What can be said without a proxy, for a session that has done nothing yet."""
    from sqlproxy.sql import classify as text

    targets = {text.READ: "replica", text.WRITE: "primary", text.LAST: "last server used", text.SESSION: "any server"}
    rules = text.explain(sql)
    if in_transaction:
        return {"target": "primary", "server": None, "rules": ["a transaction is open: its server answers", *rules]}
    return {"target": targets[text.target_of(text.classify(sql))], "server": None, "rules": rules}


# -- operating ---------------------------------------------------------------------------------------------------


@app.command()
def drain(
    name: ServerName,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for the last session; 0: do not wait.")] = 60.0,
    admin: Admin = DEFAULT_URL,
    token: Token = "",
) -> None:
    """No new work for a server; waits until the last transaction there has ended, and says what it cost."""
    client = AdminClient(admin, token)
    before = _costs(client)
    _set_state(client, name, "drain")
    if not wait:
        return
    started = time.monotonic()
    while left := _connections(client, name):
        if time.monotonic() - started > wait:
            print(visible(f"{name} still has {left} connections after {wait:g}s: maintenance moves them"))
            raise typer.Exit(1)
        time.sleep(_POLL)
    seconds = time.monotonic() - started
    errors = _costs(client) - before
    pause = max((number(row.get("longest_pause_ms")) for row in rows_of(client.get("/v1/services"))), default=0.0)
    print(visible(f"{name} is drained after {seconds:.1f}s: errors={errors:g}, longest pause {pause:g} ms"))


@app.command()
def maintenance(name: ServerName, admin: Admin = DEFAULT_URL, token: Token = "") -> None:
    """No work at all for a server."""
    _set_state(AdminClient(admin, token), name, "maintenance")


@app.command()
def activate(name: ServerName, admin: Admin = DEFAULT_URL, token: Token = "") -> None:
    """Let a server take work again."""
    _set_state(AdminClient(admin, token), name, "active")


@app.command()
def switchover(
    name: Annotated[str | None, typer.Argument(help="The new primary; else the next best.")] = None,
    admin: Admin = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Make another server the primary."""
    answer = AdminClient(admin, token).post("/v1/switchover", {"server": name} if name else {})
    print(visible(f"the primary is {mapping(answer).get('primary')}"))


@app.command()
def kill(
    session_id: Annotated[int, typer.Argument(metavar="ID", min=0, help="The session, as `sessions` shows it.")],
    admin: Admin = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Close a client session."""
    AdminClient(admin, token).delete(f"/v1/sessions/{session_id}")
    print(f"session {session_id} is closed")


@app.command()
def allow(
    digest: Annotated[
        str, typer.Argument(help="The digest of a statement that was not on the list; without one they are listed.")
    ] = "",
    statement: Annotated[str, typer.Option("--statement", help="The text of a statement instead.")] = "",
    service: Annotated[str, typer.Option("--service", help="Whose list; needed where several have one.")] = "",
    user: Annotated[str, typer.Option("--user", help="Who may run it, * for everybody; else those who ran it.")] = "",
    admin: Admin = DEFAULT_URL,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Put a statement on a service's allow list, or list what was run and is not on it."""
    client = AdminClient(admin, token)
    if not digest and not statement:
        query = {"service": service} if service else {}
        rows = [row for row in rows_of(client.get("/v1/allow_list", **query)) if row.get("state") != "allowed"]
        show(rows, ("service", "state", "digest", "user", "count", "statement"), as_json)
        return
    wanted = {"digest": digest, "statement": statement, "service": service, "user": user}
    answer = mapping(client.post("/v1/allow_list", {key: value for key, value in wanted.items() if value}))
    show(rows_of(answer.get("allowed")), ("service", "digest", "user", "statement"), as_json)


@app.command()
def reload(admin: Admin = DEFAULT_URL, token: Token = "") -> None:
    """Let the proxy read its configuration file again."""
    changes = sequence(mapping(AdminClient(admin, token).post("/v1/reload", {})).get("changes"))
    for change in changes or ["nothing changed"]:
        print(visible(str(change)))


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def notify(
    status: Annotated[str, typer.Option(help="The member's status.")] = "",
    uuid: Annotated[str, typer.Option(help="The cluster's state UUID.")] = "",
    primary: Annotated[str, typer.Option(help="yes or no: in the primary component.")] = "",
    index: Annotated[int | None, typer.Option(help="The member's place in the list of members.")] = None,
    members: Annotated[str, typer.Option(help="uuid/name/address, separated by commas.")] = "",
    admin: Admin = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Push a view change to the proxy: for Galera's wsrep_notify_cmd, whose arguments these are."""
    given: dict[str, object] = {"status": status, "uuid": uuid, "primary": primary, "index": index}
    body = {key: value for key, value in given.items() if value not in ("", None)}
    if members:
        body["members"] = members.split(",")
    client = AdminClient(admin, token, timeout=NOTIFY_TIMEOUT)
    _within(NOTIFY_TIMEOUT, lambda: client.post("/v1/notify", body), f"the proxy at {client.url} does not answer")


def _within(seconds: float, work: Callable[[], object], late: str) -> None:
    """Run work, name resolution and all, but not longer; what is left behind ends with this process."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise Unreachable(f"{late} within {seconds:g} s")
    if failed:
        raise failed[0]


@app.command()
def version() -> None:
    """The version."""
    print(f"sqlproxy {__version__}")


def _costs(client: AdminClient) -> float:
    """Errors that lost servers have cost clients so far."""
    names = ("transactions_lost", "outcomes_unknown")
    return sum(number(row.get(name)) for row in rows_of(client.get("/v1/services")) for name in names)


def _connections(client: AdminClient, name: str) -> int:
    return int(number(mapping(client.get(f"/v1/servers/{segment(name)}")).get("connections")))


def _set_state(client: AdminClient, name: str, state: str) -> None:
    row = mapping(client.put(f"/v1/servers/{segment(name)}/state", {"state": state}))
    print(visible(f"{row.get('name')} is in state {row.get('state')}"))
