"""Allow lists for operators: what is on them, what was run and is not, and how it gets there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from sqlproxy.admin.commands import MAX_SQL, CommandError
from sqlproxy.admin.view import Row, Runtime
from sqlproxy.errors import SqlproxyError
from sqlproxy.routing.allow_list import ANYBODY, Entry, Unlisted, digest_of, shapes_of

audit = logging.getLogger("sqlproxy.audit")

_STATES = ("allowed", "refused", "detected")


async def rows(runtime: Runtime, service: str = "", state: str = "") -> list[Row]:
    """What is not on the lists, newest first, then what is; each with ``state`` allowed, refused or detected.

    ``service`` and ``state`` leave the others out. Raises CommandError for a state there is none.
    """
    if state and state not in _STATES:
        raise CommandError(400, f"{state!r} is not a state", f"a state is {', '.join(_STATES)}")
    found = [_unlisted(row) for row in reversed(merged(await runtime.unlisted()))]
    for name, entries in runtime.allowed().items():
        found += [_allowed(name, entry) for entry in sorted(entries)]
    return [row for row in found if service in ("", row["service"]) and state in ("", row["state"])]


def merged(unlisted: Iterable[Unlisted]) -> list[Unlisted]:
    """Rows of several processes added up: what was seen last, last."""
    found: dict[tuple[str, bytes, bytes], Unlisted] = {}
    for row in unlisted:
        key = row.service, row.shape, row.user
        if key in found:
            found[key].absorb(row)
        else:
            found[key] = Unlisted(row.service, row.shape, row.user, row.refused, row.count, row.first, row.last)
    return sorted(found.values(), key=lambda row: row.last)


def _unlisted(row: Unlisted) -> Row:
    return {
        "service": row.service,
        "state": "refused" if row.refused else "detected",
        "digest": digest_of(row.shape),
        "user": _text(row.user),
        "statement": _text(row.shape) or "(not understood)",
        "count": row.count,
        "first_seen": round(row.first, 3),
        "last_seen": round(row.last, 3),
    }


def _allowed(service: str, entry: Entry) -> Row:
    shape, user = entry
    named = {"service": service, "state": "allowed", "digest": digest_of(shape), "user": _text(user)}
    return {**named, "statement": _text(shape), "count": None, "first_seen": None, "last_seen": None}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


async def allow(runtime: Runtime, wanted: Mapping[str, object], who: str) -> Row:
    """Put statements on the list of ``service`` (needed where several have one); the rows that were added.

    ``digest``: what was run and is not on it, for those who ran it or for ``user``; ``statement``: a text, for
    ``user`` (* is everybody). Raises CommandError.
    """
    given = {key: value for key, value in wanted.items() if value not in (None, "")}
    if not all(isinstance(value, str) for value in given.values()) or given.keys() - _KEYS:
        raise CommandError(400, "digest, statement, service and user are the keys, and texts", _HOW)
    words = {key: str(value) for key, value in given.items()}
    service = _service(runtime, words.get("service", ""))
    if ("digest" in words) == ("statement" in words):
        raise CommandError(400, "either a digest or a statement is needed", _HOW)
    user = words["user"].encode("utf-8", "surrogateescape") if "user" in words else None
    if "digest" in words:
        entries = _of_digest(await runtime.unlisted(), service, words["digest"].lower(), user)
    else:
        entries = _of_text(words["statement"], user)
    try:
        await runtime.allow(service, entries)
    except SqlproxyError as error:
        raise CommandError(409, error.message) from None
    for shape, name in entries:
        audit.info("%s allowed user %s of service %s: %s", who, _text(name), service, _text(shape))
    return {"allowed": [_allowed(service, entry) for entry in entries]}


_KEYS = {"digest", "statement", "service", "user"}
_HOW = 'send {"digest": "9f86d081884c7d65"} or {"statement": "SELECT 1", "user": "app"}'


def _service(runtime: Runtime, name: str) -> str:
    lists = list(runtime.allowed())
    if not lists:
        raise CommandError(409, "no service has an allow list", "set mode and file in [services.allow_list]")
    known = ", ".join(lists)
    if name and name not in lists:
        raise CommandError(404, f"there is no service {name!r} with an allow list", f"these have one: {known}")
    if not name and len(lists) > 1:
        raise CommandError(400, "several services have an allow list", f"name the service: {known}")
    return name or lists[0]


def _of_digest(unlisted: Sequence[Unlisted], service: str, digest: str, user: bytes | None) -> list[Entry]:
    found = [row for row in unlisted if row.service == service and row.shape and digest_of(row.shape) == digest]
    if not found:
        text = f"no statement {digest!r} was run in the service {service} that is not on its allow list"
        raise CommandError(404, text, "GET /v1/allow_list lists those that were")
    if len({row.shape for row in found}) > 1:
        raise CommandError(409, f"several statements have the digest {digest}", "allow one by its text")
    return sorted({(row.shape, row.user if user is None else user) for row in found})


def _of_text(text: str, user: bytes | None) -> list[Entry]:
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > MAX_SQL:
        raise CommandError(413, f"the statement is longer than {MAX_SQL} bytes", "allow it by its digest")
    shapes = shapes_of(data, 0, 0)
    if not shapes:
        raise CommandError(422, "this statement is not understood, so it cannot be allowed", "")
    return [(shape, ANYBODY if user is None else user) for shape in shapes]
