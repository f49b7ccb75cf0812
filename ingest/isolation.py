"""Isolation of items that fail: work for many items in one transaction, bisected when it fails."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

import structlog

from core.enums import Queue
from db import failed_items
from db.errors import MAYBE_CAUSED_BY_DATA, UNAVAILABLE, database_errors, may_succeed_in_parts
from db.pool import Connection, Pool

_log = structlog.get_logger()

ItemId = TypeVar("ItemId", bound=UUID)


async def isolating_failures(
    pool: Pool,
    queue: Queue,
    item_ids: Sequence[ItemId],
    work: Callable[[Sequence[ItemId]], Awaitable[int]],
) -> int:
    """Do `work` for all items in one transaction, or for halves of them where that fails.

    `work` opens its own transaction and returns for how many items it did something. An item that
    fails alone is recorded and retried later; after some tries it is set aside for administrators.
    Returns the sum of what `work` returned. Raises errors that no single item can cause.
    """
    try:
        done = await work(item_ids)
    except database_errors(ArithmeticError) as error:
        if not may_be_caused_by_item(error):
            raise
        if len(item_ids) > 1:
            half = len(item_ids) // 2
            first = await isolating_failures(pool, queue, item_ids[:half], work)
            return first + await isolating_failures(pool, queue, item_ids[half:], work)
        async with pool.acquire() as conn:
            await record_failure(conn, queue, item_ids[0], error)
        return 0
    async with pool.acquire() as conn:
        await failed_items.forget(conn, queue, item_ids)
    return done


async def record_failure(conn: Connection, queue: Queue, item_id: UUID, error: Exception) -> None:
    """Record that an item failed alone: it is retried later, or set aside after some tries."""
    # A timeout may come from another transaction's lock. Then the item is retried without end.
    retry_forever = isinstance(error, UNAVAILABLE)
    text = f"{type(error).__name__}: {error}"
    set_aside = await failed_items.note(conn, queue, item_id, text, retry_forever=retry_forever)
    _log.error("item_failed", queue=queue, item=str(item_id), error=text, set_aside=set_aside)


def may_be_caused_by_item(error: Exception) -> bool:
    """Return whether an error may come from the data, or from a statement that took too long.

    An unavailable database fails for every item, so bisecting would only multiply the load.
    """
    if isinstance(error, (*MAYBE_CAUSED_BY_DATA, ArithmeticError)):
        return True
    return may_succeed_in_parts(error) and isinstance(error, UNAVAILABLE)
