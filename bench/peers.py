"""Peers: the seed design on Express, its bare statements by pgbench, and Socket.IO."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from bench.database import BenchDatabaseServer, connected, libpq_environment
from bench.options import Options
from bench.processes import BenchError, Served, free_port, listens, output_of, program, running
from bench.result import Sample
from bench.seed import Market
from core.settings import DatabaseSettings
from solarhub import embedded

_PEERS = Path(__file__).parent / "peers"
_EXPRESS, _SOCKETIO = _PEERS / "express", _PEERS / "socketio"
_INSTALL_WITHIN_S = 300
_MARGIN_S = 30

_NUMBER_ROWS = """
CREATE TABLE li AS SELECT row_number() OVER () AS n, id
  FROM (SELECT id FROM energy_listings ORDER BY id LIMIT 2000);
CREATE TABLE bu AS SELECT row_number() OVER () AS n, id
  FROM (SELECT id FROM users WHERE role = 'buyer' ORDER BY id LIMIT 300);
CREATE TABLE se AS SELECT row_number() OVER () AS n, id FROM users WHERE role = 'host';
ALTER TABLE li ADD PRIMARY KEY (n);
ALTER TABLE bu ADD PRIMARY KEY (n);
ALTER TABLE se ADD PRIMARY KEY (n);
ANALYZE;
"""

# The schema inserts ten thousand between 77.1 and 78.1 degrees east; more are added on both sides.
_MORE_LISTINGS = """
INSERT INTO energy_listings (seller_id, latitude, longitude, energy_amount_kwh, price_per_kwh,
                             available_from, available_to)
SELECT (ARRAY(SELECT id FROM users WHERE role = 'host'))[1 + n % 500],
       12.5 + random(), $1::float8 + span + CASE WHEN $1 + span >= 77.1 THEN 1 ELSE 0 END,
       1e6, 5 + random() * 5, now(), now() + interval '1 day'
  FROM (SELECT n, random() * ($2::float8 - $1 - 1) AS span FROM generate_series(1, $3::int) n) AS s
"""
_RANDOM_CREATION_TIMES = (
    "UPDATE energy_listings SET created_at = now() - random() * interval '30 days'"
)
_SEEDED = 10_000

_BUYERS = "SELECT id FROM bu ORDER BY n"
_LISTINGS = "SELECT id FROM li ORDER BY n"


@asynccontextmanager
async def seed_design(
    server: BenchDatabaseServer,
) -> AsyncIterator[tuple[DatabaseSettings, Market]]:
    """Create a database as in the seed document, with its buyers and listings."""
    async with server.empty_database() as settings:
        async with connected(settings) as conn:
            await conn.execute((_EXPRESS / "schema.sql").read_text())
            await conn.execute(_NUMBER_ROWS)
            market = Market(
                buyers=[row["id"] for row in await conn.fetch(_BUYERS)],
                listings=[row["id"] for row in await conn.fetch(_LISTINGS)],
            )
        yield settings, market


@asynccontextmanager
async def seed_listings(
    server: BenchDatabaseServer, *, listings: int, west: float, east: float
) -> AsyncIterator[DatabaseSettings]:
    """Create such a database with listings evenly distributed between two meridians."""

    async def fill(settings: DatabaseSettings) -> None:
        async with connected(settings) as conn:
            await conn.execute((_EXPRESS / "schema.sql").read_text())
            await conn.execute(_MORE_LISTINGS, west, east, listings - _SEEDED)
            await conn.execute(_RANDOM_CREATION_TIMES)
            await conn.execute("VACUUM ANALYZE")

    async with server.copy_of(f"Express, {listings}", fill) as settings:
        yield settings


def has_node() -> bool:
    return shutil.which("node") is not None and shutil.which("npm") is not None


def absent(*peers: str) -> tuple[str, ...]:
    """Return a sentence for each peer that cannot take part."""
    needs = "is not measured against: it needs Node and npm, which are not installed"
    return () if has_node() else tuple(f"{peer} {needs}" for peer in peers)


@asynccontextmanager
async def express(options: Options, database: DatabaseSettings) -> AsyncIterator[Served]:
    """Run the peer on one worker, as the hub's API runs in one process."""
    await _install(_EXPRESS)
    port = free_port()
    env = libpq_environment(database) | {
        "PORT": str(port),
        "WORKERS": "1",
        "JWT_SECRET": options.jwt_secret,
        "NODE_ENV": "production",
    }
    script = str(_EXPRESS / "server.js")
    async with running("express", "node", script, logs=options.work, env=env) as child:
        await child.ready(partial(listens, port))
        yield Served(port, child)


@asynccontextmanager
async def socketio(options: Options, redis_url: str) -> AsyncIterator[Served]:
    """Run the peer of the feed in one process, as the hub does."""
    await _install(_SOCKETIO)
    port = free_port()
    env = {"PORT": str(port), "REDIS_URL": redis_url, "NODE_ENV": "production"}
    script = str(_SOCKETIO / "server.js")
    async with running("socketio", "node", script, logs=options.work, env=env) as child:
        await child.ready(partial(listens, port))
        yield Served(port, child)


async def _install(peer: Path) -> None:
    if not (peer / "node_modules").exists():
        install = (program("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund")
        await output_of(*install, cwd=peer, within_s=_INSTALL_WITHIN_S)


async def pgbench(
    options: Options, database: DatabaseSettings, listings: int, seconds: int
) -> Sample:
    """Run the peer's statements from as many clients, without HTTP and without reading rows."""
    output = await output_of(
        *(str(embedded.postgres_programs() / "pgbench"), "--no-vacuum", "--protocol=prepared"),
        *(f"--client={options.connections}", "--jobs=1", f"--time={seconds}"),
        *(f"--define=listings={listings}", f"--file={_EXPRESS / 'purchase.pgbench'}"),
        env=libpq_environment(database),
        within_s=seconds + _MARGIN_S,
    )
    rate = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    if rate is None:
        raise BenchError(f"pgbench printed no rate: {output}")
    return Sample(float(rate[1]))
