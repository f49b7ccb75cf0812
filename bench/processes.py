"""Child processes that end with the block in which they are used, and free ports for them."""

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
    """A case cannot run, or its measurement is not valid."""


class BenchProcess:
    """A running process and its log file."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.psutil = psutil.Process(process.pid)
        self._log = log

    async def ready(self, check: Callable[[], Awaitable[bool]], *, within_s: float = 30) -> None:
        """Wait until `check` holds. Raises BenchError if the process ends first, or on timeout."""
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
        return text or "its log is empty"


@dataclass(frozen=True, slots=True)
class Served:
    """A child process that listens on a port of this machine."""

    port: int
    child: BenchProcess


@contextlib.asynccontextmanager
async def running(
    name: str, *argv: str, logs: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[BenchProcess]:
    """Run a process in a group of its own; end the whole group with the block.

    The kernel ends the process if the benchmark is killed (Linux).
    """
    log = logs / f"{name}.log"
    launcher = (sys.executable, "-m", "solarhub.parent_death_signal", str(os.getpid()), "-")
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *launcher,
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
    """Return what a command prints. Raises BenchError when it fails or takes longer."""
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
        message = (err or out)[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        raise BenchError(f"{Path(argv[0]).name} ended with {process.returncode}: {message}")
    return out.decode()


def program(name: str) -> str:
    """Return the path of a program. Raises BenchError when it is not installed."""
    found = _find(name)
    if found is None:
        raise BenchError(f"{name} is not installed: install your system's package of that name")
    return found


def is_installed(name: str) -> bool:
    return _find(name) is not None


def _find(name: str) -> str | None:
    # On Debian some programs are in directories that only root's PATH contains.
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def solarhub(*command: str) -> tuple[str, ...]:
    """Return the command line of one of the hub's own processes."""
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
