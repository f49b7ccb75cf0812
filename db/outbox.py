"""The outbox: events, written in the transaction of their change, read and deleted by the relay."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.events import Event
from db import locks
from db.locks import AdvisoryLock
from db.pool import Connection

_ADD = "INSERT INTO outbox (type, channels, data) VALUES ($1, $2, $3)"

# Not SKIP LOCKED: a transaction that holds older rows must end first, or the events of a listing
# could be published out of order.
_LOCK_BATCH = """
SELECT id, channels, created_at,
       '{"type":' || to_json(type)::text || ',"time":"' || rfc3339(created_at)
       || '","data":' || data::text || '}'
       AS event_json
  FROM outbox ORDER BY id LIMIT $1 FOR UPDATE
"""

_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"

# Only the newest stay: administrators inspect them, and they are not published any more.
_SET_ASIDE = """
WITH removed AS (
    DELETE FROM outbox WHERE id = ANY($1::bigint[]) RETURNING id, type, channels, data, created_at
), old AS (
    DELETE FROM failed_items WHERE id IN (
           SELECT id FROM failed_items WHERE queue = 'events'
            ORDER BY set_aside_at DESC OFFSET $4)
)
INSERT INTO failed_items (queue, item, error, tries, data, failed_at, set_aside_at)
SELECT 'events', id, $2, $3,
       jsonb_build_object('type', type, 'channels', channels, 'data', data,
                          'time', rfc3339(created_at)),
       clock_timestamp(), clock_timestamp()
  FROM removed ORDER BY id
"""
_SET_ASIDE_KEPT = 10_000

_BACKLOG = """
SELECT count(*) AS depth,
       coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS age_s
  FROM outbox
"""

# A relay that hangs, or whose host failed, holds the lock until the server ends its connection:
# within 2 seconds. A live relay sends several statements per second, except for up to 1 s while it
# waits for Redis. While it waits for Redis to publish a batch, it is in a transaction.
_SET_SHORT_TIMEOUTS = """
SELECT set_config('tcp_keepalives_idle', '1', false),
       set_config('tcp_keepalives_interval', '1', false),
       set_config('tcp_keepalives_count', '1', false),
       set_config('tcp_user_timeout', '2000', false),
       set_config('idle_session_timeout', '1500', false),
       set_config('idle_in_transaction_session_timeout', '5000', false)
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """A committed event that waits to be published, as the JSON that clients receive."""

    id: int
    channels: tuple[str, ...]
    created_at: datetime
    event_json: str


@dataclass(frozen=True, slots=True)
class Backlog:
    depth: int
    age_s: float


async def add(conn: Connection, events: Sequence[Event]) -> None:
    await conn.executemany(_ADD, [(e.type, list(e.channels), e.data) for e in events])


async def lock_batch(conn: Connection, size: int) -> list[Pending]:
    """Return the oldest `size` events in id order, locked until commit.

    A transaction locks its row before it writes an event. So the event ids of one listing, wallet
    or device are in the order of their commits; ids of different ones are not.
    """
    rows = await conn.fetch(_LOCK_BATCH, size)
    return [Pending(r["id"], tuple(r["channels"]), r["created_at"], r["event_json"]) for r in rows]


async def delete(conn: Connection, ids: Sequence[int]) -> None:
    await conn.execute(_DELETE, ids)


async def set_aside(conn: Connection, ids: Collection[int], error: str, *, tries: int) -> None:
    """Move locked events from the queue to the failed items, for administrators."""
    await conn.execute(_SET_ASIDE, list(ids), error, tries, _SET_ASIDE_KEPT)


async def backlog(conn: Connection) -> Backlog:
    row = await conn.fetchrow(_BACKLOG)
    assert row is not None
    return Backlog(row["depth"], row["age_s"])


async def set_short_timeouts(conn: Connection) -> None:
    """Let the server end this connection and release its locks if the relay does not respond."""
    await conn.execute(_SET_SHORT_TIMEOUTS)


async def try_sleep(conn: Connection) -> bool:
    """Make later commits send a notification.

    False: a transaction that will not send one is still open, so poll again soon. After True, read
    the outbox once before waiting.
    """
    return await locks.try_lock(conn, AdvisoryLock.RELAY_SLEEP)


async def wake_up(conn: Connection) -> None:
    """Stop the notifications: the relay reads the outbox by itself again."""
    await locks.unlock(conn, AdvisoryLock.RELAY_SLEEP)


async def listen(conn: Connection, wake: Callable[[], Any]) -> None:
    """Call `wake` when an event was committed while the relay slept."""
    await conn.add_listener("outbox", lambda *_: wake())
