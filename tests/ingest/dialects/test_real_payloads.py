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
from tests.ingest.dialects.decoding import fields, hear, part, reading, said

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
# Where those who reported a message left a name out.
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
    """The payload that a device sent to this topic."""
    for found, payload, sample in samples(family):
        edited = sample.keys() & {"truncated_by_source", "edited", "topic_derived"}
        if found == topic and containing in payload and not edited:
            return payload
    raise LookupError(topic)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_message_is_read_or_ignored_and_none_is_unreadable(family: str) -> None:
    for topic, payload, _ in samples(family):
        heard = hear(topic, payload)
        if heard is not None:
            assert [
                r for r in heard.decoded.rejected if r.reason is RejectionReason.MALFORMED
            ] == []


def test_an_ahoys_total_is_in_kwh() -> None:
    total = exact("hoymiles_opendtu_ahoy", "inverter/HM-600/ch0/YieldTotal")
    assert said(hear("inverter/HM-600/ch0/YieldTotal", total)) == {"energy_wh": 465294}


def test_sums_of_a_dtu_are_nobodys() -> None:
    for topic, payload, _ in samples("hoymiles_opendtu_ahoy"):
        if topic.startswith(("solar/ac", "solar/dc", "inverter/total")) or topic.count("/") == 1:
            assert resolve_topic(topic, payload.encode()) is None


def test_a_shelly_em_counts_watt_hours() -> None:
    topic = "shellies/shellyem-123456789012/emeter/0/total"
    assert said(hear(topic, exact("shelly_gen1", topic))) == {"energy_wh:0": 1891.9}


def test_a_notice_and_the_status_7_ms_later_tell_the_same() -> None:
    shelly = "shelly1pmminig3-5432044edbc0"
    notice = hear(f"{shelly}/events/rpc", exact("shelly_gen2", f"{shelly}/events/rpc"))
    status = hear(f"{shelly}/status/switch:0", exact("shelly_gen2", f"{shelly}/status/switch:0"))
    assert said(notice) == {"power_w": 11.5, "current_a": 0.071}
    assert part(notice).at == datetime(2026, 9, 9, 9, 14, 52, 880000, tzinfo=UTC)
    assert said(status) == {
        "power_w": 11.5, "voltage_v": 240.3, "frequency_hz": 50.0, "current_a": 0.073,
        "energy_wh:0": 152669.987, "energy_wh:0-": 0.0, "import_wh": 0.0, "temperature_c": 55.0,
    }  # fmt: skip


def test_a_notice_that_a_shelly_is_connected_is_ignored() -> None:
    topic = "shelly1pmmini-Sat/events/rpc"
    assert hear(topic, exact("shelly_gen2", topic)) is NOTHING


def test_a_meter_of_three_phases_that_exports() -> None:
    heard = hear(
        "tele/Zaehler/SENSOR", exact("tasmota", "tele/Zaehler/SENSOR"), zone="Europe/Berlin"
    )
    assert reading(heard).time == datetime(2023, 1, 10, 12, 3, 11, tzinfo=UTC)
    told = fields(heard)
    assert told["export_wh"] == round((1508.369 + 1929.488 + 1696.624) * 1000, 6)
    assert told["power_w"] == round(136.495 + 78.478, 6)
    assert "energy_wh" not in told


def test_phases_without_a_wire_do_not_speak_for_the_meter() -> None:
    told = fields(hear("tele/plug/SENSOR", exact("tasmota", "tele/plug/SENSOR", "136.83")))
    assert (told["voltage_v"], told["frequency_hz"]) == (236.9, 49.96)


def test_plugs_count_what_an_inverter_feeds_in() -> None:
    heard = hear("tele/plug/SENSOR", exact("tasmota", "tele/plug/SENSOR", "15:07:55"))
    assert fields(heard)["energy_wh"] == 15349
    assert reading(heard).time == datetime(2019, 1, 16, 9, 37, 55, tzinfo=UTC)


def test_a_plug_that_was_asked_tells_its_counter() -> None:
    heard = hear("stat/pow1/STATUS8", exact("tasmota", "stat/pow1/STATUS8"), zone="Europe/Berlin")
    assert (fields(heard)["energy_wh"], fields(heard)["power_w"]) == (6404, 2629)
    assert reading(heard).time == datetime(2018, 11, 15, 7, 54, 18, tzinfo=UTC)


def test_the_state_of_a_plug_is_no_reading() -> None:
    for topic, payload, _ in samples("tasmota"):
        if topic.endswith("/STATE"):
            assert hear(topic, payload) is None


def test_a_growatt_that_is_not_awake_yet_is_nobody() -> None:
    asleep = exact("growatt_grott", "energy/growatt", "XXXXXXXXXX")
    assert hear("energy/growatt", asleep) is None


def test_a_growatts_meter_says_what_the_house_draws() -> None:
    heard = hear("energy/growatt", exact("growatt_grott", "energy/growatt", "rev_act_energy"))
    told = fields(heard)
    assert (told["power_w"], told["import_wh"], told["export_wh"]) == (-4796, 538400, 204400)
    assert (told["voltage_v"], told["frequency_hz"]) == (234.8, 50)


def test_a_clock_of_2001_is_read_as_that() -> None:
    [record] = [p for t, p, _ in samples("growatt_grott") if "2001-01-08" in p]
    heard = hear("energy/growatt", record)
    assert reading(heard).time == datetime(2001, 1, 8, 3, 6, tzinfo=UTC)
    assert fields(heard)["energy_wh"] == 526400


def test_what_a_gx_tells_of_other_devices_is_ignored() -> None:
    heeded = [
        topic
        for topic, payload, _ in samples("victron")
        if (heard := hear(topic, payload)) is not None and heard is not NOTHING
    ]
    assert heeded == ["N/c0619aba2ebd/system/0/Dc/Battery/Soc"]
