"""The recorded replies of real servers in ``tests/data/replies``; ``record_replies.py`` wrote them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlproxy.wire import response

DATA = Path(__file__).parent.parent / "data" / "replies"


@dataclass(frozen=True)
class Reply:
    """What a server sent, and what following it must find; ``status`` None: the last packet carries none."""

    name: str
    kind: int
    deprecate_eof: bool
    parts: list[list[Any]]  # what the server sent: before and after the client's upload, if there is one
    upload: list[Any] | None
    size: int
    rows: int
    error: int
    status: int | None
    columns: int
    parameters: int

    @property
    def bytes(self) -> list[bytes]:
        return [unpacked(part) for part in self.parts]


def unpacked(parts: list[Any]) -> bytes:
    """Hex strings and [byte, count] to bytes."""
    return b"".join(bytes.fromhex(part) if isinstance(part, str) else bytes(part[:1]) * part[1] for part in parts)


def load() -> list[Reply]:
    """Every recording; names are unique."""
    return [_reply(path.stem, entry) for path in sorted(DATA.glob("*.json")) for entry in json.loads(path.read_text())]


def _reply(server: str, entry: dict[str, Any]) -> Reply:
    mode = "OK" if entry["deprecate_eof"] else "EOF"
    return Reply(
        f"{server}, {mode}: {entry['name']}",
        getattr(response, entry["kind"]),
        entry["deprecate_eof"],
        [entry["reply"], entry["after_upload"]] if "upload" in entry else [entry["reply"]],
        entry.get("upload"),
        entry["size"],
        entry["rows"],
        entry["error"],
        entry["status"],
        entry.get("columns", 0),
        entry.get("parameters", 0),
    )
