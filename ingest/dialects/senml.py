"""SenML (RFC 8428, JSON): `senml/<external_id>`, an array of records that share base fields.

Records of the same time are one reading. The unit selects the kind of value (W, kW, J, Wh, kWh, V,
A, Hz, Cel, %EL), the name selects the field. A power with `load` in its name is what the house
draws. An energy with `export` or `import` in its name is that counter; any other energy is
generation, or import if the device is a meter. Energies named `net`, `day` or `today` are not used.
A sum `s` of watts is a counter too, in watt-seconds. Times below 2^28 are relative to now.

Each name is a counter of its own, whether or not other names are reported at the same time: two
inverters behind one gateway are never taken for one counter that jumps.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from pydantic_core import from_json

from core.assembly import PARTS_MAX
from core.readings import Reading, RejectedReading, RejectionReason
from ingest.dialects import NOTHING, Decoded, DecodeResult, DeviceContext, reject
from ingest.dialects.values import (
    forward_counter,
    number,
    produced_power,
    unix_time,
    whole_reading,
)

# Limits of one message, so that a small payload of short records cannot take long to decode.
RECORDS_MAX = 10_000
READINGS_MAX = 1000
_VERSION_MAX = 10
_ABSOLUTE_FROM_S = 2**28

_WORD = re.compile(r"[a-z]+")
_WH = {"J": 1 / 3600, "Wh": 1.0, "kWh": 1000.0}
_WATTS = {"W": 1.0, "kW": 1000.0}
_OTHERS = {
    "V": "voltage_v",
    "A": "current_a",
    "Hz": "frequency_hz",
    "Cel": "temperature_c",
    "%EL": "battery_soc_pct",
}
_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9]+")
# Characters of a record's name that the key of its counter shows; a checksum tells others apart.
_READABLE_MAX = 30
_NOT_LIFETIME = frozenset({"net", "day", "daily", "today"})


class _InvalidPackError(ValueError):
    """The reason why the whole pack is rejected."""


@dataclass(slots=True)
class _Base:
    """The base fields that apply to a record: those of the latest record that sets them."""

    name: str = ""
    unit: str = ""
    time_s: float = 0.0
    value: float = 0.0
    sum: float = 0.0


@dataclass(slots=True)
class _Measurement:
    """The values of the records of one time. `fault` is the reason why they are rejected."""

    at: datetime
    fields: dict[str, float | None] = field(default_factory=dict)
    # Counters by the key of a part: the field and the record's name.
    parts: dict[str, float] = field(default_factory=dict)
    fault: str | None = None


def decode(
    _: Sequence[str], payload: bytes, device: DeviceContext, received_at: datetime
) -> DecodeResult:
    try:
        measurements = _measurements(payload, device, received_at)
    except _InvalidPackError as error:
        return reject(RejectionReason.MALFORMED, str(error))
    if len(measurements) > READINGS_MAX:
        return reject(RejectionReason.TOO_MANY, f"at most {READINGS_MAX} readings are allowed")
    readings: list[Reading] = []
    rejected: list[RejectedReading] = []
    for measurement in measurements:
        if measurement.fault is not None:
            rejected.append(
                RejectedReading(RejectionReason.BAD_VALUE, measurement.fault, measurement.at)
            )
            continue
        fields = measurement.fields | _totals(measurement.parts)
        result = whole_reading(measurement.at, fields, measurement.parts).decoded
        readings += result.readings
        rejected += result.rejected
    if not readings and not rejected:
        return NOTHING
    return DecodeResult(Decoded(tuple(readings), tuple(rejected)))


def _measurements(
    payload: bytes, device: DeviceContext, received_at: datetime
) -> list[_Measurement]:
    try:
        pack = from_json(payload)
    except (ValueError, RecursionError) as error:
        raise _InvalidPackError("payload must be JSON") from error
    if not isinstance(pack, list) or not all(isinstance(record, dict) for record in pack):
        raise _InvalidPackError("payload must be an array of records")
    if len(pack) > RECORDS_MAX:
        raise _InvalidPackError(f"at most {RECORDS_MAX} records are allowed")
    base = _Base()
    by_time: dict[datetime, _Measurement] = {}
    for record in pack:
        _update_base(base, record)
        at = _time(base, record, received_at)
        _add(by_time.setdefault(at, _Measurement(at)), base, record, device)
    return list(by_time.values())


def _update_base(base: _Base, record: Mapping[str, Any]) -> None:
    # RFC 8428, 4.4: a receiver rejects a pack with such a field unless it knows the field.
    if any(key.endswith("_") for key in record):
        raise _InvalidPackError("fields whose names end in _ are not supported")
    version = record.get("bver", _VERSION_MAX)
    if not isinstance(version, int) or not 0 < version <= _VERSION_MAX:
        raise _InvalidPackError(f"bver: must be a version from 1 to {_VERSION_MAX}")
    base.name = _text(record, "bn", base.name)
    base.unit = _text(record, "bu", base.unit)
    base.time_s = _number(record, "bt", base.time_s)
    base.value = _number(record, "bv", base.value)
    base.sum = _number(record, "bs", base.sum)


def _text(record: Mapping[str, Any], key: str, default: str) -> str:
    value = record.get(key, default)
    if not isinstance(value, str):
        raise _InvalidPackError(f"{key}: must be text")
    return value


def _number(record: Mapping[str, Any], key: str, default: float) -> float:
    value = number(record.get(key, default))
    if value is None:
        raise _InvalidPackError(f"{key}: must be a number")
    return value


def _time(base: _Base, record: Mapping[str, Any], received_at: datetime) -> datetime:
    time_s = base.time_s + _number(record, "t", 0.0)
    if time_s >= _ABSOLUTE_FROM_S:
        at = unix_time(time_s)
        if at is not None:
            return at
    else:
        try:
            return received_at + timedelta(seconds=time_s)
        except OverflowError:
            pass
    raise _InvalidPackError("t: must be in the years 1 to 9999")


def _add(
    measurement: _Measurement, base: _Base, record: Mapping[str, Any], device: DeviceContext
) -> None:
    unit = _text(record, "u", base.unit)
    name = base.name + _text(record, "n", "")
    value, integral = number(record.get("v")), number(record.get("s"))
    if value is not None or ("bv" in record and "s" not in record):
        _set(measurement, unit, name, base.value + (value or 0.0), device)
    if integral is not None and unit in _WATTS:
        _set(measurement, "J", name, (base.sum + integral) * _WATTS[unit], device)


def _set(
    measurement: _Measurement, unit: str, name: str, value: float, device: DeviceContext
) -> None:
    words = frozenset(_WORD.findall(name.lower()))
    if unit in _WH:
        counter = _counter(words, device)
        if counter is not None:
            _set_counter(measurement, counter, name, value * _WH[unit])
        return
    if unit in _WATTS:
        target, value = "load_w" if "load" in words else "power_w", value * _WATTS[unit]
        if target == "power_w":
            value = produced_power(value, device) or 0.0
    else:
        target = _OTHERS.get(unit, "")
    if target:
        measurement.fields.setdefault(target, value)


def _set_counter(measurement: _Measurement, counter: str, name: str, value_wh: float) -> None:
    key = f"{counter}:{_part(name)}"
    if measurement.parts.get(key, value_wh) != value_wh:
        measurement.fault = f"{counter}: records of the same time and name must not differ"
    elif len(measurement.parts) < PARTS_MAX or key in measurement.parts:
        measurement.parts[key] = value_wh


def _part(name: str) -> str:
    """Return the name of a part for a record's name, which may contain any character."""
    readable = _OTHER_CHARACTERS.sub("_", name)[-_READABLE_MAX:]
    return f"{readable}.{crc32(name.encode()):08x}"


def _totals(parts: Mapping[str, float]) -> dict[str, float]:
    """Return the sums of the parts by field, for display."""
    totals: dict[str, float] = {}
    for key, value_wh in parts.items():
        counter = key.partition(":")[0]
        totals[counter] = totals.get(counter, 0.0) + value_wh
    return totals


def _counter(words: frozenset[str], device: DeviceContext) -> str | None:
    if words & _NOT_LIFETIME:
        return None
    for direction in ("export", "import"):
        if direction in words:
            return f"{direction}_wh"
    return forward_counter(device)
