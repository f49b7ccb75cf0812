"""Addresses of users. A search for nearby things begins at the default address.

A user with an address has exactly one default address. To keep that, callers that change addresses
hold `lock` until commit.
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
    """Lock the addresses of a user against changes by others until commit."""
    await conn.execute(_LOCK, user_id)


async def set_default(
    conn: Connection, user_id: UserId, *, label: str | None, latitude: float, longitude: float
) -> Address:
    """Change or create the default address of a user. Without a label, the old one stays."""
    row = await conn.fetchrow(_SET_DEFAULT, user_id, label, latitude, longitude)
    assert row is not None
    return _address(row)


async def default_of(conn: Connection, user_id: UserId) -> Address | None:
    """Return the default address of a user."""
    row = await conn.fetchrow(_DEFAULT_OF, user_id)
    return _address(row) if row else None


async def newest(
    conn: Connection, user_id: UserId, *, before: tuple[datetime, UUID], limit: int
) -> list[Address]:
    """Return a user's addresses, newest first."""
    return [_address(row) for row in await conn.fetch(_NEWEST, user_id, *before, limit)]


async def count(conn: Connection, user_id: UserId) -> int:
    """Return the number of a user's addresses."""
    found: int = await conn.fetchval(_COUNT, user_id)
    return found


async def clear_default(conn: Connection, user_id: UserId) -> None:
    """Make no address of a user the default. The caller sets another default."""
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
    """Create an address. For a default one, the caller has cleared the old default."""
    row = await conn.fetchrow(_ADD, user_id, label, latitude, longitude, is_default)
    assert row is not None
    return _address(row)


async def remove(conn: Connection, user_id: UserId, address_id: UUID) -> Address | None:
    """Delete an address and return it. None: the user has no such address."""
    row = await conn.fetchrow(_REMOVE, user_id, address_id)
    return _address(row) if row else None


async def promote_newest(conn: Connection, user_id: UserId) -> None:
    """Make the newest remaining address, if any, the default."""
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
