"""The clock of a database: what the SQL functions `hub_now` and `hub_clock_timestamp` show.

A database shows the real time unless `set_clock` gave it another clock, which PostgreSQL allows to
superusers only. `solarhub up` does so for the database of its own embedded server.
"""

from datetime import datetime

from core.clock import REAL_TIME, Clock
from db.pool import Connection

_CURRENT = "SELECT current_setting('solarhub.clock', true)"

# ALTER DATABASE takes no parameters.
_SET = "SELECT format('ALTER DATABASE %I SET solarhub.clock = %L', current_database(), $1::text)"

_LATEST = """
SELECT greatest((SELECT max(last_seen_at) FROM device_states),
                (SELECT max(created_at) FROM energy_transactions),
                (SELECT max(updated_at) FROM energy_listings),
                (SELECT max(created_at) FROM users))
"""


async def set_clock(conn: Connection, clock: Clock) -> None:
    """Set the clock of the connected database for all later connections."""
    text = "" if clock == REAL_TIME else str(clock)
    if (await conn.fetchval(_CURRENT) or "") != text:
        await conn.execute(await conn.fetchval(_SET, text))


async def latest(conn: Connection) -> datetime | None:
    """Return the time of the last change by anybody, before which no clock may start again."""
    at: datetime | None = await conn.fetchval(_LATEST)
    return at
