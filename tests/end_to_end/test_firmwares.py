"""Devices that people own, from registration to a listing that follows them, over a real broker."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import aiomqtt
import pytest

from core.settings import DatabaseSettings
from core.units import rfc3339
from db.audit import audit
from db.pool import Pool
from tests.api.conftest import Api, serving
from tests.conftest import Broker
from tests.ingest.test_service import NOW, ingesting
from tests.support.mosquitto import Mosquitto
from tests.support.people import Person, add_user
from tests.support.waiting import eventually

Messages = Iterable[tuple[str, object]]
BEGAN_AT = NOW - timedelta(minutes=10)
HOME = {"latitude": 12.97, "longitude": 77.59}


def opendtu(at: datetime, total_wh: float) -> Messages:
    yield "solar/114182940773/status/reachable", 1
    yield "solar/114182940773/status/last_update", int(at.timestamp())
    yield "solar/114182940773/0/power", 300.5
    yield "solar/114182940773/0/yieldday", 7
    yield "solar/114182940773/0/yieldtotal", total_wh / 1000


def shelly1(_: datetime, total_wh: float) -> Messages:
    for phase in range(3):
        yield f"shellies/shellyem3-68C63AFAF952/emeter/{phase}/power", 100.17
        yield f"shellies/shellyem3-68C63AFAF952/emeter/{phase}/pf", 0.71
        yield f"shellies/shellyem3-68C63AFAF952/emeter/{phase}/total", total_wh / 3
        yield f"shellies/shellyem3-68C63AFAF952/emeter/{phase}/total_returned", 0.0


def shelly2(at: datetime, total_wh: float) -> Messages:
    counted = {"apower": 300.5, "aenergy": {"total": total_wh}}
    notice = {"method": "NotifyStatus", "params": {"ts": at.timestamp(), "switch:0": counted}}
    yield "shelly1pmminig3-5432044edbc0/events/rpc", notice
    yield "shelly1pmminig3-5432044edbc0/status/switch:0", counted | {"voltage": 231.2}
    yield "shelly1pmminig3-5432044edbc0/status/input:0", {"id": 0, "state": None}


def tasmota(at: datetime, total_wh: float) -> Messages:
    local = at.astimezone(ZoneInfo("Asia/Kolkata")).strftime("%Y-%m-%dT%H:%M:%S")
    yield "tele/tasmota_8BD1DC/STATE", {"Time": local, "POWER": "ON"}
    energy = {"Total": total_wh / 1000, "Power": 300, "Yesterday": 5.1, "Voltage": 231}
    yield "tele/tasmota_8BD1DC/SENSOR", {"Time": local, "ENERGY": energy}


def senml(at: datetime, total_wh: float) -> Messages:
    yield (
        "senml/roof",
        [
            {"bn": "urn:dev:roof:", "bt": at.timestamp(), "n": "power", "u": "W", "v": 300.5},
            {"n": "energy", "u": "kWh", "v": total_wh / 1000},
        ],
    )


def ahoy(at: datetime, total_wh: float) -> Messages:
    yield "inverter/HM-600/available", 2
    whole = {"P_AC": 300.5, "YieldDay": 7, "YieldTotal": total_wh / 1000, "ts": int(at.timestamp())}
    yield "inverter/HM-600/ch0", whole


def ahoy_by_topic(at: datetime, total_wh: float) -> Messages:
    yield "inverter/HM-600/last_success", int(at.timestamp())
    yield "inverter/HM-600/ch0/P_AC", 300.5
    yield "inverter/HM-600/ch0/YieldDay", 7
    yield "inverter/HM-600/ch0/YieldTotal", total_wh / 1000


def victron(_: datetime, total_wh: float) -> Messages:
    yield "N/c0619aba2ebd/system/0/Ac/PvOnGrid/L1/Power", {"value": 300.5}
    yield "N/c0619aba2ebd/pvinverter/20/Ac/L1/Energy/Forward", {"value": total_wh / 1000}
    yield "N/c0619aba2ebd/settings/0/Settings/LEDs/Enable", {"value": 1}


def grott(at: datetime, total_wh: float) -> Messages:
    local = at.astimezone(ZoneInfo("Asia/Kolkata")).strftime("%Y-%m-%dT%H:%M:%S")
    values = {"pvpowerout": 3005, "pvenergytotal": total_wh / 100}
    record = {"device": "NTCIA00001", "time": local, "buffered": "no", "values": values}
    yield "energy/growatt/NTCIA00001", record
    yield "energy/growatt/NTCIA00001", record | {"buffered": "yes"}


@pytest.mark.parametrize(
    ("dialect", "external_id", "speak", "clock"),
    [
        # Firmwares that publish one value a message take as long as a reading may be incomplete.
        pytest.param("opendtu", "114182940773", opendtu, True, marks=pytest.mark.slow),
        pytest.param("shelly1", "shellyem3-68C63AFAF952", shelly1, False, marks=pytest.mark.slow),
        ("shelly2", "shelly1pmminig3-5432044edbc0", shelly2, True),
        ("tasmota", "tasmota_8BD1DC", tasmota, True),
        ("senml", "roof", senml, True),
        ("ahoy", "HM-600", ahoy, True),
        pytest.param("ahoy", "HM-600", ahoy_by_topic, True, marks=pytest.mark.slow),
        pytest.param("victron", "c0619aba2ebd", victron, False, marks=pytest.mark.slow),
        ("grott", "NTCIA00001", grott, True),
    ],
)
async def test_a_device_that_is_registered_speaks_and_its_listing_follows(
    database: DatabaseSettings,
    pool: Pool,
    mosquitto: Mosquitto,
    dialect: str,
    external_id: str,
    speak: Callable[[datetime, float], Messages],
    clock: bool,
) -> None:
    host = await add_user(pool, "host")
    async with (
        serving(database) as api,
        ingesting(mosquitto.url, database) as registry,
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        device = await register(api, host, dialect, external_id)
        await earns_before_registration(api, pool, device)
        listing = await offer(api, host, device)
        # 100 Wh is the finest that a Growatt counts; 1.7 kW for a few seconds is 10 Wh at most.
        step_wh = 100 if dialect == "grott" else 6
        for n in range(3):
            at = (BEGAN_AT + timedelta(minutes=3 * n)).replace(microsecond=0)
            for topic, payload in speak(at, 600_000 + n * step_wh):
                await client.publish(topic, json.dumps(payload), qos=1)
            await holds_readings(pool, device["id"], n + 1)

        shown = await api.get(f"/api/v1/devices/{device['id']}/telemetry", host)
        energies = [point["energy_wh"] for point in shown["items"]]
        assert energies == pytest.approx([600_000 + n * step_wh for n in range(3)])
        assert [point["power_w"] for point in shown["items"]] == pytest.approx([300] * 3, abs=1)
        if clock:
            expected = [BEGAN_AT + timedelta(minutes=3 * n) for n in range(3)]
            times = [point["time"] for point in shown["items"]]
            assert times == [rfc3339(at.replace(microsecond=0)) for at in expected]
        energy = await api.get(f"/api/v1/devices/{device['id']}/energy", host)
        assert sum(slot["generated_wh"] for slot in energy["items"]) == 2 * step_wh
        assert {slot["quality"] for slot in energy["items"]} == {"measured"}
        followed = await api.get(f"/api/v1/marketplace/listings/{listing['id']}", host)
        assert followed["energy_amount_kwh"] == f"{Decimal(2 * step_wh) / 1000:.3f}"
        shown = await api.get(f"/api/v1/devices/{device['id']}", host)
        assert shown["status"] == "online"
        await counts_add_up(pool, database)
        assert (registry.get_sample_value("solarhub_messages_ignored_total") or 0) >= (
            3 if dialect in ("opendtu", "shelly1", "shelly2", "tasmota") else 0
        )


async def test_a_device_signs_in_as_itself_and_its_firmwares_last_will_is_no_hindrance(
    database: DatabaseSettings, pool: Pool, broker: Broker
) -> None:
    host = await add_user(pool, "host")
    async with serving(database) as api, ingesting(broker.url, database):
        device = await register(api, host, "ahoy", "HM-600")
        mqtt = device["mqtt"]
        async with (
            aiomqtt.Client("127.0.0.1", broker.port, username="hub", password=broker.hub_password)
            as hub,
            aiomqtt.Client(
                "127.0.0.1", broker.port, username=mqtt["username"], password=mqtt["password"],
                will=aiomqtt.Will("inverter/mqtt", "not connected", qos=1),
            ) as ahoy,
        ):  # fmt: skip
            await hub.subscribe("inverter/#", qos=1)
            for n in range(2):
                at = BEGAN_AT + timedelta(minutes=n)
                for topic, payload in ahoy_by_topic(at, 600_000 + n):
                    await ahoy.publish(topic.replace("HM-600", "HM-800"), "1", qos=1)
                    await ahoy.publish(topic, json.dumps(payload), qos=1)
                await holds_readings(pool, device["id"], n + 1)
            heard = {(await anext(hub.messages)).topic.value.split("/")[1] for _ in range(8)}
        assert heard == {"HM-600"}


async def register(api: Api, host: Person, dialect: str, external_id: str) -> Any:
    body = {"name": "Roof", "kind": "inverter", "capacity_w": 5000, **HOME}
    return await api.post(
        "/api/v1/devices", host, body | {"dialect": dialect, "external_id": external_id}
    )


async def earns_before_registration(api: Api, pool: Pool, device: Any) -> None:
    """Let an administrator allow sales of what the device measures from `BEGAN_AT` on."""
    admin = await add_user(pool, "admin")
    decision = {"earns_from": rfc3339(BEGAN_AT), "reason": "Its history is known"}
    response = await api.call(
        "PATCH", f"/api/v1/admin/devices/{device['id']}", admin, json=decision
    )
    assert response.status_code == 200, response.text


async def offer(api: Api, host: Person, device: Any) -> Any:
    body = {
        "device_id": device["id"],
        "auto_adjust": True,
        "price_per_kwh": "6.50",
        "available_from": rfc3339(NOW - timedelta(hours=1)),
        "available_to": rfc3339(NOW + timedelta(hours=8)),
    }
    return await api.post("/api/v1/marketplace/listings", host, body)


async def holds_readings(pool: Pool, device_id: str, count: int) -> None:
    async def held() -> bool:
        found = await pool.fetchval(
            "SELECT count(*) FROM telemetry WHERE device_id = $1", device_id
        )
        assert found == count
        return True

    await eventually(held, within_s=20)


async def counts_add_up(pool: Pool, database: DatabaseSettings) -> None:
    async with pool.acquire() as conn:
        assert [check.name async for check in audit(conn, database) if not check.ok] == []
    state = await pool.fetchrow("SELECT received, stored, duplicate, rejected FROM device_states")
    assert state is not None
    assert state["received"] == state["stored"] + state["duplicate"] + state["rejected"]
    assert state["stored"] == 3
