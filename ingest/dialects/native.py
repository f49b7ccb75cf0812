"""The native payload: one JSON object per reading, or an array of them; plain words for status."""

from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from core.readings import FIELDS, Reading, Refusal, Refused
from ingest.dialects import Decoded, Status

MESSAGE_MAX_BYTES = 1024 * 1024
MESSAGE_MAX_READINGS = 1000
STATUSES = ("online", "offline", "fault")
FAULT_CODE_MAX_LENGTH = 64

_READING: TypeAdapter[Reading] = TypeAdapter(Reading)
_KNOWN = frozenset(FIELDS)
_NO_OFFSET = timedelta(0)


def decode_telemetry(payload: bytes) -> Decoded:
    """The readings of one message. What is wrong with one reading does not refuse the others."""
    if len(payload) > MESSAGE_MAX_BYTES:
        return _refuse_all(Refusal.TOO_LARGE, f"at most {MESSAGE_MAX_BYTES} bytes are allowed")
    try:
        document = from_json(payload)
    except ValueError:
        return _refuse_all(Refusal.MALFORMED, "payload must be JSON")
    items = document if isinstance(document, list) else [document]
    if len(items) > MESSAGE_MAX_READINGS:
        return _refuse_all(Refusal.TOO_MANY, f"at most {MESSAGE_MAX_READINGS} readings are allowed")
    if not items:
        return _refuse_all(Refusal.NO_MEASUREMENT, "the array is empty")
    return _decode_items(items)


def _refuse_all(reason: Refusal, detail: str) -> Decoded:
    return Decoded(refused=(Refused(reason, detail),))


def _decode_items(items: list[Any]) -> Decoded:
    outcomes = [_decode_item(item) for item in items]
    return Decoded(
        readings=tuple(o for o in outcomes if isinstance(o, Reading)),
        refused=tuple(o for o in outcomes if isinstance(o, Refused)),
        fields_ignored=sum(len(i.keys() - _KNOWN) for i in items if isinstance(i, dict)),
    )


def _decode_item(item: Any) -> Reading | Refused:
    try:
        # Strict JSON mode takes text for a time and numbers for numbers, and nothing else.
        reading = _READING.validate_json(to_json(item, inf_nan_mode="constants"), strict=True)
    except ValidationError as error:
        return _refuse(error)
    if not reading.says_something:
        return Refused(
            Refusal.NO_MEASUREMENT, "one of power_w, energy_wh, export_wh is required", reading.time
        )
    return _in_utc(reading)


def _refuse(error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else "reading"
    reason = Refusal.BAD_TIME if field == "time" else Refusal.BAD_VALUE
    return Refused(reason, f"{field}: {first['msg'].removeprefix('Input ')}")


def _in_utc(reading: Reading) -> Reading | Refused:
    if reading.time is None:
        return reading
    offset = reading.time.utcoffset()
    if offset == _NO_OFFSET:
        return reading
    if offset is None:
        return Refused(Refusal.BAD_TIME, "time: must say its zone, such as Z or +05:30")
    try:
        return replace(reading, time=reading.time.astimezone(UTC))
    except OverflowError:
        return Refused(Refusal.BAD_TIME, "time: must lie in the years that a calendar has")


def decode_status(payload: bytes) -> Decoded:
    """`online`, `offline` or `fault`, bare or as `{"status": …, "code": …}`."""
    text = payload[:MESSAGE_MAX_BYTES].decode("utf-8", "replace").strip()
    if text in STATUSES:
        return Decoded(status=Status(text))
    try:
        document = from_json(payload)
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("status") not in STATUSES:
        allowed = ", ".join(STATUSES)
        return _refuse_all(Refusal.MALFORMED, f"status must be one of {allowed}")
    code = document.get("code")
    known = code[:FAULT_CODE_MAX_LENGTH].replace("\0", "") if isinstance(code, str) else None
    return Decoded(status=Status(document["status"], known))
