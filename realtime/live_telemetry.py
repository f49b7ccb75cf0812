"""Live readings of the devices that clients of this hub watch: the newest, each second.

They are read from the database by whoever shows them, instead of being announced by whoever stores
them: what nobody watches costs nothing, and a device is told of at most once a second.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import structlog

from core.events import EventType, device_channel
from core.ids import DeviceId, UserId
from core.readings import FIELDS, Reading
from core.units import rfc3339
from db import live_readings
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation
from db.pool import Pool
from realtime.hub import Hub
from realtime.listening import ShardListeners

_EVERY_S = 1.0

_log = structlog.get_logger()


class LiveTelemetry:
    def __init__(self, pool: Pool, hub: Hub, listening: ShardListeners, due: asyncio.Event) -> None:
        self._pool = pool
        self._hub = hub
        self._listening = listening
        self._due = due
        self._watchers: Counter[DeviceId] = Counter()
        self._known_until: dict[DeviceId, datetime | None] = {}

    async def begin(self, device_id: DeviceId, owner_id: UserId | None) -> bool:
        """Tell what a device measures from now on. False: it is not the owner's (None: anybody's).

        Raises what the database raises when it is away.
        """
        async with self._pool.acquire() as conn:
            device = await live_readings.last(conn, device_id)
        if device is None or owner_id not in (None, device.owner_id):
            return False
        self._watchers[device_id] += 1
        self._known_until.setdefault(device_id, device.last_at)
        return True

    def end(self, device_id: DeviceId) -> None:
        self._watchers[device_id] -= 1
        if self._watchers[device_id] == 0:
            del self._watchers[device_id], self._known_until[device_id]

    async def run(self) -> None:
        """Look each second until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if not self._watchers:
                continue
            try:
                async with self._pool.acquire() as conn:
                    readings = await live_readings.newer(conn, self._known_until)
            except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
                mind_cancellation(error)
                _log.warning("watch_lost_database", error=str(error))
                continue
            for device_id, reading in readings.items():
                self._tell(device_id, reading)

    def _tell(self, device_id: DeviceId, reading: Reading) -> None:
        if device_id not in self._known_until:
            return
        self._known_until[device_id] = reading.time
        source = device_channel(device_id)
        self._hub.tell(
            source,
            {
                "type": EventType.DEVICE_TELEMETRY,
                "time": rfc3339(datetime.now(UTC)),
                "data": {"device_id": str(device_id), **_shown(reading)},
            },
            self._listening.heard_until(source),
        )
        self._due.set()


def _shown(reading: Reading) -> dict[str, Any]:
    """As REST shows a reading."""
    assert reading.time is not None
    return {name: getattr(reading, name) for name in FIELDS} | {"time": rfc3339(reading.time)}
