"""The statements of data/sql by name, and how they are run."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from data.warehouse import Connection


def row_of(connection: Connection, statement: str, **params: Any) -> dict[str, Any]:
    """The first row of what a statement gives, by the names of its columns."""
    row: dict[str, Any] = connection.sql(statement, params=params or None).to_arrow_table().to_pylist()[0]
    return row


def count_of(connection: Connection, statement: str, **params: Any) -> int:
    """The number that is the first column of that row."""
    return int(next(iter(row_of(connection, statement, **params).values())))


def run_statements(connection: Connection, statements: str, params: Mapping[str, Any]) -> None:
    """Run several statements, each with those of the `params` that it names."""
    for statement in connection.extract_statements(statements):
        connection.execute(statement, {name: params[name] for name in statement.named_parameters})


def sql(name: str) -> str:
    """The statements of a file in data/sql."""
    return (resources.files("data") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
