"""Contestants that are asked over HTTP: they stand ready together, and take turns."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from bench import cpu
from bench.database import environment
from bench.options import Options
from bench.processes import Served, free_port, listens, running, solarhub
from bench.result import Contestant, Sample, turns
from core.settings import DatabaseSettings

_WARM_UP_S = 2

# Asks one contestant for so many seconds.
Turn = Callable[[int], Awaitable[Sample]]


async def measure(
    options: Options, contest: Mapping[str, Turn], about: Mapping[str, str]
) -> list[Contestant]:
    """Let them warm up, then take turns; `about` says what each is in a few words."""
    for turn in contest.values():
        await turn(_WARM_UP_S)
    samples: dict[str, list[Sample]] = {name: [] for name in contest}
    for number in range(options.rounds):
        for name in turns(list(contest), number):
            samples[name].append(await contest[name](options.seconds))
    return [Contestant(name, about[name], samples[name]) for name in contest]


def timed(clock: cpu.CpuClock, turn: Turn) -> Turn:
    """The same turn, with the CPU time that it took others than the load generator."""

    async def timed(seconds: int) -> Sample:
        began = clock.read_s()
        sample = await turn(seconds)
        return replace(sample, cpu_us=clock.since_us(began, round(sample.per_s * seconds)))

    return timed


@asynccontextmanager
async def api(options: Options, database: DatabaseSettings) -> AsyncIterator[Served]:
    """One process of our API."""
    port = free_port()
    env = environment(database) | {
        "SOLARHUB_API_PORT": str(port),
        "SOLARHUB_JWT_SECRET": options.jwt_secret,
        "SOLARHUB_LOG_LEVEL": "warning",
        # Few people buy as much as all of a town: each is counted, and none is stopped.
        "SOLARHUB_RATE_LIMIT_WRITES": "99999/second",
    }
    async with running("api", *solarhub("api"), logs=options.work, env=env) as child:
        await child.ready(partial(listens, port))
        yield Served(port, child)
