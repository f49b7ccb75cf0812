"""Promises to investors: the terms, an active host, and a share of every sale."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from core.settings import DatabaseSettings
from core.units import rfc3339
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, fields_of
from tests.api.test_investments import (
    DEVICES,
    INVESTMENTS,
    balance,
    broken_checks,
    buy,
    invest,
    offer_device,
)
from tests.support.ledger import as_owner
from tests.support.people import Person, add_device, add_listing, add_user

LISTINGS, USERS = "/api/v1/marketplace/listings", "/api/v1/admin/users"


async def invest_expecting(
    api: Api, investor: Person, device_id: object, **expected: object
) -> httpx.Response:
    body = {"device_id": str(device_id), "amount": 10, **expected}
    return await api.call("POST", INVESTMENTS, investor, json=body)


def offer(**more: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "energy_amount_kwh": 10, "price_per_kwh": "6", "latitude": 12.97, "longitude": 77.59,
        "available_from": rfc3339(now), "available_to": rfc3339(now + timedelta(days=1)),
    } | more  # fmt: skip


async def test_an_investment_at_changed_terms_is_refused_and_costs_nothing(
    api: Api, pool: Pool
) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=100)
    device = await offer_device(api, host, target=1000, share="0.5")
    seen = {"expected_revenue_share": "0.5000", "expected_funding_target": "1000"}
    for change in ({"revenue_share": "0.4999"}, {"revenue_share": "0.5", "funding_target": 1001}):
        data_of(await api.call("PATCH", f"{DEVICES}/{device['id']}", host, json=change))
        refused = await invest_expecting(api, investor, device["id"], **seen)
        assert (refused.status_code, code_of(refused)) == (409, "terms_changed")
    assert "0.5000 of its sales for 1001.00 INR" in refused.json()["message"]
    assert fields_of(
        await invest_expecting(api, investor, device["id"], expected_revenue_share="1.1")
    ) == ["expected_revenue_share"]
    assert await balance(api, investor) == "100.00"
    one = await invest_expecting(api, investor, device["id"], expected_revenue_share=0.5)
    assert one.status_code == 201


async def test_terms_are_fixed_by_the_first_investment(api: Api, pool: Pool) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=100)
    device = await offer_device(api, host)
    path = f"{DEVICES}/{device['id']}"
    assert (await invest(api, investor, device["id"], 1)).is_success
    for change in (
        {"revenue_share": "0.4"},
        {"funding_target": 2000},
        {"funding_target": None, "revenue_share": None},
    ):
        refused = await api.call("PATCH", path, host, json=change)
        assert code_of(refused) == "funding_terms_fixed", change
    assert code_of(await api.call("DELETE", path, host)) == "device_funded"


async def test_an_investment_with_a_deactivated_host_is_refused(api: Api, pool: Pool) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=100)
    admin, device = await add_user(pool, "admin"), await offer_device(api, host)
    path = f"{USERS}/{host.id}"
    data_of(await api.call("PATCH", path, admin, json={"is_active": False}))
    refused = await invest(api, investor, device["id"], 10)
    assert (refused.status_code, code_of(refused)) == (409, "not_open_for_funding")
    assert await balance(api, investor) == "100.00"
    data_of(await api.call("PATCH", path, admin, json={"is_active": True}))
    assert (await invest(api, investor, device["id"], 10)).is_success


async def test_an_investment_during_the_deactivation_of_the_host_is_refused(
    api: Api, pool: Pool
) -> None:
    host, device_of = await add_user(pool, "host"), offer_device
    investor, device = await add_user(pool, "investor", balance=100), await device_of(api, host)
    async with pool.acquire() as conn:
        async with conn.transaction():
            await conn.execute("UPDATE users SET is_active = false WHERE id = $1", host.id)
            investing = asyncio.create_task(invest(api, investor, device["id"], 10))
            done, _ = await asyncio.wait({investing}, timeout=0.3)
            assert not done
        assert code_of(await investing) == "not_open_for_funding"


@pytest.mark.parametrize("named", [False, True])
async def test_stated_energy_pays_the_investors_too(
    api: Api, pool: Pool, database: DatabaseSettings, named: bool
) -> None:
    """Without a device, and of a device without funding, listed before or after."""
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    investor = await add_user(pool, "investor", balance=1000)
    other = {"device_id": str(await add_device(pool, host))} if named else {}
    before = await api.post(LISTINGS, host, offer(**other))
    device = await offer_device(api, host, target=1000, share="0.5")
    assert (await invest(api, investor, device["id"], 1000)).is_success
    after = await api.post(LISTINGS, host, offer(**other))
    for n, listing in enumerate((before, after), 1):
        sold = data_of(await buy(api, buyer, UUID(listing["id"])))
        assert (sold["seller_amount"], sold["investor_amount"]) == ("5.70", "2.85")
        assert await balance(api, investor) == str(Decimal("2.85") * n)
    newest = (await api.get("/api/v1/wallet/entries", investor, limit=1))["items"][0]
    assert (newest["kind"], newest["amount"]) == ("revenue_share", "2.85")
    async with pool.acquire() as conn:
        earlier = "UPDATE investments SET created_at = created_at - interval '1 hour'"
        await as_owner(conn, earlier)
        assert await broken_checks(pool, database) == set()
        await as_owner(conn, "DELETE FROM revenue_shares")
        await as_owner(conn, "UPDATE energy_transactions SET investor_amount = 0")
    assert "shares" in await broken_checks(pool, database)


async def test_metered_energy_of_an_unfunded_device_pays_the_host_alone(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    investor = await add_user(pool, "investor", balance=1000)
    device = await offer_device(api, host, target=1000, share=1)
    assert (await invest(api, investor, device["id"], 1000)).is_success
    own = await add_listing(pool, host, device_id=await add_device(pool, host))
    neighbour = await add_listing(pool, await add_user(pool, "host"))
    for listing_id in (own, neighbour):
        assert data_of(await buy(api, buyer, listing_id))["investor_amount"] == "0.00"
    assert await broken_checks(pool, database) == set()


async def test_stated_energy_counts_for_the_funded_device_that_owes_most(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    low, high = [await add_user(pool, "investor", balance=1000) for _ in range(2)]
    little = await offer_device(api, host, target=1000, share="0.1")
    much = await offer_device(api, host, target=1000, share="0.8")
    assert (await invest(api, low, little["id"], 1000)).is_success
    assert (await invest(api, high, much["id"], 500)).is_success
    stated = await api.post(LISTINGS, host, offer())
    assert data_of(await buy(api, buyer, UUID(stated["id"])))["investor_amount"] == "2.28"
    # A listing that names a funded device pays the investors of that device.
    named = await api.post(LISTINGS, host, offer(device_id=little["id"]))
    assert data_of(await buy(api, buyer, UUID(named["id"])))["investor_amount"] == "0.57"
    assert (await balance(api, low), await balance(api, high)) == ("0.57", "502.28")
    assert await broken_checks(pool, database) == set()
