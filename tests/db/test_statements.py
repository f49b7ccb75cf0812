"""Every statement that the code holds fits the schema."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import asyncpg

import db
from db.pool import Connection

_STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s")
_NAMED_PARAMETER = re.compile(r"(?<!:):(\w+)")


def statements() -> Iterator[tuple[str, str]]:
    """Constants of the modules of db that look like SQL."""
    for module in pkgutil.iter_modules(db.__path__, "db."):
        if module.ispkg:
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.startswith("_") and isinstance(value, str) and _STATEMENT.match(value):
                yield f"{module.name}.{name}", value


def numbered(statement: str) -> str:
    """SQLAlchemy names its parameters; PostgreSQL numbers them."""
    numbers: dict[str, int] = {}
    return _NAMED_PARAMETER.sub(
        lambda match: f"${numbers.setdefault(match[1], len(numbers) + 1)}", statement
    )


async def test_every_statement_fits_the_schema(conn: Connection) -> None:
    found = dict(statements())
    assert len(found) > 50
    misfits = {}
    for name, statement in found.items():
        try:
            await conn.prepare(numbered(statement))
        except asyncpg.PostgresError as error:
            misfits[name] = str(error)
    assert misfits == {}
