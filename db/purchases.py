"""The purchase: one function of the database, one round trip."""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from core.listings import Listing
from db.errors import refusals
from db.listings import listing_of
from db.pool import Connection
from db.transactions import Transaction, transaction_of

_PURCHASE = """
SELECT o_transaction, o_listing, o_replayed FROM purchase_energy($1, $2, $3, $4, $5, $6, $7, $8)
"""


@dataclass(frozen=True, slots=True)
class Order:
    buyer_id: UUID
    listing_id: UUID
    energy_kwh: Decimal
    max_price_per_kwh: Decimal | None
    payment_method_id: UUID | None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A key, and the SHA-256 of the request that it stands for."""

    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class Purchase:
    """`listing` is as it is now; `replayed`: the same request bought it before."""

    transaction: Transaction
    listing: Listing | None
    replayed: bool


async def purchase(
    conn: Connection, order: Order, *, fee_rate: Decimal, idempotency: Idempotency | None
) -> Purchase:
    """Buy, all or nothing, in a transaction of its own unless there is one.

    Raises NotFound, OwnListing, ListingNotActive, OutsideWindow, InsufficientEnergy, PriceChanged,
    InsufficientBalance, IdempotencyKeyReused, PurchaseTooSmall, AccountInactive.
    """
    with refusals():
        row = await conn.fetchrow(
            _PURCHASE,
            order.buyer_id,
            order.listing_id,
            order.energy_kwh,
            order.max_price_per_kwh,
            order.payment_method_id,
            fee_rate,
            idempotency.key if idempotency else None,
            idempotency.request_hash if idempotency else None,
        )
    assert row is not None
    listing = row["o_listing"]
    return Purchase(
        transaction=transaction_of(row["o_transaction"]),
        listing=listing_of(listing) if listing and listing["id"] else None,
        replayed=row["o_replayed"],
    )
