"""SHOW and DESCRIBE as SELECTs of INFORMATION_SCHEMA, and INFORMATION_SCHEMA itself as SQLite views.

Every SHOW that lists something becomes one MySQL SELECT, so that its LIKE or WHERE clause needs no code of its own.
"""

from __future__ import annotations

import re

from sqlproxy.lab.embedded_errors import syntax_error, unsupported

_NAME = r"(?:`[^`]+`|[\w$]+)"
_IN = rf"(?:\s+(?:FROM|IN)\s+(?P<db>{_NAME}))?"
_TABLE = rf"\s+(?:FROM|IN)\s+(?:(?P<outer>{_NAME})\.)?(?P<table>{_NAME})(?:\s+(?:FROM|IN)\s+(?P<db>{_NAME}))?"
_FILTER = r"(?P<filter>\s+(?:LIKE|WHERE)\s.+)?"

_COLUMNS = (
    "COLUMN_NAME AS `Field`, COLUMN_TYPE AS `Type`, IS_NULLABLE AS `Null`, COLUMN_KEY AS `Key`, "
    "COLUMN_DEFAULT AS `Default`, EXTRA AS `Extra`"
)
_FULL_COLUMNS = _COLUMNS.replace("IS_NULLABLE", "COLLATION_NAME AS `Collation`, IS_NULLABLE") + (
    ", PRIVILEGES AS `Privileges`, COLUMN_COMMENT AS `Comment`"
)
_TABLE_STATUS = (
    "TABLE_NAME AS `Name`, ENGINE AS `Engine`, 10 AS `Version`, 'Dynamic' AS `Row_format`, TABLE_ROWS AS `Rows`, "
    "TABLE_COLLATION AS `Collation`, TABLE_COMMENT AS `Comment`"
)
_INDEX = (
    "TABLE_NAME AS `Table`, NON_UNIQUE AS `Non_unique`, INDEX_NAME AS `Key_name`, SEQ_IN_INDEX AS `Seq_in_index`, "
    "COLUMN_NAME AS `Column_name`, 'BTREE' AS `Index_type`"
)
# pattern, select list, source, column that LIKE filters
_LISTS: tuple[tuple[str, str, str, str], ...] = (
    (r"(?:DATABASES|SCHEMAS)", "SCHEMA_NAME AS `Database`", "SCHEMATA", "Database"),
    (rf"TABLES{_IN}", "TABLE_NAME AS `Tables_in_{db}`", "TABLES WHERE TABLE_SCHEMA = {schema}", "Tables_in_{db}"),
    (
        rf"FULL\s+TABLES{_IN}",
        "TABLE_NAME AS `Tables_in_{db}`, TABLE_TYPE AS `Table_type`",
        "TABLES WHERE TABLE_SCHEMA = {schema}",
        "Tables_in_{db}",
    ),
    (rf"TABLE\s+STATUS{_IN}", _TABLE_STATUS, "TABLES WHERE TABLE_SCHEMA = {schema}", "Name"),
    (rf"(?:COLUMNS|FIELDS){_TABLE}", _COLUMNS, "COLUMNS WHERE {in_table}", "Field"),
    (rf"FULL\s+(?:COLUMNS|FIELDS){_TABLE}", _FULL_COLUMNS, "COLUMNS WHERE {in_table}", "Field"),
    (rf"(?:INDEX|INDEXES|KEYS){_TABLE}", _INDEX, "STATISTICS WHERE {in_table}", "Key_name"),
    (
        r"(?P<scope>GLOBAL|SESSION|LOCAL)?\s*STATUS",
        "VARIABLE_NAME AS `Variable_name`, VARIABLE_VALUE AS `Value`",
        "GLOBAL_STATUS",
        "Variable_name",
    ),
    (
        r"(?P<scope>GLOBAL|SESSION|LOCAL)?\s*VARIABLES",
        "VARIABLE_NAME AS `Variable_name`, VARIABLE_VALUE AS `Value`",
        "{scope}_VARIABLES",
        "Variable_name",
    ),
    (
        r"(?:FULL\s+)?PROCESSLIST",
        "ID AS `Id`, USER AS `User`, HOST AS `Host`, DB AS `db`, COMMAND AS `Command`, "
        "TIME AS `Time`, STATE AS `State`, INFO AS `Info`, 0.000 AS `Progress`",
        "PROCESSLIST",
        "User",
    ),
    (r"(?:STORAGE\s+)?ENGINES", "'InnoDB' AS `Engine`, 'DEFAULT' AS `Support`", "ENGINES", "Engine"),
    (
        r"(?:CHARACTER\s+SET|CHARSET)",
        "CHARACTER_SET_NAME AS `Charset`, 'UTF-8 Unicode' AS `Description`, "
        "DEFAULT_COLLATE_NAME AS `Default collation`, 4 AS `Maxlen`",
        "CHARACTER_SETS",
        "Charset",
    ),
    (
        r"COLLATION",
        "COLLATION_NAME AS `Collation`, CHARACTER_SET_NAME AS `Charset`, ID AS `Id`, 'Yes' AS `Default`, "
        "'Yes' AS `Compiled`, 1 AS `Sortlen`",
        "COLLATIONS",
        "Collation",
    ),
)
_EMPTY = re.compile(
    r"SHOW\s+(?:PLUGINS|TRIGGERS|EVENTS|(?:PROCEDURE|FUNCTION)\s+STATUS|OPEN\s+TABLES)\b.*", re.I | re.S
)


