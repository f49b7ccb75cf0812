"""Messages that real devices sent, as their owners recorded them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.readings import RejectionReason
from ingest.dialects import NOTHING
from ingest.dialects.firmwares import resolve_topic
from tests.ingest.dialects.decoding import decode, fields, part, reading, values_of

PAYLOADS = next(
    (
        folder / "shared/data/mqtt_payloads"
        for folder in Path(__file__).resolve().parents
        if (folder / "shared/data/mqtt_payloads").is_dir()
    ),
    None,
)
FAMILIES = (
    "hoymiles_opendtu_ahoy", "shelly_gen1", "shelly_gen2", "tasmota", "victron", "growatt_grott",
    "deye_sunsynk", "dsmr_p1", "growatt_openinvertergateway", "misc_meters", "solar_assistant",
    "voltronic_axpert_mpp_solar", "zigbee2mqtt_meters",
)  # fmt: skip
# Names that replace those which the reporters of a message removed.
NAMES = {
    "<unknown>": "plug", "<name>": "HM-600", "N/+/": "N/c0619aba2ebd/", "/+/": "/276/",
    "<portal ID>": "c0619aba2ebd",
}  # fmt: skip

pytestmark = pytest.mark.skipif(PAYLOADS is None, reason="the recorded messages are not here")


def samples(family: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    assert PAYLOADS is not None
    for sample in json.loads((PAYLOADS / f"{family}.json").read_text())["samples"]:
        topic = sample["topic"]
        for left_out, name in NAMES.items():
            topic = topic.replace(left_out, name)
        yield topic, sample["payload"], sample


def exact(family: str, topic: str, containing: str = "") -> str:
    """Return the payload that a device sent to this topic."""
    for found, payload, sample in samples(family):
        edited = sample.keys() & {"truncated_by_source", "edited", "topic_derived"}
        if found == topic and containing in payload and not edited:
            return payload
    raise LookupError(topic)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_message_is_decoded_or_ignored_and_none_is_malformed(family: str) -> None:
    for topic, payload, _ in samples(family):
        result = decode(topic, payload)
        if result is not None:
            assert [
                r for r in result.decoded.rejected if r.reason is RejectionReason.MALFORMED
            ] == []


def test_the_total_of_an_ahoy_is_in_kwh() -> None:
    total = exact("hoymiles_opendtu_ahoy", "inverter/HM-600/ch0/YieldTotal")
    assert values_of(decode("inverter/HM-600/ch0/YieldTotal", total)) == {"energy_wh": 465294}


def test_the_sums_of_a_dtu_are_of_no_device() -> None:
    for topic, payload, _ in samples("hoymiles_opendtu_ahoy"):
        if topic.startswith(("solar/ac", "solar/dc", "inverter/total")) or topic.count("/") == 1:
            assert resolve_topic(topic, payload.encode()) is None


def test_a_shelly_em_counts_watt_hours() -> None:
    topic = "shellies/shellyem-123456789012/emeter/0/total"
    assert values_of(decode(topic, exact("shelly_gen1", topic))) == {"energy_wh:0": 1891.9}


def test_a_notification_and_the_status_7_ms_later_have_the_same_values() -> None:
    shelly = "shelly1pmminig3-5432044edbc0"
    notice = decode(f"{shelly}/events/rpc", exact("shelly_gen2", f"{shelly}/events/rpc"))
    status = decode(f"{shelly}/status/switch:0", exact("shelly_gen2", f"{shelly}/status/switch:0"))
    assert values_of(notice) == {"power_w": 11.5, "current_a": 0.071}
    assert part(notice).at == datetime(2026, 9, 9, 9, 14, 52, 880000, tzinfo=UTC)
    assert values_of(status) == {
        "power_w": 11.5, "voltage_v": 240.3, "frequency_hz": 50.0, "current_a": 0.073,
        "energy_wh:0": 152669.987, "energy_wh:0-": 0.0, "import_wh": 0.0, "temperature_c": 55.0,
    }  # fmt: skip


def test_a_notification_of_a_connection_is_ignored() -> None:
    topic = "shelly1pmmini-Sat/events/rpc"
    assert decode(topic, exact("shelly_gen2", topic)) is NOTHING


def test_a_meter_of_three_phases_that_exports() -> None:
    result = decode(
        "tele/Zaehler/SENSOR", exact("tasmota", "tele/Zaehler/SENSOR"), zone="Europe/Berlin"
    )
    assert reading(result).time == datetime(2023, 1, 10, 12, 3, 11, tzinfo=UTC)
    values = fields(result)
    assert values["export_wh"] == round((1508.369 + 1929.488 + 1696.624) * 1000, 6)
    assert values["power_w"] == round(136.495 + 78.478, 6)
    assert "energy_wh" not in values


def test_voltage_and_frequency_are_those_of_a_connected_phase() -> None:
    values = fields(decode("tele/plug/SENSOR", exact("tasmota", "tele/plug/SENSOR", "136.83")))
    assert (values["voltage_v"], values["frequency_hz"]) == (236.9, 49.96)


def test_plugs_count_what_an_inverter_feeds_in() -> None:
    result = decode("tele/plug/SENSOR", exact("tasmota", "tele/plug/SENSOR", "15:07:55"))
    assert fields(result)["energy_wh"] == 15349
    assert reading(result).time == datetime(2019, 1, 16, 9, 37, 55, tzinfo=UTC)


def test_the_answer_of_a_plug_has_its_counter() -> None:
    result = decode(
        "stat/pow1/STATUS8", exact("tasmota", "stat/pow1/STATUS8"), zone="Europe/Berlin"
    )
    assert (fields(result)["energy_wh"], fields(result)["power_w"]) == (6404, 2629)
    assert reading(result).time == datetime(2018, 11, 15, 7, 54, 18, tzinfo=UTC)


def test_the_state_of_a_plug_is_no_reading() -> None:
    for topic, payload, _ in samples("tasmota"):
        if topic.endswith("/STATE"):
            assert decode(topic, payload) is None


def test_a_growatt_record_without_a_serial_is_of_no_device() -> None:
    asleep = exact("growatt_grott", "energy/growatt", "XXXXXXXXXX")
    assert decode("energy/growatt", asleep) is None


def test_the_meter_of_a_growatt_counts_the_consumption_of_the_house() -> None:
    result = decode("energy/growatt", exact("growatt_grott", "energy/growatt", "rev_act_energy"))
    values = fields(result)
    assert (values["power_w"], values["import_wh"], values["export_wh"]) == (-4796, 538400, 204400)
    assert (values["voltage_v"], values["frequency_hz"]) == (234.8, 50)


def test_a_clock_in_2001_is_decoded_as_such() -> None:
    [record] = [p for t, p, _ in samples("growatt_grott") if "2001-01-08" in p]
    result = decode("energy/growatt", record)
    assert reading(result).time == datetime(2001, 1, 8, 3, 6, tzinfo=UTC)
    assert fields(result)["energy_wh"] == 526400


def test_values_of_other_devices_of_a_gx_are_ignored() -> None:
    heeded = [
        topic
        for topic, payload, _ in samples("victron")
        if (result := decode(topic, payload)) is not None and result is not NOTHING
    ]
    assert heeded == ["N/c0619aba2ebd/system/0/Dc/Battery/Soc"]
