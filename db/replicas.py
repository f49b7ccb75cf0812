"""Positions in the write-ahead log: written by a primary, replayed by a replica."""

from dataclasses import dataclass

from db.pool import Connection

# Every visible row is below this position: a commit is flushed before it becomes visible.
_WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"

_REPLAYED = """
SELECT CASE WHEN pg_is_in_recovery()
            THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END
"""

_IDENTITY = "SELECT system_identifier, current_database() AS database FROM pg_control_system()"

_PROCESS = "SELECT pg_postmaster_start_time() AS started_at"


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """The identity of a database: a replica has the same as its primary."""

    system_identifier: int
    database: str


async def written(conn: Connection) -> int:
    """Return the position up to which a primary has written its log, in bytes."""
    position: int = await conn.fetchval(_WRITTEN)
    return position


async def replayed(conn: Connection) -> int | None:
    """Return the position up to which a replica has replayed the log; None: it is no replica."""
    position: int | None = await conn.fetchval(_REPLAYED)
    return position


async def identity(conn: Connection) -> DatabaseIdentity:
    """Return the identity of the connected database."""
    row = await conn.fetchrow(_IDENTITY)
    assert row is not None
    return DatabaseIdentity(row["system_identifier"], row["database"])


async def process(conn: Connection) -> object:
    """Return a value that differs between running servers, and after each restart."""
    return await conn.fetchval(_PROCESS)
