"""Limits of money and energy: the response names the field, and nothing overflows."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.payments.sandbox import Sandbox
from core.revenue import platform_fee
from core.settings import DatabaseSettings
from core.units import BALANCE_MAX, rfc3339
from db.audit import audit
from db.pool import Connection, Pool
from db.purchases import PurchaseOrder, purchase
from tests.api.conftest import Api, code_of, data_of, fields_of, serving
from tests.api.test_wallet import (
    TOPUPS,
    WALLET,
    WITHDRAWALS,
    add_method,
    ask,
    has_balance,
    pending_order,
    send_event,
)
from tests.support.people import Person, add_device, add_listing, add_money, add_user

LISTINGS, PURCHASE = "/api/v1/marketplace/listings", "/api/v1/marketplace/purchase"
SUMMARY, MARKET = "/api/v1/marketplace/summary", "/api/v1/admin/market"
_FUND = "UPDATE devices SET funding_target = $2, revenue_share = 1 WHERE id = $1"


async def buy(
    api: Api, buyer: Person, listing_id: UUID, kwh: object, **more: Any
) -> httpx.Response:
    order = {"listing_id": str(listing_id), "energy_kwh": kwh, **more}
    return await api.call("POST", PURCHASE, buyer, json=order)


async def broken_checks(pool: Pool, database: DatabaseSettings) -> set[str]:
    """Return the names of the checks of an audit that fail."""
    async with pool.acquire() as conn:
        return {check.name async for check in audit(conn, database) if not check.ok}


@pytest.fixture
def silent_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the sandbox from completing orders."""

    async def never(self: Sandbox) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Sandbox, "run", never)


# Amounts ---------------------------------------------------------------------------------------


async def test_the_largest_amount_is_far_below_the_limit_of_a_wallet(api: Api, pool: Pool) -> None:
    buyer, host = await add_user(pool, balance=1), await add_user(pool, "host")
    method = await add_method(api, buyer)
    for amount in (str(BALANCE_MAX), "10000000000", 10**12, "9999999999.999"):
        for path in (TOPUPS, WITHDRAWALS):
            assert fields_of(await ask(api, path, buyer, amount, method)) == ["amount"], amount
    device = {"name": "Roof", "kind": "inverter", "capacity_w": 5000, "revenue_share": "0.5"}
    refused = await api.call(
        "POST", "/api/v1/devices", host, json=device | {"funding_target": str(BALANCE_MAX)}
    )
    assert "funding_target" in fields_of(refused)
    await ask(api, TOPUPS, buyer, "9999999999.99", method)
    await has_balance(api, buyer, "10000000000.99")


@pytest.mark.usefixtures("silent_provider")
async def test_pending_payments_count_towards_the_limit_of_a_wallet(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool, balance=BALANCE_MAX - 100)
    method = await add_method(api, buyer)
    refused = await ask(api, TOPUPS, buyer, "100.01", method)
    assert (refused.status_code, code_of(refused)) == (400, "wallet_limit")
    assert fields_of(refused) == ["amount"]
    assert str(BALANCE_MAX) in refused.text
    answers = await asyncio.gather(*(ask(api, TOPUPS, buyer, 40, method) for _ in range(5)))
    assert Counter(answer.status_code for answer in answers) == {201: 2, 400: 3}
    # A withdrawal may be returned.
    assert (await ask(api, WITHDRAWALS, buyer, 50, method)).is_success
    assert (await ask(api, TOPUPS, buyer, 20, method)).is_success
    assert (await ask(api, TOPUPS, buyer, "0.01", method)).status_code == 400


