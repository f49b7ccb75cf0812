"""What devices write where a number, an instant or an object belongs. Nothing here raises."""

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
from ingest.dialects import NOTHING, Decoded, DecodeResult, refuse

_NUMBER_MAX_BYTES = 64
_NUMBER = re.compile(rb"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?", re.ASCII)


def number(value: Any) -> float | None:
    """A finite number of a JSON document; None for anything else, text and true included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if isfinite(as_float) else None


def bare_number(payload: bytes) -> float | None:
    """A finite number that is a whole payload."""
    written = _NUMBER.fullmatch(payload) if len(payload) <= _NUMBER_MAX_BYTES else None
    return number(float(written[1])) if written else None


def total(value: Any) -> float | None:
    """A number, or the sum of an array of them, one per phase: none unless each is a number."""
    if not isinstance(value, list):
        return number(value)
    numbers = list(map(number, value))
    known = [one for one in numbers if one is not None]
    return number(sum(known)) if known and len(known) == len(numbers) else None


def parts(name: str, value: Any, factor: float) -> dict[str, float]:
    """The counters of an array, one per phase, by key; a phase that tells no number is absent."""
    if not isinstance(value, list):
        return {}
    known = ((n, number(one)) for n, one in enumerate(value[:PARTS_MAX]))
    return {f"{name}:{n}": one * factor for n, one in known if one is not None}


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def document(payload: bytes) -> dict[str, Any] | None:
    """The JSON object that a payload is; None: it is something else."""
    try:
        value = from_json(payload)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def object_in(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object within an object; empty where there is none."""
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


def unix_time(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    try:
        return NEVER + timedelta(seconds=seconds)
    except OverflowError:
        return None


def device_time(text: Any, zone: ZoneInfo, received_at: datetime) -> datetime | None:
    """A device's date and time, of its zone unless it says another. None: it is none.

    When clocks are put back an hour comes twice: of both, the last one that is not in the future.
    """
    both = _instants(text, zone)
    if both is None:
        return None
    if both.is_repeated and both.second <= received_at + MAX_CLOCK_AHEAD:
        return both.second
    return both.first


def first_time(text: Any, zone: ZoneInfo) -> datetime | None:
    """The same whenever it is read: of an hour that comes twice, the first one."""
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


def maybe_earlier(
    heard: DecodeResult, text: Any, zone: ZoneInfo, received_at: datetime, *, is_late: bool = False
) -> DecodeResult:
    """A reading by a device's clock, and when else it may be of: history of an hour that comes
    twice. What is told at once is of the hour that it is received in."""
    both = _instants(text, zone)
    if both is None or not both.is_repeated or not heard.decoded.readings:
        return heard
    is_late = is_late or both.second < received_at - MAX_CLOCK_AHEAD
    if not is_late or heard.decoded.readings[0].time != both.second:
        return heard
    return replace(heard, earlier_at=both.first)


def reading(
    at: datetime | None,
    fields: Mapping[str, float | None],
    parts: Mapping[str, float] | None = None,
    counts_since: datetime | None = None,
) -> DecodeResult:
    """A whole reading, unless a number is outside physics, or none is there that makes one."""
    said = {name: value for name, value in fields.items() if value is not None}
    fault = _fault(said) or _fault_of_parts(parts or {})
    if fault is not None:
        return refuse(RejectionReason.BAD_VALUE, fault, at)
    whole = Reading(at, **said)
    if parts or counts_since is not None:
        whole = whole.with_details(parts or {}, counts_since)
    return DecodeResult(Decoded(readings=(whole,))) if whole.has_measurement else NOTHING


def part(fields: Mapping[str, float | None], at: datetime | None = None) -> DecodeResult:
    """Part of a reading, by names as of `core.assembly.Part`: what is None is not said."""
    said = {name: value for name, value in fields.items() if value is not None}
    return part_or_gone(said, at) if said or at is not None else NOTHING


def part_or_gone(said: Mapping[str, float | None], at: datetime | None = None) -> DecodeResult:
    """Part of a reading: what is None is not known any more."""
    fault = _fault_of_parts(said)
    if fault is not None:
        return refuse(RejectionReason.BAD_VALUE, fault, at)
    return DecodeResult(part=PartialReading(said, at))


def gone(name: str) -> DecodeResult:
    """There is no such part of a reading any more."""
    return DecodeResult(part=PartialReading(removed=frozenset([name])))


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
    """Field and fault, from say "Expected `float`, got `str` - at `$.power_w`"."""
    fault, _, path = str(error).partition(" - at `$.")
    return path.rstrip("`") or "reading", fault
