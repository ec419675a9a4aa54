"""What a suite's run gives, and how two runs differ."""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Test id → what became of it: "passed", "failed", "error", "skipped"; more words after it are compared too.
Results = Mapping[str, str]

KNOWN = Path(__file__).with_name("known.toml")


@dataclass(frozen=True)
class Difference:
    """A test whose outcome through the proxy is not the direct one; ``reason`` is "" when nobody explained it."""

    suite: str
    test: str
    direct: str
    proxied: str
    reason: str


@dataclass(frozen=True)
class Known:
    """A documented difference: ``test`` is a regular expression of ids, ``topology`` "" holds for every one."""

    suite: str
    test: str
    reason: str
    topology: str = ""

    def explains(self, suite: str, test: str, topology: str) -> bool:
        """Whether this entry is about a test."""
        return (
            re.fullmatch(self.suite, suite) is not None
            and re.fullmatch(self.test, test) is not None
            and self.topology in ("", topology)
        )


def load_known(path: Path = KNOWN) -> list[Known]:
    """The documented differences."""
    return [Known(**entry) for entry in tomllib.loads(path.read_text()).get("difference", [])]


def compare(suite: str, topology: str, direct: Results, proxied: Results, known: list[Known]) -> list[Difference]:
    """Every test whose outcome differs, or that only one of the runs has."""
    found = []
    for test in sorted(direct.keys() | proxied.keys()):
        before, after = direct.get(test, "not run"), proxied.get(test, "not run")
        if before != after:
            reason = next((entry.reason for entry in known if entry.explains(suite, test, topology)), "")
            found.append(Difference(suite, test, before, after, reason))
    return found


def passed(results: Results) -> int:
    """How many tests passed."""
    return sum(outcome.startswith("passed") for outcome in results.values())


def from_junit(path: Path) -> dict[str, str]:
    """Results of pytest's ``--junitxml`` file; a test that is there twice has the worse outcome."""
    results: dict[str, str] = {}
    for case in ET.parse(path).iter("testcase"):
        test = f"{case.get('classname', '')}::{case.get('name', '')}"
        tags = {child.tag for child in case}
        outcome = next((word for word in ("error", "failure", "skipped") if word in tags), "passed")
        if results.get(test) not in ("error", "failure"):
            results[test] = outcome
    return {test: "failed" if outcome == "failure" else outcome for test, outcome in results.items()}
