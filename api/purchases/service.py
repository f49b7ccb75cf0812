"""The purchase of energy, in batches: orders that arrive during a batch share the next one.

An order that arrives while no batch is running starts one at once. Every order has an outcome of
its own. The SQL function `purchase_energy` decides it: there a purchase checks the listing, the
price and the buyer's balance.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.errors import Conflict, InsufficientEnergy, ListingNotActive
from core.settings import MarketSettings
from db import prices, purchases
from db.errors import may_succeed_in_parts, raise_if_cancelled
from db.pool import Pool
from db.purchases import Purchase, PurchaseOrder

# A batch holds its locks until its last order is recorded. More orders save little per order.
_BATCH_MAX = 32
# A batch waits this long for a lock. Then its orders are carried out one by one, so that only the
# orders that need the locked row wait for it.
_LOCK_TIMEOUT_MS = 250


@dataclass(frozen=True, slots=True)
class _QueuedOrder:
    order: PurchaseOrder
    # Done early if the request was cancelled.
    outcome: asyncio.Future[Purchase]


class PurchaseBatcher:
    """A queue of purchase orders and the task that carries them out in batches.

    The queue needs no limit of its own: every order belongs to a request, and requests are limited
    in number and in time.
    """

    def __init__(self, pool: Pool, settings: MarketSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._queue: deque[_QueuedOrder] = deque()
        self._arrived = asyncio.Event()

    async def purchase(self, order: PurchaseOrder) -> Purchase:
        """Buy energy: the purchase is committed and announced, or nothing happened.

        An order that is refused for lack of energy still counts as demand. A transaction of its own
        records it for the prices of the next slot.

        Raises the domain errors of `db.purchases.purchase`, and errors of the database.
        """
        queued = _QueuedOrder(order, asyncio.get_running_loop().create_future())
        self._queue.append(queued)
        self._arrived.set()
        try:
            return await queued.outcome
        except (InsufficientEnergy, ListingNotActive) as refusal:
            if _lacks_energy(refusal):
                await self._record_demand(order)
            raise

    async def run(self) -> None:
        """Carry out one batch after another until cancelled.

        Only one batch runs at a time. Two would each be smaller, and together cost more.
        """
        async with asyncio.TaskGroup() as single_orders:
            while True:
                await self._arrived.wait()
                batch = self._next_batch()
                if not self._queue:
                    self._arrived.clear()
                if batch and not await self._carry_out(batch, lock_timeout_ms=_LOCK_TIMEOUT_MS):
                    for queued in batch:
                        single_orders.create_task(self._carry_out([queued]))

    def _next_batch(self) -> list[_QueuedOrder]:
        """Take the oldest orders from the queue, without those whose request was cancelled.

        `purchase_energy` takes one order of a buyer and idempotency key. Further ones stay at the
        head of the queue and replay its result in the next batch.
        """
        batch, later, keys = list[_QueuedOrder](), list[_QueuedOrder](), set[object]()
        while self._queue and len(batch) < _BATCH_MAX:
            queued = self._queue.popleft()
            if queued.outcome.done():
                continue
            order = queued.order
            key = (order.buyer_id, order.idempotency.key) if order.idempotency else None
            if key in keys:
                later.append(queued)
                continue
            if key:
                keys.add(key)
            batch.append(queued)
        self._queue.extendleft(reversed(later))
        return batch

    async def _carry_out(self, batch: Sequence[_QueuedOrder], *, lock_timeout_ms: int = 0) -> bool:
        """Carry out a batch by `purchase_energy`, and set the outcome of each order.

        The SQL function locks the listings by id, then the wallets of buyers, sellers and investors
        by user id. It decides order by order, also whether the balance covers the price. Then it
        moves the money, lowers the listings and writes the events.

        Return False if the batch was rolled back and its orders can be carried out one by one.
        """
        orders = [queued.order for queued in batch]
        outcomes: Sequence[Purchase | Exception]
        try:
            async with self._pool.acquire() as conn:
                outcomes = await purchases.purchase(
                    conn,
                    orders,
                    fee_rate=self._settings.platform_fee_rate,
                    min_kwh=self._settings.purchase_min_kwh,
                    lock_timeout_ms=lock_timeout_ms,
                )
        except Exception as error:  # noqa: BLE001 - becomes the outcome of every order.
            raise_if_cancelled(error)
            if may_succeed_in_parts(error) and lock_timeout_ms:
                return False
            outcomes = [error] * len(batch)
        for queued, outcome in zip(batch, outcomes, strict=True):
            _resolve(queued, outcome)
        return True

    async def _record_demand(self, order: PurchaseOrder) -> None:
        async with self._pool.acquire() as conn:
            await prices.note_refused(
                conn,
                order.buyer_id,
                order.listing_id,
                order.energy_kwh,
                max_price_per_kwh=order.max_price_per_kwh,
                grid_export_price=self._settings.grid_export_price,
            )


@asynccontextmanager
async def open_purchase_batcher(
    pool: Pool, settings: MarketSettings
) -> AsyncIterator[PurchaseBatcher]:
    """Run a batcher until the block ends. Orders in the database then are cancelled."""
    batcher = PurchaseBatcher(pool, settings)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(batcher.run())
        try:
            yield batcher
        finally:
            running.cancel()


def _resolve(queued: _QueuedOrder, outcome: Purchase | Exception) -> None:
    # The request may have been cancelled while its order was in the database.
    if queued.outcome.done():
        return
    if isinstance(outcome, Exception):
        queued.outcome.set_exception(outcome)
    else:
        queued.outcome.set_result(outcome)


def _lacks_energy(refusal: Conflict) -> bool:
    return isinstance(refusal, InsufficientEnergy) or refusal.facts.get("status") == "sold"
