"""Errors of the database are caught, also in tasks that are being cancelled."""

import ast
import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from db.errors import database_errors, unavailable_errors

RETURNS = "caught"
ROOT = Path(__file__).parents[2]
# Not in a coroutine: `asyncio.run` has ended when it is caught.
CAUGHT_OUTSIDE_COROUTINES = {("solarhub/errors.py", "UNAVAILABLE")}
# Evaluated before the block: nothing retries after it.
SUPPRESSED_AT_THE_END = {("ingest/group.py", "_leave")}


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


async def test_only_errors_that_may_pass_count_as_unavailable() -> None:
    def catch_unavailable(error: Exception) -> str:
        try:
            raise error
        except unavailable_errors():
            return RETURNS

    assert catch_unavailable(asyncpg.InterfaceError("closed")) == RETURNS
    with pytest.raises(asyncpg.UniqueViolationError):
        catch_unavailable(asyncpg.UniqueViolationError())
    task = await in_cancelled_task(lambda: catch_unavailable(asyncpg.InterfaceError("closed")))
    assert task.cancelled()


def test_tuples_of_errors_are_caught_by_their_functions_only() -> None:
    """A tuple in an `except` clause would catch errors that took the place of a cancellation."""
    caught = {
        (path, name.id)
        for path, function in functions()
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler) and node.type is not None
        for name in ast.walk(node.type)
        if isinstance(name, ast.Name) and name.id in ("UNAVAILABLE", "_DATABASE_ERRORS")
    }
    assert caught == CAUGHT_OUTSIDE_COROUTINES


def test_errors_are_evaluated_while_they_propagate() -> None:
    """Called before its block, `database_errors` cannot see that the task is being cancelled."""
    stray = {
        (path, function.name)
        for path, function in functions()
        if calls(function) - sum(calls(clause) for clause in clauses(function))
    }
    assert stray == SUPPRESSED_AT_THE_END


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for package in ("api", "bench", "db", "ingest", "realtime", "solarhub"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield str(path.relative_to(ROOT)), node


def calls(tree: ast.AST) -> int:
    """Return how often the functions that return tuples of errors are called."""
    names = ("database_errors", "unavailable_errors")
    found = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sum(isinstance(one, ast.Name) and one.id in names for one in found)


def clauses(function: ast.AST) -> Iterator[ast.AST]:
    """Yield what is evaluated for an exception: `except` clauses and calls of `isinstance`."""
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            yield node.type
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            yield node
