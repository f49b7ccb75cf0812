"""How a server that runs as an unprivileged user gets to its files when the hub runs as root.

Permissions above the data directory are somebody else's: they are looked at, never changed.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solarhub.child import ProcessOwner
from solarhub.errors import CommandError


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory for the data of servers, which goes with them."""
    with tempfile.TemporaryDirectory(prefix="solarhub-") as directory:
        let_pass(Path(directory))
        yield Path(directory)


def let_pass(directory: Path) -> None:
    """Let every user pass through a directory of ours, but not look into it."""
    mode = directory.stat().st_mode
    if not mode & stat.S_IXOTH:
        directory.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def ensure_reachable(path: Path, owner: ProcessOwner) -> None:
    """Raise HubError when there is a directory above `path` that `owner` may not pass."""
    for parent in reversed(path.parents):
        if not _may_pass(parent.stat(), owner):
            raise CommandError(
                f"PostgreSQL does not run as root, and the user that it runs as ({owner}) may not"
                f" pass {parent} on the way to {path}: run the hub as an unprivileged user, or from"
                f" where everybody may pass, or let everybody pass: chmod o+x {parent}"
            )


def _may_pass(directory: os.stat_result, owner: ProcessOwner) -> bool:
    if directory.st_uid == owner.uid:
        return bool(directory.st_mode & stat.S_IXUSR)
    if directory.st_gid == owner.gid:
        return bool(directory.st_mode & stat.S_IXGRP)
    return bool(directory.st_mode & stat.S_IXOTH)
