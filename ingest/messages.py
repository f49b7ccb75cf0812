"""What the subscriber hands on: one MQTT message, decoded, with the means to acknowledge it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ingest.dialects import Decoded, native

PAYLOAD_KEPT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message. `payload` is the first 4 KiB; `acknowledge` is called after the commit."""

    device_id: UUID | None
    topic: str
    payload: bytes
    received_at: datetime
    decoded: Decoded
    acknowledge: Callable[[], None]

    @property
    def weight(self) -> int:
        """Its share of a batch: how many readings it holds, at least one."""
        return max(1, len(self.decoded.readings) + len(self.decoded.refused))


def decode(
    topic: str, payload: bytes, *, received_at: datetime, acknowledge: Callable[[], None]
) -> Message | None:
    """The message, or None when the topic is not one that we listen to."""
    parts = topic.split("/")
    if len(parts) != 3 or parts[0] != "solar" or parts[2] not in ("telemetry", "status"):
        return None
    decoder = native.decode_telemetry if parts[2] == "telemetry" else native.decode_status
    return Message(
        device_id=_device_id(parts[1]),
        topic=topic,
        payload=payload[:PAYLOAD_KEPT_BYTES],
        received_at=received_at,
        decoded=decoder(payload),
        acknowledge=acknowledge,
    )


def _device_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
