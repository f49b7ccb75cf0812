"""Notices to devices about their rejected readings, on their `ack` topics.

A notice is best effort: the record of a rejection is in the database. Sending never delays a batch.
While the broker is slow a limited number of notices waits; further ones are dropped and counted.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator

from core.ids import DeviceId
from core.units import rfc3339
from db.readings import Rejection
from ingest.metrics import IngestMetrics

REJECTIONS_PER_NOTICE_MAX = 100
IN_FLIGHT_MAX = 8
# Notices that wait for the broker. Further ones are dropped, so a slow broker costs no memory.
WAITING_MAX = 2_000


class RejectionNotices:
    """A bounded queue of notices with tasks that publish them.

    `publish(topic, payload)` must not raise, and must return within a limited time.
    """

    def __init__(
        self, publish: Callable[[str, str], Awaitable[None]], metrics: IngestMetrics
    ) -> None:
        self._publish = publish
        self._metrics = metrics
        self._waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue(WAITING_MAX)

    def send(self, rejections: Iterable[Rejection]) -> None:
        """Queue notices for the devices of these rejections; unknown devices get none."""
        for notice in _notices(rejections):
            try:
                self._waiting.put_nowait(notice)
            except asyncio.QueueFull:
                self._metrics.notices_dropped.inc()

    async def run(self) -> None:
        """Publish notices until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(IN_FLIGHT_MAX):
                tasks.create_task(self._publish_queued())

    async def _publish_queued(self) -> None:
        while True:
            topic, payload = await self._waiting.get()
            await self._publish(topic, payload)


def _notices(rejections: Iterable[Rejection]) -> Iterator[tuple[str, str]]:
    """Yield topics and payloads."""
    by_device: dict[DeviceId, list[dict[str, str | None]]] = defaultdict(list)
    for rejection in rejections:
        if rejection.device_id is not None:
            at = rejection.refused.time
            by_device[rejection.device_id].append(
                {"time": rfc3339(at) if at else None, "reason": str(rejection.refused)}
            )
    for device_id, items in by_device.items():
        for n in range(0, len(items), REJECTIONS_PER_NOTICE_MAX):
            page = items[n : n + REJECTIONS_PER_NOTICE_MAX]
            yield f"solar/{device_id}/ack", json.dumps({"rejected": page})
