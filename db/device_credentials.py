"""What a device proves itself with."""

from uuid import UUID

from db.pool import Connection, Pool

_CREDENTIAL_HASH = "SELECT credential_hash FROM devices WHERE id = $1 AND deleted_at IS NULL"

_REPLACE = "UPDATE devices SET credential_hash = $2 WHERE id = $1"


async def credential_hash(conn: Connection | Pool, device_id: UUID) -> bytes | None:
    """SHA-256 of the device's MQTT password; None: there is no such device (any more)."""
    found: bytes | None = await conn.fetchval(_CREDENTIAL_HASH, device_id)
    return found


async def replace(conn: Connection, device_id: UUID, credential_hash: bytes) -> None:
    """Let another password be the one of a locked device."""
    await conn.execute(_REPLACE, device_id, credential_hash)
