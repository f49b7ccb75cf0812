"""SQL function `allocate_revenue` computes the same shares as core/revenue.py."""

from decimal import Decimal
from uuid import UUID

from hypothesis import given, settings

from core.revenue import Stake, Terms, allocate
from db.pool import Connection
from tests.support.people import add_device, add_user
from tests.support.revenue import sales

_FUNDED = "UPDATE devices SET funding_target = $1, revenue_share = $2"

_INVEST = """
WITH transfer AS (
    INSERT INTO ledger_transfers (kind, reference_id) VALUES ('investment', $1::uuid) RETURNING id
)
INSERT INTO investments (id, investor_id, device_id, amount, transfer_id)
SELECT $1::uuid, $2, $3, $4, id FROM transfer
"""

_PERSON = """
INSERT INTO users (id, email, password_hash, full_name, role)
VALUES ($1::uuid, $1::text || '@example.org', '', 'Investor', 'investor')
"""


@settings(max_examples=60)
@given(sale=sales())
async def test_the_database_allocates_by_the_same_rule(
    conn: Connection, sale: tuple[Terms, Decimal, list[Stake]]
) -> None:
    terms, amount, stakes = sale
    transaction = conn.transaction()
    await transaction.start()
    try:
        device_id = await add_device(conn, await add_user(conn, "host"))
        await conn.execute(_FUNDED, terms.funding_target, terms.revenue_share)
        await conn.executemany(_PERSON, [(UUID(int=n),) for n in range(1, 5)])
        holdings = [(s.id, s.investor_id, device_id, s.amount) for s in stakes]
        await conn.executemany(_INVEST, holdings)
        dealt = await conn.fetch(
            "SELECT investment_id, amount FROM allocate_revenue(gen_random_uuid(), $1, $2)",
            device_id,
            amount,
        )
        expected = allocate(terms, amount, stakes)
        assert {row["investment_id"]: row["amount"] for row in dealt} == expected
    finally:
        await transaction.rollback()
