"""The summary of the whole market."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from core.units import rfc3339
from db.pool import Pool
from tests.api.conftest import Api, data_of, fields_of
from tests.support.people import add_listing, add_user

SUMMARY = "/api/v1/marketplace/summary"
PURCHASE = "/api/v1/marketplace/purchase"
NOW = datetime.now(UTC)


async def test_without_trade_there_is_no_average_price(api: Api, pool: Pool) -> None:
    summary = await api.get(SUMMARY, await add_user(pool))
    begin, end = (datetime.fromisoformat(summary.pop(field)) for field in ("from", "to"))
    assert end - begin == timedelta(days=30)
    assert abs(end - datetime.now(UTC)) < timedelta(minutes=5)
    assert summary == {
        "transactions": 0,
        "energy_traded_kwh": "0.000",
        "money_traded": "0.00",
        "platform_fees": "0.00",
        "average_price_per_kwh": None,
        "listings": {"active": 0, "paused": 0, "sold": 0, "expired": 0, "cancelled": 0},
        "energy_on_offer_kwh": "0.000",
    }


async def test_purchases_are_summed_and_listings_counted(api: Api, pool: Pool) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    admin = await add_user(pool, "admin")
    cheap = await add_listing(pool, host, kwh=3, price_per_kwh=5)
    dear = await add_listing(pool, host, kwh=10, price_per_kwh=Decimal("7.1"))
    gone = await add_listing(pool, host)
    await api.call("DELETE", f"/api/v1/marketplace/listings/{gone}", host)
    for listing, kwh in ((cheap, "3"), (dear, "1.5")):
        bought = {"listing_id": str(listing), "energy_kwh": kwh}
        data_of(await api.call("POST", PURCHASE, buyer, json=bought))
    summary = await api.get(SUMMARY, admin)
    assert summary["transactions"] == 2
    assert summary["energy_traded_kwh"] == "4.500"
    assert summary["money_traded"] == "25.65"
    assert summary["platform_fees"] == "1.28"
    assert summary["average_price_per_kwh"] == "5.7000"
    assert summary["listings"] == {
        "active": 1, "paused": 0, "sold": 1, "expired": 0, "cancelled": 1,
    }  # fmt: skip
    assert summary["energy_on_offer_kwh"] == "8.500"


async def test_only_purchases_in_the_span_count(api: Api, pool: Pool) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    listing = str(await add_listing(pool, host))
    await api.call("POST", PURCHASE, buyer, json={"listing_id": listing, "energy_kwh": 1})
    bought_at = await pool.fetchval("SELECT created_at FROM energy_transactions")

    async def count(**span: datetime) -> int:
        params = {{"begin": "from", "end": "to"}[k]: rfc3339(at) for k, at in span.items()}
        return int((await api.get(SUMMARY, buyer, **params))["transactions"])

    moment, day = timedelta(microseconds=1), timedelta(days=1)
    assert await count(begin=bought_at) == 1
    assert await count(begin=bought_at - day, end=bought_at) == 0
    assert await count(end=bought_at + moment) == 1
    assert await count(begin=bought_at + moment, end=bought_at + day) == 0
    assert await count(end=bought_at + 31 * day) == 0


@pytest.mark.parametrize(
    ("field", "span"),
    [
        ("to", {"from": rfc3339(NOW), "to": rfc3339(NOW)}),
        ("from", {"from": rfc3339(NOW + timedelta(days=1))}),
        ("from", {"from": "yesterday"}),
        ("to", {"to": "2026-03-01T06:30:00"}),
    ],
)
async def test_an_invalid_span_is_refused(
    api: Api, pool: Pool, field: str, span: dict[str, Any]
) -> None:
    response = await api.call("GET", SUMMARY, await add_user(pool), params=span)
    assert fields_of(response) == [field]
