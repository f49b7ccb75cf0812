"""A hub of many processes, where everything dies at any moment and comes back."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import cast

import psutil

from solarhub.embedded import EmbeddedServer
from tests.support.ports import free


def lasts_s(by_itself_s: float) -> float:
    """Return how long a test of disasters lasts; `SOLARHUB_TEST_TURMOIL` makes it longer."""
    asked = os.environ.get("SOLARHUB_TEST_TURMOIL")
    return float(asked.removesuffix("s")) if asked else by_itself_s


def chosen_rounds(by_itself: int) -> int:
    """Return the number of rounds of disasters; `SOLARHUB_TEST_ROUNDS` makes it larger."""
    return int(os.environ.get("SOLARHUB_TEST_ROUNDS") or by_itself)


def chosen_seed() -> int:
    """Return the seed of all random choices: `SOLARHUB_TEST_SEED`, or another each time."""
    asked = os.environ.get("SOLARHUB_TEST_SEED")
    return int(asked) if asked else Random().randrange(1_000_000)


class Backing:
    """PostgreSQL or Valkey: killed with all its children, and started again with what it kept.

    Its starts and stops all happen on a thread of its own: a server does not outlive the thread
    that started it, and starting one takes a while.
    """

    def __init__(
        self, start: Callable[[Path], AbstractContextManager[EmbeddedServer]], home: Path
    ) -> None:
        self._start = start
        self._home = home
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._killing = asyncio.Lock()
        self._running: AbstractContextManager[EmbeddedServer] | None = None
        self._server: EmbeddedServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return self._server.url

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.child.pid

    async def start(self) -> None:
        self._running = self._start(self._home)
        self._server = await self._in_thread(self._running.__enter__)

    async def stop(self) -> None:
        if self._running is not None:
            await self._in_thread(partial(self._running.__exit__, None, None, None))
            self._running = None
        self._thread.shutdown()

    async def kill(
        self, *, away_s: float = 0, until: asyncio.Event | None = None, forgets: bool = False
    ) -> None:
        """Kill it; start it after a while, without what it kept if it `forgets`."""
        async with self._killing:
            assert self._running is not None
            await self._in_thread(partial(_kill_tree, self.pid))
            await self._in_thread(partial(self._running.__exit__, None, None, None))
            self._running = None
            if forgets:
                shutil.rmtree(self._home)
            await asyncio.sleep(away_s)
            if until is not None:
                await until.wait()
            await self.start()

    async def _in_thread(self, call: Callable[[], object]) -> EmbeddedServer:
        result = await asyncio.get_running_loop().run_in_executor(self._thread, call)
        return cast(EmbeddedServer, result)


def _kill_tree(pid: int) -> None:
    """Kill a process with its children: PostgreSQL's would work on for a moment."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        # A child, such as a connection's process, may have ended since.
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family[1:], timeout=10)


class Part:
    """`solarhub relay` or `realtime`, a process that is started again when it was killed."""

    def __init__(self, name: str, log: Path, settings: dict[str, str]) -> None:
        self._name = name
        self.log = log
        self._settings = settings
        self._killing = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "solarhub", self._name,
                env={**os.environ, **self._settings}, stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self, *, away_s: float) -> None:
        async with self._killing:
            await self.end()
            await asyncio.sleep(away_s)
            await self.start()

    async def end(self) -> None:
        """At once, and whatever it is at."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


class Door:
    """The one way in to several hubs: sends each client to any of them, and cuts some off."""

    def __init__(self, hub_ports: list[int], chance: Random) -> None:
        self.port = free()
        self._hub_ports = hub_ports
        self._chance = chance
        self._open: set[asyncio.BaseTransport] = set()

    @asynccontextmanager
    async def standing_open(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Visitor(self), "127.0.0.1", self.port)
        try:
            yield
        finally:
            server.close()
            self.cut_off(len(self._open))

    def cut_off(self, count: int) -> None:
        """End connections at once, wherever they are in a frame."""
        for transport in self._chance.sample(sorted(self._open, key=id), count):
            cast(asyncio.Transport, transport).abort()

    def clients(self) -> int:
        return len(self._open)

    async def lead_in(self, visitor: "_Visitor") -> None:
        """Connect a visitor to a hub; to another when that one is down."""
        for port in self._chance.sample(self._hub_ports, len(self._hub_ports)):
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda: _Hub(visitor), "127.0.0.1", port
                )
            except OSError:
                continue
            return
        visitor.transport.abort()

    def entered(self, transport: asyncio.Transport) -> None:
        self._open.add(transport)

    def left(self, transport: asyncio.Transport) -> None:
        self._open.discard(transport)


class _Side(asyncio.Protocol):
    """One end of a connection through the door; what one hears the other says."""

    transport: asyncio.Transport
    other: "_Side | None" = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            (self.other.transport.abort if exc else self.other.transport.close)()


class _Visitor(_Side):
    def __init__(self, door: Door) -> None:
        self._door = door
        self._early = b""
        self._leading_in: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._door.entered(self.transport)
        self._leading_in = asyncio.ensure_future(self._door.lead_in(self))

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            super().data_received(data)

    def meet(self, hub: "_Hub") -> None:
        self.other = hub
        hub.transport.write(self._early)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.left(self.transport)
        super().connection_lost(exc)


class _Hub(_Side):
    def __init__(self, visitor: _Visitor) -> None:
        self.other = visitor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(self.other, _Visitor)
        if self.other.transport.is_closing():
            transport.close()
        else:
            self.other.meet(self)
