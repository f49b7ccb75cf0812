"""Shelly, second generation: changes as a notification with a time, then the full status.

Source: shelly-api-docs.shelly.cloud/gen2, "Notifications", "Switch" and "MQTT".
"""

import json

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, rounded, time_of


def _encode(name: str, reading: Reading) -> list[EncodedPublish]:
    measured = rounded(
        {
            "apower": reading.power_w,
            "voltage": reading.voltage_v,
            "current": reading.current_a,
            "freq": reading.frequency_hz,
        },
        3,
    )
    status: dict[str, object] = {"id": 0, **measured}
    if reading.energy_wh is not None:
        status["aenergy"] = {"total": round(reading.energy_wh, 3)}
        status["ret_aenergy"] = {"total": 0.0}
    notification = {
        "src": name,
        "dst": f"{name}/events",
        "method": "NotifyStatus",
        "params": {"ts": round(time_of(reading).timestamp(), 2), "switch:0": status},
    }
    full = {**status, "source": "init", "output": True}
    return [
        EncodedPublish(f"{name}/events/rpc", json.dumps(notification)),
        EncodedPublish(f"{name}/status/switch:0", json.dumps(full)),
    ]


ENCODER = FirmwareEncoder(
    _encode,
    on_connect=lambda name: [EncodedPublish(f"{name}/online", "true", True)],
    will=lambda name: EncodedPublish(f"{name}/online", "false", True),
)
