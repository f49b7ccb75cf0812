"""The hub's own format."""

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder
from simulators.native import encode


def _say(device_id: str, reading: Reading) -> list[EncodedPublish]:
    return [EncodedPublish(f"solar/{device_id}/telemetry", encode([reading]))]


VOICE = FirmwareEncoder(
    _say,
    arrive=lambda device_id: [EncodedPublish(f"solar/{device_id}/status", "online", True)],
    will=lambda device_id: EncodedPublish(f"solar/{device_id}/status", "offline", True),
    tells_all=True,
)
