"""CREATE, ALTER, DROP and TRUNCATE for the embedded cluster's store: MySQL's definitions in SQLite's words.

The declared type of a SQLite column is the MySQL type (SQLite takes any text), so the catalogue needs no second place.
Foreign keys are accepted and, as in MySQL's MyISAM, not enforced.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sqlglot import exp

from sqlproxy.lab import embedded_sql as sql
from sqlproxy.lab.embedded_errors import syntax_error, unsupported
from sqlproxy.lab.embedded_sql import Kind, Statement

TEXT_AFFINITY = " TEXT"  # appended to declared types that SQLite would otherwise turn into numbers
_KEEP_AS_TEXT = ("binary", "varbinary", "enum", "set", "json", "date", "time", "datetime", "timestamp", "year", "bit")
_STRINGS = ("char", "varchar", "text", "tinytext", "mediumtext", "longtext", "enum", "set")
_TYPES = {"timestamptz": "timestamp", "timestampltz": "timestamp", "integer": "int", "boolean": "tinyint(1)"}


def quoted(name: str) -> str:
    """A SQLite identifier."""
    return '"' + name.replace('"', '""') + '"'


def rewrite_schema(tree: exp.Create | exp.Alter | exp.Drop | exp.TruncateTable, database: str) -> Statement:
    """The steps of a schema statement. Raises ServerError 1235 for what the store cannot do."""
    if isinstance(tree, exp.Create):
        return _create(tree, database)
    if isinstance(tree, exp.Drop):
        return _drop(tree, database)
    if isinstance(tree, exp.Alter):
        return _alter(tree, database)
    tables = tuple(sql.table_name(table, database) for table in tree.expressions)
    steps = []
    for name in tables:
        steps.append(f"DELETE FROM {quoted(name)}")
        steps.append(f"DELETE FROM sqlite_sequence WHERE name = {exp.Literal.string(name).sql()}")
    return Statement(Kind.SCHEMA, tuple(steps), tables)


def _create(tree: exp.Create, database: str) -> Statement:
    kind = str(tree.args.get("kind") or "").upper()
    if kind == "INDEX":
        return _create_index(tree, database)
    if kind == "VIEW":
        target = tree.find(exp.Table)
        name = sql.table_name(target, database) if target else ""
        tables = sql.qualify(tree, database)
        sql.adapt(tree)
        return Statement(Kind.SCHEMA, (sql.to_sqlite(tree),), (name, *tables))
    if kind != "TABLE":
        raise unsupported(f"CREATE {kind}")
    return _create_table(tree, database)


def _create_table(tree: exp.Create, database: str) -> Statement:
    schema = tree.this
    table = schema.this if isinstance(schema, exp.Schema) else schema
    name = sql.table_name(table, database)
    temporary = "TEMPORARY " if tree.find(exp.TemporaryProperty) else ""
    start = f"CREATE {temporary}TABLE {'IF NOT EXISTS ' if tree.args.get('exists') else ''}{quoted(name)}"
    query = tree.expression
    if isinstance(query, exp.Query):
        inner = sql.qualify(query, database)
        sql.adapt(query)
        return Statement(Kind.SCHEMA, (f"{start} AS {sql.to_sqlite(query)}",), (name, *inner))
    if not isinstance(schema, exp.Schema):
        raise unsupported("CREATE TABLE … LIKE")
    definitions, indexes = _definitions(schema, name)
    step = f"{start} ({', '.join(definitions)})"
    if temporary:  # ends no transaction; its indexes would only make it faster
        return Statement(Kind.WRITE, (step,), (name,))
    return Statement(Kind.SCHEMA, (step, *indexes), (name,))


def _definitions(schema: exp.Schema, table: str) -> tuple[list[str], list[str]]:
    """Columns and constraints inside the parentheses, and the statements that create the indexes."""
    keys = _primary_key(schema)
    counters = {column.name.lower() for column in schema.expressions if _is_counter(column)}
    if counters and keys != list(counters):
        raise unsupported("AUTO_INCREMENT on a column that is not the whole primary key")
    columns = [column for column in schema.expressions if isinstance(column, exp.ColumnDef)]
    lines = [_column(column, column.name.lower() in counters, keys) for column in columns]
    if keys and not counters:
        lines.append(f"PRIMARY KEY ({', '.join(map(quoted, keys))})")
    indexes = []
    for item in schema.expressions:
        if isinstance(item, exp.CheckColumnConstraint):
            lines.append(sql.to_sqlite(item))
        elif not isinstance(item, exp.ColumnDef):
            indexes += list(_index(item, table))
    return lines, indexes


def _constraints(column: exp.Expr) -> list[exp.Expr]:
    return [item.args["kind"] for item in column.args.get("constraints") or []]


def _is_counter(column: exp.Expr) -> bool:
    return any(isinstance(kind, exp.AutoIncrementColumnConstraint) for kind in _constraints(column))


def _primary_key(schema: exp.Schema) -> list[str]:
    for item in schema.expressions:
        inner = item.expressions[0] if isinstance(item, exp.Constraint) and item.expressions else item
        if isinstance(inner, exp.PrimaryKey):
            return [_key_column(part).lower() for part in inner.expressions]
        if any(isinstance(kind, exp.PrimaryKeyColumnConstraint) for kind in _constraints(item)):
            return [item.name.lower()]
    return []


def _key_column(part: exp.Expr) -> str:
    """The column of a key part such as ``name``, ``name(10)`` or ``name DESC``."""
    while isinstance(part.this, exp.Expr) and not isinstance(part, exp.Column | exp.Identifier):
        part = part.this
    return part.name


def _column(column: exp.ColumnDef, counter: bool, keys: list[str]) -> str:
    if counter:
        return f"{quoted(column.name)} INTEGER PRIMARY KEY AUTOINCREMENT"
    declared = declared_type(column.args.get("kind"))
    words = [quoted(column.name), quoted(declared)]
    kinds = _constraints(column)
    words += [text for kind in kinds if (text := _constraint(kind))]
    if column.name.lower() in keys and "NOT NULL" not in words:
        words.append("NOT NULL")
    if declared.split("(")[0].split(" ")[0] in _STRINGS and not _is_binary_collation(kinds):
        words.append("COLLATE NOCASE")  # MySQL's default collations ignore case
    return " ".join(words)


def _is_binary_collation(kinds: list[exp.Expr]) -> bool:
    names = [kind.this.name.lower() for kind in kinds if isinstance(kind, exp.CollateColumnConstraint)]
    return any(name.endswith(("_bin", "_cs")) or name == "binary" for name in names)


def declared_type(kind: exp.Expr | None) -> str:
    """MySQL's name of a type, with the mark that keeps SQLite from storing text as numbers."""
    text = kind.sql(dialect="mysql").lower().replace(", ", ",") if kind else "text"
    base, parenthesis, rest = text.partition("(")
    base = _TYPES.get(base, base)
    unsigned = base.startswith("u") and base[1:] in ("int", "bigint", "smallint", "tinyint", "mediumint")
    text = (base[1:] if unsigned else base) + parenthesis + rest + (" unsigned" if unsigned else "")
    return text + (TEXT_AFFINITY if base.split(" ")[0] in _KEEP_AS_TEXT else "")


