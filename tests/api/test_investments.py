"""Investors fund devices, and every sale of a device's energy pays them their share."""

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from core.settings import DatabaseSettings
from db.audit import audit
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, fields_of, serving
from tests.support.people import Person, add_listing, add_user

INVESTMENTS, DEVICES = "/api/v1/investments", "/api/v1/devices"
PURCHASE, WALLET = "/api/v1/marketplace/purchase", "/api/v1/wallet"


async def offer_device(
    api: Api, host: Person, target: object = 1000, share: object = "0.5"
) -> dict[str, Any]:
    """Register a device that investors can fund."""
    body = {
        "name": "Roof", "kind": "inverter", "capacity_w": 5000,
        "funding_target": target, "revenue_share": share,
    }  # fmt: skip
    device: dict[str, Any] = await api.post(DEVICES, host, body)
    return device


async def invest(
    api: Api, investor: Person, device_id: object, amount: object, key: str | None = None
) -> httpx.Response:
    body = {"device_id": str(device_id), "amount": amount}
    return await api.call("POST", INVESTMENTS, investor, json=body, key=key)


async def buy(
    api: Api, buyer: Person, listing_id: UUID, kwh: object = 1, key: str | None = None
) -> httpx.Response:
    order = {"listing_id": str(listing_id), "energy_kwh": kwh}
    return await api.call("POST", PURCHASE, buyer, json=order, key=key)


async def balance(api: Api, person: Person) -> str:
    return str((await api.get(WALLET, person))["balance"])


async def broken_checks(pool: Pool, database: DatabaseSettings) -> set[str]:
    """Return the names of the checks of an audit that fail."""
    async with pool.acquire() as conn:
        return {check.name async for check in audit(conn, database) if not check.ok}


async def test_an_investment_goes_to_the_host_and_is_announced_to_both(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=500)
    device = await offer_device(api, host)
    assert (device["funding_target"], device["revenue_share"]) == ("1000.00", "0.5000")
    response = await invest(api, investor, device["id"], "250.50")
    assert response.status_code == 201
    made = data_of(response)
    assert made["device"] == {"id": device["id"], "name": "Roof"}
    assert (made["amount"], made["share"], made["earned"]) == ("250.50", "0.125250", "0.00")
    assert (await balance(api, investor), await balance(api, host)) == ("249.50", "250.50")
    assert (await api.get(f"{DEVICES}/{device['id']}", host))["funded"] == "250.50"

    events = await pool.fetch("SELECT channels, data FROM outbox WHERE type = 'wallet.updated'")
    assert {event["channels"][0] for event in events} == {f"user:{host.id}", f"user:{investor.id}"}
    for person, amount in ((investor, "-250.50"), (host, "250.50")):
        entry = (await api.get(f"{WALLET}/entries", person, limit=1))["items"][0]
        assert (entry["kind"], entry["amount"]) == ("investment", amount)
        assert (entry["reference_id"], entry["device_id"]) == (made["id"], device["id"])
    assert await broken_checks(pool, database) == set()


async def test_only_investors_invest(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host", balance=100)
    device = await offer_device(api, host)
    for person in (host, await add_user(pool), await add_user(pool, "admin")):
        assert code_of(await invest(api, person, device["id"], 1)) == "forbidden"
        assert code_of(await api.call("GET", INVESTMENTS, person)) == "forbidden"


async def test_an_impossible_investment_is_refused_and_costs_nothing(api: Api, pool: Pool) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=100)
    closed = await api.post(DEVICES, host, {"name": "Roof", "kind": "meter", "capacity_w": 1})
    small = await offer_device(api, host, target=50)
    large = await offer_device(api, host)
    gone = await offer_device(api, host)
    await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", gone["id"])
    for device_id, amount, status, code in (
        (uuid4(), 1, 404, "not_found"),
        (gone["id"], 1, 404, "not_found"),
        (closed["id"], 1, 409, "not_open_for_funding"),
        (small["id"], "50.01", 409, "funding_exceeded"),
        (large["id"], "100.01", 409, "insufficient_balance"),
    ):
        refused = await invest(api, investor, device_id, amount, key="k")
        assert (refused.status_code, code_of(refused)) == (status, code)
    assert "50.00 INR are left" in (await invest(api, investor, small["id"], 51)).text
    for amount in (0, -1, "0.001", "NaN", "1e400", 10**15):
        assert fields_of(await invest(api, investor, large["id"], amount)) == ["amount"]
    assert await balance(api, investor) == "100.00"
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 0


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"funding_target": 1000}, "revenue_share"),
        ({"revenue_share": 0.5}, "funding_target"),
        ({"funding_target": 1000, "revenue_share": "1.0001"}, "revenue_share"),
        ({"funding_target": 1000, "revenue_share": 0}, "revenue_share"),
        ({"funding_target": 0, "revenue_share": 1}, "funding_target"),
    ],
)
async def test_invalid_terms_are_refused(
    api: Api, pool: Pool, terms: dict[str, Any], field: str
) -> None:
    host = await add_user(pool, "host")
    body = {"name": "Roof", "kind": "inverter", "capacity_w": 5000, **terms}
    assert field in fields_of(await api.call("POST", DEVICES, host, json=body))


