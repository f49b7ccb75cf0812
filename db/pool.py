"""Connections and pools: their codecs, timeouts and settings."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from msgspec.json import decode, encode

from core.settings import DatabaseSettings

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Record: TypeAlias = asyncpg.Record
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection | PoolConnectionProxy
    Record = asyncpg.Record

_IDLE_CONNECTION_LIFETIME_S = 300.0


def _compact(value: Any) -> str:
    return encode(value).decode()


async def _set_codecs(conn: Connection) -> None:
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=_compact, decoder=decode)


async def _skip_reset(_: Connection) -> None:
    """Reset nothing at release: no code changes a session, so a reset would waste a round trip."""


@asynccontextmanager
async def open_pool(
    settings: DatabaseSettings,
    *,
    application_name: str,
    role: str | None = None,
    max_size: int | None = None,
    plan_once: bool = False,
    greet: Callable[[Connection], Awaitable[None]] | None = None,
) -> AsyncIterator[Pool]:
    """Open a pool that connects at its first use, so that a process may start before its database.

    `role`: the role of its connections, whichever user they sign in as (`db.roles`).
    `plan_once`: for statements whose best plan is the same for all parameters. Otherwise PostgreSQL
    plans some of them for every call, since the values of a call let it expect fewer rows.
    `greet` checks each new connection, and raises to refuse it.
    """
    timeout_s = settings.database_statement_timeout.total_seconds()
    server_settings = _server_settings(application_name, role, timeout_s)
    if plan_once:
        server_settings["plan_cache_mode"] = "force_generic_plan"

    async def prepare(conn: Connection) -> None:
        await _set_codecs(conn)
        if greet is not None:
            await greet(conn)

    async with asyncpg.create_pool(
        settings.database_url,
        min_size=0,
        max_size=max_size or settings.database_pool_max,
        max_inactive_connection_lifetime=_IDLE_CONNECTION_LIFETIME_S,
        timeout=settings.database_connect_timeout.total_seconds(),
        command_timeout=timeout_s + 1,
        init=prepare,
        reset=_skip_reset,
        server_settings=server_settings,
    ) as pool:
        yield pool


def affected(tag: str) -> int:
    """Return the number of rows that a statement changed, from its tag such as `DELETE 7`."""
    return int(tag.rpartition(" ")[2])


@asynccontextmanager
async def open_connection(
    settings: DatabaseSettings,
    *,
    application_name: str,
    role: str | None = None,
    has_timeout: bool = False,
) -> AsyncIterator[Connection]:
    """Open a connection outside any pool, for work that is long or listens.

    `has_timeout`: `database_statement_timeout` limits each statement. Raises what asyncpg raises
    when it can't connect.
    """
    timeout_s = settings.database_statement_timeout.total_seconds() if has_timeout else 0
    conn = await asyncpg.connect(
        settings.database_url,
        timeout=settings.database_connect_timeout.total_seconds(),
        server_settings=_server_settings(application_name, role, timeout_s),
    )
    try:
        await _set_codecs(conn)
        yield conn
    finally:
        await conn.close(timeout=2)


def _server_settings(
    application_name: str, role: str | None, statement_timeout_s: float
) -> dict[str, str]:
    return {
        **({"role": role} if role else {}),
        "application_name": f"solarhub-{application_name}",
        "timezone": "UTC",
        "statement_timeout": str(round(statement_timeout_s * 1000)),
        "jit": "off",
    }
