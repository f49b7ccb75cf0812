"""`asyncio.gather` with structured cancellation: the first failure is raised, not a group."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from core.exceptions import root_cause

T = TypeVar("T")


async def gather_or_raise(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results in order. The first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as failures:
        raise root_cause(failures) from None
    return [task.result() for task in tasks]
