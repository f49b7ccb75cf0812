"""The purchase: orders that arrive while others are carried out are carried out together.

Each has an outcome of its own. One that finds the till idle waits for nobody.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.errors import Conflict, InsufficientEnergy, ListingNotActive
from core.settings import MarketSettings
from db import prices, purchases
from db.errors import raise_if_cancelled, undone
from db.pool import Pool
from db.purchases import Purchase, PurchaseOrder

_BATCH_MAX = 32
# Who waits for a lock keeps everybody waiting: but for so long, until each waits alone.
_LOCK_TIMEOUT_MS = 250


@dataclass(frozen=True, slots=True)
class _Waiting:
    order: PurchaseOrder
    outcome: asyncio.Future[Purchase]


class PurchaseBatcher:
    """As many wait here as there are requests, each of which has its limit of time."""

    def __init__(self, pool: Pool, settings: MarketSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    async def purchase(self, order: PurchaseOrder) -> Purchase:
        """Buy energy: all of it happened, and is announced, or nothing.

        What is refused for lack of energy is demand all the same: it is noted in a transaction of
        its own, for the prices of the next slot.
        """
        waiting = _Waiting(order, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        try:
            return await waiting.outcome
        except (InsufficientEnergy, ListingNotActive) as refusal:
            if _lacks_energy(refusal):
                await self._note(order)
            raise

    async def run(self) -> None:
        """Carry out batch after batch: two at a time would each be smaller, and cost more."""
        async with asyncio.TaskGroup() as alone:
            while True:
                await self._arrived.wait()
                batch = self._next_batch()
                if not self._queue:
                    self._arrived.clear()
                if batch and not await self._carry_out(batch, lock_timeout_ms=_LOCK_TIMEOUT_MS):
                    for waiting in batch:
                        alone.create_task(self._carry_out([waiting]))

    def _next_batch(self) -> list[_Waiting]:
        """Who came first and still waits; of those with the same key one: the others replay it."""
        batch, later, keys = list[_Waiting](), list[_Waiting](), set[object]()
        while self._queue and len(batch) < _BATCH_MAX:
            waiting = self._queue.popleft()
            if waiting.outcome.done():
                continue
            order = waiting.order
            key = (order.buyer_id, order.idempotency.key) if order.idempotency else None
            if key in keys:
                later.append(waiting)
                continue
            if key:
                keys.add(key)
            batch.append(waiting)
        self._queue.extendleft(reversed(later))
        return batch

    async def _carry_out(self, batch: Sequence[_Waiting], *, lock_timeout_ms: int = 0) -> bool:
        """One statement, which is its own transaction: `purchase_energy` locks the listings by id,
        then the wallets of buyers, sellers and investors by user id, decides order by order, moves
        the money, lowers the listings and writes the events (purchase_energy.sql).

        False: they failed without harm, in time for each to be carried out alone.
        """
        orders = [waiting.order for waiting in batch]
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
        except Exception as error:  # noqa: BLE001 - those who wait are told, and answer it.
            raise_if_cancelled(error)
            if undone(error) and lock_timeout_ms:
                return False
            outcomes = [error] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            _tell(waiting, outcome)
        return True

    async def _note(self, order: PurchaseOrder) -> None:
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
    till = PurchaseBatcher(pool, settings)
    running = asyncio.create_task(till.run())
    try:
        yield till
    finally:
        running.cancel()
        await asyncio.wait([running])


def _tell(waiting: _Waiting, outcome: Purchase | Exception) -> None:
    if waiting.outcome.done():
        return  # nobody waits any more
    if isinstance(outcome, Exception):
        waiting.outcome.set_exception(outcome)
    else:
        waiting.outcome.set_result(outcome)


def _lacks_energy(refusal: Conflict) -> bool:
    return isinstance(refusal, InsufficientEnergy) or refusal.facts.get("status") == "sold"
