"""Samples on the `admin` channel: throughput and the current power of devices.

The realtime process reads them from the database, and only while a client listens. They are not
stored in the history: a client that reconnects asks REST for earlier samples.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import structlog

from core.clock import REAL_TIME, Clock, real_now
from core.events import ADMIN, EventType
from core.units import rfc3339
from db import flow, live_readings
from db.errors import database_errors
from db.live_readings import Power
from db.pool import Pool
from realtime.hub import Hub
from realtime.shard_listeners import ShardListeners

_EVERY_S = 1.0
_OVERLAP = timedelta(seconds=2)
_SAMPLES_MAX = 10
_DEVICES_PER_EVENT = 500

_log = structlog.get_logger()


class ControlRoom:
    """Publishes `admin.flow` and `admin.power` to this process's clients."""

    def __init__(
        self,
        pool: Pool,
        hub: Hub,
        listeners: ShardListeners,
        due: asyncio.Event,
        clock: Clock = REAL_TIME,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._hub = hub
        self._listeners = listeners
        self._due = due
        self._published_until: datetime | None = None  # None: no client listened a second ago
        self._powers: dict[object, datetime] = {}

    async def run(self) -> None:
        """Publish new samples each second, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if not self._hub.has_audience(ADMIN):
                self._published_until = None
                self._powers.clear()
                continue
            try:
                await self._look()
            except database_errors() as error:
                _log.warning("control_room_not_read", error=str(error))

    async def _look(self) -> None:
        async with self._pool.acquire() as conn:
            now = await live_readings.now(conn)
            since = self._published_until or now - _OVERLAP
            samples = await flow.since(conn, since, limit=_SAMPLES_MAX)
            powers = await live_readings.power_since(conn, self._clock.at(since - _OVERLAP))
        self._published_until = samples[-1].time if samples else since
        for sample in samples:
            self._publish(EventType.ADMIN_FLOW, asdict(sample) | {"time": rfc3339(sample.time)})
        news = [p for p in powers if self._powers.get(p.device_id) != p.time]
        self._powers |= {p.device_id: p.time for p in news}
        for part in _parts(news):
            devices = [
                {"id": str(p.device_id), "time": rfc3339(p.time), "power_w": p.power_w}
                for p in part
            ]
            self._publish(EventType.ADMIN_POWER, {"devices": devices})

    def _publish(self, kind: EventType, data: dict[str, Any]) -> None:
        event = {"type": kind, "time": rfc3339(real_now()), "data": data}
        self._hub.publish_unstored(ADMIN, event, self._listeners.received_until(ADMIN))
        self._due.set()


def _parts(powers: Sequence[Power]) -> Iterator[Sequence[Power]]:
    for begin in range(0, len(powers), _DEVICES_PER_EVENT):
        yield powers[begin : begin + _DEVICES_PER_EVENT]
