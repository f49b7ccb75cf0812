"""Answers to devices, by a broker that takes its time."""

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
    """Confirms nothing before it may."""

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
    answers = RejectionNotices(broker.publish, IngestMetrics(registry))
    task = asyncio.create_task(answers.run())
    try:
        yield answers
    finally:
        task.cancel()
        await asyncio.wait([task])


def refused(device: UUID | None, minute: int = 0) -> Rejection:
    refusal = RejectedReading(RejectionReason.TOO_OLD, time=NOW.replace(minute=minute))
    return Rejection(device, "solar/x/telemetry", b"", refusal, NOW)


async def test_a_slow_broker_holds_nobody_up_and_what_is_too_much_is_dropped() -> None:
    broker, registry, more = SlowBroker(), CollectorRegistry(), 25
    async with answering(broker, registry) as answers:
        answers.send([refused(uuid4()) for _ in range(IN_FLIGHT_MAX)])
        await eventually(lambda: broker.under_way == IN_FLIGHT_MAX)
        answers.send([refused(uuid4()) for _ in range(WAITING_MAX + more)])
        assert registry.get_sample_value("solarhub_answers_dropped_total") == more
        broker.confirms.set()
        await eventually(lambda: len(broker.confirmed) == IN_FLIGHT_MAX + WAITING_MAX)


async def test_a_device_is_told_of_many_refusals_in_parts_and_nobody_of_a_stranger() -> None:
    broker, device = SlowBroker(), uuid4()
    broker.confirms.set()
    async with answering(broker, CollectorRegistry()) as answers:
        many = [refused(device, minute % 60) for minute in range(2 * REJECTIONS_PER_NOTICE_MAX + 1)]
        answers.send([refused(None), *many])
        await eventually(lambda: len(broker.confirmed) == 3)
    assert {topic for topic, _ in broker.confirmed} == {f"solar/{device}/ack"}
    told = [len(json.loads(payload)["rejected"]) for _, payload in broker.confirmed]
    assert told == [REJECTIONS_PER_NOTICE_MAX, REJECTIONS_PER_NOTICE_MAX, 1]
