"""Tests of tasks beside a block, and that every task has an owner."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.tasks import background_task

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "bench", "core", "db", "ingest", "realtime", "simulators", "solarhub")
CREATING = ("create_task", "ensure_future", "run_coroutine_threadsafe")
# Functions that create a task outside a TaskGroup, and wait for its end however they end.
WAITING_FUNCTIONS = {
    ("api/http/server.py", "_serve"),  # uvicorn must finish its requests when this is cancelled
    ("simulators/device_connection.py", "_connect"),  # a started connect must be finished
    ("solarhub/process.py", "_until_signal"),  # the main task, which a signal cancels
}


async def test_the_task_runs_until_the_block_ends() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    async with background_task(work()):
        await asyncio.sleep(0)
        assert not ended
    assert ended


async def test_a_failed_task_cancels_the_block_and_its_error_is_raised() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with background_task(work()):
            await asyncio.Event().wait()


async def test_an_error_of_the_block_is_raised_with_its_cause() -> None:
    cause = KeyError("cause")
    with pytest.raises(ValueError, match="refused") as raised:
        async with background_task(asyncio.sleep(60)):
            raise ValueError("refused") from cause
    assert raised.value.__cause__ is cause


async def test_a_cancelled_block_ends_its_task() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def block() -> None:
        async with background_task(work()):
            await asyncio.Event().wait()

    blocked = asyncio.create_task(block())
    await started.wait()
    blocked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await blocked
    assert ended.is_set()


def test_every_task_belongs_to_a_group_or_to_a_function_that_waits_for_it() -> None:
    stray = {
        (str(path.relative_to(ROOT)), function)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for function in stray_tasks(ast.parse(path.read_text()))
    }
    assert stray == WAITING_FUNCTIONS


def test_stray_tasks_are_found() -> None:
    source = """
async def stray(loop):
    asyncio.create_task(work())
    loop.create_task(work())

async def owned():
    async with asyncio.timeout(1), asyncio.TaskGroup() as tasks:
        tasks.create_task(work())

class Owner:
    def __init__(self, passed: asyncio.TaskGroup):
        self._passed = passed
        self._created = asyncio.TaskGroup()

    def start(self):
        self._created.create_task(work())
        self._passed.create_task(work())
"""
    assert list(stray_tasks(ast.parse(source))) == ["stray", "stray"]


def stray_tasks(tree: ast.Module) -> Iterator[str]:
    """Yield the function of each call that creates a task on something other than a TaskGroup."""
    groups = set(task_groups(tree))
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or name_of(call.func) not in CREATING:
                continue
            owner = name_of(call.func.value) if isinstance(call.func, ast.Attribute) else None
            if owner not in groups:
                yield function.name


def task_groups(tree: ast.Module) -> Iterator[str]:
    """Yield the names of variables, attributes and parameters that are a TaskGroup."""
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and creates_group(node.context_expr):
            yield name_of(node.optional_vars)
        elif isinstance(node, ast.Assign) and creates_group(node.value):
            yield name_of(node.targets[0])
        elif isinstance(node, ast.arg) and is_group(node.annotation):
            yield node.arg


def creates_group(node: ast.AST) -> bool:
    return ast.unparse(node) == "asyncio.TaskGroup()"


def is_group(annotation: ast.AST | None) -> bool:
    return annotation is not None and ast.unparse(annotation) == "asyncio.TaskGroup"


def name_of(node: ast.AST | None) -> str:
    """Return the name of a variable or an attribute, which may be a private copy of it."""
    if isinstance(node, ast.Attribute):
        return node.attr.lstrip("_")
    return node.id if isinstance(node, ast.Name) else ""
