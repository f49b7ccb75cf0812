"""Shelly, first generation: `shellies/<id>/…`, one bare number per topic, and no clock.

Counters: `emeter/<n>/total` counts forwards only, `total_returned` backwards, both in Wh, and each
phase has both; powers of phases add up once each that counts tells one. `relay/0/energy` counts
whatever flows, either way, in watt-minutes, and from 0 after a restart. Forwards is generation
where the device measures an inverter, import where it is a meter; backwards is what an inverter
draws at night, or what a meter's house exports. Not used: `emeter/<n>/energy`, which is in
watt-minutes too and forgets; and `relay/1` and up, which switch something else.
"""

from collections.abc import Sequence
from datetime import datetime

from core.assembly import Known
from ingest.dialects import NOTHING, OFFLINE, ONLINE, DecodeResult, DeviceContext
from ingest.dialects.directions import backwards, forwards, power
from ingest.dialects.values import bare_number, part, total

_WH_PER_WATT_MINUTE = 1 / 60
_PHASES = ("0", "1", "2")
_PRESENCE = {b"true": ONLINE, b"false": OFFLINE}


def decode(
    levels: Sequence[str], payload: bytes, speaker: DeviceContext, _: datetime
) -> DecodeResult:
    match tuple(levels):
        case ("emeter", phase, field) if phase in _PHASES:
            return _emeter(phase, field, bare_number(payload), speaker)
        case ("relay", "0", field):
            return _relay(field, bare_number(payload), speaker)
        case ("online",):
            return _PRESENCE.get(payload.strip().lower(), NOTHING)
        case _:
            return NOTHING


def _emeter(phase: str, field: str, value: float | None, speaker: DeviceContext) -> DecodeResult:
    match field:
        case "power":
            return part({f"power_w:{phase}": power(value, speaker)})
        case "total":
            return part({f"{forwards(speaker)}:{phase}": value})
        case "total_returned":
            return part({f"{backwards(speaker)}:{phase}": value})
        case "current":
            return part({f"current_a:{phase}": value})
        case "voltage" if phase == "0":
            return part({"voltage_v": value})
        case _:
            return NOTHING


def _relay(field: str, value: float | None, speaker: DeviceContext) -> DecodeResult:
    if value is None:
        return NOTHING
    match field:
        case "power":
            return part({"power_w:relay": power(value, speaker)})
        case "energy":
            return part({f"{forwards(speaker)}:relay": value * _WH_PER_WATT_MINUTE})
        case _:
            return NOTHING


def power_w(known: Known) -> float | None:
    """The power of all phases: not that of some, where others are known to count."""
    told = {name.partition(":")[2]: w for name, w in known.items() if name.startswith("power_w:")}
    counting = {name.partition(":")[2] for name in known}.intersection(_PHASES)
    return total([told.get(phase) for phase in counting.union(told)])
