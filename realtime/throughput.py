"""Throughput of the feed, recorded each second for the control room.

Realtime processes report through Redis, and the active relay writes the sums to the database. A
report expires after a few seconds, so that a crashed process is not counted for long.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from uuid import uuid4

import structlog

from db import flow
from db.flow import FeedFigures
from db.outbox import Backlog
from db.pool import Connection
from realtime.bus import Bus
from realtime.feed_shard import BusUnavailable
from realtime.metrics import HubMetrics

_EVERY_S = 1.0
# Shorter than the silence after which the database ends the relay's connection
# (`outbox.set_short_timeouts`).
_ASK_WITHIN_S = 0.5
_FORGET_EVERY = 60

_log = structlog.get_logger()


async def report(bus: Bus, metrics: HubMetrics) -> None:
    """Report this process's figures to Redis each second, until cancelled."""
    name = uuid4().hex
    while True:
        try:
            await bus.report(name, json.dumps(asdict(_own_figures(metrics))))
        except BusUnavailable as error:
            _log.warning("throughput_not_reported", error=str(error))
        await asyncio.sleep(_EVERY_S)


def _own_figures(metrics: HubMetrics) -> FeedFigures:
    latencies_s = sorted(metrics.take_latencies())
    return FeedFigures(
        metrics.signed_in, _quantile_ms(latencies_s, 0.5), _quantile_ms(latencies_s, 0.99)
    )


def _quantile_ms(ascending_s: Sequence[float], share: float) -> float | None:
    if not ascending_s:
        return None
    return round(1000 * ascending_s[min(len(ascending_s) - 1, int(share * len(ascending_s)))], 3)


class ThroughputLog:
    """Writes one sample per call to the database. Used by the active relay only."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._noted = 0

    async def note(self, conn: Connection, backlog: Backlog, *, events: int) -> None:
        """Write a sample. `events`: number published since the previous call."""
        await flow.add(
            conn,
            events=events,
            outbox_depth=backlog.depth,
            outbox_age_s=backlog.age_s,
            feed=await self._feed(),
        )
        if self._noted % _FORGET_EVERY == 0:
            await flow.delete_old(conn)
        self._noted += 1

    async def _feed(self) -> FeedFigures | None:
        try:
            async with asyncio.timeout(_ASK_WITHIN_S):
                reports = await self._bus.reports()
        except (BusUnavailable, TimeoutError):
            return None
        return combined([FeedFigures(**json.loads(one)) for one in reports])


def combined(hubs: Sequence[FeedFigures]) -> FeedFigures:
    """Return the figures of all processes together: sums, and the latencies of the slowest."""
    p50s = [h.commit_to_socket_p50_ms for h in hubs if h.commit_to_socket_p50_ms is not None]
    p99s = [h.commit_to_socket_p99_ms for h in hubs if h.commit_to_socket_p99_ms is not None]
    return FeedFigures(
        sum(h.sockets for h in hubs), max(p50s, default=None), max(p99s, default=None)
    )
