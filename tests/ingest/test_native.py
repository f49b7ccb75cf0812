"""The native payload: readings, rejections and their reasons; no payload raises."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.readings import FIELDS, Reading, RejectionReason
from ingest.dialects import Status
from ingest.dialects.native import MESSAGE_MAX_BYTES, decode_status, decode_telemetry

AT = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)


def reasons(payload: bytes) -> list[str]:
    decoded = decode_telemetry(payload)
    assert decoded.readings == ()
    return [str(rejected_as) for rejected_as in decoded.rejected]


def test_a_reading_has_the_values_of_its_payload() -> None:
    fields = {name: 1.5 for name in FIELDS if name != "time"}
    payload = json.dumps({"time": "2026-03-01T06:30:00Z", **fields}).encode()
    assert decode_telemetry(payload).readings == (Reading(AT, **fields),)


def test_an_offset_is_converted_to_utc() -> None:
    (reading,) = decode_telemetry(b'{"time": "2026-03-01T12:00:00+05:30", "power_w": 1}').readings
    assert reading.time == AT
    assert reading.time.utcoffset() == timedelta(0)


def test_null_is_absent_and_the_time_may_be_absent() -> None:
    decoded = decode_telemetry(b'{"energy_wh": 5, "power_w": null}')
    assert decoded.readings == (Reading(energy_wh=5.0),)


def test_unknown_fields_are_ignored_and_counted() -> None:
    decoded = decode_telemetry(b'[{"power_w": 1, "wifi": -60}, {"power_w": 2, "a": 1, "b": {}}]')
    assert (len(decoded.readings), decoded.fields_ignored) == (2, 3)


def test_fields_that_only_firmwares_report_are_unknown() -> None:
    payload = b'{"power_w": 1, "parts": {"energy_wh:0": 5}, "counts_since": "2026-03-01T06:30:00Z"}'
    decoded = decode_telemetry(payload)
    assert (decoded.readings, decoded.fields_ignored) == ((Reading(power_w=1.0),), 2)


def test_import_alone_is_a_measurement() -> None:
    assert decode_telemetry(b'{"import_wh": 5}').readings == (Reading(import_wh=5.0),)
    assert reasons(b'{"load_w": 5}') == [
        "no_measurement: one of power_w, energy_wh, export_wh, import_wh is required"
    ]


numbers = st.floats(allow_nan=False) | st.integers() | st.none()
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=st.none() | st.just(UTC) | offsets).map(datetime.isoformat)
written_times = times | times.map(lambda t: t[:-6] + "999999" + t[-6:]) | st.text()


@given(
    st.lists(
        st.dictionaries(st.sampled_from(FIELDS), numbers | written_times), min_size=1, max_size=3
    )
)
def test_a_reading_is_decoded_the_same_whatever_else_the_message_holds(
    items: list[dict[str, Any]],
) -> None:
    alone = [decode_telemetry(json.dumps(item).encode()) for item in items]
    together = decode_telemetry(json.dumps([*items, {"power_w": 1, "unknown": 1}]).encode())
    *readings, _ = together.readings
    assert readings == [reading for decoded in alone for reading in decoded.readings]
    assert together.rejected == tuple(r for decoded in alone for r in decoded.rejected)


def test_a_bad_reading_does_not_reject_the_others() -> None:
    decoded = decode_telemetry(b'[{"power_w": 1}, {"power_w": NaN}, 7, {"energy_wh": 2}]')
    assert decoded.readings == (Reading(power_w=1.0), Reading(energy_wh=2.0))
    assert [r.reason for r in decoded.rejected] == [
        RejectionReason.BAD_VALUE,
        RejectionReason.BAD_VALUE,
    ]


@pytest.mark.parametrize(
    ("reading", "rejected_as"),
    [
        ('{"power_w": NaN}', "bad_value: power_w"),
        ('{"power_w": -Infinity}', "bad_value: power_w"),
        ('{"power_w": 1e400}', "bad_value: power_w"),
        ('{"power_w": 1e10}', "bad_value: power_w"),
        ('{"power_w": "12"}', "bad_value: power_w"),
        ('{"power_w": true}', "bad_value: power_w"),
        ('{"energy_wh": -1}', "bad_value: energy_wh"),
        ('{"power_w": 1, "battery_soc_pct": 101}', "bad_value: battery_soc_pct"),
        ('{"power_w": 1, "time": 1767225600}', "bad_time: time"),
        ('{"power_w": 1, "time": "yesterday"}', "bad_time: time"),
        (
            '{"power_w": 1, "time": "2026-03-01T06:30:00"}',
            "bad_time: time: Expected `datetime` with a timezone",
        ),
        ('{"power_w": 1, "time": "0001-01-01T00:00:00+14:00"}', "bad_time: time"),
        ('{"load_w": 5}', "no_measurement: one of power_w, energy_wh, export_wh"),
        ("7", "bad_value: reading"),
    ],
)
def test_a_rejection_names_the_field(reading: str, rejected_as: str) -> None:
    assert reasons(reading.encode())[0].startswith(rejected_as)


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe", b"on", b"[" * 100_000, b'{"a": "\\'])
def test_a_payload_that_is_not_json_is_malformed(payload: bytes) -> None:
    assert reasons(payload)[0].startswith("malformed")


def test_a_message_has_limits() -> None:
    assert reasons(b" " * (MESSAGE_MAX_BYTES + 1))[0].startswith("too_large")
    assert reasons(json.dumps([{"power_w": 1}] * 1001).encode())[0].startswith("too_many")
    assert reasons(b"[]")[0].startswith("no_measurement")


@pytest.mark.parametrize("payload", [b"fault", b'{"status": "fault"}', b' "fault" \n'[2:-3]])
def test_a_status_is_a_string_or_an_object(payload: bytes) -> None:
    assert decode_status(payload).status == Status("fault")


def test_a_fault_may_have_a_code() -> None:
    decoded = decode_status(b'{"status": "fault", "code": "E07\\u0000"}')
    assert decoded.status == Status("fault", "E07")


@pytest.mark.parametrize("payload", [b"", b"ONLINE", b"[1]", b'{"status": "asleep"}', b"\xff"])
def test_an_unknown_status_is_rejected(payload: bytes) -> None:
    decoded = decode_status(payload)
    assert decoded.status is None
    assert decoded.rejected[0].reason is RejectionReason.MALFORMED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner),
    max_leaves=10,
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_payload_raises(payload: bytes) -> None:
    decoded = decode_telemetry(payload)
    assert decoded.readings or decoded.rejected
    decode_status(payload)
