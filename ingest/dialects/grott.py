"""Growatt through grott: `energy/growatt/<serial>`, raw registers of the inverter as JSON.

Registers are tenths (0.1 W, 0.1 V, 0.1 kWh), frequency of an inverter hundredths. `time` is the
inverter's wall clock. `buffered: "yes"` is history that is sent late, out of order and more than
once: its time tells it apart, as it does live records.

Counters: `pvenergytotal` is generation. With a meter a hybrid inverter has `etogrid_tot`, export,
and `etouser_tot`, import; without one they stay 0, and say nothing. A smart meter sends records of
its own: `rev_act_energy` is export, `pos_act_energy` import, and its power is what the house draws.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.readings import Refusal
from ingest.dialects import Heard, Speaker, refuse
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


def decode(_: Sequence[str], payload: bytes, speaker: Speaker, received_at: datetime) -> Heard:
    message = document(payload)
    if message is None:
        return refuse(Refusal.MALFORMED, "payload must be a JSON object")
    if message.get("device") != speaker.external_id:
        return refuse(Refusal.MALFORMED, "device: must be the serial that is in the topic")
    time, is_late = message.get("time"), message.get("buffered") == "yes"
    at = device_time(time, speaker.zone, received_at)
    if at is None:
        return refuse(Refusal.BAD_TIME, "time: must be a date and time such as 2026-03-01T06:30:00")
    values = object_in(message, "values")
    heard = reading(at, _meter(values) if "rev_act_energy" in values else _inverter(values))
    return maybe_earlier(heard, time, speaker.zone, received_at, is_late=is_late)


def _inverter(values: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        "power_w": _tenths(values, "pvpowerout"),
        "energy_wh": scaled(number(values.get("pvenergytotal")), _WH),
        "export_wh": scaled(number(values.get("etogrid_tot")) or None, _WH),
        "import_wh": scaled(number(values.get("etouser_tot")) or None, _WH),
        "voltage_v": _tenths(values, "pvgridvoltage"),
        "current_a": _tenths(values, "pvgridcurrent"),
        "frequency_hz": scaled(number(values.get("pvfrequentie")), 1 / 100),
        "temperature_c": _tenths(values, "pvtemperature"),
    }


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
