"""HTTP load by wrk on contestants that take turns: orders of buyers, and paths to browse."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

from bench import cpu
from bench.database import environment
from bench.options import Options
from bench.processes import (
    BenchError,
    Served,
    free_port,
    listens,
    output_of,
    program,
    running,
    solarhub,
)
from bench.result import Contestant, Sample, turns
from core import tokens
from core.enums import UserRole
from core.ids import ListingId, UserId
from core.settings import DatabaseSettings

PURCHASE_PATH = "/api/v1/marketplace/purchase"
_TOKEN_LIFETIME = timedelta(hours=1)
_SCRIPTS = Path(__file__).parent
# Time that wrk may take beyond its turn.
_MARGIN_S = 30
_WARM_UP_S = 2

# Sends requests to one contestant for the given number of seconds.
Turn = Callable[[int], Awaitable[Sample]]


async def measure_turns(
    options: Options, contest: Mapping[str, Turn], about: Mapping[str, str]
) -> list[Contestant]:
    """Warm all contestants up, then let them take turns; `about` describes each in a few words."""
    for turn in contest.values():
        await turn(_WARM_UP_S)
    samples: dict[str, list[Sample]] = {name: [] for name in contest}
    for number in range(options.rounds):
        for name in turns(list(contest), number):
            samples[name].append(await contest[name](options.seconds))
    return [Contestant(name, about[name], samples[name]) for name in contest]


def with_cpu_time(clock: cpu.CpuClock, turn: Turn) -> Turn:
    """Return a turn that also samples the CPU time of the clock's processes."""

    async def measured(seconds: int) -> Sample:
        began = clock.read_s()
        sample = await turn(seconds)
        return replace(sample, cpu_us=clock.since_us(began, round(sample.per_s * seconds)))

    return measured


@asynccontextmanager
async def api(options: Options, database: DatabaseSettings) -> AsyncIterator[Served]:
    """Run one process of the hub's API."""
    port = free_port()
    env = environment(database) | {
        "SOLARHUB_API_PORT": str(port),
        "SOLARHUB_JWT_SECRET": options.jwt_secret,
        "SOLARHUB_LOG_LEVEL": "warning",
        # Few buyers send the load of many: requests are still counted, but none is refused.
        "SOLARHUB_RATE_LIMIT_WRITES": "99999/second",
    }
    async with running("api", *solarhub("api"), logs=options.work, env=env) as child:
        await child.ready(partial(listens, port))
        yield Served(port, child)


def write_orders(path: Path, orders: Iterable[tuple[UserId, ListingId]], jwt_secret: str) -> None:
    """Write one line per (buyer, listing), as `purchase.lua` reads them."""
    with path.open("w") as file:
        file.writelines(f"{token_of(jwt_secret, buyer)} {listing}\n" for buyer, listing in orders)


def token_of(jwt_secret: str, buyer: UserId) -> str:
    return tokens.sign(
        jwt_secret,
        user_id=buyer,
        email=f"{buyer}@bench.test",
        role=UserRole.BUYER,
        now=datetime.now(UTC),
        ttl=_TOKEN_LIFETIME,
    )


async def send_orders(options: Options, port: int, orders: Path, seconds: int) -> Sample:
    """Send orders on all connections for `seconds`. Raises BenchError unless all succeed."""
    url = f"http://127.0.0.1:{port}{PURCHASE_PATH}"
    return await _wrk(options, "purchase.lua", url, str(orders), uuid4().hex, seconds=seconds)


async def browse(options: Options, port: int, paths: Path, buyer: UserId, seconds: int) -> Sample:
    """Request a file's paths on all connections. Raises BenchError unless all succeed."""
    url, token = f"http://127.0.0.1:{port}", token_of(options.jwt_secret, buyer)
    return await _wrk(options, "browse.lua", url, str(paths), token, seconds=seconds)


async def _wrk(options: Options, script: str, url: str, *arguments: str, seconds: int) -> Sample:
    output = await output_of(
        *(program("wrk"), "-t1", f"-c{options.connections}", f"-d{seconds}s", "--timeout", "10s"),
        *("-s", str(_SCRIPTS / script), url, "--", *arguments),
        within_s=seconds + _MARGIN_S,
    )
    summary = json.loads(output.splitlines()[-1])
    if summary["refused"] or summary["broken"] or not summary["answers"]:
        raise BenchError(f"not every request succeeded: {summary}")
    return Sample(summary["answers"] / summary["seconds"], summary["p50_ms"], summary["p99_ms"])
