"""SenML packs and the JSON documents of AhoyDTU, and payloads that are no JSON."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest.dialects import NOTHING, DecodeResult
from tests.ingest.dialects.decoding import INDIAN_NOON, NOW, PM, decode, fields, reading, rejections


def senml(*records: object, **options: Any) -> DecodeResult | None:
    return decode("senml/roof", list(records), **options)


def test_a_document_of_ahoy_is_a_reading_at_its_time() -> None:
    result = decode(
        "inverter/HM-600/ch0",
        {"P_AC": 120.5, "YieldDay": 300, "YieldTotal": 465.294, "ts": 1672155690, "U_AC": None},
    )
    assert fields(result) == {"power_w": 120.5, "energy_wh": 465294}
    assert reading(result).time == datetime(2022, 12, 27, 15, 41, 30, tzinfo=UTC)
    assert decode("inverter/HM-600/ch0", {"P_AC": 0, "ts": 0}) is NOTHING


def test_base_fields_resolve_and_records_of_one_time_are_one_reading() -> None:
    result = senml(
        {"bn": "urn:dev:roof:", "bt": 1772346600, "bu": "W", "n": "power", "v": 3120.5},
        {"n": "energy", "u": "kWh", "v": 18234.567},
        {"n": "export", "u": "Wh", "v": 9120044},
        {"n": "voltage", "u": "V", "v": 231.2},
        {"n": "soc", "u": "%EL", "v": 76},
        {"n": "power", "t": -60, "v": 3000},
    )
    assert result is not None
    now, earlier = result.decoded.readings
    assert (now.time, earlier.time) == (NOW, NOW - timedelta(minutes=1))
    assert (now.power_w, now.energy_wh, now.export_wh) == (3120.5, 18234567, 9120044)
    assert (now.voltage_v, now.battery_soc_pct, earlier.power_w) == (231.2, 76, 3000)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"u": "J", "v": 3_600_000}, {"energy_wh": 1000}),
        ({"u": "W", "v": 5, "s": 7200}, {"power_w": 5, "energy_wh": 2}),
        ({"u": "kW", "v": 1.5}, {"power_w": 1500}),
        ({"n": "load", "u": "W", "v": 5, "bv": 1}, {"load_w": 6}),
        ({"n": "grid import", "u": "Wh", "v": 5}, {"import_wh": 5}),
        ({"n": "net", "u": "kWh", "v": 5}, {}),
        ({"n": "energy_today", "u": "kWh", "v": 5}, {}),
        ({"u": "W", "vs": "much"}, {}),
        ({"u": "W", "v": None}, {}),
        ({"u": "VA", "v": 5}, {}),
    ],
)
def test_units_and_names_determine_the_field(
    record: dict[str, object], expected: dict[str, float]
) -> None:
    told = [{"bn": "roof/", "n": "x", "u": "W", "v": 0}] if "load_w" in expected else []
    told += [{"n": "e", "u": "Wh", "v": 1}] if "import_wh" in expected else []
    result = senml(*told, record)
    assert result is not None
    if not expected:
        assert result is NOTHING
    else:
        assert expected.items() <= fields(result).items()


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"must_": 1, "u": "W", "v": 1}, "malformed"),
        ({"bver": 11, "u": "W", "v": 1}, "malformed"),
        ({"bt": "noon", "u": "W", "v": 1}, "malformed"),
        ({"t": 1e300, "u": "W", "v": 1}, "malformed"),
        ({"t": -1e300, "u": "W", "v": 1}, "malformed"),
        ({"u": "%EL", "v": 101}, "bad_value"),
        ("text", "malformed"),
    ],
)
def test_a_pack_that_cannot_be_decoded_is_rejected(record: object, why: str) -> None:
    [refusal] = rejections(senml(record))
    assert refusal.startswith(why)


def test_each_name_is_a_counter_of_its_own() -> None:
    result = senml(
        {"n": "east", "u": "Wh", "v": 1}, {"n": "west", "u": "kWh", "v": 2},
        {"n": "export", "u": "Wh", "v": 7},
    )  # fmt: skip
    assert sorted(reading(result).parts.values()) == [1, 7, 2000]
    assert (reading(result).energy_wh, reading(result).export_wh) == (2001, 7)
    [one] = reading(senml({"n": "east", "u": "Wh", "v": 5})).parts
    assert one in reading(result).parts


def test_names_that_look_alike_are_different_counters() -> None:
    result = senml(*({"n": name, "u": "Wh", "v": n} for n, name in enumerate(["a-", "a:", "a/"])))
    assert len(reading(result).parts) == 3
    # A key that ends in - would be energy that flowed back (core/readings.py).
    assert not any(key.endswith("-") for key in reading(result).parts)


def test_records_of_one_time_and_name_that_differ_are_rejected() -> None:
    result = senml({"n": "a", "u": "Wh", "v": 1}, {"n": "a", "u": "Wh", "v": 2})
    assert rejections(result) == [
        "bad_value: energy_wh: records of the same time and name must not differ"
    ]


def test_a_pack_with_too_many_readings_is_rejected() -> None:
    records = [{"u": "W", "v": 1, "t": -n} for n in range(1001)]
    assert rejections(senml(*records)) == ["too_many_readings: at most 1000 readings are allowed"]


@pytest.mark.parametrize(
    "topic",
    ["tele/plug/SENSOR", f"{PM}/status/switch:0", f"{PM}/events/rpc", "inverter/HM-600/ch0",
     "senml/roof", "energy/growatt/NTCIA00001"],
)  # fmt: skip
@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xff", b"nan", b"[" * 100_000, b'"\\ud800"', b"5"]
)
def test_a_payload_that_is_no_json_is_rejected(topic: str, payload: bytes) -> None:
    [refusal] = rejections(decode(topic, payload))
    assert refusal.startswith("malformed")


def test_duplicate_and_empty_keys_are_allowed() -> None:
    payload = json.dumps({"Time": INDIAN_NOON})[:-1] + ',"ENERGY":{"":1,"Power":1,"Power":2}}'
    assert fields(decode("tele/plug/SENSOR", payload)) == {"power_w": 2}
