"""The audit finds transfers without a cause, and causes without a transfer."""

from uuid import UUID

import asyncpg
import pytest

from core.settings import DatabaseSettings
from db.pool import Connection, Pool
from tests.support.ledger import Trade, amiss, as_owner, open_payment, trade

_TRANSFER = "INSERT INTO ledger_transfers (kind, reference_id) VALUES ($1, $2) RETURNING id"
_ENTRY = "INSERT INTO ledger_entries (transfer_id, account, amount) VALUES ($1, $2, $3)"


@pytest.fixture
async def traded(pool: Pool) -> Trade:
    return await trade(pool)


async def forge(
    conn: Connection, kind: str, reference_id: UUID, owner_id: UUID, amount: int
) -> str:
    """Add a balanced transfer from the sandbox to a wallet, by SQL alone."""
    async with conn.transaction():
        transfer_id = await conn.fetchval(_TRANSFER, kind, reference_id)
        for account, moved in (("external:sandbox", -amount), (f"wallet:{owner_id}", amount)):
            await conn.execute(_ENTRY, transfer_id, account, moved)
        await conn.execute(
            "UPDATE wallets SET balance = balance + $2 WHERE user_id = $1", owner_id, amount
        )
    return str(transfer_id)


async def test_a_ledger_with_every_kind_of_transfer_has_no_findings(
    traded: Trade, conn: Connection, database: DatabaseSettings
) -> None:
    kinds = await conn.fetch("SELECT DISTINCT kind FROM ledger_transfers ORDER BY kind")
    assert [row[0] for row in kinds] == [
        "investment", "purchase", "reversal", "topup", "withdrawal"
    ]  # fmt: skip
    assert await amiss(conn, database) == {}


async def test_a_ledger_of_deleted_users_has_no_findings(
    traded: Trade, conn: Connection, database: DatabaseSettings
) -> None:
    for person in (traded.buyer, traded.seller, traded.investor):
        await conn.execute("DELETE FROM users WHERE id = $1", person.id)
    assert await amiss(conn, database) == {}


@pytest.mark.parametrize("kind", ["topup", "purchase", "investment", "reversal", "withdrawal"])
async def test_a_balanced_transfer_without_its_cause_is_found(
    traded: Trade, conn: Connection, database: DatabaseSettings, kind: str
) -> None:
    # The cause belongs to another kind, or has a transfer already.
    forged = await forge(conn, kind, traded.topup_id, traded.buyer.id, 1000)
    found = await amiss(conn, database)
    assert found["causes"] == (forged,)
    assert forged in found["moved"]


@pytest.mark.parametrize(
    ("checks", "statement"),
    [
        ({"transactions"}, "UPDATE energy_transactions SET price_per_kwh = 5"),
        ({"transactions", "moved"}, "UPDATE energy_transactions SET total_price = 13,"
                                    " seller_amount = 12.4, energy_kwh = 2.1"),
        ({"moved", "shares"}, "UPDATE energy_transactions SET investor_amount = 3"),
        ({"moved"}, "UPDATE energy_transactions SET platform_fee = 0.5, seller_amount = 11.5"),
        ({"transactions", "causes"}, "UPDATE energy_transactions SET id = gen_random_uuid()"),
        ({"causes", "moved", "sold"}, "DELETE FROM energy_transactions"),
        ({"causes", "moved", "funded"}, "DELETE FROM investments"),
        ({"investments"}, "UPDATE ledger_entries SET account = 'wallet:' || gen_random_uuid()"
                          " WHERE amount = 50 AND account LIKE 'wallet:%'"),
    ],
)  # fmt: skip
async def test_a_cause_that_was_rewritten_with_triggers_off_is_found(
    traded: Trade,
    conn: Connection,
    database: DatabaseSettings,
    checks: set[str],
    statement: str,
) -> None:
    await as_owner(conn, statement)
    assert checks <= set(await amiss(conn, database))


async def test_a_failed_withdrawal_returns_its_money_once(
    traded: Trade, conn: Connection, database: DatabaseSettings
) -> None:
    await forge(conn, "reversal", traded.failed_id, traded.buyer.id, 20)
    assert (await amiss(conn, database))["payments"] == (str(traded.failed_id),)


@pytest.mark.parametrize(
    ("payment", "statement"),
    [
        ("pending_id", "UPDATE payment_orders SET status = 'failed' WHERE id = $1"),
        ("failed_id", "UPDATE payment_orders SET status = 'completed' WHERE id = $1"),
        ("paid_out_id", "UPDATE payment_orders SET transfer_id = NULL WHERE id = $1"),
        ("topup_id", "UPDATE payment_orders SET transfer_id = NULL WHERE id = $1"),
        ("topup_id", "UPDATE payment_orders SET status = 'failed' WHERE id = $1"),
        ("topup_id", "UPDATE payment_orders SET user_id = (SELECT id FROM users"
                     " WHERE role = 'host') WHERE id = $1"),
    ],
)  # fmt: skip
async def test_a_payment_that_does_not_match_its_transfers_is_found(
    traded: Trade, conn: Connection, database: DatabaseSettings, payment: str, statement: str
) -> None:
    payment_id: UUID = getattr(traded, payment)
    async with conn.transaction():
        await conn.execute("ALTER TABLE payment_orders DROP CONSTRAINT payment_orders_settlement")
    await as_owner(conn, statement, payment_id)
    assert (await amiss(conn, database))["payments"] == (str(payment_id),)


async def test_a_payment_with_another_amount_than_its_transfer_is_found(
    traded: Trade, conn: Connection, database: DatabaseSettings
) -> None:
    await as_owner(conn, "UPDATE payment_orders SET amount = 21 WHERE id = $1", traded.paid_out_id)
    assert set(await amiss(conn, database)) == {"moved"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE energy_transactions SET energy_kwh = 1",
        "DELETE FROM energy_transactions",
        "UPDATE investments SET amount = 1",
        "UPDATE revenue_shares SET amount = 1",
        "UPDATE payment_orders SET status = 'pending', settlement = NULL WHERE status = 'failed'",
        "UPDATE payment_orders SET amount = 1 WHERE status = 'completed'",
        "DELETE FROM payment_orders",
    ],
)
async def test_history_can_not_be_changed(traded: Trade, conn: Connection, statement: str) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        await conn.execute(statement)


async def test_a_pending_payment_may_still_change(pool: Pool, traded: Trade) -> None:
    order_id = await open_payment(pool, traded.buyer, "topup")
    await pool.execute("UPDATE payment_orders SET amount = 3 WHERE id = $1", order_id)
