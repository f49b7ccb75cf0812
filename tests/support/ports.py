"""Free TCP ports that no other test gets, whichever process or test run it is in."""

import fcntl
import os
import tempfile
from pathlib import Path

from solarhub import ports

# Locking a byte of this file reserves the port of that number until the process ends.
_RESERVED = Path(tempfile.gettempdir()) / f"solarhub-test-ports-{os.geteuid()}"
_file = os.open(_RESERVED, os.O_RDWR | os.O_CREAT, 0o600)
_ours: set[int] = set()


def free() -> int:
    """Return a port on which nothing listens, reserved for this process."""
    while (port := ports.free()) in _ours or not _reserve(port):
        pass
    _ours.add(port)
    return port


def _reserve(port: int) -> bool:
    try:
        fcntl.lockf(_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except BlockingIOError:
        return False
    return True
