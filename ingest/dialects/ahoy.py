"""AhoyDTU: `inverter/<name>/ch0` as JSON with `ts`, or one bare number per topic below it.

Counters: `YieldTotal` is generation in kWh, although the manual's table has another unit. At dusk
it sometimes reads 0. `ts`, or the topic `last_success`, is the time of measurement; 0 means that
there was none yet.
"""

from collections.abc import Sequence
from datetime import datetime

from core.assembly import NEVER
from core.readings import RejectionReason
from ingest.dialects import NOTHING, OFFLINE, ONLINE, DecodeResult, DeviceContext, reject
from ingest.dialects.values import (
    bare_number,
    json_object,
    number,
    partial_reading,
    unix_time,
    whole_reading,
)

_FIELDS = {
    "P_AC": ("power_w", 1.0),
    "YieldTotal": ("energy_wh", 1000.0),
    "U_AC": ("voltage_v", 1.0),
    "I_AC": ("current_a", 1.0),
    "F_AC": ("frequency_hz", 1.0),
    "Temp": ("temperature_c", 1.0),
}
# 1: reachable, but not producing; 2: producing.
_PRESENCE = {b"0": OFFLINE, b"1": ONLINE, b"2": ONLINE}


def decode(levels: Sequence[str], payload: bytes, _: DeviceContext, __: datetime) -> DecodeResult:
    match tuple(levels):
        case ("ch0",):
            return _from_json(payload)
        case ("ch0", field) if field in _FIELDS:
            name, factor = _FIELDS[field]
            value = bare_number(payload)
            return NOTHING if value is None else partial_reading({name: value * factor})
        case ("ch0", "ts") | ("last_success",):
            return partial_reading({}, unix_time(bare_number(payload)))
        case ("available",):
            return _PRESENCE.get(payload.strip(), NOTHING)
        case _:
            return NOTHING


def _from_json(payload: bytes) -> DecodeResult:
    message = json_object(payload)
    if message is None:
        return reject(RejectionReason.MALFORMED, "payload must be a JSON object")
    at = unix_time(number(message.get("ts")))
    if at is None and message.get("ts") is not None:
        return reject(RejectionReason.BAD_TIME, "ts: must be seconds since 1970")
    if at == NEVER:
        return NOTHING
    fields = {}
    for field, (name, factor) in _FIELDS.items():
        value = number(message.get(field))
        fields[name] = None if value is None else value * factor
    return whole_reading(at, fields)
