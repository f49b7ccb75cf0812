"""Server processes that we start, watch and end."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

import psutil

from solarhub.errors import CommandError

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 4.0
_POLL_S = 0.02
_LOG_TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True)
class ProcessOwner:
    """The unprivileged user that a server runs as when we are root."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


def leashed(command: Sequence[str], owner: ProcessOwner | None) -> list[str]:
    """The command line that runs `command` as `owner`, and not longer than we live."""
    leash = [
        sys.executable,
        "-m",
        "solarhub.parent_death_signal",
        str(os.getpid()),
        str(owner or "-"),
    ]
    return [*leash, *command]


class ChildProcess:
    """A running server. Ctrl-C at the terminal does not reach it; our death does (Linux).

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
                leashed(command, owner),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ensure_running(self) -> None:
        """Raises HubError when it has ended."""
        code = self._process.poll()
        if code is not None:
            raise CommandError(f"{self.name} ended with {code}: {self._last_words()}")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Raises HubError when it ends before it is ready, or takes too long."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not ready():
            self.ensure_running()
            if time.monotonic() > deadline:
                raise CommandError(
                    f"{self.name} was not ready in {READY_WITHIN_S:g} s: {self._last_words()}"
                )
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End it, from gently to at once."""
        for stop_signal in (*self._stop_signals, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            self._process.send_signal(stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_WITHIN_S)

    def _last_words(self) -> str:
        text = self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"{text.splitlines()[-1]} (see {self.log})" if text else f"see {self.log}"


def end_orphan(directory: Path, pid_file: str, stop_signals: Sequence[Signals]) -> None:
    """End the server that an earlier run left at work in `directory`, and forget its pid file."""
    process = _at_work_in(directory, pid_file)
    for stop_signal in (*stop_signals, signal.SIGKILL):
        if process is None or not process.is_running():
            break
        process.send_signal(stop_signal)
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(STOP_WITHIN_S)
    (directory / pid_file).unlink(missing_ok=True)


def _at_work_in(directory: Path, pid_file: str) -> psutil.Process | None:
    """The process that the pid file names, unless the number belongs to another one by now."""
    try:
        process = psutil.Process(int((directory / pid_file).read_text().split()[0]))
        return process if Path(process.cwd()) == directory else None
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return None
