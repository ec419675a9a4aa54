"""Start, signal and wait for one server process that outlives the command that started it.

A pid file alone proves nothing: the number may belong to a stranger by now. So a pid counts only while its command
line names our defaults file, and signals go through a pidfd, which cannot be reused in between.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlproxy.errors import SqlproxyError

_POLL_SECONDS = 0.03
_ENDED = ("Z", "X", "")  # zombie, dead, no such process


class ProcessState(StrEnum):
    """What the kernel says of the process: running, stopped by SIGSTOP, or not there."""

    RUNNING = "running"
    STOPPED = "stopped"
    DOWN = "down"


def wait_for(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll ``condition`` until it holds; False after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


@dataclass(frozen=True)
class ServerProcess:
    """A mariadbd known by its pid file and by the defaults file on its command line."""

    pid_file: Path
    defaults_file: Path

    def pid(self) -> int | None:
        """The pid of the live server, None if it is down or the pid file is stale."""
        try:
            pid = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if self._is_ours(pid) else None

    def state(self) -> ProcessState:
        """Running, stopped (SIGSTOP) or down."""
        pid = self.pid()
        if pid is None:
            return ProcessState.DOWN
        return ProcessState.STOPPED if _kernel_state(pid) in ("T", "t") else ProcessState.RUNNING

    def spawn(self, program: str, arguments: Sequence[str], output: Path) -> int:
        """Run ``program --defaults-file=… arguments`` in a session of its own, its output appended to a file.

        Not subprocess.Popen: the server outlives this process and nothing here should insist on waiting for it.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            program,
            [program, f"--defaults-file={self.defaults_file}", *arguments],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT],
        )
        self.pid_file.write_text(f"{pid}\n")
        # posix_spawn returns a moment before the kernel shows the new command line.
        wait_for(lambda: bool(_command_line(pid)) or _kernel_state(pid) in _ENDED, 5.0)
        return pid

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to the server; False if it is down."""
        descriptor = self._open()
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def end(self, number: signal.Signals, timeout: float) -> bool:
        """Send a signal meant to end the server and wait; False if it is still there after ``timeout`` seconds."""
        descriptor = self._open()
        if descriptor is None:
            return True
        try:
            signal.pidfd_send_signal(descriptor, number)
            signal.pidfd_send_signal(descriptor, signal.SIGCONT)
            ended = _wait_for_end(descriptor, timeout)
        except ProcessLookupError:
            ended = True
        finally:
            os.close(descriptor)
        self.pid()
        return ended

    def _open(self) -> int | None:
        """A pidfd of the server, None if it is down; the identity is checked while the pidfd holds the pid."""
        pid = self.pid()
        if pid is None:
            return None
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        except OSError as error:
            raise SqlproxyError(f"process {pid} cannot be watched: {error.strerror}") from error
        if self._is_ours(pid):
            return descriptor
        os.close(descriptor)
        return None

    def _is_ours(self, pid: int) -> bool:
        if _kernel_state(pid) in _ENDED:
            _reap(pid)
            return False
        return f"--defaults-file={self.defaults_file}".encode() in _command_line(pid).split(b"\0")


def _wait_for_end(descriptor: int, timeout: float) -> bool:
    """A pidfd becomes readable when its process has ended."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(timeout * 1000))


def _command_line(pid: int) -> bytes:
    """The arguments, each ended by a zero byte; empty if there is no such process or it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _kernel_state(pid: int) -> str:
    """The state letter of proc(5): R, S, D, T, Z …; empty if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return text.rpartition(")")[2].split()[0]


def _reap(pid: int) -> None:
    """Collect the exit status of a server this very process started; other parents collect their own."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
