"""Names, ports and settings of a lab that nothing runs in."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sqlproxy.errors import ConfigError
from sqlproxy.lab.cli import lab as lab_cli
from sqlproxy.lab.galera import GaleraLab, derived_galera_base
from sqlproxy.lab.process import ProcessState


def test_the_default_ports_are_those_of_the_examples() -> None:
    lab = GaleraLab(Path("/nowhere"))
    assert lab.ports == [33101, 33102, 33103]
    assert [node.galera_port for node in lab.nodes.values()] == [4570, 4580, 4590]


@given(st.integers(1024, 65000))
def test_galera_ports_stay_below_the_ephemeral_range(base_port: int) -> None:
    base = derived_galera_base(base_port)
    assert base > 1024
    assert base + 10 * 8 + 2 < 32768


@given(st.integers(1024, 64900))
def test_labs_a_hundred_ports_apart_do_not_share_galera_ports(base_port: int) -> None:
    distance = abs(derived_galera_base(base_port + 100) - derived_galera_base(base_port))
    assert distance >= 83


@pytest.mark.parametrize(("base_port", "nodes"), [(33100, 0), (33100, 10), (80, 3), (65001, 3)])
def test_impossible_settings_are_refused(base_port: int, nodes: int) -> None:
    with pytest.raises(ConfigError, match="1 to 9 nodes"):
        GaleraLab(Path("/nowhere"), base_port, nodes)


def test_an_unknown_node_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no node n4 in this lab, only n1, n2, n3"):
        GaleraLab(Path("/nowhere")).kill("n4")


def test_opening_reads_the_settings_back(tmp_path: Path) -> None:
    settings = {"base_port": 23100, "galera_base": 6000, "nodes": 2, "fast": True, "tls": False}
    (tmp_path / "lab.json").write_text(json.dumps(settings))
    lab = GaleraLab.open(tmp_path)
    assert (lab.ports, lab.settings.fast, lab.settings.tls) == ([23101, 23102], True, False)
    assert [status.process for status in lab.status()] == [ProcessState.DOWN, ProcessState.DOWN]


@pytest.mark.parametrize("text", ["", "[]", '{"base_port": 1}', "{"])
def test_a_broken_settings_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    with pytest.raises(ConfigError, match=r"lab\.json cannot be used"):
        GaleraLab.open(tmp_path)


def test_a_directory_with_other_things_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="neither empty nor a lab"):
        GaleraLab(tmp_path).up()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_without_a_lab_the_command_line_exits_with_2_and_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(lab_cli, ["status", "--dir", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr == f"sqlproxy lab: there is no lab in {tmp_path}: sqlproxy lab up makes one\n"
