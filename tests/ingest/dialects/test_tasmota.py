"""Tasmota: readings by the clock of the device, counters of phases, answers and last wills."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ingest.dialects import NOTHING, DecodeResult
from tests.ingest.dialects.decoding import (
    INDIAN_NOON,
    NOW,
    decode,
    fields,
    reading,
    rejections,
    status,
)


def tasmota(energy: object, time: object = INDIAN_NOON, **options: Any) -> DecodeResult | None:
    return decode("tele/plug/SENSOR", {"Time": time, "ENERGY": energy}, **options)


def test_tasmota_counts_kwh_by_its_own_clock() -> None:
    result = tasmota({"Total": 15.349, "Power": 120, "Voltage": 230, "Current": 0.5})
    assert reading(result).time == NOW
    assert fields(result) == {
        "power_w": 120, "energy_wh": 15349, "voltage_v": 230, "current_a": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("time", "zone", "expected"),
    [
        ("2026-03-01T12:00:00+02:00", "Asia/Kolkata", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01T12:00:00Z", "Asia/Kolkata", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01T12:00:00", "Europe/Berlin", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        ("1970-01-01T05:30:00", "Asia/Kolkata", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_local_time_is_in_the_zone_of_the_device_unless_it_states_another(
    time: str, zone: str, expected: datetime
) -> None:
    assert reading(tasmota({"Power": 1}, time, zone=zone)).time == expected


@pytest.mark.parametrize("hour", [0, 1])
def test_in_a_repeated_hour_the_nearer_instant_counts(hour: int) -> None:
    now = datetime(2026, 10, 25, hour, 30, 5, tzinfo=UTC)  # both are 2:30 in Berlin
    result = tasmota({"Power": 1}, "2026-10-25T02:30:00", zone="Europe/Berlin", now=now)
    assert reading(result).time == now.replace(second=0)


@pytest.mark.parametrize(
    "time", ["now", "2026-02-30T00:00:00", "2026-03-01", [5], True, 1e300, "0001-01-01T00:00:00"]
)
def test_an_invalid_time_is_rejected(time: object) -> None:
    [refusal] = rejections(tasmota({"Power": 1}, time))
    assert refusal.startswith("bad_time: Time")


def test_a_tasmota_may_report_seconds_since_1970() -> None:
    assert reading(tasmota({"Power": 1}, 1772346600)).time == NOW


def test_a_reading_without_a_time_has_none() -> None:
    assert reading(tasmota({"Power": 1}, None)).time is None


def test_phases_add_up_and_voltage_is_that_of_the_connected_phase() -> None:
    result = tasmota(
        {"Power": [5, 7, 0], "Voltage": [0.1, 236.9, 0.1], "Current": [1, 2, 3],
         "Frequency": [48.85, 49.96, 136.83]}
    )  # fmt: skip
    assert fields(result) == {
        "power_w": 12, "voltage_v": 236.9, "current_a": 6, "frequency_hz": 49.96,
    }  # fmt: skip


def test_a_phase_without_a_value_leaves_no_sum() -> None:
    told = {"Power": [5, None], "Current": ["nan", 2], "ExportActive": [20, None, 20.5]}
    result = tasmota({"Frequency": 50, "ImportActive": [1, 2], **told})
    assert fields(result) == {"import_wh": 3000, "frequency_hz": 50}
    assert reading(result).parts == {
        "export_wh:0": 20_000, "export_wh:2": 20_500, "import_wh:0": 1000, "import_wh:1": 2000,
    }  # fmt: skip


def test_a_generation_counter_of_several_phases_is_one_counter_per_phase() -> None:
    result = tasmota({"Total": [1.5, 2.5], "Power": 100})
    assert fields(result) == {"power_w": 100, "energy_wh": 4000}
    assert reading(result).parts == {"energy_wh:0": 1500, "energy_wh:1": 2500}
    assert fields(tasmota({"Total": [-0.5, 2.5], "Power": 100})) == {"power_w": 100}


def test_a_net_counter_is_never_generation() -> None:
    net = {"Total": 16647.945, "ExportActive": [1.5, 2.25], "ImportActive": 4, "Power": [-100, -50]}
    assert fields(tasmota(net)) == {"power_w": 150, "export_wh": 3750, "import_wh": 4000}
    assert fields(tasmota({"Total": 5.0, "Power": 100}, is_meter=True)) == {"power_w": -100}
    assert fields(tasmota({"Total": -0.5, "Power": 0})) == {"power_w": 0}


def test_tasmota_reports_since_when_its_total_counts() -> None:
    result = tasmota({"Total": 1, "TotalStartTime": "2026-02-01T05:30:00"})
    assert reading(result).counts_since == datetime(2026, 2, 1, tzinfo=UTC)
    for wrong in (None, 7, "x" * 1000, "long ago\0"):
        assert reading(tasmota({"Total": 1, "TotalStartTime": wrong})).counts_since is None
    net = {"ExportActive": 1, "Total": 5, "TotalStartTime": "2026-02-01T05:30:00"}
    assert reading(tasmota(net)).counts_since is None


@pytest.mark.parametrize(
    "now", [datetime(2026, 10, 25, hour, 40, tzinfo=UTC) for hour in (0, 1, 9)]
)
def test_the_start_of_the_total_is_the_same_in_every_message(now: datetime) -> None:
    since = {"Total": 1, "TotalStartTime": "2026-10-25T02:30:00"}
    result = tasmota(since, now.isoformat(), zone="Europe/Berlin", now=now)
    assert reading(result).counts_since == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_older_firmware_has_a_topic_for_energy() -> None:
    result = decode("tele/plug/ENERGY", {"Time": INDIAN_NOON, "Total": 1.5, "Power": 3})
    assert fields(result) == {"power_w": 3, "energy_wh": 1500}


@pytest.mark.parametrize("number", [8, 10])
def test_an_answer_with_sensors_is_the_same_reading(number: int) -> None:
    sensor = {"Time": INDIAN_NOON, "ENERGY": {"Total": 1.5, "Power": 3}}
    asked = decode(f"stat/plug/STATUS{number}", {"StatusSNS": sensor})
    assert asked == decode("tele/plug/SENSOR", sensor)
    assert fields(asked) == {"power_w": 3, "energy_wh": 1500}


@pytest.mark.parametrize("payload", [{}, {"StatusSNS": None}, {"StatusSTS": {"POWER": "ON"}}])
def test_an_answer_without_sensors_is_ignored(payload: object) -> None:
    assert decode("stat/plug/STATUS10", payload) is NOTHING
    for other in ("STATUS", "STATUS0", "STATUS11", "RESULT"):
        assert decode(f"stat/plug/{other}", payload) is None


@pytest.mark.parametrize("payload", ["Online", "Offline"])
def test_tasmota_has_a_last_will(payload: str) -> None:
    assert status(decode("tele/plug/LWT", payload)) == payload.lower()


@pytest.mark.parametrize(
    "energy",
    [
        None,
        5,
        [],
        {},
        {"Total": None, "Power": "nan"},
        {"Power": ""},
        {"Total": True},
        {"Power": []},
    ],
)
def test_a_sensor_without_a_number_is_ignored(energy: object) -> None:
    assert tasmota(energy) is NOTHING
