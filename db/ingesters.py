"""Ingesters: their heartbeats, and their own sessions at the broker."""

from datetime import timedelta
from uuid import UUID

from db.pool import Connection

# The subselect sees the row from before the statement.
_HOLD = """
INSERT INTO ingesters (client_id, ingest_group, holder) VALUES ($1, $2, $3)
    ON CONFLICT (client_id) DO UPDATE
   SET ingest_group = excluded.ingest_group, holder = excluded.holder, seen_at = now(),
       keeps_session = true, sessions = NULL
RETURNING (SELECT holder FROM ingesters WHERE client_id = $1)
"""

_JOIN = """
INSERT INTO ingesters (client_id, ingest_group, holder, sessions, keeps_session)
VALUES ($1, $2, $3, $4, false)
    ON CONFLICT (client_id) DO UPDATE
   SET ingest_group = excluded.ingest_group, holder = excluded.holder, seen_at = now(),
       sessions = excluded.sessions
RETURNING (SELECT holder FROM ingesters WHERE client_id = $1)
"""

_INHERIT = """
UPDATE ingesters SET holder = $2, seen_at = now()
 WHERE client_id = (SELECT client_id FROM ingesters
                     WHERE ingest_group = $1 AND seen_at < now() - $3::interval
                       AND keeps_session
                     ORDER BY seen_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING client_id
"""

_STILL_HOLD = """
UPDATE ingesters SET seen_at = now() WHERE client_id = $1 AND holder = $2 RETURNING true
"""

_RELEASE = "DELETE FROM ingesters WHERE client_id = $1 AND holder = $2"

_LEAVE = "DELETE FROM ingesters WHERE client_id = $1 AND holder = $2 AND NOT keeps_session"

_FORGET = """
DELETE FROM ingesters
 WHERE ingest_group = $1 AND NOT keeps_session AND seen_at < now() - $2::interval
"""


async def hold(conn: Connection, client_id: str, group: str | None, holder: UUID) -> UUID | None:
    """Record the holder of a session and its heartbeat. Return the holder before it."""
    before: UUID | None = await conn.fetchval(_HOLD, client_id, group, holder)
    return before


async def join(
    conn: Connection, client_id: str, group: str, holder: UUID, sessions: int
) -> UUID | None:
    """Record a member of a group and its heartbeat. Return the process that had its id before.

    `sessions`: the number of sessions that the group is to have.
    """
    before: UUID | None = await conn.fetchval(_JOIN, client_id, group, holder, sessions)
    return before


async def leave(conn: Connection, client_id: str, holder: UUID) -> None:
    """Remove a member, unless another process has its id by now."""
    await conn.execute(_LEAVE, client_id, holder)


async def forget(conn: Connection, group: str, *, gone_after: timedelta) -> None:
    """Delete members that were not seen for that long and have no session of their own."""
    await conn.execute(_FORGET, group, gone_after)


async def inherit(
    conn: Connection, group: str, holder: UUID, *, gone_after: timedelta
) -> str | None:
    """Claim the session of a member that was not seen for that long, if there is one."""
    client_id: str | None = await conn.fetchval(_INHERIT, group, holder, gone_after)
    return client_id


async def still_hold(conn: Connection, client_id: str, holder: UUID) -> bool:
    """Record a heartbeat of a session's holder. False: it has another holder by now."""
    return bool(await conn.fetchval(_STILL_HOLD, client_id, holder))


async def release(conn: Connection, client_id: str, holder: UUID) -> None:
    """Delete a session, unless it has another holder by now."""
    await conn.execute(_RELEASE, client_id, holder)
