"""Hosts register devices and see what they measured."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from core.readings import Reading
from core.units import SLOT, rfc3339, slot_of
from db.device_credentials import access_of
from db.pool import Pool
from ingest.writer import write
from tests.api.conftest import Api, code_of, data_of, fields_of
from tests.ingest.world import telemetry
from tests.support.people import add_device, add_user

DEVICES = "/api/v1/devices"
ROOF = {
    "name": "Roof",
    "kind": "inverter",
    "capacity_w": 5000,
    "latitude": 12.97,
    "longitude": 77.59,
}


async def test_a_registered_device_gets_credentials_that_are_shown_once(
    api: Api, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    device = await api.post(DEVICES, host, ROOF)
    mqtt = device.pop("mqtt")
    assert (mqtt["host"], mqtt["port"], mqtt["username"]) == ("127.0.0.1", 1883, device["id"])
    assert mqtt["topics"]["telemetry"] == f"solar/{device['id']}/telemetry"
    assert (device["status"], device["last_seen_at"]) == ("pending", None)
    [stored] = (await access_of(pool, [device["id"]])).values()
    assert stored.credential_hash == hashlib.sha256(mqtt["password"].encode()).digest()
    assert re.fullmatch("[0-9a-f]{32}", mqtt["password"])
    assert await api.get(f"{DEVICES}/{device['id']}", host) == device
    assert (await api.get(DEVICES, host))["items"] == [device]


async def test_the_place_of_a_device_may_be_spelled_either_way(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    body = {"name": "Roof", "kind": "inverter", "capacity_w": 5000, "lat": 12.5, "lon": 77.5}
    device = await api.post(DEVICES, host, body)
    assert (device["latitude"], device["longitude"]) == (12.5, 77.5)
    url = f"{DEVICES}/{device['id']}"
    moved = data_of(await api.call("PATCH", url, host, json={"lat": 13.5, "longitude": 78.5}))
    assert (moved["latitude"], moved["longitude"]) == (13.5, 78.5)
    both = await api.call("PATCH", url, host, json={"lat": 13.5, "latitude": 13.5})
    assert fields_of(both) == ["lat"]


async def test_only_hosts_register_devices(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool, "buyer")
    response = await api.call("POST", DEVICES, buyer, json=ROOF)
    assert (response.status_code, code_of(response)) == (403, "forbidden")


async def test_only_the_owner_and_administrators_see_a_device(api: Api, pool: Pool) -> None:
    owner, other, admin = [await add_user(pool, role) for role in ("host", "host", "admin")]
    device_id = await add_device(pool, owner)
    for path in ("", "/latest", "/telemetry", "/energy", "/rejections"):
        url = f"{DEVICES}/{device_id}{path}"
        response = await api.call("GET", url, other)
        assert (response.status_code, code_of(response)) == (404, "not_found")
        assert (await api.call("GET", url, owner)).is_success
        assert (await api.call("GET", url, admin)).is_success
    assert (await api.get(DEVICES, other))["items"] == []
    assert len((await api.get(DEVICES, admin))["items"]) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("capacity_w", 0), ("capacity_w", 2e9), ("kind", "windmill"), ("name", ""), ("latitude", 91)],
)
async def test_an_invalid_device_is_refused(
    api: Api, pool: Pool, field: str, value: object
) -> None:
    host = await add_user(pool, "host")
    response = await api.call("POST", DEVICES, host, json=ROOF | {field: value})
    assert fields_of(response) == [field]


async def test_an_external_id_is_registered_once(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    body = ROOF | {"external_id": "116180400144"}
    await api.post(DEVICES, host, body)
    response = await api.call("POST", DEVICES, host, json=body)
    assert (response.status_code, code_of(response)) == (409, "external_id_taken")


async def test_a_device_gets_the_topics_of_its_firmware(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    body = ROOF | {"dialect": "opendtu", "external_id": "116180400144"}
    device = await api.post(DEVICES, host, body)
    assert (device["dialect"], device["external_id"]) == ("opendtu", "116180400144")
    topics = device["mqtt"]["topics"]
    assert topics["publish"] == ["solar/116180400144/#"]
    assert topics["ack"] == f"solar/{device['id']}/ack"


async def test_a_device_has_a_time_zone(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    device = await api.post(DEVICES, host, ROOF)
    assert device["time_zone"] == "Asia/Kolkata"
    url = f"{DEVICES}/{device['id']}"
    for zone in ("Europe", "Mars/Base", "../etc", "", "\0"):
        for method, path in (("POST", DEVICES), ("PATCH", url)):
            body = {"time_zone": zone} if method == "PATCH" else ROOF | {"time_zone": zone}
            response = await api.call(method, path, host, json=body)
            assert fields_of(response) == ["time_zone"]
    changed = await api.call("PATCH", url, host, json={"time_zone": "Europe/Berlin"})
    assert data_of(changed)["time_zone"] == "Europe/Berlin"
    assert (await api.get(url, host))["time_zone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    "device",
    [
        {"dialect": "opendtu"},
        {"dialect": "opendtu", "external_id": "ac"},
        {"dialect": "shelly2", "external_id": "solar"},
        {"dialect": "tasmota", "external_id": "plug/#"},
        {"dialect": "victron", "external_id": None},
    ],
)
async def test_a_firmware_needs_a_valid_external_id(
    api: Api, pool: Pool, device: dict[str, Any]
) -> None:
    host = await add_user(pool, "host")
    response = await api.call("POST", DEVICES, host, json=ROOF | device)
    assert (response.status_code, fields_of(response)) == (400, ["external_id"])


async def test_devices_are_listed_newest_first_by_page(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    made = [str(await add_device(pool, host)) for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        part = await api.get(DEVICES, host, limit=2, **cursor)
        seen += [device["id"] for device in part["items"]]
        if part["next_cursor"] is None:
            break
        cursor = {"cursor": part["next_cursor"]}
    assert seen == made[::-1]


async def test_telemetry_is_shown_raw_and_in_buckets(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    times = [hour + timedelta(minutes=5 * n) for n in range(24)]
    await pool.executemany(
        "INSERT INTO telemetry (device_id, time, power_w, energy_wh) VALUES ($1, $2, $3, $4)",
        [(device_id, at, 100.0 * n, 1000.0 + n) for n, at in enumerate(times)],
    )
    url = f"{DEVICES}/{device_id}/telemetry"
    span = {"from": rfc3339(hour), "to": rfc3339(hour + timedelta(hours=2))}

    raw: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        part = await api.get(url, host, limit=10, **span, **cursor)
        raw += part["items"]
        if part["next_cursor"] is None:
            break
        cursor = {"cursor": part["next_cursor"]}
    assert [point["time"] for point in raw] == [rfc3339(at) for at in times]
    assert raw[3]["power_w"] == 300
    assert raw[3]["voltage_v"] is None

    for resolution, readings in (("15m", [3] * 8), ("1h", [12, 12])):
        buckets = (await api.get(url, host, resolution=resolution, **span))["items"]
        assert [bucket["readings"] for bucket in buckets] == readings
        assert buckets[0]["time"] == rfc3339(hour)
        assert buckets[-1]["energy_wh"] == 1023
    days = await api.get(url, host, resolution="1d", **{"from": rfc3339(hour - timedelta(days=2))})
    assert sum(day["readings"] for day in days["items"]) == 24

    latest = await api.get(f"{DEVICES}/{device_id}/latest", host)
    assert latest["reading"]["time"] == rfc3339(times[-1])
    assert latest["status"] == "pending"


async def test_a_page_of_raw_telemetry_has_at_most_ten_thousand_readings(
    api: Api, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    await pool.execute(
        "INSERT INTO telemetry (device_id, time, power_w)"
        " SELECT $1, now() - n * interval '1 second', n FROM generate_series(0, 10_000) n",
        device_id,
    )
    url = f"{DEVICES}/{device_id}/telemetry"
    refused = await api.call("GET", url, host, params={"limit": 10_001})
    assert fields_of(refused) == ["limit"]
    part = await api.get(url, host, limit=10_000)
    rest = await api.get(url, host, limit=10_000, cursor=part["next_cursor"])
    powers = [point["power_w"] for point in [*part["items"], *rest["items"]]]
    assert powers == [float(n) for n in range(10_000, -1, -1)]
    assert (len(part["items"]), rest["next_cursor"]) == (10_000, None)


async def test_the_latest_reading_is_the_last_by_measurement_time(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    device_id, now = await add_device(pool, host), datetime.now(UTC)
    for minutes_ago in (5, 50):
        one = Reading(now - timedelta(minutes=minutes_ago), power_w=float(minutes_ago))
        await write(pool, [telemetry(device_id, one)], timedelta(days=7))
    latest = await api.get(f"{DEVICES}/{device_id}/latest", host)
    assert (latest["reading"]["power_w"], latest["status"]) == (5, "online")


async def test_energy_is_shown_with_its_quality(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    slot = slot_of(datetime.now(UTC) - timedelta(hours=1))
    await pool.execute(
        """
        INSERT INTO energy_interval
            (device_id, slot_start, generated_wh, surplus_wh, quality, reasons)
        VALUES ($1, $2, 250.5, 200.125, 'measured', '{reset}')
        """,
        device_id,
        slot,
    )
    [shown] = (await api.get(f"{DEVICES}/{device_id}/energy", host))["items"]
    assert shown == {
        "slot_start": rfc3339(slot),
        "generated_wh": 250.5,
        "surplus_wh": 200.125,
        "quality": "measured",
        "reasons": ["reset"],
    }
    backwards = {"from": rfc3339(slot), "to": rfc3339(slot)}
    response = await api.call("GET", f"{DEVICES}/{device_id}/energy", host, params=backwards)
    assert "to: must be after from" in response.json()["message"]


async def test_energy_is_exact_to_its_last_decimal(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    slot = slot_of(datetime.now(UTC) - timedelta(hours=20))
    stored = [Decimal(n) for n in ("0.001", "750.555", "14749.999", "99999999.999", "303.546")]
    await pool.executemany(
        """
        INSERT INTO energy_interval (device_id, slot_start, generated_wh, surplus_wh, quality)
        VALUES ($1, $2, $3, $3, 'measured')
        """,
        [(device_id, slot + n * SLOT, energy_wh) for n, energy_wh in enumerate(stored)],
    )
    response = await api.call("GET", f"{DEVICES}/{device_id}/energy", host)
    items = json.loads(response.text, parse_float=Decimal)["data"]["items"]
    assert [item["generated_wh"] for item in items] == stored
    assert sum(item["surplus_wh"] for item in items) == sum(stored)


async def test_rejections_are_shown_with_their_reasons(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    await pool.execute(
        "INSERT INTO rejections (device_id, topic, payload, reason)"
        " VALUES ($1, 'solar/x/telemetry', $2, 'malformed')",
        device_id,
        b'{"power_w": \xff',
    )
    [refusal] = (await api.get(f"{DEVICES}/{device_id}/rejections", host))["items"]
    assert refusal["reason"] == "malformed"
    assert refusal["payload"] == '{"power_w": \ufffd'
    assert data_of(await api.call("GET", f"{DEVICES}/{device_id}/rejections", host))
