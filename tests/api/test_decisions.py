"""Decisions of administrators on devices: their effect on listings, and their record."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from core.settings import DatabaseSettings
from core.units import rfc3339, slot_of
from db.pool import Pool
from ingest.writer import write
from tests.api.conftest import Api, code_of, data_of, earns_since, fields_of
from tests.api.deciding import (
    ADMIN,
    DEVICES,
    HORIZON,
    LISTINGS,
    PURCHASE,
    decide,
    follow,
    measure,
    offer,
    offered,
    register,
    unsound,
)
from tests.ingest.world import counting, message
from tests.support.people import Person, add_device, add_listing, add_user

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def admin(pool: Pool) -> Person:
    return await add_user(pool, "admin")


@pytest.fixture
async def host(pool: Pool) -> Person:
    return await add_user(pool, "host")


async def test_energy_from_before_the_registration_is_shown_but_not_sold(
    api: Api, pool: Pool, host: Person, database: DatabaseSettings
) -> None:
    device_id = await register(api, host)
    now = datetime.now(UTC)
    listing_id = await follow(api, host, device_id, now - timedelta(days=6))
    await measure(pool, device_id, counting(now - timedelta(hours=5), range(1000, 16_000, 250)))
    shown = (await api.get(f"{DEVICES}/{device_id}/energy", host, limit=100))["items"]
    assert round(sum(slot["surplus_wh"] for slot in shown), 3) == 14_750
    assert await offered(api, host, listing_id) == ("active", 0)
    # It earns from its registration on, also within the slot of the registration.
    await measure(
        pool,
        device_id,
        counting(now + timedelta(seconds=9), [15_750.0, 15_762.0], timedelta(seconds=9)),
    )
    assert await offered(api, host, listing_id) == ("active", Decimal("0.012"))
    assert await unsound(pool, database) == []


async def test_an_administrator_allows_the_sale_of_earlier_energy(
    api: Api, pool: Pool, admin: Person, host: Person, database: DatabaseSettings
) -> None:
    device_id = await register(api, host)
    now = datetime.now(UTC)
    listing_id = await follow(api, host, device_id, now - timedelta(days=6))
    begins = slot_of(now) - timedelta(hours=5)
    await measure(
        pool, device_id, counting(begins, range(1000, 13_000, 100), timedelta(minutes=2.5))
    )
    since = begins + timedelta(hours=2, minutes=7)
    device = await decide(api, admin, device_id, earns_from=rfc3339(since))
    assert device["earns_from"] == rfc3339(begins + timedelta(hours=2))
    shown = await api.get(f"{DEVICES}/{device_id}/energy", host, limit=100)
    expected_wh = sum(
        slot["surplus_wh"] for slot in shown["items"] if slot["slot_start"] >= device["earns_from"]
    )
    _, left_kwh = await offered(api, host, listing_id)
    assert left_kwh == Decimal(expected_wh) / 1000
    assert await unsound(pool, database) == []
    # The re-accounting of a late reading finds the same, and so does undoing the decision.
    await measure(pool, device_id, counting(begins + timedelta(minutes=1), [1040.0]))
    assert (await offered(api, host, listing_id))[1] == left_kwh
    await decide(api, admin, device_id, earns_from=device["created_at"])
    assert (await offered(api, host, listing_id))[1] < Decimal("1.6")
    assert await unsound(pool, database) == []


async def test_a_meter_registered_again_sells_no_energy_twice(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    name = {"dialect": "opendtu", "external_id": "114182940773"}
    device_id = await register(api, host, **name)
    now = datetime.now(UTC)
    begins = slot_of(now) - timedelta(hours=10)
    forty_kwh = counting(begins, range(1000, 42_000, 1000), timedelta(minutes=14))
    await earns_since(api, pool, device_id, begins)
    listing_id = await follow(api, host, device_id, begins)
    await measure(pool, device_id, forty_kwh)
    assert await offered(api, host, listing_id) == ("active", 40)
    for owner in (host, await add_user(pool, "host")):
        data_of(await api.call("DELETE", f"{DEVICES}/{device_id}", admin))
        device_id = await register(api, owner, **name)
        listing_id = await follow(api, owner, device_id, begins)
        await measure(pool, device_id, forty_kwh)
        assert await offered(api, owner, listing_id) == ("active", 0)
    # An administrator can't allow a second sale of accounted energy either.
    body = {"earns_from": rfc3339(begins), "reason": "They asked for it"}
    refused = await api.call("PATCH", f"{ADMIN}/devices/{device_id}", admin, json=body)
    assert fields_of(refused) == ["earns_from"]
    message = refused.json()["error"]["details"][0]["message"]
    last_at = forty_kwh[-1].time
    assert last_at is not None
    assert rfc3339(slot_of(last_at) + timedelta(minutes=15)) in message
    assert await offered(api, owner, listing_id) == ("active", 0)


async def test_a_frozen_device_sells_nothing_until_it_is_unfrozen(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    buyer = await add_user(pool, balance=1000)
    device_id = await register(api, host, external_id="roof")
    now = datetime.now(UTC)
    await earns_since(api, pool, device_id, now - timedelta(hours=1))
    follows = await follow(api, host, device_id, now - timedelta(hours=1))
    states = await api.post(
        LISTINGS, host, offer(device_id, now, auto_adjust=False, energy_amount_kwh=3)
    )
    await measure(pool, device_id, counting(now - timedelta(minutes=30), range(1000, 3000, 500)))
    assert (await decide(api, admin, device_id, frozen=True))["frozen"] is True
    for listing_id in (follows, states["id"]):
        assert (await offered(api, host, listing_id))[0] == "paused"
        order = {"listing_id": listing_id, "energy_kwh": "0.5"}
        refused = await api.call("POST", PURCHASE, buyer, json=order)
        assert code_of(refused) == "listing_not_active"
    # Neither its readings, nor its status messages, nor its owner unfreeze it.
    await measure(pool, device_id, counting(now - timedelta(minutes=9), [3100.0, 3200.0]))
    await write(pool, [message(f"solar/{device_id}/status", b"online")], HORIZON)
    for listing_id in (follows, states["id"]):
        wish = {"status": "active"}
        await api.call("PATCH", f"{LISTINGS}/{listing_id}", host, json=wish)
        assert (await offered(api, host, listing_id))[0] == "paused"
    await api.call("DELETE", f"{LISTINGS}/{states['id']}", host)
    again = offer(device_id, now, auto_adjust=False, energy_amount_kwh=3)
    for method, path, body in (
        ("POST", LISTINGS, again),
        ("DELETE", f"{DEVICES}/{device_id}", None),
    ):
        refused = await api.call(method, path, host, json=body)
        assert (refused.status_code, code_of(refused)) == (409, "device_frozen")

    await decide(api, admin, device_id, frozen=False)
    assert (await offered(api, host, follows))[0] == "active"
    bought = await api.post(PURCHASE, buyer, {"listing_id": follows, "energy_kwh": "0.5"})
    assert bought["energy_kwh"] == "0.500"


async def test_a_stated_listing_resumes_when_its_device_is_unfrozen(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    device_id = await register(api, host)
    stated = offer(device_id, datetime.now(UTC), auto_adjust=False, energy_amount_kwh=3)
    by_device, by_seller = [(await api.post(LISTINGS, host, stated))["id"] for _ in range(2)]
    data_of(await api.call("PATCH", f"{LISTINGS}/{by_seller}", host, json={"status": "paused"}))
    await decide(api, admin, device_id, frozen=True)
    await decide(api, admin, device_id, frozen=False)
    assert (await offered(api, host, by_device))[0] == "active"
    assert (await offered(api, host, by_seller))[0] == "paused"
    events = await pool.fetch(
        "SELECT type FROM outbox WHERE data->>'id' = $1 ORDER BY id", by_device
    )
    assert [e["type"] for e in events] == ["listing.created", "listing.paused", "listing.resumed"]


async def test_a_large_device_sells_once_its_capacity_is_approved(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    device_id = await register(api, host, capacity_w=1e9)
    now = datetime.now(UTC)
    for body in (
        offer(device_id, now), offer(device_id, now, auto_adjust=False, energy_amount_kwh=9),
    ):  # fmt: skip
        refused = await api.call("POST", LISTINGS, host, json=body)
        assert (refused.status_code, code_of(refused)) == (409, "capacity_not_approved")
        assert "20,000 W" in refused.json()["message"]
    assert (await decide(api, admin, device_id, capacity_approved=True))["capacity_approved"]
    listing_id = await follow(api, host, device_id, now)
    data_of(await api.call("PATCH", f"{DEVICES}/{device_id}", host, json={"capacity_w": 5e8}))
    assert (await api.get(f"{DEVICES}/{device_id}", host))["capacity_approved"] is False
    assert (await offered(api, host, listing_id))[0] == "paused"
    await decide(api, admin, device_id, capacity_approved=True)
    assert (await offered(api, host, listing_id))[0] == "active"
    await decide(api, admin, device_id, capacity_approved=False)
    assert (await offered(api, host, listing_id))[0] == "paused"


async def test_a_device_whose_capacity_grows_after_listing_sells_nothing(
    api: Api, pool: Pool, host: Person
) -> None:
    device_id = await register(api, host)
    now = datetime.now(UTC)
    listing_id = await follow(api, host, device_id, now - timedelta(days=6))
    data_of(await api.call("PATCH", f"{DEVICES}/{device_id}", host, json={"capacity_w": 1e9}))
    week = counting(now - timedelta(days=6), [0.5, 1e8, 2.08e11], timedelta(days=3))
    await measure(pool, device_id, week)
    assert await offered(api, host, listing_id) == ("paused", 0)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"reason": "why"}, ["body"]),
        ({"frozen": True}, ["reason"]),
        ({"frozen": True, "reason": " "}, ["reason"]),
        ({"frozen": True, "reason": "x" * 501}, ["reason"]),
        ({"frozen": None, "reason": "why"}, ["frozen"]),
        ({"capacity_approved": "yes", "reason": "why"}, ["capacity_approved"]),
        ({"earns_from": None, "reason": "why"}, ["earns_from"]),
        ({"earns_from": "2099-01-01T00:00:00Z", "reason": "why"}, ["earns_from"]),
        ({"flags_confirmed": ["sunspots"], "reason": "why"}, ["flags_confirmed.0"]),
        ({"name": "Barn", "reason": "why"}, ["name"]),
    ],
)
async def test_an_invalid_decision_is_named(
    api: Api, pool: Pool, admin: Person, host: Person, body: dict[str, Any], fields: list[str]
) -> None:
    path = f"{ADMIN}/devices/{await add_device(pool, host)}"
    assert fields_of(await api.call("PATCH", path, admin, json=body)) == fields
    assert (await api.get(f"{ADMIN}/actions", admin))["items"] == []


async def test_only_administrators_decide_and_see_decisions(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    device_id = await add_device(pool, host)
    body = {"frozen": True, "reason": "why"}
    for person in (host, await add_user(pool), await add_user(pool, "investor")):
        for method, path in (
            ("GET", f"devices/{device_id}"), ("PATCH", f"devices/{device_id}"), ("GET", "flags"),
            ("GET", "actions"),
        ):  # fmt: skip
            refused = await api.call(method, f"{ADMIN}/{path}", person, json=body)
            assert (refused.status_code, code_of(refused)) == (403, "forbidden")
    for method in ("GET", "PATCH"):
        unknown = await api.call(method, f"{ADMIN}/devices/{NOBODY}", admin, json=body)
        assert (unknown.status_code, code_of(unknown)) == (404, "not_found")


async def test_a_frozen_meter_stays_frozen_when_registered_again(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    name = {"external_id": "roof", "dialect": "tasmota"}
    device_id = await register(api, host, **name)
    await decide(api, admin, device_id, frozen=True)
    await pool.execute("DELETE FROM users WHERE id = $1", host.id)
    other = await add_user(pool, "host")
    again = await register(api, other, **name)
    assert (await api.get(f"{DEVICES}/{again}", other))["frozen"] is True


async def test_a_listing_that_was_paused_for_its_device_ends_with_its_window(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    device_id = await add_device(pool, host)
    listing_id = await add_listing(pool, host, device_id=device_id)
    await decide(api, admin, device_id, frozen=True)
    await pool.execute(
        "UPDATE energy_listings SET available_from = now() - interval '2 days',"
        " available_to = now() - interval '1 day'"
    )
    await decide(api, admin, device_id, frozen=False)
    assert (await offered(api, host, str(listing_id)))[0] == "expired"
