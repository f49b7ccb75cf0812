"""Sign-ins: refresh tokens, and codes that are good for one sign-in. Both are stored by their hash.

There is a row per issued refresh token and a family of tokens per sign-in. A token is spent once.
Callers lock the token's owner before they spend or revoke one. So no transaction can add a token to
a family that another one revokes.
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
_DELETE_EXPIRED = """
DELETE FROM refresh_tokens WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM refresh_tokens WHERE expires_at <= now()
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

# A revoked token is refused with or without its row.
_DELETE_REVOKED = """
DELETE FROM refresh_tokens WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM refresh_tokens WHERE revoked_at <= now() - interval '1 day'
        ORDER BY revoked_at LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

_COUNT_FAMILIES = """
SELECT count(DISTINCT family_id) FROM refresh_tokens
 WHERE user_id = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()
"""

_ADD_CODE = "INSERT INTO sign_in_codes (code_hash, user_id, expires_at) VALUES ($1, $2, $3)"

_SPEND_CODE = """
DELETE FROM sign_in_codes WHERE code_hash = $1 AND expires_at > now() RETURNING user_id
"""

_DELETE_EXPIRED_CODES = "DELETE FROM sign_in_codes WHERE expires_at <= now()"


async def add_token(
    conn: Connection, *, family_id: UUID, user_id: UserId, token_hash: bytes, expires_at: datetime
) -> None:
    """Store the hash of a new token."""
    await conn.execute(_ADD, family_id, user_id, token_hash, expires_at)


async def lock_token_owner(conn: Connection, token_hash: bytes) -> UserId | None:
    """Lock the owner of a token until commit and return them. None: the token is unknown."""
    owner: UserId | None = await conn.fetchval(_LOCK_OWNER, token_hash)
    return owner


async def spend_token(conn: Connection, token_hash: bytes) -> UUID | None:
    """Spend a token and return its family. None: it is spent, revoked, expired or unknown."""
    family: UUID | None = await conn.fetchval(_SPEND, token_hash)
    return family


async def revoke_family(conn: Connection, token_hash: bytes) -> None:
    """Revoke the family of a token."""
    await conn.execute(_REVOKE_FAMILY, token_hash)


async def revoke_all(conn: Connection, user_id: UserId) -> None:
    """Revoke every family of a user, whom the caller has locked."""
    await conn.execute(_REVOKE_ALL, user_id)


async def count_families(conn: Connection, user_id: UserId) -> int:
    """Return the number of a user's valid sign-ins."""
    found: int = await conn.fetchval(_COUNT_FAMILIES, user_id)
    return found


async def delete_expired(conn: Connection, *, limit: int) -> int:
    """Delete expired tokens, the oldest first. Return their number."""
    return affected(await conn.execute(_DELETE_EXPIRED, limit))


async def delete_revoked(conn: Connection, *, limit: int) -> int:
    """Delete tokens that were revoked a day ago. Return their number."""
    return affected(await conn.execute(_DELETE_REVOKED, limit))


async def add_code(
    conn: Connection, user_id: UserId, code_hash: bytes, expires_at: datetime
) -> None:
    """Store the hash of a code, and delete expired ones."""
    await conn.execute(_DELETE_EXPIRED_CODES)
    await conn.execute(_ADD_CODE, code_hash, user_id, expires_at)


async def spend_code(conn: Connection, code_hash: bytes) -> UserId | None:
    """Spend a code and return the user that it signs in. None: it is spent, expired or unknown."""
    user_id: UserId | None = await conn.fetchval(_SPEND_CODE, code_hash)
    return user_id
