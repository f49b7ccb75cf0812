"""Cases `purchase` and `purchase-hot`: orders of many buyers on keep-alive connections."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from bench import cpu, http_load, peers, seed
from bench.database import analyze, audit, connected
from bench.http_load import Turn, api, measure_turns, with_cpu_time
from bench.options import Options
from bench.result import Result, Target, ratio
from bench.seed import Market
from core.settings import DatabaseSettings
from db.pool import Connection

HOSTS, BUYERS, LISTINGS = 500, 300, 2_000
ORDERS = 6_000
_BALANCE = Decimal(1_000_000)
_SEED = 1

_HUB, _EXPRESS, _PGBENCH = "hub", "Express", "pgbench"
_ABOUT = {
    _HUB: "one API process: ledger, idempotency key, outbox",
    _EXPRESS: "one Express 5 process, seed design",
    _PGBENCH: "the seed design's statements, no HTTP",
}


async def spread(options: Options) -> Result:
    """Measure orders for 2,000 listings, against Express and its bare statements."""
    async with _contest(options, LISTINGS, with_express=peers.has_node()) as contest:
        contestants = await measure_turns(options, contest.turns, _ABOUT)
        passed = await audit(contest.database)
    hub, *others = contestants
    wanted = {_EXPRESS: 2.0, _PGBENCH: 0.4}
    return Result(
        case="purchase",
        what=f"POST /marketplace/purchase, {options.connections} connections",
        unit="purchases/s",
        contestants=contestants,
        targets=(
            *(Target(f"of {c.name}", wanted[c.name], ratio(hub, c)) for c in others),
            Target("p99 ms", 50, hub.p99_ms or 0, at_most=True),
        ),
        audit_passed=passed,
        parameters=_parameters(options, LISTINGS),
        absent=peers.absent(_EXPRESS),
    )


async def hot(options: Options) -> Result:
    """Measure orders for one listing, against the bare statements on one row."""
    async with _contest(options, 1, with_express=False) as contest:
        contestants = await measure_turns(options, contest.turns, _ABOUT)
        passed = await audit(contest.database)
    hub, floor = contestants
    return Result(
        case="purchase-hot",
        what=f"all on one listing, {options.connections} connections",
        unit="purchases/s",
        contestants=contestants,
        targets=(Target("of pgbench", 0.5, ratio(hub, floor)),),
        audit_passed=passed,
        parameters=_parameters(options, 1),
    )


def _parameters(options: Options, listings: int) -> dict[str, int | float | str]:
    return {
        "connections": options.connections,
        "listings": listings,
        "buyers": BUYERS,
        "rounds": options.rounds,
        "seconds_per_turn": options.seconds,
    }


@dataclass(frozen=True, slots=True)
class _Contest:
    """The hub's database, and the turn of each contestant."""

    database: DatabaseSettings
    turns: dict[str, Turn]


@asynccontextmanager
async def _contest(
    options: Options, listings: int, *, with_express: bool
) -> AsyncIterator[_Contest]:
    """Start all contestants, the hub first, on one database server."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(options.server.hub_database())
        conn = await stack.enter_async_context(connected(database))
        postgres = await cpu.postgres(conn)
        market = await _market(conn, listings)
        hub = await stack.enter_async_context(api(options, database))
        clock = cpu.CpuClock({"API": hub.child.psutil} | postgres)
        contest: dict[str, Turn] = {
            _HUB: with_cpu_time(clock, _orders(options, _HUB, hub.port, market))
        }
        peer, market = await stack.enter_async_context(peers.seed_design(options.server))
        if with_express:
            express = await stack.enter_async_context(peers.express(options, peer))
            clock = cpu.CpuClock({_EXPRESS: express.child.psutil} | postgres)
            contest[_EXPRESS] = with_cpu_time(
                clock, _orders(options, _EXPRESS, express.port, market)
            )
        statements = partial(peers.pgbench, options, peer, listings)
        contest[_PGBENCH] = with_cpu_time(cpu.CpuClock(postgres), statements)
        yield _Contest(database, contest)


async def _market(conn: Connection, listings: int) -> Market:
    market = await seed.market(
        conn, hosts=HOSTS, buyers=BUYERS, listings=listings, balance=_BALANCE
    )
    await analyze(conn)
    return market


def _orders(options: Options, name: str, port: int, market: Market) -> Turn:
    """Return a turn with orders of random buyers for random listings, the same in every run."""
    rng = random.Random(_SEED)
    path = options.work / f"{name}.orders"
    pairs = ((rng.choice(market.buyers), rng.choice(market.listings)) for _ in range(ORDERS))
    http_load.write_orders(path, pairs, options.jwt_secret)
    return partial(http_load.send_orders, options, port, path)
