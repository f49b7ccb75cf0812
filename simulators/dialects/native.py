"""The hub's own format: JSON objects on `solar/<device id>/telemetry`.

Source: docs/devices.md, "Publish".
"""

import json
from collections.abc import Sequence

from core.readings import FIELDS, Reading
from core.units import rfc3339
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder

MESSAGE_MAX_READINGS = 1000


def telemetry(device_id: str, readings: Sequence[Reading]) -> EncodedPublish:
    return EncodedPublish(f"solar/{device_id}/telemetry", payload(readings))


def payload(readings: Sequence[Reading]) -> str:
    """Encode one reading as an object, several as an array, without fields that are None."""
    documents = [_document(reading) for reading in readings]
    return json.dumps(documents[0] if len(documents) == 1 else documents, allow_nan=False)


def _document(reading: Reading) -> dict[str, object]:
    document = {name: getattr(reading, name) for name in FIELDS}
    if reading.time is not None:
        document["time"] = rfc3339(reading.time)
    return {name: value for name, value in document.items() if value is not None}


def _encode(device_id: str, reading: Reading) -> list[EncodedPublish]:
    return [telemetry(device_id, [reading])]


ENCODER = FirmwareEncoder(
    _encode,
    on_connect=lambda device_id: [EncodedPublish(f"solar/{device_id}/status", "online", True)],
    will=lambda device_id: EncodedPublish(f"solar/{device_id}/status", "offline", True),
    lossless=True,
)
