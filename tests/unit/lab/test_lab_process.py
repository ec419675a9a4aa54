"""A process counts as ours only while its command line says so."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlproxy.lab.process import ProcessState, ServerProcess, wait_for


@pytest.fixture
def process(tmp_path: Path) -> ServerProcess:
    return ServerProcess(tmp_path / "lab.pid", tmp_path / "my.cnf")


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program that takes any arguments and does nothing until a signal ends it."""
    path = tmp_path / "program"
    path.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def running(process: ServerProcess, program: str, tmp_path: Path) -> Iterator[ServerProcess]:
    process.spawn(program, [], tmp_path / "output")
    yield process
    process.end(signal.SIGKILL, 5.0)


def test_without_a_pid_file_the_server_is_down(process: ServerProcess) -> None:
    assert process.pid() is None
    assert process.state() is ProcessState.DOWN


@pytest.mark.parametrize("text", ["", "no number\n", "\x00"])
def test_a_broken_pid_file_means_down(process: ServerProcess, text: str) -> None:
    process.pid_file.write_text(text)
    assert process.pid() is None


def test_a_stale_pid_file_never_signals_a_stranger(process: ServerProcess) -> None:
    process.pid_file.write_text(str(os.getpid()))
    assert process.pid() is None
    assert process.send(signal.SIGTERM) is False
    assert process.end(signal.SIGKILL, 1.0) is True


def test_a_server_with_another_defaults_file_is_a_stranger(running: ServerProcess, tmp_path: Path) -> None:
    other = ServerProcess(running.pid_file, tmp_path / "other.cnf")
    assert other.pid() is None
    assert other.end(signal.SIGKILL, 1.0) is True
    assert running.state() is ProcessState.RUNNING


def test_a_spawned_server_is_known_at_once(process: ServerProcess, program: str, tmp_path: Path) -> None:
    pid = process.spawn(program, ["--option"], tmp_path / "output")
    assert process.pid() == pid
    assert process.end(signal.SIGTERM, 5.0)


def test_stop_and_cont_are_seen(running: ServerProcess) -> None:
    assert running.send(signal.SIGSTOP)
    assert wait_for(lambda: running.state() is ProcessState.STOPPED, 5.0)
    assert running.send(signal.SIGCONT)
    assert wait_for(lambda: running.state() is ProcessState.RUNNING, 5.0)


def test_a_stopped_server_can_be_ended_cleanly(running: ServerProcess) -> None:
    running.send(signal.SIGSTOP)
    assert running.end(signal.SIGTERM, 5.0)
    assert running.state() is ProcessState.DOWN


def test_an_ended_child_is_reaped(running: ServerProcess) -> None:
    pid = running.pid()
    assert running.end(signal.SIGKILL, 5.0)
    assert not Path(f"/proc/{pid}").exists()


def test_a_program_that_ends_at_once_is_down(process: ServerProcess, tmp_path: Path) -> None:
    process.spawn("/bin/false", [], tmp_path / "output")
    assert wait_for(lambda: process.state() is ProcessState.DOWN, 5.0)


def test_waiting_gives_up_after_the_timeout() -> None:
    assert wait_for(lambda: False, 0.0) is False
