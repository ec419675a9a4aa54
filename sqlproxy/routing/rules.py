"""The operator's rules: which statements they match, and what they ask for. Pure.

A ``RuleBook`` has all rules; a session gets the ``Candidates`` that its user, address and service leave over, none most
of the time. ``Candidates.decide`` says for a statement what shall happen: a ``Verdict``, or None when no rule acts.
Rules are looked at in their order; of several that ask for the same thing the first one wins.

Sources: ProxySQL's mysql_query_rules, https://proxysql.com/documentation/main-runtime/#mysql_query_rules; MaxScale's
filters regex, maxrows, tee, cache, https://mariadb.com/docs/maxscale/reference/maxscale-filters.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sqlproxy.config import RuleConfig
from sqlproxy.patterns import Pattern
from sqlproxy.routing.hints import Hint, Target
from sqlproxy.sql.digest import Digest

_KNOWN: Final = 4096  # verdicts kept by shape, of one set of candidates


class RuleStats:
    """What one rule did; plain counters."""

    __slots__ = (
        "cached",
        "capped",
        "crowded",
        "ignored",
        "matched",
        "mirrored",
        "rejected",
        "rewritten",
        "stored",
        "timed_out",
        "unmirrored",
    )

    def __init__(self) -> None:
        self.matched = 0
        self.rejected = 0
        self.rewritten = 0
        self.ignored = 0  # routes that could not be followed
        self.timed_out = 0
        self.capped = 0  # answers with more rows than allowed
        self.crowded = 0  # refused because too many ran
        self.mirrored = 0
        self.unmirrored = 0  # not, because the mirror does not keep up or failed
        self.cached = 0  # answered from the cache
        self.stored = 0  # answers kept there

    def as_dict(self) -> dict[str, int]:
        """Name to value, for the admin side."""
        return {name: getattr(self, name) for name in self.__slots__}


class Rule:
    """One rule, compiled."""

    def __init__(self, config: RuleConfig) -> None:
        self.config = config
        self.name = config.name
        self.stats = RuleStats()
        self.running = 0  # statements under way that count towards max_concurrent
        self.hint = _hint(config)
        self.pattern = Pattern(config.pattern) if config.pattern else None
        self.textual = bool(config.pattern) and config.match == "statement"
        self.shaped = bool(config.digest) or (bool(config.pattern) and config.match == "digest")
        self._databases = frozenset(name.encode() for name in config.database)
        self._digests = frozenset(int(digest, 16) for digest in config.digest)
        self._networks = [ipaddress.ip_network(text) for text in config.client if text not in ("*", "localhost")]

    def may_concern(self, service: str, user: str, address: str) -> bool:
        """Whether a session's statements can match at all; ``address`` is "" on a unix socket."""
        config = self.config
        if (config.service and service not in config.service) or (config.user and user not in config.user):
            return False
        return not config.client or self._is_from(address)

    def _is_from(self, address: str) -> bool:
        if "*" in self.config.client or (not address and "localhost" in self.config.client):
            return True
        return bool(address) and any(ipaddress.ip_address(address.partition("%")[0]) in net for net in self._networks)

    def matches(self, text: bytes, shape: bytes, number: int, database: bytes) -> bool:
        """``shape`` and ``number`` are the statement's normalised text and its hash."""
        if self._databases and database not in self._databases:
            return False
        return self.matches_text(text, shape, number)

    @property
    def only_for(self) -> str:
        """What else than the text has to fit, in words."""
        config = self.config
        given = (("user", config.user), ("database", config.database), ("client", config.client))
        return ", ".join(f"{word} {' or '.join(names)}" for word, names in given if names)

    def matches_text(self, text: bytes, shape: bytes, number: int) -> bool:
        """Whether the statement itself fits."""
        if self._digests and number not in self._digests:
            return False
        return self.pattern is None or self.pattern.found_in(text if self.textual else shape)


