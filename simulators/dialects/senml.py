"""SenML (RFC 8428): records that share a base name and time; energies in joules or kWh."""

import json

from core.readings import Reading
from simulators.dialects.encoder import EncodedPublish, FirmwareEncoder, kwh, time_of


def _say(name: str, reading: Reading) -> list[EncodedPublish]:
    records = [
        {"n": "power", "u": "W", "v": reading.power_w},
        {"n": "energy", "u": "J", "v": _joules(reading.energy_wh)},
        {"n": "export", "u": "kWh", "v": kwh(reading.export_wh)},
        {"n": "load", "u": "W", "v": reading.load_w},
        {"n": "voltage", "u": "V", "v": reading.voltage_v},
        {"n": "battery", "u": "%EL", "v": reading.battery_soc_pct},
    ]
    known = [record for record in records if record["v"] is not None]
    base = {"bn": f"urn:dev:{name}:", "bt": time_of(reading).timestamp()}
    return [EncodedPublish(f"senml/{name}", json.dumps([{**base, **known[0]}, *known[1:]]))]


def _joules(energy_wh: float | None) -> float | None:
    return None if energy_wh is None else energy_wh * 3600


VOICE = FirmwareEncoder(_say, tells_all=True)
