"""Case `scale`: the cost of a reading as the fleet grows, and of a purchase as the market grows."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from bench import cpu, http_load, seed
from bench.database import analyze, audit, connected
from bench.http_load import Turn, api, measure_turns, with_cpu_time
from bench.ingest import QueuedFleet, queued_fleet
from bench.options import Options
from bench.result import Contestant, Result, Sample, Target, ratio, turns
from core.settings import DatabaseSettings

DEVICES = (100, 1_000, 10_000)
COST_MAX = 1.2
FEW_LISTINGS, BUYERS = 10_000, 300
_BALANCE = Decimal(1_000_000)
# The same number in every market: what earlier orders leave in caches is then the same too.
_ORDERED_LISTINGS = "SELECT id FROM energy_listings ORDER BY id LIMIT $1"
_SEED = 1


async def devices(options: Options) -> Result:
    """Measure single readings of 100, 1,000 and 10,000 devices, each fleet in its own database."""
    async with AsyncExitStack() as stack:
        fleets: dict[int, QueuedFleet] = {}
        for count in DEVICES:
            work = options.work / str(count)
            work.mkdir()
            sized = replace(options, work=work, devices=count)
            fleets[count] = await stack.enter_async_context(queued_fleet(sized, readings_each=1))
        samples: dict[int, list[Sample]] = {count: [] for count in DEVICES}
        for number in range(options.rounds):
            for count in turns(DEVICES, number):
                fleet = fleets[count]
                samples[count].append(await fleet.hub(await fleet.queue(number)))
        passed = all([await audit(fleet.database) for fleet in fleets.values()])
    contestants = [
        Contestant(f"{count:,} devices", "in turn, one reading each", samples[count])
        for count in DEVICES
    ]
    return Result(
        case="scale",
        what="QoS 1 readings of fleets of several sizes, one ingester",
        unit="readings/s",
        contestants=contestants,
        targets=_within("reading", contestants),
        audit_passed=passed,
        parameters={"readings_per_round": options.readings, "rounds": options.rounds},
    )


async def purchases(options: Options) -> Result:
    """Measure orders of 300 buyers in a small and a large market, each in its own database."""
    async with AsyncExitStack() as stack:
        markets = {
            f"{size:,} listings": await stack.enter_async_context(_market(options, size))
            for size in (FEW_LISTINGS, options.listings)
        }
        about = dict.fromkeys(markets, "one API process, any of 10,000 of them")
        contest: Mapping[str, Turn] = {name: market.turn for name, market in markets.items()}
        contestants = await measure_turns(options, contest, about)
        passed = all([await audit(market.database) for market in markets.values()])
    return Result(
        case="scale-purchases",
        what=f"purchases in markets of two sizes, {options.connections} connections",
        unit="purchases/s",
        contestants=contestants,
        targets=_within("purchase", contestants),
        audit_passed=passed,
        parameters={
            "listings": options.listings, "buyers": BUYERS, "connections": options.connections,
            "rounds": options.rounds, "seconds_per_turn": options.seconds,
        },
    )  # fmt: skip


def _within(item: str, contestants: Sequence[Contestant]) -> tuple[Target, ...]:
    """Return targets for the cost of an item, relative to the smallest contestant."""
    smallest, *larger = contestants
    return tuple(
        Target(f"time of a {item}, {c.name}", COST_MAX, ratio(smallest, c), at_most=True)
        for c in larger
    )


@dataclass(frozen=True, slots=True)
class _Market:
    database: DatabaseSettings
    turn: Turn


@asynccontextmanager
async def _market(options: Options, size: int) -> AsyncIterator[_Market]:
    async with (
        seed.market_of_size(options.server, size) as database,
        connected(database) as conn,
        api(options, database) as served,
    ):
        buyers = await seed.customers(conn, BUYERS, _BALANCE)
        await analyze(conn)
        listings = [row["id"] for row in await conn.fetch(_ORDERED_LISTINGS, FEW_LISTINGS)]
        rng, path = random.Random(_SEED), options.work / f"{size}.orders"
        orders = ((rng.choice(buyers), listing) for listing in listings)
        http_load.write_orders(path, orders, options.jwt_secret)
        clock = cpu.CpuClock({"API": served.child.psutil} | await cpu.postgres(conn))
        send = partial(http_load.send_orders, options, served.port, path)
        yield _Market(database, with_cpu_time(clock, send))