async def test_each_sale_pays_the_investors_in_the_same_transfer(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    one, two = [await add_user(pool, "investor", balance=1000) for _ in range(2)]
    device = await offer_device(api, host, target=900, share="0.5")
    listing_id = await add_listing(
        pool, host, kwh=100, price_per_kwh=6, device_id=UUID(device["id"])
    )
    before = data_of(await buy(api, buyer, listing_id))
    assert (before["seller_amount"], before["investor_amount"]) == ("5.70", "0.00")

    first, second = [data_of(await invest(api, one, device["id"], 300)) for _ in range(2)]
    third = data_of(await invest(api, two, device["id"], 300))
    await pool.execute("DELETE FROM outbox")
    sold = data_of(await buy(api, buyer, listing_id))
    assert (sold["seller_amount"], sold["investor_amount"]) == ("5.70", "2.85")
    entries = await pool.fetch(
        "SELECT account, amount FROM ledger_entries JOIN energy_transactions t USING (transfer_id)"
        " WHERE t.id = $1",
        sold["id"],
    )
    assert {row["account"]: str(row["amount"]) for row in entries} == {
        f"wallet:{buyer.id}": "-6.00",
        f"wallet:{host.id}": "2.85",
        f"wallet:{one.id}": "1.90",
        f"wallet:{two.id}": "0.95",
        "platform:fees": "0.30",
    }
    mine = (await api.get(INVESTMENTS, one))["items"]
    assert [(i["id"], i["earned"]) for i in mine] == [(second["id"], "0.95"), (first["id"], "0.95")]
    assert (await api.get(f"{INVESTMENTS}/{third['id']}", two))["earned"] == "0.95"
    assert code_of(await api.call("GET", f"{INVESTMENTS}/{third['id']}", one)) == "not_found"

    newest = (await api.get(f"{WALLET}/entries", one, limit=1))["items"][0]
    assert (newest["kind"], newest["amount"]) == ("revenue_share", "1.90")
    assert (newest["reference_id"], newest["device_id"]) == (sold["id"], device["id"])
    assert (await api.get(f"{WALLET}/entries", host, limit=1))["items"][0]["kind"] == "sale"
    events = await pool.fetch("SELECT channels, data FROM outbox WHERE type = 'wallet.updated'")
    balances = {event["data"]["user_id"]: event["data"]["balance"] for event in events}
    assert balances == {str(p.id): await balance(api, p) for p in (buyer, host, one, two)}
    assert await broken_checks(pool, database) == set()


async def test_an_investor_who_buys_pays_the_price_and_earns_the_share(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=106)
    device = await offer_device(api, host, target=100, share=1)
    listing_id = await add_listing(pool, host, price_per_kwh=6, device_id=UUID(device["id"]))
    assert (await invest(api, investor, device["id"], 100)).is_success
    assert (await buy(api, investor, listing_id)).is_success
    entries = (await api.get(f"{WALLET}/entries", investor, limit=2))["items"]
    assert {(e["kind"], e["amount"]) for e in entries} == {
        ("purchase", "-6.00"),
        ("revenue_share", "5.70"),
    }
    assert (await balance(api, investor), await balance(api, host)) == ("5.70", "100.00")
    assert await broken_checks(pool, database) == set()


async def test_twenty_concurrent_investments_never_exceed_the_target(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    host = await add_user(pool, "host")
    device = await offer_device(api, host, target=500)
    investors = [await add_user(pool, "investor", balance=100) for _ in range(20)]
    answers = await asyncio.gather(*(invest(api, one, device["id"], 100) for one in investors))
    assert Counter(answer.status_code for answer in answers) == {201: 5, 409: 15}
    assert {code_of(a) for a in answers if a.status_code == 409} == {"funding_exceeded"}
    assert (await api.get(f"{DEVICES}/{device['id']}", host))["funded"] == "500.00"
    assert await balance(api, host) == "500.00"
    assert await broken_checks(pool, database) == set()


async def test_a_repeated_investment_counts_once(api: Api, pool: Pool) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=100)
    device = await offer_device(api, host)
    answers = await asyncio.gather(
        *(invest(api, investor, device["id"], 10, key="k") for _ in range(20))
    )
    assert len({data_of(answer)["id"] for answer in answers}) == 1
    replayed = Counter(answer.headers.get("Idempotent-Replayed") for answer in answers)
    assert replayed == {"true": 19, None: 1}
    other = await invest(api, investor, device["id"], 11, key="k")
    assert code_of(other) == "idempotency_key_reused"
    assert await balance(api, investor) == "90.00"


async def test_a_repeated_order_pays_the_investors_once(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=500)
    buyer = await add_user(pool, balance=100)
    device = await offer_device(api, host, target=500)
    listing_id = await add_listing(pool, host, device_id=UUID(device["id"]))
    await invest(api, investor, device["id"], 500)
    answers = await asyncio.gather(*(buy(api, buyer, listing_id, key="k") for _ in range(20)))
    assert len({data_of(answer)["id"] for answer in answers}) == 1
    assert await balance(api, investor) == "2.85"
    assert await broken_checks(pool, database) == set()


async def test_concurrent_investments_and_purchases_never_deadlock(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    """Hosts buy from each other, while the same investors fund devices and buy."""
    hosts = [await add_user(pool, "host", balance=1000) for _ in range(2)]
    investors = [await add_user(pool, "investor", balance=1000) for _ in range(3)]
    funded = [await offer_device(api, host, target=9000) for host in hosts]
    listings = [
        await add_listing(pool, host, kwh=1000, device_id=UUID(device["id"]))
        for host, device in zip(hosts, funded, strict=True)
    ]
    answers = await asyncio.gather(
        *(invest(api, i, d["id"], 7) for _ in range(5) for i in investors for d in funded),
        *(buy(api, i, listing) for _ in range(5) for i in investors for listing in listings),
        *(buy(api, hosts[0], listings[1]) for _ in range(10)),
        *(buy(api, hosts[1], listings[0]) for _ in range(10)),
    )
    assert {answer.status_code for answer in answers} == {201}
    assert await broken_checks(pool, database) == set()


async def test_an_audit_finds_a_share_that_was_not_paid(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=500)
    buyer = await add_user(pool, balance=100)
    device = await offer_device(api, host, target=500)
    listing_id = await add_listing(pool, host, device_id=UUID(device["id"]))
    await invest(api, investor, device["id"], 250)
    assert (await buy(api, buyer, listing_id)).is_success
    # As if the host had changed the terms outside of the API.
    await pool.execute("UPDATE devices SET revenue_share = 0.6 WHERE revenue_share IS NOT NULL")
    assert await broken_checks(pool, database) == {"shares"}
    await pool.execute("UPDATE devices SET revenue_share = 0.5, funded = 251")
    assert await broken_checks(pool, database) == {"funded"}
    await pool.execute("UPDATE devices SET funded = 250")
    await pool.execute(
        "ALTER TABLE revenue_shares DISABLE TRIGGER USER; DELETE FROM revenue_shares"
    )
    assert await broken_checks(pool, database) == {"moved", "shares"}


async def test_investments_are_listed_newest_first_by_page(api: Api, pool: Pool) -> None:
    host, investor = await add_user(pool, "host"), await add_user(pool, "investor", balance=500)
    device = await offer_device(api, host)
    made = [data_of(await invest(api, investor, device["id"], 1))["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        part = await api.get(INVESTMENTS, investor, limit=2, **cursor)
        seen += [item["id"] for item in part["items"]]
        if part["next_cursor"] is None:
            break
        cursor = {"cursor": part["next_cursor"]}
    assert seen == made[::-1]


async def test_small_sales_neither_lose_nor_create_a_paisa(
    pool: Pool, database: DatabaseSettings
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    investors = [await add_user(pool, "investor", balance=10) for _ in range(3)]
    async with serving(database, purchase_min_kwh=0) as api:
        device = await offer_device(api, host, target="9.99", share="0.3333")
        listing_id = await add_listing(pool, host, device_id=UUID(device["id"]), price_per_kwh=7)
        for investor in investors:
            assert (await invest(api, investor, device["id"], "3.33")).is_success
        for kwh in ("0.002", "0.010", "0.113", "1.007"):
            sold = data_of(await buy(api, buyer, listing_id, kwh))
            assert Decimal(sold["investor_amount"]) <= Decimal(sold["seller_amount"])
    assert await broken_checks(pool, database) == set()
