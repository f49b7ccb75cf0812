"""Refresh tokens, by their hash: one row per token ever handed out, a family per sign-in.

A token is spent once. Who spends or revokes locks the token's owner first, so that a family that
is revoked has no member that is just being made.
"""

from datetime import datetime
from uuid import UUID

from core.ids import UserId
from db.pool import Connection, affected

_ADD = """
INSERT INTO refresh_tokens (family_id, user_id, token_hash, expires_at) VALUES ($1, $2, $3, $4)
"""

_LOCK_OWNER = """
SELECT u.id FROM refresh_tokens t JOIN users u ON u.id = t.user_id
 WHERE t.token_hash = $1 FOR NO KEY UPDATE OF u
"""

_SPEND = """
UPDATE refresh_tokens SET used_at = now()
 WHERE token_hash = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()
RETURNING family_id
"""

_REVOKE_FAMILY = """
UPDATE refresh_tokens SET revoked_at = now()
 WHERE family_id = (SELECT family_id FROM refresh_tokens WHERE token_hash = $1)
   AND revoked_at IS NULL
"""

_REVOKE_ALL = """
UPDATE refresh_tokens SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL
"""

# A token that was spent is kept until it would have expired: by it, reuse is noticed.
_FORGET_EXPIRED = """
DELETE FROM refresh_tokens WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM refresh_tokens WHERE expires_at <= now()
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

# Whoever comes with one that was revoked is refused, whether it is still known or not.
_FORGET_REVOKED = """
DELETE FROM refresh_tokens WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM refresh_tokens WHERE revoked_at <= now() - interval '1 day'
        ORDER BY revoked_at LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

_FAMILIES = """
SELECT count(DISTINCT family_id) FROM refresh_tokens
 WHERE user_id = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()
"""


async def add(
    conn: Connection, *, family_id: UUID, user_id: UserId, token_hash: bytes, expires_at: datetime
) -> None:
    await conn.execute(_ADD, family_id, user_id, token_hash, expires_at)


async def lock_owner(conn: Connection, token_hash: bytes) -> UserId | None:
    """Whose token this is or was, locked until commit; None: it was never handed out."""
    owner: UserId | None = await conn.fetchval(_LOCK_OWNER, token_hash)
    return owner


async def spend(conn: Connection, token_hash: bytes) -> UUID | None:
    """The family of a token that was good until now; None: it was not."""
    family: UUID | None = await conn.fetchval(_SPEND, token_hash)
    return family


async def revoke_family(conn: Connection, token_hash: bytes) -> None:
    await conn.execute(_REVOKE_FAMILY, token_hash)


async def revoke_all(conn: Connection, user_id: UserId) -> None:
    """Revoke every family of a person, who is locked by the caller."""
    await conn.execute(_REVOKE_ALL, user_id)


async def families(conn: Connection, user_id: UserId) -> int:
    """How many sign-ins of a person are good."""
    found: int = await conn.fetchval(_FAMILIES, user_id)
    return found


async def forget_expired(conn: Connection, *, limit: int) -> int:
    """Delete tokens that have expired, the oldest first. Returns how many."""
    return affected(await conn.execute(_FORGET_EXPIRED, limit))


async def forget_revoked(conn: Connection, *, limit: int) -> int:
    """Delete tokens that were revoked a day ago. Returns how many."""
    return affected(await conn.execute(_FORGET_REVOKED, limit))
