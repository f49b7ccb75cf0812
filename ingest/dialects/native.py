"""The hub's own format: a JSON object per reading, or an array of them; a word for the status."""

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

_VALID = Decoder(Reading | list[Reading])
_KNOWN_FIELDS = frozenset(FIELDS)


def decode_telemetry(payload: bytes) -> Decoded:
    """Decode the readings of one message. An invalid reading does not affect the others."""
    if len(payload) > MESSAGE_MAX_BYTES:
        return _reject_all(
            RejectionReason.TOO_LARGE, f"at most {MESSAGE_MAX_BYTES} bytes are allowed"
        )
    try:
        document = _parse(payload)
    except ValueError:
        return _reject_all(RejectionReason.MALFORMED, "payload must be JSON")
    items = document if isinstance(document, list) else [document]
    if len(items) > MESSAGE_MAX_READINGS:
        return _reject_all(
            RejectionReason.TOO_MANY, f"at most {MESSAGE_MAX_READINGS} readings are allowed"
        )
    if not items:
        return _reject_all(RejectionReason.NO_MEASUREMENT, "the array is empty")
    return _decode_items(items)


def _parse(payload: bytes) -> Any:
    """Return readings if all are valid, otherwise the JSON document, to be decoded one by one."""
    try:
        return _VALID.decode(payload)
    except DecodeError:
        # This parser accepts NaN, so that it rejects one reading and not the whole document.
        return from_json(payload)


def _reject_all(reason: RejectionReason, detail: str) -> Decoded:
    return Decoded(rejected=(RejectedReading(reason, detail),))


def _decode_items(items: list[Any]) -> Decoded:
    outcomes = [_decode_item(item) for item in items]
    return Decoded(
        readings=tuple(o for o in outcomes if isinstance(o, Reading)),
        rejected=tuple(o for o in outcomes if isinstance(o, RejectedReading)),
        fields_ignored=sum(len(i.keys() - _KNOWN_FIELDS) for i in items if isinstance(i, dict)),
    )


def _decode_item(item: Any) -> Reading | RejectedReading:
    try:
        reading = item if isinstance(item, Reading) else _convert(item)
    except ValidationError as error:
        return _rejection_of(error)
    if not reading.has_measurement:
        fields = "power_w, energy_wh, export_wh, import_wh"
        return RejectedReading(
            RejectionReason.NO_MEASUREMENT, f"one of {fields} is required", reading.time
        )
    return _in_utc(reading)


def _convert(item: Any) -> Reading:
    """Convert a JSON value, without its unknown fields. Raises ValidationError."""
    if isinstance(item, dict):
        item = {name: item[name] for name in item.keys() & _KNOWN_FIELDS}
    return convert(item, Reading)


def _rejection_of(error: ValidationError) -> RejectedReading:
    field, fault = fault_of(error)
    reason = RejectionReason.BAD_TIME if field == "time" else RejectionReason.BAD_VALUE
    return RejectedReading(reason, f"{field}: {fault}")


def _in_utc(reading: Reading) -> Reading | RejectedReading:
    if reading.time is None or reading.time.tzinfo is UTC:
        return reading
    try:
        return replace(reading, time=reading.time.astimezone(UTC))
    except OverflowError:
        return RejectedReading(RejectionReason.BAD_TIME, "time: must be in the years 1 to 9999")


def decode_status(payload: bytes) -> Decoded:
    """Decode `online`, `offline` or `fault`, as a word or as `{"status": …, "code": …}`."""
    text = payload[:MESSAGE_MAX_BYTES].decode("utf-8", "replace").strip()
    if text in STATUSES:
        return Decoded(status=Status(DeviceStatus(text)))
    try:
        document = from_json(payload)
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("status") not in STATUSES:
        allowed = ", ".join(STATUSES)
        return _reject_all(RejectionReason.MALFORMED, f"status must be one of {allowed}")
    code = document.get("code")
    # PostgreSQL cannot store a NUL in text.
    fault_code = code[:FAULT_CODE_MAX_LENGTH].replace("\0", "") if isinstance(code, str) else None
    return Decoded(status=Status(DeviceStatus(document["status"]), fault_code))
