"""Work that is done for many items in one transaction, and for each by itself where that fails."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

import structlog

from core.enums import Queue
from db import failed_items
from db.errors import BLAMES_ITS_DATA, UNAVAILABLE, database_errors, undone
from db.pool import Pool

_log = structlog.get_logger()

Id = TypeVar("Id", bound=UUID)


async def each_by_itself(
    pool: Pool, queue: Queue, ids: Sequence[Id], work: Callable[[Sequence[Id]], Awaitable[int]]
) -> int:
    """Do `work`, a transaction of its own, for all of these. Returns for how many it was done.

    Where it fails because of some of them, or takes too long, it is done for halves, down to the
    one that is to blame: that is tried again later, and set aside after some tries. Raises what
    is no single item's fault.
    """
    try:
        done = await work(ids)
    except database_errors(ArithmeticError) as error:
        if not _may_be_due_to_one(error):
            raise
        if len(ids) > 1:
            half = len(ids) // 2
            return await each_by_itself(pool, queue, ids[:half], work) + await each_by_itself(
                pool, queue, ids[half:], work
            )
        await _stand_aside(pool, queue, ids[0], error)
        return 0
    await failed_items.forget(pool, queue, ids)
    return done


async def _stand_aside(pool: Pool, queue: Queue, item: UUID, error: Exception) -> None:
    # Somebody else may hold what it waits for: that is not its fault.
    patient = isinstance(error, UNAVAILABLE)
    told = f"{type(error).__name__}: {error}"
    set_aside = await failed_items.note(pool, queue, item, told, patient=patient)
    _log.error("item_failed", queue=queue, item=str(item), error=told, set_aside=set_aside)


def _may_be_due_to_one(error: Exception) -> bool:
    """Data, or a statement that took too long or met another's lock: not the whole database."""
    if isinstance(error, (*BLAMES_ITS_DATA, ArithmeticError)):
        return True
    return undone(error) and isinstance(error, UNAVAILABLE)
