"""Child processes: start, watch and stop servers, also as an unprivileged user.

PostgreSQL refuses to run as root. When the hub runs as root, the server runs as another user, who
must be able to reach its files. Directories above the data directory are checked, never changed.
"""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

import psutil

from solarhub.errors import CommandError

READY_WITHIN_S = 60.0
# Per signal, from the gentlest to SIGKILL. Two of them fit into `process.STOP_WITHIN_S`.
STOP_WITHIN_S = 4.0
_POLL_S = 0.02
_LOG_TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True)
class ProcessOwner:
    """The unprivileged user that a server runs as when the hub runs as root."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


def with_parent_death_signal(command: Sequence[str], owner: ProcessOwner | None) -> list[str]:
    """Return a command line that runs `command` as `owner` and ends it when this process dies."""
    launcher = [sys.executable, "-m", "solarhub.parent_death_signal"]
    return [*launcher, str(os.getpid()), str(owner or "-"), *command]


class ChildProcess:
    """A running server. Ctrl-C at the terminal does not reach it; the hub's death does (Linux).

    Start it from a thread that lives as long as the server should: the kernel watches the thread.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        stop_signals: Sequence[Signals],
        owner: ProcessOwner | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signals = stop_signals
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                with_parent_death_signal(command, owner),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ensure_running(self) -> None:
        """Raise CommandError when the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise CommandError(f"{self.name} ended with {code}: {self._last_log_line()}")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()`. Raises CommandError if the process ends or takes too long."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not ready():
            self.ensure_running()
            if time.monotonic() > deadline:
                raise CommandError(
                    f"{self.name} was not ready in {READY_WITHIN_S:g} s: {self._last_log_line()}"
                )
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop the process: send each stop signal in turn, SIGKILL at last."""
        for stop_signal in (*self._stop_signals, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            self._process.send_signal(stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_WITHIN_S)

    def _last_log_line(self) -> str:
        text = self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"{text.splitlines()[-1]} (see {self.log})" if text else f"see {self.log}"


def end_orphan(directory: Path, pid_file: str, stop_signals: Sequence[Signals]) -> None:
    """End a server that an earlier run left running in `directory`, and delete its pid file."""
    process = _running_in(directory, pid_file)
    for stop_signal in (*stop_signals, signal.SIGKILL):
        if process is None or not process.is_running():
            break
        process.send_signal(stop_signal)
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(STOP_WITHIN_S)
    (directory / pid_file).unlink(missing_ok=True)


def _running_in(directory: Path, pid_file: str) -> psutil.Process | None:
    """Return the process that the pid file names, unless its pid was reused by another."""
    try:
        process = psutil.Process(int((directory / pid_file).read_text().split()[0]))
        return process if Path(process.cwd()) == directory else None
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return None


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Create a directory for servers' data, which every user may pass; delete it at the end."""
    with tempfile.TemporaryDirectory(prefix="solarhub-") as directory:
        allow_passage(Path(directory))
        yield Path(directory)


def allow_passage(directory: Path) -> None:
    """Let every user pass through a directory of the hub, but not list it."""
    mode = directory.stat().st_mode
    if not mode & stat.S_IXOTH:
        directory.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def ensure_reachable(path: Path, owner: ProcessOwner) -> None:
    """Raise CommandError when `owner` may not pass a directory above `path`."""
    for parent in reversed(path.parents):
        if not _may_pass(parent.stat(), owner):
            raise CommandError(
                f"PostgreSQL does not run as root, and the user it runs as ({owner}) may not pass"
                f" {parent} on the way to {path}: run the hub as an unprivileged user, use another"
                f" directory, or let every user pass with: chmod o+x {parent}"
            )


def _may_pass(directory: os.stat_result, owner: ProcessOwner) -> bool:
    if directory.st_uid == owner.uid:
        return bool(directory.st_mode & stat.S_IXUSR)
    if directory.st_gid == owner.gid:
        return bool(directory.st_mode & stat.S_IXGRP)
    return bool(directory.st_mode & stat.S_IXOTH)