@pytest.mark.usefixtures("silent_provider")
async def test_a_completed_payment_that_exceeds_the_wallet_is_refused(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    buyer = await add_user(pool, balance=BALANCE_MAX)
    for kind, event_type in (("topup", "payment.succeeded"), ("withdrawal", "payment.failed")):
        event = await pending_order(pool, buyer, kind) | {"type": event_type}
        if kind == "withdrawal":  # the withdrawal made room, which was filled since
            await add_money(pool, buyer.id, Decimal(100))
        refused = await send_event(api, event)
        assert (refused.status_code, code_of(refused)) == (400, "wallet_limit")
    assert await pool.fetchval("SELECT count(*) FROM payment_events") == 0
    assert (await api.get(WALLET, buyer))["balance"] == str(BALANCE_MAX)
    assert await broken_checks(pool, database) == set()


async def test_an_investment_that_exceeds_the_hosts_wallet_is_refused(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host", balance=BALANCE_MAX - 5)
    investor = await add_user(pool, "investor", balance=100)
    device_id = await add_device(pool, host)
    await pool.execute(_FUND, device_id, Decimal(1000))
    for amount, status in ((6, 400), (5, 201)):
        body = {"device_id": str(device_id), "amount": amount}
        answer = await api.call("POST", "/api/v1/investments", investor, json=body)
        assert answer.status_code == status, answer.text
    assert (await api.get(WALLET, investor))["balance"] == "95.00"


async def test_a_listing_can_not_be_made_to_overflow(api: Api, pool: Pool) -> None:
    host, now = await add_user(pool, "host"), datetime.now(UTC)
    offer = {
        "price_per_kwh": "5", "latitude": 12.97, "longitude": 77.59,
        "available_from": rfc3339(now), "available_to": rfc3339(now + timedelta(days=1)),
    }  # fmt: skip
    refused = await api.call(
        "POST", LISTINGS, host, json=offer | {"energy_amount_kwh": "100000000"}
    )
    assert fields_of(refused) == ["energy_amount_kwh"]
    made = await api.post(LISTINGS, host, offer | {"energy_amount_kwh": "99999999.999"})
    assert made["energy_amount_kwh"] == "99999999.999"


# Sums ------------------------------------------------------------------------------------------


async def test_a_huge_order_is_refused_for_lack_of_balance(api: Api, pool: Pool) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    listing_id = await add_listing(
        pool, host, kwh=Decimal("999999999.999"), price_per_kwh=Decimal("999999.9999")
    )
    device_id = await add_device(pool, host)
    await pool.execute(_FUND, device_id, Decimal(1000))
    investor = await add_user(pool, "investor", balance=10)
    body = {"device_id": str(device_id), "amount": 10}
    assert (await api.call("POST", "/api/v1/investments", investor, json=body)).is_success
    for kwh in ("999999999.999", "1000000", "0.5"):
        refused = await buy(api, buyer, listing_id, kwh)
        assert (refused.status_code, code_of(refused)) == (409, "insufficient_balance"), kwh


async def test_a_seller_with_a_full_wallet_sells_no_more_and_delays_nobody(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    rich, other = (
        await add_user(pool, "host", balance=BALANCE_MAX - 6),
        await add_user(pool, "host"),
    )
    full, free = [await add_listing(pool, h, kwh=100, price_per_kwh=6) for h in (rich, other)]
    buyers = [await add_user(pool, balance=100) for _ in range(20)]
    answers = await asyncio.gather(
        *(buy(api, buyer, listing, 1) for buyer in buyers for listing in (full, free))
    )
    assert Counter(answer.status_code for answer in answers) == {201: 21, 409: 19}
    refused = {code_of(answer) for answer in answers if not answer.is_success}
    assert refused == {"payee_wallet_limit"}
    assert (await api.get(WALLET, rich))["balance"] == str(BALANCE_MAX - 6 + Decimal("5.70"))
    # Spending makes room.
    assert (await buy(api, rich, free, 1)).is_success
    assert (await buy(api, buyers[0], full, 1)).is_success
    assert await broken_checks(pool, database) == set()


async def test_a_purchase_that_exceeds_an_investors_wallet_is_refused(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    investor = await add_user(pool, "investor", balance=BALANCE_MAX)
    device_id = await add_device(pool, host)
    await pool.execute(_FUND, device_id, Decimal(6))
    body = {"device_id": str(device_id), "amount": 6}
    assert (await api.call("POST", "/api/v1/investments", investor, json=body)).is_success
    listing_id = await add_listing(pool, host, device_id=device_id, price_per_kwh=6)
    assert (await buy(api, buyer, listing_id, 1)).is_success  # 5.70 of the 6.00 that fit
    assert code_of(await buy(api, buyer, listing_id, 1)) == "payee_wallet_limit"
    assert await broken_checks(pool, database) == set()


async def test_the_largest_sums_are_shown(api: Api, pool: Pool) -> None:
    host, admin = await add_user(pool, "host"), await add_user(pool, "admin")
    buyers = [await add_user(pool, balance=BALANCE_MAX) for _ in range(3)]
    for n, buyer in enumerate(buyers):
        seller = await add_user(pool, "host") if n else host
        listing_id = await add_listing(
            pool, seller, kwh=Decimal("999999999.999"), price_per_kwh=Decimal(900)
        )
        assert (await buy(api, buyer, listing_id, 10**9 - 1)).is_success
    summary = await api.get(SUMMARY, buyers[0])
    assert summary["money_traded"] == str(Decimal("2699999997300.00"))
    assert summary["energy_traded_kwh"] == "2999999997.000"
    [slot] = (await api.get(MARKET, admin))["slots"][-1:]
    assert Decimal(slot["total_price"]) > BALANCE_MAX


# Sizes and fees --------------------------------------------------------------------------------


async def test_a_purchase_takes_a_tenth_of_a_kwh_or_all_that_is_left(api: Api, pool: Pool) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    listing_id = await add_listing(pool, host, kwh=Decimal("0.25"), price_per_kwh=6)
    for kwh in ("0.001", "0.099"):
        refused = await buy(api, buyer, listing_id, kwh)
        assert (refused.status_code, code_of(refused)) == (409, "purchase_too_small"), kwh
        assert "at least 0.100 kWh, or all 0.250 kWh" in refused.json()["message"]
    assert (await buy(api, buyer, listing_id, "0.1")).is_success
    assert (await buy(api, buyer, listing_id, "0.1")).is_success
    # More than is left lacks energy. A part of the rest is too small, the whole rest is not.
    assert code_of(await buy(api, buyer, listing_id, "0.051")) == "insufficient_energy"
    assert code_of(await buy(api, buyer, listing_id, "0.049")) == "purchase_too_small"
    assert data_of(await buy(api, buyer, listing_id, "0.05"))["listing"]["status"] == "sold"


async def test_the_smallest_purchase_is_a_setting(pool: Pool, database: DatabaseSettings) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    listing_id = await add_listing(pool, host, price_per_kwh=6)
    async with serving(database, purchase_min_kwh=Decimal(2)) as api:
        assert code_of(await buy(api, buyer, listing_id, "1.999")) == "purchase_too_small"
        assert (await buy(api, buyer, listing_id, 2)).is_success


async def test_the_smallest_purchases_pay_a_fee(
    pool: Pool, conn: Connection, database: DatabaseSettings
) -> None:
    """Without a least fee, 200 purchases of 0.013 kWh paid none."""
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    listing_id = await add_listing(pool, host, kwh=100, price_per_kwh=6)
    order = PurchaseOrder(buyer.id, listing_id, Decimal("0.013"))
    await purchase(conn, [order] * 200, fee_rate=Decimal("0.05"))
    fees = await pool.fetch("SELECT DISTINCT total_price, platform_fee FROM energy_transactions")
    assert [tuple(row) for row in fees] == [(Decimal("0.08"), Decimal("0.01"))]
    assert await broken_checks(pool, database) == set()


async def test_the_fee_of_the_smallest_sale_never_exceeds_its_price(
    pool: Pool, conn: Connection, database: DatabaseSettings
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    listing_id = await add_listing(pool, host, price_per_kwh=6)
    [order] = [PurchaseOrder(buyer.id, listing_id, Decimal("0.001"))]
    for rate, fee in (("0.05", "0.01"), ("0", "0.00")):
        await purchase(conn, [order], fee_rate=Decimal(rate))
        [sold] = await pool.fetch(
            "SELECT * FROM energy_transactions ORDER BY created_at DESC LIMIT 1"
        )
        assert (sold["total_price"], sold["platform_fee"]) == (Decimal("0.01"), Decimal(fee))
        assert sold["seller_amount"] == Decimal("0.01") - Decimal(fee)
    assert await broken_checks(pool, database) == set()


async def test_the_database_computes_the_fee_as_core_does(conn: Connection) -> None:
    totals = [Decimal(n).scaleb(-2) for n in (1, 2, 9, 10, 19, 29, 30, 31, 99, 100, 12345678)]
    for rate in map(Decimal, ("0", "0.0001", "0.05", "0.3333", "0.9999")):
        for total in totals:
            fee = await conn.fetchval("SELECT platform_fee($1, $2)", total, rate)
            assert fee == platform_fee(total, rate), (total, rate)
