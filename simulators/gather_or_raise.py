"""Doing many things at once, with the first failure as an exception and not as a group."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def gather_or_raise(doings: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order. The first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(doing) for doing in doings]
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    return [task.result() for task in started]


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
