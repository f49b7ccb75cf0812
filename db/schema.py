"""Revisions of the schema: the current one, the one that this code needs, and the migration."""

from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from core.settings import DatabaseSettings
from db import roles
from db.errors import UnknownRevision
from db.locks import AdvisoryLock
from db.migrations import functions
from db.migrations.sql import run_file
from db.pool import Connection

_LOCK_MIGRATION = "SELECT pg_advisory_xact_lock(:lock)"

_APPLY_RETENTION = "SELECT apply_retention(:retention_raw, :late_horizon)"
_RETENTION = {"retention_raw", "late_horizon"}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("db") / "migrations"))
    return config


def revisions() -> list[str]:
    """Return all revisions, oldest first."""
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    return [script.revision for script in scripts][::-1]


def newest_revision() -> str:
    """Return the revision that this code needs."""
    return revisions()[-1]


def check_is_known(revision: str | None) -> None:
    """Raise UnknownRevision if a database at this revision can't be upgraded."""
    if revision is not None and revision not in revisions():
        raise UnknownRevision(revision, newest_revision())


async def current_revision(conn: Connection) -> str | None:
    """Return the revision of a database, or None if it was never migrated."""
    if await conn.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    return str(await conn.fetchval("SELECT version_num FROM alembic_version"))


async def migrate(
    settings: DatabaseSettings, passwords: Mapping[str, str] = MappingProxyType({})
) -> tuple[str | None, str]:
    """Bring the schema, the roles and the retention of raw data up to date, all or nothing.

    `passwords` are those of roles that sign in by themselves. Several hosts may migrate at once.
    Returns the revisions before and after. Raises UnknownRevision and RolesRefused.
    """
    url = "postgresql+asyncpg" + settings.database_url.removeprefix(
        settings.database_url.split("://")[0]
    )
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as conn:
            before = await conn.run_sync(upgrade)
            driver_connection = (await conn.get_raw_connection()).driver_connection
            assert driver_connection is not None
            await roles.apply(driver_connection, passwords)
            await conn.execute(text(_APPLY_RETENTION), settings.model_dump(include=_RETENTION))
            return before, newest_revision()
    finally:
        await engine.dispose()


def upgrade(conn: SyncConnection, revision: str = "head") -> str | None:
    """Upgrade the schema alone. Return its revision before.

    Functions belong to the newest revision: an earlier one has those of its columns alone.
    """
    conn.execute(text(_LOCK_MIGRATION), {"lock": AdvisoryLock.MIGRATION})
    before = MigrationContext.configure(conn).get_current_revision()
    check_is_known(before)
    config = _config()
    config.attributes["connection"] = conn
    alembic.command.upgrade(config, revision)
    if before != newest_revision() and revision in ("head", newest_revision()):
        for name in functions.ALL:
            run_file(conn, f"functions/{name}.sql")
    return before
