"""What devices prove themselves with, and may do at a broker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from core.ids import DeviceId
from db.pool import Connection, Pool, Record

_OF = """
SELECT devices.id, dialect, external_id, credential_version, credential_hash
  FROM devices JOIN users ON users.id = owner_id AND is_active
 WHERE devices.id = ANY($1::uuid[]) AND deleted_at IS NULL
"""

_ALL = """
SELECT devices.id, dialect, external_id, credential_version, credential_hash
  FROM devices JOIN users ON users.id = owner_id AND is_active
 WHERE deleted_at IS NULL ORDER BY devices.created_at DESC
"""

# Who vanished with its host, or hangs, loses the lock. One that lives asks every few seconds.
_NOTICE_DEATH = """
SELECT set_config('tcp_keepalives_idle', '2', false),
       set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '2', false),
       set_config('idle_session_timeout', '20000', false)
"""

_SHOW_LIFE = "SELECT 1"

_CHANNEL = "device_access"
_NAMED_MAX = 1000

_NEXT_VERSION = """
UPDATE devices SET credential_version = credential_version + 1 WHERE id = $1
RETURNING credential_version
"""

_REPLACE = "UPDATE devices SET credential_hash = $2 WHERE id = $1"


@dataclass(frozen=True, slots=True)
class DeviceAccess:
    """`credential_hash`: SHA-256 of the MQTT password, the `credential_version`th that it has."""

    id: DeviceId
    dialect: str
    external_id: str | None
    credential_version: int
    credential_hash: bytes


async def access_of(
    conn: Connection | Pool, device_ids: Sequence[DeviceId]
) -> dict[DeviceId, DeviceAccess]:
    """Those of the devices that may sign in: they are still there, and their host is active."""
    return {row["id"]: _access(row) for row in await conn.fetch(_OF, device_ids)}


async def all_access(conn: Connection) -> list[DeviceAccess]:
    """Of every device that may sign in, those first that were registered last."""
    return [_access(row) for row in await conn.fetch(_ALL)]


async def next_version(conn: Connection, device_id: DeviceId) -> int:
    """Begin the next password of a locked device: `replace` is to follow."""
    version: int = await conn.fetchval(_NEXT_VERSION, device_id)
    return version


async def replace(conn: Connection, device_id: DeviceId, credential_hash: bytes) -> None:
    """Let another password be the one of a locked device."""
    await conn.execute(_REPLACE, device_id, credential_hash)


async def notice_death(conn: Connection) -> None:
    """Let the server give up this connection, with its lock, when nobody is heard there."""
    await conn.execute(_NOTICE_DEATH)


async def show_life(conn: Connection) -> None:
    """Keep the connection, and the lock with it, while there is nothing to ask."""
    await conn.execute(_SHOW_LIFE)


class Changes:
    """Tells which devices came or went, or may sign in otherwise than before."""

    def __init__(self) -> None:
        self._changed: set[DeviceId] = set()
        self._noted = asyncio.Event()

    def take(self) -> set[DeviceId] | None:
        """Those that have changed since this was last asked. None: too many to name them."""
        changed, self._changed = self._changed, set()
        self._noted.clear()
        return changed if len(changed) <= _NAMED_MAX else None

    async def wait(self, within_s: float) -> None:
        """Until something has changed, or it is time to look anyway."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._noted.wait()

    def _note(self, _: object, __: int, ___: str, device_id: object) -> None:
        if len(self._changed) <= _NAMED_MAX:
            self._changed.add(DeviceId(UUID(str(device_id))))
        self._noted.set()


@asynccontextmanager
async def changes(conn: Connection) -> AsyncIterator[Changes]:
    told = Changes()
    await conn.add_listener(_CHANNEL, told._note)
    try:
        yield told
    finally:
        if not conn.is_closed():
            await conn.remove_listener(_CHANNEL, told._note)


def _access(row: Record) -> DeviceAccess:
    return DeviceAccess(
        id=row["id"],
        dialect=row["dialect"],
        external_id=row["external_id"],
        credential_version=row["credential_version"],
        credential_hash=row["credential_hash"],
    )
