"""What operators may ask the proxy to do, for every front of the admin side alike.

Each command takes the runtime and plain values, and returns a JSON-able answer or raises CommandError.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from sqlproxy.admin import view
from sqlproxy.admin.view import Row, Runtime
from sqlproxy.errors import SqlproxyError
from sqlproxy.topology.model import AdminState

audit = logging.getLogger("sqlproxy.audit")

MAX_SQL = 64 << 10
_MAX_DETAIL = 200
_STATES = "active, drain or maintenance"


class CommandError(SqlproxyError):
    """A command that was refused; ``status`` is the HTTP status that says so, ``hint`` what to do instead."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint


def server(runtime: Runtime, name: str) -> Row:
    """The row of one server."""
    for row in view.servers(runtime):
        if row["name"] == name:
            return row
    raise no_such_server(runtime, name)


def no_such_server(runtime: Runtime, name: str) -> CommandError:
    """The refusal that names the servers there are."""
    known = ", ".join(config.name for config in runtime.settings.servers)
    return CommandError(404, f"there is no server named {name!r}", f"the servers are {known}")


def set_state(runtime: Runtime, name: str, wanted: object, who: str) -> Row:
    """Put a server in a state, and return its row."""
    try:
        state = AdminState(str(wanted))
    except ValueError:
        raise CommandError(400, f"{wanted!r} is not a state", f"a state is {_STATES}") from None
    try:
        runtime.set_server_state(name, state)
    except KeyError:
        raise no_such_server(runtime, name) from None
    audit.info("%s put server %s in state %s", who, name, state.value)
    return {**server(runtime, name), "state": state.value}


async def switchover(runtime: Runtime, name: object, who: str) -> Row:
    """Make another server the primary: the named one, or the next best."""
    if name is not None and not isinstance(name, str):
        raise CommandError(400, "the name of a server is a string", 'send {"server": "n2"}, or {} for the next best')
    if name is not None and name not in {config.name for config in runtime.settings.servers}:
        raise no_such_server(runtime, name)
    audit.info("%s asked for a switchover to %s", who, name or "the next best server")
    try:
        primary = await runtime.switchover(name)
    except SqlproxyError as error:
        audit.info("the switchover %s asked for was refused: %s", who, error)
        raise CommandError(409, str(error)) from None
    audit.info("the switchover %s asked for made %s the primary", who, primary)
    return {"primary": primary}


async def reload(runtime: Runtime, who: str) -> Row:
    """Read the configuration file again."""
    try:
        changes = await runtime.reload()
    except SqlproxyError as error:
        audit.info("the reload %s asked for was refused: %s", who, error)
        raise CommandError(422, str(error), "nothing was changed") from None
    audit.info("%s reloaded the configuration: %s", who, "; ".join(changes) or "nothing changed")
    return {"changes": changes}


async def kill(runtime: Runtime, session_id: str, who: str) -> Row:
    """Close a client session."""
    number = int(session_id) if session_id.isascii() and session_id.isdigit() and len(session_id) < 20 else None
    if number is None or not await runtime.kill_session(number):
        raise CommandError(404, f"there is no session {session_id!r}", "GET /v1/sessions lists them")
    audit.info("%s killed session %d", who, number)
    return {"killed": number}


async def clear_digests(runtime: Runtime, who: str) -> Row:
    """Begin the statement statistics anew."""
    await runtime.clear_digests()
    audit.info("%s reset the statement digests", who)
    return {"reset": True}


def notify(runtime: Runtime, body: Mapping[str, object], who: str) -> Row:
    """Take a view change that a server pushed; it is a hint only, the servers are probed at once.

    ``body``: status, primary ("yes" or "no"), uuid, index and members as Galera's wsrep_notify_cmd gets them.
    """
    source = _member(body) or _short(body.get("source")) or who
    detail = _describe(body)
    runtime.notify(source, detail)
    audit.info("%s notified: %s: %s", who, source, detail)
    return {"notified": True}


def _member(body: Mapping[str, object]) -> str:
    """The name of the member that reports: members are ``uuid/name/address``, index is its place among them."""
    members, index = body.get("members"), body.get("index")
    if not isinstance(members, list) or not isinstance(index, int) or not 0 <= index < len(members):
        return ""
    parts = str(members[index]).split("/")
    return _short(parts[1]) if len(parts) > 1 else ""


def _describe(body: Mapping[str, object]) -> str:
    members = body.get("members")
    parts = [f"status {_short(body['status'])}"] if body.get("status") else []
    if "primary" in body:
        parts.append("in the primary component" if body["primary"] in ("yes", True) else "not in a primary component")
    if isinstance(members, list) and members:
        parts.append(f"{len(members)} members")
    return ", ".join(parts) or "the view changed"


def _short(value: object) -> str:
    return str(value)[:_MAX_DETAIL] if value is not None else ""


def explain(runtime: Runtime, sql: str, in_transaction: str) -> Row:
    """Where a statement would go, and the rules that decide it."""
    if not sql.strip():
        raise CommandError(400, "there is no statement to explain", "GET /v1/explain?sql=SELECT+1")
    data = sql.encode("utf-8", "surrogateescape")
    if len(data) > MAX_SQL:
        raise CommandError(413, f"the statement is longer than {MAX_SQL} bytes", "explain a shorter one")
    return runtime.explain(data, in_transaction.lower() in ("1", "true", "yes", "on"))
