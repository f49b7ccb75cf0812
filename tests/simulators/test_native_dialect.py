"""The native payload."""

import json
from datetime import UTC, datetime

import pytest

from core.readings import Reading
from simulators.dialects.native import payload

AT = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)


def test_one_reading_is_an_object_without_absent_fields() -> None:
    assert json.loads(payload([Reading(time=AT, power_w=0.0)])) == {
        "time": "2026-03-01T06:30:00.000000Z",
        "power_w": 0.0,
    }


def test_several_readings_are_an_array() -> None:
    assert len(json.loads(payload([Reading(time=AT, power_w=1.0)] * 3))) == 3


def test_nan_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="JSON"):
        payload([Reading(time=AT, power_w=float("nan"))])
