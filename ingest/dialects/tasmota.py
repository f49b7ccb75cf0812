"""Tasmota: `tele/<topic>/SENSOR` with `{"Time": …, "ENERGY": {…}}`, and `LWT`.

`Time` is the device's wall clock, without a zone unless it is set up to say one; or it is set up to
tell seconds since 1970. Numbers are arrays on devices of several phases, where those without a wire
report garbage; `null` there is a phase that tells nothing, and neither does any sum with it.

Counters, in kWh: `Total` is generation where the device measures an inverter. Where it counts both
directions (it has `ExportActive` or `ImportActive`, or is a meter) `Total` is net: it runs
backwards, and is not used; `ExportActive` is export, `ImportActive` import. `TotalStartTime` is
since when `Total` counts: when it changes, that was reset. Older firmware has `ENERGY` as a topic
of its own. The command `Status 8`, or 10, is answered on `stat/<topic>/STATUS8`, with the same in
`StatusSNS`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.readings import RejectionReason
from ingest.dialects import NOTHING, OFFLINE, ONLINE, DecodeResult, DeviceContext, refuse
from ingest.dialects.values import (
    device_time,
    document,
    first_time,
    maybe_earlier,
    number,
    object_in,
    parts,
    reading,
    scaled,
    total,
    unix_time,
)

_PRESENCE = {b"Online": ONLINE, b"Offline": OFFLINE}


def decode(
    levels: Sequence[str], payload: bytes, speaker: DeviceContext, received_at: datetime
) -> DecodeResult:
    match tuple(levels):
        case ("SENSOR" | "ENERGY" | "STATUS8" | "STATUS10" as kind,):
            message = document(payload)
            if message is None:
                return refuse(RejectionReason.MALFORMED, "payload must be a JSON object")
            if kind.startswith("STATUS"):
                message, kind = object_in(message, "StatusSNS"), "SENSOR"
            energy = object_in(message, "ENERGY") if kind == "SENSOR" else message
            return _energy(message.get("Time"), energy, speaker, received_at)
        case ("LWT",):
            return _PRESENCE.get(payload.strip(), NOTHING)
        case _:
            return NOTHING


def _energy(
    time: Any, energy: Mapping[str, Any], speaker: DeviceContext, received_at: datetime
) -> DecodeResult:
    at = device_time(time, speaker.zone, received_at) or unix_time(number(time))
    net = speaker.is_meter or "ExportActive" in energy or "ImportActive" in energy
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
    since = first_time(energy.get("TotalStartTime"), speaker.zone)
    counts_since = since if "energy_wh" in counters else None
    by_phase = {key: wh for one in phases for key, wh in one.items()}
    heard = reading(at, fields, by_phase, counts_since)
    if at is None and time is not None and heard is not NOTHING:
        return refuse(
            RejectionReason.BAD_TIME, "Time: must be a date and time such as 2026-03-01T06:30:00"
        )
    return maybe_earlier(heard, time, speaker.zone, received_at)


def _runs_backwards(total_kwh: Any) -> bool:
    """Whether a counter ran backwards through 0: a net counter after all."""
    return any((number(one) or 0.0) < 0 for one in _list(total_kwh))


def _phase(energy: Mapping[str, Any]) -> dict[str, float | None]:
    """Voltage and frequency of the phase with the highest voltage: that one has a wire."""
    voltages, frequencies = (_list(energy.get(key)) for key in ("Voltage", "Frequency"))
    known = [(number(v), n) for n, v in enumerate(voltages)]
    voltage, n = max(((v, n) for v, n in known if v is not None), default=(None, 0))
    one_for_all = len(frequencies) == 1
    frequency = (
        frequencies[0 if one_for_all else n] if n < len(frequencies) or one_for_all else None
    )
    return {"voltage_v": voltage, "frequency_hz": number(frequency)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
