"""Shelly, second generation: statuses and notifications of plugs and energy meters."""

from datetime import UTC, datetime

import pytest

from ingest.dialects import NOTHING, DecodeResult
from tests.ingest.dialects.decoding import PM, decode, part, rejections, values_of


def notification(params: object, method: str = "NotifyStatus") -> DecodeResult | None:
    return decode(f"{PM}/events/rpc", {"src": "x", "method": method, "params": params})


def test_a_notification_is_part_of_the_measurement_at_its_time() -> None:
    result = notification({"ts": 1698999960.13, "switch:0": {"apower": 11.5, "current": 0.071}})
    assert values_of(result) == {"power_w": 11.5, "current_a": 0.071}
    assert part(result).at == datetime(2023, 11, 3, 8, 26, 0, 130000, tzinfo=UTC)


def test_a_status_has_no_time() -> None:
    result = decode(f"{PM}/status/pm1:0", {"apower": 5, "aenergy": {"total": 123.585}, "freq": 50})
    assert values_of(result) == {"power_w": 5, "energy_wh:0": 123.585, "frequency_hz": 50}
    assert part(result).at is None


def test_an_energy_meter_reports_power_and_counters_in_separate_messages() -> None:
    power = decode(f"{PM}/status/em:0", {"total_act_power": -300, "a_voltage": 233}, is_meter=True)
    assert values_of(power) == {"power_w": 300, "voltage_v": 233}
    counted = {"total_act": 2589773.39, "total_act_ret": 1026.61}
    assert values_of(decode(f"{PM}/status/emdata:0", counted, is_meter=True)) == {
        "import_wh": 2589773.39, "export_wh": 1026.61,
    }  # fmt: skip
    assert values_of(decode(f"{PM}/status/emdata:0", counted)) == {
        "energy_wh": 2589773.39, "import_wh": 1026.61,
    }  # fmt: skip


def test_a_counter_of_both_directions_comes_with_the_returned_energy() -> None:
    status = {"aenergy": {"total": 10048}, "ret_aenergy": {"total": 548}}
    for component in ("switch:0", "pm1:0"):
        assert values_of(decode(f"{PM}/status/{component}", status)) == {
            "energy_wh:0": 10048, "energy_wh:0-": 548, "import_wh": 548,
        }  # fmt: skip
        assert values_of(decode(f"{PM}/status/{component}", status, is_meter=True)) == {
            "import_wh:0": 10048, "import_wh:0-": 548, "export_wh": 548,
        }  # fmt: skip


def test_an_energy_meter_of_three_phases_has_counters_of_each() -> None:
    status = {
        "a_total_act_energy": 2034616.71, "a_total_act_ret_energy": 0, "total_act": 2589773.39,
        "b_total_act_energy": None, "b_total_act_ret_energy": 40.7, "total_act_ret": 1026.61,
    }  # fmt: skip
    assert values_of(decode(f"{PM}/status/emdata:0", status)) == {
        "energy_wh:a": 2034616.71, "import_wh:a": 0, "import_wh:b": 40.7,
    }  # fmt: skip


def test_a_meter_of_one_phase_has_other_field_names() -> None:
    status = {"id": 0, "current": 22.78, "voltage": 224.6, "act_power": -5080.3, "freq": 50.0}
    assert values_of(decode(f"{PM}/status/em1:0", status, is_meter=True)) == {
        "power_w": 5080.3, "voltage_v": 224.6, "current_a": 22.78, "frequency_hz": 50,
    }  # fmt: skip
    counted = {"id": 0, "total_act_energy": 6644.90, "total_act_ret_energy": 2595.26}
    assert values_of(decode(f"{PM}/status/em1data:0", counted, is_meter=True)) == {
        "import_wh": 6644.90, "export_wh": 2595.26,
    }  # fmt: skip
    told = notification({"ts": 1698999960.13, "em1:0": {"act_power": 7}, "em1data:0": counted})
    assert values_of(told) == {"power_w": 7, "energy_wh": 6644.90, "import_wh": 2595.26}


@pytest.mark.parametrize("component", ["switch:1", "pm1:1", "em1:1", "em1data:1", "em1:2"])
def test_another_clamp_or_plug_of_a_device_is_ignored(
    component: str,
) -> None:
    counted = {"apower": 5, "act_power": 5, "aenergy": {"total": 9}, "total_act_energy": 9}
    assert decode(f"{PM}/status/{component}", counted) is NOTHING
    assert notification({"ts": 1698999960.13, component: counted}) is NOTHING
    both = notification({"ts": 1698999960.13, component: counted, "switch:0": {"apower": 1}})
    assert values_of(both) == {"power_w": 1}


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
def test_a_notification_of_something_else_is_ignored(params: object) -> None:
    assert notification(params) is NOTHING


def test_other_methods_and_components_are_ignored() -> None:
    assert notification({"ts": 1, "switch:0": {"apower": 1}}, "NotifyEvent") is NOTHING
    assert decode(f"{PM}/status/input:0", {"id": 0, "state": None}) is NOTHING


def test_a_notification_with_an_impossible_time_is_rejected() -> None:
    for ts in ("now", 1e300):
        [refusal] = rejections(notification({"ts": ts, "switch:0": {"apower": 1}}))
        assert refusal.startswith("bad_time: params.ts")
