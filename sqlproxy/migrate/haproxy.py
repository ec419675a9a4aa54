"""haproxy.cfg: the sections that lead to MySQL servers, whose checks and backups become roles.

Keywords: HAProxy's Configuration Manual. HAProxy moves connections and knows no statements, so a service becomes
``readconn`` where servers have one that is used first, and ``readwritesplit`` where all were written to.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlproxy.config import MonitorConfig, ServerConfig, ServiceConfig
from sqlproxy.migrate import values
from sqlproxy.migrate.draft import Draft, Scalar, Table, said
from sqlproxy.migrate.haproxy_words import IGNORED_SECTIONS, LOST, LOST_OPTIONS, LOST_SERVER, NEEDLESS

_HEADS: Final = ("global", "defaults", "listen", "frontend", "backend", *IGNORED_SECTIONS)
_MYSQL: Final = re.compile(r"mysql|maria|galera|percona|pxc|[^a-z]db|^db", re.IGNORECASE)
_GALERA: Final = re.compile(r"galera|pxc|percona|clustercheck", re.IGNORECASE)
_CLUSTERCHECK: Final = "9200"
# keywords of a server line that take a value
_VALUED: Final = frozenset(
    (
        *("weight", "maxconn", "minconn", "port", "addr", "inter", "fastinter", "downinter", "rise", "fall", "cookie"),
        *("ca-file", "crt", "verify", "verifyhost", "sni", "check-sni", "on-marked-down", "on-marked-up", "on-error"),
        *("observe", "error-limit", "slowstart", "source", "track", "maxqueue", "id", "resolvers", "resolve-prefer"),
        *("init-addr", "alpn", "ciphers", "namespace", "pool-max-conn", "pool-purge-delay", "agent-port", "agent-addr"),
        *("agent-inter", "tcp-ut", "redir", "ssl-min-ver", "ssl-max-ver", "check-alpn", "crl-file", "proto"),
    )
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a section, in words."""

    number: int
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """As the original, what may be a secret blanked."""
        first = self.words[0]
        return said(" ".join(self.words[:2]) if first in ("stats", "option") else first, " ".join(self._rest), " ")

    @property
    def _rest(self) -> tuple[str, ...]:
        skip = 2 if self.words[0] in ("stats", "option") else 1
        return ("***",) if self.words[:2] == ("stats", "auth") else self.words[skip:]


@dataclass(slots=True)
class Part:
    """A section of the file."""

    number: int
    kind: str
    name: str
    rest: tuple[str, ...]
    lines: list[Line] = field(default_factory=list)
    used: bool = False

    def all(self, *words: str) -> list[Line]:
        """The lines that begin with these words."""
        return [line for line in self.lines if line.words[: len(words)] == words]

    def value(self, *words: str) -> str:
        """The first value of the last such line; "" when there is none."""
        lines = [line for line in self.all(*words) if len(line.words) > len(words)]
        return lines[-1].words[len(words)] if lines else ""


def read(text: str) -> list[Part]:
    """The sections in their order; comments and empty lines are left out."""
    parts: list[Part] = []
    for number, raw in enumerate(text.splitlines(), 1):
        words = _words(raw)
        if not words:
            continue
        if words[0] in _HEADS:
            name = words[1] if len(words) > 1 else ""
            parts.append(Part(number, words[0], name, tuple(words[2:])))
        elif parts:
            parts[-1].lines.append(Line(number, tuple(words)))
    return parts


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        return list(lexer)
    except ValueError:  # a quote that does not end
        return line.split()


def convert(text: str) -> Draft:
    """Everything of the file, each line either in the configuration or in a note."""
    return _Conversion(read(text)).run()


