"""MaxScale's configuration files: sections of ``key=value`` lines, each with its line number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Item:
    """One setting of the original. ``key`` is in lower case with underscores."""

    line: int
    key: str
    value: str
    taken: bool = False


@dataclass(slots=True)
class Section:
    """One ``[name]`` of the original and its settings."""

    line: int
    name: str
    items: dict[str, Item] = field(default_factory=dict)

    def take(self, *keys: str) -> Item | None:
        """The first of these settings that is there, from then on accounted for."""
        for key in keys:
            item = self.items.get(key)
            if item is not None:
                item.taken = True
                return item
        return None

    def text(self, *keys: str) -> str:
        """The value of the first of these settings that is there, accounted for; "" when none is."""
        item = self.take(*keys)
        return item.value if item else ""

    def words(self, *keys: str) -> list[str]:
        """The value as names separated by commas."""
        return [word.strip() for word in self.text(*keys).split(",") if word.strip()]

    def left(self) -> Iterator[Item]:
        """What nobody has taken."""
        return (item for item in self.items.values() if not item.taken)


def read(text: str) -> list[Section]:
    """The sections in their order; an indented line goes on with the value before it."""
    sections: list[Section] = []
    current: Item | None = None
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        if bare.startswith("[") and bare.endswith("]"):
            sections.append(Section(number, bare[1:-1].strip()))
            current = None
        elif current is not None and line[0] in " \t" and "=" not in bare:
            current.value += bare
        elif sections:
            key, _, value = bare.partition("=")
            current = Item(number, key.strip().lower().replace("-", "_"), value.strip().strip("\"'"))
            sections[-1].items[current.key] = current
    return sections
