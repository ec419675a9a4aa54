"""Which statements the operator's rules match, and what they then ask for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sqlproxy.config import RuleConfig, validate
from sqlproxy.errors import ConfigError
from sqlproxy.patterns import Pattern
from sqlproxy.routing.rules import RuleBook, Verdict
from sqlproxy.sql.digest import digest_hash


def rule(name: str = "r", **keys: Any) -> RuleConfig:
    return RuleConfig(name=name, **keys)


def decide(
    book: RuleBook, text: bytes, *, user: str = "app", address: str = "10.1.2.3", service: str = "app", db: bytes = b"d"
) -> Verdict | None:
    candidates = book.candidates(service, user, address)
    return candidates.decide(text, 0, db, 0) if candidates is not None else None


@pytest.mark.parametrize(
    ("keys", "matches"),
    [
        ({}, True),
        ({"user": "app"}, True),
        ({"user": ["root", "app"]}, True),
        ({"user": "root"}, False),
        ({"database": "d"}, True),
        ({"database": "other"}, False),
        ({"service": "app"}, True),
        ({"service": "other"}, False),
        ({"client": "10.0.0.0/8"}, True),
        ({"client": ["192.168.0.0/16", "10.1.2.3"]}, True),
        ({"client": "192.168.0.0/16"}, False),
        ({"client": "localhost"}, False),
        ({"client": "*"}, True),
        ({"pattern": r"^select .* from orders\b"}, True),
        ({"pattern": r"^SELECT [*] FROM Orders WHERE id = \?"}, True),  # the normalised text has no literals
        ({"pattern": "42"}, False),
        ({"pattern": "id = 42", "match": "statement"}, True),
        ({"pattern": "id = 43", "match": "statement"}, False),
        ({"digest": f"{digest_hash(b'SELECT * FROM orders WHERE id = 7'):016x}"}, True),
        ({"digest": f"{digest_hash(b'SELECT 1'):016X}"}, False),
        ({"user": "app", "pattern": "nothing"}, False),  # all of it has to fit
    ],
)
def test_a_rule_matches_when_all_it_says_fits(keys: dict[str, Any], matches: bool) -> None:
    book = RuleBook([rule(reject="no", **keys)])
    verdict = decide(book, b"SELECT * FROM orders WHERE id = 42")
    assert (verdict is not None) == matches
    assert book.counters()["r"]["matched"] == matches
    assert decide(book, b"SELECT * FROM orders WHERE id = 42") == verdict  # by shape, or just as before


def test_a_unix_socket_is_localhost() -> None:
    book = RuleBook([rule(reject="no", client="localhost")])
    assert decide(book, b"SELECT 1", address="") is not None


def test_the_first_rule_that_matches_is_the_last_looked_at_unless_it_goes_on() -> None:
    first, second = rule("first", route="primary"), rule("second", route="replica", timeout="2s")
    verdict = decide(RuleBook([first, second]), b"SELECT 1")
    assert verdict is not None
    assert [r.name for r in verdict.fired] == ["first"]
    verdict = decide(RuleBook([first.model_copy(update={"stop": False}), second]), b"SELECT 1")
    assert verdict is not None
    assert verdict.route is not None
    assert verdict.timeout is not None
    assert (verdict.route.name, verdict.timeout.name) == ("first", "second")


def test_a_rule_without_an_action_exempts() -> None:
    book = RuleBook([rule("but", user="app"), rule("all", reject="no")])
    assert decide(book, b"SELECT 1") is None
    assert decide(book, b"SELECT 1", user="other") is not None
    assert book.counters()["but"]["matched"] == 1


def test_a_dry_run_counts_and_does_nothing_not_even_stop() -> None:
    book = RuleBook([rule("dry", reject="no", dry_run=True), rule("wet", max_rows=5)])
    verdict = decide(book, b"SELECT 1")
    assert verdict is not None
    assert (verdict.reject, [r.name for r in verdict.matched]) == (None, ["dry", "wet"])
    assert book.counters()["dry"]["matched"] == 1
    assert decide(RuleBook([rule("dry", reject="no", dry_run=True)]), b"SELECT 1") is None


def test_a_rewritten_statement_is_what_further_rules_see() -> None:
    rewriting = rule("a", pattern=r"from (\w+)_old", match="statement", rewrite=r"FROM \1", stop=False)
    verdict = decide(
        RuleBook([rewriting, rule("b", pattern="from orders$", route="replica")]), b"SELECT 1 FROM orders_old"
    )
    assert verdict is not None
    assert verdict.text == b"SELECT 1 FROM orders"
    assert verdict.route is not None
    assert verdict.route.name == "b"
    assert decide(RuleBook([rewriting]), b"SELECT 1 FROM orders") is None  # nothing to replace


def test_sessions_that_no_rule_can_concern_have_no_candidates_and_others_share_theirs() -> None:
    book = RuleBook([rule(user="report", reject="no")])
    assert book.candidates("app", "app", "") is None
    assert book.candidates("app", "report", "") is book.candidates("more", "report", "10.0.0.1")


def test_counters_survive_a_reload_by_name() -> None:
    before = RuleBook([rule("kept", reject="no"), rule("gone", reject="no")])
    decide(before, b"SELECT 1")
    after = RuleBook([rule("new", max_rows=1), rule("kept", timeout="1s")])
    after.take_over(before)
    assert {name: found["matched"] for name, found in after.counters().items()} == {"new": 0, "kept": 1}


def test_explaining_names_what_else_has_to_fit_and_counts_nothing() -> None:
    book = RuleBook([rule("r", user="report", timeout="5s", stop=False), rule("all", max_rows=9, dry_run=True)])
    verdict, sentences = book.explained("app", b"SELECT 1", 0)
    assert sentences == [
        "the rule r matches if it is from user report: gives it 5s",
        "the rule all matches: allows it 9 rows (a dry run)",
    ]
    assert verdict.timeout is None
    assert book.counters()["all"]["matched"] == 0


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(.*)*x", "(a{1,30}){1,30}b"])
def test_no_pattern_and_no_statement_keep_the_proxy_busy(pattern: str) -> None:
    text = b"a" * 100_000 + b"!"
    started = time.process_time()
    Pattern(pattern).found_in(text)
    assert time.process_time() - started < 5.0  # a backtracking engine would need longer than there is


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"pattern": "(?=x)"}, "is not a pattern that RE2 takes"),
        ({"pattern": "(x"}, "is not a pattern that RE2 takes"),
        ({"pattern": "x", "rewrite": "y"}, 'needs a pattern and match = "statement"'),
        ({"pattern": "x", "match": "statement", "rewrite": r"\1"}, "names a group that the pattern does not have"),
        ({"route": "replica=n1"}, "rules[0].route"),
        ({"route": "server=n9"}, "rules.r.route: there is no server named 'n9'"),
        ({"route": "zone=x"}, "rules.r.route: no server is in the zone 'x'"),
        ({"mirror": "10.0.0.1:x"}, "is not an address"),
        ({"mirror": "n9"}, "rules.r.mirror: there is no server named 'n9'"),
        ({"service": "none"}, "rules.r.service: there is no service named 'none'"),
        ({"service": "whole", "route": "replica"}, "gives each session one server"),
        ({"client": "10.0.0.0/33"}, "rules[0].client"),
        ({"digest": "12"}, "rules[0].digest"),
        ({"does": "x"}, "rules[0].does: unknown key"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_a_reason(keys: dict[str, Any], why: str) -> None:
    data = {
        "servers": [{"name": "n1", "address": "127.0.0.1:1"}],
        "services": [
            {"name": "app", "listen": "127.0.0.1:2"},
            {"name": "whole", "listen": "127.0.0.1:3", "router": "readconn"},
        ],
        "rules": [{"name": "r", "service": "app", **keys}],
    }
    with pytest.raises(ConfigError) as refused:
        validate(data, "test")
    assert why in str(refused.value)
