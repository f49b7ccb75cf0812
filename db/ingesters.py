"""Which ingesters there are, by the sessions that the broker keeps for them."""

from datetime import timedelta
from uuid import UUID

from db.pool import Pool

# The subselect sees the row as it was.
_HOLD = """
INSERT INTO ingesters (client_id, ingest_group, holder) VALUES ($1, $2, $3)
    ON CONFLICT (client_id) DO UPDATE
   SET ingest_group = excluded.ingest_group, holder = excluded.holder, seen_at = now()
RETURNING (SELECT holder FROM ingesters WHERE client_id = $1)
"""

_INHERIT = """
UPDATE ingesters SET holder = $2, seen_at = now()
 WHERE client_id = (SELECT client_id FROM ingesters
                     WHERE ingest_group = $1 AND seen_at < now() - $3::interval
                     ORDER BY seen_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING client_id
"""

_STILL_HOLD = """
UPDATE ingesters SET seen_at = now() WHERE client_id = $1 AND holder = $2 RETURNING true
"""

_RELEASE = "DELETE FROM ingesters WHERE client_id = $1 AND holder = $2"


async def hold(pool: Pool, client_id: str, group: str | None, holder: UUID) -> UUID | None:
    """Say that a session is ours, and that we are alive. Returns who held it before."""
    before: UUID | None = await pool.fetchval(_HOLD, client_id, group, holder)
    return before


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
