"""Users, devices and listings of a case, inserted into the schema in large statements."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bench.database import BenchDatabaseServer, connected
from bench.readings import CAPACITY_W
from core.enums import UserRole
from core.ids import DeviceId, ListingId, UserId
from core.settings import DatabaseSettings
from db import schema
from db.pool import Connection

# Hosts of a market of any size; listings per degree of longitude, around this one.
_HOSTS, _PER_DEGREE, _CENTRE_EAST = 500, 10_000, 77.6

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

# Readings of a case are older than its devices, and their energy is to be sold.
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

# Between 12.5 and 13.5 degrees north, with distinct creation times.
_SPREAD_LISTINGS = """
INSERT INTO energy_listings (seller_id, stated_kwh, price_per_kwh, exact_latitude, exact_longitude,
                             available_from, available_to, created_at)
SELECT ($1::uuid[])[1 + n % cardinality($1)], 1000000, 5 + n % 50 * 0.1,
       12.5 + random(), $2::float8 + random() * ($3::float8 - $2),
       now() - interval '1 hour', now() + interval '30 days', now() - n * interval '1 second'
  FROM generate_series($4::int, $5::int) n
"""
_SPREAD_LISTINGS_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class Market:
    """Buyers with money, and listings that never sell out."""

    buyers: list[UserId]
    listings: list[ListingId]


async def fleet(conn: Connection, *, devices: int, began_at: datetime) -> list[DeviceId]:
    """Insert devices of as many hosts, each with a listing that follows it from `began_at` on."""
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
    """Insert listings that never sell out, and buyers who can pay for all their orders."""
    async with conn.transaction():
        sellers = await people(conn, HOST, hosts)
        rows = await conn.fetch(_LISTINGS, sellers, listings)
        buyer_ids = await customers(conn, buyers, balance)
    return Market(buyer_ids, [row["id"] for row in rows])


async def customers(conn: Connection, count: int, balance: Decimal) -> list[UserId]:
    """Insert buyers with this balance each."""
    ids = await people(conn, BUYER, count)
    await conn.execute(_TOP_UP, ids, balance)
    return ids


async def spread_listings(
    conn: Connection, *, hosts: int, listings: int, west: float, east: float
) -> None:
    """Insert active listings, evenly distributed between two meridians."""
    sellers = await people(conn, HOST, hosts)
    for first in range(1, listings + 1, _SPREAD_LISTINGS_AT_ONCE):
        last = min(listings, first + _SPREAD_LISTINGS_AT_ONCE - 1)
        await conn.execute(_SPREAD_LISTINGS, sellers, west, east, first, last)


async def people(conn: Connection, role: UserRole, count: int) -> list[UserId]:
    """Insert users without a usable password, with their profile and an empty wallet."""
    ids = [row["id"] for row in await conn.fetch(_PEOPLE, role, count)]
    await conn.execute(_HOST_PROFILES if role == HOST else _BUYER_PROFILES, ids)
    await conn.execute(_WALLETS, ids)
    return ids


def meridians(size: int) -> tuple[float, float]:
    """Return the degrees east between which a market of `size` listings lies.

    All markets are equally dense: a larger one is wider.
    """
    half = size / _PER_DEGREE / 2
    return _CENTRE_EAST - half, _CENTRE_EAST + half


@asynccontextmanager
async def market_of_size(server: BenchDatabaseServer, size: int) -> AsyncIterator[DatabaseSettings]:
    """Create a hub's database with `size` active listings; filled once per run, then copied."""
    west, east = meridians(size)

    async def fill(settings: DatabaseSettings) -> None:
        await schema.migrate(settings)
        async with connected(settings) as conn:
            await spread_listings(conn, hosts=_HOSTS, listings=size, west=west, east=east)
            await conn.execute("VACUUM ANALYZE")

    async with server.copy_of(f"hub, {size}", fill) as settings:
        yield settings
