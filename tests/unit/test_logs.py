"""Log lines: one event, one line, nothing that could be taken for another."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.logs import HumanFormatter, JsonFormatter, configure, visible


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("sqlproxy")
    before = list(root.handlers), root.level, ours.level
    yield
    root.handlers[:], _, _ = before
    root.setLevel(before[1])
    ours.setLevel(before[2])


def record(message: str, *args: object, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("sqlproxy.monitor", logging.INFO, "x.py", 1, message, args, info)
    vars(made).update(extra)
    return made


def caught(text: str) -> KeyError:
    try:
        raise KeyError(text)
    except KeyError as error:
        return error


def test_people_get_time_level_logger_and_message() -> None:
    line = HumanFormatter().format(record("primary %s -> %s", "n1", "n2"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} INFO    monitor  primary n1 -> n2", line)


def test_programs_get_one_object_with_the_extra_fields() -> None:
    event = json.loads(JsonFormatter().format(record("gone", server="n1", error_code=2013)))
    assert (event["level"], event["logger"], event["message"]) == ("info", "monitor", "gone")
    assert (event["server"], event["error_code"]) == ("n1", 2013)
    assert event["time"].endswith("+00:00")


@pytest.mark.parametrize("formatter", [HumanFormatter(), JsonFormatter()])
def test_an_exception_is_on_the_same_line_with_its_place(formatter: logging.Formatter) -> None:
    line = formatter.format(record("failed", error=caught("two\nlines")))
    assert len(line.splitlines()) == 1
    assert re.search(r"KeyError: .*\(unit/test_logs\.py:\d+ caught\)", line)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_message_can_forge_a_line_or_drive_a_terminal(text: str) -> None:
    for line in (HumanFormatter().format(record("%s", text)), JsonFormatter().format(record("%s", text))):
        assert len(line.splitlines()) == 1
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)


def test_ordinary_text_stays_as_it_is() -> None:
    assert visible("naïve – 日本 ' \" \\") == "naïve – 日本 ' \" \\"


def test_configuring_twice_says_everything_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    configure("human", "warning")
    log = logging.getLogger("sqlproxy.test")
    log.info("not this")
    log.warning("but this")
    assert capsys.readouterr().err.count("\n") == 1


def test_libraries_are_heard_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure("human", "debug")
    logging.getLogger("sqlproxy.x").debug("ours")
    logging.getLogger("asyncio").info("theirs")
    logging.getLogger("asyncio").warning("serious")
    err = capsys.readouterr().err
    assert "ours" in err
    assert "theirs" not in err
    assert "serious" in err
