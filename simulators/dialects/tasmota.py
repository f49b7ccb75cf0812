"""Tasmota with an energy sensor: totals in kWh to the watt-hour, Indian wall-clock time.

Source: tasmota.github.io/docs, "MQTT" and "Power Monitoring Calibration" (`tele/…/SENSOR`).
"""

import json
from zoneinfo import ZoneInfo

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, kwh, rounded, time_of

_ZONE = ZoneInfo("Asia/Kolkata")


def _encode(topic: str, reading: Reading) -> list[EncodedPublish]:
    shown = time_of(reading).astimezone(_ZONE).strftime("%Y-%m-%dT%H:%M:%S")
    energy = rounded(
        {
            "Total": kwh(reading.energy_wh),
            "Power": reading.power_w,
            "Voltage": reading.voltage_v,
            "Current": reading.current_a,
        },
        3,
    )
    sensor = {"Time": shown, "ENERGY": {"TotalStartTime": "2024-01-10T00:00:00", **energy}}
    return [EncodedPublish(f"tele/{topic}/SENSOR", json.dumps(sensor))]


ENCODER = FirmwareEncoder(
    _encode,
    on_connect=lambda topic: [EncodedPublish(f"tele/{topic}/LWT", "Online", True)],
    will=lambda topic: EncodedPublish(f"tele/{topic}/LWT", "Offline", True),
)