def _hint(config: RuleConfig) -> Hint | None:
    kind, _, name = config.route.partition("=")
    return Hint(Target(kind), server=name, rule=config.name) if kind else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules that matched ask for. ``matched`` counts them, ``fired`` are those that are no dry run.

    ``text`` is the rewritten statement, None when it stays. Everything else names the rule that asks for it.
    """

    matched: tuple[Rule, ...] = ()
    fired: tuple[Rule, ...] = ()
    text: bytes | None = None
    rewriters: tuple[Rule, ...] = ()
    route: Rule | None = None
    reject: Rule | None = None
    timeout: Rule | None = None
    max_rows: Rule | None = None
    mirror: Rule | None = None
    cache: Rule | None = None
    concurrent: tuple[Rule, ...] = ()
    acts: bool = field(default=False)

    def with_rule(self, rule: Rule, text: bytes) -> Verdict:
        """With what a further rule that matched asks for; ``text`` is the statement as it is by now."""
        matched = (*self.matched, rule)
        if rule.config.dry_run:
            return replace(self, matched=matched)
        config = rule.config
        rewritten, rewriters = self.text, self.rewriters
        if config.rewrite is not None and rule.pattern is not None:
            found = rule.pattern.substitute(config.rewrite.encode(), text)
            if found != text:
                rewritten, rewriters = found, (*rewriters, rule)
        verdict = replace(
            self,
            matched=matched,
            fired=(*self.fired, rule),
            text=rewritten,
            rewriters=rewriters,
            route=self.route or (rule if rule.hint else None),
            reject=self.reject or (rule if config.reject else None),
            timeout=self.timeout or (rule if config.timeout else None),
            max_rows=self.max_rows or (rule if config.max_rows else None),
            mirror=self.mirror or (rule if config.mirror else None),
            cache=self.cache or (rule if config.cache else None),
            concurrent=(*self.concurrent, rule) if config.max_concurrent else self.concurrent,
        )
        return replace(verdict, acts=verdict.asks_for_something)

    @property
    def sentences(self) -> list[str]:
        """The rules that matched, in words."""
        return [f"the rule {rule.name} matches: {describe(rule.config)}" for rule in self.matched]

    @property
    def asks_for_something(self) -> bool:
        """Whether anything is to be done, or only to be counted."""
        wishes = (self.text, self.route, self.reject, self.timeout, self.max_rows, self.mirror, self.cache)
        return any(wish is not None for wish in wishes) or bool(self.concurrent)


class Candidates:
    """The rules that may concern a session; shared by all sessions that they may concern."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._shaped = any(rule.shaped for rule in rules)
        self._textual = any(rule.textual for rule in rules)
        self._known: dict[tuple[bytes, bytes, int], Verdict] = {}

    def decide(self, data: bytes, start: int, database: bytes, mode: int) -> Verdict | None:
        """What shall happen to the statement ``data[start:]``; None when it goes its ordinary way. Counts matches."""
        shape, number = _shape(data, start, mode) if self._shaped else (b"", 0)
        key = (database, shape, number)
        verdict = None if self._textual else self._known.get(key)
        if verdict is None:
            verdict = self._match(data[start:] if self._textual else b"", shape, number, database, mode)
            if not self._textual:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[key] = verdict
        for rule in verdict.matched:
            rule.stats.matched += 1
        return verdict if verdict.acts else None

    def match(self, text: bytes, database: bytes, mode: int) -> Verdict:
        """The same without counting, whether rules act or not."""
        return self._match(text, *_shape(text, 0, mode), database, mode)

    def _match(self, text: bytes, shape: bytes, number: int, database: bytes, mode: int) -> Verdict:
        """Rules that follow a rewriting see what it made."""
        verdict = Verdict()
        for rule in self.rules:
            if not rule.matches(text, shape, number, database):
                continue
            before = verdict.text
            verdict = verdict.with_rule(rule, text)
            if verdict.text is not None and verdict.text is not before:
                text = verdict.text
                shape, number = _shape(text, 0, mode)
            if rule.config.stop and not rule.config.dry_run:
                break
        return verdict


def _shape(data: bytes, start: int, mode: int) -> tuple[bytes, int]:
    shape = Digest(data, start, mode)
    shape.run()
    return shape.text(), shape.hash


class RuleBook:
    """All rules, in their order."""

    def __init__(self, configs: Iterable[RuleConfig]) -> None:
        self.rules = [Rule(config) for config in configs]
        self._candidates: dict[tuple[str, ...], Candidates] = {}

    def candidates(self, service: str, user: str, address: str) -> Candidates | None:
        """The rules that may concern a session; None when there are none."""
        rules = [rule for rule in self.rules if rule.may_concern(service, user, address)]
        if not rules:
            return None
        return self._candidates.setdefault(tuple(rule.name for rule in rules), Candidates(rules))

    def explained(self, service: str, text: bytes, mode: int) -> tuple[Verdict, list[str]]:
        """What rules say about a statement of anybody in a service, and in sentences; nothing is counted.

        Rules that depend on user, database or address come in the sentences only.
        """
        rules = [rule for rule in self.rules if not rule.config.service or service in rule.config.service]
        shape, number = _shape(text, 0, mode)
        sentences = []
        for rule in rules:
            limits = rule.only_for
            if limits and rule.matches_text(text, shape, number):
                sentences.append(f"the rule {rule.name} matches if it is from {limits}: {describe(rule.config)}")
        verdict = Candidates([rule for rule in rules if not rule.only_for]).match(text, b"", mode)
        return verdict, sentences + verdict.sentences

    def counters(self) -> dict[str, dict[str, int]]:
        """What every rule did so far, by name."""
        return {rule.name: rule.stats.as_dict() for rule in self.rules}

    def take_over(self, other: RuleBook) -> None:
        """Go on counting where rules of the same name have been."""
        known = {rule.name: rule.stats for rule in other.rules}
        for rule in self.rules:
            rule.stats = known.get(rule.name, rule.stats)


def describe(config: RuleConfig) -> str:
    """What a rule does, in words."""
    words = {
        "rejects it": bool(config.reject),
        f"routes it to {config.route}": bool(config.route),
        f"rewrites it by {config.pattern!r}": config.rewrite is not None,
        f"gives it {config.timeout:g}s": bool(config.timeout),
        f"allows it {config.max_rows} rows": bool(config.max_rows),
        f"allows {config.max_concurrent} of it at a time": bool(config.max_concurrent),
        f"mirrors it to {config.mirror}": bool(config.mirror),
        f"keeps its answer for {config.cache:g}s": bool(config.cache),
    }
    text = ", ".join(word for word, said in words.items() if said) or "leaves it alone"
    return f"{text} (a dry run)" if config.dry_run else text
