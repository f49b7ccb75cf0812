"""Purchases: a SQL function carries out any number of orders in one round trip."""

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
    """An idempotency key, and the SHA-256 of its request."""

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
    """A completed purchase."""

    # JSON of the transaction, with the current state of the listing.
    shown: str
    # An earlier request with the same idempotency key made the purchase.
    replayed: bool


async def purchase(
    conn: Connection,
    orders: Sequence[PurchaseOrder],
    *,
    fee_rate: Decimal,
    min_kwh: Decimal = Decimal(0),
    lock_timeout_ms: int = 0,
) -> list[Purchase | DomainError]:
    """Carry out each order as if it were the only one. Without a transaction, all share a new one.

    No two may have the same buyer and key. A refused order changes nothing. It is returned as
    NotFound, OwnListing, ListingNotActive, OutsideWindow, InsufficientEnergy, PriceChanged,
    InsufficientBalance, IdempotencyKeyReused, PurchaseTooSmall, PayeeWalletLimit or
    AccountInactive. `min_kwh`: the least amount of an order that leaves energy in its listing.

    All orders fail if a lock takes longer than `lock_timeout_ms`. With 0, the timeout of a
    statement applies.
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
