"""Firmwares with one number per topic: OpenDTU, Shelly Gen 1, AhoyDTU, and Victron GX."""

from datetime import UTC, datetime

import pytest

from core.assembly import NEVER
from ingest.dialects import NOTHING, shelly1, victron
from tests.ingest.dialects.decoding import decode, part, rejections, status, values_of

DTU = "solar/114182940773"
SHELLY = "shellies/shellyem3-68C63AFAF952"
AHOY = "inverter/HM-600"
GX = "N/c0619aba2ebd"

NO_NUMBERS = ["", " ", "nan", "NaN", "null", "inf", "1e400", "1_000", "0x10", "off", "12,5", "1 2"]


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        (f"{DTU}/0/power", "1098.3", {"power_w": 1098.3}),
        (f"{DTU}/0/yieldtotal", "457.094", {"energy_wh": 457094}),
        (f"{DTU}/0/voltage", "231.40", {"voltage_v": 231.4}),
        (f"{DTU}/0/current", "0.3", {"current_a": 0.3}),
        (f"{DTU}/0/frequency", "49.99", {"frequency_hz": 49.99}),
        (f"{DTU}/0/temperature", "-3.5", {"temperature_c": -3.5}),
        (f"{SHELLY}/emeter/0/power", "120.11", {"power_w:0": 120.11}),
        (f"{SHELLY}/emeter/2/total", "22261.5", {"energy_wh:2": 22261.5}),
        (f"{SHELLY}/emeter/1/total_returned", "3.5", {"import_wh:1": 3.5}),
        (f"{SHELLY}/relay/0/power", "60", {"power_w:relay": 60}),
        (f"{SHELLY}/relay/0/energy", "6000", {"energy_wh:relay": 100}),
        (f"{AHOY}/ch0/P_AC", "74.600", {"power_w": 74.6}),
        (f"{AHOY}/ch0/YieldTotal", "465.294", {"energy_wh": 465294}),
        (f"{AHOY}/ch0/YieldTotal", "1.23457e+03", {"energy_wh": 1234570}),
        (f"{GX}/system/0/Ac/PvOnGrid/L1/Power", {"value": 812}, {"power_w:PvOnGrid.L1": 812}),
        (
            f"{GX}/pvinverter/20/Ac/L1/Energy/Forward",
            {"value": 98.08000183105469},
            {"energy_wh:20.L1": 98080.00183},
        ),
        (f"{GX}/grid/30/Ac/L2/Energy/Reverse", {"value": 1.5}, {"export_wh:30.L2": 1500}),
        (f"{GX}/grid/30/Ac/L2/Energy/Forward", {"value": 2.5}, {"import_wh:30.L2": 2500}),
        (f"{GX}/system/0/Dc/Battery/Soc", {"value": 84.5}, {"battery_soc_pct": 84.5}),
        (f"{GX}/system/0/Dc/Pv/Power", {"value": 512.5}, {"power_w:Dc": 512.5}),
        (
            f"{GX}/solarcharger/279/Yield/System",
            {"value": 1234.56},
            {"energy_wh:279.Yield": 1234560},
        ),
    ],
)
def test_a_number_is_in_the_unit_of_its_topic(
    topic: str, payload: object, expected: dict[str, float]
) -> None:
    assert values_of(decode(topic, payload)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "topic", [f"{DTU}/0/power", f"{SHELLY}/emeter/0/total", f"{AHOY}/ch0/P_AC"]
)
@pytest.mark.parametrize("payload", NO_NUMBERS)
def test_a_payload_that_is_no_number_is_absent_and_not_zero(topic: str, payload: str) -> None:
    assert decode(topic, payload) is NOTHING


@pytest.mark.parametrize(
    "topic",
    [
        "solar/ac/yieldtotal",
        "solar/ac/0/power",
        "solar/dtu/status",
        f"{DTU}/1/power",
        f"{DTU}/device/fwbuildversion",
        f"{AHOY}/ch1/P_DC",
        "inverter/total/YieldTotal",
        "inverter/uptime",
        "shellies/announce",
        f"{SHELLY}/temperature",
        "tele/plug/STATE",
        "tasmota/discovery/1/config",
        "homeassistant/sensor/1/config",
    ],
)
def test_topics_without_useful_values_are_not_decoded(topic: str) -> None:
    assert decode(topic, "1") is None


@pytest.mark.parametrize(
    "topic",
    [
        f"{DTU}/0/yieldday",
        f"{DTU}/status/limit_relative",
        f"{SHELLY}/emeter/0/pf",
        f"{SHELLY}/emeter/0/energy",
        f"{SHELLY}/emeter/3/total",
        f"{SHELLY}/relay/0",
        f"{SHELLY}/relay/1/energy",
        f"{SHELLY}/relay/1/power",
        f"{AHOY}/ch0/YieldDay",
        f"{GX}/grid/30/Ac/Energy/Reverse",
        f"{GX}/grid/30/Ac/Power",
        f"{GX}/pvinverter/20/Ac/L1/Power",
        f"{GX}/grid/made-up/Ac/L1/Energy/Reverse",
        f"{GX}/solarcharger/made-up/Yield/System",
        f"{GX}/solarcharger/279/Yield/User",
        f"{GX}/solarcharger/279/Yield/Power",
        f"{GX}/settings/0/Settings/LEDs/Enable",
    ],
)
def test_other_topics_of_the_device_are_ignored(topic: str) -> None:
    assert decode(topic, "1") is NOTHING


