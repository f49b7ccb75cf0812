"""Devices in lanes: side by side, what one says in order, acknowledged in the order of arrival."""

import asyncio
from dataclasses import replace
from uuid import uuid4

from ingest.batcher import PARTITIONS, Partitions
from ingest.messages import IngestMessage
from tests.ingest.world import message


def lanes() -> Partitions:
    return Partitions(weight_max=1000, age_max_s=3600, held_max=2000)


def numbered(count: int, acknowledged: list[int]) -> list[IngestMessage]:
    """Messages of as many devices, which note when they are acknowledged."""
    return [
        replace(
            message(f"solar/{uuid4()}/telemetry", str(n).encode()),
            acknowledge=lambda n=n: acknowledged.append(n),
        )
        for n in range(count)
    ]


async def batches_of(lanes: Partitions) -> list[list[IngestMessage]]:
    async with asyncio.timeout(5):
        return [await anext(aiter(batcher.batches())) for batcher in lanes.batchers]


async def test_all_that_a_device_says_takes_one_lane_in_order_and_devices_take_all_lanes() -> None:
    all_lanes, sent = lanes(), [m for m in numbered(50, []) for _ in range(3)]
    sent = [replace(m, payload=bytes([n]), acknowledge=lambda: None) for n, m in enumerate(sent)]
    for each in sent:
        await all_lanes.put(each)
    lane_of = {}
    for lane, batch in enumerate(await batches_of(all_lanes)):
        assert batch == [m for m in sent if m in batch]
        for each in batch:
            assert lane_of.setdefault(each.device_id, lane) == lane
    assert set(lane_of.values()) == set(range(PARTITIONS))
    assert len(lane_of) == 50


async def test_it_acknowledges_in_the_order_of_arrival_whichever_lane_commits_first() -> None:
    acknowledged: list[int] = []
    all_lanes = lanes()
    for each in numbered(60, acknowledged):
        await all_lanes.put(each)
    first, *others = await batches_of(all_lanes)
    for batch in others:
        all_lanes.acknowledge(batch)
    oldest = min(int(m.payload) for m in first)
    assert acknowledged == list(range(oldest))
    all_lanes.acknowledge(first)
    assert acknowledged == list(range(60))


async def test_what_came_by_no_lane_waits_for_nobody() -> None:
    acknowledged: list[int] = []
    all_lanes = lanes()
    early, late = numbered(2, acknowledged)
    await all_lanes.put(late)
    all_lanes.acknowledge([early])
    assert acknowledged == []
    all_lanes.acknowledge([late])
    assert acknowledged == [1]


async def test_what_was_given_up_while_it_waited_for_room_holds_nobody_up() -> None:
    acknowledged: list[int] = []
    all_lanes = Partitions(weight_max=1, age_max_s=3600, held_max=1)
    first, given_up, last = [replace(m, device_id=None) for m in numbered(3, acknowledged)]
    await all_lanes.put(first)
    waiting = asyncio.create_task(all_lanes.put(given_up))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    batch = await anext(aiter(all_lanes.batchers[hash(None) % PARTITIONS].batches()))
    await all_lanes.put(last)
    all_lanes.acknowledge([*batch, last])
    assert acknowledged == [0, 2]