def _constraint(kind: exp.Expr) -> str:
    if isinstance(kind, exp.NotNullColumnConstraint):
        return "" if kind.args.get("allow_null") else "NOT NULL"
    if isinstance(kind, exp.UniqueColumnConstraint):
        return "UNIQUE"
    if isinstance(kind, exp.DefaultColumnConstraint):
        holder = exp.Paren(this=kind.this.copy())
        sql.adapt(holder)
        return f"DEFAULT {sql.to_sqlite(holder)}"
    if isinstance(kind, exp.CheckColumnConstraint):
        return sql.to_sqlite(kind)
    if isinstance(kind, exp.GeneratedAsIdentityColumnConstraint | exp.ComputedColumnConstraint):
        raise unsupported("generated columns")
    return ""  # comments, character sets, ON UPDATE


def _index(item: exp.Expr, table: str) -> Iterator[str]:
    """CREATE INDEX for a key inside CREATE TABLE; nothing for primary, foreign and fulltext keys."""
    inner = item.expressions[0] if isinstance(item, exp.Constraint) and item.expressions else item
    if isinstance(inner, exp.UniqueColumnConstraint):
        schema = inner.this
        parts = schema.expressions if isinstance(schema, exp.Schema) else [schema]
        name = item.name or (schema.name if isinstance(schema, exp.Schema) else "")
        yield _index_sql(table, name, [_key_column(part) for part in parts], unique=True)
    elif isinstance(inner, exp.IndexColumnConstraint) and not inner.args.get("kind"):
        yield _index_sql(table, inner.name, [_key_column(part) for part in inner.expressions], unique=False)


