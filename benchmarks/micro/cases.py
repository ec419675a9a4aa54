"""The steps that are timed, by name, each a call without arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlproxy.routing.base import Load, RouteContext
from sqlproxy.routing.readwritesplit import ReadWriteSplit
from sqlproxy.sql.classify import WRITE, classify
from sqlproxy.sql.digest import digest
from sqlproxy.sql.familiar import classify_shape
from sqlproxy.sql.lexer import Lexer
from sqlproxy.sql.shape import shape_key
from sqlproxy.sql.tokens import BAD
from sqlproxy.topology.model import AdminState, Role, ServerView, Snapshot
from sqlproxy.wire import framing, response
from sqlproxy.wire.codec import packet, write_lenenc_string
from sqlproxy.wire.packets import eof_packet, ok_packet

Call = Callable[[], object]

SHORT = b"SELECT id, name, balance FROM accounts WHERE id = 1234567890"
LONG = (
    b"SELECT c.id, c.name, COUNT(*) AS n, SUM(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id "
    b"WHERE o.status IN ('new', 'paid', 'shipped') AND c.created_at > '2024-01-01' AND c.note <> '"
    + b"a note of some length, " * 20
    + b"' "
    + b"AND c.region_number BETWEEN 17 AND 23 " * 35
)[:2048]
INSERT = b"INSERT INTO orders (customer_id, product, quantity, note) VALUES " + b", ".join(
    b"(%d, 'product number %d', %d, 'some note that somebody wrote')" % (n * 7919, n, n % 10) for n in range(30)
)
TEXTS = {"60 B SELECT": SHORT, "2 KB SELECT": LONG, "2 KB INSERT": INSERT}
STATEMENT = "classification and digest of a known shape"
_START = 5  # of a text behind a packet's header and COM_QUERY


def cases() -> dict[str, Call]:
    """Every step, and first what measuring itself costs."""
    return {"nothing": lambda: None} | _of_texts() | _of_routing() | _of_commands() | _of_replies()


def statement(data: bytes, start: int, mode: int) -> int:
    """What the data path asks of a text whose shape was seen lately: the digest's key and the classification."""
    return classify_shape(data, start, mode, shape_key(data, start, mode))


def _of_texts() -> dict[str, Call]:
    functions: dict[str, Callable[[bytes, int, int], object]] = {
        STATEMENT: statement,
        "shape key": shape_key,
        "classification": classify,
        "digest": digest,
        "tokens": _tokens,
    }
    return {
        f"{what}, {name}": partial(function, packet(0, b"\x03" + text), _START, 0)
        for what, function in functions.items()
        for name, text in TEXTS.items()
    }


def _tokens(data: bytes, start: int, mode: int) -> int:
    lexer = Lexer(data, start, mode)
    count = 0
    while lexer.advance() > BAD:
        count += 1
    return count


def _of_routing() -> dict[str, Call]:
    roles = {"n1": Role.PRIMARY, "n2": Role.REPLICA, "n3": Role.REPLICA}
    views = tuple(ServerView(name, role, AdminState.ACTIVE, "", 1) for name, role in roles.items())
    snapshot, loads, context = Snapshot(1, 1.0, views, "n1"), {name: Load() for name in roles}, RouteContext(last="n2")
    router = ReadWriteSplit()
    return {
        "route, a read": lambda: router.read_server("n2", snapshot, loads),
        "route, a write": lambda: router.route(WRITE, context, snapshot, loads),
    }


def _of_commands() -> dict[str, Call]:
    reader, command = framing.PacketReader(1 << 24), packet(0, b"\x03" + SHORT)
    return {"framing, a command": lambda: reader.feed(command)}


def _of_replies() -> dict[str, Call]:
    made = {"reply, OK": _followed(packet(1, ok_packet(2)), deprecate_eof=True)}
    for rows in (1, 10, 1000):
        for deprecate_eof in (False, True):
            reply, ended = _result_set(rows, deprecate_eof), "OK" if deprecate_eof else "EOF"
            made[f"reply, {rows} rows ended by {ended}"] = _followed(reply, deprecate_eof)
    return made


def _result_set(rows: int, deprecate_eof: bool) -> bytes:
    """A text result set of one column."""
    definition = b"\x03def" + bytes(40)
    last = ok_packet(2, header=0xFE) if deprecate_eof else eof_packet(2)
    payloads = [b"\x01", definition] + ([] if deprecate_eof else [eof_packet(2)])
    payloads += [write_lenenc_string(b"%020d" % n) for n in range(rows)]
    return b"".join(packet(seq & 0xFF, payload) for seq, payload in enumerate([*payloads, last], 1))


def _followed(reply: bytes, deprecate_eof: bool) -> Call:
    tracker = response.ResponseTracker(deprecate_eof)

    def call() -> None:
        tracker.begin(response.QUERY)
        tracker.feed(reply)

    return call
