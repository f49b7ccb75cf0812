"""The whole hub as a process, started as a user starts it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.ports import free

READY_WITHIN_S = 60


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "solarhub", *arguments],
        env=environment(settings), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


class Hub:
    """`solarhub up` in a process group of its own."""

    def __init__(self, data: Path, *arguments: str, **settings: str) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-m", "solarhub", "up", "--data", str(data), *arguments],
            env=environment(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    def wait_ready(self) -> dict[str, object]:
        """Return the content of `run.json` once this process has written it."""
        deadline = time.monotonic() + READY_WITHIN_S
        while (said := self._run()).get("pid") != self.process.pid:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "the hub was not ready in time"
            time.sleep(0.05)
        return said

    def _run(self) -> dict[str, object]:
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, object] = json.loads((self.data / "run.json").read_text())
            return found
        return {}

    def end(self, number: signal.Signals = signal.SIGTERM, *, group: bool = False) -> float:
        """End the hub, read its `output` and `errors`, and return the seconds that it took."""
        began = time.monotonic()
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.output, self.errors = self.process.communicate(timeout=30)
        return time.monotonic() - began

    def processes(self) -> list[psutil.Process]:
        """Return the other processes that work on the hub's data."""
        return [
            process
            for process in psutil.process_iter()
            if process.pid != self.process.pid and _works_in(process, self.data)
        ]


@contextmanager
def hub(data: Path, *arguments: str, **settings: str) -> Iterator[Hub]:
    started = Hub(data, *arguments, **settings)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        if started.process.stdout and not started.process.stdout.closed:
            started.process.communicate()


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and any(
            str(data) in argument for argument in process.cmdline()
        )
    except psutil.Error:
        return False


def environment(ours: dict[str, str]) -> dict[str, str]:
    """Return an environment without fixed ports and with a fast bcrypt."""
    ports = {f"SOLARHUB_{name}_PORT": str(free()) for name in ("API", "REALTIME", "MQTT")}
    return {**os.environ, **ports, "SOLARHUB_BCRYPT_ROUNDS": "4", **ours}
