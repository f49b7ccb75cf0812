"""Interference with processes from outside."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Freeze a process and its children: their connections stay open without a response."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        member.suspend()
    try:
        yield
    finally:
        for member in family:
            member.resume()
