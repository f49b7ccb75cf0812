"""What a decoder makes of one message, as tests want to read it."""

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


def hear(
    topic: str,
    payload: object,
    *,
    is_meter: bool = False,
    zone: str = "Asia/Kolkata",
    now: datetime = NOW,
) -> DecodeResult | None:
    """None: not heeded. Objects and arrays are sent as JSON."""
    raw = payload if isinstance(payload, bytes) else _written(payload)
    to = resolve_topic(topic, raw)
    if to is None or to.levels is None:
        return None
    speaker = DeviceContext(to.external_id, is_meter, ZoneInfo(zone))
    return FIRMWARES[to.dialect].decode(to.levels, raw, speaker, now)


def _written(payload: object) -> bytes:
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode()


def part(heard: DecodeResult | None) -> PartialReading:
    assert heard is not None
    assert heard.partial is not None
    return heard.partial


def said(heard: DecodeResult | None) -> dict[str, Any]:
    """The values of the part that was heard."""
    return dict(part(heard).values)


def reading(heard: DecodeResult | None) -> Reading:
    assert heard is not None
    [one] = heard.decoded.readings
    return one


def fields(heard: DecodeResult | None) -> dict[str, float]:
    """What the reading that was heard says, but for its time; rounded to what matters."""
    one = reading(heard)
    return {
        name: round(getattr(one, name), 6)
        for name in FIELDS
        if name != "time" and getattr(one, name) is not None
    }


def refusals(heard: DecodeResult | None) -> list[str]:
    assert heard is not None
    return [str(refused) for refused in heard.decoded.rejected]


def status(heard: DecodeResult | None) -> str | None:
    return heard.decoded.status.status if heard and heard.decoded.status else None
