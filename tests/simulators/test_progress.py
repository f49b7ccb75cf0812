"""Tests of the progress that long commands show."""

import asyncio
import io

import pytest

from simulators import progress
from simulators.progress import show_progress
from tests.support.waiting import eventually


async def test_progress_is_written_until_the_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    stream = io.StringIO()
    async with show_progress("Readings", 2000, lambda: 1500, lambda: "one lost", stream=stream):
        await eventually(stream.getvalue)
    shown = stream.getvalue()
    assert shown.startswith("Readings: 1,500 of 2,000; one lost\n")
    await asyncio.sleep(0)
    assert stream.getvalue() == shown


async def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with show_progress("Readings", None, lambda: 0, lambda: "", stream=io.StringIO()):
            raise ZeroDivisionError
