"""Idempotency keys: a request with a key takes effect once per user and operation."""

from datetime import timedelta
from uuid import UUID

from core.errors import IdempotencyKeyReused
from core.ids import UserId
from db.pool import Connection, affected

_CLAIM = """
INSERT INTO idempotency_keys (user_id, operation, key, request_hash, result_id)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING result_id
"""

_EARLIER = """
SELECT request_hash, result_id FROM idempotency_keys
 WHERE user_id = $1 AND operation = $2 AND key = $3
"""

_FORGET = """
DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM idempotency_keys WHERE created_at < now() - $1::interval
        ORDER BY created_at LIMIT $2))
"""


async def claim(
    conn: Connection,
    *,
    user_id: UserId,
    operation: str,
    key: str,
    request_hash: bytes,
    result: UUID,
) -> UUID | None:
    """Claim a key for `result`. Return None if it was free, or else the earlier result.

    Waits for a transaction that holds the key to end. Raises IdempotencyKeyReused.
    """
    earlier = None
    while earlier is None:
        if await conn.fetchval(_CLAIM, user_id, operation, key, request_hash, result) is not None:
            return None
        # None: the key expired and was deleted between the two statements. Claim it again.
        earlier = await conn.fetchrow(_EARLIER, user_id, operation, key)
    if earlier["request_hash"] != request_hash:
        raise IdempotencyKeyReused
    return UUID(str(earlier["result_id"]))


async def forget(conn: Connection, *, older_than: timedelta, limit: int) -> int:
    """Delete keys above an age, the oldest first. Return their number."""
    return affected(await conn.execute(_FORGET, older_than, limit))
