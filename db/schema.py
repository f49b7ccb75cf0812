"""The schema's version: bring it up to date, or tell what it is."""

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
from db.locks import AdvisoryLock
from db.pool import Connection

_LOCK_MIGRATION = "SELECT pg_advisory_xact_lock(:lock)"
_APPLY_RETENTION = "SELECT apply_retention(:retention_raw, :late_horizon)"
_RETENTION = {"retention_raw", "late_horizon"}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("db") / "migrations"))
    return config


def newest_revision() -> str:
    """The revision that this code expects."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


async def current_revision(conn: Connection) -> str | None:
    """The revision that the database is at; None when it was never migrated."""
    if await conn.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    return str(await conn.fetchval("SELECT version_num FROM alembic_version"))


async def migrate(
    settings: DatabaseSettings, passwords: Mapping[str, str] = MappingProxyType({})
) -> tuple[str | None, str]:
    """Bring the schema, the roles and how long raw data are kept up to date, all or nothing.

    `passwords` of roles that sign in by themselves. Safe to run at once from several hosts.
    Returns the revisions before and after.
    """
    url = "postgresql+asyncpg" + settings.database_url.removeprefix(
        settings.database_url.split("://")[0]
    )
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as conn:
            revisions = await conn.run_sync(_upgrade)
            driver_connection = (await conn.get_raw_connection()).driver_connection
            assert driver_connection is not None
            await roles.apply(driver_connection, passwords)
            await conn.execute(text(_APPLY_RETENTION), settings.model_dump(include=_RETENTION))
            return revisions
    finally:
        await engine.dispose()


def _upgrade(conn: SyncConnection) -> tuple[str | None, str]:
    conn.execute(text(_LOCK_MIGRATION), {"lock": AdvisoryLock.MIGRATION})
    before = MigrationContext.configure(conn).get_current_revision()
    config = _config()
    config.attributes["connection"] = conn
    alembic.command.upgrade(config, "head")
    return before, newest_revision()
