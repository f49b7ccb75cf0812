"""People, devices and listings for a case, straight into the schema, in sets."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bench.readings import CAPACITY_W
from core.enums import UserRole
from core.ids import DeviceId, ListingId, UserId
from db.pool import Connection

HOST, BUYER = UserRole.HOST, UserRole.BUYER

_PEOPLE = """
INSERT INTO users (email, password_hash, full_name, role)
SELECT $1 || n || '@bench.test', '!', initcap($1) || ' ' || n, $1 FROM generate_series(1, $2) n
RETURNING id
"""

_HOST_PROFILES = "INSERT INTO hosts (user_id) SELECT unnest($1::uuid[])"

_BUYER_PROFILES = "INSERT INTO buyers (user_id) SELECT unnest($1::uuid[])"

_WALLETS = "INSERT INTO wallets (user_id) SELECT unnest($1::uuid[])"

_TOP_UP = """
WITH owners AS (SELECT gen_random_uuid() AS transfer_id, id FROM unnest($1::uuid[]) AS id),
transfers AS (
    INSERT INTO ledger_transfers (id, kind, reference_id)
    SELECT transfer_id, 'topup', transfer_id FROM owners),
orders AS (
    INSERT INTO payment_orders (id, user_id, provider, kind, amount, status, transfer_id,
                                completed_at)
    SELECT transfer_id, id, 'bench', 'topup', $2::numeric, 'completed', transfer_id, now()
      FROM owners),
entries AS (
    INSERT INTO ledger_entries (transfer_id, account, amount)
    SELECT transfer_id, 'wallet:' || id, $2::numeric FROM owners
     UNION ALL
    SELECT transfer_id, 'external:bench', -$2::numeric FROM owners)
UPDATE wallets SET balance = balance + $2 WHERE user_id = ANY($1)
"""

_DEVICES = """
INSERT INTO devices (owner_id, name, kind, capacity_w, latitude, longitude, credential_hash)
SELECT owner_id, 'Roof', 'inverter', $2, 12.97, 77.59, '' FROM unnest($1::uuid[]) AS owner_id
RETURNING id
"""

# Fleets of a case tell of hours before they were made, and sell what they tell.
_DEVICE_STATES = """
INSERT INTO device_states (device_id, earns_from) SELECT unnest($1::uuid[]), '2000-01-01Z'
"""

_FOLLOWING_LISTINGS = """
INSERT INTO energy_listings (seller_id, device_id, auto_adjust, price_per_kwh, exact_latitude,
                             exact_longitude, available_from, available_to, measured_from)
SELECT owner_id, id, true, 6.5, latitude, longitude,
       $2, $2::timestamptz + interval '30 days', $2
  FROM devices WHERE id = ANY($1)
"""

_LISTINGS = """
INSERT INTO energy_listings (seller_id, stated_kwh, price_per_kwh, exact_latitude, exact_longitude,
                             available_from, available_to)
SELECT ($1::uuid[])[1 + n % cardinality($1)], 1000000, 5 + n % 50 * 0.1,
       12.5 + n * 0.0001, 77.1 + n * 0.0001, now() - interval '1 hour', now() + interval '30 days'
  FROM generate_series(1, $2) n
RETURNING id
"""

# Between 12.5 and 13.5 degrees north, made one after the other.
_OFFERS = """
INSERT INTO energy_listings (seller_id, stated_kwh, price_per_kwh, exact_latitude, exact_longitude,
                             available_from, available_to, created_at)
SELECT ($1::uuid[])[1 + n % cardinality($1)], 1000000, 5 + n % 50 * 0.1,
       12.5 + random(), $2::float8 + random() * ($3::float8 - $2),
       now() - interval '1 hour', now() + interval '30 days', now() - n * interval '1 second'
  FROM generate_series($4::int, $5::int) n
"""
_OFFERS_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class Market:
    buyers: list[UserId]
    listings: list[ListingId]


async def fleet(conn: Connection, *, devices: int, began_at: datetime) -> list[DeviceId]:
    """Devices of as many hosts, each with a listing that follows it from `began_at` on."""
    async with conn.transaction():
        owners = await people(conn, HOST, devices)
        rows = await conn.fetch(_DEVICES, owners, CAPACITY_W)
        device_ids = [row["id"] for row in rows]
        await conn.execute(_DEVICE_STATES, device_ids)
        await conn.execute(_FOLLOWING_LISTINGS, device_ids, began_at)
    return device_ids


async def market(
    conn: Connection, *, hosts: int, buyers: int, listings: int, balance: Decimal
) -> Market:
    """Listings that never sell out, and buyers that can pay for all that they will buy."""
    async with conn.transaction():
        sellers = await people(conn, HOST, hosts)
        rows = await conn.fetch(_LISTINGS, sellers, listings)
        buyer_ids = await customers(conn, buyers, balance)
    return Market(buyer_ids, [row["id"] for row in rows])


async def customers(conn: Connection, count: int, balance: Decimal) -> list[UserId]:
    """Buyers with so much money each."""
    ids = await people(conn, BUYER, count)
    await conn.execute(_TOP_UP, ids, balance)
    return ids


async def offers(conn: Connection, *, hosts: int, listings: int, west: float, east: float) -> None:
    """Active listings evenly between two meridians."""
    sellers = await people(conn, HOST, hosts)
    for first in range(1, listings + 1, _OFFERS_AT_ONCE):
        last = min(listings, first + _OFFERS_AT_ONCE - 1)
        await conn.execute(_OFFERS, sellers, west, east, first, last)


async def people(conn: Connection, role: UserRole, count: int) -> list[UserId]:
    """Users who can't sign in, with their profile and an empty wallet."""
    ids = [row["id"] for row in await conn.fetch(_PEOPLE, role, count)]
    await conn.execute(_HOST_PROFILES if role == HOST else _BUYER_PROFILES, ids)
    await conn.execute(_WALLETS, ids)
    return ids
