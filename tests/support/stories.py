"""What a session says step by step, and all that it hears: packets to be compared with those of another session."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping, Sequence

from sqlproxy.errors import ServerError
from sqlproxy.wire import constants as c
from tests.support.rawclient import RawClient, logged_in

Step = tuple[str, int | str]  # kind and text, or kind and which of the story's prepared statements
CHANGED = 0x4000  # SERVER_SESSION_STATE_CHANGED, which servers leave in EOF packets for clients that do not track
VARIABLE = b"\x03def\0\0\0\x02@"  # the definition of a user variable's column; that of one never set is of any length


def random_story(seed: int, texts: Sequence[str], prepared: int, weights: Mapping[str, int]) -> list[Step]:
    """Thirty steps, most of their texts from fourteen of ``texts``; ``prepared``: how many statements there are.

    ``weights``: how often each kind of step.
    """
    chance = random.Random(seed)
    favourites = chance.sample(texts, 14)
    story: list[Step] = []
    for _ in range(30):
        kind = chance.choices(list(weights), list(weights.values()))[0]
        text = chance.choice(favourites if chance.random() < 0.8 else texts)
        of_kind = {"query": text, "database": "other", "reset": "", "cut": ""}
        story.append((kind, of_kind[kind] if kind in of_kind else chance.randrange(prepared)))
    return story


def heard(
    port: int, story: Sequence[Step], prepared: Sequence[str], capabilities: int, cut: Callable[[], None] | None = None
) -> list[object]:
    """The packets of every reply to a story, or the end of its connection; ``cut`` is what happens at a "cut"."""
    answers: list[object] = []
    with logged_in(port, capabilities) as client:
        client.query("USE app")
        numbers: dict[int, int] = {}
        for kind, what in story:
            if kind == "cut":
                if cut is not None:
                    cut()
                continue
            answers.append(told(client, kind, what, prepared, numbers))
    return answers


def told(client: RawClient, kind: str, what: int | str, prepared: Sequence[str], numbers: dict[int, int]) -> object:
    """All that a client hears of a step; ``numbers`` are those of its prepared statements."""
    try:
        if kind == "prepare":
            numbers[int(what)], definitions = client.prepare(prepared[int(what)])
            return [comparable(packet) for packet in definitions[1:]]
        if kind == "execute":
            if int(what) not in numbers:
                return None
            return [comparable(p) for p in client.execute(numbers[int(what)], b"\0\1\x03\0" + struct.pack("<i", 3))]
        if kind == "reset":
            numbers.clear()
            return client.command(bytes((c.COM_RESET_CONNECTION,)))
        if kind == "database":
            return client.command(bytes((c.COM_INIT_DB,)) + str(what).encode())
        return [comparable(packet) for packet in client.query(str(what))]
    except ServerError as error:
        return error.code, error.message


def comparable(packet: bytes) -> bytes:
    """A packet without what differs between two sessions on one server."""
    if len(packet) == 5 and packet[0] == c.EOF:
        status = int.from_bytes(packet[3:], "little") & ~CHANGED
        return packet[:3] + status.to_bytes(2, "little")
    return VARIABLE if packet.startswith(VARIABLE) else packet
