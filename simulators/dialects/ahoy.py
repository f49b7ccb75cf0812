"""AhoyDTU, a DTU for Hoymiles inverters: the AC channel as JSON, totals in kWh to the watt-hour.

Source: github.com/lumapu/ahoy, manual/User_Manual.md, "MQTT Publish".
"""

import json

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, kwh, rounded, time_of


def _encode(name: str, reading: Reading) -> list[EncodedPublish]:
    channel = rounded(
        {
            "U_AC": reading.voltage_v,
            "I_AC": reading.current_a,
            "P_AC": reading.power_w,
            "F_AC": reading.frequency_hz,
            "Temp": reading.temperature_c,
            "YieldTotal": kwh(reading.energy_wh),
        },
        3,
    )
    stamped = {**channel, "ts": int(time_of(reading).timestamp())}
    return [EncodedPublish(f"inverter/{name}/ch0", json.dumps(stamped))]


# No last will: the firmware's is on `inverter/mqtt`, a topic that names no inverter.
ENCODER = FirmwareEncoder(
    _encode, on_connect=lambda name: [EncodedPublish(f"inverter/{name}/available", "2", True)]
)
