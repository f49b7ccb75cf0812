"""Where people are. A default address is where things near them are looked for."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.pool import Connection, Record

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


@dataclass(frozen=True, slots=True)
class Address:
    id: UUID
    label: str
    latitude: float
    longitude: float
    is_default: bool
    created_at: datetime


async def set_default(
    conn: Connection, user_id: UUID, *, label: str | None, latitude: float, longitude: float
) -> Address:
    """Move the user's default address, or make one. Without a label it keeps the one it has."""
    row = await conn.fetchrow(_SET_DEFAULT, user_id, label, latitude, longitude)
    assert row is not None
    return _address(row)


async def default_of(conn: Connection, user_id: UUID) -> Address | None:
    row = await conn.fetchrow(_DEFAULT_OF, user_id)
    return _address(row) if row else None


def _address(row: Record) -> Address:
    return Address(
        id=row["id"],
        label=row["label"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        is_default=row["is_default"],
        created_at=row["created_at"],
    )
