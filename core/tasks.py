"""Tasks that run beside a block of code, which owns them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from core.exceptions import root_cause


@asynccontextmanager
async def background_task(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine in a task until the block ends, then cancel the task and wait for its end.

    If the task fails, the block is cancelled. Raises the first failure, of the task or of the
    block, instead of a group.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as failures:
        cause = root_cause(failures)
        raise cause from cause.__cause__
