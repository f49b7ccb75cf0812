"""Tests of the benchmarks' databases: created, copied and dropped."""

from bench.database import BenchDatabaseServer, connected
from core.settings import DatabaseSettings
from db.pool import Pool

_DATABASES = "SELECT datname FROM pg_database WHERE datname LIKE 'bench%'"


async def test_a_database_is_filled_once_and_copied_for_each_case(
    database: DatabaseSettings, pool: Pool
) -> None:
    filled = []

    async def fill(settings: DatabaseSettings) -> None:
        filled.append(settings.database_url)
        async with connected(settings) as conn:
            await conn.execute("CREATE TABLE offers AS SELECT 1 AS n")

    server = BenchDatabaseServer(database.database_url)
    async with server.copy_of("a market", fill) as one, connected(one) as conn:
        await conn.execute("INSERT INTO offers VALUES (2)")
    async with server.copy_of("a market", fill) as other, connected(other) as conn:
        assert await conn.fetchval("SELECT sum(n) FROM offers") == 1
    async with server.copy_of("another", fill):
        assert len(filled) == 2
    await server.drop_filled()
    left = {row["datname"] for row in await pool.fetch(_DATABASES)}
    assert not any(url.rsplit("/", 1)[-1].split("?")[0] in left for url in filled)
