"""Users, with the profile of their role."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from core.enums import UserRole
from core.ids import UserId
from db.pool import Connection, Record

_CREATE = """
WITH created AS (
    INSERT INTO users (email, password_hash, full_name, phone, role)
    VALUES ($1, $2, $3, $4, $5)
    RETURNING id, email, password_hash, full_name, phone, role, is_active, created_at
), host AS (INSERT INTO hosts (user_id) SELECT id FROM created WHERE role = 'host')
, buyer AS (INSERT INTO buyers (user_id) SELECT id FROM created WHERE role = 'buyer')
, investor AS (INSERT INTO investors (user_id) SELECT id FROM created WHERE role = 'investor')
, wallet AS (INSERT INTO wallets (user_id) SELECT id FROM created WHERE role <> 'admin')
SELECT id, email, password_hash, full_name, phone, role, is_active, created_at,
       NULL::text AS property_name, NULL::numeric AS tariff_per_kwh,
       NULL::numeric AS monthly_demand_kwh, NULL::text AS company
  FROM created
"""

_BY_EMAIL = """
SELECT u.id, u.email, u.password_hash, u.full_name, u.phone, u.role, u.is_active, u.created_at,
       h.property_name, h.tariff_per_kwh, b.monthly_demand_kwh, i.company
  FROM users u LEFT JOIN hosts h ON h.user_id = u.id LEFT JOIN buyers b ON b.user_id = u.id
  LEFT JOIN investors i ON i.user_id = u.id
 WHERE lower(u.email) = lower($1)
"""

_BY_ID = """
SELECT u.id, u.email, u.password_hash, u.full_name, u.phone, u.role, u.is_active, u.created_at,
       h.property_name, h.tariff_per_kwh, b.monthly_demand_kwh, i.company
  FROM users u LEFT JOIN hosts h ON h.user_id = u.id LEFT JOIN buyers b ON b.user_id = u.id
  LEFT JOIN investors i ON i.user_id = u.id
 WHERE u.id = $1
"""

_NEWEST = """
SELECT u.id, u.email, u.password_hash, u.full_name, u.phone, u.role, u.is_active, u.created_at,
       h.property_name, h.tariff_per_kwh, b.monthly_demand_kwh, i.company
  FROM users u LEFT JOIN hosts h ON h.user_id = u.id LEFT JOIN buyers b ON b.user_id = u.id
  LEFT JOIN investors i ON i.user_id = u.id
 WHERE (u.created_at, u.id) < ($1::timestamptz, $2::uuid)
   AND ($3::text IS NULL OR u.role = $3) AND ($4::boolean IS NULL OR u.is_active = $4)
   AND ($5::text IS NULL OR strpos(lower(u.email), lower($5)) > 0
        OR strpos(lower(u.full_name), lower($5)) > 0)
 ORDER BY u.created_at DESC, u.id DESC LIMIT $6
"""

_LOCK = "SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE"

_LOCK_ACTIVE = "SELECT is_active FROM users WHERE id = $1 FOR NO KEY UPDATE"

_HOLD_ACTIVE = "SELECT is_active FROM users WHERE id = $1 FOR SHARE"

_CHANGE = """
WITH host AS (UPDATE hosts SET property_name = $4, tariff_per_kwh = $5 WHERE user_id = $1)
, buyer AS (UPDATE buyers SET monthly_demand_kwh = $6 WHERE user_id = $1)
, investor AS (UPDATE investors SET company = $7 WHERE user_id = $1)
UPDATE users SET full_name = $2, phone = $3 WHERE id = $1
"""

_REPLACE_HASH = """
UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 RETURNING id
"""

_SET_ACTIVE = "UPDATE users SET is_active = $2 WHERE id = $1 RETURNING id"

_INACTIVE_AMONG = """
SELECT asked.id
  FROM unnest($1::uuid[]) AS asked (id)
 WHERE NOT EXISTS (SELECT FROM users WHERE users.id = asked.id AND is_active)
