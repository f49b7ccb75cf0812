"""Child processes that end with the block that they are used in, and free ports for them."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from solarhub.errors import CommandError

STOP_S = 10
LOG_TAIL_BYTES = 2000
_POLL_S = 0.05


class BenchError(CommandError):
    """A case can't run, or came to nothing."""


class BenchProcess:
    """A running process and the file that it logs to."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.psutil = psutil.Process(process.pid)
        self._log = log

    async def ready(self, check: Callable[[], Awaitable[bool]], *, within_s: float = 30) -> None:
        """Wait until `check` holds. Raises BenchError when the process ends before, or too late."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not await check():
            self.ensure_running()
            if asyncio.get_running_loop().time() > deadline:
                raise BenchError(f"{self.name} was not ready in {within_s:g} s: {self._tail()}")
            await asyncio.sleep(_POLL_S)

    def ensure_running(self) -> None:
        if self.process.returncode is not None:
            raise BenchError(f"{self.name} ended with {self.process.returncode}: {self._tail()}")

    def _tail(self) -> str:
        text = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return text or "it said nothing"


@dataclass(frozen=True, slots=True)
class Served:
    """A process of ours that listens on a port of this machine."""

    port: int
    child: BenchProcess


@contextlib.asynccontextmanager
async def running(
    name: str, *argv: str, logs: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[BenchProcess]:
    """Run a process in a group of its own; the whole group is gone when the block ends.

    Also when we are killed (Linux): the process is on a leash.
    """
    log = logs / f"{name}.log"
    leash = (sys.executable, "-m", "solarhub.parent_death_signal", str(os.getpid()), "-")
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *leash,
            program(argv[0]),
            *argv[1:],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield BenchProcess(name, process, log)
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def output_of(
    *argv: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, within_s: float
) -> str:
    """What a command printed. Raises BenchError when it fails or takes longer."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), within_s)
    except TimeoutError:
        raise BenchError(f"{Path(argv[0]).name} took longer than {within_s:g} s") from None
    finally:
        if process.returncode is None:
            await _stop(process)
    if process.returncode != 0:
        said = (err or out)[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        raise BenchError(f"{Path(argv[0]).name} ended with {process.returncode}: {said}")
    return out.decode()


def program(name: str) -> str:
    """The path of a program. Raises BenchError when it is not installed."""
    found = _find(name)
    if found is None:
        raise BenchError(f"{name} is not installed: install your system's package of that name")
    return found


def is_installed(name: str) -> bool:
    return _find(name) is not None


def _find(name: str) -> str | None:
    # Debian puts some where only root's PATH leads.
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def solarhub(*command: str) -> tuple[str, ...]:
    """The command line of one of our own processes."""
    return (sys.executable, "-m", "solarhub", *command)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
