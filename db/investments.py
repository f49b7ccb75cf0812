"""Investments in devices, and their earnings.

The device's row is the lock of its funding: `devices.funded` is the running sum of its investments.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from core.ids import DeviceId, UserId
from core.revenue import Terms
from db.pool import Connection, Record

_HOLD_HOST = """
SELECT is_active FROM users
 WHERE id = (SELECT owner_id FROM devices WHERE id = $1) FOR SHARE
"""

_LOCK_FUNDING = """
SELECT id, owner_id, funding_target, revenue_share, funded FROM devices
 WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE
"""

_COUNT = "SELECT count(*) FROM investments WHERE device_id = $1"

_ADD = """
WITH device AS (UPDATE devices SET funded = funded + $4::numeric WHERE id = $3::uuid)
INSERT INTO investments (id, investor_id, device_id, amount, transfer_id)
VALUES ($1, $2, $3::uuid, $4::numeric, $5)
"""

_BY_ID = """
SELECT i.id, i.investor_id, i.device_id, d.name AS device_name, i.amount, i.created_at,
       round(i.amount / d.funding_target * d.revenue_share, 6) AS share,
       (SELECT coalesce(sum(r.amount), 0.00) FROM revenue_shares r
         WHERE r.investment_id = i.id) AS earned
  FROM investments i LEFT JOIN devices d ON d.id = i.device_id
 WHERE i.id = $1
"""

_NEWEST = """
SELECT i.id, i.investor_id, i.device_id, d.name AS device_name, i.amount, i.created_at,
       round(i.amount / d.funding_target * d.revenue_share, 6) AS share,
       (SELECT coalesce(sum(r.amount), 0.00) FROM revenue_shares r
         WHERE r.investment_id = i.id) AS earned
  FROM investments i LEFT JOIN devices d ON d.id = i.device_id
 WHERE i.investor_id = $1 AND (i.created_at, i.id) < ($2::timestamptz, $3::uuid)
 ORDER BY i.created_at DESC, i.id DESC LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Funding:
    """The state of a device's funding."""

    device_id: DeviceId
    owner_id: UserId
    # None: the device is not open for funding.
    terms: Terms | None
    funded: Decimal


@dataclass(frozen=True, slots=True)
class Investment:
    """An investment and its earnings. References to deleted users and devices are None."""

    id: UUID
    investor_id: UserId | None
    device_id: DeviceId | None
    device_name: str | None
    amount: Decimal
    # The part of the seller's revenue that it earns, with 6 decimals.
    share: Decimal | None
    earned: Decimal
    created_at: datetime


async def hold_host(conn: Connection, device_id: DeviceId) -> bool:
    """Return True if a device's host is active, which nothing changes until commit."""
    return bool(await conn.fetchval(_HOLD_HOST, device_id))


async def lock_funding(conn: Connection, device_id: DeviceId) -> Funding | None:
    """Lock the funding of a device until commit and return it. None: there is no such device."""
    row = await conn.fetchrow(_LOCK_FUNDING, device_id)
    if row is None:
        return None
    target, share = row["funding_target"], row["revenue_share"]
    terms = Terms(target, share) if target is not None else None
    return Funding(row["id"], row["owner_id"], terms, row["funded"])


async def count(conn: Connection, device_id: DeviceId) -> int:
    """Return the number of investments in a device."""
    return int(await conn.fetchval(_COUNT, device_id))


async def add(
    conn: Connection,
    *,
    investment_id: UUID,
    investor_id: UserId,
    device_id: DeviceId,
    amount: Decimal,
    transfer_id: UUID,
) -> None:
    """Record a paid investment. The caller has locked the funding of the device."""
    await conn.execute(_ADD, investment_id, investor_id, device_id, amount, transfer_id)


async def by_id(conn: Connection, investment_id: UUID) -> Investment | None:
    """Return an investment."""
    row = await conn.fetchrow(_BY_ID, investment_id)
    return _investment(row) if row else None


async def newest(
    conn: Connection, investor_id: UserId, *, before: tuple[datetime, UUID], limit: int
) -> list[Investment]:
    """Return an investor's investments, newest first."""
    rows = await conn.fetch(_NEWEST, investor_id, *before, limit)
    return [_investment(row) for row in rows]


def _investment(row: Record) -> Investment:
    return Investment(
        id=row["id"],
        investor_id=row["investor_id"],
        device_id=row["device_id"],
        device_name=row["device_name"],
        amount=row["amount"],
        share=row["share"],
        earned=row["earned"],
        created_at=row["created_at"],
    )