class _Conversion:
    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._draft = Draft("HAProxy")
        self._defaults = next(
            (part for part in reversed(parts) if part.kind == "defaults"), Part(0, "defaults", "", ())
        )
        self._backends = {part.name: part for part in parts if part.kind in ("backend", "listen")}
        self._known: dict[str, Table] = {}  # servers by address

    def run(self) -> Draft:
        fronts = [(part, self._behind(part)) for part in self._parts if part.kind in ("listen", "frontend")]
        for front, back in fronts:
            if back is not None and self._is_mysql(front, back):
                front.used = back.used = True
                self._service(front, back)
        self._topology()
        for part in self._parts:
            self._rest(part)
        return self._draft

    def _behind(self, part: Part) -> Part | None:
        return part if part.kind == "listen" else self._backends.get(part.value("default_backend"))

    def _is_mysql(self, front: Part, back: Part) -> bool:
        mode = front.value("mode") or back.value("mode") or self._defaults.value("mode") or "tcp"
        if mode != "tcp" or not (back.all("server") or back.all("server-template")):
            return False
        ports = [line.words[2].rpartition(":")[2] for line in back.all("server") if len(line.words) > 2]
        checked = any(part.all("option", "mysql-check") for part in (front, back, self._defaults))
        named = bool(_MYSQL.search(front.name) or _MYSQL.search(back.name))
        return checked or named or any(port in ("3306", "3307") for port in ports)

    # -- one service

    def _service(self, front: Part, back: Part) -> None:
        servers = [found for line in back.all("server") if (found := self._server(line, back)) is not None]
        first = [table for table, backup in servers if not backup]
        router, role = self._roles(servers, first, front)
        service = self._draft.add_service(front.name, router)
        if role:
            service["role"] = role
        self._binds(front, service)
        self._limits(front, back, service)
        names = [str(table["name"]) for table, _ in servers]
        if names:
            service["servers"] = names

    def _roles(self, servers: list[tuple[Table, bool]], first: list[Table], front: Part) -> tuple[str, str]:
        if len(first) < len(servers):  # some are backups: one is used at a time
            for number, (table, _) in enumerate(sorted(servers, key=lambda server: server[1]), 1):
                table.setdefault("priority", number)
            self._draft.lost(
                front.number,
                f"{front.kind} {front.name}",
                'connections go to the primary whole; router = "readwritesplit" would use the others for reads',
            )
            return "readconn", "primary"
        if re.search(r"read|ro\b|slave|replica", front.name, re.IGNORECASE):
            return "readconn", "any"
        if len(servers) > 1:
            self._draft.lost(
                front.number,
                f"{front.kind} {front.name}",
                "every server was written to; here writes go to one primary, which ends deadlocks (1213), and reads"
                " to the others",
            )
        return "readwritesplit", ""

    def _server(self, line: Line, back: Part) -> tuple[Table, bool] | None:
        if len(line.words) < 3:
            self._draft.lost(line.number, line.text, "a server without an address")
            return None
        name, where = line.words[1], _address(line.words[2])
        flags, options = _options([*_default_server(self._defaults), *_default_server(back), *line.words[3:]])
        if "disabled" in flags:
            self._draft.lost(line.number, line.text, "is disabled; `sqlproxy maintenance NAME` does that at run time")
            return None
        table = self._known.get(where) or self._draft.add_server(name, where, line.number, line.text)
        if table is None:
            return None
        self._known[where] = table
        self._server_options(line, table, flags, options)
        return table, "backup" in flags

    def _server_options(self, line: Line, table: Table, flags: set[str], options: dict[str, str]) -> None:
        draft = self._draft
        for theirs, ours in (("weight", "weight"), ("maxconn", "max_connections")):
            if theirs in options and options[theirs].isdigit():
                draft.put(ServerConfig, table, ours, int(options[theirs]), line.number, f"{theirs} {options[theirs]}")
        if flags & {"send-proxy", "send-proxy-v2"}:
            table["proxy_protocol"] = True
        if "ssl" in flags:
            mode = "required" if options.get("verify") == "none" else "verify_ca"
            tls: dict[str, Scalar] = {"mode": mode, "ca": options.get("ca-file", ""), "cert": options.get("crt", "")}
            table["tls"] = {key: value for key, value in tls.items() if value}
        if "inter" in options:
            self._timing("interval", options["inter"], line, f"inter {options['inter']}")
        for key in sorted(flags | set(options)):
            if key in LOST_SERVER:
                draft.lost(line.number, f"server {line.words[1]} … {key}", LOST_SERVER[key])

    def _timing(self, key: str, value: str, line: Line, what: str) -> None:
        try:
            self._draft.put(MonitorConfig, self._draft.monitor, key, values.duration(value, "ms"), line.number, what)
        except ValueError:
            self._draft.lost(line.number, what, "the value is no duration")

    def _binds(self, front: Part, service: Table) -> None:
        found: list[tuple[int, tuple[str, ...], str]] = [
            (front.number, (address,), f"listen {front.name} {address}") for address in front.rest[:1]
        ]
        found += [(line.number, line.words[1:], line.text) for line in front.all("bind")]
        for number, words, what in found:
            for address in words[0].split(",") if words else ():
                self._draft.listen(service, _address(address), number, what)
            self._bind_options(number, words[1:], service, what)

    def _bind_options(self, number: int, words: Iterable[str], service: Table, what: str) -> None:
        flags, options = _options(words, frozenset(("crt", "ca-file", "verify", "interface", "user", "group", "mode")))
        if "ssl" in flags:
            tls: dict[str, Scalar] = {
                "mode": "required",
                "cert": options.get("crt", ""),
                "ca": options.get("ca-file", ""),
            }
            service["tls"] = {key: value for key, value in tls.items() if value}
            self._draft.lost(
                number, what, "TLS begins inside the MySQL protocol here, as drivers do it, not with the connection"
            )
        if "accept-proxy" in flags:
            text = "list the balancers' networks as proxy_protocol_networks; headers from others are refused"
            self._draft.lost(number, what, text)

    def _limits(self, front: Part, back: Part, service: Table) -> None:
        limit = front.value("maxconn")
        if limit.isdigit():
            line = front.all("maxconn")[-1]
            self._draft.put(ServiceConfig, service, "max_connections", int(limit), line.number, line.text)
        for theirs, ours in (("connect", "connect_timeout"), ("queue", "failover_timeout")):
            for part in (back, front, self._defaults):
                lines = part.all("timeout", theirs)
                if lines and self._timeout(service, ours, lines[-1]):
                    break

    def _timeout(self, service: Table, key: str, line: Line) -> bool:
        try:
            value = values.duration(line.words[2], "ms")
        except (ValueError, IndexError):
            self._draft.lost(line.number, line.text, "the value is no duration")
            return False
        return self._draft.put(ServiceConfig, service, key, value, line.number, line.text)

    def _topology(self) -> None:
        used = [part for part in self._parts if part.used]
        lines = [line for part in (self._defaults, *used) for line in part.lines]
        galera = any(_GALERA.search(part.name) for part in used) or any(
            _CLUSTERCHECK in line.words or "clustercheck" in " ".join(line.words) for line in lines
        )
        self._draft.monitor["topology"] = "galera" if galera else "static"
        if not galera:
            reason = 'taken for servers that somebody else makes read_only; set topology = "galera" for a cluster'
            self._draft.lost(0, "topology", reason)
        for line in lines:
            if line.words[:2] == ("timeout", "check") and len(line.words) > 2:
                self._timing("timeout", line.words[2], line, line.text)
        self._draft.monitor["user"] = "sqlproxy"
        self._draft.lost(
            0, "monitor.user", "HAProxy logs in nowhere: create this account (docs/quickstart.md) and give its password"
        )

    # -- what is left

    def _rest(self, part: Part) -> None:
        if part.kind in ("global", "defaults") or part.used:
            for line in part.lines:
                self._line(line, part)
        else:
            what = f"{part.kind} {part.name}".strip()
            self._draft.lost(part.number, what, IGNORED_SECTIONS.get(part.kind, "does not lead to MySQL servers"))

    def _line(self, line: Line, part: Part) -> None:
        first, pair = line.words[0], " ".join(line.words[:2])
        if _is_taken(line, part):
            return
        if pair in NEEDLESS or first in NEEDLESS:
            self._draft.needless(line.number, line.text, NEEDLESS.get(pair) or NEEDLESS[first])
        elif pair in LOST_OPTIONS or first in LOST:
            self._draft.lost(line.number, line.text, LOST_OPTIONS.get(pair) or LOST[first])
        else:
            self._draft.lost(line.number, line.text, "a keyword this import does not know")


