"""How far a server has written, and a replica of it has read along."""

from dataclasses import dataclass

from db.pool import Connection

# Whatever anybody may have seen is flushed: visible comes after durable.
_WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"

_REPLAYED = """
SELECT CASE WHEN pg_is_in_recovery()
            THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END
"""

_DATA = "SELECT system_identifier, current_database() AS database FROM pg_control_system()"

_PROCESS = "SELECT pg_postmaster_start_time() AS started_at"


@dataclass(frozen=True, slots=True)
class Data:
    """Which database of which cluster: a replica's are those of its primary."""

    system_identifier: int
    database: str


async def written(conn: Connection) -> int:
    """The position in its log that a primary has written up to, in bytes."""
    position: int = await conn.fetchval(_WRITTEN)
    return position


async def replayed(conn: Connection) -> int | None:
    """The position up to which a replica shows what was written; None: it is no replica."""
    position: int | None = await conn.fetchval(_REPLAYED)
    return position


async def data(conn: Connection) -> Data:
    row = await conn.fetchrow(_DATA)
    assert row is not None
    return Data(row["system_identifier"], row["database"])


async def process(conn: Connection) -> object:
    """What tells one running server from any other, and from itself once it was restarted."""
    return await conn.fetchval(_PROCESS)
