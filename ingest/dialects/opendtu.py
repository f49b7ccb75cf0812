"""OpenDTU: `solar/<serial>/0/<field>`, one bare number per topic; `status/last_update` is the time.

Counters: `yieldtotal` is generation, in kWh though `yieldday` is in Wh. At night and after a
restart it may read 0. Not used: sums over inverters (`solar/ac/…`, which lack those that are out
of reach), the panels' own figures (`1` to `4`), and the day's yield.
"""

from collections.abc import Sequence
from datetime import datetime

from ingest.dialects import NOTHING, OFFLINE, ONLINE, DecodeResult, DeviceContext
from ingest.dialects.values import bare_number, part, unix_time

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
            return NOTHING if value is None else part({name: value * factor})
        case ("status", "last_update"):
            return part({}, unix_time(bare_number(payload)))
        case ("status", "reachable"):
            return _PRESENCE.get(payload.strip(), NOTHING)
        case ("status", "dtu") if payload.strip() == b"offline":
            return OFFLINE  # Its last will; that it is back doesn't say that the inverter is.
        case _:
            return NOTHING
