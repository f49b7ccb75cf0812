"""SenML: JSON records that share a base name and time, with energies in joules or kWh.

Source: RFC 8428, section 5 (JSON representation) and section 12.1 (units).
"""

import json

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, kwh, time_of


def _encode(name: str, reading: Reading) -> list[EncodedPublish]:
    records = [
        {"n": "power", "u": "W", "v": reading.power_w},
        {"n": "energy", "u": "J", "v": _joules(reading.energy_wh)},
        {"n": "export", "u": "kWh", "v": kwh(reading.export_wh)},
        {"n": "load", "u": "W", "v": reading.load_w},
        {"n": "voltage", "u": "V", "v": reading.voltage_v},
        {"n": "battery", "u": "%EL", "v": reading.battery_soc_pct},
    ]
    present = [record for record in records if record["v"] is not None]
    base = {"bn": f"urn:dev:{name}:", "bt": time_of(reading).timestamp()}
    return [EncodedPublish(f"senml/{name}", json.dumps([{**base, **present[0]}, *present[1:]]))]


def _joules(energy_wh: float | None) -> float | None:
    return None if energy_wh is None else energy_wh * 3600


ENCODER = FirmwareEncoder(_encode, lossless=True)
