"""What devices are told of refusals, on their `ack` topics: beside the batches, never in their way.

It is a courtesy, not a record. Of a broker that takes its time some answers are under way and some
wait; what comes on top of these is dropped, and counted.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator

from core.ids import DeviceId
from core.units import rfc3339
from db.readings import Rejection
from ingest.metrics import IngestMetrics

REFUSALS_MAX = 100  # in one answer
AT_ONCE = 8
WAITING_MAX = 2_000


class RejectionNotices:
    """`publish` sends one; it does not raise, and does not take forever."""

    def __init__(
        self, publish: Callable[[str, str], Awaitable[None]], metrics: IngestMetrics
    ) -> None:
        self._publish = publish
        self._metrics = metrics
        self._waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue(WAITING_MAX)

    def tell(self, rejections: Iterable[Rejection]) -> None:
        """Tell each device what was refused of it, soon."""
        for answer in _answers(rejections):
            try:
                self._waiting.put_nowait(answer)
            except asyncio.QueueFull:
                self._metrics.answers_dropped.inc()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._send())

    async def _send(self) -> None:
        while True:
            topic, text = await self._waiting.get()
            await self._publish(topic, text)


def _answers(rejections: Iterable[Rejection]) -> Iterator[tuple[str, str]]:
    """Topics and payloads."""
    refused: dict[DeviceId, list[dict[str, str | None]]] = defaultdict(list)
    for rejection in rejections:
        if rejection.device_id is not None:
            at = rejection.refused.time
            refused[rejection.device_id].append(
                {"time": rfc3339(at) if at else None, "reason": str(rejection.refused)}
            )
    for device_id, items in refused.items():
        for n in range(0, len(items), REFUSALS_MAX):
            yield f"solar/{device_id}/ack", json.dumps({"rejected": items[n : n + REFUSALS_MAX]})
