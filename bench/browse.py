"""Cases `nearby` and `listings`: people who look at what is on offer, on keep-alive connections."""

import random
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

import httpx

from bench import cpu, load, markets, peers, seed
from bench.database import audit, connected
from bench.http_comparison import Turn, api, measure, timed
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
_EDGE = 0.05  # degrees of longitude
_CHANCE = 1

_HUB, _EXPRESS = "hub", "Express"
_ABOUT = {
    _HUB: "one API process, which looks up who asks",
    _EXPRESS: "one Express 5 process, seed design",
}


@dataclass(frozen=True, slots=True)
class _Market:
    """So many listings in the hub's database, and whoever shows them: the hub first."""

    database: DatabaseSettings
    onlooker: UserId
    served: dict[str, Served]
    clocks: dict[str, cpu.CpuClock]

    def asked(self, options: Options, who: str, name: str, paths: Iterable[str]) -> Turn:
        """A turn in which `who` is asked for these, again and again."""
        file = options.work / f"{who}.{name}"
        file.write_text("".join(f"{path}\n" for path in paths))
        turn = partial(load.browse, options, self.served[who].port, file, self.onlooker)
        return timed(self.clocks[who], turn)


async def nearby(options: Options) -> Result:
    """The nearest 20 of about 65 listings within 5 km, where there are few and where many."""
    contest: dict[tuple[str, str], Turn] = {}
    async with AsyncExitStack() as stack:
        markets = []
        for size in (FEW, options.listings):
            market = await stack.enter_async_context(_market(options, size))
            for who in market.served:
                contest[who, f"{size:,}"] = market.asked(options, who, str(size), _circles(size))
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
    """Page 1 of all active listings, and page 1,000."""
    contest: dict[tuple[str, str], Turn] = {}
    async with _market(options, options.listings) as market:
        for number in (1, PAGE):
            for who in market.served:
                path = await _page(options, market, who, number)
                contest[who, f"page {number:,}"] = market.asked(options, who, str(number), [path])
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
    named = {f"{who}, {what}": turn for (who, what), turn in contest.items()}
    about = {f"{who}, {what}": _ABOUT[who] for who, what in contest}
    return await measure(options, named, about)


def _targets(
    contestants: Sequence[Contestant], *, of_express: float, growth: float
) -> tuple[Target, ...]:
    """The hub against its peer, and its time for the larger task against that for the smaller."""
    hub = [c for c in contestants if c.name.startswith(_HUB)]
    express = [c for c in contestants if c.name.startswith(_EXPRESS)]
    pairs = zip(hub, express, strict=False)  # no peer without Node
    return (
        *(Target(f"of {its.name}", of_express, ratio(mine, its)) for mine, its in pairs),
        Target(f"time of {hub[1].name}", growth, ratio(*hub), at_most=True),
    )


@asynccontextmanager
async def _market(options: Options, size: int) -> AsyncIterator[_Market]:
    west, east = markets.meridians(size)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(markets.offers(options.server, size))
        conn = await stack.enter_async_context(connected(database))
        [onlooker] = await seed.people(conn, BUYER, 1)
        served = {_HUB: await stack.enter_async_context(api(options, database))}
        if peers.has_node():
            offers = peers.seed_offers(options.server, listings=size, west=west, east=east)
            peer = await stack.enter_async_context(offers)
            served[_EXPRESS] = await stack.enter_async_context(peers.express(options, peer))
        postgres = await cpu.postgres(conn)
        names = {_HUB: "API", _EXPRESS: _EXPRESS}
        clocks = {
            who: cpu.CpuClock({names[who]: its.child.psutil} | postgres)
            for who, its in served.items()
        }  # fmt: skip
        yield _Market(database, onlooker, served, clocks)


def _circles(size: int) -> Iterator[str]:
    """Circles anywhere in a market, but not over its edge; the same in every run."""
    chance, (west, east) = random.Random(_CHANCE), markets.meridians(size)
    for _ in range(PLACES):
        place = {
            "lat": round(chance.uniform(12.55, 13.45), 4),
            "lon": round(chance.uniform(west + _EDGE, east - _EDGE), 4),
        }
        yield f"{_NEARBY}?{urlencode(place | {'radius_km': RADIUS_KM})}"


async def _page(options: Options, market: _Market, who: str, number: int) -> str:
    """The path of a page: by its number for the peer, by a cursor for the hub."""
    if who == _EXPRESS:
        return f"{_LISTINGS}?page={number}"
    token = load.token_of(options.jwt_secret, market.onlooker)
    url = f"http://127.0.0.1:{market.served[_HUB].port}{_LISTINGS}"
    query = {"status": "active"}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
        before = (number - 1) * PAGE_ROWS
        while before:
            limit = min(before, ROWS_MAX)
            answer = await http.get(url, params=query | {"limit": str(limit)})
            query["cursor"] = answer.raise_for_status().json()["data"]["next_cursor"]
            before -= limit
    return f"{_LISTINGS}?{urlencode(query)}"
