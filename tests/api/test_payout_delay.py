"""Recent earnings, which `PAYOUT_DELAY` holds back from withdrawals."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from core.settings import DatabaseSettings
from db.pool import Pool
from tests.api.conftest import Api, code_of, serving
from tests.api.test_investments import invest, offer_device
from tests.support.ledger import as_owner
from tests.support.people import Person, add_listing, add_purchase, add_user

WITHDRAWALS, TOPUPS = "/api/v1/wallet/withdrawals", "/api/v1/wallet/topups"
TWO_DAYS = timedelta(days=2)

_BACKDATE = "UPDATE energy_transactions SET created_at = now() - $1::interval"


async def method_of(api: Api, person: Person) -> str:
    body = {"kind": "upi", "label": "UPI", "provider_ref": "tok_1"}
    method_id: str = (await api.post("/api/v1/payment-methods", person, body))["id"]
    return method_id


async def withdraw(api: Api, person: Person, amount: str, method_id: str) -> Any:
    body = {"amount": amount, "payment_method_id": method_id}
    return await api.call("POST", WITHDRAWALS, person, json=body)


async def sell(pool: Pool, seller: Person, kwh: int) -> None:
    """Sell energy at 10 INR per kWh, with a fee of 5 %."""
    buyer = await add_user(pool, balance=1000)
    listing_id = await add_listing(pool, seller, price_per_kwh=10)
    await add_purchase(pool, buyer, listing_id, kwh=kwh)


async def test_recent_earnings_can_not_be_withdrawn_yet(
    database: DatabaseSettings, pool: Pool
) -> None:
    async with serving(database, payout_delay=TWO_DAYS) as api:
        seller = await add_user(pool, "host", balance=100)
        method_id = await method_of(api, seller)
        await sell(pool, seller, 4)
        held = await withdraw(api, seller, "100.01", method_id)
        assert (held.status_code, code_of(held)) == (409, "payout_held")
        assert held.json()["message"].startswith("38.00 INR were earned too recently")
        assert "100.00 INR can be withdrawn now" in held.json()["message"]
        assert code_of(await withdraw(api, seller, "138.01", method_id)) == "insufficient_balance"
        assert (await withdraw(api, seller, "100", method_id)).status_code == 201
        assert code_of(await withdraw(api, seller, "0.01", method_id)) == "payout_held"
        async with pool.acquire() as conn:
            await as_owner(conn, _BACKDATE, TWO_DAYS)
        assert (await withdraw(api, seller, "38", method_id)).status_code == 201


async def test_older_money_is_spent_first(database: DatabaseSettings, pool: Pool) -> None:
    async with serving(database, payout_delay=TWO_DAYS) as api:
        seller = await add_user(pool, "host", balance=50)
        method_id = await method_of(api, seller)
        await sell(pool, seller, 4)
        other = await add_listing(pool, await add_user(pool, "host"), price_per_kwh=10)
        await add_purchase(pool, seller, other, kwh=Decimal("4.5"))
        held = await withdraw(api, seller, "10", method_id)
        assert "38.00 INR were earned too recently" in held.json()["message"]
        assert (await withdraw(api, seller, "5", method_id)).status_code == 201


async def test_concurrent_withdrawals_take_no_held_money(
    database: DatabaseSettings, pool: Pool
) -> None:
    async with serving(database, payout_delay=TWO_DAYS) as api:
        seller = await add_user(pool, "host", balance=100)
        method_id = await method_of(api, seller)
        await sell(pool, seller, 4)
        answers = await asyncio.gather(*(withdraw(api, seller, "30", method_id) for _ in range(8)))
        assert sorted(a.status_code for a in answers) == [201] * 3 + [409] * 5


async def test_the_shares_of_investors_are_held_too(database: DatabaseSettings, pool: Pool) -> None:
    async with serving(database, payout_delay=TWO_DAYS) as api:
        host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=100)
        device = await offer_device(api, host, target=100)
        assert (await invest(api, investor, device["id"], 100)).status_code == 201
        buyer = await add_user(pool, balance=1000)
        listing_id = await add_listing(
            pool, host, price_per_kwh=10, device_id=UUID(device["id"]), kwh=10
        )
        await add_purchase(pool, buyer, listing_id, kwh=4)
        for person, available in ((investor, "0.00"), (host, "100.00")):
            method_id = await method_of(api, person)
            held = await withdraw(api, person, "19" if person is investor else "101", method_id)
            assert held.json()["message"].startswith("19.00 INR were earned too recently")
            assert f"{available} INR can be withdrawn now" in held.json()["message"]


async def test_what_was_earned_lately_can_not_be_invested_either(
    database: DatabaseSettings, pool: Pool
) -> None:
    """An investor with all of a host's sales, and another host who withdraws what they invest."""
    async with serving(database, payout_delay=TWO_DAYS) as api:
        host, accomplice = await add_user(pool, "host"), await add_user(pool, "host")
        investor = await add_user(pool, "investor", balance=101)
        device = await offer_device(api, host, target=100)
        assert (await invest(api, investor, device["id"], 100)).status_code == 201
        buyer = await add_user(pool, balance=1000)
        listing_id = await add_listing(
            pool, host, price_per_kwh=10, device_id=UUID(device["id"]), kwh=10
        )
        await add_purchase(pool, buyer, listing_id, kwh=4)
        other = await offer_device(api, accomplice, target=1000)
        held = await invest(api, investor, other["id"], "1.01")
        assert (held.status_code, code_of(held)) == (409, "payout_held")
        assert held.json()["message"].startswith("19.00 INR were earned too recently")
        assert code_of(await invest(api, investor, other["id"], "20.01")) == "insufficient_balance"
        assert (await invest(api, investor, other["id"], 1)).status_code == 201
        async with pool.acquire() as conn:
            await as_owner(conn, _BACKDATE, TWO_DAYS)
        assert (await invest(api, investor, other["id"], 19)).status_code == 201


@pytest.mark.parametrize("delay", [{}, {"payout_delay": timedelta(0)}])
async def test_by_default_nothing_is_held(
    database: DatabaseSettings, pool: Pool, delay: dict[str, timedelta]
) -> None:
    async with serving(database, **delay) as api:
        seller = await add_user(pool, "host")
        method_id = await method_of(api, seller)
        await sell(pool, seller, 4)
        assert (await withdraw(api, seller, "38", method_id)).status_code == 201
