"""The purchase batcher: concurrent orders share a transaction, and each has its own outcome."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import pytest

from api.purchases.service import PurchaseBatcher, open_purchase_batcher
from core.errors import IdempotencyKeyReused
from core.settings import DatabaseSettings, MarketSettings
from db import schema
from db.audit import audit
from db.errors import UNAVAILABLE
from db.pool import Pool, open_pool
from db.purchases import Idempotency, Purchase, PurchaseOrder
from solarhub.embedded import postgres
from tests.api.conftest import code_of, serving
from tests.support.people import Person, add_listing, add_user
from tests.support.waiting import eventually

PURCHASE = "/api/v1/marketplace/purchase"

_TRANSACTIONS = "SELECT count(*), count(DISTINCT created_at) FROM energy_transactions"
_SOLD = """
SELECT (SELECT count(*) FROM energy_transactions), (SELECT sum(sold_kwh) FROM energy_listings)
"""
_WAITING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%purchase_energy%'
"""
_BREAK = """
CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'seven' USING ERRCODE = 'XX000'; END $$;
CREATE TRIGGER stumble BEFORE INSERT ON energy_transactions
    FOR EACH ROW WHEN (NEW.energy_kwh = 7) EXECUTE FUNCTION stumble();
"""


@pytest.fixture
async def batcher(pool: Pool) -> AsyncIterator[PurchaseBatcher]:
    async with open_purchase_batcher(pool, MarketSettings()) as batcher:
        yield batcher


