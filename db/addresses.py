"""Where people are. A default address is where things near them are looked for.

Whoever has an address has one default address. The addresses of one person change one after the
other: callers that change them hold `lock` until commit.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.ids import UserId
from db.pool import Connection, Record

_LOCK = "SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE"

_SET_DEFAULT = """
INSERT INTO user_addresses AS a (user_id, label, latitude, longitude, is_default)
VALUES ($1, coalesce($2, 'home'), $3, $4, true)
    ON CONFLICT (user_id) WHERE is_default DO UPDATE
   SET label = coalesce($2, a.label), latitude = excluded.latitude, longitude = excluded.longitude
RETURNING id, label, latitude, longitude, is_default, created_at
"""

_DEFAULT_OF = """
SELECT id, label, latitude, longitude, is_default, created_at
  FROM user_addresses WHERE user_id = $1 AND is_default
"""

_NEWEST = """
SELECT id, label, latitude, longitude, is_default, created_at
  FROM user_addresses
 WHERE user_id = $1 AND (created_at, id) < ($2::timestamptz, $3::uuid)
 ORDER BY created_at DESC, id DESC LIMIT $4
"""

_COUNT = "SELECT count(*) FROM user_addresses WHERE user_id = $1"

_CLEAR_DEFAULT = "UPDATE user_addresses SET is_default = false WHERE user_id = $1 AND is_default"

_ADD = """
INSERT INTO user_addresses (user_id, label, latitude, longitude, is_default)
VALUES ($1, coalesce($2, 'home'), $3, $4, $5)
RETURNING id, label, latitude, longitude, is_default, created_at
"""

_REMOVE = """
DELETE FROM user_addresses WHERE user_id = $1 AND id = $2
RETURNING id, label, latitude, longitude, is_default, created_at
"""

_PROMOTE_NEWEST = """
UPDATE user_addresses SET is_default = true
 WHERE id = (SELECT id FROM user_addresses WHERE user_id = $1
              ORDER BY created_at DESC, id DESC LIMIT 1)
"""


@dataclass(frozen=True, slots=True)
class Address:
    id: UUID
    label: str
    latitude: float
    longitude: float
    is_default: bool
    created_at: datetime


async def lock(conn: Connection, user_id: UserId) -> None:
    """Keep others from changing the user's addresses until commit."""
    await conn.execute(_LOCK, user_id)


async def set_default(
    conn: Connection, user_id: UserId, *, label: str | None, latitude: float, longitude: float
) -> Address:
    """Move the user's default address, or make one. Without a label it keeps the one it has."""
    row = await conn.fetchrow(_SET_DEFAULT, user_id, label, latitude, longitude)
    assert row is not None
    return _address(row)


async def default_of(conn: Connection, user_id: UserId) -> Address | None:
    row = await conn.fetchrow(_DEFAULT_OF, user_id)
    return _address(row) if row else None


async def newest(
    conn: Connection, user_id: UserId, *, before: tuple[datetime, UUID], limit: int
) -> list[Address]:
    return [_address(row) for row in await conn.fetch(_NEWEST, user_id, *before, limit)]


async def count(conn: Connection, user_id: UserId) -> int:
    """How many addresses the user has."""
    found: int = await conn.fetchval(_COUNT, user_id)
    return found


async def clear_default(conn: Connection, user_id: UserId) -> None:
    """Make room for another default address."""
    await conn.execute(_CLEAR_DEFAULT, user_id)


async def add(
    conn: Connection,
    user_id: UserId,
    *,
    label: str | None,
    latitude: float,
    longitude: float,
    is_default: bool,
) -> Address:
    """One more address; the caller has seen to there being no other default one."""
    row = await conn.fetchrow(_ADD, user_id, label, latitude, longitude, is_default)
    assert row is not None
    return _address(row)


async def remove(conn: Connection, user_id: UserId, address_id: UUID) -> Address | None:
    """The address as it was. None: the user has no such address."""
    row = await conn.fetchrow(_REMOVE, user_id, address_id)
    return _address(row) if row else None


async def promote_newest(conn: Connection, user_id: UserId) -> None:
    """Make the newest address that is left, if any, the default one."""
    await conn.execute(_PROMOTE_NEWEST, user_id)


def _address(row: Record) -> Address:
    return Address(
        id=row["id"],
        label=row["label"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        is_default=row["is_default"],
        created_at=row["created_at"],
    )
