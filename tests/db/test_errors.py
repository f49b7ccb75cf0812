"""Tests of how the database's errors are caught, also by tasks that are being cancelled."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from db.errors import database_errors

RETURNS = "caught"


def catch(error: BaseException, *others: type[Exception]) -> str:
    try:
        raise error
    except database_errors(*others):
        return RETURNS


async def in_cancelled_task(work: Callable[[], object]) -> asyncio.Task[object]:
    """Return a finished task that called `work` while it was being cancelled."""

    async def run() -> object:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return work()
        raise AssertionError("the event is never set")

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return task


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("closed"),
        asyncpg.UniqueViolationError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.TooManyConnectionsError(),
        ConnectionResetError(),
        TimeoutError(),
        OSError(),
    ],
)
async def test_every_error_of_the_database_is_caught(error: Exception) -> None:
    assert catch(error) == RETURNS


async def test_other_errors_are_caught_only_when_named() -> None:
    assert catch(KeyError(), KeyError) == RETURNS
    with pytest.raises(KeyError):
        catch(KeyError())


@pytest.mark.parametrize("error", [asyncpg.InterfaceError("closed"), KeyError()])
async def test_error_in_place_of_a_cancellation_ends_the_task_as_cancelled(
    error: Exception,
) -> None:
    task = await in_cancelled_task(lambda: catch(error, KeyError))
    assert task.cancelled()


async def test_cancelled_task_still_raises_errors_that_are_not_caught() -> None:
    task = await in_cancelled_task(lambda: catch(KeyError()))
    with pytest.raises(KeyError):
        task.result()


async def test_timeout_that_ended_a_block_is_no_cancellation() -> None:
    caught: Exception | None = None
    try:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    except database_errors() as error:
        caught = error
    assert isinstance(caught, TimeoutError)
