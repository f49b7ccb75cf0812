"""Cases `nearby` and `listings`: users who browse listings on keep-alive connections."""

import random
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

import httpx

from bench import cpu, http_load, peers, seed
from bench.database import audit, connected
from bench.http_load import Turn, api, measure_turns, with_cpu_time
from bench.options import Options
from bench.processes import Served
from bench.result import Contestant, Result, Target, ratio
from bench.seed import BUYER
from core.ids import UserId
from core.settings import DatabaseSettings

FEW = 10_000
RADIUS_KM, PLACES = 5, 1_000
PAGE, PAGE_ROWS, ROWS_MAX = 1_000, 20, 100
_NEARBY, _LISTINGS = "/api/v1/location/nearby-listings", "/api/v1/marketplace/listings"
# Degrees of longitude that are wider than a radius.
_EDGE = 0.05
_SEED = 1

_HUB, _EXPRESS = "hub", "Express"
_ABOUT = {
    _HUB: "one API process, which checks the user",
    _EXPRESS: "one Express 5 process, seed design",
}


@dataclass(frozen=True, slots=True)
class _Market:
    """A market in the hub's database, and the contestants that serve it: the hub first."""

    database: DatabaseSettings
    user: UserId
    served: dict[str, Served]
    clocks: dict[str, cpu.CpuClock]

    def turn(self, options: Options, contestant: str, name: str, paths: Iterable[str]) -> Turn:
        """Return a turn in which the contestant is sent these paths, again and again."""
        file = options.work / f"{contestant}.{name}"
        file.write_text("".join(f"{path}\n" for path in paths))
        turn = partial(http_load.browse, options, self.served[contestant].port, file, self.user)
        return with_cpu_time(self.clocks[contestant], turn)


async def nearby(options: Options) -> Result:
    """Measure the nearest 20 of about 65 listings within 5 km, in a small and a large market."""
    contest: dict[tuple[str, str], Turn] = {}
    async with AsyncExitStack() as stack:
        markets = []
        for size in (FEW, options.listings):
            market = await stack.enter_async_context(_market(options, size))
            for name in market.served:
                turn = market.turn(options, name, str(size), _circles(size))
                contest[name, f"{size:,}"] = turn
            markets.append(market)
        contestants = await _measure(options, contest)
        passed = all([await audit(market.database) for market in markets])
    return Result(
        case="nearby",
        what=f"GET {_NEARBY}, {RADIUS_KM} km, {options.connections} connections",
        unit="answers/s",
        contestants=contestants,
        targets=_targets(contestants, of_express=1.5, growth=1.5),
        audit_passed=passed,
        parameters=_parameters(options) | {"radius_km": RADIUS_KM, "places": PLACES},
        absent=peers.absent(_EXPRESS),
    )


async def listings(options: Options) -> Result:
    """Measure page 1 of all active listings, and page 1,000."""
    contest: dict[tuple[str, str], Turn] = {}
    async with _market(options, options.listings) as market:
        for number in (1, PAGE):
            for name in market.served:
                path = await _page(options, market, name, number)
                turn = market.turn(options, name, str(number), [path])
                contest[name, f"page {number:,}"] = turn
        contestants = await _measure(options, contest)
        passed = await audit(market.database)
    return Result(
        case="listings",
        what=f"GET {_LISTINGS} of {options.listings:,}, {options.connections} connections",
        unit="answers/s",
        contestants=contestants,
        targets=_targets(contestants, of_express=1.2, growth=1.1),
        audit_passed=passed,
        parameters=_parameters(options) | {"page_rows": PAGE_ROWS},
        absent=peers.absent(_EXPRESS),
    )


def _parameters(options: Options) -> dict[str, int | float | str]:
    return {
        "connections": options.connections,
        "listings": options.listings,
        "rounds": options.rounds,
        "seconds_per_turn": options.seconds,
    }


async def _measure(options: Options, contest: dict[tuple[str, str], Turn]) -> list[Contestant]:
    named = {f"{name}, {what}": turn for (name, what), turn in contest.items()}
    about = {f"{name}, {what}": _ABOUT[name] for name, what in contest}
    return await measure_turns(options, named, about)


def _targets(
    contestants: Sequence[Contestant], *, of_express: float, growth: float
) -> tuple[Target, ...]:
    """Return targets: the hub against its peer, and its large task against its small one."""
    hub = [c for c in contestants if c.name.startswith(_HUB)]
    express = [c for c in contestants if c.name.startswith(_EXPRESS)]
    pairs = zip(hub, express, strict=False)  # no peer without Node
    return (
        *(Target(f"of {its.name}", of_express, ratio(mine, its)) for mine, its in pairs),
        Target(f"time of {hub[1].name}", growth, ratio(*hub), at_most=True),
    )


@asynccontextmanager
async def _market(options: Options, size: int) -> AsyncIterator[_Market]:
    west, east = seed.meridians(size)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(seed.market_of_size(options.server, size))
        conn = await stack.enter_async_context(connected(database))
        [user] = await seed.people(conn, BUYER, 1)
        served = {_HUB: await stack.enter_async_context(api(options, database))}
        if peers.has_node():
            listings = peers.seed_listings(options.server, listings=size, west=west, east=east)
            peer = await stack.enter_async_context(listings)
            served[_EXPRESS] = await stack.enter_async_context(peers.express(options, peer))
        postgres = await cpu.postgres(conn)
        names = {_HUB: "API", _EXPRESS: _EXPRESS}
        clocks = {
            name: cpu.CpuClock({names[name]: its.child.psutil} | postgres)
            for name, its in served.items()
        }  # fmt: skip
        yield _Market(database, user, served, clocks)


def _circles(size: int) -> Iterator[str]:
    """Yield random circles that lie inside a market, the same in every run."""
    rng, (west, east) = random.Random(_SEED), seed.meridians(size)
    for _ in range(PLACES):
        place = {
            "lat": round(rng.uniform(12.55, 13.45), 4),
            "lon": round(rng.uniform(west + _EDGE, east - _EDGE), 4),
        }
        yield f"{_NEARBY}?{urlencode(place | {'radius_km': RADIUS_KM})}"


async def _page(options: Options, market: _Market, contestant: str, number: int) -> str:
    """Return the path of a page: by number for the peer, by cursor for the hub."""
    if contestant == _EXPRESS:
        return f"{_LISTINGS}?page={number}"
    token = http_load.token_of(options.jwt_secret, market.user)
    url = f"http://127.0.0.1:{market.served[_HUB].port}{_LISTINGS}"
    query = {"status": "active"}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
        rows_before = (number - 1) * PAGE_ROWS
        while rows_before:
            limit = min(rows_before, ROWS_MAX)
            response = await http.get(url, params=query | {"limit": str(limit)})
            query["cursor"] = response.raise_for_status().json()["data"]["next_cursor"]
            rows_before -= limit
    return f"{_LISTINGS}?{urlencode(query)}"
