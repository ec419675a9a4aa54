"""The files of allow lists: read, merged, written in one step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sqlproxy.allow_files import Keeper, entries_for, read, write
from sqlproxy.config import Settings, validate
from sqlproxy.errors import SqlproxyError
from sqlproxy.routing.allow_list import Entry

ENTRIES: set[Entry] = {(b"SELECT ?", b"app"), (b"SELECT \xff\xc3\xa9", b"*"), (b"DELETE FROM `a\nb`", b"")}


def settings(path: Path, mode: str = "learn", most: int = 100) -> Settings:
    allow_list = {"mode": mode, "file": str(path), "max_statements": most}
    return validate(
        {
            "servers": [{"name": "n1", "address": "127.0.0.1:1"}],
            "services": [{"name": "app", "listen": "127.0.0.1:2", "allow_list": allow_list}],
        },
        "test",
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "list"
    write(path, ENTRIES)
    assert read(path) == ENTRIES
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["user"] for line in lines] == ["", "app", "*"]  # by statement
    assert lines[1] == {"digest": "199e7dca63ea8858", "user": "app", "statement": "SELECT ?"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["list"]


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "list"
    write(path, ENTRIES)
    path.chmod(0o640)
    write(path, ())
    assert path.stat().st_mode & 0o777 == 0o640
    assert read(path) == set()


def test_comments_and_empty_lines_may_stand_in_it(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text('# reviewed by us\n\n{"user": "app", "statement": "SELECT ?"}\n')
    assert read(path) == {(b"SELECT ?", b"app")}


@pytest.mark.parametrize("line", ["SELECT 1", "[]", '{"user": "app"}', '{"user": 1, "statement": "x"}', "{"])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list"
    path.write_text(f"\n{line}\n")
    with pytest.raises(SqlproxyError, match=f'{path}:2: is not an object in JSON with "user" and "statement"'):
        read(path)


def test_only_a_list_that_is_enforced_needs_its_file(tmp_path: Path) -> None:
    path = tmp_path / "none"
    for mode in ("learn", "detect"):
        assert entries_for("app", settings(path, mode).services[0].allow_list) == set()
    with pytest.raises(SqlproxyError, match=f"services.app.allow_list: {path}: cannot be read: No such file"):
        entries_for("app", settings(path, "enforce").services[0].allow_list)


async def test_what_was_learned_is_added_to_what_the_file_has_now(tmp_path: Path) -> None:
    path, learned = tmp_path / "list", {"app": [(b"SELECT a", b"app")], "gone": [(b"SELECT b", b"app")]}
    keeper = Keeper(settings(path), lambda: learned)
    assert read(path) == {(b"SELECT a", b"app")}  # learned before it was there
    write(path, [(b"SELECT c", b"app")])  # an operator's edit
    learned = {"app": [(b"SELECT d", b"app")]}
    keeper.flush()
    assert read(path) == {(b"SELECT c", b"app"), (b"SELECT d", b"app")}
    await keeper.stop()


async def test_it_is_written_while_the_proxy_runs_and_at_the_end(tmp_path: Path) -> None:
    path, learned = tmp_path / "list", dict[str, list[Entry]]()
    keeper = Keeper(settings(path), lambda: learned)
    keeper.start()
    learned = {"app": [(b"SELECT a", b"app")]}
    await keeper.stop()
    assert read(path) == {(b"SELECT a", b"app")}
    assert keeper.entries == {"app": {(b"SELECT a", b"app")}}


async def test_a_list_that_is_full_says_so(tmp_path: Path) -> None:
    path = tmp_path / "list"
    write(path, [(b"SELECT a", b"app")])
    keeper = Keeper(settings(path, "enforce", most=1), dict)
    with pytest.raises(SqlproxyError, match="the allow list of the service app is full: raise max_statements"):
        await keeper.add("app", [(b"SELECT b", b"app")])
    assert read(path) == {(b"SELECT a", b"app")}


async def test_what_cannot_be_written_is_kept_for_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, learned = tmp_path / "none" / "list", {"app": [(b"SELECT a", b"app")]}
    keeper = Keeper(settings(path), lambda: learned)
    keeper.flush()
    reason = f"{path}: cannot be written: No such file or directory"
    told = f"service app: what its allow list has learned is not kept: {reason}"
    assert [record.message for record in caplog.records] == [told]
    path.parent.mkdir()
    learned = {}
    keeper.flush()
    assert read(path) == {(b"SELECT a", b"app")}


async def test_a_reload_reads_the_files_and_another_service_gets_its_own(tmp_path: Path) -> None:
    path = tmp_path / "list"
    keeper = Keeper(settings(path), dict)
    write(path, [(b"SELECT a", b"app")])
    changed = settings(path, "enforce")
    found = keeper.read(changed)
    assert keeper.entries == {"app": set()}
    keeper.use(changed, found)
    assert keeper.entries == {"app": {(b"SELECT a", b"app")}}
    off = settings(path, "off")
    keeper.use(off, keeper.read(off))
    assert keeper.entries == {}
