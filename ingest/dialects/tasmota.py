"""Tasmota: `tele/<topic>/SENSOR` with `{"Time": …, "ENERGY": {…}}`, and `LWT`.

`Time` is the device's wall clock: without a zone, with a zone, or seconds since 1970, depending on
its setup. Values are arrays on devices of several phases. A phase without a wire reports garbage; a
phase that is `null` has no value, and then a sum with it has none either.

Counters, in kWh: `Total` is generation where the device measures an inverter. A device that counts
both directions (it has `ExportActive` or `ImportActive`, or is a meter) has a net `Total`, which
runs backwards and is not used; `ExportActive` is export, `ImportActive` import. `TotalStartTime` is
when `Total` was last reset. Older firmware publishes `ENERGY` as a topic of its own. The command
`Status 8`, or 10, is answered on `stat/<topic>/STATUS8`, with the same values in `StatusSNS`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.readings import RejectionReason
from ingest.dialects import NOTHING, OFFLINE, ONLINE, DecodeResult, DeviceContext, reject
from ingest.dialects.values import (
    device_time,
    first_instant,
    json_object,
    nested_object,
    number,
    parts,
    scaled,
    total,
    unix_time,
    whole_reading,
    with_earlier_time,
)

_PRESENCE = {b"Online": ONLINE, b"Offline": OFFLINE}


def decode(
    levels: Sequence[str], payload: bytes, device: DeviceContext, received_at: datetime
) -> DecodeResult:
    match tuple(levels):
        case ("SENSOR" | "ENERGY" | "STATUS8" | "STATUS10" as kind,):
            message = json_object(payload)
            if message is None:
                return reject(RejectionReason.MALFORMED, "payload must be a JSON object")
            if kind.startswith("STATUS"):
                message, kind = nested_object(message, "StatusSNS"), "SENSOR"
            energy = nested_object(message, "ENERGY") if kind == "SENSOR" else message
            return _energy(message.get("Time"), energy, device, received_at)
        case ("LWT",):
            return _PRESENCE.get(payload.strip(), NOTHING)
        case _:
            return NOTHING


def _energy(
    time: Any, energy: Mapping[str, Any], device: DeviceContext, received_at: datetime
) -> DecodeResult:
    at = device_time(time, device.zone, received_at) or unix_time(number(time))
    net = device.is_meter or "ExportActive" in energy or "ImportActive" in energy
    counters = {"export_wh": energy.get("ExportActive"), "import_wh": energy.get("ImportActive")}
    if not net and not _runs_backwards(energy.get("Total")):
        counters["energy_wh"] = energy.get("Total")
    power_w = total(energy.get("Power"))
    fields = {
        "power_w": 0.0 - power_w if net and power_w is not None else power_w,
        "current_a": total(energy.get("Current")),
        **{name: scaled(total(kwh), 1000) for name, kwh in counters.items()},
        **_phase(energy),
    }
    phases = [parts(name, kwh, 1000) for name, kwh in counters.items()]
    since = first_instant(energy.get("TotalStartTime"), device.zone)
    counts_since = since if "energy_wh" in counters else None
    by_phase = {key: wh for one in phases for key, wh in one.items()}
    result = whole_reading(at, fields, by_phase, counts_since)
    if at is None and time is not None and result is not NOTHING:
        return reject(
            RejectionReason.BAD_TIME, "Time: must be a date and time such as 2026-03-01T06:30:00"
        )
    return with_earlier_time(result, time, device.zone, received_at)


def _runs_backwards(total_kwh: Any) -> bool:
    """Return whether a counter is below 0, which only a net counter can be."""
    return any((number(one) or 0.0) < 0 for one in _list(total_kwh))


def _phase(energy: Mapping[str, Any]) -> dict[str, float | None]:
    """Return voltage and frequency of the phase with the highest voltage: it has a wire."""
    voltages, frequencies = (_list(energy.get(key)) for key in ("Voltage", "Frequency"))
    numbered = [(number(v), n) for n, v in enumerate(voltages)]
    voltage, n = max(((v, n) for v, n in numbered if v is not None), default=(None, 0))
    is_shared = len(frequencies) == 1
    frequency = frequencies[0 if is_shared else n] if n < len(frequencies) or is_shared else None
    return {"voltage_v": voltage, "frequency_hz": number(frequency)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
