"""The choice between compiled and uncompiled modules."""

import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from sqlproxy import _why_pure


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One compiled module of a checkout, built after its source was written."""
    monkeypatch.delenv("SQLPROXY_PURE", raising=False)
    (tmp_path / "setup.py").touch()
    package = tmp_path / "package"
    package.mkdir()
    for name, seconds in (("m.py", 100), ("m.pxd", 100), (f"m{EXTENSION_SUFFIXES[0]}", 200)):
        (package / name).touch()
        os.utime(package / name, (seconds, seconds))
    return package


def test_compiled_modules_newer_than_their_sources_are_used(package: Path) -> None:
    assert _why_pure(package) == ""


def test_a_source_changed_after_the_build_counts_for_all(package: Path) -> None:
    os.utime(package / "m.py", (300, 300))
    assert "older than m.py" in _why_pure(package)


def test_times_mean_nothing_where_files_were_copied_by_an_installation(package: Path) -> None:
    (package.parent / "setup.py").unlink()
    os.utime(package / "m.py", (300, 300))
    assert _why_pure(package) == ""


def test_a_module_that_was_not_built_counts_for_all(package: Path) -> None:
    (package / "other.pxd").touch()
    (package / "other.py").touch()
    assert _why_pure(package) == f"other{EXTENSION_SUFFIXES[0]} has not been built"


def test_the_environment_can_ask_for_the_sources(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLPROXY_PURE", "1")
    assert _why_pure(package) == "SQLPROXY_PURE=1"


def test_a_module_that_exists_only_compiled_is_looked_for_where_it_can_be_built(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "other.pxd").touch()
    (package / "other.pyx").touch()
    monkeypatch.setattr("sys.platform", "linux")
    assert _why_pure(package) == f"other{EXTENSION_SUFFIXES[0]} has not been built"
    monkeypatch.setattr("sys.platform", "elsewhere")
    assert _why_pure(package) == ""
