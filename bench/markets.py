"""Markets of any size, as dense as each other: filled once a run, for all cases that want one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench import seed
from bench.database import BenchDatabaseServer, connected
from core.settings import DatabaseSettings
from db import schema

HOSTS = 500
# Ten thousand listings to a degree of longitude, around this one.
_MIDDLE_EAST, _PER_DEGREE = 77.6, 10_000


def meridians(size: int) -> tuple[float, float]:
    """Between which a market of so many listings lies."""
    half = size / _PER_DEGREE / 2
    return _MIDDLE_EAST - half, _MIDDLE_EAST + half


@asynccontextmanager
async def offers(server: BenchDatabaseServer, size: int) -> AsyncIterator[DatabaseSettings]:
    """A hub's database with so many active listings."""
    west, east = meridians(size)

    async def fill(settings: DatabaseSettings) -> None:
        await schema.migrate(settings)
        async with connected(settings) as conn:
            await seed.offers(conn, hosts=HOSTS, listings=size, west=west, east=east)
            await conn.execute("VACUUM ANALYZE")

    async with server.copy_of(f"hub, {size}", fill) as settings:
        yield settings
