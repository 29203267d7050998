"""Many rows in one statement, on both databases.

A statement's price is mostly its own: five hundred rows cost little more than one if they travel together. To
PostgreSQL new rows travel by COPY, and others as one JSON text, which both ends write and read in native code (a
driver's arrays are made in Python). What SQLite writes, in the same process, goes row by row.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import BigInteger, Boolean, Column, Connection, Float, Integer, LargeBinary, Row, String, Table

from contracts.codec import encode

OnConflict = Literal["fail", "keep", "replace"]
"""Where a row's primary key is taken: fail, leave what is there, or replace the other columns."""

_TYPES = {  # PostgreSQL's type of a column; subclasses stand before their bases
    BigInteger: "bigint",
    Integer: "integer",
    Boolean: "boolean",
    Float: "double precision",
    LargeBinary: "text",  # base64, as bytes are written in JSON
    String: "text",
}
_COPY = "COPY "
_NULL = "\\N"  # in COPY's text format
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def insert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    on_conflict: OnConflict = "fail",
    added: tuple[str, ...] = (),
) -> None:
    """Insert rows, all of the same columns; floats must be finite.

    Rows of one table should be sorted by key: index pages are then touched in order.

    Args:
        added: columns of numbers that "replace" adds to what is there instead.
    """
    if rows:
        columns = tuple(rows[0])
        if on_conflict == "fail" and connection.dialect.name == "postgresql":
            _copy(connection, table, columns, rows)
            return
        _execute(connection, _insert_sql(connection.dialect.name, table, columns, on_conflict, added), columns, rows)


def update_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set the columns of rows that are there, each found by its primary key."""
    if rows:
        key = [column.name for column in table.primary_key.columns]
        columns = (*(name for name in rows[0] if name not in key), *key)
        _execute(connection, _update_sql(connection.dialect.name, table, columns), columns, rows)


def delete_rows(connection: Connection, table: Table, keys: Sequence[Sequence[Any]]) -> None:
    """Delete rows, each found by its primary key of integers or texts."""
    if keys:
        columns = tuple(column.name for column in table.primary_key.columns)
        rows = [dict(zip(columns, key, strict=True)) for key in keys]
        _execute(connection, _delete_sql(connection.dialect.name, table, columns), columns, rows)


def rows_at(connection: Connection, table: Table, columns: Sequence[str], keys: Iterable[Sequence[Any]]) -> list[Row]:
    """All rows in which some columns have one of several values.

    Args:
        columns: of integers or texts, the first ones of an index.
        keys: one value for each of the columns; each key once.
    """
    return _select(connection, table, tuple(columns), (), keys)


def rows_beyond(connection: Connection, table: Table, column: str, keys: Iterable[tuple[int, int]]) -> list[Row]:
    """All rows of some owners whose `column` is greater than a number.

    Args:
        column: of integers, the second one of an index that starts with `owner_id`.
        keys: owner and number, each owner once.
    """
    return _select(connection, table, ("owner_id",), (column,), keys)


def _copy(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """PostgreSQL's COPY in its text format: a line a row, fields between tabs."""
    fields = (_copied(table.columns[name], [row[name] for row in rows]) for name in columns)
    lines = "\n".join(map("\t".join, zip(*fields, strict=True)))
    connection.exec_driver_sql(_copy_sql(table, tuple(columns)), (lines,))


def run_copy(cursor: Any, statement: str, parameters: Any, _: object) -> bool:
    """An engine's hook `do_execute`, as psycopg executes no COPY with data: whether the statement was one."""
    if not statement.startswith(_COPY):
        return False
    with cursor.copy(statement) as copy:
        copy.write(*parameters)
    return True


