"""Passwords that clients have proved in the clear, so that later logins with caching_sha2_password can be fast.

The grant table's hash is salted and slow, and a fast reply can only be checked with SHA256(SHA256(password)), which
servers keep in a cache of their own after one full login. A server that has no such entry (restarted, or another one
of the cluster) asks the proxy for a full login as well, and for that nothing but the cleartext will do. So it is
kept: in memory only, out of every repr and log, for the most recently used accounts, and no longer than the account
keeps its hash.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlproxy.accounts.model import Account
from sqlproxy.wire import sha2_password
from sqlproxy.wire.auth import Credentials, Method

ACCOUNTS_KEPT = 10_000

_Key = tuple[str, str, tuple[Method, ...]]


@dataclass(frozen=True, slots=True)
class Remembered:
    """``fast_hash``: SHA256(SHA256(password)), 32 bytes; ``cleartext``: the password. Both stay out of repr."""

    fast_hash: bytes = field(repr=False)
    cleartext: bytes = field(repr=False)


class FastHashes:
    """What was proved, by (user, host pattern, hashes): a changed hash is another key and finds nothing."""

    def __init__(self, accounts_kept: int = ACCOUNTS_KEPT) -> None:
        self._accounts_kept = accounts_kept
        self._known: OrderedDict[_Key, Remembered] = OrderedDict()
        self._configured: dict[str, Remembered] = {}  # by password; no more than the configuration has accounts

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, account: Account, credentials: Credentials) -> None:
        """Keep what a client of ``account`` has proved; only a cleartext password is worth it."""
        if not credentials.cleartext:
            return
        key = _key(account)
        self._known[key] = _from_password(credentials.cleartext)
        self._known.move_to_end(key)
        if len(self._known) > self._accounts_kept:
            self._known.popitem(last=False)

    def remembered(self, account: Account) -> Remembered | None:
        """What is known of ``account``: its configured password, else what was remembered."""
        if account.password:
            configured = self._configured.get(account.password)
            if configured is None:
                configured = self._configured[account.password] = _from_password(account.password.encode())
            return configured
        key = _key(account)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
        return found

    def retain(self, accounts: Iterable[Account]) -> None:
        """Forget everything about accounts that are gone or have other hashes now."""
        self._configured.clear()
        alive = {_key(account) for account in accounts}
        for key in [key for key in self._known if key not in alive]:
            del self._known[key]


def _key(account: Account) -> _Key:
    return account.user, account.host, account.authentications


def _from_password(password: bytes) -> Remembered:
    return Remembered(sha2_password.double(password), password)
