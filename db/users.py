"""People, with the profile of their role and their wallet."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.pool import Connection, Record

_CREATE = """
WITH person AS (
    INSERT INTO users (email, password_hash, full_name, phone, role)
    VALUES ($1, $2, $3, $4, $5)
    RETURNING id, email, password_hash, full_name, phone, role, is_active, created_at
), host AS (INSERT INTO hosts (user_id) SELECT id FROM person WHERE role = 'host')
, buyer AS (INSERT INTO buyers (user_id) SELECT id FROM person WHERE role = 'buyer')
, investor AS (INSERT INTO investors (user_id) SELECT id FROM person WHERE role = 'investor')
, wallet AS (INSERT INTO wallets (user_id) SELECT id FROM person WHERE role <> 'admin')
SELECT id, email, password_hash, full_name, phone, role, is_active, created_at FROM person
"""

_BY_EMAIL = """
SELECT id, email, password_hash, full_name, phone, role, is_active, created_at
  FROM users WHERE lower(email) = lower($1)
"""

_BY_ID = """
SELECT id, email, password_hash, full_name, phone, role, is_active, created_at
  FROM users WHERE id = $1
"""


@dataclass(frozen=True, slots=True)
class User:
    id: UUID
    email: str
    password_hash: str
    full_name: str
    phone: str | None
    role: str
    is_active: bool
    created_at: datetime


async def create(
    conn: Connection,
    *,
    email: str,
    password_hash: str,
    full_name: str,
    phone: str | None,
    role: str,
) -> User:
    """A new person; all but admins get a profile and an empty wallet. Refused: EmailTaken."""
    row = await conn.fetchrow(_CREATE, email, password_hash, full_name, phone, role)
    assert row is not None
    return _user(row)


async def by_email(conn: Connection, email: str) -> User | None:
    row = await conn.fetchrow(_BY_EMAIL, email)
    return _user(row) if row else None


async def by_id(conn: Connection, user_id: UUID) -> User | None:
    row = await conn.fetchrow(_BY_ID, user_id)
    return _user(row) if row else None


def _user(row: Record) -> User:
    return User(
        id=row["id"],
        email=row["email"],
        password_hash=row["password_hash"],
        full_name=row["full_name"],
        phone=row["phone"],
        role=row["role"],
        is_active=row["is_active"],
        created_at=row["created_at"],
    )
