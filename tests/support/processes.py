"""What is done to a process from outside."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """It and its children hold their connections, and say nothing on them."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        member.suspend()
    try:
        yield
    finally:
        for member in family:
            member.resume()