def _index_sql(table: str, name: str, columns: list[str], *, unique: bool) -> str:
    index = f"{table}.{name or columns[0]}"
    word = "UNIQUE INDEX" if unique else "INDEX"
    return f"CREATE {word} IF NOT EXISTS {quoted(index)} ON {quoted(table)} ({', '.join(map(quoted, columns))})"


def _create_index(tree: exp.Create, database: str) -> Statement:
    index = tree.this
    target = index.args.get("table")
    if not isinstance(target, exp.Table):
        raise syntax_error(tree.sql(dialect="mysql"))
    table = sql.table_name(target, database)
    parameters = index.args.get("params")
    columns = [_key_column(part) for part in parameters.args.get("columns") or []] if parameters else []
    step = _index_sql(table, index.name, columns, unique=bool(tree.args.get("unique")))
    return Statement(Kind.SCHEMA, (step.replace("IF NOT EXISTS ", ""),), (table,))


def _drop(tree: exp.Drop, database: str) -> Statement:
    kind = str(tree.args.get("kind") or "").upper()
    exists = "IF EXISTS " if tree.args.get("exists") else ""
    targets = dropped(tree)
    if kind in ("TABLE", "VIEW"):
        tables = tuple(sql.table_name(table, database) for table in targets if isinstance(table, exp.Table))
        return Statement(Kind.SCHEMA, tuple(f"DROP {kind} {exists}{quoted(name)}" for name in tables), tables)
    place = tree.args.get("cluster")
    if kind == "INDEX" and place is not None and isinstance(place.this, exp.Table):
        table = sql.table_name(place.this, database)
        return Statement(Kind.SCHEMA, (f"DROP INDEX {exists}{quoted(f'{table}.{targets[0].name}')}",), (table,))
    raise unsupported(f"DROP {kind} in this form")


def dropped(tree: exp.Drop) -> list[exp.Expr]:
    """What a DROP names; sqlglot has changed where it keeps that."""
    return list(tree.args.get("tables") or [part for part in (tree.this, *tree.expressions) if part])


def _alter(tree: exp.Alter, database: str) -> Statement:
    if str(tree.args.get("kind") or "").upper() != "TABLE" or not isinstance(tree.this, exp.Table):
        raise unsupported("ALTER of anything but a table")
    table = sql.table_name(tree.this, database)
    change = partial(_change, table, database)
    steps = tuple(step for action in tree.args.get("actions") or [] for step in change(action))
    return Statement(Kind.SCHEMA, steps, (table,))


def _change(table: str, database: str, action: exp.Expr) -> Iterator[str]:
    start = f"ALTER TABLE {quoted(table)}"
    if isinstance(action, exp.ColumnDef):
        yield f"{start} ADD COLUMN {_column(action, False, [])}"
    elif isinstance(action, exp.Drop):
        yield _drop_part(action, table)
    elif isinstance(action, exp.AlterRename) and isinstance(action.this, exp.Table):
        yield f"{start} RENAME TO {quoted(sql.table_name(action.this, database))}"
    elif isinstance(action, exp.RenameColumn):
        yield f"{start} RENAME COLUMN {quoted(action.this.name)} TO {quoted(action.args['to'].name)}"
    elif isinstance(action, exp.AddConstraint):
        for item in action.expressions:
            yield from _index(item, table)
    else:
        raise unsupported(f"ALTER TABLE … {action.sql(dialect='mysql')[:40]}")


def _drop_part(action: exp.Drop, table: str) -> str:
    name = dropped(action)[0].name
    kind = str(action.args.get("kind") or "COLUMN").upper()
    if kind in ("INDEX", "KEY"):
        return f"DROP INDEX {quoted(f'{table}.{name}')}"
    if kind == "COLUMN":
        return f"ALTER TABLE {quoted(table)} DROP COLUMN {quoted(name)}"
    raise unsupported(f"ALTER TABLE … DROP {kind}")
