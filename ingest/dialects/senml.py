"""SenML (RFC 8428, JSON): `senml/<external_id>`, an array of records that share base fields.

Records of one time are one reading. The unit says what a number is (W, kW, J, Wh, kWh, V, A, Hz,
Cel, %EL), the name which one: a power with `load` in its name is what the house draws; an energy
with `export` or `import` in it is that counter. Other energies are generation, or import where the
device is a meter; not used are those named `net`, `day` or `today`. A sum `s` of watts is a counter
too, in watt-seconds. Times below 2^28 are relative to now.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json

from core.readings import Reading, RejectedReading, RejectionReason
from ingest.dialects import NOTHING, Decoded, DecodeResult, DeviceContext, refuse
from ingest.dialects.directions import forwards, power
from ingest.dialects.values import number, reading, unix_time

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
_COUNTERS = frozenset({"energy_wh", "export_wh", "import_wh"})
_NOT_LIFETIME = frozenset({"net", "day", "daily", "today"})


class _Unreadable(ValueError):
    """The pack as a whole can't be read; the text says why."""


@dataclass(slots=True)
class _Base:
    """The base fields as they stand at a record."""

    name: str = ""
    unit: str = ""
    time_s: float = 0.0
    value: float = 0.0
    sum: float = 0.0


@dataclass(slots=True)
class _Measurement:
    """What the records of one time say; `fault`: what is wrong with them."""

    at: datetime
    fields: dict[str, float | None] = field(default_factory=dict)
    fault: str | None = None


def decode(
    _: Sequence[str], payload: bytes, speaker: DeviceContext, received_at: datetime
) -> DecodeResult:
    try:
        measurements = _measurements(payload, speaker, received_at)
    except _Unreadable as error:
        return refuse(RejectionReason.MALFORMED, str(error))
    if len(measurements) > READINGS_MAX:
        return refuse(RejectionReason.TOO_MANY, f"at most {READINGS_MAX} readings are allowed")
    readings: list[Reading] = []
    refused: list[RejectedReading] = []
    for measurement in measurements:
        if measurement.fault is not None:
            refused.append(
                RejectedReading(RejectionReason.BAD_VALUE, measurement.fault, measurement.at)
            )
            continue
        heard = reading(measurement.at, measurement.fields).decoded
        readings += heard.readings
        refused += heard.refused
    if not readings and not refused:
        return NOTHING
    return DecodeResult(Decoded(tuple(readings), tuple(refused)))


def _measurements(
    payload: bytes, speaker: DeviceContext, received_at: datetime
) -> list[_Measurement]:
    try:
        pack = from_json(payload)
    except (ValueError, RecursionError) as error:
        raise _Unreadable("payload must be JSON") from error
    if not isinstance(pack, list) or not all(isinstance(record, dict) for record in pack):
        raise _Unreadable("payload must be an array of records")
    if len(pack) > RECORDS_MAX:
        raise _Unreadable(f"at most {RECORDS_MAX} records are allowed")
    base = _Base()
    by_time: dict[datetime, _Measurement] = {}
    for record in pack:
        _rebase(base, record)
        at = _time(base, record, received_at)
        _add(by_time.setdefault(at, _Measurement(at)), base, record, speaker)
    return list(by_time.values())


def _rebase(base: _Base, record: Mapping[str, Any]) -> None:
    if any(key.endswith("_") for key in record):
        raise _Unreadable("a field that must be understood is not")
    version = record.get("bver", _VERSION_MAX)
    if not isinstance(version, int) or not 0 < version <= _VERSION_MAX:
        raise _Unreadable(f"bver: versions up to {_VERSION_MAX} are understood")
    base.name = _text(record, "bn", base.name)
    base.unit = _text(record, "bu", base.unit)
    base.time_s = _number(record, "bt", base.time_s)
    base.value = _number(record, "bv", base.value)
    base.sum = _number(record, "bs", base.sum)


def _text(record: Mapping[str, Any], key: str, default: str) -> str:
    value = record.get(key, default)
    if not isinstance(value, str):
        raise _Unreadable(f"{key}: must be text")
    return value


def _number(record: Mapping[str, Any], key: str, default: float) -> float:
    value = number(record.get(key, default))
    if value is None:
        raise _Unreadable(f"{key}: must be a number")
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
    raise _Unreadable("t: must lie in the years that a calendar has")


def _add(
    measurement: _Measurement, base: _Base, record: Mapping[str, Any], speaker: DeviceContext
) -> None:
    unit = _text(record, "u", base.unit)
    words = frozenset(_WORD.findall((base.name + _text(record, "n", "")).lower()))
    value, integral = number(record.get("v")), number(record.get("s"))
    if value is not None or ("bv" in record and "s" not in record):
        _say(measurement, unit, words, base.value + (value or 0.0), speaker)
    if integral is not None and unit in _WATTS:
        _say(measurement, "J", words, (base.sum + integral) * _WATTS[unit], speaker)


def _say(
    measurement: _Measurement,
    unit: str,
    words: frozenset[str],
    value: float,
    speaker: DeviceContext,
) -> None:
    if unit in _WH:
        name, value = _counter(words, speaker), value * _WH[unit]
    elif unit in _WATTS:
        name, value = "load_w" if "load" in words else "power_w", value * _WATTS[unit]
        if name == "power_w":
            value = power(value, speaker) or 0.0
    else:
        name = _OTHERS.get(unit)
    if name is None:
        return
    if name in _COUNTERS and measurement.fields.get(name, value) != value:
        measurement.fault = f"{name}: two records of one time tell this counter"
    measurement.fields.setdefault(name, value)


def _counter(words: frozenset[str], speaker: DeviceContext) -> str | None:
    if words & _NOT_LIFETIME:
        return None
    for direction in ("export", "import"):
        if direction in words:
            return f"{direction}_wh"
    return forwards(speaker)
