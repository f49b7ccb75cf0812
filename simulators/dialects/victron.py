"""Victron GX: one JSON value per topic, counters in kWh to ten watt-hours, keep-alive required.

Source: github.com/victronenergy/dbus-flashmq, README.md ("Notifications", "Keep-alive").
"""

import json

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, kwh


def _encode(portal: str, reading: Reading) -> list[EncodedPublish]:
    values = {
        "system/0/Ac/PvOnGrid/L1/Power": (reading.power_w, 1),
        "pvinverter/20/Ac/L1/Energy/Forward": (kwh(reading.energy_wh), 2),
        "grid/30/Ac/L1/Energy/Reverse": (kwh(reading.export_wh), 2),
        "grid/30/Ac/L1/Energy/Forward": (kwh(reading.import_wh), 2),
        "system/0/Dc/Battery/Soc": (reading.battery_soc_pct, 1),
    }
    return [
        EncodedPublish(
            f"N/{portal}/{path}",
            json.dumps({"value": None if value is None else round(value, digits)}),
        )
        for path, (value, digits) in values.items()
    ]


ENCODER = FirmwareEncoder(_encode, has_clock=False, keepalive_topic="R/{}/keepalive")
