"""Firmwares that send JSON: Tasmota, Shelly Gen 2, Ahoy, SenML, grott."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest.dialects import NOTHING, DecodeResult
from tests.ingest.dialects.decoding import NOW, fields, hear, part, reading, refusals, said, status

INDIAN_NOON = "2026-03-01T12:00:00"  # of which NOW is the instant


def tasmota(energy: object, time: object = INDIAN_NOON, **how: Any) -> DecodeResult | None:
    return hear("tele/plug/SENSOR", {"Time": time, "ENERGY": energy}, **how)


def grott(values: object, **changes: object) -> DecodeResult | None:
    record = {"device": "NTCIA00001", "time": INDIAN_NOON, "buffered": "no", "values": values}
    return hear("energy/growatt/NTCIA00001", record | changes)


def senml(*records: object, **how: Any) -> DecodeResult | None:
    return hear("senml/roof", list(records), **how)


# Tasmota --------------------------------------------------------------------------------------


def test_tasmota_counts_kwh_by_its_own_clock() -> None:
    heard = tasmota({"Total": 15.349, "Power": 120, "Voltage": 230, "Current": 0.5})
    assert reading(heard).time == NOW
    assert fields(heard) == {
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
def test_a_local_time_is_of_the_devices_zone_unless_it_says_another(
    time: str, zone: str, expected: datetime
) -> None:
    assert reading(tasmota({"Power": 1}, time, zone=zone)).time == expected


@pytest.mark.parametrize("hour", [0, 1])
def test_of_an_hour_that_comes_twice_the_nearer_one_is_meant(hour: int) -> None:
    now = datetime(2026, 10, 25, hour, 30, 5, tzinfo=UTC)  # both are 2:30 in Berlin
    heard = tasmota({"Power": 1}, "2026-10-25T02:30:00", zone="Europe/Berlin", now=now)
    assert reading(heard).time == now.replace(second=0)


@pytest.mark.parametrize(
    "time", ["now", "2026-02-30T00:00:00", "2026-03-01", [5], True, 1e300, "0001-01-01T00:00:00"]
)
def test_a_time_that_is_none_is_refused(time: object) -> None:
    [refusal] = refusals(tasmota({"Power": 1}, time))
    assert refusal.startswith("bad_time: Time")


def test_a_tasmota_may_be_set_to_tell_the_seconds_since_1970() -> None:
    assert reading(tasmota({"Power": 1}, 1772346600)).time == NOW


def test_without_a_time_that_of_receipt_counts() -> None:
    assert reading(tasmota({"Power": 1}, None)).time is None


def test_phases_add_up_and_the_one_with_a_wire_tells_voltage_and_frequency() -> None:
    heard = tasmota(
        {"Power": [5, 7, 0], "Voltage": [0.1, 236.9, 0.1], "Current": [1, 2, 3],
         "Frequency": [48.85, 49.96, 136.83]}
    )  # fmt: skip
    assert fields(heard) == {
        "power_w": 12, "voltage_v": 236.9, "current_a": 6, "frequency_hz": 49.96,
    }  # fmt: skip


def test_a_phase_that_tells_nothing_is_not_zero_and_leaves_no_sum() -> None:
    told = {"Power": [5, None], "Current": ["nan", 2], "ExportActive": [20, None, 20.5]}
    heard = tasmota({"Frequency": 50, "ImportActive": [1, 2], **told})
    assert fields(heard) == {"import_wh": 3000, "frequency_hz": 50}
    assert reading(heard).parts == {
        "export_wh:0": 20_000, "export_wh:2": 20_500, "import_wh:0": 1000, "import_wh:1": 2000,
    }  # fmt: skip


def test_a_generation_counter_of_several_phases_is_each_of_them() -> None:
    heard = tasmota({"Total": [1.5, 2.5], "Power": 100})
    assert fields(heard) == {"power_w": 100, "energy_wh": 4000}
    assert reading(heard).parts == {"energy_wh:0": 1500, "energy_wh:1": 2500}
    assert fields(tasmota({"Total": [-0.5, 2.5], "Power": 100})) == {"power_w": 100}


def test_a_net_counter_is_never_generation() -> None:
    net = {"Total": 16647.945, "ExportActive": [1.5, 2.25], "ImportActive": 4, "Power": [-100, -50]}
    assert fields(tasmota(net)) == {"power_w": 150, "export_wh": 3750, "import_wh": 4000}
    assert fields(tasmota({"Total": 5.0, "Power": 100}, is_meter=True)) == {"power_w": -100}
    assert fields(tasmota({"Total": -0.5, "Power": 0})) == {"power_w": 0}


def test_tasmota_says_since_when_its_total_counts() -> None:
    heard = tasmota({"Total": 1, "TotalStartTime": "2026-02-01T05:30:00"})
    assert reading(heard).counts_since == datetime(2026, 2, 1, tzinfo=UTC)
    for wrong in (None, 7, "x" * 1000, "long ago\0"):
        assert reading(tasmota({"Total": 1, "TotalStartTime": wrong})).counts_since is None
    net = {"ExportActive": 1, "Total": 5, "TotalStartTime": "2026-02-01T05:30:00"}
    assert reading(tasmota(net)).counts_since is None


@pytest.mark.parametrize(
    "now", [datetime(2026, 10, 25, hour, 40, tzinfo=UTC) for hour in (0, 1, 9)]
)
def test_since_when_it_counts_is_the_same_whenever_it_is_told(now: datetime) -> None:
    since = {"Total": 1, "TotalStartTime": "2026-10-25T02:30:00"}
    heard = tasmota(since, now.isoformat(), zone="Europe/Berlin", now=now)
    assert reading(heard).counts_since == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_older_firmware_has_a_topic_for_energy() -> None:
    heard = hear("tele/plug/ENERGY", {"Time": INDIAN_NOON, "Total": 1.5, "Power": 3})
    assert fields(heard) == {"power_w": 3, "energy_wh": 1500}


@pytest.mark.parametrize("number", [8, 10])
def test_who_asks_for_the_sensors_is_answered_with_the_same_reading(number: int) -> None:
    sensor = {"Time": INDIAN_NOON, "ENERGY": {"Total": 1.5, "Power": 3}}
    asked = hear(f"stat/plug/STATUS{number}", {"StatusSNS": sensor})
    assert asked == hear("tele/plug/SENSOR", sensor)
    assert fields(asked) == {"power_w": 3, "energy_wh": 1500}


@pytest.mark.parametrize("payload", [{}, {"StatusSNS": None}, {"StatusSTS": {"POWER": "ON"}}])
def test_an_answer_without_sensors_says_nothing(payload: object) -> None:
    assert hear("stat/plug/STATUS10", payload) is NOTHING
    for other in ("STATUS", "STATUS0", "STATUS11", "RESULT"):
        assert hear(f"stat/plug/{other}", payload) is None


@pytest.mark.parametrize("payload", ["Online", "Offline"])
def test_tasmota_has_a_last_will(payload: str) -> None:
    assert status(hear("tele/plug/LWT", payload)) == payload.lower()


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
def test_a_sensor_without_a_number_says_nothing(energy: object) -> None:
    assert tasmota(energy) is NOTHING


# Shelly Gen 2 ---------------------------------------------------------------------------------

PM = "shellyplus1pm-a8032abe2f18"


def notice(params: object, method: str = "NotifyStatus") -> DecodeResult | None:
    return hear(f"{PM}/events/rpc", {"src": "x", "method": method, "params": params})


def test_a_notice_is_part_of_the_measurement_at_its_time() -> None:
    heard = notice({"ts": 1698999960.13, "switch:0": {"apower": 11.5, "current": 0.071}})
    assert said(heard) == {"power_w": 11.5, "current_a": 0.071}
    assert part(heard).at == datetime(2023, 11, 3, 8, 26, 0, 130000, tzinfo=UTC)


def test_a_status_has_no_time_of_its_own() -> None:
    heard = hear(f"{PM}/status/pm1:0", {"apower": 5, "aenergy": {"total": 123.585}, "freq": 50})
    assert said(heard) == {"power_w": 5, "energy_wh:0": 123.585, "frequency_hz": 50}
    assert part(heard).at is None


def test_an_energy_meter_tells_power_and_counters_apart() -> None:
    power = hear(f"{PM}/status/em:0", {"total_act_power": -300, "a_voltage": 233}, is_meter=True)
    assert said(power) == {"power_w": 300, "voltage_v": 233}
    counted = {"total_act": 2589773.39, "total_act_ret": 1026.61}
    assert said(hear(f"{PM}/status/emdata:0", counted, is_meter=True)) == {
        "import_wh": 2589773.39, "export_wh": 1026.61,
    }  # fmt: skip
    assert said(hear(f"{PM}/status/emdata:0", counted)) == {
        "energy_wh": 2589773.39, "import_wh": 1026.61,
    }  # fmt: skip


def test_a_counter_of_both_directions_is_told_with_what_was_returned() -> None:
    status = {"aenergy": {"total": 10048}, "ret_aenergy": {"total": 548}}
    for component in ("switch:0", "pm1:0"):
        assert said(hear(f"{PM}/status/{component}", status)) == {
            "energy_wh:0": 10048, "energy_wh:0-": 548, "import_wh": 548,
        }  # fmt: skip
        assert said(hear(f"{PM}/status/{component}", status, is_meter=True)) == {
            "import_wh:0": 10048, "import_wh:0-": 548, "export_wh": 548,
        }  # fmt: skip


def test_an_energy_meter_of_three_phases_has_counters_of_each() -> None:
    status = {
        "a_total_act_energy": 2034616.71, "a_total_act_ret_energy": 0, "total_act": 2589773.39,
        "b_total_act_energy": None, "b_total_act_ret_energy": 40.7, "total_act_ret": 1026.61,
    }  # fmt: skip
    assert said(hear(f"{PM}/status/emdata:0", status)) == {
        "energy_wh:a": 2034616.71, "import_wh:a": 0, "import_wh:b": 40.7,
    }  # fmt: skip


def test_a_meter_of_one_phase_tells_its_own_names_for_the_same() -> None:
    status = {"id": 0, "current": 22.78, "voltage": 224.6, "act_power": -5080.3, "freq": 50.0}
    assert said(hear(f"{PM}/status/em1:0", status, is_meter=True)) == {
        "power_w": 5080.3, "voltage_v": 224.6, "current_a": 22.78, "frequency_hz": 50,
    }  # fmt: skip
    counted = {"id": 0, "total_act_energy": 6644.90, "total_act_ret_energy": 2595.26}
    assert said(hear(f"{PM}/status/em1data:0", counted, is_meter=True)) == {
        "import_wh": 6644.90, "export_wh": 2595.26,
    }  # fmt: skip
    told = notice({"ts": 1698999960.13, "em1:0": {"act_power": 7}, "em1data:0": counted})
    assert said(told) == {"power_w": 7, "energy_wh": 6644.90, "import_wh": 2595.26}


@pytest.mark.parametrize("component", ["switch:1", "pm1:1", "em1:1", "em1data:1", "em1:2"])
def test_another_clamp_or_plug_of_a_device_is_not_the_one_that_is_registered(
    component: str,
) -> None:
    counted = {"apower": 5, "act_power": 5, "aenergy": {"total": 9}, "total_act_energy": 9}
    assert hear(f"{PM}/status/{component}", counted) is NOTHING
    assert notice({"ts": 1698999960.13, component: counted}) is NOTHING
    both = notice({"ts": 1698999960.13, component: counted, "switch:0": {"apower": 1}})
    assert said(both) == {"power_w": 1}


@pytest.mark.parametrize(
    "params",
    [
        {"ts": 1698999957.05, "mqtt": {"connected": True}},
        {"ts": 1, "switch:0": {"apower": None, "aenergy": None}},
        {"ts": 1, "switch:1": {"apower": 5}},
        {"ts": 1},
        [],
        None,
    ],
)
def test_a_notice_of_something_else_is_ignored(params: object) -> None:
    assert notice(params) is NOTHING


def test_other_methods_and_components_are_ignored() -> None:
    assert notice({"ts": 1, "switch:0": {"apower": 1}}, "NotifyEvent") is NOTHING
    assert hear(f"{PM}/status/input:0", {"id": 0, "state": None}) is NOTHING


def test_a_notice_whose_time_can_not_be_is_refused() -> None:
    for ts in ("now", 1e300):
        [refusal] = refusals(notice({"ts": ts, "switch:0": {"apower": 1}}))
        assert refusal.startswith("bad_time: params.ts")


# Ahoy -----------------------------------------------------------------------------------------


def test_ahoys_document_is_a_reading_at_its_time() -> None:
    heard = hear(
        "inverter/HM-600/ch0",
        {"P_AC": 120.5, "YieldDay": 300, "YieldTotal": 465.294, "ts": 1672155690, "U_AC": None},
    )
    assert fields(heard) == {"power_w": 120.5, "energy_wh": 465294}
    assert reading(heard).time == datetime(2022, 12, 27, 15, 41, 30, tzinfo=UTC)
    assert hear("inverter/HM-600/ch0", {"P_AC": 0, "ts": 0}) is NOTHING


# SenML ----------------------------------------------------------------------------------------


def test_base_fields_resolve_and_records_of_one_time_are_one_reading() -> None:
    heard = senml(
        {"bn": "urn:dev:roof:", "bt": 1772346600, "bu": "W", "n": "power", "v": 3120.5},
        {"n": "energy", "u": "kWh", "v": 18234.567},
        {"n": "export", "u": "Wh", "v": 9120044},
        {"n": "voltage", "u": "V", "v": 231.2},
        {"n": "soc", "u": "%EL", "v": 76},
        {"n": "power", "t": -60, "v": 3000},
    )
    assert heard is not None
    now, earlier = heard.decoded.readings
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
def test_units_and_names_say_what_a_number_is(
    record: dict[str, object], expected: dict[str, float]
) -> None:
    told = [{"bn": "roof/", "n": "x", "u": "W", "v": 0}] if "load_w" in expected else []
    told += [{"n": "e", "u": "Wh", "v": 1}] if "import_wh" in expected else []
    heard = senml(*told, record)
    assert heard is not None
    if not expected:
        assert heard is NOTHING
    else:
        assert expected.items() <= fields(heard).items()


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
def test_a_pack_that_can_not_be_understood_is_refused(record: object, why: str) -> None:
    [refusal] = refusals(senml(record))
    assert refusal.startswith(why)


def test_two_counters_that_might_be_meant_are_refused_rather_than_guessed() -> None:
    heard = senml({"n": "a", "u": "Wh", "v": 1}, {"n": "b", "u": "Wh", "v": 2})
    assert refusals(heard) == [
        "bad_value: energy_wh: records of the same time must not differ in this counter"
    ]


def test_a_pack_of_too_many_readings_is_refused() -> None:
    records = [{"u": "W", "v": 1, "t": -n} for n in range(1001)]
    assert refusals(senml(*records)) == ["too_many_readings: at most 1000 readings are allowed"]


# grott ----------------------------------------------------------------------------------------


def test_registers_are_tenths() -> None:
    heard = grott(
        {"pvpowerout": 16596, "pvenergytotal": 5264, "pvfrequentie": 5004, "pvgridvoltage": 2449,
         "pvgridcurrent": 69, "pvtemperature": 163, "pvenergytoday": 12}
    )  # fmt: skip
    assert reading(heard).time == NOW
    assert fields(heard) == {
        "power_w": 1659.6, "energy_wh": 526400, "frequency_hz": 50.04, "voltage_v": 244.9,
        "current_a": 6.9, "temperature_c": 16.3,
    }  # fmt: skip


def test_a_hybrid_inverter_without_a_meter_does_not_export_nothing() -> None:
    assert "export_wh" not in fields(grott({"pvpowerout": 1, "etogrid_tot": 0}))
    with_meter = fields(grott({"pvpowerout": 1, "etogrid_tot": 126278, "etouser_tot": 2182}))
    assert (with_meter["export_wh"], with_meter["import_wh"]) == (12627800, 218200)


def test_what_a_hybrid_inverters_battery_was_charged_with_is_told_with_what_it_gave_back() -> None:
    told = grott({"pvenergytotal": 138743, "eacharge_total": 46348})
    assert fields(told) == {"energy_wh": 9_239_500}
    assert reading(told).parts == {"energy_wh:ac": 13_874_300, "energy_wh:ac-": 4_634_800}
    other_layout = grott({"eactotal": 138743, "eacharge_total": 46348})
    assert reading(other_layout).parts == reading(told).parts
    assert fields(grott({"eactotal": 138743})) == {"energy_wh": 13_874_300}
    unknown = grott({"eactotal": 138743, "eacharge_total": None})
    assert reading(unknown).parts == {"energy_wh:ac": 13_874_300}


def test_history_has_the_time_of_the_device() -> None:
    heard = grott({"pvenergytotal": 1}, buffered="yes", time="2026-02-28 12:00:00")
    assert reading(heard).time == NOW - timedelta(days=1)


def test_on_a_topic_of_all_the_record_says_whose_it_is() -> None:
    record = {"device": "NTCIA00001", "time": INDIAN_NOON, "values": {"pvpowerout": 10}}
    assert fields(hear("energy/growatt", record)) == {"power_w": 1}
    for device in ("XXXXXXXXXX", "", None, 5, "a/b"):
        assert hear("energy/growatt", record | {"device": device}) is None
    assert hear("energy/growatt/XXXXXXXXXX", record) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"device": "NTCIA00002"}, "malformed: device"),
        ({"time": None}, "bad_time: time"),
        ({"time": "soon"}, "bad_time: time"),
    ],
)
def test_a_record_that_contradicts_its_topic_is_refused(
    changes: dict[str, object], why: str
) -> None:
    [refusal] = refusals(grott({"pvpowerout": 1}, **changes))
    assert refusal.startswith(why)


@pytest.mark.parametrize(
    "topic",
    ["tele/plug/SENSOR", f"{PM}/status/switch:0", f"{PM}/events/rpc", "inverter/HM-600/ch0",
     "senml/roof", "energy/growatt/NTCIA00001"],
)  # fmt: skip
@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xff", b"nan", b"[" * 100_000, b'"\\ud800"', b"5"]
)
def test_what_is_no_json_document_is_refused(topic: str, payload: bytes) -> None:
    [refusal] = refusals(hear(topic, payload))
    assert refusal.startswith("malformed")


def test_duplicate_and_empty_keys_do_no_harm() -> None:
    payload = json.dumps({"Time": INDIAN_NOON})[:-1] + ',"ENERGY":{"":1,"Power":1,"Power":2}}'
    assert fields(hear("tele/plug/SENSOR", payload)) == {"power_w": 2}
