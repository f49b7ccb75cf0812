"""Live readings of the devices that clients of this process watch: the newest, once a second.

This process reads them from the database; ingesters do not publish them. So unwatched devices cost
nothing, and a device appears at most once a second.
"""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any

import structlog

from core.clock import real_now
from core.events import EventType, device_channel
from core.ids import DeviceId, UserId
from core.readings import FIELDS, Reading
from core.units import rfc3339
from db import live_readings
from db.errors import database_errors
from db.pool import Pool
from realtime.hub import Hub
from realtime.shard_listeners import ShardListeners

_EVERY_S = 1.0

_log = structlog.get_logger()


class LiveTelemetry:
    """Publishes the newest readings of watched devices to this process's clients."""

    def __init__(self, pool: Pool, hub: Hub, listeners: ShardListeners, due: asyncio.Event) -> None:
        self._pool = pool
        self._hub = hub
        self._listeners = listeners
        self._due = due
        self._watchers: Counter[DeviceId] = Counter()
        self._known_until: dict[DeviceId, datetime | None] = {}

    async def begin(self, device_id: DeviceId, owner_id: UserId | None) -> bool:
        """Watch a device. Return False if it has another owner (`owner_id` None: any owner).

        Raises the database's errors while it is unavailable.
        """
        async with self._pool.acquire() as conn:
            device = await live_readings.last(conn, device_id)
        if device is None or owner_id not in (None, device.owner_id):
            return False
        self._watchers[device_id] += 1
        self._known_until.setdefault(device_id, device.last_at)
        return True

    def end(self, device_id: DeviceId) -> None:
        """Undo one successful `begin`."""
        self._watchers[device_id] -= 1
        if self._watchers[device_id] == 0:
            del self._watchers[device_id], self._known_until[device_id]

    async def run(self) -> None:
        """Publish new readings each second, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if not self._watchers:
                continue
            try:
                async with self._pool.acquire() as conn:
                    readings = await live_readings.newer(conn, self._known_until)
            except database_errors() as error:
                _log.warning("live_telemetry_not_read", error=str(error))
                continue
            for device_id, reading in readings.items():
                self._publish(device_id, reading)

    def _publish(self, device_id: DeviceId, reading: Reading) -> None:
        if device_id not in self._known_until:
            return
        self._known_until[device_id] = reading.time
        source = device_channel(device_id)
        self._hub.publish_unstored(
            source,
            {
                "type": EventType.DEVICE_TELEMETRY,
                "time": rfc3339(real_now()),
                "data": {"device_id": str(device_id), **_shown(reading)},
            },
            self._listeners.received_until(source),
        )
        self._due.set()


def _shown(reading: Reading) -> dict[str, Any]:
    """Return a reading as REST shows it."""
    assert reading.time is not None
    return {name: getattr(reading, name) for name in FIELDS} | {"time": rfc3339(reading.time)}
