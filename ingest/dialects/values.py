"""Helpers of the decoders: numbers, instants and readings as devices write them. None raises.

Also the direction of energy: a device that counts both ways counts forwards what an inverter
generates, or what a house draws, so it depends on what the device measures.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import ValidationError, convert
from pydantic_core import from_json

from core.assembly import NEVER, PARTS_MAX, PartialReading
from core.readings import MAX_CLOCK_AHEAD, Reading, RejectionReason
from core.repeated_hour import Instants, instants
from ingest.dialects import NOTHING, Decoded, DecodeResult, DeviceContext, reject

_NUMBER_MAX_BYTES = 64
_NUMBER = re.compile(rb"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?", re.ASCII)


def number(value: Any) -> float | None:
    """Return a finite number of a JSON document, or None for anything else (text, true, null)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if isfinite(as_float) else None


def bare_number(payload: bytes) -> float | None:
    """Return the finite number that is the whole payload, or None."""
    match = _NUMBER.fullmatch(payload) if len(payload) <= _NUMBER_MAX_BYTES else None
    return number(float(match[1])) if match else None


def total(value: Any) -> float | None:
    """Return a number, or the sum of an array with one number per phase.

    The sum is None if any phase has no number: a partial sum would look like a drop.
    """
    if not isinstance(value, list):
        return number(value)
    numbers = list(map(number, value))
    known = [one for one in numbers if one is not None]
    return number(sum(known)) if known and len(known) == len(numbers) else None


def parts(name: str, value: Any, factor: float) -> dict[str, float]:
    """Return the counters of an array, one per phase, by key. A phase may have no number."""
    if not isinstance(value, list):
        return {}
    known = ((n, number(one)) for n, one in enumerate(value[:PARTS_MAX]))
    return {f"{name}:{n}": one * factor for n, one in known if one is not None}


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def json_object(payload: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a payload is, or None if it is something else."""
    try:
        value = from_json(payload)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def nested_object(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the object at this key, or an empty one if there is none."""
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


# Direction ---------------------------------------------------------------------------------------


def forward_counter(device: DeviceContext) -> str:
    """Return the field that the device's forward counter fills: generation, or import."""
    return "import_wh" if device.is_meter else "energy_wh"


def backward_counter(device: DeviceContext) -> str:
    """Return the field that the device's backward counter fills.

    That is a house's export, or what an inverter draws at night.
    """
    return "export_wh" if device.is_meter else "import_wh"


def produced_power(value_w: float | None, device: DeviceContext) -> float | None:
    """Return power with the sign that readings have: positive when it is produced."""
    if value_w is None or not device.is_meter:
        return value_w
    return 0.0 - value_w


# Instants ----------------------------------------------------------------------------------------


def unix_time(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    try:
        return NEVER + timedelta(seconds=seconds)
    except OverflowError:
        return None


def device_time(text: Any, zone: ZoneInfo, received_at: datetime) -> datetime | None:
    """Parse a device's date and time, in its zone unless it states another. None if it is none.

    An hour comes twice when clocks are put back. Of the two instants, this returns the last one
    that is not in the future.
    """
    both = _instants(text, zone)
    if both is None:
        return None
    if both.is_repeated and both.second <= received_at + MAX_CLOCK_AHEAD:
        return both.second
    return both.first


def first_instant(text: Any, zone: ZoneInfo) -> datetime | None:
    """Parse a date and time so that every parse gives the same instant.

    Of an hour that comes twice, this returns the first instant.
    """
    both = _instants(text, zone)
    return both.first if both is not None else None


def _instants(text: Any, zone: ZoneInfo) -> Instants | None:
    if not isinstance(text, str) or not _INSTANT.fullmatch(text):
        return None
    try:
        written = datetime.fromisoformat(text)
        if written.tzinfo is not None:
            at = written.astimezone(UTC)
            return Instants(at, at)
        return instants(written, zone)
    except (ValueError, OverflowError):
        return None


def with_earlier_time(
    result: DecodeResult, text: Any, zone: ZoneInfo, received_at: datetime, *, is_late: bool = False
) -> DecodeResult:
    """Add the earlier instant if late history is of an hour that came twice.

    A reading that arrives promptly is of the pass in which it is received, so it gets none.
    """
    both = _instants(text, zone)
    if both is None or not both.is_repeated or not result.decoded.readings:
        return result
    is_late = is_late or both.second < received_at - MAX_CLOCK_AHEAD
    if not is_late or result.decoded.readings[0].time != both.second:
        return result
    return replace(result, earlier_at=both.first)


# Results -----------------------------------------------------------------------------------------


def whole_reading(
    at: datetime | None,
    fields: Mapping[str, float | None],
    parts: Mapping[str, float] | None = None,
    counts_since: datetime | None = None,
) -> DecodeResult:
    """Return a whole reading.

    It is rejected if a value is outside its physical range, and NOTHING if it measures nothing.
    """
    known = {name: value for name, value in fields.items() if value is not None}
    fault = _fault(known) or _fault_of_parts(parts or {})
    if fault is not None:
        return reject(RejectionReason.BAD_VALUE, fault, at)
    whole = Reading(at, **known)
    if parts or counts_since is not None:
        whole = whole.with_details(parts or {}, counts_since)
    return DecodeResult(Decoded(readings=(whole,))) if whole.has_measurement else NOTHING


def partial_reading(fields: Mapping[str, float | None], at: datetime | None = None) -> DecodeResult:
    """Return a part of a reading, by the names of `PartialReading`. A None is left out."""
    known = {name: value for name, value in fields.items() if value is not None}
    return partial_reading_or_unknown(known, at) if known or at is not None else NOTHING


def partial_reading_or_unknown(
    fields: Mapping[str, float | None], at: datetime | None = None
) -> DecodeResult:
    """Return a part of a reading in which None means that the value is no longer known."""
    fault = _fault_of_parts(fields)
    if fault is not None:
        return reject(RejectionReason.BAD_VALUE, fault, at)
    return DecodeResult(partial=PartialReading(fields, at))


def removed_part(name: str) -> DecodeResult:
    """Return the message that the device no longer has this part."""
    return DecodeResult(partial=PartialReading(removed=frozenset([name])))


def _fault_of_parts(parts: Mapping[str, float | None]) -> str | None:
    faults = (_fault({name.partition(":")[0]: value}) for name, value in parts.items())
    return next((fault for fault in faults if fault is not None), None)


def _fault(fields: Mapping[str, float | None]) -> str | None:
    try:
        convert(fields, Reading)
    except ValidationError as error:
        return ": ".join(fault_of(error))
    return None


def fault_of(error: ValidationError) -> tuple[str, str]:
    """Split an error such as "Expected `float`, got `str` - at `$.power_w`" in field and fault."""
    fault, _, path = str(error).partition(" - at `$.")
    return path.rstrip("`") or "reading", fault
