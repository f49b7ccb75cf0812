"""Case `latency`: from a purchase to its event at the buyer's socket, with 1,000 sockets."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from random import Random
from typing import Any
from uuid import uuid4

import httpx

from bench import cpu, http_load, seed
from bench.database import analyze, audit, connected
from bench.feed_load import WebSocketLoadProcess, feed, open_sockets
from bench.http_load import api
from bench.options import Options
from bench.processes import BenchError
from bench.result import Contestant, Result, Sample, Target
from core.ids import UserId

BUYERS, HOSTS, LISTINGS = 1_000, 200, 2_000
ORDERS_PER_S = 100
_BALANCE = Decimal(1_000_000)
_WARM_UP_S = 2
_SEED = 1


async def purchases(options: Options) -> Result:
    """Measure purchases of 1,000 buyers, each subscribed to their own `user` channel."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(options.server.hub_database())
        async with connected(database) as conn:
            market = await seed.market(
                conn, hosts=HOSTS, buyers=BUYERS, listings=LISTINGS, balance=_BALANCE
            )
            await analyze(conn)
            postgres = await cpu.postgres(conn)
        running = await stack.enter_async_context(feed(options, database))
        served = await stack.enter_async_context(api(options, database))
        sockets = await stack.enter_async_context(
            open_sockets(options, running.hub.port, BUYERS, users=market.buyers, channels=["user"])
        )
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}")
        )
        clock = running.clock({"API": served.child.psutil} | postgres)
        orders = _Orders(options, http, market, clock)
        await orders.turn(sockets, _WARM_UP_S)
        samples = [await orders.turn(sockets, options.seconds) for _ in range(options.rounds)]
        passed = await audit(database)
    contestant = Contestant("hub", "one API process, relay, Redis, hub", samples)
    return Result(
        case="latency",
        what=f"purchase → buyer's socket, {BUYERS:,} sockets, {ORDERS_PER_S} purchases/s",
        unit="purchases/s",
        contestants=[contestant],
        targets=(
            Target("p50 ms", 25, contestant.p50_ms or 0, at_most=True),
            Target("p99 ms", 100, contestant.p99_ms or 0, at_most=True),
        ),
        audit_passed=passed,
        parameters={
            "sockets": BUYERS, "purchases_per_s": ORDERS_PER_S, "rounds": options.rounds,
            "seconds_per_turn": options.seconds,
        },
    )  # fmt: skip


class _Orders:
    """Sends orders of random buyers, the same in every run."""

    def __init__(
        self, options: Options, http: httpx.AsyncClient, market: seed.Market, clock: cpu.CpuClock
    ) -> None:
        self._options = options
        self._http = http
        self._market = market
        self._clock = clock
        self._rng = Random(_SEED)

    async def turn(self, sockets: WebSocketLoadProcess, seconds: int) -> Sample:
        """Send an order every 10 ms, without waiting for the responses of earlier ones."""
        count = ORDERS_PER_S * seconds
        await sockets.send("purchases", str(count))
        loop = asyncio.get_running_loop()
        began_at, cpu_began = loop.time(), self._clock.read_s()
        async with asyncio.TaskGroup() as tasks:
            for n in range(count):
                await asyncio.sleep(began_at + n / ORDERS_PER_S - loop.time())
                tasks.create_task(self._order())
        took_s = loop.time() - began_at
        latencies_ms: Sequence[float] = (await sockets.result())["took_ms"]
        if len(latencies_ms) != count:
            raise BenchError(f"{len(latencies_ms)} of {count} events of purchases were received")
        return Sample(
            count / took_s,
            p50_ms=latencies_ms[count // 2],
            p99_ms=latencies_ms[count * 99 // 100],
            cpu_us=self._clock.since_us(cpu_began, count),
        )

    async def _order(self) -> None:
        buyer: UserId = self._rng.choice(self._market.buyers)
        headers = {
            "Authorization": f"Bearer {http_load.token_of(self._options.jwt_secret, buyer)}",
            "Idempotency-Key": str(uuid4()),
        }
        listing_id = str(self._rng.choice(self._market.listings))
        order: dict[str, Any] = {"listing_id": listing_id, "energy_kwh": "0.5"}
        (
            await self._http.post(http_load.PURCHASE_PATH, json=order, headers=headers)
        ).raise_for_status()
