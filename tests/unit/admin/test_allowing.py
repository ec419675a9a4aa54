"""Allow lists as operators see and change them."""

from __future__ import annotations

import pytest

from sqlproxy.admin import allowing
from sqlproxy.admin.commands import CommandError
from sqlproxy.admin.sql_statements import Statements
from sqlproxy.routing.allow_list import Unlisted, digest_of
from tests.unit.admin.conftest import Connect, Runtime

DROP = b"DROP TABLE t"
DIGEST = digest_of(DROP)


@pytest.fixture
def guarded(runtime: Runtime) -> Runtime:
    runtime.lists = {"app": {(b"SELECT ?", b"app")}}
    runtime.seen = [
        Unlisted("app", DROP, b"app", True, 2, 10.0, 30.0),
        Unlisted("app", DROP, b"eve", True, 1, 10.0, 20.0),
        Unlisted("app", DROP, b"app", True, 3, 5.0, 25.0),  # of another worker
        Unlisted("app", b"", b"app", True, 1, 1.0, 1.0),
    ]
    return runtime


async def test_rows_of_all_processes_are_added_up_the_newest_first(guarded: Runtime) -> None:
    rows = await allowing.rows(guarded)
    assert [(row["state"], row["user"], row["count"]) for row in rows] == [
        ("refused", "app", 5),
        ("refused", "eve", 1),
        ("refused", "app", 1),
        ("allowed", "app", None),
    ]
    assert (rows[0]["first_seen"], rows[0]["last_seen"]) == (5.0, 30.0)
    assert rows[2]["statement"] == "(not understood)"
    assert [row["statement"] for row in await allowing.rows(guarded, state="allowed")] == ["SELECT ?"]
    assert await allowing.rows(guarded, service="other") == []
    with pytest.raises(CommandError, match="'bad' is not a state"):
        await allowing.rows(guarded, state="bad")


async def test_a_digest_is_allowed_for_those_who_ran_it(guarded: Runtime) -> None:
    answer = await allowing.allow(guarded, {"digest": DIGEST.upper()}, "ops")
    assert guarded.lists["app"] == {(b"SELECT ?", b"app"), (DROP, b"app"), (DROP, b"eve")}
    rows = answer["allowed"]
    assert isinstance(rows, list)
    assert [row["user"] for row in rows] == ["app", "eve"]


async def test_a_digest_or_a_text_is_allowed_for_whom_one_says(guarded: Runtime) -> None:
    await allowing.allow(guarded, {"digest": DIGEST, "user": "*"}, "ops")
    await allowing.allow(guarded, {"statement": "SELECT 1; DELETE FROM t WHERE a = 'x'", "user": "eve"}, "ops")
    await allowing.allow(guarded, {"statement": "CALL p()", "service": "app"}, "ops")
    assert guarded.lists["app"] - {(b"SELECT ?", b"app")} == {
        (DROP, b"*"),
        (b"SELECT ?", b"eve"),
        (b"DELETE FROM t WHERE a = ?", b"eve"),
        (b"CALL p()", b"*"),
    }


@pytest.mark.parametrize(
    ("wanted", "status", "text"),
    [
        ({}, 400, "either a digest or a statement is needed"),
        ({"digest": DIGEST, "statement": "SELECT 1"}, 400, "either a digest or a statement is needed"),
        ({"digest": 7}, 400, "are the keys, and texts"),
        ({"digets": DIGEST}, 400, "are the keys, and texts"),
        ({"digest": "0" * 16}, 404, "was run in the service app that is not on its allow list"),
        ({"digest": DIGEST, "service": "web"}, 404, "there is no service 'web' with an allow list"),
        ({"statement": "SELECT 'open"}, 422, "is not understood"),
        ({"statement": "-- nothing"}, 422, "is not understood"),
        ({"statement": "x" * 70_000}, 413, "longer than"),
    ],
)
async def test_what_cannot_be_allowed_is_refused(
    guarded: Runtime, wanted: dict[str, object], status: int, text: str
) -> None:
    with pytest.raises(CommandError, match=text) as error:
        await allowing.allow(guarded, wanted, "ops")
    assert error.value.status == status


async def test_the_service_is_named_where_several_have_a_list(guarded: Runtime) -> None:
    guarded.lists["web"] = set()
    with pytest.raises(CommandError, match="several services have an allow list"):
        await allowing.allow(guarded, {"digest": DIGEST}, "ops")
    guarded.lists.clear()
    with pytest.raises(CommandError, match="no service has an allow list"):
        await allowing.allow(guarded, {"digest": DIGEST}, "ops")


async def test_digests_that_collide_are_not_allowed_together(guarded: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowing, "digest_of", lambda shape: DIGEST)
    guarded.seen.append(Unlisted("app", b"DROP TABLE u", b"app", True, 1, 1.0, 1.0))
    with pytest.raises(CommandError, match="several statements have the digest"):
        await allowing.allow(guarded, {"digest": DIGEST}, "ops")


async def test_a_file_that_cannot_be_written_is_said(guarded: Runtime) -> None:
    guarded.full = True
    with pytest.raises(CommandError, match="is full") as error:
        await allowing.allow(guarded, {"digest": DIGEST}, "ops")
    assert error.value.status == 409


async def test_over_http(guarded: Runtime, connect: Connect) -> None:
    client = await connect()
    answer = await client.get("/v1/allow_list?state=refused&service=app")
    assert [row["user"] for row in await answer.json()] == ["app", "eve", "app"]
    answer = await client.post("/v1/allow_list", json={"digest": DIGEST, "user": "*"})
    assert (await answer.json())["allowed"][0]["statement"] == "DROP TABLE t"
    assert (DROP, b"*") in guarded.lists["app"]


async def test_over_sql(guarded: Runtime) -> None:
    statements = Statements(guarded, "ops")
    shown = await statements.execute("SHOW ALLOW_LIST WHERE state = 'refused'")
    assert getattr(shown, "rows", [])[0][:5] == ["app", "refused", DIGEST, "app", "DROP TABLE t"]
    answer = await statements.execute(f"ALLOW '{DIGEST}' FOR '*' IN app")
    assert getattr(answer, "rows", None) == [["app", "*", "DROP TABLE t"]]
