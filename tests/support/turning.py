"""Prices of slots by the clock of a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from core.prices import PriceRules
from db.pool import Pool
from ingest import pricing


class Clock:
    """A clock that a test sets."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@asynccontextmanager
async def pricing_by(clock: Clock, pool: Pool, rules: PriceRules) -> AsyncIterator[None]:
    """Run the ingester's timer until the block ends."""
    task = asyncio.create_task(pricing.watch(pool, rules, now=clock, every_s=0.01))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
