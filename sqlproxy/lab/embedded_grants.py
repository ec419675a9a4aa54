"""The grant tables of the embedded cluster, in MariaDB's layout, so that accounts can be read from its nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from sqlproxy.wire import native_password
from sqlproxy.wire.constants import NATIVE

ALL_PRIVILEGES = (1 << 40) - 1  # more bits than MariaDB has privileges
_TABLES = (
    'CREATE TABLE "mysql.global_priv" (Host "char(60)" COLLATE NOCASE, User "char(80)", Priv "longtext", '
    "PRIMARY KEY (Host, User))",
    'CREATE TABLE "mysql.db" (Host "char(60)" COLLATE NOCASE, Db "char(64)", User "char(80)", '
    "PRIMARY KEY (Host, Db, User))",
    'CREATE TABLE "mysql.roles_mapping" (Host "char(60)" COLLATE NOCASE, User "char(80)", Role "char(80)", '
    "Admin_option \"char(1)\" DEFAULT 'N')",
    "CREATE VIEW \"mysql.user\" AS SELECT Host, User, json_extract(Priv, '$.authentication_string') AS Password, "
    "json_extract(Priv, '$.plugin') AS plugin, "
    "json_extract(Priv, '$.authentication_string') AS authentication_string, '' AS ssl_type, "
    "'N' AS password_expired, 'N' AS is_role, '' AS default_role, 'N' AS account_locked, 0 AS max_user_connections, "
    "'Y' AS Select_priv, 'Y' AS Insert_priv, 'Y' AS Update_priv, 'Y' AS Delete_priv, "
    "CASE WHEN json_extract(Priv, '$.access') > 0 THEN 'Y' ELSE 'N' END AS Super_priv FROM \"mysql.global_priv\"",
)


def grant_tables(users: Mapping[str, str]) -> Iterator[str]:
    """The SQLite statements that create the tables for ``users``, name to password, each from any host."""
    yield from _TABLES
    for name, password in users.items():
        stored = native_password.stored_hash(password.encode())
        privileges = {"access": ALL_PRIVILEGES, "plugin": NATIVE, "authentication_string": stored}
        values = ", ".join("'" + text.replace("'", "''") + "'" for text in ("%", name, json.dumps(privileges)))
        yield f'INSERT INTO "mysql.global_priv" VALUES ({values})'
