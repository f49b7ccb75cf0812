"""Case `fanout`: a burst of events, committed at once, to everybody who listens."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from time import time
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from bench import cpu, peers, seed
from bench.database import audit, connected
from bench.feed_load import SOCKETS_PER_USER, BenchFeed, WebSocketLoadProcess, crowd, feed
from bench.options import Options
from bench.processes import BenchError
from bench.result import Contestant, Result, Sample, Target, ratio, turns
from bench.seed import BUYER
from core.events import LISTINGS, Event, EventType
from core.ids import ListingId, UserId
from core.units import rfc3339
from db import outbox
from db.pool import Connection

# Clients, and the events of a burst.
SIZES = {100: 1000, 1_000: 300, 5_000: 100}
_HUB, _PEER = "hub", "Socket.IO"
_ABOUT = {
    _HUB: "outbox, relay, Redis, hub",
    _PEER: "Redis, Socket.IO with its Redis adapter",
}

# Lets listings be known. Returns when that began.
Tell = Callable[[Sequence[dict[str, Any]]], Awaitable[float]]


async def burst(options: Options) -> Result:
    """Events that can't be merged, for all clients alike; until the last of them has the last."""
    samples: dict[str, list[Sample]] = {}
    async with options.server.hub_database() as database, connected(database) as conn:
        users = await seed.people(conn, BUYER, max(SIZES) // SOCKETS_PER_USER)
        async with _contest(options, feed(options, database), conn) as contest:
            for clients in SIZES:
                for name, found in (await _measure(options, contest, clients, users)).items():
                    samples[f"{name}, {clients:,}"] = found
        passed = await audit(database)
    contestants = [Contestant(n, _ABOUT[n.partition(",")[0]], s) for n, s in samples.items()]
    hub = [c for c in contestants if c.name.startswith(_HUB)]
    others = [c for c in contestants if c.name.startswith(_PEER)]
    return Result(
        case="fanout",
        what="a burst of events to 100, 1,000 and 5,000 sockets",
        unit="deliveries/s",
        contestants=contestants,
        targets=tuple(
            Target(f"of {its.name}", 1.5, ratio(mine, its))
            for mine, its in zip(hub, others, strict=False)  # no peer without Node
        ),
        audit_passed=passed,
        parameters={"rounds": options.rounds, **{f"events_to_{n}": m for n, m in SIZES.items()}},
        absent=peers.absent(_PEER),
    )


class _Contest:
    """Where each contestant is, and how it is told of a burst."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.bursts: dict[str, Tell] = {}
        self.clocks: dict[str, cpu.CpuClock] = {}


@asynccontextmanager
async def _contest(
    options: Options, ours: AbstractAsyncContextManager[BenchFeed], conn: Connection
) -> AsyncIterator[_Contest]:
    async with AsyncExitStack() as stack:
        contest, running = _Contest(), await stack.enter_async_context(ours)
        contest.ports[_HUB] = running.hub.port
        contest.bursts[_HUB] = lambda events: _commit(conn, events)
        contest.clocks[_HUB] = running.clock(await cpu.postgres(conn))
        if peers.has_node():
            url = f"redis://127.0.0.1:{running.redis.port}"
            peer = await stack.enter_async_context(peers.socketio(options, url))
            contest.ports[_PEER] = peer.port
            contest.clocks[_PEER] = cpu.CpuClock(
                {_PEER: peer.child.psutil, "Redis": running.redis.child.psutil}
            )
            redis = await stack.enter_async_context(Redis.from_url(url))
            contest.bursts[_PEER] = lambda events: _publish(redis, events)
        yield contest


async def _measure(
    options: Options, contest: _Contest, clients: int, users: list[UserId]
) -> dict[str, list[Sample]]:
    """All in, they take turns; a first burst does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in contest.ports}
    async with AsyncExitStack() as stack:
        crowds = {}
        for name, port in contest.ports.items():
            speech = "hub" if name == _HUB else "socketio"
            crowds[name] = await stack.enter_async_context(
                crowd(options, port, clients, speech=speech, users=users, channels=[LISTINGS])
            )
        for number in range(-1, options.rounds):
            for name in turns(list(crowds), number):
                sample = await _burst(
                    crowds[name], contest.bursts[name], contest.clocks[name], clients
                )
                if number >= 0:
                    samples[name].append(sample)
    return samples


async def _burst(
    listening: WebSocketLoadProcess, tell: Tell, clock: cpu.CpuClock, clients: int
) -> Sample:
    count = SIZES[clients]
    events = [listing(ListingId(uuid4())) for _ in range(count)]
    await listening.ask("burst", events[-1]["id"], str(count))
    cpu_began = clock.read_s()
    began_at = await tell(events)
    found = await listening.answer()
    if not found["complete"]:
        raise BenchError(f"not everybody heard everything: {found}")
    deliveries = clients * count
    return Sample(
        deliveries / (found["last_at"] - began_at), cpu_us=clock.since_us(cpu_began, deliveries)
    )


def listing(listing_id: ListingId) -> dict[str, Any]:
    """As REST shows one."""
    now = rfc3339(datetime.now(UTC))
    return {
        "id": str(listing_id), "version": 7, "status": "active", "seller_id": str(uuid4()),
        "device_id": str(uuid4()), "auto_adjust": True, "energy_amount_kwh": "12.345",
        "price_per_kwh": "6.5000", "latitude": 12.9716, "longitude": 77.5946,
        "available_from": now, "available_to": now, "created_at": now, "updated_at": now,
    }  # fmt: skip


async def _commit(conn: Connection, events: Sequence[dict[str, Any]]) -> float:
    """In one transaction. Returns when it began to commit."""
    async with conn.transaction():
        told = [Event(EventType.LISTING_UPDATED, (LISTINGS,), data) for data in events]
        await outbox.add(conn, told)
        return time()


async def _publish(redis: Redis, events: Sequence[dict[str, Any]]) -> float:
    """What the hub would tell of the same. Returns when that began."""
    pipeline, now = redis.pipeline(transaction=False), rfc3339(datetime.now(UTC))
    for data in events:
        event = {"type": EventType.LISTING_UPDATED, "time": now, "data": data}
        pipeline.publish("ev", json.dumps(event, separators=(",", ":")))
    began_at = time()
    await pipeline.execute()
    return began_at
