"""Which share of a stream a message belongs to."""

from uuid import UUID, uuid4

import pytest

from ingest.dialects.firmwares import addressed
from ingest.shares import Share, device_name
from tests.ingest.test_firmware_service import EVERY_TOPIC

DEVICE = UUID("5f8b1a4e-0c7d-4d1b-9a53-0d7f1f0a6c11")


def test_all_that_is_said_of_a_device_belongs_to_one_share() -> None:
    heeded = {topic: to for topic in EVERY_TOPIC if (to := addressed(topic, b"{}")) is not None}
    assert len(heeded) > 20
    for topic, to in heeded.items():
        assert device_name(topic.encode()) == to.external_id.encode(), topic
    for said in ("telemetry", "status"):
        assert device_name(f"solar/{DEVICE}/{said}".encode()) == str(DEVICE).encode()


@pytest.mark.parametrize(
    "topic",
    [b"energy/growatt/NTC", b"energy/growatt", b"", b"/", b"solar", b"solar/", b"\xff/\x00"],
)
@pytest.mark.parametrize("of", [1, 2, 3, 16])
def test_whatever_is_said_belongs_to_exactly_one_share(topic: bytes, of: int) -> None:
    assert sum(Share(number, of).holds(topic) for number in range(of)) == 1


def test_shares_are_alike() -> None:
    topics = [f"solar/{uuid4()}/telemetry".encode() for _ in range(3000)]
    for number in range(3):
        assert 800 < sum(map(Share(number, 3).holds, topics)) < 1200
