"""Event loops, the demo's configuration, and reloads that fail."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from typing import Any

import pytest

from sqlproxy import loops, run
from sqlproxy.config import validate
from sqlproxy.errors import ConfigError

SETTINGS = {
    "servers": [{"name": "n1", "address": "127.0.0.1:3306"}],
    "services": [{"name": "app", "listen": "127.0.0.1:4006"}],
}


async def loop_name() -> int:
    """1 on uvloop."""
    return int("uvloop" in type(asyncio.get_running_loop()).__module__)


@pytest.mark.parametrize(("chosen", "expected"), [("", 1), ("asyncio", 0)])
def test_the_loop_is_uvloop_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, chosen: str, expected: int
) -> None:
    monkeypatch.setenv("SQLPROXY_LOOP", chosen)
    assert run.run_loop(loop_name()) == expected


@pytest.mark.parametrize(("limit", "told"), [(1024, True), (65536, False), (resource.RLIM_INFINITY, False)])
def test_a_low_limit_of_open_files_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: int, told: bool
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    loops.warn_of_few_descriptors()
    assert ("no more than 1024 files open" in caplog.text) is told


def test_the_demo_is_an_ordinary_configuration() -> None:
    settings = run.demo_settings({"n1": "127.0.0.1:33101", "n2": "127.0.0.1:33102"})
    assert [server.name for server in settings.servers] == ["n1", "n2"]
    assert str(settings.services[0].listen[0]) == f"127.0.0.1:{run.DEMO_PORT}"


def test_the_environment_overrides_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLPROXY_MONITOR__INTERVAL", "100ms")
    assert run.demo_settings({"n1": "127.0.0.1:33101"}).monitor.interval == 0.1


def test_the_welcome_has_what_a_first_user_types() -> None:
    text = run._welcome("a cluster", {"n1": "127.0.0.1:33101"}, "http://127.0.0.1:8989", "kill n1")
    for part in ("mysql://app:app@127.0.0.1:4006/app", "http://127.0.0.1:8989", "n1 at 127.0.0.1:33101", "kill n1"):
        assert part in text


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (["monitor: changed"], "reload: monitor: changed"),
        ([], "reload: nothing has changed"),
        (ConfigError("bad key"), "reload: nothing was changed: bad key"),
    ],
)
async def test_a_reload_says_what_came_of_it(caplog: pytest.LogCaptureFixture, outcome: Any, line: str) -> None:
    class App:
        async def reload(self) -> list[str]:
            if isinstance(outcome, Exception):
                raise outcome
            return list(outcome)

    app: Any = App()
    with caplog.at_level(logging.INFO):
        await run._reload(app)
    assert line in caplog.text


@pytest.mark.parametrize("fails", [False, True])
async def test_a_process_that_was_replaced_ends_whatever_becomes_of_its_sessions(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    async def start(estate: object) -> tuple[int, list[object]]:
        return 4711, []

    class App:
        async def estate(self) -> None:
            pass

        async def retire(self, seconds: float, links: object) -> None:
            if fails:
                raise ValueError("no way to hand them over")

    monkeypatch.setattr(run, "start_successor", start)
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    app: Any = App()
    stop = asyncio.Event()
    await run._upgrade(app, validate(SETTINGS, "test"), stop)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR2)
    assert stop.is_set()
    assert ("no way to hand them over" in caplog.text) is fails