def show_to_select(sql: str, database: str | None) -> str:
    """The SELECT behind a SHOW that lists things. Raises ServerError 1064 or 1235."""
    if _EMPTY.fullmatch(sql):
        return "SELECT 1 AS `Name` FROM DUAL WHERE 1 = 0"
    for pattern, columns, source, key in _LISTS:
        match = re.fullmatch(rf"SHOW\s+{pattern}{_FILTER}", sql, re.I | re.S)
        if match:
            return _select(match, columns, source, key, database or "")
    if re.match(r"SHOW\s+\w+", sql, re.I):
        raise unsupported(sql[:60])
    raise syntax_error(sql)


def _select(match: re.Match[str], columns: str, source: str, key: str, database: str) -> str:
    groups = match.groupdict()
    schema = (groups.get("outer") or groups.get("db") or database).strip("`")
    values = {
        "db": schema,
        "schema": _text(schema) if schema else "",
        "scope": "GLOBAL" if (groups.get("scope") or "").upper() == "GLOBAL" else "SESSION",
        "in_table": f"TABLE_SCHEMA = {_text(schema)} AND TABLE_NAME = {_text((groups.get('table') or '').strip('`'))}",
    }
    condition = (groups.get("filter") or "").strip()
    if condition[:4].upper() == "LIKE":
        condition = f"WHERE `{key.format_map(values)}` {condition}"
    inner = f"SELECT {columns.format_map(values)} FROM information_schema.{source.format_map(values)}"
    order = "" if source.startswith(("COLUMNS", "STATISTICS", "PROCESSLIST")) else "ORDER BY 1"
    return f"SELECT * FROM ({inner}) AS shown {condition} {order}"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _json_view(name: str, what: str, columns: str) -> str:
    """A view of rows that the session computes; ``columns`` are separated by spaces."""
    parts = [
        f"json_extract(value, '$[{number}]') COLLATE NOCASE AS {column}"
        for number, column in enumerate(columns.split())
    ]
    return (
        f"CREATE VIEW \"information_schema.{name}\" AS SELECT {', '.join(parts)} FROM json_each(MYSQL_ROWS('{what}'))"
    )


_SCHEMA_OF = "substr(m.name, 1, instr(m.name, '.') - 1) COLLATE NOCASE"
_NAME_OF = "substr(m.name, instr(m.name, '.') + 1) COLLATE NOCASE"
_OBJECTS = (
    "(SELECT * FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\') AS m"
)
_TYPE = (
    "CASE WHEN p.type LIKE '% TEXT' THEN substr(p.type, 1, length(p.type) - 5) "
    "WHEN p.type = 'INTEGER' THEN 'bigint(20)' ELSE lower(p.type) END"
)

