"""The native payload."""

import json
from datetime import UTC, datetime

import pytest

from core.readings import Reading
from simulators.native import encode

AT = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)


def test_one_reading_is_an_object_without_what_was_not_measured() -> None:
    assert json.loads(encode([Reading(time=AT, power_w=0.0)])) == {
        "time": "2026-03-01T06:30:00.000000Z",
        "power_w": 0.0,
    }


def test_several_readings_are_an_array() -> None:
    assert len(json.loads(encode([Reading(time=AT, power_w=1.0)] * 3))) == 3


def test_what_is_no_number_is_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode([Reading(time=AT, power_w=float("nan"))])
