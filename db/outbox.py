"""Events, written in the transaction that they tell of; read and deleted by the relay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.events import Event
from db.pool import Connection

_ADD = "INSERT INTO outbox (type, channels, data) VALUES ($1, $2, $3)"

_LOCK_BATCH = """
SELECT id, type, channels, data, created_at FROM outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
"""

_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"

_BACKLOG = """
SELECT count(*) AS depth,
       coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS age_s
  FROM outbox
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """A committed event that waits to be published."""

    id: int
    type: str
    channels: tuple[str, ...]
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    depth: int
    age_s: float


async def add(conn: Connection, events: Sequence[Event]) -> None:
    await conn.executemany(_ADD, [(e.type, list(e.channels), e.data) for e in events])


async def lock_batch(conn: Connection, size: int) -> list[Pending]:
    """The oldest `size` events, locked until commit."""
    rows = await conn.fetch(_LOCK_BATCH, size)
    return [
        Pending(r["id"], r["type"], tuple(r["channels"]), r["data"], r["created_at"]) for r in rows
    ]


async def delete(conn: Connection, ids: Sequence[int]) -> None:
    await conn.execute(_DELETE, ids)


async def backlog(conn: Connection) -> Backlog:
    row = await conn.fetchrow(_BACKLOG)
    assert row is not None
    return Backlog(row["depth"], row["age_s"])
