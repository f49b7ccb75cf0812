"""Shelly EM, first generation: one number per topic, watt-hours to a tenth, no time.

Source: shelly-api-docs.shelly.cloud/gen1, "Shelly EM: MQTT".
"""

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder


def _encode(name: str, reading: Reading) -> list[EncodedPublish]:
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


ENCODER = FirmwareEncoder(
    _encode,
    on_connect=lambda name: [EncodedPublish(f"shellies/{name}/online", "true", True)],
    will=lambda name: EncodedPublish(f"shellies/{name}/online", "false", True),
    has_clock=False,
)
