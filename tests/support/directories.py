"""Directories for the data of servers that end with the tests: in memory if there is room."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solarhub.child import allow_passage

MEMORY = Path("/dev/shm")
# The run's server takes 0.5 GB at most, a whole hub 0.1 GB.
_ROOM_MIN_BYTES = 2 * 2**30


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Create a directory that every user may pass; delete it at the end.

    To copy and drop a database takes a quarter of the time in memory: it has hundreds of files.
    """
    base = MEMORY if _has_room() else None
    with tempfile.TemporaryDirectory(prefix="solarhub-", dir=base) as directory:
        allow_passage(Path(directory))
        yield Path(directory)


def _has_room() -> bool:
    # In containers it often has 64 MB.
    return os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > _ROOM_MIN_BYTES
