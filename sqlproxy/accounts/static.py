"""Accounts from the configuration: the whole set, or passwords for accounts of the servers' grant tables."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace

from sqlproxy.accounts.host import Dialect
from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.config import AccountConfig
from sqlproxy.wire import sha2_password
from sqlproxy.wire.auth import Method, methods_for_password
from sqlproxy.wire.constants import CACHING_SHA2, NATIVE

SOURCE = "static"
_ANY_HOST = "%"
_ROUNDS = 1000  # the fewest there are: the cleartext is in memory anyway


def from_config(users: Sequence[AccountConfig]) -> Accounts:
    """The static accounts, one for each user and host.

    A password can be checked with any plugin; a ``password_hash`` is one of mysql_native_password. A user with
    neither cannot log in. Hosts match as on MySQL, so that ``10.0.0.0/8`` and ``10.0.0.0/255.0.0.0`` both work.
    """
    accounts = tuple(
        Account(user.name, host, methods, password=_password(user))
        for user in users
        for methods in [_methods(user)]
        for host in user.hosts
    )
    return Accounts(accounts, SOURCE, time.time(), Dialect.MYSQL)


def supplement(accounts: Accounts, users: Sequence[AccountConfig]) -> Accounts:
    """The accounts with the passwords that ``users`` give.

    A user without hosts, or with ``%``, means every account of that name; otherwise those with exactly these hosts.
    The password serves to log in to servers; clients still have to satisfy the grant table.
    """
    passwords = {(user.name, host): _password(user) for user in users for host in user.hosts}
    if not passwords:
        return accounts
    known = tuple(
        replace(account, password=passwords.get((account.user, account.host), passwords.get((account.user, _ANY_HOST))))
        for account in accounts.accounts
    )
    return replace(accounts, accounts=known)


def _password(user: AccountConfig) -> str | None:
    return user.password.get_secret_value() if user.password is not None else None


def _methods(user: AccountConfig) -> tuple[Method, ...]:
    password = _password(user)
    if password is None:
        return (Method(NATIVE, user.password_hash.get_secret_value().encode()),) if user.password_hash else ()
    methods = methods_for_password(password.encode())
    if not password:
        return methods
    salt = os.urandom(10).hex().encode()
    return (*methods, Method(CACHING_SHA2, sha2_password.stored_hash(password.encode(), salt, _ROUNDS)))
