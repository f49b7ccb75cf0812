"""Batches of orders: each order is carried out as if it were alone, in one transaction."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID, uuid4

import pytest

from api.investments.service import InvestmentRequest, invest
from core.enums import UserRole
from core.errors import DomainError
from core.settings import DatabaseSettings
from core.tokens import Identity
from db.audit import audit
from db.pool import Connection, Pool
from db.purchases import Idempotency, Purchase, PurchaseOrder, purchase
from tests.support.people import Person, add_device, add_listing, add_user

FEE_RATE = Decimal("0.05")
_ROWS_READ = """
SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS rows
  FROM pg_stat_xact_user_tables
"""
# The amounts that a batch of the property below may order, and the number of batches.
_BATCH, _BATCHES = 16, 25


async def buy(conn: Connection, orders: Sequence[PurchaseOrder]) -> list[Purchase | DomainError]:
    return await purchase(conn, orders, fee_rate=FEE_RATE)


def said(outcome: Purchase | DomainError) -> str:
    if isinstance(outcome, DomainError):
        return f"{outcome.code}: {outcome.message}"
    return "replayed" if outcome.replayed else "bought"


async def broken_checks(conn: Connection, database: DatabaseSettings) -> set[str]:
    """Return the names of the checks that fail in an audit."""
    return {check.name async for check in audit(conn, database) if not check.ok}


async def balances(conn: Connection) -> dict[UUID, Decimal]:
    return {r["user_id"]: r["balance"] for r in await conn.fetch("SELECT * FROM wallets")}


async def left(conn: Connection) -> dict[UUID, tuple[Decimal, str]]:
    rows = await conn.fetch("SELECT id, energy_amount_kwh, status FROM energy_listings")
    return {r["id"]: (r["energy_amount_kwh"], r["status"]) for r in rows}


async def test_a_refused_order_does_not_reduce_the_energy_of_others(
    pool: Pool, conn: Connection, database: DatabaseSettings
) -> None:
    seller = await add_user(pool, "host")
    buyer, poor = await add_user(pool, balance=100), await add_user(pool, balance=5)
    gone, outsider = await add_user(pool, balance=100), Person(uuid4(), "nobody", "buyer")
    await pool.execute("UPDATE users SET is_active = false WHERE id = $1", gone.id)
    good, cancelled, cheap = [await add_listing(pool, seller, kwh=5) for _ in range(3)]
    later = await add_listing(pool, seller, available_from=datetime.now(UTC) + timedelta(hours=1))
    await pool.execute(
        "UPDATE energy_listings SET status = 'cancelled', closed_at = now() WHERE id = $1",
        cancelled,
    )
    await pool.execute("UPDATE energy_listings SET price_per_kwh = 0.001 WHERE id = $1", cheap)
    used, reused = Idempotency("used", b"one request"), Idempotency("used", b"another")
    [before] = await buy(conn, [PurchaseOrder(buyer.id, good, Decimal(1), idempotency=used)])

    one, key = Decimal(1), Idempotency("refused", b"")
    expected = {
        PurchaseOrder(gone.id, good, one): "account_inactive",
        PurchaseOrder(outsider.id, good, one): "account_inactive",
        PurchaseOrder(buyer.id, good, one, idempotency=reused): "idempotency_key_reused",
        PurchaseOrder(buyer.id, good, one, payment_method_id=uuid4()): "not_found",
        PurchaseOrder(buyer.id, uuid4(), one): "not_found",
        PurchaseOrder(seller.id, good, one): "own_listing",
        PurchaseOrder(buyer.id, cancelled, one): "listing_not_active",
        PurchaseOrder(buyer.id, later, one): "outside_window",
        PurchaseOrder(buyer.id, good, Decimal(6), idempotency=key): "insufficient_energy",
        PurchaseOrder(buyer.id, good, one, max_price_per_kwh=Decimal("5.99")): "price_changed",
        PurchaseOrder(buyer.id, cheap, one): "purchase_too_small",
        PurchaseOrder(poor.id, good, one): "insufficient_balance",
    }  # fmt: skip
    orders = [PurchaseOrder(buyer.id, good, one)]
    for refused in expected:
        orders += [refused, PurchaseOrder(buyer.id, good, Decimal("0.1"))]
    orders.append(PurchaseOrder(buyer.id, good, one, idempotency=used))
    outcomes = await buy(conn, orders)
    replayed = outcomes.pop()

    assert [o.code for o in outcomes if isinstance(o, DomainError)] == list(expected.values())
    assert {said(o) for o in outcomes[0::2]} == {"bought"}
    assert isinstance(replayed, Purchase)
    assert isinstance(before, Purchase)
    assert replayed.replayed
    assert json.loads(replayed.shown)["id"] == json.loads(before.shown)["id"]
    assert (await left(conn))[good] == (Decimal("1.800"), "active")
    assert await conn.fetch("SELECT key FROM idempotency_keys") == [("used",)]
    assert await broken_checks(conn, database) == set()


async def test_a_buyer_who_can_pay_one_of_two_orders_gets_the_first(
    conn: Connection, pool: Pool
) -> None:
    buyer = await add_user(pool, balance=10)
    listings = [await add_listing(pool, await add_user(pool, "host")) for _ in range(2)]
    outcomes = await buy(
        conn, [PurchaseOrder(buyer.id, listing, Decimal(1)) for listing in listings]
    )
    assert [said(o).partition(":")[0] for o in outcomes] == ["bought", "insufficient_balance"]
    assert (await balances(conn))[buyer.id] == 4


async def test_a_listing_that_sells_out_refuses_later_orders(conn: Connection, pool: Pool) -> None:
    listing = await add_listing(pool, await add_user(pool, "host"), kwh=2)
    buyers = [await add_user(pool, balance=100) for _ in range(4)]
    amounts = (Decimal("1.5"), Decimal(1), Decimal("0.5"), Decimal("0.5"))
    outcomes = await buy(
        conn, [PurchaseOrder(b.id, listing, kwh) for b, kwh in zip(buyers, amounts, strict=True)]
    )
    codes = [said(o).partition(":")[0] for o in outcomes]
    assert codes == ["bought", "insufficient_energy", "bought", "listing_not_active"]
    [_, short, _, late] = outcomes
    assert isinstance(short, DomainError)
    assert isinstance(late, DomainError)
    assert (short.facts["left_kwh"], late.facts["status"]) == ("0.500", "sold")
    assert (await left(conn))[listing] == (0, "sold")


async def test_a_batch_has_one_event_per_listing_per_wallet_and_per_purchase(
    conn: Connection, pool: Pool
) -> None:
    seller, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    listing = await add_listing(pool, seller)
    outcomes = await buy(conn, [PurchaseOrder(buyer.id, listing, Decimal(1)) for _ in range(3)])
    events = await conn.fetch("SELECT type, data FROM outbox ORDER BY id")
    assert [event["type"] for event in events] == [
        "listing.updated", *["purchase.completed"] * 3, *["wallet.updated"] * 2,
    ]  # fmt: skip
    shown = [json.loads(o.shown) for o in outcomes if isinstance(o, Purchase)]
    assert [one.pop("listing") for one in shown] == [events[0]["data"]] * 3
    assert events[0]["data"]["energy_amount_kwh"] == "7.000"
    assert shown == [event["data"] for event in events[1:4]]
    told = {event["data"]["user_id"]: event["data"]["balance"] for event in events[4:]}
    assert told == {str(buyer.id): "82.00", str(seller.id): "17.10"}


@pytest.fixture
async def market(pool: Pool) -> tuple[list[Person], list[UUID]]:
    """Buyers with small balances and small listings; every second listing has investors."""
    hosts = [await add_user(pool, "host") for _ in range(2)]
    investors = [await add_user(pool, "investor", balance=1000) for _ in range(3)]
    listings = []
    for n in range(6):
        host = hosts[n % 2]
        device_id = await add_device(pool, host) if n < 3 else None
        if device_id:
            await pool.execute(
                "UPDATE devices SET funding_target = 300, revenue_share = 0.37 WHERE id = $1",
                device_id,
            )
            for amount, investor in enumerate(investors, 1):
                who = Identity(
                    investor.id, investor.email, UserRole.INVESTOR, datetime.max.replace(tzinfo=UTC)
                )
                await invest(pool, who, InvestmentRequest(device_id, Decimal(amount * 31), None))
        listings.append(
            await add_listing(pool, host, kwh=3, device_id=device_id, price_per_kwh=5 + n)
        )
    return [await add_user(pool, balance=30) for _ in range(5)], listings


async def test_a_batch_has_the_same_result_as_its_orders_one_by_one(
    pool: Pool,
    conn: Connection,
    database: DatabaseSettings,
    market: tuple[list[Person], list[UUID]],
) -> None:
    buyers, listings = market
    for seed in range(_BATCHES):
        chance = Random(seed)
        orders = [
            PurchaseOrder(
                chance.choice(buyers).id,
                chance.choice(listings),
                Decimal(chance.randint(1, 2500)) / 1000,
                chance.choice((None, Decimal(7))),
                idempotency=chance.choice((None, Idempotency(str(uuid4()), b""))),
            )
            for _ in range(_BATCH)
        ]
        found = []
        for parts in ([orders], [[order] for order in orders]):
            rehearsal = conn.transaction()
            await rehearsal.start()
            outcomes = [said(o) for part in parts for o in await buy(conn, part)]
            found.append((outcomes, await balances(conn), await left(conn)))
            await conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
            await rehearsal.rollback()
        assert found[0] == found[1], f"seed {seed}"
        # Committed this time: the next batch continues until all is sold or spent.
        await buy(conn, orders)
    assert await broken_checks(conn, database) == set()


async def test_a_plan_made_on_empty_tables_scans_no_table(pool: Pool, conn: Connection) -> None:
    seller, buyer = await add_user(pool, "host"), await add_user(pool, balance=10_000)
    listings = [await add_listing(pool, seller, kwh=1000) for _ in range(10)]

    async def buy_of_each() -> None:
        keys = [Idempotency(uuid4().hex, b"") for _ in listings]
        each = zip(listings, keys, strict=True)
        await buy(
            conn, [PurchaseOrder(buyer.id, one, Decimal(1), idempotency=key) for one, key in each]
        )

    async def rows_read() -> Counter[str]:
        return Counter({row["relname"]: row["rows"] for row in await conn.fetch(_ROWS_READ)})

    for _ in range(60):
        await buy_of_each()
    async with conn.transaction():
        before = await rows_read()
        await buy_of_each()
        await conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        read = await rows_read() - before
    # The tables have at least 600 rows. The entries of each purchase are summed three times.
    assert max(read.values()) <= 9 * len(listings), read
