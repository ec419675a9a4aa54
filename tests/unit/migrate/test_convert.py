"""Telling the formats apart, and what holds for all: the result is a configuration, and nothing is lost in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlproxy.config import parse
from sqlproxy.errors import ConfigError
from sqlproxy.migrate import ini
from sqlproxy.migrate.convert import convert, convert_file

from .samples import FILES

PRODUCTS = {
    "maxscale.cnf": "MaxScale",
    "haproxy.cfg": "HAProxy",
    "proxysql.cnf": "ProxySQL",
    "proxysql.sql": "ProxySQL",
}
SECRETS = ("hunter2", "topsecret", "8A3DF5E6B6F8B2F3")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_known_by_its_content_and_becomes_a_configuration(path: Path) -> None:
    text = convert(path.read_text(), "the-file")
    assert text.startswith(f"# Made by `sqlproxy import` from the-file ({PRODUCTS[path.name]}). ")
    assert parse(text, "result").servers


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_secrets_without_a_place_are_not_repeated(path: Path) -> None:
    text = convert(path.read_text(), "x")
    assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_line_of_the_original_changes_the_result(path: Path) -> None:
    """Leaving out a line with a setting leaves out a key or a note: nothing is dropped in silence."""
    lines = path.read_text().splitlines()
    whole = convert("\n".join(lines), "x")
    quiet = []
    for number, line in enumerate(lines):
        rest = "\n".join([*lines[:number], f"# {' ' * number}", *lines[number + 1 :]])
        try:
            changed = convert(rest, "x") != whole
        except ConfigError:
            changed = True
        if not changed:
            quiet.append(line.strip())
    assert [
        line for line in quiet if line and not line.startswith(("#", "CREATE")) and line not in WITHOUT_EFFECT
    ] == []


# What says no more than is assumed without it.
WITHOUT_EFFECT = {
    *("cluster=Galera Monitor", "filters=Hints|Log"),  # all the servers there are; filters speak for themselves
    *("port=3306", "user=maxuser", "password=x", "mode tcp", "stats enable", "mode http", "stats auth admin:hunter2"),
    *("bind *:9000", "server w1 10.0.0.30:80", "timeout connect 5s", "global", "BEGIN TRANSACTION;", "COMMIT;", ")"),
    *(
        "PRAGMA foreign_keys=OFF;",
        "LOAD MYSQL SERVERS TO RUNTIME;",
        "filebase=/tmp/q",
        "monitor_read_only_interval=1500",
    ),
    "UPDATE global_variables SET variable_value='4' WHERE variable_name='mysql-threads';",
}


@pytest.mark.parametrize("text", ["", "hello", "[mysqld]\ndatadir=/x\n", "CREATE TABLE t (a INT);\n", "{}"])
def test_a_file_of_another_kind_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^x: is not a configuration of MaxScale, HAProxy or ProxySQL$"):
        convert(text, "x")


def test_a_file_without_usable_servers_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError) as caught:
        convert("[a]\ntype=server\naddress=$DB\n", "x")
    assert str(caught.value) == (
        "x: names no server that sqlproxy could use: line 3: address=$DB: the value cannot be used as address"
    )


def test_a_file_that_ends_early_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"^x: line 2: the file ends inside a setting$"):
        convert("mysql_servers=(\n{ address=", "x")


def test_a_missing_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: cannot be read: No such file or directory$"):
        convert_file(tmp_path / "nowhere")


def test_text_that_is_not_utf8_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "maxscale.cnf"
    path.write_bytes(b"# f\xfcr alle\n[db]\ntype=server\naddress=10.0.0.1\n")
    assert 'address = "10.0.0.1:3306"' in convert_file(path)


LINES = sorted({line for path in FILES for line in path.read_text().splitlines() if line.strip()})


@settings(max_examples=40)
@given(st.lists(st.sampled_from(LINES), max_size=40), st.text(max_size=30))
@example(["[db1]", "type=server", "address=10.0.0.11"], "priority=\x00'\n")
def test_any_mixture_of_lines_is_converted_to_something_valid_or_refused(lines: list[str], garbage: str) -> None:
    try:
        text = convert("\n".join([*lines, garbage, *lines[::2]]), "x")
    except ConfigError as error:
        text = str(error)
        refused = text.startswith("x: ") and "\n" not in text
        assert refused, text
    else:
        assert parse(text, "result").services


@given(st.text())
def test_any_text_is_read_as_sections(text: str) -> None:
    for section in ini.read(text):
        assert section.line <= len(text.splitlines())
