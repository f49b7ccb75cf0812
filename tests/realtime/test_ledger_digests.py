"""No owner of the tables can rewrite unnoticed what the relay has digested."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from core.ledger_chain import Head, Link, append
from core.settings import DatabaseSettings
from db import ledger_digests, roles
from db.pool import Connection, Pool, open_connection
from realtime import ledger_digests as digesting
from realtime.ledger_digests import Digester
from realtime.metrics import DigestMetrics
from tests.support.ledger import Trade, amiss, as_owner, trade
from tests.support.people import add_listing, add_money, add_purchase, add_user
from tests.support.waiting import eventually

_KILL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE application_name = 'solarhub-digests' AND datname = current_database()
"""


@pytest.fixture
def digester(database: DatabaseSettings) -> Digester:
    return Digester(database, DigestMetrics(CollectorRegistry()))


@pytest.fixture
async def relay_conn(database: DatabaseSettings) -> AsyncIterator[Connection]:
    async with open_connection(database, application_name="test", role=roles.RELAY) as conn:
        yield conn


async def catch_up(digester: Digester, relay_conn: Connection) -> None:
    """Digest whatever is committed; no transaction of others may be open in the whole server."""

    async def is_caught_up() -> bool:
        while await digester.advance(relay_conn):
            pass
        head = await ledger_digests.head(relay_conn)
        return head.position == (await ledger_digests.mark(relay_conn)).position

    await eventually(is_caught_up, within_s=30)


async def digested_once(conn: Connection) -> bool:
    """Return True if every transfer is in exactly one digest."""
    rows = await conn.fetch("SELECT unnest(transfer_ids) FROM ledger_digests")
    ids = [row[0] for row in rows]
    every = {row[0] for row in await conn.fetch("SELECT id FROM ledger_transfers")}
    return len(ids) == len(set(ids)) and set(ids) == every


@pytest.fixture
async def digested(pool: Pool, digester: Digester, relay_conn: Connection) -> Trade:
    """Two trades, in at least as many digests."""
    traded = await trade(pool)
    await catch_up(digester, relay_conn)
    await trade(pool)
    await catch_up(digester, relay_conn)
    return traded


async def test_what_is_as_it_was_passes_with_the_head_that_was_noted(
    digested: Trade, conn: Connection, database: DatabaseSettings
) -> None:
    head = await ledger_digests.head(conn)
    assert head.sequence >= 2
    assert await digested_once(conn)
    assert await amiss(conn, database, noted_hash=head.hash) == {}
    # Who goes is nothing that was digested.
    await conn.execute("DELETE FROM users")
    assert await amiss(conn, database, noted_hash=head.hash) == {}


REWRITTEN = [
    ("transfer", "UPDATE ledger_entries SET amount = 2 * amount"),
    ("transfer", "UPDATE ledger_entries SET account = 'wallet:' || gen_random_uuid()"
                 " WHERE account LIKE 'wallet:%'"),
    ("transfer", "UPDATE ledger_entries SET created_at = created_at - interval '1 day'"),
    ("transfer", "DELETE FROM ledger_entries"),
    ("transfer", "DELETE FROM ledger_transfers"),
    ("transfer", "UPDATE ledger_transfers SET created_at = created_at - interval '1 day'"),
    ("transfer", "UPDATE energy_transactions SET energy_kwh = 1, price_per_kwh = 12"),
    ("transfer", "DELETE FROM energy_transactions"),
    ("transfer", "UPDATE revenue_shares SET investor_id = gen_random_uuid()"),
    ("transfer", "DELETE FROM investments"),
    ("transfer", "UPDATE payment_orders SET provider = 'other'"),
    ("payment", "UPDATE payment_orders SET completed_at = completed_at - interval '1 day'"),
    ("payment", "UPDATE payment_orders SET amount = 1"),
    ("payment", "DELETE FROM payment_orders"),
    ("digest", "UPDATE ledger_digests SET transfer_hashes[1] = sha256('')"),
    ("digest", "UPDATE ledger_digests SET entries_to = entries_to + 1"),
    ("digest", "DELETE FROM ledger_digests WHERE sequence = 1"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "statement"), REWRITTEN)
