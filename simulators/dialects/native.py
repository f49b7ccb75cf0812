"""The hub's own format."""

from core.readings import Reading
from simulators.dialects.voice import Publication, Voice
from simulators.native import encode


def _say(device_id: str, reading: Reading) -> list[Publication]:
    return [Publication(f"solar/{device_id}/telemetry", encode([reading]))]


VOICE = Voice(
    _say,
    arrive=lambda device_id: [Publication(f"solar/{device_id}/status", "online", True)],
    will=lambda device_id: Publication(f"solar/{device_id}/status", "offline", True),
    tells_all=True,
)
