"""A decoded MQTT message with the means to acknowledge it, as the subscriber queues it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from core.ids import DeviceId
from core.readings import RejectedReading
from ingest.dialects import Decoded, native
from ingest.dialects.firmwares import AddressedMessage, resolve_topic

# The part of a payload that the record of a rejection stores.
PAYLOAD_RECORDED_BYTES = 4096
FIRMWARE_PAYLOAD_MAX_BYTES = 64 * 1024
# A firmware's reading in JSON takes about so much; it bounds the work of a batch.
_BYTES_PER_WEIGHT = 512
# A UUID in its longest spelling. Longer texts are not parsed, so they don't fill the cache either.
_ID_MAX_LENGTH = 48
_IDS_CACHED = 16_384


@dataclass(frozen=True, slots=True)
class IngestMessage:
    """An MQTT message. `acknowledge` is called after the commit of everything it holds.

    `payload` is the part that a rejection records. A message of a firmware (`addressed`) is decoded
    in the transaction, once its device is known and locked: until then `device_id` is None and
    `decoded` is empty. If there is a `rejection`, nothing that the message holds is stored.
    `shows_presence` is False if it says nothing about whether the device is connected now.
    """

    device_id: DeviceId | None
    topic: str
    payload: bytes
    received_at: datetime
    decoded: Decoded
    acknowledge: Callable[[], None]
    addressed: AddressedMessage | None = None
    shows_presence: bool = True
    rejection: RejectedReading | None = None

    @property
    def weight(self) -> int:
        """The message's share of a batch: the number of readings that it may hold, at least 1."""
        if self.addressed is not None:
            return 1 + len(self.addressed.payload) // _BYTES_PER_WEIGHT
        return max(1, len(self.decoded.readings) + len(self.decoded.rejected))


def reject_all(decoded: Decoded, rejection: RejectedReading) -> Decoded:
    """Reject every reading, or the message as a whole if it holds none."""
    by_reading = [replace(rejection, time=r.time) for r in decoded.readings]
    return Decoded(rejected=(*decoded.rejected, *by_reading) or (rejection,))


def decode(
    topic: str, payload: bytes, *, received_at: datetime, acknowledge: Callable[[], None]
) -> IngestMessage | None:
    """Decode a native message, or find the device's name of a firmware's message.

    Returns None for a topic that the hub does not use.
    """
    levels = topic.split("/")
    if len(levels) != 3 or levels[0] != "solar" or levels[2] not in ("telemetry", "status"):
        return _firmware_message(topic, payload, received_at, acknowledge)
    decoder = native.decode_telemetry if levels[2] == "telemetry" else native.decode_status
    return IngestMessage(
        device_id=_device_id(levels[1]) if len(levels[1]) <= _ID_MAX_LENGTH else None,
        topic=topic,
        payload=payload[:PAYLOAD_RECORDED_BYTES],
        received_at=received_at,
        decoded=decoder(payload),
        acknowledge=acknowledge,
    )


def _firmware_message(
    topic: str, payload: bytes, received_at: datetime, acknowledge: Callable[[], None]
) -> IngestMessage | None:
    # One byte more than is allowed shows later that the payload is too large.
    addressed = resolve_topic(topic, payload[: FIRMWARE_PAYLOAD_MAX_BYTES + 1])
    if addressed is None:
        return None
    return IngestMessage(
        device_id=None,
        topic=topic,
        payload=payload[:PAYLOAD_RECORDED_BYTES],
        received_at=received_at,
        decoded=Decoded(),
        acknowledge=acknowledge,
        addressed=addressed,
    )


# Devices publish again and again, and parsing a UUID takes as long as decoding a reading.
@lru_cache(maxsize=_IDS_CACHED)
def _device_id(text: str) -> DeviceId | None:
    try:
        return DeviceId(UUID(text))
    except ValueError:
        return None
