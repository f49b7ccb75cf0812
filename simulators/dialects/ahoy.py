"""AhoyDTU: the inverter's channel as JSON, totals in kWh to the watt-hour."""

import json

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, kwh, numbers, time_of


def _say(name: str, reading: Reading) -> list[EncodedPublish]:
    channel = numbers(
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


# Its last will has a topic that is not its own, and is never sent.
VOICE = FirmwareEncoder(
    _say, arrive=lambda name: [EncodedPublish(f"inverter/{name}/available", "2", True)]
)
