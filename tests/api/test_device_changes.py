"""Changes and removal of devices."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import aiomqtt
import pytest

from core.accounting import advance
from core.readings import Reading
from core.settings import DatabaseSettings
from db import accounting_states
from db.audit import audit
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, fields_of
from tests.conftest import Broker
from tests.support.people import Person, add_device, add_listing, add_user

DEVICES = "/api/v1/devices"
INVESTMENTS = "/api/v1/investments"
LISTINGS = "/api/v1/marketplace/listings"


async def test_only_the_given_fields_change(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    path = f"{DEVICES}/{await add_device(pool, host)}"
    before = await api.get(path, host)
    assert data_of(await api.call("PATCH", path, host, json={})) == before
    change = {"name": "Barn", "capacity_w": 7500, "latitude": 13.5}
    changed = data_of(await api.call("PATCH", path, host, json=change))
    assert changed == before | change == await api.get(path, host)


async def test_an_administrator_changes_any_device(api: Api, pool: Pool) -> None:
    host, admin = await add_user(pool, "host"), await add_user(pool, "admin")
    path = f"{DEVICES}/{await add_device(pool, host)}"
    changed = data_of(await api.call("PATCH", path, admin, json={"name": "Barn"}))
    assert (changed["name"], changed["owner_id"]) == ("Barn", str(host.id))


async def test_a_place_and_funding_terms_are_complete_or_absent(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    path = f"{DEVICES}/{await add_device(pool, host)}"
    for half, missing in (
        ({"latitude": None}, "latitude"),
        ({"funding_target": 100}, "revenue_share"),
        ({"revenue_share": "0.5"}, "funding_target"),
    ):
        response = await api.call("PATCH", path, host, json=half)
        assert fields_of(response) == [missing]
    terms = {"funding_target": 100, "revenue_share": "0.5"}
    nowhere = {"latitude": None, "longitude": None}
    changed = data_of(await api.call("PATCH", path, host, json=terms | nowhere))
    assert changed == await api.get(path, host)
    assert (changed["funding_target"], changed["revenue_share"]) == ("100.00", "0.5000")
    assert nowhere.items() <= changed.items()
    closed = {"funding_target": None, "revenue_share": None}
    assert closed.items() <= data_of(await api.call("PATCH", path, host, json=closed)).items()


@pytest.mark.parametrize("field", ["name", "capacity_w"])
async def test_required_fields_can_not_be_removed(api: Api, pool: Pool, field: str) -> None:
    host = await add_user(pool, "host")
    path = f"{DEVICES}/{await add_device(pool, host)}"
    assert fields_of(await api.call("PATCH", path, host, json={field: None})) == [field]


async def test_the_first_accounted_reading_fixes_the_capacity(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host, capacity_w=5000)
    accounted = advance(None, [Reading(time=datetime.now(UTC), energy_wh=1)], 5000)
    assert accounted is not None
    await pool.execute(
        "UPDATE device_states SET accounting_state = $2 WHERE device_id = $1",
        device_id,
        accounting_states.to_json(accounted.account),
    )
    path = f"{DEVICES}/{device_id}"
    refused = await api.call("PATCH", path, host, json={"name": "Barn", "capacity_w": 6000})
    assert (refused.status_code, code_of(refused)) == (409, "capacity_fixed")
    assert (await api.get(path, host))["name"] == "Roof"
    as_it_is = await api.call("PATCH", path, host, json={"name": "Barn", "capacity_w": 5000})
    assert data_of(as_it_is)["name"] == "Barn"


async def test_the_first_investment_fixes_the_terms(api: Api, pool: Pool) -> None:
    host, _, path = await funded_device(api, pool)
    for change in ({"revenue_share": "0.1"}, {"funding_target": None, "revenue_share": None}):
        refused = await api.call("PATCH", path, host, json=change)
        assert (refused.status_code, code_of(refused)) == (409, "funding_terms_fixed")
    changed = await api.call("PATCH", path, host, json={"name": "Barn", "revenue_share": 0.5})
    assert data_of(changed)["name"] == "Barn"


async def test_an_old_password_stops_working(api: Api, pool: Pool, broker: Broker) -> None:
    host = await add_user(pool, "host")
    body = {"name": "Roof", "kind": "meter", "capacity_w": 5000}
    old = (await api.post(DEVICES, host, body))["mqtt"]
    path = f"{DEVICES}/{old['username']}/credentials"
    for role in ("buyer", "admin"):
        refused = await api.call("POST", path, await add_user(pool, role))
        assert code_of(refused) == "forbidden"
    new = data_of(await api.call("POST", path, host))
    assert new == old | {"password": new["password"]}
    assert not await signs_in(broker, old["username"], old["password"])
    assert await signs_in(broker, new["username"], new["password"])


async def test_a_removed_device_keeps_its_history_and_has_no_open_listing(
    api: Api, pool: Pool, broker: Broker, database: DatabaseSettings
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    body = {"name": "Roof", "kind": "meter", "capacity_w": 5000, "external_id": "114182940773"}
    mqtt = (await api.post(DEVICES, host, body))["mqtt"]
    device_id, path = UUID(mqtt["username"]), f"{DEVICES}/{mqtt['username']}"
    await pool.execute(
        "INSERT INTO telemetry (device_id, time, power_w) VALUES ($1, now(), 1)", device_id
    )
    await pool.execute(
        "UPDATE device_states SET received = 1, stored = 1 WHERE device_id = $1", device_id
    )
    listing_id = await add_listing(pool, host, device_id=device_id)
    untouched = await add_listing(pool, host)
    order = {"listing_id": str(listing_id), "energy_kwh": 1}
    bought = data_of(await api.call("POST", "/api/v1/marketplace/purchase", buyer, json=order))

    assert data_of(await api.call("DELETE", path, host)) is None
    for method, below in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/latest"), ("POST", "/credentials"),
    ):  # fmt: skip
        gone = await api.call(method, path + below, host, json={} if method == "PATCH" else None)
        assert (gone.status_code, code_of(gone)) == (404, "not_found")
    assert (await api.get(DEVICES, host))["items"] == []
    assert not await signs_in(broker, mqtt["username"], mqtt["password"])
    statuses = [
        (await api.get(f"{LISTINGS}/{id_}", buyer))["status"] for id_ in (listing_id, untouched)
    ]
    assert statuses == ["cancelled", "active"]
    events = await pool.fetch("SELECT data FROM outbox WHERE type = 'listing.cancelled'")
    assert [event["data"]["id"] for event in events] == [str(listing_id)]
    refused = await api.call("POST", LISTINGS, host, json=offer(device_id))
    assert (refused.status_code, code_of(refused)) == (404, "not_found")

    kept = await api.get(f"/api/v1/marketplace/transactions/{bought['id']}", buyer)
    assert kept["listing_id"] == str(listing_id)
    assert await pool.fetchval("SELECT count(*) FROM telemetry WHERE device_id = $1", device_id)
    async with pool.acquire() as conn:
        assert [check.name async for check in audit(conn, database) if not check.ok] == []
    await api.post(DEVICES, host, body)  # its name is free again


async def test_only_an_administrator_removes_a_funded_device(api: Api, pool: Pool) -> None:
    host, investor, path = await funded_device(api, pool)
    refused = await api.call("DELETE", path, host)
    assert (refused.status_code, code_of(refused)) == (409, "device_funded")
    await api.get(path, host)
    assert (await api.call("DELETE", path, await add_user(pool, "admin"))).is_success
    [investment] = (await api.get(INVESTMENTS, investor))["items"]
    assert (investment["device"]["name"], investment["amount"]) == ("Roof", "10.00")


async def test_concurrent_removal_and_listings_leave_nothing_on_offer(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    for _ in range(5):
        device_id = await add_device(pool, host)
        offers = [api.call("POST", LISTINGS, host, json=offer(device_id)) for _ in range(8)]
        removal = api.call("DELETE", f"{DEVICES}/{device_id}", host)
        answers = await asyncio.gather(*offers[:4], removal, *offers[4:])
        assert {answer.status_code for answer in answers} <= {200, 201, 404}
    assert await pool.fetch("SELECT id FROM energy_listings WHERE status <> 'cancelled'") == []


async def funded_device(api: Api, pool: Pool) -> tuple[Person, Person, str]:
    """Add a device with 10 INR of funding. Return its host, its investor and its path."""
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=100)
    terms = {"funding_target": 100, "revenue_share": "0.5"}
    body = {"name": "Roof", "kind": "meter", "capacity_w": 5000} | terms
    device_id = (await api.post(DEVICES, host, body))["id"]
    await api.post(INVESTMENTS, investor, {"device_id": device_id, "amount": 10})
    return host, investor, f"{DEVICES}/{device_id}"


def offer(device_id: UUID) -> dict[str, object]:
    return {
        "device_id": str(device_id), "energy_amount_kwh": 1, "price_per_kwh": 6,
        "available_from": "2026-01-01T00:00:00Z", "available_to": "2099-01-01T00:00:00Z",
        "latitude": 12.97, "longitude": 77.59,
    }  # fmt: skip


async def signs_in(broker: Broker, username: str, password: str) -> bool:
    try:
        async with aiomqtt.Client(
            "127.0.0.1", broker.port, username=username, password=password, timeout=5
        ):
            return True
    except aiomqtt.MqttCodeError as error:
        if "Not authorized" not in str(error):
            raise
        return False