def _is_taken(line: Line, part: Part) -> bool:
    """Whether the line has gone into the configuration."""
    if line.words[0] == "timeout":
        return line.words[1:2] in (("connect",), ("queue",), ("check",))
    taken = line.words[0] in ("server", "bind", "default_backend", "mode", "maxconn", "default-server")
    return taken and part.kind != "global"


def _default_server(part: Part) -> list[str]:
    return [word for line in part.all("default-server") for word in line.words[1:]]


def _options(words: Iterable[str], valued: frozenset[str] = _VALUED) -> tuple[set[str], dict[str, str]]:
    flags: set[str] = set()
    options: dict[str, str] = {}
    key = ""
    for word in words:
        if key:
            options[key], key = word, ""
        elif word in valued:
            key = word
        else:
            flags.add(word)
    return flags, options


def _address(text: str) -> str:
    """``10.0.0.1:3306``, ``*:3306``, ``:::3306``, ``[::]:3306``, ``ipv4@…``, ``/path`` or ``unix@/path``."""
    text = re.sub(r"^(ipv[46]|tcp[46]?)@", "", text)
    if text.startswith(("/", "unix@")):
        return f"unix:{text.removeprefix('unix@')}"
    host, colon, port = text.rpartition(":")
    return values.address(host, port) if colon else values.address(text, "3306")
