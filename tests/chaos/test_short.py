"""A short round of chaos, as ``make test`` runs it; ``make chaos`` runs all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def round_of(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """The report of a round."""
    path = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "tests.chaos", "--json", str(path), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=220, check=False)
    assert path.exists(), done.stdout + done.stderr
    report: dict[str, Any] = json.loads(path.read_text())
    return report


@pytest.mark.timeout(230)
def test_no_promise_is_broken(tmp_path: Path) -> None:
    report = round_of(tmp_path, "--short")
    assert report["violations"] == []
    assert len(report["episodes"]) == 8
    assert all(episode["lost"] == episode["duplicated"] == 0 for episode in report["episodes"])


@pytest.mark.timeout(120)
def test_with_commit_tokens_no_write_ends_with_an_error(tmp_path: Path) -> None:
    report = round_of(tmp_path, "--short", "--exactly-once", "--only", "kill -9 of the primary|off from its peers")
    assert report["violations"] == []
    for episode in report["episodes"]:  # the direct writer shares the cluster's own troubles
        assert not [error for error in episode["errors"] if not error.startswith("direct ")]