@pytest.mark.parametrize("topic", [f"{DTU}/status/last_update", f"{AHOY}/ch0/ts"])
def test_a_time_on_a_separate_topic_is_that_of_the_measurement(topic: str) -> None:
    assert part(decode(topic, "1672155690")).at == datetime(2022, 12, 27, 15, 41, 30, tzinfo=UTC)
    assert part(decode(topic, "0")).at == NEVER
    assert decode(topic, "1e300") is NOTHING


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        (f"{DTU}/status/reachable", "1", "online"),
        (f"{DTU}/status/reachable", "0", "offline"),
        (f"{DTU}/status/dtu", "offline", "offline"),
        (f"{DTU}/status/dtu", "online", None),
        (f"{DTU}/status/producing", "0", None),
        (f"{SHELLY}/online", "true", "online"),
        (f"{SHELLY}/online", "false", "offline"),
        (f"{AHOY}/available", "0", "offline"),
        (f"{AHOY}/available", "1", "online"),
        (f"{AHOY}/available", "2", "online"),
        (f"{AHOY}/available", "3", None),
    ],
)
def test_presence_is_as_the_firmware_reports_it(
    topic: str, payload: str, expected: str | None
) -> None:
    assert status(decode(topic, payload)) == expected


def test_the_counter_of_a_shelly_depends_on_the_kind_of_device() -> None:
    def meter(field: str, value: str) -> dict[str, float]:
        return values_of(decode(f"{SHELLY}/emeter/0/{field}", value, is_meter=True))

    assert meter("total", "5") == {"import_wh:0": 5}
    assert meter("total_returned", "6") == {"export_wh:0": 6}
    assert meter("power", "-120") == {"power_w:0": 120}
    assert meter("power", "80") == {"power_w:0": -80}


@pytest.mark.parametrize(
    "payload", [{"value": None}, {"value": []}, {"value": ""}, {"value": "12"}, {}]
)
def test_an_invalid_value_of_a_gx_is_no_longer_known_and_not_zero(payload: object) -> None:
    result = decode(f"{GX}/pvinverter/20/Ac/L1/Energy/Forward", payload)
    assert values_of(result) == {"energy_wh:20.L1": None}


def test_an_empty_payload_of_a_gx_removes_the_part() -> None:
    result = part(decode(f"{GX}/pvinverter/20/Ac/L1/Energy/Forward", b""))
    assert (result.values, result.removed) == ({}, {"energy_wh:20.L1"})


@pytest.mark.parametrize(
    ("known", "power_w"),
    [
        # Of one inverter, of two, and of panels on a battery beside them.
        ({"power_w:20": 3000}, 3000),
        ({"power_w:20": 3000, "power_w:21": 500, "power_w:Dc": 40}, 3540),
        ({"power_w:Dc": 40}, 40),
        # The sum of the GX contains all inverters, so it is not added to them.
        ({"power_w:20": 3000, "power_w:PvOnGrid.L1": 1000, "energy_wh:20.L1": 1}, 3000),
        ({"power_w:PvOnGrid.L1": 1000, "energy_wh:20.L1": 1}, 1000),
        ({"power_w:PvOnGrid.L1": 1000, "power_w:PvOnOutput.L1": 200, "power_w:Dc": 40}, 1240),
        # One phase of three, and one inverter of two.
        ({"power_w:PvOnGrid.L1": 1000, "energy_wh:20.L1": 1, "energy_wh:20.L2": 1}, None),
        ({"power_w:PvOnGrid.L1": 1000, "power_w:PvOnGrid.L2": None, "power_w:Dc": 40}, None),
        ({"power_w:20": 3000, "energy_wh:20.L1": 1, "energy_wh:21.L1": 1}, None),
        ({"power_w:20": None}, None),
        ({"power_w:20": 3000, "power_w:Dc": None}, None),
        ({"energy_wh:279.Yield": 1}, None),
    ],
)
def test_the_power_of_a_gx_is_that_of_all_its_panels(
    known: dict[str, float | None], power_w: float | None
) -> None:
    assert victron.power_w(known) == power_w


def test_the_power_of_one_phase_is_not_that_of_three() -> None:
    assert shelly1.power_w({"power_w:0": 100, "energy_wh:0": 1}) == 100
    assert shelly1.power_w({"power_w:0": 100, "energy_wh:0": 1, "import_wh:1": 1}) is None
    assert shelly1.power_w({"power_w:0": 100, "power_w:1": None}) is None
    assert shelly1.power_w({"power_w:0": 100, "power_w:1": 20, "energy_wh:1": 1}) == 120
    assert shelly1.power_w({"power_w:relay": 7, "energy_wh:relay": 1}) == 7


def test_a_payload_of_a_gx_that_is_no_json_is_rejected() -> None:
    result = decode(f"{GX}/system/0/Dc/Battery/Soc", b"{")
    assert rejections(result) == ["malformed: payload must be a JSON object"]


@pytest.mark.parametrize(
    ("topic", "payload", "field"),
    [
        (f"{DTU}/0/power", "1e12", "power_w"),
        (f"{DTU}/0/yieldtotal", "-1", "energy_wh"),
        (f"{SHELLY}/emeter/1/total", "1e16", "energy_wh"),
        (f"{GX}/grid/30/Ac/L1/Energy/Reverse", {"value": -3}, "export_wh"),
        (f"{GX}/system/0/Dc/Battery/Soc", {"value": 150}, "battery_soc_pct"),
    ],
)
def test_a_value_outside_its_physical_range_is_rejected_by_name(
    topic: str, payload: object, field: str
) -> None:
    [refusal] = rejections(decode(topic, payload))
    assert refusal.startswith(f"bad_value: {field}: ")
