"""Purchases of energy, as their parties see them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from core.enums import TransactionStatus
from core.ids import ListingId, UserId
from db.pool import Connection, Record

_BY_ID = "SELECT t FROM energy_transactions t WHERE id = $1"

# The halves are disjoint: nobody can buy from their own listing.
_OF_USER = """
SELECT t FROM (
    (SELECT id FROM energy_transactions
      WHERE buyer_id = $1 AND $2 AND (created_at, id) < ($4::timestamptz, $5::uuid)
      ORDER BY created_at DESC, id DESC LIMIT $6)
    UNION ALL
    (SELECT id FROM energy_transactions
      WHERE seller_id = $1 AND $3 AND (created_at, id) < ($4::timestamptz, $5::uuid)
      ORDER BY created_at DESC, id DESC LIMIT $6)
) AS own JOIN energy_transactions t USING (id)
 ORDER BY t.created_at DESC, t.id DESC LIMIT $6
"""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A row of `energy_transactions`. References to deleted users and listings are None."""

    id: UUID
    listing_id: ListingId | None
    buyer_id: UserId | None
    seller_id: UserId | None
    payment_method_id: UUID | None
    energy_kwh: Decimal
    price_per_kwh: Decimal
    total_price: Decimal
    platform_fee: Decimal
    seller_amount: Decimal
    investor_amount: Decimal
    status: TransactionStatus
    created_at: datetime


async def by_id(conn: Connection, transaction_id: UUID) -> Transaction | None:
    """Return a transaction."""
    row = await conn.fetchrow(_BY_ID, transaction_id)
    return transaction_of(row["t"]) if row else None


async def of_user(
    conn: Connection,
    user_id: UserId,
    *,
    as_buyer: bool,
    as_seller: bool,
    before: tuple[datetime, UUID],
    limit: int,
) -> list[Transaction]:
    """Return a user's purchases, sales, or both, newest first."""
    rows = await conn.fetch(_OF_USER, user_id, as_buyer, as_seller, *before, limit)
    return [transaction_of(row["t"]) for row in rows]


def transaction_of(row: Record) -> Transaction:
    """Convert a row value of `energy_transactions`."""
    return Transaction(
        id=row["id"],
        listing_id=row["listing_id"],
        buyer_id=row["buyer_id"],
        seller_id=row["seller_id"],
        payment_method_id=row["payment_method_id"],
        energy_kwh=row["energy_kwh"],
        price_per_kwh=row["price_per_kwh"],
        total_price=row["total_price"],
        platform_fee=row["platform_fee"],
        seller_amount=row["seller_amount"],
        investor_amount=row["investor_amount"],
        status=TransactionStatus(row["status"]),
        created_at=row["created_at"],
    )