async def test_what_was_rewritten_or_removed_is_found_and_named(
    digested: Trade, conn: Connection, database: DatabaseSettings, what: str, statement: str
) -> None:
    await as_owner(conn, statement)
    found = (await amiss(conn, database))["digests"]
    assert any(offending.startswith(f"{what} ") for offending in found), found


async def test_a_purchase_that_was_rewritten_in_every_table_is_found(
    digested: Trade, conn: Connection, database: DatabaseSettings
) -> None:
    """Half of the price goes back to the buyer, so that every sum is right again."""
    async with conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        transfer_id = await conn.fetchval(
            "UPDATE energy_transactions SET price_per_kwh = 3, total_price = 6, platform_fee = 0.3,"
            " seller_amount = 5.7, investor_amount = 1.43 WHERE id = $1 RETURNING transfer_id",
            digested.transaction_id,
        )
        await conn.execute("UPDATE revenue_shares SET amount = 1.43 WHERE transaction_id = $1",
                           digested.transaction_id)  # fmt: skip
        moved = {
            digested.buyer.id: "-6", digested.seller.id: "4.27", digested.investor.id: "1.43"
        }  # fmt: skip
        for user_id, amount in moved.items():
            await conn.execute(
                "UPDATE ledger_entries SET amount = $2::text::numeric"
                " WHERE transfer_id = $3 AND account = 'wallet:' || $1::uuid",
                user_id, amount, transfer_id,
            )  # fmt: skip
        await conn.execute(
            "UPDATE ledger_entries SET amount = 0.3"
            " WHERE transfer_id = $1 AND account = 'platform:fees'",
            transfer_id,
        )
        await conn.execute(
            "UPDATE wallets SET balance = (SELECT sum(amount) FROM ledger_entries"
            " WHERE account = 'wallet:' || user_id) WHERE balance <> 0"
        )
    found = await amiss(conn, database)
    assert set(found) == {"digests"}, found
    assert found["digests"] == (f"transfer {transfer_id} of digest 1",)


async def test_a_row_that_is_added_to_the_past_is_found(
    digested: Trade, conn: Connection, database: DatabaseSettings
) -> None:
    transfer_id: UUID = await conn.fetchval("SELECT transfer_ids[1] FROM ledger_digests LIMIT 1")
    other_id = uuid4()
    await conn.execute(
        "INSERT INTO ledger_transfers (id, kind, reference_id) VALUES ($1, 'topup', $1)", other_id
    )
    await as_owner(
        conn,
        "INSERT INTO ledger_entries (id, transfer_id, account, amount) OVERRIDING SYSTEM VALUE"
        " VALUES (-2, $1, 'external:other', -1), (-1, $1, 'external:another', 1),"
        "        (-3, $2, 'external:other', 1)",
        other_id,
        transfer_id,
    )
    found = (await amiss(conn, database))["digests"]
    assert set(found) == {
        f"transfer {other_id} of no digest", f"transfer {transfer_id} of digest 1"
    }  # fmt: skip


async def make_anew(conn: Connection) -> None:
    """The whole chain, for rows as they are now: what an owner of the tables can do."""
    async with conn.transaction():
        digests = [digest async for digest in ledger_digests.every(conn)]
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute("DELETE FROM ledger_digests")
        head = Head()
        for digest in digests:
            kept = digest.link
            transfers = await ledger_digests.transfer_hashes_of(
                conn, [w.id for w in kept.transfers]
            )
            payments = await ledger_digests.payment_hashes_of(conn, [w.id for w in kept.payments])
            link = Link(kept.position, transfers, payments)
            head = append(head, link)
            await ledger_digests.append(conn, head, link)


async def test_a_chain_that_was_made_anew_is_told_by_a_head_that_was_noted(
    digested: Trade, conn: Connection, database: DatabaseSettings
) -> None:
    noted_hash = (await ledger_digests.head(conn)).hash
    await as_owner(
        conn, "UPDATE ledger_entries SET created_at = created_at - interval '1 day' WHERE id = 1"
    )
    await make_anew(conn)
    assert await amiss(conn, database) == {}
    assert await amiss(conn, database, noted_hash=noted_hash) == {"head": (noted_hash.hex(),)}


