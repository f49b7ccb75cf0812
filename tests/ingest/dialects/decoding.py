"""Decoding of one message, and access to parts of the result."""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from core.assembly import PartialReading
from core.readings import FIELDS, Reading
from ingest.dialects import DecodeResult, DeviceContext
from ingest.dialects.firmwares import FIRMWARES, resolve_topic

NOW = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
# The same instant as clocks in India show it.
INDIAN_NOON = "2026-03-01T12:00:00"
# The id of a Shelly, as its topics have it.
PM = "shellyplus1pm-a8032abe2f18"


def decode(
    topic: str,
    payload: object,
    *,
    is_meter: bool = False,
    zone: str = "Asia/Kolkata",
    now: datetime = NOW,
) -> DecodeResult | None:
    """Decode a message; None for a topic that is not used. Objects and arrays become JSON."""
    raw = payload if isinstance(payload, bytes) else _written(payload)
    to = resolve_topic(topic, raw)
    if to is None or to.levels is None:
        return None
    device = DeviceContext(to.external_id, is_meter, ZoneInfo(zone))
    return FIRMWARES[to.dialect].decode(to.levels, raw, device, now)


def _written(payload: object) -> bytes:
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode()


def part(result: DecodeResult | None) -> PartialReading:
    assert result is not None
    assert result.partial is not None
    return result.partial


def values_of(result: DecodeResult | None) -> dict[str, Any]:
    """Return the values of a partial reading."""
    return dict(part(result).values)


def reading(result: DecodeResult | None) -> Reading:
    assert result is not None
    [one] = result.decoded.readings
    return one


def fields(result: DecodeResult | None) -> dict[str, float]:
    """Return the rounded fields of a reading, without its time."""
    one = reading(result)
    return {
        name: round(getattr(one, name), 6)
        for name in FIELDS
        if name != "time" and getattr(one, name) is not None
    }


def rejections(result: DecodeResult | None) -> list[str]:
    assert result is not None
    return [str(rejected) for rejected in result.decoded.rejected]


def status(result: DecodeResult | None) -> str | None:
    return result.decoded.status.status if result and result.decoded.status else None
