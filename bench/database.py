"""Databases for the cases: created, migrated, copied, and dropped at the end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from core.settings import DatabaseSettings
from db import schema
from db.pool import Connection, open_connection
from solarhub import embedded
from solarhub.audit import audit as run_audit

Fill = Callable[[DatabaseSettings], Awaitable[None]]

_END_OTHER_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = $1 AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class BenchDatabaseServer:
    """A PostgreSQL server on which databases are created; `url` names an existing one."""

    url: str
    # Name of the filled database by key, from which copies are made.
    _filled: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def empty_database(self) -> AsyncIterator[DatabaseSettings]:
        name = await self._create()
        try:
            yield self._settings(name)
        finally:
            await self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    @asynccontextmanager
    async def copy_of(self, key: str, fill: Fill) -> AsyncIterator[DatabaseSettings]:
        """Create a copy of a database that `fill` has filled; it is filled once per key."""
        if key not in self._filled:
            self._filled[key] = await self._template(fill)
        name = await self._create(f'TEMPLATE "{self._filled[key]}"')
        try:
            yield self._settings(name)
        finally:
            await self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _template(self, fill: Fill) -> str:
        name = await self._create()
        await fill(self._settings(name))
        # TimescaleDB's scheduler connects to every database, again and again.
        await self._execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await self._execute(_END_OTHER_SESSIONS, name)
        return name

    async def drop_filled(self) -> None:
        """Drop the databases from which copies were made."""
        for name in self._filled.values():
            await self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _create(self, like: str = "") -> str:
        name = f"bench_{uuid4().hex[:12]}"
        await self._execute(f'CREATE DATABASE "{name}" {like}')
        return name

    async def _execute(self, statement: str, *arguments: str) -> None:
        async with connected(DatabaseSettings(database_url=self.url)) as conn:
            await conn.execute(statement, *arguments)

    def _settings(self, name: str) -> DatabaseSettings:
        return DatabaseSettings(database_url=urlsplit(self.url)._replace(path=f"/{name}").geturl())

    async def lasting_hub_database(self) -> DatabaseSettings:
        """Create a migrated database that is not dropped: its server's data are deleted."""
        settings = self._settings(await self._create())
        await schema.migrate(settings)
        return settings

    @asynccontextmanager
    async def hub_database(self) -> AsyncIterator[DatabaseSettings]:
        async with self.empty_database() as settings:
            await schema.migrate(settings)
            yield settings


@asynccontextmanager
async def server(url: str | None, directory: Path) -> AsyncIterator[BenchDatabaseServer]:
    """Use the server at `url`, or else run an embedded one in `directory`, as durable as usual."""
    if url is not None:
        named = BenchDatabaseServer(url)
        try:
            yield named
        finally:
            await named.drop_filled()
        return
    with embedded.postgres(directory / "postgres") as postgres:
        yield BenchDatabaseServer(postgres.url)


@asynccontextmanager
async def connected(settings: DatabaseSettings) -> AsyncIterator[Connection]:
    async with open_connection(settings, application_name="bench") as conn:
        yield conn


async def analyze(conn: Connection) -> None:
    """Update the planner's statistics, as autovacuum would a minute later."""
    await conn.execute("ANALYZE")


async def audit(settings: DatabaseSettings) -> bool:
    """Return whether every check of `solarhub audit` holds."""
    return all([check.ok async for check in run_audit(settings)])


def environment(settings: DatabaseSettings) -> dict[str, str]:
    """Return environment variables for the hub's processes."""
    return {"SOLARHUB_DATABASE_URL": settings.database_url}


def libpq_environment(settings: DatabaseSettings) -> dict[str, str]:
    """Return environment variables for programs that use libpq."""
    url = urlsplit(settings.database_url)
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    variables = {
        "PGHOST": url.hostname or query.get("host"),
        "PGPORT": str(url.port) if url.port else query.get("port"),
        "PGUSER": url.username or query.get("user"),
        "PGPASSWORD": url.password or query.get("password"),
        "PGDATABASE": url.path.removeprefix("/"),
    }
    return {name: value for name, value in variables.items() if value}
