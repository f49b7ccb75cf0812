"""What the subscriber hands on: one MQTT message, decoded, with the means to acknowledge it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from core.ids import DeviceId
from core.readings import RejectedReading
from ingest.dialects import Decoded, native
from ingest.dialects.firmwares import Addressed, addressed

PAYLOAD_KEPT_BYTES = 4096
FIRMWARE_PAYLOAD_MAX_BYTES = 64 * 1024
_BYTES_PER_WEIGHT = 512
_ID_MAX_LENGTH = 48  # a UUID in its longest spelling; what is remembered must be short


@dataclass(frozen=True, slots=True)
class IngestMessage:
    """A decoded message. `payload` is the first 4 KiB; `acknowledge` is called after the commit.

    A message of a firmware (`addressed`) is decoded once its device is known, and locked: until
    then it has no device, and `decoded` is empty. With a `refusal` nothing that it holds is taken.
    """

    device_id: DeviceId | None
    topic: str
    payload: bytes
    received_at: datetime
    decoded: Decoded
    acknowledge: Callable[[], None]
    addressed: Addressed | None = None
    tells_presence: bool = True
    refusal: RejectedReading | None = None

    @property
    def weight(self) -> int:
        """Its share of a batch: how many readings it holds (or may hold), at least one."""
        if self.addressed is not None:
            return 1 + len(self.addressed.payload) // _BYTES_PER_WEIGHT
        return max(1, len(self.decoded.readings) + len(self.decoded.refused))


def refused_whole(decoded: Decoded, refusal: RejectedReading) -> Decoded:
    """As many readings as it holds, none of them taken; at least the message is refused."""
    by_reading = [replace(refusal, time=r.time) for r in decoded.readings]
    return Decoded(refused=(*decoded.refused, *by_reading) or (refusal,))


def decode(
    topic: str, payload: bytes, *, received_at: datetime, acknowledge: Callable[[], None]
) -> IngestMessage | None:
    """The message, or None when the topic is not one that we listen to."""
    parts = topic.split("/")
    if len(parts) != 3 or parts[0] != "solar" or parts[2] not in ("telemetry", "status"):
        return _of_a_firmware(topic, payload, received_at, acknowledge)
    decoder = native.decode_telemetry if parts[2] == "telemetry" else native.decode_status
    return IngestMessage(
        device_id=_device_id(parts[1]) if len(parts[1]) <= _ID_MAX_LENGTH else None,
        topic=topic,
        payload=payload[:PAYLOAD_KEPT_BYTES],
        received_at=received_at,
        decoded=decoder(payload),
        acknowledge=acknowledge,
    )


def _of_a_firmware(
    topic: str, payload: bytes, received_at: datetime, acknowledge: Callable[[], None]
) -> IngestMessage | None:
    to = addressed(topic, payload[: FIRMWARE_PAYLOAD_MAX_BYTES + 1])
    if to is None:
        return None
    return IngestMessage(
        device_id=None,
        topic=topic,
        payload=payload[:PAYLOAD_KEPT_BYTES],
        received_at=received_at,
        decoded=Decoded(),
        acknowledge=acknowledge,
        addressed=to,
    )


# Devices speak again and again; to read an id is as much work as to read a reading.
@lru_cache(maxsize=16_384)
def _device_id(text: str) -> DeviceId | None:
    try:
        return DeviceId(UUID(text))
    except ValueError:
        return None
