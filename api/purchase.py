"""The purchase."""

from decimal import Decimal

from core.errors import Conflict, InsufficientEnergy, ListingNotActive
from db import prices, purchases
from db.pool import Connection, Pool
from db.purchases import Idempotency, Order, Purchase


async def purchase(
    pool: Pool, order: Order, *, fee_rate: Decimal, idempotency: Idempotency | None
) -> Purchase:
    """Buy energy: all of it happened, and is announced, or nothing.

    One statement, which is its own transaction: `purchase_energy` locks the listing, then the
    wallets of buyer, seller and investors by user id, lets the rules refuse, moves the money as one
    transfer, lowers the listing and writes the events (0003_purchase.sql).

    What is refused for lack of energy was rolled back, and is demand all the same: it is noted in a
    transaction of its own, for the prices of the next slot.
    """
    async with pool.acquire() as conn:
        try:
            return await purchases.purchase(conn, order, fee_rate=fee_rate, idempotency=idempotency)
        except (InsufficientEnergy, ListingNotActive) as refusal:
            if _lacks_energy(refusal):
                await _note(conn, order)
            raise


async def _note(conn: Connection, order: Order) -> None:
    await prices.note_refused(
        conn,
        order.buyer_id,
        order.listing_id,
        order.energy_kwh,
        max_price_per_kwh=order.max_price_per_kwh,
    )


def _lacks_energy(refusal: Conflict) -> bool:
    return isinstance(refusal, InsufficientEnergy) or refusal.facts.get("status") == "sold"
