"""Codes that sign somebody in once, by their hash."""

from datetime import datetime

from core.ids import UserId
from db.pool import Connection

_ADD = "INSERT INTO sign_in_codes (code_hash, user_id, expires_at) VALUES ($1, $2, $3)"

_SPEND = """
DELETE FROM sign_in_codes WHERE code_hash = $1 AND expires_at > now() RETURNING user_id
"""

_FORGET_EXPIRED = "DELETE FROM sign_in_codes WHERE expires_at <= now()"


async def add(conn: Connection, user_id: UserId, code_hash: bytes, expires_at: datetime) -> None:
    await conn.execute(_FORGET_EXPIRED)
    await conn.execute(_ADD, code_hash, user_id, expires_at)


async def spend(conn: Connection, code_hash: bytes) -> UserId | None:
    """Whom a code signs in, that was good until now; None: it was not."""
    user_id: UserId | None = await conn.fetchval(_SPEND, code_hash)
    return user_id