def _execute(connection: Connection, sql: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(sql, (encode(rows).decode(),))
    else:
        connection.exec_driver_sql(sql, [tuple(row[name] for name in columns) for row in rows])


def _select(
    connection: Connection, table: Table, equal: tuple[str, ...], beyond: tuple[str, ...], keys: Iterable[Sequence[Any]]
) -> list[Row]:
    wanted = list(keys)
    if not wanted:
        return []
    sql = _select_sql(connection.dialect.name, table, equal, beyond)
    return list(connection.exec_driver_sql(sql, (encode(wanted).decode(),)).all())


@lru_cache
def _copy_sql(table: Table, columns: tuple[str, ...]) -> str:
    return f"{_COPY}{_quoted(table.name)} ({_listed(columns)}) FROM STDIN"


@lru_cache
def _insert_sql(
    dialect: str, table: Table, columns: tuple[str, ...], on_conflict: OnConflict, added: tuple[str, ...]
) -> str:
    key = [column.name for column in table.primary_key.columns]
    others = [name for name in columns if name not in key]
    if on_conflict == "replace" and others:
        held = {name: f"{_quoted(table.name)}.{_quoted(name)} + " for name in added}
        replaced = ", ".join(f"{_quoted(name)} = {held.get(name, '')}excluded.{_quoted(name)}" for name in others)
        action = f" ON CONFLICT ({_listed(key)}) DO UPDATE SET {replaced}"
    else:
        action = "" if on_conflict == "fail" else " ON CONFLICT DO NOTHING"
    if dialect == "postgresql":
        values = ", ".join(_value(table.columns[name]) for name in columns)
        rows = f"SELECT {values} FROM {_records(table, columns)}"
    else:
        rows = f"VALUES ({', '.join('?' * len(columns))})"
    return f"INSERT INTO {_quoted(table.name)} ({_listed(columns)}) {rows}{action}"


@lru_cache
def _update_sql(dialect: str, table: Table, columns: tuple[str, ...]) -> str:
    key = [column.name for column in table.primary_key.columns]
    others = [name for name in columns if name not in key]
    name = _quoted(table.name)
    if dialect == "postgresql":
        values = ", ".join(f"{_quoted(each)} = {_value(table.columns[each])}" for each in others)
        same = " AND ".join(f"{name}.{_quoted(each)} = {_value(table.columns[each])}" for each in key)
        return f"UPDATE {name} SET {values} FROM {_records(table, columns)} WHERE {same}"
    values = ", ".join(f"{_quoted(each)} = ?" for each in others)
    return f"UPDATE {name} SET {values} WHERE {' AND '.join(f'{_quoted(each)} = ?' for each in key)}"


@lru_cache
def _delete_sql(dialect: str, table: Table, key: tuple[str, ...]) -> str:
    name = _quoted(table.name)
    if dialect == "postgresql":
        same = " AND ".join(f"{name}.{_quoted(each)} = {_value(table.columns[each])}" for each in key)
        return f"DELETE FROM {name} USING {_records(table, key)} WHERE {same}"
    return f"DELETE FROM {name} WHERE {' AND '.join(f'{_quoted(each)} = ?' for each in key)}"


@lru_cache
def _select_sql(dialect: str, table: Table, equal: tuple[str, ...], beyond: tuple[str, ...]) -> str:
    on = []
    for place, name in enumerate((*equal, *beyond)):
        value = f"(k.value ->> {place})"
        if dialect == "postgresql":
            value += f"::{_type(table.columns[name])}"
        on.append(f"t.{_quoted(name)} {'=' if name in equal else '>'} {value}")
    chosen = ", ".join(f"t.{_quoted(column.name)}" for column in table.columns)
    # CROSS JOIN: SQLite then takes the keys first, and looks each up.
    keys = (
        "json_array_elements(%s::json) AS k(value) JOIN" if dialect == "postgresql" else "json_each(?) AS k CROSS JOIN"
    )
    return f"SELECT {chosen} FROM {keys} {_quoted(table.name)} AS t ON {' AND '.join(on)}"


def _records(table: Table, columns: Sequence[str]) -> str:
    """PostgreSQL's rows `k` out of a JSON array of objects."""
    fields = ", ".join(f"{_quoted(name)} {_type(table.columns[name])}" for name in columns)
    return f"json_to_recordset(%s::json) AS k({fields})"


def _value(column: Column) -> str:
    named = f"k.{_quoted(column.name)}"
    return f"decode({named}, 'base64')" if isinstance(column.type, LargeBinary) else named


def _copied(column: Column, values: Sequence[Any]) -> Iterable[str]:
    """Values of a column as COPY reads them."""
    if isinstance(column.type, LargeBinary):
        return [_NULL if value is None else f"\\\\x{value.hex()}" for value in values]
    if isinstance(column.type, String):  # few different ones, most often
        escaped = {value: _NULL if value is None else value.translate(_ESCAPES) for value in set(values)}
        return map(escaped.__getitem__, values)
    return [_NULL if value is None else str(value) for value in values]  # of booleans too


def _type(column: Column) -> str:
    return next(name for kind, name in _TYPES.items() if isinstance(column.type, kind))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return f'"{name}"'
