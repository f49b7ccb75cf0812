"""Credentials of devices at the broker, and notifications of changes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from core.ids import DeviceId
from db.pool import Connection, Record

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

# The server ends a connection that hangs, or whose host failed, and releases its lock. A live one
# sends a statement every few seconds.
_SET_TIMEOUTS = """
SELECT set_config('tcp_keepalives_idle', '2', false),
       set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '2', false),
       set_config('idle_session_timeout', '20000', false)
"""

_KEEP_ALIVE = "SELECT 1"

_CHANNEL = "device_access"
# Above this number, all accounts are compared: that is faster than a query by ids.
_IDS_MAX = 1000

_NEXT_VERSION = """
UPDATE devices SET credential_version = credential_version + 1 WHERE id = $1
RETURNING credential_version
"""

_REPLACE = "UPDATE devices SET credential_hash = $2 WHERE id = $1"


@dataclass(frozen=True, slots=True)
class DeviceAccess:
    """The credential of a device, and the facts that its topics depend on."""

    id: DeviceId
    dialect: str
    external_id: str | None
    # The number of the password: it rises with each new one.
    credential_version: int
    # SHA-256 of the MQTT password.
    credential_hash: bytes


async def access_of(
    conn: Connection, device_ids: Sequence[DeviceId]
) -> dict[DeviceId, DeviceAccess]:
    """Return those of the devices that may sign in: registered ones of active hosts."""
    return {row["id"]: _access(row) for row in await conn.fetch(_OF, device_ids)}


async def all_access(conn: Connection) -> list[DeviceAccess]:
    """Return all devices that may sign in, the newest first."""
    return [_access(row) for row in await conn.fetch(_ALL)]


async def next_version(conn: Connection, device_id: DeviceId) -> int:
    """Return the number of the next password of a locked device, for a following `replace`."""
    version: int = await conn.fetchval(_NEXT_VERSION, device_id)
    return version


async def replace(conn: Connection, device_id: DeviceId, credential_hash: bytes) -> None:
    """Replace the password hash of a locked device."""
    await conn.execute(_REPLACE, device_id, credential_hash)


async def set_timeouts(conn: Connection) -> None:
    """Let the server end this connection and release its lock if the client does not respond."""
    await conn.execute(_SET_TIMEOUTS)


async def keep_alive(conn: Connection) -> None:
    """Send an empty statement, so that the server keeps the connection and its lock."""
    await conn.execute(_KEEP_ALIVE)


class AccessChanges:
    """Collects the ids of devices whose access changed: registered, removed, new credentials."""

    def __init__(self) -> None:
        self._changed: set[DeviceId] = set()
        self._received = asyncio.Event()

    def take(self) -> set[DeviceId] | None:
        """Return the ids of changed devices since the last call. None: too many to list."""
        changed, self._changed = self._changed, set()
        self._received.clear()
        return changed if len(changed) <= _IDS_MAX else None

    async def wait(self, within_s: float) -> None:
        """Wait until a device changes, at most for `within_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._received.wait()

    def _add(self, _: object, __: int, ___: str, device_id: object) -> None:
        if len(self._changed) <= _IDS_MAX:
            self._changed.add(DeviceId(UUID(str(device_id))))
        self._received.set()


@asynccontextmanager
async def changes(conn: Connection) -> AsyncIterator[AccessChanges]:
    """Collect changes of access while the context is open."""
    changed = AccessChanges()
    await conn.add_listener(_CHANNEL, changed._add)
    try:
        yield changed
    finally:
        if not conn.is_closed():
            await conn.remove_listener(_CHANNEL, changed._add)


def _access(row: Record) -> DeviceAccess:
    return DeviceAccess(
        id=row["id"],
        dialect=row["dialect"],
        external_id=row["external_id"],
        credential_version=row["credential_version"],
        credential_hash=row["credential_hash"],
    )
