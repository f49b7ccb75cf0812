"""Case `fanout`: a burst of events, committed at once, to all subscribed sockets."""

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
from bench.feed_load import SOCKETS_PER_USER, BenchFeed, WebSocketLoadProcess, feed, open_sockets
from bench.options import Options
from bench.processes import BenchError
from bench.result import Contestant, Result, Sample, Target, ratio, turns
from bench.seed import BUYER
from core.events import LISTINGS, Event, EventType
from core.ids import ListingId, UserId
from core.units import rfc3339
from db import outbox
from db.pool import Connection

# Sockets, and the events of a burst to them.
SIZES = {100: 1000, 1_000: 300, 5_000: 100}
_HUB, _PEER = "hub", "Socket.IO"
_ABOUT = {
    _HUB: "outbox, relay, Redis, hub",
    _PEER: "Redis, Socket.IO with its Redis adapter",
}

# Publishes listings; returns the time at which publishing began.
Publish = Callable[[Sequence[dict[str, Any]]], Awaitable[float]]


async def burst(options: Options) -> Result:
    """Measure events that cannot be merged, until the last socket has the last event."""
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
    """The port, the publisher and the processes of each contestant."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.publishers: dict[str, Publish] = {}
        self.clocks: dict[str, cpu.CpuClock] = {}


@asynccontextmanager
async def _contest(
    options: Options, ours: AbstractAsyncContextManager[BenchFeed], conn: Connection
) -> AsyncIterator[_Contest]:
    async with AsyncExitStack() as stack:
        contest, running = _Contest(), await stack.enter_async_context(ours)
        contest.ports[_HUB] = running.hub.port
        contest.publishers[_HUB] = lambda events: _commit(conn, events)
        contest.clocks[_HUB] = running.clock(await cpu.postgres(conn))
        if peers.has_node():
            url = f"redis://127.0.0.1:{running.redis.port}"
            peer = await stack.enter_async_context(peers.socketio(options, url))
            contest.ports[_PEER] = peer.port
            contest.clocks[_PEER] = cpu.CpuClock(
                {_PEER: peer.child.psutil, "Redis": running.redis.child.psutil}
            )
            redis = await stack.enter_async_context(Redis.from_url(url))
            contest.publishers[_PEER] = lambda events: _publish(redis, events)
        yield contest


async def _measure(
    options: Options, contest: _Contest, clients: int, users: list[UserId]
) -> dict[str, list[Sample]]:
    """Open all sockets, then measure bursts in turns; a first burst does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in contest.ports}
    async with AsyncExitStack() as stack:
        sockets = {}
        for name, port in contest.ports.items():
            protocol = "hub" if name == _HUB else "socketio"
            sockets[name] = await stack.enter_async_context(
                open_sockets(
                    options, port, clients, protocol=protocol, users=users, channels=[LISTINGS]
                )
            )
        for number in range(-1, options.rounds):
            for name in turns(list(sockets), number):
                sample = await _burst(
                    sockets[name], contest.publishers[name], contest.clocks[name], clients
                )
                if number >= 0:
                    samples[name].append(sample)
    return samples


async def _burst(
    sockets: WebSocketLoadProcess, publish: Publish, clock: cpu.CpuClock, clients: int
) -> Sample:
    count = SIZES[clients]
    events = [listing(ListingId(uuid4())) for _ in range(count)]
    await sockets.send("burst", events[-1]["id"], str(count))
    cpu_began = clock.read_s()
    began_at = await publish(events)
    found = await sockets.result()
    if not found["complete"]:
        raise BenchError(f"not every socket received every event: {found}")
    deliveries = clients * count
    return Sample(
        deliveries / (found["last_at"] - began_at), cpu_us=clock.since_us(cpu_began, deliveries)
    )


def listing(listing_id: ListingId) -> dict[str, Any]:
    """Return a listing in the form of the REST API."""
    now = rfc3339(datetime.now(UTC))
    return {
        "id": str(listing_id), "version": 7, "status": "active", "seller_id": str(uuid4()),
        "device_id": str(uuid4()), "auto_adjust": True, "energy_amount_kwh": "12.345",
        "price_per_kwh": "6.5000", "latitude": 12.9716, "longitude": 77.5946,
        "available_from": now, "available_to": now, "created_at": now, "updated_at": now,
    }  # fmt: skip


async def _commit(conn: Connection, events: Sequence[dict[str, Any]]) -> float:
    """Add the events to the outbox in one transaction; return the time before its commit."""
    async with conn.transaction():
        rows = [Event(EventType.LISTING_UPDATED, (LISTINGS,), data) for data in events]
        await outbox.add(conn, rows)
        return time()


async def _publish(redis: Redis, events: Sequence[dict[str, Any]]) -> float:
    """Publish the same events on Redis; return the time before that."""
    pipeline, now = redis.pipeline(transaction=False), rfc3339(datetime.now(UTC))
    for data in events:
        event = {"type": EventType.LISTING_UPDATED, "time": now, "data": data}
        pipeline.publish("ev", json.dumps(event, separators=(",", ":")))
    began_at = time()
    await pipeline.execute()
    return began_at
