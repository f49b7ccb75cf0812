"""A ledger with every kind of transfer, and changes that only the tables' owner can make."""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

from api.payments.service import settle
from api.payments.webhooks import WebhookEvent
from core.settings import DatabaseSettings
from db import investments, wallets
from db.audit import audit
from db.pool import Connection, Pool
from tests.support.people import Person, add_device, add_listing, add_purchase, add_user

_OPEN = """
INSERT INTO payment_orders (id, user_id, provider, kind, amount, transfer_id)
VALUES ($1, $2, 'sandbox', $3, $4, $5)
"""


@dataclass(frozen=True, slots=True)
class Trade:
    """A purchase from a host whose device has an investor."""

    buyer: Person
    seller: Person
    investor: Person
    listing_id: UUID
    transaction_id: UUID
    topup_id: UUID
    paid_out_id: UUID
    failed_id: UUID
    pending_id: UUID


async def trade(pool: Pool) -> Trade:
    """Make every kind of transfer once, and a payment of each status."""
    buyer, seller = await add_user(pool, balance=500), await add_user(pool, "host")
    investor = await add_user(pool, "investor", balance=100)
    device_id = await add_device(pool, seller)
    await pool.execute(
        "UPDATE devices SET funding_target = 100, revenue_share = 0.5 WHERE id = $1", device_id
    )
    await _invest(pool, investor, seller, device_id)
    listing_id = await add_listing(pool, seller, device_id=device_id, kwh=10, price_per_kwh=6)
    return Trade(
        buyer,
        seller,
        investor,
        listing_id,
        await add_purchase(pool, buyer, listing_id, kwh=2),
        await pay(pool, buyer, "topup"),
        await pay(pool, buyer, "withdrawal"),
        await pay(pool, buyer, "withdrawal", succeeded=False),
        await open_payment(pool, buyer, "withdrawal"),
    )


async def _invest(pool: Pool, investor: Person, host: Person, device_id: UUID) -> None:
    investment_id, amount = uuid4(), Decimal(50)
    async with pool.acquire() as conn, conn.transaction():
        transfer_id = await wallets.pay(
            conn, kind="investment", reference_id=investment_id, payer_id=investor.id,
            payee_id=host.id, amount=amount,
        )  # fmt: skip
        await investments.add(
            conn, investment_id=investment_id, investor_id=investor.id, device_id=device_id,
            amount=amount, transfer_id=transfer_id,
        )  # fmt: skip


async def pay(pool: Pool, person: Person, kind: str, *, succeeded: bool = True) -> UUID:
    """Add a settled payment of 20."""
    order_id = await open_payment(pool, person, kind)
    event = WebhookEvent(
        event_id=str(order_id),
        type="payment.succeeded" if succeeded else "payment.failed",
        order_id=order_id,
        amount=Decimal(20),
    )
    assert await settle(pool, "sandbox", event)
    return order_id


async def open_payment(pool: Pool, person: Person, kind: str, amount: int = 20) -> UUID:
    """Add a pending payment; the money of a withdrawal has left the wallet."""
    order_id, transfer_id = uuid4(), None
    async with pool.acquire() as conn, conn.transaction():
        if kind == "withdrawal":
            transfer_id = await wallets.move(
                conn, kind=kind, reference_id=order_id, provider="sandbox", user_id=person.id,
                amount=Decimal(-amount),
            )  # fmt: skip
        await conn.execute(_OPEN, order_id, person.id, kind, Decimal(amount), transfer_id)
    return order_id


async def as_owner(conn: Connection, statement: str, *args: object) -> None:
    """Run a statement without triggers and foreign keys, as only an owner can."""
    async with conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute(statement, *args)


async def amiss(
    conn: Connection, database: DatabaseSettings, *, noted_hash: bytes | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the offending ids that an audit finds, by check."""
    checks = audit(conn, database, noted_hash=noted_hash)
    return {check.name: check.offending async for check in checks if not check.ok}
