"""Users, devices, listings and balances, inserted into the database."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import bcrypt

from core.units import slot_of
from db.pool import Connection, Pool
from db.purchases import Purchase, PurchaseOrder, purchase

PASSWORD = "correct horse battery"
DEVICE_PASSWORD = "device-password"
BANGALORE = (12.9716, 77.5946)

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

# 4 rounds, so that tests do not wait for a hash that is slow on purpose.
_PASSWORD_HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


@dataclass(frozen=True, slots=True)
class Person:
    """A user who signs in with `email` and `PASSWORD`."""

    id: UUID
    email: str
    role: str


async def add_user(
    db: Connection | Pool, role: str = "buyer", *, balance: Decimal | int = 0
) -> Person:
    email = f"{role}-{uuid4().hex[:12]}@example.org"
    user_id = await db.fetchval(
        """
        WITH person AS (
            INSERT INTO users (email, password_hash, full_name, role)
            VALUES ($1, $2, initcap($3), $3) RETURNING id
        ), purse AS (INSERT INTO wallets (user_id) SELECT id FROM person)
        , host AS (INSERT INTO hosts (user_id) SELECT id FROM person WHERE $3 = 'host')
        , buyer AS (INSERT INTO buyers (user_id) SELECT id FROM person WHERE $3 = 'buyer')
        , investor AS (INSERT INTO investors (user_id) SELECT id FROM person WHERE $3 = 'investor')
        SELECT id FROM person
        """,
        email,
        _PASSWORD_HASH,
        role,
    )
    if balance:
        await add_money(db, user_id, Decimal(balance))
    return Person(user_id, email, role)


async def add_money(db: Connection | Pool, user_id: UUID, amount: Decimal) -> None:
    """Add a completed top-up with its balanced transfer."""
    await db.execute(
        """
        WITH transfer AS (
            INSERT INTO ledger_transfers (kind, reference_id)
            VALUES ('topup', gen_random_uuid()) RETURNING id, reference_id
        ), payment AS (
            INSERT INTO payment_orders (id, user_id, provider, kind, amount, status, transfer_id,
                                        completed_at)
            SELECT reference_id, $1::uuid, 'sandbox', 'topup', $2::numeric, 'completed', id, now()
              FROM transfer
        ), entries AS (
            INSERT INTO ledger_entries (transfer_id, account, amount)
            SELECT id, 'wallet:' || $1::uuid, $2::numeric FROM transfer
            UNION ALL SELECT id, 'external:sandbox', -$2::numeric FROM transfer
        )
        UPDATE wallets SET balance = balance + $2::numeric WHERE user_id = $1::uuid
        """,
        user_id,
        amount,
    )


async def add_device(
    db: Connection | Pool,
    owner: Person,
    *,
    capacity_w: float = 5000,
    place: tuple[float, float] = BANGALORE,
    kind: str = "inverter",
    dialect: str = "native",
    external_id: str | None = None,
    earns_from: datetime = _LONG_AGO,
) -> UUID:
    """Add a device that signs in at the broker with its id and `DEVICE_PASSWORD`.

    Unless told otherwise it earns since long ago: tests have it tell of the past.
    """
    device_id: UUID = await db.fetchval(
        """
        WITH device AS (
            INSERT INTO devices (owner_id, name, capacity_w, latitude, longitude,
                                 credential_hash, kind, dialect, external_id)
            VALUES ($1, 'Roof', $2, $3, $4, $5, $6, $7, $8) RETURNING id
        )
        INSERT INTO device_states (device_id, earns_from) SELECT id, $9 FROM device
        RETURNING device_id
        """,
        owner.id,
        capacity_w,
        *place,
        hashlib.sha256(DEVICE_PASSWORD.encode()).digest(),
        kind,
        dialect,
        external_id,
        earns_from,
    )
    return device_id


async def add_listing(
    db: Connection | Pool,
    seller: Person,
    *,
    kwh: Decimal | int = 10,
    price_per_kwh: Decimal | int = 6,
    device_id: UUID | None = None,
    place: tuple[float, float] = BANGALORE,
    available_from: datetime | None = None,
    exact_location: bool = True,
) -> UUID:
    """Add an active listing for the next day; it follows its device if it has one.

    Everybody is shown where exactly it is, unless `exact_location` is False.
    """
    start = available_from or datetime.now(UTC) - timedelta(minutes=1)
    listing_id: UUID = await db.fetchval(
        """
        INSERT INTO energy_listings (seller_id, device_id, stated_kwh, price_per_kwh, auto_adjust,
                                     exact_latitude, exact_longitude, available_from,
                                     available_to, measured_from, exact_location)
        VALUES ($1, $2::uuid, $3, $4, $2::uuid IS NOT NULL, $5, $6, $7,
                greatest($7::timestamptz, now()) + interval '1 day',
                CASE WHEN $2::uuid IS NOT NULL THEN $8::timestamptz END, $9)
        RETURNING id
        """,
        seller.id,
        device_id,
        kwh,
        price_per_kwh,
        *place,
        start,
        slot_of(start),
        exact_location,
    )
    return listing_id


async def add_purchase(
    pool: Pool, buyer: Person, listing_id: UUID, *, kwh: Decimal | int = 1
) -> UUID:
    """Add a purchase with a fee of 5 %, and return its transaction."""
    async with pool.acquire() as conn:
        [bought] = await purchase(
            conn, [PurchaseOrder(buyer.id, listing_id, Decimal(kwh))], fee_rate=Decimal("0.05")
        )
    assert isinstance(bought, Purchase), bought
    return UUID(json.loads(bought.shown)["id"])
