"""Items of queues that failed: each waits for its retry, so that no other item waits for it.

An item that fails too often is set aside for administrators. Queries for the items of a queue leave
out those whose retry is not due.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.enums import Queue
from db.pool import Connection, Record

# Failures until an item is set aside.
TRIES = 5
_ERROR_LENGTH_MAX = 500

# Retries after 1, 2, 4 and 8 seconds; an item with `retry_forever` is retried every minute after
# that. A row whose retry is an hour overdue is obsolete: its device or listing changed in another
# way.
_NOTE = """
WITH obsolete AS (
    DELETE FROM failed_items WHERE retry_at < clock_timestamp() - interval '1 hour'
       AND (queue, item) <> ($1, $2)
)
INSERT INTO failed_items AS f (queue, item, error, data, retry_at)
VALUES ($1, $2, $3, $4, clock_timestamp() + interval '1 second')
    ON CONFLICT (queue, item) DO UPDATE
   SET error = excluded.error, data = excluded.data, tries = f.tries + 1,
       retry_at = CASE WHEN $6::boolean OR f.tries + 1 < $5
                       THEN clock_timestamp() + least(60, 2 ^ f.tries) * interval '1 second' END,
       set_aside_at = CASE WHEN NOT $6::boolean AND f.tries + 1 >= $5 THEN clock_timestamp() END
 WHERE f.set_aside_at IS NULL
RETURNING set_aside_at IS NOT NULL AS set_aside
"""

_FORGET = "DELETE FROM failed_items WHERE queue = $1 AND item = ANY($2::text[])"

_SET_ASIDE_ITEMS = """
SELECT item FROM failed_items WHERE queue = $1 AND set_aside_at IS NOT NULL
"""

_NOT_DUE = """
SELECT item FROM failed_items
 WHERE queue = $1 AND (retry_at IS NULL OR retry_at > clock_timestamp())
"""

_ANY_TO_RETRY = """
SELECT EXISTS (SELECT FROM failed_items
                WHERE queue = $1 AND retry_at > clock_timestamp() - interval '5 minutes')
"""

_NEWEST = """
SELECT id, queue, item, error, tries, data, failed_at, set_aside_at FROM failed_items
 WHERE (set_aside_at, id) < ($1::timestamptz, $2::uuid) ORDER BY set_aside_at DESC, id DESC LIMIT $3
"""

_BY_ID = """
SELECT id, queue, item, error, tries, data, failed_at, set_aside_at FROM failed_items
 WHERE set_aside_at IS NOT NULL AND id = $1
"""

_RELEASE = "DELETE FROM failed_items WHERE id = $1 AND set_aside_at IS NOT NULL RETURNING id"


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that was set aside; `data`: its content, if no other table has it."""

    id: UUID
    queue: Queue
    item: str
    error: str
    tries: int
    data: Mapping[str, Any] | None
    failed_at: datetime
    set_aside_at: datetime


async def note(
    conn: Connection,
    queue: Queue,
    item: object,
    error: str,
    *,
    data: Mapping[str, Any] | None = None,
    retry_forever: bool = False,
) -> bool:
    """Record a failure of an item, and schedule its retry. Return True if it is now set aside.

    `retry_forever`: the item is not the cause, so it is retried without end.
    """
    text = error.replace("\0", "\ufffd")[:_ERROR_LENGTH_MAX]
    return bool(await conn.fetchval(_NOTE, queue, str(item), text, data, TRIES, retry_forever))


async def forget(conn: Connection, queue: Queue, items: Collection[object]) -> None:
    """Delete the failures of items that succeeded."""
    await conn.execute(_FORGET, queue, [str(item) for item in items])


async def set_aside(conn: Connection, queue: Queue) -> set[str]:
    """Return the items of a queue that are set aside: they are not retried."""
    return {row["item"] for row in await conn.fetch(_SET_ASIDE_ITEMS, queue)}


async def not_due(conn: Connection, queue: Queue) -> set[str]:
    """Return the items of a queue whose retry is not due, and those that are set aside."""
    return {row["item"] for row in await conn.fetch(_NOT_DUE, queue)}


async def any_to_retry(conn: Connection, queue: Queue) -> bool:
    """Return True if an item of a queue waits for its retry."""
    return bool(await conn.fetchval(_ANY_TO_RETRY, queue))


async def newest(
    conn: Connection, *, before: tuple[datetime, UUID], limit: int
) -> list[FailedItem]:
    """Return items that are set aside, newest first."""
    return [_item(row) for row in await conn.fetch(_NEWEST, *before, limit)]


async def by_id(conn: Connection, item_id: UUID) -> FailedItem | None:
    """Return an item that is set aside."""
    row = await conn.fetchrow(_BY_ID, item_id)
    return _item(row) if row else None


async def release(conn: Connection, item_id: UUID) -> bool:
    """Make an item due again, as if it had never failed. False: it is not set aside."""
    return await conn.fetchval(_RELEASE, item_id) is not None


def _item(row: Record) -> FailedItem:
    return FailedItem(**{**dict(row), "queue": Queue(row["queue"])})
