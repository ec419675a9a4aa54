"""Rows of the grant tables to accounts: MariaDB's ``mysql.global_priv`` and everybody's ``mysql.user``.

Sources: ``User_table_json`` and ``User_table_tabular`` in MariaDB's ``sql/sql_acl.cc``, MySQL's
``sql/auth/sql_user_table.cc``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlproxy.accounts.model import TLS_ANY, TLS_NONE, TLS_SPECIFIED, TLS_X509, Account
from sqlproxy.wire.auth import Method
from sqlproxy.wire.constants import NATIVE

OLD_PASSWORD = "mysql_old_password"  # 16 hex digits, from before 4.1; nobody can log in with it here
MULTI_FACTOR = "multi-factor"  # stands for accounts that need more than one proof, which the proxy cannot ask for
_OLD_HASH = 16
_DAY = 24 * 3600
_TLS = {"": TLS_NONE, "ANY": TLS_ANY, "X509": TLS_X509, "SPECIFIED": TLS_SPECIFIED}
_TLS_NUMBERS = {1: TLS_ANY, 2: TLS_X509, 3: TLS_SPECIFIED}

# Columns of mysql.user worth reading, where they exist. Those in HEX hold bytes that may be no text.
USER_COLUMNS = (
    *("Host", "User", "plugin", "Password", "account_locked", "password_expired"),
    *("ssl_type", "is_role", "default_role", "User_attributes"),
)
USER_HEX_COLUMNS = ("authentication_string", "ssl_cipher", "x509_issuer", "x509_subject")


def from_global_priv(host: str, user: str, priv: str, now: float, default_lifetime: int) -> Account:
    """An account from a row of ``mysql.global_priv``.

    ``now`` is the server's time in seconds since the epoch, ``default_lifetime`` its default_password_lifetime in
    days (0: for ever). A row whose JSON is no object becomes an account that nobody can use.
    """
    try:
        data = json.loads(priv)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return Account(user, host, locked=True)
    return Account(
        user,
        host,
        _json_methods(data),
        locked=bool(data.get("account_locked")),
        password_expired=_is_expired(data, now, default_lifetime),
        tls=_TLS_NUMBERS.get(data.get("ssl_type", 0), TLS_NONE),
        tls_cipher=data.get("ssl_cipher", ""),
        tls_issuer=data.get("x509_issuer", ""),
        tls_subject=data.get("x509_subject", ""),
        is_role=bool(data.get("is_role")),
        default_role=data.get("default_role", ""),
    )


def from_user(row: Mapping[str, str | None]) -> Account:
    """An account from a row of ``mysql.user``: column to text, those of USER_HEX_COLUMNS in hexadecimal."""
    text = {name: value or "" for name, value in row.items()}
    return Account(
        text["User"],
        text["Host"],
        _tabular_methods(text),
        locked=text.get("account_locked") == "Y",
        password_expired=text.get("password_expired") == "Y",
        tls=_TLS.get(text.get("ssl_type", ""), TLS_NONE),
        tls_cipher=_unhex(text, "ssl_cipher").decode("latin-1"),
        tls_issuer=_unhex(text, "x509_issuer").decode("utf-8", "replace"),
        tls_subject=_unhex(text, "x509_subject").decode("utf-8", "replace"),
        is_role=text.get("is_role") == "Y",
        default_role=text.get("default_role", ""),
    )


def _json_methods(data: Mapping[str, Any]) -> tuple[Method, ...]:
    """One method, or with ``auth_or`` several; an item without a plugin stands for the one outside the list."""
    items = data.get("auth_or")
    outer = _method(data.get("plugin", ""), data.get("authentication_string", ""))
    if not isinstance(items, list):
        return (outer,)
    return tuple(
        _method(item["plugin"], item.get("authentication_string", "")) if item.get("plugin") else outer
        for item in items
        if isinstance(item, dict)
    )


def _tabular_methods(row: Mapping[str, str]) -> tuple[Method, ...]:
    plugin = row.get("plugin", "")
    stored = _unhex(row, "authentication_string")
    if plugin in ("", NATIVE) and not stored:
        stored = row.get("Password", "").encode()  # before MySQL 5.7 and MariaDB 10.4
    attributes = _attributes(row.get("User_attributes", ""))
    if attributes.get("Multi_factor_authentication"):
        return (Method(MULTI_FACTOR),)
    methods = [_method(plugin, stored)]
    additional = attributes.get("additional_password")  # of ALTER USER … RETAIN CURRENT PASSWORD
    if isinstance(additional, str) and additional:
        methods.append(_method(plugin, additional))
    return tuple(methods)


def _method(plugin: str, stored: str | bytes) -> Method:
    """Rows from before plugins name none: the hash's length tells which it was."""
    data = stored.encode() if isinstance(stored, str) else stored
    return Method(plugin or (OLD_PASSWORD if len(data) == _OLD_HASH else NATIVE), data)


def _is_expired(data: Mapping[str, Any], now: float, default_lifetime: int) -> bool:
    """``check_password_lifetime``: changed at 0 means expired by hand; a lifetime below 0 is the server's default."""
    changed = data.get("password_last_changed", -1)
    if changed == 0:
        return True
    lifetime = data.get("password_lifetime", -1)
    days = default_lifetime if lifetime < 0 else lifetime
    return days > 0 and changed > 0 and (now - changed) // _DAY >= days


def _attributes(text: str) -> Mapping[str, Any]:
    data = json.loads(text) if text else {}
    return data if isinstance(data, dict) else {}


def _unhex(row: Mapping[str, str], column: str) -> bytes:
    return bytes.fromhex(row.get(column, ""))
