"""Events, written in the transaction that they tell of; read and deleted by the relay."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.events import Event
from db import locks
from db.locks import AdvisoryLock
from db.pool import Connection

_ADD = "INSERT INTO outbox (type, channels, data) VALUES ($1, $2, $3)"

# Not SKIP LOCKED: whoever still holds older rows is to finish first, or a listing's events would
# change their order.
_LOCK_BATCH = """
SELECT id, channels, created_at,
       '{"type":' || to_json(type)::text || ',"time":"' || rfc3339(created_at)
       || '","data":' || data::text || '}'
       AS event_json
  FROM outbox ORDER BY id LIMIT $1 FOR UPDATE
"""

_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"

# The newest of them are kept: they are for somebody to look at, not to be published any more.
_SET_ASIDE = """
WITH taken AS (
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
  FROM taken ORDER BY id
"""
_SET_ASIDE_KEPT = 10_000

_BACKLOG = """
SELECT count(*) AS depth,
       coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS age_s
  FROM outbox
"""

# A relay that vanished with its host, or hangs, holds the lock until the server gives it up: within
# 2 seconds. One that lives asks for something several times a second, but for up to 1 s while it
# waits for Redis, and while it waits for Redis to publish a batch it is in a transaction.
_NOTICE_DEATH_SOON = """
SELECT set_config('tcp_keepalives_idle', '1', false),
       set_config('tcp_keepalives_interval', '1', false),
       set_config('tcp_keepalives_count', '1', false),
       set_config('tcp_user_timeout', '2000', false),
       set_config('idle_session_timeout', '1500', false),
       set_config('idle_in_transaction_session_timeout', '5000', false)
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """A committed event that waits to be published; as clients are to read it, but its channel."""

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
    """The oldest `size` events in id order, locked until commit.

    Whatever has a row to lock takes that lock before it writes its event: ids of the events of one
    listing, wallet or device are in the order of their commits. Ids of different ones are not.
    """
    rows = await conn.fetch(_LOCK_BATCH, size)
    return [Pending(r["id"], tuple(r["channels"]), r["created_at"], r["event_json"]) for r in rows]


async def delete(conn: Connection, ids: Sequence[int]) -> None:
    await conn.execute(_DELETE, ids)


async def set_aside(conn: Connection, ids: Collection[int], error: str, *, tries: int) -> None:
    """Take locked events out of the queue, for administrators to see."""
    await conn.execute(_SET_ASIDE, list(ids), error, tries, _SET_ASIDE_KEPT)


async def backlog(conn: Connection) -> Backlog:
    row = await conn.fetchrow(_BACKLOG)
    assert row is not None
    return Backlog(row["depth"], row["age_s"])


async def notice_death_soon(conn: Connection) -> None:
    """Let the server give up this connection, with its locks, soon after nobody is heard there."""
    await conn.execute(_NOTICE_DEATH_SOON)


async def try_sleep(conn: Connection) -> bool:
    """Ask to be told of the next commit. False: someone who found us awake has yet to commit.

    What was committed until then is told of to nobody: look once more before you wait.
    """
    return await locks.try_lock(conn, AdvisoryLock.RELAY_SLEEP)


async def wake_up(conn: Connection) -> None:
    """We look by ourselves again."""
    await locks.unlock(conn, AdvisoryLock.RELAY_SLEEP)


async def listen(conn: Connection, wake: Callable[[], Any]) -> None:
    """Call `wake` when something was committed to the outbox while we slept."""
    await conn.add_listener("outbox", lambda *_: wake())