@asynccontextmanager
async def locked(pool: Pool, listing_id: UUID) -> AsyncIterator[None]:
    """Lock a listing until the block ends."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT FROM energy_listings WHERE id = $1 FOR UPDATE", listing_id)
        yield


async def test_orders_that_arrive_at_once_share_a_transaction(
    pool: Pool, batcher: PurchaseBatcher
) -> None:
    listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=100)
    buyers = [await add_user(pool, balance=100) for _ in range(10)]
    await asyncio.gather(
        *(batcher.purchase(PurchaseOrder(b.id, listing_id, Decimal(1))) for b in buyers)
    )
    assert tuple(await pool.fetchrow(_TRANSACTIONS) or ()) == (10, 1)


async def test_an_order_that_fails_its_batch_fails_alone(
    pool: Pool, batcher: PurchaseBatcher, database: DatabaseSettings
) -> None:
    await pool.execute(_BREAK)
    listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=100)
    buyers = [await add_user(pool, balance=100) for _ in range(10)]
    answers = await asyncio.gather(
        *(
            batcher.purchase(PurchaseOrder(b.id, listing_id, Decimal(n)))
            for n, b in enumerate(buyers, 1)
        ),
        return_exceptions=True,
    )
    assert isinstance(answers.pop(6), asyncpg.InternalServerError)
    assert {type(answer) for answer in answers} == {Purchase}
    async with pool.acquire() as conn:
        assert {check.name async for check in audit(conn, database) if not check.ok} == set()


async def test_concurrent_orders_with_one_key_buy_once_or_are_refused(
    pool: Pool, batcher: PurchaseBatcher
) -> None:
    listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=100)
    buyer = await add_user(pool, balance=100)
    same, other = Idempotency("k", b"one"), Idempotency("k", b"another")
    answers = await asyncio.gather(
        *(
            batcher.purchase(PurchaseOrder(buyer.id, listing_id, Decimal(1), idempotency=key))
            for key in (same, same, other, same)
        ),
        return_exceptions=True,
    )
    refused = answers.pop(2)
    assert isinstance(refused, IdempotencyKeyReused)
    assert Counter(a.replayed for a in answers if isinstance(a, Purchase)) == {True: 2, False: 1}
    assert await pool.fetchval("SELECT sold_kwh FROM energy_listings") == 1


async def test_a_locked_listing_delays_no_order_of_other_listings(
    pool: Pool, batcher: PurchaseBatcher
) -> None:
    busy, free = [await add_listing(pool, await add_user(pool, "host")) for _ in range(2)]
    buyers = [await add_user(pool, balance=10) for _ in range(10)]
    async with asyncio.TaskGroup() as tasks, locked(pool, busy):

        def buy(buyer: Person, listing_id: UUID) -> asyncio.Task[Purchase]:
            return tasks.create_task(
                batcher.purchase(PurchaseOrder(buyer.id, listing_id, Decimal(1)))
            )

        delayed = [buy(buyers[0], busy)]
        await eventually(lambda: pool.fetchval(_WAITING))
        delayed += [buy(buyer, busy) for buyer in buyers[1:5]]
        await asyncio.gather(*(buy(buyer, free) for buyer in buyers[5:]))
        assert not any(order.done() for order in delayed)
    assert {type(order.result()) for order in delayed} == {Purchase}


async def test_a_cancelled_order_does_not_affect_the_others(
    pool: Pool, batcher: PurchaseBatcher
) -> None:
    listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=100)
    buyers = [await add_user(pool, balance=10) for _ in range(40)]
    async with asyncio.TaskGroup() as tasks, locked(pool, listing_id):
        orders = [
            tasks.create_task(batcher.purchase(PurchaseOrder(b.id, listing_id, Decimal(1))))
            for b in buyers
        ]
        await eventually(lambda: pool.fetchval(_WAITING))
        # The first order is in the database. The last one is still queued, or just arrived there.
        orders[0].cancel()
        orders[-1].cancel()
    assert len({order.result().shown for order in orders[1:-1]}) == 38
    paid = await pool.fetch("SELECT user_id FROM wallets WHERE balance = 4")
    assert {row["user_id"] for row in paid} >= {buyer.id for buyer in buyers[1:-1]}


async def test_two_batchers_with_crossing_orders_never_deadlock(
    pool: Pool, database: DatabaseSettings
) -> None:
    hosts = [await add_user(pool, "host", balance=1000) for _ in range(8)]
    listings = [await add_listing(pool, host, kwh=1000) for host in hosts]
    async with AsyncExitStack() as stack:
        batchers = []
        for _ in range(2):
            own_pool = await stack.enter_async_context(open_pool(database, application_name="test"))
            batchers.append(
                await stack.enter_async_context(open_purchase_batcher(own_pool, MarketSettings()))
            )
        orders = [
            PurchaseOrder(buyer.id, listing_id, Decimal("0.1"))
            for n, buyer in enumerate(hosts)
            for m, listing_id in enumerate(listings)
            if n != m
        ] * 3
        # One takes the orders forwards, the other backwards.
        await asyncio.gather(
            *(batchers[0].purchase(order) for order in orders),
            *(batchers[1].purchase(order) for order in reversed(orders)),
        )
    assert await pool.fetchval("SELECT count(*) FROM energy_transactions") == 2 * len(orders)
    async with pool.acquire() as conn:
        assert {check.name async for check in audit(conn, database) if not check.ok} == set()


async def test_a_database_that_stops_during_a_batch_fails_and_undoes_every_order(
    data: Path,
) -> None:
    directory = data / "postgres"
    with postgres(directory, durable=False) as first:
        database = DatabaseSettings(database_url=first.url)
        await schema.migrate(database)
        async with (
            serving(database) as api,
            open_pool(database, application_name="test") as pool,
            asyncio.TaskGroup() as tasks,
        ):
            listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=100)
            buyers = [await add_user(pool, balance=10) for _ in range(20)]

            async def buy(buyer: Person) -> httpx.Response:
                order = {"listing_id": str(listing_id), "energy_kwh": 1}
                return await api.call("POST", PURCHASE, buyer, json=order, key="k")

            with contextlib.suppress(*UNAVAILABLE):
                async with locked(pool, listing_id):
                    orders = [tasks.create_task(buy(buyer)) for buyer in buyers]
                    await eventually(lambda: pool.fetchval(_WAITING))
                    await asyncio.to_thread(first.child.stop)
            answers = await asyncio.gather(*orders)
            codes = {(answer.status_code, code_of(answer)) for answer in answers}
            assert codes == {(503, "database_unavailable")}

            with postgres(directory, durable=False) as second:
                assert second.url == first.url

                async def bought() -> bool:
                    return all([(await buy(buyer)).is_success for buyer in buyers])

                await eventually(bought)
                assert tuple(await pool.fetchrow(_SOLD) or ()) == (20, 20)
