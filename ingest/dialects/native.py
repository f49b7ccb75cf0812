"""The native payload: one JSON object per reading, or an array of them; plain words for status."""

from datetime import UTC
from typing import Any

from msgspec import DecodeError, ValidationError, convert
from msgspec.json import Decoder
from msgspec.structs import replace
from pydantic_core import from_json

from core.enums import DeviceStatus
from core.readings import FIELDS, Reading, RejectedReading, RejectionReason
from ingest.dialects import Decoded, Status
from ingest.dialects.values import fault_of

MESSAGE_MAX_BYTES = 1024 * 1024
MESSAGE_MAX_READINGS = 1000
STATUSES = (DeviceStatus.ONLINE, DeviceStatus.OFFLINE, DeviceStatus.FAULT)
FAULT_CODE_MAX_LENGTH = 64

_FLAWLESS = Decoder(Reading | list[Reading])
_KNOWN = frozenset(FIELDS)


def decode_telemetry(payload: bytes) -> Decoded:
    """The readings of one message. What is wrong with one reading does not refuse the others."""
    if len(payload) > MESSAGE_MAX_BYTES:
        return _refuse_all(
            RejectionReason.TOO_LARGE, f"at most {MESSAGE_MAX_BYTES} bytes are allowed"
        )
    try:
        document = _parse(payload)
    except ValueError:
        return _refuse_all(RejectionReason.MALFORMED, "payload must be JSON")
    items = document if isinstance(document, list) else [document]
    if len(items) > MESSAGE_MAX_READINGS:
        return _refuse_all(
            RejectionReason.TOO_MANY, f"at most {MESSAGE_MAX_READINGS} readings are allowed"
        )
    if not items:
        return _refuse_all(RejectionReason.NO_MEASUREMENT, "the array is empty")
    return _decode_items(items)


def _parse(payload: bytes) -> Any:
    """Readings if all are flawless; else whatever JSON it is, to be looked at one by one."""
    try:
        return _FLAWLESS.decode(payload)
    except DecodeError:
        return from_json(payload)  # takes NaN: a flaw of one reading, not of the document


def _refuse_all(reason: RejectionReason, detail: str) -> Decoded:
    return Decoded(refused=(RejectedReading(reason, detail),))


def _decode_items(items: list[Any]) -> Decoded:
    outcomes = [_decode_item(item) for item in items]
    return Decoded(
        readings=tuple(o for o in outcomes if isinstance(o, Reading)),
        refused=tuple(o for o in outcomes if isinstance(o, RejectedReading)),
        fields_ignored=sum(len(i.keys() - _KNOWN) for i in items if isinstance(i, dict)),
    )


def _decode_item(item: Any) -> Reading | RejectedReading:
    try:
        reading = item if isinstance(item, Reading) else _convert(item)
    except ValidationError as error:
        return _refuse(error)
    if not reading.has_measurement:
        fields = "power_w, energy_wh, export_wh, import_wh"
        return RejectedReading(
            RejectionReason.NO_MEASUREMENT, f"one of {fields} is required", reading.time
        )
    return _in_utc(reading)


def _convert(item: Any) -> Reading:
    """Raises ValidationError."""
    if isinstance(item, dict):
        item = {name: item[name] for name in item.keys() & _KNOWN}
    return convert(item, Reading)


def _refuse(error: ValidationError) -> RejectedReading:
    field, fault = fault_of(error)
    reason = RejectionReason.BAD_TIME if field == "time" else RejectionReason.BAD_VALUE
    return RejectedReading(reason, f"{field}: {fault}")


def _in_utc(reading: Reading) -> Reading | RejectedReading:
    if reading.time is None or reading.time.tzinfo is UTC:
        return reading
    try:
        return replace(reading, time=reading.time.astimezone(UTC))
    except OverflowError:
        return RejectedReading(
            RejectionReason.BAD_TIME, "time: must lie in the years that a calendar has"
        )


def decode_status(payload: bytes) -> Decoded:
    """`online`, `offline` or `fault`, bare or as `{"status": …, "code": …}`."""
    text = payload[:MESSAGE_MAX_BYTES].decode("utf-8", "replace").strip()
    if text in STATUSES:
        return Decoded(status=Status(DeviceStatus(text)))
    try:
        document = from_json(payload)
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("status") not in STATUSES:
        allowed = ", ".join(STATUSES)
        return _refuse_all(RejectionReason.MALFORMED, f"status must be one of {allowed}")
    code = document.get("code")
    known = code[:FAULT_CODE_MAX_LENGTH].replace("\0", "") if isinstance(code, str) else None
    return Decoded(status=Status(DeviceStatus(document["status"]), known))
