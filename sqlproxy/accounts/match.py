"""Which account a client logs in to: the first whose host matches, in the servers' order.

Sources: ``find_by_username_or_anon`` in MariaDB's ``sql/sql_acl.cc``, ``cached_acl_users_for_name`` in MySQL's
``sql/auth/sql_auth_cache.cc``.
"""

from __future__ import annotations

from sqlproxy.accounts.host import client_host, normalized
from sqlproxy.accounts.model import Account, Accounts


def find(accounts: Accounts, user: str | bytes, host_ip: str | None, host_name: str | None = None) -> Account | None:
    """The account for ``user`` from ``host_ip`` (None: a unix socket), or None.

    User names are case-sensitive; bytes are taken as UTF-8. Without ``host_name`` the name is what
    ``host.client_host`` says. As on the servers, an anonymous account with a more specific host wins over a named one.
    """
    name = user.decode("utf-8", "surrogateescape") if isinstance(user, bytes) else user
    if host_name is None:
        host_ip, host_name = client_host(host_ip, accounts.skip_name_resolve)
    elif host_ip is not None:
        host_ip = normalized(host_ip)
    for pattern, account in accounts.candidates(name):
        if pattern.matches(host_ip, host_name):
            return account
    return None
