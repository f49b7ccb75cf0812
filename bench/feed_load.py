"""The live feed under load: Redis, a relay, a hub and many WebSockets, each a process."""

import json
import sys
from asyncio import timeout
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil

from bench import cpu, http_load
from bench.database import environment
from bench.options import Options
from bench.processes import BenchError, Served, free_port, listens, running, solarhub
from bench.websocket_load import WITHIN_S
from core.ids import UserId
from core.settings import DatabaseSettings
from solarhub import embedded

SOCKETS_PER_USER = 20
_CONNECT_WITHIN_S = 180
_MARGIN_S = 10


@dataclass(frozen=True, slots=True)
class BenchFeed:
    """The processes of the feed."""

    hub: Served
    relay: Served
    redis: Served

    def clock(self, others: Mapping[str, psutil.Process]) -> cpu.CpuClock:
        """Return a clock of the feed's processes and `others`."""
        feed = {"hub": self.hub, "relay": self.relay, "Redis": self.redis}
        return cpu.CpuClock({**{name: its.child.psutil for name, its in feed.items()}, **others})


@asynccontextmanager
async def feed(options: Options, database: DatabaseSettings) -> AsyncIterator[BenchFeed]:
    """Run one relay and one hub with default settings, on a Redis in memory."""
    redis_port, hub_port, metrics_port = free_port(), free_port(), free_port()
    env = environment(database) | {
        "SOLARHUB_REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "SOLARHUB_REALTIME_PORT": str(hub_port),
        "SOLARHUB_JWT_SECRET": options.jwt_secret,
        "SOLARHUB_LOG_LEVEL": "warning",
    }
    valkey = (str(embedded.valkey_program()), "--port", str(redis_port), "--save", "")
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(running("valkey", *valkey, logs=options.work))
        await redis.ready(partial(listens, redis_port))
        served = []
        for name, port, more in (
            ("relay", metrics_port, {"SOLARHUB_METRICS_PORT": str(metrics_port)}),
            ("realtime", hub_port, {}),
        ):
            child = await stack.enter_async_context(
                running(name, *solarhub(name), logs=options.work, env=env | more)
            )
            await child.ready(partial(listens, port))
            served.append(Served(port, child))
        yield BenchFeed(hub=served[1], relay=served[0], redis=Served(redis_port, redis))


class WebSocketLoadProcess:
    """A process of `bench.websocket_load`, whose sockets are connected."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def send(self, *words: str) -> None:
        """Send a command; events count once this returns. `result` waits for the outcome."""
        assert self._process.stdin is not None
        self._process.stdin.write((" ".join(words) + "\n").encode())
        await self.read_line(_MARGIN_S)

    async def result(self) -> Any:
        return json.loads(await self.read_line(WITHIN_S + _MARGIN_S))

    async def read_line(self, within_s: float) -> bytes:
        assert self._process.stdout is not None
        async with timeout(within_s):
            line = await self._process.stdout.readline()
        if not line:
            raise BenchError("the process with the sockets ended: its output is above")
        return line


@asynccontextmanager
async def open_sockets(
    options: Options,
    port: int,
    clients: int,
    *,
    protocol: str = "hub",
    users: Sequence[UserId] = (),
    channels: Sequence[str] = (),
) -> AsyncIterator[WebSocketLoadProcess]:
    """Open `clients` sockets to a port, signed in as the users in turn."""
    tokens = options.work / "tokens"
    tokens.write_text(
        "".join(f"{http_load.token_of(options.jwt_secret, user)}\n" for user in users)
    )
    process = await create_subprocess_exec(
        sys.executable, "-m", "bench.websocket_load",
        protocol, str(port), str(clients), str(tokens), ",".join(channels), stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    try:
        sockets = WebSocketLoadProcess(process)
        await sockets.read_line(_CONNECT_WITHIN_S)
        yield sockets
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
