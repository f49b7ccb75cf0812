"""Growatt through grott: `energy/growatt/<serial>`, raw registers of the inverter as JSON.

Registers are tenths (0.1 W, 0.1 V, 0.1 kWh), frequency of an inverter hundredths. `time` is the
inverter's wall clock. `buffered: "yes"` is history that is sent late, out of order and more than
once: its time tells it apart, as it does live records.

Counters: `pvenergytotal` (on some `eactotal`) is what the inverter put out. Of a hybrid inverter
that is what its battery gave back too, which the grid may have charged: `eacharge_total` counts
that, and is taken off. Not used: `epvtotal`, which counts ahead of the inverter's losses. With a
meter a hybrid inverter has `etogrid_tot`, export, and `etouser_tot`, import; without one they stay
0, and say nothing. A smart meter sends records of its own: `rev_act_energy` is export,
`pos_act_energy` import, and its power is what the house draws.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.readings import RETURN, RejectionReason
from ingest.dialects import DecodeResult, DeviceContext, refuse
from ingest.dialects.values import (
    device_time,
    document,
    maybe_earlier,
    number,
    object_in,
    reading,
    scaled,
)

_WH = 100.0


def device_of(payload: bytes) -> str | None:
    """Whose record a payload is, where the topic doesn't say."""
    message = document(payload)
    device = message.get("device") if message else None
    return device if isinstance(device, str) else None


def decode(
    _: Sequence[str], payload: bytes, speaker: DeviceContext, received_at: datetime
) -> DecodeResult:
    message = document(payload)
    if message is None:
        return refuse(RejectionReason.MALFORMED, "payload must be a JSON object")
    if message.get("device") != speaker.external_id:
        return refuse(RejectionReason.MALFORMED, "device: must be the serial that is in the topic")
    time, is_late = message.get("time"), message.get("buffered") == "yes"
    at = device_time(time, speaker.zone, received_at)
    if at is None:
        return refuse(
            RejectionReason.BAD_TIME, "time: must be a date and time such as 2026-03-01T06:30:00"
        )
    values = object_in(message, "values")
    if "rev_act_energy" in values:
        heard = reading(at, _meter(values))
    else:
        heard = reading(at, _inverter(values), _with_battery(values))
    return maybe_earlier(heard, time, speaker.zone, received_at, is_late=is_late)


def _inverter(values: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        "power_w": _tenths(values, "pvpowerout"),
        "energy_wh": _generated_wh(values),
        "export_wh": scaled(number(values.get("etogrid_tot")) or None, _WH),
        "import_wh": scaled(number(values.get("etouser_tot")) or None, _WH),
        "voltage_v": _tenths(values, "pvgridvoltage"),
        "current_a": _tenths(values, "pvgridcurrent"),
        "frequency_hz": scaled(number(values.get("pvfrequentie")), 1 / 100),
        "temperature_c": _tenths(values, "pvtemperature"),
    }


def _generated_wh(values: Mapping[str, Any]) -> float | None:
    """All that a record tells; None where it doesn't tell all, or one of its counters is off."""
    put_out_wh, charged_wh = _put_out_wh(values), _charged_wh(values)
    if "eacharge_total" not in values:
        return put_out_wh
    if put_out_wh is None or charged_wh is None or put_out_wh < charged_wh:
        return None
    return put_out_wh - charged_wh


def _with_battery(values: Mapping[str, Any]) -> dict[str, float]:
    """What a hybrid inverter put out, and what of it the grid had charged its battery with."""
    if "eacharge_total" not in values:
        return {}
    counters = {"energy_wh:ac": _put_out_wh(values), f"energy_wh:ac{RETURN}": _charged_wh(values)}
    return {key: wh for key, wh in counters.items() if wh is not None}


def _put_out_wh(values: Mapping[str, Any]) -> float | None:
    name = "pvenergytotal" if "pvenergytotal" in values else "eactotal"
    return scaled(number(values.get(name)), _WH)


def _charged_wh(values: Mapping[str, Any]) -> float | None:
    return scaled(number(values.get("eacharge_total")), _WH)


def _meter(values: Mapping[str, Any]) -> dict[str, float | None]:
    drawn_w = _tenths(values, "pos_rev_act_power")
    return {
        "power_w": None if drawn_w is None else 0.0 - drawn_w,
        "export_wh": scaled(number(values.get("rev_act_energy")), _WH),
        "import_wh": scaled(number(values.get("pos_act_energy")), _WH),
        "voltage_v": _tenths(values, "voltage_l1"),
        "current_a": _tenths(values, "Current_l1"),
        "frequency_hz": _tenths(values, "frequency"),
    }


def _tenths(values: Mapping[str, Any], key: str) -> float | None:
    value = number(values.get(key))
    return None if value is None else value / 10
