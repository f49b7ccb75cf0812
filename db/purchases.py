"""Purchases: one function of the database, one round trip for as many as there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from core.errors import DomainError
from core.ids import ListingId, UserId
from db.errors import refusal
from db.pool import Connection, Record

_PURCHASE = """
SELECT o_number, o_refusal, o_facts, o_bought, o_replayed
  FROM purchase_energy($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A key, and the SHA-256 of the request that it stands for."""

    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class PurchaseOrder:
    buyer_id: UserId
    listing_id: ListingId
    energy_kwh: Decimal
    max_price_per_kwh: Decimal | None = None
    payment_method_id: UUID | None = None
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Purchase:
    """`shown`: JSON of the transaction, with the listing as it is now.

    `replayed`: the same request bought it before.
    """

    shown: str
    replayed: bool


async def purchase(
    conn: Connection,
    orders: Sequence[PurchaseOrder],
    *,
    fee_rate: Decimal,
    min_kwh: Decimal = Decimal(0),
    lock_timeout_ms: int = 0,
) -> list[Purchase | DomainError]:
    """Carry out each order as if it were alone, in a transaction of their own unless there is one.

    No two may have the same buyer and key. What is refused changes nothing, and is NotFound,
    OwnListing, ListingNotActive, OutsideWindow, InsufficientEnergy, PriceChanged,
    InsufficientBalance, IdempotencyKeyReused, PurchaseTooSmall, PayeeWalletLimit or
    AccountInactive. `min_kwh`: of an order that leaves something of its listing.

    All of them fail where they would have to wait longer for a lock; 0: for as long as a statement
    may take.
    """
    rows = await conn.fetch(
        _PURCHASE,
        [order.buyer_id for order in orders],
        [order.listing_id for order in orders],
        [order.energy_kwh for order in orders],
        [order.max_price_per_kwh for order in orders],
        [order.payment_method_id for order in orders],
        [order.idempotency and order.idempotency.key for order in orders],
        [order.idempotency and order.idempotency.request_hash for order in orders],
        fee_rate,
        min_kwh,
        lock_timeout_ms,
    )
    outcomes = {row["o_number"]: _outcome(row) for row in rows}
    return [outcomes[number] for number in range(1, len(orders) + 1)]


def _outcome(row: Record) -> Purchase | DomainError:
    if row["o_refusal"]:
        return refusal(row["o_refusal"], row["o_facts"] or {})
    return Purchase(row["o_bought"], row["o_replayed"])
