"""OpenDTU, a DTU for Hoymiles inverters: one number per topic, totals in kWh to the watt-hour.

Source: www.opendtu.solar/firmware/mqtt_topics.
"""

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, kwh, time_of


def _encode(serial: str, reading: Reading) -> list[EncodedPublish]:
    fields = {
        "power": (reading.power_w, 1),
        "yieldtotal": (kwh(reading.energy_wh), 3),
        "voltage": (reading.voltage_v, 1),
        "current": (reading.current_a, 2),
        "frequency": (reading.frequency_hz, 2),
        "temperature": (reading.temperature_c, 1),
    }
    messages = [
        ("status/reachable", "1"),
        ("status/producing", str(int((reading.power_w or 0) > 0))),
    ]
    messages.append(("status/last_update", str(int(time_of(reading).timestamp()))))
    messages += [
        (f"0/{field}", f"{value:.{digits}f}")
        for field, (value, digits) in fields.items()
        if value is not None
    ]
    return [EncodedPublish(f"solar/{serial}/{topic}", payload, True) for topic, payload in messages]


ENCODER = FirmwareEncoder(
    _encode,
    on_connect=lambda serial: [EncodedPublish(f"solar/{serial}/status/dtu", "online", True)],
    will=lambda serial: EncodedPublish(f"solar/{serial}/status/dtu", "offline", True),
)
