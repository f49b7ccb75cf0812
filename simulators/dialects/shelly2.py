"""Shelly, second generation: what changed as a notice with its time, then the full status."""

import json

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, numbers, time_of


def _say(name: str, reading: Reading) -> list[EncodedPublish]:
    measured = numbers(
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
    notice = {
        "src": name,
        "dst": f"{name}/events",
        "method": "NotifyStatus",
        "params": {"ts": round(time_of(reading).timestamp(), 2), "switch:0": status},
    }
    full = {**status, "source": "init", "output": True}
    return [
        EncodedPublish(f"{name}/events/rpc", json.dumps(notice)),
        EncodedPublish(f"{name}/status/switch:0", json.dumps(full)),
    ]


VOICE = FirmwareEncoder(
    _say,
    arrive=lambda name: [EncodedPublish(f"{name}/online", "true", True)],
    will=lambda name: EncodedPublish(f"{name}/online", "false", True),
)
