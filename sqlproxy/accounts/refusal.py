"""What a client that may not log in reads: the servers' own words."""

from __future__ import annotations

from typing import Final

from sqlproxy.accounts.host import client_host
from sqlproxy.errors import AccessDenied

_LONGEST_NAME: Final = 128  # characters of a user name: MariaDB cuts what is longer


def shown_host(host_ip: str | None, skip_name_resolve: bool = False) -> str:
    """How servers call a client's host in messages: its name if known (localhost for loopback), else the address."""
    ip, name = client_host(host_ip, skip_name_resolve)
    return name or ip or ""


def access_denied(user: str | bytes, host: str, using_password: bool) -> AccessDenied:
    """Error 1045. ``host`` as ``shown_host`` gives it; ``using_password``: the client sent one."""
    name = (user.decode("utf-8", "replace") if isinstance(user, bytes) else user)[:_LONGEST_NAME]
    return AccessDenied(
        f"Access denied for user '{name}'@'{host}' (using password: {'YES' if using_password else 'NO'})"
    )


def account_locked() -> AccessDenied:
    """Error 4151 of MariaDB: only for clients that have proved the password."""
    return AccessDenied("Access denied, this account is locked", code=4151, sqlstate="HY000")


def host_blocked(host: str) -> AccessDenied:
    """Error 1129: too many failed logins from ``host``."""
    return AccessDenied(f"Host '{host}' is blocked because of many connection errors", code=1129, sqlstate="HY000")
