"""Requests that name an Idempotency-Key take effect once per user and operation."""

from uuid import UUID

from core.errors import IdempotencyKeyReused
from db.pool import Connection

_CLAIM = """
INSERT INTO idempotency_keys (user_id, operation, key, request_hash, result_id)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING result_id
"""

_EARLIER = """
SELECT request_hash, result_id FROM idempotency_keys
 WHERE user_id = $1 AND operation = $2 AND key = $3
"""


async def claim(
    conn: Connection, *, user_id: UUID, operation: str, key: str, request_hash: bytes, result: UUID
) -> UUID | None:
    """Take the key for `result`; None: it is ours. Else what it made before.

    Waits for whoever holds the key to commit. Raises IdempotencyKeyReused.
    """
    if await conn.fetchval(_CLAIM, user_id, operation, key, request_hash, result) is not None:
        return None
    earlier = await conn.fetchrow(_EARLIER, user_id, operation, key)
    assert earlier is not None
    if earlier["request_hash"] != request_hash:
        raise IdempotencyKeyReused
    return UUID(str(earlier["result_id"]))