VIEWS: tuple[str, ...] = (
    _json_view("GLOBAL_STATUS", "status", "VARIABLE_NAME VARIABLE_VALUE"),
    _json_view("SESSION_STATUS", "status", "VARIABLE_NAME VARIABLE_VALUE"),
    _json_view("GLOBAL_VARIABLES", "global variables", "VARIABLE_NAME VARIABLE_VALUE"),
    _json_view("SESSION_VARIABLES", "session variables", "VARIABLE_NAME VARIABLE_VALUE"),
    _json_view("PROCESSLIST", "processes", "ID USER HOST DB COMMAND TIME STATE INFO"),
    _json_view("ENGINES", "engines", "ENGINE SUPPORT"),
    _json_view("COLLATIONS", "collations", "COLLATION_NAME CHARACTER_SET_NAME ID"),
    _json_view("CHARACTER_SETS", "character sets", "CHARACTER_SET_NAME DEFAULT_COLLATE_NAME"),
    "CREATE VIEW \"information_schema.SCHEMATA\" AS SELECT 'def' AS CATALOG_NAME, name AS SCHEMA_NAME, "
    "'utf8mb4' AS DEFAULT_CHARACTER_SET_NAME, 'utf8mb4_general_ci' AS DEFAULT_COLLATION_NAME FROM databases",
    f"CREATE VIEW \"information_schema.TABLES\" AS SELECT 'def' AS TABLE_CATALOG, {_SCHEMA_OF} AS TABLE_SCHEMA, "
    f"{_NAME_OF} AS TABLE_NAME, CASE WHEN m.name LIKE 'information~_schema.%' ESCAPE '~' THEN 'SYSTEM VIEW' "
    "WHEN m.type = 'view' THEN 'VIEW' ELSE 'BASE TABLE' END AS TABLE_TYPE, 'InnoDB' AS ENGINE, NULL AS TABLE_ROWS, "
    f"'utf8mb4_general_ci' AS TABLE_COLLATION, '' AS TABLE_COMMENT FROM {_OBJECTS} WHERE m.name LIKE '%.%'",
    f"CREATE VIEW \"information_schema.COLUMNS\" AS SELECT 'def' AS TABLE_CATALOG, {_SCHEMA_OF} AS TABLE_SCHEMA, "
    f"{_NAME_OF} AS TABLE_NAME, p.name AS COLUMN_NAME, p.cid + 1 AS ORDINAL_POSITION, p.dflt_value AS COLUMN_DEFAULT, "
    f"CASE WHEN p.[notnull] OR p.pk THEN 'NO' ELSE 'YES' END AS IS_NULLABLE, {_TYPE} AS COLUMN_TYPE, "
    f"replace(substr({_TYPE}, 1, instr({_TYPE} || '(', '(') - 1), ' unsigned', '') AS DATA_TYPE, "
    "CASE WHEN p.pk THEN 'PRI' ELSE '' END AS COLUMN_KEY, "
    "CASE WHEN p.type = 'INTEGER' THEN 'auto_increment' ELSE '' END AS EXTRA, "
    "'utf8mb4_general_ci' AS COLLATION_NAME, 'select,insert,update,references' AS PRIVILEGES, "
    f"'' AS COLUMN_COMMENT FROM {_OBJECTS}, pragma_table_info(m.name) AS p WHERE m.name LIKE '%.%' "
    "AND m.name NOT LIKE 'information~_schema.%' ESCAPE '~'",
    f"CREATE VIEW \"information_schema.STATISTICS\" AS SELECT 'def' AS TABLE_CATALOG, {_SCHEMA_OF} AS TABLE_SCHEMA, "
    f"{_NAME_OF} AS TABLE_NAME, NOT i.[unique] AS NON_UNIQUE, CASE i.origin WHEN 'pk' THEN 'PRIMARY' ELSE "
    "replace(i.name, m.name || '.', '') END AS INDEX_NAME, c.seqno + 1 AS SEQ_IN_INDEX, c.name AS COLUMN_NAME "
    f"FROM {_OBJECTS}, pragma_index_list(m.name) AS i, pragma_index_info(i.name) AS c WHERE m.type = 'table'",
)
