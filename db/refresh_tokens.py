"""Refresh tokens, stored by their hash: a row per issued token, a family per sign-in.

A token is spent once. Callers lock the token's owner before they spend or revoke one. So no
transaction can add a token to a family that another one revokes.
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

# A spent token stays until its expiry, so that its reuse is detected.
_FORGET_EXPIRED = """
DELETE FROM refresh_tokens WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM refresh_tokens WHERE expires_at <= now()
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

# A revoked token is refused with or without its row.
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
    """Store the hash of a new token."""
    await conn.execute(_ADD, family_id, user_id, token_hash, expires_at)


async def lock_owner(conn: Connection, token_hash: bytes) -> UserId | None:
    """Lock the owner of a token until commit and return them. None: the token is unknown."""
    owner: UserId | None = await conn.fetchval(_LOCK_OWNER, token_hash)
    return owner


async def spend(conn: Connection, token_hash: bytes) -> UUID | None:
    """Spend a token and return its family. None: it is spent, revoked, expired or unknown."""
    family: UUID | None = await conn.fetchval(_SPEND, token_hash)
    return family


async def revoke_family(conn: Connection, token_hash: bytes) -> None:
    """Revoke the family of a token."""
    await conn.execute(_REVOKE_FAMILY, token_hash)


async def revoke_all(conn: Connection, user_id: UserId) -> None:
    """Revoke every family of a user, whom the caller has locked."""
    await conn.execute(_REVOKE_ALL, user_id)


async def families(conn: Connection, user_id: UserId) -> int:
    """Return the number of a user's valid sign-ins."""
    found: int = await conn.fetchval(_FAMILIES, user_id)
    return found


async def forget_expired(conn: Connection, *, limit: int) -> int:
    """Delete expired tokens, the oldest first. Return their number."""
    return affected(await conn.execute(_FORGET_EXPIRED, limit))


async def forget_revoked(conn: Connection, *, limit: int) -> int:
    """Delete tokens that were revoked a day ago. Return their number."""
    return affected(await conn.execute(_FORGET_REVOKED, limit))
