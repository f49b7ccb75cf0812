"""Victron GX: one value per topic, counters in kWh to ten watt-hours; it has to be asked."""

import json

from core.readings import Reading
from simulators.dialects.voice import Publication, Voice, kwh


def _say(portal: str, reading: Reading) -> list[Publication]:
    values = {
        "system/0/Ac/PvOnGrid/L1/Power": (reading.power_w, 1),
        "pvinverter/20/Ac/L1/Energy/Forward": (kwh(reading.energy_wh), 2),
        "grid/30/Ac/L1/Energy/Reverse": (kwh(reading.export_wh), 2),
        "grid/30/Ac/L1/Energy/Forward": (kwh(reading.import_wh), 2),
        "system/0/Dc/Battery/Soc": (reading.battery_soc_pct, 1),
    }
    return [
        Publication(
            f"N/{portal}/{path}",
            json.dumps({"value": None if value is None else round(value, digits)}),
        )
        for path, (value, digits) in values.items()
    ]


VOICE = Voice(_say, has_clock=False, asked_on="R/{}/keepalive")
