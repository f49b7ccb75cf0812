"""Every statement in the code can be prepared against the schema."""

import asyncpg

from db.pool import Connection
from tests.support import statements


async def test_every_statement_fits_the_schema(conn: Connection) -> None:
    found = dict(statements.every())
    assert len(found) > 50
    misfits = {}
    for name, statement in found.items():
        try:
            await conn.prepare(statements.numbered(statement))
        except asyncpg.PostgresError as error:
            misfits[name] = str(error)
    assert misfits == {}
