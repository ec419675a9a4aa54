"""One lab server: its files, its process, and what it says when it does not start."""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlproxy.errors import SqlproxyError
from sqlproxy.lab import install
from sqlproxy.lab.process import ProcessState, ServerProcess, wait_for
from sqlproxy.lab.query import query

# sun_path holds 108 bytes with the terminating zero (unix(7)).
_SOCKET_PATH_LIMIT = 107
_SHUTDOWN_SECONDS = 30.0


class LabServer:
    """A mariadbd whose files live in one directory: data/, tmp/, my.cnf, error.log, lab.pid and its socket."""

    def __init__(self, name: str, directory: Path, port: int) -> None:
        self.name = name
        self.directory = directory
        self.port = port
        self.data = directory / "data"
        self.socket = directory / "mysqld.sock"
        self.error_log = directory / "error.log"
        self.options_file = directory / "my.cnf"
        self.process = ServerProcess(directory / "lab.pid", self.options_file)

    @property
    def state(self) -> ProcessState:
        """Running, stopped (SIGSTOP) or down."""
        return self.process.state()

    def install(self, template: Path, options: Mapping[str, str]) -> None:
        """Write the option file, and copy the template as data directory unless there is one already.

        Raises SqlproxyError if the path is too long for a unix socket.
        """
        if len(str(self.socket).encode()) > _SOCKET_PATH_LIMIT:
            raise SqlproxyError(f"{self.socket} is too long for a unix socket: choose a shorter lab directory")
        install.make_directory(self.directory)
        install.make_directory(self.directory / "tmp")
        install.write_options(self.options_file, options)
        if not self.data.exists():
            partial = self.directory / "data.partial"
            install.remove_directory(partial)
            install.copy_data(template, partial)
            partial.rename(self.data)

    def start(self, arguments: Sequence[str] = ()) -> None:
        """Start the process; it is not ready yet, see ``wait_until``."""
        install.make_log(self.error_log)
        self.process.spawn(install.server_program(), arguments, self.error_log)

    def wait_until(self, condition: Callable[[], bool], timeout: float, wish: str) -> None:
        """Wait for a condition; raise SqlproxyError with the error log's words if it fails or takes too long."""
        if not wait_for(lambda: condition() or self.state is ProcessState.DOWN, timeout):
            raise SqlproxyError(f"{self.name} is not {wish} after {timeout:g} s: {self.last_words()}")
        if self.state is ProcessState.DOWN:
            raise SqlproxyError(f"{self.name} did not come up: {self.last_words()}")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of one statement, asked as root over the socket; ServerLost if there is no answer."""
        return query(self.socket, sql)

    def shutdown(self) -> None:
        """End the server cleanly (SIGTERM) and wait; raises SqlproxyError if it hangs."""
        if not self.process.end(signal.SIGTERM, _SHUTDOWN_SECONDS):
            raise SqlproxyError(f"{self.name} did not shut down in {_SHUTDOWN_SECONDS:g} s: {self.last_words()}")

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        self.process.end(signal.SIGKILL, _SHUTDOWN_SECONDS)

    def stop(self) -> None:
        """Freeze the server (SIGSTOP): it accepts connections and never answers."""
        self.process.send(signal.SIGSTOP)
        wait_for(lambda: self.state is not ProcessState.RUNNING, 5.0)

    def cont(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self.process.send(signal.SIGCONT)
        wait_for(lambda: self.state is not ProcessState.STOPPED, 5.0)

    def last_words(self) -> str:
        """The last two error lines of the error log, or its last line."""
        try:
            lines = self.error_log.read_text(errors="replace").strip().splitlines()
        except FileNotFoundError:
            lines = []
        errors = [line for line in lines if "[ERROR]" in line]
        return " / ".join(errors[-2:] or lines[-1:]) or f"{self.error_log} is empty"
