"""grott, a proxy for Growatt inverters: raw registers, mostly in tenths, and Indian local time.

Source: github.com/johanmeijer/grott, wiki page "MQTT", and documentatie/registers.md.
"""

import json
from zoneinfo import ZoneInfo

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, kwh, time_of

_ZONE = ZoneInfo("Asia/Kolkata")


def _encode(serial: str, reading: Reading) -> list[EncodedPublish]:
    registers = {
        "pvstatus": (1.0, 1),
        "pvpowerout": (reading.power_w, 10),
        "pvfrequentie": (reading.frequency_hz, 100),
        "pvgridvoltage": (reading.voltage_v, 10),
        "pvenergytotal": (kwh(reading.energy_wh), 10),
        "pvtemperature": (reading.temperature_c, 10),
    }
    record = {
        "device": serial,
        "time": time_of(reading).astimezone(_ZONE).strftime("%Y-%m-%dT%H:%M:%S"),
        "buffered": "no",
        "values": {
            name: int(value * factor)
            for name, (value, factor) in registers.items()
            if value is not None
        },
    }
    return [EncodedPublish(f"energy/growatt/{serial}", json.dumps(record))]


ENCODER = FirmwareEncoder(_encode)