async def test_what_commits_late_is_waited_for(
    pool: Pool, conn: Connection, digester: Digester, relay_conn: Connection,
    database: DatabaseSettings,
) -> None:  # fmt: skip
    buyer, other = await add_user(pool), await add_user(pool)
    late = conn.transaction()
    await late.start()
    await add_money(conn, buyer.id, Decimal(1))  # with numbers that are lower than those of
    await add_money(pool, other.id, Decimal(2))
    for _ in range(3):
        assert await digester.advance(relay_conn) is False
    assert await ledger_digests.head(relay_conn) == Head()
    await late.commit()
    await catch_up(digester, relay_conn)
    assert await digested_once(conn)
    assert await amiss(conn, database) == {}


async def test_under_concurrent_trade_each_transfer_is_digested_once(
    pool: Pool, conn: Connection, digester: Digester, relay_conn: Connection,
    database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(digesting, "ENTRIES_MAX", 7)
    buyers = [await add_user(pool, balance=100) for _ in range(4)]
    listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=100)

    async def buys(number: int) -> None:
        buyer = buyers[number % len(buyers)]
        if number % 5:
            await add_purchase(pool, buyer, listing_id)
            return
        async with pool.acquire() as own:
            doubtful = own.transaction()
            await doubtful.start()
            await add_money(own, buyer.id, Decimal(number + 1))
            await (doubtful.rollback() if number % 2 else doubtful.commit())

    async with asyncio.TaskGroup() as tasks:
        for number in range(40):
            tasks.create_task(buys(number))
        for _ in range(20):
            await digester.advance(relay_conn)
            await asyncio.sleep(0)
    await catch_up(digester, relay_conn)
    assert await digested_once(conn)
    # A transfer goes with the first of its entries: no digest holds more transfers than entries.
    assert await conn.fetchval("SELECT max(cardinality(transfer_ids)) <= 7 FROM ledger_digests")
    assert await amiss(conn, database) == {}


async def test_of_several_relays_one_digests_and_another_takes_over(
    pool: Pool, conn: Connection, database: DatabaseSettings
) -> None:
    digesters = [Digester(database, DigestMetrics(CollectorRegistry())) for _ in range(3)]
    tasks = [asyncio.create_task(one.run()) for one in digesters]
    try:
        for _ in range(2):
            await trade(pool)
            await eventually(lambda: digested_once(conn), within_s=120)
            await conn.execute(_KILL)
        await trade(pool)
        await eventually(lambda: digested_once(conn), within_s=120)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert await amiss(conn, database) == {}


async def test_the_head_is_in_the_log_and_among_the_metrics(
    pool: Pool, conn: Connection, database: DatabaseSettings
) -> None:
    registry = CollectorRegistry()

    def told() -> list[str]:
        return [
            f"{log['sequence']}:{log['hash']}"
            for log in logs
            if log["event"] == "ledger_digest_head"
        ]

    with capture_logs() as logs:
        await trade(pool)
        running = asyncio.create_task(Digester(database, DigestMetrics(registry)).run())
        # A transaction of another test on this server delays the first digest.
        await eventually(told, within_s=120)
        first = told()
        await trade(pool)
        await eventually(lambda: digested_once(conn), within_s=120)
        # Within a minute it is not told again, but at the end it is.
        assert told() == first
        running.cancel()
        await asyncio.wait([running])
    head = await ledger_digests.head(conn)
    assert told() == [*first, str(head)]
    metrics = generate_latest(registry).decode()
    info = f'{{hash="{head.hash.hex()}",sequence="{head.sequence}"}} 1.0'
    heads = [line for line in metrics.splitlines() if "digest_head_info{" in line]
    assert heads == [f"solarhub_ledger_digest_head_info{info}"]
    assert f"solarhub_ledger_digest_sequence {float(head.sequence)}" in metrics
    assert "solarhub_ledger_undigested_seconds 0.0" in metrics


async def test_a_chain_that_is_changed_under_a_running_relay_is_told_of(
    digested: Trade, pool: Pool, conn: Connection, digester: Digester, relay_conn: Connection
) -> None:
    head = await ledger_digests.head(conn)
    await as_owner(conn, "DELETE FROM ledger_digests WHERE sequence = $1", head.sequence)
    with capture_logs() as logs:
        await trade(pool)
        await catch_up(digester, relay_conn)
    [told] = [log for log in logs if log["event"] == "ledger_digests_were_changed"]
    assert (told["log_level"], told["known"]) == ("error", str(head))
