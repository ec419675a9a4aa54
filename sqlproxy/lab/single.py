"""One standalone MariaDB server on loopback, without Galera: for whatever a single server can answer."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sqlproxy.errors import ServerLost
from sqlproxy.lab import install
from sqlproxy.lab.certificates import make_certificates
from sqlproxy.lab.server import LabServer

NONE: Final[Mapping[str, str]] = MappingProxyType({})
_START_SECONDS = 30.0


class SingleServer(LabServer):
    """A server named ``single`` with the lab's accounts; TLS and ed25519 as in ``GaleraLab``, ``options`` on top."""

    def __init__(self, directory: Path, port: int, *, tls: bool = True, options: Mapping[str, str] = NONE) -> None:
        self.root = directory.absolute()
        self.tls = tls
        self.options = options
        super().__init__("single", self.root / "single", port)

    @property
    def ca_file(self) -> Path:
        """The certificate authority that signed the server's certificate."""
        return self.root / "tls" / "ca.pem"

    def up(self) -> None:
        """Install what is missing, start and wait until the server answers; SqlproxyError if it does not."""
        if self.process.pid() is None:
            install.refuse_used_port(self.port, f"the SQL port of {self.name}")
            self._prepare()
            self.start()
        self.cont()
        self.wait_until(self.answers, _START_SECONDS, "ready")

    def down(self, *, purge: bool = False) -> None:
        """End the server; ``purge`` removes its data too."""
        if purge:
            self.kill()
            parts = [self.directory, *(self.root / part for part in ("template", "template.partial", "tls"))]
            install.remove_parts(self.root, parts)
        else:
            self.shutdown()

    def answers(self) -> bool:
        """Whether a trivial statement succeeds."""
        try:
            return self.query("SELECT 1") == [(1,)]
        except ServerLost:
            return False

    def _prepare(self) -> None:
        install.make_directory(self.root)
        if self.tls:
            make_certificates(self.root / "tls")
        template = self.root / "template"
        if not template.exists():
            partial = self.root / "template.partial"
            install.remove_directory(partial)
            install.install_data(partial)
            partial.rename(template)
        options = install.server_options(self.directory, self.port, tls=self.tls)
        self.install(template, {**options, **self.options})
