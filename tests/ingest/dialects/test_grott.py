"""Grott: records of Growatt inverters."""

from datetime import timedelta

import pytest

from ingest.dialects import DecodeResult
from tests.ingest.dialects.decoding import INDIAN_NOON, NOW, decode, fields, reading, rejections


def grott(values: object, **changes: object) -> DecodeResult | None:
    record = {"device": "NTCIA00001", "time": INDIAN_NOON, "buffered": "no", "values": values}
    return decode("energy/growatt/NTCIA00001", record | changes)


def test_registers_are_in_tenths() -> None:
    result = grott(
        {"pvpowerout": 16596, "pvenergytotal": 5264, "pvfrequentie": 5004, "pvgridvoltage": 2449,
         "pvgridcurrent": 69, "pvtemperature": 163, "pvenergytoday": 12}
    )  # fmt: skip
    assert reading(result).time == NOW
    assert fields(result) == {
        "power_w": 1659.6, "energy_wh": 526400, "frequency_hz": 50.04, "voltage_v": 244.9,
        "current_a": 6.9, "temperature_c": 16.3,
    }  # fmt: skip


def test_a_hybrid_inverter_without_a_meter_has_no_export_counter() -> None:
    assert "export_wh" not in fields(grott({"pvpowerout": 1, "etogrid_tot": 0}))
    with_meter = fields(grott({"pvpowerout": 1, "etogrid_tot": 126278, "etouser_tot": 2182}))
    assert (with_meter["export_wh"], with_meter["import_wh"]) == (12627800, 218200)


def test_the_charged_energy_of_a_battery_comes_with_the_discharged_energy() -> None:
    told = grott({"pvenergytotal": 138743, "eacharge_total": 46348})
    assert fields(told) == {"energy_wh": 9_239_500}
    assert reading(told).parts == {"energy_wh:ac": 13_874_300, "energy_wh:ac-": 4_634_800}
    other_layout = grott({"eactotal": 138743, "eacharge_total": 46348})
    assert reading(other_layout).parts == reading(told).parts
    assert fields(grott({"eactotal": 138743})) == {"energy_wh": 13_874_300}
    unknown = grott({"eactotal": 138743, "eacharge_total": None})
    assert reading(unknown).parts == {"energy_wh:ac": 13_874_300}


def test_history_has_the_time_of_the_device() -> None:
    result = grott({"pvenergytotal": 1}, buffered="yes", time="2026-02-28 12:00:00")
    assert reading(result).time == NOW - timedelta(days=1)


def test_on_a_shared_topic_the_record_names_the_device() -> None:
    record = {"device": "NTCIA00001", "time": INDIAN_NOON, "values": {"pvpowerout": 10}}
    assert fields(decode("energy/growatt", record)) == {"power_w": 1}
    for device in ("XXXXXXXXXX", "", None, 5, "a/b"):
        assert decode("energy/growatt", record | {"device": device}) is None
    assert decode("energy/growatt/XXXXXXXXXX", record) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"device": "NTCIA00002"}, "malformed: device"),
        ({"time": None}, "bad_time: time"),
        ({"time": "soon"}, "bad_time: time"),
    ],
)
def test_a_record_that_contradicts_its_topic_is_rejected(
    changes: dict[str, object], why: str
) -> None:
    [refusal] = rejections(grott({"pvpowerout": 1}, **changes))
    assert refusal.startswith(why)
