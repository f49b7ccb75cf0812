"""Which ingesters there are, and which of them have a session of their own at the broker."""

from datetime import timedelta
from uuid import UUID

from db.pool import Pool

# The subselect sees the row as it was.
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


async def hold(pool: Pool, client_id: str, group: str | None, holder: UUID) -> UUID | None:
    """Say that a session is ours, and that we are alive. Returns who held it before."""
    before: UUID | None = await pool.fetchval(_HOLD, client_id, group, holder)
    return before


async def join(pool: Pool, client_id: str, group: str, holder: UUID, sessions: int) -> UUID | None:
    """Say that we are a member of the group, which is to have so many sessions, and alive. Returns
    who went by this name before."""
    before: UUID | None = await pool.fetchval(_JOIN, client_id, group, holder, sessions)
    return before


async def leave(pool: Pool, client_id: str, holder: UUID) -> None:
    """Be no member any more, unless another goes by our name by now."""
    await pool.execute(_LEAVE, client_id, holder)


async def forget(pool: Pool, group: str, *, gone_after: timedelta) -> None:
    """Forget members that were not seen for so long and left no session of their own."""
    await pool.execute(_FORGET, group, gone_after)


async def inherit(pool: Pool, group: str, holder: UUID, *, gone_after: timedelta) -> str | None:
    """Take the session of a member of the group that was not seen for so long, if there is one."""
    client_id: str | None = await pool.fetchval(_INHERIT, group, holder, gone_after)
    return client_id


async def still_hold(pool: Pool, client_id: str, holder: UUID) -> bool:
    """Say that we are still at it; False when somebody else is by now."""
    return bool(await pool.fetchval(_STILL_HOLD, client_id, holder))


async def release(pool: Pool, client_id: str, holder: UUID) -> None:
    """Forget a session, unless it is somebody else's by now."""
    await pool.execute(_RELEASE, client_id, holder)
