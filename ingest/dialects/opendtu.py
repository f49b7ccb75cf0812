"""OpenDTU: `solar/<serial>/0/<field>`, one bare number per topic; `status/last_update` is the time.

Counters: `yieldtotal` is generation, in kWh (unlike `yieldday`, which is in Wh). It may read 0 at
night and after a restart. Not used: sums over inverters (`solar/ac/…`), because they lack inverters
that are out of reach; values per panel (`1` to `4`); and the day's yield.
"""

from collections.abc import Sequence
from datetime import datetime

from ingest.dialects import NOTHING, OFFLINE, ONLINE, DecodeResult, DeviceContext
from ingest.dialects.values import bare_number, partial_reading, unix_time

_FIELDS = {
    "power": ("power_w", 1.0),
    "yieldtotal": ("energy_wh", 1000.0),
    "voltage": ("voltage_v", 1.0),
    "current": ("current_a", 1.0),
    "frequency": ("frequency_hz", 1.0),
    "temperature": ("temperature_c", 1.0),
}
_PRESENCE = {b"0": OFFLINE, b"1": ONLINE}


def decode(levels: Sequence[str], payload: bytes, _: DeviceContext, __: datetime) -> DecodeResult:
    match tuple(levels):
        case ("0", field) if field in _FIELDS:
            name, factor = _FIELDS[field]
            value = bare_number(payload)
            return NOTHING if value is None else partial_reading({name: value * factor})
        case ("status", "last_update"):
            return partial_reading({}, unix_time(bare_number(payload)))
        case ("status", "reachable"):
            return _PRESENCE.get(payload.strip(), NOTHING)
        # The last will of the DTU. Its "online" does not mean that the inverter is reachable.
        case ("status", "dtu") if payload.strip() == b"offline":
            return OFFLINE
        case _:
            return NOTHING
