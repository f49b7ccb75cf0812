"""Purchases: energy is bought, paid and announced once, or nothing happens."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from core.settings import DatabaseSettings
from db.audit import audit
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of
from tests.support.people import Person, add_listing, add_user

PURCHASE = "/api/v1/marketplace/purchase"
TRANSACTIONS = "/api/v1/marketplace/transactions"


async def buy(
    api: Api, buyer: Person, listing_id: UUID, kwh: object = 1, key: str | None = None, **more: Any
) -> httpx.Response:
    order = {"listing_id": str(listing_id), "energy_kwh": kwh, **more}
    return await api.call("POST", PURCHASE, buyer, json=order, key=key)


async def balance(pool: Pool, person: Person) -> str:
    return str(await pool.fetchval("SELECT balance FROM wallets WHERE user_id = $1", person.id))


async def nothing_happened(pool: Pool) -> bool:
    counts = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM energy_transactions), (SELECT count(*) FROM outbox),"
        " (SELECT sum(sold_kwh) FROM energy_listings), (SELECT count(*) FROM idempotency_keys)"
    )
    assert counts is not None
    return not any(counts)


async def audit_passes(pool: Pool, database: DatabaseSettings) -> bool:
    async with pool.acquire() as conn:
        return all([check.ok async for check in audit(conn, database)])


async def test_a_purchase_moves_energy_and_money_and_is_announced(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    buyer, seller = await add_user(pool, balance=100), await add_user(pool, "host")
    listing_id = await add_listing(pool, seller, kwh=10, price_per_kwh=Decimal("6.5"))
    response = await buy(api, buyer, listing_id, "2.500", key="order-1", max_price_per_kwh=6.5)
    assert response.status_code == 201
    assert "Idempotent-Replayed" not in response.headers
    bought = data_of(response)
    listing = bought.pop("listing")
    assert bought["total_price"] == "16.25"
    assert bought["platform_fee"] == "0.81"
    assert bought["seller_amount"] == "15.44"
    assert (listing["energy_amount_kwh"], listing["sold_kwh"]) == ("7.500", "2.500")
    assert (await balance(pool, buyer), await balance(pool, seller)) == ("83.75", "15.44")

    events = await pool.fetch("SELECT type, channels, data FROM outbox ORDER BY id")
    assert [event["type"] for event in events] == [
        "listing.updated", "purchase.completed", "wallet.updated", "wallet.updated",
    ]  # fmt: skip
    assert events[0]["data"] == listing
    assert events[1]["data"] == bought
    assert set(events[1]["channels"]) == {f"user:{buyer.id}", f"user:{seller.id}", "admin"}
    announced = {event["data"]["user_id"]: event["data"] for event in events[2:]}
    for person in (buyer, seller):
        assert announced[str(person.id)] == await api.get("/api/v1/wallet", person)

    for person in (buyer, seller):
        assert (await api.get(TRANSACTIONS, person))["items"] == [bought]
        assert await api.get(f"{TRANSACTIONS}/{bought['id']}", person) == bought
    assert await audit_passes(pool, database)


async def test_a_sold_out_listing_is_announced_as_sold(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool, balance=100)
    listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=2)
    assert data_of(await buy(api, buyer, listing_id, 2))["listing"]["status"] == "sold"
    assert await pool.fetchval("SELECT type FROM outbox ORDER BY id LIMIT 1") == "listing.sold"


@pytest.mark.parametrize(
    ("code", "status", "listing", "order"),
    [
        ("listing_not_active", 409, "status = 'cancelled', closed_at = now()", {}),
        ("listing_not_active", 409, "status = 'paused', paused_by = 'seller'", {}),
        ("outside_window", 409, "available_from = now() + interval '1 hour'", {}),
        ("outside_window", 409, "available_to = now() - interval '1 second'", {}),
        ("insufficient_energy", 409, "stated_kwh = 1.999", {}),
        ("price_changed", 409, "price_per_kwh = 6.0001", {"max_price_per_kwh": 6}),
        ("insufficient_balance", 409, "price_per_kwh = 60", {}),
        ("not_found", 404, "id = gen_random_uuid()", {}),
        ("not_found", 404, "version = 1", {"payment_method_id": str(uuid4())}),
        ("purchase_too_small", 409, "price_per_kwh = 0.001", {}),
    ],
)
async def test_a_refused_purchase_changes_nothing(
    api: Api, pool: Pool, code: str, status: int, listing: str, order: dict[str, Any]
) -> None:
    buyer = await add_user(pool, balance=100)
    start = datetime.now(UTC) - timedelta(days=1)
    listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=2, available_from=start)
    await pool.execute(f"UPDATE energy_listings SET {listing}")
    response = await buy(api, buyer, listing_id, 2, key="k", **order)
    assert (response.status_code, code_of(response)) == (status, code)
    assert await nothing_happened(pool)
    assert await balance(pool, buyer) == "100.00"


async def test_a_purchase_of_an_own_listing_is_refused(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host", balance=100)
    response = await buy(api, host, await add_listing(pool, host))
    assert (response.status_code, code_of(response)) == (409, "own_listing")
    assert await nothing_happened(pool)


async def test_a_deactivated_user_buys_nothing(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool, balance=100)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    await pool.execute("UPDATE users SET is_active = false WHERE id = $1", buyer.id)
    for key in (None, "k"):
        refused = await buy(api, buyer, listing_id, key=key)
        assert (refused.status_code, code_of(refused)) == (401, "account_inactive")
    nobody = Person(uuid4(), "nobody@example.org", "buyer")
    assert code_of(await buy(api, nobody, listing_id, key="k")) == "account_inactive"
    assert await nothing_happened(pool)
    assert await balance(pool, buyer) == "100.00"


async def test_everyone_but_admins_buys(api: Api, pool: Pool) -> None:
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    for role in ("buyer", "host", "investor"):
        assert (await buy(api, await add_user(pool, role, balance=10), listing_id)).is_success
    admin = await add_user(pool, "admin", balance=10)
    assert code_of(await buy(api, admin, listing_id)) == "forbidden"


async def test_a_payment_method_of_another_user_is_not_found(api: Api, pool: Pool) -> None:
    buyer, other = await add_user(pool, balance=10), await add_user(pool)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    body = {"kind": "upi", "label": "UPI", "provider_ref": "tok_1"}
    [own, foreign] = [
        (await api.post("/api/v1/payment-methods", person, body))["id"] for person in (buyer, other)
    ]
    refused = await buy(api, buyer, listing_id, payment_method_id=foreign)
    assert (refused.status_code, code_of(refused)) == (404, "not_found")
    bought = data_of(await buy(api, buyer, listing_id, payment_method_id=own))
    assert bought["payment_method_id"] == own


async def test_a_hundred_buyers_of_ten_portions_buy_exactly_ten(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    seller = await add_user(pool, "host")
    listing_id = await add_listing(pool, seller, kwh=10, price_per_kwh=6)
    buyers = [await add_user(pool, balance=20) for _ in range(100)]
    answers = await asyncio.gather(*(buy(api, buyer, listing_id) for buyer in buyers))
    assert Counter(answer.is_success for answer in answers) == {True: 10, False: 90}
    refusals = {code_of(answer) for answer in answers if not answer.is_success}
    assert refusals <= {"insufficient_energy", "listing_not_active"}
    left = await pool.fetchrow("SELECT energy_amount_kwh, sold_kwh, status FROM energy_listings")
    assert left is not None
    assert tuple(left) == (0, 10, "sold")
    assert await balance(pool, seller) == "57.00"
    assert await audit_passes(pool, database)


async def test_concurrent_purchases_across_neighbours_never_deadlock(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    one, two = [await add_user(pool, "host", balance=1000) for _ in range(2)]
    of_one, of_two = [await add_listing(pool, host, kwh=100) for host in (one, two)]
    answers = await asyncio.gather(
        *(buy(api, one, of_two) for _ in range(40)), *(buy(api, two, of_one) for _ in range(40))
    )
    assert all(answer.is_success for answer in answers)
    assert await audit_passes(pool, database)


async def test_a_repeated_order_is_charged_once(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool, balance=100)
    listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=10, price_per_kwh=6)
    answers = await asyncio.gather(
        *(buy(api, buyer, listing_id, "1.5", key="k") for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({data_of(answer)["id"] for answer in answers}) == 1
    replayed = [answer.headers.get("Idempotent-Replayed") for answer in answers]
    assert Counter(replayed) == {"true": 19, None: 1}
    assert await balance(pool, buyer) == "91.00"
    # Another notation of the amount is the same order. Another amount is another order.
    assert (await buy(api, buyer, listing_id, 1.5, key="k")).is_success
    assert code_of(await buy(api, buyer, listing_id, 2, key="k")) == "idempotency_key_reused"
    assert (await buy(api, buyer, listing_id, 2, key="another")).is_success


async def test_a_refused_order_can_be_repeated_with_its_key(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    assert code_of(await buy(api, buyer, listing_id, key="k")) == "insufficient_balance"
    await pool.execute("UPDATE wallets SET balance = 100 WHERE user_id = $1", buyer.id)
    assert (await buy(api, buyer, listing_id, key="k")).is_success


async def test_users_have_idempotency_keys_of_their_own(api: Api, pool: Pool) -> None:
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    buyers = [await add_user(pool, balance=10) for _ in range(2)]
    bought = {data_of(await buy(api, buyer, listing_id, key="k"))["id"] for buyer in buyers}
    assert len(bought) == 2


async def test_an_invalid_key_is_refused(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    for key in ("", "a b", "k" * 256):
        response = await buy(api, buyer, uuid4(), key=key)
        assert response.json()["error"]["details"][0]["field"] == "Idempotency-Key", key


async def test_transactions_are_listed_by_side_newest_first_by_page(api: Api, pool: Pool) -> None:
    one, two = [await add_user(pool, "host", balance=1000) for _ in range(2)]
    of_one, of_two = [await add_listing(pool, host, kwh=100) for host in (one, two)]
    bought = [data_of(await buy(api, one, of_two))["id"] for _ in range(3)]
    sold = [data_of(await buy(api, two, of_one))["id"] for _ in range(2)]

    async def ids(**query: Any) -> list[str]:
        seen: list[str] = []
        while True:
            part = await api.get(TRANSACTIONS, one, limit=2, **query)
            seen += [item["id"] for item in part["items"]]
            if part["next_cursor"] is None:
                return seen
            query["cursor"] = part["next_cursor"]

    assert await ids(**{"as": "buyer"}) == bought[::-1]
    assert await ids(**{"as": "seller"}) == sold[::-1]
    assert await ids() == sold[::-1] + bought[::-1]
    stranger = await add_user(pool)
    assert code_of(await api.call("GET", f"{TRANSACTIONS}/{bought[0]}", stranger)) == "not_found"