"""


@dataclass(frozen=True, slots=True)
class User:
    """A user. Fields of other roles' profiles are None."""

    id: UserId
    email: str
    password_hash: str
    full_name: str
    phone: str | None
    role: UserRole
    is_active: bool
    created_at: datetime
    property_name: str | None
    tariff_per_kwh: Decimal | None
    monthly_demand_kwh: Decimal | None
    company: str | None


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Conditions on users; None: any."""

    role: UserRole | None = None
    is_active: bool | None = None
    # A part of the email or the name, in any case.
    text: str | None = None


async def create(
    conn: Connection,
    *,
    email: str,
    password_hash: str,
    full_name: str,
    phone: str | None,
    role: UserRole,
) -> User:
    """Create a user, with profile and wallet unless an administrator. Raises EmailTaken."""
    row = await conn.fetchrow(_CREATE, email, password_hash, full_name, phone, role)
    assert row is not None
    return _user(row)


async def by_email(conn: Connection, email: str) -> User | None:
    """Return the user with an email, in any case."""
    row = await conn.fetchrow(_BY_EMAIL, email)
    return _user(row) if row else None


async def by_id(conn: Connection, user_id: UserId) -> User | None:
    """Return a user."""
    row = await conn.fetchrow(_BY_ID, user_id)
    return _user(row) if row else None


async def newest(
    conn: Connection, where: UserFilter, *, before: tuple[datetime, UUID], limit: int
) -> list[User]:
    """Return users, newest first."""
    rows = await conn.fetch(_NEWEST, *before, where.role, where.is_active, where.text, limit)
    return [_user(row) for row in rows]


async def lock(conn: Connection, user_id: UserId) -> None:
    """Lock a user against changes and sign-ins until commit. Read the user afterwards."""
    await conn.execute(_LOCK, user_id)


async def lock_active(conn: Connection, user_id: UserId) -> bool:
    """Return True if a user is active, and lock the user and their quotas until commit."""
    return bool(await conn.fetchval(_LOCK_ACTIVE, user_id))


async def hold_active(conn: Connection, user_id: UserId) -> bool:
    """Return True if a user is active, which no other transaction can change until commit."""
    return bool(await conn.fetchval(_HOLD_ACTIVE, user_id))


async def change(conn: Connection, user: User) -> None:
    """Store name, phone and profile of a locked user."""
    await conn.execute(
        _CHANGE, user.id, user.full_name, user.phone, user.property_name, user.tariff_per_kwh,
        user.monthly_demand_kwh, user.company,
    )  # fmt: skip


async def change_password(
    conn: Connection, user_id: UserId, *, old_hash: str, new_hash: str
) -> bool:
    """Replace a password hash. False: it has changed meanwhile. Locks the user until commit."""
    return await conn.fetchval(_REPLACE_HASH, user_id, old_hash, new_hash) is not None


async def set_active(conn: Connection, user_id: UserId, active: bool) -> bool:
    """Activate or deactivate a user. False: there is no such user. Locks the user until commit."""
    return await conn.fetchval(_SET_ACTIVE, user_id, active) is not None


async def inactive_among(conn: Connection, user_ids: Collection[UserId]) -> set[UserId]:
    """Return those of the users who were deactivated or deleted."""
    return {row["id"] for row in await conn.fetch(_INACTIVE_AMONG, list(user_ids))}


def _user(row: Record) -> User:
    return User(
        id=row["id"],
        email=row["email"],
        password_hash=row["password_hash"],
        full_name=row["full_name"],
        phone=row["phone"],
        role=UserRole(row["role"]),
        is_active=row["is_active"],
        created_at=row["created_at"],
        property_name=row["property_name"],
        tariff_per_kwh=row["tariff_per_kwh"],
        monthly_demand_kwh=row["monthly_demand_kwh"],
        company=row["company"],
    )
