"""The purchase."""

from decimal import Decimal

from db import purchases
from db.pool import Pool
from db.purchases import Idempotency, Order, Purchase


async def purchase(
    pool: Pool, order: Order, *, fee_rate: Decimal, idempotency: Idempotency | None
) -> Purchase:
    """Buy energy: all of it happened, and is announced, or nothing.

    One statement, which is its own transaction: `purchase_energy` locks the listing, then the
    wallets of buyer, seller and investors by user id, lets the rules refuse, moves the money as one
    transfer, lowers the listing and writes the events (0003_purchase.sql).
    """
    async with pool.acquire() as conn:
        return await purchases.purchase(conn, order, fee_rate=fee_rate, idempotency=idempotency)
