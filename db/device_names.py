"""Devices by the name that their firmware calls them."""

from collections.abc import Collection
from dataclasses import dataclass

from core.dialects import Dialect
from core.ids import DeviceId
from db.pool import Connection, Pool

_BY_NAME = """
SELECT d.id, d.dialect, d.external_id, d.kind, d.time_zone
  FROM devices d JOIN unnest($1::text[], $2::text[]) AS n (dialect, external_id)
       ON d.dialect = n.dialect AND d.external_id = n.external_id
 WHERE d.deleted_at IS NULL
"""

_NAMES = """
SELECT external_id FROM devices
 WHERE dialect = $1 AND external_id IS NOT NULL AND deleted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class NamedDevice:
    id: DeviceId
    kind: str
    time_zone: str


async def by_name(
    conn: Connection, names: Collection[tuple[Dialect, str]]
) -> dict[tuple[Dialect, str], NamedDevice]:
    """The registered devices of these dialects and external ids."""
    rows = await conn.fetch(_BY_NAME, [d for d, _ in names], [name for _, name in names])
    return {
        (Dialect(row["dialect"]), row["external_id"]): NamedDevice(
            row["id"], row["kind"], row["time_zone"]
        )
        for row in rows
    }


async def names_of(pool: Pool, dialect: Dialect) -> list[str]:
    """The external ids of all devices of a dialect."""
    return [row["external_id"] for row in await pool.fetch(_NAMES, dialect)]
