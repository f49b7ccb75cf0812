"""Notices of rejections with a slow broker."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry

from core.readings import RejectedReading, RejectionReason
from db.readings import Rejection
from ingest.metrics import IngestMetrics
from ingest.rejection_notices import (
    IN_FLIGHT_MAX,
    REJECTIONS_PER_NOTICE_MAX,
    WAITING_MAX,
    RejectionNotices,
)
from tests.support.waiting import eventually

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class SlowBroker:
    """A broker that confirms nothing until it is released."""

    def __init__(self) -> None:
        self.confirms = asyncio.Event()
        self.under_way = 0
        self.confirmed: list[tuple[str, str]] = []

    async def publish(self, topic: str, payload: str) -> None:
        self.under_way += 1
        await self.confirms.wait()
        self.under_way -= 1
        self.confirmed.append((topic, payload))


@asynccontextmanager
async def answering(
    broker: SlowBroker, registry: CollectorRegistry
) -> AsyncIterator[RejectionNotices]:
    notices = RejectionNotices(broker.publish, IngestMetrics(registry))
    task = asyncio.create_task(notices.run())
    try:
        yield notices
    finally:
        task.cancel()
        await asyncio.wait([task])


def rejection(device: UUID | None, minute: int = 0) -> Rejection:
    reading = RejectedReading(RejectionReason.TOO_OLD, time=NOW.replace(minute=minute))
    return Rejection(device, "solar/x/telemetry", b"", reading, NOW)


async def test_a_slow_broker_delays_nothing_and_surplus_notices_are_dropped() -> None:
    broker, registry, more = SlowBroker(), CollectorRegistry(), 25
    async with answering(broker, registry) as notices:
        notices.send([rejection(uuid4()) for _ in range(IN_FLIGHT_MAX)])
        await eventually(lambda: broker.under_way == IN_FLIGHT_MAX)
        notices.send([rejection(uuid4()) for _ in range(WAITING_MAX + more)])
        assert registry.get_sample_value("solarhub_answers_dropped_total") == more
        broker.confirms.set()
        await eventually(lambda: len(broker.confirmed) == IN_FLIGHT_MAX + WAITING_MAX)


async def test_many_rejections_are_divided_among_notices_and_unknown_devices_get_none() -> None:
    broker, device = SlowBroker(), uuid4()
    broker.confirms.set()
    async with answering(broker, CollectorRegistry()) as notices:
        many = [
            rejection(device, minute % 60) for minute in range(2 * REJECTIONS_PER_NOTICE_MAX + 1)
        ]
        notices.send([rejection(None), *many])
        await eventually(lambda: len(broker.confirmed) == 3)
    assert {topic for topic, _ in broker.confirmed} == {f"solar/{device}/ack"}
    sizes = [len(json.loads(payload)["rejected"]) for _, payload in broker.confirmed]
    assert sizes == [REJECTIONS_PER_NOTICE_MAX, REJECTIONS_PER_NOTICE_MAX, 1]
