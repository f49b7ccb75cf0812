"""Databases for tests, cloned from a template that is migrated once per run."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from core.settings import DatabaseSettings
from db import schema
from solarhub import embedded
from solarhub.embedded import EmbeddedServer
from tests.support.directories import MEMORY

OWN_SERVER = "SOLARHUB_TEST_DATABASE_URL"
OWN_PROGRAMS = "SOLARHUB_TEST_POSTGRES"

# Each database with TimescaleDB takes a worker for its scheduler, and more for its jobs.
_WITH_TIMESCALEDB = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timescaledb.max_background_workers": "40",
    "max_worker_processes": "64",
    "max_locks_per_transaction": "256",
}

# The run's server has no replica and is deleted afterwards. Each test copies and drops a database.
_DISPOSABLE = {"wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "256MB"}

_END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = $1 AND pid <> pg_backend_pid()
"""


def postgres(
    directory: Path, *, durable: bool = True, settings: Mapping[str, str] = MappingProxyType({})
) -> AbstractContextManager[EmbeddedServer]:
    """Run PostgreSQL for one test, from the wheel or from the user's programs with TimescaleDB."""
    if OWN_PROGRAMS in os.environ:
        return embedded.postgres(
            directory,
            durable=durable,
            programs=programs(),
            settings={**_WITH_TIMESCALEDB, **settings},
        )
    return embedded.postgres(directory, durable=durable, settings=settings)


def programs() -> Path:
    """Return the directory of such a PostgreSQL's programs."""
    own = os.environ.get(OWN_PROGRAMS)
    return Path(own) if own else embedded.postgres_programs()


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """Yield the URL of the user's server, or of one that runs as long as the tests."""
    if url := os.environ.get(OWN_SERVER):
        yield url
        return
    with postgres(directory, durable=False, settings=_DISPOSABLE) as running:
        yield running.url


@contextmanager
def template(server_url: str) -> Iterator[str]:
    """Yield the name of a migrated database to clone."""
    name = f"solarhub_template_{uuid4().hex[:12]}"
    asyncio.run(_make_template(server_url, name))
    try:
        yield name
    finally:
        asyncio.run(_drop(server_url, name))


@asynccontextmanager
async def clone(server_url: str, template_name: str | None = None) -> AsyncIterator[str]:
    """Yield the URL of a new database: a clone of the template, or an empty one."""
    name = f"solarhub_test_{uuid4().hex[:12]}"
    source = f'TEMPLATE "{template_name}" {_strategy(server_url)}' if template_name else ""
    await _execute(server_url, f'CREATE DATABASE "{name}" {source}')
    try:
        yield url_of(server_url, name)
    finally:
        await _drop(server_url, name)


def _strategy(server_url: str) -> str:
    """Copy files where the server's are in memory: half the work of copying pages by its log."""
    return "STRATEGY file_copy" if f"host={MEMORY}" in server_url else ""


async def create(server_url: str, name: str) -> None:
    """Create an empty database, which is deleted with its server."""
    await _execute(server_url, f'CREATE DATABASE "{name}"')


def url_of(server_url: str, database: str) -> str:
    """Return the URL of another database on the same server."""
    before, after = server_url.split("://", 1)
    authority = urlsplit(server_url).netloc
    query = urlsplit(server_url).query
    assert after.startswith(authority)
    return f"{before}://{authority}/{database}" + (f"?{query}" if query else "")


async def _make_template(server_url: str, name: str) -> None:
    await _execute(server_url, f'CREATE DATABASE "{name}"')
    await schema.migrate(DatabaseSettings(database_url=url_of(server_url, name)))
    # The scheduler of TimescaleDB connects to the database, and would reconnect.
    await _execute(server_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    conn = await asyncpg.connect(server_url)
    try:
        await conn.execute(_END_OTHERS, name)
    finally:
        await conn.close()


async def _drop(server_url: str, name: str) -> None:
    await _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _execute(server_url: str, statement: str) -> None:
    conn = await asyncpg.connect(server_url)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()
