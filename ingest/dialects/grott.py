"""Growatt through grott: `energy/growatt/<serial>`, the inverter's raw registers as JSON.

Registers are tenths (0.1 W, 0.1 V, 0.1 kWh); an inverter's frequency is in hundredths. `time` is
the inverter's wall clock. `buffered: "yes"` marks history, which is sent late, out of order and
more than once; its `time` is that of the measurement, as in live records.

Counters: `pvenergytotal` (on some models `eactotal`) is the inverter's output. The output of a
hybrid inverter includes what its battery returned, which the grid may have charged:
`eacharge_total` counts that charge, and is subtracted. Not used: `epvtotal`, which counts before
the inverter's losses. A hybrid inverter with a meter has `etogrid_tot`, export, and `etouser_tot`,
import; without a meter both stay 0, which is treated as absent. A smart meter sends records of its
own: `rev_act_energy` is export, `pos_act_energy` is import, and its power is what the house draws.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.readings import RETURN, RejectionReason
from ingest.dialects import DecodeResult, DeviceContext, reject
from ingest.dialects.values import (
    device_time,
    json_object,
    nested_object,
    number,
    scaled,
    whole_reading,
    with_earlier_time,
)

_WH = 100.0


def device_of(payload: bytes) -> str | None:
    """Return the serial in a record whose topic has none."""
    message = json_object(payload)
    device = message.get("device") if message else None
    return device if isinstance(device, str) else None


def decode(
    _: Sequence[str], payload: bytes, device: DeviceContext, received_at: datetime
) -> DecodeResult:
    message = json_object(payload)
    if message is None:
        return reject(RejectionReason.MALFORMED, "payload must be a JSON object")
    if message.get("device") != device.external_id:
        return reject(RejectionReason.MALFORMED, "device: must be the serial that is in the topic")
    time, is_late = message.get("time"), message.get("buffered") == "yes"
    at = device_time(time, device.zone, received_at)
    if at is None:
        return reject(
            RejectionReason.BAD_TIME, "time: must be a date and time such as 2026-03-01T06:30:00"
        )
    values = nested_object(message, "values")
    if "rev_act_energy" in values:
        result = whole_reading(at, _meter(values))
    else:
        result = whole_reading(at, _inverter(values), _battery_counters(values))
    return with_earlier_time(result, time, device.zone, received_at, is_late=is_late)


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
    """Return the generation, or None if a counter is missing or below the one it contains.

    A record with `eacharge_total` is of a hybrid inverter.
    """
    output_wh, charged_wh = _output_wh(values), _charged_wh(values)
    if "eacharge_total" not in values:
        return output_wh
    if output_wh is None or charged_wh is None or output_wh < charged_wh:
        return None
    return output_wh - charged_wh


def _battery_counters(values: Mapping[str, Any]) -> dict[str, float]:
    """Return a hybrid inverter's counters: its output, and the grid's charge of its battery."""
    if "eacharge_total" not in values:
        return {}
    counters = {"energy_wh:ac": _output_wh(values), f"energy_wh:ac{RETURN}": _charged_wh(values)}
    return {key: wh for key, wh in counters.items() if wh is not None}


def _output_wh(values: Mapping[str, Any]) -> float | None:
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
