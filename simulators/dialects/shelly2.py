"""Shelly, second generation: what changed as a notice with its time, then the full status."""

import json

from core.readings import Reading
from simulators.dialects.voice import Publication, Voice, numbers, time_of


def _say(name: str, reading: Reading) -> list[Publication]:
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
        Publication(f"{name}/events/rpc", json.dumps(notice)),
        Publication(f"{name}/status/switch:0", json.dumps(full)),
    ]


VOICE = Voice(
    _say,
    arrive=lambda name: [Publication(f"{name}/online", "true", True)],
    will=lambda name: Publication(f"{name}/online", "false", True),
)
