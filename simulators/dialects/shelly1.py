"""Shelly EM, first generation: bare numbers, watt-hours to a tenth, and no clock."""

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder


def _say(name: str, reading: Reading) -> list[EncodedPublish]:
    fields = {
        "power": (reading.power_w, 2),
        "voltage": (reading.voltage_v, 2),
        "total": (reading.energy_wh, 1),
        "total_returned": (0.0, 1),
    }
    return [
        EncodedPublish(f"shellies/{name}/emeter/0/{field}", f"{value:.{digits}f}")
        for field, (value, digits) in fields.items()
        if value is not None
    ]


VOICE = FirmwareEncoder(
    _say,
    arrive=lambda name: [EncodedPublish(f"shellies/{name}/online", "true", True)],
    will=lambda name: EncodedPublish(f"shellies/{name}/online", "false", True),
    has_clock=False,
)
