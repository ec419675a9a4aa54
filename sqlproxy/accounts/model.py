"""The words of logging in: Account, one row of the servers' grant tables, and Accounts, all of them, frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sqlproxy.accounts.host import Dialect, HostPattern
from sqlproxy.wire.auth import Method

TLS_NONE = ""
TLS_ANY = "any"
TLS_X509 = "x509"
TLS_SPECIFIED = "specified"


@dataclass(frozen=True, slots=True)
class Account:
    """Who may log in from where, and how.

    ``host`` is the pattern of the grant table. ``authentications``: the client must satisfy one of them; none at all
    means that nobody logs in. ``locked`` is for after the password was proved, as servers do. ``tls``: "" (not
    needed), "any", "x509" (a valid client certificate) or "specified" (also what ``tls_cipher``, ``tls_issuer`` and
    ``tls_subject`` say where not empty). ``password`` is the cleartext, where the configuration gives it.
    """

    user: str
    host: str = "%"
    authentications: tuple[Method, ...] = ()
    locked: bool = False
    password_expired: bool = False
    tls: str = TLS_NONE
    tls_cipher: str = ""
    tls_issuer: str = ""
    tls_subject: str = ""
    is_role: bool = False
    default_role: str = ""
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"'{self.user}'@'{self.host}'"


Candidate = tuple[HostPattern, Account]


@dataclass(frozen=True)
class Accounts:
    """All accounts of one source at one time; equal when the accounts are.

    ``source`` is a server's name or "static"; ``loaded_at`` wall-clock seconds since the epoch, 0 if never.
    ``skip_name_resolve``: TCP clients from loopback are not "localhost", as on the server.
    """

    accounts: tuple[Account, ...] = ()
    source: str = field(default="", compare=False)
    loaded_at: float = field(default=0.0, compare=False)
    dialect: Dialect = Dialect.MARIADB
    skip_name_resolve: bool = False
    _candidates: Mapping[str, tuple[Candidate, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_candidates", _index(self.accounts, self.dialect))

    def __len__(self) -> int:
        return len(self.accounts)

    def candidates(self, user: str) -> tuple[Candidate, ...]:
        """The accounts of ``user`` and the anonymous ones, in the order in which they are tried."""
        return self._candidates.get(user) or self._candidates.get("", ())

    def plugins(self) -> tuple[str, ...]:
        """The plugins in use, each once, sorted."""
        return tuple(sorted({method.plugin for account in self.accounts for method in account.authentications}))


def _index(accounts: Iterable[Account], dialect: Dialect) -> Mapping[str, tuple[Candidate, ...]]:
    by_user: dict[str, list[Candidate]] = {"": []}
    for account in accounts:
        if not account.is_role:
            by_user.setdefault(account.user, []).append((HostPattern.parse(account.host, dialect), account))
    anonymous = by_user[""]
    return MappingProxyType({user: _in_order(own if user == "" else own + anonymous) for user, own in by_user.items()})


def _in_order(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """Most specific host first, then named before anonymous; what is left is settled as MariaDB does."""
    by_text = sorted(candidates, key=lambda candidate: candidate[0].text, reverse=True)
    return tuple(sorted(by_text, key=lambda candidate: (candidate[0].rank, candidate[1].user == "")))
