"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.tasks import background_task

_BAR_EVERY_S = 0.25
_LINE_EVERY_S = 5.0


@asynccontextmanager
async def show_progress(
    title: str,
    total: float | None,
    done: Callable[[], float],
    note: Callable[[], str],
    *,
    stream: TextIO = sys.stderr,
) -> AsyncIterator[None]:
    """Show `done()` of `total` and `note()` inside the block; `total` is None if unknown."""
    show = _bar if stream.isatty() else _lines
    async with background_task(show(title, total, done, note, stream)):
        yield


async def _bar(
    title: str,
    total: float | None,
    done: Callable[[], float],
    note: Callable[[], str],
    stream: TextIO,
) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(file=stream), auto_refresh=False) as bar:
        task = bar.add_task(title, total=total, note="")
        try:
            while True:
                bar.update(task, completed=done(), note=note(), refresh=True)
                await asyncio.sleep(_BAR_EVERY_S)
        finally:
            bar.update(task, completed=done(), note=note(), refresh=True)


async def _lines(
    title: str,
    total: float | None,
    done: Callable[[], float],
    note: Callable[[], str],
    stream: TextIO,
) -> None:
    of = "" if total is None else f" of {total:,.0f}"
    while True:
        await asyncio.sleep(_LINE_EVERY_S)
        stream.write(f"{title}: {done():,.0f}{of}; {note()}\n")
        stream.flush()
