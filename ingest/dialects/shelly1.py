"""Shelly, first generation: `shellies/<id>/…`, one bare number per topic, without a clock.

Counters: `emeter/<n>/total` counts forwards only and `total_returned` backwards only, in Wh, for
each phase. The device's power is the sum of its phases, once every phase with a counter has a
power. `relay/0/energy` counts energy of either direction in watt-minutes, from 0 after a restart.
Forwards is generation where the device measures an inverter, and import where it is a meter.
Backwards is what an inverter draws at night, or what a meter's house exports. Not used:
`emeter/<n>/energy`, which is in watt-minutes and restarts from 0 too; and `relay/1` and up, which
switch something else.
"""

from collections.abc import Sequence
from datetime import datetime

from core.assembly import Known
from ingest.dialects import NOTHING, OFFLINE, ONLINE, DecodeResult, DeviceContext
from ingest.dialects.values import (
    backward_counter,
    bare_number,
    forward_counter,
    partial_reading,
    produced_power,
    total,
)

_WH_PER_WATT_MINUTE = 1 / 60
_PHASES = ("0", "1", "2")
_PRESENCE = {b"true": ONLINE, b"false": OFFLINE}


def decode(
    levels: Sequence[str], payload: bytes, device: DeviceContext, _: datetime
) -> DecodeResult:
    match tuple(levels):
        case ("emeter", phase, field) if phase in _PHASES:
            return _emeter(phase, field, bare_number(payload), device)
        case ("relay", "0", field):
            return _relay(field, bare_number(payload), device)
        case ("online",):
            return _PRESENCE.get(payload.strip().lower(), NOTHING)
        case _:
            return NOTHING


def _emeter(phase: str, field: str, value: float | None, device: DeviceContext) -> DecodeResult:
    match field:
        case "power":
            return partial_reading({f"power_w:{phase}": produced_power(value, device)})
        case "total":
            return partial_reading({f"{forward_counter(device)}:{phase}": value})
        case "total_returned":
            return partial_reading({f"{backward_counter(device)}:{phase}": value})
        case "current":
            return partial_reading({f"current_a:{phase}": value})
        case "voltage" if phase == "0":
            return partial_reading({"voltage_v": value})
        case _:
            return NOTHING


def _relay(field: str, value: float | None, device: DeviceContext) -> DecodeResult:
    if value is None:
        return NOTHING
    match field:
        case "power":
            return partial_reading({"power_w:relay": produced_power(value, device)})
        case "energy":
            return partial_reading(
                {f"{forward_counter(device)}:relay": value * _WH_PER_WATT_MINUTE}
            )
        case _:
            return NOTHING


def power_w(known: Known) -> float | None:
    """Return the power of all phases, or None while a phase with a counter has no power."""
    powers = {name.partition(":")[2]: w for name, w in known.items() if name.startswith("power_w:")}
    counting = {name.partition(":")[2] for name in known}.intersection(_PHASES)
    return total([powers.get(phase) for phase in counting.union(powers)])
