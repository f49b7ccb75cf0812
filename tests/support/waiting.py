"""Waiting for a condition, with a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.02


async def eventually(check: Callable[[], T | Awaitable[T]], *, within_s: float = 10) -> T:
    """Call `check` until its result is true, and return the result.

    At the deadline its last AssertionError, or one that says so, is raised.
    """
    deadline = time.monotonic() + within_s
    while True:
        failure: AssertionError | None = None
        try:
            result = check()
            value: T = await result if inspect.isawaitable(result) else result
            if value:
                return value
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"{check} did not hold within {within_s:g} s")
        await asyncio.sleep(_POLL_S)
